"""Credentials of service accounts on a virtual clock: a vault, callers that lag behind, leaks, and what a policy costs.

`Estate` is the trusted side: vault, callers, call log, owners' desk and a store, with crashes on demand. Code that
rotates is given a `Platform`, which reaches an estate through one function (`Estate.ask`) and holds nothing itself.
`simulate_policy` prices periods, overlaps and emergency rules for classes of accounts.

Times are in seconds (`_s`) or days (`_days`). A version number is a handle: it names a secret and is worth nothing by itself.
"""

import bisect
import contextlib
import hashlib
import heapq
import io
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from cryptography.exceptions import InvalidSignature
from cryptography.fernet import Fernet, MultiFernet
from cryptography.hazmat.primitives import hashes, hmac

from workshop.sim.clock import VirtualClock
from workshop.sim.streams import streams

HOUR_S, DAY_S = 3600.0, 86_400.0
KEPT_S = 35 * DAY_S
"""How long the call log is kept."""
TICK_S = 4 * HOUR_S
"""Time between two ticks of a rotator."""
TOLD_S = 0.5 * HOUR_S
"""How long a caller that was told of a leak takes before it reads what is delivered, again and again."""
RESTART_S = 300.0
"""How long after a crash a rotator is started anew."""
EFFECTS = ("vault.issue", "vault.deliver", "vault.revoke", "desk.escalate", "desk.tell", "store.put")

Ask = Callable[..., Any]


# -- signatures: what a secret is for ---------------------------------------------------------------------------------------


def sign(secret: str, message: str) -> bytes:
    """HMAC-SHA256 of a message under a secret: what a caller sends instead of the secret."""
    mac = hmac.HMAC(secret.encode(), hashes.SHA256())
    mac.update(message.encode())
    return mac.finalize()


def is_signed(secret: str, message: str, signature: bytes) -> bool:
    """Whether the signature is that of the message under the secret; compared in constant time."""
    mac = hmac.HMAC(secret.encode(), hashes.SHA256())
    mac.update(message.encode())
    try:
        mac.verify(signature)
    except InvalidSignature:
        return False
    return True


# -- what code that rotates is given ----------------------------------------------------------------------------------------


class _Part:
    def __init__(self, platform: "Platform") -> None:
        self._platform = platform


class Vault(_Part):
    """Issues, delivers and revokes versions of accounts' credentials."""

    def issue(self, account_id: str, request_id: str) -> dict[str, Any]:
        """Makes a version, valid beside the others. Returns its version (the number) and its secret, as vaults do. The same
        request_id gives the same version."""
        number, secret = self._platform.ask("vault.issue", account_id, request_id)
        return {"version": number, "secret": secret}

    def versions(self, account_id: str) -> list[dict[str, Any]]:
        """All versions, oldest first: version, issued_at_s, delivered_at_s and revoked_at_s (None: not yet)."""
        names = ("version", "issued_at_s", "delivered_at_s", "revoked_at_s")
        return [dict(zip(names, row, strict=True)) for row in self._platform.ask("vault.versions", account_id)]

    def works(self, account_id: str, version: int) -> bool:
        """Whether calls with this version are accepted by now."""
        return self._platform.ask("vault.works", account_id, version)

    def deliver(self, account_id: str, version: int) -> None:
        """Makes this version the one that callers find when they next read the account's credential."""
        self._platform.ask("vault.deliver", account_id, version)

    def revoke(self, account_id: str, version: int) -> None:
        """Makes calls with this version be refused, for good. Revoking twice does no harm."""
        self._platform.ask("vault.revoke", account_id, version)

    def secret(self, account_id: str, version: int) -> str:
        """The plain secret of a version."""
        return self._platform.ask("vault.secret", account_id, version)


class CallLog(_Part):
    """The log of API calls, kept for 35 days."""

    def calls(self, account_id: str, since_s: float = float("-inf")) -> list[dict[str, Any]]:
        """Calls with this account since then, by time: at_s, caller_id, version, status (200, 503, or 401: refused)."""
        since = None if since_s == float("-inf") else float(since_s)
        names = ("at_s", "caller_id", "version", "status")
        return [dict(zip(names, row, strict=True)) for row in self._platform.ask("log.calls", account_id, since)]


class Desk(_Part):
    """Reaches the owners of callers."""

    def escalate(self, account_id: str, caller_id: str) -> None:
        """Asks the owner of a caller to move it to the delivered version, or to say that it is retired."""
        self._platform.ask("desk.escalate", account_id, caller_id)

    def tell(self, account_id: str, caller_id: str, message: str) -> None:
        """Tells the owner of a caller that its credential has leaked and is refused from now on."""
        self._platform.ask("desk.tell", account_id, caller_id, message)

    def retired(self, account_id: str) -> list[str]:
        """Callers of which their owner has said that they are retired."""
        return self._platform.ask("desk.retired", account_id)


class Store(_Part):
    """Keeps values under keys; all that outlives a crash."""

    def get(self, key: str, default: Any = None) -> Any:
        """What was put under the key, or the default."""
        found = self._platform.ask("store.get", key)
        return found[0] if found else default

    def put(self, key: str, value: Any) -> None:
        """Keeps a value (numbers, texts, lists, dicts) under a key, at once and for good."""
        self._platform.ask("store.put", key, value)


class Platform:
    """`vault`, `log`, `desk` and `store` of one estate, reached through `ask(what, *arguments)`."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self.vault, self.log, self.desk, self.store = Vault(self), CallLog(self), Desk(self), Store(self)

    def connect(self, ask: Ask) -> None:
        """Reaches the same estate through another line."""
        self._ask = ask

    def ask(self, what: str, *args: Any) -> Any:
        """Asks the estate; raises Crash (a BaseException) where the machine is to die."""
        answer = self._ask(what, *args)
        if isinstance(answer, dict) and "crash" in answer:
            from workshop.agent import Crash

            raise Crash(answer["crash"])
        return answer["value"]


def operate(rotator: Any, platform: Platform, ask: Ask) -> None:
    """Has a rotator carry out the estate's orders one after the other, and reports to the estate what it printed or logged.
    Returns when there are no more orders; lets a crash through."""
    platform.connect(ask)
    said = io.StringIO()
    handler = logging.StreamHandler(said)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            while (order := platform.ask("orders.next")) is not None:
                method, args = order
                getattr(rotator, method)(*args)
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        ask("orders.said", said.getvalue()[-200_000:])


# -- the estate ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Caller:
    """Something that calls with an account: at first_call_s and every every_s from then on, until last_s.

    It reads what is delivered at first_read_s and every read_every_s (None: it has it in memory and never reads, until its
    owner moves it). The owner reacts answers_after_s after being asked. stuck_on: a version that it will never let go of.
    busy: it calls when the API is busy, so that each of its calls that is accepted has status 503.
    """

    caller_id: str
    account_id: str
    every_s: float
    first_call_s: float = 0.0
    read_every_s: float | None = DAY_S
    first_read_s: float = 0.0
    answers_after_s: float = DAY_S
    last_s: float = float("inf")
    stuck_on: int | None = None
    busy: bool = False


@dataclass
class Version:
    """One version of an account's credential. Times in seconds; None: not yet."""

    number: int
    request_id: str
    issued_at_s: float
    works_at_s: float
    delivered_at_s: float | None = None
    revoked_at_s: float | None = None
    leaked_at_s: float | None = None


@dataclass(frozen=True)
class Order:
    """What a rotator is to do at a time: rotate, leaked or tick, with the arguments but for the time."""

    at_s: float
    method: str
    args: tuple[Any, ...] = ()


class Estate:
    """Accounts, their callers and versions, and everything that a rotator did to them.

    accounts: for each id the number of versions so far (the last one is valid and delivered) and how long a new version takes
    to work. Calls of the 35 days before time 0 are in the log. crash: (number of an effect from 0, "before" or "after").
    """

    def __init__(
        self,
        seed: str,
        accounts: Mapping[str, tuple[int, float]],
        callers: Sequence[Caller],
        orders: Sequence[Order] = (),
        end_s: float = 0.0,
        crash: tuple[int, str] | None = None,
    ) -> None:
        self.clock = VirtualClock(-KEPT_S)
        self.canary = "kestrel" + hashlib.sha256(f"{seed}/canary".encode()).hexdigest()[:20]
        self.callers = list(callers)
        self.works_after_s = {a: delay for a, (_, delay) in accounts.items()}
        self.versions: dict[str, list[Version]] = {}
        for account, (n, _) in accounts.items():
            self.versions[account] = [
                Version(k, f"earlier-{k}", -400 * DAY_S, -400 * DAY_S, -400 * DAY_S, None if k == n else -100 * DAY_S)
                for k in range(1, n + 1)
            ]
        self._delivered = {a: ([-400 * DAY_S], [n]) for a, (n, _) in accounts.items()}
        self._log: dict[str, list[tuple[float, str, int, int]]] = {a: [] for a in accounts}
        self._due = [(c.first_call_s - np.floor((c.first_call_s + KEPT_S) / c.every_s) * c.every_s, i)
                     for i, c in enumerate(self.callers)]  # fmt: skip
        heapq.heapify(self._due)
        self._reads_from: dict[str, float] = {}
        self.escalated: list[tuple[float, str, str]] = []
        self.told: list[tuple[float, str, str]] = []
        self.store: dict[str, Any] = {}
        self.effects: list[tuple[float, str, tuple]] = []
        self.texts: list[tuple[str, str]] = []  # (where, text) of all that came out of the rotator
        self._key = MultiFernet([Fernet(Fernet.generate_key())])
        self._sealed: dict[tuple[str, int], bytes] = {}
        self._crash, self.crashed_at, self._dead = crash, None, False
        ticks = [Order(float(t), "tick") for t in np.arange(TICK_S, end_s, TICK_S)]
        self._orders = sorted([*orders, *ticks], key=lambda o: o.at_s)
        self._place, self._repeat = -1, False
        self.order_ends: list[tuple[float, Order]] = []
        self.reported: dict[tuple[str, int], float] = {}
        self.advance(0.0)

    # -- time and calls

    def now(self) -> float:
        """Seconds."""
        return self.clock.now()

    def advance(self, to_s: float) -> None:
        """Lets time pass; callers call."""
        while self._due and self._due[0][0] <= to_s:
            at_s, i = heapq.heappop(self._due)
            caller = self.callers[i]
            if at_s > caller.last_s:
                continue
            heapq.heappush(self._due, (at_s + caller.every_s, i))
            self._call(caller, at_s)
        self.clock.advance_to(max(to_s, self.now()))

    def holds(self, caller: Caller, at_s: float) -> int:
        """The version that a caller calls with at a time."""
        if caller.stuck_on is not None:
            return caller.stuck_on
        read_s = -400 * DAY_S
        if caller.read_every_s is not None:
            read_s = (
                caller.first_read_s + np.floor((at_s - caller.first_read_s) / caller.read_every_s) * caller.read_every_s
            )
        if at_s >= self._reads_from.get(caller.caller_id, float("inf")):
            read_s = at_s
        times, numbers = self._delivered[caller.account_id]
        return numbers[max(0, bisect.bisect_right(times, read_s) - 1)]

    def _call(self, caller: Caller, at_s: float) -> None:
        number = self.holds(caller, at_s)
        version = self.versions[caller.account_id][number - 1]
        ok = version.works_at_s <= at_s and (version.revoked_at_s is None or version.revoked_at_s > at_s)
        # One call in a hundred finds the server busy, whoever calls: the credential was accepted all the same.
        busy = caller.busy or hashlib.sha256(f"{caller.caller_id}/{at_s:.0f}".encode()).digest()[0] < 3
        status = 401 if not ok else 503 if busy else 200
        self._log[caller.account_id].append((float(at_s), caller.caller_id, number, status))

    def calls(self, account_id: str) -> list[tuple[float, str, int, int]]:
        """All calls so far: at_s, caller_id, version, status."""
        return self._log[account_id]

    def last_used(self, account_id: str, at_s: float) -> dict[str, int]:
        """For each caller in the log as it stood at a time, the version of its latest call that was not refused."""
        since_s = at_s - KEPT_S
        return {c: v for t, c, v, status in self._log[account_id] if status != 401 and since_s <= t <= at_s}

    def retired(self, account_id: str, at_s: float) -> list[str]:
        """Callers whose owners had answered by then that they are retired."""
        asked = {c: t for t, a, c in reversed(self.escalated) if a == account_id}
        return sorted(
            c.caller_id
            for c in self.callers
            if c.account_id == account_id
            and c.caller_id in asked
            and c.last_s < at_s
            and asked[c.caller_id] + c.answers_after_s <= at_s
        )

    def lost_calls(self) -> list[dict[str, Any]]:
        """Calls refused that a rotation has cost: not those with a version that was revoked before time 0 or has leaked."""
        lost = []
        for account, rows in self._log.items():
            for at_s, caller, number, status in rows:
                version = self.versions[account][number - 1]
                earlier = version.revoked_at_s is not None and version.revoked_at_s < 0
                if status == 401 and not earlier and version.leaked_at_s is None:
                    why = (
                        "revoked"
                        if version.revoked_at_s is not None and version.revoked_at_s <= at_s
                        else "not yet working"
                    )
                    lost.append(
                        {"account_id": account, "at_s": at_s, "caller_id": caller, "version": number, "why": why}
                    )
        return sorted(lost, key=lambda r: r["at_s"])

    # -- orders

    def restart(self) -> None:
        """The machine is up again; the order under way is given once more, a little later."""
        self._dead, self._repeat = False, True
        self.advance(self.now() + RESTART_S)

    def _next(self) -> list[Any] | None:
        if not self._repeat:
            if self._place >= 0:
                self.order_ends.append((self.now(), self._orders[self._place]))
            self._place += 1
        self._repeat = False
        if self._place >= len(self._orders):
            return None
        order = self._orders[self._place]
        self.advance(max(order.at_s, self.now()))
        if order.method == "leaked":
            account, number = order.args
            version = self.versions[account][number - 1]
            version.leaked_at_s = order.at_s if version.leaked_at_s is None else version.leaked_at_s
            self.reported.setdefault((account, number), order.at_s)
        return [order.method, [*order.args, self.now()]]

    # -- what is asked

    def ask(self, what: str, *args: Any) -> dict[str, Any]:
        """Answers a platform: {"value": ...} or {"crash": why}. Raises ValueError for what does not exist."""
        if what == "orders.said":
            self.texts.append(("what it printed or logged", str(args[0])))
            return {"value": None}
        if self._dead:
            return {"crash": "the machine is down"}
        if what == "orders.next":
            return {"value": self._next()}
        if what not in _ANSWERS:
            raise ValueError(f"there is no {what}")
        self._listen(what, args)
        if what not in EFFECTS:
            return {"value": _ANSWERS[what](self, *args)}
        number = len(self.effects)
        self.effects.append((self.now(), what, args))
        if self._crash == (number, "before"):
            return self._die(f"before {what}")
        value = _ANSWERS[what](self, *args)
        if self._crash == (number, "after"):
            return self._die(f"after {what}")
        return {"value": value}

    def _die(self, where: str) -> dict[str, Any]:
        self._dead, self.crashed_at, self._crash = True, where, None
        return {"crash": f"the machine died {where}"}

    def _listen(self, what: str, args: Sequence[Any]) -> None:
        place = {"store.put": "the store", "desk.tell": "a message to an owner"}.get(what, f"an argument of {what}")
        self.texts.append((place, repr(args)))

    def _version(self, account_id: Any, number: Any) -> Version:
        known = self._account(account_id)
        if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= len(known):
            raise ValueError(f"{account_id} has no such version: a version is a number, from 1 to {len(known)}")
        return known[number - 1]

    def _account(self, account_id: Any) -> list[Version]:
        if not isinstance(account_id, str) or account_id not in self.versions:
            raise ValueError("this platform has no such account: was it kept from another platform?")
        return self.versions[account_id]

    def _issue(self, account_id: Any, request_id: Any) -> list[Any]:
        known = self._account(account_id)
        number = next((v.number for v in known if v.request_id == str(request_id)), None)
        if number is None:
            now, number = self.now(), len(known) + 1
            known.append(Version(number, str(request_id), now, now + self.works_after_s[account_id]))
        return [number, self._secret(account_id, number)]

    def _rows(self, account_id: Any) -> list[list[Any]]:
        return [[v.number, v.issued_at_s, v.delivered_at_s, v.revoked_at_s] for v in self._account(account_id)]

    def _works(self, account_id: Any, number: Any) -> bool:
        version = self._version(account_id, number)
        return version.works_at_s <= self.now() and version.revoked_at_s is None

    def _deliver(self, account_id: Any, number: Any) -> None:
        version = self._version(account_id, number)
        times, numbers = self._delivered[account_id]
        if numbers[-1] != number:
            times.append(self.now())
            numbers.append(number)
        if version.delivered_at_s is None:
            version.delivered_at_s = self.now()

    def _revoke(self, account_id: Any, number: Any) -> None:
        version = self._version(account_id, number)
        if version.revoked_at_s is None:
            version.revoked_at_s = self.now()

    def _secret(self, account_id: Any, number: Any) -> str:
        self._version(account_id, number)
        key = (account_id, number)
        if key not in self._sealed:  # at rest it is encrypted, as in any vault
            self._sealed[key] = self._key.encrypt(f"{self.canary}-{account_id}-{number}".encode())
        return self._key.decrypt(self._sealed[key]).decode()

    def _calls(self, account_id: Any, since_s: Any) -> list[list[Any]]:
        self._account(account_id)
        since = max(self.now() - KEPT_S, float("-inf") if since_s is None else float(since_s))
        rows = self._log[account_id]
        return [list(r) for r in rows[bisect.bisect_left(rows, (since,)) :]]

    def _caller(self, account_id: Any, caller_id: Any) -> Caller:
        for caller in self.callers:
            if caller.account_id == account_id and caller.caller_id == caller_id:
                return caller
        raise ValueError("there is no such caller of this account")

    def _escalate(self, account_id: Any, caller_id: Any) -> None:
        caller = self._caller(account_id, caller_id)
        self.escalated.append((self.now(), account_id, caller_id))
        self._reads_from.setdefault(caller_id, self.now() + caller.answers_after_s)

    def _tell(self, account_id: Any, caller_id: Any, message: Any) -> None:
        self._caller(account_id, caller_id)
        self.told.append((self.now(), account_id, caller_id))
        self._reads_from[caller_id] = min(self._reads_from.get(caller_id, float("inf")), self.now() + TOLD_S)

    def _retired(self, account_id: Any) -> list[str]:
        return self.retired(account_id, self.now())

    def _get(self, key: Any) -> list[Any]:
        return [self.store[str(key)]] if str(key) in self.store else []

    def _put(self, key: Any, value: Any) -> None:
        self.store[str(key)] = value


_ANSWERS: dict[str, Callable[..., Any]] = {
    "vault.issue": Estate._issue,
    "vault.versions": Estate._rows,
    "vault.works": Estate._works,
    "vault.deliver": Estate._deliver,
    "vault.revoke": Estate._revoke,
    "vault.secret": Estate._secret,
    "log.calls": Estate._calls,
    "desk.escalate": Estate._escalate,
    "desk.tell": Estate._tell,
    "desk.retired": Estate._retired,
    "store.get": Estate._get,
    "store.put": Estate._put,
}


# -- policies, priced -----------------------------------------------------------------------------------------------------------

CLASSES = ("pipeline", "service", "partner")
PRICES_USD: dict[str, dict[str, float]] = {
    "pipeline": {"rotation": 4.0, "escalation": 20.0, "failed_caller_hour": 10.0, "exposed_day": 400.0},
    "service": {"rotation": 40.0, "escalation": 40.0, "failed_caller_hour": 40.0, "exposed_day": 150.0},
    "partner": {"rotation": 250.0, "escalation": 80.0, "failed_caller_hour": 20.0, "exposed_day": 50.0},
}
"""What things cost by class, US dollars: a rotation of one account, one caller escalated, one caller without access for an
hour, one day on which a leaked version of one account can be used."""
TELL_USD = 2.0
"""Telling one owner of a leak."""
YEARS = 2
HORIZON_DAYS = 365.0 * YEARS
MOST_ROTATIONS = 106
LEAK_DRAWS = 12
"""Leaks drawn for each account, each with a weight, so that few accounts tell much about rare leaks."""
AT_BOUND = ("escalate", "revoke", "keep")
TELL = ("affected", "everybody", "nobody")
ACCOUNTS = ("one each", "one shared")
PERIOD_DAYS = (7, 365)


@dataclass(frozen=True)
class _Draws:
    """Draws of one class, made before any policy acts; shapes (accounts, rotations or leaks, callers)."""

    callers: np.ndarray
    phase: np.ndarray
    lag: np.ndarray
    laggard: np.ndarray
    fix_days: np.ndarray
    leak_at: np.ndarray
    found_days: np.ndarray
    leak_lag: np.ndarray


def _draw(seed: str, about: Mapping[str, Any], accounts: int, callers: np.ndarray, tag: str) -> _Draws:
    def stream(name: str) -> np.random.Generator:
        return streams(seed, f"policy/{about['class']}/{tag}/{name}")

    most = int(callers.max())
    shape, leaks = (accounts, MOST_ROTATIONS, most), (accounts, LEAK_DRAWS)
    lag = about["lag_median_days"] * np.exp(about["lag_sigma"] * stream("lag").standard_normal(shape))
    laggard = stream("laggard").random(shape) < about["laggard_share"]
    found = stream("found").random(leaks) < about["found_share"]
    delay = about["found_median_days"] * np.exp(0.8 * stream("delay").standard_normal(leaks))
    leak_lag = about["lag_median_days"] * np.exp(
        about["lag_sigma"] * stream("leak lag").standard_normal((*leaks, most))
    )
    return _Draws(
        callers,
        stream("phase").random(accounts),
        np.where(np.arange(most) < callers[:, None, None], lag, 0.0),
        laggard & (np.arange(most) < callers[:, None, None]),
        1.0 + stream("fix").random(shape),
        stream("leak").random(leaks) * HORIZON_DAYS,
        np.where(found, delay, np.inf),
        np.where(np.arange(most) < callers[:, None, None], leak_lag, 0.0),
    )


def _run(about: Mapping[str, Any], rule: Mapping[str, Any], draws: _Draws, worth: float) -> dict[str, Any]:
    """One class under one rule. worth: how many accounts each simulated one stands for."""
    price = PRICES_USD[about["class"]]
    period, bound = float(rule["rotate_every_days"]), float(rule["overlap_days"])
    n = int(min(MOST_ROTATIONS, np.ceil(HORIZON_DAYS / period) + 1))
    starts = (draws.phase[:, None] + np.arange(n)) * period
    counted = starts < HORIZON_DAYS
    lag = np.where(draws.laggard[:, :n], np.inf, draws.lag[:, :n])
    behind = lag > bound
    late = behind & counted[:, :, None]
    moved = np.where(behind, np.minimum(lag, bound + draws.fix_days[:, :n]), lag)
    failed_hours = 0.0
    if rule["at_bound"] == "escalate":
        ends = moved.max(axis=2)
    elif rule["at_bound"] == "revoke":
        ends = np.minimum(lag.max(axis=2), bound)
        failed_hours = float(24 * (moved - bound)[late].sum())
    else:
        ends = lag.max(axis=2)
    # Which version a leak is of, and until when that one is valid.
    k = np.floor(draws.leak_at / period - draws.phase[:, None]).astype(int) + 1  # the rotation that will end it
    k = np.clip(k, 0, n - 1)
    rows = np.arange(len(k))[:, None]
    until = np.minimum(starts[rows, k] + ends[rows, k], HORIZON_DAYS + 365.0)
    wait_days = float(rule["leak_minutes"]) / 1440
    found = draws.leak_at + draws.found_days < until
    exposed = np.where(found, np.minimum(draws.found_days + wait_days, until - draws.leak_at), until - draws.leak_at)
    weight = about["leaks_per_year"] * YEARS / LEAK_DRAWS * worth
    told = rule["tell"] != "nobody"
    # Who was told reads the new version within the hour; others when they would have anyway, or when somebody looks.
    down_hours = draws.callers[:, None] if told else 24 * np.minimum(draws.leak_lag, 3.0).sum(axis=2)
    in_class = float(about["accounts"]) * float(about["callers_per_account"])
    messages = {
        "affected": draws.callers[:, None],
        "everybody": np.full_like(k, in_class, dtype=float),
        "nobody": 0 * k,
    }
    leaks_found = float(weight * found.sum())
    costs = {
        "rotation": float(price["rotation"] * counted.sum()),
        "escalation": float(price["escalation"] * late.sum()) if rule["at_bound"] == "escalate" else 0.0,
        "failed in rotations": price["failed_caller_hour"] * failed_hours,
        "exposure": float(price["exposed_day"] * worth * weight * exposed.sum()),
        "emergencies": float(
            weight
            * (
                found
                * (price["rotation"] + price["failed_caller_hour"] * down_hours + TELL_USD * messages[rule["tell"]])
            ).sum()
        ),
    }
    years = len(k) * YEARS * worth
    overlap = (
        ends[counted & (starts + ends < HORIZON_DAYS)] if (ends < np.inf).all() else np.append(ends[counted], np.inf)
    )
    return {
        "class": about["class"],
        "costs": {kind: usd / years for kind, usd in costs.items()},
        "usd": sum(costs.values()) / years,
        "rotations": int(counted.sum()),
        "callers_cut_off": int(late.sum()) if rule["at_bound"] == "revoke" else 0,
        "longest_overlap_days": None if np.isinf(overlap).any() else float(overlap.max(initial=0.0)),
        "leaks_found": leaks_found,
        "callers_hit_per_leak": float((weight * found * draws.callers[:, None]).sum() / max(leaks_found, 1e-9)),
    }


def _class_draws(seed: str, about: Mapping[str, Any], shared: bool) -> tuple[_Draws, float]:
    mean = float(about["callers_per_account"])
    if shared:
        everybody = round(float(about["accounts"]) * mean)
        return _draw(seed, about, 6, np.full(6, everybody), "shared"), float(about["accounts"])
    accounts = 80
    extra = streams(seed, f"policy/{about['class']}/callers").poisson(max(mean - 1, 0.0), accounts)
    return _draw(seed, about, accounts, np.minimum(1 + extra, 6), "each"), 1.0


def simulate_policy(
    classes: Sequence[Mapping[str, Any]], policy: Mapping[str, Mapping[str, Any]], seed: str
) -> list[dict[str, Any]]:
    """Eight quarters of each class under its rule; the same seed gives the same callers and leaks whatever the policy.

    classes: dicts with class, accounts (number), callers_per_account, lag_median_days and lag_sigma (log-normal: from delivery
    until a caller uses the new version), laggard_share (of callers, in each rotation), leaks_per_year (of one account),
    found_share and found_median_days (leaks that somebody reports, and after how long). policy: for each class
    rotate_every_days, overlap_days, at_bound, leak_minutes, tell, accounts.

    Returns for each class: usd and costs by kind (US dollars for each account and year), rotations, callers_cut_off,
    longest_overlap_days (None: without end), leaks_found, callers_hit_per_leak.
    """
    return [result for about in classes for result in simulate_rules(about, [policy[about["class"]]], seed)]


def simulate_rules(about: Mapping[str, Any], rules: Sequence[Mapping[str, Any]], seed: str) -> list[dict[str, Any]]:
    """One class under each of some rules, on the same draws: what simulate_policy returns for it."""
    shared = [rule["accounts"] == "one shared" for rule in rules]
    draws = {s: _class_draws(seed, about, s) for s in set(shared)}
    return [_run(about, rule, *draws[s]) for rule, s in zip(rules, shared, strict=True)]
