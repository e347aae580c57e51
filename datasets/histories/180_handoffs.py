# subject: handoffs
# needs: pipelines
# makes: ops.streams, ops.stages, ops.handoffs, ops.stage_runs, ops.handoff_runs
# truth: handoff_gains
"""Four weeks of six value streams: from the sources to a report, through the hands of several teams.

What a stream gains from a shorter handoff is replayed here; a stream is drawn again until the handoff that holds its report
back is neither the one with the longest wait nor next to the longest work, and stands out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
import pandas as pd

from workshop.sim import streams
from workshop.world.seeds import derive_seed

DAYS = 28  # up to today
STREAMS = 6
HOUR_MIN = 60.0
# Stages of a layer: what they are called, and median minutes of work.
LAYERS = (
    (("extract", 12), ("extract", 15), ("extract", 9)),
    (("clean", 14), ("conform", 18), ("dedupe", 11)),
    (("match", 25), ("enrich", 20), ("score", 30)),
    (("mart", 28), ("snapshot", 16)),
    (("check", 8), ("aggregate", 15)),
    (("report", 10),),
)
# How work changes hands: weight, and how it waits. A timer and an approval hold it until a time of day.
KINDS = {"event": 0.3, "sensor": 0.28, "file transfer": 0.22, "timer": 0.12, "approval": 0.08}


@dataclass(frozen=True, eq=False)
class Stream:
    """One stream. Arrays by day come first: work_min (days, stages); delay_min, not_before_min (days, edges), minutes after
    midnight, NaN where nothing holds it. edges (m, 2): stage before, stage after, both in topological order."""

    layer: np.ndarray
    names: Sequence[str]
    teams: np.ndarray
    edges: np.ndarray
    kinds: Sequence[str]
    start_min: np.ndarray
    work_min: np.ndarray
    delay_min: np.ndarray
    not_before_min: np.ndarray


def replay(stream: Stream, shorter: Mapping[int, float] | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (started, ended) of stages (days, stages) and taken of handoffs (days, edges), minutes after midnight.

    Work is handed over when a stage ends, and taken when nothing holds it any longer and its delay is over; a stage starts when
    all that it needs is taken. shorter: by handoff, minutes by which it is taken earlier, but never before it is ready.
    """
    cut = shorter or {}
    days, n = stream.work_min.shape
    started = np.tile(stream.start_min, (days, 1))
    ended = np.empty((days, n))
    taken = np.empty((days, len(stream.edges)))
    inbound = [np.flatnonzero(stream.edges[:, 1] == k) for k in range(n)]
    for k in range(n):
        for e in inbound[k].tolist():
            ready = ended[:, stream.edges[e, 0]]
            taken[:, e] = np.fmax(ready, stream.not_before_min[:, e]) + stream.delay_min[:, e]
            if e in cut:
                taken[:, e] = np.maximum(ready, taken[:, e] - cut[e])
            started[:, k] = np.maximum(started[:, k], taken[:, e])
        ended[:, k] = started[:, k] + stream.work_min[:, k]
    return started, ended, taken


def gains_min(stream: Stream) -> np.ndarray:
    """Return by how many minutes a day the report comes forward when a handoff is one hour shorter, shape (edges,)."""
    last = replay(stream)[1][:, -1]
    return np.array([(last - replay(stream, {e: HOUR_MIN})[1][:, -1]).mean() for e in range(len(stream.edges))])


def build(con: duckdb.DuckDBPyConnection, seed: bytes, scale: float) -> None:
    """Writes the tables; they do not shrink with scale."""
    secret = derive_seed(seed, "truth/handoffs")
    reports = con.execute(
        """
        select d.dag_id, d.dag_name, d.team_id
        from ops.dags d
        where d.purpose = 'report' and split_part(d.schedule_cron, ' ', 3) = '*' and split_part(d.schedule_cron, ' ', 5) = '*'
        order by hash(d.dag_id || 'streams'), d.dag_id
        limit ?
        """,
        [STREAMS],
    ).fetchall()
    teams = [t for (t,) in con.execute("select team_id from ops.teams where is_active order by team_id").fetchall()]
    tables: dict[str, list[tuple]] = {
        name: [] for name in ("streams", "stages", "handoffs", "stage_runs", "handoff_runs", "gains")
    }
    columns = {
        "streams": ["stream_id", "dag_id", "stream_name", "team_id"],
        "stages": ["stage_id", "stream_id", "stage_name", "team_id", "is_last"],
        "handoffs": ["handoff_id", "stream_id", "from_stage_id", "to_stage_id", "kind"],
        "stage_runs": ["stage_id", "day", "started_min", "ended_min", "input_rows"],
        "handoff_runs": ["handoff_id", "day", "ready_min", "not_before_min", "taken_min"],
        "gains": ["handoff_id", "minutes_forward"],
    }
    tables: dict[str, list[tuple]] = {name: [] for name in columns}
    for number, (dag_id, name, team_id) in enumerate(reports, 1):
        stream, gains = next(
            found
            for k in range(10_000)
            if (found := _if_telling(_draw(streams(secret, f"stream/{number}/{k}"), np.array(teams), team_id)))
        )
        _rows(tables, f"S{number}", (dag_id, name, team_id), stream, gains)
    for name, rows in tables.items():
        con.register(f"frame_{name}", pd.DataFrame(rows, columns=columns[name]))
    con.execute(TABLES)
    for name in tables:
        con.unregister(f"frame_{name}")


def _draw(rng: np.random.Generator, teams: np.ndarray, owner: int) -> Stream:
    size = [3, int(rng.integers(2, 4)), int(rng.integers(2, 4)), 2, 2, 1]
    layer = np.repeat(np.arange(len(size)), size)
    first = np.cumsum(size) - np.array(size)
    names = [LAYERS[k][i - first[k]][0] for i, k in enumerate(layer.tolist())]
    median = np.array([LAYERS[k][i - first[k]][1] for i, k in enumerate(layer.tolist())], dtype=float)
    edges: list[tuple[int, int]] = []
    for k in range(1, len(size)):
        above, here = first[k - 1] + np.arange(size[k - 1]), first[k] + np.arange(size[k])
        for stage in here.tolist():
            many = min(len(above), 1 + int(rng.random() < 0.6))
            edges += [(int(a), stage) for a in rng.permutation(above)[:many]]
        unused = set(above.tolist()) - {a for a, _ in edges}
        edges += [(a, int(rng.choice(here))) for a in sorted(unused)]
    edges = sorted(set(edges), key=lambda e: (e[1], e[0]))
    n, m = len(layer), len(edges)
    mine = rng.permutation(teams)[:n]
    mine[-1] = owner
    median *= rng.lognormal(0, 0.3, n)
    median[rng.integers(3, n - 3)] *= rng.uniform(2.5, 4.0)  # one stage that takes long, on the path or not
    kinds = rng.choice(list(KINDS), p=list(KINDS.values()), size=m).tolist()
    delay, not_before = np.zeros((DAYS, m)), np.full((DAYS, m), np.nan)
    weekend = (np.arange(DAYS) + 1) % 7 >= 5  # the first day was a Tuesday
    for e, kind in enumerate(kinds):
        if kind == "event":
            delay[:, e] = rng.exponential(1.0, DAYS)
        elif kind == "sensor":
            delay[:, e] = rng.uniform(0, rng.choice([15, 30, 60]), DAYS)
        elif kind == "file transfer":
            delay[:, e] = rng.uniform(12, 70) * rng.lognormal(0, 0.25, DAYS)
        elif kind == "timer":
            not_before[:, e] = 15 * rng.integers(4, 26)
        else:  # somebody looks at it, later at weekends
            not_before[:, e] = 30 * rng.integers(11, 16) + 60 * weekend
            delay[:, e] = rng.uniform(4, 30, DAYS)
    work = median * rng.lognormal(0, 0.18, (DAYS, n)) * np.where(weekend, 1.2, 1.0)[:, None]
    start = np.where(layer == 0, 15.0 * rng.integers(0, 7, n), 0.0)
    return Stream(layer, names, mine, np.array(edges), kinds, start, work, delay, not_before)


def _if_telling(stream: Stream) -> tuple[Stream, np.ndarray] | None:
    """The stream and its gains when one handoff stands out, and neither waits nor work would have pointed at it."""
    gains = gains_min(stream)
    started, ended, taken = replay(stream)
    order = np.argsort(-gains)
    waits = (taken - ended[:, stream.edges[:, 0]]).mean(axis=0)
    longest = int((ended - started).mean(axis=0).argmax())
    done = ended[:, -1].mean()
    top = int(order[0])
    fits = (
        gains[top] >= 20
        and gains[order[1]] <= 0.75 * gains[top]
        and gains[order[2]] >= 3
        and int(waits.argmax()) != top
        and gains[int(waits.argmax())] <= 0.6 * gains[top]
        and longest not in stream.edges[top]
        and 5 * 60 <= done <= 12 * 60
        and (~np.isnan(stream.not_before_min)).any()
    )
    return (stream, gains) if fits else None


def _rows(tables: dict[str, list[tuple]], stream_id: str, about: tuple, stream: Stream, gains: np.ndarray) -> None:
    dag_id, name, team_id = about
    tables["streams"].append((stream_id, dag_id, name.removesuffix("_report"), team_id))
    seen: dict[str, int] = {}
    ids = []
    for k, stage in enumerate(stream.names):
        seen[stage] = seen.get(stage, 0) + 1
        ids.append(f"{stream_id}.{stage}{seen[stage] if stream.names.count(stage) > 1 else ''}")
        tables["stages"].append((ids[k], stream_id, stage, int(stream.teams[k]), k == len(stream.names) - 1))
    started, ended, taken = replay(stream)
    rows = np.round(20_000 * stream.work_min / stream.work_min.mean(axis=0)).astype(int)
    for e, (a, b) in enumerate(stream.edges.tolist()):
        handoff_id = f"{stream_id}.H{e + 1:02d}"
        tables["handoffs"].append((handoff_id, stream_id, ids[a], ids[b], stream.kinds[e]))
        tables["gains"].append((handoff_id, float(gains[e])))
        tables["handoff_runs"] += [
            (handoff_id, d, ended[d, a], stream.not_before_min[d, e], taken[d, e]) for d in range(DAYS)
        ]
    for k in range(len(ids)):
        tables["stage_runs"] += [(ids[k], d, started[d, k], ended[d, k], int(rows[d, k])) for d in range(DAYS)]


TABLES = """
create temp macro at_minute(d, m) as
  make_timestamp(1780358400000000 + d * 86400000000 + 1000 * round(m * 60000)::bigint);

create table ops.streams as
select stream_id, dag_id, stream_name, team_id::integer as team_id
from frame_streams
order by stream_id;

create table ops.stages as
select stage_id, stream_id, stage_name, team_id::integer as team_id, is_last
from frame_stages
order by stage_id;

create table ops.handoffs as
select handoff_id, stream_id, from_stage_id, to_stage_id, kind
from frame_handoffs
order by handoff_id;

create table ops.stage_runs as
select
  stage_id,
  date '2026-06-02' + day::integer as run_on,
  at_minute(day, started_min) as started_at,
  at_minute(day, ended_min) as ended_at,
  input_rows::bigint as input_rows
from frame_stage_runs
order by stage_id, run_on;

create table ops.handoff_runs as
select
  handoff_id,
  date '2026-06-02' + day::integer as run_on,
  at_minute(day, ready_min) as ready_at,
  case when not isnan(not_before_min) then at_minute(day, not_before_min) end as not_before_at,
  at_minute(day, taken_min) as taken_at
from frame_handoff_runs
order by handoff_id, run_on;

create table truth.handoff_gains as
select handoff_id, minutes_forward
from frame_gains
order by handoff_id;

drop macro at_minute;

comment on table ops.streams is 'Value streams: what a report goes through from the sources to its readers, every night.';
comment on column ops.streams.stream_id is 'Key.';
comment on column ops.streams.dag_id is 'The report''s DAG; references ops.dags.';
comment on column ops.streams.stream_name is 'Domain and subject of the report.';
comment on column ops.streams.team_id is 'Team that answers for the report; references ops.teams.';

comment on table ops.stages is 'Stages of the streams; each is the work of one team.';
comment on column ops.stages.stage_id is 'Key.';
comment on column ops.stages.stream_id is 'References ops.streams.';
comment on column ops.stages.stage_name is 'What is done.';
comment on column ops.stages.team_id is 'Team that does it; references ops.teams.';
comment on column ops.stages.is_last is 'The report itself: when it ends, readers have it.';

comment on table ops.handoffs is 'Where one team''s result becomes another team''s input.';
comment on column ops.handoffs.handoff_id is 'Key.';
comment on column ops.handoffs.stream_id is 'References ops.streams.';
comment on column ops.handoffs.from_stage_id is 'Stage that hands over; references ops.stages.';
comment on column ops.handoffs.to_stage_id is 'Stage that needs it; references ops.stages.';
comment on column ops.handoffs.kind is 'event, sensor (polls), file transfer, timer (at a time of day) or approval (by a human).';

comment on table ops.stage_runs is 'One row for each stage and night, over the last four weeks.';
comment on column ops.stage_runs.stage_id is 'References ops.stages; key with run_on.';
comment on column ops.stage_runs.run_on is 'Day on which the night ends.';
comment on column ops.stage_runs.started_at is 'When all its inputs had been taken, or by its schedule where it has none (UTC).';
comment on column ops.stage_runs.ended_at is 'Its result was handed over (UTC).';
comment on column ops.stage_runs.input_rows is 'Rows read.';

comment on table ops.handoff_runs is 'One row for each handoff and night, over the last four weeks.';
comment on column ops.handoff_runs.handoff_id is 'References ops.handoffs; key with run_on.';
comment on column ops.handoff_runs.run_on is 'Day on which the night ends.';
comment on column ops.handoff_runs.ready_at is 'The stage before had ended (UTC).';
comment on column ops.handoff_runs.not_before_at is 'Timer or office hours held it until then (UTC); null: nothing of the kind.';
comment on column ops.handoff_runs.taken_at is 'The next team had it (UTC).';
"""
