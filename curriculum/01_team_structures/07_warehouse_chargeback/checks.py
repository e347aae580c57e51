"""Checks of lab 1.7: an invoice split to the cent, and budgets with alert lines that are replayed on a quarter to come.

Truth: the generator gave each query to a team before it chose who asked, so truth.query_teams knows the answer without
reading role histories; truth.team_spend holds what the next quarter brings, with and without incidents.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import numpy as np

from workshop.checks import CheckFailed, Evidence, as_table, check, expect
from workshop.sim.spend import LEAD_WORKING_DAYS, NORMAL, Overspend, after_acting, find_overspend, first_alert
from workshop.table import Table
from workshop.trusted import Lab, World

SUBJECTS = ("warehouse",)

HINTS = {
    "a": (
        "Work in three steps and look at each: the team of every query (left joins, so that none is lost), the credits of "
        "each team by warehouse with its part of the idle ones, and only then money. No step may change the sum of credits.",
        "Give each warehouse its own key (query and idle credits by team) and add one key for lines without a warehouse. "
        "Join the invoice to it with `is not distinct from`, so that null finds null.",
        "In cents: exact = 100 * amount * share; take floor(exact) for each team; the cents still missing to the invoice "
        "go, one each, to the teams with the largest fractions.",
    ),
    "b": (
        "Draw one team of Finance over a few months. Give each day of the quarter a kind (weekend or holiday, closing of "
        "books, sales day, plain working day) and take each team's level of that kind from recent weeks.",
        "The running sum of that plan within the month is what spend to date should be. Put the line above it by a fixed "
        "part of the month's plan, not of the running sum: on the second day, ten percent of almost nothing is noise.",
        "Budgets: the month's plan of each team, scaled so that the month adds up to the signed total, rounded as in task "
        "a. Who acts: craft = 'manager', team_id of today, left_on is null.",
    ),
}

MISCONCEPTIONS = {
    "todays_team": "ops.people knows where a person is today. ops.role_history knows where they were when the query started.",
    "accounts_today": "The owner of today did not always own the account: join ops.service_account_owners on the query's time.",
    "keeper_today": "An account owned by a person follows that person: join ops.role_history once more, at the query's time.",
    "dropped": "An inner join loses queries for which nobody is found. A left join and coalesce keep them for the owner.",
    "boundary": "An interval with both ends: at 07:00:00 on the day of a handover the account then has two owners.",
    "success_only": "A failed query has burnt its credits. Take the filter on status out.",
    "idle_equal": "Rule 4 shares idle credits in proportion to the credits of that day's queries, not by heads.",
    "idle_month": "Rule 4 works day by day: whoever ran on the day pays that day's idle credits.",
    "idle_lost": "On days without queries nobody ran, and the idle credits still cost money: the warehouse's owner pays.",
    "one_key": "Lines that name a warehouse are split by that warehouse's credits; one key for all blurs who used what.",
    "shared_equal": "Rule 6 splits lines without a warehouse in proportion to query credits.",
    "sign": "Refunds and rebates are negative lines. They belong into the sum with their sign.",
    "cents": "Round down first, then hand out the missing cents one by one.",
    "flat_line": "A line that is the same all month rings in every month, or too late. Let it follow what should be spent.",
    "no_closing": "Plot the teams of Finance: the first and the last working days of a month are several times the rest.",
    "percent": "A percentage of spend to date is a few dollars on the first days. Keep the same distance all month.",
}

SHARE_TOLERANCE = 0.001  # of the invoice
BUDGET_TOLERANCE = 0.25
PROMISES = {"forecast": 0.97, "in time": 0.90, "for nothing": 0.05}
SIGNIFICANCE = 1e-4
WORLDS = 10
MONTHS = (date(2026, 7, 1), date(2026, 8, 1), date(2026, 9, 1))
TOO_MUCH = 10**12  # US dollars: nobody's budget; keeps hostile numbers out of the arithmetic


# -- reading what came back --------------------------------------------------------------------------------------------------


def _number(value: Any) -> Decimal | None:
    """A finite number of sensible size as a Decimal, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    if isinstance(value, float):
        value = Decimal(repr(value)) if math.isfinite(value) else None
    elif isinstance(value, Decimal) and not value.is_finite():
        value = None
    return None if value is None or abs(value) > TOO_MUCH else Decimal(value)


def _is_amount(value: Any) -> bool:
    if type(value) is float:  # the common case, thousands of times
        return -TOO_MUCH <= value <= TOO_MUCH
    return _number(value) is not None


def _whole(value: Any) -> int | None:
    if type(value) is int:
        return value
    number = _number(value)
    return int(number) if number is not None and number == number.to_integral_value() else None


def _day(value: Any) -> date | None:
    if isinstance(value, datetime):
        return value.date()
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value.strip()).date()
        except ValueError:
            return None
    return value if isinstance(value, date) else None


def _cents(value: Any, where: str) -> int:
    """Whole cents. Floats are taken as what was meant: 0.1 + 0.2 is 30 cents."""
    number = _number(value)
    expect(number is not None, f"{where}: {_short(value)} is not an amount of money.")
    cents = round(number * 100)
    expect(
        abs(number * 100 - cents) <= Decimal("0.001"),
        f"{where}: {_short(value)} is not a whole number of cents. Nobody can pay a fraction of a cent.",
        ask="Who gets the cents that are left when all amounts are rounded down?",
        misconception="cents",
    )
    return int(cents)


def _team(value: Any, teams: dict[int, str], where: str) -> int:
    team = _whole(value)
    expect(team in teams, f"{where}: there is no team {_short(value)} in ops.teams.")
    return team


def _short(value: Any) -> str:
    if value is None:
        return "null"
    text = repr(value) if isinstance(value, int | float | str | bool) else str(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _rows(value: Any, what: str, columns: list[str]) -> Table:
    """The rows, or one clear sentence."""
    table = as_table(value, what, columns)
    expect(len(table) <= 20_000, f"{what} gave {len(table):,} rows.")
    return table


def _teams(world: World) -> dict[int, str]:
    return dict(world.sql("select team_id, team_name from ops.teams").rows)


# -- task a: what is right, and what mistakes come to -------------------------------------------------------------------


BY_DAY = "coalesce(q.credits / sum(q.credits) over d, 1)"  # a metered day without queries joins one row of nulls


@dataclass(frozen=True)
class _Rules:
    """One way to split invoices, in pieces of SQL. The defaults are the rules; another value is a mistake that people make.

    Tables: t truth, p the person today, a the account's owner today, k the person who owned the account then, q queries.
    """

    team: str = "t.team_id"
    counted: str = "true"
    idle: str = BY_DAY
    idle_on: str = "q.day_on = m.metered_on"
    shared: str = "sum(credits::double) from queries"
    lines: str = "k.warehouse is not distinct from i.warehouse"
    amount: str = "i.amount_usd"


PEOPLE_TODAY = "case when t.is_traceable then coalesce(p.team_id, t.team_id) else t.team_id end"
TODAY = (
    "case when t.is_traceable then coalesce(p.team_id, a.team_id, t.team_id) else coalesce(a.team_id, t.team_id) end"
)
EQUAL = "case when q.team_id is null then 1 else 1.0 / count(q.team_id) over d end"
OWNERS_TEAM_TODAY = "service accounts are taken with the owner, and the owner's team, of today"
LEAVERS_TOO = "everybody is taken in the team of today, leavers included"
MISTAKES: tuple[tuple[str, str, _Rules], ...] = (
    ("todays_team", "people are taken in the team in which they are today", _Rules(team=PEOPLE_TODAY)),
    ("todays_team", "people and service accounts are taken in the team of today", _Rules(team=TODAY)),
    ("todays_team", LEAVERS_TOO, _Rules(team="coalesce(p.team_id, a.team_id, t.team_id)")),
    (
        "accounts_today",
        "service accounts are taken with the owner of today",
        _Rules("coalesce(a.owner_team_id, t.team_id)"),
    ),
    ("accounts_today", OWNERS_TEAM_TODAY, _Rules(team="coalesce(a.team_id, t.team_id)")),
    (
        "keeper_today",
        "who owns an account is taken in the team of today",
        _Rules(team="coalesce(k.team_id, t.team_id)"),
    ),
    ("dropped", "queries for which nobody is found are left out", _Rules(counted="t.is_traceable")),
    ("success_only", "failed and cancelled queries are left out", _Rules(counted="q.status = 'success'")),
    ("success_only", "failed queries are left out", _Rules(counted="q.status <> 'failed'")),
    ("idle_equal", "idle credits are shared equally", _Rules(idle=EQUAL)),
    ("idle_month", "idle credits follow the month's queries, not those of the day", _Rules(idle_on="true")),
    ("idle_month", "idle credits have no part in the keys of their warehouses", _Rules(idle="0")),
    ("idle_lost", "idle credits of days without queries are lost", _Rules(idle="q.credits / sum(q.credits) over d")),
    ("one_key", "all lines are split by one key, whatever warehouse they name", _Rules(lines="k.warehouse is null")),
    ("shared_equal", "lines without a warehouse are shared equally", _Rules(shared="1 from queries")),
    ("shared_equal", "lines without a warehouse follow idle credits too", _Rules(shared="sum(credits) from used")),
    ("sign", "negative lines are left out", _Rules(amount="greatest(i.amount_usd, 0)")),
    ("sign", "negative lines are added instead of taken off", _Rules(amount="abs(i.amount_usd)")),
)


def _exact(world: World, rules: _Rules) -> dict[date, dict[int, float]]:
    """Each team's share of each invoice by these rules, US dollars, not rounded: {month: {team: amount}}."""
    table = world.sql(
        f"""
        with
        owned_now as (
          select o.service_account_id, o.owner_team_id, coalesce(o.owner_team_id, p.team_id) as team_id
          from ops.service_account_owners o
          left join ops.people p
            on p.person_id = o.owner_person_id
          where o.valid_to_at is null
        ),
        keepers as (
          select o.service_account_id, o.valid_from_at, o.valid_to_at, p.team_id
          from ops.service_account_owners o
          join ops.people p
            on p.person_id = o.owner_person_id
        ),
        queries as (
          select
            q.warehouse,
            q.started_at::date as day_on,
            date_trunc('month', q.started_at)::date as month_on,
            {rules.team} as team_id,
            sum(q.credits) as credits
          from ops.query_log q
          join truth.query_teams t using (query_id)
          left join ops.people p
            on p.person_id = q.person_id
          left join owned_now a
            on a.service_account_id = q.service_account_id
          left join keepers k
            on k.service_account_id = q.service_account_id and q.started_at >= k.valid_from_at
            and (k.valid_to_at is null or q.started_at < k.valid_to_at)
          where {rules.counted}
          group by all
        ),
        idle as (
          select
            m.warehouse,
            date_trunc('month', m.metered_on)::date as month_on,
            coalesce(q.team_id, w.owner_team_id) as team_id,
            m.idle_credits * {rules.idle} as credits
          from ops.warehouse_metering m
          join ops.warehouses w using (warehouse)
          left join queries q
            on q.warehouse = m.warehouse and q.month_on = date_trunc('month', m.metered_on) and {rules.idle_on}
          window d as (partition by m.warehouse, m.metered_on)
        ),
        used as (
          select warehouse, month_on, team_id, sum(credits::double) as credits
          from (
            select warehouse, month_on, team_id, credits from queries
            union all
            select warehouse, month_on, team_id, credits from idle
          )
          group by all
        ),
        keys as (
          select * from used
          union all
          select null, month_on, team_id, {rules.shared} group by month_on, team_id
        ),
        shares as (
          select *, coalesce(credits / nullif(sum(credits) over (partition by warehouse, month_on), 0), 0) as share
          from keys
        )
        select i.month_on, k.team_id, sum({rules.amount} * k.share) as usd
        from ops.invoices i
        join shares k
          on k.month_on = i.month_on and {rules.lines}
        group by all
        """
    )
    found: dict[date, dict[int, float]] = {}
    for month, team, usd in table.rows:
        found.setdefault(month, {})[team] = usd or 0.0
    return found


HANDOVERS = """
    select distinct date_trunc('month', q.started_at)::date as month_on
    from ops.query_log q
    left join ops.service_account_owners o
      on o.service_account_id = q.service_account_id
    left join ops.role_history r
      on r.person_id in (q.person_id, o.owner_person_id)
    where q.started_at in (o.valid_to_at, r.valid_to_at)
"""

Split = dict[date, dict[int, float]]


def _right(lab: Lab) -> Split:
    """Each team's share of each invoice by the rules."""
    return lab.kept("shares", lambda: _exact(lab.world, _Rules()))


def _mistaken(lab: Lab) -> list[tuple[str, str, Split]]:
    """(misconception, words, shares) of the mistakes that people make."""
    return lab.kept("mistakes", lambda: [(name, said, _exact(lab.world, rules)) for name, said, rules in MISTAKES])


def _handovers(lab: Lab) -> set[date]:
    """Months in which a query started in the very second of a handover."""
    return lab.kept("handovers", lambda: set(lab.world.sql(HANDOVERS).column("month_on")))


ALSO_KEPT = (_mistaken, _handovers)


def _invoiced(lab: Lab) -> dict[date, int]:
    """Cents billed by month."""
    table = lab.world.sql("select month_on, (sum(amount_usd) * 100)::bigint from ops.invoices group by 1 order by 1")
    return dict(table.rows)


def _statements(lab: Lab) -> dict[date, dict[int, Any]]:
    """The learner's amounts for each month as they came: {month: {team: amount}}."""
    return lab.once("statements", lambda: _read_statements(lab))


def _read_statements(lab: Lab) -> dict[date, dict[int, Any]]:
    teams = _teams(lab.world)
    found: dict[date, dict[int, Any]] = {}
    for month in _invoiced(lab):
        what = f"allocate(con, {month})"
        table = _rows(lab.call("allocate", lab.con, month), what, ["team_id", "amount_usd"])
        expect(len(table), f"{what} gave no rows.")
        amounts: dict[int, Any] = {}
        for team_value, amount in table.rows:
            team = _team(team_value, teams, what)
            expect(
                team not in amounts, f"{what}: team {team} has more than one row. Each team gets one amount a month."
            )
            expect(_number(amount) is not None, f"{what}: {_short(amount)} is not an amount of money (team {team}).")
            amounts[team] = amount
        found[month] = amounts
    return found


def _recognise(
    lab: Lab, mine: dict[date, dict[int, Any]], right: dict[date, dict[int, float]]
) -> tuple[str | None, str]:
    """(misconception, words) of the mistake that explains these amounts, if one does."""

    def shares(of: dict[int, Any]) -> dict[int, float]:
        total = sum(map(float, of.values()))
        return {t: float(v) / total for t, v in of.items()} if total else {}

    def gap(theirs: dict[date, dict[int, float]]) -> float:
        worst = 0.0
        for month, amounts in mine.items():
            a, b = shares(amounts), shares(theirs.get(month, {}))
            worst = max([worst, *(abs(a.get(t, 0) - b.get(t, 0)) for t in a.keys() | b.keys())])
        return worst

    best, words, least = None, "", gap(right) * 0.05 + 1e-5
    for name, said, theirs in _mistaken(lab):
        distance = gap(theirs)
        if distance < least:
            best, words, least = name, said, distance
    return best, words


@check("a", "each month adds up to its invoice, to the cent and with every sign", points=2)
def total_is_the_invoice(lab: Lab) -> None:
    """What is not allocated is paid by nobody. The truth is the invoice itself."""
    billed = _invoiced(lab)
    off = []
    for month, amounts in _statements(lab).items():
        cents = sum(_cents(v, f"allocate(con, {month})") for v in amounts.values())
        if cents != billed[month]:
            off.append((month, cents, billed[month]))
    if not off:
        return
    evidence = Evidence(
        "months that do not add up, US dollars",
        Table.of(
            ["month_on", "allocated", "billed", "difference"],
            [(m, Decimal(a) / 100, Decimal(b) / 100, Decimal(a - b) / 100) for m, a, b in off],
        ),
    )
    month, got, want = off[0]
    said = f"In {len(off)} of {len(billed)} months the amounts do not add up to the invoice ({month}: {got - want:+,} cents)."
    if max(abs(a - b) for _, a, b in off) <= 30:
        raise CheckFailed(
            f"{said} A few cents: each amount is rounded on its own, and the rounding errors stay.",
            evidence=evidence,
            ask="How many cents are left over when every amount is rounded down, and who could take one each?",
            misconception="cents",
        )
    negative = {
        m: int(v)
        for m, v in lab.world.sql(
            "select month_on, (sum(amount_usd) * 100)::bigint from ops.invoices where amount_usd < 0 group by 1"
        ).rows
    }
    for factor, words in ((1, "left out"), (2, "added instead of taken off")):
        if all(abs((a - b) + factor * negative.get(m, 0)) <= 30 for m, a, b in off):
            raise CheckFailed(
                f"{said} The difference is the sum of the negative lines: refunds and rebates are {words}.",
                evidence=evidence,
                ask="Which lines of the invoice have a negative amount?",
                misconception="sign",
            )
    lost = all(a < b for _, a, b in off)
    raise CheckFailed(
        f"{said} " + ("Money is billed and nobody pays it." if lost else "Somebody pays what was never billed."),
        evidence=evidence,
        ask="Is a query for which nobody is found still there after your joins, and idle time on days without queries?"
        if lost
        else "Can a query be counted for two owners at the moment of a handover?",
        misconception="dropped" if lost else "boundary",
    )


def _differences(
    mine: dict[date, dict[int, Any]], right: dict[date, dict[int, float]], names: dict[int, str]
) -> list[tuple[float, date, str, Decimal, Decimal, Decimal]]:
    """(relative to the invoice, month, team, yours, exact, difference), the largest first."""
    found = []
    for month, exact in right.items():
        total = sum(exact.values())
        for team in exact.keys() | mine[month].keys():
            yours, theirs = float(mine[month].get(team, 0)), exact.get(team, 0.0)
            cents = [Decimal(round(x * 100)) / 100 for x in (yours, theirs)]
            found.append(((yours - theirs) / total, month, names[team], cents[0], cents[1], cents[0] - cents[1]))
    return sorted(found, key=lambda d: -abs(d[0]))


@check("a", "each team's share of each invoice is right", points=2)
def shares_follow_the_rules(lab: Lab) -> None:
    """Who pays: tracing as of the query's time, the owner where nobody is found, idle and shared cost by their keys.

    Judged on shares of what was allocated, so that a wrong total is counted once, by the check above.
    """
    mine, right = _statements(lab), _right(lab)
    scaled = {}
    for month, amounts in mine.items():
        total = sum(map(float, amounts.values()))
        expect(total > 0, f"allocate(con, {month}): the amounts add up to {total:,.2f} USD; the invoice is positive.")
        factor = sum(right[month].values()) / total
        scaled[month] = {t: float(v) * factor for t, v in amounts.items()}
    differences = _differences(scaled, right, _teams(lab.world))
    off = [d for d in differences if abs(d[0]) > SHARE_TOLERANCE]
    if not off:
        return
    name, words = _recognise(lab, mine, right)
    worst = off[0]
    raise CheckFailed(
        f"In {len(off)} of {len(differences)} cases a team's share is off by more than a tenth of a percentage point of the "
        f"invoice; the worst: {worst[2]} in {worst[1]:%B %Y}, {worst[5]:+,} USD."
        + (f" It looks as if {words}." if words else ""),
        evidence=Evidence(
            "largest differences, US dollars (your amounts scaled to the invoice)",
            Table.of(["month_on", "team", "yours", "exact", "difference"], [d[1:] for d in off[:8]]),
        ),
        ask=None
        if name
        else "Take the worst of these teams and one warehouse: do its query credits agree, then its idle credits?",
        misconception=name,
    )


@check("a", "no team is more than a cent from its exact share", points=1)
def every_cent_is_right(lab: Lab) -> None:
    """The same to the cent: handovers to the second, and cents handed out one by one."""
    mine, right = _statements(lab), _right(lab)
    for month, amounts in mine.items():
        for value in amounts.values():
            _cents(value, f"allocate(con, {month})")
    names = _teams(lab.world)
    off = [
        (month, names[team], Decimal(str(round(float(mine[month].get(team, 0)), 2))), round(exact.get(team, 0.0), 4))
        for month, exact in right.items()
        for team in exact.keys() | mine[month].keys()
        if abs(float(mine[month].get(team, 0)) - exact.get(team, 0.0)) > 0.01 + 1e-6
    ]
    if not off:
        return
    off.sort(key=lambda r: -abs(float(r[2]) - r[3]))
    evidence = Evidence(
        "furthest from the exact share, US dollars", Table.of(["month_on", "team", "yours", "exact"], off[:8])
    )
    if max(abs(float(r[2]) - r[3]) for r in off) < 0.31:
        raise CheckFailed(
            f"{len(off)} amounts are more than a cent from the exact share: the cents left by rounding went to few teams.",
            evidence=evidence,
            ask="There are never more cents left over than teams: what if each takes at most one?",
            misconception="cents",
        )
    months = {r[0] for r in off}
    said = f"{len(off)} amounts are more than a cent from the exact share, in {len(months)} of {len(right)} months."
    name, words = _recognise(lab, mine, right)
    if name:
        raise CheckFailed(f"{said} It looks as if {words}.", evidence=evidence, misconception=name)
    largest = max(abs(d[0]) for d in _differences(mine, right, names))
    if largest <= 50 * SHARE_TOLERANCE and months <= _handovers(lab):
        raise CheckFailed(
            f"{said} In each of them a query started in the very second of a handover: it belongs to the new owner, once.",
            evidence=evidence,
            ask="Does an interval include its end in your join?",
            misconception="boundary",
        )
    raise CheckFailed(said, evidence=evidence, ask="Which rule touches just these teams, in just these months?")


# -- task b: the next quarter of ten worlds --------------------------------------------------------------------------------------


def _rejects(successes: int, n: int, promise: float) -> bool:
    """Whether ``successes`` of n are too few for a rate of ``promise``: exact binomial tail at SIGNIFICANCE."""
    if n == 0:
        return False
    tail = sum(
        math.exp(_log_choose(n, k) + k * math.log(promise) + (n - k) * math.log(1 - promise))
        for k in range(successes + 1)
    )
    return tail < SIGNIFICANCE


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


@dataclass(frozen=True)
class _Month:
    """A team's month of the next quarter as it will be: one number a day."""

    team_id: int
    team_name: str
    month_on: date
    expected: np.ndarray
    actual: np.ndarray
    working: np.ndarray
    overspend: Overspend | None

    @property
    def is_normal(self) -> bool:
        return float(self.actual.sum()) <= (1 + NORMAL) * float(self.expected.sum())


def _quarters(lab: Lab) -> list[tuple[World, list[_Month]]]:
    """Ten worlds, each with its next quarter."""
    worlds = lab.worlds(WORLDS)
    return list(zip(worlds, lab.kept("quarters", lambda: [_future(w) for w in worlds]), strict=True))


def _future(world: World) -> list[_Month]:
    table = world.sql(
        """
        select
          s.team_id, t.team_name, date_trunc('month', s.day_on)::date as month_on,
          list(s.expected_usd::double order by s.day_on), list(s.amount_usd::double order by s.day_on),
          list(c.is_working_day order by s.day_on)
        from truth.team_spend s
        join ops.teams t using (team_id)
        join core.calendar c using (region, day_on)
        where s.day_on > date '2026-06-30'
        group by all
        order by s.team_id, month_on
        """
    )
    found = []
    for team, name, month, *days in table.rows:
        expected, actual, working = np.array(days[0]), np.array(days[1]), np.array(days[2], dtype=bool)
        found.append(_Month(team, name, month, expected, actual, working, find_overspend(expected, actual, working)))
    return found


def _budgets(lab: Lab, world: World) -> dict[tuple[int, date], tuple[Any, Any]]:
    """The learner's budgets: {(team, month): (budget, who acts)}; complete, nothing twice."""
    return lab.once(f"budgets in {world.name}", lambda: _read_budgets(lab, world))


def _read_budgets(lab: Lab, world: World) -> dict[tuple[int, date], tuple[Any, Any]]:
    what, teams = "budgets(con)", _teams(world)
    table = _rows(lab.call("budgets", world.con), what, ["team_id", "month_on", "budget_usd", "acts_person_id"])
    found: dict[tuple[int, date], tuple[Any, Any]] = {}
    for team_value, month_value, budget, person in table.rows:
        team, month = _team(team_value, teams, what), _day(month_value)
        expect(
            month in MONTHS,
            f"{what}: month_on is {_short(month_value)}; the quarter's are 2026-07-01, 2026-08-01 and 2026-09-01.",
        )
        expect((team, month) not in found, f"{what}: team {team} has two budgets for {month:%B}.")
        expect(
            _number(budget) is not None,
            f"{what}: {_short(budget)} is not an amount of money (team {team}, {month:%B}).",
        )
        found[team, month] = budget, person
    missing = [(t, m) for t in teams for m in MONTHS if (t, m) not in found]
    if missing:
        team, month = missing[0]
        raise CheckFailed(
            f"{what}: {len(missing)} of {len(teams) * len(MONTHS)} budgets are missing, such as team {team} "
            f"({teams[team]}) in {month:%B}.",
            ask="Does a join drop the teams that lack something?",
        )
    return found


@check("b", "the budgets of each month add up to what was signed", points=0.5)
def budgets_add_up(lab: Lab) -> None:
    """The signed total is the truth. Three worlds, so that it is not typed in."""
    for world in (lab.world, *lab.worlds(2)):
        signed = dict(
            world.sql(
                "select month_on, (signed_usd * 100)::bigint from ops.signed_totals where month_on > date '2026-06-30'"
            ).rows
        )
        sums: Counter[date] = Counter()
        for (team, month), (budget, _) in _budgets(lab, world).items():
            sums[month] += _cents(budget, f"budgets(con), team {team}")
        off = [(m, Decimal(sums[m]) / 100, Decimal(signed[m]) / 100) for m in MONTHS if sums[m] != signed[m]]
        if off:
            month, got, want = off[0]
            few = max(abs(a - b) for _, a, b in off) <= 1
            raise CheckFailed(
                f"The budgets of {month:%B} add up to {got:,} USD; {want:,} USD were signed. "
                + ("Rounding has left cents over." if few else "Nobody has signed the difference."),
                evidence=Evidence(
                    "budgets and signed totals, US dollars", Table.of(["month_on", "budgets", "signed"], off)
                ),
                ask="What do you do with the cents that rounding leaves?"
                if few
                else "By what factor must the forecasts be scaled?",
                misconception="cents" if few else None,
            )


@check("b", "each budget is within 25% of what the team needs", points=1)
def budgets_are_realistic(lab: Lab) -> None:
    """Ten worlds, 900 budgets, against the spend that the simulation expects without incidents. At least 97% must be within
    25%: a team whose recent weeks held an incident may surprise anybody once."""
    misses: list[tuple] = []
    n = 0
    for world, months in _quarters(lab):
        mine = _budgets(lab, world)
        for m in months:
            n += 1
            expected = float(m.expected.sum())
            budget = float(_number(mine[m.team_id, m.month_on][0]))
            if abs(budget - expected) > BUDGET_TOLERANCE * expected:
                misses.append(
                    (
                        m.team_name,
                        m.month_on,
                        round(budget, 2),
                        round(expected, 2),
                        round(100 * (budget / expected - 1)),
                    )
                )
    if _rejects(n - len(misses), n, PROMISES["forecast"]):
        misses.sort(key=lambda r: -abs(r[4]))
        raise CheckFailed(
            f"{len(misses)} of {n} budgets (30 teams, 3 months, 10 worlds) are more than 25% off what the team spends when "
            "nothing goes wrong. Such a budget is either a gift or a quarrel.",
            evidence=Evidence(
                "furthest off", Table.of(["team", "month_on", "budget_usd", "expected_usd", "off_by_pct"], misses[:8])
            ),
            ask="What did these teams spend in the last eight weeks, day by day?",
        )


@check("b", "who acts is in the team and still here", points=0.5)
def someone_can_act(lab: Lab) -> None:
    """An alert that reaches nobody is no alert. ops.people as of today, in four worlds."""
    for world in (lab.world, *lab.worlds(3)):
        people = {p: r for p, *r in world.sql("select person_id, team_id, left_on, full_name from ops.people").rows}
        names = _teams(world)
        problems = []
        for (team, month), (_, person_value) in _budgets(lab, world).items():
            person = _whole(person_value)
            if person not in people:
                problems.append((names[team], month, _short(person_value), "no such person"))
                continue
            now, left_on, full_name = people[person]
            if left_on is not None and left_on <= date(2026, 6, 30):
                problems.append((names[team], month, full_name, f"left on {left_on}"))
            elif now != team:
                problems.append((names[team], month, full_name, f"is in {names[now]}"))
        if problems:
            reasons = Counter(
                "gone" if "left" in p[3] else "unknown" if "no such" in p[3] else "in another team" for p in problems
            )
            raise CheckFailed(
                f"{len(problems)} of {len(names) * len(MONTHS)} alerts would reach nobody who can act: "
                + ", ".join(f"{n} {word}" for word, n in reasons.most_common())
                + ".",
                evidence=Evidence("who should act", Table.of(["team", "month_on", "acts", "why not"], problems[:8])),
                ask="Who is in the team today, and has not left?",
            )


def _lines(lab: Lab, world: World) -> dict[tuple[int, date], np.ndarray]:
    """The learner's alert lines: {(team, month): one number a day, NaN where there is no line}."""
    what, teams = "alert_lines(con)", _teams(world)
    found = {(t, m): np.full(30 if m.month == 9 else 31, np.nan) for t in teams for m in MONTHS}
    seen: set[tuple[int, date]] = set()
    table = _rows(lab.call("alert_lines", world.con), what, ["team_id", "day_on", "alert_at_usd"])
    for team_value, day_value, usd in table.rows:
        team, day = _whole(team_value), _day(day_value)
        if team not in teams:
            team = _team(team_value, teams, what)
        if day is None:
            raise CheckFailed(f"{what}: {_short(day_value)} is not a day.")
        if (team, day) in seen:
            raise CheckFailed(f"{what}: team {team} has two lines for {day}.")
        seen.add((team, day))
        if usd is None or (isinstance(usd, float) and (math.isnan(usd) or usd == math.inf)):
            continue  # no line on this day
        if not _is_amount(usd):
            raise CheckFailed(f"{what}: {_short(usd)} is not an amount of money (team {team}, {day}).")
        line = found.get((team, day.replace(day=1)))
        if line is not None:
            line[day.day - 1] = float(usd)
    return found


def _replayed(lab: Lab) -> Iterator[tuple[_Month, np.ndarray, int | None]]:
    """(month, alert line, day of the alert) of every team and month of ten worlds."""
    for world, months in _quarters(lab):
        lines = _lines(lab, world)
        for m in months:
            line = lines[m.team_id, m.month_on]
            yield m, line, first_alert(line, m.actual)


@dataclass
class _Score:
    """How the alerts of ten worlds did. ``late`` and ``idle_calls`` keep what can be shown."""

    visible: int = 0
    in_time: int = 0
    normal: int = 0
    for_nothing: int = 0
    late: list[tuple[_Month, np.ndarray, int | None]] = None  # type: ignore[assignment]
    idle_calls: list[tuple[_Month, np.ndarray, int | None]] = None  # type: ignore[assignment]


def _score(lab: Lab) -> _Score:
    score = _Score(late=[], idle_calls=[])
    for m, line, alert in _replayed(lab):
        if m.overspend and m.overspend.visible:
            score.visible += 1
            if alert is not None and alert <= m.overspend.act_by:
                score.in_time += 1
            else:
                score.late.append((m, line, alert))
        elif m.is_normal:
            score.normal += 1
            if alert is not None:
                score.for_nothing += 1
                score.idle_calls.append((m, line, alert))
    return score


def _burn_down(case: tuple[_Month, np.ndarray, int | None], title: str) -> Evidence:
    """A month of one team against its alert line, as a picture."""
    from workshop.plots import BLUE, GREY, ORANGE, RED, plt, png

    m, line, alert = case
    figure, axes = plt.subplots()
    day = np.arange(1, len(m.actual) + 1)
    axes.plot(day, np.cumsum(m.expected), color=GREY, linestyle="--", label="expected to date")
    axes.plot(day, np.cumsum(m.actual), color=BLUE, label="spent to date")
    axes.plot(day, np.clip(line, 0, 2 * m.actual.sum()), color=ORANGE, drawstyle="steps-mid", label="your alert line")
    if alert is not None:
        axes.plot(alert + 1, np.cumsum(m.actual)[alert], "o", color=RED, label=f"alert on day {alert + 1}")
    if m.overspend and m.overspend.act_by >= 0:
        axes.axvline(m.overspend.act_by + 1, color=RED, linestyle=":", label="last evening in time")
    axes.set(title=title, xlabel=f"day of {m.month_on:%B %Y}", ylabel="US dollars, month to date")
    axes.legend(loc="upper left")
    return Evidence(title, png=png(figure))


@check("b", "overspends are alerted while there is time to act", points=1.5)
def alerts_come_in_time(lab: Lab) -> None:
    """The next quarter of ten worlds is replayed; incidents and deadlines are the simulation's own."""
    s = lab.once("score", lambda: _score(lab))
    if s.normal and s.for_nothing > 0.5 * s.normal:
        raise CheckFailed(
            f"An alert goes out in {s.for_nothing} of {s.normal} normal months. What always rings tells nobody anything, so "
            "that it rings in time cannot be counted.",
            evidence=_burn_down(s.idle_calls[0], f"{s.idle_calls[0][0].team_name}: a normal month, and an alert"),
            ask="What should this team have spent by that day?",
            misconception="flat_line",
        )
    if _rejects(s.in_time, s.visible, PROMISES["in time"]):
        case = max(s.late, key=lambda c: c[0].overspend.excess_usd)
        words = "no alert at all" if case[2] is None else f"an alert on day {case[2] + 1}, too late by then"
        raise CheckFailed(
            f"Of {s.visible} overspends that showed {LEAD_WORKING_DAYS} working days ahead (10 worlds), {s.in_time} were "
            f"alerted in time; 90% are promised. {case[0].team_name} in {case[0].month_on:%B}: {words}, and "
            f"{case[0].overspend.excess_usd:,.0f} USD over.",
            evidence=_burn_down(case, f"{case[0].team_name}: the largest overspend that was missed"),
            ask="How far above the expected spend to date does your line lie in the middle of the month?",
            misconception="flat_line",
        )


@check("b", "few alerts are for nothing", points=1.5)
def few_alerts_for_nothing(lab: Lab) -> None:
    """Month ends, sales days and one-day reloads are normal. A line that never rings is no answer either."""
    s = lab.once("score", lambda: _score(lab))
    if _rejects(s.normal - s.for_nothing, s.normal, 1 - PROMISES["for nothing"]):
        teams = Counter(c[0].team_name for c in s.idle_calls)
        early = sum(c[2] < 5 for c in s.idle_calls)
        case = next(c for c in s.idle_calls if c[0].team_name == teams.most_common(1)[0][0])
        spread = len(teams) > 20 and early > 0.6 * s.for_nothing
        raise CheckFailed(
            f"{s.for_nothing} of {s.normal} normal months (10 worlds) had an alert; 5% are allowed. {early} of them came "
            f"within the first five days of a month; {len(teams)} teams were called, most often "
            f"{', '.join(t for t, _ in teams.most_common(3))}.",
            evidence=_burn_down(case, f"{case[0].team_name}: a normal month, and an alert"),
            ask="How many dollars lie between plan and line on the second day of a month?"
            if spread
            else "What do these teams do at the turn of every month, and how fast do they grow?",
            misconception="percent" if spread else "no_closing",
        )
    expect(
        s.in_time >= 0.5 * s.visible,
        f"Only {s.in_time} of {s.visible} overspends were alerted in time: a line that is hardly ever reached is quiet for "
        "the wrong reason, so that its silence cannot be counted.",
        ask="What would spend to date be in a normal month, and how much above it is your line?",
    )


# -- twelve weeks later ---------------------------------------------------------------------------------------------------------


def _rule_of_today(world: World) -> dict[tuple[int, date], float]:
    """Where the alert of the old budgets would stand in the next quarter: 90% of a share by heads."""
    table = world.sql(
        """
        select
          b.team_id,
          s.month_on,
          b.alert_at_pct / 100 * s.signed_usd * b.budget_usd / sum(b.budget_usd) over (partition by s.month_on)
        from ops.budgets b, ops.signed_totals s
        where b.month_on = date '2026-06-01' and s.month_on > date '2026-06-30'
        """
    )
    return {(team, month): float(usd) for team, month, usd in table.rows}


def twelve_weeks_later(lab: Lab) -> Any:
    """The learner's lines against the rule of today: one burn-down of this world, and the money of ten quarters."""
    from workshop.plots import BLUE, GREY, ORANGE, RED, plt

    def rules(world: World) -> dict[str, Callable[[_Month], np.ndarray]]:
        mine, flat = _lines(lab, world), _rule_of_today(world)
        return {
            "nobody looks": lambda m: np.full(len(m.actual), np.nan),
            "rule of today": lambda m: np.full(len(m.actual), flat[m.team_id, m.month_on]),
            "your lines": lambda m: mine[m.team_id, m.month_on],
        }

    lost: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    for world, months in _quarters(lab):
        for name, line_of in rules(world).items():
            cured: set[int] = set()  # teams whose incident somebody has ended; a team's months come in order
            for m in months:
                actual = np.minimum(m.actual, m.expected) if m.team_id in cured else m.actual
                alert = first_alert(line_of(m), actual)
                if m.overspend:
                    paid = after_acting(m.expected, actual, m.working, alert)
                    lost[name] += max(0.0, float(paid.sum() - m.expected.sum())) / WORLDS
                    if alert is not None:
                        cured.add(m.team_id)
                elif m.is_normal and alert is not None:
                    calls[name] += 1

    figure, (left, right) = plt.subplots(1, 2, figsize=(9.2, 3.4), width_ratios=[3, 2])
    here, months = rules(lab.world), lab.kept("quarter", lambda: _future(lab.world))
    worst = max((m for m in months if m.overspend), key=lambda m: m.overspend.excess_usd, default=months[0])
    day, spent = np.arange(1, len(worst.actual) + 1), np.cumsum(worst.actual)
    left.plot(day, np.cumsum(worst.expected), color=GREY, linestyle="--", label="expected")
    left.plot(day, spent, color=BLUE, label="spent")
    for name, colour in (("your lines", ORANGE), ("rule of today", RED)):
        line = here[name](worst)
        alert = first_alert(line, worst.actual)
        when = f"alert on day {alert + 1}" if alert is not None else "no alert"
        left.plot(day, np.clip(line, 0, 1.3 * spent[-1]), color=colour, linewidth=1.2, label=f"{name}: {when}")
        if alert is not None:
            left.plot(alert + 1, spent[alert], "o", color=colour)
    left.set(title=f"{worst.team_name}, {worst.month_on:%B}", xlabel="day of the month")
    left.set_ylabel("US dollars, month to date")
    left.legend(loc="upper left")
    names = ["nobody looks", "rule of today", "your lines"]
    bars = right.barh(names, [lost[n] for n in names], color=[GREY, RED, ORANGE])
    words = [f"{lost[n]:,.0f} USD\n{calls[n] / WORLDS:.0f} calls for nothing" for n in names]
    right.bar_label(bars, words, padding=3, fontsize=8)
    right.set(title="Overspends of a quarter", xlabel="US dollars above expectation, mean of ten worlds")
    right.set_xlim(0, 1.7 * max(*lost.values(), 1))
    right.grid(axis="y", visible=False)
    right.invert_yaxis()
    return figure
