# %% [markdown]
# # 1.7 Who pays for the shared warehouse
#
# *"In April the warehouse cost us three thousand dollars more than in March. Thirty teams use it. Which of them do I
# talk to, and why did nobody ring me while there was still something to be done?"* Kestrel's chief financial officer
# has two questions in one: a bill needs an owner, and an owner needs an alarm that comes in time.
#
# Here you follow one invoice down to the queries, see how much depends on *when* you ask who somebody works for,
# compare what three keys make teams do, and measure alarms on a year of history. You take away a chargeback that
# equals the invoice to the cent and a way to judge an alert before it is switched on.

# %%
import numpy as np

from workshop import open_lesson
from workshop.plots import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, plt, show
from workshop.sim import streams
from workshop.sim.spend import find_overspend, first_alert

con = open_lesson("1.7")

# %% [markdown]
# ## What the provider sends
#
# The invoice names warehouses, not teams. Both months by kind of line:

# %%
con.sql("""
    select line_kind, count(distinct warehouse) as warehouses_named,
      coalesce(sum(amount_usd) filter (month_on = date '2026-03-01'), 0) as march_usd,
      coalesce(sum(amount_usd) filter (month_on = date '2026-04-01'), 0) as april_usd
    from ops.invoices
    where month_on in (date '2026-03-01', date '2026-04-01')
    group by line_kind
    order by april_usd desc, line_kind
""").df()

# %% [markdown]
# Use has hardly grown. March had a refund for an outage, and April has none: a line that an allocation "of the costs"
# easily leaves out, and the first half of the answer. Four kinds of lines name no warehouse at all.
#
# ## What the query log knows
#
# Each query carries its credits (the provider's unit of compute) and whoever asked: a person, or a *service account*
# that runs schedules and dashboards. The first attempt of most companies is one join with the staff list.

# %%
con.sql("""
    with asked as (
      select
        q.credits,
        case when q.person_id is not null then 'person' when q.service_account_id is not null then 'service account'
          else 'deleted user' end as who,
        p.team_id is not null as found
      from ops.query_log q
      left join ops.people p using (person_id)
      where date_trunc('month', q.started_at) = date '2026-04-01'
    )
    select who, count(*) as queries, sum(credits) as credits, sum(credits) filter (where found) as credits_found
    from asked group by who
    union all
    select 'the invoice', null, sum(credits), null from ops.invoices where month_on = date '2026-04-01'
    order by credits
""").df()

# %% [markdown]
# The staff list finds less than a third of the credits on the invoice. The rest belongs to schedules; to time in which
# a warehouse was **idle**, up and running with nothing to do; and to **shared** upkeep. Over the year:

# %%
months = con.sql("""
    select
      month_on,
      sum(amount_usd) filter (line_kind = 'compute') as compute,
      sum(amount_usd) filter (line_kind in ('serverless', 'storage', 'support')) as shared,
      coalesce(sum(amount_usd) filter (amount_usd < 0), 0) as negative,
      (
        select sum(idle_credits) / sum(idle_credits + query_credits) from ops.warehouse_metering
        where date_trunc('month', metered_on) = month_on
      ) as idle_part
    from ops.invoices
    group by month_on
    order by month_on
""").df().astype({"compute": float, "shared": float, "negative": float})  # fmt: skip
idle = months.compute * months.idle_part
label = months.month_on.dt.strftime("%b\n%Y").where(months.index % 3 == 0, months.month_on.dt.strftime("%b"))

figure, axes = plt.subplots()
base = np.zeros(len(months))
for part, name, colour in (
    (months.compute - idle, "queries", BLUE),
    (idle, "idle", ORANGE),
    (months.shared, "shared", GREY),
):
    axes.bar(label, part, bottom=base, color=colour, label=name)
    base += part
axes.bar(label, months.negative, color=GREEN, label="refunds and rebates")
axes.set_ylabel("US dollars")
axes.yaxis.set_major_formatter("{x:,.0f}")
share = (idle + months.shared).sum() / (months.compute + months.shared).sum()
axes.set_title(f"{share:.0%} of what is billed belongs to no query")
axes.legend(ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.2))
show(figure, "Stacked bars of twelve invoices: queries, idle and shared cost above zero, refunds and rebates below")

# %% [markdown]
# ## Who, as of when?
#
# People change teams and accounts are handed over. `ops.people` shows today. `ops.role_history` and
# `ops.service_account_owners` have intervals, beginning included, end excluded.
#
# **Predict before you run the next cell.** About every sixth person moved within the year, and some service accounts
# were handed over. If all queries of the year are booked on the team of today, what happens?
#
# - (1) Next to nothing: few people, and in sum it cancels out.
# - (2) Every team is off by a little.
# - (3) The total is right and some teams are wrong by a large part of their bill.
#
# <details><summary>Answer</summary>(3). The total cannot show it, since each credit is still booked once. A
# handed-over account is a whole pipeline, and it takes its past with it: one team pays for a year in which it did not
# own the pipeline, another gets a year for nothing. Nobody notices from the sum, and both teams stop believing the
# bill.</details>

# %%
AS_OF = """{h}.{key} = {what} and q.started_at >= {h}.valid_from_at and q.started_at < coalesce({h}.valid_to_at, 'infinity')"""
TRACED = f"""
    select
      q.*, w.owner_team_id as warehouse_team_id,
      coalesce(p.team_id, a.owner_team_id, k.team_id) as team_then,
      coalesce(p_now.team_id, a_now.owner_team_id, k_now.team_id) as team_now
    from ops.query_log q
    inner join ops.warehouses w using (warehouse)
    left join ops.role_history p on {AS_OF.format(h="p", key="person_id", what="q.person_id")}
    left join ops.service_account_owners a
      on {AS_OF.format(h="a", key="service_account_id", what="q.service_account_id")}
    left join ops.role_history k on {AS_OF.format(h="k", key="person_id", what="a.owner_person_id")}
    left join ops.people p_now on p_now.person_id = q.person_id
    left join ops.service_account_owners a_now
      on a_now.service_account_id = q.service_account_id and a_now.valid_to_at is null
    left join ops.people k_now on k_now.person_id = a_now.owner_person_id
"""
con.execute(f"create or replace temp table traced as {TRACED}")
con.sql("""
    with sums as (
      select
        team_id,
        sum(credits) filter (where team_id = team_then) as credits_then,
        sum(credits) filter (where team_id = team_now) as credits_now
      from traced cross join ops.teams
      where team_id in (team_then, team_now)
      group by team_id
    )
    select team_name, round(credits_then) as as_of_then, round(credits_now) as as_of_today,
      round(100 * (credits_now / credits_then - 1)) as off_by_pct
    from sums join ops.teams using (team_id)
    order by abs(credits_now / credits_then - 1) desc limit 5
""").df()

# %% [markdown]
# For a few credits both ways find nobody: deleted users, leavers whose schedules run on, accounts between two owners.
# They are not many, and they must not fall out of the sum: an inner join drops them without a word. Kestrel's rule:
# what cannot be traced is paid by the team that owns the warehouse. It is the only one that can switch such an account
# off.
#
# ## What a key makes people do
#
# Idle credits have no author. Three keys are in use; here for the year of `backfill_wh`, a large warehouse for reloads
# that is needed on some days and was left on, now and then, on others. The largest users of it, the smallest, and its
# owner:

# %%
keys = con.sql("""
    with used as (
      select coalesce(team_then, warehouse_team_id) as team_id, started_at::date as metered_on, sum(credits) as credits
      from traced where warehouse = 'backfill_wh' group by all
    ),
    idle as (
      select m.idle_credits, u.credits as query_credits, coalesce(u.team_id, w.owner_team_id) as team_id,
        m.idle_credits * coalesce(u.credits / sum(u.credits) over (partition by m.metered_on), 1) as by_day
      from ops.warehouse_metering as m
      inner join ops.warehouses w using (warehouse)
      left join used u using (metered_on)
      where warehouse = 'backfill_wh'
    ),
    teams as (
      select team_id, coalesce(sum(query_credits), 0) as query_credits, sum(by_day) as by_day from idle group by team_id
    )
    select team_name, query_credits, sum(by_day) over () / count(*) over () as idle_equal,
      sum(by_day) over () * query_credits / sum(query_credits) over () as idle_by_use, by_day as idle_by_day
    from teams join ops.teams using (team_id) order by query_credits desc
""").df().set_index("team_name").astype(float).round(1)  # fmt: skip
keys.loc[[*keys.index[:2], *keys.index[-2:], "data-platform-orchestration"]]

# %% [markdown]
# - **Equal parts**: whoever asked once pays more for idling than for the question, and goes elsewhere. Nobody saves
#   anything by switching the warehouse off.
# - **By use**: fair in sum, and blind to causes. Those who use it well pay for the weekends on which it was forgotten.
# - **By the day's use, and the owner where nobody asked**: what is left on over a weekend lands on the one desk from
#   which it can be switched off. The same holds for a warehouse that nobody has used for a year (`migration_wh` is
#   still up).
#
# No key is true. A key is a rule about who feels a cost, so give it to somebody who can lower it. **Showback** shows
# the bill, **chargeback** books it: start with the first, until nobody contests the numbers.
#
# ## The last cent
#
# Finance books cents, and shares are fractions. Each amount is rounded on its own, month after month:

# %%
rounded = con.sql("""
    with used as (
      select date_trunc('month', started_at)::date as month_on, coalesce(team_then, warehouse_team_id) as team_id,
        sum(credits::double) as credits
      from traced group by all
    ),
    shares as (
      select month_on, credits / sum(credits) over (partition by month_on) as share from used
    ),
    billed as (
      select month_on, sum(amount_usd) as amount_usd from ops.invoices group by month_on
    )
    select month_on, round(100 * (sum(round(amount_usd * share, 2)) - any_value(amount_usd)))::integer as cents_off
    from shares join billed using (month_on) group by month_on order by month_on
""").fetchall()
print("cents too many or too few, by month:", [off for _, off in rounded])

# %% [markdown]
# Nobody loses money here, but a ledger that does not close is closed by hand, with somebody's guess. Parliaments had
# the same problem with seats: round all down, then give one each to the largest remainders (Hamilton's method). The
# sum is exact and nobody is a cent away from the share.
#
# ## An alarm that comes in time
#
# A bill is late by nature. The alarm has to look at the *burn-down*: what has been spent of the month's budget by this
# evening. Two months from the history: an ordinary one of a team of Finance, and the worst overspend. The dashed line
# is what the eight weeks before let expect (the mean by weekday).

# %%
MONTHS = [f"2025-{m:02d}-01" for m in range(9, 13)] + [f"2026-{m:02d}-01" for m in range(1, 7)]
PLAN = """
    with levels as (
      select team_id, isodow(day_on) as weekday, avg(direct_usd::double) as usd
      from ops.team_spend where day_on between $month::date - 56 and $month::date - 1 group by all
    )
    select team_name, list(l.usd order by s.day_on), list(s.direct_usd::double order by s.day_on),
      list(c.is_working_day order by s.day_on)
    from ops.team_spend s
    join ops.teams t using (team_id)
    join core.calendar c using (region, day_on)
    join levels l on l.team_id = s.team_id and l.weekday = isodow(s.day_on)
    where date_trunc('month', s.day_on) = $month::date
    group by team_name order by team_name
"""
cases = []
for month in MONTHS:
    for name, *days in con.execute(PLAN, {"month": month}).fetchall():
        plan, spent, working = (np.array(x) for x in days)
        cases.append((name, month, plan, spent, working, find_overspend(plan, spent, working)))

worst = max((c for c in cases if c[5] and c[5].visible), key=lambda c: c[3].sum() / c[2].sum())
closing = next(c for c in cases if c[0] == "finance-reporting" and not c[5])
figure, panels = plt.subplots(1, 2, figsize=(9.2, 3.9))
for panel, (name, month, plan, spent, _, over) in zip(panels, (closing, worst), strict=True):
    day, budget = np.arange(1, len(plan) + 1), plan.sum()
    panel.plot(day, plan.cumsum(), "--", color=GREY, label="planned to date")
    panel.plot(day, spent.cumsum(), color=BLUE, label="spent to date")
    panel.axhline(0.8 * budget, color=ORANGE, label="80% of the budget")
    panel.plot(day, plan.cumsum() + 0.15 * budget, color=PURPLE, label="plan + 15% of the budget")
    alert = first_alert(np.full(len(day), 0.8 * budget), spent) + 1
    finding = f"80% are gone on day {alert}: all is well"
    if over:
        panel.axvline(over.act_by + 1, color=RED, linestyle=":", label="last evening in time")
        finding = f"80% are gone on day {alert}, help is due by day {over.act_by + 1}"
    panel.set_title(f"{name}, {month[:7]}\n{finding}", fontsize=9.5)
    panel.set(xlabel="day of the month", ylabel="US dollars, month to date")
figure.legend(*panels[1].get_legend_handles_labels(), loc="outside lower center", ncols=5)
show(
    figure,
    "Burn-down of an ordinary month with peaks at both ends, and of an overspent month, with two alert lines each",
)

# %% [markdown]
# The usual alert, *80% of the budget is gone*, is a horizontal line. It is crossed in every month that goes as
# planned; and in the bad month it is crossed when the money is all but gone. To find a cause and deploy a cure takes a
# team about five working days, so the dotted evening is the last that helps. The line above the plan sees the bad
# month in its first week. (It also rings on the left, in the first days. Keep that in mind.)
#
# ## Benefit against cost
#
# An alert has one benefit, the overspends that it shows in time, and one cost, the ordinary months in which it calls
# somebody for nothing. Overspends are rare (here a handful in ten months), too few to compare rules on. So plant them:
# take every ordinary month of the history, and in a copy of it let a job run away that costs as much as the whole team
# on a plain day, from some day on. Cost is counted on the originals, benefit on the copies. Three shapes of line, each
# from tight to loose:

# %%
SHAPES = {
    "part of the budget": (lambda plan, x: np.full(len(plan), x * plan.sum()), np.linspace(0.3, 1.3, 21), ORANGE),
    "percent above plan to date": (lambda plan, x: plan.cumsum() * (1 + x), np.linspace(0.02, 0.8, 21), GREEN),
    "plan to date + part of the budget": (
        lambda plan, x: plan.cumsum() + x * plan.sum(),
        np.linspace(0.02, 0.4, 21),
        PURPLE,
    ),
}
normal = [(name, plan, spent, work) for name, _, plan, spent, work, _ in cases if spent.sum() <= 1.1 * plan.sum()]
starts = streams("lesson 1.7", "runaway jobs").integers(2, 15, len(normal))
planted = []
for (_, plan, spent, work), start in zip(normal, starts, strict=True):
    ran_away = spent + np.median(spent[work]) * (np.arange(len(spent)) >= start)
    planted.append((plan, ran_away, find_overspend(spent, ran_away, work)))
planted = [p for p in planted if p[2] and p[2].visible]


def score(line, x):
    """(ordinary months with an alert, planted overspends alerted in time), as shares."""
    alerts = [first_alert(line(plan, x), ran_away) for plan, ran_away, _ in planted]
    in_time = [a is not None and a <= over.act_by for a, (_, _, over) in zip(alerts, planted, strict=True)]
    return np.mean([first_alert(line(plan, x), spent) is not None for _, plan, spent, _ in normal]), np.mean(in_time)


figure, axes = plt.subplots(figsize=(7.2, 3.6))
for name, (line, settings, colour) in SHAPES.items():
    cost, benefit = zip(*(score(line, x) for x in settings), strict=True)
    axes.plot(100 * np.array(cost), 100 * np.array(benefit), "o-", markersize=3, color=colour, label=name)
axes.axvspan(0, 5, color=GREY, alpha=0.15)
axes.set(
    title="Only a line that follows the plan is early and quiet at once",
    xlabel=f"ordinary months with an alert, percent (of {len(normal)})",
    ylabel=f"overspends alerted in time,\npercent (of {len(planted)})",
)
axes.legend(loc="center right")
show(
    figure,
    "Alerts in time against alerts for nothing, for three shapes of alert line; the additive line is up and left",
)

# %% [markdown]
# A part of the budget is early only if it rings always. A percentage above plan is nervous in the first days, when a
# percentage of little is less than noise. A fixed distance above the plan to date is the best of the three; what calls
# for nothing is left there mostly comes from a few teams:

# %%
line = SHAPES["plan to date + part of the budget"][0]
called = [name for name, plan, spent, _ in normal if first_alert(line(plan, 0.15), spent) is not None]
print(
    f"{len(called)} of {len(normal)} ordinary months with an alert at 15%:",
    {t: called.count(t) for t in sorted(set(called))},
)

# %% [markdown]
# Draw one of them day by day and you see what a plan by weekday does not know. That is where the lab begins.
#
# ## The rule, and where it ends
#
# **Book each cost on the team that could have acted, as of the moment it arose; close the sum to the cent; and compare
# spend with what was planned by this day, at a fixed distance.**
#
# - It needs a log with a user and a cost for each query. Where only warehouses are metered, give each team its own, or
#   tag.
# - Under flat-rate contracts a saved credit saves nothing until renewal: show it, do not charge it.
# - One year of history cannot tell a yearly season from growth, and a change in price looks like a change in use
#   (Kestrel's price fell in January): forecast credits, or recent weeks only.
# - A line on month-to-date spend forgets on the first. A leak that is small in every month needs a look at the trend.
#
# **In practice.** *Snowflake*: `QUERY_ATTRIBUTION_HISTORY` has credits by query without idle time,
# `WAREHOUSE_METERING_HISTORY` what was billed for the warehouse; the difference is yours to split; resource monitors
# and budgets raise alerts. *BigQuery*: `INFORMATION_SCHEMA.JOBS` with `total_slot_ms`, `user_email` and labels; with
# reservations, idle slots are the shared part. *Databricks*: `system.billing.usage` with tags and the identity that
# ran the job. Billing alerts of the large clouds compare with a part of the budget, actual or forecast: the horizontal
# line above. A line by day is one table and one scheduled query more.
#
# ## Recap
#
# April was dearer because a refund of March did not come again; that is nobody's use, and the statement by team says so,
# since it equals the invoice, signs included. What did change has an address now, with a date on each ownership and a
# key for what has no author. And for each team there is a line that is crossed while five working days are left. What
# you take home from the lab: the chargeback query and the budget policy, with the name of the person who acts.
#
# 1. J. R. Storment, M. Fuller: *Cloud FinOps*, 2nd edition, O'Reilly 2023, the chapters on allocation and on budgets.
# 2. FinOps Foundation: *FOCUS*, the FinOps Open Cost and Usage Specification (a common form for bills, negative lines
#    included).
# 3. M. Balinski, H. P. Young: *Fair Representation: Meeting the Ideal of One Man, One Vote*, 2nd edition, Brookings
#    2001 (rounding that adds up).
#
# Now open the lab, `labs/01_team_structures/07_warehouse_chargeback.ipynb`.
