"""The lab handle: what a learner's notebook holds as ``lab``."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import duckdb

from workshop import codec, progress, render
from workshop.checks import NOT_ATTEMPTED, TODO, CheckFailed, CheckResult, run_checks
from workshop.errors import UsageError, WorkshopError
from workshop.judged import search_path
from workshop.table import Table
from workshop.topics import Topic, load_checks, planned_topic, syllabus, topic
from workshop.withheld import withhold
from workshop.world import WorldFiles, ensure_world, find_world, practice_seed
from workshop.world.build import check_scale
from workshop.world.shipped import shipped

MEMORY = "350MB"  # beside a kernel with everything imported this stays under Binder's 1 GB for kernel and world
WORLDS_VARIABLE = "KESTREL_WORLDS"  # set by the grader: the folder in which a graded kernel finds its worlds
GRADED_WORLD = "graded"  # the file there that names the one which counts


class Connections:
    """The learner's DuckDB connections by world: the world attached read-only, scratch in memory beside it."""

    def __init__(self, offered: dict[str, WorldFiles]) -> None:
        self.offered = offered
        self._open: dict[str, duckdb.DuckDBPyConnection] = {}
        atexit.register(self.close)  # DuckDB may abort at exit with open results

    def __call__(self, name: str) -> duckdb.DuckDBPyConnection:
        if name not in self._open:
            self._open[name] = self._connect(self._file(name))
        return self._open[name]

    def _file(self, name: str) -> Path:
        folder = os.environ.get(WORLDS_VARIABLE)
        if folder:
            return Path(folder) / f"{name}.duckdb"
        return self.offered[name].world

    @staticmethod
    def _connect(file: Path) -> duckdb.DuckDBPyConnection:
        con = duckdb.connect(":memory:", config={"memory_limit": MEMORY, "autoinstall_known_extensions": "false"})
        con.execute("set timezone='UTC'")
        con.execute(f"attach '{str(file).replace(chr(39), chr(39) * 2)}' as world (read_only)")
        con.execute(f"set search_path='{search_path(con)}'")
        return con

    def close(self) -> None:
        """Closes all connections."""
        while self._open:
            self._open.popitem()[1].close()


@cache
def graded_connections() -> Connections:
    """The connections of a graded kernel: one set, shared by the notebook and by the grader's probes."""
    return Connections({})


class Lab:
    """A lab that is open. ``con`` is the learner's DuckDB connection, ``world`` the world's name, ``scale`` its size."""

    def __init__(
        self, item: Topic, world: str, scale: float, connections: Connections, namespace: dict[str, Any]
    ) -> None:
        self.topic = item.id
        self.world = world
        self.scale = scale
        self._item = item
        self._connections = connections
        self._namespace = namespace

    @property
    def con(self) -> duckdb.DuckDBPyConnection:
        """DuckDB: the world's schemas (core, raw, ops ...) read-only, and a scratch database of your own beside them."""
        return self._connections(self.world)

    def rows(self, query: str) -> list[dict[str, Any]]:
        """The rows of a query as dicts, the form in which functions of a lab are given tables."""
        return Table.from_cursor(self.con.execute(query)).dicts()

    def _letter(self, task: str) -> str:
        letters = [t.letter for t in self._item.tasks]
        if task not in letters:
            raise UsageError(f"Lab {self.topic} has the tasks {', '.join(letters)}; there is no task {task!r}.")
        return task

    def preview(self, function: Callable[..., Any], *args: Any) -> None:
        """Prints what your function returns as the checks will see it: the first rows, sorted. Says so while it is open."""
        try:
            value = codec.loads(codec.dumps(function(*args)))
        except TODO:
            print("Not attempted yet.")
            return
        except codec.CodecError as error:
            print(f"This cannot be handed over: {error}.")
            return
        if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
            value = Table.from_dicts(value)
        if isinstance(value, Table):
            value = Table(value.columns, tuple(sorted(value.rows, key=lambda row: [str(v) for v in row])))
        print(value)

    def check(self, task: str) -> render.Html:
        """Judges a task on this world, with the very checks that the grader uses on another one."""
        raise NotImplementedError

    def hint(self, task: str) -> render.Html:
        """The next of three hints; the first speaks to the mistake that the last check recognised, if it did."""
        raise NotImplementedError

    def solution(self, task: str) -> render.Html:
        """The reference solution, where the course allows it (as a rule, after a first attempt)."""
        raise NotImplementedError

    def reset(self, task: str) -> render.Html:
        """The cell of a task as it was handed out."""
        raise NotImplementedError

    def bring(self, topic_id: str, task: str) -> render.Html:
        """What you wrote in a task of another lab, as a new cell below this one."""
        raise NotImplementedError

    def twelve_weeks_later(self) -> Any:
        """What your decision does over the twelve weeks that follow, against the baseline (a plot)."""
        raise NotImplementedError


class GradedLab(Lab):
    """In a graded kernel nothing is judged: the grader probes from outside where the check cells stand."""

    def _later(self, what: str) -> render.Html:
        return render.note(f"{what} is left out while grading.")

    def check(self, task: str) -> render.Html:
        self._letter(task)
        return render.note(f"Task {task} is judged here, by the grader.")

    def hint(self, task: str) -> render.Html:
        return self._later("A hint")

    def solution(self, task: str) -> render.Html:
        return self._later("The solution")

    def reset(self, task: str) -> render.Html:
        return self._later("The cell as handed out")

    def bring(self, topic_id: str, task: str) -> render.Html:
        return self._later("What another lab holds")

    def twelve_weeks_later(self) -> Any:
        return self._later("The outlook")


class PracticeLab(Lab):
    """The lab on the learner's machine."""

    def __init__(
        self, item: Topic, files: WorldFiles, seed: bytes, connections: Connections, namespace: dict[str, Any]
    ) -> None:
        from workshop import trusted
        from workshop.agent import Agent

        super().__init__(item, files.name, files.scale, connections, namespace)
        self._checks = load_checks(item)
        carrier = trusted.InProcess(Agent(namespace, connections), connections.offered)
        self._trusted = trusted.Lab(item.id, trusted.World(files), seed, carrier, self._checks.subjects)
        self._hints_given: dict[str, int] = {}
        self._recognised: dict[str, str] = {}
        self._attempted: set[str] = set()
        atexit.register(self._trusted.close)

    def results(self, task: str) -> list[CheckResult]:
        """The results of a task's checks as data."""
        return run_checks(self._checks.of_task(self._letter(task)), self._trusted)

    def check(self, task: str) -> render.Html:
        results = self.results(task)
        attempted = any(r.outcome != NOT_ATTEMPTED for r in results)
        recognised = [r.misconception for r in results if r.misconception]
        if recognised:
            self._recognised[task] = recognised[0]
        if attempted:
            self._attempted.add(task)
        progress.record(
            self.topic,
            task,
            {f"{task}.{r.check}": r.points for r in results},
            sum(c.points for c in self._checks.checks),
            attempted,
        )
        return render.report(task, results)

    def hint(self, task: str) -> render.Html:
        rungs = list(self._checks.hints[self._letter(task)])
        recognised = self._recognised.get(task)
        if recognised in self._checks.misconceptions:
            rungs = [self._checks.misconceptions[recognised], *rungs[1:]]
        given = min(self._hints_given.get(task, 0), len(rungs) - 1)
        self._hints_given[task] = given + 1
        return render.note(f"Hint {given + 1} of {len(rungs)}: {rungs[given]}")

    def bring(self, topic_id: str, task: str) -> render.Html:
        from IPython import get_ipython

        from workshop.authoring import notebook_cell, task_source

        try:
            other = topic(topic_id)
            source = notebook_cell(other.notebook("labs"), task)
        except WorkshopError as error:
            return render.note(str(error))
        if source.strip() == task_source(other, task, solved=False).strip():
            return render.note(f"Task {task} of lab {topic_id} is still as it was handed out.")
        shell = get_ipython()
        if shell is None:
            return render.note(f"Task {task} of lab {topic_id}:", source)
        shell.set_next_input(source)
        return render.note(f"What you wrote in task {task} of lab {topic_id} stands in the next cell: run it.")

    def solution(self, task: str) -> render.Html:
        from workshop.authoring import task_source

        self._letter(task)
        rule = syllabus().course["solutions"]
        tried = task in self._attempted or progress.read().get(self.topic, {}).get("attempts", {}).get(task)
        if rule == "never":
            return render.note("This course does not show solutions.")
        if rule == "after_attempt" and not tried:
            return render.note(
                f'The solution is shown after a first attempt: try task {task}, then run lab.check("{task}").'
            )
        return render.note("One way to do it:", task_source(self._item, task, solved=True))

    def reset(self, task: str) -> render.Html:
        from workshop.authoring import task_source

        return render.note(
            f"The cell of task {self._letter(task)} as it was handed out. Copy it over yours:",
            task_source(self._item, task, solved=False),
        )

    def twelve_weeks_later(self) -> Any:
        self._trusted.begin()  # the cells may be others than when they were checked
        try:
            figure = self._checks.module.twelve_weeks_later(self._trusted)
            from IPython.display import Image

            from workshop.plots import png

            title = figure.axes[0].get_title(loc="left") or figure.axes[0].get_title()
            return Image(png(figure), alt=title)
        except CheckFailed as reason:
            text = "Solve the tasks first" if reason.outcome == NOT_ATTEMPTED else f"Not yet: {reason.message}"
            return render.note(f"{text}; then this shows what your decisions do over twelve weeks.")


def open_lab(topic_id: str, world: str = "practice-7", scale: float = 0.05) -> Lab:
    """Opens a lab: finds or builds its world, connects, shows the tasks.

    A wrong topic, world or scale, a missing world or a full disk ends in one clear line and no traceback.
    """
    namespace = _caller_namespace()
    try:
        lab = _open(topic_id, world, scale, namespace)
    except WorkshopError as error:
        _stop(error)
    item = lab._item
    points: dict[str, float] = {}
    if isinstance(lab, PracticeLab):
        for c in lab._checks.checks:
            points[c.task] = points.get(c.task, 0) + c.points
        _display(render.lab_card(item, lab.world, lab.scale, points))
    return lab


def open_lesson(topic_id: str, world: str = "practice-7", scale: float = 0.05) -> duckdb.DuckDBPyConnection:
    """The DuckDB connection of a lesson: the topic's world read-only, scratch beside it. Errors as in open_lab."""
    try:
        item = topic(topic_id)
        seed = practice_seed(world)
        files = ensure_world(world, seed, check_scale(scale), load_checks(item).subjects)
    except WorkshopError as error:
        _stop(error)
    return Connections({world: files})(world)


def _open(topic_id: str, world: str, scale: float, namespace: dict[str, Any]) -> Lab:
    scale = check_scale(scale)
    folder = os.environ.get(WORLDS_VARIABLE)
    if folder:
        item = planned_topic(topic_id)  # a graded kernel does not see the topics' folders
        withhold(item.withheld)
        if not (Path(folder) / f"{world}.duckdb").exists():
            # WORLD was overwritten, or written into the call: a slip that must not cost a lab.
            note = Path(folder) / GRADED_WORLD
            if not note.exists():
                raise WorkshopError(f"There is no world {world!r} in {folder}.")
            graded = note.read_text(encoding="utf-8")
            print(
                f"This is graded on {graded}, not on {world!r}: leave WORLD and open_lab(...) as they were handed out."
            )
            world = graded
        return GradedLab(item, world, scale, graded_connections(), namespace)
    item = topic(topic_id)
    withhold(item.withheld)
    seed = practice_seed(world)
    subjects = load_checks(item).subjects
    files = find_world(world, seed, scale, subjects)
    if files is None:
        print(
            f"{'Unpacking' if shipped() else 'Building'} the world {world} at scale {scale:g} (once; kept in "
            f"{os.environ.get('KESTREL_HOME', '~/.kestrel')}) ..."
        )
        files = ensure_world(world, seed, scale, subjects)
    return PracticeLab(item, files, seed, Connections({world: files}), namespace)


def _caller_namespace() -> dict[str, Any]:
    try:
        shell = get_ipython()  # type: ignore[name-defined]
    except NameError:
        return sys._getframe(2).f_globals
    return shell.user_ns


def _display(thing: Any) -> None:
    try:
        get_ipython()  # type: ignore[name-defined]
    except NameError:
        print(thing)
    else:
        from IPython.display import display

        display(thing)


def _stop(error: WorkshopError) -> None:
    """Ends the cell with the error's one line: IPython shows no traceback for this exception class."""
    raise LabUnavailable(str(error)) from None


class LabUnavailable(WorkshopError):  # noqa: N818 - what the learner reads, no error of theirs
    """The lab could not be opened; the message says what to do."""

    def _render_traceback_(self) -> list[str]:
        return [f"The lab could not be opened. {self}"]


__all__ = ["TODO", "Lab", "LabUnavailable", "open_lab", "open_lesson"]
