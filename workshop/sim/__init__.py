"""Discrete-event simulation of a data platform on a virtual clock.

Time is in seconds, as float, from the start of the run. All randomness comes from an explicit seed through
named streams and is drawn before a policy acts, so that two policies are compared on the same draws.
"""

from workshop.sim.breaker import Breaker, BreakerSettings, CircuitOpen, replay
from workshop.sim.clock import VirtualClock
from workshop.sim.cluster import (
    Attempts,
    Calls,
    ClusterRun,
    Dag,
    Fallback,
    Guard,
    Occupancy,
    Step,
    Tasks,
    count_at,
    draw_tasks,
    draws_needed,
    pool_occupancy,
    simulate_cluster,
)
from workshop.sim.month import (
    Draws,
    Failures,
    MonthRun,
    Outage,
    Plan,
    Pools,
    Settings,
    of_tasks,
    plan_runs,
    simulate_month,
)
from workshop.sim.queues import QueueRun, erlang_c, mm1_wait, mmc_wait, simulate_queue
from workshop.sim.service import (
    CLIENT_ERROR,
    SERVER_ERROR,
    TIMEOUT,
    Phase,
    Service,
    draw_service,
    flapping,
    kinds_at,
)
from workshop.sim.streams import streams

__all__ = [
    "CLIENT_ERROR",
    "SERVER_ERROR",
    "TIMEOUT",
    "Attempts",
    "Breaker",
    "BreakerSettings",
    "Calls",
    "CircuitOpen",
    "ClusterRun",
    "Dag",
    "Draws",
    "Failures",
    "Fallback",
    "Guard",
    "MonthRun",
    "Occupancy",
    "Outage",
    "Phase",
    "Plan",
    "Pools",
    "QueueRun",
    "Service",
    "Settings",
    "Step",
    "Tasks",
    "VirtualClock",
    "count_at",
    "draw_service",
    "draw_tasks",
    "draws_needed",
    "erlang_c",
    "flapping",
    "kinds_at",
    "mm1_wait",
    "mmc_wait",
    "of_tasks",
    "plan_runs",
    "pool_occupancy",
    "replay",
    "simulate_cluster",
    "simulate_month",
    "simulate_queue",
    "streams",
]
