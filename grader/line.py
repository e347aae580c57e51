"""The grader's end of the line to a kernel (workshop.remote): what comes on it is a stranger's, and is checked."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from typing import Any

from workshop import codec

MAX_HEAD_BYTES = 512
MAX_TEXT_BYTES = 2 * codec.MAX_BYTES
CHUNK_BYTES = 1 << 18
SEND_S = 20.0


class LineBroken(Exception):  # noqa: N818 - what has happened
    """Nothing can be made of what comes on the line any more, or nobody takes what is sent."""


@dataclass(frozen=True)
class Said:
    """A frame from the kernel: of which command, request or answer, its number there, and the text."""

    nonce: str
    kind: str
    n: int
    text: str


class Line:
    """Frames to and from one kernel."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._buffer = bytearray()
        self._head: dict[str, Any] | None = None

    def fileno(self) -> int:
        """To be waited for."""
        return self._socket.fileno()

    def close(self) -> None:
        """Closes this end."""
        self._socket.close()

    def command(self, session: str, nonce: str, text: str) -> None:
        """Sends a command of a session."""
        self._send({"session": session, "nonce": nonce}, text)

    def end_session(self, session: str) -> None:
        """Tells the kernel that a session has no more commands."""
        self._send({"session": session, "end": True}, "")

    def reply(self, said: Said, text: str) -> None:
        """Answers a frame."""
        self._send({"n": said.n}, text)

    def end(self, said: Said) -> None:
        """Tells the kernel that a frame will not be answered."""
        self._send({"n": said.n, "end": True}, "")

    def _send(self, head: dict[str, Any], text: str) -> None:
        payload = text.encode("utf-8", "surrogatepass")
        frame = json.dumps({**head, "size": len(payload)}).encode() + b"\n" + payload
        self._socket.settimeout(SEND_S)
        try:
            self._socket.sendall(frame)
        except OSError as error:
            raise LineBroken("nobody takes what is sent") from error

    def receive(self) -> Said | None:
        """Reads what is there; a frame when it is whole, else None. Raises LineBroken."""
        self._socket.setblocking(False)
        try:
            chunk = self._socket.recv(CHUNK_BYTES)
        except BlockingIOError:
            return self.waiting()
        except OSError as error:
            raise LineBroken("the line is closed") from error
        if not chunk:
            raise LineBroken("the line is closed")
        self._buffer += chunk
        return self.waiting()

    def waiting(self) -> Said | None:
        """A frame that has come whole already, if there is one."""
        if self._head is None:
            at = self._buffer.find(b"\n", 0, MAX_HEAD_BYTES)
            if at < 0:
                if len(self._buffer) >= MAX_HEAD_BYTES:
                    raise LineBroken("a frame without a head")
                return None
            self._head = _head(bytes(self._buffer[:at]))
            del self._buffer[: at + 1]
        size = self._head["size"]
        if len(self._buffer) < size:
            return None
        head, self._head = self._head, None
        text = bytes(self._buffer[:size]).decode("utf-8", "replace")
        del self._buffer[:size]
        return Said(head["nonce"], head["kind"], head["n"], text)


def _head(line: bytes) -> dict[str, Any]:
    try:
        head = json.loads(line)
        fits = (
            isinstance(head["nonce"], str)
            and head["kind"] in ("request", "answer")
            and type(head["n"]) is int
            and type(head["size"]) is int
            and 0 <= head["size"] <= MAX_TEXT_BYTES
        )
    except (ValueError, TypeError, LookupError, RecursionError):
        fits = False
    if not fits:
        raise LineBroken("a head that cannot be read")
    return head
