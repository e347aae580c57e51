"""What lab 2.3 judges.

Task a. The learner's function is called for four companies; its models come out as data and are run by the kit through years that
nobody has seen, beside both pure models, the best model of a search on other years, and the best that is the same for all
domains (common random numbers).

Task b. Completeness, staleness and accuracy are compared with the same definitions in SQL of the check's own. The interval is
judged by what it does on samples from catalogues whose true share the check knows.
"""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from workshop.checks import (
    CheckFailed,
    Evidence,
    LearnerError,
    NotAttempted,
    as_number,
    as_table,
    check,
    expect,
)
from workshop.sim.curation import CURATORS, draw_years, run_years, simulate_years
from workshop.table import Table
from workshop.trusted import Lab
from workshop.world.build import history

SUBJECTS = ("catalogue",)

HINTS = {
    "a": (
        "Begin with what each domain would choose if the desk had all the hours in the world: `simulate_years` with a huge "
        "`desk_hours_per_week` says for each setting what it costs in each domain, and how many hours of the desk it takes.",
        "The desk's hours do not suffice for all of these choices. Which domain loses least by doing without an hour of the "
        "desk? Put a charge on each hour, on top of its price, and let every domain choose again.",
        "Try many charges, from 0 to some hundred USD. Each gives one model; run them all with the desk's real hours, and "
        "keep the cheapest. Improving one domain at a time from several starts, until nothing changes, comes close too.",
    ),
    "b": (
        "A join of assets with `ops.catalog_requirements` has one row for each compulsory field; `case field when ...` "
        "says whether it is valid, and null is not. Stale is a question to `ops.curation_history`, not to two dates.",
        "Accuracy: one share for each domain and tier, then a mean weighted with the assets in use of the tier, not with "
        "the reviews.",
        "Interval: the variance of the estimate is the sum of weight^2 x (1 - n/N) x p (1 - p) / (n - 1). "
        "p (1 - p) / variance is the size of a plain sample that would say as much; Wilson's interval takes it from there.",
    ),
}
MISCONCEPTIONS = {
    "same_for_all": "Domains differ: in one the desk knows enough and standards drift, in the next it is the other way "
    "round. Look at the columns of two domains that you treat alike.",
    "central": "A central desk keeps the standard and has too few hours, and in some domains too little knowledge.",
    "decentral": "Domains know what they mean; not all have hours, and nobody holds their standards together.",
    "overcommitted": "The desk's hours are shared by all: reviews come first, and what they take is missing for its queue.",
    "silent_queue": "A domain without hours does not curate, whatever the organisation chart says. Either the desk "
    "takes a kind over, or what is too much is escalated.",
    "no_reviews": "Without reviews the off-standard share grows all year where standards drift.",
    "filled": "A field that says TBD is filled, and says nothing.",
    "dates": "The latest curation may belong to a later change, while an earlier one still waits: ask the "
    "history entry by entry.",
    "unweighted": "Core assets were reviewed several times as often as others: an unweighted share is that of the sample, "
    "not that of the catalogue.",
    "complaints": "Complaints find what is wrong; they are no sample.",
    "no_interval": "A share of forty reviews is a guess with a width. Say how wide.",
    "too_narrow": "The reviews of a stratum that was sampled more often count for less; the interval has to know.",
    "too_wide": "An interval that always holds the truth says nothing.",
    "certain": "That all reviewed entries are accurate does not mean that all are.",
}

# -- task a -------------------------------------------------------------------------------------------------------------------

COMPANIES, YEARS = 4, 5
WINS = 18
COST_SHARE = 0.4
DESK_WEEKS, DOMAIN_WEEKS = 6.0, 26.0
COLUMNS = ("domain", "routine", "business", "review_share", "escalate_above_weeks")
SHARES, WEEKS = (0.0, 0.05, 0.1, 0.2, 0.35, 0.55, 0.8, 1.0), (0.5, 1.5, 4.0, 52.0)
SETTINGS = [
    dict(zip(COLUMNS[1:], (r, b, s, w), strict=True)) for r in CURATORS for b in CURATORS for s in SHARES for w in WEEKS
]
CENTRAL = {"routine": "desk", "business": "desk", "review_share": 0.0, "escalate_above_weeks": 52.0}
DECENTRAL = CENTRAL | {"routine": "domain", "business": "domain"}


@dataclass(frozen=True)
class Company:
    """What the learner's function is given, and what four models to compare with cost in its five years."""

    name: str
    domains: list[dict[str, Any]]
    capacity: dict[str, float]
    seed: str
    models: dict[str, list[dict[str, Any]]]
    results: dict[str, dict[str, Any]]


def alike(domains: list[dict[str, Any]], setting: dict[str, Any]) -> list[dict[str, Any]]:
    """The model that has one setting in all domains."""
    return [{"domain": x["domain"], **setting} for x in domains]


def _searched(domains: list[dict[str, Any]], capacity: dict[str, float], seed: str) -> tuple[list, list]:
    """The best model of a search, and the best that is the same for all domains, on years of their own. With a desk that has no
    limit the domains are independent; a charge on its hours brings them within what it has."""
    draws = draw_years(domains, capacity, seed, 6)
    models = [alike(domains, s) for s in SETTINGS]
    same = models[int(run_years(domains, capacity, models, draws).usd.sum(axis=(2, 3)).mean(axis=1).argmin())]
    free = {"desk_hours_per_week": 1e6}
    alone = run_years(domains, free, models, draw_years(domains, free, seed, 6))
    usd, hours = alone.usd.sum(axis=-1).mean(axis=1), alone.desk_hours.mean(axis=1)
    picks = {tuple((usd + charge * hours).argmin(axis=0).tolist()) for charge in [0.0, *np.geomspace(3, 600, 60)]}
    names = [x["domain"] for x in domains]
    draws = draw_years(domains, capacity, f"{seed}/last", 6)

    def cheapest(picks: list[tuple[int, ...]]) -> tuple[int, ...]:
        found = [[{"domain": n, **SETTINGS[i]} for n, i in zip(names, pick, strict=True)] for pick in picks]
        return picks[int(run_years(domains, capacity, found, draws).usd.sum(axis=(2, 3)).mean(axis=1).argmin())]

    pick = cheapest(sorted(picks))
    # Charges step over some models. Each domain in turn: is there a setting that is better with what the others have chosen?
    for _ in range(2):
        before = pick
        for d in range(len(names)):
            useful = [
                i for i in range(len(SETTINGS)) if not ((usd[:, d] < usd[i, d]) & (hours[:, d] <= hours[i, d])).any()
            ]
            pick = cheapest([pick, *((*pick[:d], i, *pick[d + 1 :]) for i in useful)])
        if pick == before:
            break
    best = [{"domain": n, **SETTINGS[i]} for n, i in zip(names, pick, strict=True)]
    return best, same


def read_domains(lab: Lab) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """This world's domains and capacity, as the setup cell of the lab reads them."""
    rows = lab.world.sql("from ops.curation_domains order by domain").dicts()
    domains = [{k: v if isinstance(v, str) else float(v) for k, v in row.items()} for row in rows]
    hours = lab.world.sql("select desk_hours_per_week from ops.curation_capacity").value()
    return domains, {"desk_hours_per_week": float(hours)}


def companies(lab: Lab) -> list[Company]:
    """This world's company and three that were drawn by the same rules, with what is compared on their years."""

    def make() -> list[Company]:
        rng = lab.rng("companies")
        found = []
        for k in range(COMPANIES):
            domains, capacity = read_domains(lab)
            if k:
                domains, capacity = history("catalogue").draw_company(rng, [x["domain"] for x in domains])
            best, same = _searched(domains, capacity, str(rng.integers(2**62)))
            models = {
                "best": best,
                "same for all": same,
                "desk": alike(domains, CENTRAL),
                "domains": alike(domains, DECENTRAL),
            }
            seed = str(rng.integers(2**62))
            results = dict(
                zip(models, simulate_years(domains, capacity, list(models.values()), seed, YEARS), strict=True)
            )
            found.append(
                Company("this world" if k == 0 else f"company {k + 1}", domains, capacity, seed, models, results)
            )
        return found

    return lab.kept("companies", make)


def read_model(value: Any, domains: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The model as a list of dicts, one for each domain, or a failed check that says what a row lacks."""
    table = as_table(value, "`curation_model`", COLUMNS)
    names = [x["domain"] for x in domains]
    model = []
    for row in table.dicts():
        name = row["domain"]
        expect(name in names, f"`curation_model` has a row for the domain {name!r}, which it was not given.")
        expect(all(name != m["domain"] for m in model), f"`curation_model` has two rows for the domain {name}.")
        for kind in ("routine", "business"):
            expect(
                row[kind] in CURATORS,
                f"{name}: {kind} is {row[kind]!r}; 'desk' or 'domain' is expected.",
            )
        for column, most in (("review_share", 1), ("escalate_above_weeks", 52)):
            number = as_number(row[column])
            expect(
                number is not None and 0 <= number <= most,
                f"{name}: {column} is {row[column]!r}; a number from 0 to {most} is expected.",
            )
            row[column] = number
        model.append(row)
    missing = [n for n in names if all(n != m["domain"] for m in model)]
    expect(not missing, f"`curation_model` has no row for {', '.join(missing)}.")
    return model


def _mine(lab: Lab) -> list[tuple[Company, list[dict[str, Any]], dict[str, Any]]]:
    """For each company the learner's model, and what came of it in the judged years."""

    def make() -> list[tuple[Company, list[dict[str, Any]], dict[str, Any]]]:
        found = []
        for c in companies(lab):
            given = [dict(x) for x in c.domains]
            model = read_model(lab.call("curation_model", given, dict(c.capacity)), c.domains)
            (ran,) = lab.judge("workshop.sim.curation:simulate_years", c.domains, c.capacity, [model], c.seed, YEARS)
            found.append((c, model, ran))
        return found

    return lab.once("mine", make)


def _costs(company: Company, model: list[dict[str, Any]], ran: dict[str, Any]) -> Evidence:
    """By domain: what the model does and costs, beside the best."""
    mine, best = {m["domain"]: m for m in model}, {m["domain"]: m for m in company.models["best"]}

    def said(m: dict[str, Any]) -> str:
        settings = f"{m['review_share']:.2g}, {m['escalate_above_weeks']:.3g}"
        return f"{m['routine']} / {m['business']}, {settings}"

    rows = []
    for x in company.domains:
        n = x["domain"]
        theirs = company.results["best"]["domains"][n]["usd"]
        rows.append((n, said(mine[n]), round(ran["domains"][n]["usd"] / 1000), said(best[n]), round(theirs / 1000)))
    rows.sort(key=lambda r: r[4] - r[2])
    return Evidence(
        f"{company.name}: routine / business, review share, escalation; thousand USD a year",
        Table.of(["domain", "yours", "costs", "best", "costs it"], rows),
    )


@check("a", "nobody is left behind: neither the desk nor a domain has a queue that grows", points=1.5)
def queues_do_not_grow(lab: Lab) -> str:
    """What waits at the end of a year, mean of five years, in each of the four companies."""
    desk_most = domain_most = 0.0
    for company, model, ran in _mine(lab):
        desk = ran["desk_waiting_weeks"]
        rows = [
            (n, m["routine"], m["business"], m["review_share"], m["escalate_above_weeks"],
             round(ran["domains"][n]["waiting_weeks"], 1), round(ran["domains"][n]["desk_hours"] / 52, 1))
            for m in model for n in [m["domain"]]
        ]  # fmt: skip
        shown = Evidence(
            f"{company.name}: the desk has {company.capacity['desk_hours_per_week']:.0f} hours a week",
            Table.of(
                [*COLUMNS, "waits at the end, weeks of arrivals", "hours of the desk a week"],
                sorted(rows, key=lambda r: -r[5]),
            ),
        )
        expect(
            desk <= DESK_WEEKS,
            f"In {company.name}, {desk:.0f} weeks of the desk's work wait for it at the end of a year; {DESK_WEEKS:.0f} are "
            f"allowed. Your model sends it {ran['desk_load']:.2f} times the hours that it has (entries, what is escalated, "
            "reviews), and every week the queue is longer.",
            evidence=shown,
            ask="Which of these hours would be missed least?",
            misconception="central" if all(m["routine"] == m["business"] == "desk" for m in model) else "overcommitted",
        )
        worst, weeks = max(((n, d["waiting_weeks"]) for n, d in ran["domains"].items()), key=lambda p: p[1])
        expect(
            weeks <= DOMAIN_WEEKS,
            f"In {company.name}, {weeks:.0f} weeks of what arrives in {worst} wait at the end of a year; "
            f"{DOMAIN_WEEKS:.0f} are allowed. What one reads of {worst} in the catalogue was true long ago.",
            evidence=shown,
            ask=f"How many hours do the curators of {worst} have, and how many does your model ask of them?",
            misconception="decentral"
            if all(m["routine"] == m["business"] == "domain" for m in model)
            else "silent_queue",
        )
        desk_most, domain_most = max(desk_most, desk), max(domain_most, weeks)
    return (
        f"At the end of a year at most {desk_most:.1f} weeks of work wait at the desk, and at most {domain_most:.1f} weeks of "
        "arrivals in any domain."
    )


@check("a", "it costs less than a desk for all and than domains on their own, in at least 18 of 20 years", points=1)
def beats_both_pure_models(lab: Lab) -> str:
    """Year by year on the same arrivals, hours and drifts."""
    wins, rows, worst = 0, [], None
    for company, model, ran in _mine(lab):
        pure = {k: company.results[k]["usd_by_year"] for k in ("desk", "domains")}
        won = [y < min(p) for y, p in zip(ran["usd_by_year"], zip(*pure.values(), strict=True), strict=True)]
        wins += sum(won)
        rows.append(
            (company.name, round(ran["usd"] / 1000), *(round(company.results[k]["usd"] / 1000) for k in pure), sum(won))
        )
        if sum(won) < YEARS and worst is None:
            worst = _costs(company, model, ran)
    bill = Evidence(
        "thousand USD a year, mean of five",
        Table.of(["company", "yours", "desk for all", "domains on their own", "years won"], rows),
    )
    models = [m for _, model, _ in _mine(lab) for m in model]
    expect(
        wins >= WINS,
        f"Your model costs less than both pure models in {wins} of {COMPANIES * YEARS} years; {WINS} are asked for.",
        evidence=[bill, *([worst] if worst else [])],
        ask="What does the cheaper of the two pure models do right that yours does not?",
        misconception="central"
        if all(m["routine"] == m["business"] == "desk" for m in models)
        else "decentral"
        if all(m["routine"] == m["business"] == "domain" for m in models)
        else None,
    )
    return f"Cheaper than both pure models in {wins} of {COMPANIES * YEARS} years."


@check("a", "it costs little more than the best model, and far less than one answer for all domains", points=3.5)
def costs_little_more_than_the_best(lab: Lab) -> str:
    """Best: a search on other years of the same company. Naive: the best model with one setting for all domains."""
    runs = _mine(lab)
    mine = sum(ran["usd"] for _, _, ran in runs)
    least, most = (sum(c.results[k]["usd"] for c, _, _ in runs) for k in ("best", "same for all"))
    share = (mine - least) / (most - least)
    bill = Table.of(
        ["company", "model", *runs[0][2]["costs"], "sum"],
        [
            (c.name, who, *(round(v / 1000) for v in r["costs"].values()), round(r["usd"] / 1000))
            for c, _, ran in runs
            for who, r in (("yours", ran), ("best", c.results["best"]), ("same for all", c.results["same for all"]))
        ],
    )
    if share > COST_SHARE:
        worst = max(runs, key=lambda r: r[2]["usd"] - r[0].results["best"]["usd"])
        models = [m for _, model, _ in runs for m in model]
        same = all(len({tuple(m[k] for k in COLUMNS[1:]) for m in model}) == 1 for _, model, _ in runs)
        reviews = any(m["review_share"] > 0 for m in models)
        raise CheckFailed(
            f"A year of the four companies costs {mine / 1e6:.2f} million USD with your models, {least / 1e6:.2f} with the "
            f"best, and {most / 1e6:.2f} with the best that treat all domains alike: yours is {share:.0%} of the way from best "
            f"to that, {COST_SHARE:.0%} is allowed.",
            evidence=[Evidence("thousand USD a year", bill), _costs(*worst)],
            ask="In which domain and which column is the difference largest?",
            misconception="same_for_all" if same else None if reviews else "no_reviews",
        )
    return (
        f"A year of the four companies: {mine / 1e6:.2f} million USD with your models, {least / 1e6:.2f} with the best, "
        f"{most / 1e6:.2f} with the best that treat all domains alike: {share:.0%} of the way, {COST_SHARE:.0%} is allowed."
    )


# -- task b -------------------------------------------------------------------------------------------------------------------

TOLERANCE = 1e-6
HEALTH = ("domain", "assets", "complete_share", "stale_share", "accuracy")
ORACLE = """
    with live as (from ops.catalog_assets where retired_at is null),
    fields as (
      select a.asset_id, q.field,
        case q.field
          when 'freshness_hours' then a.freshness_hours >= 1 and a.freshness_hours <= 744
          when 'owner_person_id' then exists (from ops.people p where p.person_id = a.owner_person_id and p.left_on is null)
          when 'description' then trim(a.description) != '' and lower(trim(a.description)) != lower(a.asset_name)
            and not exists (from ops.catalog_terms t where t.field = q.field and t.term = lower(trim(a.description)))
          else exists (
            from ops.catalog_terms t
            where t.field = q.field and t.is_allowed
              and t.term = lower(trim(case q.field when 'unit' then a.unit else a.classification end))
          )
        end is true as is_valid,
        case q.field
          when 'freshness_hours' then a.freshness_hours is not null
          when 'owner_person_id' then a.owner_person_id is not null
          when 'description' then a.description is not null
          when 'unit' then a.unit is not null
          else a.classification is not null
        end as is_filled
      from live a join ops.catalog_requirements q using (kind)
    ),
    assets as (
      select a.asset_id, a.domain, a.tier,
        coalesce((select bool_and(is_valid) from fields f where f.asset_id = a.asset_id), true) as is_complete,
        coalesce((select bool_and(is_filled) from fields f where f.asset_id = a.asset_id), true) as is_filled,
        exists (
          from ops.curation_history h
          where h.asset_id = a.asset_id and h.curated_at is null and h.arrived_at < timestamp '2026-06-02 00:00:00'
        ) as is_stale
      from live a
    ),
    sampled as (
      select asset_id, is_accurate from ops.catalog_reviews where reason = 'sample' and round = '2026-Q2'
    ),
    tiers as (
      select domain, tier, count(*) as assets, count(is_accurate) as reviewed, avg(is_accurate::int) as share
      from assets left join sampled using (asset_id)
      group by domain, tier
    )
    select a.domain, count(*) as assets, avg(is_complete::int) as complete_share, avg(is_stale::int) as stale_share,
      any_value(e.accuracy) as accuracy, avg(is_filled::int) as filled_share, any_value(e.plain) as plain_share
    from assets a
    join (
      select domain, sum(assets * share) / sum(assets) as accuracy, sum(reviewed * share) / sum(reviewed) as plain
      from tiers group by domain
    ) e using (domain)
    group by a.domain
    order by a.domain
"""


def oracle(lab: Lab) -> dict[str, dict[str, Any]]:
    """The health of this world's catalogue by domain, by the definitions of the lab."""
    return lab.kept("oracle", lambda: {r["domain"]: r for r in lab.world.sql(ORACLE).dicts()})


def read_health(lab: Lab) -> dict[str, dict[str, Any]]:
    """The learner's report by domain, or a failed check that says what it lacks."""

    def make() -> dict[str, dict[str, Any]]:
        table = as_table(lab.call("health", lab.con), "`health`", HEALTH)
        found: dict[str, dict[str, Any]] = {}
        for row in table.dicts():
            name = row["domain"]
            expect(name in oracle(lab), f"`health` has a row for the domain {name!r}, which has no assets in use.")
            expect(name not in found, f"`health` has two rows for the domain {name}.")
            found[name] = row
        missing = [n for n in oracle(lab) if n not in found]
        expect(not missing, f"`health` has no row for {', '.join(missing)}.")
        return found

    return lab.once("health", make)


# Compulsory fields that are filled and not valid, by what is wrong with them.
HOLLOW = """
    select q.field, case
        when q.field = 'description' and trim(a.description) = '' then 'blank'
        when q.field = 'description' and lower(trim(a.description)) = lower(a.asset_name) then 'the asset''s own name'
        when q.field = 'description' then 'a placeholder'
        when q.field = 'owner_person_id' then 'has left, or is nobody'
        when q.field = 'freshness_hours' then 'not from 1 to 744'
        else 'no allowed term of this field'
      end as why, count(*) as assets
    from ops.catalog_assets a
    join ops.catalog_requirements q using (kind)
    where a.retired_at is null and case q.field
        when 'description' then trim(a.description) = '' or lower(trim(a.description)) = lower(a.asset_name)
          or exists (from ops.catalog_terms t where t.field = q.field and t.term = lower(trim(a.description)))
        when 'owner_person_id'
          then not exists (from ops.people p where p.person_id = a.owner_person_id and p.left_on is null)
            and a.owner_person_id is not null
        when 'freshness_hours' then a.freshness_hours not between 1 and 744
        when 'unit' then a.unit is not null and not exists (
          from ops.catalog_terms t where t.field = q.field and t.is_allowed and t.term = lower(trim(a.unit)))
        else a.classification is not null and not exists (
          from ops.catalog_terms t where t.field = q.field and t.is_allowed and t.term = lower(trim(a.classification)))
      end
    group by all
    order by all
"""


def _hollow(lab: Lab) -> Table:
    """How many assets of this world have a compulsory field that is filled and not valid, by what is wrong with it."""
    return lab.kept("hollow", lambda: lab.world.sql(HOLLOW))


def _compare(lab: Lab, column: str) -> tuple[list[str], Evidence]:
    """The domains in which a column is off by more than the tolerance, and all of them beside the truth."""
    got, want = read_health(lab), oracle(lab)
    off = []
    for name, row in want.items():
        number = as_number(got[name][column])
        if number is None or abs(number - float(row[column])) > TOLERANCE:
            off.append(name)
    rows = [
        (n, got[n][column] if as_number(got[n][column]) is None else round(float(got[n][column]), 6),
         round(float(want[n][column]), 6))
        for n in sorted(want, key=lambda n: n not in off)
    ]  # fmt: skip
    if column != "assets":
        percent = all(as_number(y) is not None and abs(float(y) - 100 * e) < 1e-3 for _, y, e in rows)
        expect(not percent, f"{column} is a share: from 0 to 1 is expected, and yours are percentages.")
    return off, Evidence(f"{column} by domain", Table.of(["domain", "yours", "expected"], rows))


@check("b", "complete is what is valid, not what is filled", points=1)
def completeness_counts_what_is_valid(lab: Lab) -> str:
    """Against the check's own SQL, by domain, to a millionth."""
    off, shown = _compare(lab, "assets")
    expect(
        not off,
        f"The number of assets in use is not right for {', '.join(off)}: assets with a `retired_at` are out of use.",
        evidence=shown,
    )
    off, shown = _compare(lab, "complete_share")
    hollow = _hollow(lab)
    if off:
        got, want = read_health(lab), oracle(lab)
        filled = all(
            as_number(got[n]["complete_share"]) is not None
            and abs(as_number(got[n]["complete_share"]) - float(want[n]["filled_share"])) <= TOLERANCE
            for n in want
        )
        raise CheckFailed(
            f"complete_share is not right for {', '.join(off)}. "
            + (
                "Yours is the share of assets whose compulsory fields are filled. A description that says TBD, or an owner who "
                "left last year, is filled too, and helps nobody."
                if filled
                else "Complete: every field that is compulsory for its kind is valid; null is not valid."
            ),
            evidence=[shown, Evidence("compulsory fields that are filled and not valid", hollow)],
            ask="Which filled fields would a reader call empty?"
            if filled
            else "How many assets does yours find for each line of the second table? (Those with nulls come on top.)",
            misconception="filled" if filled else None,
        )
    want = oracle(lab)
    total = sum(r["assets"] for r in want.values())
    valid, filled = (
        sum(float(r[k]) * r["assets"] for r in want.values()) / total for k in ("complete_share", "filled_share")
    )
    return f"{filled:.0%} of the assets in use have all compulsory fields filled, {valid:.0%} have them valid."


@check("b", "stale is what has a change that waits", points=0.5)
def staleness_asks_the_history(lab: Lab) -> str:
    """Against the check's own SQL, by domain, to a millionth."""
    off, shown = _compare(lab, "stale_share")
    expect(
        not off,
        f"stale_share is not right for {', '.join(off)}. Stale is an asset with an entry in ops.curation_history that arrived "
        "before 2026-06-02 00:00 and still waits: an earlier change may wait while a later one is done, and an old curation "
        "is fine as long as nothing has changed.",
        evidence=shown,
        misconception="dates",
    )
    want = oracle(lab)
    low, high = (f(want.values(), key=lambda r: r["stale_share"]) for f in (min, max))
    return (
        f"Stale assets: from {float(low['stale_share']):.0%} ({low['domain']}) to {float(high['stale_share']):.0%} "
        f"({high['domain']})."
    )


SAMPLES, POOL, CATALOGUES = 225, 20_000, 3
PLAIN = 12
COVERS = (0.92, 0.99)
COVERS_EACH = 0.90
WIDTH = 1.25
Z = 1.959964
# Reviews of the three strata: few, as many as at Kestrel, many.
REVIEWED = (((24, 31), (12, 16), (16, 21)), ((80, 96), (34, 41), (32, 39)), ((190, 231), (100, 131), (150, 191)))


def catalogues(lab: Lab) -> list[tuple[list[str], np.ndarray, np.ndarray, np.ndarray]]:
    """Names, assets, reviewed and accurate assets of the strata of three catalogues."""
    rng = lab.rng("catalogues")
    found = []
    for k, sizes in enumerate(REVIEWED):
        assets = np.array([int(rng.integers(300, 401)), int(rng.integers(220, 301)), int(rng.integers(900, 1201))])
        reviewed = np.array([int(rng.integers(*size)) for size in sizes])
        share = np.array([rng.uniform(0.86, 0.92), rng.uniform(0.72, 0.82), rng.uniform(0.5, 0.64)])
        names = (["core", "shared", "local"], ["gold", "silver", "bronze"], ["A", "B", "C"])[k]
        order = rng.permutation(3)
        found.append(
            ([names[i] for i in order], assets[order], reviewed[order], np.round(assets * share).astype(int)[order])
        )
    return found


@dataclass(frozen=True)
class Known:
    """A sample as a case of `estimate_samples`, its stratified estimate, the true share of its catalogue, the width of the
    reference, the number of its catalogue (3: plain), and how likely it is among those."""

    case: list[list[Any]]
    estimate: float
    share: float
    width: float
    of: int
    chance: float


def samples(lab: Lab) -> list[Known]:
    """Samples of three catalogues with three strata, and all that can come out of plain ones.

    Of 20,000 samples drawn for a catalogue, ordered by their estimate, every so many-th is taken: they have low and high
    estimates as often as they occur, and the share of intervals that hold the truth hardly depends on luck. Of a plain sample all
    outcomes are asked for, with their chances.
    """

    def make() -> list[Known]:
        rng = lab.rng("samples")
        step = POOL * CATALOGUES // SAMPLES
        found = []
        for number, (names, assets, reviewed, accurate) in enumerate(catalogues(lab)):
            drawn = np.stack(
                [rng.hypergeometric(a, n - a, m, POOL) for a, n, m in zip(accurate, assets, reviewed, strict=True)],
                axis=1,
            )
            order = np.argsort((drawn / reviewed) @ (assets / assets.sum()), kind="stable")
            rows = drawn[order[step // 2 :: step]].tolist()
            for row in rows:
                case = [[n, a, m, x] for n, a, m, x in zip(names, assets.tolist(), reviewed.tolist(), row, strict=True)]
                low, high = wilson(case)
                share = float(accurate.sum() / assets.sum())
                found.append(Known(case, stratified(case), share, high - low, number, 1 / len(rows)))
        for _ in range(PLAIN):
            assets, reviewed = int(rng.integers(300, 401)), int(rng.integers(14, 26))
            accurate = round(assets * rng.uniform(0.84, 0.95))
            for x in range(reviewed + 1):
                chance = (
                    math.comb(accurate, x) * math.comb(assets - accurate, reviewed - x) / math.comb(assets, reviewed)
                )
                if chance > 1e-6:
                    case = [["all", assets, reviewed, x]]
                    low, high = wilson(case)
                    width = min(high, 1.0) - max(low, 0.0)
                    found.append(Known(case, stratified(case), accurate / assets, width, CATALOGUES, chance / PLAIN))
        return found

    return lab.kept("samples", make)


def stratified(case: list[list[Any]]) -> float:
    """The stratified estimate of a case."""
    total = sum(n for _, n, _, _ in case)
    return sum(n / total * x / m for _, n, m, x in case)


def wilson(case: list[list[Any]]) -> tuple[float, float]:
    """Wilson's interval with the number of reviews of a plain sample that says as much (finite strata, n - 1)."""
    total = sum(n for _, n, _, _ in case)
    p = stratified(case)
    variance = sum((n / total) ** 2 * (1 - m / n) * x / m * (1 - x / m) / (m - 1) for _, n, m, x in case)
    size = p * (1 - p) / variance if variance > 0 else sum(m for _, _, m, _ in case)
    middle = (p + Z**2 / (2 * size)) / (1 + Z**2 / size)
    half = Z / (1 + Z**2 / size) * math.sqrt(p * (1 - p) / size + Z**2 / (4 * size**2))
    return middle - half, middle + half


def read_interval(value: Any) -> tuple[float, float, float]:
    """accuracy, low and high of what the learner's function returned: a dict, or three numbers in that order."""
    if isinstance(value, Table) and len(value) == 1:
        value = value.dicts()[0]
    if isinstance(value, dict):
        missing = [k for k in ("accuracy", "low", "high") if k not in value]
        expect(not missing, f"`accuracy` returned a dict without {', '.join(missing)}.", misconception="no_interval")
        value = [value[k] for k in ("accuracy", "low", "high")]
    expect(
        isinstance(value, list | tuple) and len(value) == 3,
        "`accuracy` is to return a dict with accuracy, low and high.",
        misconception="no_interval",
    )
    numbers = [as_number(v) for v in value]
    expect(
        all(n is not None for n in numbers),
        f"`accuracy` returned {', '.join(map(repr, value))}; three numbers are expected.",
        misconception="no_interval",
    )
    return tuple(numbers)


def _estimates(lab: Lab, cases: list[list[list[Any]]]) -> Any:
    """What the learner's function says of each case."""
    try:
        return lab.drive("workshop.sim.curation:estimate_samples", lab.function("accuracy"), cases)
    except LearnerError as error:
        raise LearnerError(
            error.message.replace("`estimate_samples`", "`accuracy`"),
            error_type=error.error_type,
            error_message=error.error_message,
            evidence=error.evidence,
        ) from error


def _said(lab: Lab) -> list[tuple[float, float, float]]:
    """What the learner's function says of the samples."""

    def make() -> list[tuple[float, float, float]]:
        cases = [known.case for known in samples(lab)]
        said = _estimates(lab, cases)
        expect(isinstance(said, list) and len(said) == len(cases), "`accuracy` is to return a dict for each sample.")
        return [read_interval(v) for v in said]

    return lab.once("said", make)


def _sample_shown(case: list[list[Any]]) -> Evidence:
    return Evidence("the sample", Table.of(["stratum", "assets", "reviewed", "accurate"], case))


@check("b", "accuracy is estimated for the catalogue, not for the sample", points=1)
def accuracy_is_weighted(lab: Lab) -> str:
    """The report by domain, then samples from other catalogues: each the sum over strata of weight times share."""
    off, shown = _compare(lab, "accuracy")
    if off:
        got, want = read_health(lab), oracle(lab)
        plain = all(
            as_number(got[n]["accuracy"]) is not None
            and abs(as_number(got[n]["accuracy"]) - float(want[n]["plain_share"])) <= TOLERANCE
            for n in want
        )
        raise CheckFailed(
            f"accuracy is not right for {', '.join(off)}. "
            + (
                "Yours is the share among the reviewed. Core assets, which are in better order, were reviewed far more often "
                "than others: weight each tier with its assets in use."
                if plain
                else "It is a weighted mean of the tiers' shares, from the sample of round 2026-Q2 alone; complaints and earlier "
                "rounds say something else."
            ),
            evidence=shown,
            ask="Whom does one review of a local asset stand for?" if plain else "Which reviews were drawn by lot?",
            misconception="unweighted" if plain else "complaints",
        )
    for known, (got, _, _) in zip(samples(lab), _said(lab), strict=True):
        want = known.estimate
        expect(
            abs(got - want) <= TOLERANCE,
            f"`accuracy(strata, sample)` says {got:.4f} for a sample whose stratified estimate is {want:.4f}.",
            evidence=_sample_shown(known.case),
            misconception="unweighted",
        )
    want = oracle(lab)
    low, high = (f(want.values(), key=lambda r: r["accuracy"]) for f in (min, max))
    return (
        f"Estimated accuracy: from {float(low['accuracy']):.0%} ({low['domain']}) to {float(high['accuracy']):.0%} "
        f"({high['domain']}); right for {len(samples(lab))} other samples too."
    )


@check("b", "the interval holds the true share as often as it promises, and is no wider than it must be", points=1.5)
def interval_keeps_its_promise(lab: Lab) -> str:
    """Coverage and width by catalogue, over samples whose true share is known."""
    said, known = _said(lab), samples(lab)
    for k, (share, low, high) in zip(known, said, strict=True):
        expect(
            -1e-9 <= low <= share + 1e-9 and share - 1e-9 <= high <= 1 + 1e-9,
            f"For one sample `accuracy` says {share:.3f} with an interval from {low:.3f} to {high:.3f}: 0 <= low <= accuracy <= "
            "high <= 1 is expected.",
            evidence=_sample_shown(k.case),
        )
    holds, widths, usual = ([0.0] * (CATALOGUES + 1) for _ in range(3))
    for k, (_, low, high) in zip(known, said, strict=True):
        holds[k.of] += k.chance * (low <= k.share <= high)
        widths[k.of] += k.chance * (high - low)
        usual[k.of] += k.chance * k.width
    times = [mine / wilsons for mine, wilsons in zip(widths, usual, strict=True)]
    covers = sum(holds[:CATALOGUES]) / CATALOGUES
    reviews = [sum(r[2] for r in next(k.case for k in known if k.of == n)) for n in range(CATALOGUES)]
    names = [*(f"three strata, {n} reviews" for n in reviews), "plain samples, 14 to 25 reviews"]
    shown = Evidence(
        "by catalogue",
        Table.of(
            ["sample", "intervals that hold the true share", "mean width", "width of Wilson's"],
            [(n, f"{h:.1%}", round(w, 3), round(u, 3)) for n, h, w, u in zip(names, holds, widths, usual, strict=True)],
        ),
    )
    least = min(range(CATALOGUES), key=holds.__getitem__)
    expect(
        covers >= COVERS[0] and holds[least] >= COVERS_EACH,
        f"Of the samples with three strata {covers:.1%} of the intervals hold the true share, and {holds[least]:.1%} of "
        f"those with {reviews[least]} reviews; at least {COVERS[0]:.0%} and {COVERS_EACH:.0%} are asked for. They are "
        f"{times[least]:.2f} times as wide as a stratified Wilson interval there.",
        evidence=shown,
        ask="How uncertain is a stratum with a large weight and few reviews?",
        misconception="no_interval" if times[least] < 0.02 else "too_narrow",
    )
    expect(
        holds[CATALOGUES] >= COVERS[0],
        f"Of plain samples with 14 to 25 reviews {holds[CATALOGUES]:.1%} of the intervals hold the true share, weighed by "
        f"chance; at least {COVERS[0]:.0%} are asked for.",
        evidence=shown,
        ask="What does yours say of 19 accurate out of 20, and of 20 out of 20?",
        misconception="certain",
    )
    widest = max(range(CATALOGUES + 1), key=times.__getitem__)
    expect(
        covers <= COVERS[1] and times[widest] <= WIDTH,
        f"{covers:.1%} of the intervals hold the true share, and those of {names[widest]} are "
        f"{times[widest]:.2f} times as "
        f"wide as a stratified Wilson interval; at most {COVERS[1]:.0%} and {WIDTH:g} times are allowed. Nobody can decide by "
        "an interval that holds everything, or that is as wide for four hundred reviews as for forty.",
        evidence=shown,
        misconception="too_wide",
    )
    return (
        f"{covers:.1%} of the intervals hold the true share, {holds[CATALOGUES]:.1%} of those of plain samples; they are at most "
        f"{times[widest]:.2f} times as wide as Wilson's."
    )


# -- twelve weeks later -------------------------------------------------------------------------------------------------------


def _strata(lab: Lab) -> dict[str, list[list[Any]]]:
    """The sample of this world's catalogue as a case of `estimate_samples`, by domain."""

    def make() -> dict[str, list[list[Any]]]:
        rows = lab.world.sql("""
            select a.domain, a.tier, count(*) as assets, count(r.asset_id) as reviewed,
              coalesce(sum(r.is_accurate::int), 0)::int as accurate
            from ops.catalog_assets a
            left join (from ops.catalog_reviews where reason = 'sample' and round = '2026-Q2') r using (asset_id)
            where a.retired_at is null
            group by all order by all
        """).rows
        return {n: [list(r[1:]) for r in rows if r[0] == n] for n in sorted({r[0] for r in rows})}

    return lab.kept("strata", make)


def twelve_weeks_later(lab: Lab) -> Any:
    """Entries that wait in this world's domains for twelve weeks under three models, and the catalogue's health by domain."""
    from workshop.plots import BLUE, GREEN, GREY, ORANGE, RED, plt

    domains, capacity = read_domains(lab)
    models = {"desk for all": alike(domains, CENTRAL), "domains on their own": alike(domains, DECENTRAL)}
    colours = {"desk for all": ORANGE, "domains on their own": RED, "yours": BLUE}
    with contextlib.suppress(CheckFailed):
        models["yours"] = read_model(lab.call("curation_model", [dict(x) for x in domains], dict(capacity)), domains)
    draws = draw_years(domains, capacity, str(lab.rng("twelve weeks").integers(2**62)), 20)
    ran = run_years(domains, capacity, list(models.values()), draws)
    waits = ran.waiting[:, :12].sum(axis=-1)  # models, weeks, years
    figure, (queue, health) = plt.subplots(1, 2, figsize=(9.2, 3.4))
    week = np.arange(1, 13)
    for i, name in enumerate(models):
        low, high = np.quantile(waits[i], [0.1, 0.9], axis=-1)
        queue.fill_between(week, low, high, color=colours[name], alpha=0.2, lw=0)
        queue.plot(week, waits[i].mean(axis=-1), color=colours[name], label=name)
    last = waits[:, -1].mean(axis=-1)
    mine = f", {last[2]:.0f} with yours" if len(last) > 2 else ""
    queue.set(xlabel="week", ylabel="entries that wait")
    queue.set_title(f"Waiting: desk {last[0]:.0f}, domains {last[1]:.0f}{mine}", fontsize=10)
    queue.legend()
    try:
        report = read_health(lab)
        names = sorted(report)
        said = _estimates(lab, [_strata(lab)[n] for n in names])
        for k, (name, value) in enumerate(zip(names, said, strict=True)):
            share, low, high = read_interval(value)
            health.plot([low, high], [k, k], color=GREEN, lw=2, label="accurate, 95% interval" if k == 0 else None)
            health.plot(share, k, "o", color=GREEN)
            complete = as_number(report[name]["complete_share"])
            health.plot(complete, k, "s", color=GREY, label="complete" if k == 0 else None)
        health.set_yticks(range(len(names)), names)
        health.set_xlim(0, 1)
        health.set_xlabel("share of the assets in use")
        health.set_title("Complete is not accurate, and a sample leaves room", fontsize=10)
        health.legend(loc="lower left", fontsize=7)
    except CheckFailed as failure:
        health.axis("off")
        said = "task b is not done" if isinstance(failure, NotAttempted) else "task b does not give a report yet"
        health.text(0.5, 0.5, said, ha="center", color=GREY)
    plt.close(figure)  # the notebook shows what is returned, and would show an open figure a second time
    return figure
