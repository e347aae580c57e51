"""Values between a kernel and the grader: JSON of stated types only, with limits on size and depth. Never pickle.

The notebook's own checks send their values through the same code, so that what passes in the notebook passes when graded.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from enum import Enum
from typing import Any

from workshop.table import Table

MAX_DEPTH = 16
MAX_VALUES = 3_000_000
MAX_BYTES = 64 * 1024 * 1024
SAFE_INTEGER = 2**53
TAG = "$"
MISSING = {"NAType", "NaTType"}  # pandas' words for null


class CodecError(ValueError):
    """A value that cannot cross: its type is not one of the stated ones, or it is too deep or too large."""


class Reference:
    """Something that stays on its side and is named on the other: subclasses give ``kind`` and ``name``."""

    kind: str
    name: str


def dumps(value: Any) -> str:
    """The value as JSON text. Raises CodecError for types and sizes that may not cross."""
    text = json.dumps(encode(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    if len(text) > MAX_BYTES:
        raise CodecError(
            f"the value takes {len(text) / 1e6:.0f} MB; at most {MAX_BYTES // 2**20} MB may be handed over"
        )
    return text


def loads(text: str, resolve: Callable[[str, str], Any] | None = None) -> Any:
    """The value of JSON text made by dumps. ``resolve(kind, name)`` turns references into objects of this side."""
    return decode(parse(text), resolve)


def parse(text: str) -> Any:
    """The plain JSON types of a text, for decode or to be passed on as they are. Raises CodecError."""
    if len(text) > MAX_BYTES:
        raise CodecError("the text is too large")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CodecError("the text is not JSON") from error


def encode(value: Any) -> Any:
    """The value as plain JSON types. Types: None, bool, int, float, str, bytes, Decimal, date, datetime, time, timedelta,
    list, tuple, set, dict, dataclass (as dict), Enum (its value), Table, DuckDB relation, pandas and numpy values."""
    count = [0]
    return _encode(value, 0, count)


def _encode(v: Any, depth: int, count: list[int]) -> Any:
    count[0] += 1
    if count[0] > MAX_VALUES:
        raise CodecError(f"it holds more than {MAX_VALUES:,} values")
    if depth > MAX_DEPTH:
        raise CodecError(f"it is nested more than {MAX_DEPTH} deep")
    # By exact type first: that is what most values are, and a request is one of thousands.
    kind = type(v)
    if kind is str or v is None or kind is bool:
        return v
    if kind is list:
        return [_encode(x, depth + 1, count) for x in v]
    if kind is float and -math.inf < v < math.inf:
        return v
    if isinstance(v, Enum):
        return _encode(v.value, depth, count)
    if isinstance(v, str):
        return str(v)
    if isinstance(v, int):
        return int(v) if abs(v) <= SAFE_INTEGER else {TAG: "int", "v": str(int(v))}
    if isinstance(v, float):
        return float(v) if math.isfinite(v) else {TAG: "float", "v": repr(float(v))}
    if isinstance(v, Mapping):
        if TAG not in v and all(type(k) is str for k in v):
            return {k: _encode(x, depth + 1, count) for k, x in v.items()}
        return {TAG: "map", "v": [[_encode(k, depth + 1, count), _encode(x, depth + 1, count)] for k, x in v.items()]}
    if isinstance(v, tuple):
        return {TAG: "tuple", "v": [_encode(x, depth + 1, count) for x in v]}
    if isinstance(v, Decimal):
        return {TAG: "decimal", "v": _text(v)}
    if _is_missing(v):
        return None
    if isinstance(v, datetime):
        return {TAG: "datetime", "v": _text(v)}
    if isinstance(v, date):
        return {TAG: "date", "v": _text(v)}
    if isinstance(v, time):
        return {TAG: "time", "v": v.isoformat()}
    if isinstance(v, timedelta):
        return {TAG: "timedelta", "v": [v.days, v.seconds, v.microseconds]}
    if isinstance(v, bytes | bytearray | memoryview):
        return {TAG: "bytes", "v": base64.b64encode(bytes(v)).decode()}
    if isinstance(v, Reference):
        return {TAG: v.kind, "v": v.name}
    if isinstance(v, list):
        return [_encode(x, depth + 1, count) for x in v]
    if isinstance(v, set | frozenset):
        return {TAG: "set", "v": sorted((_encode(x, depth + 1, count) for x in v), key=repr)}
    if isinstance(v, Table):
        return _encode_table(v, depth, count)
    if dataclasses.is_dataclass(v) and not isinstance(v, type):
        return _encode({f.name: getattr(v, f.name) for f in dataclasses.fields(v)}, depth, count)
    return _encode_foreign(v, depth, count)


def _encode_table(v: Table, depth: int, count: list[int]) -> dict[str, Any]:
    _count_values(len(v.rows) * len(v.columns), count)
    if any(len(r) != len(v.columns) for r in v.rows):
        raise CodecError("rows and columns of a table differ in number")
    return _encode_columns(v.columns, list(zip(*v.rows, strict=True)) or [()] * len(v.columns), depth, count)


def _count_values(n: int, count: list[int]) -> None:
    """Before the work: a table that is too large is not walked."""
    count[0] += n
    if count[0] > MAX_VALUES:
        raise CodecError(f"it holds more than {MAX_VALUES:,} values")


def _encode_columns(
    names: Sequence[str], columns: Sequence[Sequence[Any]], depth: int, count: list[int]
) -> dict[str, Any]:
    """A table goes column by column. One of moments, days or decimals says so once ("kinds") and holds their texts: ten times
    faster than value by value, and most of what a large table costs."""
    values, kinds = [], {}
    for j, column in enumerate(columns):
        types = set(map(type, column)) - {type(None)}
        kind = _kind_of(types)
        if kind:
            kinds[str(j)] = kind
            values.append(_texts(column, types))
        elif types <= AS_IS or (types == {float} and _all_finite(column)):
            values.append(list(column))
        else:
            values.append([x if _is_plain(x) else _encode(x, depth + 1, count) for x in column])
    table = {TAG: "table", "columns": list(names), "values": values}
    return table | {"kinds": kinds} if kinds else table


AS_IS = {str, bool}


def _all_finite(column: Sequence[float | None]) -> bool:
    return all(x is None or -math.inf < x < math.inf for x in column)


def _texts(column: Sequence[Any], types: set[type]) -> list[str | None]:
    if types == {Decimal}:
        return [None if x is None else str(x) for x in column]
    if len(types) == 1 and types <= {datetime, date}:
        return [None if x is None else x.isoformat() for x in column]
    return [None if x is None or _is_missing(x) else _text(x) for x in column]


def _kind_of(types: set[type]) -> str | None:
    """What all values of a column are (of these types, null aside), if it is one of KINDS; missing ones do not count."""
    present = {t for t in types if t.__name__ not in MISSING}
    if present and all(issubclass(t, datetime) for t in present):  # pandas' Timestamp is one
        return "datetime"
    return next((kind for kind, cls in KINDS.items() if present == {cls}), None)


def _text(v: datetime | date | Decimal) -> str:
    if isinstance(v, Decimal):
        return str(v)
    return (v.to_pydatetime() if hasattr(v, "to_pydatetime") else v).isoformat()


def _is_plain(v: Any) -> bool:
    """Whether JSON carries the value as it is: most cells of most tables, which need no further look."""
    kind = type(v)
    if kind is float:
        return -math.inf < v < math.inf
    return kind is str or v is None or kind is bool or (kind is int and -SAFE_INTEGER <= v <= SAFE_INTEGER)


def _is_missing(v: Any) -> bool:
    return type(v).__name__ in MISSING


def _is_nan(v: Any) -> bool:
    """NaN in a frame stands for a missing value."""
    return isinstance(v, float) and math.isnan(v)


def _series_values(v: Any) -> list[Any]:
    """The values of a pandas series or index; a missing one is None (or one of MISSING)."""
    if not hasattr(v.dtype, "na_value"):  # numpy's own types; pandas' have a word of their own for what is missing
        if v.dtype.kind in "iub":
            return v.tolist()
        if v.dtype.kind == "f":
            return [None if x != x else x for x in v.tolist()]
        if v.dtype.kind == "M":
            return v.to_numpy("datetime64[us]").tolist()
    return [None if _is_nan(x) else x for x in v.tolist()]


def _encode_foreign(v: Any, depth: int, count: list[int]) -> Any:
    kind = f"{type(v).__module__}.{type(v).__qualname__}"
    if kind.endswith("DuckDBPyRelation"):
        return _encode(Table.of(v.columns, v.fetchall()), depth, count)
    if kind.endswith("DuckDBPyConnection"):
        return _encode(Table.from_cursor(v), depth, count)
    if kind.startswith("pandas.") and hasattr(v, "columns") and hasattr(v, "itertuples"):
        if any(n is not None for n in v.index.names):
            v = v.reset_index()
        _count_values(v.shape[0] * v.shape[1], count)
        columns = [_series_values(v.iloc[:, j]) for j in range(v.shape[1])]
        return _encode_columns([str(c) for c in v.columns], columns, depth, count)
    if kind.startswith("pandas.") and hasattr(v, "tolist"):
        return _encode(_series_values(v) if hasattr(v, "dtype") else v.tolist(), depth, count)
    if kind.startswith("numpy.") and hasattr(v, "tolist"):
        if type(v).__name__.startswith(("datetime64", "timedelta64")):
            v = v.astype(f"{type(v).__name__}[us]")
        return _encode(v.tolist(), depth, count)
    if kind.startswith("great_expectations.") and hasattr(v, "to_json_dict"):
        return _encode(v.to_json_dict(), depth, count)
    if isinstance(v, range) or kind in {"builtins.dict_keys", "builtins.dict_values", "builtins.generator"}:
        return _encode(list(v), depth, count)
    raise CodecError(
        f"a value of type {type(v).__name__} cannot be handed over; return rows (a DataFrame, a relation, a list of dicts) or "
        "plain values"
    )


KINDS = {"date": date, "decimal": Decimal}
TEXTS: dict[str, Callable[[str], Any]] = {
    "datetime": lambda text: _utc(datetime.fromisoformat(text)),
    "date": date.fromisoformat,
    "decimal": lambda text: Decimal(text[:400]),
}


def decode(plain: Any, resolve: Callable[[str, str], Any] | None = None) -> Any:
    """The inverse of encode. Raises CodecError on anything that encode does not make."""
    count = [0]
    try:
        return _decode(plain, resolve, 0, count)
    except (AttributeError, KeyError, TypeError, ValueError, InvalidOperation, OverflowError) as error:
        raise CodecError(f"malformed value: {error}") from error


Inner = Callable[[Any], Any]
SIMPLE: dict[str, Callable[[Any, Inner], Any]] = {
    "int": lambda v, _: int(v[:400]),
    "float": lambda v, _: {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}[v],
    "decimal": lambda v, _: TEXTS["decimal"](v),
    "datetime": lambda v, _: TEXTS["datetime"](v),
    "date": lambda v, _: TEXTS["date"](v),
    "time": lambda v, _: time.fromisoformat(v),
    "timedelta": lambda v, _: timedelta(*v),
    "bytes": lambda v, _: base64.b64decode(v, validate=True),
    "tuple": lambda v, inner: tuple([inner(x) for x in v]),
    "set": lambda v, inner: frozenset(_hashable(inner(x)) for x in v),
    "map": lambda v, inner: {_hashable(inner(k)): inner(x) for k, x in v},
}


def _decode(p: Any, resolve: Callable[[str, str], Any] | None, depth: int, count: list[int]) -> Any:
    count[0] += 1
    if depth > MAX_DEPTH or count[0] > MAX_VALUES:
        raise CodecError("too deep or too large")
    if not isinstance(p, dict | list):
        return _scalar(p)
    depth += 1
    if isinstance(p, list):
        return [_decode(x, resolve, depth, count) for x in p]
    if TAG not in p:
        return {str(k): _decode(x, resolve, depth, count) for k, x in p.items()}

    def inner(x: Any) -> Any:
        return _decode(x, resolve, depth, count)

    kind, v = p[TAG], p.get("v")
    if kind == "table":
        return _decode_table(p, inner, count)
    if kind in SIMPLE:
        return SIMPLE[kind](v, inner)
    if resolve is not None and isinstance(kind, str) and isinstance(v, str):
        return resolve(kind, v)
    raise CodecError(f"unknown kind of value: {kind!r}")


def _decode_table(p: dict[str, Any], inner: Inner, count: list[int]) -> Table:
    names = tuple(str(c) for c in p["columns"])
    values = p["values"]
    count[0] += sum(len(column) for column in values)
    if len(values) != len(names) or len({len(column) for column in values}) > 1:
        raise CodecError("rows and columns of a table differ in number")
    kinds = p.get("kinds", {})
    columns = []
    for j, column in enumerate(values):
        kind = kinds.get(str(j))
        if kind is None:
            plain = set(map(type, column)) <= SCALARS
            columns.append(column if plain else [inner(x) for x in column])
        else:
            read = TEXTS[kind]
            columns.append([None if x is None else read(x) for x in column])
    return Table(names, tuple(zip(*columns, strict=True)))


SCALARS = frozenset({type(None), bool, int, float, str})  # what JSON makes of them, and no other


def _scalar(p: Any) -> Any:
    if type(p) in SCALARS:
        return p
    raise CodecError(f"unknown kind of value: {type(p).__name__}")


def _hashable(v: Any) -> Any:
    return tuple(_hashable(x) for x in v) if isinstance(v, list) else v


def _utc(value: datetime) -> datetime:
    """Instants with an offset become naive UTC, as everywhere in the warehouse."""
    return value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
