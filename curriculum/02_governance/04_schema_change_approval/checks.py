"""What lab 2.4 judges.

Task a. Elements of fresh changes; the class of each is found by running readers on a small table before the change, after it, and
on a copy that uses what the change permits.

Task b. Two fresh stacks of models with consumers, on a small copy of this world's core tables. Each change is applied there, and
every consumer's query is run before and after: who fails or gets something else is hit.

Task c. The learner's policy is taken through a fresh year of changes at each of four companies.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import duckdb
import numpy as np

from workshop.checks import CheckFailed, Evidence, LearnerError, as_number, check, expect
from workshop.schema_change import (
    ADDITIVE,
    BREAKING,
    CARE,
    CLASSES,
    COLLEAGUE,
    EVERY_TEAM,
    HARMS,
    INTEGERS,
    NOBODY,
    ON_CALL,
    ONE_TEAM,
    Query,
    Warehouse,
    answer,
    change_table,
    consumers_of,
    decimal_parts,
    is_hit,
    literal,
    replay,
)
from workshop.table import Table
from workshop.trusted import Lab
from workshop.world.build import history

SUBJECTS = ("schema_changes",)
NEEDLESS_SHARE = 0.15

HINTS = {
    "a": (
        "For each kind ask two questions. Does a row that stands today look different afterwards, or is it gone? Can a row "
        "be written now that could not be written before?",
        "The fields tell: `keeps_old`, `keeps_view`, `null_rows`, `rows`, `rows_outside`, `duplicate_rows`. Where they say that "
        "nothing that stands is touched, and the rule got stricter, no reader sees anything.",
        "Types: does the new type hold each value of the old one, as the same number? Look at the lowest and the highest "
        "integer, and at the digits before the point and after it by themselves. If so: care. If not: breaking.",
    ),
    "b": (
        "Two sets: tables that are seen changed as a whole, and single columns. Each element puts something into one of them or "
        "into both. Then follow the edges from each until nothing new comes.",
        "A column that is gone or has another name: each model that reads it cannot be built, and is changed as a whole. So is "
        "a table whose rows become more or fewer. From whole tables follow the edges of level table, from columns those of level "
        "column, DIRECT and INDIRECT.",
        "A consumer is hit if one of its queries reads a table of the first set or a column of the second. Return the owners, "
        "without `change['team_id']`. Elements that are additive put nothing anywhere.",
    ),
    "c": (
        "An approval must live from the first answer until the release. How many days may lie between?",
        "valid_days: not less than answer_days of that class plus release_days, not more than answer_days plus its freeze_days.",
        "Emergency: is a colleague there within emergency_minutes less rollout_minutes? review_days: when is the review done at "
        "the earliest, and when must it be done so that there is time for the correction?",
    ),
}
MISCONCEPTIONS = {
    "types": "A wider type changes nothing today. On the day of the first larger value, readers that have room for the old range "
    "fail. And a narrower one, or another kind of value, is seen at once.",
    "renames": "The old name is gone for whoever uses it, unless it is kept beside the new one.",
    "nulls": "A null where none was: joins lose rows, NOT IN finds nothing, sums shrink. Nobody sees it before there is one.",
    "values": "A list of cases that was complete is not any more.",
    "duplicates": "A join on what was unique gives each row once. On what was unique once, more often.",
    "ranges": "Which side was loosened, which one tightened, and does anything stand outside?",
    "whole": "A model that names a column which is gone gives no other column either.",
    "direct_only": "Most consumers do not read the table: they read what is made of it.",
    "last_week": "Who reads once a quarter is not in the log of this week, and reads all the same.",
    "everybody": "Who is asked about everything says yes to everything.",
    "own_team": "Nobody approves the own change.",
    "tables": "To read a table is not to read each column of it. Follow the column.",
    "not asked": "One yes does not speak for the other teams.",
    "own consent": "Somebody who writes a change and may approve it has no need of anybody.",
    "other diff": "Who approved has read that diff. Another one has another digest.",
    "stale": "A yes is about what a team does with the table at that time. It must not count longer than that.",
    "held up": "What no reader can see needs no reader's yes.",
    "stuck": "The first yes waits for the last one, and both for the release.",
    "late": "Minutes to find somebody come before minutes to roll out.",
    "woken": "Who is woken for what could have been done without, is slower the next time.",
    "alone": "In a hurry a second pair of eyes is worth most.",
    "not reviewed": "Who was hit and not asked must at least be told, and look.",
    "reviewed late": "What a review finds must be put right before the report is published.",
    "rolled back": "A deadline that nobody can keep takes the repair away again.",
}

TIMES_EACH = 2  # elements of each variant; twice as many where a type really holds more
WIDER = ("widen integer", "widen decimal", "refine decimal")
RIGHT_SHARE = 0.9
COMPANIES = 4


# -- task a ------------------------------------------------------------------------------------------------------------


PROBED = "probed"
ROWS = 12
VALUES: dict[str, Callable[[int], str]] = {
    "VARCHAR": lambda i: f"'v{i % 4}'",
    "DATE": lambda i: f"date '2026-03-01' + {i}",
    "TIMESTAMP": lambda i: f"timestamp '2026-03-01 07:30:00' + interval {i * 31} hour",
    "BOOLEAN": lambda i: "true" if i % 2 else "false",
}


def classes_by_readers(elements: Iterable[Mapping[str, Any]]) -> list[str]:
    """The class of each element, found by running readers on a table of twelve rows that fits it: before, after, and on a copy
    that uses what the change permits."""
    con = duckdb.connect(":memory:", config={"threads": "1"})
    try:
        return [_effect(con, e) for e in elements]
    finally:
        con.close()


def _effect(con: duckdb.DuckDBPyConnection, e: Mapping[str, Any]) -> str:
    readers = _readers(e)
    states = []
    for stress in (None, False, True):
        _probed_table(con, e)
        if stress is not None:
            change_table(con, PROBED, e, stress)
        states.append([answer(con, sql) for sql in readers])
        con.execute(f"drop table if exists {PROBED}")
    before, after, stressed = states
    if any(is_hit(a, b, True) for a, b in zip(before, after, strict=True)):
        return BREAKING
    return CARE if any(is_hit(a, b, True) for a, b in zip(before, stressed, strict=True)) else ADDITIVE


def _column_of(e: Mapping[str, Any]) -> tuple[str, str]:
    """Name and type of the column that an element is about."""
    of = e.get("old_type") or e.get("type")
    if of is None or e["kind"] == "add_column":
        of = "INTEGER" if e["kind"] == "change_range" else "VARCHAR"
    if e["kind"] in ("change_values", "forbid_nulls"):
        of = e["type"]
    name = (
        "other_column"
        if e["kind"] == "add_column"
        else e.get("column") or (e.get("columns") or e.get("order") or ["some_column"])[0]
    )
    return name, of


def _probed_table(con: duckdb.DuckDBPyConnection, e: Mapping[str, Any]) -> None:
    if e["kind"] == "reorder_columns":
        values = ", ".join("(" + ", ".join(f"'{c}{i}'" for c in sorted(e["order"])) + ")" for i in range(ROWS))
        con.execute(f"create table {PROBED} as from (values {values}) t ({', '.join(sorted(e['order']))})")
        return
    name, of = _column_of(e)
    rows = []
    for i in range(ROWS):
        value = VALUES[of](i) if of in VALUES else str(i + 1 if of in INTEGERS else f"{i + 1}.27")
        if (parts := decimal_parts(of)) and parts[1] > 2:
            value = f"{i + 1}." + "1234567890"[: parts[1]]
        if e["kind"] == "change_type" and i in (5, 9):  # the whole range, all digits
            if of in INTEGERS:
                value = str(INTEGERS[of][i == 5])
            elif parts:
                value = "-" * (i == 9) + "9" * parts[0] + "." + "9" * parts[1]
        if e["kind"] == "change_range":
            lows = [v for v in (e["old_low"], e["new_low"]) if v is not None]
            value = str((max(lows) if lows else e["new_high"] - 20) + 1 + i % 3)
            if e["rows_outside"] and i == 4:
                outside = e["new_low"] - 1 if e["new_low"] is not None else e["new_high"] + 1
                value = str(outside)
        if (e["kind"] == "forbid_nulls" and e["null_rows"] and i in (2, 7)) or (
            e["kind"] == "change_default" and i == 2
        ):
            value = "null"
        if e["kind"] == "remove_value" and e["rows"] and i % 5 == 0:
            value = literal(e["value"])
        if e["kind"] in ("add_unique", "drop_unique"):
            value = f"'k{3 if e['kind'] == 'add_unique' and e['duplicate_rows'] and i == 4 else i}'"
        other = 3 if i == 4 and e["kind"] == "add_unique" and e["duplicate_rows"] else i  # the row that it repeats
        rows.append(f"({i}, ({value})::{of}, {other % 3 + 1})")
    others = [c for c in e.get("columns", ()) if c != name] or ["another_column"]
    con.execute(f"create or replace table {PROBED} as from (values {', '.join(rows)}) t (row_id, {name}, {others[0]})")


def _readers(e: Mapping[str, Any]) -> list[str]:
    name, of = _column_of(e)
    found = [
        f"select * from {PROBED}",
        f"select {name} from {PROBED}",
        f"select count(*) as n from {PROBED}",
        f"select {name}, count(*) as n from {PROBED} group by {name}",
        f"select count(*) as n from {PROBED} a join {PROBED} b using ({name})",
    ]
    if of in INTEGERS or decimal_parts(of):
        found.append(f"select sum({name}) as total from {PROBED}")
    return found


@dataclass(frozen=True)
class Diff:
    """Elements of one change with their classes and the variants that they are drawn from."""

    elements: list[dict[str, Any]]
    classes: list[str]
    variants: list[str]


def _core_types(lab: Lab) -> dict[str, dict[str, str]]:
    def make() -> dict[str, dict[str, str]]:
        return {
            f"core.{t}": {str(r[0]): str(r[1]) for r in lab.world.sql(f"describe core.{t}").rows}
            for t in history("models").CORE
        }

    return lab.kept("core types", make)


def _diffs(lab: Lab) -> list[Diff]:
    """Fresh changes with each variant of an element in them; their classes by running readers."""

    def make() -> list[Diff]:
        drawn = history("schema_changes")
        rng, core = lab.rng("diffs"), _core_types(lab)
        found: list[tuple[str, dict[str, Any]]] = []
        for variant in drawn.VARIANTS:
            made = 0
            while made < TIMES_EACH * (1 + (variant in WIDER)):
                table = str(rng.choice(list(core)))
                e = drawn.draw_element(rng, variant, table, drawn.retyped(rng, core[table]))
                if e:
                    found.append((variant, e))
                    made += 1
        found = [found[i] for i in rng.permutation(len(found))]
        classes = classes_by_readers(e for _, e in found)
        diffs, at = [], 0
        while at < len(found):
            upto = at + int(rng.integers(1, 6))
            some = found[at:upto]
            diffs.append(Diff([e for _, e in some], classes[at:upto], [v for v, _ in some]))
            at = upto
        return diffs

    return lab.kept("diffs", make)


def _said(lab: Lab) -> list[tuple[dict[str, Any], str, str, str]]:
    """(element, variant, true class, class that the learner's function gives)."""

    def make() -> list[tuple[dict[str, Any], str, str, str]]:
        found = []
        for diff in _diffs(lab):
            got = lab.call("classify", diff.elements)
            if isinstance(got, Table) and len(got.columns) == 1:
                got = [row[0] for row in got.rows]
            kinds = ", ".join(e["kind"] for e in diff.elements)
            expect(
                isinstance(got, list | tuple) and len(got) == len(diff.elements),
                f"`classify` of a diff with {len(diff.elements)} elements ({kinds}) gave {str(got)[:200]}: a list with one "
                "class for each element, in their order, is expected.",
            )
            for e, variant, true, mine in zip(diff.elements, diff.variants, diff.classes, got, strict=True):
                expect(
                    mine in CLASSES,
                    f"`classify` says {mine!r} of an element of kind {e['kind']}; the classes are {', '.join(CLASSES)}.",
                )
                found.append((e, variant, true, mine))
        return found

    return lab.once("said", make)


WORDS = {
    "change_type": "types",
    "rename_column": "renames",
    "allow_nulls": "nulls",
    "forbid_nulls": "nulls",
    "add_value": "values",
    "drop_unique": "duplicates",
    "change_range": "ranges",
}


def _class_check(lab: Lab, cls: str, why: str) -> str:
    said = _said(lab)
    right = sum(true == mine for _, _, true, mine in said)
    of_kinds = Counter(e["kind"] for e, _, true, mine in said if true != mine)
    expect(
        right >= RIGHT_SHARE * len(said),
        f"`classify` is right about {right} of {len(said)} elements; wrong most often: "
        f"{', '.join(f'{k} {n}' for k, n in of_kinds.most_common(4))}. A single class is judged once it is right about nine in "
        "ten: one answer for everything would find all of that class.",
        misconception=WORDS.get(of_kinds.most_common(1)[0][0]) if of_kinds and len({m for *_, m in said}) > 1 else None,
    )
    of = [s for s in said if s[2] == cls]
    wrong = [s for s in of if s[3] != cls]
    kinds = Counter(e["kind"] for e, *_ in wrong)
    first = wrong[0] if wrong else None
    expect(
        not wrong,
        f"Of {len(of)} elements that are {cls}, {len(wrong)} are called something else"
        f" ({', '.join(f'{k} {n}' for k, n in kinds.most_common(4))}). {why}",
        evidence=lambda: Evidence(
            "elements", Table.of(["element", "class", "yours"], [(str(e), t, m) for e, _, t, m in wrong[:6]])
        ),
        ask="Write down twelve rows that fit the first of them. What does a reader get before the change, after it, and when "
        "somebody uses what it permits?",
        misconception=WORDS.get(first[0]["kind"]) if first else None,
    )
    return f"All {len(of)} elements that are {cls} are found."


@check("a", "what breaks readers is called breaking", points=1.5)
def breaking_is_found(lab: Lab) -> str:
    """Truth: readers run before and after on rows that stand."""
    return _class_check(lab, BREAKING, "Their readers fail, or get something else, on the day of the change.")


@check("a", "what may break readers one day needs care", points=1.25)
def care_is_found(lab: Lab) -> str:
    """Truth: readers run on a copy that uses what the change permits."""
    return _class_check(
        lab, CARE, "Today nobody sees it; with the first row that the old schema did not permit, readers do."
    )


@check("a", "what no reader can see is additive", points=0.75)
def additive_is_found(lab: Lab) -> str:
    """Truth: readers see no difference, neither on rows that stand nor on a stress copy."""
    return _class_check(
        lab, ADDITIVE, "No reader sees anything of it, and authors would wait for approvals all the same."
    )


# -- task b ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A change, and the truth: consumers that are hit, each with a query, and the teams that must approve. ``seen``: the teams to
    which an edge leads; ``why``: by team that must approve, words and misconception for one that is left out."""

    change: dict[str, Any]
    hit: dict[int, str]
    teams: frozenset[int]
    seen: frozenset[int] = frozenset()
    why: dict[int, tuple[str, str | None]] = field(default_factory=dict)


@dataclass(frozen=True)
class Estate:
    """A fresh stack of models with consumers, and changes to it."""

    lineage: list[dict[str, Any]]
    consumers: list[dict[str, Any]]
    cases: list[Case]


# Elements that nobody sees, alone or beside others: one of each kind in every warehouse.
DECOYS = ("add column", "rename keeping", "change default", "reorder", "forbid nulls", "remove unused value", "tighten range",
          "add unique", "rename table keeping")  # fmt: skip
# Variants that a change is built on, with the layers of the table that it changes, and what stands beside it, if not by chance.
# Each is drawn for each stack.
SLOTS = (
    ("drop column", "core", None),
    ("drop column", "staging", None),
    ("change values", "intermediate", "reorder"),
    ("rename", "core", None),
    ("rename", "intermediate", None),
    ("allow nulls", "intermediate", "add column"),
    ("change values", "core", None),
    ("change values", "staging", "remove unused value"),
    ("change values", "mart", None),
    ("add value", "core", "change default"),
    ("remove value", "core", "rename table keeping"),
    ("allow nulls", "staging", None),
    ("allow nulls", "core", "tighten range"),
    ("widen integer", "core", "add unique"),
    ("widen decimal", "core", "forbid nulls"),
    ("drop unique", "core", None),
    ("cut range", "core", None),
    ("rename table", "intermediate", None),
    ("additive", "core", None),
    ("loosen range", "core", "rename keeping"),
    ("fill nulls", "core", None),
    ("drop table", "staging", None),
    ("add unique deleting", "core", None),
    ("two that are seen", "core", None),
)
# Of these the change in core hits teams that no DIRECT edge leads to.
BY_CONDITION = ("change values", "allow nulls", "add value", "remove value", "widen integer")
# Of the teams that are reached so many see it at least, else 3 in 4: few rows are others.
SEEN_SHARE = {"fill nulls": 0.2, "remove value": 0.3}
YEARLY = 4  # consumers that have not run for long
NAMES_GO = ("drop_column", "rename_column")
ROWS_CHANGE = ("drop_table", "rename_table", "drop_unique", "add_unique")

# In core these are drawn so that they hit teams whom a change of the column's values would not.
GO_FURTHER = ("drop column", "rename", "drop unique", "cut range")


def _as_values(change: dict[str, Any]) -> dict[str, Any]:
    """The change as if it touched nothing but values of its columns."""
    elements = [
        {"kind": "change_values", "column": c, "class": e["class"]}
        for e in change["elements"]
        for c in e.get("columns", [e.get("column")])
    ]
    return {**change, "elements": elements}


def reached_by_lineage(
    change: dict[str, Any], lineage: Sequence[dict[str, Any]]
) -> tuple[set[str], set[tuple[str, str]]]:
    """Whole tables, and columns, at which a change is seen, by lineage."""
    table = change["table"]
    whole: set[str] = set()
    columns: set[tuple[str, str]] = set()
    for e in change["elements"]:
        if e["class"] == ADDITIVE:
            continue
        if e["kind"] in ROWS_CHANGE or (e["kind"] == "change_range" and e["rows_outside"]):
            whole.add(table)
            continue
        columns.add((table, e["column"]))
        if e["kind"] in NAMES_GO:
            whole |= {
                x["output_table"]
                for x in lineage
                if x["level"] == "column" and (x["input_table"], x["input_column"]) == (table, e["column"])
            }
    onwards: dict[Any, list[Any]] = {}
    for x in lineage:
        if x["level"] == "table":
            onwards.setdefault(x["input_table"], []).append(x["output_table"])
        else:
            onwards.setdefault((x["input_table"], x["input_column"]), []).append(
                (x["output_table"], x["output_column"])
            )
    todo: list[Any] = [*whole, *columns]
    while todo:
        for there in onwards.get(todo.pop(), ()):
            found = whole if isinstance(there, str) else columns
            if there not in found:
                found.add(there)
                todo.append(there)
    return whole, columns


def readers_of(whole: set[str], columns: set[tuple[str, str]], consumers: Sequence[dict[str, Any]]) -> set[int]:
    """Consumers with a query that reads one of the tables or columns."""
    return {
        c["consumer_id"]
        for c in consumers
        for q in c["queries"]
        if set(q["tables"]) & whole or {tuple(x) for x in q["columns"]} & columns
    }


def _clean_stack(models: Any, seed: bytes) -> Any:
    """A stack whose models name each column that they read or leave out: in ``select * exclude (x)`` x is named, and no edge says
    so."""
    stack = models.make_stack(seed)
    for table in list(stack.versions):
        layout = 0
        while "exclude (" in stack.versions[table].sql.replace("exclude (place_no)", ""):
            layout += 1
            stack.versions[table] = stack.make(table, layout)
    return stack


def _estates(lab: Lab) -> list[Estate]:
    def make() -> list[Estate]:
        return [_some_estate(lab, lab.rng(f"estate {k}")) for k in range(2)]

    return lab.kept("estates", make)


def _some_estate(lab: Lab, rng: np.random.Generator) -> Estate:
    """An estate in which all that is wanted can be drawn: now and then a stack has no such column."""
    for _ in range(8):
        try:
            return _estate(lab, rng)
        except LookupError:
            continue
    return _estate(lab, rng)


def _estate(lab: Lab, rng: np.random.Generator) -> Estate:
    models, core = history("models"), _core_types(lab)
    stack = _clean_stack(models, rng.bytes(16))
    types = models.model_types(stack, core)
    lineage = []
    for table, version in stack.versions.items():
        lineage += [
            {"level": "table", "output_table": table, "output_column": None, "input_table": t, "input_column": None,
             "kind": None}
            for t in sorted({e[1] for e in version.edges})
        ] + [
            {"level": "column", "output_table": table, "output_column": c, "input_table": t, "input_column": name, "kind": kind}
            for c, t, name, kind in sorted(version.edges)
        ]  # fmt: skip
    teams = rng.permutation(np.arange(1, 31))
    owners = [
        (401 + k, name, kind, int(teams[team - 1]), cadence)
        for k, (name, kind, team, cadence, _) in enumerate(models.CONSUMERS)
    ]
    queries = []
    for (number, _, _, _, cadence), (_, sqls) in zip(owners, models.make_queries(stack, types), strict=True):
        at = f"{models._last_run(cadence, rng):%Y-%m-%dT%H:%M:%SZ}"
        queries += [(number, sql, at) for sql in sqls]
    consumers = consumers_of(owners, queries, types)
    warehouse = Warehouse(
        lab.world.sql,
        [(t, v.sql, {e[1] for e in v.edges}) for t, v in stack.versions.items()],
        [Query(c["consumer_id"], q["sql"], frozenset(q["tables"])) for c in consumers for q in c["queries"]],
    )
    try:
        cases = []
        owner = {c["consumer_id"]: c["owner_team_id"] for c in consumers}
        for number, (variant, layer, beside) in enumerate(SLOTS, 1):
            for _ in range(60):
                change = _change(rng, number, variant, layer, beside, warehouse, lineage, consumers)
                hit = _telling(change, variant, layer, beside, warehouse, lineage, consumers)
                if hit is not None:
                    break
            else:
                raise LookupError(f"no change of {layer}: {variant}")
            asked = {owner[c] for c in hit}
            # Every other change is made by a team that owns something that is hit.
            own = sorted(asked) if len(asked) > 2 and number % 2 else [t for t in range(1, 31) if t not in asked]
            change["team_id"] = int(rng.choice(own))
            cases.append(Case(change, hit, frozenset(asked - {change["team_id"]})))
    finally:
        warehouse.close()
    _run_yearly(rng, consumers, cases)
    estate = Estate(lineage, consumers, [cases[i] for i in rng.permutation(len(cases))])
    return replace(estate, cases=[_explained(estate, c) for c in estate.cases])


def _explained(estate: Estate, case: Case) -> Case:
    """The case with what its edges say of each team."""
    seen = readers_of(*reached_by_lineage(case.change, estate.lineage), estate.consumers)
    return replace(
        case,
        seen=frozenset(c["owner_team_id"] for c in estate.consumers if c["consumer_id"] in seen),
        why={team: _why_missed(estate, case, team) for team in sorted(case.teams)},
    )


def _why_missed(estate: Estate, case: Case, team: int) -> tuple[str, str | None]:
    """Words and misconception for a team that was left out."""
    whole, columns = reached_by_lineage(case.change, estate.lineage)
    mine = [c for c in estate.consumers if c["owner_team_id"] == team and c["consumer_id"] in case.hit]
    direct = any(case.change["table"] in q["tables"] for c in mine for q in c["queries"])
    if not direct:
        if all(
            set(q["tables"]) & whole and not {tuple(x) for x in q["columns"]} & columns
            for c in mine
            for q in c["queries"]
            if q["sql"] == case.hit[c["consumer_id"]]
        ):
            return (
                "It reads another column of a model that cannot be built any more, or whose rows are others.",
                "whole",
            )
        return "It reads the table through models.", "direct_only"
    if all(c["cadence"] in ("monthly", "quarterly", "yearly") for c in mine):
        return f"It reads the table itself, {mine[0]['cadence']}.", "last_week"
    return "It reads the table itself.", None


def _telling(
    change: dict[str, Any],
    variant: str,
    layer: str,
    beside: str | None,
    warehouse: Warehouse,
    lineage: Sequence[dict[str, Any]],
    consumers: Sequence[dict[str, Any]],
) -> dict[int, str] | None:
    """Whom a drawn change hits; None where that would not tell who has followed the rules from who has not."""
    owner = {c["consumer_id"]: c["owner_team_id"] for c in consumers}

    def teams(other: dict[str, Any], edges: Sequence[dict[str, Any]] = lineage) -> set[int]:
        return {owner[c] for c in readers_of(*reached_by_lineage(other, edges), consumers)}

    seen, values = teams(change), teams(_as_values(change))
    wanted = 2 if layer == "core" and variant in GO_FURTHER else 0
    if len(seen - values) < wanted:
        return None
    if variant == "loosen range":  # it is no change of rows
        rows = {**change, "elements": [{"kind": "drop_table", "class": BREAKING}]}
        if len(teams(rows) - seen) < 2:
            return None
    if beside not in (None, "add column", "reorder"):  # who takes it for something asks others besides
        taken = [{**e, "class": BREAKING} if e["class"] == ADDITIVE else e for e in change["elements"]]
        if not teams({**change, "elements": taken}) - seen:
            return None
    if variant == "two that are seen":
        one, other = (teams({**change, "elements": [e]}) for e in change["elements"])
        if not (one - other and other - one):
            return None
    direct: set[int] = set()
    if layer == "core" and variant in BY_CONDITION:
        direct = teams(change, [x for x in lineage if x["kind"] != "INDIRECT"])
        if not seen - direct:
            return None
    hit = warehouse.hit(change["table"], change["elements"])
    asked = {owner[c] for c in hit}
    # Lineage is all that the learner has. It does not know of a column that a statement names and does not use, and a change
    # that hardly shows where it arrives would say nothing about who has followed it.
    if not set(hit) <= readers_of(*reached_by_lineage(change, lineage), consumers):
        return None
    if len(asked) < SEEN_SHARE.get(variant, 0.75) * len(seen) or len(asked - values) < wanted:
        return None
    if direct and not asked - direct:
        return None
    if variant == "two that are seen":
        each = [{owner[c] for c in warehouse.hit(change["table"], [e])} for e in change["elements"]]
        if not (asked - each[0] and asked - each[1]):
            return None
    return hit


def _run_yearly(rng: np.random.Generator, consumers: list[dict[str, Any]], cases: Sequence[Case]) -> None:
    """Some consumers that alone make their team one to ask ran last year, and will again."""
    alone: Counter[int] = Counter()
    for case in cases:
        by_team: dict[int, list[int]] = {}
        for c in consumers:
            if c["consumer_id"] in case.hit and c["owner_team_id"] in case.teams:
                by_team.setdefault(c["owner_team_id"], []).append(c["consumer_id"])
        alone.update(ids[0] for ids in by_team.values() if len(ids) == 1)
    chosen = rng.permutation([number for number, _ in alone.most_common(2 * YEARLY)])[:YEARLY]
    for c in consumers:
        if c["consumer_id"] in chosen:
            c["cadence"] = "yearly"
            day = np.datetime64("2025-07-10") + int(rng.integers(0, 150))
            for q in c["queries"]:
                q["last_run_at"] = f"{day}T05:00:00Z"


def _change(
    rng: np.random.Generator,
    number: int,
    variant: str,
    layer: str,
    beside: str | None,
    warehouse: Warehouse,
    lineage: Sequence[dict[str, Any]],
    consumers: Sequence[dict[str, Any]],
) -> dict[str, Any]:
    """A change built on a variant that somebody reads by lineage, with ``beside`` it, or by chance, an element that nobody
    sees."""
    drawn = history("schema_changes")
    tables = [t for t in [*warehouse.core, *warehouse.models] if t.startswith(f"{layer}.")]
    if variant == "drop unique":  # models look up customers and products: a second row of them often changes nothing
        tables = [t for t in tables if t not in ("core.customers", "core.products")]
    for _ in range(400):
        table = str(rng.choice(tables))
        columns = warehouse.columns(table)

        def count(condition: str, table: str = table) -> int:
            return int(warehouse.con.execute(f"select count(*) from {table} where {condition}").fetchall()[0][0])

        first = str(rng.choice(DECOYS)) if variant == "additive" else variant
        if variant == "two that are seen":
            first, second = rng.permutation(["allow nulls", "change values"])
        e = drawn.draw_element(rng, first, table, columns, count)
        if e is None:
            continue
        elements = [{**e, "class": drawn.VARIANTS[first]}]
        if variant == "two that are seen":
            other = drawn.draw_element(rng, second, table, columns, count)
            if other is None or other["column"] == e["column"]:
                continue
            elements.append({**other, "class": drawn.VARIANTS[second]})
        elif beside or ("table" not in first and (variant == "additive" or rng.random() < 0.3)):
            other = drawn.draw_element(rng, beside or str(rng.choice(DECOYS[:3])), table, columns, count)
            if other and other.get("column") not in {e.get("column"), e.get("to")} - {None}:
                elements.insert(number % 2, {**other, "class": ADDITIVE})
            elif beside:
                continue
        change = {"change_id": number, "table": table, "team_id": 0, "elements": elements}
        if variant == "additive" or readers_of(*reached_by_lineage(change, lineage), consumers):
            return change
    raise LookupError(f"no change of {layer}: {variant}")


def read_teams(value: Any, what: str) -> set[int]:
    """Team ids from any collection of whole numbers, or a frame of one column."""
    if isinstance(value, Table):
        expect(
            len(value.columns) == 1, f"{what} gave a table with the columns {', '.join(value.columns)}: team ids alone."
        )
        value = [row[0] for row in value.rows]
    expect(
        isinstance(value, list | tuple | set | frozenset),
        f"{what} gave {'nothing (None)' if value is None else type(value).__name__}: a set of team ids is expected.",
    )
    numbers = [as_number(v) for v in value]
    expect(
        all(n is not None and n == int(n) for n in numbers),
        f"{what} gave {str(value)[:120]}: whole numbers, the ids of teams, are expected.",
    )
    return {int(n) for n in numbers}


def _asked(lab: Lab) -> list[tuple[Estate, Case, set[int]]]:
    """For each case, the teams that the learner's function asks."""

    def make() -> list[tuple[Estate, Case, set[int]]]:
        found = []
        for estate in _estates(lab):
            changes = [c.change for c in estate.cases]
            said = lab.drive(
                "workshop.schema_change:ask_each",
                lab.function("required_approvals"),
                changes,
                estate.lineage,
                estate.consumers,
            )
            expect(isinstance(said, list) and len(said) == len(changes), "`required_approvals` could not be asked.")
            for case, row in zip(estate.cases, said, strict=True):
                what = f"`required_approvals` for {_named(case.change)}"
                if not row[0]:
                    raise LearnerError(f"{what} raised {row[1]}")
                found.append((estate, case, read_teams(row[1], what)))
        return found

    return lab.once("asked", make)


def _named(change: dict[str, Any]) -> str:
    parts = [
        f"{e['kind']}{' ' + str(e['column']) if e.get('column') else ''} ({e['class']})" for e in change["elements"]
    ]
    return f"{', '.join(parts)} of {change['table']}"


def _left_out(asked: Sequence[tuple[Estate, Case, set[int]]]) -> tuple[int, int, list[tuple[Estate, Case, int]]]:
    needed = sum(len(c.teams) for _, c, _ in asked)
    missed = [(e, c, t) for e, c, got in asked for t in sorted(c.teams - got)]
    return needed, len(missed), missed


@check("b", "every team that is hit is asked", points=2)
def nobody_is_left_out(lab: Lab) -> str:
    """Truth: queries of all consumers, run before and after."""
    asked = _asked(lab)
    total = sum(len(got) for *_, got in asked)
    needless = sum(len(got - c.teams) for _, c, got in asked)
    needed, n, missed = _left_out(asked)
    too = f" (Of the {needed} that must be asked {n} are not: follow the models.)" if n > needed / 4 else ""
    expect(
        needless <= NEEDLESS_SHARE * total,
        f"Of {total} teams that are asked {needless} need not be. Who is left out is judged once that holds for "
        f"{NEEDLESS_SHARE:.0%} at most: to ask everybody leaves nobody out.{too}",
        misconception="tables" if too else "everybody",
    )
    if n:
        estate, case, team = min(missed, key=lambda m: len(m[1].hit))
        said, misconception = case.why[team]
        rows = [(c["consumer_name"], c["cadence"], c["owner_team_id"], case.hit[c["consumer_id"]])
                for c in estate.consumers if c["consumer_id"] in case.hit]  # fmt: skip
        raise CheckFailed(
            f"{needed} approvals are needed for {len(asked)} changes; {n} of them were not asked for. One: "
            f"{_named(case.change)} hits "
            f"team {team}. {said}",
            evidence=Evidence("whom this change hits", Table.of(["consumer", "cadence", "team", "query"], rows[:8])),
            ask="By which way does the change come to this query?",
            misconception=misconception,
        )
    return f"{needed} approvals are needed for {len(asked)} changes, and all are asked for."


@check("b", "hardly any team is asked needlessly", points=1.5)
def few_are_asked_needlessly(lab: Lab) -> str:
    """Truth: queries of all consumers, run before and after."""
    asked = _asked(lab)
    needed, n, _ = _left_out(asked)
    expect(
        n <= 0.4 * needed,
        f"{needed} approvals are needed, {n} of them were not asked for. Needless ones are judged once six in ten "
        f"are found: to ask "
        "nobody is never needless.",
    )
    for _, case, got in asked:
        own = case.change["team_id"]
        expect(
            own not in got,
            f"`required_approvals` for {_named(case.change)} asks team {own}, which makes the change: that would be "
            f"self-approval.",
            misconception="own_team",
        )
        harmless = all(e["class"] == ADDITIVE for e in case.change["elements"])
        expect(
            not (harmless and got),
            f"`required_approvals` for {_named(case.change)} asks {len(got)} teams, and nobody can see anything of it.",
            misconception="everybody",
        )
    for estate, case, got in asked:
        beyond = sorted(got - case.seen)
        rows = [(c["consumer_name"], str(q["tables"]), str([n for _, n in q["columns"]]))
                for c in estate.consumers if c["owner_team_id"] in beyond[:1] for q in c["queries"]]  # fmt: skip
        expect(
            not beyond,
            f"`required_approvals` for {_named(case.change)} asks team {beyond[:1]}, and no edge leads from the "
            f"change to anything "
            "that one of its queries reads.",
            evidence=Evidence("what this team reads", Table.of(["consumer", "tables", "columns"], rows[:8])),
            ask="Which column does the change touch, and which columns come from it?",
            misconception="tables",
        )
    total = sum(len(got) for *_, got in asked)
    needless = [(c, t) for _, c, got in asked for t in sorted(got - c.teams)]
    worst = Counter(_named(c.change) for c, _ in needless).most_common(4)
    hit = {_named(c.change): len(c.teams) for c, _ in needless}
    shown = [(name, hit[name], n) for name, n in worst]
    expect(
        len(needless) <= NEEDLESS_SHARE * total,
        f"Of {total} teams that are asked {len(needless)} see nothing of the change: "
        f"{len(needless) / max(1, total):.0%}; at most "
        f"{NEEDLESS_SHARE:.0%} is allowed. Who is asked for nothing stops to look.",
        evidence=Evidence("most needless", Table.of(["change", "teams hit", "asked needlessly"], shown)),
        ask="What of the changed table does each of these teams read, and does the change come there?",
        misconception="tables",
    )
    return f"Of {total} teams that are asked {len(needless)} ({len(needless) / max(1, total):.0%}) see nothing of the change."


# -- task c ------------------------------------------------------------------------------------------------------------

APPROVE = {
    ADDITIVE: (NOBODY, COLLEAGUE, ONE_TEAM, EVERY_TEAM),
    CARE: (NOBODY, COLLEAGUE, ONE_TEAM, EVERY_TEAM),
    BREAKING: (NOBODY, COLLEAGUE, ONE_TEAM, EVERY_TEAM),
    "emergency": (NOBODY, COLLEAGUE, ON_CALL, EVERY_TEAM),
}
REVIEW_BY = (NOBODY, "author", ON_CALL, EVERY_TEAM)


def read_policy(value: Any) -> dict[str, Any]:
    """The policy that `approval_matrix` returned, with what may be left out filled in. Raises CheckFailed."""
    what = "`approval_matrix`"
    expect(isinstance(value, dict), f"{what} gave {type(value).__name__}: a dict is expected.")
    found: dict[str, Any] = {}
    own = value.get("self_approval")
    expect(isinstance(own, bool), f"{what}: self_approval is {own!r}; True or False is expected.")
    found["self_approval"] = own
    for key, allowed in APPROVE.items():
        rule = value.get(key)
        expect(isinstance(rule, dict), f"{what}: there is no dict under {key!r}.")
        expect(
            rule.get("approve") in allowed,
            f"{what}: approve of {key!r} is {rule.get('approve')!r}; it is one of {', '.join(allowed)}.",
        )
        made = {"approve": rule["approve"], "bound_to": rule.get("bound_to"), "valid_days": rule.get("valid_days")}
        if key != ADDITIVE:
            expect(
                made["bound_to"] in ("digest", "change"),
                f"{what}: bound_to of {key!r} is {made['bound_to']!r}; it is digest or change.",
            )
        names = ["valid_days"] if key in (CARE, BREAKING) else ["review_days"] if key == "emergency" else []
        for name in names:
            days = rule.get(name)
            if days is not None:
                number = as_number(days)
                expect(
                    number is not None and number == int(number) and number >= 0,
                    f"{what}: {name} of {key!r} is {days!r}; a whole number from 0, or None, is expected.",
                )
                days = int(number)
            made[name] = days
        if key == "emergency":
            expect(
                rule.get("review_by") in REVIEW_BY,
                f"{what}: review_by is {rule.get('review_by')!r}; it is one of {', '.join(REVIEW_BY)}.",
            )
            made["review_by"] = rule["review_by"]
        found[key] = made
    return found


def _years(lab: Lab) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    def make() -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
        drawn, rng = history("schema_changes"), lab.rng("companies")
        return [(c, drawn.draw_year(rng, c)) for c in drawn.draw_companies(rng, COMPANIES)]

    return lab.kept("years", make)


def _replayed(lab: Lab) -> list[list[dict[str, Any]]]:
    """What becomes of each change at each company under the learner's policy."""

    def make() -> list[list[dict[str, Any]]]:
        return [
            replay(read_policy(lab.call("approval_matrix", company)), company, year) for company, year in _years(lab)
        ]

    return lab.once("replayed", make)


def _harms(
    lab: Lab, keep: Callable[[dict[str, Any]], bool], kinds: Sequence[str]
) -> list[tuple[int, dict[str, Any], str]]:
    return [
        (k + 1, o, h)
        for k, outcomes in enumerate(_replayed(lab))
        for o in outcomes
        if keep(o)
        for h in o["harms"]
        if h in kinds
    ]


def _expect_none(lab: Lab, found: list[tuple[int, dict[str, Any], str]], of: str, ask: str) -> None:
    counts = Counter(h for *_, h in found)
    words = "; ".join(f"{HARMS[h]} ({n})" for h, n in counts.most_common())
    first = counts.most_common(1)[0][0] if counts else None
    rows = [(k, o["change_id"], o["class"], HARMS[h]) for k, o, h in found]
    which = list(dict.fromkeys(k for k, *_ in found))
    facts = [_years(lab)[k - 1][0] for k in which]
    expect(
        not found,
        f"In {COMPANIES} years, {of}: {words}.",
        evidence=[
            Evidence("changes", Table.of(["company", "change", "class", "what happened"], rows[:6])),
            Evidence(
                "the facts of these companies",
                Table.of(
                    ["fact", *(f"company {k}" for k in which)],
                    [(name, *(str(f[name]) for f in facts)) for name in (facts[0] if facts else ())],
                ),
            ),
        ],
        ask=ask,
        misconception=first,
    )


def _concerns(o: dict[str, Any]) -> bool:
    return not o["is_emergency"] and o["class"] != ADDITIVE


@check("c", "nothing reaches a team without its own yes to that very diff", points=1)
def consent_is_real(lab: Lab) -> str:
    """Each normal change of a fresh year, replayed; who said yes to what, and when, is recorded."""
    all_of = [o for outcomes in _replayed(lab) for o in outcomes if _concerns(o)]
    merged = sum(o["merged"] for o in all_of)
    expect(
        2 * merged >= len(all_of),
        f"Of {len(all_of)} changes that hit somebody {merged} came in. Consent is judged once half of them do: what "
        f"never comes in "
        "breaks nothing.",
        misconception="stuck",
    )
    found = _harms(lab, _concerns, ("not asked", "own consent", "other diff", "stale"))
    _expect_none(
        lab, found, "changes came in without consent", "What did that team know when it said yes, if it was asked?"
    )
    return f"{merged} changes came in, each with the consent of all that it hits."


@check("c", "what may come in comes in", points=0.5)
def nothing_is_stuck(lab: Lab) -> str:
    """Changes that hit nobody come in at once; approvals live until the release."""
    unasked = _harms(lab, _concerns, ("not asked",))
    all_of = [o for outcomes in _replayed(lab) for o in outcomes if _concerns(o)]
    expect(
        2 * len(unasked) <= len(all_of),
        f"{len(unasked)} of {len(all_of)} changes came in without the consent of those whom they hit. What is held "
        f"up is judged once "
        "half of them ask: an open gate holds up nothing.",
        misconception="not asked",
    )
    found = _harms(lab, lambda o: not o["is_emergency"], ("held up", "stuck"))
    _expect_none(
        lab,
        found,
        "changes were held up",
        "How old is the first approval when the last team has answered, and how old at the release?",
    )
    return "Nothing was held up."


@check("c", "emergencies come in on time, seconded, and are reviewed afterwards", points=1.5)
def emergencies_are_audited(lab: Lab) -> str:
    """Each emergency of a fresh year, replayed."""
    found = _harms(lab, lambda o: o["is_emergency"], tuple(HARMS))
    _expect_none(lab, found, "of the emergency changes", "Who saw it before, who after, and until when?")
    return f"{4 * COMPANIES} emergencies came in on time, and all were reviewed in time."


# -- twelve weeks later ---------------------------------------------------------------------------------------------------

BEFORE = {
    "self_approval": True,
    ADDITIVE: {"approve": COLLEAGUE},
    CARE: {"approve": COLLEAGUE, "bound_to": "change", "valid_days": None},
    BREAKING: {"approve": ONE_TEAM, "bound_to": "change", "valid_days": None},
    "emergency": {"approve": NOBODY, "bound_to": "change", "review_by": NOBODY, "review_days": None},
}


def _usual(lab: Lab) -> list[tuple[str, int, int]]:
    """Two usual ways of asking: name, teams that are hit and not asked, teams that are asked and not hit."""

    def make() -> list[tuple[str, int, int]]:
        ways: dict[str, Callable[[Estate, Case], set[int]]] = {
            "readers of the table": lambda e, c: {
                x["owner_team_id"] for x in e.consumers if any(c.change["table"] in q["tables"] for q in x["queries"])
            },
            "everybody": lambda e, c: set(range(1, 31)),
        }
        bars = []
        for name, way in ways.items():
            got = [(c, way(e, c) - {c.change["team_id"]}) for e in _estates(lab) for c in e.cases]
            bars.append((name, sum(len(c.teams - g) for c, g in got), sum(len(g - c.teams) for c, g in got)))
        return bars

    return lab.kept("usual ways", make)


def twelve_weeks_later(lab: Lab) -> Any:
    """Whom changes hit unasked under three ways of asking; what goes wrong under the policy of before and the learner's."""
    from workshop.plots import BLUE, GREEN, GREY, ORANGE, plt

    asked = _asked(lab)
    bars = [*_usual(lab), ("you", _left_out(asked)[1], sum(len(got - c.teams) for _, c, got in asked))]
    years = _years(lab)
    outcomes = {
        "before": [replay(read_policy(BEFORE), company, year) for company, year in years],
        "yours": _replayed(lab),
    }
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.8, 3.3))
    at = np.arange(len(bars))
    left.bar(at - 0.2, [b[1] for b in bars], 0.4, color=ORANGE, label="hit and not asked")
    left.bar(at + 0.2, [b[2] for b in bars], 0.4, color=BLUE, label="asked and not hit")
    left.set_xticks(at, [b[0] for b in bars])
    left.set_yscale("symlog", linthresh=10)
    left.set(ylabel="teams, over all changes")
    left.set_title(f"You leave out {bars[-1][1]}; the table's readers alone: {bars[0][1]}", fontsize=10)
    left.legend(loc="upper left", fontsize=8)
    kinds = [k for k in HARMS if any(k in o["harms"] for runs in outcomes.values() for run in runs for o in run)]
    for k, (name, colour) in enumerate((("before", GREY), ("yours", GREEN))):
        counts = [sum(h in o["harms"] for run in outcomes[name] for o in run) for h in kinds]
        right.barh(np.arange(len(kinds)) + 0.2 - 0.4 * k, counts, 0.4, color=colour, label=name)
    right.set_yticks(np.arange(len(kinds)), kinds)
    right.invert_yaxis()
    right.set(xlabel=f"changes, {COMPANIES} companies, one year")
    n = {name: sum(bool(o["harms"]) for run in runs for o in run) for name, runs in outcomes.items()}
    right.set_title(f"Went wrong: {n['before']} before, {n['yours']} with yours", fontsize=10)
    right.legend(loc="lower right", fontsize=8)
    plt.close(figure)  # the notebook shows what is returned, and would show an open figure a second time
    return figure
