"""Grading one submission: validate, reproduce, execute, probe, record."""

from __future__ import annotations

import contextlib
import hashlib
import logging
from dataclasses import dataclass, field

import nbformat
import papermill
from papermill.exceptions import PapermillExecutionError

from grader import validate
from grader.carrier import KernelCarrier
from grader.engine import Execution
from grader.findings import Finding, Refused
from grader.job import Job
from grader.kernels import room
from grader.outputs import tame
from grader.reproduce import Reproduction, reproduce
from grader.reproduce import finding as reproduction_finding
from grader.sandbox import Warm
from workshop import trusted
from workshop.authoring import tags
from workshop.checks import ERROR, CheckResult, run_check
from workshop.topics import Checks, load_checks
from workshop.world import ensure_world, generator_version, opaque_name

# papermill does not see that WORLD and SCALE are assigned together, and would say so at each run.
logging.getLogger("papermill").setLevel(logging.ERROR)


@dataclass
class Graded:
    """The result of one submission; ``notebook`` is the executed one (None when it was refused). ``died``: a kernel or a
    judge ended by itself, which may be the submission's doing or an accident."""

    topic: str | None
    title: str | None
    digest: str
    points: float = 0
    max_points: float = 10
    gradable: bool = False
    world: str | None = None
    scale: float | None = None
    generator: str | None = None
    reproduction: Reproduction | None = None
    findings: list[Finding] = field(default_factory=list)
    results: list[CheckResult] = field(default_factory=list)
    notebook: nbformat.NotebookNode | None = None
    died: bool = False


def grade(job: Job, warm: Warm) -> Graded:
    """Grades one notebook, in this process: for one that does nothing else (see grader.runner). Whatever a learner hands in
    ends in a Graded; raises WorkshopError only for what is wrong on this side, such as a full disk, and ServerGone when
    there are no kernels to be had."""
    digest = hashlib.sha256(job.notebook).hexdigest()
    try:
        submission = validate.read(job.notebook, job.limits, job.topic or None)
    except Refused as refusal:
        return Graded(job.topic or None, None, digest, findings=[refusal.finding])
    item = submission.topic
    graded = Graded(item.id, item.title, digest, gradable=True, findings=submission.findings)
    graded.reproduction = reproduce(submission, job.limits, warm)
    _execute(submission, graded, job, warm)
    graded.findings.append(reproduction_finding(graded.reproduction))
    graded.points = sum(r.points for r in graded.results)
    return graded


def _execute(submission: validate.Submission, graded: Graded, job: Job, warm: Warm) -> None:
    seed, limits = job.seed, job.limits
    item = submission.topic
    checks = load_checks(item)
    files = ensure_world(opaque_name(seed), seed, job.scale, checks.subjects)
    graded.world, graded.scale, graded.generator = files.name, files.scale, generator_version()
    graded.max_points = sum(c.points for c in checks.checks)
    found: dict[str, list[CheckResult]] = {}
    labs: list[trusted.Lab] = []

    def probe(carrier: KernelCarrier, letter: str) -> None:
        if not labs:
            labs.append(trusted.Lab(item.id, trusted.World(files), seed, carrier, checks.subjects))
        labs[0].begin()
        # A kernel that dies in the middle keeps what was judged before.
        done = found.setdefault(letter, [])
        for c in checks.of_task(letter)[len(done) :]:
            done.append(run_check(c, labs[0]))

    def lost(letter: str, why: str) -> None:
        done = found.setdefault(letter, [])
        done += [_lost(checks, letter, i, why) for i in range(len(done), len(checks.of_task(letter)))]

    nb = nbformat.from_dict(submission.notebook)
    for cell in nb.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    with room(warm, limits) as place:
        place.offer(files)
        execution = Execution(place, limits, dict(submission.probes), probe, lost)
        try:
            # papermill raises at the end when a cell has failed; what failed is in the findings and the checks already.
            with contextlib.suppress(PapermillExecutionError):
                papermill.execute_notebook(
                    nb,
                    None,
                    parameters={"WORLD": files.name, "SCALE": files.scale},
                    engine_name="kestrel",
                    kernel_name="python3",
                    progress_bar=False,
                    execution=execution,
                )
        finally:
            for lab in labs:
                lab.close()
    graded.findings += execution.findings
    graded.died = bool(execution.died) or graded.reproduction.died
    for task in item.tasks:
        lost(task.letter, "This was not judged: the notebook did not get that far.")
        graded.results += found[task.letter]
    graded.notebook = execution.notebook
    for cell in graded.notebook.cells:
        cell.metadata = {"tags": tags(cell)}
    tame(graded.notebook)


def _lost(checks: Checks, letter: str, index: int, why: str) -> CheckResult:
    c = checks.of_task(letter)[index]
    return CheckResult(letter, c.name, c.title, 0, c.points, ERROR, why, weaker=c.weaker)
