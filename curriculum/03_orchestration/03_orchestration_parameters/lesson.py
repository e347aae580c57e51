# %% [markdown]
# # 3.3 Time-outs and concurrency from observed contention
#
# *"We doubled the slots and the night ends later. We cut the time-out and lost two reports a week. Who sets these numbers,
# and from what?"* The owner of the machine on which all heavy jobs of Kestrel run at night has nobody to ask but its own log.
#
# Here you see why a mean tells little about a time-out, what a killed run does to a statistic, how waiting explodes near full
# load, and why more at once can mean less. You take away the query that measures all this, and a parameter file.

# %%
import numpy as np
import pandas as pd

from workshop import open_lesson
from workshop.plots import BLUE, GREEN, GREY, ORANGE, RED, plt, show
from workshop.sim import mmc_wait
from workshop.sim.node import judge_parameters

con = open_lesson("3.3")

# %% [markdown]
# ## Six weeks of nights
#
# Seventy-seven jobs of four classes, in two pools, on one machine with 16 cores and 96 GB. Every job has the same time-out.

# %%
RUNS = con.sql("""
    select r.*, t.task_class, t.pool,
      epoch(ended_at - started_at) / 60 as took_min, epoch(started_at - queued_at) / 60 as waited_min,
      outcome = 'killed' and ended_at - heartbeat_at > interval 2 minute as hung
    from ops.batch_runs r join ops.batch_tasks t using (task_id) order by started_at, batch_run_id
""").df()
RUNS.groupby(["task_class", "pool"]).agg(
    runs=("took_min", "size"),
    median_min=("took_min", "median"),
    mean_min=("took_min", "mean"),
    p99_min=("took_min", lambda s: s.quantile(0.99)),
    waited_min=("waited_min", "median"),
    killed=("outcome", lambda s: (s == "killed").sum()),
    hung=("hung", "sum"),
).round(1)

# %% [markdown]
# The mean is above the median and p99 far above both: durations are **skewed**. An export writes what has changed since the
# last one, now little and now a lot; so its p99 stands further above its median than a training's. No run is above 140
# minutes: that is the time-out. Some runs were killed. A part of them had *hung*, that is, given no heartbeat for minutes;
# the others were at work.
#
# ## The naive way fails
#
# A common rule is the mean plus two standard deviations. For a normal distribution one run in forty takes longer. How many
# do, by task?

# %%
done = RUNS[RUNS.outcome == "success"]
limit = done.groupby("task_id").took_min.agg(lambda s: s.mean() + 2 * s.std())
over = done.took_min > done.task_id.map(limit)
worked = RUNS[~RUNS.hung]
also_killed = worked.outcome != "success"
print(f"{over.mean():.1%} of the runs that succeeded took longer than mean + 2 sd of their task")
print(f"{(over.sum() + also_killed.sum()) / len(worked):.1%} with those that were killed at work")

killed_share = also_killed[worked.task_class == "train"].groupby(worked.task_id).mean()
one = (killed_share - 0.3).abs().idxmin()  # neither all nor none
mine = worked[worked.task_id == one]
figure, ax = plt.subplots(figsize=(7.2, 2.8))
ax.hist([mine[mine.outcome == "success"].took_min, mine[mine.outcome != "success"].took_min], bins=24, stacked=True,
        color=[BLUE, RED], label=["succeeded", "killed at work"])  # fmt: skip
ax.axvline(limit[one], color="black", lw=1, label="mean + 2 sd of what succeeded")
ax.set(xlabel="minutes", ylabel="runs")
ax.set_title(
    f"{one}: {(mine.outcome != 'success').sum()} of {len(mine)} runs were killed, and nobody knows how long they take"
)
ax.legend()
show(figure, "Histogram of the durations of a training: a skewed body, and a bar of killed runs at the time-out")

# %% [markdown]
# A killed run is not missing, and it did not take as long as the time-out: it would have taken **longer than that**. It is
# *right-censored*. Dropping it (survivors only) makes the task look fast; counting it as done makes the time-out look like a
# duration. **Kaplan and Meier** (1958) use what is known: at each duration at which a run succeeded, the share that goes on
# is multiplied by 1 - d/n: n are all those that had lasted so long, killed ones included, d those of them that **succeeded**
# then. A run that is killed leaves n and never counts in d.


# %%
def quantile(took, ended, q):
    """Kaplan-Meier; None where the curve does not come down so far."""
    share = 1.0
    for t in sorted(took[ended].unique()):
        share *= 1 - (ended & (took == t)).sum() / (took >= t).sum()
        if share <= 1 - q + 1e-9:
            return round(t)
    return None


trains = worked[worked.task_class == "train"]
pd.DataFrame(
    {
        task: {
            "killed at work": int((runs.outcome != "success").sum()),
            "p50, survivors only": round(runs[runs.outcome == "success"].took_min.median()),
            "p50, Kaplan-Meier": quantile(runs.took_min, runs.outcome == "success", 0.5),
            "p95, survivors only": round(runs[runs.outcome == "success"].took_min.quantile(0.95)),
            "p95, Kaplan-Meier": quantile(runs.took_min, runs.outcome == "success", 0.95),
        }
        for task, runs in trains.groupby("task_id")
    }
).T

# %% [markdown]
# Where it says NaN, the honest answer is that nobody knows: too many were killed. Survivors have a tidy number there, and it
# is the number of the time-out.
#
# ## Waiting is not working
#
# How long a job waits for a slot depends on how full the pool is, and not evenly. For c slots and random arrivals queueing
# theory gives the mean wait in multiples of the service time (Erlang C).

# %%
load = np.linspace(0.05, 0.97, 60)
figure, ax = plt.subplots(figsize=(7.2, 2.8))
for slots, colour in ((1, RED), (4, BLUE), (12, GREEN)):
    ax.plot(
        100 * load,
        [mmc_wait(rho * slots, 1.0, slots) for rho in load],
        color=colour,
        label=f"{slots} slot{'s' * (slots > 1)}",
    )
ax.set(xlabel="utilisation of the pool, %", ylabel="mean wait, service times", ylim=(0, 6))
waits = {slots: mmc_wait(0.75 * slots, 1.0, slots) for slots in (1, 12)}
ax.set_title(f"Three quarters full: one slot waits {waits[1]:.0f} service times, twelve {waits[12]:.2f}")
ax.legend()
show(figure, "The hockey stick: waiting time against utilisation for one, four and twelve slots")

# Of each night the window from midnight to the start of its last run: at both ends nobody waits.
night = RUNS[RUNS.started_at.dt.hour < 12]
last_start = night.groupby(night.started_at.dt.normalize()).started_at.max()
span_h = (last_start - last_start.index).dt.total_seconds().sum() / 3600
waiting = night.groupby("pool").apply(
    lambda r: pd.Series({"arrivals an hour": len(r) / span_h, "mean wait, h": r.waited_min.mean() / 60}),
    include_groups=False,
)
waiting["waiting (Little's law)"] = waiting["arrivals an hour"] * waiting["mean wait, h"]
# The same by counting, minute by minute: so many are queued, less so many started.
minutes = np.concatenate([pd.date_range(day, end, freq="min").to_numpy() for day, end in last_start.items()])
for pool, r in night.groupby("pool"):
    queued, started = (
        np.searchsorted(np.sort(r[c].to_numpy()), minutes, side="right") for c in ("queued_at", "started_at")
    )
    waiting.loc[pool, "waiting, counted"] = (queued - started).mean()
waiting.round(2)

# %% [markdown]
# **Little's law**: arrivals an hour times hours waited = how many wait on average. It assumes nothing about what arrives
# when; it asks for means over a long time, or for a window in which nobody waits at the beginning and at the end, as here.
# Counting each minute who waits comes to the same: who has two of the three numbers has the third. The crowd stands in front
# of the memory pool. So, more slots there?
#
# ## What company costs
#
# In the afternoon, when the machine is nearly idle, each job runs once a week. Seconds per row, against those afternoons:

# %%
starts, ends = RUNS.started_at.sort_values(), RUNS.ended_at.sort_values()
RUNS["running"] = starts.searchsorted(RUNS.started_at, side="right") - ends.searchsorted(RUNS.started_at, side="right")
RUNS["pace"] = RUNS.took_min / RUNS.input_rows
good = RUNS[RUNS.outcome == "success"]
alone = good[good.running == 1].groupby("task_id").pace.median()
good = good.assign(slow=good.pace / good.task_id.map(alone))
curve = good.groupby("running").slow.agg(["median", "size"])
curve = curve[curve["size"] >= 20]
figure, ax = plt.subplots(figsize=(7.2, 2.8))
ax.plot(curve.index, curve["median"], "o-", color=ORANGE)
ax.axhline(1, color=GREY, lw=0.8)
ax.set(xlabel="runs under way at the start, itself included", ylabel="times as long as alone", ylim=(0, None))
knee = curve.index[curve["median"] <= 1.15].max()
ax.set_title(
    f"Up to {knee} under way hardly anybody notices; with {curve.index[-1]} it is {curve['median'].iloc[-1]:.1f} times as long"
)
throughput = curve.index / curve["median"]
enough = throughput.index[throughput >= 0.95 * throughput.max()].min()
print(
    f"under way / slow-down: {throughput[knee]:.1f} with {knee}, at most {throughput.max():.1f}; 95% of that from {enough} on"
)
assert throughput[enough] >= throughput[knee] or enough < knee
show(figure, f"Slow-down against the number of runs under way: flat up to {knee}, then rising steeply")

# %% [markdown]
# Before the knee company costs next to nothing. Beyond it disks and cores are shared, and everybody pays. A little beyond it
# still pays, as long as the **throughput** rises: runs under way, divided by the slow-down. Soon it hardly does, and more
# only take memory. A pool limit protects the others.
#
# ## Predict
#
# The machine has 16 cores. Today the pools have 12 and 4 slots. The season brings 1.4 times the rows, and a time-out of 1,440
# minutes, so that nothing is killed at work. When does the last job end, if
#
# 1. the memory pool gets 8 slots, so that its crowd is gone;
# 2. the general pool is cut from 12 to 3;
# 3. both get 8: as many as cores?
#
# <details><summary>Answer</summary>
#
# The second ends the night earliest without losing a run. The general jobs need no twelve slots to be done by morning, and
# twelve of them slow down each join beside them. The first and the third want more memory than there is: runs die, and a
# night that ends early because its jobs have died is no success. The runs below show it.
# </details>

# %%
TASKS = (
    con.sql("""
    select t.task_id, t.task_class, t.pool, t.due_minute, median(r.input_rows) as rows,
      1000 * median(epoch(r.ended_at - r.started_at) / r.input_rows)
        filter (r.outcome = 'success' and hour(r.started_at) between 12 and 21) as s_per_krow,
      stddev(ln(r.input_rows)) as day_sigma, median(r.peak_memory_gb) as memory_gb
    from ops.batch_tasks t join ops.batch_runs r using (task_id) group by all order by t.task_id
""")
    .df()
    .to_dict("records")
)
patient = {t["task_id"]: 1440.0 for t in TASKS}
alike = dict.fromkeys(("train", "join", "aggregate", "export"), 0)
CHOICES = {"today: 12 and 4": (12, 4), "12 and 8": (12, 8), "3 and 4": (3, 4), "8 and 8": (8, 8), "3 and 3": (3, 3)}
nights = judge_parameters(
    TASKS,
    "lesson",
    {
        name: {"slots": {"general": g, "memory": m}, "timeout_minutes": patient, "priority": alike}
        for name, (g, m) in CHOICES.items()
    },
)
whole = {name: np.mean(n["ends_h"]) for name, n in nights.items() if not n["out_of_memory"]}
assert "3 and 4" in whole and whole["3 and 4"] < min(whole.get("today: 12 and 4", 99), whole["3 and 3"])
assert nights["12 and 8"]["out_of_memory"] and nights["8 and 8"]["out_of_memory"]
pd.DataFrame(
    {
        name: {
            "ends in the season, h after midnight": round(np.mean(n["ends_h"]), 1),
            "most memory, GB": round(n["peak_gb"]),
            "runs out of memory": n["out_of_memory"],
        }
        for name, n in nights.items()
    }
).T

# %% [markdown]
# Concurrency is not the number of cores. Memory is a wall: what fits beside the others (with peaks that seldom fall together,
# so neither the mean nor the sum of all maxima). Below it, one more pays as long as the throughput rises, so a little beyond
# the knee. The pool that decides when the night ends gets what fits; the other gets what it needs to be done by then. On
# another machine other numbers are right.
#
# ## The rule, and where it ends
#
# 1. **A time-out is for what hangs.** Per task, far enough above what a healthy run takes next season, without the time in
#    the queue, and in the company that it will have then, not the one that it had. How far is far enough depends on how much
#    its rows vary: one multiple for all is too short here and too long there. A missing heartbeat tells sooner than any
#    time-out.
# 2. **A pool size** comes from the scarcest thing: memory first, then the throughput, slots / slow-down.
# 3. **Priority**: in the pool that decides, first what the morning waits for and what takes longest. It costs nothing and
#    evens out the end.
#
# It ends where the mix changes: measure again each quarter, since the numbers hold for these rows on this machine. And
# quantiles of forty runs say nothing about one run in a thousand.
#
# <details><summary><b>In practice</b></summary>
#
# - **Airflow 3.3**: `execution_timeout` per task (without queue time), `dagrun_timeout` with it; pools with `pool_slots` for
#   weight, `priority_weight` and `weight_rule`; `max_active_tasks` per DAG run. Lost heartbeats end in
#   `task_instance_heartbeat_timeout`.
# - **Dagster 1.13**: concurrency pools on assets and ops, `max_concurrent_runs` and tag limits in the run queue,
#   `dagster/max_runtime` and `dagster/priority` as run tags.
# - **Prefect 3.9**: `timeout_seconds`; concurrency limits on work pools, work queues (with a priority) and by tag; global
#   concurrency limits for everything else.
# - **Kubernetes, Snowflake**: memory requests do what the pool of large jobs does here; a warehouse has
#   `MAX_CONCURRENCY_LEVEL`.
# </details>
#
# ## Back to the question
#
# Who sets these numbers? The log does. More slots made every job slower; a shorter time-out killed those that were slow
# because of it. Measured apart, work, waiting, company and hanging each give one number.
#
# **You take away** the query and the parameter file. In the lab the query has to be right to half a percent, and the file has
# to hold for a season with 1.4 times the rows.
#
# Read on: Edward Kaplan and Paul Meier, *Nonparametric Estimation from Incomplete Observations* (1958); Mor Harchol-Balter,
# *Performance Modeling and Design of Computer Systems* (2013); Neil Gunther, *Guerrilla Capacity Planning* (2007).
