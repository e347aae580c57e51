"""A year of tagging: what a vocabulary makes owners, stewards and the platform write on three thousand assets, and which
questions the tags then answer.

The rates are those of the lab's text. They follow what catalogue owners report: what nobody has to fill in is filled in for a
third of the assets, beyond a handful of compulsory fields people stop reading them, and a free text is spelled in several ways.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

ASSETS = 3000
PERSONAL_SHARE = 0.3
SETTERS = ("platform", "owner", "steward")
REQUIRED = ("all", "personal", "none")
# Who sets a value: how often it is right, by who knows the fact.
RIGHT = {
    "platform": {"platform": 1.0, "owner": 0.55, "steward": 0.55},
    "owner": {"platform": 0.99, "owner": 0.99, "steward": 0.8},
    "steward": {"platform": 0.99, "owner": 0.9, "steward": 0.99},
}
KEPT_UP = {"platform": 1.0, "owner": 0.8, "steward": 0.97}
FILLED = {"platform": 1.0, "owner": 0.99, "steward": 0.99}
FILLED_IF_OPTIONAL = 0.3
KEYS_WITHOUT_FATIGUE, LOST_A_KEY, LEAST_FILLED = 5, 0.07, 0.3
FOUND_IF_FREE = 0.8
LISTED_IF_OPEN = 0.6
STEWARD_EXTRA_MINUTES = 5


@dataclass(frozen=True)
class Key:
    """One key of a vocabulary. ``fact``: what it says; ``is_closed``: a list of values, else free text; ``required``: one of
    REQUIRED; ``set_by``: one of SETTERS."""

    name: str
    fact: str
    is_closed: bool
    required: str
    set_by: str


@dataclass(frozen=True)
class Year:
    """What came of a year. ``answered``: by question_id, the share of the assets asked about on which all that it needs stands
    and is right; ``hours``: people's work; ``filled``: by fact, the share of assets on which a value stands;
    ``steward_load``: work of the stewards as a share of their hours."""

    answered: Mapping[str, float]
    hours: float
    filled: Mapping[str, float]
    steward_load: float


def run_year(
    keys: Sequence[Key],
    facts: Sequence[Mapping[str, object]],
    questions: Sequence[Mapping[str, object]],
    steward_hours: float,
    rng: np.random.Generator,
) -> Year:
    """One year under a vocabulary. ``facts``, ``questions``: rows of ops.tag_facts and ops.tag_questions; the draws of an
    asset and a fact are the same for every vocabulary."""
    draws = {str(f["fact"]): rng.random((5, ASSETS)) for f in sorted(facts, key=lambda f: str(f["fact"]))}
    personal = rng.random(ASSETS) < PERSONAL_SHARE
    told = {str(f["fact"]): f for f in facts}
    asked_of = {"all": np.ones(ASSETS, bool), "personal": personal, "none": np.zeros(ASSETS, bool)}
    # What an owner has to fill in on an asset, and what stewards have to do in all.
    burden = sum((asked_of[k.required].astype(int) for k in keys if k.set_by == "owner"), np.zeros(ASSETS, int))
    tired = np.maximum(0, burden - KEYS_WITHOUT_FATIGUE) * LOST_A_KEY
    work_h = sum(_hours(k, told[k.fact], asked_of) for k in keys if k.set_by == "steward")
    done = 1.0 if work_h <= steward_hours else steward_hours / work_h
    hours = min(work_h, steward_hours)
    stands = {f: np.zeros(ASSETS, bool) for f in told}
    right = {f: np.zeros(ASSETS, bool) for f in told}
    for key in keys:
        fact, draw = told[key.fact], draws[key.fact]
        share = FILLED[key.set_by] * (done if key.set_by == "steward" else 1)
        if key.set_by == "owner":
            hours += _hours(key, fact, asked_of)
        filled = np.where(asked_of[key.required], share, FILLED_IF_OPTIONAL * share)
        if key.set_by == "owner":
            filled = np.where(asked_of[key.required], np.maximum(LEAST_FILLED, filled - tired), filled)
        elif key.set_by == "platform":
            filled = np.ones(ASSETS)
        there = draw[0] < filled
        true = draw[1] < RIGHT[key.set_by][str(fact["known_by"])]
        changed = draw[2] < 1 - np.exp(-float(fact["changes_per_year"]))
        kept = ~changed | (draw[3] < KEPT_UP[key.set_by] * (done if key.set_by == "steward" else 1))
        is_open = fact["value_count"] is None
        found = draw[4] < ((LISTED_IF_OPEN if is_open else 1.0) if key.is_closed else FOUND_IF_FREE)
        stands[key.fact] |= there
        right[key.fact] |= there & true & kept & found
    answered = {}
    for q in questions:
        about = asked_of[str(q["scope"])]
        good = np.logical_and.reduce([right[f] for f in q["needs"]])
        answered[str(q["question_id"])] = float(good[about].mean())
    load = work_h / steward_hours
    return Year(answered, hours, {f: float(s.mean()) for f, s in stands.items()}, load)


def _hours(key: Key, fact: Mapping[str, object], asked_of: Mapping[str, np.ndarray]) -> float:
    """Hours of filling a key in and keeping it up for a year, where it is required."""
    extra = STEWARD_EXTRA_MINUTES if key.set_by == "steward" else 0
    times = 1 + float(fact["changes_per_year"])
    return int(asked_of[key.required].sum()) * (float(fact["minutes"]) + extra) * times / 60
