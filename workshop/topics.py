"""The curriculum as data: the syllabus, and a topic's folder with its checks."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

from workshop.checks import Check
from workshop.errors import UsageError, WorkshopError
from workshop.paths import CURRICULUM, REPOSITORY

TOPICS_IN_MODULE = 8
# Packages that the workshop does without (extras of pyproject.toml): a topic may have one notebook more on such a one, made
# from <package>.py beside its lesson.py.
EXTRAS = ("dagster",)
YAML = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same language, ten times faster where libyaml is there


@dataclass(frozen=True)
class Criterion:
    """One line of a rubric, by which a human reads a learner's reasons: its name, the most points, what it asks."""

    name: str
    points: float
    asks: str


@dataclass(frozen=True)
class Task:
    """One lettered task of a lab. ``kind``: pipeline, sql, policy or optimization. ``rubric``: where the task asks for reasons
    in words, in the lab's cell tagged rationale-<letter>."""

    letter: str
    kind: str
    does: str
    rubric: tuple[Criterion, ...] = ()


@dataclass(frozen=True)
class Topic:
    """One topic of the syllabus. Minutes are for a learner at work. ``withheld``: packages that its lab does without."""

    id: str
    number: int
    slug: str
    title: str
    objective: str
    tags: tuple[str, ...]
    lesson_minutes: int
    lab_minutes: int
    prerequisites: tuple[str, ...]
    tasks: tuple[Task, ...]
    takes_home: str
    module: str
    withheld: tuple[str, ...] = ()

    @property
    def source(self) -> Path:
        """Its folder in curriculum/."""
        return CURRICULUM / self.module / self.folder

    @property
    def folder(self) -> str:
        """Folder and file stem, such as 06_idempotent_processing."""
        return f"{self.number:02d}_{self.slug}"

    @property
    def is_capstone(self) -> bool:
        """Whether it puts the module's eight topics together, instead of being one of them."""
        return self.number > TOPICS_IN_MODULE

    @property
    def rests_on(self) -> tuple[Path, ...]:
        """Folders whose labs and checks decide a result of it: its own and, for a capstone, those of its module's topics."""
        if not self.is_capstone:
            return (self.source,)
        return tuple(sorted(p.parent for p in self.source.parent.glob("*/lab.py")))

    @property
    def exists(self) -> bool:
        """Whether it has been written yet."""
        return (self.source / "lab.py").exists()

    @property
    def extras(self) -> tuple[str, ...]:
        """The extras that it has a notebook on."""
        return tuple(name for name in EXTRAS if (self.source / f"{name}.py").exists())

    def notebook(self, kind: str) -> Path:
        """The generated notebook; ``kind`` is modules, labs, solutions, or an extra such as dagster."""
        if kind in EXTRAS:
            return REPOSITORY / "modules" / self.module / f"{self.folder}_on_{kind}.ipynb"
        return REPOSITORY / kind / self.module / f"{self.folder}.ipynb"


@dataclass(frozen=True)
class Module:
    """One module of the syllabus. ``story``: what holds its topics together; ``topics``: eight, and where there is one a
    capstone that puts them together."""

    number: int
    slug: str
    title: str
    takes_home: str
    story: str
    topics: tuple[Topic, ...]

    @property
    def folder(self) -> str:
        """Folder name, such as 03_orchestration."""
        return f"{self.number:02d}_{self.slug}"

    @property
    def is_begun(self) -> bool:
        """Whether a topic of it has been written yet."""
        return any(t.exists for t in self.topics)


@dataclass(frozen=True)
class Syllabus:
    """The whole course. ``course`` holds title, practice_world, practice_scale, grading_scale and solutions."""

    course: Mapping[str, Any]
    modules: tuple[Module, ...]

    @property
    def topics(self) -> tuple[Topic, ...]:
        """All topics in order, capstones too."""
        return tuple(t for m in self.modules for t in m.topics)


@cache
def syllabus() -> Syllabus:
    """The syllabus of curriculum/syllabus.yaml."""
    path = CURRICULUM / "syllabus.yaml"
    if not path.exists():
        raise WorkshopError(f"{path} is missing. Clone the repository again, or restore the file with git.")
    plain = yaml.load(path.read_text(encoding="utf-8"), Loader=YAML)
    modules = []
    for m in plain["modules"]:
        folder = f"{m['number']:02d}_{m['slug']}"
        topics = tuple(
            Topic(
                id=t["id"],
                number=int(t["id"].split(".")[1]),
                slug=t["slug"],
                title=t["title"],
                objective=t["objective"],
                tags=tuple(t["tags"]),
                lesson_minutes=t["minutes"]["lesson"],
                lab_minutes=t["minutes"]["lab"],
                prerequisites=tuple(t["prerequisites"]),
                tasks=tuple(_task(letter, task) for letter, task in t["tasks"].items()),
                takes_home=t["takes_home"],
                module=folder,
                withheld=tuple(t.get("withheld", ())),
            )
            for t in m["topics"]
        )
        modules.append(Module(m["number"], m["slug"], m["title"], m["takes_home"], m.get("story", ""), topics))
    return Syllabus(plain["course"], tuple(modules))


def _task(letter: str, given: Mapping[str, Any]) -> Task:
    rubric = tuple(Criterion(name, float(c["points"]), c["asks"]) for name, c in given.get("rubric", {}).items())
    return Task(letter, given["kind"], given["does"], rubric)


def planned_topic(topic_id: str) -> Topic:
    """The topic of an id such as "3.6", written or not. Raises UsageError for ids that the syllabus does not have."""
    text = str(topic_id)
    by_id = {t.id: t for t in syllabus().topics}
    if text not in by_id:
        raise UsageError(f'There is no topic {text!r}. Topics are called "1.1" to "9.8", and a capstone "3.9".')
    return by_id[text]


def topic(topic_id: str) -> Topic:
    """The topic of an id such as "3.6". Raises UsageError for ids that are not there (yet)."""
    found = planned_topic(topic_id)
    if not found.exists:
        there = ", ".join(t.id for t in syllabus().topics if t.exists)
        raise UsageError(f"Topic {found.id} ({found.title}) is not written yet. Written so far: {there}.")
    return found


@dataclass(frozen=True)
class Checks:
    """What a topic's checks.py says: subjects of the world, checks in order, hints by task, a hint by misconception."""

    module: ModuleType
    subjects: tuple[str, ...]
    checks: tuple[Check, ...]
    hints: Mapping[str, Sequence[str]]
    misconceptions: Mapping[str, str]

    def of_task(self, letter: str) -> tuple[Check, ...]:
        """The checks of one task."""
        return tuple(c for c in self.checks if c.task == letter)


@cache
def load_checks(item: Topic) -> Checks:
    """Loads checks.py of a topic. Trusted side only."""
    path = item.source / "checks.py"
    name = "kestrel_checks_" + re.sub(r"\W", "_", item.id)
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    found = tuple(v.kestrel_check for v in vars(module).values() if hasattr(v, "kestrel_check"))
    return Checks(module, tuple(module.SUBJECTS), found, module.HINTS, module.MISCONCEPTIONS)


@cache
def imports_of(item: Topic) -> tuple[str, ...]:
    """Modules that the topic's lab takes long to import (IMPORTS in its checks.py; most have none), read without running it."""
    # No ast here: in Python 3.11 it fails when several threads parse at once.
    found = re.search(r"^IMPORTS = \(([^)]*)\)$", (item.source / "checks.py").read_text(encoding="utf-8"), re.MULTILINE)
    return tuple(re.findall(r'"([\w.]+)"', found[1])) if found else ()
