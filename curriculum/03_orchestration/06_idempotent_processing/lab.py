# %% [markdown]
# # Lab 3.6: reprocess safely after failures
#
# Order changes land at Kestrel in files: at least once, in any order, sometimes days late. Two tables are made of
# them: `orders`, which a dozen teams read, and `orders_daily`, which finance reports from. The job that loads a file
# is killed now and then, and the scheduler starts it again.
#
# You write the job so that all of this leaves no trace (task a), and the backfill that repairs a range of days after
# somebody's faulty job did leave one (task b).

# %% tags=["parameters"]
WORLD, SCALE = "practice-7", 0.05

# %% tags=["setup"]
from workshop import TODO, open_lab

lab = open_lab("3.6", world=WORLD, scale=SCALE)

# %% [markdown]
# ## The tables
#
# `raw.order_batches` is the landing table. A batch is all records of one `batch_id`; they landed together, at
# `landed_at`. Each record is a **full image** of an order as of its `version`.

# %%
lab.con.sql("""
    select batch_id, landed_at, record_no, order_id, version, event, event_at, status, ordered_on, total_usd
    from raw.order_batches
    where order_id in (select order_id from raw.order_batches where event = 'corrected' order by order_id limit 3)
    order by order_id, landed_at
""").df()

# %% [markdown]
# Your job keeps these two. As in most warehouses no key is enforced: what you insert is what is there.

# %%
TARGETS = """
create or replace table orders (
    order_id bigint,
    version integer,
    status varchar,
    ordered_on date,
    customer_id bigint,
    country_code varchar,
    channel varchar,
    total_usd decimal(14, 2),
    loaded_from varchar,     -- batch_id of the batch that brought this version
    loaded_at timestamp      -- landed_at of that batch
);
create or replace table orders_daily (
    ordered_on date,
    order_count bigint,      -- orders of that day that are not cancelled
    cancelled_count bigint,
    total_usd decimal(18, 2),  -- of the orders that are not cancelled
    loaded_at timestamp      -- the latest loaded_at of that day's orders
);
"""
lab.con.execute(TARGETS)
print("two empty tables")

# %% [markdown]
# ## Task a: load a batch
#
# Change: the body of `load`. It gets a connection and the id of a batch that lies in `raw.order_batches`. What it
# returns is not used.
#
# What the tables must hold after any sequence of loads:
#
# 1. `orders` has **one row for each order**: its highest version among the batches loaded so far. Neither the order of
#    arrival nor `event_at` (the clock of the source) says which version is newer; `version` does. Two records with the
#    same order and version are the same change.
# 2. `loaded_from` and `loaded_at` come from the batch that brought the version. If the table holds a version already,
#    a record that brings it again changes nothing, these columns included.
# 3. A cancelled order keeps its row, with its status.
# 4. `orders_daily` has one row for each day on which at least one order stands, cancelled ones included, and none for
#    other days. A correction may move an order to another day.
# 5. Days on which a batch changes no order keep their rows as they are. Old files are deleted after 90 days, and
#    finance adjusts rows by hand: what you overwrite there cannot be computed again.
# 6. The job may be **killed before any of its statements** or after the last one. Its connection is lost then, with its
#    open transaction and its temporary tables. It is run again, and the tables must end as if it had run once.
# 7. The work is in proportion to the batch. Rows written, over all statements and helper tables, are at most
#    **3 x (records of the batch + days concerned + orders on these days)**. A day is concerned if a record names it or
#    the record's order stands on it.
#
# When it is judged, `con` has `execute(sql, parameters)`, `begin()`, `commit()` and `rollback()`, and a result has
# `fetchall()`, `fetchone()`, `df()` and `rowcount`, as in DuckDB. Each run has a connection of its own. The landing table is
# read only, settings are locked, and a DataFrame of yours is no table there: hand values over as parameters. SQL, Python or
# both: as you like.


# %% tags=["task-a"]
def load(con, batch_id):
    """Loads one batch of raw.order_batches (``batch_id``: str) into orders and orders_daily."""
    ### BEGIN SOLUTION
    con.begin()
    try:
        # What is newer than the table, one row an order. Staged first: the days must be known before orders changes.
        con.execute(
            """
            create or replace temp table staged as
            select
              b.order_id, b.version, b.status, b.ordered_on, b.customer_id, b.country_code, b.channel, b.total_usd,
              b.batch_id as loaded_from, b.landed_at as loaded_at
            from raw.order_batches b
            left join orders o using (order_id)
            where b.batch_id = ? and (o.order_id is null or b.version > o.version)
            qualify row_number() over (partition by b.order_id order by b.version desc) = 1
            """,
            [batch_id],
        )
        con.execute(
            """
            create or replace temp table touched as
            select ordered_on from staged
            union
            select o.ordered_on from orders o join staged using (order_id)
            """
        )
        con.execute("delete from orders where order_id in (select order_id from staged)")
        con.execute("insert into orders by name select * from staged")
        con.execute("delete from orders_daily where ordered_on in (select ordered_on from touched)")
        con.execute(
            """
            insert into orders_daily by name
            select
              ordered_on,
              count(*) filter (status <> 'cancelled') as order_count,
              count(*) filter (status = 'cancelled') as cancelled_count,
              coalesce(sum(total_usd) filter (status <> 'cancelled'), 0) as total_usd,
              max(loaded_at) as loaded_at
            from orders
            where ordered_on in (select ordered_on from touched)
            group by ordered_on
            """
        )
        con.commit()
    except Exception:
        con.rollback()
        raise
    ### END SOLUTION


# %% [markdown]
# Try it on a few files before it is judged. The second pair of lines is for the same files once more, backwards: it
# should not differ.

# %% tags=["nbval-check-output"]
lab.con.execute(TARGETS)
files = lab.con.sql("""
    select batch_id from raw.order_batches where landed_at >= '2026-05-11' group by all order by min(landed_at) limit 5
""").fetchall()
try:
    for sequence in (files, files[::-1]):
        for (batch_id,) in sequence:
            load(lab.con, batch_id)
        print(lab.con.execute("select count(*), count(distinct order_id), sum(version) from orders").fetchall()[0])
        print(lab.con.execute("select count(*), sum(order_count), sum(total_usd) from orders_daily").fetchall()[0])
except TODO:
    print("task a: nothing loaded yet")

# %% tags=["check-a"]
lab.check("a")

# %% [markdown]
# ## Task b: backfill a range of days
#
# Another team's loader has been at the tables: in some days of June rows are missing, doubled, outdated or of no known
# order. `backfill` puts a range of days right, from `raw.order_batches`.
#
# Change: the body of `backfill`. `from_day` and `to_day` are dates; **both belong to the range**. The task stands on
# its own: it does not need your `load`, only the three tables. Every batch in `raw.order_batches` counts as loaded,
# in order of `landed_at`.
#
# 1. Afterwards the days of the range hold in both tables exactly what rules 1 to 4 of task a say: the orders whose
#    highest version stands on that day, loaded from the first batch that brought that version; nothing else.
# 2. All other days keep their rows in both tables, whatever they hold. Days outside the range are not damaged, so no
#    order that belongs into the range stands on another day; but some have been adjusted by hand, and the files of
#    others are deleted.
# 3. All records of the orders of the range are still in the landing table.
# 4. It may be killed as in task a. After a kill **each day is wholly as it was or wholly right**, in both tables
#    together, and a rerun finishes the work. Whether you replace the range at once or day by day is up to you.


# %% tags=["task-b"]
def backfill(con, from_day, to_day):
    """Recomputes the days from ``from_day`` to ``to_day`` (dates, both included) of orders and orders_daily."""
    ### BEGIN SOLUTION
    con.begin()
    try:
        con.execute("delete from orders where ordered_on between ? and ?", [from_day, to_day])
        # First the highest version of each order, over all batches; only then is the order's day known.
        con.execute(
            """
            insert into orders by name
            with winners as (
              select
                order_id, version, status, ordered_on, customer_id, country_code, channel, total_usd,
                batch_id as loaded_from, landed_at as loaded_at
              from raw.order_batches
              qualify row_number() over (partition by order_id order by version desc, landed_at) = 1
            )
            select * from winners where ordered_on between ? and ?
            """,
            [from_day, to_day],
        )
        con.execute("delete from orders_daily where ordered_on between ? and ?", [from_day, to_day])
        con.execute(
            """
            insert into orders_daily by name
            select
              ordered_on,
              count(*) filter (status <> 'cancelled') as order_count,
              count(*) filter (status = 'cancelled') as cancelled_count,
              coalesce(sum(total_usd) filter (status <> 'cancelled'), 0) as total_usd,
              max(loaded_at) as loaded_at
            from orders
            where ordered_on between ? and ?
            group by ordered_on
            """,
            [from_day, to_day],
        )
        con.commit()
    except Exception:
        con.rollback()
        raise
    ### END SOLUTION


# %% [markdown]
# Try it: both tables are empty but for two rows of a faulty job, and a week of May is backfilled, twice.

# %% tags=["nbval-check-output"]
from datetime import date

lab.con.execute(TARGETS)
lab.con.execute("insert into orders (order_id, version, ordered_on) values (1, 1, '2026-05-12'), (2, 1, '2026-06-01')")
try:
    for _ in range(2):
        backfill(lab.con, date(2026, 5, 11), date(2026, 5, 17))
        print(lab.con.execute("select count(*), min(order_id), sum(version) from orders").fetchall()[0])
        print(lab.con.execute("select count(*), sum(order_count), sum(total_usd) from orders_daily").fetchall()[0])
except TODO:
    print("task b: nothing recomputed yet")

# %% tags=["check-b"]
lab.check("b")

# %% [markdown]
# ## Twelve weeks later
#
# Your `load`, with twelve weeks of nightly batches, one run in eight killed and run again; beside it a job that
# appends what comes and adds it to the day's sum.

# %%
lab.twelve_weeks_later()
