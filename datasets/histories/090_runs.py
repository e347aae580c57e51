# subject: runs
# needs: pipelines
# makes: ops.task_runs, ops.task_attempts, ops.service_calls
# truth: service_incidents, service_profiles
"""Four weeks of task runs, and two of calls to services.

Each task draws its own level, each run its own noise; a run starts when what it waits for has ended. On the day of the
incident the shared pool is simulated slot by slot, since there it is the queue that matters.
"""

import duckdb
import numpy as np
import pandas as pd

from workshop.sim import Phase, Plan, Service, Tasks, plan_runs, simulate_cluster, streams
from workshop.sim.month import DAY_S
from workshop.world.seeds import derive_seed

FIRST_DAY = np.datetime64("2026-06-02", "s")  # four weeks up to today
DAYS = 28
CALL_DAYS = 14  # the call log is kept for two weeks
RETRY_S = 300
# Median seconds of a task by class, before its own level: what a mid-size warehouse shows.
CLASS_MEDIAN_S = {
    "extract": 45.0, "load": 60.0, "transform": 110.0, "service call": 25.0, "check": 20.0, "publish": 25.0,
    "export": 40.0, "train": 600.0,
}  # fmt: skip
# Bounds of the healthy median latency (ms) of a service, its spread (sigma of the logarithm) and its rate of errors.
SERVICES = {
    "geocoding": (600, 1100, 0.45, 0.003),
    "fx_quotes": (90, 180, 0.35, 0.001),
    "fraud_scores": (250, 500, 0.40, 0.002),
    "address_check": (350, 700, 0.45, 0.003),
    "vat_check": (2000, 3500, 0.50, 0.010),
    "carrier_tracking": (1500, 3000, 0.55, 0.006),
}


def build(con: duckdb.DuckDBPyConnection, seed: bytes, scale: float) -> None:
    """Writes the tables; they do not shrink with scale."""
    visible, hidden = derive_seed(seed, "world/runs"), derive_seed(seed, "truth/runs")
    tasks = con.execute(
        """
        select t.*, d.schedule_cron, d.time_zone, s.timeout_s,
          epoch(timezone(d.time_zone, timestamptz '2026-06-15 00:00:00+00') - timestamp '2026-06-15')::integer as offset_s
        from ops.tasks t
        join ops.dags d using (dag_id)
        left join ops.services s using (service_name)
        order by t.dag_id, t.step_no
        """
    ).df()
    deps = con.execute("select task_id, upstream_task_id, is_sensor from ops.task_deps").df()
    plan = plan_runs(tasks, deps, FIRST_DAY, DAYS)
    slots = con.execute("select pool, slots::bigint as slots from ops.pools").df().set_index("pool").slots
    runs = _Runs(tasks, plan, slots, visible, hidden)
    runs.write(con)


class _Runs:
    """The history in the making."""

    def __init__(self, tasks: pd.DataFrame, plan: Plan, slots: pd.Series, visible: bytes, hidden: bytes) -> None:
        self.tasks, self.plan, self.slots, self.visible, self.hidden = tasks, plan, slots, visible, hidden
        n, n_tasks = len(plan.task), len(tasks)
        median_s = tasks.task_class.map(CLASS_MEDIAN_S).to_numpy() * streams(visible, "task level").lognormal(
            0, 0.6, n_tasks
        )
        weekday = (plan.scheduled_s // DAY_S + 1) % 7  # FIRST_DAY was a Tuesday: 0 is Monday
        volume = np.where(weekday >= 5, 1.25, 1.0) * streams(visible, "volume").lognormal(0, 0.12, n)
        rows = streams(visible, "rows").lognormal(np.log(20_000), 1.4, n_tasks)
        per_day = np.bincount(plan.task, minlength=n_tasks) / DAYS
        self.input_rows = np.ceil((rows / np.maximum(per_day, 1))[plan.task] * volume).astype(np.int64)
        work_s = median_s[plan.task] / np.sqrt(np.maximum(per_day, 1))[plan.task] * volume
        self.work_s = np.maximum(1.0, work_s * streams(visible, "work").lognormal(0, 0.28, n))
        memory = streams(visible, "memory").lognormal(np.log(0.6e9), 0.7, n_tasks)
        noise = streams(visible, "memory noise").lognormal(0, 0.1, n)
        self.peak_memory = (memory[plan.task] * np.sqrt(volume) * noise).astype(np.int64)
        self._draw_failures(n, n_tasks)
        self._draw_services()
        self._draw_calls()
        self.outcome = np.zeros(n, dtype=np.int8)  # 0 success, 1 failed, 2 upstream failed
        self.queued_s, self.started_s, self.ended_s = np.zeros(n), np.zeros(n), np.zeros(n)
        self.fixed = np.zeros(n, dtype=bool)
        self._propagate()
        self._simulate_incident()
        self._propagate()

    def _draw_failures(self, n: int, n_tasks: int) -> None:
        """Failed attempts before the last one: transient ones pass on a retry, permanent ones do not."""
        rate = streams(self.visible, "failure rate").lognormal(np.log(0.008), 0.8, n_tasks)
        draw = streams(self.visible, "failures").random(n)
        attempts = self.tasks.max_attempts.to_numpy().astype(int)[self.plan.task]
        failed = draw < rate[self.plan.task]
        permanent = failed & (draw < 0.12 * rate[self.plan.task])
        self.fails = permanent | (failed & (attempts == 1))
        self.n_attempts = np.where(self.fails, attempts, np.where(failed, 2, 1))

    def _draw_services(self) -> None:
        """Profiles, the incident of geocoding, and what looks like trouble but is none."""
        draw = streams(self.hidden, "incident").random(40)
        level = streams(self.hidden, "service level").random(len(SERVICES))
        self.profiles = {
            name: ((low * (high / low) ** level[k]), sigma, rate)
            for k, (name, (low, high, sigma, rate)) in enumerate(SERVICES.items())
        }
        self.incident_day = DAYS - 11 + int(draw[0] * 9)
        start = self.incident_day * DAY_S + (7 + 5 * draw[1]) * 3600
        slow_end = start + 60 * (45 + 40 * draw[2])
        down_end = slow_end + 60 * (75 + 55 * draw[3])
        factor = 130 + 70 * draw[4]
        phases = [
            Phase(start, slow_end, "slow", 0.02, factor),
            Phase(slow_end, down_end, "down", 1.0, np.inf),
        ]
        period, end = 60 * (6 + 4 * draw[5]), down_end + 60 * (30 + 30 * draw[6])
        at = down_end
        while at < end:
            phases.append(Phase(at, min(at + period / 2, end), "flapping", 1.0, 1.0))
            at += period
        self.phases = tuple(phases)
        stamps = [
            ("geocoding", "slow", start, slow_end, factor, 0.02, None, False),
            ("geocoding", "down", slow_end, down_end, None, 1.0, None, False),
            ("geocoding", "flapping", down_end, end, 1.0, 0.5, None, False),
        ]
        # Decoys: a service a little slower for a while, and one caller that sends bad rows.
        others = [name for name in SERVICES if name != "geocoding"]
        self.slow_spell = None
        if draw[7] < 0.8:
            name = others[int(draw[8] * len(others))]
            day = DAYS - CALL_DAYS + int(draw[9] * CALL_DAYS)
            day = day - 1 if day == self.incident_day else day
            begin = day * DAY_S + (6 + 12 * draw[10]) * 3600
            until, times = begin + 60 * (15 + 30 * draw[11]), 1.6 + 0.6 * draw[12]
            self.slow_spell = (name, begin, until, times)
            stamps.append((name, "slow", begin, until, times, None, None, True))
        name = others[int(draw[13] * len(others))]
        callers = np.flatnonzero((self.tasks.service_name == name).to_numpy())
        runs_of = np.bincount(self.plan.task, minlength=len(self.tasks))[callers]
        self.bad_caller = int(callers[np.argmax(runs_of)])  # the busiest: it is seen
        dag_id = self.tasks.dag_id.iat[self.bad_caller]
        stamps.append((name, "client errors", (DAYS - CALL_DAYS) * DAY_S, DAYS * DAY_S, None, 0.05, dag_id, True))
        self.incidents = stamps

    def _draw_calls(self) -> None:
        """Calls of all runs but those of the incident day, laid end to end within their task."""
        plan, tasks = self.plan, self.tasks
        calls = tasks.calls_per_run.fillna(0).to_numpy().astype(int)
        self.callers = np.flatnonzero(calls[plan.task] > 0)
        count = calls[plan.task[self.callers]]
        self.call_run = np.repeat(self.callers, count)
        first = np.cumsum(count) - count
        self.call_no = np.arange(count.sum()) - np.repeat(first, count)
        n = len(self.call_run)
        service = tasks.service_name.fillna("").to_numpy(dtype=str)[plan.task[self.call_run]]
        median, sigma, rate = (np.zeros(n) for _ in range(3))
        for name, (m, s, r) in self.profiles.items():
            mine = service == name
            median[mine], sigma[mine], rate[mine] = m / 1000, s, r
        self.call_service = service
        self.latency_s = median * np.exp(sigma * streams(self.visible, "latency").standard_normal(n))
        draw = streams(self.visible, "call errors").random(n)
        self.error = np.where(draw < rate, 1, 0)  # 1 server error, 2 client error
        bad = plan.task[self.call_run] == self.bad_caller
        self.error[bad & (draw > 0.95)] = 2
        self.error[(draw > 0.9992)] = 2
        if self.slow_spell:
            name, begin, until, times = self.slow_spell
            about = plan.scheduled_s[self.call_run]  # near enough: the runs of that time
            self.latency_s[(service == name) & (about >= begin) & (about < until)] *= times
        timeout_s = tasks.timeout_s.fillna(1e9).to_numpy()[plan.task[self.call_run]]
        self.latency_s = np.minimum(self.latency_s, timeout_s)
        spent = np.bincount(self.call_run, weights=self.latency_s, minlength=len(plan.task))
        self.alone_s = self.work_s + spent
        before = np.cumsum(self.latency_s) - self.latency_s
        self.call_offset_s = before - np.repeat(before[first], count)

    def _propagate(self) -> None:
        """Starts and ends of all task runs that are not fixed, level by level."""
        plan = self.plan
        pool = self.tasks.pool.to_numpy(dtype=str)[plan.task]
        busy = streams(self.visible, "queue").lognormal(np.log(4), 1.0, len(plan.task))
        # A burst at one minute waits for slots: so long a queue, so few slots.
        room = self.slots[self.tasks.pool].to_numpy()[plan.task]
        # Attempts that failed took half as long as one that worked, and the next waits a while.
        self.run_s = self.alone_s * (1 + 0.5 * (self.n_attempts - 1) - 0.5 * self.fails)
        total_s = self.run_s + RETRY_S * (self.n_attempts - 1)
        for level, of_level in zip(plan.levels, plan.edges_of_level, strict=True):
            ready = plan.scheduled_s.astype(float)
            up, down = plan.edges[of_level].T
            ok = self.outcome[up] == 0
            inside = ~plan.is_sensor[of_level]
            np.maximum.at(ready, down, self.ended_s[up])
            blocked = np.zeros(len(ready), dtype=bool)
            blocked[down[inside & ~ok]] = True
            members = level[~self.fixed[level]]
            at = ready[members]
            wait = busy[members] * (1 + 1.5 * ((at // 3600) % 24 < 3))
            if len(members):
                order = np.lexsort((at, pool[members]))
                minute = (at[order] // 60).astype(np.int64)
                new = np.r_[True, (np.diff(minute) != 0) | (pool[members][order][1:] != pool[members][order][:-1])]
                head = np.maximum.accumulate(np.where(new, np.arange(len(order)), 0))
                rank = np.arange(len(order)) - head
                wait[order] += np.maximum(0, rank - 0.7 * room[members][order]) * 60 / room[members][order]
            self.queued_s[members] = at
            self.started_s[members] = at + wait
            self.outcome[members] = np.where(blocked[members], 2, np.where(self.fails[members], 1, 0))
            self.ended_s[members] = np.where(blocked[members], at, at + wait + total_s[members])

    def _simulate_incident(self) -> None:
        """The shared pool on the day of the incident, slot by slot: without a breaker, each caller waits for its time-out."""
        plan, tasks = self.plan, self.tasks
        begin = self.incident_day * DAY_S
        due = (plan.scheduled_s >= begin) & (plan.scheduled_s < begin + DAY_S)
        mine = np.flatnonzero(due & (tasks.pool.to_numpy(dtype=str)[plan.task] == "shared"))
        number = np.full(len(plan.task), -1)
        number[mine] = np.arange(len(mine))
        both = (number[plan.edges[:, 0]] >= 0) & (number[plan.edges[:, 1]] >= 0)
        edges = number[plan.edges[both]]
        roots = np.ones(len(mine), dtype=bool)
        roots[edges[:, 1]] = False
        # Tasks that wait for other pools are queued when those are done; the others by their edges.
        due_s = np.where(roots, self.queued_s[mine], plan.scheduled_s[mine])
        dag_ids = tasks.dag_id.to_numpy(dtype=str)[plan.task[mine]]
        calls = tasks.calls_per_run.fillna(0).to_numpy().astype(int)[plan.task[mine]]
        service = tasks.service_name.fillna("").to_numpy(dtype=str)[plan.task[mine]]
        work_s = self.work_s[mine] * self.run_s[mine] / self.alone_s[mine]
        todo = Tasks(
            dag_ids,
            tasks.task_id.to_numpy(dtype=str)[plan.task[mine]],
            plan.run[mine],
            due_s,
            work_s,
            service,
            calls,
            edges,
        )
        timeouts = dict(zip(tasks.service_name, tasks.timeout_s, strict=True))
        services = []
        for name, (median_ms, sigma, rate) in self.profiles.items():
            n = int(calls[service == name].sum())
            services.append(
                Service(
                    name,
                    float(timeouts[name]),
                    self.phases if name == "geocoding" else (),
                    rate,
                    0.0,
                    streams(self.visible, f"incident/{name}/latency").lognormal(np.log(median_ms / 1000), sigma, n),
                    streams(self.visible, f"incident/{name}/errors").random(n),
                    np.ones(n),
                )
            )
        run = simulate_cluster(
            todo,
            int(self.slots["shared"]),
            services,
            guards={},
            fallbacks=dict.fromkeys(dag_ids.tolist(), "stale"),
            defer_s=600.0,
            max_defers=0,
        )
        self.fixed[mine] = True
        self.queued_s[mine], self.started_s[mine], self.ended_s[mine] = run.queued_s, run.started_s, run.ended_s
        self.outcome[mine], self.fails[mine], self.n_attempts[mine] = 0, False, 1
        self.incident_calls, self.incident_run = run.calls, mine

    def write(self, con: duckdb.DuckDBPyConnection) -> None:
        """The tables, in order of time within a task."""
        plan, tasks = self.plan, self.tasks
        n = len(plan.task)
        ran = self.outcome != 2
        ended = np.where(ran & (self.ended_s < DAYS * DAY_S), self.ended_s, np.nan)
        begun = np.where(ran & (self.started_s < DAYS * DAY_S), self.started_s, np.nan)
        queued = np.where(ran & (self.queued_s < DAYS * DAY_S), self.queued_s, np.nan)
        nodes = {"shared": 3, "ingest": 4, "heavy": 6, "ml": 3}
        pool = tasks.pool.to_numpy(dtype=str)
        spread = np.array([nodes[p] for p in pool])[plan.task]
        node = (streams(self.visible, "node").random(n) * spread).astype(np.int64)
        runs = pd.DataFrame(
            {
                "task_run_id": np.arange(n) + 1_000_000,
                "task": plan.task,
                "run": plan.run,
                "scheduled_s": plan.scheduled_s,
                "queued_s": queued,
                "started_s": begun,
                "ended_s": ended,
                "outcome": self.outcome,
                "attempts": np.where(np.isnan(begun), 0, self.n_attempts),
                "input_rows": self.input_rows,
                "peak_memory_bytes": self.peak_memory,
                "node": node,
            }
        )
        # Attempts: those that failed took half the time of one that works, five minutes apart.
        tried = np.flatnonzero(~np.isnan(begun))
        count = self.n_attempts[tried]
        of_run = np.repeat(tried, count)
        first = np.cumsum(count) - count
        number = np.arange(count.sum()) - np.repeat(first, count) + 1
        last = number == np.repeat(count, count)
        half = 0.5 * np.where(self.fixed, self.ended_s - self.started_s, self.alone_s)[of_run]
        start = self.started_s[of_run] + (number - 1) * (half + RETRY_S)
        end = np.where(last, self.ended_s[of_run], start + half)
        good = last & ~self.fails[of_run]
        kinds = streams(self.visible, "error class").random(n)[of_run]
        lasting = self.fails[of_run]
        error = np.where(good, 0, np.where(lasting, np.where(kinds < 0.6, 3, 4), np.where(kinds < 0.55, 1, 2)))
        attempts = pd.DataFrame(
            {
                "task_run_id": of_run + 1_000_000,
                "attempt_no": number,
                "queued_s": np.where(number == 1, self.queued_s[of_run], start - 2),
                "started_s": start,
                "ended_s": np.where(end < DAYS * DAY_S, end, np.nan),
                "error": error,
                "node": (node[of_run] + number - 1) % spread[of_run],
                "peak_memory_bytes": np.where(error == 2, 1.6, 1.0) * self.peak_memory[of_run],
                "task": plan.task[of_run],
            }
        )
        attempts = attempts[attempts.started_s < DAYS * DAY_S]
        calls = self._calls()
        names = pd.DataFrame(
            {"task": np.arange(len(tasks)), "task_id": tasks.task_id, "dag_id": tasks.dag_id, "pool": tasks.pool}
        )
        incidents = pd.DataFrame(
            self.incidents,
            columns=[
                "service_name",
                "kind",
                "started_s",
                "ended_s",
                "latency_factor",
                "error_rate",
                "caller_dag_id",
                "is_decoy",
            ],
        )
        profiles = pd.DataFrame(
            [(name, m, s, r) for name, (m, s, r) in self.profiles.items()],
            columns=["service_name", "median_ms", "sigma", "error_rate"],
        )
        services = pd.DataFrame({"service": range(len(SERVICES)), "service_name": list(SERVICES)})
        frames = {
            "services": services,
            "runs": runs,
            "attempts": attempts,
            "calls": calls,
            "names": names,
            "incidents": incidents,
            "profiles": profiles,
        }
        for name, frame in frames.items():
            con.register(f"frame_{name}", frame)
        con.execute(TABLES)
        for name in frames:
            con.unregister(f"frame_{name}")

    def _calls(self) -> pd.DataFrame:
        keep = ~self.fixed[self.call_run] & (self.outcome[self.call_run] == 0)
        keep &= self.plan.scheduled_s[self.call_run] >= (DAYS - CALL_DAYS) * DAY_S
        run, late = self.call_run[keep], self.incident_calls
        # Calls are made by the last attempt: it starts so long before the task ends.
        start = self.ended_s[run] - self.alone_s[run]
        names = list(SERVICES)
        code = {None: 0, "ok": 0, "server_error": 1, "client_error": 2, "timeout": 3}
        frame = pd.DataFrame(
            {
                "task_run_id": np.r_[run, self.incident_run[late.task]] + 1_000_000,
                "task": self.plan.task[np.r_[run, self.incident_run[late.task]]],
                "service": np.r_[
                    [names.index(s) for s in self.call_service[keep]], [names.index(s) for s in late.service]
                ].astype(np.int64),
                "at_s": np.r_[start + self.call_offset_s[keep], late.at_s],
                "latency_s": np.r_[self.latency_s[keep], late.latency_s],
                "error": np.r_[self.error[keep], [code[o] for o in late.outcome]].astype(np.int64),
            }
        )
        return frame[frame.at_s < DAYS * DAY_S]


TABLES = """
create temp macro moment(s) as make_timestamp(1780358400000000 + 1000 * round(s * 1000)::bigint);

create table ops.task_runs as
select
  r.task_run_id::bigint as task_run_id,
  n.dag_id || '#' || lpad((r.run + 1)::varchar, 4, '0') as run_id,
  n.dag_id,
  n.task_id,
  n.pool,
  moment(r.scheduled_s) as scheduled_at,
  moment(r.queued_s) as queued_at,
  moment(r.started_s) as started_at,
  moment(r.ended_s) as ended_at,
  moment(r.started_s + 30 * floor((coalesce(r.ended_s, 2419200) - r.started_s) / 30)) as heartbeat_at,
  case
    when r.outcome = 2 then 'upstream failed' when r.started_s is null then 'queued' when r.ended_s is null then 'running'
    when r.outcome = 1 then 'failed' else 'success'
  end as outcome,
  r.attempts::utinyint as attempts,
  case when r.started_s is not null then r.input_rows end::bigint as input_rows,
  case when r.started_s is not null then r.peak_memory_bytes end::bigint as peak_memory_bytes,
  case when r.started_s is not null then n.pool || '-' || (r.node + 1) end as node_id
from frame_runs r
join frame_names n using (task)
order by r.task_run_id;

create table ops.task_attempts as
select
  a.task_run_id::bigint as task_run_id,
  a.attempt_no::utinyint as attempt_no,
  moment(a.queued_s) as queued_at,
  moment(a.started_s) as started_at,
  moment(a.ended_s) as ended_at,
  moment(a.started_s + 30 * floor((coalesce(a.ended_s, 2419200) - a.started_s) / 30)) as heartbeat_at,
  case when a.ended_s is null then 'running' when a.error > 0 then 'failed' else 'success' end as outcome,
  case when a.ended_s is not null then list_extract(['network', 'out of memory', 'bad input', 'permission'], a.error::integer) end
    as error_class,
  n.pool || '-' || (a.node + 1) as node_id,
  a.peak_memory_bytes::bigint as peak_memory_bytes
from frame_attempts a
join frame_names n using (task)
order by a.task_run_id, a.attempt_no;

create table ops.service_calls as
select
  row_number() over (order by c.at_s, c.task_run_id)::bigint as call_id,
  s.service_name,
  n.dag_id,
  n.task_id,
  c.task_run_id::bigint as task_run_id,
  moment(c.at_s) as called_at,
  round(c.latency_s * 1000)::integer as latency_ms,
  case when c.error = 0 then 'ok' else 'error' end as outcome,
  list_extract(['server error', 'client error', 'timeout'], c.error::integer) as error_class,
  case c.error when 0 then 200 when 1 then 503 when 2 then 422 else 504 end::smallint as status_code
from frame_calls c
join frame_names n using (task)
join frame_services s using (service)
order by c.at_s, c.task_run_id;

create table truth.service_incidents as
select
  service_name,
  kind,
  moment(started_s) as started_at,
  moment(ended_s) as ended_at,
  latency_factor::double as latency_factor,
  error_rate::double as error_rate,
  caller_dag_id::varchar as caller_dag_id,
  is_decoy::boolean as is_decoy
from frame_incidents
order by started_at, service_name, kind;

create table truth.service_profiles as
select
  service_name,
  median_ms::double as median_ms,
  sigma::double as sigma,
  error_rate::double as error_rate
from frame_profiles
order by service_name;

drop macro moment;

comment on table ops.task_runs is 'One row for each task of each scheduled run of a DAG, over the last four weeks.';
comment on column ops.task_runs.task_run_id is 'Key.';
comment on column ops.task_runs.run_id is 'The run of the DAG; the same for all its tasks.';
comment on column ops.task_runs.dag_id is 'References ops.dags.';
comment on column ops.task_runs.task_id is 'References ops.tasks.';
comment on column ops.task_runs.pool is 'Pool in which it ran; references ops.pools.';
comment on column ops.task_runs.scheduled_at is 'When the run was due (UTC).';
comment on column ops.task_runs.queued_at is 'When all that it waits for was done (UTC); null: never queued.';
comment on column ops.task_runs.started_at is 'First attempt got a slot (UTC); null: never.';
comment on column ops.task_runs.ended_at is 'Last attempt ended (UTC); null: still running, or never started.';
comment on column ops.task_runs.heartbeat_at is 'Last sign of life (UTC), sent every 30 seconds.';
comment on column ops.task_runs.outcome is 'success, failed, upstream failed, running or queued.';
comment on column ops.task_runs.attempts is 'Attempts made.';
comment on column ops.task_runs.input_rows is 'Rows read.';
comment on column ops.task_runs.peak_memory_bytes is 'Highest memory in use.';
comment on column ops.task_runs.node_id is 'Machine of the first attempt.';

comment on table ops.task_attempts is 'The attempts of the task runs.';
comment on column ops.task_attempts.task_run_id is 'References ops.task_runs; key with attempt_no.';
comment on column ops.task_attempts.attempt_no is 'From 1.';
comment on column ops.task_attempts.queued_at is 'Began to wait for a slot (UTC).';
comment on column ops.task_attempts.started_at is 'Got a slot (UTC).';
comment on column ops.task_attempts.ended_at is 'Gave the slot back (UTC); null: still running.';
comment on column ops.task_attempts.heartbeat_at is 'Last sign of life (UTC), sent every 30 seconds.';
comment on column ops.task_attempts.outcome is 'success, failed or running.';
comment on column ops.task_attempts.error_class is 'network, out of memory, bad input or permission; null: no error.';
comment on column ops.task_attempts.node_id is 'Machine.';
comment on column ops.task_attempts.peak_memory_bytes is 'Highest memory in use.';

comment on table ops.service_calls is 'Calls of tasks to services, over the last two weeks.';
comment on column ops.service_calls.call_id is 'Key, in order of time.';
comment on column ops.service_calls.service_name is 'References ops.services.';
comment on column ops.service_calls.dag_id is 'DAG that called; references ops.dags.';
comment on column ops.service_calls.task_id is 'Task that called; references ops.tasks.';
comment on column ops.service_calls.task_run_id is 'References ops.task_runs.';
comment on column ops.service_calls.called_at is 'When the call went out (UTC).';
comment on column ops.service_calls.latency_ms is 'Until the answer came, or the caller stopped waiting.';
comment on column ops.service_calls.outcome is 'ok or error.';
comment on column ops.service_calls.error_class is 'server error or timeout: its fault; client error: the caller''s; null: ok.';
comment on column ops.service_calls.status_code is 'HTTP status as logged: 200, 422, 503; 504 where the caller stopped waiting.';
"""
