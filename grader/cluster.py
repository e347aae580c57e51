"""The same jobs on other machines: an executor in front of a Dask cluster that outlives its workers and its scheduler.

A job goes as plain data to run() on a worker, which makes the world from the seed and grades. It goes to workers only that
have been asked and have the very sources that are here: another version would give other marks. What was under way when a
worker or the scheduler was lost is submitted again; whoever records results does so once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import ipaddress
import logging
import queue
import ssl
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, InvalidStateError
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from grader.findings import Finding
from grader.job import Job, Outcome, sources_digest
from grader.limits import Limits
from grader.result import refusal
from workshop.errors import UsageError, WorkshopError
from workshop.topics import topic

if TYPE_CHECKING:
    from distributed import Client

TICK_S = 0.5
JOINING_S = 5.0  # workers that are started together do not join together
RECORDED_EVERY_S = 10.0
TLS_HELP = (
    "Name the certificates in Dask's own configuration: distributed.comm.tls.ca-file, distributed.comm.tls.client.cert "
    "and distributed.comm.tls.client.key, in a file of ~/.config/dask or as environment variables such as "
    "DASK_DISTRIBUTED__COMM__TLS__CA_FILE."
)

Grade = Callable[..., Outcome]
Say = Callable[[str], None]


# -- on the worker -------------------------------------------------------------------------------------------------------


def version(topics: Sequence[str]) -> dict[str, str]:
    """What a machine has: the package's version and, by topic, the digest of what decides a result there."""
    from importlib.metadata import version as installed

    return {"package": installed("data-operations-workshop")} | {t: sources_digest(topic(t)) for t in topics}


def run(fields: Mapping[str, Any], grade: Grade | None, fresh: bool) -> dict[str, Any]:
    """Runs a job on a worker. ``grade``: what runs it, by default grader.runner.run_job. Returns plain data: the worker's
    address, and the outcome's fields or else what this worker has (another version), what is wrong with it (a fault), or
    which defect of the grader there was (broken)."""
    from distributed import get_worker

    job = Job(**{**fields, "limits": Limits(**fields["limits"])})
    said: dict[str, Any] = {"worker": get_worker().address}
    has = version([job.topic])
    if has[job.topic] != job.sources:
        return said | {"other_version": has}
    if grade is None:
        from grader.runner import run_job

        grade = run_job
    try:
        return said | {"outcome": asdict(grade(job, fresh=fresh))}
    except WorkshopError as error:
        return said | {"fault": str(error)}
    except Exception as error:  # raised, Dask would write the job with its seed into the worker's log
        return said | {"broken": f"{type(error).__name__}: {error}"}


def forget(keys: Sequence[str]) -> None:
    """Tells a worker that the outcomes of these jobs are recorded."""
    from grader.runner import done

    done(keys)


# -- here ----------------------------------------------------------------------------------------------------------------


def check_address(address: str) -> str:
    """The address with its scheme. Raises UsageError unless it is of this machine or uses TLS: a job carries the seed and a
    learner's work."""
    scheme, _, place = address.rpartition("://")
    scheme = scheme or "tcp"
    if scheme not in {"tcp", "tls"} or not place.rpartition(":")[2].isdigit():
        raise UsageError(
            f"{address!r} is no address of a Dask scheduler: it is tls://HOST:PORT or tcp://127.0.0.1:PORT."
        )
    if scheme == "tcp" and not _is_loopback(place):
        raise UsageError(
            f"{address} is another machine, and jobs carry seeds and learners' work: it must be reached by tls://. {TLS_HELP}"
        )
    return f"{scheme}://{place}"


def _is_loopback(place: str) -> bool:
    host = place.rpartition(":")[0].strip("[]")
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def dask_executor(address: str, topics: Sequence[str], say: Say = lambda _: None) -> ClusterExecutor:
    """An executor whose jobs run on the cluster at ``address``, on workers that have what this machine has for ``topics``.
    Those that have not are named with ``say`` and left out.

    Raises UsageError for an address that must not be used, WorkshopError when there is no scheduler or no worker is left.
    How long a scheduler or workers are waited for is Dask's own setting distributed.comm.timeouts.connect (30 s).
    """
    address = check_address(address)
    try:
        import distributed
    except ImportError:
        raise WorkshopError(
            'Dask is not installed here. Install it: python -m pip install "data-operations-workshop[cluster]"'
        ) from None
    for name in ("distributed", "distributed.client", "distributed.core", "distributed.comm", "tornado.application"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what is worth saying is said here, in one line
    # A job has its notebook in it.
    warnings.filterwarnings("ignore", message="Sending large graph", category=UserWarning)
    if address.startswith("tls://"):
        _check_tls(distributed.Security())
    return ClusterExecutor(address, topics, say)


def _check_tls(security: Any) -> None:
    try:
        ready = security.get_connection_args("client")["ssl_context"]
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"The certificates for tls:// cannot be used: {error}. {TLS_HELP}") from None
    if ready is None:
        raise UsageError(f"There are no certificates for tls://. {TLS_HELP}")


@dataclass
class _Task:
    """A job under way. ``inner``: Dask's future for it; ``where``: the workers to which it may go."""

    job: Job
    grade: Grade | None
    fresh: bool
    outer: Future[Outcome]
    inner: Future[dict[str, Any]] | None = None
    where: frozenset[str] = frozenset()


class ClusterExecutor(Executor):
    """Runs jobs on a Dask cluster: submit(grade, job, fresh=...) gives a future of the Outcome. ``grade`` None is the
    runner's own function. One thread of its own talks to the cluster."""

    def __init__(self, address: str, topics: Sequence[str], say: Say) -> None:
        from dask import config
        from dask.utils import parse_timedelta

        self.address = address
        self._topics = list(topics)
        self._say = say
        self._patience_s = parse_timedelta(config.get("distributed.comm.timeouts.connect"), "s")
        self._ours = version(self._topics)
        self._good: dict[str, int] = {}  # threads by worker; replaced, never changed, since another thread reads it
        self._bad: dict[str, str] = {}
        self._tasks: list[_Task] = []
        self._recorded: list[str] = []
        self._told = time.monotonic()
        self._events: queue.SimpleQueue[_Task | tuple[_Task, Future[dict[str, Any]]] | None] = queue.SimpleQueue()
        self._failed: Exception | None = None
        self._closing = threading.Event()
        self._lock = threading.Lock()  # of what more than one thread touches: _failed, _recorded
        self._idle_since = time.monotonic()
        self._client = self._connect()
        self._connection = self._client.scheduler_comm
        try:
            self._wait_for_workers()
        except BaseException:
            self._client.close()
            raise
        self._thread = threading.Thread(target=self._serve, name="kestrel-cluster", daemon=True)
        self._thread.start()

    @property
    def width(self) -> int:
        """How many jobs the cluster runs at once."""
        return max(1, sum(self._good.values()))

    def submit(self, grade: Grade | None, job: Job, /, *, fresh: bool = False) -> Future[Outcome]:
        """See Executor.submit. The future raises WorkshopError when the cluster is gone for good."""
        task = _Task(job, grade, fresh, Future())
        with self._lock:
            if self._failed is None:
                self._events.put(task)
            else:
                task.outer.set_exception(self._failed)
        return task.outer

    def recorded(self, keys: Iterable[str]) -> None:
        """Lets the workers forget outcomes that are recorded."""
        with self._lock:
            self._recorded += keys

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Leaves the cluster; what is under way there is given up."""
        self._closing.set()
        self._events.put(None)
        self._thread.join(self._patience_s)

    # -- the connection --------------------------------------------------------------------------------------------------

    def _connect(self) -> Client:
        from distributed import Client, Security

        try:
            return Client(
                self.address,
                timeout=self._patience_s,
                set_as_default=False,
                direct_to_workers=False,
                security=Security(require_encryption=self.address.startswith("tls://")),
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise WorkshopError(
                f"There is no Dask scheduler at {self.address}, or it does not answer ({_line(error)}). Start one with "
                "`dask scheduler --no-dashboard`, and workers with `dask worker ADDRESS --no-dashboard`."
            ) from None

    def _wait_for_workers(self) -> None:
        """Finds the workers there are. Raises WorkshopError when there are none in time, or none that may be used."""
        began = time.monotonic()
        while not self._good and time.monotonic() - began < self._patience_s:
            self._look()
            if self._bad and not self._good and time.monotonic() - began > min(JOINING_S, self._patience_s / 2):
                raise WorkshopError(f"No worker of {self.address} can be used: {next(iter(self._bad.values()))}")
            time.sleep(0 if self._good else TICK_S)
        if not self._good:
            raise WorkshopError(
                f"No worker has joined the Dask scheduler at {self.address}. Start some, then run this again."
            )

    # -- the thread ------------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        looked = time.monotonic()
        try:
            while True:
                with contextlib.suppress(queue.Empty):
                    event = self._events.get(timeout=TICK_S)
                    if event is None:
                        return
                    self._handle(event)
                if time.monotonic() - looked > TICK_S:
                    self._tend()
                    looked = time.monotonic()
        except Exception as error:  # nobody is above this thread: whoever waits for a job is told
            self._fail(error)
        finally:
            self._leave()

    def _handle(self, event: _Task | tuple[_Task, Future[dict[str, Any]]]) -> None:
        if isinstance(event, _Task):
            self._tasks.append(event)
            self._send(event)
        elif event[0].inner is event[1]:  # else it was sent again since
            self._take(*event)

    def _send(self, task: _Task) -> None:
        """Gives a task to the cluster. Where that cannot be done now, the next look at the cluster does it."""
        task.inner, task.where = None, frozenset(self._good)
        if not task.where or self._is_cut_off:
            return
        fields = {f.name: getattr(task.job, f.name) for f in dataclasses.fields(Job)}
        fields["limits"] = asdict(task.job.limits)
        # Each try has a key of its own (pure=False), or Dask would take it for the one that was lost.
        executor = self._client.get_executor(workers=sorted(task.where), pure=False)
        with self._losing_the_scheduler():
            inner = executor.submit(run, fields, task.grade, task.fresh)
            task.inner = inner
            inner.add_done_callback(lambda f: self._events.put((task, f)))

    @contextlib.contextmanager
    def _losing_the_scheduler(self) -> Iterator[None]:
        """Whatever Dask raises when the scheduler goes in the middle of a call is of no interest: the next look sees it."""
        try:
            yield
        except OSError:
            pass
        except Exception:
            if not self._is_cut_off:
                raise

    def _take(self, task: _Task, inner: Future[dict[str, Any]]) -> None:
        """What came of a task: an outcome, or a reason to send it again."""
        from distributed import KilledWorker

        if inner.cancelled():
            task.inner = None
            return
        error = inner.exception()
        if isinstance(error, KilledWorker):
            self._finish(task, _lost(task.job))
        elif isinstance(error, OSError):
            task.inner = None
        elif error is not None:  # run() itself raises nothing
            raise WorkshopError(
                f"The cluster at {self.address} cannot take jobs ({_line(error)}). Its scheduler and its workers need the "
                "workshop and Dask as they are installed here."
            )
        else:
            self._read(task, inner.result())

    def _read(self, task: _Task, said: dict[str, Any]) -> None:
        worker = said["worker"]
        if "outcome" in said:
            self._finish(task, Outcome(**said["outcome"]))
            return
        if "broken" in said:
            raise WorkshopError(f"The grader broke on worker {worker} ({said['broken']}). That is a defect; report it.")
        why = f"worker {worker}: {said['fault']}" if "fault" in said else self._differs(worker, said["other_version"])
        self._leave_out(worker, why)
        self._send(task)

    def _finish(self, task: _Task, outcome: Outcome) -> None:
        self._tasks.remove(task)
        with contextlib.suppress(InvalidStateError):  # nobody waits any more
            task.outer.set_result(outcome)

    @property
    def _is_cut_off(self) -> bool:
        return self._client.status != "running" or self._client.scheduler_comm is not self._connection

    def _tend(self) -> None:
        """Looks after the connection, the workers, and tasks that nobody works on. Raises WorkshopError when the cluster is
        gone for good."""
        if self._is_cut_off:
            self._reconnect()
        if self._closing.is_set():
            return
        with self._losing_the_scheduler():
            self._look()
            if time.monotonic() - self._told > RECORDED_EVERY_S:
                self._tell_recorded()
        if self._good:
            self._idle_since = time.monotonic()
        elif time.monotonic() - self._idle_since > self._patience_s:
            why = f" ({'; '.join(self._bad.values())})" if self._bad else ""
            raise WorkshopError(f"No worker of {self.address} is left{why}. {_HOW_TO_GO_ON}")
        for task in list(self._tasks):
            if task.inner is None or not (task.where & self._good.keys()):
                stale, task.inner = task.inner, None
                if stale is not None:
                    stale.cancel()
                self._send(task)

    def _reconnect(self) -> None:
        """Waits until Dask has found the scheduler again, and gives up every task that was under way."""
        until = time.monotonic() + self._patience_s
        self._say(f"the Dask scheduler at {self.address} is gone; waiting for it")
        while self._client.status == "connecting" and time.monotonic() < until and not self._closing.wait(TICK_S):
            pass
        if self._closing.is_set():
            return
        if self._client.status != "running":
            raise WorkshopError(
                f"The Dask scheduler at {self.address} has been gone for {self._patience_s:.0f} s. {_HOW_TO_GO_ON}"
            )
        self._connection = self._client.scheduler_comm
        self._good = {}
        self._idle_since = time.monotonic()
        for task in self._tasks:
            task.inner = None

    def _look(self) -> None:
        """Finds out which workers there are; those not seen before are asked what they have."""
        there = dict(self._client.nthreads())
        self._good = {w: n for w, n in self._good.items() if w in there}
        self._bad = {w: why for w, why in self._bad.items() if w in there}
        fresh = [w for w in there if w not in self._good and w not in self._bad]
        for worker in fresh:
            if not worker.startswith("tls://") and not _is_loopback(worker.rpartition("://")[2]):
                self._leave_out(worker, f"worker {worker} is another machine and does not use TLS")
        asked = [w for w in fresh if w not in self._bad]
        answers = self._client.run(version, self._topics, workers=asked, on_error="return") if asked else {}
        for worker, has in answers.items():
            if isinstance(has, OSError):
                continue  # it left before it could answer
            if has == self._ours:
                self._good = {**self._good, worker: there[worker]}
            elif isinstance(has, dict):
                self._leave_out(worker, self._differs(worker, has))
            else:
                self._leave_out(worker, f"worker {worker} lacks the workshop or has it broken ({_line(has)})")

    def _differs(self, worker: str, has: Mapping[str, str]) -> str:
        where = next((t for t in self._topics if has.get(t) != self._ours[t]), None)
        theirs, ours = (f"{v['package']}, sources {v.get(where, 'the same')}" for v in (has, self._ours))
        return f"worker {worker} has another version of the workshop: {theirs}; here it is {ours}"

    def _leave_out(self, worker: str, why: str) -> None:
        self._good = {w: n for w, n in self._good.items() if w != worker}
        if worker not in self._bad:
            self._bad[worker] = why
            self._say(f"left out: {why}")

    def _tell_recorded(self) -> None:
        with self._lock:
            keys, self._recorded = self._recorded, []
        self._told = time.monotonic()
        if keys and self._good:
            self._client.run(forget, keys, workers=sorted(self._good), on_error="ignore")

    def _fail(self, error: Exception) -> None:
        """Tells everybody who waits for a job, now and from now on."""
        with self._lock:
            self._failed = error
        with contextlib.suppress(queue.Empty):
            while True:
                event = self._events.get_nowait()
                if isinstance(event, _Task):
                    self._tasks.append(event)
        for task in self._tasks:
            with contextlib.suppress(InvalidStateError):
                task.outer.set_exception(error)
        self._tasks = []

    def _leave(self) -> None:
        for task in self._tasks:
            if task.inner is not None:
                task.inner.cancel()
            task.outer.cancel()
        with contextlib.suppress(Exception):  # the cluster may be gone
            if not self._is_cut_off:
                self._tell_recorded()
        with contextlib.suppress(Exception):
            self._client.close(timeout=TICK_S)


_HOW_TO_GO_ON = (
    "Finished results are in the book: mend the cluster and run the same command again, it goes on from there."
)


def _lost(job: Job) -> Outcome:
    """The outcome of a job under which worker after worker died."""
    finding = Finding("lost", "Each machine that graded this died of it. A human has to look.", "fatal")
    return Outcome(refusal(job.topic, hashlib.sha256(job.notebook).hexdigest(), finding), None, 3, 0.0)


def _line(error: object) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
