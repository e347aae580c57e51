"""Databases and functions of the judge: whatever of a learner's the trusted side runs, it runs here.

In the learner's notebook this is a plain object; the grader runs the same class in a throwaway process of its own
(``python -m workshop.judged``), without truth, with limits on memory and time.
"""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass, field
from typing import Any

import duckdb

from workshop import codec
from workshop.checks import CheckFailed
from workshop.table import Table

MEMORY = "400MB"
WRITES = {"INSERT", "UPDATE", "DELETE", "MERGE_INTO", "CREATE"}
MAX_STATEMENTS = 20_000


@dataclass(frozen=True)
class Statement:
    """One statement that a learner's code ran: its text, DuckDB's statement type, rows written and rows scanned."""

    sql: str
    kind: str
    rows_written: int
    rows_scanned: int | None


@dataclass
class _Database:
    con: duckdb.DuckDBPyConnection
    profile: bool
    log: list[Statement] = field(default_factory=list)
    crash_before: int | None = None
    crashed: str | None = None


class Judge:
    """Holds throwaway DuckDB databases by name; each is locked down once its set-up has run."""

    def __init__(self) -> None:
        self._databases: dict[str, _Database] = {}
        self._count = 0

    def open(self, setup: list[str], tables: dict[str, Table], profile: bool = False, world: str | None = None) -> str:
        """Makes a database: ``world`` (a file) attached read-only as "world", ``setup`` statements run, ``tables`` filled
        by name (they must have been created by the set-up). Returns its name."""
        con = duckdb.connect(":memory:", config={"memory_limit": MEMORY, "threads": "1", "autoinstall_known_extensions": "false"})
        con.execute("set timezone='UTC'")
        if world:
            con.execute(f"attach '{world}' as world (read_only)")
            con.execute(f"set search_path='{search_path(con)}'")
        for sql in setup:
            con.execute(sql)
        for name, table in tables.items():
            if len(table):
                marks = ", ".join("?" * len(table.columns))
                con.executemany(f"insert into {name} ({', '.join(table.columns)}) values ({marks})", [list(r) for r in table.rows])
        if profile:
            con.execute("set enable_profiling='no_output'")
        con.execute("set enable_external_access=false")
        con.execute("set lock_configuration=true")
        self._count += 1
        name = f"db{self._count}"
        self._databases[name] = _Database(con, profile)
        return name

    def arm(self, name: str, crash_before: int | None) -> None:
        """Crash before statement number ``crash_before`` (from 0) of those that follow; None: never. Clears the log and
        brings a crashed database up again."""
        database = self._databases[name]
        database.log = []
        database.crash_before = crash_before
        database.crashed = None

    def execute(self, name: str, sql: str, parameters: Any = None) -> dict[str, Any]:
        """A learner's statements. Returns table and count, or error, or crash (the open transaction is rolled back)."""
        database = self._databases[name]
        if database.crashed:
            return {"crash": database.crashed}
        try:
            parts = database.con.extract_statements(sql)
        except duckdb.Error as error:
            return {"type": type(error).__name__, "error": str(error)}
        if not parts:
            return {"type": "InvalidInputException", "error": "There is no statement to execute."}
        table, count = Table((), ()), None
        for i, part in enumerate(parts):
            if len(database.log) >= MAX_STATEMENTS:
                return {"type": "Error", "error": f"More than {MAX_STATEMENTS} statements: is there an endless loop?"}
            if database.crash_before is not None and len(database.log) >= database.crash_before:
                database.crashed = f"the process was killed before statement {database.crash_before + 1}"
                self._drop_transaction(database)
                return {"crash": database.crashed}
            kind = part.type.name
            try:
                # Parameters belong to the last statement, as in DuckDB's own Python client.
                last = i == len(parts) - 1
                database.con.execute(part, parameters if last and parameters is not None else None)
                table = Table.from_cursor(database.con)
            except duckdb.Error as error:
                database.log.append(Statement(part.query.strip(), kind, 0, None))
                return {"type": type(error).__name__, "error": str(error)}
            written = 0
            if kind in WRITES and table.columns == ("Count",):
                count = written = int(table.value()) if len(table) else 0
            database.log.append(Statement(part.query.strip(), kind, written, self._scanned(database)))
        return {"table": table, "count": count}

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
        """The process dies now: what was not committed is gone, further statements are refused until armed again."""
        database = self._databases[name]
        database.crashed = "the process was killed after its last statement"
        self._drop_transaction(database)

    def rows(self, name: str, sql: str, parameters: Any = None) -> Table:
        """The judge's own look at a database; open transactions of the learner's are rolled back first."""
        database = self._databases[name]
        self._drop_transaction(database)
        try:
            database.con.execute(sql, parameters)
            return Table.from_cursor(database.con)
        except duckdb.Error as error:
            raise CheckFailed(f"The database was left in a state in which this cannot be read: {error}") from error

    def log(self, name: str) -> list[dict[str, Any]]:
        """The statements since the database was armed, as dicts (sql, kind, rows_written, rows_scanned)."""
        return [vars(s) for s in self._databases[name].log]

    def close(self, name: str) -> None:
        """Drops a database."""
        self._databases.pop(name).con.close()

    def run(self, function: str, args: list[Any]) -> Any:
        """Runs a function of the workshop's kit ("workshop.module:function") on data of the learner's."""
        module, _, attribute = function.partition(":")
        if not module.startswith("workshop."):
            raise ValueError("only functions of the kit run here")
        return getattr(importlib.import_module(module), attribute)(*args)


def search_path(con: duckdb.DuckDBPyConnection) -> str:
    """The search path by which core.orders means the attached world's table, while new tables go to the scratch database."""
    schemas = con.execute(
        "select schema_name from duckdb_schemas() where database_name = 'world' and schema_name in "
        "('core', 'raw', 'mart', 'ml', 'ops', 'share')"
    ).fetchall()
    own = con.execute("select current_database()").fetchone()[0]
    return ",".join([f"{own}.main", *(f"world.{s}" for (s,) in schemas)])


def main() -> None:
    """The judge process: one JSON request a line on standard input, one answer a line on standard output."""
    judge = Judge()
    answers, sys.stdout = sys.stdout, sys.stderr  # what libraries print must not mix with the answers
    for line in sys.stdin:
        try:
            request = codec.loads(line)
            value = getattr(judge, str(request["do"]))(*request["args"])
            answer = codec.dumps({"value": value})
        except CheckFailed as failure:
            answer = codec.dumps({"failed": failure.message})
        except Exception as error:
            answer = codec.dumps({"broken": f"{type(error).__name__}: {error}"[:4000]})
        answers.write(answer.replace("\n", " ") + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
