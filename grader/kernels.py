"""Where a kernel comes from: the one seam between the grader and the process in which a learner's code runs.

A kernel is a fork of a warm process, behind walls of its own. papermill, nbval and any other Jupyter client reach it through
an ordinary kernel spec, whose provisioner is the class below.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning import KernelProvisionerBase
from traitlets import Dict, Unicode

from grader.forked import Forked
from grader.inside.isolate import WORK, WORLDS
from grader.inside.kernel import CHANNELS
from grader.limits import Limits
from grader.line import Line
from grader.sandbox import Warm
from grader.stopwatch import Stopwatch
from grader.wire import guard
from workshop.lab import GRADED_WORLD, WORLDS_VARIABLE
from workshop.world import WorldFiles

KERNEL_NAME = "kestrel-graded"
GRACE_S = 3.0
KILLED_S = 5.0
DRAIN_S = 30.0
LOOK_EVERY_S = 0.2
BACKLOG = 16


class WarmProvisioner(KernelProvisionerBase):
    """Asks a fork server for a kernel. Configured by the kernel spec: where the server is, and what the run may use."""

    server = Unicode(help="The fork server's socket.").tag(config=True)
    room = Unicode(help="The run's private folder, where the connection's sockets are made.").tag(config=True)
    request = Dict(help="What the server is asked for, but for the connection's key.").tag(config=True)
    seconds = Unicode(help="Seconds after which nothing is read from the kernel any more.").tag(config=True)

    process: Forked | None = None
    line: Line | None = None  # to the agent in the kernel, for who has commands for it

    @property
    def has_process(self) -> bool:
        """See KernelProvisionerBase."""
        return self.process is not None

    @property
    def pid(self) -> int | None:
        """The kernel's process id as seen from here."""
        return self.process.pid if self.process else None

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        """Has the manager speak over Unix sockets in the run's own folder, and read nothing unchecked."""
        manager = self.parent
        session = guard(manager)
        session.deadline = time.monotonic() + float(self.seconds)
        manager.transport = "ipc"
        manager.ip = str(Path(self.room) / f"k{secrets.token_hex(3)}")
        for number, name in enumerate(CHANNELS, 1):
            setattr(manager, f"{name}_port", number)
        self.connection_info = manager.get_connection_info()
        return {**await super().pre_launch(**kwargs), "cmd": []}

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Makes the listening sockets and has a kernel forked that gets them."""
        listeners = []
        ours, theirs = socket.socketpair()
        try:
            for number in range(1, len(CHANNELS) + 1):
                listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                listeners.append(listener)
                listener.bind(f"{self.connection_info['ip']}-{number}")
                listener.listen(BACKLOG)
            key = self.connection_info["key"]
            request = {**self.request, "kind": "kernel", "key": key.decode() if isinstance(key, bytes) else key}
            self.process = Forked(self.server, request, [s.fileno() for s in (*listeners, theirs)])
            self.line = Line(ours)
        except BaseException:
            ours.close()
            raise
        finally:
            for end in (*listeners, theirs):
                end.close()
        return self.connection_info

    async def poll(self) -> int | None:
        """See KernelProvisionerBase."""
        return self.process.poll() if self.process else 0

    async def wait(self) -> int | None:
        """See KernelProvisionerBase."""
        while (code := await self.poll()) is None:
            await asyncio.sleep(0.005)
        self._let_go()
        return code

    async def send_signal(self, signum: int) -> None:
        """See KernelProvisionerBase."""
        if self.process:
            self.process.send_signal(signum)

    async def kill(self, restart: bool = False) -> None:
        """Ends the kernel and all that runs in its namespaces. It is waited for here: the manager would look ten times a
        second only."""
        if self.process:
            self.process.kill()
            self.process.wait(KILLED_S)

    async def terminate(self, restart: bool = False) -> None:
        """There is no polite way that a hostile kernel could refuse."""
        await self.kill(restart)

    async def cleanup(self, restart: bool = False) -> None:
        """See KernelProvisionerBase."""
        self._let_go()

    def _let_go(self) -> None:
        if self.process:
            self.process.close()
            self.line.close()
            self.process = self.line = None


class Room:
    """What one run has: a kernel spec, a private folder for its sockets, and a folder of worlds that its processes see."""

    def __init__(self, warm: Warm, limits: Limits) -> None:
        self.warm = warm
        self.limits = limits
        self.name = secrets.token_hex(8)
        self.root = Path(warm.rooms) / self.name
        self._shown = Path(warm.runs) / self.name
        self.worlds = self._shown / "worlds"
        self.root.mkdir(mode=0o700)
        self.worlds.mkdir(parents=True)
        self._work = WORK if warm.isolated else str(self.root / "work")
        self._seen_worlds = WORLDS if warm.isolated else str(self.worlds)
        if not warm.isolated:
            (self.root / "work" / ".tmp").mkdir(parents=True)
        spec = self.root / "jupyter" / "kernels" / KERNEL_NAME
        spec.mkdir(parents=True)
        (spec / "kernel.json").write_text(json.dumps(self._spec()), encoding="utf-8")

    def request(self) -> dict[str, Any]:
        """What a fork server is asked for by any process of this run."""
        return {
            "run": self.name,
            "cwd": self._work,
            "walls": self.limits.walls(),
            "cores": sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
            "env": {
                "HOME": self._work,
                "TMPDIR": f"{self._work}/.tmp",
                "IPYTHONDIR": f"{self._work}/.ipython",
                WORLDS_VARIABLE: self._seen_worlds,
            },
        }

    def _spec(self) -> dict[str, Any]:
        config = {
            "server": self.warm.socket,
            "room": str(self.root),
            "request": self.request(),
            "seconds": str(self.limits.notebook_s * 2),
        }
        return {
            "argv": ["{connection_file}"],
            "display_name": "Graded",
            "language": "python",
            "metadata": {"kernel_provisioner": {"provisioner_name": "kestrel-warm", "config": config}},
        }

    def specs(self) -> KernelSpecManager:
        """Finds this room's kernel spec and no other."""
        return KernelSpecManager(kernel_dirs=[str(self.root / "jupyter" / "kernels")])

    def environment(self) -> dict[str, str]:
        """What another process needs in its environment to find the kernel spec."""
        return {"JUPYTER_PATH": str(self.root / "jupyter")}

    def manager(self) -> AsyncKernelManager:
        """A manager for a kernel of this room."""
        file = str(self.root / f"kernel-{secrets.token_hex(4)}.json")
        return AsyncKernelManager(kernel_name=KERNEL_NAME, kernel_spec_manager=self.specs(), connection_file=file)

    def offer(self, files: WorldFiles) -> str:
        """Puts a world, never its truth, where the run's processes see it; returns the path that they see. The first one
        is the one that counts."""
        graded = self.worlds / GRADED_WORLD
        if not graded.exists():
            graded.write_text(files.name, encoding="utf-8")
        place = self.worlds / f"{files.name}.duckdb"
        if not place.exists():
            try:
                os.link(files.world, place)
            except OSError:
                shutil.copyfile(files.world, place)
        return f"{self._seen_worlds}/{place.name}"

    def close(self) -> None:
        """Removes its folders."""
        for folder in (self.root, self._shown):
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def room(warm: Warm, limits: Limits) -> Iterator[Room]:
    """A room for one run."""
    made = Room(warm, limits)
    try:
        yield made
    finally:
        made.close()


class Watchdog:
    """Watches a kernel from a thread: memory and number of its processes, seconds a cell, and what it is told from outside.

    The first answer is an interrupt, as a learner would press it; a kernel that does not heed it is killed.
    """

    def __init__(self, process: Forked, limits: Limits, walls: bool) -> None:
        self.limits = limits
        self.reason: str | None = None
        self._process = process
        self._cell: Stopwatch | None = None
        self._interrupted_at: float | None = None
        self._tripped_at = 0.0
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._walls = walls
        self._tree = Tree(process.pid, walls)
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def begin(self, seconds: float) -> None:
        """A cell (or a probe) begins; it has that long."""
        with self._lock:
            self.reason = None
            self._interrupted_at = None
            self._cell = Stopwatch(self._process.pid, seconds)

    def end(self) -> str | None:
        """It has ended; why it was interrupted, if it was."""
        with self._lock:
            self._cell = None
            self._interrupted_at = None
            return self.reason

    def trip(self, reason: str) -> None:
        """Interrupts what is running."""
        with self._lock:
            if self.reason is None:
                self.reason = reason
                self._tripped_at = self._interrupted_at = time.monotonic()
                self._process.send_signal(signal.SIGINT)

    def still_answering(self) -> None:
        """What an interrupted cell had sent before is still coming in: the kernel is not deaf, give it time."""
        with self._lock:
            now = time.monotonic()
            if self._interrupted_at is not None and now - self._tripped_at < DRAIN_S:
                self._interrupted_at = now

    @property
    def out_of_time(self) -> bool:
        """Whether the whole notebook has used its time."""
        return time.monotonic() - self._began > self.limits.notebook_s

    def close(self) -> None:
        """Ends the watch and what is left of the kernel's process tree."""
        self._stop.set()
        self._thread.join()
        self._kill()

    def _watch(self) -> None:
        while not self._stop.wait(LOOK_EVERY_S):
            now = time.monotonic()
            cell = self._cell
            if cell is not None and cell.is_over:
                self.trip(f"it ran longer than {self.limits.cell_s:.0f} seconds: is there an endless loop?")
            processes, memory = self._tree.size(self.limits.memory_bytes)
            if memory > self.limits.memory_bytes:
                self.trip(f"it used more than {self.limits.memory_bytes / 2**30:.1f} GB of memory")
                self._kill()
            if processes > self.limits.processes:
                self.trip(f"it started more than {self.limits.processes} processes")
                self._kill()
            if self._interrupted_at is not None and now - self._interrupted_at > GRACE_S:
                self._kill()

    def _kill(self) -> None:
        self._process.kill()
        if not self._walls:  # else its end is that of its namespace, whose first process counts its time before that
            self._tree.kill()


class Tree:
    """The processes of a run. Behind walls that is all in its namespace, orphans too: their parent is its first process,
    which is the kernel's."""

    def __init__(self, pid: int, walls: bool) -> None:
        self._pid = pid
        if walls:
            with contextlib.suppress(psutil.Error):
                self._pid = psutil.Process(pid).ppid()

    def size(self, enough: int) -> tuple[int, int]:
        """How many they are and the bytes of memory that are theirs alone; looked at closely only beyond ``enough``."""
        processes = self._all()
        quick = sum(_resident(p) for p in processes)
        return len(processes), quick if quick <= enough else sum(_own(p) for p in processes)

    def kill(self) -> None:
        """Kills them all."""
        for pid in self._all():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)

    def _all(self) -> list[int]:
        """Where the system tells children (proc(5), /proc/<pid>/task/<tid>/children) that is a few reads, and not a walk
        over all processes of the machine."""
        if not Path("/proc/self/task").exists():
            try:
                return [self._pid, *(p.pid for p in psutil.Process(self._pid).children(recursive=True))]
            except psutil.Error:
                return []
        found, todo = [], [self._pid]
        while todo:
            pid = todo.pop()
            found.append(pid)
            with contextlib.suppress(OSError):
                for task in os.listdir(f"/proc/{pid}/task"):
                    todo += map(int, Path(f"/proc/{pid}/task/{task}/children").read_text(encoding="ascii").split())
        return found


def _resident(pid: int) -> int:
    """Bytes that a process holds in memory, less what is backed by files on disk: an upper bound of what is its own."""
    found = _kilobytes(f"/proc/{pid}/status", ("RssAnon:", "RssShmem:"))
    if found:
        return found * 1024
    with contextlib.suppress(psutil.Error):  # not told on this system, or gone
        memory = psutil.Process(pid).memory_info()
        return memory.rss - getattr(memory, "shared", 0)
    return 0


def _own(pid: int) -> int:
    """Bytes of a process's memory, less what is backed by files on disk, and what it shares with others in equal parts
    (proportional set size, proc(5))."""
    return _kilobytes(f"/proc/{pid}/smaps_rollup", ("Pss_Anon:", "Pss_Shmem:")) * 1024 or _resident(pid)


def _kilobytes(file: str, names: tuple[str, ...]) -> int:
    try:
        lines = Path(file).read_text(encoding="ascii", errors="replace").splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith(names))
    except (OSError, ValueError, IndexError):
        return 0
