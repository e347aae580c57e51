"""A month of the whole platform: what nine decisions do together that were each judged alone.

The DAGs that Kestrel's reports wait for (retries) run a month under all of them at once. Each decision reaches the month where
it would at work: jobs of the night that end late keep the DAGs waiting that read them; a batch that the contract lets through
fails in the tasks behind it; a cluster that is overbooked slows down whatever runs; who is paged decides how long a repair takes.
Everything that happens is drawn before any decision acts (common random numbers).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from workshop.sim import node
from workshop.sim.alerts import ATTEMPT, GAVE_UP, NEAR, NEAR_S, STATUS_S, Event, apply_rules, fits
from workshop.sim.month import (
    DAY_S,
    ERRORS,
    FAILED,
    INPUT,
    MEMORY,
    NETWORK,
    PERMISSION,
    SCHEDULER,
    SUCCESS,
    TIMED_OUT,
    MonthRun,
    Outage,
    simulate_month,
)
from workshop.sim.nights import NIGHT_MINUTES
from workshop.sim.retries import PAGE_S, PRICES_USD, TICKET_S, Drawn, Platform, draw_days, settings_of
from workshop.sim.streams import streams

PARTS = ("retries", "alerts", "contract", "parameters", "services", "windows", "load", "handoffs", "credentials")
FIRST_DAY = np.datetime64("2026-07-01")
QUIET_S = 24 * 3600.0  # nobody was told: somebody notices the next day
WRONG_TEAM = 2.0  # a repair takes so much longer when who was woken has to find out whom to wake
HELD_S = 6 * 3600.0  # a good batch that was refused waits so long for somebody who releases it
BAD_PER_DAY, GOOD_PER_DAY = 0.8, 6  # batches that land, of which the orders' DAGs read
READS = 2  # DAGs that read a batch
NIGHT_START_S = 18 * 3600.0
AGAIN_S = 1800.0  # until somebody starts again what was killed at work
MOST_REFUSED = 60  # calls refused in a month that are drawn
SERVICE_DAYS = 4 / 30  # a day on which a service degrades
MISSING_S = 12 * 3600.0  # so long after its deadline a run counts as late MISSING times: a day without a report
MISSING = 3.0
EXTRA_USD = {"woken": 60.0, "reader_hour": 15.0, "broken_window": 30.0, "killed": 40.0}
"""woken: each of the two further teams that a page to everybody wakes; reader_hour: a report an hour later at its readers;
broken_window: a job of the cluster that breaks a promise; killed: a run of the night killed at work, which somebody starts
again."""
SIGNALS = ("late_minutes", "attempts", "failed_share", "busiest")


@dataclass(frozen=True, eq=False)
class Fleet:
    """The platform and what it is coupled to. night: as `node.draw_nights`. morning: dag_ids that wait for the night's last job.
    orders: dag_ids that read orders.placed."""

    platform: Platform
    resource_team: list[int]
    night: pd.DataFrame
    morning: frozenset[str]
    orders: frozenset[str]

    @classmethod
    def of(cls, tables: Mapping[str, Sequence[Mapping[str, Any]]]) -> Fleet:
        """From rows by table: those of `Platform.of` (with team_id of resources), night, morning and orders (dag_id)."""
        return cls(
            Platform.of(tables),
            [int(r["team_id"]) for r in tables["resources"]],
            pd.DataFrame(list(tables["night"])),
            *(frozenset(r["dag_id"] for r in tables[name]) for name in ("morning", "orders")),
        )


@dataclass(frozen=True, eq=False)
class Month:
    """What happens in a month whatever is decided. noise, shape (n,): how much longer than usual a repair takes, in deviations;
    bad, good: a draw from 0 to 1 and the runs of DAGs that read the batch; refused: a draw and the run of a DAG that calls;
    service_days: a draw each."""

    drawn: Drawn
    noise: np.ndarray
    nights: node.Drawn
    bad: list[tuple[float, list[int]]]
    good: list[tuple[float, list[int]]]
    refused: list[tuple[float, int]]
    service_days: np.ndarray


def run_months(
    tables: Mapping[str, Sequence[Mapping[str, Any]]],
    seeds: Sequence[str],
    states: Mapping[str, Mapping[str, Any]],
    days: int = 30,
) -> dict[str, list[dict[str, Any]]]:
    """Return by state what each month came to, the same months for all of them.

    A state says what is in force of each of PARTS: retries (rows as `retries.settings_of`, None: today's), alerts (rules as
    `alerts.apply_rules`), load ("unsafe": tasks are as they are; "safe": all can be run again; "wrong": all are, and some write
    twice), contract (bad_in and good_out, shares of batches), parameters (as `node.judge_parameters`), services (US dollars of
    each of some days on which a service degrades), windows (slow_down by minute of the night from 18:00 UTC, broken: jobs a night
    that break a promise), handoffs (hours by
    which reports are there later than they could be, a night and in all), credentials (usd_per_day; refused: calls a day, at most
    two of which are drawn).

    Of each month: usd (by kind), cost_usd, and the four signals by day, shape (days,): late_minutes (95th percentile of what
    passes from when a run is due until it is done), attempts, failed_share (of the attempts), busiest (share of the slots of the
    fullest pool in its busiest hour).
    """
    fleet = Fleet.of(tables)
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in states}
    for seed in seeds:
        month = draw_month(fleet, seed, days)
        for name, state in states.items():
            found[name].append(run_month(fleet, month, state, days))
    return found


def draw_month(fleet: Fleet, seed: str, days: int) -> Month:
    """Return what happens in so many days: faults, outages, nights, batches, calls that may be refused, days of bad service."""
    drawn = draw_days(fleet.platform, seed, FIRST_DAY, days)
    plan = drawn.plan
    first, dag_ids = plan.first_of_dag_run, fleet.platform.tasks.dag_id.to_numpy()[drawn.dag_of]
    due_s = plan.scheduled_s[first]
    reads = np.flatnonzero(np.isin(dag_ids, sorted(fleet.orders)))

    def batches(name: str, per_day: float) -> list[tuple[float, list[int]]]:
        """(when it landed, the next runs that read it)."""
        rng = streams(seed, name)
        at = np.sort(rng.random(int(rng.poisson(per_day * days)))) * days * DAY_S
        found = []
        for t in at.tolist():
            late = reads[due_s[reads] >= t]
            soon = late[np.argsort(due_s[late], kind="stable")][: 4 * READS]
            found.append((float(rng.random()), rng.permutation(soon)[:READS].tolist()))
        return found

    rng = streams(seed, "refused")
    chosen = rng.integers(len(first), size=MOST_REFUSED)
    n_bad_days = rng.poisson(SERVICE_DAYS * days)
    return Month(
        drawn,
        streams(seed, "repair").standard_normal(len(plan)),
        node.draw_nights(fleet.night, seed, days + 1, growth=node.GROWTH),
        batches("bad batches", BAD_PER_DAY),
        batches("good batches", GOOD_PER_DAY),
        list(zip(rng.random(MOST_REFUSED).tolist(), chosen.tolist(), strict=True)),
        rng.random(int(n_bad_days)),
    )


def run_month(fleet: Fleet, month: Month, state: Mapping[str, Any], days: int) -> dict[str, Any]:
    """Return what a month came to under a state: see `run_months`."""
    platform = fleet.platform
    if state["load"] != "unsafe":
        platform = replace(platform, tasks=platform.tasks.assign(is_idempotent=True))
    drawn, plan = month.drawn, month.drawn.plan
    first = plan.first_of_dag_run
    usd: dict[str, float] = {}

    fault, attempts = drawn.draws.fault.copy(), drawn.draws.fault_attempts.copy()
    not_before_s = np.zeros(len(plan))

    def spoil(dag_run: int, error: int) -> None:
        fault[first[dag_run]], attempts[first[dag_run]] = error, 99

    for u, runs in month.bad:
        if u < state["contract"]["bad_in"]:
            for k in runs:
                spoil(k, INPUT)
    for u, runs in month.good:
        if u < state["contract"]["good_out"]:
            for k in runs:
                not_before_s[first[k]] = plan.scheduled_s[first[k]] + HELD_S
    for u, k in month.refused:
        if u < state["credentials"]["refused"] * days / MOST_REFUSED:
            spoil(k, PERMISSION)

    usd |= _night(fleet, month, state["parameters"], not_before_s)
    slow_down = np.asarray(state["windows"]["slow_down"])
    minute = ((plan.scheduled_s - NIGHT_START_S) % DAY_S) // 60
    work_s = drawn.draws.work_s * np.where(
        minute < NIGHT_MINUTES, slow_down[np.minimum(minute, NIGHT_MINUTES - 1).astype(int)], 1.0
    )
    draws = replace(drawn.draws, work_s=work_s, fault=fault, fault_attempts=attempts, not_before_s=not_before_s)
    settings = settings_of(platform, plan, state["retries"])
    repair_s = _repairs(fleet, month, state["alerts"], fault, attempts)
    run = simulate_month(plan, draws, settings, drawn.pools, repair_s)

    _, late_s = run.dag_runs(plan)
    tasks = platform.tasks
    criticality = tasks.criticality.to_numpy()[drawn.dag_of]
    past_s = late_s - 60.0 * tasks.deadline_minutes.to_numpy()[drawn.dag_of]
    price = np.array([PRICES_USD["late"][c] for c in criticality])
    usd["late runs"] = float(price @ np.where(past_s > MISSING_S, MISSING, past_s > 0))
    wasted_s = (run.failures.ended_s - run.failures.started_s).clip(max=30 * DAY_S).sum()
    usd["wasted slots"] = PRICES_USD["slot_hour"] * float(wasted_s) / 3600
    sent = apply_rules(state["alerts"], _events(fleet, month, run))
    pages = [s for s in sent if s["action"] == "page"]
    usd["pages"] = PRICES_USD["page"] * len(pages) + 2 * EXTRA_USD["woken"] * sum(p["everybody"] for p in pages)
    usd["tickets"] = PRICES_USD["ticket"] * (len(sent) - len(pages))
    again = run.failures.retried_by == SCHEDULER
    doubtful = again & np.isin(run.failures.error, (NETWORK, TIMED_OUT, MEMORY))
    writes_twice = ~fleet.platform.tasks.is_idempotent.to_numpy(dtype=bool)[plan.task[run.failures.task_run]]
    usd["double writes"] = (
        0.0 if state["load"] == "safe" else PRICES_USD["second_write"] * float((doubtful & writes_twice).sum())
    )
    services = state["services"]
    usd["services"] = float(sum(services[int(u * len(services))] for u in month.service_days))
    usd["broken windows"] = EXTRA_USD["broken_window"] * state["windows"]["broken"] * days
    usd["credentials"] = state["credentials"]["usd_per_day"] * days
    usd["readers"] = EXTRA_USD["reader_hour"] * days * state["handoffs"]["hours"]
    return {"usd": usd, "cost_usd": sum(usd.values()), **_signals(fleet, month, run, late_s, days)}


def _night(fleet: Fleet, month: Month, parameters: Mapping[str, Any], not_before_s: np.ndarray) -> dict[str, float]:
    """Run the nights; who reads what they leave waits for the last job that does not hang (not_before_s is set)."""
    nights = month.nights
    priority = dict(zip(nights.tasks.task_id, nights.tasks.task_class.map(parameters["priority"]), strict=True))
    run = node.run_nights(nights, parameters["slots"], parameters["timeout_minutes"], priority)
    killed = (run.outcome == FAILED) & ~nights.hangs
    night = (nights.plan.scheduled_s // DAY_S).astype(int)
    # What was killed at work is started again by somebody, and takes as long as it would have.
    there_s = np.where(killed, run.ended_s + AGAIN_S + nights.draws.work_s, run.ended_s)
    ends_s = np.zeros(night.max() + 1)
    np.maximum.at(ends_s, night, np.where(nights.hangs, 0.0, there_s))
    plan = month.drawn.plan
    first = plan.first_of_dag_run
    dag_id = fleet.platform.tasks.dag_id.to_numpy()[month.drawn.dag_of]
    reads = first[np.isin(dag_id, sorted(fleet.morning))]
    not_before_s[reads] = np.maximum(not_before_s[reads], ends_s[(plan.scheduled_s[reads] // DAY_S).astype(int)])
    return {
        "killed at work": EXTRA_USD["killed"] * float(killed.sum()),
        "hung": PRICES_USD["slot_hour"] * float(run.slot_s[nights.hangs].clip(max=DAY_S).sum()) / 3600,
    }


def _away(outages: Sequence[Outage], resource: int, from_s: float, to_s: float) -> bool:
    return any(
        o.resource == resource and o.start_s + STATUS_S <= to_s and from_s <= o.end_s + o.recovery_s for o in outages
    )


def _repairs(
    fleet: Fleet, month: Month, rules: Sequence[Mapping[str, Any]], fault: np.ndarray, attempts: np.ndarray
) -> np.ndarray:
    """By task run, seconds from when it was given up until a human has mended it: by who is told, and how urgently."""
    tasks, plan = fleet.platform.tasks, month.drawn.plan
    error = np.where(attempts > 0, fault, NETWORK)
    resource = tasks.resource.to_numpy()[plan.task]
    away = np.zeros(len(plan), dtype=bool)
    for o in month.drawn.draws.outages:
        away |= (
            (resource == o.resource)
            & (plan.scheduled_s > o.start_s - 4 * 3600)
            & (plan.scheduled_s < o.end_s + o.recovery_s)
        )
    criticality = tasks.criticality.to_numpy()[plan.task]
    takes_s = {do: m * np.exp(sd * month.noise) for do, (m, sd) in {"page": PAGE_S, "ticket": TICKET_S}.items()}
    takes_s["quiet"] = np.full(len(plan), QUIET_S)
    near_s = (60.0 * tasks.deadline_minutes.to_numpy()[plan.task] - NEAR_S).clip(min=0)

    def told(on: str, minutes_left: float, level: str, e: int, is_away: bool, mine: np.ndarray) -> np.ndarray:
        """Seconds until it is mended by whom the first rule that fits such an event tells."""
        # An outage is mended by those who run the resource, anything else by those who own the DAG.
        mends = "resource team" if is_away and e == NETWORK else "dag team"
        fit = (r for r in rules if r["on"] == on and fits(r, level, ERRORS[e], minutes_left, is_away))
        rule = next(fit, {"do": "quiet", "to": mends})
        goes_round = rule["do"] == "page" and rule["to"] not in (mends, "everybody")
        has_resource = resource[mine] >= 0  # where there is none, both are the team of the DAG
        return takes_s[rule["do"]][mine] * np.where(goes_round & has_resource, WRONG_TEAM, 1.0)

    repair_s = takes_s["quiet"].copy()
    for kind in product(np.unique(criticality), range(1, len(ERRORS)), (False, True)):
        level, e, is_away = kind
        mine = np.flatnonzero((criticality == level) & (error == e) & (away == is_away))
        later = near_s[mine] + told(NEAR, NEAR_S / 60, *kind, mine)
        repair_s[mine] = np.minimum(told(GAVE_UP, np.inf, *kind, mine), later)
    return repair_s


def _events(fleet: Fleet, month: Month, run: MonthRun) -> list[Event]:
    """What rules can look at, in order of time: failed attempts, and runs that are not done shortly before their deadline."""
    tasks, drawn, plan = fleet.platform.tasks, month.drawn, month.drawn.plan
    first = plan.first_of_dag_run
    ends = np.append(first[1:], len(plan))
    team, resource = tasks.team_id.to_numpy(), tasks.resource.to_numpy()
    due_s = plan.scheduled_s[first]
    deadline_s = 60.0 * tasks.deadline_minutes.to_numpy()[drawn.dag_of]
    criticality = tasks.criticality.to_numpy()[drawn.dag_of]
    outages = drawn.draws.outages
    found: list[Event] = []

    def event(at_s: float, what: str, i: int, error: int) -> None:
        k, r = int(plan.dag_run[i]), int(resource[plan.task[i]])
        found.append(
            Event(
                at_s, what, i, k, int(team[drawn.dag_of[k]]), str(criticality[k]), ERRORS[error], 0,
                float(due_s[k] + deadline_s[k] - at_s) / 60, r, fleet.resource_team[r] if r >= 0 else -1,
                r >= 0 and _away(outages, r, at_s, at_s), -1,
            )
        )  # fmt: skip

    failed = run.failures
    last_error: dict[int, tuple[float, int]] = {}
    for i, at_s, error, by in zip(
        failed.task_run.tolist(),
        failed.ended_s.tolist(),
        failed.error.tolist(),
        failed.retried_by.tolist(),
        strict=True,
    ):
        event(at_s, ATTEMPT if by == SCHEDULER else GAVE_UP, i, error)
        last_error.setdefault(i, (at_s, error))
    done_s, _ = run.dag_runs(plan)
    near_s = due_s + deadline_s - NEAR_S
    for k in np.flatnonzero(done_s > near_s).tolist():
        members = range(int(first[k]), int(ends[k]))
        i = next((i for i in members if not (run.outcome[i] == SUCCESS and run.ended_s[i] <= near_s[k])), members[-1])
        at_s, error = last_error.get(i, (np.inf, 0))
        event(float(near_s[k]), NEAR, i, error if at_s <= near_s[k] else 0)
    found.sort(key=lambda e: (e.at_s, e.task_run, e.event))
    return found


def _signals(fleet: Fleet, month: Month, run: MonthRun, late_s: np.ndarray, days: int) -> dict[str, list[float]]:
    """The four golden signals by day (Beyer et al., Site Reliability Engineering, 2016, ch. 6)."""
    drawn, plan = month.drawn, month.drawn.plan
    day_of_run = (plan.scheduled_s[plan.first_of_dag_run] // DAY_S).astype(int)
    minutes = np.minimum(late_s, 3 * DAY_S) / 60
    late = [float(np.quantile(minutes[day_of_run == d], 0.95, method="inverted_cdf")) for d in range(days)]
    day = (plan.scheduled_s // DAY_S).astype(int)
    made = np.bincount(day, weights=run.attempts, minlength=days)[:days]
    failed = np.bincount(day[run.failures.task_run], minlength=days)[:days]
    busiest = np.zeros(days)
    edges = np.arange(24 * days + 1) * 3600.0
    for p, slots in enumerate(drawn.pools.slots):
        mine = (drawn.pools.pool == p) & ~np.isnan(run.started_s)
        used_s = _used_until(run.started_s[mine], run.slot_s[mine], edges)
        busiest = np.maximum(busiest, (np.diff(used_s) / 3600 / slots).reshape(days, 24).max(axis=1))
    return {
        "late_minutes": late,
        "attempts": made.tolist(),
        "failed_share": (failed / np.maximum(made, 1)).tolist(),
        "busiest": busiest.tolist(),
    }


def _used_until(started_s: np.ndarray, slot_s: np.ndarray, at_s: np.ndarray) -> np.ndarray:
    """Slot-seconds used until each moment, if a run holds its slot from its start on for slot_s."""

    def before(moments: np.ndarray) -> np.ndarray:
        moments = np.sort(moments)
        n = np.searchsorted(moments, at_s)
        return n * at_s - np.concatenate([[0.0], np.cumsum(moments)])[n]

    return before(started_s) - before(started_s + slot_s)
