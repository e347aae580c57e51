"""What lab 2.5 judges.

Task a. Statements of a fresh stack of models (the generator's grammar, another seed), whose edges are known from how they were
built, and those of statements.yaml, each about one construct, on tables and columns that are drawn; their edges stand beside
them. Nobody has parsed either.

Task b. The learner's code emits through a client that keeps the events; they come out as plain data and are read here.

Task c. Builds made of versions of those models, changed in ways whose losses follow from the construction, and a history whose
states are kept day by day, so that the auditor's question is answered without reading an event.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np

from workshop.checks import CheckFailed, Evidence, LearnerError, NotAttempted, as_table, check, expect, read_cases
from workshop.lineage_events import DATASET_NAMESPACE, JOB_NAMESPACE, Edge, Output, read_outputs, violations
from workshop.table import Table
from workshop.trusted import Lab
from workshop.world.build import history

SUBJECTS = ("models",)
F1 = 0.98
EDGE = ("output_column", "input_table", "input_column", "kind")
UNIONS = ("intermediate.int_money_movements", "intermediate.int_order_events")

HINTS = {
    "a": (
        "Two things have to be known of each SELECT: for each output column the pair (direct, indirect), and one set for "
        "all columns, what decides about its rows. Begin with the first place, in `flow`, on a statement of one SELECT; print "
        "`repr` of its syntax tree to see where the parts of a CASE or a window stand.",
        "To split an expression, go down its tree yourself: a Column is an edge; the `this` of a Case or an If, the "
        "`expression` of a Filter, `partition_by` and `order` of a Window turn all that is below them into INDIRECT. "
        "Everything else passes on what is below it.",
        "Rows: the columns of all clauses (for a join: its `on`), direct and indirect ones, and the rows of each source "
        "that is a scope. A subquery's node is the "
        "`expression` of one of `scope.subquery_scopes`; a column that it does not know belongs to the SELECT around it.",
    ),
    "b": (
        "Print what the example emits and hold it against the list in the task. `help(facet_v2.column_lineage_dataset)` and "
        "`help(facet_v2.schema_dataset)` show the classes.",
        "A run's id must follow from the deployment: `uuid.uuid5(uuid.NAMESPACE_URL, text with the deployment_id)`. "
        "The time of an event is when it happened, not when it is emitted.",
        "Group the edges: by output column, then by (input_table, input_column), with the kinds as a list of "
        "`Transformation(type=...)`. With `edges` None there is one more facet (on the run) and no output.",
    ),
    "c": (
        "Begin with `standing(before)` and `standing(after)`, and with the tables: which of before are missing, which of after "
        "have no edges. Only for the others, go through `columns` (not through the edges: some columns have none).",
        "Bring the old edges to the new names before you compare: the output column, the input table and the input column "
        "may each have been renamed. Whatever is then missing, and is no `drop_column` or `drop_input` of that "
        "very table (and, of `drop_input`, that very column), is lost.",
        "The auditor's question: `standing(events, at)`. Follow DIRECT edges from (table, column) until "
        "you are at tables that it does not know.",
    ),
}
MISCONCEPTIONS = {
    "tables_only": "Which table is read says little: the question is always about a column.",
    "star_lost": "A star is a list of columns: `qualified` has written it out, with names from the schema.",
    "first_branch": "Each branch of a UNION gives values to the column in its place.",
    "choice_is_direct": "A condition chooses between values; its own value is nowhere in the result. Conditions of CASE, IF "
    "and FILTER are INDIRECT.",
    "window_is_direct": "PARTITION BY and ORDER BY of a window decide which rows a value is computed from: INDIRECT.",
    "rows_are_direct": "A filter or a join key decides which rows there are. No value of it is in the column: INDIRECT.",
    "rows_forgotten": "What decides about rows decides about every column of that SELECT, and goes on to "
    "the SELECTs that read from it.",
    "empty_for_unread": "No edges means: this column comes from nowhere. Where a statement cannot be read, say so: raise.",
    "new_run_each_time": "A run id that is drawn anew makes two deployments out of one whose step was repeated, and tears START "
    "and COMPLETE apart. Derive it from the deployment.",
    "time_of_emission": "An audit asks when it happened. Take the deployment's times, not the clock's.",
    "no_evidence": "An auditor goes from the event to the statement and to the commit: the job's facets carry both.",
    "failure_hidden": "A COMPLETE says: this stands, and here is its lineage. Where nothing was read, the run ends as FAIL.",
    "empty_passes": "Nothing was lost because nothing was looked at: a table without lineage stops the build.",
    "any_declaration": "A declaration explains what it names: one column, or one input of one table.",
    "rename_is_loss": "A declared rename changes a name on both sides of an edge; bring old edges to new names, then compare.",
    "columns_only": "A column that is still there may be fed by something else. Compare its edges.",
    "last_wins": "Events are a history. As of a day, the last COMPLETE up to that day counts, not the newest.",
    "text_order": "Times with different offsets do not sort as text.",
    "one_step": "The column comes from a model, and the model's column from somewhere else: follow to source tables.",
}


# -- a fresh stack of models ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Statement:
    """A statement with the schema that it is read against and its true edges. ``groups``: what it is judged with, beside all."""

    table: str
    sql: str
    schema: dict[str, dict[str, str]]
    edges: frozenset[Edge]
    groups: tuple[str, ...] = ()
    is_deployed: bool = False


def _stacks(lab: Lab) -> list[tuple[Any, dict[str, dict[str, str]]]]:
    """Two stacks of models that no world has, with the types of all columns."""

    def make() -> list[tuple[Any, dict[str, dict[str, str]]]]:
        models = history("models")
        rng = lab.rng("stacks")
        core: dict[str, dict[str, str]] = {}
        for table in models.CORE:
            rows = lab.world.sql(f"describe core.{table}").rows
            core[f"core.{table}"] = {str(r[0]): str(r[1]) for r in rows}
        stacks = [models.make_stack(rng.bytes(16)) for _ in range(2)]
        return [(stack, models.model_types(stack, core)) for stack in stacks]

    return lab.cached("stacks", make)


MODELS = 2  # of the forty, and UNIONS; what the others have, the short statements have as well
# What the short statements read: texts (with a value each), numbers, times. All these tables have order_id.
VALUES = {
    "core.orders": {"channel": "app", "status": "cancelled", "country_code": "DE", "currency": "EUR"},
    "core.payments": {"psp": "till", "method": "card", "status": "captured", "currency": "USD"},
    "core.returns": {"reason": "damaged", "currency": "EUR"},
    "core.shipments": {"carrier": "swiftly"},
}
NUMBERS = {
    "core.orders": ("total_amount", "total_usd", "item_count"),
    "core.payments": ("amount",),
    "core.returns": ("quantity", "refund_amount"),
    "core.shipments": ("weight_g",),
}
TIMES = {
    "core.orders": ("ordered_at",),
    "core.payments": ("authorized_at", "captured_at"),
    "core.returns": ("returned_at",),
    "core.shipments": ("shipped_at", "delivered_at"),
}


@dataclass(frozen=True)
class Drawn:
    """A table for a short statement, and columns of it: ``c`` of texts (``v`` is one), ``n`` of numbers, ``t`` of times, and
    two others. ``k``: what it is joined by."""

    name: str
    c: str
    v: str
    n: str
    t: str
    d: str
    e: str
    k: str = "order_id"

    def __str__(self) -> str:
        return self.name


def _drawn(rng: np.random.Generator, name: str, columns: Iterable[str]) -> Drawn:
    c, n, t = (str(rng.choice(list(of[name]))) for of in (VALUES, NUMBERS, TIMES))
    d, e = rng.permutation([x for x in columns if x not in {c, n, t, "order_id"}])[:2].tolist()
    return Drawn(name, c, VALUES[name][c], n, t, d, e)


def _short_statements(lab: Lab) -> list[Statement]:
    rng = lab.rng("short statements")
    types = _stacks(lab)[0][1]
    found = []
    for number, case in enumerate(read_cases(Path(__file__).parent / "statements.yaml"), 1):
        names = rng.permutation(list(VALUES))[:3].tolist()
        given = {a: _drawn(rng, name, types[name]) for a, name in zip("xyz", names, strict=True)}
        schema = {g.name: {c: types[g.name][c] for c in (g.k, g.c, g.n, g.t, g.d, g.e)} for g in given.values()}

        def refs(text: str, given: dict[str, Drawn] = given) -> set[tuple[str, str]]:
            pairs = [part.split(".") for part in text.split()]
            return {(given[a].name, getattr(given[a], field)) for a, field in pairs}

        edges: set[Edge] = set()
        for column, text in case["direct"].items():
            edges |= {(column, *ref, "DIRECT") for ref in refs(text)}
            decides = refs(case.get("by", {}).get(column, "")) | refs(case.get("rows", ""))
            edges |= {(column, *ref, "INDIRECT") for ref in decides}
        sql = case["sql"].format(**given).strip()
        table, groups = f"mart.try_{number}", tuple(case["groups"])
        found.append(Statement(table, sql, schema, frozenset(edges), groups, case.get("deployed", False)))
    return found


def _statements(lab: Lab) -> list[Statement]:
    def make() -> list[Statement]:
        stack, types = _stacks(lab)[0]
        others = [t for t in stack.versions if t not in UNIONS]
        chosen = {*UNIONS, *lab.rng("models").permutation(others)[:MODELS].tolist()}
        found = []
        for table, version in stack.versions.items():
            if table in chosen:
                # What it reads, and three tables that it does not.
                given = {t for _, t, _, _ in version.edges} | {"core.orders", "core.payments", "core.shipments"}
                schema = {t: types[t] for t in sorted(given)}
                found.append(Statement(table, version.sql, schema, version.edges))
        return found + _short_statements(lab)

    return lab.kept("statements", make)


def _rows(value: Any) -> Any:
    """What a learner returned, sets and tuples as lists; a frame without rows and columns is an empty list."""
    if isinstance(value, Table) and not value.rows and not value.columns:
        return []
    return list(value) if isinstance(value, frozenset | set | tuple) else value


def read_edges(value: Any, what: str) -> set[Edge]:
    """Rows of a learner's as edges, names in lower case."""
    table = as_table(_rows(value), what, EDGE)
    found = set()
    for row in table.rows:
        expect(
            all(isinstance(v, str) for v in row) and row[3].upper() in {"DIRECT", "INDIRECT"},
            f"{what} gave the row {row!r}: four texts are expected, the last of them DIRECT or INDIRECT.",
        )
        found.add((*(v.lower() for v in row[:3]), row[3].upper()))
    return found


def _said_of(error: LearnerError, name: str, what: str, *shown: Evidence) -> LearnerError:
    """The same error, told of the function and the case in which it came up."""
    message = error.message.replace(name, what, 1)
    evidence = (*error.evidence, *shown)
    return LearnerError(message, error_type=error.error_type, error_message=error.error_message, evidence=evidence)


def _found(lab: Lab) -> list[set[Edge]]:
    """What the learner's function gives for each statement."""

    def make() -> list[set[Edge]]:
        found = []
        for s in _statements(lab):
            what = f"`column_lineage` of {s.table}"
            try:
                found.append(read_edges(lab.call("column_lineage", s.sql, s.schema), what))
            except LearnerError as error:
                raise _said_of(error, "`column_lineage`", what, Evidence(s.table, text=s.sql)) from error
        return found

    return lab.once("found", make)


def f1(got: Sequence[set[Edge]], want: Sequence[Iterable[Edge]], kind: str) -> tuple[float, int, int]:
    """F1 over all statements of the edges of one kind (1 where there are none on either side), edges too many, edges missing."""
    mine = {(k, *e) for k, edges in enumerate(got) for e in edges if e[3] == kind}
    true = {(k, *e) for k, edges in enumerate(want) for e in edges if e[3] == kind}
    both = len(mine & true)
    return 2 * both / (len(mine) + len(true)) if mine or true else 1.0, len(mine - true), len(true - mine)


def _worst(got: Sequence[set[Edge]], statements: Sequence[Statement], kind: str) -> list[Evidence]:
    """The shortest statement that shows a difference of this kind, and its edges."""
    wrong = [
        (len(s.sql), s, {e for e in s.edges ^ frozenset(g) if e[3] == kind})
        for s, g in zip(statements, got, strict=True)
        if any(e[3] == kind for e in s.edges ^ frozenset(g))
    ]
    if not wrong:
        return []
    _, s, differing = min(wrong, key=lambda w: (w[0], w[1].table))
    rows = [("missing" if e in s.edges else "too many", *e) for e in sorted(differing)]
    return [Evidence(s.table, text=s.sql), Evidence("edges that differ", Table.of(["yours", *EDGE], rows[:8]))]


# What a group of statements turns on: its words for DIRECT and INDIRECT edges, and a misconception.
GROUPS = {
    "a function, cast or comparison": ("What is computed from a value is made of it, true and false too.", "star_lost"),
    "a window": ("What partitions and orders decides; its values are not in the result.", "window_is_direct"),
    "case": ("A condition decides; its values are not in the result.", "choice_is_direct"),
    "case x when": ("In `case x when`, x decides; its values are not in the result.", "choice_is_direct"),
    "if": ("A condition decides; its values are not in the result.", "choice_is_direct"),
    "filter": ("A condition decides; its values are not in the result.", "choice_is_direct"),
    "where": ("Which rows there are decides about every column.", "rows_forgotten"),
    "having": ("Which groups are left decides about every column.", "rows_forgotten"),
    "qualify": ("Which rows are left decides about every column.", "rows_forgotten"),
    "order by": ("The order of rows is decided by columns too, and with `limit` the rows are.", "rows_forgotten"),
    "a subquery in a clause": ("All that it reads or filters by is part of the clause.", "rows_forgotten"),
    "a subquery in the select list": ("What it selects goes into the value, what it filters by decides.", "rows_are_direct"),
    "a subquery in qualify or group by or order by": ("Any clause may have one.", "rows_forgotten"),
    "what a subquery selects": ("All that it selects counts: each column, conditions, each branch.", "rows_forgotten"),
    "a subquery with clauses of its own": ("All that it selects, reads or filters by is part of the clause.", "rows_forgotten"),
    "a subquery in a subquery": ("What the inner one reads or filters by is part of it, at any depth.", "rows_forgotten"),
    "a subquery in on or in a condition": ("All that it reads or filters by is part of the condition.", "rows_forgotten"),
    "a CTE or subquery of which no column is read": ("It decides which rows there are.", "rows_forgotten"),
    "a CTE that only a column or nothing reads": ("It decides about who reads it, and about no other column.", "rows_forgotten"),
    "a name that stands inside and outside": ("A name belongs to the innermost SELECT that has it in FROM or JOIN.", "star_lost"),
    "a CTE joined to a table": ("What decides about its rows decides about the rows of who reads it.", "rows_forgotten"),
    "using": ("The merged column comes from each of the joined tables.", "star_lost"),
    "union all": ("The column in place k comes from place k of each branch.", "first_branch"),
    "a pair of both kinds": ("What flows into a column can also decide about it: two edges.", "rows_forgotten"),
}  # fmt: skip
# Below this, what is wrong is wrong everywhere, and no matter of one construct.
F1_OF_ONE_CONSTRUCT = 0.80


def _judge_kind(lab: Lab, kind: str) -> str:
    """Fails unless F1 of the edges of this kind is high enough over all statements, and over each group by itself."""
    statements, got = _statements(lab), _found(lab)
    whole, extra, missing = f1(got, [s.edges for s in statements], kind)
    of = {group: [k for k, s in enumerate(statements) if group in s.groups] for group in GROUPS}
    by_group = {g: f1([got[k] for k in at], [statements[k].edges for k in at], kind)[0] for g, at in of.items()}
    worst = min(by_group, key=lambda g: by_group[g])
    if whole >= F1_OF_ONE_CONSTRUCT and by_group[worst] < F1:
        words, misconception = GROUPS[worst]
        at = of[worst]
        named = f" with {worst}"
    else:
        at, named = list(range(len(statements))), ""
        if kind == "INDIRECT":
            words, misconception = "Who changes a filter wants to know whose numbers move.", "rows_forgotten"
        elif extra > missing:
            words, misconception = "A clause that decides about rows gives no values.", "rows_are_direct"
        else:
            words, misconception = "An auditor who follows them ends at the wrong column.", "star_lost"
    mine, given = [got[k] for k in at], [statements[k] for k in at]
    value, extra, missing = f1(mine, [s.edges for s in given], kind)
    expect(
        value >= F1,
        f"{kind} edges of {len(given)} statements{named}: F1 is {value:.3f}, {F1} is expected; {extra} edges are too many, "
        f"{missing} are missing. {words}",
        evidence=lambda: _worst(mine, given, kind),
        ask="Which part of this statement did your function take for something else?",
        misconception=misconception,
    )
    return (
        f"{len(statements)} fresh statements: F1 of {kind} edges {whole:.3f}; of {len(GROUPS)} groups at least "
        f"{by_group[worst]:.3f}."
    )


@check("a", "where values come from: DIRECT edges", points=2)
def direct_edges(lab: Lab) -> str:
    """Truth: the construction of the statements. Each construct has statements of its own, on which to miss it costs more."""
    return _judge_kind(lab, "DIRECT")


@check("a", "what else decides: INDIRECT edges", points=1.5)
def indirect_edges(lab: Lab) -> str:
    """The same for what decides."""
    return _judge_kind(lab, "INDIRECT")


@check("a", "what cannot be read is an error, not an empty result", points=0.5)
def unread_is_an_error(lab: Lab) -> str:
    """Statements that no parser or schema can make sense of; one that is fine goes before."""
    statements = _statements(lab)
    rng = lab.rng("unread")
    schema = statements[0].schema
    fine = read_edges(
        lab.call("column_lineage", "select channel from core.orders", schema), "`column_lineage` of a short statement"
    )
    expect(fine, "`column_lineage` gave no edge for select channel from core.orders.")
    table = str(rng.choice(["core.orders", "core.payments", "core.shipments"]))
    column = str(rng.choice(list(schema[table])))
    cases = {
        "a template that nobody filled in": f"select {column} from {{{{ ref('{table.split('.')[1]}') }}}}",
        "a bracket that is never closed": f"select {column}, count(* as n from {table} group by 1",
        "an empty text": "",
        "a comment alone": f"-- select {column} from {table}",
        "a column that the table lacks": f"select {column}, {column}_{rng.integers(10, 99)} from {table}",
        "a table that is not there": f"select t.{column} from core.old_{table.split('.')[1]} as t",
        "a star over a table that is not there": f"select * from core.old_{table.split('.')[1]}",
        "a join with a table that is not there": f"select o.{column} from {table} as o join core.gone as g on g.k = o.{column}",
        "a CTE that reads a table that is not there":
            f"with g as (select s.k from core.gone as s) select o.{column} from {table} as o join g on g.k = o.{column}",
        "a subquery that reads a table that is not there":
            f"select o.{column} from {table} as o where exists (select 1 from core.gone as g where g.k = o.{column})",
    }  # fmt: skip
    for what, sql in cases.items():
        try:
            got = lab.call("column_lineage", sql, schema)
        except NotAttempted:
            raise
        except LearnerError:
            continue
        expect(
            False,
            f"`column_lineage` was given {what}, and returned {got!r}"[:300]
            + " instead of raising an exception. The catalogue would "
            "show a table that comes from nowhere, and no gate would notice.",
            evidence=Evidence(what, text=sql or "(nothing)"),
            misconception="empty_for_unread",
        )
    return f"{len(cases)} statements that cannot be read: an exception for each."


# -- task b ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Emitted:
    """A deployment, its edges (None: not read) and the events that the learner's code emitted for it. ``error``: what it raised
    instead, for one that could not be read; that is a matter of one check alone."""

    deployment: dict[str, Any]
    edges: frozenset[Edge] | None
    events: list[dict[str, Any]]
    error: LearnerError | None = None

    @cached_property
    def broken(self) -> list[str]:
        """What the first event that breaks the specification breaks."""
        return next((found for event in self.events if (found := violations(event))), [])


def _deployments(lab: Lab) -> list[tuple[dict[str, Any], frozenset[Edge] | None]]:
    """Five deployments of models that were read, one of them of a UNION; three of short statements, of which one only filters by
    a table, one has a column without edges, and one reads nothing; and two that could not be read."""

    def make() -> list[tuple[dict[str, Any], frozenset[Edge] | None]]:
        rng = lab.rng("deployments")
        stack, types = _stacks(lab)[0]
        free = rng.permutation([t for t in stack.versions if t not in UNIONS]).tolist()
        given = [(t, stack.versions[t].sql, types[t], stack.versions[t].edges)
                 for t in [UNIONS[0], *free[:4]]]  # fmt: skip
        short = [s for s in _statements(lab) if s.is_deployed]
        with closing(history("models").empty_warehouse(types)) as con:
            for s in short:
                columns = {r[0]: r[1] for r in con.execute(f"describe {s.sql}").fetchall()}
                given.append((s.table, s.sql, columns, s.edges))
        given += [(t, stack.versions[t].sql, {}, None) for t in free[4:6]]
        found = []
        for k, (table, sql, columns, edges) in enumerate(given):
            sha = rng.bytes(20).hex()
            at = datetime(2026, 5, 1) + timedelta(seconds=int(rng.integers(0, 60 * 86400)))
            about = {
                "deployment_id": int(rng.integers(10_000, 99_999)) * 10 + k,
                "table": table,
                "sql": sql,
                "columns": [{"name": c, "type": t} for c, t in columns.items()],
                "started_at": f"{at:%Y-%m-%dT%H:%M:%SZ}",
                "deployed_at": f"{at + timedelta(seconds=int(rng.integers(20, 300))):%Y-%m-%dT%H:%M:%SZ}",
                "git_sha": sha,
                "url": f"https://git.kestrel.example/analytics/models/blob/{sha}/models/{table.replace('.', '/')}.sql",
                "error": None,
            }
            if edges is None:
                about["error"] = f"Column 'col_{rng.integers(10, 99)}' could not be resolved"
            found.append((about, edges))
        return found

    return lab.kept("deployments", make)


def _collect(lab: Lab, deployment: dict[str, Any], rows: list[dict[str, str]] | None) -> list[dict[str, Any]]:
    what = f"`emit`, the deployment of {deployment['table']}"
    if not rows:
        what += ", which could not be read" if rows is None else ", which reads no column"
    try:
        events = lab.drive("workshop.lineage_events:collect", lab.function("emit"), deployment, rows)
    except LearnerError as error:
        raise _said_of(error, "`collect`", f"{what},") from error
    expect(
        isinstance(events, list) and all(isinstance(e, dict) for e in events),
        "`emit` handed over something that is no list of events.",
    )
    return events


def _emitted(lab: Lab) -> list[Emitted]:
    def make() -> list[Emitted]:
        found = []
        for deployment, edges in _deployments(lab):
            rows = None if edges is None else [dict(zip(EDGE, e, strict=True)) for e in sorted(edges)]
            try:
                found.append(Emitted(deployment, edges, _collect(lab, deployment, rows)))
            except LearnerError as error:
                if edges is not None:
                    raise
                found.append(Emitted(deployment, edges, [], error))
        return found

    return lab.once("emitted", make)


def _valid(item: Emitted) -> None:
    """Fails unless the events are the two that are asked for, and keep the specification."""
    name = f"the deployment of {item.deployment['table']}"
    last = "FAIL" if item.edges is None else "COMPLETE"
    types = [str(e.get("eventType")) for e in item.events]
    expect(
        types == ["START", last],
        f"`emit`, {name}: the events were {', '.join(types) or 'none'}; START and {last} are expected"
        + (
            ", since the statement could not be read."
            if item.edges is None
            else "."
            if item.edges
            else ": the statement was read, and reads no column."
        ),
        misconception="failure_hidden" if item.edges is None else None,
    )
    expect(
        not item.broken,
        f"`emit`, {name}: an event breaks the OpenLineage specification. {'; '.join(item.broken[:3])}",
        evidence=Evidence("all that it breaks", text="\n".join(item.broken)),
    )


def _run_ids(events: Sequence[dict[str, Any]]) -> list[str]:
    return [str(e["run"].get("runId")) for e in events if isinstance(e.get("run"), dict)]


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text.upper()).astimezone(UTC)


@check("b", "events keep the specification, and a run is one run", points=1)
def events_are_valid(lab: Lab) -> str:
    """By the JSON Schema of the kit, which restates OpenLineage's; times, types and run ids by the task."""
    emitted = _emitted(lab)
    seen: dict[str, int] = {}
    for item in emitted:
        if item.edges is None and [e.get("eventType") for e in item.events] != ["START", "FAIL"]:
            continue  # how failures end is another check's matter
        _valid(item)
        for event, key in zip(item.events, ("started_at", "deployed_at"), strict=True):
            expect(
                _moment(event["eventTime"]) == _moment(item.deployment[key]),
                f"`emit`: the {event['eventType']} of {item.deployment['table']} has the time {event['eventTime']}; {key} is "
                f"{item.deployment[key]}.",
                misconception="time_of_emission",
            )
            name = (event["job"]["namespace"], event["job"]["name"])
            expect(
                name == (JOB_NAMESPACE, item.deployment["table"]),
                f"`emit`: the job is called {name[1]!r} in {name[0]!r}; {item.deployment['table']!r} in {JOB_NAMESPACE!r} is "
                "expected.",
            )
        ids = {str(UUID(e["run"]["runId"])) for e in item.events}
        expect(
            len(ids) == 1,
            f"`emit`: START and {item.events[-1]['eventType']} of one deployment have different run ids: "
            + " and ".join(sorted(ids)) + ". Nobody can tell that they belong together.",
            misconception="new_run_each_time",
        )  # fmt: skip
        run_id = ids.pop()
        expect(
            run_id not in seen,
            f"`emit`: deployments {seen.get(run_id)} and {item.deployment['deployment_id']} have the same run id.",
            ask="What tells two deployments of one commit, or of one table, apart?",
        )
        seen[run_id] = item.deployment["deployment_id"]
    first = emitted[1]
    rows = [dict(zip(EDGE, e, strict=True)) for e in sorted(first.edges or ())]
    # The same table deployed again is another run; the same deployment repeated is the same run.
    expect(
        _run_ids(_collect(lab, first.deployment, rows)) == _run_ids(first.events),
        f"`emit` was called twice for deployment {first.deployment['deployment_id']}, as the build does when the network "
        "fails, and the run ids differ: the catalogue shows two deployments.",
        misconception="new_run_each_time",
    )
    other = first.deployment | {"deployment_id": first.deployment["deployment_id"] + 1}
    expect(
        not set(_run_ids(_collect(lab, other, rows))) & set(_run_ids(first.events)),
        "`emit`: a second deployment of the same statement, with another deployment_id, has the run id of the first.",
        ask="What tells two deployments of one commit, or of one table, apart?",
    )
    return f"{sum(len(i.events) for i in emitted)} events of {len(emitted)} deployments keep the specification."


@check("b", "inputs, columns and edges are those of the deployment", points=1)
def facets_say_what_stands(lab: Lab) -> str:
    """Read back from the events: the facets' edges are those that went in, whichever way INDIRECT ones are written."""
    edges_total = 0
    for item in _emitted(lab):
        if item.edges is None:
            continue
        _valid(item)
        table, event = item.deployment["table"], item.events[-1]
        inputs = Counter((d["namespace"], d["name"]) for d in event.get("inputs") or [])
        want = {(DATASET_NAMESPACE, t) for _, t, _, _ in item.edges}
        expect(
            set(inputs) == want and all(n == 1 for n in inputs.values()),
            f"`emit`: the COMPLETE of {table} has the inputs {_names(inputs.elements()) or 'none'}; once each, "
            f"{_names(want) or 'none'} is expected.",
        )
        outputs = [(d["namespace"], d["name"]) for d in event.get("outputs") or []]
        expect(
            outputs == [(DATASET_NAMESPACE, table)],
            f"`emit`: the COMPLETE of {table} has the outputs {_names(outputs) or 'none'}; {table} in {DATASET_NAMESPACE} "
            "is expected.",
        )
        got = read_outputs(event)[table]
        columns = {c["name"]: c["type"] for c in item.deployment["columns"]}
        expect(
            list(got.columns.items()) == list(columns.items()),
            f"`emit`: the schema facet of {table} has {_listed(got.columns)}; {_listed(columns)} is expected, in this order.",
        )
        expect(
            "columnLineage" in (event["outputs"][0].get("facets") or {}),
            f"`emit`: the output of {table} has no facet columnLineage.",
            misconception="tables_only",
        )
        named = {(i["namespace"], i["name"]) for d in event["outputs"] for i in _input_fields(d)}
        expect(
            named <= want,
            f"`emit`: the columnLineage facet of {table} names inputs that are none of the run's: {_names(named - want)}.",
        )
        extra, missing = got.edges - item.edges, item.edges - got.edges
        rows = [("too many", *e) for e in sorted(extra)[:4]] + [("missing", *e) for e in sorted(missing)[:4]]
        expect(
            not rows,
            f"`emit`: the columnLineage facet of {table} says {len(extra)} edges that were not handed in, and lacks "
            f"{len(missing)} of {len(item.edges)}.",
            evidence=Evidence("edges", Table.of(["facet", *EDGE], rows)),
            ask="Is the kind of each edge in the facet, and both kinds where a pair has both?",
            misconception="tables_only" if len(got.edges) == 0 else None,
        )
        edges_total += len(got.edges)
    return f"{edges_total} edges came back from the events as they went in."


def _input_fields(dataset: dict[str, Any]) -> list[dict[str, Any]]:
    lineage = (dataset.get("facets") or {}).get("columnLineage") or {}
    found = [i for f in (lineage.get("fields") or {}).values() for i in f.get("inputFields") or []]
    return found + list(lineage.get("dataset") or [])


def _names(names: Iterable[tuple[str, str]]) -> str:
    return ", ".join(sorted(n if s == DATASET_NAMESPACE else f"{n} (in {s})" for s, n in names))


def _listed(columns: dict[str, Any]) -> str:
    return ", ".join(f"{n} {t}" for n, t in columns.items())[:200] or "no columns"


@check("b", "from the event to the statement and the commit", points=0.5)
def jobs_name_the_commit(lab: Lab) -> str:
    """The facets of the job, on both events."""
    items = [i for i in _emitted(lab) if i.error is None]
    for item in items:
        expect(item.events, f"`emit` emitted nothing for the deployment of {item.deployment['table']}.")
        for event in item.events:
            job = event.get("job")
            facets = job.get("facets") if isinstance(job, dict) else None
            facets = facets if isinstance(facets, dict) else {}
            what = f"`emit`: the job of the {event.get('eventType')} of {item.deployment['table']}"
            sql, code = (
                facets.get(k) if isinstance(facets.get(k), dict) else {} for k in ("sql", "sourceCodeLocation")
            )
            expect(
                str(sql.get("query") or "").strip() == item.deployment["sql"].strip(),
                f"{what} " + ("has another statement in its facet sql." if sql else "has no facet sql."),
                misconception="no_evidence",
            )
            for key, want in (
                ("type", "git"),
                ("url", item.deployment["url"]),
                ("version", item.deployment["git_sha"]),
            ):
                expect(
                    code.get(key) == want,
                    f"{what} has {code.get(key)!r} as {key} of sourceCodeLocation; {want!r} is expected. An auditor cannot "
                    "find the commit that was deployed.",
                    misconception="no_evidence",
                )
    return f"Statement and commit of {len(items)} deployments are in their events."


@check("b", "a statement that could not be read ends as FAIL", points=0.5)
def failures_are_said(lab: Lab) -> str:
    """Deployments without edges."""
    items = [i for i in _emitted(lab) if i.edges is None]
    for item in items:
        if item.error is not None:
            raise item.error
        _valid(item)
        event = item.events[-1]
        facets = (event.get("run") or {}).get("facets") or {}
        message = str((facets.get("errorMessage") or {}).get("message") or "")
        expect(
            item.deployment["error"] in message,
            f"`emit`: the FAIL of {item.deployment['table']} says {message!r}; the reason is {item.deployment['error']!r}.",
        )
        claimed = [d["name"] for e in item.events for d in e.get("outputs") or [] if _input_fields(d)]
        expect(not claimed, f"`emit`: a run that failed claims a lineage for {', '.join(claimed)}.")
    return f"{len(items)} deployments that could not be read: FAIL, with the reason."


# -- task c ---------------------------------------------------------------------------------------------------------------


class Scribe:
    """Writes events of versions, in the ways in which emitters do: INDIRECT by field or by dataset, times with any offset."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.number = 0

    def time(self, at: datetime, hours: int | None = None) -> str:
        """The moment as text; ``hours``: its offset (None: any)."""
        if hours is None:
            hours = int(self.rng.choice([0, 0, 2, -4, 10]))
        if not hours:
            return f"{at:%Y-%m-%dT%H:%M:%SZ}"
        return at.replace(tzinfo=UTC).astimezone(timezone(timedelta(hours=hours))).isoformat()

    def event(
        self, state: str, table: str, at: datetime, output: Output | None = None, run: str | None = None
    ) -> dict[str, Any]:
        """One event; ``output``: what the run made."""
        run = run or self.run()
        producer = "https://git.kestrel.example/platform/build"
        url = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
        event = {
            "eventType": state, "eventTime": self.time(at), "producer": producer, "schemaURL": url,
            "run": {"runId": run, "facets": {}}, "job": {"namespace": JOB_NAMESPACE, "name": table, "facets": {}},
            "inputs": [], "outputs": [],
        }  # fmt: skip
        if output is not None:
            event["inputs"] = [
                {"namespace": DATASET_NAMESPACE, "name": t} for t in sorted({e[1] for e in output.edges})
            ]
            event["outputs"] = [
                {"namespace": DATASET_NAMESPACE, "name": table, "facets": self._facets(output, producer)}
            ]
        return event

    def run(self) -> str:
        self.number += 1
        return str(UUID(bytes=self.rng.bytes(16), version=4))

    def _facets(self, output: Output, producer: str) -> dict[str, Any]:
        def head(name: str) -> dict[str, str]:
            return {"_producer": producer, "_schemaURL": f"https://openlineage.io/spec/facets/1-2-0/{name}.json"}

        fields = {n: {"inputFields": []} for n in output.columns}
        everywhere: set[tuple[str, str]] = set()
        if self.rng.random() < 0.5:
            of = [{(t, c) for o, t, c, k in output.edges if o == n and k == "INDIRECT"} for n in output.columns]
            everywhere = set.intersection(*of) if of else set()
        kinds: dict[tuple[str, str, str], list[str]] = {}
        for column, table, name, kind in sorted(output.edges):
            if kind == "DIRECT" or (table, name) not in everywhere:
                kinds.setdefault((column, table, name), []).append(kind)
        for (column, table, name), found in kinds.items():
            fields[column]["inputFields"].append(_input_field(table, name, found))
        lineage = head("ColumnLineageDatasetFacet") | {"fields": fields}
        if everywhere:
            lineage["dataset"] = [_input_field(t, c, ["INDIRECT"]) for t, c in sorted(everywhere)]
        schema = head("SchemaDatasetFacet") | {"fields": [{"name": n, "type": t} for n, t in output.columns.items()]}
        return {"schema": schema, "columnLineage": lineage}


def _input_field(table: str, name: str, kinds: Sequence[str]) -> dict[str, Any]:
    transformations = [{"type": k} for k in kinds]
    return {"namespace": DATASET_NAMESPACE, "name": table, "field": name, "transformations": transformations}


def _output(version: Any) -> Output:
    return Output(dict.fromkeys(version.columns, "VARCHAR"), version.edges)


def _renamed(output: Output, names: dict[str, str], inputs: dict[tuple[str, str], str] | None = None) -> Output:
    """The same with other names of its columns, and of columns that it reads."""
    inputs = inputs or {}
    columns = {names.get(c, c): t for c, t in output.columns.items()}
    edges = frozenset((names.get(o, o), t, inputs.get((t, c), c), k) for o, t, c, k in output.edges)
    return Output(columns, edges)


@dataclass(frozen=True)
class Build:
    """A build that the gate meets: ``problems`` are (table, column) pairs that it must name; none: it passes. ``differing``: some
    edges of the lineages before and after, rows to look at."""

    name: str
    before: list[dict[str, Any]]
    after: list[dict[str, Any]]
    declared: list[dict[str, Any]]
    problems: frozenset[tuple[str, str | None]]
    is_empty: bool = False
    differing: tuple[tuple[str, ...], ...] = ()


START = datetime(2026, 4, 6, 7, 0)


def _builds(lab: Lab) -> list[Build]:
    def make() -> list[Build]:
        rng = lab.rng("builds")
        stack, _ = _stacks(lab)[0]
        builds = [
            *_real_builds(rng, stack),
            *_made_builds(rng, stack),
            *_builds_of_two(rng, stack),
            *_builds_in_time(rng, stack),
            *_builds_by_sentence(rng, stack),
            *_empty_builds(rng, stack),
        ]
        return [replace(b, differing=_differing(b)) for b in builds]

    return lab.kept("builds", make)


def _differing(build: Build) -> tuple[tuple[str, ...], ...]:
    """Edges that only one of the two lineages has; what is a problem first."""
    changes = []
    old, new = (
        {
            t: o
            for e in sorted(events, key=lambda e: _moment(e["eventTime"]))
            if e["eventType"] == "COMPLETE"
            for t, o in read_outputs(e).items()
        }
        for events in (build.before, build.after)
    )
    for table in sorted({*old, *new}):
        a, b = (o.get(table, Output({}, frozenset())).edges for o in (old, new))
        # Columns that are a problem first.
        for words, edges in (("before alone", a - b), ("after alone", b - a)):
            ordered = sorted(edges, key=lambda e, table=table: ((table, e[0]) not in build.problems, e))
            changes += [(words, table, *e) for e in ordered[:4]]
    changes.sort(key=lambda c: (c[1], c[2]) not in build.problems)
    return tuple(changes[:12])


def _pair(scribe: Scribe, table: str, at: datetime, output: Output | None, state: str = "COMPLETE") -> list[dict]:
    """START and the end of one run."""
    run = scribe.run()
    took = timedelta(seconds=int(scribe.rng.integers(20, 200)))
    return [scribe.event("START", table, at, run=run), scribe.event(state, table, at + took, output, run)]


def _real_builds(rng: np.random.Generator, stack: Any) -> list[Build]:
    """Changes as they happen: versions of models, with what has to be declared, whole and in part."""
    models = history("models")
    scribe = Scribe(rng)
    wanted = {"refactor": 1, "addition": 1, "rename": 2, "column": 2, "input": 2}
    found: list[Build] = []
    taken: Counter[str] = Counter()
    for k in range(20):
        deployments = models.make_history(stack, f"builds/{k}")
        for d in [deployments[i] for i in rng.permutation(len(deployments))]:
            needed = models.declarations(d.before, d.after, models._renamed(d.before, d.after))
            actions = {n["action"] for n in needed}
            grows = set(d.after.columns) > set(d.before.columns)
            kind = (
                "rename" if actions == {"rename_column"}
                else "column" if actions == {"drop_column"}
                else "input" if actions == {"drop_input"}
                else "addition" if not actions and grows
                else "refactor" if not actions and d.before.edges == d.after.edges
                else None
            )  # fmt: skip
            if kind is None or taken[kind] >= wanted[kind]:
                continue
            taken[kind] += 1
            table = d.before.table
            before = _pair(scribe, table, START, _output(d.before))
            after = _pair(scribe, table, START + timedelta(days=9), _output(d.after))
            words = {"refactor": "a model written in another way", "addition": "a new column",
                     "rename": "a renamed column", "column": "a dropped column",
                     "input": "a filter, join or branch taken out"}[kind]  # fmt: skip
            found.append(Build(words + (", declared" if needed else ""), before, after, needed, frozenset()))
            if needed:
                lost = models.unexplained(d.before, d.after, [])
                problems = frozenset((table, c) for c in lost)
                found.append(Build(f"{words}, not declared", before, after, [], problems))
                other = [n | {"table": "mart.another_table"} for n in needed]
                if kind != "rename" and taken[kind] == 1:
                    found.append(Build(f"{words}, declared of another table", before, after, other, problems))
                if len(needed) > 1:
                    some = [n for i, n in enumerate(needed) if i]
                    lost = models.unexplained(d.before, d.after, some)
                    problems = frozenset((table, c) for c in lost)
                    found.append(Build(f"{words}, declared in part", before, after, some, problems))
        if taken == wanted:
            break
    return found


def _made_builds(rng: np.random.Generator, stack: Any) -> list[Build]:
    """Changes made of edges: of several tables, of kinds, of names that change places."""
    scribe = Scribe(rng)
    later = START + timedelta(days=9)
    found: list[Build] = []
    marts = [t for t in stack.versions if t.startswith("mart.")]

    def one(table: str, was: Output, is_now: Output) -> tuple[list[dict], list[dict]]:
        return _pair(scribe, table, START, was), _pair(scribe, table, later, is_now)

    def direct_only(output: Output) -> list[Edge]:
        return sorted(e for e in output.edges if e[3] == "DIRECT" and (*e[:3], "INDIRECT") not in output.edges)

    # A value becomes a condition: the column is there, and so is the input.
    table = str(rng.choice([t for t in marts if direct_only(_output(stack.versions[t]))]))
    was = _output(stack.versions[table])
    edge = direct_only(was)[int(rng.integers(len(direct_only(was))))]
    is_now = replace(was, edges=was.edges - {edge} | {(*edge[:3], "INDIRECT")})
    before, after = one(table, was, is_now)
    found.append(Build("a value that is now a condition", before, after, [], frozenset({(table, edge[0])})))

    # A rename to a name that is not there.
    table = str(rng.choice(marts))
    was = _output(stack.versions[table])
    column = str(rng.choice(list(was.columns)))
    before, after = one(table, was, _renamed(was, {column: f"{column}_new"}))
    wrong = {"action": "rename_column", "table": table, "column": column, "to": f"{column}_2"}
    found.append(Build("a rename with a slip in it", before, after, [wrong], frozenset({(table, column)})))

    # Two columns change names with each other.
    table, a, b = _exchange(rng, stack, marts)
    was = _output(stack.versions[table])
    is_now = _renamed(was, {a: b, b: a})
    before, after = one(table, was, is_now)
    both = [{"action": "rename_column", "table": table, "column": x, "to": y} for x, y in ((a, b), (b, a))]
    found.append(Build("two columns that change names, declared", before, after, both, frozenset()))
    lost = frozenset((table, c) for c in (a, b) if any(e not in is_now.edges for e in was.edges if e[0] == c))
    found.append(Build("two columns that change names, not declared", before, after, [], lost))

    # A column renamed where it is made; a table that reads it is built with it.
    lower, column, upper = _reader(rng, stack)
    below, above = _output(stack.versions[lower]), _output(stack.versions[upper])
    new = f"{column}_new"
    before = _pair(scribe, lower, START, below) + _pair(scribe, upper, START, above)
    after = _pair(scribe, lower, later, _renamed(below, {column: new}))
    after += _pair(scribe, upper, later, _renamed(above, {}, {(lower, column): new}))
    rename = {"action": "rename_column", "table": lower, "column": column, "to": new}
    found.append(Build("a column renamed with its reader, declared", before, after, [rename], frozenset()))
    readers = {o for o, t, c, _ in above.edges if (t, c) == (lower, column)}
    problems = {(lower, column)} | {(upper, o) for o in readers}
    found.append(Build("a column renamed with its reader, not declared", before, after, [], frozenset(problems)))

    # The same for a table.
    moved = lower.replace("int_", "core_").replace("stg_", "src_")
    edges = frozenset((o, moved if t == lower else t, c, k) for o, t, c, k in above.edges)
    after = _pair(scribe, moved, later, below) + _pair(scribe, upper, later, replace(above, edges=edges))
    rename = {"action": "rename_table", "table": lower, "to": moved}
    found.append(Build("a table renamed with its reader, declared", before, after, [rename], frozenset()))
    problems = {(lower, None)} | {(upper, o) for o, t, _, _ in above.edges if t == lower}
    found.append(Build("a table renamed with its reader, not declared", before, after, [], frozenset(problems)))

    # What was dropped, or failed, long before the build.
    table = str(rng.choice(marts))
    was = _output(stack.versions[table])
    flag = ("old_flag", "core.orders", "status", "DIRECT")
    gone = replace(was, columns=was.columns | {"old_flag": "BOOLEAN"}, edges=was.edges | {flag})
    day = timedelta(days=1)
    before = _pair(scribe, table, START + 2 * day, was) + _pair(scribe, table, START, gone)
    old = before[-1]
    before += _pair(scribe, table, START + 3 * day, None, "FAIL")
    run = _pair(scribe, table, later, None, "FAIL") + _pair(scribe, table, later + timedelta(hours=1), was)
    # The oldest COMPLETE stands last in the list.
    before = sorted(before, key=lambda e: (e is old, e["run"]["runId"]))
    found.append(Build("a column that was dropped weeks ago", before, run, [], frozenset()))

    # Tables that come and go.
    table = str(rng.choice(marts))
    was = _output(stack.versions[table])
    found.append(Build("a new table", [], _pair(scribe, table, later, was), [], frozenset()))
    drop = {"action": "drop_table", "table": table}
    before = _pair(scribe, table, START, was)
    found.append(Build("a dropped table, declared", before, [], [drop], frozenset()))

    # A column that comes from nowhere is a column.
    table = str(rng.choice(marts))
    was = _output(stack.versions[table])
    before, after = one(table, replace(was, columns=was.columns | {"currency_shown": "VARCHAR"}), was)
    found.append(Build("a lost column without edges", before, after, [], frozenset({(table, "currency_shown")})))

    # An input declared for one column, and lost in two.
    table, (source, name), (kept, silent) = _shared_input(rng, {t: _output(stack.versions[t]) for t in marts})
    was = _output(stack.versions[table])
    gone = {e for e in was.edges if e[0] in {kept, silent} and e[1:3] == (source, name)}
    before, after = one(table, was, replace(was, edges=was.edges - gone))
    drop = _drop_input(table, kept, source, name)
    lost = frozenset({(table, silent)})
    found.append(Build("an input lost in two columns, declared for one", before, after, [drop], lost))

    # All inputs of a column declared as read no more; and the column is gone.
    table = str(rng.choice(marts))
    was = _output(stack.versions[table])
    column = str(rng.choice(sorted({e[0] for e in was.edges})))
    columns = {c: t for c, t in was.columns.items() if c != column}
    before, after = one(table, was, Output(columns, frozenset(e for e in was.edges if e[0] != column)))
    drops = [_drop_input(table, column, t, c) for t, c in sorted({e[1:3] for e in was.edges if e[0] == column})]
    lost = frozenset({(table, column)})
    found.append(Build("a column that is gone, its inputs declared as read no more", before, after, drops, lost))
    return found


def _drop_input(table: str, column: str | None, source: str, name: str) -> dict[str, Any]:
    return {"action": "drop_input", "table": table, "column": column, "input_table": source, "input_column": name}


def _shared_input(rng: np.random.Generator, outputs: dict[str, Output]) -> tuple[str, tuple[str, str], tuple[str, str]]:
    """A table, an input of two of its columns, and the two; other edges are left without it."""
    for table in [list(outputs)[i] for i in rng.permutation(len(outputs))]:
        readers: dict[tuple[str, str], set[str]] = {}
        for column, *source, _ in outputs[table].edges:
            readers.setdefault((source[0], source[1]), set()).add(column)
        fit = sorted(s for s, of in readers.items() if len(of) > 1)
        if len(readers) > 1 and fit:
            source = fit[int(rng.integers(len(fit)))]
            one, two = rng.permutation(sorted(readers[source]))[:2].tolist()
            return table, source, (one, two)
    raise LookupError("no model has two columns with an input in common")


def _builds_of_two(rng: np.random.Generator, stack: Any) -> list[Build]:
    """A table and one that reads it are built together: what is declared of one, and what of the other."""
    scribe = Scribe(rng)
    later = START + timedelta(days=9)
    outputs = {t: _output(v) for t, v in stack.versions.items()}
    found: list[Build] = []

    def add(
        name: str, was: dict[str, Output], is_now: dict[str, Output], declared: list[dict], problems: set[Any]
    ) -> None:
        before, after = (
            [e for t, o in outputs.items() for e in _pair(scribe, t, at, o)] for outputs, at in ((was, START), (is_now, later))
        )  # fmt: skip
        declared = [declared[i] for i in rng.permutation(len(declared))]
        found.append(Build(name, before, after, declared, frozenset(problems)))

    # Readers that have a column of the same name, another that reads it, and inputs besides.
    pairs = []
    for upper, output in sorted(outputs.items()):
        for lower, column in sorted({(e[1], e[2]) for e in output.edges if e[0] == e[2] and e[1] in outputs}):
            readers = {e[0] for e in output.edges if e[1:3] == (lower, column)}
            others = {e[1:3] for e in output.edges if e[0] not in readers or e[1:3] != (lower, column)}
            if (
                len(readers) > 1
                and any((column, lower, column, k) in output.edges for k in ("DIRECT", "INDIRECT"))
                and others
            ):
                pairs.append((lower, column, upper))  # fmt: skip
    lower, column, upper = pairs[int(rng.integers(len(pairs)))]
    below, above = outputs[lower], outputs[upper]
    was = {lower: below, upper: above}
    readers = {e[0] for e in above.edges if e[1:3] == (lower, column)}
    new = f"{column}_new"
    rename = {"action": "rename_column", "table": lower, "column": column, "to": new}
    renamed = {lower: _renamed(below, {column: new}), upper: _renamed(above, {}, {(lower, column): new})}
    add("a column renamed, and its reader keeps the name", was, renamed, [rename], set())

    # One of its readers reads it no more; the declaration has the name of before.
    silent = str(rng.choice(sorted(readers)))
    edges = frozenset(e for e in renamed[upper].edges if e[:3] != (silent, lower, new))
    less = {lower: renamed[lower], upper: replace(above, edges=edges)}
    drop = _drop_input(upper, silent, lower, column)
    add("a column renamed, one of its readers taken off, both declared", was, less, [rename, drop], set())
    add("a column renamed and declared, one of its readers taken off", was, less, [rename], {(upper, silent)})

    # A table renamed together with one of its columns.
    moved = lower.replace("int_", "core_").replace("stg_", "src_")
    table = {"action": "rename_table", "table": lower, "to": moved}
    edges = frozenset((o, moved if t == lower else t, c, k) for o, t, c, k in renamed[upper].edges)
    both = {moved: renamed[lower], upper: replace(above, edges=edges)}
    add("a table and a column of it renamed, declared", was, both, [table, rename], set())

    # The column is dropped: in its table this is declared, and in the reader nothing is.
    columns = {c: t for c, t in below.columns.items() if c != column}
    cut = Output(columns, frozenset(e for e in below.edges if e[0] != column))
    unfed = replace(above, edges=frozenset(e for e in above.edges if e[1:3] != (lower, column)))
    drop = {"action": "drop_column", "table": lower, "column": column}
    problems = {(upper, o) for o in readers}
    now = {lower: cut, upper: unfed}
    add("a column dropped and declared, and its reader has lost an input", was, now, [drop], problems)
    add(
        "a column dropped, its reader's inputs declared as well",
        was, now, [drop, _drop_input(upper, None, lower, column)], set(),
    )  # fmt: skip
    columns = {c: t for c, t in above.columns.items() if c != column}
    shorter = Output(columns, frozenset(e for e in unfed.edges if e[0] != column))
    now = {lower: cut, upper: shorter}
    add("a column dropped in two tables, declared of one", was, now, [drop], problems)

    # A table is dropped; its reader reads another besides.
    pairs = [
        (t, upper)
        for upper, output in sorted(outputs.items())
        for t in sorted({e[1] for e in output.edges if e[1] in outputs})
        if len({e[1] for e in output.edges}) > 1
    ]
    lower, upper = pairs[int(rng.integers(len(pairs)))]
    was = {lower: outputs[lower], upper: outputs[upper]}
    edges = frozenset(e for e in outputs[upper].edges if e[1] != lower)
    drop = {"action": "drop_table", "table": lower}
    problems = {(upper, o) for o, t, _, _ in outputs[upper].edges if t == lower}
    now = {upper: replace(outputs[upper], edges=edges)}
    add("a table dropped and declared, and its reader has lost its inputs", was, now, [drop], problems)

    # Two tables change names with each other.
    marts = [t for t in outputs if t.startswith("mart.")]
    one, two = rng.permutation(marts)[:2].tolist()
    swap = [{"action": "rename_table", "table": a, "to": b} for a, b in ((one, two), (two, one))]
    add(
        "two tables that change names, declared",
        {one: outputs[one], two: outputs[two]}, {two: outputs[one], one: outputs[two]}, swap, set(),
    )  # fmt: skip
    return found


def _builds_in_time(rng: np.random.Generator, stack: Any) -> list[Build]:
    """Which event of a table counts: two within hours of each other, whose texts and moments have different orders; and
    runs that did not complete, with outputs."""
    scribe = Scribe(rng)
    marts = _small_marts(rng, stack)
    found: list[Build] = []
    night = START.replace(hour=2, minute=int(rng.integers(0, 30))) + timedelta(days=int(rng.integers(3, 9)))
    table, was = marts[0], _output(stack.versions[marts[0]])
    column = str(rng.choice(sorted({e[0] for e in was.edges})))
    columns = {c: t for c, t in was.columns.items() if c != column}
    less = Output(columns, frozenset(e for e in was.edges if e[0] != column))
    lost = frozenset({(table, column)})

    def mixed(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [events[i] for i in rng.permutation(len(events))]

    def two(first: Output, second: Output, *, is_in_order: bool) -> list[dict[str, Any]]:
        """Two runs, an hour apart at night; the second COMPLETE, as text, is of the evening before."""
        events: list[dict[str, Any]] = []
        for at, hours, output in ((night, 0, first), (night + timedelta(hours=1), -4, second)):
            run = scribe.run()
            complete = scribe.event("COMPLETE", table, at, output, run) | {"eventTime": scribe.time(at, hours)}
            events += mixed([scribe.event("START", table, at - timedelta(minutes=3), run=run), complete])
        return events if is_in_order else events[2:] + events[:2]

    after = _pair(scribe, table, night + timedelta(days=4), less)
    before = _pair(scribe, table, night - timedelta(days=4), was)
    nothing = replace(was, edges=frozenset())
    for order in (True, False):
        twice = two(was, less, is_in_order=order)
        name = "a column that was taken back before the build, an hour after it came, by clocks of two offsets"
        found.append(Build(name, twice, after, [], frozenset()))
        found.append(Build("a build repeated at night, whole the first time", before, twice, [], lost))
        for first, words in ((less, "whole"), (nothing, "with a lineage")):
            twice = two(first, was, is_in_order=order)
            found.append(
                Build(f"a build repeated at night, {words} the second time alone", before, twice, [], frozenset())
            )
        twice = two(was, nothing, is_in_order=order)
        name = "a build repeated at night, with a lineage the first time alone"
        found.append(Build(name, before, twice, [], frozenset({(table, None)}), True))

    def tried(state: str, at: datetime, output: Output) -> list[dict[str, Any]]:
        """A run that did not complete, which names outputs."""
        run = scribe.run()
        return [scribe.event("START", table, at, output, run)] + (
            [scribe.event("FAIL", table, at + timedelta(minutes=2), output, run)] if state == "FAIL" else []
        )

    day = timedelta(days=1)
    for state, words in (("START", "began and never ended"), ("FAIL", "failed")):
        before = mixed(_pair(scribe, table, night - 4 * day, less) + tried(state, night - 3 * day, was))
        after = _pair(scribe, table, night, less)
        found.append(
            Build(f"a run with one column more that {words}, before the build", before, after, [], frozenset())
        )
        before = _pair(scribe, table, night - 4 * day, was)
        after = mixed(_pair(scribe, table, night, was) + tried(state, night + timedelta(hours=1), less))
        found.append(Build(f"a second run of the build that {words}", before, after, [], frozenset()))
        after = mixed(_pair(scribe, table, night, less) + tried(state, night + timedelta(hours=1), was))
        found.append(Build(f"a loss, and a second run without it that {words}", before, after, [], lost))
    return found


def _small_marts(rng: np.random.Generator, stack: Any) -> list[str]:
    """Twelve marts of few edges: many builds are made of them, and the learner's gate reads each."""
    marts = sorted((len(v.edges), t) for t, v in stack.versions.items() if t.startswith("mart."))
    return rng.permutation([t for _, t in marts[:12]]).tolist()


def _builds_by_sentence(rng: np.random.Generator, stack: Any) -> list[Build]:
    """For what the task says of declarations, kinds and lineages, the case in which it decides; one of each in every world."""
    scribe = Scribe(rng)
    later = START + timedelta(days=9)
    outputs = {t: _output(v) for t, v in stack.versions.items()}
    marts = _small_marts(rng, stack)
    found: list[Build] = []

    def add(
        name: str, was: dict[str, Output], is_now: dict[str, Output], declared: list[dict], problems: set[Any],
        *, is_empty: bool = False,
    ) -> None:  # fmt: skip
        before, after = (
            [e for t, o in tables.items() for e in _pair(scribe, t, at, o)] for tables, at in ((was, START), (is_now, later))
        )  # fmt: skip
        declared = [declared[i] for i in rng.permutation(len(declared))]
        found.append(Build(name, before, after, declared, frozenset(problems), is_empty))

    def wider(table: str, column: str, inputs: Iterable[tuple[str, str, str]]) -> Output:
        """The table with a column more."""
        output = outputs[table]
        edges = output.edges | {(column, *edge) for edge in inputs}
        return Output(output.columns | {column: "VARCHAR"}, frozenset(edges))

    one, two = (str(c) for c in rng.permutation(["psp", "method", "authorized_at", "captured_at"])[:2])
    fact = "core.payments"

    # The old name of a renamed input is taken by something else, and the reader has not moved.
    lower, column, upper = _reader(rng, stack)
    below, above = outputs[lower], outputs[upper]
    renamed = _renamed(below, {column: f"{column}_new"})
    taken = Output(renamed.columns | {column: "VARCHAR"}, renamed.edges | {(column, fact, one, "DIRECT")})
    rename = {"action": "rename_column", "table": lower, "column": column, "to": f"{column}_new"}
    readers = {(upper, e[0]) for e in above.edges if e[1:3] == (lower, column)}
    name = "a column renamed and declared, another under its old name, and its reader reads that"
    add(name, {lower: below, upper: above}, {lower: taken, upper: above}, [rename], readers)
    moved = lower.replace("int_", "core_").replace("stg_", "src_")
    table = {"action": "rename_table", "table": lower, "to": moved}
    other = Output(below.columns, frozenset((c, fact, one, "DIRECT") for c in below.columns))
    readers = {(upper, e[0]) for e in above.edges if e[1] == lower}
    name = "a table renamed and declared, another under its old name, and its reader reads that"
    add(name, {lower: below, upper: above}, {moved: below, lower: other, upper: above}, [table], readers)

    # An input by its table's name of before.
    silent = sorted({e[0] for e in above.edges if e[1:3] == (lower, column)})[0]
    edges = frozenset(
        (o, moved if t == lower else t, c, k) for o, t, c, k in above.edges if (o, t, c) != (silent, lower, column)
    )
    if edges:
        now = {moved: below, upper: replace(above, edges=edges)}
        drop = _drop_input(upper, silent, lower, column)
        add("a table renamed, one reader of a column taken off, both declared", {lower: below, upper: above}, now,
            [table, drop], set())  # fmt: skip

    # The same readers taken off, declared in names of after: each key of the declaration by itself.
    rename = {"action": "rename_column", "table": lower, "column": column, "to": f"{column}_new"}
    less = replace(above, edges=frozenset(e for e in above.edges if e[:3] != (silent, lower, column)))
    fed = {lower: below, upper: above}
    now = {lower: renamed, upper: _renamed(less, {}, {(lower, column): f"{column}_new"})}
    drop = _drop_input(upper, silent, lower, f"{column}_new")
    if edges:
        add("a column renamed, one of its readers taken off, declared in the column's new name", fed, now,
            [rename, drop], {(upper, silent)})  # fmt: skip
        now = {moved: below, upper: replace(above, edges=edges)}
        drop = _drop_input(upper, silent, moved, column)
        add("a table renamed, one of its readers taken off, declared in the table's new name", fed, now, [table, drop],
            {(upper, silent)})  # fmt: skip

    # What a table reads that the build does not make is renamed.
    was = wider(marts[9], "extra", [(fact, one, "DIRECT")])
    rename = {"action": "rename_column", "table": fact, "column": one, "to": f"{one}_v2"}
    now = {marts[9]: _renamed(was, {}, {(fact, one): f"{one}_v2"})}
    add("a column of a source table renamed and declared", {marts[9]: was}, now, [rename], set())
    rename = {"action": "rename_table", "table": fact, "to": f"{fact}_v2"}
    edges = frozenset((o, f"{fact}_v2" if t == fact else t, c, k) for o, t, c, k in was.edges)
    add("a source table renamed and declared", {marts[9]: was}, {marts[9]: replace(was, edges=edges)}, [rename], set())

    # Two tables are gone, one of them is declared.
    first, second = marts[:2]
    drop = {"action": "drop_table", "table": first}
    gone = {t: outputs[t] for t in (first, second)}
    add("two tables gone, one of them declared dropped", gone, {}, [drop], {(second, None)})

    # Columns without edges, tables without values.
    table_name = marts[2]
    plain = wider(table_name, "as_shown", [])
    add("a column that never had an edge", {table_name: plain}, {table_name: plain}, [], set())
    rename = {"action": "rename_column", "table": table_name, "column": "as_shown", "to": "shown_as"}
    add("a column without edges, declared renamed, and not renamed", {table_name: plain}, {table_name: plain}, [rename],
        {(table_name, "as_shown")})  # fmt: skip
    before = _pair(scribe, table_name, START, plain) + _pair(scribe, marts[8], START, None, "FAIL")
    after = _pair(scribe, table_name, later, plain)
    found.append(Build("a table that has only ever failed, not built again", before, after, [], frozenset()))
    counted = Output({"row_count": "BIGINT"}, frozenset({("row_count", fact, one, "INDIRECT")}))
    add("a table that only counts, without DIRECT edges", {marts[3]: counted}, {marts[3]: counted}, [], set())
    add("a new table that only counts, without DIRECT edges", {}, {marts[3]: counted}, [], set())

    # Names of before, in a table that is renamed, and of a column that is renamed.
    table_name, moved = marts[4], f"{marts[4]}_v2"
    rename = {"action": "rename_table", "table": table_name, "to": moved}
    was = wider(table_name, "extra", [(fact, one, "DIRECT"), (fact, two, "INDIRECT")])
    drop = {"action": "drop_column", "table": table_name, "column": "extra"}
    add("a table renamed, a column of it dropped, both declared", {table_name: was}, {moved: outputs[table_name]},
        [rename, drop], set())  # fmt: skip
    less = replace(was, edges=was.edges - {("extra", fact, two, "INDIRECT")})
    drop = _drop_input("?", "extra", fact, two)
    add("a table renamed, an input of a column taken off, both declared", {table_name: was}, {moved: less},
        [rename, drop | {"table": table_name}], set())  # fmt: skip
    add("a table renamed, an input of a table taken off, both declared", {table_name: was}, {moved: less},
        [rename, drop | {"table": table_name, "column": None}], set())  # fmt: skip
    rename = {"action": "rename_column", "table": table_name, "column": "extra", "to": "more"}
    add("a column renamed, an input of it taken off, both declared", {table_name: was},
        {table_name: _renamed(less, {"extra": "more"})}, [rename, drop | {"table": table_name}], set())  # fmt: skip

    for column_name in ("more", None):
        given = (
            drop | {"table": table_name, "column": "more"} if column_name else drop | {"table": moved, "column": None}
        )
        words = "a column renamed, an input of it" if column_name else "a table renamed, an input of it"
        here = {table_name: _renamed(less, {"extra": "more"})} if column_name else {moved: less}
        again = rename if column_name else {"action": "rename_table", "table": table_name, "to": moved}
        add(f"{words} taken off, declared in the new name", {table_name: was}, here, [again, given],
            {(table_name, "extra")})  # fmt: skip
    again = {"action": "rename_table", "table": table_name, "to": moved}
    drop = {"action": "drop_column", "table": moved, "column": "extra"}
    add("a table renamed, a column of it dropped, declared in the table's new name", {table_name: was},
        {moved: outputs[table_name]}, [again, drop], {(table_name, "extra")})  # fmt: skip
    given = {"action": "rename_column", "table": moved, "column": "extra", "to": "more"}
    add("a table and a column of it renamed, the column declared in the table's new name", {table_name: was},
        {moved: _renamed(was, {"extra": "more"})}, [again, given], {(table_name, "extra")})  # fmt: skip
    given = {"action": "drop_table", "table": moved}
    add("a table declared renamed, not built, and declared dropped in its new name", {table_name: was}, {},
        [again, given], {(table_name, None)})  # fmt: skip
    add("a table declared renamed, and built under its old name", {table_name: was}, {table_name: was}, [again],
        {(table_name, None)})  # fmt: skip

    # A rename into the name of a table that is dropped in the same change.
    gone = marts[10]
    swap = [
        {"action": "rename_table", "table": table_name, "to": gone},
        {"action": "drop_table", "table": gone},
    ]
    two_tables = {table_name: was, gone: outputs[gone]}
    name = "a table renamed into the name of one that is dropped"
    add(f"{name}, both declared", two_tables, {gone: was}, swap, set())
    add(f"{name}, both declared, and one column of it lost", two_tables, {gone: outputs[table_name]}, swap,
        {(table_name, "extra")})  # fmt: skip
    add(f"{name}, and its lineage is empty", two_tables, {gone: replace(was, edges=frozenset())}, swap,
        {(table_name, None)}, is_empty=True)  # fmt: skip

    # Each kind of edge by itself.
    table_name = marts[5]
    kinds = {"both": [(fact, one, "DIRECT"), (fact, one, "INDIRECT")],
             "the value": [(fact, one, "DIRECT")], "the condition": [(fact, one, "INDIRECT")]}  # fmt: skip
    for a, b in (("both", "the value"), ("both", "the condition"), ("the condition", "the value")):
        was, now = (wider(table_name, "extra", kinds[k]) for k in (a, b))
        add(f"a column that had {a} of an input, and has {b}", {table_name: was}, {table_name: now}, [],
            {(table_name, "extra")})  # fmt: skip

    # What an input that is declared does not explain: a column that is gone, and another input of the same column.
    table_name = marts[6]
    was = wider(table_name, "extra", [(fact, one, "DIRECT"), (fact, two, "DIRECT")])
    now = wider(table_name, "extra", [("core.orders", "channel", "DIRECT")])
    for column_name, words in (("extra", "of the column"), (None, "of the table")):
        drops = [_drop_input(table_name, column_name, fact, c) for c in (one, two)]
        add(f"a column that is gone, its inputs declared as read no more {words}", {table_name: was},
            {table_name: outputs[table_name]}, drops, {(table_name, "extra")})  # fmt: skip
        add(f"two inputs of a column taken off, one declared {words}", {table_name: was}, {table_name: now}, drops[:1],
            {(table_name, "extra")})  # fmt: skip
        add(f"two inputs of a column taken off, both declared {words}", {table_name: was}, {table_name: now}, drops,
            set())  # fmt: skip

    # Nothing read, whatever was before and whatever is declared.
    table_name = marts[7]
    none = Output({"day_count": "INTEGER"}, frozenset())
    add("an empty lineage of a table that had none before", {table_name: none}, {table_name: none}, [],
        {(table_name, None)}, is_empty=True)  # fmt: skip
    was = Output({"row_count": "BIGINT"}, frozenset(("row_count", fact, c, "INDIRECT") for c in (one, two)))
    now = replace(was, edges=frozenset())
    for column_name in ("row_count", None):
        drops = [_drop_input(table_name, column_name, fact, c) for c in (one, two)]
        add("an empty lineage, each lost input of which is declared", {table_name: was}, {table_name: now}, drops,
            {(table_name, None)}, is_empty=True)  # fmt: skip
    before = _pair(scribe, table_name, START, was)
    after = _pair(scribe, table_name, later, was) + _pair(scribe, marts[8], later, was)[:1]
    problems = frozenset({(marts[8], None)})
    found.append(Build("a new table whose build never ended (START alone)", before, after, [], problems))
    found.append(Build("the build of a new table that never ended (START alone)", [], after[2:], [], problems, True))
    return found


def _exchange(rng: np.random.Generator, stack: Any, tables: Sequence[str]) -> tuple[str, str, str]:
    """A table with two columns of different edges."""
    for table in [tables[i] for i in rng.permutation(len(tables))]:
        output = _output(stack.versions[table])
        of = {c: {e[1:] for e in output.edges if e[0] == c} for c in output.columns}
        pairs = [(a, b) for a in of for b in of if a < b and of[a] - of[b] and of[b] - of[a]]
        if pairs:
            a, b = pairs[int(rng.integers(len(pairs)))]
            return table, a, b
    raise LookupError("no model has two columns of different origin")


def _reader(rng: np.random.Generator, stack: Any) -> tuple[str, str, str]:
    """(table, column, a table that reads it directly)."""
    found = sorted(
        {(t, c, table) for table, v in stack.versions.items() for _, t, c, k in v.edges if k == "DIRECT" and t in stack.versions}
    )  # fmt: skip
    return found[int(rng.integers(len(found)))]


def _empty_builds(rng: np.random.Generator, stack: Any) -> list[Build]:
    """Builds in which nothing was read."""
    scribe = Scribe(rng)
    later = START + timedelta(days=9)
    tables = _small_marts(rng, stack)
    found: list[Build] = []

    def add(name: str, after: list[dict], declared: list[dict], *, is_new: bool = False) -> None:
        before = [] if is_new else _pair(scribe, table, START, was)
        problems = frozenset({(table, None)})
        found.append(Build(name, before, after, declared, problems, True))

    table, was = tables[0], _output(stack.versions[tables[0]])
    bare = _pair(scribe, table, later, was)
    del bare[1]["outputs"][0]["facets"]["columnLineage"]
    add("a COMPLETE without the columnLineage facet", bare, [])
    table, was = tables[1], _output(stack.versions[tables[1]])
    empty = _pair(scribe, table, later, replace(was, edges=frozenset()))
    add("a COMPLETE whose lineage is empty", empty, [])
    drops = [{"action": "drop_column", "table": table, "column": c} for c in was.columns]
    add("an empty lineage with all columns declared dropped", empty, drops)
    table, was = tables[2], _output(stack.versions[tables[2]])
    add("a statement that could not be read (FAIL)", _pair(scribe, table, later, None, "FAIL"), [])
    table, was = tables[3], _output(stack.versions[tables[3]])
    add("a build that never ended (START alone)", _pair(scribe, table, later, was)[:1], [])
    table, was = tables[4], _output(stack.versions[tables[4]])
    add("a build that emitted nothing", [], [])
    table, was = tables[5], _output(stack.versions[tables[5]])
    add("a new table that could not be read", _pair(scribe, table, later, None, "FAIL"), [], is_new=True)
    table, was = tables[6], _output(stack.versions[tables[6]])
    add("a new table without lineage", _pair(scribe, table, later, replace(was, edges=frozenset())), [], is_new=True)

    # Runs that did not complete may name outputs.
    table, was = tables[7], _output(stack.versions[tables[7]])
    failed = [scribe.event(state, table, later, was, run) for run in [scribe.run()] for state in ("START", "FAIL")]
    add("a run that failed, with outputs that it names", failed, [])
    add("a run that never ended, with outputs that it names", failed[:1], [])

    # Whatever is declared.
    table, was = tables[8], _output(stack.versions[tables[8]])
    nothing = replace(was, edges=frozenset())
    drop = {"action": "drop_table", "table": table}
    add(
        "a statement that could not be read, of a table declared dropped",
        _pair(scribe, table, later, None, "FAIL"),
        [drop],
    )
    add("an empty lineage of a table declared dropped", _pair(scribe, table, later, nothing), [drop])
    add("a COMPLETE without outputs, of a table declared dropped", _pair(scribe, table, later, None), [drop])
    table, was = tables[9], _output(stack.versions[tables[9]])
    nothing = replace(was, edges=frozenset())
    new = f"{table}_v2"
    rename = {"action": "rename_table", "table": table, "to": new}
    add("a renamed table that was not built", [], [rename])
    add("a renamed table whose statement could not be read", _pair(scribe, new, later, None, "FAIL"), [rename])
    add("a renamed table whose lineage is empty", _pair(scribe, new, later, nothing), [rename])
    return found


def read_pairs(value: Any, what: str) -> list[tuple[str, str | None]]:
    """Rows (table, column) of a learner's, whatever holds them; a missing column is None."""
    table = as_table(_rows(value), what, ("table", "column"))
    return [(str(t), None if c is None else str(c)) for t, c in table.rows]


def _verdicts(lab: Lab) -> list[list[tuple[str, str | None]]]:
    """The problems that the learner's gate names for each build."""

    def make() -> list[list[tuple[str, str | None]]]:
        found = []
        for build in _builds(lab):
            try:
                value = lab.call("gate", build.before, build.after, build.declared)
            except LearnerError as error:
                raise _said_of(error, "`gate`", f"`gate`, {build.name},", *_shown(build)) from error
            found.append(read_pairs(value, f"`gate`, {build.name}"))
        return found

    return lab.once("verdicts", make)


def _shown(build: Build) -> list[Evidence]:
    kinds = "\n".join(f"{e['eventTime']} {e['eventType']} {e['job']['name']}" for e in build.after) or "no event"
    return [
        Evidence("the build emitted", text=kinds),
        Evidence("declared", text="\n".join(map(str, build.declared)) or "nothing"),
        Evidence("edges that differ", Table.of(["in", "table", *EDGE], build.differing)),
    ]


@check("c", "a build passes if what it loses is explained, and stops if it is not", points=1)
def gate_decides(lab: Lab) -> str:
    """Builds whose losses follow from how they were made."""
    builds, verdicts = _builds(lab), _verdicts(lab)
    judged = [(b, v) for b, v in zip(builds, verdicts, strict=True) if not b.is_empty]
    for build, named in judged:
        if not build.problems:
            expect(
                not named,
                f"`gate` stopped a build that may pass: {build.name}. It named {_problems(named)}.",
                evidence=lambda build=build: _shown(build),
                ask="What exactly is lost here, once declared names are put in?",
                misconception="rename_is_loss" if any("rename" in d["action"] for d in build.declared) else None,
            )
        else:
            expect(
                named,
                f"`gate` let a build pass that loses lineage: {build.name}. Lost are {_problems(build.problems)}.",
                evidence=lambda build=build: _shown(build),
                misconception="any_declaration" if build.declared else "columns_only",
            )
    stopped = sum(bool(b.problems) for b, _ in judged)
    return f"{len(judged)} fresh builds: {len(judged) - stopped} passed, {stopped} stopped, as they should."


@check("c", "nothing read, nothing passed", points=0.5)
def empty_never_passes(lab: Lab) -> str:
    """Builds in which a table has no lineage or was not read at all."""
    builds = [(b, v) for b, v in zip(_builds(lab), _verdicts(lab), strict=True) if b.is_empty]
    for build, named in builds:
        expect(
            named,
            f"`gate` let a build pass in which nothing was read: {build.name}.",
            evidence=lambda build=build: _shown(build),
            ask="How would the gate tell a table whose lineage is unknown from one that has lost nothing?",
            misconception="empty_passes",
        )
    return f"{len(builds)} builds without lineage: all stopped."


@check("c", "the gate names what is lost", points=0.5)
def gate_names_the_loss(lab: Lab) -> str:
    """The tables and columns that it names, of all builds."""
    builds, verdicts = _builds(lab), _verdicts(lab)
    count = 0
    for build, named in zip(builds, verdicts, strict=True):
        again = [p for p, n in Counter(named).items() if n > 1]
        expect(
            not again,
            f"`gate`, {build.name}: it named {_problems(again)} more than once. One problem a column is asked for.",
        )
        extra, missing = set(named) - build.problems, build.problems - set(named)
        expect(
            not extra and not missing,
            f"`gate`, {build.name}: it named {_problems(named)}; the problems are {_problems(build.problems)}.",
            evidence=lambda build=build: _shown(build),
            ask="Is each column named once, under the name that it had before?",
            misconception="columns_only" if missing and not extra else None,
        )
        count += len(named)
    return f"{count} problems in {len(builds)} builds, each named."


def _problems(found: Iterable[tuple[str, str | None]]) -> str:
    shown = sorted(f"{t} (the table)" if c is None else f"{t}.{c}" for t, c in found)
    return (", ".join(shown[:6]) + (f" and {len(shown) - 6} more" if len(shown) > 6 else "")) or "nothing"


# -- the auditor's question --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Question:
    """``answer``: (table, column) pairs, from the state of the catalogue at that time. ``when``: what had happened by then."""

    table: str
    column: str
    at: str
    when: str
    answer: frozenset[tuple[str, str]]


def trace(state: dict[str, Output], table: str, column: str) -> frozenset[tuple[str, str]]:
    """The source columns from which a column of this state of the catalogue comes, by DIRECT edges."""
    if table not in state or column not in state[table].columns:
        return frozenset()
    found: set[tuple[str, str]] = set()
    seen: set[tuple[str, str]] = set()
    todo = {(table, column)}
    while todo:
        here = todo.pop()
        seen.add(here)
        if here[0] in state:
            todo |= {(t, c) for o, t, c, k in state[here[0]].edges if o == here[1] and k == "DIRECT"} - seen
        else:
            found.add(here)
    return frozenset(found)


def _history(lab: Lab) -> tuple[list[dict[str, Any]], list[Question]]:
    """A history of a warehouse, in no order, and questions about it; its states are kept as it goes."""

    def make() -> tuple[list[dict[str, Any]], list[Question]]:
        rng = lab.rng("history")
        stack, _ = _stacks(lab)[1]
        scribe = Scribe(rng)
        state = {t: _output(v) for t, v in stack.versions.items()}
        events: list[dict[str, Any]] = []
        states: list[tuple[datetime, str, dict[str, Output]]] = []
        at = START

        def deploy(
            what: str, changed: dict[str, Output | None], claimed: Output | None = None, at_night: int | None = None
        ) -> None:
            """``claimed``: what a run that fails names as its output. ``at_night``: hours of the offset of a deployment at two in
            the morning (UTC), or an hour after the one before."""
            nonlocal at
            if at_night:
                at += timedelta(hours=1)
            else:
                at += timedelta(days=int(rng.integers(2, 6)), seconds=int(rng.integers(0, 30_000)))
                if at_night is not None:
                    at = at.replace(hour=2, minute=int(rng.integers(0, 50)))
            for table, output in changed.items():
                run = scribe.run()
                events.append(scribe.event("START", table, at - timedelta(minutes=2), claimed, run))
                event = scribe.event("COMPLETE" if output else "FAIL", table, at, output or claimed, run)
                # East of Greenwich: as text it is later than a question half an hour after it, asked in UTC.
                hours = int(rng.choice([2, 10])) if at_night is None else at_night
                events.append(event | {"eventTime": scribe.time(at, hours)})
                if output:
                    state[table] = output
            states.append((at, what, dict(state)))

        def begin(tables: set[str]) -> None:
            """Only tables that a question can lead to: the history is read once for each question."""
            for table in sorted(set(state) - tables):
                del state[table]
            for table, output in state.items():
                events.extend(_pair(scribe, table, START - timedelta(minutes=int(rng.integers(10, 600))), output))
            states.append((START, "everything was deployed", dict(state)))

        lower, column, _ = _reader(rng, stack)
        new = f"{column}_new"
        inputs = {(lower, column): new}
        before = dict(state)
        readers = [t for t, o in state.items() if any((e[1], e[2]) == (lower, column) for e in o.edges)]
        upper = next(t for t in readers if any(e[1:] == (lower, column, "DIRECT") for e in state[t].edges))
        fed = sorted(e[0] for e in state[upper].edges if e[1:] == (lower, column, "DIRECT"))[0]
        changed = {lower: _renamed(state[lower], {column: new})}
        changed |= {t: _renamed(state[t], {}, inputs) for t in readers}
        # A mart in which two columns get each other's origin.
        marts = [t for t in stack.versions if t.startswith("mart.") and t not in readers and t != lower]
        target, a, b = _swappable(rng, state, marts)
        good = state[target]
        # A model that is read from the first day on, and tells its lineage only later.
        silent, report = "staging.stg_till_slips", "mart.till_slips"
        told = Output(
            dict.fromkeys(["amount", "slip_count"], "VARCHAR"),
            frozenset(
                {("amount", "core.payments", "amount", "DIRECT"), ("slip_count", "core.payments", "status", "INDIRECT")}
            ),
        )
        # A table of core that has a lineage: the way back does not end there.
        days, landed = "core.till_days", "landing.till_days"
        state[days] = Output({"paid": "VARCHAR"}, frozenset({("paid", landed, "paid_raw", "DIRECT")}))
        reads = {"amount": ["amount"], "slips": ["slip_count"], "per_slip": ["amount", "slip_count"]}
        edges = {(c, silent, name, "DIRECT") for c, names in reads.items() for name in names}
        edges |= {("day_count", silent, "amount", "INDIRECT"), ("paid", days, "paid", "DIRECT")}
        columns = [*reads, "day_count", "as_shown", "paid"]
        state[report] = Output(dict.fromkeys(columns, "VARCHAR"), frozenset(edges))
        begin(_needed(state, [upper, lower, target, report, *readers]))
        deploy("a column was renamed where it is made", dict(changed))
        mixed = frozenset(({a: b, b: a}.get(o, o), t, c, k) for o, t, c, k in good.edges)
        wrong = replace(good, edges=mixed)
        # As text, the second is of the evening before the first.
        deploy("two columns got each other's origin", {target: wrong}, at_night=0)
        deploy("that was rolled back", {target: good}, at_night=-4)
        deploy("a model told its lineage for the first time", {silent: told})
        deploy("a deployment failed", {target: None}, claimed=wrong)
        named = _renamed(good, {a: f"{a}_v2"})
        deploy("a column of a mart was renamed", {target: named})
        deploy("that rename was rolled back", {target: good})
        deploy("the first rename was rolled back", {t: before[t] for t in changed})
        asked = [(upper, fed), (lower, column), (lower, new), (target, a), (target, b), (target, f"{a}_v2")]
        questions = []
        # From the first deployment to the one before the model told, and after it.
        others = [(report, c) for c in state[report].columns] + [(silent, "amount"), (silent, "slip_count")]
        told_at = next(k for k, (_, _, now) in enumerate(states) if silent in now)
        for k, (moment, what, now) in enumerate(states):
            end = states[k + 1][0] if k + 1 < len(states) else moment + timedelta(days=3)
            for j, (table, name) in enumerate(asked + others * (k in {0, told_at, len(states) - 1})):
                turn = (k + j) % 3  # at the very moment, soon after it, or half-way to the next
                when = moment + (timedelta(0), timedelta(minutes=30), (end - moment) / 2)[turn]
                text = scribe.time(when.replace(microsecond=0), 0 if turn == 1 else None)
                questions.append(Question(table, name, text, what, trace(now, table, name)))
        first = Question(target, a, scribe.time(START - timedelta(days=2)), "nothing was deployed", frozenset())
        return [events[i] for i in rng.permutation(len(events))], [*questions, first]

    return lab.kept("history", make)


def _needed(state: dict[str, Output], tables: Sequence[str]) -> set[str]:
    """The tables and all those behind them that are made by the models."""
    found: set[str] = set()
    todo = set(tables)
    while todo:
        table = todo.pop()
        found.add(table)
        todo |= {t for _, t, _, _ in state[table].edges if t in state} - found
    return found


def _swappable(rng: np.random.Generator, state: dict[str, Output], tables: Sequence[str]) -> tuple[str, str, str]:
    """A table with two columns that come from different source columns."""
    for table in [tables[i] for i in rng.permutation(len(tables))]:
        of = {c: trace(state, table, c) for c in state[table].columns}
        pairs = [(a, b) for a in of for b in of if a < b and of[a] and of[b] and of[a] != of[b]]
        if pairs:
            a, b = pairs[int(rng.integers(len(pairs)))]
            return table, a, b
    raise LookupError("no mart has two columns of different origin")


@check("c", "the auditor's question is answered as of any day", points=1)
def as_of_answers(lab: Lab) -> str:
    """Truth: the states of the catalogue, kept while the history was made."""
    events, questions = _history(lab)
    asked = [(q.table, q.column, q.at) for q in questions]
    try:
        answers = lab.drive("workshop.lineage_events:ask_each", lab.function("sources_as_of"), events, asked)
    except LearnerError as error:
        raise _said_of(error, "`ask_each`", f"`sources_as_of`, one of {len(asked)} questions,") from error
    expect(isinstance(answers, list) and len(answers) == len(questions), "`sources_as_of` could not be asked.")
    for question, value in zip(questions, answers, strict=True):
        what = f"`sources_as_of` of {question.table}.{question.column} at {question.at}"
        got = set(read_pairs(value, what))
        expect(
            got == question.answer,
            f"{what}, after {question.when}: {_problems(got)} came back; {_problems(question.answer)} is right.",
            evidence=Evidence("events of this table", _events_of(events, question.table)),
            ask="Which event of this table, and of each table that it reads, counted at that moment?",
            misconception="one_step"
            if got and any(t in {e["job"]["name"] for e in events} for t, _ in got)
            else "last_wins",
        )
    return f"{len(questions)} questions about a history of {len(events)} events, over a rename and two rollbacks: all right."


def _events_of(events: Sequence[dict[str, Any]], table: str) -> Table:
    rows = sorted(
        (_moment(e["eventTime"]).strftime("%Y-%m-%d %H:%M"), e["eventType"], e["eventTime"])
        for e in events
        if e["job"]["name"] == table
    )
    return Table.of(["UTC", "event", "eventTime"], rows)


# -- twelve weeks later ---------------------------------------------------------------------------------------------------

BEGIN = datetime(2026, 4, 1)
ASKED = 120  # questions that the learner's function is asked for the picture, evenly over all
WEEKS = [BEGIN + timedelta(days=7 * (w + 1)) for w in range(12)]


def twelve_weeks_later(lab: Lab) -> Any:
    """Deployments under the learner's gate and without one; as-of questions from events and from today's catalogue."""
    from workshop.plots import BLUE, GREEN, GREY, ORANGE, plt

    past = _past(lab)
    stopped, passed = _losses_by_week(lab, past)
    mine = _answered_by_week(lab, past)
    overwritten, total = past.overwritten, past.total

    figure, (left, right) = plt.subplots(1, 2, figsize=(8.8, 3.3))
    at = np.arange(1, len(WEEKS) + 1)
    left.bar(at, stopped, color=BLUE, label="stopped by your gate")
    left.bar(at, passed, bottom=stopped, color=ORANGE, label="went through")
    most = int(np.add(stopped, passed).max())
    left.set(xlabel="week", ylabel="deployments with an undeclared loss", ylim=(0, 1.5 * max(1, most)))
    for axes in (left, right):
        axes.set(xlim=(0.3, len(WEEKS) + 0.7), xticks=at)
    left.yaxis.get_major_locator().set_params(integer=True)
    left.set_title(f"Your gate stops {sum(stopped)} of {sum(stopped) + sum(passed)} undeclared losses", fontsize=10)
    left.legend(loc="upper right")
    right.plot(at, 100 * np.divide(overwritten, total), color=GREY, marker="o", label="from a catalogue of today")
    if mine is not None:
        right.plot(at, 100 * np.divide(mine, total), color=GREEN, marker="o", label="from events, by your function")
    low = 100 * min(np.divide(overwritten, total))
    right.set(xlabel="as of the end of week", ylabel="questions answered right, %", ylim=(low - 5, 101.5))
    wrong = sum(total) - sum(overwritten)
    right.set_title(f"Today's catalogue: {wrong} of {sum(total):,} answers wrong", fontsize=10)
    right.legend(loc="lower right")
    plt.close(figure)  # the notebook shows what is returned, and would show an open figure a second time
    return figure


@dataclass(frozen=True)
class Past:
    """The world's ninety days. ``losses``: deployments with an undeclared loss, as number of the week, events before and after,
    and what was declared; ``events``: all; ``asked``: some questions (table, column, when, number of the week, answer);
    ``total``: by week, how many there are, and ``overwritten``: how many of those today's catalogue answers right."""

    losses: list[tuple[int, list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]]
    events: list[dict[str, Any]]
    asked: list[tuple[str, str, str, int, frozenset[tuple[str, str]]]]
    total: list[int]
    overwritten: list[int]


def _past(lab: Lab) -> Past:
    def make() -> Past:
        deployments, events, by_week, today = _ninety_days(lab)
        scribe = Scribe(lab.rng("twelve weeks gate"))
        losses = []
        for at, table, before, after, declared, is_loss in deployments:
            if is_loss and at < WEEKS[-1]:
                was, became = (scribe.event("COMPLETE", table, t, o) for t, o in ((BEGIN, before), (at, after)))
                losses.append(((at - BEGIN).days // 7, [was], [became], declared))
        asked = [
            (t, c, f"{end:%Y-%m-%dT%H:%M:%SZ}", k, trace(state, t, c))
            for k, (end, state) in enumerate(zip(WEEKS, by_week, strict=True))
            for t in state
            if t.startswith("mart.")
            for c in state[t].columns
        ]
        total, overwritten = [0] * len(WEEKS), [0] * len(WEEKS)
        for table, column, _, week, answer in asked:
            total[week] += 1
            overwritten[week] += trace(today, table, column) == answer
        return Past(losses, events, asked[:: max(1, len(asked) // ASKED)], total, overwritten)

    return lab.kept("past", make)


Deployment = tuple[datetime, str, Output, Output, list[dict[str, Any]], bool]


def _ninety_days(
    lab: Lab,
) -> tuple[list[Deployment], list[dict[str, Any]], list[dict[str, Output]], dict[str, Output]]:
    """The world's deployments (when, table, before, after, declared, is something lost undeclared), all events, the state of
    the catalogue at the end of each week, and today's."""
    scribe = Scribe(lab.rng("twelve weeks"))

    def outputs(query: str) -> dict[Any, Output]:
        found: dict[Any, set[Edge]] = {}
        for key, *edge in lab.world.sql(query).rows:
            found.setdefault(key, set()).add(tuple(edge))
        return {
            k: Output(dict.fromkeys(sorted({e[0] for e in edges}), "VARCHAR"), frozenset(edges))
            for k, edges in found.items()
        }

    columns = "output_column, input_table, input_column, kind"
    today = outputs(f"select output_table, {columns} from ops.lineage_edges where level = 'column'")
    was, became = (
        outputs(f"select deployment_id, {columns} from truth.deployment_edges where side = '{side}'")
        for side in ("before", "after")
    )
    deployments = []
    for row in lab.world.sql("""
        select
          d.deployment_id,
          d.deployed_at,
          m.schema_name || '.' || m.table_name,
          d.declared::varchar,
          d.deployment_id in (select deployment_id from truth.unexplained_losses)
        from ops.deployments d
        join ops.models m using (model_id)
        order by d.deployment_id
    """).rows:
        number, at, table, declared, is_loss = row
        deployments.append((at, table, was[number], became[number], json.loads(declared), is_loss))
    state = dict(today)
    for _, table, before, *_ in reversed(deployments):
        state[table] = before
    events = [scribe.event("COMPLETE", table, BEGIN, output) for table, output in state.items()]
    by_week = []
    for end in WEEKS:
        while len(events) - len(today) < len(deployments) and deployments[len(events) - len(today)][0] <= end:
            at, table, _, after, *_ = deployments[len(events) - len(today)]
            events.append(scribe.event("COMPLETE", table, at, after))
            state[table] = after
        by_week.append(dict(state))
    return deployments, events, by_week, today


def _losses_by_week(lab: Lab, past: Past) -> tuple[list[int], list[int]]:
    """Deployments with an undeclared loss, by week: stopped by the learner's gate, and not."""
    stopped, passed = [0] * len(WEEKS), [0] * len(WEEKS)
    for week, before, after, declared in past.losses:
        try:
            stops = bool(read_pairs(lab.call("gate", before, after, declared), "`gate`"))
        except CheckFailed:  # not attempted, or broken: no gate
            stops = False
        (stopped if stops else passed)[week] += 1
    return stopped, passed


def _answered_by_week(lab: Lab, past: Past) -> list[int] | None:
    """How many of each week's questions the learner's function answers right from events; None: it cannot be asked."""
    some = [question[:3] for question in past.asked]
    try:
        answers = lab.drive("workshop.lineage_events:ask_each", lab.function("sources_as_of"), past.events, some)
        right = [set(read_pairs(a, "`sources_as_of`")) == set(q[-1]) for a, q in zip(answers, past.asked, strict=True)]
    except CheckFailed:
        return None
    share = [[ok for ok, q in zip(right, past.asked, strict=True) if q[3] == k] for k in range(len(past.total))]
    return [round(total * sum(found) / max(1, len(found))) for total, found in zip(past.total, share, strict=True)]
