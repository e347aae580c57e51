"""The cache of worlds: one folder a world, made in a temporary place and renamed when whole.

Processes that want the same world at once wait for a lock: one builds, the others take what it made. A lock is held by
the kernel (flock), so a builder that is killed frees it, and what it left behind is cleared by the next one.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb

from workshop.errors import WorkshopError
from workshop.paths import home
from workshop.world.build import Progress, build_world, check_scale, closure, generator_version
from workshop.world.shipped import digest_of_world, packed_file, shipped, unpack

STALE_AFTER_S = 24 * 3600


@dataclass(frozen=True)
class WorldFiles:
    """A world on disk. ``truth`` is for the trusted side only, and not there in a released course."""

    name: str
    scale: float
    world: Path
    truth: Path


def worlds_folder() -> Path:
    """Where worlds are cached; made if need be."""
    folder = home() / "worlds"
    with _disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def _place(seed: bytes, scale: float, wanted: Iterable[str] | None) -> list[Path]:
    """The folders in which a world may lie, the one in which it is made first. Raises UsageError for one that there cannot be."""
    if shipped():
        digest = digest_of_world(seed, scale)
        packed_file(digest)
        return [worlds_folder() / digest]
    return [worlds_folder() / _folder_name(seed, scale, n) for n in dict.fromkeys((closure(wanted), closure(None)))]


def _folder_name(seed: bytes, scale: float, names: tuple[str, ...]) -> str:
    # The seed itself is not in the name: a cache listing must not give it away.
    digest = hashlib.sha256(
        b"|".join([seed, repr(scale).encode(), generator_version().encode(), ",".join(names).encode()])
    )
    return digest.hexdigest()[:24]


def find_world(name: str, seed: bytes, scale: float, wanted: Iterable[str] | None = None) -> WorldFiles | None:
    """The cached world that holds the wanted subjects (a whole world serves every wish), or None."""
    scale = check_scale(scale)
    for folder in _place(seed, scale, wanted):
        if (folder / "world.duckdb").exists() and (shipped() or (folder / "truth.duckdb").exists()):
            with contextlib.suppress(OSError):
                os.utime(folder)
            return WorldFiles(name, scale, folder / "world.duckdb", folder / "truth.duckdb")
    return None


def ensure_world(
    name: str, seed: bytes, scale: float, wanted: Iterable[str] | None = None, progress: Progress | None = None
) -> WorldFiles:
    """Finds or builds a world. Safe when many processes ask at once and when a builder is killed at any moment.

    Raises WorkshopError with one clear line when the disk is full or not writable.
    """
    found = find_world(name, seed, scale, wanted)
    if found:
        return found
    folder = _place(seed, check_scale(scale), wanted)[0]
    with _disk_errors(folder), locked(folder.with_suffix(".lock")):
        found = find_world(name, seed, scale, wanted)
        if found:
            return found
        _clear_leftovers(folder.parent, folder.name)
        partial = Path(tempfile.mkdtemp(prefix=f"{folder.name}.partial-", dir=folder.parent))
        try:
            world, truth = partial / "world.duckdb", partial / "truth.duckdb"
            if shipped():
                unpack(packed_file(folder.name), world)
            else:
                build_world(world, truth, seed, float(scale), wanted, progress=progress)
            for file in partial.iterdir():
                file.chmod(0o444)
            os.replace(partial, folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return WorldFiles(name, float(scale), folder / "world.duckdb", folder / "truth.duckdb")


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds the lock of a file, which is made if need be; whoever else wants it waits."""
    with open(path, "w", encoding="utf-8") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _clear_leftovers(folder: Path, name: str) -> None:
    """Removes what killed builders left: of this world at once (we hold its lock), of others after a day."""
    for path in folder.glob("*.partial-*"):
        with contextlib.suppress(OSError):
            if path.name.startswith(name) or time.time() - path.stat().st_mtime > STALE_AFTER_S:
                shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _disk_errors(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise WorkshopError(_full(place)) from error
        raise WorkshopError(
            f"Cannot write to {place.parent} ({error.strerror}). Set KESTREL_HOME to a folder of yours that is writable."
        ) from error
    except (duckdb.Error, WorkshopError) as error:
        if "No space left" in str(error) or "not enough space" in str(error).lower():
            raise WorkshopError(_full(place)) from error
        raise


def _full(place: Path) -> str:
    return (
        f"The disk is full: the world could not be written to {place.parent}. Free some space (old worlds there may be "
        "deleted) or set KESTREL_HOME to a folder on another disk, then run this again. Nothing half-made was kept."
    )
