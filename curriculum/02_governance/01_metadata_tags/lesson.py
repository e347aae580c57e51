# %% [markdown]
# # Lesson 2.1: One tagging convention for compliance and discovery
#
# The head of data governance asks: "A customer wants to know what we hold about her, and the auditor where IBANs lie. I have
# asked all owners twice. Half of the answers are wrong, and the analysts tell me that they cannot find anything either. Can one
# set of tags serve both, without a year of filling in forms?"
#
# You will see what the names of columns are worth as evidence, what their values add, what it costs to look, and what becomes
# of a tag that people have to fill in. You take away a way to measure a tagger, and four questions to put to every key of a
# vocabulary.

# %%
import re

import numpy as np
import pandas as pd

from workshop import open_lesson
from workshop.plots import BLUE, GREY, ORANGE, RED, plt, show

con = open_lesson("2.1")

# %% [markdown]
# ## Five tables, read by a person
#
# A tag is `namespace.key:value`, for example `privacy.kind:email`. The namespace says whose word it is, the key what is said,
# and the value comes from a list. A steward went through five of the twenty tables of the estate with their owners, and wrote
# down which of the 47 columns hold personal data that tells who somebody is. That took her an afternoon.

# %%
steward = {
    "crm_contacts": "full_name data_b street_line birth_date phone email",
    "support_tickets": "agent col_17 message",
    "psp_events": "field_7 field_4 pan col_12 attr_4",
    "badge_swipes": "visitor attr_2 work_email",
    "device_models": "",
}
columns = con.sql("""
    select t.table_schema, t.table_name, c.column_name, c.data_type
    from ops.columns c join ops.tables t using (asset_id)
    where t.table_name in ('crm_contacts', 'support_tickets', 'psp_events', 'badge_swipes', 'device_models')
    order by t.asset_id, c.column_no
""").df()
columns["is_personal"] = [c in steward[t].split() for t, c in zip(columns.table_name, columns.column_name, strict=True)]
columns.groupby("table_name", sort=False).agg(columns=("column_name", ", ".join), personal=("is_personal", "sum"))

# %% [markdown]
# ## What a name is worth
#
# Most tools begin with names: a list of words, and whatever contains one of them is personal. Two numbers say how good such a
# rule is. **Recall**: of the columns that are personal, the share that it finds. **Precision**: of those that it finds, the
# share that is personal. A missed column is not deleted when a customer asks for it. A column tagged for nothing is closed to
# people who need it.

# %%
WORDS = re.compile("name|mail|phone|birth|street|address|iban|card|ip")


def measure(found, personal):
    """Recall and precision of a rule, given what a person has found."""
    right = (found & personal).sum()
    return f"recall {right / personal.sum():.2f}, precision {right / found.sum():.2f}"


by_name = columns.column_name.str.contains(WORDS)
print(measure(by_name, columns.is_personal))
columns[by_name != columns.is_personal][["table_name", "column_name", "data_type", "is_personal"]]

# %% [markdown]
# Both errors are in the list: names that say nothing (`col_12`, `attr_4`), and names that mislead (`email_template_id`,
# `phone_model`). A longer list of words finds a little more, and more of what it should not.
#
# ## What values add
#
# `psp_events.col_12` has values such as these, and so has `protocol_version` beside it.

# %%
con.sql("select col_12, protocol_version from raw.psp_events limit 4").df()

# %% [markdown]
# Both have the shape of an IPv4 address: four numbers with dots. Shape alone is a weak argument, so a second one is needed.
# Here is each text column by the share of its values that have the shape of an address of the internet or of e-mail, and by how
# many different values there are among a thousand.

# %%
SHAPES = {
    "IPv4": re.compile(r"\d{1,3}(\.\d{1,3}){3}"),
    "e-mail": re.compile(r"\s*\S+@\S+\.\S+\s*"),
}


def profile(schema, table, where="rowid < 1000"):
    """For each text column: share of values of each shape, and different values, in one statement for all columns."""
    frame = con.sql(f"select * from {schema}.{table} where {where}").df()
    rows = []
    for name in frame.select_dtypes(include=["str", "object"]).columns:
        values = [v for v in frame[name] if isinstance(v, str)]
        if values:
            shares = {s: sum(bool(p.fullmatch(v)) for v in values) / len(values) for s, p in SHAPES.items()}
            rows.append({"table_name": table, "column_name": name, "distinct": len(set(values)), **shares})
    return rows


tables = columns[["table_schema", "table_name"]].drop_duplicates()
profiles = pd.DataFrame([row for schema, table in tables.itertuples(index=False) for row in profile(schema, table)])
profiles["shape"] = profiles[list(SHAPES)].max(axis=1)
shown = profiles.merge(columns, on=["table_name", "column_name"])
figure, ax = plt.subplots(figsize=(7.2, 3.4))
for personal, colour, label in ((True, RED, "personal"), (False, BLUE, "not personal")):
    part = shown[shown.is_personal == personal]
    ax.scatter(part.distinct, part["shape"], color=colour, label=label, s=38)
for place, row in enumerate(shown[shown["shape"] > 0.1].sort_values("distinct").itertuples()):
    left = row.distinct > 200
    ax.annotate(
        row.column_name,
        (row.distinct, row.shape),
        xytext=(-7 if left else 7, (2, -10)[place % 2]),
        textcoords="offset points",
        ha="right" if left else "left",
        fontsize=8,
    )
ax.set(
    xscale="log",
    ylim=(-0.06, 1.1),
    xlabel="different values among the first 1,000 rows",
    ylabel="share with such a shape",
)
ax.legend(loc="center left")
ax.set_title("What has the shape of an address and few values is no person's address")
show(
    figure,
    "Text columns by number of different values and share with the shape of an address; versions have few values",
)

# %% [markdown]
# Versions and readers at doors have the shape of addresses, and a handful of values each. What belongs to persons has many. The
# texts in `message` lie at zero: none of them *is* an address. That does not mean that there is none *in* them.
#
# ## Which rows
#
# **Predict before you run it.** The profile above read the first thousand rows. `psp_events.field_4` has no e-mail address
# among them. What share of its values in the whole table are e-mail addresses? (a) none, a thousand rows are plenty; (b) one in
# a hundred, which a larger sample would show; (c) about a third.

# %%
tenths = con.sql("""
    select floor(10 * rowid / (select count(*) from raw.psp_events))::int as tenth, avg((field_4 like '%@%')::int) as share
    from raw.psp_events group by 1 order by 1
""").df()
figure, ax = plt.subplots(figsize=(7.2, 2.6))
ax.bar(tenths.tenth + 1, tenths.share, color=[GREY if s == 0 else ORANGE for s in tenths.share])
ax.set(xlabel="tenth of the table, oldest rows first", ylabel="share with an e-mail address", xticks=range(1, 11))
ax.set_title("Put to another use in spring: the oldest rows know nothing of it")
show(figure, "Share of e-mail addresses in field_4 by tenth of the table: none at first, then nearly all")

# %% [markdown]
# <details><summary>The answer</summary>
#
# (c). Rows lie in the order in which they were loaded, and the payment provider began to send a contact in the course of the
# year. A larger sample of the oldest rows never sees it. A few rows from several places do.
#
# </details>
#
# ## What looking costs
#
# To take a sample is not to read little. How many rows DuckDB reads for four ways to look at a column:

# %%
import json

con.execute("set enable_profiling = 'no_output'")
ways = {
    "all rows": "select field_4 from raw.psp_events",
    "using sample 500 rows": "select field_4 from raw.psp_events using sample 500 rows",
    "limit 500": "select field_4 from raw.psp_events limit 500",
    "the newest 500": "select field_4 from raw.psp_events where rowid >= 174500",
}
rows_read = {}
for way, query in ways.items():
    con.execute(query).fetchall()
    rows_read[way] = json.loads(con.get_profiling_information("json"))["query"]["total_rows_scanned"]
con.execute("pragma disable_profiling")
print(*(f"{way:24}{read:>9,} rows read" for way, read in rows_read.items()), sep="\n")
# %% [markdown]
# `using sample` reads the whole table to pick from it. What the engine can skip, it skips by blocks of
# 2,048 rows: two threads read one each for `limit 500`, and the last block of this table has 920. On a bill by bytes
# read, the difference between the first two and the last two is the price of a nightly tagger.
#
# ## In a text, one hit is enough
#
# A message is personal if somebody wrote their own data into it, and most did not. If a share p of them has some, a sample of n
# misses all of it with probability (1 - p)<sup>n</sup>.

# %%
newest = con.sql("select message from raw.support_tickets where rowid >= 11500").df().message
hits = newest.str.contains(r"\S+@(?!kestrel)\S+\.\S+|\+\d{8,}|[A-Z]{2}\d{15,}", regex=True)
print(f"{hits.mean():.1%} of the newest {len(newest)} messages")
for n in (10, 30, 100, 300):
    print(f"{n:>4} messages: all missed with probability {(1 - hits.mean()) ** n:.4f}")

# %% [markdown]
# Ten rows, which is what people look at, miss it nearly half of the time. Three hundred practically never do. So the
# threshold differs: for values that *are* an e-mail address, ask for a share of rows. For texts that *contain* one, a single
# hit decides.
#
# ## A tag that people fill in
#
# What no profile can tell (purpose, legal basis, whether an owner has checked it) must be said by somebody.
# `workshop.sim.tagging` simulates a year of that on 3,000 assets. The owners of a company have to fill in a number of keys,
# each from a closed list. What share of a question that needs two of them is answered?

# %%
from workshop.sim.tagging import Key, run_year

facts = [
    {"fact": f"fact_{k:02}", "known_by": "owner", "value_count": 8, "changes_per_year": 0.1, "minutes": 3}
    for k in range(14)
]
question = [{"question_id": "q", "scope": "all", "needs": ["fact_00", "fact_01"]}]


def told(n, is_closed=True, required="all"):
    """Share of assets on which both facts can be found and are right, with n keys to fill in."""
    keys = [Key(f"asset.{f['fact']}", f["fact"], is_closed, required, "owner") for f in facts[:n]]
    return run_year(keys, facts, question, 1.0, np.random.default_rng(7)).answered["q"]


asked = range(2, 15)
figure, ax = plt.subplots(figsize=(7.2, 3.0))
ax.plot(asked, [told(n) for n in asked], "o-", color=BLUE, label="compulsory, from a list")
ax.plot(asked, [told(n, is_closed=False) for n in asked], "s-", color=ORANGE, label="compulsory, free text")
ax.plot(asked, [told(n, required="none") for n in asked], "^-", color=GREY, label="optional, from a list")
ax.set(xlabel="keys that an owner is asked for", ylabel="share of assets told rightly", ylim=(0, 1))
ax.legend(loc="upper right")
ax.set_title("Each key beyond the fifth makes all others worse")
show(
    figure,
    "Share of assets told rightly by number of keys: falls beyond five; free text and optional keys are far lower",
)

# %% [markdown]
# What two answers cost depends on how many other keys are asked for: twelve more spoil them. Optional
# tags are worse than none, since whoever filters by them takes the tenth that is there for all there is. Free text loses a
# fifth for each fact, as people write *PII*, *pii* and *personal*.
#
# So each key of a vocabulary has to answer four questions. Which question needs it? About which assets? Who knows it: a system,
# the owner or a steward? Can its values be listed? What the platform can read from its own systems, nobody should type.
#
# ## When this does not hold
#
# - A steward's afternoon is the measure here. Where nobody has labelled columns, recall is unknown, whatever a tool's brochure
#   says.
# - Values are no evidence in a table that is empty, encrypted or full of test data. Names are all there is then.
# - What identifies somebody depends on what else is known. City and year of birth do it together: that is topic 2.8.
# - A fact that changes weekly should be computed, not tagged.
#
# **In practice.** Unity Catalog, Snowflake and BigQuery have tags with allowed values (*governed tags*, *tag policies*, *policy
# tags*), and classifiers that profile samples. DataHub and OpenMetadata keep them apart from glossary terms, for good reason: a
# tag says what something is, a term what it means. dbt's `meta` is free text until a test reads it.
#
# ## Recap
#
# One set of tags serves both, if it is small. What can be seen is found by machine: from names, values and the number of
# different values, on slices from several places of a table, and measured by recall and precision against columns that a person
# has labelled. What must be said is asked of those who know it, where a question needs it, from a list.
#
# **Take home:** the two functions `measure` and `told`. The first tells a vendor's tagger from a good one, the second how many
# keys your owners can bear.
#
# **Read on**
#
# - ISO/IEC 11179-1, *Metadata registries: Framework*: what a controlled value domain is.
# - Regulation (EU) 2016/679 (GDPR), Articles 4, 15 and 30: personal data, access by the data subject, records of processing.
# - Sebastian Schelter et al., "Automating Large-Scale Data Quality Verification", VLDB 11 (2018): profiles of columns at scale.
#
# Now lab 2.1: the other fifteen tables, and worlds in which the columns are called otherwise.
