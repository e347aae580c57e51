"""Tests of workshop/sim/curation.py (years of curation under a model) and of the world's catalogue."""

import duckdb
import numpy as np
import pytest

from workshop.sim.curation import PRICES_USD, WEEKS, draw_years, estimate_samples, run_years, simulate_years
from workshop.world.build import build_world

DOMAIN = {
    "domain": "orders",
    "routine_per_week": 5.0,
    "business_per_week": 3.0,
    "domain_hours_per_week": 15.0,
    "closed_weeks": 0,
    "desk_hours_routine": 0.8,
    "desk_hours_business": 2.0,
    "desk_wrong_routine": 0.05,
    "desk_wrong_business": 0.3,
    "domain_wrong": 0.05,
    "drift_per_week": 0.02,
    "stale_usd_per_week": 30.0,
    "wrong_usd_per_week": 20.0,
}
AMPLE = {"desk_hours_per_week": 1000.0}


def model(routine: str, business: str, review_share: float = 0.0, weeks: float = 52.0) -> list[dict]:
    row = {"domain": "orders", "routine": routine, "business": business, "review_share": review_share}
    return [row | {"escalate_above_weeks": weeks}]


def test_models_meet_the_same_years() -> None:
    models = [model("desk", "desk"), model("domain", "domain", 0.3)]
    together = simulate_years([DOMAIN], AMPLE, models, "a", 3)
    assert together == [simulate_years([DOMAIN], AMPLE, [m], "a", 3)[0] for m in models]
    assert together[0]["usd"] != simulate_years([DOMAIN], AMPLE, models[:1], "b", 3)[0]["usd"]
    longer = draw_years([DOMAIN], AMPLE, "a", 5)
    assert np.array_equal(longer.arrived[:, :3], draw_years([DOMAIN], AMPLE, "a", 3).arrived)


def test_a_desk_with_time_does_what_arrives_in_its_week() -> None:
    draws = draw_years([DOMAIN], AMPLE, "a", 4)
    ran = run_years([DOMAIN], AMPLE, [model("desk", "desk")], draws)
    hours = draws.arrived.sum(axis=0) @ np.array([0.8, 2.0])
    assert np.allclose(ran.desk_hours[0], hours)
    assert np.allclose(ran.usd[0, :, :, 0], PRICES_USD["desk_hour"] * hours)
    assert not ran.waiting.any()
    assert not ran.usd[..., 1].any()
    assert not ran.usd[..., 4].any()


def test_more_work_than_hours_waits_and_nothing_is_lost() -> None:
    capacity = {"desk_hours_per_week": 5.0}
    draws = draw_years([DOMAIN], capacity, "a", 4)
    ran = run_years([DOMAIN], capacity, [model("desk", "desk")], draws)
    assert (np.diff(ran.waiting[0].mean(axis=(1, 2))) > 0).mean() > 0.9
    assert (ran.desk_load > 1.5).all()
    assert np.allclose(ran.desk_hours[0, :, 0], draws.desk_hours.sum(axis=0))


def test_reviews_hold_the_standard_and_escalation_holds_the_queue() -> None:
    ran = run_years(
        [DOMAIN], AMPLE, [model("domain", "domain", r) for r in (0.0, 0.3, 1.0)], draw_years([DOMAIN], AMPLE, "a", 4)
    )
    off = ran.off_share[:, -1].mean(axis=(1, 2))
    assert off[0] > 2 * off[1] > 2 * off[2]
    short = DOMAIN | {"domain_hours_per_week": 2.0}
    never, soon = (simulate_years([short], AMPLE, [model("domain", "domain", 0.0, w)], "a")[0] for w in (WEEKS, 1.0))
    assert never["domains"]["orders"]["desk_hours"] == 0
    assert never["domains"]["orders"]["waiting_weeks"] > 30
    assert soon["domains"]["orders"]["waiting_weeks"] < 1


def test_samples_are_handed_over_whole() -> None:
    def accuracy(strata: list[dict], sample: list[dict]) -> dict:
        by = {s["stratum"]: [r["is_accurate"] for r in sample if r["stratum"] == s["stratum"]] for s in strata}
        return {name: (len(seen), sum(seen)) for name, seen in by.items()}

    case = [["core", 40, 12, 9], ["local", 300, 30, 17]]
    assert estimate_samples(accuracy, [case]) == [{"core": (12, 9), "local": (30, 17)}]


@pytest.mark.parametrize("n", range(3))
def test_the_catalogue_is_coherent(tmp_path, n: int) -> None:
    world, truth = tmp_path / "world.duckdb", tmp_path / "truth.duckdb"
    build_world(world, truth, bytes([n]) * 16, 0.02, ["catalogue"])
    con = duckdb.connect(str(world), read_only=True)
    con.execute(f"attach '{truth}' as secret (read_only)")

    def value(sql: str):
        return con.execute(sql).fetchall()[0][0]

    assert value("select count(*) from ops.curation_domains") == 9
    assert 1100 <= value("select count(*) from ops.catalog_assets") <= 1350
    assert value("select count(*) - count(distinct asset_name) from ops.catalog_assets") == 0
    assert value("select count(*) from ops.curation_history where curated_at < arrived_at") == 0
    assert (
        value("""select count(*) from ops.curation_history h join ops.catalog_assets a using (asset_id)
                 where h.domain <> a.domain or h.arrived_at < a.created_at or h.arrived_at > a.retired_at""")
        == 0
    )
    assert value("select max(coalesce(curated_at, arrived_at)) < timestamp '2026-06-30' from ops.curation_history")
    # Each tier of each domain has reviews that were drawn by lot, and is not reviewed whole.
    assert (
        value("""
        select min(reviewed > 0 and reviewed < assets) from (
          select a.domain, a.tier, count(*) as assets, count(r.asset_id) as reviewed
          from ops.catalog_assets a
          left join (from ops.catalog_reviews where reason = 'sample' and round = '2026-Q2') r using (asset_id)
          where a.retired_at is null group by all)
        """)
        is True
    )
    assert value("""select bool_and(r.is_accurate = t.is_accurate) from ops.catalog_reviews r
                    join secret.catalog_accuracy t using (asset_id) where round = '2026-Q2'""")
    con.close()
