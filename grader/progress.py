"""What a long run shows, and how it is asked to stop."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Self

PLAIN_EVERY_S = 5.0


class Meter:
    """Progress on stderr: a bar where that is a terminal, else a line every few seconds."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True)
        self._bar: Any = None
        self._total = self._done = self._before = 0
        self._began = self._said = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def say(self, text: str) -> None:
        """A line of its own."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def start(self, total: int, done: int) -> None:
        """From here on it counts; ``done`` was done before."""
        self._total, self._done, self._before = total, done, done
        self._began = self._said = time.monotonic()
        if self._console.is_terminal and done < total:
            from rich.progress import BarColumn, Progress, TextColumn

            self._bar = Progress(BarColumn(), TextColumn("{task.description}"), console=self._console, transient=True)
            self._line = self._bar.add_task(self._text(), total=total, completed=done)
            self._bar.start()

    def advance(self, n: int) -> None:
        """n more are done."""
        self._done += n
        if self._bar is not None:
            self._bar.update(self._line, completed=self._done, description=self._text())
        elif time.monotonic() - self._said > PLAIN_EVERY_S:
            self._said = time.monotonic()
            self.say(self._text())

    def _text(self) -> str:
        seconds, done = time.monotonic() - self._began, self._done - self._before
        text = f"{self._done:,}/{self._total:,} done"
        if not done:
            return text
        left = timedelta(seconds=round(seconds / done * (self._total - self._done)))
        return f"{text}, {60 * done / seconds:,.0f} a minute, {left} left"


class Signals:
    """SIGINT and SIGTERM: the first asks to stop, the second ends the process at once."""

    def __init__(self) -> None:
        self.stop = False
        self._patient = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {n: signal.signal(n, self._asked) for n in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextlib.contextmanager
    def patience(self) -> Iterator[None]:
        """While this lasts, whoever is asked to stop looks for it; else KeyboardInterrupt is raised."""
        self._patient = True
        try:
            yield
        finally:
            self._patient = False

    def _asked(self, *_: object) -> None:
        if self.stop:
            os._exit(130)
        self.stop = True
        if not self._patient:
            raise KeyboardInterrupt
