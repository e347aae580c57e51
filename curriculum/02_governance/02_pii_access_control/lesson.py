# %% [markdown]
# # Lesson 2.2: Access control that an auditor can verify
#
# The auditor asks: "You say that analysts cannot see addresses. How do I know? I do not want to see your policy, I want to see
# that it is enforced: who could see what on the third of June, who did, and that nobody has tidied up your log since."
#
# You will see how a list of forbidden words is got round in five ways, what a parser knows that a text does not, how to tell
# that a query learns nothing, and what a log has to be like so that it proves something against those who keep it. You take
# away a test for any gateway, and four queries for any audit.

# %%
import re
from itertools import pairwise

import duckdb
import pandas as pd
import sqlglot
from sqlglot.optimizer.qualify import qualify

from workshop import open_lesson
from workshop.plots import GREY, ORANGE, plt, show

con = open_lesson("2.2")

# %% [markdown]
# DuckDB has no GRANT: whoever opens the file reads the file. So people do not open it. They send their query to a
# **gateway**, which knows their role, decides, and runs what it has allowed. Here is a month of what the gateway has said.

# %%
con.sql("""
    select role, count(*) as queries, count(*) filter (decision = 'refused') as refused,
      count(*) filter (len(kinds) > 0) as of_personal_data
    from ops.access_log group by role order by queries desc
""").df()

# %% [markdown]
# ## A list of words
#
# The first gateway that everybody writes looks for names of columns. Five queries for it, by somebody who may not see
# addresses of e-mail:

# %%
FORBIDDEN = re.compile(r"\bemail\b")
queries = {
    "plain": "select email from core.customers",
    "upper case": "select EMAIL from core.customers",
    "star": "select * from core.customers limit 2",
    "names of my own": "select n from core.customers t(i, f, n)",
    "a row": "select c from core.customers c limit 2",
}
for name, query in queries.items():
    stopped = bool(FORBIDDEN.search(query))
    got = "" if stopped else str(con.sql(query).fetchall()[0])
    print(f"{name:16}{'stopped' if stopped else 'runs':9}{'an address comes out' if '@' in got else ''}")

# %% [markdown]
# One of five is stopped. Upper case is easily mended. The other three do not contain the word in any spelling. A text does
# not say which columns a query uses. Its meaning does, and for that it has to be read as the engine reads it.
#
# ## What a parser knows
#
# sqlglot parses DuckDB's dialect into a tree. `qualify`, given a schema, gives each column the table that it comes from, and
# writes stars out. On a table that has nothing to do with people:

# %%
schema = {"core": {"products": {"product_id": "int", "sku": "text", "category": "text", "list_price_usd": "decimal"}}}
for query in (
    "select * exclude (sku) from core.products p",
    "select x.c from (select category as c, product_id from core.products) x where x.product_id > 9",
):
    print(qualify(sqlglot.parse_one(query, dialect="duckdb"), schema=schema, dialect="duckdb").sql(dialect="duckdb"))

# %% [markdown]
# After that nearly every column that comes from a table has its table's name. Not every one: in `select city as email from
# core.customers order by upper(email)` sqlglot takes the alias for it, and DuckDB the column. And some queries cannot be
# read this way at all:

# %%
for query in (
    "select columns('cat.*') from core.products",
    "select p from core.products p",
    "pivot core.products on category",
):
    try:
        tree = qualify(sqlglot.parse_one(query, dialect="duckdb"), schema=schema, dialect="duckdb")
        found = sorted(
            {type(n).__name__ for n in tree.walk()} - {"Identifier", "Table", "TableAlias", "From", "Select"}
        )
        print(f"{query:46} read, with {', '.join(found)}")
    except sqlglot.errors.SqlglotError as error:
        print(f"{query:46} not read: {str(error).splitlines()[0][:60]}")

# %% [markdown]
# `COLUMNS` takes a pattern that only the engine expands. `p` is a row as a whole. What a gateway does not understand it must
# refuse, and it must know that it does not understand it: so it keeps a list of the kinds of node that it knows, not of those
# that it fears. The next version of the dialect brings a construct that nobody has feared yet.
#
# And since no reader reads everything as the engine does, a careful gateway has a second line: in place of each table it
# gives the engine a subquery with the permitted columns only. What the first line has misread then finds no such column.
#
# ## What it means to learn nothing
#
# **Predict before you run it.** An analyst may not see addresses, and her query is `select count(*) from core.customers where
# email < 'c8'`. No address comes out. Is that (a) harmless, it is a count; (b) harmless as long as she asks once; (c) a use
# like any other?

# %%
target = con.sql("select email from core.customers where customer_id = 100042").fetchall()[0][0]
asked = 0
known = ""
alphabet = sorted(set("0123456789abcdefghijklmnopqrstuvwxyz@."))
while len(known) < 6:
    for letter in alphabet:
        asked += 1
        yes = con.execute(
            "select count(*) from core.customers where customer_id = 100042 and starts_with(email, ?)", [known + letter]
        ).fetchall()[0][0]
        if yes:
            known += letter
            break
print(f"{asked} counts, and the address begins with {known!r}: {target.startswith(known)}")

# %% [markdown]
# <details><summary>The answer</summary>
#
# (c). Each count is a bit, and bits add up. A condition, a join, an order or a grouping says something about the values, so to
# use a column anywhere is to use it.
#
# </details>
#
# This gives a test that needs no list of tricks. Take two databases that differ **only** in what a role may not see. If a
# query of this role gives another result on the second, it has learnt something. If it gives the same, it has not, however it
# looks. The field calls this **non-interference**.

# %%
pair = [duckdb.connect(), duckdb.connect()]
for side, copy in enumerate(pair):
    copy.execute("create table customers (id int, city varchar, email varchar)")
    for i in range(6):
        copy.execute(
            "insert into customers values (?, ?, ?)",
            [i, ["Lyon", "Bilbao"][i % 2], f"{'az'[side]}{(i * 5) % 6}@x.example"],
        )
for query in (
    "select city, count(*) from customers group by city",
    "select count(*) from customers where email < 'b'",
    "select id from customers order by email",
    "select city from customers where length(email) > 3",
    "select hash(email) % 2 from customers",
):
    same = pair[0].execute(query).fetchall() == pair[1].execute(query).fetchall()
    print(f"{'learns nothing' if same else 'learns':16}{query}")
for copy in pair:
    copy.close()

# %% [markdown]
# The third and fourth lines show its limit: both copies have their addresses in the same order and of the same length, so
# this pair cannot show what these queries learn. A test is as good as the pair of databases. Make them differ in order, in
# length, in nulls and in repetitions, or use several.
#
# ## A log that proves something
#
# The gateway writes down what it decides. The person who is asked about an entry may be the person who can write the file. So
# each entry carries a digest of itself and of the entry before it: whoever changes one has to change all that follow. And in
# the evening the last digest is sent to somebody who does not run the gateway: an **anchor**. Three ways to tamper with ten
# entries, and what shows them:

# %%
from workshop.access import FIRST, entry_hash


def chain(entries):
    """The entries with digests, each with that of the one before it."""
    previous, chained = FIRST, []
    for entry in entries:
        linked = {**entry, "previous_hash": previous}
        previous = entry_hash(linked)
        chained.append({**linked, "entry_hash": previous})
    return chained


def seen(entries, anchor):
    """Which of three looks at a log find something."""
    linked = all(b["previous_hash"] == a["entry_hash"] for a, b in pairwise(entries))
    whole = all(entry_hash(e) == e["entry_hash"] for e in entries)
    return {"digests": not whole, "links": not linked, "anchor": entries[-1]["entry_hash"] != anchor}


about = {"role": "analyst", "kinds": ["email"], "decision": "refused", "said_version": 4}
log = chain([{"seq": n, "logged_at": f"2026-06-03 09:{n:02}:00", "person_id": 2010 + n, **about} for n in range(1, 11)])
anchor = log[-1]["entry_hash"]
changed = [{**e, "person_id": 2099} if e["seq"] == 5 else e for e in log]
rows = {
    "an entry changed": changed,
    "an entry taken out": [e for e in log if e["seq"] != 5],
    "changed, and all digests made anew": chain(changed),
    "the last entry cut off": log[:-1],
}
pd.DataFrame({name: seen(entries, anchor) for name, entries in rows.items()}).T.replace({True: "finds it", False: ""})

# %% [markdown]
# The chain finds the clumsy. Against somebody who has read this lesson only the anchor helps, and it needs another pair of
# hands.
#
# ## Right by which policy?
#
# The policy changes. Whether a decision was right depends on the version that was in force then, and the log's word for
# it is what is being audited. In this month a cached policy went on deciding after each change:

# %%
late = con.sql("""
    with versions as (
      select version, valid_from_at, lead(valid_from_at) over (order by version) as valid_to_at from ops.policy_versions
    )
    select date_diff('hour', v.valid_from_at, l.logged_at) as hours_after, l.said_version < v.version as is_late
    from ops.access_log l
    join versions v on l.logged_at >= v.valid_from_at and (v.valid_to_at is null or l.logged_at < v.valid_to_at)
    where v.version > 1
""").df()
late["day"] = (late.hours_after // 24 + 1).clip(upper=5)
share = late.groupby("day").is_late.mean()
figure, ax = plt.subplots(figsize=(6.6, 2.7))
ax.bar(share.index, share, color=[ORANGE if s > 0.02 else GREY for s in share])
ax.set_xticks(share.index, [f"{d}." if d < 5 else "later" for d in share.index])
ax.set(xlabel="day after a new version of the policy", ylabel="share by an older version")
ax.set_title("For two days half of the decisions were those of the old policy")
show(figure, "Share of decisions that say an older version, by day after a change: about half on the first two days")

# %% [markdown]
# Whether such a decision was wrong depends on whether the rule had changed. That is for the lab.
#
# ## When this does not hold
#
# - A gateway protects what goes through it. The engine's own log, set against the gateway's, shows what did not.
# - Non-interference is strict: it forbids a count of all customers with an address. Where statistics are wanted, one needs
#   thresholds or noise, and a way to add up what has been asked.
# - Time tells, too: a query that takes longer on some values says something. Against colleagues that is rarely worth defending.
# - Roles describe jobs. Rights that depend on the row (only customers of one's own country) need attributes: topic 6.2.
#
# **In practice.** Snowflake, BigQuery, Unity Catalog and Trino enforce column rights in the engine, after its own parser,
# which is where it belongs. A gateway of one's own is for engines without it. Their audit tables (`ACCESS_HISTORY`,
# `system.access.audit`) list the columns that a query used; immudb, Trillian and ledger tables in SQL Server keep chains with
# anchors.
#
# ## Recap
#
# The auditor's questions have answers that need nobody's word: who could see what follows from grants and the version in
# force at that moment, who did from the log, that it is enforced from attacks that learn nothing, and that nobody has tidied
# up from a chain and an anchor that lies elsewhere.
#
# **Take home:** the pair of databases. Any gateway, bought or built, can be tested with it, in an afternoon.
#
# **Read on**
#
# - Joseph Goguen, José Meseguer, "Security Policies and Security Models", IEEE Symposium on Security and Privacy, 1982:
#   non-interference.
# - NIST, *Role-Based Access Control*, INCITS 359-2012: roles, and static separation of duty.
# - Stuart Haber, W. Scott Stornetta, "How to Time-Stamp a Digital Document", Journal of Cryptology 3, 1991: chains and anchors.
#
# Now lab 2.2: a policy, a gateway that a hundred and thirty queries try to get round, and a month of log in which somebody
# has tidied up.
