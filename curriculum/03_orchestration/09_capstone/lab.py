# %% [markdown]
# # Lab 3.9: A calm month
#
# Eight labs, nine decisions, each judged by itself. Now they run together: one month of the platform, twenty times, in which
# late nights keep reports waiting, bad batches wake people, and a retry can do harm. You put your parts in (task a), measure
# the four golden signals (task b), and decide which change ships first when the change board lets one through a week (task
# c). About 45 minutes. Lesson 3.9 has the background.
#
# You change the three cells that begin with `# Task`. When your work is graded, it runs on another world.

# %% tags=["parameters"]
WORLD, SCALE = "practice-7", 0.05

# %% tags=["setup"]
# What the parts of labs 3.1 to 3.8 need.
import contextlib
import json
import math
from datetime import UTC, datetime, timedelta
from graphlib import TopologicalSorter
from zoneinfo import ZoneInfo

import duckdb
import numpy as np
import pandas as pd

from workshop import TODO, open_lab
from workshop.sim.contracts import violations
from workshop.sim.credentials import PRICES_USD, simulate_policy

lab = open_lab("3.9", world=WORLD, scale=SCALE)

# %% [markdown]
# ## Task a: nine decisions, one month
#
# Change: the nine values below. Each is **your own work** from the lab that is named beside it (the function or list, under
# the name that it has here), or the text `"reference"`, the course's own answer, for what you skipped.
#
# | name here | what it is | from | in the month it decides |
# | --- | --- | --- | --- |
# | `retry_policy` | `retry_policy(con)` | 3.1 a | what is tried again, how often, how long after |
# | `RULES` | `RULES`, a list | 3.1 b | who is woken or told, and so how long a repair takes |
# | `contract` | `contract(con)` | 3.2 c | which batches of `orders.placed` reach the DAGs that read them |
# | `parameters` | `parameters(con)` | 3.3 b | when the night's jobs end, for which the DAGs of their teams wait |
# | `services` | `policy(con)` | 3.4 b | what a day costs on which a service is slow or away |
# | `schedule` | `schedule(jobs, capacity, current=None)` | 3.5 a | how crowded the cluster is: what runs then takes longer |
# | `load` | `load(con, batch_id)` | 3.6 a | whether tasks can be run again: where it can, all tasks are made like it |
# | `bottlenecks` | `bottlenecks(con)` | 3.7 b | which handoff of each stream is made an hour shorter |
# | `rotation` | `policy(con)` | 3.8 b | how many calls are refused, how long a leak can be used |
#
# `lab.bring("3.1", "a")` puts the cell that you wrote in your lab 3.1 below this one, if you have done that lab on this
# machine; run it, and say `services = policy` or `rotation = policy` at once where the names differ. Whoever has not can
# write a part here, by the text of its lab. Cells of your own may stand anywhere above the task; where two of them have a
# helper of the same name, give one another name, or the later one serves both.
#
# **The month** has some hundred DAGs that reports wait for (those of lab 3.1), the nightly jobs of labs 3.3 and 3.5, and six
# streams (3.7). What is not a part is as it was in the labs. Nobody repairs what nobody was told of: after a page a human
# needs half an hour or so, after a ticket eight, without either a day; twice as long where the wrong team was woken. A batch
# that is refused though it is good waits six hours. Prices, in USD: late runs as in 3.1, three times that if still not done
# twelve hours after the deadline; a page 60 (three teams are woken by a page to everybody); a ticket 8; a second write 150; a
# slot-hour under attempts that fail 2; a night's run killed at work 40; a job of the cluster that breaks a promise 30; an
# hour that a report reaches its readers later 15; services and credentials as in 3.4 and 3.8.
#
# **Today**: five minutes between attempts, whatever the error; everybody is paged for each failed attempt and whenever a task
# is given up; no gate, one time-out for all jobs of the night, no breakers, clocks instead of windows; nothing is rerun
# safely, all handoffs as they are, all versions revoked after 30 days.
#
# **Judged** (4 points), on twenty months, the same for everybody: (yours - references) / (today - references) of what a month
# costs is at most 5%, some 4,000 USD (2). None of the four signals of task b, for the month's DAGs, is more than 5% worse than
# today, on the mean of all days (1). At least four parts are your own, and each of these, alone in today's platform, saves at
# least half of what its reference saves there; where that is less than 200 USD a month, it must not cost as much (1).


# %% tags=["task-a"]
# Task a
### BEGIN SOLUTION
# Four of our own, five borrowed.
def retry_policy(con):
    pairs = con.sql("""
        select distinct task_class, is_idempotent from ops.task_resources join ops.tasks using (task_id) order by all
    """).fetchall()
    patient = {"max_attempts": 9, "base_s": 90, "factor": 2, "cap_s": 1500, "jitter": 1, "timeout_minutes": 240}
    once = patient | {"max_attempts": 1}
    return [
        (patient if safe else once)
        | {"task_class": c, "is_idempotent": safe, "budget_ratio": None}
        | {"retry_on": ["network", "out of memory", "time-out"]}
        for c, safe in pairs
    ]


RULES = [
    {"on": on, "criticality": levels, "do": do, "to": to, "group_by": by, "group_minutes": 720, "notice": True} | fits
    for on in ("gave up", "deadline near")
    for fits, levels, do, to, by in (
        (
            {"resource_away": True, "error_class": ["network"]},
            ["critical", "high", "normal"],
            "page",
            "resource team",
            "resource",
        ),
        ({}, ["critical", "high", "normal"], "page", "dag team", "task run"),
        ({}, ["low"], "ticket", "dag team", "task run"),
    )
]


def services(con):
    breakers = con.sql("""
        select service_name, 10 as window_calls, 5 as min_calls, 0.5 as failure_rate, 0.5 as slow_rate, 90 as open_s,
          2 as trial_calls, 9 * median(latency_ms) / 1000 as slow_call_s
        from ops.service_calls where error_class is null group by service_name
    """)
    fallbacks = con.sql("""
        select dag_id, case when max_stale_minutes >= 240 then 'stale' when deadline_minutes >= 240 then 'defer' else 'fail' end
          as fallback
        from ops.tasks join ops.dags using (dag_id) where service_name is not null
    """)
    return {"breakers": breakers, "fallbacks": fallbacks}


def rotation(con):
    every = {"pipeline": (14, 3), "service": (45, 12), "partner": (90, 27)}
    alike = {"at_bound": "escalate", "leak_minutes": 5, "tell": "affected", "accounts": "one each"}
    return [
        alike | {"class": c, "rotate_every_days": days, "overlap_days": bound} for c, (days, bound) in every.items()
    ]


contract = parameters = schedule = load = bottlenecks = "reference"
### STUB
# retry_policy = TODO  # 3.1 a
# RULES = TODO  # 3.1 b
# contract = TODO  # 3.2 c
# parameters = TODO  # 3.3 b
# services = TODO  # 3.4 b
# schedule = TODO  # 3.5 a
# load = TODO  # 3.6 a
# bottlenecks = TODO  # 3.7 b
# rotation = TODO  # 3.8 b
### END SOLUTION


# %% tags=["nbval-check-output"]
PARTS = (retry_policy, RULES, contract, parameters, services, schedule, load, bottlenecks, rotation)
borrowed = sum(isinstance(p, str) for p in PARTS)
print("not attempted yet" if TODO in PARTS else f"{9 - borrowed} of your own, {borrowed} borrowed")

# %% tags=["check-a"]
lab.check("a")

# %% [markdown]
# ## Task b: the four golden signals
#
# A dashboard that says whether the platform is well needs four numbers a day, not forty. `ops.month_runs` and
# `ops.month_attempts` are June's log of the DAGs that reports wait for: a row for each task run, and one for each of its
# attempts.
#
# Change: the body of `golden_signals`. It gets a connection and returns one row for each day on which runs were due
# (DataFrame, relation or list of dicts). All rows count, whatever their DAG. Times are UTC.
#
# * `day`: a date;
# * `late_minutes` (latency): of the runs of DAGs that were **due** on that day (`scheduled_at`; all rows of `ops.month_runs`
#   with one `run_id` are a run), the smallest number of minutes within which at least 95% were done, from when they were due.
#   A run is done when all its tasks have succeeded, with the last of them; one that never was counts as longer than any that
#   was. **Null** if that number is such a run's;
# * `attempts` (traffic): attempts that **started** on that day (`ops.month_attempts`), those included that still run;
# * `failed_share` (errors): the share of those attempts whose `outcome` is failed, 0 to 1;
# * `busiest` (saturation): in each full hour (00:00 to 01:00 and so on) of that day each pool of `ops.pools` has 3,600
#   seconds times its `slots`, and attempts in it (`pool` of their run) use so many of these as they run in that hour, on
#   whatever day they began. One that still runs (`ended_at` is null) runs on until midnight after the last day. The highest
#   share of any hour and pool.
#
# **Judged** (3 points): latency within 2% and null where it should be (1); traffic and errors (1); saturation within 1% (1).


# %% tags=["task-b"]
# Task b
def golden_signals(con):
    """Returns a row for each day: day, late_minutes, attempts, failed_share, busiest."""
    ### BEGIN SOLUTION
    return con.sql("""
        with
        runs as (
          select
            run_id,
            any_value(scheduled_at)::date as day,
            case
              when bool_and(outcome = 'success') then epoch(max(ended_at) - any_value(scheduled_at)) / 60
              else 'infinity'::double
            end as minutes
          from ops.month_runs
          group by run_id
        ),
        latency as (select day, quantile_disc(minutes, 0.95) as p95 from runs group by day),
        attempts as (
          select
            pool,
            a.outcome,
            a.started_at,
            coalesce(a.ended_at, (select max(day) + 1 from latency)::timestamp) as ended_at
          from ops.month_attempts a
          join ops.month_runs using (task_run_id)
          where a.started_at is not null
        ),
        traffic as (
          select started_at::date as day, count(*) as attempts, avg((outcome = 'failed')::int) as failed_share
          from attempts
          group by day
        ),
        hours as (
          select
            pool,
            started_at,
            ended_at,
            unnest(generate_series(date_trunc('hour', started_at), ended_at, interval 1 hour)) as from_hour
          from attempts
        ),
        used as (
          select
            pool,
            from_hour,
            sum(epoch(least(ended_at, from_hour + interval 1 hour)) - epoch(greatest(started_at, from_hour))) as seconds
          from hours
          group by pool, from_hour
        ),
        saturation as (
          select from_hour::date as day, max(seconds / 3600 / slots) as busiest
          from used
          join ops.pools using (pool)
          group by day
        )
        select
          day,
          case when isfinite(p95) then p95 end as late_minutes,
          coalesce(attempts, 0) as attempts,
          coalesce(failed_share, 0) as failed_share,
          coalesce(busiest, 0) as busiest
        from latency
        left join traffic using (day)
        left join saturation using (day)
        order by day
    """)
    ### END SOLUTION


# %% tags=["nbval-check-output"]
try:
    lab.preview(golden_signals, lab.con)
except TODO:
    print("not attempted yet")

# %% tags=["check-b"]
lab.check("b")

# %% [markdown]
# ## Task c: one change a week
#
# The change board lets one of the nine through each week, and each works from the week in which it ships. What a change saves
# depends on what is there already: whoever is no longer paged for an attempt that is tried again anyway does not care how
# many attempts there are.
#
# Write `rollout(parts, simulate)`:
#
# * `parts`: the list of the nine names `retries`, `alerts`, `contract`, `parameters`, `services`, `windows`, `load`,
#   `handoffs`, `credentials` (in the order of the table of task a);
# * `simulate(shipped)` takes a list of names and returns what a week costs, in USD, with the references of these in place of
#   today's parts: two drawn weeks, the same ones at every call. You may ask **60** times. What broken windows, killed runs,
#   waiting readers, services, credentials and second writes cost is another quarter's, up to eight times that of task a, and
#   another one on each world.
#
# It returns a list of all nine, first to ship first. Your own parts of task a are not used here.
#
# **Judged** (3 points), on twelve other weeks at the same prices: the first change alone saves at least 90% of what the best
# first one saves (1). The second saves at least 70% of what the best could that is left when the first has shipped, and so
# does the third (1). With the cost of the nine weeks, in each of which one more has shipped, (yours - asked) / (table -
# asked) is at most 30%, where *asked* is an order that asks again after each change, and *table* the order of the table (1).


# %% tags=["task-c"]
# Task c
def rollout(parts, simulate):
    """Returns the nine names in the order in which they ship."""
    ### BEGIN SOLUTION
    order = []
    while len(order) < len(parts):
        left = [part for part in parts if part not in order]
        order.append(min(left, key=lambda part: simulate([*order, part])))
    return order
    ### END SOLUTION


# %% tags=["check-c"]
lab.check("c")

# %% [markdown]
# ## Twelve weeks later
#
# The nine have shipped, and a month has passed: the four signals of that month, under your parts, today's, and the
# references. It is latency that is to fall, and errors a little. Traffic and saturation should lie on top of each other: the
# month is calm without a machine more. Single days can still be bad: outages come whatever is decided.

# %%
lab.twelve_weeks_later()

# %% [markdown]
# ## To take home
#
# Two pages: the dashboard, with the query of task b behind it, and the list of task c with what each step saves. Take the
# second to whoever decides what ships: it says why the third most valuable change is not the third to ship.
