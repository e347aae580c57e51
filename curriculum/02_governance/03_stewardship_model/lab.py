# %% [markdown]
# # Lab 2.3: Central stewards or domain ownership of the catalogue
#
# You decide, domain by domain, who curates the catalogue (task a), and measure how healthy the catalogue is (task b). About
# 50 minutes. Lesson 2.3 has the background.
#
# You change the cells that begin with `# Task`; what you need besides goes into the same cells. When your work is graded, it
# meets other domains, another desk and other entries: what is true of this world's finance need not be true of the next
# one's.

# %% tags=["parameters"]
WORLD, SCALE = "practice-7", 0.05

# %% tags=["setup"]
import math

import numpy as np
import pandas as pd

from workshop import TODO, open_lab
from workshop.sim.curation import CURATORS, simulate_years

lab = open_lab("2.3", world=WORLD, scale=SCALE)

# %%
domains = [
    {k: v if isinstance(v, str) else float(v) for k, v in row.items()}
    for row in lab.con.sql("from ops.curation_domains order by domain").df().to_dict("records")
]
capacity = {
    "desk_hours_per_week": float(lab.con.sql("select desk_hours_per_week from ops.curation_capacity").fetchall()[0][0])
}

# %% [markdown]
# ## Task a: who curates what
#
# Each asset that is new or has changed needs its entry curated. Entries are of two kinds: `routine` (tables and views) and
# `business` (metrics and terms). A **model** says for each domain
#
# * `routine` and `business`: who curates entries of that kind, `"desk"` (the central stewards) or `"domain"`;
# * `review_share`: from 0 to 1, which share of what the domain curates is reviewed by the desk;
# * `escalate_above_weeks`: from 0 to 52. If more work waits with the domain than its curators do in so many weeks (of
#   `domain_hours_per_week` hours), the excess goes to the desk. 52 means never.
#
# Write `curation_model(domains, capacity)`. `domains` is a list of dicts and `capacity` a dict with `desk_hours_per_week`, as
# in the cell above. The fields of a domain:
#
# | field | what it is |
# | --- | --- |
# | `domain` | its name |
# | `routine_per_week`, `business_per_week` | entries that arrive, mean of the year |
# | `domain_hours_per_week` | hours that the domain's curators have, mean of the weeks that are not closed |
# | `closed_weeks` | of the 13 weeks of a quarter, the last so many in which they have none |
# | `desk_hours_routine`, `desk_hours_business` | hours that the desk needs for one such entry of this domain |
# | `desk_wrong_routine`, `desk_wrong_business` | share of these that is wrong when the desk curates them |
# | `domain_wrong` | share that is wrong of what the domain curates |
# | `drift_per_week` | by how much the off-standard share of what the domain curates grows in a week, mean |
# | `stale_usd_per_week` | cost of one entry that waits for a week |
# | `wrong_usd_per_week` | cost of one wrong entry that is used for a week |
#
# Return a list of dicts (or a DataFrame) with one row for each domain: `domain`, `routine`, `business`, `review_share`,
# `escalate_above_weeks`.
#
# How a year goes:
#
# * A domain's curator needs 1.0 hours for a routine entry and 1.4 for a business entry; a review takes the desk 0.8 hours.
# * The desk does its reviews first and spends what is left of its hours on its queue. **It cannot do more than it has hours
#   for**: what is too much waits.
# * A review finds 9 of 10 wrong or off-standard entries and mends them. It also teaches: if the desk reviews a share r of a
#   week's work of a domain, the off-standard share shrinks by r / 4 of itself that week. It starts at 0.03, and never exceeds
#   0.7.
# * The desk's own entries are not reviewed, and are not off standard. Users find 1 in 12 of the wrong entries in use each
#   week.
#
# What it costs: 55 USD for an hour of the desk that is worked, 80 for one of a domain's curators, 480 for each off-standard
# entry that no review mended, and the two prices by the week above. An entry that waits at the end of the year is charged 52
# weeks more.
#
# `simulate_years(domains, capacity, models, seed)` is the simulation by which you are judged (`help(simulate_years)`; its
# module `workshop.sim.curation` is meant to be read). `models` is a **list of models**: a hundred at once take a tenth of a
# second. Call it within your function, on seeds of your own (any text or number): a search with it is what comes close to the
# best.
#
# **Judged** (6 points). Your function is called for four companies: this world's, and three whose domains were drawn anew by
# the same rules (names stay, everything else differs, the desk's hours too). It has 20 seconds for each when it is graded.
# Each model then runs through five fresh years, the same for all that is compared:
#
# 1. nobody is left behind: in each company, at the end of a year (mean of the five), what waits at the desk is at most 6
#    weeks of its hours, and what waits of each domain (with the domain or at the desk) at most 26 weeks of its arrivals
#    (1.5);
# 2. in at least 18 of the 20 years it costs less than a central desk that curates everything, and less than domains that
#    curate everything without reviews and escalation (1);
# 3. over the 20 years it costs at most best + 0.4 x (same - best). *Best* is a search by simulation that knows what your
#    function is given; *same* is the cheapest model that has the same four settings in all domains (3.5).


# %% tags=["task-a"]
# Task a
def curation_model(domains, capacity):
    """Return a list of dicts, one for each domain: domain, routine, business, review_share, escalate_above_weeks."""
    ### BEGIN SOLUTION
    settings = [
        {"routine": routine, "business": business, "review_share": share, "escalate_above_weeks": weeks}
        for routine in CURATORS
        for business in CURATORS
        for share in (0.0, 0.05, 0.1, 0.2, 0.35, 0.55, 0.8, 1.0)
        for weeks in (0.5, 1.5, 4.0, 52.0)
    ]
    # If the desk had all the hours in the world, no domain would be in another's way: each setting has its cost and its hours
    # of the desk, whatever the others do.
    alone = simulate_years(
        domains,
        {"desk_hours_per_week": 1e6},
        [[{"domain": x["domain"], **s} for x in domains] for s in settings],
        "alone",
    )
    # What couples the domains is the desk's hours. A charge on top of each hour makes every domain ask for fewer, and those
    # give them up first that lose least by it.
    models = []
    for charge_usd in [0, *np.geomspace(3, 600, 40)]:
        model = []
        for x in domains:
            costs = [a["domains"][x["domain"]] for a in alone]
            cheapest = min(range(len(settings)), key=lambda i: costs[i]["usd"] + charge_usd * costs[i]["desk_hours"])
            model.append({"domain": x["domain"], **settings[cheapest]})
        if model not in models:
            models.append(model)
    # Which charge is right, the desk as it is says: too low, and its queue grows; too high, and its hours lie idle.
    together = simulate_years(domains, capacity, models, "together", years=10)
    return min(zip(together, models, strict=True), key=lambda pair: pair[0]["usd"])[1]
    ### END SOLUTION


# %% tags=["nbval-check-output"]
try:
    mine = curation_model(domains, capacity)
    print(pd.DataFrame(mine).sort_values("domain")[["domain", "routine", "business"]].to_string(index=False))
except TODO:
    print("not attempted yet")

# %% tags=["check-a"]
lab.check("a")

# %% [markdown] tags=["rationale-a"]
# **Your reasons, task a.** Double-click this cell and write under the line, in at most 120 words: what did you trade for what,
# with which figures, and when would you choose otherwise? In a course, a human reads it; on your own, read it again in a week.
#
# ---

# %% [markdown]
# ## Task b: how healthy the catalogue is
#
# `ops.catalog_assets` holds the catalogue as it stands today (2026-06-30 00:00 UTC). Write `health(con)`, which returns one
# row (DataFrame, relation or list of dicts) for each domain that has assets **in use** (`retired_at` is null). Assets that
# are not in use count nowhere. Columns:
#
# * `domain`;
# * `assets`: how many are in use;
# * `complete_share`: which share of them (0 to 1) is complete: every compulsory field is **valid**, not just filled. Which
#   fields are compulsory for which kind of asset stands in `ops.catalog_requirements` (`kind`, `field`). A null is never
#   valid. Texts are compared in lower case and without blanks at either end. Valid is
#     * a `description` that is not empty, no placeholder (`ops.catalog_terms` with `field = 'description'`) and not the
#       asset's own `asset_name`;
#     * an `owner_person_id` of somebody in `ops.people` who has not left (`left_on` is null);
#     * a `classification` or `unit` that is an allowed term of that field (`ops.catalog_terms`);
#     * a `freshness_hours` from 1 to 744;
# * `stale_share`: which share of them is stale: at least one entry of the asset in `ops.curation_history` arrived before
#   2026-06-02 00:00 UTC and still waits (`curated_at` is null);
# * `accuracy`: which share of them has an accurate entry, estimated from reviews. Use those of the sample of round `2026-Q2`
#   (`ops.catalog_reviews`: `reason = 'sample'`, `round = '2026-Q2'`) and no others. They were drawn by lot within each domain
#   and stratum (= `tier`), without replacement, and core assets far more often than others. So the estimate is, over the
#   tiers h of the domain, the sum of N_h / N x (share accurate among the reviewed of h), where N_h is the number of assets in
#   use of that domain and tier, and N their sum. Every tier of every domain has reviews; all reviewed are in use.
#
# Write also `accuracy(strata, sample)`, which gives the same estimate with a 95% interval for any such sample. `strata` is a
# list of dicts with `stratum` (text) and `assets` (N_h); `sample` a list of dicts, one for each review, with `stratum` and
# `is_accurate`, in any order. Return a dict with `accuracy`, `low` and `high`. What the interval is for: the share of
# accurate entries among all assets of the strata. Wilson, Clopper-Pearson, a bootstrap: take what you like, as long as it
# does what is asked.
#
# **Judged** (4 points):
#
# 1. `complete_share` (and `assets`) of each domain (1), `stale_share` (0.5), to a millionth;
# 2. `accuracy` of each domain, and of `accuracy()` for samples from other catalogues (1), to a millionth;
# 3. the interval (1.5). `accuracy` is called for 225 samples from three catalogues with three strata each (200 to 1,200
#    assets; about 50, 150 and 450 reviewed), picked so that low and high estimates are there as often as they occur, and for
#    all that can come out of twelve plain samples (one stratum, 14 to 25 reviewed, 84 to 95% accurate). Of the first, between
#    92% and 99% of the intervals must hold the true share, and at least 90% in each catalogue; of the plain ones, weighed by
#    their chances, at least 92%. In each catalogue, and over the plain samples, their mean width is at most 1.25 times that of
#    a stratified Wilson interval, and 0 <= low <= accuracy <= high <= 1. All together have 20 seconds.


# %% tags=["task-b"]
# Task b
def health(con):
    """Return one row for each domain: domain, assets, complete_share, stale_share, accuracy."""
    ### BEGIN SOLUTION
    return con.sql("""
        with
        live as (from ops.catalog_assets where retired_at is null),
        valid as (
          select
            a.asset_id,
            t.field,
            case t.field
              when 'description' then
                trim(a.description) <> '' and lower(trim(a.description)) <> lower(trim(a.asset_name))
                and lower(trim(a.description)) not in (
                  select term from ops.catalog_terms where field = 'description' and not is_allowed
                )
              when 'owner_person_id' then a.owner_person_id in (select person_id from ops.people where left_on is null)
              when 'classification' then
                lower(trim(a.classification)) in (
                  select term from ops.catalog_terms where field = 'classification' and is_allowed
                )
              when 'unit' then lower(trim(a.unit)) in (select term from ops.catalog_terms where field = 'unit' and is_allowed)
              when 'freshness_hours' then a.freshness_hours between 1 and 744
            end as is_valid
          from live a
          join ops.catalog_requirements t using (kind)
        ),
        complete as (select asset_id, bool_and(coalesce(is_valid, false)) as is_complete from valid group by asset_id),
        late as (
          select distinct asset_id
          from ops.curation_history
          where curated_at is null and arrived_at < timestamp '2026-06-02'
        ),
        counted as (
          select
            domain,
            count(*) as assets,
            avg(coalesce(is_complete, true)::int) as complete_share,
            avg((late.asset_id is not null)::int) as stale_share
          from live
          left join complete using (asset_id)
          left join late using (asset_id)
          group by domain
        ),
        strata as (select domain, tier, count(*) as assets from live group by domain, tier),
        reviewed as (
          select a.domain, a.tier, avg(r.is_accurate::int) as accurate_share
          from ops.catalog_reviews r
          join live a using (asset_id)
          where r.reason = 'sample' and r.round = '2026-Q2'
          group by a.domain, a.tier
        ),
        estimated as (
          select domain, sum(assets * accurate_share) / sum(assets) as accuracy
          from strata
          join reviewed using (domain, tier)
          group by domain
        )
        select domain, assets, complete_share, stale_share, accuracy
        from counted
        join estimated using (domain)
        order by domain
    """)
    ### END SOLUTION


def accuracy(strata, sample):
    """Return {"accuracy": share, "low": share, "high": share}: the stratified estimate and its 95% interval."""
    ### BEGIN SOLUTION
    total = sum(s["assets"] for s in strata)
    share = variance = 0.0
    for s in strata:
        seen = [bool(r["is_accurate"]) for r in sample if r["stratum"] == s["stratum"]]
        n, p, weight = len(seen), sum(seen) / len(seen), s["assets"] / total
        share += weight * p
        # What has been looked at is known: only the rest of the stratum is uncertain.
        variance += weight**2 * (1 - n / s["assets"]) * p * (1 - p) / max(n - 1, 1)
    # How many reviews of a plain random sample would say as much: Wilson's interval with that number.
    n = share * (1 - share) / variance if variance > 0 else len(sample)
    z = 1.959964
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return {"accuracy": share, "low": max(0.0, min(share, middle - half)), "high": min(1.0, max(share, middle + half))}
    ### END SOLUTION


# %% tags=["nbval-check-output"]
try:
    report = health(lab.con)
    report = (
        report
        if isinstance(report, pd.DataFrame)
        else pd.DataFrame(report)
        if isinstance(report, list)
        else report.df()
    )
    print(report.sort_values("domain").astype({"assets": int}).round(3).to_string(index=False))
except TODO:
    print("not attempted yet")

# %% tags=["check-b"]
lab.check("b")

# %% [markdown]
# ## Twelve weeks later
#
# Left: entries that wait in this world's domains, under a central desk, under domains on their own, and under your model.
# Right: complete, and accurate with its interval, by domain, as your functions say.

# %%
lab.twelve_weeks_later()

# %% [markdown]
# ## To take home
#
# Two files: the model, one row for each domain with the numbers it rests on (measure those again each half year, as domains
# hire and standards drift), and the health report, in which no share of a sample stands without its interval.
