"""A circuit breaker for simulations, and what lessons and checks do with one.

`Breaker` is a `Guard` of `workshop.sim.cluster`: it is asked and told at given times. It is not made for threads.
"""

import heapq
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from workshop.sim.service import CLIENT_ERROR

CLOSED, OPEN, HALF_OPEN = "closed", "open", "half_open"


class CircuitOpen(Exception):  # noqa: N818 - the field's name for it
    """The breaker refused a call: the service was not asked."""


@dataclass(frozen=True)
class BreakerSettings:
    """When a breaker opens and how it tries again; names and meaning as in resilience4j.

    It opens when, of the last `window_calls` calls that came back (`min_calls` of them at the least), the share that
    failed is `failure_rate` or more, or the share that took `slow_call_s` seconds or more is `slow_rate` or more. After
    `open_s` seconds it lets `trial_calls` calls through: if all are good it closes, at the first bad one it opens again.
    """

    window_calls: int = 20
    min_calls: int = 10
    failure_rate: float = 0.5
    slow_call_s: float = 5.0
    slow_rate: float = 0.5
    open_s: float = 30.0
    trial_calls: int = 3


class Breaker:
    """A breaker with a window of calls. `state` is closed, open or half_open; `changes` lists (seconds, new state)."""

    def __init__(self, settings: BreakerSettings, start_s: float = 0.0) -> None:
        self.settings = settings
        self.changes: list[tuple[float, str]] = []
        self._move(start_s, CLOSED)

    def _move(self, now_s: float, state: str) -> None:
        self.state, self._since_s = state, now_s
        self.changes.append((now_s, state))
        self._failed: deque[bool] = deque(maxlen=self.settings.window_calls)
        self._slow: deque[bool] = deque(maxlen=self.settings.window_calls)
        self._trials = self._good_trials = 0

    def allow(self, now_s: float) -> bool:
        """Return whether a call may go out now."""
        if self.state == OPEN and now_s >= self._since_s + self.settings.open_s:
            self._move(now_s, HALF_OPEN)
        if self.state == HALF_OPEN:
            if self._trials >= self.settings.trial_calls:
                return False
            self._trials += 1
        return self.state != OPEN

    def record(self, now_s: float, ok: bool, latency_s: float, error: str | None) -> None:
        """Take note of a call that came back now."""
        if self.state == OPEN or now_s - latency_s < self._since_s - 1e-6:
            return  # it went out before the last change of state, and says nothing of the time since
        failed, slow = not ok, latency_s >= self.settings.slow_call_s
        if self.state == HALF_OPEN:
            if error == CLIENT_ERROR:
                self._trials -= 1  # the trial told nothing: another call may have it
            elif failed or slow:
                self._move(now_s, OPEN)
            else:
                self._good_trials += 1
                if self._good_trials >= self.settings.trial_calls:
                    self._move(now_s, CLOSED)
        elif error != CLIENT_ERROR:
            self._failed.append(failed)
            self._slow.append(slow)
            seen = len(self._failed)
            if seen >= self.settings.min_calls and (
                sum(self._failed) >= self.settings.failure_rate * seen
                or sum(self._slow) >= self.settings.slow_rate * seen
            ):
                self._move(now_s, OPEN)


Outcome = tuple[bool, float, str | None]


def replay(guard: Breaker | None, at_s: Sequence[float], outcome: Callable[[int, float], Outcome]) -> np.ndarray:
    """Return which of the calls wanted at `at_s` (seconds, rising) reach the service. Shape (n,), bool.

    Calls overlap: one that takes long comes back after later ones went out. `outcome(i, at_s)` is what call i meets:
    ok, latency in seconds, error class. Without a guard all calls go out.
    """
    reached = np.ones(len(at_s), dtype=bool)
    under_way: list[tuple[float, int, Outcome]] = []
    for i, now_s in enumerate(at_s):
        while under_way and under_way[0][0] <= now_s:
            back_s, _, (ok, latency_s, error) = heapq.heappop(under_way)
            guard.record(back_s, ok, latency_s, error)
        if guard is not None:
            reached[i] = guard.allow(now_s)
            if reached[i]:
                met = outcome(i, now_s)
                heapq.heappush(under_way, (now_s + met[1], i, met))
    return reached
