"""What lab 2.9 judges.

Task a. Answers to the questions of this world and of two others, against those that the subject computes from the whole record.
Evidence is judged by what it shows: each question has its proof, step by step, and the steps of cited rows alone are taken.

Task b. Parts of labs 2.1, 2.2, 2.5, 2.6 and 2.8, at work together on a small world: twenty-five findings against how that world
was made. "reference" is the solved cell of that lab, on this world.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from hashlib import sha256
from types import ModuleType
from typing import Any

from workshop.audit import QUESTIONS, record_of
from workshop.borrowed import choices, named
from workshop.checks import CheckFailed, Evidence, LearnerError, as_number, as_table, check, expect
from workshop.masking import ENVIRONMENTS, masked
from workshop.reference import solved_lab
from workshop.table import Table
from workshop.topics import load_checks, topic
from workshop.trusted import JudgedDatabase, Lab, World, copies_of
from workshop.world.build import history

SUBJECTS = ("audit",)
IMPORTS = ("sqlglot", "sqlglot.optimizer.qualify", "sqlglot.optimizer.scope")

HINTS = {
    "a": (
        "Write one function for each topic and begin with `who could`: it is the shortest. Which two rows of the record "
        "does it take to show that one person could?",
        "`where is` and `what shows` need the same thing: the columns that hold a kind at a moment. Start from the tags and "
        "follow edges that hold then until nothing new comes. Keep for each column the rows by which you came to it.",
        "Test your evidence as the regulator does: keep only the rows of the record whose id you cite, and call your own "
        "function on that record. Does it give the same answer?",
    ),
    "b": (
        'Begin with all five as "reference", then put in your own, one after the other, and run the check after each.',
        "The table of findings says which of the twenty-five are not as they should be. Two rows of it belong together: what "
        "the tagger misses is in the clear in `dev`.",
        "The shortest to bring are access_policy (2.2 a), plan (2.6 b) and column_lineage (2.5 a).",
    ),
}

MISCONCEPTIONS = {
    "copies": "Nobody tags an extract. What goes into it is personal all the same, and what is made of it.",
    "today": "The question is about a moment. What stood, held and was in force then?",
    "bounds": "From is included, until is not: what ends at a moment does not hold at it.",
    "one_edge": "An extract of an extract of a table: follow the edges until nothing new comes.",
    "decision": "Who was refused has seen nothing.",
    "rightful": "Asked is what should not have been let through.",
    "holds": "A hold is of a person, of a class or of all, from a day until another. Which of these have you looked at?",
    "masks": "Only keep shows a value as it is.",
    "nothing_cited": "An answer without evidence is an opinion.",
    "everything_cited": "Who sends the whole archive has shown nothing: somebody else has to look for it.",
    "half_a_chain": "That a column of an extract holds a number is shown by the tag at the other end, and each edge between.",
    "all_borrowed": "With five references the platform is governed by us.",
    "names_only": "What the tags miss, masks and lineage miss as well.",
    "no_basis": "Who asked for something may not have it yet.",
    "no_holds": "What is held does not go, whatever the schedule says.",
    "tables_only": "That a table goes into another says nothing about which of its columns do.",
}
# What an answer overlooks that is nearly right, as in the subject's near_answers.
TELLS = {
    "copies left out": "copies", "edges of all times": "today", "today's edges": "today", "one edge only": "one_edge",
    "the end included": "bounds", "the beginning excluded": "bounds", "grants of all times": "today",
    "open grants only": "today", "the newest rules": "today", "the version before": "bounds", "refused ones too": "decision",
    "rightful ones too": "rightful", "no holds": "holds", "holds on any class": "holds", "no holds on all classes": "holds",
    "held on the day of lifting": "bounds", "not held on the day of placing": "bounds", "holds that were lifted": "holds",
    "due a day later": "bounds", "masked ones too": "masks", "partial ones too": "masks",
}  # fmt: skip

TOPICS = ("where is", "who could", "who did", "what is left", "what shows")
OTHERS = 2
MORE_ROWS, MOST_ROWS, READ_SHARE = 1.5, 5, 0.8
LEAST_RIGHT, OWN_PARTS, EACH = 22, 3, 5
# Of its own five; a tagger may err in a column or two.
OWN_RIGHT = {"tag_columns": 4, "access_policy": 5, "column_lineage": 5, "plan": 5, "masked_views": 5}


# -- task a ------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Proof:
    """How rows of the record lead to an answer. ``steps``: (id of a row, what has to be shown before, what it then shows), None:
    nothing has to; ``goals``: what has to be shown; ``told``: what counts as a line of an answer; ``known``: ids of rows of which
    the regulator knows that they are there."""

    steps: list[tuple[str, Any, Any]]
    goals: set[Any]
    told: set[Any]
    known: set[str]


@dataclass(frozen=True)
class Right:
    """The answer to a question, how many rows show it and how; ``near``: by what they overlook, answers that are nearly right."""

    lines: set[Any]
    needed: int
    proof: Proof
    near: dict[str, set[Any]]


@dataclass
class Asked:
    """A question with its world's record, the right answer and how many rows show it; and what the learner said."""

    number: int
    question: Mapping[str, Any]
    record: Mapping[str, list[dict[str, Any]]]
    right: set[Any]
    needed: int
    proof: Proof
    near: Mapping[str, set[Any]]
    said: set[Any] | None = None
    cited: Sequence[str] = ()

    @property
    def is_right(self) -> bool:
        """Whether the answer is."""
        return self.said == self.right

    @property
    def where(self) -> str:
        """Which one it is, in words."""
        q = self.question
        about = [
            f"{k} {q[k]}" for k in ("kind", "environment", "subject_id", "from_at", "until_at") if q[k] is not None
        ]
        of = "this world" if self.number == 0 else f"another world ({self.number} of {OTHERS})"
        return f"question {q['question_id']} of {of}, {q['topic']!r} ({', '.join(about)})"


def _records(lab: Lab) -> list[tuple[list[dict[str, Any]], dict[str, list[dict[str, Any]]]]]:
    def make() -> list[tuple[list[dict[str, Any]], dict[str, list[dict[str, Any]]]]]:
        worlds, rng = [lab.world, *lab.worlds(OTHERS)], lab.rng("order")
        found = []
        for number, world in enumerate(worlds):
            record = record_of(lambda sql, w=world: w.sql(sql).dicts())
            # Nothing is said of the order of rows, so nothing may depend on it.
            mixed = {part: [rows[int(k)] for k in rng.permutation(len(rows))] for part, rows in record.items()}
            if number < 2:  # once the newest version first, once last: neither place says which is in force
                mixed["versions"].sort(key=lambda v: v["valid_from_at"], reverse=number == 0)
            found.append((world.sql(QUESTIONS).dicts(), mixed))
        return found

    return lab.kept("records", make)


def _truth(lab: Lab) -> list[list[Right]]:
    def make() -> list[list[Right]]:
        made, found = history("audit"), []
        for questions, record in _records(lab):
            near, rights = made.near_answers(record), []
            for q in questions:
                answer, evidence = made.answer(q, record)
                others = {why: other(q) for why, other in near[q["topic"]].items()}
                rights.append(Right(answer, len(evidence), _proof(q, record, answer), others))
            found.append(rights)
        return found

    return lab.kept("truth", make)


def _proof(question: Mapping[str, Any], record: Mapping[str, list[dict[str, Any]]], right: set[Any]) -> Proof:
    """The steps of a right answer, by the definitions of the subject."""
    made = history("audit")
    topic, kind, at = question["topic"], question["kind"], question["from_at"]
    entries = made.used(record, question) if topic == "who did" else []
    moments = [e["logged_at"] for e in entries] + ([at] if topic == "who could" else [])
    versions = [v for v in (made.version_at(record, m) for m in moments) if v]
    steps: list[tuple[str, Any, Any]] = []
    goals = told = right
    if topic in ("where is", "what shows"):
        places = made.holding(record, kind, at)
        steps += [(t["id"], None, (t["table_name"], t["column_name"])) for t in record["tags"] if t["kind"] == kind]
        for e in record["edges"]:
            source = (e["input_table"], e["input_column"])
            if source in places and made.stands(e, at):
                steps.append((e["id"], source, (e["output_table"], e["output_column"])))
        for m in record["masks"] if topic == "what shows" else ():
            place = (m["table_name"], m["column_name"])
            if m["environment"] == question["environment"] and m["mask"] == "keep" and place in places:
                steps.append((m["id"], place, ".".join(place)))
        if topic == "where is":
            goals = told = set(places)
    elif topic == "who could":
        roles = {r for v in versions for r in v["rules"].get(kind, ())}
        grants = [g for g in record["grants"] if g["role"] in roles and made.stands(g, at)]
        steps += [(g["id"], None, g["person_id"]) for g in grants]
    elif topic == "who did":
        steps += [(e["id"], None, e["seq"]) for e in entries if e["seq"] in right]
    else:
        rows = {r["id"]: r for r in record["rows"] if r["subject_id"] == question["subject_id"]}
        told = set(rows)
        steps += [(row, None, row) for row in rows]
        for row, state in right:
            keep = made.held_by(record, rows[row], at.date()) if state == "held" else [rows[row]]
            steps += [(x["id"], row, (row, state)) for x in keep]
    return Proof(steps, goals, told, {e["id"] for e in entries} | {v["id"] for v in versions})


def _items(value: Any, what: str) -> list[Any]:
    """The elements of a list, tuple, set or one-column table."""
    if isinstance(value, Table) and len(value.columns) == 1:
        return [r[0] for r in value.rows]
    expect(
        isinstance(value, list | tuple | set | frozenset), f"{what}: a list was expected, this is {str(value)[:80]!r}."
    )
    return list(value)


def _plain(value: Any) -> Any:
    """A part of an answer in one form: whole numbers as int, pairs as tuples."""
    if isinstance(value, list | tuple):
        return tuple(_plain(v) for v in value)
    number = as_number(value)
    return int(number) if number is not None and number.is_integer() else value


def _answered(lab: Lab) -> list[Asked]:
    """All questions with what the learner says."""

    def make() -> list[Asked]:
        found = []
        for number, ((questions, record), truth) in enumerate(zip(_records(lab), _truth(lab), strict=True)):
            table = as_table(
                lab.call("answers", questions, record), "What answers returns", ["question_id", "answer", "evidence"]
            )
            said: dict[Any, tuple[set[Any], list[str]]] = {}
            for row in table.dicts():
                which = _plain(row["question_id"])
                expect(which not in said, f"answers returned two rows for question {which}; one was expected.")
                said[which] = (
                    {_plain(v) for v in _items(row["answer"], f"The answer to question {which}")},
                    [str(v) for v in _items(row["evidence"], f"The evidence for question {which}")],
                )
            known = {q["question_id"] for q in questions}
            expect(
                not set(said) - known,
                f"answers returned rows for questions that nobody asked: {sorted(set(said) - known, key=str)[:5]}.",
            )
            for q, right in zip(questions, truth, strict=True):
                mine, cited = said.get(q["question_id"], (None, []))
                found.append(Asked(number, q, record, right.lines, right.needed, right.proof, right.near, mine, cited))
        return found

    return lab.once("answered", make)


def _overlooked(wrong: Sequence[Asked]) -> str | None:
    """What the answers to a topic overlook, if one thing explains all that is wrong."""
    whys = None
    for a in wrong:
        mine = [why for why, other in a.near.items() if other == a.said]
        whys = mine if whys is None else [w for w in whys if w in mine]
        if not whys:
            return None
    return whys[0] if whys else None


def _difference(a: Asked) -> Evidence:
    said = a.said or set()
    rows = [("missing from yours", v) for v in sorted(a.right - said, key=str)[:6]]
    rows += [("only in yours", v) for v in sorted(said - a.right, key=str)[:6]]
    shown = [(where, *v) if isinstance(v, tuple) else (where, v) for where, v in rows]
    width = max((len(r) for r in shown), default=2)
    return Evidence(
        a.where, Table.of(["", "answer", "state", " "][:width], [r + ("",) * (width - len(r)) for r in shown])
    )


def _expect_topic(lab: Lab, name: str, why: str) -> str:
    asked = [a for a in _answered(lab) if a.question["topic"] == name]
    wrong = [a for a in asked if not a.is_right]
    if wrong:
        overlooked = _overlooked([a for a in wrong if a.said is not None])
        a = min(wrong, key=lambda a: (a.said is None, len((a.said or set()) ^ a.right)))
        if a.said is None:
            raise CheckFailed(f"{a.where} has no answer. Each question gets a row, also where the list is empty.")
        raise CheckFailed(
            f"{len(wrong)} of {len(asked)} questions {name!r} are answered wrongly. {why} In {a.where} "
            f"{len(a.right - a.said)} are missing and {len(a.said - a.right)} too many."
            + (f" It looks like this: {overlooked}." if overlooked else ""),
            evidence=_difference(a),
            ask="Which words of the task speak of that?" if overlooked else None,
            misconception=TELLS.get(overlooked or ""),
        )
    return f"{len(asked)} of {len(asked)} questions, on three worlds."


@check("a", "where personal data is, copies included", points=0.8)
def where_is(lab: Lab) -> str:
    """Fifteen questions of three worlds."""
    return _expect_topic(lab, "where is", "What is not named here is not erased, not masked and not reported.")


@check("a", "who could use it at a moment", points=0.8)
def who_could(lab: Lab) -> str:
    """Fifteen questions of three worlds."""
    return _expect_topic(lab, "who could", "After a leak these are the people who are asked first.")


@check("a", "who did, though the rules did not let them", points=0.8)
def who_did(lab: Lab) -> str:
    """Fifteen questions of three worlds."""
    return _expect_topic(lab, "who did", "Each of these has to be told to somebody within 72 hours.")


@check("a", "what is left of a person, and why", points=0.8)
def what_is_left(lab: Lab) -> str:
    """Fifteen questions of three worlds."""
    return _expect_topic(
        lab, "what is left", "Two fines lie close together here: one for what was kept, one for what was not."
    )


@check("a", "what an environment shows in the clear", points=0.8)
def what_shows(lab: Lab) -> str:
    """Fifteen questions of three worlds."""
    return _expect_topic(lab, "what shows", "Developers' machines are where data leaks from.")


def _right_ones(lab: Lab) -> list[Asked]:
    asked = _answered(lab)
    right = [a for a in asked if a.is_right]
    expect(
        len(right) >= READ_SHARE * len(asked),
        f"{len(right)} of {len(asked)} answers are right; evidence is read once {READ_SHARE:.0%} are.",
    )
    return right


def _led_to(steps: Iterable[tuple[Any, Any]]) -> set[Any]:
    """All that follows from steps (premise, conclusion), where None is given."""
    onward: dict[Any, list[Any]] = {}
    for premise, conclusion in steps:
        onward.setdefault(premise, []).append(conclusion)
    found, todo = set(), [None]
    while todo:
        new = set(onward.get(todo.pop(), ())) - found
        found |= new
        todo += new
    return found


def _shown(a: Asked) -> set[Any]:
    """What the cited rows alone lead to."""
    cited = set(a.cited)
    return _led_to((premise, conclusion) for row, premise, conclusion in a.proof.steps if row in cited)


def _shows(a: Asked) -> bool:
    """Whether the cited rows alone lead to the answer. Of "who did" the regulator knows how many entries there are."""
    return a.proof.known <= set(a.cited) and a.proof.goals <= _shown(a)


def _named_rows(a: Asked, ids: set[str]) -> str:
    """Versions in force and entries of the period, of which the regulator knows."""
    versions = sum(v["id"] in ids for v in a.record["versions"])
    entries = len(ids) - versions
    parts = [f"versions in force ({versions})"] * bool(versions) + [f"entries of the period ({entries})"] * bool(
        entries
    )
    return " and ".join(parts)


def _buried(a: Asked) -> bool:
    """Whether so much is cited that somebody else has to look for the evidence in it."""
    return len(set(a.cited)) > MOST_ROWS * a.needed + MOST_ROWS


@check("a", "the evidence shows the answer by itself", points=1.5)
def evidence_shows(lab: Lab) -> str:
    """Each question that is answered right is answered again from the cited rows alone."""
    asked = _right_ones(lab)
    for a in asked:
        known = {r["id"] for rows in a.record.values() for r in rows}
        strange = [c for c in a.cited if c not in known]
        expect(not strange, f"The evidence for {a.where} cites {strange[:3]}; no row of the record has such an id.")
    buried = [a for a in asked if _buried(a)]
    if buried:
        a = max(buried, key=lambda a: len(set(a.cited)) / a.needed)
        raise CheckFailed(
            f"For {len(buried)} of {len(asked)} right answers more than {MOST_ROWS} times as many rows are cited as show them: "
            f"{len(set(a.cited)):,} where {a.needed} do, for {a.where}. The regulator sends such boxes back.",
            ask="Which of these rows could be lost, and the answer would still follow?",
            misconception="everything_cited",
        )
    poor = [a for a in asked if not _shows(a)]
    if poor:
        a = poor[0]
        cited = set(a.cited)
        got = _shown(a) & a.proof.told
        absent = a.proof.known - cited
        raise CheckFailed(
            f"The evidence for {len(poor)} of {len(asked)} right answers does not show them. Among the {len(cited)} rows cited "
            f"for {a.where}, "
            + (
                f"what the regulator knows of is missing: {_named_rows(a, absent)}."
                if absent
                else f"too little leads to the answer: from them alone one comes to {len(got)} where {len(a.right)} are right."
            ),
            evidence=Evidence(
                "rows cited, by list of the record",
                Table.of(
                    ["list", "cited"],
                    [(p, sum(r["id"] in set(a.cited) for r in rows)) for p, rows in a.record.items()],
                ),
            ),
            ask="If all other rows of the record were lost: how would you know?",
            misconception="nothing_cited"
            if not a.cited
            else "half_a_chain"
            if a.question["topic"] in ("where is", "what shows")
            else None,
        )
    return f"All {len(asked)} right answers follow from the rows cited."


@check("a", "the evidence is no more than is needed", points=0.5)
def evidence_is_lean(lab: Lab) -> str:
    """Rows cited against rows that suffice, over the questions that are answered right and shown."""
    asked = [a for a in _right_ones(lab) if _shows(a) and not _buried(a)]
    expect(asked, "No right answer is shown by its evidence yet.")
    of = {t: [a for a in asked if a.question["topic"] == t] for t in TOPICS}
    counts = {t: (sum(len(set(a.cited)) for a in mine), sum(a.needed for a in mine)) for t, mine in of.items() if mine}
    most = max(counts, key=lambda t: counts[t][0] / counts[t][1])
    cited, needed = counts[most]
    worst = max(of[most], key=lambda a: len(set(a.cited)) - a.needed)
    expect(
        cited <= MORE_ROWS * needed,
        f"For the questions {most!r} you cite {cited:,} rows where {needed:,} show the same ({MORE_ROWS:g} times as many are "
        f"allowed). Most of them for {worst.where}: {len(set(worst.cited))} instead of {worst.needed}.",
        ask="Which of these rows could be lost, and the answer would still follow?",
        misconception="everything_cited",
    )
    return f"{sum(c for c, _ in counts.values()):,} rows cited, {sum(n for _, n in counts.values()):,} needed."


# -- task b ------------------------------------------------------------------------------------------------------------------


def _of(topic_id: str) -> ModuleType:
    """The checks of another lab of the module."""
    return load_checks(topic(topic_id)).module


@dataclass(frozen=True)
class Part:
    """One decision: its name here and in its lab, and how what it does on the audited world is read (from that lab, for this
    one)."""

    name: str
    topic: str
    task: str
    read: Callable[[Lab, Lab], Any]


COLUMNS = """
select asset_id, table_schema || '.' || table_name as table_name, column_name
from ops.columns
join ops.tables using (asset_id)
order by asset_id, column_no
"""


def _audited(lab: Lab) -> World:
    """The platform that nobody has seen."""
    return lab.worlds(OTHERS)[-1]


def _tags(mine: Lab, lab: Lab) -> dict[tuple[str, str], str]:
    """Kind by column that the tagger calls direct. It gets what it got in its lab, and not the catalogue's tags."""
    of, world = _of("2.1"), _audited(lab)
    tables = [*_of("2.8").tables_of(world), "ops.tables", "ops.columns", "ops.people"]
    database = mine.database(copies_of(tables), with_world=world)
    try:
        got = mine.call("tag_columns", database)
    finally:
        database.close()
    said = as_table(got, "What tag_columns returns", ["asset_id", "column_name", "tag"])
    columns = of.read_tags(said, world.sql(COLUMNS).dicts())
    return {(c["table_name"], c["column_name"]): c["said"] for c in columns if c["direct"]}


def _access(mine: Lab, lab: Lab) -> dict[str, Any]:
    needs, grants, conflicts, today, _ = _company(lab)
    got = mine.call("access_policy", needs, grants, conflicts, today)
    rules, revoke = _of("2.2").read_access_policy(got)
    return {"rules": rules, "revoke": set(revoke)}


def _company(lab: Lab) -> tuple[list[dict], list[dict], list[dict], date, list[str]]:
    """Needs, grants and conflicts of the audited world, today, and two roles that one person alone holds, who is in a conflict
    with another role: there the first, or the second, of the two has to stay."""

    def make() -> tuple[list[dict], list[dict], list[dict], date, list[str]]:
        made, stands = history("access"), history("audit").stands
        tables = ("role_needs", "grants", "duty_conflicts")
        needs, grants, conflicts = (_audited(lab).sql(f"from ops.{t} order by all").dicts() for t in tables)
        now = made.TODAY
        used = {r for roles in made.rules_from(needs, now.date()).values() for r in roles}
        drawn = {r: sha256(f"{r} {grants}".encode()).digest() for r in ("analyst", "marketing", "care")}
        lone = sorted(drawn, key=lambda r: (r not in used, drawn[r]))
        for alone, other, is_first in ((lone[0], lone[2], True), (lone[1], "engineer", False)):
            busy = {g["person_id"] for g in grants if g["role"] != alone and stands(g, now)}
            holders = [g for g in grants if g["role"] == alone and stands(g, now)]
            person = next(g["person_id"] for g in holders if g["person_id"] not in busy)
            for g in holders:
                if g["person_id"] != person:
                    g["valid_to_at"] = now - timedelta(days=1)
            grant = {
                "person_id": person,
                "role": other,
                "granted_by": person,
                "valid_from_at": now - timedelta(days=30),
            }
            grants.append(grant | {"valid_to_at": None})
            pair = (alone, other) if is_first else (other, alone)
            conflicts.append(dict(zip(("role_a", "role_b"), pair, strict=True)))
        return needs, grants, conflicts, now.date(), lone[:2]

    return lab.kept("company", make)


def _extracts(world: World) -> list[dict[str, Any]]:
    """Today's versions of the extracts."""
    return world.sql("from ops.extracts where valid_to_at is null order by table_name").dicts()


def _schema(world: World) -> dict[str, dict[str, str]]:
    """Columns with types of tables and extracts."""
    found: dict[str, dict[str, str]] = {}
    for table, column, of in world.sql("""
        select table_schema || '.' || table_name, column_name, data_type
        from ops.columns
        join ops.tables using (asset_id)
        order by asset_id, column_no
    """).rows:
        found.setdefault(table, {})[column] = of
    for table, column in world.sql(
        "select distinct output_table, output_column from ops.extract_edges where valid_to_at is null order by all"
    ).rows:
        found.setdefault(table, {})[column] = "VARCHAR"
    return found


def _lineage(mine: Lab, lab: Lab) -> dict[str, set[tuple[str, str, str]]]:
    """By extract (column, input table, input column) of the DIRECT edges of its statement."""
    schema, found = _schema(_audited(lab)), {}
    for extract in _extracts(_audited(lab)):
        got = mine.call("column_lineage", extract["sql"], schema)
        edges = _of("2.5").read_edges(got, f"column_lineage of {extract['table_name']}")
        found[extract["table_name"]] = {e[:3] for e in edges if e[3] == "DIRECT"}
    return found


def _schedule(lab: Lab) -> tuple[Any, list[date]]:
    """Rows with awkward days, and the days on which the schedule is looked at: the last of a February, and one before the end of
    a long month."""

    def make() -> tuple[Any, list[date]]:
        of, there = _of("2.6"), lab.of("2.6")
        february = of.leap_day(there)
        days = [february, february.replace(month=1, day=30)]
        places = sorted(set(lab.world.sql("select jurisdiction from ops.retention_schedule").column("jurisdiction")))
        return of.records_for(there, "audit", days, places, 12), days

    return lab.kept("schedule", make)


def _planned(mine: Lab, lab: Lab) -> set[tuple[str, str, int, date]]:
    """(rule, table, key, day) that is planned."""
    records, days = _schedule(lab)
    database, found = _of("2.6").database_of(mine, records), set()
    try:
        for day in days:
            got = mine.call("plan", database, day)
            got = list(got) if isinstance(got, set | frozenset) else got
            rows = as_table(got, "plan", ("rule_id", "table_name", "row_key")).rows
            found |= {(str(r), str(t), int(k), day) for r, t, k in rows}
    finally:
        database.close()
    return found


MASKED = {"birth_date": "generalise", "email": "keyed_format", "phone": "keyed_format", "bank_account": "keyed_format",
          "person_name": "keyed", "card_number": "partial", "national_id": "fixed", "ip_address": "keyed"}  # fmt: skip
DEV_QUASI = {
    "birth_year": "generalise",
    "birth_decade": "keep",
    "country": "keep",
    "city": "withhold",
    "postcode": "withhold",
}


def _masks(mine: Lab, lab: Lab) -> Callable[[Mapping[tuple[str, str], str]], set[tuple[str, str]]]:
    """For tags: the columns that do not show in dev what they should. A function, as it depends on the tags."""
    return lambda tags: _wrongly_shown(mine, lab, tags)


def _wrongly_shown(mine: Lab, lab: Lab, tags: Mapping[tuple[str, str], str]) -> set[tuple[str, str]]:
    of, world = _of("2.8"), _audited(lab)
    name = f"audited, {sha256(repr(sorted(tags.items())).encode()).hexdigest()}"
    case = of.Case(mine, world, of.tables_of(world), name, _given(lab))
    _retag(case.database, _fitting(lab, tags))
    try:
        case.make("dev")
        shown = case.shape("dev")
        wrong = {
            (c["table"], c["column_name"])
            for c in case.columns
            if c["column_name"] not in shown.get(c["table_name"], {})
        }
        names = {c["table_name"]: c["table"] for c in case.columns}
        if shown:
            wrong |= {(names[table], column) for _, table, column, *_ in of.differences(case, "dev")}
        return wrong
    finally:
        case.database.close()


def _given(lab: Lab) -> Any:
    """What masks are put on in the audited world, by which keys and policy: the case of lab 2.8."""

    def make() -> Any:
        of, rng = _of("2.8"), lab.rng("keys")
        policy = [{"environment": "dev", "kind": k, "mask": m} for k, m in (MASKED | DEV_QUASI).items()]
        columns = of.columns_of(_audited(lab), of.tables_of(_audited(lab)))
        return of.Given({e: rng.bytes(12).hex() for e in ENVIRONMENTS}, policy, columns)

    return lab.kept("masks are put on", make)


def _fitting(lab: Lab, tags: Mapping[tuple[str, str], str]) -> dict[tuple[str, str], str]:
    """The tags, but what a mask cannot be put on (a number that is said to be an address) is withheld."""
    types = {(c["table"], c["column_name"]): c["data_type"] for c in _given(lab).columns}
    fits = {p: types[p] == ("DATE" if k == "birth_date" else "VARCHAR") for p, k in tags.items()}
    return {p: k if fits[p] else "free_text" for p, k in tags.items()}


def _retag(database: JudgedDatabase, tags: Mapping[tuple[str, str], str]) -> None:
    """The tagger's word instead of the catalogue's, but for columns that tell who somebody is only with others."""
    lists = [[t for t, _ in tags], [c for _, c in tags], list(tags.values())]
    said = (
        "(select asset_id, x.column_name, x.kind from (select unnest($1::varchar[]) as table_name, "
        "unnest($2::varchar[]) as column_name, unnest($3::varchar[]) as kind) x "
        "join ops.tables t on x.table_name = t.table_schema || '.' || t.table_name)"
    )
    quasi = "(select asset_id, column_name from ops.column_tags where tag = 'privacy.class:quasi')"
    database.rows(
        f"create temp table said as select asset_id, column_name, kind from {said} union all select asset_id, column_name, null "
        f"from ops.columns where (asset_id, column_name) not in (select (asset_id, column_name) from {said}) "
        f"and (asset_id, column_name) not in (select (asset_id, column_name) from {quasi})",
        lists,
    )
    database.rows(
        "delete from ops.column_tags where (asset_id, column_name) in (select (asset_id, column_name) from said)"
    )
    database.rows(
        "insert into ops.column_tags select asset_id, column_name, if(kind is null, 'privacy.class:none', "
        "'privacy.class:direct') from said union all select asset_id, column_name, 'privacy.kind:' || kind from said "
        "where kind is not null"
    )
    database.rows("drop table said")


ALL = (
    Part("tag_columns", "2.1", "a", _tags),
    Part("access_policy", "2.2", "a", _access),
    Part("column_lineage", "2.5", "a", _lineage),
    Part("plan", "2.6", "b", _planned),
    Part("masked_views", "2.8", "b", _masks),
)


def _references(lab: Lab) -> dict[str, Any]:
    """What the references do on the audited world, but for the masks, which rest on tags."""

    def make() -> dict[str, Any]:
        found: dict[str, Any] = {}
        for part in ALL[:-1]:
            with solved_lab(topic(part.topic), lab) as solved:
                found[part.name] = part.read(solved, lab)
        return found

    return lab.kept("references", make)


def _by_tag(lab: Lab) -> dict[str | None, set[tuple[str, str]]]:
    """What is shown wrongly with the reference's masks if every column is tagged with one kind; None: with none. Its mask of a
    column rests on that column's tag alone, and is that of workshop.masking."""

    def make() -> dict[str | None, set[tuple[str, str]]]:
        given, wrong = _given(lab), {kind: set() for kind in (None, *_of("2.8").KINDS)}
        masks = {r["kind"]: r["mask"] for r in given.policy} | {None: "keep"}

        def shown(kind: str | None, value: Any) -> str | None:
            under = masked(masks.get(kind, "withhold"), str(kind), value, given.keys["dev"])
            return None if under is None else str(under)

        for c in given.columns:
            name = c["column_name"].replace('"', '""')
            values = [v for (v,) in _audited(lab).sql(f'select distinct "{name}" from {c["table"]}').rows]
            for tag, found in wrong.items():
                # What tells who somebody is only with others has its tags from the catalogue, if the tagger gives it none.
                kind = c["kind"] if tag is None and c["is_quasi"] else tag
                if kind != c["kind"] and any(shown(kind, v) != shown(c["kind"], v) for v in values):
                    found.add((c["table"], c["column_name"]))
        return wrong

    return lab.kept("wrong by tag", make)


def _under_reference_masks(lab: Lab, tags: Mapping[tuple[str, str], str]) -> set[tuple[str, str]]:
    """What is shown wrongly with the reference's masks and these tags."""
    wrong, fitting = _by_tag(lab), _fitting(lab, tags)
    places = [(c["table"], c["column_name"]) for c in _given(lab).columns]
    return {p for p in places if p in wrong[fitting.get(p)]}


def _or_all(lab: Lab, wrong: Callable[[], set[tuple[str, str]]]) -> set[tuple[str, str]]:
    """What is shown wrongly; everything, where no schema can be made of such tags (a number masked as a date)."""
    try:
        return wrong()
    except LearnerError:
        return set(_due(lab)["personal"])


def _own_parts(lab: Lab) -> list[Part]:
    chosen = choices(lab, ALL)
    return [part for part in ALL if not chosen[part.name]]


def _enough_own(lab: Lab) -> list[Part]:
    own = _own_parts(lab)
    expect(
        len(own) >= OWN_PARTS,
        f"{len(own)} of the five parts are your own; at least {OWN_PARTS} are asked for.",
        misconception="all_borrowed",
    )
    return own


def _own(lab: Lab) -> dict[str, Any]:
    """What the learner's own parts do, by name."""

    def make() -> dict[str, Any]:
        found = {}
        for part in _own_parts(lab):
            mine = lab.of(part.topic)
            found[part.name] = named(part, lambda p=part, m=mine: p.read(m, lab))
        return found

    return lab.once("own", make)


@dataclass(frozen=True)
class Finding:
    """What the regulator looked at, of which kind, extract or rule; ``fault``: what is not as it should be, "" where all is."""

    part: str
    about: str
    subject: str
    fault: str


def _due(lab: Lab) -> dict[str, Any]:
    """What the regulator looks at on the audited world, and what should be."""

    def make() -> dict[str, Any]:
        world, rng = _audited(lab), lab.rng("findings")
        made = history("audit")
        kinds = history("access").KINDS
        columns = world.sql("""
            select t.table_schema || '.' || t.table_name, p.column_name, p.kind, p.is_quasi
            from truth.personal_columns p
            join ops.tables t using (asset_id)
            order by all
        """).rows
        personal = {(t, c): k for t, c, k, is_quasi in columns if not is_quasi}
        quasi = {(t, c): k for t, c, k, is_quasi in columns if is_quasi}
        edges = world.sql("from ops.extract_edges where valid_to_at is null order by edge_id").dicts()

        def some(items: Sequence[Any], n: int = EACH) -> list[Any]:
            return [items[int(k)] for k in rng.permutation(len(items))[:n]]

        held = [k for k in kinds if sum(v == k for v in personal.values()) >= 2]
        needs, grants, conflicts, today, lone = _company(lab)
        rules = {k: set(r) for k, r in history("access").rules_from(needs, today).items()}
        now = made.TODAY
        holds = {(g["person_id"], g["role"]) for g in grants if made.stands(g, now)}
        records, days = _schedule(lab)
        # Some of roles that one person alone holds, of roles that somebody holds together, and one for which a need has run out.
        ever = {k: {n["role"] for n in needs if n["kind"] == k and n["legal_basis"]} for k in kinds}
        access: list[str] = []
        for roles in (*({r} for r in lone), {"finance", "fraud"}):
            if not any(rules.get(k, set()) & roles for k in access):
                access += some([k for k in kinds if rules.get(k, set()) & roles], 1)
        access += some([k for k in kinds if ever[k] != rules.get(k, set()) and rules.get(k) and k not in access], 1)
        access += some([k for k in kinds if rules.get(k) and k not in access], EACH - len(access))
        extracts = _extracts(world)
        keyed = [e["output_table"] for e in edges if e["output_column"] == "row_ref"]
        unions = [e for e in extracts if keyed.count(e["table_name"]) > 1]  # rows of two tables
        picked = some(unions, 2) + some([e for e in extracts if e not in unions], EACH - 2)
        plan = {(*entry, day) for day in days for entry in _of("2.6").due_rows(records, day)}
        busy = sorted({r for r, *_ in plan})
        copies = {t for _, t, *_ in plan} & {c["table_name"] for c in records.rows["table_copies"]}
        by_year = {r["rule_id"] for r in records.rows["retention_schedule"] if r["counts_from"] == "year end"}
        chosen = some(sorted({r for r, t, *_ in plan if t in copies}), 2)
        chosen += some([r for r in busy if r in by_year and r not in chosen], 1)
        chosen += some([r for r in busy if r not in chosen], EACH - len(chosen))
        # A date that is generalised, a number of which four digits stay, a fixed text and a column that is not there tell most
        # masks apart.
        seen = [k for k in ("birth_date", "card_number", "national_id") if k in personal.values()]
        seen += some(sorted({k for k in quasi.values() if DEV_QUASI.get(k) == "withhold"}), 1)
        seen += some([k for k in held if k in MASKED and k not in seen], EACH - len(seen))
        asked = some(held)
        edges = [(e["output_table"], e["output_column"], e["input_table"], e["input_column"]) for e in edges]
        return {
            "personal": personal,
            "quasi": quasi,
            "edges": edges,
            "where": {kind: _spread(personal, kind, edges) for kind in asked},
            "holds": holds,
            "conflicts": [(c["role_a"], c["role_b"]) for c in conflicts],
            "rules": rules,
            "plan": plan,
            "tag_columns": asked,
            "access_policy": access,
            "fewest": len(_references(lab)["access_policy"]["revoke"]),
            "column_lineage": [e["table_name"] for e in picked],
            "plan_rules": chosen,
            "masked_views": seen,
        }

    return lab.kept("due", make)


def _spread(
    tags: Mapping[tuple[str, str], str], kind: str, edges: Sequence[tuple[str, str, str, str]]
) -> set[tuple[str, str]]:
    """Columns that hold a kind by tags and edges (output table, output column, input table, input column)."""
    return _led_to([*((None, p) for p, k in tags.items() if k == kind), *((e[2:], e[:2]) for e in edges)])


def _findings(lab: Lab, state: Mapping[str, Any]) -> list[Finding]:
    """Twenty-five looks at a platform under what parts do; ``masked_views``: what is shown wrongly."""
    due, found = _due(lab), []
    edges = [(t, *e) for t, es in state["column_lineage"].items() for e in es]
    for kind in due["tag_columns"]:
        want, got = due["where"][kind], _spread(state["tag_columns"], kind, edges)
        fault = f"{len(want - got)} columns missing, {len(got - want)} too many" if len(want ^ got) > 1 else ""
        found.append(Finding("tag_columns", f"where {kind} is", kind, fault))
    access = state["access_policy"]
    left = due["holds"] - access["revoke"]
    both = [c for c in due["conflicts"] if {p for p, r in left if r == c[0]} & {p for p, r in left if r == c[1]}]
    empty = {r for _, r in due["holds"]} - {r for _, r in left}
    needless = len(access["revoke"]) - due["fewest"]
    lost = {r for _, r in access["revoke"]}
    for kind in due["access_policy"]:
        got, want = access["rules"].get(kind, set()), due["rules"][kind]
        clash = [c for c in both if set(c) & (want | got)]
        fault = f"{', '.join(sorted(got ^ want))} may or may not" if got != want else ""
        fault = fault or (f"somebody is both {clash[0][0]} and {clash[0][1]}" if clash else "")
        fault = fault or (f"nobody is {min(empty & want)} any more" if empty & want else "")
        fault = fault or (f"revocations beyond what is needed: {needless}" if needless > 0 and lost & want else "")
        found.append(Finding("access_policy", f"who may use {kind}", kind, fault))
    for table in due["column_lineage"]:
        want = {e[1:] for e in due["edges"] if e[0] == table}
        got = {e for e in state["column_lineage"].get(table, set())}
        fault = f"{len(want - got)} edges missing, {len(got - want)} too many" if want != got else ""
        found.append(Finding("column_lineage", f"from what {table} is made", table, fault))
    for rule in due["plan_rules"]:
        want, got = ({x for x in plan if x[0] == rule} for plan in (due["plan"], state["plan"]))
        fault = f"{len(want - got)} rows forgotten, {len(got - want)} that must not go" if want != got else ""
        found.append(Finding("plan", f"what goes by rule {rule}", rule, fault))
    for kind in due["masked_views"]:
        wrong = {p for p, k in (due["personal"] | due["quasi"]).items() if k == kind} & state["masked_views"]
        fault = f"{len(wrong)} columns show something else: {'.'.join(min(wrong))}" if wrong else ""
        found.append(Finding("masked_views", f"what dev shows of {kind}", kind, fault))
    return found


def _state(lab: Lab, parts: Sequence[Part]) -> dict[str, Any]:
    """What is in force with some parts the learner's own and the references for the others."""
    own, names = _own(lab), {p.name for p in parts}
    state = _references(lab) | {name: own[name] for name in names}
    tags = state["tag_columns"]
    if "masked_views" not in names:
        state["masked_views"] = _under_reference_masks(lab, tags)
    elif "tag_columns" in names:
        state["masked_views"] = lab.once("own masks, own tags", lambda: _or_all(lab, lambda: own["masked_views"](tags)))
    else:
        state["masked_views"] = lab.once("own masks", lambda: named(ALL[-1], lambda: own["masked_views"](tags)))
    return state


def _sheet(found: Sequence[Finding]) -> Evidence:
    rows = [(f.part, f.about, f.fault) for f in found if f.fault]
    return Evidence("findings of the regulator", Table.of(["part", "looked at", "found"], rows[:12]))


def _tell(found: Sequence[Finding]) -> str | None:
    faults = [f.part for f in found if f.fault]
    most = max(set(faults), key=faults.count) if faults else ""
    tells = {
        "tag_columns": "names_only",
        "access_policy": "no_basis",
        "column_lineage": "tables_only",
        "plan": "no_holds",
    }
    return tells.get(most)


@check("b", "the platform passes under your governance", points=2.5)
def platform_passes(lab: Lab) -> str:
    """Twenty-five findings with all chosen parts at work together."""
    own = _enough_own(lab)
    found = lab.once("findings", lambda: _findings(lab, _state(lab, own)))
    good = sum(not f.fault for f in found)
    expect(
        good >= LEAST_RIGHT,
        f"{good} of {len(found)} are as they should be; {LEAST_RIGHT} are asked for.",
        evidence=_sheet(found),
        ask="To which part do most of these belong? Does one part spoil what another shows?",
        misconception=_tell(found),
    )
    return f"{good} of {len(found)} are as they should be, with {len(own)} parts of your own."


@check("b", "each part of your own holds by itself", points=1.5)
def own_parts_hold(lab: Lab) -> str:
    """Each alone among the references, on its own five findings."""
    own = _enough_own(lab)
    for part in own:
        found = [f for f in _findings(lab, _state(lab, [part])) if f.part == part.name]
        good = sum(not f.fault for f in found)
        expect(
            good >= OWN_RIGHT[part.name],
            f"{part.name} (lab {part.topic}, task {part.task}), with the reference for all others: {good} of {len(found)} are as "
            f"they should be; {OWN_RIGHT[part.name]} are asked for.",
            evidence=_sheet(found),
            ask=f"What does the check of lab {part.topic} say about it?",
            misconception=_tell(found),
        )
    return f"{', '.join(p.name for p in own)}: in order."


# -- twelve weeks later --------------------------------------------------------------------------------------------------------


WORDS = {"person_name": ("name",), "email": ("mail",), "phone": ("phone",), "postal_address": ("address",),
         "birth_date": ("birth",), "national_id": ("tax_id", "id_no"), "bank_account": ("iban", "account"),
         "card_number": ("card", "pan"), "ip_address": ("ip",), "free_text": ("text", "message")}  # fmt: skip


def _usual(lab: Lab) -> dict[str, Any]:
    """What many companies have."""

    def make() -> dict[str, Any]:
        schema = _schema(_audited(lab))
        tags = {
            (t, c): next(k for k, words in WORDS.items() if any(w in c for w in words))
            for t, columns in schema.items()
            for c in columns
            if not t.startswith("extract.") and any(w in c for words in WORDS.values() for w in words)
        }
        rules: dict[str, set[str]] = {}
        for n in _company(lab)[0]:
            if n["legal_basis"]:
                rules.setdefault(n["kind"], set()).add(n["role"])
        records, days = _schedule(lab)
        copies = {c["table_name"] for c in records.rows["table_copies"]}
        plan = {(*x, day) for day in days for x in _of("2.6").due_rows(records, day) if x[1] not in copies}
        state = {
            "tag_columns": tags,
            "access_policy": {"rules": rules, "revoke": set()},
            "column_lineage": {},
            "plan": plan,
        }
        state["masked_views"] = _under_reference_masks(lab, tags)
        return state

    return lab.kept("usual", make)


def twelve_weeks_later(lab: Lab) -> Any:
    """The regulator's sheet under the learner's parts and under what many companies have."""
    from workshop.plots import BLUE, RED, plt

    sheets = {
        "under your parts": _findings(lab, _state(lab, _own_parts(lab))),
        "under what many have": _findings(lab, _usual(lab)),
    }
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained", sharey=True)
    for axis, (title, found) in zip(axes, sheets.items(), strict=True):
        for row, part in enumerate(p.name for p in ALL):
            for column, f in enumerate(f for f in found if f.part == part):
                good = not f.fault
                axis.add_patch(plt.Rectangle((column, row), 0.94, 0.9, color=BLUE if good else RED))
                label = f.subject.replace("extract.", "").replace("_", "\n", 1)
                axis.text(column + 0.47, row + 0.45, label, ha="center", va="center", color="white", fontsize=7.5)
        good = sum(not f.fault for f in found)
        axis.set(xlim=(0, EACH), ylim=(len(ALL), -0.1), xticks=[])
        axis.set_title(f"{good} of {len(found)} in order {title}")
        axis.set_yticks([r + 0.45 for r in range(len(ALL))], [f"{p.name}\n({p.topic})" for p in ALL])
        axis.tick_params(length=0)
        for side in axis.spines.values():
            side.set_visible(False)
    figure.suptitle("What the regulator finds: blue in order, red a finding", fontsize=11)
    plt.close(figure)  # the notebook shows what is returned, and would show an open figure a second time
    return figure
