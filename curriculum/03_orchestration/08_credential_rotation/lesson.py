# %% [markdown]
# # Lesson 3.8: Rotate service-account credentials without downtime
#
# The head of payments asks: "Security wants every credential replaced each quarter. When we did it, jobs of other teams were
# refused at night, and the credentials that really leaked were open for days all the same. Do I have to choose between being
# up and being safe?"
#
# You will see in the call log why rotations hurt, how long an old version is really needed, what a crash in the middle leaves
# behind, and what ends a leak that nobody reports. You take away a rule for when to revoke, and a way to
# price a change of policy.

# %%
import numpy as np

from workshop import open_lesson
from workshop.plots import BLUE, GREEN, ORANGE, RED, plt, show

con = open_lesson("3.8")

# %% [markdown]
# ## What a rotation did to callers
#
# A service account has versions of its credential: `ops.credential_versions` says when each was issued, delivered (callers find
# it when they next read) and revoked. `ops.api_calls` says with which version each call was made. Today's rule is a calendar:
# a new version every 90 days, the old one revoked 30 days later. Which callers were refused (status 401) with a version that
# had been revoked within the log's twenty weeks?

# %%
cut_off = con.sql("""
    select v.account_id, a.class, c.caller_id, v.version, v.revoked_at, count(*) as refused_calls,
      round(max(epoch(c.called_at - v.revoked_at)) / 3600, 1) as last_after_hours
    from ops.api_calls c
    join ops.credential_versions v using (account_id, version)
    join ops.credential_versions n
      on n.account_id = v.account_id and n.version = v.version + 1 and n.reason = 'planned'
    join ops.api_accounts a on a.account_id = v.account_id
    where c.status_code = 401 and v.revoked_at > (select min(called_at) from ops.api_calls) and a.disabled_on is null
    group by all
    order by refused_calls desc, v.account_id, c.caller_id
""").df()
cut_off.head(8)

# %% [markdown]
# Each row is a night for somebody: a process that worked until the minute of `revoked_at`. Here is the account of the first
# row, each call one mark.

# %%
account = cut_off.account_id[0]
moment = cut_off.revoked_at[0]
calls = con.execute(
    """
    select caller_id, version, status_code, epoch(called_at - ?::timestamp) / 86400 as day
    from ops.api_calls
    where account_id = ? and called_at between ?::timestamp - interval 40 day and ?::timestamp + interval 8 day
    """,
    [moment, account, moment, moment],
).df()
figure, ax = plt.subplots(figsize=(7.2, 0.45 * calls.caller_id.nunique() + 1.6))
names = sorted(calls.caller_id.unique())
rows = calls.caller_id.map(names.index)
old = calls.version <= cut_off.version[0]
for mine, marker, colour, label in (
    (old & (calls.status_code != 401), "|", BLUE, "old version"),
    (~old & (calls.status_code != 401), "|", ORANGE, "new version"),
    (calls.status_code == 401, "x", RED, "refused"),
):
    ax.plot(calls.day[mine], rows[mine], marker, ms=8, color=colour, label=label)
ax.axvline(0, color=RED, ls="--", lw=0.9)
ax.set_yticks(range(len(names)), names)
ax.set_ylim(-0.6, len(names) - 0.4)
ax.set_xlabel("days since the old version was revoked")
figure.legend(loc="outside lower center", ncols=3)
ax.set_title("The calendar revokes what a caller still uses")
show(figure, "Calls of one account by caller: one still uses the old version on the day it is revoked and is refused")

# %% [markdown]
# A month was not enough for this caller, and a year would not have been: it read its credential once and keeps it in memory.
# The log knew it all along. The list of callers that the teams keep does not:

# %%
con.sql("""
    with recent as (
      select distinct account_id, caller_id
      from ops.api_calls
      where status_code <> 401 and called_at >= timestamp '2026-06-30' - interval 35 day
    ),
    listed as (select c.account_id, c.caller_id from ops.credential_consumers c)
    select
      count(*) filter (r.caller_id is not null and l.caller_id is not null) as calls_and_is_listed,
      count(*) filter (l.caller_id is null) as calls_but_is_not_listed,
      count(*) filter (r.caller_id is null) as is_listed_but_does_not_call
    from recent r
    full join listed l using (account_id, caller_id)
""").df()

# %% [markdown]
# **Revoke on evidence**: a caller needs the old version if its latest accepted call used it. When no caller does, revoke. A
# refused call (401) is no use of a version, and a caller whose owner says that it is retired needs none.
#
# ## How long both are valid
#
# Evidence needs an overlap in which both versions are valid. How long? For each caller and delivery, the lag is the time until
# its first call with the new version.

# %%
lags = con.sql("""
    with firsts as (
      select caller_id, account_id, version, min(called_at) as first_at
      from ops.api_calls
      where not status_code = 401
      group by all
    )
    select a.class, epoch(f.first_at - v.delivered_at) / 86400 as lag_days
    from firsts f
    join ops.credential_versions v using (account_id, version)
    join ops.api_accounts a using (account_id)
    where v.delivered_at between timestamp '2026-02-11' and timestamp '2026-05-28'
    order by a.class, lag_days
""").df()
figure, ax = plt.subplots(figsize=(7.2, 3.0))
for (name, mine), colour in zip(lags.groupby("class"), (GREEN, BLUE, ORANGE), strict=True):
    ax.step(mine.lag_days, (np.arange(len(mine)) + 1) / len(mine), where="post", color=colour, label=name)
ax.axvline(30, color=RED, ls="--", lw=0.9)
ax.text(29.4, 0.05, "revoked today", color=RED, ha="right", fontsize=8.5)
ax.set(xlabel="days since delivery", ylabel="callers that use the new version")
ax.set_title("Pipelines move in days, partners in weeks, a few callers not at all")
ax.legend(loc="center right")
show(figure, "Share of callers on the new version by days since delivery, for pipelines, services and partners")

# %% [markdown]
# The step at 30 days is the laggards: they move because they are refused. So an overlap needs a **bound**, and the bound is not
# the day of revocation: it is the day on which somebody asks the owner of whoever is left. Without a bound the opposite
# happens. Versions that are valid today although a newer one was delivered more than 35 days ago, and unused ever since:

# %%
con.sql("""
    with valid as (
      select account_id, version, request_id, issued_at, delivered_at,
        lead(issued_at) over (partition by account_id order by version) as next_at
      from ops.credential_versions
      where revoked_at is null
    )
    select v.account_id, v.version, v.request_id, v.delivered_at, v.next_at::date as newer_since
    from valid v
    where (v.next_at < timestamp '2026-06-30' - interval 35 day or v.delivered_at is null)
      and not exists (
        from ops.api_calls c
        where c.account_id = v.account_id and c.version = v.version and c.called_at > timestamp '2026-06-30' - interval 35 day
      )
    order by v.account_id, v.version
""").df()

# %% [markdown]
# Some were forgotten: an overlap for ever. Others were *never delivered*: nobody ever used them, and nobody knew of them.
# How does that happen?
#
# ## A crash in the middle
#
# > **Before you run on, predict.** A rotator asks the vault for a version. The vault answers, and the machine dies before the
# > answer is written down. It starts again. How many versions are there in the end? (a) One: the first request was lost.
# > (b) Two: the vault cannot know that it is the same request. (c) It depends on what the request is called.
#
# <details><summary>Answer</summary>
#
# (c). To the vault a new name is a new request (b); the same name is the same request, and gets the same answer. (a) is the hope
# of everybody who retries: the effect happened, only the answer was lost.
#
# </details>

# %%
from workshop.agent import Crash
from workshop.sim.credentials import Estate, Platform


def issue_with_crash(name_of_request):
    """Versions in the vault after a crash just after the first effect, and a second try."""
    estate = Estate("lesson", {"SA900": (1, 0.0)}, callers=[], crash=(0, "after"))
    for attempt in (1, 2):
        try:
            Platform(estate.ask).vault.issue("SA900", name_of_request(attempt))
        except Crash:
            estate.restart()
    return len(estate.versions["SA900"]) - 1


print("named by attempt: ", issue_with_crash(lambda attempt: f"request {attempt}"), "new versions")
print("named by rotation:", issue_with_crash(lambda attempt: "SA900 third quarter"), "new version")

# %% [markdown]
# **Name a request after its cause**, not after the attempt, the time or a random number. The same holds for all steps: do what
# may be done twice without harm, and note it afterwards. Where a step wipes out what the next one needs, order or a note helps.
# Once a leaked version is revoked, the vault no longer says whether *you* did it: who tells the affected first and revokes last
# loses nothing in a crash between the two. Who wants to revoke first has to note before it whom to tell.
#
# ## Leaks, and what a shorter period buys
#
# A leak is no rotation ahead of schedule. Whoever found the secret has it already, so the overlap is theirs.

# %%
con.sql("""
    select l.place, count(*) as leaks, count(l.found_at) as reported,
      round(median(epoch(v.revoked_at - l.found_at)) / 86400, 1) as days_from_report_to_revocation
    from ops.credential_leaks l
    join ops.credential_versions v using (account_id, version)
    group by l.place
    order by leaks desc, l.place
""").df()

# %% [markdown]
# The reported ones should have been refused within minutes, with a word to those whose latest call used that version, and to
# nobody else. The others are what planned rotation is for: nobody reports them, and they end with the version. How often does it
# happen? Accounts come and go, so count the years in which they were in use:

# %%
con.sql("""
    with in_use as (
      select account_id, class,
        (coalesce(disabled_on, date '2026-06-30') - greatest(date '2024-06-30', created_on)) / 365 as years
      from ops.api_accounts
    ),
    leaks as (select account_id, count(*) as leaks from ops.credential_leaks group by account_id)
    select class, round(sum(years), 1) as account_years, sum(leaks)::int as leaks,
      round(sum(leaks) / sum(years), 3) as leaks_per_account_year
    from in_use
    left join leaks using (account_id)
    group by class
    order by class
""").df()

# %% [markdown]
# Now replay the two years of one class, `service`, leak by leak, and change one thing at a time. First: a leak that is
# reported is closed at once. Then, besides: all accounts are rotated twice as often, so a version is replaced at the next
# multiple of 45 days and revoked a month later. Exposure has a price by the day, a rotation by the piece.

# %%
from workshop.sim.credentials import PRICES_USD

((*days,),) = con.sql("""
    with leaks as (
      select v.issued_at, l.leaked_at, coalesce(v.revoked_at, timestamp '2026-06-30') as revoked_at,
        least(revoked_at, coalesce(l.found_at, revoked_at)) as closed_at,
        v.issued_at + to_days(45 * ceil(epoch(l.leaked_at - v.issued_at) / 86400 / 45)::int + 30) as sooner_at
      from ops.credential_leaks l
      join ops.credential_versions v using (account_id, version)
      join ops.api_accounts a using (account_id)
      where a.class = 'service'
    )
    select sum(epoch(revoked_at - leaked_at)), sum(epoch(closed_at - leaked_at)),
      sum(epoch(least(closed_at, sooner_at) - leaked_at))
    from leaks
""").fetchall()
((rotations,),) = con.sql("""
    select count(*) from ops.credential_versions join ops.api_accounts using (account_id)
    where class = 'service' and reason = 'planned' and issued_at >= timestamp '2024-06-30'
""").fetchall()
price = PRICES_USD["service"]
exposed = np.array(days) / 86_400 * price["exposed_day"] / 1000
rotated = np.array([rotations, rotations, 2 * rotations]) * price["rotation"] / 1000
figure, ax = plt.subplots(figsize=(7.2, 2.6))
bars = ["as it was", "reported leaks\nclosed at once", "and rotated\ntwice as often"]
ax.barh(bars, exposed, color=ORANGE, label="days of exposure")
ax.barh(bars, rotated, left=exposed, color=BLUE, label="planned rotations")
ax.invert_yaxis()
ax.set_xlabel("thousand USD in two years, all service accounts")
off, more_off, more = exposed[0] - exposed[1], exposed[1] - exposed[2], rotated[2] - rotated[0]
ax.set_title(
    f"To close at once takes {off:.0f} off, to rotate more often {more_off:.0f} and adds {more:.0f}", fontsize=10
)
figure.legend(loc="outside lower center", ncols=2)
show(figure, "Bars: cost of exposure and of rotations as it was, with leaks closed at once, with twice the rotations")

# %% [markdown]
# To close at once costs a message and an hour of a few callers, so it is no question. A shorter period is one: it works on leaks
# that nobody reports, takes off less with each halving, and doubles the work each time. Where that stops to pay depends on how
# often a class leaks and on its two prices. One step for one class is no policy yet: in the lab you look for the period of each.
#
# ## Where the secret may be
#
# The places above are a list of where a secret has no business. A **handle** (account and version)
# says all that a log line needs. The secret itself serves to sign, and what is sent is the signature:

# %%
from cryptography.fernet import Fernet, MultiFernet

from workshop.sim.credentials import is_signed, sign

estate = Estate("lesson", {"SA900": (2, 0.0)}, callers=[])
vault = Platform(estate.ask).vault
line, careless = "delivered SA900 version 2", f"delivered SA900 {vault.secret('SA900', 2)}"
signature = sign(vault.secret("SA900", 2), "GET /orders")
print("secret in the log line:", estate.canary in line, "| in the careless one:", estate.canary in careless)
print("signature accepted under version 2:", is_signed(vault.secret("SA900", 2), "GET /orders", signature))
print("signature accepted under version 1:", is_signed(vault.secret("SA900", 1), "GET /orders", signature))

# What lies encrypted has a rotation too: the new key first, the old one to read with until everything is sealed anew.
old_key, new_key = Fernet(Fernet.generate_key()), Fernet(Fernet.generate_key())
sealed = old_key.encrypt(b"a stored secret")
again = MultiFernet([new_key, old_key]).rotate(sealed)
print("readable with the new key alone:", new_key.decrypt(again) == b"a stored secret")

# %% [markdown]
# Each secret at Kestrel holds a text that occurs nowhere else (a *canary*), so that one search finds it wherever it got out. The
# lab does that search over all that your code prints, logs, stores and sends.
#
# ## The rule, and where it ends
#
# 1. **Issue** under a name taken from the cause. **Deliver** when the new version works. **Verify** in the call log.
#    **Revoke** when nobody needs the old one.
# 2. The overlap has a bound, and at the bound somebody is asked. Nobody is cut off in silence, and nothing stays for ever.
# 3. A leak skips the overlap: refuse now, replace, tell the affected.
# 4. One account for each caller or pipeline. A shared account has the lag of its slowest caller, and its leak stops everybody.
#
# Evidence is only as good as the log: a caller that calls once a year looks like one that is gone, so keep the log longer than
# the longest interval, or ask. Where a target knows one password only, there is no overlap; use two accounts in turn. And the
# best rotation is none: credentials that live for an hour need no revocation to speak of.
#
# <details><summary><b>In practice</b> (Airflow 3.3, Dagster 1.13, Prefect 3.9, Vault 1.21, AWS Secrets Manager)</summary>
#
# - **AWS Secrets Manager**: a rotation function is called for `createSecret`, `setSecret`, `testSecret`, `finishSecret`, each
#   possibly twice, with the same `ClientRequestToken`: the request id. Staging labels `AWSPENDING`, `AWSCURRENT`, `AWSPREVIOUS`
#   are issued, delivered, old. Nothing in it waits for evidence; the alternating-users strategy gives you the overlap.
# - **HashiCorp Vault**: dynamic secrets have a lease per caller; `vault lease revoke -prefix` is the emergency. Static roles of
#   the database engine rotate by `rotation_period` or `rotation_schedule`, in place and without an overlap.
# - **Airflow**: a Connection from a secrets backend (`[secrets] backend`, or `[workers] secrets_backend` for workers alone) is
#   looked up when a task asks for it, so pipelines move at their next run. `AIRFLOW_CONN_*` variables move when the worker
#   restarts. Passwords of Connections are masked in task logs; what goes through XCom is not.
# - **Dagster**: `EnvVar("...")` in a resource is read when a run is launched and hidden in the UI; `os.getenv` is read when the
#   code location is loaded, and makes a laggard.
# - **Prefect**: a `Secret` block, loaded inside the flow with `Secret.load("...")`, is read at each run; loaded at the top of a
#   module of a served flow, once.
# </details>
#
# ## Back to the question
#
# Up or safe? Both, with different means. Planned rotations cost no call when the log, and not the calendar, says when to revoke;
# reported leaks end in minutes when nobody waits for an overlap; and how often to rotate is a sum of two prices, class by class.
#
# **You take away** the rotator and the policy that you now write in the lab, where the machine dies at every step.
#
# Read on: NIST SP 800-57 Part 1 Rev. 5, *Recommendation for Key Management* (2020), on cryptoperiods and compromise; Michael
# Meli, Matthew McNiece, Bradley Reaves, *How Bad Can It Git? Characterizing Secret Leakage in Public GitHub Repositories* (NDSS
# 2019); Heather Adkins and others, *Building Secure and Reliable Systems* (O'Reilly, 2020), chapter 9 on recovery.
