"""Worlds that a released course brings along, in place of the generator: packed files in datasets/worlds, and a list of them.

A world is looked up by its seed and scale. Its truth is not there: what the checks need of it is sealed (workshop.sealed).
"""

from __future__ import annotations

import hashlib
import json
import lzma
import shutil
from functools import cache
from pathlib import Path
from typing import Any

from workshop.errors import UsageError, WorkshopError
from workshop.paths import DATASETS

FOLDER, LIST = "worlds", "index.json"
PACKED = {"format": lzma.FORMAT_XZ, "preset": 4}


@cache
def shipped() -> dict[str, Any] | None:
    """What the list says: ``names`` of practice worlds and their ``scale``, ``files`` by digest (see digest_of_world). None where
    the generator makes the worlds."""
    path = DATASETS / FOLDER / LIST
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise WorkshopError(f"{path} cannot be read ({error}): fetch the course again.") from None


def digest_of_world(seed: bytes, scale: float) -> str:
    """24 hexadecimal digits by which a world is found, and which do not give its seed away."""
    return hashlib.sha256(b"shipped|" + seed + repr(float(scale)).encode()).hexdigest()[:24]


def packed_file(digest: str) -> Path:
    """Where a packed world lies. Raises UsageError for one that the course does not bring."""
    about = shipped() or {}
    if digest not in about.get("files", {}):
        names = " and ".join(about.get("names", []))
        raise UsageError(
            f"This course has the world {names} at scale {about.get('scale')}, and no other: leave WORLD and SCALE as they were "
            "handed out."
        )
    return DATASETS / FOLDER / about["files"][digest]


def pack(source: Path, target: Path) -> None:
    """Packs a world's file."""
    with open(source, "rb") as given, lzma.open(target, "wb", **PACKED) as out:
        shutil.copyfileobj(given, out, 1 << 20)


def unpack(source: Path, target: Path) -> None:
    """Unpacks one. Raises WorkshopError where it was damaged on its way, OSError where there is no room."""
    try:
        with lzma.open(source) as given, open(target, "wb") as out:
            shutil.copyfileobj(given, out, 1 << 20)
    except (lzma.LZMAError, EOFError) as error:
        raise WorkshopError(f"{source} is damaged ({error}): fetch the course again.") from None
