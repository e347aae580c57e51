"""The models of the world run on DuckDB, and their edges are what another reader of the same SQL finds."""

import json

import duckdb
import pytest

from workshop.world import practice_seed
from workshop.world.build import build_world, history

SUBJECTS = ["models"]


@pytest.fixture(scope="module", params=["practice-7", "practice-12"])
def con(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> duckdb.DuckDBPyConnection:
    """A tiny world with all its models as views."""
    folder = tmp_path_factory.mktemp("models")
    build_world(folder / "world", folder / "truth", practice_seed(request.param), 0.002, SUBJECTS)
    con = duckdb.connect()
    con.execute(f"attach '{folder / 'world'}' as world (read_only); attach '{folder / 'truth'}' as truth (read_only)")
    for schema in ("core", "ops", "staging", "intermediate", "mart"):
        con.execute(f"create schema {schema}")
    for schema, table in con.execute(
        "select schema_name, table_name from duckdb_tables() where database_name = 'world' and schema_name in ('core', 'ops')"
    ).fetchall():
        con.execute(f"create view {schema}.{table} as from world.{schema}.{table}")
    models = con.execute("select schema_name || '.' || table_name, sql from ops.models order by model_id").fetchall()
    for name, sql in models:
        con.execute(f"create view {name} as {sql}")
    return con


def test_models_and_consumers_queries_run(con: duckdb.DuckDBPyConnection) -> None:
    for name, sql in con.execute("select query_id, sql from ops.consumer_queries").fetchall():
        assert con.execute(sql).fetchall() is not None, name
    # Views of every layer hold rows.
    for (name,) in con.execute("select schema_name || '.' || table_name from ops.models").fetchall():
        assert con.execute(f"select count(*) from {name}").fetchone()[0] > 0, name


def test_edges_name_columns_that_exist(con: duckdb.DuckDBPyConnection) -> None:
    columns = {}
    for side, column in (("output", "output_column"), ("input", "input_column")):
        for table, name in con.execute(
            f"select distinct {side}_table, {column} from ops.lineage_edges where level = 'column'"
        ).fetchall():
            columns.setdefault(table, {r[0] for r in con.execute(f"describe {table}").fetchall()})
            assert name in columns[table], (table, name)


def test_deployments_lead_to_todays_models_and_run(con: duckdb.DuckDBPyConnection) -> None:
    last = {}
    for model_id, before, after, declared in con.execute(
        "select model_id, sql_before, sql_after, declared from ops.deployments order by deployed_at, deployment_id"
    ).fetchall():
        assert model_id not in last or last[model_id] == before
        last[model_id] = after
        assert isinstance(json.loads(declared), list)
        for sql in (before, after):
            con.execute(f"describe ({sql})")
    today = dict(con.execute("select model_id, sql from ops.models").fetchall())
    assert all(today[k] == sql for k, sql in last.items())


def test_layout_decides_nothing() -> None:
    module = history("models")
    for k in range(3):
        stack = module.make_stack(bytes([k]) * 16)
        types = {f"core.{t}": dict.fromkeys(c.split(), "VARCHAR") for t, c in module.CORE.items()}
        assert set(types) == {f"core.{t}" for t in module.CORE}
        for table, version in stack.versions.items():
            other = stack.make(table, layout=5)
            assert (other.edges, other.columns) == (version.edges, version.columns)
            assert not module.declarations(version, other, {})


def test_what_has_to_be_declared_explains() -> None:
    module = history("models")
    stack = module.make_stack(b"explains" * 2)
    deployments = module.make_history(stack)
    assert deployments
    for d in deployments:
        renamed = module._renamed(d.before, d.after)
        assert not module.unexplained(d.before, d.after, module.declarations(d.before, d.after, renamed))
