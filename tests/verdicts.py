"""What the checks say in the notebook: python verdicts.py WORK OUT, in a full clone or in a released course.

WORK is a JSON list of notebooks, each {"topic", "name", "cells": [[source, tags], ...]}. Each is run as a learner would run it,
open_lab() included; where a check's cell stands, the task is judged. OUT gets by topic and name what was said.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from workshop.authoring import run_cell
from workshop.checks import CheckResult


def said(result: CheckResult) -> dict[str, Any]:
    """A result as plain data; pictures count by their title."""
    shown = [(e.title, str(e.table) if e.table is not None else None, e.text) for e in result.evidence]
    fields = ("task", "check", "points", "outcome", "message", "ask", "misconception", "grader_fault")
    return {f: getattr(result, f) for f in fields} | {"evidence": shown}


def verdicts(cells: list[list[Any]]) -> list[Any]:
    """What the checks say of a notebook and what its cells raised, in their order."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    found: list[Any] = []
    for number, (source, tags) in enumerate(cells):
        checked = [t.removeprefix("check-") for t in tags if t.startswith("check-")]
        if checked:
            found += [said(r) for r in namespace["lab"].results(checked[0])]
            continue
        found += run_cell(source, number, namespace)
    namespace["lab"]._trusted.close()
    return found


if __name__ == "__main__":
    work, out = map(Path, sys.argv[1:])
    answers = {}
    for notebook in json.loads(work.read_text(encoding="utf-8")):
        answers[f"{notebook['topic']} {notebook['name']}"] = verdicts(notebook["cells"])
        print(notebook["topic"], notebook["name"], file=sys.stderr, flush=True)
    out.write_text(json.dumps(answers, indent=1), encoding="utf-8")
