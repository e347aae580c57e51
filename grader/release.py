"""What learners of a graded cohort get: lessons, labs, world and kit, and nothing that answers a lab.

A release has

* of lab.py what is handed out, in place of the solutions;
* of checks.py what judges, without what works out right answers (grader.strip): what lab.kept returned when the reference was
  judged on the practice worlds comes along sealed (workshop.sealed);
* the practice worlds and those that the checks draw from them, packed (workshop.world.shipped), without their truth and
  without the generator, but for what the checks replay of it;
* of the kit and of the grader the modules that this needs.

Then every line of what was left out is looked for in every file. A release that has one, or whose checks cannot be loaded by
themselves, is not written.
"""

from __future__ import annotations

import ast
import io
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import yaml

from grader.bank import answers, cells_with, run_cells
from grader.progress import Meter
from grader.strip import kept_sites, strip
from workshop import trusted
from workshop.authoring import BEGIN, END, STUB, solve
from workshop.checks import PASSED
from workshop.errors import UsageError, WorkshopError
from workshop.paths import CURRICULUM, DATASETS, PACKAGES, REPOSITORY
from workshop.sealed import CHECKS, HISTORY, SUFFIX, Unpickler, file_name, seal, unsealed
from workshop.topics import Topic, load_checks, syllabus, topic
from workshop.world import WorldFiles, ensure_world, practice_seed, subjects
from workshop.world.shipped import FOLDER, LIST, digest_of_world, pack

MARK = "RELEASE.json"  # by which a folder is known as a release, which may be replaced
HANDOUT = Path(__file__).parent / "handout"
COPIED = (
    ".binder",
    ".ci/overrides.json",
    ".ci/setup.sh",
    ".devcontainer",
    "LICENSE",
    "LICENSE-curriculum",
    "datasets/DICTIONARY.md",
    "requirements.txt",
    "requirements-dagster.txt",
)
# Where a learner comes in: all else of the kit and the grader is there because one of these, or a notebook, needs it.
ENTRANCES = (
    "workshop",
    "workshop.__main__",
    "workshop.lab",
    "workshop.plots",
    "grader",
    "grader.practice",
    "grader.inside",
)
TELLING = 24  # characters from which a line says something of its own
MODULE = re.compile(r"((?:workshop|grader)(?:\.\w+)+)(?::\w+)?")  # "workshop.sim.cluster:run"

TRUTH = re.compile(r"\btruth\.[a-z]\w*")


# -- what is sealed ----------------------------------------------------------------------------------------------------------


@dataclass
class Sealed:
    """What came of judging the reference of a topic on a practice world. ``values``: pickled, by (topic, name); ``classes``: what
    they need of checks and histories, by module; ``worlds``: those that the checks drew."""

    values: dict[tuple[str, str], bytes] = field(default_factory=dict)
    classes: set[tuple[str, str]] = field(default_factory=set)
    worlds: dict[str, WorldFiles] = field(default_factory=dict)
    sites: set[tuple[str, int]] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)


def seal_topic(topic_id: str, world: str) -> Sealed:
    """Judges a topic's reference on a practice world."""
    item, found = topic(topic_id), Sealed()
    scale, seed = float(syllabus().course["practice_scale"]), practice_seed(world)

    class Recorder(trusted.Lab):
        """A lab that keeps a copy of what lab.kept returns, as it is then."""

        def kept(self, name: str, make: Callable[[], Any] | None = None) -> Any:
            caller = sys._getframe(1)
            found.sites.add((caller.f_code.co_filename, caller.f_lineno))
            value = super().kept(name, make)
            if (self.topic, name) not in found.values:
                found.values[self.topic, name] = self._pickled(name, value)
            return value

        def _pickled(self, name: str, value: Any) -> bytes:
            try:
                data = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
                reader = Unpickler(io.BytesIO(data))
                reader.load()
            except Exception as error:  # whatever a value's classes raise
                found.problems.append(f"{self.topic}: what is kept as {name!r} cannot be sealed: {error}")
                return b""
            found.classes |= {(m, n) for m, n in reader.found if m.startswith((CHECKS, HISTORY))}
            return data

        def worlds(self, n: int, **about: Any) -> list[trusted.World]:
            made = super().worlds(n, **about)
            found.worlds |= {digest_of_world(self.world_seed(i), w.scale): w.files for i, w in enumerate(made)}
            return made

    def rest(lab: trusted.Lab) -> None:
        module = load_checks(item).module
        module.twelve_weeks_later(lab)
        for keep in getattr(module, "ALSO_KEPT", ()):
            keep(lab)

    files = ensure_world(world, seed, scale)
    verdict = run_cells(
        item, "the reference", cells_with(item, {}, solved=True), files, seed, lab_class=Recorder, at_end=rest
    )
    found.problems += [f"{topic_id}: {p}" for p in verdict.problems]
    found.problems += [f"{topic_id}.{r.check}: {r.message}" for r in verdict.results if r.outcome != PASSED]
    return found


# -- what is left out ----------------------------------------------------------------------------------------------------------


def solution_lines(item: Topic) -> Iterator[str]:
    """The lines of a topic's solutions."""
    inside = False
    for line in (item.source / "lab.py").read_text(encoding="utf-8").splitlines():
        mark = line.strip()
        if mark == BEGIN:
            inside = True
        elif mark in (STUB, END):
            inside = False
        elif inside:
            yield line


def telling(lines: Iterable[str]) -> set[str]:
    """Lines that say something of their own: long enough, and more than a comment or punctuation."""
    return {s for line in lines if len(s := line.strip()) >= TELLING and not s.startswith("#")}


def left_out(stripped: dict[str, str], sources: dict[str, str]) -> dict[str, str]:
    """Every telling line of a solution, of an answer bank and of what was cut from the checks and histories of released topics,
    with what it is of, but for those that are handed out elsewhere in the same words: in lessons, stubs, what is left of the
    checks, and the kit."""
    found: dict[str, str] = {}
    for module, text in sources.items():
        found |= dict.fromkeys(telling(text.splitlines()), f"what was cut from {module}")
    every = [t for t in syllabus().topics if t.exists]
    for item in every:
        bank = "\n".join(a.source for a in answers(item)).splitlines()
        found |= dict.fromkeys(telling(bank), f"the answer bank of {item.id}")
        found |= dict.fromkeys(telling(solution_lines(item)), f"the solution of {item.id}")
    public = [text for text in stripped.values()]
    public += [p.read_text(encoding="utf-8") for p in sorted((PACKAGES / "workshop").rglob("*.py"))]
    for item in every:
        public.append(solve((item.source / "lab.py").read_text(encoding="utf-8"), solved=False))
        public += [
            p.read_text(encoding="utf-8") for p in (item.source / "lesson.py", item.source / "dagster.py") if p.exists()
        ]
    for text in public:
        for line in telling(text.splitlines()):
            found.pop(line, None)
    return found


def leaks(folder: Path, secret: dict[str, str]) -> list[str]:
    """Where a file of a folder has one of these lines: the sources and outputs of notebooks, values that are sealed, text."""
    found = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and ".git" not in p.relative_to(folder).parts[:1]):
        for line in telling(_texts(path)) & secret.keys():
            found.append(f"{path.relative_to(folder)} has a line of {secret[line]}: {line}")
    return found


def _texts(path: Path) -> Iterator[str]:
    """The lines of a file."""
    if path.suffix == ".ipynb":
        yield from _strings(json.loads(path.read_text(encoding="utf-8")))
    elif path.suffix == SUFFIX:
        for value in unsealed(path):
            yield from _strings(value)
    else:
        yield from path.read_bytes().decode("utf-8", "replace").splitlines()


def _strings(value: Any, seen: set[int] | None = None) -> Iterator[str]:
    """The lines of every text in a value, whatever it is made of."""
    seen = set() if seen is None else seen
    if isinstance(value, str):
        yield from value.splitlines()
        return
    if id(value) in seen:
        return
    seen.add(id(value))
    parts: list[Any] = list(vars(value).values()) if hasattr(value, "__dict__") else []
    if isinstance(value, dict):
        parts += [*value.keys(), *value.values()]
    elif isinstance(value, list | tuple | set | frozenset):
        parts += value
    for part in parts:
        yield from _strings(part, seen)


# -- the modules of kit and grader that are needed -------------------------------------------------------------------------------


def needed_modules(sources: Iterable[str]) -> dict[str, Path]:
    """Modules of the workshop and the grader, by name, that ENTRANCES and these sources come to import, or name in a text
    ("workshop.sim.cluster:run")."""
    found: dict[str, Path] = {}
    todo = [*ENTRANCES, *(name for source in sources for name in _named(source, ""))]
    while todo:
        name = todo.pop()
        path = _module_file(name)
        if name in found or path is None:
            continue
        found[name] = path
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        todo += [name.rpartition(".")[0], *_named(path.read_text(encoding="utf-8"), package)]
    return found


def _named(source: str, package: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or package
            yield from (module, *(f"{module}.{a.name}" for a in node.names))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and (named := MODULE.fullmatch(node.value)):
            yield named[1]


def _module_file(name: str) -> Path | None:
    if name.partition(".")[0] not in ("workshop", "grader"):
        return None
    place = PACKAGES.joinpath(*name.split("."))
    for path in (place / "__init__.py", place.with_suffix(".py")):
        if path.exists():
            return path
    return None


# -- the folder -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Released:
    """What was written: how many topics, files and bytes, and how many telling lines were looked for."""

    topics: int
    files: int
    bytes: int
    lines: int


def release(out: Path, modules: Sequence[int] = (), worlds: Sequence[str] = ()) -> Released:
    """Writes a release of modules (default: all that are begun) with the course's practice world and further ones into a folder,
    which is new, empty or a release already; a .git in it stays. Raises UsageError for a folder or names that cannot be used,
    WorkshopError where a check cannot be released; nothing is written then."""
    items = _topics(modules)
    names = list(dict.fromkeys([syllabus().course["practice_world"], *worlds]))
    for name in names:
        practice_seed(name)
    _check_place(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as place:
        folder = Path(place) / "course"
        sealed = _seal(items, names)
        lines = _write(folder, items, names, sealed)
        files = [p for p in folder.rglob("*") if p.is_file()]
        done = Released(len(items), len(files), sum(p.stat().st_size for p in files), lines)
        _replace(folder, out)
    return done


def _topics(modules: Sequence[int]) -> list[Topic]:
    known = {m.number: m for m in syllabus().modules if m.is_begun}
    for number in modules:
        if number not in known:
            raise UsageError(f"There is no module {number} to release; there are {', '.join(map(str, known))}.")
    return [t for n, m in known.items() if not modules or n in modules for t in m.topics if t.exists]


def _check_place(out: Path) -> None:
    if not (REPOSITORY / "Makefile").exists():
        raise UsageError("A course is released from a clone of the workshop, not from an installed package.")
    if out.resolve().is_relative_to(REPOSITORY):
        raise UsageError(
            f"{out} is in the workshop itself, whose history has the answers: name a folder outside of it."
        )
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file; a release is a folder.")
    if out.exists() and any(p.name != ".git" for p in out.iterdir()) and not (out / MARK).exists():
        raise UsageError(f"{out} holds something that is no release: name a new or empty folder.")


def _replace(folder: Path, out: Path) -> None:
    """Puts the new files in the place of the old ones."""
    out.mkdir(exist_ok=True)
    for old in out.iterdir():
        if old.name == ".git":
            continue
        shutil.rmtree(old) if old.is_dir() and not old.is_symlink() else old.unlink()
    for new in folder.iterdir():
        os.replace(new, out / new.name)


def _seal(items: Sequence[Topic], names: Sequence[str]) -> dict[str, list[Sealed]]:
    """By practice world, what came of each topic. Raises WorkshopError with all that cannot be sealed."""
    scale = float(syllabus().course["practice_scale"])
    found: dict[str, list[Sealed]] = {name: [] for name in names}
    with Meter() as meter:
        for name in names:
            meter.say(f"building {name} at scale {scale:g}, unless it is there")
            ensure_world(name, practice_seed(name), scale)
        meter.say("judging the reference of each topic")
        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
            jobs = {pool.submit(seal_topic, item.id, name): name for name in names for item in items}
            meter.start(len(jobs), 0)
            for job in as_completed(jobs):
                found[jobs[job]].append(job.result())
                meter.advance(1)
    problems = [p for of in found.values() for s in of for p in s.problems] + _unreached(items, found)
    if problems:
        raise WorkshopError("The course cannot be released:\n  " + "\n  ".join(dict.fromkeys(problems)))
    return found


def _unreached(items: Sequence[Topic], found: dict[str, list[Sealed]]) -> list[str]:
    """Calls of kept() that were not made while the reference was judged: what they give could be missed later."""
    problems = []
    for name, of in found.items():
        reached = {site for s in of for site in s.sites}
        for item in items:
            path = item.source / "checks.py"
            for first, last in kept_sites(path.read_text(encoding="utf-8")):
                if not any((str(path), line) in reached for line in range(first, last + 1)):
                    problems.append(f"{path}:{first}: nothing is kept here while the reference is judged on {name}.")
    return problems


def _write(folder: Path, items: Sequence[Topic], names: Sequence[str], sealed: dict[str, list[Sealed]]) -> int:
    """Writes all files, then looks for what must not be in them. Returns how many telling lines were looked for."""
    sources = {CHECKS + t.id.replace(".", "_"): (t.source / "checks.py").read_text(encoding="utf-8") for t in items}
    replayed = {HISTORY + s.path.stem: s for s in subjects().values() if s.path.suffix == ".py"}
    sources |= {name: s.path.read_text(encoding="utf-8") for name, s in replayed.items()}
    classes = {c for of in sealed.values() for s in of for c in s.classes}
    called = {CHECKS + t.id.replace(".", "_"): t.id for t in items} | {m: s.name for m, s in replayed.items()}
    stripped = strip(sources, called, {m: [n for k, n in classes if k == m] for m, _ in classes})
    _expect_no_truth(stripped)
    for item in items:
        _write_topic(folder, item, stripped)
    for name, subject in replayed.items():
        if _is_used(subject.name, stripped) or any(m == name for m, _ in classes):
            _put(folder / subject.path.relative_to(REPOSITORY), stripped[name])
    _write_sealed(folder, sealed)
    _write_worlds(folder, names, sealed)
    _write_rest(folder, items, stripped)
    _write_pages(folder, names)
    secret = left_out(stripped, sources)
    found = leaks(folder, secret)
    if found:
        raise WorkshopError("The release would give answers away:\n  " + "\n  ".join(found[:40]))
    _load_all(folder)
    return len(secret)


def _put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _expect_no_truth(stripped: dict[str, str]) -> None:
    found = []
    for module, text in stripped.items():
        tree = ast.parse(text)
        words = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr)}  # docstrings may speak of it
        for node in ast.walk(tree) if module.startswith(CHECKS) else ():
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in words:
                found += [f"{module}: {line.strip()}" for line in node.value.splitlines() if TRUTH.search(line)]
    if found:
        raise WorkshopError(
            "These read the truth, which is not released, outside of lab.kept:\n  " + "\n  ".join(found)
        )


def _is_used(subject: str, stripped: dict[str, str]) -> bool:
    return any(re.search(rf"\w\(['\"]{subject}['\"]\)", text) for text in stripped.values())


def _cases(item: Topic, checks: str) -> list[Path]:
    """Files of cases that what is left of the checks reads. Those that makers alone read have the answers beside them."""
    return sorted(item.source.glob("*.yaml")) if "read_cases(" in checks else []


def _write_topic(folder: Path, item: Topic, stripped: dict[str, str]) -> None:
    place = folder / item.source.relative_to(REPOSITORY)
    _put(place / "lab.py", solve((item.source / "lab.py").read_text(encoding="utf-8"), solved=False) + "\n")
    checks = stripped[CHECKS + item.id.replace(".", "_")]
    _put(place / "checks.py", checks)
    for path in _cases(item, checks):
        shutil.copyfile(path, place / path.name)
    for kind in ("labs", "modules", *item.extras):
        target = folder / item.notebook(kind).relative_to(REPOSITORY)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(item.notebook(kind), target)


def _write_sealed(folder: Path, sealed: dict[str, list[Sealed]]) -> None:
    """A file for each topic and world: values that a capstone came to keep for another topic lie with that one's."""
    scale = float(syllabus().course["practice_scale"])
    for name, of in sealed.items():
        values: dict[str, dict[str, bytes]] = {}
        for s in of:
            for (topic_id, key), data in s.values.items():
                values.setdefault(topic_id, {})[key] = data
        for topic_id, by_name in values.items():
            place = folder / topic(topic_id).source.relative_to(REPOSITORY)
            seal(by_name, place / file_name(practice_seed(name), scale))


def _write_worlds(folder: Path, names: Sequence[str], sealed: dict[str, list[Sealed]]) -> None:
    scale, place = float(syllabus().course["practice_scale"]), folder / DATASETS.name / FOLDER
    place.mkdir(parents=True)
    files = {digest: f for of in sealed.values() for s in of for digest, f in s.worlds.items()}
    called = dict.fromkeys(files, "drawn")
    for name in names:
        digest = digest_of_world(practice_seed(name), scale)
        files[digest], called[digest] = ensure_world(name, practice_seed(name), scale), name
    listed = {digest: f"{called[digest]}-{digest[:8]}.duckdb.xz" for digest in files}
    with Meter() as meter:
        meter.say("packing the worlds")
        meter.start(len(files), 0)
        for digest, world in files.items():
            pack(world.world, place / listed[digest])
            meter.advance(1)
    _put(place / LIST, json.dumps({"names": list(names), "scale": scale, "files": listed}, indent=1) + "\n")


def _write_rest(folder: Path, items: Sequence[Topic], stripped: dict[str, str]) -> None:
    for name in COPIED:
        source, target = REPOSITORY / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copyfile(source, target)
    notebooks = [json.loads(p.read_text(encoding="utf-8")) for p in sorted(folder.rglob("*.ipynb"))]
    cells = ["".join(c["source"]) for nb in notebooks for c in nb["cells"] if c["cell_type"] == "code"]
    written = [(p.read_text(encoding="utf-8")) for p in sorted((folder / DATASETS.name).rglob("*.py"))]
    checks = [text for name, text in stripped.items() if name.startswith(CHECKS)]
    modules = needed_modules([*checks, *written, *filter(_parses, cells)])
    for path in modules.values():
        target = folder / path.relative_to(PACKAGES)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    for package in ("workshop", "grader"):
        for path in (PACKAGES / package).iterdir():
            if path.suffix in (".json", ".html"):
                shutil.copyfile(path, folder / package / path.name)
    for path in HANDOUT.rglob("*"):
        if path.is_file():
            target = folder / path.relative_to(HANDOUT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    _put(folder / "pyproject.toml", _project(modules))
    _put(folder / "curriculum" / "syllabus.yaml", _syllabus_of(items))
    shutil.copyfile(CURRICULUM / "start_here.py", folder / "curriculum" / "start_here.py")


def _parses(cell: str) -> bool:
    try:
        ast.parse(cell)
    except SyntaxError:  # a cell with a magic
        return False
    return True


def _project(modules: Iterable[str]) -> str:
    """pyproject.toml without what only the course's makers need."""
    text = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    packages = sorted({m.rpartition(".")[0] or m for m in modules})
    text = re.sub(r"^packages = .*$", f"packages = {json.dumps(packages)}", text, flags=re.MULTILINE)
    head, _, _ = text.partition("[tool.ruff]")
    return head.replace(', "site/*"', "")


def _syllabus_of(items: Sequence[Topic]) -> str:
    """The syllabus with these topics alone, in which lab.solution() shows nothing."""
    text = (CURRICULUM / "syllabus.yaml").read_text(encoding="utf-8")
    head, *modules = re.split(r"^(?=  - number: )", text, flags=re.MULTILINE)
    head, n = re.subn(r"^(  solutions: )\w+.*$", r"\1never", head, flags=re.MULTILINE)
    released, kept = {t.id for t in items}, []
    for module in modules:
        about, *topics = re.split(r"^(?=      - id: )", module, flags=re.MULTILINE)
        topics = [t for t in topics if t.split()[2].strip('"') in released]
        kept += [about, *topics] if topics else []
    made = "".join([head, *kept])
    found = {str(t["id"]) for m in yaml.safe_load(made)["modules"] for t in m["topics"]}
    if n != 1 or found != released:
        raise WorkshopError("curriculum/syllabus.yaml is not laid out as the release expects: see _syllabus_of.")
    return made


def _write_pages(folder: Path, names: Sequence[str]) -> None:
    """The pages that are made from the syllabus, by the release's own kit."""
    text = (HANDOUT / "README.md").read_text(encoding="utf-8")
    text = text.replace("WORLDS", " and ".join(f"`{n}`" for n in names))
    _put(folder / "README.md", text.replace("HOW\n", _section("How a lab works")))
    code = (
        "from workshop.authoring import pages, write_start\n"
        "for path, text in pages().items():\n"
        "    path.write_text(text, encoding='utf-8')\n"
        "write_start()\n"
    )
    _inside(folder, code)
    _put(folder / MARK, json.dumps({"worlds": list(names)}) + "\n")


def _section(title: str) -> str:
    """The text of a section of the workshop's README."""
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    return re.search(rf"^## {title}\n\n(.*?)^## ", text, re.MULTILINE | re.DOTALL)[1]


def _load_all(folder: Path) -> None:
    """Loads every check and every sealed value with what the release has, and nothing else."""
    _inside(
        folder,
        "from workshop.sealed import SUFFIX, unsealed\n"
        "from workshop.topics import load_checks, syllabus\n"
        "import grader.grade, grader.practice, grader.stable, workshop.lab\n"
        "for item in syllabus().topics:\n"
        "    if item.exists:\n"
        "        assert load_checks(item).checks, item.id\n"
        "        for path in item.source.glob('*' + SUFFIX):\n"
        "            list(unsealed(path))\n",
    )


def _inside(folder: Path, code: str) -> None:
    """Runs code with the packages of the release. Raises WorkshopError with what it said where it fails."""
    with tempfile.TemporaryDirectory() as home:
        env = os.environ | {"PYTHONPATH": str(folder), "KESTREL_HOME": home, "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=folder, env=env, capture_output=True, text=True, check=False
        )
    if done.returncode:
        raise WorkshopError(f"The release does not work by itself:\n{done.stderr[-3000:]}")
