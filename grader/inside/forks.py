"""A fork server: a process that has imported what its children need, and forks one for each that is asked for.

Started with one listening Unix socket. Whoever wants a child connects, sends one line of
JSON with the file descriptors that it is to have, and keeps the connection: the child says on it that it is up (with its
credentials, which the kernel translates, so that the asker learns the child's process id as seen from outside), the server
says how it ended, and a connection that closes ends the child. One thread, no event loop of a library's, nothing opened:
what is here is what every child inherits.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import random
import select
import selectors
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from grader.inside import isolate

MAX_REQUEST_BYTES = 1 << 20
MAX_FDS = 16
MOST_FDS = 1 << 16


@dataclass
class Child:
    """A process that was forked for ``connection``."""

    pid: int
    connection: socket.socket


class Server:
    """``kinds``: what may be asked for, a function by name; it is called in the child with (request, fds) and its
    return ends the child. ``isolated``: children stand behind walls of their own (see grader.inside.isolate)."""

    def __init__(self, listener: socket.socket, kinds: dict[str, Callable[..., None]], isolated: bool) -> None:
        self._listener = listener
        self._kinds = kinds
        self._isolated = isolated
        self._children: dict[int, Child] = {}
        self._selector = selectors.DefaultSelector()

    def serve(self) -> None:
        """Serves until standard input ends: whoever started the server has gone."""
        wake_read, wake_write = os.pipe()
        os.set_blocking(wake_read, False)
        os.set_blocking(wake_write, False)
        signal.set_wakeup_fd(wake_write)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(wake_read, selectors.EVENT_READ, lambda: self._reap(wake_read))
        self._selector.register(0, selectors.EVENT_READ, None)
        while self._serve_once():
            pass
        for pid in self._children:
            os.kill(pid, signal.SIGKILL)

    def _serve_once(self) -> bool:
        for key, _ in self._selector.select():
            if key.data is None:
                return False
            key.data()
        return True

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:  # who asked has gone already
            return
        connection.settimeout(5)
        try:
            line, fds = receive(connection)
            request = json.loads(line)
            kind = self._kinds[request["kind"]]
        except (OSError, ValueError, KeyError, TypeError):
            connection.close()
            return
        try:
            self._fork(kind, request, fds, connection)
        except OSError as error:
            with contextlib.suppress(OSError):
                connection.sendall(json.dumps({"failed": str(error)}).encode() + b"\n")
            connection.close()
        finally:
            for fd in fds:
                with contextlib.suppress(OSError):
                    os.close(fd)

    def _fork(
        self, kind: Callable[..., None], request: dict[str, Any], fds: list[int], connection: socket.socket
    ) -> None:
        pid = os.fork()
        if pid == 0:
            self._be_child(kind, request, fds, connection)
        self._children[pid] = Child(pid, connection)
        self._selector.register(connection, selectors.EVENT_READ, lambda: self._hang_up(pid))

    def _hang_up(self, pid: int) -> None:
        """The asker has closed its end, or says something, which it has no reason to. Behind walls the namespace's first
        process sees that too, and ends in an order in which processor time is counted."""
        child = self._children[pid]
        self._selector.unregister(child.connection)
        if not self._isolated:
            os.kill(pid, signal.SIGKILL)

    def _reap(self, wake: int) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(wake, 4096)
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                child = self._children.pop(pid, None)
                if child is not None:
                    with contextlib.suppress(KeyError):
                        self._selector.unregister(child.connection)
                    with contextlib.suppress(OSError):
                        child.connection.sendall(
                            json.dumps({"exit": os.waitstatus_to_exitcode(status)}).encode() + b"\n"
                        )
                    child.connection.close()

    def _be_child(
        self, kind: Callable[..., None], request: dict[str, Any], fds: list[int], connection: socket.socket
    ) -> NoReturn:
        code = 70
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.setsid()  # a signal to its own group reaches nobody else, behind walls or not
            line = socket.socket(fileno=connection.detach())
            close_all_but([line.fileno(), *fds])
            if self._isolated:
                _stand_behind_walls(request, line)
            else:
                isolate.end_with_parent()
                if "walls" in request:
                    isolate.set_limits(isolate.Walls(**request["walls"]), processes=False)
            if request.get("cores"):
                with contextlib.suppress(OSError):  # taken from us meanwhile: then wherever there is room
                    os.sched_setaffinity(0, request["cores"])
            os.environ.update(request.get("env", {}))
            os.chdir(request.get("cwd", "."))
            tempfile.tempdir = None  # chosen anew, by the environment of this run
            reseed()
            line.sendall(json.dumps({"up": os.getpid()}).encode() + b"\n")
            line.close()
            kind(request, fds)
            code = 0
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)


def _stand_behind_walls(request: dict[str, Any], line: socket.socket) -> None:
    """Splits in three: the process that the server forked, which waits for the namespace's first process, which buries
    what others leave, and the run itself, which goes on here."""
    walls = isolate.Walls(**request["walls"])
    isolate.enter_namespaces(request["run"], walls)
    first = os.fork()
    if first:
        close_all_but([])
        _end_like(os.waitpid(first, 0)[1])
    main = os.fork()
    if main:
        close_all_but([line.fileno()])
        _be_init(main, line)
    isolate.set_limits(walls)
    isolate.drop_privileges()


def _end_like(status: int) -> NoReturn:
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 128 - code)


def _be_init(main: int, line: socket.socket) -> NoReturn:
    """Buries orphans until the run's main process ends or the asker is gone; that ends the namespace and all in it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    while True:
        while (dead := os.waitpid(-1, os.WNOHANG))[0]:
            if dead[0] == main:
                _end_like(dead[1])
        if line in select.select([line, woken], [], [])[0]:
            os.kill(main, signal.SIGKILL)
            _end_like(os.waitpid(main, 0)[1])  # waited for, so that its processor time is counted
        os.read(woken, 4096)


def close_all_but(keep: list[int]) -> None:
    """Closes every file descriptor but ``keep`` and standard error; standard input and output lead nowhere."""
    low = 3
    for fd in sorted(keep):
        os.closerange(low, fd)
        low = fd + 1
    os.closerange(low, MOST_FDS)
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1):
        os.dup2(null, standard)
    os.close(null)


@contextlib.contextmanager
def no_standard_error() -> Iterator[None]:
    """Standard error leads nowhere from here on; what ends the block by an exception is still said where it led."""
    kept = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.close(null)
    try:
        yield
    except BaseException:
        os.dup2(kept, 2)
        raise
    finally:
        os.close(kept)


def reseed() -> None:
    """Forks share the state of their parent's random generators."""
    random.seed()
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed(int.from_bytes(os.urandom(4), "little"))


def receive(connection: socket.socket) -> tuple[bytes, list[int]]:
    """One line and the file descriptors that came with it. Raises ValueError when it is too long or cut off."""
    data, fds = b"", []
    while not data.endswith(b"\n"):
        chunk, got, _, _ = socket.recv_fds(connection, 65536, MAX_FDS)
        fds += got
        data += chunk
        if not chunk or len(data) > MAX_REQUEST_BYTES:
            raise ValueError("the request is cut off or too long")
    return data, fds


def preload(modules: list[str]) -> None:
    """Imports; then there must be one thread, or forking is not safe."""
    for name in modules:
        importlib.import_module(name)
    tasks = Path("/proc/self/task")
    if tasks.exists() and len(list(tasks.iterdir())) != 1:
        raise RuntimeError("a module that was preloaded has started a thread")


def trial(request: dict[str, Any], fds: list[int]) -> None:
    """Does nothing: that it is called shows that children can be made."""


def main(listener: int, modules: tuple[str, ...], kinds: dict[str, str], isolated: bool) -> None:
    """Imports ``modules``, says "ready" on standard output and serves. ``kinds``: "module:function" by name."""
    preload(list(modules))
    functions = {}
    for name, place in kinds.items():
        module, _, function = place.partition(":")
        functions[name] = getattr(importlib.import_module(module), function)
    gc.collect()
    gc.freeze()  # pages that no collector writes to stay shared with all children
    os.write(1, b"ready\n")
    Server(socket.socket(fileno=listener), functions, isolated).serve()
