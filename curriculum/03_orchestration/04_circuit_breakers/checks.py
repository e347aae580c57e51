"""What lab 3.4 judges.

Task a. The learner's breaker runs in the learner's kernel, the service does not: each call that the breaker lets through
asks the check (`Dependency.ask`), which alone knows what happens to it and notes that it was made. How many calls reached
the service, and when, is therefore known here and taken from nobody's word. Calls are wanted at given times whatever the
breaker does, so that two breakers meet the same draws.

Task b. The policy comes out as data and is simulated with the kit's breaker, on days that are drawn here.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from workshop.checks import CheckFailed, Evidence, LearnerError, as_number, as_table, check, expect
from workshop.sim import Breaker, BreakerSettings, count_at, flapping
from workshop.sim import replay as replay_guard
from workshop.sim.degradation import COSTS_USD
from workshop.table import Table
from workshop.trusted import Lab

SUBJECTS = ("pipelines", "runs")

CALLERS = 12
TIMEOUT_S = 15.0
# Written out: a release finds by them that it needs the module.
REPLAY, RUSH = "workshop.sim.concurrency:replay_calls", "workshop.sim.concurrency:rush"
OK, SERVER, TIMED_OUT, CLIENT = "ok", "server_error", "timeout", "client_error"
RAISED = {SERVER: "ConnectionError", TIMED_OUT: "TimeoutError", CLIENT: "ValueError"}
Meeting = tuple[float, str]  # latency in seconds, outcome

HINTS = {
    "a": (
        "Split `call` in three: may this call go out (under a lock), the call itself (never under the lock), and what "
        "its outcome means (under the lock). Time passes only when you read `clock()`.",
        "In the closed state keep the last `window_calls` outcomes in a deque of (failed, slow). In the half-open "
        "state keep two numbers: trials let through, and trials that came back well. A call that went out before the "
        "last change of state says nothing about the time since: give each state a number, and compare.",
        "A trial that ends in a ValueError told you nothing: give its place to another call. A bad trial opens the "
        "breaker again at once; `trial_calls` good ones close it and empty the window.",
    ),
    "b": (
        "Read the usual latency of each service from `ops.service_calls`. The median hardly notices an incident; the "
        "99th percentile of everything is the incident.",
        "A slow call takes longer than nearly every healthy one, and much less than an answer in a slow spell: three "
        "to ten times the usual median. `open_s`: a minute or two.",
        "For each caller ask in this order: may it use an answer as old as an outage is long (stale)? Is its deadline "
        "further away than an outage lasts (defer)? What is left should fail early, so that its owner is told in time.",
    ),
}
MISCONCEPTIONS = {
    "never_opens": "Nothing was ever refused. Where do you count outcomes, and where does the count open the breaker?",
    "not_shared": "All callers use one breaker, so one caller's failures must warn the others: state belongs to the "
    "dependency, not to the task.",
    "slow_is_fine": "A call that takes very long holds a slot for as long, even if its answer is good in the end. Measure each "
    "call with `clock()` and count the slow ones too.",
    "in_a_row": "Failures need not come in a row: with one good replica of three, every third call works. Count a share of the "
    "last calls.",
    "client_errors": "A ValueError is the caller's mistake. It says nothing about the service: count it neither way.",
    "no_minimum": "One failure among two calls is 50%. A share means something from `min_calls` calls on.",
    "never_half_open": "After `open_s` seconds by the injected `clock` (not by the wall clock) a few calls must be let through, "
    "to see whether the service is back.",
    "too_patient": "Each opening lasts `open_s` seconds, from the moment it opens: not longer after a bad trial, and not longer "
    "because calls are refused.",
    "one_share": "The breaker opens when the share that failed reaches failure_rate, or when the share that was slow reaches "
    "slow_rate: two shares of the same window, each with a limit of its own.",
    "trials_miscounted": "Half-open ends in one of two ways: at the first bad trial it opens for open_s seconds; when "
    "trial_calls trials came back good it closes, and starts with an empty window.",
    "late_answers": "A call that comes back belongs to the state in which it went out. Number the states, and compare.",
    "trial_leak": "A trial that ended in a ValueError has used up its place for good: nobody else may try. Give the place back.",
    "all_try": "When the breaker tries again, count the trials at the moment you let them through, not when they come back.",
    "race": "Two threads looked at the count before either changed it. Check and change belong under one lock.",
    "lock_held": "While one call waits for the service, all others wait for your lock, those that should be refused at once "
    "too. Release the lock before you call the service.",
    "lost": "Every call ends in one of three ways: the service's answer, its fallback's value, or an error that says why.",
    "one_for_all": "A VAT check takes seconds when all is well; an exchange rate takes a tenth of one. What is slow for one is "
    "the usual for another.",
    "too_cautious": "After an outage each second of `open_s` is an outage of your own making.",
    "too_old": "max_stale_minutes is how old an answer may be. Five minutes into an outage, the last one is five minutes old; "
    "two hours into it, two hours.",
    "wrong_fallback": "Ask of each caller: how old an answer may it use, and how much time does it have until its deadline?",
}


# -- task a: the service, as the check plays it ---------------------------------------------------------------------------


class Dependency:
    """A service that answers through `ask`. `meet(i, at_s, k)` says what call i, the k-th that reaches it, meets."""

    def __init__(
        self, at_s: Sequence[float], meet: Callable[[int, float, int], Meeting], values: Sequence[Any] = ()
    ) -> None:
        self.at_s, self.meet, self.values = at_s, meet, values
        self.reached: list[int] = []
        self.met: dict[int, Meeting] = {}
        self.repeated: set[int] = set()

    def ask(self, i: Any) -> list[Any]:
        """The answer to call i, and a note that it was made."""
        if isinstance(i, bool) or not isinstance(i, int) or not 0 <= i < len(self.at_s):
            raise ValueError("there is no such call")
        if i in self.met:
            self.repeated.add(i)
        else:
            self.met[i] = self.meet(i, self.at_s[i], len(self.reached))
            self.reached.append(i)
        latency_s, kind = self.met[i]
        return [latency_s, kind, self.values[i] if self.values and kind == OK else None]


class Film:
    """What happened in a replay: calls wanted, calls that reached the service, what the callers got."""

    def __init__(self, service: Dependency, log: Any) -> None:
        self.at_s = np.asarray(service.at_s)
        self.met, self.repeated = service.met, service.repeated
        self.reached = np.zeros(len(self.at_s), dtype=bool)
        self.reached[service.reached] = True
        log = log if isinstance(log, dict) else {}
        outcomes = log.get("outcomes")
        self.outcomes = (
            outcomes if isinstance(outcomes, list) and len(outcomes) == len(self.at_s) else [None] * len(self.at_s)
        )
        self.states = log.get("states")
        self.stuck = log.get("stuck")

    def between(self, start_s: float, end_s: float) -> np.ndarray:
        """Which calls were wanted in start_s <= t < end_s."""
        return (self.at_s >= start_s) & (self.at_s < end_s)

    def picture(self, title: str, bad: Sequence[tuple[float, float]]) -> Evidence:
        """State over time, with the calls that reached the service and those that were refused."""
        from workshop.plots import BLUE, GREY, ORANGE, RED, plt, png

        figure, (top, bottom) = plt.subplots(
            2, 1, figsize=(7.2, 3.0), sharex=True, height_ratios=[1, 1.3], gridspec_kw={"hspace": 0.05}
        )
        zero = float(self.at_s[0])
        for ax in (top, bottom):
            for k, (start_s, end_s) in enumerate(bad):
                ax.axvspan(
                    start_s - zero, end_s - zero, color=RED, alpha=0.12, lw=0, label=None if k else "service degraded"
                )
        levels = {"closed": 0, "half_open": 1, "open": 2}
        steps = _state_steps(self.states, levels)
        if steps:
            times, values = zip(*steps, strict=True)
            top.step(
                [t - zero for t in times] + [self.at_s[-1] - zero], [*values, values[-1]], where="post", color=BLUE
            )
        else:
            top.text(0.01, 0.8, "your breaker has no attribute state", transform=top.transAxes, fontsize=8, color=GREY)
        top.set_yticks(list(levels.values()), ["closed", "half-open", "open"])
        top.set_ylim(-0.3, 2.4)
        refused = self.at_s[~self.reached] - zero
        bottom.plot(refused, np.zeros(len(refused)), "|", color=GREY, ms=10, label=f"refused ({len(refused)})")
        for kinds, colour, name in (
            ((OK,), BLUE, "answered"),
            ((SERVER, TIMED_OUT), ORANGE, "failed"),
            ((CLIENT,), GREY, "client error"),
        ):
            mine = [i for i in self.met if self.met[i][1] in kinds]
            if mine:
                x, y = self.at_s[mine] - zero, [self.met[i][0] for i in mine]
                bottom.plot(x, y, ".", ms=4, color=colour, label=f"reached the service, {name} ({len(mine)})")
        bottom.set_xlabel("seconds")
        bottom.set_ylabel("answer took, s")
        top.set_title(title)
        figure.legend(*bottom.get_legend_handles_labels(), loc="outside lower center", ncols=3)
        return Evidence("state of your breaker, and the calls that reached the service", png=png(figure))


def _state_steps(states: Any, levels: dict[str, int]) -> list[tuple[float, int]]:
    """(seconds, level) of what the kernel says of the breaker's state: for the picture alone, so anything may be in it."""
    steps = []
    for row in states[:5000] if isinstance(states, list) else ():
        if isinstance(row, list) and len(row) == 2 and isinstance(row[0], int | float) and math.isfinite(row[0]):
            name = (
                str(row[1])
                .lower()
                .rpartition(".")[2]
                .replace("-", "_")
                .replace(" ", "_")
                .replace("halfopen", "half_open")
            )
            if name in levels:
                steps.append((float(row[0]), levels[name]))
    return steps


def _settings(rng: np.random.Generator, **given: float) -> dict[str, Any]:
    """Settings of a breaker, other ones in each world."""
    drawn = {
        "window_calls": int(rng.choice([16, 20, 24])),
        "min_calls": int(rng.choice([8, 10, 12])),
        "failure_rate": 0.5,
        "slow_call_s": float(rng.choice([3.0, 4.0, 5.0])),
        "slow_rate": 0.5,
        "open_s": float(rng.integers(35, 46)),
        "trial_calls": int(rng.choice([2, 3])),
    }
    return drawn | given


def _times(rng: np.random.Generator, start_s: float, n: int, gap_s: float) -> list[float]:
    """n times about gap_s apart, never at the same moment."""
    return (start_s + np.cumsum(rng.uniform(0.7, 1.3, n) * gap_s)).round(3).tolist()


def _calls(n: int) -> str:
    return f"{n} call{'s' * (n != 1)}"


def _drive(lab: Lab, driver: str, *args: Any) -> Any:
    """As lab.drive; an error of the learner's code is told under the learner's name for it."""
    try:
        return lab.drive(driver, *args)
    except LearnerError as error:
        raise LearnerError(
            error.message.replace(f"`{driver.partition(':')[2]}`", "`CircuitBreaker.call`"),
            error_type=error.error_type,
            error_message=error.error_message,
            evidence=error.evidence,
        ) from error


def _run(
    lab: Lab,
    settings: dict[str, Any],
    service: Dependency,
    fall_back: Callable[[int, str], Any] | None = None,
    with_fallback: Sequence[bool] = (),
) -> Film:
    """A new breaker of the learner's through one replay."""
    clock = lab.new("VirtualClock", service.at_s[0] - 1)
    breaker = lab.new("CircuitBreaker", clock, **settings)
    callers = [f"P{1 + i % CALLERS:04d}.enrich" for i in range(len(service.at_s))]
    extra = [lab.callback(fall_back), list(with_fallback)] if fall_back else []
    log = _drive(lab, REPLAY, breaker, clock, service.at_s, lab.callback(service.ask), callers, *extra)
    film = Film(service, log)
    if film.stuck is not None:
        raise CheckFailed(
            f"At call {film.stuck} nothing moved any more: it neither reached the service nor came back. As a rule "
            "such a call waits for a lock that another one holds while the service answers. At Kestrel a call that "
            "should be refused in a millisecond would stand for minutes behind one that hangs.",
            ask="What do you hold while the service is being called?",
            misconception="lock_held",
        )
    if film.repeated:
        raise CheckFailed(
            f"Call {min(film.repeated)} was made to the service more than once. A breaker makes each call once or not "
            "at all; trying again is another component's work, and it multiplies the load on a service that is in "
            "trouble."
        )
    return film


def _expect_opened(film: Film, start_s: float, end_s: float, what: str, share: float = 0.5) -> None:
    wanted = film.between(start_s, end_s)
    refused = int((wanted & ~film.reached).sum())
    if refused < share * wanted.sum():
        raise CheckFailed(
            f"{what} Your breaker refused {refused} of the {int(wanted.sum())} calls wanted in that time; it should "
            "have been open for most of it. A breaker that stays closed protects nobody.",
            evidence=film.picture("Your breaker let calls through to a service that is down", [(start_s, end_s)]),
            misconception="never_opens",
        )


def _expect_good_calls(film: Film, until_s: float) -> None:
    wanted = film.between(0, until_s)
    refused = int((wanted & ~film.reached).sum())
    expect(
        refused == 0,
        f"The service was well at first, and your breaker refused {refused} of {int(wanted.sum())} calls already then.",
        misconception="no_minimum",
    )


# -- task a: checks ---------------------------------------------------------------------------------------------------------


def _in_trouble(
    before: Sequence[Meeting], trouble: Sequence[Meeting], start_s: float, third_works: bool
) -> Callable[[int, float, int], Meeting]:
    return lambda i, now_s, k: before[i] if now_s < start_s or (third_works and k % 3 == 2) else trouble[i]


@check("a", "at least 90% of the calls to a service that is down or slow never reach it", points=1)
def failing_service_is_left_alone(lab: Lab) -> None:
    """Counted: calls wanted while the service is degraded, and those of them that reached it (asked here). The time that it
    takes to notice, and the trials, count too."""
    rng = lab.rng("left alone")
    for kind in ("down", "slow", "two of three replicas down"):
        settings = _settings(rng)
        # A long healthy time before the first: whoever counts from the beginning of time notices too late.
        lead = int(rng.integers(150, 180)) if kind == "down" else int(rng.integers(40, 60))
        at_s = _times(rng, float(rng.integers(1_000, 90_000)), lead + 1200, 0.5)
        start_s, end_s = at_s[lead], at_s[-1] + 1
        latency_s = rng.lognormal(math.log(0.4), 0.3, len(at_s))
        slow_s = settings["slow_call_s"] + rng.uniform(4, 8, len(at_s))
        hangs = rng.random(len(at_s)) < 0.25

        # By call: what it meets before the trouble, and during it (where that does not depend on the order of arrival).
        before: list[Meeting] = [(float(latency), OK) for latency in latency_s]
        trouble: list[Meeting] = [(0.2, SERVER)] * len(at_s)
        if kind == "slow":
            trouble = [
                (TIMEOUT_S, TIMED_OUT) if hang else (float(slow), OK) for hang, slow in zip(hangs, slow_s, strict=True)
            ]
        third_works = kind == "two of three replicas down"
        film = _run(lab, settings, Dependency(at_s, _in_trouble(before, trouble, start_s, third_works)))
        _expect_good_calls(film, start_s)
        wanted = film.between(start_s, end_s)
        reached = int((wanted & film.reached).sum())
        say = {
            "down": "the service refused every call",
            "slow": "the service was slow: one call in four timed out, the other answers took "
            f"{settings['slow_call_s'] + 4:.0f} s or more",
            "two of three replicas down": "two of the service's three replicas were down, so that two of three calls failed",
        }[kind]
        misconception = {"down": "not_shared", "slow": "slow_is_fine", "two of three replicas down": "in_a_row"}[kind]
        if reached == wanted.sum():
            misconception = misconception if kind != "down" else "never_opens"
        expect(
            reached <= 0.1 * wanted.sum(),
            f"After {lead} good calls, for {end_s - start_s:.0f} s {say}. {CALLERS} tasks wanted {int(wanted.sum())} "
            f"calls in that time; {reached} reached the service ({reached / wanted.sum():.0%}), at most 10% should. "
            "Each of them holds a slot of the shared pool, and keeps a service that is struggling from coming back.",
            evidence=partial(
                film.picture,
                f"{reached} of {int(wanted.sum())} calls reached a service in trouble",
                [(start_s, end_s)],
            ),
            ask="Which calls does your breaker count, for whom, and over how many of the last calls?",
            misconception=misconception,
        )


@check("a", "5% errors, slow answers now and then and bad requests never open it", points=1)
def small_trouble_is_ignored(lab: Lab) -> None:
    """Errors are spread so that no window of the settings comes near its threshold: a right breaker never refuses. Then
    the service goes down, since a breaker that never opens would pass."""
    rng = lab.rng("small trouble")
    settings = _settings(rng)
    n, tail = 280, 60
    at_s = _times(rng, float(rng.integers(1_000, 90_000)), n + tail, 0.8)
    kinds = [OK] * n
    for block in range(0, n, 20):  # one error in each 20: the first among the first calls
        place = block + int(rng.integers(0, 2) if block == 0 else rng.integers(0, 20))
        kinds[place] = SERVER if block == 0 or rng.random() < 0.5 else TIMED_OUT
    burst = int(rng.integers(13, 16))
    for start in (40, 120 + int(rng.integers(0, 20)), 210):  # a caller sends a batch of bad rows
        kinds[start : start + burst] = [CLIENT] * burst
    slow = rng.random(n) < 0.08
    slow[1:] &= ~slow[:-1]
    slow[:3] = False
    latency_s = np.where(slow, settings["slow_call_s"] * 1.5, rng.lognormal(math.log(0.4), 0.3, n))
    end_s = at_s[n]

    def meet(i: int, now_s: float, k: int) -> Meeting:
        if i >= n:
            return 0.2, SERVER
        return (TIMEOUT_S if kinds[i] == TIMED_OUT else float(latency_s[i])), kinds[i]

    film = _run(lab, settings, Dependency(at_s, meet))
    refused = np.flatnonzero(film.between(0, end_s) & ~film.reached)
    if len(refused):
        before = kinds[max(0, refused[0] - 24) : refused[0]]
        errors = sum(kind in (SERVER, TIMED_OUT) for kind in before)
        clients = before.count(CLIENT)
        raise CheckFailed(
            f"Call {refused[0]} was refused although the service was well: of the {len(before)} calls before it "
            f"{errors} failed through the service's fault, and {clients} were the caller's own mistake (ValueError). "
            f"In all, {len(refused)} of {n} calls were refused. At Kestrel one team's bad rows would cut every other "
            "team off from the service.",
            evidence=film.picture(f"Opened on a healthy service: {len(refused)} good calls refused", []),
            ask="What does the failure that opened it say about the service?",
            misconception="client_errors" if clients > 5 else "no_minimum",
        )
    _expect_opened(film, at_s[n + 25], at_s[-1] + 1, "Then the service went down for good.")


@check("a", "while a service flaps, at most 1.5 times the reference's good calls are lost", points=0.5)
def flapping_costs_little(lab: Lab) -> None:
    """Lost good calls: those wanted while the service works that did not reach it. The reference is the kit's breaker with
    the same settings on the same draws; since the moment of a trial is a matter of luck, the worst of nine that differ
    by a little is taken."""
    rng = lab.rng("flapping")
    settings = _settings(rng)
    open_s = settings["open_s"]
    at_s = _times(rng, float(rng.integers(1_000, 90_000)), 480, 1.4)
    period_s = open_s * 4.4
    spells = [
        (a, min(a + 2 * open_s * float(rng.uniform(0.95, 1.05)), at_s[-1]))
        for a in np.arange(at_s[30], at_s[-1] - 3 * open_s, period_s)
    ]
    latency_s = rng.lognormal(math.log(0.4), 0.3, len(at_s))

    def is_bad(now_s: float) -> bool:
        return any(a <= now_s < b for a, b in spells)

    def meet(i: int, now_s: float, k: int = 0) -> Meeting:
        return (0.2, SERVER) if is_bad(now_s) else (float(latency_s[i]), OK)

    good = np.array([not is_bad(t) for t in at_s])

    def lost_by(**changes: float) -> int:
        def outcome(i: int, now_s: float) -> tuple[bool, float, str | None]:
            latency, kind = meet(i, now_s)
            return kind == OK, latency, None if kind == OK else kind

        reached = replay_guard(Breaker(BreakerSettings(**settings | changes), at_s[0]), at_s, outcome)
        return int((good & ~reached).sum())

    reference = lab.kept(
        "lost while it flaps",
        lambda: max(
            lost_by(min_calls=settings["min_calls"] + more, open_s=open_s * times)
            for more in (-2, 0, 2)
            for times in (0.95, 1, 1.05)
        ),
    )
    film = _run(lab, settings, Dependency(at_s, meet))
    lost = int((good & ~film.reached).sum())
    shielded = int((~good & ~film.reached).sum())
    expect(
        shielded >= 0.4 * (~good).sum(),
        f"The service went down {len(spells)} times for about {2 * open_s:.0f} s. Of the {int((~good).sum())} calls "
        f"wanted in these times only {shielded} were refused.",
        evidence=partial(film.picture, "The breaker hardly opened while the service was down", spells),
        misconception="never_opens",
    )
    limit = math.floor(1.5 * reference)
    expect(
        lost <= limit,
        f"The service went down {len(spells)} times for about {2 * open_s:.0f} s and came back for "
        f"{period_s - 2 * open_s:.0f} s each time. Of {int(good.sum())} calls wanted while it worked, your breaker "
        f"kept {lost} from it; the reference keeps {reference} at the worst, and 1.5 times that ({limit}) is allowed.",
        evidence=partial(film.picture, f"{lost} calls refused while the service worked", spells),
        ask="How long does it stay open the second time, and from when do you count?",
        misconception="too_patient",
    )


@check("a", "recovery is noticed within two probe intervals", points=1)
def recovery_is_noticed(lab: Lab) -> None:
    """Two outages. From two times `open_s` after the service is back, every call must reach it. After the first outage
    the first trials are requests that are wrong: they tell nothing, and must not keep others from trying."""
    rng = lab.rng("recovery")
    settings = _settings(rng)
    open_s, trials = settings["open_s"], settings["trial_calls"]
    start = float(rng.integers(1_000, 90_000))
    outages = []
    t = start + 30
    for _ in range(2):
        end = t + open_s * float(rng.uniform(3.1, 4.0))
        outages.append((t, end))
        t = end + 2 * open_s + 45
    n = int((t - start) / 1.0)
    at_s = _times(rng, start, n, 1.0)
    latency_s = rng.lognormal(math.log(0.4), 0.3, n)
    wrong_left = [trials]

    def meet(i: int, now_s: float, k: int) -> Meeting:
        if outages[0][0] <= now_s < outages[0][1]:
            return 0.2, SERVER
        if outages[1][0] <= now_s < outages[1][1]:
            return TIMEOUT_S, TIMED_OUT
        if outages[0][1] <= now_s and wrong_left[0] > 0:
            wrong_left[0] -= 1
            return float(latency_s[i]), CLIENT
        return float(latency_s[i]), OK

    film = _run(lab, settings, Dependency(at_s, meet))
    for number, (a, b) in enumerate(outages):
        following = outages[number + 1][0] if number + 1 < len(outages) else at_s[-1] + 1
        _expect_opened(film, a, b, f"The service was down for {b - a:.0f} s.")
        late = film.between(b + 2 * open_s, following)
        refused = int((late & ~film.reached).sum())
        after = film.between(b, following)
        leak = number == 0 and 0 < (after & film.reached).sum() <= trials + 1
        expect(
            not refused,
            f"The service was back at second {b - at_s[0]:.0f}. Two probe intervals ({2 * open_s:.0f} s) later all "
            f"calls should reach it again; your breaker still refused {refused} of {int(late.sum())}"
            + (
                f", for good: the first {trials} trials were wrong requests (ValueError), and nobody tried after them."
                if leak
                else f" (calls that reached it since it was back: {int((after & film.reached).sum())})."
            )
            + " At Kestrel an outage of minutes would become one of hours, made at home.",
            evidence=partial(film.picture, "The service is back, the breaker has not noticed", outages),
            ask="What would make your breaker let the next call through?",
            misconception="trial_leak" if leak else "never_half_open",
        )


@check("a", "every call ends in an answer, its fallback's value or an explicit error", points=1)
def no_call_is_lost(lab: Lab) -> None:
    """What each caller must get follows from what its call met, which is known here; values are made for this run."""
    rng = lab.rng("lost")
    settings = _settings(rng, open_s=20.0)
    n = 110
    at_s = _times(rng, float(rng.integers(1_000, 90_000)), n, 1.0)
    down, up = 48, 83
    kinds = [OK] * n
    with_fallback = (rng.random(n) < 0.5).tolist()
    kinds[down:up] = [SERVER] * (up - down)
    # Each way for a call to end, with a fallback and without, spread so that they do not open it.
    cases = [(kind, fallback) for kind in (SERVER, TIMED_OUT) for fallback in (True, False)]
    for place, case in zip((14, 22, 30, 38), rng.permutation(len(cases)), strict=True):
        kinds[place], with_fallback[place] = cases[case]
    for place in rng.choice([4, 8, 11, 17, 20, 25, 27, 33, 35, 41], 4, replace=False):
        kinds[place] = CLIENT
    for k, place in enumerate(i for i in range(down) if kinds[i] == CLIENT):
        with_fallback[place] = k % 2 == 0
    plain = [None, 0, "", False, [], {}]
    values = [plain[(i // 3) % 6] if i % 3 == 0 else {"lat": int(rng.integers(1e9)), "row": i} for i in range(n)]
    stand_in = [{"stale": int(rng.integers(1e9)), "row": i} for i in range(n)]
    asked: dict[int, list[str]] = {}

    def fall_back(i: int, error: str) -> Any:
        asked.setdefault(i, []).append(str(error))
        return stand_in[i]

    def meet(i: int, now_s: float, k: int) -> Meeting:
        return (TIMEOUT_S / 10 if kinds[i] == TIMED_OUT else 0.3), kinds[i]

    film = _run(lab, settings, Dependency(at_s, meet, values), fall_back, with_fallback)
    shielded = int((~film.reached[down:up]).sum())
    expect(
        shielded >= 10,
        f"The service refused {up - down} calls in a row, and your breaker refused only {shielded} of them: there is "
        "nothing to judge yet.",
        evidence=partial(film.picture, "The breaker hardly opened", [(at_s[down], at_s[up])]),
        misconception="never_opens",
    )
    rows = []
    for i in range(n):
        met = film.met[i][1] if film.reached[i] else "not called: refused"
        if met == OK:
            want, words = ["value", values[i]], f"the answer {values[i]!r}"
        elif with_fallback[i] and met != CLIENT:
            want, words = ["value", stand_in[i]], "its fallback's value"
        elif met in RAISED:
            want, words = ["error", RAISED[met]], f"{RAISED[met]} raised"
        else:
            want, words = ["refused"], "CircuitOpen raised"
        got = film.outcomes[i]
        if not _same_outcome(got, want):
            rows.append((i, met, "yes" if with_fallback[i] else "no", words, _words(got)))
        elif want[0] == "value" and want[1] is stand_in[i]:
            error = RAISED.get(met, "CircuitOpen")
            if asked.get(i) != [error]:
                said = ", ".join(asked.get(i, ())) or "nothing"
                rows.append((i, met, "yes", f"its fallback asked once, with the {error}", f"asked with {said}"[:80]))
    expect(
        not rows,
        f"{len(rows)} of {n} calls ended in another way than they should: the first, call "
        f"{rows[0][0] if rows else ''}, met “{rows[0][1] if rows else ''}” "
        f"{'with' if rows and rows[0][2] == 'yes' else 'without'} a fallback; its caller should get "
        f"{rows[0][3] if rows else ''} and got: {rows[0][4] if rows else ''}. What nobody is told about is missing "
        "from the tables of the morning.",
        evidence=Evidence(
            "calls that ended otherwise",
            Table.of(["call", "it met", "has a fallback", "its caller should get", "got"], rows[:8]),
        ),
        ask="Which line of `call` does such a call end in?",
        misconception="lost",
    )


def _same_outcome(got: Any, want: list[Any]) -> bool:
    if not isinstance(got, list | tuple) or len(got) != len(want) or got[0] != want[0]:
        return False
    return len(want) == 1 or (type(got[1]) is type(want[1]) and got[1] == want[1])


def _words(got: Any) -> str:
    if isinstance(got, list | tuple) and len(got) == 2 and got[0] in ("value", "error"):
        return (f"the value {got[1]!r}" if got[0] == "value" else f"{got[1]} raised")[:80]
    return (
        "CircuitOpen raised"
        if isinstance(got, list | tuple) and list(got) == ["refused"]
        else "nothing: it never came back"
    )


class Script:
    """Calls one after the other, and which of them may reach the service by the settings: what the kit's breaker says.
    Times are multiples of a quarter of a second, so that sums and differences are exact."""

    def __init__(self, start_s: float, **settings: Any) -> None:
        self.settings = settings
        self.now_s = start_s
        self.at_s: list[float] = []
        self.met: list[Meeting] = []
        self.wanted: list[bool] = []
        self._guard = Breaker(BreakerSettings(**settings), start_s)
        self._back: list[tuple[float, int]] = []

    def call(self, kind: str = OK, took_s: float = 0.25, times: int = 1) -> Script:
        """A call (``times`` calls), back before the next goes out."""
        for _ in range(times):
            self.late(kind, took_s)
            self.now_s += took_s
        return self

    def calls(self, kinds: Sequence[str | Meeting]) -> Script:
        """A call of each kind, or of each (seconds, kind)."""
        for kind in kinds:
            self.call(*((kind,) if isinstance(kind, str) else kind[::-1]))
        return self

    def late(self, kind: str, took_s: float) -> Script:
        """A call that is still under way when the next goes out."""
        self.now_s += 1
        while self._back and self._back[0][0] <= self.now_s:
            back_s, i = heapq.heappop(self._back)
            latency_s, met = self.met[i]
            self._guard.record(back_s, met == OK, latency_s, None if met == OK else met)
        allowed = self._guard.allow(self.now_s)
        if allowed:
            heapq.heappush(self._back, (self.now_s + took_s, len(self.at_s)))
        self.at_s.append(self.now_s)
        self.met.append((took_s, kind))
        self.wanted.append(allowed)
        return self

    def wait(self, seconds: float) -> Script:
        """Nobody calls for a while."""
        self.now_s += seconds
        return self

    def until_it_tries(self) -> Script:
        """It has just opened: a call at once and one a second before its time are refused; then the time has come."""
        open_s = self.settings["open_s"]
        return self.call().wait(open_s - 4).call().wait(1.5)


def _mixed(rng: np.random.Generator, n: int, *some: tuple[str | Meeting, int]) -> list[str | Meeting]:
    """n calls of which so many are of these kinds; the others are good, among them the first."""
    kinds = [kind for kind, count in some for _ in range(count)]
    kinds += [OK] * (n - 1 - len(kinds))
    return [OK, *(kinds[i] for i in rng.permutation(len(kinds)))]


def _scripts(rng: np.random.Generator) -> Iterator[tuple[Script, str, str, str]]:
    """Short stories, each about one setting: (script, what it is about, the next question, misconception)."""

    def new(**given: Any) -> Script:
        drawn = {
            "window_calls": 16,
            "min_calls": int(rng.choice([5, 6, 7])),
            "failure_rate": 0.625,
            "slow_call_s": float(rng.choice([2.0, 8.0, 12.0])),
            "slow_rate": 0.625,
            "open_s": float(rng.choice([20, 45, 60])),
            "trial_calls": int(rng.choice([2, 4])),
        }
        return Script(float(rng.integers(1_000, 90_000)), **(drawn | given))

    window = int(rng.choice([16, 24]))
    share, other = (float(x) for x in rng.permutation([0.25, 0.375, 0.75])[:2])
    fail = int(share * window)
    story = new(window_calls=window, failure_rate=share, slow_rate=other)
    story.call(times=window + 8).calls(_mixed(rng, window, (SERVER, fail - 1))).call(SERVER).call(times=2)
    yield (
        story,
        f"failure_rate {share:g}: of the last {window} calls {fail} failed, which is that share",
        "Which calls does your share count, and when is it reached?",
        "in_a_row",
    )
    slow_s = float(rng.choice([2.0, 8.0, 12.0]))
    slow, quick = (slow_s, OK), (slow_s - 0.5, OK)
    story = new(window_calls=window, failure_rate=other, slow_call_s=slow_s, slow_rate=share)
    story.calls([quick] * (window + 8)).calls(_mixed(rng, window, (slow, fail - 1))).calls([slow]).call(times=2)
    yield (
        story,
        f"slow_call_s {slow_s:g} and slow_rate {share:g}: of the last {window} calls {fail} took {slow_s:g} s",
        "From how many seconds on is a call slow, and what share of them opens the breaker?",
        "slow_is_fine",
    )
    few, more = sorted((0.25, 0.375), reverse=bool(rng.integers(2)))
    story = new(window_calls=16, failure_rate=few, slow_call_s=slow_s, slow_rate=more)
    mixed = _mixed(rng, 16, (SERVER, int(few * 16) - 1), (slow, int(more * 16) - 1))
    story.call(times=16).calls(mixed).call(SERVER).call(times=2)
    yield (
        story,
        f"failure_rate {few:g} and slow_rate {more:g}: each share is below its limit, until one more call fails",
        "Failed and slow calls have a limit each. What do you compare with which?",
        "one_share",
    )
    story = new()
    story.call(SERVER, times=story.settings["min_calls"]).call(times=2)
    yield (
        story,
        f"min_calls {story.settings['min_calls']}: a new breaker, and every call fails",
        "How many calls must have come back before a share means something? What does a new breaker know of others?",
        "no_minimum",
    )
    story = new()
    story.calls([OK, CLIENT, CLIENT] * 16).calls([SERVER, CLIENT, CLIENT] * 10).call(times=2)
    yield (
        story,
        "wrong requests: two of three calls are, while the service works, and while it fails",
        "What does a ValueError add to your window?",
        "client_errors",
    )
    story = new()
    story.call(SERVER, times=story.settings["min_calls"]).until_it_tries().call()
    yield (
        story,
        f"open_s {story.settings['open_s']:g}: calls are refused until that many seconds have passed since it opened",
        "When did it open, and when may the next call try?",
        "too_patient",
    )
    story = new()
    trials, least = story.settings["trial_calls"], story.settings["min_calls"]
    story.call(SERVER, times=least).until_it_tries().call(times=trials - 1).call(SERVER)
    story.until_it_tries().call(times=trials).call(SERVER, times=least).call(times=2)
    yield (
        story,
        f"trial_calls {trials}: one good trial fewer and a bad one, and it opens again; {trials} good ones, and it starts afresh",
        "How many good trials does it take, and what does the window hold when it closes?",
        "trials_miscounted",
    )
    story = new(slow_call_s=slow_s)
    story.call(SERVER, times=story.settings["min_calls"]).until_it_tries().calls([slow]).call(times=2)
    yield (story, "a trial that is slow is a bad one", "What is a good trial?", "slow_is_fine")
    story = new()
    trials = story.settings["trial_calls"]
    story.call(SERVER, times=story.settings["min_calls"]).until_it_tries()
    story.call(CLIENT, times=trials).call(times=trials - 1).call(SERVER).call(times=2)
    yield (
        story,
        "a trial that is a wrong request counts neither way, and leaves its place to another",
        "What has a wrong request told you about the service?",
        "trial_leak",
    )
    for kind, words in ((SERVER, "fails"), (OK, "is answered, late,")):
        story = new(slow_call_s=400.0, trial_calls=2)
        story.late(kind, story.settings["min_calls"] * 1.25 + story.settings["open_s"] + 4)
        story.call(SERVER, times=story.settings["min_calls"]).until_it_tries().call()
        story.wait(8).call(SERVER if kind == OK else OK).call(times=2)
        yield (
            story,
            f"a call that went out before the breaker opened {words} while it tries again: it counts for nothing",
            "When did that call go out, and what does it say about the service now?",
            "late_answers",
        )


@dataclass(frozen=True)
class Story:
    """What a script has come to: calls, what they meet, and which of them may reach the service."""

    settings: dict[str, Any]
    at_s: list[float]
    met: list[Meeting]
    wanted: list[bool]
    about: str
    ask: str
    misconception: str


def _stories(lab: Lab) -> list[Story]:
    return lab.kept(
        "stories",
        lambda: [
            Story(script.settings, script.at_s, script.met, script.wanted, *words)
            for script, *words in _scripts(lab.rng("settings"))
        ],
    )


@check("a", "every setting means what it says, and every state what the lab says", points=1)
def settings_mean_what_they_say(lab: Lab) -> None:
    """Short scripts, each about one setting, with values other than the defaults. Calls come one at a time (but for one
    that is late), so that the lab's words say of each whether it reaches the service."""
    for story in _stories(lab):
        film = _run(lab, story.settings, Dependency(story.at_s, lambda i, now_s, k, met=story.met: met[i]))
        wrong = np.flatnonzero(film.reached != np.array(story.wanted))
        if not len(wrong):
            continue
        first = int(wrong[0])
        wanted = story.wanted[first]
        shown = range(max(0, first - 9), min(len(story.at_s), first + 3))
        rows = [
            (
                i,
                story.at_s[i] - story.at_s[0],
                story.met[i][1] if film.reached[i] else "-",
                story.met[i][0] if film.reached[i] else None,
                "called" if story.wanted[i] else "refused",
                "called" if film.reached[i] else "refused",
            )
            for i in shown
        ]
        given = ", ".join(f"{name}={value:g}" for name, value in story.settings.items())
        raise CheckFailed(
            f"About {story.about}. Call {first} {'was refused' if wanted else 'reached the service'}; it should have "
            f"{'reached the service' if wanted else 'been refused'}.",
            evidence=Evidence(
                f"calls one after the other, with {given}",
                Table.of(["call", "at, s", "it met", "which took, s", "should be", "was"], rows),
            ),
            ask=story.ask,
            misconception=story.misconception,
        )


@check("a", "while it tries again, only the trial limit is under way", points=0.5)
def trials_are_few(lab: Lab) -> None:
    """The service hangs, four calls a second are wanted, so dozens come while the trials are under way."""
    rng = lab.rng("trials")
    settings = _settings(rng, trial_calls=int(rng.integers(1, 5)))
    at_s = _times(rng, float(rng.integers(1_000, 90_000)), 640, 0.25)
    start_s = at_s[40]
    film = _run(
        lab, settings, Dependency(at_s, lambda i, now_s, k: (0.3, OK) if now_s < start_s else (TIMEOUT_S, TIMED_OUT))
    )
    _expect_good_calls(film, start_s)
    _expect_opened(film, start_s, at_s[-1] + 1, f"The service hung for {at_s[-1] - start_s:.0f} s.")
    # Calls that went out before it opened are still under way for a time-out: only those after that are trials.
    settled_s = film.at_s[np.flatnonzero(~film.reached)[0]] + TIMEOUT_S
    trials = film.at_s[film.reached & (film.at_s >= settled_s)]
    together = count_at(trials, trials + TIMEOUT_S, trials) if len(trials) else np.zeros(1, dtype=int)
    expect(
        together.max() <= settings["trial_calls"],
        f"The breaker may try with {_calls(settings['trial_calls'])}. While the first trial was waiting for its "
        f"answer, {int(together.max())} calls were under way to a service that hangs: every task that came by tried "
        "for itself.",
        evidence=partial(
            film.picture,
            f"{int(together.max())} trials at once, {settings['trial_calls']} allowed",
            [(start_s, at_s[-1])],
        ),
        ask="When is a trial counted: as it goes out, or as it comes back?",
        misconception="all_try",
    )


@check("a", "of 16 threads that arrive at the same moment, only the trial limit gets through", points=1, weaker=True)
def threads_keep_the_limit(lab: Lab) -> None:
    """The threads take turns at every bytecode instruction of the learner's code, in step and in drawn orders, so that a
    gap between check and change shows every time, and a lock closes it every time. Which calls got through is asked
    here, with numbers that are made for this run; that they came at once is the kernel's word."""
    rng = lab.rng("threads")
    for turn in (None, 1, 2):
        settings = _settings(rng, trial_calls=int(rng.integers(2, 5)))
        clock = lab.new("VirtualClock", float(rng.integers(1_000, 90_000)))
        breaker = lab.new("CircuitBreaker", clock, **settings)
        begin = clock.call("now")
        expect(
            isinstance(begin, int | float) and math.isfinite(begin),
            "VirtualClock no longer tells the time: run the setup cell again.",
        )
        down = Dependency([begin + 1 + i for i in range(40)], lambda i, now_s, k: (0.2, SERVER))
        _drive(lab, REPLAY, breaker, clock, down.at_s, lab.callback(down.ask), ["rush"] * 40)
        expect(
            len(down.reached) < 40,
            "40 calls failed one after the other and all of them reached the service: the breaker never opened.",
            misconception="never_opens",
        )
        clock.call("advance", settings["open_s"] + 1)
        nonces = [int(x) for x in rng.integers(1, 2**40, 16)]
        through: list[Any] = []

        def ask(nonce: Any, through: list[Any] = through) -> Any:
            through.append(nonce)
            return nonce

        order = None if turn is None else int(rng.integers(2**31))
        log = _drive(lab, RUSH, breaker, clock, nonces, lab.callback(ask), order)
        log = log if isinstance(log, dict) else {}
        outcomes = log.get("outcomes")
        together = log.get("together")
        expect(
            log.get("stuck") is False and isinstance(outcomes, list) and len(outcomes) == 16 and all(outcomes),
            "16 threads called at the same moment, and not all of them came back: they wait for each other.",
            misconception="lock_held",
        )
        known = len(set(through)) == len(through) and set(through) <= set(nonces)
        expect(known, "A call reached the service more than once.")
        expect(
            len(through) > 0,
            "The time to try again had come; 16 threads called and all of them were refused.",
            misconception="never_half_open",
        )
        expect(
            isinstance(together, int) and 0 < together <= len(through),
            "The calls that got through do not add up with what the kernel says of them.",
        )
        limit = settings["trial_calls"]
        expect(
            together <= limit,
            f"The breaker was due to try again with {_calls(limit)}. 16 threads called at the same moment, and "
            f"{together} of them got through before the first came back. In a pool of slots that is every slot at "
            "once, on a service that just got up.",
            evidence=Evidence(
                "what the 16 callers got",
                Table.of(["caller", "got"], [(i, _words(o)) for i, o in enumerate(outcomes[:16])]),
            ),
            ask="What happens if another thread runs between your check and your change?",
            misconception="race" if together < 16 or turn is None else "all_try",
        )


# -- task b: the policy ---------------------------------------------------------------------------------------------------

SETTINGS = {  # name: least, most, must be whole
    "window_calls": (1, 1000, True),
    "min_calls": (1, 1000, True),
    "failure_rate": (0.01, 1, False),
    "slow_call_s": (0.001, 86_400, False),
    "slow_rate": (0.01, 1, False),
    "open_s": (0.1, 86_400, False),
    "trial_calls": (1, 100, True),
}
FALLBACKS = ("defer", "fail", "stale")
TIMES_SLOWER = 25.0
LAST_REFUSAL_S = 600.0
COST_SHARE = 1 / 3


def read_policy(lab: Lab) -> tuple[dict[str, dict[str, float]], dict[str, str]]:
    """The learner's policy, checked: settings by service, fallback by dag_id."""
    callers = lab.world.sql("select dag_id, service_name from ops.tasks where service_name is not null order by dag_id")
    services = sorted(set(callers.column("service_name")))
    policy = lab.call("policy", lab.con)
    expect(
        isinstance(policy, dict) and "breakers" in policy and "fallbacks" in policy,
        "policy(con) should return a dict with two entries, “breakers” and “fallbacks”; this is "
        + (
            f"a dict with {', '.join(map(str, list(policy)[:5])) or 'nothing'}."
            if isinstance(policy, dict)
            else f"a {type(policy).__name__}."
        ),
    )
    raw = policy["breakers"]
    if isinstance(raw, dict) and raw and all(isinstance(v, dict) for v in raw.values()):
        raw = [{"service_name": name, **{str(k): x for k, x in row.items()}} for name, row in raw.items()]
    table = as_table(raw, "breakers", ["service_name", *SETTINGS])
    breakers: dict[str, dict[str, float]] = {}
    for name, *values in table:
        expect(
            isinstance(name, str) and name in services,
            f"breakers: {str(name)[:60]!r} is not one of the services {', '.join(services)}.",
        )
        expect(name not in breakers, f"breakers: {name} is there twice.")
        breakers[name] = dict(
            zip(SETTINGS, [_number(name, s, v) for s, v in zip(SETTINGS, values, strict=True)], strict=True)
        )
        expect(
            breakers[name]["min_calls"] <= breakers[name]["window_calls"],
            f"breakers: {name} has min_calls {breakers[name]['min_calls']} and window_calls "
            f"{breakers[name]['window_calls']}: the window never holds enough calls, so the breaker never opens.",
            misconception="never_opens",
        )
    missing = [s for s in services if s not in breakers]
    expect(not missing, f"breakers: no settings for {', '.join(missing)}. Every dependency needs its own.")

    raw = policy["fallbacks"]
    if isinstance(raw, dict) and raw and all(isinstance(v, str) for v in raw.values()):
        raw = [{"dag_id": k, "fallback": v} for k, v in raw.items()]
    fallbacks: dict[str, str] = {}
    known = set(callers.column("dag_id"))
    for dag_id, what in as_table(raw, "fallbacks", ["dag_id", "fallback"]):
        expect(
            isinstance(dag_id, str) and dag_id in known,
            f"fallbacks: {str(dag_id)[:60]!r} is not the dag_id of a caller.",
        )
        expect(
            isinstance(what, str) and what in FALLBACKS,
            f"fallbacks: {dag_id} has {str(what)[:60]!r}; it is one of {', '.join(FALLBACKS)}.",
        )
        expect(dag_id not in fallbacks, f"fallbacks: {dag_id} is there twice.")
        fallbacks[dag_id] = what
    missing = sorted(known - set(fallbacks))
    expect(
        not missing,
        f"fallbacks: {len(missing)} of {len(known)} callers have none "
        f"({', '.join(missing[:5])}{' ...' if len(missing) > 5 else ''}). A caller without a fallback finds out what "
        "it does during the outage.",
    )
    return breakers, fallbacks


def _number(service: str, setting: str, value: Any) -> float:
    least, most, whole = SETTINGS[setting]
    number = as_number(value)
    expect(
        number is not None and least <= number <= most and (not whole or number == int(number)),
        f"breakers: {setting} of {service} is {str(value)[:40]}; it must be a {'whole ' if whole else ''}number from "
        f"{least:g} to {most:g}" + (" (a share, not a percentage)." if most == 1 else "."),
    )
    return int(number) if whole else number


def read_cluster(lab: Lab) -> tuple[int, list[dict[str, Any]], list[dict[str, Any]]]:
    """Slots, DAGs and services of the shared pool as the simulation takes them."""
    return lab.kept("shared pool", lambda: _cluster(lab))


def _cluster(lab: Lab) -> tuple[int, list[dict[str, Any]], list[dict[str, Any]]]:
    slots = int(lab.world.sql("select slots from ops.pools where pool = 'shared'").value())
    dags = lab.world.sql(
        """
        with
        took as (
          select task_id, median(epoch(ended_at - started_at)) as s
          from ops.task_runs
          where pool = 'shared' and ended_at is not null
          group by task_id
        ),
        called as (
          select task_id, sum(latency_ms) / 1000.0 / count(distinct task_run_id) as s
          from ops.service_calls
          group by task_id
        )
        select
          d.dag_id, any_value(d.schedule_cron) as cron, any_value(d.criticality) as criticality,
          any_value(d.deadline_minutes) * 60::double as deadline_s,
          sum(greatest(5, took.s - coalesce(called.s, 0)))::double as work_s,
          coalesce(max(t.service_name), '') as service_name, coalesce(max(t.calls_per_run), 0) as n_calls,
          max(t.max_stale_minutes) * 60::double as max_stale_s
        from ops.dags d
        join ops.tasks t using (dag_id)
        join took using (task_id)
        left join called using (task_id)
        group by d.dag_id
        order by d.dag_id
        """
    ).dicts()
    rng = lab.rng("offsets")
    for dag in dags:
        minute, hour, *_ = dag.pop("cron").split()
        dag["every_s"] = 900.0 if minute == "*/15" else 3600.0 if hour == "*" else None
        # What runs once a day runs within the hours that are simulated.
        dag["offset_s"] = (
            60.0 * int(minute)
            if dag["every_s"] == 3600
            else 0.0
            if dag["every_s"]
            else 900.0 * int(rng.integers(0, 32))
        )
    services = lab.world.sql(
        "select service_name, median_ms / 1000 as median_s, sigma, error_rate, timeout_s::double as timeout_s "
        "from truth.service_profiles join ops.services using (service_name) order by service_name"
    ).dicts()
    return slots, dags, services


def _day(rng: np.random.Generator, parts: Sequence[tuple[str, Sequence[str]]]) -> dict[str, Any]:
    """A day of eight hours: for each service, phases one after the other, from the first hour or so on."""
    phases = []
    minutes = {"slow": (50, 80), "hangs": (75, 120), "refuses": (60, 95), "flaps": (40, 65)}
    for service, kinds in parts:
        t = 3600 * float(rng.uniform(0.6, 1.4))
        for kind in kinds:
            end = t + 60 * float(rng.uniform(*minutes[kind]))
            if kind == "slow":
                phases.append([service, t, end, "slow", 0.0, float(rng.uniform(130, 200))])
            elif kind == "hangs":
                phases.append([service, t, end, "down", 1.0, None])
            elif kind == "refuses":
                phases.append([service, t, end, "down", 1.0, 1.0])
            else:
                phases += [
                    [service, p.start_s, p.end_s, "flapping", 1.0, 1.0]
                    for p in flapping(t, end, float(rng.uniform(400, 600)))
                ]
            t = end
    return {"seed": int(rng.integers(2**62)), "phases": phases}


def draw_service_days(lab: Lab, services: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    rng = lab.rng("days")
    one, two = (
        str(s) for s in rng.permutation([s["service_name"] for s in services if s["service_name"] != "geocoding"])[:2]
    )
    return [
        _day(rng, [("geocoding", ("slow", "hangs"))]),
        _day(rng, [("geocoding", ("hangs", "flaps")), (one, ("slow",))]),
        _day(rng, [("geocoding", ("slow", "refuses")), (two, ("hangs",))]),
    ]


def _reference(lab: Lab) -> tuple[dict, dict]:
    """What one knows from the world alone, before the days come."""
    return lab.kept("reference", lambda: _known_before(*read_cluster(lab)[1:]))


def _known_before(dags: Sequence[dict[str, Any]], services: Sequence[dict[str, Any]]) -> tuple[dict, dict]:
    """By usual latencies, deadlines, ages allowed, and that an outage lasts one to four hours."""
    breakers = {
        s["service_name"]: {
            "window_calls": 12,
            "min_calls": 6,
            "failure_rate": 0.5,
            "slow_call_s": 8 * s["median_s"],
            "slow_rate": 0.5,
            "open_s": 60.0,
            "trial_calls": 2,
        }
        for s in services
    }
    fallbacks = {}
    for dag in dags:
        if dag["service_name"]:
            in_time = dag["deadline_s"] >= 4 * 3600 or COSTS_USD["late"][dag["criticality"]] < COSTS_USD["failed"]
            stale = (dag["max_stale_s"] or 0) >= 4 * 3600
            fallbacks[dag["dag_id"]] = "stale" if stale else "defer" if in_time else "fail"
    return breakers, fallbacks


def run_service_days(
    lab: Lab, policy: tuple[dict, dict], days: Sequence[dict[str, Any]], cluster: tuple[int, list, list]
) -> list[dict[str, Any]]:
    """The days under a policy. The same world, days and policy give the same, so it is made once: two checks ask for it."""

    def make() -> list[dict[str, Any]]:
        slots, dags, services = cluster
        calm = [s | {"error_rate": 0.0} for s in services]  # errors of a healthy day are what retries are for (3.1)
        return lab.judge("workshop.sim.degradation:run_days", list(days), slots, dags, calm, *policy)

    return lab.cached(f"{days!r} under {policy!r}", make)


def todays_policy(dags: Sequence[dict[str, Any]]) -> tuple[dict, dict]:
    """Kestrel before: no breaker, everybody waits for the time-out and goes on with what there is."""
    return {}, {dag["dag_id"]: "stale" for dag in dags if dag["service_name"]}


@check("b", "each breaker stays closed when all is well, opens on slow answers, and closes again", points=1)
def settings_fit_each_service(lab: Lab) -> None:
    """Busy hours of each service through the kit's breaker with the learner's settings, at the latencies that this world
    was made with: one healthy (answers twice as slow for a quarter of it), 40 minutes 25 times as slow, one healthy."""
    breakers, _ = read_policy(lab)
    _, _, services = read_cluster(lab)
    seed = int(lab.rng("probe").integers(2**62))
    rows = lab.judge("workshop.sim.degradation:probe_breakers", services, breakers, seed, TIMES_SLOWER)
    usual = {s["service_name"]: s["median_s"] for s in services}
    shown = Table.of(
        ["service", "usual median, s", "your slow_call_s", "refused while well", "refused while slow", "last refusal after, s"],
        [
            (
                r["service_name"], round(usual[r["service_name"]], 2), breakers[r["service_name"]]["slow_call_s"],
                f"{r['refused_healthy']:.1%}", f"{r['refused_slow']:.1%}", round(r["back_after_s"]),
            )
            for r in rows
        ],
    )  # fmt: skip
    evidence = Evidence("busy hours of each service", shown)
    for r in rows:
        name = r["service_name"]
        slow_s = breakers[name]["slow_call_s"]
        what = f"{name} usually answers in {usual[name]:.2g} s, and your slow_call_s for it is {slow_s:g} s."
        expect(
            r["refused_healthy"] <= 0.005,
            f"{what} In an hour in which it was healthy your breaker refused {r['refused_healthy']:.1%} of the calls "
            "(0.5% allowed).",
            evidence=evidence,
            ask="What is the latency of this service on a day without trouble?",
            misconception="one_for_all",
        )
        expect(
            r["refused_slow"] >= 0.8,
            f"{what} In 40 minutes in which its answers took {TIMES_SLOWER:g} times as long as usual, your breaker "
            f"refused {r['refused_slow']:.1%} of the calls; 80% is the least.",
            evidence=evidence,
            ask="Which of your numbers decides that a call was slow, and where does it come from?",
            misconception="slow_is_fine",
        )
        expect(
            r["back_after_s"] <= LAST_REFUSAL_S,
            f"{name} was well again, and your breaker still refused calls {r['back_after_s']:.0f} s later "
            f"({LAST_REFUSAL_S:.0f} s allowed; your open_s is {breakers[name]['open_s']:g} s).",
            evidence=evidence,
            misconception="too_cautious",
        )


@check("b", "DAGs that do not call the service are not late because of it", points=0.5)
def neighbours_are_unharmed(lab: Lab) -> None:
    """The shared pool, simulated slot by slot on four days on which geocoding, which most callers need, hangs for an hour or
    two. It is about the breakers, so every caller goes on with an old answer: then nothing but waiting holds a slot."""
    breakers, fallbacks = read_policy(lab)
    cluster = read_cluster(lab)
    rng = lab.rng("neighbours")
    days = [_day(rng, [("geocoding", ("hangs",))]) for _ in range(4)]
    goes_on = dict.fromkeys(fallbacks, "stale")
    calm = run_service_days(lab, (breakers, goes_on), [d | {"phases": []} for d in days], cluster)
    mine = run_service_days(lab, (breakers, goes_on), days, cluster)
    usual, late, runs = (
        sum(d[k] for d in x)
        for x, k in ((calm, "late_neighbours"), (mine, "late_neighbours"), (mine, "neighbour_runs"))
    )
    expect(
        late <= usual + 2,
        f"On four days on which geocoding hangs for a while, {late} of {runs} runs of DAGs that call no service at all "
        f"were late; on the same days without an outage it is {usual}. Callers that wait for a service hold the slots "
        "of the shared pool meanwhile.",
        evidence=Evidence(
            "late runs of DAGs that call no service",
            Table.of(
                ["day", "late", "late without the outage"],
                [
                    (i + 1, m["late_neighbours"], c["late_neighbours"])
                    for i, (m, c) in enumerate(zip(mine, calm, strict=True))
                ],
            ),
        ),
        ask="How long does a caller hold its slot before your breaker opens?",
        misconception="slow_is_fine",
    )


@check("b", "an old answer is used only by callers that may use one of that age", points=0.5)
def old_answers_are_allowed(lab: Lab) -> None:
    """On the same days, with the best policy's breakers. A service that failed before it gave its first answer has none to
    offer: what even the best policy cannot avoid is free, and five more."""
    _, fallbacks = read_policy(lab)
    cluster = read_cluster(lab)
    days = draw_service_days(lab, cluster[2])
    reference = _reference(lab)
    best, mine = (run_service_days(lab, p, days, cluster) for p in (reference, (reference[0], fallbacks)))
    used, free = (sum(row["too_stale"] for day in x for row in day["callers"]) for x in (mine, best))
    expect(
        used <= free + 5,
        f"On three days with an outage, callers used {used} answers that were older than they may be, or where none "
        "but a fresh one will do. A route to last year's address looks as good in a table as one to this year's.",
        evidence=Evidence("callers that cost you most, next to the best", _dearest(mine, best, fallbacks, cluster[1])),
        ask="How old is the last good answer towards the end of an outage?",
        misconception="too_old",
    )


@check("b", "the outage costs little more than under the best policy", points=1)
def outage_costs_little(lab: Lab) -> None:
    """Cost at the prices of the lab, on the same three days. Best: a rule that knows only this world's tables; naive: the
    cheapest fallback that is the same for every caller. A third of the way from best to naive is allowed. All three with
    the same breakers: a breaker that opens a minute later may make three runs of a critical DAG late, a matter of luck."""
    _, fallbacks = read_policy(lab)
    cluster = read_cluster(lab)
    days = draw_service_days(lab, cluster[2])
    reference = _reference(lab)
    best, mine = (run_service_days(lab, p, days, cluster) for p in (reference, (reference[0], fallbacks)))
    alike = [run_service_days(lab, (reference[0], dict.fromkeys(reference[1], f)), days, cluster) for f in FALLBACKS]
    naive = min(alike, key=_total)
    least, yours, most = map(_total, (best, mine, naive))
    share = (yours - least) / max(most - least, 1.0)
    kinds = list(mine[0]["costs"])
    bill = Table.of(
        ["cost, USD", "yours", "best", "same for all"],
        [(kind, *(round(sum(d["costs"][kind] for d in x)) for x in (mine, best, naive))) for kind in kinds],
    )
    expect(
        share <= COST_SHARE,
        f"Three days with an outage cost {yours:,.0f} USD with your fallbacks, {least:,.0f} with the best, and "
        f"{most:,.0f} if every caller has the same ({FALLBACKS[alike.index(naive)]}): yours is {share:.0%} of the way "
        f"from best to that, {COST_SHARE:.0%} is allowed.",
        evidence=[
            Evidence("the bill of three days", bill),
            Evidence("callers that cost you most, next to the best", _dearest(mine, best, fallbacks, cluster[1])),
        ],
        ask="Take the first caller of the list: how old an answer may it use, and how far away is its deadline?",
        misconception="wrong_fallback",
    )


def _total(days: Sequence[dict[str, Any]]) -> float:
    return sum(day["cost_usd"] for day in days)


def _dearest(mine: list, best: list, fallbacks: dict[str, str], dags: Sequence[dict[str, Any]]) -> Table:
    about = {d["dag_id"]: d for d in dags}
    cost: dict[str, list[float]] = {}
    for k, result in enumerate((mine, best)):
        for day in result:
            for row in day["callers"]:
                cost.setdefault(row["dag_id"], [0.0, 0.0])[k] += row["cost_usd"]
    order = sorted(cost, key=lambda d: cost[d][1] - cost[d][0])[:6]
    minutes = {d: (None if about[d]["max_stale_s"] is None else round(about[d]["max_stale_s"] / 60)) for d in order}
    return Table.of(
        ["dag_id", "service", "criticality", "deadline, min", "may be stale, min", "your fallback", "yours, USD", "best, USD"],
        [
            (
                d, about[d]["service_name"], about[d]["criticality"], round(about[d]["deadline_s"] / 60), minutes[d],
                fallbacks[d], round(cost[d][0]), round(cost[d][1]),
            )
            for d in order
        ],
    )  # fmt: skip


def twelve_weeks_later(lab: Lab) -> Any:
    """Twelve weeks with an outage each, under the learner's policy and without a breaker."""
    from workshop.plots import BLUE, GREY, RED, plt

    policy = read_policy(lab)
    cluster = read_cluster(lab)
    rng = lab.rng("weeks")
    names = [s["service_name"] for s in cluster[2]]
    days = []
    for _ in range(12):
        service = "geocoding" if rng.random() < 0.5 else str(rng.choice(names))
        days.append(
            _day(rng, [(service, [("slow", "hangs"), ("hangs", "flaps"), ("slow", "refuses")][int(rng.integers(3))])])
        )
    mine, naive = (run_service_days(lab, p, days, cluster) for p in (policy, todays_policy(cluster[1])))
    figure, (cost, late) = plt.subplots(1, 2, figsize=(8.6, 3.2))
    weeks = np.arange(1, 13)
    for result, colour, name in ((naive, RED, "no breaker"), (mine, BLUE, "your policy")):
        cost.plot(weeks, np.cumsum([d["cost_usd"] for d in result]) / 1000, "o-", ms=3, color=colour, label=name)
    cost.set(xlabel="week", ylabel="cost so far, thousand USD")
    saved = sum(n["cost_usd"] - m["cost_usd"] for n, m in zip(naive, mine, strict=True))
    cost.set_title(f"Twelve outages: {saved:,.0f} USD {'saved' if saved >= 0 else 'more'}")
    cost.legend()
    late.bar(weeks - 0.2, [d["late_neighbours"] for d in naive], 0.4, color=RED)
    late.bar(weeks + 0.2, [d["late_neighbours"] for d in mine], 0.4, color=BLUE)
    late.set(xlabel="week", ylabel="late runs of DAGs without a call")
    late.set_title("Neighbours that were late")
    late.axhline(0, color=GREY, lw=0.8)
    plt.close(figure)  # the notebook shows what is returned, and would show an open figure a second time
    return figure
