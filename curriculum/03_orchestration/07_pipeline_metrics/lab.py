# %% [markdown]
# # Lab 3.7: metrics that show the slow handoff
#
# Six of Kestrel's reports are late too often. Each goes through the hands of a dozen teams, every one of which says that its own
# part is fast. You write the instruments that let anybody see work and waiting apart (task a), then find, from four weeks of
# nights, the handoff that is worth an hour of somebody's effort (task b). About 35 minutes. Lesson 3.7 has the background.
#
# You change the two cells that begin with `# Task`; what you need besides goes into the same cells. When your work is graded,
# it runs on another world: other streams, other stages, other nights.

# %% tags=["parameters"]
WORLD, SCALE = "practice-7", 0.05

# %% tags=["setup"]
import pandas as pd

from workshop import TODO, open_lab
from workshop.telemetry import record_events

lab = open_lab("3.7", world=WORLD, scale=SCALE)

# %% [markdown]
# ## The tables
#
# A *stream* is what a report goes through each night: stages (the work of one team each), and handoffs between them. A stage
# begins when the last of its handoffs is *taken*; stages without a handoff begin by their schedule.

# %%
lab.con.sql("""
    select h.stream_id, h.handoff_id, h.kind, h.from_stage_id, h.to_stage_id, r.run_on, r.ready_at, r.not_before_at, r.taken_at
    from ops.handoffs h
    join ops.handoff_runs r using (handoff_id)
    where r.run_on = date '2026-06-29' and h.stream_id = 'S1'
    order by r.taken_at, h.handoff_id
""").df()

# %% [markdown]
# ## Task a: the instruments
#
# Change: the body of `instrument`. It is given an OpenTelemetry `Meter`, creates the five instruments below, **once**, and
# returns a function `record(event)` that is then called with every event of a month, in order of time.
#
# What the teams have agreed on:
#
# | name | kind | unit | attributes | measures |
# | --- | --- | --- | --- | --- |
# | `kestrel.stage.duration` | histogram | `s` | `stream`, `stage` | work: from start to end of an attempt that succeeded |
# | `kestrel.handoff.duration` | histogram | `s` | `stream`, `handoff` | waiting: from handed over to taken |
# | `kestrel.stage.rows` | counter | `{row}` | `stream`, `stage` | rows read by attempts that succeeded |
# | `kestrel.stage.failures` | counter | `{attempt}` | `stream`, `stage`, `error.type` | attempts that failed |
# | `kestrel.handoff.waiting` | up-down counter | `{batch}` | `stream`, `handoff` | handed over, not yet taken |
#
# Events are dicts; `at_s` is a time in seconds, `run_id` names the night of a stream:
#
# | `event` | other keys |
# | --- | --- |
# | `"handed over"`, `"taken"` | `stream`, `handoff`, `kind`, `from_team`, `to_team`, `run_id`, `at_s` |
# | `"started"` | `stream`, `stage`, `team`, `run_id`, `attempt`, `at_s` |
# | `"ended"` | the same, and `outcome` (`"success"` or `"failed"`), `rows`, `error_type` and `error_message` (null on success) |
#
# An attempt that failed is followed by another of the same stage and run. Several streams run at once, and a backfill may run
# beside the night of the same stream; a month may end with
# batches that are handed over and not taken.
#
# **Judged** (5.5 points) on a month of events of all streams, by what one export of your meter holds: the five instruments
# with their kinds and units and no others (1.5); every value, by series (2); the attributes of the table and no others, and at
# most 500 series in all (1); and that the 95th percentile can be read from each histogram to within a factor of two (1): for
# every series whose p95 is a minute or more, the bucket that holds it has an upper bound of at most twice its lower one. In some
# worlds work takes up to five hours and waiting up to twelve; a histogram has at most 20 bounds, since each is paid for
# in every series.


# %% tags=["task-a"]
# Task a
def instrument(meter):
    """Creates the instruments on ``meter`` (opentelemetry.metrics.Meter) and returns ``record(event)``."""
    ### BEGIN SOLUTION
    # From a minute on, each bound is less than twice the one before: p95 is read to within that.
    bounds = [60 * 1.7**k for k in range(14)]
    work = meter.create_histogram("kestrel.stage.duration", unit="s", explicit_bucket_boundaries_advisory=bounds)
    wait = meter.create_histogram("kestrel.handoff.duration", unit="s", explicit_bucket_boundaries_advisory=bounds)
    rows = meter.create_counter("kestrel.stage.rows", unit="{row}")
    failures = meter.create_counter("kestrel.stage.failures", unit="{attempt}")
    waiting = meter.create_up_down_counter("kestrel.handoff.waiting", unit="{batch}")
    since = {}  # when what is under way began; what has ended is taken out, or this grows for ever

    def record(event):
        of = event.get("handoff") or event.get("stage")
        key, what = (event["run_id"], of), event["event"]
        if what in ("handed over", "taken"):
            labels = {"stream": event["stream"], "handoff": of}
            waiting.add(1 if what == "handed over" else -1, labels)
            if what == "taken":
                wait.record(event["at_s"] - since.pop(key), labels)
        else:
            labels = {"stream": event["stream"], "stage": of}
        if what in ("handed over", "started"):
            since[key] = event["at_s"]
        elif what == "ended":
            took_s = event["at_s"] - since.pop(key)
            if event["outcome"] == "success":
                work.record(took_s, labels)
                rows.add(event["rows"], labels)
            else:
                failures.add(1, labels | {"error.type": event["error_type"]})

    return record
    ### END SOLUTION


# %% [markdown]
# A small try: one stage that fails once, and one handoff.

# %% tags=["nbval-check-output"]
about = {"stream": "S1", "run_id": "S1#2026-06-29"}
stage = about | {"stage": "S1.clean1", "team": 5}
handoff = about | {"handoff": "S1.H01", "kind": "sensor", "from_team": 5, "to_team": 9}
bad = {"outcome": "failed", "rows": 900, "error_type": "network", "error_message": "connection reset by peer"}
good = {"outcome": "success", "rows": 1000, "error_type": None, "error_message": None}
try:
    exported = record_events(
        instrument,
        [
            stage | {"event": "started", "attempt": 1, "at_s": 1000.0},
            stage | {"event": "ended", "attempt": 1, "at_s": 1100.0} | bad,
            stage | {"event": "started", "attempt": 2, "at_s": 1160.0},
            stage | {"event": "ended", "attempt": 2, "at_s": 1760.0} | good,
            handoff | {"event": "handed over", "at_s": 1760.0},
            handoff | {"event": "taken", "at_s": 4000.0},
        ],
    )
    for metric in exported:
        shown = [(p["attributes"], p.get("sum", p.get("value"))) for p in metric["points"]]
        print(metric["name"], metric["kind"], metric["unit"], shown)
except TODO:
    print("not attempted yet")

# %% tags=["check-a"]
lab.check("a")

# %% [markdown]
# ## Task b: which handoff holds the report back
#
# Change: the body of `bottlenecks`. It gets a connection and returns a row for **every** handoff of `ops.handoffs`: its
# `handoff_id`, and `minutes_forward`, the minutes by which its stream's report (the stage with `is_last`) would end earlier if
# this one handoff were an hour shorter, as the mean of the four weeks' nights. All else stays as it was:
#
# 1. A stage takes as long as it took that night (`ended_at - started_at`) and begins when the last of its handoffs is taken; a
#    stage without handoffs begins when it did.
# 2. A handoff is **ready** when the stage before it ends. Its **delay** is what passed that night between the later of `ready_at`
#    and `not_before_at` (null: nothing holds it) and `taken_at`. In a replay it is taken its delay after the later of the new
#    ready time and the same `not_before_at`: who waits for a timer at 04:00 gains nothing by being ready at 03:00.
# 3. The handoff that is an hour shorter is taken 60 minutes earlier than it would be by rule 2, but never before it is ready.
#    If a timer or an approval holds it, that too comes an hour earlier.
#
# Rows, a DataFrame or a relation: as you like, in any order. SQL, Python or both. A handoff that holds nothing back has 0.
#
# **Judged** (4.5 points), on this world and two small ones: in each stream the handoff that brings the most is your first one;
# where the two best are within 5% of each other, either (2). The minutes of every handoff are right within a minute or 5%
# (1.5). What holds nothing back is there, with less than a minute (1).


# %% tags=["task-b"]
# Task b
def bottlenecks(con):
    """Returns rows with handoff_id and minutes_forward (minutes a night), one for every handoff."""
    ### BEGIN SOLUTION
    # Times of a path add up and the latest path decides, so each path is replayed alone and the maximum taken at the end:
    # once as it was (cut is null), and once for each handoff of the stream that is cut.
    return con.sql("""
        with recursive
        cuts as (
          select stream_id, handoff_id as cut from ops.handoffs
          union all
          select stream_id, null from ops.streams
        ),
        steps as (
          select
            h.handoff_id, h.from_stage_id, h.to_stage_id, r.run_on, r.not_before_at,
            r.taken_at - greatest(r.ready_at, coalesce(r.not_before_at, r.ready_at)) as delay,
            w.ended_at - w.started_at as work
          from ops.handoffs h
          join ops.handoff_runs r using (handoff_id)
          join ops.stage_runs w on w.stage_id = h.to_stage_id and w.run_on = r.run_on
        ),
        paths as (
          select c.cut, s.stage_id, w.run_on, w.ended_at
          from ops.stages s
          join ops.stage_runs w using (stage_id)
          join cuts c using (stream_id)
          where s.stage_id not in (select to_stage_id from ops.handoffs)
          union all
          select
            p.cut,
            n.to_stage_id,
            p.run_on,
            greatest(
              p.ended_at,
              greatest(p.ended_at, coalesce(n.not_before_at, p.ended_at)) + n.delay
              - case when n.handoff_id = p.cut then interval 1 hour else interval 0 hour end
            ) + n.work
          from paths p
          join steps n on n.from_stage_id = p.stage_id and n.run_on = p.run_on
        ),
        reports as (
          select s.stream_id, p.cut, p.run_on, max(p.ended_at) as ended_at
          from paths p
          join ops.stages s using (stage_id)
          where s.is_last
          group by all
        )
        select c.cut as handoff_id, avg(epoch(b.ended_at) - epoch(c.ended_at)) / 60 as minutes_forward
        from reports c
        join reports b on b.stream_id = c.stream_id and b.run_on = c.run_on and b.cut is null
        where c.cut is not null
        group by c.cut
        order by minutes_forward desc, handoff_id
    """)
    ### END SOLUTION


# %% tags=["nbval-check-output"]
try:
    ranking = bottlenecks(lab.con)
    ranking = ranking.df() if hasattr(ranking, "df") else pd.DataFrame(ranking)
    print(len(ranking), "handoffs")
    if "minutes_forward" in ranking:
        for row in ranking.sort_values("minutes_forward", ascending=False).head(3).itertuples():
            print(row.handoff_id, round(row.minutes_forward, 1))
except TODO:
    print("not attempted yet")

# %% tags=["check-b"]
lab.check("b")

# %% [markdown]
# ## Twelve weeks later
#
# Each week one handoff is made an hour shorter: the one that your list says, or the one with the longest wait.

# %%
lab.twelve_weeks_later()

# %% [markdown]
# ## To take home
#
# The table of instruments is a page for your own platform's handbook: names, units, attributes, and the number of series that
# they may cost. Take the ranking to the next meeting of the teams on both sides of its first line.
