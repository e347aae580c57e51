"""What lab 3.8 judges.

Task a. The learner's rotator runs in the learner's kernel, the estate (vault, callers, log, owners, store) does not: each
step of the rotator is a question to the check (`Estate.ask`), which alone knows what came of it. Crashes are the estate's:
it dies before or after an effect, and answers nothing until the check has started a new rotator.

Task b. The policy comes out as data and is priced with the kit's simulation on this world's true lags and leaks.
"""

from __future__ import annotations

import base64
import math
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from workshop.checks import CheckFailed, Evidence, LearnerError, NotAttempted, as_number, as_table, check, expect
from workshop.sim.credentials import (
    ACCOUNTS,
    AT_BOUND,
    CLASSES,
    DAY_S,
    HOUR_S,
    PERIOD_DAYS,
    TELL,
    Caller,
    Estate,
    Order,
    simulate_rules,
)
from workshop.table import Table
from workshop.trusted import Lab

SUBJECTS = ("credentials",)

HINTS = {
    "a": (
        "Do not keep a list of steps done in the object: it is lost. Ask instead what is true now. Which versions are "
        "valid, which one is delivered, and which version did each caller use last?",
        "One method for all accounts with work under way: if the newest version is not delivered, deliver it once it "
        "works; if no caller needs an older one, revoke it; if the bound is reached, escalate who does. `rotate`, "
        "`leaked` and `tick` all end in it.",
        "Name each request after its cause (the rotation's id; the leaked version), so that asking twice gives one "
        "version. Once a leaked version is revoked, a rerun cannot tell whether you did it: put down in the store who is "
        "to be told before you revoke, or tell them first.",
    ),
    "b": (
        "Three questions a class, each with a table: how often does a version leak (leaks and account-years)? How "
        "long do callers lag (first call with a version, minus its delivery)? What does a rotation cost next to a day "
        "of exposure?",
        "A leak that nobody reports lasts half a period on average, plus the overlap. Rotation costs fall with the "
        "period, exposure grows with it: the sum is least near sqrt(2 x rotation / (leaks a day x exposed_day)).",
        "The bound: nearly all callers should have moved by then by themselves, so some 95th percentile of the lag of "
        "that class. Put your estimates into `simulate_policy` and compare a few periods and bounds for each class.",
    ),
}
MISCONCEPTIONS = {
    "revoked_blind": "The calendar does not know who still calls with the old version; the log does. A caller's latest call that "
    "was accepted says which version it needs.",
    "too_early": "A new version does not work everywhere at once. `vault.works` says when it may be delivered.",
    "overlap_for_ever": "A version that nobody needs is only good for whoever steals it. When the log shows that all have moved, "
    "revoke it.",
    "busy_is_refused": "Status 503 says that the API was busy: the credential was accepted, and the caller used that "
    "version. Only 401 is a refusal.",
    "stuck_counts": "A caller whose calls are refused anyway does not need the old version: status 401 is no use of it.",
    "retired_counts": "A retired caller never calls again, so the log alone will keep it on the old version. "
    "Its owner can say so: "
    "escalate at the bound, and read `desk.retired`.",
    "silent_bound": "At the bound somebody has to be asked: escalate each caller that still needs the old version, and keep the "
    "version until then.",
    "asked_too_many": "Only callers whose latest accepted call used the old version are in the way, and only from the bound on.",
    "leak_waits": "A leaked version is not rotated out, it is cut off: whoever found it can use it as long as any laggard can.",
    "tells_everybody": "Who is told of every leak soon reads none of it. Affected are callers whose latest "
    "accepted call used the "
    "leaked version.",
    "nobody_told": "A caller that is refused and not told stays down until it happens to read anew.",
    "two_issues": "The vault answered, the machine died, and the rerun asked under another name. Derive "
    "request_id from what caused "
    "the request, not from a random number, a counter or the time.",
    "memory_only": "What is kept in the object is gone after a crash. Keep it in the store, or derive it from vault and log.",
    "noted_too_soon": "What is noted as done before it is done is lost when the machine dies in between. Do it "
    "first (it does no harm "
    "twice), then note it.",
    "secret_out": "A version number says all that a log line or a note needs. The secret goes from the vault to the caller and "
    "nowhere else: of what `issue` returns, keep `version`.",
    "cut_off": "To revoke at the bound moves the work to whoever is on duty when calls fail. Escalate.",
    "kept": "To keep the old version until the last laggard moves by itself means to keep it for ever.",
    "one_shared": "With one shared account nobody can say who still uses the old version, and a leak of it stops everybody.",
    "same_for_all": "Classes differ by more than ten times in what a rotation costs and how long callers lag: "
    "one period for all is "
    "too slow for some and too dear for others.",
}


# -- task a: the estates ----------------------------------------------------------------------------------------------------


@dataclass
class Ran:
    """An estate after a rotator has worked on it."""

    estate: Estate
    overlap_s: float
    crashes: int


def _run(lab: Lab, estate: Estate, overlap_s: float) -> Ran:
    """Has the learner's rotator carry out all orders; a new one after each crash."""
    ask = lab.callback(estate.ask)
    crashes = 0
    while True:
        platform = lab.new("Platform", ask)
        rotator = lab.new("Rotator", platform, overlap_s)
        try:
            lab.drive("workshop.sim.credentials:operate", rotator, platform, ask)
            return Ran(estate, overlap_s, crashes)
        except LearnerError as error:
            if estate.crashed_at is None or crashes >= 1 or error.error_type not in ("Crash", "RuntimeError"):
                raise LearnerError(
                    error.message.replace("`operate`", "`Rotator`"),
                    error_type=error.error_type,
                    error_message=error.error_message,
                    evidence=error.evidence,
                ) from error
            crashes += 1
            estate.restart()


def _callers(rng: np.random.Generator, account: str, n: int, read_days: tuple[float, float], every_h: tuple[float, float],
             name: str = "") -> list[Caller]:  # fmt: skip
    """n callers that read for the first time some time after time 0, and from then on as often."""
    found = []
    for k in range(n):
        read = DAY_S * float(rng.uniform(*read_days))
        found.append(
            Caller(
                f"P{int(rng.integers(100, 400)):04d}/{name}{k + 1}",
                account,
                every_s=HOUR_S * float(rng.uniform(*every_h)),
                first_call_s=HOUR_S * float(rng.uniform(0, 6)),
                read_every_s=read,
                first_read_s=read * float(rng.uniform(0.3, 1.0)),
                answers_after_s=DAY_S * float(rng.uniform(0.7, 1.8)),
            )
        )
    return found


def _variant(caller: Caller, suffix: str, **changes: Any) -> Caller:
    return replace(caller, caller_id=f"{caller.caller_id}{suffix}", **changes)


def _quarter(lab: Lab) -> Ran:
    """Five weeks with planned rotations of four accounts: an ordinary one (twice), one with two laggards of which one is always
    answered 503, one with a retired and a stuck caller (twice), one with a caller that calls once a week."""

    def make() -> Ran:
        rng = lab.rng("quarter")
        base = 100 * int(rng.integers(1, 9))
        plain, lazy, gone, slow = (f"SA{base + k}" for k in rng.permutation(range(11, 60))[:4])
        callers = _callers(rng, plain, 3, (0.5, 2.5), (4, 9))
        # Reads and calls within four hours of a delivery, and no version works before five.
        quick = _callers(rng, plain, 1, (1, 2), (6, 12))[0]
        callers.append(_variant(quick, "-quick", every_s=3 * HOUR_S, read_every_s=HOUR_S, first_read_s=0.0))
        callers += _callers(rng, lazy, 2, (0.5, 3.0), (5, 10))
        callers.append(_variant(_callers(rng, lazy, 1, (1, 2), (6, 12))[0], "-lazy", read_every_s=None))
        # A second laggard calls at the busiest minute of the day: accepted each time, and answered 503.
        callers.append(_variant(_callers(rng, lazy, 1, (1, 2), (6, 12))[0], "-busy", read_every_s=None, busy=True))
        callers += _callers(rng, gone, 2, (0.5, 3.0), (5, 10))
        callers.append(
            _variant(_callers(rng, gone, 1, (1, 2), (6, 12))[0], "-gone", last_s=-DAY_S * float(rng.uniform(3, 12)))
        )
        callers.append(_variant(_callers(rng, gone, 1, (1, 2), (6, 12))[0], "-stuck", stuck_on=1))
        callers += _callers(
            rng, slow, 2, (0.3, 0.6), (4, 6)
        )  # these have moved, and all is quiet, before the weekly one calls
        weekly = float(rng.uniform(4.5, 6.5))
        callers.append(
            _variant(
                _callers(rng, slow, 1, (1, 2), (6, 12))[0],
                "-weekly",
                every_s=weekly * DAY_S,
                first_call_s=DAY_S * float(rng.uniform(3.5, 4.2)),
                read_every_s=DAY_S * 5,  # its next call but one is the first with the new version
                first_read_s=DAY_S * 5,
            )
        )
        versions = {a: (int(rng.integers(2, 5)), HOUR_S * float(rng.uniform(5, 12))) for a in (plain, lazy, gone, slow)}
        orders = [
            Order(DAY_S * float(rng.uniform(0.1, 0.4 if a == slow else 1.5)), "rotate", (a, f"{a}-2026-Q3"))
            for a in (plain, lazy, gone, slow)
        ]
        orders += [Order(DAY_S * float(rng.uniform(20, 22)), "rotate", (a, f"{a}-2026-Q4")) for a in (plain, gone)]
        overlap_s = DAY_S * float(rng.integers(8, 11))
        estate = Estate(f"quarter/{rng.integers(2**62)}", versions, callers, orders, 36 * DAY_S)
        return _run(lab, estate, overlap_s)

    return lab.once("quarter", make)


def _days(seconds: float) -> str:
    return f"day {seconds / DAY_S:.1f}"


def _diary(estate: Estate, account: str) -> Evidence:
    """What the rotator did to one account."""
    rows = [
        (_days(at), what, ", ".join(str(a)[:60] for a in args[1:]))
        for at, what, args in estate.effects
        if what != "store.put" and args and args[0] == account
    ]
    return Evidence(f"what your rotator did to {account}", Table.of(["when", "call", "arguments"], rows[:25]))


def _picture(estate: Estate, account: str, title: str) -> Evidence:
    """Calls of an account by caller and version, with the refused ones, and when versions were valid."""
    from workshop.plots import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, plt, png

    rows = [r for r in estate.calls(account) if r[0] >= -2 * DAY_S]
    names = sorted({r[1] for r in rows})
    numbers = sorted({r[2] for r in rows})
    palette = [BLUE, ORANGE, GREEN, PURPLE, GREY]
    colours = {n: palette[i % 5] for i, n in enumerate(numbers)}
    figure, ax = plt.subplots(figsize=(7.2, 0.9 + 0.45 * len(names)))
    for number in numbers:
        mine = [r for r in rows if r[2] == number and r[3] != 401]
        ax.plot([r[0] / DAY_S for r in mine], [names.index(r[1]) for r in mine], "|", ms=9, color=colours[number],
                label=f"version {number}")  # fmt: skip
    refused = [r for r in rows if r[3] == 401]
    ax.plot(
        [r[0] / DAY_S for r in refused], [names.index(r[1]) for r in refused], "x", ms=5, color=RED, label="refused"
    )
    for version in estate.versions[account]:
        if version.revoked_at_s is not None and version.revoked_at_s >= 0:
            ax.axvline(version.revoked_at_s / DAY_S, color=RED, lw=0.8, ls="--")
    ax.set_yticks(range(len(names)), names)
    ax.set_xlabel("days (dashed: a version is revoked)")
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    ax.set_title(title)
    return Evidence("calls by caller and version", png=png(figure))


def _expect_new_versions(ran: Ran) -> None:
    """Each rotation that was ordered issued something, or nothing else is worth saying."""
    estate = ran.estate
    for at_s, order in estate.order_ends:
        if order.method == "rotate":
            account = order.args[0]
            made = [v for v in estate.versions[account] if v.issued_at_s >= 0]
            expect(
                made and any(v.delivered_at_s is not None for v in made),
                f"`rotate({account!r}, ...)` was called on {_days(at_s)}, and five weeks later no new version of "
                f"{account} has been " + ("delivered." if made else "issued."),
                evidence=_diary(estate, account),
            )


# -- task a: checks ---------------------------------------------------------------------------------------------------------


@check("a", "no call fails because of a planned rotation", points=1.5)
def rotations_lose_no_call(lab: Lab) -> str:
    """Six rotations of four accounts over five weeks. A refused call counts if its version was revoked in a planned rotation or
    did not work yet; stuck callers are refused anyway and do not count."""
    ran = _quarter(lab)
    estate = ran.estate
    _expect_new_versions(ran)
    lost = estate.lost_calls()
    if lost:
        first = lost[0]
        account, caller, number = first["account_id"], first["caller_id"], first["version"]
        version = estate.versions[account][number - 1]
        busy = next(c.busy for c in estate.callers if (c.account_id, c.caller_id) == (account, caller))
        who = f"{len(lost)} call{'s' * (len(lost) != 1)} of {len({r['caller_id'] for r in lost})} caller(s) failed"
        if first["why"] == "not yet working":
            said = (
                f"{who}. {caller} called with version {number} of {account} on {_days(first['at_s'])}; you had "
                f"delivered it, and it did not work before {_days(version.works_at_s)}."
            )
        else:
            said = (
                f"{who}. You revoked version {number} of {account} on {_days(version.revoked_at_s)}; {caller} still "
                f"called with it on {_days(first['at_s'])}, and had used no newer one by then. "
                + ("Its calls before that have status 503: busy, but accepted. " if busy else "")
                + "A pipeline that is refused at night wakes its owner, for a change that nobody told them of."
            )
        raise CheckFailed(
            said,
            evidence=[_picture(estate, account, "Calls were refused because of a rotation"), _diary(estate, account)],
            ask="What did the log say of this caller when you revoked?"
            if first["why"] == "revoked"
            else "What does `vault.works` say?",
            misconception="too_early" if first["why"] != "revoked" else "busy_is_refused" if busy else "revoked_blind",
        )
    calls = sum(r[0] >= 0 for account in estate.versions for r in estate.calls(account))
    return (
        f"{calls:,} calls of {len(estate.callers)} callers in {estate.now() / DAY_S:.0f} days, {len(_rotations(ran))} planned "
        "rotations: none was refused because of them."
    )


@dataclass(frozen=True)
class Rotation:
    """One planned rotation as it went: from the issue of a version to that of the next, or the end."""

    account: str
    version: Any
    old: Any
    until_s: float
    bound_s: float


def _rotations(ran: Ran) -> list[Rotation]:
    found = []
    for account, versions in ran.estate.versions.items():
        made = [v for v in versions if v.issued_at_s >= 0]
        ends = [*(v.issued_at_s for v in made[1:]), ran.estate.now()]
        for version, end_s in zip(made, ends, strict=True):
            old = versions[version.number - 2]
            found.append(Rotation(account, version, old, end_s, version.issued_at_s + ran.overlap_s))
    return found


def _needs(ran: Ran, rotation: Rotation, at_s: float) -> set[str]:
    """Callers that need the old version at a time, by the log and the owners' answers."""
    used = ran.estate.last_used(rotation.account, at_s)
    return {c for c, n in used.items() if n == rotation.old.number} - set(ran.estate.retired(rotation.account, at_s))


@check("a", "the overlap ends on evidence, and what is in its way at the bound is escalated", points=1)
def overlap_ends(lab: Lab) -> str:
    """The same six rotations. Whoever needs the old version at the first two ticks after the bound is to be escalated at one of
    them; nobody else, and nobody earlier; the old version is to be gone 12 hours after nobody needs it."""
    ran = _quarter(lab)
    estate = ran.estate
    _expect_new_versions(ran)
    rotations = _rotations(ran)
    for rotation in rotations:
        account, version, old, bound_s = rotation.account, rotation.version, rotation.old, rotation.bound_s
        diary = _diary(estate, account)
        asked = [(t, c) for t, a, c in estate.escalated if a == account and version.issued_at_s <= t < rotation.until_s]
        for at_s, caller in asked:
            if at_s < bound_s:
                raise CheckFailed(
                    f"{caller} was escalated on {_days(at_s)}, and the bound of {account} was {_days(bound_s)}: until "
                    "then a caller may move by itself, as nearly all do.",
                    evidence=diary,
                    misconception="asked_too_many",
                )
            if caller not in _needs(ran, rotation, at_s):
                raise CheckFailed(
                    f"{caller} was escalated on {_days(at_s)}, though it did not need version {old.number} of {account} then.",
                    evidence=[_picture(estate, account, "An owner was asked for nothing"), diary],
                    misconception="asked_too_many",
                )
        again = [c for c, n in Counter(c for _, c in asked).items() if n > 1]
        expect(
            not again,
            f"The owner of {', '.join(again)} was asked more than once for one rotation of {account}: who is asked "
            "every four hours soon reads none of it.",
            evidence=diary,
            misconception="asked_too_many",
        )
        free_s = _free_s(ran, rotation)
        if bound_s + 12 * HOUR_S < rotation.until_s and not (
            old.revoked_at_s is not None and old.revoked_at_s <= bound_s + 8 * HOUR_S
        ):
            in_the_way = _needs(ran, rotation, bound_s) & _needs(ran, rotation, bound_s + 9 * HOUR_S)
            silent = sorted(in_the_way - {c for t, c in asked if t <= bound_s + 8 * HOUR_S + 600})
            if silent:
                raise CheckFailed(
                    f"The bound of {account} was {_days(bound_s)}. {', '.join(silent)} still needed version "
                    f"{old.number} then, and its owner was not asked at the next two ticks: the version stays valid, "
                    "and nobody knows for whom.",
                    evidence=[_picture(estate, account, "The bound passed in silence"), diary],
                    ask="What do you do at the first tick after the bound?",
                    misconception="silent_bound",
                )
        due_s = max(free_s, version.delivered_at_s or 0.0) + 12 * HOUR_S + 600
        gone_s = old.revoked_at_s
        if due_s < rotation.until_s and (gone_s is None or gone_s > due_s):
            stuck = [c.caller_id for c in estate.callers if c.account_id == account and c.stuck_on is not None]
            retired = [c.caller_id for c in estate.callers if c.account_id == account and c.last_s < 0]
            why = [f"{c} is refused whatever you do, and needs no version." for c in stuck]
            why += [f"{c} is retired, as its owner has said." for c in retired]
            raise CheckFailed(
                f"From {_days(free_s)} on no caller needed version {old.number} of {account}; it was "
                + (f"revoked on {_days(gone_s)}. " if gone_s is not None else "never revoked. ")
                + " ".join([*why, "A version that nobody needs can still be stolen."]),
                evidence=[_picture(estate, account, "The old version stays valid for nobody"), diary],
                ask="Which callers did you still wait for?",
                misconception="stuck_counts" if stuck else "overlap_for_ever",
            )
    lengths = [
        (r.old.revoked_at_s - r.version.issued_at_s) / DAY_S for r in rotations if r.old.revoked_at_s is not None
    ]
    return (
        f"{len(rotations)} rotations under a bound of {ran.overlap_s / DAY_S:.0f} days: the old version was valid beside the new "
        f"one for {min(lengths):.1f} to {max(lengths):.1f} days; {len(estate.escalated)} callers were escalated, none before "
        "its bound."
    )


def _free_s(ran: Ran, rotation: Rotation) -> float:
    """From when on nobody needs the old version, as far as the log goes; inf: never."""
    estate = ran.estate
    moments = [rotation.version.issued_at_s]
    moments += [t for t, *_ in estate.calls(rotation.account) if rotation.version.issued_at_s < t < rotation.until_s]
    asked = {c: t for t, a, c in reversed(estate.escalated) if a == rotation.account}
    moments += [
        asked[x.caller_id] + x.answers_after_s
        for x in estate.callers
        if x.caller_id in asked
        and rotation.version.issued_at_s < asked[x.caller_id] + x.answers_after_s < rotation.until_s
    ]
    moments.sort()
    # Needs only shrink once the new version is delivered: the first moment without any is found by bisection.
    start = next((i for i, t in enumerate(moments) if t >= (rotation.version.delivered_at_s or math.inf)), len(moments))
    low, high = start, len(moments)
    while low < high:
        middle = (low + high) // 2
        if _needs(ran, rotation, moments[middle]):
            low = middle + 1
        else:
            high = middle
    return moments[low] if low < len(moments) else math.inf


@dataclass(frozen=True)
class Leak:
    """A leak of the scenario and what it asks for. affected: callers to be told."""

    account: str
    version: int
    at_s: float
    what: str
    replaced: bool


def _leaks(lab: Lab) -> tuple[Ran, list[Leak], dict[str, set[str]]]:
    """Three accounts: the newest version leaks; the old one leaks while a rotation is under way; one leaks that is revoked."""

    def make() -> tuple[Ran, list[Leak], dict[str, set[str]]]:
        rng = lab.rng("leaks")
        base = 100 * int(rng.integers(1, 9))
        newest, amid, past = (f"SA{base + k}" for k in rng.permutation(range(11, 60))[:3])
        callers = _callers(rng, newest, 3, (0.6, 2.0), (3, 6))
        callers.append(_variant(_callers(rng, newest, 1, (1, 2), (4, 8))[0], "-stuck", stuck_on=1))
        callers.append(_variant(_callers(rng, newest, 1, (0.6, 2.0), (3, 6))[0], "-busy", busy=True))
        callers += _callers(rng, amid, 2, (0.3, 0.9), (3, 6), "a")  # these have moved by the day of the leak
        callers += [_variant(c, "-slow", read_every_s=DAY_S * 7, first_read_s=DAY_S * 6.5)
                    for c in _callers(rng, amid, 2, (1, 2), (3, 6), "b")]  # fmt: skip
        callers += _callers(rng, past, 2, (0.6, 2.0), (3, 6))
        versions = {a: (int(rng.integers(2, 5)), HOUR_S * float(rng.uniform(2, 8))) for a in (newest, amid, past)}
        rotated = DAY_S * float(rng.uniform(0.1, 0.5))
        leaks = [
            Leak(newest, versions[newest][0], DAY_S * float(rng.uniform(1.1, 1.6)), "the newest version", True),
            Leak(
                amid,
                versions[amid][0],
                rotated + DAY_S * float(rng.uniform(2.6, 3.4)),
                "the old version, amid a rotation",
                False,
            ),
            Leak(
                past, versions[past][0] - 1, DAY_S * float(rng.uniform(1.7, 2.4)), "a version revoked long ago", False
            ),
        ]
        orders = [Order(rotated, "rotate", (amid, f"{amid}-2026-Q3"))]
        orders += [Order(x.at_s, "leaked", (x.account, x.version)) for x in leaks]
        estate = Estate(f"leaks/{rng.integers(2**62)}", versions, callers, orders, 9 * DAY_S)
        ran = _run(lab, estate, 8 * DAY_S)
        affected = {}
        for leak in leaks:
            used = estate.last_used(leak.account, leak.at_s)
            affected[leak.account] = (
                {c for c, n in used.items() if n == leak.version}
                if leak.what != "a version revoked long ago"
                else set()
            )
        return ran, leaks, affected

    return lab.once("leaks", make)


@check("a", "a leaked version is refused at once, and only the affected are told", points=1)
def leaks_are_cut_off(lab: Lab) -> str:
    """Three leaks in nine days; what each asks for is known from the log at its time."""
    ran, leaks, affected = _leaks(lab)
    estate = ran.estate
    for leak in leaks:
        versions = estate.versions[leak.account]
        version = versions[leak.version - 1]
        end = next(
            (t for t, o in estate.order_ends if o.method == "leaked" and o.args == (leak.account, leak.version)),
            math.inf,
        )
        call = f"leaked({leak.account!r}, {leak.version}, ...)"
        diary = _diary(estate, leak.account)
        if version.revoked_at_s is None or version.revoked_at_s > end:
            later = (
                "never"
                if version.revoked_at_s is None
                else f"{(version.revoked_at_s - leak.at_s) / HOUR_S:.0f} hours later"
            )
            raise CheckFailed(
                f"`{call}` was called on {_days(leak.at_s)} ({leak.what}), and the version was revoked {later}. "
                "Whoever has found it can read Kestrel's tables until then.",
                evidence=[_picture(estate, leak.account, "A leaked version goes on working"), diary],
                ask="Whom do you wait for, and what can a thief do meanwhile?",
                misconception="leak_waits",
            )
        told = {c for t, a, c in estate.told if a == leak.account}
        in_time = {c for t, a, c in estate.told if a == leak.account and t <= end}
        needless, missing = sorted(told - affected[leak.account]), sorted(affected[leak.account] - in_time)
        table = Evidence(
            f"callers of {leak.account} when version {leak.version} was reported",
            Table.of(
                ["caller", "affected", "told"],
                [(c, c in affected[leak.account], c in told)
                 for c in sorted({x.caller_id for x in estate.callers if x.account_id == leak.account})],
            ),
        )  # fmt: skip
        expect(
            not missing,
            f"After `{call}` ({leak.what}) {', '.join(missing)} had not been told: its calls are refused, and nobody "
            "who could mend it knows why.",
            evidence=[table, diary],
            misconception="nobody_told",
        )
        expect(
            not needless,
            f"After `{call}` ({leak.what}) {', '.join(needless)} {'was' if len(needless) == 1 else 'were'} told though "
            "not affected: the latest accepted call did not use that version.",
            evidence=[table, diary],
            ask="Which version did this caller use last?",
            misconception="tells_everybody",
        )
        new = [v for v in versions if v.issued_at_s >= 0]
        wanted = 1 if leak.replaced or "amid" in leak.what else 0
        expect(
            len(new) == wanted,
            f"After `{call}` ({leak.what}) {leak.account} has {len(new)} new version(s); {wanted} "
            f"{'was' if wanted == 1 else 'were'} wanted"
            + (
                ": that of the rotation under way."
                if "amid" in leak.what
                else "."
                if leak.replaced
                else ": nothing had to be done."
            ),
            evidence=diary,
        )
        good = next(v for v in reversed(versions) if v.number != leak.version)
        expect(
            good.revoked_at_s is None and good.delivered_at_s is not None,
            f"After `{call}` ({leak.what}) version {good.number}, the one that callers are to use, was "
            + ("revoked." if good.revoked_at_s is not None else "never delivered: they stay without access."),
            evidence=diary,
        )
        if leak.replaced:
            slow = (good.delivered_at_s or math.inf) - good.works_at_s
            expect(
                -1 <= slow <= 9 * HOUR_S,
                f"The replacement of version {leak.version} of {leak.account} worked on {_days(good.works_at_s)} and "
                f"was delivered on {_days(good.delivered_at_s)}: affected callers are without access "
                + ("and read a version that does not work." if slow < 0 else "for that long."),
                evidence=diary,
                misconception="too_early" if slow < 0 else None,
            )
    told = {(a, c) for _, a, c in estate.told}
    return (
        f"{len(leaks)} leaks: what was valid was refused when `leaked` returned, and {len(told)} of {len(estate.callers)} "
        "callers were told, those affected."
    )


# -- task a: crashes --------------------------------------------------------------------------------------------------------

MOST_CRASHES = 32


def _small_estate(lab: Lab, crash: tuple[int, str] | None, number: int = 0) -> tuple[Estate, str, str]:
    """A planned rotation with a laggard, and a leak of another account: five days. The same but for the names of the accounts,
    which differ by number: what a rotator keeps outside the store is then of no use to the next."""
    rng = lab.rng("crashes")
    base = 100 * int(rng.integers(1, 9))
    planned, leaked = (f"SA{base + 2 * number + k}" for k in rng.permutation(2))
    callers = _callers(rng, planned, 1, (0.4, 0.9), (8, 12))
    callers.append(
        _variant(_callers(rng, planned, 1, (1, 2), (8, 12))[0], "-lazy", read_every_s=None, answers_after_s=0.8 * DAY_S)
    )
    callers += _callers(rng, leaked, 2, (0.4, 0.9), (8, 12))
    versions = {a: (2, HOUR_S * float(rng.uniform(1, 3))) for a in (planned, leaked)}
    orders = [
        Order(HOUR_S * float(rng.uniform(1, 3)), "rotate", (planned, f"{planned}-2026-Q3")),
        Order(HOUR_S * float(rng.uniform(25, 27)), "leaked", (leaked, 2)),
    ]
    return Estate(f"crashes/{rng.integers(2**62)}", versions, callers, orders, 5.2 * DAY_S, crash), planned, leaked


def _verdict(ran: Ran, planned: str, leaked: str) -> tuple[str, str | None] | None:
    """What is wrong with an estate after all is done, and the misconception; None: nothing."""
    estate = ran.estate
    for account, cause in ((planned, "the rotation"), (leaked, "the leak")):
        new = [v for v in estate.versions[account] if v.issued_at_s >= 0]
        if len(new) != 1:
            names = ", ".join(repr(v.request_id[:40]) for v in new)
            return f"{len(new)} versions were issued for {cause} of {account} (requests: {names or 'none'})", (
                "two_issues" if len(new) > 1 else "memory_only"
            )
        if new[0].delivered_at_s is None:
            return f"version {new[0].number} of {account} was issued and never delivered", "memory_only"
    old = estate.versions[leaked][1]
    end = next((t for t, o in estate.order_ends if o.method == "leaked"), math.inf)
    if old.revoked_at_s is None or old.revoked_at_s > end:
        return f"the leaked version of {leaked} was not revoked when `leaked` returned", "noted_too_soon"
    missing = {c.caller_id for c in estate.callers if c.account_id == leaked} - {
        c for t, a, c in estate.told if a == leaked and t <= end
    }
    if missing:
        return f"{', '.join(sorted(missing))} had not been told of the leak when `leaked` returned", "noted_too_soon"
    lazy = next(c.caller_id for c in estate.callers if c.caller_id.endswith("-lazy"))
    if lazy not in {c for _, a, c in estate.escalated if a == planned}:
        return f"the laggard {lazy} was never escalated", "noted_too_soon"
    if estate.versions[planned][1].revoked_at_s is None:
        return f"the old version of {planned} was never revoked, though all callers had moved", "memory_only"
    lost = [r for r in estate.lost_calls() if r["account_id"] == planned]
    if lost:
        return (
            f"{len(lost)} call(s) of {lost[0]['caller_id']} were refused: version {lost[0]['version']} was {lost[0]['why']}",
            "revoked_blind",
        )
    if any(sum(v.revoked_at_s is None for v in estate.versions[a]) != 1 for a in (planned, leaked)):
        return "not exactly one version of each account is valid in the end", None
    return None


@check("a", "after a crash at each step in turn, the work is finished and nothing was issued twice", points=1.5)
def crashes_are_survived(lab: Lab) -> str:
    """First without a crash, to count the steps; then dead before and after each of them in turn, a new rotator five minutes
    later, and the same orders to the end."""
    overlap_s = 1.5 * DAY_S
    estate, planned, leaked = _small_estate(lab, None)
    calm = _run(lab, estate, overlap_s)
    wrong = _verdict(calm, planned, leaked)
    if wrong:
        raise CheckFailed(
            f"Nothing has crashed yet, and {wrong[0]}. Crashes are tried once this is right.",
            evidence=[_diary(estate, planned), _diary(estate, leaked)],
            misconception=None if wrong[1] in ("noted_too_soon", "memory_only") else wrong[1],
        )
    steps = [(what, args) for _, what, args in estate.effects]
    points = [(k, side) for k, (what, _) in enumerate(steps) if what != "store.put" for side in ("before", "after")]
    puts = [(k, side) for k, (what, _) in enumerate(steps) if what == "store.put" for side in ("before", "after")]
    room = max(4, MOST_CRASHES - len(points))
    points += puts if len(puts) <= room else [puts[round(i * (len(puts) - 1) / (room - 1))] for i in range(room)]
    rows: list[tuple[str, str, str, str]] = []
    bad: list[tuple[str, str | None, Evidence, str]] = []
    for n, (k, side) in enumerate(sorted(points)[: 2 * MOST_CRASHES], 1):
        crashed, planned, leaked = _small_estate(lab, (k, side), n)
        ran = _run(lab, crashed, overlap_s)
        found = _verdict(ran, planned, leaked)
        what, args = steps[k]
        rows.append((side, what, ", ".join(str(a)[:30] for a in args[:2]), found[0] if found else "finished"))
        if found:
            account = leaked if leaked in found[0] or "leak" in found[0] else planned
            bad.append((f"{side} `{what}`", found[1], _diary(crashed, account), found[0]))
    if bad:
        where, misconception, diary, words = bad[0]
        shown = [r for r in rows if r[3] != "finished"][:8]
        raise CheckFailed(
            f"The machine died just {where}, and after the restart {words}. {len(bad)} of {len(rows)} crashes end "
            "wrong. Machines die in the middle of rotations as they do elsewhere; what is left is a credential that "
            "nobody knows of, or callers without one.",
            evidence=[
                Evidence("crashes that end wrong", Table.of(["died", "step", "arguments", "then"], shown)),
                diary,
            ],
            ask="What does the next object know of what this one has done?",
            misconception=misconception,
        )
    return (
        f"{len(steps)} steps, {len(rows)} crashes before and after them: each time one version for the rotation and one for "
        "the leak, nobody forgotten, no call lost."
    )


# -- task a: secrets --------------------------------------------------------------------------------------------------------


def _hides(text: str, canary: str) -> bool:
    """Whether the text holds the canary, plain or in base64."""
    if canary.lower() in text.lower() or canary[::-1].lower() in text.lower():
        return True
    for shift in range(3):  # base64 depends on where in the text the secret begins
        code = base64.b64encode(b"x" * shift + canary.encode()).decode()
        if code[4 * bool(shift) : 4 * (len(canary) // 4)] in text:
            return True
    return False


@check("a", "no secret is in anything that comes out of the rotator", points=1, weaker=True)
def secrets_stay_in_the_vault(lab: Lab) -> str:
    """Each secret holds a text that occurs nowhere else. It is looked for in what was printed and logged, in the store, in
    messages and in every argument, over the five weeks and the leaks; and in the tables of the learner's connection. What was
    printed is the kernel's word, the rest came past the check."""
    ran, _, _ = _leaks(lab)
    quarter = _quarter(lab)
    for estate in (quarter.estate, ran.estate):
        _expect_new_versions(quarter)
        for where, text in estate.texts:
            if _hides(text, estate.canary):
                at = text.lower().find(estate.canary.lower())
                raise CheckFailed(
                    f"A secret stands in {where}. Whoever may read that may now call as this account, and the secret "
                    "has to be rotated at once: it is a leak.",
                    evidence=Evidence(
                        "where it stands (the secret is struck out)",
                        text=text[max(0, at - 120) : at + 80].replace(estate.canary, "[the secret]")
                        if at >= 0
                        else "encoded",
                    ),
                    ask="Which of your steps needs the secret itself, and not its number?",
                    misconception="secret_out",
                )
    tables = lab.table(
        "select database_name, schema_name, table_name from duckdb_tables() where not internal and database_name not in "
        "(select database_name from duckdb_databases() where readonly) order by all"
    )
    for database, schema, name in tables.rows[:50]:
        quoted = ".".join('"' + str(part).replace('"', '""') + '"' for part in (database, schema, name))
        rows = lab.table(f"select * from {quoted} limit 20000")
        text = repr(rows.rows)
        for estate in (quarter.estate, ran.estate):
            expect(
                not _hides(text, estate.canary),
                f"A secret stands in the table {name} of your connection. Tables are copied, exported and backed up.",
                misconception="secret_out",
            )
    places = Counter(where for estate in (quarter.estate, ran.estate) for where, _ in estate.texts)
    return (
        f"{places.total():,} texts searched, {places['the store']:,} values of the store and "
        f"{places['a message to an owner']} messages among them, and {len(tables)} tables: no secret in any."
    )


# -- task b -------------------------------------------------------------------------------------------------------------------

COLUMNS = ("class", "rotate_every_days", "overlap_days", "at_bound", "leak_minutes", "tell", "accounts")
COST_SHARE = 1 / 3
SPARE_DAYS = 3.0
TODAY = {
    c: {"rotate_every_days": 90.0, "overlap_days": 30.0, "at_bound": "revoke", "leak_minutes": 4320.0, "tell": "nobody",
        "accounts": "one each"} for c in CLASSES
}  # fmt: skip
PERIODS = [7, 8.5, 10, 12, 14, 17, 20, 25, 30, 37, 45, 56, 70, 90, 110, 140, 180, 240, 320]
BOUNDS = [1, 2, 3, 4, 5, 7, 9, 12, 15, 19, 24, 30]


def read_policy(lab: Lab) -> dict[str, dict[str, Any]]:
    """The policy by class, or a failed check that says what a row lacks."""

    def make() -> dict[str, dict[str, Any]]:
        table = as_table(lab.call("policy", lab.con), "`policy`", COLUMNS)
        rules: dict[str, dict[str, Any]] = {}
        for row in table.dicts():
            name = row["class"]
            expect(name in CLASSES, f"`policy` has a row for the class {name!r}; the classes are {', '.join(CLASSES)}.")
            expect(name not in rules, f"`policy` has two rows for the class {name}.")
            for column, low, high in (
                ("rotate_every_days", *PERIOD_DAYS),
                ("overlap_days", 1e-9, 30),
                ("leak_minutes", 0, 60 * 24 * 365),
            ):
                value = as_number(row[column])
                expect(
                    value is not None and low <= value <= high,
                    f"{name}: {column} is {row[column]!r}; a number from {low:g} to {high:g} is expected.".replace(
                        "1e-09", "more than 0"
                    ),
                )
                row[column] = value
            for column, values in (("at_bound", AT_BOUND), ("tell", TELL), ("accounts", ACCOUNTS)):
                expect(
                    row[column] in values,
                    f"{name}: {column} is {row[column]!r}; one of {', '.join(values)} is expected.",
                )
            expect(
                row["overlap_days"] < row["rotate_every_days"],
                f"{name}: overlap_days ({row['overlap_days']:g}) must be less than rotate_every_days "
                f"({row['rotate_every_days']:g}), or the next rotation begins before this one is over.",
            )
            rules[name] = row
        missing = [c for c in CLASSES if c not in rules]
        expect(not missing, f"`policy` has no row for {', '.join(missing)}.")
        return rules

    return lab.once("policy", make)


def read_classes(lab: Lab) -> list[dict[str, Any]]:
    """What is true of the classes of this world."""

    def make() -> list[dict[str, Any]]:
        rows = lab.world.sql("select * from truth.credential_classes order by class").dicts()
        return [{k: v if isinstance(v, str) else float(v) for k, v in row.items()} for row in rows]

    return lab.kept("classes", make)


def simulate_classes(lab: Lab, policy: dict[str, dict[str, Any]], seed: str) -> dict[str, dict[str, Any]]:
    rows = lab.judge("workshop.sim.credentials:simulate_policy", read_classes(lab), policy, seed)
    return {row["class"]: row for row in rows}


def seed_of(lab: Lab, name: str) -> str:
    return str(lab.rng(name).integers(2**62))


def _mine(lab: Lab) -> dict[str, dict[str, Any]]:
    return lab.once("mine", lambda: simulate_classes(lab, read_policy(lab), seed_of(lab, "judged")))


@check("b", "no planned rotation cuts a caller off", points=1)
def bounds_cut_nobody_off(lab: Lab) -> str:
    """Eight quarters under the policy, with the lags and laggards that this world was made with."""
    rules, results = read_policy(lab), _mine(lab)
    for name in CLASSES:
        row = results[name]
        expect(
            row["callers_cut_off"] == 0,
            f"{name}: in eight quarters ({row['rotations']} rotations) {row['callers_cut_off']} callers were still on "
            f"the old version {rules[name]['overlap_days']:g} days after a new one had come, and you revoked it.",
            evidence=Evidence(
                "eight quarters",
                Table.of(
                    ["class", "overlap, days", "at the bound", "rotations", "callers cut off"],
                    [(n, rules[n]["overlap_days"], rules[n]["at_bound"], results[n]["rotations"], results[n]["callers_cut_off"])
                     for n in CLASSES],
                ),
            ),
            ask="Who is still on the old version at the bound, and who finds out first?",
            misconception="cut_off",
        )  # fmt: skip
    return (
        "Eight quarters: "
        + "; ".join(f"{n} {results[n]['rotations']:,} rotations" for n in CLASSES)
        + ", nobody cut off."
    )


@check("b", "a leak is closed within minutes, and touches and tells the callers of its account alone", points=1)
def leaks_are_emergencies(lab: Lab) -> str:
    """By the rows of the policy, and by the callers that a leak stops in the simulation."""
    rules, results = read_policy(lab), _mine(lab)
    about = {row["class"]: row for row in read_classes(lab)}
    for name in CLASSES:
        rule = rules[name]
        expect(
            rule["leak_minutes"] <= 15,
            f"{name}: a leaked version is refused {rule['leak_minutes']:,.0f} minutes after the report; 15 are "
            "allowed. Scanners of public repositories use what they find within minutes.",
            ask="What is the overlap good for when the secret is known to a thief?",
            misconception="leak_waits",
        )
        if rule["accounts"] == "one shared":
            raise CheckFailed(
                f"{name}: with one shared account a leak stops {results[name]['callers_hit_per_leak']:.0f} callers at "
                f"once; with an account each it is {about[name]['callers_per_account']:.1f}.",
                ask="Who is affected by a leak, and who can tell you who still uses the old version?",
                misconception="one_shared",
            )
        expect(
            rule["tell"] != "everybody",
            f"{name}: of each leak all {about[name]['accounts'] * about[name]['callers_per_account']:.0f} callers of "
            f"the class are told; {about[name]['callers_per_account']:.1f} are affected.",
            misconception="tells_everybody",
        )
        expect(
            rule["tell"] != "nobody",
            f"{name}: callers are refused after a leak, and nobody tells them why. They are without access for "
            f"{min(3.0, about[name]['lag_median_days']):.1f} days or so, not for an hour.",
            misconception="nobody_told",
        )
    return "A reported leak is refused, and stops: " + "; ".join(
        f"{n} after {rules[n]['leak_minutes']:g} min, {results[n]['callers_hit_per_leak']:.1f} callers" for n in CLASSES
    )


@check("b", "every overlap ends", points=0.5)
def overlaps_end(lab: Lab) -> str:
    """The longest time for which an old version stayed valid, over eight quarters."""
    rules, results = read_policy(lab), _mine(lab)
    for name in CLASSES:
        longest = results[name]["longest_overlap_days"]
        expect(
            longest is not None and longest <= rules[name]["overlap_days"] + SPARE_DAYS,
            f"{name}: overlap_days is {rules[name]['overlap_days']:g}, and an old version stayed valid "
            + ("without end: a laggard never moves by itself." if longest is None else f"for {longest:.0f} days."),
            ask="Who ends the overlap when a caller does not move?",
            misconception="kept",
        )
    return "Longest overlap: " + "; ".join(
        f"{n} {results[n]['longest_overlap_days']:.1f} days under a bound of {rules[n]['overlap_days']:.1f}"
        for n in CLASSES
    )


def _best_and_alike(lab: Lab) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """The cheapest policy of a grid for each class, and the cheapest rule that is the same for all."""
    return lab.kept("best and alike", lambda: _search(read_classes(lab), seed_of(lab, "search")))


def _search(classes: list[dict[str, Any]], seed: str) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    grid = [
        {
            "rotate_every_days": period, "overlap_days": overlap, "at_bound": "escalate", "leak_minutes": 5.0,
            "tell": "affected", "accounts": "one each",
        }
        for period in PERIODS
        for overlap in BOUNDS
        if overlap < period
    ]  # fmt: skip
    usd = {row["class"]: np.array([r["usd"] for r in simulate_rules(row, grid, seed)]) for row in classes}
    total = sum(usd[row["class"]] * row["accounts"] for row in classes)
    return {name: grid[int(costs.argmin())] for name, costs in usd.items()}, grid[int(total.argmin())]


@check("b", "the three classes cost little more than under the best policy", points=1.5)
def policy_costs_little(lab: Lab) -> str:
    """US dollars a year at the prices of the lab, periods and bounds alone: at the bound, after leaks and for accounts the best
    rule is used for all, since other checks ask for these. Best: a grid search for each class on other draws. Naive: the best
    period and bound that are the same for all three."""
    rules = read_policy(lab)
    classes = read_classes(lab)
    best, alike = _best_and_alike(lab)
    same = {name: alike for name in CLASSES}
    own = ("class", "rotate_every_days", "overlap_days")
    yours = {name: best[name] | {k: rule[k] for k in own} for name, rule in rules.items()}
    seed = seed_of(lab, "judged")
    runs = [simulate_classes(lab, p, seed) for p in (yours, best, same)]
    count = {row["class"]: row["accounts"] for row in classes}
    mine, least, most = (sum(run[c]["usd"] * count[c] for c in CLASSES) for run in runs)
    share = (mine - least) / (most - least)
    kinds = ("rotation", "escalation", "exposure", "emergencies")
    bill = Table.of(
        ["class", "policy", "every, days", "overlap, days", *(f"{k}, USD a year" for k in kinds), "sum"],
        [
            (c, who, round(p[c]["rotate_every_days"]), round(p[c]["overlap_days"], 1),
             *(round(run[c]["costs"][k] * count[c]) for k in kinds), round(run[c]["usd"] * count[c]))
            for c in CLASSES
            for who, p, run in zip(("yours", "best", "same for all"), (yours, best, same), runs, strict=True)
        ],
    )  # fmt: skip
    expect(
        share <= COST_SHARE,
        f"A year of all accounts costs {mine:,.0f} USD with your periods and bounds, {least:,.0f} with the best, and "
        f"{most:,.0f} with the best that are the same for all classes: yours is {share:.0%} of the way from best to "
        f"that, {COST_SHARE:.0%} is allowed.",
        evidence=Evidence("the bill", bill),
        ask="In which class and column is the difference largest? Would a longer or a shorter period make it smaller?",
        misconception="same_for_all",
    )
    return (
        f"A year of all accounts: {mine:,.0f} USD with your periods and bounds, {least:,.0f} with the best, {most:,.0f} with the "
        f"best that are the same for all: {share:.0%} of the way, {COST_SHARE:.0%} is allowed."
    )


# -- twelve weeks later ---------------------------------------------------------------------------------------------------------


def twelve_weeks_later(lab: Lab) -> Any:
    """The bill of a year under the learner's policy and under today's; calls refused in twelve weeks of rotations by the
    learner's rotator and by a calendar."""
    from workshop.plots import BLUE, GREEN, GREY, ORANGE, RED, plt

    rules = read_policy(lab)
    classes = read_classes(lab)
    seed = seed_of(lab, "twelve weeks")
    before, after = simulate_classes(lab, TODAY, seed), simulate_classes(lab, rules, seed)
    count = {row["class"]: row["accounts"] * 12 / 52 for row in classes}
    figure, (bill, calls) = plt.subplots(1, 2, figsize=(8.8, 3.3))
    kinds = {"rotation": BLUE, "escalation": GREEN, "failed in rotations": RED, "exposure": ORANGE, "emergencies": GREY}
    at, labels, totals = [], [], {"today": 0.0, "yours": 0.0}  # a group of two bars for each class
    for k, c in enumerate(CLASSES):
        for j, (who, run) in enumerate((("today", before), ("yours", after))):
            base = 0.0
            for kind, colour in kinds.items():
                usd = run[c]["costs"][kind] * count[c] / 1000
                bill.bar(2.5 * k + j, usd, bottom=base, color=colour, label=kind if k == j == 0 else None)
                base += usd
            totals[who] += base
            at.append(2.5 * k + j)
            labels.append(who)
        bill.text(2.5 * k + 0.5, -0.13, c, ha="center", va="top", fontsize=8.5, transform=bill.get_xaxis_transform())
    bill.set_xticks(at, labels, fontsize=7.5)
    bill.set_ylabel("thousand USD in twelve weeks")
    bill.set_title(f"{totals['today']:.0f} thousand USD today, {totals['yours']:.0f} with yours", fontsize=10)
    bill.legend(fontsize=7)
    mine, calendar = _refused_by_week(lab)
    weeks = np.arange(1, 13)
    calls.bar(weeks - 0.2, calendar, 0.4, color=RED, label="calendar")
    if mine is not None:
        calls.bar(weeks + 0.2, mine, 0.4, color=BLUE, label="your rotator")
    calls.set(xlabel="week", ylabel="calls refused because of rotations")
    total = "task a is not done" if mine is None else f"your rotator {sum(mine)}"
    calls.set_title(f"Calls lost: calendar {sum(calendar)}, {total}", fontsize=10)
    calls.set_ylim(0, 1.35 * max([*calendar, *(mine or []), 1]))
    calls.legend(loc="upper right", ncols=2)
    plt.close(figure)  # the notebook shows what is returned, and would show an open figure a second time
    return figure


def _refused_by_week(lab: Lab) -> tuple[list[int] | None, list[int]]:
    """Refused calls by week: the learner's rotator (None: not attempted), and one that revokes after five days; a laggard
    that is refused is mended a day or two later."""
    calendar = lab.kept("calendar", lambda: _by_the_calendar(_twelve_weeks(lab)))
    try:
        return _weekly(_run(lab, _twelve_weeks(lab), 8 * DAY_S).estate), calendar
    except (NotAttempted, LearnerError):
        return None, calendar


def _twelve_weeks(lab: Lab) -> Estate:
    rng = lab.rng("twelve weeks estate")
    accounts = [f"SA{200 + k}" for k in range(4)]
    callers = [c for a in accounts for c in _callers(rng, a, 3, (0.5, 9.0), (6, 12), f"{a}-")]
    callers += [
        _variant(_callers(rng, a, 1, (1, 2), (6, 12))[0], f"-{a}-lazy", read_every_s=None) for a in accounts[:2]
    ]
    orders = [
        Order(DAY_S * float(7 * w + rng.uniform(0, 5)), "rotate", (a, f"{a}-{w}"))
        for k, a in enumerate(accounts)
        for w in range(k, 12, 4)
    ]
    return Estate(f"weeks/{rng.integers(2**62)}", dict.fromkeys(accounts, (1, 4 * HOUR_S)), callers, orders, 84 * DAY_S)


def _weekly(done: Estate) -> list[int]:
    found = Counter(int(r["at_s"] // (7 * DAY_S)) for r in done.lost_calls())
    return [found[w] for w in range(12)]


def _by_the_calendar(estate: Estate) -> list[int]:
    due: dict[str, tuple[int, float]] = {}
    while (order := estate.ask("orders.next")["value"]) is not None:
        method, args = order
        if method == "rotate":
            new = estate.ask("vault.issue", args[0], args[1])["value"][0]
            due[args[0]] = (new, args[2] + 5 * DAY_S)
        for account, (new, cut_s) in list(due.items()):
            if estate.ask("vault.works", account, new)["value"]:
                estate.ask("vault.deliver", account, new)
            if args[-1] >= cut_s:
                estate.ask("vault.revoke", account, new - 1)
                for caller in estate.callers:
                    if caller.account_id == account and caller.read_every_s is None:
                        estate.ask("desk.escalate", account, caller.caller_id)
                del due[account]
    return _weekly(estate)
