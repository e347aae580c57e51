# subject: dq_incidents
# needs: models, organisation
# makes: ops.feeds, ops.report_inputs, ops.report_contacts, ops.dq_tables, ops.on_call
# makes: ops.dq_incidents, ops.dq_alerts, ops.dq_pages, ops.dq_notices
# truth: dq_incident_reports, dq_settings
"""Half a year of data quality incidents, under the rules of today: each alert pages the owner of the table whose check failed, at
once if many rows failed and in office hours if few; contacts of critical reports get a mail; nobody says that it is over.

A fault begins in one table, the cause; what it feeds is wrong too, column by column where the lineage knows columns. How fast
people acknowledge, read and fix, and how late the cause's own check fails, differs by world (truth.dq_settings).
"""

from calendar import monthrange
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import numpy as np
import pandas as pd

from workshop.sim import streams
from workshop.sim.escalation import EDGES_SQL, EPOCH, REPORTS_SQL, next_morning, ready_policy, replay_one
from workshop.sql_scope import columns_read, known_to_sqlglot
from workshop.table import Table
from workshop.world.build import history
from workshop.world.seeds import derive_seed

DAYS, INCIDENTS = 182, 200  # up to today
TODAY_MIN = (datetime(2026, 6, 30, tzinfo=UTC) - EPOCH).total_seconds() / 60
# What is loaded and exported by programs: whole tables are all that is known. Input, output, owners (of the first if it lands).
FEEDS = (
    ("landing.shop_orders", "core.orders", (4, 2)),
    ("landing.shop_orders", "core.order_items", (4, 2)),
    ("landing.apac_orders", "core.orders", (6,)),
    ("landing.payment_events", "core.payments", (8, 9)),
    ("landing.carrier_scans", "core.shipments", (11, 12)),
    ("landing.return_slips", "core.returns", (10, 11)),
    ("landing.crm_export", "core.customers", (15, 17)),
    ("landing.catalogue_feed", "core.products", (1, 3)),
    ("landing.seller_forms", "core.sellers", (2, 4)),
    ("landing.market_rates", "core.fx_rates", (23, 22)),
    ("mart.revenue_per_day", "export.cfo_pack", (21,)),
    ("mart.cash_position", "export.cfo_pack", (21,)),
)
PACK = ("export.cfo_pack", "net_usd")  # a column that no edge names
PACK_READER = "Finance morning view"
ANSWERS = 7  # sets of answers to pages in an incident; teams that share one are far apart
NOTICE_MIN = (15, 40, 150, 240, 360)
EARLY_ZONE = "Europe/Berlin"  # where reports are due before most people are awake
Node = tuple[str, str | None]  # a column, or (None) a table as a whole


# -- lineage ---------------------------------------------------------------------------------------------------------


class Graph:
    """Which columns and reports are wrong when some are. Where two tables have an edge by column, the one by table is dropped."""

    def __init__(self, edges: Iterable[dict[str, Any]], reports: Sequence[dict[str, Any]]) -> None:
        edges = list(edges)
        by_column = {(e["input_table"], e["output_table"]) for e in edges if e["level"] == "column"}
        self.feeds: dict[Node, set[Node]] = {}
        self.table_feeds: dict[str, set[str]] = {}
        self.columns: dict[str, set[str]] = {}
        for e in edges:
            if e["level"] == "column":
                self.feeds.setdefault((e["input_table"], e["input_column"]), set()).add(
                    (e["output_table"], e["output_column"])
                )
                self.columns.setdefault(e["input_table"], set()).add(e["input_column"])
                self.columns.setdefault(e["output_table"], set()).add(e["output_column"])
            elif (e["input_table"], e["output_table"]) not in by_column:
                self.table_feeds.setdefault(e["input_table"], set()).add(e["output_table"])
        self.reports = reports
        self._hit: dict[Node, frozenset[int]] = {}

    def wrong(self, places: Iterable[Node]) -> dict[Node, int]:
        """Everything that is wrong, by the number of tables that lie between."""
        found = dict.fromkeys(places, 0)
        todo = list(found)
        for node in todo:
            hops = found[node]
            if node[1] is None:
                for c in sorted(self.columns.get(node[0], ())):
                    if (node[0], c) not in found:
                        found[node[0], c] = hops
                        todo.append((node[0], c))
            nexts = {(t, None) for t in self.table_feeds.get(node[0], ())} | self.feeds.get(node, set())
            for other in sorted(nexts, key=str):
                if other not in found:
                    found[other] = hops + 1
                    todo.append(other)
        return found

    def hit(self, places: Iterable[Node]) -> frozenset[int]:
        """The reports (ids) that read something wrong."""
        return frozenset().union(*(self._hit_by(p) for p in places))

    def _hit_by(self, place: Node) -> frozenset[int]:
        if place not in self._hit:
            wrong = self.wrong([place])
            tables = {t for t, _ in wrong}
            self._hit[place] = frozenset(
                r["report_id"]
                for r in self.reports
                if any(
                    i["table"] in tables
                    if i["column"] is None
                    else (i["table"], i["column"]) in wrong or (i["table"], None) in wrong
                    for i in r["reads"]
                )
            )
        return self._hit[place]


def next_deadline(report: dict[str, Any], at: datetime) -> datetime:
    """The first deadline of a report at or after a moment, UTC. Times that the clock skips or shows twice are read as Python does
    with fold 0: by the offset from before the change."""
    zone = ZoneInfo(report["time_zone"])
    due = time.fromisoformat(str(report["due_at_local"]))
    day = at.astimezone(zone).date() - timedelta(days=1)
    while True:
        if _is_due(report, day):
            found = datetime.combine(day, due, tzinfo=zone).astimezone(UTC)
            if found >= at:
                return found
        day += timedelta(days=1)


def _is_due(report: dict[str, Any], day: date) -> bool:
    match report["cadence"]:
        case "daily":
            return True
        case "weekly":
            return day.isoweekday() == report["due_day"]
        case cadence:
            last = monthrange(day.year, day.month)[1]
            return day.day == min(report["due_day"], last) and (cadence == "monthly" or day.month in (1, 4, 7, 10))


# -- incidents -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Settings:
    """How people and checks of a world are. Medians and means in minutes, shares from 0 to 1."""

    fix_minutes: float  # median of the work until all is right again
    lag_minutes: float  # mean by which the cause's check comes after the first, where it does not come first
    night_minutes: float  # median until somebody who was asleep acknowledges
    sleeps_share: float  # of pages at night that nobody hears
    read_minutes: float  # median until a notice is read


def draw_settings(rng: np.random.Generator, speed: float | None = None) -> Settings:
    """speed: 0 quick people and checks, 1 slow ones; None: each for itself."""
    u = rng.random(5) if speed is None else np.clip(speed + rng.uniform(-0.06, 0.06, 5), 0, 1)
    fix, lag, night, sleeps, read = u.tolist()
    return Settings(
        round(22 * (200 / 22) ** fix, 1),
        round(3 * (90 / 3) ** lag, 1),
        round(4 * (18 / 4) ** night, 1),
        round(0.25 + 0.15 * sleeps, 3),
        round(4 * (60 / 4) ** read, 1),
    )


@dataclass
class Estate:
    """What an incident is drawn on: lineage, reports, owners of tables."""

    edges: list[dict[str, Any]]
    reports: list[dict[str, Any]]  # with owner_team_id
    owners: dict[str, int]
    graph: Graph = field(init=False)

    def __post_init__(self) -> None:
        self.graph = Graph(self.edges, self.reports)


def read_estate(rows: Any) -> Estate:
    """rows: a function from SQL to a list of dicts."""
    teams = {r["report_id"]: r["owner_team_id"] for r in rows("select report_id, owner_team_id from ops.reports")}
    reports = [r | {"owner_team_id": teams[r["report_id"]]} for r in rows(REPORTS_SQL)]
    owners = {r["table_name"]: r["owner_team_id"] for r in rows("select * from ops.dq_tables")}
    return Estate(rows(EDGES_SQL), reports, owners)


def _places(graph: Graph, tables: Iterable[str]) -> dict[str, list[Node]]:
    """Where a fault can begin, by layer: tables as a whole, and columns that feed others."""
    found: dict[str, list[Node]] = {}
    inputs: dict[str, list[str]] = {}
    for table, column in sorted(graph.feeds, key=str):
        inputs.setdefault(table, []).append(column)
    for t in sorted(tables):
        layer = t.split(".")[0]
        found.setdefault(layer, []).append((t, None))
        found[layer] += [(t, c) for c in inputs.get(t, [])]
    return found


def draw_incidents(
    estate: Estate, rng: np.random.Generator, settings: Settings, begin_min: float, days: int, n: int
) -> list[dict[str, Any]]:
    """n incidents, as workshop.sim.escalation replays them, in order of their first alerts."""
    graph = estate.graph
    places = _places(graph, estate.owners)
    critical = {r["report_id"] for r in estate.reports if r["is_business_critical"]}
    early = {
        r["report_id"] for r in estate.reports if r["cadence"] == "daily" and r["time_zone"] == EARLY_ZONE
    } & critical
    telling = {layer: [p for p in found if graph.hit([p]) & critical] for layer, found in places.items()}
    later = [p for found in telling.values() for p in found if not graph.hit([p]) & early]
    feeding = [p for found in places.values() for p in found if len({t for t, _ in graph.wrong([p])}) > 1]
    quiet = [p for p in feeding if not graph.hit([p])]
    others = [p for p in feeding if graph.hit([p]) and not graph.hit([p]) & critical]
    day = np.sort(rng.choice(days * 8, n, replace=False)) // 8
    incidents = []
    for k in range(n):
        layer = str(rng.choice(["landing", "core", "staging", "intermediate", "mart"], p=[0.3, 0.25, 0.12, 0.2, 0.13]))
        kind = rng.random()
        some = quiet if kind < 0.13 else others if kind < 0.28 else later if kind < 0.58 else telling[layer]
        cause = _choose(rng, some or places[layer])
        # Loads run at night by the clock of Berlin; the shops of three continents write all day.
        hour = rng.normal(25.0, 2.5) if rng.random() < 0.5 else rng.uniform(6, 24)
        incidents.append(_incident(estate, rng, settings, begin_min + 1440 * float(day[k]) + 60 * float(hour), cause))
    incidents.sort(key=lambda i: i["alerts"][0]["at"])
    return incidents


def draw_last_minute(
    estate: Estate, rng: np.random.Generator, settings: Settings, begin_min: float, days: int, n: int
) -> list[dict[str, Any]]:
    """n incidents whose first alert comes minutes before a deadline after which no other counts: half of them hit one critical
    report, the others one report that is not critical and nothing else."""
    graph, reports = estate.graph, {r["report_id"]: r for r in estate.reports}
    critical = {r for r, about in reports.items() if about["is_business_critical"]}
    places = [p for found in _places(graph, estate.owners).values() for p in found]
    one_critical = [p for p in places if len(graph.hit([p]) & critical) == 1]
    one_other = [p for p in places if len(graph.hit([p])) == 1 and not graph.hit([p]) & critical]
    incidents = []
    for k in range(n):
        some = one_other if k % 2 else one_critical
        if not some:
            continue
        cause = some[int(rng.integers(len(some)))]
        hit = graph.hit([cause])
        (report,) = hit if k % 2 else hit & critical
        day = EPOCH + timedelta(minutes=begin_min + float(rng.uniform(0, 1440 * days)))
        due = (next_deadline(reports[report], day) - EPOCH).total_seconds() / 60
        incidents.append(_incident(estate, rng, settings, due - float(rng.uniform(1, 3)), cause))
    return incidents


def _choose(rng: np.random.Generator, some: Sequence[Node]) -> Node:
    whole = [p for p in some if p[1] is None]
    pool = whole if rng.random() < 0.5 and whole else some
    return pool[int(rng.integers(len(pool)))]


def _incident(
    estate: Estate, rng: np.random.Generator, settings: Settings, begin: float, cause: Node
) -> dict[str, Any]:
    graph = estate.graph
    wrong = graph.wrong([cause])
    hops: dict[str, int] = {}
    nodes: dict[str, list[Node]] = {}
    for node, h in wrong.items():
        hops.setdefault(node[0], h)
        nodes.setdefault(node[0], []).append(node)
    reports = {r["report_id"]: r for r in estate.reports}
    few = rng.random() < 0.5  # some faults touch a handful of rows, wherever they arrive
    # The cause's own check comes first, or is a slow one; those of what it feeds come as it is loaded.
    downstream = [t for t in hops if t != cause[0] and rng.random() < 0.6]
    offsets = {t: 2.0 + 22.0 * (hops[t] - 1) + float(rng.lognormal(3.0, 0.7)) for t in downstream}
    late = bool(downstream) and rng.random() < 0.75
    if late:
        first = min(offsets, key=lambda t: offsets[t])
        shift = offsets[first]
        offsets = {t: o - shift for t, o in offsets.items()}
        offsets[cause[0]] = min(1.0 + float(rng.exponential(settings.lag_minutes)), 5 * settings.lag_minutes)
    else:
        offsets[cause[0]] = 0.0
    alerts = []
    for t, offset in offsets.items():
        for j in range(1 + int(rng.integers(0, 4)) if len(nodes[t]) > 1 else 1):
            column = nodes[t][int(rng.integers(len(nodes[t])))][1]
            alerts.append(
                {"at": round(begin + offset + (0.3 * j), 2), "table": t, "column": column, "table_team": estate.owners[t],
                 "failed_rows": int(rng.lognormal(1.5, 1.0) if few else rng.lognormal(7.5, 2.0)) + 1,
                 "reports": sorted(graph.hit(nodes[t]))}
            )  # fmt: skip
    alerts.sort(key=lambda a: (a["at"], a["table"]))
    best = None
    for a in alerts:
        if best is None or hops[a["table"]] < hops[best]:
            best = a["table"]
        a["likely_team"] = estate.owners[best]
    at = EPOCH + timedelta(minutes=alerts[0]["at"])
    hit = [
        {"report_id": r, "team": reports[r]["owner_team_id"], "critical": bool(reports[r]["is_business_critical"]),
         "deadline": (next_deadline(reports[r], at) - EPOCH).total_seconds() / 60,
         "read_minutes": round(float(rng.lognormal(np.log(settings.read_minutes), 0.6)), 2)}
        for r in sorted(graph.hit([cause]))
    ]  # fmt: skip

    size = (ANSWERS, 3)
    day = rng.exponential(5.0, size) + np.where(rng.random(size) < 0.06, rng.uniform(40, 90, size), 0) + 0.5
    night = rng.lognormal(np.log(settings.night_minutes), 0.5, size)
    night = np.where(rng.random(size) < settings.sleeps_share, -1.0, night)

    return {
        "began": round(begin - float(rng.uniform(5, 60)), 2),
        "cause_table": cause[0],
        "cause_column": cause[1],
        "cause_team": estate.owners[cause[0]],
        "alerts": alerts,
        "reports": hit,
        "fix_minutes": round(float(rng.lognormal(np.log(settings.fix_minutes), 0.45)), 2),
        "diagnose_minutes": round(float(rng.uniform(30, 90)), 2),
        "draws": [{"day": d, "night": n} for d, n in zip(day.round(2).tolist(), night.round(2).tolist(), strict=True)],
    }


def today(reports: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The policy of today."""
    path = {"page": "table", "acknowledge_minutes": 60, "then": ["second"]}
    return {
        "group_by": "alert",
        "wait_minutes": 0,
        "matrix": [
            {"impact": "any", "max_hours": None, "min_failed_rows": 5000, "severity": "SEV1"},
            {"impact": "any", "max_hours": None, "min_failed_rows": None, "severity": "SEV3"},
        ],
        "paths": {"SEV1": path | {"when": "any time"}, "SEV3": path | {"when": "office hours"}},
        "tell": [
            {
                "report_id": r["report_id"],
                "minutes_before": 24 * 60 if r["is_business_critical"] else None,
                "at_night": False,
            }
            for r in reports
        ],
        "stand_down": {"after": "never", "delay_minutes": 0, "to": []},
    }


# -- the world's tables ----------------------------------------------------------------------------------------------

COLUMNS = {
    "feeds": "input_table output_table owner_team_id",
    "inputs": "report_id input_table input_column",
    "contacts": "report_id person_id time_zone notice_minutes",
    "tables": "table_name owner_team_id",
    "on_call": "team_id step person_id time_zone",
    "incidents": "incident_id began_at first_alert_at cause_alert_at cause_table cause_column cause_team_id alert_count "
    "work_began_at fixed_at",
    "alerts": "alert_id incident_id alert_at table_name column_name failed_rows",
    "pages": "page_id incident_id paged_at person_id team_id is_night minutes_to_morning acknowledged_at",
    "notices": "notice_id incident_id report_id sent_at is_night read_at",
    "hits": "incident_id report_id deadline_at is_right is_told",
    "settings": "fix_minutes lag_minutes night_minutes sleeps_share read_minutes",
}


def build(con: duckdb.DuckDBPyConnection, seed: bytes, scale: float) -> None:
    """Writes the tables; they do not shrink with scale."""
    rng = streams(derive_seed(seed, "world/dq_incidents"), "organisation")
    secret = streams(derive_seed(seed, "truth/dq_incidents"), "incidents")
    rows: dict[str, list[tuple]] = {name: [] for name in COLUMNS}
    landed: dict[str, int] = {}
    for source, target, owners in FEEDS:
        owner = landed.setdefault(source, int(rng.choice(owners)))
        rows["feeds"].append((source, target, owner))
    rows["tables"] = con.execute(
        """
        select schema_name || '.' || table_name, owner_team_id from ops.sources
        union all
        select schema_name || '.' || table_name, owner_team_id from ops.models
        """
    ).fetchall()
    rows["tables"] += [(t, o) for t, o in landed.items() if t.startswith("landing.")] + [(PACK[0], 21)]
    rows["tables"].sort()
    rows["inputs"] = _inputs(con, seed)
    _people(con, rng, rows)
    for name in ("feeds", "inputs", "contacts", "tables", "on_call"):
        con.register(f"frame_{name}", pd.DataFrame(rows[name], columns=COLUMNS[name].split(), dtype=object))
    con.execute(TABLES)

    def dicts(sql: str) -> list[dict[str, Any]]:
        return Table.from_cursor(con.execute(sql)).dicts()

    estate = read_estate(dicts)
    settings = draw_settings(secret)
    rows["settings"] = [tuple(asdict(settings).values())]
    incidents = draw_incidents(estate, secret, settings, TODAY_MIN - 1440 * DAYS, DAYS - 2, INCIDENTS)
    write_history(rows, incidents, on_call_of(dicts), contacts_of(dicts), today(estate.reports))
    for name in ("incidents", "alerts", "pages", "notices", "hits", "settings"):
        con.register(f"frame_{name}", pd.DataFrame(rows[name], columns=COLUMNS[name].split(), dtype=object))
    con.execute(HISTORY)
    for name in COLUMNS:
        con.unregister(f"frame_{name}")


def on_call_of(rows: Any) -> dict[str, list[list[Any]]]:
    """By team (as text), (person_id, time zone) of first, second and manager."""
    found: dict[str, list[list[Any]]] = {}
    for r in rows("select * from ops.on_call order by team_id, list_position(['first', 'second', 'manager'], step)"):
        found.setdefault(str(r["team_id"]), []).append([r["person_id"], r["time_zone"]])
    return found


def contacts_of(rows: Any) -> dict[str, dict[str, Any]]:
    """By report (as text), its contact."""
    return {str(r["report_id"]): r for r in rows("select * from ops.report_contacts order by report_id")}


def _inputs(con: duckdb.DuckDBPyConnection, seed: bytes) -> list[tuple]:
    """What reports read: the columns in their consumers' queries."""
    models = history("models")
    types = models.model_types(models.make_stack(derive_seed(seed, "world/models")), models.core_types(con))
    known = known_to_sqlglot(types)
    found: set[tuple] = set()
    pack = None
    for report, name, sql in con.execute(
        """
        select report_id, report_name, sql from ops.reports join ops.consumer_queries using (consumer_id)
        order by report_id, query_id
        """
    ).fetchall():
        found |= {(report, table, column) for table, column in columns_read(sql, known)[1]}
        pack = report if name == PACK_READER else pack
    return sorted(found | {(pack, *PACK)}, key=str)


def _people(con: duckdb.DuckDBPyConnection, rng: np.random.Generator, rows: dict[str, list[tuple]]) -> None:
    """Who is on call in each team, and who answers for each report."""
    teams: dict[int, list[tuple[int, str, str]]] = {}
    for team, person, craft, zone in con.execute(
        "select team_id, person_id, craft, time_zone from ops.people where left_on is null order by team_id, person_id"
    ).fetchall():
        teams.setdefault(team, []).append((person, craft, zone))
    for team, members in teams.items():
        manager = next(m for m in members if m[1] == "manager")
        others = [m for m in members if m is not manager]
        first, second = (others[i] for i in rng.permutation(len(others))[:2].tolist())
        rows["on_call"] += [
            (team, step, m[0], m[2]) for step, m in (("first", first), ("second", second), ("manager", manager))
        ]
    # A screen is taken down in minutes, a pack for the board in hours.
    reports = con.execute(
        "select report_id, owner_team_id from ops.reports order by is_business_critical desc, cadence <> 'daily', report_id"
    ).fetchall()
    for k in range(0, len(reports), len(NOTICE_MIN)):
        for (report, team), minutes in zip(
            reports[k : k + len(NOTICE_MIN)], rng.permutation(NOTICE_MIN).tolist(), strict=False
        ):
            person, _, zone = teams[team][int(rng.integers(len(teams[team])))]
            rows["contacts"].append((report, person, zone, minutes))


def write_history(
    rows: dict[str, list[tuple]],
    incidents: Sequence[dict[str, Any]],
    on_call: dict[str, list[list[Any]]],
    contacts: dict[str, dict[str, Any]],
    policy: dict[str, Any],
) -> None:
    """Adds what happened under a policy to the rows by table."""

    def moment(at: float) -> datetime:
        return (EPOCH + timedelta(minutes=round(at, 2))).replace(tzinfo=None)

    ready = ready_policy(policy)
    for number, i in enumerate(incidents, 7001):
        result = replay_one(i, on_call, contacts, ready)
        cause_at = next(a["at"] for a in i["alerts"] if a["table"] == i["cause_table"])
        rows["incidents"].append(
            (number, moment(i["began"]), moment(i["alerts"][0]["at"]), moment(cause_at), i["cause_table"], i["cause_column"],
             i["cause_team"], len(i["alerts"]), moment(result["began"]), moment(result["fixed"]))
        )  # fmt: skip
        for a in i["alerts"]:
            rows["alerts"].append(
                (len(rows["alerts"]) + 1, number, moment(a["at"]), a["table"], a["column"], a["failed_rows"])
            )
        for p in sorted(result["pages"], key=lambda p: p["at"]):
            rows["pages"].append(
                (
                    len(rows["pages"]) + 1,
                    number,
                    moment(p["at"]),
                    p["person"],
                    p["team"],
                    p["night"],
                    round(next_morning(p["zone"], p["at"]) - p["at"], 2) if p["night"] else None,
                    moment(p["acknowledged"]),
                )
            )
        for n in result["notices"]:
            rows["notices"].append(
                (len(rows["notices"]) + 1, number, n["report_id"], moment(n["at"]), n["night"], moment(n["read"]))
            )
        for r in result["reports"]:
            rows["hits"].append((number, r["report_id"], moment(r["deadline"]), r["right"], r["told"]))


def history_of(rows: dict[str, list[tuple]], estate: Estate, contacts: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What a policy may know of such rows: as workshop.sim.escalation.read_history has it of a world."""

    def dicts(name: str) -> list[dict[str, Any]]:
        return [dict(zip(COLUMNS[name].split(), r, strict=True)) for r in rows[name]]

    def minutes(begin: datetime, end: datetime) -> float:
        return (end - begin) // timedelta(seconds=1) / 60

    return {
        "incidents": [
            {"incident_id": i["incident_id"], "alert_count": i["alert_count"],
             "cause_lag_minutes": minutes(i["first_alert_at"], i["cause_alert_at"]),
             "fix_minutes": minutes(i["work_began_at"], i["fixed_at"])}
            for i in dicts("incidents")
        ],
        "pages": [
            {"incident_id": p["incident_id"], "is_night": bool(p["is_night"]), "minutes_to_morning": p["minutes_to_morning"],
             "acknowledged_minutes": minutes(p["paged_at"], p["acknowledged_at"])}
            for p in dicts("pages")
        ],
        "notices": [
            {"incident_id": n["incident_id"], "report_id": n["report_id"], "is_night": bool(n["is_night"]),
             "read_minutes": minutes(n["sent_at"], n["read_at"])}
            for n in dicts("notices")
        ],
        "contacts": [
            {"report_id": r["report_id"], "report_name": r["report_name"], "is_business_critical": r["is_business_critical"],
             "notice_minutes": contacts[str(r["report_id"])]["notice_minutes"]}
            for r in estate.reports
        ],
    }  # fmt: skip


TABLES = """
create table ops.feeds as
select input_table::varchar as input_table, output_table::varchar as output_table, owner_team_id::integer as owner_team_id
from frame_feeds
order by all;

create table ops.report_inputs as
select report_id::integer as report_id, input_table::varchar as input_table, input_column::varchar as input_column
from frame_inputs
order by all;

create table ops.report_contacts as
select report_id::integer as report_id, person_id::integer as person_id, time_zone::varchar as time_zone,
  notice_minutes::integer as notice_minutes
from frame_contacts
order by report_id;

create table ops.dq_tables as
select table_name::varchar as table_name, owner_team_id::integer as owner_team_id
from frame_tables
order by table_name;

create table ops.on_call as
select team_id::integer as team_id, step::varchar as step, person_id::integer as person_id, time_zone::varchar as time_zone
from frame_on_call
order by team_id, list_position(['first', 'second', 'manager'], step);

comment on table ops.feeds is 'Loads and exports by programs: which table feeds which. No columns are known.';
comment on column ops.feeds.input_table is 'Table or landed file that is read.';
comment on column ops.feeds.output_table is 'Table that is written.';
comment on column ops.feeds.owner_team_id is 'Team that owns what is landed, or the export; references ops.teams.';

comment on table ops.report_inputs is 'What reports read.';
comment on column ops.report_inputs.report_id is 'References ops.reports.';
comment on column ops.report_inputs.input_table is 'Table that is read.';
comment on column ops.report_inputs.input_column is 'Column that is read; null: the whole table.';

comment on table ops.report_contacts is 'Who answers for a report when its numbers are in doubt.';
comment on column ops.report_contacts.report_id is 'References ops.reports.';
comment on column ops.report_contacts.person_id is 'References ops.people.';
comment on column ops.report_contacts.time_zone is 'IANA time zone in which the person works.';
comment on column ops.report_contacts.notice_minutes is
  'Minutes before the deadline by which the contact must have read a notice, to hold the report back.';

comment on table ops.dq_tables is 'Tables that have checks of data quality, and who owns them.';
comment on column ops.dq_tables.table_name is 'Schema and name.';
comment on column ops.dq_tables.owner_team_id is 'References ops.teams.';

comment on table ops.on_call is 'Who is on call in each team.';
comment on column ops.on_call.team_id is 'References ops.teams.';
comment on column ops.on_call.step is 'first, second or manager: the order in which a page is handed on.';
comment on column ops.on_call.person_id is 'References ops.people.';
comment on column ops.on_call.time_zone is 'IANA time zone in which the person works.';
"""

HISTORY = """
create table ops.dq_incidents as
select incident_id::integer as incident_id, began_at::timestamp as began_at, first_alert_at::timestamp as first_alert_at,
  cause_alert_at::timestamp as cause_alert_at, cause_table::varchar as cause_table, cause_column::varchar as cause_column,
  cause_team_id::integer as cause_team_id, alert_count::integer as alert_count, work_began_at::timestamp as work_began_at,
  fixed_at::timestamp as fixed_at
from frame_incidents
order by incident_id;

create table ops.dq_alerts as
select alert_id::integer as alert_id, incident_id::integer as incident_id, alert_at::timestamp as alert_at,
  table_name::varchar as table_name, column_name::varchar as column_name, failed_rows::bigint as failed_rows
from frame_alerts
order by alert_id;

create table ops.dq_pages as
select page_id::integer as page_id, incident_id::integer as incident_id, paged_at::timestamp as paged_at,
  person_id::integer as person_id, team_id::integer as team_id, is_night::boolean as is_night,
  minutes_to_morning::double as minutes_to_morning, acknowledged_at::timestamp as acknowledged_at
from frame_pages
order by page_id;

create table ops.dq_notices as
select notice_id::integer as notice_id, incident_id::integer as incident_id, report_id::integer as report_id,
  sent_at::timestamp as sent_at, is_night::boolean as is_night, read_at::timestamp as read_at
from frame_notices
order by notice_id;

create table truth.dq_incident_reports as
select incident_id::integer as incident_id, report_id::integer as report_id, deadline_at::timestamp as deadline_at,
  is_right::boolean as is_right, is_told::boolean as is_told
from frame_hits
order by incident_id, report_id;

create table truth.dq_settings as
select fix_minutes::double as fix_minutes, lag_minutes::double as lag_minutes, night_minutes::double as night_minutes,
  sleeps_share::double as sleeps_share, read_minutes::double as read_minutes
from frame_settings;

comment on table ops.dq_incidents is 'Incidents of data quality of the last half year, as written up afterwards.';
comment on column ops.dq_incidents.incident_id is 'Key.';
comment on column ops.dq_incidents.began_at is 'When the fault began (UTC).';
comment on column ops.dq_incidents.first_alert_at is 'When the first check failed (UTC).';
comment on column ops.dq_incidents.cause_alert_at is 'When a check on the cause''s own table failed (UTC).';
comment on column ops.dq_incidents.cause_table is 'Table in which the fault began.';
comment on column ops.dq_incidents.cause_column is 'Column in which it began; null: the whole table.';
comment on column ops.dq_incidents.cause_team_id is 'Team that owns the cause; references ops.teams.';
comment on column ops.dq_incidents.alert_count is 'Alerts that it raised.';
comment on column ops.dq_incidents.work_began_at is 'When somebody of the cause''s team had acknowledged (UTC).';
comment on column ops.dq_incidents.fixed_at is 'When all tables were right again (UTC).';

comment on table ops.dq_alerts is 'Failed checks.';
comment on column ops.dq_alerts.alert_id is 'Key.';
comment on column ops.dq_alerts.incident_id is 'References ops.dq_incidents; found afterwards.';
comment on column ops.dq_alerts.alert_at is 'When the check failed (UTC).';
comment on column ops.dq_alerts.table_name is 'Table that was checked.';
comment on column ops.dq_alerts.column_name is 'Column that was checked; null: the table as a whole.';
comment on column ops.dq_alerts.failed_rows is 'Rows that failed.';

comment on table ops.dq_pages is 'Pages to people on call.';
comment on column ops.dq_pages.page_id is 'Key.';
comment on column ops.dq_pages.incident_id is 'References ops.dq_incidents.';
comment on column ops.dq_pages.paged_at is 'When the page went out (UTC).';
comment on column ops.dq_pages.person_id is 'Who was paged; references ops.people.';
comment on column ops.dq_pages.team_id is 'Whose on-call it was; references ops.teams.';
comment on column ops.dq_pages.is_night is 'It was from 22:00 to 07:00 by the person''s clock.';
comment on column ops.dq_pages.minutes_to_morning is
  'Minutes from the page to 07:00 by the person''s clock, if it was night; null by day. Who sleeps on answers at 07:00.';
comment on column ops.dq_pages.acknowledged_at is 'When the person acknowledged (UTC).';

comment on table ops.dq_notices is 'Mails to contacts of reports that were in doubt.';
comment on column ops.dq_notices.notice_id is 'Key.';
comment on column ops.dq_notices.incident_id is 'References ops.dq_incidents.';
comment on column ops.dq_notices.report_id is 'References ops.reports.';
comment on column ops.dq_notices.sent_at is 'When it was sent (UTC).';
comment on column ops.dq_notices.is_night is 'It was from 22:00 to 07:00 by the contact''s clock.';
comment on column ops.dq_notices.read_at is 'When it was read (UTC).';
"""
