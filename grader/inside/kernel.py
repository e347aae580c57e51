"""A Jupyter kernel in a forked process: ipykernel's own, but for the sockets, which are handed in.

The grader makes the five listening sockets in a folder of its own and passes them on, so that nothing in the sandbox's
view is writable from both sides, and no file tells the connection's key.
"""

from __future__ import annotations

import os
from typing import Any

import zmq
from ipykernel import kernelapp
from ipykernel.heartbeat import Heartbeat
from ipykernel.iostream import IOPubThread
from traitlets.config import Config
from zmq.eventloop.zmqstream import ZMQStream

from grader.inside import forks
from workshop import remote

CHANNELS = ("shell", "stdin", "control", "iopub", "hb")


class HandedHeartbeat(Heartbeat):
    """A heartbeat on a socket that listens already."""

    listener = -1

    def _try_bind_socket(self) -> None:
        self.socket.setsockopt(zmq.USE_FD, self.listener)
        self.socket.bind("ipc://hb")


class UnixIOPubThread(IOPubThread):
    """ipykernel's, but that processes which the learner's code forks hand their output over a Unix socket: there is no
    loopback device."""

    def _setup_pipe_in(self) -> None:
        self._pipe_uuid = os.urandom(16)
        self._pipe_address = f"ipc://{os.environ['TMPDIR']}/.output-{os.getpid()}"
        pipe_in = self.socket.context.socket(zmq.PULL)
        pipe_in.linger = 0
        pipe_in.bind(self._pipe_address)
        self._pipe_in = ZMQStream(pipe_in, self.io_loop)
        self._pipe_in.on_recv(self._handle_pipe_msg)

    def _setup_pipe_out(self) -> tuple[zmq.Context, zmq.Socket]:
        context = zmq.Context()
        pipe_out = context.socket(zmq.PUSH)
        pipe_out.linger = 3000
        pipe_out.connect(self._pipe_address)
        return context, pipe_out


class HandedKernelApp(kernelapp.IPKernelApp):
    """An IPKernelApp whose sockets listen already: ``listeners`` are file descriptors by channel."""

    listeners: dict[str, int]

    def parse_command_line(self, argv: list[str] | None = None) -> None:
        """There is none."""

    def load_config_file(self, **kwargs: Any) -> None:
        """Nor a file of settings: the home is empty."""

    def _try_bind_socket(self, s: Any, port: int) -> int:
        name = CHANNELS[port - 1]
        s.setsockopt(zmq.USE_FD, self.listeners[name])
        s.bind(f"ipc://{name}")
        return port

    def init_connection_file(self) -> None:
        """There is no file: what it would say has been set."""

    def write_connection_file(self, **kwargs: Any) -> None:
        """Nor is one written."""

    def init_control(self, context: Any) -> None:
        """The debugger would connect to the shell's socket by its path, which does not exist here."""
        super().init_control(context)
        self.debug_shell_socket.disconnect(self.shell_socket.getsockopt(zmq.LAST_ENDPOINT))

    def init_heartbeat(self) -> None:
        """ipykernel's, on the socket handed in."""
        self.heartbeat = HandedHeartbeat(zmq.Context(), (self.transport, self.ip, self.hb_port))
        self.heartbeat.listener = self.listeners["hb"]
        self.heartbeat.start()


def run(request: dict[str, Any], fds: list[int]) -> None:
    """Runs a kernel until it is told to stop. ``request``: key (of the connection); ``fds``: the listening sockets, then the
    line on which the grader's commands come."""
    kernelapp.IOPubThread = UnixIOPubThread
    app = HandedKernelApp(
        transport="ipc",
        ip="fd",
        parent_handle=0,
        connection_file="none",
        log_level=50,
        config=Config({"HistoryManager": {"enabled": False}}),
        **{f"{name}_port": n for n, name in enumerate(CHANNELS, 1)},
    )
    *listeners, line = fds
    app.listeners = dict(zip(CHANNELS, listeners, strict=True))
    remote.attach(line)
    app.session.key = request["key"].encode()
    with forks.no_standard_error():  # the server's is a file, which a learner could fill
        app.initialize([])
    app.start()
