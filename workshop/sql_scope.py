"""Names in a query: which table each column is of. sqlglot is imported when the first query is read: it takes a while."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlglot.optimizer.scope import Scope

Schema = Mapping[str, Mapping[str, str]]  # by table ("core.orders"), the type of each column


def known_to_sqlglot(schema: Schema) -> Any:
    """The schema as sqlglot has it, made once for many queries."""
    from sqlglot.schema import ensure_schema

    nested: dict[str, dict[str, Mapping[str, str]]] = {}
    for table, columns in schema.items():
        part, name = table.split(".")
        nested.setdefault(part, {})[name] = columns
    return ensure_schema(nested, dialect="duckdb")


def qualified(sql: str, schema: Schema) -> Scope | None:
    """The root scope of a query in DuckDB's dialect, with names resolved: stars written out, columns with their table's alias.

    Raises sqlglot's errors for what does not parse and for unknown columns; an unknown table is left as it is.
    """
    from sqlglot import parse_one
    from sqlglot.optimizer.qualify import qualify
    from sqlglot.optimizer.scope import build_scope

    tree = parse_one(sql, dialect="duckdb")
    return build_scope(qualify(tree, schema=known_to_sqlglot(schema), dialect="duckdb"))


def columns_read(sql: str, known: Any) -> tuple[set[str], set[tuple[str, str]]]:
    """The tables that a query reads, and the columns of them, stars written out. ``known``: of known_to_sqlglot."""
    from sqlglot import exp, parse_one
    from sqlglot.optimizer.qualify import qualify
    from sqlglot.optimizer.scope import traverse_scope

    tables, found = set(), set()
    for scope in traverse_scope(qualify(parse_one(sql, dialect="duckdb"), schema=known, dialect="duckdb")):
        named = {a: f"{s.db}.{s.name}" for a, s in scope.sources.items() if isinstance(s, exp.Table)}
        tables |= set(named.values())
        found |= {(named[c.table], c.name) for c in scope.columns if c.table in named}
    return tables, found
