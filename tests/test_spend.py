"""Tests of workshop/sim/spend.py: overspends, alerts, and what acting saves."""

import numpy as np
import pytest

from workshop.sim.spend import after_acting, find_overspend, first_alert

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
    assert after_acting(EXPECTED, EXPECTED * 3, WORKING, None) is not None
    assert (after_acting(EXPECTED, EXPECTED * 3, WORKING, None) == EXPECTED * 3).all()


def test_cheap_days_stay_cheap():
    actual = EXPECTED * 0.5
    assert (after_acting(EXPECTED, actual, WORKING, alert=0) == actual).all()


def test_an_alert_on_the_last_day_changes_nothing():
    assert (after_acting(EXPECTED, EXPECTED * 3, WORKING, alert=27) == EXPECTED * 3).all()
