"""The judge's process: what a learner wrote and the trusted side must run (SQL, suites, policies) runs there.

Same interface as workshop.judged.Judge. The process knows neither truth nor gradebook, and has limits of its own.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
from typing import Any

from grader.stopwatch import Stopwatch
from workshop import codec
from workshop.checks import CheckFailed
from workshop.errors import WorkshopError
from workshop.table import Table

ANSWER_S = 30.0
LOOK_EVERY_S = 1.0


class JudgeProcess:
    """Starts the process when it is first asked; after a time-out it is replaced, and its databases are gone."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._buffer = b""

    def open(self, setup: list[str], tables: dict[str, Table], profile: bool = False, world: str | None = None) -> str:
        """See workshop.judged.Judge.open."""
        return self._ask("open", setup, tables, profile, world)

    def arm(self, name: str, crash_before: int | None) -> None:
        """See workshop.judged.Judge.arm."""
        self._ask("arm", name, crash_before)

    def execute(self, name: str, sql: str, parameters: Any = None) -> dict[str, Any]:
        """See workshop.judged.Judge.execute."""
        return self._ask("execute", name, sql, parameters)

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
            self._process.communicate()
            self._process = None
            self._buffer = b""

    def _start(self) -> subprocess.Popen[bytes]:
        env = {k: os.environ[k] for k in ("PATH", "HOME", "LANG", "TMPDIR") if k in os.environ}
        return subprocess.Popen(
            [sys.executable, "-m", "workshop.judged"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**env, "TZ": "UTC", "GX_ANALYTICS_ENABLED": "false"},
        )

    def _ask(self, what: str, *args: Any) -> Any:
        if self._process is None:
            self._process = self._start()
        line = codec.dumps({"do": what, "args": list(args)}).replace("\n", " ") + "\n"
        try:
            self._process.stdin.write(line.encode())
            self._process.stdin.flush()
            answer = codec.loads(self._read_line())
        except (BrokenPipeError, EOFError, TimeoutError, codec.CodecError) as error:
            self.stop()
            slow = isinstance(error, TimeoutError)
            said = f"took longer than {ANSWER_S:.0f} seconds" if slow else "used too much memory or broke the database"
            raise CheckFailed(f"What your code asked the database to do {said}.") from error
        if "failed" in answer:
            raise CheckFailed(answer["failed"])
        if "broken" in answer:
            raise WorkshopError(answer["broken"])
        return answer["value"]

    def _read_line(self) -> bytes:
        pipe = self._process.stdout.fileno()
        parts = [self._buffer]
        watch = Stopwatch(self._process.pid, ANSWER_S)
        while b"\n" not in parts[-1]:
            while not select.select([pipe], [], [], LOOK_EVERY_S)[0]:
                if watch.is_over:
                    raise TimeoutError
            chunk = os.read(pipe, 1 << 20)
            if not chunk:
                raise EOFError
            parts.append(chunk)
        line, _, self._buffer = b"".join(parts).partition(b"\n")
        return line
