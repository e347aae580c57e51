# subject: credentials
# needs: pipelines
# makes: ops.api_accounts, ops.credential_consumers, ops.credential_versions, ops.credential_leaks, ops.api_calls
# truth: credential_classes, credential_plants
"""Service accounts of pipelines, two years of their credentials and leaks, twenty weeks of API calls.

Today's rule at Kestrel: rotated every 90 days, the old version revoked 30 days later, whoever still uses it. How long callers
lag behind is log-normal by class; a laggard keeps the old version in memory until its calls are refused.
"""

from dataclasses import dataclass

import duckdb
import numpy as np
import pandas as pd

from workshop.sim import streams
from workshop.world.seeds import derive_seed

DAY_S = 86_400.0
TODAY = 730.0  # days since 2024-06-30, the start of the register
LOG_DAYS = 140.0
PERIOD_DAYS, OVERLAP_DAYS = 90.0, 30.0
# Bounds by class: accounts, callers of one, lag median (days), its sigma, laggards, leaks a year of one account, calls a day.
# Pipelines read their credential when a run starts, services when they are deployed, partners when somebody types it in.
CLASSES = {
    "pipeline": (60, 2.2, (0.4, 0.8), 0.70, (0.010, 0.020), (0.08, 0.16), (1.0, 4.0)),
    "service": (30, 3.0, (3.0, 5.0), 0.60, (0.020, 0.040), (0.12, 0.25), (2.0, 5.0)),
    "partner": (20, 1.8, (7.0, 11.0), 0.45, (0.040, 0.080), (0.25, 0.50), (0.7, 1.5)),
}
FOUND_SHARE, FOUND_MEDIAN_DAYS, FOUND_SIGMA = 0.5, 8.0, 0.8  # about half is noticed by scanners and colleagues
MOST_CALLERS = 6
PLACES = ["log line", "notebook output", "repository", "job parameter", "chat message", "ticket"]
FINDERS = ["secret scanner", "owner", "colleague", "misuse"]
PURPOSES = {
    "pipeline": ["reads {api}", "asks {api} for late rows", "publishes to {api}", "checks counts with {api}"],
    "service": ["serves {dag} to applications", "answers lookups in {dag}", "streams changes of {dag}"],
    "partner": ["partner fetches {dag}", "carrier reads {dag}", "seller tool reads {dag}"],
}


@dataclass
class Version:
    """A version; times in days since the start of the register, nan: not yet."""

    number: int
    reason: str
    request: str
    issued: float
    delivered: float
    revoked: float


@dataclass
class Account:
    """An account in the making."""

    number: int
    kind: str
    dag: int
    api: int | None
    created: float
    phase: float
    callers: list["Caller"]
    versions: list[Version]
    disabled: float = np.nan

    @property
    def account_id(self) -> str:
        """Key."""
        return f"SA{self.number:03d}"


@dataclass
class Caller:
    """One process that calls with an account. dag: None for a partner's."""

    caller_id: str
    dag: int | None
    per_day: float
    is_registered: bool = True
    last: float = np.inf
    stuck_on: int | None = None


def build(con: duckdb.DuckDBPyConnection, seed: bytes, scale: float) -> None:
    """Writes the tables; they do not shrink with scale."""
    visible, hidden = derive_seed(seed, "world/credentials"), derive_seed(seed, "truth/credentials")
    dags = con.execute("select dag_id, dag_name, team_id, purpose from ops.dags order by dag_id").df()
    _Estate(dags, visible, hidden).write(con)


class _Estate:
    def __init__(self, dags: pd.DataFrame, visible: bytes, hidden: bytes) -> None:
        self.dags, self.visible, self.hidden = dags, visible, hidden
        draw = streams(hidden, "classes").random((len(CLASSES), 3))
        self.about = {
            name: {
                "accounts": n,
                "callers": callers,
                "median": median[0] * (median[1] / median[0]) ** draw[k, 0],
                "sigma": sigma,
                "laggards": laggards[0] + (laggards[1] - laggards[0]) * draw[k, 1],
                "leaks": leaks[0] + (leaks[1] - leaks[0]) * draw[k, 2],
                "per_day": per_day,
            }
            for k, (name, (n, callers, median, sigma, laggards, leaks, per_day)) in enumerate(CLASSES.items())
        }
        self.plants: list[tuple[str, str, str | None, int | None]] = []
        self._make_accounts()
        self._make_leaks()
        self._make_versions()
        self._plant()
        self._make_calls()

    def _make_accounts(self) -> None:
        rng = streams(self.visible, "accounts")
        purpose = self.dags.purpose.to_numpy(dtype=str)
        team = self.dags.team_id.to_numpy()
        exports = [int(i) for i in rng.permutation(np.flatnonzero(purpose == "export"))]
        others = [int(i) for i in rng.permutation(np.flatnonzero((purpose != "export") & (purpose != "report")))]
        self.accounts: list[Account] = []
        partner = 0
        for kind, about in self.about.items():
            for _ in range(about["accounts"]):
                dag = exports.pop() if kind == "partner" else others.pop()
                api = None if kind == "partner" else int(rng.choice(np.flatnonzero(team != team[dag])))
                created = (
                    float(np.floor(rng.uniform(-900, -10)))
                    if rng.random() < 0.9
                    else float(np.floor(rng.uniform(0, 500)))
                )
                size = min(MOST_CALLERS, 1 + int(rng.poisson(about["callers"] - 1)))
                partner += kind == "partner"
                callers = []
                for c in range(size):
                    own = kind != "pipeline" or c == 0 or rng.random() < 0.5
                    of = dag if own else int(rng.choice(np.flatnonzero(team == team[dag])))
                    name = f"partner-{partner:02d}" if kind == "partner" else self.dags.dag_id.iat[of]
                    low, high = about["per_day"]
                    callers.append(
                        Caller(
                            f"{name}/{c + 1}",
                            None if kind == "partner" else of,
                            float(rng.uniform(low, high)),
                            own or rng.random() < 0.6,
                        )
                    )
                phase = float(rng.uniform(0, PERIOD_DAYS))
                self.accounts.append(Account(0, kind, dag, api, created, phase, callers, []))
        # The account of a team that was split up: fourteen callers of five teams, and nobody has dared to rotate it.
        teams = rng.permutation(np.unique(team))[:5]
        users = [int(rng.choice(np.flatnonzero(team == teams[k % 5]))) for k in range(14)]
        callers = [
            Caller(f"{self.dags.dag_id.iat[d]}/{k + 1}", d, float(rng.uniform(1, 4)), k < 3)
            for k, d in enumerate(users)
        ]
        self.shared = Account(0, "pipeline", users[0], int(users[-1]), -700.0, 0.0, callers, [])
        self.accounts.append(self.shared)
        for number, k in enumerate(rng.permutation(len(self.accounts)).tolist(), 1):
            self.accounts[k].number = number
        self.accounts.sort(key=lambda a: a.number)

    def _make_leaks(self) -> None:
        """When versions leak, and when somebody notices: (account, day, day found or nan)."""
        rng = streams(self.hidden, "leaks")
        self.drawn: list[tuple[Account, float, float]] = []
        for kind, about in self.about.items():
            mine = [a for a in self.accounts if a.kind == kind and a is not self.shared]
            years = sum(TODAY - max(0.0, a.created) for a in mine) / 365
            for _ in range(round(about["leaks"] * years)):
                account = mine[int(rng.integers(len(mine)))]
                day = float(rng.uniform(max(0.0, account.created), TODAY - 1))
                delay = FOUND_MEDIAN_DAYS * float(np.exp(FOUND_SIGMA * rng.standard_normal()))
                self.drawn.append((account, day, day + delay if rng.random() < FOUND_SHARE else np.nan))

    def _make_versions(self) -> None:
        rng = streams(self.visible, "versions")
        self.leaks: list[tuple[Account, Version, float, float]] = []
        for account in self.accounts:
            first = max(account.created, -1.0 - account.phase)
            account.versions.append(Version(1, "first", "create", first, first + 0.05, np.nan))
            if account is self.shared:
                account.versions[0].issued, account.versions[0].delivered = account.created, account.created + 0.05
                continue
            events = [
                (float(d), "planned", np.nan) for d in np.arange(account.phase, TODAY, PERIOD_DAYS) if d > first + 20
            ]
            mine = sorted(x for x in ((day, found) for a, day, found in self.drawn if a is account))
            events += [(day, "leaks", found) for day, found in mine]
            events.sort()
            while events:
                day, what, found = events.pop(0)
                current = account.versions[-1]
                if what == "leaks":
                    noticed = found if found < TODAY else np.nan
                    self.leaks.append((account, current, day, noticed))
                    if not np.isnan(noticed):
                        events.append((noticed, f"leak {current.number}", np.nan))
                        events.sort()
                    continue
                if what.startswith("leak "):
                    leaked = account.versions[int(what[5:]) - 1]
                    if leaked.revoked <= day:  # rotated out before anybody noticed
                        self.leaks = [
                            (a, v, d, np.nan if a is account and v is leaked and f == day else f)
                            for a, v, d, f in self.leaks
                        ]
                        continue
                    leaked.revoked = day + float(rng.uniform(0.5, 6.0))  # a meeting, then a search for who uses it
                    if leaked is not current:
                        continue
                at = (
                    np.floor(day) + float(rng.uniform(8, 16)) / 24
                    if what == "planned"
                    else day + float(rng.uniform(0.1, 0.4))
                )
                number = len(account.versions) + 1
                reason = "planned" if what == "planned" else "leak"
                request = f"{reason}-{number}"
                if what == "planned" and np.isnan(current.revoked):
                    current.revoked = at + OVERLAP_DAYS
                account.versions.append(
                    Version(number, reason, request, at, at + float(rng.uniform(0.02, 0.2)), np.nan)
                )
            for version in account.versions:
                if version.revoked > TODAY:
                    version.revoked = np.nan

    def _plant(self) -> None:
        """What went wrong: two issues of one rotation, versions that nobody revoked, callers that are gone or stuck."""
        rng = streams(self.hidden, "plants")
        pool = [a for a in self.accounts if a is not self.shared and len(a.versions) >= 5]
        order = [pool[int(i)] for i in rng.permutation(len(pool))]
        for account in order[:2]:
            issued = account.versions[-1]
            # It died after the vault had answered, and asked again with another request.
            extra = Version(issued.number, issued.reason, issued.request + "-a", issued.issued, np.nan, np.nan)
            issued.number, issued.request, issued.issued = (
                issued.number + 1,
                issued.request + "-b",
                issued.issued + 0.01,
            )
            issued.delivered += 0.01
            account.versions.insert(-1, extra)
            self.plants.append(("issued twice", account.account_id, None, extra.number))
        for account in order[2:5]:
            account.versions[-3].revoked = np.nan
            self.plants.append(("never revoked", account.account_id, None, account.versions[-3].number))
        several = [a for a in order[5:] if len(a.callers) > 1]
        for account in several[:6]:
            caller = account.callers[-1]
            caller.last, caller.is_registered = TODAY - LOG_DAYS * float(rng.uniform(0.2, 0.7)), True
            self.plants.append(("retired caller", account.account_id, caller.caller_id, None))
        for account in several[6:9]:
            caller = account.callers[-1]
            caller.stuck_on = account.versions[0].number
            self.plants.append(("stuck caller", account.account_id, caller.caller_id, caller.stuck_on))
        self.plants.append(("shared account", self.shared.account_id, None, None))
        for account in several[9:12]:
            account.disabled = float(np.floor(TODAY - rng.uniform(20, 120)))
            for version in account.versions:
                version.revoked = account.disabled if not version.revoked <= account.disabled else version.revoked
            account.versions = [v for v in account.versions if v.issued < account.disabled]
            self.leaks = [x for x in self.leaks if x[0] is not account or x[2] < account.disabled]

    def _make_calls(self) -> None:
        lags, noise = streams(self.visible, "lags"), streams(self.visible, "calls")
        begin = TODAY - LOG_DAYS
        parts = []
        for account in self.accounts:
            about = self.about[account.kind]
            delivered = [v for v in account.versions if not np.isnan(v.delivered)]
            number = np.array([v.number for v in delivered])
            revoked = np.array([v.revoked for v in delivered])
            for caller in account.callers:
                lag = about["median"] * np.exp(about["sigma"] * lags.standard_normal(len(delivered)))
                lag[0] = 0.0
                lazy, mends = lags.random(len(delivered)) < about["laggards"], 1.0 + lags.random(len(delivered))
                picked = np.array([v.delivered for v in delivered]) + lag
                for k in range(1, len(delivered)):
                    cut = revoked[k - 1]
                    if lazy[k]:
                        picked[k] = np.inf
                        if picked[k - 1] < TODAY and cut > begin:
                            self.plants.append(("laggard", account.account_id, caller.caller_id, int(number[k])))
                    # Whose calls are refused finds out, and has it mended within two days.
                    picked[k] = min(picked[k], cut + mends[k]) if not np.isnan(cut) else picked[k]
                    picked[k] = min(picked[k], picked[k + 1]) if k + 1 < len(picked) else picked[k]
                gap = 1 / caller.per_day
                times = begin + gap * noise.random() + gap * np.arange(int(LOG_DAYS / gap))
                times = times + gap * 0.3 * noise.random(len(times))
                times = np.sort(np.r_[times, picked[(picked >= begin) & (picked < TODAY)] + 1e-6])
                end = min(caller.last, TODAY, account.disabled if not np.isnan(account.disabled) else np.inf)
                times = times[(times >= max(begin, account.created)) & (times < end)]
                held = np.zeros(len(times), dtype=int)
                for k in range(len(picked)):
                    held[times >= picked[k]] = k
                ok = ~(revoked[held] <= times)
                version = number[held]
                if caller.stuck_on is not None:
                    version, ok = np.full(len(times), caller.stuck_on), np.zeros(len(times), dtype=bool)
                busy = noise.random(len(times)) < 0.004
                parts.append(
                    pd.DataFrame(
                        {
                            "account_id": account.account_id,
                            "caller_id": caller.caller_id,
                            "dag": -1 if caller.dag is None else caller.dag,
                            "version": version,
                            "at": times,
                            "status": np.where(~ok, 401, np.where(busy, 503, 200)),
                        }
                    )
                )
        self.calls = pd.concat(parts, ignore_index=True)

    def write(self, con: duckdb.DuckDBPyConnection) -> None:
        """The tables."""
        rng = streams(self.visible, "words")
        dag_id, dag_name = self.dags.dag_id.tolist(), self.dags.dag_name.tolist()
        team = self.dags.team_id.tolist()
        accounts, consumers, versions = [], [], []
        for a in self.accounts:
            pattern = str(rng.choice(PURPOSES[a.kind]))
            purpose = pattern.format(dag=dag_name[a.dag], api=dag_name[a.api] if a.api is not None else "")
            name = f"svc-{dag_name[a.dag].replace('_', '-')}"
            if a is self.shared:
                name, purpose = "svc-orders-shared", "orders group, all jobs (the group was split up in 2024)"
            accounts.append(
                (a.account_id, name, a.kind, team[a.dag], dag_id[a.dag], None if a.api is None else dag_id[a.api], purpose,
                 a.created, a.disabled)
            )  # fmt: skip
            for c in a.callers:
                if c.is_registered:
                    consumers.append((a.account_id, c.caller_id, None if c.dag is None else dag_id[c.dag],
                                      team[a.dag if c.dag is None else c.dag], max(a.created, -700.0)))  # fmt: skip
            versions += [
                (
                    a.account_id,
                    v.number,
                    v.reason,
                    f"{a.account_id.lower()}-{v.request}",
                    v.issued,
                    v.delivered,
                    v.revoked,
                )
                for v in a.versions
            ]
        places = streams(self.visible, "places")
        leaks = [
            (
                a.account_id,
                v.number,
                day,
                found,
                str(places.choice(PLACES)),
                None if np.isnan(found) else str(places.choice(FINDERS)),
            )
            for a, v, day, found in sorted(self.leaks, key=lambda x: x[2])
        ]
        classes = [
            (
                k,
                x["accounts"],
                x["callers"],
                x["median"],
                x["sigma"],
                x["laggards"],
                x["leaks"],
                FOUND_SHARE,
                FOUND_MEDIAN_DAYS,
            )
            for k, x in self.about.items()
        ]
        frames = {
            "accounts": pd.DataFrame(accounts, columns=["account_id", "account_name", "class", "team_id", "dag_id", "api_dag_id",
                                                        "purpose", "created", "disabled"]),
            "consumers": pd.DataFrame(consumers, columns=["account_id", "caller_id", "dag_id", "team_id", "registered"]),
            "versions": pd.DataFrame(versions, columns=["account_id", "version", "reason", "request_id", "issued", "delivered",
                                                        "revoked"]),
            "leaks": pd.DataFrame(leaks, columns=["account_id", "version", "leaked", "found", "place", "found_by"]),
            "calls": self.calls,
            "dags": pd.DataFrame({"dag": range(len(dag_id)), "dag_id": dag_id}),
            "classes": pd.DataFrame(classes, columns=["class", "accounts", "callers_per_account", "lag_median_days", "lag_sigma",
                                                      "laggard_share", "leaks_per_year", "found_share", "found_median_days"]),
            "plants": pd.DataFrame(self.plants, columns=["kind", "account_id", "caller_id", "version"]),
        }  # fmt: skip
        for name, frame in frames.items():
            con.register(f"frame_{name}", frame)
        con.execute(TABLES)
        for name in frames:
            con.unregister(f"frame_{name}")


TABLES = """
create temp macro moment(d) as
  case when not isnan(d) then make_timestamp(1719705600000000 + 1000000 * round(d * 86400)::bigint) end;

create table ops.api_accounts as
select
  account_id,
  account_name,
  class,
  team_id::integer as team_id,
  dag_id,
  api_dag_id,
  purpose,
  moment(created)::date as created_on,
  moment(disabled)::date as disabled_on
from frame_accounts
order by account_id;

create table ops.credential_consumers as
select
  account_id,
  caller_id,
  dag_id,
  team_id::integer as team_id,
  moment(registered)::date as registered_on
from frame_consumers
order by account_id, caller_id;

create table ops.credential_versions as
select
  account_id,
  version::smallint as version,
  reason,
  request_id,
  moment(issued) as issued_at,
  moment(delivered) as delivered_at,
  moment(revoked) as revoked_at
from frame_versions
order by account_id, version;

create table ops.credential_leaks as
select
  row_number() over (order by leaked, account_id)::integer as leak_id,
  account_id,
  version::smallint as version,
  moment(leaked) as leaked_at,
  moment(found) as found_at,
  found_by,
  place
from frame_leaks
order by leak_id;

create table ops.api_calls as
select
  row_number() over (order by c.at, c.account_id, c.caller_id)::bigint as call_id,
  c.account_id,
  c.caller_id,
  d.dag_id,
  c.version::smallint as version,
  moment(c.at) as called_at,
  c.status::smallint as status_code
from frame_calls c
left join frame_dags d using (dag)
order by call_id;

create table truth.credential_classes as
select * replace (accounts::integer as accounts)
from frame_classes
order by class;

create table truth.credential_plants as
select kind, account_id, caller_id::varchar as caller_id, version::smallint as version
from frame_plants
order by kind, account_id, caller_id, version;

drop macro moment;

comment on table ops.api_accounts is 'Accounts with which pipelines, services and partners call the APIs of pipelines.';
comment on column ops.api_accounts.account_id is 'Key, such as SA001.';
comment on column ops.api_accounts.account_name is 'Name in the vault.';
comment on column ops.api_accounts.class is 'pipeline (reads it when a run starts), service (when deployed) or partner.';
comment on column ops.api_accounts.team_id is 'Owner; references ops.teams.';
comment on column ops.api_accounts.dag_id is 'Pipeline that it was made for; references ops.dags.';
comment on column ops.api_accounts.api_dag_id is 'Pipeline whose API it opens; references ops.dags; null: that of dag_id.';
comment on column ops.api_accounts.purpose is 'What it is for, in the words of whoever asked for it.';
comment on column ops.api_accounts.created_on is 'First day.';
comment on column ops.api_accounts.disabled_on is 'Day from which on it opens nothing; null: in use.';

comment on table ops.credential_consumers is 'Callers as registered by their teams: neither complete nor up to date.';
comment on column ops.credential_consumers.account_id is 'References ops.api_accounts; key with caller_id.';
comment on column ops.credential_consumers.caller_id is 'Process that calls: pipeline or partner, and a number.';
comment on column ops.credential_consumers.dag_id is 'Pipeline of the caller; references ops.dags; null: a partner''s.';
comment on column ops.credential_consumers.team_id is 'Team that answers for the caller; references ops.teams.';
comment on column ops.credential_consumers.registered_on is 'Day of the entry.';

comment on table ops.credential_versions is 'Versions of accounts'' credentials over two years; the secrets are in the vault.';
comment on column ops.credential_versions.account_id is 'References ops.api_accounts; key with version.';
comment on column ops.credential_versions.version is 'From 1.';
comment on column ops.credential_versions.reason is 'first, planned (every 90 days) or leak.';
comment on column ops.credential_versions.request_id is 'With which the vault was asked; unique.';
comment on column ops.credential_versions.issued_at is 'Valid from (UTC).';
comment on column ops.credential_versions.delivered_at is 'Callers can read it from then on (UTC); null: never delivered.';
comment on column ops.credential_versions.revoked_at is 'Refused from (UTC); null: valid.';

comment on table ops.credential_leaks is 'Leaks of credentials over two years, also those that only the yearly audit found.';
comment on column ops.credential_leaks.leak_id is 'Key.';
comment on column ops.credential_leaks.account_id is 'References ops.api_accounts.';
comment on column ops.credential_leaks.version is 'Version that leaked; references ops.credential_versions.';
comment on column ops.credential_leaks.leaked_at is 'When, as established later (UTC).';
comment on column ops.credential_leaks.found_at is 'Reported while the version was valid (UTC); null: nobody did.';
comment on column ops.credential_leaks.found_by is 'secret scanner, owner, colleague or misuse; null: nobody.';
comment on column ops.credential_leaks.place is 'Where the secret stood in plain text.';

comment on table ops.api_calls is 'Log of API calls, twenty weeks. Names the version of the credential, never the secret.';
comment on column ops.api_calls.call_id is 'Key, in order of time.';
comment on column ops.api_calls.account_id is 'References ops.api_accounts.';
comment on column ops.api_calls.caller_id is 'Process that called.';
comment on column ops.api_calls.dag_id is 'Pipeline of the caller; references ops.dags; null: a partner''s.';
comment on column ops.api_calls.version is 'Version of the account''s credential that it called with.';
comment on column ops.api_calls.called_at is 'When (UTC).';
comment on column ops.api_calls.status_code is '200; 401: the credential was refused; 503: accepted, but the API was busy.';
"""
