"""Builds one world: runs the subjects of datasets/ in order, from a seed and a scale.

A subject is one file of datasets/sql (SQL) or datasets/histories (Python, for what SQL says badly). Its head names what
it needs and makes:

    -- subject: orders
    -- needs: customers, products
    -- makes: core.orders, core.order_items

Every random number comes from hashing (stream key, row): a row depends on its own number only, not on thread count, on
order or on other tables.
"""

import importlib.util
import re
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from types import ModuleType

import duckdb

from workshop.errors import UsageError, WorkshopError
from workshop.paths import DATASETS, PACKAGES, REPOSITORY, digest_of
from workshop.world.seeds import stream_keys

SCHEMAS = ("core", "raw", "mart", "ml", "ops", "share")
ROW_GROUP_ROWS = 2048  # the smallest that DuckDB allows: pruning must show at scale 0.02 too
BUILD_MEMORY = "1500MB"
SCALES = (0.001, 4.0)
HEAD = re.compile(r"^(?:--|#) (subject|needs|makes|truth): *(.*)$", re.MULTILINE)
STREAM = re.compile(r"\b(draw|hidden_draw)\(\s*'([a-z0-9_/.]+)'")
GENERATOR_FILES = (
    "datasets/sql",
    "datasets/histories",
    "workshop/world/build.py",
    "workshop/world/seeds.py",
    "workshop/sim",
    "workshop/access.py",
    "workshop/audit.py",
    "workshop/masking.py",
    "workshop/schema_change.py",
    "workshop/sql_scope.py",
)

# Macros of the generator. draw(stream, row) is a keyed pseudo-random function (MD5 of key and row; MD5 has no practical
# key recovery from outputs); u(x, k) spreads one draw into independent uniforms in [0, 1); gauss is Box-Muller.
MACROS = """
create temp macro draw(stream, r) as hash(md5_number(getvariable('world_keys')[stream] || r::varchar));
create temp macro hidden_draw(stream, r) as hash(md5_number(getvariable('truth_keys')[stream] || r::varchar));
create temp macro u(x, k) as (hash(hash(x, k)) >> 11)::double * 1.1102230246251565e-16;
create temp macro gauss(x, k) as sqrt(-2 * ln(1 - u(x, k))) * cos(2 * pi() * u(x, k + 100000));
create temp macro lognormal(x, k, median, sigma) as median * exp(sigma * gauss(x, k));
create temp macro pick(list, x, k) as list[1 + floor(u(x, k) * len(list))::bigint];
create temp macro sized(n) as greatest(1, round(n * getvariable('scale')))::bigint;
create temp macro today() as date '2026-06-30';
"""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Subject:
    """One file of datasets/: ``makes`` lists world tables, ``truth`` lists tables of the truth file."""

    name: str
    path: Path
    needs: tuple[str, ...]
    makes: tuple[str, ...]
    truth: tuple[str, ...]


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _read_subject(path: Path) -> Subject:
    head: dict[str, str] = {}
    for key, value in HEAD.findall(path.read_text(encoding="utf-8")):
        head[key] = f"{head[key]}, {value}" if key in head else value
    if "subject" not in head or "makes" not in head:
        raise WorkshopError(f"{path} has no head: it must begin with '-- subject:' and '-- makes:'.")
    return Subject(
        head["subject"].strip(),
        path,
        _names(head.get("needs", "")),
        _names(head["makes"]),
        _names(head.get("truth", "")),
    )


@cache
def subjects() -> dict[str, Subject]:
    """All subjects by name, each after those it needs."""
    files = [*sorted((DATASETS / "sql").glob("*.sql")), *sorted((DATASETS / "histories").glob("*.py"))]
    if not files:
        raise WorkshopError(f"The generator's files are missing: there is nothing in {DATASETS / 'sql'}.")
    found = {s.name: s for s in map(_read_subject, files)}
    order = TopologicalSorter({name: s.needs for name, s in found.items()}).static_order()
    return {name: found[name] for name in order}


def closure(wanted: Iterable[str] | None) -> tuple[str, ...]:
    """The wanted subjects (None: all) with everything they need, in build order. Raises UsageError for unknown names."""
    known = subjects()
    if wanted is None:
        return tuple(known)
    keep: set[str] = set()
    todo = list(wanted)
    while todo:
        name = todo.pop()
        if name not in known:
            raise UsageError(f"There is no subject {name!r}. Subjects are: {', '.join(known)}.")
        if name not in keep:
            keep.add(name)
            todo.extend(known[name].needs)
    return tuple(name for name in known if name in keep)


@cache
def generator_version() -> str:
    """Twelve hexadecimal digits that change with anything that could change a row: generator files, DuckDB, numpy."""
    import numpy as np

    return digest_of((_place(p) for p in GENERATOR_FILES), f"{duckdb.__version__} {np.__version__}")[:12]


def _place(path: str) -> Path:
    return (PACKAGES if path.startswith("workshop/") else REPOSITORY) / path


def check_scale(scale: object) -> float:
    """The scale as a float. Raises UsageError unless it is a number within SCALES."""
    if isinstance(scale, bool) or not isinstance(scale, int | float) or not SCALES[0] <= scale <= SCALES[1]:
        raise UsageError(
            f"SCALE must be a number from {SCALES[0]} to {SCALES[1]} (learners use 0.05); this is {scale!r}."
        )
    return float(scale)


def build_world(
    world_file: Path,
    truth_file: Path,
    seed: bytes,
    scale: float,
    wanted: Iterable[str] | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> None:
    """Writes the two DuckDB files. ``progress`` is called with (subject, done, of) before each subject."""
    names = closure(wanted)
    known = subjects()
    config = {"autoinstall_known_extensions": "false", "memory_limit": BUILD_MEMORY, "preserve_insertion_order": "true"}
    if threads:
        config["threads"] = str(threads)
    con = duckdb.connect(":memory:", config=config)
    loader = ThreadPoolExecutor(1)
    try:
        # What histories import takes a third of a second: it is read while DuckDB works on the first subjects.
        histories = {n: loader.submit(_history, known[n].path) for n in names if known[n].path.suffix == ".py"}
        con.execute("set timezone='UTC'")
        for alias, file in (("world", world_file), ("truth", truth_file)):
            con.execute(
                f"attach '{str(file).replace(chr(39), chr(39) * 2)}' as {alias} (row_group_size {ROW_GROUP_ROWS})"
            )
        con.execute("use world")
        for schema in SCHEMAS:
            con.execute(f"create schema {schema}")
        con.execute("set variable scale = ?::double", [scale])
        con.execute(MACROS)
        for i, name in enumerate(names):
            if progress:
                progress(name, i, len(names))
            _run_subject(con, known[name], seed, scale, histories.get(name))
        if progress:
            progress("done", len(names), len(names))
        con.execute("use memory")
        for alias in ("world", "truth"):
            con.execute(f"checkpoint {alias}")
            con.execute(f"detach {alias}")
    finally:
        con.close()
        loader.shutdown(cancel_futures=True)


@cache
def history(subject: str) -> ModuleType:
    """The Python module of a subject, for checks that replay what its world was made with. Trusted side only."""
    return _history(subjects()[subject].path)


def _history(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"kestrel_history_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # pickle looks its classes up
    spec.loader.exec_module(module)
    return module


def _run_subject(
    con: duckdb.DuckDBPyConnection, subject: Subject, seed: bytes, scale: float, history: Future[ModuleType] | None
) -> None:
    text = subject.path.read_text(encoding="utf-8")
    used = STREAM.findall(text)
    for variable, macro in (("world_keys", "draw"), ("truth_keys", "hidden_draw")):
        keys = stream_keys(seed, {s for m, s in used if m == macro} or {"none"}, hidden=macro == "hidden_draw")
        con.execute(f"set variable {variable} = map {keys}")
    try:
        if history is None:
            con.execute(text)
        else:
            history.result().build(con, seed, scale)
    except duckdb.Error as error:
        raise WorkshopError(f"The world could not be built: {subject.path.name}: {error}") from error
