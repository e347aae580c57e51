"""What is recorded of a graded submission: one JSON result (grader/result.schema.json), a feedback page, the executed notebook.

The page is rendered from the JSON alone. What a learner wrote goes in as escaped text; pictures are the checks' own PNGs.
"""

from __future__ import annotations

import base64
import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grader.files import write_whole
from grader.findings import Finding
from workshop.checks import CheckResult, Evidence
from workshop.render import COLOURS, SIGNS, number
from workshop.table import _show
from workshop.topics import syllabus

# What renders and what grades is imported where it is needed: a cohort that is graded already needs neither.
if TYPE_CHECKING:
    import jinja2

    from grader.grade import Graded

SCHEMA_VERSION = 1
EVIDENCE_ROWS = 20
TEXT_LIMIT = 20_000


def to_json(graded: Graded) -> dict[str, Any]:
    """The result as plain JSON types, by the published schema."""
    by_task: dict[str, list[CheckResult]] = {}
    for r in graded.results:
        by_task.setdefault(r.task, []).append(r)
    reproduction = graded.reproduction
    return {
        "schema_version": SCHEMA_VERSION,
        "learner": "",
        "topic": graded.topic,
        "title": graded.title,
        "notebook_sha256": graded.digest,
        "gradable": graded.gradable,
        "points": round(graded.points, 6),
        "max_points": graded.max_points,
        "world": graded.world,
        "scale": graded.scale,
        "generator_version": graded.generator,
        "reproduction": None
        if reproduction is None
        else {
            "status": reproduction.status,
            "text": reproduction.text,
            "compared": reproduction.compared,
            "cells": list(reproduction.cells),
        },
        "findings": [{"code": f.code, "level": f.level, "text": f.text[:TEXT_LIMIT]} for f in graded.findings],
        "tasks": [
            {
                "task": letter,
                "points": round(sum(r.points for r in results), 6),
                "max_points": sum(r.max_points for r in results),
                "checks": [_check(r) for r in results],
            }
            for letter, results in by_task.items()
        ],
    }


def refusal(topic: str | None, notebook_sha256: str, finding: Finding) -> dict[str, Any]:
    """The result of what was refused before a grader saw it, by the published schema."""
    return {
        "schema_version": SCHEMA_VERSION,
        "learner": "",
        "topic": topic,
        "title": None,
        "notebook_sha256": notebook_sha256,
        "gradable": False,
        "points": 0,
        "max_points": 10,
        "world": None,
        "scale": None,
        "generator_version": None,
        "reproduction": None,
        "findings": [{"code": finding.code, "level": finding.level, "text": finding.text}],
        "tasks": [],
    }


def executed_text(graded: Graded) -> str | None:
    """The executed notebook as text; None when there is none, since the submission was refused."""
    if graded.notebook is None:
        return None
    import nbformat

    return nbformat.writes(graded.notebook, version=4) + "\n"


def _check(r: CheckResult) -> dict[str, Any]:
    return {
        "check": r.check,
        "title": r.title,
        "outcome": r.outcome,
        "points": r.points,
        "max_points": r.max_points,
        "message": r.message[:TEXT_LIMIT],
        "ask": r.ask,
        "misconception": r.misconception,
        "weaker_evidence": r.weaker,
        "grader_fault": r.grader_fault,
        "evidence": [_evidence(e) for e in r.evidence],
    }


def _evidence(e: Evidence) -> dict[str, Any]:
    table = None
    if e.table is not None:
        rows = [[_show(v) for v in row] for row in e.table.rows[:EVIDENCE_ROWS]]
        table = {"columns": list(e.table.columns), "rows": rows, "row_count": len(e.table)}
    return {
        "title": e.title,
        "table": table,
        "png_base64": base64.b64encode(e.png).decode() if e.png is not None else None,
        "text": e.text[:TEXT_LIMIT] if e.text is not None else None,
    }


def printable(text: str) -> str:
    """A stranger's text for a terminal: nothing in it that a terminal obeys."""
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)


def to_text(result: dict[str, Any]) -> str:
    """The result for a terminal."""
    who = f" of {result['learner']}" if result["learner"] else ""
    lines = [f"{result['topic'] or 'no lab'}{who}: {number(result['points'])} of {number(result['max_points'])} points"]
    for task in result["tasks"]:
        lines.append(f"  task {task['task']}: {number(task['points'])} of {number(task['max_points'])}")
        for c in task["checks"]:
            lines.append(f"    {SIGNS[c['outcome']]} {c['title']} ({c['outcome']})")
            if c["message"] and c["outcome"] not in {"passed", "not attempted"}:
                lines.append(f"      {c['message']}")
    lines += [f"  {f['level']}: {f['text']}" for f in result["findings"]]
    return printable("\n".join(lines))


@cache
def _template() -> jinja2.Template:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["number"] = number
    return environment.get_template("feedback.html")


def to_html(result: dict[str, Any]) -> str:
    """The feedback page, from the result alone."""
    return _template().render(result=result, course=syllabus().course["title"], colours=COLOURS, signs=SIGNS)


def write(result: dict[str, Any], executed: str | None, folder: Path) -> None:
    """Writes result.json, feedback.html and executed.ipynb (where there is one) into ``folder``, each whole or not at all.
    The result is written last: where it is, the rest is too."""
    folder.mkdir(parents=True, exist_ok=True)
    if executed is not None:
        write_whole(folder / "executed.ipynb", executed)
    else:
        (folder / "executed.ipynb").unlink(missing_ok=True)
    write_whole(folder / "feedback.html", to_html(result))
    write_whole(folder / "result.json", json.dumps(result, indent=1, ensure_ascii=False) + "\n")
