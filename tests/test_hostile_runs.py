"""A kernel that misbehaves costs its own task at most; the others keep their marks."""

import json
from pathlib import Path

import pytest
from conftest import SEED, grade_cells

from workshop.checks import PASSED

FULL = 10


def test_solution_has_full_points_and_a_result_by_the_schema(tmp_path: Path) -> None:
    import jsonschema

    import grader
    from grader.result import write

    graded = grade_cells()
    assert graded.points == FULL, [r.message for r in graded.results]
    result = graded.result | {"learner": "ada"}
    write(result, graded.outcome.executed, tmp_path / "out")
    schema = json.loads((Path(grader.__file__).parent / "result.schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(result)
    assert json.loads((tmp_path / "out" / "result.json").read_text()) == result
    assert (tmp_path / "out" / "executed.ipynb").exists()
    page = (tmp_path / "out" / "feedback.html").read_text()
    assert "Content-Security-Policy" in page
    assert SEED.hex() not in json.dumps(result) + page


def test_untouched_lab_has_no_points_and_no_errors() -> None:
    graded = grade_cells(solved=False)
    assert graded.points == 0
    assert {r.outcome for r in graded.results} == {"not attempted"}
    assert not {"cell_failed", "kernel_died"} & graded.codes


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("def broken(:\n    pass", "cell_failed"),
        ("1 / 0", "cell_failed"),
        ("while True: pass", "cell_stopped"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "kernel_died"),
        ("import os\nos._exit(0)", "kernel_died"),
        ("import sys\nsys.exit(3)", "cell_failed"),
        ("exit()", None),
        ("x = input('name? ')", "cell_failed"),
        (
            "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: time.sleep(1)",
            "cell_stopped",
        ),
        ("for i in range(1000): print('x' * 100_000)", "cell_stopped"),
        ("blob = [bytearray(10**8) for _ in range(100)]", "cell_failed"),
    ],
)
def test_a_bad_cell_costs_nothing_else(source: str, code: str | None) -> None:
    graded = grade_cells({3: source}, cell_s=3.0)
    assert graded.points == FULL, [(r.check, r.outcome, r.message) for r in graded.results if r.outcome != PASSED]
    assert code is None or code in graded.codes


def test_a_world_that_was_written_over_costs_nothing() -> None:
    graded = grade_cells({2: 'WORLD, SCALE = "practice-7", 0.05'})
    assert graded.points == FULL
    assert "cell_failed" not in graded.codes
    assert f"graded on {graded.world}" in graded.printed


def test_a_kernel_that_always_dies_is_given_up_with_a_word() -> None:
    poison = "import os, threading\nthreading.Timer(0.3, lambda: os._exit(1)).start()\nimport time; time.sleep(1)"
    graded = grade_cells(dict.fromkeys((0, 2, 3, 4, 5, 6), poison))
    assert "gave_up" in graded.codes
    assert graded.points < FULL


def test_learner_code_that_kills_the_kernel_in_a_check_loses_that_task_alone() -> None:
    """The last task's function is replaced by one that ends the process; the first task keeps its points."""
    from workshop.authoring import compose, tags
    from workshop.topics import topic

    item = topic("3.6")
    cells = compose(item, "solutions").cells
    last = item.tasks[-1].letter
    at = next(i for i, c in enumerate(cells) if f"task-{last}" in tags(c))
    name = next(line.split("(")[0][4:] for line in cells[at].source.splitlines() if line.startswith("def "))
    graded = grade_cells({at + 1: f"def {name}(*args, **kwargs):\n    import os\n    os._exit(1)"})
    assert all(r.points == r.max_points for r in graded.results if r.task != last)
    assert not any(r.points for r in graded.results if r.task == last)
    assert not any(r.grader_fault for r in graded.results)


def test_what_the_kernel_is_not_given() -> None:
    """A clean environment: no seed, no home of the grader, no truth beside the world."""
    source = """
import os, pathlib
worlds = pathlib.Path(os.environ["KESTREL_WORLDS"])
assert all("truth" not in p.name for p in worlds.rglob("*")), "truth"
assert "KESTREL_HOME" not in os.environ and "KESTREL_TEST_HOME" not in os.environ, "environment"
assert pathlib.Path.home() == pathlib.Path.cwd(), "home"
assert not WORLD.startswith("practice"), "world"
print("nothing found")
"""
    graded = grade_cells({3: source})
    assert "cell_failed" not in graded.codes, graded.findings
    assert graded.points == FULL


def test_patching_the_kit_in_the_kernel_changes_no_verdict() -> None:
    source = """
import workshop.checks, workshop.lab, workshop.agent, workshop.codec
workshop.checks.run_check = lambda *a, **k: None
workshop.checks.expect_same_rows = lambda *a, **k: None
workshop.lab.GradedLab.check = lambda *a, **k: "10 of 10"
"""
    graded = grade_cells({3: source}, solved=False)
    assert graded.points == 0
