# %% [markdown]
# # Lab 1.7: Who pays for the shared warehouse
#
# Kestrel's teams share one cloud warehouse. Each month the provider sends one invoice, and so far Finance has split it
# by head count. From July on each team pays for what it caused, and gets a budget with an alarm that rings while there
# is still time.
#
# - **Task a** splits an invoice: every cent to one team, by rules that are already agreed.
# - **Task b** sets the next quarter's budgets, draws an alert line for each team and names who acts.
#
# Change the cells of the tasks only, as much as you like; SQL, pandas or plain Python are equally welcome, and rows
# may come back as a relation, a DataFrame, a list of dicts or a list of tuples in the stated order of columns. Helpers
# belong in the same cell, above your function.

# %% tags=["parameters"]
WORLD, SCALE = "practice-7", 0.05

# %% tags=["setup"]
from datetime import date

import pandas as pd

from workshop import TODO, open_lab
from workshop.plots import plt, show

lab = open_lab("1.7", world=WORLD, scale=SCALE)

# %% [markdown]
# ## The tables
#
# `lab.con` is a DuckDB connection. These are the tables, all in UTC:
#
# | table | what it holds |
# | --- | --- |
# | `ops.query_log` | each query: `warehouse`, `person_id` or `service_account_id`, `started_at`, `status`, `credits` |
# | `ops.role_history` | who was in which team and when: `person_id`, `team_id`, `valid_from_at`, `valid_to_at` |
# | `ops.service_account_owners` | who answered for a service account and when: a team or a person |
# | `ops.warehouses` | each warehouse and the team that owns it (the owners have not changed in the year) |
# | `ops.warehouse_metering` | credits for each warehouse and day: used by queries, and idle |
# | `ops.invoices` | the lines of each month's invoice; `amount_usd` has a sign |
# | `ops.team_spend`, `ops.signed_totals`, `core.calendar`, `ops.people` | for task b |

# %%
lab.con.execute(
    "select line_kind, warehouse, description, credits, amount_usd from ops.invoices where month_on = date '2026-05-01'"
).df()

# %% [markdown]
# ## Task a: split the invoice
#
# Write `allocate(con, month)`. `month` is a `datetime.date`, the first of a month; what comes back has one row a team:
# `team_id`, `amount_usd`. These are the rules:
#
# 1. **Who asked.** A query belongs to the day and month in which it started. It is accounted to the team in which the
#    person was *at that moment*. For a service account it is the account's owner at that moment; where the owner is a
#    person, the team in which that person was at that moment. Intervals include their beginning and exclude their end;
#    an end of null means until today.
# 2. **Nobody found.** Where that gives no team (the user was deleted, had left, or the account had no owner just
#    then), the team that owns the warehouse pays.
# 3. **Everything counts.** Failed and cancelled queries have burnt their credits too.
# 4. **Idle credits** of a warehouse on one day are shared by the teams whose queries ran there on that day, in
#    proportion to the credits of those queries. On a day without queries the team that owns the warehouse pays.
# 5. **Lines that name a warehouse** (compute, refunds for an outage) are split like that warehouse's credits of the
#    month, query and idle credits of each team taken together.
# 6. **All other lines** (serverless upkeep, storage, support, rebate, corrections) are split like the query credits of
#    the month over all warehouses, idle credits left aside.
# 7. **Cents.** Amounts are whole cents and add up to the invoice exactly, negative lines included. No team is more
#    than a cent away from its exact share; who gets the odd cents is up to you.
#
# Judged on all twelve months of a world that you have not seen: the total, the shares (to a tenth of a percentage
# point of the invoice), and each team's amount to the cent.


# %% tags=["task-a"]
def allocate(con, month):
    """The invoice of a month by team.

    con: DuckDB connection; month: datetime.date, the first of the month.
    Returns rows (team_id, amount_usd): one a team, US dollars in whole cents, adding up to the invoice.
    """
    ### BEGIN SOLUTION
    return con.execute(
        """
        with
        queries as (
          -- Left joins: a query for which nobody is found stays, and goes to the owner of the warehouse.
          select
            q.warehouse,
            q.started_at::date as day_on,
            coalesce(person.team_id, account.owner_team_id, keeper.team_id, w.owner_team_id) as team_id,
            sum(q.credits) as credits
          from ops.query_log q
          join ops.warehouses w using (warehouse)
          left join ops.role_history person
            on person.person_id = q.person_id
            and q.started_at >= person.valid_from_at
            and (q.started_at < person.valid_to_at or person.valid_to_at is null)
          left join ops.service_account_owners account
            on account.service_account_id = q.service_account_id
            and q.started_at >= account.valid_from_at
            and (q.started_at < account.valid_to_at or account.valid_to_at is null)
          left join ops.role_history keeper
            on keeper.person_id = account.owner_person_id
            and q.started_at >= keeper.valid_from_at
            and (q.started_at < keeper.valid_to_at or keeper.valid_to_at is null)
          where date_trunc('month', q.started_at) = $month
          group by all
        ),
        idle as (
          select
            m.warehouse,
            coalesce(q.team_id, w.owner_team_id) as team_id,
            m.idle_credits * coalesce(q.credits / sum(q.credits) over (partition by m.warehouse, m.metered_on), 1) as credits
          from ops.warehouse_metering m
          join ops.warehouses w using (warehouse)
          left join queries q
            on q.warehouse = m.warehouse and q.day_on = m.metered_on
          where date_trunc('month', m.metered_on) = $month
        ),
        keys as (
          -- One key a warehouse, and one (null) for the lines that name none.
          select warehouse, team_id, sum(credits::double) as credits
          from (select warehouse, team_id, credits from queries union all select warehouse, team_id, credits from idle)
          group by warehouse, team_id
          union all
          select null, team_id, sum(credits::double)
          from queries
          group by team_id
        ),
        shares as (
          select *, credits / sum(credits) over (partition by warehouse) as share
          from keys
        ),
        exact as (
          select s.team_id, sum(i.amount_usd * 100 * s.share) as cents
          from ops.invoices i
          join shares s
            on s.warehouse is not distinct from i.warehouse
          where i.month_on = $month
          group by s.team_id
        ),
        leftover as (
          select (select sum(amount_usd) * 100 from ops.invoices where month_on = $month) - sum(floor(cents)) as cents
          from exact
        )
        -- Round all down; those who lost most by it get a cent each until none is left over.
        select
          e.team_id,
          (floor(e.cents) + (row_number() over (order by e.cents - floor(e.cents) desc) <= l.cents)::integer)::decimal(18, 0)
          / 100 as amount_usd
        from exact e, leftover l
        order by e.team_id
        """,
        {"month": month},
    ).df()
    ### END SOLUTION


# %% tags=["check-a"]
lab.check("a")


# %%
def frame(rows, *columns):
    """Rows in any of the usual forms as a DataFrame (for a look; the checks do it on their own)."""
    table = rows.df() if hasattr(rows, "fetchall") else pd.DataFrame(rows)
    if set(columns) <= set(table.columns) or len(table) == 0:
        return table.reindex(columns=columns)
    return table.set_axis([*columns], axis="columns")


# %% tags=["nbval-check-output"]
try:
    statement = frame(allocate(lab.con, date(2026, 5, 1)), "team_id", "amount_usd").astype(float)
    billed = lab.con.execute("select sum(amount_usd) from ops.invoices where month_on = date '2026-05-01'").df()
    print(f"May 2026: {len(statement)} teams, {statement.amount_usd.sum():,.2f} USD allocated, ", end="")
    print(f"{float(billed.iloc[0, 0]):,.2f} USD billed")
    print(statement.nlargest(5, "amount_usd").astype({"team_id": int}).to_string(index=False))
except TODO:
    print("Task a is still to do.")

# %% [markdown]
# ## Task b: budgets, alert lines, and who acts
#
# The chief financial officer has signed a total for each month of the next quarter. Budgets are about *direct* spend,
# which is what a team can act on: the credits of its queries at the contract's price. `ops.team_spend` has it for each
# team and day, up to today (30 June 2026), past incidents included. Three teams, to begin with:

# %%
spend = lab.con.execute("""
    select team_name, day_on, direct_usd::double as usd
    from ops.team_spend
    join ops.teams using (team_id)
    where day_on >= date '2026-03-01' and team_name in ('finance-reporting', 'storefront-web', 'forecasting')
    order by day_on
""").df()
figure, panels = plt.subplots(3, sharex=True, figsize=(7.2, 4.4))
for panel, (name, days) in zip(panels, spend.groupby("team_name"), strict=True):
    panel.plot(days.day_on, days.usd, linewidth=1)
    panel.set_title(name)
    panel.set_ylim(0)
panels[2].set_xticks([date(2026, month, 1) for month in range(3, 8)])
panels[1].set_ylabel("direct spend, US dollars a day")
show(figure, "Daily direct spend of three teams since March: weekends, month ends and sales days show")

# %%
lab.con.execute("select * from ops.signed_totals where month_on > date '2026-04-30' order by month_on").df()

# %% [markdown]
# Write two functions. Both get a connection to a world like this one and decide from what that world shows up to today
# (so read from `con`, not from `lab.con`).
#
# **`budgets(con)`**: one row for each team and month of July, August and September 2026: `team_id`, `month_on` (first
# of the month), `budget_usd`, `acts_person_id`.
#
# - The budgets of a month are whole cents and add up to the month's signed total exactly.
# - Each lies within 25% of what the team will spend when nothing goes wrong (at least 97% of 900 budgets in ten
#   worlds).
# - Who acts is somebody of that team today, still employed (`ops.people`); its manager will do.
#
# **`alert_lines(con)`**: rows `team_id`, `day_on`, `alert_at_usd`, for the 92 days of the quarter. Each evening the
# team's direct spend since the first of the month is compared with the line of that day; on the first evening of a
# month on which it is *above* the line, the alert goes out. There is one alert a month at most. A day without a row
# (or with null) has no line.
#
# The next quarter of ten worlds is then replayed. Two things are counted over all teams and months:
#
# - **In time.** A month is overspent when it ends more than 15% above what was expected. To find the cause and cure it
#   takes a team five working days, so an alert is in time when at least five working days of the team's region
#   (`core.calendar`) lie after its evening, up to and including the day on which spend passes what was expected for
#   the whole month. Of the overspends that show by the last such evening (excess of 20% of the month's expected spend
#   by then), at least 90% must have been alerted.
# - **For nothing.** Of the months that end no more than 10% above what was expected, at most 5% may have had an alert.
#
# The first check builds the ten worlds, which takes a few seconds. Both rates fail only where chance is ruled out
# (binomial test, one in ten thousand). "Expected" is what the simulation knows a team to spend when nothing goes wrong;
# weekends, holidays, sales days and whatever else a team does by the calendar are in it. Not every peak is an incident.


# %% tags=["task-b"]
### BEGIN SOLUTION
PLAN = """
with
days as (
  select
    *,
    date_trunc('month', day_on)::date as month_on,
    sum(is_working_day::integer) over (partition by region, date_trunc('month', day_on) order by day_on) as nth,
    sum(is_working_day::integer) over (partition by region, date_trunc('month', day_on) order by day_on desc) as nth_last
  from core.calendar
),
kinds as (
  -- Closing of books, seen in the data: the first three and the last two working days of a month.
  select
    t.team_id,
    d.day_on,
    d.month_on,
    case
      when d.sale_name is not null then 'sale'
      when not d.is_working_day then 'off'
      when d.nth <= 3 or d.nth_last <= 2 then 'close'
      else 'working'
    end as kind
  from days d
  join ops.teams t using (region)
),
levels as (
  -- Eight weeks are recent enough to hold the trend; the median is deaf to a day that went wrong.
  select k.team_id, k.kind, median(s.direct_usd::double) as usd
  from ops.team_spend s
  join kinds k using (team_id, day_on)
  where s.day_on > date '2026-06-30' - 56
  group by k.team_id, k.kind
),
plan as (
  select k.team_id, k.month_on, k.day_on, l.usd
  from kinds k
  join levels l using (team_id, kind)
  where k.day_on between date '2026-07-01' and date '2026-09-30'
)
"""
SLACK = 0.15  # of the month's plan: above what noise does in a normal month, below what an incident does in time


def budgets(con):
    """Budget of each team and month, and who acts: rows (team_id, month_on, budget_usd, acts_person_id)."""
    return con.sql(
        PLAN
        + """,
        exact as (
          select
            p.team_id,
            p.month_on,
            100 * s.signed_usd::double * sum(p.usd) / sum(sum(p.usd)) over (partition by p.month_on) as cents,
            s.signed_usd
          from plan p
          join ops.signed_totals s using (month_on)
          group by p.team_id, p.month_on, s.signed_usd
        )
        select
          e.team_id,
          e.month_on,
          (
            floor(cents) + (
              row_number() over (partition by month_on order by cents - floor(cents) desc)
              <= 100 * signed_usd - sum(floor(cents)) over (partition by month_on)
            )::integer
          )::decimal(18, 0) / 100 as budget_usd,
          m.person_id as acts_person_id
        from exact e
        join ops.people m
          on m.team_id = e.team_id and m.craft = 'manager' and m.left_on is null
        """
    ).df()


def alert_lines(con):
    """The alert line of each team and day: rows (team_id, day_on, alert_at_usd)."""
    return con.sql(
        PLAN
        + f"""
        select
          team_id,
          day_on,
          sum(usd) over (partition by team_id, month_on order by day_on)
          + {SLACK} * sum(usd) over (partition by team_id, month_on) as alert_at_usd
        from plan
        """
    ).df()


### STUB
# def budgets(con):
#     """Budget of each team and month, and who acts: rows (team_id, month_on, budget_usd, acts_person_id)."""
#     raise TODO
#
#
# def alert_lines(con):
#     """The alert line of each team and day: rows (team_id, day_on, alert_at_usd)."""
#     raise TODO
### END SOLUTION

# %% tags=["check-b"]
lab.check("b")

# %% tags=["nbval-check-output"]
try:
    mine = frame(budgets(lab.con), "team_id", "month_on", "budget_usd", "acts_person_id")
    lines = frame(alert_lines(lab.con), "team_id", "day_on", "alert_at_usd")
    signed = mine.budget_usd.astype(float).sum()
    print(f"{len(mine)} budgets, {signed:,.2f} USD in the quarter; {len(lines):,} points on alert lines")
except TODO:
    print("Task b is still to do.")

# %% [markdown]
# ## Twelve weeks later
#
# The quarter has passed. Left: the team of this world that overspent most, with your line and with the rule of today (one
# share a head, an alert at 90% of it). Right, over ten worlds: what incidents cost when somebody acts on the first alert,
# five working days after it, and how often somebody was called for nothing.

# %%
lab.twelve_weeks_later()

# %% [markdown]
# ## What you take home
#
# `allocate` runs on any warehouse whose log names a user and a cost for each query: replace the five tables, keep the
# seven rules in writing. The budget policy is two tables; save them with `mine.to_csv("budgets.csv")` and
# `lines.to_csv("alert_lines.csv")`, and any tool that can compare a running sum with a number can raise the alert.
