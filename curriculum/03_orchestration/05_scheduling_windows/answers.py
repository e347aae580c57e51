# %% [a] right percentiles_and_windows
# Claims at the 97th percentile, windows a quarter of an hour wide that take up an upstream's worst night, the level found
# by bisection.
WIDE = 15


def schedule(jobs, capacity, current=None):
    jobs = {j["job_id"]: j for j in jobs}
    need = {i: float(np.quantile(j["minutes"], 0.97)) for i, j in jobs.items()}
    worst = {i: max(j["minutes"]) for i, j in jobs.items()}
    users = {i: [k for k, j in jobs.items() if i in j["upstream"]] for i in jobs}
    in_force = {r["job_id"]: r for r in current or [] if r["job_id"] in jobs and r["minutes"] >= need[r["job_id"]]}
    bounds = {}

    def hit(i, start):
        """The blackout that a run from `start` may meet, if any."""
        until = start + WIDE + worst[i]
        mine = [b for b in capacity["blackouts"] if b["domain"] is None or b["domain"] == jobs[i]["domain"]]
        return next((b for b in mine if start < b["to_minute"] and until > b["from_minute"]), None)

    def bound(i):
        if i not in bounds:
            at = min([jobs[i]["due_minute"] - WIDE, 960 - WIDE, *map(bound, users[i])]) - worst[i]
            while blackout := hit(i, at):
                at = blackout["from_minute"] - WIDE - worst[i]
            bounds[i] = at
        return bounds[i]

    def book(load, row, sign):
        load[math.floor(row["earliest"]) : math.ceil(row["latest"] + row["minutes"])] += sign * row["slots"]

    def attempt(level):
        load, plan = np.zeros(960), {}
        for row in in_force.values():
            book(load, row, 1)
        for i in sorted(jobs, key=bound):
            job = jobs[i]
            ups = max([0, *(plan[u]["latest"] + worst[u] for u in job["upstream"])])
            if i in in_force and in_force[i]["latest"] >= ups:
                plan[i] = in_force[i]
                continue
            if i in in_force:
                book(load, in_force[i], -1)
            at = max(job["ready_minute"], ups - WIDE)
            while at <= bound(i) + 1e-9:
                blackout = hit(i, at)
                part = slice(math.floor(at), math.ceil(at + WIDE + need[i]))
                if blackout:
                    at = blackout["to_minute"]
                elif max((load[part] + job["slots"]) / np.array(capacity["slots"][part])) <= level:
                    break
                else:
                    at += 4
            else:
                return None
            plan[i] = dict(
                job_id=i, team_id=job["team_id"], earliest=at, latest=at + WIDE, slots=job["slots"], minutes=need[i]
            )
            book(load, plan[i], 1)
        return list(plan.values())

    low, high = 0.2, 1.0
    while attempt(high) is None:
        high += 0.2
    while high - low > 0.02:
        middle = (low + high) / 2
        low, high = (low, middle) if attempt(middle) else (middle, high)
    return attempt(high)


# %% [a] right improve_until_flat
# A class: everybody somewhere first, then four passes in which each job looks for the flattest place between its neighbours.
class Night:
    def __init__(self, jobs, capacity):
        self.jobs = {job["job_id"]: job for job in jobs}
        self.size = np.array(capacity["slots"])
        self.load = np.zeros(len(self.size))
        self.blackouts = capacity["blackouts"]
        self.start = {}
        self.length = {name: int(max(job["minutes"])) + 1 for name, job in self.jobs.items()}
        self.users = {name: set() for name in self.jobs}
        for name, job in self.jobs.items():
            for up in job["upstream"]:
                self.users[up].add(name)
        self.latest = {}
        for name in self.jobs:
            self.find_latest(name)

    def clear(self, name, at):
        for b in self.blackouts:
            concerned = b["domain"] in {None, self.jobs[name]["domain"]}
            if concerned and at < b["to_minute"] and at + self.length[name] > b["from_minute"]:
                return False
        return True

    def find_latest(self, name):
        if name not in self.latest:
            ends = [self.find_latest(user) for user in self.users[name]]
            at = min([*ends, self.jobs[name]["due_minute"], len(self.size)]) - self.length[name]
            while not self.clear(name, at):
                at -= 1
            self.latest[name] = at
        return self.latest[name]

    def book(self, name, sign):
        at = self.start[name]
        self.load[at : at + self.length[name]] += sign * self.jobs[name]["slots"]

    def settle(self, name, rows):
        """The flattest start between the ends of its upstreams and the starts of its users."""
        job, length = self.jobs[name], self.length[name]
        low, high = job["ready_minute"], self.latest[name]
        for up in job["upstream"]:
            low = max(
                low,
                math.ceil(rows[up]["latest"] + rows[up]["minutes"]) if up in rows else self.start[up] + self.length[up],
            )
        high = min([high, *(self.start[user] - length for user in self.users[name] if user in self.start)])
        best = None
        for at in range(low, high + 1):
            if self.clear(name, at):
                part = slice(at, at + length)
                peak = ((self.load[part] + job["slots"]) / self.size[part]).max()
                if best is None or peak < best[0] - 1e-9:
                    best = peak, at
        self.start[name] = best[1]
        self.book(name, 1)


def schedule(jobs, capacity, current=None):
    night = Night(jobs, capacity)
    order = sorted(night.jobs, key=night.latest.get)
    rows = {}
    was = {row["job_id"]: row for row in current or []}
    for name in order:
        row, job = was.get(name), night.jobs[name]
        if (
            row
            and row["slots"] == job["slots"]
            and row["minutes"] >= max(job["minutes"])
            and set(job["upstream"]) <= set(rows)
        ):
            rows[name] = row
            night.load[math.floor(row["earliest"]) : math.ceil(row["latest"] + row["minutes"])] += row["slots"]
    free = [name for name in order if name not in rows]
    for name in free:
        night.settle(name, rows)
    for direction in (-1, 1, -1, 1):
        for name in free[::direction]:
            night.book(name, -1)
            del night.start[name]
            night.settle(name, rows)
    new = [
        {
            "job_id": n,
            "team_id": night.jobs[n]["team_id"],
            "earliest": at,
            "latest": at,
            "slots": night.jobs[n]["slots"],
            "minutes": night.length[n],
        }
        for n, at in night.start.items()
    ]
    return [*rows.values(), *new]


# %% [a] wrong on_the_hour fails=peak_is_low says="is fullest at minute"
# Everybody starts at the full hour after their data and their upstreams, as it was always done.
def schedule(jobs, capacity, current=None):
    job_of, plan = {job["job_id"]: job for job in jobs}, {}

    def until(job_id):
        if job_id not in plan:
            job = job_of[job_id]
            ready = max([job["ready_minute"], *map(until, job["upstream"])])
            hour, longest = 60 * math.ceil(ready / 60), max(job["minutes"])
            plan[job_id] = (hour, hour + longest)
        return plan[job_id][1]

    for job_id in job_of:
        until(job_id)
    return [
        {
            "job_id": job["job_id"],
            "team_id": job["team_id"],
            "earliest": plan[job["job_id"]][0],
            "latest": plan[job["job_id"]][0],
            "slots": job["slots"],
            "minutes": max(job["minutes"]),
        }
        for job in jobs
    ]


# %% [a] wrong spread_without_dependencies fails=promises_are_kept says="their upstreams ended too late"
# Evenly spread between ready and due, the flattest of all plans; nobody asks who waits for whom.
def schedule(jobs, capacity, current=None):
    size, load, rows = np.array(capacity["slots"]), np.zeros(960), []
    for job in sorted(jobs, key=lambda job: -job["slots"] * max(job["minutes"])):
        length = math.ceil(max(job["minutes"]))
        places = {job["due_minute"] - length: 9}
        for at in range(job["ready_minute"], job["due_minute"] - length + 1, 5):
            if all(at >= b["to_minute"] or at + length <= b["from_minute"] for b in capacity["blackouts"]):
                places[at] = max((load[at : at + length] + job["slots"]) / size[at : at + length])
        at = min(places, key=places.get)
        load[at : at + length] += job["slots"]
        rows.append(
            dict(
                job_id=job["job_id"],
                team_id=job["team_id"],
                earliest=at,
                latest=at + 10,
                slots=job["slots"],
                minutes=length,
            )
        )
    return rows


# %% [a] wrong as_soon_as_possible fails=peak_is_low says="is fullest at minute"
# Every promise is kept with time to spare; everybody starts as soon as they may.
# -                 room = level * size[part] - used[part] >= job["slots"] - 1e-9
# +                 room = used[part] >= 0


# %% [a] wrong plans_with_the_mean fails=claims_fit says="take longer than the minutes that you claimed"
# -     claim = {i: math.ceil(max(job["minutes"])) for i, job in job_of.items()}
# +     claim = {i: math.ceil(sum(job["minutes"]) / len(job["minutes"])) for i, job in job_of.items()}


# %% [a] wrong median_and_no_slack fails=promises_are_kept says="start after their window has closed"
# The same with the median, and windows of no width: the second of a chain is late every other night.
# -     grid, slack = 5, 5  # minutes: starts are tried so far apart; a window is so wide
# +     grid, slack = 5, 0
# -     claim = {i: math.ceil(max(job["minutes"])) for i, job in job_of.items()}
# +     claim = {i: math.ceil(np.median(job["minutes"])) for i, job in job_of.items()}


# %% [a] wrong open_all_night fails=claims_fit says="a claim counts from earliest until latest + minutes"
# Start whenever you like from the moment your data is there: no window is ever missed.
# -                 "latest": start + slack,
# +                 "latest": max(last[i], start),
# -         used, plan = agreed_load.copy(), {}
# +         used, plan, closes = agreed_load.copy(), {}, {}
# -             free = max([job["ready_minute"], *(plan[u]["latest"] + plan[u]["minutes"] for u in job["upstream"])])
# +             free = max([job["ready_minute"], *(closes[u] for u in job["upstream"])])
# -             used[part] += job["slots"]
# +             used[part] += job["slots"]
# +             closes[i] = start + held[i]
# -             if row is not None and row["earliest"] >= free:
# +             if row is not None and row["earliest"] >= free and not closes.update({i: row["latest"] + row["minutes"]}):


# %% [a] wrong forgets_blackouts fails=promises_are_kept says="run in a blackout"
# -         return any(
# -             b["domain"] in (None, job["domain"]) and start < b["to_minute"] and end > b["from_minute"]
# -             for b in capacity["blackouts"]
# -         )
# +         return False


# %% [a] wrong starts_out_of_blackouts fails=promises_are_kept says="run in a blackout"
# No start within a blackout; a long run that begins before it goes on into it.
# -             b["domain"] in (None, job["domain"]) and start < b["to_minute"] and end > b["from_minute"]
# +             b["domain"] in (None, job["domain"]) and b["from_minute"] <= start < b["to_minute"]


# %% [a] wrong night_is_long fails=promises_are_kept says="end after their deadline"
# Deadlines are left to others: whatever is done by the end of the night is fine.
# -     last = {i: min(job_of[i]["due_minute"], len(size)) - held[i] for i in order}
# +     last = {i: len(size) - held[i] for i in order}


# %% [a] wrong half_a_day fails=promises_are_kept says="before the data of the day is complete"
# The quiet early evening is used for everybody.
# -             free = max([job["ready_minute"], *(plan[u]["latest"] + plan[u]["minutes"] for u in job["upstream"])])
# +             free = max([0, *(plan[u]["latest"] + plan[u]["minutes"] for u in job["upstream"])])


# %% [a] wrong platform_owns_everything fails=claims_fit says="another owner"
# -                 "team_id": job["team_id"],
# +                 "team_id": 25,


# %% [a] wrong plans_afresh fails=change_stays_local says="windows moved although"
# A fine plan each time, and each time another one.
# -         for row in current or []
# +         for row in []


# %% [a] wrong never_moves fails=change_stays_local says="break a promise under the new plan"
# What was agreed stays, whatever happens before it; only new jobs and longer claims are looked at.
# -             if row is not None and row["earliest"] >= free:
# +             if row is not None:


# %% [a] wrong moves_the_whole_team fails=change_stays_local says="they have nothing to do with it"
# Nothing happens to others while nothing changes; at a change all later windows are made anew.
# -     agreed_load = np.zeros(len(size))
# +     if {row["job_id"] for row in current or []} != set(agreed) or len(agreed) < len(job_of):
# +         agreed = {i: row for i, row in agreed.items() if row["earliest"] < 360}
# +     agreed_load = np.zeros(len(size))


# %% [b] right offsets_compared
# Compares the offsets before and after: in a gap they tell how far to go back to its end. Weeks and months by calendar.
import calendar as months


def expand(schedule, period, zone):
    there = ZoneInfo(zone)
    runs = []
    day = period[0]
    while day <= period[1]:
        length = months.monthrange(day.year, day.month)[1]
        for row in schedule:
            if row["weekday"] and row["weekday"] != day.isoweekday():
                continue
            if row["month_day"] and min(row["month_day"], length) != day.day:
                continue
            hour, minute = map(int, row["local_time"].split(":"))
            early = datetime(day.year, day.month, day.day, hour, minute, tzinfo=there)
            late = early.replace(fold=1)
            at = early.astimezone(UTC)
            if early.utcoffset() < late.utcoffset():
                # In a gap: the change lies between the two readings; the first second of the new offset is it.
                low, high = late.astimezone(UTC), at
                while high - low > timedelta(seconds=1):
                    middle = low + (high - low) / 2
                    if middle.astimezone(there).utcoffset() == late.utcoffset():
                        high = middle
                    else:
                        low = middle
                at = high.replace(microsecond=0) + timedelta(seconds=round(high.microsecond / 1e6))
                at -= timedelta(seconds=at.second % 60) if at.second < 30 else timedelta(seconds=at.second - 60)
            runs.append({"job_id": row["job_id"], "starts_at": at.replace(tzinfo=None)})
        day += timedelta(days=1)
    return runs


# %% [b] right watch_the_clock
# Watches the clock minute by minute from some hours before, as the definition says: the first that shows the time or later.
def expand(schedule, period, zone):
    tz = ZoneInfo(zone)

    def on(row, day):
        if row["month_day"]:
            tomorrow = day + timedelta(1)
            return day.day == row["month_day"] or (tomorrow.day == 1 and day.day < row["month_day"])
        return not row["weekday"] or row["weekday"] == day.weekday() + 1

    found = []
    for n in range((period[1] - period[0]).days + 1):
        day = period[0] + timedelta(n)
        noon = datetime(day.year, day.month, day.day, 12, tzinfo=tz)
        for row in schedule:
            if on(row, day):
                wall = datetime.fromisoformat(f"{day}T{row['local_time']}:00")
                now = (wall - noon.utcoffset() - timedelta(hours=2)).replace(tzinfo=UTC)
                while now.astimezone(tz).replace(tzinfo=None) < wall:
                    now += timedelta(minutes=1)
                found.append({"starts_at": now, "job_id": row["job_id"]})
    return found


# %% [b] wrong trusts_zoneinfo fails=skipped_times_run_after says="The clock goes from"
# Attaches the zone and converts: a time in the gap runs as long after the change as it lies in the gap.
# -         while True:
# -             at = wall.replace(tzinfo=tz, fold=0).astimezone(UTC)
# -             if at.astimezone(tz).replace(tzinfo=None) == wall:  # there and back again: the time exists
# -                 return at
# -             wall += timedelta(minutes=1)
# +         return wall.replace(tzinfo=tz, fold=0).astimezone(UTC)


# %% [b] wrong never_on_that_day fails=skipped_times_run_after says="are missing"
# A time that does not exist is not run.
def expand(schedule, period, zone):
    tz = ZoneInfo(zone)
    runs = []
    for n in range((period[1] - period[0]).days + 1):
        day = period[0] + timedelta(days=n)
        last = (day + timedelta(days=1)).month != day.month
        for row in schedule:
            if row["weekday"] not in (None, day.isoweekday()):
                continue
            if row["month_day"] is not None and not (
                row["month_day"] == day.day or (last and row["month_day"] > day.day)
            ):
                continue
            wall = datetime.combine(day, datetime.strptime(row["local_time"], "%H:%M").time())
            at = wall.replace(tzinfo=tz).astimezone(UTC)
            if at.astimezone(tz).replace(tzinfo=None) == wall:
                runs.append({"job_id": row["job_id"], "starts_at": at})
    return runs


# %% [b] wrong next_full_hour fails=skipped_times_run_after says="Lord_Howe"
# Clocks change by an hour, on the hour; do they not?
# -             wall += timedelta(minutes=1)
# +             wall = wall.replace(minute=0) + timedelta(hours=1)


# %% [b] wrong the_second_of_two fails=doubled_times_run_once says="The clock goes back"
# As Airflow and Dagster do it.
# -             at = wall.replace(tzinfo=tz, fold=0).astimezone(UTC)
# +             at = wall.replace(tzinfo=tz, fold=1).astimezone(UTC)


# %% [b] wrong twice_on_that_day fails=doubled_times_run_once says="0 are missing"
# A doubled time runs twice: the scan of the clock finds it twice.
# -     return [
# -         {
# -             "job_id": row["job_id"],
# -             "starts_at": moment(datetime.combine(day, datetime.strptime(row["local_time"], "%H:%M").time())),
# -         }
# -         for row in schedule
# -         for day in days
# -         if is_due(row, day)
# -     ]
# +     runs = []
# +     for row in schedule:
# +         for day in days:
# +             if is_due(row, day):
# +                 wall = datetime.combine(day, datetime.strptime(row["local_time"], "%H:%M").time())
# +                 again = wall.replace(tzinfo=tz, fold=1).astimezone(UTC)
# +                 starts = {moment(wall)}
# +                 if again.astimezone(tz).replace(tzinfo=None) == wall:
# +                     starts.add(again)
# +                 runs += [{"job_id": row["job_id"], "starts_at": at} for at in starts]
# +     return runs


# %% [b] wrong one_offset_for_all fails=years_are_right says="A whole year"
# The zone's offset is looked up once, on the first day.
# -             at = wall.replace(tzinfo=tz, fold=0).astimezone(UTC)
# -             if at.astimezone(tz).replace(tzinfo=None) == wall:  # there and back again: the time exists
# -                 return at
# -             wall += timedelta(minutes=1)
# +             offset = datetime.combine(period[0], datetime.min.time(), tzinfo=tz).utcoffset()
# +             return wall - offset


# %% [b] wrong a_day_has_24_hours fails=years_are_right says="A whole year"
# The first start is found with care, all others are 24 hours apart.
# -     first, last = period
# +     first, last = period
# +
# +     def counted(day, at):
# +         return moment(datetime.combine(first, at)) + timedelta(days=(day - first).days)
# +
# -             "starts_at": moment(datetime.combine(day, datetime.strptime(row["local_time"], "%H:%M").time())),
# +             "starts_at": counted(day, datetime.strptime(row["local_time"], "%H:%M").time()),


# %% [b] wrong as_cron_does fails=days_are_right says="Days: "
# Day 31 runs in months that have one.
# -             return day.day == row["month_day"] or (is_last and row["month_day"] > day.day)
# +             return day.day == row["month_day"]


# %% [b] wrong february_has_28 fails=days_are_right says="Days: "
# The last days by a table.
# -             is_last = (day + timedelta(days=1)).month != day.month
# -             return day.day == row["month_day"] or (is_last and row["month_day"] > day.day)
# +             length = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][day.month - 1]
# +             return day.day == min(row["month_day"], length)


# %% [b] wrong days_of_utc fails=days_are_right says="Days: "
# Keeps the starts whose UTC date lies in the period.
# -         for day in days
# -         if is_due(row, day)
# +         for day in [first - timedelta(days=1), *days, last + timedelta(days=1)]
# +         if is_due(row, day)
# +         and first <= moment(datetime.combine(day, datetime.strptime(row["local_time"], "%H:%M").time())).date() <= last


# %% [b] wrong last_day_excluded fails=days_are_right says="are missing"
# -     days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
# +     days = [first + timedelta(days=n) for n in range((last - first).days)]
