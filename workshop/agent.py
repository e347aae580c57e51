"""The learner's side of a check: does in the kernel what the trusted side asks, and hands data back.

One command at a time (call a function, take a value, make an object, call its method, query a connection). While it is
carried out, what the trusted side kept for itself (a judged database, a callback) is reached through ``request``. In a
graded kernel ``request`` is Jupyter's input request; in the learner's own notebook it is a function call.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import io
import traceback
from collections.abc import Callable
from functools import cache
from typing import Any

import duckdb

from workshop import codec
from workshop.checks import TODO

Request = Callable[[str], str]
PRINTED_TAIL = 2000
SOURCE_LINES = 6


class Crash(BaseException):
    """The machine died here (injected). A BaseException: ``except Exception`` does not catch a power cut."""


class ObjectReference(codec.Reference):
    """An object that stays in the kernel."""

    kind = "object"

    def __init__(self, name: str) -> None:
        self.name = name


class Result:
    """Rows of a judged statement, fetched whole."""

    def __init__(self, table: Any, count: int | None, types: list[str]) -> None:
        self._table = table
        self._types = types
        self._next = 0
        self.rowcount = count if count is not None else len(table)
        self.columns = list(table.columns)
        self.description = [(c, None, None, None, None, None, None) for c in table.columns]

    def fetchall(self) -> list[tuple]:
        """The rows not fetched yet."""
        rows = list(self._table.rows[self._next :])
        self._next = len(self._table)
        return rows

    def fetchone(self) -> tuple | None:
        """The next row, or None."""
        if self._next >= len(self._table):
            return None
        self._next += 1
        return self._table.rows[self._next - 1]

    def df(self) -> Any:
        """All rows as the pandas frame that DuckDB makes of them: a DATE becomes a timestamp, a DECIMAL a float."""
        names = [f'"{c.replace(chr(34), 2 * chr(34))}"' for c in self.columns]
        values = [[row[i] for row in self._table.rows] for i in range(len(names))]
        if not len(self._table):
            columns = ", ".join(f"null::{t} as {n}" for t, n in zip(self._types, names, strict=True))
            return _frames().execute(f"select {columns} where false").df()
        columns = ", ".join(f"unnest(?::{t}[]) as {n}" for t, n in zip(self._types, names, strict=True))
        return _frames().execute(f"select {columns}", values).df()

    fetchdf = df


@cache
def _frames() -> duckdb.DuckDBPyConnection:
    """A database without tables, for making frames."""
    con = duckdb.connect(":memory:", config={"autoinstall_known_extensions": "false"})
    con.execute("set timezone='UTC'")
    atexit.register(con.close)
    return con


class JudgedConnection:
    """The ``con`` of a task where effects are judged: execute, begin, commit, rollback. Each statement goes to a database
    of the judge's own, which may crash on purpose."""

    def __init__(self, request: Request, name: str) -> None:
        self._request = request
        self._name = name

    def execute(self, sql: str, parameters: Any = None) -> Result:
        """Runs SQL (one statement or several) with optional parameters; returns the rows of the last statement."""
        if parameters is not None and not isinstance(parameters, list | tuple | dict):
            parameters = [parameters]
        try:
            payload = codec.dumps({"database": self._name, "sql": str(sql), "parameters": parameters})
        except codec.CodecError as error:
            raise TypeError(f"a parameter cannot be sent to the database: {error}") from error
        answer = codec.loads(self._request(payload))
        if "crash" in answer:
            raise Crash(answer["crash"])
        if "error" in answer:
            kind = getattr(duckdb, str(answer["type"]), duckdb.Error)
            raise (kind if isinstance(kind, type) and issubclass(kind, duckdb.Error) else duckdb.Error)(answer["error"])
        return Result(answer["table"], answer["count"], answer["types"])

    def begin(self) -> None:
        """Begins a transaction."""
        self.execute("begin transaction")

    def commit(self) -> None:
        """Commits the transaction."""
        self.execute("commit")

    def rollback(self) -> None:
        """Rolls the transaction back."""
        self.execute("rollback")


class Agent:
    """Serves commands on a namespace (the notebook's variables). ``connection(name)`` gives the DuckDB connection of a
    world that the run was given."""

    def __init__(self, namespace: dict[str, Any], connection: Callable[[str], Any]) -> None:
        self.namespace = namespace
        self.connection = connection
        self.objects: dict[str, Any] = {}

    def serve(self, command: str, request: Request) -> str:
        """Carries out one command (JSON text) and returns the answer (JSON text); never raises on learner errors."""
        printed = io.StringIO()
        try:
            with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
                order = codec.loads(command, lambda kind, name: self._resolve(kind, name, request))
                value = self._do(order)
                if value is TODO or isinstance(value, TODO):
                    return codec.dumps({"not_attempted": True})
                return codec.dumps({"value": value})
        except TODO:
            return codec.dumps({"not_attempted": True})
        except codec.CodecError as error:
            return codec.dumps({"error": {"type": "CodecError", "message": str(error), "where": "", "printed": ""}})
        except (Exception, KeyboardInterrupt, SystemExit, Crash) as error:
            return codec.dumps(
                {
                    "error": {
                        "type": type(error).__name__,
                        "message": str(error)[:2000],
                        "where": _learner_lines(error),
                        "printed": printed.getvalue()[-PRINTED_TAIL:],
                    }
                }
            )

    def _resolve(self, kind: str, name: str, request: Request) -> Any:
        if kind == "object":
            return self.objects[name]
        if kind == "con":
            return self._free(self.connection(name))
        if kind == "judged":
            return JudgedConnection(request, name)
        if kind == "callback":

            def call(*args: Any, **kwargs: Any) -> Any:
                answer = codec.loads(request(codec.dumps({"callback": name, "args": list(args), "kwargs": kwargs})))
                if "crash" in answer:
                    raise Crash(answer["crash"])
                if "raise" in answer:
                    raise _exception(answer["raise"]["type"])(answer["raise"]["message"])
                return answer["value"]

            return call
        raise codec.CodecError(f"unknown kind of value: {kind!r}")

    def _lookup(self, name: str) -> Any:
        if name not in self.namespace:
            raise NameError(f"there is no {name!r} in the notebook: was its cell run?")
        return self.namespace[name]

    def _do(self, order: dict[str, Any]) -> Any:
        what, args, kwargs = order["do"], order.get("args", []), order.get("kwargs", {})
        if what == "value":
            return self._lookup(order["name"])
        if what == "call":
            return self._lookup(order["name"])(*args, **kwargs)
        if what == "keep":
            self.objects[order["as"]] = self._lookup(order["name"])
            return ObjectReference(order["as"])
        if what == "new":
            made = self._lookup(order["name"])
            if made is TODO:
                return TODO
            self.objects[order["as"]] = made(*args, **kwargs)
            return ObjectReference(order["as"])
        if what == "method":
            return getattr(self.objects[order["object"]], order["name"])(*args, **kwargs)
        if what == "drive":
            module, _, function = order["name"].partition(":")
            if not module.startswith("workshop."):
                raise codec.CodecError("a driver is a function of the workshop's own kit")
            return getattr(importlib.import_module(module), function)(*args, **kwargs)
        if what == "query":
            return self._free(self.connection(order["con"])).execute(order["sql"])
        raise codec.CodecError(f"unknown command {what!r}")

    @staticmethod
    def _free(con: Any) -> Any:
        """The connection without a half-read result: after ``execute(...).fetchone()`` DuckDB refuses the next ``sql(...)``,
        and an earlier cell or call must not make this one fail."""
        with contextlib.suppress(Exception):  # a closed connection says so when it is used
            con.complete()
        return con


def _exception(name: str) -> type[BaseException]:
    import builtins

    kind = getattr(builtins, name, RuntimeError)
    return kind if isinstance(kind, type) and issubclass(kind, Exception) else RuntimeError


def _learner_lines(error: BaseException) -> str:
    """The last frames of the traceback that are the learner's own, as 'line N, in f: code'."""
    lines = []
    for frame in traceback.extract_tb(error.__traceback__):
        if (
            "ipykernel" in frame.filename and frame.filename.endswith(".py") and "site-packages" not in frame.filename
        ) or frame.filename.startswith(("<ipython", "<cell", "<answer")):
            lines.append(f"line {frame.lineno}, in {frame.name}: {frame.line}")
    return "\n".join(lines[-SOURCE_LINES:])
