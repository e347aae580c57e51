"""What a data contract in the Open Data Contract Standard's layout refuses.

A gate between producer and consumers: it reads the machine-readable part of a contract and says which batches break it.
Contracts are learners' data (patterns included), so that checks run this in the judge's process.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from workshop import codec
from workshop.checks import CheckFailed
from workshop.table import Table

MINUTES = {
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1 / 60),
    **dict.fromkeys(("m", "min", "minute", "minutes"), 1.0),
    **dict.fromkeys(("h", "hr", "hour", "hours"), 60.0),
    **dict.fromkeys(("d", "day", "days"), 1440.0),
}
# The standard prefers "latency" to "freshness"; both are understood, and its two-letter synonym.
LATENCY = {"latency", "ly", "freshness"}
NUMBER = (int, float, Decimal)
TYPES: dict[str, Callable[[Any], bool]] = {
    "string": lambda v: isinstance(v, str),
    "integer": lambda v: isinstance(v, NUMBER) and not isinstance(v, bool) and v == int(v),
    "number": lambda v: isinstance(v, NUMBER) and not isinstance(v, bool),
    "timestamp": lambda v: isinstance(v, datetime),
    "date": lambda v: isinstance(v, date),
    "boolean": lambda v: isinstance(v, bool),
}
OPERATORS: dict[str, Callable[[float, Any], bool]] = {
    "mustBe": lambda got, want: got == want,
    "mustNotBe": lambda got, want: got != want,
    "mustBeGreaterThan": lambda got, want: got > want,
    "mustBeGreaterOrEqualTo": lambda got, want: got >= want,
    "mustBeLessThan": lambda got, want: got < want,
    "mustBeLessOrEqualTo": lambda got, want: got <= want,
    "mustBeBetween": lambda got, want: want[0] <= got <= want[1],
    "mustNotBeBetween": lambda got, want: not want[0] <= got <= want[1],
}


@dataclass(frozen=True)
class Violation:
    """Why a batch is refused: ``element`` is the field or the promise, ``rule`` the contract's key, ``rows`` how many
    messages break it, ``example`` one value that does."""

    batch_id: str
    element: str
    rule: str
    rows: int
    example: str


def violations(contract: Mapping[str, Any], messages: Any) -> list[Violation]:
    """What the first object of a contract's schema and its latency refuse in ``messages``.

    ``messages`` (a DataFrame, a relation, a Table): one row a message, with batch_id, landed_at (UTC) and the message's
    fields. A batch without violations is accepted. Read are, of each property: required, unique, primaryKey, enum,
    logicalType, logicalTypeOptions (pattern, minLength, maxLength, minimum, maximum, exclusiveMinimum, exclusiveMaximum,
    multipleOf) and quality of type library; of the object: quality; of slaProperties: latency. Rules of type sql, text and
    custom are for other engines.

    Raises CheckFailed where the contract cannot be read.
    """
    table = messages if isinstance(messages, Table) else codec.decode(codec.encode(messages))
    try:
        return _Gate(contract).of(table)
    except CheckFailed:
        raise
    except Exception as error:  # the contract is a learner's: whatever is odd about it is said in words
        raise CheckFailed(f"The contract cannot be enforced: {type(error).__name__}: {error}.") from error


class _Gate:
    def __init__(self, contract: Mapping[str, Any]) -> None:
        objects = contract.get("schema") or []
        if not objects:
            raise CheckFailed("The contract has no schema: there is nothing to enforce.")
        self.object = objects[0]
        self.promises = [
            (_minutes(p), str(p.get("element") or "").split(".")[-1])
            for p in contract.get("slaProperties") or []
            if str(p.get("property")).lower() in LATENCY
        ]

    def of(self, table: Table) -> list[Violation]:
        columns = list(table.columns)
        for p in self.object.get("properties") or []:
            if p["name"] not in columns:
                raise CheckFailed(f"The contract has a field {p['name']!r} that messages do not have.")
        for _, element in self.promises:
            if element not in columns:
                raise CheckFailed(f"The latency is promised for {element!r}; messages have no such field.")
        batches: dict[str, list[tuple]] = {}
        at = columns.index("batch_id")
        for row in table.rows:
            batches.setdefault(row[at], []).append(row)
        found: list[Violation] = []
        for batch_id, rows in batches.items():
            values = {c: [r[i] for r in rows] for i, c in enumerate(columns)}
            broken = [*self._fields(values), *self._whole(values, len(rows)), *self._late(values)]
            found += [Violation(str(batch_id), *b) for b in broken]
        return found

    def _fields(self, values: dict[str, list]) -> list[tuple[str, str, int, str]]:
        found = []
        for p in self.object.get("properties") or []:
            name, column = p["name"], values[p["name"]]
            for rule, bad in [*_bad_values(p, column), *_bad_quality(p, column)]:
                found.append((name, rule, len(bad), str(bad[0]) if bad else ""))
        keys = [p["name"] for p in self.object.get("properties") or [] if p.get("primaryKey")]
        if keys:
            bad = _repeated(list(zip(*(values[k] for k in keys), strict=True)))
            if bad:
                found.append((", ".join(keys), "primaryKey", len(bad), str(bad[0][0] if len(keys) == 1 else bad[0])))
        return found

    def _whole(self, values: dict[str, list], n: int) -> list[tuple[str, str, int, str]]:
        found = []
        for q in self.object.get("quality") or []:
            if q.get("metric") == "rowCount":
                if not _holds(q, n, n):
                    found.append((self.object["name"], "rowCount", n, str(n)))
            elif q.get("metric") == "duplicateValues":
                names = (q.get("arguments") or {}).get("properties") or []
                bad = _repeated(list(zip(*(values[k] for k in names), strict=True)))
                if not _holds(q, len(bad), n):
                    found.append((", ".join(names), "duplicateValues", len(bad), str(bad[0]) if bad else ""))
        return found

    def _late(self, values: dict[str, list]) -> list[tuple[str, str, int, str]]:
        """A batch keeps the promise if each of its messages had landed so many minutes after ``element``."""
        found = []
        for limit, element in self.promises:
            waited = [
                (landed - at).total_seconds() / 60
                for landed, at in zip(values["landed_at"], values[element], strict=True)
                if at is not None
            ]
            bad = [w for w in waited if w > limit]
            if bad:
                found.append((element, "latency", len(bad), f"{max(bad):.0f} minutes"))
        return found


def _minutes(promise: Mapping[str, Any]) -> float:
    unit = str(promise.get("unit") or "").lower()
    if unit not in MINUTES:
        raise CheckFailed(f"The latency has the unit {promise.get('unit')!r}; s, m, h and d are understood.")
    return float(promise["value"]) * MINUTES[unit]


def _repeated(values: list[Any]) -> list[Any]:
    """Second and later occurrences; null is no value."""
    seen: set[Any] = set()
    again = []
    for v in values:
        if v is None or (isinstance(v, tuple) and None in v):
            continue
        if v in seen:
            again.append(v)
        seen.add(v)
    return again


def _bad_values(p: Mapping[str, Any], column: list[Any]) -> list[tuple[str, list[Any]]]:
    """Rules of a property with the values that break them."""
    present = [v for v in column if v is not None]
    options = p.get("logicalTypeOptions") or {}
    rules: dict[str, list[Any]] = {}
    if p.get("required") or p.get("primaryKey"):
        rules["required"] = [v for v in column if v is None]
    if p.get("unique"):
        rules["unique"] = _repeated(column)
    if p.get("enum"):
        allowed = {e["value"] for e in p["enum"]}
        rules["enum"] = [v for v in present if v not in allowed]
    kind = TYPES.get(p.get("logicalType"))
    if kind:
        rules["logicalType"] = [v for v in present if not kind(v)]
        present = [v for v in present if kind(v)]
    if "pattern" in options:
        pattern = re.compile(options["pattern"])
        rules["pattern"] = [v for v in present if not pattern.search(v)]
    tests: dict[str, Callable[[Any, Any], bool]] = {
        "minLength": lambda v, limit: len(v) >= limit,
        "maxLength": lambda v, limit: len(v) <= limit,
        "minimum": lambda v, limit: v >= _like(limit, v),
        "maximum": lambda v, limit: v <= _like(limit, v),
        "exclusiveMinimum": lambda v, limit: v > _like(limit, v),
        "exclusiveMaximum": lambda v, limit: v < _like(limit, v),
        "multipleOf": lambda v, limit: v % limit == 0,
    }
    for key, test in tests.items():
        if key in options:
            rules[key] = [v for v in present if not test(v, options[key])]
    return [(rule, bad) for rule, bad in rules.items() if bad]


def _like(limit: Any, value: Any) -> Any:
    """A limit as the value's type: those of dates and timestamps are text in a contract."""
    if isinstance(value, datetime):
        return codec.decode({"$": "datetime", "v": str(limit)})
    return date.fromisoformat(str(limit)) if isinstance(value, date) else limit


def _bad_quality(p: Mapping[str, Any], column: list[Any]) -> list[tuple[str, list[Any]]]:
    """Library rules of a property that do not hold, with the values that count."""
    found = []
    for q in p.get("quality") or []:
        metric, arguments = q.get("metric"), q.get("arguments") or {}
        if metric == "nullValues":
            bad = [v for v in column if v is None]
        elif metric == "missingValues":
            missing = arguments.get("missingValues") or [None, ""]
            bad = [v for v in column if v in missing]
        elif metric == "duplicateValues":
            bad = _repeated(column)
        elif metric == "invalidValues":
            valid, pattern = arguments.get("validValues"), arguments.get("pattern")
            bad = [
                v
                for v in column
                if v is not None
                and ((valid is not None and v not in valid) or (pattern is not None and not re.search(pattern, str(v))))
            ]
        else:
            continue
        if not _holds(q, len(bad), len(column)):
            found.append((str(metric), bad))
    return found


def _holds(q: Mapping[str, Any], count: int, n: int) -> bool:
    """Whether a count keeps to the operator of a quality rule; rows unless the unit is percent."""
    got = 100.0 * count / max(n, 1) if q.get("unit") == "percent" else count
    return all(test(got, q[operator]) for operator, test in OPERATORS.items() if operator in q)
