"""One notebook that belongs to no cohort."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from grader import runner
from grader.collect import topic_of
from grader.findings import Refused
from grader.job import Job, Outcome, sources_digest
from grader.limits import Limits
from grader.result import refusal
from workshop.errors import WorkshopError
from workshop.topics import Topic, topic


def grade_one(
    path: Path,
    scale: float,
    seed_for: Callable[[Topic], bytes],
    *,
    expected: str | None = None,
    isolation: str = "sandbox",
) -> Outcome:
    """Grades one notebook file on a world of that scale; ``seed_for`` gives the world's seed (16 bytes), ``expected`` is the lab
    that it should be of (by default the notebook says). Raises WorkshopError for what is wrong on this side, such as a file
    that cannot be opened. Whoever has graded all calls runner.close()."""
    limits = Limits()
    try:
        with open(path, "rb") as file:
            data = file.read(limits.notebook_bytes + 1)
    except FileNotFoundError:
        raise WorkshopError(f"There is no file {path}.") from None
    except OSError as error:
        raise WorkshopError(f"{path} cannot be read: {error.strerror}.") from None
    try:
        if len(data) > limits.notebook_bytes:
            from grader import validate

            validate.read(data, limits)  # refuses it, before anything is made of it
        item = topic(expected or topic_of(data, limits))
    except Refused as refused:
        return Outcome(refusal(expected, hashlib.sha256(data).hexdigest(), refused.finding), None, 0, 0.0)
    job = Job(item.id, data, seed_for(item), scale, limits, isolation, sources_digest(item))
    runner.prepare(isolation)
    outcome = runner.run_job(job)
    runner.done([job.key])
    return outcome
