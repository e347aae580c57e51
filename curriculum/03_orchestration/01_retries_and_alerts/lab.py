# %% [markdown]
# # Lab 3.1: Retries and alert thresholds for interdependent workflows
#
# Kestrel's daily reports wait for a hundred DAGs of two dozen teams. Whatever fails is tried again, most of it
# twice, five minutes apart, and every failed attempt pages everybody who waits for it. You set how things are tried again (task
# a), and who is woken by what (task b). Two tasks, about 35 minutes. Lesson 3.1 has the background.
#
# You change the two cells that begin with `# Task`; what you need besides goes into the same cells. When your work is graded,
# it runs on another world: other DAGs, other faults, other outages. Read them from the tables.

# %% tags=["parameters"]
WORLD, SCALE = "practice-7", 0.05

# %% tags=["setup"]
from workshop import TODO, open_lab

lab = open_lab("3.1", world=WORLD, scale=SCALE)

# %% [markdown]
# ## The tables
#
# | table | what is in it |
# | --- | --- |
# | `ops.task_resources` | the tasks that this lab is about, and the resource that each depends on |
# | `ops.tasks`, `ops.dags` | their class, whether they are idempotent; owner, criticality, `deadline_minutes` |
# | `ops.task_deps` | what waits for what |
# | `ops.failed_attempts` | thirteen weeks of attempts that failed: error class, who tried again, what came of it |
# | `ops.resources`, `ops.outages` | what tasks depend on and which team runs it; when it was away |
# | `ops.task_runs` | four weeks of runs, for how long tasks take (`attempts = 1` and `outcome = 'success'`) |
# | `ops.alerts` | who was paged |
#
# An error class says what went wrong: `network` (a call that did not get through), `out of memory`, `bad input` (rows that the
# task cannot take), `permission`, `time-out` (it hung until it was killed).

# %%
lab.con.sql("""
    select error_class, retried_by, next_outcome, count(*) as attempts
    from ops.failed_attempts group by all order by all
""").df()

# %% [markdown]
# ## Task a: what is tried again, how often, how long after
#
# Change: the body of `retry_policy`. It gets a connection and returns rows (DataFrame, relation or list of dicts), **one for each
# pair of `task_class` and `is_idempotent`** that occurs among the tasks of `ops.task_resources`:
#
# * `task_class`, `is_idempotent`: which tasks;
# * `max_attempts`: attempts by the scheduler, the first included, 1 to 20;
# * `base_s`, `factor`, `cap_s`: before attempt k + 1 it waits min(`cap_s`, `base_s` * `factor` ** (k - 1)) seconds. `base_s` from
#   1 to 7,200, `factor` from 1 to 10, `cap_s` up to 14,400;
# * `jitter`, 0 to 1: the share of that wait that is drawn at random. 0: exactly that long; 1: anything from 0 to that long;
# * `timeout_minutes`: an attempt is killed after that, with the error `time-out`, 1 to 1,440;
# * `retry_on`: list of error classes that are worth another attempt;
# * `budget_ratio`, 0 to 1: a budget that all tasks of the class share. It begins with ten retries and holds no more; each first
#   attempt adds `budget_ratio`, each retry takes one; with less than one left nothing is tried again. Null: no budget. Both rows
#   of a class have the same.
#
# Numbers need not be whole, but for `max_attempts`.
#
# A DAG's deadline is `deadline_minutes` after its scheduled time. A task whose upstream in its own DAG was given up does not run.
# When the scheduler gives up, a human is told: somebody is paged if the DAG is critical or high (60 USD; half an hour until it
# runs again), else there is a ticket (8 USD; about eight hours). What else things cost, in USD: a run of a DAG that is late, 400
# critical, 200 high, 100 normal, 20 low; an hour of a slot under attempts that failed, 2; a task that is not idempotent and
# is tried again by the scheduler after a network error, a time-out or a lack of memory, 150 (its first attempt may have
# written already, and somebody has to find the double rows).
#
# A resource that comes back from an outage is cold. For an hour it bears a few attempts a minute; at one more it is gone again
# for ten minutes.
#
# **Judged** (6 points), on ten drawn months of these DAGs, the same for every policy: what yours costs is at most 15% of the
# way from the best that one can know from these tables to today's (2). Late runs, wasted slot-hours, and pages are each no
# more than today (1). A task that is not idempotent is never tried again by the scheduler, whatever the error (1). At most 5% of
# retries follow an error that only a human mends (0.5). And **the worst night** (1.5), with your row for idempotent `load` tasks,
# without a budget: at two o'clock 240 of them find the warehouse gone; it is back at 02:25, bears forty attempts a minute for two
# hours, and is gone for another ten minutes whenever there is one more. At most 10% of the tasks are given up.


# %% tags=["task-a"]
# Task a
def retry_policy(con):
    """Returns a row for each task_class and is_idempotent, with the columns above; times in seconds and minutes."""
    ### BEGIN SOLUTION
    # What another attempt has ever mended is worth one: bad input and missing permissions it never did.
    worth = [
        error
        for error, mended in con.sql("""
            select error_class, avg((next_outcome = 'success')::int)
            from ops.failed_attempts where retried_by = 'scheduler' group by error_class order by error_class
        """).fetchall()
        if mended > 0.05
    ]
    # Three times the longest that the class's slowest task has ever taken: what is still running then hangs.
    rows = con.sql("""
        select t.task_class, t.is_idempotent, max(epoch(r.ended_at - r.started_at)) / 60 as longest
        from ops.task_resources
        join ops.tasks t using (task_id)
        join ops.task_runs r using (task_id)
        where r.outcome = 'success' and r.attempts = 1
        group by all
        order by all
    """).fetchall()
    longest = {}
    for task_class, _, minutes in rows:
        longest[task_class] = max(minutes, longest.get(task_class, 0))
    # One to thirty minutes, drawn: two hours in all on average, longer than nearly every outage, and never all at once.
    return [
        {
            "task_class": task_class,
            "is_idempotent": idempotent,
            "max_attempts": 10 if idempotent else 1,
            "base_s": 60,
            "factor": 2,
            "cap_s": 1800,
            "jitter": 1.0,
            "timeout_minutes": max(20, min(3 * longest[task_class], 240)),
            "retry_on": worth,
            "budget_ratio": None,
        }
        for task_class, idempotent, _ in rows
    ]
    ### END SOLUTION


# %% tags=["nbval-check-output"]
try:
    policy = retry_policy(lab.con)
    print(len(policy), "rows")
except TODO:
    print("not attempted yet")

# %% tags=["check-a"]
lab.check("a")

# %% [markdown] tags=["rationale-a"]
# **Your reasons, task a.** Double-click this cell and write under the line, in at most 120 words: what did you trade for what,
# with which figures, and when would you choose otherwise? In a course, a human reads it; on your own, read it again in a week.
#
# ---

# %% [markdown]
# ## Task b: who is woken by what
#
# Change: the value of `RULES`, a list of dicts. The alerting goes through the events of a month in order of time; **the first
# rule that fits decides**; an event that no rule fits is quiet. What a rule says:
#
# * `on`: `"attempt failed"` (it will be tried again), `"gave up"` (the last attempt failed) or `"deadline near"` (half an hour
#   before its deadline a run of a DAG is not done; the event is about the task that the run waits for, in its DAG or in one
#   before it, and about that task's DAG and last error);
# * `criticality`: list; it fits when the run's DAG has one of these. Left out: any;
# * `error_class`: list. Left out: any, or none;
# * `max_minutes_left`: it fits when the run's deadline is no further away than that. Left out: any;
# * `resource_away`: `True` fits when the status page of the task's resource says that it is away or came back within the hour (it
#   says so five minutes after an outage began), `False` when it does not. Left out: any;
# * `do`: `"page"`, `"ticket"` or `"quiet"`;
# * `to`: `"dag team"` (owner of the event's DAG), `"resource team"` (who runs the task's resource, see `ops.resources`; where a
#   task has none, as `"dag team"`) or `"everybody"` (all teams along the way). Left out:
#   `"dag team"`;
# * `group_by`: `"task run"`, `"dag run"`, `"resource"` or `"none"`; `group_minutes`, 0 to 2,880: what has been sent for is not
#   sent for again by the same or a lesser action, neither for its group nor for the same task run, until nothing has been heard
#   of it for so long. Left out: each event is sent for;
# * `notice`: `True`: teams whose runs wait for it get a message that wakes nobody. Left out: `False`.
#
# Only `on` and `do` are needed. The months are run with a colleague's retries: two attempts, five minutes apart, all errors.
# **Nobody repairs anything in them**: what is late then, and why, is what a page can be about. A *cause* is the outage of a
# resource, or one task run that failed for a reason of its own. It matters if it makes a run of a critical, high or normal DAG
# late; nobody is woken for a low one. A cause belongs to the team of the resource (an outage), else to the owner of the DAG whose
# task failed.
#
# **Judged** (4 points), over ten drawn months: at least 95% of the causes that matter are paged for before the first of their
# runs is due (1). At least 80% of all pages are about such a cause, and at most 3% about nothing but a low DAG (1). At most 12%
# of the pages about a cause repeat an earlier one (0.5). Of the outages that were paged for, at least 70% went to the team of
# the resource and nobody else; of the other causes, at least 90% to the owner of the DAG and nobody else (1). At least 95%
# of the causes that were paged for and make another team's runs late had a notice (0.5).

# %% tags=["task-b"]
# Task b
### BEGIN SOLUTION
MATTERS = ["critical", "high", "normal"]
ONCE = {"group_minutes": 720, "notice": True}
RULES = [
    rule
    for on in ("gave up", "deadline near")
    for rule in (
        # Where the resource is away, it is not the DAG: one page to those who run it is enough.
        {
            "on": on,
            "criticality": MATTERS,
            "error_class": ["network"],
            "resource_away": True,
            "do": "page",
            "to": "resource team",
            "group_by": "resource",
            **ONCE,
        },
        {"on": on, "criticality": MATTERS, "do": "page", "to": "dag team", "group_by": "task run", **ONCE},
        {"on": on, "do": "ticket", "to": "dag team", "group_by": "task run", **ONCE},
    )
]
### STUB
# RULES = TODO
### END SOLUTION

# %% tags=["nbval-check-output"]
print("not attempted yet" if RULES is TODO else f"{len(RULES)} rules")

# %% tags=["check-b"]
lab.check("b")

# %% [markdown]
# ## Twelve weeks later
#
# Three more months: what they cost, week by week, under your retries and today's.

# %%
lab.twelve_weeks_later()

# %% [markdown]
# ## To take home
#
# Two policy files. Show the first to whoever owns a task that is not idempotent: "tried once, then a human" is their number to
# change. Show the second to whoever was paged last night.
