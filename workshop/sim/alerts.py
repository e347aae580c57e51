"""Alert rules on a simulated month: what pages whom, and whether anybody was needed.

The month is run without a human. What then is late, and why, is the truth: a page is worth a night's sleep if it is about a
cause that makes a run late which matters. (Beyer et al., Site Reliability Engineering, 2016, ch. 6: page on symptoms.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from workshop.sim.month import ERRORS, FAILED, NETWORK, SUCCESS, UPSTREAM_FAILED, MonthRun, simulate_month
from workshop.sim.retries import Drawn, Platform, draw_days, settings_of

MATTERS = ("critical", "high", "normal")  # a late run of these costs more than a night's sleep
NEAR_S = 1800.0  # before its deadline a run that is not done is an event
ATTEMPT, GAVE_UP, NEAR = "attempt failed", "gave up", "deadline near"
STATUS_S = 300.0  # so long after an outage began the status page of the resource says so
EVENTS = (ATTEMPT, GAVE_UP, NEAR)
ACTIONS = ("page", "ticket", "quiet")
ADDRESSEES = ("dag team", "resource team", "everybody")
GROUPS = ("none", "task run", "dag run", "resource")


@dataclass(frozen=True)
class Event:
    """Something that a rule can look at, at the moment at_s (seconds).

    task_run: what it is about; minutes_left: to the deadline of its run; resource_away: the status page of its resource says that
    it is away, or came back within the hour; cause: number of the cause that it comes from (truth, not for rules; -1: none that
    makes anything late).
    """

    at_s: float
    event: str
    task_run: int
    dag_run: int
    team_id: int
    criticality: str
    error_class: str
    attempts_left: int
    minutes_left: float
    resource: int
    resource_team_id: int
    resource_away: bool
    cause: int


@dataclass(frozen=True)
class Cause:
    """Why runs were late: the outage of a resource, or one task run. owner: team; late: runs of DAGs that matter and were late
    because of it; first_deadline_s: the earliest of their deadlines; affected: teams of these runs but its owner."""

    is_outage: bool
    owner: int
    late: tuple[int, ...]
    first_deadline_s: float
    affected: frozenset[int]


def look_back(
    platform: Platform, drawn: Drawn, run: MonthRun, resource_team: Sequence[int]
) -> tuple[list[Event], list[Cause]]:
    """Return the events of a month, in order of time, and the causes of what was late in it."""
    tasks, plan = platform.tasks, drawn.plan
    done_s, late_s = run.dag_runs(plan)
    deadline_s = 60.0 * tasks.deadline_minutes.to_numpy()[drawn.dag_of]
    due_s = plan.scheduled_s[plan.first_of_dag_run]
    late = late_s > deadline_s
    criticality = tasks.criticality.to_numpy()[drawn.dag_of]
    matters = late & np.isin(criticality, MATTERS)
    finder = _Causes(drawn, run)
    by_cause: dict[tuple[str, int], list[int]] = {}
    for k in np.flatnonzero(late).tolist():
        by_cause.setdefault(finder.of_dag_run(k), []).append(k)
    teams = tasks.team_id.to_numpy()
    causes, number = [], {}
    for key, runs in by_cause.items():
        mine = [k for k in runs if matters[k]]
        if not mine:
            continue
        kind, n = key
        owner = resource_team[drawn.draws.outages[n].resource] if kind == "outage" else int(teams[plan.task[n]])
        affected = {int(teams[drawn.dag_of[k]]) for k in mine} - {owner}
        number[key] = len(causes)
        causes.append(
            Cause(kind == "outage", owner, tuple(mine), float((due_s + deadline_s)[mine].min()), frozenset(affected))
        )

    events = []
    resource = tasks.resource.to_numpy()

    def event(at_s: float, what: str, i: int, error: int, left: int) -> Event:
        k = int(plan.dag_run[i])
        r = int(resource[plan.task[i]])
        return Event(
            at_s, what, i, k, int(teams[drawn.dag_of[k]]), str(criticality[k]), ERRORS[error], left,
            float(due_s[k] + deadline_s[k] - at_s) / 60, r, resource_team[r] if r >= 0 else -1, _is_away(drawn, r, at_s),
            number.get(finder.of_task_run(i), -1),
        )  # fmt: skip

    failed = run.failures
    last = np.zeros(len(plan), dtype=int)
    np.maximum.at(last, failed.task_run, failed.attempt)
    for i, attempt, at_s, error in zip(
        failed.task_run.tolist(), failed.attempt.tolist(), failed.ended_s.tolist(), failed.error.tolist(), strict=True
    ):
        gave_up = run.outcome[i] == FAILED and attempt == last[i]
        events.append(event(at_s, GAVE_UP if gave_up else ATTEMPT, i, error, int(run.attempts[i]) - attempt))
    near_s = due_s + deadline_s - NEAR_S
    for k in np.flatnonzero(done_s > near_s).tolist():
        i = finder.waits_for(k, float(near_s[k]))
        events.append(event(float(near_s[k]), NEAR, i, finder.last_error(i, float(near_s[k])), 0))
    events.sort(key=lambda e: (e.at_s, e.task_run, e.event))
    return events, causes


def _is_away(drawn: Drawn, resource: int, at_s: float) -> bool:
    return any(
        o.resource == resource and o.start_s + STATUS_S <= at_s <= o.end_s + o.recovery_s for o in drawn.draws.outages
    )


class _Causes:
    """Finds why something was late: back along what it waited for, to the first task run that failed."""

    def __init__(self, drawn: Drawn, run: MonthRun) -> None:
        plan = drawn.plan
        self.run, self.drawn = run, drawn
        order = np.argsort(plan.edges[:, 1], kind="stable")
        self.first_parent = np.searchsorted(plan.edges[order, 1], np.arange(len(plan) + 1)).tolist()
        self.parent = plan.edges[order, 0].tolist()
        self.ended = np.where(np.isnan(run.ended_s), np.inf, run.ended_s)
        self.failures: dict[int, list[tuple[float, int]]] = {}
        for i, at_s, error in zip(
            run.failures.task_run.tolist(), run.failures.ended_s.tolist(), run.failures.error.tolist(), strict=True
        ):
            self.failures.setdefault(i, []).append((at_s, error))
        self.members: dict[int, list[int]] = {}
        for i, k in enumerate(plan.dag_run.tolist()):
            self.members.setdefault(k, []).append(i)

    def of_dag_run(self, k: int) -> tuple[str, int]:
        """The cause of a late run of a DAG."""
        failed = [i for i in self.members[k] if self.run.outcome[i] == FAILED]
        start = failed[0] if failed else max(self.members[k], key=lambda i: self.ended[i])
        return self.of_task_run(self._back(start, math.inf))

    def of_task_run(self, i: int) -> tuple[str, int]:
        """The outage in which it failed last, or the task run itself."""
        for at_s, error in reversed(self.failures.get(i, [])):
            if error == NETWORK:
                for n, outage in enumerate(self.drawn.draws.outages):
                    if outage.resource == self.drawn.draws.resource[i] and outage.start_s <= at_s <= (
                        outage.end_s + outage.recovery_s + 3 * outage.relapse_s
                    ):
                        return "outage", n
        return "task run", i

    def waits_for(self, k: int, at_s: float) -> int:
        """The task run that a run of a DAG waits for at a moment: failed, running or retrying, in it or before it."""
        open_now = [i for i in self.members[k] if self.ended[i] > at_s or self.run.outcome[i] != SUCCESS]
        failed = [i for i in open_now if self.run.outcome[i] == FAILED and self.ended[i] <= at_s]
        return self._back(failed[0] if failed else open_now[0], at_s)

    def last_error(self, i: int, at_s: float) -> int:
        """The error of its last attempt that failed by then; 0: none."""
        return next((e for t, e in reversed(self.failures.get(i, [])) if t <= at_s), 0)

    def _back(self, i: int, at_s: float) -> int:
        """Back from a task run to what keeps it waiting at a moment: itself if it has failed or is running, else what it waited
        for longest."""
        while not self._is_at_it(i, at_s):
            parents = self.parent[self.first_parent[i] : self.first_parent[i + 1]]
            if not parents:
                return i
            bad = [p for p in parents if self.run.outcome[p] in (FAILED, UPSTREAM_FAILED)]
            stopped = self.run.outcome[i] == UPSTREAM_FAILED and bad
            i = bad[0] if stopped else max(parents, key=lambda p: self.ended[p])
        return i

    def _is_at_it(self, i: int, at_s: float) -> bool:
        running = self.run.started_s[i] <= at_s < self.ended[i]
        return running or any(t <= at_s for t, _ in self.failures.get(i, []))


def apply_rules(rules: Sequence[Mapping[str, Any]], events: Sequence[Event]) -> list[dict[str, Any]]:
    """Return what the rules send, in order of time: dicts of at_s, action, to (teams), cause, task_run and notice (bool).

    A rule: on (one of EVENTS), and where given criticality and error_class (lists), max_minutes_left (number) and resource_away
    (bool); do (one of ACTIONS), to (one of ADDRESSEES), group_by (one of GROUPS), group_minutes, notice (bool: teams that
    wait for it are told). The first rule that fits decides.

    What has been sent for is not sent for again by the same or a lesser action: neither its group, nor (unless group_by is
    "none") the task run itself, until it has been quiet for group_minutes.
    """
    sent: list[dict[str, Any]] = []
    heard: dict[tuple[str, int], tuple[float, int]] = {}
    for e in events:
        about = (e.criticality, e.error_class, e.minutes_left, e.resource_away)
        rule = next((r for r in rules if r["on"] == e.event and fits(r, *about)), None)
        if rule is None or rule["do"] == "quiet":
            continue
        rank, by, keys = ACTIONS.index(rule["do"]), rule["group_by"], set()
        if by != "none":
            keys = {("task run", e.task_run)}
            keys.add(("resource", e.resource) if by == "resource" and e.resource >= 0 else ("dag run", e.dag_run))
            if by == "task run":
                keys.discard(("dag run", e.dag_run))
        known = False
        for key in keys:
            last_s, last_rank = heard.get(key, (-math.inf, len(ACTIONS)))
            fresh = e.at_s - last_s > 60 * rule["group_minutes"]
            known |= not fresh and last_rank <= rank
            heard[key] = (e.at_s, rank if fresh else min(rank, last_rank))
        if known:
            continue
        to = {"dag team": e.team_id, "resource team": e.resource_team_id if e.resource >= 0 else e.team_id}
        sent.append(
            {
                "at_s": e.at_s,
                "action": rule["do"],
                "event": e.event,
                "to": [to[rule["to"]]] if rule["to"] in to else [],
                "everybody": rule["to"] == "everybody",
                "cause": e.cause,
                "criticality": e.criticality,
                "task_run": e.task_run,
                "dag_run": e.dag_run,
                "notice": bool(rule["notice"]),
            }
        )
    return sent


def fits(rule: Mapping[str, Any], criticality: str, error_class: str, minutes_left: float, resource_away: bool) -> bool:
    """Whether a rule is about such a thing, whatever event it is on."""
    return (
        (rule.get("criticality") is None or criticality in rule["criticality"])
        and (rule.get("error_class") is None or error_class in rule["error_class"])
        and (rule.get("max_minutes_left") is None or minutes_left <= rule["max_minutes_left"])
        and (rule.get("resource_away") is None or resource_away == rule["resource_away"])
    )


def score(sent: Sequence[Mapping[str, Any]], causes: Sequence[Cause]) -> dict[str, float]:
    """Return counts of a month: pages; actionable (pages about a cause); low (pages about nothing but a DAG that does not
    matter); causes; found (paged before the first of their late runs was due); repeated (pages for a cause that had one); first
    pages for outages and for causes of one task run, and how many of each went to its owner alone (outages, outages_to_owner,
    own, own_to_owner); notices_due and notices_sent (causes that make other teams late, and those whose first page told them);
    tickets."""
    pages = [s for s in sent if s["action"] == "page"]
    about = [p for p in pages if p["cause"] >= 0]
    first: dict[int, Mapping[str, Any]] = {}
    for p in about:
        first.setdefault(p["cause"], p)
    right = {n for n, p in first.items() if not p["everybody"] and p["to"] == [causes[n].owner]}
    outages = {n for n in first if causes[n].is_outage}
    due = [n for n in first if causes[n].affected]
    return {
        "pages": len(pages),
        "actionable": len(about),
        "low": sum(p["cause"] < 0 and p["criticality"] not in MATTERS for p in pages),
        "causes": len(causes),
        "found": sum(p["at_s"] <= causes[n].first_deadline_s for n, p in first.items()),
        "repeated": len(about) - len(first),
        "outages": len(outages),
        "outages_to_owner": len(outages & right),
        "own": len(first) - len(outages),
        "own_to_owner": len(right - outages),
        "notices_due": len(due),
        "notices_sent": sum(first[n]["notice"] or first[n]["everybody"] for n in due),
        "tickets": len(sent) - len(pages),
    }


def run_alert_months(
    tables: Mapping[str, Sequence[Mapping[str, Any]]],
    seeds: Sequence[str],
    retries: Sequence[Mapping[str, Any]] | None,
    rules: Mapping[str, Sequence[Mapping[str, Any]]],
    days: int = 30,
) -> dict[str, list[dict[str, float]]]:
    """Return by set of rules the score of each month, under one policy of retries. tables: as Platform.of, and in resources
    the column team_id."""
    platform = Platform.of(tables)
    team = platform.resources.team_id.tolist()
    scores: dict[str, list[dict[str, float]]] = {name: [] for name in rules}
    for seed in seeds:
        drawn = draw_days(platform, seed, np.datetime64("2026-07-01"), days)
        run = simulate_month(drawn.plan, drawn.draws, settings_of(platform, drawn.plan, retries), drawn.pools)
        events, causes = look_back(platform, drawn, run, team)
        for name, mine in rules.items():
            scores[name].append(score(apply_rules(mine, events), causes))
    return scores
