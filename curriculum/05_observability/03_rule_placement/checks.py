"""Checks of 5.3. Truth: what is planted (rates after today, faults in fresh rows), and consequences (costs replayed, rows
moved); the reference solution is not used."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from workshop.checks import CheckFailed, Evidence, LearnerError, NotAttempted, as_table, check, expect, same
from workshop.table import Table
from workshop.trusted import Lab, World

SUBJECTS = ("quality_rules", "order_feed")
IMPORTS = ("great_expectations", "great_expectations.expectations", "workshop.quality")
HINTS = {
    "a": (
        "Two questions, one after the other. Where is the earliest place at which the rule has all it reads? And then: of "
        "warn, quarantine and block, which costs least with the counts of the last two months?",
        "unnest(inputs) and join ops.dq_sources: a rule can run at ingestion if none of its sources lands 'after'. For the "
        "costs, sum units_flagged, units_confirmed and files_flagged by rule; good flagged units are the difference.",
        "Mind the units of file rules: units are files there, and a bad file makes rows_landed / files bad rows. A row rule that "
        "blocks holds up all good rows of every file it touches: files_flagged x rows per file - bad rows.",
    ),
    "b": (
        "Take the rules one by one and ask of each expectation: what does it say about a null? Then the flow: what is in the "
        "tables if the process dies after your second statement?",
        "ExpectColumnValuesToBeInSet, ...ToBeBetween and ...ToMatchRegex pass over nulls: a value that must be there needs "
        "ExpectColumnValuesToNotBeNull too. Pair expectations have ignore_row_if for a side that is missing.",
        "Put each function in one transaction, and let it insert only rows that are in neither orders nor quarantine yet (admit) "
        "or that are still in quarantine (release). Then a second run finds nothing left to do.",
    ),
}
MISCONCEPTIONS = {
    "everything_early": "Early is cheap only where the rule has all its inputs. Look at ops.dq_sources: what does a rule see "
    "of a source that lands after the file?",
    "everything_late": "A bad row that is caught where it lands costs a fraction of one that has been joined and summed. "
    "Which rules read nothing but sources that are there at ingestion?",
    "block_for_a_row": "Blocking holds up the whole file. How many good rows wait with each bad one, and what does that cost?",
    "block_on_warning": "A warning lets everything pass: its severity is warning. Whatever holds rows back is critical.",
    "false_alarms_forgotten": "Compare units_flagged with units_confirmed: what does each good row that is held back cost?",
    "harm_forgotten": "What a rule warns of is published all the same: bad rows x harm_usd. Is that less than holding them back?",
    "half_the_sum": "You hold back too much here and let pass too much there. Neither the harm nor the share of flags that were "
    "confirmed decides alone, and costs differ from company to company: which numbers does your rule leave out?",
    "nulls_pass": "Most expectations say nothing about nulls. Which rules ask that a value is there?",
    "waiting_is_no_fault": "A payment that has not come yet leaves nulls behind. What does your pair expectation do with them?",
    "warning_that_holds": "severity='warning' is for what is unusual but not wrong.",
    "whole_file": "One bad row is no reason to keep the others from the orders.",
    "dropped": "A row that is flagged must be found again: it goes to quarantine, with its rules.",
    "not_repeatable": "What does your function do with rows that an earlier run of it has moved already?",
}

STAGES = ("ingestion", "transformation")
COLUMNS = ("rule_id", "stage", "action", "severity")
SHARE_OF_GAP = 0.05
WORLDS = 4
CELLS_PER_ROW = {"ingestion": 14, "transformation": 8}
ROWS = 360
EACH_FAULT = 8
MAX_CRASHES = 40


# -- task a ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Company:
    """What is right in one world. ``stages``: the earliest stage by rule; ``late``: on the inputs that a rule would wait for;
    ``future``: cost after today by (rule, stage, action); ``best``: the cheapest stage and action by rule; ``held``: what holding
    everything back costs."""

    stages: dict[str, str]
    late: Table
    future: dict[tuple[str, str, str], float]
    best: dict[str, tuple[str, str]]
    held: float


def _worlds(lab: Lab) -> list[World]:
    """The lab's world, and four others."""
    return [lab.world, *lab.worlds(WORLDS, subjects=("quality_rules",))]


def _companies(lab: Lab) -> list[tuple[World, Company]]:
    """Those, each with what is right in it."""

    def make() -> list[Company]:
        found = []
        for world in _worlds(lab):
            future, best = _costs(world, FUTURE), _best(world)
            held = sum(future[rule, *choice] for rule, choice in _hold_all(world).items())
            found.append(Company(_earliest(world), _late_inputs(world), future, best, held))
        return found

    return list(zip(_worlds(lab), lab.kept("companies", make), strict=True))


def _hold_all(world: World) -> dict[str, tuple[str, str]]:
    scopes = world.sql("select rule_id, scope from ops.dq_rules").rows
    return {rule: ("transformation", "quarantine" if scope == "row" else "block") for rule, scope in scopes}


def _placement(lab: Lab, world: World) -> dict[str, dict[str, str]]:
    """The learner's policy for a world, by rule; fails with one sentence when it is not laid out as asked."""
    return lab.once(f"placement in {world.name}", lambda: _read_placement(lab, world))


def _read_placement(lab: Lab, world: World) -> dict[str, dict[str, str]]:
    table = as_table(lab.call("place", world.con), "place(con)", COLUMNS)
    rules = {r["rule_id"]: r["scope"] for r in world.sql("select rule_id, scope from ops.dq_rules").dicts()}
    counts = Counter(str(r) for r in table.column("rule_id"))
    missing = sorted(set(rules) - set(counts))
    odd = sorted(set(counts) - set(rules)) + sorted(r for r, n in counts.items() if n > 1 and r in rules)
    expect(
        not missing,
        f"place(con) says nothing about {', '.join(missing[:5])}; each rule of ops.dq_rules is asked for once.",
    )
    expect(not odd, f"place(con) has {', '.join(odd[:5])} more than once or has a rule that does not exist.")
    placed = {}
    for given in table.dicts():
        row = {k: str(v).strip().lower() if k != "rule_id" else v for k, v in given.items()}
        expect(
            row["stage"] in STAGES, f"{row['rule_id']}: stage is {row['stage']!r}; it is ingestion or transformation."
        )
        allowed = ("warn", "quarantine", "block") if rules[row["rule_id"]] == "row" else ("warn", "block")
        expect(
            row["action"] in allowed,
            f"{row['rule_id']} is a {rules[row['rule_id']]} rule: its action is one of {', '.join(allowed)}, "
            f"not {row['action']!r}.",
        )
        expect(row["severity"] in ("critical", "warning"), f"{row['rule_id']}: severity is {row['severity']!r}.")
        placed[row["rule_id"]] = row
    return placed


def _earliest(world: World) -> dict[str, str]:
    """The earliest stage of each rule, from the sources as they land."""
    rows = world.sql(
        """
        select rule_id, max((lands = 'after')::int) as is_late
        from (select rule_id, unnest(inputs) as source from ops.dq_rules)
        join ops.dq_sources using (source)
        group by rule_id
        """
    )
    return {rule: STAGES[late] for rule, late in rows}


@check("a", "every rule runs at the earliest stage that has all its inputs", points=2)
def earliest_stage(lab: Lab) -> None:
    """Truth: which sources land after the file, in this world and in four others where it differs."""
    for world, company in _companies(lab):
        placed, right = _placement(lab, world), company.stages
        early = sorted(r for r in right if placed[r]["stage"] == "ingestion" and right[r] == "transformation")
        late = sorted(r for r in right if placed[r]["stage"] == "transformation" and right[r] == "ingestion")
        if early:
            raise CheckFailed(
                f"{len(early)} rules run at ingestion before an input has landed, and flag good rows there: {', '.join(early)}.",
                evidence=Evidence("what they wait for", _of_rules(company.late, early)),
                ask="What would such a rule have flagged on an ordinary day?",
                misconception="everything_early",
            )
        if late:
            raise CheckFailed(
                f"{len(late)} rules wait for the transformation although all they read is there at ingestion: {', '.join(late)}.",
                evidence=Evidence("what mending costs early and late", _fix_costs(world, late)),
                ask="What does it cost to mend a bad row there, and here?",
                misconception="everything_late",
            )


def _of_rules(table: Table, rules: list[str]) -> Table:
    return Table.of(table.columns, [r for r in table.rows if r[0] in rules])


def _late_inputs(world: World) -> Table:
    return world.sql(
        """
        select rule_id, rule, source, missing_at_ingestion_pct,
          round(missing_at_ingestion_pct / 100 * (select avg(rows_landed) from ops.dq_results))::bigint as good_rows_flagged_a_day
        from (select rule_id, rule, unnest(inputs) as source from ops.dq_rules)
        join ops.dq_sources using (source)
        where lands = 'after'
        order by rule_id
        """
    )


def _fix_costs(world: World, rules: list[str]) -> Table:
    return world.sql(
        "select rule_id, rule, fix_at_ingestion_usd, fix_at_transformation_usd from ops.dq_rules "
        "where list_contains(?, rule_id) order by rule_id",
        [rules],
    )


def _costs(world: World, counts: str) -> dict[tuple[str, str, str], float]:
    """Cost in US dollars of each (rule, stage, action) for the summed counts that the query ``counts`` gives: rule_id, bad and
    false_alarms (units), files_touched, rows_landed, files. A rule that runs before an input has landed flags those good
    rows too; a file rule then flags every file."""
    rows = world.sql(
        f"""
        with
        late as (
          select rule_id, max(missing_at_ingestion_pct) / 100.0 as share
          from (select rule_id, unnest(inputs) as source from ops.dq_rules)
          join ops.dq_sources using (source)
          group by rule_id
        ),
        counts as ({counts})
        select r.*, l.share, c.* exclude (rule_id)
        from ops.dq_rules r
        join late l using (rule_id)
        join counts c using (rule_id)
        """
    ).dicts()
    costs = {}
    for plain in rows:
        r = {k: float(v) if isinstance(v, int | float | Decimal) else v for k, v in plain.items()}
        per_file = r["rows_landed"] / r["files"]
        for stage in STAGES:
            fix, share = r[f"fix_at_{stage}_usd"], r["share"] if stage == "ingestion" else 0
            if r["scope"] == "row":
                bad, good = r["bad"], r["false_alarms"] + share * r["rows_landed"]
                touched = r["files"] if share else r["files_touched"]
                costs[r["rule_id"], stage, "quarantine"] = (
                    (bad + good) * r["review_usd"] + good * r["delay_usd"] + bad * fix
                )
            else:
                bad, touched = r["bad"] * per_file, r["files"] if share else r["files_touched"]
            costs[r["rule_id"], stage, "warn"] = bad * r["harm_usd"]
            held = max(0.0, touched * per_file - bad)
            costs[r["rule_id"], stage, "block"] = touched * r["review_usd"] + held * r["delay_usd"] + bad * fix
    return costs


HISTORY = """
    select rule_id, sum(units_confirmed) as bad, sum(units_flagged - units_confirmed) as false_alarms,
      sum(files_flagged) as files_touched, sum(rows_landed) as rows_landed, sum(files) as files
    from ops.dq_results group by rule_id
"""
FUTURE = """
    select rule_id, sum(bad) as bad, sum(false_alarms) as false_alarms, sum(files_touched) as files_touched,
      sum(rows_landed) as rows_landed, sum(files) as files
    from truth.dq_future group by rule_id
"""


def _best(world: World) -> dict[str, tuple[str, str]]:
    """The cheapest stage and action of each rule for somebody who knows the history and nothing more."""
    costs, stages = _costs(world, HISTORY), _earliest(world)
    return {
        rule: min(
            ((s, a) for (r, s, a) in costs if r == rule and s == stages[rule]), key=lambda c, r=rule: costs[r, *c]
        )
        for rule in stages
    }


@check("a", "the actions cost least over the next twelve weeks", points=2)
def cheapest_actions(lab: Lab) -> None:
    """Truth: counts after today, from the planted rates; pooled over five worlds. The best knows the history only."""
    mine = best = naive = 0.0
    worst: list[tuple] = []
    for world, company in _companies(lab):
        placed, future = _placement(lab, world), company.future
        _severities(placed)
        for rule, choice in company.best.items():
            # The stage has a check of its own: here an action is priced where the rule belongs, wherever it was put.
            cost = future[rule, choice[0], placed[rule]["action"]]
            mine += cost
            best += future[rule, *choice]
            worst.append(
                (cost - future[rule, *choice], rule, placed[rule]["action"], cost, choice[1], future[rule, *choice])
            )
        naive += company.held
    gap = (mine - best) / (naive - best)
    if gap > SHARE_OF_GAP:
        rows = [r[1:] for r in sorted(worst, reverse=True)[:5]]
        raise CheckFailed(
            f"Over twelve weeks in five companies your actions cost ${mine:,.0f}; ${best:,.0f} is reached by the cheapest "
            f"action for each rule, known from the history alone. That is {gap:.1%} of the way to holding everything back at "
            f"transformation (${naive:,.0f}); {SHARE_OF_GAP:.0%} is allowed.",
            evidence=Evidence(
                "the five dearest differences", Table.of(["rule_id", "yours", "usd", "cheaper", "usd_"], rows)
            ),
            ask="Of what these rules flag, how much was confirmed, and what does each action do to the rest?",
            misconception=_why_dear(rows),
        )


def _why_dear(rows: list[tuple]) -> str:
    """The misconception behind the dearest differences: (rule, yours, usd, cheaper, usd)."""
    if any(yours == "block" and cheaper == "quarantine" for _, yours, _, cheaper, _ in rows):
        return "block_for_a_row"
    held = sum(cheaper == "warn" for _, _, _, cheaper, _ in rows)
    passed = sum(yours == "warn" for _, yours, _, _, _ in rows)
    return "half_the_sum" if held and passed else "false_alarms_forgotten" if held else "harm_forgotten"


def _severities(placed: dict[str, dict[str, str]]) -> None:
    wrong = sorted(r for r, row in placed.items() if (row["action"] == "warn") != (row["severity"] == "warning"))
    if wrong:
        rows = [(r, placed[r]["action"], placed[r]["severity"]) for r in wrong[:5]]
        raise CheckFailed(
            f"{len(wrong)} rules say one thing and do another: a warning holds nothing back, and what holds back is critical.",
            evidence=Evidence("severity against action", Table.of(["rule_id", "action", "severity"], rows)),
            misconception="block_on_warning",
        )


# -- task b: suites --------------------------------------------------------------------------------------------------------

KINDS = {
    "ingestion": {
        "no order id": lambda r, k: r | {"order_id": None},
        "order reference": lambda r, k: r | {"order_ref": (_REFS[k % len(_REFS)]).replace("#", r["order_ref"][3:])},
        "currency missing": lambda r, k: r | {"currency": None},
        "currency unknown": lambda r, k: (
            r | {"currency": ("EURO", "eur", "US$", "XXX", "", "GBP", "Eur", " EUR")[k % 8]}
        ),
        "amount missing": lambda r, k: r | {"total_amount": None},
        "amount not positive": lambda r, k: r | {"total_amount": Decimal(0) if k % 2 else -r["total_amount"]},
        "later than its file": lambda r, k: r | {"ordered_on": _later(r["landed_on"], 1 + 40 * (k % 3))},
    },
    "transformation": {
        "customer unknown": lambda r, k: r | {"known_customer_id": None},
        "paid another amount": lambda r, k: (
            r | {"paid_amount": r["total_amount"] + Decimal(("0.01", "-0.01", "5", "100")[k % 4])}
        ),
        "paid in another currency": lambda r, k: r | {"paid_currency": "USD" if r["currency"] != "USD" else "CAD"},
    },
}
_REFS = ("KM#", "km-#", "KM-#X", "XKM-#", "", "KM-12345", "KM-12345678", "KM-1234 67")


def _later(day: date, days: int) -> date:
    return day + timedelta(days=days)


def _feed(lab: Lab, stage: str) -> tuple[list[dict[str, Any]], list[str | None]]:
    """Fresh rows as they are at a stage, and the fault planted in each (None: good)."""
    return lab.kept(f"feed at {stage}", lambda: _spoilt_feed(lab, stage))


def _spoilt_feed(lab: Lab, stage: str) -> tuple[list[dict[str, Any]], list[str | None]]:
    """Good rows keep their oddities: large orders, payments under way, amounts of a few cents, yen, missing promotions, the same
    day as the file."""
    joined = (
        ""
        if stage == "ingestion"
        else ", c.customer_id as known_customer_id, p.amount as paid_amount, p.currency as paid_currency"
    )
    rows = lab.world.sql(
        f"""
        select f.*{joined}
        from raw.order_feed f
        left join core.customers c using (customer_id)
        left join core.payments p using (order_id)
        where (file_id, record_no) not in (select (file_id, record_no) from truth.feed_faults)
        order by file_id, record_no
        """
    ).dicts()
    rng = lab.rng(f"feed/{stage}")
    picked = [dict(rows[i]) for i in sorted(rng.choice(len(rows), size=min(ROWS, len(rows)), replace=False))]
    for n, i in enumerate(rng.choice(len(picked), size=60, replace=False)):
        if n < 15:
            picked[i]["item_count"] = 13 + n
        elif n < 25:
            picked[i]["total_amount"] = Decimal("0.05") if n % 2 else Decimal("250000.00")
            if stage == "transformation":
                picked[i]["paid_amount"] = picked[i]["total_amount"]
        elif n < 35:
            picked[i]["ordered_on"] = picked[i]["landed_on"]
        elif stage == "transformation":
            picked[i] |= {"paid_amount": None, "paid_currency": None}
    faults: list[str | None] = [None] * len(picked)
    able = [i for i, r in enumerate(picked) if stage == "ingestion" or r["paid_amount"] is not None]
    places = iter(rng.permutation(able))
    for name, spoil in KINDS[stage].items():
        for k in range(EACH_FAULT):
            i = int(next(places))
            picked[i], faults[i] = spoil(picked[i], k), name
    return picked, faults


def _judge_suite(lab: Lab, stage: str) -> None:
    name = f"{stage}_suite"
    suite = lab.call(name)
    expect(suite is not None, f"{name}() returned nothing; it returns the suite.")
    rows, faults = _feed(lab, stage)
    results = lab.judge("workshop.quality:run_suite", suite, Table.from_dicts(rows))
    critical = {row for r in results if r["severity"] == "critical" for row in r["rows"]}
    warned = {row for r in results if r["severity"] != "critical" for row in r["rows"]}
    keys = ("order_ref", "order_id", "currency", "total_amount", "ordered_on", "landed_on", "item_count")
    keys += ("known_customer_id", "paid_amount", "paid_currency") if stage == "transformation" else ()

    def shown(where: list[int]) -> Table:
        return Table.of(
            ["planted", *keys], [(faults[i] or "nothing: a good row", *(rows[i][k] for k in keys)) for i in where[:6]]
        )

    held = sorted(i for i in critical if faults[i] is None)
    if held:
        waiting = stage == "transformation" and all(rows[i]["paid_amount"] is None for i in held)
        many = stage == "ingestion" and all(rows[i]["item_count"] > 12 for i in held)
        raise CheckFailed(
            f"{name}: {len(held)} of {sum(f is None for f in faults)} good rows are flagged as critical"
            + (": their payment has not come yet." if waiting else ": many items are a warning." if many else "."),
            evidence=Evidence("good rows that you hold back", shown(held)),
            ask="Which expectation flags them, and does the rule say so?",
            misconception="waiting_is_no_fault" if waiting else "warning_that_holds" if many else None,
        )
    missed = [i for i, f in enumerate(faults) if f is not None and i not in critical]
    if missed:
        kinds = Counter(faults[i] for i in missed)
        nulls = set(kinds) <= {"currency missing", "amount missing", "no order id", "customer unknown"}
        only_warned = all(i in warned for i in missed)
        raise CheckFailed(
            f"{name} lets {len(missed)} bad rows pass: "
            + ", ".join(f"{k} ({n} of {EACH_FAULT})" for k, n in kinds.items())
            + ("; they are flagged, but only as a warning." if only_warned else "."),
            evidence=Evidence("bad rows that pass", shown(missed)),
            ask="What do your expectations say about these values?",
            misconception="nulls_pass" if nulls else None,
        )
    if stage == "ingestion":
        unusual = [i for i, r in enumerate(rows) if r["item_count"] > 12 and i not in warned]
        expect(
            not unusual,
            f"{name}: {len(unusual)} orders of more than 12 items get no warning.",
            evidence=Evidence("no warning", shown(unusual)),
        )
    cells = sum(r["cells"] for r in results) / len(rows)
    expect(
        cells <= CELLS_PER_ROW[stage],
        f"{name} reads {cells:g} cells a row; {CELLS_PER_ROW[stage]} are the budget. The feed is checked every hour: "
        "say each thing once.",
        evidence=Evidence(
            "cells by expectation", Table.of(["expectation", "cells"], [(r["type"], r["cells"]) for r in results])
        ),
    )


@check("b", "the ingestion suite finds every fault of a landed file and no good row", points=2)
def ingestion_faults(lab: Lab) -> None:
    """Truth: faults planted by this check in fresh rows; the suite is run by Great Expectations in the judge's process."""
    _judge_suite(lab, "ingestion")


@check("b", "the transformation suite finds what only joined rows show", points=1)
def transformation_faults(lab: Lab) -> None:
    """Truth: faults planted by this check; payments that have not come are good."""
    _judge_suite(lab, "transformation")


# -- task b: flow ----------------------------------------------------------------------------------------------------------

PAYLOAD = "file_id varchar, record_no integer, order_id bigint, currency varchar, total_amount decimal(14, 2)"
TABLES = [
    f"create table landing ({PAYLOAD})",
    f"create table orders ({PAYLOAD})",
    f"create table quarantine ({PAYLOAD}, rules varchar)",
]
FIELDS = ("file_id", "record_no", "order_id", "currency", "total_amount")


def _files(lab: Lab) -> tuple[Table, str, list[dict], list[dict], list[dict]]:
    """Two files of nine rows (equal record numbers in both); flags of the first; what comes back mended; what of that
    still fails."""
    rng = lab.rng("flow")
    rows = []
    for file_id, n in (("F1", 9), ("F2", 9)):
        for record_no in range(1, n + 1):
            rows.append(
                (
                    file_id,
                    record_no,
                    int(rng.integers(10**6, 10**7)),
                    "EUR",
                    Decimal(int(rng.integers(100, 9999))) / 100,
                )
            )
    flagged = [
        {"record_no": int(n), "rules": str(rules)}
        for n, rules in zip(sorted(rng.permutation(9)[:3] + 1), ("2", "3,4", "1"), strict=True)
    ]
    back = [flagged[i]["record_no"] for i in sorted(rng.permutation(3)[:2])]
    fixed = [
        {
            "record_no": n,
            "order_id": int(rng.integers(10**6, 10**7)),
            "currency": "USD",
            "total_amount": Decimal(int(rng.integers(100, 9999))) / 100,
        }
        for n in back
    ]
    return Table.of(FIELDS, rows), "F1", flagged, fixed, [{"record_no": back[1], "rules": "4"}]


Rows = tuple[list[tuple], list[tuple]]


@dataclass(frozen=True)
class Flow:
    """Files, the calls that move them (admit twice, release), and the rows of orders and quarantine after one, two and three."""

    landing: Table
    calls: list[tuple[str, list[Any]]]
    one_admitted: Rows
    both_admitted: Rows
    released: Rows


def _flow(lab: Lab) -> Flow:
    landing, file_id, flagged, fixed, still = _files(lab)
    other, other_flags = "F2", [{"record_no": f["record_no"], "rules": "5"} for f in fixed]
    rules = {(file_id, f["record_no"]): f["rules"] for f in flagged}
    rules |= {(other, f["record_no"]): f["rules"] for f in other_flags}
    again = {(file_id, s["record_no"]): s["rules"] for s in still}
    mended = {(file_id, f["record_no"]): (file_id, *(f[k] for k in FIELDS[1:])) for f in fixed}
    mended = {key: row for key, row in mended.items() if key not in again}

    def want(files: tuple[str, ...], released: bool) -> tuple[list[tuple], list[tuple]]:
        rows = [r for r in landing.rows if r[0] in files]
        orders = [r for r in rows if (r[0], r[1]) not in rules]
        held = [(*r, rules[r[0], r[1]]) for r in rows if (r[0], r[1]) in rules]
        if released:
            orders += list(mended.values())
            held = [(*r[:5], again.get((r[0], r[1]), r[5])) for r in held if (r[0], r[1]) not in mended]
        return orders, held

    calls = [("admit", [file_id, flagged]), ("admit", [other, other_flags]), ("release", [file_id, fixed, still])]
    both = (file_id, other)
    return Flow(landing, calls, want((file_id,), False), want(both, False), want(both, True))


def _state(db: Any) -> tuple[Table, Table]:
    return (
        db.rows("select * from orders order by all"),
        db.rows("select * from quarantine order by all"),
    )


def _expect_flow(db: Any, orders: list[tuple], quarantine: list[tuple], when: str) -> None:
    """Fails the check unless the tables hold these rows."""
    got_orders, got_held = _state(db)
    for name, got, want in (("orders", got_orders, orders), ("quarantine", got_held, quarantine)):
        keys = Counter((r[0], r[1]) for r in got.rows)
        wanted = {(r[0], r[1]): r for r in want}
        twice = [k for k, n in keys.items() if n > 1]
        gone = sorted(set(wanted) - set(keys))
        extra = sorted(set(keys) - set(wanted))
        other = [
            r
            for r in got.rows
            if (r[0], r[1]) in wanted and not all(same(a, b) for a, b in zip(r, wanted[r[0], r[1]], strict=True))
        ]
        if not (twice or gone or extra or other):
            continue
        parts = [
            f"{len(rows)} row{'s' * (len(rows) > 1)} {words}"
            for rows, words in (
                (gone, "missing"),
                (extra, "too many"),
                (twice, "more than once"),
                (other, "with other values"),
            )
            if rows
        ]
        misconception = None
        if name == "quarantine" and gone and not twice:
            misconception = "dropped"
        if name == "orders" and gone and len(got_held) > len(quarantine):
            misconception = "whole_file"
        if twice:
            misconception = "not_repeatable"
        raise CheckFailed(
            f"{when}, {name}: {', '.join(parts)}.",
            evidence=[Evidence("orders", got_orders), Evidence("quarantine", got_held)],
            ask="Follow one of these rows through your statements: where was it before, and where after?",
            misconception=misconception,
        )


def _run_killed(lab: Lab, db: Any, name: str, args: list[Any], crash_before: int | None) -> bool:
    """Runs a function, killed before a statement; True when it was."""
    db.arm(crash_before)
    try:
        lab.call(name, db, *args)
    except NotAttempted:
        raise
    except LearnerError as error:
        if error.error_type == "Crash":
            return True
        raise
    return False


@check("b", "no row is lost or doubled on its way through quarantine, killed and run again or not", points=3)
def quarantine_flow(lab: Lab) -> None:
    """Truth: where each row must be; the database is the judge's, and so are the crashes. A second file with
    the same record numbers is on its way too: nothing that is done to the first may touch it."""
    flow = lab.kept("flow", lambda: _flow(lab))
    first, second, release = flow.calls
    for before, (name, args), after, states in (
        ([], first, [second], (flow.one_admitted, flow.both_admitted)),
        ([first, second], release, [first, second], (flow.released, flow.released)),
    ):
        crash: int | None = None
        while True:
            db = lab.database(TABLES, {"landing": flow.landing})
            for earlier, earlier_args in before:
                _run_killed(lab, db, earlier, earlier_args, None)
            killed = _run_killed(lab, db, name, args, crash)
            when = f"After {name}"
            if killed:
                _run_killed(lab, db, name, args, None)
                when = f"After {name} was killed before its statement {crash + 1} and run again"
            _expect_flow(db, *states[0], when)
            if not killed:
                _run_killed(lab, db, name, args, None)
                _expect_flow(db, *states[0], f"After {name} had run twice")
                for later, later_args in after:
                    _run_killed(lab, db, later, later_args, None)
                # A late rerun of admit must not bring back what has left the quarantine.
                late = "admit was run again once rows had been released" if before else "the next file was admitted"
                _expect_flow(db, *states[1], f"After {late}")
            db.close()
            crash = 0 if crash is None else crash + 1
            if crash > MAX_CRASHES or (crash > 0 and not killed):
                break


# -- twelve weeks later ------------------------------------------------------------------------------------------------------


def _weeks(world: World) -> list[dict[tuple[str, str, str], float]]:
    """Cost of each (rule, stage, action) in each week after today."""
    days = [d for (d,) in world.sql("select distinct day_on from truth.dq_future order by 1").rows][::7]
    days.append(days[-1] + timedelta(days=7))
    return [
        _costs(world, FUTURE.replace("group by", f"where day_on >= '{first}' and day_on < '{last}' group by"))
        for first, last in itertools.pairwise(days)
    ]


def twelve_weeks_later(lab: Lab) -> Any:
    """Cumulative cost over the 84 days after today: the learner's policy, today's (all warn), and holding everything back."""
    from workshop.plots import BLUE, GREY, ORANGE, plt

    placed = _placement(lab, lab.world)
    policies = {
        "yours": ({r: (p["stage"], p["action"]) for r, p in placed.items()}, BLUE, "-"),
        "today: all at transformation, all warn": ({r: ("transformation", "warn") for r in placed}, GREY, "--"),
        "hold back everything at transformation": (_hold_all(lab.world), ORANGE, ":"),
    }
    totals: dict[str, list[float]] = {name: [0.0] for name in policies}
    for costs in lab.kept("weeks", lambda: _weeks(lab.world)):
        for name, (policy, _, _) in policies.items():
            totals[name].append(totals[name][-1] + sum(costs[r, s, a] for r, (s, a) in policy.items()) / 1000)
    figure, axes = plt.subplots()
    for name, (_, colour, style) in policies.items():
        axes.plot(
            range(len(totals[name])), totals[name], style, color=colour, label=f"{name}: ${totals[name][-1]:,.0f}k"
        )
    saved = 1 - totals["yours"][-1] / totals["today: all at transformation, all warn"][-1]
    axes.set(
        xlabel="weeks after today",
        ylabel="cost so far (thousand US dollars)",
        title=f"Your placement costs {saved:.0%} less than today's",
    )
    axes.legend()
    return figure
