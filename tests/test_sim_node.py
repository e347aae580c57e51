"""Nights of one machine: what is drawn, and what parameters make of it."""

import numpy as np
import pandas as pd
import pytest

from workshop.sim import node

TASKS = [
    {
        "task_id": f"t{k:02d}.{kind}", "task_class": kind, "pool": pool, "due_minute": 0.0, "rows": 100_000.0,
        "s_per_krow": 60.0 * minutes / 100, "day_sigma": 0.3, "memory_gb": gb,
    }
    for kind, pool, minutes, gb, n in (("export", "general", 5, 1.0, 10), ("train", "memory", 50, 20.0, 6))
    for k in range(n)
]  # fmt: skip
PRIORITY = {"export": 1, "train": 0}


def parameters(general: int, memory: int, factor: float = 10.0) -> dict:
    usual = {t["task_id"]: t["rows"] / 1000 * t["s_per_krow"] / 60 for t in TASKS}
    return {
        "slots": {"general": general, "memory": memory},
        "timeout_minutes": {t: factor * m for t, m in usual.items()},
        "priority": PRIORITY,
    }


def judge(**policies: dict) -> dict[str, dict]:
    return node.judge_parameters(TASKS, "1", policies, 14)


def test_nights_are_a_function_of_their_seed_and_grow_as_told() -> None:
    table = pd.DataFrame(TASKS)
    one, again, other = (node.draw_nights(table, s, 7) for s in ("1", "1", "2"))
    assert (one.draws.work_s == again.draws.work_s).all() and (one.draws.work_s != other.draws.work_s).any()
    more = node.draw_nights(table, "1", 7, growth=1.4)
    assert np.allclose(more.draws.work_s / one.draws.work_s, 1.4)
    assert len(one.plan) == 7 * len(TASKS)
    assert len(node.draw_nights(table, "1", 7, alone=True).plan) == 8 * len(TASKS)


def test_what_runs_by_day_seldom_has_company() -> None:
    drawn = node.draw_nights(pd.DataFrame(TASKS), "1", 28, alone=True)
    run = node.run_nights(
        drawn,
        {"general": 5, "memory": 4},
        dict.fromkeys(drawn.tasks.task_id, 600.0),
        dict.fromkeys(drawn.tasks.task_id, 0.0),
    )
    start, end = np.sort(run.started_s), np.sort(run.ended_s)
    beside = np.searchsorted(start, run.started_s, "right") - np.searchsorted(end, run.started_s, "right") - 1
    by_day = drawn.plan.scheduled_s % 86_400 >= 13 * 3600
    assert by_day.sum() == 4 * len(TASKS) and (beside[by_day] == 0).mean() > 0.9 > (beside[~by_day] == 0).mean()


def test_time_outs_kill_what_works_when_short_and_what_hangs_late_when_long() -> None:
    got = judge(short=parameters(5, 4, 2.0), right=parameters(5, 4, 10.0), endless=parameters(5, 4, 25.0))
    assert got["short"]["false"] > 20 > got["right"]["false"] == got["endless"]["false"] == 0
    assert sum(got["short"]["false_by_task"].values()) == got["short"]["false"]
    assert got["right"]["hung_slot_h"] < got["endless"]["hung_slot_h"]
    assert len({g["healthy"] for g in got.values()}) == 1  # the same nights


def test_company_costs_and_memory_ends() -> None:
    got = judge(calm=parameters(3, 4), crowded=parameters(10, 4), greedy=parameters(3, 6))
    assert got["calm"]["out_of_memory"] == 0 < got["greedy"]["out_of_memory"]
    assert got["greedy"]["peak_gb"] > node.MEMORY_GB > got["calm"]["peak_gb"]
    calm, crowded = (np.mean(got[name]["ends_h"]) for name in ("calm", "crowded"))
    assert calm < crowded


def test_priority_brings_a_class_forward() -> None:
    # One slot for both kinds: who goes first is done first, the night's end stays about where it is.
    tasks = [{**t, "pool": "memory"} for t in TASKS]
    first, last = (
        node.judge_parameters(tasks, "1", {"p": parameters(1, 2) | {"priority": {"export": 1, "train": rank}}}, 7)["p"]
        for rank in (0, 2)
    )
    assert first["class_ends_h"]["train"] < last["class_ends_h"]["train"]
    for got in (first, last):
        assert max(got["class_ends_h"].values()) <= np.mean(got["ends_h"])


def test_a_task_without_a_time_out_is_an_error() -> None:
    bad = parameters(3, 4)
    del bad["timeout_minutes"]["t00.export"]
    with pytest.raises(KeyError, match=r"t00\.export"):
        judge(bad=bad)
