"""Limits of one graded run. Frozen data: they are part of what a result depends on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Seconds of wall time, bytes of memory and output."""

    cell_s: float = 60.0
    notebook_s: float = 600.0
    memory_bytes: int = 2 * 1024**3
    cpu_s: int = 900
    processes: int = 512
    file_bytes: int = 512 * 1024**2
    output_bytes: int = 2 * 1024**2
    notebook_bytes: int = 64 * 1024**2
    restarts: int = 3
