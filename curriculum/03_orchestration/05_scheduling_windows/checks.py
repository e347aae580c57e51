"""What lab 3.5 judges.

Task a. A plan comes out as rows and is run through drawn nights in the judge's process, on the same draws for every plan. The
peak is compared with that of a plain levelling heuristic (`Planner`), which is given what the learner's function is given.
Plans in force, and the changes to them, are made here; a change is used only if the plain heuristic can mend it without
moving anybody who may stay.

Task b. The truth is a scan of the zone's clock over all UTC instants of the period, the other way round than one would
write it: not from local times to UTC, but from UTC to what the clock shows.
"""

from __future__ import annotations

import calendar
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from workshop.checks import CheckFailed, Evidence, as_number, as_table, check, expect
from workshop.sim.nights import NIGHT_MINUTES, draw_minutes, in_order, night_of
from workshop.table import Table
from workshop.trusted import Lab, World

SUBJECTS = ("scheduling",)

NIGHTS = 20
PROMISE_SHARE = 0.005
OVERRUN_SHARE = 0.05
PEAK_RATIO = 1.4
CHANGED_SHARE = 0.05
WINDOW_MINUTES = 15
COLUMNS = ("job_id", "team_id", "earliest", "latest", "slots", "minutes")

HINTS = {
    "a": (
        "Go backwards first: from each deadline, what is the last start that leaves everybody downstream the time for "
        "their longest runs? Jobs in the order of that last start are in the order of their dependencies too.",
        "Then forwards: keep an array of 960 claims, and give each job, least time left first, a start between the "
        "end of its upstreams' claims and its last start, where its claim meets no blackout. Jobs that simply go "
        "where the cluster is emptiest at that moment drift late, where deadlines leave no choice to others.",
        "Choose a level, say 60% of the slots. Place each job at the earliest start at which the claims stay at or "
        "below the level; if one has no place, raise the level and begin again. With `current`, book first what still "
        "fits, and re-place only who has changed or whose upstreams now end after its window opens.",
    ),
    "b": (
        "Build the local start from day and time, attach the zone with fold=0, go to UTC and back. When do you not "
        "come back to where you started?",
        "fold=0 is the first of two. A time in a gap does not come back the same from UTC: walk forward minute by "
        "minute until one does. That is the first instant after the gap, whatever its length.",
        "Days are days of the zone, so make the list of days before you go to UTC. The last day of a month is the one "
        "whose tomorrow is in another month; it stands in for every month_day above its number.",
    ),
}
MISCONCEPTIONS = {
    "no_dependencies": "A job waits for its upstreams whatever its window says. Add up the longest runs along the chain before "
    "it: can its window hold?",
    "mean": "The mean is passed every other night, and along a chain the delays add up. Look at the longest run that was seen.",
    "deadline": "Work backwards from the deadlines: slack is what is left between the end of a job's claim and the last moment "
    "at which it may end without making somebody downstream late.",
    "blackout": "A blackout is not only about starts: a job that starts before it and runs into it breaks it as well.",
    "half_a_day": "Data of a day is complete when the day is over in its region. A job cannot be levelled to before that.",
    "wide_windows": "A window that is open all night promises nothing and books everything: the claim counts from earliest to "
    "latest + minutes.",
    "collision": "Everybody as soon as possible is everybody at once. Which jobs of the fullest minute have slack?",
    "moves_everybody": "Others have built upon their windows. Begin with the plan in force, and touch only what no longer holds.",
    "moves_nobody": "A window that its upstreams cannot meet any more is no promise. What waits for the changed job must move.",
    "skipped": "2:30 does not exist on that day. Which UTC instant did you make of it, and what does the clock show then?",
    "fixed_offset": "An offset is a property of a moment, not of a zone: ask for it at each start.",
    "doubled": "The clock shows that time twice. fold tells which one is meant.",
    "month_end": "cron's day 31 does not run in June. Here it means the last day.",
    "local_days": "Days, weekdays and months are those of the zone; in Sydney Monday begins on Sunday, 14:00 UTC.",
}

Job = dict[str, Any]
Row = dict[str, Any]


# -- the plain heuristic ----------------------------------------------------------------------------------------------------


class Planner:
    """Levelling as it is taught: slack backwards, then the earliest start under a level that is raised until all fit.

    Works on a grid of a quarter of an hour and claims the longest run seen and ``room`` minutes. ``jitter`` draws where a job
    goes within its slack (for plans in force, that nobody else would make the same way)."""

    def __init__(self, jobs: Sequence[Job], capacity: dict[str, Any], room: int = 0) -> None:
        self.jobs = {job["job_id"]: job for job in jobs}
        self.order = in_order(jobs)
        self.size = np.array(capacity["slots"], dtype=float)
        self.claim = {i: math.ceil(max(job["minutes"])) + room for i, job in self.jobs.items()}
        self.dark = {
            i: [
                (b["from_minute"], b["to_minute"])
                for b in capacity["blackouts"]
                if b["domain"] is None or b["domain"] == job["domain"]
            ]
            for i, job in self.jobs.items()
        }
        self.last = {i: min(job["due_minute"], NIGHT_MINUTES) - self.claim[i] for i, job in self.jobs.items()}
        for i in reversed(self.order):
            while not self._light(i, self.last[i]):
                self.last[i] -= 1
            for up in self.jobs[i]["upstream"]:
                self.last[up] = min(self.last[up], self.last[i] - self.claim[up])
        self.by_slack = sorted(self.order, key=lambda i: (self.last[i], self.order.index(i)))

    def _light(self, i: str, start: int) -> bool:
        return all(start >= until or start + self.claim[i] <= begin for begin, until in self.dark[i])

    def place(
        self, level: float, kept: dict[str, Row], jitter: np.random.Generator | None = None, step: int = 15
    ) -> dict[str, Row] | None:
        """All jobs, those of ``kept`` where they are; None where one finds no place under the level."""
        used = np.zeros(NIGHT_MINUTES)
        for row in kept.values():
            used[row["earliest"] : row["latest"] + row["minutes"]] += row["slots"]
        plan = dict(kept)
        for i in self.by_slack:
            if i in kept:
                continue
            job = self.jobs[i]
            free = max([job["ready_minute"], *(plan[u]["latest"] + plan[u]["minutes"] for u in job["upstream"])])
            starts = {free, *range(free, self.last[i] + 1, step), *(until for _, until in self.dark[i])}
            held = self.claim[i]
            fits = [
                s
                for s in sorted(starts)
                if free <= s <= self.last[i]
                and self._light(i, s)
                and (used[s : s + held] + job["slots"] <= level * self.size[s : s + held] + 1e-9).all()
            ]
            if not fits:
                return None
            start = fits[0] if jitter is None else fits[int(len(fits) * min(jitter.random(2)) * 0.6)]
            used[start : start + held] += job["slots"]
            plan[i] = {
                "job_id": i, "team_id": job["team_id"], "earliest": start, "latest": start, "slots": job["slots"],
                "minutes": held,
            }  # fmt: skip
        return plan

    def lowest(self) -> dict[str, Row]:
        """The plan at the lowest level, in steps of 5%, at which all jobs fit."""
        for level in np.arange(0.4, 4.0, 0.05):
            plan = self.place(float(level), {})
            if plan is not None:
                return plan
        raise ValueError("the jobs of this night do not fit whatever one does")


# -- nights -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Night:
    """One night: its name, what the function is given, and the draws that it is judged by."""

    name: str
    jobs: list[Job]
    capacity: dict[str, Any]
    minutes: list[list[float]]
    plain_peak: float


def _nights(lab: Lab) -> list[Night]:
    """The three nights."""

    def make() -> list[Night]:
        other = lab.worlds(1)[0]
        rng = lab.rng("nights")
        return [
            _night(lab, rng, "an ordinary night", lab.world, False),
            _night(lab, rng, "a night at a month's end", lab.world, True),
            _night(lab, rng, "an ordinary night of another cluster", other, False),
        ]

    return lab.kept("nights", make)


def read_jobs(world: World, month_end: bool) -> tuple[list[Job], dict[str, Any]]:
    return night_of(lambda sql: world.sql(sql).dicts(), month_end=month_end)


def _night(lab: Lab, rng: np.random.Generator, name: str, world: World, month_end: bool) -> Night:
    jobs, capacity = read_jobs(world, month_end)
    jobs += _edge_jobs(rng, jobs, capacity)
    for job in jobs:
        rng.shuffle(job["minutes"])
    drawn = draw_minutes(rng, jobs, NIGHTS).tolist()
    plain = list(Planner(jobs, capacity).lowest().values())
    return Night(name, jobs, capacity, drawn, _p95(_replay(lab, jobs, plain, capacity, drawn)["peaks"]))


def _edge_jobs(rng: np.random.Generator, jobs: list[Job], capacity: dict[str, Any]) -> list[Job]:
    """A long job for each blackout, whose data is there shortly before it begins: who looks at starts alone runs into it. On
    some worlds no other job happens to stand there."""
    made = []
    for k, blackout in enumerate(capacity["blackouts"]):
        concerned = [job for job in jobs if blackout["domain"] in (None, job["domain"])]
        if not concerned:
            continue
        owner = concerned[int(rng.integers(len(concerned)))]
        minutes = [round(float(m), 1) for m in 55 * np.exp(0.1 * rng.standard_normal(28))]
        # After it, and after what may follow it at once, there is room for two hours more.
        until = max(b["to_minute"] for b in capacity["blackouts"] if b["domain"] in (None, owner["domain"]))
        made.append(
            {
                "job_id": f"J{980 + k}", "team_id": owner["team_id"], "domain": owner["domain"], "slots": 1,
                "ready_minute": blackout["from_minute"] - 20,
                "due_minute": min(NIGHT_MINUTES, until + math.ceil(max(minutes)) + 120), "upstream": [], "minutes": minutes,
            }
        )  # fmt: skip
    return made


def _replay(lab: Lab, jobs: list[Job], plan: list[Row], capacity: dict[str, Any], minutes: list) -> dict[str, Any]:
    return lab.judge("workshop.sim.nights:replay_plan", jobs, plan, capacity, minutes)


def _p95(peaks: Sequence[float]) -> float:
    """The second highest of twenty."""
    return sorted(peaks)[-2]


def read_plan(lab: Lab, jobs: list[Job], capacity: dict[str, Any], current: list[Row] | None, what: str) -> list[Row]:
    """The learner's plan as rows of plain numbers, one for each job."""
    given = (jobs, capacity) if current is None else (jobs, capacity, current)
    table = as_table(lab.call("schedule", *given), f"What schedule returned for {what}", COLUMNS)
    rows = []
    for row in table.dicts():
        row["job_id"] = str(row["job_id"])
        for column in ("earliest", "latest", "slots", "minutes"):
            value = as_number(row[column])
            expect(
                value is not None,
                f"In your plan for {what}, {column} of {row['job_id']} is {row[column]!r}; a number was expected.",
            )
            row[column] = value
        if abs(row["earliest"]) > 10 * NIGHT_MINUTES or abs(row["latest"]) > 10 * NIGHT_MINUTES:
            raise CheckFailed(f"In your plan for {what}, the window of {row['job_id']} is nowhere near the night.")
        rows.append(row)
    names = [row["job_id"] for row in rows]
    wanted = {job["job_id"] for job in jobs}
    problems = [
        (sorted(wanted - set(names)), "has no row for"),
        (sorted(set(names) - wanted), "has rows for jobs that are not in the list:"),
        (sorted({n for n in names if names.count(n) > 1}), "has more than one row for"),
        (sorted(r["job_id"] for r in rows if r["latest"] < r["earliest"]), "has windows that end before they begin:"),
    ]
    for ids, words in problems:
        if ids:
            raise CheckFailed(
                f"Your plan for {what} {words} {', '.join(ids[:5])}{' and others' if len(ids) > 5 else ''} ({len(ids)} "
                f"of {len(jobs)} jobs).",
                misconception="moves_nobody" if current is not None else None,
            )
    return rows


def _judged(lab: Lab) -> list[tuple[Night, list[Row], dict[str, Any]]]:
    """The learner's plan of each night and what became of it; called once for all checks of the task."""

    def run() -> list[tuple[Night, list[Row], dict[str, Any]]]:
        made = []
        for night in _nights(lab):
            plan = read_plan(lab, night.jobs, night.capacity, None, night.name)
            made.append((night, plan, _replay(lab, night.jobs, plan, night.capacity, night.minutes)))
        return made

    return lab.once("plans", run)


def _clock(minute: float) -> str:
    at = (18 * 60 + round(minute)) % (24 * 60)
    return f"{minute:g} ({at // 60:02d}:{at % 60:02d} UTC)"


@check("a", "windows, deadlines, blackouts and ready times are kept", points=1.5)
def promises_are_kept(lab: Lab) -> None:
    """Each night drawn 20 times; all runs of the three nights together, so that one unlucky chain decides nothing."""
    judged = _judged(lab)
    runs = sum(result["runs"] for _, _, result in judged)
    bad = sum(result["broken_runs"] for _, _, result in judged)
    if bad <= PROMISE_SHARE * runs:
        return
    kinds: dict[str, int] = {}
    rows = []
    for night, plan, result in judged:
        by_id = {row["job_id"]: row for row in plan}
        about = {job["job_id"]: job for job in night.jobs}
        for b in result["broken"]:
            kinds[b["promise"]] = kinds.get(b["promise"], 0) + b["nights"]
            row, job = by_id[b["job_id"]], about[b["job_id"]]
            rows.append(
                (
                    b["nights"], night.name, b["job_id"], b["promise"], f"{row['earliest']:g} to {row['latest']:g}",
                    job["ready_minute"], job["due_minute"], ", ".join(job["upstream"]), round(max(job["minutes"]), 1),
                )
            )  # fmt: skip
    worst = max(kinds, key=lambda kind: kinds[kind])
    said = {
        "starts in its window": "start after their window has closed, since their upstreams ended too late",
        "starts when its data is there": "have a window that opens before the data of the day is complete",
        "ends by its deadline": "end after their deadline",
        "keeps out of blackouts": "run in a blackout",
    }
    count = "; ".join(f"{n} {said[kind]}" for kind, n in sorted(kinds.items(), key=lambda item: -item[1]))
    rows.sort(key=lambda r: (-r[0], r[1], r[2]))
    columns = ["nights of 20", "night", "job", "broken", "window", "ready", "due", "upstreams", "longest run, min"]
    expect(
        False,
        f"{bad} of {runs} runs break a promise ({bad / runs:.1%}; {PROMISE_SHARE:.1%} is allowed): {count}.",
        evidence=Evidence("jobs that break a promise most often", Table.of(columns, rows[:8])),
        ask="Take the first job of the list: from when to when does its longest run last, and what lies in between?"
        if worst == "keeps out of blackouts"
        else "Take the first job of the list: when does the last of its upstreams end on a slow night?",
        misconception={
            "starts in its window": "no_dependencies",
            "starts when its data is there": "half_a_day",
            "ends by its deadline": "deadline",
            "keeps out of blackouts": "blackout",
        }[worst],
    )


@check("a", "claims name their owner, cover the runs and fit into the cluster", points=1)
def claims_fit(lab: Lab) -> None:
    """The cluster's calendar: who books what, whether the runs keep to it, and whether all bookings fit at once."""
    judged = _judged(lab)
    for night, plan, _ in judged:
        about = {job["job_id"]: job for job in night.jobs}
        wrong = [
            (
                row["job_id"],
                row["team_id"],
                about[row["job_id"]]["team_id"],
                row["slots"],
                about[row["job_id"]]["slots"],
            )
            for row in plan
            if row["team_id"] != about[row["job_id"]]["team_id"] or row["slots"] != about[row["job_id"]]["slots"]
        ]
        expect(
            not wrong,
            f"In your plan for {night.name}, {len(wrong)} claims have another owner or other slots than their job.",
            evidence=Evidence(
                "claims and jobs", Table.of(["job", "your team_id", "team_id", "your slots", "slots"], wrong[:5])
            ),
        )
    runs = sum(result["runs"] for _, _, result in judged)
    over = sum(result["overruns"] for _, _, result in judged)
    # Fails only where a binomial test rejects the promise at 1e-4 (normal approximation, thousands of runs).
    allowed = OVERRUN_SHARE * runs + 3.72 * math.sqrt(runs * OVERRUN_SHARE * (1 - OVERRUN_SHARE))
    expect(
        over <= allowed,
        f"{over} of {runs} runs ({over / runs:.0%}) take longer than the minutes that you claimed for them; 5% may.",
        ask="Which of a job's 28 observed durations is your claim?",
        misconception="mean",
    )
    for night, plan, result in judged:
        minute, share = result["claim_minute"], result["claim_peak"]
        if share > 1 + 1e-9:
            then = [r for r in plan if r["earliest"] <= minute < r["latest"] + r["minutes"]]
            then.sort(key=lambda r: -(r["latest"] - r["earliest"]))
            wide = float(np.median([r["latest"] - r["earliest"] for r in plan]))
            expect(
                False,
                f"On {night.name} the claims of {len(then)} jobs add up to {sum(r['slots'] for r in then):g} slots at "
                f"minute {_clock(minute)}; the cluster has {night.capacity['slots'][minute]}."
                + f" The median of your windows is {wide:g} minutes wide, and a claim counts from earliest until "
                "latest + minutes." * (wide > 15),
                evidence=Evidence(
                    "claims of that minute, widest windows first",
                    Table.of(
                        ["job", "earliest", "latest", "minutes", "slots"],
                        [(r["job_id"], r["earliest"], r["latest"], r["minutes"], r["slots"]) for r in then[:8]],
                    ),
                ),
                ask="What would these jobs lose if their windows were narrower, or later?",
                misconception="wide_windows" if wide > 60 else "collision",
            )


@check("a", "the peak stays low", points=1.5)
def peak_is_low(lab: Lab) -> None:
    """The second highest peak of 20 nights, in shares of the slots there are; the average of three nights, against the plain
    heuristic's on the same draws."""
    judged = _judged(lab)
    mine = [_p95(result["peaks"]) for _, _, result in judged]
    plain = [night.plain_peak for night, _, _ in judged]
    ratio = sum(mine) / sum(plain)
    worst = max(range(len(mine)), key=lambda k: mine[k])
    night, _, result = judged[worst]
    table = Table.of(
        ["night", "your peak", "plain levelling"],
        [(n.name, f"{m:.0%}", f"{p:.0%}") for (n, _, _), m, p in zip(judged, mine, plain, strict=True)],
    )
    evidence = [Evidence("second highest peak of 20 nights, of the slots there are", table)]
    if max(mine) > 1 or ratio > PEAK_RATIO:
        evidence.append(Evidence(f"slots in use on the fullest draw of {night.name}", png=_draw(night, result)))
    full = int(np.argmax(np.array(result["load"][1]) / np.array(night.capacity["slots"], dtype=float)))
    expect(
        max(mine) <= 1,
        f"On {night.name} the jobs want {mine[worst]:.0%} of the slots at the peak; at more than 100% the cluster is "
        f"overloaded. On the fullest draw it is fullest at minute {_clock(full)}.",
        evidence=evidence,
        ask="Who runs at that minute, and who of them could wait?",
        misconception="collision",
    )
    expect(
        ratio <= PEAK_RATIO,
        f"Your peaks are {ratio:.2f} times those of a plain levelling heuristic on the same nights; {PEAK_RATIO} is "
        f"allowed. On the fullest draw of {night.name} the cluster is fullest at minute {_clock(full)}.",
        evidence=evidence,
        ask="Are the jobs of that minute there because they must, or because that was the emptiest place at their turn?",
        misconception="collision",
    )


def _draw(night: Night, result: dict[str, Any]) -> bytes:
    from workshop.plots import BLUE, GREY, ORANGE, plt, png

    figure, ax = plt.subplots(figsize=(7.2, 2.6))
    at = np.arange(NIGHT_MINUTES)
    ax.fill_between(at, result["load"][1], step="post", color=BLUE, alpha=0.6, label="in use")
    ax.step(at, result["claims"], where="post", color=ORANGE, lw=1, label="claimed")
    ax.step(at, night.capacity["slots"], where="post", color=GREY, label="slots there are")
    ax.set(xlabel="minute of the night (0: 18:00 UTC)", ylabel="slots")
    ax.set_title("Your fullest night")
    ax.legend(loc="upper right")
    return png(figure)


# -- changes to a plan in force ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Change:
    """A plan in force, the jobs after a change, and who may move."""

    what: str
    jobs: list[Job]
    capacity: dict[str, Any]
    current: list[Row]
    may_move: frozenset[str]
    changed: frozenset[str]  # with those that wait for them
    minutes: list[list[float]]


def _changes(lab: Lab) -> list[Change]:
    def make() -> list[Change]:
        jobs, capacity = read_jobs(lab.world, False)
        rng = lab.rng("changes")
        current = list(_in_force(rng, jobs, capacity).values())
        nobody: frozenset[str] = frozenset()
        return [
            Change("nothing has changed", jobs, capacity, current, nobody, nobody, []),
            _first(_another_job, rng, jobs, capacity),
            _first(_longer_job, rng, jobs, capacity),
        ]

    return lab.kept("changes", make)


def _first(
    make: Callable[..., Change | None], rng: np.random.Generator, jobs: list[Job], capacity: dict[str, Any]
) -> Change:
    """The first change that can be mended, of some plans in force."""
    for _ in range(10):
        if change := make(rng, jobs, capacity, _in_force(rng, jobs, capacity)):
            return change
    raise ValueError(f"no change by {make.__name__} can be mended on this night")


def _in_force(rng: np.random.Generator, jobs: list[Job], capacity: dict[str, Any]) -> dict[str, Row]:
    """A plan as it grew: all promises kept, nobody where a planner would put them."""
    planner = Planner(jobs, capacity)
    for level in (0.85, 0.85, 0.85, 0.9, 0.9, 0.95, 0.95, 0.95):
        plan = planner.place(level, {}, jitter=rng)
        if plan is not None:
            return plan
    return planner.lowest()


def _downstream(jobs: Sequence[Job], of: set[str]) -> frozenset[str]:
    """The jobs of the set and all that wait for one of them."""
    by_id = {job["job_id"]: job for job in jobs}
    found = set(of)
    for i in in_order(jobs):
        if found & set(by_id[i]["upstream"]):
            found.add(i)
    return frozenset(found)


def _mends(jobs: list[Job], capacity: dict[str, Any], current: dict[str, Row], may_move: frozenset[str]) -> bool:
    """Whether the plain heuristic finds a plan that leaves everybody else in place, with windows as wide as the lab promises to
    be possible and slots to spare."""
    planner = Planner(jobs, capacity, room=WINDOW_MINUTES + 1)
    kept = {i: row for i, row in current.items() if i in planner.jobs and i not in may_move}
    if any(planner.last[i] < planner.jobs[i]["ready_minute"] for i in may_move & planner.jobs.keys()):
        return False
    return planner.place(0.97, kept, step=30) is not None


def _another_job(
    rng: np.random.Generator, jobs: list[Job], capacity: dict[str, Any], current: dict[str, Row]
) -> Change | None:
    """A team gives up a job that nobody waits for and brings another."""
    waited_for = {up for job in jobs for up in job["upstream"]}
    leaves = [job for job in jobs if job["job_id"] not in waited_for]
    for k in rng.permutation(len(leaves)).tolist():
        gone = leaves[k]
        others = [job for job in jobs if job is not gone and job["ready_minute"] <= 360]
        up = others[int(rng.integers(len(others)))]
        new = {
            "job_id": "J999", "team_id": gone["team_id"], "domain": gone["domain"], "slots": 2, "ready_minute": 240,
            "due_minute": NIGHT_MINUTES, "upstream": [up["job_id"]],
            "minutes": [round(float(m), 1) for m in 25 * np.exp(0.2 * rng.standard_normal(12))],
        }  # fmt: skip
        after = [job for job in jobs if job is not gone] + [new]
        if current[up["job_id"]]["latest"] + current[up["job_id"]]["minutes"] > 780:
            continue
        # The heuristic mends it with the new job alone; the rest of the team's may move as well.
        if _mends(after, capacity, current, frozenset({"J999"})):
            team = {job["job_id"] for job in after if job["team_id"] == gone["team_id"]}
            what = f"team {gone['team_id']} dropped {gone['job_id']} and added J999"
            return _change(rng, what, after, capacity, current, team, {"J999"})
    return None


def _longer_job(
    rng: np.random.Generator, jobs: list[Job], capacity: dict[str, Any], current: dict[str, Row]
) -> Change | None:
    """A job takes so much longer that what waits for it has to move, and can."""
    by_id = {job["job_id"]: job for job in jobs}
    for factor in (2.2, 3.0, 1.8, 4.0, 1.5):
        for k in rng.permutation(len(jobs)).tolist():
            job = jobs[k]
            below = _downstream(jobs, {job["job_id"]}) - {job["job_id"]}
            direct = [i for i in below if job["job_id"] in by_id[i]["upstream"]]
            grown = {**job, "minutes": [round(factor * m, 1) for m in job["minutes"]]}
            # Somebody of another team is late on every night without moving, however early this one starts.
            free = max([job["ready_minute"], *(current[u]["latest"] + current[u]["minutes"] for u in job["upstream"])])
            until = free + min(grown["minutes"])
            late = [i for i in direct if by_id[i]["team_id"] != job["team_id"] and current[i]["latest"] < until - 1]
            if not late or len(below) > 10:
                continue
            after = [grown if other is job else other for other in jobs]
            moved = _downstream(after, {job["job_id"]})
            # The worst case: it stays where it is, and everything after it is moved.
            if _mends(after, capacity, {i: r for i, r in current.items() if i not in moved}, moved):
                team = {other["job_id"] for other in after if other["team_id"] == job["team_id"]}
                what = f"{job['job_id']} of team {job['team_id']} takes {factor:g} times as long"
                return _change(rng, what, after, capacity, current, team, {job["job_id"]})
    return None


def _change(
    rng: np.random.Generator,
    what: str,
    after: list[Job],
    capacity: dict[str, Any],
    current: dict[str, Row],
    team: set[str],
    changed: set[str],
) -> Change:
    moved = _downstream(after, changed)
    drawn = draw_minutes(rng, after, NIGHTS).tolist()
    return Change(what, after, capacity, list(current.values()), frozenset(team) | moved, moved, drawn)


@check("a", "a change moves nobody's window but those that must", points=2)
def change_stays_local(lab: Lab) -> None:
    """Plans in force are made here, so this does not depend on the learner's own first plan."""
    for change in _changes(lab):
        plan = read_plan(lab, change.jobs, change.capacity, change.current, f"a night where {change.what}")
        was = {row["job_id"]: row for row in change.current}
        moved = [
            (
                row["job_id"], row["team_id"], was[row["job_id"]]["earliest"], was[row["job_id"]]["latest"],
                row["earliest"], row["latest"],
            )
            for row in plan
            if row["job_id"] in was
            and row["job_id"] not in change.may_move
            and (
                abs(row["earliest"] - was[row["job_id"]]["earliest"]) > 1e-6
                or abs(row["latest"] - was[row["job_id"]]["latest"]) > 1e-6
            )
        ]  # fmt: skip
        others = sum(1 for row in plan if row["job_id"] in was and row["job_id"] not in change.may_move)
        who = "their jobs have" if not change.may_move else "they have nothing to do with it"
        expect(
            not moved,
            f"We gave `schedule` a plan in force, and {change.what}. {len(moved)} of {others} windows moved although "
            f"{'nothing called for it' if not change.may_move else who}.",
            evidence=Evidence(
                "windows that moved",
                Table.of(["job", "team", "earliest before", "latest before", "earliest now", "latest now"], moved[:6]),
            ),
            ask="What does your function do with `current`?",
            misconception="moves_everybody",
        )
        if not change.changed:
            continue
        result = _replay(lab, change.jobs, plan, change.capacity, change.minutes)
        rows = [b for b in result["broken"] if b["job_id"] in change.changed]
        # A run may break two promises; counted twice it is still no more than it deserves.
        bad, runs = sum(b["nights"] for b in rows), len(change.changed) * NIGHTS
        expect(
            bad <= max(1, CHANGED_SHARE * runs),
            f"We gave `schedule` a plan in force, and {change.what}. Of {runs} runs of the jobs that changed or wait "
            f"for one, {bad} break a promise under the new plan ({CHANGED_SHARE:.0%} may).",
            evidence=Evidence(
                "promises broken after the change",
                Table.of(
                    ["job", "broken", "nights of 20"],
                    sorted(((b["job_id"], b["promise"], b["nights"]) for b in rows), key=lambda r: -r[2])[:6],
                ),
            ),
            ask="Which windows of the plan in force can their upstreams no longer meet?",
            misconception="moves_nobody",
        )
        expect(
            result["claim_peak"] <= 1 + 1e-9,
            f"We gave `schedule` a plan in force, and {change.what}. In the new plan the claims add up to "
            f"{result['claim_peak']:.0%} of the slots at minute {_clock(result['claim_minute'])}; in the plan in force "
            "they fitted.",
            ask="What is booked already when you place the jobs that changed?",
            misconception="collision",
        )


# -- task b -----------------------------------------------------------------------------------------------------------------

# Rules that have stood for years, so that an old time zone database on somebody's machine has them too.
ZONES = (
    "Europe/Berlin",
    "America/New_York",
    "Australia/Sydney",
    "Australia/Lord_Howe",
    "America/Santiago",
    "America/Havana",
    "Asia/Kolkata",
    "UTC",
)
CHANGING = ZONES[:6]
YEARS = (2019, 2020, 2021, 2023, 2024, 2025)
CELL_S = 900  # clocks change on a quarter of an hour; between two of them they run evenly


@cache
def _shown(zone: str, first: date, last: date) -> tuple[int, np.ndarray]:
    """The clock of a zone, scanned: seconds of the first cell (UTC) and what the clock shows at the start of each cell, in
    seconds; from two days before the first day to two after the last."""
    begin = datetime(first.year, first.month, first.day, tzinfo=UTC) - timedelta(days=2)
    cells = ((last - first).days + 5) * 86_400 // CELL_S
    start, tz = int(begin.timestamp()), ZoneInfo(zone)
    at = start + CELL_S * np.arange(cells)
    offsets = [datetime.fromtimestamp(s, tz).utcoffset().total_seconds() for s in at.tolist()]  # type: ignore[union-attr]
    return start, at + np.array(offsets, dtype=np.int64)


def first_shown(zone: str, first: date, last: date, walls: Sequence[datetime]) -> list[datetime]:
    """For each local time the first UTC instant (naive) at which the clock of the zone shows it or a later one."""
    start, shown = _shown(zone, first, last)
    wanted = np.array([int(w.replace(tzinfo=UTC).timestamp()) for w in walls], dtype=np.int64)
    reached = np.maximum.accumulate(shown + CELL_S)  # what a cell has shown by its end, or an earlier one before it
    cell = np.searchsorted(reached, wanted, side="right")
    seconds = start + CELL_S * cell + np.maximum(0, wanted - shown[cell])
    return [datetime.fromtimestamp(s, UTC).replace(tzinfo=None) for s in seconds.tolist()]


def _due_days(row: Row, first: date, last: date) -> Iterator[date]:
    for n in range((last - first).days + 1):
        day = first + timedelta(days=n)
        if row["weekday"] is not None:
            due = day.isoweekday() == row["weekday"]
        elif row["month_day"] is not None:
            due = day.day == min(row["month_day"], calendar.monthrange(day.year, day.month)[1])
        else:
            due = True
        if due:
            yield day


def true_runs(rows: Sequence[Row], period: tuple[date, date], zone: str) -> Table:
    """What expand has to return: job_id and starts_at (UTC, naive), by the scan."""
    wanted = []
    for row in rows:
        hour, minute = map(int, row["local_time"].split(":"))
        wanted += [(row["job_id"], datetime(d.year, d.month, d.day, hour, minute)) for d in _due_days(row, *period)]
    moments = first_shown(zone, *period, [wall for _, wall in wanted])
    return Table.of(["job_id", "starts_at"], sorted((i, at) for (i, _), at in zip(wanted, moments, strict=True)))


@dataclass(frozen=True)
class Jump:
    """A change of a zone's clock: the local time at which it happens and the one to which it is set."""

    zone: str
    at: datetime  # naive, local
    to: datetime

    @property
    def skips(self) -> bool:
        """Whether local times are skipped (else some come twice)."""
        return self.to > self.at


@cache
def _jumps(zone: str, year: int) -> tuple[Jump, ...]:
    _, shown = _shown(zone, date(year, 1, 1), date(year, 12, 31))
    steps = np.flatnonzero(np.diff(shown) != CELL_S)
    zero = datetime(1970, 1, 1)
    found = [
        Jump(zone, zero + timedelta(seconds=int(shown[k]) + CELL_S), zero + timedelta(seconds=int(shown[k + 1])))
        for k in steps.tolist()
    ]
    return tuple(j for j in found if j.at.year == year)


def _starts(lab: Lab, rows: list[Row], period: tuple[date, date], zone: str) -> Table:
    """What the learner's function returned, in UTC without a zone."""
    table = as_table(lab.call("expand", rows, period, zone), "What expand returned", ("job_id", "starts_at"))
    made = []
    for job_id, at in table.rows:
        if not isinstance(at, datetime):
            raise CheckFailed(f"starts_at of {job_id} is {at!r}; a datetime in UTC was expected.")
        made.append((str(job_id), at if at.tzinfo is None else at.astimezone(UTC).replace(tzinfo=None)))
    return Table.of(["job_id", "starts_at"], made)


@dataclass(frozen=True)
class Calendar:
    """Rows for a period in a zone, and the starts that they come to."""

    about: str
    zone: str
    period: tuple[date, date]
    rows: list[Row]
    misconception: str
    starts: Table


def _calendar(about: str, zone: str, period: tuple[date, date], rows: list[Row], misconception: str) -> Calendar:
    return Calendar(about, zone, period, rows, misconception, true_runs(rows, period, zone))


def _compare(lab: Lab, case: Calendar, ask: str) -> None:
    zone, period, want = case.zone, case.period, case.starts
    got = _starts(lab, case.rows, period, zone)
    mine, theirs = list(got.rows), list(want.rows)
    for row in want.rows:
        if row in mine:
            mine.remove(row)
            theirs.remove(row)
    if not mine and not theirs:
        return
    tz = ZoneInfo(zone)

    def local(at: datetime) -> str:
        shown = at.replace(tzinfo=UTC).astimezone(tz)
        return f"{shown:%a %Y-%m-%d %H:%M} (UTC{shown:%z})"

    times = {row["job_id"]: row for row in case.rows}
    jobs = {i for i, _ in mine} | {i for i, _ in theirs}
    evidence = [
        Evidence(
            title, Table.of(["job_id", "starts_at, UTC", "the clock there"], [(i, at, local(at)) for i, at in rs[:6]])
        )
        for title, rs in (("only in yours", sorted(mine)), ("missing from yours", sorted(theirs)))
        if rs
    ]
    job = times.get(sorted(jobs)[0])
    row = f" One of the rows: {job}." if job else ""
    count = f"{len(mine)} are only in yours and {len(theirs)} are missing"
    raise CheckFailed(
        f"{case.about} {zone}, {period[0]} to {period[1]}: of {len(want)} starts, {count} (yours has {len(got)}).{row}",
        evidence=evidence,
        ask=ask,
        misconception=case.misconception,
    )


def _row(job_id: str, minute: int, weekday: int | None = None, month_day: int | None = None) -> Row:
    return {
        "job_id": job_id,
        "local_time": f"{minute // 60 % 24:02d}:{minute % 60:02d}",
        "weekday": weekday,
        "month_day": month_day,
    }


def _around(rng: np.random.Generator, jump: Jump) -> list[Row]:
    """Daily jobs before, at the edges of, within and after the times that a change skips or doubles, and one at noon."""
    low, high = sorted((jump.at, jump.to))
    begin, length = low.hour * 60 + low.minute, int((high - low).total_seconds() // 60)
    within = sorted(int(x) for x in rng.choice(np.arange(1, length), 3, replace=False))
    minutes = [begin - 20, begin, *(begin + m for m in within), begin + length, begin + length + 25, 720]
    return [_row(f"K{k}", m % 1440) for k, m in enumerate(minutes)]


def _changes_of_clocks(lab: Lab, name: str) -> list[Calendar]:
    """The days around the changes that skip local times ("skipped"), or those that double them ("doubled")."""
    rng = lab.rng(name)
    found = []
    for zone in CHANGING:
        year = int(rng.choice(YEARS))
        for jump in _jumps(zone, year):
            if jump.skips == (name == "skipped"):
                low = min(jump.at, jump.to).date()
                # At times the day of the change is the first of the period, or the last.
                before, after = (int(x) for x in rng.integers(0, 4, 2))
                period = (low - timedelta(days=before), low + timedelta(days=after))
                how = f"goes from {jump.at:%H:%M}" if jump.skips else f"goes back from {jump.at:%H:%M}"
                about = f"The clock {how} to {jump.to:%H:%M} on {jump.at:%Y-%m-%d}."
                found.append(_calendar(about, zone, period, _around(rng, jump), name))
    return found


@check("b", "a skipped local time runs at the first instant after it", points=1)
def skipped_times_run_after(lab: Lab) -> None:
    """The days around a change that skips, in six zones: by an hour at night, by an hour at midnight, by half an hour."""
    for case in lab.kept("skipped", lambda: _changes_of_clocks(lab, "skipped")):
        _compare(lab, case, "What does the clock show at the instant you chose, and one minute before?")


@check("b", "a doubled local time runs once, at the first", points=1)
def doubled_times_run_once(lab: Lab) -> None:
    """The days around a change that doubles, in the same zones."""
    for case in lab.kept("doubled", lambda: _changes_of_clocks(lab, "doubled")):
        _compare(lab, case, "At which UTC instants does the clock show that time?")


@check("b", "weekdays, ends of months and leap years are right", points=1)
def days_are_right(lab: Lab) -> None:
    """Periods that end or begin with a month, February of a leap year and of another, in zones east and west of UTC. The times
    are far from any change of a clock."""
    for case in lab.kept("days", lambda: _ends_of_months(lab)):
        _compare(lab, case, "Which local day is the start that differs, and is it due on that day?")


def _ends_of_months(lab: Lab) -> list[Calendar]:
    rng = lab.rng("days")
    cases = [
        (date(2024, 2, 26), date(2024, 3, 1)),
        (date(2023, 2, 25), date(2023, 3, 1)),
        (date(2021, 4, 30), date(2021, 5, 31)),
        (date(2019, 12, 29), date(2020, 1, 2)),
        (date(2025, 6, 30), date(2025, 6, 30)),
        (date(2023, 6, 1), date(2023, 8, 31)),
    ]
    zones = rng.permutation(ZONES)[: len(cases)].tolist()
    found = []
    for zone, period in zip(zones, cases, strict=True):
        minutes = rng.integers(5 * 60, 22 * 60, 8).tolist()
        rows = [_row(f"D{d}", m, None, d) for d, m in zip((31, 30, 29, 28, 1), minutes, strict=False)]
        rows += [_row(f"W{w}", int(m), int(w)) for w, m in zip(rng.permutation(7)[:3] + 1, minutes[5:], strict=True)]
        rows += [_row("N1", 5), _row("N2", 23 * 60 + 50)]
        kind = "month_end" if zone in ("UTC", "Asia/Kolkata") else "local_days"
        found.append(_calendar("Days:", zone, period, rows, kind))
    return found


@check("b", "whole years are right, run for run", points=1)
def years_are_right(lab: Lab) -> None:
    """A year of each of four zones and one drawn schedule: both changes, all ends of months, and nothing twice or never."""
    for case in lab.kept("years", lambda: _years(lab)):
        _compare(lab, case, "On which day does your list part from ours, and what happens to the clock then?")


def _years(lab: Lab) -> list[Calendar]:
    rng = lab.rng("years")
    found = []
    for zone in ("Europe/Berlin", "America/New_York", "Australia/Sydney", str(rng.choice(ZONES[3:6]))):
        year = int(rng.choice(YEARS))
        start = date(year, 1 + int(rng.integers(12)), 1 + int(rng.integers(28)))
        period = (start, start + timedelta(days=365))
        rows = [
            _row("Y1", int(rng.integers(0, 1440))),
            _row("Y2", 120 + int(rng.integers(0, 60))),
            _row("Y3", int(rng.integers(0, 180)), int(rng.integers(1, 8))),
            _row("Y4", int(rng.integers(0, 180)), 7),
            _row("Y5", int(rng.integers(0, 1440)), None, 31),
            _row("Y6", int(rng.integers(0, 180)), None, int(rng.integers(27, 31))),
        ]
        found.append(_calendar("A whole year:", zone, period, rows, "fixed_offset"))
    return found


# -- twelve weeks -----------------------------------------------------------------------------------------------------------


def todays_plan(world: World, jobs: Sequence[Job]) -> list[Row]:
    """Today's plan: each job starts by its own clock, and promises nothing."""
    struck = dict(
        world.sql(
            """
            select job_id, any_value(epoch(scheduled_at - (night_on + interval 18 hour)) / 60)::double as minute
            from ops.cluster_job_runs
            group by job_id
            """
        ).rows
    )
    return [
        {
            "job_id": job["job_id"], "team_id": job["team_id"], "earliest": struck[job["job_id"]],
            "latest": 2.0 * NIGHT_MINUTES, "slots": job["slots"], "minutes": 0.0,
        }
        for job in jobs
    ]  # fmt: skip


def twelve_weeks_later(lab: Lab) -> Any:
    """Eighty-four nights under the learner's windows and under today's clocks, on the same draws."""
    from workshop.plots import BLUE, GREY, RED, plt

    jobs, capacity = read_jobs(lab.world, False)
    plan = read_plan(lab, jobs, capacity, None, "an ordinary night")
    today = todays_plan(lab.world, jobs)
    minutes = draw_minutes(lab.rng("weeks"), jobs, 84).tolist()
    mine, naive = (_replay(lab, jobs, p, capacity, minutes) for p in (plan, today))
    figure, (load, peaks) = plt.subplots(1, 2, figsize=(8.6, 3.2), width_ratios=[1.7, 1])
    hours = 18 + np.arange(NIGHT_MINUTES) / 60
    load.step(hours, naive["load"][0], where="post", color=RED, label="today's clocks (what they ask for)")
    load.step(hours, mine["load"][0], where="post", color=BLUE, label="your windows")
    load.step(hours, capacity["slots"], where="post", color=GREY, label="slots there are")
    load.set_xticks(range(18, 35, 4), [f"{h % 24:02d}:00" for h in range(18, 35, 4)])
    load.set(xlabel="UTC, a typical night", ylabel="slots")
    load.legend(loc="upper right", fontsize=7.5)
    load.set_title(f"Peak {np.median(mine['peaks']):.0%} instead of {np.median(naive['peaks']):.0%} of the slots")
    weeks = np.arange(1, 13)
    for result, colour, name in ((naive, RED, "today"), (mine, BLUE, "yours")):
        peaks.plot(weeks, np.reshape(result["peaks"], (12, 7)).max(axis=1), "o-", ms=3, color=colour, label=name)
    peaks.axhline(1, color=GREY, lw=0.8)
    peaks.set_ylim(0)
    peaks.set(xlabel="week", ylabel="highest share of the slots")
    peaks.set_title("Fullest minute of each week")
    plt.close(figure)
    return figure
