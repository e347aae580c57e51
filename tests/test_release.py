"""A released course: nothing in it answers a lab, and its labs are judged as in the full repository."""

import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from grader import release as released
from grader.bank import answers, cells_with
from grader.release import leaks, left_out, release, solution_lines, telling
from grader.strip import strip
from workshop.authoring import solve
from workshop.errors import UsageError, WorkshopError
from workshop.paths import REPOSITORY
from workshop.topics import Topic, syllabus, topic

HERE = Path(__file__).parent
WRITTEN = [t for t in syllabus().topics if t.exists]


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release of module 5."""
    out = tmp_path_factory.mktemp("release") / "course"
    release(out, [5])
    return out


def run(folder: Path, home: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs Python with the packages of a folder."""
    env = os.environ | {"PYTHONPATH": str(folder), "KESTREL_HOME": str(home)}
    return subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=folder, env=env, capture_output=True, text=True, check=False
    )


def work_of(item: Topic, every: int = 1) -> list[dict]:
    """The lab solved, untouched, and with the answers of its bank (each ``every``-th)."""
    found = [("solved", {}, True), ("untouched", {}, False)]
    found += [(f"{a.task} {a.name}", {a.task: a.source}, True) for a in answers(item)[::every]]
    return [
        {"topic": item.id, "name": name, "cells": cells_with(item, replaced, solved=solved)}
        for name, replaced, solved in found
    ]


def compare(course: Path, items: list[Topic], place: Path, every: int = 1) -> int:
    """Asserts that all is judged alike in the release and here; how many results there are."""
    work = place / "work.json"
    work.write_text(json.dumps([w for item in items for w in work_of(item, every)]))
    said = []
    for name, folder, home in (
        ("here", REPOSITORY, Path(os.environ["KESTREL_HOME"])),
        ("there", course, place / "home"),
    ):
        done = run(folder, home, HERE / "verdicts.py", work, place / f"{name}.json")
        assert done.returncode == 0, done.stderr[-3000:]
        said.append(json.loads((place / f"{name}.json").read_text()))
    here, there = said
    for name, results in here.items():
        assert there[name] == results, name
    return sum(map(len, here.values()))


def test_labs_are_judged_in_a_release_as_in_the_full_repository(course: Path, tmp_path: Path) -> None:
    assert compare(course, [topic("5.3")], tmp_path, every=7) >= 25


def test_no_file_of_a_release_has_a_line_of_an_answer(course: Path) -> None:
    """Counted anew, without what the release itself looked for: every telling line of a solution or a bank that no lesson or
    stub has."""
    secret: set[str] = set()
    for item in WRITTEN:
        secret |= telling(solution_lines(item))
        secret |= telling("\n".join(a.source for a in answers(item)).splitlines())
    for item in WRITTEN:
        stubs = solve((item.source / "lab.py").read_text(encoding="utf-8"), solved=False)
        secret -= telling(stubs.splitlines())
        secret -= telling((item.source / "lesson.py").read_text(encoding="utf-8").splitlines())
    assert len(secret) > 3000
    for path in course.rglob("*"):
        if path.is_file() and path.relative_to(course).parts[0] not in ("workshop", "grader"):
            assert not telling(released._texts(path)) & secret, path
    names = {p.name for p in course.rglob("*")}
    assert not names & {"answers.py", "solutions", "truth.duckdb", "tests", "reference.py", "bank.py", ".git"}


def test_what_answers_in_a_release_is_found(course: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(course, tmp_path / "course", ignore=shutil.ignore_patterns("*.xz"))
    line = max(solution_lines(topic("5.3")), key=len)
    secret = {line.strip(): "the solution of 5.3"}
    assert leaks(folder, secret) == []
    for place in ("README.md", "workshop/lab.py", "modules/notes.txt"):
        path = folder / place
        before = path.read_text() if path.exists() else ""
        path.write_text(f"{before}\n    {line}\n")
        assert leaks(folder, secret) == [f"{place} has a line of the solution of 5.3: {line.strip()}"]
        path.write_text(before)
    lab = folder / topic("5.3").notebook("labs").relative_to(REPOSITORY)
    nb = json.loads(lab.read_text())
    nb["cells"][-1]["source"] = ["x = 1\n", line]
    lab.write_text(json.dumps(nb))
    assert len(leaks(folder, secret)) == 1


def test_stripped_checks_of_every_topic_read_no_truth_and_hold_together() -> None:
    """What a release would have of each topic's checks, without judging its reference."""
    names = {t.id: released.CHECKS + t.id.replace(".", "_") for t in WRITTEN}
    checks = {names[t.id]: (t.source / "checks.py").read_text(encoding="utf-8") for t in WRITTEN}
    stripped = strip(checks, {name: of for of, name in names.items()}, {})
    released._expect_no_truth(stripped)
    for name, text in stripped.items():
        compile(text, name, "exec")
        assert "solved_lab" not in text, name
    secret = left_out(stripped, checks)
    assert len(secret) > 5_000
    for name, text in stripped.items():
        assert not telling(text.splitlines()) & secret.keys(), name


def test_labs_can_be_opened_reset_and_checked_as_a_learner_does(course: Path, tmp_path: Path) -> None:
    code = textwrap.dedent(
        """
        from workshop import open_lab
        lab = open_lab("5.3")
        print(lab.check("a"), lab.hint("a"), lab.reset("a"), lab.solution("a"))
        for world, scale in (("practice-8", 0.05), ("practice-7", 0.02)):
            try:
                open_lab("5.3", world=world, scale=scale)
            except Exception as error:
                print(type(error).__name__, error)
        """
    )
    done = run(course, tmp_path, "-c", code)
    assert done.returncode == 0, done.stderr
    assert "Task a: 0 of 4 points" in done.stdout and "This course does not show solutions." in done.stdout
    assert done.stdout.count("LabUnavailable This course has the world practice-7 at scale 0.05, and no other") == 2
    assert "raise TODO" in done.stdout


def test_what_was_damaged_on_its_way_says_so_and_leaves_nothing_behind(course: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(course, tmp_path / "course")
    code = "from workshop import open_lab\nlab = open_lab('5.3')\nplace = lambda con: []\nprint(lab.check('a'))"
    (world,) = (folder / "datasets" / "worlds").glob("practice-7-*")
    whole = world.read_bytes()
    world.write_bytes(whole[: len(whole) // 2])
    done = run(folder, tmp_path / "home", "-c", code)
    assert (
        done.returncode == 1 and f"{world.name} is damaged" in done.stderr and "fetch the course again" in done.stderr
    )
    assert not list((tmp_path / "home" / "worlds").rglob("*.duckdb"))
    world.write_bytes(whole)
    (sealed,) = (folder / topic("5.3").source.relative_to(REPOSITORY)).glob("*.sealed")
    sealed.write_bytes(sealed.read_bytes()[:1000])
    done = run(folder, tmp_path / "home", "-c", code)
    assert done.returncode == 0 and f"{sealed.name} cannot be read" in done.stdout and "not your mistake" in done.stdout


def test_a_release_grades_a_notebook_on_the_practice_world(course: Path, tmp_path: Path) -> None:
    """What a learner's own CI runs: nothing to do at first, then what was begun, as a JUnit report."""
    lab = course / topic("5.3").notebook("labs").relative_to(REPOSITORY)
    before = lab.read_bytes()
    report = tmp_path / "report.xml"
    done = run(course, tmp_path, "-m", "grader.practice", "--junit", report, "--isolation", "none")
    assert done.returncode == 0 and "No lab has been begun" in done.stdout, done.stderr
    try:
        solved = REPOSITORY / "solutions" / lab.relative_to(course / "labs")
        shutil.copyfile(solved, lab)
        done = run(course, tmp_path, "-m", "grader.practice", "--junit", report, "--isolation", "none")
        assert done.returncode == 0, done.stderr
        assert 'name="points" value="10"' in report.read_text()
        done = run(course, tmp_path, "-m", "grader.practice", "nothing.ipynb", "--isolation", "none")
        assert done.returncode == 1 and "There is no file nothing.ipynb" in done.stderr
        assert run(course, tmp_path, "-m", "grader.practice", "--world", "secret").returncode == 2
    finally:
        lab.write_bytes(before)


def test_a_release_goes_only_where_nothing_is_lost(
    course: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for place, words in (
        (tmp_path / "full", "holds something that is no release"),
        (tmp_path / "file", "is a file"),
        (REPOSITORY / "course", "is in the workshop itself"),
    ):
        with pytest.raises(UsageError, match=words):
            release(place, [5])
    with pytest.raises(UsageError, match="There is no module 4 to release; there are 1, 2, 3, 5"):
        release(tmp_path / "new", [4])
    assert (tmp_path / "full" / "thesis.txt").read_text() == "mine"

    # A new release takes the place of an old one, but for its history; one that cannot be made leaves it alone.
    old = shutil.copytree(course, tmp_path / "old", ignore=shutil.ignore_patterns("*.xz"))
    (old / ".git").mkdir()
    (old / "gone.txt").write_text("of the last release")

    def broken(*_: object) -> dict:
        raise WorkshopError("a check cannot be released")

    monkeypatch.setattr(released, "_seal", broken)
    with pytest.raises(WorkshopError, match="a check cannot be released"):
        release(old, [5])
    assert (old / "gone.txt").exists()
    new = tmp_path / "written"
    new.mkdir()
    (new / "README.md").write_text("new")
    released._replace(new, old)
    assert (old / ".git").is_dir() and not (old / "gone.txt").exists() and (old / "README.md").read_text() == "new"


def test_stripping_cuts_what_only_makers_need_and_nothing_else() -> None:
    source = textwrap.dedent(
        '''
        """Checks."""
        from workshop.checks import check, expect
        from math import floor, sqrt

        SUBJECTS = ()
        # How the answer is found.
        FACTOR = 3
        SHOWN = 4

        class Case:
            """Data."""
            def right(self):
                return oracle(self)
            def words(self):
                return f"{SHOWN}"

        def oracle(case):
            return floor(FACTOR)

        def cases(lab):
            rng = lab.rng("cases")
            def make():
                return [oracle(rng)]
            return lab.kept("cases", make)

        @check("a", "holds", points=1)
        def holds(lab):
            """Truth: the oracle's."""
            expect(sqrt(4) == lab.kept("four", lambda: oracle(Case())), Case.words)
            cases(lab)
        '''
    )
    text = strip({"m": source}, {"m": "1.1"}, {"m": ["Case"]})["m"]
    compile(text, "m", "exec")
    for gone in ("Checks.", "FACTOR", "def oracle", "def make", "floor", "def right", "lab.rng", "How the answer"):
        assert gone not in text, gone
    for left in (
        "SHOWN = 4",
        "def words",
        'lab.kept("cases")',
        'lab.kept("four")',
        "from math import sqrt",
        "SUBJECTS",
    ):
        assert left in text, left


@pytest.mark.slow
def test_all_labs_are_judged_in_a_release_as_in_the_full_repository(tmp_path: Path) -> None:
    """Every answer of every bank: half an hour. python -m pytest tests/test_release.py -m slow"""
    release(tmp_path / "course")
    assert compare(tmp_path / "course", WRITTEN, tmp_path) > 3000
