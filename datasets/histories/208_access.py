# subject: access
# needs: column_tags, organisation
# makes: ops.roles, ops.role_needs, ops.duty_conflicts, ops.grants, ops.policy_versions, ops.access_log, ops.engine_log
# makes: ops.log_anchors
# truth: access_findings
"""Who may use which personal data for what, who was granted what by whom, and a month of the gateway's log, in which somebody
has put things right that were not to be seen."""

import json
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any

import duckdb
import numpy as np
import pandas as pd

from workshop.access import FIRST, entry_hash
from workshop.sim import streams
from workshop.world.seeds import derive_seed

TODAY = datetime(2026, 6, 30)
DAYS, ENTRIES_A_DAY = 30, 24
HALF_RIGHT, KEPT_TOO_LONG = 4, 2  # entries; the second after each change
ROLES = {
    "analyst": "answers questions of the business",
    "marketing": "sends mails and measures them",
    "care": "helps customers who call",
    "fraud": "looks for stolen cards and false accounts",
    "finance": "pays out and reconciles",
    "engineer": "runs the pipelines",
    "auditor": "checks who saw what",
    "access_admin": "grants roles",
}
CONFLICTS = (("access_admin", "auditor"), ("finance", "fraud"), ("access_admin", "engineer"))
KINDS = ("person_name", "email", "phone", "postal_address", "birth_date", "national_id", "bank_account", "card_number",
         "ip_address", "free_text")  # fmt: skip
USERS = ("analyst", "marketing", "care", "fraud", "finance", "engineer")
BASES = ("contract", "consent", "legal duty", "legitimate interest")
PURPOSES = {
    "analyst": "reports",
    "marketing": "campaigns",
    "care": "calls of customers",
    "fraud": "investigations",
    "finance": "payouts",
    "engineer": "repairs",
}

COMMENTS = """
comment on table ops.roles is 'Roles of the query gateway.';
comment on column ops.roles.role is 'Key.';
comment on column ops.roles.purpose is 'What it is for.';
comment on table ops.role_needs is 'What roles have asked to use, and on which legal basis.';
comment on column ops.role_needs.role is 'References ops.roles.';
comment on column ops.role_needs.kind is 'Value of privacy.kind in ops.column_tags.';
comment on column ops.role_needs.purpose is 'What for.';
comment on column ops.role_needs.legal_basis is 'Legal basis that the data protection officer confirmed; null: none.';
comment on column ops.role_needs.valid_until_on is 'Last day on which it holds; null: until further notice.';
comment on table ops.duty_conflicts is 'Pairs of roles that nobody may hold at the same time.';
comment on column ops.duty_conflicts.role_a is 'References ops.roles.';
comment on column ops.duty_conflicts.role_b is 'References ops.roles.';
comment on table ops.grants is 'Who held which role, when: half-open intervals.';
comment on column ops.grants.person_id is 'References ops.people.';
comment on column ops.grants.role is 'References ops.roles.';
comment on column ops.grants.granted_by is 'Who granted it; references ops.people.';
comment on column ops.grants.valid_from_at is 'First moment (UTC), included.';
comment on column ops.grants.valid_to_at is 'Last moment (UTC), excluded; null: until further notice.';
comment on table ops.policy_versions is 'Versions of the column rules; the latest with valid_from_at in the past is in force.';
comment on column ops.policy_versions.version is 'Key, from 1.';
comment on column ops.policy_versions.valid_from_at is 'First moment (UTC), included.';
comment on column ops.policy_versions.rules is 'JSON object: roles that may use a kind, by kind.';
comment on table ops.access_log is 'The gateway''s own log of decisions; each entry carries a digest of the one before it.';
comment on column ops.access_log.seq is 'Number of the entry, from 1.';
comment on column ops.access_log.logged_at is 'When (UTC).';
comment on column ops.access_log.person_id is 'Who asked; references ops.people.';
comment on column ops.access_log.role is 'In which role.';
comment on column ops.access_log.kinds is 'Kinds of personal data that the query uses.';
comment on column ops.access_log.decision is 'allowed or refused.';
comment on column ops.access_log.said_version is 'Version of the policy that the gateway says it decided by.';
comment on column ops.access_log.previous_hash is 'entry_hash of the entry before it; 64 zeros for the first.';
comment on column ops.access_log.entry_hash is 'Digest of the entry: workshop.access.entry_hash.';
comment on table ops.engine_log is 'Queries that the engine has run, by its own account.';
comment on column ops.engine_log.query_id is 'Key, in order of time.';
comment on column ops.engine_log.ran_at is 'When (UTC).';
comment on column ops.engine_log.person_id is 'Who ran it; references ops.people.';
comment on column ops.engine_log.gateway_seq is 'Entry of ops.access_log that let it through, by its own account; null: none.';
comment on table ops.log_anchors is 'Last entry of each day, as it was sent to the auditor in the evening.';
comment on column ops.log_anchors.day_on is 'Day.';
comment on column ops.log_anchors.last_seq is 'Number of the day''s last entry.';
comment on column ops.log_anchors.last_hash is 'Its entry_hash.';
"""


def draw_needs(rng: np.random.Generator) -> list[dict[str, Any]]:
    """What roles have asked for: rows of ops.role_needs. Some have no basis, some have run out."""
    rows = []
    for kind in KINDS:
        for role in USERS:
            if rng.random() < 0.55:
                until = None
                if rng.random() < 0.5:
                    # The last day itself still holds.
                    until = (TODAY + timedelta(days=int(rng.choice([-90, -1, 0, 30, 200])))).date()
                basis = BASES[int(rng.integers(len(BASES)))] if rng.random() < 0.7 else None
                rows.append(
                    {
                        "role": role,
                        "kind": kind,
                        "purpose": PURPOSES[role],
                        "legal_basis": basis,
                        "valid_until_on": until,
                    }
                )
    return rows


def draw_grants(rng: np.random.Generator, people: list[int]) -> list[dict[str, Any]]:
    """Who holds which role: rows of ops.grants. Two or three hold two that conflict; others held them one after the other."""
    order = [people[k] for k in rng.permutation(len(people))]
    rows: list[dict[str, Any]] = []
    admin = order[0]

    def grant(person: int, role: str, since: int, until: int | None = None) -> None:
        start = TODAY - timedelta(days=since, minutes=int(rng.integers(600)))
        end = None if until is None else TODAY - timedelta(days=until)
        rows.append(
            {"person_id": person, "role": role, "granted_by": admin, "valid_from_at": start, "valid_to_at": end}
        )

    place = iter(order)
    next(place)
    grant(admin, "access_admin", 900)
    # The sole auditor, or the sole access_admin, must not be the one who goes.
    first = next(place)
    lone = rng.random() < 0.5
    grant(first, "auditor", 400)
    if lone:
        grant(first, "access_admin", 200)
    else:
        grant(next(place), "auditor", 300)
        grant(admin, "auditor", 100)
    for role, count in (("analyst", 8), ("marketing", 5), ("care", 7), ("fraud", 4), ("finance", 5), ("engineer", 7)):
        for _ in range(count):
            # Some end on a day to come: they are held all the same.
            grant(next(place), role, int(rng.integers(30, 1200)), -40 if rng.random() < 0.2 else None)
    faults = [r["person_id"] for r in rows if r["role"] == "fraud"][: int(rng.integers(1, 3))]
    for person in faults:
        grant(person, "finance", int(rng.integers(5, 60)), -30 if rng.random() < 0.5 else None)
    for _ in range(3):  # decoys: one role after the other, or in the past
        person, day = next(place), int(rng.integers(20, 200))
        grant(person, "finance", day + 300, day)
        grant(person, "fraud", day, None)
    person = next(place)
    grant(person, "engineer", 500, 90)
    grant(person, "access_admin", 300, 120)
    person = next(place)
    grant(person, "engineer", 200)
    rows.append(
        {
            "person_id": person,
            "role": "access_admin",
            "granted_by": admin,
            "valid_from_at": TODAY + timedelta(days=20),
            "valid_to_at": None,
        }
    )
    return sorted(rows, key=lambda r: (r["person_id"], r["valid_from_at"], r["role"]))


def rules_from(needs: list[dict[str, Any]], day: date) -> dict[str, list[str]]:
    """Roles that may use a kind on a day, by kind: those with a need that has a basis and holds."""
    found: dict[str, set[str]] = {kind: set() for kind in KINDS}
    for n in needs:
        if n["legal_basis"] and (n["valid_until_on"] is None or n["valid_until_on"] >= day):
            found[n["kind"]].add(n["role"])
    return {kind: sorted(roles) for kind, roles in found.items()}


def in_force(versions: list[Mapping[str, Any]], at: datetime) -> Mapping[str, Any]:
    """The version of the policy in force at a moment."""
    return max((v for v in versions if v["valid_from_at"] <= at), key=lambda v: v["valid_from_at"])


def draw_log(rng: np.random.Generator) -> dict[str, Any]:
    """A month: versions, grants, log, engine, anchors (rows of their tables, rules as dicts) and ``findings``: (finding, id)."""
    people = list(range(2001, 2061))
    grants = draw_grants(rng, people)
    needs = draw_needs(rng)
    versions = []
    rules = rules_from(needs, TODAY.date())
    for k, back in enumerate((400, 21, 12, 5)):
        if k:
            rules = {kind: list(roles) for kind, roles in rules.items()}
            changed = sorted(rng.permutation(KINDS)[:4].tolist(), key=lambda kind: not rules[kind])
            for n, kind in enumerate(changed):
                # The first change takes something away, so that a policy kept too long lets something through.
                roles = rules[kind] if n == 0 and rules[kind] else USERS
                rules[kind] = sorted(set(rules[kind]) ^ {roles[int(rng.integers(len(roles)))]})
        at = (TODAY - timedelta(days=back)).replace(hour=int(rng.integers(7, 18)), minute=int(rng.integers(60)))
        versions.append({"version": k + 1, "valid_from_at": at, "rules": rules})
    holders = [
        g
        for g in grants
        if g["role"] in USERS and g["valid_from_at"] < TODAY and (g["valid_to_at"] is None or g["valid_to_at"] > TODAY)
    ]
    log: list[dict[str, Any]] = []
    for d in range(DAYS):
        day = TODAY - timedelta(days=DAYS - d)
        for second in sorted(rng.choice(43_200, ENTRIES_A_DAY, replace=False)):
            at = day + timedelta(hours=6, seconds=int(second))
            who = holders[int(rng.integers(len(holders)))]
            kinds = sorted(rng.permutation(KINDS)[: int(rng.choice([0, 1, 1, 2]))].tolist())
            version = in_force(versions, at)
            right = all(who["role"] in version["rules"][k] for k in kinds)
            log.append(
                {
                    "logged_at": at,
                    "person_id": who["person_id"],
                    "role": who["role"],
                    "kinds": kinds,
                    "decision": "allowed" if right else "refused",
                    "said_version": version["version"],
                }
            )
    # A cached policy: for an hour or a day after a change some decisions are still those of the version before it.
    for entry in log:
        version = in_force(versions, entry["logged_at"])
        if (
            version["version"] > 1
            and entry["logged_at"] - version["valid_from_at"] < timedelta(days=2)
            and rng.random() < 0.5
        ):
            before = versions[version["version"] - 2]
            right = all(entry["role"] in before["rules"][k] for k in entry["kinds"])
            entry["decision"], entry["said_version"] = "allowed" if right else "refused", before["version"]
        elif entry["kinds"] and rng.random() < 0.006:  # and some nobody can explain
            entry["decision"] = "refused" if entry["decision"] == "allowed" else "allowed"
    for before, now in pairwise(versions):
        kind, role = next((k, r) for k in KINDS for r in before["rules"][k] if r not in now["rules"][k])
        end = now["valid_from_at"] + timedelta(days=2)
        after = [e for e in log if now["valid_from_at"] <= e["logged_at"] < end]
        people = [g["person_id"] for g in holders if g["role"] == role]
        for k in rng.permutation(len(after))[:KEPT_TOO_LONG]:
            after[int(k)] |= {"person_id": people[int(rng.integers(len(people)))], "role": role, "kinds": [kind],
                              "decision": "allowed", "said_version": before["version"]}  # fmt: skip
    # And a few that were let through for one of their kinds.
    half = [
        e
        for e in log
        if e["decision"] == "refused"
        and any(e["role"] in in_force(versions, e["logged_at"])["rules"][k] for k in e["kinds"])
    ]
    for k in rng.permutation(len(half))[:HALF_RIGHT]:
        half[int(k)]["decision"] = "allowed"
    _chain(log)
    anchors = []
    for d in range(DAYS):
        last = log[(d + 1) * ENTRIES_A_DAY - 1]
        anchors.append({"day_on": last["logged_at"].date(), "last_seq": last["seq"], "last_hash": last["entry_hash"]})
    engine = [
        {
            "ran_at": e["logged_at"] + timedelta(seconds=int(rng.integers(1, 40))),
            "person_id": e["person_id"],
            "gateway_seq": e["seq"],
        }
        for e in log
        if e["decision"] == "allowed"
    ]
    _bypass(engine, log, rng)
    log = _tamper(log, rng)
    found = {"versions": versions, "grants": grants, "log": log, "engine": engine, "anchors": anchors}
    return {**found, "findings": findings(found)}


def _chain(log: list[dict[str, Any]], start: int = 0) -> None:
    previous = log[start - 1]["entry_hash"] if start else FIRST
    for k in range(start, len(log)):
        log[k]["seq"] = log[k].get("seq", k + 1)
        log[k]["previous_hash"] = previous
        previous = log[k]["entry_hash"] = entry_hash(log[k])


def _bypass(engine: list[dict[str, Any]], log: list[dict[str, Any]], rng: np.random.Generator) -> None:
    """Queries that the gateway has not let through: without an entry, with a refused one, another's, or one used twice."""
    refused = [e for e in log if e["decision"] == "refused"]
    for k in range(int(rng.integers(4, 8))):
        like = dict(engine[int(rng.integers(len(engine)))])
        like["ran_at"] += timedelta(minutes=int(rng.integers(3, 50)))
        if k % 4 == 0:
            like["gateway_seq"] = None
        elif k % 4 == 1:
            entry = refused[int(rng.integers(len(refused)))]
            like = {
                "ran_at": entry["logged_at"] + timedelta(seconds=20),
                "person_id": entry["person_id"],
                "gateway_seq": entry["seq"],
            }
        elif k % 4 == 2:  # another's entry, before that one uses it
            like["person_id"] = 2001 + (like["person_id"] - 2000) % 60
            like["ran_at"] = next(e["logged_at"] for e in log if e["seq"] == like["gateway_seq"])
        engine.append(like)
    engine.sort(key=lambda q: (q["ran_at"], q["person_id"]))
    for k, query in enumerate(engine):
        query["query_id"] = 40_001 + k


def _tamper(log: list[dict[str, Any]], rng: np.random.Generator) -> list[dict[str, Any]]:
    """Entries altered, deleted and swapped, a stretch rewritten with its digests, and the end of the last day cut off."""
    n = len(log)
    quiet = iter(rng.permutation(np.arange(30, n - 3 * ENTRIES_A_DAY, 11)))
    for _ in range(int(rng.integers(2, 5))):
        entry = log[int(next(quiet))]
        if entry["kinds"] and rng.random() < 0.5:
            entry["kinds"] = entry["kinds"][1:]
        else:
            entry["person_id"] = 2001 + (entry["person_id"] - 2000) % 60
    k = int(next(quiet))
    for field in ("logged_at", "person_id", "role", "kinds", "decision", "said_version", "previous_hash", "entry_hash"):
        log[k][field], log[k + 1][field] = log[k + 1][field], log[k][field]
    gone = {int(next(quiet)) + 3 for _ in range(int(rng.integers(1, 4)))}
    # One who knows how: changes an entry of the last days and computes all digests after it anew.
    start = int(rng.integers(n - 2 * ENTRIES_A_DAY, n - ENTRIES_A_DAY))
    log[start]["person_id"] = 2001 + (log[start]["person_id"] - 2000) % 60
    _chain(log, start)
    if rng.random() < 0.5:
        gone |= set(range(n - int(rng.integers(1, 5)), n))
    return [e for k, e in enumerate(log) if k not in gone]


def findings(month: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What an auditor finds, by the definitions of lab 2.2."""
    found: list[tuple[str, str]] = []
    log = sorted(month["log"], key=lambda e: e["seq"])
    previous = FIRST
    for entry in log:
        if entry_hash(entry) != entry["entry_hash"]:
            found.append(("altered", str(entry["seq"])))
        if entry["previous_hash"] != previous:
            found.append(("gap", str(entry["seq"])))
        previous = entry["entry_hash"]
        rules = in_force(month["versions"], entry["logged_at"])["rules"]
        right = all(entry["role"] in rules.get(k, ()) for k in entry["kinds"])
        if entry["decision"] != ("allowed" if right else "refused"):
            found.append(("wrong decision", str(entry["seq"])))
    hashes = {e["seq"]: e["entry_hash"] for e in log}
    for anchor in month["anchors"]:
        if hashes.get(anchor["last_seq"]) != anchor["last_hash"]:
            found.append(("anchor", str(anchor["day_on"])))
    entries = {e["seq"]: e for e in log}
    used: set[int] = set()
    for query in sorted(month["engine"], key=lambda q: q["query_id"]):
        entry = entries.get(query["gateway_seq"])
        if (
            entry is None
            or entry["person_id"] != query["person_id"]
            or entry["decision"] != "allowed"
            or query["gateway_seq"] in used
        ):
            found.append(("bypass", str(query["query_id"])))
        else:
            used.add(query["gateway_seq"])
    return sorted(found)


def build(con: duckdb.DuckDBPyConnection, seed: bytes, scale: float) -> None:
    """Writes the tables."""
    rng = streams(derive_seed(seed, "truth/access"), "access")
    month = draw_log(rng)
    frames = {
        "roles": pd.DataFrame(list(ROLES.items()), columns=["role", "purpose"]),
        "role_needs": pd.DataFrame(draw_needs(rng)),
        "duty_conflicts": pd.DataFrame(list(CONFLICTS), columns=["role_a", "role_b"]),
        "grants": pd.DataFrame(month["grants"]),
        "policy_versions": pd.DataFrame([{**v, "rules": json.dumps(v["rules"])} for v in month["versions"]]),
        "engine_log": pd.DataFrame(month["engine"])[["query_id", "ran_at", "person_id", "gateway_seq"]],
        "log_anchors": pd.DataFrame(month["anchors"]),
        "access_log": pd.DataFrame(month["log"])[
            [
                "seq",
                "logged_at",
                "person_id",
                "role",
                "kinds",
                "decision",
                "said_version",
                "previous_hash",
                "entry_hash",
            ]
        ],
    }
    casts = {
        "role_needs": "valid_until_on::date as valid_until_on",
        "grants": "valid_from_at::timestamp as valid_from_at, valid_to_at::timestamp as valid_to_at",
        "policy_versions": "valid_from_at::timestamp as valid_from_at",
        "engine_log": "ran_at::timestamp as ran_at, gateway_seq::integer as gateway_seq",
        "log_anchors": "day_on::date as day_on",
        "access_log": "logged_at::timestamp as logged_at, kinds::varchar[] as kinds",
    }
    for table, frame in frames.items():
        con.register("drawn", frame)
        replaced = f"* replace ({casts[table]})" if table in casts else "*"
        con.execute(f"create table ops.{table} as select {replaced} from drawn")
        con.unregister("drawn")
    con.register("found", pd.DataFrame(month["findings"], columns=["finding", "id"]))
    con.execute("create table truth.access_findings as from found order by all")
    con.unregister("found")
    con.execute(COMMENTS)
