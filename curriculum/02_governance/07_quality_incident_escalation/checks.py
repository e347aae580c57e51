"""What lab 2.7 judges: which reports an incident hits and how long they have, and an escalation policy on fresh incidents.

Task a: places are drawn on the world's lineage and on small graphs with circles and edges of both kinds; deadlines on days on
which clocks and calendars are awkward. What is right comes from the generator's own graph and calendar.
Task b: the policy comes out as data, is read strictly, and replayed on incidents drawn here, three times 600: people and checks
are quick, middling or slow, and the history that the policy gets is of the same kind.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from workshop.checks import CheckFailed, Evidence, NotAttempted, as_number, as_table, check, expect
from workshop.sim.escalation import (
    AFTER,
    EDGES_SQL,
    EPOCH,
    GROUPS,
    IMPACTS,
    REPORTS_SQL,
    SEVERITIES,
    STEPS,
    TARGETS,
    WHENS,
    replay,
    replay_scores,
    score,
)
from workshop.table import Table
from workshop.trusted import Lab
from workshop.world.build import history as subject

SUBJECTS = ("dq_incidents",)
HINTS = {
    "a": (
        "Two functions: one that takes a set of (table, column), column None for a whole table, and returns all "
        "that is wrong; one "
        "that takes a report and a moment and returns its next deadline. Try each by itself.",
        "Grow the set until nothing is added. Sort the edges by table out first: one that has an edge by column between the same "
        "two tables does not count. A whole table that is wrong feeds all edges that begin in it.",
        "Begin one day before today in the zone of the report, and go on day by day: is it a day of its cadence, and is the "
        "deadline on that day at or after `at`? Turn both into UTC before you compare or subtract them.",
    ),
    "b": (
        "Write down what each number trades. A longer wait finds the cause and loses minutes; more max_hours saves a report and "
        "wakes somebody; a shorter acknowledge_minutes wakes a second person who was not needed.",
        "Take quantiles of the history: the wait from cause_lag_minutes, max_hours from fix_minutes, "
        "acknowledge_minutes from pages "
        "at night that were answered before minutes_to_morning were over. Most values lie low and a few are very high: look "
        "at a histogram first.",
        "A contact needs its own notice_minutes, and some minutes to read. Critical reports are due before people "
        "are awake, so a "
        "mail will not do; reports that are not critical can wait.",
    ),
}
MISCONCEPTIONS = {
    "one_hop": "What is fed by something wrong is wrong, and feeds others: go on until nothing new is found.",
    "by_table": "Where columns are known, follow columns: a report that reads another column of the same table is not hit.",
    "indirect": "A column that decides which rows there are makes a sum as wrong as one that is added up.",
    "whole": "Column None says: all of it. All edges out of the table are fed, and all columns that reports read are wrong.",
    "clock_face": "Python subtracts two times of one zone by their clock faces. In the night of the change they are an hour off "
    "from what passes: turn both into UTC first.",
    "zone": "The deadline is by the clock of the report's zone, on days of that zone, and `at` has an offset of its own.",
    "boundary": "The next deadline is the first one at or after the moment.",
    "calendar": "The 31st of a month that has 30 days is its last day; ISO weekdays begin with Monday as 1.",
    "rows": "How many rows failed says nothing about who reads them. Severity comes from the reports that are hit, and from the "
    "time they have left.",
    "too_late": "Count back from the deadline: until somebody has acknowledged, plus a long fix. That is max_hours for SEV1.",
    "wakes": "What has time until the morning can wait until the morning: SEV1 is for what has not.",
    "constant": "How long a fix takes differs: what is urgent among slow people is a page too early among quick ones. Count it "
    "from the history that you are given.",
    "waits": "What could have begun in the evening and did not is still open when the contact has to decide.",
    "hasty": "Those who are awake need some minutes. Hand on when nearly all of them have answered, not before.",
    "told": "A notice that is read when the report goes out helps nobody: notice_minutes before the deadline it must have been "
    "read, also if that is at four in the morning.",
    "told_all": "Who is told each time, and mostly for nothing, no longer reads: tell them when they have to decide, not before.",
    "owner": "The table whose check failed is where it shows. Its owner cannot mend what came in wrong: page the cause's owner.",
    "wait": "The first alert is often not the cause's. Look in the history how long the cause's alert takes.",
    "heard": "Some people sleep through a page, and answer at 07:00. Of those who answer before, look at acknowledged_minutes: "
    "when have nearly all answered? Then the second is paged, and needs minutes of the same hour.",
    "storm": "Alerts that one fault has raised are one incident: group them by lineage.",
    "over": "It is over when every check passes: reports are rebuilt after the cause, and an acknowledgement mends nothing.",
}

# -- task a: cases -----------------------------------------------------------------------------------------------------------

ZONES = ("Europe/Berlin", "America/New_York", "Australia/Sydney", "Asia/Tokyo", "Asia/Kolkata", "America/Toronto")
# Nights on which clocks change: zone, the day, a time that the clock skips or shows twice.
CHANGES = (
    ("Europe/Berlin", (2027, 3, 28), "02:30"),
    ("Europe/Berlin", (2026, 10, 25), "02:30"),
    ("America/New_York", (2027, 3, 14), "02:30"),
    ("America/New_York", (2026, 11, 1), "01:30"),
    ("Australia/Sydney", (2026, 10, 4), "02:30"),
    ("Australia/Sydney", (2027, 4, 4), "02:30"),
)
TABLE = "mart.daily_figures"


@dataclass(frozen=True)
class Case:
    """One call of impact, what is right (report: hours), and what the case is about. ``near``: the reports that come out where
    INDIRECT edges are left out."""

    what: str
    places: list[dict[str, Any]]
    edges: list[dict[str, Any]]
    reports: list[dict[str, Any]]
    at: str
    want: dict[int, float]
    misconception: str | None = None
    near: frozenset[int] = frozenset()


def _iso(moment: datetime, rng: np.random.Generator) -> str:
    """The moment in ISO 8601, with some offset."""
    shift = int(rng.choice([0, 120, -300, 330, 600]))
    return moment.astimezone(timezone(timedelta(minutes=shift))).isoformat(timespec="seconds")


def _world_cases(lab: Lab) -> list[Case]:
    """Places on the world's lineage, alone and two at a time."""
    module, rng = subject("dq_incidents"), lab.rng("world cases")
    edges, reports = lab.world.sql(EDGES_SQL).dicts(), lab.world.sql(REPORTS_SQL).dicts()
    graph = module.Graph(edges, reports)
    nodes = sorted(set(graph.feeds) | {(t, None) for t in {*graph.columns, *graph.table_feeds}}, key=str)
    cases = []
    for k in range(4):
        layer = [n for n in nodes if n[0].startswith(("landing", "core") if k % 2 else ("staging", "inter", "mart"))]
        drawn = [layer[int(i)] for i in rng.choice(len(layer), 1 + (k % 4 == 3), replace=False)]
        cases.append(_lineage_case("your world's lineage", drawn, edges, reports))
    return cases


def _lineage_case(
    what: str,
    drawn: Sequence[tuple[str, str | None]],
    edges: list[dict[str, Any]],
    reports: list[dict[str, Any]],
) -> Case:
    graph = subject("dq_incidents").Graph
    places = [{"table": t, "column": c} for t, c in drawn]
    want = dict.fromkeys(graph(edges, reports).hit(drawn), math.nan)
    near = graph([e for e in edges if e["kind"] != "INDIRECT"], reports).hit(drawn)
    return Case(what, places, edges, reports, "2026-07-03T01:00:00+00:00", want, near=near)


def _graph_cases(lab: Lab) -> list[Case]:
    """Places on small graphs: circles, edges by column and by table between the same tables, columns that no edge names."""
    rng = lab.rng("graph cases")
    cases = []
    for _ in range(15):
        tables = [f"t{k}.part_{k}" for k in range(8)]
        pairs: set[tuple[int, int]] = {(k, int(rng.integers(k + 1, min(8, k + 3)))) for k in range(7)}
        pairs |= {(int(a), int(b)) for a, b in rng.integers(0, 8, (4, 2)) if a != b}
        edges = []
        for a, b in sorted(pairs):
            kind = rng.random()
            if kind < 0.75:
                chosen = {(int(c), int(d)) for c, d in rng.integers(0, 3, (int(rng.integers(1, 3)), 2))}
                edges += [
                    {"level": "column", "output_table": tables[b], "output_column": f"c{d}", "input_table": tables[a],
                     "input_column": f"c{c}", "kind": str(rng.choice(["DIRECT", "INDIRECT"]))}
                    for c, d in sorted(chosen)
                ]  # fmt: skip
            if kind > 0.45:
                edges.append(
                    {"level": "table", "output_table": tables[b], "output_column": None, "input_table": tables[a],
                     "input_column": None, "kind": None}
                )  # fmt: skip
        # Programs that write back, against edges by column.
        back = sorted({(e["input_table"], e["output_table"]) for e in edges if e["level"] == "column"})
        back = [(a, b) for a, b in back if (tables.index(b), tables.index(a)) not in pairs]
        edges += [
            {"level": "table", "output_table": back[i][0], "output_column": None, "input_table": back[i][1],
             "input_column": None, "kind": None}
            for i in rng.permutation(len(back))[:2].tolist()
        ]  # fmt: skip
        edges = [edges[i] for i in rng.permutation(len(edges))]
        reports = []
        for n in range(9):
            reads = [
                {
                    "table": tables[int(rng.integers(1, 8))],
                    "column": None if rng.random() < 0.2 else f"c{int(rng.integers(0, 4))}",
                }
                for _ in range(int(rng.integers(1, 3)))
            ]
            reports.append(_report(20 + n, "daily", None, "08:00", "Europe/Berlin") | {"reads": reads})
        for _ in range(3):
            drawn = [
                (tables[int(rng.integers(0, 6))], None if rng.random() < 0.3 else f"c{int(rng.integers(0, 3))}")
                for _ in range(1 + int(rng.random() < 0.25))
            ]
            cases.append(_lineage_case("a small lineage", drawn, edges, reports))
    return cases


def _long_case(lab: Lab) -> Case:
    """A chain of two hundred tables, from the first to the last: by columns, by tables, mixed."""
    rng = lab.rng("long case")
    tables = [f"t{int(k)}.link_{int(k)}" for k in rng.permutation(200)]
    edges = []
    for source, target in itertools.pairwise(tables):
        column = None if rng.random() < 0.4 else "c0"
        edges.append(
            {"level": "table" if column is None else "column", "output_table": target, "output_column": column,
             "input_table": source, "input_column": column, "kind": column and "DIRECT"}
        )  # fmt: skip
    edges = [edges[i] for i in rng.permutation(len(edges))]
    ends = [tables[-1], tables[150], tables[20], tables[3]]
    reports = [
        _report(20 + n, "daily", None, "08:00", "Europe/Berlin") | {"reads": [{"table": t, "column": "c0"}]}
        for n, t in enumerate(ends)
    ]
    return _lineage_case("a chain of 200 tables", [(tables[4], "c0")], edges, reports)


def _report(number: int, cadence: str, due_day: int | None, due: str, zone: str) -> dict[str, Any]:
    return {
        "report_id": number, "report_name": f"Report {number}", "is_business_critical": number % 2 == 0, "cadence": cadence,
        "due_day": due_day, "due_at_local": due, "time_zone": zone, "reads": [{"table": TABLE, "column": "net_usd"}],
    }  # fmt: skip


def _deadline_cases(lab: Lab) -> list[Case]:
    """Reports that read the wrong table, at moments that tell readings of the rules apart."""
    module, rng = subject("dq_incidents"), lab.rng("deadline cases")
    cases: list[Case] = []

    def clock() -> str:
        return f"{int(rng.integers(0, 24)):02d}:{int(rng.choice([0, 15, 30, 45])):02d}"

    def add(what: str, report: dict[str, Any], at: datetime, misconception: str) -> None:
        other = _report(91, "weekly", int(rng.integers(1, 8)), clock(), str(rng.choice(ZONES)))
        reports = [report, other] if rng.random() < 0.5 else [other, report]
        want = {r["report_id"]: (module.next_deadline(r, at) - at) / timedelta(hours=1) for r in reports}
        places = [{"table": TABLE, "column": None if rng.random() < 0.5 else "net_usd"}]
        cases.append(Case(what, places, [], reports, _iso(at, rng), want, misconception))

    def day_in(year: int, month: int) -> datetime:
        return datetime(
            year, month, int(rng.integers(1, 28)), int(rng.integers(0, 24)), int(rng.integers(0, 60)), tzinfo=UTC
        )

    for zone in ZONES:
        weekday = int(rng.integers(1, 8))
        add("a daily report", _report(11, "daily", None, clock(), zone), day_in(2026, int(rng.integers(7, 13))), "zone")
        add(
            "a weekly report",
            _report(12, "weekly", weekday, clock(), zone),
            day_in(2026, int(rng.integers(7, 13))),
            "calendar",
        )
        add("a monthly report", _report(14, "monthly", int(rng.integers(1, 29)), clock(), zone),
            day_in(2027, int(rng.integers(1, 12))), "calendar")  # fmt: skip
        add("a quarterly report", _report(15, "quarterly", int(rng.integers(1, 29)), clock(), zone),
            day_in(2026, int(rng.integers(1, 13))), "calendar")  # fmt: skip
    # Shortly before midnight in UTC it is another weekday in Sydney, and the other way round in New York.
    for zone, hour in (("Australia/Sydney", 15), ("Asia/Tokyo", 16), ("America/New_York", 0), ("America/Toronto", 1)):
        at = datetime(2026, 8, int(rng.integers(2, 28)), hour, int(rng.integers(0, 50)), tzinfo=UTC)
        there = at.astimezone(ZoneInfo(zone))
        due = f"{(there.hour + 2) % 24:02d}:00"
        add(
            "a weekly report that is due today by its own clock",
            _report(13, "weekly", there.isoweekday(), due, zone),
            at,
            "zone",
        )
    for zone in ZONES[:4]:
        report = _report(11, "daily", None, clock(), zone)
        due = module.next_deadline(report, day_in(2026, 9))
        for seconds, what in (
            (0, "exactly at its deadline"),
            (1, "a second after its deadline"),
            (-1, "a second before it"),
        ):
            add(f"a daily report, {what}", report, due + timedelta(seconds=seconds), "boundary")
    report = _report(14, "monthly", 10, clock(), "Europe/Berlin")
    add("a monthly report, exactly at its deadline", report, module.next_deadline(report, day_in(2026, 9)), "boundary")
    # Short months, and days 29 to 31 in long ones: there the day itself is meant.
    for day, at in ((31, (2026, 9, 3)), (31, (2027, 2, 3)), (30, (2027, 2, 5)), (29, (2027, 2, 20)), (31, (2028, 2, 11)),
                    (31, (2026, 11, 2)), (29, (2028, 2, 20)), (30, (2028, 2, 20)),
                    *((d, (2026, int(rng.choice([7, 8, 10, 12])), int(rng.integers(2, 27)))) for d in (29, 30, 31)),
                    *((d, (2026, 9, int(rng.integers(2, 27)))) for d in (29, 30))):  # fmt: skip
        moment = datetime(*at, int(rng.integers(0, 24)), tzinfo=UTC)
        add(
            f"a monthly report of day {day}",
            _report(16, "monthly", day, clock(), str(rng.choice(ZONES))),
            moment,
            "calendar",
        )
    for day, at in ((31, (2027, 2, 3)), (15, (2026, 10, 17)), (20, (2026, 11, 2)), (31, (2027, 4, 12)),
                    *((31, (2027, m, int(rng.integers(2, 27)))) for m in (1, 7, 10)),
                    *((d, (2027, int(rng.choice([1, 7, 10])), int(rng.integers(2, 27)))) for d in (29, 30)),
                    *((d, (2027, 4, int(rng.integers(2, 27)))) for d in (29, 30))):  # fmt: skip
        moment = datetime(*at, int(rng.integers(0, 24)), tzinfo=UTC)
        add(
            f"a quarterly report of day {day}",
            _report(17, "quarterly", day, clock(), str(rng.choice(ZONES))),
            moment,
            "calendar",
        )
    for zone, day, odd in CHANGES:
        here = ZoneInfo(zone)
        evening = datetime(*day, 12, tzinfo=here).astimezone(UTC) - timedelta(hours=int(rng.integers(14, 20)))
        later = f"{int(rng.integers(5, 12)):02d}:00"
        add("the night in which the clock changes", _report(18, "daily", None, later, zone), evening, "clock_face")
        add(f"a report due at {odd} in that night", _report(18, "daily", None, odd, zone), evening, "clock_face")
        first = datetime.combine(datetime(*day).date(), datetime.strptime(odd, "%H:%M").time(), here).astimezone(UTC)
        for shift, said in (
            (-20, "20 minutes before that"),
            (20, "20 minutes after the first"),
            (45, "45 minutes after it"),
        ):
            add(f"a report due at {odd} in that night, {said}", _report(18, "daily", None, odd, zone),
                first + timedelta(minutes=shift), "clock_face")  # fmt: skip
    return cases


def _call(lab: Lab, number: int, case: Case) -> dict[int, float | None]:
    """What impact says of a case: by report, its hours."""
    value = lab.call("impact", {"incident_id": 7000 + number, "places": case.places}, case.edges, case.reports, case.at)
    value = list(value) if isinstance(value, tuple) else value
    table = as_table(value, "impact(...)", ["report_id", "hours"])
    found: dict[int, float | None] = {}
    for report, hours in table.rows:
        number_of = as_number(report)
        expect(
            number_of is not None and number_of in {r["report_id"] for r in case.reports},
            f"impact(...) named {report!r}, which is no report_id of the reports it was given.",
        )
        expect(
            int(number_of) not in found,
            f"impact(...) named report {int(number_of)} more than once; each is named once.",
        )
        found[int(number_of)] = as_number(hours)
    return found


def _reading(case: Case, got: set[int], missed: bool) -> str:
    """Which reading of the rules gives such an answer: for the hint."""
    if got == case.near:
        return "indirect"
    whole = any(p["column"] is None for p in case.places) or any(
        e["level"] == "table" for e in case.edges if len(case.edges) < 60
    )
    return ("whole" if whole else "one_hop") if missed else "by_table"


@check("a", "the reports that are hit, through columns and tables", points=2)
def the_right_reports_are_hit(lab: Lab) -> str:
    """Columns, whole tables, edges of both levels, circles."""
    cases = lab.kept("lineage cases", lambda: [*_world_cases(lab), *_graph_cases(lab), _long_case(lab)])
    for number, case in enumerate(cases):
        got, want = set(_call(lab, number, case)), set(case.want)
        missed, extra = sorted(want - got), sorted(got - want)
        if not missed and not extra:
            continue
        places = ", ".join(
            f"{p['table']}, " + (f"column {p['column']}" if p["column"] else "all of it") for p in case.places
        )
        said = f"On {case.what}, with wrong {places}: "
        said += f"{len(missed)} reports are hit that impact(...) does not name" if missed else ""
        said += " and " if missed and extra else ""
        said += f"it names {len(extra)} that are not hit" if extra else ""
        shown = [r for r in case.reports if r["report_id"] in {*missed[:3], *extra[:3]}]
        evidence = [
            Evidence(
                "what they read",
                Table.of(
                    ["report_id", "is hit", "reads"],
                    [
                        [r["report_id"], r["report_id"] in want,
                         ", ".join(f"{i['table']}.{i['column'] or '(all)'}" for i in r["reads"])[:200]]
                        for r in shown
                    ],
                ),
            )
        ]  # fmt: skip
        if len(case.edges) < 60:
            listed = sorted(
                (f"{e['input_table']}.{e['input_column'] or '(all)'}", f"{e['output_table']}.{e['output_column'] or '(all)'}",
                 e["kind"] or "") for e in case.edges
            )  # fmt: skip
            evidence.append(Evidence("the edges of this case", Table.of(["from", "to", "kind"], listed)))
        raise CheckFailed(
            f"{said}. At Kestrel the one is a wrong number that nobody was warned of, the other an owner who is called for "
            "nothing.",
            evidence=evidence,
            ask="Which of the five rules brings these reports in, or keeps them out?",
            misconception=_reading(case, got, bool(missed)),
        )
    return f"{len(cases)} incidents, among them {sum(c.what.startswith('a small') for c in cases)} on small graphs with circles."


@check("a", "hours to each next deadline", points=2)
def hours_are_right(lab: Lab) -> str:
    """All cadences, six zones, boundaries, ends of months, nights in which clocks change."""
    cases = lab.kept("deadline cases", lambda: _deadline_cases(lab))
    for number, case in enumerate(cases):
        got = _call(lab, number, case)
        for report in case.reports:
            i = report["report_id"]
            expect(
                i in got,
                f"{case.what}, at {case.at}: impact(...) does not name report {i}, which reads {TABLE}, the table that is wrong "
                f"({case.places[0]['column'] or 'all of it'}).",
            )
            hours = got[i]
            about = case.what if i != 91 else "a weekly report"
            if hours is not None and abs(hours - case.want[i]) <= 0.01:
                continue
            due = (datetime.fromisoformat(case.at) + timedelta(hours=case.want[i])).astimezone(
                ZoneInfo(report["time_zone"])
            )
            raise CheckFailed(
                f"Hours of {about}, at {case.at}: impact(...) says {hours if hours is None else round(hours, 2)}, right are "
                f"{case.want[i]:.2f}. Its next deadline is {due:%A %d %B %Y %H:%M} in {report['time_zone']}. Severity at Kestrel "
                "hangs on this number.",
                evidence=Evidence(
                    "the report",
                    Table.of(
                        ["cadence", "due_day", "due_at_local", "time_zone"],
                        [[report["cadence"], report["due_day"], report["due_at_local"], report["time_zone"]]],
                    ),
                ),
                ask="On which day of the report's own calendar does the moment fall, and how many hours pass until then?",
                misconception=case.misconception,
            )
    return f"{len(cases)} moments in {len(ZONES)} zones."


# -- task b: reading the policy ------------------------------------------------------------------------------------------------


def _dicts(value: Any, what: str) -> list[dict[str, Any]]:
    value = value.dicts() if isinstance(value, Table) else value
    if isinstance(value, tuple):
        value = list(value)
    expect(
        isinstance(value, list) and all(isinstance(r, dict) for r in value),
        f"policy(...): {what} is a list of dicts; this is {value!r:.120}.",
    )
    return value


def _one_of(value: Any, allowed: Sequence[str], what: str) -> str:
    expect(
        isinstance(value, str) and value in allowed,
        f"policy(...): {what} is one of {', '.join(allowed)}; this is {value!r:.80}.",
    )
    return str(value)


def _number(value: Any, what: str, *, least: float = 0.0, none: bool = False, above: bool = False) -> float | None:
    missing = value is None or (isinstance(value, float) and math.isnan(value))
    if none and missing:
        return None
    number = as_number(value)
    said = f"a number {'above' if above else 'from'} {least:g}{' on' if not above else ''}{', or None' if none else ''}"
    expect(
        number is not None and (number > least if above else number >= least),
        f"policy(...): {what} is {said}; this is {value!r:.80}.",
    )
    return min(number, 1e7)


def _several(value: Any, allowed: Sequence[str], what: str) -> list[str]:
    if isinstance(value, str):
        value = [value]
    expect(
        isinstance(value, list | tuple | set | frozenset)
        and all(v in allowed for v in value)
        and len(set(value)) == len(value),
        f"policy(...): {what} is a list of {' and '.join(allowed)}, each at most once; this is {value!r:.80}.",
    )
    return [str(v) for v in value]


def read_policy(value: Any, reports: Sequence[int]) -> dict[str, Any]:
    """The policy, made anew from what the learner returned. Fails the check, naming what is wrong, where it cannot be read."""
    keys = ("group_by", "wait_minutes", "matrix", "paths", "tell", "stand_down")
    expect(isinstance(value, dict), f"policy(...) returns a dict; this is {value!r:.80}.")
    missing = [k for k in keys if k not in value]
    expect(not missing, f"policy(...) returns a dict with {', '.join(keys)}; missing: {', '.join(missing)}.")
    matrix = []
    for k, row in enumerate(_dicts(value["matrix"], "matrix")[:60], 1):
        matrix.append(
            {
                "impact": _one_of(row.get("impact"), IMPACTS, f"impact in row {k} of the matrix"),
                "max_hours": _number(
                    row.get("max_hours"), f"max_hours in row {k} of the matrix", least=-1e7, none=True
                ),
                "min_failed_rows": _number(
                    row.get("min_failed_rows"), f"min_failed_rows in row {k} of the matrix", none=True
                ),
                "severity": _one_of(row.get("severity"), SEVERITIES, f"severity in row {k} of the matrix"),
            }
        )
    expect(
        isinstance(value["paths"], dict), f"policy(...): paths is a dict by severity; this is {value['paths']!r:.80}."
    )
    paths = {}
    for severity, path in value["paths"].items():
        _one_of(severity, SEVERITIES, "a key of paths")
        expect(isinstance(path, dict), f"policy(...): the path of {severity} is a dict; this is {path!r:.80}.")
        paths[severity] = {
            "page": _one_of(path.get("page"), TARGETS, f"page of {severity}"),
            "when": _one_of(path.get("when"), WHENS, f"when of {severity}"),
            "acknowledge_minutes": _number(
                path.get("acknowledge_minutes"), f"acknowledge_minutes of {severity}", above=True
            ),
            "then": _several(path.get("then"), STEPS[1:], f"then of {severity}"),
        }
    tell, seen = [], set()
    for row in _dicts(value["tell"], "tell"):
        report = as_number(row.get("report_id"))
        expect(
            report in set(reports),
            f"policy(...): tell names {row.get('report_id')!r}, which is no report_id of the contacts.",
        )
        expect(report not in seen, f"policy(...): tell has report {int(report)} more than once.")
        seen.add(report)
        at_night = row.get("at_night")
        minutes = _number(row.get("minutes_before"), f"minutes_before of report {int(report)}", least=-1e7, none=True)
        expect(
            minutes is None or isinstance(at_night, bool),
            f"policy(...): at_night of report {int(report)} is True or False; this is {at_night!r:.80}.",
        )
        tell.append({"report_id": int(report), "minutes_before": minutes, "at_night": bool(at_night)})
    down = value["stand_down"]
    expect(isinstance(down, dict), f"policy(...): stand_down is a dict; this is {down!r:.80}.")
    return {
        "group_by": _one_of(value["group_by"], GROUPS, "group_by"),
        "wait_minutes": _number(value["wait_minutes"], "wait_minutes"),
        "matrix": matrix,
        "paths": paths,
        "tell": tell,
        "stand_down": {
            "after": _one_of(down.get("after"), AFTER, "after of stand_down"),
            "delay_minutes": _number(down.get("delay_minutes"), "delay_minutes of stand_down"),
            "to": _several(down.get("to"), ("paged", "told"), "to of stand_down"),
        },
    }


# -- task b: the replay --------------------------------------------------------------------------------------------------------

SETTINGS = (("quick", 0.06), ("middling", 0.5), ("slow", 0.94))
INCIDENTS, DAYS = 600, 182
LAST_MINUTE = 12  # of these: deadlines that have passed when the group looks
PAST, PAST_DAYS = 600, 182
PAGED_SHARE, MISROUTED_SHARE = 0.95, 0.05
HASTY_SHARE = 0.25
FEW_ROWS, FEW_OF_THE_WAY = 10, 0.50  # late in incidents with fewer failed rows
NIGHTS = 30  # so many at least in a replay, for something to be judged
EARLY_FIXES, EARLY_MINUTES = 2, 45  # too early: so many long fixes and minutes before a deadline
EARLY_READS, EARLY_CALL_MINUTES = 2, 20  # the same for calls: so many slow reads and minutes before notice_minutes
ALPHA = 1e-4
TELL_AHEAD = 150.0  # a contact who is told longer before the time to decide is told early
# Groups by what their alerts feed when they page: none, others, critical ones by day and at night.
KINDS = ("hit no report", "hit reports that are not critical", "hit critical reports and page by day",
         "hit critical reports and page at night")  # fmt: skip
# By count: the largest share of the way to the naive policy, and which that is.
BANDS = {
    "late": (0.20, "awake"),
    "unwarned": (0.30, "silent"),
    "woken": (0.25, "everything"),
    "called": (0.20, "at once"),
    "idle": (0.25, "at once"),
}
# The same by shares of pages at night. Over 24 seeds 0.8 to 0.9 of those who answer at night give at most 0.42, waiting for an
# hour or until the middle of the gap at least 0.93.
UNHEARD_OF_THE_WAY = 0.60


@dataclass(frozen=True)
class Setting:
    """One replay: history, incidents, people, today's policy, and what the reference and the naive policies score. ``now_min``:
    the minute at which it begins; ``early_min``: a page at night is too early if no critical report is due in so many minutes;
    ``ahead_min``: a call at night is, so many before the contact must have read it."""

    name: str
    history: dict[str, Any]
    incidents: list[dict[str, Any]]
    on_call: dict[str, Any]
    contacts: dict[str, Any]
    reports: list[dict[str, Any]]
    today: dict[str, Any]
    now_min: float
    scores: dict[str, dict[str, int]]
    few_late: dict[str, int]  # critical reports that are late in incidents with few failed rows, by policy
    early_min: float
    ahead_min: float

    def limit(self, count: str) -> float:
        """What a count may be."""
        share, naive = BANDS[count]
        return self.scores["ours"][count] + share * (self.scores[naive][count] - self.scores["ours"][count])

    @property
    def unheard_limit(self) -> float:
        """The share of pages at night that may be heard by nobody within the hour."""
        ours, naive = (self.scores[k]["unheard"] / max(self.scores[k]["nights"], 1) for k in ("ours", "nobody next"))
        return ours + UNHEARD_OF_THE_WAY * max(naive - ours, 0.0)


def _settings(lab: Lab) -> list[Setting]:
    return lab.kept("settings", lambda: [_setting(lab, name, speed) for name, speed in SETTINGS])


def _setting(lab: Lab, name: str, speed: float) -> Setting:
    module = subject("dq_incidents")

    def rows(sql: str) -> list[dict[str, Any]]:
        return lab.world.sql(sql).dicts()

    estate, on_call, contacts = module.read_estate(rows), module.on_call_of(rows), module.contacts_of(rows)
    rng = lab.rng(f"incidents {name}")
    settings = module.draw_settings(rng, speed)
    past = module.draw_incidents(estate, rng, settings, module.TODAY_MIN - 1440 * PAST_DAYS, PAST_DAYS - 2, PAST)
    ahead = module.TODAY_MIN + 1440
    fresh = module.draw_last_minute(estate, rng, settings, ahead, DAYS - 40, LAST_MINUTE)
    fresh += module.draw_incidents(estate, rng, settings, ahead, DAYS, INCIDENTS - len(fresh))
    fresh.sort(key=lambda i: i["alerts"][0]["at"])
    today = module.today(estate.reports)
    written: dict[str, list[tuple]] = {n: [] for n in module.COLUMNS}
    module.write_history(written, past, on_call, contacts, today)
    history = module.history_of(written, estate, contacts)
    policies = _policies(history)
    scores = dict(zip(policies, replay_scores(fresh, on_call, contacts, list(policies.values())), strict=True))
    early = EARLY_FIXES * _quantile([i["fix_minutes"] for i in history["incidents"]], 0.9) + EARLY_MINUTES
    early_call = EARLY_READS * _quantile(_read_by_day(history), 0.9) + EARLY_CALL_MINUTES
    few = [i for i in fresh if _is_few(i)]
    few_late = {k: score(few, replay(few, on_call, contacts, policies[k]))["late"] for k in ("ours", BANDS["late"][1])}
    return Setting(
        name,
        history,
        fresh,
        on_call,
        contacts,
        estate.reports,
        today,
        module.TODAY_MIN,
        scores,
        few_late,
        early,
        early_call,
    )


def _is_few(incident: dict[str, Any]) -> bool:
    return sum(a["failed_rows"] for a in incident["alerts"]) < FEW_ROWS


def _quantile(values: Sequence[float], share: float) -> float:
    return float(np.quantile(values, share))


def _read_by_day(history: dict[str, Any]) -> list[float]:
    """How long contacts took to read what was sent by day."""
    return [n["read_minutes"] for n in history["notices"] if not n["is_night"]]


def _policies(history: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The reference, which knows the history alone, and the naive policies."""
    wait = _quantile([i["cause_lag_minutes"] for i in history["incidents"]], 0.97)
    fix = _quantile([i["fix_minutes"] for i in history["incidents"]], 0.9)
    # Shortly before the morning those who sleep on answer soon, too.
    night = [p for p in history["pages"] if p["is_night"] and p["minutes_to_morning"] > 120]
    awake = [p["acknowledged_minutes"] for p in night if p["acknowledged_minutes"] < p["minutes_to_morning"]]
    heard = _quantile(awake or [20.0], 0.85)
    read = _quantile(_read_by_day(history), 0.9)
    path = {"page": "cause", "acknowledge_minutes": heard, "then": ["second", "manager"]}
    row = {"impact": "critical", "max_hours": None, "min_failed_rows": None, "severity": "SEV2"}
    urgent = row | {"max_hours": (fix + 1.5 * heard) / 60, "severity": "SEV1"}
    rest = row | {"impact": "any", "severity": "SEV3"}
    tell = [
        {"report_id": c["report_id"], "minutes_before": c["notice_minutes"] + read, "at_night": True}
        for c in history["contacts"]
        if c["is_business_critical"]
    ]
    ours = {
        "group_by": "lineage",
        "wait_minutes": wait,
        "matrix": [urgent, row, rest],
        "paths": {
            "SEV1": path | {"when": "any time"},
            "SEV2": path | {"when": "waking hours"},
            "SEV3": path | {"when": "office hours"},
        },
        "tell": tell,
        "stand_down": {"after": "all pass", "delay_minutes": 5, "to": ["paged", "told"]},
    }
    return {
        "ours": ours,
        "awake": ours | {"matrix": [row, rest]},
        "silent": ours | {"tell": []},
        "everything": ours | {"matrix": [rest | {"severity": "SEV1"}]},
        "at once": ours | {"tell": [t | {"minutes_before": 1e6} for t in tell]},
        "nobody next": ours | {"paths": {severity: p | {"then": []} for severity, p in ours["paths"].items()}},
    }


def _asked(lab: Lab, setting: Setting, first: bool = False) -> dict[str, Any]:
    """The learner's policy for a setting. The first check of the task says why it cannot be read, the others that it cannot."""
    try:
        return _read(lab, setting)
    except NotAttempted:
        raise
    except CheckFailed:
        if first:
            raise
        raise CheckFailed("This needs a policy that can be read: see the first check of task b.") from None


def _read(lab: Lab, setting: Setting) -> dict[str, Any]:
    return lab.once(
        f"policy {setting.name}",
        lambda: read_policy(lab.call("policy", setting.history), [c["report_id"] for c in setting.history["contacts"]]),
    )


def _results(lab: Lab, setting: Setting) -> list[dict[str, Any]]:
    return lab.once(
        f"results {setting.name}",
        lambda: replay(setting.incidents, setting.on_call, setting.contacts, _asked(lab, setting)),
    )


def _scores(lab: Lab) -> list[tuple[Setting, dict[str, int]]]:
    return [(s, lab.once(f"score {s.name}", lambda s=s: score(s.incidents, _results(lab, s)))) for s in _settings(lab)]


def _expect_paged(setting: Setting, got: dict[str, int]) -> None:
    silent = got["never"]
    expect(
        silent <= (1 - PAGED_SHARE) * INCIDENTS,
        f"With people and checks that are {setting.name}, {silent} of {INCIDENTS} incidents page nobody, ever: what "
        f"is not paged is "
        "not fixed. Each impact needs a row of the matrix and a path.",
        ask="Which rows of the matrix fit an incident that hits no report?",
    )


def _counts(lab: Lab, names: Sequence[str]) -> Evidence:
    """Yours, ours, naive and limit by setting."""
    rows = []
    for setting, got in _scores(lab):
        for n in names:
            rows.append(
                [
                    setting.name,
                    n,
                    got[n],
                    setting.scores["ours"][n],
                    setting.scores[BANDS[n][1]][n],
                    round(setting.limit(n), 1),
                ]
            )
    return Evidence(
        "counts in 600 incidents", Table.of(["people and checks", "count", "yours", "ours", "naive", "limit"], rows)
    )


WORDS = {
    "late": "critical reports were not right at their deadline",
    "unwarned": "critical reports had a contact who had to decide and did not know",
    "woken": "pages woke somebody at night for nothing",
    "called": "calls woke the contact of a report at night for nothing",
    "idle": "notices were about reports that were right in time",
}


def _within(lab: Lab, count: str, why: str, ask: str, misconception: str) -> None:
    for setting, got in _scores(lab):
        limit = setting.limit(count)
        expect(
            got[count] <= limit,
            f"With people and checks that are {setting.name}, {got[count]} {WORDS[count]}; at most {math.floor(limit)} may "
            f"(ours: {setting.scores['ours'][count]}, naive: {setting.scores[BANDS[count][1]][count]}). {why}",
            evidence=lambda: _counts(lab, [count]),
            ask=ask,
            misconception=misconception,
        )


def _rejected(count: int, n: int, share: float) -> bool:
    """Whether a one-sided binomial test rejects the promise at ALPHA."""
    if n == 0 or count <= share * n:
        return False
    tail = 0.0
    for k in range(count, n + 1):
        tail += math.exp(
            math.lgamma(n + 1)
            - math.lgamma(k + 1)
            - math.lgamma(n - k + 1)
            + k * math.log(share)
            + (n - k) * math.log(1 - share)
        )
    return tail < ALPHA


@check("b", "critical reports are right at their deadline", points=1.25)
def reports_are_right(lab: Lab) -> str:
    """How fast the right people are at work, where it matters."""
    policies = [_asked(lab, s, first=True) for s in _settings(lab)]
    rows = any(m["min_failed_rows"] for m in policies[0]["matrix"])
    _within(
        lab,
        "late",
        "Whoever begins later than a fix before the deadline cannot make it.",
        "How many hours before the deadline must somebody have begun, if the fix is a long one?",
        "rows" if rows else "too_late",
    )
    ours, naive = (sum(s.few_late[k] for s in _settings(lab)) for k in ("ours", BANDS["late"][1]))
    late = 0
    for setting in _settings(lab):
        few = [(i, r) for i, r in zip(setting.incidents, _results(lab, setting), strict=True) if _is_few(i)]
        late += sum(x["critical"] and not x["right"] for _, r in few for x in r["reports"])
    limit = ours + FEW_OF_THE_WAY * (naive - ours)
    expect(
        late <= limit,
        f"In incidents with fewer than {FEW_ROWS} failed rows, {late} critical reports were not right at their deadline in all "
        f"three replays; at most {limit:.0f} may (ours: {ours}, naive: {naive}). A wrong exchange rate is one row.",
        ask="What do failed rows say about the reports that are hit?",
        misconception="rows",
    )
    return "; ".join(f"{s.name}: {g['late']} of {g['critical']} late" for s, g in _scores(lab))


@check("b", "contacts of critical reports know in time", points=1)
def contacts_know_in_time(lab: Lab) -> str:
    """A wrong number that is held back is late; one that is not is read."""
    _within(
        lab,
        "unwarned",
        "They published a wrong number, or it was luck that they did not.",
        "When does the contact have to know, and when is a message read that is sent at that moment?",
        "told",
    )
    return "; ".join(f"{s.name}: {g['unwarned']} did not know" for s, g in _scores(lab))


@check("b", "nobody is woken for nothing", points=1)
def nobody_is_woken_for_nothing(lab: Lab) -> str:
    """Pages and calls at night that made no difference, and notices about reports that were right."""
    for setting, got in _scores(lab):
        _expect_paged(setting, got)
    rows = any(m["min_failed_rows"] for m in _asked(lab, _settings(lab)[0])["matrix"])
    _within(
        lab,
        "woken",
        "After a month of this nobody hears the pager any more.",
        "Which of these could have waited until seven, and who was woken while somebody else was about to acknowledge?",
        "rows" if rows else "wakes",
    )
    for setting, got in _scores(lab):
        expect(
            got["others_called"] == 0,
            f"With people and checks that are {setting.name}, {got['others_called']} calls at night woke the contact of a report "
            "that is not critical; none may. Nobody reads it before the morning.",
            ask="Which of the contacts have a report that cannot wait?",
            misconception="told_all",
        )
    policy = _asked(lab, _settings(lab)[0])
    notice = {i: c["notice_minutes"] for i, c in _settings(lab)[0].contacts.items()}
    ahead = [
        t["minutes_before"] - notice[str(t["report_id"])] for t in policy["tell"] if t["minutes_before"] is not None
    ]
    fit = not ahead or max(ahead) <= TELL_AHEAD
    _within(
        lab,
        "called",
        "After a month of this nobody answers.",
        "These contacts are told when they have to decide, and the incidents are still open then: could somebody have begun "
        "earlier, in waking hours?"
        if fit
        else "At which moment does this contact have to decide?",
        "waits" if fit else "told_all",
    )
    for setting, _ in _scores(lab):
        early = 0
        for result in _results(lab, setting):
            due = {r["report_id"]: r["deadline"] for r in result["reports"]}
            for n in (n for n in result["notices"] if n["called"]):
                decides = due[n["report_id"]] - setting.contacts[str(n["report_id"])]["notice_minutes"]
                early += decides - n["at"] > setting.ahead_min + 0.1
        expect(
            early == 0,
            f"With people and checks that are {setting.name}, {early} calls woke the contact of a report at night "
            f"too early: more than {setting.ahead_min:.0f} minutes before their notice_minutes began (two slow reads and "
            f"{EARLY_CALL_MINUTES} minutes). None may be: until then the fix may come.",
            ask="What does a contact need beyond notice_minutes?",
            misconception="told_all",
        )
    _within(
        lab,
        "idle",
        "A channel that is mostly wrong is muted.",
        "Which of these reports was in danger when its contact was told?",
        "told_all",
    )
    return "; ".join(
        f"{s.name}: "
        + ", ".join(
            f"{said} {g[c]} (at most {s.limit(c):.0f}, ours {s.scores['ours'][c]})"
            for c, said in (("woken", "pages"), ("called", "calls"), ("idle", "notices"))
        )
        for s, g in _scores(lab)
    )


@check("b", "pages go out in the hours of their severity", points=0.5)
def pages_keep_the_hours(lab: Lab) -> str:
    """At night for what cannot wait, in office hours where no critical report is hit."""
    for setting, got in _scores(lab):
        _expect_paged(setting, got)
        openings = [p for r in _results(lab, setting) for p in r["pages"] if p["opening"]]
        untimely = [p for p in openings if p["untimely"]]
        expect(
            not untimely,
            f"With people and checks that are {setting.name}, {len(untimely)} pages went out outside of office hours though none "
            "of the alerts until then fed a critical report. None may: that is SEV3 or SEV4.",
            ask="By which row and which path does an incident go that hits other reports alone, or none?",
            misconception="wakes",
        )
        expect(
            got["overdue"] == 0,
            f"With people and checks that are {setting.name}, {got['overdue']} pages went out after waking hours had begun "
            "though a critical report was hit. None may wait longer: that is SEV2, also when its deadline has passed.",
            ask="By which row does a critical report go that has time left, or whose deadline has passed, and by which path?",
            misconception="waits",
        )
        expect(
            got["never"] == 0,
            f"With people and checks that are {setting.name}, {got['never']} of {INCIDENTS} incidents page nobody, ever. A "
            "deadline that has passed fits a row with max_hours None alone, and what is wrong is still to be mended.",
            ask="Which rows of the matrix fit a report whose deadline has passed?",
        )
        early = sum(p["night"] and 60 * p["hours_left"] > setting.early_min + 0.1 for p in openings)
        expect(
            early == 0,
            f"With people and checks that are {setting.name}, {early} pages went out at night while no critical report was due "
            f"in the {setting.early_min / 60:.1f} hours to come (two long fixes and {EARLY_MINUTES} minutes). None may: "
            "that is SEV2.",
            ask="How long do fixes take in the history that policy(...) is given, and where does max_hours come from?",
            misconception="constant",
        )
    return "At night for what cannot wait, in office hours where no critical report is hit."


def _expect_routed(which: str, opened: Mapping[str, Sequence[bool]], policy: Mapping[str, Any]) -> None:
    """Groups by what their alerts feed: whether the first page of each went to the right team."""
    for kind, right in opened.items():
        wrong = list(right).count(False)
        expect(
            not _rejected(wrong, len(right), MISROUTED_SHARE),
            f"{which} the groups that {kind}, {wrong} of {len(right)} paged a team that does not own the cause "
            f"({wrong / max(len(right), 1):.0%}; at most {MISROUTED_SHARE:.0%} are allowed).",
            ask="By which path do they go, how long do they wait, and who can mend what came in wrong?",
            misconception="wait" if policy["paths"].get("SEV1", {}).get("page") == "cause" else "owner",
        )


@check("b", "pages reach the owner of the cause", points=0.75)
def pages_reach_the_cause(lab: Lab) -> str:
    """A page to somebody who cannot mend it costs an hour and a night's sleep."""
    for setting, got in _scores(lab):
        _expect_paged(setting, got)
        n, wrong = got["groups"], got["misrouted"]
        expect(
            not _rejected(wrong, n, MISROUTED_SHARE),
            f"With people and checks that are {setting.name}, {wrong} of {n} groups paged a team that does not own the cause "
            f"({wrong / max(n, 1):.0%}; at most {MISROUTED_SHARE:.0%} are allowed). They search for an hour, and "
            f"then page the team "
            "that does.",
            ask="When the page goes out, which tables of the group have failed already?",
            misconception="owner" if _asked(lab, setting)["paths"].get("SEV1", {}).get("page") != "cause" else "wait",
        )
    everywhere: dict[str, list[bool]] = {k: [] for k in KINDS}
    for setting in _settings(lab):
        opened: dict[str, list[bool]] = {k: [] for k in KINDS}
        for p in (p for r in _results(lab, setting) for p in r["pages"] if p["opening"]):
            kind = KINDS[2 + p["night"] if p["impact"] == 2 else p["impact"]]
            opened[kind].append(p["right_team"])
            everywhere[kind].append(p["right_team"])
        _expect_routed(f"With people and checks that are {setting.name}, of", opened, _asked(lab, setting))
    _expect_routed("In all three replays, of", everywhere, _asked(lab, _settings(lab)[0]))
    return "; ".join(f"{s.name}: {g['misrouted']} of {g['groups']}" for s, g in _scores(lab))


def _nights(lab: Lab) -> Evidence:
    """Pages at night by setting: heard by nobody, and handed on in haste."""
    rows = []
    for setting, got in _scores(lab):
        ours, naive, n = setting.scores["ours"], setting.scores["nobody next"], got["nights"]
        minutes = sorted({round(p["acknowledge_minutes"], 1) for p in _asked(lab, setting)["paths"].values()})
        rows.append(
            [setting.name, ", ".join(map(str, minutes)), n, got["unheard"], round(setting.unheard_limit * n, 1),
             ours["unheard"], naive["unheard"], got["hasty"]]
        )  # fmt: skip
    columns = ["people and checks", "your acknowledge_minutes", "pages at night", "nobody in 60 minutes", "at most",
               "ours", "nobody is next", "hasty"]  # fmt: skip
    return Evidence("pages at night to the cause's team, by replay", Table.of(columns, rows))


@check("b", "a page at night is heard by somebody", points=0.75)
def pages_are_heard(lab: Lab) -> str:
    """A page that nobody acknowledges is handed on before it is too late."""
    for setting, got in _scores(lab):
        _expect_paged(setting, got)
    for setting, got in _scores(lab):
        nights, unheard = got["nights"], got["unheard"]
        expect(
            nights >= NIGHTS,
            f"With people and checks that are {setting.name}, {nights} pages to the right team went out at night in "
            f"{INCIDENTS} incidents: there is hardly anything that could be heard, and critical reports are due in the early "
            "morning.",
            misconception="too_late",
        )
        expect(
            unheard <= setting.unheard_limit * nights,
            f"With people and checks that are {setting.name}, {unheard} of {nights} pages that went out at night to the right "
            f"team were acknowledged by nobody within an hour; at most {setting.unheard_limit:.0%} may be.",
            evidence=lambda: _nights(lab),
            ask="When have those answered who answer at night at all, and when does the second, after them?",
            misconception="heard",
        )
    for setting, got in _scores(lab):
        expect(
            not _rejected(got["hasty"], got["nights"], HASTY_SHARE),
            f"With people and checks that are {setting.name}, {got['hasty']} people were woken in {got['nights']} nights though "
            f"somebody before them was awake and about to acknowledge; at most {HASTY_SHARE:.0%} as many may be.",
            evidence=lambda: _nights(lab),
            ask="At night, after how many minutes have those answered who answer at all?",
            misconception="hasty",
        )
    return "; ".join(
        f"{s.name}: {g['unheard']} of {g['nights']} not heard, {g['hasty']} hasty" for s, g in _scores(lab)
    )


@check("b", "an incident pages once", points=0.25)
def one_page_for_forty_alerts(lab: Lab) -> str:
    """However many alerts an incident raises, one group pages."""
    for setting, got in _scores(lab):
        _expect_paged(setting, got)
        results = _results(lab, setting)
        worst = max(range(len(results)), key=lambda k: results[k]["groups"])
        alerts = len(setting.incidents[worst]["alerts"])
        expect(
            results[worst]["groups"] <= 1,
            f"An incident with {alerts} alerts paged {results[worst]['groups']} times, for one fault in "
            f"{setting.incidents[worst]['cause_table']}. Who gets the twentieth page has stopped reading.",
            ask="What do these alerts have in common?",
            misconception="storm",
        )
    most = max(len(i["alerts"]) for s in _settings(lab) for i in s.incidents)
    return f"The largest of 1,800 incidents raised {most} alerts and paged once."


@check("b", "all hear that it is over, in time and not too soon", points=0.5)
def all_hear_that_it_is_over(lab: Lab) -> str:
    """Whoever was paged or told, once all is right and within 30 minutes."""
    for setting, got in _scores(lab):
        _expect_paged(setting, got)
        told = sum(len(r["notices"]) for r in _results(lab, setting))
        ours = setting.scores["ours"]
        expect(
            got["owed"] > 0 and 2 * told >= ours["notices"],
            f"With people and checks that are {setting.name}, {told} notices went out to contacts (ours: "
            f"{ours['notices']}): hardly "
            "anybody was told that there was something.",
            misconception="told",
        )
        expect(
            got["early"] == 0,
            f"With people and checks that are {setting.name}, {got['early']} of {got['owed']} people heard that it "
            f"was over while "
            "tables were still wrong. The next number that they publish is wrong, and they believe it.",
            ask="When is a report right again?",
            misconception="over",
        )
        expect(
            got["stood_down"] == got["owed"],
            f"With people and checks that are {setting.name}, {got['owed'] - got['stood_down']} of {got['owed']} "
            f"people who were paged "
            "or told did not hear within 30 minutes of the fix that it was over. They hold their reports back for nothing.",
            ask="Who was disturbed, and who of them is told now?",
            misconception="over",
        )
    return f"{sum(g['owed'] for _, g in _scores(lab))} people were disturbed, and all of them heard."


# -- twelve weeks later ----------------------------------------------------------------------------------------------------------

CFO_REPORT = "Finance morning view"


def twelve_weeks_later(lab: Lab) -> Any:
    """Twelve weeks of the middling incidents under today's rules and the learner's: wrong numbers by report, needless pages
    at night by team."""
    from workshop.plots import BLUE, RED, plt

    setting = _settings(lab)[1]
    end = setting.now_min + 1440 * 85
    incidents = [i for i in setting.incidents if i["alerts"][0]["at"] < end]
    names = {r["report_id"]: r["report_name"] for r in setting.reports if r["is_business_critical"]}
    teams = {t["team_id"]: t["team_name"] for t in lab.world.sql("select team_id, team_name from ops.teams").dicts()}
    policies = {"today": setting.today}
    with contextlib.suppress(CheckFailed):  # not attempted, or it cannot be read
        policies["yours"] = _asked(lab, setting)
    runs = {who: replay(incidents, setting.on_call, setting.contacts, p) for who, p in policies.items()}
    colours = {"today": RED, "yours": BLUE}
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.6, 4.0))
    wrong = {
        who: {i: sum(r["wrong"] for x in run for r in x["reports"] if r["report_id"] == i) for i in names}
        for who, run in runs.items()
    }
    woken: dict[str, dict[int, int]] = {}
    for who, run in runs.items():
        woken[who] = dict.fromkeys(teams, 0)
        for p in (p for x in run for p in x["pages"] if p["needless"]):
            woken[who][p["team"]] += 1
    calls = {who: sum(n["needless"] for x in run for n in x["notices"]) for who, run in runs.items()}
    order = [i for i in sorted(names, key=lambda i: wrong["today"][i]) if any(w[i] for w in wrong.values())]
    top = sorted(teams, key=lambda t: sum(w[t] for w in woken.values()))[-10:]
    for ax, keys, labels, counts in ((left, order, names, wrong), (right, top, teams, woken)):
        at = np.arange(len(keys))
        for k, who in enumerate(runs):
            shift = 0.2 - 0.4 * k if len(runs) > 1 else 0.0
            ax.barh(at + shift, [counts[who][key] for key in keys], 0.38, color=colours[who], label=who)
        ax.set_yticks(at, [labels[key] for key in keys])
        ax.grid(axis="y", visible=False)
        ax.grid(axis="x", alpha=0.3)
    left.set_xlabel("wrong numbers published")
    right.set_xlabel("needless pages at night")
    right.legend(loc="lower right")
    cfo = next(i for i, n in names.items() if n == CFO_REPORT)

    def first_read(run: Sequence[Any]) -> str:
        days = sorted(r["deadline"] for x in run for r in x["reports"] if r["report_id"] == cfo and r["wrong"])
        return f"{len(days)}, first on {EPOCH + timedelta(minutes=days[0]):%d %B}" if days else "none"

    left.set_title(
        "Wrong numbers that the CFO read\n" + "; ".join(f"{w} {first_read(r)}" for w, r in runs.items()), fontsize=9
    )
    right.set_title(
        "Needless pages: "
        + ", ".join(f"{w} {sum(woken[w].values())}" for w in runs)
        + "\nneedless calls: "
        + ", ".join(f"{w} {calls[w]}" for w in runs),
        fontsize=9,
    )
    plt.close(figure)
    return figure
