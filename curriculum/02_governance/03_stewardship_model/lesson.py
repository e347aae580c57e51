# %% [markdown]
# # Lesson 2.3: Central stewards or domain ownership of the catalogue
#
# The head of data asks: "Our stewards were three months behind, so in January I gave the catalogue to the domains. Now some
# do nothing, and the others each do it in their own way. Do I take it back?"
#
# You will see in a year of history what each way of working did, replay both, and find out why neither is the answer for nine
# domains at once. You take away a way to decide domain by domain, and what a sample of reviews does and does not tell.

# %%
import numpy as np

from workshop import open_lesson
from workshop.plots import BLUE, GREEN, GREY, ORANGE, RED, plt, show
from workshop.sim.curation import COSTS, simulate_years

con = open_lesson("2.3")

# %% [markdown]
# ## Before January and after
#
# Each asset that is new or has changed needs its catalogue entry curated. `ops.curation_history` has a row for each: when it
# arrived and when, and by whom, it was curated. An audit looked at a quarter of them. Left half: what arrived when the
# central desk curated; right half: since the domains do.

# %%
con.sql("""
    with eras as (
      select *, arrived_at < timestamp '2025-12-29' as desk, epoch(curated_at - arrived_at) / 604800 as weeks
      from ops.curation_history as h
    )
    select domain,
      round(avg(weeks) filter (desk), 1) as desk_weeks, round(avg(is_wrong::int) filter (desk), 2) as desk_wrong,
      round(avg((curated_at is null)::int) filter (not desk), 2) as still_waits,
      round(avg(weeks) filter (not desk), 1) as weeks, round(avg(is_wrong::int) filter (curated_by = 'domain'), 2) as wrong,
      round(avg(is_off_standard::int) filter (curated_by = 'domain'), 2) as off_standard,
      count(is_wrong) filter (curated_by = 'domain') as audited
    from eras
    group by domain
    order by still_waits desc, domain
""").df()

# %% [markdown]
# The desk was slow everywhere, and often wrong where one has to know the business. Since January the picture has split. Some
# domains do it within two days, and well. Some have no hours: what arrives there waits (the mean of weeks is over what *was*
# curated: where most still waits, it looks better than it is). And some do it fast and off the common
# standard (say `gross` here and `incl_tax` there), so that whoever joins two domains has to mend by hand.
#
# ## The dashboard that says all is well
#
# The steering committee looks at one number, the share of descriptions that are filled.

# %%
con.sql("""
    select domain, count(*) as assets, round(avg((description is not null)::int), 2) as filled,
      round(avg((description is not null and lower(trim(description)) not in (
        select term from ops.catalog_terms where field = 'description' and not is_allowed))::int), 2) as no_placeholder,
      min(description) filter (lower(trim(description)) in (
        select term from ops.catalog_terms where field = 'description' and not is_allowed)) as one_of_those
    from ops.catalog_assets
    where retired_at is null
    group by domain
    order by filled desc, domain
""").df()

# %% [markdown]
# A rule that a field must be filled gets it filled. The order of the domains changes when placeholders count as what they
# are, and this is one field of several; the lab looks at all that are compulsory.
#
# ## Both pure models, replayed
#
# `workshop.sim.curation` replays years of curation from what was measured in each domain (`ops.curation_domains`): arrivals,
# hours, wrong shares, drift. It charges hours, weeks of waiting, weeks in which a wrong entry is used, and entries off
# standard. Both models on the same ten years, and beside them the middle that every slide shows: routine entries (tables,
# views) to the desk, business entries (metrics, terms) to the domains, a tenth of their work reviewed by the desk, and what
# piles up above two weeks passed on to it.

# %%
domains = [
    {k: v if isinstance(v, str) else float(v) for k, v in row.items()}
    for row in con.sql("from ops.curation_domains order by domain").df().to_dict("records")
]
capacity = {"desk_hours_per_week": float(con.sql("from ops.curation_capacity").fetchall()[0][0])}


def model(routine, business, review_share, escalate_above_weeks=52):
    """The same settings in every domain."""
    return [
        {"domain": x["domain"], "routine": routine, "business": business, "review_share": review_share,
         "escalate_above_weeks": escalate_above_weeks} for x in domains
    ]  # fmt: skip


models = {
    "desk curates all": model("desk", "desk", 0),
    "domains curate all": model("domain", "domain", 0),
    "the slide": model("desk", "domain", 0.1, 2),
}
ran = dict(zip(models, simulate_years(domains, capacity, list(models.values()), "lesson", 10), strict=True))
figure, ax = plt.subplots(figsize=(7.2, 2.7))
left = np.zeros(len(ran))
for cost, colour in zip(COSTS, (BLUE, GREEN, ORANGE, RED, GREY), strict=True):
    usd = np.array([r["costs"][cost] for r in ran.values()]) / 1e6
    ax.barh(list(ran), usd, left=left, color=colour, label=cost)
    left += usd
ax.invert_yaxis()
ax.set_xlim(0, 1.06 * left.max())
ax.set_xlabel("million USD a year")
ax.set_title(f"Waiting decides: {left[0]:.1f}, {left[1]:.1f} and {left[2]:.1f} million USD a year")
figure.legend(loc="outside lower center", ncols=5)
show(
    figure,
    "Bars: yearly cost of three curation models by kind of cost; waiting is by far the largest part of the pure models",
)

# %% [markdown]
# The desk's hours do not suffice for all domains, and a queue that grows costs more each week. The domains' hours do not
# suffice in some. The slide is better than both and still treats nine domains as one.
#
# ## What a review is worth
#
# A review finds what is wrong or off standard. It also teaches: where the desk looks in, standards hold.
#
# > **Before you run on, predict.** The desk had hours enough. Which share of a domain's entries should it review? (a) All:
# > four eyes see more. (b) A tenth: a sample is enough to know. (c) It depends on how fast the domain's standards drift.
#
# <details><summary>Answer</summary>
#
# (c). Where hardly anything drifts and few entries are wrong, a further review soon costs more than it finds (a is dear).
# Where standards drift, a tenth does not hold them (b is what one reviews to *measure* quality; here reviews have to *keep*
# it). From some share on each further one adds less, since the standards hold already. Where they drift fast and mistakes are
# dear, all may be right.
#
# </details>

# %%
fast, slow = (f(domains, key=lambda x: x["drift_per_week"]) for f in (max, min))
shares = np.round(np.linspace(0, 1, 21), 2)
figure, ax = plt.subplots(figsize=(7.2, 2.9))
best = {}
for one, colour in ((fast, ORANGE), (slow, BLUE)):
    x = one | {"domain_hours_per_week": 40.0, "closed_weeks": 0.0}
    alone = [
        [
            {
                "domain": x["domain"],
                "routine": "domain",
                "business": "domain",
                "review_share": s,
                "escalate_above_weeks": 52,
            }
        ]
        for s in shares
    ]
    usd = np.array([r["usd"] for r in simulate_years([x], {"desk_hours_per_week": 40}, alone, "lesson", 10)]) / 1000
    best[x["domain"]] = shares[usd.argmin()]
    ax.plot(shares, usd - usd[0], color=colour, label=f"{x['domain']}, drift {x['drift_per_week']:.4f} a week")
    ax.plot(shares[usd.argmin()], (usd - usd[0]).min(), "o", color=colour)
ax.set(xlabel="share of entries reviewed", ylabel="thousand USD a year\nagainst no reviews")
ax.set_title("Cheapest share: " + ", ".join(f"{s:.0%} in {n}" for n, s in best.items()))
ax.legend()
show(
    figure,
    "Cost of a year against the share reviewed, in the domain that drifts fastest and in the one that drifts least",
)

# %% [markdown]
# ## The desk has one week in a week
#
# Even where all is worth reviewing, the first half brings most of it. And that curve took a desk with time. In truth reviews,
# routine entries and what domains pass on all draw on the same hours. The slide again, with another share of reviews each
# time:

# %%
shares = [0, 0.1, 0.2, 0.4, 0.7, 1]
for share, r in zip(
    shares,
    simulate_years(domains, capacity, [model("desk", "domain", s, 2) for s in shares], "lesson", 10),
    strict=True,
):
    print(
        f"{share:4.0%} reviewed: {r['desk_load']:.2f} times the desk's hours, "
        f"{r['desk_waiting_weeks']:4.1f} weeks wait at the end of a year, {r['usd'] / 1e6:.2f} million USD"
    )

# %% [markdown]
# Above 1.00 nothing is "a bit late": each week adds to the queue. So the desk's hour is the scarce good, and the question is
# not "desk or domain" but **where is an hour of the desk worth most?** A first answer by hand, for one business entry that
# goes to the desk instead of the domain: what is saved of the domain's time (1.4 hours at 80 USD), less the desk's time (at
# 55), less what more mistakes cost in the twelve weeks until somebody notices.

# %%
con.sql("""
    with entries as (
      select domain, desk_hours_business as desk_hours,
        1.4 * 80 - desk_hours_business * 55 + (domain_wrong - desk_wrong_business) * 12 * wrong_usd_per_week as saved_usd,
        domain_hours_per_week / (1.0 * routine_per_week + 1.4 * business_per_week) as hours_for_work, drift_per_week
      from ops.curation_domains
    )
    select domain, desk_hours, round(saved_usd) as saved_usd, round(saved_usd / desk_hours) as usd_per_desk_hour,
      round(hours_for_work, 2) as domain_hours_per_hour_of_work, drift_per_week
    from entries
    order by usd_per_desk_hour desc
""").df()

# %% [markdown]
# The first rows are domains in which the desk knows enough. The last ones lose money with each hour of the desk, unless their
# own hours (below 1 they do not suffice, and with closed weeks not at 1.1 either) or their drift say otherwise: two things
# that this sum leaves out, and a simulation does not. A domain without hours does not become an owner by being called one;
# there the desk takes a kind, or what is too much is **escalated**: above a backlog of so many weeks, the excess goes to the
# desk.
#
# ## How accurate is it? Ask a sample, and ask how sure it is
#
# No query says whether a description is true. Somebody who knows has to look. Two kinds of looks are in
# `ops.catalog_reviews`:

# %%
con.sql("""
    select round, reason, stratum, count(*) as reviews, round(avg(is_accurate::int), 2) as accurate
    from ops.catalog_reviews
    where round = '2026-Q2'
    group by all
    order by all
""").df()

# %% [markdown]
# Complaints are no sample: one complains of what is wrong. And the sample was drawn with different chances: core assets are a
# sixth of the catalogue and over a third of the reviews. A mean over reviews is the mean of a catalogue that does not exist.
#
# Then, how sure? Take one plain sample of 15 reviews. The textbook's interval is share plus and minus 1.96 standard errors.
# How often does it hold the truth, if the truth is 70%, 80%, 90%, 95%?

# %%
from math import comb

n, k = 15, np.arange(16)
p = k / n
wald = 1.96 * np.sqrt(p * (1 - p) / n)
centre = (p + 1.96**2 / (2 * n)) / (1 + 1.96**2 / n)
wilson = 1.96 / (1 + 1.96**2 / n) * np.sqrt(p * (1 - p) / n + 1.96**2 / (4 * n**2))
truth = np.linspace(0.5, 0.98, 97)
chance = np.array([[comb(n, i) * t**i * (1 - t) ** (n - i) for i in k] for t in truth])
figure, ax = plt.subplots(figsize=(7.2, 2.9))
for middle, half, colour, label in (
    (p, wald, RED, "plus and minus 1.96 standard errors"),
    (centre, wilson, BLUE, "Wilson"),
):
    holds = np.abs(truth[:, None] - middle) <= half
    ax.plot(truth, (chance * holds).sum(axis=1), color=colour, label=label)
ax.axhline(0.95, color=GREY, ls="--", lw=0.9)
ax.set(xlabel="true share", ylabel="intervals that hold it", ylim=(0.4, 1))
ax.set_title("The better the catalogue, the less the textbook's interval keeps its promise")
ax.legend(loc="lower left")
show(
    figure,
    "Chance that a 95% interval from 15 reviews holds the true share: standard errors fall far below, Wilson stays near",
)
for share in (0.7, 0.8, 0.9, 0.95):
    chances = [comb(n, i) * share**i * (1 - share) ** (n - i) for i in k]
    held = [sum(c for c, m, h in zip(chances, middle, half, strict=True) if abs(share - m) <= h)
            for middle, half in ((p, wald), (centre, wilson))]  # fmt: skip
    print(f"truth {share:.0%}: {held[0]:.0%} by standard errors, {held[1]:.0%} by Wilson")
print(f"15 of 15 accurate: plus and minus {wald[-1]:.2f}, or from {centre[-1] - wilson[-1]:.2f} by Wilson's interval")

# %% [markdown]
# With 15 of 15 the textbook is certain, and nobody should be. Wilson's interval (or Clopper-Pearson's, or a bootstrap that is
# told about small samples) keeps its promise, or nearly. For a sample in strata one number takes care of the weights: how
# many reviews of a plain sample would be as uncertain, its **effective size**.
#
# ## The rule, and where it ends
#
# 1. Decide by domain and kind of entry: who knows, who has hours, where standards drift.
# 2. The desk's hours are one budget. Spend them where an hour saves most, and never more than there are.
# 3. Review to keep a standard where it drifts, by lot and everywhere a little to know how good the catalogue is.
# 4. Give every ownership an exit: a backlog above which somebody else helps.
#
# It ends where the numbers do: shares wrong from twenty audited entries are guesses (see `audited` above), domains hire, and
# a model that moves people's work twice a year is followed by nobody. And some entries are nobody's to delegate: what a
# regulator reads stays with those who answer to the regulator.
#
# <details><summary><b>In practice</b> (DataHub, OpenMetadata, Unity Catalog, Collibra, dbt)</summary>
#
# - **OpenMetadata** and **DataHub** have owners, domains and glossaries, and report which share of assets has a description
#   or an owner: filled, not valid. Placeholders are yours to find, with a query like the one above.
# - **Unity Catalog**: owner and comment of each table stand in `information_schema`; give domains their own catalogs or
#   schemas, keep the tag vocabulary (governed tags) central.
# - **Collibra**: responsibilities by community and domain, and workflows for review and escalation; set their thresholds by
#   backlog, not by title.
# - **dbt**: descriptions and `meta` live beside the code, `groups` name owners. A pull request is a review: require the desk
#   as a code owner only where standards drift.
# </details>
#
# ## Back to the question
#
# Take it back? From some, for some kinds, as far as the desk's hours go. Others keep it, with a share of reviews that fits
# their drift, and those without hours get an exit before a promise.
#
# **You take away** a curation policy by domain and a health report that says how sure it is: both are the lab.
#
# Read on: Zhamak Dehghani, *Data Mesh* (O'Reilly, 2022), chapter 5 on federated computational governance; DAMA International,
# *DAMA-DMBOK: Data Management Body of Knowledge*, 2nd edition (2017), chapter 3 on governance and stewardship; Lawrence
# Brown, Tony Cai, Anirban DasGupta, *Interval Estimation for a Binomial Proportion* (Statistical Science 16, 2001).
