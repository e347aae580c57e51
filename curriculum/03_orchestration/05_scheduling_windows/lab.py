# %% [markdown]
# # Lab 3.5: Windows that avoid peak collisions
#
# Some ninety nightly jobs of thirty teams share one cluster, and each team starts its own by its own clock. You write the
# function that gives each job a start window, and the one that turns local start times into moments of UTC. Two tasks, about 40
# minutes. Lesson 3.5 has the background.
#
# You change the two cells that begin with `# Task`; what you need besides goes into the same cells. When your work is
# graded, both functions are called with other jobs, nights and zones. They get all they need as arguments.

# %% tags=["parameters"]
WORLD, SCALE = "practice-7", 0.05

# %% tags=["setup"]
import math
from datetime import UTC, datetime, timedelta
from graphlib import TopologicalSorter
from zoneinfo import ZoneInfo

import numpy as np

from workshop import TODO, open_lab
from workshop.sim.nights import draw_minutes, read_night, replay_plan

lab = open_lab("3.5", world=WORLD, scale=SCALE)

# %% [markdown]
# ## The night
#
# Times of task a are minutes of the night: minute 0 is 18:00 UTC, minute 360 is midnight UTC, the night ends at 960. `read_night`
# makes two things of the tables `ops.cluster_...`; this is what your function is given.

# %%
jobs, capacity = read_night(lab.con)  # month_end=True: a night at a month's end
example = max(jobs, key=lambda job: len(job["upstream"]))
print(len(jobs), "jobs; one of them:", example | {"minutes": [*example["minutes"][:4], "..."]})
print(
    len(capacity["slots"]), "minutes; slots at minutes 0, 240 and 720:", [capacity["slots"][m] for m in (0, 240, 720)]
)
print("blackouts:", read_night(lab.con, month_end=True)[1]["blackouts"])

# %% [markdown]
# | of a job | means |
# | --- | --- |
# | `job_id`, `team_id`, `domain` | the job, its owner, and the domain whose blackouts concern it |
# | `slots` | so many slots of the cluster it holds while it runs |
# | `ready_minute` | the data of the day is complete; who starts before that works on half a day |
# | `due_minute` | it must have ended by then |
# | `upstream` | the jobs that it waits for (at times none), always jobs of the same list, never in a circle |
# | `minutes` | how long it took in the last 28 nights, in no order; a new job may come with fewer |
#
# `capacity["slots"]` has one number for each minute of the night. No job may run in a blackout, from `from_minute` up to
# `to_minute`; one with a `domain` concerns that domain's jobs alone, one with `None` everybody's. There is a plan for
# every night that you are given, even one with all runs as long as the longest seen and all windows 15 minutes wide.
#
# ## Task a: a start window for each job
#
# Write `schedule(jobs, capacity, current=None)`. It returns a list with one dict for each job:
#
# | column | means |
# | --- | --- |
# | `job_id`, `team_id` | the job and its owner |
# | `earliest`, `latest` | its start window, minutes of the night, whole or not; the two may be equal |
# | `slots`, `minutes` | its claim: it may hold so many slots for so many minutes from its start |
#
# **What happens in a night.** A job starts at `earliest` or, if that is later, at the moment when the last of its upstreams has
# ended. Nobody else holds it up: it takes its slots, and if there are too few the cluster is overloaded. It runs for a drawn
# time: a random quantile (linear between neighbours) of its observed `minutes`, drawn for each job apart. A run breaks a promise
# if it
#
# 1. starts after `latest` (its upstreams ended too late for its window),
# 2. has an `earliest` before its `ready_minute`,
# 3. ends after its `due_minute`, or
# 4. runs in a blackout of its domain, be it for its last minute.
#
# **`current`** is the plan in force, a list of rows such as you return, or `None`. It keeps all promises, its claims fit into
# the cluster and follow each other: `earliest` of a job is never before `latest + minutes` of an upstream, and `minutes` is never
# less than the longest run seen. It may have rows of jobs that went since. Teams have built upon it: when `jobs` has changed
# (a job came, went, or its longest run is now more than its row's `minutes`), no window moves unless it must. Those may move
# that belong to the team whose jobs changed, or that wait, directly or through others, for a job that changed. All others keep
# `earliest` and `latest`; and if nothing has changed, everybody does.
#
# **Judged** (6 points), on an ordinary night, one at a month's end and one of another cluster, each drawn 20 times:
#
# - at most 0.5% of all runs break a promise (1.5);
# - claims: owner and slots are the job's; at most 5% of the runs take longer than the claim's `minutes`; at no full minute do the
#   claims add up to more than the slots there are, where each counts from `earliest` until `latest + minutes` (1);
# - the peak of a night is the highest share of the slots that is in use at any full minute, whatever you claimed; of 20 draws
#   the second highest counts (the 95th percentile). It is at most 1 on each of the three nights, and summed over them at most
#   1.4 times what a plain levelling heuristic reaches that knows what you know (1.5);
# - with a `current` made by us, three calls: nothing changed; one team drops a job and adds another; one job takes much longer.
#   No window moves that may not, at most 5% of the runs of jobs that changed or wait for one break a promise, and the
#   claims fit (2). The peak is not judged here: calm goes before flatness.
#
# A call may take some seconds; most solutions take less than one.


# %% tags=["task-a"]
# Task a
def schedule(jobs, capacity, current=None):
    """Return a list of rows: job_id, team_id, earliest, latest, slots, minutes."""
    ### BEGIN SOLUTION
    grid, slack = 5, 5  # minutes: starts are tried so far apart; a window is so wide
    job_of = {job["job_id"]: job for job in jobs}
    order = list(TopologicalSorter({i: job["upstream"] for i, job in job_of.items()}).static_order())
    size = np.array(capacity["slots"], dtype=float)
    # The claim: the longest run seen. Whoever plans with the mean is late every other night.
    claim = {i: math.ceil(max(job["minutes"])) for i, job in job_of.items()}
    held = {i: claim[i] + slack for i in job_of}

    def in_blackout(job, start, end):
        return any(
            b["domain"] in (None, job["domain"]) and start < b["to_minute"] and end > b["from_minute"]
            for b in capacity["blackouts"]
        )

    # Backwards from the deadlines: the last start that leaves everybody downstream enough time.
    last = {i: min(job_of[i]["due_minute"], len(size)) - held[i] for i in order}
    for i in reversed(order):
        while in_blackout(job_of[i], last[i], last[i] + held[i]):
            last[i] -= 1
        for up in job_of[i]["upstream"]:
            last[up] = min(last[up], last[i] - held[up])

    # Windows in force whose claim still fits their job are booked first.
    agreed = {
        row["job_id"]: row
        for row in current or []
        if row["job_id"] in job_of
        and row["slots"] == job_of[row["job_id"]]["slots"]
        and row["minutes"] >= max(job_of[row["job_id"]]["minutes"])
    }
    agreed_load = np.zeros(len(size))
    for row in agreed.values():
        agreed_load[math.floor(row["earliest"]) : math.ceil(row["latest"] + row["minutes"])] += row["slots"]

    def fit(level):
        """Each job as early as its upstreams allow without the claims passing `level`; None where one has no place."""
        used, plan = agreed_load.copy(), {}
        for i in sorted(order, key=lambda i: (last[i], order.index(i))):  # least time left first
            job, row = job_of[i], agreed.get(i)
            free = max([job["ready_minute"], *(plan[u]["latest"] + plan[u]["minutes"] for u in job["upstream"])])
            if row is not None and row["earliest"] >= free:
                plan[i] = row
                continue
            if row is not None:  # it must move: what it had booked is free again
                used[math.floor(row["earliest"]) : math.ceil(row["latest"] + row["minutes"])] -= row["slots"]
            free = math.ceil(free)
            starts = {free, *range(free, last[i] + 1, grid), *(b["to_minute"] for b in capacity["blackouts"])}
            for start in sorted(s for s in starts if free <= s <= last[i]):
                part = slice(start, start + held[i])
                room = level * size[part] - used[part] >= job["slots"] - 1e-9
                if room.all() and not in_blackout(job, start, start + held[i]):
                    break
            else:
                return None
            used[part] += job["slots"]
            plan[i] = {
                "job_id": i,
                "team_id": job["team_id"],
                "earliest": start,
                "latest": start + slack,
                "slots": job["slots"],
                "minutes": claim[i],
            }
        return list(plan.values())

    # The lowest level at which all fit.
    return next(plan for level in np.arange(0.3, 4, 0.02) if (plan := fit(level)))
    ### END SOLUTION


# %% [markdown]
# A look at your plan on this night: 20 draws of our own, `replay_plan` does what is written above.

# %% tags=["nbval-check-output"]
try:
    plan = schedule(jobs, capacity)
    seen = replay_plan(jobs, plan, capacity, draw_minutes(np.random.default_rng(7), jobs, 20))
    print(f"{seen['broken_runs']} of {seen['runs']} runs break a promise, {seen['overruns']} outlast their claim")
    print(f"peak {sorted(seen['peaks'])[-2]:.0%} of the slots; claims up to {seen['claim_peak']:.0%}")
except TODO:
    print("not attempted yet")

# %% tags=["check-a"]
lab.check("a")

# %% [markdown]
# ## Task b: local times in UTC
#
# Teams state their start by the clock on their wall. Write `expand(schedule, period, zone)`:
#
# * `schedule`: a list of dicts with `job_id`, `local_time` (`"HH:MM"`), `weekday` and `month_day`. A row with `weekday` (1
#   Monday to 7 Sunday) runs on that day each week, one with `month_day` (1 to 31) on that day each month, one with neither (both
#   `None`) every day; none has both;
# * `period`: two `datetime.date`, the first and the last day, both included; days are days of the zone's calendar;
# * `zone`: an IANA name such as `"Europe/Berlin"`.
#
# It returns a list of dicts with `job_id` and `starts_at`, a `datetime` in UTC, aware or naive, in any order. **One run for
# each day that is due**, at the first instant at which the zone's calendar and clock show that day and time *or later*:
#
# * a time that the change of the clock skips runs at the first instant after the gap (02:30 in Berlin, when 02:00 becomes
#   03:00: at 03:00);
# * a time that comes twice runs once, at the first of the two;
# * a day that a month does not have is its last day: 31 in June is the 30th, 30 in February is the 28th or the 29th.
#
# Not every zone changes its clock by an hour, at night, or on the hour; some skip midnight. `ZoneInfo` knows them all.
#
# **Judged** (4 points), against a scan of all instants of the period, for zones in Europe, both Americas, Australia and Asia:
# skipped times (1), doubled times (1), weekdays, ends of months and leap years (1), whole years, run for run (1).


# %% tags=["task-b"]
# Task b
def expand(schedule, period, zone):
    """Return a list of rows: job_id, starts_at (UTC)."""
    ### BEGIN SOLUTION
    tz = ZoneInfo(zone)

    def moment(wall):
        """The first instant at which the clock shows `wall` or later."""
        while True:
            at = wall.replace(tzinfo=tz, fold=0).astimezone(UTC)
            if at.astimezone(tz).replace(tzinfo=None) == wall:  # there and back again: the time exists
                return at
            wall += timedelta(minutes=1)

    def is_due(row, day):
        if row["weekday"] is not None:
            return day.isoweekday() == row["weekday"]
        if row["month_day"] is not None:
            is_last = (day + timedelta(days=1)).month != day.month
            return day.day == row["month_day"] or (is_last and row["month_day"] > day.day)
        return True

    first, last = period
    days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    return [
        {
            "job_id": row["job_id"],
            "starts_at": moment(datetime.combine(day, datetime.strptime(row["local_time"], "%H:%M").time())),
        }
        for row in schedule
        for day in days
        if is_due(row, day)
    ]
    ### END SOLUTION


# %% [markdown]
# Kestrel's own weekly and monthly jobs of Berlin, over the end of March 2026:

# %% tags=["nbval-check-output"]
from datetime import date

calendar = lab.rows("""
    select job_id, local_time, weekday::integer as weekday, month_day::integer as month_day
    from ops.cluster_jobs
    where cadence <> 'nightly' and time_zone = 'Europe/Berlin'
    order by job_id
""")
try:
    runs = expand(calendar, (date(2026, 3, 28), date(2026, 3, 31)), "Europe/Berlin")
    for run in sorted(runs, key=lambda run: (run["starts_at"], run["job_id"])):
        print(run["job_id"], f"{run['starts_at']:%Y-%m-%d %H:%M} UTC")
except TODO:
    print("not attempted yet")

# %% tags=["check-b"]
lab.check("b")

# %% [markdown]
# ## Twelve weeks later
#
# Eighty-four nights by your windows, and by the clocks of today.

# %%
lab.twelve_weeks_later()

# %% [markdown]
# ## To take home
#
# The plan of task a is a table that you can put beside your scheduler: a row for each job with its window, its owner and its
# claim. Ask each owner to sign the row. Task b is the test that your scheduler has to pass: run its preview of next year's two
# changes against it.
