"""The DAGs that Kestrel's reports wait for, under a policy for retries: faults, outages, deadlines, and humans who repair.

A month is drawn whole before a policy acts (common random numbers), then run by `month`. All the drawing is by task and day, so
that the log of the last quarter and a month of the future come from one process.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from workshop.sim.month import (
    DAY_S,
    ERRORS,
    INPUT,
    MEMORY,
    NETWORK,
    PERMISSION,
    SCHEDULER,
    TIMED_OUT,
    Draws,
    MonthRun,
    Outage,
    Plan,
    Pools,
    Settings,
    of_tasks,
    plan_runs,
    simulate_month,
)
from workshop.sim.streams import streams

PRICES_USD = {
    "late": {"critical": 400.0, "high": 200.0, "normal": 100.0, "low": 20.0},
    "slot_hour": 2.0,
    "page": 60.0,
    "ticket": 8.0,
    "second_write": 150.0,
}
PAGED = ("critical", "high")  # whose failure pages somebody; the others get a ticket
FAULTS = {"network": NETWORK, "memory": MEMORY, "input": INPUT, "permission": PERMISSION, "hang": TIMED_OUT}
PAGE_S = (1800.0, 0.4)  # median and sigma (of the logarithm) of a repair after a page, and after a ticket
TICKET_S = (8 * 3600.0, 0.4)
MAX_DRAWS = 12  # waits between attempts that are drawn
RECOVERY_S = 3600.0
RELAPSE_S = 600.0


@dataclass(frozen=True, eq=False)
class Platform:
    """tasks: a row for each, ordered by dag_id and step_no, with dag_id, task_id, step_no, team_id, task_class, is_idempotent,
    criticality, deadline_minutes, schedule_cron, offset_s, pool, resource (number, -1: none), median_s, sigma, memory_bytes,
    max_attempts and timeout_minutes as set today, and by run the rates network, memory, input, permission and hang.
    deps: task_id, upstream_task_id, is_sensor.
    resources: by number, outages_per_month, median_minutes, bears_per_minute. slots: by pool."""

    tasks: pd.DataFrame
    deps: pd.DataFrame
    resources: pd.DataFrame
    slots: Mapping[str, int]

    @classmethod
    def of(cls, tables: Mapping[str, Sequence[Mapping[str, Any]]]) -> Platform:
        """From rows by table: tasks, deps, resources and pools (pool, slots)."""
        tasks, deps, resources = (pd.DataFrame(list(tables[name])) for name in ("tasks", "deps", "resources"))
        return cls(tasks, deps, resources, {r["pool"]: int(r["slots"]) for r in tables["pools"]})


@dataclass(frozen=True, eq=False)
class Drawn:
    """What happens in some days whatever the policy. dag_of: by run of a DAG, the row of its first task; repair_s: by task run,
    seconds until a human has repaired it, once somebody knows."""

    plan: Plan
    draws: Draws
    pools: Pools
    dag_of: np.ndarray
    repair_s: np.ndarray


def draw_days(platform: Platform, seed: bytes | int | str, first_day: np.datetime64, days: int) -> Drawn:
    """Return all runs of so many days with their faults, and the outages."""
    tasks = platform.tasks
    plan = plan_runs(tasks, platform.deps, first_day, days)
    n = len(plan)
    work_s = of_tasks(plan, tasks.median_s) * np.exp(
        of_tasks(plan, tasks.sigma) * streams(seed, "work").standard_normal(n)
    )
    # One draw decides whether a run has a fault and which; another how many attempts it spoils.
    edge = np.cumsum([of_tasks(plan, tasks[name]) for name in FAULTS], axis=0)
    which = (streams(seed, "faults").random(n)[None, :] >= edge).sum(axis=0)
    fault = np.array([*FAULTS.values(), 0])[which]
    lasts = streams(seed, "lasting").random(n)
    attempts = np.select(
        [fault == NETWORK, fault == MEMORY, fault == TIMED_OUT, fault > 0],
        # a blip, a longer one, a long one; a neighbour that was too large, or itself; it hangs once; for good
        [np.where(lasts < 0.7, 1, np.where(lasts < 0.92, 2, 4)), np.where(lasts < 0.65, 1, 99), 1, 99],
        0,
    )
    critical = tasks.criticality.isin(PAGED).to_numpy()
    noise = streams(seed, "repair").standard_normal(n)
    repair_s = np.where(
        of_tasks(plan, critical),
        PAGE_S[0] * np.exp(PAGE_S[1] * noise),
        TICKET_S[0] * np.exp(TICKET_S[1] * noise),
    )
    draws = Draws(
        np.maximum(work_s, 1.0),
        fault,
        attempts,
        of_tasks(plan, tasks.resource),
        of_tasks(plan, tasks.memory_bytes),
        streams(seed, "jitter").random((n, MAX_DRAWS)),
        _outages(platform.resources, seed, days),
    )
    numbers = {pool: k for k, pool in enumerate(platform.slots)}
    pools = Pools(of_tasks(plan, tasks.pool.map(numbers)), list(platform.slots.values()))
    return Drawn(plan, draws, pools, plan.task[plan.first_of_dag_run], repair_s)


def _outages(resources: pd.DataFrame, seed: bytes | int | str, days: int) -> tuple[Outage, ...]:
    """By resource as many as come; three of four in the night, when its owners work on it and everybody reads from it."""
    found = []
    for number, row in enumerate(resources.itertuples()):
        rng = streams(seed, f"outages/{row.resource_id}")
        for _ in range(int(rng.poisson(row.outages_per_month * days / 30))):
            day, night, hour = int(rng.integers(days)), rng.random() < 0.75, rng.random()
            start_s = day * DAY_S + 3600 * (6 * hour if night else 6 + 18 * hour)
            minutes = row.median_minutes * math.exp(0.4 * rng.standard_normal())
            found.append(
                Outage(number, start_s, start_s + 60 * minutes, RECOVERY_S, int(row.bears_per_minute), RELAPSE_S)
            )
    return tuple(sorted(found, key=lambda o: (o.start_s, o.resource)))


def todays_settings(platform: Platform, plan: Plan) -> Settings:
    """Return what is set today: any error is worth another attempt, five minutes later."""
    full = np.ones(len(plan))
    return Settings(
        of_tasks(plan, platform.tasks.max_attempts),
        300 * full,
        full,
        300 * full,
        0 * full,
        60.0 * of_tasks(plan, platform.tasks.timeout_minutes),
        np.full(len(plan), (1 << len(ERRORS)) - 2),
        0 * full,
        -full.astype(int),
    )


def settings_of(platform: Platform, plan: Plan, policy: Sequence[Mapping[str, Any]] | None) -> Settings:
    """Return a policy's rows as settings of task runs; None: today's.

    policy: a row for each task_class and is_idempotent that occurs, with max_attempts, base_s, factor, cap_s, jitter (0 to 1),
    timeout_minutes, retry_on (names of ERRORS) and budget_ratio (retries for each first attempt of the class; None: no budget).

    Raises KeyError where a row is missing.
    """
    if policy is None:
        return todays_settings(platform, plan)
    rows = {(r["task_class"], bool(r["is_idempotent"])): r for r in policy}
    keys = list(zip(platform.tasks.task_class, platform.tasks.is_idempotent.astype(bool), strict=True))
    classes = sorted({k[0] for k in keys})
    mine = [rows[k] for k in keys]

    def column(value: Any) -> np.ndarray:
        return of_tasks(plan, np.array([value(r) for r in mine]))

    budgeted = {c: next((r["budget_ratio"] for r in policy if r["task_class"] == c), None) for c in classes}
    number = {c: k for k, c in enumerate(classes)}
    return Settings(
        column(lambda r: int(r["max_attempts"])),
        column(lambda r: float(r["base_s"])),
        column(lambda r: float(r["factor"])),
        column(lambda r: float(r["cap_s"])),
        column(lambda r: float(r["jitter"])),
        column(lambda r: 60.0 * float(r["timeout_minutes"])),
        column(lambda r: sum(1 << ERRORS.index(e) for e in set(r["retry_on"]))),
        np.zeros(len(plan)),
        column(lambda r: -1 if budgeted[r["task_class"]] is None else number[r["task_class"]]),
        [budgeted[c] or 0.0 for c in classes],
        [10.0] * len(classes),
    )


def bill(platform: Platform, drawn: Drawn, run: MonthRun) -> dict[str, float]:
    """Return what a month came to: late runs, slot-hours wasted on attempts that failed, pages, tickets, second writes (of tasks
    that are not idempotent, after an error that may have come after the write), the scheduler's retries, those of them that were
    hopeless (nothing but a human mends them), and cost_usd (PRICES_USD)."""
    tasks, plan = platform.tasks, drawn.plan
    _, late_s = run.dag_runs(plan)
    criticality = tasks.criticality.to_numpy()[drawn.dag_of]
    late = late_s > 60.0 * tasks.deadline_minutes.to_numpy()[drawn.dag_of]
    wasted = float((run.failures.ended_s - run.failures.started_s).clip(max=30 * DAY_S).sum()) / 3600
    repaired = plan.task[run.repaired]
    pages = int(tasks.criticality.isin(PAGED).to_numpy()[repaired].sum())
    failed = run.failures
    again = failed.retried_by == SCHEDULER  # by hand, its owner looks first
    unsafe = ~tasks.is_idempotent.to_numpy(dtype=bool)[plan.task[failed.task_run]]
    second = int((again & unsafe & np.isin(failed.error, (NETWORK, TIMED_OUT, MEMORY))).sum())
    got = {
        "late_runs": float(late.sum()),
        "late_usd": float(sum(PRICES_USD["late"][c] for c in criticality[late])),
        "wasted_slot_hours": wasted,
        "pages": float(pages),
        "tickets": float(len(repaired) - pages),
        "second_writes": float(second),
        "retries": float(again.sum()),
        "hopeless": float((again & np.isin(failed.error, (INPUT, PERMISSION))).sum()),
    }
    got["cost_usd"] = (
        got["late_usd"]
        + PRICES_USD["slot_hour"] * wasted
        + PRICES_USD["page"] * pages
        + PRICES_USD["ticket"] * got["tickets"]
        + PRICES_USD["second_write"] * second
    )
    return got


def run_months(
    tables: Mapping[str, Sequence[Mapping[str, Any]]],
    seeds: Sequence[str],
    policies: Mapping[str, Sequence[Mapping[str, Any]] | None],
    days: int = 30,
) -> dict[str, list[dict[str, float]]]:
    """Return by policy the bill of each month: the same months for all of them."""
    platform = Platform.of(tables)
    bills: dict[str, list[dict[str, float]]] = {name: [] for name in policies}
    for seed in seeds:
        drawn = draw_days(platform, seed, np.datetime64("2026-07-01"), days)
        for name, policy in policies.items():
            run = simulate_month(
                drawn.plan, drawn.draws, settings_of(platform, drawn.plan, policy), drawn.pools, drawn.repair_s
            )
            bills[name].append(bill(platform, drawn, run))
    return bills


def cold_start(row: Mapping[str, Any], seed: bytes | int | str, n_tasks: int = 240) -> dict[str, Any]:
    """Return what a policy's row makes of the worst night: at two o'clock as many tasks find the warehouse gone since ten to;
    it is back at 02:25, bears forty attempts a minute for two hours, and relapses for ten minutes at one more.

    given_up: tasks; done_s: by task, seconds after two o'clock (None: given up); attempts_s: when attempts failed or went
    through, seconds after two o'clock, in order.
    """
    tasks = pd.DataFrame(
        {"dag_id": [f"D{k:03d}" for k in range(n_tasks)], "task_id": [f"D{k:03d}.load" for k in range(n_tasks)]}
    )
    tasks = tasks.assign(schedule_cron="0 2 * * *", offset_s=0)
    deps = pd.DataFrame(columns=["task_id", "upstream_task_id", "is_sensor"])
    plan = plan_runs(tasks, deps, np.datetime64("2026-07-01"), 1)
    start_s, full = 2 * 3600.0, np.ones(n_tasks)
    work_s = 60 * streams(seed, "cold start/work").lognormal(0, 0.3, n_tasks)
    outage = Outage(0, start_s - 600, start_s + 1500, 7200, 40, 600)
    draws = Draws(
        work_s, 0 * full, 0 * full, np.zeros(n_tasks, dtype=int), full,
        streams(seed, "cold start/jitter").random((n_tasks, MAX_DRAWS)), (outage,),
    )  # fmt: skip
    same = {"task_class": "load", "is_idempotent": True, "budget_ratio": None}
    platform = Platform(tasks.assign(task_class="load", is_idempotent=True), deps, pd.DataFrame(), {"all": n_tasks})
    settings = settings_of(platform, plan, [{**row, **same}])
    run = simulate_month(plan, draws, settings, Pools(np.zeros(n_tasks, dtype=int), [n_tasks]))
    given_up = run.outcome != 0
    return {
        "given_up": int(given_up.sum()),
        "done_s": [None if g else float(e - start_s) for g, e in zip(given_up, run.ended_s, strict=True)],
        "attempts_s": sorted(
            [float(t - start_s) for t in run.failures.started_s]
            + [float(e - w - start_s) for g, e, w in zip(given_up, run.ended_s, work_s, strict=True) if not g]
        ),
    }
