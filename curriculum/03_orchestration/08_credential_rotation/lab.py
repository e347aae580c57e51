# %% [markdown]
# # Lab 3.8: Rotate service-account credentials without downtime
#
# You write the rotator that replaces credentials of service accounts while their callers go on calling (task a), and set
# the rules that it works by for three classes of account (task b). About 50 minutes. Lesson 3.8 has the background.
#
# You change the two cells that begin with `# Task`; what you need besides goes into the same cells. When your work is
# graded, it meets other accounts, callers and leaks, and another world's tables.

# %% tags=["parameters"]
WORLD, SCALE = "practice-7", 0.05

# %% tags=["setup"]
from workshop import TODO, open_lab
from workshop.sim.credentials import PRICES_USD, Caller, Estate, Order, Platform, operate, simulate_policy  # noqa: F401

lab = open_lab("3.8", world=WORLD, scale=SCALE)

# %% [markdown]
# ## Task a: a rotator that survives a crash at any step
#
# A **caller** is a process that calls with an account. It reads the account's credential now and then (minutes to a week
# after it was delivered), and calls with that version until it reads again. Once it has read a newer version it does not go
# back. A **laggard** keeps the old one in memory until its owner is asked. A **retired** caller makes no more calls. A **stuck**
# one calls with a version that was revoked long ago and is refused each time, whatever you do. Every caller that lives calls
# at least once a week. No list of callers is kept: the log is all there is.
#
# Your class gets a `platform` with four parts. Times are seconds, version numbers are integers from 1. A version number is
# a handle: everybody may see it.
#
# `vault`:
#
# * `issue(account_id, request_id)` makes a version, valid beside the others, and returns a dict with `version` (its number) and
#   `secret`. The same `request_id` (text) gives the same version, whenever it is asked again.
# * `versions(account_id)`: a list of dicts, oldest first, with `version`, `issued_at_s`, `delivered_at_s`, `revoked_at_s` (None:
#   not yet).
# * `works(account_id, version)`: whether calls with it are accepted by now. A new version takes up to 12 hours to reach all
#   servers, and is refused until then.
# * `deliver(account_id, version)` makes it the version that callers find when they read.
# * `revoke(account_id, version)`: calls with it are refused from now on, for good.
# * `secret(account_id, version)`: the plain secret once more. Callers get theirs from the vault; you need none.
#
# `log`:
#
# * `calls(account_id, since_s=...)`: calls of the last 35 days (or since then), oldest first: dicts with `at_s`, `caller_id`,
#   `version` and `status` (200; 503: accepted, but the API was busy; 401: refused).
#
# `desk`:
#
# * `escalate(account_id, caller_id)` asks the caller's owner, who answers within two days: moves it to the delivered version,
#   or says that it is retired.
# * `retired(account_id)`: a list of the callers of which their owner has said so.
# * `tell(account_id, caller_id, message)` tells the owner that the caller's version has leaked and is refused. The caller reads
#   anew within the hour, and then before each call.
#
# `store`, the only memory that outlives a crash:
#
# * `put(key, value)` keeps numbers, texts, lists and dicts; `get(key, default=None)`.
#
# The scheduler calls three methods of your class. `now_s` is the time; it stands still while a method runs.
#
# * `rotate(account_id, rotation_id, now_s)`: a planned rotation is due. `rotation_id` is unique. Two planned rotations of
#   one account never overlap.
# * `leaked(account_id, version, now_s)`: this version is reported as leaked.
# * `tick(now_s)`: every four hours; whatever is due by now.
#
# An *old* version is any that is below the newest and not revoked; there is seldom more than one.
#
# A **planned rotation**: issue a version; deliver it when it works; revoke the old one when the log shows that no caller
# needs it any more. A caller needs the old version if its latest call that was not refused used it, unless its owner has
# said that it is retired. The old version should be gone `overlap_s` seconds after the new one was issued. If callers still
# need it then, escalate each of them once, at the first tick from that moment on and not before, and keep the old version
# until they have moved or are retired. The bound always comes after the delivery.
#
# A **leak**: when `leaked` returns, the version is revoked, and each caller whose latest call that was not refused used that
# version has been told (before or after the revocation, retired ones too), nobody else. If it was the newest version, a
# replacement is issued too, and delivered as soon as it works. A version that was revoked before it was reported needs nothing. A
# leak may hit an account whose rotation is under way (then it is the old version that leaks); the other version stays, and the
# rotation goes on. Calls that fail because of a leak are not counted.
#
# **Crashes**: the machine may die just before or just after any `issue`, `deliver`, `revoke`, `escalate`, `tell` or `put`. Your
# object is lost, with class attributes and globals; five minutes later a new one is made with the same platform, and the method
# that was under way is called again with the same arguments but a later `now_s`. Asking, telling or revoking a second time
# after a crash does no harm. You are judged on several platforms in turn; each knows its own accounts only.
#
# **Judged** (6 points):
#
# 1. no call fails because of a planned rotation; calls that would have failed anyway do not count (1.5);
# 2. the old version is revoked at most 12 hours after no caller needs it; at the bound, those that need it are escalated,
#    and nobody else (1);
# 3. a leaked version is refused when `leaked` returns, and only the affected are told (1);
# 4. after a crash at each step in turn, one version has been issued for each rotation or leak, the work is finished,
#    nobody is forgotten, and no call was lost (1.5);
# 5. no part of a secret is in anything that your code prints, logs, puts into the store, sends, or leaves in tables of `lab.con`
#    (1).


# %% tags=["task-a"]
# Task a
class Rotator:
    """Rotates credentials. `platform` has vault, log, desk and store; `overlap_s`: the bound, in seconds."""

    def __init__(self, platform, overlap_s):
        ### BEGIN SOLUTION
        self.vault, self.log, self.desk, self.store = platform.vault, platform.log, platform.desk, platform.store
        self.overlap_s = overlap_s
        ### END SOLUTION

    def rotate(self, account_id, rotation_id, now_s):
        """A planned rotation of the account is due."""
        ### BEGIN SOLUTION
        self._open(account_id)
        self.vault.issue(account_id, rotation_id)  # the request is named after its cause: asked twice, issued once
        self._advance(account_id, now_s)
        ### END SOLUTION

    def leaked(self, account_id, version, now_s):
        """The version is reported as leaked: refuse it now, replace it if it was the newest, tell who used it."""
        ### BEGIN SOLUTION
        key = f"leak {account_id} {version}"
        case = self.store.get(key)
        if case is None:
            valid = self._valid(account_id)
            if version not in valid:
                return  # revoked before anybody reported it
            # What will be known no more once the version is revoked is written down first.
            case = {
                "is_newest": version == max(valid),
                "tell": [c for c, used in self._last_used(account_id).items() if used == version],
            }
            self.store.put(key, case)
        self._open(account_id)
        if case["is_newest"]:
            self.vault.issue(account_id, f"after {key}")
        self.vault.revoke(account_id, version)
        for caller_id in case["tell"]:
            self.desk.tell(account_id, caller_id, f"version {version} of {account_id} has leaked: read the new one")
        self._advance(account_id, now_s)
        ### END SOLUTION

    def tick(self, now_s):
        """Do whatever is due by now, for all accounts with work under way."""
        ### BEGIN SOLUTION
        for account_id in self.store.get("open", []):
            self._advance(account_id, now_s)

    # What is to be done follows from what the vault and the log show, so a crash between two steps loses nothing.

    def _open(self, account_id):
        known = self.store.get("open", [])
        if account_id not in known:
            self.store.put("open", [*known, account_id])

    def _valid(self, account_id):
        return {v["version"]: v for v in self.vault.versions(account_id) if v["revoked_at_s"] is None}

    def _last_used(self, account_id):
        return {c["caller_id"]: c["version"] for c in self.log.calls(account_id) if c["status"] != 401}

    def _advance(self, account_id, now_s):
        valid = self._valid(account_id)
        newest = max(valid)
        if valid[newest]["delivered_at_s"] is None:
            if not self.vault.works(account_id, newest):
                return
            self.vault.deliver(account_id, newest)
        old = [v for v in valid if v < newest]
        retired = set(self.desk.retired(account_id))
        behind = [c for c, used in self._last_used(account_id).items() if used in old and c not in retired]
        if not behind:
            for version in old:
                self.vault.revoke(account_id, version)
            self.store.put("open", [a for a in self.store.get("open", []) if a != account_id])
        elif now_s >= valid[newest]["issued_at_s"] + self.overlap_s:
            for caller_id in behind:
                key = f"escalated {account_id} {newest} {caller_id}"
                if not self.store.get(key):
                    self.desk.escalate(account_id, caller_id)
                    self.store.put(key, True)
        ### END SOLUTION


# %% [markdown]
# A small try: one account, two callers, one of them a laggard; the bound is three days. `Estate` plays vault, callers and
# owners, and `operate` hands its orders to your object.


# %% tags=["nbval-check-output"]
def try_rotator():
    hour, day = 3600, 86_400
    callers = [
        Caller("P0001/1", "SA900", every_s=6 * hour, read_every_s=day),
        Caller("P0002/1", "SA900", every_s=8 * hour, read_every_s=None, answers_after_s=day),
    ]
    estate = Estate("try", {"SA900": (1, 5 * hour)}, callers, [Order(0.0, "rotate", ("SA900", "2026-Q3"))], 8 * day)
    platform = Platform(estate.ask)
    operate(Rotator(platform, overlap_s=3 * day), platform, estate.ask)
    for at_s, what, args in estate.effects:
        if what != "store.put":
            print(f"day {at_s / day:.1f}: {what}{args}")
    print("calls lost:", len(estate.lost_calls()))


try:
    try_rotator()
except TODO:
    print("not attempted yet")

# %% tags=["check-a"]
lab.check("a")

# %% [markdown]
# ## Task b: a policy for three classes of account
#
# Kestrel has accounts of three classes: `pipeline` (reads its credential when a run starts), `service` (when it is deployed),
# `partner` (outside the company, typed in by hand). Today all are rotated every 90 days, and the old version is
# revoked 30 days later. What the tables hold:
#
# * `ops.api_accounts`: 110 accounts with `class`, `created_on` and `disabled_on` (null: in use);
# * `ops.credential_versions`: two years of versions, from 2024-06-30 to 2026-06-30, with `delivered_at` and `revoked_at`;
# * `ops.api_calls`: twenty weeks of calls, with `version`, `caller_id` and `status_code`. A caller's lag is the time from
#   `delivered_at` of a version to its first call with it;
# * `ops.credential_leaks`: all leaks of the two years. Half or so are reported (`found_at`); the others can be used until the
#   version is revoked.
#
# Write `policy(con)`. It returns three rows (DataFrame, relation or list of dicts), one for each `class`, with
#
# * `class`: `pipeline`, `service` or `partner`;
# * `rotate_every_days`: from 7 to 365;
# * `overlap_days`: the bound of task a; more than 0, at most 30, and less than `rotate_every_days`;
# * `at_bound`: what becomes of callers that still need the old version then. `escalate`: their owners move them in a day or
#   two, and the old version is valid until then. `revoke`: they fail until somebody finds out, in a day or two. `keep`: the old
#   version stays valid until they move by themselves, which laggards never do;
# * `leak_minutes`: from the report of a leak until the version is refused;
# * `tell`: who is told of a leak: `affected` (callers of the account), `everybody` (all callers of the class) or `nobody`;
# * `accounts`: `one each` (as today) or `one shared`: all callers of the class use one account, which is one rotation instead of
#   many, and opens all that the many opened.
#
# In every variant the old version is revoked as soon as no caller needs it. What things cost, in USD:

# %%
import pandas as pd

pd.DataFrame(PRICES_USD).T

# %% [markdown]
# `rotation`: of one account, planned or after a leak. `escalation`: of one caller. `failed_caller_hour`: one caller that is
# refused for an hour. After a leak a caller that is told is refused for an hour, others until they read anew, at most 3 days.
# `exposed_day`: a day on which a leaked version of one account can be used. To tell one owner costs 2.
#
# `simulate_policy(classes, policy, seed)` is the simulation by which you are judged: eight quarters of rotations, lags and
# leaks, the same draws for every policy. `help(simulate_policy)` says what it needs; `seed` is a text. You may call it on your
# own estimates. The judge runs it on what is true of the world.
#
# **Judged** (4 points): no planned rotation cuts off a caller (1); a leaked version is refused within 15 minutes, only the
# callers of its account lose calls, and they, and nobody else, are told (1); no old version stays valid for more than
# `overlap_days` + 3 days (0.5); the three classes together cost at most
# best + (same - best) / 3, where best is the cost of the best policy for each class, and same that of the best policy that is
# the same for all three (1.5).


# %% tags=["task-b"]
# Task b
def policy(con):
    """Return three rows: class, rotate_every_days, overlap_days, at_bound, leak_minutes, tell, accounts."""
    ### BEGIN SOLUTION
    about = con.sql("""
        with
        accounts as (
          select class, account_id,
            (coalesce(disabled_on, date '2026-06-30') - greatest(created_on, date '2024-06-30')) / 365 as years
          from ops.api_accounts
        ),
        leaks as (select class, count(*) as leaks from ops.credential_leaks join accounts using (account_id) group by class),
        first_calls as (
          select account_id, caller_id, version, min(called_at) as first_at
          from ops.api_calls
          where status_code <> 401
          group by all
        ),
        lags as (
          -- Delivered within the log, and long enough ago that slow callers have had their time too.
          select class, epoch(first_at - delivered_at) / 86400 as lag_days
          from first_calls
          join ops.credential_versions using (account_id, version)
          join accounts using (account_id)
          where delivered_at between (select min(called_at) from ops.api_calls) and timestamp '2026-05-29'
        )
        select
          a.class,
          any_value(l.leaks) / sum(a.years) as leaks_per_year,
          (select quantile_cont(lag_days, 0.95) from lags where lags.class = a.class and lag_days < 30) as lag_p95_days
        from accounts a
        join leaks l using (class)
        group by a.class
        order by a.class
    """).fetchall()
    rows = []
    for name, leaks_per_year, lag_p95_days in about:
        price = PRICES_USD[name]
        # A leak that nobody reports is open for half a period on average: period / 2 x leaks x price of a day, against the
        # work of a rotation each period. The sum is least where both are equal, as with the economic lot size.
        period = (2 * price["rotation"] / (leaks_per_year / 365 * price["exposed_day"])) ** 0.5
        # Half of the leaks are reported after a week or so: for them a long period costs no more than a short one.
        period *= 1.2 if period < 20 else 1.4
        rows.append(
            {
                "class": name,
                "rotate_every_days": min(max(period, 7), 365),
                # One owner in twenty would be asked for a caller that moves tomorrow: half as long again asks for laggards.
                "overlap_days": min(1.5 * lag_p95_days, 30, 0.8 * period),
                "at_bound": "escalate",
                "leak_minutes": 5,
                "tell": "affected",
                "accounts": "one each",
            }
        )
    return rows
    ### END SOLUTION


# %% tags=["nbval-check-output"]
try:
    for row in pd.DataFrame(policy(lab.con)).sort_values("class").itertuples(index=False):
        print(row[0], round(row.rotate_every_days), round(row.overlap_days), row.at_bound, row.tell)
except TODO:
    print("not attempted yet")

# %% tags=["check-b"]
lab.check("b")

# %% [markdown]
# ## Twelve weeks later
#
# Left: the bill of twelve weeks under today's policy and under yours. Right: calls refused while four accounts are rotated
# every four weeks, by a calendar that revokes after five days and by your rotator.

# %%
lab.twelve_weeks_later()

# %% [markdown]
# ## To take home
#
# The rotator of task a needs four things of your platform: a vault that takes a request id, a log that names versions, a
# way to reach owners, and a store. The policy of task b is a file of three rows. Write beside each row from which table its
# numbers came, and when they are to be looked at again.
