"""What lab 3.6 judges: tables after batches in any order, reruns, kills at every statement, and backfills.

The truth is an exactly-once book kept in plain Python (class Books): no SQL, nothing of the reference
solution. It is asked once for each case, and checks have the rows that it found. The batches are made of
the world's own order histories, dealt anew so that each seed asks for every difficulty.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np

from workshop.checks import CheckFailed, Evidence, LearnerError, check, expect
from workshop.table import Table
from workshop.trusted import JudgedDatabase, Lab

SUBJECTS = ("order_batches",)

RAW = [
    "batch_id",
    "landed_at",
    "source",
    "record_no",
    "order_id",
    "version",
    "event",
    "event_at",
    "status",
    "ordered_on",
    "customer_id",
    "country_code",
    "channel",
    "currency",
    "item_count",
    "total_amount",
    "total_usd",
]
ORDERS = [
    "order_id",
    "version",
    "status",
    "ordered_on",
    "customer_id",
    "country_code",
    "channel",
    "total_usd",
    "loaded_from",
    "loaded_at",
]
DAILY = ["ordered_on", "order_count", "cancelled_count", "total_usd", "loaded_at"]
SETUP = (
    "create schema raw",
    "create table raw.order_batches (batch_id varchar, landed_at timestamp, source varchar, record_no integer, "
    "order_id bigint, version integer, event varchar, event_at timestamp, status varchar, ordered_on date, "
    "customer_id bigint, country_code varchar, channel varchar, currency varchar, item_count utinyint, total_amount "
    "decimal(14, 2), total_usd decimal(14, 2))",
    "create table orders (order_id bigint, version integer, status varchar, ordered_on date, customer_id bigint, "
    "country_code varchar, channel varchar, total_usd decimal(14, 2), loaded_from varchar, loaded_at timestamp)",
    "create table orders_daily (ordered_on date, order_count bigint, cancelled_count bigint, total_usd decimal(18, "
    "2), loaded_at timestamp)",
)
MOST_ROWS = 20_000  # no case comes near: more than these are wrong whatever they are
# The casts make rows comparable one to one, whatever types a rebuilt table has been given; a sum of nothing is 0.
READ_ORDERS = (
    "select order_id::bigint, version::integer, status::varchar, ordered_on::date, customer_id::bigint, "
    "country_code::varchar, channel::varchar, total_usd::decimal(18, 2), loaded_from::varchar, loaded_at::timestamp "
    f"from orders order by all limit {MOST_ROWS}"
)
READ_DAILY = (
    "select ordered_on::date, coalesce(order_count, 0)::bigint, coalesce(cancelled_count, 0)::bigint, "
    "coalesce(total_usd, 0)::decimal(18, 2), "
    f"loaded_at::timestamp from orders_daily order by all limit {MOST_ROWS}"
)
WRITES_PER_ROW = 3  # stage, delete, insert
MOST_KILLS = 20  # where more kills would leave different tables behind, this many of them, spread evenly
MOST_TRIALS = 24  # of the search for the smallest failing batch
SEARCH_S = 3.0  # and its time: slow answers get a larger case, never another verdict

Record = dict[str, Any]


# -- the exactly-once book ------------------------------------------------------------------------------------------------


Entry = tuple[int, tuple]  # of the rows of one order, the one with the highest number stands


@dataclass(frozen=True)
class Batch:
    """Records that landed together. ``entries``: by record, what the book makes of it."""

    batch_id: str
    landed_at: datetime
    records: tuple[Record, ...]
    entries: tuple[Entry, ...] = ()

    def rows(self) -> list[tuple]:
        """Rows of raw.order_batches."""
        own = {"batch_id": self.batch_id, "landed_at": self.landed_at}
        return [tuple({**r, **own, "record_no": i}[c] for c in RAW) for i, r in enumerate(self.records, 1)]

    def only(self, places: Sequence[int]) -> Batch:
        """The same batch with fewer records."""
        records, entries = (tuple(x[i] for i in places) for x in (self.records, self.entries))
        return replace(self, records=records, entries=entries)


@dataclass(frozen=True)
class State:
    """Rows of orders and of orders_daily, sorted."""

    orders: list[tuple]
    daily: list[tuple]

    def of_days(self, days: set[date], inside: bool = True) -> State:
        """The part on these days, or on all others."""
        return State(
            [r for r in self.orders if (r[3] in days) == inside],
            [r for r in self.daily if (r[0] in days) == inside],
        )


@dataclass
class Books:
    """Both tables when every change counts once: the highest version wins, a version already held changes
    nothing."""

    orders: dict[int, tuple] = field(default_factory=dict)
    daily: dict[date, tuple] = field(default_factory=dict)

    def load(self, batch: Batch) -> set[date]:
        """Enters a batch; returns the days that changed."""
        touched: set[date] = set()
        for r in batch.records:
            held = self.orders.get(r["order_id"])
            if held is None or r["version"] > held[1]:
                self.orders[r["order_id"]] = order_row(r, batch)
                touched |= {r["ordered_on"]} | ({held[3]} if held else set())
        for day in touched:
            self.daily.pop(day, None)
            self.daily.update(summed((r for r in self.orders.values() if r[3] == day), COUNTED))
        return touched

    def state(self) -> State:
        """The rows."""
        return State(sorted(self.orders.values()), sorted(self.daily.values()))


def order_row(r: Record, batch: Batch) -> tuple:
    """The row of orders that a record makes."""
    return (*(r[c] for c in ORDERS[:8]), batch.batch_id, batch.landed_at)


COUNTED = {"cancelled": (0, 1)}  # what orders of a status add to order_count and cancelled_count; all others (1, 0)


def _counts(lab: Lab) -> dict[str, tuple[int, int]]:
    return lab.kept("counts", lambda: COUNTED)


def summed(rows: Iterable[tuple], counts: dict[str, tuple[int, int]]) -> dict[date, tuple]:
    """Rows of orders_daily, by day, of rows of orders, each of which adds to its day what ``counts`` says of its status."""
    days: dict[date, list] = {}
    for r in rows:
        day = days.setdefault(r[3], [0, 0, Decimal(0), r[9]])
        stands, fell = counts.get(r[2], (1, 0))
        day[0] += stands
        day[1] += fell
        day[2] += (r[7] or 0) if stands else 0
        day[3] = max((t for t in (day[3], r[9]) if t is not None), default=None)
    return {d: (d, *v) for d, v in days.items()}


# -- cases, from the world's own orders -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """Tables as they stand, batches that have landed, and the order in which they are loaded (all of them,
    as a rule)."""

    before: State
    landed: tuple[Batch, ...]
    loads: tuple[str, ...]

    def batch(self, batch_id: str) -> Batch:
        """A batch by its id."""
        return next(b for b in self.landed if b.batch_id == batch_id)

    def items(self) -> list[tuple[str, int]]:
        """Every record, as batch and position."""
        return [(b.batch_id, i) for b in self.landed for i in range(len(b.records))]

    def only(self, items: Sequence[tuple[str, int]]) -> Case:
        """The case with these records alone; batches left without any are not loaded."""
        keep = set(items)
        landed = tuple(
            b.only(places)
            for b in self.landed
            if (places := [i for i in range(len(b.records)) if (b.batch_id, i) in keep])
        )
        ids = {b.batch_id for b in landed}
        return Case(self.before, landed, tuple(x for x in self.loads if x in ids))

    def standing(self, loads: int) -> list[tuple]:
        """Rows of orders after so many loads, by the numbers of the entries; what stood before has 0."""
        entries = [(0, row) for row in self.before.orders]
        entries += [e for batch_id in self.loads[:loads] for e in self.batch(batch_id).entries]
        return sorted({row[0]: row for _, row in sorted(entries, key=lambda e: e[0])}.values())


def _entered(held: dict[int, tuple], landed: Iterable[Batch], loads: Sequence[str]) -> tuple[Batch, ...]:
    """The batches with their entries, whatever part of them is loaded, in that order, upon the rows held. Of an order's records
    a higher version has a higher number, and of one version the first to be loaded; below 0 is what changes nothing."""
    batches = {b.batch_id: b for b in landed}
    places = [(batch_id, i) for batch_id in loads for i in range(len(batches[batch_id].records))]
    rising = sorted(reversed(places), key=lambda place: batches[place[0]].records[place[1]]["version"])
    numbers = {place: n for n, place in enumerate(rising, 1)}

    def entry(batch: Batch, i: int) -> Entry:
        row, number = order_row(batch.records[i], batch), numbers[batch.batch_id, i]
        stays = row[0] in held and held[row[0]][1] >= row[1]
        return -number if stays else number, row

    return tuple(replace(b, entries=tuple(entry(b, i) for i in range(len(b.records)))) for b in batches.values())


@dataclass(frozen=True)
class Cast:
    """Histories of orders (records by version, each version once), by what happened to them."""

    moved: list[list[Record]]
    reinstated: list[list[Record]]
    cancelled: list[list[Record]]
    amended: list[list[Record]]
    plain: list[list[Record]]
    first_day: date


def _cast(lab: Lab, rng: np.random.Generator) -> Cast:
    """About forty orders of each world, drawn by the check."""
    rows = lab.world.sql(
        "select distinct on (order_id, version) * from raw.order_batches where order_id in "
        "(select order_id from raw.order_batches where version > 1 and ordered_on < date '2026-06-20') "
        "order by order_id, version, landed_at"
    ).dicts()
    histories: dict[int, list[Record]] = {}
    for r in rows:
        histories.setdefault(r["order_id"], []).append(r)
    kinds: dict[str, list[list[Record]]] = {k: [] for k in ("moved", "reinstated", "cancelled", "amended", "plain")}
    for h in histories.values():
        if h[0]["version"] != 1:
            continue
        events = {r["event"] for r in h}
        if len({r["ordered_on"] for r in h}) > 1:
            kinds["moved"].append(h)
        elif "reinstated" in events:
            kinds["reinstated"].append(h)
        elif h[-1]["status"] == "cancelled":
            kinds["cancelled"].append(h)
        elif "corrected" in events:
            kinds["amended"].append(h)
        elif len(h) > 1:
            kinds["plain"].append(h)

    def some(kind: str, n: int) -> list[list[Record]]:
        found = kinds[kind]
        return [found[i] for i in rng.permutation(len(found))[:n]]

    counts = {"moved": 14, "reinstated": 4, "cancelled": 6, "amended": 4, "plain": 60}
    return Cast(**{k: some(k, n) for k, n in counts.items()}, first_day=min(r["ordered_on"] for r in rows))


def cast(lab: Lab) -> Cast:
    """The cast of a world; moves that a small world lacks are made from plain orders."""
    # Only cases are made of it, and they are kept: a release needs none.
    return lab.cached("cast", lambda: _whole_cast(lab, lab.rng("cast")))


def _whole_cast(lab: Lab, rng: np.random.Generator) -> Cast:
    found = _cast(lab, rng)
    while len(found.moved) < 8:
        h = found.plain.pop()
        first = {**h[0], "ordered_on": h[0]["ordered_on"] - timedelta(days=1)}
        found.moved.append([first, *h[1:-1], {**h[-1], "event": "corrected"}])
    return found


def _landing(rng: np.random.Generator, n: int, after: datetime = datetime(2026, 6, 22)) -> list[tuple[str, datetime]]:
    """Names and landing times of n storefront files, in order of landing."""
    start = int(rng.integers(0, 12))
    closed = [after + timedelta(hours=6 * (start + i)) for i in range(n)]
    return [(f"storefront-{t:%Y%m%d-%H}", t + timedelta(seconds=int(rng.integers(30, 400)))) for t in closed]


def _next(r: Record, event: str, status: str, **changes: Any) -> Record:
    """The order's next version."""
    later = r["event_at"] + timedelta(hours=5)
    return {**r, "version": r["version"] + 1, "event": event, "status": status, "event_at": later, **changes}


def shuffled(lab: Lab, name: str, orders: int = 7, files: int = 6) -> Case:
    """Empty tables; some files, one of them sent twice, loaded in an order that is not that of landing."""
    return lab.kept(name, lambda: _shuffled(lab, lab.rng(name), orders, files))


def _shuffled(lab: Lab, rng: np.random.Generator, orders: int, files: int) -> Case:
    people = cast(lab)
    moved, rest = people.moved, people.plain
    pick = [int(i) for i in rng.permutation(8)]
    histories = [moved[i] for i in pick[:5]] + people.reinstated[:2] + people.cancelled[:3] + people.amended[:2]
    others = [rest[i] for i in rng.permutation(len(rest))[: orders + 3]]
    histories += others[3:]
    # There and back again: the third version returns to the first day.
    first, *_, last = moved[pick[5]]
    histories.append([first, last, _next(last, "corrected", last["status"], ordered_on=first["ordered_on"])])
    # The clock of the source goes wrong: the later version bears the earlier time.
    first, *_, last = moved[pick[7]]
    histories.append([first, {**last, "event_at": first["event_at"] - timedelta(days=2)}])

    deck: list[list[Record]] = [[] for _ in range(files)]
    for i, h in enumerate(histories):
        places = sorted(int(p) for p in rng.choice(files, size=min(len(h), files), replace=False))
        # In order; newest first; all in one file; in any order.
        places = (places, places[::-1], [places[0]] * len(h), list(rng.permutation(places)))[i % 4]
        for r, p in zip(h, places, strict=False):
            deck[p].append(r)
    for p in range(files):  # delivered at least once
        own = list(deck[p])
        for i in rng.permutation(len(own))[: 1 + len(own) // 8]:
            deck[p].append(own[i])
        for i in rng.permutation(len(own))[: 1 + len(own) // 8]:
            deck[int(rng.integers(0, files))].append(own[i])
    # Not left to chance. Alone on its day: when the order moves, the day has no order left.
    first, *_, last = moved[pick[6]]
    alone = people.first_day - timedelta(days=int(rng.integers(2, 9)))
    early, late = sorted(int(p) for p in rng.choice(files, size=2, replace=False))
    deck[early].append({**first, "ordered_on": alone})
    deck[late].append(last)
    # Cancelled, and alive again in a file that is loaded later.
    placed = others[1][0]
    gone = _next(placed, "cancelled", "cancelled")
    back = _next(gone, "reinstated", placed["status"])
    for r, p in zip((placed, gone, back), sorted(rng.choice(files, size=3, replace=False)), strict=True):
        deck[int(p)].append(r)
    # Two versions in one file, and the clock of the source says that the older one is newer.
    placed = others[2][0]
    later = _next(placed, "corrected", placed["status"], total_usd=placed["total_usd"] + Decimal("1.25"))
    deck[int(rng.integers(0, files))] += [placed, {**later, "event_at": placed["event_at"] - timedelta(hours=3)}]
    # Brought by both files of which one is sent twice, and never changed: nothing may stamp it anew.
    for p in (0, 1):
        deck[p].append(others[0][0])
    names = _landing(rng, files)
    landing: list[int] = []
    while sum(p < max(landing[:i]) for i, p in enumerate(landing) if i) < 2:  # two files at least are late
        landing = [int(p) for p in rng.permutation(files)]
    batches = [
        Batch(*names[landing[p]], tuple(deck[p][i] for i in rng.permutation(len(deck[p])))) for p in range(files)
    ]
    again = batches[int(rng.integers(0, 2))]
    copy = Batch(f"{again.batch_id}-resent", names[-1][1] + timedelta(hours=20), again.records)
    batches.insert(int(rng.integers(2, files + 1)), copy)
    loads = tuple(b.batch_id for b in batches)
    return Case(State([], []), _entered({}, sorted(batches, key=lambda b: b.landed_at), loads), loads)


def held_and_batch(lab: Lab, name: str) -> Case:
    """Tables with orders from files that are no longer kept, and one small file that asks for everything
    at once."""
    return lab.kept(name, lambda: _held_and_batch(lab, lab.rng(name)))


def _held_and_batch(lab: Lab, rng: np.random.Generator) -> Case:
    people = cast(lab)
    moved = [people.moved[i] for i in rng.permutation(len(people.moved))[:5]]
    plain = [people.plain[i] for i in rng.permutation(len(people.plain))[:12]]
    days = sorted({h[0]["ordered_on"] for h in plain})
    held = [h[0] for h in plain[:8]]
    records: list[Record] = []
    # A move whose old day keeps other orders, one that leaves its day empty, one to a day that was empty.
    stay, alone, fresh = moved[0], moved[1], moved[2]
    held.append({**stay[0], "ordered_on": held[0]["ordered_on"]})
    records.append({**stay[-1], "ordered_on": held[1]["ordered_on"]})
    held.append({**alone[0], "ordered_on": people.first_day - timedelta(days=3)})
    records.append({**alone[-1], "ordered_on": held[2]["ordered_on"]})
    held.append({**fresh[0], "ordered_on": held[3]["ordered_on"]})
    records.append({**fresh[-1], "ordered_on": people.first_day - timedelta(days=5)})
    # An older version of an order that has moved on, a version that is there already.
    held.append(moved[3][-1])
    records.append(moved[3][0])
    records.append(plain[7][0])
    # The next version of held orders, and a cancellation; new orders, one of them in two versions and twice.
    records += [h[1] for h in plain[:3]]
    records.append(_next(plain[4][0], "cancelled", "cancelled"))
    records += [plain[8][0], {**plain[9][0], "ordered_on": days[0]}]
    records += [plain[10][1], plain[10][0], plain[10][1]]
    old = _landing(rng, 3, datetime(2026, 3, 1))
    books = Books()
    for i, (batch_id, landed_at) in enumerate(old):
        books.load(Batch(batch_id, landed_at, tuple(held[i::3])))
    batch = Batch(*_landing(rng, 1)[0], tuple(records[i] for i in rng.permutation(len(records))))
    return Case(books.state(), _entered(books.orders, [batch], [batch.batch_id]), (batch.batch_id,))


HISTORY_DAYS, ORDERS_A_DAY, HISTORY_END = 60, 10, date(2026, 6, 18)


@dataclass(frozen=True)
class SmallBatch:
    """Large tables and a small batch. ``touched``: days on which it changes an order; ``concerned``: how many days it is
    about, ``on_days``: and how many orders stand on them in the end."""

    case: Case
    touched: set[date]
    concerned: int
    on_days: int


def long_history(lab: Lab, name: str) -> SmallBatch:
    """Sixty days of held orders, some of their rows adjusted by hand, and one file that changes a few
    days."""
    return lab.kept(name, lambda: _long_history(lab, lab.rng(name)))


def _long_history(lab: Lab, rng: np.random.Generator) -> SmallBatch:
    rows = lab.world.sql(
        "select distinct on (order_id) * from raw.order_batches where ordered_on between "
        f"date '{HISTORY_END}' - {HISTORY_DAYS - 1} and date '{HISTORY_END}' order by order_id, version desc"
    ).dicts()
    by_day: dict[date, list[Record]] = {}
    thin = -(-(ORDERS_A_DAY + 2) * HISTORY_DAYS // len(rows))  # a small world has too few orders a day: join days
    for r in rows:
        day = HISTORY_END - timedelta(days=(HISTORY_END - r["ordered_on"]).days // thin)
        by_day.setdefault(day, []).append({**r, "ordered_on": day})
    days = sorted(by_day)
    held: dict[date, list[Record]] = {}
    spare: dict[date, list[Record]] = {}
    for d in days:
        mix = [by_day[d][i] for i in rng.permutation(len(by_day[d]))]
        held[d], spare[d] = mix[:ORDERS_A_DAY], mix[ORDERS_A_DAY : ORDERS_A_DAY + 2]
    books = Books()
    for (batch_id, landed_at), part in zip(_landing(rng, 6, datetime(2026, 3, 1)), range(6), strict=True):
        books.load(Batch(batch_id, landed_at, tuple(r for d in days for r in held[d][part::6])))
    chosen = [days[i] for i in rng.permutation(len(days))[:9]]
    changed, mentioned, adjusted = chosen[:4], chosen[4:7], chosen[7:]
    records: list[Record] = []
    for d in changed:
        records += [
            _next(held[d][0], "cancelled", "cancelled"),
            _next(held[d][1], "completed", "completed"),
        ]
        records += spare[d][:1]
    records.append(_next(held[changed[0]][2], "corrected", held[changed[0]][2]["status"], ordered_on=changed[1]))
    for d in mentioned:  # delivered before: nothing on these days may change
        records.append(held[d][0])
    for d in [*adjusted, mentioned[0]]:
        day = books.daily[d]
        books.daily[d] = (
            d,
            day[1] + 1,
            day[2],
            day[3] + Decimal(int(rng.integers(500, 9000))) / 100,
            day[4],
        )
    for d in [*adjusted, mentioned[1]]:  # the last of them comes again, in the version that the table holds
        order = held[d][0]["order_id"]
        row = books.orders[order]
        books.orders[order] = (*row[:7], row[7] + 1, *row[8:])
    batch = Batch(*_landing(rng, 1)[0], tuple(records[i] for i in rng.permutation(len(records))))
    before = books.state()
    brought = {r["order_id"] for r in records}
    near = {r["ordered_on"] for r in records} | {r[3] for r in before.orders if r[0] in brought}
    touched = books.load(batch)
    on_days = sum(r[3] in near for r in books.orders.values())
    return SmallBatch(Case(before, (batch,), (batch.batch_id,)), touched, len(near), on_days)


@dataclass(frozen=True)
class Damage:
    """Task b: landed batches, tables with a damaged range, and both as they should be."""

    landed: tuple[Batch, ...]
    before: State
    right: State
    first: date
    last: date

    @property
    def days(self) -> set[date]:
        """The days of the range."""
        return {self.first + timedelta(days=i) for i in range((self.last - self.first).days + 1)}


def damaged(lab: Lab, name: str, length: int) -> Damage:
    """Ten days of orders; a range of ``length`` + 1 days within them holds what faulty loads have left."""
    return lab.kept(name, lambda: _damaged(lab, lab.rng(name), length))


def _damaged(lab: Lab, rng: np.random.Generator, length: int) -> Damage:
    people = cast(lab)
    start = date(2026, 5, 1) + timedelta(days=int(rng.integers(0, 30)))
    days = [start + timedelta(days=i) for i in range(10)]
    first, last = days[3], days[3 + length]
    inside, empty = days[3 : 4 + length], days[4]
    if length == 0:
        empty = days[8]  # a range of one day keeps its orders
    plain = [people.plain[i] for i in rng.permutation(len(people.plain))[:36]]
    moved = [people.moved[i] for i in rng.permutation(len(people.moved))[:6]]
    homes = [d for d in days if d != empty]
    histories = [[{**r, "ordered_on": homes[i % len(homes)]} for r in h] for i, h in enumerate(plain[:30])]

    def move(h: list[Record], old: date, new: date) -> list[Record]:
        return [{**r, "ordered_on": old} for r in h[:-1]] + [{**h[-1], "ordered_on": new}]

    out_of = move(moved[0], first, days[0])
    into = move(moved[1], days[9], last)
    within = move(moved[2], inside[-1], inside[0])
    leaves_empty = move(moved[3], empty, days[1])
    beyond = move(moved[4], days[0], days[9])
    histories += [out_of, into, within, leaves_empty, beyond]
    # The clock of the source goes wrong: the version that stands bears the earliest time.
    clock = next(h for h in histories if len(h) > 1 and h[-1]["ordered_on"] in inside)
    clock[-1] = {**clock[-1], "event_at": clock[0]["event_at"] - timedelta(days=2)}
    # Landed over three days, older versions at times after newer ones, some records twice.
    files = 5
    deck: list[list[Record]] = [[] for _ in range(files)]
    twice = (into, within)  # the version that stands came in two files, and the first of them has brought it
    for i, h in enumerate(histories):
        places = sorted(int(p) for p in rng.integers(0, files, size=len(h)))
        for r, p in zip(h, places[::-1] if i % 3 == 0 else places, strict=True):
            if r is h[-1] and any(h is t for t in twice):
                continue
            deck[p].append(r)
            if rng.random() < 0.2:
                deck[int(rng.integers(0, files))].append(r)
    names = _landing(rng, files, datetime(2026, 6, 18))
    # One file is late: another, whose name is later, lands before it.
    late, early = sorted(int(p) for p in rng.choice(files, size=2, replace=False))
    names[late], names[early] = (names[late][0], names[early][1]), (names[early][0], names[late][1])
    for h in twice:
        deck[late].append(h[-1])
        deck[early].append(h[-1])
    landed = tuple(Batch(*n, tuple(d[i] for i in rng.permutation(len(d)))) for n, d in zip(names, deck, strict=True))
    books = Books()
    archived = [{**h[0], "ordered_on": d} for h, d in zip(plain[30:], [*days[:3], *days[7:]], strict=True)]
    books.load(Batch(*_landing(rng, 1, datetime(2026, 3, 1))[0], tuple(archived)))
    for b in sorted(landed, key=lambda b: b.landed_at):
        books.load(b)
    # By hand, outside the range: what backfill must leave alone.
    for d in (days[2], days[7]):
        day = books.daily[d]
        books.daily[d] = (d, day[1], day[2] + 1, day[3] - Decimal("12.50"), day[4])
    for order in (archived[-1]["order_id"], out_of[-1]["order_id"]):
        row = books.orders[order]
        books.orders[order] = (*row[:7], row[7] + 7, *row[8:])
    return Damage(landed, _damage(books, histories, out_of, set(inside), rng), books.state(), first, last)


def _damage(
    books: Books,
    histories: list[list[Record]],
    out_of: list[Record],
    days: set[date],
    rng: np.random.Generator,
) -> State:
    """The same tables with the range spoilt: rows missing, doubled, outdated, foreign, and a summary to
    match."""
    rows = sorted(books.orders.values())
    firsts = {h[0]["order_id"]: h[0] for h in histories}
    keys = [r[0] for r in rows if r[3] in days]
    gone, twice, stale, wrong = (keys[i] for i in rng.permutation(len(keys))[:4])
    spoilt: list[tuple] = []
    for r in rows:
        if r[0] == gone:
            continue
        row = r
        if r[0] == stale and r[0] in firsts:
            row = (*order_row(firsts[r[0]], Batch(r[8], r[9], ()))[:3], *r[3:])
        if r[0] == wrong:
            row = (*r[:7], r[7] * 3, *r[8:])
        spoilt.append(row)
        if r[0] == twice:
            spoilt.append((*r[:8], "storefront-replay", r[9] + timedelta(hours=6)))
    ghost = out_of[0]
    spoilt.append(order_row(ghost, Batch("storefront-replay", datetime(2026, 6, 17, 6, 2), ())))
    day = sorted(days)[-1]
    foreign = {**ghost, "order_id": 999_000_000 + int(rng.integers(0, 1000)), "ordered_on": day}
    spoilt.append(order_row(foreign, Batch("storefront-test", datetime(2026, 6, 17, 7, 1), ())))
    daily = {d: v for d, v in books.daily.items() if d not in days}
    daily.update((d, (d, v[1] + 2, v[2], v[3] * 2, v[4])) for d, v in books.daily.items() if d in days)
    for d in days - set(daily):
        daily[d] = (d, 1, 0, Decimal("31.40"), datetime(2026, 6, 17, 6, 2))
    if len(days) > 1:
        kept = sorted(d for d in days if d in books.daily)
        daily.pop(kept[int(rng.integers(0, len(kept)))])
    return State(sorted(spoilt), sorted(daily.values()))


# -- running the learner's code ------------------------------------------------------------------------------------------


def _database(lab: Lab, landed: Sequence[Batch], before: State) -> JudgedDatabase:
    tables = {
        "raw.order_batches": Table.of(RAW, [row for b in landed for row in b.rows()]),
        "orders": Table.of(ORDERS, before.orders),
        "orders_daily": Table.of(DAILY, before.daily),
    }
    return lab.database(SETUP, tables)


def _read(db: JudgedDatabase) -> State:
    return State(list(db.rows(READ_ORDERS).rows), list(db.rows(READ_DAILY).rows))


def _landing_is_whole(db: JudgedDatabase, landed: Sequence[Batch]) -> None:
    expect(
        db.rows("select count(*) from raw.order_batches").value() == sum(len(b.records) for b in landed),
        "raw.order_batches has lost or gained records. The landing table belongs to those who deliver: read it only.",
        ask="What would the next backfill be made from?",
    )


def _call(lab: Lab, name: str, *args: Any) -> None:
    """One run of a job. What it returns is not used, so it may be anything."""
    try:
        lab.call(name, *args)
    except LearnerError as error:
        if error.error_type != "CodecError":
            raise


def _load(lab: Lab, db: JudgedDatabase, batch_id: str) -> None:
    """One run in a connection of its own: what is not committed at its end is lost."""
    db.arm()
    _call(lab, "load", db, batch_id)
    db.crash()


def _search_ends() -> Callable[[], bool]:
    end = time.monotonic() + SEARCH_S
    return lambda: time.monotonic() > end


def smallest(items: list, fails: Callable[[list], bool], first_try: list) -> list:
    """The fewest items found that still fail: delta debugging (Zeller and Hildebrandt, 2002), within a
    budget."""
    over = _search_ends()
    trials = 0

    def still(some: list) -> bool:
        nonlocal trials
        trials += 1
        try:
            return fails(some)
        except CheckFailed:
            return False

    if 0 < len(first_try) < len(items) and still(first_try):
        items = first_try
    parts = 2
    while len(items) > 1 and trials < MOST_TRIALS and not over():
        size = -(-len(items) // parts)
        for i in range(0, len(items), size):
            rest = items[:i] + items[i + size :]
            if rest and trials < MOST_TRIALS and still(rest):
                items, parts = rest, max(2, parts - 1)
                break
        else:
            if size == 1:
                break
            parts = min(len(items), 2 * parts)
    return items


# -- what went wrong, in words --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Finding:
    """A difference: words, the misconception behind it, the order or day it is about, the next question,
    and rows."""

    words: str
    misconception: str | None
    about: Any
    ask: str
    rows: Table


# Which of several findings is shown: the one that explains the others.
WORST_FIRST = ("append_only", "not_committed", "skipped", None, "latest_by_arrival", "now", "tie_overwrites")


def compare_orders(
    got: list[tuple], want: list[tuple], landings: set[datetime], just: str | None = None
) -> Finding | None:
    """The worst difference between two states of orders, or None. ``just``: the batch that was loaded last."""
    if got == want:
        return None
    mine: dict[Any, list[tuple]] = {}
    for r in got:
        mine.setdefault(r[0], []).append(r)
    theirs = {r[0]: r for r in want}

    def show(order_id: Any) -> Table:
        rows = [("yours", *r) for r in mine.get(order_id, [])]
        return Table.of(["", *ORDERS], [*rows, *([("expected", *theirs[order_id])] if order_id in theirs else [])])

    twice = [k for k, rows in mine.items() if len(rows) > 1]
    if twice:
        k, n = twice[0], len(mine[twice[0]])
        return Finding(
            f"order {k} stands in orders {'twice' if n == 2 else f'{n} times'}{_of(len(twice), theirs)}",
            "append_only",
            k,
            "What tells a record that has been loaded before from a new one?",
            show(k),
        )
    missing = [k for k in theirs if k not in mine]
    if missing and not mine:
        return Finding(
            "orders is empty after the load: nothing was committed, or nothing was written",
            "not_committed",
            missing[0],
            "Each run has a connection of its own. What is lost when that connection closes?",
            show(missing[0]),
        )
    if missing:
        k = missing[0]
        brought = ", which this batch brings," if theirs[k][8] == just else ""
        return Finding(
            f"order {k}{brought} is missing from orders{_of(len(missing), theirs)}",
            "skipped",
            k,
            "Which of your conditions lets a record be passed over, or a row be deleted?",
            show(k),
        )
    extra = [k for k in mine if k not in theirs]
    if extra:
        return Finding(
            f"order {extra[0]} is in orders although no batch that was loaded brings it{_of(len(extra), theirs)}",
            None,
            extra[0],
            "Where do these rows come from?",
            show(extra[0]),
        )
    changed = [(k, mine[k][0], r) for k, r in theirs.items() if mine[k][0] != r]
    older = [c for c in changed if c[1][1] is None or c[1][1] < c[2][1]]
    passed = [c for c in older if c[2][8] == just and c[1][8] != just]
    if passed:
        k, g, w = passed[0]
        return Finding(
            f"version {w[1]} of order {k}, which this batch brings, was passed over: orders still holds version "
            f"{g[1]}{_of(len(passed), theirs)}",
            "skipped",
            k,
            "Which of your conditions lets a newer version be passed over?",
            show(k),
        )
    if older:
        k, g, w = older[0]
        return Finding(
            f"order {k} stands in version {g[1]} although version {w[1]} has been loaded{_of(len(older), theirs)}",
            "latest_by_arrival",
            k,
            "What decides which of two records of an order is the newer one: its place, a clock, or its version?",
            show(k),
        )
    k, g, w = changed[0]
    if g[1:8] == w[1:8]:
        if g[9] not in landings:
            return Finding(
                f"order {k} has loaded_at {g[9]}, which is the landing time of no batch; it landed at {w[9]}",
                "now",
                k,
                "What will this column say when the same batch is loaded again next month?",
                show(k),
            )
        return Finding(
            f"order {k} held version {w[1]} already, but its load columns were written again: loaded_from is {g[8]}, "
            f"the version came with {w[8]}{_of(len(changed), theirs)}",
            "tie_overwrites",
            k,
            "Which versions does your comparison let through when both are the same?",
            show(k),
        )
    columns = [c for c, a, b in zip(ORDERS, g, w, strict=True) if a != b]
    return Finding(
        f"order {k} differs in {', '.join(columns)}{_of(len(changed), theirs)}",
        None,
        k,
        "A record is a full image of the order: which columns do you take, and from which record?",
        show(k),
    )


def compare_daily(got: list[tuple], want: list[tuple]) -> Finding | None:
    """The worst difference between two states of orders_daily, or None."""
    if got == want:
        return None
    mine: dict[Any, list[tuple]] = {}
    for r in got:
        mine.setdefault(r[0], []).append(r)
    theirs = {r[0]: r for r in want}
    ask = "Which days does a batch touch: those in its records, or also those where its orders stood before?"

    def show(day: Any) -> Table:
        rows = [("yours", *r) for r in mine.get(day, [])]
        return Table.of(["", *DAILY], [*rows, *([("expected", *theirs[day])] if day in theirs else [])])

    for day, rows in mine.items():
        if len(rows) > 1:
            said = f"orders_daily has {len(rows)} rows for {day}"
            return Finding(said, "incremented", day, "What should happen to the row that a day already has?", show(day))
    for day in mine:
        if day not in theirs:
            said = f"orders_daily still has a row for {day}, though no order stands on that day any more"
            return Finding(said, "only_new_day", day, ask, show(day))
    for day, w in theirs.items():
        if day not in mine:
            return Finding(f"orders_daily has no row for {day}, where orders has some", None, day, ask, show(day))
        g = mine[day][0]
        if g != w:
            parts = [f"{c} {a}, which should be {b}" for c, a, b in zip(DAILY, g, w, strict=True) if a != b]
            kind = "only_new_day" if g[1:4] != w[1:4] else "now"
            return Finding(f"orders_daily says for {day}: {'; '.join(parts)}", kind, day, ask, show(day))
    return Finding("orders_daily differs", None, None, ask, Table.of(DAILY, got[:5]))


def compare(got: State, want: State, landings: set[datetime]) -> Finding | None:
    """The worst difference between two states of both tables, or None."""
    return compare_orders(got.orders, want.orders, landings) or compare_daily(got.daily, want.daily)


def _of(n: int, of: Any) -> str:
    """How many orders a finding is about, where it is not the only one."""
    return f" (and {n - 1} more of {len(of)} orders)" if n > 1 else ""


def _n(n: int, noun: str) -> str:
    return f"{n} {noun}{'s' * (n != 1)}"


def _shown(case: Case) -> Evidence:
    """The records of a small case in the order of loading."""
    columns = ["load", "batch_id", "order_id", "version", "event", "status", "ordered_on", "total_usd"]
    rows = [(i, b, *(r[c] for c in columns[2:])) for i, b in enumerate(case.loads, 1) for r in case.batch(b).records]
    return Evidence(
        f"the smallest case found: {_n(len(rows), 'record')}, in the order of loading",
        Table.of(columns, rows),
    )


def _near(case: Case, about: Any) -> list[tuple[str, int]]:
    """All records of the order that a finding is about, or of the orders that have ever stood on its day."""
    records = [(b.batch_id, i, r) for b in case.landed for i, r in enumerate(b.records)]
    ids = {r["order_id"] for _, _, r in records if about in (r["order_id"], r["ordered_on"])}
    ids |= {row[0] for row in case.before.orders if row[3] == about}
    return [(batch_id, i) for batch_id, i, r in records if r["order_id"] in ids]


def _landings(case: Case) -> set[datetime]:
    return {b.landed_at for b in case.landed} | {r[9] for r in case.before.orders}


Judgement = Callable[[Case], tuple[Finding, int] | None]


def _fail(case: Case, judge: Judgement, found: tuple[Finding, int], opening: str) -> None:
    """Reduces the case, and fails with what the smallest one shows. ``opening`` may name {batch}."""
    near = _near(case, found[0].about)
    same = found[0].misconception

    def fails(items: list) -> bool:
        result = judge(case.only(items))
        return result is not None and result[0].misconception == same

    small = case.only(smallest(case.items(), fails, near))
    finding, at = judge(small) or found
    if judge(small) is None:
        small = case
    at = min(at, len(small.loads) - 1)
    days = {r["ordered_on"] for b in small.landed for r in b.records}
    if finding.misconception == "only_new_day" and len(days) == 1:  # nothing has moved: the same is counted again
        ask = "What should happen to the row that a day already has?"
        finding = replace(finding, misconception="incremented", ask=ask)
    raise CheckFailed(
        f"{opening.format(batch=small.loads[at])} {finding.words}.",
        evidence=[_shown(small), Evidence("yours and expected", finding.rows)],
        ask=finding.ask,
        misconception=finding.misconception,
    )


def _by_the_clock(case: Case, finding: Finding) -> Finding:
    """The finding with a remark if the clock of the source puts the two versions in the wrong order."""
    if finding.misconception not in ("skipped", "latest_by_arrival"):
        return finding
    versions = {row[0]: row[2] for row in finding.rows}
    times = {r["version"]: r["event_at"] for b in case.landed for r in b.records if r["order_id"] == finding.about}
    mine, right = times.get(versions.get("yours")), times.get(versions.get("expected"))
    if mine is None or right is None or mine < right:
        return finding
    remark = f"{finding.words} (event_at, the clock of the source, is wrong about which is the later one)"
    return replace(finding, words=remark)


# -- task a --------------------------------------------------------------------------------------------------------------


@check("a", "batches in any order leave each order once, in its highest version", points=1.5)
def highest_version_once(lab: Lab) -> None:
    """After each load orders equals the exactly-once book. Duplicates, redelivered files, older versions
    after newer ones, reinstated orders, wrong clocks and moves are in every case."""

    def judge(case: Case) -> tuple[Finding, int] | None:
        db = _database(lab, case.landed, case.before)
        found: list[tuple[Finding, int]] = []
        try:
            for i, batch_id in enumerate(case.loads):
                _load(lab, db, batch_id)
                finding = compare_orders(
                    list(db.rows(READ_ORDERS).rows), case.standing(i + 1), _landings(case), batch_id
                )
                if finding:
                    found.append((_by_the_clock(case, finding), i))
        finally:
            db.close()
        return min(found, key=lambda f: WORST_FIRST.index(f[0].misconception), default=None)

    case = shuffled(lab, "shuffled/orders")
    found = judge(case)
    if found:
        _fail(case, judge, found, "After loading {batch},")


@check("a", "every day of the summary agrees with the orders on it, also where orders have moved away", points=1)
def days_agree(lab: Lab) -> None:
    """After each load orders_daily equals what the learner's own orders add up to: a mistake in orders
    costs nothing here. Orders move to another day, back again, and away from a day on which they stood
    alone."""

    def judge(case: Case) -> tuple[Finding, int] | None:
        db, seen = _database(lab, case.landed, case.before), set()
        try:
            for i, batch_id in enumerate(case.loads):
                _load(lab, db, batch_id)
                seen |= {r["order_id"] for r in case.batch(batch_id).records}
                state = _read(db)
                rows = [r for r in state.orders if r[3] is not None]
                expect(
                    seen & {r[0] for r in rows},
                    f"After loading {batch_id} none of its orders stands on a day in orders: there is nothing to add up.",
                    ask="Was it committed?",
                    misconception="not_committed",
                )
                finding = compare_daily(state.daily, sorted(summed(rows, _counts(lab)).values()))
                if finding:
                    return finding, i
        finally:
            db.close()
        return None

    case = shuffled(lab, "shuffled/days", orders=4, files=4)
    found = judge(case)
    if found:
        _fail(case, judge, found, "After loading {batch},")


@check("a", "loading a batch again changes nothing, load columns included", points=1)
def rerun_changes_nothing(lab: Lab) -> None:
    """All batches once, then three of them again, in another order: both tables stay as they were, row by
    row."""

    def judge(case: Case) -> tuple[Finding, int] | None:
        db = _database(lab, case.landed, case.before)
        try:
            for batch_id in case.loads:
                _load(lab, db, batch_id)
            before = _read(db)
            brought = {r["order_id"] for b in case.landed for r in b.records}
            expect(
                brought & {r[0] for r in before.orders},
                "None of the orders of the batches is in orders after loading them: there is nothing to repeat.",
                ask="Was it committed?",
                misconception="not_committed",
            )
            for batch_id in case.loads[:3][::-1]:
                _load(lab, db, batch_id)
                after = _read(db)
                if after != before:
                    return _difference(before, after, _landings(case)), case.loads.index(batch_id)
        finally:
            db.close()
        return None

    case = shuffled(lab, "shuffled/rerun", orders=4, files=4)
    found = judge(case)
    if found:
        _fail(case, judge, found, "All batches had been loaded; loading {batch} again")


def _difference(before: State, after: State, landings: set[datetime]) -> Finding:
    """What has changed where nothing should."""
    ask = "Which statement of yours has another effect when it is run a second time?"
    name, columns, old, new = (
        ("orders", ORDERS, before.orders, after.orders)
        if before.orders != after.orders
        else ("orders_daily", DAILY, before.daily, after.daily)
    )
    gone, come = Counter(old) - Counter(new), Counter(new) - Counter(old)
    rows = [("before", *r) for r in list(gone)[:4]] + [("after", *r) for r in list(come)[:4]]
    about = (list(come) or list(gone))[0]
    kind, words = None, f"changed {_n(max(len(gone), len(come)), 'row')} of {name}"
    if name == "orders" and len(new) > len(old):
        kind, words = "append_only", f"added {_n(len(new) - len(old), 'row')} to orders"
    elif name == "orders_daily":
        kind = "incremented"
    elif gone and come and all(g[:8] in {c[:8] for c in come} for g in gone):
        kind = "tie_overwrites" if all(c[9] in landings for c in come) else "now"
        words += ", in their load columns only"
    return Finding(words, kind, about[0], ask, Table.of(["", *columns], rows))


@check(
    "a",
    "days that a batch does not touch keep every row, and the work done is in proportion to the batch",
    points=1,
)
def untouched_days(lab: Lab) -> None:
    """600 orders of files that are no longer kept, with adjustments made by hand; one batch changes four
    days. Rows of all other days are compared before and after; rows written come from the database's
    own counts."""
    small = long_history(lab, "long history")
    case, touched = small.case, small.touched
    batch = case.landed[0]
    db = _database(lab, case.landed, case.before)
    db.arm()
    _call(lab, "load", db, batch.batch_id)
    log = db.log()
    db.crash()
    state = _read(db)
    before = case.before.of_days(touched, inside=False)
    after = state.of_days(touched, inside=False)
    _landing_is_whole(db, case.landed)
    expect(
        {r["order_id"] for r in batch.records} - {r[0] for r in case.before.orders} <= {r[0] for r in state.orders},
        f"Orders that {batch.batch_id} brings for the first time are not in orders after loading it.",
        ask="Was it committed?",
        misconception="not_committed",
    )
    if after != before:
        finding = _difference(before, after, _landings(case))
        held = {(r["order_id"], r["version"]) for r in batch.records}
        repeats = [r for r in before.orders if (r[0], r[1]) in held and r not in set(after.orders)]
        kind = "tie_overwrites" if repeats and len(after.orders) == len(before.orders) else "full_refresh"
        raise CheckFailed(
            f"{batch.batch_id} touches {_n(len(touched), 'day')}, but loading it {finding.words} on other days.",
            evidence=Evidence("on days that the batch does not touch", finding.rows),
            ask="Tables are also read and adjusted by others, and old files are not kept: which rows may a load write?",
            misconception=kind,
        )
    allowed = WRITES_PER_ROW * (len(batch.records) + small.on_days + small.concerned)
    written = sum(s["rows_written"] for s in log)
    rows = [(i, s["rows_written"], _head(s["sql"])) for i, s in enumerate(log, 1) if s["rows_written"]]
    rows.sort(key=lambda r: -r[1])
    expect(
        written <= allowed,
        f"Loading {batch.batch_id} wrote {written:,} rows. It has {len(batch.records)} records, on {small.concerned} days "
        f"with {small.on_days} orders: {allowed} rows ({WRITES_PER_ROW} times all of these) are enough, however large the "
        "tables are.",
        evidence=Evidence("rows written by statement", Table.of(["statement", "rows_written", "sql"], rows[:12])),
        ask="What would this load cost with five years of orders in the table?",
        misconception="full_refresh",
    )


@dataclass(frozen=True)
class Frame:
    """One kill: before which statement, what the tables held then, and after the rerun."""

    killed: int
    statement: str
    then: str
    after: State | None
    wrong: Finding | None
    note: str


def _head(sql: str) -> str:
    return " ".join(sql.split())[:64]


def _kills(log: Sequence[dict[str, Any]]) -> list[int]:
    """Statements before which to kill. Within a transaction every kill leaves the same tables behind, and
    so does one after a statement that only reads: of these the last is taken. The first and the one
    after the end always are."""
    kills, is_open = {0, len(log)}, False
    for k, statement in enumerate(log):
        first_word = statement["sql"].split(None, 1)[0].lower().strip(";")
        if statement["kind"] == "TRANSACTION":
            is_open = first_word in ("begin", "start")
            kills.add(k if not is_open else 0)
            kills.add(k + 1 if not is_open else 0)
        elif not is_open and statement["kind"] != "SELECT":
            kills |= {k, k + 1}
    found = sorted(kills)
    if len(found) > MOST_KILLS:
        found = sorted({found[round(i * (len(found) - 1) / (MOST_KILLS - 1))] for i in range(MOST_KILLS)})
    return found


def _lost(got: State, want: State) -> str:
    """What a wrong end state lacks and has too much, in a few words."""
    parts = []
    for noun, mine, theirs in (("order", got.orders, want.orders), ("day", got.daily, want.daily)):
        lost = sum((Counter(theirs) - Counter(mine)).values())
        more = sum((Counter(mine) - Counter(theirs)).values())
        if lost or more:
            parts.append(f"{_n(lost, noun)} lost, {more} wrong")
    return "; ".join(parts) or "right"


def _strip(frames: list[Frame]) -> Evidence:
    rows, upto = [], 0
    for f in frames:
        place = str(f.killed + 1) if f.killed == upto else f"{upto + 1} to {f.killed + 1}"
        upto = f.killed + 1
        rows.append((place if f.statement else "after the last", f.statement, f.then, f.note))
    columns = ["killed before statement", "the (last) statement", "tables after the kill", "tables after the rerun"]
    title = (
        "film strip: one kill a line, each from the same start (statements whose kill leaves the same tables share one)"
    )
    return Evidence(title, Table.of(columns, rows))


@check("a", "killed before any statement and run again, the load ends as if it had run once", points=1.5)
def killed_and_rerun(lab: Lab) -> None:
    """One batch, from the same start, killed before each statement and after the last; the connection is
    lost. After the rerun both tables equal the exactly-once book."""
    case = held_and_batch(lab, "kill")

    def film(case: Case, kills: list[int] | None) -> tuple[list[Frame], Finding | None]:
        """The frames, or a finding if the load is wrong without any kill."""
        before, batch = case.before, case.landed[0]
        orders, landings = case.standing(1), _landings(case)
        want = State(orders, sorted(summed(orders, _counts(lab)).values()))
        heads: list[str] = []
        if kills is None:
            db = _database(lab, case.landed, before)
            db.arm()
            _call(lab, "load", db, batch.batch_id)
            log = db.log()
            heads = [_head(s["sql"]) for s in log]
            db.crash()
            finding = compare(_read(db), want, landings)
            db.close()
            if finding:
                return [], finding
            kills = _kills(log)
        frames = []
        for k in kills:
            db = _database(lab, case.landed, before)
            statement = heads[k] if k < len(heads) else ""
            _kill(lab, db, k, "load", batch.batch_id)
            then = _read(db)
            state, problem = _again(lab, db, "load", batch.batch_id)
            wrong = compare(state, want, landings) if state else None
            known = "as before" if then == before else "as wanted" if then == want else "half"
            note = problem or _lost(state, want)
            frames.append(Frame(k, statement, known, state, wrong, note))
            db.close()
        return frames, None

    frames, clean = film(case, None)
    if clean:
        raise CheckFailed(
            f"Nothing was killed yet: after one plain load of {case.loads[0]}, {clean.words}. The kills are tried once "
            "this is right.",
            evidence=Evidence("yours and expected", clean.rows),
            ask=clean.ask,
            misconception=clean.misconception,
        )
    bad = [f for f in frames if f.note != "right"]
    if not bad:
        return
    first = bad[0]
    small = case

    def fails(items: list) -> bool:
        reduced = case.only(items)
        frame = film(reduced, [first.killed])[0][0]
        return frame.note != "right"

    if first.wrong:
        near = _near(case, first.wrong.about)
        small = case.only(smallest(case.items(), fails, near))
    finding = film(small, [first.killed])[0][0].wrong or first.wrong
    where = f"before statement {first.killed + 1}" if first.statement else "after its last statement"
    what = finding.words if finding else first.note
    half = any(f.then == "half" for f in bad)
    evidence = [_strip(frames)]
    if finding:
        evidence += [_shown(small), Evidence("yours and expected, after the rerun", finding.rows)]
    raise CheckFailed(
        f"Killed {where} and run again, the load does not end as if it had run once: {what}. {len(bad)} of "
        f"{len(frames)} kills end wrong.",
        evidence=evidence,
        ask="Which statements must take effect together or not at all, so that the rerun finds what the first run found?"
        if half
        else "What does the rerun find that makes it do something else than the first run?",
        misconception="commit_between" if half else "not_atomic",
    )


def _kill(lab: Lab, db: JudgedDatabase, k: int, name: str, *args: Any) -> None:
    """A run that is killed before its statement number k, or after it has ended."""
    db.arm(crash_before=k)
    with suppress(LearnerError):  # the crash itself, or what the learner's code made of it
        _call(lab, name, db, *args)
    db.crash()


def _again(lab: Lab, db: JudgedDatabase, name: str, *args: Any) -> tuple[State | None, str]:
    """The rerun: the tables after it, or what it raised."""
    db.arm()
    try:
        _call(lab, name, db, *args)
    except LearnerError as error:
        return None, f"the rerun fails: {error.error_type}: {error.error_message[:90]}"
    db.crash()
    return _read(db), ""


# -- task b --------------------------------------------------------------------------------------------------------------


def _words(damage: Damage) -> str:
    return f"backfill(con, {damage.first}, {damage.last})"


def _moved_in(damage: Damage, order_id: Any) -> bool:
    days = {r["ordered_on"] for b in damage.landed for r in b.records if r["order_id"] == order_id}
    return len(days) > 1


def _range_finding(damage: Damage, state: State) -> Finding | None:
    """The worst difference within the range."""
    got, want = state.of_days(damage.days), damage.right.of_days(damage.days)
    landings = {b.landed_at for b in damage.landed}
    found = compare_orders(got.orders, want.orders, landings)
    if found is None:
        found = compare_daily(got.daily, want.daily)
        return found and Finding(
            found.words,
            "summary_left",
            found.about,
            "Which days have a row before, and which after?",
            found.rows,
        )
    mine = {r[0]: r for r in got.orders if r[0] == found.about}
    if found.misconception is None and found.about in mine and mine[found.about] in damage.before.orders:
        return Finding(
            f"order {found.about} is still on {mine[found.about][3]}, as it was before: nothing that has landed puts "
            "it on a day of the range",
            "rows_left",
            found.about,
            "Which rows of the range would a merge never look at?",
            found.rows,
        )
    if found.misconception is None and found.about in mine and _moved_in(damage, found.about):
        right = next((r for r in damage.right.orders if r[0] == found.about), None)
        where = f"; in its highest version, {right[1]}, it has moved to {right[3]}" if right else ""
        return Finding(
            f"order {found.about} stands on {mine[found.about][3]} in version {mine[found.about][1]}{where}",
            "day_before_version",
            found.about,
            "An order's day is known only once its highest version is. Which do you pick first?",
            found.rows,
        )
    return found


@check("b", "after a backfill every day of the range holds what has landed for it, and nothing else", points=1.5)
def range_is_right(lab: Lab) -> None:
    """A range of four days with rows missing, doubled, outdated and foreign. Truth: the exactly-once book
    of all landed batches. First and last day belong to the range; one of its days has lost its only
    order."""
    damage = damaged(lab, "damage/range", 3)
    db = _database(lab, damage.landed, damage.before)
    db.arm()
    _call(lab, "backfill", db, damage.first, damage.last)
    db.crash()
    state = _read(db)
    db.close()
    expect(
        state != damage.before,
        f"{_words(damage)} changed nothing, though the range is damaged: nothing was committed, or nothing was written.",
        ask="What is lost when the connection closes?",
        misconception="not_committed",
    )
    finding = _range_finding(damage, state)
    if finding:
        records = [
            (
                b.batch_id,
                b.landed_at,
                *(r[c] for c in ("order_id", "version", "event", "status", "ordered_on")),
            )
            for b in damage.landed
            for r in b.records
            if finding.about in (r["order_id"], r["ordered_on"])
        ]
        columns = ["batch_id", "landed_at", "order_id", "version", "event", "status", "ordered_on"]
        raise CheckFailed(
            f"After {_words(damage)}, {finding.words}.",
            evidence=[
                Evidence("yours and expected", finding.rows),
                Evidence("what has landed for it", Table.of(columns, sorted(records, key=lambda r: r[1])[:8])),
            ],
            ask=finding.ask,
            misconception=finding.misconception,
        )


@check("b", "a backfill leaves all other days as they were", points=1)
def other_days_stay(lab: Lab) -> None:
    """A range of one day between nine others, some adjusted by hand and some from files that are no longer
    kept."""
    damage = damaged(lab, "damage/others", 0)
    db = _database(lab, damage.landed, damage.before)
    db.arm()
    _call(lab, "backfill", db, damage.first, damage.last)
    db.crash()
    state = _read(db)
    _landing_is_whole(db, damage.landed)
    db.close()
    before = damage.before
    expect(
        state.of_days(damage.days) != before.of_days(damage.days),
        f"{_words(damage)} left the day of the range as it was, though it is damaged.",
        ask="Is the last day part of the range?",
        misconception="range_ends_early",
    )
    old, new = before.of_days(damage.days, inside=False), state.of_days(damage.days, inside=False)
    if new != old:
        finding = _difference(old, new, {b.landed_at for b in damage.landed})
        raise CheckFailed(
            f"{_words(damage)} {finding.words} on other days. Finance has adjusted some of them by hand, and the files "
            "of others are no longer kept: what is lost there does not come back.",
            evidence=Evidence("on days outside the range", finding.rows),
            ask="By which column do you choose the rows to replace: the order's day, or the day of a load?",
            misconception="other_days",
        )


@check(
    "b",
    "killed at any statement, each day is wholly old or wholly new, and a rerun finishes the work",
    points=1.5,
)
def backfill_survives_kills(lab: Lab) -> None:
    """Killed before each statement and after the last. After the kill each day's rows of both tables are
    those before or those wanted: all at once or day by day, both are right. After the rerun the range
    is right, other days unchanged."""
    damage = damaged(lab, "damage/kill", 1)
    days, before = damage.days, damage.before
    want = damage.right
    db = _database(lab, damage.landed, before)
    db.arm()
    _call(lab, "backfill", db, damage.first, damage.last)
    log = db.log()
    heads = [_head(s["sql"]) for s in log]
    db.crash()
    state = _read(db)
    db.close()
    finding = _range_finding(damage, state)
    outside = before.of_days(days, inside=False)
    if finding or state.of_days(days, inside=False) != outside:
        words = finding.words if finding else "other days have changed"
        raise CheckFailed(
            f"Nothing was killed yet: after {_words(damage)}, {words}. The kills are tried once this is right.",
            evidence=[Evidence("yours and expected", finding.rows)] if finding else [],
            ask=finding.ask if finding else None,
            misconception=finding.misconception if finding else "other_days",
        )
    frames: list[Frame] = []
    shown: list[Evidence] = []
    for k in _kills(log):
        db = _database(lab, damage.landed, before)
        _kill(lab, db, k, "backfill", damage.first, damage.last)
        then = _read(db)
        half = sorted(d for d in days if then.of_days({d}) not in (before.of_days({d}), want.of_days({d})))
        spilt = then.of_days(days, inside=False) != outside
        known = "other days changed" if spilt else f"half: {', '.join(map(str, half))}" if half else "whole days"
        state, problem = _again(lab, db, "backfill", damage.first, damage.last)
        db.close()
        right = State(
            sorted([*outside.orders, *want.of_days(days).orders]),
            sorted([*outside.daily, *want.of_days(days).daily]),
        )
        note = problem or _lost(state, right)
        frames.append(Frame(k, heads[k] if k < len(heads) else "", known, state, None, note))
        if half and not shown:
            day = half[0]
            mine, whole = then.of_days({day}), want.of_days({day})
            counts = [
                (
                    name,
                    len(before.of_days({day}).orders if i == 0 else before.of_days({day}).daily),
                    len(a),
                    len(b),
                )
                for i, (name, a, b) in enumerate(
                    (("orders", mine.orders, whole.orders), ("orders_daily", mine.daily, whole.daily))
                )
            ]
            shown.append(
                Evidence(
                    f"rows of {day} after that kill",
                    Table.of(["table", "before", "after the kill", "wanted"], counts),
                )
            )
    bad = [f for f in frames if f.note != "right" or f.then != "whole days"]
    if bad:
        first = bad[0]
        where = f"before statement {first.killed + 1}" if first.statement else "after its last statement"
        what = (
            f"the rerun does not finish the work ({first.note})"
            if first.note != "right"
            else (f"readers see {first.then}, until somebody runs it again")
        )
        raise CheckFailed(
            f"Killed {where}, {what}. {len(bad)} of {len(frames)} kills end wrong.",
            evidence=[_strip(frames), *shown],
            ask="What does the dashboard show between the kill and the rerun?",
            misconception="half_a_range",
        )


# -- hints ---------------------------------------------------------------------------------------------------------------

HINTS = {
    "a": (
        "Write down what the table should hold after two batches, in words that mention neither their order nor how "
        "often they came. Which column of a record decides?",
        "Three steps: the batch's records that are newer than what orders holds, one an order; the days that those "
        "orders stand on now and will stand on; then replace these orders and these days.",
        "One transaction around all of it. Stage the winners with row_number() over (partition by order_id order by "
        "version desc) and a left join to orders (version higher, or not there). Take the old days from orders before "
        "you change it. Recompute orders_daily for these days from orders.",
    ),
    "b": (
        "Which order belongs to a day? You cannot tell from one record: what else has landed for it?",
        "Pick the highest version of every order over all batches first, then keep those whose day is in the range. "
        "Remove all rows of the range from both tables, whatever they are, and insert these.",
        "begin; delete from orders and orders_daily where ordered_on between the two days; insert the winners "
        "(row_number by version desc, landed_at); insert the sums; commit.",
    ),
}
MISCONCEPTIONS = {
    "append_only": "A batch that comes twice is written twice. Give each row a key and say what happens when the key is "
    "there already: insert, replace, or nothing.",
    "latest_by_arrival": "Arrival and clocks do not order changes: files come late and clocks are wrong. Only the version "
    "does. Compare it with the one that orders holds: a higher one replaces it, any other changes nothing.",
    "tie_overwrites": "A version that is held already is written again. Compare with > and not with >=, or leave records "
    "out whose version is not higher.",
    "now": "The load columns must say the same on every run: take them from the batch (batch_id, landed_at), not from the "
    "clock.",
    "incremented": "Adding to a sum is right once. Recompute the day from orders instead: the result does not depend on "
    "how often you do it.",
    "only_new_day": "An order that moves changes two days: the one it moves to, and the one it leaves. The old one is "
    "known only from orders, before you change it.",
    "commit_between": "Between two commits the tables say different things, and the rerun cannot know what the first run "
    "found. Put everything into one transaction.",
    "not_atomic": "The rerun starts from what the first run left. Look for a note of your own (a ledger, a helper table) "
    "that is committed before the work is.",
    "not_committed": "Each run has a connection of its own; what is not committed is lost with it. End with con.commit().",
    "full_refresh": "The load writes more than the batch is about. Limit every statement to the orders of the batch and "
    "the days that they leave or reach.",
    "skipped": "A record is passed over or a row deleted that should stay. A higher version replaces the one that is "
    "there; files land in any order, so a watermark on landed_at loses the late ones; a cancelled order keeps its row.",
    "day_before_version": "Filtering by day first brings back the old version of an order that has moved away. Pick the "
    "highest version over all landed records first, then filter by day.",
    "rows_left": "Rows that no landed record explains stay when you only merge. Delete the whole range, then insert.",
    "summary_left": "A day that has lost its last order has no row in orders_daily: delete the days, do not only update "
    "them.",
    "other_days": "Limit each delete and each insert to ordered_on within the range, both days included.",
    "range_ends_early": "Both days belong to the range: between is inclusive, < leaves the last day out.",
    "half_a_range": "Delete and insert of a day belong together, for both tables: one transaction for the range, or one "
    "a day.",
}


# -- twelve weeks later --------------------------------------------------------------------------------------------------

WEEKS = 12


@dataclass(frozen=True)
class Night:
    """A batch, the statement before which its first run is killed (None: it is not), and at the end of a week the sums that
    are right, by day, and by how much those of a job are off that appends and adds up."""

    batch: Batch
    kill: int | None
    right: dict[date, Any] | None
    appended: float


def _nights(lab: Lab) -> list[Night]:
    rng = lab.rng("twelve weeks")
    rows = lab.world.sql(
        "select * from raw.order_batches where order_id % 23 = 0 or order_id in (select order_id from "
        "truth.order_batch_plants where kind in ('day moved', 'twice across files', 'older after newer')) "
        "order by landed_at, batch_id, record_no"
    ).dicts()
    landed: dict[date, list[Record]] = {}
    for r in rows:
        landed.setdefault(r["landed_at"].date(), []).append(r)
    batches = [
        Batch(f"nightly-{d:%Y%m%d}", datetime(d.year, d.month, d.day, 23), tuple(rs))
        for d, rs in sorted(landed.items())
    ][-7 * WEEKS :]
    books, simple, found = Books(), {}, []
    for i, batch in enumerate(batches, 1):
        kill = int(rng.integers(0, 12)) if rng.random() < 0.125 else None
        books.load(batch)
        for _ in range(1 if kill is None else 2):
            for r in batch.records:
                if r["event"] in ("placed", "completed") and r["version"] == 1:
                    simple[r["ordered_on"]] = simple.get(r["ordered_on"], 0) + r["total_usd"]
        ends = i % 7 == 0 or i == len(batches)
        right = {d: v[3] for d, v in books.daily.items()} if ends else None
        found.append(Night(batch, kill, right, _off(simple, right) if ends else 0.0))
    return found


def twelve_weeks_later(lab: Lab) -> Any:
    """The learner's load over twelve weeks of nightly batches, one run in eight killed and run again,
    against a loader that appends and adds up. Returns a figure: by how much the daily sums are off, by
    week."""
    from workshop.plots import BLUE, RED, plt

    nights = lab.kept("twelve weeks", lambda: _nights(lab))
    db = _database(lab, [night.batch for night in nights], State([], []))
    yours, naive, kills = [], [], 0
    for night in nights:
        if night.kill is not None:
            kills += 1
            db.arm(crash_before=night.kill)
            try:
                _call(lab, "load", db, night.batch.batch_id)
            except LearnerError as error:
                if error.error_type != "Crash":
                    raise
            db.crash()
        _load(lab, db, night.batch.batch_id)
        if night.right is not None:
            yours.append(_off({r[0]: r[3] or 0 for r in db.rows(READ_DAILY).rows}, night.right))
            naive.append(night.appended)
    db.close()
    weeks = range(1, len(yours) + 1)
    figure, ax = plt.subplots()
    ax.plot(weeks, naive, color=RED, marker="o", label="append and add up")
    ax.plot(weeks, yours, color=BLUE, marker="s", label="your load")
    ax.set_xlabel("week")
    ax.set_ylabel("days' sums off by, USD")
    worst = max(yours)
    ax.set_title(
        f"After {_n(kills, 'kill')} your sums are "
        + ("right to the cent" if worst == 0 else f"off by {worst:,.0f}")
        + f", appending is off by {naive[-1]:,.0f}"
    )
    ax.yaxis.set_major_formatter("{x:,.0f}")
    ax.legend()
    plt.close(figure)  # shown once, as the value of the cell
    return figure


def _off(mine: dict[date, Any], right: dict[date, Any]) -> float:
    return float(sum(abs(mine.get(d, 0) - right.get(d, 0)) for d in {*mine, *right}))
