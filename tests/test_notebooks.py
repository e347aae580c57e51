"""What is generated is fresh, and every topic keeps its contract."""

import ast
import re
import shutil
import subprocess
from pathlib import Path

import nbformat
import pytest
from conftest import TOPICS

from grader.bank import _brought, answers, breaches
from grader.reproduce import nbval_command, plain_environment
from workshop.authoring import (
    EXECUTED,
    KINDS,
    START,
    Job,
    _differs,
    build,
    compose,
    compose_start,
    ensure_practice_world,
    generated_texts,
    installed,
    solve,
    stale,
    tags,
    text_of,
)
from workshop.errors import WorkshopError
from workshop.paths import CURRICULUM, REPOSITORY
from workshop.topics import EXTRAS, Topic, load_checks, syllabus, topic
from workshop.world import derive_seed, ensure_world, opaque_name

# Fixed here, never used for practice or grading.
CONTRACT_SEEDS = [derive_seed(b"contract", str(n)) for n in range(2)]
GRADING_SCALE = syllabus().course["grading_scale"]
NOTEBOOKS = [(topic_id, kind) for topic_id in TOPICS for kind in (*KINDS, *topic(topic_id).extras)]
ON_EXTRAS = [(topic_id, kind) for topic_id, kind in NOTEBOOKS if kind in EXTRAS]


def test_the_syllabus_has_all_topics_in_order() -> None:
    modules = syllabus().modules
    assert [m.number for m in modules] == list(range(1, 10))
    numbered = [t.id for t in syllabus().topics if not t.is_capstone]
    assert numbered == [f"{m}.{n}" for m in range(1, 10) for n in range(1, 9)]
    assert all(m.topics[8:] == tuple(t for t in m.topics if t.is_capstone) for m in modules)
    ids = {t.id for t in syllabus().topics}
    for t in syllabus().topics:
        assert set(t.prerequisites) <= ids
        assert [x.letter for x in t.tasks] == list("abcd")[: len(t.tasks)]
        assert 20 <= t.lesson_minutes <= 25
        # 2.4 and 2.5 are counted at 55 and more, 2.6 at 75, by those who solved them from the notebook alone.
        assert 25 <= t.lab_minutes <= 75
    assert {"1.7", "3.4", "3.6", "5.3"} <= set(TOPICS)


def needs(kind: str) -> None:
    """Skips a test of a notebook on an extra where that is not installed: nobody could have built it there."""
    if kind in EXTRAS and not installed(kind):
        pytest.skip(f"{kind} is not installed (make {kind})")


@pytest.mark.parametrize(("topic_id", "kind"), NOTEBOOKS)
def test_nothing_generated_is_stale(topic_id: str, kind: str) -> None:
    needs(kind)
    assert not stale(topic(topic_id), kind), f"run make build: {kind} of {topic_id}"


def test_start_page_readme_and_dictionary_are_fresh() -> None:
    assert not _differs(compose_start(), REPOSITORY / START, executed=True)
    for path, text in generated_texts().items():
        assert path.read_text(encoding="utf-8") == text, f"run make build: {path.name}"


def test_no_generated_notebook_is_without_source() -> None:
    made = {topic(topic_id).notebook(kind) for topic_id, kind in NOTEBOOKS}
    there = {p for kind in KINDS for p in (REPOSITORY / kind).rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts}
    assert there == made


@pytest.mark.parametrize("topic_id", TOPICS)
def test_notebooks_are_valid_and_labs_give_nothing_away(topic_id: str) -> None:
    item = topic(topic_id)
    for kind in KINDS:
        nb = nbformat.read(item.notebook(kind), as_version=4)
        nbformat.validate(nb)
        ids = [c.id for c in nb.cells]
        assert len(set(ids)) == len(ids)
    lab = nbformat.read(item.notebook("labs"), as_version=4)
    assert not any(c.get("outputs") for c in lab.cells)
    assert not any("BEGIN SOLUTION" in c.source or "STUB" in c.source for c in lab.cells)
    solution = nbformat.read(item.notebook("solutions"), as_version=4)
    assert [c.id for c in solution.cells] == [c.id for c in lab.cells]
    for cell in lab.cells:
        if any(t.startswith("task-") for t in tags(cell)):
            assert "TODO" in cell.source
            ast.parse(cell.source)
    marks = [t for c in lab.cells for t in tags(c)]
    want = ["parameters", "setup", *(f"{what}-{t.letter}" for t in item.tasks for what in ("task", "check"))]
    assert [m for m in marks if m in want] == want
    assert "nbval-check-output" in marks
    assert any("twelve_weeks_later" in c.source for c in lab.cells)


@pytest.mark.parametrize("topic_id", TOPICS)
def test_lessons_are_of_the_right_size_and_kind(topic_id: str) -> None:
    nb = compose(topic(topic_id), "modules")
    words = sum(len(re.findall(r"\w+", c.source)) for c in nb.cells if c.cell_type == "markdown")
    cells = sum(c.cell_type == "code" for c in nb.cells)
    assert 850 <= words <= 1650, words
    assert 6 <= cells <= 13, cells
    text = "\n".join(c.source for c in nb.cells if c.cell_type == "markdown")
    assert "In practice" in text
    assert "<details" in text  # the answer to the prediction is folded away
    for phrase in ("it is important to", "\u2014\u2014", "\U0001f600"):
        assert phrase not in text.lower()


@pytest.mark.parametrize(("topic_id", "kind"), ON_EXTRAS)
def test_notebooks_on_extras_are_short(topic_id: str, kind: str) -> None:
    nb = compose(topic(topic_id), kind)
    nbformat.validate(nb)
    words = sum(len(re.findall(r"\w+", c.source)) for c in nb.cells if c.cell_type == "markdown")
    assert 600 <= words <= 1100, words
    assert 6 <= sum(c.cell_type == "code" for c in nb.cells) <= 9


def test_a_notebook_on_an_extra_is_left_alone_where_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    topic_id, kind = ON_EXTRAS[0]
    path = topic(topic_id).notebook(kind)
    was, said = path.read_bytes(), []
    monkeypatch.setattr("workshop.authoring.jobs", lambda: [Job(topic_id, kind, path)])
    monkeypatch.setattr("workshop.authoring.installed", lambda extra: False)
    assert build([topic_id], force=True, say=said.append) == 0
    assert path.read_bytes() == was
    assert said == [
        f"{path.relative_to(REPOSITORY)} is left as it is: {kind} is not installed (make {kind})",
        "nothing to build",
    ]


@pytest.mark.parametrize("seed", range(len(CONTRACT_SEEDS)))
@pytest.mark.parametrize("topic_id", TOPICS)
def test_the_contract_holds(topic_id: str, seed: int) -> None:
    """Solution full, untouched 0, right answers full, wrong ones caught by the check that names them. On the first seed all
    answers meet all checks of their task, and one of each task those of the others; on the second one every fourth wrong answer
    meets the check that names it. `make contract` has all of it on five seeds."""
    whole = seed == 0
    found = breaches(
        topic(topic_id), CONTRACT_SEEDS[seed], GRADING_SCALE, whole=whole, every=1 if whole else 4, brief=True
    )
    assert found == []


@pytest.mark.parametrize("topic_id", TOPICS)
def test_two_runs_give_the_same_points(topic_id: str) -> None:
    from grader.bank import cells_with, run_cells

    item, seed = topic(topic_id), CONTRACT_SEEDS[1]
    files = ensure_world(opaque_name(seed), seed, GRADING_SCALE, load_checks(item).subjects)
    wrong = {a.task: a.source for a in answers(item) if not a.right}
    runs = [run_cells(item, "wrong", cells_with(item, wrong, solved=True), files, seed) for _ in range(2)]
    first, second = ([(r.check, r.outcome, r.points) for r in run.results] for run in runs)
    assert first == second


@pytest.mark.parametrize(("topic_id", "kind"), [pair for pair in NOTEBOOKS if pair[1] in EXECUTED])
def test_outputs_in_git_are_those_of_a_clean_run(topic_id: str, kind: str, tmp_path: Path) -> None:
    """nbval runs lesson and solution and compares every output but pictures: a changed world or check shows here."""
    needs(kind)
    ensure_practice_world()
    command = nbval_command(topic(topic_id).notebook(kind), "--nbval", "--nbval-kernel-name", "python3")
    done = subprocess.run(command, env=plain_environment(), capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-3000:]


# -- the authoring tool itself -----------------------------------------------------------------------------------------

CELL = """def f(x):
    \"\"\"Doubles.\"\"\"
    ### BEGIN SOLUTION
    return 2 * x
    ### END SOLUTION


### BEGIN SOLUTION
policy = {"a": 1}
### STUB
# policy = TODO  # your policy
### END SOLUTION"""


def test_solutions_and_stubs() -> None:
    assert "return 2 * x" in solve(CELL, True)
    assert "TODO" not in solve(CELL, True)
    stub = solve(CELL, False)
    assert "    raise TODO" in stub
    assert "policy = TODO  # your policy" in stub
    assert "2 * x" not in stub
    assert "###" not in stub + solve(CELL, True)


@pytest.mark.parametrize("bad", ["### BEGIN SOLUTION\nx = 1\n### END SOLUTION", "### BEGIN SOLUTION\nx = 1"])
def test_a_source_that_would_leak_or_break_is_refused(bad: str) -> None:
    with pytest.raises(WorkshopError):
        solve(bad, False)


BANK = """# %% [a] right another
def f(x):
    return x + x
# %% [a] wrong thrice of={base} fails=doubles says="thrice"
# -     return x + x
# +     return 3 * x
"""


def test_an_answer_may_be_given_as_edits_of_an_earlier_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    item = topic(TOPICS[0])
    shutil.copy(item.source / "lab.py", tmp_path)
    monkeypatch.setattr(Topic, "source", tmp_path)
    (tmp_path / "answers.py").write_text(BANK.format(base="another"), encoding="utf-8")
    thrice = answers(item)[1]
    assert (thrice.right, thrice.source) == (False, "def f(x):\n    return 3 * x\n")
    (tmp_path / "answers.py").write_text(BANK.format(base="other"), encoding="utf-8")
    with pytest.raises(WorkshopError, match="thrice: no answer other to task a stands above"):
        answers(item)


def test_an_answer_may_bring_one_of_another_topic() -> None:
    bank = {a.name: a.source for a in answers(topic("2.9"))}
    there = next(a.source for a in answers(topic("2.8")) if a.name == "one_table_at_a_time")
    assert there.strip() in bank["tagger_masks_and_access"]
    with pytest.raises(WorkshopError, match=r"here: the bank of 2\.8 has no answer nobody to task b"):
        _brought("2.8 b nobody", "here")


def test_building_twice_gives_the_same_bytes() -> None:
    item = topic(TOPICS[0])
    assert text_of(compose(item, "labs")) == text_of(compose(item, "labs"))


def test_every_folder_of_the_curriculum_is_in_the_syllabus() -> None:
    known = {t.source for t in syllabus().topics}
    assert {p.parent for p in CURRICULUM.glob("*/*/lab.py")} <= known
