"""What is to be graded: submissions and the jobs that grade them, planned before the first one runs (names, digests, keys, no
bytes)."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from grader.certify import certified_pools, seed_for
from grader.collect import Collection, Submission, read, topic_of
from grader.course import Course
from grader.findings import Finding, Refused
from grader.gradebook import HandedIn
from grader.job import Job, sources_digest
from grader.limits import Limits
from workshop.topics import Topic, syllabus, topic

Say = Callable[[str], None]


@dataclass(frozen=True)
class Planned:
    """A submission and the job that grades it. ``topic``: empty where nobody can tell the lab."""

    submission: Submission
    topic: str
    notebook_sha256: str
    key: str

    @property
    def row(self) -> HandedIn:
        """As it goes into the book."""
        s = self.submission
        return HandedIn(s.learner, self.topic, s.path, self.notebook_sha256, s.submitted, self.key)


class Planner:
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
