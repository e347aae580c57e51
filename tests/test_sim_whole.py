"""A month of the whole platform: each decision reaches it where it would at work."""

import numpy as np
import pytest
from test_sim_retries import policy, tables

from workshop.sim import whole
from workshop.sim.month import DAY_S, Draws, Pools, plan_runs, simulate_month
from workshop.sim.retries import Platform, settings_of
from workshop.sim.whole import PARTS, SIGNALS, Fleet, draw_month, run_month, run_months

DAYS = 28
TELLS = {"do": "page", "to": "dag team", "group_by": "task run", "group_minutes": 600, "notice": True}
NIGHT = [
    {
        "task_id": f"n{k}", "task_class": "export", "pool": "general", "due_minute": 0.0, "rows": 1e6, "s_per_krow": 3.6,
        "day_sigma": 0.05, "memory_gb": 1.0,
    }
    for k in range(4)
]  # fmt: skip


def world(**rates: float) -> dict[str, list[dict]]:
    """The two DAGs of the tests of retries; A reads orders.placed, B waits for the night."""
    return {**tables(**rates), "night": NIGHT, "morning": [{"dag_id": "B"}], "orders": [{"dag_id": "A"}]}


def calm(**changes: object) -> dict[str, object]:
    """Nothing goes wrong because of a decision."""
    state = {
        "retries": policy(),
        "alerts": [{"on": "gave up", **TELLS}],
        "load": "safe",
        "contract": {"bad_in": 0.0, "good_out": 0.0},
        "parameters": {
            "slots": {"general": 4},
            "timeout_minutes": dict.fromkeys((t["task_id"] for t in NIGHT), 1440),
            "priority": {"export": 0},
        },
        "services": [0.0],
        "windows": {"slow_down": [1.0] * 960, "broken": 0.0},
        "handoffs": {"hours": 0.0},
        "credentials": {"usd_per_day": 0.0, "refused": 0.0},
    }
    return {**state, **changes}


def usd(state: dict[str, object], **rates: float) -> dict[str, float]:
    return run_months(world(**rates), ["1"], {"x": state}, DAYS)["x"][0]["usd"]


def test_all_parts_are_asked_for() -> None:
    assert set(calm()) == set(PARTS)


def test_both_states_meet_the_same_month_and_the_bill_adds_up() -> None:
    got = run_months(world(network=0.3), ["1", "2"], {"one": calm(), "two": calm()}, DAYS)
    assert got["one"] == got["two"]
    assert got["one"][0] != got["one"][1]
    for month in got["one"]:
        assert month["cost_usd"] == pytest.approx(sum(month["usd"].values()))
        assert all(len(month[s]) == DAYS for s in SIGNALS)


def test_a_calm_month_costs_what_hangs_and_no_more() -> None:
    bill = usd(calm())
    assert {k: v for k, v in bill.items() if v} == ({"hung": bill["hung"]} if bill["hung"] else {})


def test_a_bad_batch_that_is_let_in_is_paged_for_and_makes_late() -> None:
    bill = usd(calm(contract={"bad_in": 1.0, "good_out": 0.0}))
    assert bill["pages"] > 0
    assert bill["wasted slots"] > 0


def test_a_good_batch_that_is_refused_makes_late() -> None:
    bill = usd(calm(contract={"bad_in": 0.0, "good_out": 1.0}))
    assert bill["late runs"] > 0
    assert bill["pages"] == 0


def test_refused_calls_are_faults_that_no_retry_mends() -> None:
    bill = usd(calm(credentials={"usd_per_day": 2.0, "refused": 2.0}))
    assert bill["credentials"] == 2.0 * DAYS
    assert bill["pages"] > 0


def test_a_night_that_ends_late_keeps_waiting_who_reads_it() -> None:
    slow = calm()["parameters"] | {"slots": {"general": 1}}  # four hours one after the other, and B is due at two
    early, late = (
        run_months(world(), ["1"], {"x": calm(parameters=p)}, DAYS)["x"][0] for p in (calm()["parameters"], slow)
    )
    assert np.mean(late["late_minutes"]) > np.mean(early["late_minutes"]) + 60
    assert late["usd"]["late runs"] > early["usd"]["late runs"]


def test_what_is_killed_at_work_costs_and_is_run_again() -> None:
    short = calm()["parameters"] | {"timeout_minutes": dict.fromkeys((t["task_id"] for t in NIGHT), 30)}
    bill = usd(calm(parameters=short))
    assert bill["killed at work"] >= 3 * DAYS * whole.EXTRA_USD["killed"]


def test_a_crowded_cluster_takes_longer() -> None:
    plain, crowded = (
        run_months(world(), ["1"], {"x": calm(windows={"slow_down": [k] * 960, "broken": 0.5})}, DAYS)["x"][0]
        for k in (1.0, 2.0)
    )
    assert np.mean(crowded["late_minutes"]) > 1.5 * np.mean(plain["late_minutes"])
    assert crowded["usd"]["broken windows"] == 0.5 * DAYS * whole.EXTRA_USD["broken_window"]


def test_who_is_told_decides_how_long_a_repair_takes() -> None:
    rates = {"input": 0.5}
    paged, ticket, nobody = (
        usd(calm(alerts=rules), **rates)
        for rules in ([{"on": "gave up", **TELLS}], [{"on": "gave up", **TELLS, "do": "ticket"}], [])
    )
    assert paged["late runs"] < ticket["late runs"] < nobody["late runs"]
    assert paged["pages"] > 0 == ticket["pages"] == nobody["pages"]
    assert ticket["tickets"] > 0


def test_pages_to_everybody_cost_three_times() -> None:
    one, all_of_them = (
        usd(calm(alerts=[{"on": "gave up", **TELLS, "to": to}]), input=0.5) for to in ("dag team", "everybody")
    )
    assert all_of_them["pages"] == 3 * one["pages"]


def test_a_load_that_writes_twice_is_found_out_by_retries() -> None:
    # A.2 and B.2 are not idempotent: tried once, unless they are taken for it.
    careful = [row | {"max_attempts": 10 if row["is_idempotent"] else 1} for row in policy()]
    tasks = world()
    for task in tasks["tasks"]:
        task["network"] = 0.3
    got = {
        load: run_months(tasks, ["1"], {"x": calm(load=load, retries=careful)}, DAYS)["x"][0]["usd"]["double writes"]
        for load in ("unsafe", "safe", "wrong")
    }
    assert got["unsafe"] == got["safe"] == 0.0 < got["wrong"]


def test_months_drawn_once_can_be_run_under_many_states() -> None:
    fleet = Fleet.of(world(network=0.2))
    month = draw_month(fleet, "1", DAYS)
    first = run_month(fleet, month, calm(), DAYS)
    run_month(fleet, month, calm(contract={"bad_in": 1.0, "good_out": 1.0}), DAYS)
    assert run_month(fleet, month, calm(), DAYS) == first  # what happens is not changed by who decides


def test_slots_are_counted_by_the_hour_in_which_they_are_held() -> None:
    started, held = (
        np.array([1800.0, 0.0]),
        np.array([5400.0, 600.0]),
    )  # from half past, an hour and a half; ten minutes
    used = np.diff(whole._used_until(started, held, np.arange(4) * 3600.0))
    assert used.tolist() == [1800.0 + 600.0, 3600.0, 0.0]


def test_a_run_waits_for_what_it_reads() -> None:
    platform = Platform.of(tables())
    plan = plan_runs(platform.tasks, platform.deps, np.datetime64("2026-07-01"), 1)
    n = len(plan)
    first = plan.task == 0
    draws = Draws(
        np.full(n, 60.0), np.zeros(n, int), np.zeros(n, int), np.full(n, -1), np.ones(n), np.zeros((n, 1)),
        not_before_s=np.where(first, 5 * 3600.0, 0.0),
    )  # fmt: skip
    run = simulate_month(plan, draws, settings_of(platform, plan, policy()), Pools(np.zeros(n, int), [4]))
    assert run.started_s[first].tolist() == [5 * 3600.0]
    assert (plan.scheduled_s[first] < 5 * 3600.0).all()
    assert (run.ended_s < DAY_S).all()
