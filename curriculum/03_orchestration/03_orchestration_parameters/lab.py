# %% [markdown]
# # Lab 3.3: time-outs and concurrency from observed contention
#
# Seventy-seven heavy jobs of all domains share one machine at night. Its pools and its one time-out were set by nobody in
# particular, and the last job ends in the middle of the morning. You measure what the jobs take and what company costs them
# (task a), then set time-outs, pool sizes and priorities for the weeks to come (task b). About 50 minutes. Lesson 3.3 has the
# background.
#
# You change the two cells that begin with `# Task`; what you need besides goes into the same cells. When your work is graded,
# it runs on another world: other jobs, other durations.

# %% tags=["parameters"]
WORLD, SCALE = "practice-7", 0.05

# %% tags=["setup"]
import math

from workshop import TODO, open_lab

lab = open_lab("3.3", world=WORLD, scale=SCALE)

# %% [markdown]
# ## The tables
#
# `ops.batch_tasks` has the jobs, `ops.batch_runs` six weeks of their runs, `ops.batch_pools` and `ops.batch_nodes` what there
# is. Each job runs once a night, and once a week once more in the afternoon, when the machine is nearly idle (a few have done
# so for two weeks only).

# %%
lab.con.sql("""
    select t.task_class, t.pool, r.outcome, count(*) as runs,
      round(median(epoch(r.ended_at - r.started_at)) / 60) as took_min,
      round(median(epoch(r.started_at - r.queued_at)) / 60) as waited_min,
      round(max(r.peak_memory_gb)) as most_gb
    from ops.batch_runs r join ops.batch_tasks t using (task_id) group by all order by all
""").df()

# %% [markdown]
# ## Task a: measure
#
# Change: the body of `measure`. It gets a connection and returns a row for each task of `ops.batch_tasks` (DataFrame,
# relation or list of dicts). All times are in seconds.
#
# * `task_id`
# * `hung`: how many of its runs hung: `killed`, and the last heartbeat was **more than two minutes** before `ended_at`. What
#   hung was not working: leave it out of the service times and of the slow-down.
# * `service_p50_s`, `service_p95_s`: quantiles of the service time (from `started_at` to `ended_at`). A run that ended for
#   another reason than `success` would have taken longer, nobody knows how much: it is *right-censored* at its duration. Use
#   the **Kaplan-Meier** estimate: go through the durations at which runs succeeded, in ascending order; at each, with `n`
#   runs whose duration is at least that long (censored ones included) and `d` that succeeded at exactly that duration,
#   multiply the survival by `1 - d / n`. The q-quantile is the first duration at which the survival is at most `1 - q`;
#   **null** if it never is. Where the survival equals `1 - q` to the last digit, the next duration counts as right too.
# * `queue_p50_s`, `queue_p95_s`: quantiles of the time in the queue (`queued_at` to `started_at`), over all runs: the
#   smallest value that is at least as large as that share of them.
# * `slow_down`: what company costs. Seconds per row of each run that succeeded; then the median over those that started **in
#   company**, divided by the median over those that started **alone**. In company: when it started, another run (of any task,
#   hung or not) had started, at the same moment or before, and had not ended; one that ends at that very moment has ended.
#   Null where fewer than three of those that succeeded started alone.
#
# **Judged** (5.5 points): service times within 0.5% and null where they should be (2); queue times (1); hung runs (1);
# slow-down within 1% (1.5).


# %% tags=["task-a"]
# Task a
def measure(con):
    """Returns a row for each task: task_id, hung, service_p50_s, service_p95_s, queue_p50_s, queue_p95_s, slow_down."""
    ### BEGIN SOLUTION
    return con.sql("""
        with runs as (
          select
            task_id,
            batch_run_id,
            started_at,
            ended_at,
            input_rows,
            epoch(ended_at) - epoch(started_at) as service_s,
            epoch(started_at) - epoch(queued_at) as queue_s,
            outcome = 'success' as succeeded,
            outcome = 'killed' and ended_at - heartbeat_at > interval 2 minute as is_hung
          from ops.batch_runs
        ),
        at_risk as (
          select
            task_id,
            service_s,
            count(*) filter (succeeded) as d,
            sum(count(*)) over (partition by task_id order by service_s desc) as n
          from runs
          where not is_hung
          group by task_id, service_s
        ),
        survival as (
          select
            task_id,
            service_s,
            exp(sum(case when d = n then -1000 else ln(1 - d / n) end) over (partition by task_id order by service_s)) as share
          from at_risk
          where d > 0
        ),
        service as (
          select
            task_id,
            min(service_s) filter (share <= 0.5 + 1e-9) as service_p50_s,
            min(service_s) filter (share <= 0.05 + 1e-9) as service_p95_s
          from survival
          group by task_id
        ),
        -- How many are under way when each starts, itself included: starts so far less ends so far.
        moments as (
          select batch_run_id, started_at as moment, 1 as starts, 0 as ends from runs
          union all
          select null, ended_at, 0, 1 from runs
        ),
        company as (
          select batch_run_id, sum(starts - ends) over (order by moment range unbounded preceding) > 1 as has_company
          from moments
        ),
        pace as (
          select
            task_id,
            median(service_s / input_rows) filter (c.has_company) as together,
            median(service_s / input_rows) filter (not c.has_company) as alone,
            count(*) filter (not c.has_company) as n_alone
          from runs r
          join company c using (batch_run_id)
          where succeeded
          group by task_id
        ),
        queue as (
          select
            task_id,
            count(*) filter (is_hung) as hung,
            quantile_disc(queue_s, 0.5) as queue_p50_s,
            quantile_disc(queue_s, 0.95) as queue_p95_s
          from runs
          group by task_id
        )
        select
          t.task_id,
          coalesce(q.hung, 0) as hung,
          s.service_p50_s,
          s.service_p95_s,
          q.queue_p50_s,
          q.queue_p95_s,
          case when p.n_alone >= 3 then p.together / p.alone end as slow_down
        from ops.batch_tasks t
        left join service s using (task_id)
        left join queue q using (task_id)
        left join pace p using (task_id)
        order by t.task_id
    """)
    ### END SOLUTION


# %% tags=["nbval-check-output"]
try:
    measured = measure(lab.con).df()
    print(
        len(measured),
        "tasks,",
        int(measured.hung.sum()),
        "runs hung,",
        int(measured.service_p95_s.isna().sum()),
        "without a p95",
    )
except TODO:
    print("not attempted yet")
except AttributeError:
    print(len(measure(lab.con)), "tasks")

# %% tags=["check-a"]
lab.check("a")

# %% [markdown]
# ## Task b: decide
#
# The season begins: in the weeks to come every job reads **1.4 times** as many rows as in the last six weeks. Memory does not
# grow with rows. There are only the nights, no runs in the afternoon. Runs hang as often as in the log, and as there their
# times vary by more than their rows.
#
# Change: the body of `parameters`. It returns a dict with
#
# * `pools`: rows with `pool` and `slots` (a whole number, 1 to 32), for both pools;
# * `timeouts`: rows with `task_id` and `timeout_minutes` (0.01 to 1,440, fractions too), for every task: a run is killed that
#   long after its start, and not tried again;
# * `priorities`: rows with `task_class` and `priority` (any number): of those that wait for a slot of a pool, the lowest
#   number goes first, and of equals who has waited longest.
#
# How the machine behaves: a run takes longer the more others run when it starts, whatever their pool. Up to a point that is
# nothing, beyond it more and more: read it from the runs. A run that starts when the memory of all that run, its own
# included, is more than the machine has, ends in "out of memory". (Peaks of memory seldom fall together; slots that are never
# used cost time.)
#
# *What a task takes alone in the season*: 1.4 times the median of its `input_rows`, times the median of the seconds per row
# of its runs that succeeded and started alone (as in task a). A task without such a run counts on neither side below.
#
# **Judged** (4.5 points), on twelve drawn weeks, the same for every answer:
#
# * at most 0.5% of the runs that do not hang are killed (1.5; failed if 84 nights contradict it at 1 in 10,000);
# * what hangs holds its slot until its time-out: over all tasks, the time-outs add up to at most **4.75 times** what the
#   tasks take alone in the season (0.5). Some need more than that, others can do with less;
# * no run ends out of memory (1);
# * after midnight the last run of a night ends, on average, at most 10% later than under the reference, which knows these
#   tables and no more (1), and the last training, which the prices of the morning wait for, at most 15% later (0.5). Both
#   count only if nothing is killed or out of memory beyond the promises above: a night that is over early because its jobs
#   have died is none.


# %% tags=["task-b"]
# Task b
def parameters(con):
    """Returns {"pools": rows, "timeouts": rows, "priorities": rows}."""
    ### BEGIN SOLUTION
    # What each task takes alone in the season (the afternoons: hardly any company), and how much its rows vary from run to run.
    # Of durations the night's company and the time-out of today have made something else; rows they leave as they are.
    usual = con.sql("""
        select
          task_id,
          1.4 * median(input_rows)
          * median(epoch(ended_at - started_at) / 60 / input_rows)
            filter (outcome = 'success' and hour(started_at) between 12 and 21) as alone_min,
          stddev(ln(input_rows)) as spread
        from ops.batch_runs group by task_id order by task_id
    """).fetchall()
    # Who varies more gets more: in proportion to what one run in forty exceeds, so that all together is below the bound.
    tails = {task: alone_min * math.exp(2 * spread) for task, alone_min, spread in usual}
    factor = 4.5 * sum(alone_min for _, alone_min, _ in usual) / sum(tails.values())
    timeouts = [{"task_id": task, "timeout_minutes": min(1440, factor * tail)} for task, tail in tails.items()]

    # Memory first: so many of the large ones as fit beside a few of the small ones. Their peaks do not all fall together:
    # the mean of a sum, and four standard deviations.
    mean_gb, sd_gb, small_gb, room_gb = con.sql("""
        select avg(peak_memory_gb) filter (pool = 'memory'), stddev(peak_memory_gb) filter (pool = 'memory'),
          max(peak_memory_gb) filter (pool = 'general'), (select min(memory_gb) from ops.batch_nodes)
        from ops.batch_runs join ops.batch_tasks using (task_id)
    """).fetchall()[0]
    large = max(n for n in range(1, 33) if n * mean_gb + 4 * sd_gb * n**0.5 + 3 * small_gb <= room_gb)
    # The pool of the large ones decides when the night ends. The others get what they need to be done by then, and no more:
    # each of them in company slows a large one down. Work of a night, as it is alone (the afternoons).
    work = dict(
        con.sql("""
            with alone as (
              select task_id, median(epoch(ended_at - started_at)) as s
              from ops.batch_runs where outcome = 'success' and hour(started_at) between 12 and 20 group by task_id
            )
            select pool, sum(s) from alone join ops.batch_tasks using (task_id) group by pool
        """).fetchall()
    )
    small = max(1, math.ceil(work["general"] * large / work["memory"]))
    return {
        "pools": [{"pool": "memory", "slots": large}, {"pool": "general", "slots": small}],
        "timeouts": timeouts,
        # The longest first: the morning waits for them, and what starts last should be short.
        "priorities": [
            {"task_class": c, "priority": p} for p, c in enumerate(("train", "join", "aggregate", "export"))
        ],
    }
    ### END SOLUTION


# %% tags=["nbval-check-output"]
try:
    decided = parameters(lab.con)
    print({name: len(rows) for name, rows in decided.items()})
except TODO:
    print("not attempted yet")

# %% tags=["check-b"]
lab.check("b")

# %% [markdown]
# ## Twelve weeks later
#
# The season on this machine, with your parameters and with today's.

# %%
lab.twelve_weeks_later()

# %% [markdown]
# ## To take home
#
# The query of task a runs on any table of runs that has a start, an end and a heartbeat. The parameter file of task b should
# carry the date of its measurement: run both again each quarter.
