"""A folder becomes a gradebook: whose file is whose, what is graded once, and that nothing is lost however it is stopped."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import random
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from clusters import PATH, Cluster

from grader import certify, cluster, collect, result
from grader.cohort import Summary, grade_cohort
from grader.files import clear_partial
from grader.findings import Finding, Refused
from grader.gradebook import Gradebook
from grader.job import Job, Outcome
from grader.limits import Limits
from workshop.errors import UsageError, WorkshopError
from workshop.topics import Topic, syllabus, topic

TOPICS = [t for t in syllabus().topics if t.exists]
SCALE = syllabus().course["grading_scale"]
HERE = Path(__file__).parent
LOG = "COHORT_TEST_LOG"
DELAY_S = "COHORT_TEST_DELAY_S"


# -- what stands in for grading (also in processes of their own, and on Dask's workers) ------------------------------------


def outcome(job: Job) -> Outcome:
    """What came of a job, made of nothing but the job."""
    points = float(hashlib.sha256(job.key.encode()).digest()[0] % 11)
    check = {
        "check": "c",
        "title": "a check",
        "outcome": "passed" if points == 10 else "failed",
        "points": points,
        "max_points": 10.0,
        "message": "said",
        "ask": None,
        "misconception": None,
        "weaker_evidence": False,
        "grader_fault": False,
        "evidence": [],
    }
    result = {
        "schema_version": 1,
        "learner": "",
        "topic": job.topic,
        "title": "A lab",
        "notebook_sha256": hashlib.sha256(job.notebook).hexdigest(),
        "gradable": True,
        "points": points,
        "max_points": 10.0,
        "world": "w-" + hashlib.sha256(b"w" + job.seed).hexdigest()[:20],
        "scale": job.scale,
        "generator_version": "g",
        "reproduction": None,
        "findings": [],
        "tasks": [{"task": "a", "points": points, "max_points": 10.0, "checks": [check]}],
    }
    return Outcome(result, '{"executed": true}', 1, 0.1)


def logged(job: Job, *, fresh: bool = False) -> Outcome:
    """Takes a while, and leaves a line in a log: which job was begun, where, and whether it was to be graded afresh."""
    if log := os.environ.get(LOG):
        handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(handle, f"{job.key} {job.topic} {job.seed.hex()} {fresh} {os.getpid()}\n".encode())
        os.close(handle)
    time.sleep(float(os.environ.get(DELAY_S, "0")))
    return outcome(job)


def holds(item: Topic, seed: bytes, scale: float) -> list[str]:
    """A contract that every seed keeps."""
    return []


def holds_on_some(item: Topic, seed: bytes, scale: float) -> list[str]:
    """A contract that some seeds keep."""
    return ["broken"] if seed[0] % 3 == 0 else []


def holds_on_none(item: Topic, seed: bytes, scale: float) -> list[str]:
    """A contract that no seed keeps."""
    return ["the reference fails its own check"]


def main() -> None:
    """The command line of the grader, with the stand-in for what runs a job."""
    import grader.__main__
    import grader.cohort
    from workshop.command import run_command

    grader.cohort.grade_cohort = functools.partial(grade_cohort, run=logged)
    run_command(grader.__main__.cli)


# -- helpers -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def secret(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A course's secret for which seeds are certified already."""
    path = tmp_path_factory.mktemp("course") / "secret"
    path.write_bytes(b"s" * 32)
    path.chmod(0o600)
    for round_ in ("1", "other"):
        certify.certified_pools(TOPICS, 3, secret=b"s" * 32, round=round_, scale=SCALE, jobs=2, certify=holds)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "submissions"
    path.mkdir()
    return path


def notebook(topic_id: str, text: str = "") -> bytes:
    cells = [{"cell_type": "code", "source": f'lab = open_lab("{topic_id}")', "metadata": {}, "outputs": []}]
    return json.dumps({"nbformat": 4, "nbformat_minor": 4, "metadata": {"text": text}, "cells": cells}).encode()


def hand_in(folder: Path, learner: str, item: Topic, text: str | None = None) -> Path:
    path = folder / learner / item.module / f"{item.folder}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(notebook(item.id, learner if text is None else text))
    os.utime(path, (1_700_000_000, 1_700_000_000))
    return path


def fill(folder: Path, learners: int, topics: int = 1) -> None:
    for i in range(learners):
        for item in TOPICS[:topics]:
            hand_in(folder, f"learner-{i:03d}", item)


class Counting:
    """Counts what was run."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self.fresh: list[bool] = []

    def __call__(self, job: Job, *, fresh: bool = False) -> Outcome:
        self.jobs.append(job)
        self.fresh.append(fresh)
        return outcome(job)


def course_file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "course.yaml"
    path.write_text(text)
    return path


def grade(folder: Path, secret: Path, run: Callable[..., Outcome], **options: Any) -> Summary:
    return grade_cohort(
        folder, options.pop("book", folder.parent / "book.duckdb"), jobs=2, secret=secret, run=run, **options
    )


def select(book: Path, sql: str) -> list[tuple[Any, ...]]:
    with Gradebook.read(book) as opened:
        return list(opened.select(sql))


# -- patterns ------------------------------------------------------------------------------------------------------------

M, T = "03_orchestration", "06_idempotent_processing"


@pytest.mark.parametrize(
    ("pattern", "path", "learner", "topic_id", "attempt"),
    [
        (None, f"ada/{M}/{T}.ipynb", "ada", "3.6", ""),
        (None, f"ada/{M}/{T} (1).ipynb", "ada", None, ""),  # renamed by a browser: the notebook says
        ("{learner}/{topic}.ipynb", f"ada/{T}.ipynb", "ada", "3.6", ""),
        ("{module}-{topic}/{learner}.ipynb", f"{M}-{T}/ann-marie.ipynb", "ann-marie", "3.6", ""),
        ("{topic}_{learner}.ipynb", f"{T}_ann_lee.ipynb", "ann_lee", "3.6", ""),
        ("{learner}_{id}/*.ipynb", "ann_lee_3.6/my work.ipynb", "ann_lee", "3.6", ""),
        ("{learner}_{id}/*.ipynb", "ann_lee_9.9/my work.ipynb", None, None, ""),
        ("{learner}/{attempt}/{id}.ipynb", "ada/2/3.6.ipynb", "ada", "3.6", "2"),
        ("{learner}-{attempt}.ipynb", "ann-marie-2.ipynb", "ann-marie", None, "2"),
        ("*_{learner}_*.ipynb", "week_ada_final.ipynb", "ada", None, ""),
        ("{learner}.ipynb", "名前 ' \" $(x)\n.ipynb", "名前 ' \" $(x)\n", None, ""),
    ],
)
def test_a_pattern_says_what_a_path_means(
    folder: Path, pattern: str | None, path: str, learner: str | None, topic_id: str | None, attempt: str
) -> None:
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(notebook("3.6"))
    if learner is None:
        with pytest.raises(UsageError, match="my work"):
            collect.collect(folder, pattern)
        return
    (found,) = collect.collect(folder, pattern).submissions
    assert (found.learner, found.topic, found.attempt) == (learner, topic_id, attempt)
    assert collect.read(folder, found, Limits()) == file.read_bytes()


def test_when_it_was_handed_in_is_in_the_path_or_else_the_files_own_time(folder: Path) -> None:
    (folder / "ada_20261125T101500Z.ipynb").write_bytes(b"x")
    (folder / "ben_20261399T101500Z.ipynb").write_bytes(b"x")
    found = collect.collect(folder, "{learner}_{submitted}.ipynb")
    assert [(s.learner, s.submitted) for s in found.submissions] == [
        ("ada", datetime(2026, 11, 25, 10, 15, tzinfo=UTC))
    ]
    assert found.left_out == ("ben_20261399T101500Z.ipynb",)
    os.utime(folder / "ada_20261125T101500Z.ipynb", (1_700_000_000.9, 1_700_000_000.9))
    assert collect.collect(folder, "{learner}.ipynb").submissions[0].submitted == datetime.fromtimestamp(
        1_700_000_000, UTC
    )


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("{module}/{topic}.ipynb", "it lacks {learner}"),
        ("{learner}/{week}/{topic}.ipynb", "there is no field {week}"),
        ("{learner}/{learner}.ipynb", "{learner} stands twice"),
        ("{learner}/{topic}-{topic}.ipynb", "{topic} stands twice"),
        ("{learner}/{topic.ipynb", "braces"),
        ("{learner}/{}.ipynb", "braces"),
        ("/{learner}.ipynb", "each part"),
        ("../{learner}.ipynb", "each part"),
    ],
)
def test_a_pattern_that_cannot_be_used_says_why(folder: Path, pattern: str, says: str) -> None:
    with pytest.raises(UsageError, match=re.escape(says)) as error:
        collect.collect(folder, pattern)
    assert "\n" not in str(error.value)


def test_a_pattern_that_nothing_matches_shows_what_is_there(folder: Path) -> None:
    for name in ("ada lovelace.ipynb", "ben.ipynb"):
        (folder / name).write_bytes(b"{}")
    with pytest.raises(UsageError, match=r"matches the pattern .*'ada lovelace\.ipynb', 'ben\.ipynb'"):
        collect.collect(folder)
    with pytest.raises(UsageError, match="no folder"):
        collect.collect(folder / "nowhere")


def test_what_does_not_fit_is_named_and_what_editors_leave_is_not(folder: Path) -> None:
    hand_in(folder, "ada", topic("3.6"))
    (folder / "ada" / M / ".ipynb_checkpoints").mkdir()
    (folder / "ada" / M / ".ipynb_checkpoints" / f"{T}-checkpoint.ipynb").write_bytes(b"{}")
    (folder / "ada" / M / "._x.ipynb").write_bytes(b"{}")
    (folder / "ada" / "notes.txt").write_bytes(b"x")
    (folder / "stray.ipynb").write_bytes(b"{}")
    (folder / "ada" / M / "deeper").mkdir()
    found = collect.collect(folder)
    assert [s.learner for s in found.submissions] == ["ada"]
    assert found.left_out == (f"ada/{M}/deeper", "stray.ipynb")


# -- strangers' files ----------------------------------------------------------------------------------------------------


def place(folder: Path, learner: str) -> Path:
    path = folder / learner / M / f"{T}.ipynb"
    path.parent.mkdir(parents=True)
    return path


def test_links_pipes_and_devices_are_refused_and_never_opened(folder: Path, tmp_path: Path, secret: Path) -> None:
    private = tmp_path / "private.ipynb"
    private.write_bytes(notebook("3.6", "private"))
    place(folder, "link").symlink_to(private)
    place(folder, "dangling").symlink_to(tmp_path / "nowhere")
    os.mkfifo(place(folder, "pipe"))
    place(folder, "folder").mkdir()
    os.mknod(place(folder, "socket"), 0o600 | stat.S_IFSOCK)
    (folder / "linked-module").mkdir()
    (folder / "linked-module" / M).symlink_to(private.parent)
    (folder / "linked-learner").symlink_to(private.parent)
    if os.geteuid() == 0:
        os.mknod(place(folder, "device"), 0o600 | stat.S_IFCHR, os.makedev(1, 5))  # /dev/zero
    run = Counting()
    summary = grade(folder, secret, run)
    assert not run.jobs
    found = dict(
        select(folder.parent / "book.duckdb", "select learner, f.code from submissions join findings f using (job_key)")
    )
    want = {
        "link": "link",
        "dangling": "link",
        "pipe": "not_a_file",
        "folder": "not_a_file",
        "socket": "not_a_file",
        "linked-module": "link",
        "linked-learner": "link",
        "device": "not_a_file",
    }
    assert found == {k: v for k, v in want.items() if k in found}
    assert len(found) == summary.refused == len(summary.needs_human) >= 7
    pages = b"".join(p.read_bytes() for p in summary.pages.rglob("*") if p.is_file())
    assert b"private" not in pages
    assert grade(folder, secret, run).from_book == summary.graded


def test_what_is_refused_unseen_has_a_result_by_the_schema() -> None:
    import jsonschema

    schema = json.loads((HERE.parent / "grader" / "result.schema.json").read_text())
    made = result.refusal(None, "0" * 64, Finding("link", "Links are not followed.", "fatal"))
    jsonschema.Draft202012Validator(schema).validate(made)


def test_what_becomes_a_link_after_it_was_found_is_refused(folder: Path, tmp_path: Path) -> None:
    file = hand_in(folder, "ada", topic("3.6"))
    (found,) = collect.collect(folder).submissions
    (tmp_path / T).with_suffix(".ipynb").write_bytes(b"private")
    file.rename(tmp_path / "mine")
    file.symlink_to(tmp_path / "mine")
    with pytest.raises(Refused, match="links are not followed"):
        collect.read(folder, found, Limits())
    file.unlink()
    file.parent.rmdir()
    file.parent.symlink_to(tmp_path)
    with pytest.raises(Refused, match="could not be read"):
        collect.read(folder, found, Limits())


def test_no_more_is_read_than_is_graded(folder: Path, secret: Path) -> None:
    file = hand_in(folder, "ada", topic("3.6"))
    os.truncate(file, 10**12)
    (found,) = collect.collect(folder).submissions
    assert len(collect.read(folder, found, Limits(notebook_bytes=1000))) == 1001
    run = Counting()
    assert grade(folder, secret, run).refused == 1
    assert not run.jobs
    assert select(folder.parent / "book.duckdb", "select code from findings") == [("too_large",)]


NAMES = [
    "Zoë",
    "名前",
    "a b",
    'it\'s "quoted"',
    "-rf",
    "new\nline",
    "\x1b[2J",
    "=1+1",
    "x" * 250,
    "a_b-12345678",
    "a~b",
]


def test_any_name_has_pages_of_its_own_inside_the_folder(folder: Path, secret: Path) -> None:
    raw = os.fsencode(folder) + b"/\xff\xfe"
    for name in NAMES:
        hand_in(folder, name, topic("3.6"))
    os.makedirs(raw + b"/" + M.encode())
    with open(raw + b"/" + M.encode() + b"/" + T.encode() + b".ipynb", "wb") as file:
        file.write(notebook("3.6", "bytes"))
    summary = grade(folder, secret, outcome_of)
    assert summary.graded == len(NAMES) + 1
    learners = {row[0] for row in select(summary.book, "select learner from learners")}
    assert learners == {*NAMES, "\\xff\\xfe"}
    results = list(summary.pages.rglob("result.json"))
    assert len(results) == len(learners)
    assert {json.loads(r.read_text())["learner"] for r in results} == learners
    assert "\x1b" not in summary.text()
    assert {p.name for p in folder.parent.iterdir()} == {"submissions", "book.duckdb", "book.pages"}
    safe = [
        collect.safe_name(n)
        for n in (*NAMES, "..", "..x", ".", "", "a/b", "a_b", "a\\b", collect.safe_name("a/b"), "A" * 300)
    ]
    assert len(set(safe)) == len(safe)
    assert all(re.fullmatch(r"[^\s/\\~\"'.-][^\s/\\~\"']*", s) and len(s.encode()) <= 80 for s in safe)


def outcome_of(job: Job, *, fresh: bool = False) -> Outcome:
    return outcome(job)


# -- the secret and its seeds --------------------------------------------------------------------------------------------


def test_a_secret_is_made_once_and_is_its_owners_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KESTREL_HOME", str(tmp_path / "home"))
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: certify.load_secret(None), range(8)))
    assert len(found) == 1
    assert len(found.pop()) == 32
    assert (tmp_path / "home" / "course.secret").stat().st_mode & 0o777 == 0o600


def test_a_secret_that_is_none_says_what_to_do(tmp_path: Path) -> None:
    def says(path: Path, words: str) -> None:
        with pytest.raises(UsageError, match=words) as error:
            certify.load_secret(path)
        assert "\n" not in str(error.value)

    path = tmp_path / "secret"
    says(path, "no secret .* Make one")
    says(tmp_path, "directory")
    path.touch(0o600)
    says(path, "has 0 bytes")
    path.write_bytes(b"x" * 31)
    says(path, "has 31 bytes")
    path.write_bytes(b"x" * 32)
    assert certify.load_secret(path) == b"x" * 32
    path.chmod(0o640)
    says(path, "chmod 600")


def test_certified_seeds_are_the_first_that_hold_and_tell_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KESTREL_HOME", str(tmp_path))
    about = {"secret": b"k" * 32, "round": "r", "scale": 0.02}
    candidates = [certify.candidate(b"k" * 32, "r", "3.6", k) for k in range(20)]
    good = [c for c in candidates if c[0] % 3]
    said: list[str] = []
    pools = certify.certified_pools(
        [topic("3.6"), topic("3.4")], 4, **about, jobs=2, certify=holds_on_some, say=said.append
    )
    assert pools["3.6"] == good[:4]
    assert not set(pools["3.6"]) & set(pools["3.4"])
    assert "8 of 8 certified" in said[-1]
    assert certify.certified_seeds(topic("3.6"), 4, **about, certify=holds_on_none) == good[:4]  # kept
    assert certify.certified_seeds(topic("3.6"), 5, **about, certify=holds_on_some) == good[:5]
    kept = [p for p in (tmp_path / "certified").iterdir() if p.suffix == ".json"]
    text = "".join(p.name + p.read_text() for p in kept)
    assert all(c.hex()[:12] not in text for c in candidates) and (b"k" * 32).hex() not in text
    assert {p.stat().st_mode & 0o777 for p in kept} == {0o600}
    assert certify.candidate(b"k" * 32, "r2", "3.6", 0) not in candidates


def test_a_topic_on_which_no_seed_holds_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KESTREL_HOME", str(tmp_path))
    with pytest.raises(WorkshopError, match=r"No seed could be certified for 3\.6: 5 .*its own check"):
        certify.certified_seeds(topic("3.6"), 3, secret=b"k" * 32, round="r", scale=0.02, certify=holds_on_none)


def test_seeds_by_course_learner_and_attempt() -> None:
    seeds = [bytes([i]) * 16 for i in range(3)]

    def drawn(per: str, learner: str, sha: str) -> bytes:
        return certify.seed_for(seeds, b"k" * 32, "3.6", learner, sha, per)

    many = [f"learner {i}" for i in range(60)]
    assert {drawn("course", name, name) for name in many} == {seeds[0]}
    assert {drawn("learner", name, name) for name in many} == set(seeds)
    assert len({drawn("learner", "ada", name) for name in many}) == 1
    assert {drawn("attempt", "ada", name) for name in many} == set(seeds)
    assert drawn("attempt", "ada", "x") == drawn("attempt", "ada", "x")


# -- a cohort ------------------------------------------------------------------------------------------------------------


def test_equal_work_is_graded_once_and_shared(folder: Path, secret: Path, tmp_path: Path) -> None:
    for learner in ("ada", "ben", "cem"):
        hand_in(folder, learner, topic("3.6"), "the same")
    hand_in(folder, "dia", topic("3.6"), "another")
    run = Counting()
    course = course_file(tmp_path, "seeds: {per: course}")
    summary = grade(folder, secret, run, course=course)
    assert len(run.jobs) == summary.jobs == 2
    assert (summary.graded, summary.from_book) == (4, 0)
    by_learner = {json.loads(p.read_text())["learner"]: p for p in summary.pages.rglob("result.json")}
    assert by_learner.keys() == {"ada", "ben", "cem", "dia"}
    assert "ben" in (by_learner["ben"].parent / "feedback.html").read_text()
    assert len(select(summary.book, "select * from marks where points is not null")) == 4
    again = grade(folder, secret, run, course=course)
    assert (again.graded, again.from_book, len(run.jobs)) == (0, 4, 2)
    hand_in(folder, "eva", topic("3.6"), "the same")
    again = grade(folder, secret, run, course=course)
    assert (again.graded, again.from_book, len(run.jobs)) == (0, 5, 2)
    assert (summary.pages / "eva" / M / T / "executed.ipynb").exists()


def test_regrade_grades_all_afresh_and_goes_on_when_it_was_stopped(folder: Path, secret: Path) -> None:
    fill(folder, 6)
    run = Counting()
    grade(folder, secret, run)
    assert not any(run.fresh)
    stopped = Counting()

    def breaks(job: Job, *, fresh: bool) -> Outcome:
        if len(stopped.jobs) == 3:
            raise WorkshopError("the disk is full")
        return stopped(job, fresh=fresh)

    with pytest.raises(WorkshopError, match="disk"):
        grade_cohort(folder, folder.parent / "book.duckdb", jobs=1, secret=secret, run=breaks, regrade=True)
    rest = Counting()
    summary = grade(folder, secret, rest, regrade=True)
    assert all(stopped.fresh + rest.fresh)
    assert sorted(j.key for j in stopped.jobs + rest.jobs) == sorted(j.key for j in run.jobs)
    assert (summary.graded, summary.from_book) == (3, 3)
    assert select(summary.book, "select count(*) from runs") == [(6,)]
    everything = Counting()
    assert grade(folder, secret, everything, regrade=True).graded == 6


def test_a_sample_cohort_hands_in_the_labs_that_are_asked_for(tmp_path: Path) -> None:
    from grader.sample import make_sample  # not with the rest: what a graded cohort imports is looked at from here

    assert make_sample(tmp_path, 9, [topic("3.6"), topic("5.3")]) == 18
    handed_in = [p.relative_to(tmp_path).as_posix() for p in sorted(tmp_path.rglob("*.ipynb"))]
    labs = [f"{t.module}/{t.folder}.ipynb" for t in (topic("3.6"), topic("5.3"))]
    assert handed_in == [f"learner-{n:02d}/{lab}" for n in range(1, 10) for lab in labs]


def test_only_some_topics(folder: Path, secret: Path) -> None:
    fill(folder, 2, topics=len(TOPICS))
    (folder / "ada" / "x").mkdir(parents=True)
    (folder / "ada" / "x" / "y.ipynb").write_bytes(notebook(TOPICS[1].id))
    (folder / "ada" / "x" / "z.ipynb").write_bytes(b"no notebook")
    run = Counting()
    summary = grade(folder, secret, run, only=(TOPICS[1].id,))
    assert {j.topic for j in run.jobs} == {TOPICS[1].id}
    assert summary.graded == 3
    assert grade(folder, secret, run).refused == 1  # the one that names no lab


def test_each_learner_has_worlds_of_their_own_and_no_seed_is_shown(folder: Path, secret: Path, tmp_path: Path) -> None:
    fill(folder, 20, topics=2)
    worlds = {}
    for per, number in (("course", 1), ("learner", 3), ("attempt", 3)):
        run = Counting()
        book = tmp_path / f"{per}.duckdb"
        summary = grade(folder, secret, run, book=book, course=course_file(tmp_path, f"seeds: {{pool: 3, per: {per}}}"))
        for item in TOPICS[:2]:
            assert len({j.seed for j in run.jobs if j.topic == item.id}) == number
        worlds[per] = {j.seed.hex() for j in run.jobs}
        data = b"".join(p.read_bytes() for p in (book, *summary.pages.rglob("*")) if p.is_file())
        assert not any(seed.encode() in data or bytes.fromhex(seed) in data for seed in worlds[per])
    run = Counting()
    grade(folder, secret, run, book=tmp_path / "r.duckdb", course=course_file(tmp_path, "round: other"))
    assert not {j.seed.hex() for j in run.jobs} & set().union(*worlds.values())


def test_pages_are_written_again_from_the_book_and_follow_the_work(folder: Path, secret: Path) -> None:
    file = hand_in(folder, "ada", topic("3.6"))
    run = Counting()
    summary = grade(folder, secret, run)
    page = summary.pages / "ada" / M / T / "result.json"
    before = page.read_text()
    for path in page.parent.iterdir():
        path.unlink()
    grade(folder, secret, run)
    assert page.read_text() == before
    assert (page.parent / "feedback.html").exists()
    file.write_bytes(notebook("3.6", "second attempt"))
    grade(folder, secret, run)
    assert page.read_text() != before
    assert len(run.jobs) == 2
    assert select(summary.book, "select attempts from marks") == [(2,)]


def test_several_files_for_one_lab_are_attempts_with_pages_each(folder: Path, secret: Path) -> None:
    for name in ("first", "second"):
        (folder / "ada_3.6").mkdir(exist_ok=True)
        (folder / "ada_3.6" / f"{name}.ipynb").write_bytes(notebook("3.6", name))
    summary = grade(folder, secret, outcome_of, pattern="{learner}_{id}/*.ipynb")
    assert summary.graded == 2
    assert len(list(summary.pages.rglob("result.json"))) == 2
    assert select(summary.book, "select learner, topic, attempts from marks") == [("ada", "3.6", 2)]


def test_a_fault_of_the_machine_keeps_what_is_finished(folder: Path, secret: Path) -> None:
    fill(folder, 10)
    done = Counting()

    def breaks(job: Job, *, fresh: bool) -> Outcome:
        if len(done.jobs) == 5:
            raise WorkshopError("There is no sandbox here.")
        return done(job)

    with pytest.raises(WorkshopError, match="no sandbox"):
        grade_cohort(folder, folder.parent / "book.duckdb", jobs=1, secret=secret, run=breaks)
    rest = Counting()
    assert grade(folder, secret, rest).graded == 5
    assert len(rest.jobs) == 5


def test_what_needs_a_human_is_named(folder: Path, secret: Path) -> None:
    hand_in(folder, "ada", topic("3.6"))
    place(folder, "ben").write_bytes(b"")

    def fault(job: Job, *, fresh: bool) -> Outcome:
        made = outcome(job)
        made.result["tasks"][0]["checks"][0]["grader_fault"] = True
        if not job.notebook:
            made.result["gradable"] = False
        return made

    summary = grade(folder, secret, fault)
    assert set(summary.needs_human) == {("ada", "3.6", "a check broke"), ("ben", "3.6", "refused")}
    assert "needs a human: ada 3.6 (a check broke); ben 3.6 (refused)" in summary.text()


# -- the command ---------------------------------------------------------------------------------------------------------


def command(*args: str | Path, log: Path | None = None, delay_s: float = 0, **more: str) -> subprocess.Popen[str]:
    env = os.environ | {"PYTHONPATH": PATH, DELAY_S: str(delay_s)} | ({LOG: str(log)} if log else {}) | more
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    start = [sys.executable, "-c", "import test_cohort; test_cohort.main()", *map(str, args)]
    return subprocess.Popen(start, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def cohort_command(folder: Path, book: Path, secret: Path, *args: str) -> list[str | Path]:
    return ["cohort", folder, "--out", book, "--secret", secret, "--jobs", "2", *args]


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    out, err = process.communicate(timeout=60)
    return process.returncode, out + err


def test_wrong_usage_is_one_clear_line(folder: Path, secret: Path, tmp_path: Path) -> None:
    fill(folder, 1)
    book = tmp_path / "b.duckdb"
    cases = {
        "no folder": (tmp_path / "nowhere", []),
        "no topic '11.1'": (folder, ["--only", "3.6,11.1"]),
        "it lacks {learner}": (folder, ["--pattern", "*.ipynb"]),
        "must not be in": (folder, ["--pages", str(folder / "pages")]),
        "tls://": (folder, ["--dask", "tcp://10.0.0.1:8786"]),
        "no such file": (folder, ["--course", str(tmp_path / "none.yaml")]),
    }
    running = {say: command(*cohort_command(where, book, secret, *args)) for say, (where, args) in cases.items()}
    for say, process in running.items():
        code, said = ended(process)
        assert (code, said.count("\n")) == (2, 1), said
        assert say in said
    code, said = ended(command(*cohort_command(folder, book, secret, "--isolation", "prayer")))
    assert code == 2
    assert "Traceback" not in said


def test_a_graded_cohort_needs_nothing_that_is_slow_to_import(folder: Path, secret: Path, tmp_path: Path) -> None:
    fill(folder, 3)
    book = tmp_path / "b.duckdb"
    assert ended(command(*cohort_command(folder, book, secret)))[0] == 0
    code = "import test_cohort, sys, atexit; atexit.register(lambda: print(*sorted(sys.modules))); test_cohort.main()"
    args = map(str, cohort_command(folder, book, secret))
    env = os.environ | {"PYTHONPATH": PATH}
    done = subprocess.run([sys.executable, "-c", code, *args], env=env, capture_output=True, text=True, check=True)
    assert "3 taken from the book" in done.stdout
    slow = {
        "papermill",
        "nbformat",
        "matplotlib",
        "pandas",
        "jinja2",
        "distributed",
        "dask",
        "grader.bank",
        "grader.grade",
    }
    assert not slow & set(done.stdout.split())
    code, said = ended(command("export", book, "--format", "csv"))
    assert code == 0
    assert len(said.splitlines()) == 4
    code, said = ended(command("export", book, "--format", "json", "--out", tmp_path / "marks.json"))
    assert (code, said) == (0, "")
    assert len(json.loads((tmp_path / "marks.json").read_text())) == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_asked_to_stop_it_records_what_is_finished_and_goes_on_later(
    folder: Path, secret: Path, tmp_path: Path, number: int
) -> None:
    fill(folder, 30)
    book, log = tmp_path / "b.duckdb", tmp_path / "log"
    args = cohort_command(folder, book, secret)
    process = command(*args, log=log, delay_s=0.1)
    until(lambda: lines(log) > 6)
    process.send_signal(number)
    code, said = ended(process)
    assert code == 130
    assert "run the same command again" in said
    recorded = select(book, "select count(*) from runs")[0][0]
    assert 2 <= recorded < 30
    code, said = ended(command(*args, log=log))
    assert code == 0
    assert f"{30 - recorded} graded now" in said
    assert lines(log) <= 30 + 2  # what ran when it was stopped is run once more
    assert f"{recorded} taken from the book" in said


def test_asked_twice_it_leaves_at_once(folder: Path, secret: Path, tmp_path: Path) -> None:
    fill(folder, 4)
    log = tmp_path / "log"
    process = command(*cohort_command(folder, tmp_path / "b.duckdb", secret), log=log, delay_s=30)
    until(lambda: lines(log) == 2)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert ended(process)[0] == 130
    assert time.monotonic() - began < 5


KILLS = 5


def test_killed_at_any_moment_it_loses_nothing_and_grades_nothing_twice(
    folder: Path, secret: Path, tmp_path: Path
) -> None:
    fill(folder, 25, topics=3)
    place(folder, "zoe").write_bytes(b"")
    book, log = tmp_path / "b.duckdb", tmp_path / "log"
    args = cohort_command(folder, book, secret)
    rng = random.Random(7)
    kills, recorded = 0, set()
    began_after_recorded = []
    while kills < KILLS:
        seen = lines(log)
        process = command(*args, log=log, delay_s=0.05)
        until(lambda at=seen, p=process: lines(log) > at or p.poll() is not None)
        time.sleep(rng.uniform(0, 0.35))
        killed = process.poll() is None
        process.kill()
        process.communicate()
        began_after_recorded += [key for key in keys(log)[seen:] if key in recorded]
        if not killed:
            break
        kills += 1
        recorded |= {row[0] for row in select(book, "select job_key from runs")}
    seen = lines(log)
    code, said = ended(command(*args, log=log))
    assert code == 0, said
    began_after_recorded += [key for key in keys(log)[seen:] if key in recorded]
    assert kills >= 3
    assert not began_after_recorded
    assert max(Counter(keys(log)).values()) <= 1 + kills
    undisturbed = grade(folder, secret, outcome_of, book=tmp_path / "u.duckdb")
    assert Gradebook.rows_for_comparison(book) == Gradebook.rows_for_comparison(undisturbed.book)
    got, want = (
        {p.relative_to(root): p.read_text() for p in root.rglob("*") if p.is_file()}
        for root in (book.with_suffix(".pages"), undisturbed.pages)
    )
    assert got == want


def test_what_a_killed_writer_left_in_a_folder_of_pages_is_cleared(tmp_path: Path) -> None:
    for name in (".x.part", "kept.part", "result.json"):
        (tmp_path / name).touch()
    clear_partial(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["kept.part", "result.json"]


def test_memory_does_not_grow_with_the_cohort(secret: Path, tmp_path: Path) -> None:
    peaks = []
    for n in (100, 2000):
        folder = tmp_path / str(n)
        for i in range(n):
            hand_in(folder, f"learner-{i:04d}", TOPICS[0], f"{i}" + "x" * 100_000)
        code = (
            "import test_cohort, sys, atexit, resource;"
            "atexit.register(lambda: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss));"
            "test_cohort.main()"
        )
        args = map(str, cohort_command(folder, tmp_path / f"{n}.duckdb", secret, "--jobs", "8"))
        env = os.environ | {"PYTHONPATH": PATH}
        done = subprocess.run([sys.executable, "-c", code, *args], env=env, capture_output=True, text=True, check=True)
        assert f"{n:,} graded now" in done.stdout
        peaks.append(int(done.stdout.split()[-1]) / 1024)
    few, many = peaks
    assert many - few < 60, peaks  # 2,000 notebooks of 0.1 MB are 200 MB


def until(true: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def keys(log: Path) -> list[str]:
    return [line.split()[0] for line in log.read_text().splitlines()] if log.exists() else []


def lines(log: Path) -> int:
    return len(keys(log))


# -- a cluster: a scheduler and workers, each a process with a folder and a home of its own --------------------------------


@pytest.fixture
def start_cluster(tmp_path: Path) -> Iterator[Callable[..., Cluster]]:
    started: list[Cluster] = []

    def start(delay_s: float = 0, workers: int = 2, tls: dict[str, str] | None = None) -> Cluster:
        env = {LOG: str(tmp_path / "log"), DELAY_S: str(delay_s), **(tls or {})}
        found = Cluster(tmp_path / "cluster", env, tls=bool(tls))
        started.append(found)
        found.start_scheduler()
        for i in range(workers):
            found.start_worker(f"worker-{i}")
        return found

    yield start
    for found in started:
        found.close()


def other_version(tmp_path: Path) -> Path:
    """The packages as another version has them: with one line more."""
    place = tmp_path / "other"
    place.mkdir()
    root = HERE.parent
    for name in ("curriculum", "datasets", "requirements.txt"):
        (place / name).symlink_to(root / name)
    for name in ("grader", "workshop"):
        shutil.copytree(root / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
    with open(place / "workshop" / "checks.py", "a") as file:
        file.write("# another version\n")
    return place


def dask_command(folder: Path, book: Path, secret: Path, address: str, **more: str) -> subprocess.Popen[str]:
    return command(*cohort_command(folder, book, secret, "--dask", address), **more)


def test_a_cluster_that_loses_workers_and_its_scheduler_finishes_the_cohort(
    folder: Path, secret: Path, tmp_path: Path, start_cluster: Callable[..., Cluster]
) -> None:
    fill(folder, 20, topics=2)
    book, log = tmp_path / "b.duckdb", tmp_path / "log"
    found = start_cluster(delay_s=0.05)
    found.start_worker("stale", other_version(tmp_path))
    process = dask_command(folder, book, secret, found.address)
    until(lambda: lines(log) > 5)
    found.kill("worker-0")
    until(lambda: lines(log) > 9)
    found.kill("scheduler")
    found.start_scheduler()
    found.start_worker("late")
    found.start_worker("stale-late", tmp_path / "other")
    code, said = ended(process)
    assert code == 0, said
    assert "40 graded now" in said
    left_out = [line for line in said.splitlines() if "has another version of the workshop" in line]
    assert left_out
    assert re.search(
        r"worker tcp://127\.0\.0\.1:\d+ has another version of the workshop: 0\.1\.0, sources \w+; here it is",
        left_out[0],
    )
    assert f"the Dask scheduler at {found.address} is gone" in said
    assert "Traceback" not in said
    undisturbed = grade(folder, secret, outcome_of, book=tmp_path / "u.duckdb")
    assert Gradebook.rows_for_comparison(book) == Gradebook.rows_for_comparison(undisturbed.book)
    begun = Counter(keys(log))
    assert len(begun) == 40
    assert sum(begun.values()) <= 40 + 2 * 6  # what was under way when something was lost is run again
    stale = {found.workers[name].pid for name in ("stale", "stale-late") if name in found.workers}
    assert not stale & {int(line.split()[4]) for line in log.read_text().splitlines()}
    code, said = ended(dask_command(folder, book, secret, "tcp://127.0.0.1:1"))
    assert code == 0  # nothing is left to do: nobody is asked
    assert len(keys(log)) == sum(begun.values())


def test_a_cluster_that_is_gone_for_good_is_one_clear_line_and_loses_nothing(
    folder: Path, secret: Path, tmp_path: Path, start_cluster: Callable[..., Cluster]
) -> None:
    fill(folder, 20)
    book, log = tmp_path / "b.duckdb", tmp_path / "log"
    found = start_cluster(delay_s=0.1, workers=1)
    patience = {"DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "2s"}
    nobody = dask_command(folder, tmp_path / "c.duckdb", secret, "tcp://127.0.0.1:1", **patience)
    process = dask_command(folder, book, secret, found.address, **{"DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "4s"})
    until(lambda: lines(log) > 6)
    found.kill("scheduler")
    code, said = ended(process)
    assert code == 1
    assert re.search(
        r"^Error: The Dask scheduler at .* has been gone for 4 s\. .*run the same command again", said, re.M
    )
    recorded = select(book, "select count(*) from runs")[0][0]
    assert 4 <= recorded < 20
    code, said = ended(command(*cohort_command(folder, book, secret)))  # and goes on, here for instance
    assert code == 0
    assert f"{20 - recorded} graded now" in said
    code, said = ended(nobody)
    assert (code, said.count("\n")) == (1, 1), said
    assert "There is no Dask scheduler at tcp://127.0.0.1:1" in said


def test_a_cluster_of_another_version_is_refused_and_so_is_one_that_can_be_overheard(
    folder: Path, secret: Path, tmp_path: Path, start_cluster: Callable[..., Cluster]
) -> None:
    import dask.config
    import distributed  # noqa: F401 - brings its configuration

    fill(folder, 1)
    found = start_cluster(workers=0)
    found.start_worker("stale", other_version(tmp_path))
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "4s"}),
        pytest.raises(WorkshopError, match=r"No worker of .* can be used: worker .* has another version"),
    ):
        grade(folder, secret, logged, dask=found.address)
    for address in ("10.0.0.1:8786", "tcp://cluster.example:8786", "tcp://0.0.0.0:8786", "tcp://[fe80::1]:8786"):
        with pytest.raises(UsageError, match="tls://"):
            cluster.check_address(address)
    for address in ("ftp://127.0.0.1:1", "127.0.0.1", "tls://host"):
        with pytest.raises(UsageError, match="no address of a Dask scheduler"):
            cluster.check_address(address)
    for address in ("tcp://127.0.0.1:1", "localhost:8786", "tcp://[::1]:8786", "tls://cluster.example:8786"):
        assert cluster.check_address(address).startswith(("tcp://", "tls://"))
    with pytest.raises(UsageError, match="no certificates for tls://"):
        cluster.dask_executor("tls://cluster.example:8786", ["3.6"])


def test_tls_is_configured_as_dask_has_it(
    folder: Path, secret: Path, tmp_path: Path, start_cluster: Callable[..., Cluster]
) -> None:
    from distributed import Security

    made = Security.temporary()
    (tmp_path / "cert.pem").write_text(made.tls_ca_file)
    (tmp_path / "key.pem").write_text(made.tls_client_key)
    tls = {"DASK_DISTRIBUTED__COMM__TLS__CA_FILE": str(tmp_path / "cert.pem")}
    for role in ("CLIENT", "SCHEDULER", "WORKER"):
        tls[f"DASK_DISTRIBUTED__COMM__TLS__{role}__CERT"] = str(tmp_path / "cert.pem")
        tls[f"DASK_DISTRIBUTED__COMM__TLS__{role}__KEY"] = str(tmp_path / "key.pem")
    fill(folder, 2)
    found = start_cluster(workers=1, tls=tls)
    code, said = ended(dask_command(folder, tmp_path / "b.duckdb", secret, found.address, **tls))
    assert code == 0, said
    assert "2 graded now" in said
