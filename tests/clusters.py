"""A Dask cluster of processes on this machine, each with a folder and a home of its own, for tests."""

import contextlib
import os
import random
import socket
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
PATH = f"{HERE.parent}:{HERE}"  # for processes that import these packages and these modules


class Cluster:
    """A Dask scheduler on this machine, at an address that outlives it, and its workers by name."""

    def __init__(self, folder: Path, env: dict[str, str], *, tls: bool = False) -> None:
        self.address = f"{'tls' if tls else 'tcp'}://127.0.0.1:{_free_port()}"
        self._folder = folder
        self._env = os.environ | env
        self._env.pop("KESTREL_TEST_HOME", None)
        self.scheduler: subprocess.Popen[bytes] | None = None
        self.workers: dict[str, subprocess.Popen[bytes]] = {}

    def start_scheduler(self) -> None:
        place = ["--protocol", self.address.partition(":")[0], "--port", self.address.rpartition(":")[2]]
        self.scheduler = self._start("scheduler", "scheduler", PATH, "--host", "127.0.0.1", *place)

    def start_worker(self, name: str, package: Path | None = None) -> None:
        path = f"{package}:{HERE}" if package else PATH
        options = ["--no-nanny", "--nthreads", "1", "--host", "127.0.0.1", "--name", name, "--death-timeout", "20"]
        self.workers[name] = self._start("worker", name, path, self.address, *options)

    def _start(self, what: str, name: str, path: str, *args: str) -> subprocess.Popen[bytes]:
        place = self._folder / name
        (place / "home").mkdir(parents=True, exist_ok=True)
        own = {"KESTREL_HOME": str(place / "home"), "DASK_TEMPORARY_DIRECTORY": str(place), "PYTHONPATH": path}
        env = self._env | own
        with open(place / "log", "ab") as log:
            command_line = [sys.executable, "-m", f"distributed.cli.dask_{what}", "--no-dashboard", *args]
            return subprocess.Popen(command_line, cwd=place, env=env, stdout=log, stderr=log)

    def kill(self, *names: str) -> None:
        for name in names:
            process = self.scheduler if name == "scheduler" else self.workers.pop(name)
            process.kill()
            process.wait()

    def restart_dead(self) -> None:
        """Starts again what has ended, as whoever runs a cluster has it done."""
        if self.scheduler.poll() is not None:
            self.start_scheduler()
        for name in [n for n, p in self.workers.items() if p.poll() is not None]:
            self.start_worker(name)

    def close(self) -> None:
        self.kill(*self.workers, *(["scheduler"] if self.scheduler else []))

    def last_words(self) -> str:
        """The ends of the logs, for a message that has to say what went wrong."""
        logs = sorted(self._folder.glob("*/log"))
        return "\n".join(f"-- {path.parent.name}\n{path.read_text(errors='replace')[-2000:]}" for path in logs)


def _free_port() -> int:
    """A free port below those that the system gives to whoever asks: while the scheduler is dead, nobody takes its port."""
    for port in random.sample(range(20_000, 32_000), 50):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("of fifty ports of this machine none is free")
