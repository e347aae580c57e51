"""The escalation replay of 2.7, on an incident small enough to follow by hand, and the calendar of its reports."""

from datetime import UTC, datetime

import pytest

from workshop.sim.escalation import EPOCH, is_night, next_morning, replay, score
from workshop.world.build import history

ON_CALL = {"1": [[11, "UTC"], [12, "UTC"], [13, "UTC"]], "2": [[21, "UTC"], [22, "UTC"], [23, "UTC"]]}
CONTACTS = {"601": {"report_id": 601, "person_id": 31, "time_zone": "UTC", "notice_minutes": 30}}
NIGHT = 10 * 1440 + 120.0  # 02:00


def incident(**changed):
    """The first alert at 02:00 on a table of team 2, the cause's ten minutes later; the report is due at 06:00."""
    draws = {"day": [5.0, 5.0, 5.0], "night": [-1.0, 20.0, 20.0]}
    alert = {"failed_rows": 10, "reports": [601]}
    return {
        "cause_table": "a.cause",
        "cause_team": 1,
        "alerts": [
            alert | {"at": NIGHT, "table": "b.fed", "table_team": 2, "likely_team": 2},
            alert | {"at": NIGHT + 10, "table": "a.cause", "table_team": 1, "likely_team": 1},
        ],
        "reports": [{"report_id": 601, "team": 2, "critical": True, "deadline": NIGHT + 240, "read_minutes": 4.0}],
        "fix_minutes": 90.0,
        "diagnose_minutes": 60.0,
        "draws": [draws, draws],
    } | changed


def policy(**changed):
    path = {"page": "cause", "when": "any time", "acknowledge_minutes": 30, "then": ["second"]}
    return {
        "group_by": "lineage",
        "wait_minutes": 15,
        "matrix": [{"impact": "any", "severity": "SEV1"}],
        "paths": {"SEV1": path},
        "tell": [{"report_id": 601, "minutes_before": 40, "at_night": True}],
        "stand_down": {"after": "all pass", "delay_minutes": 5, "to": ["paged", "told"]},
    } | changed


def one(case, rules):
    results = replay([case], ON_CALL, CONTACTS, rules)
    return results[0], score([case], results)


def test_a_page_is_handed_on_and_the_report_is_right():
    result, counts = one(incident(), policy())
    assert [(p["at"] - NIGHT, p["person"]) for p in result["pages"]] == [(15, 11), (45, 12)]  # the first sleeps on
    assert result["began"] == NIGHT + 65 and result["fixed"] == NIGHT + 155
    assert counts["late"] == counts["misrouted"] == counts["woken"] == 0 and result["notices"] == []
    assert counts["stood_down"] == counts["owed"] == 2


def test_without_a_wait_the_page_goes_to_the_wrong_team():
    result, counts = one(incident(), policy(wait_minutes=0))
    assert counts["misrouted"] == 1 and {p["team"] for p in result["pages"]} == {1, 2}


def test_nobody_is_next_so_the_report_is_held_back():
    path = {"page": "cause", "when": "any time", "acknowledge_minutes": 30, "then": []}
    result, counts = one(incident(), policy(paths={"SEV1": path}))
    assert result["began"] == NIGHT + 305  # 07:05
    assert counts["late"] == 1 and counts["wrong"] == 0 and counts["unheard"] == 1  # called at 05:20, read at 05:24
    _, silent = one(incident(), policy(paths={"SEV1": path}, tell=[]))
    assert silent["wrong"] == silent["unwarned"] == 1


def test_a_page_that_could_have_waited_is_needless():
    case = incident()
    case["reports"][0]["deadline"] = NIGHT + 1000
    _, counts = one(case, policy())
    assert counts["woken"] == 2
    matrix = [{"impact": "critical", "max_hours": 3, "severity": "SEV1"}, {"impact": "any", "severity": "SEV2"}]
    awake = {"page": "cause", "when": "waking hours", "acknowledge_minutes": 30, "then": ["second"]}
    result, counts = one(case, policy(matrix=matrix, paths={"SEV1": awake | {"when": "any time"}, "SEV2": awake}))
    assert counts["woken"] == counts["late"] == 0 and result["pages"][0]["at"] == NIGHT + 300  # 07:00


def test_a_page_at_night_for_no_critical_report_is_untimely_and_a_hand_on_to_a_slow_waker_is_hasty():
    case = incident()
    case["reports"][0]["critical"] = False
    assert one(case, policy())[1]["untimely"] == 1
    awake = {"day": [5.0, 5.0, 5.0], "night": [40.0, 20.0, 20.0]}
    _, counts = one(incident(draws=[awake, awake]), policy())
    assert counts["hasty"] == 1 and counts["untimely"] == 0  # the first acknowledges 40 minutes after the page


def test_a_page_for_a_critical_report_that_waits_for_the_office_is_overdue():
    case = incident()
    case["reports"][0]["deadline"] = NIGHT + 5  # has passed when the group looks; only max_hours None fits
    path = policy()["paths"]["SEV1"]
    waking, office = path | {"when": "waking hours"}, path | {"when": "office hours"}
    result, counts = one(case, policy(paths={"SEV1": waking}))
    assert result["pages"][0]["at"] == NIGHT + 300 and counts["overdue"] == counts["never"] == 0  # 07:00
    result, counts = one(case, policy(paths={"SEV1": office}))
    assert result["pages"][0]["at"] > NIGHT + 400 and counts["overdue"] == 1
    passed = policy(matrix=[{"impact": "any", "max_hours": 9999, "severity": "SEV1"}])
    assert one(case, passed)[1]["never"] == 1


def test_each_alert_pages_without_groups():
    assert one(incident(), policy(group_by="alert"))[1]["most_pages"] == 2


def test_clocks():
    spring = (datetime(2026, 3, 28, 22, 0, tzinfo=UTC) - EPOCH).total_seconds() / 60  # 23:00 in Berlin
    assert is_night("Europe/Berlin", spring)
    assert next_morning("Europe/Berlin", spring) - spring == 7 * 60  # an hour is missing
    assert next_morning("UTC", NIGHT + 300) == NIGHT + 300


@pytest.mark.parametrize(
    ("cadence", "due_day", "due", "zone", "at", "want"),
    [
        ("daily", None, "07:00", "Europe/Berlin", "2026-07-01T05:00:00+00:00", "2026-07-01T05:00:00+00:00"),
        ("daily", None, "07:00", "Europe/Berlin", "2026-07-01T05:00:01+00:00", "2026-07-02T05:00:00+00:00"),
        ("daily", None, "02:30", "Europe/Berlin", "2027-03-27T12:00:00+00:00", "2027-03-28T01:30:00+00:00"),
        ("daily", None, "02:30", "Europe/Berlin", "2026-10-25T00:50:00+00:00", "2026-10-26T01:30:00+00:00"),
        ("weekly", 7, "09:00", "Australia/Sydney", "2026-07-04T22:00:00+00:00", "2026-07-04T23:00:00+00:00"),
        ("monthly", 31, "12:00", "UTC", "2027-02-03T00:00:00+00:00", "2027-02-28T12:00:00+00:00"),
        ("quarterly", 31, "12:00", "UTC", "2027-02-03T00:00:00+00:00", "2027-04-30T12:00:00+00:00"),
    ],
)
def test_next_deadline(cadence, due_day, due, zone, at, want):
    report = {"cadence": cadence, "due_day": due_day, "due_at_local": due, "time_zone": zone}
    found = history("dq_incidents").next_deadline(report, datetime.fromisoformat(at))
    assert found == datetime.fromisoformat(want)
