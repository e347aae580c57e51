"""Where a kernel comes from: the one seam between the grader and the process in which a learner's code runs.

Today a kernel is a process of its own with a clean environment, a work folder, resource limits and a watchdog. papermill
and nbval both reach it through an ordinary kernel spec, whose provisioner is the class below.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import secrets
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning import LocalProvisioner
from traitlets import Dict, Unicode

from grader.limits import Limits
from grader.stopwatch import Stopwatch
from workshop.lab import GRADED_WORLD, WORLDS_VARIABLE
from workshop.paths import home
from workshop.world import WorldFiles

KERNEL_NAME = "kestrel-graded"
GRACE_S = 3.0
DRAIN_S = 30.0
LOOK_EVERY_S = 0.2


class LimitedProvisioner(LocalProvisioner):
    """Starts a kernel with the environment and the work folder of its kernel spec, and nothing else of the grader's."""

    clean_env = Dict(help="The kernel's whole environment.").tag(config=True)
    work = Unicode(help="Its working folder.").tag(config=True)

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        """Takes away the grader's environment."""
        prepared = await super().pre_launch(**kwargs)
        return prepared | {"env": dict(self.clean_env), "cwd": self.work}


# Limits are set by the kernel's process itself, before anything of the learner's is read: a function between fork and exec
# is not safe in a process with threads, which the grader is.
START = """
import resource
for what, value in {limits}:
    resource.setrlimit(what, (value, value))
del resource, what, value
from ipykernel import kernelapp
kernelapp.launch_new_instance()
"""


class Room:
    """A work folder, a folder of worlds and a kernel spec for one run; gone when the run ends."""

    def __init__(self, root: Path, limits: Limits) -> None:
        self.root = root
        self.limits = limits
        self.work = root / "work"
        self.worlds = root / "worlds"
        self.work.mkdir()
        self.worlds.mkdir()
        spec = root / "jupyter" / "kernels" / KERNEL_NAME
        spec.mkdir(parents=True)
        (spec / "kernel.json").write_text(json.dumps(self._spec()), encoding="utf-8")

    def _spec(self) -> dict[str, Any]:
        limits = [
            (resource.RLIMIT_DATA, self.limits.memory_bytes),
            (resource.RLIMIT_CPU, self.limits.cpu_s),
            (resource.RLIMIT_FSIZE, self.limits.file_bytes),
            (resource.RLIMIT_CORE, 0),
        ]
        # Where matplotlib keeps its list of fonts: making it anew costs a second or more in each kernel.
        plots = home() / "matplotlib"
        plots.mkdir(parents=True, exist_ok=True)
        env = {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "HOME": str(self.work),
            "TMPDIR": str(self.work),
            "LANG": "C.UTF-8",
            "TZ": "UTC",
            "IPYTHONDIR": str(self.work / ".ipython"),
            "MPLCONFIGDIR": str(plots),
            "GX_ANALYTICS_ENABLED": "false",
            WORLDS_VARIABLE: str(self.worlds),
        }
        return {
            "argv": [sys.executable, "-c", START.replace("{limits}", repr(limits)), "-f", "{connection_file}"],
            "display_name": "Graded",
            "language": "python",
            "metadata": {
                "kernel_provisioner": {
                    "provisioner_name": "kestrel-limited",
                    "config": {"clean_env": env, "work": str(self.work)},
                }
            },
        }

    def environment(self) -> dict[str, str]:
        """What another process needs in its environment to find the kernel spec."""
        return {"JUPYTER_PATH": str(self.root / "jupyter")}

    def manager(self) -> AsyncKernelManager:
        """A manager whose kernel is reached by sockets in the run's own folder, not by TCP ports."""
        specs = KernelSpecManager(kernel_dirs=[str(self.root / "jupyter" / "kernels")])
        name = secrets.token_hex(4)
        return AsyncKernelManager(
            kernel_name=KERNEL_NAME,
            kernel_spec_manager=specs,
            transport="ipc",
            ip=str(self.root / f"zmq-{name}"),
            connection_file=str(self.root / f"kernel-{name}.json"),
        )

    def offer(self, files: WorldFiles) -> None:
        """Puts a world, never its truth, where the kernel finds it under its name. The first is the one that counts."""
        graded = self.worlds / GRADED_WORLD
        if not graded.exists():
            graded.write_text(files.name, encoding="utf-8")
        place = self.worlds / f"{files.name}.duckdb"
        if not place.exists():
            try:
                os.link(files.world, place)
            except OSError:
                shutil.copyfile(files.world, place)


@contextlib.contextmanager
def room(limits: Limits) -> Iterator[Room]:
    """A room for one run."""
    root = Path(tempfile.mkdtemp(prefix="kg-"))
    try:
        yield Room(root, limits)
    finally:
        shutil.rmtree(root, ignore_errors=True)


class Watchdog:
    """Watches a kernel from a thread: memory of its process tree, seconds a cell, and what it is told from outside.

    The first answer is an interrupt, as a learner would press it; a kernel that does not heed it is killed.
    """

    def __init__(self, pid: int, limits: Limits) -> None:
        self.limits = limits
        self.reason: str | None = None
        self._pid = pid
        self._cell: Stopwatch | None = None
        self._interrupted_at: float | None = None
        self._tripped_at = 0.0
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def begin(self, seconds: float) -> None:
        """A cell (or a probe) begins; it has that long."""
        with self._lock:
            self.reason = None
            self._interrupted_at = None
            self._cell = Stopwatch(self._pid, seconds)

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
                self._signal(signal.SIGINT)

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
        self._kill_tree()

    def _watch(self) -> None:
        while not self._stop.wait(LOOK_EVERY_S):
            now = time.monotonic()
            cell = self._cell
            if cell is not None and cell.is_over:
                self.trip(f"it ran longer than {self.limits.cell_s:.0f} seconds: is there an endless loop?")
            if self._memory() > self.limits.memory_bytes:
                self.trip(f"it used more than {self.limits.memory_bytes / 2**30:.1f} GB of memory")
                self._kill_tree()
            if self._interrupted_at is not None and now - self._interrupted_at > GRACE_S:
                self._kill_tree()

    def _tree(self) -> list[psutil.Process]:
        try:
            kernel = psutil.Process(self._pid)
            return [kernel, *kernel.children(recursive=True)]
        except psutil.Error:
            return []

    def _memory(self) -> int:
        total = 0
        for process in self._tree():
            with contextlib.suppress(psutil.Error):
                memory = process.memory_info()
                total += memory.rss - getattr(memory, "shared", 0)  # what it shares with others is not its own
        return total

    def _signal(self, number: int) -> None:
        with contextlib.suppress(OSError):
            os.kill(self._pid, number)

    def _kill_tree(self) -> None:
        for process in self._tree():
            with contextlib.suppress(psutil.Error):
                process.kill()
