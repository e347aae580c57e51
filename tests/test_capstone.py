"""A capstone puts together what was written in the labs of its module."""

import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from conftest import lab_in_process
from test_notebooks import CONTRACT_SEEDS, GRADING_SCALE

from grader.bank import cells_with, run_cells
from grader.job import sources_digest
from workshop import lab as runtime
from workshop.authoring import compose, notebook_cell, task_source
from workshop.checks import LearnerError, NotAttempted
from workshop.errors import UsageError
from workshop.lab import Connections
from workshop.reference import solved_lab
from workshop.topics import Topic, load_checks, topic
from workshop.trusted import Lab
from workshop.world import ensure_world, opaque_name

CAPSTONE = "3.9"


@pytest.fixture
def lab() -> Iterator[Lab]:
    """Its lab on a world of the contract, before anything is written."""
    with lab_in_process(CAPSTONE, CONTRACT_SEEDS[0], {"policy": lambda con: "mine", "answer": 42}) as made:
        yield made


def test_all_nine_of_ones_own_make_the_month_of_the_references() -> None:
    """The labs' solutions, pasted: what a learner does who has solved them all."""
    checks = load_checks(topic(CAPSTONE)).module
    parts = []
    for part in checks.ALL:
        parts.append(task_source(topic(part.topic), part.task, solved=True))
        if part.name != part.named:
            parts.append(f"{part.name} = {part.named}")
    item, seed = topic(CAPSTONE), CONTRACT_SEEDS[0]
    files = ensure_world(opaque_name(seed), seed, GRADING_SCALE, load_checks(item).subjects)
    cells = cells_with(item, {"a": "\n\n".join(parts)}, solved=True)
    verdict = run_cells(item, "pasted", cells, files, seed, lambda c: c.task == "a")
    assert not verdict.problems
    assert [(r.check, r.outcome) for r in verdict.results] == [
        (c.name, "passed") for c in load_checks(item).of_task("a")
    ], [r.message for r in verdict.results]
    costs = re.findall(r"[\d,]+", verdict.results[0].message)
    assert costs[0] == costs[1] != costs[2]  # as under the references, to the dollar


def test_all_five_of_ones_own_pass_the_audit() -> None:
    """The same of module 2."""
    item, seed = topic("2.9"), CONTRACT_SEEDS[0]
    parts = [task_source(topic(p.topic), p.task, solved=True) for p in load_checks(item).module.ALL]
    files = ensure_world(opaque_name(seed), seed, GRADING_SCALE, load_checks(item).subjects)
    verdict = run_cells(
        item, "pasted", cells_with(item, {"b": "\n\n".join(parts)}, solved=True), files, seed, lambda c: c.task == "b"
    )
    assert not verdict.problems
    assert [(r.check, r.outcome) for r in verdict.results] == [
        (c.name, "passed") for c in load_checks(item).of_task("b")
    ], [r.message for r in verdict.results]
    assert "with 5 parts of your own" in verdict.results[0].message


@pytest.mark.parametrize("capstone", ["2.9", "3.9"])
def test_its_setup_has_what_the_parts_need(capstone: str) -> None:
    """Every name that a lab's setup cell makes, but for the lab itself, is there too, or the pasted part would not run."""

    def names(item: Topic) -> set[str]:
        (setup,) = (c.source for c in compose(item, "labs").cells if "setup" in c.metadata.get("tags", []))
        return set(re.findall(r"\b[A-Za-z_]\w*\b", "\n".join(re.findall(r"import (.+)", setup))))

    there = names(topic(capstone))
    for part in load_checks(topic(capstone)).module.ALL:
        used = set(re.findall(r"\b[A-Za-z_]\w*\b", task_source(topic(part.topic), part.task, solved=True)))
        assert names(topic(part.topic)) & used <= there, part.topic


def test_a_lab_of_another_topic_speaks_to_the_same_learner(lab: Lab) -> None:
    other = lab.of("3.8", {"policy": "answer"})
    assert other.value("policy") == 42
    assert lab.call("policy", 1) == "mine"
    assert other.rng("x").random() != lab.rng("x").random() == lab.of(CAPSTONE).rng("x").random()
    with pytest.raises(LearnerError, match="missing"):
        lab.of("3.8", {"policy": "missing"}).value("policy")
    callbacks = {made.callback(print).name for made in (lab, other, lab.of("3.1"))}
    assert len(callbacks) == 3


def test_the_reference_answers_behind_the_same_lab(lab: Lab) -> None:
    with solved_lab(topic("3.1"), lab) as solved:
        rows = solved.call("retry_policy", solved.con)
        assert {"task_class", "is_idempotent", "max_attempts"} <= set(rows[0])
        assert isinstance(solved.value("RULES"), list)
    with pytest.raises((LearnerError, NotAttempted)):
        lab.value("RULES")  # the learner has none of it


def test_its_results_depend_on_the_labs_that_it_puts_together(monkeypatch: pytest.MonkeyPatch) -> None:
    item = topic(CAPSTONE)
    assert {p.name for p in item.rests_on} >= {"01_retries_and_alerts", "08_credential_rotation", item.folder}
    assert topic("3.1").rests_on == (topic("3.1").source,)
    before = sources_digest.__wrapped__(item)
    monkeypatch.setattr(Topic, "rests_on", item.rests_on[1:])
    assert sources_digest.__wrapped__(item) != before


# -- bringing a cell from another lab --------------------------------------------------------------------------------------


def test_a_cell_is_brought_from_another_lab(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nb = compose(topic("3.1"), "labs")
    path = tmp_path / "lab.ipynb"
    nbformat.write(nb, path)
    assert notebook_cell(path, "a") == task_source(topic("3.1"), "a", solved=False)
    with pytest.raises(UsageError, match="no cell of task z"):
        notebook_cell(path, "z")
    with pytest.raises(UsageError, match="cannot be read"):
        notebook_cell(tmp_path / "none.ipynb", "a")

    monkeypatch.setattr(Topic, "notebook", lambda self, kind: path)
    practice = runtime.PracticeLab(topic(CAPSTONE), lab.world.files, b"x" * 16, Connections({}), {})
    assert "still as it was handed out" in str(practice.bring("3.1", "a"))
    assert "There is no topic" in str(practice.bring("77", "a"))
    cell = next(c for c in nb.cells if "task-a" in c.metadata.get("tags", []))
    cell.source = "def retry_policy(con):\n    return []"
    nbformat.write(nb, path)
    assert "return []" in str(practice.bring("3.1", "a"))  # outside a notebook it is shown
