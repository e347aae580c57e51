# subject: schemas
# needs: organisation, orders
# makes: ops.schema_versions, ops.contract_terms, raw.order_messages
# truth: schema_breaks, message_plants
"""The schema registry of three years, what was agreed on two interfaces, and three weeks of messages of one of them.

Versions keep to the mode of their subject, but for releases for which somebody switched the check off.
"""

import copy
import json
from datetime import datetime, timedelta

import duckdb
import numpy as np
import pandas as pd

from workshop.sim import streams
from workshop.world.seeds import derive_seed

TODAY = datetime(2026, 6, 30)
MODES = ("BACKWARD", "BACKWARD_TRANSITIVE", "FORWARD", "FORWARD_TRANSITIVE", "FULL", "FULL_TRANSITIVE")
# As in most registries, the default of the product is what most subjects have.
MODE_SHARES = (0.52, 0.14, 0.08, 0.06, 0.10, 0.10)
# team_id, subject, fields. A field is name:type; "?" nullable with default null, "!" without default in a list of records.
SUBJECTS = (
    (1, "storefront.page_viewed",
     "view_id:string session_id:string customer_id:long? url:string viewed_at:ts "
     "device:enum(phone,tablet,desktop)"),
    (1, "storefront.cart_changed", "cart_id:string session_id:string changed_at:ts lines:[sku:string quantity:int]"),
    (1, "storefront.review_written",
     "review_id:long product_id:long customer_id:long stars:int text:string? written_at:ts"),
    (2, "app.session_started",
     "session_id:string device_id:string os:enum(ios,android) app_version:string started_at:ts"),
    (2, "app.push_opened", "push_id:string customer_id:long opened_at:ts campaign:string?"),
    (3, "search.query_made",
     "query_id:string session_id:string text:string result_count:int latency_ms:int made_at:ts"),
    (3, "search.index_built", "index_name:string document_count:int built_at:ts duration_ms:int"),
    (4, "orders.cancelled", "order_id:long reason:enum(customer,payment,stock) cancelled_at:ts"),
    (4, "orders.completed", "order_id:long completed_at:ts total_minor:long currency:string"),
    (4, "orders.substituted", "order_id:long old_sku:string new_sku:string price_change_minor:int substituted_at:ts"),
    (5, "orders.daily_summary", "day:date order_count:int total_usd:double country_code:string"),
    (6, "orders.apac_slot_booked", "order_id:long slot_id:string depot_id:int booked_at:ts"),
    (7, "payments.captured",
     "payment_id:string order_id:long amount_minor:long currency:string "
     "method:enum(card,wallet,invoice) captured_at:ts"),
    (7, "payments.authorised",
     "payment_id:string order_id:long amount_minor:long currency:string authorised_at:ts "
     "expires_at:ts?"),
    (7, "payments.failed", "payment_id:string order_id:long error_code:string failed_at:ts"),
    (8, "payments.risk_scored", "payment_id:string score:float model:string features:map(float) scored_at:ts"),
    (8, "payments.chargeback_opened",
     "chargeback_id:string payment_id:string amount_minor:long opened_at:ts "
     "stage:enum(inquiry,dispute)"),
    (9, "settlement.payout_made", "payout_id:string seller_id:int amount_minor:long currency:string made_at:ts"),
    (9, "settlement.fee_charged", "fee_id:string psp:string amount_minor:int charged_at:ts"),
    (10, "logistics.parcel_scanned",
     "parcel_id:string carrier:string scanned_at:ts place:{country_code:string postcode:string}"),
    (10, "logistics.shipment_created",
     "shipment_id:string order_id:long carrier:string weight_g:int created_at:ts "
     "parcels:[parcel_id:string weight_g:int]"),
    (11, "warehouse.stock_changed", "sku:string depot_id:int change:int reason:enum(sale,return,count) changed_at:ts"),
    (11, "warehouse.pick_finished", "pick_id:string order_id:long picker_id:int started_at:ts finished_at:ts"),
    (12, "logistics.route_planned",
     "route_id:string depot_id:int stops:[order_id:long sequence:int] planned_at:ts distance_m:int"),
    (13, "returns.received",
     "return_id:string order_id:long condition:enum(new,opened,damaged) received_at:ts note:string?"),
    (13, "returns.refunded", "return_id:string amount_minor:int currency:string refunded_at:ts"),
    (14, "customers.registered",
     "customer_id:long country_code:string language:string registered_at:ts referrer:string?"),
    (14, "customers.address_changed",
     "customer_id:long address:{street:string city:string postcode:string country_code:string} "
     "changed_at:ts"),
    (14, "customers.consent_given", "customer_id:long purpose:enum(email,profiling) given_at:ts source:string"),
    (15, "loyalty.points_earned", "customer_id:long points:int order_id:long? earned_at:ts"),
    (15, "loyalty.tier_changed", "customer_id:long tier:enum(bronze,silver,gold) changed_at:ts"),
    (16, "care.ticket_closed",
     "ticket_id:long customer_id:long channel:enum(mail,phone,chat) closed_at:ts handling_s:int"),
    (17, "marketing.mail_sent", "mail_id:string customer_id:long campaign_id:int sent_at:ts"),
    (18, "marketing.coupon_issued", "coupon_code:string campaign_id:int percent:int valid_until:ts"),
    (19, "marketing.touch_attributed", "order_id:long campaign_id:int weight:float attributed_at:ts"),
    (20, "finance.invoice_posted",
     "invoice_id:string amount_minor:long currency:string posted_on:date cost_center:string?"),
    (21, "finance.revenue_corrected", "order_id:long old_minor:long new_minor:long corrected_at:ts"),
    (23, "platform.file_landed", "file_name:string source:string size_bytes:int landed_at:ts checksum:bytes"),
    (25, "platform.run_finished", "run_id:string dag_id:string outcome:enum(success,failed) started_at:ts ended_at:ts"),
    (27, "ml.features_written", "entity_id:long feature_set:string values:map(double) written_at:ts"),
    (28, "ml.demand_forecast", "sku:string depot_id:int day:date quantity:float model:string"),
    (29, "ml.recommendation_shown", "customer_id:long product_ids:list(long) shown_at:ts slot:string"),
)  # fmt: skip
TYPES = {
    "ts": {"type": "long", "logicalType": "timestamp-millis"},
    "date": {"type": "int", "logicalType": "date"},
}
# What a version may bring: name, type, default.
EXTRAS = (
    ("source_system", "string", "unknown"), ("trace_id", "string", ""), ("region", "string", "EU"), ("is_test", "boolean", False),
    ("attempt", "int", 1), ("tenant", "string", "kestrel"), ("channel_detail", "string", ""), ("priority", "int", 0),
    ("experiment_id", "string", ""), ("partner_id", "int", 0), ("schema_hint", "string", ""), ("tax_minor", "long", 0),
    ("discount_minor", "long", 0), ("store_id", "int", 0), ("locale", "string", "en"), ("batch_no", "int", 0),
)  # fmt: skip
SYMBOLS = ("partner", "other", "unknown", "manual", "system")
# The changes that each mode lets through; the planted ones go through none but NONE.
ALLOWED = {
    "BACKWARD": (
        "add_optional", "add_optional", "add_nullable", "drop", "widen", "more_symbols", "to_nullable", "rename_alias", "doc",
    ),
    "FORWARD": ("add_optional", "add_optional", "add_required", "drop_optional", "doc"),
    "FULL": ("add_optional", "add_nullable", "drop_optional", "doc"),
}  # fmt: skip
BREAKS = {
    "add_required": "BACKWARD", "rename": "BOTH", "retype": "BOTH", "fewer_symbols": "BACKWARD", "to_required": "BACKWARD",
}  # fmt: skip
NOTES = {
    "first": "first version", "add_optional": "{field} added, with a default", "add_nullable": "{field} added, may be null",
    "add_required": "{field} added", "drop": "{field} removed: nobody reads it", "drop_optional": "{field} removed",
    "widen": "{field} was too small", "more_symbols": "new value of {field}", "to_nullable": "{field} may be null now",
    "rename_alias": "{field}: the old name stays as an alias", "doc": "description only", "rename": "{field}: naming convention",
    "retype": "{field}: type corrected", "fewer_symbols": "{field}: unused value removed", "to_required": "{field} is always set",
}  # fmt: skip


def build(con: duckdb.DuckDBPyConnection, seed: bytes, scale: float) -> None:
    """Writes the tables; only the messages grow with scale."""
    visible, hidden = derive_seed(seed, "world/schemas"), derive_seed(seed, "truth/schemas")
    _write_versions(con, visible, hidden)
    terms = _Terms(streams(hidden, "terms"))
    _write_terms(con, terms)
    _write_messages(con, terms, visible, hidden)
    con.execute(COMMENTS)


# -- schemas -------------------------------------------------------------------------------------------------------------


def _type(text: str, name: str) -> object:
    head, _, inner = text.partition("(")
    inner = inner.rstrip(")")
    if head == "enum":
        return {"type": "enum", "name": _camel(name), "symbols": inner.split(",")}
    if head == "map":
        return {"type": "map", "values": inner}
    if head == "list":
        return {"type": "array", "items": inner}
    return copy.deepcopy(TYPES.get(head, head))


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.replace(".", "_").split("_"))


def _fields(text: str) -> list[dict]:
    """Fields of "name:type name:type? name:[fields] name:{fields}"."""
    found, rest = [], text
    while rest:
        name, _, rest = rest.partition(":")
        if rest[0] in "[{":
            end = rest.index("]" if rest[0] == "[" else "}")
            record = {"type": "record", "name": _camel(name), "fields": _fields(rest[1:end])}
            kind: object = {"type": "array", "items": record} if rest[0] == "[" else record
            rest = rest[end + 1 :].lstrip()
        else:
            word, _, rest = rest.partition(" ")
            kind = _type(word.rstrip("?"), name)
            if word.endswith("?"):
                found.append({"name": name, "type": ["null", kind], "default": None})
                continue
        found.append({"name": name, "type": kind})
    return found


def _is_enum(field: dict) -> bool:
    return isinstance(field["type"], dict) and field["type"].get("type") == "enum"


class _Subject:
    """A subject in the making: its present fields, and what it has brought so far."""

    def __init__(self, subject: str, fields: list[dict], rng: np.random.Generator) -> None:
        self.subject, self.fields, self.rng = subject, fields, rng
        self.extras = [EXTRAS[i] for i in rng.permutation(len(EXTRAS))]
        self.docs = 0

    def text(self) -> str:
        schema = {"type": "record", "name": _camel(self.subject), "namespace": "kestrel", "fields": self.fields}
        if self.docs:
            schema["doc"] = f"See the data dictionary, page {self.docs}."
        return json.dumps(schema)

    def change(self, kind: str) -> str | None:
        """Makes a change; returns the name of the field, or None where nothing can be changed in this way."""
        self.fields = copy.deepcopy(self.fields)
        if kind == "doc":
            self.docs += 1
            return ""
        if kind.startswith("add_"):
            name, avro_type, default = self.extras.pop()
            field = {"name": name, "type": avro_type}
            if kind == "add_nullable":
                field = {"name": name, "type": ["null", avro_type], "default": None}
            elif kind == "add_optional":
                field["default"] = default
            self.fields.append(field)
            return name
        tests = {
            "drop": lambda f: True,
            "drop_optional": lambda f: "default" in f,
            "widen": lambda f: f["type"] in ("int", "float"),
            "more_symbols": _is_enum,
            "fewer_symbols": lambda f: _is_enum(f) and len(f["type"]["symbols"]) > 2,
            "to_nullable": lambda f: isinstance(f["type"], str) and "default" not in f,
            "to_required": lambda f: isinstance(f["type"], list),
            "rename": lambda f: isinstance(f["type"], str) and "default" not in f,
            "rename_alias": lambda f: isinstance(f["type"], str) and "default" not in f,
            "retype": lambda f: f["type"] in ("int", "long"),
        }
        # The first field is the key: nobody touches it.
        able = [f for f in self.fields[1:] if tests[kind](f)]
        if not able or (kind.startswith("drop") and len(self.fields) < 5):
            return None
        field = able[int(self.rng.integers(len(able)))]
        old = field["name"]
        if kind.startswith("drop"):
            self.fields.remove(field)
        elif kind == "widen":
            field["type"] = {"int": "long", "float": "double"}[field["type"]]
        elif kind == "more_symbols":
            new = [s for s in SYMBOLS if s not in field["type"]["symbols"]]
            field["type"]["symbols"].append(new[0])
        elif kind == "fewer_symbols":
            field["type"]["symbols"].pop()
        elif kind == "to_nullable":
            field["type"] = ["null", field["type"]]
            field["default"] = None
        elif kind == "to_required":
            field["type"] = field["type"][1]
            field.pop("default", None)
        elif kind == "retype":
            field["type"] = "string"
            field.pop("default", None)
        else:
            field["name"] = {True: f"{old}_value", False: f"{old[:-3]}_key"}[not old.endswith("_id")]
            if kind == "rename_alias":
                field["aliases"] = [*field.get("aliases", []), old]
            else:
                field.pop("aliases", None)
        return field["name"]


# orders.placed is written by hand: the contract of 3.2 is about it.
FIRST = (
    "order_id:long order_ref:string customer_id:long placed_at:ts channel:enum({}) country_code:string currency:string"
)
ORDERS_PLACED = (
    ("first version", FIRST.format("app,web") + " total_minor:long"),
    ("coupon_code added, may be null", FIRST.format("app,web") + " total_minor:long coupon_code:string?"),
    ("the tills send too", FIRST.format("app,web,store") + " total_minor:long coupon_code:string?"),
    ("item_count added, with a default", FIRST.format("app,web,store") + " total_minor:long coupon_code:string? item_count:int"),
)  # fmt: skip


def _write_versions(con: duckdb.DuckDBPyConnection, visible: bytes, hidden: bytes) -> None:
    rows, breaks = [], []
    plan = streams(hidden, "breaks")
    broken = {int(i) for i in plan.choice(len(SUBJECTS), size=int(plan.integers(6, 10)), replace=False)}
    for number, (team_id, subject, text) in enumerate(SUBJECTS):
        rng = streams(visible, f"versions/{subject}")
        mode = str(rng.choice(MODES, p=MODE_SHARES))
        count = 1 + int(min(6, rng.geometric(0.33)))
        days = np.sort(rng.choice(np.arange(2, 1095), size=count, replace=False))[::-1]
        made = _Subject(subject, _fields(text), rng)
        at_break = int(plan.integers(2, count + 1)) if number in broken and count > 1 else 0
        idle_off = rng.random() < 0.06  # switched off for no reason: a change that would have passed
        for version in range(1, count + 1):
            kind, field, now = "first", "", mode
            if version > 1:
                if version == at_break:
                    kinds = [k for k in BREAKS if not (k == "add_required" and mode.startswith("FORWARD"))]
                    order = [kinds[i] for i in plan.permutation(len(kinds))]
                else:
                    allowed = ALLOWED[mode.removesuffix("_TRANSITIVE")]
                    order = [allowed[i] for i in rng.permutation(len(allowed))]
                for kind in order:
                    field = made.change(kind)
                    if field is not None:
                        break
                if version == at_break:
                    now = "NONE"
                    breaks.append((subject, version, field, kind, BREAKS[kind]))
                    # With all versions compared, nothing would pass any more: only the latest one is from here on.
                    mode = mode.removesuffix("_TRANSITIVE")
                elif idle_off and version == count:
                    now = "NONE"
            at = TODAY - timedelta(days=int(days[version - 1]), seconds=int(rng.integers(3 * 3600, 16 * 3600)))
            rows.append(
                (subject, version, made.text(), now, team_id, at, NOTES[kind].format(field=field), rng.random(2))
            )
    rng = streams(visible, "versions/orders.placed")
    days = (1060, 700 + int(rng.integers(60)), 300 + int(rng.integers(90)), 20 + int(rng.integers(40)))
    for version, (note, text) in enumerate(ORDERS_PLACED, 1):
        made = _Subject("orders.placed", _fields(text), rng)
        if version == 4:
            made.fields[-1]["default"] = 1
        at = TODAY - timedelta(days=days[version - 1], seconds=int(rng.integers(3 * 3600, 16 * 3600)))
        rows.append(("orders.placed", version, made.text(), "BACKWARD", 4, at, note, rng.random(2)))

    rows.sort(key=lambda r: (r[5], r[0]))  # ids are given in the order of registration
    roles = con.execute(
        "select person_id, team_id, valid_from_at, valid_to_at from ops.role_history order by all"
    ).fetchall()
    frame = []
    for schema_id, (subject, version, text, mode, team_id, at, note, (who, robot)) in enumerate(rows, 1):
        here = [p for p, t, since, until in roles if t == team_id and since <= at and (until is None or at < until)]
        person = here[int(who * len(here))] if here and robot > 0.1 else None
        frame.append((schema_id, subject, version, text, mode, team_id, at, person, note))
    columns = ["schema_id", "subject", "version", "schema_json", "compatibility_mode", "team_id", "registered_at"]
    con.register("frame_versions", pd.DataFrame(frame, columns=[*columns, "registered_by", "change_note"]))
    con.register("frame_breaks", pd.DataFrame(breaks, columns=["subject", "version", "field", "kind", "breaks"]))
    con.execute("""
        create table ops.schema_versions as
        select
          schema_id::integer as schema_id,
          subject,
          version::integer as version,
          schema_json,
          compatibility_mode,
          team_id::integer as team_id,
          registered_at::timestamp as registered_at,
          registered_by::integer as registered_by,
          change_note
        from frame_versions
        order by subject, version;

        create table truth.schema_breaks as
        select subject, version::integer as version, field, kind, breaks from frame_breaks order by subject, version;
    """)
    con.unregister("frame_versions")
    con.unregister("frame_breaks")


# -- what was agreed -----------------------------------------------------------------------------------------------------


class _Terms:
    """The numbers of this world's contract of orders.placed."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.within_minutes = int(rng.choice([200, 215, 230, 245]))
        self.most_minor = int(rng.choice([6, 8, 10, 12])) * 1_000_000
        self.most_items = int(rng.choice([40, 50, 60, 80]))
        self.prefix = str(rng.choice(["KM", "KO", "ORD", "KX"]))
        self.digits = int(rng.choice([8, 9, 10]))
        self.mode = str(rng.choice(["BACKWARD_TRANSITIVE", "FULL_TRANSITIVE"]))
        self.currencies = ["AUD", "CAD", "EUR", "JPY", "MXN", "PLN", "USD"]
        self.days = sorted(int(d) for d in rng.choice(np.arange(40, 400), size=12, replace=False))

    @property
    def pattern(self) -> str:
        return f"^{self.prefix}-[0-9]{{{self.digits}}}$"

    def rows(self) -> list[tuple]:
        """subject, element, term, value, unit, asked_by_team_id, status, days before today, note."""
        d = self.days
        first, later = d[-1], d[4]
        agreed = [
            ("order_id", "key", "yes", None, 5),
            ("order_ref", "required", "yes", None, 20),
            ("customer_id", "required", "yes", None, 14),
            ("placed_at", "required", "yes", None, 5),
            ("channel", "required", "yes", None, 17),
            ("country_code", "required", "yes", None, 20),
            ("currency", "required", "yes", None, 20),
            ("total_minor", "required", "yes", None, 20),
            ("total_minor", "at least", "1", None, 21),
            ("total_minor", "unit", "minor units of currency (cents; whole yen)", None, 20),
            ("placed_at", "unit", "UTC", None, 5),
            ("country_code", "pattern", "^[A-Z]{2}$", None, 20),
            (None, "owner", "order-flow", None, 26),
        ]
        rows = [("orders.placed", *a, "agreed", first, "kick-off") for a in agreed]
        new = "orders.placed"
        rows += [
            # Superseded, each by a later agreement.
            (new, "channel", "one of", "app, web", None, 17, "agreed", first, "kick-off"),
            (new, "channel", "one of", "app, web, store", None, 17, "agreed", later, "tills included"),
            (new, "currency", "one of", "EUR, USD", None, 20, "agreed", first, "kick-off"),
            (new, "currency", "one of", ", ".join(self.currencies), None, 20, "agreed", d[5], "all countries"),
            (new, "order_ref", "pattern", "^[0-9]{6}$", None, 20, "agreed", first, "the old shop's numbers"),
            (new, "order_ref", "pattern", self.pattern, None, 20, "agreed", d[6], "new numbers"),
            (new, "placed_at", "within", "90", "minutes", 17, "agreed", first, "kick-off"),
            (new, "placed_at", "within", str(self.within_minutes), "minutes", 4, "agreed", d[3], "what three hours allow"),
            (new, "total_minor", "at most", "500000", None, 21, "agreed", first, "kick-off, in cents of EUR"),
            (new, "total_minor", "at most", str(self.most_minor), None, 21, "agreed", d[7], "pesos and yen included"),
            (new, "item_count", "required", "yes", None, 5, "agreed", d[2], "with version 4"),
            (new, "item_count", "at least", "1", None, 5, "agreed", d[2], "with version 4"),
            (new, "item_count", "at most", "10", None, 5, "agreed", d[2] + 1, "a guess"),
            (new, "item_count", "at most", str(self.most_items), None, 5, "agreed", d[2], "after a look at the data"),
            (new, None, "compatibility", "BACKWARD", None, 26, "agreed", first, "kick-off"),
            (new, None, "compatibility", self.mode, None, 26, "agreed", d[1], "old messages are replayed"),
            # Agreed once and withdrawn.
            (new, "coupon_code", "pattern", "^[A-Z]{4}[0-9]{2}$", None, 18, "agreed", d[8], "campaigns of that year"),
            (new, "coupon_code", "pattern", "^[A-Z]{4}[0-9]{2}$", None, 18, "withdrawn", d[1], "partners have their own codes"),
            # Asked for and never agreed.
            (new, "coupon_code", "required", "yes", None, 18, "proposed", d[0], "would help attribution"),
            (new, "placed_at", "within", "15", "minutes", 17, "proposed", d[0], "for the live dashboard"),
            (new, "customer_id", "key", "yes", None, 14, "rejected", d[3], "customers order more than once"),
            (new, "channel", "one of", "app, web", None, 22, "rejected", d[1], "planning counts no tills"),
        ]  # fmt: skip
        other = "payments.captured"
        rows += [
            (other, "payment_id", "key", "yes", None, 9, "agreed", first, "kick-off"),
            (other, "amount_minor", "at least", "1", None, 21, "agreed", first, "kick-off"),
            (other, "captured_at", "within", "10", "minutes", 8, "agreed", d[9], "fraud is a matter of minutes"),
            (other, None, "owner", "payments-core", None, 26, "agreed", first, "kick-off"),
            (other, None, "compatibility", "FORWARD", None, 26, "agreed", d[9], "producers go first"),
        ]
        return rows


def _write_terms(con: duckdb.DuckDBPyConnection, terms: _Terms) -> None:
    rows = [(*r[:7], TODAY - timedelta(days=r[7]), r[8]) for r in terms.rows()]
    rows.sort(key=lambda r: r[7])  # stable: the order of the minutes
    columns = ["subject", "element", "term", "value", "unit", "asked_by_team_id", "status", "decided_at", "note"]
    frame = pd.DataFrame(rows, columns=columns)
    frame["term_id"] = np.arange(1, len(frame) + 1)
    con.register("frame_terms", frame)
    con.execute("""
        create table ops.contract_terms as
        select
          term_id::integer as term_id,
          subject,
          element,
          term,
          value,
          unit,
          asked_by_team_id::integer as asked_by_team_id,
          status,
          decided_at::date as decided_on,
          note
        from frame_terms
        order by term_id;
    """)
    con.unregister("frame_terms")


# -- messages ------------------------------------------------------------------------------------------------------------

FIRST_DAY, DAYS, HOURS = "2026-06-09", 21, 3


def _write_messages(con: duckdb.DuckDBPyConnection, terms: _Terms, visible: bytes, hidden: bytes) -> None:
    frame = con.execute(f"""
        select
          order_id, customer_id, ordered_at as placed_at, channel, country_code, currency,
          round(total_amount * case currency when 'JPY' then 1 else 100 end)::bigint as total_minor,
          item_count::integer as item_count,
          floor(epoch(ordered_at - timestamp '{FIRST_DAY}') / {3600 * HOURS})::integer as slot
        from core.orders
        where ordered_at >= timestamp '{FIRST_DAY}' and ordered_at < timestamp '{FIRST_DAY}' + interval {DAYS} day
        order by ordered_at, order_id
    """).df()  # fmt: skip
    n = len(frame)
    frame["order_ref"] = [f"{terms.prefix}-{i:0{terms.digits}d}" for i in frame.order_id]
    coupons = streams(visible, "coupons")
    has, letters, number = coupons.random(n) < 0.15, coupons.integers(0, 26, (n, 5)), coupons.integers(10, 99, n)
    frame["coupon_code"] = [
        "".join(chr(65 + x) for x in word) + str(k) if h else None
        for h, word, k in zip(has, letters.tolist(), number.tolist(), strict=True)
    ]
    frame["total_minor"] = np.minimum(frame.total_minor, terms.most_minor - 1)
    slots = int(frame.slot.max()) + 1
    closed = pd.Timestamp(FIRST_DAY) + pd.to_timedelta(HOURS * (np.arange(slots) + 1), unit="h")
    landed = closed + pd.to_timedelta(
        np.round(np.minimum(900, streams(visible, "landed").lognormal(np.log(150), 0.6, slots))), unit="s"
    )
    frame["landed_at"] = landed.to_numpy()[frame.slot]
    frame["batch_id"] = ["placed-" + t.strftime("%Y%m%d-%H") for t in closed[frame.slot]]
    frame = _plant(frame, terms, streams(hidden, "messages"))
    con.register("frame_messages", frame[0])
    con.register("frame_plants", frame[1])
    con.execute("""
        create table raw.order_messages as
        select
          batch_id,
          landed_at::timestamp as landed_at,
          (row_number() over (partition by batch_id order by placed_at, order_id, no))::integer as message_no,
          order_id::bigint as order_id,
          order_ref,
          customer_id::bigint as customer_id,
          placed_at::timestamp as placed_at,
          channel,
          country_code,
          currency,
          total_minor::bigint as total_minor,
          coupon_code,
          item_count::integer as item_count
        from frame_messages
        order by landed_at, batch_id, message_no;

        create table truth.message_plants as
        select batch_id, kind, element, is_decoy from frame_plants order by batch_id, kind;
    """)
    con.unregister("frame_messages")
    con.unregister("frame_plants")


# Two batches of each. What is wrong: kind, element. Decoys look wrong and are not.
BAD = (
    ("null", "order_ref"), ("null", "customer_id"), ("null", "item_count"), ("twice", "order_id"), ("value", "channel"),
    ("value", "currency"), ("pattern", "order_ref"), ("pattern", "country_code"), ("low", "total_minor"), ("high", "total_minor"),
    ("low", "item_count"), ("high", "item_count"), ("late", "placed_at"),
)  # fmt: skip
DECOYS = (
    ("highest allowed", "total_minor"), ("lowest allowed", "total_minor"), ("highest allowed", "item_count"),
    ("just in time", "placed_at"), ("same customer twice", "customer_id"), ("again in the next batch", "order_id"),
)  # fmt: skip


def _other_form(element: str, old: str, second: bool, rng: np.random.Generator) -> str:
    """A value of another form. The second of each element holds one of the right form, with more behind or before it: only
    both anchors of a pattern refuse it."""
    if element == "country_code":
        return f"{old}-1" if second else old.lower()
    shorter = rng.random() >= 0.5
    if second:
        return f"X{old}"
    return old[:-1] if shorter else old.lower()


def _plant(frame: pd.DataFrame, terms: _Terms, rng: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame]:
    frame = frame.astype({"customer_id": "Int64", "item_count": "Int64"})
    frame["no"] = 0
    rows_of = frame.groupby("batch_id").indices
    large = [b for b, rows in rows_of.items() if len(rows) >= 3]
    order = [large[i] for i in rng.permutation(len(large))]
    plants, more = [], []
    for is_decoy, kinds in ((False, BAD), (True, DECOYS)):
        for kind, element, second in [(*k, n == 1) for k in kinds for n in range(2)]:
            if not order:
                break
            batch = order.pop()
            rows = rows_of[batch]
            at, other = (int(i) for i in rng.choice(rows, size=2, replace=False))
            old = frame.at[at, element]
            if kind == "null":
                frame.at[at, element] = None
            elif kind == "twice":
                more.append({**frame.loc[at].to_dict(), "no": 1})
            elif kind == "value":
                frame.at[at, element] = {"channel": "marketplace", "currency": "EURO"}[element]
            elif kind == "pattern":
                frame.at[at, element] = _other_form(element, old, second, rng)
            elif kind == "low":
                frame.at[at, element] = 0 if rng.random() < 0.5 else -int(old)
            elif kind == "high":
                top = terms.most_items if element == "item_count" else terms.most_minor
                frame.at[at, element] = top + 1 + int(rng.integers(0, 3))
            elif kind in ("late", "just in time"):
                waits = terms.within_minutes + (
                    int(rng.integers(4, 90)) if kind == "late" else -int(rng.integers(2, 5))
                )
                frame.loc[rows, "landed_at"] = frame.placed_at[rows].min() + pd.Timedelta(minutes=waits)
            elif kind == "highest allowed":
                frame.at[at, element] = terms.most_items if element == "item_count" else terms.most_minor
            elif kind == "lowest allowed":
                frame.at[at, element] = 1
            elif kind == "same customer twice":
                frame.at[at, element] = frame.at[other, element]
            elif kind == "again in the next batch":
                later = frame.index[(frame.landed_at > frame.landed_at[at]) & (frame.batch_id != batch)]
                quiet = [i for i in later if frame.batch_id[i] not in {p[0] for p in plants}]
                if not quiet:
                    continue
                # The shop has sent it again, and it is still young enough for the batch after.
                target = frame.loc[quiet[0]]
                again = frame.loc[at].to_dict()
                again.update(batch_id=target.batch_id, landed_at=target.landed_at, placed_at=target.placed_at)
                more.append({**again, "no": 1})
            plants.append((batch, kind, element, is_decoy))
    frame = pd.concat(
        [frame, pd.DataFrame(more, columns=frame.columns).astype({"customer_id": "Int64", "item_count": "Int64"})],
        ignore_index=True,
    )
    return frame, pd.DataFrame(plants, columns=["batch_id", "kind", "element", "is_decoy"])


COMMENTS = """
comment on table ops.schema_versions is
  'The schema registry: every version of the schema of every subject, over the last three years.';
comment on column ops.schema_versions.schema_id is 'Key, given in the order of registration.';
comment on column ops.schema_versions.subject is 'What is sent, as domain.event; unique together with version.';
comment on column ops.schema_versions.version is 'From 1, without gaps within a subject.';
comment on column ops.schema_versions.schema_json is 'Avro schema, as JSON text.';
comment on column ops.schema_versions.compatibility_mode is
  'Mode in which this version was checked: BACKWARD, FORWARD, FULL, these with _TRANSITIVE, or NONE: not checked.';
comment on column ops.schema_versions.team_id is 'Producer; references ops.teams.';
comment on column ops.schema_versions.registered_at is 'When it was registered (UTC).';
comment on column ops.schema_versions.registered_by is 'References ops.people; null: by a deployment account.';
comment on column ops.schema_versions.change_note is 'What the team wrote about the change.';

comment on table ops.contract_terms is
  'The minutes of what producers and consumers of an interface agreed on, term by term, in order of time.';
comment on column ops.contract_terms.term_id is 'Key; a later decision has a higher number.';
comment on column ops.contract_terms.subject is 'References ops.schema_versions.';
comment on column ops.contract_terms.element is 'Field that it is about; null: the interface as a whole.';
comment on column ops.contract_terms.term is
  'key, required, one of, pattern, at least, at most, within, unit, owner or compatibility.';
comment on column ops.contract_terms.value is 'What was agreed or asked for, as text; lists are separated by commas.';
comment on column ops.contract_terms.unit is 'Unit of the value; null: none.';
comment on column ops.contract_terms.asked_by_team_id is 'Who asked; references ops.teams.';
comment on column ops.contract_terms.status is 'agreed, withdrawn (an agreement that ends), proposed or rejected.';
comment on column ops.contract_terms.decided_on is 'Day of the meeting.';
comment on column ops.contract_terms.note is 'As in the minutes.';

comment on table raw.order_messages is
  'Messages of orders.placed of the last three weeks, in batches of three hours, as they landed.';
comment on column raw.order_messages.batch_id is
  'Name of the batch, by the hour at which it closed; key with message_no.';
comment on column raw.order_messages.landed_at is 'When the whole batch had landed (UTC).';
comment on column raw.order_messages.message_no is 'Position in the batch, from 1.';
comment on column raw.order_messages.order_id is 'References core.orders.';
comment on column raw.order_messages.order_ref is 'Number that the customer sees.';
comment on column raw.order_messages.customer_id is 'References core.customers.';
comment on column raw.order_messages.placed_at is 'When the order was placed (UTC).';
comment on column raw.order_messages.channel is 'app, web or store.';
comment on column raw.order_messages.country_code is 'Country of the customer, two letters.';
comment on column raw.order_messages.currency is 'ISO 4217 code of total_minor.';
comment on column raw.order_messages.total_minor is 'Total of the order in minor units of currency.';
comment on column raw.order_messages.coupon_code is 'Coupon used; null: none.';
comment on column raw.order_messages.item_count is 'Number of order lines.';
"""
