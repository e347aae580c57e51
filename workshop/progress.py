"""What a learner has done: kept outside the repository, so that an update loses nothing."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from workshop import render
from workshop.paths import home
from workshop.topics import syllabus


def _file() -> Path:
    return home() / "progress.json"


def read() -> dict[str, dict[str, Any]]:
    """Progress by topic id: {"best": {check: points}, "of": points, "attempts": {task: n}}. Empty if there is none."""
    try:
        plain = json.loads(_file().read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        return {}  # a damaged file must not stop a lab; the next check writes a good one
    return plain if isinstance(plain, dict) else {}


def record(topic_id: str, task: str, points: dict[str, float], of: float, attempted: bool) -> None:
    """Notes the points of a task's checks (the best of all tries). Failing to write is no reason to stop a lab."""
    everything = read()
    mine = everything.setdefault(topic_id, {"best": {}, "of": of, "attempts": {}})
    mine["of"] = of
    for name, p in points.items():
        mine["best"][name] = max(p, mine["best"].get(name, 0))
    if attempted:
        mine["attempts"][task] = mine["attempts"].get(task, 0) + 1
    try:
        _file().parent.mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(dir=_file().parent, prefix="progress-")
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            json.dump(everything, out, indent=1)
        os.replace(partial, _file())
    except OSError:
        return


def progress() -> render.Html:
    """The map of the 72 topics: done, tried, open."""
    return render.course_map(syllabus(), read())
