"""What lab 3.1 judges.

Both tasks come out as data and are simulated (workshop.sim.retries, workshop.sim.alerts) on months that are drawn here, from
what this world's tasks and resources are made with (truth.failure_rates, truth.resource_profiles): the same for every policy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from workshop.checks import CheckFailed, Evidence, as_number, as_table, check, expect
from workshop.sim.alerts import ACTIONS, ADDRESSEES, EVENTS, GROUPS
from workshop.sim.month import ERRORS
from workshop.table import Table
from workshop.trusted import Lab

SUBJECTS = ("failures",)

HINTS = {
    "a": (
        "Three questions to `ops.failed_attempts` and `ops.task_runs`: which errors has another attempt ever mended? "
        "How long do outages last? How long does a task of each class take at the very most?",
        "The waits between attempts add up: with full jitter to half of them on average. They should outlast the "
        "outage you want to survive. A time-out protects against what hangs: well above the longest run, well below "
        "the deadline.",
        "The worst night: 240 tasks fail at the same second. If they also come back at the same second, how many of "
        "them does the warehouse bear? And a row for tasks that are not idempotent: one attempt.",
    ),
    "b": (
        "Nobody has to be woken for an attempt that will be tried again. What is left when the scheduler has given "
        "up, and what else makes a run late without anything giving up?",
        "If a resource is away, whose problem is it, and how many pages does it need? Rules are read from the top: "
        "put the particular one first.",
        "Two rules for `gave up` (the resource's team when it is away, else the DAG's team), the same two for "
        "`deadline near`, all grouped for half a day and with a notice; a ticket for what is low.",
    ),
}

MISCONCEPTIONS = {
    "hopeless": "Bad input stays bad and a missing permission is not granted by asking again: see next_outcome by error class.",
    "no_jitter": "Those who failed together wait equally long and come back together. Draw the wait.",
    "too_short": "Add up the waits between your attempts and put the sum beside the lengths of the outages.",
    "unlimited": "Attempts are not free: each holds a slot, and the human who mends it waits until the last of them has failed.",
    "long_timeout": "Until the time-out a hung attempt looks like work. Six hours of patience are longer than most deadlines.",
    "short_timeout": "A time-out below what a healthy run takes kills work that would have been done.",
    "unsafe_write": "is_idempotent says whether running it twice leaves what running it once leaves.",
    "budget": "A budget protects a resource from too many clients at once. On a quiet month it refuses what would have passed.",
    "no_retry": "Most network errors are gone a minute later. A human who is told of each of them costs sixty dollars.",
    "every_attempt": "An attempt that will be tried again is no symptom. Wait for the last one, or for the deadline.",
    "everybody": "Whoever cannot mend it should not be woken by it. They need to know, which is what a notice is for.",
    "not_grouped": "One outage, twenty tasks: group by what they have in common, for as long as it can last.",
    "wrong_owner": "What ten DAGs cannot reach is not broken in ten DAGs: the status page knows.",
    "only_critical": "A late run of a normal DAG costs a hundred dollars, a page sixty.",
    "low_pages": "A late run of a low DAG costs twenty dollars. That is what tickets are for.",
    "too_late": "A page after the deadline tells what the business already knows.",
    "no_notice": "Teams whose input is missing look for the fault on their own side until somebody tells them.",
}

MONTHS = 10
COST_SHARE = 0.15
GIVEN_UP_SHARE = 0.10
HOPELESS_SHARE = 0.05
COLLEAGUE = {
    "max_attempts": 2, "base_s": 300, "factor": 1, "cap_s": 300, "jitter": 0.0, "timeout_minutes": 240,
    "retry_on": list(ERRORS[1:]), "budget_ratio": None,
}  # fmt: skip
BOUNDS = {
    "max_attempts": (1, 20), "base_s": (1, 7200), "factor": (1, 10), "cap_s": (1, 14_400), "jitter": (0, 1),
    "timeout_minutes": (1, 1440), "budget_ratio": (0, 1),
}  # fmt: skip
PROMISES = {
    "recall": 0.95, "precision": 0.80, "low": 0.03, "repeated": 0.12, "outages": 0.70, "own": 0.90, "notice": 0.95,
}  # fmt: skip
TABLES = {
    "tasks": """
        select
          t.dag_id, t.task_id, t.step_no::integer as step_no, d.team_id, t.task_class, t.is_idempotent, d.criticality,
          d.deadline_minutes, d.schedule_cron, t.pool, t.max_attempts::integer as max_attempts, t.timeout_minutes,
          epoch(timezone(d.time_zone, timestamptz '2026-07-15 00:00:00+00') - timestamp '2026-07-15')::integer as offset_s,
          coalesce(r.number, -1)::integer as resource,
          f.median_s, f.sigma, f.memory_bytes::double as memory_bytes, f.network, f.memory, f.input, f.permission, f.hang
        from ops.task_resources x
        join ops.tasks t using (task_id)
        join ops.dags d using (dag_id)
        join truth.failure_rates f using (task_id)
        left join (
          select resource_id, row_number() over (order by resource_id) - 1 as number from truth.resource_profiles
        ) r using (resource_id)
        order by t.dag_id, t.step_no
    """,
    "deps": """
        select s.task_id, s.upstream_task_id, s.is_sensor
        from ops.task_deps s
        where s.task_id in (select task_id from ops.task_resources)
          and s.upstream_task_id in (select task_id from ops.task_resources)
        order by all
    """,
    "resources": """
        select p.*, r.team_id
        from truth.resource_profiles p
        join ops.resources r using (resource_id)
        order by p.resource_id
    """,
    "pools": "select pool, slots::integer as slots from ops.pools order by pool",
}


# -- what came back --------------------------------------------------------------------------------------------------


def _tables(lab: Lab) -> dict[str, list[dict[str, Any]]]:
    return lab.kept("tables", lambda: {name: lab.world.sql(sql).dicts() for name, sql in TABLES.items()})


def _pairs(lab: Lab) -> list[tuple[str, bool]]:
    return sorted({(t["task_class"], bool(t["is_idempotent"])) for t in _tables(lab)["tasks"]})


def read_policy(lab: Lab) -> list[dict[str, Any]]:
    """The learner's rows, checked."""

    def make() -> list[dict[str, Any]]:
        columns = ["task_class", "is_idempotent", *BOUNDS, "retry_on"]
        table = as_table(lab.call("retry_policy", lab.con), "What retry_policy returns", columns)
        found: dict[tuple[str, bool], dict[str, Any]] = {}
        wanted = _pairs(lab)
        for row in table.dicts():
            key = (str(row["task_class"]), bool(row["is_idempotent"]))
            what = f"{key[0]}, {'idempotent' if key[1] else 'not idempotent'}"
            expect(key not in found, f"There are two rows for {what}.")
            if key not in wanted:
                continue  # a class that occurs elsewhere does no harm
            for name, (least, most) in BOUNDS.items():
                number = as_number(row[name])
                if name == "budget_ratio" and (
                    row[name] is None or (isinstance(row[name], float) and math.isnan(row[name]))
                ):
                    row[name] = None
                    continue
                expect(
                    number is not None
                    and least <= number <= most
                    and (name != "max_attempts" or number == int(number)),
                    f"{name} of {what} is {str(row[name])[:40]}; it must be a "
                    f"{'whole ' if name == 'max_attempts' else ''}number from {least:g} to {most:,g}.",
                )
                row[name] = int(number) if name == "max_attempts" else number
            errors = row["retry_on"]
            expect(
                isinstance(errors, list | tuple | set | frozenset) and all(e in ERRORS[1:] for e in errors),
                f"retry_on of {what} is {str(errors)[:80]}; it must be a list of {', '.join(ERRORS[1:])}.",
            )
            found[key] = {**row, "task_class": key[0], "is_idempotent": key[1], "retry_on": sorted(set(errors))}
        missing = [f"{c} ({'' if i else 'not '}idempotent)" for c, i in wanted if (c, i) not in found]
        expect(
            not missing,
            f"There is no row for {', '.join(missing)}: each class that occurs needs one, and one for its tasks that "
            "are not idempotent.",
        )
        for task_class in {c for c, _ in wanted}:
            ratios = {found[k]["budget_ratio"] for k in wanted if k[0] == task_class}
            expect(len(ratios) == 1, f"The rows of {task_class} have different budget_ratio: they share one budget.")
        return [found[k] for k in wanted]

    return lab.once("policy", make)


def _best(lab: Lab) -> list[dict[str, Any]]:
    """What one knows from the tables alone: the reference."""
    longest: dict[str, float] = {}
    for t in _tables(lab)["tasks"]:
        longest[t["task_class"]] = max(longest.get(t["task_class"], 0.0), t["median_s"] / 60 * math.exp(3 * t["sigma"]))
    return [
        {
            "task_class": c, "is_idempotent": i, "max_attempts": 10 if i else 1, "base_s": 60, "factor": 2, "cap_s": 1800,
            "jitter": 1.0, "timeout_minutes": max(20.0, min(3 * longest[c], 240.0)),
            "retry_on": ["network", "out of memory", "time-out"], "budget_ratio": None,
        }
        for c, i in _pairs(lab)
    ]  # fmt: skip


def _seeds(lab: Lab, name: str, n: int) -> list[str]:
    rng = lab.rng(name)
    return [f"{int(rng.integers(2**62))}" for _ in range(n)]


def _months(lab: Lab) -> dict[str, list[dict[str, float]]]:
    """Bills of ten months: yours, today's and the best."""

    def bills(policies: Mapping[str, Any]) -> dict[str, list[dict[str, float]]]:
        return lab.judge("workshop.sim.retries:run_months", _tables(lab), _seeds(lab, "months", MONTHS), policies)

    def make() -> dict[str, list[dict[str, float]]]:
        mine = bills({"yours": read_policy(lab)})
        return {**mine, **lab.kept("months", lambda: bills({"today": None, "best": _best(lab)}))}

    return lab.once("months", make)


def _mean(bills: Sequence[Mapping[str, float]], what: str) -> float:
    return sum(b[what] for b in bills) / len(bills)


def _bill(months: Mapping[str, Sequence[Mapping[str, float]]]) -> Evidence:
    kinds = (
        "late_runs",
        "late_usd",
        "wasted_slot_hours",
        "pages",
        "tickets",
        "second_writes",
        "retries",
        "hopeless",
        "cost_usd",
    )
    return Evidence(
        "a month, on average",
        Table.of(
            ["", "yours", "best", "today"],
            [
                (k.replace("_", " "), *(round(_mean(months[p], k), 1) for p in ("yours", "best", "today")))
                for k in kinds
            ],
        ),
    )


# -- task a ----------------------------------------------------------------------------------------------------------


@check("a", "ten months cost little more than under the best policy", points=2)
def months_cost_little(lab: Lab) -> None:
    """At the prices of the lab. Best: what the tables of this world tell anybody (the reference); naive: today's settings. At
    most 15% of the way."""
    months = _months(lab)
    yours, best, today = (_mean(months[p], "cost_usd") for p in ("yours", "best", "today"))
    share = (yours - best) / max(today - best, 1.0)
    parts = {
        "too_short": _mean(months["yours"], "late_usd") - _mean(months["best"], "late_usd"),
        "long_timeout": 2 * (_mean(months["yours"], "wasted_slot_hours") - _mean(months["best"], "wasted_slot_hours")),
        "unsafe_write": 150 * (_mean(months["yours"], "second_writes") - _mean(months["best"], "second_writes")),
        "no_retry": 60 * (_mean(months["yours"], "pages") - _mean(months["best"], "pages")),
    }
    timeouts = {r["task_class"]: r["timeout_minutes"] for r in read_policy(lab)}
    worst = max(parts, key=parts.__getitem__)
    if worst in ("too_short", "no_retry") and any(r["budget_ratio"] is not None for r in read_policy(lab)):
        worst = "budget"
    if worst == "too_short" and max(timeouts.values()) > 300:
        worst = "long_timeout"
    if (
        _mean(months["yours"], "wasted_slot_hours") > 2 * _mean(months["best"], "wasted_slot_hours")
        and min(timeouts.values()) < 20
    ):
        worst = "short_timeout"
    expect(
        share <= COST_SHARE,
        f"A month costs {yours:,.0f} USD under your policy, {best:,.0f} under the best that these tables allow, and "
        f"{today:,.0f} as things are today: yours is {share:.0%} of the way from best to today, {COST_SHARE:.0%} is "
        "allowed. Most of the difference is "
        + {
            "too_short": "runs that are late because the scheduler gave up, or gave up late.",
            "budget": "runs for which the retry budget of their class had nothing left.",
            "long_timeout": "hung attempts that nobody killed.",
            "short_timeout": "attempts that were killed while they worked.",
            "unsafe_write": "rows that were written twice.",
            "no_retry": "humans who were told of what would have passed.",
        }[worst],
        evidence=_bill(months),
        ask="Which line of the bill differs most, and which of your columns moves it?",
        misconception=worst,
    )


@check("a", "late runs, wasted slot-hours and pages are each no more than today", points=1)
def nothing_gets_worse(lab: Lab) -> None:
    """A policy that buys fewer pages with late reports has not solved anything, it has moved it."""
    months = _months(lab)
    for what, words, slip in (
        ("late_runs", "late runs", "too_short"),
        ("wasted_slot_hours", "slot-hours under attempts that failed", "unlimited"),
        ("pages", "pages", "no_retry"),
    ):
        yours, today = _mean(months["yours"], what), _mean(months["today"], what)
        expect(
            yours <= 1.02 * today,
            f"Your policy makes {yours:.1f} {words} a month, today it is {today:.1f}. What is saved elsewhere is paid for here.",
            evidence=_bill(months),
            misconception=slip,
        )


@check("a", "a task that is not idempotent is never tried again by the scheduler", points=1)
def unsafe_writes_stop(lab: Lab) -> None:
    """After a network error nobody knows whether the write has arrived. Counted in the months; and by the rows, for errors that
    did not come up in them."""
    months = _months(lab)
    again = [r for r in read_policy(lab) if not r["is_idempotent"] and r["max_attempts"] > 1 and r["retry_on"]]
    writes = sum(b["second_writes"] for b in months["yours"])
    written = any(set(r["retry_on"]) & {"network", "time-out", "out of memory"} for r in again)
    expect(
        not again,
        f"Your rows let the scheduler try {', '.join(sorted(r['task_class'] for r in again))} again where the task is "
        "not idempotent. "
        + (
            f"In ten months {writes:.0f} tasks may have written twice. A partner who gets the same file twice pays twice."
            if written
            else "It is not to be tried again whatever the error: an error class tells what was reported, not what was written."
        ),
        evidence=_bill(months),
        ask="What does an error tell about whether the first write arrived?",
        misconception="unsafe_write",
    )


@check("a", "few retries follow an error that only a human mends", points=0.5)
def hopeless_retries_are_few(lab: Lab) -> None:
    """Bad input and missing permissions: in the quarter of ops.failed_attempts no retry has ever mended one."""
    months = _months(lab)
    retries, hopeless = (sum(b[k] for b in months["yours"]) for k in ("retries", "hopeless"))
    expect(
        hopeless <= HOPELESS_SHARE * max(retries, 1.0),
        f"In ten months your policy makes {retries:,.0f} retries; {hopeless:,.0f} of them "
        f"({hopeless / max(retries, 1):.0%}) follow bad input or a missing permission, which no retry mends. "
        f"{HOPELESS_SHARE:.0%} is allowed. Meanwhile nobody is told.",
        evidence=_bill(months),
        ask="For which error classes was next_outcome ever 'success' after a retry by the scheduler?",
        misconception="hopeless",
    )


@check("a", "after the worst night at most a tenth of the tasks is given up", points=1.5)
def cold_start_is_survived(lab: Lab) -> None:
    """240 tasks that failed at the same second. What decides is how long the policy persists and whether the tasks come back
    together. Deterministic but for the jitter, which is averaged over four nights."""
    row = next(r for r in read_policy(lab) if r["task_class"] == "load" and r["is_idempotent"])
    seeds = _seeds(lab, "worst night", 4)

    def under_the_best() -> dict[str, Any]:
        best = next(r for r in _best(lab) if r["task_class"] == "load")
        return lab.judge("workshop.sim.retries:cold_start", best, seeds[0])

    nights = [lab.judge("workshop.sim.retries:cold_start", row, seed) for seed in seeds]
    best = lab.kept("worst night", under_the_best)
    given_up = sum(n["given_up"] for n in nights) / len(nights)
    n = len(nights[0]["done_s"])
    if given_up <= GIVEN_UP_SHARE * n:
        return
    waits = [min(row["cap_s"], row["base_s"] * row["factor"] ** k) for k in range(row["max_attempts"] - 1)]
    waited = sum(w * (1 - row["jitter"] / 2) for w in waits) / 60
    minutes = (np.array(nights[0]["attempts_s"]) // 60).astype(int)
    together = int(np.bincount(minutes[minutes >= 25], minlength=1).max())
    storm = together > 40
    expect(
        False,
        f"On the worst night {given_up:.0f} of {n} tasks are given up with your row for idempotent load tasks. Their "
        f"waits add up to {waited:.0f} min on average; the warehouse is back after 25. From then on it falls over at "
        f"more than forty attempts a minute: yours come up to {together} at once.",
        evidence=Evidence("attempts a minute", png=_picture(nights[0], best)),
        ask="When 240 tasks have failed at the same second, when does your policy let them come back?"
        if storm
        else "How long does your policy persist, put beside the twenty-five minutes of the outage?",
        misconception="no_jitter" if storm else "too_short",
    )


def _picture(mine: Mapping[str, Any], best: Mapping[str, Any]) -> bytes:
    from workshop.plots import BLUE, GREY, ORANGE, RED, plt, png

    figure, axes = plt.subplots(2, 1, figsize=(7.2, 3.4), sharex=True)
    for ax, night, colour, name in ((axes[0], mine, RED, "yours"), (axes[1], best, BLUE, "the reference")):
        minutes = np.array(night["attempts_s"]) / 60
        ax.hist(minutes, bins=np.arange(0, 121, 1), color=colour)
        ax.axhline(40, color=GREY, lw=0.8)
        ax.axvspan(0, 25, color=ORANGE, alpha=0.15)
        ax.set_ylabel(name)
        ax.set_ylim(0, 100)
    axes[0].set_title(f"{mine['given_up']} given up with yours, {best['given_up']} with the reference")
    axes[1].set_xlabel("minutes after two o'clock; shaded: the warehouse is gone; line: what it bears")
    return png(figure)


# -- task b ----------------------------------------------------------------------------------------------------------


def read_rules(lab: Lab) -> list[dict[str, Any]]:
    """The learner's rules, checked."""

    def make() -> list[dict[str, Any]]:
        value = lab.value("RULES")
        rules = value.dicts() if isinstance(value, Table) else value
        expect(
            isinstance(rules, list) and all(isinstance(r, dict) for r in rules),
            f"RULES should be a list of dicts; this is a {type(value).__name__}.",
        )
        expect(
            len(rules) <= 60,
            f"RULES has {len(rules)} rules; sixty are more than anybody can follow at three in the morning.",
        )
        return [_rule(k, r) for k, r in enumerate(rules, 1)]

    return lab.once("rules", make)


CHOICES = {"on": EVENTS, "do": ACTIONS, "to": ADDRESSEES, "group_by": GROUPS}
LISTS = {"criticality": ("critical", "high", "normal", "low"), "error_class": ERRORS}
NUMBERS = {"max_minutes_left": (-1e6, 1e6), "group_minutes": (0, 2880)}
FLAGS = ("notice", "resource_away")
USUAL = {"to": "dag team", "group_by": "none", "group_minutes": 0, "notice": False}


def _rule(number: int, given: Mapping[str, Any]) -> dict[str, Any]:
    known = {*CHOICES, *LISTS, *NUMBERS, *FLAGS}
    unknown = [str(k) for k in given if k not in known]
    expect(not unknown, f"Rule {number} has {', '.join(unknown)[:80]}; a rule says {', '.join(sorted(known))}.")
    rule = {**USUAL, **{k: v for k, v in given.items() if v is not None}}
    missing = [k for k in ("on", "do") if k not in given]
    expect(not missing, f"Rule {number} does not say {', '.join(missing)}.")
    for name, choices in CHOICES.items():
        expect(
            isinstance(rule[name], str) and rule[name] in choices,
            f"{name} of rule {number} is {str(rule[name])[:40]!r}; it is one of {', '.join(choices)}.",
        )
    for name, choices in LISTS.items():
        if name in rule:
            value = [rule[name]] if isinstance(rule[name], str) else rule[name]
            expect(
                isinstance(value, list | tuple | set | frozenset) and all(v in choices for v in value),
                f"{name} of rule {number} is {str(value)[:80]}; it is a list of {', '.join(c for c in choices if c)}.",
            )
            rule[name] = sorted(value)
    for name, (least, most) in NUMBERS.items():
        if name in rule:
            value = as_number(rule[name])
            expect(
                value is not None and least <= value <= most,
                f"{name} of rule {number} is {str(rule[name])[:40]}; it is a number from {least:g} to {most:g}.",
            )
            rule[name] = value
    for name in FLAGS:
        expect(isinstance(rule.get(name, True), bool), f"{name} of rule {number} must be True or False.")
    return rule


def _alerts(lab: Lab) -> dict[str, float]:
    """Ten months of pages, added up."""

    def make() -> dict[str, float]:
        retries = [{"task_class": c, "is_idempotent": i, **COLLEAGUE} for c, i in _pairs(lab)]
        months = lab.judge(
            "workshop.sim.alerts:run_alert_months",
            _tables(lab),
            _seeds(lab, "alerts", MONTHS),
            retries,
            {"yours": read_rules(lab)},
        )["yours"]
        return {k: sum(m[k] for m in months) for k in months[0]}

    return lab.once("alerts", make)


def _said(got: Mapping[str, float]) -> Evidence:
    lines = {
        "pages": "pages",
        "actionable": "of them about a cause that matters",
        "repeated": "of these, repeating an earlier one for the same cause",
        "low": "pages about nothing but a low DAG",
        "causes": "causes that matter",
        "found": "of them paged for before the first of their runs was due",
        "outages": "outages that were paged for",
        "outages_to_owner": "of them to the resource's team and nobody else",
        "own": "other causes that were paged for",
        "own_to_owner": "of them to the DAG's owner and nobody else",
        "notices_due": "causes that were paged for and make other teams late",
        "notices_sent": "of them with a notice",
        "tickets": "tickets",
    }
    return Evidence("ten months of alerts", Table.of(["", "count"], [(words, got[k]) for k, words in lines.items()]))


@check("b", "what matters is paged for, and in time", points=1)
def causes_are_found(lab: Lab) -> None:
    """Counterfactual: the months were run without anybody who repairs. What was late then had a cause; recall counts causes."""
    got = _alerts(lab)
    recall = got["found"] / max(got["causes"], 1)
    expect(
        recall >= PROMISES["recall"],
        f"{got['causes']:.0f} causes made runs late that matter; your rules page for {got['found']:.0f} of them "
        f"({recall:.0%}) before the first of these runs was due. {PROMISES['recall']:.0%} is asked for.",
        evidence=_said(got),
        ask="Take a run of a normal DAG whose task gave up: which of your rules fits?"
        if any(r["on"] == "deadline near" and r["do"] == "page" for r in read_rules(lab))
        else "What makes a run late although nothing ever gave up?",
        misconception="only_critical",
    )


@check("b", "a page is about something that matters", points=1)
def pages_are_worth_it(lab: Lab) -> None:
    """Precision: of all pages, those about a cause that makes a run late which matters."""
    got = _alerts(lab)
    expect(
        got["pages"] > 0, "Your rules page nobody in ten months.", evidence=_said(got), misconception="only_critical"
    )
    precision = got["actionable"] / got["pages"]
    low = got["low"] / got["pages"]
    expect(
        precision >= PROMISES["precision"] or precision + low >= PROMISES["precision"],
        f"Your rules send {got['pages']:.0f} pages in ten months; {got['actionable']:.0f} of them ({precision:.1%}) "
        f"are about something that would have made a run late which matters. {PROMISES['precision']:.0%} is asked for: "
        "who is woken for nothing twice a week does not get up the third time.",
        evidence=_said(got),
        ask="Which of your pages would have been unnecessary an hour later?",
        misconception="every_attempt",
    )
    expect(
        low <= PROMISES["low"] and precision >= PROMISES["precision"],
        f"{got['low']:.0f} of {got['pages']:.0f} pages ({low:.0%}) are about nothing but a DAG whose delay costs "
        f"twenty dollars; {PROMISES['low']:.0%} is allowed. A page costs sixty.",
        evidence=_said(got),
        ask="Which criticality do your rules for pages fit?",
        misconception="low_pages",
    )


@check("b", "one page for a cause", points=0.5)
def causes_page_once(lab: Lab) -> None:
    """Repeated: pages for a cause that somebody has been woken for already."""
    got = _alerts(lab)
    share = got["repeated"] / max(got["actionable"], 1)
    expect(
        got["actionable"] > 0 and share <= PROMISES["repeated"],
        f"{got['repeated']:.0f} of {got['actionable']:.0f} pages ({share:.0%}) are about a cause that somebody had "
        f"been woken for already; {PROMISES['repeated']:.0%} is allowed.",
        evidence=_said(got),
        ask="Hours can pass between a task that gives up and its run's deadline, and an outage goes on for an hour: for how long "
        "do your groups remember?",
        misconception="not_grouped",
    )


@check("b", "the page goes to whose it is", points=1)
def owners_are_paged(lab: Lab) -> None:
    """The team of the resource where it was an outage, else the owner of the DAG whose task failed; nobody beside. By the first
    page of each cause. A DAG that is hit before the status page says so cannot know: hence 70%."""
    got = _alerts(lab)
    everybody = any(r["to"] == "everybody" and r["do"] == "page" for r in read_rules(lab))
    for kind, words, whose in (
        ("own", "causes that are no outage", "the owner of the DAG"),
        ("outages", "outages", "the team of the resource"),
    ):
        share = got[f"{kind}_to_owner"] / max(got[kind], 1)
        expect(
            got["pages"] > 0 and (not got[kind] or share >= PROMISES[kind]),
            f"For {got[f'{kind}_to_owner']:.0f} of {got[kind]:.0f} {words} ({share:.0%}) your page went to {whose} and "
            f"to nobody else; {PROMISES[kind]:.0%} is asked for. Who is woken and cannot mend it learns to sleep "
            "through.",
            evidence=_said(got),
            ask="Who can mend it when the warehouse is away, and who when one DAG's input is bad?",
            misconception="everybody" if everybody else "wrong_owner",
        )


@check("b", "teams that wait for it are told", points=0.5)
def others_are_told(lab: Lab) -> None:
    """A notice with the first page of a cause that makes another team's runs late."""
    got = _alerts(lab)
    share = got["notices_sent"] / max(got["notices_due"], 1)
    expect(
        got["pages"] > 0 and (not got["notices_due"] or share >= PROMISES["notice"]),
        f"{got['notices_due']:.0f} of the causes that you page for make runs of other teams late; in "
        f"{got['notices_sent']:.0f} cases these were told. The others search for the fault in their own DAGs.",
        evidence=_said(got),
        misconception="no_notice",
    )


# -- twelve weeks later --------------------------------------------------------------------------------------------------------


def twelve_weeks_later(lab: Lab) -> Any:
    """Twelve weeks, one by one, under the learner's retries and today's."""
    from workshop.plots import BLUE, RED, plt

    try:
        policy = read_policy(lab)
    except CheckFailed:
        lab.begin()
        raise
    weeks = lab.judge(
        "workshop.sim.retries:run_months", _tables(lab), _seeds(lab, "weeks", 12), {"yours": policy, "today": None}, 7
    )
    figure, (cost, late) = plt.subplots(1, 2, figsize=(8.6, 3.2))
    number = np.arange(1, 13)
    for name, colour, words in (("today", RED, "today"), ("yours", BLUE, "your policy")):
        usd = np.cumsum([b["cost_usd"] for b in weeks[name]]) / 1000
        cost.plot(number, usd, "o-", ms=3, color=colour, label=words)
    saved = sum(t["cost_usd"] - y["cost_usd"] for t, y in zip(weeks["today"], weeks["yours"], strict=True))
    cost.set(xlabel="week", ylabel="cost so far, thousand USD")
    cost.set_title(f"Twelve weeks: {abs(saved):,.0f} USD {'saved' if saved >= 0 else 'more'}")
    cost.legend()
    late.bar(number - 0.2, [b["late_runs"] for b in weeks["today"]], 0.4, color=RED)
    late.bar(number + 0.2, [b["late_runs"] for b in weeks["yours"]], 0.4, color=BLUE)
    late.set(xlabel="week", ylabel="late runs")
    late.set_title("Runs that were late")
    plt.close(figure)
    return figure
