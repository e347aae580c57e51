"""The judged database: what a learner's code gets of it, and what the judge sees."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import duckdb
import pandas as pd
import pytest

from workshop import codec
from workshop.agent import Agent, Crash, JudgedConnection
from workshop.checks import CheckFailed, LearnerError
from workshop.judged import Judge
from workshop.table import Table
from workshop.trusted import InProcess, JudgedDatabase, Lab

SETUP = ["create table t (i integer, s varchar)"]


@pytest.fixture
def judge() -> Judge:
    return Judge()


@pytest.fixture
def name(judge: Judge) -> Iterator[str]:
    name = judge.open(SETUP, {"t": Table.of(["i", "s"], [(1, "a"), (2, None)])})
    yield name
    judge.close(name)


def connection(judge: Judge, name: str) -> JudgedConnection:
    """As in the notebook: requests are answered in the same process, through the codec."""

    def answer(text: str) -> str:
        request = codec.loads(text)
        return judge.pass_on(request["database"], request["sql"], codec.encode(request["parameters"]))

    return JudgedConnection(answer, name)


def test_results_are_what_duckdb_gives(judge: Judge, name: str) -> None:
    """The same code must see the same rows and frames, in the notebook's own connection and in the judged one."""
    con = connection(judge, name)
    query = """
        select *
        from (values
          (1, date '2026-01-02', timestamp '2026-01-02 03:04:05.678', 1.50::decimal(9, 2), 'x', true, 2.5::double, [1, 2],
            9e15::bigint),
          (null, null, null, null, null, null, null, null, null)
        ) as v (i, "day on", moment, money, s, flag, x, list, big)
        order by i
    """
    with duckdb.connect(":memory:") as real:
        for sql in (query, query.replace("order by", "where false order by")):
            want, got = real.execute(sql).df(), con.execute(sql).df()
            pd.testing.assert_frame_equal(got, want)
        assert con.execute(query).fetchall() == real.execute(query).fetchall()
        assert con.execute(query).fetchone() == real.execute(query).fetchone()
    assert con.execute("select ?::integer + 1", [41]).fetchall() == [(42,)]


def test_a_crash_takes_back_what_was_not_committed(judge: Judge, name: str) -> None:
    con = connection(judge, name)
    judge.arm(name, 3)
    con.begin()
    con.execute("insert into t values (3, 'c')")
    con.execute("create temp table helper as select 1 as x")
    with pytest.raises(Crash):
        con.commit()
    with pytest.raises(Crash):  # the connection is gone until it is armed again
        con.execute("select 1")
    assert judge.rows(name, "select count(*) from t").value() == 2
    judge.arm(name, None)
    with pytest.raises(duckdb.CatalogException):
        con.execute("select * from helper")


def test_rows_written_are_counted_by_statement(judge: Judge, name: str) -> None:
    con = connection(judge, name)
    judge.arm(name, None)
    assert con.execute("insert into t select range, 'n' from range(5)").rowcount == 5
    con.execute("delete from t where i > 2; update t set s = 'u'")
    con.execute("merge into t using (select 7 as i) m using (i) when not matched then insert values (m.i, 'm')")
    con.execute("insert into t values (8, 'r') returning i")
    assert [s["rows_written"] for s in judge.log(name)] == [5, 2, 5, 1, 1]


@pytest.mark.parametrize(
    "sql",
    [
        "with gone as (delete from t returning i) select * from gone",
        "prepare p as insert into t values (1, 'x')",
        "explain analyze delete from t",
    ],
)
def test_writes_that_cannot_be_counted_are_refused(judge: Judge, name: str, sql: str) -> None:
    with pytest.raises(duckdb.Error):
        connection(judge, name).execute(sql)
    assert judge.rows(name, "select count(*) from t").value() == 2


@pytest.mark.parametrize(
    "sql",
    [
        "copy t to '/tmp/kestrel-judged.csv'",
        "select * from read_csv('/etc/passwd')",
        "attach '/tmp/kestrel-judged.db' as x",
        "install httpfs",
        "set enable_external_access=true",
        "select * from '/etc/passwd'",
    ],
)
def test_the_judged_database_reaches_nothing_outside(judge: Judge, name: str, sql: str) -> None:
    with pytest.raises(duckdb.Error):
        connection(judge, name).execute(sql)


def test_a_database_is_nobody_elses(judge: Judge, name: str) -> None:
    other = judge.open(SETUP, {})
    connection(judge, other).execute("insert into t values (9, 'other')")
    assert judge.rows(name, "select count(*) from t").value() == 2
    judge.close(other)
    with pytest.raises(CheckFailed, match="gone"):
        judge.rows(other, "select 1")


@pytest.mark.parametrize(
    ("sql", "parameters"), [("select '\ud800'", None), ("select ?", ["\ud800"]), ("select $a", {"\ud800": 1})]
)
def test_what_is_no_text_is_an_error_of_the_statement(judge: Judge, name: str, sql: str, parameters: Any) -> None:
    with pytest.raises(duckdb.Error):
        connection(judge, name).execute(sql, parameters)
    assert judge.rows(name, "select count(*) from t").value() == 2


# -- a caller that stands still ----------------------------------------------------------------------------------------------

CALLS: list[int] = []


def add(con: Any) -> int:
    """Learner code: reads, and inserts what it has read, in one transaction."""
    con.begin()
    n = con.execute("select count(*) from t").fetchone()[0]
    con.execute("insert into t values (?, 'mine')", [n])
    con.commit()
    return n


def add_in_turn(con: Any) -> None:
    """Learner code that does something else each time."""
    CALLS.append(len(CALLS))
    con.execute("insert into t values (?, 'n')", [len(CALLS)])
    con.execute("select 1")


@pytest.fixture
def lab() -> Lab:
    carrier = InProcess(Agent({"add": add, "add_in_turn": add_in_turn}, lambda name: None), {})
    return Lab("3.2", SimpleNamespace(name="none"), bytes(16), carrier, ())


@pytest.fixture
def db(lab: Lab) -> JudgedDatabase:
    return lab.database(SETUP)


def session(lab: Lab, db: JudgedDatabase) -> JudgedDatabase:
    """Another session on the same tables."""
    other = lab.database(SETUP)
    other.rows(f"use {db.name}")
    return other


# Statements: begin, select, insert, commit. Before it has read, the first caller sees what the second has written.
@pytest.mark.parametrize(("at", "seen"), [(0, 1), (1, 1), (2, 0), (3, 0)])
def test_a_frozen_caller_goes_on_where_it_stood(lab: Lab, db: JudgedDatabase, at: int, seen: int) -> None:
    first, other = lab.frozen(db), session(lab, db)
    first.until(at)
    with pytest.raises(LearnerError) as stopped:
        first.call("add", db)
    assert stopped.value.error_type == "Crash"
    assert len(first.statements) == at
    assert other.rows("select count(*) from t").value() == 0  # its transaction is open
    assert lab.call("add", other) == 0
    first.onwards()
    assert first.call("add", db) == seen
    assert sorted(i for (i,) in other.rows("select i from t")) == [0, seen]


def test_a_frozen_caller_that_never_gets_there_has_finished(lab: Lab, db: JudgedDatabase) -> None:
    first = lab.frozen(db)
    first.until(4)
    assert first.call("add", db) == 0
    assert [s.split()[0].lower() for s in first.statements] == ["begin", "select", "insert", "commit"]
    assert db.rows("select count(*) from t").value() == 1


def test_a_frozen_caller_does_the_same_twice(lab: Lab, db: JudgedDatabase) -> None:
    first = lab.frozen(db)
    first.until(1)
    with pytest.raises(LearnerError):
        first.call("add_in_turn", db)
    first.onwards()
    with pytest.raises(CheckFailed, match="other statements the second time"):
        first.call("add_in_turn", db)


def test_a_frozen_lab_names_its_callbacks_apart(lab: Lab, db: JudgedDatabase) -> None:
    names = [through.callback(print).name for through in (lab.frozen(db), lab, lab.frozen(db))]
    assert len(set(names)) == 3
