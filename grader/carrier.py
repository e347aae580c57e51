"""The carrier of the grader: a command goes into the learner's kernel, requests and the answer come out.

The Jupyter protocol carries the order to serve; the command itself, the kernel's requests and its answer go over a line of
their own (grader.line). All that arrives is a stranger's data: frames of another command are ignored, sizes are limited, and
silence ends in a time-out.
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
REPLIED = "replied"  # the kernel has ended the command
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
        self._pid = 0

    def connect(self, connection: dict[str, Any], pid: int, line: Line) -> None:
        """Connects to a kernel, the process ``pid`` (again, after a restart)."""
        self.disconnect()
        self._pid = pid
        self._line = line
        client = QuickBlockingClient(context=limited(zmq.Context()), session=StrictSession())
        client.load_connection_info(connection)
        client.start_channels(iopub=False, control=False, stdin=False)
        self._client = client

    def disconnect(self) -> None:
        """Drops the connection to the kernel."""
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
            return self._serve(command, answer_request, timeout_s)
        except LineBroken:
            raise KernelDied from None

    def _serve(self, command: str, answer_request: Callable[[str], str], timeout_s: float) -> str:
        nonce = secrets.token_hex(8)
        code = f"from workshop.remote import serve as _serve; _serve({nonce!r}); del _serve"
        request_id = self._client.execute(
            code, silent=True, store_history=False, allow_stdin=False, stop_on_error=False
        )
        self._line.command(nonce, command)
        watch = Stopwatch(self._pid, timeout_s)
        answer: str | None = None
        for _ in range(MAX_REQUESTS):
            said = self._next(request_id, watch)
            if said == LATE:
                self._abandon(request_id)
                raise LearnerError(
                    f"Your code did not come back within {timeout_s:.0f} seconds: is there an endless loop?"
                )
            if said == REPLIED:
                if answer is None:
                    raise LearnerError("Your code ended the check before it had an answer.")
                return answer
            if said.nonce != nonce:
                self._line.end(said)
            elif said.kind == "answer":
                answer = said.text
                self._line.reply(said, "")
            else:
                try:
                    self._line.reply(said, answer_request(said.text))
                except codec.CodecError as error:
                    self._give_up(request_id, said)
                    raise LearnerError(f"Your code asked for something that cannot be read: {error}.") from error
                except Exception:
                    self._give_up(request_id, said)
                    raise
        self._abandon(request_id)
        raise LearnerError(
            f"Your code asked more than {MAX_REQUESTS:,} things of the database: is there an endless loop?"
        )

    def _next(self, request_id: str, watch: Stopwatch) -> Said | str:
        """What the kernel says next: a frame, REPLIED when it has ended the command, LATE when the time is over."""
        shell = self._client.shell_channel
        poller = zmq.Poller()
        poller.register(shell.socket, zmq.POLLIN)
        poller.register(self._line.fileno(), zmq.POLLIN)
        if (said := self._line.waiting()) is not None:
            return said
        while not watch.is_over:
            ready = dict(poller.poll(LOOK_EVERY_MS))
            if not ready and not self._alive():
                raise KernelDied
            if self._line.fileno() in ready and (said := self._line.receive()) is not None:
                return said
            if shell.socket in ready and self._has_replied(request_id):
                return REPLIED
        return LATE

    def _has_replied(self, request_id: str) -> bool:
        try:
            message = self._client.shell_channel.get_msg(timeout=0)
        except Empty:
            return False
        except KernelMisbehaved:
            raise KernelDied from None
        return message["parent_header"].get("msg_id") == request_id

    def _give_up(self, request_id: str, said: Said) -> None:
        """Leaves a request unanswered, and with it the command."""
        self._line.end(said)
        self._abandon(request_id)

    def _abandon(self, request_id: str) -> None:
        """Interrupts the command and waits a little for its end; a kernel that does not end it counts as dead."""
        self._interrupt()
        watch = Stopwatch(self._pid, 5)
        while (said := self._next(request_id, watch)) != REPLIED:
            if said == LATE:
                raise KernelDied
            self._line.end(said)
