"""A clock that moves only when it is told to."""

import threading


class VirtualClock:
    """Virtual time in seconds: monotone, and the same in every run.

    Hand it to code that asks for the time (`clock()` or `clock.now()`, as with `time.monotonic`), and move it
    from the test or the simulation. Threads may share it.
    """

    def __init__(self, start_s: float = 0.0) -> None:
        self._now_s = float(start_s)
        self._lock = threading.Lock()

    def now(self) -> float:
        """Return the virtual time in seconds."""
        return self._now_s

    __call__ = now

    def advance(self, dt_s: float) -> float:
        """Move the clock forward by `dt_s` seconds and return the new time.

        Raises ValueError where `dt_s` is negative or not a number.
        """
        with self._lock:
            return self._move(self._now_s + dt_s)

    def advance_to(self, at_s: float) -> float:
        """Move the clock to `at_s` (as when a simulation hands over its own time) and return it.

        Raises ValueError where `at_s` lies in the past or is not a number.
        """
        with self._lock:
            return self._move(float(at_s))

    def _move(self, at_s: float) -> float:
        if not at_s >= self._now_s:  # written so that NaN is refused too
            raise ValueError(f"a clock cannot go from {self._now_s} s to {at_s} s: give a time that is not earlier")
        self._now_s = at_s
        return at_s
