"""Incidents of data quality, replayed under an escalation policy: who is paged and told, and which report is read wrong.

An incident begins with a fault in one table, the cause. Checks fail on the cause and on what is fed by it, and raise alerts. From
then on it goes like this:

1. Alerts are put into groups (`group_by`). A group looks at its alerts `wait_minutes` after the first one, and from then on at
   each new alert and at each minute that passes.
2. What it knows to be hit are the reports that its alerts so far feed. The `matrix` gives each of them a severity, by impact and
   hours to its deadline; the most severe counts. A group that knows of no report has the impact "none".
3. The path of that severity says who is paged, and from which hour on. Of all moments at which a page may go out the first
   counts; a group pages once, and hands the page on while nobody has acknowledged it.
4. Whoever acknowledges begins to work, if the cause is their team's. If it is not, they look for diagnose_minutes and then page
   the team of the cause, by the same path. After fix_minutes of work all tables are right again, those of reports included.
5. A report is due once: at its first deadline after the first alert. If the incident is not fixed by then, it is published wrong,
   unless its contact has read a notice `notice_minutes` before: then it is held back.

Times are minutes since 2026-01-01 00:00 UTC. Every draw (how long somebody takes to acknowledge, to read, to fix) is part of the
incident, so that two policies meet the same ones.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

from workshop.table import Table

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
NIGHT_BEGINS, NIGHT_ENDS = 22, 7  # by the clock of the person
OFFICE = (9, 17)  # Monday to Friday
STEPS = ("first", "second", "manager")  # on call, in the order in which a page is handed on
IMPACTS = ("critical", "other", "none", "any")
SEVERITIES = ("SEV1", "SEV2", "SEV3", "SEV4")
WHENS = ("any time", "waking hours", "office hours")
TARGETS = ("cause", "table", "report")
GROUPS = ("alert", "table", "lineage")
AFTER = ("acknowledged", "cause passes", "all pass", "never")
CAUSE_SHARE = 0.6  # of the work: then the cause's check passes again, and what it feeds is still being rebuilt
STAND_DOWN_MINUTES = 30
HEARD_MINUTES = 60  # by then somebody has acknowledged a page that went out at night

HISTORY_SQL = {
    "incidents": """
        select incident_id, alert_count, date_diff('second', first_alert_at, cause_alert_at) / 60 as cause_lag_minutes,
          date_diff('second', work_began_at, fixed_at) / 60 as fix_minutes
        from ops.dq_incidents
        order by incident_id
    """,
    "pages": """
        select incident_id, is_night, minutes_to_morning,
          date_diff('second', paged_at, acknowledged_at) / 60 as acknowledged_minutes
        from ops.dq_pages
        order by page_id
    """,
    "notices": """
        select incident_id, report_id, is_night, date_diff('second', sent_at, read_at) / 60 as read_minutes
        from ops.dq_notices
        order by notice_id
    """,
    "contacts": """
        select c.report_id, r.report_name, r.is_business_critical, c.notice_minutes
        from ops.report_contacts c
        join ops.reports r using (report_id)
        order by report_id
    """,
}
EDGES_SQL = """
    select level, output_table, output_column, input_table, input_column, kind
    from ops.lineage_edges
    union all
    select 'table', output_table, null, input_table, null, null
    from ops.feeds
    order by all
"""
REPORTS_SQL = """
    select report_id, report_name, is_business_critical, cadence, due_day, left(due_at_local::varchar, 5) as due_at_local,
      time_zone,
      (
        select list({'table': i.input_table, 'column': i.input_column} order by i.input_table, i.input_column)
        from ops.report_inputs i
        where i.report_id = r.report_id
      ) as reads
    from ops.reports r
    order by report_id
"""


def _dicts(con: Any, sql: str) -> list[dict[str, Any]]:
    return Table.from_cursor(con.execute(sql)).dicts()


def read_history(con: Any) -> dict[str, list[dict[str, Any]]]:
    """Return what `policy` gets: lists of dicts under incidents, pages, notices and contacts."""
    return {name: _dicts(con, sql) for name, sql in HISTORY_SQL.items()}


def read_lineage(con: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return edges and reports as `impact` gets them."""
    return _dicts(con, EDGES_SQL), _dicts(con, REPORTS_SQL)


# -- clocks ----------------------------------------------------------------------------------------------------------


@cache
def _offset(zone: str, half_hour: int) -> int:
    """Minutes by which a zone is ahead of UTC; changes of the clock fall on half hours."""
    return int((EPOCH + timedelta(minutes=30 * half_hour)).astimezone(ZoneInfo(zone)).utcoffset().total_seconds() // 60)


def local(zone: str, at: float) -> float:
    """Minutes since 2026-01-01 00:00 by the clock of a zone."""
    return at + _offset(zone, int(at // 30))


def is_night(zone: str, at: float) -> bool:
    """Whether it is from 22:00 to 07:00 there; 07:00 is morning."""
    hour = local(zone, at) % 1440 / 60
    return hour >= NIGHT_BEGINS or hour < NIGHT_ENDS


def is_office(zone: str, at: float) -> bool:
    """Whether there are office hours there, to the second."""
    minute = local(zone, at)
    return (int(minute // 1440) + 3) % 7 < 5 and OFFICE[0] * 60 - 0.02 <= minute % 1440 <= OFFICE[1] * 60 + 0.02


def next_morning(zone: str, at: float) -> float:
    """The first 07:00 there, at or after the moment."""
    there = local(zone, at)
    ahead = (NIGHT_ENDS * 60 - there) % 1440
    found = at + ahead
    return found + _offset(zone, int(at // 30)) - _offset(zone, int(found // 30))


def _open_from(zone: str, when: str, at: float) -> float:
    """The first moment, at or after this one, at which a page of that kind may go out."""
    if when == "any time" or (when == "waking hours" and not is_night(zone, at)):
        return at
    if when == "waking hours":
        return next_morning(zone, at)
    there = local(zone, at)
    for day in range(8):
        begin = there // 1440 * 1440 + day * 1440 + OFFICE[0] * 60
        weekday = (int(begin // 1440) + 3) % 7  # 2026-01-01 was a Thursday
        if weekday < 5 and there < begin + (OFFICE[1] - OFFICE[0]) * 60:
            found = at + max(0.0, begin - there)
            return found + _offset(zone, int(at // 30)) - _offset(zone, int(found // 30))
    raise AssertionError("a week has a working day")


# -- one incident ----------------------------------------------------------------------------------------------------


def _severity(matrix: Sequence[Mapping[str, Any]], impact: str, hours: float, failed_rows: int) -> str | None:
    for row in matrix:
        if (
            row["impact"] in (impact, "any")
            and (row["max_hours"] is None or hours <= row["max_hours"] + 1e-9)
            and failed_rows >= (row["min_failed_rows"] or 0)
        ):
            return row["severity"]
    return None


def _acknowledged(zone: str, at: float, draws: Mapping[str, Sequence[float]], step: int) -> float:
    """When somebody who is paged acknowledges; who sleeps through it (a negative draw) sees it in the morning."""
    if not is_night(zone, at):
        return at + draws["day"][step]
    night = draws["night"][step]
    return at + night if night >= 0 else next_morning(zone, at) + draws["day"][step]


def _draws_of(incident: Mapping[str, Any], team: int) -> Mapping[str, Sequence[float]]:
    """How the people of a team answer in this incident: whoever sleeps through one page sleeps through the next."""
    return incident["draws"][team % len(incident["draws"])]


def _chain(
    at: float, team: int, path: Mapping[str, Any], on_call: Mapping[str, Sequence[Any]], draws: Mapping[str, Any]
) -> tuple[list[dict[str, Any]], float]:
    """The pages to a team from a moment on, and when one of them is acknowledged."""
    people = on_call[str(team)]
    pages, done = [], float("inf")
    for k, step in enumerate(["first", *path["then"]]):
        sent = at + k * path["acknowledge_minutes"]
        if sent >= done:
            break
        s = STEPS.index(step)
        person, zone = people[s]
        seen = _acknowledged(zone, sent, draws, s)
        pages.append(
            {"at": sent, "team": team, "step": step, "person": person, "zone": zone, "night": is_night(zone, sent),
             "acknowledged": seen}
        )  # fmt: skip
        done = min(done, seen)
    return pages, done


def _groups(alerts: Sequence[Mapping[str, Any]], by: str) -> list[list[Mapping[str, Any]]]:
    """Alerts of one incident by group. All its tables are fed by the cause, so that lineage makes them one."""
    if by == "lineage":
        return [list(alerts)]
    if by == "alert":
        return [[a] for a in alerts]
    tables: dict[str, list[Mapping[str, Any]]] = {}
    for a in alerts:
        tables.setdefault(a["table"], []).append(a)
    return list(tables.values())


def _page_of(
    group: Sequence[Mapping[str, Any]],
    reports: Mapping[int, Any],
    policy: Mapping[str, Any],
    on_call: Mapping[str, Any],
) -> tuple[float, int, Mapping[str, Any]] | None:
    """When the group pages, which team, by which path; None: never."""
    ready = group[0]["at"] + policy["wait_minutes"]
    looks: list[tuple[float, int | None]] = [(ready, None)]
    for r in reports:
        known = next((a["at"] for a in group if r in a["reports"]), None)
        if known is not None:
            begin = max(ready, known)
            looks.append((begin, r))
            crossings = (
                reports[r]["deadline"] - 60 * m["max_hours"] for m in policy["matrix"] if m["max_hours"] is not None
            )
            looks += [(c, r) for c in crossings if c > begin]
    if policy["counts_rows"]:  # rows come with alerts
        looks += [(max(begin, a["at"]), r) for a in group for begin, r in list(looks) if a["at"] > begin]
    best: tuple[float, int, Mapping[str, Any]] | None = None
    for at, r in sorted(looks, key=lambda look: (look[0], look[1] or 0)):
        if best is not None and at >= best[0]:
            break
        seen = [a for a in group if a["at"] <= at]
        if r is None:
            if any(a["reports"] for a in seen):
                continue
            impact, hours = "none", float("inf")
        else:
            impact = "critical" if reports[r]["critical"] else "other"
            hours = (reports[r]["deadline"] - at) / 60 if at <= reports[r]["deadline"] else float("inf")
        severity = _severity(policy["matrix"], impact, hours, sum(a["failed_rows"] for a in seen))
        path = policy["paths"].get(severity)
        if path is None:
            continue
        team = {
            "cause": seen[-1]["likely_team"] if policy["group_by"] == "lineage" else seen[0]["table_team"],
            "table": seen[0]["table_team"],
            "report": reports[r]["team"] if r is not None else seen[0]["table_team"],
        }[path["page"]]
        zone = on_call[str(team)][0][1]
        opens = _open_from(zone, path["when"], at)
        if best is None or opens < best[0]:
            # What has come in by the time the page goes out is known by then; another team may have other hours.
            while path["page"] == "cause" and policy["group_by"] == "lineage":
                team = [a for a in group if a["at"] <= opens][-1]["likely_team"]
                begin, opens = opens, _open_from(on_call[str(team)][0][1], path["when"], opens)
                if opens == begin:
                    break
            if best is None or opens < best[0]:
                best = (opens, team, path)
    return best


def replay_one(
    incident: Mapping[str, Any], on_call: Mapping[str, Any], contacts: Mapping[str, Any], policy: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what happened: began, fixed, pages, notices, reports (right, told, wrong), groups, misrouted, stand_downs."""
    reports = {r["report_id"]: r for r in incident["reports"]}
    pages: list[dict[str, Any]] = []
    begins: list[tuple[float, int]] = []  # when work begins, and by which group
    misrouted = groups = 0
    acknowledged = float("inf")
    formed = _groups(incident["alerts"], policy["group_by"])
    for number, group in enumerate(formed):
        found = _page_of(group, reports, policy, on_call)
        if found is None:
            continue
        at, team, path = found
        if begins and min(begins)[0] + incident["fix_minutes"] <= at:
            continue  # all is right again
        groups += 1
        chain, done = _chain(at, team, path, on_call, _draws_of(incident, team))
        for p in chain:
            p |= {"group": number, "right_team": team == incident["cause_team"], "opening": p is chain[0]}
        pages += chain
        acknowledged = min(acknowledged, done)
        if team == incident["cause_team"]:
            begins.append((done, number))
            continue
        misrouted += 1
        opens = _open_from(
            on_call[str(incident["cause_team"])][0][1], path["when"], done + incident["diagnose_minutes"]
        )
        chain, done = _chain(opens, incident["cause_team"], path, on_call, _draws_of(incident, incident["cause_team"]))
        for p in chain:
            p |= {"group": number, "right_team": True, "opening": False}
        pages += chain
        begins.append((done, number))
    began = min(begins, default=(float("inf"), -1))[0]
    fixed = began + incident["fix_minutes"]
    pages = sorted((p for p in pages if p["at"] < fixed), key=lambda p: p["at"])
    critical = [r["deadline"] for r in reports.values() if r["critical"]]
    urgent = {r for r in reports if reports[r]["critical"]}
    hit_at = next((a["at"] for a in incident["alerts"] if a["reports"]), float("inf"))
    critical_at = next((a["at"] for a in incident["alerts"] if not urgent.isdisjoint(a["reports"])), float("inf"))
    for n, p in enumerate(pages):
        p["needless"] = p["night"] and _is_needless(p, pages, incident, [d for d in critical if d > p["at"]])
        # 0: no report, 1: others, 2: critical ones
        p["impact"] = (hit_at <= p["at"]) + (critical_at <= p["at"])
        p["hours_left"] = min((d - p["at"] for d in critical if d >= p["at"]), default=float("inf")) / 60
        p["untimely"] = p["opening"] and p["impact"] < 2 and not is_office(p["zone"], p["at"])
        p["overdue"] = (p["opening"] and p["impact"] == 2) and _is_overdue(
            p, formed[p["group"]], urgent, policy, on_call
        )
        p["hasty"] = (p["night"] and p["right_team"]) and any(
            q["acknowledged"] < next_morning(q["zone"], q["at"])
            for q in pages[:n]
            if q["night"] and q["right_team"] and q["group"] == p["group"]
        )

    notices, ready = [], incident["alerts"][0]["at"] + policy["wait_minutes"]
    outcome = []
    for r, about in reports.items():
        rule, contact = policy["tell"].get(r), contacts[str(r)]
        known = next((a["at"] for a in incident["alerts"] if r in a["reports"]), float("inf"))
        told = float("inf")
        right = fixed <= about["deadline"]
        if rule is not None:
            sent = max(ready, known, about["deadline"] - rule["minutes_before"])
            if sent < fixed and sent <= about["deadline"]:
                zone, night = contact["time_zone"], is_night(contact["time_zone"], sent)
                called = night and rule["at_night"]
                told = (next_morning(zone, sent) if night and not called else sent) + about["read_minutes"]
                morning = next_morning(zone, sent) + about["read_minutes"] + contact["notice_minutes"]
                enough = not about["critical"] or right or morning <= about["deadline"]
                notices.append(
                    {"report_id": r, "at": sent, "read": told, "night": night, "called": called, "idle": right,
                     "needless": called and enough, "critical": about["critical"], "person": contact["person_id"]}
                )  # fmt: skip
        decides = about["deadline"] - contact["notice_minutes"]
        in_time = told + contact["notice_minutes"] <= about["deadline"]
        outcome.append(
            {"report_id": r, "deadline": about["deadline"], "critical": about["critical"], "right": right,
             "told": in_time, "told_at": told, "unwarned": not in_time and fixed > decides, "wrong": not right and not in_time}
        )  # fmt: skip

    return {
        "began": began, "fixed": fixed, "pages": pages, "notices": notices, "reports": outcome, "groups": groups,
        "misrouted": misrouted, "stand_downs": _stand_downs(incident, policy, pages, notices, acknowledged, began, fixed),
    }  # fmt: skip


def _is_overdue(
    page: Mapping[str, Any], group: Sequence[Mapping[str, Any]], urgent: set, policy: Any, on_call: Any
) -> bool:
    """Whether a page waits although it was waking hours since the group knew that a critical report is hit: for whoever is paged,
    and for the owners of all tables that may have been furthest upstream until then."""
    known = next((a["at"] for a in group if not urgent.isdisjoint(a["reports"])), float("inf"))
    begin = max(known, group[0]["at"] + policy["wait_minutes"])
    zones = {page["zone"], *(on_call[str(a["likely_team"])][0][1] for a in group)}
    while page["at"] > begin + 1:  # there may be no hour at which all are awake
        awake = max(_open_from(z, "waking hours", begin) for z in zones)
        if awake == begin:
            return True
        begin = awake
    return False


def _is_needless(
    page: Mapping[str, Any], pages: Sequence[Mapping[str, Any]], incident: Mapping[str, Any], due: list
) -> bool:
    """Whether all critical reports would have been right at their deadlines without waking this person: had the work begun when
    one of the cause's team who was paged before acknowledged, or in this person's morning, whichever is sooner."""
    before = pages[: next(k for k, p in enumerate(pages) if p is page)]
    began = min([next_morning(page["zone"], page["at"]), *(p["acknowledged"] for p in before if p["right_team"])])
    return all(began + incident["fix_minutes"] <= deadline for deadline in due)


def _stand_downs(
    incident: Any, policy: Any, pages: Any, notices: Any, acknowledged: float, began: float, fixed: float
) -> list:
    """Messages that it is over: to whom, and when."""
    rule = policy["stand_down"]
    from_when = {
        "acknowledged": acknowledged,
        "cause passes": began + CAUSE_SHARE * incident["fix_minutes"],
        "all pass": fixed,
        "never": float("inf"),
    }[rule["after"]]
    if from_when == float("inf"):
        return []
    people = {p["person"] for p in pages if "paged" in rule["to"]} | {
        n["person"] for n in notices if "told" in rule["to"]
    }
    return [{"person": p, "at": from_when + rule["delay_minutes"]} for p in sorted(people)]


# -- many ------------------------------------------------------------------------------------------------------------


def ready_policy(policy: Mapping[str, Any]) -> dict[str, Any]:
    """A policy in the form in which it is replayed: `tell` by report, and whether rows are counted."""
    return {
        **policy,
        "tell": {t["report_id"]: t for t in policy["tell"] if t["minutes_before"] is not None},
        "matrix": [{"max_hours": None, "min_failed_rows": None} | dict(m) for m in policy["matrix"]],
        "counts_rows": any(m.get("min_failed_rows") for m in policy["matrix"]),
    }


def replay(
    incidents: Sequence[Mapping[str, Any]],
    on_call: Mapping[str, Sequence[Any]],
    contacts: Mapping[str, Mapping[str, Any]],
    policy: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """Return what happened in each incident. on_call: by team, (person_id, time zone) of first, second and manager; contacts: by
    report, person_id, time_zone and notice_minutes."""
    mine = ready_policy(policy)
    return [replay_one(i, on_call, contacts, mine) for i in incidents]


def score(incidents: Sequence[Mapping[str, Any]], results: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return counts. critical: critical reports hit; late: not right at their deadline; wrong: of these, not told in time; woken:
    needless pages at night; called: needless calls about critical reports; others_called: calls about others; idle: notices
    about reports that were right; misrouted of groups; most_pages: groups that paged in one incident, at most; untimely: pages
    out of office hours while no critical report was known to be hit; overdue: pages that wait in waking hours although one was;
    hasty: hand-ons at night although somebody before was awake;
    owed: people who were paged or told; stood_down: of these, who heard that it was over from the fix on and within 30 minutes;
    early: who heard it before."""
    found = dict.fromkeys(
        (
            "critical",
            "late",
            "wrong",
            "unwarned",
            "woken",
            "called",
            "pages",
            "notices",
            "idle",
            "misrouted",
            "groups",
            "owed",
        ),
        0,
    )
    found |= {"stood_down": 0, "early": 0, "most_pages": 0, "never": 0, "nights": 0, "unheard": 0}
    found |= {"others_called": 0, "untimely": 0, "overdue": 0, "hasty": 0}
    for result in results:
        hit = [r for r in result["reports"] if r["critical"]]
        found["critical"] += len(hit)
        found["late"] += sum(not r["right"] for r in hit)
        found["wrong"] += sum(r["wrong"] for r in hit)
        found["unwarned"] += sum(r["unwarned"] for r in hit)
        found["woken"] += sum(p["needless"] for p in result["pages"])
        found["called"] += sum(n["needless"] and n["critical"] for n in result["notices"])
        found["others_called"] += sum(n["called"] and not n["critical"] for n in result["notices"])
        found["untimely"] += sum(p["untimely"] for p in result["pages"])
        found["overdue"] += sum(p["overdue"] for p in result["pages"])
        found["hasty"] += sum(p["hasty"] for p in result["pages"])
        found["pages"] += len(result["pages"])
        nights = [p for p in result["pages"] if p["night"] and p["step"] == "first" and p["right_team"]]
        heard = min((p["acknowledged"] for p in result["pages"] if p["right_team"]), default=float("inf"))
        found["nights"] += bool(nights)
        found["unheard"] += bool(nights) and heard > min(p["at"] for p in nights) + HEARD_MINUTES
        found["notices"] += len(result["notices"])
        found["idle"] += sum(n["idle"] for n in result["notices"])
        found["misrouted"] += result["misrouted"]
        found["groups"] += result["groups"]
        found["most_pages"] = max(found["most_pages"], result["groups"])
        found["never"] += result["fixed"] == float("inf")
        owed = {p["person"] for p in result["pages"]} | {n["person"] for n in result["notices"]}
        found["owed"] += len(owed)
        heard = {s["person"]: s["at"] for s in result["stand_downs"]}
        found["stood_down"] += sum(
            p in heard and result["fixed"] <= heard[p] <= result["fixed"] + STAND_DOWN_MINUTES for p in owed
        )
        found["early"] += sum(p in heard and heard[p] < result["fixed"] for p in owed)
    return found


def replay_scores(
    incidents: Sequence[Mapping[str, Any]],
    on_call: Mapping[str, Sequence[Any]],
    contacts: Mapping[str, Mapping[str, Any]],
    policies: Sequence[Mapping[str, Any]],
) -> list[dict[str, int]]:
    """Return the score of each policy."""
    return [score(incidents, replay(incidents, on_call, contacts, p)) for p in policies]
