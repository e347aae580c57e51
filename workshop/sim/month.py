"""A month of the whole platform: all task runs of all DAGs, in pools of slots, with retries, time-outs and outages.

One event for the end of each attempt and one for each wait between two, in plain lists on a heap: 130,000 task runs in half a
second, where a process each would take ten times as long. For a day of one pool, with calls to services, see `cluster`.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

DAY_S = 86_400
NEVER_S = 400 * DAY_S  # what hangs, and is not killed, ends after all that is simulated
FAULT_SHARE = 0.5  # an attempt that ends in its own fault took so much of the time of one that works
OK, NETWORK, MEMORY, INPUT, PERMISSION, TIMED_OUT = range(6)
ERRORS = ("", "network", "out of memory", "bad input", "permission", "time-out")
SUCCESS, FAILED, UPSTREAM_FAILED = range(3)
NOBODY, SCHEDULER, HUMAN = range(3)


@dataclass(frozen=True, eq=False)
class Plan:
    """Task runs as arrays of shape (n,), ordered by DAG, run and step. Times are seconds since the first day's midnight, UTC.

    task: row of `tasks`; dag: number of the DAG in the order of its id; run: number of the run within its DAG;
    dag_run: number of the run of a DAG, from 0 over all; scheduled_s: when it is due.
    first_of_task, stride, shape (tasks,): task run of a task's first run, and how far the next is.
    edges, shape (m, 2): task run waited for, task run that waits; is_sensor, shape (m,): it is of another DAG.
    levels: task runs by depth, edges_of_level: edges that end there.
    """

    task: np.ndarray
    dag: np.ndarray
    run: np.ndarray
    dag_run: np.ndarray
    scheduled_s: np.ndarray
    first_of_task: np.ndarray
    stride: np.ndarray
    edges: np.ndarray
    is_sensor: np.ndarray
    levels: list[np.ndarray]
    edges_of_level: list[np.ndarray]

    def __len__(self) -> int:
        return len(self.task)

    @property
    def first_of_dag_run(self) -> np.ndarray:
        """By run of a DAG, its first task run."""
        return np.flatnonzero(np.diff(self.dag_run, prepend=-1))


def plan_runs(
    tasks: pd.DataFrame,
    deps: pd.DataFrame,
    first_day: np.datetime64,
    days: int,
    due_s: Mapping[str, np.ndarray] | None = None,
) -> Plan:
    """Return all task runs that are due in so many days.

    tasks: columns dag_id, task_id, schedule_cron and offset_s (of its zone to UTC, seconds), ordered by dag_id and step.
    deps: columns task_id, upstream_task_id, is_sensor. A sensor waits for the last run that was due no later.
    due_s: by dag_id, when it is due (seconds, ascending), in place of its cron.
    """
    dag_ids, first_row, dag_of = np.unique(tasks.dag_id.to_numpy(dtype=str), return_index=True, return_inverse=True)
    steps = np.bincount(dag_of)
    given = due_s or {}
    due = [
        given[dag_id]
        if dag_id in given
        else cron_due_s(tasks.schedule_cron.iat[row], int(tasks.offset_s.iat[row]), first_day, days)
        for dag_id, row in zip(dag_ids.tolist(), first_row.tolist(), strict=True)
    ]
    runs_of_dag = np.array([len(d) for d in due])
    size = steps * runs_of_dag
    start = np.cumsum(size) - size
    dag = np.repeat(np.arange(len(dag_ids)), size)
    within = np.arange(size.sum()) - start[dag]
    run = within // steps[dag]
    task = first_row[dag] + within % steps[dag]
    dag_run = (np.cumsum(runs_of_dag) - runs_of_dag)[dag] + run
    scheduled_s = np.concatenate(due)[dag_run]
    step = np.arange(len(tasks)) - first_row[dag_of]
    first_of_task, stride = start[dag_of] + step, steps[dag_of]

    row = {task_id: i for i, task_id in enumerate(tasks.task_id)}
    down, up = (np.array([row[t] for t in deps[c]], dtype=np.int64) for c in ("task_id", "upstream_task_id"))
    edges, is_sensor = [np.empty((0, 2), dtype=np.int64)], [np.empty(0, dtype=bool)]
    for d, u, sensor in zip(down.tolist(), up.tolist(), deps.is_sensor.tolist(), strict=True):
        mine = np.arange(runs_of_dag[dag_of[d]])
        theirs = mine
        if sensor:
            theirs = np.searchsorted(due[dag_of[u]], due[dag_of[d]], side="right") - 1
            mine, theirs = mine[theirs >= 0], theirs[theirs >= 0]
        edges.append(np.column_stack([first_of_task[u] + theirs * stride[u], first_of_task[d] + mine * stride[d]]))
        is_sensor.append(np.full(len(mine), sensor))
    all_edges, all_sensor = np.concatenate(edges), np.concatenate(is_sensor)

    depth = np.zeros(len(tasks), dtype=int)
    for _ in range(len(tasks)):
        deeper = depth.copy()
        np.maximum.at(deeper, down, depth[up] + 1)
        if (deeper == depth).all():
            break
        depth = deeper
    else:
        raise ValueError("some tasks wait for each other: the dependencies must have no cycle")
    run_depth, edge_depth = depth[task], depth[task[all_edges[:, 1]]]
    levels = [np.flatnonzero(run_depth == k) for k in range(depth.max() + 1)]
    of_level = [np.flatnonzero(edge_depth == k) for k in range(depth.max() + 1)]
    return Plan(task, dag, run, dag_run, scheduled_s, first_of_task, stride, all_edges, all_sensor, levels, of_level)


def cron_due_s(cron: str, offset_s: int, first_day: np.datetime64, days: int) -> np.ndarray:
    """Return when a schedule of Kestrel's kind is due: seconds since midnight (UTC) of `first_day`, ascending.

    cron: minute, hour, day of month, *, day of week (1: Monday), each a number or *, or the minute */15.
    offset_s: local time less UTC, the same all the time: for months in which no clock changes.
    """
    minute, hour, day, _, weekday = cron.split()
    if minute == "*/15":
        return np.arange(0, days * DAY_S, 900)
    if hour == "*":
        return np.arange(int(minute) * 60, days * DAY_S, 3600)
    numbers = np.arange(-1, days + 1)
    at = numbers * DAY_S + int(hour) * 3600 + int(minute) * 60 - offset_s
    dates = (first_day.astype("datetime64[s]") + numbers * DAY_S).astype("datetime64[D]")
    if weekday != "*":  # 1970-01-01 was a Thursday
        at = at[(dates.astype(int) + 3) % 7 + 1 == int(weekday)]
        dates = dates[(dates.astype(int) + 3) % 7 + 1 == int(weekday)]
    if day != "*":
        at = at[(dates - dates.astype("datetime64[M]")).astype(int) + 1 == int(day)]
    return at[(at >= 0) & (at < days * DAY_S)]


@dataclass(frozen=True)
class Outage:
    """A resource that fails from start_s to end_s. For recovery_s after that it bears so many attempts a minute: one more, and
    it fails for relapse_s again. What comes back cold is overrun by all that waited for it, a retry storm, and stays down when
    the cause is long gone (Bronson et al., Metastable Failures in Distributed Systems, HotOS 2021)."""

    resource: int
    start_s: float
    end_s: float
    recovery_s: float = 0.0
    bears_per_minute: int = 0
    relapse_s: float = 0.0


@dataclass(frozen=True, eq=False)
class Draws:
    """What happens whatever is decided: common random numbers. Arrays of shape (n,), as the plan.

    work_s: seconds of an attempt that has the machine to itself.
    fault, fault_attempts: the error (a number of ERRORS) in which its first so many attempts end; 0: none. TIMED_OUT: they
    hang until they are killed.
    resource: number of what it reads from or writes to, -1: nothing that can fail.
    memory_bytes: highest memory in use. jitter, shape (n, k): uniform draws, one for each wait between attempts.
    outages: of resources; fail_s: seconds until an attempt notices an outage. not_before_s: what it reads is there from then
    on (None: whenever it is due).
    """

    work_s: np.ndarray
    fault: np.ndarray
    fault_attempts: np.ndarray
    resource: np.ndarray
    memory_bytes: np.ndarray
    jitter: np.ndarray
    outages: tuple[Outage, ...] = ()
    fail_s: float = 20.0
    not_before_s: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Settings:
    """What is decided. Arrays of shape (n,), as the plan (see `of_tasks`).

    max_attempts; base_s, factor, cap_s: before attempt k + 1 it waits min(cap_s, base_s * factor ** (k - 1)) seconds, of which
    the share `jitter` (0 to 1) is drawn (1 is full jitter: Brooker, Exponential Backoff and Jitter, AWS 2015).
    timeout_s: an attempt is killed after that. retryable: bit e is set where error e is worth another attempt.
    priority: lower goes first, ties by who was queued first.
    budget: number of the retry budget that it draws on, -1: none; budget_ratio, budget_cap: by budget, how much of a retry each
    first attempt adds, and how many retries it can hold (token bucket: Beyer et al., Site Reliability Engineering, ch. 21).
    """

    max_attempts: np.ndarray
    base_s: np.ndarray
    factor: np.ndarray
    cap_s: np.ndarray
    jitter: np.ndarray
    timeout_s: np.ndarray
    retryable: np.ndarray
    priority: np.ndarray
    budget: np.ndarray
    budget_ratio: Sequence[float] = ()
    budget_cap: Sequence[float] = ()


@dataclass(frozen=True, eq=False)
class Pools:
    """pool: number of the pool of each task run, shape (n,). slots: by pool. slow_down: how much longer an attempt takes when it
    starts as the k-th that runs, of all pools, k from 1 (beyond its end: as its last); empty: none. memory_bytes: what the
    machine has; an attempt that starts where less is left, and not alone, ends in "out of memory"."""

    pool: np.ndarray
    slots: Sequence[int]
    slow_down: Sequence[float] = ()
    memory_bytes: float = math.inf


@dataclass(frozen=True, eq=False)
class Failures:
    """Attempts that failed, in order of time: arrays of shape (k,). task_run, attempt (from 1), started_s, ended_s, error;
    retried_by: NOBODY, SCHEDULER or HUMAN."""

    task_run: np.ndarray
    attempt: np.ndarray
    started_s: np.ndarray
    ended_s: np.ndarray
    error: np.ndarray
    retried_by: np.ndarray


@dataclass(frozen=True, eq=False)
class MonthRun:
    """What happened. Arrays of shape (n,), as the plan.

    queued_s, started_s: when all that it waits for was done, and when it first got a slot; NaN: never. ended_s: when it
    succeeded or was given up; NaN: its upstream failed. outcome: SUCCESS, FAILED or UPSTREAM_FAILED. attempts: made.
    slot_s: seconds for which it held a slot, all attempts together. failures: attempts that failed.
    peak_memory_bytes: of all attempts that ran at once. repaired: a human made it run, after it had failed.
    """

    queued_s: np.ndarray
    started_s: np.ndarray
    ended_s: np.ndarray
    outcome: np.ndarray
    attempts: np.ndarray
    slot_s: np.ndarray
    failures: Failures
    peak_memory_bytes: float
    repaired: np.ndarray

    def dag_runs(self, plan: Plan) -> tuple[np.ndarray, np.ndarray]:
        """By run of a DAG: when it was done (inf: never), and seconds from when it was due."""
        first = plan.first_of_dag_run
        done = np.zeros(len(first))
        np.maximum.at(done, plan.dag_run, np.where(self.outcome == SUCCESS, self.ended_s, np.inf))
        return done, done - plan.scheduled_s[first]


def of_tasks(plan: Plan, by_task: np.ndarray | Sequence[float]) -> np.ndarray:
    """Return values of tasks (shape (tasks,)) as values of their runs."""
    return np.asarray(by_task)[plan.task]


def simulate_month(
    plan: Plan, draws: Draws, settings: Settings, pools: Pools, repair_s: np.ndarray | None = None
) -> MonthRun:
    """Run all task runs to their end and return what happened.

    repair_s: by task run, seconds after it failed for good until a human has mended it and runs it, and again as long as an
    outage lasts; inf or None: nobody comes. A task whose upstream in its own DAG failed does not run; a sensor waits for the
    end of what it waits for, well or not. The k-th attempt reads the same draws whatever was decided (common random numbers).

    Raises ValueError where arrays are not of the plan's length.
    """
    n = len(plan)
    arrays = {**vars(draws), **vars(settings), "pool": pools.pool}
    for name, values in arrays.items():
        if isinstance(values, np.ndarray) and len(values) != n:
            raise ValueError(f"{name} has {len(values)} values, the plan has {n} task runs")
    return _Run(plan, draws, settings, pools, repair_s).run()


class _Trouble:
    """An outage as it goes on."""

    def __init__(self, outage: Outage) -> None:
        self.outage = outage
        self.end_s = outage.end_s
        self.minute, self.seen = -1, 0

    def is_out(self, now: float) -> bool:
        """Whether an attempt at that moment fails; it counts as load."""
        if now < self.outage.start_s or now >= self.end_s + self.outage.recovery_s:
            return False
        if now < self.end_s:
            return True
        minute = int(now // 60)
        self.seen = self.seen + 1 if minute == self.minute else 1
        self.minute = minute
        if self.seen <= self.outage.bears_per_minute:
            return False
        self.end_s = now + self.outage.relapse_s
        return True


class _Run:
    """The state of one month. Plain lists: single elements of arrays are several times slower to read."""

    def __init__(self, plan: Plan, draws: Draws, settings: Settings, pools: Pools, repair_s: np.ndarray | None) -> None:
        n = len(plan)
        self.plan, self.draws, self.settings = plan, draws, settings
        self.pool = pools.pool.tolist()
        self.slots = list(pools.slots)
        self.slow_down = list(pools.slow_down)
        self.room = pools.memory_bytes
        self.work_s, self.timeout_s = draws.work_s.tolist(), settings.timeout_s.tolist()
        self.fault = np.where(draws.fault_attempts > 0, draws.fault, OK).tolist()
        self.resource = draws.resource.tolist()
        self.memory = draws.memory_bytes.tolist()
        self.repair_s = None if repair_s is None else repair_s.tolist()
        self.outages: dict[int, list[_Trouble]] = {}
        for outage in draws.outages:
            self.outages.setdefault(outage.resource, []).append(_Trouble(outage))
        self.troubled = [r in self.outages for r in self.resource]
        # Most task runs wait for one or two: children of a run are kept as a slice of one list.
        order = np.argsort(plan.edges[:, 0], kind="stable")
        self.first_child = np.searchsorted(plan.edges[order, 0], np.arange(n + 1)).tolist()
        self.child = plan.edges[order, 1].tolist()
        self.child_is_sensor = plan.is_sensor[order].tolist()
        self.waits_for = (1 + np.bincount(plan.edges[:, 1], minlength=n)).tolist()
        self.tokens = list(settings.budget_cap)
        self.budget = settings.budget.tolist()
        self.priority = settings.priority.tolist()

        nan = math.nan
        self.queued_s, self.started_s, self.ended_s = [nan] * n, [nan] * n, [nan] * n
        self.outcome, self.attempts, self.slot_s = [-1] * n, [0] * n, [0.0] * n
        self.error, self.attempt_s, self.repaired = [OK] * n, [0.0] * n, [False] * n
        self.busy = [0] * len(self.slots)
        self.running, self.used, self.peak = 0, 0.0, 0.0
        self.waiting: list[list[tuple[int, float, int]]] = [[] for _ in self.slots]
        self.failures: list[tuple[int, int, float, float, int, int]] = []
        self.events: list[tuple[float, int]] = []  # (time, i): attempt i ends; (time, ~i): i waits for a slot again

    def run(self) -> MonthRun:
        """All events, in order of time; at one moment, ends before what comes due."""
        due_s = self.plan.scheduled_s
        if self.draws.not_before_s is not None:
            due_s = np.maximum(due_s, self.draws.not_before_s)
        due = np.argsort(due_s, kind="stable")
        times, order = due_s[due].tolist(), due.tolist()
        events, pop, at, n = self.events, heapq.heappop, 0, len(order)
        while events or at < n:
            if at < n and (not events or times[at] < events[0][0]):
                self._release(order[at], times[at])
                at += 1
                continue
            now, i = pop(events)
            if i >= 0:
                self._end(i, now)
            else:
                self._queue(~i, now)
        columns = zip(*self.failures, strict=True) if self.failures else [()] * 6
        types = (np.int64, np.int64, float, float, np.int64, np.int64)
        return MonthRun(
            np.array(self.queued_s),
            np.array(self.started_s),
            np.array(self.ended_s),
            np.array(self.outcome, dtype=np.int8),
            np.array(self.attempts),
            np.array(self.slot_s),
            Failures(*(np.array(c, dtype=t) for c, t in zip(columns, types, strict=True))),
            self.peak,
            np.array(self.repaired),
        )

    def _release(self, i: int, now: float) -> None:
        self.waits_for[i] -= 1
        if not self.waits_for[i] and self.outcome[i] < 0:
            self.queued_s[i] = now
            self._queue(i, now)

    def _queue(self, i: int, now: float) -> None:
        pool = self.pool[i]
        if self.busy[pool] < self.slots[pool]:
            self._start(i, pool, now)
        else:
            heapq.heappush(self.waiting[pool], (self.priority[i], now, i))

    def _start(self, i: int, pool: int, now: float) -> None:
        self.busy[pool] += 1
        self.running += 1
        self.attempts[i] += 1
        if self.attempts[i] == 1:
            self.started_s[i] = now
            budget = self.budget[i]
            if budget >= 0:
                settings = self.settings
                self.tokens[budget] = min(
                    settings.budget_cap[budget], self.tokens[budget] + settings.budget_ratio[budget]
                )
        took_s, error = self.work_s[i], OK
        if self.slow_down:
            took_s *= self.slow_down[min(self.running, len(self.slow_down)) - 1]
        if self.troubled[i] and self._is_out(self.resource[i], now):
            took_s, error = min(took_s, self.draws.fail_s), NETWORK
        elif self.fault[i] and self.attempts[i] <= self.draws.fault_attempts[i] and not self.repaired[i]:
            error = self.fault[i]
            took_s = math.inf if error == TIMED_OUT else FAULT_SHARE * took_s
        self.used += self.memory[i]
        if self.used > self.room and self.running > 1 and not error:
            took_s, error = FAULT_SHARE * took_s, MEMORY
        if took_s > self.timeout_s[i] and not self.repaired[i]:
            took_s, error = self.timeout_s[i], TIMED_OUT
        took_s = min(took_s, NEVER_S)
        self.peak = max(self.peak, self.used)
        self.error[i], self.attempt_s[i] = error, took_s
        heapq.heappush(self.events, (now + took_s, i))

    def _is_out(self, resource: int, now: float) -> bool:
        return any([trouble.is_out(now) for trouble in self.outages[resource]])

    def _end(self, i: int, now: float) -> None:
        pool = self.pool[i]
        self.busy[pool] -= 1
        self.running -= 1
        self.used -= self.memory[i]
        self.slot_s[i] += self.attempt_s[i]
        if self.error[i]:
            self._fail(i, now)
        else:
            self.outcome[i], self.ended_s[i] = SUCCESS, now
            for k in range(self.first_child[i], self.first_child[i + 1]):
                self._release(self.child[k], now)
        waiting = self.waiting[pool]
        while waiting and self.busy[pool] < self.slots[pool]:
            self._start(heapq.heappop(waiting)[2], pool, now)

    def _fail(self, i: int, now: float) -> None:
        settings, attempt, error = self.settings, self.attempts[i], self.error[i]
        again = attempt < settings.max_attempts[i] and int(settings.retryable[i]) >> error & 1
        budget = self.budget[i]
        if again and budget >= 0:
            again = self.tokens[budget] >= 1
            self.tokens[budget] -= bool(again)
        by = SCHEDULER if again else HUMAN if self.repair_s is not None and self.repair_s[i] < math.inf else NOBODY
        self.failures.append((i, attempt, now - self.attempt_s[i], now, error, by))
        if by == SCHEDULER:
            jitter = self.draws.jitter[i]
            wait_s = min(settings.cap_s[i], settings.base_s[i] * settings.factor[i] ** (attempt - 1))
            drawn = jitter[(attempt - 1) % len(jitter)]
            heapq.heappush(self.events, (now + wait_s * (1 - settings.jitter[i] * (1 - drawn)), ~i))
        elif by == HUMAN:
            self.repaired[i] = True
            heapq.heappush(self.events, (now + self.repair_s[i], ~i))
        else:
            self._give_up(i, now)

    def _give_up(self, i: int, now: float) -> None:
        self.outcome[i], self.ended_s[i] = FAILED, now
        ended = [i]
        while ended:
            parent = ended.pop()
            for k in range(self.first_child[parent], self.first_child[parent + 1]):
                child = self.child[k]
                if self.child_is_sensor[k]:
                    self._release(child, now)
                elif self.outcome[child] < 0:
                    self.outcome[child] = UPSTREAM_FAILED
                    ended.append(child)
