"""The answer bank and the contract of a topic.

answers.py is py:percent; each cell is one answer to one task, another way than the reference:

    # %% [a] right merge_statement
    # %% [a] wrong append_only fails=rerun_changes_nothing says="twice"

An answer stands in for the task's cell; all other cells are the reference's. One that differs from the reference in a few
lines gives those alone: lines ``# - old`` and ``# + new``, where the old lines (indentation and all) stand in the
reference once. With ``of=NAME`` before ``fails=`` they are lines of that answer, which stands above.

A wrong answer must fail the check that it names, with those words in its message, and spoil no other task.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from workshop import trusted
from workshop.authoring import compose, run_cell, tags, task_source
from workshop.checks import FAILED, NOT_ATTEMPTED, PASSED, Check, CheckResult, run_checks
from workshop.errors import WorkshopError
from workshop.lab import Connections, GradedLab
from workshop.reference import without_open_lab
from workshop.topics import Topic, load_checks, topic
from workshop.world import WorldFiles, ensure_world, opaque_name

CELL = re.compile(
    r'^# %% \[([a-z])\] (right|wrong) (\w+)(?: of=(\w+))?(?: fails=(?P<fails>\w+))?(?: says="(?P<says>[^"]*)")?\s*$'
)


@dataclass(frozen=True)
class Answer:
    """One answer of the bank. ``fails`` and ``says`` are of wrong answers only."""

    task: str
    right: bool
    name: str
    source: str
    fails: str | None = None
    says: str | None = None


@dataclass
class Verdict:
    """What one notebook's checks said, by task and check."""

    name: str
    results: list[CheckResult] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def points(self) -> float:
        """Points reached."""
        return sum(r.points for r in self.results)


def answers(item: Topic) -> tuple[Answer, ...]:
    """The answer bank of a topic. Raises WorkshopError on a head that cannot be read."""
    path = item.source / "answers.py"
    found: list[Answer] = []
    head: re.Match[str] | None = None
    lines: list[str] = []

    def close() -> None:
        if head:
            task, kind, name, of, fails, says = head.groups()
            bases = {a.name: a.source for a in found if a.task == task}
            if of and of not in bases:
                raise WorkshopError(f"{path}: {name}: no answer {of} to task {task} stands above.")
            base = bases[of] if of else task_source(item, task, solved=True)
            source = _edited(base, lines, f"{path}: {name}")
            found.append(Answer(task, kind == "right", name, source, fails, says))

    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.startswith("# %%"):
            close()
            head, lines = CELL.match(line), []
            if head is None and line.strip() not in {"# %%", "# %% [markdown]"}:
                raise WorkshopError(f"{path}:{number}: not the head of an answer: {line}")
            if head and head.group(2) == "wrong" and not (head["fails"] and head["says"]):
                raise WorkshopError(f'{path}:{number}: a wrong answer needs fails=CHECK and says="words".')
        elif line.startswith("# = "):
            lines += _brought(line[4:], f"{path}:{number}").splitlines()
        else:
            lines.append(line)
    close()
    return tuple(found)


def _brought(which: str, where: str) -> str:
    """The source of an answer of another topic's bank, named by topic, task and name: what a learner of a capstone brings."""
    topic_id, task, name = (*which.split(), "", "", "")[:3]
    for answer in answers(topic(topic_id)):
        if (answer.task, answer.name) == (task, name):
            return answer.source
    raise WorkshopError(f"{where}: the bank of {topic_id} has no answer {name} to task {task}.")


def _edited(base: str, lines: Sequence[str], where: str) -> str:
    """The source of an answer: its lines or, where it is given as edits, the base with them made.
    Raises WorkshopError on an edit whose old lines do not stand in the base exactly once."""
    edits: list[tuple[list[str], list[str]]] = []
    for line in lines:
        mark, text = line[:3], line[4:]
        if mark == "# -":
            if not edits or edits[-1][1]:
                edits.append(([], []))
            edits[-1][0].append(text)
        elif mark == "# +" and edits:
            edits[-1][1].append(text)
        elif edits and line and not line.startswith("#"):
            raise WorkshopError(f"{where}: edits and code do not mix: {line}")
        elif edits and edits[-1][0]:
            edits.append(([], []))  # a comment or an empty line ends an edit
    if not edits:
        return "\n".join(lines).strip() + "\n"
    made = base.splitlines()
    places = []
    for old, new in edits:
        at = [i for i in range(len(made)) if old and made[i : i + len(old)] == old]
        if old and len(at) != 1:
            raise WorkshopError(
                f"{where}: these lines stand in what is edited {len(at)} times, not once:\n" + "\n".join(old)
            )
        places += [(i, len(old), new) for i in at]
    for i, length, new in sorted(places, reverse=True):
        made[i : i + length] = new
    return "\n".join(made) + "\n"


def cells_with(item: Topic, replacements: Mapping[str, str], *, solved: bool) -> list[tuple[str, list[str]]]:
    """(source, tags) of the lab's code cells, with the task cells named in ``replacements`` replaced. Cells that only show
    what a task's work gives are left out then: they are run with the solution."""
    cells = []
    for cell in compose(item, "solutions" if solved else "labs").cells:
        if cell.cell_type == "code" and not (replacements and "nbval-check-output" in tags(cell)):
            letter = next((t[5:] for t in tags(cell) if t.startswith("task-")), None)
            cells.append((replacements.get(letter, cell.source) if letter else cell.source, tags(cell)))
    return cells


def run_cells(
    item: Topic,
    name: str,
    cells: Sequence[tuple[str, list[str]]],
    files: WorldFiles,
    seed: bytes,
    only: Callable[[Check], bool] = lambda _: True,
    lab_class: type[trusted.Lab] = trusted.Lab,
    at_end: Callable[[trusted.Lab], None] = lambda _: None,
) -> Verdict:
    """Runs cells in this process and the checks where their cells stand, as the grader does in a kernel; ``at_end`` is called
    with the lab before it is closed.

    For material of the course itself, never for a learner's.
    """
    from workshop.agent import Agent

    checks = load_checks(item)
    verdict = Verdict(name)
    connections = Connections({files.name: files})
    namespace: dict[str, Any] = {"__name__": "__main__"}
    carrier = trusted.InProcess(Agent(namespace, connections), connections.offered)
    lab = lab_class(item.id, trusted.World(files), seed, carrier, checks.subjects)
    try:
        for i, (source, marks) in enumerate(cells):
            if "parameters" in marks:
                namespace.update(WORLD=files.name, SCALE=files.scale)
            elif "setup" in marks:
                exec(compile(without_open_lab(source), "<setup>", "exec"), namespace)
                namespace["lab"] = GradedLab(item, files.name, files.scale, connections, namespace)
            else:
                verdict.problems += run_cell(source, i, namespace)
            for mark in marks:
                if mark.startswith("check-"):
                    verdict.results += run_checks([c for c in checks.of_task(mark[6:]) if only(c)], lab)
        at_end(lab)
    finally:
        lab.close()
        connections.close()
        if "matplotlib.pyplot" in sys.modules:
            sys.modules["matplotlib.pyplot"].close("all")
    return verdict


def _concerns(answer: Answer, item: Check) -> bool:
    """Whether a check says whether the answer is what it is called: right by all of its task, wrong by the one it names."""
    return item.task == answer.task and (answer.right or item.name == answer.fails)


def breaches(
    item: Topic,
    seed: bytes,
    scale: float,
    *,
    whole: bool = True,
    task: str | None = None,
    every: int = 1,
    brief: bool = False,
) -> list[str]:
    """Breaches of the contract by this topic on this seed; empty when it holds.

    ``whole``: each answer meets all checks, so that a wrong one is shown to spoil no other task and every check to be
    failed by one; the untouched lab is run too. Else a right answer meets the checks of its task and a wrong one the
    check that names it, which is what depends on the seed. ``task``: the answers to this task alone. ``every``: one in so many
    wrong answers alone. ``brief``: of each task one wrong answer meets the checks of the others, the rest those of their own
    task.
    """
    checks = load_checks(item)
    files = ensure_world(opaque_name(seed), seed, scale, checks.subjects)
    bank = [a for a in answers(item) if task in (None, a.task)]
    total = sum(c.points for c in checks.checks)
    found: list[str] = []
    if abs(total - 10) > 1e-9:
        found.append(f"the checks are worth {total} points, not 10")

    def run(
        name: str, replacements: Mapping[str, str], solved: bool = True, only: Callable[[Check], bool] = lambda _: True
    ) -> Verdict:
        verdict = run_cells(item, name, cells_with(item, replacements, solved=solved), files, seed, only)
        found.extend(f"{name}: {r.task}.{r.check}: {r.message}" for r in verdict.results if r.grader_fault)
        return verdict

    def not_passed(verdict: Verdict) -> list[str]:
        return [
            f"{verdict.name}: {r.task}.{r.check} {r.outcome}: {r.message}"
            for r in verdict.results
            if r.outcome != PASSED
        ]

    solution = run("solution", {})
    found += not_passed(solution) + [f"solution: {p}" for p in solution.problems]
    if len(solution.results) != len(checks.checks):
        found.append(f"solution: {len(solution.results)} of {len(checks.checks)} checks ran: is a check cell missing?")
    if whole:
        untouched = run("untouched", {}, solved=False)
        found += [f"untouched: {p}" for p in untouched.problems]
        found += [f"untouched: {r.task}.{r.check} {r.outcome}" for r in untouched.results if r.outcome != NOT_ATTEMPTED]
    caught: set[tuple[str, str]] = set()
    one_a_task = {a.task: a for a in reversed(bank) if not a.right}

    def meets(answer: Answer, c: Check) -> bool:
        if not whole:
            return _concerns(answer, c)
        return not brief or c.task == answer.task or answer is one_a_task.get(answer.task)

    for place, answer in enumerate(bank):
        if not answer.right and place % every:
            continue
        name = f"{'right' if answer.right else 'wrong'} {answer.task}.{answer.name}"
        verdict = run(name, {answer.task: answer.source}, only=lambda c, a=answer: meets(a, c))
        if answer.right:
            found += not_passed(verdict)
            continue
        caught |= {(r.task, r.check) for r in verdict.results if r.outcome != PASSED}
        found += [
            f"{name} spoils {r.task}.{r.check}: {r.message}"
            for r in verdict.results
            if r.task != answer.task and r.outcome != PASSED
        ]
        named = [r for r in verdict.results if r.task == answer.task and r.check == answer.fails]
        if not named:
            found.append(f"{name}: there is no check {answer.task}.{answer.fails}")
        elif named[0].outcome == PASSED:
            found.append(f"{name}: {answer.fails} passes")
        elif named[0].outcome != FAILED and not named[0].message:
            found.append(f"{name}: {answer.fails} is {named[0].outcome}")
        elif answer.says not in named[0].message:
            found.append(f"{name}: {answer.fails} does not say {answer.says!r} but: {named[0].message}")
    for c in checks.checks if whole else ():
        if (c.task, c.name) not in caught:
            found.append(f"no wrong answer fails {c.task}.{c.name}")
    for letter in {c.task for c in checks.checks if task in (None, c.task)}:
        wrong = sum(a.task == letter and not a.right for a in bank)
        right = sum(a.task == letter and a.right for a in bank)
        if wrong < 3 or right < 1:
            found.append(f"task {letter} has {wrong} wrong and {right} other right answers; 3 and 1 are the least")
    return found
