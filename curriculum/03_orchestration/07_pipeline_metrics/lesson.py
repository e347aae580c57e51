# %% [markdown]
# # 3.7 Metrics that show the slow handoff
#
# *"Every team tells me that its step takes twenty minutes. There are a dozen steps, and my report is there at nine. Where is the
# rest of the night?"* The owner of one of Kestrel's reports asks what no dashboard of a single team can answer.
#
# Here you draw one report's night as a timeline, see that most of it is nobody's work, predict which handoff is worth an hour of
# effort, and follow the nights back from the report to find out. Then you meter it with OpenTelemetry: which instrument, which
# attributes, which buckets, and what each of them costs. You take away a page of agreed instruments and a way to rank handoffs.

# %%
from workshop import open_lesson
from workshop.plots import BLUE, GREY, ORANGE, plt, show
from workshop.telemetry import record_events

con = open_lesson("3.7")

# %% [markdown]
# ## One night, drawn
#
# A **stage** is the work of one team; a **handoff** lies between two of them: an event, a sensor that polls, a file transfer, a
# timer, a human who approves. A stage begins when the last thing that it needs is taken.

# %%
NIGHT = "date '2026-06-25'"
stages = con.sql(f"""
    select stage_id, team_name,
      epoch(started_at - run_on::timestamp) / 3600 as from_h, epoch(ended_at - run_on::timestamp) / 3600 as to_h
    from ops.stage_runs join ops.stages using (stage_id) join ops.teams using (team_id)
    where stream_id = 'S1' and run_on = {NIGHT} order by started_at, stage_id
""").fetchall()
waits = con.sql(f"""
    select from_stage_id, to_stage_id,
      epoch(ready_at - run_on::timestamp) / 3600 as ready_h, epoch(taken_at - run_on::timestamp) / 3600 as taken_h
    from ops.handoff_runs join ops.handoffs using (handoff_id) where stream_id = 'S1' and run_on = {NIGHT}
""").fetchall()

row = {stage: k for k, (stage, *_) in enumerate(stages)}
figure, ax = plt.subplots(figsize=(7.6, 4.2))
for before, after, ready_h, taken_h in waits:
    ax.plot([ready_h, taken_h], [row[before], row[after]], color=ORANGE, lw=1.2, alpha=0.8)
for stage, _, from_h, to_h in stages:
    ax.barh(row[stage], to_h - from_h, left=from_h, color=BLUE, height=0.6)
ax.set_yticks(range(len(stages)), [f"{stage} ({team})" for stage, team, *_ in stages], fontsize=8)
ax.invert_yaxis()
ax.set_xlabel("hours after midnight, UTC")
worked = sum(to_h - from_h for *_, from_h, to_h in stages)
ax.set_title(f"{worked:.1f} hours of work, and a report at {stages[-1][3]:.1f} h")
show(figure, "Timeline of a night: short bars of work by stage, long lines of waiting between them")

# %% [markdown]
# Blue is work, orange is waiting between teams. Several stages work at once, and still most of the night is orange. Over four
# weeks and all six streams:

# %%
con.sql("""
    with takes as (
      select stream_id, stage_id, is_last, avg(epoch(ended_at - started_at)) / 60 as min,
        avg(epoch(ended_at - run_on::timestamp)) as end_s
      from ops.stage_runs join ops.stages using (stage_id) group by all
    )
    select stream_id, round(sum(min) / 60, 1) as work_h, round(any_value(end_s) filter (is_last) / 3600, 1) as report_there_h,
      arg_max(stage_id, min) as longest_stage, round(max(min)) as takes_min
    from takes group by stream_id order by stream_id
""").df()

# %% [markdown]
# ## The naive way fails
#
# The obvious candidate is the longest stage. Say its team halves it, a quarter's work. What does the report gain? Follow a night
# back, from the report: which of its handoffs was taken last? That one decided when it began. Go to the stage before it and ask
# again, until there is nothing before, or until a clock decided: then what came before the clock had time to spare.

# %%
INTO = {}
for day, stage, *handoff in con.sql("""
    select run_on, to_stage_id, epoch(taken_at) / 60, handoff_id, from_stage_id, epoch(taken_at - ready_at) / 60,
      coalesce(not_before_at > ready_at, false)
    from ops.handoff_runs join ops.handoffs using (handoff_id)
""").fetchall():
    INTO.setdefault((day, stage), []).append(handoff)


def way_back(day, stage):
    """What decided when a stage began, the last first: (handoff, its wait, minutes to what was taken second, stage before)."""
    while (day, stage) in INTO:
        (taken_min, handoff, stage, wait_min, by_clock), *others = sorted(INTO[day, stage], reverse=True)
        lead_min = min((taken_min - second_min for second_min, *_ in others), default=float("inf"))
        yield handoff, wait_min, lead_min, None if by_clock else stage
        if by_clock:
            return


NIGHTS = sorted({day for day, _ in INTO})
LONGEST = con.sql("""
    with takes as (
      select stream_id, stage_id, is_last, avg(epoch(ended_at - started_at)) / 60 as min
      from ops.stage_runs join ops.stages using (stage_id) group by all
    )
    select arg_max(stage_id, min), max(min), any_value(stage_id) filter (is_last)
    from takes group by stream_id order by stream_id
""").fetchall()
for stage, takes, report in LONGEST:
    decides = sum(stage == report or stage in [before for *_, before in way_back(day, report)] for day in NIGHTS)
    print(f"{stage} takes {takes:.0f} min, and is on the way back in {decides} of {len(NIGHTS)} nights")

# %% [markdown]
# On a night on which it is not on the way back, the longest work could take no time at all, and the report would come at the same
# minute: something else arrived later, or a timer behind it waits anyway. Not work but *slack* decides, and no team sees its own
# slack.
#
# ## Predict
#
# The next candidates are waits. These are the six longest of stream S1.

# %%
con.sql("""
    select handoff_id, kind, from_stage_id, to_stage_id, round(avg(epoch(taken_at - ready_at)) / 60) as waits_min,
      count(not_before_at) > 0 as held_by_a_clock
    from ops.handoff_runs join ops.handoffs using (handoff_id)
    where stream_id = 'S1' group by all order by waits_min desc, handoff_id limit 6
""").df()

# %% [markdown]
# One of all handoffs of S1 is to become an hour shorter. Which brings the report forward most?
#
# 1. The first of the list: it waits longest.
# 2. The one right before the report: everything passes through it.
# 3. One that cannot be told from this list.
#
# <details><summary>Answer</summary>
#
# The third. A wait matters only where nothing else that the next stage needs comes later, and only if no timer further on takes
# back what was gained. Both are facts about the graph, not about the handoff. One night by hand shows it.
# </details>

# %%
REPORT = LONGEST[0][2]
(DRAWN,) = con.sql(f"select {NIGHT}").fetchall()[0]
for handoff, wait_min, lead_min, _ in way_back(DRAWN, REPORT):
    print(f"{handoff} waits {wait_min:.0f} min, and is taken {lead_min:.0f} min after what comes second")

# %% [markdown]
# Take an hour off one line. The stage after it begins an hour earlier; or by its lead, if that is less (inf: nothing comes
# second); or by its wait, for nobody takes what is not ready. Then read upwards: at each line above, a smaller lead takes some of
# it back, unless what comes second there has gained too. What is not in the list brings nothing on this night. Now every night,
# and the first stage only:

# %%
handoffs = con.sql("""
    select handoff_id, avg(epoch(taken_at - ready_at)) / 60 from ops.handoff_runs join ops.handoffs using (handoff_id)
    where stream_id = 'S1' group by all order by 2 desc, 1
""").fetchall()
could = {handoff: [] for handoff, _ in handoffs}
for day in NIGHTS:
    for handoff, wait_min, lead_min, _ in way_back(day, REPORT):
        could[handoff].append(min(60, wait_min, lead_min))

figure, ax = plt.subplots(figsize=(7.6, 3.6))
for k, (handoff, waits_min) in enumerate(handoffs):
    ax.bar(k - 0.2, waits_min, 0.4, color=GREY)
    ax.bar(k + 0.2, sum(could[handoff]) / len(NIGHTS), 0.4, color=BLUE)
ax.set_xticks(range(len(handoffs)), [h.partition(".")[2] for h, _ in handoffs], fontsize=8)
ax.set(ylabel="grey: waits, blue: could bring; min", xlabel="handoffs of S1, longest wait first")
ax.set_title(f"The longest wait decides on {len(could[handoffs[0][0]])} of {len(NIGHTS)} nights")
show(
    figure,
    "Bars by handoff, the longest wait first: how long each waits, and at most brings if it were an hour shorter",
)

# %% [markdown]
# Blue is a bound, not the answer: an hour brings the report no more than it brings the next stage, and often less. How much less
# takes a *replay*, the whole night once more with one handoff shorter. That is the number to argue with: not "you wait four
# hours" but "an hour less here, and the report is there so many minutes earlier". You compute it in the lab, for all handoffs.
# What brings nothing is worth knowing too, before somebody builds a faster one.
#
# ## Meter it
#
# The nights above were in a table. On a platform they have to be measured, by thirty teams in the same way. **OpenTelemetry** has
# four kinds of instruments that matter here. A *counter* adds up (failures, rows). An *up-down counter* adds and takes away (what
# is handed over and not yet taken). A *histogram* keeps a distribution in buckets (durations). A *gauge* keeps the value
# that was set last: who sets 1 at each failure has 1 after ten.
#
# An **attribute** makes a series of each of its values, for each instrument, and series are what metrics cost. A month of one
# stream, metered three ways:

# %%
month = (
    con.sql("""
    select stage_id as stage, team_name as team, stream_id || '#' || run_on as run_id, epoch(ended_at - started_at) as took_s
    from ops.stage_runs join ops.stages using (stage_id) join ops.teams using (team_id) where stream_id = 'S1' order by ended_at
""")
    .df()
    .to_dict("records")
)


def with_attributes(*names, bounds=None):
    def instrument(meter):
        spent = meter.create_histogram("kestrel.stage.duration", unit="s", explicit_bucket_boundaries_advisory=bounds)
        return lambda event: spent.record(event["took_s"], {name: event[name] for name in names})

    return instrument


for names in (("stage",), ("stage", "team"), ("stage", "run_id")):
    (metric,) = record_events(with_attributes(*names), month)
    print(f"{' and '.join(names)}: {len(metric['points'])} series")

# %% [markdown]
# The team is given with the stage and costs nothing more. The run id never comes back: a series for each stage and night, every
# night anew. To look up one run there are traces and logs; a metric is for what you group by.
#
# ## Buckets, and what p95 means
#
# From an export one knows in which bucket a percentile lies, and no more. The library's default bounds were made for
# milliseconds and end at 10,000.

# %%
night = (
    con.sql("""
    select handoff_id as stage, epoch(taken_at - ready_at) as took_s from ops.handoff_runs join ops.handoffs using (handoff_id)
    where stream_id = 'S1' and kind in ('timer', 'approval') order by 2, 1
""")
    .df()
    .to_dict("records")
)


def p95_bucket(bounds):
    (metric,) = record_events(with_attributes("stage", bounds=bounds), night)
    point = max(metric["points"], key=lambda p: p["sum"])
    edges, seen = [0, *point["bounds"], float("inf")], 0
    for low, high, count in zip(edges, edges[1:], point["buckets"], strict=False):
        seen += count
        if seen >= 0.95 * point["count"]:
            return f"p95 of {point['attributes']['stage']} is between {low:,.0f} and {high:,.0f} s"


print("default bounds:  ", p95_bucket(None))
print("geometric bounds:", p95_bucket([60 * 1.7**k for k in range(14)]))

# %% [markdown]
# Fourteen bounds in a geometric series tell a minute from two and ten hours from seventeen. And a p95 cannot be averaged: the
# mean of four weekly p95s is the p95 of nothing. Histograms can be *added*, bucket by bucket, and the percentile read afterwards;
# that is why they are kept.
#
# ## The rule, and where it ends
#
# 1. **Meter handoffs like work**: handed over, taken, and what is between. Waiting that nobody owns is on no dashboard.
# 2. **Agree on names, units and attributes once**, with the number of series that they cost. Attributes are lists you could
#    write down today.
# 3. **Rank by replay**, one hour less at a time. After each improvement rank again: another path has taken over.
#
# It ends where the night itself changes: a what-if holds for the schedule that was replayed. Two changes at once may bring more
# or less than their sum. And a human's approval is no queue: an hour less there means asking whether it has to be approved.
#
# <details><summary><b>In practice</b></summary>
#
# - **Airflow 3.3**: `[metrics] otel_on = True` exports its own metrics through OpenTelemetry. `dagrun.schedule_delay`,
#   `task.scheduled_duration` and `task.queued_duration` are waits within one DAG; a handoff between two DAGs is yours to meter.
#   `metrics_allow_list` and `metrics_block_list` keep the number of series down.
# - **Dagster 1.13**: a freshness policy on an asset is a deadline on the whole stream, not on a step; Insights (Dagster+)
#   shows durations by asset and job. The time between two teams' assets is in the event log, not in a metric.
# - **Prefect 3.9**: runs are OpenTelemetry spans; `PREFECT_CLIENT_METRICS_ENABLED` serves a client's metrics to Prometheus, and
#   `prometheus-prefect-exporter` those of the server.
# - **Collector**: bounds can be set once for all, in a *View* of the SDK, and attributes dropped in the collector's
#   `transform` processor, before anybody pays for them.
# </details>
#
# ## Back to the question
#
# Where is the rest of the night? Between the teams. A dozen steps of twenty minutes are a few hours of work; the other hours are
# timers, transfers and approvals. Most of them cost the report nothing, and a few cost all of it: the way back tells where to
# look, a replay what an hour there is worth.
#
# **You take away** the table of instruments, tested, and the ranking of all six streams. In the lab the first goes through
# OpenTelemetry's own SDK, and the second is compared with a replay of every handoff.
#
# Read on: *OpenTelemetry Specification: Metrics API and Data Model*; Mary and Tom Poppendieck, *Lean Software
# Development* (2003), on value stream maps; James Kelley and Morgan Walker, *Critical-Path Planning and Scheduling* (1959).
