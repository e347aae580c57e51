# %% [markdown]
# # Lesson 3.5: Windows that avoid peak collisions
#
# The head of finance asks: "My reports wait for the shared cluster, some for more than an hour. The platform group shows me that
# most of it is idle, averaged over the night. Do we buy more, or does somebody get out of the way?"
#
# You will see who starts when, why moving jobs at will makes it worse, how much room each job really has, and what a plan costs
# that holds on slow nights too. You take away a way to give each job a start window, and the two mornings a year on which it
# goes wrong.

# %%
import math
from datetime import UTC, datetime
from graphlib import TopologicalSorter
from zoneinfo import ZoneInfo

import numpy as np

from workshop import open_lesson
from workshop.plots import BLUE, GREY, RED, plt, show
from workshop.sim.nights import draw_minutes, load_of, read_night, replay_plan, run_nights

con = open_lesson("3.5")

# %% [markdown]
# ## Who starts when
#
# `ops.cluster_job_runs` holds four weeks of nightly jobs. Each team has a clock of its own (`scheduled_at`); a job then waits for
# its upstreams (`queued_at`) and for free slots (`started_at`).

# %%
con.sql("""
    select
      strftime(scheduled_at, '%H:00') as clock_utc,
      count(distinct job_id) as jobs,
      round(avg(epoch(started_at - queued_at)) / 60) as wait_for_slots_min,
      round(max(epoch(started_at - queued_at)) / 60) as longest_min
    from ops.cluster_job_runs
    group by 1
    order by jobs desc, clock_utc
    limit 6
""").df()

# %% [markdown]
# Midnight UTC is everybody's favourite: nobody chose it against the others, each chose it alone. Next, what the jobs ask for
# if none had to wait for slots, against what there is. Minute 0 of a night is 18:00 UTC.

# %%
jobs, capacity = read_night(con)
capacity["blackouts"] = []  # left to the lab
slots_there = np.array(capacity["slots"])
clocks = dict(
    con.sql("""
    select job_id, any_value(epoch(scheduled_at - (night_on + interval 18 hour)) / 60) from ops.cluster_job_runs group by 1
""").fetchall()
)
rng = np.random.default_rng(35)
minutes = draw_minutes(rng, jobs, 20)  # 20 nights: for each job a random quantile of its observed durations
slots = np.array([job["slots"] for job in jobs])


def plan_of(start, claim, width=0):
    """A plan's rows from starts and claimed minutes by job_id."""
    return [
        dict(
            job_id=i,
            team_id=j["team_id"],
            earliest=start[i],
            latest=start[i] + width,
            slots=j["slots"],
            minutes=claim[i],
        )
        for j in jobs
        for i in [j["job_id"]]
    ]


today = plan_of(clocks, dict.fromkeys(clocks, 0))
asked = load_of(*run_nights(jobs, today, minutes), slots)
figure, ax = plt.subplots(figsize=(7.2, 2.8))
hour = 18 + np.arange(960) / 60
ax.fill_between(
    hour, np.median(asked, axis=0), step="post", color=RED, alpha=0.6, label="asked for (median of 20 nights)"
)
ax.step(hour, slots_there, where="post", color=GREY, label="slots there are")
ax.set_xticks(range(18, 35, 2), [f"{h % 24:02d}:00" for h in range(18, 35, 2)])
ax.set(xlabel="UTC", ylabel="slots")
used = asked.mean() / slots_there.mean()
typical = np.median(asked / slots_there, axis=0)
fullest = 1080 + int(typical.argmax())
ax.set_title(
    f"Used to {used:.0%} on average, asked for {typical.max():.0%} at {fullest // 60 % 24:02d}:{fullest % 60:02d}"
)
ax.legend()
show(
    figure,
    f"Slots asked for through the night: highest at {fullest // 60 % 24:02d}:{fullest % 60:02d} UTC, far lower on average",
)

# %% [markdown]
# ## The naive way: spread them
#
# There is room at other hours, so we put the jobs there: each evenly between the moment its data is complete and its deadline.

# %%
longest = {job["job_id"]: math.ceil(max(job["minutes"])) for job in jobs}
spread = {
    job["job_id"]: job["ready_minute"]
    + rng.random() * (job["due_minute"] - longest[job["job_id"]] - job["ready_minute"])
    for job in jobs
}


def tell(name, plan):
    seen = replay_plan(jobs, plan, capacity, minutes)
    share = seen["broken_runs"] / seen["runs"]
    print(f"{name}: peak {sorted(seen['peaks'])[-2]:.0%} of the slots, {share:.1%} of the runs break a promise")
    return seen["claim_peak"], share


tell("today, if none waits for slots", [row | {"latest": 2000} for row in today])
_ = tell("spread evenly, windows of 10 minutes", plan_of(spread, longest, 10))
# %% [markdown]
# Whatever becomes of the peak, the promises are gone: a job that stands at 02:00 cannot start if its upstream stands at 03:00.
# (A run breaks a promise if it starts after its window, or before its day's data is complete, or ends after its deadline.
# Today's clocks break the last two.)
#
# ## How much room there is
#
# What a job has is **slack**: the last start that leaves all who wait for it enough time, less the first at which it can
# start. Forwards from the data for the first, backwards from the deadlines for the last; where slack is least lies the
# **critical path** (Kelley and Walker, 1959).

# %%
known = {job["job_id"]: job for job in jobs}
in_order = list(TopologicalSorter({i: job["upstream"] for i, job in known.items()}).static_order())


def bounds(claim):
    """First and last start of each job if each takes the minutes of `claim`."""
    first, last = {}, {i: known[i]["due_minute"] - claim[i] for i in in_order}
    for i in in_order:
        first[i] = max([known[i]["ready_minute"], *(first[u] + claim[u] for u in known[i]["upstream"])])
    for i in reversed(in_order):
        for up in known[i]["upstream"]:
            last[up] = min(last[up], last[i] - claim[up])
    return first, last


first, last = bounds(longest)
slack = np.array([last[i] - first[i] for i in in_order]) / 60
figure, ax = plt.subplots(figsize=(7.2, 2.4))
ax.hist(slack, bins=np.arange(0, 16, 0.5), color=BLUE)
ax.set(xlabel="slack, hours (longest runs seen)", ylabel="jobs")
ax.set_title(f"Half of the jobs have {np.median(slack):.1f} hours or more to choose from")
show(figure, "Histogram of slack: a few jobs have little, most have several hours")

# %% [markdown]
# Few jobs are bound to their hour; most could run at many others. That is what a plan can use.
#
# ## Which duration?
#
# > **Before you run on, predict.** Three jobs follow each other, and each window opens when the one before ends *on average*.
# > How often does the third start too late, if its window is a minute wide? (a) hardly ever, delays and early ends cancel out;
# > (b) one night in four or more; (c) one in ten.
#
# <details><summary>Answer</summary>
#
# (b). Early ends are lost, since nobody starts before the window opens, and late ones are handed on. So delays along a chain add
# up and never cancel.
#
# </details>

# %%
chain = max(in_order, key=lambda i: (min(len(known[i]["upstream"]), 1), first[i] - known[i]["ready_minute"]))
path = [chain]
while known[path[0]]["upstream"]:
    path.insert(0, max(known[path[0]]["upstream"], key=lambda u: first[u] + longest[u]))
nights = draw_minutes(np.random.default_rng(1), [known[i] for i in path], 2000)
for name, q in (("mean", None), ("p90", 0.9), ("p99", 0.99), ("longest", 1.0)):
    claim = [np.mean(known[i]["minutes"]) if q is None else np.quantile(known[i]["minutes"], q) for i in path]
    opens = np.r_[0, np.cumsum(claim)[:-1]]
    end = np.zeros(len(nights))
    for k in range(len(path)):
        late = end > opens[k] + 1
        end = np.maximum(end, opens[k]) + nights[:, k]
    assert name != "mean" or late.mean() > 0.25
    print(
        f"{name:8} windows open at {np.round(opens).astype(int)}, the last of {len(path)} is late in {late.mean():.0%} of nights"
    )

# %% [markdown]
# ## A plan, and what safety costs
#
# Put together it is **resource levelling**, older than most computers (Burgess and Killebrew, 1962): take jobs by least time
# left, place each at the earliest start at which the claims stay under a level, raise the level until all fit. We claim a
# quantile of each job's durations, from the median to the longest run, and look at both sides: how high the claims go, and
# how many runs break a promise.


# %%
def levelled(claim):
    _, last = bounds(claim)
    least = slots_there.min()
    for level in np.arange(0.2, 4, 0.02):
        load, start = np.zeros(1200), {}
        for i in sorted(in_order, key=lambda i: (last[i], in_order.index(i))):
            job, long = known[i], claim[i]
            after = max([job["ready_minute"], *(start[u] + claim[u] for u in job["upstream"])])
            places = (
                t for t in range(after, last[i] + 1, 5) if (load[t : t + long] + job["slots"]).max() <= level * least
            )
            if (at := next(places, None)) is None:
                break
            load[at : at + long] += job["slots"]
            start[i] = at
        else:
            return start


points = []
for q in (0.5, 0.7, 0.8, 0.9, 0.95, 1.0):
    claim = {i: math.ceil(np.quantile(job["minutes"], q)) for i, job in known.items()}
    points.append((q, *tell(f"levelled, claims at quantile {q}", plan_of(levelled(claim), claim))))
q, height, bad = map(np.array, zip(*points, strict=True))
figure, ax = plt.subplots(figsize=(7.2, 2.8))
ax.plot(100 * height, 100 * bad, "o-", color=BLUE)
for k in range(len(q)):
    ax.annotate(
        "longest" if q[k] == 1 else f"p{100 * q[k]:.0f}",
        (100 * height[k], 100 * bad[k]),
        textcoords="offset points",
        xytext=(6, 4),
        fontsize=8.5,
    )
ax.set(xlabel="highest claim, % of the slots", ylabel="runs that break\na promise, %")
ax.margins(x=0.08, y=0.15)
ax.set_title("Safety is booked in slots: longer claims, fewer broken promises")
show(figure, "Highest claim against broken promises for claims from the median to the longest run: promises cost slots")

# %% [markdown]
# Read it from both ends: the median books little and breaks promises along every chain; the longest run seen breaks none and
# books the most. What is booked above the peak that really comes is the price of a promise.
#
# ## The two mornings
#
# A window is agreed in somebody's local time. Take a job at 02:30 in Berlin, converted as most would:

# %%
berlin = ZoneInfo("Europe/Berlin")
for day in (datetime(2026, 3, 28), datetime(2026, 3, 29), datetime(2026, 10, 25), datetime(2026, 10, 26)):
    wall = day.replace(hour=2, minute=30)
    readings = {wall.replace(tzinfo=berlin, fold=fold).astimezone(UTC) for fold in (0, 1)}
    shown = [f"{at:%H:%M} UTC, the clock shows {at.astimezone(berlin):%H:%M}" for at in sorted(readings)]
    print(f"{day:%d %b}:", "  or  ".join(shown))

# %% [markdown]
# On 29 March 02:30 does not exist, and `ZoneInfo` answers all the same; on 25 October it comes twice. Python says which of two is
# meant by `fold` (PEP 495), and asks no question. Somebody has to decide, once, for all teams. At Kestrel: a skipped time runs at
# the first instant after the gap, a doubled one once, at the first. Whoever writes a fixed offset in place of a zone is an
# hour off for half of the year. And cron's day 31 is not "the last day":

# %%
con.sql("""
    select month_day, count(*) as jobs, (select count(*) from range(1, 13) m (n)
      where day(last_day(make_date(2026, n, 1))) >= month_day) as runs_a_year_in_cron
    from ops.cluster_jobs
    where cadence = 'monthly' and month_day > 28
    group by month_day
    order by month_day
""").df()

# %% [markdown]
# > **In practice** (Airflow 3.3, Dagster 1.13, Prefect 3). None of the three levels anything: a window becomes a start time, a
# > claim a limit.
# >
# > - *Airflow*: `CronTriggerTimetable("30 2 * * *", timezone="Europe/Berlin")`; a claim is `pool` with `pool_slots`; who is first
# >   is `priority_weight` with its `weight_rule`.
# > - *Dagster*: `ScheduleDefinition` with `cron_schedule` and `execution_timezone`; `pool=` with a pool limit, and for runs
# >   `max_concurrent_runs` and `tag_concurrency_limits`; the tag `dagster/priority`.
# > - *Prefect*: a cron schedule with `timezone` and `day_or` (true, the default: day of month *or* day of week, as in cron); the
# >   concurrency limits of the work pool and its queues; the queue's priority.
# >
# > | 02:30 daily, Berlin | Airflow | Dagster | Prefect |
# > | --- | --- | --- | --- |
# > | skipped: runs at | 03:30 (its source) | 03:00 (its manual) | its manual does not say: try it |
# > | doubled: runs at | the second (its source) | the second (its manual) | the first (its manual) |
#
# ## The rule, and where it ends
#
# Slack first, then levelling under a level, claims from the tail of what was observed, windows in a zone's time.
#
# - **A plan is an agreement.** Teams build on their windows. When one team's jobs change, mend the plan around the others; a
#   plan 2% flatter is not worth eighty messages.
# - **It is for what comes every night.** Jobs that come by themselves need a queue and priorities (3.3); leave them room.
# - **Too full is too full.** Where slack is gone the peak stays: then buy, or talk about deadlines.
# - **Observed is not possible.** Four weeks have not seen the worst night. A limit by pool stays under every plan.
#
# ## Back to the question
#
# Buy or move? Today's clocks ask for far more at one moment than on average, and most of the jobs behind it have hours to
# spare. Moved by their slack they fit; the average had room all along.
#
# **To take home:** a table with window, owner and claim of each job, and a test for the two mornings, both from lab 3.5.
#
# 1. J. E. Kelley and M. R. Walker, *Critical-Path Planning and Scheduling*, Eastern Joint Computer Conference, 1959.
# 2. A. R. Burgess and J. B. Killebrew, *Variation in Activity Level on a Cyclical Arrow Diagram*, Journal of Industrial
#    Engineering 13(2), 1962.
# 3. A. Belopolsky and T. Peters, *PEP 495: Local Time Disambiguation*, python.org, 2015.
