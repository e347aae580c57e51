"""A sample cohort made from the answer banks: right, wrong, untouched and broken work."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import nbformat

from grader.bank import answers
from workshop.authoring import compose, tags
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


def make_sample(out: Path, learners: int, only: Sequence[Topic] = ()) -> int:
    """Writes a cohort made from the answer banks; the same each time. Each learner hands in one or two labs or, if given, all
    of ``only``. Returns the number of notebooks."""
    topics = [t for t in syllabus().topics if t.exists]
    rng = random.Random("sample cohort")
    breakages = itertools.cycle(BREAKAGES)
    written = 0
    for i in range(learners):
        kind = KINDS_OF_WORK[i % len(KINDS_OF_WORK)]
        for item in only or rng.sample(topics, k=min(len(topics), 2 if kind == "broken" else 1 + i % 2)):
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
