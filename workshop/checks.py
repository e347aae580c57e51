"""What authors write checks with: the decorator, the expectations, the outcomes.

A check states what is true (trusted side), asks the learner's work for data, and compares:

    @check("a", "a corrected batch replaces the earlier version", points=2)
    def corrections_win(lab: Lab) -> None:
        got = lab.call("load", ...)
        expect_same_rows(got, want, "orders after the correction", key=["order_id"])

``lab`` is a workshop.trusted.Lab. A check passes by returning (a sentence with what it measured, or nothing), and fails by an
expectation that does not hold.
"""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workshop.codec import encode as _encode
from workshop.table import Table

if TYPE_CHECKING:
    from workshop.trusted import Lab

PASSED, FAILED, ERROR, NOT_ATTEMPTED = "passed", "failed", "error", "not attempted"
RELATIVE_TOLERANCE = 1e-9


class TODO(NotImplementedError):  # noqa: N818 - reads as what it is in a stub: raise TODO
    """The mark of a task that nobody has begun: ``raise TODO`` in a function, ``name = TODO`` for a value."""


@dataclass(frozen=True)
class Evidence:
    """Something to look at: a table, a picture (PNG bytes) or a few lines of text, under a title."""

    title: str
    table: Table | None = None
    png: bytes | None = None
    text: str | None = None


class CheckFailed(Exception):  # noqa: N818 - a verdict, not an error
    """The learner's work does not do what the task asks. ``ask`` is the next question; ``misconception`` its id."""

    outcome = FAILED

    def __init__(
        self,
        message: str,
        *,
        evidence: Evidence | Sequence[Evidence] = (),
        ask: str | None = None,
        misconception: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.evidence = (evidence,) if isinstance(evidence, Evidence) else tuple(evidence)
        self.ask = ask
        self.misconception = misconception


class LearnerError(CheckFailed):
    """The learner's code raised, did not come back, or handed over what cannot be read. ``error_type`` is the class name."""

    outcome = ERROR

    def __init__(self, message: str, *, error_type: str = "", error_message: str = "", **kwargs: Any) -> None:
        super().__init__(message, **kwargs)
        self.error_type = error_type
        self.error_message = error_message


class NotAttempted(CheckFailed):
    """The stub of the task still stands."""

    outcome = NOT_ATTEMPTED


@dataclass(frozen=True)
class Check:
    """One check of a task: ``points`` if it passes. ``weaker`` marks evidence that only the kernel could see. ``run`` may
    return a sentence that says what was measured: a learner whose work passes reads it."""

    task: str
    name: str
    title: str
    points: float
    run: Callable[[Lab], str | None]
    weaker: bool = False


@dataclass(frozen=True)
class CheckResult:
    """What one check said."""

    task: str
    check: str
    title: str
    points: float
    max_points: float
    outcome: str
    message: str = ""
    ask: str | None = None
    misconception: str | None = None
    evidence: tuple[Evidence, ...] = field(default=())
    weaker: bool = False
    grader_fault: bool = False


def check(
    task: str, title: str, *, points: float, weaker: bool = False
) -> Callable[[Callable[[Lab], str | None]], Callable[[Lab], str | None]]:
    """Marks a function of checks.py as a check of ``task``. ``title`` says what holds when it passes."""

    def mark(function: Callable[[Lab], str | None]) -> Callable[[Lab], str | None]:
        function.kestrel_check = Check(task, function.__name__, title, points, function, weaker)  # type: ignore[attr-defined]
        return function

    return mark


def expect(
    condition: object,
    message: str,
    *,
    evidence: Evidence | Sequence[Evidence] | Callable[[], Evidence | Sequence[Evidence]] = (),
    ask: str | None = None,
    misconception: str | None = None,
) -> None:
    """Fails the check with ``message`` unless ``condition`` is true. Evidence that takes time to make (a picture, a run of the
    judge's) is given as a function without arguments: it is called only when the check fails."""
    if not condition:
        shown = evidence() if callable(evidence) else evidence
        raise CheckFailed(message, evidence=shown, ask=ask, misconception=misconception)


@cache
def read_cases(path: Path) -> list[dict[str, Any]]:
    """Cases that a topic keeps as data: the list in a YAML file beside its checks.py, read once. Not to be changed."""
    import yaml

    return yaml.safe_load(path.read_text(encoding="utf-8"))


def as_table(value: Any, what: str, columns: Sequence[str]) -> Table:
    """The value as a table with exactly ``columns`` (any order, any case). Takes a Table, a list of dicts, a dict of lists
    of equal length, or a list of rows in the stated order. Fails the check, naming what is missing, otherwise."""
    if isinstance(value, Table):
        table = value
    elif isinstance(value, list) and all(isinstance(r, dict) for r in value):
        table = Table.from_dicts(value) if value else Table.of(columns, [])
    elif isinstance(value, dict) and value and all(isinstance(v, list) for v in value.values()):
        lengths = {len(v) for v in value.values()}
        table = (
            Table.of(list(value), list(zip(*value.values(), strict=True))) if len(lengths) == 1 else Table.of([], [])
        )
    elif isinstance(value, list | tuple) and all(isinstance(r, list | tuple) and len(r) == len(columns) for r in value):
        table = Table.of(columns, value)
    else:
        raise CheckFailed(f"{what}: rows with the columns {', '.join(columns)} were expected; this is {_kind(value)}.")
    names = {str(c).lower(): i for i, c in enumerate(table.columns)}
    missing = [c for c in columns if c.lower() not in names]
    if missing:
        raise CheckFailed(
            f"{what}: the column{'s' * (len(missing) > 1)} {', '.join(missing)} {'are' if len(missing) > 1 else 'is'} "
            f"missing; there are {', '.join(map(str, table.columns)) or 'none'}."
        )
    order = [names[c.lower()] for c in columns]
    return Table.of(columns, [[r[i] for i in order] for r in table.rows])


def as_number(value: Any) -> float | None:
    """The value as a finite float; None where it is no number (True and NaN are none either)."""
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError, ValueError):
            number = float(value)
            if math.isfinite(number):
                return number
    return None


def _kind(value: Any) -> str:
    return "nothing (None)" if value is None else f"a {type(value).__name__}"


def canonical(value: Any) -> Any:
    """A value in the form in which values are compared: numbers as Decimal of at most 12 significant digits, NaN as None,
    midnight timestamps as dates, containers as tuples."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else value
    if isinstance(value, int | float | Decimal):
        number = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
        return Decimal(f"{number:.12g}").normalize() + 0 if number.is_finite() else None
    if isinstance(value, datetime):
        return value.date() if value.time() == datetime.min.time() else value
    if isinstance(value, date):
        return value
    if isinstance(value, list | tuple):
        return tuple(canonical(v) for v in value)
    if isinstance(value, set | frozenset):
        return frozenset(canonical(v) for v in value)
    if isinstance(value, dict):
        return tuple(sorted((str(k), canonical(v)) for k, v in value.items()))
    return str(_encode(value))


def same(a: Any, b: Any, tolerance: float = RELATIVE_TOLERANCE) -> bool:
    """Whether two values are equal as far as it matters: int or float or Decimal, date or midnight, None or NaN."""
    x, y = canonical(a), canonical(b)
    if isinstance(x, Decimal) and isinstance(y, Decimal):
        return math.isclose(x, y, rel_tol=tolerance, abs_tol=tolerance)
    return x == y


def expect_same_rows(
    got: Any,
    want: Table,
    what: str,
    *,
    key: Sequence[str] = (),
    ordered: bool = False,
    tolerance: float = RELATIVE_TOLERANCE,
    ask: str | None = None,
    misconception: str | None = None,
) -> None:
    """Fails the check unless both hold the same rows. Every row is compared. Row order, column order, int or float, and
    index do not matter, unless ``ordered``. With ``key``, rows are matched by it and the differing column is named."""
    table = as_table(got, what, want.columns)
    if key:
        _by_key(table, want, what, key, tolerance, ask, misconception)
    else:
        mine, theirs = _leftovers(table, want, tolerance)
        if mine or theirs:
            raise CheckFailed(
                f"{what}: {_count(len(mine), 'row')} only in yours, {_count(len(theirs), 'row')} missing (yours has "
                f"{len(table)}, expected {len(want)}).",
                evidence=[
                    e
                    for e in (
                        Evidence("only in yours", Table.of(want.columns, mine[:5])) if mine else None,
                        Evidence("missing from yours", Table.of(want.columns, theirs[:5])) if theirs else None,
                    )
                    if e
                ],
                ask=ask,
                misconception=misconception,
            )
    if ordered:
        for i, (a, b) in enumerate(zip(table.rows, want.rows, strict=True)):
            if not all(same(x, y, tolerance) for x, y in zip(a, b, strict=True)):
                raise CheckFailed(
                    f"{what}: the rows are right but row {i + 1} is out of order.",
                    evidence=Evidence("yours, then expected", Table.of(want.columns, [a, b])),
                    ask=ask,
                    misconception=misconception,
                )


def _leftovers(got: Table, want: Table, tolerance: float) -> tuple[list[tuple], list[tuple]]:
    """Rows of each side without a partner: exact matches first, then rows equal within the tolerance."""
    ours = [(tuple(canonical(v) for v in r), r) for r in got.rows]
    theirs = [(tuple(canonical(v) for v in r), r) for r in want.rows]
    spare = Counter(c for c, _ in theirs)
    mine = []
    for c, r in ours:
        if spare[c] > 0:
            spare[c] -= 1
        else:
            mine.append((c, r))
    rest = []
    for c, r in reversed(theirs):
        if spare[c] > 0:
            spare[c] -= 1
            rest.append((c, r))
    rest.reverse()

    # Near numbers may canonicalise apart: match what is left on the parts that are no numbers.
    def fixed(c: tuple) -> tuple:
        return tuple("#" if isinstance(v, Decimal) else v for v in c)

    groups: dict[tuple, list[tuple]] = {}
    for c, r in rest:
        groups.setdefault(fixed(c), []).append((c, r))
    only_mine = []
    for c, r in mine:
        group = groups.get(fixed(c), [])
        for i, (d, _) in enumerate(group):
            if all(same(x, y, tolerance) for x, y in zip(c, d, strict=True)):
                group.pop(i)
                break
        else:
            only_mine.append(r)
    missing = {id(r) for g in groups.values() for _, r in g}
    return only_mine, [r for _, r in rest if id(r) in missing]


def _by_key(
    got: Table, want: Table, what: str, key: Sequence[str], tolerance: float, ask: str | None, misconception: str | None
) -> None:
    where = [want.columns.index(k) for k in key]

    def keyed(table: Table) -> dict[tuple, list[tuple]]:
        found: dict[tuple, list[tuple]] = {}
        for r in table.rows:
            found.setdefault(tuple(canonical(r[i]) for i in where), []).append(r)
        return found

    mine, theirs = keyed(got), keyed(want)
    name = ", ".join(key)
    twice = [rows[0] for k, rows in mine.items() if len(rows) > len(theirs.get(k, [None]))]
    extra = [rows[0] for k, rows in mine.items() if k not in theirs]
    gone = [rows[0] for k, rows in theirs.items() if k not in mine]
    problems, evidence = [], []
    for rows, words, title in (
        (extra, "only in yours", "only in yours"),
        (gone, "missing", "missing from yours"),
        ([r for r in twice if r not in extra], f"more than once ({name} is a key)", "more than once in yours"),
    ):
        if rows:
            problems.append(f"{_count(len(rows), 'row')} {words}")
            evidence.append(Evidence(title, Table.of(want.columns, rows[:5])))
    changed: Counter[str] = Counter()
    shown: list[tuple] = []
    for k, rows in theirs.items():
        if k in mine and len(rows) == 1 and len(mine[k]) == 1:
            bad = [c for c, x, y in zip(want.columns, mine[k][0], rows[0], strict=True) if not same(x, y, tolerance)]
            changed.update(bad)
            if bad and len(shown) < 5:
                i = want.columns.index(bad[0])
                shown.append((*[rows[0][j] for j in where], bad[0], mine[k][0][i], rows[0][i]))
        elif k in mine and Counter(map(_row, mine[k])) != Counter(map(_row, rows)):
            changed["(rows of the same key)"] += 1
    if changed:
        problems.append("differing values in " + ", ".join(f"{c} ({n})" for c, n in changed.most_common()))
        if shown:
            evidence.append(Evidence("differing values", Table.of([*key, "column", "yours", "expected"], shown)))
    if problems:
        raise CheckFailed(
            f"{what}: {'; '.join(problems)} (yours has {len(got)} rows, expected {len(want)}).",
            evidence=evidence,
            ask=ask,
            misconception=misconception,
        )


def _row(r: tuple) -> tuple:
    return tuple(canonical(v) for v in r)


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'s' * (n != 1)}"


def run_check(item: Check, lab: Lab) -> CheckResult:
    """Runs one check. An exception of the check's own code is no fault of the learner: it is marked ``grader_fault``."""
    base = dict(task=item.task, check=item.name, title=item.title, max_points=item.points, weaker=item.weaker)
    try:
        said = item.run(lab)
    except CheckFailed as failure:
        return CheckResult(
            **base,
            points=0,
            outcome=failure.outcome,
            message=failure.message,
            ask=failure.ask,
            misconception=failure.misconception,
            evidence=failure.evidence,
        )
    except Exception as error:  # a defect of the check: say so, keep going
        return CheckResult(
            **base,
            points=0,
            outcome=ERROR,
            message=f"This check itself broke ({type(error).__name__}: {error}). It is not your mistake; please report it.",
            evidence=(Evidence("where", text=_where(error)),),
            grader_fault=True,
        )
    return CheckResult(**base, points=item.points, outcome=PASSED, message=said or "")


def run_checks(items: Sequence[Check], lab: Lab) -> list[CheckResult]:
    """Runs the checks of one task, one after the other."""
    lab.begin()
    return [run_check(item, lab) for item in items]


def _where(error: BaseException) -> str:
    import traceback

    return "".join(traceback.format_exception(error)[-6:])
