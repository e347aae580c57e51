# subject: scheduling
# needs: organisation
# makes: ops.cluster_jobs, ops.cluster_job_deps, ops.cluster_job_runs, ops.cluster_slots, ops.cluster_blackouts
"""The shared batch cluster at night: who runs what on it, how long it took, and how much room there is.

Each team starts its jobs by a clock of its own. A job waits for its upstreams, then for free slots, first come, first
served; four weeks of that are kept. Deadlines leave room: the longest durations seen, one after the other from the moment
the day's data is complete, each a quarter of an hour late, still meet them on every kind of night.
"""

import heapq

import duckdb
import numpy as np
import pandas as pd

from workshop.sim import streams
from workshop.world.seeds import derive_seed

FIRST_NIGHT = "2026-06-02"  # the evening of; the last of four weeks is the evening before today
NIGHTS = 28
NIGHT_MINUTES = 960  # 18:00 to 10:00 UTC
WINDOW = 15  # minutes: start windows of this width are possible for all
LAST_END = 900  # the worst night leaves an hour for whatever else
JOBS_OF_LAYER = (38, 30, 20)
NOUNS = {
    "storefront": ("sessions", "searches", "carts", "listings", "page_views"),
    "orders": ("orders", "order_items", "baskets", "substitutions", "subscriptions"),
    "payments": ("payments", "refunds", "payouts", "chargebacks", "psp_fees"),
    "logistics": ("shipments", "stock", "routes", "returns", "slots"),
    "customer": ("customers", "households", "loyalty", "segments", "tickets"),
    "marketing": ("campaigns", "clicks", "audiences", "coupons", "affiliates"),
    "finance": ("ledger", "revenue", "invoices", "accruals", "tax"),
    "platform": ("catalogue", "query_log", "lineage", "usage", "lake_files"),
    "ml": ("demand", "ranking", "churn", "fraud", "delivery_times"),
}
PURPOSES = (("prepared", "compacted", "snapshot"), ("joined", "mart", "features"), ("report", "model", "export"))
# When the day's data is complete, minutes after 18:00 UTC: at midnight in Sydney, Berlin, UTC and New York in June (Sydney's
# is earlier than the night), or it does not matter (clean-ups, training on history).
READY = {"any": 0, "APAC": 0, "EU": 240, "UTC": 360, "US": 600}
ZONE_OFFSET = {"UTC": 0, "Europe/Berlin": 120, "America/New_York": -240, "Australia/Sydney": 600}  # minutes, in June
# Spread of a job's duration from night to night (sigma of the logarithm), and how many jobs have it.
SPREADS, SPREAD_SHARES = (0.08, 0.18, 0.38), (0.5, 0.32, 0.18)
CALENDAR_JOBS = (
    # noun, domain, weekday, day of the month, local time, zone
    ("weekly_sales_pack", "finance", 1, None, "02:30", "Europe/Berlin"),
    ("weekly_supplier_mail", "logistics", 5, None, "00:00", "America/New_York"),
    ("weekly_stock_count", "logistics", 7, None, "02:15", "Europe/Berlin"),
    ("weekly_lake_vacuum", "platform", 7, None, "01:30", "America/New_York"),
    ("weekly_loyalty_digest", "customer", 7, None, "02:00", "Australia/Sydney"),
    ("weekly_search_synonyms", "storefront", 3, None, "03:00", "UTC"),
    ("weekly_price_training", "ml", 6, None, "02:30", "America/New_York"),
    ("month_close_ledger", "finance", None, 31, "02:30", "Europe/Berlin"),
    ("month_close_payouts", "payments", None, 31, "01:30", "America/New_York"),
    ("month_close_tax", "finance", None, 30, "23:30", "Europe/Berlin"),
    ("month_vat_return", "finance", None, 10, "06:00", "Europe/Berlin"),
    ("month_partner_bills", "marketing", None, 1, "00:30", "America/New_York"),
    ("month_consent_report", "customer", None, 29, "02:30", "Australia/Sydney"),
    ("month_usage_showback", "platform", None, 1, "00:00", "UTC"),
)


def build(con: duckdb.DuckDBPyConnection, seed: bytes, scale: float) -> None:
    """Writes the tables; they do not shrink with scale."""
    visible = derive_seed(seed, "world/scheduling")
    teams = con.execute(
        "select team_id, domain, region, time_zone from ops.teams where is_active order by team_id"
    ).df()
    blackouts = _blackouts(visible)
    jobs, upstream = _jobs(visible, teams)
    minutes = _shorten(jobs, upstream, _durations(visible, jobs), _spans(blackouts))
    jobs["due_minute"] = _deadlines(visible, jobs, upstream, minutes.max(axis=0), _spans(blackouts))
    slots = _slots(visible, jobs, upstream, minutes.max(axis=0), _spans(blackouts))
    runs = _history(jobs, upstream, minutes, slots, blackouts)
    _write(con, jobs, upstream, runs, slots, blackouts, teams, visible)


def _blackouts(visible: bytes) -> pd.DataFrame:
    """A standing maintenance window, and at a month's end hours that belong to finance's close: the domains that use the most
    keep out of the cluster."""
    draw = streams(visible, "blackouts").random(4)
    patch = 510 + 15 * int(draw[0] * 8)  # 02:30 to 04:15 UTC
    close = 390 + 15 * int(draw[1] * 4)  # 00:30 to 01:15 UTC
    length = 60 + 15 * int(draw[2] * 3)
    rows = [("every night", patch, patch + 30, None, "node patching")]
    rows += [("month end", close, close + length, d, "close of the books") for d in ("marketing", "ml", "storefront")]
    return pd.DataFrame(rows, columns=["night_kind", "from_minute", "to_minute", "domain", "reason"])


def _jobs(visible: bytes, teams: pd.DataFrame) -> tuple[pd.DataFrame, list[list[int]]]:
    """The nightly jobs in layers (prepare, join, deliver), and the rows of each one's upstreams."""
    n = sum(JOBS_OF_LAYER)
    u = streams(visible, "jobs").random((n, 12))
    order = streams(visible, "names").random(200).argsort()
    domains = list(NOUNS)
    rows, names, upstream = [], set(), []
    layer_of = np.repeat(np.arange(3), JOBS_OF_LAYER)
    for k, layer in enumerate(layer_of.tolist()):
        x = u[k]
        # Names in a drawn order, no one twice.
        at = int(order[k])
        while True:
            domain = domains[at % len(domains)]
            noun = NOUNS[domain][at // len(domains) % 5]
            purpose = PURPOSES[layer][at // (len(domains) * 5) % 3]
            if (name := f"{noun}_{purpose}") not in names:
                break
            at += 1
        names.add(name)
        own = teams[teams.domain == domain].reset_index(drop=True)
        team = own.iloc[int(x[0] * len(own))]
        day = "any" if x[1] < 0.28 else "UTC" if x[1] < 0.5 else team.region
        if day == "US" and layer > 0:
            day = "UTC"  # what waits for New York's midnight is short of time: few, and in front
        zone = "UTC" if x[2] < 0.45 else team.time_zone
        candidates = np.flatnonzero(layer_of == layer - 1) if layer else np.array([], dtype=int)
        if layer == 2:
            candidates = np.r_[candidates, np.flatnonzero(layer_of == 0)[:6]]
        wanted = 0 if not layer else 1 + int(x[3] * (2 if layer == 1 else 2.6))
        if layer == 1 and x[4] < 0.12:
            wanted = 0
        near = streams(visible, f"upstream/{k}").random(len(candidates))
        near = near - 0.35 * np.array([rows[c]["domain"] == domain for c in candidates], dtype=float)
        ups = sorted(candidates[near.argsort()[:wanted]].tolist())
        median = (28, 40, 34)[layer] * np.exp(0.5 * _gauss(x[5], x[6]))
        size = ((2, 2, 3, 4), (2, 2, 3, 4), (1, 2, 2, 3))[layer][int(x[7] * 4)]
        if purpose == "model" and x[8] < 0.5:
            size, median = 6, median * 1.5
        spread = SPREADS[int(np.searchsorted(np.cumsum(SPREAD_SHARES)[:-1], x[9], side="right"))]
        rows.append(
            {
                "job_name": name, "team_id": int(team.team_id), "domain": domain, "layer": layer, "slots": size,
                "time_zone": zone, "ready_minute": READY[day],
                "median": float(np.clip(median, 8, 50 if spread > 0.3 else 100)),
                "sigma": spread,
                "clock": _clock(x[10], x[11], READY[day], layer),
            }
        )  # fmt: skip
        upstream.append(ups)
    # Numbers tell nothing about layers.
    jobs = pd.DataFrame(rows)
    number = np.empty(n, dtype=int)
    number[streams(visible, "numbers").random(n).argsort()] = np.arange(n)
    jobs["job_id"] = [f"J{100 + i:03d}" for i in number]
    jobs["local_time"] = [
        f"{(m := (1080 + c + ZONE_OFFSET[z]) % 1440) // 60:02d}:{m % 60:02d}"
        for c, z in zip(jobs.clock, jobs.time_zone, strict=True)
    ]
    return jobs, upstream


def _gauss(a: float, b: float) -> float:
    return float(np.sqrt(-2 * np.log(1 - a)) * np.cos(2 * np.pi * b))


def _clock(x: float, y: float, ready: int, layer: int) -> int:
    """When a team's own clock starts the job, minutes of the night: at midnight UTC more often than not, on the hour mostly."""
    if x < 0.62 and ready <= 360:
        return 360
    hour = 60 * (ready // 60 + layer + int(x * 13) % 3)
    return hour + (0 if y < 0.65 else 30 if y < 0.8 else 5 * int((y - 0.8) * 60))


def _durations(visible: bytes, jobs: pd.DataFrame) -> np.ndarray:
    """Minutes of shape (nights, jobs): log-normal, a little longer at weekends."""
    z = streams(visible, "durations").standard_normal((NIGHTS, len(jobs)))
    # The first evening is a Tuesday: Friday and Saturday evenings are 3 and 4 days later.
    weekend = np.isin((np.arange(NIGHTS) + 1) % 7, (4, 5))
    minutes = jobs["median"].to_numpy() * np.exp(jobs.sigma.to_numpy() * np.clip(z, -2.6, 2.6))
    return np.round(np.maximum(3.0, minutes * np.where(weekend, 1.06, 1.0)[:, None]), 1)


Span = tuple[float, float, str | None]


def _spans(blackouts: pd.DataFrame) -> list[Span]:
    return [
        (float(a), float(b), None if pd.isna(d) else d)
        for a, b, d in zip(blackouts.from_minute, blackouts.to_minute, blackouts.domain, strict=True)
    ]


def _fits(domain: str, start: float, end: float, blackouts: list[Span]) -> float:
    """The start, or the end of the last blackout in the way of it."""
    moved = True
    while moved:
        moved = False
        for begin, until, concerned in blackouts:
            if (concerned is None or concerned == domain) and start < until and end > begin:
                start, end, moved = until, until + (end - start), True
    return start


def _worst_night(
    jobs: pd.DataFrame, upstream: list[list[int]], longest: np.ndarray, blackouts: list[Span]
) -> np.ndarray:
    """When each job ends if all take as long as they ever did and start a quarter of an hour after they may, blackouts kept."""
    ready, domain = jobs.ready_minute.tolist(), jobs.domain.tolist()
    end = np.zeros(len(jobs))
    for k, ups in enumerate(upstream):
        start = max([ready[k], *(end[u] for u in ups)])
        held = float(np.ceil(longest[k])) + WINDOW
        end[k] = _fits(domain[k], start, start + held, blackouts) + held
    return end


def _shorten(jobs: pd.DataFrame, upstream: list[list[int]], minutes: np.ndarray, blackouts: list[Span]) -> np.ndarray:
    """The durations, those of chains cut that would not end within the night whatever one does."""
    minutes = minutes.copy()
    while (end := _worst_night(jobs, upstream, minutes.max(axis=0), blackouts)).max() > LAST_END:
        k = int(end.argmax())
        while True:
            minutes[:, k] = np.round(0.85 * minutes[:, k], 1)
            if not upstream[k]:
                break
            k = max(upstream[k], key=lambda u: end[u])
    return minutes


def _deadlines(
    visible: bytes, jobs: pd.DataFrame, upstream: list[list[int]], longest: np.ndarray, blackouts: list[Span]
) -> np.ndarray:
    """Deadlines: the end of the worst night plus a quarter of an hour to six hours; of what others wait for, the night's end."""
    n = len(jobs)
    end = _worst_night(jobs, upstream, longest, blackouts)
    u = streams(visible, "deadlines").random((n, 2))
    waited_for = {up for ups in upstream for up in ups}
    room = np.select([u[:, 0] < 0.25, u[:, 0] < 0.55], [20 + 25 * u[:, 1], 60 + 90 * u[:, 1]], 180 + 180 * u[:, 1])
    due = np.ceil((end + room) / 15) * 15
    due = np.where([k in waited_for for k in range(n)], NIGHT_MINUTES, due)
    return np.clip(due, 0, NIGHT_MINUTES).astype(int)


def _slots(
    visible: bytes, jobs: pd.DataFrame, upstream: list[list[int]], longest: np.ndarray, blackouts: list[Span]
) -> pd.DataFrame:
    """Slots by hour and purpose. Somebody sized the cluster for its busiest stretch: whatever has to run within it, long runs
    included, takes three fifths of what is free for batch."""
    u = streams(visible, "slots").random(2)
    clock = (18 + np.arange(16)) % 24
    interactive = np.where((clock >= 18) & (clock < 21), 0.2, np.where((clock >= 5) & (clock < 18), 0.26, 0.04))
    batch = int(np.ceil(_busiest(jobs, upstream, longest, blackouts, 1.04 - interactive) / (0.58 + 0.03 * u[0])))
    used = {
        "interactive": np.maximum(1, np.round(interactive * batch)).astype(int),
        "streaming": np.full(16, max(2, round(0.12 * batch))),
        "calendar": np.full(16, max(2, round(0.08 * batch))),
    }
    total = batch + round(0.04 * batch) + int(used["streaming"][0] + used["calendar"][0])
    used["batch"] = total - sum(used.values())
    return pd.DataFrame(
        [(60 * h, 60 * h + 60, purpose, int(counts[h])) for h in range(16) for purpose, counts in sorted(used.items())],
        columns=["from_minute", "to_minute", "purpose", "slots"],
    )


def _busiest(
    jobs: pd.DataFrame, upstream: list[list[int]], longest: np.ndarray, blackouts: list[Span], share: np.ndarray
) -> float:
    """The slots needed in the busiest stretch of the night, by whatever has to run within it. `share`: by hour, how much of a
    slot is free then."""
    first = _worst_night(jobs, upstream, longest, blackouts) - longest - WINDOW
    last = jobs.due_minute.to_numpy(dtype=float)
    for k in range(len(jobs) - 1, -1, -1):  # upstreams come before those that wait for them
        for up in upstream[k]:
            last[up] = min(last[up], last[k] - longest[k] - WINDOW)
    long, slots = longest + WINDOW, jobs.slots.to_numpy()
    free = np.r_[0.0, np.cumsum(np.repeat(share, 60))]
    need = 0.0
    for a in range(0, NIGHT_MINUTES, 30):
        for b in range(a + 30, NIGHT_MINUTES + 1, 30):
            # What of each job falls between a and b however early or late it starts.
            inside = np.minimum(np.minimum(first + long - a, b - (last - long)), np.minimum(long, b - a))
            need = max(need, float((np.maximum(0, inside) * slots).sum() / (free[b] - free[a])))
    return need


def _history(
    jobs: pd.DataFrame, upstream: list[list[int]], minutes: np.ndarray, slots: pd.DataFrame, blackouts: pd.DataFrame
) -> pd.DataFrame:
    """Four weeks as they were: a job is queued when its clock has struck and its upstreams are done, and takes its slots when
    all that queued before it have theirs and enough are free. Blackouts were kept by hand: who would run into one waits."""
    room = slots[slots.purpose == "batch"].slots.to_numpy()
    every = _spans(blackouts[blackouts.night_kind == "every night"])
    need, clock, domain = jobs.slots.tolist(), jobs.clock.tolist(), jobs.domain.tolist()
    downstream: list[list[int]] = [[] for _ in upstream]
    for k, ups in enumerate(upstream):
        for up in ups:
            downstream[up].append(k)
    rows = []
    for night in range(NIGHTS):
        waits = np.array([1 + len(ups) for ups in upstream])
        events = [(float(clock[k]), 0, k) for k in range(len(jobs))]
        heapq.heapify(events)
        queue: list[tuple[float, int]] = []
        queued, start, busy = np.zeros(len(jobs)), np.zeros(len(jobs)), 0
        ticks = [(60.0 * h, 2, -1) for h in range(1, 30)] + [(until, 2, -1) for _, until, _ in every]
        events += ticks
        heapq.heapify(events)
        while events:
            now, kind, k = heapq.heappop(events)
            if kind == 1:
                busy -= need[k]
                for down in downstream[k]:
                    waits[down] -= 1
                    if not waits[down]:
                        queued[down] = now
                        queue.append((now, down))
            elif kind == 0:
                waits[k] -= 1
                if not waits[k]:
                    queued[k] = now
                    queue.append((now, k))
            free = room[min(int(now // 60), 15)] - busy
            while queue:
                job = queue[0][1]
                end = now + minutes[night, job]
                if need[job] > free or _fits(domain[job], now, end, every) > now:
                    break
                queue.pop(0)
                start[job], free, busy = now, free - need[job], busy + need[job]
                heapq.heappush(events, (end, 1, job))
        for k in range(len(jobs)):
            rows.append((jobs.job_id.iat[k], night, clock[k], queued[k], start[k], start[k] + minutes[night, k]))
    return pd.DataFrame(rows, columns=["job_id", "night", "scheduled", "queued", "started", "ended"])


def _write(
    con: duckdb.DuckDBPyConnection,
    jobs: pd.DataFrame,
    upstream: list[list[int]],
    runs: pd.DataFrame,
    slots: pd.DataFrame,
    blackouts: pd.DataFrame,
    teams: pd.DataFrame,
    visible: bytes,
) -> None:
    ids = jobs.job_id.tolist()
    nightly = pd.DataFrame(
        {
            "job_id": jobs.job_id, "job_name": jobs.job_name, "team_id": jobs.team_id, "cadence": "nightly",
            "local_time": jobs.local_time, "time_zone": jobs.time_zone, "weekday": None, "month_day": None,
            "slots": jobs.slots, "ready_minute": jobs.ready_minute, "due_minute": jobs.due_minute,
        }
    )  # fmt: skip
    u = streams(visible, "calendar jobs").random((len(CALENDAR_JOBS), 2))
    calendar = []
    for k, (name, domain, weekday, month_day, at, zone) in enumerate(CALENDAR_JOBS):
        own = teams[teams.domain == domain].team_id.tolist()
        team = own[int(u[k, 0] * len(own))]
        cadence = "weekly" if weekday else "monthly"
        calendar.append(
            (f"J{300 + k}", name, team, cadence, at, zone, weekday, month_day, 1 + int(u[k, 1] * 3), None, None)
        )
    frames = {
        "cluster_nightly": nightly,
        "cluster_calendar": pd.DataFrame(calendar, columns=nightly.columns),
        "cluster_deps": pd.DataFrame(
            [(ids[k], ids[up]) for k, ups in enumerate(upstream) for up in ups], columns=["job_id", "upstream_job_id"]
        ),
        "cluster_runs": runs,
        "cluster_slots": slots,
        "cluster_blackouts": blackouts,
    }
    for name, frame in frames.items():
        con.register(f"frame_{name}", frame)
    con.execute(TABLES)
    for name in frames:
        con.unregister(f"frame_{name}")


TABLES = f"""
create temp macro night_moment(night, minute) as
  timestamp '{FIRST_NIGHT} 18:00:00' + to_days(night::integer) + to_microseconds(6000000 * round(minute * 10)::bigint);

create table ops.cluster_jobs as
select
  job_id::varchar as job_id,
  job_name::varchar as job_name,
  team_id::integer as team_id,
  cadence::varchar as cadence,
  local_time::varchar as local_time,
  time_zone::varchar as time_zone,
  weekday::utinyint as weekday,
  month_day::utinyint as month_day,
  slots::utinyint as slots,
  ready_minute::smallint as ready_minute,
  due_minute::smallint as due_minute
from (from frame_cluster_nightly union all from frame_cluster_calendar)
order by job_id;

create table ops.cluster_job_deps as
select
  job_id::varchar as job_id,
  upstream_job_id::varchar as upstream_job_id
from frame_cluster_deps
order by job_id, upstream_job_id;

create table ops.cluster_job_runs as
select
  job_id::varchar as job_id,
  date '{FIRST_NIGHT}' + night::integer as night_on,
  night_moment(night, scheduled) as scheduled_at,
  night_moment(night, queued) as queued_at,
  night_moment(night, started) as started_at,
  night_moment(night, ended) as ended_at
from frame_cluster_runs
order by job_id, night_on;

create table ops.cluster_slots as
select
  from_minute::smallint as from_minute,
  to_minute::smallint as to_minute,
  purpose::varchar as purpose,
  slots::smallint as slots
from frame_cluster_slots
order by from_minute, purpose;

create table ops.cluster_blackouts as
select
  night_kind::varchar as night_kind,
  from_minute::smallint as from_minute,
  to_minute::smallint as to_minute,
  domain::varchar as domain,
  reason::varchar as reason
from frame_cluster_blackouts
order by night_kind, from_minute, domain;

drop macro night_moment;

comment on table ops.cluster_jobs is 'Jobs of all teams on the shared batch cluster, each started by its own team''s clock.';
comment on column ops.cluster_jobs.job_id is 'Key.';
comment on column ops.cluster_jobs.job_name is 'Name; unique.';
comment on column ops.cluster_jobs.team_id is 'Owner; references ops.teams.';
comment on column ops.cluster_jobs.cadence is 'nightly, weekly or monthly.';
comment on column ops.cluster_jobs.local_time is 'Start by the clock of time_zone, HH:MM.';
comment on column ops.cluster_jobs.time_zone is 'IANA time zone of local_time.';
comment on column ops.cluster_jobs.weekday is 'ISO weekday of a weekly job, 1 Monday to 7 Sunday; null: no weekly job.';
comment on column ops.cluster_jobs.month_day is 'Day of a monthly job; the last day where a month is shorter; null: not monthly.';
comment on column ops.cluster_jobs.slots is 'Slots that it holds while it runs.';
comment on column ops.cluster_jobs.ready_minute is 'The day''s data is complete, minutes after 18:00 UTC; null: no nightly job.';
comment on column ops.cluster_jobs.due_minute is 'When it must be done, minutes after 18:00 UTC; null: not nightly.';

comment on table ops.cluster_job_deps is 'Which nightly job waits for which.';
comment on column ops.cluster_job_deps.job_id is 'The job that waits; references ops.cluster_jobs.';
comment on column ops.cluster_job_deps.upstream_job_id is 'The job that must have ended that night; references ops.cluster_jobs.';

comment on table ops.cluster_job_runs is 'Runs of the nightly jobs over the last four weeks.';
comment on column ops.cluster_job_runs.job_id is 'References ops.cluster_jobs.';
comment on column ops.cluster_job_runs.night_on is 'Day of the evening on which the night began (UTC).';
comment on column ops.cluster_job_runs.scheduled_at is 'When the team''s clock struck (UTC).';
comment on column ops.cluster_job_runs.queued_at is 'When all upstreams were done as well (UTC).';
comment on column ops.cluster_job_runs.started_at is 'When it got its slots (UTC).';
comment on column ops.cluster_job_runs.ended_at is 'When it gave them back (UTC).';

comment on table ops.cluster_slots is 'Slots of the shared batch cluster through a night, by purpose.';
comment on column ops.cluster_slots.from_minute is 'First minute, minutes after 18:00 UTC.';
comment on column ops.cluster_slots.to_minute is 'End, minutes after 18:00 UTC, excluded.';
comment on column ops.cluster_slots.purpose is 'batch (nightly jobs), calendar (weekly, monthly), interactive or streaming.';
comment on column ops.cluster_slots.slots is 'Slots set aside for the purpose.';

comment on table ops.cluster_blackouts is 'Times in which jobs must not run on the shared batch cluster.';
comment on column ops.cluster_blackouts.night_kind is 'every night or month end (the night that begins on a month''s last day).';
comment on column ops.cluster_blackouts.from_minute is 'Start, minutes after 18:00 UTC.';
comment on column ops.cluster_blackouts.to_minute is 'End, minutes after 18:00 UTC, excluded.';
comment on column ops.cluster_blackouts.domain is 'Domain whose jobs keep out; null: everybody''s.';
comment on column ops.cluster_blackouts.reason is 'Why.';
"""
