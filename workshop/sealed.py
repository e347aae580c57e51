"""What a released course has in place of the code that works out right answers: its results on the practice worlds.

A topic's folder holds a file for each practice world, ``<world>.sealed``: by name what lab.kept returned there (compressed, each
value pickled). It is packed and no secret: it has what is right on a world on which nobody is graded. Where a learner's own
decisions are played beside the reference's, what that decided there is in it too.
"""

from __future__ import annotations

import hashlib
import io
import lzma
import pickle
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from workshop.errors import WorkshopError

SUFFIX = ".sealed"
CHECKS, HISTORY = (
    "kestrel_checks_",
    "kestrel_history_",
)  # modules that are no packages: loaded from the topics and subjects


def file_name(seed: bytes, scale: float) -> str:
    """The name of the file for a world."""
    return hashlib.sha256(b"|".join([seed, repr(float(scale)).encode()])).hexdigest()[:16] + SUFFIX


def seal(values: dict[str, bytes], path: Path) -> None:
    """Writes pickled values by name."""
    path.write_bytes(lzma.compress(pickle.dumps(values, pickle.HIGHEST_PROTOCOL)))


def sealed(topic_id: str, seed: bytes, scale: float, name: str) -> Any:
    """One value. Raises WorkshopError when the course was released without it."""
    from workshop.topics import topic

    path = topic(topic_id).source / file_name(seed, scale)
    try:
        values = _read(path)
    except (OSError, lzma.LZMAError, pickle.UnpicklingError, EOFError) as error:
        raise WorkshopError(f"{path} cannot be read ({error}): fetch the course again.") from None
    if name not in values:
        raise WorkshopError(f"{path} lacks {name!r}: the course was released wrongly; tell whoever gave it to you.")
    return Unpickler(io.BytesIO(values[name])).load()


def unsealed(path: Path) -> Iterator[Any]:
    """All values of a file."""
    for data in _read(path).values():
        yield Unpickler(io.BytesIO(data)).load()


@cache
def _read(path: Path) -> dict[str, bytes]:
    return pickle.loads(lzma.decompress(path.read_bytes()))


class Unpickler(pickle.Unpickler):
    """Reads values whose classes are of the workshop, of a topic's checks or of a subject's module. ``found``: (module, class
    or function) by which they were made, as far as it has read."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.found: set[tuple[str, str]] = set()

    def find_class(self, module_name: str, global_name: str) -> Any:
        """See pickle.Unpickler."""
        from workshop.topics import load_checks, syllabus
        from workshop.world.build import history, subjects

        self.found.add((module_name, global_name))
        for item in syllabus().topics if module_name.startswith(CHECKS) else ():
            if module_name == CHECKS + item.id.replace(".", "_"):
                return getattr(load_checks(item).module, global_name)
        for subject in subjects().values() if module_name.startswith(HISTORY) else ():
            if module_name == HISTORY + subject.path.stem:
                return getattr(history(subject.name), global_name)
        return super().find_class(module_name, global_name)
