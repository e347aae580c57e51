"""What lab 3.3 judges.

Task a is compared with the same definitions, written another way (loops over runs in place of windows). Task b comes out as data
and is run on drawn nights (workshop.sim.node) of what this world's tasks are made with.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from datetime import timedelta
from fractions import Fraction
from statistics import NormalDist, median
from typing import Any

import numpy as np

from workshop.checks import CheckFailed, Evidence, as_number, as_table, check, expect
from workshop.sim.node import GROWTH
from workshop.table import Table
from workshop.trusted import Lab

SUBJECTS = ("contention",)

HINTS = {
    "a": (
        "Mark the runs first: succeeded, hung, ended for another reason. Then one CTE for each measure, and a join at the end.",
        "Kaplan-Meier: for each duration, how many runs lasted at least that long (n), and how many succeeded at "
        "exactly that (d)? `sum(count(*)) over (partition by task_id order by duration desc)` counts n; a product is "
        "the exp of a sum of ln.",
        "Company: write each start as +1 and each end as -1, and add them up in order of time, all moments up to the "
        "start included. More than 1 is company. The median of seconds per row, with and without.",
    ),
    "b": (
        "A time-out protects against what hangs, and their sum is given. Which tasks read about as much each night, which "
        "now little and now a lot? What does each of the two kinds need, beside what it takes alone in the season?",
        "Memory: how many of the large ones fit at once, if their peaks do not all fall together? Which pool decides "
        "when the night ends, and what do the jobs of the other pool do to it?",
        "Add up, by pool, what the jobs of a night take alone. With your slots, when is either pool done? The one that is "
        "done early has slots that only slow the other down. And within a pool: what becomes of a long job that starts last?",
    ),
}

MISCONCEPTIONS = {
    "survivors": "Who was killed would have taken longer. Leaving them out makes every task look faster than it is.",
    "killed_as_done": "The duration of a killed run is the time-out's, not its own: it says 'longer than this' and no more.",
    "hung_in_service": "A run that hung was not working. Its duration says when somebody noticed.",
    "queue_in_service": "Waiting for a slot is not working: keep queue time and service time apart.",
    "hung_by_outcome": "Not all that was killed hung: look at the last heartbeat.",
    "queue_survivors": "Whoever waits for a slot does so whatever becomes of the run: queue times are over all runs.",
    "raw_durations": "Nights have more rows than afternoons on busy days: compare seconds per row.",
    "too_few_alone": "A median of one or two runs says little: it is null where fewer than three started alone.",
    "company": "Company is every other run that is under way at the start, of whatever task.",
    "mean_2sd": "Durations are skewed: far more than one run in two hundred takes longer than mean plus two deviations.",
    "no_margin": "The p95 of the last weeks is exceeded by one run in twenty, and the season brings 1.4 times the rows.",
    "flat": "One multiple for all is too little where the rows vary from night to night, and wasted where they do not.",
    "one_value": "One value for all is too short for a training or far too long for an export.",
    "cores": "Cores are not what runs out: add up the memory of what may run at once.",
    "too_many": "Each further run slows all down. The pool that decides the end of the night pays for the company of the other.",
    "too_few": "Memory that nobody uses makes the night longer: peaks seldom fall together.",
    "hung_slots": "A slot under a run that hangs is lost to all that wait, until its time-out.",
    "died_early": "A night is over early, too, when its jobs have died. Spare what works first, then look at its end.",
    "no_priority": "Of those that wait, the lowest number goes first: what the morning waits for, and what takes longest.",
}

NIGHTS = 84
FALSE_SHARE = 0.005
BOUND = 4.75
LATER = 0.10
TRAINED_LATER = 0.15
OTHER_TIMEOUTS = "yours, with the reference's time-outs"
SIGNIFICANCE = 1e-4
QUIET_S = 120.0
KEYS = ["task_id", "hung", "service_p50_s", "service_p95_s", "queue_p50_s", "queue_p95_s", "slow_down"]


# -- task a ---------------------------------------------------------------------------------------------------------------------


def _truth(lab: Lab) -> dict[str, dict[str, Any]]:
    """The measures by task."""
    return lab.kept("truth", lambda: _run_by_run(lab))


def _run_by_run(lab: Lab) -> dict[str, dict[str, Any]]:
    rows = lab.world.sql(
        """
        select
          task_id, epoch(queued_at) as queued_s, epoch(started_at) as started_s, epoch(ended_at) as ended_s,
          epoch(heartbeat_at) as heartbeat_s, outcome, input_rows
        from ops.batch_runs
        order by started_at, batch_run_id
        """
    ).dicts()
    starts = np.sort([r["started_s"] for r in rows])
    ends = np.sort([r["ended_s"] for r in rows])
    by_task: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for (task,) in lab.world.sql("select task_id from ops.batch_tasks order by task_id"):
        by_task[task] = []
    for r in rows:
        r["hung"] = r["outcome"] == "killed" and r["ended_s"] - r["heartbeat_s"] > QUIET_S
        under_way = np.searchsorted(starts, r["started_s"], side="right") - np.searchsorted(
            ends, r["started_s"], side="right"
        )
        r["together"] = under_way > 1
        by_task[r["task_id"]].append(r)
    found = {}
    for task, mine in by_task.items():
        rows_read = [r["input_rows"] for r in mine] or [0]
        working = [(r["ended_s"] - r["started_s"], r["outcome"] == "success") for r in mine if not r["hung"]]
        queue = sorted(r["started_s"] - r["queued_s"] for r in mine)
        pace = {
            side: [
                (r["ended_s"] - r["started_s"]) / r["input_rows"]
                for r in mine
                if r["outcome"] == "success" and r["together"] == side
            ]
            for side in (True, False)
        }
        found[task] = {
            "hung": sum(r["hung"] for r in mine),
            "service_p50_s": _kaplan_meier(working, Fraction(1, 2)),
            "service_p95_s": _kaplan_meier(working, Fraction(19, 20)),
            "queue_p50_s": queue[max(0, math.ceil(0.5 * len(queue)) - 1)],
            "queue_p95_s": queue[max(0, math.ceil(0.95 * len(queue)) - 1)],
            "slow_down": median(pace[True]) / median(pace[False]) if len(pace[False]) >= 3 and pace[True] else None,
            "season_s": GROWTH * median(rows_read) * median(pace[False]) if pace[False] else None,
            "spread": float(np.std(np.log(rows_read), ddof=1)) if len(rows_read) > 1 else 0.0,
        }
    return found


def _kaplan_meier(runs: list[tuple[float, bool]], q: Fraction) -> tuple[float | None, ...]:
    """The q-quantile of durations, of which those not done are right-censored (Kaplan and Meier, 1958).

    Two answers where the survival is 1 - q to the fraction: a product of floats comes out a hair above or below it, so the next
    duration (None after the last) is as right."""
    survival = Fraction(1)
    durations = sorted({t for t, done in runs if done})
    for k, took in enumerate(durations):
        n = sum(t >= took for t, _ in runs)
        d = sum(done and t == took for t, done in runs)
        survival *= 1 - Fraction(d, n)
        if survival == 1 - q:
            return took, durations[k + 1] if k + 1 < len(durations) else None
        if survival < 1 - q:
            return (took,)
    return (None,)


def _measured(lab: Lab) -> dict[str, dict[str, Any]]:
    def make() -> dict[str, dict[str, Any]]:
        table = as_table(lab.call("measure", lab.con), "What measure returns", KEYS)
        found: dict[str, dict[str, Any]] = {}
        for row in table.dicts():
            expect(row["task_id"] not in found, f"There are two rows for {row['task_id']}.")
            for key in KEYS[1:]:
                expect(
                    not isinstance(row[key], timedelta),
                    f"{key} is an interval; seconds are expected, as a number: epoch(...) of it, or .total_seconds().",
                )
            found[row["task_id"]] = {k: as_number(row[k]) for k in KEYS[1:]}
        missing = [t for t in _truth(lab) if t not in found]
        expect(not missing, f"There is no row for {', '.join(missing[:5])}: each task of ops.batch_tasks has one.")
        return found

    return lab.once("measured", make)


def _compare(lab: Lab, columns: list[str], tolerance: float, what: str) -> list[tuple[str, str, Any, Any]]:
    """(task, column, yours, expected) where they differ."""
    mine, truth = _measured(lab), _truth(lab)
    wrong = []
    for task, want in truth.items():
        for column in columns:
            got = mine[task][column]
            choices = want[column] if isinstance(want[column], tuple) else (want[column],)
            right = choices[0]
            near = 0.5 if column[-1] == "s" else 1e-6
            if not any(
                got is None if c is None else got is not None and math.isclose(got, c, rel_tol=tolerance, abs_tol=near)
                for c in choices
            ):
                wrong.append(
                    (task, column, None if got is None else round(got, 3), None if right is None else round(right, 3))
                )
    return wrong


def _wrong(rows: list[tuple[str, str, Any, Any]]) -> Evidence:
    return Evidence("where yours differs", Table.of(["task", "measure", "yours", "expected"], rows[:10]))


@check("a", "service times count what was killed as longer, not as done", points=2)
def service_times_are_right(lab: Lab) -> None:
    """Kaplan-Meier, by task; null where the estimate does not come down so far."""
    wrong = _compare(lab, ["service_p50_s", "service_p95_s"], 0.005, "service")
    if not wrong:
        return
    task, column, yours, right = wrong[0]
    low = sum(y is not None and (r is None or y < r) for _, _, y, r in wrong)
    slip = "survivors" if low > len(wrong) / 2 else "killed_as_done"
    if any(y is not None and r is not None and y > r * 1.05 for _, _, y, r in wrong):
        slip = (
            "queue_in_service"
            if sum(y is not None and r is not None and y > r for _, _, y, r in wrong) > 40
            else "hung_in_service"
        )
    said = "null: too many of its runs were killed at work to know" if right is None else f"{right:,.0f} s"
    expect(
        False,
        f"{column} of {task} is {said}; yours is {'null' if yours is None else f'{yours:,.0f} s'}. {len(wrong)} of "
        f"{2 * len(_measured(lab))} service times differ. A run that was killed at work would have taken longer: it "
        "counts among those that lasted at least that long, and never as done.",
        evidence=_wrong(wrong),
        ask="What becomes of the runs that were killed in your calculation, and of those that hung?",
        misconception=slip,
    )


@check("a", "queue times are over all runs", points=1)
def queue_times_are_right(lab: Lab) -> None:
    """The smallest value that is at least as large as that share of the task's runs."""
    wrong = _compare(lab, ["queue_p50_s", "queue_p95_s"], 0.005, "queue")
    if wrong:
        task, column, yours, right = wrong[0]
        raise CheckFailed(
            f"{column} of {task} is {right:,.0f} s over all its runs; yours is {yours}. {len(wrong)} queue times differ. "
            "The q-quantile is the smallest of the values that is at least as large as the share q of them: one that "
            "occurs, none between two.",
            evidence=_wrong(wrong),
            ask="Which runs did you count, from which moment to which?",
            misconception="queue_survivors",
        )


@check("a", "what hung is told from what was killed at work", points=1)
def hung_runs_are_found(lab: Lab) -> None:
    """Killed, and silent for more than two minutes before."""
    wrong = _compare(lab, ["hung"], 0.0, "hung")
    if wrong:
        task, _, yours, right = wrong[0]
        total = sum(t["hung"] for t in _truth(lab).values())
        raise CheckFailed(
            f"{right:.0f} runs of {task} hung, you count {yours}; in all it is {total} runs. Who is killed while the "
            "heartbeat goes on was at work, and needed a longer time-out, not a repair.",
            evidence=_wrong(wrong),
            ask="When did the last heartbeat come, and when was it killed?",
            misconception="hung_by_outcome",
        )


@check("a", "the slow-down is company against alone, for like rows", points=1.5)
def slow_down_is_right(lab: Lab) -> None:
    """Medians of seconds per row, by whether anybody else was under way at the start."""
    wrong = _compare(lab, ["slow_down"], 0.01, "slow-down")
    if wrong:
        task, _, yours, right = wrong[0]
        few = "null (fewer than three alone)"
        asked = (
            f"The slow-down of {task} is {few}"
            if right is None
            else f"In company {task} takes {right:.2f} times as long for a row as alone"
        )
        raise CheckFailed(
            f"{asked}; yours is {'null' if yours is None else f'{yours:.2f}'}. {len(wrong)} of {len(_measured(lab))} differ. "
            "Runs that start at the same moment are company to each other, whatever hangs is company too, and who ends at that "
            "moment is none. Medians are of the runs that succeeded; of an even number it is the mean of the two in the middle.",
            evidence=_wrong([(t, c, "null" if y is None else y, few if r is None else r) for t, c, y, r in wrong]),
            ask="Do you compare seconds per row, and who counts as company?",
            misconception="too_few_alone"
            if all(r is None for *_, r in wrong)
            else "raw_durations"
            if len(wrong) > 70
            else "company",
        )


# -- task b ---------------------------------------------------------------------------------------------------------------------


def _rows(value: Any, what: str, columns: list[str]) -> list[dict[str, Any]]:
    if isinstance(value, dict) and columns and all(not isinstance(v, list | dict) for v in value.values()):
        value = [dict(zip(columns, pair, strict=True)) for pair in value.items()]
    return as_table(value, what, columns).dicts()


def read_policy(lab: Lab) -> dict[str, dict[str, float]]:
    """The learner's parameters, checked: slots by pool, timeout_minutes by task, priority by class."""

    def make() -> dict[str, dict[str, float]]:
        got = lab.call("parameters", lab.con)
        expect(
            isinstance(got, dict) and {"pools", "timeouts", "priorities"} <= set(got),
            "parameters(con) should return a dict with “pools”, “timeouts” and “priorities”.",
        )
        wanted = {
            "slots": (got["pools"], ["pool", "slots"], "select pool from ops.batch_pools", 1, 32),
            "timeout_minutes": (
                got["timeouts"],
                ["task_id", "timeout_minutes"],
                "select task_id from ops.batch_tasks",
                0.01,
                1440,
            ),
            "priority": (
                got["priorities"],
                ["task_class", "priority"],
                "select distinct task_class from ops.batch_tasks",
                -1e9,
                1e9,
            ),
        }
        found: dict[str, dict[str, float]] = {}
        for name, (value, columns, query, least, most) in wanted.items():
            known = {k for (k,) in lab.world.sql(query)}
            found[name] = {}
            for row in _rows(value, name, columns):
                key, number = row[columns[0]], as_number(row[columns[1]])
                expect(key in known, f"{columns[0]} {str(key)[:40]!r} is none of this world's.")
                expect(
                    number is not None and least <= number <= most and (name != "slots" or number == int(number)),
                    f"{columns[1]} of {key} is {str(row[columns[1]])[:40]}; it must be a "
                    f"{'whole ' if name == 'slots' else ''}number from {least:g} to {most:g}.",
                )
                found[name][key] = int(number) if name == "slots" else number
            missing = sorted(known - set(found[name]))
            expect(not missing, f"There is no {columns[1]} for {', '.join(missing[:5])}.")
        return found

    try:
        return lab.once("policy", make)
    except CheckFailed as failure:
        # What cannot be read is told by the first check that asks; the others point to it.
        told = lab.once("policy_told", dict)
        if type(failure) is not CheckFailed or not told:
            told["yes"] = True
            raise
        raise CheckFailed("Your parameters cannot be read: see above.") from None


def _tasks(lab: Lab) -> list[dict[str, Any]]:
    """What the tasks of this world are made with."""
    return lab.kept("tasks", lambda: lab.world.sql("select * from truth.batch_tasks order by task_id").dicts())


def _room_gb(lab: Lab) -> float:
    """Memory of the machine."""
    return float(lab.world.sql("select min(memory_gb) from ops.batch_nodes").value())


def _best(lab: Lab) -> dict[str, dict[str, float]]:
    """The reference's parameters."""
    return lab.kept("reference", lambda: _told_by_the_tables(lab))


def _told_by_the_tables(lab: Lab) -> dict[str, dict[str, float]]:
    tasks = _tasks(lab)
    room = _room_gb(lab)
    memory = np.array(
        lab.world.sql(
            "select peak_memory_gb from ops.batch_runs join ops.batch_tasks using (task_id) where pool = 'memory'"
        ).column("peak_memory_gb")
    )
    small_gb = float(
        lab.world.sql(
            "select max(peak_memory_gb) from ops.batch_runs join ops.batch_tasks using (task_id) where pool = 'general'"
        ).value()
    )
    large = max(n for n in range(1, 33) if n * memory.mean() + 4 * memory.std() * n**0.5 + 3 * small_gb <= room)
    work = {
        pool: sum(t["rows"] / 1000 * t["s_per_krow"] for t in tasks if t["pool"] == pool)
        for pool in ("general", "memory")
    }
    alone = {t: (m["season_s"] or 7200.0) / 60 for t, m in _truth(lab).items()}
    tails = {t: minutes * math.exp(2 * _truth(lab)[t]["spread"]) for t, minutes in alone.items()}
    factor = 4.5 * sum(alone.values()) / sum(tails.values())
    return {
        "slots": {"memory": large, "general": max(1, math.ceil(work["general"] * large / work["memory"]))},
        "timeout_minutes": {t: min(1440.0, factor * tail) for t, tail in tails.items()},
        "priority": {"train": 0.0, "join": 1.0, "aggregate": 2.0, "export": 3.0},
    }


def todays_policy(lab: Lab) -> dict[str, dict[str, float]]:
    slots = {p: int(n) for p, n in lab.world.sql("select pool, slots from ops.batch_pools")}
    timeout = dict(lab.world.sql("select task_id, timeout_minutes::double from ops.batch_tasks").rows)
    return {
        "slots": slots,
        "timeout_minutes": timeout,
        "priority": dict.fromkeys(("train", "join", "aggregate", "export"), 0.0),
    }


def _weeks(lab: Lab) -> dict[str, dict[str, Any]]:
    """Twelve weeks of nights under yours, the reference and today's parameters."""

    def make() -> dict[str, dict[str, Any]]:
        seed = str(int(lab.rng("nights").integers(2**62)))
        mine, best = read_policy(lab), _best(lab)
        policies = {"yours": mine, "reference": best, "today": todays_policy(lab)}
        # What yours would come to with the reference's time-outs: so the time-outs can be told from the pools.
        policies[OTHER_TIMEOUTS] = mine | {"timeout_minutes": best["timeout_minutes"]}
        return lab.judge("workshop.sim.node:judge_parameters", _tasks(lab), seed, policies, NIGHTS)

    read_policy(lab)  # what cannot be read is told once, so it must not be kept under another name
    return lab.once("weeks", make)


def _end_h(result: Mapping[str, Any]) -> float:
    return sum(result["ends_h"]) / len(result["ends_h"])


def _most_killed(got: Mapping[str, Any]) -> float:
    """So many may be killed at work before a binomial test rejects the promise. Normal approximation with continuity
    correction: n is some thousands."""
    mean = FALSE_SHARE * got["healthy"]
    return mean + NormalDist().inv_cdf(1 - SIGNIFICANCE) * math.sqrt(mean * (1 - FALSE_SHARE)) + 0.5


def _expect_alive(lab: Lab, weeks: Mapping[str, Mapping[str, Any]]) -> None:
    """When a night ends says nothing while its jobs die."""
    got = weeks["yours"]
    lost = got["false"] + got["out_of_memory"]
    expect(
        got["out_of_memory"] == 0 and got["false"] <= _most_killed(got),
        f"In twelve weeks {lost:,} of {got['healthy']:,} runs that did not hang are killed or out of memory. A night that "
        f"is over after {_end_h(got):.1f} h because its jobs have died is not done: what they should have made is missing "
        "in the morning. When the others end is judged as soon as hardly any is lost.",
        evidence=lambda: _said(lab, weeks),
        ask="Which runs are lost, and for want of what: time or memory?",
        misconception="died_early",
    )


def _said(lab: Lab, weeks: Mapping[str, Mapping[str, Any]]) -> list[Evidence]:
    """The table of the weeks, under the first check that fails: the others rest on the same one."""
    told = lab.once("weeks_told", dict)
    if told:
        return []
    told["yes"] = True
    weeks = {name: w for name, w in weeks.items() if name != OTHER_TIMEOUTS}
    lines = [
        ("runs that did not hang", [w["healthy"] for w in weeks.values()]),
        ("of them killed", [w["false"] for w in weeks.values()]),
        ("out of memory", [w["out_of_memory"] for w in weeks.values()]),
        ("most memory in use, GB", [round(w["peak_gb"]) for w in weeks.values()]),
        ("slot-hours under runs that hung", [round(w["hung_slot_h"], 1) for w in weeks.values()]),
        ("mean end of the night, h after midnight", [round(_end_h(w), 2) for w in weeks.values()]),
        ("mean end of the last training", [round(w["class_ends_h"]["train"], 2) for w in weeks.values()]),
    ]
    return [
        Evidence(
            "twelve weeks (the same for all checks of this task)",
            Table.of(["", *weeks], [(words, *values) for words, values in lines]),
        )
    ]


@check("b", "hardly anything that works is killed", points=1.5)
def time_outs_spare_work(lab: Lab) -> None:
    """0.5% of some six thousand runs; failed when a binomial test rejects the promise at 1 in 10,000."""
    weeks = _weeks(lab)
    got = weeks["yours"]
    n, limit = got["healthy"], _most_killed(got)
    worst = sorted(got["false_by_task"].items(), key=lambda kv: -kv[1])[:8]
    minutes = read_policy(lab)["timeout_minutes"]
    ratios = [60 * minutes[t] / m["season_s"] for t, m in _truth(lab).items() if m["season_s"]]
    expect(
        got["false"] <= limit,
        f"In twelve weeks of the season {got['false']} of {n:,} runs that did not hang are killed by your time-outs "
        f"({got['false'] / n:.1%}); {FALSE_SHARE:.1%} is promised. Each of them has worked for nothing, and is missing "
        "in the morning.",
        evidence=lambda: [
            Evidence(
                "killed at work",
                Table.of(["task", "your time-out, min", "runs killed"], [(t, round(minutes[t]), k) for t, k in worst]),
            ),
            *_said(lab, weeks),
        ],
        ask="By how much do the rows of the tasks in the table vary from night to night, and what does the season add?",
        misconception="one_value"
        if len(set(minutes.values())) < 6
        else "flat"
        if np.std(np.log(ratios)) < 0.2
        else "mean_2sd"
        if got["false"] > 4 * limit
        else "no_margin",
    )


@check("b", "what hangs does not hold its slot for long", points=0.5)
def time_outs_end_what_hangs(lab: Lab) -> None:
    """By the time-outs themselves: their sum is what hung runs cost, as each task hangs as often as any other. A bound for each
    task apart would be met best by one multiple for all; a sum asks which of them need it. By what the tasks take alone,
    since the company of the past weeks is none of the season's."""
    minutes = read_policy(lab)["timeout_minutes"]
    alone = {t: m["season_s"] / 60 for t, m in _truth(lab).items() if m["season_s"]}
    total, most = sum(minutes[t] for t in alone), BOUND * sum(alone.values())
    rows = sorted(
        ((t, round(minutes[t]), round(m, 1), round(minutes[t] / m, 1)) for t, m in alone.items()), key=lambda r: -r[1]
    )
    expect(
        total <= most * (1 + 1e-9),
        f"Your time-outs add up to {total / 60:.1f} h, {total / sum(alone.values()):.2f} times what the tasks take alone in the "
        f"season; {BOUND:g} times is {most / 60:.1f} h. Until then what hangs holds a slot that nobody can use, and the jobs "
        "behind it wait.",
        evidence=Evidence(
            "the longest time-outs", Table.of(["task", "yours, min", "alone in the season, min", "times"], rows[:10])
        ),
        ask="Which of them vary so much that they need it? And is there time in it that a task does not spend working?",
        misconception="one_value" if len(set(minutes.values())) < 6 else "queue_in_service",
    )


@check("b", "no run ends out of memory", points=1)
def memory_is_enough(lab: Lab) -> None:
    """What may run at once, at its peak, against what the machine has."""
    weeks = _weeks(lab)
    got, slots = weeks["yours"], read_policy(lab)["slots"]
    expect(
        got["out_of_memory"] == 0,
        f"With {slots['memory']} slots for the memory pool and {slots['general']} for the general one, "
        f"{got['out_of_memory']} runs end out of memory in twelve weeks: up to {got['peak_gb']:.0f} GB were wanted at "
        f"once, and the machine has {_room_gb(lab):.0f}.",
        evidence=lambda: _said(lab, weeks),
        ask="What do that many joins and trainings need together, beside the small ones?",
        misconception="cores",
    )


@check("b", "the night ends about as early as it can", points=1)
def nights_end_early(lab: Lab) -> None:
    """Mean end of the last run that did not hang, against the reference, on the same nights. Who kills what works would be
    first: so it does not count while too many are lost."""
    weeks = _weeks(lab)
    _expect_alive(lab, weeks)
    got, best = weeks["yours"], weeks["reference"]
    ends, right = _end_h(got), _end_h(best)
    slots = read_policy(lab)["slots"]
    few = slots["memory"] < _best(lab)["slots"]["memory"]
    otherwise = _end_h(weeks[OTHER_TIMEOUTS])
    stuck = otherwise <= (1 + LATER) * right
    held = (
        f" Runs that hung held slots for {got['hung_slot_h']:,.0f} hours, under the reference for "
        f"{best['hung_slot_h']:,.0f}. With its time-outs and your slots the night would end after {otherwise:.1f} h."
    )
    expect(
        ends <= (1 + LATER) * right,
        f"The last run of a night ends {ends:.1f} h after midnight, {right:.1f} h under the reference: "
        f"{ends / right - 1:.1%} later, {LATER:.1%} is allowed. You have {slots['memory']} slots for the memory pool "
        f"and {slots['general']} for the general one; {got['peak_gb']:.0f} of {_room_gb(lab):.0f} GB were the most in use."
        f"{held if got['hung_slot_h'] > 1.5 * best['hung_slot_h'] else ''}",
        evidence=lambda: _said(lab, weeks),
        ask="How long does a run that hangs keep a slot from those that wait?"
        if stuck
        else "Which pool is the last to be done, and what would make it faster: more slots there, or less company?",
        misconception="hung_slots" if stuck else "too_few" if few else "too_many",
    )


@check("b", "the trainings are done when the morning needs them", points=0.5)
def trainings_end_early(lab: Lab) -> None:
    """Mean end of the last training of a night: it is what priorities decide, while the night's end depends on them little."""
    weeks = _weeks(lab)
    _expect_alive(lab, weeks)
    ends, right = (weeks[name]["class_ends_h"]["train"] for name in ("yours", "reference"))
    rank = read_policy(lab)["priority"]
    order = ", ".join(f"{c} {rank[c]:g}" for c in sorted(rank, key=lambda c: (rank[c], c)))
    expect(
        ends <= (1 + TRAINED_LATER) * right,
        f"The last training of a night ends {ends:.1f} h after midnight, {right:.1f} h under the reference: "
        f"{ends / right - 1:.1%} later, {TRAINED_LATER:.1%} is allowed. The prices of the morning wait for it. Your priorities: "
        f"{order}.",
        evidence=lambda: _said(lab, weeks),
        ask="Who goes first when trainings and joins wait for the same slot, and who when all have the same number?",
        misconception="no_priority" if rank["train"] >= rank["join"] else "too_few",
    )


def twelve_weeks_later(lab: Lab) -> Any:
    """The season, week by week: when the night ends, and who was killed at work."""
    from workshop.plots import BLUE, RED, plt

    try:
        mine = read_policy(lab)
    except CheckFailed:
        lab.begin()
        raise
    seed = str(int(lab.rng("season").integers(2**62)))
    got = lab.judge(
        "workshop.sim.node:judge_parameters",
        _tasks(lab),
        seed,
        {"yours": mine, "today": todays_policy(lab)},
        84,
    )
    figure, (ends, killed) = plt.subplots(1, 2, figsize=(8.6, 3.2), width_ratios=(3, 1))
    for name, colour in (("today", RED), ("yours", BLUE)):
        weekly = np.array(got[name]["ends_h"]).reshape(12, 7).mean(axis=1)
        ends.plot(range(1, 13), weekly, "o-", ms=3, color=colour, label=name)
        killed.bar(name, got[name]["false"] + got[name]["out_of_memory"], color=colour)
    earlier = _end_h(got["today"]) - _end_h(got["yours"])
    ends.set(xlabel="week", ylabel="end of the night, h after midnight", ylim=(0, None))
    ends.set_title(f"The last run ends {abs(60 * earlier):.0f} min {'earlier' if earlier >= 0 else 'later'}")
    ends.legend()
    killed.set_ylabel("runs lost")
    killed.set_title("Killed at work")
    plt.close(figure)
    return figure
