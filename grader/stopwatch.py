"""Time limits that a busy machine does not shorten."""

from __future__ import annotations

import time
from pathlib import Path

MOMENT_S = 0.1
MOST = 6.0  # times the limit by the clock on the wall: a process cannot buy time by crowding the machine itself


class Stopwatch:
    """Counts down ``seconds`` for a process: by the clock on the wall, less the time for which its main thread stood in line
    for a processor. Where the system does not tell (macOS), by the clock on the wall alone."""

    def __init__(self, pid: int, seconds: float) -> None:
        self.pid = pid
        self.seconds = seconds
        self._began = time.monotonic()
        self._queued: float | None = None

    @property
    def is_over(self) -> bool:
        """Whether the time is up. To be looked at again and again: from the first look after a moment on the queue is counted,
        since most of what is timed is over before that."""
        wall = time.monotonic() - self._began
        if self._queued is None and wall > min(MOMENT_S, self.seconds):
            self._queued = queued_s(self.pid)
        if wall <= self.seconds:
            return False
        return wall > MOST * self.seconds or wall - (queued_s(self.pid) - self._queued) > self.seconds


def queued_s(pid: int) -> float:
    """Seconds for which the main thread of a process has stood in line for a processor: 0 where that is not known.
    Source: proc(5), /proc/<pid>/schedstat, second field, nanoseconds."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0
