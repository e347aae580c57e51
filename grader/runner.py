"""Runs a job in a process of its own, and tries again when that process is lost.

A process that has imported the grader (the stable) forks one for each job; kernels and judges come from the sandbox. What
breaks a job's process breaks nobody else's. A finished outcome is kept in a spool until it is recorded, so that a crash of
whoever waits for it loses nothing.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import resource
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from grader import sandbox
from grader.files import write_whole
from grader.findings import Finding
from grader.forked import Forked, ServerGone
from grader.job import Job, Outcome
from grader.limits import Limits
from grader.sandbox import ENDS_S, KILLED, ForkServer, Sandbox, Warm
from workshop.errors import WorkshopError
from workshop.paths import PACKAGES, home
from workshop.topics import imports_of, topic

TRIES = 3
DOUBTS = 5
KILLS = 10
MEMORY_BYTES = 4 * 1024**3
SPOOL_DAYS = 7
FAULT = 3  # exit code: something is wrong on this side, and said in the outcome file
NO_SERVER = 4  # exit code: there was no kernel to be had
SERVER_KILLED = 6  # the same, and what was to make it ended by SIGKILL
UNTOLD = 70  # exit code: Forked could not tell, or the process broke before it began
DOUBT = 5  # exit code: graded, but a kernel or a judge ended by itself
PRELOAD = ("grader.stable",)
KINDS = {"grade": "grader.runner:child"}


def run_job(job: Job, *, fresh: bool = False) -> Outcome:
    """Grades a job and returns its outcome; safe to be called from many threads.

    Never raises for what a submission can cause: one whose process is lost three times ends as lost. Where a kernel ended by
    itself, which a submission can do, and an accident too, the job is run until two runs agree. ``fresh``: an outcome in the
    spool does not count. Raises WorkshopError for what is wrong with this machine.
    """
    life = _lives[0]
    file = _spool() / f"{job.key}.json"
    if fresh:
        file.unlink(missing_ok=True)
    elif (kept := _read(file)) is not None:
        return kept
    with _Tries(job, file) as tries:
        while (outcome := tries.next()) is None:
            if _lives[0] != life:
                raise WorkshopError("Grading was stopped.")
    return outcome


class _Tries:
    """The tries at one job: what each came to, and when it is enough."""

    def __init__(self, job: Job, file: Path) -> None:
        self._job = job
        self._file = file
        self._counts = dict.fromkeys(("begun", "lost", "killed", "gone"), 0)
        self._doubtful: list[Outcome] = []
        self._private: Sandbox | None = None

    def __enter__(self) -> _Tries:
        return self

    def __exit__(self, *_: object) -> None:
        if self._private is not None:
            self._private.close()

    def next(self) -> Outcome | None:
        """Tries once more; the outcome when there is one."""
        counts = self._counts
        counts["begun"] += 1
        began, memory_ended = time.monotonic(), _memory_ended()
        code = _run_once(self._job, self._file, self._private)
        seconds = time.monotonic() - began
        # A run cannot kill what is outside its walls, unless by using up the machine's memory.
        outside = code in (-signal.SIGKILL, SERVER_KILLED) and _memory_ended() == memory_ended
        if code == FAULT:
            raise WorkshopError(_read_fault(self._file))
        if code in (NO_SERVER, SERVER_KILLED):
            self._server_gone(outside)
        elif code in (0, DOUBT) and (found := _read(self._file if code == 0 else _doubt(self._file))) is not None:
            outcome = replace(found, tries=counts["begun"], seconds=seconds)
            if code == 0 or self._agreed(outcome):
                return outcome
        else:
            counts["killed" if outside else "lost"] += 1
        if counts["lost"] >= TRIES or counts["killed"] >= KILLS:
            return self._keep(Outcome(_lost(self._job, code, counts["begun"]), None, counts["begun"], seconds))
        return None

    def _server_gone(self, killed: bool) -> None:
        """The sandbox or the stable went, perhaps with another's run. Once may be chance; after that the job is tried in a
        sandbox of its own, and what ends that counts."""
        self._counts["gone"] += 1
        self._counts["killed"] += killed
        if self._private is not None:
            self._counts["lost"] += not killed
            self._private.close()
            self._private = None
        if self._counts["gone"] > 1:
            self._private = sandbox.private(self._job.isolation, _extra(self._job))

    def _agreed(self, outcome: Outcome) -> bool:
        _doubt(self._file).unlink(missing_ok=True)
        if len(self._doubtful) + 1 >= DOUBTS or any(d.result == outcome.result for d in self._doubtful):
            self._keep(outcome)
            return True
        self._doubtful.append(outcome)
        return False

    def _keep(self, outcome: Outcome) -> Outcome:
        _write(self._file, asdict(outcome))
        return outcome


def done(keys: Iterable[str]) -> None:
    """These outcomes are recorded: they need not be kept any longer. What is older than a week goes too."""
    folder = _spool()
    for key in keys:
        (folder / f"{key}.json").unlink(missing_ok=True)
    _forget_old(folder)


def close() -> None:
    """Ends this process's stable and sandboxes, and all that runs in them."""
    with _guard:
        _lives[0] += 1
        if _stable:
            _stable.pop().close()
    sandbox.close_all()


# -- the stable --------------------------------------------------------------------------------------------------------------


class Stable:
    """The process that has imported the grader and forks one for each job. It holds no secret; a job's comes with the job.
    ``kinds``: what its forks may be asked for (see grader.inside.forks)."""

    def __init__(self, kinds: Mapping[str, str] = KINDS) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="kestrel-")
        self.address = str(Path(self._folder.name) / "jobs")
        path = os.pathsep.join([str(PACKAGES), *filter(None, [os.environ.get("PYTHONPATH")])])
        env = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "TZ": "UTC", "PYTHONPATH": path}
        env.pop("PYTHONDONTWRITEBYTECODE", None)
        self.server = ForkServer(Path(self.address), [], env, PRELOAD, dict(kinds), False)

    def await_ready(self) -> None:
        """See ForkServer.await_ready."""
        self.server.await_ready()

    def close(self) -> None:
        """Ends it and all running jobs."""
        self.server.close()
        self._folder.cleanup()


_stable: list[Stable] = []
_lives = [0]  # how often all was closed: what was begun before is not to start it again
_guard = threading.Lock()


def _ready_stable() -> Stable:
    with _guard:
        if _stable and not _stable[0].server.alive:
            _stable.pop().close()
        if not _stable:
            try:
                _stable.append(sandbox.until_started(Stable))
            except WorkshopError as error:
                raise WorkshopError(f"The grader's own processes could not be started: {error}") from None
        return _stable[0]


class _Cores:
    """Which core a job has. Grader, kernel and judge take turns by the thousand: a turn that passes within a core wakes no
    other one, which is a good part of what a turn costs. Only where there are jobs for all cores."""

    def __init__(self) -> None:
        self._jobs: dict[int, int] = {}
        self._guard = threading.Lock()

    def share(self, at_once: int) -> None:
        """So many jobs will run at once."""
        cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ()
        with self._guard:
            self._jobs = dict.fromkeys(cores, 0) if at_once >= len(cores) else {}

    @contextlib.contextmanager
    def one(self) -> Iterator[list[int] | None]:
        """The core with the fewest jobs; None: wherever there is room."""
        with self._guard:
            jobs = self._jobs
            core = min(jobs, key=jobs.__getitem__, default=None)
            if core is not None:
                jobs[core] += 1
        try:
            yield None if core is None else [core]
        finally:
            if core is not None:
                with self._guard:
                    jobs[core] -= 1


_cores = _Cores()
share_cores = _cores.share


def prepare(isolation: str) -> None:
    """Starts stable and sandbox side by side, so that the first job does not wait for one after the other. Raises
    WorkshopError where they cannot be started."""
    failures: list[WorkshopError] = []

    def start() -> None:
        try:
            _ready_stable()
        except WorkshopError as error:
            failures.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    try:
        sandbox.shared(isolation)
    finally:
        thread.join()
    if failures:
        raise failures[0]


def _extra(job: Job) -> tuple[str, ...]:
    """What the job's lab imports beyond what every lab does, such as Great Expectations."""
    return imports_of(topic(job.topic)) if job.topic else ()


def _run_once(job: Job, file: Path, private: Sandbox | None) -> int:
    """One try; the exit code of the job's process (negative: the signal that ended it)."""
    stable = _ready_stable()
    box = private or sandbox.shared(job.isolation, _extra(job))
    with tempfile.TemporaryFile() as given:
        fields = asdict(job)
        fields["notebook"] = base64.b64encode(job.notebook).decode()
        fields["seed"] = job.seed.hex()
        given.write(json.dumps({"job": fields, "warm": box.warm.plain(), "out": str(file)}).encode())
        given.flush()
        given.seek(0)
        with _cores.one() as core:
            try:
                process = Forked(stable.address, {"kind": "grade", "cores": core}, [given.fileno()])
                code = _wait_for(process, 4 * job.limits.notebook_s + 300)
            except ServerGone:
                code = NO_SERVER
    if code in (NO_SERVER, UNTOLD):
        ended = _ended(stable.server, box.server)
        if ended or code == NO_SERVER:
            return SERVER_KILLED if ended and all(c in KILLED for c in ended) else NO_SERVER
    return code


def _wait_for(process: Forked, limit_s: float) -> int:
    try:
        code = process.wait(limit_s)
        if code is None:
            process.kill()
            return -signal.SIGALRM
        return code
    finally:
        process.close()


def _ended(*servers: ForkServer) -> list[int]:
    """Exit codes of those that have ended; that one has can be known a moment after its connections are closed."""
    until = time.monotonic() + ENDS_S
    while not (ended := [s.process.poll() for s in servers if not s.alive]) and time.monotonic() < until:
        time.sleep(0.02)
    return ended


def _memory_ended() -> int:
    """How many processes of this machine were ended because memory had run out; 0 where the system does not say."""
    with contextlib.suppress(OSError), open("/proc/vmstat", encoding="ascii") as told:
        for line in told:
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


def child(request: dict[str, Any], fds: list[int]) -> None:
    """The job's process: grades, writes the outcome, ends."""
    from grader.grade import grade
    from grader.result import executed_text, to_json

    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with os.fdopen(fds[0], "rb") as given:
        plain = json.load(given)
    fields = plain["job"]
    job = Job(
        **{
            **fields,
            "notebook": base64.b64decode(fields["notebook"]),
            "seed": bytes.fromhex(fields["seed"]),
            "limits": Limits(**fields["limits"]),
        }
    )
    file = Path(plain["out"])
    began = time.monotonic()
    try:
        graded = grade(job, Warm(**plain["warm"]))
    except ServerGone:
        sys.exit(NO_SERVER)
    except WorkshopError as error:
        _write(file.with_suffix(".fault"), {"fault": str(error)})
        sys.exit(FAULT)
    outcome = Outcome(to_json(graded), executed_text(graded), 1, time.monotonic() - began)
    _write(_doubt(file) if graded.died else file, asdict(outcome))
    sys.exit(DOUBT if graded.died else 0)


# -- the spool -----------------------------------------------------------------------------------------------------------------


def _spool() -> Path:
    folder = home() / "spool"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def _read(file: Path) -> Outcome | None:
    try:
        return Outcome(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _doubt(file: Path) -> Path:
    return file.with_suffix(".doubt")


def _read_fault(file: Path) -> str:
    fault = file.with_suffix(".fault")
    try:
        return str(json.loads(fault.read_text(encoding="utf-8"))["fault"])
    except (OSError, ValueError, KeyError):
        return "The grader's process ended without saying why."
    finally:
        fault.unlink(missing_ok=True)


def _write(file: Path, plain: dict[str, Any]) -> None:
    write_whole(file, json.dumps(plain), private=True)


def _forget_old(folder: Path) -> None:
    limit = time.time() - SPOOL_DAYS * 86400
    for file in folder.iterdir():
        with contextlib.suppress(OSError):
            if file.stat().st_mtime < limit:
                file.unlink()


def _lost(job: Job, code: int, tries: int) -> dict[str, Any]:
    """The result of a job whose process was lost too often."""
    from grader.result import refusal

    why = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
    text = (
        f"This could not be graded: the process that graded it {why}, the last time of {tries}. It may have sent more "
        "than can be taken, or found a defect of the grader; a human should look."
    )
    return refusal(job.topic or None, hashlib.sha256(job.notebook).hexdigest(), Finding("lost", text, "fatal"))
