# subject: failures
# needs: pipelines, runs
# makes: ops.resources, ops.task_resources, ops.failed_attempts, ops.outages, ops.alerts
# truth: failure_rates, resource_profiles
"""A quarter of failed attempts on the DAGs that reports wait for, simulated with the settings of today."""

import duckdb
import numpy as np
import pandas as pd

from workshop.sim import simulate_month, streams
from workshop.sim.month import ERRORS, INPUT, MEMORY, NETWORK, NOBODY, PERMISSION, TIMED_OUT
from workshop.sim.retries import Platform, draw_days, todays_settings
from workshop.world.seeds import derive_seed

FIRST_DAY, DAYS = np.datetime64("2026-03-31"), 91  # thirteen weeks up to today
# What tasks read and write: whose, outages a month, their median minutes, attempts a minute borne in the hour after one.
RESOURCES = {
    "storefront events": ("source system", "storefront", 1.2, 35, 5),
    "order service": ("source system", "orders", 0.8, 30, 5),
    "payment provider": ("vendor", "payments", 1.0, 45, 4),
    "warehouse management": ("source system", "logistics", 1.6, 60, 3),
    "CRM": ("vendor", "customer", 1.4, 50, 3),
    "ad platforms": ("vendor", "marketing", 2.0, 40, 4),
    "ERP": ("source system", "finance", 1.2, 75, 2),
    "audit store": ("source system", "platform", 0.5, 30, 5),
    "feature store": ("platform", "ml", 0.7, 30, 5),
    "object store": ("platform", None, 0.6, 25, 12),
    "analytics warehouse": ("platform", None, 1.0, 30, 12),
    "partner gateway": ("vendor", None, 1.5, 55, 4),
}
# By class and run, per mille: network, out of memory, bad input, permission, hangs.
RATES = {
    "extract": (9.0, 0.4, 1.2, 0.6, 1.4),
    "load": (3.5, 0.8, 1.6, 0.3, 0.6),
    "transform": (1.2, 4.5, 1.8, 0.2, 0.7),
    "service call": (8.0, 0.2, 2.5, 0.5, 1.5),
    "check": (1.0, 0.2, 4.0, 0.2, 0.2),
    "publish": (2.5, 0.2, 0.5, 0.8, 0.4),
    "export": (7.0, 0.2, 0.8, 2.2, 1.0),
    "train": (1.0, 9.0, 1.0, 0.2, 1.5),
}
MESSAGES = {
    NETWORK: (
        "{r}: connection reset by peer", "{r}: HTTP 503 Service Unavailable", "{r}: HTTP 429 Too Many Requests",
        "{r}: could not connect: timed out after 20 s", "{r}: name resolution failed",
    ),
    MEMORY: (
        "Killed (exit code 137)", "MemoryError: unable to allocate {n}.{m} GiB",
        "Out of Memory Error: could not allocate block of size 256.0 KiB ({n}.{m} GiB/{n}.{m} GiB used)",
    ),
    INPUT: (
        "Conversion Error: invalid date '2026-0{n}-31'", "Constraint Error: NOT NULL constraint failed in {n}{m} rows",
        "column 'discount_pct' is missing from the input", "Invalid Input Error: {n}{m} rows have two currencies",
    ),
    PERMISSION: (
        "permission denied for schema mart", "403 Forbidden: service account may not write here",
        "credential version {n} was revoked",
    ),
    TIMED_OUT: ("killed: ran into its time-out", "killed: no heartbeat, ran into its time-out"),
}  # fmt: skip


def build(con: duckdb.DuckDBPyConnection, seed: bytes, scale: float) -> None:
    """Writes the tables; they do not shrink with scale."""
    visible, hidden = derive_seed(seed, "world/failures"), derive_seed(seed, "truth/failures")
    platform = _platform(con, visible, hidden)
    drawn = draw_days(platform, hidden, FIRST_DAY, DAYS)
    run = simulate_month(drawn.plan, drawn.draws, todays_settings(platform, drawn.plan), drawn.pools, drawn.repair_s)
    tasks, plan, failed = platform.tasks, drawn.plan, run.failures
    task = plan.task[failed.task_run]
    order = np.lexsort((failed.attempt, failed.task_run))
    following = np.full(len(order), -1)  # the next failed attempt of the same run
    same = failed.task_run[order][1:] == failed.task_run[order][:-1]
    following[order[:-1][same]] = order[1:][same]
    rng = streams(visible, "messages")
    kind, n, m = rng.random(len(task)), rng.integers(1, 9, len(task)), rng.integers(0, 9, len(task))
    names = [*platform.resources.resource_id, "?"]
    texts = [
        MESSAGES[e][int(k * len(MESSAGES[e]))].format(r=names[r], n=a, m=b)
        for e, k, r, a, b in zip(
            failed.error.tolist(), kind.tolist(), tasks.resource.to_numpy()[task].tolist(), n.tolist(), m.tolist(), strict=True
        )
    ]  # fmt: skip
    attempts = pd.DataFrame(
        {
            "task_run": failed.task_run,
            "dag_id": tasks.dag_id.to_numpy()[task],
            "task_id": tasks.task_id.to_numpy()[task],
            "resource_id": [names[r] if r >= 0 else None for r in tasks.resource.to_numpy()[task]],
            "scheduled_s": plan.scheduled_s[failed.task_run],
            "attempt_no": failed.attempt,
            "started_s": failed.started_s,
            "failed_s": failed.ended_s,
            "error_class": [ERRORS[e] for e in failed.error.tolist()],
            "error_message": texts,
            "retried_by": np.array([None, "scheduler", "human"])[failed.retried_by],
            "next_outcome": np.where(failed.retried_by == NOBODY, None, np.where(following >= 0, "failed", "success")),
        }
    )
    attempts = attempts[attempts.failed_s < DAYS * 86_400]
    outages = pd.DataFrame(
        [(names[o.resource], o.start_s, o.end_s) for o in drawn.draws.outages],
        columns=["resource_id", "started_s", "ended_s"],
    )
    con.register("frame_attempts", attempts)
    con.register("frame_outages", outages)
    con.register("frame_resources", platform.resources)
    con.register("frame_tasks", tasks.assign(resource_id=[names[r] if r >= 0 else None for r in tasks.resource]))
    con.execute(TABLES)
    for name in ("attempts", "outages", "resources", "tasks"):
        con.unregister(f"frame_{name}")


def _platform(con: duckdb.DuckDBPyConnection, visible: bytes, hidden: bytes) -> Platform:
    tasks = con.execute(
        """
        with recursive
        edges as (
          select distinct t.dag_id, u.dag_id as upstream_dag_id
          from ops.task_deps s
          join ops.tasks t using (task_id)
          join ops.tasks u
            on u.task_id = s.upstream_task_id
          where s.is_sensor
        ),
        wanted (dag_id) as (
          select dag_id from ops.dags where purpose = 'report' and schedule_cron like '% * * *'
          union
          select e.upstream_dag_id from edges e join wanted using (dag_id)
        ),
        usual as (
          select task_id, median(epoch(ended_at - started_at)) as median_s, median(peak_memory_bytes) as memory_bytes
          from ops.task_runs
          where outcome = 'success'
          group by task_id
        )
        select
          t.dag_id, t.task_id, t.step_no, d.team_id, o.domain, d.purpose, t.task_class, t.is_idempotent, d.criticality,
          d.deadline_minutes, d.schedule_cron, t.pool, t.max_attempts::integer as max_attempts, t.timeout_minutes,
          epoch(timezone(d.time_zone, timestamptz '2026-06-15 00:00:00+00') - timestamp '2026-06-15')::integer as offset_s,
          u.median_s, u.memory_bytes
        from ops.tasks t
        join ops.dags d using (dag_id)
        join ops.teams o using (team_id)
        join wanted using (dag_id)
        join usual u using (task_id)
        order by t.dag_id, t.step_no
        """
    ).df()
    deps = con.execute("select task_id, upstream_task_id, is_sensor from ops.task_deps order by all").df()
    deps = deps[deps.task_id.isin(tasks.task_id) & deps.upstream_task_id.isin(tasks.task_id)]
    names = list(RESOURCES)
    of_domain = {domain: k for k, (_, domain, *_) in enumerate(RESOURCES.values()) if domain}
    draw = streams(visible, "what it reads").random(len(tasks))
    warehouse, files, gateway = (names.index(n) for n in ("analytics warehouse", "object store", "partner gateway"))
    resource = np.select(
        [
            (tasks.task_class == "extract") & (tasks.purpose == "landed"),
            tasks.task_class == "export",
            tasks.task_class == "train",
            tasks.task_class == "service call",
            tasks.task_class == "publish",
            tasks.task_class == "check",
        ],
        [tasks.domain.map(of_domain), gateway, of_domain["ml"], gateway, np.where(draw < 0.5, files, warehouse), -1],
        np.where(draw < 0.75, warehouse, files),
    )
    level = streams(hidden, "levels").lognormal(0, 0.5, (len(tasks), 5))
    rates = np.array([RATES[c] for c in tasks.task_class]) / 1000 * level
    columns = {name: rates[:, k] for k, name in enumerate(("network", "memory", "input", "permission", "hang"))}
    tasks = tasks.assign(resource=resource.astype(int), sigma=0.3, **columns)
    shift = streams(hidden, "resources").lognormal(0, 0.25, len(RESOURCES))
    resources = pd.DataFrame(
        [
            (name, kind, domain, per_month * s, minutes, bears)
            for (name, (kind, domain, per_month, minutes, bears)), s in zip(RESOURCES.items(), shift, strict=True)
        ],
        columns=["resource_id", "kind", "domain", "outages_per_month", "median_minutes", "bears_per_minute"],
    )
    slots = con.execute("select pool, slots::integer from ops.pools order by pool").fetchall()
    return Platform(tasks, deps, resources, dict(slots))


TABLES = """
create temp macro moment(s) as make_timestamp(1774915200000000 + 1000 * round(s * 1000)::bigint);

create table ops.resources as
select
  r.resource_id,
  r.kind,
  r.domain::varchar as domain,
  (select min(t.team_id) from ops.teams t where t.domain = coalesce(r.domain, 'platform')) as team_id
from frame_resources r
order by r.resource_id;

create table ops.task_resources as
select task_id, resource_id::varchar as resource_id
from frame_tasks
order by task_id;

create table ops.failed_attempts as
select
  row_number() over (order by failed_s, task_run, attempt_no)::bigint as failed_attempt_id,
  dag_id,
  task_id,
  resource_id::varchar as resource_id,
  moment(scheduled_s) as scheduled_at,
  attempt_no::utinyint as attempt_no,
  moment(started_s) as started_at,
  moment(failed_s) as failed_at,
  error_class,
  error_message,
  retried_by::varchar as retried_by,
  next_outcome::varchar as next_outcome
from frame_attempts
order by failed_s, task_run, attempt_no;

create table ops.outages as
select resource_id, moment(started_s) as started_at, moment(ended_s) as ended_at
from frame_outages
order by started_s, resource_id;

-- The rule of today: each failed attempt pages the owner, and the owners of all DAGs that wait for it.
create table ops.alerts as
with
waits as (
  select distinct t.dag_id, u.dag_id as upstream_dag_id
  from ops.task_deps s
  join ops.tasks t using (task_id)
  join ops.tasks u
    on u.task_id = s.upstream_task_id
  where s.is_sensor
),
paged as (
  select f.failed_attempt_id, d.team_id, true as is_owner, f.retried_by, f.failed_at
  from ops.failed_attempts f
  join ops.dags d using (dag_id)
  union
  select f.failed_attempt_id, d.team_id, false, null, f.failed_at
  from ops.failed_attempts f
  join waits w
    on w.upstream_dag_id = f.dag_id
  join ops.dags d
    on d.dag_id = w.dag_id
  join ops.dags o
    on o.dag_id = f.dag_id
  where d.team_id <> o.team_id
)
select
  row_number() over (order by failed_attempt_id, team_id)::bigint as alert_id,
  failed_attempt_id,
  team_id::integer as team_id,
  failed_at as fired_at,
  failed_at + to_seconds((60 + hash(failed_attempt_id, team_id) % 1500)::bigint) as acknowledged_at,
  case when retried_by = 'human' then 'repaired' else 'none' end as action
from paged
order by alert_id;

create table truth.failure_rates as
select task_id, median_s, sigma, memory_bytes, network, memory, input, permission, hang
from frame_tasks
order by task_id;

create table truth.resource_profiles as
select resource_id, outages_per_month, median_minutes::double as median_minutes, bears_per_minute::integer as bears_per_minute
from frame_resources
order by resource_id;

drop macro moment;

comment on table ops.resources is 'Systems that tasks read from and write to.';
comment on column ops.resources.resource_id is 'Key.';
comment on column ops.resources.kind is 'source system, vendor or platform.';
comment on column ops.resources.domain is 'Domain that runs it; null: used by all.';

comment on column ops.resources.team_id is 'Team that runs it, or answers for the contract with it; references ops.teams.';

comment on table ops.task_resources is 'The tasks of the DAGs that daily reports wait for, and what each depends on.';
comment on column ops.task_resources.task_id is 'References ops.tasks.';
comment on column ops.task_resources.resource_id is 'References ops.resources; null: nothing that can be away.';

comment on table ops.failed_attempts is 'Attempts that failed, over the last thirteen weeks, of the tasks in ops.task_resources.';
comment on column ops.failed_attempts.failed_attempt_id is 'Key, in order of time.';
comment on column ops.failed_attempts.dag_id is 'References ops.dags.';
comment on column ops.failed_attempts.task_id is 'References ops.tasks.';
comment on column ops.failed_attempts.resource_id is 'What the task depends on; references ops.resources.';
comment on column ops.failed_attempts.scheduled_at is 'When the run was due (UTC); with task_id it names the task run.';
comment on column ops.failed_attempts.attempt_no is 'From 1.';
comment on column ops.failed_attempts.started_at is 'Got a slot (UTC).';
comment on column ops.failed_attempts.failed_at is 'Gave the slot back (UTC).';
comment on column ops.failed_attempts.error_class is 'network, out of memory, bad input, permission or time-out.';
comment on column ops.failed_attempts.error_message is 'Last line of the log.';
comment on column ops.failed_attempts.retried_by is 'Who tried again: scheduler, or human after a repair; null: nobody yet.';
comment on column ops.failed_attempts.next_outcome is 'How the next attempt ended: success or failed; null: there was none.';

comment on table ops.outages is 'When resources were away, from their status pages, over the last thirteen weeks.';
comment on column ops.outages.resource_id is 'References ops.resources.';
comment on column ops.outages.started_at is 'UTC.';
comment on column ops.outages.ended_at is 'UTC; what is back bears few requests for another hour.';

comment on table ops.alerts is 'Who was paged over the last thirteen weeks: for each failed attempt its owner and all who wait.';
comment on column ops.alerts.alert_id is 'Key, in order of time.';
comment on column ops.alerts.failed_attempt_id is 'What it was about; references ops.failed_attempts.';
comment on column ops.alerts.team_id is 'Who was paged; references ops.teams.';
comment on column ops.alerts.fired_at is 'UTC.';
comment on column ops.alerts.acknowledged_at is 'Somebody looked (UTC).';
comment on column ops.alerts.action is 'repaired, or none: there was nothing to do.';
"""
