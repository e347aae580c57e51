# %% [markdown]
# # Lesson 2.9: The audit
#
# "On Thursday the regulator comes," says Kestrel's head of data. "They will ask where addresses are, who could see them in
# April, what we still hold of a customer who left. We have tags, rules, lineage, holds and masks. Which of our answers would
# they believe?"
#
# You will see how far personal data runs beyond the columns that carry a tag, why a question about April must not be answered
# from the state of June, and what it takes that somebody who trusts nobody comes to the same answer. You take away a test for
# evidence that fits into one line.

# %%
from datetime import datetime, timedelta

import networkx as nx
import numpy as np
import pandas as pd

from workshop import open_lesson
from workshop.audit import read_record
from workshop.plots import BLUE, GREY, ORANGE, plt, show

con = open_lesson("2.9")
record = read_record(con)
pd.DataFrame({"rows": {part: len(rows) for part, rows in record.items()}}).T

# %% [markdown]
# ## Where are the postal addresses?
#
# The tags answer at once:

# %%
KIND = "postal_address"
tagged = {f"{t['table_name']}.{t['column_name']}" for t in record["tags"] if t["kind"] == KIND}
print(f"{len(tagged)} columns are tagged {KIND}:", *sorted(tagged), sep="\n  ")
extracts, versions = con.execute("select count(distinct table_name), count(*) from ops.extracts").fetchone()
print(f"{extracts} extracts, in {versions} versions")

# %% [markdown]
# Tags are given to tables of the estate. Beside them stand **extracts**: lists for agencies, files for partners, packs for the
# board, made of tables and of each other, and changed when somebody asks for another column. Nobody tags them. What
# goes into what is kept as edges, each with the time in which it held. Today's:

# %%
NOW = datetime(2026, 6, 30)


def flows(at):
    """A graph of columns: which goes into which at a moment."""
    graph = nx.DiGraph()
    for e in record["edges"]:
        if e["valid_from_at"] <= at and (e["valid_to_at"] is None or e["valid_to_at"] > at):
            graph.add_edge(f"{e['input_table']}.{e['input_column']}", f"{e['output_table']}.{e['output_column']}")
    return graph


def copies(kind, at):
    """Columns of extracts into which a tagged column goes, over any number of steps."""
    graph = flows(at)
    tags = {f"{t['table_name']}.{t['column_name']}" for t in record["tags"] if t["kind"] == kind}
    return set().union(*(nx.descendants(graph, place) for place in tags if place in graph)) - tags


layer = dict(con.execute("select distinct table_name, layer from ops.extracts").fetchall())
held = tagged | copies(KIND, NOW)
near = flows(NOW).subgraph(held)
near = near.subgraph([n for n in near if nx.degree(near, n)])
place = {}
depth = 1 + max(layer.get(n.rpartition(".")[0], 0) for n in near)
for column in range(depth):
    nodes = sorted(n for n in near if layer.get(n.rpartition(".")[0], 0) == column)
    place |= {n: (column, -k / max(len(nodes) - 1, 1)) for k, n in enumerate(nodes)}
figure, ax = plt.subplots(figsize=(9, 3.9))
nx.draw_networkx_edges(near, place, ax=ax, edge_color=GREY, arrowsize=9, node_size=90)
colours = [BLUE if n in tagged else ORANGE for n in near]
nx.draw_networkx_nodes(near, place, ax=ax, node_color=colours, node_size=60)
for n, (x, y) in place.items():
    ax.text(x, y + 0.04, n.replace("extract.", ""), ha="center", va="bottom", fontsize=7)
ax.set(xlim=(-0.45, depth - 0.55), ylim=(-1.06, 0.14))
ax.set_title(
    f"From {sum(n in tagged for n in near)} of {len(tagged)} tagged columns (blue) into {len(held - tagged)} without tags"
)
ax.axis("off")
show(figure, "Graph from a tagged column on the left through extracts, whose columns carry no tag")
assert len(held - tagged) > len(tagged)

# %% [markdown]
# The answer that the tags give is the smaller part. What an extract holds follows from what it is made of, and from nothing
# else.
#
# ## In April
#
# Regulators ask about the past. Extracts change: a column comes from elsewhere from one day on. For each week since March,
# what would be said of e-mail addresses with today's edges, and what was so?

# %%
weeks = [NOW - timedelta(days=7 * k) for k in range(17, -1, -1)]
was = [copies("email", week) for week in weeks]
today = copies("email", NOW)
missing, invented = ([len(w - today) for w in was], [-len(today - w) for w in was])
wrong = sum(w != today for w in was)
figure, ax = plt.subplots(figsize=(8, 2.8))
ax.bar(weeks, missing, width=5, color=ORANGE, label="held it then, and not today")
ax.bar(weeks, invented, width=5, color=GREY, label="holds it today, and did not then")
ax.axhline(0, color="black", linewidth=0.8)
ax.set_ylabel("columns of extracts")
ax.yaxis.set_major_formatter(lambda y, _: f"{abs(y):.0f}")
ax.yaxis.get_major_locator().set_params(integer=True)
ax.set_title(f"Answered from today's edges, {wrong} of {len(weeks)} weeks come out wrong")
ax.legend(fontsize=8)
ax.figure.autofmt_xdate()
show(figure, "Bars by week: columns that held the kind then and not today, and the other way round")
assert wrong > 5

# %% [markdown]
# The same holds of rules, roles and holds: each row of the record says from when to when it held, and an answer about a moment
# uses the rows that held then. An interval includes its beginning and not its end: on the minute at which an extract was
# deployed, the new version holds already.
#
# ## What is evidence?
#
# "These columns held it" is a claim. What has to be shown with it, so that a stranger comes to the same? Take a question that
# is none of the lab's: *from which columns of tables was a column of an extract made, on a day?* The answer goes back along the
# edges. Here it is with a reader who believes only the rows that are cited:

# %%
DAY = datetime(2026, 4, 15)


def sources(column, edges):
    """From which columns of tables a column is made, by these edges (rows of the record)."""
    into = {}
    for e in edges:
        if e["valid_from_at"] <= DAY and (e["valid_to_at"] is None or e["valid_to_at"] > DAY):
            into.setdefault(f"{e['output_table']}.{e['output_column']}", []).append(e)
    found, used, todo = set(), [], [column]
    while todo:
        here = todo.pop()
        if here not in into:
            found.add(here)
        for e in into.get(here, []):
            if e not in used:
                used.append(e)
                todo.append(f"{e['input_table']}.{e['input_column']}")
    return found, used


candidates = sorted(
    {f"{e['output_table']}.{e['output_column']}" for e in record["edges"] if layer[e["output_table"]] == 3}
)


def needed(column):
    """How many edges the answer stands on, if each of them is needed; 0 if it can be had in two ways."""
    answer, chain = sources(column, record["edges"])
    without = (sources(column, [e for e in chain if e is not gone])[0] for gone in chain)
    return len(chain) if all(other != answer for other in without) else 0


target = max(candidates, key=needed)
answer, chain = sources(target, record["edges"])
direct = [e for e in chain if f"{e['output_table']}.{e['output_column']}" == target]
for name, cited in {"the last step only": direct, "the whole chain": chain, "all edges": record["edges"]}.items():
    seen, _ = sources(target, cited)
    print(
        f"{name}: {len(cited)} rows cited, the reader comes to {'the answer' if seen == answer else 'something else'}"
    )

# %% [markdown]
# ## Predict
#
# The reader now loses **one** of the cited rows, drawn by lot. How often does the answer change, for the whole chain, and for
# all edges?
#
# 1. Never for both: an answer that is right stays right.
# 2. Always for the chain, hardly ever for all edges.
# 3. About as often for both: it is the same answer.
#
# <details><summary>Answer</summary>
#
# The second. We took a column whose chain has no second way: each row of it is needed. Of all edges nearly every one could be
# lost. That sounds safe, and means that nearly every one says nothing about this question. Somebody has to find the few that
# do.
# </details>

# %%
rng = np.random.default_rng(7)
lost = {}
half = chain + [e for e in record["edges"] if e not in chain][: 3 * len(chain)]
for name, cited in {"the chain": chain, "chain and three\ntimes as many": half, "all edges": record["edges"]}.items():
    draws = range(len(cited)) if len(cited) < 60 else rng.choice(len(cited), 60, replace=False)
    changed = [sources(target, [e for k, e in enumerate(cited) if k != int(d)])[0] != answer for d in draws]
    lost[f"{name}\n({len(cited)} rows)"] = 100 * np.mean(changed)
figure, ax = plt.subplots(figsize=(6.8, 2.8))
bars = ax.bar(list(lost), list(lost.values()), color=[BLUE, GREY, GREY], width=0.55)
ax.bar_label(bars, fmt="%.0f%%")
ax.set(ylabel="lost rows that change\nthe answer, %", ylim=(0, 118))
ax.set_title("Each row of the chain is needed; of all edges, hardly one is")
show(figure, "Bars: share of lost rows that change the answer, for the chain, a larger set and all edges")

# %% [markdown]
# So there is a test: **throw everything away but what is cited, and answer again.** If the answer comes back, the evidence
# shows it. If it comes back without a row, that row was a burden. Databases know this as the *witness* of an answer.
#
# ## That there was nothing
#
# "Nobody used addresses on that day without a right" cannot be shown by a row, since there is none. What can be shown is
# that one has looked at all there was:

# %%
log = [e for e in record["log"] if KIND in e["kinds"] and e["decision"] == "allowed"]
seqs = [e["seq"] for e in record["log"]]
gaps = sorted(set(range(min(seqs), max(seqs) + 1)) - set(seqs))
print(f"{len(log)} entries of the month used {KIND} and were let through, of {len(record['log'])} in all")
print(f"numbers that are missing in the log: {gaps}")

# %% [markdown]
# Who cites the faulty entries alone has not shown that there are no others; who cites all of them has, **if** somebody else
# knows how many there are. That is what the anchors of topic 2.2 are for: a number and a digest, sent away each evening. A
# number that is missing above may be an entry that somebody has taken out.
#
# ## One missed tag
#
# In the lab your parts of 2.1 to 2.8 govern a platform together. How far does a mistake of one reach? Take away one tag at a
# time, and count the columns of which nobody knows any more what they hold, and in how many places (a column in an
# environment) these are shown as they are:

# %%
kept = {}
for shown in record["masks"]:
    if shown["mask"] == "keep":
        kept.setdefault(f"{shown['table_name']}.{shown['column_name']}", []).append(shown["environment"])
graph = flows(NOW)
reach = []
for t in record["tags"]:
    start = f"{t['table_name']}.{t['column_name']}"
    others = {f"{o['table_name']}.{o['column_name']}" for o in record["tags"] if o["kind"] == t["kind"]} - {start}
    known = set().union(others, *(nx.descendants(graph, o) for o in others if o in graph))
    hidden = ({start} | (nx.descendants(graph, start) if start in graph else set())) - known
    reach.append((start, len(hidden), sum(len(kept.get(c, [])) for c in hidden)))
reach = pd.DataFrame(reach, columns=["tag", "columns", "shown"]).sort_values("columns", ascending=False)
figure, ax = plt.subplots(figsize=(8, 2.9))
ax.bar(range(len(reach)), reach["columns"], color=ORANGE, width=0.9)
ax.axhline(1, color=GREY, linewidth=1)
ax.text(len(reach) - 1, 1.2, "only itself", ha="right", fontsize=8)
ax.yaxis.get_major_locator().set_params(integer=True)
worst = reach.iloc[0]
ax.set(xlabel=f"the {len(reach)} tags, each left out once", ylabel="columns nobody knows of", xlim=(-1, len(reach)))
ax.set_title(
    f"Without the tag of {worst.tag}, {worst['columns']} columns are unknown, shown in {worst.shown} places",
    fontsize=10,
)
show(figure, "Bars by tag: columns that are unknown when it is missing, many for a few tags and one for most")
assert worst["columns"] > 3

# %% [markdown]
# Most tags cover themselves. A few stand at the head of a river. Audit effort belongs there: a second look at the tags with
# the longest reach is worth more than a tenth look at all.
#
# ## The rule, and where it ends
#
# 1. **Answers follow the data**: from tags along the edges, over as many steps as there are.
# 2. **As of then**: only what held at the moment. The beginning counts, the end does not.
# 3. **Evidence is what suffices**: the cited rows alone lead to the answer, and hardly one could be left out.
# 4. **Nothing is shown by all**: that there was nothing needs a count that somebody else holds.
#
# It ends where the record is wrong. Evidence shows that the answer follows from the record, not that the record is true: for
# that somebody has to look at the platform itself, as task b does. And it ends where values leave without an edge, in a
# spreadsheet or a screenshot.
#
# **In practice.** Unity Catalog keeps lineage and grants in system tables; Snowflake has `ACCESS_HISTORY` (which columns a
# query read, with their base columns) and `GRANTS_TO_ROLES`; both keep a year. What is asked after that must be copied away in
# time. OneTrust, Collibra and others hold the record of processing, and are right as far as somebody feeds them.
#
# ## Back to the question
#
# Which answers would they believe? Those that they can come to themselves, from few rows, about the day they asked for. "We
# have tags" is none of them.
#
# **To take home:** the test of evidence in one line, and the list of tags by reach.
#
# - Regulation (EU) 2016/679 (GDPR), Articles 5(2) and 30: accountability, records of processing
# - P. Buneman, S. Khanna, W.-C. Tan, *Why and Where: A Characterization of Data Provenance*, ICDT 2001 (witnesses)
# - B. Schneier, J. Kelsey, *Secure Audit Logs to Support Computer Forensics*, ACM TISSEC 2(2), 1999
#
# Next: **lab 2.9**.
