"""Shared by all tests: a home of their own (worlds are built once for all workers), and helpers to grade notebooks."""

import os
import shutil
import sys
import tempfile
from pathlib import Path

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

from grader.cohort import notebook_with
from grader.grade import Graded, grade
from grader.limits import Limits
from workshop.topics import syllabus, topic

TOPICS = [t.id for t in syllabus().topics if t.exists]
SEED = bytes.fromhex("5eed5eed5eed5eed5eed5eed5eed5eed")


def pytest_unconfigure(config: pytest.Config) -> None:
    if _MADE:
        shutil.rmtree(_MADE, ignore_errors=True)


@pytest.fixture
def grade_cells(tmp_path: Path):
    """Grades the solution of 3.6 with cells put in: {position: source}, under limits that suit a test."""

    def run(extra: dict[int, str] | None = None, *, solved: bool = True, **limits: float) -> Graded:
        nb = notebook_with(topic("3.6"), {}, solved=solved)
        for at, source in sorted((extra or {}).items(), reverse=True):
            nb.cells.insert(at if at >= 0 else len(nb.cells), nbformat.v4.new_code_cell(source))
        path = tmp_path / "submission.ipynb"
        nbformat.write(nb, path)
        return grade(path, learner="test", seed=SEED, limits=Limits(**{"cell_s": 20.0, **limits}))

    return run
