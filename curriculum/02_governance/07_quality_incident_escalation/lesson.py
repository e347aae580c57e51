# %% [markdown]
# # Lesson 2.7: Data quality incidents that reach critical reports
#
# Kestrel's CFO asks: "More than once this spring I read a wrong number at eight in the morning. A check had failed in the
# night. Who knew, who was woken, and why was I not told?" He asks too because the people on call want more money.
#
# You will follow one incident from the first alert to the fix, see why the number of failed rows says nothing about severity,
# why a page to the owner of the failed table goes to the wrong team, what the answers of sleeping people look like, and what
# a clock change does to "hours left". You take away the parts of a runbook: a severity matrix and escalation paths.

# %%
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np

from workshop import open_lesson
from workshop.plots import BLUE, GREY, ORANGE, RED, plt, show

con = open_lesson("2.7")
con.sql("""
    select
      (select count(*) from ops.dq_incidents) as incidents,
      (select count(*) from ops.dq_alerts) as alerts,
      (select count(*) from ops.dq_pages) as pages,
      (select count(*) from ops.dq_pages where is_night) as pages_at_night,
      (select count(*) from ops.dq_notices) as mails_to_contacts
""").df()

# %% [markdown]
# ## One night
#
# Half a year, and for each incident several pages. Here is the largest of those that woke people twice or more at night: the
# tables in the order in which their checks failed. All times are UTC; night is by the clock of whoever is paged.

# %%
largest = con.sql("""
    select arg_max(i.incident_id, i.alert_count)
    from ops.dq_incidents i
    where 2 <= (select count(*) from ops.dq_pages p where p.incident_id = i.incident_id and p.is_night)
""").fetchall()[0][0]
print(
    con.sql(f"""
    select cause_table, first_alert_at, cause_alert_at, alert_count, work_began_at, fixed_at
    from ops.dq_incidents
    where incident_id = {largest}
""")
    .df()
    .T.to_string(header=False)
)
print(
    con.sql(f"""
    select count(distinct table_name) as tables_that_failed, count(distinct d.owner_team_id) as owners, count(*) as alerts,
      (select count(*) from ops.dq_pages p where p.incident_id = {largest}) as pages
    from ops.dq_alerts
    join ops.dq_tables d using (table_name)
    where incident_id = {largest}
""")
    .df()
    .to_string(index=False)
)
con.sql(f"""
    select a.table_name, t.team_name as owner, count(*) as alerts, min(alert_at) as first_at, max(failed_rows) as most_rows
    from ops.dq_alerts a
    join ops.dq_tables d using (table_name)
    join ops.teams t on t.team_id = d.owner_team_id
    where incident_id = {largest}
    group by all
    order by first_at
    limit 8
""").df()

# %% [markdown]
# One fault, and alerts on tables of many owners; the table shows the first eight. Under today's rules each alert pages by
# itself: at once if 5,000 rows or more failed, else in office hours, unless all is right by then. What followed:

# %%
con.sql(f"""
    with paged as (
      select t.team_id, t.team_name, count(*) as pages, count(*) filter (is_night) as at_night, min(paged_at) as first_paged_at,
        any_value(p.team_id = i.cause_team_id) as owns_the_cause
      from ops.dq_pages p
      join ops.dq_incidents i using (incident_id)
      join ops.teams t on t.team_id = p.team_id
      where incident_id = {largest}
      group by all
    )
    select p.team_name as paged, p.pages, p.at_night, p.first_paged_at, p.owns_the_cause,
      arg_max(a.table_name, a.failed_rows) as most_rows_so_far_in, max(a.failed_rows) as failed_rows
    from paged p
    join ops.dq_tables d on d.owner_team_id = p.team_id
    join ops.dq_alerts a
      on a.table_name = d.table_name and a.incident_id = {largest} and a.alert_at <= p.first_paged_at + interval 1 second
    group by all
    order by first_paged_at
""").df()

# %% [markdown]
# Only the team that owns the cause can mend it. Over all incidents:

# %%
con.sql("""
    select p.team_id = i.cause_team_id as owns_the_cause, count(*) as pages, count(*) filter (is_night) as at_night
    from ops.dq_pages p
    join ops.dq_incidents i using (incident_id)
    group by all
    order by all
""").df()

# %% [markdown]
# **A failed check shows where a fault has arrived, not where it comes from.** The page belongs to the owner of the cause: of
# the failed tables, the one furthest upstream. Is that the one that fails first?

# %%
con.sql("""
    select cause_alert_at > first_alert_at as cause_comes_later, count(*) as incidents,
      round(median(date_diff('second', first_alert_at, cause_alert_at)) / 60, 1) as median_minutes_later
    from ops.dq_incidents
    group by all
    order by all
""").df()

# %% [markdown]
# Often not: a check on a landing table may run later than the one on a mart. A page that waits for the cause's own alert
# knows whom to call, and the time that it waits is gone. In the lab you find the number in the history.
#
# ## Is it severe?
#
# Today a page goes out at once if many rows failed. Many failed rows, the reasoning goes, are a large fault. We ask the
# lineage what each incident reached. By table it says too much, as lesson 2.5 has shown, but it will do for a picture.

# %%
severity = con.sql("""
    with recursive fed as (
      select input_table, output_table from ops.lineage_edges where level = 'table'
      union
      select input_table, output_table from ops.feeds
    ),
    reach as (
      select incident_id, cause_table as table_name from ops.dq_incidents
      union
      select r.incident_id, f.output_table from reach r join fed f on f.input_table = r.table_name
    ),
    hit as (
      select r.incident_id, count(distinct i.report_id) filter (p.is_business_critical) as critical_reports
      from reach r
      join ops.report_inputs i on i.input_table = r.table_name
      join ops.reports p using (report_id)
      group by r.incident_id
    )
    select a.incident_id, max(a.failed_rows) as failed_rows, coalesce(any_value(h.critical_reports), 0) as critical_reports
    from ops.dq_alerts a
    left join hit h using (incident_id)
    where a.alert_at = (select min(alert_at) from ops.dq_alerts b where b.incident_id = a.incident_id)
    group by a.incident_id
    order by a.incident_id
""").df()
link = severity.failed_rows.rank().corr(severity.critical_reports.rank())
figure, ax = plt.subplots(figsize=(7.2, 3.0))
jitter = np.random.default_rng(1).uniform(-0.2, 0.2, len(severity))
many = severity.failed_rows >= 5000
ax.scatter(severity.failed_rows, severity.critical_reports + jitter, s=16, c=np.where(many, RED, BLUE), alpha=0.7)
ax.axvline(5000, color=GREY, ls="--")
ax.set_xscale("log")
ax.set(
    xlabel="rows that failed in the first check (log scale); right of the line: paged at once",
    ylabel="critical reports",
)
ax.set_title(f"Failed rows do not say what is hit: rank correlation {link:.2f}")
show(figure, "Incidents by failed rows in the first check and critical reports downstream: no connection")

# %% [markdown]
# Left of the line and high up are incidents that reached many critical reports, and by whose first alert nobody would be
# paged before the office opens. Right of it and low down somebody is paged at once for few reports or none. What makes an
# incident severe is **impact**, the reports that it feeds, and **time left**, until the next of them goes out. Both change
# while it lasts: an incident of yesterday evening with twelve hours left is one with two hours left at six.
#
# ## How long is left?
#
# Deadlines are clock times in somebody's zone. A shop in Toronto opens its books at 07:00. It is the evening before the
# clocks go back, and the one before they go forward:

# %%
toronto = ZoneInfo("America/Toronto")
for evening, morning in (((2026, 10, 31), (2026, 11, 1)), ((2027, 3, 13), (2027, 3, 14))):
    now, opens = datetime(*evening, 21, 0, tzinfo=toronto), datetime(*morning, 7, 0, tzinfo=toronto)
    print(f"{now:%d %B}, by the clock faces:", opens - now, "; that pass:", opens.astimezone(UTC) - now.astimezone(UTC))

# %% [markdown]
# Python subtracts two times of one zone by their faces. In spring an hour that was counted on is not there.
#
# ## Who hears it?
#
# **Predict:** in the history, look at pages at night, long before the morning. Somebody has not acknowledged after an hour.
# How likely is it that they will within the next hour?
#
# 1. Likely: the median is long, give them time.
# 2. As likely as in the first hour.
# 3. Hardly at all.
#
# <details><summary>Answer</summary>
#
# 3. There are two kinds of answers: those who hear the page need minutes, and those who do not hear it sleep on until their
#    07:00. Waiting for these costs the report. Look at pages with more than two hours to go: who is paged at 05:45 and sleeps
#    on answers after 75 minutes, and looks like somebody slow.
# </details>

# %%
pages = con.sql("""
    select is_night, minutes_to_morning, date_diff('second', paged_at, acknowledged_at) / 60 as minutes
    from (select distinct on (incident_id, person_id) * from ops.dq_pages order by incident_id, person_id, page_id)
    order by page_id
""").df()
day, deep = pages.minutes[~pages.is_night].sort_values(), pages.minutes[pages.minutes_to_morning > 120].sort_values()
near = pages.minutes[pages.minutes_to_morning <= 120].sort_values()
figure, ax = plt.subplots(figsize=(7.2, 3.0))
for values, colour, label in (
    (day, ORANGE, "by day"),
    (near, GREY, "at night, two hours to the morning or less"),
    (deep, BLUE, "at night, more than that"),
):
    ax.step(values, np.arange(1, len(values) + 1) / len(values), where="post", color=colour, label=label)
ax.set_xscale("log")
ax.set(xlabel="minutes after the page (log scale)", ylabel="share acknowledged", xlim=(1, 700), ylim=(0, 1.02))
first, second = (deep <= 60).mean(), ((deep > 60) & (deep <= 120)).mean()
ax.set_title(f"In deep night {first:.0%} acknowledge within an hour, {second:.0%} in the hour after it")
ax.legend(loc="lower right", fontsize=8)
show(figure, "Share of pages acknowledged by minutes: by day quickly, in deep night a plateau until morning")
print(f"answers after 45 to 120 minutes, shortly before the morning: {near.between(45, 120).sum()} of {len(near)}")
print(f"answers after 45 to 120 minutes, in deep night:              {deep.between(45, 120).sum()} of {len(deep)}")

# %% [markdown]
# ## When to hand a page on
#
# So a second person is needed, and the question is when. Another case, with numbers of our own: the hotline of a chain of
# petrol stations. Whoever hears a call answers in 6 minutes (median); one in four is not heard. Handing on early wakes a
# second person though the first would have answered; handing on late loses the hour.

# %%
rng = np.random.default_rng(5)
answers = np.where(rng.random((2, 20_000)) < 0.25, np.inf, rng.lognormal(np.log(6), 0.7, (2, 20_000)))
after = np.arange(1, 61)
needless = [100 * ((answers[0] > m) & np.isfinite(answers[0])).mean() for m in after]
lost = [100 * (np.minimum(answers[0], m + answers[1]) > 30).mean() for m in after]
figure, ax = plt.subplots(figsize=(7.2, 3.0))
ax.plot(after, needless, color=BLUE, label="second person woken, first would have answered")
ax.plot(after, lost, color=RED, label="nobody has answered within 30 minutes")
ax.set(xlabel="handed on after so many minutes", ylabel="percent of calls", xlim=(1, 60), ylim=(0, None))
ax.set_title(f"Needless wakes fall from {needless[4]:.0f}% at 5 minutes to {needless[14]:.0f}% at 15")
ax.legend()
show(figure, "Percent of calls with a needless second person and percent not answered, by minutes until handing on")

# %% [markdown]
# The blue curve has a knee, where nearly all who will answer have answered. Every number in a policy of escalation has such a
# pair of costs: wait for the cause and lose minutes, page early and wake for nothing, tell contacts early and be ignored.
#
# ## Telling, and telling that it is over
#
# Mending is one duty, telling the other. A report's contact who knows in time can hold it back: late, but not wrong. Today
# they get a mail. How soon are these read?

# %%
con.sql("""
    select is_night, count(*) as mails, round(median(date_diff('second', sent_at, read_at) / 60)) as median_minutes_until_read
    from ops.dq_notices
    group by is_night
    order by is_night
""").df()

# %% [markdown]
# At night a mail waits for the morning, and what is due before is out by then. There is no table of messages that say "it is
# over": nobody sends them.
#
# **Limits.** The cause is the furthest *failed* table only if it has a check. A severity matrix is about reports that
# somebody has listed: an export that nobody knows of is "no report". And a page at night that made a difference is still a
# night: if SEV1 comes twice a week, mend the pipeline, not the policy.
#
# <details><summary><b>In practice</b> (Alertmanager, PagerDuty, Grafana IRM, dbt, Airflow)</summary>
#
# - **Prometheus Alertmanager**: `group_by`, `group_wait`, `group_interval` are the grouping of this lesson; `inhibit_rules`
#   mute downstream alerts while an upstream one fires.
# - **PagerDuty**, **Grafana IRM**, **Jira Service Management**: escalation policies (who, after how many minutes, who next),
#   schedules that follow the sun, and status updates for stakeholders who are not responders.
# - **dbt**: `exposures` name reports with an owner and a maturity; `dbt ls --select my_model+ --resource-type exposure` lists
#   what a failed model hits. Tests have a `severity` of their own, `warn` or `error`: that one is about the check.
# - **Airflow**: a callback (`on_failure_callback`) belongs to a task, so by itself it pages the owner of what failed.
# </details>
#
# ## Back to the question
#
# Who knew: the owners of every table on the way. Who was woken: those whose checks had many failed rows. And why nobody told
# the CFO: all that goes to the contact of a report is a mail, and one that is sent at night is read in the morning. Severity
# from impact and time left, a page to the cause's owner, a call to those who must decide, and a word when it is over: that is
# the runbook.
#
# **You take away** what you write in the lab: a function from an incident to reports and hours, and a policy with matrix,
# paths and rules of telling, tested on half a year of incidents.
#
# **References**
#
# - B. Beyer, C. Jones, J. Petoff, N. R. Murphy (eds.), *Site Reliability Engineering*, O'Reilly 2016, chapters 11 (Being
#   On-Call) and 14 (Managing Incidents).
# - Prometheus documentation, *Alertmanager: Grouping, Inhibition*, prometheus.io/docs/alerting/latest/alertmanager.
# - A. Belopolsky, T. Peters, *PEP 495: Local Time Disambiguation*, 2015: what `fold` means, and why times of one zone are
#   compared by their faces.
