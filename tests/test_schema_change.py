"""Schema changes: what an element's class is by construction, running readers finds too; whom a change hits; the replay."""

from typing import Any

import numpy as np
import pytest

from workshop.schema_change import Query, Warehouse, consumers_of, replay
from workshop.table import Table
from workshop.topics import load_checks, topic
from workshop.world.build import history

COLUMNS = {
    "order_id": "BIGINT", "line_no": "UTINYINT", "quantity": "INTEGER", "unit_price": "DECIMAL(14,4)", "status": "VARCHAR",
    "ordered_at": "TIMESTAMP", "ordered_on": "DATE", "captured_at": "TIMESTAMP", "channel": "VARCHAR", "stock": "SMALLINT",
    "shelf": "TINYINT",
}  # fmt: skip


def test_construction_and_readers_agree_on_classes() -> None:
    drawn, rng = history("schema_changes"), np.random.default_rng(7)
    checks = load_checks(topic("2.4")).module
    found = [
        (cls, e)
        for variant, cls in drawn.VARIANTS.items()
        for _ in range(6)
        if (e := drawn.draw_element(rng, variant, "core.orders", COLUMNS))
    ]
    assert {e["kind"] for _, e in found} >= {
        "change_type",
        "change_range",
        "drop_unique",
        "rename_table",
        "forbid_nulls",
    }
    for (cls, e), ran in zip(found, checks.classes_by_readers(e for _, e in found), strict=True):
        assert cls == ran, e


ROWS = {
    "orders": Table.of(["order_id", "channel", "quantity"], [(1, "app", 3), (2, "web", 4), (3, "app", 5), (4, "web", 6)]),
}  # fmt: skip


@pytest.fixture
def warehouse(monkeypatch: pytest.MonkeyPatch) -> Warehouse:
    monkeypatch.setattr("workshop.schema_change.COPIED", {"orders": "select * from core.orders"})
    types = Table.of(["name", "type"], [("order_id", "BIGINT"), ("channel", "VARCHAR"), ("quantity", "UTINYINT")])
    schema = {
        "core.orders": {r[0]: r[1] for r in types.rows},
        "mart.by_channel": {"channel": "VARCHAR", "pieces": "HUGEINT", "n": "BIGINT"},
    }
    queries = [
        (1, "select channel, n from mart.by_channel", "2026-06-01"),
        (2, "select order_id, quantity::utinyint as q from core.orders", "2026-06-01"),
    ]
    consumers = consumers_of([(k, f"c{k}", "extract", k, "daily") for k in (1, 2)], queries, schema)
    made = [Query(c["consumer_id"], q["sql"], frozenset(q["tables"])) for c in consumers for q in c["queries"]]
    model = "select channel, sum(quantity) as pieces, count(*) as n from core.orders group by 1"
    return Warehouse(
        lambda sql: types if sql.startswith("describe") else ROWS["orders"],
        [("mart.by_channel", model, ["core.orders"])],
        made,
    )


@pytest.mark.parametrize(
    ("element", "on_the_day", "once_used"),
    [
        ({"kind": "drop_column", "column": "quantity"}, {1, 2}, {1, 2}),
        ({"kind": "add_column", "column": "new", "type": "VARCHAR"}, set(), set()),
        ({"kind": "change_type", "column": "quantity", "old_type": "UTINYINT", "new_type": "INTEGER"}, set(), {2}),
        ({"kind": "add_value", "column": "channel", "value": "phone"}, set(), {1}),
        ({"kind": "drop_unique", "columns": ["order_id"]}, set(), {1, 2}),
    ],
)
def test_whom_a_change_hits(warehouse: Warehouse, element: dict[str, Any], on_the_day: set, once_used: set) -> None:
    assert set(warehouse.hit("core.orders", [element], stress=False)) == on_the_day
    assert set(warehouse.hit("core.orders", [element])) == once_used


def test_approvals_live_from_the_first_answer_to_the_release() -> None:
    drawn, rng = history("schema_changes"), np.random.default_rng(3)
    company = drawn.draw_companies(rng)[1]
    year = drawn.draw_year(rng, company)
    harms = {}
    for more in (-1, 0, 1):
        policy: dict[str, Any] = {"self_approval": False, "additive": {"approve": "nobody"}}
        for cls in ("compatible with care", "breaking"):
            least = company["answer_days"][cls] + company["release_days"]
            days = least - 1 if more < 0 else company["answer_days"][cls] + company["freeze_days"][cls] + more
            policy[cls] = {"approve": "every hit team", "bound_to": "digest", "valid_days": days}
        policy["emergency"] = {"approve": "nobody", "bound_to": "digest", "review_by": "nobody", "review_days": None}
        out = replay(policy, company, year)
        harms[more] = {h for o in out if not o["is_emergency"] for h in o["harms"]}
    assert harms == {-1: {"stuck"}, 0: set(), 1: {"stale"}}
