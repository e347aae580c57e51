"""Spend of one team in one month, day by day: burn-down, alerts, and what becomes of it when somebody acts.

Arrays hold one number a day of the month, US dollars a day. "Expected" is what the team spends when nothing goes wrong; the
simulation knows it, a budget holder does not. "Month to date" is the running sum.
"""

from dataclasses import dataclass

import numpy as np

LEAD_WORKING_DAYS = 5  # what it takes to find the cause, agree on a cure and deploy it
OVERSPENT = 0.15  # a month this much above what was expected is an overspend
VISIBLE = 0.20  # ... which shows as soon as this share of the month's expected spend is gone in excess
NORMAL = 0.10  # up to here a month is normal


@dataclass(frozen=True)
class Overspend:
    """An overspend: passed_on is the day on which month-to-date spend passes the month's expected total, act_by the last
    day that leaves LEAD_WORKING_DAYS working days up to and including that day (-1: before the month began). Days count
    from 0. excess_usd: at the end of the month. visible: whether it shows on the evening of act_by."""

    passed_on: int
    act_by: int
    excess_usd: float
    visible: bool


def find_overspend(expected: np.ndarray, actual: np.ndarray, working: np.ndarray) -> Overspend | None:
    """The overspend of a month, or None. working: whether each day is a working day."""
    total, spent = float(expected.sum()), np.cumsum(actual)
    if spent[-1] <= total * (1 + OVERSPENT):
        return None
    passed_on = int(np.argmax(spent > total))
    # Working days in (day, passed_on], for each day before it.
    left = working[: passed_on + 1].sum() - np.cumsum(working[:passed_on])
    in_time = np.flatnonzero(left >= LEAD_WORKING_DAYS)
    act_by = int(in_time[-1]) if len(in_time) else -1
    visible = act_by >= 0 and spent[act_by] - expected[: act_by + 1].sum() >= VISIBLE * total
    return Overspend(passed_on, act_by, float(spent[-1] - total), bool(visible))


def first_alert(alert_at_usd: np.ndarray, actual: np.ndarray) -> int | None:
    """The first day on whose evening month-to-date spend is above that day's alert line; None when there is none. A day
    without a line (NaN) raises no alert."""
    above = np.cumsum(actual) > alert_at_usd  # a comparison with NaN is false
    return int(np.argmax(above)) if above.any() else None


def after_acting(
    expected: np.ndarray, actual: np.ndarray, working: np.ndarray, alert: int | None, lead: int = LEAD_WORKING_DAYS
) -> np.ndarray:
    """Daily spend when an alert makes somebody act: from the day after ``lead`` working days on, what was above
    expectation is gone. Days that were cheaper than expected stay as they were."""
    if alert is None:
        return actual
    done = np.cumsum(working[alert + 1 :]) >= lead
    cured = actual.copy()
    tail = cured[alert + 1 :]
    fixed = np.concatenate([[False], done[:-1]]) if len(done) else done
    tail[fixed] = np.minimum(tail, expected[alert + 1 :])[fixed]
    return cured
