"""What lab 2.8 judges.

Task a: each mask is put on values of this world, and what is left of them is compared with what is needed. Task b: the
learner's function makes its schema in a throwaway database of the judge's, which has the tables and the gateway's functions;
what can be read there is compared with the tables, and attacked with a list that anybody can buy.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from workshop.checks import CheckFailed, Evidence, as_table, check, expect, read_cases
from workshop.masking import ENVIRONMENTS, FIXED, MASKS, generalised, masked
from workshop.table import Table
from workshop.trusted import JudgedDatabase, Lab, World, copies_of
from workshop.world.build import history

SUBJECTS = ("masking",)

HINTS = {
    "a": (
        "Collect, for each environment and kind, the set of what is needed. What is left where nobody needs anything?",
        "Which masks keep equal values equal, which have the shape, which show a decade or four characters? Of those that "
        "meet all needs, which tells least?",
        "join and shape: keyed_format. join alone: keyed. decade: generalise. last four: partial. shape alone: fixed. "
        "Nothing: withhold.",
    ),
    "b": (
        "Read the columns with their tags in one query, and write one expression for each column.",
        "Start from the tags, not from the columns: what has no class tag has no expression. And give null its type "
        "(`null::date`), or the column has another one.",
        "The view calls `keyed('dev', column)` and knows no key. `create or replace view` for each table, each time.",
    ),
}

MISCONCEPTIONS = {
    "too_little": "A mask that breaks what programs do is switched off in the second week.",
    "too_much": "What nobody needs is not harmless because nobody needs it.",
    "unkeyed": "There are fewer phone numbers than a laptop hashes in an hour. Who has no key must not be able to try.",
    "raw_left": "Which columns of this kind are there, and by which name? The tags know.",
    "texts": "People write their address into the message. A mask for columns of addresses does not see it.",
    "random": "A mask that is drawn anew at each read joins with nothing, not even with itself.",
    "types": "A program reads a date, not a text that looks like one.",
    "quasi": "Town, postcode and birthday are in every club's list of members, with the name beside them.",
    "by_name": "The schema has to be right on the day after somebody added a column.",
    "untagged": "What nobody has looked at yet may be anything.",
    "copied": "A copy is as old as the last copying, and has to be deleted where the original is.",
    "key_in_view": "Whoever may read a view may read its text.",
    "one_key": "With one key for all environments, whoever has two of them can join them.",
}

COMPANIES, SMALL_SCALE = 6, 0.001
REPORT_TOLERANCE, REIDENTIFIED_SHARE, MERGED_SHARE = 0.05, 0.005, 0.01
KINDS = (*FIXED, "free_text")
NUMBERS = ("phone", "bank_account", "card_number", "national_id")
JOINED = ("email", "phone", "person_name")
# Kept and not released: they would find the kinds of lab 2.1.
SHAPES = {
    "email": re.compile(r"[^@\s]+@[^@\s]+\.[a-z]+"),
    "phone": re.compile(r"\+\d{8,15}"),
    "bank_account": re.compile(r"[A-Z]{2}\d{2}[A-Z0-9]{11,30}"),
    "card_number": re.compile(r"\d{16}"),
    "national_id": re.compile(r"\d{8}[A-Z]|\d{3}-\d{2}-\d{4}"),
    "ip_address": re.compile(r"\d{1,3}(\.\d{1,3}){3}|[0-9a-f:]{6,}"),
    "person_name": re.compile(r".+"),
    "postal_address": re.compile(r".+"),
}
VALUES = {
    "person_name": "select full_name from core.customers",
    "email": "select email from core.customers",
    "phone": "select phone from core.customers",
    "postal_address": "select city || ' ' || postcode from core.customers",
    "birth_date": "select birth_on from core.customers",
}


# -- task a ------------------------------------------------------------------------------------------------------------


def _companies(lab: Lab) -> list[tuple[list[dict], dict[tuple[str, str], set[str]]]]:
    """Needs of the drawn companies, as rows and as sets by environment and kind."""

    def make() -> list[tuple[list[dict], dict[tuple[str, str], set[str]]]]:
        rng = lab.rng("needs")
        found = []
        for _ in range(COMPANIES):
            rows = history("masking").draw_needs(rng)
            needs: dict[tuple[str, str], set[str]] = {(e, k): set() for e in ENVIRONMENTS for k in KINDS}
            for row in rows:
                needs[row["environment"], row["kind"]].add(row["need"])
            found.append((rows, needs))
        return found

    return lab.kept("companies", make)


def _masks(lab: Lab) -> list[dict[tuple[str, str], str]]:
    """The learner's masks by environment and kind, for each company."""

    def make() -> list[dict[tuple[str, str], str]]:
        found = []
        for rows, _ in _companies(lab):
            what = "What masks returns"
            table = as_table(lab.call("masks", rows), what, ["environment", "kind", "mask"])
            chosen: dict[tuple[str, str], str] = {}
            for row in table.dicts():
                key = (str(row["environment"]), str(row["kind"]))
                expect(key[0] in ENVIRONMENTS, f"{what}: there is no environment {key[0]!r}.")
                if key[1] not in KINDS:
                    continue  # a row for a quasi kind does no harm
                expect(row["mask"] in MASKS, f"{what}: {row['mask']!r} is no mask; there are {', '.join(MASKS)}.")
                expect(key not in chosen, f"{what}: there are two rows for {key[1]} in {key[0]}.")
                chosen[key] = str(row["mask"])
            missing = [f"{k} in {e}" for e in ENVIRONMENTS for k in KINDS if (e, k) not in chosen]
            expect(not missing, f"{what}: there is no row for {', '.join(missing[:4])}{' ...' if missing[4:] else ''}.")
            found.append(chosen)
        return found

    return lab.once("masks", make)


def _sample(lab: Lab) -> dict[str, list[Any]]:
    """Different values of each kind, 2,000 at most: enough for four characters to fall together. Where not every world has
    a column of the kind they are made up."""

    def make() -> dict[str, list[Any]]:
        rng = lab.rng("sample")
        numbers = [f"{n:016d}" for n in rng.integers(10**15, 10**16, 2000)]
        found: dict[str, list[Any]] = {
            "national_id": [f"{n[:8]}{'TRWAGMYFPDXBNJZSQVHLCKE'[int(n[:8]) % 23]}" for n in numbers],
            "bank_account": [f"DE{n[:2]}{n}{n[:2]}" for n in numbers],
            "card_number": numbers,
            "ip_address": [
                f"{int(n[:4]) % 200 + 11}.{int(n[4:7]) % 256}.{int(n[7:10]) % 256}.{n[10]}" for n in numbers
            ],
            "free_text": [f"Call me, order {n}" for n in numbers],
        }
        for kind, query in VALUES.items():
            rows = lab.world.sql(f"select distinct v from ({query}) t (v) order by hash(v) limit 2000").rows
            found[kind] = [r[0] for r in rows]
        return {kind: list(dict.fromkeys(values)) for kind, values in found.items()}

    return lab.kept("sample", make)


def _facts(lab: Lab) -> dict[tuple[str, str], dict[str, bool]]:
    """By mask and kind, what the mask leaves of the kind's values: raw, guessed (by hashing without a key), join, shape, last
    four, decade."""
    return lab.kept("facts", lambda: {(m, k): _left(lab, m, k) for m in MASKS for k in KINDS})


def _left(lab: Lab, mask: str, kind: str) -> dict[str, bool]:
    values = _sample(lab)[kind]
    key = hashlib.sha256(lab.rng("key").bytes(16)).hexdigest()[:16]
    out = [masked(mask, kind, v, key) for v in values]
    texts = [str(v) for v in values]
    there = [o for o in out if o is not None]
    dates = kind == "birth_date"
    many = len(values) > 1
    return {
        "raw": bool(there) and sum(str(o) == t for o, t in zip(out, texts, strict=True)) > 0.2 * len(texts),
        "guessed": mask == "hash",
        "join": bool(there) and many and len(set(there)) >= (1 - MERGED_SHARE) * len(set(values)),
        "shape": bool(there)
        and (
            all(isinstance(o, date) for o in there)
            if dates
            else all(SHAPES[kind].fullmatch(str(o)) for o in there)
            if kind in SHAPES
            else True
        ),
        "last four": bool(there)
        and kind in NUMBERS
        and sum(str(o)[-4:] == t[-4:] for o, t in zip(out, texts, strict=True)) > 0.5 * len(texts),
        "decade": dates
        and all(isinstance(o, date) and o.year // 10 == v.year // 10 for o, v in zip(out, values, strict=True)),
    }


def _needs_met(lab: Lab) -> tuple[int, int, list[list[Any]]]:
    met = total = 0
    rows = []
    for i, ((_, needs), chosen) in enumerate(zip(_companies(lab), _masks(lab), strict=True)):
        for (environment, kind), wanted in needs.items():
            facts = _facts(lab)[chosen[environment, kind], kind]
            for need in sorted(wanted):
                total += 1
                if facts[need]:
                    met += 1
                else:
                    rows.append([i + 1, environment, kind, ", ".join(sorted(wanted)), chosen[environment, kind], need])
    return met, total, rows


def _beyond(lab: Lab) -> tuple[int, list[list[Any]]]:
    """Environments and kinds of all companies, and where somebody can find out more than they need."""
    said = {
        "raw": "the value itself",
        "guessed": "values that are guessed and hashed",
        "join": "which rows are one person's",
        "last four": "the last four characters",
        "decade": "the decade of birth",
    }
    places, rows = 0, []
    for i, ((_, needs), chosen) in enumerate(zip(_companies(lab), _masks(lab), strict=True)):
        for (environment, kind), wanted in needs.items():
            places += 1
            mask = chosen[environment, kind]
            facts = _facts(lab)[mask, kind]
            for fact, words in said.items():
                if facts[fact] and fact not in wanted and not (fact == "decade" and facts["raw"]):
                    rows.append([i + 1, environment, kind, ", ".join(sorted(wanted)) or "nothing", mask, words])
    return places, rows


@check("a", "what teams need of a kind is left of it", points=1.5)
def needs_are_met(lab: Lab) -> str:
    """Each mask on values of this world, for the needs of six drawn companies."""
    met, total, rows = _needs_met(lab)
    places, beyond = _beyond(lab)
    over = len({tuple(r[:3]) for r in beyond})
    expect(
        2 * over <= places,
        f"In {over} of {places} environments and kinds somebody can find out more than they need. What is left for "
        f"those who need "
        "it is judged once that holds for half of them: the tables themselves would meet every need.",
        misconception="too_much",
    )
    expect(
        met == total,
        f"Of {total} needs in six companies {met} are met. Where one is not, a team's programs do not run on what you give them, "
        "and they ask for the tables.",
        evidence=Evidence(
            "Needs that are not met",
            Table.of(["company", "environment", "kind", "needed", "mask", "not met"], rows[:10]),
        ),
        ask="Take the first row: what comes out of this mask, and what was to be left?",
        misconception="too_little",
    )
    return f"All {total} needs are met."


@check("a", "nobody finds out more than they need", points=1.5)
def nothing_beyond_needs(lab: Lab) -> str:
    """What each mask leaves, beyond the needs."""
    met, total, _ = _needs_met(lab)
    expect(2 * met >= total, f"Of {total} needs {met} are met. What is left over is judged once half of them are.")
    _, rows = _beyond(lab)
    common = Counter(r[5] for r in rows).most_common(1)[0][0] if rows else ""
    expect(
        not rows,
        f"In {len(rows)} places somebody can find out more than they need, {common} most often.",
        evidence=Evidence(
            "More than is needed",
            Table.of(["company", "environment", "kind", "needed", "mask", "can be found out"], rows[:10]),
        ),
        ask="Is there a mask that meets the same needs and does not tell this?",
        misconception="unkeyed" if any(r[4] == "hash" for r in rows) else "too_much",
    )
    return "Nobody finds out more than they need."


# -- task b ------------------------------------------------------------------------------------------------------------

COLUMNS = """
select
  t.table_schema || '.' || t.table_name as "table", t.table_name, c.column_name, c.data_type, p.kind,
  coalesce(p.is_quasi, false) as is_quasi
from ops.columns c
join ops.tables t using (asset_id)
left join truth.personal_columns p using (asset_id, column_name)
order by t.asset_id, c.column_no
"""
LARGE = (
    "core.customers",
    "mart.active_customers",
    "mart.campaign_responses",
    "mart.payout_accounts",
    "raw.crm_contacts",
)


@dataclass(frozen=True)
class Given:
    """What a case goes by: keys by environment, the policy, and columns with the kind of personal data that is in each."""

    keys: dict[str, str]
    policy: list[dict[str, Any]]
    columns: list[dict[str, Any]]


def columns_of(world: World, tables: Sequence[str]) -> list[dict[str, Any]]:
    """The columns of some of a world's tables, with the kind of personal data that is in each."""
    return [c for c in world.sql(COLUMNS).dicts() if c["table"] in tables]


def _drawn(lab: Lab, world: World, tables: Sequence[str], name: str) -> Given:
    rng, made = lab.rng(name), history("masking")
    keys = {e: rng.bytes(12).hex() for e in ENVIRONMENTS}
    # Addresses are keyed in analytics as in dev: with another key, which is to be seen.
    policy = [
        {**r, "mask": "keyed_format"} if (r["environment"], r["kind"]) == ("analytics", "email") else r
        for r in made.policy_for(made.draw_needs(rng))
    ]
    return Given(keys, policy, columns_of(world, tables))


class Case:
    """A throwaway database with some of a world's tables, in which the learner's function has made schemas. ``given``: drawn
    for the name where there is none."""

    def __init__(self, lab: Lab, world: World, tables: Sequence[str], name: str, given: Given | None = None) -> None:
        given = given or lab.kept(f"given in {name}", lambda: _drawn(lab, world, tables, name))
        self.lab, self.name = lab, name
        self.keys, self.policy, self.columns = given.keys, given.policy, given.columns
        self.database: JudgedDatabase = lab.database(
            _setup(tables), with_world=world, functions=("workshop.masking:register", self.keys)
        )

    def make(self, environment: str) -> None:
        self.lab.call("masked_views", self.database, self.policy, environment, self.keys[environment])

    def mask_of(self, environment: str, kind: str | None) -> str:
        if kind is None:
            return "keep"
        return next(
            (r["mask"] for r in self.policy if (r["environment"], r["kind"]) == (environment, kind)), "withhold"
        )

    def shape(self, environment: str) -> dict[str, dict[str, str]]:
        """Type by column by view of a schema."""
        rows = self.database.rows(
            "select table_name, column_name, data_type from duckdb_columns() where schema_name = ? "
            "and database_name = current_database() order by all",
            [environment],
        )
        found: dict[str, dict[str, str]] = {}
        for table, column, of in rows.rows:
            found.setdefault(table, {})[column] = of
        return found

    def distinct(self, place: str, columns: Sequence[str]) -> dict[str, set[Any]]:
        """Different values of columns of a table or view."""
        if not columns:
            return {}
        lists = ", ".join(f'list(distinct "{_q(c)}")' for c in columns)
        row = self.database.rows(f"select {lists} from {place}").rows[0]
        return {c: set(v or []) for c, v in zip(columns, row, strict=True)}


def _q(name: str) -> str:
    return name.replace('"', '""')


def _setup(tables: Sequence[str]) -> list[str]:
    """Statements that copy tables of a world, and what the catalogue has about them."""
    listed = ", ".join(f"'{t}'" for t in tables)
    others = f"asset_id not in (select asset_id from ops.tables where table_schema || '.' || table_name in ({listed}))"
    catalogue = ("ops.columns", "ops.column_tags", "ops.tables")
    return [*copies_of([*tables, *catalogue]), *(f"delete from {t} where {others}" for t in catalogue)]


def tables_of(world: World) -> list[str]:
    """The tables of a world's estate, schema and name."""
    return [r[0] for r in world.sql("select table_schema || '.' || table_name from ops.tables order by asset_id").rows]


def _small(lab: Lab) -> Case:
    """All tables of a small world, with schemas for dev and analytics."""

    def make() -> Case:
        (world,) = lab.worlds(1, scale=SMALL_SCALE)
        case = Case(lab, world, tables_of(world), "small")
        case.make("dev")
        case.make("analytics")
        return case

    return lab.once("small", make)


def _large(lab: Lab) -> Case:
    """A few tables of this world, with a schema for dev."""

    def make() -> Case:
        case = Case(lab, lab.world, LARGE, "large")
        case.make("dev")
        return case

    return lab.once("large", make)


def _views(case: Case, environment: str) -> dict[str, dict[str, str]]:
    """Columns by view; fails where the schema is empty."""
    found = case.shape(environment)
    expect(found, f"There is nothing in the schema {environment!r} after masked_views was called for it.")
    return found


Place = tuple[str, str]  # table (its view has the same name) and column


def _pairs(case: Case, environment: str) -> dict[Place, list[list[str | None]]]:
    """By column that a schema shows, pairs of texts [in the table, in the view], each once, row by row in the table's order; of
    columns that are no one's those alone that differ."""

    def make() -> dict[Place, list[list[str | None]]]:
        views, found = _views(case, environment), {}
        for table in dict.fromkeys(c["table"] for c in case.columns):
            name = table.partition(".")[2]
            mine = [c for c in case.columns if c["table"] == table and c["column_name"] in views.get(name, {})]
            parts = []
            for c in mine:
                raw, shown = (f'{side}."{_q(c["column_name"])}"::varchar' for side in "tv")
                only = "" if c["kind"] else f" filter ({raw} is distinct from {shown})"
                parts.append(f"list(distinct [{raw}, {shown}]){only}")
            if parts:
                view = f'{environment}."{_q(name)}"'
                (row,) = case.database.rows(f"select {', '.join(parts)} from {table} t positional join {view} v").rows
                found |= {(name, c["column_name"]): pairs or [] for c, pairs in zip(mine, row, strict=True)}
        return found

    return case.lab.once(f"pairs {case.name} {environment}", make)


def _sides(case: Case, environment: str) -> tuple[dict[Place, set[str]], dict[Place, set[str]]]:
    """Different values of each column in its table and in its view, nulls left out."""
    pairs = _pairs(case, environment)
    raw, seen = ({p: {pair[side] for pair in ps} - {None} for p, ps in pairs.items()} for side in (0, 1))
    return raw, seen


def _strangers(case: Case, environment: str) -> list[list[Any]]:
    """What stands in a schema besides the views of the estate, and comments that are none of the table's."""
    wanted = {c["table_name"] for c in case.columns}
    looked = {
        "view": "select view_name from duckdb_views() where schema_name = ?",
        "table": "select table_name from duckdb_tables() where schema_name = ?",
        "function or macro": "select function_name from duckdb_functions() where schema_name = ?",
        "type": "select type_name from duckdb_types() where schema_name = ?",
    }
    found = [
        [environment, what, name]
        for what, query in looked.items()
        for (name,) in case.database.rows(query, [environment]).rows
        if what != "view" or name not in wanted
    ]
    comments = case.database.rows(
        "select view_name, comment from duckdb_views() where schema_name = $1 and comment is not null "
        "union all select table_name || '.' || column_name, comment from duckdb_columns() "
        "where schema_name = $1 and comment is not null",
        [environment],
    )
    return found + [[environment, f"comment on {name}", text] for name, text in comments.rows]


def differences(case: Case, environment: str) -> list[list[Any]]:
    """Columns of a schema that show something other than their mask leaves: schema, view, column, kind, mask, what is in the
    table, what was due, what is shown."""
    pairs = _pairs(case, environment)
    found: list[list[Any]] = []
    for c in case.columns:
        kind, mask = c["kind"], case.mask_of(environment, c["kind"])
        for raw, got in pairs.get((c["table_name"], c["column_name"]), []):
            value = date.fromisoformat(raw) if kind == "birth_date" and raw else raw
            due = masked(mask, str(kind), value, case.keys[environment])
            if got != (None if due is None else str(due)):
                found.append([environment, c["table_name"], c["column_name"], kind, mask, raw, due, got])
                break
    return found


@check("b", "each column shows what its mask leaves, and nothing else is there", points=2)
def nothing_raw(lab: Lab) -> str:
    """All columns of two schemas, row by row, against the masks of the policy; what else stands in the schemas."""
    case = _small(lab)
    rows: list[list[Any]] = []
    strangers: list[list[Any]] = []
    for environment in ("dev", "analytics"):
        views = _views(case, environment)
        expect(
            len(views) >= len({c["table"] for c in case.columns}) / 2,
            f"The schema {environment!r} has {len(views)} views. Whether it gives anything away is judged once it "
            "has half of the tables.",
        )
        rows += differences(case, environment)
        strangers += _strangers(case, environment)
    open_to_all = [r for r in rows if r[7] is not None and r[7] == r[5]]
    expect(
        not rows,
        f"{len(rows)} columns of the masked schemas show something other than their mask leaves; in {len(open_to_all)} of them "
        "the raw value can be read. A developer's laptop is where it will be lost.",
        evidence=Evidence(
            "Columns, with one value each",
            Table.of(
                ["schema", "view", "column", "kind", "mask", "in the table", "due", "yours"],
                [[*r[:5], *(None if v is None else str(v)[:60] for v in r[5:])] for r in rows[:10]],
            ),
        ),
        ask="Which rule of yours should have covered this column?",
        misconception="texts" if rows and all(r[3] == "free_text" for r in rows) else "raw_left",
    )
    expect(
        not strangers,
        f"Besides a view for each table, {len(strangers)} things stand in the schemas that developers read: the first is "
        f"{strangers[0][1] if strangers else ''}. Nobody has looked at what they show.",
        evidence=Evidence("What else is there", Table.of(["schema", "what", "name or text"], strangers[:10])),
        ask="What does somebody who lists the schema find?",
        misconception="raw_left",
    )
    return f"{len(case.columns)} columns in each of two schemas show what their mask leaves."


@check("b", "programs run on it unchanged", points=1.5)
def runs_unchanged(lab: Lab) -> str:
    """Names and types of columns, numbers of different and of common values, shapes."""
    case = _small(lab)
    for environment in ("dev", "analytics"):
        views = _views(case, environment)
        wanted: dict[str, dict[str, str]] = {}
        for c in case.columns:
            wanted.setdefault(c["table_name"], {})[c["column_name"]] = c["data_type"]
        missing = sorted(set(wanted) - set(views))
        expect(
            not missing,
            f"The schema {environment!r} lacks {', '.join(missing[:5])}: programs ask for it by this name.",
            misconception="types",
        )
        rows = [
            [environment, t, c, of, views[t].get(c, "missing")]
            for t, columns in wanted.items()
            for c, of in columns.items()
            if views[t].get(c) != of
        ]
        expect(
            not rows,
            f"{len(rows)} columns of the schema {environment!r} are missing or have another type than in the table.",
            evidence=Evidence(
                "Columns", Table.of(["schema", "view", "column", "type of the table", "type of the view"], rows[:10])
            ),
            ask="What type does a null, a text or a sum have if nobody says?",
            misconception="types",
        )
        _expect_joins_and_shapes(case, environment)
    return "Names, types, joins and shapes are those of the tables."


def _expect_joins_and_shapes(case: Case, environment: str) -> None:
    raw, seen = _sides(case, environment)
    shapes = case.lab.kept("shapes", lambda: SHAPES)
    for kind in KINDS:
        mask = case.mask_of(environment, kind)
        places = [(c["table_name"], c["column_name"]) for c in case.columns if c["kind"] == kind]
        if kind in JOINED and mask in ("keyed", "keyed_format"):
            for i, a in enumerate(places):
                want, got = len(raw[a]), len(seen[a])
                expect(
                    abs(want - got) <= max(1, MERGED_SHARE * want),
                    f"{a[0]}.{a[1]} has {want:,} different values ({kind}), {environment}.{a[0]} {got:,}: a count "
                    f"of people comes out wrong.",
                    ask="Does the same value come out the same at every read, and another one differently?",
                    misconception="random",
                )
                for b in places[:i]:
                    want, got = len(raw[a] & raw[b]), len(seen[a] & seen[b])
                    expect(
                        abs(want - got) <= max(1, MERGED_SHARE * want),
                        f"{a[0]}.{a[1]} and {b[0]}.{b[1]} have {want:,} values in common ({kind}), in {environment} "
                        f"{got:,}: a join over it "
                        "comes out wrong.",
                        ask="Does the same value come out the same in both views?",
                        misconception="random",
                    )
        if kind in ("email", "phone", "bank_account", "card_number") and mask in ("keyed_format", "fixed"):
            for place in places:
                bad = [v for v in seen[place] if not _has_shape(shapes, kind, v)]
                expect(
                    not bad and (seen[place] or not raw[place]),
                    f"{environment}.{place[0]}.{place[1]} ({kind}, {mask}) has values that programs refuse, or "
                    f"none: {bad[:2] or 'only nulls'}.",
                    ask="Which function of the gateway keeps this kind's shape?",
                    misconception="types",
                )


def _has_shape(shapes: Mapping[str, re.Pattern[str]], kind: str, value: str) -> bool:
    # Other digits for digits: what had no shape before (src-3) has none after.
    return shapes[kind].fullmatch(value) is not None or (
        kind in ("bank_account", "card_number") and value.startswith("src-")
    )


QUASI = {"country": "country_code", "city": "city", "postcode": "postcode", "birth_date": "birth_on"}


def _attacks(group: str) -> list[dict[str, Any]]:
    return [a for a in read_cases(Path(__file__).parent / "attacks.yaml") if a["group"] == group]


def _reports(case: Case, schema: str) -> dict[str, dict[Any, float]]:
    """The five reports, from the tables (schema "") or from a schema of views."""
    where = {c["table"]: (f"{schema}.{c['table_name']}" if schema else c["table"]) for c in case.columns}

    def column(table: str, kind: str) -> str | None:
        return next(
            (f'"{_q(c["column_name"])}"' for c in case.columns if c["table"] == table and c["kind"] == kind), None
        )

    queries = {
        "customers by country": f"select {column('core.customers', 'country')}, count(*) "
        f"from {where['core.customers']} group by 1",
        "customers by decade of birth": "select year("
        f"{column('core.customers', 'birth_date')}) // 10, count(*) from {where['core.customers']} group by 1",
        "mean orders_90d by decade": f"select {column('mart.active_customers', 'birth_year')} // 10, avg(orders_90d) from "
        f"{where['mart.active_customers']} group by 1",
        "recipients by template": f"select email_template_id, count(distinct {column('mart.campaign_responses', 'email')}) from "
        f"{where['mart.campaign_responses']} group by 1",
        "accounts with several payouts": "select 'accounts', count(*) from (select 1 from "
        f"{where['mart.payout_accounts']} group by {column('mart.payout_accounts', 'bank_account')} having count(*) > 1)",
    }
    return {name: {k: float(v) for k, v in case.database.rows(sql).rows} for name, sql in queries.items()}


@check("b", "reports come out as on the tables", points=1)
def reports_hold(lab: Lab) -> str:
    """Five reports on a schema with the policy of dev, which keeps what they need."""
    case = _large(lab)
    views = _views(case, "dev")
    for c in case.columns:
        name, column = c["table_name"], c["column_name"]
        expect(column in views.get(name, {}), f"dev.{name} has no column {column!r}, which a report reads.")
    rows = []
    want = lab.kept("reports", lambda: _reports(case, ""))
    for name, groups in _reports(case, "dev").items():
        true = want[name]
        off = sum(abs(groups.get(k, 0) - true.get(k, 0)) for k in {*groups, *true}) / max(
            1e-9, sum(map(abs, true.values()))
        )
        if off > REPORT_TOLERANCE:
            rows.append([name, f"{off:.0%}", len(true), len(groups)])
    expect(
        not rows,
        f"{len(rows)} of five reports are off by more than {REPORT_TOLERANCE:.0%} of what the tables say.",
        evidence=Evidence("Reports", Table.of(["report", "off by", "groups of the tables", "groups of dev"], rows)),
        ask="What of the masked column does the report need, and which mask keeps it?",
        misconception="random",
    )
    return f"Five reports within {REPORT_TOLERANCE:.0%}."


def _reidentified(lab: Lab, case: Case, schema: str, columns: Sequence[str] = tuple(QUASI.values())) -> float:
    """Share of customers who get a name by a unique match of what is visible of ``columns`` with the public list."""
    quasi = {kind: column for kind, column in QUASI.items() if column in columns}
    rows = case.database.rows(
        f"select customer_id, {', '.join(quasi.values())} from {f'{schema}.customers' if schema else 'core.customers'}"
    ).dicts()
    people = lab.cached("people", lambda: lab.world.sql("from share.public_people").dicts())
    true = lab.cached(
        "customers", lambda: {r["customer_id"]: r for r in lab.world.sql("select * from core.customers").dicts()}
    )
    modes = {}
    for kind, column in quasi.items():
        values = {r[column] for r in rows} - {None}
        exact = {p[column] for p in people}
        less = {generalised(kind, v) for v in exact}
        modes[column] = next(
            (
                f
                for f, pool in ((lambda k, v: v, exact), (generalised, less))
                if values and len(values & pool) > 0.5 * len(values)
            ),
            None,
        )
    seen: dict[tuple, list[int]] = {}
    used = [(k, c) for k, c in quasi.items() if modes[c]]
    for r in rows:
        seen.setdefault(tuple(r[c] for _, c in used), []).append(r["customer_id"])
    right: set[int] = set()
    for p in people:
        found = seen.get(tuple(modes[c](k, p[c]) for k, c in used), [])
        if len(found) == 1 and all(true[found[0]][c] == p[c] for c in ("full_name", "postcode", "birth_on")):
            right.add(found[0])
    return len(right) / len(rows) if rows else 0.0


@check("b", "who has a list and no key finds nobody", points=1)
def attacks_fail(lab: Lab) -> str:
    """Linkage with share.public_people; hashes of known addresses, numbers and names."""
    case = _large(lab)
    views = _views(case, "dev")
    have = views.get("customers", {})
    lacking = [c for c in ("customer_id", "country_code", "city", "postcode", "birth_on") if c not in have]
    expect(not lacking, f"dev.customers lacks {', '.join(lacking)}: programs and the attack look there.")
    share = max(_reidentified(lab, case, "dev", a["columns"]) for a in _attacks("linkage"))
    expect(
        share < REIDENTIFIED_SHARE,
        f"Joined with `share.public_people`, {share:.1%} of the customers in dev have a name again; less than "
        f"{REIDENTIFIED_SHARE:.1%} may. No name "
        "was needed for that: country, town, postcode and birth were enough.",
        ask="What is left of these four columns, and how many customers share a combination?",
        misconception="quasi",
    )
    known = [str(v) for kind in ("email", "phone", "person_name") for v in _sample(lab)[kind]]
    digests, functions = {}, [a["function"] for a in _attacks("guess")]
    for value in known:
        for name in functions:
            digests[hashlib.new(name, value.encode()).hexdigest()[:16]] = (name, value)
    for view, columns in views.items():
        texts = [c for c, of in columns.items() if of == "VARCHAR"]
        for column, values in case.distinct(f'dev."{_q(view)}"', texts).items():
            hit = next(
                (digests[v[:16].lower()] for v in sorted(filter(None, values)) if v[:16].lower() in digests), None
            )
            expect(
                hit is None,
                f"dev.{view}.{column} has the {hit[0] if hit else ''} of a value that everybody can guess: "
                f"{hit[1] if hit else ''!r}. Who hashes all phone "
                "numbers of a country has them all back by the evening.",
                ask="What does an attacker need to compute your mask, and who has it?",
                misconception="unkeyed",
            )
    return f"{share:.2%} of customers re-identified, no hash guessed."


@check("b", "what is added later is masked, or not there", points=1)
def later_is_masked(lab: Lab) -> str:
    """Columns, a table and rows that are added after the first call; then it is called again."""
    (world,) = lab.worlds(1, scale=SMALL_SCALE)
    tables = ("core.customers", "raw.crm_contacts", "raw.web_forms", "mart.store_directory")
    case = Case(lab, world, tables, "later")
    case.make("dev")
    before = case.database.rows('select count(*) from dev."crm_contacts"').rows[0][0]
    (asset,) = case.database.rows("select asset_id from ops.tables where table_name = 'web_forms'").rows[0]
    odd = 'e "mail"'
    for sql in (
        "insert into raw.crm_contacts select * from raw.crm_contacts limit 7",
        f'alter table raw.web_forms add column "{_q(odd)}" varchar',
        "alter table raw.web_forms add column unlooked varchar",
        f"""update raw.web_forms
        set "{_q(odd)}" = (select min(email) from core.customers), unlooked = (select max(email) from core.customers)""",
        f"insert into ops.columns values ({asset}, 98, '{odd}', 'VARCHAR'), ({asset}, 99, 'unlooked', 'VARCHAR')",
        f"insert into ops.column_tags values ({asset}, '{odd}', 'privacy.class:direct'), ({asset}, '{odd}', "
        f"'privacy.kind:email')",
        "create table raw.gift_cards as select customer_id as card_no, phone as given_to from core.customers",
        "insert into ops.tables by name select 6900 as asset_id, 'raw' as table_schema, 'gift_cards' as table_name",
        "insert into ops.columns values (6900, 1, 'card_no', 'BIGINT'), (6900, 2, 'given_to', 'VARCHAR')",
        "insert into ops.column_tags values (6900, 'card_no', 'privacy.class:none'), (6900, 'given_to', 'privacy.class:direct'), "
        "(6900, 'given_to', 'privacy.kind:phone')",
    ):
        case.database.rows(sql)
    after = case.database.rows('select count(*) from dev."crm_contacts"').rows[0][0]
    expect(
        after == before + 7,
        f"Seven rows were added to raw.crm_contacts; dev.crm_contacts had {before:,} rows before and has {after:,} now.",
        ask="Is it a view on the table, or a copy of it?",
        misconception="copied",
    )
    case.make("dev")
    views = _views(case, "dev")
    expect(
        odd in views.get("web_forms", {}),
        f"A column {odd!r} was added to raw.web_forms and tagged as e-mail; dev.web_forms does not have it.",
        misconception="by_name",
    )
    expect(
        "unlooked" not in views.get("web_forms", {}),
        "A column was added to raw.web_forms that nobody has tagged yet, and dev.web_forms shows it. An address stands in it.",
        ask="What does your code do with a column that has no privacy.class tag?",
        misconception="untagged",
    )
    expect(
        "given_to" in views.get("gift_cards", {}),
        "A table raw.gift_cards was added and tagged; the schema dev does not have it.",
        misconception="by_name",
    )
    raw = {
        r[0]
        for r in case.database.rows("select phone from core.customers union all select email from core.customers").rows
    }
    for view, column in (("web_forms", odd), ("gift_cards", "given_to")):
        values = case.distinct(f"dev.{view}", [column])[column]
        expect(
            not values & raw,
            f"dev.{view}.{column} was added later, is tagged, and shows raw values.",
            misconception="by_name",
        )
    case.database.close()
    return "What was added later is masked where it is tagged, and not there where it is not."


@check("b", "the key is nowhere, and another one in each environment", points=0.5)
def keys_are_kept(lab: Lab) -> str:
    """What can be read of a database's catalogue; masked values of two environments."""
    case = _small(lab)
    _views(case, "dev")
    for attack in _attacks("key"):
        what = attack["name"]
        for name, text in case.database.rows(attack["query"]).rows:
            for environment, key in case.keys.items():
                expect(
                    key not in str(text) and key[::-1] not in str(text),
                    f"The key of {environment} stands in {what}: {name}. Whoever may read the schema may read that, too.",
                    ask="Who computes the mask, if the view does not know the key?",
                    misconception="key_in_view",
                )
    own = {
        t for t, _ in case.database.rows("select table_name, schema_name from duckdb_tables() where not internal").rows
    }
    for table in own - {c["table_name"] for c in case.columns} - {"tables", "columns", "column_tags"}:
        held = str(case.database.rows(f'from "{_q(table)}" limit 100').rows)
        expect(
            not any(k in held for k in case.keys.values()),
            f"A key stands in the table {table}.",
            misconception="key_in_view",
        )
    for kind in KINDS:
        masks = [case.mask_of(e, kind) for e in ("dev", "analytics")]
        if set(masks) <= {"keyed", "keyed_format"} and masks[0] == masks[1]:
            a, b = (_sides(case, e)[1] for e in ("dev", "analytics"))
            for c in case.columns:
                place = (c["table_name"], c["column_name"])
                if c["kind"] == kind and place in a and place in b:
                    common = {v for v in a[place] & b[place] if not v.startswith("src-")}
                    expect(
                        not common,
                        f"{place[0]}.{place[1]} ({kind}) has {len(common):,} masked values that dev and analytics "
                        f"have in common: who reads both can "
                        "join them.",
                        ask="Which environment's key masks each of them?",
                        misconception="one_key",
                    )
    return "No key can be read, and environments have values of their own."


# -- twelve weeks later --------------------------------------------------------------------------------------------------


def twelve_weeks_later(lab: Lab) -> Any:
    """Customers who get their name back from the public list: from the tables, with direct columns masked only, from the
    learner's schema."""
    from workshop.plots import BLUE, GREY, ORANGE, plt

    case = Case(lab, lab.world, LARGE, "large")
    shares = {"raw tables": _reidentified(lab, case, "")}
    case.database.rows("create schema direct_only")
    case.database.rows(
        "create view direct_only.customers as select customer_id, country_code, city, postcode, birth_on from core.customers"
    )
    shares["names and addresses\nmasked only"] = _reidentified(lab, case, "direct_only")
    try:
        case.make("dev")
        mine: float | None = _reidentified(lab, case, "dev")
    except CheckFailed:
        mine = None
    shares["your dev schema"] = mine or 0.0
    case.database.close()
    figure, ax = plt.subplots(figsize=(7.4, 2.6))
    bars = ax.barh(list(shares), [100 * s for s in shares.values()], color=[GREY, ORANGE, BLUE])
    ax.bar_label(
        bars,
        [f"{100 * s:.1f}%" if mine is not None or i < 2 else "not done" for i, s in enumerate(shares.values())],
        padding=3,
    )
    ax.invert_yaxis()
    ax.set(xlabel="customers with a name again, %", xlim=(0, 115 * max(shares.values())))
    ax.set_title("A bought list gives names back to whoever town, postcode and birthday are left of", fontsize=10)
    plt.close(figure)
    return figure
