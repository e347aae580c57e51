# %% [markdown]
# # Lesson 2.6: Retention that is lawful and cheap
#
# The head of finance asks: "We pay for ten years of data that nobody opens. The data protection officer says that half of it
# should not be there at all. Legal says: delete nothing, there might be a lawsuit. Who is right, and what does it cost?"
#
# You will see what one age for everything breaks, which day a period counts from, why a pseudonym does not help, when a cold
# tier pays, and what is left when a deletion dies halfway. You take away a way to turn rules into steps, and one to price them.
# All periods in this world are invented.

# %%
import numpy as np

from workshop import open_lesson
from workshop.plots import BLUE, GREEN, ORANGE, RED, plt, show

con = open_lesson("2.6")

# %% [markdown]
# ## What is there
#
# `ops.partitions` lists what lies in storage, by table, jurisdiction and month of loading. `ops.retention_rules` says how
# long a class of data must be kept (a *minimum*, for a purpose) and how long personal data may be kept (a *maximum*).

# %%
con.sql("""
    select r.data_class, r.jurisdiction,
      max(r.minimum_months) as longest_minimum, min(r.maximum_months) as maximum,
      string_agg(r.citation, ', ' order by r.minimum_months) filter (r.minimum_months is not null) as minimum_by
    from ops.retention_rules r
    where r.jurisdiction = 'EU'
    group by all
    order by r.data_class
""").df()

# %% [markdown]
# In some rows the minimum ends before the maximum. In others it outlasts it by years: the tax code wants the record, and data
# protection law wants the person out of it. Both are law, so neither "keep" nor "delete" is an answer for the whole record.
# `web_event` has no minimum: nobody is obliged to keep a visit, so only the maximum and its owner's need count.
#
# ## One age for everything
#
# The naive way is one number: delete what is older than 36 months. Take the tables that have a class of their own, and look at
# what the number does, and others. Ages are full months since the end of a partition's month, on 1 July 2026.

# %%
con.sql("""
    with
    law as (
      select data_class, jurisdiction, max(minimum_months) as at_least, min(maximum_months) as at_most
      from ops.retention_rules
      group by all
    ),
    aged as (
      select p.size_gb, l.at_least, l.at_most, datediff('month', p.month_on, date '2026-07-01') - 1 as age
      from ops.partitions p
      join ops.data_classes c using (table_name, jurisdiction)
      join law l on l.jurisdiction = p.jurisdiction and list_contains(c.tags, 'retention.class:' || l.data_class)
    )
    select
      n as months,
      round(sum(size_gb) filter (age >= n) / 1000, 1) as tb_deleted,
      round(sum(size_gb) filter (age >= n and age < at_least) / 1000, 1) as tb_deleted_that_must_stay,
      round(sum(size_gb) filter (age < n) / 1000, 1) as tb_kept,
      round(sum(size_gb) filter (age < n and age > at_most) / 1000, 1) as tb_kept_past_the_maximum
    from aged, unnest([18, 36, 72, 120]) t (n)
    group by n
    order by n
""").df()

# %% [markdown]
# Each number is wrong on one side or on both: a larger one keeps more past the maximum, a smaller one deletes more that must
# stay. (It is worse than that: which events a partition holds, and from which day a period counts, comes next.) What follows
# from the rules are *steps* for each class: at the maximum the columns go that no purpose asks for, at the end of the last
# minimum the record goes. These are two ages, two actions, and often two days to count from.
#
# ## Which day counts
#
# A period counts from an event: the invoice, the visit, the decision. Partitions are named after something else:

# %%
con.sql("""
    select table_name, jurisdiction, month_on, event_from, event_to,
      datediff('month', event_from, event_to) + 1 as months_of_events
    from ops.partitions
    where month_on = date '2025-12-01' and table_name in ('support_cases', 'customer_invoices', 'invoice_extract')
    order by table_name, jurisdiction
""").df()

# %% [markdown]
# Rows that come late lie in the month of loading. The *oldest* event decides when a maximum is reached, the *newest* when a
# minimum has ended. Some minima do not even begin with the event: books are kept from the *end of the year*, and an invoice of
# January waits for its December.
#
# Then there is the calendar.
#
# > **Before you run on, predict.** A visit of 29 February 2024 may be kept for 12 months. On 28 February 2025 somebody looks
# > for what is due. Which condition finds it? (a) `day + 12 months <= today`. (b) `day <= today - 12 months`. (c) Both: it is the
# > same inequality.
#
# <details><summary>Answer</summary>
#
# (a). 29 February 2025 does not exist, so the period ends on 28 February, and (a) finds the row. 28 February 2025 minus 12
# months is 28 February 2024, a day before the visit, so (b) misses it until 1 March. Months have different lengths: adding
# and subtracting them are not inverse, which (c) takes for granted. The same happens to a 31st whenever the month in which its
# period ends has 30 days.
#
# </details>

# %%
con.sql("""
    select day, months, (day + to_months(months))::date as ends_on,
      day + to_months(months) <= ends_on as found_by_adding,
      day <= ends_on - to_months(months) as found_by_subtracting,
      (day + months * 30) as with_months_of_30_days
    from (values (date '2024-02-29', 12), (date '2025-08-31', 18), (date '2025-05-31', 1), (date '2025-05-15', 13))
      t (day, months)
""").df()

# %% [markdown]
# ## Copies, aggregates, pseudonyms
#
# The tables with a class are not the only ones in which people stand. The others were made from them, and nobody tagged their
# class:

# %%
con.sql("""
    select c.table_name, c.derived_from,
      list_sort(list_filter(c.tags, lambda t: starts_with(t, 'privacy.kind'))) as personal,
      round(sum(p.size_gb) / 1000, 1) as tb
    from ops.data_classes c
    join ops.partitions p using (table_name, jurisdiction)
    where len(c.derived_from) > 0
    group by all
    order by c.table_name
""").df()

# %% [markdown]
# A maximum follows the data, through any number of tables. `customer_key` looks harmless: a number in place of a name. Suppose
# that it is a hash of the e-mail address. Who has a list of addresses (the shop does) needs one join:

# %%
con.sql("""
    with pseudonymised as (select md5(email) as customer_key from core.customer_invoices where email is not null)
    select count(*) as rows, count(c.customer_id) as match_a_customer
    from pseudonymised p
    left join (select md5(email) as customer_key, any_value(customer_id) as customer_id from core.customers group by 1) c
      using (customer_key)
""").df()

# %% [markdown]
# Each has its match. A **pseudonym is personal data**; anonymous is what cannot be undone by anybody, such as an empty
# column, or a sum over many people.
#
# ## What it costs
#
# A colder tier is cheaper by the month, and dearer for all else: writing into it, reading from it, leaving it before its
# minimum stay. Here is one GB that is moved once, after its first month, and of which 3% is read each month.

# %%
tiers = con.sql("select * from ops.storage_tiers order by usd_per_gb_month desc").df().set_index("tier")
print(tiers.T.to_string())
tiers = tiers.astype(float)
months = np.arange(1, 61)
figure, (left, right) = plt.subplots(1, 2, figsize=(8.8, 3.2), sharey=True)
for ax, read in ((left, 0.03), (right, 0.3)):
    for (name, tier), colour in zip(tiers.iterrows(), (RED, ORANGE, GREEN, BLUE), strict=True):
        monthly = tier.usd_per_gb_month + read * tier.retrieval_usd_per_gb
        stays = np.maximum(months, tier.minimum_stay_days / 30)  # who leaves early pays for the rest of the stay
        total = tier.write_usd_per_gb + months * (monthly - tier.usd_per_gb_month) + stays * tier.usd_per_gb_month
        ax.plot(months, total, color=colour, label=name)
    ax.set(xlabel="months until it is deleted", title=f"{read:.0%} read each month", ylim=(0, 1.5), xlim=(0, 60))
left.set_ylabel("USD for one GB")
left.legend()
figure.suptitle(
    "The coldest tier is cheapest only for what is left alone, and for long", x=0.01, ha="left", fontsize=11
)
show(
    figure,
    "Cost of one GB in each tier against the months until it is deleted, with 3 and with 30 percent read a month",
)

# %%
for read in (0.0, 0.03, 0.3, 1.0):
    monthly = tiers.usd_per_gb_month + read * tiers.retrieval_usd_per_gb
    stay = tiers.minimum_stay_days / 30
    best = [
        (
            tiers.write_usd_per_gb
            + n * (monthly - tiers.usd_per_gb_month)
            + stay.clip(lower=n) * tiers.usd_per_gb_month
        ).idxmin()
        for n in (1, 2, 6, 24, 60)
    ]
    print(f"{read:.0%} read: cheapest for 1, 2, 6, 24, 60 months:", ", ".join(best))

# %% [markdown]
# Read the first entries of each line: in the last months before a deletion a move into the coldest tiers does not pay. What
# is read a lot belongs into a warmer tier whatever its age: the last line is a model that is trained on all of it each month.
# Anonymising rewrites a partition, too, so it is worth a look whether it can be done in the run in which the partition moves.
#
# ## Holds
#
# A **legal hold** stops the clock for what it names, whatever the periods say. Today's holds on a class of data:

# %%
con.sql("""
    select h.hold_id, h.matter, h.data_class, h.jurisdiction, h.placed_on,
      count(p.month_on) as partitions, coalesce(round(sum(p.size_gb)), 0) as gb
    from ops.legal_holds h
    left join (
      select p.*, c.tags from ops.partitions p join ops.data_classes c using (table_name, jurisdiction)
    ) p on p.jurisdiction = h.jurisdiction and list_contains(p.tags, 'retention.class:' || h.data_class)
      and p.event_from <= h.event_to and p.event_to >= h.event_from
    where h.subject_id is null and h.lifted_on is null
    group by all
    order by h.hold_id
""").df()

# %% [markdown]
# A hold with no partition is about events of which nothing lies here by its class; tables that were derived from such data
# have no class and are not counted, and it covers them all the same. A hold forbids to destroy. That is more than `delete`:
# it covers anonymising, and the move into a tier that keeps only the latest version of each row (`drops_versions` in
# `ops.storage_tiers`). A move that loses nothing may go on.
#
# ## A deletion without evidence
#
# Years later an auditor asks: was it deleted, when, under which rule? The answer is a **certificate**: rule, table, number of
# rows, a digest of their keys, and none of what was deleted. Here is a job that dies between the deletion and the
# certificate, with and without a transaction around both.

# %%
for in_transaction in (False, True):
    con.execute("create or replace temp table visits as from core.web_visits order by visit_id limit 50")
    con.execute("create or replace temp table certificates (rule varchar, row_count bigint)")
    if in_transaction:
        con.execute("begin")
    con.execute("delete from visits where visited_on < date '2025-06-30'")
    if in_transaction:
        con.execute("rollback")  # the machine dies here; with it goes what was not committed
    left_over = con.execute("select count(*) from visits").fetchone()[0]
    papers = con.execute("select count(*) from certificates").fetchone()[0]
    print(f"in a transaction: {in_transaction!s:5}  rows left: {left_over}  certificates: {papers}")

# %% [markdown]
# Without one, rows are gone and nothing says so; a rerun would not find them any more. With one, it is as if the job had not
# begun, and the rerun does all of it.
#
# ## The rule, and where it ends
#
# 1. For each class and jurisdiction: the last minimum says when the row may go, the shortest maximum when the person must go.
#    Where the minimum is longer, keep what its purpose asks for and empty the rest.
# 2. Count from the event, by adding to it. The oldest event of a partition decides a maximum, the newest a minimum.
# 3. Whatever is derived inherits the maximum, pseudonyms included. Nobody inherits a minimum by making a copy.
# 4. Whatever destroys waits for a hold. Whatever was destroyed has a certificate, committed together with it.
# 5. Tiers follow reads and the months that are left, not age alone.
#
# It ends where data leaves the tables: backups, exports and laptops keep their own time, and a backup that is restored brings
# the deleted rows back, unless the plan is run again after it. And which purpose asks for which column is a question for
# somebody who knows the law; a table of rules makes it a question that can be asked.
#
# <details><summary><b>In practice</b> (S3, Snowflake, BigQuery, Delta Lake and Iceberg)</summary>
#
# - **Amazon S3**: Lifecycle rules move and expire objects by age *since creation*, which is the date of loading. Object Lock
#   has retention periods and legal holds. Glacier classes charge at least 90 or 180 days, and per request.
# - **Snowflake**: `delete` leaves rows in Time Travel and then seven days in Fail-safe; a policy has to count these days.
# - **BigQuery**: partition expiration counts from the partition's day, long-term storage begins after 90 days without a change,
#   and a rewrite begins it anew.
# - **Delta Lake, Apache Iceberg**: deleted rows live on in old files until `VACUUM` or `expire_snapshots`; these are the
#   operations that a hold has to stop.
# - **Unity Catalog, DataHub**: carry the class as a tag, and lineage to find what inherits it.
# </details>
#
# ## Back to the question
#
# All three are right about their part. Finance: hot storage is the dearest way to keep what is hardly read. Data protection: a
# part of what is kept has passed its maximum. Legal: some of it may not go, and a list of holds says which. A number cannot
# satisfy them; a row for each step, with its reason beside it, can.
#
# **You take away** the retention policy that you now write in the lab, and the job that carries it out.
#
# Read on: Regulation (EU) 2016/679 (GDPR), articles 5(1)(e), 17 and 89; Article 29 Working Party, *Opinion 05/2014 on
# Anonymisation Techniques*; Supreeth Shastri and others, *Understanding and Benchmarking the Impact of GDPR on Database
# Systems* (PVLDB 13, 2020).
