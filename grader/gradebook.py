"""The gradebook: one DuckDB file that says who handed in what, what came of it and what it counts for.

One process writes it, from one thread. All that belongs together is written in one transaction, so that a book is whole
after a writer was killed at any moment: DuckDB replays its log when the book is opened next. Instructors read it with SQL;
SCHEMA is the one place that says what a column holds: the comments in the file and docs/GRADEBOOK.md are made from it.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any

import duckdb

from grader.course import Course
from grader.job import Job, Outcome
from workshop.errors import WorkshopError
from workshop.table import Table

SCHEMA_VERSION = 2  # 2: reviews, alike, views
# Little memory, since a cohort's workers need it, and few threads: nothing here is heavy.
CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "memory_limit": "256MB",
    "threads": 2,
    "autoinstall_known_extensions": False,
}


@dataclass(frozen=True)
class Column:
    """A column of the book: its name, DuckDB type with constraints, and what it holds."""

    name: str
    type: str
    holds: str


@dataclass(frozen=True)
class BookTable:
    """A table of the book. ``unique``: columns that no two rows share; ``varies``: columns that differ between two books of
    the same cohort that were graded in different runs; ``since``: the version of the tables that it came with."""

    name: str
    holds: str
    columns: tuple[Column, ...]
    unique: tuple[str, ...] = ()
    varies: tuple[str, ...] = ()
    since: int = 1


@dataclass(frozen=True)
class BookView:
    """A view of the book: what it holds, its columns with what they hold, and the query."""

    name: str
    holds: str
    columns: Mapping[str, str]
    sql: str


SCHEMA = (
    BookTable(
        "meta",
        "One row about the book itself.",
        (
            Column("schema_version", "integer not null", f"Version of these tables; this is {SCHEMA_VERSION}."),
            Column("made_at", "timestamp not null", "When the book was made, UTC."),
            Column(
                "settled_at",
                "timestamp",
                "When marks were last worked out, UTC; null: submissions or runs have come since.",
            ),
        ),
        varies=("made_at", "settled_at"),
    ),
    BookTable(
        "learners",
        "Who has handed in something.",
        (Column("learner", "varchar primary key", "Name of the learner, as the folder of submissions is called."),),
    ),
    BookTable(
        "submissions",
        "What was handed in: one row for each content of a notebook file of a learner.",
        (
            Column("submission_id", "bigint primary key", "Number in the order of arrival, from 1."),
            Column("learner", "varchar not null", "Who handed it in; see learners."),
            Column("topic", "varchar not null", "The lab for which it was handed in, such as 3.6."),
            Column("path", "varchar not null", "The file in the folder of submissions."),
            Column("notebook_sha256", "varchar not null", "Digest of the file as handed in, 64 hexadecimal digits."),
            Column("submitted_at", "timestamp not null", "When it was handed in, UTC; the earliest time ever given."),
            Column(
                "attempt",
                "integer not null",
                "1 for the learner's first submission of the topic, in the order of submitted_at, then of arrival.",
            ),
            Column("job_key", "varchar", "The run that graded it, in runs; null: not known yet."),
            Column("is_current", "boolean not null", "False: the file has had other content since."),
        ),
        unique=("learner", "topic", "notebook_sha256", "path"),
        varies=("submission_id",),
    ),
    BookTable(
        "runs",
        "What came of grading: one row for each notebook on one seed under one version of lab and grader.",
        (
            Column(
                "job_key", "varchar primary key", "Digest of all that the result depends on, 64 hexadecimal digits."
            ),
            Column("topic", "varchar not null", "The lab that was expected."),
            Column("notebook_sha256", "varchar not null", "Digest of the notebook that was graded."),
            Column(
                "status",
                "varchar not null",
                "graded; refused: it is no notebook of this lab (a finding says why); lost: grading failed each time.",
            ),
            Column("points", "double not null", "Points, before anything is taken off for being late."),
            Column("max_points", "double not null", "Points that could be had."),
            Column(
                "reproduction",
                "varchar",
                "Saved outputs against a clean run: same, differs, not compared; null: no clean run.",
            ),
            Column("world", "varchar", "Opaque name of the world it was graded on; null unless graded."),
            Column("scale", "double", "Scale of that world; null unless graded."),
            Column("generator_version", "varchar", "Version of the generator of worlds; null unless graded."),
            Column("sources", "varchar not null", "Digest of lab, checks, kit, grader, generator, lock and Python."),
            Column("isolation", "varchar not null", "How the learner's code was locked in."),
            Column("tries", "integer not null", "How often grading was begun."),
            Column("seconds", "double not null", "How long the last try took, seconds."),
            Column("graded_at", "timestamp not null", "When the run was recorded, UTC."),
            Column("needs_a_human", "boolean not null", "It was refused or lost, or a check itself broke."),
            Column(
                "result",
                "json not null",
                "The result as JSON, by grader/result.schema.json, without a name; its pictures are in pictures.",
            ),
        ),
        varies=("tries", "seconds", "graded_at"),
    ),
    BookTable(
        "check_results",
        "What each check of a run found.",
        (
            Column("job_key", "varchar not null", "The run; see runs."),
            Column("task", "varchar not null", "Letter of the task."),
            Column("check_name", "varchar not null", "Name of the check, stable."),
            Column("title", "varchar not null", "Name of the check for people."),
            Column("outcome", "varchar not null", "passed, failed, error or not attempted."),
            Column("points", "double not null", "Points for this check."),
            Column("max_points", "double not null", "Points that it could give."),
            Column("message", "varchar not null", "What the learner is told."),
            Column("ask", "varchar", "The question that the learner is asked to go on with; null: none."),
            Column("misconception", "varchar", "The misconception that the check recognised, by its name; null: none."),
            Column("weaker_evidence", "boolean not null", "Only the learner's own kernel could see it."),
            Column("grader_fault", "boolean not null", "The check itself broke; a human should look."),
        ),
    ),
    BookTable(
        "findings",
        "What was found about a notebook as a whole.",
        (
            Column("job_key", "varchar not null", "The run; see runs."),
            Column("position", "integer not null", "Order within the run, from 1."),
            Column("code", "varchar not null", "What was found, for machines; stable."),
            Column("level", "varchar not null", "note, warning or fatal."),
            Column("text", "varchar not null", "What was found, in words."),
        ),
    ),
    BookTable(
        "pictures",
        "The pictures of runs, each in one part or more: Gradebook.result() puts them back into the result.",
        (
            Column("job_key", "varchar not null", "The run; see runs."),
            Column("evidence", "integer not null", "Which piece of evidence of the run it belongs to, from 1."),
            Column("part", "integer not null", "Which part of the picture, from 1."),
            Column("png", "blob not null", "The bytes of the part; all parts in order are a PNG file."),
        ),
    ),
    BookTable(
        "marks",
        "What counts: one row for each learner and topic, worked out from submissions, runs and the course file.",
        (
            Column("learner", "varchar not null", "Who; see learners."),
            Column("topic", "varchar not null", "The lab."),
            Column("attempts", "integer not null", "Number of submissions of the topic, graded or not yet."),
            Column("counted_submission", "bigint", "The submission that counts; null, as below: none is graded yet."),
            Column("raw_points", "double", "Its points before the late policy."),
            Column("max_points", "double", "Points that could be had."),
            Column("submitted_at", "timestamp", "When it was handed in, UTC."),
            Column(
                "deadline", "timestamp", "The learner's deadline with extra time, UTC; null also where there is none."
            ),
            Column("late_minutes", "bigint", "Minutes after the deadline, begun ones count; 0: in time."),
            Column("late_factor", "double", "By this raw_points were multiplied, from 0 to 1."),
            Column("points", "double", "Points that count, rounded to six places."),
        ),
        unique=("learner", "topic"),
        varies=("counted_submission",),
    ),
    BookTable(
        "reviews",
        "What a human has given for a rationale in words, by the rubrics of curriculum/syllabus.yaml. Grading never touches it.",
        (
            Column("learner", "varchar not null", "Who; see learners."),
            Column("topic", "varchar not null", "The lab."),
            Column("task", "varchar not null", "Letter of the task."),
            Column("criterion", "varchar not null", "The line of the task's rubric, by its name."),
            Column("points", "double not null", "Points given; being late takes nothing off."),
            Column("max_points", "double not null", "Points that the rubric gives at most."),
            Column("comment", "varchar", "What the learner is told; null: nothing."),
            Column("reviewer", "varchar not null", "Who has reviewed it."),
            Column("reviewed_at", "timestamp not null", "When, UTC."),
        ),
        unique=("learner", "topic", "task", "criterion"),
        varies=("reviewed_at",),
        since=2,
    ),
    BookTable(
        "alike",
        "Pairs of learners whose answers in a lab share more than chance or the lab explains. A hint for a human, no mark.",
        (
            Column("topic", "varchar not null", "The lab."),
            Column("learner_a", "varchar not null", "One of the two; the first by name."),
            Column("learner_b", "varchar not null", "The other."),
            Column(
                "likeness", "double not null", "Fingerprints in both / fingerprints of the one that has fewer, 0 to 1."
            ),
            Column("shared", "integer not null", "Fingerprints in both, without those that the lab gave or many have."),
            Column(
                "passages",
                "json not null",
                "What is alike, the longest first: a list of {a, b}, each with line (of its code, from 1) and text.",
            ),
        ),
        unique=("topic", "learner_a", "learner_b"),
        since=2,
    ),
)
_COUNTED = """marks m
join submissions s on s.submission_id = m.counted_submission
join runs r using (job_key)"""
_STANDING = {
    "topics": "Topics of which something is graded.",
    "points": "Points that count, without reviews.",
    "max_points": "Points that could be had in these topics.",
    "share": "points / max_points, 0 to 1.",
    "late": "Topics whose submission that counts was late.",
    "review_points": "Points of reviews by hand; null: nothing is reviewed.",
}
VIEWS = (
    BookView(
        "points_by_module",
        "How each learner stands in each module.",
        {
            "learner": "Who.",
            "module": "Number of the module.",
            **_STANDING,
        },
        """with reviewed as (select learner, topic, sum(points) as points from reviews group by all)
select m.learner, split_part(m.topic, '.', 1)::integer as module, count(*) as topics, sum(m.points) as points,
  sum(m.max_points) as max_points, sum(m.points) / sum(m.max_points) as share,
  count(*) filter (m.late_minutes > 0) as late, sum(v.points) as review_points
from marks m
left join reviewed v on v.learner = m.learner and v.topic = m.topic
where m.counted_submission is not null
group by all
order by m.learner, module""",
    ),
    BookView(
        "points_by_learner",
        "How each learner stands.",
        {
            "learner": "Who.",
            **_STANDING,
        },
        """select learner, sum(topics)::bigint as topics, sum(points) as points, sum(max_points) as max_points,
  sum(points) / sum(max_points) as share, sum(late)::bigint as late, sum(review_points) as review_points
from points_by_module
group by learner
order by learner""",
    ),
    BookView(
        "hardest_checks",
        "How hard each check is, and how well it tells learners apart; of submissions that count.",
        {
            "topic": "The lab.",
            "task": "Letter of the task.",
            "check_name": "Name of the check.",
            "title": "Name of the check for people.",
            "judged": "Learners whose submission it has judged.",
            "passed": "Learners who passed it.",
            "passed_share": "passed / judged, 0 to 1: the difficulty of classical test theory.",
            "discrimination": "Correlation of passing it with the other points of the submission, -1 to 1; null where all or "
            "none passed, or all have the same other points.",
        },
        f"""select r.topic, c.task, c.check_name, any_value(c.title) as title, count(*) as judged,
  count(*) filter (c.outcome = 'passed') as passed, avg((c.outcome = 'passed')::integer) as passed_share,
  case when var_pop((c.outcome = 'passed')::integer) > 0 and var_pop(r.points - c.points) > 1e-9
    then corr((c.outcome = 'passed')::integer, r.points - c.points) end as discrimination
from {_COUNTED}
join check_results c using (job_key)
group by r.topic, c.task, c.check_name
order by passed_share, r.topic, c.task, c.check_name""",
    ),
    BookView(
        "common_misconceptions",
        "Which misconceptions the checks have recognised, in submissions that count.",
        {
            "topic": "The lab.",
            "task": "Letter of the task.",
            "misconception": "Its name.",
            "learners": "Learners who hold it.",
            "share": "learners / learners with a graded submission of the topic, 0 to 1.",
        },
        f"""with graded as (select topic, count(*) as learners from marks where counted_submission is not null group by topic)
select r.topic, c.task, c.misconception, count(distinct m.learner) as learners,
  count(distinct m.learner) / any_value(g.learners) as share
from {_COUNTED}
join check_results c using (job_key)
join graded g on g.topic = r.topic
where c.misconception is not null and c.outcome <> 'passed'
group by r.topic, c.task, c.misconception
order by learners desc, r.topic, c.task, c.misconception""",
    ),
    BookView(
        "needs_help",
        "Who needs help now, and why.",
        {
            "learner": "Who.",
            "topic": "In which lab.",
            "reason": "not graded: what counts was refused or lost; stuck: less than half of the points after three attempts "
            "or more; behind: less than half of the points; missing: nothing handed in where most have.",
            "attempts": "Submissions of the topic.",
            "share": "Points that count / max_points, 0 to 1; null: none is graded.",
        },
        """with cohort as (select topic, count(*) as learners from marks group by topic),
everybody as (select count(*) as n from learners)
select learner, topic,
  case when not is_graded then 'not graded' when attempts >= 3 then 'stuck' else 'behind' end as reason,
  attempts, share_of as share
from (
  select m.*, m.points / m.max_points as share_of,
    exists (
      from submissions s join runs r using (job_key)
      where s.submission_id = m.counted_submission and r.status = 'graded'
    ) as is_graded
  from marks m
)
where not is_graded or share_of < 0.5
union all by name
select l.learner, c.topic, 'missing' as reason, 0 as attempts, null as share
from learners l cross join cohort c cross join everybody e
where c.learners > 0.5 * e.n and not exists (from marks m where m.learner = l.learner and m.topic = c.topic)
order by share nulls first, learner, topic""",
    ),
    BookView(
        "alike_learners",
        "Learners whose answers are unusually alike, over all labs that were compared. A hint for a human, no mark.",
        {
            "learner_a": "One of the two.",
            "learner_b": "The other.",
            "topics": "Labs in which they are alike.",
            "highest": "The highest likeness of these, 0 to 1.",
            "shared": "Fingerprints in both, of all these labs.",
        },
        """select learner_a, learner_b, count(*) as topics, max(likeness) as highest, sum(shared)::bigint as shared
from alike
group by all
order by shared desc, learner_a, learner_b""",
    ),
)
# DuckDB takes a column two thousand rows at a time: whole pictures would take more memory than it has, and a book that it
# cannot work its log into.
PART_BYTES = 16 * 1024
OF_A_RUN = ("check_results", "findings", "pictures")
BY_NAME = {t.name: t for t in SCHEMA}

QUESTIONS = (
    (
        "Which checks does the cohort fail?",
        """select r.topic, c.task, c.title, count(*) filter (c.outcome <> 'passed') as not_passed, count(*) as judged
from marks m
join submissions s on s.submission_id = m.counted_submission
join runs r using (job_key)
join check_results c using (job_key)
group by all
order by not_passed / judged desc, r.topic, c.task, c.title
limit 20;""",
    ),
    (
        "Which misconceptions are the commonest?",
        """select r.topic, c.task, c.misconception, count(distinct s.learner) as learners
from check_results c
join runs r using (job_key)
join submissions s using (job_key)
where c.misconception is not null
group by all
order by learners desc, r.topic, c.task, c.misconception;""",
    ),
    (
        "What needs a human?",
        """select s.learner, s.topic, s.path, r.status, list(f.code order by f.position) as findings
from runs r
join submissions s using (job_key)
left join findings f on f.job_key = r.job_key and f.level <> 'note'
where r.needs_a_human
group by all
order by s.learner, s.topic, s.path;""",
    ),
    (
        "How does each topic stand?",
        """select topic, count(*) as learners, round(avg(points / max_points), 2) as mean_share,
  count(*) filter (late_minutes > 0) as late
from marks
group by topic
order by topic;""",
    ),
)


def schema_text() -> str:
    """docs/GRADEBOOK.md: every table and column of the book in words, and queries to begin with. Markdown."""
    lines = [
        "# The gradebook",
        "",
        "`python -m grader cohort` writes one DuckDB file. Open it with any DuckDB client, read-only, while no cohort is",
        "being graded into it: DuckDB lets a file be open either in one process that writes or in several that read.",
        "This page is made from the schema in `grader/gradebook.py`; the same words are comments in the file",
        "(`select * from duckdb_columns()`).",
        "",
    ]
    for table in SCHEMA:
        lines += [f"## {table.name}", "", table.holds]
        if table.unique:
            lines[-1] += f" No two rows share {', '.join(table.unique)}."
        lines += ["", "| column | type | what it holds |", "| --- | --- | --- |"]
        lines += [f"| {c.name} | {c.type.split()[0]} | {c.holds} |" for c in table.columns]
        lines.append("")
    lines += ["## Views", "", "What instructors ask first; a view is worked out anew each time.", ""]
    for view in VIEWS:
        lines += [f"### {view.name}", "", view.holds, "", "| column | what it holds |", "| --- | --- |"]
        lines += [f"| {name} | {holds} |" for name, holds in view.columns.items()]
        lines.append("")
    lines += ["## Queries to begin with", ""]
    for question, sql in QUESTIONS:
        lines += [question, "", "```sql", sql, "```", ""]
    return "\n".join(lines)


@dataclass(frozen=True)
class HandedIn:
    """A notebook file that was handed in. ``path``: as it should stand in the book, the same each time; ``submitted_at``:
    without an offset it is UTC; ``job_key``: of the job that grades it, None while it is not known."""

    learner: str
    topic: str
    path: str
    notebook_sha256: str
    submitted_at: datetime
    job_key: str | None = None


class Gradebook:
    """An open book; close() it, or use it in ``with``. Every method raises WorkshopError for what is wrong with the file."""

    def __init__(self, path: Path, con: duckdb.DuckDBPyConnection) -> None:
        self.path = path
        self._con = con

    @classmethod
    def open(cls, path: Path) -> Gradebook:
        """The book at ``path`` for writing; makes it, and the folder, where there is none. Raises WorkshopError when it is no
        gradebook, was written by a newer version, is open elsewhere, or cannot be written."""
        with _explained(path):
            if not path.exists():
                _make(path)
            return cls._connected(path, read_only=False)

    @classmethod
    def read(cls, path: Path) -> Gradebook:
        """The book at ``path`` for reading only. Raises WorkshopError as open() does, and when there is none."""
        if not path.exists():
            raise WorkshopError(f"There is no gradebook {path}. python -m grader cohort makes one.")
        with _explained(path):
            return cls._connected(path, read_only=True)

    @classmethod
    def _connected(cls, path: Path, read_only: bool) -> Gradebook:
        if path.is_dir():
            raise WorkshopError(f"{path} is a folder; a gradebook is a file. Name a file in it.")
        con = duckdb.connect(str(path), read_only=read_only, config=CONFIG)
        try:
            _recognise(path, con, read_only)
        except BaseException:
            con.close()
            raise
        return cls(path, con)

    def __enter__(self) -> Gradebook:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:  # what went wrong first is what should be said
            with suppress(WorkshopError):
                self.close()

    def close(self) -> None:
        """Closes the book; its log is worked into the file. What was recorded is kept even where that raises."""
        with _explained(self.path):
            self._con.close()

    def select(self, sql: str, *parameters: Any) -> Table:
        """The rows of a query."""
        with _explained(self.path):
            return Table.from_cursor(self._con.execute(sql, list(parameters)))

    def known(self, keys: Iterable[str]) -> set[str]:
        """Those of the job keys whose run is in the book."""
        found = self.select("select job_key from runs where job_key in (select unnest(?::varchar[]))", list(keys))
        return set(found.column("job_key"))

    def add_submissions(self, rows: Sequence[HandedIn]) -> list[int]:
        """Adds what is not there yet; returns the attempt of each row, in their order. All or nothing.

        Of what is there, the earliest submitted_at stands, and the job key is replaced where one is given. A file's other
        contents are current no more. Attempts are numbered anew, so that one handed in earlier may come in later.
        """
        if not rows:
            return []
        with self._transaction() as con:
            con.execute("create or replace temp table incoming as " + _INCOMING, _incoming(rows))
            changed = con.execute(_TAKE_OVER).fetchone()[0]
            con.execute("insert into learners select distinct learner from incoming on conflict do nothing")
            added = con.execute(_ADD).fetchone()[0]
            con.execute(_CURRENT)
            con.execute(_ATTEMPTS)
            if changed or added:
                _unsettle(con)
            attempts = con.execute(_ATTEMPT_OF_EACH).fetchall()
            con.execute("drop table incoming")
        return [attempt for (attempt,) in attempts]

    def record(self, graded: Sequence[tuple[Job, Outcome]], *, replace: bool = False) -> int:
        """Records what came of jobs, all or nothing; returns how many runs were written. A run that is there stays as it
        is, unless ``replace``: then its check results, findings and pictures are replaced with it."""
        by_key = {job.key: (job, outcome) for job, outcome in graded}
        if not replace:
            for key in self.known(by_key):
                del by_key[key]
        if not by_key:
            return 0
        now = datetime.now(UTC)
        rows: dict[str, list[tuple[Any, ...]]] = {name: [] for name in ("runs", *OF_A_RUN)}
        for key, (job, outcome) in by_key.items():
            result, pictures = _apart(outcome.result)
            rows["runs"].append(_run(key, job, outcome, result, now))
            rows["check_results"] += _check_results(key, result)
            rows["findings"] += _findings(key, result)
            rows["pictures"] += _parts(key, pictures)
        with self._transaction() as con:
            for name in OF_A_RUN if replace else ():
                con.execute(f"delete from {name} where job_key in (select unnest(?::varchar[]))", [list(by_key)])
            for name, some in rows.items():
                _insert(con, name, some, "insert or replace" if name == "runs" else "insert")
            _unsettle(con)
        return len(by_key)

    def result(self, job_key: str) -> dict[str, Any]:
        """The whole result of a run, by grader/result.schema.json, with its pictures. Raises KeyError for a run that is not
        in the book."""
        found = self.select("select result from runs where job_key = ?", job_key)
        if not found:
            raise KeyError(job_key)
        result = json.loads(found.value())
        evidence = _evidence(result)
        pictures: dict[int, bytes] = {}
        for number, png in self.select(
            "select evidence, png from pictures where job_key = ? order by evidence, part", job_key
        ):
            pictures[number] = pictures.get(number, b"") + png
        for number, png in pictures.items():
            evidence[number - 1]["png_base64"] = base64.b64encode(png).decode()
        return result

    def set_reviews(self, rows: Sequence[tuple[Any, ...]]) -> int:
        """Puts reviews (rows by the columns of reviews) in place of those of the same learner, topic, task and criterion, all
        or nothing; returns how many."""
        with self._transaction() as con:
            _insert(con, "reviews", rows, "insert or replace")
        return len(rows)

    def set_alike(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Puts pairs (by the columns of alike; passages as plain JSON types) in place of those that are there."""
        names = [c.name for c in BY_NAME["alike"].columns]
        made = [tuple(json.dumps(r[n]) if n == "passages" else r[n] for n in names) for r in rows]
        with self._transaction() as con:
            con.execute("delete from alike")
            _insert(con, "alike", made)

    def settle(self, course: Course) -> int:
        """Works out all marks anew by the course's policy, all or nothing; returns how many there are. A submission that is
        not graded yet is an attempt, but does not count."""
        by_mark: dict[tuple[str, str], list[tuple[Any, ...]]] = {}
        for learner, topic, *attempt in self.select(_GRADED):
            by_mark.setdefault((learner, topic), []).append(tuple(attempt))
        marks = [_mark(course, learner, topic, attempts) for (learner, topic), attempts in by_mark.items()]
        with self._transaction() as con:
            con.execute("delete from marks")
            _insert(con, "marks", marks)
            con.execute("update meta set settled_at = ?::timestamp", [_utc(datetime.now(UTC))])
        return len(marks)

    @property
    def is_settled(self) -> bool:
        """Whether the marks stand for all submissions and runs in the book."""
        return self.select("select settled_at is not null from meta").value()

    def require_settled(self) -> None:
        """Raises WorkshopError where the marks do not stand for all that is in the book."""
        if not self.is_settled:
            raise WorkshopError(
                f"{self.path} holds work whose marks have not been worked out. Run python -m grader cohort again: it "
                "goes on where it was."
            )

    @staticmethod
    def rows_for_comparison(path: Path) -> dict[str, list[tuple[Any, ...]]]:
        """All rows of a book by table, sorted, without what differs between two gradings of the same cohort: times of
        grading, tries, and numbers given in the order of arrival (a mark names its submission by digest and path)."""
        with Gradebook.read(path) as book:
            return {table.name: list(book.select(_comparable(table))) for table in SCHEMA}

    @contextmanager
    def _transaction(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with _explained(self.path):
            self._con.execute("begin")
            try:
                yield self._con
            except BaseException:
                with suppress(duckdb.Error):  # it may have ended by itself
                    self._con.execute("rollback")
                raise
            self._con.execute("commit")


# -- what went wrong with the file ---------------------------------------------------------------------------------------

_KEPT = "What was recorded before is kept: run it again, and it goes on where it was."
_BUSY = "Wait until it has ended, or close the program that has the book open."
_DAMAGED = "{path} is damaged. Put a copy back from your backup, or move it away and grade again."
_WRONG = (
    ("No space left", "{path} cannot be written: the disk is full. Make room. " + _KEPT),
    ("Disk quota", "{path} cannot be written: your share of the disk is used up. Make room. " + _KEPT),
    (
        "Could not set lock",
        "{path} is in use{holder}: another grading run is writing it, or it is being read. " + _BUSY,
    ),
    ("being used by another", "{path} is in use: another grading run is writing it, or it is being read. " + _BUSY),
    ("different configuration", "{path} is in use: this process has it open already. Close it first."),
    ("not a valid DuckDB", "{path} is no gradebook: it is no DuckDB file. Name another file, or move this one away."),
    ("WAL does not match", "{path} and {path}.wal do not belong together. Put the right one back from your backup."),
    ("File too large", "{path} cannot be written: the system lets no file be larger. " + _KEPT),
    ("Corrupt", _DAMAGED),
    ("read enough bytes", _DAMAGED),
)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turns what DuckDB or the system says about the book into one line that says what to do."""
    try:
        yield
    except (duckdb.Error, OSError) as error:
        said = str(error)
        holder = re.search(r"\(PID \d+\)", said)
        for sign, text in _WRONG:
            if sign in said:
                raise WorkshopError(text.format(path=path, holder=f" {holder[0]}" if holder else "")) from error
        cause = error.strerror if isinstance(error, OSError) and error.strerror else said.partition("\n")[0]
        raise WorkshopError(f"The gradebook {path} cannot be used: {cause.rstrip('.')}.") from error


_COLUMNS = """
select table_name, column_name
from duckdb_columns()
where database_name = current_database() and schema_name = 'main' and not internal
"""


def _recognise(path: Path, con: duckdb.DuckDBPyConnection, read_only: bool) -> None:
    """Raises WorkshopError for what is no gradebook. One of an earlier version gets what it lacks, if it may be written."""
    found = con.execute(_COLUMNS).fetchall()
    versions = []
    if ("meta", "schema_version") in found:
        versions = con.execute("select try_cast(schema_version as integer) from meta").fetchall()
    version = versions[0][0] or 0 if len(versions) == 1 else 0
    if version > SCHEMA_VERSION:
        raise WorkshopError(
            f"{path} was written by a newer version of the workshop (tables of version {version}, here "
            f"{SCHEMA_VERSION}). Update the workshop, or name another file."
        )
    wanted = {(t.name, c.name) for t in SCHEMA for c in t.columns if t.since <= version}
    if version < 1 or not wanted <= set(found):
        raise WorkshopError(f"{path} is a DuckDB file, but no gradebook. Name another file, or move this one away.")
    if version == SCHEMA_VERSION:
        return
    if read_only:
        raise WorkshopError(
            f"{path} was written by an earlier version of the workshop. Run python -m grader cohort with it once more: what "
            "is in it stays, and is not graded again."
        )
    con.execute("begin")
    _create_all(con, since=version + 1)
    con.execute("update meta set schema_version = ?", [SCHEMA_VERSION])
    con.execute("commit")


def _make(path: Path) -> None:
    """Makes an empty book beside its place and puts it there at once: nobody ever sees half a book, and of two who make the
    same one the first wins."""
    log = Path(f"{path}.wal")
    if log.exists():
        raise WorkshopError(f"{path} is missing, but its log {log} is there. Put the book back, or move the log away.")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".gradebook-", dir=path.parent) as folder:
        fresh = Path(folder) / "book"
        with duckdb.connect(str(fresh), config=CONFIG) as con:
            con.execute("begin")
            _create_all(con)
            con.execute("insert into meta values (?, ?::timestamp, null)", [SCHEMA_VERSION, _utc(datetime.now(UTC))])
            con.execute("commit")
        try:
            os.link(fresh, path)
        except FileExistsError:
            return
        except OSError:  # a file system without hard links
            os.rename(fresh, path)


def _create_all(con: duckdb.DuckDBPyConnection, since: int = 1) -> None:
    """Makes the tables that came with this version or later, and all views."""
    for table in SCHEMA:
        if table.since >= since:
            _create(con, table)
    for view in VIEWS:
        con.execute(f"create or replace view {view.name} as {view.sql}")
        con.execute(f"comment on view {view.name} is {_quoted(view.holds)}")
        for name, holds in view.columns.items():
            con.execute(f"comment on column {view.name}.{name} is {_quoted(holds)}")


def _create(con: duckdb.DuckDBPyConnection, table: BookTable) -> None:
    parts = [f"{c.name} {c.type}" for c in table.columns]
    if table.unique:
        parts.append(f"unique ({', '.join(table.unique)})")
    con.execute(f"create table {table.name} ({', '.join(parts)})")
    con.execute(f"comment on table {table.name} is {_quoted(table.holds)}")
    for c in table.columns:
        con.execute(f"comment on column {table.name}.{c.name} is {_quoted(c.holds)}")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


# -- rows ----------------------------------------------------------------------------------------------------------------

_INCOMING = """
select unnest(?::integer[]) as n, unnest(?::varchar[]) as learner, unnest(?::varchar[]) as topic,
  unnest(?::varchar[]) as path, unnest(?::varchar[]) as notebook_sha256, unnest(?::timestamp[]) as submitted_at,
  unnest(?::varchar[]) as job_key
"""
_SAME = "s.learner = i.learner and s.topic = i.topic and s.notebook_sha256 = i.notebook_sha256 and s.path = i.path"
# A file may come in twice in one batch: its earliest time and the last key count, and its place is where it came first.
_ONCE = """
select min(n) as n, learner, topic, path, notebook_sha256, min(submitted_at) as submitted_at,
  last(job_key order by n) filter (job_key is not null) as job_key
from incoming
group by learner, topic, path, notebook_sha256
"""
_TAKE_OVER = f"""
update submissions s
set submitted_at = least(s.submitted_at, i.submitted_at), job_key = coalesce(i.job_key, s.job_key)
from ({_ONCE}) i
where {_SAME} and (i.submitted_at < s.submitted_at or i.job_key is distinct from s.job_key and i.job_key is not null)
"""
_ADD = f"""
insert into submissions
select (select coalesce(max(submission_id), 0) from submissions) + row_number() over (order by i.n),
  i.learner, i.topic, i.path, i.notebook_sha256, i.submitted_at, 0, i.job_key, true
from ({_ONCE}) i
where not exists (from submissions s where {_SAME})
"""
_CURRENT = """
update submissions s
set is_current = (s.notebook_sha256 = i.notebook_sha256)
from (select learner, topic, path, last(notebook_sha256 order by n) as notebook_sha256 from incoming group by all) i
where s.learner = i.learner and s.topic = i.topic and s.path = i.path
  and s.is_current <> (s.notebook_sha256 = i.notebook_sha256)
"""
_ATTEMPTS = """
update submissions s
set attempt = numbered.attempt
from (
  select submission_id,
    row_number() over (partition by learner, topic order by submitted_at, submission_id) as attempt
  from submissions
  where (learner, topic) in (select learner, topic from incoming)
) numbered
where s.submission_id = numbered.submission_id and s.attempt <> numbered.attempt
"""
_ATTEMPT_OF_EACH = f"select s.attempt from incoming i join submissions s on {_SAME} order by i.n"
_GRADED = """
select s.learner, s.topic, s.submission_id, s.submitted_at, r.points, r.max_points
from submissions s
left join runs r using (job_key)
order by s.learner, s.topic, s.attempt
"""


def _incoming(rows: Sequence[HandedIn]) -> list[list[Any]]:
    return [
        list(range(len(rows))),
        [_plain(r.learner) for r in rows],
        [r.topic for r in rows],
        [_plain(r.path) for r in rows],
        [r.notebook_sha256 for r in rows],
        [_utc(r.submitted_at) for r in rows],
        [r.job_key for r in rows],
    ]


def _utc(moment: datetime) -> datetime:
    """As the book holds it: UTC without an offset."""
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


def _plain(text: str) -> str:
    """Text as UTF-8 can hold it: what a file name or a notebook may hold besides is spelled out."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _insert(con: duckdb.DuckDBPyConnection, table: str, rows: Sequence[tuple[Any, ...]], verb: str = "insert") -> None:
    """Inserts whole rows, a list a column: a hundred times as fast as row by row."""
    if rows:
        types = [c.type.split()[0] for c in BY_NAME[table].columns]
        columns = [list(column) for column in zip(*rows, strict=True)]
        con.execute(f"{verb} into {table} select {', '.join(f'unnest(?::{t}[])' for t in types)}", columns)


def _unsettle(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("update meta set settled_at = null where settled_at is not null")


def _status(result: dict[str, Any]) -> str:
    if any(f["code"] == "lost" for f in result["findings"]):
        return "lost"
    return "graded" if result["gradable"] else "refused"


def _evidence(result: dict[str, Any]) -> list[dict[str, Any]]:
    return [e for task in result["tasks"] for c in task["checks"] for e in c["evidence"]]


def _apart(result: dict[str, Any]) -> tuple[dict[str, Any], dict[int, bytes]]:
    """A copy of the result without its pictures, and these by the number of their piece of evidence."""
    plain, pictures = copy.deepcopy(result), {}
    for number, e in enumerate(_evidence(plain), 1):
        if e["png_base64"] is not None:
            pictures[number] = base64.b64decode(e["png_base64"])
            e["png_base64"] = None
    return plain, pictures


def _parts(key: str, pictures: dict[int, bytes]) -> Iterator[tuple[Any, ...]]:
    for number, png in pictures.items():
        for part, begin in enumerate(range(0, len(png), PART_BYTES), 1):
            yield key, number, part, png[begin : begin + PART_BYTES]


def _run(key: str, job: Job, outcome: Outcome, result: dict[str, Any], now: datetime) -> tuple[Any, ...]:
    status = _status(result)
    fault = any(c["grader_fault"] for task in result["tasks"] for c in task["checks"])
    reproduction = result["reproduction"]
    return (
        key,
        job.topic,
        hashlib.sha256(job.notebook).hexdigest(),
        status,
        result["points"],
        result["max_points"],
        reproduction["status"] if reproduction else None,
        result["world"],
        result["scale"],
        result["generator_version"],
        job.sources,
        job.isolation,
        outcome.tries,
        outcome.seconds,
        _utc(now),
        fault or status != "graded",
        json.dumps(result, ensure_ascii=False).encode("utf-8", "replace").decode("utf-8"),
    )


def _check_results(key: str, result: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    for task in result["tasks"]:
        for c in task["checks"]:
            texts = [c[name] if c[name] is None else _plain(c[name]) for name in ("message", "ask", "misconception")]
            judged = (_plain(c["title"]), c["outcome"], c["points"], c["max_points"])
            yield key, task["task"], c["check"], *judged, *texts, c["weaker_evidence"], c["grader_fault"]


def _findings(key: str, result: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    for position, f in enumerate(result["findings"], 1):
        yield key, position, f["code"], f["level"], _plain(f["text"])


def _mark(course: Course, learner: str, topic: str, attempts: list[tuple[Any, ...]]) -> tuple[Any, ...]:
    """A row of marks, from (submission_id, submitted_at, points, max_points) of each attempt in order."""
    due = course.deadline(topic, learner)
    counted = None
    for submission, submitted_at, points, most in attempts:
        if points is None:
            continue
        late, factor = course.late(topic, learner, submitted_at)
        counts = round(points * factor, 6)
        # The earlier attempt stands on a tie.
        if counted is None or course.attempts == "last" or counts > counted[-1]:
            minutes = -(-late // timedelta(minutes=1))
            counted = (submission, points, most, submitted_at, due and _utc(due), minutes, factor, counts)
    return learner, topic, len(attempts), *(counted or (None,) * 8)


def _comparable(table: BookTable) -> str:
    kept = ", ".join(f"t.{c.name}" for c in table.columns if c.name not in table.varies)
    if table.name != "marks":
        return f"select {kept} from {table.name} t order by all"
    return (
        f"select {kept}, s.notebook_sha256, s.path from marks t "
        "left join submissions s on s.submission_id = t.counted_submission order by all"
    )
