"""A gradebook for other programs: CSV for spreadsheets and learning platforms, JSON for everything else."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any, TextIO

from grader.gradebook import Gradebook
from workshop.errors import UsageError, WorkshopError

FORMATS = ("csv", "json")
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
)
select m.learner, m.topic, m.points, m.max_points, m.raw_points, m.late_minutes, m.attempts, r.reproduction,
  coalesce(f.needs_a_human, false) as needs_a_human,
  (select list({code: w.code, level: w.level, text: w.text} order by w.position) from findings w
    where w.job_key = s.job_key) as findings
from marks m
left join submissions s on s.submission_id = m.counted_submission
left join runs r using (job_key)
left join flagged f on f.learner = m.learner and f.topic = m.topic
order by m.learner, m.topic
"""
_RUNS = """
select s.learner, s.topic, s.job_key, s.attempt, s.submitted_at, s.path, s.submission_id = m.counted_submission as counts,
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
    apostrophe. json: a list of the same rows, in which ``findings`` are whole and ``runs`` has each attempt with its checks.

    ``needs_a_human``: the run that counts was refused or lost or a check in it broke; or an attempt that might have
    counted was lost or had such a check. Raises UsageError for another format, WorkshopError for a book that cannot be
    read or whose marks have not been worked out since something came in.
    """
    if format not in FORMATS:
        raise UsageError(f"There is no export format {format!r}. Formats: {', '.join(FORMATS)}.")
    with Gradebook.read(book_path) as book:
        if not book.is_settled:
            raise WorkshopError(
                f"{book_path} holds work whose marks have not been worked out. Run python -m grader cohort again: it "
                "goes on where it was."
            )
        rows = book.select(_ROWS).dicts()
        for row in rows:
            row["findings"] = row["findings"] or []
        if format == "csv":
            _csv(rows, out)
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
        table.writerow([_cell(value) for value in ({**row, "findings": codes}[name] for name in COLUMNS)])


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
