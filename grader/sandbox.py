"""The sandbox: a fork server behind bubblewrap, which makes the processes in which a learner's code and SQL run.

It is preloaded with what labs import and sees: the system's libraries and Python read-only, the kit (no generator's truth, no
checks, no solutions, no submissions), no network, no process of ours, no environment. Each process that it makes gets walls of
its own within it (grader.inside.isolate).
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Protocol, TypeVar

from grader.forked import Forked, ServerGone
from grader.inside.isolate import EMPTY, RUNS, WORK, WORLDS
from grader.limits import Limits
from workshop.errors import UsageError, WorkshopError
from workshop.paths import CURRICULUM, PACKAGES, REPOSITORY, home
from workshop.topics import syllabus

SANDBOX, NONE = "sandbox", "none"
ISOLATIONS = (SANDBOX, NONE)
RISK = (
    "--isolation none: notebooks run as you, with your files, your network and the gradebook within reach. Grade only "
    "work of people you trust."
)
WAYS_OUT = (
    "Ways out: on Debian or Ubuntu, sudo apt-get install bubblewrap; where user namespaces are switched off, an "
    "administrator allows them (sysctl kernel.unprivileged_userns_clone=1, or an AppArmor profile for bwrap; in a "
    "container, --security-opt seccomp=unconfined --cap-add SYS_ADMIN); on macOS and Windows, grade in a Linux "
    "virtual machine. For work of people you trust alone: --isolation none, which protects nothing."
)
# What labs import; the fork server has it ready.
PRELOAD = ("grader.inside.kernel", "grader.inside.judge", "workshop.remote", "duckdb", "pandas", "grader.inside.warm")
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store")
SETTINGS = ("/etc/ld.so.cache", "/etc/alternatives", "/etc/fonts", "/etc/localtime")
SYLLABUS = CURRICULUM / "syllabus.yaml"
PLOTS = "/kestrel/matplotlib"
PYTHON, PREFIXES = os.path.abspath(sys.executable), tuple(os.path.abspath(p) for p in (sys.base_prefix, sys.prefix))
START_S = 120
STARTS = 3
ENDS_S = 1.0  # within which a server's end is known after its connections were closed
KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)  # the latter is what bubblewrap makes of the former
Started = TypeVar("Started", bound="Starting")
SERVE = """
import sys
sys.modules.setdefault("rfc3987_syntax", None)
from grader.inside.forks import main
main({fd}, {preload}, {kinds}, {isolated})
"""
KINDS = {"kernel": "grader.inside.kernel:run", "judge": "grader.inside.judge:run", "trial": "grader.inside.forks:trial"}


@dataclass(frozen=True)
class Warm:
    """Where to ask for warm processes: the server's socket, the folder in which runs keep what they show to theirs, the
    folder for what they keep to themselves, and whether there are walls."""

    socket: str
    runs: str
    rooms: str
    isolated: bool

    def plain(self) -> dict[str, Any]:
        """As plain JSON types; Warm(**plain) is the inverse."""
        return asdict(self)


class KilledAtStartError(WorkshopError):
    """A fork server was killed before it was ready."""


class ForkServer:
    """A fork server's process. ``command`` is put before Python's own (bubblewrap, or nothing)."""

    def __init__(
        self,
        address: Path,
        command: list[str],
        env: dict[str, str],
        preload: tuple[str, ...],
        kinds: dict[str, str],
        isolated: bool,
    ) -> None:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with listener:
            listener.bind(str(address))
            os.chmod(address, 0o600)
            listener.listen(256)
            code = SERVE.format(fd=listener.fileno(), preload=preload, kinds=kinds, isolated=isolated)
            self._says: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed in close()
            self.process = subprocess.Popen(
                [*command, PYTHON, "-P", "-c", code],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._says,
                pass_fds=[listener.fileno()],
                env=env,
                start_new_session=True,  # Ctrl-C is for the grader, which ends this in its own time
            )

    def await_ready(self) -> None:
        """Waits until it has imported what it was told to. Raises WorkshopError with what it said when it ends instead,
        KilledAtStartError when it was killed."""
        ready = self.process.stdout.readline()
        if ready != b"ready\n":
            self.process.wait(START_S)
            if self.process.returncode in KILLED:
                raise KilledAtStartError("it was killed while it started")
            raise WorkshopError(self.last_words() or f"it ended with code {self.process.returncode}")

    def last_words(self) -> str:
        """The last line that it or one of its children said on standard error."""
        self._says.seek(0)
        said = self._says.read().decode(errors="replace").strip().splitlines()
        return said[-1] if said else ""

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process.poll() is None

    def close(self) -> None:
        """Ends it and all that it has made."""
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(2)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self._says.close()


class Sandbox:
    """A fork server for kernels and judges with its folders. ``extra``: further modules to preload."""

    def __init__(self, isolation: str, extra: tuple[str, ...] = ()) -> None:
        if isolation not in ISOLATIONS:
            raise UsageError(f"There is no isolation {isolation!r}; there is: {', '.join(ISOLATIONS)}.")
        isolated = isolation == SANDBOX
        self._folders = _Folders()
        self.warm = Warm(
            str(self._folders.rooms / "kernels"), str(self._folders.runs), str(self._folders.rooms), isolated
        )
        command = bubblewrap(self._folders.runs) if isolated else []
        env = (
            {"PATH": os.environ.get("PATH", os.defpath)} if isolated else inner_environment(str(home() / "matplotlib"))
        )
        try:
            self.server = ForkServer(Path(self.warm.socket), command, env, (*PRELOAD, *extra), KINDS, isolated)
        except OSError as error:
            self._folders.close()
            raise WorkshopError(f"The sandbox could not be started: {error}. {WAYS_OUT}") from error

    def await_ready(self) -> None:
        """See ForkServer.await_ready; and a first process is asked for, since not every system that lets the sandbox be
        started lets walls be put up in it."""
        try:
            self.server.await_ready()
            (Path(self.warm.runs) / "trial" / "worlds").mkdir(parents=True)
            request = {"kind": "trial", "run": "trial", "walls": Limits().walls()}
            Forked(self.warm.socket, request).close()
        except (WorkshopError, ServerGone) as error:
            said = self.server.last_words() if isinstance(error, ServerGone) else str(error)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.server.process.wait(ENDS_S)
            kind = KilledAtStartError if self.server.process.returncode in KILLED else WorkshopError
            raise kind(f"The sandbox could not be started: {said or error}. {WAYS_OUT}") from None

    @property
    def alive(self) -> bool:
        """Whether its server runs."""
        return self.server.alive

    def close(self) -> None:
        """Ends it, all that runs in it, and its folders."""
        self.server.close()
        self._folders.close()


class _Folders:
    """The folders of one sandbox, held by a lock: what a killed grader left behind is cleared by the next one."""

    def __init__(self) -> None:
        base = home() / "runs"
        base.mkdir(parents=True, exist_ok=True, mode=0o700)
        name = secrets.token_hex(6)
        self.runs = base / name
        # Paths of sockets are limited to some hundred bytes: not under the home, which may lie deep.
        self.rooms = Path(tempfile.gettempdir()) / f"kestrel-{name}"
        with open(base / "lock", "w", encoding="utf-8") as guard:
            fcntl.flock(guard, fcntl.LOCK_EX)
            for old in base.iterdir():
                if old.is_dir() and _is_left(old):
                    shutil.rmtree(Path(tempfile.gettempdir()) / f"kestrel-{old.name}", ignore_errors=True)
                    shutil.rmtree(old, ignore_errors=True)
            self.runs.mkdir(mode=0o700)
            self._lock = open(self.runs / "owner", "w", encoding="utf-8")  # noqa: SIM115 - held until close()
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        self.rooms.mkdir(mode=0o700)

    def close(self) -> None:
        """Removes them."""
        for folder in (self.rooms, self.runs):
            shutil.rmtree(folder, ignore_errors=True)
        self._lock.close()


def _is_left(folder: Path) -> bool:
    try:
        with open(folder / "owner", encoding="utf-8") as owner:
            fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def bubblewrap(runs: Path) -> list[str]:
    """The command that puts what follows it into the sandbox. Raises WorkshopError where there is no bubblewrap."""
    program = shutil.which("bwrap")
    if program is None or sys.platform != "linux":
        raise WorkshopError(f"Grading needs bubblewrap (bwrap), which is not here. {WAYS_OUT}")
    command = [program, "--unshare-all", "--unshare-user", "--uid", "1000", "--gid", "1000"]
    command += ["--new-session", "--hostname", "kestrel", "--clearenv"]
    command += ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--dir", EMPTY, "--dir", WORLDS, "--dir", WORK]
    for place in SYSTEM:
        path = Path(place)
        if path.is_symlink():
            command += ["--symlink", os.readlink(path), place]
        elif path.is_dir():
            command += ["--ro-bind", place, place]
    for place in (*SETTINGS, *PREFIXES):
        if Path(place).exists():
            command += ["--ro-bind", place, place]
    # Whatever lies in a folder that is seen is covered, then the little that may be seen of it is shown.
    shown = [Path(p).resolve() for p in (*SYSTEM, *PREFIXES)]
    covered = [p for p in (REPOSITORY, home().resolve()) if p.is_dir() and _is_below(p, shown)]
    for path in covered:
        command += ["--tmpfs", str(path)]
    for path in (Path(PREFIXES[1]), *_kit()):
        if not _is_below(path, shown) or _is_below(path, covered):
            command += ["--ro-bind", str(path), str(path)]
    for path in _withheld():
        if _is_below(path.resolve(), shown):
            command += ["--tmpfs", str(path)]
    if REPOSITORY != PACKAGES:  # an installed wheel, which carries the topics in the kit's own folder
        command += ["--tmpfs", str(REPOSITORY)]
    command += ["--ro-bind", str(SYLLABUS), str(SYLLABUS)]
    fonts = _fonts()
    command += ["--ro-bind", str(runs), RUNS, "--tmpfs", PLOTS, "--ro-bind", str(fonts), f"{PLOTS}/{fonts.name}"]
    for name, value in inner_environment(PLOTS).items():
        command += ["--setenv", name, value]
    return [*command, "--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/"]


def _is_below(path: Path, folders: list[Path]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)


def _kit() -> Iterator[Path]:
    """What of the packages is seen inside: the kit and the inner part of the grader. (Of the repository, the syllabus.)"""
    yield PACKAGES / "workshop"
    yield PACKAGES / "grader" / "__init__.py"
    yield PACKAGES / "grader" / "inside"


def _withheld() -> Iterator[Path]:
    """Packages that would do a lab's task, which no lab is given."""
    for name in sorted({name for item in syllabus().topics for name in item.withheld}):
        spec = importlib.util.find_spec(name)
        for folder in (spec and spec.submodule_search_locations) or ():
            yield Path(folder)


def inner_environment(matplotlib: str) -> dict[str, str]:
    """The whole environment of a fork server for learners' code."""
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "HOME": "/tmp",
        "MPLCONFIGDIR": matplotlib,
        "PYTHONPATH": str(PACKAGES),
        "PYTHONHASHSEED": "0",  # two runs of the same work give the same
        "GX_ANALYTICS_ENABLED": "false",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        # Threads of a numerical library would not survive the fork.
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
    }


def _fonts() -> Path:
    """matplotlib's list of fonts, which takes a second or more to make: made once, by a process of our own."""
    folder = home() / "matplotlib"
    found = sorted(folder.glob("fontlist-*.json"))
    if not found:
        folder.mkdir(parents=True, exist_ok=True)
        env = {**os.environ, "MPLCONFIGDIR": str(folder)}
        subprocess.run(
            [sys.executable, "-c", "import matplotlib.font_manager"], env=env, capture_output=True, check=True
        )
        found = sorted(folder.glob("fontlist-*.json"))
    return found[-1]


class Starting(Protocol):
    """Something that takes a while to start."""

    def await_ready(self) -> None:
        """See ForkServer.await_ready."""

    def close(self) -> None:
        """Ends it."""


def until_started(make: Callable[[], Started]) -> Started:
    """What ``make`` makes, when it is ready; made again when it was killed while it started, which is nobody's fault. Raises
    what the last of STARTS tries raised."""
    left = STARTS
    while True:
        left -= 1
        made = make()
        try:
            made.await_ready()
        except BaseException as error:  # Ctrl-C too
            made.close()
            if not (left and isinstance(error, KilledAtStartError)):
                raise
        else:
            return made


def private(isolation: str, extra: tuple[str, ...] = ()) -> Sandbox:
    """A sandbox that is ready, and the caller's alone."""
    return until_started(lambda: Sandbox(isolation, extra))


# -- the sandboxes of this process -----------------------------------------------------------------------------------------

_open: dict[tuple[str, tuple[str, ...]], Sandbox] = {}
_guard = threading.Lock()


def shared(isolation: str, extra: tuple[str, ...] = ()) -> Sandbox:
    """This process's sandbox of that kind, started when it is first asked for and again when it has gone."""
    with _guard:
        found = _open.get((isolation, extra))
        if found is not None and not found.alive:
            found.close()
            found = None
        if found is None:
            _open.pop((isolation, extra), None)
            found = _open[isolation, extra] = private(isolation, extra)
        return found


def close_all() -> None:
    """Ends this process's sandboxes."""
    with _guard:
        while _open:
            _open.popitem()[1].close()
