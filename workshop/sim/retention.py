"""Retention of monthly partitions: what a policy costs over the life of a partition, and what it does in sixty monthly runs.

A policy is a list of steps, dicts with `table_name`, `jurisdiction` and

* `step`: "tier" (the partition moves to `tier`), "anonymise" (the columns of the personal `kinds` are emptied), "delete";
* `after_months` and `counted_from`: at the first run at which the partition has this age. "month": full months since the end of
  the partition's month; "year": full months since the end of its calendar year;
* `waits_for_hold`: whether the step waits while the partition is under a legal hold.

Of tier steps that are due the latest counts. Whatever falls on the same run is one rewrite: it is read from the tier it was
in, and written where it goes. Months are counted from the year 0 (12 * year + month - 1); run r is on the first day of month r,
so the partition of month m has the age r - m - 1.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from workshop.table import Table

DAYS_A_MONTH = 30
STEPS = ("tier", "anonymise", "delete")
COUNTED = ("month", "year")
NEVER = 10**6

TABLES_SQL = """
    select table_name, jurisdiction, tags, derived_from, needed_months, personal_needed_months, span_months,
      personal_pct::double as personal_pct,
      (
        select list({'from_age_months': r.from_age_months, 'read_share': r.read_share::double} order by r.from_age_months)
        from ops.partition_reads r
        where r.table_name = c.table_name and r.jurisdiction = c.jurisdiction
      ) as reads
    from ops.data_classes c
    order by table_name, jurisdiction
"""
RULES_SQL = "select * from ops.retention_rules order by rule_id"
TIERS_SQL = """
    select tier, usd_per_gb_month::double as usd_per_gb_month, minimum_stay_days,
      retrieval_usd_per_gb::double as retrieval_usd_per_gb, write_usd_per_gb::double as write_usd_per_gb, drops_versions
    from ops.storage_tiers
    order by usd_per_gb_month desc
"""


def read_estate(con: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]:
    """Return tables, rules and tiers of a world as lists of dicts, as `retention` gets them."""
    tables, rules, tiers = (Table.from_cursor(con.execute(sql)).dicts() for sql in (TABLES_SQL, RULES_SQL, TIERS_SQL))
    return tables, rules, tiers


def personal_kinds(table: Mapping[str, Any]) -> list[str]:
    """The kinds of personal data that a table is tagged with."""
    return sorted(t.removeprefix("privacy.kind:") for t in table["tags"] if t.startswith("privacy.kind:"))


def left_share(table: Mapping[str, Any], anonymised: int) -> float:
    """The share of its bytes that a partition has left when so many of its personal kinds are gone."""
    kinds = len(personal_kinds(table))
    return 1 - float(table["personal_pct"]) / 100 * (anonymised / kinds if kinds else 0)


def life_cost_usd(
    table: Mapping[str, Any], tiers: Sequence[Mapping[str, Any]], steps: Sequence[Mapping[str, Any]]
) -> float:
    """Return what one GB costs from the month after its partition's month until it is deleted, US dollars: storage, reads,
    rewrites and stays that were too short, the mean over partitions of the twelve calendar months.

    steps: those of this table, with a delete among them; other keys than step, after_months, counted_from, tier and kinds
    are not looked at. Raises ValueError where no step deletes.
    """
    by_name = {t["tier"]: t for t in tiers}
    months = range(1, 13) if any(s.get("counted_from") == "year" for s in steps) else (12,)
    return sum(_one_life(table, by_name, steps, month) for month in months) / len(months)


def _one_life(
    table: Mapping[str, Any], tiers: Mapping[str, Mapping[str, Any]], steps: Sequence[Mapping[str, Any]], month: int
) -> float:
    due: dict[int, list[Mapping[str, Any]]] = {}
    ends = []
    for step in steps:
        age = max(0, int(step["after_months"]) + (12 - month if step.get("counted_from") == "year" else 0))
        due.setdefault(age, []).append(step)
        if step["step"] == "delete":
            ends.append(age)
    if not ends:
        raise ValueError("no step deletes")
    end = min(ends)
    tier, since, gone, gb, usd, now = tiers["hot"], 0, set(), 1.0, 0.0, 0
    for age in [*sorted(a for a in due if a < end), end]:
        usd += gb * ((age - now) * tier["usd_per_gb_month"] + _reads(table, now, age) * tier["retrieval_usd_per_gb"])
        now = age
        short = max(0.0, tier["minimum_stay_days"] / DAYS_A_MONTH - (age - since)) * tier["usd_per_gb_month"] * gb
        if age == end:
            return usd + short
        to = tier
        for step in due[age]:
            if step["step"] == "tier":
                to = tiers[step["tier"]]
        stripped = gone | {k for s in due[age] if s["step"] == "anonymise" for k in s["kinds"]}
        if to is not tier or stripped != gone:
            usd += short + gb * tier["retrieval_usd_per_gb"]
            tier, since, gone = to, age, stripped
            gb = left_share(table, len(gone))
            usd += gb * tier["write_usd_per_gb"]
    return usd


def _reads(table: Mapping[str, Any], begin: int, end: int) -> float:
    """What is read of a GB from one age to another, GB."""
    starts = [int(r["from_age_months"]) for r in table["reads"]]
    total = 0.0
    for r, start, stop in zip(table["reads"], starts, [*starts[1:], NEVER], strict=True):
        total += r["read_share"] * max(0, min(end, stop) - max(begin, start))
    return total


# -- sixty runs -------------------------------------------------------------------------------------------------------------


def replay(
    tables: Sequence[Mapping[str, Any]],
    tiers: Sequence[Mapping[str, Any]],
    policy: Sequence[Mapping[str, Any]],
    demands: Sequence[Mapping[str, Any]],
    partitions: Mapping[str, Sequence[float]],
    holds: Sequence[Mapping[str, Any]],
    first_run: int,
    runs: int = 60,
) -> dict[str, Any]:
    """Carry a policy out in monthly runs and return what it cost and what went wrong.

    demands: for each table, in their order: `minima` (months, counted from "event" or "year end", kinds), `maximum` (months or
    None), `classes` (those whose holds hold it). partitions: columns table (index), month, gb. holds: class, jurisdiction,
    from_month, to_month, placed_run, lifted_run (held while placed_run <= run < lifted_run).

    Partitions older than the first run lie where the policy would have brought them without a hold. A hold takes effect before
    the steps of a run.

    Returns `usd` by table and kind of cost; `monthly_usd` and `overdue_gb` (with personal data past its maximum) by run;
    `deleted_gb` by table; `waited` by table: destructive steps that waited for a hold; `faults`: one dict for each table and
    kind of fault, with how many partitions it concerns and its first case.
    """
    book = _Book(tables, tiers, policy, demands, partitions, holds, first_run, runs)
    for run in range(first_run, first_run + runs):
        book.run(run)
    return book.result()


class _Book:
    """Arrays over partitions (p), steps of their tables (s) and kinds of personal data of their tables (k)."""

    def __init__(
        self,
        tables: Sequence[Mapping[str, Any]],
        tiers: Sequence[Mapping[str, Any]],
        policy: Sequence[Mapping[str, Any]],
        demands: Sequence[Mapping[str, Any]],
        partitions: Mapping[str, Sequence[float]],
        holds: Sequence[Mapping[str, Any]],
        first_run: int,
        runs: int,
    ) -> None:
        self.tables, self.first_run, self.runs = tables, first_run, runs
        self.names = [t["tier"] for t in tiers]
        self.price, self.retrieval, self.write = (
            np.array([float(t[c]) for t in tiers])
            for c in ("usd_per_gb_month", "retrieval_usd_per_gb", "write_usd_per_gb")
        )
        self.stay = np.array([t["minimum_stay_days"] / DAYS_A_MONTH for t in tiers])
        self.drops = np.array([bool(t["drops_versions"]) for t in tiers])
        self.hot = self.names.index("hot")

        table = np.array(partitions["table"], dtype=int)
        month = np.array(partitions["month"], dtype=int)
        gb = np.array(partitions["gb"], dtype=float)
        due, kind, to, waits, strips = self._steps(policy)
        to_year_end = 11 - month % 12
        due_run = np.where(due[1][table], due[0][table] + to_year_end[:, None], due[0][table]) + month[:, None] + 1
        due_run = np.minimum(due_run, NEVER)
        # What the policy has deleted before the first run is not there any more.
        deletes = kind[table] == STEPS.index("delete")
        there = ~(deletes & (due_run < first_run)).any(axis=1)
        self.table, self.month, self.full_gb, self.due = table[there], month[there], gb[there], due_run[there]
        self.kind, self.to, self.waits, self.strips = (x[self.table] for x in (kind, to, waits, strips))
        n = len(self.table)

        self.kinds = [personal_kinds(t) for t in tables]
        width = max(1, *(len(k) for k in self.kinds))
        self.present = np.array([[i < len(k) for i in range(width)] for k in self.kinds])[self.table]
        self.personal = np.array([float(t["personal_pct"]) / 100 for t in tables])[self.table]
        self.has_kinds = np.array([len(k) > 0 for k in self.kinds], int)[self.table]
        self.kind_count = np.maximum(1, np.array([len(k) for k in self.kinds]))[self.table]
        self._limits(demands, width)
        self.held_runs = self._held(demands, holds)
        self.reads = np.zeros((len(tables), runs + 400))
        for i, t in enumerate(tables):
            for r in t["reads"]:
                self.reads[i, int(r["from_age_months"]) :] = float(r["read_share"])

        self.alive = np.ones(n, bool)
        self.usd = {c: np.zeros(n) for c in ("storage", "reads", "rewrites", "short stays")}
        self.monthly, self.overdue = [], []
        self.waited = np.zeros(len(tables), int)
        self.faults: dict[tuple[str, int], tuple[int, int, str]] = {}
        self.seen: dict[str, np.ndarray] = {}
        # Where the policy has brought them by now.
        before = self.due < first_run
        self.tier = self._tier_at(before, np.full(n, self.hot))
        stripping = before & (self.kind == STEPS.index("anonymise"))
        self.present &= ~(self.strips & stripping[:, :, None]).any(axis=1)
        rewriting = before & (self.kind != STEPS.index("delete"))
        self.since = np.where(rewriting, self.due, -1).max(axis=1, initial=-1)
        self.since = np.maximum(self.since, self.month + 1)
        self.counted_waits = np.zeros_like(self.due, bool)

    def _steps(self, policy: Sequence[Mapping[str, Any]]) -> tuple:
        place = {(t["table_name"], t["jurisdiction"]): i for i, t in enumerate(self.tables)}
        by_table: list[list[Mapping[str, Any]]] = [[] for _ in self.tables]
        for step in policy:
            by_table[place[step["table_name"], step["jurisdiction"]]].append(step)
        many = max(1, *(len(s) for s in by_table))
        all_kinds = [personal_kinds(t) for t in self.tables]
        width = max(1, *(len(k) for k in all_kinds))
        shape = (len(self.tables), many)
        after, yearly = np.full(shape, NEVER), np.zeros(shape, bool)
        kind, to, waits = np.full(shape, -1), np.zeros(shape, int), np.zeros(shape, bool)
        strips = np.zeros((*shape, width), bool)
        for i, steps in enumerate(by_table):
            for j, step in enumerate(steps):
                after[i, j] = step["after_months"]
                yearly[i, j] = step["counted_from"] == "year"
                kind[i, j] = STEPS.index(step["step"])
                waits[i, j] = step["waits_for_hold"]
                if step["step"] == "tier":
                    to[i, j] = self.names.index(step["tier"])
                if step["step"] == "anonymise":
                    strips[i, j, : len(all_kinds[i])] = [k in step["kinds"] for k in all_kinds[i]]
        return (after, yearly), kind, to, waits, strips

    def _limits(self, demands: Sequence[Mapping[str, Any]], width: int) -> None:
        """Runs from which a row may go, from which a kind may go, and at which a kind must be gone."""
        n = len(self.table)
        minimum, need = np.zeros(n, int), np.zeros(n, int)
        asked, wanted = np.zeros((n, width), int), np.zeros((n, width), int)
        gone_by = np.full((n, width), NEVER)
        to_year_end = 11 - self.month % 12
        for i, (table, demand) in enumerate(zip(self.tables, demands, strict=True)):
            mine = self.table == i
            born = self.month[mine] + 1
            need[mine] = born + int(table["needed_months"])
            at_most = None if demand["maximum"] is None else max(0, demand["maximum"] - int(table["span_months"]))
            for k, name in enumerate(self.kinds[i]):
                end = np.zeros(len(born), int)
                for months, counts_from, kinds in demand["minima"]:
                    if name in kinds:
                        end = np.maximum(end, born + months + (to_year_end[mine] if counts_from == "year end" else 0))
                asked[mine, k] = end
                limit = int(table["personal_needed_months"])
                wanted[mine, k] = born + (limit if at_most is None else min(limit, at_most))
                if at_most is not None:
                    gone_by[mine, k] = np.maximum(born + at_most, end)
            for months, counts_from, _ in demand["minima"]:
                end = born + months + (to_year_end[mine] if counts_from == "year end" else 0)
                minimum[mine] = np.maximum(minimum[mine], end)
        self.minimum, self.need, self.asked, self.wanted, self.gone_by = minimum, need, asked, wanted, gone_by

    def _held(self, demands: Sequence[Mapping[str, Any]], holds: Sequence[Mapping[str, Any]]) -> np.ndarray:
        held = np.zeros((self.runs, len(self.table)), bool)
        span = np.array([int(t["span_months"]) for t in self.tables])[self.table]
        for hold in holds:
            touched = np.array(
                [t["jurisdiction"] == hold["jurisdiction"] and hold["class"] in d["classes"]
                 for t, d in zip(self.tables, demands, strict=True)]
            )[self.table]  # fmt: skip
            touched &= (self.month >= hold["from_month"]) & (self.month - span + 1 <= hold["to_month"])
            begin, end = (
                max(0, hold["placed_run"] - self.first_run),
                min(self.runs, hold["lifted_run"] - self.first_run),
            )
            held[begin : max(begin, end), touched] = True
        return held

    def _tier_at(self, ready: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
        """The tier of the latest tier step that is ready."""
        moving = ready & (self.kind == STEPS.index("tier"))
        rank = np.where(moving, self.due, -1)
        best = rank.argmax(axis=1)
        rows = np.arange(len(best))
        return np.where(rank[rows, best] >= 0, self.to[rows, best], otherwise)

    def _fault(self, what: str, rows: np.ndarray, run: int, kind: int | None = None) -> None:
        """Notes each partition once for each kind of fault, and the first case of a table."""
        seen = self.seen.setdefault(what, np.zeros(len(rows), bool))
        new = rows & ~seen
        if not new.any():
            return
        seen |= new
        for p in np.flatnonzero(new).tolist():
            t = int(self.table[p])
            detail = self.kinds[t][kind] if kind is not None else ""
            self.faults.setdefault((what, t), (int(self.month[p]), run, detail))

    def run(self, run: int) -> None:
        """One monthly run, and the month that follows it."""
        there = self.alive & (self.month < run)
        held = self.held_runs[run - self.first_run]
        due = self.due <= run
        ready = due & ~(self.waits & held[:, None])
        delete, anonymise = (self.kind == STEPS.index(s) for s in ("delete", "anonymise"))
        # What waits for a hold, once for each step.
        lossy = (self.kind == STEPS.index("tier")) & self.drops[self.to]
        waiting = due & self.waits & (held & there)[:, None] & (delete | anonymise | lossy) & ~self.counted_waits
        waiting &= self.due > self.first_run - 1
        self.counted_waits |= waiting
        np.add.at(self.waited, self.table, waiting.sum(axis=1))

        goes = there & (ready & delete).any(axis=1)
        stays = there & ~goes
        stripped = (self.strips & (ready & anonymise)[:, :, None]).any(axis=1) & self.present & stays[:, None]
        tier = np.where(stays, self._tier_at(ready, self.tier), self.tier)
        moves = stays & (tier != self.tier)
        rewritten = moves | stripped.any(axis=1)

        self._fault("minimum", goes & (run < self.minimum), run)
        self._fault("need", goes & (run < self.need), run)
        self._fault("held, deleted", goes & held, run)
        self._fault("held, anonymised", stripped.any(axis=1) & held, run)
        self._fault("held, versions dropped", moves & held & self.drops[tier], run)
        for k in range(stripped.shape[1]):
            self._fault("asked for", stripped[:, k] & (run < self.asked[:, k]), run, k)
            self._fault("personal need", stripped[:, k] & (run < self.wanted[:, k]), run, k)

        gb = self._gb()
        short = np.maximum(0.0, self.stay[self.tier] - (run - self.since)) * self.price[self.tier] * gb
        self.usd["short stays"] += np.where(goes | rewritten, short, 0)
        self.present &= ~stripped
        after = self._gb()
        cost = self.retrieval[self.tier] * gb + self.write[tier] * after
        self.usd["rewrites"] += np.where(rewritten, cost, 0)
        self.tier = tier
        self.since = np.where(rewritten, run, self.since)
        self.alive &= ~goes
        lives = self.alive & (self.month < run)
        late = self.present & (self.gone_by <= run) & (lives & ~held)[:, None]
        for k in range(late.shape[1]):
            self._fault("maximum", late[:, k], run, k)
        self.overdue.append(float(after[late.any(axis=1)].sum()))
        age = run - self.month - 1
        read = self.reads[self.table, np.clip(age, 0, self.reads.shape[1] - 1)]
        self.usd["storage"] += np.where(lives, after * self.price[self.tier], 0)
        self.usd["reads"] += np.where(lives, after * read * self.retrieval[self.tier], 0)
        self.monthly.append(float(sum(v.sum() for v in self.usd.values())))

    def _gb(self) -> np.ndarray:
        gone = self.kind_count - np.maximum(self.present.sum(axis=1), 1 - self.has_kinds)
        return self.full_gb * (1 - self.personal * gone / self.kind_count)

    def result(self) -> dict[str, Any]:
        """What `replay` returns."""
        count = len(self.tables)
        usd = {c: np.bincount(self.table, v, count).tolist() for c, v in self.usd.items()}
        deleted = np.bincount(self.table, np.where(self.alive, 0, self.full_gb), count).tolist()
        faults = [
            {"what": what, "table": t, "month": month, "run": run, "detail": detail,
             "partitions": int((self.seen[what] & (self.table == t)).sum())}
            for (what, t), (month, run, detail) in sorted(self.faults.items())
        ]  # fmt: skip
        return {
            "usd": usd,
            "monthly_usd": np.diff([0.0, *self.monthly]).tolist(),
            "overdue_gb": self.overdue,
            "deleted_gb": deleted,
            "waited": self.waited.tolist(),
            "faults": faults,
        }


# -- tables that are kept row by row ---------------------------------------------------------------------------------------

RECORD_TABLES = {
    "customer_invoices": "invoice_id bigint, subject_id bigint, jurisdiction varchar, invoiced_on date, loaded_on date, "
    "customer_name varchar, postal_address varchar, email varchar, phone varchar, amount_usd decimal(12, 2)",
    "invoice_extract": "extract_id bigint, invoice_id bigint, extracted_on date, customer_name varchar, email varchar, "
    "amount_usd decimal(12, 2)",
    "support_cases": "case_id bigint, subject_id bigint, jurisdiction varchar, opened_on date, closed_on date, loaded_on date, "
    "customer_name varchar, email varchar, message varchar, topic varchar",
    "support_search": "entry_id bigint, case_id bigint, email varchar, message varchar, topic varchar",
    "web_visits": "visit_id bigint, subject_id bigint, jurisdiction varchar, visited_on date, loaded_on date, "
    "ip_address varchar, page varchar",
    "job_applications": "application_id bigint, subject_id bigint, jurisdiction varchar, received_on date, decided_on date, "
    "loaded_on date, applicant_name varchar, email varchar, letter varchar",
    "customer_months": "row_id bigint, subject_id bigint, jurisdiction varchar, month_end_on date, loaded_on date, "
    "order_count integer, spend_usd decimal(12, 2)",
    "retention_schedule": "rule_id varchar, table_name varchar, key_column varchar, data_class varchar, jurisdiction varchar, "
    "action varchar, date_column varchar, counts_from varchar, period_months integer, columns varchar[]",
    "table_copies": "table_name varchar, key_column varchar, source_table varchar, source_key_column varchar, columns varchar[]",
    "legal_holds": "hold_id varchar, subject_id bigint, data_class varchar, placed_on date, lifted_on date",
    "deletion_certificates": "rule_id varchar, table_name varchar, action varchar, as_of date, row_count bigint, digest varchar",
}
RECORD_SQL = {
    "legal_holds": "select hold_id, subject_id, data_class, placed_on, lifted_on from ops.legal_holds where subject_id "
    "is not null",
    **{name: f"from ops.{name}" for name in ("retention_schedule", "table_copies")},
    **{name: f"from mart.{name}" for name in ("invoice_extract", "support_search", "customer_months")},
    **{name: f"from core.{name}" for name in ("customer_invoices", "support_cases", "web_visits", "job_applications")},
}
RECORD_SETUP = tuple(f"create or replace table {name} ({columns})" for name, columns in RECORD_TABLES.items())


def copy_records(con: Any) -> None:
    """Makes the tables of RECORD_TABLES anew in the scratch database of `con`, filled from the world."""
    own = con.execute("select current_database()").fetchone()[0]
    for name, columns in RECORD_TABLES.items():
        con.execute(f'create or replace table "{own}".main.{name} ({columns})')
        if name in RECORD_SQL:
            con.execute(f'insert into "{own}".main.{name} {RECORD_SQL[name]}')
