"""What lab 2.2 judges.

Task b by non-interference: what a role may not use must not change what it gets. What the learner's gateway lets through is run
by the judge on two databases that differ in the values of forbidden columns alone. The attacks (attacks.yaml) and the queries
of honest people (honest.yaml) are data. Task c against a month that is tampered with here (the subject access).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from workshop.checks import CheckFailed, Evidence, LearnerError, as_table, check, expect, read_cases
from workshop.table import Table
from workshop.trusted import JudgedDatabase, Lab, copies_of
from workshop.world.build import history

SUBJECTS = ("access",)
IMPORTS = ("sqlglot", "sqlglot.optimizer.qualify")

HINTS = {
    "a": (
        "Which rows of the needs count today? Which grants are held now, at the beginning of today?",
        "Collect people by role. A person in both roles of a conflict gives up one: which of the two has others who hold it?",
        "The last day of a need counts; a grant's `valid_to_at` does not. Take people out of your collection as you "
        "revoke, so that "
        "the next choice knows.",
    ),
    "b": (
        "Parse, then ask questions of the tree: how many statements, which tables, which kinds of node? Refuse what you do not "
        "know rather than what you know to be bad.",
        "`sqlglot.optimizer.qualify.qualify` with a schema gives each column its table and writes stars out. After it, "
        "`traverse_scope` visits every query within the query, and a scope's `columns` and `sources` say what is used of what.",
        "What is left over after qualifying is suspicious: stars that are no list, columns without a table that no select list "
        "defines (`select c from core.customers c` is a whole row).",
    ),
    "c": (
        "Sort by `seq`, and keep the entry before. The four findings on entries and anchors need nothing else.",
        "In force is the latest version that has begun by then, whatever the log says. Write that function once, for both.",
        "For bypasses go through the engine's queries by `query_id` and remember which entries are used up.",
    ),
}

MISCONCEPTIONS = {
    "too_wide": "To have asked is no right. Who confirmed it, and until when?",
    "too_narrow": "A rule that is narrower than the need ends in a request for a copy.",
    "both_go": "Revoking both roles ends the conflict, and somebody's work.",
    "nobody_left": "A role that nobody holds is granted to the next who asks, in a hurry.",
    "block_list": "A list of forbidden words knows the words. There is always another way to write a column.",
    "select_list": "What stands in a condition, a grouping or an order is learnt one bit at a time.",
    "star": "A star names every column without naming any.",
    "row": "A row as a whole is all of its columns.",
    "unread": "What the parser cannot read the engine can.",
    "refuse_all": "A gateway that refuses everything is taken out of the way in its first week.",
    "altered_answer": "People who get other rows through the gateway than without it will go around it.",
    "word_of_the_log": "The log says which version it decided by. That is what is to be checked.",
    "todays_policy": "What is right today was not always right, and what was allowed in May is judged by May.",
    "no_anchor": "Whoever can write the log can write the digests, too. What did the auditor get in the evening?",
    "only_allowed": "A refusal can be wrong, and is what people go around.",
}

COMPANIES, MONTHS, MOMENTS = 8, 2, 20
ROLE, TRUSTED_ROLE, OPEN = "analyst", "care", ("city", "country", "birth_decade", "birth_year")
ROWS = 60
HERE = Path(__file__).parent
TABLES_CASE = ("core.customers", "raw.crm_contacts", "mart.campaign_responses", "raw.parcel_labels")


# -- task a ------------------------------------------------------------------------------------------------------------


def _companies(lab: Lab) -> list[tuple[list[dict], list[dict], list[dict], date]]:
    def make() -> list[tuple[list[dict], list[dict], list[dict], date]]:
        rng, made = lab.rng("companies"), history("access")
        conflicts = [{"role_a": a, "role_b": b} for a, b in made.CONFLICTS]
        people = list(range(2001, 2061))
        return [
            (made.draw_needs(rng), made.draw_grants(rng, people), conflicts, made.TODAY.date())
            for _ in range(COMPANIES)
        ]

    return lab.kept("companies", make)


def _rights(lab: Lab) -> list[dict[str, list[str]]]:
    """Roles that may use a kind, by kind, in each company."""
    return lab.kept("rights", lambda: [history("access").rules_from(c[0], c[3]) for c in _companies(lab)])


Clash = tuple[int, str, str]


def _duties(lab: Lab) -> list[tuple[set[tuple[int, str]], list[Clash]]]:
    """Of each company what is held now, as (person, role), and who holds both roles of a conflict."""

    def make() -> list[tuple[set[tuple[int, str]], list[Clash]]]:
        found = []
        for _, grants, conflicts, today in _companies(lab):
            now = datetime(today.year, today.month, today.day)
            held = {
                (g["person_id"], g["role"])
                for g in grants
                if g["valid_from_at"] <= now and (g["valid_to_at"] is None or g["valid_to_at"] > now)
            }
            clashes = [
                (p, c["role_a"], c["role_b"])
                for c in conflicts
                for p, r in sorted(held)
                if r == c["role_a"] and (p, c["role_b"]) in held
            ]
            found.append((held, clashes))
        return found

    return lab.kept("duties", make)


def read_access_policy(got: Any) -> tuple[dict[str, set[str]], list[tuple[Any, str]]]:
    """What access_policy returned: roles by kind, and the revocations as (person, role)."""
    what = "What access_policy returns"
    expect(
        isinstance(got, dict) and {"rules", "revoke"} <= set(got),
        f"{what}: a dict with rules and revoke was expected.",
    )
    rules: dict[str, set[str]] = {}
    for row in as_table(got["rules"], f"{what}: rules", ["kind", "roles"]).dicts():
        expect(isinstance(row["roles"], list), f"{what}: roles of {row['kind']} are a list.")
        expect(row["kind"] not in rules, f"{what}: there are two rules for {row['kind']}.")
        rules[str(row["kind"])] = {str(r) for r in row["roles"]}
    revoke = as_table(got["revoke"], f"{what}: revoke", ["person_id", "role"])
    return rules, [(r["person_id"], str(r["role"])) for r in revoke.dicts()]


def _policies(lab: Lab) -> list[tuple[tuple, dict[str, set[str]], list[tuple[Any, str]]]]:
    """For each company: what it is, the learner's roles by kind, and the revocations."""

    def make() -> list[tuple[tuple, dict[str, set[str]], list[tuple[Any, str]]]]:
        found = []
        for company in _companies(lab):
            found.append((company, *read_access_policy(lab.call("access_policy", *company))))
        return found

    return lab.once("policies", make)


@check("a", "each role may use what it needs, and nothing else", points=1)
def needs_are_rules(lab: Lab) -> str:
    """Rules of eight drawn companies against needs that have a basis and hold today."""
    total = 0
    for i, ((company, rules, _), true) in enumerate(zip(_policies(lab), _rights(lab), strict=True)):
        missing = {n["kind"] for n in company[0]} - set(rules)
        expect(
            not missing,
            f"In company {i + 1} there is no rule for {', '.join(sorted(missing))}, which somebody has asked for.",
        )
        rows = []
        for kind, roles in true.items():
            total += len(roles)
            rows += [[kind, role, "may not, and needs it"] for role in sorted(set(roles) - rules.get(kind, set()))]
            rows += [
                [kind, role, "may, without a need that holds"] for role in sorted(rules.get(kind, set()) - set(roles))
            ]
        if rows:
            about = [
                [n[k] for k in ("role", "kind", "purpose", "legal_basis", "valid_until_on")]
                for n in company[0]
                if n["kind"] == rows[0][0]
            ]
            raise CheckFailed(
                f"In company {i + 1} {len(rows)} rights are wrong on {company[3]}: the first is {rows[0][1]} for "
                f"{rows[0][0]}, who {rows[0][2]}.",
                evidence=[
                    Evidence("Rights that are wrong", Table.of(["kind", "role", "what"], rows[:10])),
                    Evidence(
                        f"What was asked of {rows[0][0]}",
                        Table.of(["role", "kind", "purpose", "legal basis", "valid until"], about),
                    ),
                ],
                ask="Which of these rows hold on that day?",
                misconception="too_wide" if any("without" in r[2] for r in rows) else "too_narrow",
            )
    return f"{total} rights of {COMPANIES} companies, none too many."


@check("a", "duties are separated, with the fewest revocations", points=1)
def duties_are_separated(lab: Lab) -> str:
    """Conflicts now; revocations against the number of people in conflict; holders that are left."""
    for i, ((company, _, revoke), (held, clashes)) in enumerate(zip(_policies(lab), _duties(lab), strict=True)):
        grants = company[1]
        people = sorted({p for p, _, _ in clashes})
        shown = Evidence(
            f"Grants of those in conflict (company {i + 1})",
            Table.from_dicts([g for g in grants if g["person_id"] in people]),
        )
        strange = [r for r in revoke if r not in held]
        expect(
            not strange,
            f"In company {i + 1} you revoke {strange[:1] and strange[0]}, which nobody holds now.",
            evidence=shown,
            misconception="both_go",
        )
        left = held - set(revoke)
        still = [c for c in clashes if (c[0], c[1]) in left and (c[0], c[2]) in left]
        expect(
            not still,
            f"In company {i + 1} {len(still)} people hold two roles that nobody may hold together: person "
            f"{still[0][0] if still else ''}, "
            f"{' and '.join(still[0][1:]) if still else ''}.",
            evidence=shown,
            ask="Which grants are held now, and by whom?",
            misconception="nobody_left",
        )
        empty = {r for _, r in held} - {r for _, r in left}
        expect(
            not empty,
            f"In company {i + 1} nobody holds {', '.join(sorted(empty))} any longer.",
            evidence=shown,
            ask="Of the two roles in conflict, which one has others who hold it?",
            misconception="nobody_left",
        )
        expect(
            len(revoke) <= len(people),
            f"In company {i + 1} {len(people)} people are in conflict, and you revoke {len(set(revoke))} grants.",
            evidence=shown,
            misconception="both_go",
        )
    return "Nobody holds two roles in conflict, and no role is without a holder."


# -- task b ------------------------------------------------------------------------------------------------------------


class _Gate:
    """Two databases that differ in what ROLE may not use, the policy, and the suites for this world."""

    def __init__(self, lab: Lab) -> None:
        (self.world,) = lab.worlds(1, subjects=("column_tags",), scale=0.002)
        rng = lab.rng("gate")
        kinds = self.world.sql(
            "select t.table_schema || '.' || t.table_name as name, c.column_name, c.data_type, "
            "max(split_part(g.tag, ':', 2)) filter (g.tag like 'privacy.kind:%') as kind "
            "from ops.tables t join ops.columns c using (asset_id) join ops.column_tags g using (asset_id, column_name) "
            "group by name, c.column_no, c.column_name, c.data_type order by name, c.column_no"
        ).dicts()
        tables: dict[str, dict[str, str | None]] = {}
        for r in kinds:
            tables.setdefault(r["name"], {})[r["column_name"]] = r["kind"]
        others = ["marketing", "fraud", "finance", "engineer"]
        rules = []
        for number, kind in zip(
            rng.permutation(90) + 10, sorted({r["kind"] for r in kinds if r["kind"]}), strict=False
        ):
            roles = [o for o in others if rng.random() < 0.4]
            roles += [ROLE] if kind in OPEN else []
            roles += [TRUSTED_ROLE] if kind != "bank_account" else []
            rules.append({"rule": f"R{number}", "kind": kind, "roles": roles})
        self.policy = {"tables": tables, "rules": rules}
        self.forbidden = [
            r for r in kinds if r["name"] in TABLES_CASE and r["kind"] and r["kind"] not in OPEN
        ]  # columns that ROLE may not use
        spare = [r for r in self.forbidden if r["name"] != "core.customers" and r["data_type"] == "VARCHAR"]
        self.other = spare[int(rng.integers(len(spare)))]
        known = self.world.sql("select email from core.customers order by customer_id limit 1").rows[0][0]
        column = '"' + self.other["column_name"].replace('"', '""') + '"'
        self.fill = {"{known}": known, "{col}": column, "{table}": self.other["name"]}

    def text(self, query: str) -> str:
        for mark, value in self.fill.items():
            query = query.replace(mark, value)
        return query

    def databases(self, lab: Lab) -> tuple[JudgedDatabase, JudgedDatabase]:
        setup = copies_of(TABLES_CASE, ROWS)
        other = []
        for place, r in enumerate(self.forbidden):
            name = '"' + r["column_name"].replace('"', '""') + '"'
            value = (
                "date '1950-01-01' + ((rowid * 37) % 9000)::integer"
                if r["data_type"] == "DATE"
                else f"'z' || chr(97 + (rowid % 11)::integer) || (rowid * 7 % 13) || '@{place}'"
            )
            if r["data_type"] == "BIGINT":
                value = "1900 + rowid % 7"
            other.append(f"update {r['name']} set {name} = case when rowid % 4 = 1 then null else {value} end")
        return lab.database(setup, with_world=self.world), lab.database([*setup, *other], with_world=self.world)


def _gate(lab: Lab) -> _Gate:
    return lab.cached("gate", lambda: _Gate(lab))


def _suite(name: str) -> list[dict[str, Any]]:
    return read_cases(HERE / f"{name}.yaml")


DRAWN = 24
NAMES = ("part", "some", "base", "latest", "one", "found", "total", "place", "these", "rank", "step", "half")
OPEN_COLUMNS = ("city", "country_code", "segment", "loyalty_tier")
CARE_COLUMNS = ("full_name", "email", "phone", "city")


def _drawn_queries(rng: np.random.Generator) -> list[dict[str, Any]]:
    """Honest queries of this world alone: who knows those of the file by heart knows none of them."""

    def one_of(some: Sequence[str], n: int) -> list[str]:
        return [str(x) for x in rng.permutation(np.array(some))[:n]]

    made = []
    for k in range(DRAWN):
        a, b, c = (f"{name}_{rng.integers(1000)}" for name in one_of(NAMES, 3))
        x, y = one_of(OPEN_COLUMNS, 2)
        p, q = one_of(CARE_COLUMNS, 2)
        n, m = int(rng.integers(2, 9)), int(rng.integers(2, 60))
        rest = f"customer_id % {n} = {m % n}"
        day = f"timestamp '{rng.integers(2019, 2025)}-0{rng.integers(1, 10)}-{rng.integers(10, 28)}'"
        shapes = [
            (ROLE, f"select {a}.{x}, {a}.{y} from core.customers {a} where {a}.{rest}"),
            (ROLE, f"select {x} as {a}, count(*) as {b} from core.customers where {rest} group by {x} having count(*) < {m}"),
            (ROLE, f"with {a} as (select customer_id, {x} as {b} from core.customers) "
             f"select {b}, max(customer_id) as {c} from {a} where {rest} group by {b}"),
            (ROLE, f"select {a}.{b} from (select {x} as {b}, registered_at from core.customers where {rest}) {a} "
             f"where {a}.registered_at > {day}"),
            (ROLE, f"select {a}.{x}, {b}.{y} from core.customers {a} join core.customers {b} using (customer_id) "
             f"where {a}.{rest}"),
            (ROLE, f"select customer_id, row_number() over (partition by {x} order by customer_id) as {a} "
             f"from core.customers where {rest}"),
            (TRUSTED_ROLE, f"select {p} as {a}, {q} from core.customers where {rest}"),
            (TRUSTED_ROLE, f"select {a}.* from core.customers {a} where length({a}.{p}) > {m % 12} and {a}.{rest}"),
        ]  # fmt: skip
        role, query = shapes[k % len(shapes)]
        made.append({"role": role, "query": query})
    return made


def _honest_queries(lab: Lab) -> list[dict[str, Any]]:
    return [*_suite("honest"), *_drawn_queries(lab.rng("honest queries"))]


def _answer(lab: Lab, query: str, role: str) -> dict[str, Any]:
    """The learner's decision, checked for its form. What raises is an error of the learner's, told with the query."""
    gate = _gate(lab)
    try:
        got = lab.call("authorize", query, role, gate.policy)
    except LearnerError as error:
        raise LearnerError(
            f"`authorize` raised on a query: {error.message}",
            error_type=error.error_type,
            error_message=error.error_message,
            evidence=[Evidence("The query", text=query), *error.evidence],
        ) from error
    shown = Evidence("The query", text=query)
    expect(
        isinstance(got, dict) and isinstance(got.get("allowed"), bool),
        "`authorize` returns a dict with allowed (True or False).",
        evidence=shown,
    )
    if got["allowed"]:
        expect(isinstance(got.get("sql"), str), "`authorize` allows a query and gives no sql to run.", evidence=shown)
    else:
        expect(isinstance(got.get("rule"), str), "`authorize` refuses a query and names no rule.", evidence=shown)
    return got


def _run(database: JudgedDatabase, sql: str) -> tuple[str, Any]:
    """Rows of a query in their order, or the error that it ended in."""
    try:
        return "rows", [tuple(map(str, r)) for r in database.rows(sql).rows]
    except CheckFailed as failure:
        return "error", failure.message


def _attacked(lab: Lab) -> list[dict[str, Any]]:
    """Each attack with what came of it: refused, harmless (the same on both databases) or leaked (with both results)."""

    def make() -> list[dict[str, Any]]:
        gate = _gate(lab)
        one, two = gate.databases(lab)
        found = []
        for attack in _suite("attacks"):
            query = gate.text(attack["query"])
            got = _answer(lab, query, ROLE)
            outcome: dict[str, Any] = {**attack, "query": query, "outcome": "refused"}
            if got["allowed"]:
                outcome["ran"] = got["sql"]
                if attack["group"] == "refuse":
                    outcome["outcome"] = "leaked"
                else:
                    a, b = _run(one, got["sql"]), _run(two, got["sql"])
                    outcome["outcome"] = "harmless" if a == b else "leaked"
            found.append(outcome)
        one.close()
        two.close()
        return found

    return lab.once("attacked", make)


def _honest(lab: Lab) -> list[dict[str, Any]]:
    """Each honest query with what came of it: allowed (with the rows), refused, or other rows."""

    def make() -> list[dict[str, Any]]:
        gate = _gate(lab)
        one, two = gate.databases(lab)
        two.close()
        asked = _honest_queries(lab)
        true = lab.kept("honest", lambda: [_run(one, q["query"]) for q in asked])
        found = []
        for query, want in zip(asked, true, strict=True):
            got = _answer(lab, query["query"], query["role"])
            outcome = {**query, "outcome": "refused", "said": got.get("rule"), "ran": got.get("sql")}
            if got["allowed"]:
                kind, rows = _run(one, got["sql"])
                ordered = (
                    "order by" in query["query"] and "over" not in query["query"] and "string_agg" not in query["query"]
                )
                same = kind == want[0] == "rows" and (rows == want[1] if ordered else sorted(rows) == sorted(want[1]))
                outcome["outcome"] = "allowed" if same else "other rows"
            found.append(outcome)
        one.close()
        return found

    return lab.once("honest asked", make)


def _expect_closed(lab: Lab, group: str, words: str) -> str:
    honest = _honest(lab)
    passed = sum(q["outcome"] == "allowed" for q in honest)
    drawn = sum(q["outcome"] == "allowed" for q in honest[-DRAWN:])
    expect(
        2 * passed >= len(honest) and 2 * drawn >= DRAWN,
        f"Of {len(honest)} queries of honest people {passed} get their rows, and of the {DRAWN} of them that are drawn "
        f"anew for each world, {drawn}. Attacks are judged once half of them do: to refuse everything protects nobody.",
        misconception="refuse_all",
    )
    mine = [a for a in _attacked(lab) if a["group"] == group]
    leaked = [a for a in mine if a["outcome"] == "leaked"]
    first = leaked[0] if leaked else None
    expect(
        not leaked,
        f"{len(leaked)} of {len(mine)} {words} get through, "
        f"{', '.join(a['name'] for a in leaked[:6])}{' and others' if leaked[6:] else ''}: "
        + (
            "these must be refused, whatever comes of them."
            if group == "refuse"
            else f"what {ROLE} gets depends on what {ROLE} may not see."
        ),
        evidence=[
            Evidence(
                f"The attack “{first['name']}”, to learn: {first['leaks']}" if first else "",
                text=first["query"] if first else "",
            ),
            Evidence("What your gateway lets run", text=str(first.get("ran"))[:1500] if first else ""),
        ],
        ask="What in the tree of this query shows that a forbidden column is used?",
        misconception=_why(leaked),
    )
    harmless = sum(a["outcome"] == "harmless" for a in mine)
    return f"{len(mine)} {words}: {len(mine) - harmless} refused" + (
        f", {harmless} let through and harmless." if harmless else "."
    )


def _why(leaked: Sequence[Mapping[str, Any]]) -> str:
    names = {a["name"] for a in leaked}
    if any("row" in n for n in names) and not any("star" in n for n in names):
        return "row"
    if {"where", "order by", "group by", "exists"} & names and not {"plain", "alias"} & names:
        return "select_list"
    if {"star", "table star", "star exclude"} & names:
        return "star"
    return "unread" if {"explain", "broken", "prepare"} & names else "block_list"


@check("b", "attacks in plain SQL learn nothing", points=2)
def plain_attacks(lab: Lab) -> str:
    """Non-interference on the group plain of attacks.yaml."""
    return _expect_closed(lab, "plain", "attacks in plain SQL")


@check("b", "attacks in DuckDB's own SQL learn nothing", points=1)
def own_attacks(lab: Lab) -> str:
    """Non-interference on the group duckdb."""
    return _expect_closed(lab, "duckdb", "attacks in DuckDB's own SQL")


@check("b", "what is no query on the policy's tables is refused", points=0.5)
def others_refused(lab: Lab) -> str:
    """The group refuse: statements, files, catalogues, functions of tables."""
    return _expect_closed(lab, "refuse", "statements that are no query on the policy's tables")


@check("b", "honest people get their rows", points=1)
def honest_served(lab: Lab) -> str:
    """Forty-two queries, through the gateway and without it."""
    open_doors = sum(a["outcome"] != "leaked" for a in _attacked(lab))
    expect(
        2 * open_doors >= len(_attacked(lab)),
        f"Of {len(_attacked(lab))} attacks {open_doors} are stopped. Honest queries are judged once half of them are.",
        misconception="block_list",
    )
    honest = _honest(lab)
    bad = [q for q in honest if q["outcome"] != "allowed"]
    expect(
        not bad,
        f"{len(bad)} of {len(honest)} queries of honest people do not give the rows that they give without the "
        f"gateway: {sum(q['outcome'] == 'refused' for q in bad)} "
        f"refused, {sum(q['outcome'] == 'other rows' for q in bad)} with other rows or an error.",
        evidence=Evidence(
            "Queries that are not served",
            Table.of(
                ["role", "query", "what came of it", "said", "ran"],
                [[q["role"], q["query"], q["outcome"], q["said"], str(q["ran"])[:300]] for q in bad[:6]],
            ),
        ),
        ask="What does your gateway take this query for?",
        misconception="refuse_all" if bad and bad[0]["outcome"] == "refused" else "altered_answer",
    )
    return f"{len(honest)} honest queries served."


@check("b", "a refusal names the rule", points=0.5)
def rule_is_named(lab: Lab) -> str:
    """One simple query for each forbidden column of four tables."""
    gate = _gate(lab)
    rules = {r["kind"]: r["rule"] for r in gate.policy["rules"]}
    rows, total = [], 0
    for r in gate.forbidden:
        column = '"' + r["column_name"].replace('"', '""') + '"'
        query = f"select count({column}) from {r['name']}"
        got = _answer(lab, query, ROLE)
        total += 1
        if got["allowed"] or got.get("rule") != rules[r["kind"]]:
            rows.append([query, r["kind"], rules[r["kind"]], "allowed" if got["allowed"] else got["rule"]])
    expect(
        len(rows) <= 0.1 * total,
        f"Of {total} simple queries that a rule forbids to {ROLE}, {len(rows)} are allowed or refused by another "
        f"name. Whoever is refused asks for "
        "the rule, and the auditor counts by it.",
        evidence=Evidence("Refusals", Table.of(["query", "kind", "rule", "yours"], rows[:8])),
        ask="From which column of the query does the rule follow?",
    )
    return f"{total - len(rows)} of {total} refusals name their rule."


# -- task c ------------------------------------------------------------------------------------------------------------


def _months(lab: Lab) -> list[dict[str, Any]]:
    def make() -> list[dict[str, Any]]:
        rng = lab.rng("months")
        found = []
        for _ in range(MONTHS):
            month = history("access").draw_log(rng)
            for name in ("log", "engine", "anchors", "versions"):
                month[name] = [month[name][k] for k in rng.permutation(len(month[name]))]
            found.append(month)
        return found

    return lab.kept("months", make)


def _audited(lab: Lab) -> list[tuple[dict[str, Any], set[tuple[str, str]]]]:
    def make() -> list[tuple[dict[str, Any], set[tuple[str, str]]]]:
        found = []
        for month in _months(lab):
            got = lab.call("audit", month["log"], month["versions"], month["engine"], month["anchors"])
            rows = as_table(got, "What audit returns", ["finding", "id"]).dicts()
            mine = set()
            for row in rows:
                expect(
                    row["finding"] in FINDINGS,
                    f"What audit returns: {row['finding']!r} is no finding; there are {', '.join(FINDINGS)}.",
                )
                mine.add((str(row["finding"]), _id(row["id"])))
            found.append((month, mine))
        return found

    return lab.once("audited", make)


FINDINGS = ("altered", "gap", "anchor", "wrong decision", "bypass")


def _id(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)[:10] if isinstance(value, date) else str(value).split(" ")[0].split("T")[0]


def _expect_found(lab: Lab, kinds: Sequence[str], why: Mapping[str, str]) -> str:
    total = 0
    for i, (month, mine) in enumerate(_audited(lab)):
        true = {f for f in month["findings"] if f[0] in kinds}
        got = {f for f in mine if f[0] in kinds}
        total += len(true)
        missed, false = sorted(true - got), sorted(got - true)
        wrong = missed + false
        expect(
            not wrong,
            f"In month {i + 1} of {len(true)} findings ({', '.join(kinds)}) you miss {len(missed)} and report "
            f"{len(false)} that are none.",
            evidence=lambda wrong=wrong, missed=missed, month=month: _about(month, wrong, missed),
            ask="Which line of the definition does the first one meet, or fail to?",
            misconception=why.get(wrong[0][0]) if wrong else None,
        )
    return f"{total} findings, no false one."


def _about(
    month: Mapping[str, Any], wrong: Sequence[tuple[str, str]], missed: Sequence[tuple[str, str]]
) -> list[Evidence]:
    shown = [
        Evidence(
            "Findings",
            Table.of(["finding", "id", "what"], [[*f, "missed" if f in missed else "none"] for f in wrong[:8]]),
        )
    ]
    finding, number = wrong[0]
    if finding in ("altered", "gap", "wrong decision"):
        near = [e for e in sorted(month["log"], key=lambda e: e["seq"]) if abs(e["seq"] - int(number)) <= 2]
        cut = [
            {
                **e,
                "kinds": ", ".join(e["kinds"]),
                "previous_hash": e["previous_hash"][:8],
                "entry_hash": e["entry_hash"][:8],
            }
            for e in near
        ]
        shown.append(Evidence(f"Entries around {number}", Table.from_dicts(cut)))
    return shown


@check("c", "what was tampered with is found", points=1)
def tampering_is_found(lab: Lab) -> str:
    """altered, gap and anchor, on two drawn months."""
    return _expect_found(lab, ("altered", "gap", "anchor"), {"anchor": "no_anchor", "altered": "word_of_the_log"})


@check("c", "wrong decisions and bypasses are found", points=1)
def wrongs_are_found(lab: Lab) -> str:
    """wrong decision and bypass, on the same months."""
    todays = "todays_policy"
    return _expect_found(lab, ("wrong decision", "bypass"), {"wrong decision": todays, "bypass": "only_allowed"})


def _moments(lab: Lab) -> list[tuple[int, str, datetime, set[int]]]:
    """The number of a month, a kind, a moment, and who could see that kind then."""
    made = history("access")

    def make() -> list[tuple[int, str, datetime, set[int]]]:
        rng = lab.rng("moments")
        found = []
        for number, month in enumerate(_months(lab)):
            changes = [v["valid_from_at"] for v in month["versions"]][1:] + [
                g[k] for g in month["grants"] for k in ("valid_from_at", "valid_to_at") if g[k] is not None
            ]
            for n in range(MOMENTS // MONTHS):
                kind = made.KINDS[int(rng.integers(len(made.KINDS)))]
                at = made.TODAY - timedelta(minutes=int(rng.integers(1, 200_000)))
                ended = [
                    g
                    for g in month["grants"]
                    if g["valid_to_at"] and g["role"] in made.USERS and g["valid_to_at"] <= made.TODAY
                ]
                if n % 4 == 0 and ended:  # the very moment at which somebody could no longer
                    grant = ended[int(rng.integers(len(ended)))]
                    at = grant["valid_to_at"]
                    rules = made.in_force(month["versions"], at)["rules"]
                    open_kinds = [k for k, r in rules.items() if grant["role"] in r]
                    kind = open_kinds[int(rng.integers(len(open_kinds)))] if open_kinds else kind
                if n % 2:
                    later = [c for c in changes if made.TODAY - timedelta(days=380) < c <= made.TODAY]
                    at = later[int(rng.integers(len(later)))]
                roles = made.in_force(month["versions"], at)["rules"].get(kind, [])
                seers = {
                    g["person_id"]
                    for g in month["grants"]
                    if g["role"] in roles
                    and g["valid_from_at"] <= at
                    and (g["valid_to_at"] is None or g["valid_to_at"] > at)
                }
                found.append((number, kind, at, seers))
        return found

    return lab.kept("moments", make)


@check("c", "who could see what, at any moment", points=1)
def seers_are_known(lab: Lab) -> str:
    """Twenty moments of two months, those of changes included."""
    for number, kind, at, want in _moments(lab):
        month = _months(lab)[number]
        got = lab.call("could_see", kind, at, month["grants"], month["versions"])
        expect(isinstance(got, list | tuple | set), "could_see returns a list of person_id.")
        wrong = [[p, "not named"] for p in sorted(want - set(got))] + [
            [p, "could not"] for p in sorted(set(got) - want, key=str)
        ]
        expect(
            not wrong,
            f"Of those who could see {kind} at {at} you name {len(set(got) & want)} of {len(want)}, and "
            f"{len(set(got) - want)} who could not.",
            evidence=Evidence("People", Table.of(["person", "what"], wrong[:10])),
            ask="Which version was in force at that moment, and which grants were held, to the second?",
            misconception="todays_policy",
        )
    return f"{MOMENTS} moments right."


# -- twelve weeks later --------------------------------------------------------------------------------------------------


def _by_words(query: str) -> bool:
    """A block-list, as it is run in many places."""
    return not any(w in query for w in ("email", "phone", "full_name", "birth_on", "postcode"))


def _by_select_list(query: str) -> bool:
    """Looks at the outermost select list only."""
    import sqlglot
    from sqlglot import exp

    try:
        tree = sqlglot.parse_one(query, dialect="duckdb")
    except sqlglot.errors.SqlglotError:
        return True
    names = {c.name.lower() for e in getattr(tree, "selects", []) for c in e.find_all(exp.Column)}
    return not names & {"email", "phone", "full_name", "birth_on", "postcode"}


GROUPS = {"plain": "plain SQL", "duckdb": "DuckDB's SQL", "refuse": "no query"}


def _let_through(lab: Lab) -> dict[str, list[int]]:
    """Attacks of each group that two usual gateways let through."""

    def make() -> dict[str, list[int]]:
        gate = _gate(lab)
        one, two = gate.databases(lab)
        counts = {}
        for name, lets in (("forbidden words", _by_words), ("select list", _by_select_list)):
            through = dict.fromkeys(GROUPS, 0)
            for attack in _suite("attacks"):
                query = gate.text(attack["query"])
                if lets(query) and (attack["group"] == "refuse" or _run(one, query) != _run(two, query)):
                    through[attack["group"]] += 1
            counts[name] = list(through.values())
        one.close()
        two.close()
        return counts

    return lab.kept("let through", make)


def twelve_weeks_later(lab: Lab) -> Any:
    """Attacks that get through: a list of forbidden words, a look at the select list, and the learner's gateway."""
    from workshop.plots import BLUE, GREY, ORANGE, plt

    counts = dict(_let_through(lab))
    try:
        counts["yours"] = [sum(a["outcome"] == "leaked" for a in _attacked(lab) if a["group"] == g) for g in GROUPS]
    except CheckFailed:
        counts["yours (not done)"] = [0, 0, 0]
    figure, ax = plt.subplots(figsize=(7.4, 2.8))
    for k, ((name, through), colour) in enumerate(zip(counts.items(), (GREY, ORANGE, BLUE), strict=True)):
        bars = ax.bar([x + 0.27 * (k - 1) for x in range(3)], through, 0.25, color=colour, label=name)
        ax.bar_label(bars, fontsize=8)
    ax.set_xticks(range(3), list(GROUPS.values()))
    ax.set(ylabel="attacks that get through", ylim=(0, 1.25 * max(max(v) for v in counts.values()) + 1))
    mine = sum(list(counts.values())[2])
    ax.set_title(
        f"Forbidden words let {sum(counts['forbidden words'])} attacks through, a look at the select list "
        f"{sum(counts['select list'])}, yours {mine}",
        fontsize=10,
    )
    ax.legend(fontsize=8, ncols=3, loc="upper right")
    plt.close(figure)
    return figure
