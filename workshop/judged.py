"""Databases and functions of the judge: whatever of a learner's the trusted side runs, it runs here.

In the learner's notebook this is a plain object; the grader runs the same class in a throwaway process of its own
(grader.inside.judge), without truth, with limits on memory and time.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import duckdb

from workshop import codec
from workshop.checks import CheckFailed
from workshop.table import Table

MEMORY = "400MB"
WRITES = {"INSERT", "UPDATE", "DELETE", "MERGE_INTO", "CREATE", "EXECUTE"}
PLAIN_SETUP = {"CREATE", "INSERT", "UPDATE", "DELETE", "MERGE_INTO", "ALTER", "SELECT", "DROP"}
MAX_STATEMENTS = 20_000
# What DuckDB's client raises for statements and parameters that it cannot take.
STATEMENT_FAILS = (duckdb.Error, TypeError, ValueError, RuntimeError)
# Comments, strings and quoted names say nothing about what a statement does.
NOT_CODE = re.compile(r"--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|\$(\w*)\$.*?\$\1\$", re.DOTALL)
CHANGE = re.compile(
    r"\b(?:insert\s+(?:or\s+\w+\s+)?into|delete\s+from|merge\s+into|truncate(?:\s+table)?\s+[\w.]"
    r"|update\s+(?!set\b)[\w.]+(?:\s+(?:as\s+)?\w+)?\s+set\b)",
    re.IGNORECASE,
)
RETURNING = re.compile(r"\breturning\b", re.IGNORECASE)


@dataclass(frozen=True)
class Statement:
    """One statement that a learner's code ran: its text, DuckDB's statement type, rows written and rows scanned."""

    sql: str
    kind: str
    rows_written: int
    rows_scanned: int | None


@dataclass
class _Database:
    instance: duckdb.DuckDBPyConnection
    con: duckdb.DuckDBPyConnection  # the learner's session; a crash ends it
    place: str  # the statement that leads a new session to the tables
    shared: bool
    profile: bool
    log: list[Statement] = field(default_factory=list)
    crash_before: int | None = None
    crashed: str | None = None


class Judge:
    """Holds throwaway DuckDB databases by name; each is locked down once its set-up has run."""

    def __init__(self) -> None:
        self._databases: dict[str, _Database] = {}
        self._count = 0
        self._shared: duckdb.DuckDBPyConnection | None = None

    def open(
        self,
        setup: list[str],
        tables: dict[str, Table],
        profile: bool = False,
        world: str | None = None,
        functions: list[Any] | None = None,
    ) -> str:
        """Makes a database: ``world`` (a file) attached read-only as "world", ``setup`` statements run, ``tables``
        filled by name (they must have been created by the set-up). ``functions``: a function of the kit that registers SQL
        functions on a connection ("workshop.module:function"), and its further arguments. Returns its name."""
        self._count += 1
        name = f"db{self._count}"
        plain = not world and not profile and not functions and all(_is_plain(self._common(), sql) for sql in setup)
        instance = self._attach(name) if plain else _instance()
        place = f"use {name}"
        if not plain:
            if world:
                instance.execute(f"attach '{world}' as world (read_only)")
            place = f"set search_path='{search_path(instance)}'" if world else "use memory"
        con = instance.cursor()
        if functions:
            _of_the_kit(functions[0])(con, *functions[1:])
        con.execute(place)
        for sql in setup:
            con.execute(sql)
        for table, rows in tables.items():
            if len(rows):
                _fill(con, table, rows)
        if not plain:
            if profile:
                con.execute("set enable_profiling='no_output'")
            _lock(instance)
        self._databases[name] = _Database(instance, con, place, plain, profile)
        return name

    def _attach(self, name: str) -> duckdb.DuckDBPyConnection:
        """A database of its own within one instance: 0.2 ms where a new instance takes 12."""
        for _ in range(2):
            try:
                self._common().execute(f"attach ':memory:' as {name}")
                return self._shared
            except duckdb.Error:  # a fatal error of an earlier database takes its instance with it
                self._shared = None
        raise RuntimeError("no database could be made")

    def _common(self) -> duckdb.DuckDBPyConnection:
        """The instance that plain databases share."""
        if self._shared is None:
            self._shared = _instance()
            _lock(self._shared)
        return self._shared

    def _at(self, name: str) -> _Database:
        if name not in self._databases:
            raise CheckFailed("The database is gone: what your code asked of it before was too much for it.")
        return self._databases[name]

    def arm(self, name: str, crash_before: int | None) -> None:
        """Crash before statement number ``crash_before`` (from 0) of those that follow; None: never. Clears the log and
        brings a crashed database up again."""
        database = self._at(name)
        database.log = []
        database.crash_before = crash_before
        database.crashed = None

    def execute(self, name: str, sql: str, parameters: Any = None) -> dict[str, Any]:
        """A learner's statements. Returns table, count and types of the last one, or error, or crash (what was not
        committed is rolled back)."""
        database = self._at(name)
        if database.crashed:
            return {"crash": database.crashed}
        try:
            parts = database.con.extract_statements(sql)
        except STATEMENT_FAILS as error:
            return {"type": type(error).__name__, "error": str(error)}
        if not parts:
            return {"type": "InvalidInputException", "error": "There is no statement to execute."}
        table, count, types = Table((), ()), None, []
        for i, part in enumerate(parts):
            if len(database.log) >= MAX_STATEMENTS:
                return {"type": "Error", "error": f"More than {MAX_STATEMENTS} statements: is there an endless loop?"}
            if database.crash_before is not None and len(database.log) >= database.crash_before:
                database.crashed = f"the process was killed before statement {database.crash_before + 1}"
                self._drop_session(database)
                return {"crash": database.crashed}
            kind = part.type.name
            code = NOT_CODE.sub(lambda m: "q" if m[0][0] == '"' else " ", part.query)
            if _hides_writes(kind, code):
                said = (
                    "Rows that are changed inside WITH, PREPARE or EXPLAIN ANALYZE cannot be counted here: run "
                    "the insert, update, delete or merge as a statement of its own, with parameters."
                )
                return {"type": "NotSupportedException", "error": said}
            try:
                # Parameters belong to the last statement, as in DuckDB's own Python client.
                last = i == len(parts) - 1
                database.con.execute(part, parameters if last and parameters is not None else None)
                table = Table.from_cursor(database.con)
                types = [str(d[1]) for d in database.con.description or ()]
            except STATEMENT_FAILS as error:
                database.log.append(Statement(part.query.strip(), kind, 0, None))
                return {"type": type(error).__name__, "error": str(error)}
            written = 0
            if kind in WRITES and RETURNING.search(code):
                count = written = len(table)
            elif kind in WRITES and table.columns == ("Count",):
                count = written = int(table.value()) if len(table) else 0
            database.log.append(Statement(part.query.strip(), kind, written, self._scanned(database)))
        return {"table": table, "count": count, "types": types}

    def pass_on(self, name: str, sql: str, parameters: Any) -> str:
        """execute() for a kernel: ``parameters`` in the codec's plain types, the answer as its JSON text, so that whoever
        stands between kernel and judge need not take either apart. Raises CodecError."""
        return codec.dumps(self.execute(name, sql, codec.decode(parameters)))

    @staticmethod
    def _scanned(database: _Database) -> int | None:
        if not database.profile:
            return None
        import json

        text = database.con.get_profiling_information("json")
        return int(json.loads(text).get("query", {}).get("total_rows_scanned", 0)) if text else None

    @staticmethod
    def _drop_transaction(database: _Database) -> None:
        try:
            database.con.execute("rollback")
        except duckdb.Error:
            return  # there was no open transaction

    def crash(self, name: str) -> None:
        """The process dies now: what was not committed and what was temporary is gone; further statements are
        refused until armed again."""
        database = self._at(name)
        database.crashed = "the process was killed after its last statement"
        self._drop_session(database)

    def _drop_session(self, database: _Database) -> None:
        """The connection is lost: open transaction, temporary tables and variables with it."""
        self._drop_transaction(database)
        if database.profile:  # a locked instance lets no new session be profiled: clear this one instead
            names = "select table_name from duckdb_tables() where temporary"
            for (table,) in database.con.execute(names).fetchall():
                database.con.execute(f'drop table temp."{table}"')
            return
        database.con.close()
        if database.shared:
            others = (
                "select database_name from duckdb_databases() where not internal and database_name not similar to ?"
            )
            for (other,) in database.instance.execute(others, [r"memory|db\d+"]).fetchall():
                database.instance.execute(
                    f'detach "{other}"'
                )  # attached in memory by the learner: died with the process
        database.con = database.instance.cursor()
        try:
            database.con.execute(database.place)
        except duckdb.Error:
            return  # the learner's code has detached it: the next look says so

    def rows(self, name: str, sql: str, parameters: Any = None) -> Table:
        """The judge's own look at a database; open transactions of the learner's are rolled back first."""
        database = self._at(name)
        self._drop_transaction(database)
        try:
            database.con.execute(sql, parameters)
            return Table.from_cursor(database.con)
        except duckdb.Error as error:
            raise CheckFailed(f"The database was left in a state in which this cannot be read: {error}") from error

    def log(self, name: str) -> list[dict[str, Any]]:
        """The statements since the database was armed, as dicts (sql, kind, rows_written, rows_scanned)."""
        return [vars(s) for s in self._at(name).log]

    def close(self, name: str) -> None:
        """Drops a database."""
        database = self._databases.pop(name, None)
        if database is None:  # it went with a judge process that had to be replaced
            return
        database.con.close()
        if not database.shared:
            database.instance.close()
        elif database.instance is self._shared:
            try:
                database.instance.execute(f"detach {name}")
            except duckdb.Error:
                return  # the learner's code has done it already

    def run(self, function: str, args: list[Any]) -> Any:
        """Runs a function of the workshop's kit ("workshop.module:function") on data of the learner's."""
        # As it would come out of the process: the same values wherever the judge runs.
        return codec.decode(codec.encode(_of_the_kit(function)(*args)))


def _of_the_kit(function: str) -> Any:
    module, _, attribute = function.partition(":")
    if not module.startswith("workshop."):
        raise ValueError("only functions of the kit run here")
    return getattr(importlib.import_module(module), attribute)


def _instance() -> duckdb.DuckDBPyConnection:
    config = {"memory_limit": MEMORY, "threads": "1", "autoinstall_known_extensions": "false"}
    con = duckdb.connect(":memory:", config=config)
    con.execute("set global timezone='UTC'")
    return con


def _lock(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("set enable_external_access=false")
    con.execute("set lock_configuration=true")


def _is_plain(con: duckdb.DuckDBPyConnection, sql: str) -> bool:
    """Whether a statement of the set-up changes no setting and attaches nothing."""
    try:
        return all(part.type.name in PLAIN_SETUP for part in con.extract_statements(sql))
    except duckdb.Error:
        return False


def _hides_writes(kind: str, code: str) -> bool:
    """Whether a statement changes rows in a place where DuckDB does not say how many."""
    changes = len(CHANGE.findall(code))
    if kind == "EXPLAIN":
        return bool(changes) and re.search(r"\banalyze\b", code, re.IGNORECASE) is not None
    return changes > (1 if kind in WRITES else 0) and kind not in {"CREATE", "DROP", "ALTER"}


def _fill(con: duckdb.DuckDBPyConnection, name: str, table: Table) -> None:
    """Inserts rows column by column, which is thirty times faster; odd values go row by row."""
    columns = ", ".join(table.columns)
    con.execute(f"select {columns} from {name} limit 0")
    types = [d[1] for d in con.description]
    values = [[r[i] for r in table.rows] for i in range(len(table.columns))]
    try:
        lists = ", ".join(f"unnest(?::{t}[])" for t in types)
        con.execute(f"insert into {name} ({columns}) select {lists}", values)
    except duckdb.Error:
        marks = ", ".join("?" * len(table.columns))
        con.executemany(f"insert into {name} ({columns}) values ({marks})", [list(r) for r in table.rows])


def search_path(con: duckdb.DuckDBPyConnection) -> str:
    """The search path by which core.orders means the attached world's table, while new tables go to the scratch database."""
    schemas = con.execute(
        "select schema_name from duckdb_schemas() where database_name = 'world' and schema_name in "
        "('core', 'raw', 'mart', 'ml', 'ops', 'share')"
    ).fetchall()
    own = con.execute("select current_database()").fetchone()[0]
    return ",".join([f"{own}.main", *(f"world.{s}" for (s,) in schemas)])


VALUE, FAILED, BROKEN = "value", "failed", "broken"


def serve(requests: Iterable[bytes], answers: BinaryIO) -> None:
    """The judge process: one JSON request a line; one answer a line, which is a word (VALUE, FAILED: what the learner's work
    is to blame for, BROKEN: what it is not) and JSON."""
    judge = Judge()
    for line in requests:
        try:
            request = codec.loads(line.decode("utf-8", "surrogatepass"))
            value = getattr(judge, str(request["do"]))(*request["args"])
            said, answer = VALUE, codec.dumps(value)
        except CheckFailed as failure:
            said, answer = FAILED, codec.dumps(failure.message)
        except codec.CodecError as error:
            said = FAILED
            answer = codec.dumps(f"What your code asked of the database cannot be handed over: {error}.")
        except Exception as error:
            said, answer = BROKEN, codec.dumps(f"{type(error).__name__}: {error}"[:4000])
        answers.write(f"{said} {answer}\n".encode("utf-8", "replace"))
        answers.flush()
