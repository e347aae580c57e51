"""Where things are: the repository, and the user's own folder (worlds, progress, secrets)."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

PACKAGES = Path(__file__).resolve().parent.parent
# An installed wheel carries of the repository what grading needs (setup.py).
REPOSITORY = PACKAGES if (PACKAGES / "curriculum").is_dir() else PACKAGES / "workshop" / "_repository"
CURRICULUM = REPOSITORY / "curriculum"
DATASETS = REPOSITORY / "datasets"
SOURCES = {".py", ".sql", ".txt"}


def home() -> Path:
    """The folder for worlds and progress: $KESTREL_HOME, else ~/.kestrel. Outside the repository, so updates keep it."""
    return Path(os.environ.get("KESTREL_HOME") or Path.home() / ".kestrel").expanduser()


def digest_of(places: Iterable[Path], *about: str) -> str:
    """64 hexadecimal digits that change with ``about`` and with any source file (Python, SQL, lock) in these files and
    folders, wherever the repository lies."""
    value = hashlib.sha256("\0".join(about).encode())
    for place in places:
        for file in [place] if place.is_file() else sorted(p for p in place.rglob("*") if p.suffix in SOURCES):
            carried = place.is_relative_to(REPOSITORY)
            if not carried and file.is_relative_to(REPOSITORY):
                continue  # what a wheel carries is no part of the package that carries it
            root = REPOSITORY if carried else PACKAGES
            value.update(file.relative_to(root).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return value.hexdigest()
