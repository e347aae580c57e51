"""A gradebook for other programs: CSV for spreadsheets, CSV as Canvas and Moodle read it, JUnit XML for CI, JSON for everything
else.

What the formats ask for, by what their makers publish:

* Canvas: the gradebook's import (lib/gradebook_importer.rb): columns Student, ID, SIS User ID, SIS Login ID, Section, then one an
  assignment; a row "Points Possible"; students are found by ID, else by SIS Login ID, else by name.
* Moodle: the import of grades as CSV (grade/import/csv): whoever imports says which column is the user and which grade item each
  other one is; "-" is no grade.
* JUnit: junit-10.xsd of the Jenkins xUnit plugin, which GitHub and GitLab read as well.
"""

from __future__ import annotations

import csv
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any, TextIO

from grader.gradebook import Gradebook
from grader.junit import XML, suite
from workshop.errors import UsageError
from workshop.topics import syllabus

FORMATS = ("csv", "canvas", "moodle", "junit", "json")
COLUMNS = (
    "learner",
    "topic",
    "points",
    "max_points",
    "raw_points",
    "late_minutes",
    "attempts",
    "reproduction",
    "needs_a_human",
    "findings",
    "review_points",
    "review_max_points",
    "review_comments",
)
# What a spreadsheet takes for a formula: by its first sign, also behind what cannot be seen, and in full width.
FORMULA = re.compile(r"[\s\x00-\x1f\u200b-\u200f\ufeff]*[=+\-@＝＋－＠]|[\t\r\n]")
LEARNERS_AT_ONCE = 50

_ROWS = """
with flagged as (
  select s.learner, s.topic,
    bool_or(r.needs_a_human and (s.submission_id = m.counted_submission or r.status <> 'refused')) as needs_a_human
  from marks m
  join submissions s on s.learner = m.learner and s.topic = m.topic
  join runs r using (job_key)
  group by all
),
reviewed as (
  select learner, topic, sum(points) as review_points, sum(max_points) as review_max_points,
    list({task: task, criterion: criterion, points: points, max_points: max_points, comment: comment} order by task, rowid)
      as reviews
  from reviews
  group by all
)
select learner, topic, m.points, m.max_points, m.raw_points, m.late_minutes, m.attempts, r.reproduction,
  coalesce(f.needs_a_human, false) as needs_a_human,
  (select list({code: w.code, level: w.level, text: w.text} order by w.position) from findings w
    where w.job_key = s.job_key) as findings,
  v.review_points, v.review_max_points, v.reviews
from marks m
full join reviewed v using (learner, topic)
left join submissions s on s.submission_id = m.counted_submission
left join runs r on r.job_key = s.job_key
left join flagged f using (learner, topic)
order by learner, topic
"""
_RUNS = """
select s.learner, s.topic, s.job_key, s.attempt, s.submitted_at, s.path,
  coalesce(s.submission_id = m.counted_submission, false) as counts,
  r.status, r.points, r.max_points, r.reproduction, r.needs_a_human
from submissions s
join marks m on m.learner = s.learner and m.topic = s.topic
left join runs r using (job_key)
where s.learner in (select unnest(?::varchar[]))
order by s.learner, s.topic, s.attempt
"""
_CHECKS = """
select job_key, task, check_name as "check", title, outcome, points, max_points, message, ask, misconception,
  weaker_evidence, grader_fault
from check_results
where job_key in (select unnest(?::varchar[]))
order by job_key, task, rowid
"""


def export(book_path: Path, format: str, out: TextIO) -> None:
    """Writes the marks of a gradebook to ``out``, one row for each learner and topic, ordered by them.

    csv: COLUMNS, with a header; ``findings`` are the codes of those that are more than a note, of the submission that
    counts; a cell is empty where nothing is graded yet; text that a spreadsheet would take for a formula begins with an
    apostrophe. canvas, moodle: one row a learner, one column a lab, and one more where it was reviewed by hand (for moodle
    with the comments). junit: a suite for each learner and lab, a case for each check of the submission that counts. json: a
    list of the rows of csv, in which ``findings`` and ``reviews`` are whole and ``runs`` has each attempt with its checks.

    ``needs_a_human``: the run that counts was refused or lost or a check in it broke; or an attempt that might have
    counted was lost or had such a check. Raises UsageError for another format, WorkshopError for a book that cannot be
    read or whose marks have not been worked out since something came in.
    """
    if format not in FORMATS:
        raise UsageError(f"There is no export format {format!r}. Formats: {', '.join(FORMATS)}.")
    with Gradebook.read(book_path) as book:
        book.require_settled()
        rows = book.select(_ROWS).dicts()
        for row in rows:
            row["findings"], row["reviews"] = row["findings"] or [], row["reviews"] or []
        if format == "csv":
            _csv(rows, out)
        elif format == "canvas":
            _canvas(rows, out)
        elif format == "moodle":
            _moodle(rows, out)
        elif format == "junit":
            _junit(book, rows, out)
        else:
            _json(book, rows, out)


def defused(text: str) -> str:
    """The text as a cell that no spreadsheet takes for a formula."""
    return "'" + text if FORMULA.match(text) else text


def _csv(rows: list[dict[str, Any]], out: TextIO) -> None:
    table = csv.writer(out, lineterminator="\n")
    table.writerow(COLUMNS)
    for row in rows:
        codes = " ".join(dict.fromkeys(f["code"] for f in row["findings"] if f["level"] != "note"))
        shown = {**row, "findings": codes, "review_comments": _comments(row)}
        table.writerow([_cell(shown[name]) for name in COLUMNS])


def _comments(row: dict[str, Any]) -> str:
    """What reviewers have written, with the task and the criterion it is about."""
    return " / ".join(f"{v['task']}, {v['criterion']}: {v['comment']}" for v in row["reviews"] if v["comment"])


def _labs(rows: list[dict[str, Any]]) -> list[tuple[str, str, bool]]:
    """The columns of a table with one row a learner: (topic, title, whether it is of reviews), in the order of the syllabus."""
    titles = {t.id: f"{t.id} {t.title}" for t in syllabus().topics}
    marked, reviewed = ({r["topic"] for r in rows if r[k] is not None} for k in ("max_points", "review_max_points"))
    found = []
    for topic, title in titles.items():
        found += [(topic, title, False)] if topic in marked else []
        found += [(topic, f"{title}, reviewed by hand", True)] if topic in reviewed else []
    return found


def _by_learner(rows: list[dict[str, Any]]) -> dict[str, dict[str, dict[str, Any]]]:
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["learner"], {})[row["topic"]] = row
    return found


def _canvas(rows: list[dict[str, Any]], out: TextIO) -> None:
    """ID stays empty, as Canvas alone knows it; a learner's name here is the SIS Login ID."""
    labs, table = _labs(rows), csv.writer(out, lineterminator="\n")
    most = {
        (t, by_hand): max(r["review_max_points" if by_hand else "max_points"] or 0 for r in rows if r["topic"] == t)
        for t, _, by_hand in labs
    }
    table.writerow(["Student", "ID", "SIS User ID", "SIS Login ID", "Section", *(title for _, title, _ in labs)])
    table.writerow(["    Points Possible", "", "", "", "", *(_cell(most[t, by_hand]) for t, _, by_hand in labs)])
    for learner, of in _by_learner(rows).items():
        got = [of.get(t, {}).get("review_points" if by_hand else "points") for t, _, by_hand in labs]
        table.writerow([defused(learner), "", "", defused(learner), "", *map(_cell, got)])


def _moodle(rows: list[dict[str, Any]], out: TextIO) -> None:
    labs, table = _labs(rows), csv.writer(out, lineterminator="\n")
    header = ["Username"]
    for _, title, by_hand in labs:
        header += [title, f"{title} (feedback)"] if by_hand else [title]
    table.writerow(header)
    for learner, of in _by_learner(rows).items():
        cells = [defused(learner)]
        for t, _, by_hand in labs:
            row = of.get(t)
            cells.append(_cell(row and row["review_points" if by_hand else "points"]) or "-")
            if by_hand:
                cells.append(_cell(_comments(row) if row else ""))
        table.writerow(cells)


def _junit(book: Gradebook, rows: list[dict[str, Any]], out: TextIO) -> None:
    out.write(f"{XML}<testsuites>\n")
    for row in _with_runs(book, [r for r in rows if r["attempts"]]):
        checks = next((run["checks"] for run in row["runs"] if run["counts"]), [])
        made = suite(row["learner"], row["topic"], checks, row["findings"], row["points"], row["max_points"])
        out.write(ET.tostring(made, encoding="unicode") + "\n")
    out.write("</testsuites>\n")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    return defused(value) if isinstance(value, str) else str(value)


def _json(book: Gradebook, rows: list[dict[str, Any]], out: TextIO) -> None:
    before = "[\n"
    for row in _with_runs(book, rows):
        out.write(before + json.dumps(row, ensure_ascii=False))
        before = ",\n"
    out.write("[]\n" if before == "[\n" else "\n]\n")


def _with_runs(book: Gradebook, rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The rows with their runs; those of a few learners at a time, since messages are long."""
    by_learner = [list(group) for _, group in groupby(rows, key=lambda row: row["learner"])]
    for i in range(0, len(by_learner), LEARNERS_AT_ONCE):
        some = by_learner[i : i + LEARNERS_AT_ONCE]
        runs = _runs(book, [group[0]["learner"] for group in some])
        for group in some:
            for row in group:
                yield {**row, "runs": runs[row["learner"], row["topic"]]}


def _runs(book: Gradebook, learners: list[str]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    runs = book.select(_RUNS, learners).dicts()
    checks: dict[str, list[dict[str, Any]]] = {}
    for check in book.select(_CHECKS, [run["job_key"] for run in runs]).dicts():
        checks.setdefault(check.pop("job_key"), []).append(check)
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for run in runs:
        place = run.pop("learner"), run.pop("topic")
        at: datetime = run["submitted_at"]
        found.setdefault(place, []).append(
            {**run, "submitted_at": at.isoformat() + "Z", "checks": checks.get(run["job_key"], [])}
        )
    return found
