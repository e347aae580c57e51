# %% [markdown]
# # 3.1 on a real orchestrator: your retry policy in Dagster
#
# *"In spring we move to Dagster. The teams have just agreed on their retries. Does that file come along, or do we begin again?"*
# The head of the data platform at Kestrel needs the answer before anybody is promised a date.
#
# Here one of Kestrel's DAGs runs on Dagster itself, in this kernel, through three nights of its own log, and what was tried
# again is read back from Dagster's event log. You take away two functions: one turns a row of your policy into Dagster's
# settings, the other does what no setting can. It needs `make dagster` once, about 25 minutes, and lab 3.1 a.

# %%
import random
import tempfile
import time
import warnings

import dagster as dg
import pandas as pd

from workshop import open_lesson
from workshop.plots import BLUE, GREY, ORANGE, RED, plt, show

warnings.filterwarnings("ignore", "coroutine 'BaseEventLoop")  # Dagster in a notebook, which has a loop of its own
con = open_lesson("3.1")
MINUTE = 0.005  # seconds: a minute of the policy passes in five thousandths of a second here
instance = dg.DagsterInstance.ephemeral()  # in memory: keeps no files, and such an instance sends no telemetry

# %% [markdown]
# ## Three nights of one DAG
#
# The most critical DAG that has known all three: a connection that was lost for a moment, input that no task can take, and a
# task that is *not idempotent*, cut off or killed nobody knows where.

# %%
nights = con.sql("""
    with failed as (
      select dag_id, scheduled_at, task_name, is_idempotent, error_class, count(*) as failed_attempts,
        arg_max(retried_by, attempt_no) as mended_by
      from ops.failed_attempts join ops.tasks using (dag_id, task_id) group by all
    ),
    told as (
      select *, case
          when error_class = 'bad input' and is_idempotent then 'bad input'
          when error_class in ('network', 'time-out', 'out of memory') and failed_attempts <= 2 and not is_idempotent
            then 'unclear write'
          when error_class = 'network' and failed_attempts <= 2 and mended_by = 'scheduler' then 'blip'
        end as night
      from failed
    ),
    chosen as (
      select dag_id from told join ops.dags using (dag_id) group by dag_id, criticality having count(distinct night) = 3
      order by list_position(['critical', 'high', 'normal', 'low'], criticality), dag_id limit 1
    )
    select night, * exclude (night) from told semi join chosen using (dag_id) where night is not null
    qualify row_number() over (partition by night order by scheduled_at) = 1
    order by list_position(['blip', 'bad input', 'unclear write'], night)
""").df()
assert len(nights) == 3, "no DAG of this world has known all three"
rows = con.sql(f"""
    select task_name, task_class, is_idempotent, pool, list(split_part(upstream_task_id, '.', 2)) filter (not is_sensor)
    from ops.tasks left join ops.task_deps using (task_id) where dag_id = '{nights.dag_id[0]}'
    group by task_id, task_name, task_class, is_idempotent, pool, step_no order by step_no
""").fetchall()
tasks = [dict(zip(("task_name", "task_class", "is_idempotent", "pool", "after"), row, strict=True)) for row in rows]
nights

# %% [markdown]
# ## The naive way: one policy for all
#
# A task becomes an *asset*, its upstream tasks become `deps`, and each asset gets the rule of today: three attempts, five minutes
# apart. The faults are the log's. Bad input fails whenever it is tried. Whether the task was cut off after its write the log does
# not say; here the worst is assumed.

# %%
ERRORS = {"network": ConnectionError, "time-out": TimeoutError, "out of memory": MemoryError, "bad input": ValueError}
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def work(task, night, attempt):
    struck = task["task_name"] == night["task_name"]
    fails = struck and (night["error_class"] == "bad input" or attempt <= night["failed_attempts"])
    if struck and (not fails or not task["is_idempotent"]):
        night["writes"] += 1
    if fails:
        raise ERRORS[night["error_class"]](night["error_class"])


def asset(task, night, policy, body=work):
    @dg.asset(name=task["task_name"], deps=task["after"] or [], pool=task["pool"], retry_policy=policy)
    def made(context: dg.AssetExecutionContext) -> None:
        body(task, night, context.retry_number + 1)

    return made


def run(assets, on=instance, **options):
    return dg.materialize(assets, instance=on, run_config=QUIET, raise_on_error=False, **options)


def three_nights(policy_of, body=work):
    rows = []
    for night in nights[["night", "task_name", "error_class", "failed_attempts"]].to_dict("records"):
        night["writes"] = 0
        result = run([asset(task, night, policy_of(task), body) for task in tasks])
        log = [entry.dagster_event for entry in instance.all_logs(result.run_id) if entry.is_dagster_event]
        log = [event for event in log if event.step_key == night["task_name"]]
        waits = [e.step_retry_data.seconds_to_wait / MINUTE for e in log if e.is_step_up_for_retry]
        rows.append({
            "night": night["night"],
            "attempts": sum(e.event_type_value in ("STEP_START", "STEP_RESTARTED") for e in log),
            "waits_min": [round(wait, 1) for wait in waits],
            "outcome": "success" if any(e.is_step_success for e in log) else "failed",
            "writes": night["writes"],
        })  # fmt: skip
    return pd.DataFrame(rows)


today = three_nights(lambda task: dg.RetryPolicy(max_retries=2, delay=5 * MINUTE))
today

# %% [markdown]
# The blip is mended. Bad input was tried three times before anybody was told. And the unclear write is a *success* in Dagster's
# log, with more than one write behind it.
#
# ## Your policy as settings
#
# Put your function from lab 3.1 a in the place of `retry_policy`. A row is about one kind of task, so each asset gets a
# `RetryPolicy` of its own; a task that is not idempotent gets `max_retries=0`. Below, in minutes: how long a row waits, by the
# lab's rule and by the three forms that Dagster has, and what its two kinds of jitter draw.


# %%
def retry_policy(con):
    kinds = con.sql("select distinct task_class, is_idempotent from ops.task_resources join ops.tasks using (task_id)")
    waits = {"base_s": 60, "factor": 2, "cap_s": 1800, "jitter": 1}
    other = {"timeout_minutes": 600, "retry_on": ["network"], "budget_ratio": 0.1}
    return [
        {"task_class": task_class, "is_idempotent": safe, "max_attempts": 5 if safe else 1, **waits, **other}
        for task_class, safe in kinds.fetchall()
    ]


def settings(task):
    row = rules[task["task_class"], task["is_idempotent"]]
    return dg.RetryPolicy(
        max_retries=int(row["max_attempts"]) - 1,
        delay=row["base_s"] / 60 * MINUTE,
        backoff=dg.Backoff.EXPONENTIAL if row["factor"] > 1 else None,
        jitter=dg.Jitter.FULL if row["jitter"] > 0 else None,
    )


def wait_min(row, attempt):
    return min(row["cap_s"], row["base_s"] * row["factor"] ** (attempt - 1)) / 60


policy = retry_policy(con)
policy = pd.DataFrame(policy if isinstance(policy, list | pd.DataFrame) else policy.df()).to_dict("records")
rules = {(row["task_class"], row["is_idempotent"]): row for row in policy}

row = rules[tasks[0]["task_class"], tasks[0]["is_idempotent"]]
after = range(1, int(row["max_attempts"]))
waits = pd.DataFrame({"yours": [wait_min(row, k) for k in after]}, index=pd.Index(after, name="after attempt"))
for name, backoff in {"EXPONENTIAL": dg.Backoff.EXPONENTIAL, "LINEAR": dg.Backoff.LINEAR, "none": None}.items():
    form = dg.RetryPolicy(max_retries=1, delay=row["base_s"] / 60, backoff=backoff)
    waits[name] = [form.calculate_delay(k) for k in after]
waits.loc["persists for, min"] = waits.sum()
random.seed(10)  # Dagster draws its jitter from here
for jitter in dg.Jitter:
    form = dg.RetryPolicy(max_retries=1, delay=row["base_s"] / 60, backoff=dg.Backoff.EXPONENTIAL, jitter=jitter)
    drawn = [form.calculate_delay(5) for _ in range(1000)]
    print(f"the fifth wait with {jitter.name}, drawn a thousand times: {min(drawn):.0f} to {max(drawn):.0f} min")
waits.round().astype(int)

# %% [markdown]
# The same words, other numbers. Dagster's k-th exponential wait is (2^k - 1) times the delay; the factor is always two, and
# **there is no ceiling**: a patient policy may sleep past its deadline. Jitter is `FULL` (from nothing to the wait) or
# `PLUS_MINUS` (one *delay* either way, however long the wait is by then); a share such as 0.5 has no name.
#
# **Predict.** `retry_on` has found no place either. How often is the bad input tried now?
#
# 1. Once: Dagster sees that a `ValueError` is no network error.
# 2. Three times, as before.
# 3. As often as the policy lets a network error be tried.
#
# <details><summary>Answer</summary>
#
# The third. A `RetryPolicy` does not look at the error: more patience with outages is more patience with the hopeless.
# </details>

# %%
random.seed(10)
as_settings = three_nights(settings)
as_settings

# %% [markdown]
# The unclear write is tried once and then looked at by a human: that part of the file comes along. The bad input goes the whole
# way.
#
# ## What no setting says, code says
#
# `Failure(allow_retries=False)` ends a task whatever its policy is. `RetryRequested` brings its own number and its own wait. With
# these two the task keeps the whole row and needs no `RetryPolicy`: an error that nobody thought of is not tried again.

# %%
CLASSES = {error: name for name, error in ERRORS.items()}
left = {}  # retries that the budget of a task class still has


def guarded(task, night, attempt):
    kind = task["task_class"]
    row = rules[kind, task["is_idempotent"]]
    has_budget = pd.notna(row["budget_ratio"])
    if has_budget and attempt == 1:
        left[kind] = min(10, left.get(kind, 10) + row["budget_ratio"])
    try:
        work(task, night, attempt)
    except tuple(CLASSES) as error:
        if CLASSES[type(error)] not in row["retry_on"]:
            raise dg.Failure("not worth another attempt", allow_retries=False) from error
        if has_budget and attempt < row["max_attempts"]:
            if left[kind] < 1:
                raise dg.Failure("the retry budget is used up", allow_retries=False) from error
            left[kind] -= 1
        wait = wait_min(row, attempt) * (1 - row["jitter"] * random.random())
        raise dg.RetryRequested(int(row["max_attempts"]) - 1, wait * MINUTE) from error


in_code = three_nights(lambda task: None, guarded)
in_code

# %%
WAYS = {"today": (today, GREY), "as settings": (as_settings, ORANGE), "in code": (in_code, BLUE)}
figure, axes = plt.subplots(1, len(nights), figsize=(7.2, 2.6), sharey=True)
for k, ax in enumerate(axes):
    for y, (way, colour) in enumerate(WAYS.values()):
        one = way.loc[k]
        at = [sum(one.waits_min[:n]) for n in range(one.attempts)]
        ax.plot(at, [y] * len(at), "o-", color=colour, ms=5, lw=1)
        if one.outcome == "failed":
            ax.plot(at[-1], y, "X", ms=9, color=RED)
    ax.set(title=nights.night[k], xlabel="minutes of waiting", ylim=(len(WAYS) - 0.5, -0.5))
    ax.set_xlim(-2, max(20, ax.get_xlim()[1]))
axes[0].set_yticks(range(len(WAYS)), list(WAYS))
figure.suptitle("Only code stops at once where waiting is no use", x=0.01, ha="left", fontsize=11, weight="bold")
show(
    figure,
    "Attempts on three nights under three ways, a red cross where the task failed: bad input is tried once only in code",
)

# %% [markdown]
# ## Many at once
#
# A policy is about one task. Here twenty lose the same resource for three attempts each; what do they send together?


# %%
def retries_of_twenty(policy, body):
    assets = []
    for n in range(20):
        task = tasks[0] | {"task_name": f"task_{n}", "after": []}
        night = {"task_name": task["task_name"], "error_class": "network", "failed_attempts": 3, "writes": 0}
        assets.append(asset(task, night, policy, body))
    return len(instance.all_logs(run(assets).run_id, of_type=dg.DagsterEventType.STEP_UP_FOR_RETRY))


left.clear()
ratio = row["budget_ratio"]
lid = 10 + 20 * ratio if pd.notna(ratio) else None
print(f"as settings: {retries_of_twenty(settings(tasks[0]), work)} retries")
sent = retries_of_twenty(None, guarded)
print(f"in code: within the budget of {lid:.0f}: {sent <= lid}" if lid is not None else f"in code, no budget: {sent}")

# %% [markdown]
# The budget works here because all tasks share a process. Dagster's default executor gives each step its own: there the count
# belongs into the client of the resource, or into a table.
#
# ## Time-outs and pools
#
# Two settings that sound like rows of your file. First a task that hangs for three minutes where a run may last one. Then a pool
# with one slot: `first` fails and waits two hours for its second attempt.


# %%
@dg.asset
def hangs() -> None:
    time.sleep(3 * MINUTE)


limited = run([hangs], tags={dg.MAX_RUNTIME_SECONDS_TAG: str(MINUTE)})
print(dg.MAX_RUNTIME_SECONDS_TAG, "of one minute, hangs for three:", "success" if limited.success else "ended")

seen = []


def in_pool(name, fails):
    @dg.asset(name=name, pool="scarce", retry_policy=dg.RetryPolicy(max_retries=1, delay=120 * MINUTE))
    def made(context: dg.AssetExecutionContext) -> None:
        pool = context.instance.event_log_storage.get_concurrency_info("scarce")
        seen.append(
            f"{name}, attempt {context.retry_number + 1}: {pool.active_slot_count} of {pool.slot_count} slots taken"
        )
        if context.retry_number < fails:
            raise ConnectionError

    return made


# Pools need an instance that is stored; it goes with its folder.
off = {"telemetry": {"enabled": False}}
with tempfile.TemporaryDirectory() as folder, dg.DagsterInstance.local_temp(folder, off) as stored:
    stored.event_log_storage.set_concurrency_slots("scarce", 1)
    run([in_pool("first", fails=1), in_pool("second", fails=0)], on=stored)
print(*seen, sep="\n")

# %% [markdown]
# Nothing ended the task. The tag belongs to the *run*, not to the attempt, and it is the daemon's run monitoring that reads
# it, where that is switched on. A time-out for an attempt stays in the client: a statement time-out, a socket time-out. The pool
# is what one hopes for: `second` had the slot while `first` was waiting.
#
# ## Where this ends
#
# Here everything runs in one process, one step at a time, and a minute lasts five thousandths of a second: orders and counts are
# Dagster's, durations are not. Retries of whole *runs* (`dagster/max_retries`, also by the daemon) come on top of all this, and
# multiply. What is said of Dagster was read in 1.13.
#
# ## Back to the question
#
# Does the file come along? The file does, if you keep it as data that the code reads. As settings, this much:
#
# | row of the policy | in Dagster |
# | --- | --- |
# | `max_attempts`, not idempotent | `max_retries`, one policy for each asset |
# | `base_s`, `factor` | `delay`, `Backoff.EXPONENTIAL`: about |
# | `cap_s`, `jitter` between 0 and 1 | no setting; `RetryRequested` |
# | `retry_on` | no setting; `Failure(allow_retries=False)` |
# | `budget_ratio` | no setting; the client of the resource |
# | `timeout_minutes` | a tag on the run; for an attempt, the client |
# | slots (topic 3.3) | `pool`, its limit set on the instance |
#
# **You take away** `settings` and `guarded`: the first to start with on Monday, the second before the first outage.
#
# Read on: the Dagster documentation, *Op retries*, *Run monitoring* and *Managing concurrency*; Marc Brooker, *Timeouts, retries,
# and backoff with jitter* (Amazon Builders' Library, 2019). Lesson [3.1](01_retries_and_alerts.ipynb) has the reasons.
