"""The lab in the learner's hands: outcomes, hints, progress, and errors of one line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import TOPICS
from IPython.display import Image

import workshop
from workshop import lab as runtime
from workshop.authoring import task_source
from workshop.errors import WorkshopError
from workshop.topics import load_checks, syllabus, topic

TINY = 0.01


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Progress of its own, worlds of all tests."""
    shared = Path(os.environ["KESTREL_HOME"]) / "worlds"
    shared.mkdir(parents=True, exist_ok=True)
    (tmp_path / "worlds").symlink_to(shared)
    monkeypatch.setenv("KESTREL_HOME", str(tmp_path))
    return tmp_path


def open_practice(topic_id: str, namespace: dict) -> runtime.PracticeLab:
    return runtime._open(topic_id, "practice-7", TINY, namespace)


def solve(namespace: dict, topic_id: str, letter: str, *, solved: bool = True) -> None:
    exec(task_source(topic(topic_id), letter, solved=solved), namespace)


def letters(topic_id: str) -> list[str]:
    return [t.letter for t in topic(topic_id).tasks]


@pytest.fixture
def lab_and_names(home: Path) -> tuple[runtime.PracticeLab, dict]:
    names: dict = {"TODO": workshop.TODO}
    return open_practice("3.6", names), names


def outcomes(lab: runtime.PracticeLab, task: str) -> set[str]:
    return {r.outcome for r in lab.results(task)}


def test_four_outcomes(lab_and_names: tuple[runtime.PracticeLab, dict]) -> None:
    lab, names = lab_and_names
    first = letters("3.6")[0]
    assert outcomes(lab, first) == {"error"}  # the cell was not run
    solve(names, "3.6", first, solved=False)
    assert outcomes(lab, first) == {"not attempted"}
    solve(names, "3.6", first)
    assert outcomes(lab, first) == {"passed"}
    function = next(
        n for n, v in names.items() if callable(v) and f"def {n}(" in task_source(topic("3.6"), first, solved=False)
    )
    names[function] = lambda *a, **k: None
    assert "failed" in outcomes(lab, first)
    names[function] = lambda *a, **k: 1 / 0
    results = lab.results(first)
    assert {r.outcome for r in results} <= {"error", "failed"}
    assert any("ZeroDivisionError" in r.message for r in results)
    assert not any(r.grader_fault for r in results)


@pytest.mark.parametrize(
    "value", [None, 7, "text", float("nan"), [], {}, object(), [[1]], [{"a": 1}], {"x": {"y": []}}, b"", print]
)
def test_a_mistake_in_one_task_is_never_a_crash(lab_and_names: tuple[runtime.PracticeLab, dict], value: object) -> None:
    """Every name that a task defines is replaced by nonsense: the checks say so and go on."""
    lab, names = lab_and_names
    for letter in letters("3.6"):
        before = set(names)
        solve(names, "3.6", letter)
        for name in set(names) - before - {"__builtins__"}:
            names[name] = (lambda *a, v=value, **k: v) if callable(names[name]) else value
    for letter in letters("3.6"):
        for r in lab.results(letter):
            assert not r.grader_fault, r.message
            assert r.outcome != "passed"


def test_results_show_as_html_and_as_text_without_the_learners_markup(
    lab_and_names: tuple[runtime.PracticeLab, dict],
) -> None:
    lab, names = lab_and_names
    first = letters("3.6")[0]
    solve(names, "3.6", first)
    function = next(n for n, v in names.items() if callable(v) and n != "TODO")

    def rude(*args: object, **kwargs: object) -> None:
        raise ValueError("<script>alert(1)</script>")

    names.update({n: rude for n, v in names.items() if callable(v) and n != "TODO"})
    assert function
    report = lab.check(first)
    shown = report._repr_mimebundle_()
    assert "<script>" not in shown["text/html"]
    assert "&lt;script&gt;" in shown["text/html"]
    assert "[error]" in shown["text/plain"] or "[failed]" in shown["text/plain"]


def test_hints_come_in_three_rungs_and_solutions_after_a_try(lab_and_names: tuple[runtime.PracticeLab, dict]) -> None:
    lab, names = lab_and_names
    first = letters("3.6")[0]
    assert "after a first attempt" in str(lab.solution(first))
    said = [str(lab.hint(first)) for _ in range(4)]
    assert [s.split(":")[0] for s in said] == ["Hint 1 of 3", "Hint 2 of 3", "Hint 3 of 3", "Hint 3 of 3"]
    solve(names, "3.6", first, solved=False)
    lab.check(first)
    assert "after a first attempt" in str(lab.solution(first))  # an untouched stub is no attempt
    solve(names, "3.6", first)
    lab.check(first)
    assert "def " in str(lab.solution(first))
    assert "raise TODO" in str(lab.reset(first))


def test_the_outlook_is_of_the_cells_as_they_stand(home: Path) -> None:
    names: dict = {"TODO": workshop.TODO}
    lab = open_practice("3.1", names)
    solve(names, "3.1", "a")
    assert outcomes(lab, "a") == {"passed"}
    assert isinstance(lab.twelve_weeks_later(), Image)
    names["retry_policy"] = lambda *a, **k: 1 / 0  # changed, and not checked again
    assert "ZeroDivisionError" in lab.twelve_weeks_later().text


def test_progress_survives_and_counts_the_best(lab_and_names: tuple[runtime.PracticeLab, dict], home: Path) -> None:
    lab, names = lab_and_names
    for letter in letters("3.6"):
        solve(names, "3.6", letter)
        lab.check(letter)
    assert "1 done" in str(workshop.progress())
    names.clear()
    lab.check(letters("3.6")[0])
    assert "1 done" in str(workshop.progress())
    saved = json.loads((home / "progress.json").read_text())
    assert sum(saved["3.6"]["best"].values()) == 10
    (home / "progress.json").write_text("{damaged")
    assert "0 done" in str(workshop.progress())


def test_the_map_has_all_topics() -> None:
    shown = workshop.progress()
    assert shown._repr_mimebundle_()["text/html"].count('class="cell') == len(syllabus().topics)
    assert sum(not t.is_capstone for t in syllabus().topics) == 72


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ('"3.6", world="elsewhere"', "no world called"),
        ('"3.6", scale=99', "SCALE must be"),
        ('"12.1"', "no topic"),
        ('"9.8"', "not written yet"),
    ],
)
def test_what_cannot_be_opened_is_one_clear_line(arguments: str, words: str) -> None:
    code = f"from workshop import open_lab\nopen_lab({arguments})"
    done = subprocess.run(
        [sys.executable, "-m", "IPython", "--no-banner", "-c", code], capture_output=True, text=True, check=False
    )
    said = done.stdout + done.stderr
    assert words in said
    assert "Traceback" not in said


def test_a_missing_world_in_a_graded_kernel_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KESTREL_WORLDS", str(tmp_path))
    with pytest.raises(WorkshopError, match="There is no world"):
        runtime._open("3.6", "w-1234", TINY, {})


def test_an_unknown_task_is_said(lab_and_names: tuple[runtime.PracticeLab, dict]) -> None:
    with pytest.raises(WorkshopError, match="has the tasks"):
        lab_and_names[0].check("z")


@pytest.mark.parametrize("topic_id", TOPICS)
def test_checks_of_a_topic_are_complete(topic_id: str) -> None:
    checks = load_checks(topic(topic_id))
    assert sum(c.points for c in checks.checks) == 10
    assert [len(checks.hints[letter]) for letter in letters(topic_id)] == [3] * len(letters(topic_id))
    assert {c.task for c in checks.checks} == set(letters(topic_id))
    assert sum(c.points for c in checks.checks if c.weaker) <= 3
    assert all(c.run.__doc__ for c in checks.checks)


def test_the_learners_tables_live_beside_the_world(lab_and_names: tuple[runtime.PracticeLab, dict]) -> None:
    con = lab_and_names[0].con
    con.execute("create table mine as select count(*) as n from core.orders")
    assert con.execute("select n from mine").fetchone() == (round(1_000_000 * TINY),)
    with pytest.raises(Exception, match="read-only"):
        con.execute("delete from core.orders")
    with pytest.raises(Exception, match="truth"):
        con.execute("select * from truth.anything")


def test_a_package_that_is_the_task_is_for_the_checks_alone() -> None:
    code = """
import avro.schema
from workshop.topics import planned_topic
from workshop.withheld import trusted_import, withhold
withhold(planned_topic("3.2").withheld)
try:
    import avro.compatibility
except ModuleNotFoundError as error:
    print(error)
checker = trusted_import("avro.compatibility").ReaderWriterCompatibilityChecker()
one, two = (trusted_import("avro.schema").parse(f'"{kind}"') for kind in ("int", "long"))
print(checker.get_compatibility(two, one).compatibility.name)
try:
    import avro.compatibility
except ModuleNotFoundError as error:
    print("still withheld")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, second, third = done.stdout.splitlines()
    assert "avro is withheld in this lab" in first
    assert (second, third) == ("compatible", "still withheld")
