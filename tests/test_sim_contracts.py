"""The gate that enforces a contract in the standard's layout."""

from datetime import datetime, timedelta

import pandas as pd
import pytest

from workshop.checks import CheckFailed
from workshop.sim.contracts import violations
from workshop.table import Table

LANDED = datetime(2026, 6, 30, 12)
COLUMNS = ["batch_id", "landed_at", "order_id", "channel", "total", "placed_at"]


def message(batch="b1", order_id=1, channel="app", total=5, age_minutes=10):
    return (batch, LANDED, order_id, channel, total, LANDED - timedelta(minutes=age_minutes))


def refused(contract, *messages):
    return [(v.batch_id, v.element, v.rule, v.rows) for v in violations(contract, Table.of(COLUMNS, messages))]


def of(*properties, **more):
    return {"schema": [{"name": "orders", "properties": list(properties)}], **more}


@pytest.mark.parametrize(
    ("properties", "bad", "rule"),
    [
        ({"name": "channel", "required": True}, message(channel=None), "required"),
        ({"name": "channel", "enum": [{"value": "app"}]}, message(channel="fax"), "enum"),
        (
            {"name": "channel", "logicalType": "string", "logicalTypeOptions": {"pattern": "^a"}},
            message(channel="web"),
            "pattern",
        ),
        ({"name": "total", "logicalTypeOptions": {"minimum": 1}}, message(total=0), "minimum"),
        ({"name": "total", "logicalTypeOptions": {"exclusiveMaximum": 6}}, message(total=6), "exclusiveMaximum"),
        ({"name": "total", "logicalType": "integer"}, message(total="5"), "logicalType"),
        ({"name": "channel", "quality": [{"metric": "nullValues", "mustBe": 0}]}, message(channel=None), "nullValues"),
        (
            {
                "name": "channel",
                "quality": [{"metric": "invalidValues", "arguments": {"validValues": ["app"]}, "mustBe": 0}],
            },
            message(channel="fax"),
            "invalidValues",
        ),
    ],
)
def test_each_rule_refuses_what_breaks_it_and_nothing_else(properties, bad, rule):
    other = message(batch="b2")
    found = refused(of(properties), bad, other)
    assert [(batch, r) for batch, _, r, _ in found] == [("b1", rule)]


@pytest.mark.parametrize("key", ["primaryKey", "unique"])
def test_a_key_is_unique_within_its_batch_only(key):
    contract = of({"name": "order_id", key: True})
    assert refused(contract, message(), message(batch="b2")) == []
    assert refused(contract, message(), message()) == [("b1", "order_id", key, 1)]


def test_null_breaks_required_only():
    options = {"minimum": 1, "maximum": 9}
    assert refused(of({"name": "total", "unique": True, "logicalTypeOptions": options}), message(total=None)) == []


@pytest.mark.parametrize(("value", "unit"), [(30, "m"), (0.5, "h"), (1800, "s"), (30, "minutes")])
def test_latency_counts_from_the_element_to_the_landing(value, unit):
    promise = {"property": "latency", "value": value, "unit": unit, "element": "orders.placed_at"}
    contract = of(slaProperties=[promise, {"property": "retention", "value": 3, "unit": "y"}])
    assert refused(contract, message(age_minutes=30)) == []
    assert refused(contract, message(age_minutes=31), message(age_minutes=5)) == [("b1", "placed_at", "latency", 1)]


def test_rules_of_the_whole_object():
    contract = of()
    contract["schema"][0]["quality"] = [
        {"metric": "rowCount", "mustBeGreaterThan": 1},
        {"metric": "duplicateValues", "mustBe": 0, "arguments": {"properties": ["order_id", "channel"]}},
    ]
    assert refused(contract, message(), message(order_id=2)) == []
    assert [r for *_, r, _ in refused(contract, message())] == ["rowCount"]
    assert [r for *_, r, _ in refused(contract, message(), message())] == ["duplicateValues"]


def test_frames_are_read_like_tables():
    frame = pd.DataFrame([message(total=0)], columns=COLUMNS)
    assert [v.example for v in violations(of({"name": "total", "logicalTypeOptions": {"minimum": 1}}), frame)] == ["0"]


@pytest.mark.parametrize(
    "contract",
    [
        {},
        of({"name": "colour"}),
        of({"name": "channel", "logicalTypeOptions": {"pattern": "("}}),
        of({"name": "channel", "enum": ["app"]}),
        of(slaProperties=[{"property": "latency", "value": 1, "unit": "fortnight", "element": "placed_at"}]),
    ],
)
def test_a_contract_that_cannot_be_read_is_said_to_be_one(contract):
    with pytest.raises(CheckFailed):
        refused(contract, message())
