"""Nights of a shared cluster: what a window, a claim and a peak mean, against small cases worked out by hand."""

from typing import Any

import numpy as np

from workshop.sim.nights import NIGHT_MINUTES, claimed, draw_minutes, load_of, replay_plan, run_nights


def job(job_id: str, upstream: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    return {
        "job_id": job_id, "team_id": 1, "domain": "orders", "slots": 2, "ready_minute": 0, "due_minute": NIGHT_MINUTES,
        "upstream": list(upstream), "minutes": [10.0, 20.0],
    } | more  # fmt: skip


def row(job_id: str, earliest: float, latest: float, minutes: float = 20.0) -> dict[str, Any]:
    return {"job_id": job_id, "team_id": 1, "earliest": earliest, "latest": latest, "slots": 2, "minutes": minutes}


def capacity(*blackouts: tuple[int, int, str | None]) -> dict[str, Any]:
    rows = [{"from_minute": a, "to_minute": b, "domain": d} for a, b, d in blackouts]
    return {"slots": [8] * NIGHT_MINUTES, "blackouts": rows}


def replay(jobs: list, plan: list, minutes: list, *blackouts: tuple[int, int, str | None]) -> dict[str, Any]:
    return replay_plan(jobs, plan, capacity(*blackouts), minutes)


def test_a_job_starts_when_its_window_opens_or_its_last_upstream_ends() -> None:
    jobs = [job("c", ("a", "b")), job("a"), job("b")]
    plan = [row("a", 5, 5), row("b", 0, 0), row("c", 12, 20)]
    start, end = run_nights(jobs, plan, np.array([[1.0, 10.0, 4.0], [1.0, 2.0, 11.5]]))
    assert start.tolist() == [[15, 5, 0], [12, 5, 0]]
    assert end.tolist() == [[16, 15, 4], [13, 7, 11.5]]


def test_slots_are_held_from_the_start_until_before_the_end() -> None:
    load = load_of(np.array([[0.0, 5.0]]), np.array([[5.0, 7.5]]), np.array([2.0, 3.0]))[0]
    assert load[:9].tolist() == [2, 2, 2, 2, 2, 3, 3, 3, 0]
    assert claimed([row("a", 10, 12, 3)])[9:16].tolist() == [0, 2, 2, 2, 2, 2, 0]


def test_each_promise_is_counted_once_a_night() -> None:
    jobs = [job("a"), job("b", ("a",), ready_minute=15, due_minute=40)]
    plan = [row("a", 0, 0), row("b", 10, 12)]
    # b starts at 11 (too early for its data alone), at 15 (late), and late with its deadline missed.
    seen = replay(jobs, plan, [[11.0, 20.0], [15.0, 20.0], [25.0, 20.0]])
    found = {(b["job_id"], b["promise"]): b["nights"] for b in seen["broken"]}
    assert found == {
        ("b", "starts in its window"): 2,
        ("b", "starts when its data is there"): 3,
        ("b", "ends by its deadline"): 1,
    }
    assert (seen["runs"], seen["broken_runs"], seen["overruns"]) == (6, 3, 1)


def test_a_blackout_concerns_its_domain_and_ends_may_touch_it() -> None:
    plan = [row("a", 0, 0)]
    for blackout, nights in (((10, 20, None), 0), ((9, 20, None), 1), ((5, 6, "orders"), 1), ((5, 6, "ml"), 0)):
        seen = replay([job("a")], plan, [[10.0]], blackout)
        assert sum(b["nights"] for b in seen["broken"]) == nights


def test_the_peak_is_by_need_and_the_claims_by_claim() -> None:
    jobs = [job("a"), job("b", slots=4)]
    seen = replay(jobs, [row("a", 0, 30), row("b", 15, 15)], [[10.0, 10.0], [16.0, 10.0]])
    assert seen["peaks"] == [0.5, 0.75]
    assert seen["claim_peak"] == 0.5
    assert seen["claim_minute"] == 15


def test_drawn_durations_stay_within_what_was_seen() -> None:
    drawn = draw_minutes(np.random.default_rng(1), [job("a"), job("b", minutes=[3.0])], 500)
    assert drawn.shape == (500, 2)
    assert 10 <= drawn[:, 0].min() < 10.5
    assert 19.5 < drawn[:, 0].max() <= 20
    assert (drawn[:, 1] == 3).all()
