"""Years of curating a data catalogue: a central desk, curators in the domains, reviews, escalation, and drift of standards.

Entries (an asset that is new or has changed) arrive by domain and kind, and wait until somebody has curated them. A **model**
says for each domain who curates which kind, which share of the domain's work the desk reviews, and from which backlog on the
desk helps out. The clock goes by weeks, and amounts are real numbers ("4.2 entries were curated"): two years differ in how many
entries arrive, how many hours people have, and how fast standards drift. All of that is drawn before a model acts, so that two
models are compared on the same years (common random numbers; see `workshop.sim.streams`).

One week, in this order:

1. Entries arrive and join a queue: the domain's, or the desk's if the desk curates that kind for that domain.
2. The domain's curators work off their queue with the hours they have; in closed weeks they have none. Of what they do,
   `domain_wrong` is wrong, and the off-standard share of that week is off standard.
3. If what is left in a domain's queue is more work than `escalate_above_weeks` weeks of its hours, the excess goes to the desk.
4. The desk does the reviews that were sent to it the week before, then spends what hours it has left on its queue, on all
   domains alike. Of what it curates, `desk_wrong_routine` or `desk_wrong_business` is wrong, nothing is off standard.
5. A review finds what is wrong or off standard with probability `REVIEW_FINDS`, and mends it. It also teaches: the
   off-standard share shrinks by `REVIEW_TEACHES` times the share of the domain's work that was reviewed. Then it grows by the
   drift of the week, up to `DRIFT_MOST`. `review_share` of this week's work of the domain is sent to the desk.
6. Wrong entries are used until a user notices: of those in use, `USERS_FIND` are found and mended each week.

The costs: each hour worked; each week in which an entry waits (`stale_usd_per_week`); each week in which a wrong entry is in use
(`wrong_usd_per_week`); each entry that is off standard and not mended by a review, once. An entry that waits at the end of the
year costs `WAITS_ON_WEEKS` more weeks of waiting.

A **domain** is a dict with `domain` (its name) and these numbers:

routine_per_week, business_per_week   entries that arrive, mean of the year; up to a fifth more in weeks 1 to 6 of a quarter
domain_hours_per_week                 hours of the domain's curators, mean of the weeks that are not closed
closed_weeks                          of the 13 weeks of a quarter, the last so many are closed
desk_hours_routine, desk_hours_business   hours that the desk needs for one entry of this domain
desk_wrong_routine, desk_wrong_business   share of them that is wrong then, from 0 to 1
domain_wrong                          share of what the domain curates that is wrong
drift_per_week                        by how much the domain's off-standard share grows in a week, mean
stale_usd_per_week, wrong_usd_per_week    US dollars for each week in which one entry waits, and in which one is wrong and used

`capacity` is a dict with `desk_hours_per_week`, mean of the year. A model is a list of dicts, one for each domain, with `domain`,
`routine` and `business` (who curates that kind: "desk" or "domain"), `review_share` (from 0 to 1) and `escalate_above_weeks`
(from 0; 52 or more: never).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from workshop.sim.streams import streams

WEEKS = 52
QUARTER_WEEKS = 13
KINDS = ("routine", "business")
"""What an entry is about. routine: tables and views. business: metrics and terms, for which one has to know what they mean."""
CURATORS = ("desk", "domain")
HOURS = {"routine": 1.0, "business": 1.4, "review": 0.8}
"""Hours of a domain's curator for one entry, and of the desk for one review. How long the desk takes for an entry is a matter of
the domain: it has to ask around."""
PRICES_USD = {"desk_hour": 55.0, "domain_hour": 80.0, "off_standard": 480.0}
"""An hour of work, and one entry that is off standard: to bring it back in line once others have built on it."""
REVIEW_FINDS = 0.9
REVIEW_TEACHES = 0.25
USERS_FIND = 1 / 12
WAITS_ON_WEEKS = 52
"""What waits at the end of a year is charged as if it waited another year: no model may live on the next year."""
DRIFT_AT_START = 0.03
DRIFT_MOST = 0.7
COSTS = ("desk hours", "domain hours", "waiting", "wrong in use", "off standard")

Domain = Mapping[str, Any]
Model = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, eq=False)
class Draws:
    """What happens in Y years whatever the model. arrived (weeks, Y, domains, kinds): entries; domain_hours (weeks, Y, domains);
    desk_hours (weeks, Y); drift (weeks, Y, domains): by how much the off-standard share grows."""

    arrived: np.ndarray
    domain_hours: np.ndarray
    desk_hours: np.ndarray
    drift: np.ndarray


def draw_years(domains: Sequence[Domain], capacity: Mapping[str, float], seed: int | str | bytes, years: int) -> Draws:
    """Draws what a model has no influence on. Each phenomenon has a stream of its own in each year."""
    d = len(domains)
    rates = np.array([[float(x["routine_per_week"]), float(x["business_per_week"])] for x in domains])
    hours = np.array([float(x["domain_hours_per_week"]) for x in domains])
    closed = np.array([int(x["closed_weeks"]) for x in domains])
    grows = np.array([float(x["drift_per_week"]) for x in domains])
    week = np.arange(WEEKS)
    # Releases come in the first half of a quarter; what is closed is its end.
    season = np.where(week % QUARTER_WEEKS < 6, 1.2, 1 - 0.2 * 6 / 7)
    is_open = (week % QUARTER_WEEKS)[:, None] < QUARTER_WEEKS - closed
    found = Draws(
        np.empty((WEEKS, years, d, len(KINDS))),
        np.empty((WEEKS, years, d)),
        np.empty((WEEKS, years)),
        np.empty((WEEKS, years, d)),
    )
    for year in range(years):
        rng = streams(seed, f"curation/arrivals/{year}")
        busy = rng.lognormal(-0.005, 0.1, d)  # some years bring more than others
        found.arrived[:, year] = rng.poisson(season[:, None, None] * busy[:, None] * rates, (WEEKS, d, len(KINDS)))
        rng = streams(seed, f"curation/hours/{year}")
        found.desk_hours[:, year] = float(capacity["desk_hours_per_week"]) * rng.uniform(0.8, 1.2, WEEKS)
        found.domain_hours[:, year] = hours * is_open * rng.uniform(0.6, 1.4, (WEEKS, d))
        rng = streams(seed, f"curation/drift/{year}")
        found.drift[:, year] = grows * rng.gamma(2.0, 0.5, (WEEKS, d))
    return found


@dataclass(frozen=True, eq=False)
class Years:
    """What came of M models in Y years of D domains. usd (M, Y, D, costs): by COSTS; desk_hours (M, Y, D): worked by the desk;
    desk_load (M, Y): work that came to the desk, as a share of its hours; desk_waiting_weeks (M, Y): what the desk has not done
    at the end of the year, in weeks of its hours. waiting, wrong_in_use and off_share (M, weeks, Y, D): entries that wait, wrong
    entries in use, off-standard share of what the domain curates."""

    usd: np.ndarray
    desk_hours: np.ndarray
    desk_load: np.ndarray
    desk_waiting_weeks: np.ndarray
    waiting: np.ndarray
    wrong_in_use: np.ndarray
    off_share: np.ndarray


def simulate_years(
    domains: Sequence[Domain], capacity: Mapping[str, float], models: Sequence[Model], seed: int | str, years: int = 4
) -> list[dict[str, Any]]:
    """Runs each model of a list through the same years, and returns a dict for each, in order:

    usd: the cost of a year, US dollars, mean of the years; usd_by_year: one by one; costs: the mean by kind (COSTS);
    desk_load: work that came to the desk, as a share of the hours it has; desk_waiting_weeks: work that the desk has not done at
    the end of a year, in weeks of its hours (both means of the years); domains: by domain, usd (of a year), desk_hours (worked by
    the desk for this domain in a year) and waiting_weeks (entries that wait at the end of a year, with the domain or at the desk,
    in weeks of arrivals).

    Models cost little each (a hundred in a tenth of a second) when they are given together.
    """
    ran = run_years(domains, capacity, models, draw_years(domains, capacity, seed, years))
    by_domain, hours = ran.usd.sum(axis=-1).mean(axis=1), ran.desk_hours.mean(axis=1)
    arrive = np.array([sum(float(x[f"{k}_per_week"]) for k in KINDS) for x in domains])
    weeks = ran.waiting[:, -1].mean(axis=1) / arrive
    return [
        {
            "usd": float(ran.usd[i].sum(axis=(-1, -2)).mean()),
            "usd_by_year": [float(v) for v in ran.usd[i].sum(axis=(-1, -2))],
            "costs": {k: float(v) for k, v in zip(COSTS, ran.usd[i].sum(axis=1).mean(axis=0), strict=True)},
            "desk_load": float(ran.desk_load[i].mean()),
            "desk_waiting_weeks": float(ran.desk_waiting_weeks[i].mean()),
            "domains": {
                x["domain"]: {
                    "usd": float(by_domain[i, d]),
                    "desk_hours": float(hours[i, d]),
                    "waiting_weeks": float(weeks[i, d]),
                }
                for d, x in enumerate(domains)
            },
        }
        for i in range(len(models))
    ]


def run_years(domains: Sequence[Domain], capacity: Mapping[str, float], models: Sequence[Model], draws: Draws) -> Years:
    """Runs models through years that were drawn; all at once, since a model is only one more axis of the arrays."""
    at_desk, review, escalate = _settings(domains, models)
    m, (_, y, d, kinds) = len(models), draws.arrived.shape
    desk_hours_each = np.array([[float(x[f"desk_hours_{k}"]) for k in KINDS] for x in domains])
    domain_hours_each = np.array([HOURS[k] for k in KINDS])
    open_hours = np.array([float(x["domain_hours_per_week"]) for x in domains])
    desk_wrong = np.array([[float(x[f"desk_wrong_{k}"]) for k in KINDS] for x in domains])
    domain_wrong = np.array([float(x["domain_wrong"]) for x in domains])
    stale_usd = np.array([float(x["stale_usd_per_week"]) for x in domains])
    wrong_usd = np.array([float(x["wrong_usd_per_week"]) for x in domains])

    domain_queue, desk_queue = np.zeros((m, y, d, kinds)), np.zeros((m, y, d, kinds))
    reviews_due, wrong = np.zeros((m, y, d)), np.zeros((m, y, d))
    off_share = np.full((m, y, d), DRIFT_AT_START)
    done_before, off_before = np.zeros((m, y, d)), off_share
    usd, worked = np.zeros((m, y, d, len(COSTS))), np.zeros((m, y, d))
    came_to_desk = np.zeros((m, y))
    waiting, in_use, off = (np.empty((m, WEEKS, y, d)) for _ in range(3))
    for week in range(WEEKS):
        # 1. Arrivals.
        to_desk = draws.arrived[week] * at_desk
        desk_queue += to_desk
        domain_queue += draws.arrived[week] - to_desk
        # 2. The domains' curators.
        work = domain_queue @ domain_hours_each
        done = np.minimum(1.0, draws.domain_hours[week] / np.maximum(work, 1e-9))[..., None] * domain_queue
        domain_queue -= done
        hours_domain = done @ domain_hours_each
        by_domain = done.sum(axis=-1)
        # 3. Escalation of what is above the line.
        left = domain_queue @ domain_hours_each
        excess = np.maximum(0.0, 1 - escalate * open_hours / np.maximum(left, 1e-9))[..., None] * domain_queue
        domain_queue -= excess
        desk_queue += excess
        came_to_desk += ((to_desk + excess) * desk_hours_each).sum(axis=(-1, -2))
        # 4. The desk: reviews first, then its queue.
        hours = draws.desk_hours[week]
        review_hours = HOURS["review"] * reviews_due.sum(axis=-1)
        reviewed = np.minimum(1.0, hours / np.maximum(review_hours, 1e-9))[..., None] * reviews_due
        reviews_due += by_domain * review - reviewed
        came_to_desk += HOURS["review"] * (by_domain * review).sum(axis=-1)
        hours_left = hours - HOURS["review"] * reviewed.sum(axis=-1)
        work = (desk_queue * desk_hours_each).sum(axis=(-1, -2))
        by_desk = np.minimum(1.0, hours_left / np.maximum(work, 1e-9))[..., None, None] * desk_queue
        desk_queue -= by_desk
        # 5. Quality of what was done, and what reviews find and teach.
        off_standard = by_domain * off_share - reviewed * off_before * REVIEW_FINDS
        wrong += by_domain * domain_wrong + (by_desk * desk_wrong).sum(axis=-1) - reviewed * domain_wrong * REVIEW_FINDS
        share = np.where(done_before > 0, np.minimum(1.0, reviewed / np.maximum(done_before, 1e-9)), 0.0)
        done_before, off_before = by_domain, off_share
        off_share = np.minimum(DRIFT_MOST, off_share * (1 - REVIEW_TEACHES * share) + draws.drift[week])
        # 6. Users notice; the week is paid for.
        waits = (domain_queue + desk_queue).sum(axis=-1)
        hours_desk = HOURS["review"] * reviewed + (by_desk * desk_hours_each).sum(axis=-1)
        worked += hours_desk
        usd[..., 0] += PRICES_USD["desk_hour"] * hours_desk
        usd[..., 1] += PRICES_USD["domain_hour"] * hours_domain
        usd[..., 2] += stale_usd * waits
        usd[..., 3] += wrong_usd * wrong
        usd[..., 4] += PRICES_USD["off_standard"] * off_standard
        waiting[:, week], in_use[:, week], off[:, week] = waits, wrong, off_before
        wrong *= 1 - USERS_FIND
    usd[..., 2] += stale_usd * waiting[:, -1] * WAITS_ON_WEEKS
    hours = float(capacity["desk_hours_per_week"])
    backlog = (desk_queue * desk_hours_each).sum(axis=(-1, -2)) + HOURS["review"] * reviews_due.sum(axis=-1)
    load = came_to_desk / draws.desk_hours.sum(axis=0)
    return Years(usd, worked, load, backlog / hours, waiting, in_use, off)


def _settings(domains: Sequence[Domain], models: Sequence[Model]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """at_desk (M, 1, domains, kinds), review_share and escalate_above_weeks (M, 1, domains), in the order of the domains."""
    rows = [{row["domain"]: row for row in model} for model in models]
    names = [x["domain"] for x in domains]
    at_desk = [[[float(by[n][k] == "desk") for k in KINDS] for n in names] for by in rows]
    review = [[float(by[n]["review_share"]) for n in names] for by in rows]
    escalate = [[_never(float(by[n]["escalate_above_weeks"])) for n in names] for by in rows]
    return tuple(np.array(a)[:, None] for a in (at_desk, review, escalate))


def _never(weeks: float) -> float:
    """A backlog that no queue reaches where a model says 52 weeks: a domain with few hours may have more than that."""
    return weeks if weeks < WEEKS else 1e9


def estimate_samples(accuracy: Callable[..., Any], cases: Sequence[Sequence[Sequence[Any]]]) -> list[Any]:
    """What accuracy(strata, sample) says of each case: a case has for each stratum its name, the assets in it, how many of them
    were reviewed, and how many of these were accurate. The reviews of a case are handed over in a mixed order."""
    said = []
    for number, case in enumerate(cases):
        strata = [{"stratum": name, "assets": assets} for name, assets, _, _ in case]
        sample = [
            {"stratum": name, "is_accurate": k < accurate}
            for name, _, reviewed, accurate in case
            for k in range(reviewed)
        ]
        streams(number, "curation/order of reviews").shuffle(sample)
        said.append(accuracy(strata, sample))
    return said
