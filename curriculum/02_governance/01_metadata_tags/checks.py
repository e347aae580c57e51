"""What lab 2.1 judges.

Where personal data lies is known from how the tables were made (truth.personal_columns). Rows read are counted by the
database on which the tagger works. What a vocabulary leads to is simulated (workshop.sim.tagging) in six drawn companies.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np

from workshop.checks import CheckFailed, Evidence, as_table, check, expect
from workshop.sim.tagging import REQUIRED, SETTERS, Key, Year, run_year
from workshop.table import Table
from workshop.trusted import Lab, World
from workshop.world.build import history

SUBJECTS = ("estate", "tagging")

HINTS = {
    "a": (
        "Three sources: the name, the type, the values. Which columns have a name that settles it, and which ones look "
        "like something by name that their values are not?",
        "Look at values of three places of the table (first, middle, newest rows), in one statement for all columns. What "
        "share of them has the shape of an IBAN, an address, a date of birth? How many different values are there?",
        "Compare names with those of `core.customers` and `ops.people`, word by word, whatever their order. In long texts, "
        "search for a shape within the text: one hit is enough. What comes again and again (a dozen phone numbers, seven "
        "versions) belongs to no person.",
    ),
    "b": (
        "Which facts does anybody ask for, and about which assets?",
        "For each of them: who is right about it most of the time? And count what an owner has to fill in on an asset "
        "with personal data.",
        "A fact of the platform is set by the platform, one of the steward by the steward; compulsory only where a question "
        "is about; a closed list where one holds all values; nothing else.",
    ),
}

MISCONCEPTIONS = {
    "names_only": "What a column is called is what somebody thought of it once. What does it hold?",
    "oldest_only": "The first rows are the oldest. Some columns were put to another use since.",
    "newest_only": "The newest rows show what a column is used for now. What was written into it before is still there.",
    "texts": "Nobody searches for an IBAN in a column called message, and one in twelve messages has one in it.",
    "shape_only": "A version of four parts has the shape of an address. How many different ones are there?",
    "everything": "If everything is personal, nothing is: who gets access to what is decided by these tags.",
    "one_kind": "A policy that masks phone numbers has to know which columns are phone numbers.",
    "reads_all": "A tagger that reads whole tables is switched off by whoever pays for it. A slice of a table tells as much.",
    "column_by_column": "Each statement reads the rows anew: ten columns in one statement cost as much as one.",
    "wrong_setter": "Ask who knows it. A machine that guesses a legal basis is right half of the time.",
    "optional": "What nobody has to fill in is there for a third of the assets, and nobody knows for which.",
    "everywhere": "Each compulsory key takes time on three thousand assets, and who has to fill in ten fills in none well.",
    "free_text": "PII, pii, personal, Personal data: four values, and a search that finds one of them.",
}

WORLDS, WORLD_SCALE = 4, 0.005
RECALL, PRECISION, RIGHT_KIND, READ_SHARE = 0.98, 0.90, 0.95, 0.5
COMPANIES, LEAST_ANSWERED, HOURS_SHARE = 6, 57, 1.15
KINDS = ("person_name", "email", "phone", "postal_address", "birth_date", "national_id", "bank_account", "card_number",
         "ip_address", "free_text")  # fmt: skip
CLASSES = ("direct", "none", "quasi")
FOUND_BY = {
    "plain": "name says it",
    "content": "name says nothing",
    "newest": "newer rows only",
    "oldest": "older rows only",
    "text": "within texts",
}

COLUMNS = """
select t.asset_id, t.table_schema || '.' || t.table_name as table_name, c.column_name, c.data_type, c.column_no
from ops.columns c
join ops.tables t using (asset_id)
order by t.asset_id, c.column_no
"""
TRUE_COLUMNS = f"""
select
  c.*, case when not p.is_quasi then p.kind end as kind, p.found_by, coalesce(p.is_quasi, false) as is_quasi
from ({COLUMNS}) c
left join truth.personal_columns p using (asset_id, column_name)
order by c.asset_id, c.column_no
"""


# -- task a ------------------------------------------------------------------------------------------------------------


def _tagged(lab: Lab, world: World, number: int) -> tuple[list[dict[str, Any]], int]:
    """Columns of a world with what is true of them and the learner's tags (``class``, ``said``), and the rows read."""

    def make() -> tuple[list[dict[str, Any]], int]:
        database = lab.database([], profile=True, with_world=world)
        database.arm()
        table = as_table(
            lab.call("tag_columns", database), "What tag_columns returns", ["asset_id", "column_name", "tag"]
        )
        read = sum(s["rows_scanned"] or 0 for s in database.log())
        database.close()
        columns = lab.kept(f"columns {number}", lambda: world.sql(TRUE_COLUMNS).dicts())
        return read_tags(table, columns), read

    return lab.once(f"tagged {number}", make)


def read_tags(table: Table, columns: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The columns with ``class`` and ``said`` (the kind). Fails where tags are malformed or a column has none."""
    known = {(c["asset_id"], c["column_name"]) for c in columns}
    classes: dict[tuple[Any, str], list[str]] = {}
    kinds: dict[tuple[Any, str], list[str]] = {}
    for row in table.dicts():
        key = (row["asset_id"], row["column_name"])
        tag = str(row["tag"])
        expect(key in known, f"There is no column {key[1]!r} in the asset {key[0]!r} of `ops.columns`.")
        expect(
            re.fullmatch(r"[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*:\S.*", tag) is not None,
            f"{tag!r} is no tag: namespace.key:value is, with a namespace and a key in lower case.",
        )
        head, _, value = tag.partition(":")
        if head == "privacy.class":
            expect(value in CLASSES, f"{tag!r}: privacy.class is direct or none.")
            classes.setdefault(key, []).append(value)
        elif head == "privacy.kind":
            expect(value in KINDS, f"{tag!r}: the kinds are {', '.join(KINDS)}.")
            kinds.setdefault(key, []).append(value)
    found = []
    for c in columns:
        key = (c["asset_id"], c["column_name"])
        where = f"{c['table_name']}.{c['column_name']}"
        mine = set(classes.get(key, []))
        expect(len(mine) == 1, f"{where} has {len(mine) or 'no'} privacy.class tags where one is due.")
        direct = mine == {"direct"}
        said = set(kinds.get(key, []))
        expect(
            len(said) == direct,
            f"{where} is {'direct' if direct else 'not direct'} and has {len(said)} privacy.kind tags; {int(direct)} "
            f"{'is' if direct else 'are'} due.",
        )
        found.append({**c, "direct": direct, "said": next(iter(said), None)})
    return found


def _all_tagged(lab: Lab) -> list[dict[str, Any]]:
    """Columns of this world and of the small ones, each with its world's number."""
    worlds = [lab.world, *lab.worlds(WORLDS, subjects=("estate",), scale=WORLD_SCALE)]
    return [{**c, "world": i} for i, world in enumerate(worlds) for c in _tagged(lab, world, i)[0]]


def _samples(lab: Lab, columns: Sequence[Mapping[str, Any]], title: str) -> Evidence:
    """Columns of this lab's world with a value of each, else of the first world that has some."""
    first = min((c["world"] for c in columns), default=0)
    world = [lab.world, *lab.worlds(WORLDS, subjects=("estate",), scale=WORLD_SCALE)][first]
    rows = []
    for c in [c for c in columns if c["world"] == first][:8]:
        name = c["column_name"].replace('"', '""')
        value = world.sql(
            f'select "{name}"::varchar as v from {c["table_name"]} where "{name}" is not null order by rowid desc limit 1'
        ).rows
        rows.append([c["table_name"], c["column_name"], c["kind"], c["said"], value[0][0] if value else None])
    about = "this world" if first == 0 else "one of the smaller worlds"
    return Evidence(f"{title} ({about})", Table.of(["table", "column", "is", "yours", "newest value"], rows))


@check("a", "the columns with personal data are found", points=2)
def personal_is_found(lab: Lab) -> str:
    """Recall over five worlds. What is personal is known from how the tables were made."""
    due = [c for c in _all_tagged(lab) if c["kind"]]
    missed = [c for c in due if not c["direct"]]
    by = Counter(c["found_by"] for c in missed)
    worst = max(by, key=lambda b: by[b] / sum(c["found_by"] == b for c in due), default=None)
    share = 1 - len(missed) / len(due)
    of = {b: sum(c["found_by"] == b for c in due) for b in FOUND_BY}
    expect(
        share >= RECALL,
        f"Of {len(due)} columns with personal data on five worlds you found {share:.1%}; {RECALL:.0%} are asked. Missed: "
        + ", ".join(f"{by[b]} of {of[b]} where {FOUND_BY[b]}" for b in FOUND_BY if by[b])
        + ". What is not tagged is not masked, not deleted, and not named when somebody asks what Kestrel knows of them.",
        evidence=lambda: _samples(lab, missed, "Personal, and not tagged"),
        ask="What would you have to look at to see it?",
        misconception={"newest": "oldest_only", "oldest": "newest_only", "text": "texts", "content": "names_only"}.get(
            worst or "", "names_only"
        ),
    )
    return f"{share:.1%} of {len(due)} personal columns found."


@check("a", "what is tagged as personal is", points=1.5)
def tagged_is_personal(lab: Lab) -> str:
    """Precision over five worlds; columns that are personal only together with others count neither way."""
    said = [c for c in _all_tagged(lab) if c["direct"] and not (c["is_quasi"] and not c["kind"])]
    expect(said, "No column is tagged as direct.")
    wrong = [c for c in said if not c["kind"]]
    share = 1 - len(wrong) / len(said)
    expect(
        share >= PRECISION,
        f"Of {len(said)} columns that you tag as direct on five worlds {share:.1%} are; {PRECISION:.0%} are asked. Each of the "
        "others is closed to people who need it, for nothing.",
        evidence=lambda: _samples(lab, wrong, "Tagged as direct, and harmless"),
        ask="What do these have in common with personal data, and what not?",
        misconception="everything" if share < 0.5 else "shape_only",
    )
    return f"{share:.1%} of {len(said)} columns tagged as direct are."


@check("a", "the kind of personal data is right", points=1)
def kind_is_right(lab: Lab) -> str:
    """Of the columns found."""
    found = [c for c in _all_tagged(lab) if c["direct"] and c["kind"]]
    expect(found, "No column with personal data is tagged as direct.")
    wrong = [c for c in found if c["said"] != c["kind"]]
    share = 1 - len(wrong) / len(found)
    expect(
        share >= RIGHT_KIND,
        f"Of {len(found)} personal columns that you found {share:.1%} have the right kind; {RIGHT_KIND:.0%} are asked.",
        evidence=lambda: _samples(lab, wrong, "Personal, of another kind"),
        ask="Which of your rules gives this kind, and what else fits it?",
        misconception="one_kind",
    )
    return f"{share:.1%} of {len(found)} have the right kind."


@check("a", "it reads half of the rows at most", points=1.5)
def reads_little(lab: Lab) -> str:
    """Rows that the database scanned. Needs a tagger that finds something: reading nothing is no economy."""
    columns, read = _tagged(lab, lab.world, 0)
    (total,) = lab.world.sql("select sum(row_count)::bigint from ops.tables").rows[0]
    due = [c for c in columns if c["kind"]]
    found = sum(c["direct"] for c in due)
    expect(
        2 * found >= len(due),
        f"It found {found} of {len(due)} personal columns of this world. What it reads is judged once it finds half of them.",
    )
    read_once = read / total < 1.6
    expect(
        read <= READ_SHARE * total,
        f"Your statements read {read:,} rows where the tables have {total:,}: {read / total:.0%}; {READ_SHARE:.0%} are allowed.",
        ask="Which statement reads most, and how many of its rows does it take to see what a column holds?",
        misconception="reads_all" if read_once else "column_by_column",
    )
    return f"{read:,} of {total:,} rows read: {read / total:.0%}."


# -- task b ------------------------------------------------------------------------------------------------------------


def _companies(lab: Lab) -> list[tuple[list[dict], list[dict], float, bytes]]:
    """Facts, questions, hours of stewards and a seed for the year, of the drawn companies."""
    made = history("tagging")

    def make() -> list[tuple[list[dict], list[dict], float, bytes]]:
        rng = lab.rng("companies")
        found = []
        for _ in range(COMPANIES):
            seed = rng.bytes(16)
            facts, questions = made.draw(seed)
            found.append((facts, questions, made.steward_hours(facts, questions), seed))
        return found

    return lab.kept("companies", make)


def _year(company: tuple, keys: Sequence[Key]) -> Year:
    facts, questions, hours, seed = company
    return run_year(keys, facts, questions, hours, np.random.default_rng(int.from_bytes(seed, "big")))


def _read_keys(value: Any, facts: Sequence[Mapping[str, Any]]) -> list[Key]:
    """The learner's vocabulary, checked."""
    what = "What vocabulary returns"
    table = as_table(value, what, ["key", "fact", "values", "required", "set_by"])
    known = {f["fact"] for f in facts}
    keys: list[Key] = []
    for row in table.dicts():
        name = str(row["key"])
        expect(
            re.fullmatch(r"[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*", name) is not None,
            f"{what}: {name!r} is no key; namespace.key in lower case is.",
        )
        expect(row["fact"] in known, f"{what}: {row['fact']!r} is no fact of `ops.tag_facts`.")
        for column, allowed in (("values", ("closed", "free")), ("required", REQUIRED), ("set_by", SETTERS)):
            expect(
                row[column] in allowed, f"{what}: {name}: {column} is {row[column]!r}; it may be {', '.join(allowed)}."
            )
        expect(name not in {k.name for k in keys}, f"{what}: the key {name} stands twice: one key, one meaning.")
        expect(
            row["fact"] not in {k.fact for k in keys},
            f"{what}: the fact {row['fact']} has two keys: which one is searched?",
        )
        keys.append(Key(name, str(row["fact"]), row["values"] == "closed", str(row["required"]), str(row["set_by"])))
    return keys


def _years(lab: Lab) -> list[tuple[tuple, list[Key], Year]]:
    """The learner's vocabulary in each company, and what came of it."""

    def make() -> list[tuple[tuple, list[Key], Year]]:
        found = []
        for company in _companies(lab):
            facts, questions, hours, _ = company
            keys = _read_keys(lab.call("vocabulary", facts, questions, hours), facts)
            found.append((company, keys, _year(company, keys)))
        return found

    return lab.once("years", make)


def _reference_hours(lab: Lab) -> float:
    def make() -> float:
        return sum(_year(c, history("tagging").matched(c[0], c[1])).hours for c in _companies(lab))

    return lab.kept("reference hours", make)


def _answered(lab: Lab, audience: str) -> tuple[int, int, list[list[Any]]]:
    """Questions of an audience answered, of how many, and rows about those that were not."""
    good = total = 0
    rows = []
    for i, (company, keys, year) in enumerate(_years(lab)):
        by_fact = {k.fact: k for k in keys}
        for q in company[1]:
            if q["audience"] != audience:
                continue
            total += 1
            share = year.answered[q["question_id"]]
            if share >= q["least_share"]:
                good += 1
                continue
            for fact in q["needs"]:
                key = by_fact.get(fact)
                known = next(f["known_by"] for f in company[0] if f["fact"] == fact)
                rows.append(
                    [i + 1, q["question_id"], q["scope"], round(share, 2), q["least_share"], fact, known]
                    + (
                        [key.set_by, key.required, "closed" if key.is_closed else "free"]
                        if key
                        else ["no key", None, None]
                    )
                )
    return good, total, rows


SHOWN = ["company", "question", "scope", "told rightly", "least", "needs", "known by", "set by", "required", "values"]


def _expect_answered(lab: Lab, audience: str, who: str) -> str:
    good, total, rows = _answered(lab, audience)
    known = _causes(lab)
    causes = Counter(known[row[2], *row[6:]] for row in rows)
    causes.pop(None, None)
    common = causes.most_common(1)
    tired = [max(0, _burden(keys) - 5) for _, keys, _ in _years(lab)]
    expect(
        good >= LEAST_ANSWERED,
        f"Of {total} questions of {who} in six companies, tags alone answer {good}; {LEAST_ANSWERED} are asked. What is not "
        "there, not right or not found on too many assets does not answer anybody."
        + (f" Owners have up to {max(tired) + 5} keys to fill in on one asset." if max(tired) else ""),
        evidence=Evidence(f"Questions of {who} without an answer, by what they need", Table.of(SHOWN, rows[:12])),
        ask="For the first of them: which of its facts is told wrongly, and why?",
        misconception=common[0][0] if common else "everywhere",
    )
    return f"{good} of {total} questions of {who} answered."


def _causes(lab: Lab) -> dict[tuple[Any, ...], str | None]:
    """The misconception that one fact of an unanswered question points to, by the question's scope, who knows the fact, and how
    it is set, where it is compulsory and which values it has."""

    def cause(scope: str, known: str, set_by: str, required: str | None, values: str | None) -> str | None:
        if set_by == "no key" or required == "none" or (required == "personal" and scope == "all"):
            return None if set_by == "platform" and known == "platform" else "optional"
        if values == "free":
            return "free_text"
        return "wrong_setter" if set_by != known else None

    def make() -> dict[tuple[Any, ...], str | None]:
        settings = [("no key", None, None), *product(SETTERS, REQUIRED, ("closed", "free"))]
        return {
            (scope, known, *setting): cause(scope, known, *setting)
            for scope, known, setting in product(("all", "personal"), SETTERS, settings)
        }

    return lab.kept("causes", make)


def _burden(keys: Sequence[Key]) -> int:
    return sum(k.set_by == "owner" and k.required != "none" for k in keys)


@check("b", "auditors are answered by tags alone", points=1.5)
def auditors_are_answered(lab: Lab) -> str:
    """A year in six drawn companies; see workshop.sim.tagging."""
    return _expect_answered(lab, "compliance", "auditors")


@check("b", "people who look for data are answered by tags alone", points=1)
def seekers_are_answered(lab: Lab) -> str:
    """The same years."""
    return _expect_answered(lab, "discovery", "people who look for data")


@check("b", "nobody fills in what nobody asks for", points=1.5)
def little_work(lab: Lab) -> str:
    """Hours against the reference's, in the same years."""
    good = sum(_answered(lab, a)[0] for a in ("compliance", "discovery"))
    expect(
        good >= COMPANIES * 10,
        f"Of {COMPANIES * 20} questions {good} are answered. What the tags cost is judged once half of them are.",
    )
    hours, least = sum(y.hours for _, _, y in _years(lab)), _reference_hours(lab)
    asked = [
        [k.name, k.required, k.set_by]
        for company, keys, _ in _years(lab)[:1]
        for k in keys
        if not any(k.fact in q["needs"] for q in company[1])
    ]
    expect(
        hours <= HOURS_SHARE * least,
        f"Your tags take {hours:,.0f} hours of people in six companies, the reference's {least:,.0f}: {hours / least:.0%}; "
        f"{HOURS_SHARE:.0%} are allowed.",
        evidence=[
            Evidence("Keys of the first company that no question needs", Table.of(["key", "required", "set by"], asked))
        ]
        if asked
        else (),
        ask="Which key takes most hours, on how many assets is it compulsory, and which question needs it there?",
        misconception="everywhere",
    )
    return f"{hours:,.0f} hours, {hours / least:.0%} of the reference's."


# -- twelve weeks later --------------------------------------------------------------------------------------------------


def twelve_weeks_later(lab: Lab) -> Any:
    """What the tagger finds on unseen worlds, by how the data was hidden; questions answered by the vocabulary."""
    from workshop.plots import BLUE, GREY, ORANGE, plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(8.8, 3.3))
    try:
        due = [c for c in _all_tagged(lab) if c["kind"]]
    except CheckFailed:
        due = []
    names = list(FOUND_BY.values())
    shares = [
        np.mean([c["direct"] for c in due if c["found_by"] == b]) if any(c["found_by"] == b for c in due) else 0.0
        for b in FOUND_BY
    ]
    left.barh(names, shares, color=BLUE)
    left.set(xlim=(0, 1), xlabel="share of personal columns found")
    left.invert_yaxis()
    total = np.mean([c["direct"] for c in due]) if due else None
    left.set_title("Task a is not done" if total is None else f"{total:.1%} found on five worlds", fontsize=10)
    try:
        counts = [_answered(lab, a)[0] for a in ("compliance", "discovery")]
    except CheckFailed:
        counts = None
    free = [Key(f"asset.{f['fact']}", f["fact"], False, "none", "owner") for f in _companies(lab)[0][0]]
    before = [0, 0]
    for company in _companies(lab):
        year = _year(company, free)
        for q in company[1]:
            before[q["audience"] == "discovery"] += year.answered[q["question_id"]] >= q["least_share"]
    at = np.arange(2)
    right.bar(at - 0.2, before, 0.4, color=GREY, label="free tags, as today")
    if counts:
        right.bar(at + 0.2, counts, 0.4, color=ORANGE, label="your vocabulary")
    right.set_xticks(at, ["auditors", "people who look for data"])
    right.set(ylabel="questions answered, of 60", ylim=(0, 78))
    right.set_title("Task b is not done" if counts is None else f"{sum(counts)} of 120 questions answered", fontsize=10)
    right.legend(fontsize=8, loc="upper center", ncols=2)
    figure.tight_layout()
    plt.close(figure)
    return figure
