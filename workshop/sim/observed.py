"""The tables of a simulated month, estimated from what Kestrel's platform has logged: what anybody there can know."""

from typing import Any

QUERIES = {
    "tasks": """
        with
        took as (
          select
            task_id,
            median(epoch(ended_at - started_at)) as median_s,
            stddev(ln(epoch(ended_at - started_at))) as sigma,
            median(peak_memory_bytes)::double as memory_bytes
          from ops.task_runs
          where outcome = 'success' and attempts = 1
          group by task_id
        ),
        runs as (
          -- four weeks are logged run by run, thirteen by their failures
          select task_class, count(*) * 13 / 4 as n
          from ops.task_runs
          join ops.tasks using (task_id)
          where task_id in (select task_id from ops.task_resources)
          group by task_class
        ),
        first_failures as (
          select t.task_class, f.error_class, count(*) as n
          from ops.failed_attempts f
          join ops.tasks t using (task_id)
          left join ops.outages o on o.resource_id = f.resource_id
            and f.failed_at between o.started_at and o.ended_at + interval 1 hour
          where f.attempt_no = 1 and o.resource_id is null
          group by all
        ),
        rates as (
          select
            r.task_class,
            coalesce(sum(f.n) filter (error_class = 'network'), 0) / any_value(r.n) as network,
            coalesce(sum(f.n) filter (error_class = 'out of memory'), 0) / any_value(r.n) as memory,
            coalesce(sum(f.n) filter (error_class = 'bad input'), 0) / any_value(r.n) as input,
            coalesce(sum(f.n) filter (error_class = 'permission'), 0) / any_value(r.n) as permission,
            coalesce(sum(f.n) filter (error_class = 'time-out'), 0) / any_value(r.n) as hang
          from runs r
          left join first_failures f using (task_class)
          group by r.task_class
        ),
        numbers as (select resource_id, row_number() over (order by resource_id) - 1 as resource from ops.resources)
        select
          t.dag_id, t.task_id, t.step_no::integer as step_no, d.team_id, t.task_class, t.is_idempotent, d.criticality,
          d.deadline_minutes, d.schedule_cron, t.pool, t.max_attempts::integer as max_attempts, t.timeout_minutes,
          epoch(timezone(d.time_zone, timestamptz '2026-07-15 00:00:00+00') - timestamp '2026-07-15')::integer as offset_s,
          coalesce(n.resource, -1)::integer as resource, k.median_s, coalesce(k.sigma, 0.2) as sigma, k.memory_bytes,
          r.network, r.memory, r.input, r.permission, r.hang
        from ops.task_resources x
        join ops.tasks t using (task_id)
        join ops.dags d using (dag_id)
        join took k using (task_id)
        join rates r using (task_class)
        left join numbers n on n.resource_id = x.resource_id
        order by t.dag_id, t.step_no
    """,
    "deps": """
        select task_id, upstream_task_id, is_sensor
        from ops.task_deps
        where task_id in (select task_id from ops.task_resources)
          and upstream_task_id in (select task_id from ops.task_resources)
        order by all
    """,
    "resources": """
        select
          r.resource_id,
          r.team_id,
          count(o.started_at) / 3 as outages_per_month,
          coalesce(median(epoch(o.ended_at - o.started_at)) / 60, 30) as median_minutes,
          5 as bears_per_minute -- nobody has measured it
        from ops.resources r
        left join ops.outages o using (resource_id)
        group by all
        order by r.resource_id
    """,
    "pools": "select pool, slots::integer as slots from ops.pools order by pool",
    "night": """
        select
          task_id,
          any_value(task_class) as task_class,
          any_value(pool) as pool,
          any_value(due_minute)::double as due_minute,
          median(input_rows) as rows,
          1000 * min(epoch(ended_at - started_at) / input_rows) as s_per_krow,
          stddev(ln(input_rows)) as day_sigma,
          median(peak_memory_gb) as memory_gb
        from ops.batch_runs
        join ops.batch_tasks using (task_id)
        where outcome = 'success'
        group by task_id
        order by task_id
    """,
    "orders": "select dag_id from ops.dags join ops.teams using (team_id) where domain = 'orders' order by dag_id",
    "morning": """
        select dag_id from ops.dags where purpose = 'report' and schedule_cron like '% 6 * * *' order by dag_id
    """,
}


def observed_tables(con: Any) -> dict[str, list[dict[str, Any]]]:
    """Return tables as `whole.run_months` takes them, from a DuckDB connection to Kestrel's world: durations, error rates by task
    class and outages as logged."""
    found = {}
    for name, sql in QUERIES.items():
        relation = con.sql(sql)
        found[name] = [dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()]
    return found
