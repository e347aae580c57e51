"""The agent in a graded kernel: the grader has it carry out commands, which come and are answered over a line of their own.

A line is a socket that was handed to the kernel when it was made. A frame is one line of JSON (what it is and how many bytes
follow) and the bytes of a text. Jupyter carries the order to serve only, once for all commands of a task: over its sockets,
which threads of their own serve, the rest would take longer.
"""

from __future__ import annotations

import json
import os
import threading
from collections import deque
from typing import BinaryIO

from IPython import get_ipython

from workshop.agent import Agent
from workshop.lab import graded_connections

_agents: dict[int, Agent] = {}
_lines: list[Line] = []
_turn = threading.Lock()  # learner code may call back from several threads; the line asks one thing at a time


class Line:
    """The kernel's end of a line."""

    def __init__(self, fd: int) -> None:
        self._in: BinaryIO = os.fdopen(fd, "rb")
        self._out: BinaryIO = os.fdopen(os.dup(fd), "wb")
        self._asked = 0
        self._kept: deque[tuple[dict[str, object], str]] = deque()  # frames that came while another was awaited

    def command(self, session: str) -> tuple[str, str] | None:
        """The next command of a session, its nonce and text; None: there are no more. What is left of another session is
        passed over."""
        while True:
            head, text = self._kept.popleft() if self._kept else self._frame()
            if head.get("session") == session:
                return None if head.get("end") else (str(head["nonce"]), text)

    def ask(self, nonce: str, kind: str, text: str) -> str:
        """Says something ("request" or "answer") and returns what is said to it. Raises EOFError when nobody answers."""
        self._asked += 1
        payload = text.encode("utf-8", "surrogatepass")
        head = {"nonce": nonce, "kind": kind, "n": self._asked, "size": len(payload)}
        self._out.write(json.dumps(head).encode() + b"\n" + payload)
        self._out.flush()
        while True:
            head, reply = self._frame()
            if head.get("n") == self._asked:
                if head.get("end"):
                    raise EOFError("the grader does not answer this")
                return reply
            if "session" in head:
                self._kept.append((head, reply))

    def _frame(self) -> tuple[dict[str, object], str]:
        line = self._in.readline()
        if not line:
            raise EOFError("the grader has gone")
        head = json.loads(line)
        return head, self._in.read(int(head["size"])).decode("utf-8", "surrogatepass")


def attach(fd: int) -> None:
    """Makes the socket the line on which commands come."""
    _lines.append(Line(fd))


def serve(session: str) -> None:
    """Carries out the grader's commands until it says that there are no more. A command's nonce lets the grader tell its
    requests from stale ones."""
    line = _lines[0]
    agent = _agents.get(0)
    if agent is None:
        agent = _agents[0] = Agent(get_ipython().user_ns, graded_connections())
    while True:
        with _turn:
            command = line.command(session)
        if command is None:
            return
        _carry_out(line, agent, *command)


def _carry_out(line: Line, agent: Agent, nonce: str, command: str) -> None:
    def ask(kind: str, text: str) -> str:
        with _turn:
            return line.ask(nonce, kind, text)

    ask("answer", agent.serve(command, lambda text: ask("request", text)))
