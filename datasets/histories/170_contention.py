# subject: contention
# needs: organisation
# makes: ops.batch_tasks, ops.batch_pools, ops.batch_nodes, ops.batch_runs
# truth: batch_tasks
"""Six weeks of nights on one machine, with the pools and the one time-out of today, simulated run by run."""

import duckdb
import numpy as np
import pandas as pd

from workshop.sim import streams
from workshop.sim.month import TIMED_OUT
from workshop.sim.node import CORES, MEMORY_GB, draw_nights, run_nights
from workshop.world.seeds import derive_seed

DAYS = 42  # up to today; the first is a Tuesday
TIMEOUT_MINUTES = 140
HEARTBEAT_S = 30
LATE = 3  # aggregates
POOLS = {"general": 12, "memory": 4}
# By class: how many, pool, median minutes alone, spread of them between tasks and from day to day, memory in GB. An export
# writes what has changed since the last one, now little and now a lot; all others read about as much each night. So one multiple
# of the median is no time-out: short enough for the long ones, it kills the exports.
CLASSES = {
    "export": (24, "general", 5.0, 0.30, 0.95, 1.2),
    "aggregate": (24, "general", 11.0, 0.30, 0.15, 2.5),
    "join": (22, "memory", 18.0, 0.30, 0.15, 12.0),
    "train": (7, "memory", 50.0, 0.12, 0.25, 15.0),
}
SUBJECTS = ("orders", "payments", "parcels", "carts", "sessions", "customers", "coupons", "returns", "stock", "refunds", "routes",
            "searches", "prices", "baskets", "ledger", "loyalty", "clicks", "reviews", "payouts", "demand", "invoices", "leads",
            "tickets", "depots", "tax")  # fmt: skip


def build(con: duckdb.DuckDBPyConnection, seed: bytes, scale: float) -> None:
    """Writes the tables; they do not shrink with scale."""
    hidden, visible = derive_seed(seed, "truth/contention"), derive_seed(seed, "world/contention")
    tasks = _tasks(hidden, [t for (t,) in con.execute("select team_id from ops.teams order by team_id").fetchall()])
    # Some have run by day for two weeks only: too few runs alone to tell what company costs them. None of those that start the
    # night: who takes the first of them to be alone is told so by its slow-down.
    among = tasks.task_id[(tasks.task_class == "aggregate") & (tasks.due_minute > 0)]
    late = streams(hidden, "late").choice(among, LATE, replace=False)
    drawn = draw_nights(tasks, hidden, DAYS, alone=True, since=dict.fromkeys(late, DAYS - 14))
    alike = dict.fromkeys(tasks.task_id, 0.0)
    run = run_nights(drawn, POOLS, dict.fromkeys(tasks.task_id, float(TIMEOUT_MINUTES)), alike)
    plan = drawn.plan
    error = np.zeros(len(plan), dtype=int)
    error[run.failures.task_run] = run.failures.error
    took = run.ended_s - run.started_s
    # What hangs gives no sign of life after a while; what works does until its end.
    quiet = streams(visible, "quiet").uniform(0.05, 0.6, len(plan))
    alive = np.where(drawn.hangs, np.minimum(quiet * 1800.0, took), took)
    runs = pd.DataFrame(
        {
            "task_id": drawn.tasks.task_id.to_numpy()[plan.task],
            "queued_s": run.queued_s,
            "started_s": run.started_s,
            "ended_s": run.ended_s,
            "heartbeat_s": run.started_s + HEARTBEAT_S * np.floor(alive / HEARTBEAT_S),
            "outcome": np.where(error == 0, "success", np.where(error == TIMED_OUT, "killed", "out of memory")),
            "input_rows": drawn.rows,
            "memory_gb": drawn.draws.memory_bytes.round(2),
        }
    )
    frames = {
        "runs": runs,
        "tasks": tasks,
        "pools": pd.DataFrame(list(POOLS.items()), columns=["pool", "slots"]),
        "nodes": pd.DataFrame([("heavy-1", CORES, MEMORY_GB)], columns=["node_id", "cores", "memory_gb"]),
    }
    for name, frame in frames.items():
        con.register(f"frame_{name}", frame)
    con.execute(TABLES.format(timeout=TIMEOUT_MINUTES))
    for name in frames:
        con.unregister(f"frame_{name}")


def _tasks(hidden: bytes, teams: list[int]) -> pd.DataFrame:
    rng = streams(hidden, "tasks")
    rows = []
    for kind, (count, pool, minutes, between, daily, memory) in CLASSES.items():
        for subject in sorted(str(s) for s in rng.permutation(SUBJECTS)[:count]):
            alone_s = 60 * minutes * np.exp(between * rng.standard_normal())
            krows = 200 * np.exp(0.9 * rng.standard_normal())
            # Two of three are due at midnight or at one.
            due = float(rng.choice([0, 60])) if rng.random() < 0.66 else 15.0 * int(rng.integers(0, 7))
            rows.append(
                (
                    f"{subject}.{kind}", kind, pool, int(rng.choice(teams)), due, 1000 * krows, alone_s / krows,
                    daily * np.exp(0.10 * rng.standard_normal()), memory * np.exp(0.15 * rng.standard_normal()),
                )
            )  # fmt: skip
    columns = ["task_id", "task_class", "pool", "team_id", "due_minute", "rows", "s_per_krow", "day_sigma", "memory_gb"]
    return pd.DataFrame(rows, columns=columns)


TABLES = """
create temp macro moment(s) as make_timestamp(1779148800000000 + 1000 * round(s * 1000)::bigint);

create table ops.batch_nodes as
select node_id, cores::integer as cores, memory_gb::double as memory_gb
from frame_nodes
order by node_id;

create table ops.batch_pools as
select pool, slots::integer as slots
from frame_pools
order by pool;

create table ops.batch_tasks as
select
  task_id,
  task_class,
  pool,
  team_id::integer as team_id,
  due_minute::integer as due_minute,
  {timeout}::integer as timeout_minutes
from frame_tasks
order by task_id;

create table ops.batch_runs as
select
  row_number() over (order by started_s, task_id)::bigint as batch_run_id,
  task_id,
  moment(queued_s) as queued_at,
  moment(started_s) as started_at,
  moment(ended_s) as ended_at,
  moment(heartbeat_s) as heartbeat_at,
  outcome,
  input_rows::bigint as input_rows,
  memory_gb::double as peak_memory_gb
from frame_runs
order by started_s, task_id;

create table truth.batch_tasks as
select task_id, task_class, pool, due_minute, rows, s_per_krow, day_sigma, memory_gb
from frame_tasks
order by task_id;

drop macro moment;

comment on table ops.batch_nodes is 'The machine on which the heavy jobs of all domains run.';
comment on column ops.batch_nodes.node_id is 'Key.';
comment on column ops.batch_nodes.cores is 'Processor cores.';
comment on column ops.batch_nodes.memory_gb is 'Memory, GB.';

comment on table ops.batch_pools is 'How many jobs of a pool may run at once, as set today.';
comment on column ops.batch_pools.pool is 'Key.';
comment on column ops.batch_pools.slots is 'Jobs that can run at once.';

comment on table ops.batch_tasks is 'The heavy jobs: each runs once a night, and once a week once more by day.';
comment on column ops.batch_tasks.task_id is 'Key.';
comment on column ops.batch_tasks.task_class is 'export, aggregate, join or train.';
comment on column ops.batch_tasks.pool is 'References ops.batch_pools.';
comment on column ops.batch_tasks.team_id is 'Owner; references ops.teams.';
comment on column ops.batch_tasks.due_minute is 'When it is queued, minutes after midnight (UTC).';
comment on column ops.batch_tasks.timeout_minutes is 'It is killed that long after its start, as set today.';

comment on table ops.batch_runs is 'One row for each run of a heavy job, over the last six weeks.';
comment on column ops.batch_runs.batch_run_id is 'Key, in order of time.';
comment on column ops.batch_runs.task_id is 'References ops.batch_tasks.';
comment on column ops.batch_runs.queued_at is 'Was due (UTC).';
comment on column ops.batch_runs.started_at is 'Got a slot (UTC).';
comment on column ops.batch_runs.ended_at is 'Gave the slot back (UTC).';
comment on column ops.batch_runs.heartbeat_at is 'Last sign of life (UTC), sent every 30 seconds while it works.';
comment on column ops.batch_runs.outcome is 'success, killed (it ran into its time-out) or out of memory.';
comment on column ops.batch_runs.input_rows is 'Rows read.';
comment on column ops.batch_runs.peak_memory_gb is 'Highest memory in use, GB.';
"""
