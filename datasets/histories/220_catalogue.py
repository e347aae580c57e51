# subject: catalogue
# needs: organisation
# makes: ops.catalog_assets, ops.catalog_requirements, ops.catalog_terms, ops.catalog_reviews
# makes: ops.curation_domains, ops.curation_capacity, ops.curation_history
# truth: catalog_accuracy
"""The data catalogue of nine domains, a year of its curation, and samples of its entries that somebody has reviewed.

Until the end of 2025 a central desk curated everything; since then the domains curate what arrives, and the desk works off
what it had. `draw_company` says how the domains of a company differ: it is used for fresh companies too.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import duckdb
import numpy as np
import pandas as pd

from workshop.sim import streams
from workshop.sim.curation import DRIFT_AT_START, DRIFT_MOST, HOURS, KINDS, WEEKS, draw_years
from workshop.world.seeds import derive_seed

ASSETS = 1200
FIRST_ASSET = 70_000
STALE_BEFORE = 337.0  # 2026-06-02 00:00, in days: lab 2.3
HANDED_OVER = 26  # the week in which the domains took over: 2025-12-29
TIERS = ("core", "shared", "local")
TIER_SHARES = (0.11, 0.32, 0.57)
SAMPLED = {
    "core": 15,
    "shared": 13,
    "local": 12,
}  # reviews by domain and round: core assets are looked at far more often
ASSET_KINDS = {"routine": ("table", "view"), "business": ("metric", "term")}
PLACEHOLDERS = (
    "tbd",
    "todo",
    "n/a",
    "none",
    "see wiki",
    "?",
    "description",
    "test",
    "ask owner",
    "wip",
    "to follow",
    "-",
)
CLASSES = ("public", "internal", "confidential", "restricted", "secret", "partner")
UNITS = ("eur", "usd", "percent", "orders", "minutes", "hours", "items", "customers", "kilograms", "days", "parcels")
NO_CLASSES = ("tbd", "pii?", "yes", "unknown", "gdpr")
NO_UNITS = ("number", "n/a", "value", "#", "various")
NOUNS = (
    *(
        "balance",
        "basket",
        "booking",
        "budget",
        "campaign",
        "claim",
        "delivery",
        "forecast",
        "invoice",
        "lead",
        "margin",
        "offer",
    ),
    *(
        "order",
        "parcel",
        "payout",
        "price",
        "refund",
        "return",
        "route",
        "session",
        "shift",
        "slot",
        "stock",
        "tariff",
        "visit",
    ),
)
SHAPES = {
    "table": ("{n}s", "{n}_lines", "{n}_history"),
    "view": ("v_{n}s", "v_{n}_current"),
    "metric": ("{n}_rate", "{n}_count", "{n}_value"),
    "term": ("{n}", "active_{n}", "net_{n}"),
}
TEXTS = (
    "One row for each {n} of {d}, as booked.",
    "What {d} counts as {n}; corrections included.",
    "Every {n} that {d} has closed, by day.",
    "{n} as agreed between {d} and finance.",
    "The latest state of each {n}.",
)


def draw_company(rng: np.random.Generator, names: list[str]) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """Domains and capacity as `workshop.sim.curation` takes them. What a domain is like is dealt out anew for each company: where
    the desk lacks knowledge, who has hours, whose standards drift, whose curators are new to it."""
    n = len(names)

    def dealt(*counts: int) -> np.ndarray:
        return rng.permutation(np.repeat(np.arange(len(counts)), counts))

    def spread(low: float, high: float) -> float:
        return float(np.exp(rng.uniform(np.log(low), np.log(high))))

    odd_routine, odd_business = dealt(4, n - 4), dealt(3, n - 3)
    hours, fast, green = dealt(3, 2, n - 5), dealt(4, n - 4), dealt(n - 2, 2)
    domains = []
    for i, name in enumerate(names):
        routine, business = rng.uniform(2.5, 6.5), rng.uniform(1.5, 4.5)
        work = routine * HOURS["routine"] + business * HOURS["business"]
        share = ((0.15, 0.4), (0.7, 1.0), (1.4, 2.2))[hours[i]]
        domains.append(
            {
                "domain": name,
                "routine_per_week": round(routine, 2),
                "business_per_week": round(business, 2),
                "domain_hours_per_week": round(work * rng.uniform(*share), 1),
                "closed_weeks": int(rng.choice([0, 0, 0, 1, 2, 3])),
                "desk_hours_routine": round(rng.uniform(*((0.5, 0.8), (1.8, 2.8))[odd_routine[i]]), 2),
                "desk_hours_business": round(rng.uniform(*((0.9, 1.3), (2.8, 4.5))[odd_business[i]]), 2),
                "desk_wrong_routine": round(rng.uniform(*((0.02, 0.04), (0.15, 0.25))[odd_routine[i]]), 3),
                "desk_wrong_business": round(rng.uniform(*((0.03, 0.08), (0.3, 0.5))[odd_business[i]]), 3),
                "domain_wrong": round(rng.uniform(*((0.03, 0.08), (0.2, 0.35))[green[i]]), 3),
                "drift_per_week": round(rng.uniform(*((0.0003, 0.002), (0.018, 0.04))[fast[i]]), 4),
                "stale_usd_per_week": round(spread(20, 70), 1),
                "wrong_usd_per_week": round(spread(12, 60), 1),
            }
        )
    work = sum(x[f"{k}_per_week"] * x[f"desk_hours_{k}"] for x in domains for k in KINDS)
    return domains, {"desk_hours_per_week": round(work * rng.uniform(0.42, 0.54), 1)}


@dataclass
class Entry:
    """An asset that is new or has changed. Times in days since 2025-06-30, a Monday (today is day 365); nan: not yet."""

    asset: int
    domain: int
    kind: int
    arrived: float
    curated: float = np.nan
    by: str | None = None
    is_wrong: bool = False
    is_off: bool = False


@dataclass
class Worker:
    """A desk or a domain's curators: a queue, and the hours that are left of a week (below zero: begun ahead)."""

    queue: deque[Entry] = field(default_factory=deque)
    left: float = 0.0

    def work(self, hours: float, week: int, hours_each: Any, rng: np.random.Generator) -> list[Entry]:
        """Takes entries in order of arrival while there are hours; returns those that were curated this week."""
        self.left = min(self.left, 0.0) + hours
        given, done = max(self.left, 1e-9), []
        while self.queue and self.left > 0:
            entry = self.queue.popleft()
            self.left -= hours_each(entry)
            at = week * 7 + 5 * min(1.0, 1 - self.left / given)
            entry.curated = max(at, entry.arrived + float(rng.uniform(0.02, 0.3)))
            done.append(entry)
        return done


def _year(
    rng: np.random.Generator, domains: list[dict[str, Any]], capacity: dict[str, float], draws_seed: bytes
) -> list[Entry]:
    """Entries of a year one by one, by the rules of the kit: the desk first, the domains from HANDED_OVER on, no reviews."""
    draws = draw_years(domains, capacity, draws_seed, 1)
    desk, mine = Worker(), [Worker() for _ in domains]
    off = [DRIFT_AT_START] * len(domains)
    entries: list[Entry] = []
    for week in range(WEEKS):
        fresh = [
            Entry(-1, d, k, 7 * week + float(rng.uniform(0.3, 4.9)))
            for d in range(len(domains))
            for k in range(len(KINDS))
            for _ in range(int(draws.arrived[week, 0, d, k]))
        ]
        for entry in sorted(fresh, key=lambda e: e.arrived):
            entries.append(entry)
            (desk if week < HANDED_OVER else mine[entry.domain]).queue.append(entry)
        done = desk.work(
            draws.desk_hours[week, 0], week, lambda e: domains[e.domain][f"desk_hours_{KINDS[e.kind]}"], rng
        )
        for entry in done:
            entry.by = "desk"
            entry.is_wrong = bool(rng.random() < domains[entry.domain][f"desk_wrong_{KINDS[entry.kind]}"])
        for d, worker in enumerate(mine):
            for entry in worker.work(draws.domain_hours[week, 0, d], week, lambda e: HOURS[KINDS[e.kind]], rng):
                entry.by = "domain"
                entry.is_wrong = bool(rng.random() < domains[d]["domain_wrong"])
                entry.is_off = bool(rng.random() < off[d])
            if week >= HANDED_OVER:
                off[d] = min(DRIFT_MOST, off[d] + draws.drift[week, 0, d])
    return entries


def build(con: duckdb.DuckDBPyConnection, seed: bytes, scale: float) -> None:
    """Writes the tables; they do not shrink with scale."""
    seen, hidden = derive_seed(seed, "world/catalogue"), derive_seed(seed, "truth/catalogue")
    teams: dict[str, list[int]] = {}
    for domain, team in con.execute(
        "select domain, team_id from ops.teams where is_active order by team_id"
    ).fetchall():
        teams.setdefault(domain, []).append(team)
    names = list(teams)
    here, gone = (
        [p for (p,) in con.execute(f"select person_id from ops.people where left_on is {state} order by 1").fetchall()]
        for state in ("null", "not null")
    )
    domains, capacity = draw_company(streams(seen, "company"), names)
    entries = _year(streams(seen, "year"), domains, capacity, derive_seed(seen, "draws"))
    assets = _assets(streams(seen, "assets"), domains, teams)
    _assign(streams(seen, "assign"), assets, entries)
    # A few that wait have arrived at the very moment from which on nothing counts as stale yet.
    created = {a["asset_id"]: a["created"] for a in assets}
    late = [
        e
        for e in entries
        if np.isnan(e.curated) and STALE_BEFORE < e.arrived < STALE_BEFORE + 4 and created[e.asset] < STALE_BEFORE
    ]
    for entry in late[::3]:
        entry.arrived = STALE_BEFORE
    terms, requirements = _rules(streams(seen, "rules"))
    _fields(streams(seen, "fields"), assets, terms, here, gone)
    accurate, reviews = _reviews(streams(seen, "reviews"), streams(hidden, "accuracy"), assets)

    audited = streams(seen, "audit").random(len(entries)) < 0.25
    history = [
        (i + 1, e.asset, names[e.domain], KINDS[e.kind], e.arrived, e.curated, e.by,
         e.is_wrong if a and e.by else None, e.is_off if a and e.by else None)
        for i, (e, a) in enumerate(zip(entries, audited.tolist(), strict=True))
    ]  # fmt: skip
    frames = {
        "domains": (list(domains[0]), [tuple(x.values()) for x in domains]),
        "capacity": (list(capacity), [tuple(capacity.values())]),
        "history": (HISTORY, history),
        "assets": (list(assets[0]), [tuple(x.values()) for x in assets]),
        "terms": (("field", "term", "is_allowed"), terms),
        "requirements": (("kind", "field"), requirements),
        "reviews": (("asset_id", "reason", "round", "stratum", "reviewed", "is_accurate"), reviews),
        "accuracy": (("asset_id", "is_accurate"), accurate),
    }
    for name, (columns, rows) in frames.items():
        con.register(f"frame_{name}", pd.DataFrame(rows, columns=list(columns)))
    con.execute(TABLES)
    for name in frames:
        con.unregister(f"frame_{name}")


def _assets(
    rng: np.random.Generator, domains: list[dict[str, Any]], teams: dict[str, list[int]]
) -> list[dict[str, Any]]:
    """Assets by domain, more where more arrives; their curation is filled in later. About one in seven is new this year."""
    sizes = np.array([x["routine_per_week"] + x["business_per_week"] for x in domains]) * rng.lognormal(
        0, 0.25, len(domains)
    )
    sizes = np.maximum(80, np.round(ASSETS * sizes / sizes.sum())).astype(int)
    assets: list[dict[str, Any]] = []
    names: set[str] = set()
    for x, size in zip(domains, sizes.tolist(), strict=True):
        routine = x["routine_per_week"] / (x["routine_per_week"] + x["business_per_week"])
        for k in range(size):
            group = KINDS[int(rng.random() > routine)]
            kind = str(rng.choice(ASSET_KINDS[group]))
            noun = str(rng.choice(NOUNS))
            name = f"{x['domain']}.{str(rng.choice(SHAPES[kind])).format(n=noun)}"
            while name in names:
                name += str(rng.choice(["_eu", "_us", "_apac", "_daily", "_weekly", "_b2b", "_v2", "_net", "_gross"]))
            names.add(name)
            created = -float(rng.uniform(5, 1600))
            assets.append(
                {
                    "asset_id": FIRST_ASSET + len(assets),
                    "asset_name": name,
                    "domain": x["domain"],
                    "kind": kind,
                    "tier": str(rng.choice(TIERS, p=TIER_SHARES)) if k >= 8 else "core",
                    "owner_team_id": int(rng.choice(teams[x["domain"]])),
                    "created": created,
                    "retired": float(rng.uniform(100, 360)) if rng.random() < 0.06 and k >= 8 else np.nan,
                    "noun": noun,
                }
            )
    return assets


def _assign(rng: np.random.Generator, assets: list[dict[str, Any]], entries: list[Entry]) -> None:
    """Says which asset each entry is about, and fills in when each asset was created, changed and curated."""
    groups: dict[tuple[str, str], list[int]] = {}
    for i, asset in enumerate(assets):
        group = next(g for g, kinds in ASSET_KINDS.items() if asset["kind"] in kinds)
        groups.setdefault((asset["domain"], group), []).append(i)
    order = list(dict.fromkeys(a["domain"] for a in assets))
    by_group: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        by_group.setdefault((order[entry.domain], KINDS[entry.kind]), []).append(entry)
    for key, mine in by_group.items():
        members = np.array(groups[key])
        weight = rng.lognormal(0, 1.0, len(members))  # some assets change every other week, many once a year
        retired = np.array([assets[i]["retired"] for i in members])
        created = np.array([assets[i]["created"] for i in members])
        # New assets: their first entry is the one with which they came.
        new = [k for k in range(len(members)) if np.isnan(retired[k]) and rng.random() < 0.15]
        births = sorted(rng.choice(len(mine), min(len(new), len(mine) // 3), replace=False).tolist())
        born = dict(zip(births, new, strict=False))
        for n, entry in enumerate(mine):
            if n in born:
                created[born[n]] = entry.arrived
        for n, entry in enumerate(mine):
            alive = (created < entry.arrived) & ~(retired <= entry.arrived + 30)
            total = np.cumsum(weight * alive)
            chosen = born.get(n, int(np.searchsorted(total, rng.random() * total[-1], side="right")))
            entry.asset = FIRST_ASSET + int(members[chosen])
        for k, i in enumerate(members.tolist()):
            assets[i]["created"] = float(created[k])
    mine_of: dict[int, list[Entry]] = {}
    for entry in entries:
        mine_of.setdefault(entry.asset, []).append(entry)
    for asset in assets:
        changed, curated, by = asset["created"], np.nan, None
        if asset["created"] < 0:  # what happened before the year is over and done
            changed = max(asset["created"], -float(rng.uniform(25, 700)))
            curated, by = min(changed + float(rng.uniform(0.5, 20)), -0.1), "desk"
        for entry in mine_of.get(asset["asset_id"], []):
            changed = max(changed, entry.arrived)
            if not np.isnan(entry.curated) and not curated >= entry.curated:
                curated, by = entry.curated, entry.by
        asset |= {"changed": changed, "curated": curated, "curated_by": by}


def _rules(rng: np.random.Generator) -> tuple[list[tuple], list[tuple]]:
    """Terms that are allowed or known placeholders, and which fields are compulsory for which kind of asset."""
    allowed_classes = ["public", "internal", "confidential", *rng.choice(CLASSES[3:], 1).tolist()]
    terms = [("description", t, False) for t in sorted(rng.permutation(PLACEHOLDERS)[:9].tolist())]
    terms += [("classification", t, True) for t in sorted(allowed_classes)]
    terms += [("unit", t, True) for t in sorted(rng.permutation(UNITS)[:8].tolist())]
    required = {k: {"description", "owner_person_id"} for k in ("table", "view", "metric", "term")}
    required["table"] |= {"classification", "freshness_hours"}
    required["metric"] |= {"unit"}
    for kind, name in (("view", "classification"), ("metric", "freshness_hours"), ("term", "classification")):
        if rng.random() < 0.5:
            required[kind].add(name)
    return terms, [(k, f) for k in sorted(required) for f in sorted(required[k])]


def _fields(
    rng: np.random.Generator, assets: list[dict[str, Any]], terms: list[tuple], here: list[int], gone: list[int]
) -> None:
    """Fills the fields. How many are filled and how many of those are worth something are two traits of a domain."""
    placeholders = [t for f, t, _ in terms if f == "description"]
    classes = [t for f, t, _ in terms if f == "classification"]
    units = [t for f, t, _ in terms if f == "unit"]
    # Some hold a term of the other field.
    other_classes = [c for c in CLASSES if c not in classes] + list(NO_CLASSES) + units[:3]
    other_units = [c for c in UNITS if c not in units] + list(NO_UNITS) + classes[:3]
    traits = {
        d: (rng.uniform(0.92, 0.995), rng.uniform(0.02, 0.16)) for d in dict.fromkeys(a["domain"] for a in assets)
    }

    def dressed(text: str) -> str:
        text = (text, text.upper(), text.capitalize())[int(rng.choice(3, p=[0.7, 0.15, 0.15]))]
        return (text, f" {text}", f"{text} ")[int(rng.choice(3, p=[0.8, 0.1, 0.1]))]

    for asset in assets:
        filled, hollow = traits[asset["domain"]]

        def value(good: Any, bad: Any, filled: float = filled, hollow: float = hollow) -> Any:
            is_filled, is_hollow = rng.random(2) < (filled, hollow)
            return (bad() if is_hollow else good()) if is_filled else None

        noun, name = asset.pop("noun"), asset["asset_name"]
        asset["description"] = value(
            lambda n=noun, d=asset["domain"]: str(rng.choice(TEXTS)).format(n=n, d=d),
            lambda n=name: (dressed(str(rng.choice(placeholders))), dressed(n), "  ")[
                int(rng.choice(3, p=[0.7, 0.2, 0.1]))
            ],
        )
        asset["owner_person_id"] = value(lambda: int(rng.choice(here)), lambda: int(rng.choice(gone)))
        asset["classification"] = value(
            lambda: dressed(str(rng.choice(classes))), lambda: dressed(str(rng.choice(other_classes)))
        )
        asset["unit"] = value(lambda: dressed(str(rng.choice(units))), lambda: dressed(str(rng.choice(other_units))))
        if asset["kind"] != "metric" and rng.random() < 0.9:
            asset["unit"] = None
        asset["freshness_hours"] = value(
            lambda: int(rng.choice([1, 4, 6, 24, 24, 48, 168, 744])), lambda: int(rng.choice([0, -1, 745, 999, 9999]))
        )


def _reviews(
    rng: np.random.Generator, secret: np.random.Generator, assets: list[dict[str, Any]]
) -> tuple[list[tuple], list[tuple]]:
    """Whether each entry is accurate today (truth), and reviews: two rounds of samples by tier, and looks after complaints, which
    find mostly what is wrong. Core assets are in better order than local ones, and are sampled more."""
    order = list(dict.fromkeys(a["domain"] for a in assets))
    base = {d: float(secret.uniform(0.7, 0.88)) for d in order}
    lift = {
        d: dict(zip(TIERS, (secret.uniform(0.06, 0.1), 0.0, -secret.uniform(0.14, 0.26)), strict=True)) for d in order
    }
    chance = {a["asset_id"]: base[a["domain"]] + lift[a["domain"]][a["tier"]] for a in assets}
    is_accurate = {i: bool(secret.random() < p) for i, p in chance.items()}
    was_accurate = {i: bool(secret.random() < p - 0.1) for i, p in chance.items()}
    reviews: list[tuple] = []
    for d in order:
        for tier in TIERS:
            alive = [a["asset_id"] for a in assets if a["domain"] == d and a["tier"] == tier and np.isnan(a["retired"])]
            many = min(SAMPLED[tier] + int(rng.integers(-2, 3)), len(alive) - 3)
            old = [a["asset_id"] for a in assets if a["domain"] == d and a["tier"] == tier and a["created"] < 150]
            for i in rng.choice(old, min(many, len(old)), replace=False).tolist():
                reviews.append((i, "sample", "2025-Q4", tier, float(rng.uniform(150, 180)), was_accurate[i]))
            for i in rng.choice(alive, many, replace=False).tolist():
                reviews.append((i, "sample", "2026-Q2", tier, float(rng.uniform(320, 360)), is_accurate[i]))
    for a in assets:
        if np.isnan(a["retired"]):
            for quarter, first, state in (("2025-Q4", 100, was_accurate), ("2026-Q2", 280, is_accurate)):
                if a["created"] < first and secret.random() < (0.02 if state[a["asset_id"]] else 0.25):
                    at = float(rng.uniform(first, first + 80))
                    reviews.append((a["asset_id"], "complaint", quarter, a["tier"], at, state[a["asset_id"]]))
    return sorted(is_accurate.items()), sorted(reviews, key=lambda r: (r[4], r[0]))


HISTORY = ("entry_id", "asset_id", "domain", "kind", "arrived", "curated", "curated_by", "is_wrong", "is_off_standard")
TABLES = """
create temp macro at_day(d) as
  case when not isnan(d) then make_timestamp(1751241600000000 + 60000000 * round(d * 1440)::bigint) end;

create table ops.curation_domains as
select
  domain,
  routine_per_week::decimal(6, 2) as routine_per_week,
  business_per_week::decimal(6, 2) as business_per_week,
  domain_hours_per_week::decimal(6, 1) as domain_hours_per_week,
  closed_weeks::integer as closed_weeks,
  desk_hours_routine::decimal(6, 2) as desk_hours_routine,
  desk_hours_business::decimal(6, 2) as desk_hours_business,
  desk_wrong_routine::decimal(6, 3) as desk_wrong_routine,
  desk_wrong_business::decimal(6, 3) as desk_wrong_business,
  domain_wrong::decimal(6, 3) as domain_wrong,
  drift_per_week::decimal(6, 4) as drift_per_week,
  stale_usd_per_week::decimal(6, 1) as stale_usd_per_week,
  wrong_usd_per_week::decimal(6, 1) as wrong_usd_per_week
from frame_domains
order by domain;

create table ops.curation_capacity as
select desk_hours_per_week::decimal(6, 1) as desk_hours_per_week
from frame_capacity;

create table ops.curation_history as
select
  entry_id::integer as entry_id,
  asset_id::integer as asset_id,
  domain,
  kind,
  at_day(arrived) as arrived_at,
  at_day(curated) as curated_at,
  curated_by,
  is_wrong::boolean as is_wrong,
  is_off_standard::boolean as is_off_standard
from frame_history
order by entry_id;

create table ops.catalog_assets as
select
  asset_id::integer as asset_id,
  asset_name,
  domain,
  kind,
  tier,
  owner_team_id::integer as owner_team_id,
  at_day(created) as created_at,
  at_day(retired) as retired_at,
  description,
  case when not isnan(owner_person_id) then owner_person_id::integer end as owner_person_id,
  classification,
  unit,
  case when not isnan(freshness_hours) then freshness_hours::integer end as freshness_hours,
  at_day(changed) as last_changed_at,
  at_day(curated) as last_curated_at,
  curated_by
from frame_assets
order by asset_id;

create table ops.catalog_requirements as
select kind, field
from frame_requirements
order by kind, field;

create table ops.catalog_terms as
select field, term, is_allowed
from frame_terms
order by field, term;

create table ops.catalog_reviews as
select
  row_number() over (order by reviewed, asset_id)::integer as review_id,
  asset_id::integer as asset_id,
  reason,
  round,
  stratum,
  at_day(reviewed) as reviewed_at,
  is_accurate
from frame_reviews
order by review_id;

create table truth.catalog_accuracy as
select asset_id::integer as asset_id, is_accurate
from frame_accuracy
order by asset_id;

drop macro at_day;

comment on table ops.curation_domains is 'What curation is like in each domain, as measured in the year up to today.';
comment on column ops.curation_domains.domain is 'Key; a domain of ops.teams.';
comment on column ops.curation_domains.routine_per_week is 'Entries a week about tables and views, mean.';
comment on column ops.curation_domains.business_per_week is 'Entries a week about metrics and terms, mean.';
comment on column ops.curation_domains.domain_hours_per_week is 'Hours of its curators, mean of weeks not closed.';
comment on column ops.curation_domains.closed_weeks is 'The last so many weeks of a quarter: no hours.';
comment on column ops.curation_domains.desk_hours_routine is 'Hours of the desk for one routine entry of it.';
comment on column ops.curation_domains.desk_hours_business is 'Hours of the desk for one business entry of it.';
comment on column ops.curation_domains.desk_wrong_routine is 'Share wrong of routine entries by the desk (0 to 1).';
comment on column ops.curation_domains.desk_wrong_business is 'Share wrong of business entries by the desk (0 to 1).';
comment on column ops.curation_domains.domain_wrong is 'Share wrong of entries that the domain curates (0 to 1).';
comment on column ops.curation_domains.drift_per_week is 'Growth of the off-standard share in a week, mean.';
comment on column ops.curation_domains.stale_usd_per_week is 'Cost of one entry that waits for a week, US dollars.';
comment on column ops.curation_domains.wrong_usd_per_week is 'Cost of one wrong entry that is used for a week, US dollars.';

comment on table ops.curation_capacity is 'What the central desk of stewards has; one row.';
comment on column ops.curation_capacity.desk_hours_per_week is 'Hours in a week, mean of the year.';

comment on table ops.curation_history is 'A year of catalogue entries: assets that were new or had changed, and their curation.';
comment on column ops.curation_history.entry_id is 'Key.';
comment on column ops.curation_history.asset_id is 'References ops.catalog_assets.';
comment on column ops.curation_history.domain is 'Domain of the asset.';
comment on column ops.curation_history.kind is 'routine (tables and views) or business (metrics and terms).';
comment on column ops.curation_history.arrived_at is 'When the asset was new or changed (UTC).';
comment on column ops.curation_history.curated_at is 'When its entry was curated (UTC); null: it still waits.';
comment on column ops.curation_history.curated_by is 'desk (what arrived up to 2025-12-28) or domain; null: it still waits.';
comment on column ops.curation_history.is_wrong is 'Found wrong by an audit of a quarter, drawn by lot; null: not audited.';
comment on column ops.curation_history.is_off_standard is 'The same audit: it does not follow the common standard.';

comment on table ops.catalog_assets is 'The data catalogue: tables, views, metrics and terms, with what is written about each.';
comment on column ops.catalog_assets.asset_id is 'Key.';
comment on column ops.catalog_assets.asset_name is 'Name; unique.';
comment on column ops.catalog_assets.domain is 'Domain that the asset belongs to; a domain of ops.teams.';
comment on column ops.catalog_assets.kind is 'table, view, metric or term.';
comment on column ops.catalog_assets.tier is 'core (reports of the board), shared (used by other domains) or local.';
comment on column ops.catalog_assets.owner_team_id is 'Team that makes it; references ops.teams.';
comment on column ops.catalog_assets.created_at is 'When it came to be (UTC).';
comment on column ops.catalog_assets.retired_at is 'When it was taken out of use (UTC); null: in use.';
comment on column ops.catalog_assets.description is 'What it is, as text; null: not filled.';
comment on column ops.catalog_assets.owner_person_id is 'Person who answers questions; references ops.people; null: not filled.';
comment on column ops.catalog_assets.classification is 'Class of sensitivity; null: not filled. See ops.catalog_terms.';
comment on column ops.catalog_assets.unit is 'What its numbers count; null: not filled. See ops.catalog_terms.';
comment on column ops.catalog_assets.freshness_hours is 'Promise: at most so many hours old; null: not filled.';
comment on column ops.catalog_assets.last_changed_at is 'Latest change of the asset (UTC).';
comment on column ops.catalog_assets.last_curated_at is 'When an entry of it was last curated (UTC); null: never.';
comment on column ops.catalog_assets.curated_by is 'Who curated it last: desk or domain; null: nobody.';

comment on table ops.catalog_requirements is 'Compulsory fields of the catalogue, by kind of asset.';
comment on column ops.catalog_requirements.kind is 'Kind of asset; key with field.';
comment on column ops.catalog_requirements.field is 'Name of a column of ops.catalog_assets.';

comment on table ops.catalog_terms is 'Terms allowed (classification, unit), and known placeholders (description).';
comment on column ops.catalog_terms.field is 'Name of a column of ops.catalog_assets; key with term.';
comment on column ops.catalog_terms.term is 'The term, in lower case, without blanks around it.';
comment on column ops.catalog_terms.is_allowed is 'True: an allowed value. False: a placeholder that says nothing.';

comment on table ops.catalog_reviews is 'Somebody who knows the asset compared its entry with the asset itself.';
comment on column ops.catalog_reviews.review_id is 'Key.';
comment on column ops.catalog_reviews.asset_id is 'References ops.catalog_assets; at most once in a round''s sample.';
comment on column ops.catalog_reviews.reason is 'sample (by lot within domain and stratum) or complaint (somebody saw a mistake)';
comment on column ops.catalog_reviews.round is 'Quarter in which it took place.';
comment on column ops.catalog_reviews.stratum is 'Tier of the asset.';
comment on column ops.catalog_reviews.reviewed_at is 'When (UTC).';
comment on column ops.catalog_reviews.is_accurate is 'The entry says what is the case.';
"""
