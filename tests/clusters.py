"""A Dask cluster of processes on this machine, each with a folder and a home of its own, for tests."""

import os
import socket
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
PATH = f"{HERE.parent}:{HERE}"  # for processes that import these packages and these modules


class Cluster:
    """A Dask scheduler on this machine, at an address that outlives it, and its workers by name."""

    def __init__(self, folder: Path, env: dict[str, str], *, tls: bool = False) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.address = f"{'tls' if tls else 'tcp'}://127.0.0.1:{port}"
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
