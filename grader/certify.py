"""Seeds for grading: fresh 128-bit seeds on which the contract of a topic has been seen to hold.

A seed is certified when the solution and all other right answers have full points on it and each wrong one is caught.
Certified seeds are kept (they are secrets: the file is the owner's alone) and drawn again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from grader.bank import breaches
from workshop.errors import WorkshopError
from workshop.paths import REPOSITORY, home
from workshop.topics import Topic, syllabus
from workshop.world import generator_version

POOL = 3
TRIES = 5


def digest(item: Topic) -> str:
    """Changes with anything on which a certificate depends: the topic, the kit, the generator."""
    value = hashlib.sha256(generator_version().encode())
    for place in (item.source, REPOSITORY / "workshop"):
        for file in sorted(place.rglob("*.py")):
            value.update(file.relative_to(REPOSITORY).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return value.hexdigest()[:16]


def _file(item: Topic, scale: float) -> Path:
    return home() / "certified" / f"{item.id}-{scale:g}-{digest(item)}.json"


def certified_seed(item: Topic, scale: float | None = None, say: Callable[[str], None] = lambda _: None) -> bytes:
    """A certified seed, drawn at random from a small pool that is filled as it is used.

    Raises WorkshopError when seed after seed breaks the contract: the topic has a defect.
    """
    scale = scale or syllabus().course["grading_scale"]
    path = _file(item, scale)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with open(path.with_suffix(".lock"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            pool = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            pool = []
        if len(pool) < POOL:
            say(f"certifying a seed for {item.id} (once for each of {POOL}; kept)")
            pool.append(_new(item, scale).hex())
            partial = path.with_suffix(".part")
            handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(handle, "w", encoding="utf-8") as out:
                json.dump(pool, out)
            os.replace(partial, path)
    return bytes.fromhex(secrets.choice(pool))


def _new(item: Topic, scale: float) -> bytes:
    found: list[str] = []
    for _ in range(TRIES):
        seed = secrets.token_bytes(16)
        found = breaches(item, seed, scale, whole=False)
        if not found:
            return seed
    raise WorkshopError(
        f"No seed could be certified for {item.id}: {TRIES} seeds break its contract. The last: {found[0]}"
    )
