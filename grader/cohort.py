"""A folder of submissions, graded one after the other; and a sample cohort to try it on.

(The distributed, resumable cohort is built on the same grade().)
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path

import click
import nbformat

from grader.bank import answers
from grader.grade import Graded, grade
from grader.result import _write, write
from workshop.authoring import compose, tags
from workshop.errors import UsageError
from workshop.topics import Topic, syllabus

BREAKAGES = (
    "truncated",
    "empty",
    "not_a_notebook",
    "no_frame",
    "no_check",
    "duplicated",
    "reordered",
    "syntax_error",
    "other_lab",
    "colab",
)


KINDS_OF_WORK = ("solution", "broken", "right", "wrong", "broken", "mixed", "untouched", "broken")


def grade_folder(submissions: Path, out: Path) -> list[Graded]:
    """Grades every <learner>/<module>/<topic>.ipynb; writes a folder a submission and summary.csv. One line a notebook."""
    if not submissions.is_dir():
        raise UsageError(f"{submissions} is no folder. It should hold <learner>/<module>/<topic>.ipynb.")
    by_place = {f"{t.module}/{t.folder}": t for t in syllabus().topics if t.exists}
    files = sorted(submissions.glob("*/*/*.ipynb"))
    if not files:
        raise UsageError(f"There is no notebook under {submissions}. It should hold <learner>/<module>/<topic>.ipynb.")
    out.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    done: list[Graded] = []
    for n, file in enumerate(files, 1):
        learner, module, stem = file.parts[-3], file.parts[-2], file.stem
        item = by_place.get(f"{module}/{stem}")
        if item is None:
            click.echo(f"[{n}/{len(files)}] {learner} {module}/{stem}: skipped, there is no such lab", err=True)
            continue
        graded = grade(file, learner=learner, expected=item.id)
        write(graded, out / learner / module / stem)
        done.append(graded)
        left = (time.monotonic() - began) / n * (len(files) - n)
        click.echo(
            f"[{n}/{len(files)}] {learner} {item.id}: {graded.points:g} of {graded.max_points:g} ({left:.0f} s left)"
        )
    _write(out / "summary.csv", _summary(done))
    click.echo(
        f"{len(done)} graded in {time.monotonic() - began:.0f} s; results in {out}, overview in {out / 'summary.csv'}"
    )
    return done


def _summary(done: list[Graded]) -> str:
    out = io.StringIO()
    table = csv.writer(out)
    table.writerow(
        ["learner", "topic", "points", "max_points", "gradable", "reproduction", "needs_a_human", "findings"]
    )
    for g in done:
        fault = any(r.grader_fault for r in g.results)
        status = g.reproduction.status if g.reproduction else ""
        codes = " ".join(f.code for f in g.findings if f.level != "note")
        table.writerow(
            [
                _tame(g.learner),
                g.topic,
                f"{g.points:g}",
                f"{g.max_points:g}",
                g.gradable,
                status,
                fault or not g.gradable,
                codes,
            ]
        )
    return out.getvalue()


def _tame(text: str) -> str:
    """A spreadsheet must not take a learner's name for a formula."""
    return "'" + text if text[:1] in "=+-@\t\r" else text


# -- the sample ----------------------------------------------------------------------------------------------------------


def make_sample(out: Path, learners: int) -> int:
    """Writes a cohort made from the answer banks; the same each time. Returns the number of notebooks."""
    topics = [t for t in syllabus().topics if t.exists]
    rng = random.Random("sample cohort")
    breakages = itertools.cycle(BREAKAGES)
    written = 0
    for i in range(learners):
        kind = KINDS_OF_WORK[i % len(KINDS_OF_WORK)]
        for item in rng.sample(topics, k=min(len(topics), 2 if kind == "broken" else 1 + i % 2)):
            data = _work(item, kind, rng, topics, breakages)
            place = out / f"learner-{i + 1:02d}" / item.module / f"{item.folder}.ipynb"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
            written += 1
    return written


def notebook_with(item: Topic, replacements: dict[str, str], *, solved: bool = True) -> nbformat.NotebookNode:
    """The lab as a notebook, with the task cells named in ``replacements`` replaced."""
    nb = nbformat.from_dict(compose(item, "solutions" if solved else "labs"))
    nb.metadata["kestrel"] = {"topic": item.id, "kind": "lab"}
    for cell in nb.cells:
        for t in tags(cell):
            if t.startswith("task-") and t[5:] in replacements:
                cell.source = replacements[t[5:]]
    return nb


def _work(item: Topic, kind: str, rng: random.Random, topics: list[Topic], breakages: Iterator[str]) -> bytes:
    if kind == "solution":
        # As a learner who has solved everything saves it: with outputs.
        nb = nbformat.read(item.notebook("solutions"), as_version=4)
        return nbformat.writes(nb).encode()
    bank = answers(item)
    replacements: dict[str, str] = {}
    for letter in [t.letter for t in item.tasks]:
        right = [a for a in bank if a.task == letter and a.right]
        wrong = [a for a in bank if a.task == letter and not a.right]
        if kind == "right":
            replacements[letter] = rng.choice(right).source
        elif kind == "wrong":
            replacements[letter] = rng.choice(wrong).source
        elif kind == "mixed":
            replacements[letter] = rng.choice(right + wrong).source
    nb = notebook_with(item, replacements, solved=kind != "untouched")
    if kind != "broken":
        return nbformat.writes(nb).encode()
    return break_notebook(nb, next(breakages), item, topics)


def break_notebook(nb: nbformat.NotebookNode, breakage: str, item: Topic, topics: list[Topic]) -> bytes:
    """The notebook, broken in one of the ways of BREAKAGES."""
    if breakage == "empty":
        return b""
    if breakage == "not_a_notebook":
        return b'{"some": "json"}'
    if breakage == "truncated":
        text = nbformat.writes(nb).encode()
        return text[: len(text) // 2]
    if breakage == "other_lab":
        other = next(t for t in topics if t.id != item.id)
        return nbformat.writes(notebook_with(other, {})).encode()
    if breakage == "no_frame":
        nb.cells = [c for c in nb.cells if not set(tags(c)) & {"parameters", "setup"}]
    elif breakage == "no_check":
        nb.cells = [c for c in nb.cells if not any(t.startswith("check-") for t in tags(c))]
    elif breakage == "duplicated":
        again = nbformat.from_dict(
            [dict(c) for c in nb.cells if any(t.startswith(("task-", "check-")) for t in tags(c))]
        )
        for c in again:
            c["id"] += "-copy"
        nb.cells += again
    elif breakage == "reordered":
        nb.cells.sort(key=lambda c: not any(t.startswith("check-") for t in tags(c)))
    elif breakage == "syntax_error":
        nb.cells.insert(3, nbformat.v4.new_code_cell("def broken(:\n    pass"))
    elif breakage == "colab":
        for c in nb.cells:
            c.metadata = {"id": c.pop("id"), "colab": {"base_uri": "x"}}
        nb.metadata = {"colab": {"provenance": []}, "kernelspec": {"name": "python3", "display_name": "Python 3"}}
        nb.nbformat_minor = 0
        return json.dumps(nb).encode()
    return nbformat.writes(nb).encode()
