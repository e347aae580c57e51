"""Comparison of rows: tolerant of what does not matter, exact in what does; and values that cross between processes."""

import math
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from workshop import codec
from workshop.checks import CheckFailed, Evidence, as_table, check, expect, expect_same_rows, run_check
from workshop.table import Table

WANT = Table.of(
    ["day", "team", "usd"], [(date(2026, 6, 1), "a", Decimal("1.50")), (date(2026, 6, 2), None, Decimal("2.00"))]
)
OTHER_RIGHT = {
    "row order": Table.of(WANT.columns, WANT.rows[::-1]),
    "column order and case": Table.of(["USD", "Day", "Team"], [(r[2], r[0], r[1]) for r in WANT.rows]),
    "floats": Table.of(WANT.columns, [(d, t, float(u)) for d, t, u in WANT.rows]),
    "float noise": Table.of(WANT.columns, [(d, t, float(u) + 1e-13) for d, t, u in WANT.rows]),
    "midnight timestamps": Table.of(WANT.columns, [(datetime(d.year, d.month, d.day), t, u) for d, t, u in WANT.rows]),
    "NaN for null": Table.of(WANT.columns, [(d, math.nan if t is None else t, u) for d, t, u in WANT.rows]),
    "list of dicts": WANT.dicts(),
    "dict of lists": {c: WANT.column(c) for c in WANT.columns},
    "list of lists": [list(r) for r in WANT.rows],
    "more columns": Table.of([*WANT.columns, "note"], [(*r, "x") for r in WANT.rows]),
}


@pytest.mark.parametrize("key", [(), ("day",)])
@pytest.mark.parametrize("name", OTHER_RIGHT)
def test_what_does_not_matter_passes(name: str, key: tuple[str, ...]) -> None:
    expect_same_rows(OTHER_RIGHT[name], WANT, "rows", key=key)


WRONG = {
    "a row missing": Table.of(WANT.columns, WANT.rows[:1]),
    "a row twice": Table.of(WANT.columns, [*WANT.rows, WANT.rows[0]]),
    "a cent off": Table.of(WANT.columns, [(d, t, u + Decimal("0.01")) for d, t, u in WANT.rows]),
    "empty string for null": Table.of(WANT.columns, [(d, t or "", u) for d, t, u in WANT.rows]),
    "zero for null": Table.of(WANT.columns, [(d, 0 if t is None else t, u) for d, t, u in WANT.rows]),
    "another day": Table.of(WANT.columns, [(d + timedelta(1), t, u) for d, t, u in WANT.rows]),
    "a column missing": Table.of(["day", "team"], [r[:2] for r in WANT.rows]),
    "text for a number": Table.of(WANT.columns, [(d, t, str(u)) for d, t, u in WANT.rows]),
    "nothing": None,
    "a number": 7,
    "true for one": Table.of(WANT.columns, [(d, t, True) for d, t, u in WANT.rows]),
}


@pytest.mark.parametrize("key", [(), ("day",)])
@pytest.mark.parametrize("name", WRONG)
def test_what_matters_fails_with_a_sentence(name: str, key: tuple[str, ...]) -> None:
    with pytest.raises(CheckFailed) as failure:
        expect_same_rows(WRONG[name], WANT, "spend by team", key=key)
    assert failure.value.message.startswith("spend by team")


def test_evidence_names_rows_and_columns() -> None:
    with pytest.raises(CheckFailed) as failure:
        expect_same_rows(WRONG["a cent off"], WANT, "rows", key=["day"])
    assert failure.value.evidence[0].table.columns == ("day", "column", "yours", "expected")
    assert failure.value.evidence[0].table.rows[0][1:] == ("usd", Decimal("1.51"), Decimal("1.50"))


def test_every_row_is_looked_at() -> None:
    rows = [(i, i * 0.1) for i in range(20_000)]
    want = Table.of(["i", "x"], rows)
    expect_same_rows(Table.of(["i", "x"], rows[::-1]), want, "rows")
    with pytest.raises(CheckFailed, match="1 row only in yours, 1 row missing"):
        expect_same_rows(Table.of(["i", "x"], [*rows[:-1], (19_999, 0.0)]), want, "rows")


def test_order_matters_only_where_it_is_promised() -> None:
    with pytest.raises(CheckFailed, match="out of order"):
        expect_same_rows(OTHER_RIGHT["row order"], WANT, "rows", ordered=True)
    expect_same_rows(WANT, WANT, "rows", ordered=True)


def test_columns_are_named_when_missing() -> None:
    with pytest.raises(CheckFailed, match="the columns usd, team are missing; there are day"):
        as_table(Table.of(["day"], []), "x", ["day", "usd", "team"])


def test_a_defect_of_a_check_is_no_fault_of_the_learner() -> None:
    @check("a", "t", points=1)
    def broken(lab: object) -> None:
        raise KeyError("oops")

    result = run_check(broken.kestrel_check, None)
    assert (result.outcome, result.grader_fault, result.points) == ("error", True, 0)

    @check("a", "t", points=1)
    def failing(lab: object) -> None:
        expect(False, "no", ask="why?", misconception="m")

    result = run_check(failing.kestrel_check, None)
    assert (result.outcome, result.ask, result.misconception, result.grader_fault) == ("failed", "why?", "m", False)


def test_evidence_is_made_only_for_a_check_that_fails() -> None:
    made = []

    def picture() -> Evidence:
        made.append(1)
        return Evidence("seen", text="what happened")

    expect(True, "fine", evidence=picture)
    assert not made
    with pytest.raises(CheckFailed) as failure:
        expect(False, "no", evidence=picture)
    assert [e.title for e in failure.value.evidence] == ["seen"]
    assert len(made) == 1


def test_a_check_that_passes_may_say_what_it_measured() -> None:
    @check("a", "t", points=1)
    def measured(lab: object) -> str:
        return "12 calls, none refused."

    @check("a", "t", points=1)
    def silent(lab: object) -> None:
        pass

    results = [run_check(c.kestrel_check, None) for c in (measured, silent)]
    assert [(r.outcome, r.points, r.message) for r in results] == [
        ("passed", 1, "12 calls, none refused."),
        ("passed", 1, ""),
    ]


# -- values that cross ---------------------------------------------------------------------------------------------------


@dataclass
class Point:
    x: int


@pytest.mark.parametrize(
    ("value", "back"),
    [
        (None, None),
        (True, True),
        (2**70, 2**70),
        (1.5, 1.5),
        (float("inf"), float("inf")),
        ("naïve 日本", "naïve 日本"),
        (b"\x00\xff", b"\x00\xff"),
        (Decimal("1.10"), Decimal("1.10")),
        (date(2026, 2, 28), date(2026, 2, 28)),
        (datetime(2026, 2, 28, 1, 2, 3, 4), datetime(2026, 2, 28, 1, 2, 3, 4)),
        (datetime(2026, 2, 28, 1, tzinfo=UTC), datetime(2026, 2, 28, 1)),
        (timedelta(days=-1, seconds=5), timedelta(days=-1, seconds=5)),
        ((1, (2,)), (1, (2,))),
        ({1, 2}, frozenset({1, 2})),
        ({"a": {"$": 1}}, {"a": {"$": 1}}),
        ({(1, 2): "x", None: 3}, {(1, 2): "x", None: 3}),
        (Point(3), {"x": 3}),
        (range(3), [0, 1, 2]),
        (np.int64(3), 3),
        (np.array([1.0, 2.0]), [1.0, 2.0]),
        (pd.Timestamp("2026-01-02 03:04:05"), datetime(2026, 1, 2, 3, 4, 5)),
        (pd.NaT, None),
        (pd.NA, None),
        (pd.Series([1.0, None]), [1.0, None]),
    ],
)
def test_values_come_back(value: object, back: object) -> None:
    assert codec.loads(codec.dumps(value)) == back


def test_frames_come_back_as_tables() -> None:
    frame = pd.DataFrame({"i": [1, 2], "t": pd.to_datetime(["2026-01-01", None]), "x": [1.5, None], "s": ["a", None]})
    got = codec.loads(codec.dumps(frame))
    assert got == Table.of(["i", "t", "x", "s"], [(1, datetime(2026, 1, 1), 1.5, "a"), (2, None, None, None)])
    grouped = frame.groupby("i")[["x"]].sum()
    assert codec.loads(codec.dumps(grouped)).columns == ("i", "x")


def test_columns_of_one_kind_come_back_as_they_were() -> None:
    rows = [
        (date(2026, 1, 2), datetime(2026, 1, 2, 3), Decimal("1.50"), date(2026, 1, 2), True, 1),
        (None, None, None, datetime(2026, 1, 2, 3), None, Decimal("0.1")),
        (date(1, 1, 1), datetime(2026, 1, 2, 3, 4, 5, 678901), Decimal("-0"), None, False, None),
    ]
    table = Table.of(["day", "moment", "money", "both", "flag", "number"], rows)
    got = codec.loads(codec.dumps(table))
    assert got == table
    assert [[type(v) for v in r] for r in got] == [[type(v) for v in r] for r in rows]
    zoned = pd.DataFrame({"t": pd.to_datetime(["2026-01-01 12:00", None]).tz_localize("Europe/Berlin")})
    assert codec.loads(codec.dumps(zoned)).rows == ((datetime(2026, 1, 1, 11),), (None,))
    assert codec.loads(codec.dumps(Table.of(["a"], []))) == Table.of(["a"], [])


@pytest.mark.parametrize(
    ("dtype", "given", "want"),
    [
        ("int32", [1, 2], [1, 2]),
        ("uint64", [1, 2**63], [1, 2**63]),
        ("Int64", [1, None], [1, None]),
        ("float32", [0.5, None], [0.5, None]),
        ("Float64", [0.5, None], [0.5, None]),
        ("float64", [float("inf"), 0.1], [float("inf"), 0.1]),
        ("bool", [True, False], [True, False]),
        ("boolean", [True, None], [True, None]),
        ("str", ["a", None], ["a", None]),
        ("category", ["a", None], ["a", None]),
        ("datetime64[ns]", ["2026-01-02 03:04:05.678901", None], [datetime(2026, 1, 2, 3, 4, 5, 678901), None]),
        ("datetime64[s]", ["2026-01-02", "0900-01-01"], [datetime(2026, 1, 2), datetime(900, 1, 1)]),
        ("object", [date(2026, 1, 2), float("nan")], [date(2026, 1, 2), None]),
        ("object", [Decimal("1.5"), 2], [Decimal("1.5"), 2]),
    ],
)
def test_frames_of_all_types_come_over(dtype: str, given: list, want: list) -> None:
    frame = pd.DataFrame({"x": pd.array(given, dtype=dtype) if dtype != "object" else pd.Series(given, dtype=object)})
    assert codec.loads(codec.dumps(frame)).column("x") == want
    assert codec.loads(codec.dumps(frame["x"])) == want


def deep(n: int) -> list:
    value: list = []
    for _ in range(n):
        value = [value]
    return value


@pytest.mark.parametrize("value", [object(), lambda: 1, deep(50), {"f": open}])
def test_what_may_not_cross_is_refused(value: object) -> None:
    with pytest.raises(codec.CodecError):
        codec.dumps(value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[" * 10_000,
        '{"$":"decimal","v":"x"}',
        '{"$":"decimal","v":[]}',
        '{"$":"datetime","v":7}',
        '{"$":"table","columns":["a"],"values":[[1],[2]]}',
        '{"$":"table","columns":5,"values":5}',
        '{"$":"table","columns":["a"],"values":[[1]],"kinds":{"0":"date"}}',
        '{"$":"table","columns":["a"],"values":[["x"]],"kinds":{"0":"decimal"}}',
        '{"$":"table","columns":["a"],"values":[["x"]],"kinds":{"0":["date"]}}',
        '{"$":"table","columns":["a"],"values":[["x"]],"kinds":[]}',
        '{"$":"con","v":"world"}',
        '{"$":"nonsense"}',
        '{"$":["x"],"v":"y"}',
        '{"$":"map","v":[[1]]}',
        '{"$":"bytes","v":"!"}',
        '{"$":"float","v":"1"}',
    ],
)
def test_a_strangers_text_never_raises_anything_else(text: str) -> None:
    with pytest.raises(codec.CodecError):
        codec.loads(text)
