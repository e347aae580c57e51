"""From curriculum/ to modules/, labs/ and solutions/.

    lesson.py   py:percent; becomes modules/<module>/<topic>.ipynb, executed
    lab.py      py:percent; becomes labs/... (stubs, no outputs) and solutions/... (solved, executed)
    dagster.py  py:percent, where there is one: a notebook beside the lesson, executed only where that extra is installed

In lab.py the cells that matter are tagged: parameters, setup, task-a, check-a, task-b, ... A solution stands between
``### BEGIN SOLUTION`` and ``### END SOLUTION``. In the lab it is replaced by what follows ``### STUB`` (comment lines, the
``# `` taken away) or, where there is none, by ``raise TODO`` at the same indentation.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import io
import json
import linecache
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from workshop.errors import UsageError, WorkshopError
from workshop.paths import REPOSITORY, digest_of, home
from workshop.topics import EXTRAS, Module, Topic, syllabus
from workshop.world import ensure_world, practice_seed, subjects

BEGIN, STUB, END = "### BEGIN SOLUTION", "### STUB", "### END SOLUTION"
KINDS = {"modules": "lesson", "labs": "lab", "solutions": "lab"}
EXECUTED = ("modules", "solutions", *EXTRAS)
CELL_TIMEOUT_S = 120
START = "START_HERE.ipynb"


def solve(source: str, solved: bool) -> str:
    """The code of a cell with its solution (``solved``) or with its stub."""
    out: list[str] = []
    state = "outside"
    indent = ""
    stub_seen = False
    for line in source.splitlines():
        mark = line.strip()
        if mark == BEGIN:
            state, indent, stub_seen = "solution", line[: len(line) - len(line.lstrip())], False
        elif mark == STUB and state == "solution":
            state, stub_seen = "stub", True
        elif mark == END and state != "outside":
            if not stub_seen and not solved:
                if not indent:
                    raise WorkshopError(f"A solution at the top level needs a {STUB} part: {source.splitlines()[0]}")
                out.append(f"{indent}raise TODO")
            state = "outside"
        elif state == "outside" or (state == "solution" and solved):
            out.append(line)
        elif state == "stub" and not solved:
            out.append(re.sub(r"^(\s*)# ?", r"\1", line))
    if state != "outside":
        raise WorkshopError(f"{BEGIN} without {END}.")
    return "\n".join(out)


def tags(cell: NotebookNode) -> list[str]:
    """The tags of a cell."""
    return list(cell.metadata.get("tags", []))


@cache
def _parsed(path: Path, stamp: int) -> NotebookNode:
    import jupytext

    return jupytext.reads(path.read_text(encoding="utf-8"), fmt="py:percent")


def compose(item: Topic, kind: str) -> NotebookNode:
    """The notebook of a topic without outputs; ``kind`` is modules, labs, solutions, or an extra such as dagster."""
    source = item.source / f"{KINDS.get(kind, kind)}.py"
    if not source.exists():
        raise WorkshopError(f"{source} is missing.")
    parsed = _parsed(source, source.stat().st_mtime_ns)
    return finish(
        parsed,
        {"topic": item.id, "kind": KINDS.get(kind, kind)},
        solved=kind != "labs",
        prefix=item.id.replace(".", "-"),
    )


def finish(parsed: NotebookNode, about: dict[str, str], *, solved: bool, prefix: str) -> NotebookNode:
    """A clean notebook of parsed cells: stable ids (from tags or from the source), our metadata, no outputs."""
    cells, seen = [], set()
    for cell in parsed.cells:
        text = solve(cell.source, solved) if cell.cell_type == "code" else cell.source
        mine = [t for t in tags(cell) if t.startswith(("task-", "check-", "rationale-", "parameters", "setup"))]
        stem = f"{prefix}-{mine[0]}" if mine else f"{prefix}-{hashlib.sha256(cell.source.encode()).hexdigest()[:10]}"
        name, n = stem, 1
        while name in seen:
            n += 1
            name = f"{stem}-{n}"
        seen.add(name)
        new = nbformat.v4.new_code_cell(text) if cell.cell_type == "code" else nbformat.v4.new_markdown_cell(text)
        new.id = name
        if tags(cell):
            new.metadata["tags"] = tags(cell)
        if mine and mine[0].startswith(("check-", "setup", "parameters")):
            new.metadata["deletable"] = False
        cells.append(new)
    return nbformat.v4.new_notebook(
        cells=cells,
        metadata={
            "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
            "kestrel": about,
        },
    )


def task_source(item: Topic, letter: str, *, solved: bool) -> str:
    """The code of a task's cell, solved or as handed out."""
    for cell in compose(item, "solutions" if solved else "labs").cells:
        if f"task-{letter}" in tags(cell):
            return cell.source
    raise WorkshopError(f"The lab of {item.id} has no cell tagged task-{letter}.")


def notebook_cell(path: Path, letter: str) -> str:
    """The code of a task's cell in a learner's notebook. Raises UsageError where there is none."""
    try:
        cells = nbformat.read(path, as_version=4).cells
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read as a notebook: {error}") from None
    for cell in cells:
        if f"task-{letter}" in tags(cell):
            return cell.source
    raise UsageError(f"{path} has no cell of task {letter} any more: copy it by hand.")


def run_cell(source: str, number: int, namespace: dict[str, Any]) -> list[str]:
    """Runs a code cell of the course's own in this process, without what it prints; what it raised, if anything, in one line.
    Its lines can be shown in a traceback."""
    file = f"<cell {number}>"
    linecache.cache[file] = (len(source), None, source.splitlines(True), file)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(source, file, "exec"), namespace)
    except (Exception, SystemExit) as error:
        return [f"cell {number} raised {type(error).__name__}: {error}"]
    return []


def execute(nb: NotebookNode, folder: Path, env: Mapping[str, str] | None = None) -> NotebookNode:
    """The notebook with the outputs of a clean run, with some variables of the environment set. Raises nbclient's
    CellExecutionError when a cell fails."""
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient

    with tempfile.TemporaryDirectory(prefix="kb-") as sockets:
        manager = AsyncKernelManager(kernel_name="python3", transport="ipc", ip=f"{sockets}/zmq")
        client = NotebookClient(nb, km=manager, timeout=CELL_TIMEOUT_S, record_timing=False, coalesce_streams=True)
        client.execute(cwd=str(folder), cleanup_kc=True, env=os.environ | (env or {}))
    nb.metadata["language_info"] = {"name": "python"}
    for cell in nb.cells:
        if cell.cell_type != "code":
            continue
        cell.metadata.pop("execution", None)
        pictures = any("image/png" in o.get("data", {}) for o in cell.outputs)
        if pictures and "nbval-ignore-output" not in tags(cell):
            # The pixels of a plot may differ by a rounding from machine to machine: run it, do not compare it.
            cell.metadata["tags"] = [*tags(cell), "nbval-ignore-output"]
    return nb


def text_of(nb: NotebookNode) -> str:
    """The notebook as it is written to disk."""
    return nbformat.writes(nb, version=4) + "\n"


def write(nb: NotebookNode, path: Path) -> None:
    """Writes atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=path.parent, suffix=".part")
    with os.fdopen(handle, "w", encoding="utf-8") as out:
        out.write(text_of(nb))
    os.chmod(partial, 0o644)
    os.replace(partial, path)


def stale(item: Topic, kind: str) -> bool:
    """Whether the committed notebook is not what its source makes (outputs apart)."""
    return _differs(compose(item, kind), item.notebook(kind), executed=kind in EXECUTED)


def _differs(want: NotebookNode, path: Path, *, executed: bool) -> bool:
    if not path.exists():
        return True
    if not executed:
        return path.read_text(encoding="utf-8") != text_of(want)
    got = nbformat.read(path, as_version=4)

    def sources(nb: NotebookNode) -> list[tuple]:
        return [(c.cell_type, c.id, c.source, [t for t in tags(c) if t != "nbval-ignore-output"]) for c in nb.cells]

    unrun = any(c.cell_type == "code" and c.execution_count is None and c.source.strip() for c in got.cells)
    return unrun or sources(got) != sources(want) or got.metadata.get("kestrel") != want.metadata["kestrel"]


# -- the build -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """One notebook to be built."""

    topic_id: str
    kind: str
    path: Path


def jobs() -> list[Job]:
    """Every notebook that the curriculum makes, in the order of the syllabus."""
    return [Job(t.id, kind, t.notebook(kind)) for t in syllabus().topics if t.exists for kind in (*KINDS, *t.extras)]


def installed(extra: str) -> bool:
    """Whether the package of an extra is there."""
    return importlib.util.find_spec(extra) is not None


def _state_file() -> Path:
    return home() / "build.json"


def _inputs(job: Job) -> str:
    """A digest of all that an executed notebook depends on."""
    item = next(t for t in syllabus().topics if t.id == job.topic_id)
    places = [REPOSITORY / "workshop", REPOSITORY / "datasets", *item.rests_on, REPOSITORY / "requirements.txt"]
    if job.kind in EXTRAS:
        places.append(REPOSITORY / f"requirements-{job.kind}.txt")
    return digest_of(places)


def build(
    only: Iterable[str] = (), force: bool = False, jobs_at_once: int = 2, say: Callable[[str], None] = print
) -> int:
    """Builds what changed, in parallel; returns the number of notebooks that could not be built."""
    wanted = set(only)
    try:
        state = json.loads(_state_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        state = {}
    todo, digests = [], {}
    for job in jobs():
        if wanted and job.topic_id not in wanted:
            continue
        item = next(t for t in syllabus().topics if t.id == job.topic_id)
        key = str(job.path.relative_to(REPOSITORY))
        if job.kind in EXTRAS and not installed(job.kind):
            say(f"{key} is left as it is: {job.kind} is not installed (make {job.kind})")
            continue
        digests[key] = _inputs(job) if job.kind in EXECUTED else ""
        if force or stale(item, job.kind) or state.get(key, digests[key]) != digests[key]:
            todo.append(job)
        else:
            state.setdefault(key, digests[key])
    failures = 0
    if any(job.kind in EXECUTED for job in todo):
        ensure_practice_world()
    with ProcessPoolExecutor(max_workers=jobs_at_once) as pool:
        running = {pool.submit(_build_one, job): job for job in todo}
        for done, future in enumerate(as_completed(running), 1):
            job = running[future]
            key = str(job.path.relative_to(REPOSITORY))
            problem = future.result()
            if problem:
                failures += 1
                say(f"[{done}/{len(todo)}] {key} FAILED\n{problem}")
            else:
                state[key] = digests[key]
                say(f"[{done}/{len(todo)}] {key}")
    if not wanted:
        if force or _differs(compose_start(), REPOSITORY / START, executed=True):
            write_start()
            say(START)
        for path, text in generated_texts().items():
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
                say(str(path.relative_to(REPOSITORY)))
    _state_file().parent.mkdir(parents=True, exist_ok=True)
    _state_file().write_text(json.dumps(state, indent=1), encoding="utf-8")
    say("nothing to build" if not todo else f"{len(todo) - failures} built, {failures} failed")
    return failures


def ensure_practice_world() -> None:
    """Builds the world that executed notebooks open: a notebook that has to build it itself would say so in its output."""
    course = syllabus().course
    name = course["practice_world"]
    ensure_world(name, practice_seed(name), course["practice_scale"])


def _build_one(job: Job) -> str | None:
    item = next(t for t in syllabus().topics if t.id == job.topic_id)
    try:
        nb = compose(item, job.kind)
        if job.kind in EXECUTED:
            with tempfile.TemporaryDirectory() as folder:
                nb = execute(nb, Path(folder))
        write(nb, job.path)
    except Exception as error:  # one notebook that fails must not stop the others
        return f"{type(error).__name__}: {str(error)[-3000:]}"
    return None


def compose_start() -> NotebookNode:
    """The start page, from curriculum/start_here.py."""
    source = REPOSITORY / "curriculum" / "start_here.py"
    nb = finish(_parsed(source, source.stat().st_mtime_ns), {"kind": "start"}, solved=True, prefix="start")
    for cell in nb.cells:
        cell.source = cell.source.replace("TOPICS", syllabus_table())
    return nb


def write_start() -> None:
    """Executes the start page and writes it."""
    with tempfile.TemporaryDirectory() as nobody:  # whose map is empty
        write(execute(compose_start(), REPOSITORY, {"KESTREL_HOME": nobody}), REPOSITORY / START)


def syllabus_table() -> str:
    """The syllabus as a Markdown table; topics that are not written yet are marked."""
    lines = ["| topic | what you learn to do | minutes | open |", "| --- | --- | --- | --- |"]
    for m in syllabus().modules:
        title = f"[{m.title}](modules/{m.folder}/README.md)" if m.is_begun else m.title
        lines.append(f"| **{m.number}** | **{title}** | | |")
        for t in m.topics:
            lines.append(f"| {t.id} | {t.title} | {t.lesson_minutes} + {t.lab_minutes} | {_links(t, REPOSITORY)} |")
    return "\n".join(lines)


def _links(item: Topic, folder: Path) -> str:
    """Links to lesson and lab, from a page in a folder."""
    if not item.exists:
        return "not there yet"
    lesson, lab = (Path(os.path.relpath(item.notebook(kind), folder)).as_posix() for kind in ("modules", "labs"))
    return f"[lesson]({lesson}) · [lab]({lab})"


def module_readme(module: Module) -> str:
    """The page of a module: what one learns, in which order, how long it takes, what one takes home."""
    folder = REPOSITORY / "modules" / module.folder
    there = [t for t in module.topics if t.exists]
    lessons, labs = (sum(getattr(t, f"{kind}_minutes") for t in there) for kind in ("lesson", "lab"))
    lines = [
        f"# Module {module.number}: {module.title}",
        "",
        "Made from the syllabus; do not edit.",
        "",
    ]
    lines += [module.story.strip(), ""] if module.story else []
    lines += [
        f"You take home: {module.takes_home}.",
        "",
        f"Lessons take {_hours(lessons)}, labs {_hours(labs)}. The topics stand in their order, and each can be done "
        "alone; what one builds on is in the last column.",
        "",
        "| topic | you learn to | what you take home | minutes | open | builds on |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for t in module.topics:
        learn = t.objective.strip().rstrip(".")
        lines.append(
            f"| **{t.id} {t.title}** | {learn[0].lower()}{learn[1:]} | {t.takes_home} | {t.lesson_minutes} + "
            f"{t.lab_minutes} | {_links(t, folder)} | {', '.join(t.prerequisites) or '-'} |"
        )
    for t in there:
        for extra in t.extras:
            link = t.notebook(extra).name
            lines += [
                "",
                f"On a real orchestrator, for those who want it: [{t.id} on {extra.title()}]({link}) (`make {extra}`).",
            ]
    return "\n".join(lines) + "\n"


def _hours(minutes: int) -> str:
    return f"{minutes // 60} h {minutes % 60:02d} min"


def readme() -> str:
    """The README with its syllabus table as it should be."""
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    head, _, rest = text.partition("<!-- syllabus -->")
    _, _, tail = rest.partition("<!-- /syllabus -->")
    return f"{head}<!-- syllabus -->\n{syllabus_table()}\n<!-- /syllabus -->{tail}"


def dictionary() -> str:
    """The data dictionary, from the comments of a small world."""
    import duckdb

    files = ensure_world("practice-7", practice_seed("practice-7"), 0.002)
    con = duckdb.connect(str(files.world), read_only=True)
    try:
        tables = con.execute(
            "select schema_name || '.' || table_name, comment from duckdb_tables() order by schema_name, table_name"
        ).fetchall()
        columns = con.execute(
            "select schema_name || '.' || table_name, column_name, data_type, comment from duckdb_columns() "
            "order by schema_name, table_name, column_index"
        ).fetchall()
    finally:
        con.close()
    made_by = {table: s.name for s in subjects().values() for table in s.makes}
    lines = ["# Data dictionary", "", "Made from the comments of the tables; do not edit.", ""]
    for table, comment in tables:
        lines += [
            f"## {table}",
            "",
            f"{comment} (subject `{made_by.get(table, '?')}`)",
            "",
            "| column | type | meaning |",
            "| --- | --- | --- |",
        ]
        lines += [f"| {name} | {kind} | {text} |" for t, name, kind, text in columns if t == table]
        lines.append("")
    return "\n".join(lines)


def pages() -> dict[Path, str]:
    """Pages that are made from the syllabus, by path."""
    begun = {
        REPOSITORY / "modules" / m.folder / "README.md": module_readme(m) for m in syllabus().modules if m.is_begun
    }
    return {REPOSITORY / "README.md": readme(), **begun}


def generated_texts() -> dict[Path, str]:
    """Text files that are generated, by path."""
    return {**pages(), REPOSITORY / "datasets" / "DICTIONARY.md": dictionary()}
