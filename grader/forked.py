"""The asker's side of a fork server (grader.inside.forks): asks for a process and holds it."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Sequence
from typing import Any

UP_S = 60.0
LINUX = sys.platform == "linux"
MAX_LINE_BYTES = 1 << 16


class ServerGone(BaseException):
    """The fork server is not there, or could not make the process. A BaseException: nobody is to take it for a fault of
    what was to run in it, a learner's least of all."""


class Forked:
    """A process that a fork server made for us. ``pid`` is its id as we see it. It ends when this object is closed."""

    def __init__(self, address: str, request: dict[str, Any], fds: Sequence[int] = ()) -> None:
        self._line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._buffer = b""
        self.exit_code: int | None = None
        try:
            if LINUX:
                self._line.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            self._line.settimeout(UP_S)
            self._line.connect(address)
            socket.send_fds(self._line, [json.dumps(request).encode() + b"\n"], list(fds))
            self.pid = self._await_up()
            self._line.setblocking(False)
        except (OSError, ValueError) as error:
            self._line.close()
            raise ServerGone(f"the fork server does not answer ({error})") from error

    def _await_up(self) -> int:
        data, ancillary, _, _ = self._line.recvmsg(MAX_LINE_BYTES, socket.CMSG_SPACE(12))
        said = json.loads(data) if data else {}
        if "up" not in said:
            raise ValueError(str(said.get("failed", "it closed the connection")))
        for level, kind, value in ancillary:
            # Its own number is that of its namespace; the kernel translates the sender's into ours.
            if LINUX and (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
                return struct.unpack("3i", value[:12])[0]
        return int(said["up"])

    def fileno(self) -> int:
        """To be waited for: readable when the process has ended."""
        return self._line.fileno()

    def poll(self) -> int | None:
        """The exit code once it has ended (negative: the signal), else None. 70: it could not be told."""
        if self.exit_code is None and self._line.fileno() >= 0:
            with contextlib.suppress(BlockingIOError, InterruptedError):
                self._read()
        return self.exit_code

    def _read(self) -> None:
        try:
            data = self._line.recv(MAX_LINE_BYTES)
        except ConnectionError:
            data = b""
        self._buffer += data
        if not data:
            self.exit_code = 70
        elif self._buffer.endswith(b"\n"):
            self.exit_code = int(json.loads(self._buffer).get("exit", 70))

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Waits for its end; the exit code, or None when the time is over."""
        end = None if timeout_s is None else time.monotonic() + timeout_s
        poller = select.poll()
        poller.register(self._line, select.POLLIN)
        while self.poll() is None:
            left = None if end is None else max(0.0, end - time.monotonic()) * 1000
            if not poller.poll(left):
                return None
        return self.exit_code

    def send_signal(self, number: int) -> None:
        """Sends a signal, unless it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Ends it and, behind walls, all that it has started."""
        self.send_signal(signal.SIGKILL)

    def close(self) -> None:
        """Lets go of it: the server ends it if it still runs."""
        self._line.close()


def is_there(address: str) -> bool:
    """Whether a fork server listens there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        try:
            line.connect(address)
        except OSError:
            return False
    return True
