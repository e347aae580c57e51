"""Nights of a cluster that many teams' jobs share: start windows, claims, and how full it gets.

Times are minutes of the night: minute 0 is 18:00 UTC, the night ends at minute 960 (10:00 UTC). A job is a dict with
job_id, team_id, domain, slots, ready_minute (the data of the day is complete), due_minute, upstream (list of job_ids) and
minutes (observed durations). A plan has one row for each job: job_id, team_id, earliest, latest (start), slots and minutes
(the claim: so many slots for so long from its start). Capacity is a dict with slots (one number for each minute of the
night) and blackouts (rows with from_minute, to_minute and domain; None: everybody's).
"""

from collections.abc import Callable, Mapping, Sequence
from graphlib import TopologicalSorter
from typing import Any

import numpy as np

NIGHT_MINUTES = 960
PROMISES = ("starts in its window", "starts when its data is there", "ends by its deadline", "keeps out of blackouts")

Job = Mapping[str, Any]
Rows = Sequence[Mapping[str, Any]]

QUERIES = {
    "jobs": """
        select j.job_id, j.team_id, t.domain, j.slots::integer as slots, j.ready_minute::integer as ready_minute,
          j.due_minute::integer as due_minute
        from ops.cluster_jobs j
        join ops.teams t using (team_id)
        where j.cadence = 'nightly'
        order by j.job_id
    """,
    "deps": "select job_id, upstream_job_id from ops.cluster_job_deps order by job_id, upstream_job_id",
    "runs": """
        select job_id, round(epoch(ended_at - started_at) / 60, 1)::double as minutes
        from ops.cluster_job_runs
        order by job_id, night_on
    """,
    "slots": """
        select from_minute::integer as from_minute, to_minute::integer as to_minute, slots::integer as slots
        from ops.cluster_slots
        where purpose = 'batch'
        order by from_minute
    """,
    "blackouts": """
        select from_minute::integer as from_minute, to_minute::integer as to_minute, domain, night_kind
        from ops.cluster_blackouts
        order by from_minute, domain
    """,
}


def read_night(con: Any, *, month_end: bool = False) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the nightly jobs and the capacity of an ordinary night, or of one at a month's end, from a DuckDB connection."""

    def rows(sql: str) -> list[dict[str, Any]]:
        relation = con.sql(sql)
        return [dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()]

    return night_of(rows, month_end=month_end)


def night_of(
    rows: Callable[[str], Sequence[dict[str, Any]]], *, month_end: bool = False
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return jobs and capacity as `read_night` does, by a function that gives the rows of a query as dicts."""
    jobs = [dict(job, upstream=[], minutes=[]) for job in rows(QUERIES["jobs"])]
    by_id = {job["job_id"]: job for job in jobs}
    for dep in rows(QUERIES["deps"]):
        by_id[dep["job_id"]]["upstream"].append(dep["upstream_job_id"])
    for run in rows(QUERIES["runs"]):
        by_id[run["job_id"]]["minutes"].append(run["minutes"])
    slots = [0] * NIGHT_MINUTES
    for part in rows(QUERIES["slots"]):
        slots[part["from_minute"] : part["to_minute"]] = [part["slots"]] * (part["to_minute"] - part["from_minute"])
    blackouts = [
        {key: row[key] for key in ("from_minute", "to_minute", "domain")}
        for row in rows(QUERIES["blackouts"])
        if row["night_kind"] == "every night" or month_end
    ]
    return jobs, {"slots": slots, "blackouts": blackouts}


def draw_minutes(rng: np.random.Generator, jobs: Sequence[Job], nights: int) -> np.ndarray:
    """Return drawn durations in minutes, shape (nights, jobs): for each job a random quantile of its observed durations
    (linear between neighbours), so none is shorter than the shortest or longer than the longest that was seen."""
    u = rng.random((nights, len(jobs)))
    return np.column_stack([np.quantile(job["minutes"], u[:, k]) for k, job in enumerate(jobs)])


def in_order(jobs: Sequence[Job]) -> list[str]:
    """Return the job_ids, each after its upstreams. Raises graphlib.CycleError."""
    return list(TopologicalSorter({job["job_id"]: job["upstream"] for job in jobs}).static_order())


def run_nights(jobs: Sequence[Job], plan: Rows, minutes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return starts and ends, each of shape (nights, jobs): a job starts when its window opens or, if that is later, when
    the last of its upstreams has ended. `minutes`: durations of shape (nights, jobs)."""
    number = {job["job_id"]: k for k, job in enumerate(jobs)}
    earliest = {row["job_id"]: float(row["earliest"]) for row in plan}
    start = np.zeros(minutes.shape)
    end = np.zeros(minutes.shape)
    for job_id in in_order(jobs):
        k = number[job_id]
        start[:, k] = earliest[job_id]
        for upstream in jobs[k]["upstream"]:
            np.maximum(start[:, k], end[:, number[upstream]], out=start[:, k])
        end[:, k] = start[:, k] + minutes[:, k]
    return start, end


def load_of(start: np.ndarray, end: np.ndarray, slots: np.ndarray) -> np.ndarray:
    """Return the slots taken at each minute of each night, shape (nights, 960). A job holds its slots at minute m where
    start <= m < end. `start`, `end`: shape (nights, jobs); `slots`: shape (jobs,)."""
    nights = np.arange(len(start))[:, None]
    change = np.zeros((len(start), NIGHT_MINUTES + 1))
    for at, sign in ((start, 1.0), (end, -1.0)):
        np.add.at(change, (nights, np.clip(np.ceil(at), 0, NIGHT_MINUTES).astype(int)), sign * slots)
    return np.cumsum(change, axis=1)[:, :-1]


def claimed(plan: Rows) -> np.ndarray:
    """Return the slots that the plan claims at each minute, shape (960,): each job's from its earliest start to the end of
    its claim after its latest start."""
    start, end, slots = (
        np.array([values])
        for values in zip(*((r["earliest"], r["latest"] + r["minutes"], r["slots"]) for r in plan), strict=True)
    )
    return load_of(start.astype(float), end.astype(float), slots[0].astype(float))[0]


def in_blackout(job: Job, start: np.ndarray, end: np.ndarray, blackouts: Rows) -> np.ndarray:
    """Return for each start and end whether a run of the job touches a blackout that concerns its domain."""
    hit = np.zeros(np.shape(start), dtype=bool)
    for b in blackouts:
        if b["domain"] is None or b["domain"] == job["domain"]:
            hit |= (start < b["to_minute"]) & (end > b["from_minute"])
    return hit


def broken(
    jobs: Sequence[Job], plan: Rows, capacity: Mapping[str, Any], start: np.ndarray, end: np.ndarray
) -> np.ndarray:
    """Return which promises were broken, shape (4, nights, jobs), in the order of `PROMISES`."""
    by_id = {row["job_id"]: row for row in plan}
    late = np.array([by_id[job["job_id"]]["latest"] for job in jobs], dtype=float)
    early = np.array([by_id[job["job_id"]]["earliest"] for job in jobs], dtype=float)
    ready = np.array([job["ready_minute"] for job in jobs], dtype=float)
    due = np.array([min(job["due_minute"], NIGHT_MINUTES) for job in jobs], dtype=float)
    eps = 1e-6  # minutes: sums of floats
    dark = [in_blackout(job, start[:, k] + eps, end[:, k] - eps, capacity["blackouts"]) for k, job in enumerate(jobs)]
    return np.stack(
        [start > late + eps, np.broadcast_to(early < ready - eps, start.shape), end > due + eps, np.column_stack(dark)]
    )


def replay_plan(
    jobs: Sequence[Job], plan: Rows, capacity: Mapping[str, Any], minutes: Sequence[Sequence[float]]
) -> dict[str, Any]:
    """Run a plan through drawn nights and return what happened.

    A dict: peaks (for each night the highest share of the cluster's slots in use, by what the jobs need), broken (rows
    job_id, promise, nights: how many nights), runs (how many there were), broken_runs (with one promise broken or more),
    overruns (runs longer than the minutes claimed), claim_peak (the highest share that is claimed), claim_minute (when),
    load (slots in use of the median and of the fullest night, at each minute), claims (slots claimed, at each minute).
    """
    drawn = np.asarray(minutes, dtype=float)
    start, end = run_nights(jobs, plan, drawn)
    need = np.array([job["slots"] for job in jobs], dtype=float)
    size = np.maximum(np.asarray(capacity["slots"], dtype=float), 1e-9)
    load = load_of(start, end, need)
    peaks = (load / size).max(axis=1)
    kinds = broken(jobs, plan, capacity, start, end)
    counts = kinds.sum(axis=1)
    claim = {row["job_id"]: float(row["minutes"]) for row in plan}
    longest = np.array([claim[job["job_id"]] for job in jobs])
    claims = claimed(plan)
    order = np.argsort(peaks, kind="stable")
    return {
        "peaks": peaks.tolist(),
        "broken": [
            {"job_id": jobs[k]["job_id"], "promise": PROMISES[p], "nights": int(counts[p, k])}
            for p, k in np.argwhere(counts > 0).tolist()
        ],
        "runs": int(drawn.size),
        "broken_runs": int(kinds.any(axis=0).sum()),
        "overruns": int((drawn > longest + 1e-6).sum()),
        "claim_peak": float((claims / size).max()),
        "claim_minute": int((claims / size).argmax()),
        "load": [load[order[len(order) // 2]].tolist(), load[order[-1]].tolist()],
        "claims": claims.tolist(),
    }
