# %% [markdown]
# # 3.1 Retries and alert thresholds for interdependent workflows
#
# *"Last quarter we paged people almost two thousand times, and on Monday the revenue report was late again. Do we retry too
# little, or alert too much?"* The head of the data platform at Kestrel suspects both.
#
# Here you see which failures another attempt mends, how long one has to persist, and how a hundred well-meant retries keep a
# resource down. Then you follow one outage through the pagers of a dozen teams, and count what anybody could have done. You take
# away two policy files: one for retries, one for alerts.

# %%
import numpy as np

from workshop import open_lesson
from workshop.plots import BLUE, GREEN, GREY, ORANGE, RED, plt, show
from workshop.sim.retries import cold_start

con = open_lesson("3.1")

# %% [markdown]
# ## A quarter of failures
#
# The daily reports wait for about a hundred DAGs. This is what failed in them in thirteen weeks. Most tasks have three attempts,
# five minutes apart, whatever the error.

# %%
con.sql("""
    select
      error_class,
      count(*) as failed_attempts,
      count(*) filter (retried_by = 'scheduler') as tried_again,
      round(100.0 * count(*) filter (retried_by = 'scheduler' and next_outcome = 'success')
        / count(*) filter (retried_by = 'scheduler')) as mended_pct,
      arg_min(error_message, failed_attempt_id) as for_example
    from ops.failed_attempts group by error_class order by failed_attempts desc, error_class
""").df()

# %% [markdown]
# Three kinds hide in five classes. **Transient**: the network, a neighbour that took the memory, a call that hung; another
# attempt often mends it. **Permanent**: a missing permission stays missing. **Poisoned input**: rows that the task cannot take
# are the same rows five minutes later. For the last two a retry only delays the moment at which somebody is told.
#
# ## The naive way fails: more of the same
#
# "Then retry more often." A network error is either a blip or part of an outage, and an outage has a length. Beside it, how
# long three ways of waiting persist.

# %%
WAYS = {
    "today: 3 x 5 min": dict(max_attempts=3, base_s=300, factor=1, cap_s=300, jitter=0),
    "8 x 5 min": dict(max_attempts=8, base_s=300, factor=1, cap_s=300, jitter=0),
    "6 x, from 2 min, doubling": dict(max_attempts=6, base_s=120, factor=2, cap_s=3600, jitter=0),
}


def persists_min(way):
    waits = [min(way["cap_s"], way["base_s"] * way["factor"] ** k) for k in range(way["max_attempts"] - 1)]
    return sum(waits) / 60 * (1 - way["jitter"] / 2)  # a wait that is drawn is half as long on average


minutes = np.sort([m for (m,) in con.sql("select epoch(ended_at - started_at) / 60 from ops.outages").fetchall()])
figure, ax = plt.subplots(figsize=(7.2, 3.2))
ax.step(minutes, np.arange(1, len(minutes) + 1) / len(minutes), where="post", color=GREY)
for (name, way), colour in zip(WAYS.items(), (RED, ORANGE, GREEN), strict=True):
    outlasted = (minutes <= persists_min(way)).mean()
    ax.axvline(persists_min(way), color=colour, label=f"{name}: {persists_min(way):.0f} min")
    print(f"{name}: persists for {persists_min(way):.0f} min, outlasts {outlasted:.0%} of the outages")
ax.set(xlabel="minutes", ylabel="share of outages that are over", xlim=(0, 170))
ax.set_title("Most outages last longer than three attempts")
ax.legend(loc="lower right")
show(figure, "Share of outages over by minutes, with lines for how long three retry settings persist")

# %% [markdown]
# Five minutes again and again is slow on a blip and too short for an outage. Doubling is quicker at first and more patient later,
# with fewer attempts. That is the case for **exponential back-off**. Its price: while it waits, nobody is told.
#
# ## Predict
#
# At two in the morning 240 tasks find the warehouse gone. At 02:25 it is back, cold: it bears forty attempts a minute, and one
# more knocks it over for another ten. All four settings persist for more than those 25 minutes. Which loses the fewest tasks?
#
# 1. Eight attempts, every five minutes.
# 2. Six attempts, doubling from two minutes.
# 3. As 2, but each wait is drawn at random between nothing and that long.
# 4. Fifty attempts, one a minute: whoever asks most often gets through first.
#
# <details><summary>Answer</summary>
#
# The third. The 240 failed in the same second, so without a draw they return in the same second, each time, however
# long they wait. A wait that is drawn at random (*full jitter*) lets them arrive one by one: see the film below. It loses some
# too: a drawn wait is half as long on average, so the same six attempts persist for half as long. The fourth sends the most
# attempts by far, and most of them keep the warehouse down.
# </details>

# %%
NIGHTS = {
    "8 x 5 min": (WAYS["8 x 5 min"], RED),
    "6 x, doubling": (WAYS["6 x, from 2 min, doubling"], ORANGE),
    "6 x, doubling, drawn": (WAYS["6 x, from 2 min, doubling"] | {"jitter": 1}, BLUE),
    "50 x 1 min": (dict(max_attempts=50, base_s=60, factor=1, cap_s=60, jitter=0), GREY),
}
figure, axes = plt.subplots(len(NIGHTS), 1, figsize=(7.2, 5.2), sharex=True)
for ax, (name, (way, colour)) in zip(axes, NIGHTS.items(), strict=True):
    night = cold_start(way | {"timeout_minutes": 60, "retry_on": ["network"]}, seed=1)
    ax.hist(np.array(night["attempts_s"]) / 60, bins=np.arange(0, 121), color=colour)
    ax.axvspan(0, 25, color=ORANGE, alpha=0.12)
    ax.axhline(40, color="black", lw=0.6)
    ax.set_ylim(0, 120)
    ax.set_ylabel("a minute")
    ax.text(
        119,
        70,
        f"{name}: {len(night['attempts_s']):,} attempts, {night['given_up']} tasks given up",
        ha="right",
        fontsize=9,
        backgroundcolor="white",
    )
axes[0].set_title("A retry storm: only drawn waits stay under what the warehouse bears")
axes[-1].set_xlabel("minutes after two; shaded: the warehouse is gone; line: what it bears when it is back")
show(
    figure,
    "Attempts a minute for four retry settings after an outage; without jitter they come in spikes of a hundred and more",
)

# %% [markdown]
# With spikes the warehouse is knocked over by its own clients, long after the cause is gone: a *metastable* failure. Jitter
# halves how long one persists on average, and costs nothing else: how many attempts and how long a wait make up for that is a
# task of the lab. Where clients are too many even for that, a **retry budget**
# (say one retry for ten first attempts) puts a lid on the whole: each task alone is polite, and only the sum hurts.
#
# ## What must not be tried again
#
# After a time-out or a lost connection nobody knows whether the write has arrived.

# %%
con.sql("""
    select t.task_class, count(*) as tried_again_by_the_scheduler, count(distinct f.dag_id) as dags
    from ops.failed_attempts f join ops.tasks t using (task_id)
    where not t.is_idempotent and f.retried_by = 'scheduler' and f.error_class in ('network', 'time-out', 'out of memory')
    group by all order by 2 desc, 1
""").df()

# %% [markdown]
# Each of these may have written twice: a partner has the same file twice, a table has doubled rows. A write without an
# idempotency key is tried once and then looked at, until it is made repeatable (topic 3.6).
#
# ## Who was woken
#
# Each failed attempt pages its owner and everybody who waits for that DAG.

# %%
pages = con.sql("""
    select count(*) as pages, count(*) filter (action <> 'none') as led_to_a_repair,
      round(count(*) / 13.0) as pages_a_week, round(100.0 * count(*) filter (action <> 'none') / count(*)) as worth_it_pct
    from ops.alerts
""").df()
pages

# %% [markdown]
# One outage, through the pagers:

# %%
hit = """
    select o.resource_id, o.started_at, o.ended_at, a.*, f.dag_id, f.retried_by, f.next_outcome
    from ops.outages o
    join ops.failed_attempts f on f.resource_id = o.resource_id and f.error_class = 'network'
      and f.failed_at between o.started_at and o.ended_at + interval 1 hour
    join ops.alerts a using (failed_attempt_id)
"""
con.sql(f"""
    select resource_id, started_at, round(epoch(any_value(ended_at) - started_at) / 60) as minutes, count(*) as pages,
      count(distinct team_id) as teams_woken, count(distinct dag_id) as dags, count(*) filter (action <> 'none') as repairs
    from ({hit}) group by resource_id, started_at order by pages desc, started_at limit 5
""").df()

# %% [markdown]
# One cause, and every team searches for it in its own DAG. The team that runs the resource could have been told once, everybody
# else by a notice that wakes nobody.
#
# What would have been worth a page? Not an attempt: most are followed by one that works. A **symptom**: a run that will miss its
# deadline unless somebody acts, because the scheduler has given up, or because half an hour is left. By that rule:

# %%
con.sql("""
    with last as (
      select f.*, d.criticality, f.retried_by is distinct from 'scheduler' as gave_up
      from ops.failed_attempts f join ops.dags d using (dag_id)
    )
    select
      count(*) as failed_attempts,
      count(*) filter (gave_up) as gave_up,
      count(*) filter (gave_up and criticality <> 'low') as of_a_dag_worth_a_page,
      count(distinct case when gave_up and criticality <> 'low' then coalesce(
        (select min(o.resource_id || o.started_at) from ops.outages o where o.resource_id = last.resource_id
          and last.error_class = 'network' and last.failed_at between o.started_at and o.ended_at + interval 1 hour),
        last.failed_attempt_id::varchar) end) as causes
    from last
""").df()

# %% [markdown]
# From the pages above to the number of causes: that is the distance between *alert on each attempt* and *one page for a cause,
# to whoever can mend it*.
#
# ## The rule, and where it ends
#
# 1. **Classify first.** Try again what another attempt has mended before, and nothing else.
# 2. **Persist for as long as an outage lasts**, with waits that grow, every one of them drawn. Where the deadline is shorter
#    than that, the page comes from the deadline and not from the last attempt.
# 3. **A time-out** far above the longest healthy run and far below the deadline: what hangs has to be noticed too.
# 4. **Page for symptoms, grouped by cause, to its owner.** Notices to those who wait. A ticket for what costs
#    less than a night's sleep.
#
# It ends where fewer clients than the resource bears come back at once (then jitter buys nothing), and where attempts are dear: a
# model that trains for an hour is not tried ten times. And retries hide decay: a task that always works at the third attempt is
# broken. Count them (topic 3.7).
#
# <details><summary><b>In practice</b></summary>
#
# - **Airflow 3.3**: `retries`, `retry_delay`, `retry_exponential_backoff` (a multiplier), `max_retry_delay`,
#   `execution_timeout`. A task raises `AirflowFailException` for what is not worth another attempt. `DeadlineAlert` with a
#   `DeadlineReference` (3.1, experimental) is the symptom; it replaces the SLAs of Airflow 2. `on_failure_callback` runs when
#   retries are used up.
# - **Dagster 1.13**: `RetryPolicy(max_retries, delay, backoff=Backoff.EXPONENTIAL, jitter=Jitter.FULL)`;
#   `Failure(allow_retries=False)` for the hopeless; `dagster/max_runtime` on a run. Freshness policies and alert policies
#   (Dagster+) page on assets.
# - **Prefect 3.9**: a task has `retries`, `retry_delay_seconds` (also `exponential_backoff(...)`), `retry_jitter_factor`,
#   `retry_condition_fn` and `timeout_seconds`. Automations page on a state and can wait for it to last.
# - None of the three has a retry budget across tasks: it belongs into the client of the resource, or into a pool.
# - To see your own policy on Dagster, and what is lost on the way: `make dagster`, then [one more
#   notebook](01_retries_and_alerts_on_dagster.ipynb).
# </details>
#
# ## Back to the question
#
# Too little or too much? Both, in the wrong places. What passes is tried too briefly and all at once; what never passes is tried
# too; and every attempt wakes everybody. Two small files change that, and neither needs another person on call.
#
# **You take away** the two policy files. In the lab they run through ten simulated months of these DAGs, and one very bad night.
#
# Read on: Marc Brooker, *Exponential Backoff and Jitter* (AWS, 2015); Beyer and others, *Site Reliability Engineering* (2016),
# chapters 6 and 22; Bronson and others, *Metastable Failures in Distributed Systems* (HotOS 2021).
