# %% [markdown]
# # Lesson 2.4: Approval workflow for shared schemas
#
# The head of data platform asks: "Last year ninety changes of shared tables were merged. Emergencies aside, each had
# somebody's approval. Why do reports in other teams break all the same? Do we need more approvals?"
#
# You will look at what was approved and by whom, apply changes to a small copy of the warehouse and run every reader before and
# after, and see how far a change goes that nobody notices on its first day. You take away what makes an approval worth
# something: it comes from those who are hit, for that very diff, while it is fresh.

# %%
import numpy as np
import pandas as pd

from workshop import open_lesson
from workshop.plots import BLUE, GREY, ORANGE, RED, plt, show
from workshop.schema_change import Query, Warehouse, read_changes, read_company, read_consumers, read_lineage
from workshop.table import Table

con = open_lesson("2.4")
con.sql("""
    select
      count(*) as changes,
      count(*) filter (a.team_id = c.team_id) as approved_by_the_owning_team,
      count(*) filter (a.person_id = c.author_id) as approved_by_the_author,
      count(*) filter (a.diff_digest <> c.diff_digest) as another_diff_was_approved,
      count(*) filter (c.is_emergency) as emergencies,
      count(*) filter (c.is_emergency and c.reviewed_at is not null) as reviewed_afterwards
    from ops.schema_changes c
    left join ops.schema_approvals a using (change_id)
""").df()

# %% [markdown]
# Emergencies aside, each change had its approval, and each came from the team that owns the table. Some came from the author.
# Some were for a diff that was not the one that was merged: the digest, a hash of the diff, differs. Three of those, as they
# were merged:

# %%
changes = read_changes(con)
another = con.sql("""
    select change_id
    from ops.schema_changes c
    join ops.schema_approvals a using (change_id)
    where a.diff_digest <> c.diff_digest
""").df()
for change in [c for c in changes if c["change_id"] in set(another.change_id)][:3]:
    print(change["table"], *change["elements"], sep="\n   ")

# %% [markdown]
# ## Ask the readers
#
# What a change does can be tried. We take some hundred orders with all that belongs to them, build the models of `ops.models`
# on them, and run the queries of all consumers. Then we apply a change, build and run again. A consumer is **hit** if one of
# its queries fails or returns other rows.

# %%
lineage, consumers = read_lineage(con), read_consumers(con)
reads = {}
for edge in lineage:
    if edge["level"] == "table":
        reads.setdefault(edge["output_table"], set()).add(edge["input_table"])
models = con.execute("select schema_name || '.' || table_name, sql from ops.models order by model_id").fetchall()
warehouse = Warehouse(
    lambda sql: Table.from_cursor(con.execute(sql)),
    [(table, sql, reads[table]) for table, sql in models],
    [Query(c["consumer_id"], q["sql"], frozenset(q["tables"])) for c in consumers for q in c["queries"]],
)
by_id = {c["consumer_id"]: c for c in consumers}


def teams(hit):
    """Owner teams of consumers."""
    return {by_id[number]["owner_team_id"] for number in hit}


trials = {
    "new column order_items.gift_wrap": (
        "core.order_items",
        {"kind": "add_column", "column": "gift_wrap", "type": "VARCHAR"},
    ),
    "new value of payments.method": (
        "core.payments",
        {"kind": "add_value", "column": "method", "value": "instalments"},
    ),
    "products.seller_id may be null": ("core.products", {"kind": "allow_nulls", "column": "seller_id"}),
    "order_items.quantity gets SMALLINT": (
        "core.order_items",
        {"kind": "change_type", "column": "quantity", "old_type": "UTINYINT", "new_type": "SMALLINT"},
    ),
    "orders.channel goes": ("core.orders", {"kind": "drop_column", "column": "channel"}),
}
pd.DataFrame(
    [
        {
            "change": name,
            "teams hit on the day": len(teams(warehouse.hit(table, [element], stress=False))),
            "teams hit once it is used": len(teams(warehouse.hit(table, [element]))),
        }
        for name, (table, element) in trials.items()
    ]
).set_index("change")

# %% [markdown]
# Three groups. The new column is seen by nobody (it is taken for granted that readers take columns by name): **additive**. The
# dropped one is seen at once: **breaking**. The three in the middle pass every test on the day they are merged. They *permit*
# rows that could not be written before, and the second number is for a copy in which a third of the rows do: they are
# **compatible with care**. One query that the wider type hits, and one that the nulls hit:

# %%
for name, consumer in (
    ("order_items.quantity gets SMALLINT", "Seller statements"),
    ("products.seller_id may be null", "Price study"),
):
    at, element = trials[name]
    sqls = [
        " ".join(q.split()) for n, q in warehouse.hit(at, [element]).items() if by_id[n]["consumer_name"] == consumer
    ]
    print(name, *sqls, sep="\n   ")
for model in ("intermediate.int_order_lines", "staging.stg_products"):
    lines = [line.strip() for line in dict(models)[model].splitlines()]
    print(model, *[line for line in lines if line.startswith(("join", "left join", "on "))], sep="\n   ")

# %% [markdown]
# The first stores a quantity in a byte, and the first quantity that does not fit makes it fail. The second names no seller. It
# reads a model that is made of another one, and that one joins with sellers: a line whose product has none is gone from its
# sum. This is what a test on today's data cannot find, and what an approval is for: the reader knows what it relies on.
#
# ## Who is hit?
#
# `orders.channel` goes. The author looks into the query log of the last week for who reads it.
#
# **Predict:** how many of the teams that are hit does the author find there?
#
# 1. All: who reads it, reads it weekly.
# 2. About half: some read monthly or quarterly.
# 3. One or two: most do not read this table.
#
# <details><summary>Answer</summary>
#
# 3. Nearly all read models that are made of it. And of the few that read the table itself, not all run every week. The
#    first cell below counts them, the second names all that are hit, those that read the table first.
# </details>

# %%
table, element = trials["orders.channel goes"]
hit = warehouse.hit(table, [element])


def direct(since):
    """Consumers with a query on the table's column that has run since then."""
    return {
        c["consumer_id"]
        for c in consumers
        for q in c["queries"]
        if [table, element["column"]] in q["columns"] and q["last_run_at"] >= since
    }


pd.Series(
    {
        "hit": len(teams(hit)),
        "in the log of the last week": len(teams(direct("2026-06-23") & set(hit))),
        "in the log of the year": len(teams(direct("2025") & set(hit))),
    }
).to_frame("teams")

# %%
pd.DataFrame(
    [
        (by_id[n]["consumer_name"], by_id[n]["cadence"], n in direct("2025"), " ".join(sql.split())[:60])
        for n, sql in hit.items()
    ],
    columns=["consumer", "cadence", f"reads {table}", "its first query that is hit"],
).sort_values(f"reads {table}", ascending=False, ignore_index=True)

# %% [markdown]
# ## Or everybody?
#
# One could ask every team that reads anything made of the table. For each column of `core.orders` in turn: how many teams
# are hit when it goes, and how many would be asked?

# %%
downstream = warehouse.downstream(table)
asked = {c["owner_team_id"] for c in consumers if any(set(q["tables"]) & downstream for q in c["queries"])}
columns = list(warehouse.columns(table))
dropped = [teams(warehouse.hit(table, [{"kind": "drop_column", "column": c}])) for c in columns]
drop = [len(t) for t in dropped]
nulls = [len(teams(warehouse.hit(table, [{"kind": "allow_nulls", "column": c}]))) for c in columns]
figure, ax = plt.subplots(figsize=(7.2, 4.2))
at = np.arange(len(columns))
ax.barh(at - 0.2, drop, 0.4, color=RED, label="teams hit when it goes")
ax.barh(at + 0.2, nulls, 0.4, color=BLUE, label="teams hit when it may be null")
ax.axvline(len(asked), color=GREY, ls="--", label="teams that read what is made of the table")
ax.set_yticks(at, columns)
ax.invert_yaxis()
ax.set(xlabel="teams", xlim=(0, len(asked) + 1))
ax.set_title(f"A null in a column hits {np.mean(nulls):.0f} of {len(asked)} teams on average")
ax.xaxis.get_major_locator().set_params(integer=True)
ax.grid(axis="y", visible=False)
figure.legend(loc="outside lower center", ncols=3)
show(figure, "By column of core.orders: teams hit when it is dropped and when it may be null, and teams asked by table")
widest = int(np.argmax(np.subtract(drop, nulls)))
print(f"{columns[widest]}: {drop[widest]} teams when it goes, {nulls[widest]} when it may be null")
pair = [dropped[columns.index(c)] for c in ("channel", "customer_id")]
print("channel and customer_id:", *map(len, pair), "teams,", len(pair[0] & pair[1]), "of them the same")

# %% [markdown]
# Two things are to be seen. Different columns concern different teams (the last line gives an example), so the edges of
# columns have to be followed, DIRECT and INDIRECT, as in lesson 2.5. And a column that *goes* reaches further than one whose
# values change: a model that names it cannot be built any more, so that readers of its other columns are hit too. The first
# line under the figure names the column for which this makes the most: hardly anybody uses its values, and nearly everybody
# reads a model that names it. Whoever is asked each time and sees nothing stops looking; an approval given by habit protects
# nobody.
#
# ## How old is a yes?

# %%
ages = con.sql("""
    select
      change_id,
      a.team_id as approved_by,
      date_diff('hour', a.approved_at, c.merged_at) // 24 as days,
      a.diff_digest <> c.diff_digest as is_other_diff
    from ops.schema_changes c
    join ops.schema_approvals a using (change_id)
""").df()
hit_by = {c["change_id"]: teams(warehouse.hit(c["table"], c["elements"])) - {c["team_id"]} for c in changes}
print(f"changes that hit other teams: {sum(map(bool, hit_by.values()))} of {len(changes)}")
print(
    "approvals by a team that is hit:",
    sum(t in hit_by[n] for n, t in zip(ages.change_id, ages.approved_by, strict=True)),
)
ages = ages[[bool(hit_by[n]) for n in ages.change_id]]
company = read_company(con)
freeze = company["freeze_days"]["breaking"]
late = int((ages.days > freeze).sum())
figure, ax = plt.subplots(figsize=(7.2, 3))
bins = np.arange(0, ages.days.max() + 2)
ax.hist(
    [ages.days[~ages.is_other_diff], ages.days[ages.is_other_diff]],
    bins=bins,
    stacked=True,
    color=[BLUE, ORANGE],
    label=["the diff that was merged", "another diff"],
)
ax.set(xlabel="age of the approval at the merge, whole days", ylabel="changes that hit others")
ax.set_title(f"Of {len(ages)} approvals {ages.is_other_diff.sum()} were for another diff, {late} older than the freeze")
ax.axvline(freeze + 1, color=GREY, ls="--", label="end of the freeze")
ax.legend(loc="upper right")
show(figure, "Age of approvals at the merge, stacked by whether the approved diff is the one that was merged")
print({fact: company[fact] for fact in ("answer_days", "release_days", "freeze_days")})

# %% [markdown]
# Of all changes about a third hit somebody else; the figure shows these, and the second line above says how many approvals came
# from a team that was hit. Those that came age in two ways. The **diff** changes: bind the approval to its digest, and another
# diff needs another yes. And the **reader** changes: a team that said yes in March because it had no use for the column may
# build a report on it in May. Here readers promise a freeze, `freeze_days` after the last yes (the dashed line: for breaking
# changes). What was merged to the right of it was merged on a yes about a use that may be another by then. So an approval
# expires. Too soon is as bad: the slowest team answers `answer_days` after the first one (the last line). A yes to a breaking
# change that lapses after five days is gone before the last one is there; all are asked again, and nothing ever comes in.
#
# ## In a hurry
#
# An outage does not wait for five teams. A workflow without an emergency path is gone around; a path without conditions becomes
# the usual one. What keeps it honest is that somebody else has seen the diff before, whoever can be found in time, and that
# those who were hit look at it afterwards, before the next report is published.

# %%
con.sql("""
    select
      change_id,
      table_name,
      merged_at::date as merged_on,
      coalesce(round(date_diff('hour', merged_at, reviewed_at) / 24, 1)::varchar, 'never') as reviewed_after_days
    from ops.schema_changes
    where is_emergency
    order by merged_at
""").df()

# %% [markdown]
# **Limits.** A small copy finds that a query returns something else, not whether anybody minds. Queries that are run by hand
# once a year are in no log: tell people, too (topic 9.1). Lineage ends where SQL ends. And a column that a statement names
# without using it has no edge; when it goes, the statement fails. Changes that cannot be made compatible are better made in
# steps: add the new, move the readers, then remove the old.
#
# <details><summary><b>In practice</b> (GitHub, dbt 1.11, Confluent Schema Registry, Buf, Unity Catalog)</summary>
#
# - **GitHub**: CODEOWNERS asks for owners of *files*; owners of readers need a check that requests reviews. The settings
#   "Dismiss stale pull request approvals when new commits are pushed" and "Require approval of the most recent reviewable
#   push" bind an approval to the diff.
# - **dbt**: model contracts fail a build on changed columns and types; `state:modified+` selects what lies behind a change, by
#   model and not by column; model versions let old and new live side by side.
# - **Schema Registry** has compatibility modes (BACKWARD, FORWARD, FULL) and **Buf** breaking-change rules; both judge two
#   schemas. What a reader does with a column, and that it will meet a null, they do not know.
# - **Unity Catalog** has `system.access.column_lineage`, with notebooks and dashboards as readers.
# </details>
#
# ## Back to the question
#
# Not more approvals: other ones. All came from the owners of tables, none from a team that the change hit. Some were
# given by authors to themselves, some for a diff that nobody merged, and emergencies were hardly looked at.
#
# **You take away** the gate that you now write in the lab: the class of a diff, the teams to ask, and the approval matrix.
#
# Read on: Martin Kleppmann, *Designing Data-Intensive Applications* (O'Reilly, 2017), chapter 4 on encoding and evolution;
# Scott Ambler, Pramod Sadalage, *Refactoring Databases* (Addison-Wesley, 2006); NIST SP 800-53 Rev. 5, controls AC-5
# (separation of duties) and CM-3 (configuration change control).
