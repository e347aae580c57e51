"""A folder of submissions, graded into a gradebook.

What is graded is planned first: names, digests, keys, no bytes. What the book knows is taken from there, equal work is
graded once, and the rest goes to an executor a little at a time, so that memory does not grow with the cohort. This
process alone writes the book: what is ready at one moment goes in as one transaction.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence, ValuesView
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from grader.certify import load_secret
from grader.collect import Collection, collect
from grader.course import load_course
from grader.files import write_whole
from grader.gradebook import Gradebook
from grader.job import Job, Outcome
from grader.pages import Pages, beside
from grader.plan import Planned, Planner, Say
from grader.progress import Meter, Signals
from grader.result import printable, refusal
from workshop.errors import UsageError

PER_WORKER = 2  # jobs in flight for each that runs: the next one is there when one ends
IN_FLIGHT_BYTES = 2**29  # of notebooks, beyond which no more are sent: one may be as large as is graded
AT_ONCE = 64  # results recorded in one transaction, at most
LOOK_S = 0.2  # how soon a wish to stop is seen

Run = Callable[..., Outcome]
_Keyed = tuple[str, Job]  # a job and its key, for which its notebook was hashed
_Done = tuple[str, Job, Outcome]


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
    plain = printable(text).replace("\n", "?")
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
    place = pages or beside(book)
    if any(submissions.resolve() in path.resolve().parents for path in (book, place)):
        raise UsageError(f"{book} and {place} must not be in {submissions}: they would be taken for submissions.")
    collection = collect(submissions, pattern)
    with Signals() as signals, Meter() as meter, Gradebook.open(book) as opened:
        planner = Planner(collection, isolation, rules, key)
        planned = planner.plan_all(collection, only, jobs or os.cpu_count() or 1, meter.say)
        work = _Work(opened, Pages(place, planned), planner, planned, signals, meter)
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
        pages: Pages,
        planner: Planner,
        planned: Sequence[Planned],
        signals: Signals,
        meter: Meter,
    ) -> None:
        self._book = book
        self._pages = pages
        self._planner = planner
        self._signals = signals
        self._meter = meter
        self._planned = planned
        self._by_key: dict[str, list[Planned]] = {}
        for p in planned:
            self._by_key.setdefault(p.key, []).append(p)
        self._regrade: Path | None = None
        self._from_book = self._graded = self._jobs = 0
        self.todo: list[Planned] = []

    def begin(self, regrade: bool) -> None:
        """Enters the submissions into the book and finds out what is left to do; writes pages that are missing."""
        self._book.add_submissions([p.row for p in self._planned])
        known = self._known(regrade)
        self.todo = [group[0] for key, group in self._by_key.items() if key not in known]
        for key in known:
            self._from_book += len(self._by_key[key])
            missing = [p for p in self._by_key[key] if not self._pages.are_there(p)]
            if missing:
                result = self._book.result(key)
                self._pages.write(missing, result, self._pages.executed(self._by_key[key]))
        self._meter.start(len(self._planned), self._from_book)

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
            write_whole(self._regrade, f"{since.isoformat()}\n")
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
            submissions=len(self._planned),
            graded=self._graded,
            from_book=self._from_book,
            left=len(self._planned) - self._graded - self._from_book,
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
        runner.share_cores(at_once)
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
