"""Suites as JSON, run by the real Great Expectations."""

import pandas as pd
import pytest

from workshop.checks import CheckFailed
from workshop.quality import run_suite, suite_json
from workshop.table import Table

BATCH = Table.of(
    ["order_id", "version", "amount", "currency"],
    [(1, 1, 5.0, "EUR"), (2, 1, -2.0, "usd"), (None, 1, 3.0, None), (2, 1, None, "USD")],
)


def expectation(kind: str, **kwargs: object) -> dict:
    return {"type": kind, "kwargs": kwargs, "severity": "warning", "meta": {"rule": "r1"}}


def suite(*expectations: dict) -> dict:
    return {"name": "landing", "expectations": list(expectations)}


def test_rows_that_fail_are_found_in_the_order_of_the_suite() -> None:
    results = run_suite(
        suite(
            expectation("expect_column_values_to_be_in_set", column="currency", value_set=["EUR", "USD"]),
            expectation("expect_column_values_to_not_be_null", column="order_id"),
            expectation("expect_compound_columns_to_be_unique", column_list=["order_id", "version"]),
            expectation("expect_column_values_to_be_between", column="amount", min_value=0),
            expectation("expect_column_values_to_match_regex", column="currency", regex="^[A-Z]{3}$"),
            expectation("expect_table_row_count_to_be_between", min_value=1, max_value=3),
        ),
        BATCH,
    )
    assert [r.rows for r in results] == [(1,), (2,), (1, 3), (1,), (1,), ()]
    assert [r.success for r in results] == [False] * 6
    assert [r.cells for r in results] == [4, 4, 8, 4, 4, 4]
    assert (results[0].severity, results[0].rule) == ("warning", "r1")


def test_a_suite_built_by_the_library_comes_out_the_same() -> None:
    import great_expectations as gx
    import great_expectations.expectations as gxe

    gx.get_context(mode="ephemeral")
    built = gx.ExpectationSuite(name="s")
    built.add_expectation(gxe.ExpectColumnValuesToNotBeNull(column="order_id"))
    assert [r.rows for r in run_suite(built, BATCH)] == [(2,)]
    assert suite_json(built)["expectations"][0]["type"] == "expect_column_values_to_not_be_null"


def test_equal_expectations_and_frames_with_odd_indexes_are_no_trouble() -> None:
    twice = expectation("expect_column_values_to_not_be_null", column="order_id")
    frame = BATCH.frame().set_index(pd.Index([9, 9, 7, 1]))
    assert [r.rows for r in run_suite(suite(twice, twice), frame)] == [(2,), (2,)]


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (None, "dict with a list of expectations"),
        ("{nonsense", "not JSON"),
        ({"expectations": [1]}, "type and kwargs"),
        (suite(expectation("expect_nothing", column="amount")), "does not accept expect_nothing"),
        (suite(expectation("expect_column_values_to_not_be_null", column="price")), "reads price"),
        (
            suite(expectation("expect_column_values_to_not_be_null", column="amount", row_condition="@x")),
            "row conditions",
        ),
        (suite(*[expectation("expect_column_values_to_not_be_null", column="amount")] * 51), "51 expectations"),
        (suite(expectation("expect_column_values_to_be_between", column="currency", min_value=1)), "could not be run"),
    ],
)
def test_bad_suites_get_one_sentence(bad: object, words: str) -> None:
    with pytest.raises(CheckFailed, match=words) as failure:
        run_suite(bad, BATCH)
    assert "\n" not in failure.value.message


def test_an_empty_suite_says_nothing() -> None:
    assert run_suite(suite(), BATCH) == []
