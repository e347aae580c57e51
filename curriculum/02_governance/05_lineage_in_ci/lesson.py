# %% [markdown]
# # Lesson 2.5: Lineage that survives automated deployments
#
# Internal audit asks the head of analytics: "On 15 April `mart.loyalty_revenue` was wrong. Which columns fed it on that day,
# who has changed the models behind it since, and did anybody say what was lost?" Models at Kestrel are deployed by a
# pipeline, some twenty times a month, and the catalogue is written anew each night.
#
# You will see what lineage by table and by text search get wrong, what it means that a column *decides* about a number and
# does not go into it, how a deployment says in OpenLineage what now stands, and why a catalogue of today cannot answer a
# question about April. You take away what a build has to keep and when it has to stop.

# %%
import difflib
import json
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from workshop import open_lesson
from workshop.plots import BLUE, GREY, ORANGE, RED, plt, show

con = open_lesson("2.5")
models = con.sql(
    "select schema_name, schema_name || '.' || table_name as model, sql from ops.models order by model_id"
).df()
print(len(models), "models:", models.schema_name.value_counts(sort=False).to_dict())
con.sql("""
    select kind, count(*) as deployments, count(distinct model_id) as models
    from ops.deployments
    group by kind
    order by deployments desc
""").df()

# %% [markdown]
# ## Ninety days of deployments
#
# `ops.models` holds the 42 SQL models of the line above, in three layers over the tables of `core`; `ops.deployments` what
# changed, with the statement before and after, and what the author declared. Two of them, as a reviewer saw them:

# %%
deployments = con.sql("""
    select d.*, m.schema_name || '.' || m.table_name as model
    from ops.deployments d
    join ops.models m using (model_id)
    order by d.deployment_id
""").df()


def changed(row):
    """The lines of a deployment that differ."""
    lines = difflib.unified_diff(row.sql_before.splitlines(), row.sql_after.splitlines(), n=0, lineterm="")
    return [line for line in lines if line[0] in "+-" and not line.startswith(("+++", "---"))]


deployments["size"] = [len(changed(row)) for row in deployments.itertuples()]
by_size = deployments.sort_values(["size", "deployment_id"])
inputs_lost = by_size[by_size.declared.str.contains("drop_input") & ~by_size.declared.str.contains("drop_column")]
for row in [*inputs_lost.head(1).itertuples(), *by_size[by_size.kind == "rename"].head(1).itertuples()]:
    print(f"{row.deployed_at:%d %B %H:%M}, {row.kind} of {row.model}", *changed(row), sep="\n")
    said = json.loads(row.declared)
    print(
        "declared:",
        *([" ".join(str(v) for v in d.values() if v and v != row.model) for d in said] or ["nothing"]),
        sep="\n  ",
    )
    print()

# %% [markdown]
# The first, a rollback, takes a branch out of a UNION: the rows of fees are gone, and with them three inputs, which its
# author declares. No column goes, so whoever compares columns sees nothing. The second is a rename like many, and its author
# has declared nothing: whoever asks next month for the old name finds no such column.
#
# ## Who reads it?
#
# The orders team wants to give `core.orders.status` a new value. Whom does that concern? By text search:

# %%
con.sql("""
    with hits as (
      select schema_name || '.' || table_name as model
      from ops.models
      where sql ilike '%status%'
    ),
    readers as (
      select distinct output_table as model
      from ops.lineage_edges
      where input_table = 'core.orders' and input_column = 'status'
    )
    select
      (select count(*) from hits) as models_with_the_word,
      (select count(*) from readers) as models_that_read_it,
      (select count(*) from hits join readers using (model)) as both
""").df()

# %% [markdown]
# The word stands in eight of 42 models, and none of the eight reads the column from `core.orders`. What do they mean by it?

# %%
for row in models.itertuples():
    lines = [line.strip() for line in row.sql.splitlines() if "status" in line]
    if lines:
        print(f"{row.model:32}", lines[0])
reader = con.sql(
    "select output_table from ops.lineage_edges where input_table = 'core.orders' and input_column = 'status'"
)
name = reader.fetchall()[0][0]
print(f"\nThe one that reads it, {name}:", models.set_index("model").sql[name], sep="\n")

# %% [markdown]
# `staging.stg_payments` means the status of a payment; `mart.revenue_per_channel` an order's, that `staging.stg_orders` has
# passed on. And that one says `select *`: it reads the column, and the word is not there.
#
# So ask the lineage. `ops.lineage_edges` has an edge for each pair of columns: **DIRECT** where values flow into values,
# **INDIRECT** where a column decides which rows there are (filters, join keys, groups) or which value is taken (conditions,
# windows). OpenLineage makes the same distinction; database research calls it where-provenance and why-provenance.
#
# **Predict:** no mart has a column that shows an order's status. In how many of the 23 marts can numbers move when `status`
# gets a new value?
#
# 1. In none: it is in no mart.
# 2. In one or two, which read `core.orders` themselves.
# 3. In about half of them.
#
# <details><summary>Answer</summary>
#
# The third: in about half of them. `staging.stg_orders` passes the column on, and models further up filter by it, such as
# `intermediate.int_order_lines` with its `where status <> 'cancelled'` above. A filter is an edge to every column of the
# result, and what stands on that result inherits it. The cell below counts.
# </details>

# %%
reach = con.sql("""
    with recursive down (start, output_table, output_column, is_direct) as (
      select input_column, output_table, output_column, kind = 'DIRECT'
      from ops.lineage_edges
      where level = 'column' and input_table = 'core.orders'
      union
      select d.start, e.output_table, e.output_column, d.is_direct and e.kind = 'DIRECT'
      from down d
      join ops.lineage_edges e
        on e.level = 'column' and e.input_table = d.output_table and e.input_column = d.output_column
    )
    select
      start as column_name,
      count(distinct output_table) filter (is_direct) as shown_in,
      count(distinct output_table) as decided_in
    from down
    where output_table like 'mart.%'
    group by start
    order by decided_in, column_name
""").df()
by_table = con.sql("""
    with recursive down as (
      select output_table from ops.lineage_edges where level = 'table' and input_table = 'core.orders'
      union
      select e.output_table from down d join ops.lineage_edges e on e.level = 'table' and e.input_table = d.output_table
    )
    select count(*) from down where output_table like 'mart.%'
""").fetchall()[0][0]
figure, ax = plt.subplots(figsize=(7.2, 3.4))
at = np.arange(len(reach))
ax.barh(at + 0.2, reach.decided_in, 0.4, color=ORANGE, label="marts that it shows in or decides about")
ax.barh(at - 0.2, reach.shown_in, 0.4, color=BLUE, label="marts that show its values (DIRECT)")
ax.axvline(by_table, color=GREY, ls="--", label="marts, by table lineage")
ax.set_yticks(at, reach.column_name)
ax.set(xlabel="marts", title="Table lineage names nearly all marts for every column of core.orders")
ax.grid(axis="y", visible=False)
ax.legend(loc="lower right", bbox_to_anchor=(0.93, 0.02))
show(
    figure,
    "By column of core.orders: marts that show its values, marts it decides about, and the number by table lineage",
)

# %% [markdown]
# Lineage by table warns everybody of everything, and is read by nobody. DIRECT edges alone would have said that `status`
# concerns no one.
#
# ## What a parser gives you
#
# sqlglot resolves names, stars and CTEs, and its `lineage` follows one column to its sources. For a small statement:

# %%
from sqlglot.lineage import lineage

statement = """
    with late as (select * from core.shipments where delivered_at is null)
    select carrier, max(weight_g) over (partition by carrier order by shipped_at) as heaviest_so_far
    from late
"""
columns = {name: kind for name, kind, *_ in con.execute("describe core.shipments").fetchall()}
found = lineage("heaviest_so_far", statement, schema={"core": {"shipments": columns}}, dialect="duckdb")
print(sorted(node.name for node in found.walk() if not node.downstream))

# %% [markdown]
# Two things are wrong for an audit. `carrier` and `shipped_at` look like `weight_g`, though no carrier's name is in the
# number: they decide which rows it is taken from. And `delivered_at` is missing, though it decides about every row. A parser
# hands you the tree; which edge is of which kind follows from *where* in the tree a column stands. In the lab you go through
# it yourself.
#
# ## A deployment says what stands
#
# OpenLineage is the standard for telling: a **run** of a **job** emits events (START, then COMPLETE or FAIL) with its input
# and output **datasets**, and **facets** carry the detail. Here a nightly extract tells what it wrote. In production the
# transport is HTTP or Kafka; a file that is only appended to will do for a build.

# %%
from openlineage.client import OpenLineageClient, event_v2, facet_v2
from openlineage.client.transport.file import FileConfig, FileTransport

path = Path(tempfile.mkdtemp()) / "events.ndjson"
client = OpenLineageClient(transport=FileTransport(FileConfig(log_file_path=str(path), append=True)))
field = facet_v2.schema_dataset.SchemaDatasetFacetFields
fields = [field(name="order_id", type="BIGINT"), field(name="refund_usd", type="DOUBLE")]
written = event_v2.OutputDataset(
    "file://exports", "refunds.csv", facets={"schema": facet_v2.schema_dataset.SchemaDatasetFacet(fields)}
)
for state, at in (
    (event_v2.RunState.START, "2026-06-30T04:00:00Z"),
    (event_v2.RunState.COMPLETE, "2026-06-30T04:01:30"),
):
    client.emit(
        event_v2.RunEvent(
            eventType=state,
            eventTime=at,
            run=event_v2.Run(runId="6f1c2a52-8f0e-5b1d-9a53-0d6a4a0c7f11"),
            job=event_v2.Job("kestrel.extracts", "refund_file"),
            inputs=[event_v2.InputDataset("duckdb://warehouse.kestrel.example", "intermediate.int_refunds")],
            outputs=[written] if state == event_v2.RunState.COMPLETE else [],
        )
    )
events = [json.loads(line) for line in path.read_text().splitlines()]
print(json.dumps(events[1]["outputs"], indent=1)[:420])

# %% [markdown]
# The client has taken both events. The specification has not: checked against its rules (`workshop/openlineage.schema.json`
# restates those that we use), one of them is not valid.

# %%
from workshop.lineage_events import violations

for event in events:
    print(event["eventType"], violations(event) or "valid")

# %% [markdown]
# A time without an offset is no moment: as of when it counts depends on who reads it. A validator in the build finds this on
# the first day, an auditor finds it in the third year. The facet for column lineage is called `columnLineage`: for each
# output field a list of `inputFields`, each with `transformations` that say DIRECT or INDIRECT.
#
# ## Where a build must stop
#
# A gate compares lineage before and after. The simplest one compares the names of columns. On Kestrel's ninety days, what
# would it have seen, and what of that had been declared?

# %%
from sqlglot import parse_one
from sqlglot.optimizer.qualify import qualify

from workshop.lineage_events import read_schema

nested = {}
for table, its in read_schema(con).items():
    part, name = table.split(".")
    nested.setdefault(part, {})[name] = its


@cache
def output_columns(sql):
    """Names of a statement's columns, stars written out."""
    return frozenset(qualify(parse_one(sql, dialect="duckdb"), schema=nested, dialect="duckdb").named_selects)


deployments["gone"] = [output_columns(r.sql_before) - output_columns(r.sql_after) for r in deployments.itertuples()]
declared = [json.loads(text) for text in deployments.declared]
deployments["said"] = [{d.get("column") for d in found if d["action"] != "drop_input"} for found in declared]
deployments["inputs"] = [any(d["action"] == "drop_input" for d in found) for found in declared]
unseen = deployments[deployments.inputs & (deployments.gone.str.len() == 0)]
print("columns kept, an input declared gone:", unseen.deployment_id.tolist())
pd.Series(
    {
        "deployments": len(deployments),
        "lose a column": int((deployments.gone.str.len() > 0).sum()),
        "of these, not declared": int((deployments.gone - deployments.said).str.len().gt(0).sum()),
        "keep all, declare an input gone": len(unseen),
    }
).to_frame("count")

# %% [markdown]
# The last line is what this gate is blind to: a column that is still there and is fed by something else. These authors
# declared an input, and the gate would have asked nobody; of an author who says nothing it cannot know. Only a comparison of
# edges finds those, and for that somebody must have written the edges down at each deployment: the lab's gate does. And it is
# blind in a worse way. A build must not break because of a parser, says somebody, and catches its errors:

# %%
from sqlglot.errors import SqlglotError


def lost(before, after):
    """Columns that are gone, by a gate that carries on where a statement cannot be read."""
    try:
        return sorted(output_columns(before) - output_columns(after))
    except SqlglotError:
        return []


before = "select order_id, channel, total_usd from core.orders"
for after in ("select order_id, channel from core.orders", "select order_id from {{ ref('orders') }}"):
    print(f"{after:45} lost: {lost(before, after)}")

# %% [markdown]
# The template that nobody filled in drops two columns, and the gate says that nothing is lost, because nothing was compared.
# **No lineage must mean no pass.**
#
# ## As of which day?
#
# The catalogue is written anew each night, so it knows today's statements. Of the columns that models had at the end of a
# week, how many does it still know?

# %%
today = {
    m: output_columns(sql)
    for m, sql in con.sql("select schema_name || '.' || table_name, sql from ops.models").fetchall()
}
weeks = pd.date_range("2026-04-05", "2026-06-28", freq="7D")
unknown, total = [], []
for week in weeks:
    then = dict(today)
    for row in deployments[deployments.deployed_at > week].iloc[::-1].itertuples():
        then[row.model] = output_columns(row.sql_before)
    unknown.append(sum(len(names - today[model]) for model, names in then.items()))
    total.append(sum(len(names) for names in then.values()))
figure, ax = plt.subplots(figsize=(7.2, 2.9))
ax.bar(weeks, unknown, width=5, color=RED)
ax.set(ylabel="columns", xlabel="as of the end of the week", ylim=(0, None))
ax.set_title(f"Of {total[0]} columns of 5 April, today's catalogue does not know {unknown[0]}")
show(
    figure,
    "Columns that models had at the end of each week and that today's catalogue does not know, falling towards today",
)

# %% [markdown]
# Few are gone, and the catalogue does not say which: for the others, too, it shows today's edges. Events answer such a
# question because they are a history: what stood on a day is the last COMPLETE up to that day, and a rollback is one more
# event, not an eraser. That needs three habits. A run's id follows from the deployment, so that a step that is repeated tells
# nothing new. The time is the deployment's, not the clock's at sending. And the event names the statement and the commit.
#
# **Limits.** Lineage from SQL ends where SQL ends: what a Python step or a spreadsheet does needs events of its own. INDIRECT
# edges say that something *can* move, not that it will. A gate that stops too often is switched off, so a rename takes one
# declared line, and an addition none.
#
# <details><summary><b>In practice</b> (openlineage-python 1.54, dbt 1.11, Airflow 3, Marquez, Unity Catalog,
# Snowflake)</summary>
#
# - **dbt**: `dbt-ol run` (package `openlineage-dbt`) emits events with column lineage from the compiled SQL; `manifest.json`
#   in `target/` is where a gate in a pull request reads statements before and after.
# - **Airflow**: the provider `apache-airflow-providers-openlineage` emits for each task; SQL operators are parsed, Python
#   operators need inlets and outlets or a hook that reports.
# - **Spark**: the OpenLineage listener fills `columnLineage` with transformations, and writes what concerns all columns into
#   the facet's `dataset` if told to.
# - **Marquez, DataHub, OpenMetadata** take the events; whether they keep them as a history is the question to ask.
# - **Unity Catalog** has `system.access.column_lineage`, **Snowflake** `ACCESS_HISTORY` (Enterprise Edition): by query, as of
#   the time it ran, kept for a year. Filters are not marked as such.
# </details>
#
# ## Back to the question
#
# The deployments of Kestrel have both statements, so this once the question can be answered without events: take the models as
# they stood on 15 April, and follow one column back through them.

# %%
report, on = "mart.loyalty_revenue", pd.Timestamp("2026-04-15")
since = deployments[deployments.deployed_at > on]
then = dict(con.sql("select schema_name || '.' || table_name, sql from ops.models").fetchall())
for row in since.iloc[::-1].itertuples():
    then[row.model] = row.sql_before
stood = {part: dict(its) for part, its in nested.items()}
for model, sql in then.items():
    part, name = model.split(".")
    stood[part][name] = dict.fromkeys(output_columns(sql), "VARCHAR")
behind = {report}


def fed_by(table, column):
    """The columns of core that a column came from, in the models of that day."""
    if table not in then:
        return {f"{table}.{column}"}
    behind.add(table)
    leaves = [n for n in lineage(column, then[table], schema=stood, dialect="duckdb").walk() if not n.downstream]
    steps = {
        (f"{n.expression.db}.{n.expression.name}", n.name.split(".")[-1]) for n in leaves if n.expression.key == "table"
    }
    return set().union(*(fed_by(*step) for step in steps))


for name in sorted(output_columns(then[report])):
    print(f"{name:16}", ", ".join(sorted(fed_by(report, name))) or "(counts rows)")
changes = since[since.model.isin(behind)]
declared_actions = [[d["action"] for d in json.loads(text)] for text in changes.declared]
changes = changes.assign(lost=changes.gone.map(sorted), declared=declared_actions, commit=changes.git_sha.str[:7])
changes[["deployed_at", "model", "kind", "commit", "deployed_by", "lost", "declared"]]

# %% [markdown]
# What fed it are the lines above (sqlglot's edges: values and conditions alike, no filters); who has changed the models is the
# table, by commit and person; and whether anybody said what was lost is its last two columns. It took every statement before
# and after. An event has the edges and the commit, and the commit has the author.
#
# **You take away** the three functions that you now write in the lab: lineage of a statement, events of a deployment, and a
# gate.
#
# Read on: the OpenLineage specification, *Column Level Lineage Dataset Facet* (openlineage.io); Peter Buneman, Sanjeev
# Khanna, Wang-Chiew Tan, *Why and Where: A Characterization of Data Provenance* (ICDT 2001); Jez Humble, David Farley,
# *Continuous Delivery* (Addison-Wesley, 2010), chapter 5 on the deployment pipeline.
