# %% [markdown]
# # 5.3 Which quality rules at ingestion and which at transformation
#
# The head of order data at Kestrel asks: *"Last night our checks flagged nearly three hundred partner orders. They do so
# every night, at three in the morning, after everything has been joined. Why not where the files come in? And why does a
# rule that has found something let it pass?"*
#
# Partner sellers send an order file every hour. Eighteen rules watch the feed; all of them run in the nightly
# transformation, and all of them only warn. You will see why the obvious answers (run everything early, hold back
# everything that is flagged) are both wrong, and get two small sums that decide for each rule where it runs and what it
# does. You take away a placement policy for your own rules.
#
# ## What lands
#
# `raw.order_feed` holds one row in thirty or so of the last month, as it landed. A few of the bad ones:
# %%
from workshop import open_lesson
from workshop.plots import BLUE, GREY, ORANGE, RED, plt, show

con = open_lesson("5.3")
con.sql(
    """
    select file_id, record_no, order_ref, order_id, currency, total_amount, ordered_on
    from raw.order_feed
    where order_id is null or total_amount <= 0 or ordered_on > landed_on or currency in ('US$', '???', 'EURO')
    order by file_id, record_no
    limit 6
    """
)
# %% [markdown]
# A currency `US$`, an order of next year. Somebody typed these. And this is what the rules made of the last three days: a
# little more than half of what they flagged was bad, the rest was looked at for nothing.
# %%
con.sql(
    """
    select
      day_on,
      max(rows_landed)::int as rows_landed,
      sum(units_flagged)::int as rows_flagged,
      sum(units_confirmed)::int as found_to_be_bad
    from ops.dq_results
    join ops.dq_rules using (rule_id)
    where scope = 'row'
    group by day_on
    order by day_on desc
    limit 3
    """
)
# %% [markdown]
# ## The obvious answer: everything at ingestion
#
# Mending a bad row where it lands costs about 40 cents at Kestrel: the partner resends it. Once it has been joined and
# summed, it costs some two dollars. So: shift left, all of it?
#
# **Predict** before you run the next cell. The rule "customer is known" is moved to ingestion. What does it flag there?
#
# - A. The same rows as at night, earlier.
# - B. Fewer, since customers may be deleted until the night.
# - C. The same rows and many good ones.
#
# <details><summary>Answer</summary>
#
# C. The customer table lands after the order files. A new customer's first order comes in before the customer does, and
# a rule that asks "is there such a customer?" says no, of a perfectly good order. A and B take it that a rule sees the same
# data wherever it stands. It sees what has landed.
#
# </details>
# %%
con.sql(
    """
    with needed as (
      select rule_id, rule, unnest(inputs) as source
      from ops.dq_rules
    )
    select
      rule_id,
      rule,
      source as lands_later,
      missing_at_ingestion_pct,
      (missing_at_ingestion_pct / 100 * (select avg(rows_landed) from ops.dq_results))::int as good_rows_flagged_a_day
    from needed
    join ops.dq_sources using (source)
    where lands = 'after'
    order by rule_id
    """
)
# %% [markdown]
# Six of eighteen rules read something that lands after the file. At ingestion "paid amount equals the total" would flag
# three rows of four, every day, for nothing. After a week nobody would look at its flags any more.
#
# So the first sum is a union, not an opinion: **a rule belongs to the earliest stage at which all its inputs are there.**
# Twelve rules can move to ingestion; six cannot, whatever a bad row costs.
#
# ## What a rule says about nothing
#
# Two of those twelve, written for Great Expectations and run on the feed as it landed:
# %%
import great_expectations as gx
import great_expectations.expectations as gxe

from workshop.quality import run_suite

context = gx.get_context(mode="ephemeral")
suite = gx.ExpectationSuite(name="first_try")
codes = ["EUR", "PLN", "USD", "CAD", "MXN", "JPY", "AUD"]
suite.add_expectation(gxe.ExpectColumnValuesToBeInSet(column="currency", value_set=codes))
suite.add_expectation(gxe.ExpectColumnValuesToBeBetween(column="total_amount", min_value=0, strict_min=True))
feed = con.sql("select * from raw.order_feed order by file_id, record_no").df()
flagged = {row for result in run_suite(suite, feed) for row in result.rows}
empty = feed[feed.currency.isna() | feed.total_amount.isna()]
both = flagged & set(empty.index)
print(f"{len(flagged)} rows flagged, {len(empty)} rows have no currency or no amount, {len(both)} of them flagged")
# %% [markdown]
# Not one of the rows without a value is flagged. Nearly every expectation passes over nulls (so do dbt's `accepted_values`
# and a SQL `check`): "is one of seven" says nothing of a value that is not there. That a value must be there is a rule of
# its own.
# %%
suite.add_expectation(gxe.ExpectColumnValuesToNotBeNull(column="currency"))
suite.add_expectation(gxe.ExpectColumnValuesToNotBeNull(column="total_amount"))
flagged = {row for result in run_suite(suite, feed) for row in result.rows}
print(f"{len(flagged)} rows flagged, {len(flagged & set(empty.index))} of the {len(empty)} without a value among them")
# %% [markdown]
# ## Block, quarantine or warn
#
# A flagged row can be let pass with a warning, kept aside (quarantine), or hold up its whole file (block). What it costs is
# a matter of counting. Over the last sixty days, the rule "order id is there", had it run at ingestion:
# %%
counts = (
    con.execute(
        """
    select
      sum(units_flagged - units_confirmed) as good,
      sum(units_confirmed)::bigint as bad,
      sum(files_flagged) as files,
      sum(rows_landed) / sum(files) as rows_per_file,
      any_value(r) as price
    from ops.dq_results
    join ops.dq_rules r using (rule_id)
    where rule_id = 'R02'
    """
    )
    .df()
    .iloc[0]
)
price = {k: float(v) for k, v in counts.price.items() if k.endswith("_usd")}
fix, waiting = price["fix_at_ingestion_usd"], counts.files * counts.rows_per_file - counts.bad
costs = {
    "warn": counts.bad * price["harm_usd"],
    "quarantine": (counts.bad + counts.good) * price["review_usd"]
    + counts.good * price["delay_usd"]
    + counts.bad * fix,
    "block": counts.files * price["review_usd"] + waiting * price["delay_usd"] + counts.bad * fix,
}
print(f"{counts.bad:.0f} bad rows in {counts.files:.0f} files of {counts.rows_per_file:.0f} rows")
print({action: f"${usd:,.0f}" for action, usd in costs.items()})
# %% [markdown]
# Blocking is the dearest by far: for each bad row more than a hundred good ones wait. Refusing a file for one row is right only
# for rules about the file itself: rows missing against the manifest, amounts in cents instead of euros.
#
# Between warning and quarantine the sum can be turned into a bar that a rule must clear. Quarantine is cheaper when
#
# $$\frac{\text{bad}}{\text{flagged}} \; > \; \frac{\text{review} + \text{delay}}{\text{harm} - \text{fix} + \text{delay}}$$
#
# The left side is the rule's **precision**: the share of its flags that were confirmed. The right side is a price. Change one
# thing, the action, and look at all row rules at once:
# %%
bars = con.execute(
    """
    with placed as (
      select rule_id, bool_and(lands <> 'after') as is_early
      from (select rule_id, unnest(inputs) as source from ops.dq_rules)
      join ops.dq_sources using (source)
      group by rule_id
    )
    select
      r.rule_id,
      sum(d.units_confirmed) / sum(d.units_flagged) as precision,
      any_value(
        (review_usd + delay_usd)::double
        / (harm_usd - if(is_early, fix_at_ingestion_usd, fix_at_transformation_usd) + delay_usd)
      ) as bar
    from ops.dq_rules r
    join placed using (rule_id)
    join ops.dq_results d using (rule_id)
    where scope = 'row'
    group by r.rule_id
    order by r.rule_id
    """
).df()
bars["bar"] = bars.bar.where(bars.bar > 0, 2.0).clip(upper=1.15)  # below zero: mending costs more than the harm
figure, axes = plt.subplots(figsize=(7.2, 4))
axes.fill_between([0, 1.2], [0, 1.2], [0, 0], color=BLUE, alpha=0.08)
axes.plot([0, 1.2], [0, 1.2], color=GREY, linewidth=1)
for row in bars.itertuples():
    pays = row.precision > row.bar
    axes.plot(row.precision, row.bar, "o" if pays else "s", color=BLUE if pays else ORANGE)
    above = 11 if row.rule_id == "R11" else 2
    axes.annotate(row.rule_id, (row.precision, row.bar), xytext=(6, above), textcoords="offset points", fontsize=9)
axes.text(0.7, 0.4, "quarantine is cheaper", color=BLUE)
axes.text(0.1, 0.85, "a warning is cheaper", color=RED)
axes.set(
    xlim=(0, 1.08),
    ylim=(0, 1.2),
    xlabel="precision: share of flags that were bad",
    ylabel="precision at which quarantine pays",
)
axes.set_title("R01 is mostly right and should warn; R12 is mostly wrong and should hold")
show(
    figure,
    "Scatter of fourteen row rules: R02, R04, R05, R06, R08, R10 and R12 below the diagonal, where quarantine pays; the others "
    "above it: R07 and R11 at the far left, R01, R03, R09 and R14 at the top.",
)
# %% [markdown]
# Half of the row rules should hold rows back, half should not, and no short cut finds them:
#
# - "Hold back what is mostly right." R01, the order reference, is right three times in four; but a bad reference does 54 cents
#   of harm, less than looking at it costs. R12, the currency of the payment, is wrong more often than right, and still
#   saves several dollars a flag: a payment booked in the wrong currency costs 26.
# - "Hold back what does great harm." An unknown customer (R07) costs 51 dollars, more than anything else here, and 99 of
#   a hundred flags are of customers who are perfectly known by another name. Holding them all costs more than the one.
# - "The rule is the same everywhere, so is the answer." Both sides of the bar are Kestrel's: its partners, its prices. Another
#   company's R07 may be its best quarantine.
#
# Severity follows from the same sum: what holds rows back is critical, what does not is a warning. A rule that is called a
# warning and blocks all the same is how people learn to switch rules off.
#
# ## A row that waits must be found again
#
# Quarantine is a promise: the row is kept whole, with the rules that it broke; once mended it goes through the rules again,
# and then on, once. Two ways to break the promise are popular. Dropping the row (a filter in the staging model does it, and
# nobody counts what it drops), and loading the mended file again, so that rows which had passed are there twice. The lab's
# flow has to survive being killed between any two statements.
#
# ## When the rule does not hold
#
# - The sum takes the costs of one row times the number of rows. Where bad rows compound (an exchange rate that is wrong for
#   everybody), it is the file or the day that is flagged, and blocking is cheap by comparison.
# - History prices tomorrow only while the partner behaves as before. Recompute the placement each quarter, and when a source
#   lands at another time.
# - Some rows must not pass at any price: the law, not the sum, makes those critical.
#
# **In practice.** Great Expectations carries `severity` (critical, warning, info) on each expectation; what it does is up to
# the checkpoint's actions. dbt tests have `severity: warn | error`, `store_failures` is a quarantine for looking at, not for
# releasing. Databricks pipelines name the three actions `EXPECT`, `EXPECT ... ON VIOLATION DROP ROW` and `... FAIL UPDATE`:
# mind that the middle one drops. In streams a quarantine is the dead-letter queue. In Airflow, a branch after the check keeps
# the good rows going while the others wait.
#
# ## Recap
#
# Why not where the files come in? Twelve rules can, and each bad row then costs a fifth; six would cry wolf, since what they
# read has not landed. Why does a rule let pass what it found? Half of them should not: keep the row aside, not the file. The
# other half should, and the counts of the last two months and four prices say which.
#
# **Take home:** `place(con)`, which computes stage, action and severity from inputs, costs and history, and two suites that run
# as they are.
#
# **References**
#
# 1. DAMA International, *DAMA-DMBOK: Data Management Body of Knowledge*, 2nd ed., 2017, chapter 13, "Data Quality".
# 2. L. Ehrlinger and W. Wöß, "A Survey of Data Quality Measurement and Monitoring Tools", *Frontiers in Big Data* 5, 2022.
# 3. N. Polyzotis, M. Zinkevich, S. Roy, E. Breck and S. Whang, "Data Validation for Machine Learning", *MLSys*, 2019.
#
# Now the [lab](../../labs/05_observability/03_rule_placement.ipynb).
