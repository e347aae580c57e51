# %% [markdown]
# # 3.6 Reprocess safely after failures
#
# *"On Tuesday the load died at three in the morning and somebody started it again. On Wednesday my revenue was too high,
# on Thursday it was too low. Which numbers can I trust after a rerun?"* The head of finance at Kestrel wants an answer
# that does not depend on who was on call.
#
# Here you see what a repeated, late or half-finished delivery leaves behind under five ways of loading, what each
# costs, and which three ingredients make a rerun harmless. You take away a loader that may be run at any time, any
# number of times, and the backfill that goes with it.

# %%
from workshop import open_lesson
from workshop.plots import BLUE, ORANGE, RED, plt, show

con = open_lesson("3.6")

# %% [markdown]
# ## What lands
#
# Order changes land in files. Each record is a full image of an order as of its `version`, a number that the order
# service counts up. Here is everything that ever landed for two orders.

# %%
con.sql("""
    with odd as (
      select order_id from raw.order_batches
      where ordered_on between date '2026-05-01' and date '2026-05-31'
      group by order_id
      having count(distinct ordered_on) > 1 and count(*) > count(distinct version)
      order by order_id limit 2
    )
    select batch_id, landed_at, order_id, version, event, event_at, ordered_on, total_usd
    from raw.order_batches where order_id in (from odd)
    order by order_id, landed_at
""").df()

# %% [markdown]
# The same version comes more than once, and a correction moves the order to another day. Producers retry until they
# are sure, so each record is delivered **at least once**; queues and clocks being what they are, in no promised order.
# How often?

# %%
con.sql("""
    with seen as (
      select *,
        row_number() over (partition by order_id, version order by landed_at, record_no) > 1 as is_repeat,
        version < max(version) over (
          partition by order_id order by landed_at range between unbounded preceding and interval 1 second preceding
        ) as is_older_after_newer,
        ordered_on <> first(ordered_on) over (partition by order_id order by version) as is_moved
      from raw.order_batches
    )
    select
      count(*) as records,
      count_if(is_repeat) as repeats,
      count_if(is_older_after_newer) as older_after_newer,
      count_if(event = 'corrected' and is_moved) as moves_to_another_day,
      count_if(landed_at > event_at + interval 1 day) as over_a_day_late
    from seen
""").df()

# %% [markdown]
# A few in a hundred. Enough that each day of a month is touched by some, and too few for anybody to notice in a test.
#
# ## The naive load fails
#
# Three days of files, 8 to 10 June; the ninth is a sales day. The job appends each file to `orders`. On the ninth it is
# killed after three files, and the scheduler runs the day again.

# %%
FILES = con.sql("""
    select batch_id, min(landed_at) as landed_at from raw.order_batches
    where landed_at between timestamp '2026-06-08' and timestamp '2026-06-11' group by batch_id order by landed_at
""").fetchall()
IMAGE = "order_id, version, status, ordered_on, total_usd, batch_id as loaded_from"


def append(run, file):
    run(f"insert into orders select {IMAGE} from raw.order_batches where batch_id = ?", [file])


def deliver(load, files):
    """Loads files one by one into an empty table; returns the rows written."""
    con.execute(f"create or replace table orders as select {IMAGE} from raw.order_batches limit 0")
    written = []
    for file in files:
        load(lambda sql, given=None: written.append(con.execute(sql, given).fetchall()[0][0]), file)
    return sum(written)


names = [name for name, _ in FILES]
ninth = [name for name, landed_at in FILES if landed_at.day == 9]
revenue = "select ordered_on, count(*) as orders, sum(total_usd) as usd from {} where status <> 'cancelled' group by 1"

deliver(append, names + ninth[:3])
con.sql(f"""
    with truth as (
      select * from raw.order_batches where batch_id in (select unnest({names}))
      qualify row_number() over (partition by order_id order by version desc) = 1
    )
    select ordered_on, t.orders, t.usd, o.orders as orders_appended, o.usd as usd_appended
    from ({revenue.format("truth")}) t join ({revenue.format("orders")}) o using (ordered_on)
    where ordered_on between '2026-06-07' and '2026-06-10' order by 1
""").df()

# %% [markdown]
# Wrong on every day, not only on the one that was run twice: an order that is placed and later completed is already
# two records. The usual patches are to make the table distinct, or to delete what the file has brought before it is
# loaded again.
#
# ## Five ways to load a file

# %%
NEW = f"select {IMAGE} from raw.order_batches where batch_id = ?"
BEST = "qualify row_number() over (partition by order_id order by version desc) = 1"


def append_distinct(run, file):
    append(run, file)
    run("create or replace table orders as select distinct * from orders")


def delete_file(run, file):
    run("delete from orders where loaded_from = ?", [file])
    append(run, file)


def last_arrival(run, file):
    run("delete from orders where order_id in (select order_id from raw.order_batches where batch_id = ?)", [file])
    run(f"insert into orders {NEW} {BEST}", [file])


def higher_version(run, file):
    run(f"create or replace temp table best as {NEW} {BEST}", [file])
    run("delete from best using orders o where o.order_id = best.order_id and o.version >= best.version")
    run("delete from orders where order_id in (select order_id from best)")
    run("insert into orders from best")


def rebuild(run, file):
    run(f"insert into loaded select '{file}'")
    run(f"""create or replace table orders as
        select {IMAGE} from raw.order_batches semi join loaded using (batch_id) {BEST}""")


# %% [markdown]
# **Predict before you run the next cell.** The files are delivered in three ways: as they landed; each of them twice;
# and in reverse, as after an outage, when the backlog is worked off from its end. Which of the five gives the right
# table in all three?
#
# - (1) `append_distinct`: repeats are removed, and that was the problem.
# - (2) `delete_file`: a file that is run again replaces itself.
# - (3) `last_arrival`: one row for each order, always the latest that came.
# - (4) `higher_version`.
# - (5) only the complete `rebuild`.
#
# <details><summary>Answer</summary>(4) and (5). Distinct keeps each version of an order as a row of its own. Deleting by
# file makes the rerun of a file harmless, but the same change also comes in two files. The last arrival is right until
# the order of delivery is not that of the changes. With the version as judge, neither repeats nor order matter.
# </details>

# %%
LOADS = [append, append_distinct, delete_file, last_arrival, higher_version, rebuild]
WAYS = {"as landed": names, "each twice": [n for n in names for _ in (1, 2)], "reversed": names[::-1]}
wrong, written = {}, {}
for load in LOADS:
    for way, files in WAYS.items():
        con.execute("create or replace table loaded (batch_id varchar)")
        written[load.__name__, way] = deliver(load, files)
        wrong[load.__name__, way] = con.execute(f"""
            with truth as (select {IMAGE} from raw.order_batches where batch_id in (select unnest(?)) {BEST})
            select count(*) from truth t
            where (select count(*) from orders o where o.order_id = t.order_id) <> 1
               or not exists (from orders o where o.order_id = t.order_id and o.version = t.version)
        """, [names]).fetchall()[0][0]  # fmt: skip
print(f"{'orders wrong after delivery':28}" + "".join(f"{way:>13}" for way in WAYS))
for load in LOADS:
    print(f"{load.__name__:28}" + "".join(f"{wrong[load.__name__, way]:13,}" for way in WAYS))

# %% [markdown]
# Two are right whatever happens. They differ in what they cost.

# %%
figure, ax = plt.subplots()
for load in LOADS:
    x, y = written[load.__name__, "reversed"], max(wrong[load.__name__, way] for way in WAYS)
    ax.scatter(x, y, s=60, color=BLUE if y == 0 else RED, zorder=3)
    below = load is last_arrival
    ax.annotate(f"  {load.__name__}  ", (x, y), ha="right" if x > 5000 else "left", va="top" if below else "bottom")
ax.set_xscale("log")
ax.set_xticks([1000, 2000, 5000, 10000], ["1,000", "2,000", "5,000", "10,000"])
ax.minorticks_off()
ax.set_xlabel("rows written for three days of files (log scale)")
ax.set_ylabel("orders wrong, worst delivery")
ax.set_title("Right and cheap: the higher version. Right and dear: the rebuild")
show(figure, "Rows written against orders wrong: higher_version right and cheap, rebuild right and dear, others wrong")

# %% [markdown]
# The rule behind it: **the table is a function of the set of records, not of their sequence.** "The highest version of
# each key" is such a function: applied twice it gives the same, and in any order. "Add this to that" is not. Nor is a
# *watermark* ("skip what landed before the newest that I have"): it drops whatever comes late. `last_arrival` looks
# nearly right as long as files come in order, and that is its danger.
#
# ## Two tables, one kill
#
# `daily` is made of `orders`. When an order moves, two days change: the one that it reaches and the one that it
# leaves. The second is known only from `orders`, before the load has changed it.
#
# The load below keeps both tables. One variant commits once, the other also between the two tables, "so that the big
# step is not lost". The file is one of the back office with orders that move. Each run has a connection of its own and
# is killed before each of its statements in turn; then it is run again, to the end.

# %%
STEPS = """
    begin;
    create temp table best as select {image} from world.raw.order_batches where batch_id = '{file}' {best};
    delete from best using orders o where o.order_id = best.order_id and o.version >= best.version;
    create temp table days as
      select ordered_on from best union select ordered_on from orders where order_id in (select order_id from best);
    delete from orders where order_id in (select order_id from best);
    insert into orders from best;
    {between}
    delete from daily where ordered_on in (from days);
    insert into daily {sums} where ordered_on in (from days) group by ordered_on;
    commit;
"""
SUMS = "select ordered_on, count(*) as order_count, sum(total_usd) as total_usd from orders"
BACKOFFICE, LANDED_AT = con.execute("""
    select batch_id, any_value(landed_at) from raw.order_batches c
    where event = 'corrected' and exists (
      from raw.order_batches as b
      where b.order_id = c.order_id and b.ordered_on <> c.ordered_on and b.landed_at < c.landed_at)
    group by batch_id order by count(*) desc, batch_id limit 1
""").fetchall()[0]


def run(between, kill_before=None):
    """One run of the job; killed before a statement (counted from 0), or not at all. Returns its number of statements."""
    job = con.cursor()
    statements = job.extract_statements(
        STEPS.format(image=IMAGE, file=BACKOFFICE, best=BEST, between=between, sums=SUMS)
    )
    for statement in statements[:kill_before]:
        job.execute(statement)
    job.close()  # the connection is lost, and with it what is not committed
    return len(statements)


def days_wrong_after(between, kill_before):
    """Days on which daily does not say what orders holds, after a kill and a rerun."""
    before = f"select {IMAGE} from raw.order_batches where landed_at < ? {BEST}"
    con.execute(f"create or replace table orders as {before}", [LANDED_AT])
    con.execute(f"create or replace table daily as {SUMS} group by ordered_on")
    run(between, kill_before)
    run(between)
    return con.execute(f"select count(*) from ({SUMS} group by ordered_on except from daily)").fetchall()[0][0]


JOBS = {"one transaction": "", "a commit between the tables": "commit; begin;"}
strips = {name: [days_wrong_after(b, k) for k in range(run(b, 0) + 1)] for name, b in JOBS.items()}
strips

# %%
figure, ax = plt.subplots(figsize=(7.2, 2.2))
for lane, strip in enumerate(strips.values()):
    for k, days in enumerate(strip):
        ax.barh(lane, 0.92, left=k + 0.54, color=ORANGE if days else BLUE, height=0.7)
        ax.text(k + 1, lane, days or "ok", ha="center", va="center", color="white", fontsize=9)
ax.set_yticks(range(len(strips)), list(strips))
ax.set_xticks(range(1, max(map(len, strips.values())) + 1))
ax.set_xlabel("killed before statement (the last: after the end)")
ax.grid(False)
ax.set_title(f"A commit in the middle leaves {max(max(strips.values(), key=max))} days wrong for good")
show(figure, "Kills by statement: one transaction ends right after each; with a middle commit days stay wrong after it")

# %% [markdown]
# The rerun found `orders` up to date, concluded that no day had changed, and left `daily` as it was. No later run will
# mend it: the information which days to recompute was in the first run, and is gone. This is what finance saw on
# Thursday. In one transaction the rerun always finds what the first run found.
#
# ## A backfill is the same rule for a range of days
#
# To recompute 1 to 7 May, one is tempted to take the records of these days and keep the newest of each order.

# %%
tempting = "from raw.order_batches where ordered_on between '2026-05-01' and '2026-05-07'"
con.sql(f"""
    with range_first as (select order_id, version, ordered_on {tempting} {BEST}),
    version_first as (select order_id, version, ordered_on from raw.order_batches {BEST})
    select r.order_id, r.version as version_kept, r.ordered_on as day_kept, v.version, v.ordered_on
    from range_first r join version_first v using (order_id)
    where v.ordered_on not between '2026-05-01' and '2026-05-07'
    order by all
""").df()

# %% [markdown]
# These orders have left the week, and the backfill would bring them back: each would stand on two days. **First the
# highest version of every order, then the days.** The rest is a partition overwrite: in one transaction remove whatever
# stands on these days, in both tables, and insert what belongs there; touch no other day, since others are adjusted by
# hand or come from files that are no longer kept.
#
# ## The rule, and where it ends
#
# 1. **A key and a version from the source** make the table a function of the records. Without a version you have to
#    choose an order of your own (a log offset, say); a clock is not one: in the first table above an event bears a time
#    from before the order was placed.
# 2. **One transaction** around everything that must agree. Where there is none across two systems, write so that the
#    second can always be recomputed whole from the first, or put the progress into the same place as the data.
# 3. **Nothing from the run itself in the data**: no `now()`, no random ids, no run numbers. A load column says which
#    file brought the row.
#
# It does not help where the effect leaves the database: an e-mail or a payment needs an idempotency key that the
# receiver remembers. Two runs of the same job *at the same time* need a lock, or a database that refuses one of two
# conflicting transactions. And "delivered exactly once" does not exist between machines that may die; what one can have
# is *exactly-once effects*: at-least-once delivery, and a load like this one.
#
# <details><summary><b>In practice</b></summary>
#
# - **dbt**: `materialized='incremental'` with `unique_key` merges the last arrival; put the comparison of versions into
#   the model (deduplicate, and join `{{ this }}`). `insert_overwrite` is the partition overwrite.
# - **Airflow 3.3**: `retries` start the whole task again, so the task must be idempotent. Derive the range from
#   `data_interval_start`, never from the current time; `airflow backfill create` with
#   `--reprocess-behavior completed` runs a range of them again.
# - **Dagster 1.13**: a partitioned asset is the range; `BackfillPolicy.single_run()` makes one run of many partitions.
# - **Prefect 3.9**: `transaction(key=...)` skips what has been committed under that key; a task's `cache_policy` decides what
#   counts as the same work.
# - **Snowflake, BigQuery, Databricks**: `MERGE ... WHEN MATCHED AND s.version > t.version`. Snowflake streams consumed in
#   the transaction of the merge; Delta Lake's `replaceWhere` for backfills and `txnAppId` with `txnVersion` against
#   repeated writes.
# - **Kafka**: the idempotent producer removes the repeats of one producer session, not those of an application that is
#   started again.
# </details>
#
# ## Back to the question
#
# Which numbers can finance trust after a rerun? All of them, if each table is a function of what has landed: the
# highest version of each order wins, both tables change in one transaction, and nothing else is written. Then "run it
# again" is a safe answer at three in the morning, whoever is on call.
#
# **You take away** a tested loader and its backfill. In the lab they are killed before every statement.
#
# Read on: Pat Helland, *Idempotence Is Not a Medical Condition* (ACM Queue, 2012); Maxime Beauchemin, *Functional Data
# Engineering* (2018); Martin Kleppmann, *Designing Data-Intensive Applications* (2017), chapter 11 on exactly-once.
