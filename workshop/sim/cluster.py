"""A pool of slots that many DAGs share, with calls to services that may degrade.

A task takes a slot, makes its calls one after the other, then does its own work, and gives the slot back.
While it waits for a service it holds the slot: that is how one slow service starves DAGs which have nothing
to do with it.
"""

import heapq
import itertools
from collections import defaultdict, deque
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import numpy as np
import simpy

from workshop.sim.service import CLIENT_ERROR, Service
from workshop.sim.streams import streams

Fallback = Literal["defer", "fail", "stale"]


class Guard(Protocol):
    """What stands between the callers and one service, for instance a circuit breaker. Times in seconds."""

    def allow(self, now_s: float) -> bool:
        """Return whether a call may go to the service now."""

    def record(self, now_s: float, ok: bool, latency_s: float, error: str | None) -> None:
        """Take note of an allowed call that came back at `now_s`; error: see `workshop.sim.service`."""


@dataclass(frozen=True)
class Step:
    """A task of a DAG. Its own work is log-normal: median in seconds, sigma of the logarithm.

    service: name of the service that it calls `n_calls` times before its work, "" for none;
    after: the steps of the same DAG that must have succeeded.
    """

    task_id: str
    work_median_s: float
    work_sigma: float
    service: str = ""
    n_calls: int = 0
    after: tuple[str, ...] = ()


@dataclass(frozen=True)
class Dag:
    """A DAG that is scheduled at first_s, first_s + every_s, ... (seconds)."""

    dag_id: str
    first_s: float
    every_s: float
    steps: tuple[Step, ...]


@dataclass(frozen=True, eq=False)
class Tasks:
    """The n tasks to run. Arrays of shape (n,), but for `edges`.

    dag_id, task_id, service ("" for none): strings; run: number of the DAG run; scheduled_s: seconds, not
    queued before; work_s: own work, seconds; n_calls: calls to `service`;
    edges: (m, 2) indices, the second waits for the success of the first.
    """

    dag_id: np.ndarray
    task_id: np.ndarray
    run: np.ndarray
    scheduled_s: np.ndarray
    work_s: np.ndarray
    service: np.ndarray
    n_calls: np.ndarray
    edges: np.ndarray

    def __len__(self) -> int:
        """Return the number of tasks."""
        return len(self.dag_id)


@dataclass(frozen=True, eq=False)
class Attempts:
    """Each stay of a task in a slot, in the order in which they ended. Arrays of shape (k,).

    task: index; slot: number of the slot; queued_s, started_s, ended_s: seconds;
    outcome: "success", "failed" or "deferred".
    """

    task: np.ndarray
    slot: np.ndarray
    queued_s: np.ndarray
    started_s: np.ndarray
    ended_s: np.ndarray
    outcome: np.ndarray


@dataclass(frozen=True, eq=False)
class Calls:
    """Each call that a task wanted to make, in the order in which they came back. Arrays of shape (k,).

    task: index; service: name; call: its number within the task;
    draw: index for `Service.outcome`, -1 where refused; at_s, latency_s: seconds;
    outcome: "ok", "refused" (by the guard) or an error class of `workshop.sim.service`;
    fallback: what the caller did then, "" where it took the answer (ok; client error: the row is skipped);
    stale_age_s: for "stale", seconds since the last good answer to anybody (inf: never); NaN else.
    """

    task: np.ndarray
    service: np.ndarray
    call: np.ndarray
    draw: np.ndarray
    at_s: np.ndarray
    latency_s: np.ndarray
    outcome: np.ndarray
    fallback: np.ndarray
    stale_age_s: np.ndarray


@dataclass(frozen=True, eq=False)
class ClusterRun:
    """What happened. Arrays of shape (n,), as `tasks`.

    queued_s, started_s: when the task was first queued and first got a slot, seconds, NaN where never;
    ended_s: seconds; outcome: "success", "failed" or "upstream_failed".
    """

    tasks: Tasks
    slots: int
    queued_s: np.ndarray
    started_s: np.ndarray
    ended_s: np.ndarray
    outcome: np.ndarray
    attempts: Attempts
    calls: Calls


@dataclass(frozen=True, eq=False)
class Occupancy:
    """The pool at the times at_s (seconds). Arrays of shape (k,), counts.

    busy: slots taken; in_call: those of them that only wait for a service; queued: tasks that wait.
    """

    at_s: np.ndarray
    busy: np.ndarray
    in_call: np.ndarray
    queued: np.ndarray


def draw_tasks(seed: int | str | bytes, dags: Sequence[Dag], horizon_s: float) -> Tasks:
    """Return the tasks of all runs scheduled before `horizon_s` (seconds), ordered by DAG, run and step.

    Each step draws its work from a stream of its own, so another DAG or a longer horizon changes no draw.

    Raises ValueError where a step comes after one that is not listed before it.
    """
    parts, edges, offset = [], [np.empty((0, 2), dtype=np.int64)], 0
    for dag in dags:
        ids = [step.task_id for step in dag.steps]
        runs = max(0, int(np.ceil((horizon_s - dag.first_s) / dag.every_s)))
        first_of_run = offset + np.arange(runs) * len(ids)
        work_s = [
            streams(seed, f"work/{dag.dag_id}/{s.task_id}").lognormal(np.log(s.work_median_s), s.work_sigma, runs)
            for s in dag.steps
        ]
        for at, step in enumerate(dag.steps):
            for upstream in step.after:
                if upstream not in ids[:at]:
                    raise ValueError(f"{dag.dag_id}.{step.task_id}: {upstream!r} must be an earlier step of the DAG")
                edges.append(np.column_stack([first_of_run + ids.index(upstream), first_of_run + at]))
        run = np.repeat(np.arange(runs), len(ids))
        parts.append(
            (
                np.full(len(run), dag.dag_id),
                np.tile(np.array(ids), runs),
                run,
                dag.first_s + dag.every_s * run,
                np.column_stack(work_s).ravel(),
                np.tile(np.array([step.service for step in dag.steps]), runs),
                np.tile(np.array([step.n_calls for step in dag.steps]), runs),
            )
        )
        offset += len(run)
    return Tasks(*map(np.concatenate, zip(*parts, strict=True)), edges=np.concatenate(edges))


def draws_needed(tasks: Tasks, service: str, max_defers: int) -> int:
    """Return how many calls must be drawn for the service: each call may be tried `max_defers` + 1 times."""
    return int(tasks.n_calls[tasks.service == service].sum()) * (max_defers + 1)


def simulate_cluster(
    tasks: Tasks,
    slots: int,
    services: Sequence[Service],
    *,
    guards: Mapping[str, Guard],
    fallbacks: Mapping[str, Fallback],
    defer_s: float,
    max_defers: int,
) -> ClusterRun:
    """Run all tasks to their end in a pool of `slots`, first come, first served, and return what happened.

    guards: by service name, none where calls go unguarded; asked before each call, told after it.
    fallbacks: by dag_id, for each DAG that calls a service: what its tasks do when a call is refused, times
    out or meets a server error. "stale" takes the last known answer and goes on; "fail" ends the task as
    failed; "defer" gives the slot back, queues again after `defer_s` seconds and goes on with the same call,
    at most `max_defers` times, then it fails. A client error is the row's fault: the row is skipped, the task
    goes on. A task whose upstream fails is "upstream_failed" and takes no slot.

    The k-th try of a call reads the same draw whatever the guard and the fallbacks did before (common random
    numbers). Two or three events for a task without calls, one more for each call that goes out.

    Raises ValueError where a service or a fallback is missing, a guard has no service, a service has too few
    draws, slots < 1, or the edges have a cycle.
    """
    if slots < 1:
        raise ValueError(f"slots is {slots}: the pool needs at least one slot")
    run = _Run(
        tasks,
        slots,
        services,
        guards=guards,
        fallbacks=fallbacks,
        defer_s=defer_s,
        max_defers=max_defers,
    )
    run.env.run()
    if "" in run.outcome:
        raise ValueError("some tasks wait for each other: the edges must have no cycle")
    return ClusterRun(
        tasks,
        slots,
        np.array(run.queued_s),
        np.array(run.started_s),
        np.array(run.ended_s),
        np.array(run.outcome, dtype=np.str_),
        Attempts(*_columns(run.attempts, (int, int, float, float, float, np.str_))),
        Calls(*_columns(run.calls, (int, np.str_, int, int, float, float, np.str_, np.str_, float))),
    )


def _columns(rows: list[tuple], types: tuple[type, ...]) -> list[np.ndarray]:
    columns = zip(*rows, strict=True) if rows else [()] * len(types)
    return [np.array(column, dtype=kind) for column, kind in zip(columns, types, strict=True)]


class _Run:
    """The state of one run. Each slot is a SimPy process that takes the next task itself: few events."""

    def __init__(
        self,
        tasks: Tasks,
        slots: int,
        services: Sequence[Service],
        *,
        guards: Mapping[str, Guard],
        fallbacks: Mapping[str, Fallback],
        defer_s: float,
        max_defers: int,
    ) -> None:
        n = len(tasks)
        self.env = simpy.Environment()
        self.services = {service.name: service for service in services}
        self.guards, self.defer_s, self.max_defers = guards, defer_s, max_defers
        # lists: reading single elements of arrays is several times slower
        self.work_s = tasks.work_s.tolist()
        self.service = tasks.service.tolist()
        self.n_calls = np.where(tasks.service == "", 0, tasks.n_calls).tolist()
        self.fallback = [fallbacks.get(dag_id) for dag_id in tasks.dag_id.tolist()]
        self._check_callers(tasks)
        self.first_draw, self.draws_per_try = _layout_draws(tasks)
        self.downstream: dict[int, list[int]] = defaultdict(list)
        self.waits_for = [1] * n  # its own schedule, and its upstream tasks
        for before, after in tasks.edges.tolist():
            self.downstream[before].append(after)
            self.waits_for[after] += 1

        self.ready: deque[tuple[int, float]] = deque()  # task, queued since
        self.idle: list[tuple[int, simpy.Event]] = []  # heap: the lowest free slot is taken first
        self.next_call, self.tries, self.defers = [0] * n, [0] * n, [0] * n
        self.last_ok_s = dict.fromkeys(self.services, -np.inf)
        self.queued_s, self.started_s, self.ended_s = [np.nan] * n, [np.nan] * n, [np.nan] * n
        self.outcome = [""] * n
        self.attempts: list[tuple] = []
        self.calls: list[tuple] = []

        for slot in range(slots):
            self.env.process(self._work(slot))
        self.env.process(self._schedule(tasks.scheduled_s))

    def _check_callers(self, tasks: Tasks) -> None:
        for task in range(len(tasks)):
            if self.n_calls[task] and self.fallback[task] not in get_args(Fallback):
                dag_id = str(tasks.dag_id[task])
                raise ValueError(f"DAG {dag_id!r} calls a service: give it a fallback of {get_args(Fallback)}")
        if unknown := self.guards.keys() - self.services.keys():
            raise ValueError(f"guards for unknown services: {', '.join(sorted(unknown))}")
        for name in sorted(set(self.service) - {""}):
            needed = draws_needed(tasks, name, self.max_defers)
            drawn = len(self.services.get(name, ()))
            if drawn < needed:
                raise ValueError(f"service {name!r} may get {needed} calls, {drawn} are drawn: see draws_needed")

    def _schedule(self, scheduled_s: np.ndarray) -> Generator[simpy.Event, None, None]:
        order = np.argsort(scheduled_s, kind="stable")
        due = zip(scheduled_s[order].tolist(), order.tolist(), strict=True)
        for at_s, tasks in itertools.groupby(due, key=lambda pair: pair[0]):
            yield self.env.timeout(at_s - self.env.now)
            for _, task in tasks:
                self._release(task)

    def _release(self, task: int) -> None:
        self.waits_for[task] -= 1
        if not self.waits_for[task]:
            self.queued_s[task] = self.env.now
            self._queue(task)

    def _queue(self, task: int) -> None:
        self.ready.append((task, self.env.now))
        if self.idle:
            heapq.heappop(self.idle)[1].succeed()

    def _work(self, slot: int) -> Generator[simpy.Event, None, None]:
        env, ready = self.env, self.ready
        while True:
            while not ready:
                wake = env.event()
                heapq.heappush(self.idle, (slot, wake))
                yield wake
            task, queued_s = ready.popleft()
            started_s = env.now
            if not self.defers[task]:
                self.started_s[task] = started_s
            outcome = "success"
            while outcome == "success" and self.next_call[task] < self.n_calls[task]:
                outcome = yield from self._call(task)
            if outcome == "success":
                yield env.timeout(self.work_s[task])
            self.attempts.append((task, slot, queued_s, started_s, env.now, outcome))
            if outcome == "deferred":
                env.process(self._defer(task))
            else:
                self._finish(task, outcome)

    def _call(self, task: int) -> Generator[simpy.Event, None, str]:
        env, name, call, at_s = self.env, self.service[task], self.next_call[task], self.env.now
        guard = self.guards.get(name)
        draw, latency_s, error = -1, 0.0, "refused"
        if guard is None or guard.allow(at_s):
            draw = self.first_draw[task] + call + self.tries[task] * self.draws_per_try[name]
            self.tries[task] += 1
            ok, latency_s, error = self.services[name].outcome(draw, at_s)
            yield env.timeout(latency_s)
            if guard is not None:
                guard.record(env.now, ok, latency_s, error)
            if ok:
                self.last_ok_s[name] = env.now
        fallback = "" if error is None or error == CLIENT_ERROR else self.fallback[task]
        if fallback == "defer" and self.defers[task] == self.max_defers:
            fallback = "fail"
        stale_age_s = env.now - self.last_ok_s[name] if fallback == "stale" else np.nan
        self.calls.append((task, name, call, draw, at_s, latency_s, error or "ok", fallback, stale_age_s))
        if fallback == "defer":
            return "deferred"
        if fallback == "fail":
            return "failed"
        self.next_call[task] += 1
        self.tries[task] = 0
        return "success"

    def _defer(self, task: int) -> Generator[simpy.Event, None, None]:
        self.defers[task] += 1
        yield self.env.timeout(self.defer_s)
        self._queue(task)

    def _finish(self, task: int, outcome: str) -> None:
        ended = [(task, outcome)]
        while ended:
            task, outcome = ended.pop()
            self.outcome[task], self.ended_s[task] = outcome, self.env.now
            for child in self.downstream.get(task, ()):
                if outcome == "success":
                    self._release(child)
                elif not self.outcome[child]:
                    ended.append((child, "upstream_failed"))


def _layout_draws(tasks: Tasks) -> tuple[list[int], dict[str, int]]:
    """Return the draw of each task's first call, and by service how far apart two tries of a call are."""
    first = np.zeros(len(tasks), dtype=np.int64)
    per_try = {}
    for name in np.unique(tasks.service).tolist():
        calls = np.where(tasks.service == name, tasks.n_calls, 0)
        first += np.where(tasks.service == name, np.cumsum(calls) - calls, 0)
        per_try[name] = int(calls.sum())
    return first.tolist(), per_try


def count_at(start_s: np.ndarray, end_s: np.ndarray, at_s: np.ndarray) -> np.ndarray:
    """Return how many intervals start_s <= t < end_s (seconds, without NaN) hold each time of `at_s`."""
    begun = np.searchsorted(np.sort(start_s), at_s, side="right")
    return begun - np.searchsorted(np.sort(end_s), at_s, side="right")


def pool_occupancy(run: ClusterRun, at_s: np.ndarray) -> Occupancy:
    """Return the state of the pool at each time of `at_s` (seconds)."""
    attempts, calls = run.attempts, run.calls
    return Occupancy(
        at_s,
        count_at(attempts.started_s, attempts.ended_s, at_s),
        count_at(calls.at_s, calls.at_s + calls.latency_s, at_s),
        count_at(attempts.queued_s, attempts.started_s, at_s),
    )
