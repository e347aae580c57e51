"""A service that others depend on, and its degradations."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from workshop.sim.streams import streams

Kind = Literal["healthy", "slow", "down", "errors", "flapping"]

TIMEOUT = "timeout"
"""The caller stopped waiting."""
SERVER_ERROR = "server_error"
"""The service's fault, as HTTP 5xx: says something about its health."""
CLIENT_ERROR = "client_error"
"""The caller's fault, as HTTP 4xx: says nothing about the service's health, and a retry does not help."""


@dataclass(frozen=True)
class Phase:
    """How a service behaves in start_s <= t < end_s.

    error_rate: share of calls that get a server error; latency_factor: multiplies the base latency. `kind`
    names what it is. A service that refuses at once is `Phase(a, b, "down", 1.0, 1.0)`, one that hangs until
    the caller's time-out is `Phase(a, b, "down", 1.0, math.inf)`.
    """

    start_s: float
    end_s: float
    kind: Kind
    error_rate: float
    latency_factor: float

    def __post_init__(self) -> None:
        if not self.start_s < self.end_s:
            raise ValueError(f"a phase must end after it starts: {self}")
        if self.kind not in get_args(Kind):
            raise ValueError(f"{self.kind!r} is no kind of phase: one of {', '.join(get_args(Kind))}")
        if not (0 <= self.error_rate <= 1 and self.latency_factor > 0):
            raise ValueError(f"need 0 <= error_rate <= 1 and latency_factor > 0: {self}")


def flapping(start_s: float, end_s: float, period_s: float) -> tuple[Phase, ...]:
    """Return the phases of a service that refuses all calls in the first half of each period, then none.

    The good halves are left out, since a service is healthy outside its phases.
    """
    periods = int(np.ceil((end_s - start_s) / period_s))
    begins = [start_s + period_s * k for k in range(periods)]
    return tuple(Phase(at, min(at + period_s / 2, end_s), "flapping", 1.0, 1.0) for at in begins)


@dataclass(frozen=True, eq=False)
class Service:
    """A service with its draws made: what call i meets depends on i and on the time of the call alone.

    Make one with `draw_service`. `dataclasses.replace(service, timeout_s=...)` or `(service, phases=())` asks
    "what if" on the same draws. Outside its phases the service is healthy.

    timeout_s: the caller's, seconds; phases: in order of time, without overlap; error_rate: share of server
    errors while healthy; client_error_rate: share of calls at fault themselves, in every phase.
    base_latency_s, error_draw, client_draw: (n,), by call; latency in seconds, the others uniform in [0, 1).
    """

    name: str
    timeout_s: float
    phases: tuple[Phase, ...]
    error_rate: float
    client_error_rate: float
    base_latency_s: np.ndarray
    error_draw: np.ndarray
    client_draw: np.ndarray

    def __post_init__(self) -> None:
        if not 0 < self.timeout_s < np.inf:
            raise ValueError(f"service {self.name!r}: timeout_s is {self.timeout_s}, give finite seconds above 0")
        for earlier, later in zip(self.phases, self.phases[1:], strict=False):
            if later.start_s < earlier.end_s:
                raise ValueError(f"service {self.name!r}: {later} starts before {earlier} ends")

    def __len__(self) -> int:
        """Return the number of calls that are drawn."""
        return len(self.base_latency_s)

    def outcome(self, i: int, at_s: float) -> tuple[bool, float, str | None]:
        """Return (ok, latency in seconds, error class or None) of call i where it is made at `at_s`.

        The phase at the start of a call holds for all of it. A call that would take longer than the time-out
        is a TIMEOUT after exactly `timeout_s`; else a SERVER_ERROR or a CLIENT_ERROR, in this order, since a
        service that is down does not look at its input.

        Raises IndexError where call i was not drawn.
        """
        if not 0 <= i < len(self):
            raise IndexError(f"call {i} of service {self.name!r}: {len(self)} calls are drawn, draw more (n_calls)")
        error_rate, latency_s = self.error_rate, self.base_latency_s.item(i)
        at = bisect_right(self.phases, at_s, key=_start) - 1
        if at >= 0 and at_s < self.phases[at].end_s:
            error_rate = self.phases[at].error_rate
            latency_s *= self.phases[at].latency_factor
        if latency_s > self.timeout_s:
            return False, self.timeout_s, TIMEOUT
        if self.error_draw.item(i) < error_rate:
            return False, latency_s, SERVER_ERROR
        if self.client_draw.item(i) < self.client_error_rate:
            return False, latency_s, CLIENT_ERROR
        return True, latency_s, None


def _start(phase: Phase) -> float:
    return phase.start_s


def draw_service(
    seed: int | str | bytes,
    name: str,
    n_calls: int,
    *,
    median_s: float,
    sigma: float,
    timeout_s: float,
    phases: Sequence[Phase] = (),
    error_rate: float = 0.0,
    client_error_rate: float = 0.0,
) -> Service:
    """Return a service with the draws of `n_calls` calls, from streams of its own name.

    The base latency is log-normal: median in seconds, sigma of its logarithm. More calls leave the first as
    they were.
    """
    draws = (
        streams(seed, f"service/{name}/latency").lognormal(np.log(median_s), sigma, n_calls),
        streams(seed, f"service/{name}/server_error").random(n_calls),
        streams(seed, f"service/{name}/client_error").random(n_calls),
    )
    for draw in draws:
        draw.setflags(write=False)
    return Service(name, timeout_s, tuple(phases), error_rate, client_error_rate, *draws)


def kinds_at(service: Service, at_s: np.ndarray) -> np.ndarray:
    """Return the kind of phase at each time of `at_s` (seconds, any shape); "healthy" outside the phases."""
    starts = np.array([phase.start_s for phase in service.phases])
    ends = np.array([-np.inf] + [phase.end_s for phase in service.phases])
    kinds = np.array(["healthy"] + [phase.kind for phase in service.phases])
    at = np.searchsorted(starts, at_s, side="right")
    return np.where(at_s < ends[at], kinds[at], "healthy")
