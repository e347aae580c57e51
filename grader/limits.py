"""Limits of one graded run. Frozen data: they are part of what a result depends on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Limits:
    """Seconds of wall time, bytes of memory and output, processes (threads count too); ``work_bytes``: what the work folder,
    which lies in memory, may hold."""

    cell_s: float = 60.0
    notebook_s: float = 600.0
    memory_bytes: int = 2 * 1024**3
    cpu_s: int = 900
    processes: int = 512
    open_files: int = 1024
    file_bytes: int = 512 * 1024**2
    work_bytes: int = 512 * 1024**2
    output_bytes: int = 2 * 1024**2
    notebook_bytes: int = 64 * 1024**2
    restarts: int = 3

    def walls(self) -> dict[str, Any]:
        """Those that the run's own processes are given (grader.inside.isolate.Walls)."""
        names = ("memory_bytes", "cpu_s", "processes", "open_files", "file_bytes", "work_bytes")
        return {name: getattr(self, name) for name in names}
