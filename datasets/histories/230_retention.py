# subject: retention
# needs: customers
# makes: ops.retention_rules, ops.data_classes, ops.storage_tiers, ops.partition_reads, ops.partitions, ops.legal_holds
# makes: ops.retention_schedule, ops.table_copies
# makes: core.customer_invoices, core.support_cases, core.web_visits, core.job_applications
# makes: mart.invoice_extract, mart.support_search, mart.customer_months
"""What must be kept, what may be kept, what it costs: rules, classes of data, tiers, ten years of monthly partitions, holds,
and a few hundred rows of seven tables with the dates of each row.

Periods differ by world, so that none is remembered: which purpose asks for how long, from which day on, with which personal
data. All of them are invented; they have the shape of real ones.
"""

from dataclasses import dataclass
from datetime import date, timedelta

import duckdb
import numpy as np
import pandas as pd

from workshop.sim import streams
from workshop.world.seeds import derive_seed

TODAY = date(2026, 6, 30)
JURISDICTIONS = ("APAC", "EU", "US")
THIS_MONTH = 2026 * 12 + 5  # months are counted from the year 0: 12 * year + month - 1
FIRST_MONTH = 2016 * 12


@dataclass(frozen=True)
class Law:
    """What a class of data meets in a jurisdiction. ``maximum``: months to choose from (None: there is none). ``minima``:
    purpose, citation, months to choose from, days to count from, personal kinds that the purpose asks for."""

    maximum: tuple[int | None, ...]
    minima: tuple[tuple[str, str, tuple[int, ...], tuple[str, ...], tuple[str, ...]], ...] = ()


EITHER = ("event", "year end")
NAME_AND_ADDRESS = ("person_name", "postal_address")
# Minima of one class lie twelve months apart or more, so that which of them ends last does not hang on the day they count from.
LAWS = {
    ("order_record", "EU"): Law((24, 36, 48), (
        ("tax audit", "tax code", (96, 120), ("year end",), NAME_AND_ADDRESS),
        ("warranty claims", "commercial code", (12, 24), ("event",), ()),
    )),
    ("order_record", "US"): Law((None, 36, 48), (("tax audit", "tax code", (72, 84), EITHER, ("person_name",)),)),
    ("order_record", "APAC"): Law((30, 36), (("tax audit", "tax code", (84, 108), EITHER, NAME_AND_ADDRESS),)),
    ("payment_record", "EU"): Law((18, 24, 36), (
        ("money laundering checks", "banking law", (60, 66), ("event",), ("person_name", "bank_account")),
        ("annual accounts", "commercial code", (84, 96), ("year end",), ("person_name",)),
    )),
    ("payment_record", "US"): Law((24, 36), (("annual accounts", "commercial code", (60, 72), EITHER, ("person_name",)),)),
    ("payment_record", "APAC"): Law((24, 30), (("annual accounts", "commercial code", (72, 84), ("year end",), ()),)),
    ("support_case", "EU"): Law((18, 24, 30), (("consumer claims", "consumer law", (9, 12), ("event",), ("free_text",)),)),
    ("support_case", "US"): Law((None, 36), ()),
    ("support_case", "APAC"): Law((18, 24), (("consumer claims", "consumer law", (48, 54), EITHER, ("free_text",)),)),
    ("web_event", "EU"): Law((9, 12, 13), ()),
    ("web_event", "US"): Law((18, 25), ()),
    ("web_event", "APAC"): Law((13, 18), ()),
    ("application", "EU"): Law((6, 7), (("equal treatment claims", "labour law", (3,), ("event",), ("person_name",)),)),
    ("application", "US"): Law((12, 18), (("equal treatment claims", "labour law", (24,), EITHER, ("person_name",)),)),
    ("application", "APAC"): Law((6, 12), ()),
    ("shipment_record", "EU"): Law((12, 18), (("customs audit", "customs code", (36, 48), ("year end",), ()),)),
    ("shipment_record", "US"): Law((18, 24), (("customs audit", "customs code", (48, 60), EITHER, ()),)),
    ("shipment_record", "APAC"): Law((12, 18), ()),
}  # fmt: skip


@dataclass(frozen=True)
class Kept:
    """A table as it is kept, partitioned by the month of loading. ``personal``: the kinds of personal data in it. ``needed``,
    ``personal_needed``: months for which its owner needs the rows, and the personal columns. ``span``: how many months the
    events of a partition may be spread over. Each a range to draw from."""

    name: str
    gb: float
    personal: tuple[str, ...]
    needed: tuple[int, int]
    personal_needed: tuple[int, int]
    span: tuple[int, int]
    data_class: str | None = None
    sources: tuple[str, ...] = ()
    everywhere: bool = False  # where its sources are; others are missing in a jurisdiction in every second world


KEPT = (
    Kept("customer_invoices", 200, (*NAME_AND_ADDRESS, "email", "phone"), (18, 36), (9, 15), (1, 3), "order_record"),
    Kept("card_payments", 150, ("person_name", "bank_account", "ip_address"), (12, 24), (4, 9), (1, 2), "payment_record"),
    Kept("support_cases", 200, ("person_name", "email", "free_text"), (24, 36), (6, 10), (2, 4), "support_case"),
    Kept("web_visits", 600, ("ip_address", "customer_key"), (5, 30), (2, 5), (1, 2), "web_event"),
    Kept("job_applications", 40, ("person_name", "email", "phone", "free_text"), (10, 20), (2, 4), (1, 2), "application"),
    Kept("parcel_scans", 250, ("postal_address", "phone"), (9, 24), (2, 6), (1, 3), "shipment_record"),
    Kept("invoice_extract", 130, ("person_name", "email"), (12, 30), (6, 14), (2, 5), None, ("customer_invoices",)),
    Kept("support_search", 120, ("email", "free_text"), (9, 30), (5, 9), (2, 5), None, ("support_cases",)),
    Kept("customer_months", 90, ("customer_key",), (30, 60), (3, 9), (1, 3), None, ("customer_invoices", "web_visits"), True),
    Kept("churn_features", 200, ("customer_key",), (26, 36), (1, 6), (4, 7), None, ("customer_months",), True),
    Kept("session_samples", 250, ("ip_address",), (12, 30), (3, 8), (1, 3), None, ("web_visits",)),
    Kept("daily_sales", 60, (), (40, 84), (0, 0), (1, 3), None, ("customer_invoices",)),
    Kept("agent_workload", 30, (), (12, 36), (0, 0), (2, 4), None, ("support_cases",)),
)  # fmt: skip

# How the share of a partition's bytes that is read in a month goes down with its age, and where it does not: a model that is
# trained on everything, a comparison with the same season of last year.
READS = {
    "daily work": (1.5, 0.35, 0.05, 0.005),
    "last year's season": (1.2, 0.06, 0.7, 0.005),
    "training": (1.1, 1.0, 0.9, 0.02),
    "audits": (0.5, 0.04, 0.04, 0.04),
}
DECOY_TAGS = (
    "quality.tier:gold",
    "quality.tier:silver",
    "domain.team:finance",
    "domain.team:storefront",
    "cost.centre:4711",
)


# The people of the seven tables: some forty customers of each jurisdiction, fewer where a world has fewer.
PEOPLE = """
select c.customer_id, n.region, c.full_name, c.city, c.postcode, c.email, c.phone
from core.customers c
join core.countries n using (country_code)
where not c.is_test_account
qualify row_number() over (partition by n.region order by c.customer_id) <= 40
order by c.customer_id
"""


def build(con: duckdb.DuckDBPyConnection, seed: bytes, scale: float) -> None:
    """Writes the tables. Partitions stand for all of Kestrel; neither they nor the rows of the seven tables shrink with scale."""
    secret = derive_seed(seed, "world/retention")
    frames: dict[str, pd.DataFrame] = {}
    laws = _rules(streams(secret, "rules"), frames)
    _tiers(streams(secret, "tiers"), frames)
    _estate(streams(secret, "estate"), laws, frames)
    people = con.execute(PEOPLE).fetchall()
    _holds(streams(secret, "holds"), people, frames)
    _schedule(laws, frames)
    _records(streams(secret, "records"), people, frames)
    for name, frame in frames.items():
        con.register(f"frame_{name}", frame)
    con.execute(TABLES)
    for name in frames:
        con.unregister(f"frame_{name}")


@dataclass(frozen=True)
class Chosen:
    """The law of a class in a jurisdiction in this world; minima as (months, counts from, kinds)."""

    maximum: int | None
    minima: tuple[tuple[int, str, tuple[str, ...]], ...]

    @property
    def longest(self) -> tuple[int, str, tuple[str, ...]]:
        """The minimum that ends last; none: zero months."""
        return max(self.minima, default=(0, "event", ()), key=lambda m: m[0])


def _rules(rng: np.random.Generator, frames: dict[str, pd.DataFrame]) -> dict[tuple[str, str], Chosen]:
    laws: dict[tuple[str, str], Chosen] = {}
    rows: list[tuple] = []
    for (data_class, jurisdiction), law in LAWS.items():
        maximum = law.maximum[int(rng.integers(len(law.maximum)))]
        minima = []
        for purpose, citation, months, anchors, kinds in law.minima:
            found = (int(rng.choice(months)), str(rng.choice(anchors)), kinds)
            minima.append(found)
            rows.append((jurisdiction, data_class, purpose, found[0], None, found[1], list(kinds), citation))
        if maximum is not None:
            rows.append(
                (jurisdiction, data_class, "storage limitation", None, maximum, "event", [], "data protection law")
            )
        laws[data_class, jurisdiction] = Chosen(maximum, tuple(minima))
    order = rng.permutation(len(rows))
    frames["rules"] = pd.DataFrame(
        [(f"L{number:02d}", *rows[i]) for number, i in enumerate(order.tolist(), 1)],
        columns=["rule_id", "jurisdiction", "data_class", "purpose", "minimum_months", "maximum_months", "counts_from",
                 "asks_for", "citation"],
    )  # fmt: skip
    return laws


def _tiers(rng: np.random.Generator, frames: dict[str, pd.DataFrame]) -> None:
    # List prices of the large clouds in 2025 lie within these ranges; the fee for writing is theirs by request, made one by size.
    drops = ("cold", "archive")[int(rng.integers(2))]
    frames["tiers"] = pd.DataFrame(
        [
            ("hot", round(rng.uniform(0.021, 0.026), 4), 0, 0.0, 0.0, False),
            ("warm", round(rng.uniform(0.0105, 0.0135), 4), 30, round(rng.uniform(0.008, 0.012), 4),
             round(rng.uniform(0.006, 0.01), 4), False),
            ("cold", round(rng.uniform(0.0036, 0.005), 4), int(rng.choice([90, 120, 150])), round(rng.uniform(0.02, 0.03), 4),
             round(rng.uniform(0.015, 0.02), 4), drops == "cold"),
            ("archive", round(rng.uniform(0.0009, 0.0015), 4), int(rng.choice([270, 360])), round(rng.uniform(0.04, 0.06), 4),
             round(rng.uniform(0.05, 0.065), 4), drops == "archive"),
        ],
        columns=["tier", "usd_per_gb_month", "minimum_stay_days", "retrieval_usd_per_gb", "write_usd_per_gb", "drops_versions"],
    )  # fmt: skip


def _classes(kept: Kept) -> set[str]:
    """The classes of data in a table: its own, or those of all that it is made from."""
    if kept.data_class:
        return {kept.data_class}
    return set().union(*(_classes(k) for k in KEPT if k.name in kept.sources))


def _estate(rng: np.random.Generator, laws: dict[tuple[str, str], Chosen], frames: dict[str, pd.DataFrame]) -> None:
    classes: list[tuple] = []
    reads: list[tuple] = []
    partitions: list[tuple] = []
    there: set[tuple[str, str]] = set()
    for kept in KEPT:
        use = str(rng.choice(list(READS), p=[0.35, 0.2, 0.25, 0.2]))
        missing = str(rng.choice(JURISDICTIONS)) if rng.random() < 0.5 and not kept.everywhere else None
        for jurisdiction in JURISDICTIONS:
            if jurisdiction == missing or any((source, jurisdiction) not in there for source in kept.sources):
                continue
            there.add((kept.name, jurisdiction))
            span = int(rng.integers(kept.span[0], kept.span[1] + 1))
            gb = 4 * kept.gb * rng.lognormal(0, 0.35) * {"EU": 1.0, "US": 0.7, "APAC": 0.4}[jurisdiction]
            tags = [f"privacy.kind:{k}" for k in kept.personal]
            tags += [f"retention.class:{kept.data_class}"] if kept.data_class else []
            tags += [str(t) for t in rng.permutation(DECOY_TAGS)[: int(rng.integers(0, 3))]]
            needed, personal_needed = (int(rng.integers(a, b + 1)) for a, b in (kept.needed, kept.personal_needed))
            maxima = [laws[c, jurisdiction].maximum for c in _classes(kept)]
            limit = min((m - span for m in maxima if m is not None), default=None)
            if limit is not None:
                # Owners use personal columns for about as long as they may; some would like to for longer.
                spare = int(rng.integers(0, 4)) if rng.random() < 0.8 else -int(rng.integers(1, 7))
                personal_needed = max(1, limit - spare)
            classes.append(
                (kept.name, jurisdiction, [tags[i] for i in rng.permutation(len(tags)).tolist()], list(kept.sources),
                 needed, min(personal_needed, needed) if kept.personal else 0, span,
                 round(float(rng.uniform(8, 40)), 1) if kept.personal else 0.0)
            )  # fmt: skip
            starts = [0, int(rng.integers(1, 4)), int(rng.integers(4, 7)), int(rng.integers(13, 20))]
            if use == "last year's season":
                starts[2:] = int(rng.integers(10, 12)), int(rng.integers(13, 16))
            # Who needs rows for so long reads them for nearly as long: little is read in the last months before they go.
            ends = needed - int(rng.integers(1, 3))
            if ends > starts[1] + 1 and rng.random() < 0.85:
                starts = [*(s for s in starts[:3] if s < ends - 1), ends]
            shares = [*READS[use][: len(starts) - 1], READS[use][-1]]
            for start, share in zip(starts, shares, strict=True):
                reads.append((kept.name, jurisdiction, start, round(float(share * rng.lognormal(0, 0.15)), 4)))
            first = FIRST_MONTH + int(rng.integers(0, 60))
            months = np.arange(first, THIS_MONTH + 1)
            growth = 1.012 ** (months - THIS_MONTH)
            season = 1 + 0.25 * np.isin(months % 12, (10, 11))
            sizes = gb * growth * season * rng.lognormal(0, 0.12, len(months))
            oldest = rng.integers(0, span, len(months))
            oldest[rng.integers(0, len(months), 12)] = span - 1
            for month, size, back in zip(months.tolist(), sizes.tolist(), oldest.tolist(), strict=True):
                event_from = _first(month - back) + timedelta(days=int(rng.integers(0, 3)))
                event_to = _first(month + 1) - timedelta(days=1)
                partitions.append(
                    (kept.name, jurisdiction, _first(month), int(size * rng.uniform(2.0e6, 2.2e6)), round(size, 3), "hot",
                     event_from, event_to, event_to + timedelta(days=int(rng.integers(1, 4))))
                )  # fmt: skip
    frames["classes"] = pd.DataFrame(
        classes,
        columns=["table_name", "jurisdiction", "tags", "derived_from", "needed_months", "personal_needed_months",
                 "span_months", "personal_pct"],
    )  # fmt: skip
    frames["reads"] = pd.DataFrame(reads, columns=["table_name", "jurisdiction", "from_age_months", "read_share"])
    frames["partitions"] = pd.DataFrame(
        partitions,
        columns=[
            "table_name",
            "jurisdiction",
            "month_on",
            "row_count",
            "size_gb",
            "tier",
            "event_from",
            "event_to",
            "loaded_on",
        ],
    )


def _first(month: int) -> date:
    return date(month // 12, month % 12 + 1, 1)


MATTERS = ("tax audit", "product liability suit", "competition inquiry", "labour court", "chargeback dispute")


def _holds(rng: np.random.Generator, people: list[tuple], frames: dict[str, pd.DataFrame]) -> None:
    """Holds on a class of data and a range of events, and holds on single persons. Half of those placed are lifted by today."""
    rows: list[tuple] = []
    kinds = sorted({c for c, _ in LAWS})
    for _ in range(7):
        placed = TODAY - timedelta(days=int(rng.integers(20, 900)))
        since = placed - timedelta(days=int(rng.integers(200, 1500)))
        rows.append(
            (str(rng.choice(MATTERS)), str(rng.choice(kinds)), str(rng.choice(JURISDICTIONS)), None, since,
             since + timedelta(days=int(rng.integers(90, 500))), placed)
        )  # fmt: skip
    for i in rng.permutation(len(people))[:14].tolist():
        placed = TODAY - timedelta(days=int(rng.integers(20, 900)))
        data_class = str(rng.choice(kinds)) if rng.random() < 0.5 else None
        rows.append((str(rng.choice(MATTERS)), data_class, people[i][1], int(people[i][0]), None, None, placed))
    table = []
    for number, i in enumerate(rng.permutation(len(rows)).tolist(), 1):
        lifted = rows[i][-1] + timedelta(days=int(rng.integers(60, 900)))
        table.append((f"H{number:02d}", *rows[i], lifted if lifted <= TODAY else None))
    frames["holds"] = pd.DataFrame(
        table,
        columns=[
            "hold_id",
            "matter",
            "data_class",
            "jurisdiction",
            "subject_id",
            "event_from",
            "event_to",
            "placed_on",
            "lifted_on",
        ],
    )


# Personal columns of the tables that are kept row by row, and the kinds they hold.
ROW_TABLES = {
    "customer_invoices": ("order_record", "invoice_id", "invoiced_on",
                          {"customer_name": "person_name", "postal_address": "postal_address", "email": "email",
                           "phone": "phone"}),
    "support_cases": ("support_case", "case_id", "closed_on",
                      {"customer_name": "person_name", "email": "email", "message": "free_text"}),
    "web_visits": ("web_event", "visit_id", "visited_on", {"ip_address": "ip_address"}),
    "job_applications": ("application", "application_id", "decided_on",
                         {"applicant_name": "person_name", "email": "email", "letter": "free_text"}),
}  # fmt: skip
COPIES = (
    ("invoice_extract", "extract_id", "customer_invoices", "invoice_id", ("customer_name", "email")),
    ("support_search", "entry_id", "support_cases", "case_id", ("email", "message")),
)


def _schedule(laws: dict[tuple[str, str], Chosen], frames: dict[str, pd.DataFrame]) -> None:
    """What the rules come to for rows: the columns that no minimum asks for go at the maximum, the row when the last minimum
    ends; where no minimum outlasts the maximum, the row goes at the maximum."""
    rows: list[tuple] = []
    for name, (data_class, key, date_column, columns) in ROW_TABLES.items():
        for jurisdiction in JURISDICTIONS:
            law = laws[data_class, jurisdiction]
            months, counts_from, asks_for = law.longest
            if law.maximum is not None and months > law.maximum:
                gone = [c for c, kind in columns.items() if kind not in asks_for]
                rows.append((name, key, data_class, jurisdiction, "anonymise", date_column, "event", law.maximum, gone))
                rows.append((name, key, data_class, jurisdiction, "delete", date_column, counts_from, months, []))
            elif law.maximum is not None:
                rows.append((name, key, data_class, jurisdiction, "delete", date_column, "event", law.maximum, []))
            elif months:
                rows.append((name, key, data_class, jurisdiction, "delete", date_column, counts_from, months, []))
    for jurisdiction in JURISDICTIONS:
        maxima = [laws[c, jurisdiction].maximum for c in ("order_record", "web_event")]
        months = min(m for m in maxima if m is not None)
        rows.append(("customer_months", "row_id", "order_record", jurisdiction, "anonymise", "month_end_on", "event", months,
                     ["subject_id"]))  # fmt: skip
    frames["schedule"] = pd.DataFrame(
        [(f"R{number:02d}", *row) for number, row in enumerate(rows, 1)],
        columns=["rule_id", "table_name", "key_column", "data_class", "jurisdiction", "action", "date_column", "counts_from",
                 "period_months", "columns"],
    )  # fmt: skip
    frames["copies"] = pd.DataFrame(
        [(*c[:4], list(c[4])) for c in COPIES],
        columns=["table_name", "key_column", "source_table", "source_key_column", "columns"],
    )


TOPICS = ("delivery", "refund", "damaged", "account", "invoice")
PAGES = ("/", "/basket", "/offers", "/product", "/help")
SENTENCES = ("My parcel has not come.", "The jar was broken.", "Please send the invoice again.", "I want my money back.",
             "I cannot log in.")  # fmt: skip


def _records(rng: np.random.Generator, people: list[tuple], frames: dict[str, pd.DataFrame]) -> None:
    def day(years: float) -> date:
        if rng.random() < 0.06:
            return date(int(rng.choice([2016, 2020, 2024])), 2, 29)
        return TODAY - timedelta(days=int(365 * years * rng.random()))

    def loaded(event: date) -> date:
        # One row in four came late, with a correction or a merger: what matters is when it happened.
        late = int(rng.integers(60, 500)) if rng.random() < 0.25 else int(rng.integers(0, 3))
        return min(event + timedelta(days=late), TODAY)

    def somebody() -> tuple:
        return people[int(rng.integers(len(people)))]

    invoices, extracts, cases, entries, visits, applications, months = ([] for _ in range(7))
    for k in range(180):
        number, region, name, city, postcode, email, phone = somebody()
        event = day(11)
        invoice_id = 700_001 + k
        subject = None if rng.random() < 0.1 else int(number)
        invoices.append((invoice_id, subject, region, event, loaded(event), name, f"{postcode} {city}", email, phone,
                         round(float(rng.lognormal(3.5, 0.8)), 2)))  # fmt: skip
        for _ in range(int(rng.choice([0, 1, 2], p=[0.4, 0.45, 0.15]))):
            extracts.append((invoice_id, loaded(event), name, email, invoices[-1][-1]))
    for k in range(140):
        number, region, name, _, _, email, _ = somebody()
        opened = day(6)
        closed = opened + timedelta(days=int(rng.exponential(9)))
        closed_on = None if rng.random() < 0.08 or closed > TODAY else closed
        text = f"{rng.choice(SENTENCES)} {name}"
        cases.append(
            (
                40_001 + k,
                int(number),
                region,
                opened,
                closed_on,
                loaded(closed),
                name,
                email,
                text,
                str(rng.choice(TOPICS)),
            )
        )
        if rng.random() < 0.6:
            entries.append((40_001 + k, email, text, cases[-1][-1]))
    for k in range(260):
        number, region, *_ = somebody()
        event = day(3)
        subject = None if rng.random() < 0.35 else int(number)
        visits.append((9_000_001 + k, subject, region, event, loaded(event), f"203.0.113.{rng.integers(1, 255)}",
                       str(rng.choice(PAGES))))  # fmt: skip
    for k in range(80):
        number, region, name, _, _, email, _ = somebody()
        received = day(3)
        decided = received + timedelta(days=int(rng.integers(10, 90)))
        decided_on = None if decided > TODAY else decided
        applications.append((3_001 + k, int(number), region, received, decided_on, loaded(received), name, email,
                             f"I apply for the post. {name}"))  # fmt: skip
    for k in range(150):
        number, region, *_ = somebody()
        month = THIS_MONTH - 1 - int(rng.integers(0, 66))
        end = _first(month + 1) - timedelta(days=1)
        months.append((60_001 + k, int(number), region, end, end + timedelta(days=2), int(rng.integers(1, 9)),
                       round(float(rng.lognormal(4.2, 0.7)), 2)))  # fmt: skip
    extracts = [(80_001 + i, *extracts[j]) for i, j in enumerate(rng.permutation(len(extracts)).tolist())]
    entries = [(20_001 + i, *entries[j]) for i, j in enumerate(rng.permutation(len(entries)).tolist())]
    for name, rows, columns in (
        ("invoices", invoices, ["invoice_id", "subject_id", "jurisdiction", "invoiced_on", "loaded_on", "customer_name",
                                "postal_address", "email", "phone", "amount_usd"]),
        ("extract", extracts, ["extract_id", "invoice_id", "extracted_on", "customer_name", "email", "amount_usd"]),
        ("cases", cases, ["case_id", "subject_id", "jurisdiction", "opened_on", "closed_on", "loaded_on", "customer_name",
                          "email", "message", "topic"]),
        ("search", entries, ["entry_id", "case_id", "email", "message", "topic"]),
        ("visits", visits, ["visit_id", "subject_id", "jurisdiction", "visited_on", "loaded_on", "ip_address", "page"]),
        ("applications", applications, ["application_id", "subject_id", "jurisdiction", "received_on", "decided_on", "loaded_on",
                                        "applicant_name", "email", "letter"]),
        ("months", months, ["row_id", "subject_id", "jurisdiction", "month_end_on", "loaded_on", "order_count", "spend_usd"]),
    ):  # fmt: skip
        frame = pd.DataFrame(rows, columns=columns)
        if "subject_id" in frame:
            frame["subject_id"] = pd.array([r[columns.index("subject_id")] for r in rows], dtype="Int64")
        frames[name] = frame


TABLES = """
create table ops.retention_rules as
select rule_id, jurisdiction, data_class, purpose, minimum_months::integer as minimum_months,
  maximum_months::integer as maximum_months, counts_from, asks_for::varchar[] as asks_for, citation
from frame_rules
order by rule_id;

create table ops.data_classes as
select table_name, jurisdiction, tags::varchar[] as tags, derived_from::varchar[] as derived_from,
  needed_months::integer as needed_months, personal_needed_months::integer as personal_needed_months,
  span_months::integer as span_months, personal_pct::decimal(4, 1) as personal_pct
from frame_classes
order by table_name, jurisdiction;

create table ops.storage_tiers as
select tier, usd_per_gb_month::decimal(8, 4) as usd_per_gb_month, minimum_stay_days::integer as minimum_stay_days,
  retrieval_usd_per_gb::decimal(8, 4) as retrieval_usd_per_gb, write_usd_per_gb::decimal(8, 4) as write_usd_per_gb,
  drops_versions
from frame_tiers
order by usd_per_gb_month desc;

create table ops.partition_reads as
select table_name, jurisdiction, from_age_months::integer as from_age_months, read_share::decimal(8, 4) as read_share
from frame_reads
order by table_name, jurisdiction, from_age_months;

create table ops.partitions as
select table_name, jurisdiction, month_on::date as month_on, row_count::bigint as row_count,
  size_gb::decimal(12, 3) as size_gb, tier, event_from::date as event_from, event_to::date as event_to,
  loaded_on::date as loaded_on
from frame_partitions
order by table_name, jurisdiction, month_on;

create table ops.legal_holds as
select hold_id, matter, data_class, jurisdiction, subject_id::bigint as subject_id, event_from::date as event_from,
  event_to::date as event_to, placed_on::date as placed_on, lifted_on::date as lifted_on
from frame_holds
order by hold_id;

create table ops.retention_schedule as
select rule_id, table_name, key_column, data_class, jurisdiction, action, date_column, counts_from,
  period_months::integer as period_months, columns::varchar[] as columns
from frame_schedule
order by rule_id;

create table ops.table_copies as
select table_name, key_column, source_table, source_key_column, columns::varchar[] as columns
from frame_copies
order by table_name;

create table core.customer_invoices as
select invoice_id, subject_id::bigint as subject_id, jurisdiction, invoiced_on::date as invoiced_on,
  loaded_on::date as loaded_on, customer_name, postal_address, email, phone, amount_usd::decimal(12, 2) as amount_usd
from frame_invoices
order by invoice_id;

create table core.support_cases as
select case_id, subject_id::bigint as subject_id, jurisdiction, opened_on::date as opened_on, closed_on::date as closed_on,
  loaded_on::date as loaded_on, customer_name, email, message, topic
from frame_cases
order by case_id;

create table core.web_visits as
select visit_id, subject_id::bigint as subject_id, jurisdiction, visited_on::date as visited_on, loaded_on::date as loaded_on,
  ip_address, page
from frame_visits
order by visit_id;

create table core.job_applications as
select application_id, subject_id::bigint as subject_id, jurisdiction, received_on::date as received_on,
  decided_on::date as decided_on, loaded_on::date as loaded_on, applicant_name, email, letter
from frame_applications
order by application_id;

create table mart.invoice_extract as
select extract_id, invoice_id, extracted_on::date as extracted_on, customer_name, email,
  amount_usd::decimal(12, 2) as amount_usd
from frame_extract
order by extract_id;

create table mart.support_search as
select entry_id, case_id, email, message, topic
from frame_search
order by entry_id;

create table mart.customer_months as
select row_id, subject_id::bigint as subject_id, jurisdiction, month_end_on::date as month_end_on, loaded_on::date as loaded_on,
  order_count::integer as order_count, spend_usd::decimal(12, 2) as spend_usd
from frame_months
order by row_id;

comment on table ops.retention_rules is 'For how long a class of data must and may be kept. Periods are invented.';
comment on column ops.retention_rules.rule_id is 'Key.';
comment on column ops.retention_rules.jurisdiction is 'APAC, EU or US.';
comment on column ops.retention_rules.data_class is 'Class of data; tables are tagged retention.class:<class>.';
comment on column ops.retention_rules.purpose is 'What the period is for.';
comment on column ops.retention_rules.minimum_months is
  'Records are kept at least so long, months; null: this rule is no minimum.';
comment on column ops.retention_rules.maximum_months is
  'Personal data is kept at most so long, months; null: this rule is no maximum.';
comment on column ops.retention_rules.counts_from is
  'event: from the day of the event; year end: from 31 December of its year.';
comment on column ops.retention_rules.asks_for is 'Kinds of personal data that belong to the record for this purpose.';
comment on column ops.retention_rules.citation is 'Where it stands.';

comment on table ops.data_classes is
  'Tables that are kept in monthly partitions, by jurisdiction: what is in them and who needs it.';
comment on column ops.data_classes.table_name is 'Table; key with jurisdiction.';
comment on column ops.data_classes.jurisdiction is 'Where the data lies: APAC, EU or US.';
comment on column ops.data_classes.tags is
  'Tags, namespace.key:value: retention.class of tables of record, privacy.kind for each kind of personal data.';
comment on column ops.data_classes.derived_from is 'Tables that it is made from; empty: a table of record.';
comment on column ops.data_classes.needed_months is 'Age up to which its owner needs the rows, months.';
comment on column ops.data_classes.personal_needed_months is 'Age up to which its owner needs the personal columns, months.';
comment on column ops.data_classes.span_months is
  'A partition holds events of so many months, up to the end of its own month: rows that come late lie in the month of loading.';
comment on column ops.data_classes.personal_pct is 'Share of the bytes that the personal columns take, percent.';

comment on table ops.storage_tiers is 'Tiers of object storage and their prices.';
comment on column ops.storage_tiers.tier is 'Key; everything is loaded into hot.';
comment on column ops.storage_tiers.usd_per_gb_month is 'Price of a GB for a month, US dollars.';
comment on column ops.storage_tiers.minimum_stay_days is
  'What leaves earlier is charged for the days that are missing; a month has 30 days.';
comment on column ops.storage_tiers.retrieval_usd_per_gb is 'Price of reading a GB, US dollars.';
comment on column ops.storage_tiers.write_usd_per_gb is 'Price of writing a GB into the tier, US dollars.';
comment on column ops.storage_tiers.drops_versions is 'Whether a move into the tier destroys older versions of rows.';

comment on table ops.partition_reads is 'How much of a partition is read in a month, by its age.';
comment on column ops.partition_reads.table_name is 'References ops.data_classes, with jurisdiction.';
comment on column ops.partition_reads.jurisdiction is 'APAC, EU or US.';
comment on column ops.partition_reads.from_age_months is 'From this age on, months after the end of the partition''s month.';
comment on column ops.partition_reads.read_share is
  'Bytes read in a month, as a share of the partition''s bytes; may be above 1.';

comment on table ops.partitions is 'Monthly partitions as they lie today.';
comment on column ops.partitions.table_name is 'References ops.data_classes, with jurisdiction.';
comment on column ops.partitions.jurisdiction is 'APAC, EU or US.';
comment on column ops.partitions.month_on is
  'First day of the month in which its rows were loaded; key with table_name and jurisdiction.';
comment on column ops.partitions.row_count is 'Rows.';
comment on column ops.partitions.size_gb is 'Size, GB.';
comment on column ops.partitions.tier is 'References ops.storage_tiers.';
comment on column ops.partitions.event_from is 'Day of its earliest event.';
comment on column ops.partitions.event_to is 'Day of its latest event.';
comment on column ops.partitions.loaded_on is 'Day on which the partition was closed.';

comment on table ops.legal_holds is 'What may not be destroyed while a matter is open.';
comment on column ops.legal_holds.hold_id is 'Key.';
comment on column ops.legal_holds.matter is 'What it is about.';
comment on column ops.legal_holds.data_class is 'Class that is held, with all that is derived from it; null: every class.';
comment on column ops.legal_holds.jurisdiction is 'APAC, EU or US.';
comment on column ops.legal_holds.subject_id is 'Person whose data is held; null: everybody.';
comment on column ops.legal_holds.event_from is 'Events from this day on; null: all.';
comment on column ops.legal_holds.event_to is 'Events up to this day; null: all.';
comment on column ops.legal_holds.placed_on is 'Held from this day on.';
comment on column ops.legal_holds.lifted_on is 'Not held from this day on; null: not lifted.';

comment on table ops.retention_schedule is 'What the rules come to for tables that are kept row by row.';
comment on column ops.retention_schedule.rule_id is 'Key.';
comment on column ops.retention_schedule.table_name is 'Table whose rows it is about.';
comment on column ops.retention_schedule.key_column is 'Key of that table.';
comment on column ops.retention_schedule.data_class is 'Class of its rows, for holds.';
comment on column ops.retention_schedule.jurisdiction is 'Rows of this jurisdiction.';
comment on column ops.retention_schedule.action is 'delete: the row goes; anonymise: the columns named become null.';
comment on column ops.retention_schedule.date_column is 'Column with the day that counts; null there: nothing is due yet.';
comment on column ops.retention_schedule.counts_from is 'event: from that day; year end: from 31 December of its year.';
comment on column ops.retention_schedule.period_months is 'Period, months.';
comment on column ops.retention_schedule.columns is 'Columns to be anonymised; empty for delete.';

comment on table ops.table_copies is 'Tables that repeat rows of another one.';
comment on column ops.table_copies.table_name is 'The copy.';
comment on column ops.table_copies.key_column is 'Its own key.';
comment on column ops.table_copies.source_table is 'Table that it repeats.';
comment on column ops.table_copies.source_key_column is 'Key of the source row; of the same name in both.';
comment on column ops.table_copies.columns is 'Its personal columns; named as in the source.';

comment on table core.customer_invoices is 'Invoices.';
comment on column core.customer_invoices.invoice_id is 'Key.';
comment on column core.customer_invoices.subject_id is 'Person it is about; null: a guest.';
comment on column core.customer_invoices.jurisdiction is 'APAC, EU or US.';
comment on column core.customer_invoices.invoiced_on is 'Day of the invoice.';
comment on column core.customer_invoices.loaded_on is 'Day on which the row came into the warehouse.';
comment on column core.customer_invoices.customer_name is 'Name on the invoice.';
comment on column core.customer_invoices.postal_address is 'Address on the invoice.';
comment on column core.customer_invoices.email is 'E-mail address.';
comment on column core.customer_invoices.phone is 'Phone number.';
comment on column core.customer_invoices.amount_usd is 'Amount, US dollars.';

comment on table core.support_cases is 'Cases of the support desk.';
comment on column core.support_cases.case_id is 'Key.';
comment on column core.support_cases.subject_id is 'Person it is about.';
comment on column core.support_cases.jurisdiction is 'APAC, EU or US.';
comment on column core.support_cases.opened_on is 'Day on which it was opened.';
comment on column core.support_cases.closed_on is 'Day on which it was closed; null: still open.';
comment on column core.support_cases.loaded_on is 'Day on which the row came into the warehouse.';
comment on column core.support_cases.customer_name is 'Name of the person.';
comment on column core.support_cases.email is 'E-mail address.';
comment on column core.support_cases.message is 'What the person wrote.';
comment on column core.support_cases.topic is 'What it is about.';

comment on table core.web_visits is 'Visits of the web shop.';
comment on column core.web_visits.visit_id is 'Key.';
comment on column core.web_visits.subject_id is 'Person who was logged in; null: nobody.';
comment on column core.web_visits.jurisdiction is 'APAC, EU or US.';
comment on column core.web_visits.visited_on is 'Day of the visit.';
comment on column core.web_visits.loaded_on is 'Day on which the row came into the warehouse.';
comment on column core.web_visits.ip_address is 'Address of the visitor''s machine.';
comment on column core.web_visits.page is 'First page.';

comment on table core.job_applications is 'Applications of candidates.';
comment on column core.job_applications.application_id is 'Key.';
comment on column core.job_applications.subject_id is 'The candidate.';
comment on column core.job_applications.jurisdiction is 'APAC, EU or US.';
comment on column core.job_applications.received_on is 'Day on which it came.';
comment on column core.job_applications.decided_on is 'Day of the decision; null: not decided.';
comment on column core.job_applications.loaded_on is 'Day on which the row came into the warehouse.';
comment on column core.job_applications.applicant_name is 'Name of the candidate.';
comment on column core.job_applications.email is 'E-mail address.';
comment on column core.job_applications.letter is 'Letter of the candidate.';

comment on table mart.invoice_extract is 'Copy of invoices for the controllers, one row for each month-end run that had it.';
comment on column mart.invoice_extract.extract_id is 'Key.';
comment on column mart.invoice_extract.invoice_id is 'References core.customer_invoices.';
comment on column mart.invoice_extract.extracted_on is 'Day of the copy.';
comment on column mart.invoice_extract.customer_name is 'Name on the invoice.';
comment on column mart.invoice_extract.email is 'E-mail address.';
comment on column mart.invoice_extract.amount_usd is 'Amount, US dollars.';

comment on table mart.support_search is 'Copy of cases for full-text search.';
comment on column mart.support_search.entry_id is 'Key.';
comment on column mart.support_search.case_id is 'References core.support_cases.';
comment on column mart.support_search.email is 'E-mail address.';
comment on column mart.support_search.message is 'What the person wrote.';
comment on column mart.support_search.topic is 'What it is about.';

comment on table mart.customer_months is 'Orders and spend by customer and month: an aggregate that knows whom it is about.';
comment on column mart.customer_months.row_id is 'Key.';
comment on column mart.customer_months.subject_id is 'The customer; null: anonymised.';
comment on column mart.customer_months.jurisdiction is 'APAC, EU or US.';
comment on column mart.customer_months.month_end_on is 'Last day of the month.';
comment on column mart.customer_months.loaded_on is 'Day on which the row came into the warehouse.';
comment on column mart.customer_months.order_count is 'Orders.';
comment on column mart.customer_months.spend_usd is 'Spend, US dollars.';
"""
