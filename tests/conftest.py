"""Shared by all tests: a home of their own (worlds are built once for all workers), and helpers to grade notebooks."""

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

# Set before the workers start, so that they share it; removed by the process that made it.
if "KESTREL_TEST_HOME" not in os.environ:
    os.environ["KESTREL_TEST_HOME"] = tempfile.mkdtemp(prefix="kestrel-test-")
    _MADE = os.environ["KESTREL_TEST_HOME"]
else:
    _MADE = None
os.environ["KESTREL_HOME"] = os.environ["KESTREL_TEST_HOME"]
sys.modules.setdefault("rfc3987_syntax", None)

import nbformat

from grader import runner
from grader.job import Job, sources_digest
from grader.limits import Limits
from grader.sample import notebook_with
from grader.sandbox import SANDBOX
from workshop import trusted
from workshop.agent import Agent
from workshop.lab import Connections
from workshop.topics import load_checks, syllabus, topic
from workshop.world import ensure_world, opaque_name

TOPICS = [t.id for t in syllabus().topics if t.exists]
SEED = bytes.fromhex("5eed5eed5eed5eed5eed5eed5eed5eed")


@contextlib.contextmanager
def lab_in_process(topic_id: str, seed: bytes, names: dict[str, Any] | None = None) -> Iterator[trusted.Lab]:
    """The trusted side of a lab at grading scale, for a learner in this process who has written ``names``."""
    item = topic(topic_id)
    subjects = load_checks(item).subjects
    files = ensure_world(opaque_name(seed), seed, syllabus().course["grading_scale"], subjects)
    connections = Connections({files.name: files})
    carrier = trusted.InProcess(Agent(names or {}, connections), connections.offered)
    lab = trusted.Lab(item.id, trusted.World(files), seed, carrier, subjects)
    try:
        yield lab
    finally:
        lab.close()
        connections.close()


class Marked:
    """A result as tests like to read it: its parts as attributes, the checks of all tasks in one list."""

    def __init__(self, outcome: Any) -> None:
        self.outcome = outcome
        self.result = outcome.result
        self.points = self.result["points"]
        self.world = self.result["world"]
        self.gradable = self.result["gradable"]
        self.findings = [SimpleNamespace(**f) for f in self.result["findings"]]
        self.codes = {f.code for f in self.findings}
        self.results = [SimpleNamespace(task=t["task"], **c) for t in self.result["tasks"] for c in t["checks"]]
        self.notebook = nbformat.reads(outcome.executed, as_version=4) if outcome.executed else None

    @property
    def printed(self) -> str:
        """All that the executed notebook's cells printed."""
        outputs = [o for c in self.notebook.cells for o in c.get("outputs", [])]
        return "".join(o.get("text", "") or str(o.get("data", {}).get("text/plain", "")) for o in outputs)


def grade_bytes(
    data: bytes, topic_id: str = "3.6", *, isolation: str = SANDBOX, seed: bytes = SEED, **limits: float
) -> Marked:
    """Grades a notebook as the cohort does, in processes of its own."""
    scale = syllabus().course["grading_scale"]
    job = Job(topic_id, data, seed, scale, Limits(**limits), isolation, sources_digest(topic(topic_id)))
    return Marked(runner.run_job(job, fresh=True))


def lab_bytes(extra: dict[int, str] | None = None, topic_id: str = "3.6", *, solved: bool = True) -> bytes:
    """A lab with cells put in: {position: source}; -1 is the end."""
    nb = notebook_with(topic(topic_id), {}, solved=solved)
    for at, source in sorted((extra or {}).items(), reverse=True):
        nb.cells.insert(at if at >= 0 else len(nb.cells), nbformat.v4.new_code_cell(source))
    return nbformat.writes(nb).encode()


def pytest_unconfigure(config: pytest.Config) -> None:
    runner.close()
    if _MADE:
        shutil.rmtree(_MADE, ignore_errors=True)


def grade_cells(extra: dict[int, str] | None = None, *, solved: bool = True, **options: Any) -> Marked:
    """Grades the solution of 3.6 with cells put in, under limits that suit a test."""
    return grade_bytes(lab_bytes(extra, solved=solved), **{"cell_s": 20.0, **options})
