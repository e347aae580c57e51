"""What lab 2.6 judges: five years of runs under the learner's policy, and a retention job on fresh rows, killed and rerun.

Task a: what the law asks for is worked out here from rules and tags, and replayed by the judge on two worlds, with holds that
nobody knew of. The cheapest lawful policy is a shortest path through ages and tiers, found from what the learner is given.
Task b: the plan that is right is worked out in plain Python, dates included; no SQL, nothing of the reference.
"""

from __future__ import annotations

import calendar
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from hashlib import sha256
from itertools import pairwise, product
from typing import Any

import numpy as np

from workshop.checks import CheckFailed, Evidence, LearnerError, NotAttempted, as_number, as_table, check, expect
from workshop.sim.retention import (
    COUNTED,
    DAYS_A_MONTH,
    NEVER,
    RECORD_SETUP,
    RECORD_SQL,
    RECORD_TABLES,
    RULES_SQL,
    STEPS,
    TABLES_SQL,
    TIERS_SQL,
    left_share,
    personal_kinds,
)
from workshop.table import Table
from workshop.trusted import JudgedDatabase, Lab, World

SUBJECTS = ("retention",)
HINTS = {
    "a": (
        "Begin with one table of record. Write down three ages: when the last minimum ends, when its owner's need ends, and when "
        "the oldest event of a partition reaches the maximum (maximum_months - span_months). Deletion is at the later "
        "of the first "
        "two; kinds that no minimum asks for go at the third, if that comes before the deletion.",
        "A derived table has no class of its own: follow derived_from until there is one, through several tables where need "
        "be. All the maxima that you find count, the shortest decides; minima do not concern it. A minimum from the year end "
        'becomes a step that is counted from "year".',
        "For the cost: reads change at a few ages only, so a move pays at one of these or when a kind is anonymised. "
        "Try all ways to "
        "give each stretch between them a tier, price each with life_cost_usd, keep the cheapest. Steps that delete, "
        "anonymise, or move into a tier with drops_versions wait for a hold.",
    ),
    "b": (
        "Add the period to the day of the row; do not subtract it from as_of. DuckDB's day + to_months(n) is the "
        "arithmetic that is "
        "asked for. For the year end, begin with make_date(year(day), 12, 31).",
        "One query for each rule and table: the rows of the table, or of a copy joined to it, that fit the "
        "jurisdiction, are due, "
        "and for which no hold exists (not exists, since a guest's subject_id is null). For anonymise, also: one of "
        "the columns is not null. Take the delete rules first, and leave out what they took.",
        "In carry_out: begin; for each table the change and then its certificate; commit. All of one rule in one transaction, so "
        "that a kill leaves both or neither, and a copy's row still finds its source when the work is done again.",
    ),
}
MISCONCEPTIONS = {
    "year_end": "A year-end minimum of n months ends n months after 31 December of the partition's year. As a step: "
    "after_months n, "
    'counted_from "year".',
    "maximum_first": "The minimum obliges you to keep the record; the maximum obliges you to remove personal columns that the "
    "minimum does not ask for. Both hold: anonymise some kinds at the one, delete at the other.",
    "asked_for": "asks_for names the kinds without which the record is worth nothing for its purpose. They stay until "
    "that minimum "
    "ends, the other kinds do not.",
    "owner": "Storage that is deleted early is cheap, and its owner misses it: needed_months is the least.",
    "load_date": "A partition is named after the month of loading. Its oldest event is up to span_months older than the "
    "end of that month: count the maximum from there.",
    "derived": "A table without a class is not a table without personal data. Follow derived_from to the tables of record.",
    "pseudonym": "Whoever holds the key, or another table with it, knows who customer_key is. It is personal data with "
    "a maximum.",
    "keeps_all": "A minimum is for a purpose. What the purpose does not ask for has no business in the record after the maximum.",
    "hold_delete": "A hold wins over every period: set waits_for_hold for each step that deletes or anonymises.",
    "hold_tier": "Look at drops_versions: a move into that tier destroys something too, so it has to wait for a hold.",
    "waits_always": "A hold forbids to destroy, not to move: only a tier with drops_versions destroys something.",
    "tiers": "Add up a whole life: each move reads the old bytes and writes the new ones, and a stay has a least "
    "length. A cold tier "
    "pays if little is read there and enough months are left before the partition is deleted.",
    "adds_days": "Months are not 30 days and years not 365: add calendar months to the day of the row, and look at 29 February.",
    "subtracts": "as_of minus a period is not the same as the day plus the period: 29 February 2024 plus 12 months is "
    "28 February 2025, "
    "but 28 February 2025 minus 12 months is 28 February 2024, the day before.",
    "loaded": "date_column names the day that counts. When a row was loaded says nothing about when it happened.",
    "hold": "In force: placed on or before as_of, and not lifted on or before as_of; for the rule's class or for all.",
    "guests": "With `not in` a null on the left gives null, not true. `not exists` does what is meant.",
    "copies": "Look for copies by themselves: join each copy to its source, and judge it by the source's day and person.",
    "twice_listed": "What is deleted need not be anonymised before: take the delete rules first.",
    "hashed": "Null is null. Who has a list of addresses finds the one behind a hash by hashing the list.",
    "certificate": "Rows and certificate belong into one transaction: begin, change, insert, commit.",
    "empty": "A certificate says that rows went. Where none went, there is nothing to certify.",
}

# -- task a: the law of a world ----------------------------------------------------------------------------------------------

RUNS = 60
FIRST_RUN = 2026 * 12 + 6  # 1 July 2026
WORLDS = 2
COST_SHARE = 0.05
EARLY = ("minimum", "asked for", "need", "personal need")
Step = dict[str, Any]


@dataclass(frozen=True)
class Demand:
    """What the rules ask of a table: minima as (months, counts from, kinds, rule), the shortest maximum and at which age of a
    partition it ends, its classes."""

    minima: tuple[tuple[int, str, tuple[str, ...], str], ...]
    maximum: int | None
    limit: int | None
    classes: tuple[str, ...]

    def plain(self) -> dict[str, Any]:
        """As the judge's replay takes it."""
        return {
            "minima": [[*m[:2], list(m[2])] for m in self.minima],
            "maximum": self.maximum,
            "classes": list(self.classes),
        }


@dataclass(frozen=True)
class Estate:
    """A world's tables, rules and tiers, and what follows from them: demands, partitions of five years, holds; the cheapest
    lawful policy, and what it and the one without tiers cost."""

    tables: list[dict[str, Any]]
    rules: list[dict[str, Any]]
    tiers: list[dict[str, Any]]
    demands: list[Demand]
    partitions: dict[str, list]
    holds: list[dict[str, Any]]
    best: list[Step]
    best_run: dict[str, Any]
    hot_run: dict[str, Any]

    def name(self, i: int) -> str:
        """Table and jurisdiction, in words."""
        return f"{self.tables[i]['table_name']} ({self.tables[i]['jurisdiction']})"

    def steps(self, policy: Iterable[Step], i: int) -> list[Step]:
        """The steps of a table."""
        t = self.tables[i]
        return [s for s in policy if (s["table_name"], s["jurisdiction"]) == (t["table_name"], t["jurisdiction"])]


def _tagged(table: Mapping[str, Any], key: str) -> list[str]:
    return [t.removeprefix(f"{key}:") for t in table["tags"] if t.startswith(f"{key}:")]


def what_is_asked(tables: Sequence[Mapping[str, Any]], rules: Sequence[Mapping[str, Any]]) -> list[Demand]:
    """What the rules ask of each table."""
    by_place = {(t["table_name"], t["jurisdiction"]): t for t in tables}

    def classes_of(name: str, jurisdiction: str) -> set[str]:
        table = by_place[name, jurisdiction]
        found = set(_tagged(table, "retention.class"))
        return found.union(*(classes_of(s, jurisdiction) for s in table["derived_from"]))

    made = []
    for table in tables:
        classes = classes_of(table["table_name"], table["jurisdiction"])
        mine = [r for r in rules if r["jurisdiction"] == table["jurisdiction"] and r["data_class"] in classes]
        minima = [
            (r["minimum_months"], r["counts_from"], tuple(r["asks_for"]), f"{r['purpose']}, {r['citation']}")
            for r in mine
            if r["minimum_months"] is not None and _tagged(table, "retention.class")
        ]
        maximum = min((r["maximum_months"] for r in mine if r["maximum_months"] is not None), default=None)
        limit = None if maximum is None else max(0, maximum - table["span_months"])
        made.append(Demand(tuple(minima), maximum, limit, tuple(sorted(classes))))
    return made


# -- the cheapest lawful policy -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Duties:
    """Deletion (age, counted from), and kinds that go before it, as (first age, last age, kinds)."""

    delete_at: int
    counted_from: str
    windows: tuple[tuple[int, int, tuple[str, ...]], ...]


def duties(table: Mapping[str, Any], demand: Demand) -> Duties:
    """When rows and kinds of a table may and must go. No kind is asked for by a year-end minimum that ends before the deletion:
    the generator makes none."""
    last = max(demand.minima, key=lambda m: m[0], default=(0, "event", (), ""))
    delete_at, counted_from = int(table["needed_months"]), "month"
    if last[0] > delete_at:
        delete_at, counted_from = last[0], "year" if last[1] == "year end" else "month"
    windows: dict[tuple[int, int], list[str]] = {}
    if demand.limit is not None:
        for kind in personal_kinds(table):
            asked = max((m[0] for m in demand.minima if kind in m[2]), default=0)
            first, latest = max(asked, min(table["personal_needed_months"], demand.limit)), max(asked, demand.limit)
            if latest < delete_at:
                windows.setdefault((first, latest), []).append(kind)
    return Duties(delete_at, counted_from, tuple((a, b, tuple(k)) for (a, b), k in sorted(windows.items())))


def cheapest_policy(
    tables: Sequence[Mapping[str, Any]], tiers: Sequence[Mapping[str, Any]], found: Sequence[Demand]
) -> list[Step]:
    """The lawful policy that costs least over the life of a partition."""
    policy: list[Step] = []
    for table, demand in zip(tables, found, strict=True):
        duty = duties(table, demand)
        end = duty.delete_at + (5 if duty.counted_from == "year" else 0)
        marks = {r["from_age_months"] for r in table["reads"]}
        choices = [sorted({first, last, *(m for m in marks if first <= m <= last)}) for first, last, _ in duty.windows]
        options = []
        for ages in product(*choices):
            strips: dict[int, list[str]] = {}
            for age, (_, _, kinds) in zip(ages, duty.windows, strict=True):
                strips.setdefault(age, []).extend(kinds)
            options.append((*_path(table, tiers, strips, end), strips))
        _, moves, strips = min(options, key=lambda o: o[0])
        place = {"table_name": table["table_name"], "jurisdiction": table["jurisdiction"], "tier": None, "kinds": None}
        monthly = place | {"counted_from": "month"}
        policy.append(
            place
            | {
                "step": "delete",
                "after_months": duty.delete_at,
                "counted_from": duty.counted_from,
                "waits_for_hold": True,
            }
        )
        policy += [
            monthly | {"step": "anonymise", "after_months": age, "kinds": kinds, "waits_for_hold": True}
            for age, kinds in strips.items()
        ]
        drops = {t["tier"]: bool(t["drops_versions"]) for t in tiers}
        policy += [
            monthly | {"step": "tier", "after_months": age, "tier": tier, "waits_for_hold": drops[tier]}
            for age, tier in moves
        ]
    return policy


def _path(
    table: Mapping[str, Any], tiers: Sequence[Mapping[str, Any]], strips: Mapping[int, Sequence[str]], end: int
) -> tuple[float, list[tuple[int, str]]]:
    """The cheapest way through the tiers: a shortest path whose nodes are (tier, age of entry) at each age at which a move may
    pay. These are the ages at which reads or columns change; all ages give the same to a hundredth of a percent."""
    about = {t["tier"]: t for t in tiers}
    reads = {r["from_age_months"]: r["read_share"] for r in table["reads"]}
    ages = [*sorted(a for a in {0, *reads, *strips} if a < end), end]
    ways: dict[tuple[str, int], tuple[float, list[tuple[int, str]]]] = {("hot", 0): (0.0, [])}
    gb, gone, read = 1.0, 0, 0.0

    def missing(tier: str, since: int, now: int) -> float:
        short = about[tier]["minimum_stay_days"] / DAYS_A_MONTH - (now - since)
        return max(0.0, short) * about[tier]["usd_per_gb_month"]

    for now, then in pairwise(ages):
        gone += len(strips.get(now, ()))
        read = reads.get(now, read)
        left = left_share(table, gone)
        reached: dict[tuple[str, int], tuple[float, list[tuple[int, str]]]] = {}
        for (tier, since), (usd, moves) in ways.items():
            for to in about:
                node, cost, way = (tier, since), usd, moves
                if to != tier or now in strips:
                    node = (to, now)
                    cost += gb * (about[tier]["retrieval_usd_per_gb"] + missing(tier, since, now))
                    cost += left * about[to]["write_usd_per_gb"]
                    way = moves if to == tier else [*moves, (now, to)]
                cost += left * (then - now) * (about[to]["usd_per_gb_month"] + read * about[to]["retrieval_usd_per_gb"])
                if node not in reached or cost < reached[node][0]:
                    reached[node] = (cost, way)
        ways, gb = reached, left
    return min(
        ((usd + gb * missing(tier, since, end), moves) for (tier, since), (usd, moves) in ways.items()),
        key=lambda w: w[0],
    )


# -- two worlds, five years ----------------------------------------------------------------------------------------------------


def _estates(lab: Lab) -> list[Estate]:
    return lab.kept("estates", lambda: [_estate(lab, w, n) for n, w in enumerate([lab.world, *lab.worlds(WORLDS - 1)])])


def _estate(lab: Lab, world: World, number: int) -> Estate:
    tables, rules, tiers = (world.sql(sql).dicts() for sql in (TABLES_SQL, RULES_SQL, TIERS_SQL))
    more_tables, more_rules = _more(lab.rng(f"more tables {number}"), len(rules))
    tables = sorted(tables + more_tables, key=lambda t: (t["table_name"], t["jurisdiction"]))
    rules = rules + more_rules
    found = what_is_asked(tables, rules)
    rng = lab.rng(f"estate {number}")
    partitions = _partitions(world, tables, rng)
    best = cheapest_policy(tables, tiers, found)
    plain = [d.plain() for d in found]
    hot = [s for s in best if s["step"] != "tier"]
    best_run, hot_run = (
        lab.judge("workshop.sim.retention:replay", tables, tiers, p, plain, partitions, [], FIRST_RUN, RUNS)
        for p in (best, hot)
    )
    holds = _holds(world, tables, found, rng)
    return Estate(tables, rules, tiers, found, partitions, holds, best, best_run, hot_run)


PLACES = ("APAC", "EU", "US")
MORE = ("course_records", "gift_cards", "loan_agreements", "store_visits", "visits_by_segment", "visits_daily")


def _more(rng: np.random.Generator, count: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Six tables for each pair of worlds, and their rules: minima that ask for different kinds and for the same one, with a
    maximum before all of them; a minimum that ends before the maximum and after the need; no maximum, and a long need; and a
    table that is derived from one that is derived itself."""
    rules: list[dict[str, Any]] = []
    tables: list[dict[str, Any]] = []

    def between(least: int, most: int) -> int:
        return int(rng.integers(least, most + 1))

    def rule(
        place: str,
        data_class: str,
        purpose: str,
        least: int | None,
        most: int | None,
        *asks_for: str,
        year: bool = False,
    ) -> None:
        rules.append(
            {"rule_id": f"L{count + len(rules) + 1:02d}", "jurisdiction": place, "data_class": data_class, "purpose": purpose,
             "minimum_months": least, "maximum_months": most, "counts_from": "year end" if year else "event",
             "asks_for": list(asks_for), "citation": "data protection law" if most else "sector law"}
        )  # fmt: skip

    def table(
        place: str,
        name: str,
        data_class: str,
        kinds: Sequence[str],
        needed: int,
        personal: int,
        span: int,
        share: float,
        *sources: str,
    ) -> None:
        tags = [f"privacy.kind:{k}" for k in kinds] + ([] if sources else [f"retention.class:{data_class}"])
        reads = [
            {"from_age_months": 0, "read_share": share},
            {"from_age_months": between(5, 8), "read_share": round(share / 2, 4)},
        ]
        tables.append(
            {"table_name": name, "jurisdiction": place, "tags": [str(t) for t in rng.permutation(tags)],
             "derived_from": list(sources),
             "needed_months": needed, "personal_needed_months": personal, "span_months": span,
             "personal_pct": float(between(20, 40)), "reads": reads}
        )  # fmt: skip

    place, other = (str(p) for p in rng.permutation(PLACES)[:2])
    span, most = between(1, 3), between(20, 30)
    rule(place, "credit_record", "credit checks", between(46, 52), None, "person_name", "bank_account")
    rule(place, "credit_record", "limitation of claims", between(62, 68), None, "person_name", "postal_address")
    rule(place, "credit_record", "annual accounts", between(82, 94), None, year=True)
    rule(place, "credit_record", "storage limitation", None, most)
    rule(other, "credit_record", "storage limitation", None, most - 9)
    kinds = ("person_name", "bank_account", "postal_address", "email")
    table(place, "loan_agreements", "credit_record", kinds, between(12, 24), most - span - between(0, 2), span, 0.05)

    place, other = (str(p) for p in rng.permutation(PLACES)[:2])
    rule(place, "voucher_record", "consumer claims", between(13, 16), None, "person_name", "email")
    rule(place, "voucher_record", "storage limitation", None, between(30, 36))
    rule(other, "voucher_record", "consumer claims", between(18, 20), None)
    table(
        place,
        "gift_cards",
        "voucher_record",
        ("person_name", "email"),
        between(40, 44),
        between(4, 7),
        between(1, 2),
        2.0,
    )

    place, other = (str(p) for p in rng.permutation(PLACES)[:2])
    rule(place, "course_record", "safety at work", between(10, 14), None)
    rule(other, "course_record", "storage limitation", None, between(24, 36))
    table(place, "course_records", "course_record", ("person_name", "email"), between(66, 72), between(56, 62), 1, 0.05)

    place = str(rng.permutation(PLACES)[0])
    rule(place, "visit_record", "storage limitation", None, between(14, 18))
    table(place, "store_visits", "visit_record", ("email", "customer_key"), between(8, 12), between(3, 6), 1, 0.5)
    key = ("customer_key",)
    table(place, "visits_daily", "", key, between(30, 36), between(3, 6), between(1, 2), 0.2, "store_visits")
    table(place, "visits_by_segment", "", key, between(30, 36), between(3, 6), between(1, 2), 0.2, "visits_daily")
    return tables, rules


def _partitions(world: World, tables: Sequence[Mapping[str, Any]], rng: np.random.Generator) -> dict[str, list]:
    """Those of today, and those of the five years to come: the last year's mean, grown by a percent a month, with noise."""
    place = {(t["table_name"], t["jurisdiction"]): i for i, t in enumerate(tables)}
    rows = world.sql(
        "select table_name, jurisdiction, 12 * year(month_on) + month(month_on) - 1, size_gb::double from ops.partitions"
    ).rows
    table, month, gb = [place[r[0], r[1]] for r in rows], [r[2] for r in rows], [r[3] for r in rows]
    for i, name in enumerate(t["table_name"] for t in tables):
        if name in MORE:
            months = range(FIRST_RUN - 108, FIRST_RUN)
            table.extend([i] * len(months))
            month.extend(months)
            gb.extend(np.round(120 * rng.lognormal(0, 0.12, len(months)), 3).tolist())
    recent: dict[int, list[float]] = {}
    for t, m, size in zip(table, month, gb, strict=True):
        if m >= FIRST_RUN - 12:
            recent.setdefault(t, []).append(size)
    for t in range(len(tables)):
        mean = sum(recent[t]) / len(recent[t])
        for k, noise in enumerate(rng.lognormal(0, 0.12, RUNS).tolist(), 1):
            table.append(t)
            month.append(FIRST_RUN - 1 + k)
            gb.append(round(mean * 1.01**k * noise, 3))
    return {"table": table, "month": month, "gb": gb}


def _holds(
    world: World, tables: Sequence[Mapping[str, Any]], found: Sequence[Demand], rng: np.random.Generator
) -> list[dict[str, Any]]:
    """Holds on classes that are open today, and eight more: on what was loaded in the last three years before each was placed,
    and on events of long ago."""

    def month(day: date) -> int:
        return 12 * day.year + day.month - 1

    holds = [
        {"class": r["data_class"], "jurisdiction": r["jurisdiction"], "from_month": month(r["event_from"]),
         "to_month": month(r["event_to"]), "placed_run": FIRST_RUN, "lifted_run": FIRST_RUN + int(rng.integers(3, 30))}
        for r in world.sql("from ops.legal_holds where subject_id is null and lifted_on is null order by hold_id").dicts()
    ]  # fmt: skip
    there = sorted({(c, t["jurisdiction"]) for t, d in zip(tables, found, strict=True) for c in d.classes})
    classes = sorted({c for c, _ in there})
    for data_class in [*classes, "order_record", "payment_record"]:
        places = [j for c, j in there if c == data_class]
        if not places:
            continue
        placed = FIRST_RUN + int(rng.integers(2, 28))
        since, until = placed - int(rng.integers(30, 40)), placed - 1
        if any(h["class"] == data_class and h["placed_run"] > FIRST_RUN for h in holds):
            since, until = placed - 130, placed - 50
        holds.append(
            {"class": data_class, "jurisdiction": str(rng.choice(places)), "from_month": since, "to_month": until,
             "placed_run": placed, "lifted_run": placed + int(rng.integers(14, 28))}
        )  # fmt: skip
    return holds


def read_policy(lab: Lab, estate: Estate, number: int) -> list[Step]:
    """The learner's policy for a world, or a failed check that says what a row lacks."""

    def make() -> list[Step]:
        value = lab.call("retention", estate.tables, estate.rules, estate.tiers)
        rows = value.dicts() if isinstance(value, Table) else value
        expect(
            isinstance(rows, list) and all(isinstance(r, dict) for r in rows),
            "`retention` has to return one row for each step: a list of dicts, or a DataFrame.",
        )
        return _read_rows(rows, estate)

    return lab.once(f"policy {number}", make)


def _read_rows(rows: Sequence[dict[str, Any]], estate: Estate) -> list[Step]:
    places = {(t["table_name"], t["jurisdiction"]): t for t in estate.tables}
    names = [t["tier"] for t in estate.tiers]
    policy: list[Step] = []
    seen: Counter[tuple] = Counter()
    for row in rows:
        place = (row.get("table_name"), row.get("jurisdiction"))
        what = f"`retention`: {place[0]} ({place[1]})"
        expect(place in places, f"{what} is no table of `tables`.")
        step, counted = row.get("step"), row.get("counted_from")
        expect(step in STEPS, f"{what}: step is {step!r}; one of {', '.join(STEPS)} is expected.")
        expect(counted in COUNTED, f"{what}: counted_from is {counted!r}; one of {', '.join(COUNTED)} is expected.")
        after = as_number(row.get("after_months"))
        expect(
            after is not None and after >= 0 and after == int(after) and after < 5000,
            f"{what}: after_months is {row.get('after_months')!r}; a whole number from 0 is expected.",
        )
        waits = row.get("waits_for_hold")
        expect(waits in (True, False), f"{what}: waits_for_hold of {step} is {waits!r}; True or False is expected.")
        kinds = row.get("kinds") if step == "anonymise" else None
        tier = row.get("tier") if step == "tier" else None
        if step == "tier":
            expect(tier in names, f"{what}: tier is {tier!r}; one of {', '.join(names)} is expected.")
        if step == "anonymise":
            mine = personal_kinds(places[place])
            expect(
                isinstance(kinds, list | tuple | set) and kinds and all(k in mine for k in kinds),
                f"{what}: kinds is {kinds!r}; a list of its personal kinds ({', '.join(mine) or 'it has none'}) is expected.",
            )
            kinds = sorted(kinds)
        seen[(*place, step)] += 1
        seen[(*place, step, counted, after)] += 1
        expect(
            step != "tier" or seen[(*place, step, counted, after)] == 1,
            f"{what} has two tier steps at {after:.0f} months.",
        )
        policy.append(
            {"table_name": place[0], "jurisdiction": place[1], "step": step, "after_months": int(after),
             "counted_from": counted, "tier": tier, "kinds": kinds, "waits_for_hold": bool(waits)}
        )  # fmt: skip
    for place in places:
        n = seen[(*place, "delete")]
        expect(n == 1, f"`retention`: {place[0]} ({place[1]}) has {n or 'no'} delete steps; one is expected.")
    return policy


@dataclass(frozen=True)
class Ran:
    """What a policy did in a world: with holds, and without any."""

    estate: Estate
    policy: list[Step]
    held: dict[str, Any]
    free: dict[str, Any]


def _replay(lab: Lab, estate: Estate, policy: list[Step], holds: list[dict[str, Any]]) -> dict[str, Any]:
    plain = [d.plain() for d in estate.demands]
    return lab.judge(
        "workshop.sim.retention:replay",
        estate.tables, estate.tiers, policy, plain, estate.partitions, holds, FIRST_RUN, RUNS,
    )  # fmt: skip


def _runs(lab: Lab) -> list[Ran]:
    def make() -> list[Ran]:
        ran = []
        for n, estate in enumerate(_estates(lab)):
            policy = read_policy(lab, estate, n)
            ran.append(
                Ran(estate, policy, _replay(lab, estate, policy, estate.holds), _replay(lab, estate, policy, []))
            )
        return ran

    return lab.once("runs", make)


def _does_both(ran: Sequence[Ran]) -> None:
    """Neither keeps everything nor deletes everything."""
    mine = sum(sum(r.free["deleted_gb"]) for r in ran)
    lawful = sum(sum(r.estate.best_run["deleted_gb"]) for r in ran)
    expect(
        mine >= lawful / 2,
        f"In five years your policy deletes {mine:,.0f} GB; under the lawful one {lawful:,.0f} GB go, some of them because they "
        "have to. Who deletes next to nothing deletes nothing wrong, but that is no policy.",
        ask="When does the last reason to keep a partition end?",
    )
    faults = [(r, f) for r in ran for f in r.free["faults"] if f["what"] in EARLY]
    early, count = len({(id(r), f["table"]) for r, f in faults}), sum(len(r.estate.tables) for r in ran)
    if early > count / 2:
        r, fault = faults[0]
        i = fault["table"]
        raise CheckFailed(
            f"{early} of {count} tables lose rows or columns before a minimum or their owner's need has ended; checks 1 to 3 are "
            f"read once it is half of them. One: {r.estate.name(i)}, whose partition of {_month(fault['month'])} loses "
            f"{fault['detail'] if fault['what'] not in ('minimum', 'need') else 'its rows'} at the run of 1 "
            f"{_month(fault['run'])}, at age {fault['run'] - fault['month'] - 1}.",
            evidence=_life(r.estate, r.policy, i),
            ask="Which of these periods oblige you to keep, and until which age?",
            misconception="owner",
        )


def _month(number: int) -> str:
    return f"{calendar.month_abbr[number % 12 + 1]} {number // 12}"


def _life(estate: Estate, policy: list[Step], i: int) -> Evidence:
    table, demand = estate.tables[i], estate.demands[i]
    rows = [
        ("yours", f"{s['after_months']} ({s['counted_from']})", s["step"], s["tier"] or ", ".join(s["kinds"] or ()))
        for s in sorted(estate.steps(policy, i), key=lambda s: (s["counted_from"], s["after_months"]))
    ]
    rows += [("minimum", f"{m[0]} ({m[1]})", m[3], "asks for " + (", ".join(m[2]) or "no kind")) for m in demand.minima]
    if demand.maximum is not None:
        rows.append(("maximum", str(demand.maximum), "data protection law", f"span_months {table['span_months']}"))
    rows.append(("owner needs", str(table["needed_months"]), "rows", f"personal {table['personal_needed_months']}"))
    return Evidence(f"{estate.name(i)}: ages in months", Table.of(["what", "age", "of", "about"], rows))


def _first_fault(ran: Sequence[Ran], which: str, kinds: Sequence[str]) -> tuple[Ran, dict[str, Any], int] | None:
    """The first fault of these kinds, in their order, with how many tables have one."""
    for kind in kinds:
        found = [(r, f) for r in ran for f in getattr(r, which)["faults"] if f["what"] == kind]
        if found:
            return (*found[0], len(found))
    return None


@check("a", "nothing goes before the law and its owner are done with it", points=1.5)
def nothing_goes_too_early(lab: Lab) -> str:
    """Sixty runs in two worlds, holds aside: deletions and anonymisations against minima, and the owner's needs."""
    ran = _runs(lab)
    _does_both(ran)
    found = _first_fault(ran, "free", EARLY)
    if found:
        r, fault, count = found
        i = fault["table"]
        demand, table = r.estate.demands[i], r.estate.tables[i]
        where = f"{r.estate.name(i)}: the partition of {_month(fault['month'])}"
        when = f"at the run of 1 {_month(fault['run'])}"
        several = f" The same holds for {count} tables of the two worlds." if count > 1 else ""
        if fault["what"] == "minimum":
            months, counts_from, _, rule = max(demand.minima, key=lambda m: m[0])
            age = fault["run"] - fault["month"] - 1
            words, misconception = f"the minimum of {months} months ({rule})", "maximum_first"
            if counts_from == "year end":
                words += " counts from the year end"
                misconception = "year_end" if age >= months else misconception
            said = f"{where} is deleted {when}, at {age} months: {words}, and has not ended.{several}"
        elif fault["what"] == "asked for":
            asked = max((m for m in demand.minima if fault["detail"] in m[2]), key=lambda m: m[0])
            said = (
                f"{where} loses {fault['detail']} {when}: the minimum of {asked[0]} months ({asked[3]}) asks for it and has "
                f"not ended.{several}"
            )
            misconception = "asked_for"
        elif fault["what"] == "need":
            said = f"{where} is deleted {when}; its owner needs the rows until age {table['needed_months']}.{several}"
            misconception = "owner"
        else:
            said = (
                f"{where} loses {fault['detail']} {when}; its owner needs the personal columns until age "
                f"{table['personal_needed_months']}, and the maximum would have let it stay.{several}"
            )
            misconception = "owner"
        raise CheckFailed(
            said,
            evidence=_life(r.estate, r.policy, i),
            ask="From which day does each of these periods count, and which of them ends last?",
            misconception=misconception,
        )
    gone = sum(sum(r.free["deleted_gb"]) for r in ran)
    return f"{gone:,.0f} GB deleted in five years of two worlds, none of them too early."


@check("a", "what is held is not destroyed", points=1)
def holds_are_kept(lab: Lab) -> str:
    """The same runs under holds of the future: on young data, when tiers change, and on old, when partitions are due."""
    ran = _runs(lab)
    _does_both(ran)
    found = _first_fault(ran, "held", ("held, deleted", "held, anonymised", "held, versions dropped"))
    if found:
        r, fault, _ = found
        i = fault["table"]
        what = {
            "held, deleted": "is deleted",
            "held, anonymised": "is anonymised",
            "held, versions dropped": "moves into a tier that destroys older versions",
        }[fault["what"]]
        said = (
            f"{r.estate.name(i)}: the partition of {_month(fault['month'])} {what} at the run of 1 {_month(fault['run'])}, while "
            f"a hold on {' or '.join(r.estate.demands[i].classes)} is in force ({fault['partitions']} partitions of this table)."
        )
        raise CheckFailed(
            said,
            evidence=_life(r.estate, r.policy, i),
            ask="Which of your steps destroy something that cannot be brought back?",
            misconception="hold_tier" if fault["what"] == "held, versions dropped" else "hold_delete",
        )
    waited = sum(sum(r.held["waited"]) for r in ran)
    expect(
        waited > 0,
        "In five years of two worlds no step of yours that destroys something came due under a hold: nothing shows that it "
        "would wait.",
    )
    for r in ran:
        drops = {t["tier"]: bool(t["drops_versions"]) for t in r.estate.tiers}
        idle = [s for s in r.policy if s["step"] == "tier" and s["waits_for_hold"] and not drops[s["tier"]]]
        if idle:
            s = idle[0]
            i = next(i for i, t in enumerate(r.estate.tables) if r.estate.steps([s], i))
            raise CheckFailed(
                f"{r.estate.name(i)}: the move into {s['tier']} at {s['after_months']} months waits for a hold, although it "
                f"destroys nothing ({len(idle)} such steps): what is held lies in a dearer tier for years.",
                evidence=_life(r.estate, r.policy, i),
                ask="Which tiers destroy something?",
                misconception="waits_always",
            )
    holds = sum(len(r.estate.holds) for r in ran)
    return f"{holds} holds in five years of two worlds: {waited} steps waited for them, nothing held was destroyed."


@check("a", "nothing personal is kept past its maximum", points=1.5)
def nothing_stays_too_long(lab: Lab) -> str:
    """The same runs: kinds that are still in a partition at the run at which they have to be gone, derived tables included."""
    ran = _runs(lab)
    _does_both(ran)
    found = [(r, f) for r in ran for f in r.held["faults"] if f["what"] == "maximum"]
    if found:
        r, fault, misconception = _telling(found)
        i, kind = fault["table"], fault["detail"]
        table, demand = r.estate.tables[i], r.estate.demands[i]
        age = fault["run"] - fault["month"] - 1
        why = f"the maximum is {demand.maximum} months from the oldest event, {table['span_months']} before the month's end"
        if misconception == "derived":
            why = f"it is derived from {' and '.join(table['derived_from'])}, and {why}"
        if misconception == "pseudonym":
            why = f"a pseudonym is personal data, and {why}"
        if misconception == "keeps_all":
            purposes = " and ".join(m[3] for m in demand.minima if m[0] > demand.limit)
            why = f"no minimum asks for it ({purposes} keeps the record, not this), and {why}"
        asked = [m for m in demand.minima if kind in m[2] and m[0] > demand.limit]
        if asked:
            why = f"it was asked for by {asked[0][3]}, whose minimum of {asked[0][0]} months ({asked[0][1]}) has ended"
        total = len({(id(x), f["table"]) for x, f in found})
        raise CheckFailed(
            f"{r.estate.name(i)}: the partition of {_month(fault['month'])} still has {kind} after the run of 1 "
            f"{_month(fault['run'])}, at age {age}: {why}. {total} tables of the two worlds keep personal data too long.",
            evidence=_life(r.estate, r.policy, i),
            ask="From which event is the maximum counted, and for which tables?",
            misconception=misconception,
        )
    return "In no run of five years in two worlds was personal data kept past its maximum, holds aside."


def _telling(found: list[tuple[Ran, dict[str, Any]]]) -> tuple[Ran, dict[str, Any], str | None]:
    """The fault that stands for most of them, and what it tells."""

    def reason(r: Ran, f: dict[str, Any]) -> str | None:
        i, kind = f["table"], f["detail"]
        table, demand = r.estate.tables[i], r.estate.demands[i]
        if all(x["detail"] == "customer_key" for _, x in found) and not all(
            o.estate.tables[x["table"]]["derived_from"] for o, x in found
        ):
            return "pseudonym"
        steps = r.estate.steps(r.policy, i)
        goes = [s["after_months"] for s in steps if s["step"] == "anonymise" and kind in s["kinds"]]
        goes += [s["after_months"] for s in steps if s["step"] == "delete" and s["counted_from"] == "month"]
        if goes and min(goes) <= demand.maximum:
            return "load_date"
        if table["derived_from"]:
            return "derived"
        if any(kind in m[2] for m in demand.minima):
            return "year_end"
        return "keeps_all" if demand.minima else None

    reasons = [(r, f, reason(r, f)) for r, f in found]
    most = Counter(x[2] for x in reasons).most_common(1)[0][0]
    return next(x for x in reasons if x[2] == most)


def _lawful_where_wrong(ran: Ran) -> list[Step]:
    """The learner's policy, with the lawful steps in place of those of tables that go too early or stay too long."""
    wrong = {f["table"] for f in ran.free["faults"] if f["what"] in (*EARLY, "maximum")}
    policy: list[Step] = []
    for i in range(len(ran.estate.tables)):
        mine = ran.estate.steps(ran.policy, i)
        if i in wrong:
            mine = [s for s in mine if s["step"] == "tier"]
            mine += [s for s in ran.estate.steps(ran.estate.best, i) if s["step"] != "tier"]
        policy += mine
    return policy


def _usd(run: Mapping[str, Any]) -> np.ndarray:
    """US dollars by table."""
    return np.array(list(run["usd"].values())).sum(axis=0)


@check("a", "storage costs little more than the least that is lawful", points=1.5)
def storage_is_cheap(lab: Lab) -> str:
    """US dollars of five years, holds aside, against the cheapest lawful policy and the lawful one without tiers."""
    bills = []
    for r in _runs(lab):
        wrong = any(f["what"] in (*EARLY, "maximum") for f in r.free["faults"])
        run = _replay(lab, r.estate, _lawful_where_wrong(r), []) if wrong else r.free
        bills.append((r, run))
    mine, least, hot = (
        sum(float(_usd(x).sum()) for x in runs)
        for runs in (
            [run for _, run in bills],
            [r.estate.best_run for r, _ in bills],
            [r.estate.hot_run for r, _ in bills],
        )
    )
    share = (mine - least) / (hot - least)

    def bill() -> Evidence:
        rows = []
        for r, run in bills:
            gap = _usd(run) - _usd(r.estate.best_run)
            for i in np.argsort(-gap)[:4].tolist():
                for who, x in (("yours", run), ("best", r.estate.best_run)):
                    rows.append((gap[i], r.estate.name(i), who, *(round(x["usd"][k][i]) for k in x["usd"])))
        rows.sort(key=lambda row: -row[0])
        kinds = [f"{k}, USD" for k in bills[0][1]["usd"]]
        return Evidence("where it is dearest", Table.of(["table", "policy", *kinds], [row[1:] for row in rows[:12]]))

    expect(
        share <= COST_SHARE,
        f"Five years of two worlds cost {mine:,.0f} USD under your policy, {least:,.0f} under the reference and "
        f"{hot:,.0f} with everything in hot: yours is {share:.0%} of the way, {COST_SHARE:.0%} is allowed.",
        evidence=bill,
        ask="In which column is the difference: storage, reads, rewrites, or stays that were too short?",
        misconception="tiers",
    )
    return (
        f"Five years of two worlds: {mine:,.0f} USD under your policy, {least:,.0f} under the reference, {hot:,.0f} "
        f"with everything in hot: {share:.1%} of the way, {COST_SHARE:.0%} is allowed."
    )


# -- task b: the right plan, in plain Python ----------------------------------------------------------------------------------

Row = dict[str, Any]
Entry = tuple[str, str, int]  # rule, table, key
PLAN = ("rule_id", "table_name", "row_key")
CERTIFICATE = ("rule_id", "table_name", "action", "as_of", "row_count", "digest")
COLUMNS = {
    name: [part.split()[0] for part in _columns.replace("decimal(12, 2)", "decimal").split(", ")]
    for name, _columns in RECORD_TABLES.items()
}
KEY = {name: columns[0] for name, columns in COLUMNS.items()}
DATA = tuple(name for name in RECORD_TABLES if name not in ("retention_schedule", "table_copies", "legal_holds"))[:-1]
MOST_KILLS = 14
READ = {name: f"select * from {name} order by all limit 20000" for name in (*DATA, "deletion_certificates")}


def add_months(day: date, months: int) -> date:
    """The same day of the month so many months later, or the last day of that month."""
    year, month = divmod(12 * day.year + day.month - 1 + months, 12)
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


def end_of(rule: Row, day: date | None) -> date | None:
    """From which day on a row is due."""
    if day is None:
        return None
    return add_months(date(day.year, 12, 31) if rule["counts_from"] == "year end" else day, rule["period_months"])


@dataclass
class Records:
    """Rows by table; ``why``: what is special about a row, by table and key."""

    rows: dict[str, list[Row]]
    why: dict[tuple[str, int], str] = field(default_factory=dict)


@dataclass(frozen=True)
class Due:
    """What is due on a day, and for each rule and key of its table the day on which the row's period ends."""

    plan: list[Entry]
    ends: dict[tuple[str, int], date]


def _is_held(records: Records, rule: Row, subject: int | None, as_of: date) -> bool:
    """Whether a hold is in force."""
    return subject is not None and any(
        h["subject_id"] == subject
        and h["data_class"] in (None, rule["data_class"])
        and h["placed_on"] <= as_of
        and (h["lifted_on"] is None or h["lifted_on"] > as_of)
        for h in records.rows["legal_holds"]
    )


def _is_due(records: Records, rule: Row, row: Row, as_of: date) -> bool:
    """Whether a row of the rule's table is due, whatever its columns hold."""
    end = end_of(rule, row[rule["date_column"]])
    return (
        row["jurisdiction"] == rule["jurisdiction"]
        and end is not None
        and end <= as_of
        and not _is_held(records, rule, row.get("subject_id"), as_of)
    )


def _places(records: Records, rule: Row) -> list[tuple[str, str | None, list[str]]]:
    """The rule's table and its copies: name, key of the source row (None: the table itself), columns to be emptied."""
    found: list[tuple[str, str | None, list[str]]] = [(rule["table_name"], None, rule["columns"])]
    found += [
        (c["table_name"], c["source_key_column"], [x for x in rule["columns"] if x in c["columns"]])
        for c in records.rows["table_copies"]
        if c["source_table"] == rule["table_name"]
    ]
    return found


def due_rows(records: Records, as_of: date) -> list[Entry]:
    """What is due, as (rule, table, key)."""
    found: list[Entry] = []
    deleted: set[tuple[str, int]] = set()
    rules = records.rows["retention_schedule"]
    for rule in sorted(rules, key=lambda r: r["action"], reverse=True):
        source = {r[rule["key_column"]]: r for r in records.rows[rule["table_name"]]}
        due = {k for k, r in source.items() if _is_due(records, rule, r, as_of)}
        for name, link, columns in _places(records, rule):
            for row in records.rows[name]:
                key = row[KEY[name]]
                if row[link or KEY[name]] not in due or (name, key) in deleted:
                    continue
                if rule["action"] == "delete":
                    deleted.add((name, key))
                elif all(row[c] is None for c in columns):
                    continue
                found.append((rule["rule_id"], name, key))
    return sorted(found)


def _after(records: Records, work: Iterable[tuple[str, str, Sequence[int]]], as_of: date) -> Records:
    """The tables and certificates once work, (rule, table, keys), has been done on a day."""
    after = Records({name: [dict(r) for r in rows] for name, rows in records.rows.items()}, records.why)
    rules = {r["rule_id"]: r for r in records.rows["retention_schedule"]}
    for rule_id, name, keys in work:
        rule, taken = rules[rule_id], set(keys)
        if rule["action"] == "delete":
            after.rows[name] = [r for r in after.rows[name] if r[KEY[name]] not in taken]
        else:
            columns = next(c for n, _, c in _places(records, rule) if n == name)
            for row in after.rows[name]:
                if row[KEY[name]] in taken:
                    row.update(dict.fromkeys(columns))
        after.rows["deletion_certificates"].append(certificate(rule, name, keys, as_of))
    return after


def _work(records: Records, as_of: date) -> list[tuple[str, str, list[int]]]:
    """All that is due on a day, as (rule, table, keys)."""
    work: dict[tuple[str, str], list[int]] = {}
    for rule_id, name, key in due_rows(records, as_of):
        work.setdefault((rule_id, name), []).append(key)
    return [(*place, keys) for place, keys in work.items()]


def certificate(rule: Row, name: str, keys: Sequence[int], as_of: date) -> Row:
    """A row of deletion_certificates."""
    digest = sha256(",".join(map(str, sorted(keys))).encode()).hexdigest()
    return dict(zip(CERTIFICATE, (rule["rule_id"], name, rule["action"], as_of, len(keys), digest), strict=True))


# -- rows that ask for everything -----------------------------------------------------------------------------------------------


TEXTS = frozenset(
    ("customer_name", "applicant_name", "postal_address", "email", "phone", "message", "letter", "ip_address", "topic", "page")
)  # fmt: skip


class _Maker:
    """Makes records: some rows of the world, and for each rule rows on the days and in the states that go wrong."""

    def __init__(
        self, lab: Lab, name: str, jurisdictions: Sequence[str], base: int, tables: Sequence[str], listed: Sequence[str] | None,
        few: bool,
    ) -> None:  # fmt: skip
        self.few = few
        self.rng = lab.rng(f"records/{name}")
        world = lab.cached("records of the world", lambda: {t: lab.world.sql(f"from ({sql}) order by all").dicts()
                                                            for t, sql in RECORD_SQL.items()})  # fmt: skip
        schedule = [
            # Half a year more than whole years: 31 December of the day's year is then not that of the end's.
            r | {"period_months": r["period_months"] + 6 * (r["counts_from"] == "year end" and r["action"] == "delete")}
            for r in world["retention_schedule"]
            if r["jurisdiction"] in jurisdictions and r["table_name"] in tables
        ]
        copied = world["table_copies"]
        if listed is not None:
            schedule, copied = self._other_columns(schedule, copied, listed)
        rows: dict[str, list[Row]] = {t: [] for t in RECORD_TABLES}
        rows["retention_schedule"], rows["table_copies"] = schedule, copied
        rows["legal_holds"] = list(world["legal_holds"])
        links = {c["table_name"]: c for c in copied}
        for table in DATA:
            if table in links or table not in tables:
                continue
            mine = [r for r in world[table] if r["jurisdiction"] in jurisdictions]
            rows[table] = [mine[i] for i in sorted(self.rng.permutation(len(mine))[:base].tolist())]
        for copy, link in links.items():
            kept = {r[link["source_key_column"]] for r in rows[link["source_table"]]}
            rows[copy] = [r for r in world[copy] if r[link["source_key_column"]] in kept]
        self.links, self.schedule = links, schedule
        # Keys of four and of five digits, so that they are not in the same order as numbers and as texts.
        self.next = {t: [9_990 - int(self.rng.integers(9)), 10_000 + int(self.rng.integers(9))] for t in DATA}
        self.next_subject = 900_001
        self.records = Records(rows)

    def _other_columns(
        self, schedule: list[Row], copied: list[Row], listed: Sequence[str]
    ) -> tuple[list[Row], list[Row]]:
        """Invoices lose both columns that their extract repeats; of these, table_copies lists ``listed`` alone."""
        wanted = {"customer_name", "email"}
        schedule = [
            r | {"columns": [str(c) for c in self.rng.permutation(sorted({*r["columns"], *wanted}))]}
            if r["table_name"] == "customer_invoices" and r["action"] == "anonymise"
            else r
            for r in schedule
        ]
        return schedule, [c | {"columns": list(listed)} if c["table_name"] == "invoice_extract" else c for c in copied]

    def subject(self) -> int:
        """A person of whom nothing else is known."""
        self.next_subject += 1
        return self.next_subject

    def hold(self, subject: int, data_class: str | None, placed: date, lifted: date | None) -> None:
        """A hold on a person."""
        holds = self.records.rows["legal_holds"]
        holds.append(
            dict(zip(COLUMNS["legal_holds"], (f"X{len(holds):03d}", subject, data_class, placed, lifted), strict=True))
        )

    def add(
        self, rule: Row, day: date | None, why: str, *, copies: int = 1, empty: Iterable[str] = (),
        copy_empty: Iterable[str] = (), subject: int | None = -1, loaded: date | None = None,
    ) -> None:  # fmt: skip
        """A row of the rule's table with its copies. ``empty``: columns that are null; ``copy_empty``: those of its copies.
        Copies are months younger than the row."""
        table = rule["table_name"]
        subject = self.subject() if subject == -1 else subject
        key = self._key(table)
        values: Row = dict.fromkeys(COLUMNS[table])
        values.update({c: f"{c} {key}" for c in COLUMNS[table] if c in TEXTS})
        start = day or date(2026, 1, 15)
        values.update(
            {c: start for c in ("opened_on", "received_on") if c in values}
            | {c: v for c, v in (("amount_usd", 12.5), ("spend_usd", 40), ("order_count", 2)) if c in values}
        )
        values.update({KEY[table]: key, "subject_id": subject, "jurisdiction": rule["jurisdiction"]})
        values.update({rule["date_column"]: day, "loaded_on": loaded or start})
        values.update(dict.fromkeys(empty))
        self.records.rows[table].append(values)
        self.records.why[table, key] = why
        for copy, link in self.links.items():
            if link["source_table"] != table:
                continue
            for _ in range(copies):
                own = self._key(copy)
                row: Row = {c: f"{c} {key}" if c in TEXTS else values.get(c) for c in COLUMNS[copy]}
                row |= dict.fromkeys(copy_empty) | {KEY[copy]: own}
                if "extracted_on" in row:
                    row["extracted_on"] = add_months(start, int(self.rng.integers(3, 9)))
                self.records.rows[copy].append(row)
                self.records.why[copy, own] = f"a copy of {key} in {table}: {why}"

    def _key(self, table: str) -> int:
        ends, step = self.next[table], int(self.rng.integers(1, 9))
        side = int(self.rng.integers(2))
        ends[side] += step if side else -step
        return ends[side]

    def days_ending(self, rule: Row, on: date) -> list[date]:
        """The days whose end is this one; few of them where the year counts."""
        if rule["counts_from"] == "year end":
            year = add_months(on, -rule["period_months"]).year
            days = [date(y, 5, 17) for y in (year - 1, year, year + 1)]
        else:
            about = add_months(on, -rule["period_months"])
            days = [about + timedelta(days=k) for k in range(-4, 5)]
        if rule["date_column"] == "month_end_on":
            days = [d for d in days if (d + timedelta(days=1)).day == 1]
        return [d for d in days if end_of(rule, d) == on]

    def edges(self, rule: Row, as_of: date) -> None:
        """Rows of one rule around a day."""
        tomorrow = as_of + timedelta(days=1)
        is_monthly = rule["date_column"] == "month_end_on"
        for day in self.days_ending(rule, as_of):
            clipped = rule["counts_from"] == "event" and day.day != as_of.day
            leap = (day.month, day.day) == (2, 29)
            self.add(
                rule,
                day,
                "29 February" if leap and clipped else "the end of a shorter month" if clipped else "its last day",
            )
        for day in self.days_ending(rule, tomorrow)[:2]:
            self.add(rule, day, "due tomorrow")
        for day in self.days_ending(rule, as_of - timedelta(days=1))[-1:]:
            self.add(rule, day, "due since yesterday")
        # A day that has been due for some weeks and, for anonymise, not long enough for the deletion that comes after it.
        long_due = add_months(as_of, -rule["period_months"])
        if rule["counts_from"] == "year end":
            long_due = date(add_months(as_of, -rule["period_months"]).year - 1, 6, 30)
            early = add_months(as_of, -rule["period_months"]) - timedelta(days=40)
            if end_of(rule, early) > as_of:
                self.add(rule, early, "its year has not ended")
            if rule["period_months"] % 12:
                self.add(rule, date(long_due.year, 9, 17), "due since 31 December of its year and the months after it")
        long_due -= timedelta(days=int(self.rng.integers(35, 60)))
        if is_monthly:
            long_due = long_due.replace(day=1) - timedelta(days=1)
        self.add(rule, long_due, "loaded late", loaded=as_of - timedelta(days=1), copies=2)
        if self.few:
            return
        data_class = rule["data_class"]
        other = "application" if data_class != "application" else "web_event"
        yesterday, month_ago = as_of - timedelta(days=1), as_of - timedelta(days=30)
        for why, kind, placed, lifted in (
            ("held", data_class, month_ago, None),
            ("held, by a hold on all classes", None, month_ago, tomorrow),
            ("held from today on", data_class, as_of, None),
            ("hold lifted today", data_class, month_ago, as_of),
            ("hold lifted yesterday", None, month_ago, yesterday),
            ("held from tomorrow on", data_class, tomorrow, None),
            ("held for another class", other, month_ago, None),
        ):
            person = self.subject()
            self.hold(person, kind, placed, lifted)
            self.add(rule, long_due, why, subject=person)
        if not is_monthly:
            self.add(rule, long_due, "a guest", subject=None)
        if rule["date_column"] in ("closed_on", "decided_on"):
            self.add(rule, None, "not closed")
        if rule["action"] == "anonymise" and not is_monthly:
            columns = rule["columns"]
            copied = [c for link in self.links.values() if link["source_table"] == rule["table_name"] for c in columns
                      if c in COLUMNS[link["table_name"]]]  # fmt: skip
            self.add(rule, long_due, "anonymised before", empty=columns, copy_empty=copied)
            self.add(rule, long_due, "anonymised before, but not in the copy", empty=columns)
            for one in columns:
                rest, of_copy = [c for c in columns if c != one], [c for c in copied if c != one]
                self.add(rule, long_due, "anonymised but for one column", empty=rest, copy_empty=of_copy)


def records_for(
    lab: Lab, name: str, days: Sequence[date], jurisdictions: Sequence[str], base: int, tables: Sequence[str] = DATA,
    listed: Sequence[str] | None = None, few: bool = False,
) -> Records:  # fmt: skip
    """Rows for runs on these days, and rules of these tables. ``listed``: the invoices' rules take both columns that their
    extract repeats, and table_copies lists these of them. ``few``: none that are there for the plan alone."""

    def make() -> Records:
        maker = _Maker(lab, name, jurisdictions, base, tables, listed, few)
        for day in days:
            for rule in maker.schedule:
                maker.edges(rule, day)
        return maker.records

    return lab.kept(f"records/{name}", make)


def _due(lab: Lab, records: Records, as_of: date) -> Due:
    """What is right for records of ``plan_is_exact``."""

    def make() -> Due:
        ends = {
            (rule["rule_id"], row[rule["key_column"]]): end_of(rule, row[rule["date_column"]])
            for rule in records.rows["retention_schedule"]
            for row in records.rows[rule["table_name"]]
        }
        return Due(due_rows(records, as_of), {place: end for place, end in ends.items() if end})

    return lab.kept(f"due/{as_of}", make)


def leap_day(lab: Lab) -> date:
    """A 28 February on which some row of a 29 February is due, by a rule whose period is no multiple of four years."""

    def make() -> date:
        periods = sorted(
            set(
                lab.world.sql(
                    "select period_months from ops.retention_schedule where counts_from = 'event' and period_months % 12 = 0 and "
                    "period_months % 48 <> 0 and table_name <> 'customer_months'"
                ).column("period_months")
            )
        )
        months = int(periods[int(lab.rng("leap day").integers(len(periods)))]) if periods else 12
        return add_months(date(2024, 2, 29), months)

    return lab.kept("leap day", make)


def late_day(lab: Lab) -> date:
    """The 30th of a month of 31 days on which some row of the last day of a shorter month is due."""

    def make() -> date:
        periods = sorted(
            set(
                lab.world.sql("select period_months from ops.retention_schedule where counts_from = 'event'").column(
                    "period_months"
                )
            )
        )
        months = [
            m for p in periods for m in (1, 3, 5, 7, 8, 10, 12) if (m - 1 - p) % 12 + 1 in (4, 6, 9, 11)
        ]  # fmt: skip
        return date(2027, int(months[int(lab.rng("late day").integers(len(months)))]) if months else 12, 30)

    return lab.kept("late day", make)


def inner_day(lab: Lab) -> date:
    """A day that is neither near the beginning of a month nor near its end."""

    def make() -> date:
        rng = lab.rng("inner day")
        return date(int(rng.integers(2026, 2029)), int(rng.integers(3, 13)), int(rng.integers(10, 20)))

    return lab.kept("inner day", make)


# -- running the learner's job ---------------------------------------------------------------------------------------------------


def database_of(lab: Lab, records: Records) -> JudgedDatabase:
    tables = {
        name: Table.of(COLUMNS[name], [[r[c] for c in COLUMNS[name]] for r in rows])
        for name, rows in records.rows.items()
    }
    return lab.database(RECORD_SETUP, tables)


def _read(db: JudgedDatabase) -> dict[str, list[tuple]]:
    found = {}
    for name, sql in READ.items():
        table = db.rows(sql)
        expect(
            list(table.columns) == COLUMNS[name],
            f"{name} has other columns than before: {', '.join(table.columns)}.",
        )
        found[name] = list(table.rows)
    return found


def _state(records: Records) -> dict[str, Counter[tuple]]:
    return {name: Counter(_plain(r[c] for c in COLUMNS[name]) for r in records.rows[name]) for name in READ}


def _plain(values: Iterable[Any]) -> tuple:
    """Values that compare: numbers as floats, moments at midnight as days."""
    return tuple(
        float(v) if as_number(v) is not None else v.date() if hasattr(v, "date") and callable(v.date) else v
        for v in values
    )


def _call(lab: Lab, db: JudgedDatabase, as_of: date) -> None:
    """One run. What it returns is not used, so it may be anything."""
    try:
        lab.call("apply", db, as_of)
    except LearnerError as error:
        if error.error_type != "CodecError":
            raise


MISTAKES = {
    "29 February": "subtracts",
    "the end of a shorter month": "subtracts",
    "loaded late": "loaded",
    "a guest": "guests",
    "its year has not ended": "year_end",
    "due tomorrow": "adds_days",
    "due since yesterday": "adds_days",
    "anonymised before, but not in the copy": "copies",
}


def _about(records: Records, due: Due, rule: Row, name: str, key: int) -> tuple[str, str | None, Table]:
    """What a row is, in words, with the misconception behind a wrong plan, and the row and its source."""
    why = records.why.get((name, key), "")
    row = next((r for r in records.rows[name] if r[KEY[name]] == key), None)
    if row is None:
        return "which is no row of that table", None, Table.of(["key"], [(key,)])
    source = row
    if name != rule["table_name"]:
        link = next(c for c in records.rows["table_copies"] if c["table_name"] == name)["source_key_column"]
        source = next(r for r in records.rows[rule["table_name"]] if r[KEY[rule["table_name"]]] == row[link])
    day = source[rule["date_column"]]
    plain = why.split(": ")[-1]
    misconception = MISTAKES.get(plain) or ("hold" if "held" in plain or "hold" in plain else None)
    words = f"its {rule['date_column']} is {day or 'null'}"
    if day:
        end = due.ends[rule["rule_id"], source[rule["key_column"]]]
        words += f", which ends on {end} ({rule['period_months']} months from the {rule['counts_from']})"
    if why:
        words = f"{why}; {words}"
    if name != rule["table_name"] and not misconception:
        misconception = "copies"
    holds = [h for h in records.rows["legal_holds"] if h["subject_id"] == source.get("subject_id") and h["subject_id"]]
    shown = [("row", c, str(row[c])) for c in COLUMNS[name]]
    shown += [("hold", h["hold_id"], f"{h['data_class']}, {h['placed_on']} to {h['lifted_on']}") for h in holds]
    return words, misconception, Table.of(["", "column", "value"], shown)


def _compare_plan(records: Records, due: Due, got: Any, as_of: date) -> int:
    table = as_table(list(got) if isinstance(got, set | frozenset) else got, "`plan`", PLAN)
    rules = {r["rule_id"]: r for r in records.rows["retention_schedule"]}
    mine: Counter[tuple] = Counter()
    for rule_id, name, key in table.rows:
        number = as_number(key)
        expect(
            rule_id in rules and name in DATA and number is not None and number == int(number),
            f"`plan` has a row ({rule_id!r}, {name!r}, {key!r}) that names no rule, no table or no key.",
        )
        mine[rule_id, name, int(number)] += 1
    want = due.plan
    twice = [k for k, n in mine.items() if n > 1]
    expect(not twice, f"`plan` on {as_of} lists {twice[:1]} more than once ({len(twice)} such rows).")
    missing, extra = [k for k in want if k not in mine], sorted(set(mine) - set(want))
    if not missing and not extra:
        return len(want)
    deleted = {k[1:] for k in want if rules[k[0]]["action"] == "delete"}
    doubled = [k for k in extra if k[1:] in deleted]
    if not missing and doubled:
        rule_id, name, key = doubled[0]
        raise CheckFailed(
            f"`plan` on {as_of}: row {key} of {name} stands under {rule_id} (anonymise) although it is due for deletion, "
            f"{len(doubled)} rows in all.",
            misconception="twice_listed",
        )
    # The rows that were made to tell something come first; what most of them tell is said.
    wrong = [(k, True) for k in missing] + [(k, False) for k in extra if k not in doubled]
    told = [(k, is_missing, *_about(records, due, rules[k[0]], k[1], k[2])) for k, is_missing in wrong]
    common = Counter(t[3] for t in told if t[3]).most_common(1)
    first = next((t for t in told if common and t[3] == common[0][0] and (t[0][1], t[0][2]) in records.why), told[0])
    (rule_id, name, key), is_missing, words, misconception, shown = first
    verb = "is due" if is_missing else "is not due"
    raise CheckFailed(
        f"`plan` on {as_of}: row {key} of {name} {verb} under {rule_id} ({rules[rule_id]['action']}), and your plan "
        f"{'lacks' if is_missing else 'has'} it: {words}. In all {len(missing)} rows are missing and {len(extra)} too many, "
        f"of {len(want)}.",
        evidence=Evidence(f"row {key} of {name}", shown),
        ask="What makes this row different from those that you have right?",
        misconception=misconception,
    )


@check("b", "the plan holds what is due, and nothing else", points=1.5)
def plan_is_exact(lab: Lab) -> str:
    """Four days: a 28 February, a 31 December, the 30th of a month of 31 days and one inside a month; rows of the world and rows
    on the days around."""
    days = {
        leap_day(lab): (("APAC", "EU", "US"), ("customer_name", "email")),
        date(2027, 12, 31): (("EU",), ("email",)),
        late_day(lab): (("APAC", "EU", "US"), ("email",)),
        inner_day(lab): (("APAC",), ("customer_name",)),
    }
    total = 0
    for as_of, (jurisdictions, listed) in days.items():
        records = records_for(lab, f"plan/{as_of}", [as_of], jurisdictions, 6, listed=listed)
        db = database_of(lab, records)
        db.arm()
        got = lab.call("plan", db, as_of)
        total += _compare_plan(records, _due(lab, records, as_of), got, as_of)
        db.crash()
        db.arm()
        same = {k: Counter(map(_plain, v)) for k, v in _read(db).items()} == _state(records)
        expect(same, f"`plan` on {as_of} has changed tables. A plan is there to be read before anything happens.")
        db.close()
    return f"{total} rows due on {', '.join(map(str, days))}: all of them, and no others, are in the plan."


def _compare(records: Records, after: Records, got: dict[str, list[tuple]], what: str) -> None:
    """Tables and certificates against what they should be."""
    want = _state(after)
    for name in DATA:
        mine = Counter(map(_plain, got[name]))
        if mine == want[name]:
            continue
        columns = COLUMNS[name]
        extra, missing = list((mine - want[name]).elements()), list((want[name] - mine).elements())
        changed = [(a, b) for a in extra for b in missing if a[0] == b[0]][:1]
        if changed:
            a, b = changed[0]
            column = next(c for c, x, y in zip(columns, a, b, strict=True) if x != y)
            x, y = a[columns.index(column)], b[columns.index(column)]
            before = next(r for r in records.rows[name] if float(r[KEY[name]]) == a[0])[column]
            filled = y is None and x not in (None, before)
            raise CheckFailed(
                f"{what}: {column} of row {a[0]:.0f} of {name} is {str(x)!r}, {str(y)!r} was expected"
                + (
                    ": what replaces it was made from the person's data, or stands where null should."
                    if filled
                    else "."
                ),
                evidence=Evidence("yours, then expected", Table.of(columns, [a, b])),
                ask="Could somebody with a list of customers find out whose row this is?" if filled else None,
                misconception="hashed" if filled else None,
            )
        rows, words = (extra, "is still there") if extra else (missing, "is gone")
        why = records.why.get((name, int(rows[0][0])), "")
        raise CheckFailed(
            f"{what}: row {rows[0][0]:.0f} of {name}{f' ({why})' if why else ''} {words}, {len(extra)} rows too many and "
            f"{len(missing)} missing.",
            evidence=Evidence(name, Table.of(columns, rows[:3])),
        )
    mine = Counter(map(_plain, got["deletion_certificates"]))
    if mine != want["deletion_certificates"]:
        extra = list((mine - want["deletion_certificates"]).elements())
        missing = list((want["deletion_certificates"] - mine).elements())
        empty = [r for r in extra if not r[4]]
        raise CheckFailed(
            f"{what}: the tables are right, but {len(missing)} certificates are missing and {len(extra)} are there that "
            f"should not "
            f"be{', some of them for no rows at all' if empty else ''}.",
            evidence=[
                Evidence(title, Table.of(CERTIFICATE, rows[:3]))
                for title, rows in (("only in yours", extra), ("missing from yours", missing))
                if rows
            ],
            ask="What would an auditor conclude from this table?",
            misconception="empty" if empty else "certificate",
        )


FIRST_DAY, LATER_DAY = date(2026, 9, 30), date(2026, 11, 17)


def _runs_of_the_job(lab: Lab) -> tuple[Records, list[Records], list[dict[str, list[tuple]]]]:
    """A run, the same run again, and one seven weeks later: the records, what should be there after each, and what is."""

    def truth() -> tuple[Records, list[Records]]:
        records = records_for(lab, "later", [FIRST_DAY, LATER_DAY], ("EU",), 10, listed=("customer_name", "email"))
        once = _after(records, _work(records, FIRST_DAY), FIRST_DAY)
        return records, [once, once, _after(once, _work(once, LATER_DAY), LATER_DAY)]

    records, want = lab.kept("runs of the job", truth)

    def run() -> list[dict[str, list[tuple]]]:
        db, states = database_of(lab, records), []
        for as_of in (FIRST_DAY, FIRST_DAY, LATER_DAY):
            db.arm()
            _call(lab, db, as_of)
            db.crash()  # what was not committed is lost
            states.append(_read(db))
        db.close()
        return states

    return records, want, lab.once("states", run)


@check("b", "what goes is gone everywhere, and certified", points=1)
def work_is_done_and_certified(lab: Lab) -> str:
    """One run, then `carry_out` alone with parts of the work, on one day; tables and certificates against those in plain
    Python."""
    records, want, states = _runs_of_the_job(lab)
    _compare(records, want[0], states[0], f"After `apply` on {FIRST_DAY}")

    def truth() -> tuple[list[tuple[str, dict[str, list[int]]]], Records]:
        parts = _parts(records)
        return parts, _after(records, [(r, t, keys) for r, part in parts for t, keys in part.items()], FIRST_DAY)

    work, after = lab.kept("parts of the job", truth)
    db = database_of(lab, records)
    for rule_id, part in work:
        db.arm()
        try:
            lab.call("carry_out", db, rule_id, part, FIRST_DAY)
        except LearnerError as error:
            if error.error_type != "CodecError":
                raise
        db.crash()
    _compare(records, after, _read(db), "After `carry_out` with parts of what is due, on one day")
    db.close()
    rows = want[0].rows["deletion_certificates"]
    return f"{len(rows)} certificates for {sum(c['row_count'] for c in rows)} rows."


def _parts(records: Records) -> list[tuple[str, dict[str, list[int]]]]:
    """Work as `carry_out` takes it, (rule, keys by table). Of the rules that concern invoices about half of the rows due: first
    some of the copies alone, then some of both tables."""
    rules = {r["rule_id"]: r for r in records.rows["retention_schedule"]}
    first: dict[str, dict[str, list[int]]] = {}
    second: dict[str, dict[str, list[int]]] = {}
    for n, (rule_id, name, key) in enumerate(due_rows(records, FIRST_DAY)):
        if rules[rule_id]["table_name"] == "customer_invoices" and n % 2:
            part = first if name != "customer_invoices" and n % 4 == 1 else second
            part.setdefault(rule_id, {}).setdefault(name, []).append(key)
    return [*first.items(), *second.items()]


def _kills(lab: Lab, log: Sequence[Mapping[str, Any]]) -> list[int]:
    """Before which statements to kill: after each that may have changed something; a query or a begin has not. Of more than
    MOST_KILLS, changes of rows come first, and of these those that differ in what they are and what stands after."""
    texts = [s["sql"] for s in log] + [""]
    groups: dict[tuple[bool, str, str], list[int]] = {}
    for k, statement in enumerate(log, 1):
        begins = statement["kind"] == "TRANSACTION" and statement["sql"].split()[0].lower() in ("begin", "start")
        if statement["kind"] != "SELECT" and not begins:
            changes = statement["kind"] in ("DELETE", "UPDATE")
            groups.setdefault((not changes, texts[k - 1], texts[k]), []).append(k)
    for ks in groups.values():
        lab.rng("kills").shuffle(ks)
    order = sorted(groups, key=lambda g: g[0])
    firsts = [groups[g][0] for g in order]
    return sorted([*firsts, *(k for g in order for k in groups[g][1:])][:MOST_KILLS])


def _later(log: Sequence[Mapping[str, Any]], killed: int, k: int) -> int:
    """Where statement k of a whole run stands in one that follows a kill at an earlier statement: what was committed is not
    done again, with the queries before it. A change outside a transaction commits itself."""
    busy = [i for i, s in enumerate(log) if s["kind"] != "SELECT"]
    last, is_open = -1, False
    for i in busy:
        if log[i]["kind"] == "TRANSACTION":
            is_open = log[i]["sql"].split()[0].lower() in ("begin", "start")
        if i < killed and not is_open:
            last = i
    return busy[0] + k - next(i for i in busy if i > last)


@check("b", "a kill at any statement leaves no half-done work, and a rerun ends as one run", points=1)
def kills_leave_no_trace(lab: Lab) -> str:
    """A kill after each statement that writes or ends a transaction: a kill elsewhere leaves what one of these leaves."""
    as_of = FIRST_DAY
    records = records_for(lab, "kills", [as_of], ("EU",), 4, listed=("email",), few=True)

    def truth() -> tuple[Records, list[Job]]:
        work = _work(records, as_of)
        rules = {r["rule_id"]: r for r in records.rows["retention_schedule"]}
        columns = {(r, t): next(c for n, _, c in _places(records, rules[r]) if n == t) for r, t, _ in work}
        return _after(records, work, as_of), [(r, t, keys, columns[r, t]) for r, t, keys in work]

    after, work = lab.kept("after kills", truth)
    db = database_of(lab, records)
    db.arm()
    _call(lab, db, as_of)
    log = db.log()
    db.crash()
    _compare(records, after, _read(db), f"After `apply` on {as_of}")
    db.close()
    kills = _kills(lab, log)
    want = {(c["rule_id"], c["table_name"]): _plain(c.values()) for c in after.rows["deletion_certificates"]}
    # One database goes through all kills: a run that follows one has less to do by what was committed before it.
    db, killed = database_of(lab, records), 0
    for k in kills:
        db.arm(crash_before=_later(log, killed, k))
        try:
            _call(lab, db, as_of)
        except LearnerError as error:
            if error.error_type != "Crash":
                raise
        ran = db.log()
        sql = ran[-1]["sql"].strip().split("\n")[0][:80] if ran else log[k - 1]["sql"][:80]
        db.crash()
        _expect_whole(work, want, _read(db), f"Killed after a statement ({sql})")
        killed = k
    db.arm()
    _call(lab, db, as_of)
    db.crash()
    _compare(records, after, _read(db), f"Killed {len(kills)} times and run again each time")
    db.close()
    return f"Killed at {len(kills)} of {len(log)} statements and run again: the same rows, the same certificates."


# A rule, a table, keys that are due there and the columns that are emptied; none: the rows go.
Job = tuple[str, str, list[int], list[str]]


def _expect_whole(work: Sequence[Job], want: Mapping[tuple, tuple], got: dict[str, list[tuple]], what: str) -> None:
    """Each rule's work in a table is done and certified, or not begun."""
    by_key = {name: {int(r[0]): r for r in got[name]} for name in DATA}
    certified = Counter(map(_plain, got["deletion_certificates"]))
    for rule_id, name, keys, columns in work:
        at = [COLUMNS[name].index(c) for c in columns]
        done = sum(k not in by_key[name] or (bool(at) and all(by_key[name][k][i] is None for i in at)) for k in keys)
        has = certified[want[rule_id, name]]
        expect(
            done in (0, len(keys)),
            f"{what}: {done} of the {len(keys)} rows of {name} that are due under {rule_id} are gone, the others are not.",
            misconception="certificate",
        )
        expect(
            (done > 0) == (has > 0),
            f"{what}: {len(keys)} rows of {name} that are due under {rule_id} are {'gone' if done else 'still there'}, and "
            f"their certificate {'is there' if has else 'is not there'}. "
            + (
                "Nobody can prove any more what was deleted, and when."
                if done
                else "It certifies what has not happened."
            ),
            ask="Which statements have to go together or not at all?",
            misconception="certificate",
        )


@check("b", "a second run changes nothing, and a later one adds what has become due", points=1)
def later_runs_add(lab: Lab) -> str:
    """A run, the same run again, and one seven weeks later: holds have been lifted and placed in between."""
    records, want, states = _runs_of_the_job(lab)
    for number, what in enumerate(
        (
            f"After `apply` on {FIRST_DAY}",
            f"After a second `apply` on {FIRST_DAY}",
            f"After `apply` on {FIRST_DAY} twice and on {LATER_DAY}",
        )
    ):
        _compare(records, want[number], states[number], what)
    added = len(want[2].rows["deletion_certificates"]) - len(want[0].rows["deletion_certificates"])
    return f"The second run on {FIRST_DAY} changed nothing; on {LATER_DAY} {added} certificates came to the first."


# -- twelve weeks later ----------------------------------------------------------------------------------------------------------


def twelve_weeks_later(lab: Lab) -> Any:
    """The bill by month of five years under the learner's policy and today's, and data past its maximum. Today's policy keeps
    everything in hot for ever."""
    from workshop.plots import BLUE, RED, plt

    estate = _estates(lab)[0]
    today = [
        {"table_name": t["table_name"], "jurisdiction": t["jurisdiction"], "step": "delete", "after_months": NEVER // 2,
         "counted_from": "month", "tier": None, "kinds": None, "waits_for_hold": True}
        for t in estate.tables
    ]  # fmt: skip
    before = _replay(lab, estate, today, estate.holds)
    try:
        after = _replay(lab, estate, read_policy(lab, estate, 0), estate.holds)
    except (NotAttempted, LearnerError):
        after = None
    figure, (bill, late) = plt.subplots(1, 2, figsize=(8.8, 3.3))
    months = np.arange(1, RUNS + 1)
    runs = [("today", before, RED)] + ([("yours", after, BLUE)] if after else [])
    for who, run, colour in runs:
        bill.plot(months, np.array(run["monthly_usd"]) / 1000, color=colour, label=who)
        late.plot(months, np.array(run["overdue_gb"]) / 1000, color=colour, label=who)
    for ax in (bill, late):
        ax.axvline(3, color="#7f7f7f", ls="--", lw=0.9)
        ax.set_xlabel("months from now; dashed: twelve weeks")
        ax.set_ylim(bottom=0)
        ax.legend()
    bill.set_ylabel("thousand USD a month")
    late.set_ylabel("TB with personal data too old")
    weeks = [sum(run["monthly_usd"][:3]) / 1000 for _, run, _ in runs]
    bill.set_title(
        f"Twelve weeks: {weeks[0]:.0f} thousand USD today" + (f", {weeks[1]:.0f} yours" if after else ""), fontsize=10
    )
    tb = [run["overdue_gb"][2] / 1000 for _, run, _ in runs]
    late.set_title(f"Past its maximum: {tb[0]:.0f} TB today" + (f", {tb[1]:.0f} yours" if after else ""), fontsize=10)
    plt.close(figure)
    return figure
