"""The carrier of the grader: commands go over the Jupyter protocol into the learner's kernel.

A command is code to execute; the kernel's requests and its answer come as input requests. All that arrives is a
stranger's data: messages of another command are ignored, sizes are limited, and silence ends in a time-out.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from queue import Empty
from typing import Any

import zmq

from grader.judge import JudgeProcess
from grader.kernels import Room
from grader.stopwatch import Stopwatch
from grader.wire import KernelMisbehaved, QuickBlockingClient, StrictSession, limited
from workshop import codec
from workshop.checks import LearnerError
from workshop.world import WorldFiles

MAX_REQUESTS = 200_000


class KernelDied(BaseException):
    """The learner's kernel is gone, or no longer answers. A BaseException, so that no check takes it for its own defect."""


class KernelCarrier:
    """Sends commands to one kernel. ``interrupt`` asks it to stop what it does, ``alive`` says whether it lives."""

    def __init__(
        self, connection: dict[str, Any], pid: int, room: Room, interrupt: Callable[[], None], alive: Callable[[], bool]
    ) -> None:
        self.judge = JudgeProcess(room)
        self._room = room
        self._interrupt = interrupt
        self._alive = alive
        self._client: QuickBlockingClient | None = None
        self.connect(connection, pid)

    def connect(self, connection: dict[str, Any], pid: int) -> None:
        """Connects to a kernel, the process ``pid`` (again, after a restart)."""
        self.disconnect()
        self._pid = pid
        client = QuickBlockingClient(context=limited(zmq.Context()), session=StrictSession())
        client.load_connection_info(connection)
        client.start_channels(iopub=False, control=False)
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
        nonce = secrets.token_hex(8)
        code = f"from workshop.remote import serve as _serve; _serve({nonce!r}, {command!r}); del _serve"
        request_id = self._client.execute(code, silent=True, store_history=False, allow_stdin=True, stop_on_error=False)
        watch = Stopwatch(self._pid, timeout_s)
        answer: str | None = None
        for _ in range(MAX_REQUESTS):
            kind, message = self._next(request_id, watch)
            if kind == "late":
                return self._give_up(request_id, timeout_s)
            if kind == "reply":
                if answer is None:
                    raise LearnerError("Your code ended the check before it had an answer.")
                return answer
            prompt = self._prompt(message, nonce)
            if prompt is None:
                self._client.input("")  # the learner's own input(): nobody is there to type
            elif prompt["kind"] == "answer":
                answer = prompt["text"]
                self._client.input("")
            else:
                try:
                    self._client.input(answer_request(prompt["text"]))
                except codec.CodecError as error:
                    self._abandon(request_id)
                    raise LearnerError(f"Your code asked for something that cannot be read: {error}.") from error
                except Exception:
                    self._abandon(request_id)
                    raise
        self._abandon(request_id)
        raise LearnerError(
            f"Your code asked more than {MAX_REQUESTS:,} things of the database: is there an endless loop?"
        )

    def _next(self, request_id: str, watch: Stopwatch) -> tuple[str, dict[str, Any]]:
        """The next message that belongs to the command: ("input", m), ("reply", m) or ("late", {})."""
        poller = zmq.Poller()
        channels = {"input": self._client.stdin_channel, "reply": self._client.shell_channel}
        for channel in channels.values():
            poller.register(channel.socket, zmq.POLLIN)
        while not watch.is_over:
            ready = dict(poller.poll(200))
            if not ready and not self._alive():
                raise KernelDied
            for name, channel in channels.items():
                if channel.socket in ready:
                    try:
                        message = channel.get_msg(timeout=0)
                    except Empty:
                        continue
                    except KernelMisbehaved:
                        raise KernelDied from None
                    else:
                        if message.get("parent_header", {}).get("msg_id") == request_id:
                            return name, message
        return "late", {}

    @staticmethod
    def _prompt(message: dict[str, Any], nonce: str) -> dict[str, str] | None:
        text = message.get("content", {}).get("prompt")
        if not isinstance(text, str) or len(text) > 2 * codec.MAX_BYTES:
            return None
        try:
            prompt = json.loads(text)
        except (ValueError, RecursionError):
            return None
        good = isinstance(prompt, dict) and prompt.get("nonce") == nonce and isinstance(prompt.get("text"), str)
        return prompt if good and prompt.get("kind") in {"answer", "request"} else None

    def _give_up(self, request_id: str, timeout_s: float) -> str:
        self._abandon(request_id)
        raise LearnerError(f"Your code did not come back within {timeout_s:.0f} seconds: is there an endless loop?")

    def _abandon(self, request_id: str) -> None:
        """Interrupts the command and waits a little for its end; a kernel that does not end it counts as dead."""
        self._interrupt()
        watch = Stopwatch(self._pid, 5)
        while True:
            kind, _ = self._next(request_id, watch)
            if kind == "reply":
                return
            if kind == "late":
                raise KernelDied
            self._client.input("\x04")  # end of file: whoever asks gets EOFError
