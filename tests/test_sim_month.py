"""A month of the platform: against recursions done by hand, and its own promises."""

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import pytest

from workshop import sim
from workshop.sim import month
from workshop.sim.month import FAILED, INPUT, MEMORY, NETWORK, SUCCESS, TIMED_OUT, UPSTREAM_FAILED

DAY = np.datetime64("2026-06-01")


def plan_of(dags: dict[str, list[float]], deps: list[tuple[str, str, bool]] = (), steps: int = 1) -> sim.Plan:
    """DAGs that are due at given times; task k of DAG d is called d.k."""
    tasks = [(d, f"{d}.{k}", "0 0 * * *", 0) for d in sorted(dags) for k in range(steps)]
    inside = [(f"{d}.{k}", f"{d}.{k - 1}", False) for d in dags for k in range(1, steps)]
    return sim.plan_runs(
        pd.DataFrame(tasks, columns=["dag_id", "task_id", "schedule_cron", "offset_s"]),
        pd.DataFrame([*inside, *deps], columns=["task_id", "upstream_task_id", "is_sensor"]),
        DAY,
        30,
        {d: np.array(at, dtype=float) for d, at in dags.items()},
    )


def run(
    plan: sim.Plan, slots: int = 100, repair_s: Any = None, pools: dict | None = None, **given: Any
) -> sim.MonthRun:
    """A month in one pool, with ten seconds of work, no faults and no retries but for what is given."""
    n = len(plan)
    draws = {"work_s": 10.0, "fault": 0, "fault_attempts": 1, "resource": -1, "memory_bytes": 1.0, "jitter": 0.5}
    settings = {
        "max_attempts": 1, "base_s": 60.0, "factor": 2.0, "cap_s": 1e9, "jitter": 0.0, "timeout_s": 1e9,
        "retryable": 0b111110, "priority": 0, "budget": -1,
    }  # fmt: skip
    made = []
    for kind, defaults in ((sim.Draws, draws), (sim.Settings, settings)):
        mine = {f.name: given[f.name] for f in dataclasses.fields(kind) if f.name in given}
        if kind is sim.Settings and "wait_jitter" in given:
            mine["jitter"] = given["wait_jitter"]
        if kind is sim.Draws:
            mine["jitter"] = np.full((n, 8), given.get("drawn", 0.5))
        full = {
            name: np.broadcast_to(mine.get(name, value), (n,)).copy()
            for name, value in defaults.items()
            if not (kind is sim.Draws and name == "jitter")
        }
        made.append(kind(**{**mine, **full}))
    return sim.simulate_month(plan, *made, sim.Pools(np.zeros(n, dtype=int), [slots], **(pools or {})), repair_s)


def test_one_slot_serves_in_the_order_of_arrival() -> None:
    rng = np.random.default_rng(1)
    at, work = np.sort(rng.uniform(0, 5000, 400)), rng.exponential(11, 400)
    got = run(plan_of({"a": at.tolist()}), 1, work_s=work)
    wait = [0.0]
    for k in range(1, 400):  # Lindley's recursion
        wait.append(max(0.0, wait[-1] + work[k - 1] - (at[k] - at[k - 1])))
    assert np.allclose(got.started_s - got.queued_s, wait)
    assert np.allclose(got.ended_s, at + wait + work) and np.allclose(got.slot_s, work)


def test_slots_are_never_taken_twice_and_priority_goes_first() -> None:
    plan = plan_of({f"d{k:02d}": [0.0] for k in range(30)})
    got = run(plan, 3, priority=np.arange(30)[::-1])
    # The first three found free slots; after them the most urgent.
    assert got.started_s[:3].tolist() == [0, 0, 0]
    assert (np.diff(got.started_s[3:]) <= 0).all()
    assert month_busy(got) == 3


def month_busy(got: sim.MonthRun) -> int:
    """The most that ran at once (single attempts)."""
    at = np.unique(got.started_s)
    return int(sim.count_at(got.started_s, got.ended_s, at).max())


def test_a_dag_runs_in_its_order_and_its_lateness_is_that_of_its_last_task() -> None:
    plan = plan_of({"a": [0.0, 100.0], "b": [50.0]}, [("b.0", "a.2", True)], steps=3)
    got = run(plan)
    assert got.ended_s.tolist() == [10, 20, 30, 110, 120, 130, 60, 70, 80]
    done, late = got.dag_runs(plan)
    assert done.tolist() == [30, 130, 80] and late.tolist() == [30, 30, 30]


def test_a_sensor_waits_for_the_last_run_due_no_later() -> None:
    plan = plan_of({"a": [0.0, 100.0], "b": [100.0]}, [("b.0", "a.0", True)])
    assert run(plan, work_s=[10.0, 500.0, 1.0]).ended_s.tolist() == [10, 600, 601]


def test_waits_between_attempts() -> None:
    plan = plan_of({"a": [0.0]})
    about = {"fault": NETWORK, "fault_attempts": 3, "max_attempts": 4}
    got = run(plan, **about)  # half the time, three times, and 60, 120, 240 between
    assert got.ended_s[0] == 3 * 5 + 60 + 120 + 240 + 10
    assert (got.attempts[0], got.outcome[0], got.slot_s[0]) == (4, SUCCESS, 25)
    assert got.failures.error.tolist() == [NETWORK] * 3 and got.failures.attempt.tolist() == [1, 2, 3]
    assert run(plan, **about, cap_s=100.0).ended_s[0] == 15 + 60 + 100 + 100 + 10
    assert run(plan, **about, wait_jitter=1.0, drawn=0.25).ended_s[0] == 15 + 105 + 10
    assert run(plan, **about, wait_jitter=0.5, drawn=0.25).ended_s[0] == 15 + 420 * (1 - 0.5 * 0.75) + 10


def test_what_is_not_worth_another_attempt_has_none() -> None:
    plan = plan_of({"a": [0.0]})
    for error, attempts in ((NETWORK, 3), (INPUT, 1)):
        got = run(plan, fault=error, fault_attempts=99, max_attempts=3, retryable=1 << NETWORK)
        assert (got.attempts[0], got.outcome[0]) == (attempts, FAILED)


def test_a_retry_budget_bounds_the_retries_of_all_that_share_it() -> None:
    plan = plan_of({f"d{k:03d}": [float(k)] for k in range(200)})
    about = {"fault": NETWORK, "fault_attempts": 99, "max_attempts": 4, "budget": 0}
    got = run(plan, **about, budget_ratio=[0.1], budget_cap=[5.0])
    assert 20 <= got.attempts.sum() - 200 <= 5 + 20
    assert run(plan, **{**about, "budget": -1}).attempts.sum() == 800


def test_time_outs_and_what_hangs() -> None:
    plan = plan_of({"a": [0.0], "b": [0.0]})
    got = run(plan, work_s=[10.0, 20.0], fault=[TIMED_OUT, 0], timeout_s=[30.0, 20.0])
    assert got.failures.error.tolist() == [TIMED_OUT] and got.slot_s.tolist() == [30, 20]
    assert got.outcome.tolist() == [FAILED, SUCCESS]
    assert run(plan, fault=[TIMED_OUT, 0], timeout_s=np.inf).ended_s[0] > 90 * month.DAY_S
    again = run(plan, fault=[TIMED_OUT, 0], timeout_s=30.0, max_attempts=2)
    assert again.ended_s.tolist() == [30 + 60 + 10, 10] and again.slot_s.tolist() == [40, 10]


def test_what_follows_a_failure() -> None:
    plan = plan_of({"a": [0.0], "b": [0.0]}, [("b.0", "a.2", True)], steps=3)
    fault = [0, INPUT, 0, 0, 0, 0]
    got = run(plan, fault=fault, fault_attempts=99)
    assert got.outcome.tolist() == [SUCCESS, FAILED, UPSTREAM_FAILED, SUCCESS, SUCCESS, SUCCESS]
    assert np.isnan(got.ended_s[2]) and np.isinf(got.dag_runs(plan)[0][0])
    repaired = run(plan, fault=fault, fault_attempts=99, repair_s=np.full(6, 3600.0))
    assert repaired.outcome.tolist() == [SUCCESS] * 6 and repaired.repaired.tolist() == [False, True] + [False] * 4
    assert repaired.ended_s[2] == 10 + 5 + 3600 + 10 + 10
    outage = sim.Outage(0, 0.0, 5000.0)  # a human tries once an hour, too
    assert run(plan_of({"a": [0.0]}), resource=0, outages=(outage,), repair_s=np.full(1, 3600.0)).ended_s[0] == 7230


def test_an_outage_fails_what_starts_in_it_and_a_cold_start_is_overrun_unless_retries_spread() -> None:
    plan = plan_of({f"d{k:03d}": [1000.0] for k in range(300)})
    outage = sim.Outage(0, 900.0, 2000.0, recovery_s=7200.0, bears_per_minute=30)
    about = {"resource": 0, "outages": (outage,), "max_attempts": 8, "base_s": 600.0, "factor": 1.0}
    rng = np.random.default_rng(2)
    together = run(plan, 300, **about)
    apart = simulate_with(plan, about, rng.random((300, 8)))
    assert (together.failures.ended_s[:300] == 1010).all()
    assert (together.outcome == FAILED).sum() > 100 > (apart.outcome == FAILED).sum()


def simulate_with(plan: sim.Plan, about: dict[str, Any], jitter: np.ndarray) -> sim.MonthRun:
    """With full jitter of these draws."""
    n = len(plan)
    full = np.ones(n)
    settings = sim.Settings(
        8 * full, 600 * full, full, 1e9 * full, full, 1e9 * full, np.full(n, 0b111110), 0 * full, np.full(n, -1)
    )
    draws = sim.Draws(10 * full, np.zeros(n), np.zeros(n), np.zeros(n, dtype=int), full, jitter, about["outages"])
    return sim.simulate_month(plan, draws, settings, sim.Pools(np.zeros(n, dtype=int), [300]))


def test_company_slows_down_and_memory_runs_out() -> None:
    plan = plan_of({"a": [0.0], "b": [1.0], "c": [2.0]})
    got = run(plan, pools={"slow_down": np.linspace(1, 2, 100).tolist()})
    assert np.allclose(got.slot_s, 10 * np.linspace(1, 2, 100)[:3])
    got = run(plan, memory_bytes=[4.0, 4.0, 4.0], pools={"memory_bytes": 8.0})
    assert got.outcome.tolist() == [SUCCESS, SUCCESS, FAILED] and got.failures.error.tolist() == [MEMORY]
    assert got.peak_memory_bytes == 12.0


def test_wrong_lengths_and_cycles_are_said() -> None:
    plan = plan_of({"a": [0.0], "b": [0.0]})
    with pytest.raises(ValueError, match="the plan has 2 task runs"):
        sim.simulate_month(
            plan,
            sim.Draws(*[np.zeros(1)] * 5, np.zeros((1, 1))),
            sim.Settings(*[np.zeros(2)] * 9),
            sim.Pools(np.zeros(2), [1]),
        )
    with pytest.raises(ValueError, match="cycle"):
        plan_of({"a": [0.0], "b": [0.0]}, [("a.0", "b.0", False), ("b.0", "a.0", False)])


@pytest.mark.parametrize(
    ("cron", "first", "count"),
    [
        ("*/15 * * * *", 0, 30 * 96),
        ("20 * * * *", 1200, 720),
        ("30 4 * * *", 4.5 * 3600 - 7200, 30),
        ("0 6 * * 1", 6 * 3600 - 7200, 5),  # the first of June 2026 is a Monday
        ("0 6 1 * *", 6 * 3600 - 7200, 1),
    ],
)
def test_when_a_schedule_is_due(cron: str, first: float, count: int) -> None:
    due = month.cron_due_s(cron, 7200, DAY, 30)
    assert due[0] == first and len(due) == count and (np.diff(due) > 0).all()
