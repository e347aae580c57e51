"""The nights of one machine that all heavy jobs share: what they take alone and in company, and what a choice of pools, time-outs
and priorities makes of a week."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from workshop.sim.month import (
    DAY_S,
    TIMED_OUT,
    Draws,
    MonthRun,
    Plan,
    Pools,
    Settings,
    of_tasks,
    plan_runs,
    simulate_month,
)
from workshop.sim.streams import streams

CORES = 16
MEMORY_GB = 96.0
# The k-th that runs is slower by this: the disks are busy from the sixth on, the cores are gone at the sixteenth.
SLOW_DOWN = tuple(1.0 if k <= 5 else 1.0 + 0.09 * (k - 5) ** 1.35 for k in range(1, 41))
NOISE = 0.12
HANG_RATE = 0.006
GROWTH = 1.4  # of the rows, in the weeks to come


@dataclass(frozen=True, eq=False)
class Drawn:
    """Nights as drawn. Arrays by run: rows (input), hangs (bool)."""

    tasks: pd.DataFrame
    plan: Plan
    draws: Draws
    rows: np.ndarray
    hangs: np.ndarray


def draw_nights(
    tasks: pd.DataFrame,
    seed: bytes | int | str,
    days: int,
    *,
    alone: bool = False,
    since: Mapping[str, int] | None = None,
    growth: float = 1.0,
) -> Drawn:
    """Return all runs of so many nights.

    tasks: a row for each, with task_id, task_class, pool, due_minute (after midnight), rows (median), s_per_krow (seconds for a
    thousand rows, alone), day_sigma, memory_gb. alone: once a week each runs once more by day, when the machine is nearly idle.
    since: by task_id, the day from which on it does (0 where none is given). growth: how many times as many rows come.
    """
    ordered = tasks.sort_values("task_id").reset_index(drop=True)
    table = ordered.assign(dag_id=ordered.task_id, schedule_cron="0 0 * * *", offset_s=0)
    due = {}
    extra_s = _by_day(ordered) if alone else {}
    for row in ordered.itertuples():
        at = np.arange(days) * DAY_S + 60.0 * row.due_minute
        if alone:
            weekday, at_s = extra_s[row.task_id]
            by_day = np.arange(weekday, days, 7)
            at = np.concatenate([at, by_day[by_day >= (since or {}).get(row.task_id, 0)] * DAY_S + at_s])
        due[row.task_id] = np.sort(at)
    plan = plan_runs(
        table,
        pd.DataFrame(columns=["task_id", "upstream_task_id", "is_sensor"]),
        np.datetime64("2026-05-19"),
        days,
        due,
    )
    n = len(plan)
    weekday = (plan.scheduled_s // DAY_S + 1) % 7
    busy = np.where(weekday >= 5, 1.25, 1.0)
    rows = (
        growth
        * of_tasks(plan, ordered.rows)
        * busy
        * np.exp(of_tasks(plan, ordered.day_sigma) * streams(seed, "rows").standard_normal(n))
    )
    work_s = (
        rows / 1000 * of_tasks(plan, ordered.s_per_krow) * np.exp(NOISE * streams(seed, "noise").standard_normal(n))
    )
    memory = of_tasks(plan, ordered.memory_gb) * np.exp(0.08 * streams(seed, "memory").standard_normal(n))
    hangs = streams(seed, "hangs").random(n) < HANG_RATE
    draws = Draws(
        np.maximum(work_s, 5.0),
        np.where(hangs, TIMED_OUT, 0),
        hangs.astype(int),
        np.full(n, -1),
        memory,
        np.zeros((n, 1)),
    )
    return Drawn(ordered, plan, draws, rows.round().astype(np.int64), hangs)


def _by_day(tasks: pd.DataFrame) -> dict[str, tuple[int, float]]:
    """On which day of the week each runs by day, and when: from one o'clock on, each after three times what the one before
    usually takes."""
    at_s, found = [13 * 3600.0] * 7, {}
    for row in tasks.itertuples():
        day = min(range(7), key=at_s.__getitem__)
        found[row.task_id] = (day, at_s[day])
        at_s[day] += max(900.0, 3 * row.rows / 1000 * row.s_per_krow)
    return found


def run_nights(
    drawn: Drawn,
    slots: Mapping[str, int],
    timeout_minutes: Mapping[str, float],
    priority: Mapping[str, float],
) -> MonthRun:
    """Run them. slots: by pool; timeout_minutes: by task_id; priority: by task_id, lower goes first. Each has one attempt."""
    plan, tasks = drawn.plan, drawn.tasks
    full = np.ones(len(plan))
    settings = Settings(
        full,
        full,
        full,
        full,
        full,
        60.0 * of_tasks(plan, [timeout_minutes[t] for t in tasks.task_id]),
        0 * full.astype(int),
        of_tasks(plan, [priority[t] for t in tasks.task_id]),
        -full.astype(int),
    )
    names = sorted(slots)
    pools = Pools(of_tasks(plan, [names.index(p) for p in tasks.pool]), [slots[p] for p in names], SLOW_DOWN, MEMORY_GB)
    return simulate_month(plan, drawn.draws, settings, pools)


def judge_parameters(
    tasks: Sequence[Mapping[str, Any]], seed: str, policies: Mapping[str, Mapping[str, Any]], nights: int = 28
) -> dict[str, dict[str, Any]]:
    """Return by policy what the same nights came to.

    A policy: slots (by pool), timeout_minutes (by task_id), priority (by task_class). Of each: healthy (runs that do not hang),
    false (those of them that were killed), false_by_task; hung_slot_h (slot-hours under runs that hung); out_of_memory (runs);
    peak_gb; ends_h (by night, the end of its last healthy run, hours after midnight), class_ends_h (by task_class, the mean of
    that for its runs alone).
    """
    table = pd.DataFrame(list(tasks))
    drawn = draw_nights(table, seed, nights, growth=GROWTH)
    kind = of_tasks(drawn.plan, np.arange(len(drawn.tasks)))
    night = (drawn.plan.scheduled_s // DAY_S).astype(int)
    classes, class_of = np.unique(of_tasks(drawn.plan, drawn.tasks.task_class).astype(str), return_inverse=True)
    found = {}
    for name, policy in policies.items():
        priority = {
            t: float(policy["priority"][c]) for t, c in zip(drawn.tasks.task_id, drawn.tasks.task_class, strict=True)
        }
        run = run_nights(drawn, policy["slots"], policy["timeout_minutes"], priority)
        healthy = ~drawn.hangs
        killed = np.zeros(len(healthy), dtype=bool)
        killed[run.failures.task_run[run.failures.error == TIMED_OUT]] = True
        false = killed & healthy
        ended = np.where(healthy, run.ended_s - night * DAY_S, 0.0)
        last = np.zeros((nights, len(classes)))
        np.maximum.at(last, (night, class_of), ended)
        found[name] = {
            "healthy": int(healthy.sum()),
            "false": int(false.sum()),
            "false_by_task": {
                str(t): int(n) for t, n in zip(drawn.tasks.task_id, np.bincount(kind, weights=false), strict=True) if n
            },
            "hung_slot_h": float(run.slot_s[drawn.hangs].sum()) / 3600,
            "out_of_memory": int((run.failures.error != TIMED_OUT).sum()),
            "peak_gb": float(run.peak_memory_bytes),
            "ends_h": (last.max(axis=1) / 3600).tolist(),
            "class_ends_h": {str(c): float(h) for c, h in zip(classes, last.mean(axis=0) / 3600, strict=True)},
        }
    return found
