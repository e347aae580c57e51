"""The trusted side of a check: the world with its truth, and a line to the learner's work.

One interface, two carriers: in the notebook commands go to an Agent in the same process, in the grader over the Jupyter
protocol into the learner's kernel. A check cannot tell which.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any, Protocol

import duckdb
import numpy as np

from workshop import codec
from workshop.agent import Agent
from workshop.checks import CheckFailed, Evidence, LearnerError, NotAttempted
from workshop.judged import Judge, search_path
from workshop.sealed import sealed
from workshop.table import Table
from workshop.world import WorldFiles, derive_seed, ensure_world, opaque_name

CALL_TIMEOUT_S = 20.0
SMALL_SCALE = 0.002
KEPT = 80
_kept: dict[tuple[Any, ...], Any] = {}


class Carrier(Protocol):
    """How commands reach the learner's work, and where what the learner wrote is run."""

    judge: Judge

    def send(self, command: str, answer_request: Callable[[str], str], timeout_s: float) -> str:
        """Sends one command, answers its requests, returns its answer. Raises LearnerError when nothing comes back."""

    def offer(self, files: WorldFiles) -> str:
        """Makes a world (never its truth) available to the learner's side and the judge under its name; returns the path at
        which the judge sees it."""


class Reader:
    """A DuckDB instance in which the trusted side reads worlds, one at a time: to attach another takes a sixth of what
    another instance takes."""

    def __init__(self) -> None:
        self._con: duckdb.DuckDBPyConnection | None = None
        self._attached: WorldFiles | None = None

    def sql(self, files: WorldFiles, query: str, parameters: Any) -> Table:
        """Runs a query on a world and its truth; all rows."""
        if self._con is None:
            config = {"memory_limit": "600MB", "threads": "2", "autoinstall_known_extensions": "false"}
            self._con = duckdb.connect(":memory:", config=config)
            self._con.execute("set timezone='UTC'")
        if self._attached != files:
            self._attach(files)
        self._con.execute(query, parameters)
        return Table.from_cursor(self._con)

    def _attach(self, files: WorldFiles) -> None:
        self._attached = None
        self._con.execute("reset search_path; detach database if exists world; detach database if exists truth")
        self._con.execute(f"attach '{files.world}' as world (read_only)")
        if files.truth.exists():
            self._con.execute(f"attach '{files.truth}' as truth (read_only)")
        self._con.execute(f"set search_path='{search_path(self._con)}'")
        self._attached = files

    def close(self) -> None:
        """Closes it."""
        if self._con is not None:
            self._con.close()
            self._con = self._attached = None


class World:
    """A world and its truth, read-only. Tables of the truth are called truth.<table>. ``reader``: shared with other worlds."""

    def __init__(self, files: WorldFiles, reader: Reader | None = None) -> None:
        self.files = files
        self.name = files.name
        self.scale = files.scale
        self.con_reference = ConReference(files.name)
        self.reader = reader or Reader()

    @property
    def con(self) -> ConReference:
        """The learner's own connection to this world, as an argument for lab.call."""
        return self.con_reference

    def sql(self, query: str, parameters: Any = None) -> Table:
        """Runs a query of the check's own on the world and its truth; all rows."""
        return self.reader.sql(self.files, query, parameters)


class ConReference(codec.Reference):
    """The learner's connection to a world, by the world's name."""

    kind = "con"

    def __init__(self, name: str) -> None:
        self.name = name


class _CallbackReference(codec.Reference):
    kind = "callback"

    def __init__(self, name: str) -> None:
        self.name = name


class JudgedDatabase(codec.Reference):
    """A throwaway database that the learner's code works on through ``lab.call(..., db)``, and the check looks into."""

    kind = "judged"

    def __init__(self, judge: Judge, name: str) -> None:
        self._judge = judge
        self.name = name

    def arm(self, crash_before: int | None = None) -> None:
        """Clears the statement log; crash before that statement (from 0), or never."""
        self._judge.arm(self.name, crash_before)

    def crash(self) -> None:
        """The process dies now."""
        self._judge.crash(self.name)

    def rows(self, sql: str, parameters: Any = None) -> Table:
        """What the database holds (an open transaction is rolled back first)."""
        return self._judge.rows(self.name, sql, parameters)

    def log(self) -> list[dict[str, Any]]:
        """Statements since the last arm(): dicts with sql, kind, rows_written, rows_scanned."""
        return self._judge.log(self.name)

    def close(self) -> None:
        """Drops the database."""
        self._judge.close(self.name)


class RemoteObject(codec.Reference):
    """An object of a learner's class, living on the learner's side."""

    kind = "object"

    def __init__(self, lab: Lab, name: str, class_name: str) -> None:
        self._lab = lab
        self.name = name
        self.class_name = class_name

    def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Calls a method and returns its value. Raises LearnerError as lab.call does."""
        order = {"do": "method", "object": self.name, "name": method, "args": list(args), "kwargs": kwargs}
        return self._lab._command(order, f"{self.class_name}.{method}")


class Lab:
    """What a check is given. ``topic`` is the id ("3.6"); ``seed`` never leaves the trusted side."""

    def __init__(self, topic: str, world: World, seed: bytes, carrier: Carrier, subjects: Sequence[str]) -> None:
        self.topic = topic
        self.world = world
        self._seed = seed
        self._carrier = carrier
        self._subjects = tuple(subjects)
        self._more: dict[str, World] = {world.name: world}
        self._callbacks: dict[str, Callable[..., Any]] = {}
        self._once: dict[str, Any] = {}
        self._numbers = count(1)
        self._names: Mapping[str, str] = {}

    def begin(self) -> None:
        """A task's checks, or the outlook, begin: what once() has kept of an earlier run is forgotten."""
        self._once.clear()
        self._callbacks.clear()

    def of(self, topic: str, names: Mapping[str, str] | None = None, carrier: Carrier | None = None) -> Lab:
        """A lab of another topic on the same world and seed, with the same learner unless a carrier is given. ``names``: what
        that topic's names are called here."""
        made = type(self)(topic, self.world, self._seed, carrier or self._carrier, self._subjects)
        made._names = names or {}
        if carrier is None:
            made._more, made._callbacks, made._numbers = self._more, self._callbacks, self._numbers
        return made

    def _name(self, name: str) -> str:
        return self._names.get(name, name)

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """What ``make()`` returns (or the CheckFailed that it raises), made once for all checks of a task: for calls of
        learner code that two checks look at from two sides."""
        if name not in self._once:
            try:
                self._once[name] = make()
            except CheckFailed as failure:
                self._once[name] = failure
        if isinstance(self._once[name], CheckFailed):
            raise self._once[name]
        return self._once[name]

    def kept(self, name: str, make: Callable[[], Any] | None = None) -> Any:
        """What ``make()`` returns, made once for all labs of this topic and world while this process lives: for what the world
        and the name alone decide (cases, truth, what the reference does), and nothing that the learner wrote. A released
        course has what was made for its practice worlds, and no ``make`` (grader.release)."""
        return self.cached(name, make or (lambda: sealed(self.topic, self._seed, self.world.scale, name)))

    def cached(self, name: str, make: Callable[[], Any]) -> Any:
        """The same for what also rests on the learner's work, all of which the name must tell: what a policy does in given
        months, whoever it is by. Made in a released course too. The oldest of KEPT are forgotten."""
        key = (self.topic, self._seed, self.world.scale, name)
        if key not in _kept:
            while len(_kept) >= KEPT:
                del _kept[next(iter(_kept))]
            _kept[key] = make()
        return _kept[key]

    @property
    def con(self) -> ConReference:
        """The learner's connection to the lab's world, as an argument for call."""
        return self.world.con

    # -- the learner's work ------------------------------------------------------------------------------------------

    def call(self, name: str, *args: Any, timeout_s: float = CALL_TIMEOUT_S, **kwargs: Any) -> Any:
        """Calls the learner's function and returns its value (rows come back as Table).

        Raises NotAttempted while the stub stands, LearnerError (a CheckFailed) when the function raises, does not come
        back in time, or returns what cannot be handed over.
        """
        return self._command(
            {"do": "call", "name": self._name(name), "args": list(args), "kwargs": kwargs}, self._name(name), timeout_s
        )

    def value(self, name: str) -> Any:
        """The value of a variable of the notebook (a policy as data)."""
        return self._command({"do": "value", "name": self._name(name)}, self._name(name))

    def new(self, name: str, *args: Any, **kwargs: Any) -> RemoteObject:
        """Makes an object of the learner's class (or factory function); its methods are called on the learner's side."""
        made = RemoteObject(self, f"object{next(self._numbers)}", name)
        self._command(
            {"do": "new", "name": self._name(name), "as": made.name, "args": list(args), "kwargs": kwargs}, name
        )
        return made

    def function(self, name: str) -> RemoteObject:
        """The learner's function itself, to hand to a driver of the kit's; nothing is called yet."""
        kept = RemoteObject(self, f"object{next(self._numbers)}", name)
        self._command({"do": "keep", "name": self._name(name), "as": kept.name}, name)
        return kept

    def drive(self, driver: str, *args: Any, timeout_s: float = CALL_TIMEOUT_S, **kwargs: Any) -> Any:
        """Runs a function of the kit ("workshop.sim.x:f") on the learner's side, with the learner's objects. What it
        returns is the learner's word: verify it."""
        order = {"do": "drive", "name": driver, "args": list(args), "kwargs": kwargs}
        return self._command(order, driver.partition(":")[2], timeout_s)

    def table(self, sql: str, world: World | None = None) -> Table:
        """Rows that the learner's connection holds."""
        got = self._command({"do": "query", "con": (world or self.world).name, "sql": sql}, "your database")
        if not isinstance(got, Table):
            raise LearnerError("Your database did not return rows.")
        return got

    def callback(self, function: Callable[..., Any]) -> codec.Reference:
        """A function of the check's own, to hand to learner code: called on the trusted side, with plain values. An
        exception of a built-in type that it raises is raised again in the learner's code."""
        name = f"callback{next(self._numbers)}"
        self._callbacks[name] = function
        return _CallbackReference(name)

    # -- the judge -----------------------------------------------------------------------------------------------------

    def database(
        self,
        setup: Sequence[str],
        tables: Mapping[str, Table] | None = None,
        *,
        profile: bool = False,
        with_world: World | None = None,
        functions: Sequence[Any] | None = None,
    ) -> JudgedDatabase:
        """A throwaway database for learner code to work on (execute, begin, commit, rollback). ``setup``: statements;
        ``tables``: rows by table name; ``profile``: count rows scanned; ``with_world``: attach that world read-only;
        ``functions``: what of the kit registers SQL functions there ("workshop.module:function"), and its arguments."""
        path = self._carrier.offer(with_world.files) if with_world else None
        judge = self._carrier.judge
        made = judge.open(list(setup), dict(tables or {}), profile, path, list(functions) if functions else None)
        return JudgedDatabase(judge, made)

    def frozen(self, database: JudgedDatabase) -> FrozenLab:
        """This lab for a caller of learner code that stands still between two of its statements on ``database``."""
        return FrozenLab(self, database)

    def judge(self, function: str, *args: Any) -> Any:
        """Runs a function of the kit in the judge's process on data of the learner's: "workshop.module:function"."""
        return self._carrier.judge.run(function, list(args))

    # -- worlds and randomness -------------------------------------------------------------------------------------------

    def worlds(self, n: int, *, subjects: Sequence[str] | None = None, scale: float = SMALL_SCALE) -> list[World]:
        """n small worlds of the named subjects (default: the lab's), from seeds derived from the lab's; cached."""
        found = []
        for i in range(n):
            seed = self.world_seed(i)
            name = f"{opaque_name(seed)}-{scale:g}"
            if name not in self._more:
                files = ensure_world(name, seed, scale, subjects or self._subjects)
                self._carrier.offer(files)
                self._more[name] = World(files, self.world.reader)
            found.append(self._more[name])
        return found

    def world_seed(self, i: int) -> bytes:
        """The seed of the i-th of those worlds."""
        return derive_seed(self._seed, f"{self.topic}/world/{i}")

    def rng(self, name: str) -> np.random.Generator:
        """A random generator of the check's own, the same for the same seed, topic and name."""
        digest = hmac.new(self._seed, f"rng/{self.topic}/{name}".encode(), hashlib.sha256).digest()
        return np.random.default_rng(int.from_bytes(digest, "big"))

    def close(self) -> None:
        """Closes the connection to the worlds."""
        self.world.reader.close()

    # -- the wire --------------------------------------------------------------------------------------------------------

    def _command(self, order: dict[str, Any], name: str, timeout_s: float = CALL_TIMEOUT_S) -> Any:
        text = self._carrier.send(codec.dumps(order), self._answer, timeout_s)
        try:
            answer = codec.loads(text, self._resolve)
        except codec.CodecError as error:
            raise LearnerError(f"`{name}` gave back something that cannot be read: {error}.") from error
        if not isinstance(answer, dict):
            raise LearnerError(f"`{name}` gave back something that cannot be read.")
        if answer.get("not_attempted"):
            raise NotAttempted("Not attempted yet.")
        if "error" in answer:
            raise _learner_error(name, answer["error"])
        return answer.get("value")

    def _resolve(self, kind: str, name: str) -> Any:
        if kind == "object":
            return name
        raise codec.CodecError(f"unknown kind of value: {kind!r}")

    def _answer(self, text: str) -> str:
        """Answers a request from learner code: a judged statement or a callback."""
        plain = codec.parse(text)
        if not isinstance(plain, dict):
            raise codec.CodecError("a request is an object")
        if "database" in plain:
            if not isinstance(plain.get("sql"), str):
                raise codec.CodecError("a request to a database has its SQL")
            return self._carrier.judge.pass_on(str(plain["database"]), plain["sql"], plain.get("parameters"))
        request = codec.decode(plain)
        function = self._callbacks.get(str(request.get("callback")))
        if function is None:
            raise codec.CodecError("unknown request")
        args, kwargs = request.get("args", []), request.get("kwargs", {})
        if not isinstance(args, list) or not isinstance(kwargs, dict):
            raise codec.CodecError("a request has a list of arguments and a mapping of named ones")
        try:
            return codec.dumps({"value": function(*args, **kwargs)})
        except CheckFailed:
            raise
        except Exception as error:
            return codec.dumps({"raise": {"type": type(error).__name__, "message": str(error)}})


def copies_of(tables: Sequence[str], rows: int | None = None) -> list[str]:
    """Set-up of a database that is opened with_world: copies of its tables ("core.customers"; the first ``rows`` of each), which
    may be changed, under the same names, and no world any longer."""
    limit = "" if rows is None else f" order by rowid limit {rows}"
    return [
        *(f"create schema memory.{s}" for s in dict.fromkeys(t.partition(".")[0] for t in tables)),
        *(f"create table memory.{t} as from world.{t}{limit}" for t in tables),
        "set search_path = 'memory.main'",
        "detach world",
    ]


class FrozenLab(Lab):
    """A lab whose caller can stand still between two statements on a database, with its transaction open, while others work.

    Learner code cannot be halted, so it is called twice. After ``until(k)`` the call ends with a LearnerError of type Crash
    before its statement number k (from 0), and the database is left as it stands then. After ``onwards()`` the same call is
    made again: statements up to there are answered from the record, those after it are run. Look at the database with
    ``rows`` only from another session in between: it rolls back.
    """

    def __init__(self, lab: Lab, database: JudgedDatabase) -> None:
        self.__dict__.update(lab.__dict__)
        self._database_name = database.name
        self._record: list[tuple[str, str]] = []
        self._at: int | None = None
        self._next = 0

    @property
    def statements(self) -> list[str]:
        """The SQL that was run before the caller stood still."""
        return [str(codec.parse(text).get("sql")) for text, _ in self._record]

    def until(self, at: int) -> None:
        """The next call stands still before its statement number ``at`` (from 0)."""
        self._at, self._next, self._record = at, 0, []

    def onwards(self) -> None:
        """The next call, with the same arguments, goes on from there. Raises CheckFailed if it runs other statements."""
        self._at, self._next = None, 0

    def _answer(self, text: str) -> str:
        plain = codec.parse(text)
        if not isinstance(plain, dict) or plain.get("database") != self._database_name:
            return super()._answer(text)
        i, self._next = self._next, self._next + 1
        if self._at is not None:
            if i >= self._at:
                return codec.dumps({"crash": "stands still here"})
            answer = super()._answer(text)
            self._record.append((text, answer))
            return answer
        if i < len(self._record):
            if self._record[i][0] != text:
                raise CheckFailed(
                    f"The same call on the same tables ran other statements the second time (statement {i + 1})."
                )
            return self._record[i][1]
        return super()._answer(text)


def _learner_error(name: str, error: Any) -> LearnerError:
    error = error if isinstance(error, dict) else {}
    kind, message = str(error.get("type", "Error")), str(error.get("message", ""))
    where, printed = str(error.get("where", "")), str(error.get("printed", ""))
    if kind == "CodecError":
        return LearnerError(f"`{name}`: {message}.", error_type=kind, error_message=message)
    evidence = [Evidence("where in your code", text=where)] if where else []
    if printed.strip():
        evidence.append(Evidence("what it printed", text=printed))
    said = f"`{name}` raised {kind}: {message}" if message else f"`{name}` raised {kind}."
    return LearnerError(said, error_type=kind, error_message=message, evidence=evidence)


class InProcess:
    """The carrier of the learner's own notebook: same process, same codec."""

    def __init__(self, agent: Agent, offered: dict[str, WorldFiles]) -> None:
        self.agent = agent
        self.offered = offered
        self.judge = Judge()

    def send(self, command: str, answer_request: Callable[[str], str], timeout_s: float) -> str:
        """Serves the command at once; the learner can interrupt it, so the time limit is the grader's alone."""
        return self.agent.serve(command, answer_request)

    def offer(self, files: WorldFiles) -> str:
        """Tells the learner's side where the world lies."""
        self.offered[files.name] = files
        return str(files.world)
