"""Days on which a service degrades, and what they cost under breaker settings and fallbacks.

The shared pool of the world, its callers and its neighbours, run slot by slot on the same draws for every policy.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from workshop.sim.breaker import Breaker, BreakerSettings, replay
from workshop.sim.cluster import ClusterRun, Dag, Step, draw_tasks, draws_needed, simulate_cluster
from workshop.sim.service import CLIENT_ERROR, Phase, draw_service, kinds_at

COSTS_USD = {
    "late": {"critical": 400, "high": 200, "normal": 100, "low": 20},
    "failed": 25,
    "stale": 0.02,
    "too_stale": 8,
    "reached_while_degraded": 0.20,
}
"""late: a run that is done after its deadline, or never, by criticality of its DAG. failed: a run that ended as failed
and is run again by hand; it is not late if it failed `RESCUE_S` or more before its deadline. stale: a former answer used
in place of a fresh one; too_stale: one that is older than its user allows. reached_while_degraded: a call to a service
that is down or slow."""

RESCUE_S = 900.0
DEFER_S = 600.0
MAX_DEFERS = 40
DAY_S = 8 * 3600.0


def run_day(
    day: Mapping[str, Any],
    slots: int,
    dags: Sequence[Mapping[str, Any]],
    services: Sequence[Mapping[str, Any]],
    breakers: Mapping[str, Mapping[str, float]],
    fallbacks: Mapping[str, str],
) -> dict[str, Any]:
    """Run one day and return what it cost and what happened.

    day: seed, and phases: rows (service_name, start_s, end_s, kind, error_rate, latency_factor; None: hangs).
    dags: dag_id, every_s (None: once that day), offset_s, work_s, criticality, deadline_s, service_name ("": none), n_calls,
    max_stale_s (None: must be fresh). services: service_name, median_s, sigma, error_rate, timeout_s.
    breakers: settings by service, none where calls go unguarded; fallbacks: by dag_id, for each that calls.

    Returns a dict: cost_usd in all, costs (by kind), late_neighbours (runs that call no service and were late),
    calls and refused (by service), reached_while_degraded, callers (rows: dag_id, runs, late, failed, stale, too_stale,
    cost_usd).
    """
    plan = [_dag(dag) for dag in dags]
    tasks = draw_tasks(day["seed"], plan, DAY_S)
    made = []
    for service in services:
        name = service["service_name"]
        phases = [
            Phase(a, b, kind, rate, np.inf if factor is None else factor)
            for of, a, b, kind, rate, factor in day["phases"]
            if of == name
        ]
        made.append(
            draw_service(
                day["seed"],
                name,
                draws_needed(tasks, name, MAX_DEFERS),
                median_s=service["median_s"],
                sigma=service["sigma"],
                timeout_s=service["timeout_s"],
                phases=phases,
                error_rate=service["error_rate"],
            )
        )
    guards = {name: Breaker(BreakerSettings(**settings)) for name, settings in breakers.items()}
    run = simulate_cluster(
        tasks, slots, made, guards=guards, fallbacks=fallbacks, defer_s=DEFER_S, max_defers=MAX_DEFERS
    )
    return _account(run, dags, made)


def run_days(
    days: Sequence[Mapping[str, Any]],
    slots: int,
    dags: Sequence[Mapping[str, Any]],
    services: Sequence[Mapping[str, Any]],
    breakers: Mapping[str, Mapping[str, float]],
    fallbacks: Mapping[str, str],
) -> list[dict[str, Any]]:
    """Return `run_day` of each day."""
    return [run_day(day, slots, dags, services, breakers, fallbacks) for day in days]


def _dag(dag: Mapping[str, Any]) -> Dag:
    """A caller reads, calls and writes in one task; a neighbour is a chain of three tasks, each of which queues."""
    every_s, work_s = dag["every_s"] or DAY_S, float(dag["work_s"])
    if dag["service_name"]:
        steps = (Step("call", work_s, 0.3, dag["service_name"], int(dag["n_calls"])),)
    else:
        names = ("read", "transform", "publish")
        steps = tuple(Step(name, work_s / 3, 0.3, after=names[k - 1 : k] if k else ()) for k, name in enumerate(names))
    return Dag(dag["dag_id"], dag["offset_s"] % every_s, every_s, steps)


def _account(run: ClusterRun, dags: Sequence[Mapping[str, Any]], services: Sequence[Any]) -> dict[str, Any]:
    by_id = {dag["dag_id"]: dag for dag in dags}
    row = {dag["dag_id"]: i for i, dag in enumerate(dags)}
    of_task = np.array([row[d] for d in run.tasks.dag_id.tolist()])
    deadline_s = run.tasks.scheduled_s + np.array([dag["deadline_s"] for dag in dags], dtype=float)[of_task]
    last = np.ones(len(run.tasks), dtype=bool)
    last[run.tasks.edges[:, 0]] = False  # a run is done when its last task is
    failed = run.outcome == "failed"
    late = last & (run.ended_s + np.where(failed, RESCUE_S, 0.0) > deadline_s)
    price = np.array([COSTS_USD["late"][dag["criticality"]] for dag in dags])[of_task]

    calls = run.calls
    degraded = np.zeros(len(calls.task), dtype=bool)
    for service in services:
        mine = calls.service == service.name
        degraded[mine] = kinds_at(service, calls.at_s[mine]) != "healthy"
    allowed_s = np.array([-1.0 if dag["max_stale_s"] is None else dag["max_stale_s"] for dag in dags], dtype=float)
    stale = calls.fallback == "stale"
    too_stale = stale & ~(calls.stale_age_s <= allowed_s[of_task[calls.task]])
    went = calls.draw >= 0

    def by_dag(task: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return np.bincount(of_task[task], weights=weights.astype(float), minlength=len(dags))

    every = np.arange(len(run.tasks))
    kinds = {
        "late": by_dag(every, late * price),
        "failed": by_dag(every, failed * COSTS_USD["failed"]),
        "stale": by_dag(calls.task, (stale & ~too_stale) * COSTS_USD["stale"]),
        "too_stale": by_dag(calls.task, too_stale * COSTS_USD["too_stale"]),
        "reached_while_degraded": by_dag(calls.task, (went & degraded) * COSTS_USD["reached_while_degraded"]),
    }
    cost = sum(kinds.values())
    neighbour = np.array([not dag["service_name"] for dag in dags])
    counts = {
        "runs": by_dag(every, last),
        "late": by_dag(every, late),
        "failed": by_dag(every, failed),
        "stale": by_dag(calls.task, stale),
        "too_stale": by_dag(calls.task, too_stale),
    }
    healthy_refused = {s.name: int(((calls.service == s.name) & (calls.outcome == "refused")).sum()) for s in services}
    return {
        "cost_usd": float(cost.sum()),
        "costs": {kind: float(values.sum()) for kind, values in kinds.items()},
        "late_neighbours": int((late & neighbour[of_task]).sum()),
        "neighbour_runs": int((last & neighbour[of_task]).sum()),
        "calls": {s.name: int((calls.service == s.name).sum()) for s in services},
        "refused": healthy_refused,
        "reached_while_degraded": int((went & degraded).sum()),
        "client_errors": int((calls.outcome == CLIENT_ERROR).sum()),
        "callers": [
            {
                "dag_id": dag_id,
                **{name: int(values[row[dag_id]]) for name, values in counts.items()},
                "cost_usd": float(cost[row[dag_id]]),
            }
            for dag_id in by_id
            if by_id[dag_id]["service_name"]
        ],
    }


def probe_breakers(
    rows: Sequence[Mapping[str, Any]], breakers: Mapping[str, Mapping[str, float]], seed: int, times_slower: float
) -> list[dict[str, Any]]:
    """Replay busy hours of each service through its breaker: one healthy, 40 minutes slow, one healthy; a call each 3 s.

    In the first hour answers take twice as long for a quarter of an hour, in the 40 minutes `times_slower` as long. rows:
    service_name, median_s, sigma, error_rate, timeout_s.

    Returns a row for each service: service_name, refused_healthy and refused_slow (shares of the calls of the first two
    parts), and back_after_s: how long after the 40 minutes the last call was refused, 0 if none was.
    """
    well_s, again_s = 3600.0, 6000.0
    at_s = np.arange(0, again_s + 3600.0, 3.0)
    phases = (Phase(1200, 2100, "slow", 0.0, 2.0), Phase(well_s, again_s, "slow", 0.0, times_slower))
    found = []
    for row in rows:
        name = row["service_name"]
        service = draw_service(
            seed,
            name,
            len(at_s),
            median_s=row["median_s"],
            sigma=row["sigma"],
            timeout_s=row["timeout_s"],
            phases=[Phase(a.start_s, a.end_s, a.kind, row["error_rate"], a.latency_factor) for a in phases],
            error_rate=row["error_rate"],
        )
        reached = replay(Breaker(BreakerSettings(**breakers[name])), at_s.tolist(), service.outcome)
        after = at_s[~reached & (at_s >= again_s)]
        found.append(
            {
                "service_name": name,
                "refused_healthy": float((~reached)[at_s < well_s].mean()),
                "refused_slow": float((~reached)[(at_s >= well_s) & (at_s < again_s)].mean()),
                "back_after_s": float(after[-1] - again_s) if len(after) else 0.0,
            }
        )
    return found
