"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

PARTIAL = ".part"


def clear_partial(folder: Path) -> None:
    """Removes what a writer that was killed has left in a folder; nobody may be writing there."""
    for left in folder.glob(f".*{PARTIAL}"):
        left.unlink(missing_ok=True)


def write_whole(path: Path, content: str | bytes, *, private: bool = False) -> None:
    """Writes a file beside its place and puts it there at once. ``private``: its owner's alone, and on the disk before this
    returns. What UTF-8 cannot hold is replaced."""
    data = content if isinstance(content, bytes) else content.encode("utf-8", "replace")
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=PARTIAL)  # mode 0600
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(data)
            if private:
                out.flush()
                os.fsync(out.fileno())
        if not private:
            os.chmod(partial, 0o644)
        os.replace(partial, path)
    except BaseException:
        os.unlink(partial)
        raise
