"""What lab 3.9 judges.

Task a. The parts of labs 3.1 to 3.8 are read with the checks of their own labs, turned into what is in force of each, and run
together in the judge's process: twenty months, the same for everybody (workshop.sim.whole). "reference" is the solved cell of
that lab, on this world.

Task b. The four signals of the last four weeks; the truth is counted here run by run and hour by hour.

Task c. The learner's function asks a simulation what a set of changes costs a week. The order that it returns is judged on other
weeks, with the references of all parts, against the order that asks again after each change.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import combinations
from types import ModuleType
from typing import Any

import numpy as np

from workshop.borrowed import choices, named
from workshop.checks import CheckFailed, Evidence, LearnerError, NotAttempted, as_number, as_table, check, expect
from workshop.reference import solved_lab
from workshop.sim import nights
from workshop.sim.whole import PARTS, SIGNALS, Fleet, draw_month, run_month
from workshop.table import Table
from workshop.topics import load_checks, topic
from workshop.trusted import Lab

SUBJECTS = (
    "failures", "schemas", "contention", "pipelines", "runs", "scheduling", "order_batches", "handoffs", "credentials",
    "month",
)  # fmt: skip

HINTS = {
    "a": (
        'Begin with all nine as "reference": that is the aim. Then put in your own parts, one after the other, and run the check '
        "after each. Which line of the bill moves?",
        "A part that was right in its lab can still be dear here: retries of tasks that may not be run again, alerts "
        "that page for what another part has already mended. The bill names what costs.",
        "Four parts of your own are enough: the short ones are the retries (3.1 a), the rules (3.1 b), the contract "
        "(3.2 c) and the rotation (3.8 b).",
    ),
    "b": (
        "Latency is about runs of DAGs, traffic and errors are about attempts, saturation is about slots. Which table "
        "has a row for each of them?",
        "A run that was never done is the latest of all, and an attempt that was mended by the next one has failed all the same.",
        "For saturation cut each attempt at the full hours (`generate_series` from its first hour to its last), add "
        "up the seconds by pool and hour, divide by 3,600 times the pool's slots, and take the greatest of each day.",
    ),
    "c": (
        "What a change saves depends on what has shipped before it. What does simulate say about the same change "
        "before and after the alerts?",
        "Ask for each change alone, ship the best, then ask again for each of the others together with what has shipped.",
        "Nine, then eight, then seven questions: 44 in all. There are 60.",
    ),
}

MISCONCEPTIONS = {
    "page_storm": "A page costs sixty dollars and a night's sleep. Who is paged for an attempt that will be tried again?",
    "as_before": "Look at the lines of the bill: which of them is as high as today?",
    "more_load": "Retries that mend nothing are attempts too: traffic and errors go up together.",
    "all_borrowed": "With nine references the month is ours, not yours.",
    "survivors": "Runs that were never done have no end, and so fall out of a quantile of those that have one.",
    "by_run": "A task that succeeded at its third attempt has failed twice. Errors are counted by attempt.",
    "mean_use": "A pool that is full for an hour each night and idle by day is half empty on average.",
    "once": "The first change moves what all others are worth. Ask again after each.",
    "by_number": "The order in which one learns is not the order in which it pays.",
}

MONTHS = 20
TRIAL_MONTHS = 4
COST_SHARE = 0.05
SIGNAL_SLACK = 1.05
OWN_PARTS = 4
OWN_SHARE = 0.5
HARDLY_USD = 200.0
QUESTIONS = 60
ORDER_SHARE = 0.3
FIRST_SHARE = 0.9
NEXT_SHARE = 0.7
# Another quarter, other prices: by line of the bill, from how many to how many times those of task a.
PRICED = {
    "broken windows": (0.4, 1.5), "killed at work": (0.5, 2.0), "readers": (0.5, 6.0), "services": (0.5, 8.0),
    "credentials": (0.5, 4.0), "double writes": (0.5, 4.0),
}  # fmt: skip
DAYS = 14
LAST_DRAWS = 6


# -- parts ------------------------------------------------------------------------------------------------------------------


def _of(topic_id: str) -> ModuleType:
    """The checks of another lab of the module."""
    return load_checks(topic(topic_id)).module


@dataclass(frozen=True)
class Part:
    """One decision: its name in PARTS, what it is called in this notebook and in its lab, how what it does is read."""

    key: str
    name: str
    topic: str
    task: str
    named: str
    read: Callable[[Lab], Any]


def _contract(lab: Lab) -> dict[str, float]:
    """Shares of bad batches that are let in, and of good ones that are not."""
    refused = set(_of("3.2").read_refusals(lab))

    def make() -> tuple[set[Any], set[Any]]:
        bad = {b for (b,) in lab.world.sql("select batch_id from truth.message_plants where not is_decoy")}
        return bad, {b for (b,) in lab.world.sql("select distinct batch_id from raw.order_messages")} - bad

    bad, good = lab.kept("batches of the month", make)
    return {"bad_in": len(bad - refused) / len(bad), "good_out": len(good & refused) / len(good)}


def _cluster(lab: Lab) -> tuple[int, list[dict[str, Any]], list[dict[str, Any]]]:
    return lab.cached("cluster of the month", lambda: _of("3.4").read_cluster(lab))


def _services(lab: Lab) -> list[float]:
    return _service_days(lab, _of("3.4").read_policy(lab))


def _service_days(lab: Lab, policy: tuple[dict, dict]) -> list[float]:
    """US dollars that an outage of a service costs the DAGs of the month, on each of some days."""
    of = _of("3.4")
    cluster = _cluster(lab)
    days = of.draw_service_days(lab, cluster[2])
    calm = lab.kept(
        "calm days",
        lambda: of.run_service_days(lab, of.todays_policy(cluster[1]), [d | {"phases": []} for d in days], cluster),
    )
    got = of.run_service_days(lab, policy, days, cluster)
    mine = set(_dags(lab).column("dag_id"))

    def usd(day: Mapping[str, Any]) -> float:
        return sum(c["cost_usd"] for c in day["callers"] if c["dag_id"] in mine)

    return [max(0.0, usd(g) - usd(c)) for g, c in zip(got, calm, strict=True)]


def _windows(lab: Lab) -> dict[str, Any]:
    of = _of("3.5")
    jobs, capacity = of.read_jobs(lab.world, False)
    return _crowding(lab, jobs, capacity, of.read_plan(lab, jobs, capacity, None, "an ordinary night"))


def _crowding(lab: Lab, jobs: list, capacity: Mapping[str, Any], plan: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """By minute of the night, how much longer everything takes where the cluster is overbooked; and how many jobs a night break
    a promise."""
    minutes = nights.draw_minutes(lab.rng("whole nights"), jobs, 20)
    start, end = nights.run_nights(jobs, plan, minutes)
    need, size = (np.array(v, dtype=float) for v in ([job["slots"] for job in jobs], capacity["slots"]))
    load = nights.load_of(start, end, need) / np.maximum(size, 1e-9)
    broken = nights.broken(jobs, plan, capacity, start, end).any(axis=0)
    return {"slow_down": np.maximum(load, 1.0).mean(axis=0).tolist(), "broken": float(broken.sum()) / len(minutes)}


def _load(lab: Lab) -> str:
    """Whether a rerun after a crash leaves what one run leaves; those two checks of lab 3.6 decide."""
    of = _of("3.6")
    try:
        of.highest_version_once(lab)
        of.killed_and_rerun(lab)
    except (NotAttempted, LearnerError):
        raise
    except CheckFailed:
        return "wrong"
    return "safe"


def _handoffs(lab: Lab) -> dict[str, float]:
    """Hours a night that reports still wait, though an hour of one handoff of each stream could be had."""
    minutes = _of("3.7").read_minutes(lab, lab.world)
    best: dict[str, tuple[float, float]] = {}
    most: dict[str, float] = {}
    rows = lab.kept(
        "gains of the month",
        lambda: lab.world.sql(
            "select h.stream_id, h.handoff_id, g.minutes_forward from ops.handoffs h join truth.handoff_gains g using "
            "(handoff_id) order by all"
        ),
    )
    for stream, handoff, gain in rows:
        most[stream] = max(most.get(stream, 0.0), gain)
        best[stream] = max(best.get(stream, (-1.0, 0.0)), (minutes.get(handoff, 0.0), gain))
    return {"hours": sum(most[s] - best[s][1] for s in most) / 60}


def _credentials(lab: Lab) -> dict[str, float]:
    return _rotated(lab, _of("3.8").read_policy(lab))


def _rotated(lab: Lab, rules: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Of the accounts of the month's DAGs: US dollars a day for rotations, exposure and emergencies, and calls a day that are
    refused."""
    of = _of("3.8")
    mine = set(_dags(lab).column("dag_id"))
    used = lab.world.sql("select class, dag_id from ops.api_accounts where disabled_on is null").rows
    usd = refused = 0.0
    for name, row in of.simulate_classes(lab, rules, of.seed_of(lab, "whole month")).items():
        accounts = sum(c == name and d in mine for c, d in used)
        usd += accounts * (row["usd"] - row["costs"]["failed in rotations"]) / 365
        # Each account and rotation of eight quarters was simulated; a caller that is cut off has one run refused.
        years = row["rotations"] * rules[name]["rotate_every_days"] / 365
        refused += accounts * row["callers_cut_off"] / max(years, 1e-9) / 365
    return {"usd_per_day": usd, "refused": refused}


ALL = (
    Part("retries", "retry_policy", "3.1", "a", "retry_policy", lambda lab: _of("3.1").read_policy(lab)),
    Part("alerts", "RULES", "3.1", "b", "RULES", lambda lab: _of("3.1").read_rules(lab)),
    Part("contract", "contract", "3.2", "c", "contract", _contract),
    Part("parameters", "parameters", "3.3", "b", "parameters", lambda lab: _of("3.3").read_policy(lab)),
    Part("services", "services", "3.4", "b", "policy", _services),
    Part("windows", "schedule", "3.5", "a", "schedule", _windows),
    Part("load", "load", "3.6", "a", "load", _load),
    Part("handoffs", "bottlenecks", "3.7", "b", "bottlenecks", _handoffs),
    Part("credentials", "rotation", "3.8", "b", "policy", _credentials),
)
PAGES_TODAY = [
    {"on": "attempt failed", "do": "page"},
    {"on": "gave up", "do": "page"},
]  # to everybody along the way, each time


def _today(lab: Lab) -> dict[str, Any]:
    """What is in force today of each part."""

    def make() -> dict[str, Any]:
        alike = {"to": "everybody", "group_by": "none", "group_minutes": 0, "notice": False}
        services, rules = lab.of("3.4"), lab.of("3.8")
        jobs, capacity = _of("3.5").read_jobs(lab.world, False)
        hours = lab.world.sql(
            "select sum(most) / 60 from (select max(minutes_forward) as most from ops.handoffs join "
            "truth.handoff_gains using (handoff_id) group by stream_id)"
        ).value()
        return {
            "retries": None,
            "alerts": [rule | alike for rule in PAGES_TODAY],
            "contract": {"bad_in": 1.0, "good_out": 0.0},
            "parameters": _of("3.3").todays_policy(lab),
            "services": _service_days(services, _of("3.4").todays_policy(_cluster(services)[1])),
            "windows": _crowding(lab.of("3.5"), jobs, capacity, _of("3.5").todays_plan(lab.world, jobs)),
            "load": "unsafe",
            "handoffs": {"hours": float(hours)},
            "credentials": _rotated(rules, _of("3.8").TODAY),
        }

    return lab.kept("today", make)


def _reference(lab: Lab, part: Part) -> Any:
    def make() -> Any:
        with solved_lab(topic(part.topic), lab) as solved:
            return part.read(solved)

    return lab.kept(f"reference for {part.key}", make)


def _references(lab: Lab) -> dict[str, Any]:
    return {part.key: _reference(lab, part) for part in ALL}


def _parts(lab: Lab) -> dict[str, Any]:
    """What is in force of each part with the learner's choices."""

    def make() -> dict[str, Any]:
        chosen, found = choices(lab, ALL), {}
        for part in ALL:
            if chosen[part.name]:
                found[part.key] = _reference(lab, part)
            else:
                other = lab.of(part.topic, {part.named: part.name})
                found[part.key] = named(part, lambda p=part, o=other: p.read(o))
        return found

    return lab.once("parts", make)


def _dags(lab: Lab) -> Table:
    """The DAGs of the month."""
    return lab.cached(
        "dags",
        lambda: lab.world.sql(
            """
            select distinct
              d.dag_id,
              m.domain,
              -- a report of the morning that is given two hours or more
              d.purpose = 'report' and d.deadline_minutes >= 120
              and try_cast(split_part(d.schedule_cron, ' ', 2) as integer) between 5 and 8 as reads_the_night
            from ops.task_resources
            join ops.tasks using (task_id)
            join ops.dags d using (dag_id)
            join ops.teams m using (team_id)
            order by d.dag_id
            """
        ),
    )


# -- task a -----------------------------------------------------------------------------------------------------------------


def _tables(lab: Lab) -> dict[str, list[dict[str, Any]]]:
    """What the months are made of: the platform of lab 3.1, the night of lab 3.3, who reads what."""

    def make() -> dict[str, list[dict[str, Any]]]:
        tables = {name: lab.world.sql(sql).dicts() for name, sql in _of("3.1").TABLES.items()}
        tables["night"] = lab.world.sql("select * from truth.batch_tasks order by task_id").dicts()
        tables["morning"] = [r for r in _dags(lab).dicts() if r["reads_the_night"]]
        tables["orders"] = [r for r in _dags(lab).dicts() if r["domain"] == "orders"]
        return tables

    return lab.kept("tables", make)


def _seeds(lab: Lab, name: str, n: int) -> list[str]:
    return [str(s) for s in lab.rng(name).integers(2**62, size=n)]


def _run(lab: Lab, state: Mapping[str, Any], n: int) -> list[dict[str, Any]]:
    """The first n of the twenty months under a state. The same state on the same world gives the same, so it is kept."""
    of = hashlib.sha256(repr(sorted(state.items())).encode()).hexdigest()
    seeds = _seeds(lab, "months", MONTHS)[:n]
    return lab.cached(
        f"{n} months of {of}",
        lambda: lab.judge("workshop.sim.whole:run_months", _tables(lab), seeds, {"of": dict(state)})["of"],
    )


def _months(lab: Lab) -> dict[str, list[dict[str, Any]]]:
    """Twenty months under today's parts, the learner's, and the references."""

    def make() -> dict[str, list[dict[str, Any]]]:
        states = {"today": _today(lab), "yours": _parts(lab), "reference": _references(lab)}
        return {who: _run(lab, state, MONTHS) for who, state in states.items()}

    return lab.once("months", make)


def _usd(months: Sequence[Mapping[str, Any]]) -> float:
    return sum(m["cost_usd"] for m in months) / len(months)


def _bill(months: Mapping[str, Sequence[Mapping[str, Any]]]) -> Evidence:
    kinds = sorted(months["today"][0]["usd"])
    mean = {who: [sum(m["usd"][k] for m in found) / len(found) for k in kinds] for who, found in months.items()}
    order = sorted(range(len(kinds)), key=lambda n: -max(values[n] for values in mean.values()))
    rows = [(kinds[n], *(round(values[n]) for values in mean.values())) for n in order]
    return Evidence(
        f"the bill of a month in USD, mean of {len(months['today'])} months",
        Table.of(["", *months], [*rows, ("in all", *(round(_usd(found)) for found in months.values()))]),
    )


def _signal(months: Sequence[Mapping[str, Any]], name: str) -> float:
    """Mean over days and months."""
    return float(np.mean([m[name] for m in months]))


WORDS = {
    "late_minutes": ("latency", "minutes until 95% of a day's runs are done"),
    "attempts": ("traffic", "attempts a day"),
    "failed_share": ("errors", "share of the attempts that fail"),
    "busiest": ("saturation", "busiest hour of the fullest pool"),
}


@check("a", "a month under all nine costs hardly more than under the references", points=2)
def month_is_calm(lab: Lab) -> str:
    """Twenty months with common random numbers: nine parts at once, as they act upon each other."""
    months = _months(lab)
    mine, best, today = (_usd(months[who]) for who in ("yours", "reference", "today"))
    share = (mine - best) / (today - best)
    excess = {
        k: sum(m["usd"][k] for m in months["yours"]) / MONTHS - sum(m["usd"][k] for m in months["reference"]) / MONTHS
        for k in months["today"][0]["usd"]
    }
    worst = max(excess, key=excess.__getitem__)
    expect(
        share <= COST_SHARE,
        f"A month under your nine parts costs {mine:,.0f} USD; {best:,.0f} with the references, {today:,.0f} today. "
        f"That is {share:.1%} of the way back to today ({COST_SHARE:.0%} allowed). Most of it is the line {worst!r}: "
        f"{excess[worst]:,.0f} USD a month more than with the references.",
        evidence=_bill(months),
        ask="Which of your parts moves that line? Put its reference in and look again.",
        misconception="page_storm" if worst == "pages" else "as_before",
    )
    return f"A month costs {mine:,.0f} USD: {best:,.0f} under the references, {today:,.0f} today."


@check("a", "none of the four golden signals is worse than today", points=1)
def signals_hold(lab: Lab) -> str:
    """A cheap month can still be one in which everything is slower, or in which a machine is at its limit."""
    months = _months(lab)
    rows = [(WORDS[s][0], *(round(_signal(m, s), 3) for m in months.values())) for s in SIGNALS]
    worse = [s for s in SIGNALS if _signal(months["yours"], s) > SIGNAL_SLACK * _signal(months["today"], s)]
    if worse:
        first = worse[0]
        raise CheckFailed(
            f"{WORDS[first][0].capitalize()} is worse than today: {WORDS[first][1]}, "
            f"{_signal(months['yours'], first):.3g} with your parts, {_signal(months['today'], first):.3g} today. What "
            "is saved elsewhere is paid here.",
            evidence=[
                Evidence("the four signals, mean of all days", Table.of(["", *months], rows)),
                Evidence("the dashboard of one month", png=_dashboard(months)),
            ],
            ask="Which part makes attempts, or lets work pile up, that today's does not?",
            misconception="more_load" if first in ("attempts", "failed_share", "busiest") else "as_before",
        )
    said = [
        f"{WORDS[s][0]} {_signal(months['yours'], s):.3g} (today {_signal(months['today'], s):.3g})" for s in SIGNALS
    ]
    return f"Mean of all days: {', '.join(said)}."


@check("a", "four parts or more are your own, and each saves at least half of what its reference does", points=1)
def own_parts_pay(lab: Lab) -> str:
    """Each of the learner's own parts alone, in today's platform, beside its reference there."""
    chosen, parts, today = choices(lab, ALL), _parts(lab), _today(lab)
    own = [p for p in ALL if not chosen[p.name]]
    expect(
        len(own) >= OWN_PARTS,
        f"{len(own)} of the nine parts {'is' if len(own) == 1 else 'are'} your own; {OWN_PARTS} are asked for. What is borrowed, "
        "nobody on your team can change when the next quarter is another one.",
        misconception="all_borrowed",
    )
    before = _usd(_run(lab, today, TRIAL_MONTHS))

    def saves(part: Part, value: Any) -> float:
        return before - _usd(_run(lab, today | {part.key: value}, TRIAL_MONTHS))

    saved = {p.key: (saves(p, parts[p.key]), saves(p, _reference(lab, p))) for p in own}
    # Where next to nothing happened that a part is about, neither it nor its reference saves anything.
    short = [
        p
        for p in own
        if saved[p.key][0] < (OWN_SHARE * saved[p.key][1] if saved[p.key][1] > HARDLY_USD else -HARDLY_USD)
    ]
    shown = Evidence(
        "saved a month by each of your own parts alone, USD",
        Table.of(["part", "yours", "reference"], [(p.name, *map(round, saved[p.key])) for p in own]),
    )
    if short:
        mine, best = saved[short[0].key]
        raise CheckFailed(
            f"With nothing else changed, your {short[0].name} {'saves' if mine >= 0 else 'costs'} {abs(mine):,.0f} USD a "
            f"month; its reference saves {best:,.0f}. A part that does nothing is none.",
            evidence=shown,
            ask=f"Has it all its points in lab {short[0].topic}?",
            misconception="as_before",
        )
    return f"Alone they save, USD a month: {', '.join(f'{p.name} {saved[p.key][0]:,.0f}' for p in own)}."


def _dashboard(months: Mapping[str, Sequence[Mapping[str, Any]]]) -> bytes:
    from workshop.plots import png

    return png(_four_signals(months))


def _four_signals(months: Mapping[str, Sequence[Mapping[str, Any]]]) -> Any:
    """The four golden signals of the first month, day by day."""
    from workshop.plots import BLUE, GREEN, RED, plt

    figure, axes = plt.subplots(2, 2, figsize=(9, 4.6), sharex=True)
    colours = {"today": RED, "yours": BLUE, "reference": GREEN}
    for ax, name in zip(axes.flat, SIGNALS, strict=True):
        for who, found in months.items():
            days = np.arange(1, len(found[0][name]) + 1)
            style = "--" if who == "reference" else "-"
            ax.plot(days, found[0][name], style, lw=1.4, color=colours[who], label=who)
        ax.set_title(f"{WORDS[name][0]}: {WORDS[name][1]}", fontsize=8.5)
        ax.set_ylim(0)
    axes[0, 0].legend(fontsize=7.5)
    for ax in axes[1]:
        ax.set_xlabel("day of the month")
    plt.close(figure)
    return figure


# -- task b -----------------------------------------------------------------------------------------------------------------

COLUMNS = ("day", *SIGNALS)


def _truth(lab: Lab) -> dict[date, dict[str, float | None]]:
    """The signals by day, counted attempt by attempt."""
    return lab.kept("signals", lambda: _counted(lab))


def _counted(lab: Lab) -> dict[date, dict[str, float | None]]:
    runs: dict[str, list[Any]] = {}
    for run_id, due, ended, outcome in lab.world.sql(
        "select run_id, scheduled_at, ended_at, outcome from ops.month_runs"
    ):
        run = runs.setdefault(run_id, [due, ended, True])
        run[1] = max(run[1], ended) if run[1] and ended else run[1] or ended
        run[2] &= outcome == "success"
    took: dict[date, list[float]] = {}
    for due, ended, is_done in runs.values():
        took.setdefault(due.date(), []).append((ended - due).total_seconds() / 60 if is_done else np.inf)
    slots = dict(lab.world.sql("select pool, slots from ops.pools").rows)
    attempts = lab.world.sql(
        "select a.started_at, a.ended_at, a.outcome, r.pool from ops.month_attempts a join ops.month_runs r using "
        "(task_run_id) where a.started_at is not null"
    ).rows
    made: dict[date, int] = {}
    failed: dict[date, int] = {}
    used: dict[tuple[str, datetime], float] = {}
    hour = timedelta(hours=1)
    end = datetime.combine(max(took) + timedelta(days=1), datetime.min.time())
    for started, ended, outcome, pool in attempts:
        day = started.date()
        made[day] = made.get(day, 0) + 1
        failed[day] = failed.get(day, 0) + (outcome == "failed")
        at, until = started.replace(minute=0, second=0, microsecond=0), ended or end
        while at < until:
            seconds = (min(until, at + hour) - max(started, at)).total_seconds()
            used[pool, at] = used.get((pool, at), 0.0) + seconds
            at += hour
    busiest: dict[date, float] = {}
    for (pool, at), seconds in used.items():
        busiest[at.date()] = max(busiest.get(at.date(), 0.0), seconds / 3600 / slots[pool])
    found: dict[date, dict[str, float | None]] = {}
    for day, minutes in sorted(took.items()):
        p95 = sorted(minutes)[int(np.ceil(0.95 * len(minutes) - 1e-9)) - 1]
        found[day] = {
            "late_minutes": None if np.isinf(p95) else p95,
            "attempts": float(made.get(day, 0)),
            "failed_share": failed.get(day, 0) / max(made.get(day, 0), 1),
            "busiest": busiest.get(day, 0.0),
        }
    return found


def _measured(lab: Lab) -> dict[date, dict[str, Any]]:
    """The learner's signals by day."""

    def make() -> dict[date, dict[str, Any]]:
        table = as_table(lab.call("golden_signals", lab.con), "What golden_signals returns", COLUMNS)
        found: dict[date, dict[str, Any]] = {}
        for row in table.dicts():
            day = row["day"]
            day = day.date() if isinstance(day, datetime) else day
            if isinstance(day, str):
                try:
                    day = date.fromisoformat(day[:10])
                except ValueError:
                    day = None
            expect(isinstance(day, date), f"{str(row['day'])[:40]!r} in the column day is no date.")
            expect(day not in found, f"There are two rows for {day}.")
            found[day] = {name: as_number(row[name]) for name in SIGNALS}
        missing = [d for d in _truth(lab) if d not in found]
        expect(
            not missing,
            f"There is no row for {', '.join(map(str, missing[:3]))}: each day on which runs were due has one "
            f"({len(missing)} of {len(_truth(lab))} are missing).",
        )
        return found

    return lab.once("measured", make)


def _differing(lab: Lab, name: str, tolerance: float) -> list[tuple[date, Any, Any]]:
    """(day, yours, expected) where they differ by more than that share."""
    mine, wrong = _measured(lab), []
    for day, right in _truth(lab).items():
        got, want = mine[day][name], right[name]
        alike = got is None if want is None else got is not None and abs(got - want) <= tolerance * abs(want) + 1e-9
        if not alike:
            wrong.append((day, got, want))
    return wrong


def _shown(wrong: Sequence[tuple[date, Any, Any]]) -> Evidence:
    return Evidence(
        "days that differ",
        Table.of(
            ["day", "yours", "expected"],
            [(str(d), *(None if v is None else round(v, 4) for v in (got, want))) for d, got, want in wrong[:8]],
        ),
    )


def _said(value: float | None) -> str:
    return "null" if value is None else f"{value:.4g}"


@check("b", "latency counts the runs that were never done", points=1)
def latency_is_right(lab: Lab) -> None:
    """95th percentile by day, within 2%: neighbours of the quantile are closer than that."""
    wrong = _differing(lab, "late_minutes", 0.02)
    if wrong:
        day, got, want = next((w for w in wrong if w[2] is None), wrong[0])
        if want is None:
            why, misconception = "More than one run in twenty of that day was never done.", "survivors"
            ask = "What becomes, in your query, of a run of which one task has failed?"
        elif len(wrong) <= len(_truth(lab)) / 2:
            why, misconception = "Most days agree.", None
            ask = (
                "Does a run belong to the day on which it was due, also if it ends after midnight? And is your number one "
                "that at least 95% of the runs do not pass?"
            )
        else:
            why, misconception = "", "survivors" if got is not None and got < want else None
            ask = "From when to when do you count, of which rows is a run made, and which of them are done?"
        raise CheckFailed(
            f"On {day} late_minutes is {_said(got)} in yours, {_said(want)} was expected; {len(wrong)} of {len(_truth(lab))} "
            f"days differ. {why} A dashboard that is green because what failed has dropped out of it is worse than none.",
            evidence=_shown(wrong),
            ask=ask,
            misconception=misconception,
        )


@check("b", "traffic and errors are counted by attempt", points=1)
def attempts_are_counted(lab: Lab) -> None:
    """Exact counts, from ops.month_attempts."""
    traffic, errors = _differing(lab, "attempts", 1e-6), _differing(lab, "failed_share", 1e-4)
    wrong, name = (traffic, "attempts") if traffic else (errors, "failed_share")
    if wrong:
        day, got, want = wrong[0]
        raise CheckFailed(
            f"On {day} {name} is {_said(got)} in yours, {_said(want)} was expected; {len(wrong)} of {len(_truth(lab))} "
            "days differ. What a retry has mended hides a resource that is about to go.",
            evidence=_shown(wrong),
            ask="Is a share from 0 to 1, or a percentage?"
            if got is not None and want and abs(got / want - 100) < 1
            else "Does your table have a row for each attempt, or for each task run? Which day does an attempt belong to?",
            misconception="by_run",
        )


@check("b", "saturation is that of the busiest hour", points=1)
def busiest_hour_is_found(lab: Lab) -> None:
    """Slot-seconds by pool and hour, within 1%."""
    wrong = _differing(lab, "busiest", 0.01)
    if wrong:
        day, got, want = wrong[0]
        raise CheckFailed(
            f"On {day} busiest is {_said(got)} in yours, {_said(want)} was expected; {len(wrong)} of "
            f"{len(_truth(lab))} days differ. Pools are bought for their busiest hour.",
            evidence=_shown(wrong),
            ask="Is it the busiest hour of one pool, or a mean over hours or pools?"
            if got is not None and got < 0.5 * want
            else "An attempt that runs from 22:50 to 01:10: how many seconds of it does your query give to each hour of which "
            "day? And one that still runs?",
            misconception="mean_use" if got is not None and got < 0.5 * want else None,
        )


# -- task c -----------------------------------------------------------------------------------------------------------------


# Parts that move a line of the bill of their own and nothing else, with that line.
APART = {"services": "services", "handoffs": "readers"}


class Weeks:
    """What a week costs with some parts shipped, the references in place of them. Shared by all learners of a world."""

    def __init__(self, lab: Lab) -> None:
        self.fleet = Fleet.of(_tables(lab))
        rng = lab.rng("prices of the quarter")
        self.price = {
            kind: float(np.exp(rng.uniform(np.log(low), np.log(high)))) for kind, (low, high) in PRICED.items()
        }
        self.today, self.shipped = _today(lab), _references(lab)
        self.trial = [draw_month(self.fleet, s, DAYS) for s in _seeds(lab, "trial weeks", 1)]
        self.last = [draw_month(self.fleet, s, DAYS) for s in _seeds(lab, "weeks that count", LAST_DRAWS)]
        self.known: dict[tuple[bool, frozenset[str]], list[dict[str, float]]] = {}

    def _bills(self, shipped: frozenset[str], last: bool) -> list[dict[str, float]]:
        key = (last, shipped)
        if key not in self.known:
            state = {k: (self.shipped if k in shipped else self.today)[k] for k in PARTS}
            months = self.last if last else self.trial
            self.known[key] = [run_month(self.fleet, m, state, DAYS)["usd"] for m in months]
        return self.known[key]

    def usd(self, shipped: frozenset[str], last: bool = False) -> float:
        """US dollars a week, by the weeks that the learner may ask about or by those that count."""
        lines = {line for part, line in APART.items() if part in shipped}
        costs = [
            sum((apart if kind in lines else bill)[kind] * self.price.get(kind, 1.0) for kind in bill)
            for bill, apart in zip(
                self._bills(shipped.difference(APART), last), self._bills(frozenset(APART), last), strict=True
            )
        ]
        return sum(costs) / len(costs) / (DAYS / 7)

    def of(self, order: Sequence[str]) -> list[float]:
        """What each of the nine weeks costs: one more has shipped before each."""
        return [self.usd(frozenset(order[:k]), last=True) for k in range(1, len(PARTS) + 1)]


def _weeks(lab: Lab) -> Weeks:
    return lab.cached("weeks", lambda: Weeks(lab))


def _by_worth(weeks: Weeks, shipped: frozenset[str]) -> list[str]:
    """The changes that are left, by what a week costs with each, as simulate has it."""
    return sorted((p for p in PARTS if p not in shipped), key=lambda p: weeks.usd(shipped | {p}))


def _ranked(lab: Lab) -> dict[frozenset[str], list[str]]:
    """The changes that are left when none, one or two have shipped, whichever they are: the one that saves most first."""

    def make() -> dict[frozenset[str], list[str]]:
        weeks = _weeks(lab)
        shipped = [frozenset(c) for n in range(3) for c in combinations(PARTS, n)]
        return {of: _by_worth(weeks, of) for of in shipped}

    return lab.kept("changes by worth", make)


def _asked(lab: Lab) -> tuple[list[str], list[float], list[float]]:
    """The order that ships what saves most next, and asks again; what its nine weeks cost, and those in the order of the
    module."""

    def make() -> tuple[list[str], list[float], list[float]]:
        weeks, order = _weeks(lab), []
        while len(order) < len(PARTS):
            order.append(_by_worth(weeks, frozenset(order))[0])
        return order, weeks.of(order), weeks.of(PARTS)

    return lab.kept("weeks in other orders", make)


def _order(lab: Lab) -> list[str]:
    """The learner's order."""

    def make() -> list[str]:
        weeks, asked = _weeks(lab), [0]

        def simulate(shipped: Any) -> float:
            asked[0] += 1
            if asked[0] > QUESTIONS:
                raise CheckFailed(
                    f"rollout asked simulate more than {QUESTIONS} times; not all of the 512 sets of changes have to be tried."
                )
            if isinstance(shipped, str) or not all(isinstance(s, str) and s in PARTS for s in shipped):
                raise CheckFailed(
                    f"rollout called simulate with {str(shipped)[:80]!r}; a list of names out of {', '.join(PARTS)} was expected."
                )
            return weeks.usd(frozenset(shipped))

        got = lab.call("rollout", list(PARTS), lab.callback(simulate), timeout_s=60.0)
        got = [r[0] for r in got.rows] if isinstance(got, Table) else got
        expect(
            isinstance(got, list | tuple) and sorted(map(str, got)) == sorted(PARTS),
            f"rollout returned {str(got)[:120]}; a list of the nine names, each once, was expected.",
        )
        return [str(name) for name in got]

    return lab.once("order", make)


@check("c", "the change that ships first saves nearly as much as any could", points=1)
def first_pays_most(lab: Lab) -> str:
    """On weeks that the function has not seen."""
    order, weeks = _order(lab), _weeks(lab)
    alone = _ranked(lab)[frozenset()]
    saved = {p: weeks.usd(frozenset(), last=True) - weeks.usd(frozenset([p]), last=True) for p in (order[0], alone[0])}
    expect(
        saved[order[0]] >= FIRST_SHARE * saved[alone[0]],
        f"Your first change is {order[0]}, which alone saves {saved[order[0]]:,.0f} USD a week on the weeks "
        f"that count; {alone[0]} saves {saved[alone[0]]:,.0f}.",
        evidence=Evidence(
            "a week with one change alone, as simulate has it",
            Table.of(
                ["change", "USD a week"],
                [("none", round(weeks.usd(frozenset()))), *((p, round(weeks.usd(frozenset([p])))) for p in alone)],
            ),
        ),
        ask="What does simulate say about each of the nine alone?",
        misconception="by_number",
    )
    return f"{order[0]} saves {saved[order[0]]:,.0f} USD a week."


@check("c", "the second and the third change are chosen by what they are worth by then", points=1)
def next_ones_pay(lab: Lab) -> None:
    """Given what has shipped in the learner's own order, on weeks that the function has not seen."""
    order, weeks = _order(lab), _weeks(lab)
    for k, which in ((1, "second"), (2, "third")):
        shipped = frozenset(order[:k])
        left = _ranked(lab)[shipped]
        before = weeks.usd(shipped, last=True)
        mine, best = (before - weeks.usd(shipped | {p}, last=True) for p in (order[k], left[0]))
        after = " and ".join(order[:k])
        rows = [
            (
                p,
                round(weeks.usd(frozenset()) - weeks.usd(frozenset([p]))),
                round(weeks.usd(shipped) - weeks.usd(shipped | {p})),
            )
            for p in left
        ]
        expect(
            mine >= NEXT_SHARE * best,
            f"When {after} {'has' if k == 1 else 'have'} shipped, your {which} change, {order[k]}, saves {mine:,.0f} USD a week "
            f"on the weeks that count; {left[0]} would save {best:,.0f}.",
            evidence=Evidence(
                "saved a week, as simulate has it", Table.of(["change", "alone", f"after {after}"], rows)
            ),
            ask="Which of these numbers had your function seen when it chose?",
            misconception="once",
        )


@check("c", "the nine weeks cost nearly as little as they can", points=1)
def order_is_good(lab: Lab) -> str:
    """Against the order that asks again after each change; naive is the order of the module."""
    order, usd = _order(lab), _weeks(lab).of(_order(lab))
    asked, usd_asked, usd_naive = _asked(lab)
    mine, best, naive = sum(usd), sum(usd_asked), sum(usd_naive)
    share = (mine - best) / (naive - best)
    if share > ORDER_SHARE:
        rows = zip(order, usd, asked, usd_asked, strict=True)
        raise CheckFailed(
            f"Nine weeks in your order cost {mine:,.0f} USD; {best:,.0f} in an order that was asked for week by week, "
            f"{naive:,.0f} in the order of the module. That is {share:.0%} of the way back ({ORDER_SHARE:.0%} allowed).",
            evidence=Evidence(
                "week by week",
                Table.of(
                    ["week", "you ship", "USD", "the other ships", "USD "],
                    [(n, a, round(x), b, round(y)) for n, (a, x, b, y) in enumerate(rows, 1)],
                ),
            ),
            ask="In which week is the difference greatest, and what ships there?",
            misconception="once",
        )
    return f"Nine weeks cost {mine:,.0f} USD, {naive:,.0f} in the order of the module: {', '.join(order)}."


# -- twelve weeks later -----------------------------------------------------------------------------------------------------


def twelve_weeks_later(lab: Lab) -> Any:
    """The four golden signals of a month under the learner's parts, today's and the references."""
    return _four_signals(_months(lab))
