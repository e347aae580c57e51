# subject: tagging
# needs: calendar
# makes: ops.tag_facts, ops.tag_questions
"""What could be said about an asset in tags, and the twenty questions that come up every year: ten of regulators and auditors,
ten of people who look for data. Who knows a fact, how often it changes, and what is asked differ by world."""

import duckdb
import numpy as np
import pandas as pd

from workshop.sim import streams
from workshop.sim.tagging import ASSETS, PERSONAL_SHARE, STEWARD_EXTRA_MINUTES, Key, run_year
from workshop.world.seeds import derive_seed

# fact, meaning, who may know it (drawn), values of a closed list (low, high; None: open), changes a year (low, high), minutes.
FACTS = (
    ("personal_kind", "kinds of personal data in it", ("steward",), (8, 14), (0.02, 0.1), 6),
    ("purpose", "purpose for which it is kept", ("owner",), (5, 12), (0.02, 0.12), 4),
    ("legal_basis", "legal basis of the processing", ("steward",), (5, 7), (0.02, 0.08), 8),
    ("jurisdiction", "whose law applies", ("steward", "platform"), (3, 11), (0.01, 0.05), 5),
    ("retention_class", "class that decides how long it is kept", ("steward",), (6, 12), (0.02, 0.1), 5),
    ("shared_outside", "whether a partner gets it", ("owner",), (2, 3), (0.05, 0.2), 2),
    ("owner_team", "team that answers for it", ("platform", "owner"), (30, 30), (0.1, 0.4), 1),
    ("domain", "business domain", ("platform", "owner"), (9, 9), (0.01, 0.05), 1),
    ("entity", "what a row is about", ("owner",), (15, 40), (0.02, 0.1), 3),
    ("freshness", "how old its rows are at most", ("platform", "owner"), (4, 8), (0.1, 0.5), 2),
    ("grain", "what makes a row unique", ("owner",), None, (0.05, 0.2), 4),
    ("certified", "checked by its owner for use by others", ("owner",), (2, 2), (0.1, 0.3), 3),
    ("source_system", "where its rows come from", ("platform", "owner"), (20, 60), (0.02, 0.1), 2),
    ("region_stored", "region in which it lies", ("platform",), (3, 3), (0.01, 0.03), 1),
    ("cost_center", "who pays for it", ("platform", "owner"), (30, 30), (0.05, 0.2), 2),
    ("spoken_name", "what people call it", ("owner",), None, (0.02, 0.1), 2),
    ("report_used_in", "the reports that read it", ("platform",), None, (0.5, 2.0), 5),
    ("sensitivity_note", "what to mind when using it", ("owner",), None, (0.05, 0.2), 6),
)  # fmt: skip
COMPLIANCE = (
    "personal_kind",
    "purpose",
    "legal_basis",
    "jurisdiction",
    "retention_class",
    "shared_outside",
    "region_stored",
)
DISCOVERY = ("domain", "entity", "freshness", "certified", "source_system", "owner_team", "grain", "spoken_name")
BARS = {"compliance": 0.8, "discovery": 0.6}
QUESTIONS = 10
MARGIN = 0.05

COMMENTS = """
comment on table ops.tag_facts is 'What could be said about an asset in tags.';
comment on column ops.tag_facts.fact is 'Key.';
comment on column ops.tag_facts.meaning is 'What it says.';
comment on column ops.tag_facts.known_by is 'Who knows it: platform (its systems say it), owner of the asset, or steward.';
comment on column ops.tag_facts.value_count is 'Values that a closed list would have; null: no list holds them all.';
comment on column ops.tag_facts.changes_per_year is 'Mean number of changes of an asset''s value in a year.';
comment on column ops.tag_facts.minutes is 'Minutes that it takes to fill in by hand, once.';
comment on table ops.tag_questions is 'Questions that the tags alone should answer.';
comment on column ops.tag_questions.question_id is 'Key: c1 to c10 compliance, d1 to d10 discovery.';
comment on column ops.tag_questions.audience is 'compliance or discovery.';
comment on column ops.tag_questions.scope is 'Which assets it is about: all, or those with personal data.';
comment on column ops.tag_questions.needs is 'Facts that it takes, list of ops.tag_facts.fact.';
comment on column ops.tag_questions.least_share is 'Share of those assets that have to be told rightly, for it to be answered.';
"""


def draw(seed: bytes) -> tuple[list[dict], list[dict]]:
    """Facts and questions of one world, rows of the two tables: drawn again until they can all be answered, and not just so."""
    own = derive_seed(seed, "world/tagging")
    for attempt in range(200):
        facts, questions = _draw(streams(own, f"tagging/{attempt}"))
        year = run_year(
            matched(facts, questions), facts, questions, steward_hours(facts, questions), streams(own, "year")
        )
        if all(year.answered[q["question_id"]] > q["least_share"] + MARGIN for q in questions):
            return facts, questions
    raise RuntimeError("no world in two hundred whose questions can be answered")


def matched(facts: list[dict], questions: list[dict]) -> list[Key]:
    """What is asked for, where it is asked for, set by who knows it, from a list where a list can be made."""
    keys = []
    for f in facts:
        scopes = {q["scope"] for q in questions if f["fact"] in q["needs"]}
        if scopes:
            required = "all" if "all" in scopes else "personal"
            keys.append(Key(f["fact"], f["fact"], f["value_count"] is not None, required, f["known_by"]))
    return keys


def _draw(rng: np.random.Generator) -> tuple[list[dict], list[dict]]:
    facts = []
    for name, meaning, knowers, values, changes, minutes in FACTS:
        count = None if values is None else int(rng.integers(values[0], values[1] + 1))
        facts.append(
            {
                "fact": name,
                "meaning": meaning,
                "known_by": knowers[int(rng.integers(len(knowers)))],
                "value_count": count,
                "changes_per_year": round(float(rng.uniform(*changes)), 3),
                "minutes": minutes,
            }
        )
    # Two or three facts of each group are asked for by nobody in a given year.
    asked = {a: _some(pool, len(pool) - 2, rng) for a, pool in (("compliance", COMPLIANCE), ("discovery", DISCOVERY))}
    is_open = {f["fact"] for f in facts if f["value_count"] is None}
    scopes = {fact: "all" if rng.random() < 0.3 else "personal" for fact in COMPLIANCE}
    questions = []
    for audience, letter in (("compliance", "c"), ("discovery", "d")):
        for k in range(QUESTIONS):
            pool = asked[audience]
            needs = _some([f for f in pool if f not in is_open], 2, rng)
            if audience == "discovery":
                # One open fact at most: what is free text is found four times in five.
                needs = [*needs[:1], *_some([f for f in pool if f not in needs[:1]], 1, rng)]
            if k < len(pool):
                needs = sorted({pool[k], *[f for f in needs if f != pool[k]][:1]})
            scope = "all" if audience == "discovery" or all(scopes[f] == "all" for f in needs) else "personal"
            questions.append(
                {
                    "question_id": f"{letter}{k + 1}",
                    "audience": audience,
                    "scope": scope,
                    "needs": sorted(needs),
                    "least_share": BARS[audience],
                }
            )
    return facts, questions


def steward_hours(facts: list[dict], questions: list[dict]) -> float:
    """Hours of the stewards in a year: a third more than what only they know takes, on the assets that are asked about."""
    hours = 0.0
    for f in facts:
        scopes = {q["scope"] for q in questions if f["fact"] in q["needs"]}
        if f["known_by"] == "steward" and scopes:
            assets = ASSETS * (1 if "all" in scopes else PERSONAL_SHARE)
            hours += assets * (f["minutes"] + STEWARD_EXTRA_MINUTES) * (1 + f["changes_per_year"]) / 60
    return round(hours * 1.33 + 50)


def build(con: duckdb.DuckDBPyConnection, seed: bytes, scale: float) -> None:
    """Writes the two tables."""
    facts, questions = draw(seed)
    frame = pd.DataFrame(facts)
    frame["value_count"] = frame["value_count"].astype("Int32")
    con.register("drawn", frame)
    con.execute("create table ops.tag_facts as select * replace (minutes::integer as minutes) from drawn order by fact")
    con.execute("""
create table ops.tag_questions (question_id varchar, audience varchar, scope varchar, needs varchar[], least_share double)
""")
    con.executemany("insert into ops.tag_questions values (?, ?, ?, ?, ?)", [list(q.values()) for q in questions])
    con.unregister("drawn")
    con.execute(COMMENTS)


def _some(pool: list | tuple, n: int, rng: np.random.Generator) -> list:
    return [pool[k] for k in sorted(rng.permutation(len(pool))[:n])]
