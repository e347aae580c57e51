"""A small typed table: what comes out of DuckDB or out of a kernel, and what is shown as evidence."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import duckdb
    import pandas as pd


@dataclass(frozen=True)
class Table:
    """Rows with named columns. ``rows`` are tuples in the order of ``columns``; null is None."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    @staticmethod
    def of(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
        """A table from any sequences."""
        return Table(tuple(columns), tuple(tuple(r) for r in rows))

    @staticmethod
    def from_cursor(cursor: duckdb.DuckDBPyConnection) -> Table:
        """All rows of the last statement of a DuckDB connection."""
        columns = tuple(d[0] for d in cursor.description or ())
        return Table(columns, tuple(cursor.fetchall()) if columns else ())

    @staticmethod
    def from_dicts(rows: Sequence[dict[str, Any]]) -> Table:
        """A table from dicts; columns are the keys of all rows, in order of appearance; missing values are None."""
        columns = tuple(dict.fromkeys(k for r in rows for k in r))
        return Table(columns, tuple(tuple(r.get(c) for c in columns) for r in rows))

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return iter(self.rows)

    def column(self, name: str) -> list[Any]:
        """The values of one column."""
        i = self.columns.index(name)
        return [r[i] for r in self.rows]

    def dicts(self) -> list[dict[str, Any]]:
        """One dict a row."""
        return [dict(zip(self.columns, r, strict=True)) for r in self.rows]

    def value(self) -> Any:
        """The single value of a one-row, one-column table."""
        return self.rows[0][0]

    def frame(self) -> pd.DataFrame:
        """A pandas frame with the same columns; values as they are (Decimals stay Decimals)."""
        import pandas as pd

        return pd.DataFrame([list(r) for r in self.rows], columns=list(self.columns))

    def head(self, n: int) -> Table:
        """The first n rows."""
        return Table(self.columns, self.rows[:n])

    def __str__(self) -> str:
        cells = [[_show(v) for v in r] for r in (self.columns, *self.rows[:20])]
        widths = [max(len(r[i]) for r in cells) for i in range(len(self.columns))]
        lines = ["  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)).rstrip() for r in cells]
        if len(self.rows) > 20:
            lines.append(f"... {len(self.rows) - 20} more rows")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{html.escape(c)}</th>" for c in self.columns)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(_show(v))}</td>" for v in r) + "</tr>" for r in self.rows[:20]
        )
        more = f"<p>... {len(self.rows) - 20} more rows</p>" if len(self.rows) > 20 else ""
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


def _show(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    return text if len(text) <= 80 else text[:77] + "..."
