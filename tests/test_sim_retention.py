"""The replay of retention policies: the same cost as the life of a GB, and what it calls a fault."""

from typing import Any

import pytest

from workshop.sim.retention import life_cost_usd, replay

FIRST_RUN = 2026 * 12 + 6
TIERS = [
    {"tier": t, "usd_per_gb_month": p, "minimum_stay_days": d, "retrieval_usd_per_gb": r, "write_usd_per_gb": w,
     "drops_versions": t == "archive"}
    for t, p, d, r, w in (("hot", 0.02, 0, 0.0, 0.0), ("cold", 0.005, 90, 0.02, 0.01), ("archive", 0.001, 360, 0.05, 0.03))
]  # fmt: skip
TABLE = {
    "table_name": "cases", "jurisdiction": "EU", "tags": ["privacy.kind:email", "privacy.kind:free_text"],
    "derived_from": [], "needed_months": 24, "personal_needed_months": 3, "span_months": 2, "personal_pct": 30.0,
    "reads": [{"from_age_months": 0, "read_share": 1.0}, {"from_age_months": 5, "read_share": 0.1}],
}  # fmt: skip
DEMAND = {"minima": [[20, "year end", ["email"]]], "maximum": 12, "classes": ["support_case"]}


def step(kind: str, after: int, counted_from: str = "month", **more: Any) -> dict[str, Any]:
    return {"table_name": "cases", "jurisdiction": "EU", "step": kind, "after_months": after, "tier": None, "kinds": None,
            "counted_from": counted_from, "waits_for_hold": True} | more  # fmt: skip


LAWFUL = [
    step("tier", 5, tier="cold"),
    step("anonymise", 10, kinds=["free_text"]),
    step("anonymise", 20, "year", kinds=["email"]),
    step("tier", 12, tier="archive"),
    step("delete", 36),
]


def run(policy: list[dict[str, Any]], months: list[int], holds: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    partitions = {"table": [0] * len(months), "month": months, "gb": [7.0] * len(months)}
    return replay([TABLE], TIERS, policy, [DEMAND], partitions, holds or [], FIRST_RUN)


def faults(result: dict[str, Any]) -> set[str]:
    return {f["what"] for f in result["faults"]}


def test_a_life_costs_in_the_replay_what_life_cost_says() -> None:
    months = [
        FIRST_RUN - 1 + k for k in range(12)
    ]  # one partition of each calendar month, all deleted within the five years
    result = run(LAWFUL, months)
    total = sum(sum(v) for v in result["usd"].values())
    assert total == pytest.approx(12 * 7 * life_cost_usd(TABLE, TIERS, LAWFUL))
    assert result["deleted_gb"] == [pytest.approx(84)]
    assert faults(result) == set()


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        (LAWFUL[4], step("delete", 23), {"need", "minimum"}),
        (LAWFUL[4], step("delete", 24), {"minimum"}),
        (LAWFUL[2], step("anonymise", 20, kinds=["email"]), {"asked for"}),
        (LAWFUL[2], step("anonymise", 21, "year", kinds=["email"]), {"maximum"}),
        (LAWFUL[1], step("anonymise", 11, kinds=["free_text"]), {"maximum"}),
        (LAWFUL[1], step("anonymise", 2, kinds=["free_text"]), {"personal need"}),
    ],
)
def test_a_month_too_early_or_too_late_is_a_fault(old: dict[str, Any], new: dict[str, Any], what: set[str]) -> None:
    january = 2027 * 12
    assert faults(run([new if s is old else s for s in LAWFUL], [january])) == what


@pytest.mark.parametrize(
    ("place", "what"), [(1, "held, anonymised"), (3, "held, versions dropped"), (4, "held, deleted"), (0, None)]
)
def test_what_destroys_waits_for_a_hold_and_is_made_up_for(place: int, what: str | None) -> None:
    month = FIRST_RUN
    hold = {"class": "support_case", "jurisdiction": "EU", "from_month": month - 9, "to_month": month - 1,
            "placed_run": month + 2, "lifted_run": month + 45}  # fmt: skip
    held = run(LAWFUL, [month], [hold])
    assert faults(held) == set() and held["waited"] == [4] and held["deleted_gb"] == [pytest.approx(7)]
    hasty = [s | {"waits_for_hold": False} if i == place else s for i, s in enumerate(LAWFUL)]
    assert faults(run(hasty, [month], [hold])) == ({what} if what else set())


def test_a_hold_on_other_events_or_another_class_holds_nothing() -> None:
    month = FIRST_RUN
    hold = {"class": "support_case", "jurisdiction": "EU", "from_month": month + 1, "to_month": month + 5,
            "placed_run": month, "lifted_run": month + 50}  # fmt: skip
    for other in (
        hold,
        hold | {"from_month": month, "class": "web_event"},
        hold | {"from_month": month, "jurisdiction": "US"},
    ):
        assert run(LAWFUL, [month], [other])["waited"] == [0]
