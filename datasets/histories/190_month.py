# subject: month
# needs: runs, failures
# makes: ops.month_runs, ops.month_attempts
"""June's log of the DAGs that reports wait for, with what a dashboard has to bear: a day on which more than one run in twenty was
never done, runs due shortly before midnight, a backfill that fills a pool over midnight, and attempts that still run.
"""

from datetime import datetime, timedelta

import duckdb
import numpy as np
import pandas as pd

from workshop.sim import streams
from workshop.world.seeds import derive_seed

FIRST = datetime(2026, 6, 2)
DAYS = 28  # up to today
LOST_SHARE = 0.12  # of the runs of the worst day
EVENINGS, AN_EVENING = 8, 14  # days with runs due shortly before midnight, and how many
BACKFILLS = 5
STILL_RUNNING = 5


def build(con: duckdb.DuckDBPyConnection, seed: bytes, scale: float) -> None:
    """Writes the tables; they do not shrink with scale."""
    rng = streams(derive_seed(seed, "truth/month"), "backfills")
    con.execute(COPY)
    pools = con.execute(POOLS).fetchall()
    scarce, ample = pools[0], pools[-1]
    days = rng.permutation(np.arange(2, DAYS - 2))
    con.execute(CHOOSE_LOST, {"day": FIRST + timedelta(days=int(days[0])), "share": LOST_SHARE})
    con.execute(LOSE)
    rows: list[tuple] = []

    def add(where: tuple, due: datetime, waits_s: float, runs_s: float | None) -> None:
        """One run of one task in a pool; None: it still runs."""
        started = due + timedelta(seconds=waits_s)
        rows.append((*where[2:], where[0], due, started, runs_s and started + timedelta(seconds=runs_s)))

    for day in days[1 : 1 + EVENINGS].tolist():
        for _ in range(AN_EVENING):
            due = FIRST + timedelta(days=day, hours=23, minutes=int(rng.integers(35, 58)))
            add(ample, due, float(rng.uniform(5, 60)), 60 * float(rng.uniform(40, 300)))
    for day in days[-BACKFILLS:].tolist():
        for _ in range(scarce[1] - 1):
            due = FIRST + timedelta(days=day, hours=22, minutes=10)
            add(scarce, due, 60 * float(rng.uniform(5, 30)), 60 * float(rng.uniform(200, 260)))
    for _ in range(STILL_RUNNING):
        add(scarce, FIRST + timedelta(days=DAYS - 1, hours=20), float(rng.uniform(5, 90)), None)

    first = int(con.execute("select max(task_run_id) + 1 from ops.month_runs").fetchall()[0][0])
    frame = pd.DataFrame(rows, columns=["dag_id", "task_id", "pool", "scheduled_at", "started_at", "ended_at"])
    frame.insert(0, "task_run_id", np.arange(first, first + len(frame)))
    con.register("frame_backfills", frame)
    con.execute(ADD)
    con.unregister("frame_backfills")
    con.execute(COMMENTS)


COPY = """
create table ops.month_runs as
select task_run_id, run_id, dag_id, task_id, pool, scheduled_at, started_at, ended_at, outcome
from ops.task_runs
where dag_id in (select dag_id from ops.task_resources join ops.tasks using (task_id))
order by task_run_id;
create table ops.month_attempts as
select task_run_id, attempt_no, started_at, ended_at, outcome, error_class
from ops.task_attempts
where task_run_id in (select task_run_id from ops.month_runs)
order by task_run_id, attempt_no;
"""

# The scarcest first.
POOLS = """
select p.pool, p.slots::integer as slots, arg_min(r.dag_id, r.task_id), min(r.task_id)
from ops.month_runs r
join ops.pools p using (pool)
group by p.pool, p.slots
order by slots, p.pool
"""

# The last task of some runs of one day fails for good, at its last attempt.
CHOOSE_LOST = """
create temp table lost as
select arg_max(task_run_id, started_at) as task_run_id
from ops.month_runs
where scheduled_at::date = $day::date
group by run_id
having bool_and(outcome = 'success') and (hash(run_id || 'lost') % 1000) / 1000.0 < $share
"""

LOSE = """
update ops.month_runs set outcome = 'failed' where task_run_id in (select task_run_id from lost);
update ops.month_attempts a
set outcome = 'failed', error_class = 'network'
where task_run_id in (select task_run_id from lost)
  and attempt_no = (select max(attempt_no) from ops.month_attempts b where b.task_run_id = a.task_run_id);
drop table lost;
"""

ADD = """
insert into ops.month_runs
select
  task_run_id, 'backfill#' || task_run_id, dag_id, task_id, pool, scheduled_at, started_at, ended_at,
  case when ended_at is null then 'running' else 'success' end
from frame_backfills
order by task_run_id;
insert into ops.month_attempts
select task_run_id, 1, started_at, ended_at, case when ended_at is null then 'running' else 'success' end, null
from frame_backfills
order by task_run_id
"""

COMMENTS = """
comment on table ops.month_runs is 'Four weeks of task runs of the DAGs that reports wait for, backfills included.';
comment on column ops.month_runs.task_run_id is 'Key.';
comment on column ops.month_runs.run_id is 'The run of the DAG; the same for all its tasks.';
comment on column ops.month_runs.dag_id is 'References ops.dags.';
comment on column ops.month_runs.task_id is 'References ops.tasks.';
comment on column ops.month_runs.pool is 'Pool in which it ran; references ops.pools.';
comment on column ops.month_runs.scheduled_at is 'When the run was due (UTC).';
comment on column ops.month_runs.started_at is 'First attempt got a slot (UTC); null: never.';
comment on column ops.month_runs.ended_at is 'Last attempt ended (UTC); null: still running, or never started.';
comment on column ops.month_runs.outcome is 'success, failed, upstream failed, running or queued.';
comment on table ops.month_attempts is 'The attempts of these task runs.';
comment on column ops.month_attempts.task_run_id is 'References ops.month_runs; key with attempt_no.';
comment on column ops.month_attempts.attempt_no is 'From 1.';
comment on column ops.month_attempts.started_at is 'Got a slot (UTC).';
comment on column ops.month_attempts.ended_at is 'Gave the slot back (UTC); null: still running.';
comment on column ops.month_attempts.outcome is 'success, failed or running.';
comment on column ops.month_attempts.error_class is 'network, out of memory, bad input or permission; null: no error.';
"""
