"""What a regulator is shown: the records of governance as rows with ids, so that an answer can say on which of them it stands."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from workshop.table import Table

RECORD = {
    "tags": (
        "T",
        """
        select table_schema || '.' || table_name as table_name, column_name, split_part(tag, ':', 2) as kind
        from ops.column_tags
        join ops.tables using (asset_id)
        where tag like 'privacy.kind:%'
        order by all
        """,
    ),
    "edges": ("E", "select * exclude (edge_id) from ops.extract_edges order by edge_id"),
    "versions": ("V", "select version, valid_from_at, rules from ops.policy_versions order by version"),
    "grants": (
        "G",
        "select person_id, role, valid_from_at, valid_to_at from ops.grants order by person_id, valid_from_at, role",
    ),
    "log": (
        "L",
        "select seq, logged_at, person_id, role, kinds, decision, said_version from ops.access_log order by seq",
    ),
    "rows": ("R", "select * exclude (row_id) from ops.retained_rows order by row_id"),
    "holds": (
        "H",
        """
        select subject_id, data_class, placed_on, lifted_on
        from ops.legal_holds
        where subject_id is not null
        order by all
        """,
    ),
    "masks": ("M", "from ops.environment_columns order by all"),
}


QUESTIONS = "from ops.audit_questions order by question_id"


def read_record(con: Any) -> dict[str, list[dict[str, Any]]]:
    """The record of a world: by name of the part, rows as dicts, each with an ``id`` that no other row has. Times are naive, in
    UTC."""
    return record_of(lambda sql: Table.from_cursor(con.execute(sql)).dicts())


def record_of(rows: Callable[[str], list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """The same, from what runs a query and gives its rows as dicts."""
    found = {
        part: [{"id": f"{letter}{n}", **row} for n, row in enumerate(rows(sql), 1)]
        for part, (letter, sql) in RECORD.items()
    }
    for version in found["versions"]:
        version["rules"] = json.loads(version["rules"])
    return found


def read_questions(con: Any) -> list[dict[str, Any]]:
    """The regulator's questions of a world, rows of ops.audit_questions as dicts."""
    return Table.from_cursor(con.execute(QUESTIONS)).dicts()
