# %% [markdown]
# # 3.9 A calm month
#
# *"I have forty dashboards and all of them are green. My reports are late all the same. Which four numbers would have told
# me? And of the nine improvements on my desk, which one ships first?"* The head of data operations at Kestrel has a change
# board that lets one change through a week.
#
# Here you see how a green number hides a bad morning, read the four golden signals of one day, build a small model of the
# platform from its own logs, and find out that two changes together are not worth the sum of both. You take away the
# definitions of four signals and a way to put changes in order.

# %%
from itertools import combinations

import numpy as np
import pandas as pd

from workshop import open_lesson
from workshop.plots import BLUE, GREEN, GREY, ORANGE, RED, plt, show
from workshop.sim.whole import run_months

con = open_lesson("3.9")

# %% [markdown]
# ## All green
#
# The number on most dashboards is the share of task runs that succeeded. Four weeks of it, and beside it, of the DAGs that
# are critical or high, the share of runs that were done before their deadline.

# %%
days = con.sql("""
    with runs as (
      select d.dag_id, r.run_id, any_value(r.scheduled_at)::date as day, any_value(d.criticality) as criticality,
        count(*) as tasks, count(*) filter (r.outcome = 'success') as good,
        bool_and(r.outcome = 'success')
          and max(r.ended_at) <= any_value(r.scheduled_at + to_minutes(d.deadline_minutes::integer)) as in_time
      from ops.task_runs r join ops.dags d using (dag_id)
      where d.dag_id in (select dag_id from ops.task_resources join ops.tasks using (task_id))
      group by all
    )
    select day, sum(good) / sum(tasks) as succeeded, avg(in_time::int) filter (criticality in ('critical', 'high')) as in_time
    from runs group by day order by day
""").df()
figure, ax = plt.subplots(figsize=(7.4, 3))
ax.plot(days.day, 100 * days.succeeded, color=GREEN, label="task runs that succeeded")
ax.plot(days.day, 100 * days.in_time, "o-", ms=3, color=RED, label="critical and high runs that were in time")
ax.set(ylabel="%", ylim=(min(80, 100 * days.in_time.min() - 5), 101))
ax.set_title(
    f"{days.succeeded.mean():.1%} of the tasks succeed, and on the worst day {days.in_time.min():.0%} is in time"
)
ax.legend(loc="lower left")
figure.autofmt_xdate()
show(figure, "Two lines by day: the share of tasks that succeed stays near 100%, that of runs in time dips")

# %% [markdown]
# One task that fails takes its run with it, and whatever waits for that run. The success rate counts the one task.
#
# ## Four signals
#
# Google's site reliability engineers measure four things of anything that serves somebody: **latency**, **traffic**,
# **errors** and **saturation**. For pipelines: how long after it was due a run is done; how many attempts there are; how many
# of them fail; how full the fullest resource is at its busiest. Each has a wrong way of counting it that is always greener.
# Errors first.

# %%
errors = con.sql("""
    select count(*) as task_runs, count(*) filter (outcome = 'failed') as failed_for_good, sum(attempts - 1) as tried_again
    from ops.task_runs where attempts > 0
""").df()
errors["failed attempts, by task run"] = errors.failed_for_good / errors.task_runs
errors["failed attempts, by attempt"] = (errors.failed_for_good + errors.tried_again) / (
    errors.task_runs + errors.tried_again
)
errors.round(4).T.rename(columns={0: "four weeks"})

# %% [markdown]
# What a retry has mended is gone from the first share. It is the early sign: a resource that is about to go fails at first
# attempts long before it fails at last ones.
#
# Now saturation, of one day. The mean of a day says how much was paid for in vain; the busiest hour says who waited.

# %%
DAY = "date '2026-06-24'"
hours = con.sql(f"""
    with spread as (
      select pool, started_at, ended_at, unnest(generate_series(0, 23)) as hour
      from ops.task_runs where scheduled_at::date = {DAY} and started_at is not null and ended_at is not null
    )
    select pool, hour,
      sum(greatest(0, epoch(least(ended_at, {DAY} + to_hours(hour + 1)) - greatest(started_at, {DAY} + to_hours(hour))))) / 3600
        / any_value(slots) as used
    from spread join ops.pools using (pool) group by pool, hour order by pool, hour
""").df()
used = hours.pivot(index="hour", columns="pool", values="used")
figure, ax = plt.subplots(figsize=(7.4, 2.8))
for pool in used:
    ax.step(
        used.index,
        100 * used[pool],
        where="post",
        label=f"{pool}: mean {used[pool].mean():.0%}, busiest {used[pool].max():.0%}",
    )
fullest = used.max().idxmax()
ax.set(xlabel="hour of the day, UTC", ylabel="% of the slots", xlim=(0, 23))
ax.set_title(
    f"The {fullest} pool: {used[fullest].mean():.0%} on average, {used[fullest].max():.0%} in its busiest hour"
)
ax.legend(ncols=2)
show(figure, "Use of each pool by hour: far higher in some hours of the night than on average")

# %% [markdown]
# ## A model from the logs
#
# To ask what a change would be worth one needs a platform on which it can be tried: here the hundred DAGs that reports wait
# for, with durations, error rates and outages as they were logged, and the night's jobs of lab 3.3. Nothing in it is known
# that a platform team could not know.

# %%
tasks = con.sql("""
    with took as (
      select task_id, median(epoch(ended_at - started_at)) as median_s, stddev(ln(epoch(ended_at - started_at))) as sigma,
        median(peak_memory_bytes)::double as memory_bytes
      from ops.task_runs where outcome = 'success' and attempts = 1 group by task_id
    ),
    runs as (
      -- four weeks are logged run by run, thirteen by their failures
      select task_class, count(*) * 13 / 4 as n from ops.task_runs join ops.tasks using (task_id)
      where task_id in (select task_id from ops.task_resources) group by task_class
    ),
    first_failures as (
      select t.task_class, f.error_class, count(*) as n
      from ops.failed_attempts f
      join ops.tasks t using (task_id)
      left join ops.outages o on o.resource_id = f.resource_id
        and f.failed_at between o.started_at and o.ended_at + interval 1 hour
      where f.attempt_no = 1 and o.resource_id is null
      group by all
    ),
    rates as (
      select r.task_class,
        coalesce(sum(f.n) filter (error_class = 'network'), 0) / any_value(r.n) as network,
        coalesce(sum(f.n) filter (error_class = 'out of memory'), 0) / any_value(r.n) as memory,
        coalesce(sum(f.n) filter (error_class = 'bad input'), 0) / any_value(r.n) as input,
        coalesce(sum(f.n) filter (error_class = 'permission'), 0) / any_value(r.n) as permission,
        coalesce(sum(f.n) filter (error_class = 'time-out'), 0) / any_value(r.n) as hang
      from runs r left join first_failures f using (task_class) group by r.task_class
    ),
    numbers as (select resource_id, row_number() over (order by resource_id) - 1 as resource from ops.resources)
    select t.dag_id, t.task_id, t.step_no::integer as step_no, d.team_id, t.task_class, t.is_idempotent, d.criticality,
      d.deadline_minutes, d.schedule_cron, t.pool, t.max_attempts::integer as max_attempts, t.timeout_minutes,
      epoch(timezone(d.time_zone, timestamptz '2026-07-15 00:00:00+00') - timestamp '2026-07-15')::integer as offset_s,
      coalesce(n.resource, -1)::integer as resource, k.median_s, coalesce(k.sigma, 0.2) as sigma, k.memory_bytes,
      r.network, r.memory, r.input, r.permission, r.hang
    from ops.task_resources x
    join ops.tasks t using (task_id)
    join ops.dags d using (dag_id)
    join took k using (task_id)
    join rates r using (task_class)
    left join numbers n on n.resource_id = x.resource_id
    order by t.dag_id, t.step_no
""")
known = "select task_id from ops.task_resources"
TABLES = {
    "tasks": tasks,
    "deps": con.sql(f"""
        select task_id, upstream_task_id, is_sensor from ops.task_deps
        where task_id in ({known}) and upstream_task_id in ({known}) order by all
    """),
    "resources": con.sql("""
        select r.resource_id, r.team_id, count(o.started_at) / 3 as outages_per_month,
          coalesce(median(epoch(o.ended_at - o.started_at)) / 60, 30) as median_minutes, 5 as bears_per_minute
        from ops.resources r left join ops.outages o using (resource_id) group by all order by r.resource_id
    """),
    "pools": con.sql("select pool, slots::integer as slots from ops.pools order by pool"),
    "night": con.sql("""
        select task_id, any_value(task_class) as task_class, any_value(pool) as pool, any_value(due_minute)::double as due_minute,
          median(input_rows) as rows, 1000 * min(epoch(ended_at - started_at) / input_rows) as s_per_krow,
          stddev(ln(input_rows)) as day_sigma, median(peak_memory_gb) as memory_gb
        from ops.batch_runs join ops.batch_tasks using (task_id) where outcome = 'success' group by task_id order by task_id
    """),
    "orders": con.sql(
        "select dag_id from ops.dags join ops.teams using (team_id) where domain = 'orders' order by dag_id"
    ),
    "morning": con.sql(
        "select dag_id from ops.dags where purpose = 'report' and schedule_cron like '% 6 * * *' order by dag_id"
    ),
}
model = {name: rows.df().to_dict("records") for name, rows in TABLES.items()}
print({name: len(rows) for name, rows in model.items()})

# %% [markdown]
# A model is believed as far as it tells what was seen. Under today's settings it should fail as often as the log does.

# %%
EVERYBODY = {"do": "page", "to": "everybody", "group_by": "none", "group_minutes": 0, "notice": False}
OWNERS = {"do": "page", "to": "dag team", "group_by": "task run", "group_minutes": 720, "notice": True}
BATCH_TASKS = [row["task_id"] for row in model["night"]]
TODAY = {
    "retries": None,
    "alerts": [{"on": on} | EVERYBODY for on in ("attempt failed", "gave up")],
    "contract": {"bad_in": 1.0, "good_out": 0.0},
    "parameters": {
        "slots": {"general": 12, "memory": 4},
        "timeout_minutes": dict.fromkeys(BATCH_TASKS, 140),
        "priority": dict.fromkeys(("export", "aggregate", "join", "train"), 0),
    },
    "services": [0.0],
    "windows": {"slow_down": [1.0] * 960, "broken": 0.0},
    "load": "unsafe",
    "handoffs": {"hours": 0.0},
    "credentials": {"usd_per_day": 0.0, "refused": 0.0},
}
MONTHS = [f"month {n}" for n in range(4)]
before = run_months(model, MONTHS, {"today": TODAY | {"contract": {"bad_in": 0.0, "good_out": 0.0}}})["today"]
logged = con.sql("select count(*) / 91 from ops.failed_attempts").fetchall()[0][0]
per_day = np.mean([np.multiply(m["attempts"], m["failed_share"]).mean() for m in before])
print(f"failed attempts a day: {logged:.1f} in thirteen weeks of the log, {per_day:.1f} in four months of the model")
assert 0.5 < per_day / logged < 2

# %% [markdown]
# ## Predict
#
# Two of the nine changes: **retries** that know which errors another attempt mends, and **alerts** that wake only the owner,
# once the scheduler has given up or a deadline is near. Each alone makes a month cheaper. What do both save together?
#
# 1. The sum of the two: they are about different things.
# 2. More than the sum: each makes the other work better.
# 3. Less than the sum: both mend a part of the same.
#
# <details><summary>Answer</summary>
#
# The third. Most of what better retries save while everybody is paged for each failed attempt is pages. Once nobody is paged
# for those, that is no longer there to be saved. The run below shows it.
# </details>

# %%
SAFE = {
    "max_attempts": 8, "base_s": 60, "factor": 2, "cap_s": 1800, "jitter": 1.0, "timeout_minutes": 240, "budget_ratio": None,
    "retry_on": ["network", "out of memory", "time-out"],
}  # fmt: skip
pairs = {(row["task_class"], row["is_idempotent"]) for row in model["tasks"]}
CHANGES = {
    "retries": [
        SAFE | {"task_class": c, "is_idempotent": safe, "max_attempts": 8 if safe else 1}
        for c in sorted({c for c, _ in pairs})
        for safe in (False, True)
    ],
    "alerts": [{"on": on} | OWNERS for on in ("gave up", "deadline near")],
    "contract": {"bad_in": 0.0, "good_out": 0.0},
    "load": "safe",
}


def month(*shipped):
    """Mean cost of a month with these changes, USD."""
    months = run_months(model, MONTHS, {"x": TODAY | {name: CHANGES[name] for name in shipped}})["x"]
    return float(np.mean([m["cost_usd"] for m in months]))


none, one, other, both = month(), month("retries"), month("alerts"), month("retries", "alerts")
steps = {
    "retries\nalone": none - one,
    "alerts\nalone": none - other,
    "sum of\nthe two": 2 * none - one - other,
    "both\ntogether": none - both,
}
assert none - both < 2 * none - one - other
figure, ax = plt.subplots(figsize=(6.4, 3))
ax.bar(list(steps), [v / 1000 for v in steps.values()], color=[BLUE, BLUE, GREY, ORANGE], width=0.6)
ax.set_ylabel("saved a month, thousand USD")
ax.set_title(f"Together they save {(none - both) / 1000:.1f} thousand, not {(2 * none - one - other) / 1000:.1f}")
show(figure, "Bars: what retries and alerts save alone, their sum, and both together, which is less than the sum")

# %% [markdown]
# So the worth of a change is not a number. It is a number **given what has shipped**. For all pairs of four changes: what
# both save beyond the sum of each. Below zero they are substitutes, above zero each makes the other worth more.

# %%
names = list(CHANGES)
alone = {a: none - month(a) for a in names}
extra = pd.DataFrame(np.nan, names, names)
for a, b in combinations(names, 2):
    extra.loc[a, b] = extra.loc[b, a] = none - month(a, b) - alone[a] - alone[b]
figure, ax = plt.subplots(figsize=(6, 3.4))
most = np.nanmax(np.abs(extra.to_numpy())) / 1000
picture = ax.imshow(extra / 1000, cmap="PuOr", vmin=-most, vmax=most)
ax.set_xticks(range(4), names)
ax.set_yticks(range(4), [f"{a} ({alone[a] / 1000:.1f} alone)" for a in names])
ax.grid(False)
for i, j in np.argwhere(~extra.isna().to_numpy()):
    v = extra.iat[i, j] / 1000
    ax.text(j, i, f"{v:+.1f}", ha="center", va="center", color="white" if v < -0.7 * most else "black")
lowest = extra.stack().idxmin()
ax.set_title(f"{lowest[0].capitalize()} and {lowest[1]} take most from each other")
figure.colorbar(picture, label="beyond the sum, thousand USD a month")
show(figure, "A matrix of four changes: what each pair saves beyond the sum of both, mostly negative with the alerts")

# %% [markdown]
# ## The rule, and where it ends
#
# 1. **Four signals**, counted so that what failed cannot drop out: a run that was never done is the latest of all; errors by
#    attempt; saturation in the busiest hour of the fullest pool.
# 2. **One change at a time**, what saves most *now*; then measure again. Asking once and sorting is right only where changes
#    do not touch each other.
# 3. **Common random numbers**: two sets of changes are compared on the same months, or the difference drowns in luck.
#
# It ends where a change needs months to pay off, where two only work together (then they are one change), and where the model
# is wrong: after each step compare what it promised with what the next weeks show. What cannot be undone ships last, whatever
# it saves.
#
# **In practice.** The signals: Airflow emits `dagrun.duration`, `ti_failures` and `executor.open_slots` through StatsD or
# OpenTelemetry; Dagster and Prefect keep them as run events and task run states. Roll-out: a feature flag for each policy
# file, and a freeze on all others while one is being watched.
#
# ## Back to the question
#
# Which four numbers? Minutes until 95% of the runs are done, attempts, the share of them that fail, the busiest hour. Which
# change first? The one that saves most on today's platform, and then ask again: the second best of today is seldom the second
# to ship.
#
# **To take home:** the four definitions and the loop of lab 3.9.
#
# - B. Beyer et al., *Site Reliability Engineering*, O'Reilly 2016, chapter 6 (the four golden signals)
# - A. M. Law, *Simulation Modeling and Analysis*, 5th edition, McGraw-Hill 2015, chapter 11 (common random numbers)
# - D. G. Reinertsen, *The Principles of Product Development Flow*, Celeritas 2009, chapter 2 (the cost of delay)
#
# Next: **lab 3.9**.
