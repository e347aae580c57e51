"""The judge's process: what a learner wrote and the trusted side must run (SQL, suites, policies) runs there.

Same interface as workshop.judged.Judge. The process knows neither truth nor gradebook, and has limits of its own.
"""

from __future__ import annotations

import json
import socket
from typing import Any, NoReturn

from grader.forked import Forked, ServerGone, is_there
from grader.kernels import Room
from grader.stopwatch import Stopwatch
from workshop import codec
from workshop.checks import CheckFailed
from workshop.errors import WorkshopError
from workshop.judged import FAILED, VALUE
from workshop.table import Table

ANSWER_S = 30.0
LOOK_EVERY_S = 1.0
MAX_ANSWER_BYTES = 4 * codec.MAX_BYTES


class JudgeProcess:
    """Starts the process, behind walls like a kernel's, when it is first asked; after a time-out it is replaced, and its
    databases are gone."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._process: Forked | None = None
        self._line: socket.socket | None = None
        self._buffer = b""
        self.died = 0  # how often it ended by itself

    def open(
        self,
        setup: list[str],
        tables: dict[str, Table],
        profile: bool = False,
        world: str | None = None,
        functions: list[Any] | None = None,
    ) -> str:
        """See workshop.judged.Judge.open."""
        return self._ask("open", setup, tables, profile, world, functions)

    def arm(self, name: str, crash_before: int | None) -> None:
        """See workshop.judged.Judge.arm."""
        self._ask("arm", name, crash_before)

    def pass_on(self, name: str, sql: str, parameters: Any) -> str:
        """See workshop.judged.Judge.pass_on."""
        try:
            request = json.dumps({"do": "execute", "args": [name, sql, parameters]})  # of plain types already
        except RecursionError:
            raise codec.CodecError("the parameters are too deep") from None
        return self._ask_text(request)

    def crash(self, name: str) -> None:
        """See workshop.judged.Judge.crash."""
        self._ask("crash", name)

    def rows(self, name: str, sql: str, parameters: Any = None) -> Table:
        """See workshop.judged.Judge.rows."""
        return self._ask("rows", name, sql, parameters)

    def log(self, name: str) -> list[dict[str, Any]]:
        """See workshop.judged.Judge.log."""
        return self._ask("log", name)

    def close(self, name: str) -> None:
        """See workshop.judged.Judge.close."""
        self._ask("close", name)

    def run(self, function: str, args: list[Any]) -> Any:
        """See workshop.judged.Judge.run."""
        return self._ask("run", function, args)

    def stop(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.kill()
            self._process.close()
            self._line.close()
            self._process = self._line = None
            self._buffer = b""

    def _start(self) -> None:
        self._line, theirs = socket.socketpair()
        with theirs:
            self._process = Forked(self._room.warm.socket, {**self._room.request(), "kind": "judge"}, [theirs.fileno()])

    def _ask(self, what: str, *args: Any) -> Any:
        answer = self._ask_text(codec.dumps({"do": what, "args": list(args)}))
        try:
            return codec.loads(answer)
        except codec.CodecError as error:
            self._fail(error)

    def _ask_text(self, request: str) -> str:
        """Sends a request, a line of JSON; the JSON of its value."""
        if self._process is None:
            self._start()
        try:
            self._line.settimeout(ANSWER_S)
            self._line.sendall(request.encode("utf-8", "surrogatepass") + b"\n")
            said, _, answer = self._read_line().decode().partition(" ")
            if said == VALUE:
                return answer
            reason = str(codec.loads(answer))
        except (OSError, EOFError, UnicodeDecodeError, codec.CodecError) as error:
            self._fail(error)
        raise CheckFailed(reason) if said == FAILED else WorkshopError(reason)

    def _fail(self, error: Exception) -> NoReturn:
        """Ends a process that has not answered, or not with what can be read, and says so."""
        slow = isinstance(error, TimeoutError)
        self.died += not slow
        self.stop()
        if not is_there(self._room.warm.socket):
            raise ServerGone("the sandbox ended while a database was in use") from error
        said = f"took longer than {ANSWER_S:.0f} seconds" if slow else "used too much memory or broke the database"
        raise CheckFailed(f"What your code asked the database to do {said}.") from error

    def _read_line(self) -> bytes:
        """One line. Raises EOFError when the process has ended, TimeoutError when its time is over or it says too much."""
        parts, size = [self._buffer], len(self._buffer)
        watch = Stopwatch(self._process.pid, ANSWER_S)
        self._line.settimeout(LOOK_EVERY_S)
        while b"\n" not in parts[-1]:
            try:
                chunk = self._line.recv(1 << 20)
            except TimeoutError:
                if watch.is_over:
                    raise
                continue
            if not chunk:
                raise EOFError
            parts.append(chunk)
            size += len(chunk)
            if size > MAX_ANSWER_BYTES:
                raise TimeoutError
        line, _, self._buffer = b"".join(parts).partition(b"\n")
        return line
