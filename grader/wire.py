"""The Jupyter connection to a kernel that may be hostile: what arrives is checked before anybody uses it.

Used through jupyter_client's own extension points (the session and the client class of a kernel manager), so that papermill
and nbval read nothing that has not passed here. What is wrong is dropped and counted; a kernel that sends too much is cut off.
"""

from __future__ import annotations

import time
from queue import Empty
from typing import Any

import zmq
import zmq.asyncio
from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.session import Session
from jupyter_client.utils import run_sync

from workshop import codec

MAX_FRAME_BYTES = codec.MAX_BYTES + 2**20
MAX_FRAMES = 32
MAX_DEPTH = 48
MAX_BAD = 1000
MAX_MESSAGES = 500_000
MAX_TOTAL_BYTES = 2 * 1024**3
READY_S = 60.0
LOOK_EVERY_S = 0.5
DROPPED = "kestrel_dropped"

# What of a message's content the readers rely on: field and type, by message type.
SHAPES: dict[str, dict[str, type]] = {
    "stream": {"name": str, "text": str},
    "display_data": {"data": dict, "metadata": dict},
    "update_display_data": {"data": dict, "metadata": dict},
    "execute_result": {"data": dict, "metadata": dict, "execution_count": int},
    "error": {"ename": str, "evalue": str, "traceback": list},
    "status": {"execution_state": str},
    "execute_reply": {"status": str},
    "input_request": {"prompt": str},
}
UNWANTED = frozenset({"comm_open", "comm_msg", "comm_close"})  # nobody here has widgets


class KernelMisbehaved(RuntimeError):  # noqa: N818 - what has happened
    """The kernel floods the connection, or sends what no kernel sends."""


class StrictSession(Session):
    """A session that gives its readers well-formed messages only. ``deadline``: time.monotonic() after which reading ends."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.bad = 0
        self.messages = 0
        self.bytes = 0
        self.deadline: float | None = None

    def feed_identities(self, msg_list: Any, copy: bool = True) -> Any:
        """See Session. A message without its delimiter is passed on, to be dropped."""
        self._count(msg_list)
        try:
            return super().feed_identities(msg_list, copy)
        except ValueError:
            return [], []

    def deserialize(self, msg_list: Any, content: bool = True, copy: bool = True) -> dict[str, Any]:
        """See Session. What is malformed, wrongly signed or too deep becomes an empty message that nobody waits for.
        Raises KernelMisbehaved when there is too much of it."""
        try:
            message = super().deserialize(msg_list, content, copy) if len(msg_list) <= MAX_FRAMES else None
            if message is not None and _well_formed(message):
                return message
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError, OverflowError):
            pass  # counted below
        self.bad += 1
        if self.bad > MAX_BAD:
            raise KernelMisbehaved(f"the kernel sent more than {MAX_BAD} messages that cannot be read")
        nothing: dict[str, Any] = {"msg_id": "", "msg_type": DROPPED}
        return {**nothing, "header": nothing, "parent_header": {}, "metadata": {}, "content": {}, "buffers": []}

    def _count(self, frames: Any) -> None:
        self.messages += 1
        self.bytes += sum(len(f) for f in frames)
        if self.messages > MAX_MESSAGES or self.bytes > MAX_TOTAL_BYTES:
            raise KernelMisbehaved("the kernel floods the connection")
        if self.deadline is not None and time.monotonic() > self.deadline:
            raise KernelMisbehaved("the time is over and the kernel still sends")


def _is_shallow(value: Any) -> bool:
    """Whether nothing in it is nested deeper than MAX_DEPTH; whatever walks it later may recurse."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [x for v in level for x in (v.values() if isinstance(v, dict) else v) if isinstance(x, dict | list)]
        if not level:
            return True
    return False


def _well_formed(message: dict[str, Any]) -> bool:
    header, parent, content = message["header"], message["parent_header"], message["content"]
    parts = (header, parent, message["metadata"], content)
    if not all(isinstance(part, dict) and _is_shallow(part) for part in parts):
        return False
    kind = message["msg_type"]
    if not isinstance(kind, str) or not isinstance(message["msg_id"], str) or kind in UNWANTED:
        return False
    if not all(isinstance(content.get(name), want) for name, want in SHAPES.get(kind, {}).items()):
        return False
    if kind == "stream":
        return content["name"] in {"stdout", "stderr"}
    return _parts_fit(kind, content)


def _parts_fit(kind: str, content: dict[str, Any]) -> bool:
    """Whether the parts of outputs and replies are what nbclient and nbformat take them for."""
    if kind == "error" or (kind == "execute_reply" and content["status"] == "error"):
        lines = content.get("traceback", [])
        return (
            isinstance(lines, list)
            and all(isinstance(line, str) for line in lines)
            and all(isinstance(content.get(name, ""), str) for name in ("ename", "evalue"))
        )
    if kind == "execute_reply":
        payload = content.get("payload") or []
        return isinstance(payload, list) and all(isinstance(part, dict) for part in payload)
    if "data" in SHAPES.get(kind, {}):
        transient = content.get("transient") or {}
        return (
            isinstance(transient, dict)
            and isinstance(transient.get("display_id", ""), str)
            and all(isinstance(v, str) or name.endswith("json") for name, v in content["data"].items())
        )
    return True


def limited(context: zmq.Context) -> zmq.Context:
    """The context, whose sockets take no larger frame than may be and never connect again to what has gone."""
    context.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME_BYTES)
    context.setsockopt(zmq.RECONNECT_IVL, -1)
    context.setsockopt(zmq.LINGER, 0)
    return context


class _Quick:
    """A client that knows when its kernel is ready without polling: the kernel greets each subscriber (iopub_welcome)."""

    def start_channels(self, *, hb: bool = False, **kwargs: Any) -> None:
        """See KernelClient. The heartbeat stays off: the kernel's process is watched instead."""
        super().start_channels(hb=hb, **kwargs)

    async def _ready(self, timeout: float | None = None) -> None:
        self.kernel_info()
        end = time.monotonic() + (READY_S if timeout is None else timeout)
        for channel, wanted in ((self.iopub_channel, "iopub_welcome"), (self.shell_channel, "kernel_info_reply")):
            while (await _message(channel, end - time.monotonic()))["msg_type"] != wanted:
                pass


async def _message(channel: Any, timeout_s: float) -> dict[str, Any]:
    try:
        got = channel.get_msg(timeout=max(0.0, timeout_s))
        return await got if hasattr(got, "__await__") else got
    except Empty:
        raise RuntimeError("The kernel does not answer.") from None


class QuickAsyncClient(_Quick, AsyncKernelClient):
    """For nbclient and papermill."""

    wait_for_ready = _Quick._ready


class QuickBlockingClient(_Quick, BlockingKernelClient):
    """For nbval, and for the grader's own questions. Whoever waits for a kernel that has died waits no longer."""

    wait_for_ready = run_sync(_Quick._ready)

    def get_shell_msg(self, timeout: float | None = None) -> dict[str, Any]:
        """See KernelClient. Raises Empty when the time is over or the kernel is gone."""
        return self._while_alive(self.shell_channel, timeout)

    def get_iopub_msg(self, timeout: float | None = None) -> dict[str, Any]:
        """See KernelClient. Raises Empty when the time is over or the kernel is gone."""
        return self._while_alive(self.iopub_channel, timeout)

    def _while_alive(self, channel: Any, timeout: float | None) -> dict[str, Any]:
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            left = LOOK_EVERY_S if end is None else min(LOOK_EVERY_S, max(0.0, end - time.monotonic()))
            alive = self.parent is None or self.parent.is_alive()
            try:
                return channel.get_msg(timeout=left)
            except Empty:
                if not alive or (end is not None and time.monotonic() >= end):
                    raise


def guard(manager: Any) -> StrictSession:
    """Makes a kernel manager, before it starts its kernel, read through a strict session, a limited context and quick
    clients; returns the session."""
    session = StrictSession(parent=manager, key=manager.session.key)
    manager.session = session
    asynchronous = isinstance(manager.context, zmq.asyncio.Context)
    manager.context = limited(zmq.asyncio.Context() if asynchronous else zmq.Context())
    manager._created_context = True
    manager.client_factory = QuickAsyncClient if asynchronous else QuickBlockingClient
    return session
