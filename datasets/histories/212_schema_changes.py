# subject: schema_changes
# needs: models, organisation
# makes: ops.schema_changes, ops.schema_change_elements, ops.schema_approvals, ops.approval_facts
# truth: schema_change_classes
"""A year of changes to shared schemas, as they went through the approval of before: who had to say yes followed from who owns
the table, an approval was good for ever and for whatever the change became.

An element of a change is drawn by variant; its class follows from the variant by construction. The same drawing makes fresh
changes for the lab of 2.4, where the class is also found by running readers (workshop.schema_change).
"""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import duckdb
import numpy as np
import pandas as pd

from workshop.schema_change import ADDITIVE, BREAKING, CARE, INTEGERS, decimal_parts, digest
from workshop.sim import streams
from workshop.world.build import history
from workshop.world.seeds import derive_seed

TODAY = datetime(2026, 6, 30)
CHANGES = 90
VARIANTS = {
    "add column": ADDITIVE, "add column first": ADDITIVE, "add column with default": ADDITIVE, "rename keeping": ADDITIVE,
    "forbid nulls": ADDITIVE, "remove unused value": ADDITIVE, "tighten range": ADDITIVE, "add unique": ADDITIVE,
    "from zero range": ADDITIVE, "close above range": ADDITIVE, "close below range": ADDITIVE,
    "change default": ADDITIVE, "reorder": ADDITIVE, "rename table keeping": ADDITIVE,
    "widen integer": CARE, "widen decimal": CARE, "refine decimal": CARE, "allow nulls": CARE, "add value": CARE,
    "loosen range": CARE, "open range": CARE, "shift range": CARE, "below zero range": CARE, "shift and narrow range": CARE,
    "drop unique": CARE,
    "drop column": BREAKING, "rename": BREAKING, "narrow integer": BREAKING, "take a sign": BREAKING,
    "lose a sign": BREAKING, "round decimal": BREAKING, "trade decimal": BREAKING, "shrink decimal": BREAKING,
    "wider and rounded decimal": BREAKING,
    "to double": BREAKING, "to text": BREAKING, "to day": BREAKING, "to time": BREAKING, "fill nulls": BREAKING,
    "remove value": BREAKING, "cut range": BREAKING, "shift and cut range": BREAKING, "change values": BREAKING,
    "add unique deleting": BREAKING, "drop table": BREAKING, "rename table": BREAKING,
}  # fmt: skip
DECIMALS = ("DECIMAL(10,2)", "DECIMAL(12,2)", "DECIMAL(14,2)", "DECIMAL(14,4)", "DECIMAL(16,3)")
# Columns with a list of allowed values: some of them, and what may come.
VALUES = {
    "band": (("bronze", "silver", "gold"), ("platinum", "black")),
    "carrier": (("swiftly", "parcelwing", "metrobox", "nordlink"), ("dronehop", "cyclo", "railpost")),
    "channel": (("app", "web", "store"), ("phone", "kiosk", "partner")),
    "loyalty_tier": (("bronze", "silver", "gold"), ("platinum", "basic")),
    "method": (("card", "wallet", "transfer", "voucher"), ("instalments", "crypto", "cash")),
    "psp": (("payvane", "quickrail", "till"), ("northpay", "coinage")),
    "reason": (("damaged", "arrived late", "wrong item", "changed mind"), ("recalled", "duplicate")),
    "segment": (("consumer", "small business", "reseller"), ("public body", "school")),
    "status": (("completed", "cancelled", "captured", "refunded"), ("on hold", "disputed", "split")),
}
NULLABLE = ("captured_at", "delivered_at", "loyalty_tier", "sale_name", "holiday_name", "transit_hours", "birth_on")
KEYS = {
    "core.orders": ["order_id"], "core.order_items": ["order_id", "line_no"], "core.payments": ["payment_id"],
    "core.shipments": ["shipment_id"], "core.returns": ["return_id"], "core.customers": ["customer_id"],
    "core.products": ["product_id"],
}  # fmt: skip
# Of what could be taken for unique and is not.
ONE_EACH = {"core.order_items": ["order_id"], "core.payments": ["order_id"], "core.shipments": ["order_id"],
            "core.returns": ["order_id"], "core.orders": ["customer_id"]}  # fmt: skip
NEW_COLUMNS = ("risk_score", "source_batch_id", "delivery_note", "consent_version", "tax_class", "gift_message", "checked_at",
               "packing_station", "promised_on", "loyalty_points", "terms_version", "fraud_flag")  # fmt: skip
FORMER = (("_usd", "_amount_usd"), ("_id", "_key"), ("_at", "_time"), ("_on", "_date"), ("_count", "_number"))


def draw_element(
    rng: np.random.Generator,
    variant: str,
    table: str,
    columns: dict[str, str],
    count: Callable[[str], int] | None = None,
) -> dict[str, Any] | None:
    """One element of this variant for a table with these columns (types by name); None where it has nothing that fits. ``count``:
    how many rows of the table fulfil a condition; without it such numbers are drawn."""

    def some(fit: list[str]) -> str | None:
        return str(rng.choice(fit)) if fit else None

    def rows(condition: str) -> int:
        return count(condition) if count else int(rng.integers(2, 4000))

    def typed(*kinds: str) -> list[str]:
        return [c for c, t in columns.items() if t in kinds]

    names = list(columns)
    integers, decimals = typed(*INTEGERS), [c for c, t in columns.items() if t.startswith("DECIMAL(")]
    if variant.startswith("add column"):
        new = some([c for c in NEW_COLUMNS if c not in columns])
        default = {"add column with default": "none"}.get(variant)
        position = "first" if variant == "add column first" else "last"
        return {"kind": "add_column", "column": new, "type": "VARCHAR", "default": default, "position": position}
    if variant == "drop column":
        return {"kind": "drop_column", "column": some(names)}
    if variant in ("rename", "rename keeping"):
        c = some(names)
        new = next((c.removesuffix(a) + b for a, b in FORMER if c.endswith(a)), f"{c}_text")
        return {"kind": "rename_column", "column": c, "to": new, "keeps_old": variant == "rename keeping"}
    if variant in ("widen integer", "narrow integer"):
        if not integers:
            return None
        c = some([x for x in integers if columns[x] != ("BIGINT" if variant[0] == "w" else "TINYINT")])
        if c is None:
            return None
        low, high = INTEGERS[columns[c]]
        fit = [
            t
            for t, (a, b) in INTEGERS.items()
            if t != columns[c] and (a <= low and b >= high if variant[0] == "w" else b < high)
        ]
        return {"kind": "change_type", "column": c, "old_type": columns[c], "new_type": some(fit)} if fit else None
    if variant in ("take a sign", "lose a sign"):  # as many bits, and half of the highest value, or none below zero
        old, new = ("UTINYINT", "TINYINT")[:: 1 if variant == "take a sign" else -1]
        c = some(typed(old))
        return {"kind": "change_type", "column": c, "old_type": old, "new_type": new} if c else None
    if variant.endswith("decimal") or variant == "to double":
        parts = {x: (sum(d), d[1]) for x in decimals if (d := decimal_parts(columns[x]))}
        c = some([x for x in decimals if parts[x][0] <= 30 and parts[x][0] - parts[x][1] >= 3
                  and ("round" not in variant or parts[x][1] >= 3)])  # fmt: skip
        if c is None:
            return None
        p, s = parts[c]
        more, fewer = int(rng.choice([2, 4])), int(rng.integers(1, max(2, s)))
        # Above 18 digits DuckDB calculates with twice the bits, so that what is new does not overflow in the models.
        new = {"widen decimal": f"DECIMAL({max(18, p) + more},{s})", "refine decimal": f"DECIMAL({p + more},{s + 2})",
               "round decimal": f"DECIMAL({p},{s - fewer})", "trade decimal": f"DECIMAL({p},{s + 2})",
               "shrink decimal": f"DECIMAL({p - 2},{s})", "wider and rounded decimal": f"DECIMAL({p + more},{s - fewer})",
               "to double": "DOUBLE"}[variant]  # fmt: skip
        return {"kind": "change_type", "column": c, "old_type": columns[c], "new_type": new}
    if variant in ("to text", "to day", "to time"):
        fit = {"to text": [*integers, *typed("DATE")], "to day": typed("TIMESTAMP"), "to time": typed("DATE")}[variant]
        c = some(fit)
        new = {"to text": "VARCHAR", "to day": "DATE", "to time": "TIMESTAMP"}[variant]
        return {"kind": "change_type", "column": c, "old_type": columns[c], "new_type": new} if c else None
    if variant == "allow nulls":
        c = some([x for x in names if x not in NULLABLE and (count is None or not rows(f"{x} is null"))])
        return {"kind": "allow_nulls", "column": c} if c else None
    if variant in ("forbid nulls", "fill nulls"):
        filled = variant == "fill nulls"
        fit = [c for c in names if ((count(f"{c} is null") > 0) if count else c in NULLABLE) == filled]
        c = some([x for x in fit if columns[x] in ("VARCHAR", "TIMESTAMP", "DATE") or columns[x] in INTEGERS])
        if c is None:
            return None
        fill = {"VARCHAR": "unknown", "TIMESTAMP": "1970-01-01 00:00:00", "DATE": "1970-01-01"}.get(columns[c], 0)
        nulls = rows(f"{c} is null") if filled else 0
        return {"kind": "forbid_nulls", "column": c, "type": columns[c], "null_rows": nulls, "fill": fill}
    if variant in ("add value", "remove value", "remove unused value"):
        c = some([x for x in names if x in VALUES and columns[x] == "VARCHAR"])
        if c is None:
            return None
        now, new = VALUES[c]
        if variant == "add value":
            return {"kind": "add_value", "column": c, "value": some(list(new))}
        used = variant == "remove value"
        v = some([x for x in now if not count or count(f"{c} = '{x}'")] if used else list(new))
        if v is None:
            return None
        becomes = some([x for x in now if x != v])
        n = rows(f"{c} = '{v}'") if used else 0
        return {"kind": "remove_value", "column": c, "value": v, "rows": n, "becomes": becomes}
    if variant.endswith("range"):
        c = some(
            [x for x in integers if ("zero" not in variant and "below" not in variant) or columns[x] != "UTINYINT"]
        )
        return _range(rng, variant, c, columns[c], rows, count is not None) if c else None
    if variant == "change values":
        c = some([x for x in names if columns[x] != "BOOLEAN" and not x.endswith("_id")])
        of = columns.get(c or "", "")
        # Cents for euros, kilos for grams; another time zone; counted from another number.
        is_tight = (parts_of := decimal_parts(of)) is not None and parts_of[0] < 6
        scaled = "({c} / 10)::{of}" if is_tight or rng.random() < 0.5 else "({c} * 100)::{of}"
        formula = {"VARCHAR": "'K-' || {c}", "TIMESTAMP": "{c} + interval 2 hour"}.get(
            of, scaled if of.startswith("D") and of != "DATE" else "{c} + 1"
        )
        return {"kind": "change_values", "column": c, "type": of, "formula": formula.format(c=c, of=of)} if c else None
    if variant == "drop unique":
        return {"kind": "drop_unique", "columns": KEYS[table]} if table in KEYS else None
    if variant == "add unique":
        return {"kind": "add_unique", "columns": KEYS[table], "duplicate_rows": 0} if table in KEYS else None
    if variant == "add unique deleting":
        if not count:
            n = int(rng.integers(1, 40))
            return {"kind": "add_unique", "columns": KEYS[table], "duplicate_rows": n} if table in KEYS else None
        unique = ONE_EACH.get(table)
        n = count(f"rowid not in (select min(rowid) from {table} group by {', '.join(unique)})") if unique else 0
        return {"kind": "add_unique", "columns": unique, "duplicate_rows": n} if n else None
    if variant == "change default":
        c = some(typed("VARCHAR"))
        return {"kind": "change_default", "column": c, "old": None, "new": "unknown"} if c else None
    if variant == "reorder":
        return {"kind": "reorder_columns", "order": [names[i] for i in rng.permutation(len(names))]}
    if variant == "drop table":
        return {"kind": "drop_table"}
    return {"kind": "rename_table", "to": f"{table}_v2", "keeps_view": variant == "rename table keeping"}


def _range(
    rng: np.random.Generator, variant: str, c: str, of: str, rows: Callable[[str], int], counted: bool
) -> dict[str, Any] | None:
    """A new range of permitted values; bounds are inclusive, None is no bound."""
    top = {"TINYINT": 60, "UTINYINT": 60, "SMALLINT": 9_000}.get(of, 9_000_000)
    low = int(rng.integers(1 if of == "UTINYINT" else -3, 3))
    high, less = top + top // 30 * int(rng.integers(0, 20)), top // 20
    if variant != "open range" and rng.random() < 0.4:
        high = None
    e = {"kind": "change_range", "column": c, "old_low": low, "old_high": high, "new_low": low, "new_high": high}
    step = int(rng.integers(1, 4))
    if variant == "open range":
        e["new_high"] = None
    elif variant in ("from zero range", "below zero range"):  # 0 is a bound
        kept = variant == "from zero range"
        e["old_low"], e["new_low"] = 0, 0 if kept else None if rng.random() < 0.5 else -step
        e["new_high"] = (high or top) - less * step if kept else high
    elif variant == "close above range":
        high = e["old_high"] = None
        e["new_high"] = top
    elif variant == "close below range":
        e["old_low"], e["new_low"] = None, -step
    elif variant == "shift and narrow range":
        high = e["old_high"] = high or top
        e["new_low"], e["new_high"] = low - step, high - less * step
    elif variant in ("loosen range", "shift range", "shift and cut range"):
        # Loosened above where there is a bound, else below; the other side is tightened for a shift.
        if high is not None and rng.random() < 0.5:
            e["new_high"], tight = (None if rng.random() < 0.3 else high + less * step), "new_low"
        else:
            e["new_low"], tight = (None if rng.random() < 0.3 else low - step), "new_high"
        if variant != "loosen range":
            e[tight] = low + step if tight == "new_low" else (high or top) - less * step
    else:
        e["new_low"] = low + step
    cuts = variant in ("cut range", "shift and cut range")
    bounds = [f"{c} < {e['new_low']}"] if e["new_low"] is not None else []
    bounds += [f"{c} > {e['new_high']}"] if e["new_high"] is not None else []
    if counted:
        outside = [f"{c} < {e['old_low']}"] if e["old_low"] is not None else []
        outside += [f"{c} > {high}"] if high is not None else []
        if (outside and rows(" or ".join(outside))) or (bounds and bool(rows(" or ".join(bounds))) != cuts):
            return None
    return {**e, "rows_outside": rows(" or ".join(bounds)) if cuts else 0}


def retyped(rng: np.random.Generator, columns: dict[str, str]) -> dict[str, str]:
    """The columns of another company's table: other types of numbers."""
    return {
        c: str(rng.choice(list(INTEGERS))) if t in INTEGERS else str(rng.choice(DECIMALS)) if "DECIMAL" in t else t
        for c, t in columns.items()
    }


# -- what an approval policy has to reckon with --------------------------------------------------------------------------

FACTS = {
    "answer_days": "Days after which the slowest of the teams that are hit has answered, by class.",
    "freeze_days": "Days after the last approval for which no team that is hit begins another use of the table, by class.",
    "release_days": "Days that a change waits for its release after the last approval, at most.",
    "approver_minutes": "Minutes after which these have answered an emergency, at most.",
    "rollout_minutes": "Minutes from the approval of an emergency until the change is in, at most.",
    "emergency_minutes": "Minutes within which an emergency change must be in.",
    "review_starts_days": "Days from an emergency until it is over and its review can begin.",
    "review_takes_days": "Days that the teams that are hit need to review an emergency change.",
    "correction_days": "Days to correct what a review finds, before a report is published.",
    "report_due_days": "Days from an emergency to the next report that is published, at least.",
}


def draw_companies(rng: np.random.Generator, n: int = 4) -> list[dict[str, Any]]:
    """Facts of n companies. What is right for all classes of one, or for all companies, is not there."""
    found = []
    # Who answers an emergency in time: colleague alone, on call alone, both, on call alone.
    in_time = [("colleague",), ("on call",), ("colleague", "on call"), ("on call",)]
    for k, who in enumerate([in_time[i % 4] for i in rng.permutation(max(4, n))[:n]]):
        release = int(rng.integers(1, 5)) + (0, 8, 3, 12)[k % 4]
        first = int(rng.integers(2, 5))
        answers = {CARE: first, BREAKING: first + int(rng.integers(5, 8))}
        # The windows of the two classes do not meet.
        freeze = {c: release + int(rng.integers(0, min(4, days))) for c, days in answers.items()}
        limit, rollout = 15 * int(rng.integers(6, 17)), 5 * int(rng.integers(2, 7))
        spare = limit - rollout
        minutes = {w: spare - int(rng.choice([0, 5, 20])) if w in who else spare + int(rng.choice([1, 5]))
                   for w in ("colleague", "on call")}  # fmt: skip
        if who == ("colleague",):  # in time to the minute
            minutes["colleague"] = spare
        if len(who) == 2:  # on call is there first
            minutes["on call"] = minutes["colleague"] - int(rng.choice([5, 10]))
        takes = int(rng.integers(1, 4)) + (0, 4, 8, 12)[(k + 1) % 4]
        starts, correction = (int(n) for n in rng.integers(1, 4, 2))
        found.append(
            {
                "answer_days": answers,
                "freeze_days": freeze,
                "release_days": release,
                "approver_minutes": {**minutes, "every hit team": 60 * 24 * answers[BREAKING]},
                "rollout_minutes": rollout,
                "emergency_minutes": limit,
                "review_starts_days": starts,
                "review_takes_days": takes,
                "correction_days": correction,
                "report_due_days": starts + takes + int(rng.integers(0, 3)) + correction,
            }
        )
    return found


def draw_year(rng: np.random.Generator, company: dict[str, Any], n: int = 60) -> list[dict[str, Any]]:
    """A year of changes, for workshop.schema_change.replay. What decides happens in each year: the slowest answer with the
    longest wait, a change that lies until the day after use may have changed, a diff that is changed after approval, an
    author who has moved into a team that is hit, emergencies of each kind."""
    found = []
    for k in range(n):
        cls = (ADDITIVE, CARE, BREAKING)[k % 3]
        extreme = k < 12
        teams = [int(t) for t in rng.permutation(np.arange(1, 31))[: int(rng.integers(2, 6))]]
        slowest = company["answer_days"].get(cls, company["answer_days"][CARE])
        answers = {t: int(rng.integers(0, slowest + 1)) for t in teams}
        answers[teams[0]], answers[teams[-1]] = 0, slowest
        change = {
            "change_id": 1 + k,
            "class": cls,
            "is_emergency": False,
            "answers": answers if cls != ADDITIVE else {},
            "release_wait": company["release_days"] if extreme else int(rng.integers(0, company["release_days"] + 1)),
            "lies_days": 0,
            "diff_changes": bool(not extreme and rng.random() < 0.25) or k in (12, 13, 14),
            "author_in": teams[0] if k in (15, 16, 17) or (k > 20 and rng.random() < 0.15) else None,
        }
        if cls != ADDITIVE and (k in (18, 19, 20) or (k > 20 and rng.random() < 0.15)):
            # It lies until the day after the freeze.
            change["lies_days"] = slowest + company["freeze_days"][cls] + 1
            change["diff_changes"] = False
            change["author_in"] = None
        found.append(change)
    for k in range(4):
        teams = [int(t) for t in rng.permutation(np.arange(1, 31))[:3]]
        found.append(
            {
                "change_id": n + 1 + k, "class": (BREAKING, CARE)[k % 2], "is_emergency": True,
                "answers": dict.fromkeys(teams, 1), "release_wait": 0, "lies_days": 0, "diff_changes": k == 2,
                "author_in": teams[0] if k == 3 else None,
            }
        )  # fmt: skip
    return [found[i] for i in rng.permutation(len(found))]


# -- the world's tables --------------------------------------------------------------------------------------------------


def _counter(con: duckdb.DuckDBPyConnection, table: str) -> Callable[[str], int]:
    return lambda condition: int(con.execute(f"select count(*) from {table} where {condition}").fetchall()[0][0])


def build(con: duckdb.DuckDBPyConnection, seed: bytes, scale: float) -> None:
    """Writes the tables; they do not shrink with scale."""
    own = derive_seed(seed, "world/schema_changes")
    rng = streams(own, "changes")
    models = history("models")
    types = models.model_types(models.make_stack(derive_seed(seed, "world/models")), models.core_types(con))
    owners = dict(
        con.execute(
            "select schema_name || '.' || table_name, owner_team_id from ops.models union all "
            "select schema_name || '.' || table_name, owner_team_id from ops.sources order by 1"
        ).fetchall()
    )
    people: dict[int, list[int]] = {}
    for team, person in con.execute(
        "select team_id, person_id from ops.people where left_on is null order by team_id, person_id"
    ).fetchall():
        people.setdefault(team, []).append(person)
    tables = sorted(types)
    weights = np.array([6.0 if v.startswith("add column") else 0.4 if "table" in v else 1.0 for v in VARIANTS])
    weights /= weights.sum()
    rows: dict[str, list[tuple]] = {"changes": [], "elements": [], "approvals": [], "facts": [], "classes": []}
    opened = sorted(TODAY - timedelta(seconds=int(s)) for s in rng.integers(86_400, 365 * 86_400, CHANGES))
    for number, at in enumerate(opened, 1):
        elements, classes, table = [], [], ""
        while not elements:
            table = str(rng.choice([t for t in tables if t.startswith("core.")] if rng.random() < 0.45 else tables))
            for _ in range(int(rng.choice([1, 1, 2, 3]))):
                variant = str(rng.choice(list(VARIANTS), p=weights))
                if "table" in variant and (elements or table.startswith("core.")):
                    continue
                # What stands in core is counted; models have no rows here, and no changes that would touch some.
                count = _counter(con, table) if table.startswith("core.") else None
                e = draw_element(rng, variant, table, types[table], count)
                if (
                    e
                    and count is None
                    and any(e.get(n) for n in ("null_rows", "rows", "rows_outside", "duplicate_rows"))
                ):
                    continue
                if e and not any(x.get("column") == e.get("column") for x in elements):
                    elements.append(e)
                    classes.append(VARIANTS[variant])
        team = owners[table]
        author = int(rng.choice(people[team]))
        is_emergency = bool(rng.random() < 0.1)
        first = digest(elements[:-1] or [{**elements[0], "draft": True}])
        last = digest(elements)
        merged = at + timedelta(hours=float(1 if is_emergency else rng.lognormal(4.2, 0.9)))
        reviewed = (
            merged + timedelta(days=float(rng.lognormal(2, 0.8))) if is_emergency and rng.random() < 0.4 else None
        )
        rows["changes"].append((number, at, table, team, author, is_emergency, last, min(merged, TODAY), reviewed))
        for k, (e, cls) in enumerate(zip(elements, classes, strict=True), 1):
            rows["elements"].append((number, k, e["kind"], e.get("column"), json.dumps(e)))
            rows["classes"].append((number, k, cls))
        # The approval of before: one of the owners, the author now and then, for the first diff now and then.
        if not is_emergency:
            own_yes = rng.random() < 0.2
            person = author if own_yes else int(rng.choice([p for p in people[team] if p != author]))
            given = at + (merged - at) * float(rng.uniform(0.05, 0.9))
            rows["approvals"].append((number, team, person, given, first if rng.random() < 0.25 else last))
    company = draw_companies(streams(own, "companies"), 1)[0]
    for fact, value in company.items():
        for of, v in value.items() if isinstance(value, dict) else [(None, value)]:
            rows["facts"].append((fact, of, v, FACTS[fact]))
    names = {
        "changes": "change_id opened_at table_name team_id author_id is_emergency diff_digest merged_at reviewed_at",
        "elements": "change_id element_no kind column_name details",
        "approvals": "change_id team_id person_id approved_at diff_digest",
        "facts": "fact of_what value meaning",
        "classes": "change_id element_no class",
    }
    for name, columns in names.items():
        con.register(f"frame_{name}", pd.DataFrame(rows[name], columns=columns.split(), dtype=object))
    con.execute(TABLES)
    for name in names:
        con.unregister(f"frame_{name}")


TABLES = """
create table ops.schema_changes as
select
  change_id::integer as change_id,
  opened_at::timestamp as opened_at,
  table_name::varchar as table_name,
  team_id::integer as team_id,
  author_id::integer as author_id,
  is_emergency::boolean as is_emergency,
  diff_digest::varchar as diff_digest,
  merged_at::timestamp as merged_at,
  reviewed_at::timestamp as reviewed_at
from frame_changes
order by change_id;

create table ops.schema_change_elements as
select
  change_id::integer as change_id,
  element_no::utinyint as element_no,
  kind::varchar as kind,
  column_name::varchar as column_name,
  details::json as details
from frame_elements
order by change_id, element_no;

create table ops.schema_approvals as
select
  change_id::integer as change_id,
  team_id::integer as team_id,
  person_id::integer as person_id,
  approved_at::timestamp as approved_at,
  diff_digest::varchar as diff_digest
from frame_approvals
order by change_id;

create table ops.approval_facts as
select fact::varchar as fact, of_what::varchar as of_what, value::integer as value, meaning::varchar as meaning
from frame_facts
order by fact, of_what;

create table truth.schema_change_classes as
select change_id::integer as change_id, element_no::utinyint as element_no, class::varchar as class
from frame_classes
order by change_id, element_no;

comment on table ops.schema_changes is 'Changes of shared tables within a year, as merged.';
comment on column ops.schema_changes.change_id is 'Key.';
comment on column ops.schema_changes.opened_at is 'When the pull request was opened (UTC).';
comment on column ops.schema_changes.table_name is 'Table that changes, with its schema.';
comment on column ops.schema_changes.team_id is 'Team that makes the change; references ops.teams.';
comment on column ops.schema_changes.author_id is 'Author; references ops.people.';
comment on column ops.schema_changes.is_emergency is 'It went by the emergency path.';
comment on column ops.schema_changes.diff_digest is 'SHA-256 of the diff that was merged.';
comment on column ops.schema_changes.merged_at is 'When it was merged (UTC).';
comment on column ops.schema_changes.reviewed_at is 'When an emergency change was looked at afterwards (UTC); null: never.';

comment on table ops.schema_change_elements is 'What the changes consist of.';
comment on column ops.schema_change_elements.change_id is 'References ops.schema_changes.';
comment on column ops.schema_change_elements.element_no is 'From 1, in the order in which they are applied.';
comment on column ops.schema_change_elements.kind is 'Kind of element, as listed in lab 2.4.';
comment on column ops.schema_change_elements.column_name is 'Column that it concerns; null: the table, or several.';
comment on column ops.schema_change_elements.details is 'The whole element as JSON.';

comment on table ops.schema_approvals is 'Approvals that were given before the changes were merged.';
comment on column ops.schema_approvals.change_id is 'References ops.schema_changes.';
comment on column ops.schema_approvals.team_id is 'Team for which it was given; references ops.teams.';
comment on column ops.schema_approvals.person_id is 'Who gave it; references ops.people.';
comment on column ops.schema_approvals.approved_at is 'When (UTC).';
comment on column ops.schema_approvals.diff_digest is 'SHA-256 of the diff as it was then.';

comment on table ops.approval_facts is 'What an approval policy has to reckon with at this company.';
comment on column ops.approval_facts.fact is 'Name.';
comment on column ops.approval_facts.of_what is 'Class of change, or who approves; null: of all.';
comment on column ops.approval_facts.value is 'Its value, in the unit that its name says.';
comment on column ops.approval_facts.meaning is 'What it says.';
"""
