"""What a human gives for words is kept: through another grading, a late policy and an export."""

import csv
import io
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest
from test_gradebook import course, fill, job, outcome

from grader import review
from grader.collect import safe_name
from grader.export import export
from grader.gradebook import Gradebook
from grader.pages import MARK, beside
from grader.report import report
from grader.sample import notebook_with
from workshop.authoring import compose, tags
from workshop.errors import UsageError
from workshop.topics import syllabus, topic

RUBRICS = [(t, k) for t in syllabus().topics for k in t.tasks if k.rubric]


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """A settled book with two learners in 3.1, and the executed notebook of one of them."""
    path, item = tmp_path / "book.duckdb", topic("3.1")
    with Gradebook.open(path) as book:
        fill(
            book,
            ("=ada", job(1, "3.1"), 30, outcome(job(1, "3.1"), 8)),
            ("ben", job(2, "3.1"), 0, outcome(job(2, "3.1"), 6)),
            ("eve", job(3, "3.6"), 0, outcome(job(3, "3.6"), 6)),
        )
        book.settle(course(tmp_path, "deadlines: {default: 2026-11-02 12:00}\nlate: {per_day_pct: 50}"))
    place = beside(path) / safe_name("=ada") / item.module / item.folder
    place.mkdir(parents=True)
    (place / MARK).write_text(job(1, "3.1").key)
    nb = notebook_with(item, {})
    cell = next(c for c in nb.cells if "rationale-a" in tags(c))
    cell.source += "\n\nI gave up 40 minutes of landing\nfor 9 pages a week."
    cell.metadata["tags"] = []  # as an editor may leave it
    nbformat.write(nb, place / "executed.ipynb")
    return path


def run(*arguments: object, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "grader", "review", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, input=stdin)


def reviews(path: Path) -> list[tuple]:
    with Gradebook.read(path) as book:
        return list(
            book.select("select learner, criterion, points, max_points, comment, reviewer from reviews order by all")
        )


def test_every_rubric_has_its_cell_in_the_lab() -> None:
    assert len(RUBRICS) >= 2
    for item, task in RUBRICS:
        for kind in ("labs", "solutions"):
            cells = [c for c in compose(item, kind).cells if f"rationale-{task.letter}" in tags(c)]
            assert len(cells) == 1 and cells[0].cell_type == "markdown", item.id
        assert all(c.points > 0 and c.asks for c in task.rubric)


def test_a_mark_survives_a_regrade_a_late_policy_and_an_export(cohort: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.csv"
    done = run(cohort, "--sheet", sheet)
    assert done.returncode == 0 and "4 lines, 4 of them open" in done.stdout
    rows = list(csv.DictReader(io.StringIO(sheet.read_text(encoding="utf-8"))))
    assert [r["learner"] for r in rows] == ["'=ada", "'=ada", "ben", "ben"]
    assert rows[0]["words"] == "I gave up 40 minutes of landing\nfor 9 pages a week." and rows[2]["words"] == ""
    rows[0] |= {"points": "1,5", "comment": "'- which pages?"}
    rows[2] |= {"points": "2", "comment": ""}
    text = io.StringIO()
    table = csv.DictWriter(text, list(rows[0]))
    table.writeheader()
    table.writerows(rows)
    sheet.write_text("\ufeff" + text.getvalue(), encoding="utf-8")
    done = run(cohort, "--read", sheet, "--reviewer", "zoe")
    assert done.returncode == 0 and "2 marks are kept" in done.stdout
    kept = [("=ada", "trade-off", 1.5, 2.0, "- which pages?", "zoe"), ("ben", "trade-off", 2.0, 2.0, None, "zoe")]
    assert reviews(cohort) == kept
    with Gradebook.open(cohort) as book:  # graded again, and another policy
        book.record([(job(1, "3.1"), replace(outcome(job(1, "3.1"), 3), tries=2))], replace=True)
        book.settle(course(tmp_path, "deadlines: {default: 2026-11-01 12:00}\nlate: {per_day_pct: 100}"))
        assert book.select("select points from marks where learner = '=ada'").value() == 0
    assert reviews(cohort) == kept
    out = io.StringIO()
    export(cohort, "csv", out)
    ada = next(csv.DictReader(io.StringIO(out.getvalue())))
    assert (ada["points"], ada["review_points"], ada["review_max_points"]) == ("0", "1.5", "2")
    assert ada["review_comments"] == "a, trade-off: - which pages?"
    report(cohort, tmp_path / "site")
    page = next((tmp_path / "site/learners").glob("*ada*.html")).read_text(encoding="utf-8")
    assert "Reviewed by hand" in page and "- which pages?" in page
    assert (
        "3 of them open" not in run(cohort, "--sheet", sheet).stdout
        and "2 of them open" in run(cohort, "--sheet", sheet).stdout
    )


def test_in_the_terminal_one_is_asked_until_the_answer_is_a_mark(cohort: Path) -> None:
    done = run(cohort, "--reviewer", "zoe", stdin="many\n3\n2\nwell argued\n\n1\n\nq\n")
    assert done.returncode == 0, done.stderr
    assert "I gave up 40 minutes" in done.stdout and "(nothing is written)" in done.stdout
    assert done.stdout.count("a number from 0 to 2 is expected") == 2
    assert reviews(cohort) == [
        ("=ada", "trade-off", 2.0, 2.0, "well argued", "zoe"),
        ("ben", "trade-off", 1.0, 2.0, None, "zoe"),
    ]


def test_a_terminal_that_goes_away_loses_no_mark(cohort: Path) -> None:
    done = run(cohort, "--reviewer", "zoe", stdin="2\nwell argued\n1\n")
    assert done.returncode == 0, done.stderr
    assert [r[:3] for r in reviews(cohort)] == [("=ada", "limits", 1.0), ("=ada", "trade-off", 2.0)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: r | {"points": "2.5"}, "line 2: points are '2.5'; a number from 0 to 2"),
        (lambda r: r | {"points": "nan"}, "points are 'nan'"),
        (lambda r: r | {"learner": "nobody", "points": "1"}, "there is no rubric nobody / 3.1 / a / trade-off"),
        (lambda r: r | {"criterion": "style", "points": "1"}, "there is no rubric"),
    ],
)
def test_a_sheet_with_a_mistake_changes_nothing(cohort: Path, change, words: str) -> None:
    with Gradebook.read(cohort) as book:
        found = review.items(book, None)
    text = io.StringIO()
    review.write_sheet(found, text)
    rows = list(csv.DictReader(io.StringIO(text.getvalue())))
    rows[0] = change(rows[0])
    rows[2]["points"] = "1"
    out = io.StringIO()
    table = csv.DictWriter(out, list(rows[0]))
    table.writeheader()
    table.writerows(rows)
    with pytest.raises(UsageError, match=words):
        review.read_sheet(out.getvalue(), "sheet", found)
    sheet = cohort.with_name("sheet.csv")
    sheet.write_text(out.getvalue(), encoding="utf-8")
    done = run(cohort, "--read", sheet)
    assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 1 and reviews(cohort) == []


def test_a_sheet_that_is_none_is_said(cohort: Path) -> None:
    with Gradebook.read(cohort) as book:
        found = review.items(book, None)
    with pytest.raises(UsageError, match="lacks the columns learner"):
        review.read_sheet("a,b\n1,2\n", "sheet", found)
    line = next(csv.reader(io.StringIO(f"'=ada,3.1,a,{found[0].criterion.name}")))
    head = "learner,topic,task,criterion,points\n"
    twice = head + ",".join([*line, "1"]) + "\n" + ",".join([*line, "2"]) + "\n"
    with pytest.raises(UsageError, match="stands twice"):
        review.read_sheet(twice, "sheet", found)
    assert run(cohort, "--read", "none.csv").returncode == 2
    assert run(cohort, "--read", "a.csv", "--sheet", "b.csv").returncode == 2
