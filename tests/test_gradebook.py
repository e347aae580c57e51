"""The gradebook keeps what was graded, whatever happens to its writer; marks follow the course file; exports are safe."""

import base64
import csv
import errno
import io
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import duckdb
import jsonschema
import numpy as np
import pytest

from grader import gradebook
from grader.course import Course, ExtraTime, LatePolicy, Seeds, load_course
from grader.export import COLUMNS, defused, export
from grader.gradebook import QUESTIONS, SCHEMA, SCHEMA_VERSION, VIEWS, Gradebook, HandedIn, _explained, schema_text
from grader.job import Job, Outcome
from grader.limits import Limits
from workshop.errors import UsageError, WorkshopError
from workshop.paths import REPOSITORY
from workshop.topics import syllabus

RESULT_SCHEMA = jsonschema.Draft202012Validator(json.loads((REPOSITORY / "grader/result.schema.json").read_text()))
START = datetime(2026, 11, 2, 9, tzinfo=UTC)
CHECKS = (("a", "rows_survive", 4.0), ("a", "no_doubles", 3.0), ("b", "one_price", 3.0))


# -- fake work -----------------------------------------------------------------------------------------------------------


def job(n: int | str, topic: str = "3.6") -> Job:
    return Job(topic, f"notebook {n}".encode(), b"s" * 16, 0.02, Limits(), "none", "0123456789abcdef")


def finding(code: str, level: str = "warning", text: str = "What was found.") -> dict:
    return {"code": code, "level": level, "text": text}


def outcome(
    of: Job,
    points: float = 10.0,
    *,
    findings: tuple = (),
    fault: bool = False,
    message: str = "Said.",
    pictures: tuple[bytes, ...] = (),
) -> Outcome:
    """An outcome whose checks pass in order as far as the points go; refused or lost where a fatal finding says so."""
    gradable = not any(f["level"] == "fatal" for f in findings)
    tasks: dict[str, dict] = {}
    left = points
    for letter, name, most in CHECKS if gradable else ():
        got, left = min(most, left), max(0.0, left - most)
        task = tasks.setdefault(letter, {"task": letter, "points": 0.0, "max_points": 0.0, "checks": []})
        task["points"], task["max_points"] = task["points"] + got, task["max_points"] + most
        task["checks"].append(
            {
                "check": name,
                "title": f"Title of {name}",
                "outcome": "passed" if got == most else "failed",
                "points": got,
                "max_points": most,
                "message": message,
                "ask": None if got == most else "What is loaded twice?",
                "misconception": None if got == most else "append_only",
                "weaker_evidence": False,
                "grader_fault": fault,
                "evidence": [
                    {"title": "Rows", "table": None, "png_base64": None, "text": "a, b"},
                    *(
                        {"title": "Picture", "table": None, "png_base64": base64.b64encode(p).decode(), "text": None}
                        for p in pictures
                    ),
                ],
            }
        )
    result = {
        "schema_version": 1,
        "learner": "",
        "topic": of.topic,
        "title": "A lab",
        "notebook_sha256": sha256(of.notebook).hexdigest(),
        "gradable": gradable,
        "points": points if gradable else 0,
        "max_points": 10.0,
        "world": "w-1" if gradable else None,
        "scale": 0.02 if gradable else None,
        "generator_version": "g1" if gradable else None,
        "reproduction": {"status": "same", "text": "All the same.", "compared": 3, "cells": []} if gradable else None,
        "findings": list(findings),
        "tasks": list(tasks.values()),
    }
    RESULT_SCHEMA.validate(result)
    return Outcome(result, None, 1, 2.5)


LOST = (finding("lost", "fatal"),)
REFUSED = (finding("not_a_notebook", "fatal"),)


def handed_in(learner: str, of: Job, hours: float = 0, *, path: str | None = None) -> HandedIn:
    path = path or f"{learner}/{of.topic}.ipynb"
    return HandedIn(learner, of.topic, path, sha256(of.notebook).hexdigest(), START + timedelta(hours=hours), of.key)


def fill(book: Gradebook, *work: tuple[str, Job, float, Outcome | None]) -> None:
    """Adds (learner, job, hours after START, outcome) each."""
    book.add_submissions([handed_in(learner, of, hours) for learner, of, hours, _ in work])
    book.record([(of, came) for _, of, _, came in work if came])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "book.duckdb"


@pytest.fixture
def book(path: Path):
    with Gradebook.open(path) as opened:
        yield opened


def exported(path: Path, kind: str) -> list[dict]:
    out = io.StringIO()
    export(path, kind, out)
    text = out.getvalue()
    return json.loads(text) if kind == "json" else list(csv.DictReader(io.StringIO(text)))


# -- the course file -----------------------------------------------------------------------------------------------------


def course(tmp_path: Path, text: str) -> Course:
    file = tmp_path / "course.yaml"
    file.write_text(text, encoding="utf-8")
    return load_course(file)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


WHOLE = """
title: Data Operations, autumn
round: 2026-11-30
timezone: Europe/Berlin
deadlines: {default: 2026-11-30 23:59, "3.6": 2026-12-07 23:59, 4.1: 2026-12-01, 5.1: none, 5.2: 2026-12-01 12:00 -05:00}
late: {grace_minutes: 15, per_day_pct: 10, at_most_pct: 50, refuse_after_days: 7}
attempts: last
seeds: {pool: 5, per: learner}
extra_time: {ada: 3 days, ben: 12 hours, "007": 1 week 1 hour 30 minutes, no: 1 day}
"""


def test_the_course_file_is_read_as_it_is_written(tmp_path: Path) -> None:
    c = course(tmp_path, WHOLE)
    assert (c.title, c.round, c.timezone.key, c.attempts) == (
        "Data Operations, autumn",
        "2026-11-30",
        "Europe/Berlin",
        "last",
    )
    assert c.late_policy == LatePolicy(15, 10, 50, 7)
    assert c.seeds == Seeds(5, "learner")
    assert dict(c.extra_time)["007"] == ExtraTime(7, timedelta(hours=1, minutes=30))
    assert dict(c.extra_time)["no"] == ExtraTime(1)
    assert hash(c) == hash(replace(c))
    assert c.deadline("1.1", "eve") == utc("2026-11-30 22:59")
    assert c.deadline("3.6", "eve") == utc("2026-12-07 22:59")
    assert c.deadline("4.1", "eve") == utc("2026-12-01 22:59:59.999999")
    assert c.deadline("5.1", "eve") is None
    assert c.deadline("5.2", "eve") == utc("2026-12-01 17:00")
    assert c.deadline("1.1", "ada") == utc("2026-12-03 22:59")
    assert c.deadline("1.1", "ben") == utc("2026-12-01 10:59")
    assert c.deadline("5.1", "ada") is None


@pytest.mark.parametrize(
    "text", ["", "# nothing yet\n", "late:\ndeadlines:\nseeds: {}\ntitle: ~\n", "\ufeffround: 1\n"]
)
def test_what_is_left_out_has_its_default(tmp_path: Path, text: str) -> None:
    assert course(tmp_path, text) == Course() == load_course(None)
    assert Course().late("3.6", "ada", START) == (timedelta(0), 1.0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tittle: x", ["tittle", "title, round"]),
        ("- a", ["mapping", "deadlines"]),
        ("just text", ["mapping"]),
        ("title: [a]", ["title", "text"]),
        ("late: 5", ["late", "grace_minutes"]),
        ("late: {per_day: 5}", ["late", "per_day", "per_day_pct"]),
        ("late: {per_day_pct: 101}", ["late.per_day_pct", "0 to 100"]),
        ("late: {per_day_pct: -1}", ["late.per_day_pct", "0 to 100"]),
        ("late: {grace_minutes: .nan}", ["late.grace_minutes", "number"]),
        ("late: {grace_minutes: nan}", ["late.grace_minutes", "number"]),
        ("late: {grace_minutes: {a: 1}}", ["late.grace_minutes", "number"]),
        ("late: {at_most_pct: half}", ["late.at_most_pct", "'half'"]),
        ("late: {refuse_after_days: 1.5}", ["late.refuse_after_days", "whole"]),
        ("late: {refuse_after_days: yes}", ["late.refuse_after_days", "whole"]),
        ("attempts: first", ["attempts", "best, last"]),
        ("attempts: [best]", ["attempts", "best, last"]),
        ("seeds: {pool: 0}", ["seeds.pool", "from 1"]),
        ("seeds: {per: topic}", ["seeds.per", "course, learner, attempt"]),
        ("timezone: Mars/Olympus", ["timezone", "Mars/Olympus"]),
        ("timezone: ../../etc/passwd", ["timezone"]),
        ("timezone: Europe", ["timezone"]),
        ("deadlines: 2026-11-30", ["deadlines", "mapping"]),
        ("deadlines: {3.19: 2026-11-30}", ["deadlines", "3.19", "9.8"]),
        ("deadlines: {default: 2026-13-30}", ["deadlines.default", "2026-13-30", "2026-11-30 23:59"]),
        ("deadlines: {default: 20261130}", ["deadlines.default"]),
        ("deadlines: {default: soon}", ["deadlines.default", "soon"]),
        ("deadlines: {default: }", ["deadlines.default"]),
        ("deadlines: {default: [2026-11-30]}", ["deadlines.default"]),
        ("deadlines: {default: 0001-01-01 00:00+12:00}", ["deadlines.default", "2000"]),
        ("deadlines: {default: 2026-11-30, default: 2026-12-30}", ["default", "twice", "line 1"]),
        ("extra_time: {ada: 3}", ["extra_time.ada", "3 days"]),
        ("extra_time: {ada: -3 days}", ["extra_time.ada", "3 days"]),
        ("extra_time: {ada: 3 months}", ["extra_time.ada", "3 days"]),
        ("extra_time: {ada: 3 days and a bit}", ["extra_time.ada", "3 days"]),
        ("extra_time: [ada]", ["extra_time", "mapping"]),
        ("? [a]\n: b", ["key", "plain text"]),
        ("a: b: c", ["line 1"]),
        ("a: *b", ["line 1", "b"]),
        ("title: \x07", ["YAML"]),
    ],
)
def test_what_is_wrong_in_the_course_file_is_said_in_one_line(tmp_path: Path, text: str, words: list[str]) -> None:
    with pytest.raises(UsageError) as error:
        course(tmp_path, text)
    said = str(error.value)
    assert "\n" not in said
    assert str(tmp_path / "course.yaml") in said
    for word in words:
        assert word in said


def test_a_course_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        load_course(tmp_path / "none.yaml")
    with pytest.raises(UsageError, match="cannot be read"):
        load_course(tmp_path)
    (tmp_path / "latin.yaml").write_bytes("title: Überblick".encode("latin-1"))
    with pytest.raises(UsageError, match="UTF-8"):
        load_course(tmp_path / "latin.yaml")


POLICY = "late: {grace_minutes: 15, per_day_pct: 10, at_most_pct: 25, refuse_after_days: 4}\n"


@pytest.mark.parametrize(
    ("minutes", "factor"),
    [
        (-1, 1.0),
        (0, 1.0),
        (15, 1.0),
        (15.01, 0.9),
        (15 + 1440, 0.9),
        (16 + 1440, 0.8),
        (16 + 2 * 1440, 0.75),
        (15 + 4 * 1440, 0.75),
        (16 + 4 * 1440, 0.0),
        (400 * 1440, 0.0),
    ],
)
def test_each_started_day_after_the_grace_costs(tmp_path: Path, minutes: float, factor: float) -> None:
    c = course(tmp_path, POLICY + "deadlines: {default: 2026-11-30 12:00}")
    late, found = c.late("3.6", "ada", utc("2026-11-30 12:00") + timedelta(minutes=minutes))
    assert found == factor
    assert late == timedelta(minutes=max(0, minutes))


def test_a_day_is_a_day_when_clocks_change(tmp_path: Path) -> None:
    # Clocks go back on 25 October 2026 and forward on 28 March 2027: those days have 25 and 23 hours.
    c = course(
        tmp_path,
        "timezone: Europe/Berlin\nlate: {per_day_pct: 10}\n"
        "deadlines: {3.6: 2026-10-24 23:59, 4.1: 2027-03-27 23:59, 4.2: 2027-03-28 02:30, 4.3: 2026-10-25 02:30}\n"
        "extra_time: {ada: 1 day, ben: 24 hours}\n",
    )
    assert c.deadline("3.6", "eve") == utc("2026-10-24 21:59")
    assert c.deadline("3.6", "ada") == utc("2026-10-25 22:59")
    assert c.deadline("3.6", "ben") == utc("2026-10-25 21:59")
    assert c.late("3.6", "eve", utc("2026-10-25 22:59")) == (timedelta(hours=25), 0.9)
    assert c.late("3.6", "eve", utc("2026-10-25 23:00")) == (timedelta(hours=25, minutes=1), 0.8)
    assert c.late("4.1", "eve", utc("2027-03-28 21:59")) == (timedelta(hours=23), 0.9)
    assert c.late("4.1", "eve", utc("2027-03-28 22:00")) == (timedelta(hours=23, minutes=1), 0.8)
    # A time that the clock skips or shows twice is one moment all the same.
    assert c.deadline("4.2", "eve") == utc("2027-03-28 01:30")
    assert c.deadline("4.3", "eve") == utc("2026-10-25 00:30")
    assert c.late("4.3", "eve", utc("2026-10-25 01:30")) == (timedelta(hours=1), 0.9)


def test_times_without_an_offset_are_utc_and_others_are_moments(tmp_path: Path) -> None:
    c = course(tmp_path, "deadlines: {default: 2026-11-30 12:00}\nlate: {per_day_pct: 10}")
    assert c.late("3.6", "ada", datetime(2026, 11, 30, 12)) == (timedelta(0), 1.0)
    assert c.late("3.6", "ada", datetime.fromisoformat("2026-11-30 12:30+01:00")) == (timedelta(0), 1.0)
    assert c.late("3.6", "ada", datetime.fromisoformat("2026-11-30 12:30-01:00")) == (timedelta(minutes=90), 0.9)


# -- what the file is ----------------------------------------------------------------------------------------------------


def test_a_new_book_is_empty_explained_and_alone_in_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "book.duckdb"
    with Gradebook.open(path) as book:
        assert {t.name: len(book.select(f"from {t.name}")) for t in SCHEMA} == {
            t.name: int(t.name == "meta") for t in SCHEMA
        }
        tables = dict(book.select("select table_name, comment from duckdb_tables()"))
        assert tables == {t.name: t.holds for t in SCHEMA}
        columns = {
            (t, c): said
            for t, c, said in book.select(
                "select table_name, column_name, comment from duckdb_columns() where not internal"
            )
        }
        of_views = {(v.name, name): holds for v in VIEWS for name, holds in v.columns.items()}
        assert columns == {(t.name, c.name): c.holds for t in SCHEMA for c in t.columns} | of_views
        views = dict(book.select("select view_name, comment from duckdb_views() where not internal"))
        assert views == {v.name: v.holds for v in VIEWS}
    assert [f.name for f in path.parent.iterdir()] == ["book.duckdb"]


def test_a_book_of_an_earlier_version_gets_what_it_lacks_when_it_is_written(path: Path) -> None:
    with Gradebook.open(path) as book:
        fill(book, ("ada", job(1), 0, outcome(job(1), 5)))
        book.settle(Course())
        for view in VIEWS:
            book.select(f"drop view {view.name}")
        for table in ("reviews", "alike"):
            book.select(f"drop table {table}")
        book.select("update meta set schema_version = 1")
    with pytest.raises(WorkshopError, match="earlier version"):
        Gradebook.read(path)
    Gradebook.open(path).close()
    with Gradebook.read(path) as book:
        assert book.select("select learner, points from points_by_learner").rows == (("ada", 5.0),)
        assert len(book.select("from reviews")) == 0


def test_views_answer_what_instructors_ask(book: Gradebook) -> None:
    fill(
        book,
        ("ada", job(1), 0, outcome(job(1), 10)),
        ("ada", job(2, "4.1"), 0, outcome(job(2, "4.1"), 10)),
        ("ben", job(3), 0, outcome(job(3), 4)),
        ("ben", job(4), 1, outcome(job(4), 4)),
        ("ben", job(5), 2, outcome(job(5), 4)),
        ("eve", job(6), 0, outcome(job(6), 7)),
        ("eve", job(7, "4.1"), 0, outcome(job(7, "4.1"), findings=REFUSED)),
        ("zoe", job(8), 0, outcome(job(8), 0)),
    )
    book.settle(Course())
    assert book.select("select learner, topics, points, share from points_by_learner").rows == (
        ("ada", 2, 20.0, 1.0), ("ben", 1, 4.0, 0.4), ("eve", 2, 7.0, 0.35), ("zoe", 1, 0.0, 0.0),
    )  # fmt: skip
    assert book.select("select module, points from points_by_module where learner = 'ada'").rows == (
        (3, 10.0),
        (4, 10.0),
    )
    hardest = book.select(
        "select check_name, judged, passed, discrimination from hardest_checks where topic = '3.6'"
    ).rows
    assert [row[:3] for row in hardest] == [("one_price", 4, 1), ("no_doubles", 4, 2), ("rows_survive", 4, 3)]
    assert hardest[1][3] == pytest.approx(np.corrcoef([1, 0, 1, 0], [7, 4, 4, 0])[0, 1])
    assert book.select("from common_misconceptions where topic = '3.6'").rows == (
        ("3.6", "b", "append_only", 3, 0.75), ("3.6", "a", "append_only", 2, 0.5),
    )  # fmt: skip
    assert book.select("select learner, topic, reason from needs_help").rows == (
        ("eve", "4.1", "not graded"), ("zoe", "3.6", "behind"), ("ben", "3.6", "stuck"),
    )  # fmt: skip


def test_the_page_about_the_book_is_fresh() -> None:
    renew = "python -c 'from grader.gradebook import schema_text; print(schema_text(), end=\"\")' > docs/GRADEBOOK.md"
    assert (REPOSITORY / "docs/GRADEBOOK.md").read_text(encoding="utf-8") == schema_text(), f"Renew it: {renew}"


def test_the_queries_of_the_page_answer_their_questions(book: Gradebook) -> None:
    fill(
        book,
        ("ada", job(1), 0, outcome(job(1), 5)),
        ("ben", job(2), 0, outcome(job(2), findings=REFUSED)),
        ("eve", job(3), 0, outcome(job(3), fault=True)),
    )
    book.settle(Course())
    failed, misconceptions, human, topics = (list(book.select(sql)) for _, sql in QUESTIONS)
    assert ("3.6", "b", "Title of one_price", 1, 2) in failed
    assert misconceptions == [("3.6", "a", "append_only", 1), ("3.6", "b", "append_only", 1)]
    assert [(r[0], r[3]) for r in human] == [("ben", "refused"), ("eve", "graded")]
    assert topics == [("3.6", 3, 0.5, 0)]


def foreign(path: Path) -> None:
    with duckdb.connect(str(path)) as con:
        con.execute("create table sales (n integer)")


def other_meta(path: Path) -> None:
    with duckdb.connect(str(path)) as con:
        con.execute("create table meta (schema_version varchar); insert into meta values ('two')")


def of_version(version: int, path: Path) -> None:
    Gradebook.open(path).close()
    with duckdb.connect(str(path)) as con:
        con.execute("update meta set schema_version = ?", [version])


def half_a_file(path: Path) -> None:
    Gradebook.open(path).close()
    path.write_bytes(path.read_bytes()[:9000])


def scratched(path: Path) -> None:
    with Gradebook.open(path) as book:
        fill(book, ("ada", job(1), 0, outcome(job(1))))
    data = bytearray(path.read_bytes())
    data[12288:] = b"\x07" * (len(data) - 12288)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (Path.mkdir, "is a folder"),
        (lambda path: path.write_bytes(b""), "no DuckDB file"),
        (lambda path: path.write_bytes(b"learner,points\nada,10\n" * 1000), "no DuckDB file"),
        (foreign, "but no gradebook"),
        (other_meta, "but no gradebook"),
        (lambda path: of_version(0, path), "but no gradebook"),
        (lambda path: of_version(3, path), "newer version"),
        (half_a_file, "damaged"),
        (scratched, "damaged"),
    ],
)
def test_what_is_no_book_is_said_and_left_as_it_is(path: Path, made, words: str) -> None:
    made(path)
    before = path.read_bytes() if path.is_file() else None
    for opening in (Gradebook.open, Gradebook.read, Gradebook.rows_for_comparison):
        with pytest.raises(WorkshopError, match=words) as error:
            opening(path)
        assert "\n" not in str(error.value)
        assert str(path) in str(error.value)
    assert before is None or path.read_bytes() == before


def test_a_book_that_is_not_there_is_not_made_by_reading(path: Path) -> None:
    with pytest.raises(WorkshopError, match="no gradebook"):
        Gradebook.read(path)
    assert not path.exists()


def test_a_log_without_its_book_is_not_thrown_away(path: Path) -> None:
    log = Path(f"{path}.wal")
    log.write_bytes(b"what was recorded last")
    with pytest.raises(WorkshopError, match=r"its log .* is there"):
        Gradebook.open(path)
    assert log.read_bytes() == b"what was recorded last"


def test_a_book_is_made_where_there_are_no_hard_links(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuses)
    Gradebook.open(path).close()
    assert Gradebook.rows_for_comparison(path)["meta"] == [(SCHEMA_VERSION,)]


def test_of_two_who_make_the_same_book_the_first_wins(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Gradebook.open(path) as book:
        fill(book, ("ada", job(1), 0, outcome(job(1))))
    monkeypatch.setattr(Path, "exists", lambda self: False)  # as if it had come just after it was looked for
    with Gradebook.open(path) as book:
        assert book.known([job(1).key]) == {job(1).key}


def test_what_the_system_says_is_explained(path: Path) -> None:
    for cause, words in (
        (
            duckdb.TransactionException(f'Could not write file "{path}.wal": No space left on device'),
            "the disk is full",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
        (PermissionError(errno.EACCES, "Permission denied"), "cannot be used: Permission denied"),
    ):
        with pytest.raises(WorkshopError, match=words), _explained(path):
            raise cause


# -- recording -----------------------------------------------------------------------------------------------------------


def test_submissions_are_added_once_and_numbered_by_their_time(book: Gradebook) -> None:
    first, second, third = job("first"), job("second"), job("third")
    late, early = handed_in("ada", second, 5), handed_in("ada", first, 1)
    assert book.add_submissions([late]) == [1]
    assert book.add_submissions([late, early, handed_in("ben", first)]) == [2, 1, 1]
    before = list(book.select("from submissions order by submission_id"))
    assert book.add_submissions([late, early, late]) == [2, 1, 2]
    assert [r[:-1] for r in book.select("from submissions order by submission_id")] == [r[:-1] for r in before]
    # At the same time: in the order of arrival.
    assert book.add_submissions([handed_in("ada", third, 5)]) == [3]
    assert book.select("select list(learner order by learner) from learners").value() == ["ada", "ben"]
    assert book.add_submissions([]) == []


def test_of_a_file_the_content_that_it_has_is_current(book: Gradebook) -> None:
    one, two = job(1), job(2)

    def current() -> dict[str, bool]:
        return dict(book.select("select job_key, is_current from submissions"))

    book.add_submissions([handed_in("ada", one), handed_in("ben", one, path="else.ipynb")])
    book.add_submissions([handed_in("ada", two, 1)])
    assert list(book.select("select learner, attempt, is_current from submissions order by all")) == [
        ("ada", 1, False),
        ("ada", 2, True),
        ("ben", 1, True),
    ]
    assert book.add_submissions([handed_in("ada", one, 2)]) == [1]
    assert list(book.select("select attempt, is_current from submissions where learner = 'ada' order by all")) == [
        (1, True),
        (2, False),
    ]


def test_the_earliest_time_stands_and_a_key_can_follow(book: Gradebook) -> None:
    row = handed_in("ada", job(1), 5)
    book.add_submissions([replace(row, job_key=None)])
    book.add_submissions([row])
    book.add_submissions([replace(row, job_key=None, submitted_at=row.submitted_at + timedelta(days=9))])
    assert list(book.select("select job_key, submitted_at from submissions")) == [
        (job(1).key, datetime(2026, 11, 2, 14)),
    ]
    book.add_submissions([replace(row, job_key="other", submitted_at=datetime.fromisoformat("2026-11-02 14:00+05:00"))])
    assert list(book.select("select job_key, submitted_at from submissions")) == [("other", START.replace(tzinfo=None))]


def test_runs_are_recorded_whole_and_never_twice(book: Gradebook) -> None:
    one, two = job(1), job(2)
    assert book.record([(one, outcome(one, 5, findings=(finding("frame_mended"), finding("aside", "note"))))]) == 1
    assert book.record([(one, outcome(one, 10)), (two, outcome(two, 7)), (two, outcome(two, 7))]) == 1
    assert book.record([]) == 0
    assert book.known([one.key, "none"]) == {one.key}
    runs = book.select("select * exclude (result, graded_at) from runs order by points").dicts()
    assert runs[0] == {
        "job_key": one.key,
        "topic": "3.6",
        "notebook_sha256": handed_in("ada", one).notebook_sha256,
        "status": "graded",
        "points": 5.0,
        "max_points": 10.0,
        "reproduction": "same",
        "world": "w-1",
        "scale": 0.02,
        "generator_version": "g1",
        "sources": "0123456789abcdef",
        "isolation": "none",
        "tries": 1,
        "seconds": 2.5,
        "needs_a_human": False,
    }
    text = book.select("select result from runs where job_key = ?", one.key).value()
    assert json.loads(text) == outcome(one, 5, findings=(finding("frame_mended"), finding("aside", "note"))).result
    assert list(book.select("select position, code, level from findings order by position")) == [
        (1, "frame_mended", "warning"),
        (2, "aside", "note"),
    ]
    assert book.select("select count(*) from check_results").value() == 6


def test_a_run_is_replaced_only_when_that_was_asked_for(book: Gradebook) -> None:
    one, two = job(1), job(2)
    book.record([(one, outcome(one, 5, findings=(finding("first"), finding("first_again")))), (two, outcome(two))])
    assert book.record([(one, outcome(one, 7, findings=(finding("second"),)))], replace=True) == 1
    assert book.record([(one, outcome(one, findings=LOST))], replace=True) == 1
    assert book.record([(one, outcome(one, 7, findings=(finding("second"),)))], replace=True) == 1
    assert book.select("select points from runs where job_key = ?", one.key).value() == 7
    assert book.select("select sum(points) from check_results where job_key = ?", one.key).value() == 7
    assert list(book.select("select job_key, code from findings")) == [(one.key, "second")]
    assert book.select("select count(*) from runs").value() == 2
    assert book.select("select count(*) from check_results").value() == 6


def test_a_result_comes_back_whole_with_its_pictures(book: Gradebook) -> None:
    one, two = job(1), job(2)
    pictures = (os.urandom(70_000), os.urandom(16 * 1024))
    came = outcome(one, 5, pictures=pictures)
    book.record([(one, came), (two, outcome(two, 5, pictures=(b"small",)))])
    assert came.result == outcome(one, 5, pictures=pictures).result  # it is the caller's
    assert book.result(one.key) == came.result
    plain = json.loads(book.select("select result from runs where job_key = ?", one.key).value())
    RESULT_SCHEMA.validate(plain)
    assert len(json.dumps(plain)) < 10_000
    assert book.select("select count(*), max(octet_length(png)) from pictures").rows == ((3 * (5 + 1) + 3, 16 * 1024),)
    book.record([(one, outcome(one, 7))], replace=True)
    assert book.result(one.key) == outcome(one, 7).result
    assert book.result(two.key) == outcome(two, 5, pictures=(b"small",)).result
    with pytest.raises(KeyError):
        book.result("none")


@pytest.mark.parametrize(
    ("came", "status", "human"),
    [
        ({}, "graded", False),
        ({"points": 0.0, "findings": (finding("kernel_died"),)}, "graded", False),
        ({"fault": True}, "graded", True),
        ({"findings": REFUSED}, "refused", True),
        ({"findings": LOST}, "lost", True),
        ({"findings": (finding("lost"),)}, "lost", True),
    ],
)
def test_what_needs_a_human_is_marked(book: Gradebook, came: dict, status: str, human: bool) -> None:
    book.record([(job(1), outcome(job(1), **came))])
    assert list(book.select("select status, needs_a_human from runs")) == [(status, human)]


def test_the_published_schema_knows_every_topic() -> None:
    for topic in syllabus().topics:
        outcome(job(1, topic.id))  # validates


def test_any_text_of_a_learner_is_kept(path: Path) -> None:
    nasty = "'; drop table runs; --\x00\ud800\U0001f600\u2028\"\\"
    one = job(1)
    with Gradebook.open(path) as book:
        book.add_submissions([handed_in(f"a{nasty}", one), handed_in("b\udcff", one), handed_in("b\udcfe", one)])
        book.record([(one, outcome(one, 5, message=nasty, findings=(finding("odd", text=nasty),)))])
        book.settle(Course())
        assert book.select("select count(*) from learners").value() == 3
        kept = nasty.replace("\ud800", "\\ud800")
        assert set(book.select("select message from check_results").column("message")) == {kept}
        assert json.loads(book.select("select result from runs").value())["findings"][0]["text"] == nasty.replace(
            "\ud800", "?"
        )
    assert len(exported(path, "csv")) == 3
    assert [r["learner"] for r in exported(path, "json")] == sorted(["a" + kept, "b\\udcff", "b\\udcfe"])


# -- marks ---------------------------------------------------------------------------------------------------------------

DUE = "deadlines: {default: 2026-11-02 12:00}\nlate: {per_day_pct: 50}\n"


def marks(book: Gradebook, *columns: str) -> list[tuple]:
    return list(book.select(f"select {', '.join(columns)} from marks order by learner, topic"))


@pytest.mark.parametrize(
    ("policy", "attempts", "expected"),
    [
        # (hours after 9:00, points) each; the deadline is at 12:00
        ("best", [(0, 4), (1, 8), (2, 6)], (2, 8.0, 1.0, 8.0, 0)),
        ("last", [(0, 4), (1, 8), (2, 6)], (3, 6.0, 1.0, 6.0, 0)),
        ("best", [(0, 7), (1, 7)], (1, 7.0, 1.0, 7.0, 0)),
        ("best", [(0, 4), (5, 10)], (2, 10.0, 0.5, 5.0, 120)),
        ("best", [(0, 6), (5, 10)], (1, 6.0, 1.0, 6.0, 0)),
        ("best", [(0, 5), (5, 10)], (1, 5.0, 1.0, 5.0, 0)),
        ("last", [(0, 6), (5, 10)], (2, 10.0, 0.5, 5.0, 120)),
        ("best", [(0, 0), (100, 10)], (1, 0.0, 1.0, 0.0, 0)),
        ("best", [(0, None), (1, 3)], (2, 3.0, 1.0, 3.0, 0)),
        ("last", [(0, 3), (1, None)], (1, 3.0, 1.0, 3.0, 0)),
        ("best", [(3.001, 9)], (1, 9.0, 0.5, 4.5, 1)),
    ],
)
def test_the_attempt_that_counts_follows_the_policy(
    book: Gradebook, tmp_path: Path, policy: str, attempts: list, expected: tuple
) -> None:
    work = [("ada", job(i), hours, None if p is None else outcome(job(i), p)) for i, (hours, p) in enumerate(attempts)]
    fill(book, *work)
    assert book.settle(course(tmp_path, DUE + f"attempts: {policy}")) == 1
    found = marks(book, "counted_submission", "raw_points", "late_factor", "points", "late_minutes")
    assert found == [expected]
    assert marks(book, "attempts", "deadline", "max_points") == [(len(attempts), datetime(2026, 11, 2, 12), 10.0)]


def test_marks_are_settled_for_each_learner_and_topic_and_anew(book: Gradebook, tmp_path: Path) -> None:
    other = job("other", "4.1")
    fill(
        book,
        ("ada", job(1), 5, outcome(job(1), 10)),
        ("ada", other, 5, outcome(other, 8)),
        ("ben", job(2), 5, outcome(job(2), findings=LOST)),
        ("eve", job(3), 0, None),
    )
    assert not book.is_settled
    assert book.settle(course(tmp_path, DUE + "extra_time: {ada: 1 hour}")) == 4
    assert book.is_settled
    assert marks(book, "learner", "topic", "attempts", "points", "late_minutes") == [
        ("ada", "3.6", 1, 5.0, 60),
        ("ada", "4.1", 1, 4.0, 60),
        ("ben", "3.6", 1, 0.0, 120),
        ("eve", "3.6", 1, None, None),
    ]
    assert book.settle(Course()) == 4
    assert marks(book, "points", "deadline")[:2] == [(10.0, None), (8.0, None)]
    book.add_submissions([handed_in("ada", job(1), 5)])
    book.record([(job(1), outcome(job(1), 3))])
    assert book.is_settled  # nothing of that was new
    book.record([(job(3), outcome(job(3)))])
    assert not book.is_settled
    book.settle(Course())
    book.add_submissions([handed_in("eve", job(4))])
    assert not book.is_settled


# -- exports -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ada", "ada"),
        ("3.6", "3.6"),
        ("", ""),
        ("a=b", "a=b"),
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("\tx", "'\tx"),
        ("\rx", "'\rx"),
        ("   =cmd|' /C calc'!A0", "'   =cmd|' /C calc'!A0"),
        ("\u00a0\n+1", "'\u00a0\n+1"),
        ("\ufeff=1", "'\ufeff=1"),
        ("＝1", "'＝1"),
    ],
)
def test_no_cell_is_a_formula(text: str, shown: str) -> None:
    assert defused(text) == shown


def test_both_exports_say_the_same(path: Path, tmp_path: Path) -> None:
    mended = (finding("frame_mended"), finding("aside", "note"), finding("frame_mended"))
    with Gradebook.open(path) as book:
        fill(
            book,
            ('=ada,\n"x"', job(1), 0, outcome(job(1), 4, message="<b>\n=1")),
            ('=ada,\n"x"', job(2), 5, outcome(job(2), 9.25, findings=mended)),
            ("ben", job(3), 0, outcome(job(3), findings=REFUSED)),
            ("ben", job(4), 1, outcome(job(4), 10)),
            ("eve", job(5), 0, outcome(job(5), 6)),
            ("eve", job(6), 1, outcome(job(6), findings=LOST)),
            ("zoe", job(7), 1, None),
        )
        book.settle(course(tmp_path, DUE))
    rows, none = exported(path, "csv"), ("", "", "")
    assert list(rows[0]) == list(COLUMNS)
    assert rows == [
        {
            "learner": '\'=ada,\n"x"',
            "topic": "3.6",
            "points": "4.625",
            "max_points": "10",
            "raw_points": "9.25",
            "late_minutes": "120",
            "attempts": "2",
            "reproduction": "same",
            "needs_a_human": "false",
            "findings": "frame_mended",
            "review_points": "",
            "review_max_points": "",
            "review_comments": "",
        },
        dict(zip(COLUMNS, ("ben", "3.6", "10", "10", "10", "0", "2", "same", "false", "", *none), strict=True)),
        dict(zip(COLUMNS, ("eve", "3.6", "6", "10", "6", "0", "2", "same", "true", "", *none), strict=True)),
        dict(zip(COLUMNS, ("zoe", "3.6", "", "", "", "", "1", "", "false", "", *none), strict=True)),
    ]
    nested = exported(path, "json")
    assert [(r["learner"], r["points"], r["needs_a_human"]) for r in nested] == [
        ('=ada,\n"x"', 4.625, False),
        ("ben", 10.0, False),
        ("eve", 6.0, True),
        ("zoe", None, False),
    ]
    assert nested[0]["findings"] == list(mended)
    first, second = nested[0]["runs"]
    assert (first["attempt"], first["counts"], first["status"], first["points"]) == (1, False, "graded", 4.0)
    assert (second["counts"], second["submitted_at"]) == (True, "2026-11-02T14:00:00Z")
    assert [(c["task"], c["check"], c["points"], c["message"]) for c in first["checks"]] == [
        ("a", "rows_survive", 4.0, "<b>\n=1"),
        ("a", "no_doubles", 0.0, "<b>\n=1"),
        ("b", "one_price", 0.0, "<b>\n=1"),
    ]
    assert [(r["status"], r["checks"]) for r in nested[3]["runs"]] == [(None, [])]


def test_an_export_of_what_is_not_settled_or_not_there_is_refused(path: Path) -> None:
    with Gradebook.open(path) as book:
        book.settle(Course())
    assert exported(path, "csv") == exported(path, "json") == []
    with Gradebook.open(path) as book:
        fill(book, ("ada", job(1), 0, outcome(job(1))))
    with pytest.raises(WorkshopError, match="have not been worked out"):
        exported(path, "csv")
    with pytest.raises(UsageError, match="csv, canvas, moodle, junit, json"):
        exported(path, "xlsx")
    with pytest.raises(WorkshopError, match="no gradebook"):
        exported(path.with_name("none"), "csv")


# -- other processes -----------------------------------------------------------------------------------------------------

PRELUDE = """
import sys
from pathlib import Path
sys.modules["rfc3987_syntax"] = None  # a second to import, as in conftest.py
from test_gradebook import *
"""
HOLDS = """
with Gradebook.open(Path(sys.argv[1])) as book:
    fill(book, ("ada", job(1), 0, outcome(job(1))))
    book.settle(Course())
    print("ready", flush=True)
    sys.stdin.read()
"""
# Batches of forty runs, each batch recorded first and then replaced by other points, until killed.
RECORDS = """
with Gradebook.open(Path(sys.argv[1])) as book:
    print("ready", flush=True)
    for n in range(int(sys.argv[2]), 10**6):
        jobs = [job(f"{n}-{i}") for i in range(40)]
        book.add_submissions([handed_in(f"learner {n}", of, i) for i, of in enumerate(jobs)])
        for points, letter, code in ((5, "x", "first"), (7, "y", "second")):
            about = dict(message=letter * 2000, pictures=(letter.encode() * 99,), findings=(finding(code),))
            book.record([(of, outcome(of, points, **about)) for of in jobs], replace=points == 7)
        book.settle(Course())
"""
IS_FULL = """
import resource
path = Path(sys.argv[1])
with Gradebook.open(path) as book:
    resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))
    for n in range(1000):
        one = job(n)
        book.record([(one, outcome(one, message=str(n) * 20_000))])
        print(n, flush=True)
"""


def start(script: str, *arguments: object) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", PRELUDE + script, *map(str, arguments)],
        cwd=Path(__file__).parent,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_while_one_process_writes_no_other_can_and_a_reader_is_told_so(path: Path) -> None:
    writer = start(HOLDS, path)
    try:
        assert writer.stdout.readline() == "ready\n"
        for opening in (Gradebook.open, Gradebook.read, lambda p: exported(p, "csv")):
            with pytest.raises(WorkshopError, match=rf"\(PID {writer.pid}\): another grading run is writing it"):
                opening(path)
        writer.communicate(timeout=20)
        assert [r["learner"] for r in exported(path, "csv")] == ["ada"]
    finally:
        writer.kill()
        writer.wait()
    with Gradebook.open(path), pytest.raises(WorkshopError, match="this process has it open"):
        Gradebook.read(path)


def whole(path: Path) -> int:
    """The number of batches in a book that a writer of RECORDS left; fails where one is half."""
    with Gradebook.read(path) as book:
        batches = book.select(
            "select s.learner, count(*), count(distinct r.points), any_value(r.points), sum(c.n), sum(c.points), "
            "list(distinct f.code), list(distinct c.letter) from submissions s join runs r using (job_key) "
            "join (select job_key, count(*) as n, sum(points) as points, any_value(message[1]) as letter "
            "from check_results group by job_key) c using (job_key) join findings f using (job_key) group by s.learner"
        )
        for _, runs, kinds, points, checks, sum_of_points, codes, letters in batches:
            assert (runs, kinds, checks, sum_of_points) == (40, 1, 120, 40 * points)
            assert (points, codes, letters) in [(5.0, ["first"], ["x"]), (7.0, ["second"], ["y"])]
        counts = [
            book.select(f"select count(*) from {table}").value()
            for table in ("runs", "findings", "check_results", "pictures")
        ]
        assert counts == [n * len(batches) for n in (40, 40, 120, 120)]
        submissions = book.select("select count(*) from submissions").value()
        assert submissions in {40 * len(batches), 40 * len(batches) + 40}
        if book.is_settled:
            assert book.select("select coalesce(sum(attempts), 0) from marks").value() == submissions
        return len(batches)


def test_a_writer_killed_at_any_moment_leaves_a_whole_book(path: Path) -> None:
    before = 0
    for wait in (0.3, 0.45, 0.6):
        writer = start(RECORDS, path, before)
        assert writer.stdout.readline() == "ready\n"
        time.sleep(wait)
        os.kill(writer.pid, signal.SIGKILL)
        writer.communicate()
        after = whole(path)
        assert after >= before
        before = after
    assert before > 0
    with Gradebook.open(path) as book:
        book.settle(Course())
    assert whole(path) == before
    assert not Path(f"{path}.wal").exists()


def test_what_cannot_be_written_is_said_and_what_was_written_is_kept(path: Path) -> None:
    pytest.importorskip("resource")
    writer = start(IS_FULL, path)
    said, error = writer.communicate(timeout=20)
    assert writer.returncode == 1
    assert "WorkshopError: " in error.splitlines()[-1]
    assert "lets no file be larger" in error.splitlines()[-1]
    with Gradebook.open(path) as book:
        assert book.select("select count(*) from runs").value() == len(said.split()) > 0


def test_two_books_of_one_cohort_are_the_same_row_for_row(tmp_path: Path) -> None:
    jobs = [job(i, "3.6" if i % 2 else "4.1") for i in range(30)]
    work = [
        (f"learner {i // 3}", of, i, outcome(of, i % 10, pictures=(b"small",), findings=(finding("frame_mended"),)))
        for i, of in enumerate(jobs)
    ]
    straight, halting = tmp_path / "straight", tmp_path / "halting"
    with Gradebook.open(straight) as book:
        fill(book, *work)
        book.settle(Course())
    for part in (work[20:], work[:15], work[5:]):
        with Gradebook.open(halting) as book:
            fill(book, *[(who, of, hours, replace(came, seconds=9.0, tries=2)) for who, of, hours, came in part])
            book.settle(Course())
    same = Gradebook.rows_for_comparison(straight)
    assert Gradebook.rows_for_comparison(halting) == same
    assert {name: len(rows) for name, rows in same.items()} == {
        "meta": 1,
        "learners": 10,
        "submissions": 30,
        "runs": 30,
        "check_results": 90,
        "findings": 30,
        "pictures": 90,
        "marks": 20,
        "reviews": 0,
        "alike": 0,
    }
    with Gradebook.open(halting) as book:
        book.record([(work[0][1], outcome(work[0][1], 1))], replace=True)
    assert Gradebook.rows_for_comparison(halting)["runs"] != same["runs"]


def test_pictures_take_no_more_memory_than_the_book_has(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(gradebook.CONFIG, "memory_limit", "32MB")
    picture = os.urandom(200_000)
    came = [(job(n), outcome(job(n), pictures=(picture,))) for n in range(60)]  # 36 MB of pictures
    with Gradebook.open(path) as book:
        for begin in range(0, len(came), 10):
            book.record(came[begin : begin + 10])
    with Gradebook.read(path) as book:
        assert book.result(job(7).key) == came[7][1].result


def test_a_large_cohort_is_quick(book: Gradebook) -> None:
    rows = [
        HandedIn(f"learner {i % 500}", "3.6", f"{i}.ipynb", f"{i:064x}", START + timedelta(minutes=i), f"{i:064x}")
        for i in range(2000)
    ]
    began = time.perf_counter()
    assert book.known([f"{i:064x}" for i in range(10_000)]) == set()
    assert book.add_submissions(rows)[-1] == 4
    book.add_submissions(rows)
    book.settle(Course())
    assert time.perf_counter() - began < 3  # measured: 0.1 s
