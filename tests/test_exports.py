"""Exports for Canvas, Moodle and CI are read back by the rules that their readers publish."""

import csv
import io
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from test_gradebook import LOST, REFUSED, fill, finding, job, outcome

from grader.course import Course
from grader.export import export
from grader.gradebook import Gradebook
from grader.junit import junit_of
from workshop.topics import syllabus

FORMULA = '=cmd|"x"!A1, the 2nd'
ODD = "zoé\u0007 \N{PILE OF POO}\ud800"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "book.duckdb"
    with Gradebook.open(path) as book:
        fill(
            book,
            ("ada", job(1), 0, outcome(job(1), 7)),
            ("ada", job(2, "2.9"), 0, outcome(job(2, "2.9"), 10, message="a < b & \u0000 \x1b[31m ]]>")),
            (FORMULA, job(3), 0, outcome(job(3), 0, fault=True)),
            (ODD, job(4), 0, outcome(job(4), findings=REFUSED)),
            ("lost", job(5), 0, outcome(job(5), findings=LOST)),
            ("late", job(6), 0, None),
        )
        book.select(
            "insert into reviews select 'ada', '3.6', 'a', unnest(['clear', 'argued']), unnest([1.5, 2]), 2, "
            "unnest([null, '+ well said']), 'eve', '2026-11-20'::timestamp"
        )
        book.settle(Course())
    return path


def exported(path: Path, kind: str) -> str:
    out = io.StringIO()
    export(path, kind, out)
    out.getvalue().encode("utf-8")  # it can be
    return out.getvalue()


# What Canvas strips as no assignment (lib/gradebook_importer.rb, NON_ASSIGNMENT_COLUMN_HEADERS).
CANVAS_RESERVED = re.compile(
    "Current Score|Current Points|Current Grade|Final Score|Final Points|Final Grade|Override Score|Override Grade|"
    "Override Status"
)


def as_canvas_reads(text: str) -> tuple[dict[str, float], dict[str, dict[str, float | None]]]:
    """(points possible by assignment, points by SIS Login ID and assignment), by the rules of Canvas' importer."""
    first = text.splitlines()[:3]
    assert all(len(next(csv.reader([line], delimiter=";"))) == 1 for line in first)  # else it takes ; for the delimiter
    rows = list(csv.reader(io.StringIO(text)))
    header = rows[0]
    assert "Student" in header[0] and "ID" in header[1] and re.search(r"SIS\s+User\s+ID", header[2])
    assert re.search(r"SIS\s+Login\s+ID", header[3]) and "Section" in header[4]
    titles = header[5:]
    assert len(set(titles)) == len(titles) and not any(CANVAS_RESERVED.search(t) for t in titles)
    assert not any(re.search(r"\(\d+\)$", t) for t in titles)  # it would be the number of an assignment
    assert "Points Possible" in rows[1][0]
    most = {t: float(v) for t, v in zip(titles, rows[1][5:], strict=True)}
    students = {}
    for row in rows[2:]:
        assert len(row) == len(header) and row[0] == row[3] and "Points Possible" not in row[0]
        assert all(re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", v) or not v for v in row[5:])
        students[row[3]] = {t: float(v) if v else None for t, v in zip(titles, row[5:], strict=True)}
    return most, students


def titles(*topics: str) -> list[str]:
    return [f"{t.id} {t.title}" for t in syllabus().topics if t.id in topics]


def test_canvas_reads_its_export(path: Path) -> None:
    most, students = as_canvas_reads(exported(path, "canvas"))
    audit, backfill = titles("2.9", "3.6")
    assert most == {audit: 10, backfill: 10, f"{backfill}, reviewed by hand": 4}
    assert students["ada"] == {audit: 10, backfill: 7, f"{backfill}, reviewed by hand": 3.5}
    assert students["'" + FORMULA] == {audit: None, backfill: 0, f"{backfill}, reviewed by hand": None}
    assert students["late"][backfill] is None and len(students) == 5


def test_moodle_reads_its_export(path: Path) -> None:
    rows = list(csv.reader(io.StringIO(exported(path, "moodle"))))
    audit, backfill = titles("2.9", "3.6")
    by_hand = f"{backfill}, reviewed by hand"
    assert rows[0] == ["Username", audit, backfill, by_hand, f"{by_hand} (feedback)"]
    by_user = {row[0]: row[1:] for row in rows[1:]}
    assert by_user["ada"] == ["10", "7", "3.5", "a, argued: + well said"]
    assert by_user["late"] == ["-", "-", "-", ""]
    for row in rows[1:]:
        assert all(v == "-" or float(v) >= 0 for v in row[1:4])  # "-" is no grade; anything else must be a number


def test_junit_is_what_its_schema_asks_for(path: Path) -> None:
    root = ET.fromstring(exported(path, "junit").encode())
    check_junit(root)
    suites = {s.get("name"): s for s in root}
    assert len(suites) == 6
    ada = suites["3.6 ada"]
    assert [ada.get(k) for k in ("tests", "failures", "errors", "skipped")] == ["3", "1", "0", "0"]
    failed = [c for c in ada.iter("testcase") if c.find("failure") is not None]
    assert [(c.get("name"), c.get("classname")) for c in failed] == [("b: Title of one_price", "ada.3.6.b")]
    assert failed[0].find("failure").get("type") == "append_only"
    assert {p.get("name"): p.get("value") for p in ada.iter("property")}["points"] == "7"
    assert suites[f"3.6 {FORMULA}"].find(".//failure").get("type") == "grader"
    assert suites["3.6 lost"].find(".//error").get("type") == "lost"
    assert "not been graded" in suites["3.6 late"].find(".//error").get("message")


def check_junit(root: ET.Element) -> None:
    """The rules of junit-10.xsd of the Jenkins xUnit plugin for what is used of it."""
    assert root.tag == "testsuites" and not root.attrib
    for suite in root:
        assert suite.tag == "testsuite"
        assert {"name", "tests", "failures", "errors"} <= set(suite.attrib) <= {
            "name", "tests", "failures", "errors", "skipped",
        }  # fmt: skip
        assert {child.tag for child in suite} <= {"properties", "testcase"}
        cases = suite.findall("testcase")
        assert len(cases) == int(suite.get("tests"))
        for case in cases:
            assert case.get("name") and set(case.attrib) <= {"name", "time", "classname", "group"}
            for said in case:
                assert said.tag in {"failure", "error", "skipped"} and set(said.attrib) <= {"type", "message"}
        for kind, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            assert int(suite.get(kind)) == sum(c.find(tag) is not None for c in cases)
        assert all(set(p.attrib) == {"name", "value"} for p in suite.iter("property"))


def test_one_result_is_a_junit_report_too() -> None:
    of = job(1)
    graded = outcome(of, 7).result | {"learner": ODD}
    graded["tasks"][0]["checks"][0]["outcome"] = "not attempted"
    root = ET.fromstring(junit_of(graded).encode())
    check_junit(root)
    assert (root[0].get("tests"), root[0].get("skipped")) == ("3", "1")
    refused = ET.fromstring(junit_of(outcome(of, findings=(finding("not_a_notebook", "fatal"),)).result).encode())
    check_junit(refused)
    assert refused.find(".//error").get("type") == "not_a_notebook"


def test_the_csv_has_reviews(path: Path) -> None:
    ada = next(
        r for r in csv.DictReader(io.StringIO(exported(path, "csv"))) if r["learner"] == "ada" and r["topic"] == "3.6"
    )
    assert (ada["review_points"], ada["review_max_points"]) == ("3.5", "4")
    assert ada["review_comments"] == "a, argued: + well said"
