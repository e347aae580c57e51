"""The carrier of the grader: a command goes into the learner's kernel, requests and the answer come out.

The Jupyter protocol carries the order to serve, once for all commands of a task (a session); the commands, the kernel's
requests and its answers go over a line of their own (grader.line). All that arrives is a stranger's data: frames of another
command are ignored, sizes are limited, and silence ends in a time-out.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from queue import Empty
from typing import Any

import zmq

from grader.judge import JudgeProcess
from grader.kernels import Room
from grader.line import Line, LineBroken, Said
from grader.stopwatch import Stopwatch
from grader.wire import KernelMisbehaved, QuickBlockingClient, StrictSession, limited
from workshop import codec
from workshop.checks import LearnerError
from workshop.world import WorldFiles

MAX_REQUESTS = 200_000
LOOK_EVERY_MS = 200
REPLIED = "replied"  # the kernel has ended the session
LATE = "late"


class KernelDied(BaseException):
    """The learner's kernel is gone, or no longer answers. A BaseException, so that no check takes it for its own defect."""


class KernelCarrier:
    """Sends commands to one kernel. ``interrupt`` asks it to stop what it does, ``alive`` says whether it lives."""

    def __init__(self, room: Room, interrupt: Callable[[], None], alive: Callable[[], bool]) -> None:
        self.judge = JudgeProcess(room)
        self._room = room
        self._interrupt = interrupt
        self._alive = alive
        self._client: QuickBlockingClient | None = None
        self._line: Line | None = None
        self._poller = zmq.Poller()
        self._pid = 0
        self._session: str | None = None
        self._order = ""  # the message that began the session

    def connect(self, connection: dict[str, Any], pid: int, line: Line) -> None:
        """Connects to a kernel, the process ``pid`` (again, after a restart)."""
        self.disconnect()
        self._pid = pid
        self._line = line
        client = QuickBlockingClient(context=limited(zmq.Context()), session=StrictSession())
        client.load_connection_info(connection)
        client.start_channels(iopub=False, control=False, stdin=False)
        self._client = client
        self._poller = zmq.Poller()
        self._poller.register(client.shell_channel.socket, zmq.POLLIN)
        self._poller.register(line.fileno(), zmq.POLLIN)

    def disconnect(self) -> None:
        """Drops the connection to the kernel."""
        self._session = None
        if self._client is not None:
            self._client.stop_channels()
            self._client.context.destroy(linger=0)
            self._client = None

    def close(self) -> None:
        """Drops the connection and ends the judge."""
        self.disconnect()
        self.judge.stop()

    def offer(self, files: WorldFiles) -> str:
        """Makes a world available to kernel and judge; returns the path that they see."""
        return self._room.offer(files)

    def send(self, command: str, answer_request: Callable[[str], str], timeout_s: float) -> str:
        """See workshop.trusted.Carrier.send. Raises KernelDied when the kernel is gone."""
        try:
            for _ in range(2):
                fresh = self._session is None
                if fresh:
                    self._begin_session()
                answer = self._serve(command, answer_request, timeout_s)
                if answer is not None:
                    return answer
                # A session that an earlier command began may have been ended by what that left behind: then once more.
                if fresh:
                    break
        except LineBroken:
            raise KernelDied from None
        raise LearnerError("Your code ended the check before it had an answer.")

    def release(self) -> None:
        """Ends the session, if there is one: the kernel is free for the notebook's cells. Raises KernelDied."""
        if self._session is None:
            return
        try:
            self._line.end_session(self._session)
            self._await_end()
        except LineBroken:
            raise KernelDied from None

    def _begin_session(self) -> None:
        self._session = secrets.token_hex(8)
        code = f"from workshop.remote import serve as _serve; _serve({self._session!r}); del _serve"
        self._order = self._client.execute(
            code, silent=True, store_history=False, allow_stdin=False, stop_on_error=False
        )

    def _serve(self, command: str, answer_request: Callable[[str], str], timeout_s: float) -> str | None:
        """One command; its answer, None when the kernel has ended the session before there was anything of it."""
        nonce = secrets.token_hex(8)
        self._line.command(self._session, nonce, command)
        watch = Stopwatch(self._pid, timeout_s)
        for n in range(MAX_REQUESTS):
            said = self._next(watch)
            if said == LATE:
                self._abandon()
                raise LearnerError(
                    f"Your code did not come back within {timeout_s:.0f} seconds: is there an endless loop?"
                )
            if said == REPLIED:
                if n:
                    raise LearnerError("Your code ended the check before it had an answer.")
                return None
            if said.nonce != nonce:
                self._line.end(said)
            elif said.kind == "answer":
                self._line.reply(said, "")
                return said.text
            else:
                try:
                    self._line.reply(said, answer_request(said.text))
                except codec.CodecError as error:
                    self._give_up(said)
                    raise LearnerError(f"Your code asked for something that cannot be read: {error}.") from error
                except Exception:
                    self._give_up(said)
                    raise
        self._abandon()
        raise LearnerError(
            f"Your code asked more than {MAX_REQUESTS:,} things of the database: is there an endless loop?"
        )

    def _next(self, watch: Stopwatch) -> Said | str:
        """What the kernel says next: a frame, REPLIED when it has ended the session, LATE when the time is over."""
        shell = self._client.shell_channel
        if (said := self._line.waiting()) is not None:
            return said
        while not watch.is_over:
            ready = dict(self._poller.poll(LOOK_EVERY_MS))
            if not ready and not self._alive():
                raise KernelDied
            if self._line.fileno() in ready and (said := self._line.receive()) is not None:
                return said
            if shell.socket in ready and self._has_replied():
                self._session = None
                return REPLIED
        return LATE

    def _has_replied(self) -> bool:
        try:
            message = self._client.shell_channel.get_msg(timeout=0)
        except Empty:
            return False
        except KernelMisbehaved:
            raise KernelDied from None
        return message["parent_header"].get("msg_id") == self._order

    def _give_up(self, said: Said) -> None:
        """Leaves a request unanswered, and with it the command."""
        self._line.end(said)
        self._abandon()

    def _abandon(self) -> None:
        """Interrupts the command."""
        self._interrupt()
        self._await_end()

    def _await_end(self) -> None:
        """Waits a little for the end of the session; a kernel that does not end it counts as dead."""
        watch = Stopwatch(self._pid, 5)
        while (said := self._next(watch)) != REPLIED:
            if said == LATE:
                raise KernelDied
            self._line.end(said)
