"""The audit's subject: extracts that run, edges that say where values go, questions that tell right from nearly right."""

from __future__ import annotations

import duckdb
import pytest

from workshop.audit import read_questions, read_record
from workshop.world import ensure_world, opaque_name
from workshop.world.build import history

SEEDS = [bytes([7, k]) * 8 for k in range(3)]


@pytest.fixture(params=SEEDS, ids=["a", "b", "c"])
def con(request: pytest.FixtureRequest) -> duckdb.DuckDBPyConnection:
    """A small world, its tables as views."""
    seed = request.param
    files = ensure_world(f"{opaque_name(seed)}-0.005", seed, 0.005, ("audit",))
    made = duckdb.connect(":memory:")
    made.execute(f"attach '{files.world}' as world (read_only)")
    tables = made.execute(
        "select schema_name, table_name from duckdb_tables() where database_name = 'world' order by all"
    ).fetchall()
    for schema in ["extract", *dict.fromkeys(schema for schema, _ in tables)]:
        made.execute(f"create schema {schema}")
    for schema, table in tables:
        made.execute(f"create view {schema}.{table} as from world.{schema}.{table}")
    return made


def test_extracts_run_and_have_the_columns_of_their_edges(con: duckdb.DuckDBPyConnection) -> None:
    rows = con.execute(
        "select table_name, sql from ops.extracts where valid_to_at is null order by layer, table_name"
    ).fetchall()
    assert len(rows) == 15
    for table, sql in rows:
        con.execute(f"create view {table} as {sql}")
        columns = {c[0] for c in con.execute(f"describe {table}").fetchall()}
        said = {
            c
            for (c,) in con.execute(
                "select output_column from ops.extract_edges where output_table = ? and valid_to_at is null",
                [table],
            ).fetchall()
        }
        assert columns == said
        assert con.execute(f"select count(*) from {table}").fetchone()[0] > 0


def test_what_a_tagged_column_holds_arrives_where_edges_say(con: duckdb.DuckDBPyConnection) -> None:
    """Values are compared: in each extract of the first layer, a column with one input has values of it."""
    edges = con.execute("""
        select output_table, output_column, any_value(input_table), any_value(input_column)
        from ops.extract_edges
        where valid_to_at is null and input_table not like 'extract.%'
        group by all
        having count(*) = 1
        order by all
    """).fetchall()
    statements = dict(con.execute("select table_name, sql from ops.extracts where valid_to_at is null").fetchall())
    assert len(edges) > 10
    for extract, column, table, source in edges:
        missing = con.execute(f"""
            select count(*)
            from ({statements[extract]}) as made
            where "{column}" is not null and "{column}"::varchar <> 'unknown'
              and upper(trim("{column}"::varchar)) not in (
                select upper(trim("{source}"::varchar)) from {table} where "{source}" is not null
              )
        """).fetchone()[0]
        assert missing == 0, (extract, column)


def test_questions_tell_right_from_nearly_right(con: duckdb.DuckDBPyConnection) -> None:
    made, record, questions = history("audit"), read_record(con), read_questions(con)
    assert [q["question_id"] for q in questions] == list(range(1, 26))
    near = made.near_answers(record)
    for topic in made.TOPICS:
        mine = [q for q in questions if q["topic"] == topic]
        assert len(mine) == made.EACH
        caught = {why for why, other in near[topic].items() if any(other(q) != made.answer(q, record)[0] for q in mine)}
        assert len(caught) >= len(near[topic]) - 2, set(near[topic]) - caught


def test_the_evidence_of_the_answers_shows_them(con: duckdb.DuckDBPyConnection) -> None:
    made, record = history("audit"), read_record(con)
    ids = [row["id"] for rows in record.values() for row in rows]
    assert len(ids) == len(set(ids))
    for question in read_questions(con):
        right, evidence = made.answer(question, record)
        left = {part: [r for r in rows if r["id"] in evidence] for part, rows in record.items()}
        assert made.answer(question, left)[0] == right
