"""A folder of submissions, graded into a gradebook; and a sample cohort to try it on.

What is graded is planned first: names, digests, keys, no bytes. What the book knows is taken from there, equal work is
graded once, and the rest goes to an executor a little at a time, so that memory does not grow with the cohort. This
process alone writes the book: what is ready at one moment goes in as one transaction.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence, ValuesView
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from grader.certify import certified_pools, certified_seed, load_secret, seed_for
from grader.collect import Collection, Submission, collect, read, safe_name, topic_of
from grader.course import Course, load_course
from grader.findings import Finding, Refused
from grader.gradebook import Gradebook, HandedIn
from grader.job import Job, Outcome, sources_digest
from grader.limits import Limits
from grader.result import _write, refusal, write
from workshop.errors import UsageError, WorkshopError
from workshop.topics import Topic, syllabus, topic

# What makes notebooks is imported where it is needed: grading an unchanged cohort does without.
if TYPE_CHECKING:
    import nbformat

BREAKAGES = (
    "truncated",
    "empty",
    "not_a_notebook",
    "no_frame",
    "no_check",
    "duplicated",
    "reordered",
    "syntax_error",
    "other_lab",
    "colab",
)


KINDS_OF_WORK = ("solution", "broken", "right", "wrong", "broken", "mixed", "untouched", "broken")

PER_WORKER = 2  # jobs in flight for each that runs: the next one is there when one ends
IN_FLIGHT_BYTES = 2**29  # of notebooks, beyond which no more are sent: one may be as large as is graded
AT_ONCE = 64  # results recorded in one transaction, at most
LOOK_S = 0.2  # how soon a wish to stop is seen
PLAIN_EVERY_S = 5.0
MARK = ".job"  # in a submission's folder: the key of the job whose pages these are

Run = Callable[..., Outcome]
Say = Callable[[str], None]
_Keyed = tuple[str, Job]  # a job and its key, for which its notebook was hashed
_Done = tuple[str, Job, Outcome]


# -- what is to be graded ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Planned:
    """A submission and the job that grades it. ``topic``: empty where nobody can tell the lab."""

    submission: Submission
    topic: str
    notebook_sha256: str
    key: str


class _Planner:
    """Makes jobs of submissions. ``isolation``, ``course`` and ``secret`` are those of the whole run."""

    def __init__(self, collection: Collection, isolation: str, course: Course, secret: bytes) -> None:
        self._folder = collection.folder
        self._isolation = isolation
        self._course = course
        self._secret = secret
        self._limits = Limits()
        self._scale = syllabus().course["grading_scale"]
        self._seeds: dict[str, list[bytes]] = {}
        self._said: dict[str, str | Refused] = {}

    def plan_all(self, collection: Collection, only: Sequence[str], jobs: int, say: Say) -> list[Planned]:
        """All submissions (of the topics in ``only``, if any are named), planned. Certifies the seeds that they need."""
        named = [(s, s.topic or self._topic(s)) for s in collection.submissions if not only or s.topic in (None, *only)]
        wanted = [(s, name) for s, name in named if not only or name in only]
        topics = {name for _, name in wanted}
        self._certify([t for t in syllabus().topics if t.id in topics], jobs, say)
        return [self.plan(s)[0] for s, _ in wanted]

    def plan(self, submission: Submission) -> tuple[Planned, Job, Finding | None]:
        """A submission as it is now, its job and, where it is refused without being run, why."""
        data, name, found = b"", submission.topic or "", None
        try:
            data = read(self._folder, submission, self._limits)
            name = submission.topic or self._topic_said(data)
            if len(data) > self._limits.notebook_bytes:
                from grader import validate

                validate.read(data, self._limits, name)  # raises Refused: it is larger than what is read
        except Refused as refused:
            found = refused.finding
        sha = hashlib.sha256(data).hexdigest()
        if found is None:
            seed = self._seed(name, submission.learner, sha)
        else:  # it meets no world: the reason stands for the seed, so that another reason is another job
            seed = hashlib.sha256(f"refused/{found.code}".encode()).digest()[:16]
        judge = topic(name) if name else next(t for t in syllabus().topics if t.exists)
        job = Job(name, data, seed, self._scale, self._limits, self._isolation, sources_digest(judge))
        return Planned(submission, name, sha, job.key), job, found

    def _certify(self, items: Sequence[Topic], jobs: int = 1, say: Say = lambda _: None) -> None:
        rules = self._course.seeds
        n = 1 if rules.per == "course" else rules.pool
        about = {"secret": self._secret, "round": self._course.round, "scale": self._scale}
        self._seeds |= certified_pools(items, n, **about, jobs=jobs, say=say)

    def _seed(self, name: str, learner: str, sha: str) -> bytes:
        if name not in self._seeds:  # the file names another lab than a moment ago
            self._certify([topic(name)])
        return seed_for(self._seeds[name], self._secret, name, learner, sha, self._course.seeds.per)

    def _topic(self, submission: Submission) -> str:
        """The topic that a notebook names; empty where it names none."""
        with contextlib.suppress(Refused):
            return self._topic_said(read(self._folder, submission, self._limits))
        return ""

    def _topic_said(self, data: bytes) -> str:
        sha = hashlib.sha256(data).hexdigest()
        if sha not in self._said:
            try:
                self._said[sha] = topic_of(data, self._limits)
            except Refused as refused:
                self._said[sha] = refused
        said = self._said[sha]
        if isinstance(said, Refused):
            raise said
        return said


# -- the run -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Summary:
    """What came of a cohort. ``submissions`` = ``graded`` now + ``from_book`` + ``left``, what was not reached or changed in
    the meantime; ``refused`` and ``lost`` are among the first two. ``needs_human``: learner, topic and why, each."""

    submissions: int
    graded: int
    from_book: int
    left: int
    refused: int
    lost: int
    needs_human: tuple[tuple[str, str, str], ...]
    left_out: tuple[str, ...]
    jobs: int
    seconds: float
    book: Path
    pages: Path
    interrupted: bool

    def text(self) -> str:
        """The summary for a terminal."""
        rate = f", {60 * self.jobs / self.seconds:.0f} jobs a minute" if self.jobs else ""
        lines = [
            f"{_count(self.submissions, 'submission')}: {self.graded:,} graded now ({_count(self.jobs, 'job')}), "
            f"{self.from_book:,} taken from the book, {self.refused:,} refused, {self.lost:,} lost; "
            f"{self.seconds:.1f} s{rate}"
        ]
        if self.left_out:
            some = ", ".join(map(_shown, self.left_out[:3]))
            lines.append(
                f"left out, since the pattern does not fit: {len(self.left_out):,} ({some}{_more(self.left_out, 3)})"
            )
        if self.needs_human:
            some = "; ".join(f"{_shown(who)} {what} ({why})" for who, what, why in self.needs_human[:20])
            lines.append(f"needs a human: {some}{_more(self.needs_human, 20)}")
        lines.append(f"book: {self.book}   pages: {self.pages}")
        if self.interrupted:
            lines.append(
                "Stopped. What is finished is in the book; run the same command again and it goes on from there."
            )
        elif self.left:
            lines.append(f"{_count(self.left, 'file')} changed while they were graded. Run the same command again.")
        return "\n".join(lines)


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"


def _more(items: Sequence[Any], shown: int) -> str:
    return f" and {len(items) - shown:,} more" if len(items) > shown else ""


def _shown(text: str) -> str:
    """A stranger's text for a terminal: short, and nothing in it that a terminal obeys."""
    plain = "".join(c if c.isprintable() else "?" for c in text)
    return plain if len(plain) <= 60 else plain[:57] + "..."


def grade_cohort(
    submissions: Path,
    book: Path,
    *,
    jobs: int | None = None,
    dask: str | None = None,
    only: tuple[str, ...] = (),
    secret: Path | None = None,
    regrade: bool = False,
    pattern: str | None = None,
    course: Path | None = None,
    isolation: str = "sandbox",
    pages: Path | None = None,
    run: Run | None = None,
) -> Summary:
    """Grades a folder of submissions into a gradebook; a page for each goes into ``pages`` (default: beside the book).

    ``jobs``: how many run at once here (default: one for each core), ``dask``: address of a cluster that runs them instead;
    ``only``: topics, all if empty; ``secret``, ``course``: files, see load_secret() and load_course(); ``regrade``: grade also
    what the book knows; ``pattern``: see collect(); ``run``: what runs a job, by default grader.runner.run_job.

    On SIGINT or SIGTERM it ends what runs, records what is finished and says so in the summary; on a second one the process
    ends at once, with exit code 130. Raises UsageError for wrong parameters and WorkshopError for faults of the machine;
    what was recorded until then stays.
    """
    began = time.monotonic()
    if dask is not None:
        from grader.cluster import check_address

        check_address(dask)
    rules, key = load_course(course), load_secret(secret)
    place = pages or book.with_suffix(".pages")
    if any(submissions.resolve() in path.resolve().parents for path in (book, place)):
        raise UsageError(f"{book} and {place} must not be in {submissions}: they would be taken for submissions.")
    collection = collect(submissions, pattern)
    with _Signals() as signals, _Meter() as meter, Gradebook.open(book) as opened:
        planner = _Planner(collection, isolation, rules, key)
        planned = planner.plan_all(collection, only, jobs or os.cpu_count() or 1, meter.say)
        work = _Work(opened, _Pages(place, planned), planner, planned, signals, meter)
        work.begin(regrade)
        if work.todo:
            with _workers(jobs, dask, isolation, run, work.todo, meter.say) as workers:
                work.grade(workers)
        opened.settle(rules)
        return work.summary(collection, time.monotonic() - began)


class _Work:
    """The submissions of one run: what is known of them, what runs, what is recorded."""

    def __init__(
        self,
        book: Gradebook,
        pages: _Pages,
        planner: _Planner,
        planned: Sequence[Planned],
        signals: _Signals,
        meter: _Meter,
    ) -> None:
        self._book = book
        self._pages = pages
        self._planner = planner
        self._signals = signals
        self._meter = meter
        self._by_key: dict[str, list[Planned]] = {}
        for p in planned:
            self._by_key.setdefault(p.key, []).append(p)
        self._total = len(planned)
        self._regrade: Path | None = None
        self._from_book = self._graded = self._jobs = 0
        self.todo: list[Planned] = []

    def begin(self, regrade: bool) -> None:
        """Enters the submissions into the book and finds out what is left to do; writes pages that are missing."""
        everything = [p for group in self._by_key.values() for p in group]
        self._book.add_submissions(
            [
                HandedIn(s.learner, p.topic, s.path, p.notebook_sha256, s.submitted, p.key)
                for p in everything
                for s in (p.submission,)
            ]
        )
        known = self._known(regrade)
        self.todo = [group[0] for key, group in self._by_key.items() if key not in known]
        for key in known:
            self._from_book += len(self._by_key[key])
            missing = [p for p in self._by_key[key] if not self._pages.are_there(p)]
            if missing:
                result = json.loads(self._book.select("select result from runs where job_key = ?", key).value())
                self._pages.write(missing, result, self._pages.executed(self._by_key[key]))
        self._meter.start(self._total, self._from_book)

    def _known(self, regrade: bool) -> set[str]:
        """Keys that need not be graded: all that the book knows or, in a regrade, those graded since it was begun. A file
        beside the book says when that was, so that one that was stopped goes on."""
        if not regrade:
            return self._book.known(self._by_key)
        self._regrade = Path(f"{self._book.path}.regrade")
        now = datetime.now(UTC).replace(tzinfo=None)
        try:
            since = datetime.fromisoformat(self._regrade.read_text(encoding="utf-8").strip())
            self._meter.say(f"going on with the regrade begun at {since:%Y-%m-%d %H:%M} UTC")
        except (FileNotFoundError, ValueError):
            since = now
            _write(self._regrade, f"{since.isoformat()}\n")
        since_then = self._book.select("select job_key from runs where graded_at >= ?::timestamp", since)
        return set(since_then.column("job_key")) & self._by_key.keys()

    def grade(self, workers: _Workers) -> None:
        """Grades all that is to do, or until it is asked to stop."""
        running: dict[Future[Outcome], _Keyed] = {}
        todo = iter(self.todo)
        ready: list[_Done] = []
        more = True
        with self._signals.patience():
            while (more or running or ready) and not self._signals.stop:
                while more and len(ready) < AT_ONCE and _has_room(running.values(), workers):
                    planned = next(todo, None)
                    more = planned is not None
                    if planned is not None:
                        self._start(planned, workers, running, ready)
                self._keep(ready, workers)
                ready = []
                if running:
                    wait(running, timeout=LOOK_S, return_when=FIRST_COMPLETED)
                ready = self._finished(running, workers)
                self._meter.advance(0)
            for future in running:
                future.cancel()  # of those that have not begun
            self._keep([*ready, *self._finished(running, workers)], workers)

    def _start(
        self, planned: Planned, workers: _Workers, running: dict[Future[Outcome], _Keyed], ready: list[_Done]
    ) -> None:
        now, job, found = self._planner.plan(planned.submission)
        if now.key != planned.key:
            return  # it changed since it was planned; the summary says so
        if found is not None:
            refused = Outcome(refusal(now.topic or None, now.notebook_sha256, found), None, 0, 0.0)
            ready.append((now.key, job, refused))
        else:
            running[workers.submit(job, fresh=self._regrade is not None)] = (now.key, job)

    def _finished(self, running: dict[Future[Outcome], _Keyed], workers: _Workers) -> list[_Done]:
        """What has ended. Where the machine failed, what is finished is recorded before that is raised."""
        ready: list[_Done] = []
        fault: Exception | None = None
        for future in [f for f in running if f.done()]:
            key, job = running.pop(future)
            try:
                ready.append((key, job, future.result()))
            except Exception as error:
                fault = error
        if fault is None or self._signals.stop:  # a run that is stopped may fail in any way
            return ready
        self._keep(ready, workers)
        raise fault

    def _keep(self, ready: Sequence[_Done], workers: _Workers) -> None:
        """Writes the pages, then records: what is recorded has its pages, whenever this is killed."""
        if not ready:
            return
        for key, _, outcome in ready:
            self._pages.write(self._by_key[key], outcome.result, outcome.executed)
        self._book.record([(job, outcome) for _, job, outcome in ready], replace=self._regrade is not None)
        workers.recorded([key for key, _, _ in ready])
        self._jobs += len(ready)
        done = sum(len(self._by_key[key]) for key, _, _ in ready)
        self._graded += done
        self._meter.advance(done)

    def summary(self, collection: Collection, seconds: float) -> Summary:
        """What came of it all."""
        found = self._book.select(
            "select job_key, status, needs_a_human from runs where job_key in (select unnest(?::varchar[]))",
            list(self._by_key),
        )
        status = {key: (what, human) for key, what, human in found}
        each = [(p, *status[key]) for key, group in self._by_key.items() if key in status for p in group]
        stopped = self._signals.stop
        if self._regrade is not None and not stopped:
            self._regrade.unlink(missing_ok=True)
        return Summary(
            submissions=self._total,
            graded=self._graded,
            from_book=self._from_book,
            left=self._total - self._graded - self._from_book,
            refused=sum(what == "refused" for _, what, _ in each),
            lost=sum(what == "lost" for _, what, _ in each),
            needs_human=tuple(
                (p.submission.learner, p.topic or p.submission.path, what if what != "graded" else "a check broke")
                for p, what, human in each
                if human
            ),
            left_out=collection.left_out,
            jobs=self._jobs,
            seconds=seconds,
            book=self._book.path,
            pages=self._pages.folder,
            interrupted=stopped,
        )


# -- who does the work ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Workers:
    """Who runs jobs: an executor, the function that it is given, how many it runs at once, and whom to tell what is
    recorded."""

    executor: Executor
    run: Run | None
    count: Callable[[], int]
    recorded: Callable[[Sequence[str]], None]

    @property
    def width(self) -> int:
        """How many jobs run at once."""
        return self.count()

    def submit(self, job: Job, fresh: bool) -> Future[Outcome]:
        """Gives a job to the executor."""
        return self.executor.submit(self.run, job, fresh=fresh)


def _has_room(running: ValuesView[_Keyed], workers: _Workers) -> bool:
    """Whether one more job may be in flight."""
    return len(running) < PER_WORKER * workers.width and sum(len(job.notebook) for _, job in running) < IN_FLIGHT_BYTES


@contextlib.contextmanager
def _workers(
    jobs: int | None, dask: str | None, isolation: str, run: Run | None, todo: Sequence[Planned], say: Say
) -> Iterator[_Workers]:
    """The workers for what is to do. However it ends, nothing goes on running here afterwards."""
    if dask is not None:
        from grader.cluster import dask_executor

        cluster = dask_executor(dask, sorted({p.topic for p in todo} - {""}), say)
        try:
            yield _Workers(cluster, run, lambda: cluster.width, cluster.recorded)
        finally:
            cluster.shutdown(cancel_futures=True)
        return
    at_once = min(jobs or os.cpu_count() or 1, len(todo))
    if run is None:
        from grader import runner

        runner.prepare(isolation)
        run, recorded, close = runner.run_job, runner.done, runner.close
    else:
        recorded, close = _nobody, _nothing
    executor = ThreadPoolExecutor(at_once, thread_name_prefix="grade")
    try:
        yield _Workers(executor, run, lambda: at_once, recorded)
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
        close()


def _nobody(_: Sequence[str]) -> None:
    return None


def _nothing() -> None:
    return None


def grade_one(
    path: Path, *, seed: bytes | None = None, expected: str | None = None, isolation: str = "sandbox"
) -> Outcome:
    """Grades one notebook file that belongs to no cohort; ``seed``: 16 bytes, by default a certified one is drawn;
    ``expected``: the lab it should be of, by default the notebook says. Raises WorkshopError for what is wrong on this
    side, such as a file that cannot be opened."""
    limits = Limits()
    try:
        with open(path, "rb") as file:
            data = file.read(limits.notebook_bytes + 1)
    except FileNotFoundError:
        raise WorkshopError(f"There is no file {path}.") from None
    except OSError as error:
        raise WorkshopError(f"{path} cannot be read: {error.strerror}.") from None
    try:
        item = topic(expected or topic_of(data, limits))
    except Refused as refused:
        return Outcome(refusal(None, hashlib.sha256(data).hexdigest(), refused.finding), None, 0, 0.0)
    from grader import runner

    scale = syllabus().course["grading_scale"]
    job = Job(item.id, data, seed or certified_seed(item, scale), scale, limits, isolation, sources_digest(item))
    try:
        outcome = runner.run_job(job)
    finally:
        runner.close()
    runner.done([job.key])
    return outcome


# -- pages ---------------------------------------------------------------------------------------------------------------


class _Pages:
    """A folder for each submission: result.json, feedback.html, executed.ipynb."""

    def __init__(self, folder: Path, planned: Sequence[Planned]) -> None:
        self.folder = folder
        self._places: dict[Submission, Path] = {}
        taken: set[Path] = set()
        for p in sorted(planned, key=lambda p: p.submission.path):
            place = self._place(p)
            if place in taken:  # several files of one learner for one lab
                path = os.fsencode("/".join(p.submission.parts))
                place = place.with_name(f"{place.name}-{hashlib.sha256(path).hexdigest()[:8]}")
            taken.add(place)
            self._places[p.submission] = folder / place

    @staticmethod
    def _place(p: Planned) -> Path:
        learner = Path(safe_name(p.submission.learner))
        if not p.topic:
            return learner / "no_lab" / safe_name(p.submission.parts[-1].removesuffix(".ipynb"))
        item = topic(p.topic)
        place = learner / item.module / item.folder
        return place / safe_name(p.submission.attempt) if p.submission.attempt else place

    def are_there(self, p: Planned) -> bool:
        """Whether a submission's pages are those of its job, and whole."""
        try:
            return (self._places[p.submission] / MARK).read_text(encoding="utf-8") == p.key
        except OSError:
            return False

    def executed(self, group: Sequence[Planned]) -> str | None:
        """The executed notebook of equal work, if one of the group has it."""
        for p in group:
            with contextlib.suppress(OSError):
                if self.are_there(p):
                    return (self._places[p.submission] / "executed.ipynb").read_text(encoding="utf-8")
        return None

    def write(self, group: Sequence[Planned], result: dict[str, Any], executed: str | None) -> None:
        """Writes the pages of submissions that share a result, for each with its learner's name."""
        for p in group:
            place = self._places[p.submission]
            (place / MARK).unlink(missing_ok=True)
            write(result | {"learner": p.submission.learner}, executed, place)
            _write(place / MARK, p.key)


# -- progress, and being asked to stop -----------------------------------------------------------------------------------


class _Meter:
    """Progress on stderr: a bar where that is a terminal, else a line every few seconds."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True)
        self._bar: Any = None
        self._total = self._done = self._before = 0
        self._began = self._said = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def say(self, text: str) -> None:
        """A line of its own."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def start(self, total: int, done: int) -> None:
        """From here on it counts; ``done`` was done before."""
        self._total, self._done, self._before = total, done, done
        self._began = self._said = time.monotonic()
        if self._console.is_terminal and done < total:
            from rich.progress import BarColumn, Progress, TextColumn

            self._bar = Progress(BarColumn(), TextColumn("{task.description}"), console=self._console, transient=True)
            self._line = self._bar.add_task(self._text(), total=total, completed=done)
            self._bar.start()

    def advance(self, n: int) -> None:
        """n more are done."""
        self._done += n
        if self._bar is not None:
            self._bar.update(self._line, completed=self._done, description=self._text())
        elif time.monotonic() - self._said > PLAIN_EVERY_S:
            self._said = time.monotonic()
            self.say(self._text())

    def _text(self) -> str:
        seconds, done = time.monotonic() - self._began, self._done - self._before
        text = f"{self._done:,}/{self._total:,} done"
        if not done:
            return text
        left = timedelta(seconds=round(seconds / done * (self._total - self._done)))
        return f"{text}, {60 * done / seconds:,.0f} a minute, {left} left"


class _Signals:
    """SIGINT and SIGTERM: the first asks to stop, the second ends the process at once."""

    def __init__(self) -> None:
        self.stop = False
        self._patient = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {n: signal.signal(n, self._asked) for n in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextlib.contextmanager
    def patience(self) -> Iterator[None]:
        """While this lasts, whoever is asked to stop looks for it; else KeyboardInterrupt is raised."""
        self._patient = True
        try:
            yield
        finally:
            self._patient = False

    def _asked(self, *_: object) -> None:
        if self.stop:
            os._exit(130)
        self.stop = True
        if not self._patient:
            raise KeyboardInterrupt


# -- the sample ----------------------------------------------------------------------------------------------------------


def make_sample(out: Path, learners: int) -> int:
    """Writes a cohort made from the answer banks; the same each time. Returns the number of notebooks."""
    topics = [t for t in syllabus().topics if t.exists]
    rng = random.Random("sample cohort")
    breakages = itertools.cycle(BREAKAGES)
    written = 0
    for i in range(learners):
        kind = KINDS_OF_WORK[i % len(KINDS_OF_WORK)]
        for item in rng.sample(topics, k=min(len(topics), 2 if kind == "broken" else 1 + i % 2)):
            data = _work(item, kind, rng, topics, breakages)
            place = out / f"learner-{i + 1:02d}" / item.module / f"{item.folder}.ipynb"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
            written += 1
    return written


def notebook_with(item: Topic, replacements: dict[str, str], *, solved: bool = True) -> nbformat.NotebookNode:
    """The lab as a notebook, with the task cells named in ``replacements`` replaced."""
    import nbformat

    from workshop.authoring import compose, tags

    nb = nbformat.from_dict(compose(item, "solutions" if solved else "labs"))
    nb.metadata["kestrel"] = {"topic": item.id, "kind": "lab"}
    for cell in nb.cells:
        for t in tags(cell):
            if t.startswith("task-") and t[5:] in replacements:
                cell.source = replacements[t[5:]]
    return nb


def _work(item: Topic, kind: str, rng: random.Random, topics: list[Topic], breakages: Iterator[str]) -> bytes:
    import nbformat

    from grader.bank import answers

    if kind == "solution":
        # As a learner who has solved everything saves it: with outputs.
        nb = nbformat.read(item.notebook("solutions"), as_version=4)
        return nbformat.writes(nb).encode()
    bank = answers(item)
    replacements: dict[str, str] = {}
    for letter in [t.letter for t in item.tasks]:
        right = [a for a in bank if a.task == letter and a.right]
        wrong = [a for a in bank if a.task == letter and not a.right]
        if kind == "right":
            replacements[letter] = rng.choice(right).source
        elif kind == "wrong":
            replacements[letter] = rng.choice(wrong).source
        elif kind == "mixed":
            replacements[letter] = rng.choice(right + wrong).source
    nb = notebook_with(item, replacements, solved=kind != "untouched")
    if kind != "broken":
        return nbformat.writes(nb).encode()
    return break_notebook(nb, next(breakages), item, topics)


def break_notebook(nb: nbformat.NotebookNode, breakage: str, item: Topic, topics: list[Topic]) -> bytes:
    """The notebook, broken in one of the ways of BREAKAGES."""
    import nbformat

    from workshop.authoring import tags

    if breakage == "empty":
        return b""
    if breakage == "not_a_notebook":
        return b'{"some": "json"}'
    if breakage == "truncated":
        text = nbformat.writes(nb).encode()
        return text[: len(text) // 2]
    if breakage == "other_lab":
        other = next(t for t in topics if t.id != item.id)
        return nbformat.writes(notebook_with(other, {})).encode()
    if breakage == "no_frame":
        nb.cells = [c for c in nb.cells if not set(tags(c)) & {"parameters", "setup"}]
    elif breakage == "no_check":
        nb.cells = [c for c in nb.cells if not any(t.startswith("check-") for t in tags(c))]
    elif breakage == "duplicated":
        again = nbformat.from_dict(
            [dict(c) for c in nb.cells if any(t.startswith(("task-", "check-")) for t in tags(c))]
        )
        for c in again:
            c["id"] += "-copy"
        nb.cells += again
    elif breakage == "reordered":
        nb.cells.sort(key=lambda c: not any(t.startswith("check-") for t in tags(c)))
    elif breakage == "syntax_error":
        nb.cells.insert(3, nbformat.v4.new_code_cell("def broken(:\n    pass"))
    elif breakage == "colab":
        for c in nb.cells:
            c.metadata = {"id": c.pop("id"), "colab": {"base_uri": "x"}}
        nb.metadata = {"colab": {"provenance": []}, "kernelspec": {"name": "python3", "display_name": "Python 3"}}
        nb.nbformat_minor = 0
        return json.dumps(nb).encode()
    return nbformat.writes(nb).encode()
