"""Checks as a JUnit report, by junit-10.xsd of the Jenkins xUnit plugin, which GitHub and GitLab read as well."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from typing import Any

XML = '<?xml version="1.0" encoding="UTF-8"?>\n'
_NO_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # what XML 1.0 has no way to say


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def suite(
    learner: str,
    topic: str,
    checks: Sequence[dict[str, Any]],
    findings: Sequence[dict[str, Any]],
    points: float | None,
    max_points: float | None,
) -> ET.Element:
    """A JUnit test suite of one submission: a case for each check (rows of check_results, or of a result's tasks with ``task``
    added); where there is none, one case that says why it could not be graded."""

    def text(value: str) -> str:
        return _NO_XML.sub("\ufffd", value)

    name = " ".join(filter(None, (topic, learner)))
    made = ET.Element("testsuite", name=text(name))
    properties = ET.SubElement(made, "properties")
    for key, value in (
        ("learner", learner),
        ("topic", topic),
        ("points", _number(points)),
        ("max_points", _number(max_points)),
    ):
        ET.SubElement(properties, "property", name=key, value=text(value))
    counts = {"failure": 0, "error": 0, "skipped": 0}
    for c in checks:
        place = text(".".join(filter(None, (learner, topic, c["task"]))))
        case = ET.SubElement(made, "testcase", name=text(f"{c['task']}: {c['title']}"), classname=place)
        kind = {"failed": "failure", "error": "error", "not attempted": "skipped"}.get(c["outcome"])
        if kind:
            counts[kind] += 1
            said = ET.SubElement(case, kind, message=text(c["message"]))
            said.set("type", "grader" if c["grader_fault"] else text(c["misconception"] or c["check"]))
            said.text = text(c["ask"] or "")
    if not checks:
        case = ET.SubElement(made, "testcase", name="the notebook can be graded", classname=text(name))
        why = next((f for f in findings if f["level"] == "fatal"), None)
        counts["error"] += 1
        said = ET.SubElement(case, "error", message=text(why["text"] if why else "It has not been graded yet."))
        said.set("type", text(why["code"] if why else "not_graded"))
    made.set("tests", str(max(len(checks), 1)))
    made.set("failures", str(counts["failure"]))
    made.set("errors", str(counts["error"]))
    made.set("skipped", str(counts["skipped"]))
    return made


def junit_of(*results: dict[str, Any]) -> str:
    """The JUnit report of results (grader/result.schema.json)."""
    suites = []
    for r in results:
        checks = [{**c, "task": t["task"]} for t in r["tasks"] for c in t["checks"]]
        made = suite(r["learner"], r["topic"] or "", checks, r["findings"], r["points"], r["max_points"])
        suites.append(ET.tostring(made, encoding="unicode") + "\n")
    return f"{XML}<testsuites>\n{''.join(suites)}</testsuites>\n"
