"""The course file: a small YAML file with which whoever runs a cohort sets deadlines, the late policy and the seeds.

```yaml
title: Data Operations, autumn
round: 2026-autumn
timezone: Europe/Berlin
deadlines: {default: 2026-11-30 23:59, "3.6": 2026-12-07 23:59, "9.1": none}
late: {grace_minutes: 15, per_day_pct: 10, at_most_pct: 50, refuse_after_days: 7}
attempts: best
seeds: {pool: 3, per: attempt}
extra_time: {ada: 3 days, ben: 12 hours}
```

All of it may be left out. Each key is explained at the field that holds it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import yaml

from workshop.errors import UsageError
from workshop.topics import syllabus

KEYS = ("title", "round", "timezone", "deadlines", "late", "attempts", "seeds", "extra_time")
LATE_KEYS = ("grace_minutes", "per_day_pct", "at_most_pct", "refuse_after_days")
SEEDS_KEYS = ("pool", "per")
ATTEMPTS = ("best", "last")
PER = ("course", "learner", "attempt")
DEFAULT = "default"
YEARS = (2000, 2100)
DATE = r"\d{4}-\d{2}-\d{2}"
UNITS = ("week", "day", "hour", "minute")


@dataclass(frozen=True)
class LatePolicy:
    """What being late costs; by default nothing. In the file: ``late``.

    ``grace_minutes``: so much after the deadline nothing is taken off yet (default 0).
    ``per_day_pct``: percent of the points taken off for each started day after the grace (default 0).
    ``at_most_pct``: never more percent than this (default 100).
    ``refuse_after_days``: more started days than this after the grace give 0 points, whatever ``at_most_pct`` says
    (default None: never).
    """

    grace_minutes: float = 0.0
    per_day_pct: float = 0.0
    at_most_pct: float = 100.0
    refuse_after_days: int | None = None


@dataclass(frozen=True)
class Seeds:
    """From which worlds a submission is graded. In the file: ``seeds``.

    ``pool``: number of certified seeds a topic (default 3). ``per``: one of them for the whole course, for each learner,
    or for each attempt of each learner: course, learner or attempt (default attempt).
    """

    pool: int = 3
    per: str = "attempt"


@dataclass(frozen=True)
class ExtraTime:
    """What one learner has on top of each deadline. ``days`` end at the same time of day, also when clocks change in
    between; ``rest`` is hours and minutes."""

    days: int = 0
    rest: timedelta = timedelta(0)


@dataclass(frozen=True)
class Course:
    """The course file as data; Course() is the course without one.

    ``title``: stands on reports (default: the title of the syllabus).
    ``round``: part of what seeds are made from: another round has other worlds (default "1").
    ``timezone``: in it are deadlines that name no offset, and days end in it (default UTC).
    ``deadlines``: (topic, deadline in ``timezone``) each, where the topic "default" stands for all that are not named;
    None is no deadline, in the file: none. A date alone is the end of that day.
    ``late_policy``: in the file ``late``; see LatePolicy.
    ``attempts``: best or last: which attempt of a learner counts (default best).
    ``seeds``: see Seeds.
    ``extra_time``: (learner, ExtraTime) each; in the file such as "3 days", "12 hours" or "1 day 12 hours".
    """

    title: str = field(default_factory=lambda: syllabus().course["title"])
    round: str = "1"
    timezone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))
    deadlines: tuple[tuple[str, datetime | None], ...] = ()
    late_policy: LatePolicy = LatePolicy()
    attempts: str = "best"
    seeds: Seeds = Seeds()
    extra_time: tuple[tuple[str, ExtraTime], ...] = ()

    def deadline(self, topic: str, learner: str) -> datetime | None:
        """The deadline of a topic for a learner, with the learner's extra time, in UTC; None where there is none."""
        by_topic = dict(self.deadlines)
        due = by_topic.get(topic, by_topic.get(DEFAULT))
        if due is None:
            return None
        extra = dict(self.extra_time).get(learner, ExtraTime())
        # Days are added on the clock on the wall, hours as they pass.
        return (due + timedelta(days=extra.days)).astimezone(UTC) + extra.rest

    def late(self, topic: str, learner: str, submitted_at: datetime) -> tuple[timedelta, float]:
        """How long after the deadline this was handed in (0 when in time), and the factor from 0 to 1 by which its points
        are multiplied. ``submitted_at`` without an offset is UTC.

        A day late ends at the deadline's time of day in the course's time zone, so that one on which clocks change is a
        day as well.
        """
        due = self.deadline(topic, learner)
        handed_in = submitted_at if submitted_at.tzinfo else submitted_at.replace(tzinfo=UTC)
        if due is None or handed_in <= due:
            return timedelta(0), 1.0
        policy = self.late_policy
        late, grace = handed_in.astimezone(UTC) - due, timedelta(minutes=policy.grace_minutes)
        if late <= grace:
            return late, 1.0
        days = max(1, math.ceil((self._wall(handed_in - grace) - self._wall(due)) / timedelta(days=1)))
        if policy.refuse_after_days is not None and days > policy.refuse_after_days:
            return late, 0.0
        return late, (100 - min(policy.per_day_pct * days, policy.at_most_pct)) / 100

    def _wall(self, moment: datetime) -> datetime:
        return moment.astimezone(self.timezone).replace(tzinfo=None)


def load_course(path: Path | None) -> Course:
    """The course of a YAML file; without one, the course that has no deadlines. Raises UsageError in one line that names
    the key and says what is allowed."""
    if path is None:
        return Course()
    try:
        return _course(_mapping(_read(path), "the file", KEYS))
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None


class _Loader(yaml.BaseLoader):
    """Reads all scalars as text, so that what is written is what is meant: a learner called 007 or no, a topic 3.6. Keys
    that stand twice are an error: YAML would take the last without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key must be plain text", key.start_mark)
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} stands twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _read(path: Path) -> Any:
    try:
        return yaml.load(path.read_text(encoding="utf-8-sig"), Loader=_Loader)
    except FileNotFoundError:
        raise UsageError("there is no such file.") from None
    except OSError as error:
        raise UsageError(f"it cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise UsageError("it is not UTF-8 text. Save it as UTF-8.") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise UsageError(f"it is not good YAML: {where}{error.problem}.") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise UsageError(f"it is not good YAML: {str(error).splitlines()[0]}.") from None


def _course(given: Mapping[str, Any]) -> Course:
    zone = _zone(given.get("timezone"))
    plain = Course()
    return Course(
        title=_text(given.get("title"), "title", plain.title),
        round=_text(given.get("round"), "round", plain.round),
        timezone=zone,
        deadlines=_deadlines(given.get("deadlines"), zone),
        late_policy=_late(given.get("late")),
        attempts=_one_of(given.get("attempts"), "attempts", ATTEMPTS, plain.attempts),
        seeds=_seeds(given.get("seeds")),
        extra_time=tuple(
            (name, _extra(text, name)) for name, text in _mapping(given.get("extra_time"), "extra_time").items()
        ),
    )


def _absent(value: Any) -> bool:
    """A key with nothing behind it is as good as none."""
    return value is None or (isinstance(value, str) and value in {"", "~", "null"})


def _mapping(value: Any, key: str, allowed: tuple[str, ...] | None = None) -> Mapping[str, Any]:
    if _absent(value):
        return {}
    if not isinstance(value, dict):
        inner = f" with the keys {', '.join(allowed)}" if allowed else ""
        raise UsageError(f"{key} must be a mapping (name: value){inner}.")
    for name in value:
        if allowed and name not in allowed:
            raise UsageError(f"{key} has an unknown key {name!r}. Allowed are {', '.join(allowed)}.")
    return value


def _text(value: Any, key: str, default: str) -> str:
    if _absent(value):
        return default
    if not isinstance(value, str):
        raise UsageError(f"{key} must be text.")
    return value


def _one_of(value: Any, key: str, allowed: tuple[str, ...], default: str) -> str:
    if _absent(value):
        return default
    if value not in allowed:
        raise UsageError(f"{key} is {_shown(value)}; allowed are {', '.join(allowed)}.")
    return value


def _number(value: Any, key: str, most: float, default: float) -> float:
    if _absent(value):
        return default
    try:
        found = float(value)
    except (TypeError, ValueError):
        found = math.nan
    if not 0 <= found <= most:
        raise UsageError(f"{key} is {_shown(value)}; it must be a number from 0 to {most:g}.")
    return found


def _whole(value: Any, key: str, least: int, most: int, default: int | None) -> int | None:
    if _absent(value):
        return default
    if not (isinstance(value, str) and re.fullmatch(r"\d{1,9}", value, re.ASCII) and least <= int(value) <= most):
        raise UsageError(f"{key} is {_shown(value)}; it must be a whole number from {least} to {most}.")
    return int(value)


def _shown(value: Any) -> str:
    return repr(value) if isinstance(value, str) else "no plain value"


def _zone(value: Any) -> ZoneInfo:
    name = _text(value, "timezone", "UTC")
    try:
        return ZoneInfo(name)
    except (OSError, KeyError, ValueError):  # OSError: the name of a folder of the time zone database
        raise UsageError(
            f"timezone is {name!r}; it must be a name such as UTC, Europe/Berlin or Asia/Kolkata."
        ) from None


def _late(value: Any) -> LatePolicy:
    given, plain = _mapping(value, "late", LATE_KEYS), LatePolicy()
    return LatePolicy(
        _number(given.get("grace_minutes"), "late.grace_minutes", 100_000, plain.grace_minutes),
        _number(given.get("per_day_pct"), "late.per_day_pct", 100, plain.per_day_pct),
        _number(given.get("at_most_pct"), "late.at_most_pct", 100, plain.at_most_pct),
        _whole(given.get("refuse_after_days"), "late.refuse_after_days", 0, 10_000, plain.refuse_after_days),
    )


def _seeds(value: Any) -> Seeds:
    given, plain = _mapping(value, "seeds", SEEDS_KEYS), Seeds()
    return Seeds(
        _whole(given.get("pool"), "seeds.pool", 1, 1_000, plain.pool),
        _one_of(given.get("per"), "seeds.per", PER, plain.per),
    )


def _deadlines(value: Any, zone: ZoneInfo) -> tuple[tuple[str, datetime | None], ...]:
    topics = {t.id for t in syllabus().topics}
    found = []
    for name, text in _mapping(value, "deadlines").items():
        if name != DEFAULT and name not in topics:
            raise UsageError(f'deadlines has an unknown topic {name!r}. Allowed are default and "1.1" to "9.8".')
        found.append((name, _moment(text, f"deadlines.{name}", zone)))
    return tuple(found)


def _moment(value: Any, key: str, zone: ZoneInfo) -> datetime | None:
    if value in ("none", "null", "~"):
        return None
    try:
        found = _parsed(value, zone) if isinstance(value, str) else None
        if found and YEARS[0] <= found.year <= YEARS[1]:
            return found
    except (ValueError, OverflowError):
        pass
    raise UsageError(
        f"{key} is {_shown(value)}; it must be a time such as 2026-11-30 23:59 (or 2026-11-30 for the end of that day, "
        f"2026-11-30 23:59+01:00 with an offset) between {YEARS[0]} and {YEARS[1]}, or none."
    )


def _parsed(value: str, zone: ZoneInfo) -> datetime:
    text = re.sub(r"\s+(?=[+-]|[zZ]$)", "", value.strip())
    if re.fullmatch(DATE, text, re.ASCII):
        return datetime.combine(date.fromisoformat(text), time.max, zone)
    if not re.match(DATE + r"[ tT]\d", text, re.ASCII):
        raise ValueError(
            "no date and time"
        )  # fromisoformat() knows dates of other shapes, and takes their first instant
    found = datetime.fromisoformat(text)
    return found.astimezone(zone) if found.tzinfo else found.replace(tzinfo=zone)


def _extra(value: Any, learner: str) -> ExtraTime:
    parts = re.findall(r"(\d+) ?(week|day|hour|minute)s?", value, re.ASCII) if isinstance(value, str) else []
    written = re.fullmatch(r"(\d{1,4} ?(week|day|hour|minute)s?[ ,]*)+", value.strip(), re.ASCII) if parts else None
    if not written:
        raise UsageError(
            f'extra_time.{learner} is {_shown(value)}; it must be a length of time such as "3 days", "12 hours" or '
            '"1 day 12 hours".'
        )
    total = {unit: sum(int(n) for n, u in parts if u == unit) for unit in UNITS}
    return ExtraTime(
        days=7 * total["week"] + total["day"], rest=timedelta(hours=total["hour"], minutes=total["minute"])
    )
