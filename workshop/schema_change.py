"""What a schema change does to those who read: the change is applied, and their queries run before and after.

A change is a list of elements, each a dict with ``kind`` and what belongs to it (lab 2.4 lists them). A ``Warehouse`` holds core
tables, models and consumers' queries, and says whom a change hits. ``replay`` takes a year of changes through an approval
policy.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import duckdb

from workshop.sql_scope import columns_read, known_to_sqlglot
from workshop.table import Table

ADDITIVE, CARE, BREAKING = "additive", "compatible with care", "breaking"
CLASSES = (ADDITIVE, CARE, BREAKING)
INTEGERS = {
    "UTINYINT": (0, 2**8 - 1),
    "TINYINT": (-(2**7), 2**7 - 1),
    "SMALLINT": (-(2**15), 2**15 - 1),
    "INTEGER": (-(2**31), 2**31 - 1),
    "BIGINT": (-(2**63), 2**63 - 1),
}
STRESSED = "rowid % 3 = 0"  # the rows of a stress copy that use what the change permits


def digest(elements: Sequence[Mapping[str, Any]]) -> str:
    """What identifies a diff: SHA-256 of its elements in order, keys sorted."""
    return hashlib.sha256(json.dumps(list(elements), sort_keys=True, default=str).encode()).hexdigest()


# -- a change, applied -------------------------------------------------------------------------------------------------


def decimal_parts(of: str) -> tuple[int, int] | None:
    """Digits before and after the point of DECIMAL(p,s); None for other types."""
    if not of.startswith("DECIMAL("):
        return None
    p, s = (int(v) for v in of[8:-1].split(","))
    return p - s, s


def literal(value: Any) -> str:
    """A value as SQL."""
    if value is None:
        return "null"
    return str(value) if isinstance(value, int | float | Decimal) else "'" + str(value).replace("'", "''") + "'"


def _beyond(old: str, new: str) -> tuple[str, str] | None:
    """Two values that the new type holds and the old one does not; None where there are none or they are of no concern."""
    if old in INTEGERS and new in INTEGERS:
        high = INTEGERS[old][1] + 45
        low = INTEGERS[old][0] - 45
        if high > INTEGERS[new][1]:
            return None
        return str(high), str(low if low >= INTEGERS[new][0] else high + 1)
    a, b = decimal_parts(old), decimal_parts(new)
    if a and b:
        if b[0] > a[0]:
            return "1" + "0" * a[0], "-1" + "0" * a[0]
        if b[1] > a[1]:
            fine = "0." + "0" * a[1] + "4"
            return fine, "-" + fine
    return None


def change_table(con: duckdb.DuckDBPyConnection, table: str, e: Mapping[str, Any], stress: bool = True) -> None:
    """Applies one element to a table. ``stress``: a third of its rows then use what the change newly permits."""
    kind, c = e["kind"], e.get("column")
    shown, tail = "*", ""
    if kind == "add_column":
        new = f"{literal(e.get('default'))}::{e['type']} as {c}"
        shown = f"{new}, *" if e.get("position") == "first" else f"*, {new}"
    elif kind == "drop_column":
        shown = f"* exclude ({c})"
    elif kind == "rename_column":
        shown = f"*, {c} as {e['to']}" if e["keeps_old"] else f"* rename ({c} as {e['to']})"
    elif kind == "change_type":
        beyond = _beyond(e["old_type"], e["new_type"]) if stress else None
        cast = f"try_cast({c} as {e['new_type']})"
        if beyond:
            high, low = (f"{v}::{e['new_type']}" for v in beyond)
            cast = f"case when rowid % 6 = 0 then {high} when {STRESSED} then {low} else {cast} end"
        shown = f"* replace ({cast} as {c})"
    elif kind == "allow_nulls" and stress:
        shown = f"* replace (case when not {STRESSED} then {c} end as {c})"
    elif kind == "forbid_nulls" and e["null_rows"]:
        shown = f"* replace (coalesce({c}, {literal(e['fill'])}) as {c})"
    elif kind == "add_value" and stress:
        shown = f"* replace (case when {STRESSED} then {literal(e['value'])} else {c} end as {c})"
    elif kind == "remove_value" and e["rows"]:
        new = f"case when {c} = {literal(e['value'])} then {literal(e['becomes'])} else {c} end"
        shown = f"* replace ({new} as {c})"
    elif kind == "change_values":
        shown = f"* replace ({e['formula']} as {c})"
    elif kind == "change_range":
        inside = [f"{c} >= {e['new_low']}"] if e["new_low"] is not None else []
        inside += [f"{c} <= {e['new_high']}"] if e["new_high"] is not None else []
        if inside:
            tail = f"where {c} is null or {' and '.join(inside)}"
        wider = _loosened(e) if stress else None
        if wider is not None:
            shown = f"* replace (case when {STRESSED} then {wider} else {c} end as {c})"
    elif kind == "drop_unique" and stress:
        tail = f"union all select * from {table} where {STRESSED}"
    elif kind == "add_unique" and e["duplicate_rows"]:
        tail = f"qualify row_number() over (partition by {', '.join(e['columns'])} order by rowid) = 1"
    elif kind == "reorder_columns":
        shown = ", ".join(e["order"])
    elif kind == "drop_table":
        con.execute(f"drop table {table}")
        return
    elif kind == "rename_table":
        if not e["keeps_view"]:
            con.execute(f"drop table {table}")
        return
    if shown != "*" or tail:
        con.execute(f"create or replace table {table} as select {shown} from {table} {tail}")


def _loosened(e: Mapping[str, Any]) -> Any:
    """A value that a new range permits and the old one did not; None where there is none."""
    if e["old_low"] is not None and (e["new_low"] is None or e["new_low"] < e["old_low"]):
        return e["old_low"] - 1
    if e["old_high"] is not None and (e["new_high"] is None or e["new_high"] > e["old_high"]):
        return e["old_high"] + 1
    return None


# -- answers, compared -------------------------------------------------------------------------------------------------

Answer = tuple[list[str], list[tuple[Any, ...]]] | None


def answer(con: duckdb.DuckDBPyConnection, sql: str) -> Answer:
    """Columns and rows of a query; None: it fails."""
    try:
        cursor = con.execute(sql)
        return [d[0] for d in cursor.description], cursor.fetchall()
    except duckdb.Error:
        return None


def is_hit(before: Answer, after: Answer, exact: bool = False) -> bool:
    """Whether somebody who takes columns by name, and rows in any order, sees a difference. New columns are none. ``exact``:
    0.1 of a DOUBLE is not 0.1; else numbers count by nine digits."""
    if before is None or before == after:
        return False
    if after is None or not set(before[0]) <= set(after[0]) or len(before[1]) != len(after[1]):
        return True
    at = [after[0].index(name) for name in before[0]]
    was = Counter(tuple(_shown(v, exact) for v in row) for row in before[1])
    return was != Counter(tuple(_shown(row[k], exact) for k in at) for row in after[1])


def _shown(value: Any, exact: bool) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return value if value is None or isinstance(value, str | bool) else repr(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return Decimal(value) if exact else float(f"{value:.9g}")


# -- a warehouse -------------------------------------------------------------------------------------------------------

# What is copied of core: some hundred orders and what belongs to them.
ORDERS = """
select * from core.orders
where ordered_on >= date '2026-01-01'
  and (order_id % 40 = 7 or order_id in (select order_id from core.returns where return_id % 12 = 5))
"""
COPIED = {
    "orders": ORDERS,
    **{t: f"select * from core.{t} where order_id in (select order_id from ({ORDERS}))"
       for t in ("order_items", "payments", "shipments", "returns")},
    "customers": f"select * from core.customers where customer_id in (select customer_id from ({ORDERS})) or is_test_account",
    **{t: f"select * from core.{t} where day_on >= date '2026-01-01'" for t in ("fx_rates", "calendar")},
    "products": "select * from core.products where product_id % 2 = 1",
    **{t: f"select * from core.{t}" for t in ("sellers", "countries")},
}  # fmt: skip


@dataclass(frozen=True)
class Query:
    """A consumer's query; ``tables``: what it reads."""

    consumer_id: int
    sql: str
    tables: frozenset[str]


class Warehouse:
    """A small copy of core with models on it and consumers that read. ``read(sql)`` gives rows of a world as a Table.
    ``models``: (table, statement, tables that it reads), each after those."""

    def __init__(
        self,
        read: Callable[[str], Table],
        models: Sequence[tuple[str, str, Iterable[str]]],
        queries: Sequence[Query],
    ) -> None:
        self.con = duckdb.connect(":memory:", config={"threads": "1", "autoinstall_known_extensions": "false"})
        self.con.execute("set timezone='UTC'")
        self.models = {t: (sql, frozenset(inputs)) for t, sql, inputs in models}
        self.queries = list(queries)
        self.core = [f"core.{t}" for t in COPIED]
        schemas = dict.fromkeys(t.split(".")[0] for t in [*self.core, *self.models])
        self.schemas = [f"create schema {s}" for s in schemas]
        for sql in self.schemas:
            self.con.execute(sql)
        for table, sql in COPIED.items():
            rows = read(f"{sql} order by all")
            types = read(f"describe core.{table}").rows
            self.con.execute(f"create table core.{table} ({', '.join(f'{r[0]} {r[1]}' for r in types)})")
            columns = ", ".join(f"unnest(?::{r[1]}[])" for r in types)
            self.con.execute(
                f"insert into core.{table} select {columns}", [[r[k] for r in rows.rows] for k in range(len(types))]
            )
        for table, (sql, _) in self.models.items():
            self.con.execute(f"create table {table} as {sql}")
        self.before = [answer(self.con, q.sql) for q in self.queries]
        self._count = 0

    def columns(self, table: str) -> dict[str, str]:
        """Types of a table's columns by name."""
        return {r[0]: r[1] for r in self.con.execute(f"describe {table}").fetchall()}

    def downstream(self, table: str) -> set[str]:
        """The table and the models that read it, directly or through others."""
        found = {table}
        for name, (_, inputs) in self.models.items():
            if inputs & found:
                found.add(name)
        return found

    def hit(self, table: str, elements: Sequence[Mapping[str, Any]], stress: bool = True) -> dict[int, str]:
        """Consumers that a change hits, each with its first query that fails or returns something else; without ``stress`` on
        the rows that stand, with it on rows of which a third use what the change permits."""
        moved = self.downstream(table)
        self._count += 1
        name = f"after{self._count}"
        self.con.execute(f"attach ':memory:' as {name}")
        self.con.execute(f"use {name}")
        try:
            for sql in self.schemas:
                self.con.execute(sql)
            for other in [*self.core, *self.models]:
                if other not in moved:
                    self.con.execute(f"create view {other} as from memory.{other}")
            self.con.execute(f"create table {table} as from memory.{table}")
            for e in elements:
                change_table(self.con, table, e, stress)
            for other in self.models:
                if other in moved and other != table:
                    # A model that fails is not there, and whoever reads it fails too.
                    try:
                        self.con.execute(f"create table {other} as {self.models[other][0]}")
                    except duckdb.Error:
                        continue
            found: dict[int, str] = {}
            for query, was in zip(self.queries, self.before, strict=True):
                is_open = bool(query.tables & moved) and query.consumer_id not in found
                if is_open and is_hit(was, answer(self.con, query.sql)):
                    found[query.consumer_id] = query.sql
            return found
        finally:
            self.con.execute("use memory")
            self.con.execute(f"detach {name}")

    def close(self) -> None:
        """Closes it."""
        self.con.close()


def consumers_of(
    owners: Iterable[tuple[int, str, str, int, str]],
    queries: Iterable[tuple[int, str, str]],
    schema: Mapping[str, Mapping[str, str]],
) -> list[dict[str, Any]]:
    """Consumers with their queries, as functions of lab 2.4 are given them. ``owners``: id, name, kind, owner team, cadence;
    ``queries``: consumer, SQL, last run."""
    found = {
        number: {
            "consumer_id": number,
            "consumer_name": name,
            "kind": kind,
            "owner_team_id": team,
            "cadence": cadence,
            "queries": [],
        }
        for number, name, kind, team, cadence in owners
    }
    known = known_to_sqlglot(schema)
    for number, sql, at in queries:
        tables, columns = columns_read(sql, known)
        found[number]["queries"].append(
            {
                "sql": sql,
                "last_run_at": at,
                "tables": sorted(tables),
                "columns": [list(c) for c in sorted(columns)],
            }
        )
    return list(found.values())


def read_changes(con: Any) -> list[dict[str, Any]]:
    """The changes of ops.schema_changes, as functions of lab 2.4 are given them, without the classes of their elements."""
    found: dict[int, dict[str, Any]] = {}
    for number, table, team, details in con.execute(
        "select change_id, table_name, team_id, details::varchar from ops.schema_changes "
        "join ops.schema_change_elements using (change_id) order by change_id, element_no"
    ).fetchall():
        change = found.setdefault(number, {"change_id": number, "table": table, "team_id": team, "elements": []})
        change["elements"].append(json.loads(details))
    return list(found.values())


def read_lineage(con: Any) -> list[dict[str, Any]]:
    """The edges of ops.lineage_edges, of tables and of columns."""
    query = (
        "select level, output_table, output_column, input_table, input_column, kind from ops.lineage_edges order by all"
    )
    return Table.from_cursor(con.execute(query)).dicts()


def read_consumers(con: Any) -> list[dict[str, Any]]:
    """The consumers of ops.consumers with their queries and what these read."""
    from workshop.lineage_events import read_schema

    owners = con.execute(
        "select consumer_id, consumer_name, kind, owner_team_id, cadence from ops.consumers order by consumer_id"
    ).fetchall()
    queries = con.execute(
        "select consumer_id, sql, strftime(last_run_at, '%Y-%m-%dT%H:%M:%SZ') from ops.consumer_queries order by query_id"
    ).fetchall()
    return consumers_of(owners, queries, read_schema(con))


def read_company(con: Any) -> dict[str, Any]:
    """What an approval policy has to reckon with, from ops.approval_facts."""
    found: dict[str, Any] = {}
    for fact, of, value in con.execute("select fact, of_what, value from ops.approval_facts order by 1, 2").fetchall():
        if of is None:
            found[fact] = value
        else:
            found.setdefault(fact, {})[of] = value
    return found


def ask_each(function: Callable[..., Any], changes: Sequence[Any], lineage: Any, consumers: Any) -> list[Any]:
    """What ``function(change, lineage, consumers)`` answers for each change: (True, answer), or (False, what it raised)."""
    found: list[Any] = []
    for change in changes:
        try:
            found.append([True, function(change, [dict(r) for r in lineage], [dict(r) for r in consumers])])
        except NotImplementedError:
            raise
        except Exception as error:
            found.append([False, f"{type(error).__name__}: {error}"[:500]])
    return found


# -- an approval policy, replayed --------------------------------------------------------------------------------------

NOBODY, COLLEAGUE, ONE_TEAM, EVERY_TEAM, ON_CALL = "nobody", "colleague", "one hit team", "every hit team", "on call"
COLLEAGUE_DAYS = 1
HARMS = {
    "not asked": "a team that is hit was not asked",
    "own consent": "the author said yes to the own change",
    "other diff": "what was merged is not what was approved",
    "stale": "it came in after the freeze, and the approvals still counted",
    "held up": "a change that hits nobody had to wait",
    "stuck": "approvals lapsed before each release",
    "late": "the emergency change came too late",
    "woken": "on call was woken, and a colleague would have been in time",
    "alone": "nobody but the author had seen it",
    "not reviewed": "the teams that were hit did not look at it afterwards",
    "reviewed late": "a report was published before what the review found was corrected",
    "rolled back": "the deadline passed before the teams could review it",
}


def replay(
    policy: Mapping[str, Any], company: Mapping[str, Any], changes: Iterable[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """What becomes of each change under an approval policy: change_id, class, is_emergency, merged, harms (keys of HARMS)."""
    return [
        {
            "change_id": c["change_id"],
            "class": c["class"],
            "is_emergency": c["is_emergency"],
            **(_emergency(policy, company, c) if c["is_emergency"] else _normal(policy, company, c)),
        }
        for c in changes
    ]


def _normal(policy: Mapping[str, Any], company: Mapping[str, Any], c: Mapping[str, Any]) -> dict[str, Any]:
    rule, answers, harms = policy[c["class"]], c["answers"], []
    if not answers:  # nobody is hit
        return {"merged": True, "harms": ["held up"] if rule["approve"] == COLLEAGUE else []}
    fastest = min(answers, key=lambda t: (answers[t], t))
    asked = {EVERY_TEAM: list(answers), ONE_TEAM: [fastest]}.get(rule["approve"], [])
    if len(asked) < len(answers):
        harms.append("not asked")
    if policy["self_approval"] and c["author_in"] in asked:
        harms.append("own consent")
    if asked and c["diff_changes"] and rule["bound_to"] != "digest":
        harms.append("other diff")
    given = {t: answers[t] for t in asked}
    ready = max(given.values(), default=COLLEAGUE_DAYS if rule["approve"] == COLLEAGUE else 0)
    valid = math.inf if rule["valid_days"] is None else rule["valid_days"]
    # The first round may lie until its first approval has the stated age; the round after goes straight to the release.
    rounds = [min(given.values(), default=0) + c["lies_days"]] if c["lies_days"] else []
    for merged_on in [*rounds, ready + c["release_wait"]]:
        ages = [merged_on - day for day in given.values()]
        if all(age <= valid for age in ages):
            if given and merged_on > ready + company["freeze_days"][c["class"]]:
                harms.append("stale")
            return {"merged": True, "harms": harms}
    return {"merged": False, "harms": ["stuck"]}


def _emergency(policy: Mapping[str, Any], company: Mapping[str, Any], c: Mapping[str, Any]) -> dict[str, Any]:
    rule, harms = policy["emergency"], []
    minutes = company["approver_minutes"].get(rule["approve"], 0)
    if minutes + company["rollout_minutes"] > company["emergency_minutes"]:
        harms.append("late")
    in_time = company["approver_minutes"][COLLEAGUE] + company["rollout_minutes"] <= company["emergency_minutes"]
    if rule["approve"] == ON_CALL and in_time:
        harms.append("woken")
    if rule["approve"] == NOBODY:
        harms.append("alone")
    elif policy["self_approval"] and c["author_in"] is not None:
        harms.append("own consent")
    if c["diff_changes"] and rule["bound_to"] != "digest" and rule["approve"] != NOBODY:
        harms.append("other diff")
    days = rule["review_days"]
    if rule["review_by"] != EVERY_TEAM or days is None:
        harms.append("not reviewed")
    elif days < company["review_starts_days"] + company["review_takes_days"]:
        harms.append("rolled back")
    elif days > company["report_due_days"] - company["correction_days"]:
        harms.append("reviewed late")
    return {"merged": True, "harms": harms}
