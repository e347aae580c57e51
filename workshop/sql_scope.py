"""Names in a query: which table each column is of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlglot import parse_one
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import Scope, build_scope


def qualified(sql: str, schema: Mapping[str, Mapping[str, str]]) -> Scope | None:
    """The root scope of a query in DuckDB's dialect, with names resolved: stars written out, columns with their table's alias.

    ``schema``: by table ("core.orders") its columns with their types. Raises sqlglot's errors for what does not parse and for
    unknown columns; an unknown table is left as it is.
    """
    nested: dict[str, dict[str, Any]] = {}
    for table, columns in schema.items():
        part, name = table.split(".")
        nested.setdefault(part, {})[name] = dict(columns)
    return build_scope(qualify(parse_one(sql, dialect="duckdb"), schema=nested, dialect="duckdb"))
