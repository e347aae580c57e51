"""What lab 3.7 judges.

Task a. The learner's instruments are fed a month of events in the learner's kernel, through OpenTelemetry's own SDK, and one
export comes back. What it has to hold is computed here from the same events: who could forge it could as well compute it.

Task b. Truth is the what-if: the module that made the streams replays each handoff one hour shorter.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from workshop.checks import CheckFailed, Evidence, LearnerError, as_number, as_table, check, expect
from workshop.table import Table
from workshop.trusted import Lab, World

SUBJECTS = ("handoffs",)

HINTS = {
    "a": (
        "Create the five instruments first, outside `record`. In `record`, a value that takes two events (a duration) "
        "needs a place where the first one is remembered: a dict keyed by run_id and stage or handoff.",
        "`meter.create_histogram(name, unit=..., explicit_bucket_boundaries_advisory=[...])`. What are the default "
        "bounds made for, and where do your waits lie?",
        "Bounds in a geometric series (60, 100, 170, ... seconds) give every p95 the same relative precision. An "
        "attribute is worth having if you would group by it, and if you can list its values today.",
    ),
    "b": (
        "Take one stream and one night, on paper: when does each stage begin, and what made it wait? Then move one handoff.",
        "The report is as late as its latest path. Replay a path: time = max(time, not_before) + delay, then + work. "
        "Do it for all paths of a night, take the maximum, then once more with one handoff shorter.",
        "In SQL: a recursive CTE that carries (cut handoff, stage, night, time) from the first stages to the last, "
        "one row a path. In Python: stages in topological order, once for each handoff and night.",
    ),
}

MISCONCEPTIONS = {
    "other_instrument": "Name, kind and unit are what others build their dashboards on: take them from the table as they stand.",
    "gauge": "A gauge keeps the value that was set last, and cannot be summed over. What adds up is a counter.",
    "up_and_down": "Counters only go up. What comes and goes is an up-down counter: +1 when handed over, -1 when taken.",
    "wait_in_work": "Work begins when the attempt starts. What passed between the handoff and the start is waiting.",
    "failed_counted": "An attempt that failed says nothing about how long the work takes; it has a counter of its own.",
    "waiting": "Each batch that is handed over goes up by one, each that is taken goes down by one.",
    "cardinality": "Every value of an attribute is a series of its own, paid for by the month. A run id never comes back.",
    "missing_attribute": "What you would group by has to be an attribute: without it all stages are one number.",
    "buckets": "The default bounds end at 10,000 and were made for milliseconds. Choose bounds for what you measure.",
    "too_many_bounds": "Each bound is a number in every series: 20 in a geometric series span from a minute to a day.",
    "longest_wait": "A long wait that something else outlasts holds nothing back. Shorten it in a replay and look at the report.",
    "on_the_path": "When the path gets shorter, another one takes over. Only a replay knows when.",
    "timer": "A timer does not move because somebody is ready earlier: what is gained before it is lost at it.",
    "per_night": "Minutes a night: the mean over the nights, not their sum.",
    "left_out": "Rows for what holds nothing back are part of the answer: they say where not to spend the hour.",
}

INSTRUMENTS = {
    "kestrel.stage.duration": ("histogram", "s", ("stream", "stage")),
    "kestrel.handoff.duration": ("histogram", "s", ("stream", "handoff")),
    "kestrel.stage.rows": ("counter", "{row}", ("stream", "stage")),
    "kestrel.stage.failures": ("counter", "{attempt}", ("stream", "stage", "error.type")),
    "kestrel.handoff.waiting": ("up_down_counter", "{batch}", ("stream", "handoff")),
}
MOST_SERIES = 500
MOST_BOUNDS = 20
FACTOR = 2.0
MESSAGES = {
    "network": "connection reset by peer after {n} rows",
    "out of memory": "unable to allocate {n} MiB",
    "bad input": "conversion error in row {n}",
    "permission": "permission denied for account svc-{n}",
    "time-out": "no heartbeat for {n} s",
}
TOLERANCE_MIN = 1.0
WORLDS = 2


# -- task a: a month of events, and what an export of it holds ----------------------------------------


def _events(lab: Lab) -> list[dict[str, Any]]:
    """The nights of the world, and a backfill beside one of them, as events in order of time. One stage run in forty takes a
    second attempt, and the last
    night's batches of two handoffs are not taken yet."""
    return lab.once("events", lambda: _month(lab))


def _month(lab: Lab) -> list[dict[str, Any]]:
    rng = lab.rng("events")
    stages = lab.world.sql(
        """
        select s.stream_id, s.stage_id, s.team_id, r.run_on, epoch(r.started_at), epoch(r.ended_at), r.input_rows
        from ops.stages s
        join ops.stage_runs r using (stage_id)
        order by s.stage_id, r.run_on
        """
    ).rows
    handoffs = lab.world.sql(
        """
        select
          h.stream_id, h.handoff_id, h.kind, a.team_id, b.team_id, r.run_on, epoch(r.ready_at), epoch(r.taken_at),
          r.run_on = max(r.run_on) over () as is_last_night
        from ops.handoffs h
        join ops.handoff_runs r using (handoff_id)
        join ops.stages a on a.stage_id = h.from_stage_id
        join ops.stages b on b.stage_id = h.to_stage_id
        order by h.handoff_id, r.run_on
        """
    ).rows
    # A backfill of the first night runs beside the second one: run ids are what tells the two apart.
    first = min(day for *_, day, _, _, _ in stages)
    beside = [(s_id, stage, team, f"{first}-backfill", a + 86_400 + 1800, b + 86_400 + 1800, n)
              for s_id, stage, team, day, a, b, n in stages if day == first]  # fmt: skip
    stages = [*stages, *beside]
    handoffs = [
        *handoffs,
        *((s_id, h, k, t, u, f"{first}-backfill", a + 86_400 + 1800, b + 86_400 + 1800, False)
          for s_id, h, k, t, u, day, a, b, _ in handoffs if day == first),
    ]  # fmt: skip
    made: list[dict[str, Any]] = []
    for stream, stage, team, day, start_s, ended_s, rows in stages:
        about = {"stream": stream, "stage": stage, "team": team, "run_id": f"{stream}#{day}"}
        attempt, began_s = 1, start_s
        if rng.random() < 1 / 40 and ended_s - began_s > 400:
            kind = str(rng.choice(list(MESSAGES)))
            broke_s = began_s + float(rng.uniform(0.1, 0.5)) * (ended_s - began_s)
            bad = {
                "outcome": "failed",
                "rows": int(rows * rng.uniform(0.1, 0.9)),
                "error_type": kind,
                "error_message": MESSAGES[kind].format(n=int(rng.integers(10**6))),
            }
            made.append(about | {"event": "started", "attempt": 1, "at_s": began_s})
            made.append(about | {"event": "ended", "attempt": 1, "at_s": broke_s} | bad)
            attempt, began_s = 2, broke_s + 60
        good = {"outcome": "success", "rows": rows, "error_type": None, "error_message": None}
        made.append(about | {"event": "started", "attempt": attempt, "at_s": began_s})
        made.append(about | {"event": "ended", "attempt": attempt, "at_s": ended_s} | good)
    left = {str(h) for h in rng.permutation(sorted({h[1] for h in handoffs}))[:2]}
    for stream, handoff, kind, team, to_team, day, ready_s, taken_s, is_last in handoffs:
        about = {
            "stream": stream,
            "handoff": handoff,
            "kind": kind,
            "from_team": team,
            "to_team": to_team,
            "run_id": f"{stream}#{day}",
        }
        made.append(about | {"event": "handed over", "at_s": ready_s})
        if not (is_last and handoff in left):
            made.append(about | {"event": "taken", "at_s": taken_s})
    rank = ("ended", "handed over", "taken", "started")  # what happens at one moment does so in that order
    return sorted(made, key=lambda e: (e["at_s"], rank.index(e["event"])))


Series = tuple[tuple[str, Any], ...]


def _want(lab: Lab) -> dict[str, dict[Series, list[float]]]:
    """What each series has been given: by instrument and attributes, the values recorded or added."""
    return lab.kept("series", lambda: _given(_events(lab)))


def _given(events: Sequence[dict[str, Any]]) -> dict[str, dict[Series, list[float]]]:
    want: dict[str, dict[Series, list[float]]] = {name: defaultdict(list) for name in INSTRUMENTS}
    since: dict[tuple, float] = {}
    for e in events:
        key = (e["run_id"], e.get("handoff") or e["stage"])
        if "handoff" in e:
            series = (("handoff", e["handoff"]), ("stream", e["stream"]))
            want["kestrel.handoff.waiting"][series].append(1 if e["event"] == "handed over" else -1)
        else:
            series = (("stage", e["stage"]), ("stream", e["stream"]))
        if e["event"] in ("handed over", "started"):
            since[key] = e["at_s"]
        elif e["event"] == "taken":
            want["kestrel.handoff.duration"][series].append(e["at_s"] - since.pop(key))
        elif e["outcome"] == "success":
            want["kestrel.stage.duration"][series].append(e["at_s"] - since.pop(key))
            want["kestrel.stage.rows"][series].append(e["rows"])
        else:
            since.pop(key)
            want["kestrel.stage.failures"][tuple(sorted([*series, ("error.type", e["error_type"])]))].append(1)
    return want


def _export(lab: Lab) -> dict[str, dict[str, Any]]:
    """What one export of the learner's meter holds after all events, by name."""

    def make() -> Any:
        try:
            return lab.drive("workshop.telemetry:record_events", lab.function("instrument"), _events(lab))
        except LearnerError as error:
            raise LearnerError(
                error.message.replace("`record_events`", "`instrument`"),
                error_type=error.error_type,
                error_message=error.error_message,
                evidence=error.evidence,
            ) from error

    return {m["name"]: m for m in lab.once("export", make)}


@check("a", "the five instruments are those agreed on: names, kinds, units", points=1.5)
def instruments_as_agreed(lab: Lab) -> None:
    """Dashboards of thirty teams are built on names and units; a gauge in place of a counter loses what is between exports."""
    got = _export(lab)
    shown = Table.of(
        ["name", "agreed", "yours"],
        [
            (n, f"{_kind(INSTRUMENTS[n][0])} in {INSTRUMENTS[n][1]}" if n in INSTRUMENTS else "-", _said(got.get(n)))
            for n in sorted({*INSTRUMENTS, *got})
        ],
    )
    evidence = Evidence("what the export holds", shown)
    for name, (kind, unit, _) in INSTRUMENTS.items():
        expect(
            name in got,
            f"After a month of events the export has no {name}. It holds {', '.join(got) or 'nothing'}.",
            evidence=evidence,
            ask="Is the instrument created, and is something recorded with it?",
            misconception="other_instrument",
        )
        mine = got[name]
        expect(
            mine["kind"] == kind,
            f"{name} is of the kind {_kind(mine['kind'])}, agreed is {_kind(kind)}. "
            + (
                "A gauge holds its last value only: what happened between two exports is gone."
                if mine["kind"] == "gauge"
                else "Who reads it expects to sum, or to take rates of, the other kind."
            ),
            evidence=evidence,
            misconception="gauge"
            if mine["kind"] == "gauge"
            else "up_and_down"
            if "counter" in kind
            else "other_instrument",
        )
        expect(
            mine["unit"] == unit,
            f"The unit of {name} is {mine['unit'] or 'empty'!r}, agreed is {unit!r}: a dashboard that adds it to "
            "another team's will be wrong by that factor.",
            evidence=evidence,
            misconception="other_instrument",
        )
    more = sorted(set(got) - set(INSTRUMENTS))
    expect(
        not more,
        f"The export also holds {', '.join(more)}, which nobody has agreed on, and everybody pays for.",
        evidence=evidence,
        misconception="other_instrument",
    )


def _kind(name: str) -> str:
    return "up-down counter" if name == "up_down_counter" else name


def _said(metric: dict[str, Any] | None) -> str:
    return "nothing" if metric is None else f"{_kind(metric['kind'])} in {metric['unit'] or '(no unit)'}"


def _by_agreed(metric: dict[str, Any], names: Sequence[str]) -> dict[Series, list[dict[str, Any]]]:
    """The points by the attributes agreed on, whatever others there are."""
    found: dict[Series, list[dict[str, Any]]] = defaultdict(list)
    for p in metric["points"]:
        found[tuple(sorted((n, p["attributes"].get(n)) for n in names))].append(p)
    return found


@check("a", "every series holds what happened, to the second and to the row", points=2)
def values_are_right(lab: Lab) -> None:
    """Sums and counts by series against the events themselves. Attributes beyond the agreed ones are summed over: they are
    another check's."""
    got = _export(lab)
    for name, series in _want(lab).items():
        mine = got.get(name)
        expect(mine is not None, f"The export has no {name}.", misconception="other_instrument")
        expect(
            not any("otel.metric.overflow" in p["attributes"] for p in mine["points"]),
            f"{name} has more than two thousand series after a month. The SDK throws what is beyond that into one "
            "series (otel.metric.overflow), and nobody can tell any more what belongs to what.",
            ask="Which attribute has a new value every night?",
            misconception="cardinality",
        )
        points = _by_agreed(mine, INSTRUMENTS[name][2])
        wrong = []
        for key, values in sorted(series.items()):
            have = points.get(key, [])
            total = sum(p.get("sum", p.get("value", 0)) for p in have)
            count = sum(p.get("count", len(values)) for p in have)
            if count != len(values) or not math.isclose(total, sum(values), rel_tol=1e-6, abs_tol=0.5):
                what = ", ".join(str(v) for _, v in key)
                wrong.append((what, len(values), round(sum(values), 1), count if have else 0, round(total, 1)))
        if not wrong:
            continue
        what, n, total, mine_n, mine_total = wrong[0]
        kind = INSTRUMENTS[name][0]
        factor = mine_total / total if total else 0
        said = {
            "histogram": f"holds {mine_n} values that add up to {mine_total:,} s; {n} happened, of {total:,} s together",
            "counter": f"has counted {mine_total:,}; it was {total:,}",
            "up_down_counter": f"stands at {mine_total:,} at the end of the month; {total:,} are waiting",
        }[kind]
        why = {
            "kestrel.stage.duration": "Work is from the start of an attempt that succeeded to its end.",
            "kestrel.handoff.duration": "Waiting is from handed over to taken.",
            "kestrel.stage.rows": "Rows count when an attempt has succeeded: those of a failed one are read again.",
            "kestrel.stage.failures": "Each failed attempt counts once, under its error type.",
            "kestrel.handoff.waiting": "It goes up when a batch is handed over and down when it is taken.",
        }[name]
        slips = {
            "kestrel.stage.duration": "failed_counted" if mine_n > n else "wait_in_work",
            "kestrel.handoff.duration": "wait_in_work",
            "kestrel.stage.rows": "failed_counted",
            "kestrel.stage.failures": "missing_attribute",
            "kestrel.handoff.waiting": "waiting",
        }
        expect(
            False,
            f"{name} of {what} {said}. "
            + ("These look like milliseconds. " if 990 < factor < 1010 else "")
            + f"{why} {len(wrong)} of {len(series)} series of this instrument differ.",
            evidence=Evidence(
                f"{name}: series that differ",
                Table.of(["series", "happened, count", "happened, sum", "yours, count", "yours, sum"], wrong[:8]),
            ),
            ask="Take one run of the first series: which events belong to it, and at which of them do you record?",
            misconception=slips[name],
        )


@check("a", "attributes are those agreed on, and the month costs no more than 500 series", points=1)
def series_are_bounded(lab: Lab) -> None:
    """A series is a set of attribute values of an instrument. A value that never comes back makes one more each time."""
    got = _export(lab)
    count = {name: len(m["points"]) for name, m in got.items()}
    shown = Evidence(
        "series of a month",
        Table.of(
            ["instrument", "series", "attributes of one"],
            [(n, count[n], str(m["points"][0]["attributes"]) if m["points"] else "-") for n, m in got.items()],
        ),
    )
    for name, metric in got.items():
        agreed = set(INSTRUMENTS.get(name, ("", "", ()))[2])
        for p in metric["points"]:
            keys = set(p["attributes"])
            expect(
                not keys - agreed,
                f"{name} has the attribute {', '.join(sorted(keys - agreed))}, which is not in the table of what was "
                f"agreed. It has {count[name]:,} series after one month; all instruments together have "
                f"{sum(count.values()):,}, {MOST_SERIES} are allowed. Each is stored and paid for, and a dashboard "
                "that sums over the agreed ones does not know it.",
                evidence=shown,
                ask="How many values will this attribute have in a year, and would you group a chart by it?",
                misconception="cardinality",
            )
            expect(
                not agreed - keys,
                f"{name} lacks the attribute {', '.join(sorted(agreed - keys))}: what it would tell apart is one number.",
                evidence=shown,
                misconception="missing_attribute",
            )
    for p in got.get("kestrel.stage.failures", {"points": []})["points"]:
        kind = p["attributes"].get("error.type")
        expect(
            kind in MESSAGES,
            f"kestrel.stage.failures has error.type {str(kind)[:60]!r}. The events' error_type is one of "
            f"{', '.join(MESSAGES)}: five values, where messages name rows and accounts and are all different.",
            evidence=shown,
            misconception="cardinality",
        )
    expect(
        sum(count.values()) <= MOST_SERIES,
        f"One month makes {sum(count.values()):,} series; {MOST_SERIES} are allowed.",
        evidence=shown,
        misconception="cardinality",
    )


@check("a", "the 95th percentile can be read from every histogram", points=1)
def percentiles_can_be_read(lab: Lab) -> None:
    """From an export a percentile is known to lie in a bucket, no better: what the bucket spans is what one knows."""
    got, want = _export(lab), _want(lab)
    for name in ("kestrel.handoff.duration", "kestrel.stage.duration"):
        mine = got.get(name)
        expect(mine is not None and mine["kind"] == "histogram", f"The export has no histogram {name}.")
        points = _by_agreed(mine, INSTRUMENTS[name][2])
        for key, values in sorted(want[name].items()):
            p95 = float(np.quantile(values, 0.95, method="inverted_cdf"))
            for p in points.get(key, [])[:1]:
                bounds = [float(b) for b in p["bounds"]]
                expect(
                    len(bounds) <= MOST_BOUNDS,
                    f"{name} has {len(bounds)} bounds; {MOST_BOUNDS} are allowed, since every series carries a count for each.",
                    misconception="too_many_bounds",
                )
                k = int(np.searchsorted(bounds, p95, side="left"))
                low, high = (bounds[k - 1] if k else 0.0), (bounds[k] if k < len(bounds) else math.inf)
                what = ", ".join(str(v) for _, v in key)
                expect(
                    p95 < 60 or high <= FACTOR * low * (1 + 1e-9),
                    f"The p95 of {name} of {what} is {p95:,.0f} s. All that your export tells is that it lies between "
                    f"{low:,.0f} and {'anything' if math.isinf(high) else f'{high:,.0f}'} s: a factor of "
                    f"{'infinity' if not low or math.isinf(high) else f'{high / low:.1f}'}, where {FACTOR:g} is "
                    "allowed.",
                    evidence=Evidence(
                        "your buckets of this series",
                        Table.of(
                            ["from, s", "to, s", "count"],
                            [
                                (a, b, c)
                                for a, b, c in zip([0.0, *bounds], [*bounds, math.inf], p["buckets"], strict=True)
                                if c
                            ],
                        ),
                    ),
                    ask="Between which times do you want to tell apart, and how far apart may two bounds be for that?",
                    misconception="buckets",
                )


# -- task b ------------------------------------------------------------------------------------------------------------


def _worlds(lab: Lab) -> list[World]:
    return [lab.world, *lab.worlds(WORLDS)]


def read_minutes(lab: Lab, world: World) -> dict[str, float]:
    """The learner's minutes by handoff."""

    def make() -> dict[str, float]:
        table = as_table(
            lab.call("bottlenecks", world.con), "What bottlenecks returns", ["handoff_id", "minutes_forward"]
        )
        found: dict[str, float] = {}
        for handoff_id, minutes in table.rows:
            number = as_number(minutes)
            expect(
                number is not None,
                f"minutes_forward of {handoff_id} is {minutes!r}: a number of minutes was expected, 0 where nothing is gained.",
                misconception="left_out",
            )
            expect(handoff_id not in found, f"{handoff_id} is there twice: one row for each handoff was expected.")
            found[str(handoff_id)] = number
        return found

    return lab.once(f"minutes/{world.name}", make)


def _truth(lab: Lab, number: int = 0) -> list[dict[str, Any]]:
    """The handoffs of one of the worlds, with what an hour less brings."""
    return lab.kept(f"gains of world {number}", lambda: _gains(_worlds(lab)[number]))


def _gains(world: World) -> list[dict[str, Any]]:
    return world.sql(
        """
        select
          h.stream_id, h.handoff_id, h.kind, g.minutes_forward, avg(epoch(r.taken_at) - epoch(r.ready_at)) / 60 as wait
        from ops.handoffs h
        join truth.handoff_gains g using (handoff_id)
        join ops.handoff_runs r using (handoff_id)
        group by all
        order by h.stream_id, g.minutes_forward desc, h.handoff_id
        """
    ).dicts()


@check("b", "in each stream, the handoff that holds the report back comes first", points=2)
def slow_handoff_comes_first(lab: Lab) -> None:
    """By what-if, on three worlds of six streams. In each the longest wait is a decoy."""
    for number, world in enumerate(_worlds(lab)):
        mine = read_minutes(lab, world)
        truth = _truth(lab, number)
        for stream in sorted({r["stream_id"] for r in truth}):
            rows = [r for r in truth if r["stream_id"] == stream]
            here = {r["handoff_id"] for r in rows}
            listed = {h: m for h, m in mine.items() if h in here}
            first = max(listed, key=listed.__getitem__, default=None)
            expect(first is not None, f"There is no handoff of stream {stream} in your list.", misconception="left_out")
            best = rows[0]
            chosen = next(r for r in rows if r["handoff_id"] == first)
            longest = max(rows, key=lambda r: r["wait"])["handoff_id"] == first
            expect(
                chosen["minutes_forward"] >= 0.95 * best["minutes_forward"],
                f"Your first of stream {stream} is {first} ({chosen['kind']}, waits {chosen['wait']:.0f} min a night): "
                f"an hour less there brings the report {chosen['minutes_forward']:.0f} min forward. "
                f"{best['handoff_id']} ({best['kind']}) waits {best['wait']:.0f} min, and brings it "
                f"{best['minutes_forward']:.0f} min forward.",
                evidence=Evidence(
                    f"handoffs of {stream}, by what an hour less brings",
                    Table.of(
                        ["handoff", "kind", "wait, min", "brings, min", "yours, min"],
                        [
                            (
                                r["handoff_id"],
                                r["kind"],
                                round(r["wait"]),
                                round(r["minutes_forward"], 1),
                                round(listed[r["handoff_id"]], 1) if r["handoff_id"] in listed else None,
                            )
                            for r in rows[:8]
                        ],
                    ),
                ),
                ask="What does the stage after it wait for, once this is there earlier?",
                misconception="longest_wait" if longest else "on_the_path",
            )


@check("b", "the minutes are those of a replay", points=1.5)
def minutes_are_right(lab: Lab) -> None:
    """Each handoff within a minute or 5%, since budgets are argued with them."""
    for number, world in enumerate(_worlds(lab)):
        mine = read_minutes(lab, world)
        truth = [r for r in _truth(lab, number) if r["minutes_forward"] >= TOLERANCE_MIN]
        wrong = [
            (r["handoff_id"], r["kind"], round(r["minutes_forward"], 1), round(mine.get(r["handoff_id"], 0.0), 1))
            for r in truth
            if abs(mine.get(r["handoff_id"], 0.0) - r["minutes_forward"])
            > max(TOLERANCE_MIN, 0.05 * r["minutes_forward"])
        ]
        if not wrong:
            continue
        handoff, kind, right, yours = wrong[0]
        nights, seconds = 20 < yours / right < 40, 55 < yours / right < 65
        clock = kind in ("timer", "approval") and yours < right
        ask = "Take one night: which stage begins earlier, and which does not?"
        if nights:
            ask = "Is it a mean over nights?"
        elif seconds:
            ask = "Are these minutes?"
        elif clock:
            ask = "What does rule 3 say of a timer that is itself made an hour shorter?"
        raise CheckFailed(
            f"{handoff} ({kind}) an hour shorter brings the report {right:.1f} min a night forward; you have "
            f"{yours:.1f}. {len(wrong)} of {len(truth)} handoffs that bring a minute or more are off by more than a "
            "minute and 5%.",
            evidence=Evidence("minutes that differ", Table.of(["handoff", "kind", "replayed", "yours"], wrong[:8])),
            ask=ask,
            misconception="per_night" if nights or seconds else "on_the_path" if yours > right else "timer",
        )


@check("b", "what holds nothing back is said to bring nothing", points=1)
def idle_handoffs_bring_nothing(lab: Lab) -> None:
    """Where not to spend an hour is half of the answer; a wait before a timer, or beside a longer path, costs nobody a thing."""
    for number, world in enumerate(_worlds(lab)):
        mine = read_minutes(lab, world)
        rows = [r for r in _truth(lab, number) if r["minutes_forward"] < 0.05]
        gone = [r["handoff_id"] for r in rows if r["handoff_id"] not in mine]
        expect(
            not gone,
            f"{len(gone)} handoffs that hold nothing back are not in your list, {gone[:1] and gone[0]} among them. "
            "Whoever looks them up does not learn that an hour there is wasted.",
            misconception="left_out",
        )
        wrong = [r for r in rows if abs(mine[r["handoff_id"]]) >= TOLERANCE_MIN]
        if wrong:
            worst = max(wrong, key=lambda r: abs(mine[r["handoff_id"]]))
            expect(
                False,
                f"{worst['handoff_id']} ({worst['kind']}) waits {worst['wait']:.0f} min a night, and you say that an "
                f"hour less brings {mine[worst['handoff_id']]:.0f} min. In the replay the report comes at the same "
                f"minute: something else is later every night. So it is with {len(wrong)} of {len(rows)} handoffs that "
                "hold nothing back.",
                evidence=Evidence(
                    "handoffs that bring nothing",
                    Table.of(
                        ["handoff", "kind", "wait, min", "yours, min"],
                        [
                            (r["handoff_id"], r["kind"], round(r["wait"]), round(mine[r["handoff_id"]], 1))
                            for r in sorted(wrong, key=lambda r: -r["wait"])[:6]
                        ],
                    ),
                ),
                ask="What arrives last at the stage after it?",
                misconception="longest_wait" if worst["kind"] != "timer" else "timer",
            )


# -- twelve weeks later --------------------------------------------------------------------------------------------------------


# Minutes after midnight by night, and by handoff what an hour less there takes from them.
Chain = tuple[np.ndarray, dict[str, np.ndarray]]


def _chains(world: World) -> list[list[Chain]]:
    """By stream, everything that its report waits for, as chains: when each alone would let the report end. A chain begins with
    a stage that waits for nobody, or where a time of day holds a handoff."""
    stages = world.sql(
        """
        select
          stream_id, stage_id, is_last, list(epoch(ended_at - started_at) / 60 order by run_on),
          list(epoch(started_at - run_on::timestamp) / 60 order by run_on)
        from ops.stages
        join ops.stage_runs using (stage_id)
        group by all
        order by stream_id, stage_id
        """
    ).rows
    handoffs = world.sql(
        """
        select
          handoff_id, from_stage_id, to_stage_id,
          list(epoch(taken_at - greatest(ready_at, coalesce(not_before_at, ready_at))) / 60 order by run_on),
          list(epoch(not_before_at - run_on::timestamp) / 60 order by run_on)
        from ops.handoffs
        join ops.handoff_runs using (handoff_id)
        group by all
        order by handoff_id
        """
    ).rows
    work, start = ({row[1]: np.array(row[k]) for row in stages} for k in (3, 4))

    def until(stage: str) -> list[Chain]:
        begun: list[Chain] = []
        for handoff, before, after, delay, held in handoffs:
            if after == stage:
                late, timer = np.array(delay), np.array(held, dtype=float)
                begun += [(at + late, less | {handoff: np.minimum(late, 60.0)}) for at, less in until(before)]
                if not np.isnan(timer).all():  # what holds it comes an hour earlier too
                    begun.append((timer + late, {handoff: np.full(len(late), 60.0)}))
        return [(at + work[stage], less) for at, less in begun or [(start[stage], {})]]

    return [until(stage) for _, stage, is_last, *_ in stages if is_last]


def _end_min(chains: list[Chain], cut: set[str]) -> float:
    """When a report ends with some handoffs an hour shorter, mean of its nights: with the latest of its chains."""
    ends = [at - sum(minutes for h, minutes in less.items() if h in cut) for at, less in chains]
    return float(np.nanmax(ends, axis=0).mean())


def twelve_weeks_later(lab: Lab) -> Any:
    """Every week one handoff of the six streams is made an hour shorter, by the learner's list and by the longest wait."""
    from workshop.plots import BLUE, GREY, RED, plt

    mine = read_minutes(lab, lab.world)
    waits = {r["handoff_id"]: r["wait"] for r in _truth(lab)}
    streams = lab.kept("chains", lambda: _chains(lab.world))
    figure, ax = plt.subplots(figsize=(7.6, 3.4))
    for listed, colour, name in ((waits, RED, "by the longest wait"), (mine, BLUE, "by your list")):
        order = sorted(listed, key=lambda h: (-listed[h], h))[:12]
        hours = []
        for week in range(13):
            cut = set(order[:week])
            hours.append(float(np.mean([_end_min(chains, cut) for chains in streams])) / 60)
        ax.step(range(14), [*hours, hours[-1]], where="post", color=colour, label=name)
        ax.annotate(f"{hours[-1]:.1f} h", (12, hours[-1]), xytext=(4, 0), textcoords="offset points", color=colour)
    ax.axhline(hours[0], color=GREY, lw=0.8)
    ax.set(xlabel="week", ylabel="mean end, h after midnight", xlim=(0, 13))
    ax.set_title(f"Twelve handoffs an hour shorter: with your list {60 * (hours[0] - hours[-1]):.0f} min gained")
    ax.legend()
    plt.close(figure)
    return figure
