"""OpenLineage run events as plain data: read them, check them against the specification, collect what code emits.

An event is a dict, as ``openlineage.client.serde.Serde.to_dict`` gives it. The rules that it is checked against stand in
openlineage.schema.json.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import duckdb

JOB_NAMESPACE = "kestrel.deployments"
DATASET_NAMESPACE = "duckdb://warehouse.kestrel.example"
SCHEMA = Path(__file__).with_name("openlineage.schema.json")
# RFC 3339: a date, a time and an offset.
DATE_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")
URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s<>\"{}|\\^`]+")

Edge = tuple[str, str, str, str]  # output column, input table, input column, DIRECT or INDIRECT


@dataclass(frozen=True)
class Output:
    """What an event says of one dataset that a run has made: its columns in order with their types, and its column edges."""

    columns: dict[str, str | None]
    edges: frozenset[Edge]


def read_outputs(event: Mapping[str, Any]) -> dict[str, Output]:
    """By name, the datasets that an event has as outputs. What the lineage facet says of the whole dataset holds for each of
    its columns. An input field without ``transformations`` counts as DIRECT. No facet: no columns, or no edges."""
    found = {}
    for dataset in event.get("outputs") or []:
        facets = dataset.get("facets") or {}
        fields = (facets.get("schema") or {}).get("fields") or []
        columns = {str(f["name"]): f.get("type") for f in fields}
        lineage = facets.get("columnLineage") or {}
        edges: set[Edge] = set()
        for column, of in (lineage.get("fields") or {}).items():
            for given in of.get("inputFields") or []:
                edges |= {(column, *edge) for edge in _inputs(given)}
        for given in lineage.get("dataset") or []:
            edges |= {(column, *edge) for column in columns for edge in _inputs(given)}
        found[str(dataset["name"])] = Output(columns, frozenset(edges))
    return found


def _inputs(given: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    kinds = [str(t["type"]) for t in given.get("transformations") or []] or ["DIRECT"]
    return [(str(given["name"]), str(given["field"]), kind) for kind in kinds]


def violations(event: Any) -> list[str]:
    """What of the OpenLineage specification an event breaks, one sentence each; empty: it is valid."""
    found = sorted(_validator().iter_errors(event), key=lambda e: [str(p) for p in e.absolute_path])
    return [f"{'.'.join(str(p) for p in e.absolute_path) or 'the event'}: {e.message[:200]}" for e in found]


@cache
def _validator() -> Any:
    # A part of jsonschema's own formats that takes a second to import, and that we do without: our formats stand below.
    heavy = "rfc3987_syntax"
    absent = heavy not in sys.modules
    if absent:
        sys.modules[heavy] = None  # type: ignore[assignment]
    try:
        import jsonschema
    finally:
        if absent:
            del sys.modules[heavy]
    formats = jsonschema.FormatChecker(formats=())
    for name, test in (("uuid", _is_uuid), ("date-time", _is_date_time), ("uri", _is_uri)):
        formats.checks(name)(test)
    return jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8")), format_checker=formats)


def _is_uuid(value: Any) -> bool:
    if not isinstance(value, str):
        return True
    try:
        return str(UUID(value)) == value.lower()
    except ValueError:
        return False


def _is_date_time(value: Any) -> bool:
    if not isinstance(value, str):
        return True
    if not DATE_TIME.fullmatch(value):
        return False
    try:
        datetime.fromisoformat(value.upper())
    except ValueError:
        return False
    return True


def _is_uri(value: Any) -> bool:
    if not isinstance(value, str):
        return True
    try:
        return bool(URI.fullmatch(value)) and bool(urlsplit(value).scheme)
    except ValueError:
        return False


# -- on the learner's side ----------------------------------------------------------------------------------------------


def collect(emit: Callable[..., Any], *args: Any) -> list[dict[str, Any]]:
    """Calls ``emit(*args, client)`` with a client that keeps what it is given, and returns the events as dicts."""
    from openlineage.client import OpenLineageClient
    from openlineage.client.serde import Serde
    from openlineage.client.transport import Transport

    class Kept(Transport):
        kind = "kept"

        def __init__(self) -> None:
            self.events: list[dict[str, Any]] = []

        def emit(self, event: Any) -> None:
            self.events.append(json.loads(Serde.to_json(event)))

    kept = Kept()
    emit(*args, OpenLineageClient(transport=kept))
    return kept.events


def ask_each(function: Callable[..., Any], events: Sequence[Any], questions: Sequence[Sequence[Any]]) -> list[Any]:
    """What ``function(events, *question)`` answers to each question; it gets a list of its own each time."""
    return [function(list(events), *question) for question in questions]


def read_schema(con: Any) -> dict[str, dict[str, str]]:
    """By table ("core.orders", "mart.late_shipments"), the type of each column in order: the core tables that ``con`` holds,
    and the models of ops.models, made as views over empty copies of those."""
    models = con.execute("select schema_name, table_name, sql from ops.models order by model_id").fetchall()
    tables = con.execute("select distinct table_name from ops.sources order by table_name").fetchall()
    core = {f"core.{t}": tuple((c[0], c[1]) for c in con.execute(f"describe core.{t}").fetchall()) for (t,) in tables}
    return {table: dict(columns) for table, columns in _types(tuple(core.items()), tuple(models))}


@cache
def _types(
    core: tuple[tuple[str, tuple[tuple[str, str], ...]], ...], models: tuple[tuple[str, str, str], ...]
) -> list[tuple[str, list[tuple[str, str]]]]:
    """The columns of tables, and of models made over them; the same question is asked whenever a lab is opened."""
    found = [(table, list(columns)) for table, columns in core]
    empty = duckdb.connect(":memory:", config={"autoinstall_known_extensions": "false"})
    try:
        for schema in dict.fromkeys(["core", *(s for s, _, _ in models)]):
            empty.execute(f"create schema {schema}")
        for table, columns in core:
            empty.execute(f"create table {table} ({', '.join(f'{n} {t}' for n, t in columns)})")
        for schema, table, sql in models:
            empty.execute(f"create view {schema}.{table} as {sql}")
            columns = empty.execute(f"describe {schema}.{table}").fetchall()
            found.append((f"{schema}.{table}", [(c[0], c[1]) for c in columns]))
    finally:
        empty.close()
    return found
