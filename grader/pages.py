"""What each learner may read of a cohort: a folder for each submission with result.json, feedback.html, executed.ipynb."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from grader.collect import Submission, safe_name
from grader.files import clear_partial, write_whole
from grader.plan import Planned
from grader.result import write
from workshop.topics import Topic, topic

MARK = ".job"  # in a submission's folder: the key of the job whose pages these are


def beside(book: Path) -> Path:
    """Where the pages of a book lie unless it is said otherwise."""
    return book.with_suffix(".pages")


def page_of(pages: Path | None, learner: str, item: Topic, job_key: str | None) -> Path | None:
    """The folder with the pages of a run in a folder that grading has made; None where there is none."""
    if pages is None or job_key is None:
        return None
    source, name = pages / safe_name(learner) / item.module, glob.escape(item.folder)
    marks = [
        source / item.folder / MARK,
        *sorted(source.glob(f"{name}*/*/{MARK}")),
        *sorted(source.glob(f"{name}-*/{MARK}")),
    ]
    return next((m.parent for m in marks if m.is_file() and m.read_text(encoding="utf-8") == job_key), None)


class Pages:
    """A folder for each submission: result.json, feedback.html, executed.ipynb."""

    def __init__(self, folder: Path, planned: Sequence[Planned]) -> None:
        self.folder = folder
        self._places: dict[Submission, Path] = {}
        taken: set[Path] = set()
        for p in sorted(planned, key=lambda p: p.submission.path):
            place = self._place(p)
            if place in taken:  # several files of one learner for one lab
                path = os.fsencode("/".join(p.submission.parts))
                place = place.with_name(f"{place.name}-{hashlib.sha256(path).hexdigest()[:8]}")
            taken.add(place)
            self._places[p.submission] = folder / place

    @staticmethod
    def _place(p: Planned) -> Path:
        learner = Path(safe_name(p.submission.learner))
        if not p.topic:
            return learner / "no_lab" / safe_name(p.submission.parts[-1].removesuffix(".ipynb"))
        item = topic(p.topic)
        place = learner / item.module / item.folder
        return place / safe_name(p.submission.attempt) if p.submission.attempt else place

    def are_there(self, p: Planned) -> bool:
        """Whether a submission's pages are those of its job, and whole."""
        try:
            return (self._places[p.submission] / MARK).read_text(encoding="utf-8") == p.key
        except OSError:
            return False

    def executed(self, group: Sequence[Planned]) -> str | None:
        """The executed notebook of equal work, if one of the group has it."""
        for p in group:
            with contextlib.suppress(OSError):
                if self.are_there(p):
                    return (self._places[p.submission] / "executed.ipynb").read_text(encoding="utf-8")
        return None

    def write(self, group: Sequence[Planned], result: dict[str, Any], executed: str | None) -> None:
        """Writes the pages of submissions that share a result, for each with its learner's name."""
        for p in group:
            place = self._places[p.submission]
            (place / MARK).unlink(missing_ok=True)
            clear_partial(place)
            write(result | {"learner": p.submission.learner}, executed, place)
            write_whole(place / MARK, p.key)
