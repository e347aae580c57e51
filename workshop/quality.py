"""Great Expectations, reduced to what labs need: run a suite (as JSON) on a batch of rows, and see which rows failed what.

Suites leave the learner's kernel as Great Expectations' own JSON and are run here, in the judge's process. Importing the
library takes seconds, so it is imported when a suite is first run.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cache
from typing import Any

import pandas as pd

from workshop.checks import CheckFailed
from workshop.table import Table

MAX_EXPECTATIONS = 50
# Expectations that look at columns of one row, or at one batch. Not: SQL, row conditions (they evaluate text as code).
COLUMN_ARGUMENTS = ("column", "column_A", "column_B", "column_list", "column_set", "unexpected_index_column_names")


@dataclass(frozen=True)
class RuleResult:
    """What one expectation said about a batch. ``rows``: positions (from 0) of the rows that failed; empty for
    expectations about the batch as a whole. ``cells``: cells read (rows times columns named)."""

    type: str
    columns: tuple[str, ...]
    success: bool
    severity: str
    rule: str | None
    rows: tuple[int, ...]
    cells: int


def suite_json(suite: Any) -> dict[str, Any]:
    """A suite as plain JSON types: takes a great_expectations ExpectationSuite or its JSON as dict or text.

    Raises CheckFailed with one sentence for anything else.
    """
    if hasattr(suite, "to_json_dict"):
        suite = suite.to_json_dict()
    if isinstance(suite, str):
        try:
            suite = json.loads(suite)
        except ValueError:
            raise CheckFailed("The suite is text, but not JSON.") from None
    if not isinstance(suite, Mapping) or not isinstance(suite.get("expectations"), list):
        raise CheckFailed("A suite is what ExpectationSuite.to_json_dict() gives: a dict with a list of expectations.")
    if len(suite["expectations"]) > MAX_EXPECTATIONS:
        raise CheckFailed(f"The suite has {len(suite['expectations'])} expectations; {MAX_EXPECTATIONS} are the most.")
    for e in suite["expectations"]:
        if not isinstance(e, Mapping) or not isinstance(e.get("type"), str) or not isinstance(e.get("kwargs"), Mapping):
            raise CheckFailed("Each expectation of the suite needs a type and kwargs.")
        if e["kwargs"].get("row_condition") or "query" in e["type"] or "unexpected_rows" in e["type"]:
            raise CheckFailed(f"{e['type']}: row conditions and queries are not run here; write a rule on columns.")
    return {"name": str(suite.get("name") or "suite"), "expectations": [dict(e) for e in suite["expectations"]]}


def columns_of(expectation: Mapping[str, Any]) -> tuple[str, ...]:
    """The columns that an expectation (as JSON) reads."""
    found: list[str] = []
    for argument in COLUMN_ARGUMENTS:
        value = expectation["kwargs"].get(argument)
        found += (
            [str(v) for v in value] if isinstance(value, list | tuple) else [str(value)] if value is not None else []
        )
    return tuple(dict.fromkeys(found))


@cache
def _library() -> Any:
    import great_expectations as gx

    logging.getLogger("great_expectations").setLevel(logging.CRITICAL)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    return gx, context.data_sources.add_pandas("kestrel").add_dataframe_asset(
        "batch"
    ).add_batch_definition_whole_dataframe("whole")


def run_suite(suite: Any, batch: Table | pd.DataFrame) -> list[RuleResult]:
    """Runs a suite on a batch; one RuleResult an expectation, in the suite's order.

    ``batch``: a Table or a pandas frame; None and NaN are missing values. Raises CheckFailed, naming the expectation, for
    unknown types, unknown columns and arguments that Great Expectations refuses.
    """
    plain = suite_json(suite)
    frame = _plain_frame(batch)
    gx, definition = _library()
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    configured = []
    for i, e in enumerate(plain["expectations"]):
        missing = [c for c in columns_of(e) if c not in frame.columns]
        if missing and not e["type"].startswith("expect_table_columns"):
            raise CheckFailed(f"{e['type']} reads {', '.join(missing)}, which the batch does not have at this stage.")
        configured.append({"type": e["type"], "kwargs": dict(e["kwargs"]), "meta": {"position": i}})
        try:
            # A suite leaves out, with a word in the log, what it cannot build; the configuration itself raises.
            ExpectationConfiguration(**configured[-1]).to_domain_obj()
        except Exception as error:
            raise CheckFailed(f"Great Expectations does not accept {e['type']}: {_first_line(error)}") from error
    if not configured:
        return []
    built = gx.ExpectationSuite(name=plain["name"], expectations=configured)
    outcome = definition.get_batch({"dataframe": frame}).validate(built, result_format={"result_format": "COMPLETE"})
    # Great Expectations groups its results by column: the position that we noted leads back to ours.
    by_position = {r.expectation_config.meta["position"]: r for r in outcome.results}
    found = []
    for i, e in enumerate(plain["expectations"]):
        r = by_position[i]
        error = _raised(r.exception_info)
        if error:
            raise CheckFailed(f"{e['type']} on {', '.join(columns_of(e)) or 'the batch'} could not be run: {error}")
        rule, columns = (e.get("meta") or {}).get("rule"), columns_of(e)
        found.append(
            RuleResult(
                type=e["type"],
                columns=columns,
                success=bool(r.success),
                severity=str(e.get("severity") or "critical"),
                rule=None if rule is None else str(rule),
                rows=tuple(int(n) for n in r.result.get("unexpected_index_list") or ()),
                cells=len(frame) * max(1, len(columns)),
            )
        )
    return found


def _plain_frame(batch: Table | pd.DataFrame) -> pd.DataFrame:
    """The batch with a fresh index, Decimals as floats and dates as timestamps: what pandas compares column by column."""
    frame = (batch.frame() if isinstance(batch, Table) else batch).reset_index(drop=True)
    for name in frame.columns:
        values = frame[name].dropna()
        if len(values) and all(isinstance(v, Decimal) for v in values):
            frame[name] = frame[name].map(lambda v: None if v is None else float(v)).astype(float)
        elif len(values) and all(isinstance(v, date) for v in values):
            frame[name] = pd.to_datetime(frame[name])
    return frame


def _raised(info: Any) -> str | None:
    """The first error message in an exception_info of Great Expectations (flat, or one entry a metric)."""
    entries = info.values() if isinstance(info, Mapping) and "raised_exception" not in info else [info]
    for entry in entries:
        if isinstance(entry, Mapping) and entry.get("raised_exception"):
            return str(entry.get("exception_message") or "error").splitlines()[0][:300]
    return None


def _first_line(error: Exception) -> str:
    cause = error.__cause__ or error
    return (str(cause).splitlines() or [type(cause).__name__])[0][:300]
