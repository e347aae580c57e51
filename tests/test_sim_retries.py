"""Months under a policy for retries, and alert rules on them."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from workshop.sim import alerts, retries
from workshop.sim.alerts import Event, apply_rules, look_back, score
from workshop.sim.month import simulate_month

ROW = {
    "task_class": "load", "is_idempotent": True, "max_attempts": 10, "base_s": 60, "factor": 2, "cap_s": 1800, "jitter": 1.0,
    "timeout_minutes": 60, "retry_on": ["network", "out of memory", "time-out"], "budget_ratio": None,
}  # fmt: skip
DAY = np.datetime64("2026-07-01")


def tables(**rates: float) -> dict[str, list[dict]]:
    """Two DAGs of two tasks, the second waits for the first; one resource."""
    tasks = [
        {
            "dag_id": dag, "task_id": f"{dag}.{k}", "step_no": k, "team_id": team, "task_class": "load", "is_idempotent": k == 1,
            "criticality": "high", "deadline_minutes": 120, "schedule_cron": "0 2 * * *", "offset_s": 0, "pool": "all",
            "max_attempts": 3, "timeout_minutes": 360, "resource": 0, "median_s": 600.0, "sigma": 0.1, "memory_bytes": 1.0,
            **dict.fromkeys(retries.FAULTS, 0.0), **(rates if (dag, k) == ("A", 1) else {}),
        }
        for dag, team in (("A", 1), ("B", 2))
        for k in (1, 2)
    ]  # fmt: skip
    deps = [("A.2", "A.1", False), ("B.2", "B.1", False), ("B.1", "A.2", True)]
    return {
        "tasks": tasks,
        "deps": [dict(zip(("task_id", "upstream_task_id", "is_sensor"), d, strict=True)) for d in deps],
        "resources": [
            {"resource_id": "R", "outages_per_month": 0.0, "median_minutes": 30, "bears_per_minute": 5, "team_id": 9}
        ],
        "pools": [{"pool": "all", "slots": 4}],
    }


def policy(**changes: object) -> list[dict]:
    return [{**ROW, "is_idempotent": i, **changes} for i in (True, False)]


def test_a_month_without_faults_costs_nothing() -> None:
    (bill,) = retries.run_months(tables(), ["1"], {"mine": policy()})["mine"]
    assert set(bill.values()) == {0.0}


def test_what_a_month_costs_adds_up_and_both_policies_meet_the_same_month() -> None:
    world = tables(network=0.2, input=0.1)
    got = retries.run_months(world, ["1", "2"], {"one": policy(), "two": policy(), "never": policy(max_attempts=1)})
    assert got["one"] == got["two"]
    for bills in got.values():
        for b in bills:
            want = (
                b["late_usd"]
                + 2 * b["wasted_slot_hours"]
                + 60 * b["pages"]
                + 8 * b["tickets"]
                + 150 * b["second_writes"]
            )
            assert b["cost_usd"] == pytest.approx(want)
    one, never = (sum(b["pages"] for b in got[name]) for name in ("one", "never"))
    assert 0 < one < never  # retries mend the network, a human the input


def test_hopeless_retries_and_second_writes_are_counted() -> None:
    hopeless = retries.run_months(tables(input=0.3), ["1"], {"all": policy(retry_on=["bad input"])})["all"][0]
    assert hopeless["hopeless"] == hopeless["retries"] > 0
    world = tables()
    for task in world["tasks"]:
        task["network"] = 0.2
    for rows, some in ((policy(), True), ([policy()[0], policy(max_attempts=1)[1]], False)):
        (bill,) = retries.run_months(world, ["1"], {"mine": rows})["mine"]
        assert (bill["second_writes"] > 0) == some


def test_a_missing_row_is_an_error() -> None:
    with pytest.raises(KeyError):
        retries.run_months(tables(), ["1"], {"mine": policy()[:1]})


def test_drawn_waits_survive_a_cold_start_and_others_do_not() -> None:
    lost = {j: retries.cold_start({**ROW, "jitter": j}, 1)["given_up"] for j in (0.0, 1.0)}
    assert lost[1.0] == 0 < 24 < lost[0.0]
    night = retries.cold_start(ROW, 1)
    assert len(night["done_s"]) == 240 and night["attempts_s"] == sorted(night["attempts_s"])


def back(world: dict[str, list[dict]], outage: bool = False) -> tuple[list[Event], list[alerts.Cause]]:
    """Events and causes of a week without a human, with three attempts a minute apart."""
    platform = retries.Platform.of(world)
    drawn = retries.draw_days(platform, 1, DAY, 7)
    if outage:
        away = retries.Outage(0, 2 * 3600.0, 5 * 3600.0)
        drawn = dataclasses.replace(drawn, draws=dataclasses.replace(drawn.draws, outages=(away,)))
    settings = retries.settings_of(platform, drawn.plan, policy(max_attempts=3, factor=1, jitter=0))
    run = simulate_month(drawn.plan, drawn.draws, settings, drawn.pools)
    return look_back(platform, drawn, run, pd.DataFrame(world["resources"]).team_id.tolist())


def test_a_cause_is_the_task_run_that_failed_and_its_owner_that_of_its_dag() -> None:
    events, causes = back(tables(input=0.999))
    gave_up = [e for e in events if e.event == "gave up"]
    assert len(gave_up) == len(causes) == 7  # B waits for the end of A, well or not, and runs
    assert {c.owner for c in causes} == {1} and not any(c.is_outage or c.affected for c in causes)
    assert [e.cause for e in gave_up] == sorted(e.cause for e in gave_up) and not any(e.resource_away for e in gave_up)
    near = [e for e in events if e.event == "deadline near"]
    assert {e.cause for e in near} == set(range(7)) and all(e.minutes_left == pytest.approx(30) for e in near)


def test_an_outage_is_one_cause_of_the_team_that_runs_the_resource() -> None:
    events, causes = back(tables(), outage=True)
    (cause,) = causes
    assert cause.is_outage and cause.owner == 9 and cause.affected == {1, 2} and len(cause.late) == 2
    assert {e.cause for e in events if e.event == "gave up"} == {0}
    assert {e.attempts_left for e in events if e.event == "attempt failed"} == {1, 2}
    assert (events[0].resource_away, events[-1].resource_away) == (False, True)


def rule(**given: object) -> dict:
    return {
        "on": "gave up",
        "do": "page",
        "to": "dag team",
        "group_by": "none",
        "group_minutes": 0,
        "notice": False,
        **given,
    }


def an_event(at_minute: float, **given: object) -> Event:
    usual = Event(60 * at_minute, "gave up", 1, 1, 7, "high", "network", 0, 60.0, 0, 9, True, -1)
    return dataclasses.replace(usual, **given)


def sent(rules: list[dict], *events: Event) -> list[tuple[str, list[int]]]:
    return [(s["action"], s["to"]) for s in apply_rules(rules, events)]


def test_the_first_rule_that_fits_decides() -> None:
    rules = [
        rule(criticality=["low"], do="ticket"),
        rule(error_class=["network"], resource_away=True, to="resource team"),
        rule(max_minutes_left=30, to="everybody"),
        rule(criticality=["high"], do="quiet"),
        rule(),
    ]
    assert sent(rules, an_event(0, criticality="low")) == [("ticket", [7])]
    assert sent(rules, an_event(0)) == [("page", [9])]
    assert sent(rules, an_event(0, resource_away=False, minutes_left=30.0)) == [("page", [])]
    assert sent(rules, an_event(0, error_class="bad input")) == []
    assert sent(rules, an_event(0, error_class="bad input", criticality="normal")) == [("page", [7])]
    assert sent(rules, an_event(0, event="attempt failed")) == []


def test_groups_are_sent_for_once_until_they_have_been_quiet() -> None:
    each = [an_event(m, task_run=m) for m in (0, 40, 80, 200)]
    assert len(sent([rule()], *each)) == 4
    assert len(sent([rule(group_by="resource", group_minutes=60)], *each)) == 2  # heard of at 40 and 80, quiet till 200
    assert len(sent([rule(group_by="dag run", group_minutes=500)], *each)) == 1
    assert len(sent([rule(group_by="task run", group_minutes=500)], *each)) == 4
    again = [an_event(0), an_event(90, event="deadline near", error_class="")]
    both = [
        rule(group_by="resource", group_minutes=500),
        rule(on="deadline near", group_by="task run", group_minutes=500),
    ]
    assert len(sent(both, *again)) == 1  # another group, the same task run
    ticket_first = [rule(on="attempt failed", do="ticket", group_by="task run", group_minutes=500), both[0]]
    assert [a for a, _ in sent(ticket_first, an_event(0, event="attempt failed"), an_event(5))] == ["ticket", "page"]


def test_a_score_counts_causes_once() -> None:
    causes = [
        alerts.Cause(True, 9, (1, 2), 3600.0, frozenset({7})),
        alerts.Cause(False, 7, (3,), 3600.0, frozenset()),
        alerts.Cause(False, 7, (4,), 3600.0, frozenset()),
    ]
    events = [
        an_event(1, cause=0), an_event(2, cause=0, task_run=2), an_event(3, cause=1, task_run=3, resource_away=False),
        an_event(90, cause=2, task_run=4, resource_away=False), an_event(4, criticality="low", task_run=5, resource_away=False),
    ]  # fmt: skip
    rules = [rule(resource_away=True, to="resource team", notice=True), rule()]
    got = score(apply_rules(rules, events), causes)
    assert got == {
        "pages": 5, "actionable": 4, "low": 1, "causes": 3, "found": 2, "repeated": 1, "outages": 1, "outages_to_owner": 1,
        "own": 2, "own_to_owner": 2, "notices_due": 1, "notices_sent": 1, "tickets": 0,
    }  # fmt: skip
