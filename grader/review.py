"""Review by hand: what a learner has written in words, and the marks and comments that a human gives for it.

The rubric of a task stands in curriculum/syllabus.yaml; the words stand in the lab's cell tagged rationale-<task>. Marks are
entered in a CSV file or in the terminal, are kept in the gradebook's table reviews, and grading never touches them.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat

from grader.export import defused
from grader.gradebook import Gradebook
from grader.pages import page_of
from workshop.authoring import compose, tags
from workshop.checks import as_number
from workshop.errors import UsageError
from workshop.topics import Criterion, planned_topic

COLUMNS = ("learner", "topic", "task", "criterion", "asks", "max_points", "words", "points", "comment")

_OPEN = """
select m.learner, m.topic, s.job_key
from marks m
join submissions s on s.submission_id = m.counted_submission
join runs r using (job_key)
where r.status = 'graded'
order by m.topic, m.learner
"""


@dataclass(frozen=True)
class Item:
    """One line of a rubric for one learner; ``points`` and ``comment`` as given before, None where it is open."""

    learner: str
    topic: str
    task: str
    criterion: Criterion
    words: str
    points: float | None
    comment: str | None


def items(book: Gradebook, pages: Path | None) -> list[Item]:
    """All lines of rubrics for submissions that count, by topic, task and learner. ``pages``: the folder with executed
    notebooks, from which the learners' words are."""
    given = {
        (r[0], r[1], r[2], r[3]): (r[4], r[5])
        for r in book.select("select learner, topic, task, criterion, points, comment from reviews")
    }
    found = []
    for learner, topic_id, job_key in book.select(_OPEN):
        item = planned_topic(topic_id)
        for task in item.tasks:
            if task.rubric:
                words = rationale(item, task.letter, page_of(pages, learner, item, job_key))
                found += [
                    Item(learner, topic_id, task.letter, c, words,
                         *given.get((learner, topic_id, task.letter, c.name), (None, None)))
                    for c in task.rubric
                ]  # fmt: skip
    return sorted(found, key=lambda i: (i.topic, i.task, i.learner))


def rationale(item: Any, letter: str, place: Path | None) -> str:
    """The words that a learner has written for a task, without what the lab's cell says; "" where there are none."""
    if place is None or not (place / "executed.ipynb").is_file():
        return ""
    asked = next(c.source for c in compose(item, "labs").cells if f"rationale-{letter}" in tags(c))
    title = asked.splitlines()[0][:40]
    known = {line.strip() for line in asked.splitlines()}
    for cell in nbformat.read(place / "executed.ipynb", as_version=4).cells:
        if cell.cell_type == "markdown" and (f"rationale-{letter}" in tags(cell) or cell.source.startswith(title)):
            return "\n".join(line for line in cell.source.splitlines() if line.strip() not in known).strip()
    return ""


def write_sheet(found: Sequence[Item], out: io.TextIOBase) -> None:
    """A CSV with COLUMNS, a row for each item, to be filled in: points and comment."""
    table = csv.writer(out, lineterminator="\n")
    table.writerow(COLUMNS)
    for i in found:
        points = "" if i.points is None else f"{i.points:g}"
        row = (i.learner, i.topic, i.task, i.criterion.name, i.criterion.asks, f"{i.criterion.points:g}", i.words, points,
               i.comment or "")  # fmt: skip
        table.writerow([defused(v) for v in row])


def read_sheet(text: str, where: str, found: Sequence[Item]) -> list[tuple[Item, float, str | None]]:
    """The rows of a filled sheet that have points; others are still open. Raises UsageError in one line that names the row."""
    by_key = {(defused(i.learner), i.topic, i.task, i.criterion.name): i for i in found}
    reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff")))
    lacking = [c for c in ("learner", "topic", "task", "criterion", "points") if c not in (reader.fieldnames or ())]
    if lacking:
        raise UsageError(
            f"{where} lacks the columns {', '.join(lacking)}. python -m grader review BOOK --sheet FILE makes one."
        )
    made: dict[tuple[str, ...], tuple[Item, float, str | None]] = {}
    for row in reader:
        key = tuple(
            str(row[c] or "").strip() if c != "learner" else str(row[c])
            for c in ("learner", "topic", "task", "criterion")
        )
        text_points = str(row["points"] or "").strip()
        if not text_points:
            continue
        at = f"{where}, line {reader.line_num}"
        if key not in by_key:
            raise UsageError(f"{at}: there is no rubric {' / '.join(key)} with a graded submission in this book.")
        if key in made:
            raise UsageError(f"{at}: {' / '.join(key)} stands twice.")
        made[key] = (by_key[key], checked(by_key[key], text_points, at), _comment(row.get("comment")))
    return list(made.values())


def checked(item: Item, text: str, at: str) -> float:
    """Points of one line. Raises UsageError for what is no number from 0 to the most that the rubric gives."""
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        value = None
    number = as_number(value)
    if number is None or not 0 <= number <= item.criterion.points:
        raise UsageError(f"{at}: points are {text!r}; a number from 0 to {item.criterion.points:g} is expected.")
    return float(number)


def _comment(text: str | None) -> str | None:
    """A comment as it was written: the apostrophe that keeps a spreadsheet from calculating is not part of it."""
    plain = (text or "").strip()
    if plain.startswith("'") and defused(plain[1:]) == plain:
        plain = plain[1:]
    return plain or None


def record(book: Gradebook, given: Sequence[tuple[Item, float, str | None]], reviewer: str) -> int:
    """Keeps marks and comments, all or nothing, in place of what was given before; returns how many."""
    now = datetime.now(UTC).replace(tzinfo=None)
    rows = [
        (i.learner, i.topic, i.task, i.criterion.name, points, i.criterion.points, comment, reviewer, now)
        for i, points, comment in given
    ]
    return book.set_reviews(rows)


def ask(
    found: Sequence[Item], prompt: Callable[[str], str | None], show: Callable[[str], None]
) -> list[tuple[Item, float, str | None]]:
    """Asks for each open item in the terminal: points, then a comment. An empty answer leaves it open; q ends, and so does None,
    which is what ``prompt`` gives when the terminal is gone: what was given till then is returned."""
    given: list[tuple[Item, float, str | None]] = []
    todo = [i for i in found if i.points is None]
    before: tuple[str, str, str] | None = None
    for n, i in enumerate(todo, 1):
        if (i.topic, i.task, i.learner) != before:
            before = (i.topic, i.task, i.learner)
            show(
                f"\n[{n} of {len(todo)}] {i.topic}, task {i.task}, {i.learner}\n\n{i.words or '(nothing is written)'}\n"
            )
        while True:
            answer = prompt(
                f"{i.criterion.name}: {i.criterion.asks} (0 to {i.criterion.points:g}, empty: later, q: end)"
            )
            if answer is None or answer.strip() == "q":
                return given
            if not answer.strip():
                break
            try:
                points = checked(i, answer.strip(), i.criterion.name)
            except UsageError as error:
                show(str(error))
                continue
            given.append((i, points, _comment(prompt("comment (empty: none)"))))
            break
    return given
