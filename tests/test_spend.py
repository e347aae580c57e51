"""Tests of workshop/sim/spend.py (overspends, alerts, what acting saves) and of the world's warehouse."""

import duckdb
import numpy as np
import pytest

from workshop.sim.spend import after_acting, find_overspend, first_alert
from workshop.world.build import build_world

# Four weeks from a Monday; 100 US dollars on working days, nothing at the weekend: 2,000 in the month.
WORKING = np.tile([True] * 5 + [False] * 2, 4)
EXPECTED = np.where(WORKING, 100.0, 0.0)


def test_a_month_within_fifteen_percent_is_no_overspend():
    assert find_overspend(EXPECTED, EXPECTED, WORKING) is None
    assert find_overspend(EXPECTED, EXPECTED * 1.15, WORKING) is None
    assert find_overspend(EXPECTED, EXPECTED * 1.16, WORKING) is not None


def test_the_deadline_leaves_five_working_days():
    # Twice the spend: 2,000 are reached, not passed, after 10 working days; passed on the 11th, Monday of week three (day 14).
    # Working days in (day, 14]: the five are Tuesday to Friday of week two and that Monday, so Monday of week two (day 7).
    found = find_overspend(EXPECTED, EXPECTED * 2, WORKING)
    assert (found.passed_on, found.act_by) == (14, 7)
    assert found.excess_usd == pytest.approx(2000)
    # By then 6 working days of 100 in excess: 30% of the month.
    assert found.visible


def test_an_overspend_of_the_last_days_does_not_show_in_time():
    actual = EXPECTED.copy()
    actual[-5:] += 200
    found = find_overspend(EXPECTED, actual, WORKING)
    assert found is not None
    assert not found.visible


def test_an_overspend_from_the_first_day_may_leave_no_time():
    actual = EXPECTED.copy()
    actual[0] = 3000
    found = find_overspend(EXPECTED, actual, WORKING)
    assert (found.passed_on, found.act_by, found.visible) == (0, -1, False)


def test_an_alert_is_the_first_evening_above_the_line():
    actual = np.array([10.0, 10, 10, 10])
    assert first_alert(np.array([20.0, 20, 20, 20]), actual) == 2
    assert first_alert(np.array([np.nan, 5, np.nan, 5]), actual) == 1
    assert first_alert(np.full(4, np.nan), actual) is None
    assert first_alert(np.full(4, np.inf), actual) is None


def test_acting_takes_five_working_days():
    actual = EXPECTED * 3
    cured = after_acting(EXPECTED, actual, WORKING, alert=4)
    # Alert on Friday of week one; Monday to Friday of week two pass; from Saturday (day 12) on all is as expected.
    assert (cured[:12] == actual[:12]).all()
    assert (cured[12:] == EXPECTED[12:]).all()


def test_without_an_alert_nothing_changes():
    assert (after_acting(EXPECTED, EXPECTED * 3, WORKING, None) == EXPECTED * 3).all()


def test_cheap_days_stay_cheap():
    actual = EXPECTED * 0.5
    assert (after_acting(EXPECTED, actual, WORKING, alert=0) == actual).all()


def test_an_alert_on_the_last_day_changes_nothing():
    assert (after_acting(EXPECTED, EXPECTED * 3, WORKING, alert=27) == EXPECTED * 3).all()


# -- the world's warehouse: what the checks of 1.7 take for true ------------------------------------------------------------


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory):
    folder = tmp_path_factory.mktemp("warehouse")
    build_world(folder / "world", folder / "truth", b"spend-test-seed.", 0.02, ["warehouse"])
    con = duckdb.connect(config={"autoinstall_known_extensions": "false"})
    con.execute(f"attach '{folder / 'world'}' as world (read_only)")
    con.execute(f"attach '{folder / 'truth'}' as truth (read_only)")
    con.execute("use world")
    yield con
    con.close()


HELD = "q.started_at >= {0}.valid_from_at and q.started_at < coalesce({0}.valid_to_at, 'infinity')"


def test_tracing_by_interval_gives_the_planted_team(warehouse):
    rows = warehouse.execute(
        f"""
        select count(*), count(*) filter (coalesce(p.team_id, a.owner_team_id, k.team_id, w.owner_team_id) = t.team_id),
          count(*) filter (coalesce(p.team_id, a.owner_team_id, k.team_id) is not null) , count(*) filter (t.is_traceable)
        from ops.query_log q
        join ops.warehouses w using (warehouse)
        join truth.query_teams t using (query_id)
        left join ops.role_history p on p.person_id = q.person_id and {HELD.format("p")}
        left join ops.service_account_owners a on a.service_account_id = q.service_account_id and {HELD.format("a")}
        left join ops.role_history k on k.person_id = a.owner_person_id and {HELD.format("k")}
        """
    ).fetchall()
    total, right, found, traceable = rows[0]
    assert total == right == 20_000
    assert found == traceable < total


def test_a_query_starts_in_the_second_of_a_handover(warehouse):
    rows = warehouse.execute(
        """
        select count(*) from ops.query_log q
        join ops.service_account_owners o
          on o.service_account_id = q.service_account_id and o.valid_to_at = q.started_at
        """
    ).fetchall()
    assert rows[0][0] > 0


def test_credits_are_metered_billed_and_shown_alike(warehouse):
    unequal = """
    select count(*) from (
      select warehouse, metered_on, query_credits from ops.warehouse_metering
      except
      select m.warehouse, m.metered_on, coalesce(sum(q.credits), 0) from ops.warehouse_metering m
      left join ops.query_log q on q.warehouse = m.warehouse and q.started_at::date = m.metered_on
      group by m.warehouse, m.metered_on
    )
    """
    assert warehouse.execute(unequal).fetchall() == [(0,)]
    unbilled = """
    select count(*) from ops.invoices i
    where line_kind = 'compute' and amount_usd <> round(i.unit_price_usd * (
      select sum(query_credits + idle_credits) from ops.warehouse_metering m
      where m.warehouse = i.warehouse and date_trunc('month', m.metered_on) = i.month_on), 2)
    """
    assert warehouse.execute(unbilled).fetchall() == [(0,)]
    unshown = """
    select count(*) from (
      select t.team_id, q.started_at::date as day_on, sum(q.credits) as credits
      from ops.query_log q join truth.query_teams t using (query_id) group by all
    ) c
    full join ops.team_spend s using (team_id, day_on)
    where coalesce(abs(c.credits * case when day_on < date '2026-01-01' then 3.00 else 2.85 end - s.direct_usd), 1) > 0.0001
    """
    assert warehouse.execute(unshown).fetchall() == [(0,)]


def test_money_does_not_depend_on_the_scale(warehouse, tmp_path):
    build_world(tmp_path / "world", tmp_path / "truth", b"spend-test-seed.", 0.05, ["warehouse"])
    warehouse.execute(f"attach '{tmp_path / 'world'}' as larger (read_only)")
    here, there = (
        warehouse.execute(f"select sum(direct_usd) from {name}.ops.team_spend").fetchall()
        for name in ("world", "larger")
    )
    assert here == there
    billed = [
        float(warehouse.execute(f"select sum(amount_usd) from {name}.ops.invoices").fetchall()[0][0])
        for name in ("world", "larger")
    ]
    assert billed[0] == pytest.approx(billed[1], rel=0.1)
