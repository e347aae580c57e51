# %% [markdown]
# # Lesson 3.4: Stop one failing dependency from taking the rest down
#
# The head of finance asks: "On one day in June pipelines of several domains were late. I am told that the reason is a
# service that looks up coordinates of addresses. Most of them have never called it. How can it stop them?"
#
# You will find that day in the logs, see how the trouble travelled from one service to pipelines that do not use it, put a
# circuit breaker in its way, and decide what callers do while it is open. You take away a breaker's four decisions (what to
# count, when to open, how to try again, what to do meanwhile) and a way to price them.

# %%
import math

import numpy as np

from workshop import open_lesson
from workshop.plots import BLUE, GREY, ORANGE, RED, plt, show

con = open_lesson("3.4")

# %% [markdown]
# ## The day in the logs
#
# `ops.service_calls` holds two weeks of calls to six services. Which service had a bad hour, and when?

# %%
con.sql("""
    select
      service_name,
      date_trunc('hour', called_at) as hour_at,
      count(*) as calls,
      round(median(latency_ms) / 1000, 1) as median_s,
      count(*) filter (error_class = 'timeout') as timeouts,
      count(*) filter (error_class = 'server error') as server_errors
    from ops.service_calls
    group by all
    having median_s > 20 or timeouts + server_errors > 20
    order by hour_at
""").df()

# %% [markdown]
# Geocoding, and in three steps: first the answers come, but minutes late; then none come and every call waits for its
# time-out of ten minutes; then the service is up and down by turns. Who was late that day? We count runs of the shared pool
# that missed their deadline, apart for DAGs that call geocoding and DAGs that do not.

# %%
day = con.sql("""
    select called_at::date from ops.service_calls where error_class = 'timeout' group by 1 order by count(*) desc limit 1
""").fetchall()[0][0]
con.execute(
    """
    create or replace temp table runs as
    with callers as (select distinct dag_id from ops.tasks where service_name = 'geocoding')
    select r.*, d.deadline_minutes, r.dag_id in (from callers) as calls_geocoding
    from ops.task_runs r
    inner join ops.dags d using (dag_id)
    where r.pool = 'shared' and r.scheduled_at::date between ?::date - 1 and ?::date
    """,
    [day, day],
)
con.sql("""
    with dag_runs as (
      select run_id, calls_geocoding, any_value(scheduled_at)::date as day_on,
        max(ended_at) > any_value(scheduled_at) + to_minutes(any_value(deadline_minutes)) as is_late
      from runs
      group by all
    )
    select day_on, calls_geocoding, count(*) as runs, count(*) filter (is_late) as late
    from dag_runs
    group by all
    order by all
""").df()

# %% [markdown]
# It is true: pipelines that have nothing to do with geocoding were late, and on the day before none of them was. What
# connects the two is the pool: eight slots, shared by all.

# %%
minutes = con.execute(
    """
    with t as (
      select unnest(generate_series(?::timestamp + interval 6 hour, ?::timestamp + interval 18 hour, interval 2 minute)) as at
    )
    select
      t.at,
      count(*) filter (calls_geocoding and started_at <= t.at) as callers,
      count(*) filter (not calls_geocoding and started_at <= t.at) as others,
      count(*) filter (not calls_geocoding and started_at > t.at) as waiting
    from t
    left join runs
      on queued_at <= t.at and ended_at > t.at
    group by t.at
    order by t.at
    """,
    [day, day],
).df()
hour = minutes["at"].dt.hour + minutes["at"].dt.minute / 60
figure, (slots, queue) = plt.subplots(2, 1, sharex=True, figsize=(7.2, 3.8))
slots.stackplot(
    hour, minutes.callers, minutes.others, colors=[RED, BLUE], labels=["callers of geocoding", "everybody else"]
)
slots.set(ylabel="slots taken, of 8")
slots.legend(loc="upper right")
slots.set_title("Tasks that wait for one service take every slot of the pool")
queue.plot(hour, minutes.waiting, color=BLUE)
queue.set(xlabel="hour of the day (UTC)", ylabel="others that\nwait for a slot")
show(
    figure,
    "Slots of the shared pool over the day: callers of geocoding fill all eight for two hours; the queue of others grows",
)

# %% [markdown]
# This is a **cascading failure**. No task crashed and no machine was short of anything: callers held their slots while they
# waited. In quiet hours they need a slot for seconds; that day each needed one for an hour and more, and Little's law
# (3.3) does the rest: tasks under way = tasks that arrive per hour x hours that each stays.
#
# ## The naive alarm
#
# "Stop calling when half of the calls fail" sounds right. Let us see when that would have fired. For each ten minutes: the
# share of calls that came back with an error, and the share that took longer than 10 seconds.

# %%
ten = con.execute(
    """
    select
      time_bucket(interval 10 minute, called_at) as at,
      avg((outcome = 'error')::int) as failed,
      avg((latency_ms > 10000)::int) as slow
    from ops.service_calls
    where service_name = 'geocoding' and called_at between ?::timestamp + interval 6 hour and ?::timestamp + interval 18 hour
    group by 1
    order by 1
    """,
    [day, day],
).df()
hour = ten["at"].dt.hour + ten["at"].dt.minute / 60
first = {c: float(hour[ten[c] >= 0.5].min()) for c in ("slow", "failed")}
late = 60 * (first["failed"] - first["slow"])
figure, ax = plt.subplots(figsize=(7.2, 2.6))
ax.step(hour, ten.slow, where="post", color=ORANGE, label="took more than 10 s")
ax.step(hour, ten.failed, where="post", color=RED, label="failed")
ax.axhline(0.5, color=GREY, lw=0.8, ls="--")
ax.set(xlabel="hour of the day (UTC)", ylabel="share of calls")
ax.set_title(f"Whoever counts errors alone notices {late:.0f} minutes later")
ax.legend()
show(
    figure,
    "Share of slow and of failed geocoding calls by ten minutes; slow ones pass one half long before failed ones",
)

# %% [markdown]
# **Slow counts as failing.** A slow answer costs a slot as a missing one does, and services are slow before they are down. At the
# end of the day the picture turns: while the service flaps, the calls that fail fail at once and cost nothing.
#
# ## Three states
#
# A circuit breaker stands between all callers and one service. *Closed*, it lets calls through and keeps the outcome of the
# last few. When too many of them failed or were slow, it goes *open*: calls are refused at once, the slot is free, and the
# service has time to recover. After a while it is *half-open*: a few trial calls go through. If they are good it closes, at the
# first bad one it opens again.
#
# The kit has one for simulations. We replay an hour in which a service is slow for 15 minutes and flaps for 10, with a call
# wanted every 2 seconds.

# %%
from workshop.sim import Breaker, BreakerSettings, Phase, draw_service, flapping, replay

at_s = np.arange(0, 3600, 2.0)
phases = [Phase(600, 1500, "slow", 0.0, 40.0), *flapping(2000, 2600, 200)]
service = draw_service("lesson", "geocoding", len(at_s), median_s=0.8, sigma=0.45, timeout_s=60.0, phases=phases)
breaker = Breaker(BreakerSettings(window_calls=20, min_calls=10, slow_call_s=8.0, open_s=60.0, trial_calls=3))
reached = replay(breaker, at_s.tolist(), service.outcome)

figure, (state, calls) = plt.subplots(2, 1, sharex=True, figsize=(7.2, 3.4), height_ratios=[1, 1.4])
for ax in (state, calls):
    for phase in phases:
        ax.axvspan(phase.start_s / 60, phase.end_s / 60, color=RED, alpha=0.12, lw=0)
level = {"closed": 0, "half_open": 1, "open": 2}
changes = [*breaker.changes, (3600.0, breaker.state)]
state.step([t / 60 for t, _ in changes], [level[s] for _, s in changes], where="post", color=BLUE)
state.set_yticks([0, 1, 2], ["closed", "half-open", "open"])
took = np.array([service.outcome(i, t)[1] for i, t in enumerate(at_s.tolist())])
calls.plot(at_s[reached] / 60, took[reached], ".", ms=3, color=BLUE, label=f"reached the service ({reached.sum()})")
calls.plot(at_s[~reached] / 60, np.zeros((~reached).sum()), "|", color=GREY, label=f"refused ({(~reached).sum()})")
calls.set(xlabel="minutes", ylabel="answer took, s")
calls.legend(loc="upper right")
state.set_title("While the service is slow or down (shaded), only trials reach it")
show(
    figure,
    "State of the breaker over an hour and the calls that reached the service: open while slow, trials each minute",
)

# %% [markdown]
# Look at the left edge of the shaded parts: some 30 calls get through before the breaker opens, because a slow call tells that
# it is slow only when it comes back. And look at the right edges: calls are refused although the service is well again, until
# the next trial.
#
# > **Before you run on, predict.** Somebody sets `open_s` to 600 seconds, "to give the service time". In this hour, compared
# > with 60 seconds: (a) fewer calls reach the service in trouble, and that is all; (b) fewer reach it, and several times as
# > many good calls are refused; (c) nothing changes, since the trials decide.
#
# <details><summary>Answer</summary>
#
# (b). (a) forgets what happens after recovery: nobody asks for up to ten minutes. (c) forgets that there are no trials in
# that time. The next cell counts both.
#
# </details>

# %%
degraded = np.array([any(p.start_s <= t < p.end_s for p in phases) for t in at_s])
rows = []
for open_s in (5, 15, 30, 60, 120, 300, 600):
    settings = BreakerSettings(window_calls=20, min_calls=10, slow_call_s=8.0, open_s=open_s, trial_calls=3)
    went = replay(Breaker(settings), at_s.tolist(), service.outcome)
    rows.append((open_s, (went & degraded).sum(), (~went & ~degraded).sum()))
open_s, bad, lost = map(np.array, zip(*rows, strict=True))
figure, ax = plt.subplots(figsize=(7.2, 2.9))
ax.plot(bad, lost, "o-", color=BLUE)
for s, x, y in rows:
    ax.annotate(f"{s} s", (x, y), textcoords="offset points", xytext=(6, 5), fontsize=8.5)
ax.set(xlabel="calls that reached the service while degraded (of 600)", ylabel="good calls refused")
ax.margins(y=0.15)
ax.set_title("open_s trades calls to a sick service against calls refused by a well one")
show(
    figure, "Trade-off of open_s from 5 to 600 seconds: calls reaching the degraded service against good calls refused"
)

# %% [markdown]
# From 60 to 600 seconds, some 50 fewer calls reach the sick service, and almost 300 more good ones are refused. Half a minute
# to two minutes is a good range here. The other settings are the same kind of bargain: `slow_call_s` between what is usual and
# what hurts, `min_calls` so that one failure of one call is not "100%".
#
# ## What callers do meanwhile
#
# An open breaker makes callers fail fast. What then is a decision of each caller, made before the outage:
#
# | fallback | fits | costs |
# | --- | --- | --- |
# | **stale**: the last known answer, *recorded with its age* | who may use an answer that old | wrong values where it may not |
# | **defer**: give the slot back, try again later | who has time until its deadline | a late run where it has not |
# | **fail** early, and tell the owner | who has neither | work by hand, in time |
#
# A web page has an answer for a user now or never; a batch task can come back in ten minutes, and that is its luxury. What no
# batch task should do is hold its slot and wait. Who at Kestrel may do what?

# %%
con.sql("""
    select
      t.service_name,
      count(*) as callers,
      count(*) filter (t.max_stale_minutes >= 240) as may_be_stale_4h,
      count(*) filter (t.max_stale_minutes < 240) as may_be_stale_minutes,
      count(*) filter (t.max_stale_minutes is null) as must_be_fresh,
      count(*) filter (d.deadline_minutes >= 240) as has_4h_to_deadline
    from ops.tasks t
    inner join ops.dags d using (dag_id)
    where not t.service_name is null
    group by all
    order by callers desc, t.service_name
""").df()

# %% [markdown]
# Now the whole: the same pool, the same kind of day, once as it is today and once with a breaker and callers that
# defer. The simulation runs the pool slot by slot; both runs meet the same draws.

# %%
from workshop.sim import Dag, Step, draw_tasks, draws_needed, pool_occupancy, simulate_cluster

geocoded = [Dag(f"geocoded_{k}", 60.0 * k, 900.0, (Step("enrich", 30.0, 0.3, "geocoding", 8),)) for k in range(4)]
exports = [Dag(f"export_{k}", 300.0 * k, 1800.0, (Step("send", 120.0, 0.3),)) for k in range(6)]
tasks = draw_tasks("lesson", geocoded + exports, 8 * 3600.0)
bad_hours = [Phase(2 * 3600, 3 * 3600, "slow", 0.0, 150.0), Phase(3 * 3600, 4.5 * 3600, "down", 1.0, math.inf)]
sick = draw_service(
    "lesson",
    "geocoding",
    draws_needed(tasks, "geocoding", 40),
    median_s=0.8,
    sigma=0.45,
    timeout_s=600.0,
    phases=bad_hours,
)
runs = {}
for name, guards, fallback in (
    ("Wait for the time-out:", {}, "stale"),
    ("Breaker, callers defer:", {"geocoding": Breaker(BreakerSettings(slow_call_s=8.0, open_s=60.0))}, "defer"),
):
    runs[name] = simulate_cluster(
        tasks, 8, [sick], guards=guards, fallbacks={d.dag_id: fallback for d in geocoded}, defer_s=600.0, max_defers=40
    )
at = np.arange(3600, 7 * 3600, 60.0)
figure, axes = plt.subplots(1, 2, figsize=(8.4, 3.1), sharey=True)
for ax, (name, run) in zip(axes, runs.items(), strict=True):
    pool = pool_occupancy(run, at)
    ax.stackplot(
        at / 3600, pool.in_call, pool.busy - pool.in_call, colors=[RED, BLUE], labels=["waits for geocoding", "works"]
    )
    export = np.char.startswith(run.tasks.dag_id, "export")
    wait = (run.started_s - run.queued_s)[export] / 60
    done = run.ended_s[~export & (run.tasks.scheduled_s < 4.5 * 3600)].max() / 60 - 270
    ax.set(
        xlabel="hour",
        title=f"{name}\nexports wait up to {wait.max():.0f} min,\ncallers done {done:.0f} min after the outage",
    )
axes[0].set_ylabel("slots taken, of 8")
axes[1].legend(loc="upper right")
show(
    figure, "Slots over the day, without a breaker all eight wait for geocoding for hours; with one the pool stays free"
)

# %% [markdown]
# The exports run as if nothing had happened, and the last geocoding that was due during the outage is done minutes after its
# end, on fresh answers (on the left: on old ones). On the right, up to three slots still wait: those are the trials, each of
# which hangs until its time-out of ten minutes. Few trials, and a time-out that fits the task, belong to a breaker.
#
# ## The rule, and where it ends
#
# One breaker for each dependency, shared by all that call it. It counts the share of failed **and** slow calls among the last
# ones, opens from a minimum number on, tries again with a few calls, and each caller has a fallback that somebody agreed to.
#
# - **State belongs to the dependency, not to the task.** If each of twelve callers must find out for itself, the service gets
#   twelve times the calls. In a cluster of many processes the state has to be shared or the thresholds divided.
# - **Client errors say nothing.** One team's malformed addresses (HTTP 4xx) must not cut the others off.
# - **Few calls, slow verdict.** A service called ten times an hour gives a breaker too little to go by. Time-outs that fit the
#   task and a pool of its own for its callers (a **bulkhead**) do more there; they help in the first minute of any outage too.
# - **It does not replace retries (3.1)**: those are for the odd error of a healthy service. A retry goes through the breaker.
# - **A breaker hides an outage well.** Its changes of state belong on a dashboard, and a long open time is an incident.
#
# > **In practice.** *resilience4j* (JVM) has the settings of this lesson by these names; *pybreaker* and *aiobreaker* count
# > failures in a row; Envoy and Istio do it in the proxy ("outlier detection"). No orchestrator has a breaker; what each has is a
# > bulkhead, and a way to defer or to fail early.
# >
# > - *Airflow 3.3*: a `pool` for the callers of a service; a deferrable operator, or a sensor with `mode="reschedule"`, gives
# >   the slot back while it waits; `AirflowFailException` fails at once, without the retries that are left.
# > - *Dagster 1.13*: `pool=` with a limit; `RetryRequested(max_retries=, seconds_to_wait=)` defers,
# >   `Failure(allow_retries=False)` fails early.
# > - *Prefect 3.9*: `concurrency("geocoding", occupy=1)` and `rate_limit(...)` on a global concurrency limit; a
# >   `retry_condition_fn` that returns False fails early.
#
# ## Back to the question
#
# How can a service stop pipelines that never called it? Through what they share: here, eight slots. The answer is not to make
# the service better, which is the vendor's business, but to stop waiting for it.
#
# **To take home:** a settings file with one row for each dependency and one for each caller, which lab 3.4 has you write and
# price, and the breaker itself.
#
# 1. M. Nygard, *Release It!*, 2nd ed., Pragmatic Bookshelf 2018: chapters 4 and 5 (cascading failures, circuit
#    breaker, bulkheads).
# 2. B. Beyer et al. (eds.), *Site Reliability Engineering*, O'Reilly 2016, chapter 22: Addressing Cascading Failures.
# 3. M. Fowler, *CircuitBreaker*, martinfowler.com/bliki, 2014.
