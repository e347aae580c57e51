# subject: models
# needs: calendar, fulfilment, organisation
# makes: ops.sources, ops.models, ops.lineage_edges, ops.consumers, ops.consumer_queries, ops.reports, ops.deployments
# truth: column_edges, deployment_edges, unexplained_losses
"""Forty SQL models of Kestrel's analytics, in three layers over core, with their true column edges; who reads them; ninety
days of deployments.

A model is a recipe: what it selects. Its statement is built together with its edges, so that the truth comes from the
construction and from no parser. Two kinds of draw shape it. Content (optional columns, filters, kinds of join) decides the
edges. Layout (CTE or subquery, star or list, QUALIFY or a filter outside, qualified or bare names, alias used again or
expression repeated) never does: two layouts of one content are a refactoring.

What an edge is stands in the lab of 2.5: DIRECT where a value flows into a value; INDIRECT where a column decides which rows
there are (joins, filters, groups, order) or which value is taken (CASE, FILTER, windows).
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import duckdb
import numpy as np
import pandas as pd

from workshop.sim import streams
from workshop.world.seeds import derive_seed

FIRST_SOURCE, FIRST_MODEL = 5001, 5101
DAYS = 90  # of deployments, up to today
TODAY = datetime(2026, 6, 30)
# Losses of lineage that nobody declared: about one change in five where no gate asks.
UNDECLARED_SHARE = 0.35

Ref = tuple[str, str]  # table, column
NONE: frozenset[Ref] = frozenset()


# -- the grammar -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class X:
    """An expression: ``sql`` with {0}, {1} ... for its parts, those of ``direct`` first. A part is "alias.column", ".column" (as
    merged by USING), "=name" (an output column that stands before), another X, or a Rel (a subquery)."""

    sql: str
    direct: tuple[Any, ...] = ()
    indirect: tuple[Any, ...] = ()


def x(sql: str, *direct: Any, by: Sequence[Any] = ()) -> X:
    """An expression; ``by``: parts that decide, and whose values do not flow into the result."""
    return X(sql, direct, tuple(by))


@dataclass(frozen=True)
class Flow:
    """Where the values of one output column come from (direct), and what decides about them (indirect), rows aside."""

    direct: frozenset[Ref] = NONE
    indirect: frozenset[Ref] = NONE

    @property
    def all(self) -> frozenset[Ref]:
        return self.direct | self.indirect


@dataclass(frozen=True)
class Rel:
    """A table (no body) or a query. ``rows``: what decides which rows it has."""

    name: str
    columns: dict[str, Flow]
    rows: frozenset[Ref] = NONE
    body: str | None = None
    is_model: bool = False

    def edges(self) -> set[tuple[str, str, str, str]]:
        """(output column, table, column, kind)."""
        found = set()
        for name, flow in self.columns.items():
            found |= {(name, *ref, "DIRECT") for ref in flow.direct}
            found |= {(name, *ref, "INDIRECT") for ref in flow.indirect | self.rows}
        return found


@dataclass
class Source:
    alias: str
    rel: Rel
    text: str  # what stands in FROM
    shown: str  # the alias as written


class Builder:
    """One statement in the making. ``flips``: content draws that are turned over; ``names``: columns called something else."""

    def __init__(
        self,
        stack: "Stack",
        model: str,
        layout: int = 0,
        flips: frozenset[str] = frozenset(),
        names: dict[str, str] | None = None,
    ) -> None:
        self.stack, self.model, self.flips, self.names = stack, model, flips, names or {}
        self.rng = streams(stack.seed, f"layout/{model}/{layout}")
        self.ctes: dict[str, str] = {}
        self.imports: dict[str, str | None] = {}
        self.options: list[str] = []
        self.style_ctes = self.rng.random() < 0.65

    def has(self, option: str, p: float = 0.6) -> bool:
        """A content draw: the same whatever the layout."""
        self.options.append(option)
        drawn = bool(streams(self.stack.seed, f"content/{self.model}/{option}").random() < p)
        return drawn != (option in self.flips)

    def shape(self, p: float) -> bool:
        """A layout draw."""
        return bool(self.rng.random() < p)

    def select(self, alias: str, source: str | Rel, outer: "Select | None" = None) -> "Select":
        return Select(self, alias, source, outer)

    def cte(self, name: str, body: str) -> str:
        free = name
        k = 2
        while free in self.ctes:
            free, k = f"{name}_{k}", k + 1
        self.ctes[free] = body
        return free

    def table(self, name: str) -> Rel:
        return Rel(name, {c: Flow(frozenset({(name, c)})) for c in self.stack.columns(name)}, is_model=True)

    def place(self, rel: Rel, alone: bool) -> tuple[str, bool]:
        """What stands in FROM for a relation, and whether it is a name."""
        if rel.body is None:
            if rel.name not in self.imports:
                short = rel.name.split(".")[1]
                # dbt's habit: what is read stands on top, each in a CTE of its own.
                wanted = self.style_ctes and self.shape(0.4)
                self.imports[rel.name] = self.cte(short, f"select *\nfrom {rel.name}") if wanted else None
            return self.imports[rel.name] or rel.name, True
        for name, body in self.ctes.items():
            if body == rel.body:
                return name, True
        if self.style_ctes if alone else self.style_ctes or self.shape(0.3):
            return self.cte(rel.name, rel.body), True
        return f"(\n{_indent(rel.body)}\n)", False

    def union(self, name: str, *branches: Rel) -> Rel:
        """All rows of the branches, columns by place; names of the first."""
        first = list(branches[0].columns)
        columns = {}
        for k, column in enumerate(first):
            flows = [list(b.columns.values())[k] for b in branches]
            columns[column] = Flow(_union(f.direct for f in flows), _union(f.indirect for f in flows))
        return Rel(name, columns, _union(b.rows for b in branches), "\nunion all\n".join(b.body for b in branches))

    def finish(self, rel: Rel) -> tuple[str, Rel]:
        """The whole statement with its CTEs, and the relation that it is."""
        body = rel.body
        if self.shape(0.25):
            body = f"select *\nfrom {self.cte('final', body)}"
        elif self.shape(0.15):
            body = f"select *\nfrom (\n{_indent(body)}\n)"
        parts = [f"{name} as (\n{_indent(text)}\n)" for name, text in self.ctes.items()]
        return ("with\n" + ",\n".join(parts) + "\n" if parts else "") + body, rel


def _union(sets: Any) -> frozenset[Ref]:
    return frozenset().union(*sets)


def _indent(text: str) -> str:
    return "\n".join("  " + line for line in text.splitlines())


class Select:
    """One SELECT in the making."""

    def __init__(self, b: Builder, alias: str, source: str | Rel, outer: "Select | None") -> None:
        self.b, self.outer = b, outer
        self.names: dict[str, str] = {}
        self.sources: list[Source] = []
        self.joins: list[tuple[str, str, Any]] = []
        self.merged: dict[str, list[str]] = {}
        self.filters: list[X] = []
        self.outputs: dict[str, Any] = {}
        self.groups: list[str] = []
        self.havings: list[X] = []
        self.pick: tuple[X, str] | None = None
        self.orders: list[str] = []
        self._bare = b.shape(0.6)
        self._reuse = b.shape(0.6)
        self._add(alias, source)

    def _add(self, alias: str, source: str | Rel) -> Source:
        rel = self.b.table(source) if isinstance(source, str) else source
        text, named = self.b.place(rel, alone=not self.sources)
        made = Source(alias, rel, text, alias)
        if named and self.b.shape(0.2) and not any(s.text == text for s in self.sources) and self.outer is None:
            made.shown = text.split(".")[-1]
        self.sources.append(made)
        return made

    # what a recipe says

    def join(
        self, alias: str, source: str | Rel, *keys: tuple[str, str], kind: str = "join", on: X | None = None
    ) -> "Select":
        """Joins on equal columns; where all pairs have one name, content decides between USING and ON."""
        self._add(alias, source)
        same = all(a.split(".")[1] == c.split(".")[1] for a, c in keys)
        if on is None and same and self.b.has(f"using {alias} {'/'.join(k[1].split('.')[1] for k in keys)}", 0.45):
            names = [k[1].split(".")[1] for k in keys]
            for (left, right), name in zip(keys, names, strict=True):
                self.merged.setdefault(name, [left.split(".")[0]]).append(right.split(".")[0])
            self.joins.append((kind, "using", (names, keys)))
        else:
            parts = [x("{0} = {1}", a, c) for a, c in keys] + ([on] if on else [])
            self.joins.append((kind, "on", parts))
        return self

    def left(self, alias: str, source: str | Rel, *keys: tuple[str, str], on: X | None = None) -> "Select":
        return self.join(alias, source, *keys, kind="left join", on=on)

    def where(self, condition: X) -> "Select":
        self.filters.append(condition)
        return self

    def cols(self, *parts: str) -> "Select":
        for part in parts:
            self.col(part.split(".")[-1], part)
        return self

    def col(self, name: str, part: Any) -> "Select":
        self.outputs[name] = part
        return self

    def group(self, *names: str) -> "Select":
        self.groups += names
        return self

    def having(self, condition: X) -> "Select":
        self.havings.append(condition)
        return self

    def qualify(self, window: X, test: str) -> "Select":
        self.pick = (window, test)
        return self

    def order(self, *names: str) -> "Select":
        self.orders += names
        return self

    # what it means

    def _source(self, alias: str) -> Source:
        found = next((s for s in self.sources if s.alias == alias), None)
        return found or self.outer._source(alias)

    def flow(self, part: Any) -> Flow:
        """Where the value of a part comes from."""
        if isinstance(part, Rel):
            flows = part.columns.values()
            return Flow(_union(f.direct for f in flows), _union(f.indirect for f in flows) | part.rows)
        if isinstance(part, X):
            direct, indirect = [self.flow(p) for p in part.direct], [self.flow(p) for p in part.indirect]
            return Flow(
                _union(f.direct for f in direct), _union(f.indirect for f in direct) | _union(f.all for f in indirect)
            )
        if part.startswith("="):
            return self.flow(self.outputs[self.names.get(part[1:], part[1:])])
        alias, name = part.split(".")
        if not alias:
            aliases = self.merged.get(name) or [next(s.alias for s in self.sources if name in s.rel.columns)]
            flows = [self._source(a).rel.columns[name] for a in aliases]
            return Flow(_union(f.direct for f in flows), _union(f.indirect for f in flows))
        return self._source(alias).rel.columns[name]

    def _rows(self) -> frozenset[Ref]:
        found = [s.rel.rows for s in self.sources]
        for _, how, what in self.joins:
            parts = [p for pair in what[1] for p in pair] if how == "using" else what
            found += [self.flow(p).all for p in parts]
        found += [self.flow(p).all for p in self.filters + self.havings]
        found += [self.flow(self.outputs[n]).all for n in self.groups + self.orders]
        if self.pick:
            found.append(self.flow(self.pick[0]).all)
        return _union(found)

    # how it is written

    def _sql(self, part: Any, qualified: bool = False) -> str:
        if isinstance(part, Rel):
            return f"(\n{_indent(part.body)}\n)"
        if isinstance(part, X):
            return part.sql.format(*(self._sql(p, qualified) for p in part.direct + part.indirect))
        if part.startswith("="):
            name = self.names.get(part[1:], part[1:])
            if self._reuse and not any(name in s.rel.columns or name == s.shown for s in self.sources):
                return name
            inner = self._sql(self.outputs[name], qualified)
            return inner if isinstance(self.outputs[name], str) else f"({inner})"
        alias, name = part.split(".")
        if not alias:
            if name in self.merged:
                return name
            alias = next(s.alias for s in self.sources if name in s.rel.columns)
        mine = any(s.alias == alias for s in self.sources)
        once = sum(name in s.rel.columns for s in self.sources) == 1
        if mine and once and self._bare and self.outer is None and not qualified:
            return name
        return f"{self._source(alias).shown}.{name}"

    def _list(self) -> list[str]:
        """The select list; a leading run of plain columns in the source's order may become a star."""
        items = []
        names = list(self.outputs)
        run = 0
        source = self.sources[0]
        held = list(source.rel.columns)
        if len(self.sources) == 1 and not self.groups and (source.rel.body or source.rel.name.startswith("core.")):
            at = -1
            for name in names:
                part = self.outputs[name]
                if not isinstance(part, str) or part != f"{source.alias}.{name}" or held.index(name) <= at:
                    break
                at = held.index(name)
                run += 1
        left = [c for c in held if c not in names[:run]]
        if run >= 3 and len(left) <= 6 and self.b.shape(0.6):
            star = "*" if self.b.shape(0.6) else f"{source.shown}.*"
            items.append(star + (f" exclude ({', '.join(left)})" if left else ""))
        else:
            run = 0
        for name in names[run:]:
            part = self.outputs[name]
            text = self._sql(part)
            plain = isinstance(part, str) and not part.startswith("=") and part.split(".")[1] == name
            items.append(text if plain else f"{text} as {name}")
        return items

    def _from(self) -> str:
        first, *others = self.sources
        pushed: list[X] = []
        if (
            first.rel.body is None
            and self.filters
            and first.text == first.rel.name
            and all(_only(f, first.alias) for f in self.filters)
            and self.b.shape(0.35)
        ):
            pushed, self._pushed = self.filters, True
        lines = []
        if pushed:
            tests = " and ".join(self._sql(f).replace(f"{first.shown}.", "") for f in pushed)
            inner = f"select *\nfrom {first.text}\nwhere {tests}"
            lines.append(f"from (\n{_indent(inner)}\n) as {first.shown}")
        else:
            lines.append(f"from {first.text}{self._as(first)}")
        for source, (kind, how, what) in zip(others, self.joins, strict=True):
            line = f"{kind} {source.text}{self._as(source)}"
            if how == "using":
                line += f" using ({', '.join(what[0])})"
            else:
                line += f"\n  on {' and '.join(self._sql(p, qualified=True) for p in what)}"
            lines.append(line)
        return "\n".join(lines)

    @staticmethod
    def _as(source: Source) -> str:
        return "" if source.text.split(".")[-1] == source.shown else f" as {source.shown}"

    def _group(self) -> str:
        """By place, or by the expressions themselves."""
        names = list(self.outputs)
        if self.b.shape(0.5):
            return ", ".join(str(names.index(n) + 1) for n in self.groups)
        return ", ".join(self._sql(self.outputs[n], qualified=True) for n in self.groups)

    def top(self) -> Rel:
        """The relation as the statement's own: its columns may be called something else."""
        self.names = {n: new for n, new in self.b.names.items() if n in self.outputs}
        self.outputs = {self.names.get(n, n): p for n, p in self.outputs.items()}
        self.groups = [self.names.get(n, n) for n in self.groups]
        self.orders = [self.names.get(n, n) for n in self.orders]
        return self.done()

    def done(self, name: str = "picked") -> Rel:
        """The relation, with its SQL."""
        columns = {n: self.flow(p) for n, p in self.outputs.items()}
        rows = self._rows()
        self._pushed = False
        outside = self.pick is not None and self.b.shape(0.5)
        items = self._list()
        if outside:
            items.append(f"{self._sql(self.pick[0])} as place_no")
        one_line = len(items) == 1 and len(items[0]) < 60
        body = "select " + items[0] if one_line else "select\n" + ",\n".join(_indent(i) for i in items)
        body += "\n" + self._from()
        if self.filters and not self._pushed:
            body += "\nwhere " + "\n  and ".join(self._sql(f) for f in self.filters)
        if self.groups:
            body += f"\ngroup by {self._group()}"
        if self.havings:
            body += "\nhaving " + " and ".join(self._sql(h) for h in self.havings)
        if self.pick and not outside:
            body += f"\nqualify {self._sql(self.pick[0])} {self.pick[1]}"
        if outside:
            shown = "* exclude (place_no)" if self.b.shape(0.6) else ",\n  ".join(columns)
            text, _ = self.b.place(Rel("numbered", {}, NONE, body), alone=True)
            body = f"select\n  {shown}\nfrom {text}\nwhere place_no {self.pick[1]}"
        if self.orders:
            body += f"\norder by {', '.join(self.orders)}"
        return Rel(name, columns, rows, body)


def _only(part: Any, alias: str) -> bool:
    """Whether an expression reads nothing but columns of one source."""
    if isinstance(part, X):
        return all(_only(p, alias) for p in part.direct + part.indirect)
    return isinstance(part, str) and part.split(".")[0] == alias


# -- the recipes -----------------------------------------------------------------------------------------------------

CORE = {
    "calendar": "region day_on iso_weekday is_weekend holiday_name is_holiday is_working_day sale_name",
    "countries": "country_code country_name region currency time_zone order_share_pct vat_pct",
    "customers": "customer_id full_name email phone country_code city postcode birth_on segment loyalty_tier is_test_account "
    "registered_at",
    "fx_rates": "day_on currency usd_per_unit",
    "order_items": "order_id line_no product_id quantity unit_price line_amount",
    "orders": "order_id customer_id country_code channel status ordered_at ordered_on currency item_count total_amount total_usd",
    "payments": "payment_id order_id psp method amount currency status authorized_at captured_at",
    "products": "product_id sku product_name category seller_id list_price_usd weight_g is_active",
    "returns": "return_id order_id line_no quantity refund_amount currency reason returned_at",
    "sellers": "seller_id seller_name country_code is_own_store",
    "shipments": "shipment_id order_id carrier shipped_at delivered_at weight_g",
}
CORE_OWNERS = {
    "calendar": 24, "countries": 26, "customers": 14, "fx_rates": 20, "order_items": 5, "orders": 5, "payments": 7,
    "products": 2, "returns": 13, "sellers": 1, "shipments": 10,
}  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    table: str
    layer: str
    owners: tuple[int, ...]
    materialisation: str
    purpose: str
    make: Callable[[Builder], Rel]


RECIPES: dict[str, Recipe] = {}


def model(layer: str, owners: str, purpose: str, materialisation: str = "view") -> Callable[[Callable], Callable]:
    """Marks a recipe; the function's name is the table's."""

    def mark(make: Callable[[Builder], Rel]) -> Callable[[Builder], Rel]:
        table = f"{layer}.{make.__name__}"
        RECIPES[table] = Recipe(table, layer, tuple(map(int, owners.split())), materialisation, purpose, make)
        return make

    return mark


@model("staging", "5 4", "Orders, without those of testers where these are kept out.")
def stg_orders(b: Builder) -> Rel:
    q = b.select("o", "core.orders")
    q.cols("o.order_id", "o.customer_id", "o.country_code", "o.channel", "o.status", "o.ordered_at", "o.ordered_on")
    if b.has("currency"):
        q.cols("o.currency")
    if b.has("item_count"):
        q.cols("o.item_count")
    q.cols("o.total_amount", "o.total_usd")
    if b.has("is_cancelled", 0.5):
        q.col("is_cancelled", x("{0} = 'cancelled'", "o.status"))
    if b.has("without testers", 0.5):
        testers = b.select("t", "core.customers").cols("t.customer_id").where(x("{0}", "t.is_test_account")).done()
        q.where(x("{0} not in {1}", "o.customer_id", testers))
    return q.top()


@model("staging", "5", "Order lines.")
def stg_order_items(b: Builder) -> Rel:
    q = b.select("i", "core.order_items")
    q.cols("i.order_id", "i.line_no", "i.product_id", "i.quantity", "i.unit_price", "i.line_amount")
    if b.has("is_multiple"):
        q.col("is_multiple", x("{0} > 1", "i.quantity"))
    if b.has("price_band", 0.7):
        q.col(
            "price_band",
            x("case when {0} >= 50 then 'high' when {0} >= 10 then 'middle' else 'low' end", by=["i.unit_price"]),
        )
    if b.has("priced only", 0.4):
        q.where(x("{0} > 0", "i.unit_price"))
    return q.top()


@model("staging", "14", "Customers without what identifies them.")
def stg_customers(b: Builder) -> Rel:
    q = b.select("c", "core.customers")
    q.cols("c.customer_id", "c.country_code", "c.city", "c.segment", "c.loyalty_tier", "c.registered_at")
    if b.has("birth_year"):
        q.col("birth_year", x("year({0})", "c.birth_on"))
    if b.has("email_domain"):
        q.col("email_domain", x("split_part({0}, '@', 2)", "c.email"))
    q.col("is_member", x("{0} is not null", "c.loyalty_tier"))
    if b.has("without testers", 0.7):
        q.where(x("not {0}", "c.is_test_account"))
    return q.top()


@model("staging", "2 3", "Products with their sellers.")
def stg_products(b: Builder) -> Rel:
    q = b.select("p", "core.products").join("s", "core.sellers", ("p.seller_id", "s.seller_id"))
    q.cols("p.product_id", "p.product_name", "p.category", ".seller_id", "s.seller_name", "p.list_price_usd")
    if b.has("weight_kg"):
        q.col("weight_kg", x("{0} / 1000", "p.weight_g"))
    if b.has("sold_by", 0.7):
        q.col("sold_by", x("case when {1} then 'Kestrel' else {0} end", "s.seller_name", by=["s.is_own_store"]))
    if b.has("active only", 0.4):
        q.where(x("{0}", "p.is_active"))
    return q.top()


@model("staging", "7 9", "Payments.")
def stg_payments(b: Builder) -> Rel:
    q = b.select("y", "core.payments")
    q.cols("y.payment_id", "y.order_id", "y.psp", "y.method", "y.amount", "y.currency", "y.status")
    if b.has("authorized_at", 0.5):
        q.cols("y.authorized_at")
    q.cols("y.captured_at")
    if b.has("capture_minutes"):
        q.col("capture_minutes", x("date_diff('minute', {0}, {1})", "y.authorized_at", "y.captured_at"))
    if b.has("captured_amount"):
        q.col("captured_amount", x("case when {1} = 'captured' then {0} else 0 end", "y.amount", by=["y.status"]))
    if b.has("without vouchers", 0.4):
        q.where(x("{0} <> 'voucher'", "y.method"))
    return q.top()


@model("staging", "10 11", "Shipments with hours under way.")
def stg_shipments(b: Builder) -> Rel:
    q = b.select("s", "core.shipments")
    q.cols("s.shipment_id", "s.order_id", "s.carrier", "s.shipped_at", "s.delivered_at")
    if b.has("weight_kg"):
        q.col("weight_kg", x("{0} / 1000", "s.weight_g"))
    q.col("transit_hours", x("date_diff('hour', {0}, {1})", "s.shipped_at", "s.delivered_at"))
    if b.has("weight_class", 0.5):
        q.col("weight_class", x("if({0} > 5000, 'heavy', 'light')", by=["s.weight_g"]))
    if b.has("delivered only", 0.3):
        q.where(x("{0} is not null", "s.delivered_at"))
    return q.top()


@model("staging", "13", "Returned lines.")
def stg_returns(b: Builder) -> Rel:
    q = b.select("r", "core.returns")
    q.cols("r.return_id", "r.order_id", "r.line_no", "r.quantity", "r.refund_amount", "r.currency", "r.reason")
    q.col("returned_on", x("{0}::date", "r.returned_at"))
    if b.has("is_fault", 0.5):
        q.col("is_fault", x("{0} in ('damaged', 'arrived late')", "r.reason"))
    if b.has("refunded only", 0.4):
        q.where(x("{0} > 0", "r.refund_amount"))
    return q.top()


@model("staging", "20", "Exchange rates, and how they moved.")
def stg_fx_rates(b: Builder) -> Rel:
    q = b.select("f", "core.fx_rates").cols("f.day_on", "f.currency", "f.usd_per_unit")
    if b.has("change_pct", 0.7):
        before = x("lag({0}) over (partition by {1} order by {2})", "f.usd_per_unit", by=["f.currency", "f.day_on"])
        q.col("change_pct", x("100 * ({0} / {1} - 1)", "f.usd_per_unit", before))
    return q.top()


@model("staging", "24", "Working days by region.")
def stg_calendar(b: Builder) -> Rel:
    q = b.select("d", "core.calendar").cols("d.region", "d.day_on")
    if b.has("is_weekend", 0.5):
        q.cols("d.is_weekend")
    q.cols("d.is_working_day")
    if b.has("sale_name"):
        q.cols("d.sale_name")
    q.col("month_on", x("date_trunc('month', {0})::date", "d.day_on"))
    if b.has("up to today", 0.5):
        q.where(x("{0} <= date '2026-06-30'", "d.day_on"))
    return q.top()


@model("intermediate", "5", "Order lines in US dollars, with what was sold to whom.", "table")
def int_order_lines(b: Builder) -> Rel:
    q = b.select("i", "staging.stg_order_items").join("o", "staging.stg_orders", ("i.order_id", "o.order_id"))
    q.join("p", "staging.stg_products", ("i.product_id", "p.product_id"))
    q.cols(
        ".order_id",
        "i.line_no",
        ".product_id",
        "p.category",
        "p.seller_id",
        "o.customer_id",
        "o.country_code",
        "o.channel",
    )
    q.cols("o.ordered_on", "i.quantity")
    q.col("line_usd", x("round({0} * {1} / nullif({2}, 0), 2)", "i.line_amount", "o.total_usd", "o.total_amount"))
    if b.has("list_usd"):
        q.col("list_usd", x("{0} * {1}", "i.quantity", "p.list_price_usd"))
        if b.has("discount_usd", 0.5):
            q.col("discount_usd", x("greatest({0} - {1}, 0)", "=list_usd", "=line_usd"))
    if b.has("without cancelled", 0.7):
        q.where(x("{0} <> 'cancelled'", "o.status"))
    return q.top()


@model("intermediate", "7", "The last word on each order's payment.")
def int_latest_payments(b: Builder) -> Rel:
    q = b.select("y", "staging.stg_payments").cols(
        "y.order_id", "y.psp", "y.method", "y.amount", "y.currency", "y.status"
    )
    q.cols("y.captured_at")
    if b.has("paid_amount", 0.7):
        q.col(
            "paid_amount",
            x("case {1} when 'captured' then {0} when 'refunded' then 0 end", "y.amount", by=["y.status"]),
        )
    q.qualify(
        x(
            "row_number() over (partition by {0} order by {1} desc nulls last, {2})",
            by=["y.order_id", "y.captured_at", "y.payment_id"],
        ),
        "= 1",
    )
    return q.top()


@model("intermediate", "13 21", "Refunds in US dollars.")
def int_refunds(b: Builder) -> Rel:
    q = b.select("r", "staging.stg_returns").join("o", "staging.stg_orders", ("r.order_id", "o.order_id"))
    q.left(
        "f",
        "staging.stg_fx_rates",
        on=x("{0} = {1} and {2} = {3}", "f.currency", "r.currency", "f.day_on", "r.returned_on"),
    )
    q.cols("r.return_id", ".order_id", "r.line_no", "o.customer_id", "o.country_code", "r.reason", "r.returned_on")
    q.col("refund_usd", x("round({0} * coalesce({1}, 1), 2)", "r.refund_amount", "f.usd_per_unit"))
    if b.has("days_after_order"):
        q.col("days_after_order", x("date_diff('day', {0}, {1})", "o.ordered_on", "r.returned_on"))
    return q.top()


@model("intermediate", "9 21", "Money in and out, one row a movement.", "table")
def int_money_movements(b: Builder) -> Rel:
    paid = b.select("y", "intermediate.int_latest_payments").join(
        "o", "staging.stg_orders", ("y.order_id", "o.order_id")
    )
    paid.cols(".order_id").col("movement", x("'payment'")).col("moved_on", x("{0}::date", "y.captured_at"))
    paid.col("amount_usd", "o.total_usd").where(x("{0} is not null", "y.captured_at"))
    back = b.select("r", "intermediate.int_refunds")
    back.cols("r.order_id").col("movement", x("'refund'")).col("moved_on", "r.returned_on")
    back.col("amount_usd", x("-{0}", "r.refund_usd"))
    branches = [paid.done(), back.done()]
    if b.has("fees", 0.5):
        fee = b.select("z", "core.payments").left(
            "f",
            "core.fx_rates",
            on=x("{0} = {1} and {2} = {3}::date", "f.currency", "z.currency", "f.day_on", "z.authorized_at"),
        )
        fee.cols("z.order_id").col("movement", x("'fee'")).col("moved_on", x("{0}::date", "z.authorized_at"))
        fee.col("amount_usd", x("-0.012 * {0} * {1}", "z.amount", "f.usd_per_unit"))
        branches.append(fee.done())
    return b.union("movements", *branches)


@model("intermediate", "4", "What happened to each order, one row an event.")
def int_order_events(b: Builder) -> Rel:
    placed = (
        b.select("o", "staging.stg_orders")
        .cols("o.order_id")
        .col("event", x("'placed'"))
        .col("happened_at", "o.ordered_at")
    )
    paid = (
        b.select("y", "staging.stg_payments")
        .cols("y.order_id")
        .col("event", x("'paid'"))
        .col("happened_at", "y.captured_at")
    )
    paid.where(x("{0} <> 'voided'", "y.status"))
    sent = (
        b.select("s", "staging.stg_shipments")
        .cols("s.order_id")
        .col("event", x("'shipped'"))
        .col("happened_at", "s.shipped_at")
    )
    parts = [placed.done(), paid.done(), sent.done()]
    if b.has("delivered", 0.7):
        there = b.select("t", "staging.stg_shipments").cols("t.order_id").col("event", x("'delivered'"))
        parts.append(there.col("happened_at", "t.delivered_at").where(x("{0} is not null", "t.delivered_at")).done())
    if b.has("returned", 0.7):
        back = (
            b.select("r", "core.returns")
            .cols("r.order_id")
            .col("event", x("'returned'"))
            .col("happened_at", "r.returned_at")
        )
        parts.append(back.done())
    return b.union("events", *parts)


@model("intermediate", "10", "Shipments with what their orders were promised.", "table")
def int_shipment_delays(b: Builder) -> Rel:
    q = b.select("s", "staging.stg_shipments").join("o", "staging.stg_orders", ("s.order_id", "o.order_id"))
    q.cols("s.shipment_id", ".order_id", "s.carrier", "o.country_code", "s.shipped_at", "s.transit_hours")
    q.col("waited_hours", x("date_diff('hour', {0}, {1})", "o.ordered_at", "s.shipped_at"))
    late = "case when {0} is null then true when {1} > 72 then true else false end"
    q.col("is_late", x(late, by=["s.delivered_at", "s.transit_hours"]))
    if b.has("late_hours", 0.7):
        q.col("late_hours", x("case when {1} > 72 then {0} - 72 else 0 end", "s.transit_hours", by=["s.transit_hours"]))
    if b.has("total_hours", 0.5):
        q.col("total_hours", x("{0} + {1}", "=waited_hours", "s.transit_hours"))
    if b.has("without cancelled", 0.5):
        q.where(x("{0} <> 'cancelled'", "o.status"))
    return q.top()


@model("intermediate", "14 16", "Orders of customers, numbered.", "table")
def int_customer_orders(b: Builder) -> Rel:
    q = b.select("o", "staging.stg_orders").join("c", "staging.stg_customers", ("o.customer_id", "c.customer_id"))
    q.cols("o.order_id", ".customer_id", "c.segment", "c.loyalty_tier", "o.country_code", "o.ordered_on", "o.total_usd")
    q.col(
        "order_no",
        x("row_number() over (partition by {0} order by {1}, {2})", by=["o.customer_id", "o.ordered_at", "o.order_id"]),
    )
    if b.has("days_since", 0.7):
        before = x(
            "lag({0}) over (partition by {1} order by {2}, {3})",
            "o.ordered_on",
            by=["o.customer_id", "o.ordered_on", "o.order_id"],
        )
        q.col("days_since", x("date_diff('day', {0}, {1})", before, "o.ordered_on"))
    if b.has("spent_usd", 0.7):
        q.col(
            "spent_usd",
            x(
                "sum({0}) over (partition by {1} order by {2}, {3})",
                "o.total_usd",
                by=["o.customer_id", "o.ordered_at", "o.order_id"],
            ),
        )
    if b.has("without cancelled", 0.6):
        q.where(x("{0} <> 'cancelled'", "o.status"))
    return q.top()


@model("intermediate", "15 14", "One row a customer: first and last order, what was spent.")
def int_customer_totals(b: Builder) -> Rel:
    q = b.select("k", "intermediate.int_customer_orders").cols("k.customer_id", "k.segment")
    q.col("first_on", x("min({0})", "k.ordered_on")).col("last_on", x("max({0})", "k.ordered_on"))
    q.col("order_count", x("count(*)")).col("spend_usd", x("sum({0})", "k.total_usd"))
    if b.has("mean_usd"):
        q.col("mean_usd", x("{0} / {1}", "=spend_usd", "=order_count"))
    if b.has("repeat_usd"):
        q.col("repeat_usd", x("sum({0}) filter (where {1} > 1)", "k.total_usd", by=["k.order_no"]))
    q.group("customer_id", "segment")
    if b.has("spenders only", 0.3):
        q.having(x("sum({0}) > 0", "k.total_usd"))
    return q.top()


@model("intermediate", "3 2", "Pieces and revenue by product and day.", "table")
def int_product_days(b: Builder) -> Rel:
    q = b.select("l", "intermediate.int_order_lines").cols("l.product_id", "l.category", "l.ordered_on")
    q.col("pieces", x("sum({0})", "l.quantity")).col("revenue_usd", x("sum({0})", "l.line_usd"))
    if b.has("order_count"):
        q.col("order_count", x("count(distinct {0})", "l.order_id"))
    if b.has("app_revenue_usd"):
        q.col("app_revenue_usd", x("sum(case when {1} = 'app' then {0} else 0 end)", "l.line_usd", by=["l.channel"]))
    return q.group("product_id", "category", "ordered_on").top()


@model("intermediate", "22 24", "Days of each country, with its region's calendar.")
def int_country_days(b: Builder) -> Rel:
    q = b.select("k", "core.countries").join("d", "staging.stg_calendar", ("k.region", "d.region"))
    q.cols("k.country_code", ".region", "d.day_on", "d.is_working_day", "d.month_on")
    if b.has("country_name"):
        q.cols("k.country_name")
    if b.has("net_share", 0.4):
        q.col("net_share", x("1 / (1 + {0} / 100)", "k.vat_pct"))
    return q.top()


def _refunds_by(b: Builder, *names: str) -> Rel:
    q = b.select("r", "intermediate.int_refunds")
    for name in names:
        q.col(name, f"r.{'returned_on' if name == 'day_on' else name}")
    return q.col("refunded", x("sum({0})", "r.refund_usd")).group(*names).done("refunds")


@model("mart", "20 21", "Revenue by day and country, refunds taken off.", "table")
def revenue_per_day(b: Builder) -> Rel:
    sold = b.select("o", "staging.stg_orders").cols("o.ordered_on", "o.country_code")
    sold.col("gross", x("sum({0})", "o.total_usd")).col("orders_n", x("count(*)"))
    if b.has("without cancelled", 0.8):
        sold.where(x("{0} <> 'cancelled'", "o.status"))
    sold = sold.group("ordered_on", "country_code").done("sold")
    same = x("{0} = {1} and {2} = {3}", "r.day_on", "s.ordered_on", "r.country_code", "s.country_code")
    q = b.select("s", sold).left("r", _refunds_by(b, "day_on", "country_code"), on=same)
    q.col("day_on", "s.ordered_on").cols("s.country_code").col("order_count", "s.orders_n").col("gross_usd", "s.gross")
    q.col("refund_usd", x("coalesce({0}, 0)", "r.refunded"))
    q.col("net_usd", x("{0} - {1}", "=gross_usd", "=refund_usd"))
    if b.has("refund_pct"):
        q.col(
            "refund_pct",
            x("case when {1} > 0 then 100 * {0} / {1} end", "=refund_usd", "=gross_usd", by=["=gross_usd"]),
        )
    if b.has("ordered", 0.4):
        q.order("day_on", "country_code")
    return q.top()


@model("mart", "20", "Revenue by channel and month.", "table")
def revenue_per_channel(b: Builder) -> Rel:
    q = (
        b.select("o", "staging.stg_orders")
        .col("month_on", x("date_trunc('month', {0})::date", "o.ordered_on"))
        .cols("o.channel")
    )
    q.col("order_count", x("count(*)")).col("revenue_usd", x("sum({0})", "o.total_usd"))
    if b.has("cancelled_usd", 0.7):
        q.col("cancelled_usd", x("sum({0}) filter (where {1} = 'cancelled')", "o.total_usd", by=["o.status"]))
    if b.has("share_pct"):
        q.col("share_pct", x("100 * sum({0}) / sum(sum({0})) over (partition by {1})", "o.total_usd", by=["=month_on"]))
    q.group("month_on", "channel")
    if b.has("large only", 0.3):
        q.having(x("count(*) > 20"))
    return q.top()


@model("mart", "17 18", "Active and new customers by month and segment.", "table")
def active_customers(b: Builder) -> Rel:
    q = b.select("k", "intermediate.int_customer_orders").col(
        "month_on", x("date_trunc('month', {0})::date", "k.ordered_on")
    )
    q.cols("k.segment").col("customers", x("count(distinct {0})", "k.customer_id"))
    if b.has("new_customers", 0.8):
        q.col("new_customers", x("count(distinct {0}) filter (where {1} = 1)", "k.customer_id", by=["k.order_no"]))
    if b.has("members", 0.5):
        q.col(
            "members",
            x("count(distinct case when {1} is not null then {0} end)", "k.customer_id", by=["k.loyalty_tier"]),
        )
    return q.group("month_on", "segment").top()


@model("mart", "10 12", "Late shipments by carrier and week.", "table")
def late_shipments(b: Builder) -> Rel:
    q = b.select("d", "intermediate.int_shipment_delays").col(
        "week_on", x("date_trunc('week', {0})::date", "d.shipped_at")
    )
    q.cols("d.carrier").col("shipment_count", x("count(*)"))
    q.col("late_count", x("count(*) filter (where {0})", by=["d.is_late"]))
    q.col("late_pct", x("100.0 * {0} / {1}", "=late_count", "=shipment_count"))
    if b.has("median_hours"):
        q.col("median_hours", x("median({0})", "d.transit_hours"))
    q.group("week_on", "carrier")
    if b.has("ordered", 0.4):
        q.order("week_on", "carrier")
    return q.top()


@model("mart", "13 3", "Pieces sold and returned by product.")
def return_rates(b: Builder) -> Rel:
    sold = (
        b.select("l", "intermediate.int_order_lines")
        .cols("l.product_id", "l.category")
        .col("sold", x("sum({0})", "l.quantity"))
    )
    sold = sold.group("product_id", "category").done("sold_pieces")
    back = b.select("r", "staging.stg_returns").join(
        "i", "staging.stg_order_items", ("r.order_id", "i.order_id"), ("r.line_no", "i.line_no")
    )
    back = (
        back.cols("i.product_id")
        .col("returned", x("sum({0})", "r.quantity"))
        .group("product_id")
        .done("returned_pieces")
    )
    q = b.select("s", sold).left("b", back, ("s.product_id", "b.product_id"))
    q.cols("s.product_id", "s.category").col("sold_pieces", "s.sold").col(
        "returned_pieces", x("coalesce({0}, 0)", "b.returned")
    )
    q.col("return_pct", x("100.0 * {0} / {1}", "=returned_pieces", "=sold_pieces"))
    if b.has("is_conspicuous"):
        q.col(
            "is_conspicuous",
            x("case when {0} > 10 and {1} >= 20 then true else false end", by=["=return_pct", "=sold_pieces"]),
        )
    if b.has("sold often", 0.4):
        q.where(x("{0} >= 5", "s.sold"))
    return q.top()


@model("mart", "15 17", "What a customer has brought so far.", "table")
def customer_value(b: Builder) -> Rel:
    q = b.select("t", "intermediate.int_customer_totals").left(
        "r", _refunds_by(b, "customer_id"), ("t.customer_id", "r.customer_id")
    )
    q.cols("t.customer_id", "t.segment").col("order_count", "t.order_count")
    q.col("value_usd", x("{0} - coalesce({1}, 0)", "t.spend_usd", "r.refunded"))
    if b.has("decile", 0.7):
        q.col("decile", x("ntile(10) over (partition by {0} order by {1} desc)", by=["t.segment", "t.spend_usd"]))
    if b.has("days_known"):
        q.col("days_known", x("date_diff('day', {0}, {1})", "t.first_on", "t.last_on"))
    if b.has("returning only", 0.3):
        q.where(x("{0} > 1", "t.order_count"))
    return q.top()


@model("mart", "3 29", "The ten best products of each category and month.")
def top_products(b: Builder) -> Rel:
    months = b.select("d", "intermediate.int_product_days").col(
        "month_on", x("date_trunc('month', {0})::date", "d.ordered_on")
    )
    months.cols("d.category", "d.product_id").col("revenue", x("sum({0})", "d.revenue_usd")).col(
        "pieces", x("sum({0})", "d.pieces")
    )
    months = months.group("month_on", "category", "product_id").done("product_months")
    q = b.select("m", months).join("p", "staging.stg_products", ("m.product_id", "p.product_id"))
    q.cols("m.month_on", "m.category", ".product_id", "p.product_name").col("revenue_usd", "m.revenue")
    if b.has("sold_pieces"):
        q.col("sold_pieces", "m.pieces")
    q.qualify(
        x("rank() over (partition by {0}, {1} order by {2} desc)", by=["m.month_on", "m.category", "m.revenue"]),
        "<= 10",
    )
    return q.top()


@model("mart", "7 8", "Payments tried and captured by method and day.", "table")
def payment_success(b: Builder) -> Rel:
    q = b.select("y", "intermediate.int_latest_payments").join("o", "staging.stg_orders", ("y.order_id", "o.order_id"))
    q.col("day_on", "o.ordered_on").cols("y.psp", "y.method").col("attempts", x("count(*)"))
    q.col("captured", x("sum(case when {0} = 'captured' then 1 else 0 end)", by=["y.status"]))
    q.col("success_pct", x("100.0 * {0} / {1}", "=captured", "=attempts"))
    if b.has("captured_usd"):
        q.col("captured_usd", x("sum(if({1} = 'captured', {0}, 0))", "o.total_usd", by=["y.status"]))
    return q.group("day_on", "psp", "method").top()


@model("mart", "4 6", "How far orders got, by day.", "table")
def order_funnel(b: Builder) -> Rel:
    per = b.select("e", "intermediate.int_order_events").cols("e.order_id")
    per.col("placed_at", x("max(case when {1} = 'placed' then {0} end)", "e.happened_at", by=["e.event"]))
    per.col("paid_at", x("max(case when {1} = 'paid' then {0} end)", "e.happened_at", by=["e.event"]))
    per.col("shipped_at", x("max({0}) filter (where {1} = 'shipped')", "e.happened_at", by=["e.event"]))
    per = per.group("order_id").done("per_order")
    q = b.select("p", per).col("day_on", x("{0}::date", "p.placed_at"))
    q.col("placed", x("count({0})", "p.placed_at")).col("paid", x("count({0})", "p.paid_at"))
    q.col("shipped", x("count({0})", "p.shipped_at"))
    if b.has("hours_to_ship"):
        q.col("hours_to_ship", x("avg(date_diff('hour', {0}, {1}))", "p.placed_at", "p.shipped_at"))
    return q.group("day_on").top()


@model("mart", "17 15", "Customers who came back, by month of their first order.")
def repeat_purchases(b: Builder) -> Rel:
    q = b.select("t", "intermediate.int_customer_totals").col(
        "first_month_on", x("date_trunc('month', {0})::date", "t.first_on")
    )
    q.col("customers", x("count(*)"))
    q.col("returned", x("count(*) filter (where {0} > 1)", by=["t.order_count"]))
    if b.has("repeat_pct", 0.7):
        q.col("repeat_pct", x("100.0 * {0} / {1}", "=returned", "=customers"))
    if b.has("spend_usd"):
        q.col("spend_usd", x("sum({0})", "t.spend_usd"))
    q.group("first_month_on")
    if b.has("ordered", 0.5):
        q.order("first_month_on")
    return q.top()


@model("mart", "22 3", "What each category has of the revenue.")
def category_shares(b: Builder) -> Rel:
    all_of = b.select("a", "intermediate.int_product_days").col("total", x("sum({0})", "a.revenue_usd")).done()
    q = (
        b.select("d", "intermediate.int_product_days")
        .cols("d.category")
        .col("revenue_usd", x("sum({0})", "d.revenue_usd"))
    )
    q.col("share_pct", x("100 * sum({0}) / {1}", "d.revenue_usd", all_of))
    if b.has("pieces"):
        q.col("sold_pieces", x("sum({0})", "d.pieces"))
    if b.has("recent", 0.5):
        q.where(x("{0} >= date '2026-01-01'", "d.ordered_on"))
    return q.group("category").top()


@model("mart", "10 12", "Carriers ranked by month.")
def carrier_scorecard(b: Builder) -> Rel:
    per = b.select("d", "intermediate.int_shipment_delays").cols("d.carrier")
    per.col("month_on", x("date_trunc('month', {0})::date", "d.shipped_at")).col("n", x("count(*)"))
    per.col("hours", x("avg({0})", "d.transit_hours")).col(
        "late", x("avg(case when {0} then 1.0 else 0.0 end)", by=["d.is_late"])
    )
    per = per.group("carrier", "month_on").done("carrier_months")
    q = b.select("m", per).cols("m.carrier", "m.month_on").col("shipment_count", "m.n").col("mean_hours", "m.hours")
    q.col("late_share", "m.late")
    if b.has("rank_no", 0.7):
        place = x("rank() over (partition by {0} order by {1}, {2})", by=["m.month_on", "m.late", "m.hours"])
        q.col("rank_no", place)
    if b.has("grade"):
        q.col("grade", x("case when {0} < 0.05 then 'A' when {0} < 0.15 then 'B' else 'C' end", by=["m.late"]))
    return q.top()


@model("mart", "13 21", "Refunds by reason and month.")
def refunds_per_reason(b: Builder) -> Rel:
    q = b.select("r", "intermediate.int_refunds").col("month_on", x("date_trunc('month', {0})::date", "r.returned_on"))
    q.cols("r.reason").col("refund_count", x("count(*)")).col("refund_usd", x("sum({0})", "r.refund_usd"))
    if b.has("largest_usd"):
        q.col("largest_usd", x("max({0})", "r.refund_usd"))
    q.group("month_on", "reason")
    if b.has("large only", 0.3):
        q.having(x("sum({0}) > 100", "r.refund_usd"))
    return q.top()


@model("mart", "15", "Revenue by loyalty tier.")
def loyalty_revenue(b: Builder) -> Rel:
    q = b.select("k", "intermediate.int_customer_orders").col("tier", x("coalesce({0}, 'none')", "k.loyalty_tier"))
    q.col("month_on", x("date_trunc('month', {0})::date", "k.ordered_on"))
    q.col("order_count", x("count(*)")).col("revenue_usd", x("sum({0})", "k.total_usd"))
    if b.has("per_customer_usd"):
        q.col("per_customer_usd", x("{0} / count(distinct {1})", "=revenue_usd", "k.customer_id"))
    return q.group("tier", "month_on").top()


@model("mart", "1 2", "Sellers' revenue and returns.", "table")
def seller_performance(b: Builder) -> Rel:
    q = b.select("l", "intermediate.int_order_lines").join(
        "p", "staging.stg_products", ("l.product_id", "p.product_id")
    )
    q.left("r", "staging.stg_returns", ("l.order_id", "r.order_id"), ("l.line_no", "r.line_no"))
    q.cols("p.seller_name").col("revenue_usd", x("sum({0})", "l.line_usd")).col("line_count", x("count(*)"))
    q.col("returned_count", x("count({0})", "r.return_id"))
    if b.has("top_category_usd", 0.5):
        q.col(
            "grocery_usd",
            x("sum({0}) filter (where {1} in ('produce', 'bakery', 'dairy'))", "l.line_usd", by=["p.category"]),
        )
    return q.group("seller_name").top()


@model("mart", "22", "Growth by country and month.", "table")
def country_growth(b: Builder) -> Rel:
    months = b.select("o", "staging.stg_orders").col("month_on", x("date_trunc('month', {0})::date", "o.ordered_on"))
    months.cols("o.country_code").col("revenue", x("sum({0})", "o.total_usd"))
    months = months.group("month_on", "country_code").done("country_months")
    q = b.select("m", months).cols("m.month_on", "m.country_code").col("revenue_usd", "m.revenue")
    q.col(
        "previous_usd",
        x("lag({0}) over (partition by {1} order by {2})", "m.revenue", by=["m.country_code", "m.month_on"]),
    )
    q.col("growth_pct", x("100 * ({0} / nullif({1}, 0) - 1)", "=revenue_usd", "=previous_usd"))
    if b.has("whole months", 0.4):
        q.where(x("{0} >= date '2025-08-01'", "m.month_on"))
    return q.top()


@model("mart", "22 20", "Revenue of working days and others.")
def working_day_revenue(b: Builder) -> Rel:
    q = b.select("d", "intermediate.int_country_days")
    q.left(
        "o",
        "staging.stg_orders",
        on=x("{0} = {1} and {2} = {3}", "o.country_code", "d.country_code", "o.ordered_on", "d.day_on"),
    )
    q.cols("d.month_on", "d.region", "d.is_working_day").col("day_count", x("count(distinct {0})", "d.day_on"))
    q.col("revenue_usd", x("coalesce(sum({0}), 0)", "o.total_usd"))
    if b.has("per_day_usd"):
        q.col("per_day_usd", x("{0} / {1}", "=revenue_usd", "=day_count"))
    return q.group("month_on", "region", "is_working_day").top()


@model("mart", "9 20", "Cash position by day.", "table")
def cash_position(b: Builder) -> Rel:
    days = (
        b.select("m", "intermediate.int_money_movements").cols("m.moved_on").col("net", x("sum({0})", "m.amount_usd"))
    )
    days.col("paid_in", x("sum(case when {1} = 'payment' then {0} else 0 end)", "m.amount_usd", by=["m.movement"]))
    days = days.group("moved_on").done("days")
    q = b.select("d", days).col("day_on", "d.moved_on").col("net_usd", "d.net")
    q.col("balance_usd", x("sum({0}) over (order by {1})", "d.net", by=["d.moved_on"]))
    if b.has("paid_in_usd"):
        q.col("paid_in_usd", "d.paid_in")
    if b.has("mean_7_usd", 0.5):
        q.col(
            "mean_7_usd",
            x("avg({0}) over (order by {1} rows between 6 preceding and current row)", "d.net", by=["d.moved_on"]),
        )
    return q.top()


@model("mart", "17 14", "Customers by what they spend.")
def spend_bands(b: Builder) -> Rel:
    banded = b.select("t", "intermediate.int_customer_totals").cols("t.customer_id", "t.segment", "t.spend_usd")
    banded.col(
        "band",
        x("case when {0} >= 1000 then 'gold' when {0} >= 200 then 'silver' else 'bronze' end", by=["t.spend_usd"]),
    )
    q = (
        b.select("x", banded.done("banded"))
        .cols("x.segment", "x.band")
        .col("customers", x("count({0})", "x.customer_id"))
    )
    q.col("spend_usd", x("sum({0})", "x.spend_usd"))
    if b.has("median_usd", 0.5):
        q.col("median_usd", x("median({0})", "x.spend_usd"))
    return q.group("segment", "band").top()


@model("mart", "3 2", "Lines and amount of a basket, by channel and country.")
def basket_sizes(b: Builder) -> Rel:
    per = b.select("l", "intermediate.int_order_lines").cols("l.order_id", "l.channel", "l.country_code")
    per.col("n", x("count(*)")).col("usd", x("sum({0})", "l.line_usd"))
    per = per.group("order_id", "channel", "country_code").done("baskets")
    q = b.select("k", per).cols("k.channel", "k.country_code").col("basket_count", x("count({0})", "k.order_id"))
    q.col("mean_lines", x("avg({0})", "k.n")).col("mean_usd", x("avg({0})", "k.usd"))
    if b.has("large_pct", 0.5):
        q.col("large_pct", x("100 * avg(if({0} >= 5, 1, 0))", by=["k.n"]))
    return q.group("channel", "country_code").top()


@model("mart", "8 7", "Orders that were paid and never shipped.")
def paid_not_shipped(b: Builder) -> Rel:
    q = b.select("y", "intermediate.int_latest_payments").join("o", "staging.stg_orders", ("y.order_id", "o.order_id"))
    q.cols(".order_id", "o.customer_id", "y.psp", "o.total_usd", "y.captured_at").where(
        x("{0} = 'captured'", "y.status")
    )
    sent = (
        b.select("s", "staging.stg_shipments", q)
        .where(x("{0} = {1}", "s.order_id", "o.order_id"))
        .col("found", x("1"))
        .done()
    )
    q.where(x("not exists {0}", sent))
    if b.has("days_open"):
        q.col("days_open", x("date_diff('day', {0}, timestamp '2026-06-30')", "y.captured_at"))
    return q.top()


@model("mart", "16 15", "Orders of customers who spend much.")
def best_customers_orders(b: Builder) -> Rel:
    best = b.select("t", "intermediate.int_customer_totals").cols("t.customer_id")
    best.where(x("{0} >= 500", "t.spend_usd"))
    q = b.select("k", "intermediate.int_customer_orders").cols(
        "k.order_id", "k.customer_id", "k.ordered_on", "k.total_usd"
    )
    if b.has("order_band"):
        q.col(
            "order_band",
            x("case when {0} = 1 then 'first' when {0} <= 5 then 'early' else 'later' end", by=["k.order_no"]),
        )
    return q.where(x("{0} in {1}", "k.customer_id", best.done())).top()


@model("mart", "20 22", "Exposure to exchange rates by currency and month.")
def fx_exposure(b: Builder) -> Rel:
    q = b.select("y", "staging.stg_payments").join(
        "f", "staging.stg_fx_rates", ("y.currency", "f.currency"), on=x("{0}::date = {1}", "y.captured_at", "f.day_on")
    )
    q.cols("y.currency").col("month_on", x("date_trunc('month', {0})::date", "f.day_on"))
    q.col("amount_usd", x("sum({0} * {1})", "y.amount", "f.usd_per_unit"))
    if b.has("rate_range"):
        q.col("rate_range", x("max({0}) - min({0})", "f.usd_per_unit"))
    return q.group("currency", "month_on").top()


# -- a stack of models -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Version:
    """One version of a model: its statement, its output columns in order, its edges (output, table, column, kind)."""

    table: str
    sql: str
    columns: tuple[str, ...]
    edges: frozenset[tuple[str, str, str, str]]
    layout: int = 0
    flips: frozenset[str] = frozenset()
    names: tuple[tuple[str, str], ...] = ()


@dataclass
class Stack:
    """All models of one seed, in an order in which they can be created."""

    seed: bytes
    versions: dict[str, Version] = field(default_factory=dict)
    options: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def columns(self, table: str) -> tuple[str, ...]:
        """The columns of a core table or of a model that has been made."""
        schema, name = table.split(".")
        return tuple(CORE[name].split()) if schema == "core" else self.versions[table].columns

    def make(
        self, table: str, layout: int = 0, flips: frozenset[str] = frozenset(), names: dict[str, str] | None = None
    ) -> Version:
        """A version of a model over the others as they are."""
        b = Builder(self, table, layout, flips, names)
        sql, rel = b.finish(RECIPES[table].make(b))
        self.options.setdefault(table, tuple(dict.fromkeys(b.options)))
        return Version(
            table, sql, tuple(rel.columns), frozenset(rel.edges()), layout, flips, tuple(sorted((names or {}).items()))
        )

    def read(self) -> set[Ref]:
        """Columns that some model reads."""
        return {(t, c) for v in self.versions.values() for _, t, c, _ in v.edges}


def make_stack(seed: bytes) -> Stack:
    """The models of a seed."""
    stack = Stack(seed)
    for table in RECIPES:
        stack.versions[table] = stack.make(table)
    return stack


# -- deployments -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Deployment:
    """One deployment of a model: the version before, the version after, what its author declared."""

    deployed_at: datetime
    kind: str
    before: Version
    after: Version
    declared: tuple[dict[str, Any], ...]


def declarations(before: Version, after: Version, renamed: dict[str, str]) -> list[dict[str, Any]]:
    """What has to be declared for a change: ``renamed`` (old name: new name), columns that go, inputs that are read no more."""
    table = before.table
    found: list[dict[str, Any]] = [
        {"action": "rename_column", "table": table, "column": old, "to": new} for old, new in sorted(renamed.items())
    ]
    kept = [c for c in before.columns if renamed.get(c, c) in after.columns]
    found += [{"action": "drop_column", "table": table, "column": c} for c in before.columns if c not in kept]
    inputs: dict[Ref, set[str]] = {}
    for column, source, name, kind in before.edges:
        if column in kept and (renamed.get(column, column), source, name, kind) not in after.edges:
            inputs.setdefault((source, name), set()).add(column)
    for (source, name), columns in sorted(inputs.items()):
        readers = {c for c, t, n, _ in before.edges if (t, n) == (source, name) and c in kept}
        whole = columns == readers and len(columns) > 1
        found += [
            {"action": "drop_input", "table": table, "column": column, "input_table": source, "input_column": name}
            for column in ([None] if whole else sorted(columns))
        ]
    return found


def unexplained(before: Version, after: Version, declared: Sequence[dict[str, Any]]) -> set[str]:
    """Columns of ``before`` that are lost, or have lost an edge, without a declaration that says so."""
    mine = [d for d in declared if d["table"] == before.table]
    renamed = {d["column"]: d["to"] for d in mine if d["action"] == "rename_column"}
    dropped = {d["column"] for d in mine if d["action"] == "drop_column"}
    unread = {(d["column"], d["input_table"], d["input_column"]) for d in mine if d["action"] == "drop_input"}
    found = set()
    for column in before.columns:
        now = renamed.get(column, column)
        if now not in after.columns:
            if column not in dropped:
                found.add(column)
            continue
        for _, source, name, kind in (e for e in before.edges if e[0] == column):
            gone = (now, source, name, kind) not in after.edges
            if gone and not {(column, source, name), (None, source, name)} & unread and column not in dropped:
                found.add(column)
    return found


# What columns were called before somebody tidied up.
FORMER = (("_usd", "_amount"), ("_pct", "_percentage"), ("_count", "_cnt"), ("_on", "_date"), ("_hours", "_hrs"))


def former_name(table: str, column: str) -> str:
    """What a column may have been called before."""
    before = "kpi" if table.startswith("mart.") else "src"
    return next((column.removesuffix(end) + old for end, old in FORMER if column.endswith(end)), f"{before}_{column}")


def make_history(stack: Stack, name: str = "deployments") -> list[Deployment]:
    """Deployments of the last DAYS days, in order of time; the last version of each model is the one of the stack."""
    rng = streams(stack.seed, name)
    read = stack.read()
    found: list[Deployment] = []
    for table, current in stack.versions.items():
        kept = {c for t, c in read if t == table}
        steps: list[tuple[str, Version]] = []  # newest first: the version that stood before, and what replaced it
        version = current
        for _ in range(int(rng.choice([0, 1, 2, 3], p=[0.3, 0.3, 0.25, 0.15]))):
            kind = str(rng.choice(["change", "rename", "rollback", "refactor"], p=[0.45, 0.2, 0.15, 0.2]))
            older = _older(stack, version, kind, kept, rng)
            if older is None:
                continue
            steps.append((kind, older))
            if kind == "rollback":
                steps.append(("change", version))
            else:
                version = older
        times = _moments(rng, len(steps))
        after = current
        for i, (kind, older) in enumerate(steps):
            at = times[len(steps) - 1 - i]
            if kind == "rollback":  # soon after what it takes back
                at = times[len(steps) - 2 - i] + timedelta(minutes=int(rng.integers(20, 200)))
            renamed = _renamed(older, after)
            declared = declarations(older, after, renamed)
            if declared and rng.random() < UNDECLARED_SHARE:
                forgotten = set(rng.permutation(len(declared))[: int(rng.integers(1, len(declared) + 1))].tolist())
                declared = [d for k, d in enumerate(declared) if k not in forgotten]
            found.append(Deployment(at, kind, older, after, tuple(declared)))
            after = older
    return sorted(found, key=lambda d: (d.deployed_at, d.before.table))


def _renamed(before: Version, after: Version) -> dict[str, str]:
    """Columns that have another name in the version after."""
    old, new = dict(before.names), dict(after.names)
    pairs = {old.get(c, c): new.get(c, c) for c in {*old, *new}}
    return {a: b for a, b in pairs.items() if a != b and a in before.columns and b in after.columns}


def _older(stack: Stack, version: Version, kind: str, kept: set[str], rng: np.random.Generator) -> Version | None:
    """A version that may have stood before this one; None where the model has nothing of the kind."""
    names, flips, layout = dict(version.names), version.flips, version.layout
    if kind == "rename":
        free = [c for c in version.columns if c not in kept and c not in names.values()]
        if not free:
            return None
        column = str(rng.choice(free))
        names[column] = former_name(version.table, column)
    elif kind == "refactor":
        layout = int(rng.integers(1, 1000))
    else:
        options = [o for o in stack.options[version.table] if not o.startswith("using")]
        if not options:
            return None
        flips = flips ^ {str(rng.choice(options))}
    made = stack.make(version.table, layout, flips, names)
    if not kept <= set(made.columns) or (kind == "rollback" and made.edges == version.edges):
        return None
    return None if made.sql == version.sql else made


def _moments(rng: np.random.Generator, n: int) -> list[datetime]:
    """n moments of working hours, on different days, in order."""
    days = np.sort(rng.permutation(DAYS - 2)[:n]).tolist()
    found = []
    for day in days:
        on = TODAY - timedelta(days=DAYS - 1 - day)
        on -= timedelta(days=max(0, on.weekday() - 4))
        found.append(on + timedelta(seconds=int(rng.integers(7 * 3600, 14 * 3600))))
    return [at + timedelta(minutes=10 * k) for k, at in enumerate(sorted(found))]


# -- who reads -------------------------------------------------------------------------------------------------------

# name, kind, team, cadence, what it reads
CONSUMERS = (
    ("Trading floor", "dashboard", 20, "daily", "mart.revenue_per_day mart.revenue_per_channel"),
    ("Finance morning view", "dashboard", 20, "daily", "mart.revenue_per_day mart.cash_position"),
    ("Country board", "dashboard", 22, "weekly", "mart.country_growth mart.working_day_revenue"),
    ("Carrier board", "dashboard", 10, "daily", "mart.late_shipments mart.carrier_scorecard"),
    ("Customer health", "dashboard", 16, "weekly", "mart.active_customers mart.repeat_purchases"),
    ("Category board", "dashboard", 3, "weekly", "mart.category_shares mart.top_products"),
    ("Payments monitor", "dashboard", 7, "daily", "mart.payment_success mart.paid_not_shipped"),
    ("Loyalty board", "dashboard", 15, "monthly", "mart.loyalty_revenue mart.spend_bands"),
    ("Funnel screen", "dashboard", 4, "daily", "mart.order_funnel core.orders"),
    ("Basket screen", "dashboard", 2, "weekly", "mart.basket_sizes"),
    ("Returns board", "dashboard", 13, "weekly", "mart.return_rates mart.refunds_per_reason"),
    ("Seller portal", "dashboard", 1, "daily", "mart.seller_performance staging.stg_products"),
    ("Seller statements", "extract", 1, "monthly", "intermediate.int_order_lines mart.seller_performance"),
    ("Bank reconciliation", "extract", 9, "daily", "intermediate.int_money_movements staging.stg_payments"),
    ("Carrier invoice check", "extract", 11, "monthly", "intermediate.int_shipment_delays staging.stg_shipments"),
    ("Campaign audiences", "extract", 18, "daily", "mart.customer_value mart.best_customers_orders"),
    ("Refund file", "extract", 21, "daily", "intermediate.int_refunds"),
    ("Planning cube", "extract", 22, "weekly", "intermediate.int_country_days mart.country_growth"),
    ("Product feed", "extract", 2, "daily", "staging.stg_products core.products"),
    ("Price study", "notebook", 3, "monthly", "intermediate.int_order_lines staging.stg_order_items"),
    ("Churn study", "notebook", 16, "quarterly", "intermediate.int_customer_totals core.customers"),
    ("Causes of delay", "notebook", 12, "weekly", "intermediate.int_shipment_delays core.shipments"),
    ("Fee review", "notebook", 9, "quarterly", "intermediate.int_money_movements core.payments"),
    ("Basket study", "notebook", 29, "monthly", "intermediate.int_product_days intermediate.int_order_events"),
    ("VAT return", "regulatory report", 20, "quarterly", "core.orders intermediate.int_country_days"),
    ("Payment statistics", "regulatory report", 7, "quarterly", "staging.stg_payments core.payments"),
    ("Product safety report", "regulatory report", 13, "quarterly", "staging.stg_returns mart.return_rates"),
    ("Currency exposure statement", "regulatory report", 20, "monthly", "mart.fx_exposure staging.stg_fx_rates"),
    (
        "Delivery time report",
        "regulatory report",
        10,
        "quarterly",
        "intermediate.int_shipment_delays mart.late_shipments",
    ),
    ("Demand features", "ml feature job", 28, "daily", "intermediate.int_product_days staging.stg_calendar"),
    ("Churn features", "ml feature job", 27, "daily", "intermediate.int_customer_orders staging.stg_customers"),
    ("Delay risk features", "ml feature job", 12, "daily", "intermediate.int_shipment_delays"),
    ("Fraud features", "ml feature job", 8, "daily", "intermediate.int_latest_payments intermediate.int_refunds"),
    ("Recommendation features", "ml feature job", 29, "daily", "intermediate.int_order_lines"),
)
# Reports: consumer, is it business-critical, due at (local time), time zone, day (ISO weekday, or day of the month).
REPORTS = (
    ("Trading floor", True, "07:30", "Europe/Berlin", None),
    ("Finance morning view", True, "08:00", "Europe/Berlin", None),
    ("Country board", False, "10:00", "Europe/Berlin", 1),
    ("Carrier board", True, "06:30", "Europe/Berlin", None),
    ("Customer health", False, "09:00", "Australia/Sydney", 2),
    ("Category board", False, "09:30", "Europe/Berlin", 1),
    ("Payments monitor", True, "07:00", "America/New_York", None),
    ("Loyalty board", False, "12:00", "America/New_York", 3),
    ("Funnel screen", False, "09:00", "Europe/Berlin", None),
    ("Returns board", False, "11:00", "Europe/Berlin", 4),
    ("Seller portal", True, "05:00", "Europe/Berlin", None),
    ("Bank reconciliation", True, "06:00", "Europe/Berlin", None),
    ("VAT return", True, "16:00", "Europe/Berlin", 10),
    ("Payment statistics", True, "15:00", "America/New_York", 15),
    ("Product safety report", False, "17:00", "Europe/Berlin", 20),
    ("Currency exposure statement", True, "12:00", "Europe/Berlin", 5),
    ("Delivery time report", False, "17:00", "Europe/Berlin", 12),
)  # fmt: skip
CATEGORIES = {
    "band": ("bronze", "silver", "gold"),
    "carrier": ("swiftly", "parcelwing", "metrobox", "nordlink"),
    "channel": ("app", "web", "store"),
    "method": ("card", "wallet", "transfer", "voucher"),
    "movement": ("payment", "refund", "fee"),
    "psp": ("payvane", "quickrail", "till"),
    "segment": ("consumer", "small business", "reseller"),
}
# Columns that hold no null in any model, and integers that fit a smaller type today.
NEVER_NULL = (
    "order_id",
    "product_id",
    "customer_id",
    "carrier",
    "channel",
    "order_count",
    "shipment_count",
    "seller_id",
)
NARROW = {
    "order_id": "integer", "product_id": "integer", "customer_id": "integer", "order_count": "integer", "quantity": "tinyint",
    "line_no": "tinyint", "shipment_id": "integer", "seller_id": "smallint",
}  # fmt: skip
NUMBERS = ("INT", "DECIMAL", "DOUBLE")


def make_queries(stack: Stack, types: dict[str, dict[str, str]]) -> list[tuple[str, list[str]]]:
    """(consumer, its queries). ``types``: by table, the type of each column."""
    found = []
    for name, kind, _, _, tables in CONSUMERS:
        rng = streams(stack.seed, f"queries/{name}")
        queries = []
        for table in tables.split():
            kinds = {"dashboard": ["sum", "sum", "categories"], "extract": ["list", "narrow", "present"],
                     "notebook": ["star", "sum", "unseen"], "regulatory report": ["sum", "list", "present"],
                     "ml feature job": ["narrow", "list", "categories"]}[kind]  # fmt: skip
            for how in rng.permutation(kinds)[: int(rng.integers(1, 3))].tolist():
                queries.append(_query(table, types[table], how, rng))
        found.append((name, list(dict.fromkeys(queries))))
    return found


def _query(table: str, columns: dict[str, str], how: str, rng: np.random.Generator) -> str:
    numbers = [
        c
        for c, t in columns.items()
        if any(n in t for n in NUMBERS) and not c.endswith(("_id", "_no", "_pct", "_share"))
    ]
    dims = [c for c, t in columns.items() if t in {"VARCHAR", "DATE", "BOOLEAN"}]
    some = [str(c) for c in rng.permutation(list(columns))[: max(2, int(0.6 * len(columns)))]]
    some = [c for c in columns if c in some]
    if how == "narrow" and (fit := [c for c in columns if c in NARROW]):
        listed = ", ".join(f"{c}::{NARROW[c]} as {c}" if c in fit else c for c in columns if c in {*some, *fit})
        return f"select {listed}\nfrom {table}"
    if how == "categories" and (fit := [c for c in columns if c in CATEGORIES]):
        column = str(rng.choice(fit))
        cases = " ".join(f"when '{v}' then {k}" for k, v in enumerate(CATEGORIES[column], 1))
        return (
            f"select\n  case {column} {cases} else error('unknown {column}') end as {column}_code,\n  count(*) as row_count\n"
            f"from {table}\ngroup by 1\norder by 1"
        )
    if how == "present" and (fit := [c for c in columns if c in NEVER_NULL]):
        column = str(rng.choice(fit))
        shown = ", ".join(c for c in some if c != column)
        return f"select\n  if({column} is null, error('{column} is missing'), {column}) as {column},\n  {shown}\nfrom {table}"
    if how == "unseen" and (fit := [c for c in columns if c in {"product_id", "customer_id", "order_id"}]):
        column = str(rng.choice(fit))
        home = {"product_id": "core.products", "customer_id": "core.customers", "order_id": "core.orders"}[column]
        if home != table:
            return f"select count(*) as unseen\nfrom {home}\nwhere {column} not in (select {column} from {table})"
    if how == "star":
        return f"select *\nfrom {table}\nlimit 1000"
    if how == "list" or not numbers or not dims:
        return f"select {', '.join(some)}\nfrom {table}"
    dim, number = str(rng.choice(dims)), str(rng.choice(numbers))
    return f"select {dim}, sum({number}) as {number}\nfrom {table}\ngroup by {dim}\norder by {dim}"


def _last_run(cadence: str, rng: np.random.Generator) -> datetime:
    day = {"daily": 0, "weekly": 1, "monthly": 28, "quarterly": 88}[cadence]
    late = {"daily": 2, "weekly": 5, "monthly": 4, "quarterly": 9}[cadence]
    on = TODAY - timedelta(days=max(0, day - int(rng.integers(0, late))) if day else int(rng.integers(0, late)))
    return on + timedelta(seconds=int(rng.integers(4 * 3600, 9 * 3600)))


# -- the world's tables ----------------------------------------------------------------------------------------------


def empty_warehouse(types: dict[str, dict[str, str]] | None = None) -> duckdb.DuckDBPyConnection:
    """A database with the core tables, empty, and the schemas of the models. ``types``: of core's columns."""
    con = duckdb.connect(":memory:", config={"autoinstall_known_extensions": "false", "threads": "1"})
    con.execute("set timezone='UTC'")
    for schema in ("core", "staging", "intermediate", "mart"):
        con.execute(f"create schema {schema}")
    for table in CORE:
        listed = ", ".join(f"{c} {t}" for c, t in types[f"core.{table}"].items())
        con.execute(f"create table core.{table} ({listed})")
    return con


def core_types(con: duckdb.DuckDBPyConnection) -> dict[str, dict[str, str]]:
    """By core table, the type of each column, as the world has them."""
    found: dict[str, dict[str, str]] = {f"core.{t}": {} for t in CORE}
    for table in CORE:
        for name, kind, *_ in con.execute(f"describe core.{table}").fetchall():
            found[f"core.{table}"][name] = kind
    return found


def model_types(stack: Stack, core: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    """By table, core's and models', the type of each column: DuckDB's word, on empty tables."""
    con = empty_warehouse(core)
    found = dict(core)
    try:
        for table, version in stack.versions.items():
            con.execute(f"create view {table} as {version.sql}")
            found[table] = {r[0]: r[1] for r in con.execute(f"describe {table}").fetchall()}
    finally:
        con.close()
    return found


COLUMNS = {
    "sources": "asset_id schema_name table_name owner_team_id",
    "models": "model_id asset_id schema_name table_name layer owner_team_id materialisation purpose sql",
    "lineage": "level output_asset_id output_table output_column input_asset_id input_table input_column kind",
    "consumers": "consumer_id consumer_name kind owner_team_id cadence last_run_at",
    "queries": "query_id consumer_id sql last_run_at",
    "reports": "report_id report_name consumer_id owner_team_id is_business_critical due_at_local time_zone cadence due_day",
    "deployments": "deployment_id deployed_at model_id kind git_sha sql_before sql_after declared deployed_by",
    "deployment_edges": "deployment_id side output_column input_table input_column kind",
    "losses": "deployment_id column_name",
}


def build(con: duckdb.DuckDBPyConnection, seed: bytes, scale: float) -> None:
    """Writes the tables; they do not shrink with scale."""
    stack = make_stack(derive_seed(seed, "world/models"))
    rng = streams(stack.seed, "organisation")
    people: dict[int, list[int]] = {}
    for team, person in con.execute(
        "select team_id, person_id from ops.people where left_on is null order by team_id, person_id"
    ).fetchall():
        people.setdefault(team, []).append(person)
    types = model_types(stack, core_types(con))
    rows: dict[str, list[tuple]] = {name: [] for name in COLUMNS}
    assets = {f"core.{t}": FIRST_SOURCE + k for k, t in enumerate(CORE)}
    rows["sources"] = [(assets[f"core.{t}"], "core", t, CORE_OWNERS[t]) for t in CORE]
    owners, numbers = {}, {}
    for number, (table, version) in enumerate(stack.versions.items(), 1):
        recipe = RECIPES[table]
        assets[table], numbers[table] = FIRST_MODEL + number - 1, number
        owners[table] = int(rng.choice(recipe.owners))
        rows["models"].append(
            (number, assets[table], recipe.layer, table.split(".")[1], recipe.layer, owners[table], recipe.materialisation,
             recipe.purpose, version.sql)
        )  # fmt: skip
        for source in sorted({t for _, t, _, _ in version.edges}):
            rows["lineage"].append(("table", assets[table], table, None, assets[source], source, None, None))
        for column, source, name, kind in sorted(version.edges):
            rows["lineage"].append(("column", assets[table], table, column, assets[source], source, name, kind))
    queries = dict(make_queries(stack, types))
    ids = {name: 401 + k for k, (name, *_) in enumerate(CONSUMERS)}
    query_id = 90001
    for name, kind, team, cadence, _ in CONSUMERS:
        ran_at = _last_run(cadence, rng)
        rows["consumers"].append((ids[name], name, kind, team, cadence, ran_at))
        for k, sql in enumerate(queries[name]):
            # One query in six is for the turn of the month or quarter alone.
            seldom = k > 0 and rng.random() < 0.16
            at = ran_at - timedelta(days=int(rng.integers(25, 80))) if seldom else ran_at + timedelta(seconds=17 * k)
            rows["queries"].append((query_id, ids[name], sql, at))
            query_id += 1
    about = {c[0]: c for c in CONSUMERS}
    for k, (name, critical, due, zone, day) in enumerate(REPORTS, 1):
        rows["reports"].append((600 + k, name, ids[name], about[name][2], critical, due, zone, about[name][3], day))
    for number, d in enumerate(make_history(stack), 1):
        table = d.after.table
        author = int(rng.choice(people[owners[table]]))
        sha = rng.bytes(20).hex()
        deployment_id = 8000 + number
        rows["deployments"].append(
            (deployment_id, d.deployed_at, numbers[table], d.kind, sha, d.before.sql, d.after.sql, json.dumps(list(d.declared)),
             author)
        )  # fmt: skip
        for side, version in (("before", d.before), ("after", d.after)):
            rows["deployment_edges"] += [(deployment_id, side, *e) for e in sorted(version.edges)]
        rows["losses"] += [(deployment_id, c) for c in sorted(unexplained(d.before, d.after, d.declared))]
    for name, columns in COLUMNS.items():
        con.register(f"frame_{name}", pd.DataFrame(rows[name], columns=columns.split(), dtype=object))
    con.execute(TABLES)
    for name in COLUMNS:
        con.unregister(f"frame_{name}")


TABLES = """
create table ops.sources as
select asset_id::integer as asset_id, schema_name::varchar as schema_name, table_name::varchar as table_name,
  owner_team_id::integer as owner_team_id
from frame_sources
order by asset_id;

create table ops.models as
select
  model_id::integer as model_id,
  asset_id::integer as asset_id,
  schema_name::varchar as schema_name,
  table_name::varchar as table_name,
  layer::varchar as layer,
  owner_team_id::integer as owner_team_id,
  materialisation::varchar as materialisation,
  purpose::varchar as purpose,
  sql::varchar as sql
from frame_models
order by model_id;

create table ops.lineage_edges as
select
  level::varchar as level,
  output_asset_id::integer as output_asset_id,
  output_table::varchar as output_table,
  output_column::varchar as output_column,
  input_asset_id::integer as input_asset_id,
  input_table::varchar as input_table,
  input_column::varchar as input_column,
  kind::varchar as kind
from frame_lineage
order by all;

create table ops.consumers as
select
  consumer_id::integer as consumer_id,
  consumer_name::varchar as consumer_name,
  kind::varchar as kind,
  owner_team_id::integer as owner_team_id,
  cadence::varchar as cadence,
  last_run_at::timestamp as last_run_at
from frame_consumers
order by consumer_id;

create table ops.consumer_queries as
select
  query_id::integer as query_id,
  consumer_id::integer as consumer_id,
  sql::varchar as sql,
  last_run_at::timestamp as last_run_at
from frame_queries
order by query_id;

create table ops.reports as
select
  report_id::integer as report_id,
  report_name::varchar as report_name,
  consumer_id::integer as consumer_id,
  owner_team_id::integer as owner_team_id,
  is_business_critical::boolean as is_business_critical,
  cadence::varchar as cadence,
  due_day::integer as due_day,
  due_at_local::time as due_at_local,
  time_zone::varchar as time_zone
from frame_reports
order by report_id;

create table ops.deployments as
select
  deployment_id::integer as deployment_id,
  deployed_at::timestamp as deployed_at,
  model_id::integer as model_id,
  kind::varchar as kind,
  git_sha::varchar as git_sha,
  sql_before::varchar as sql_before,
  sql_after::varchar as sql_after,
  declared::json as declared,
  deployed_by::integer as deployed_by
from frame_deployments
order by deployment_id;

create table truth.column_edges as
select
  m.model_id,
  l.output_column,
  l.input_asset_id,
  l.input_table,
  l.input_column,
  l.kind
from ops.lineage_edges l
join ops.models m
  on m.asset_id = l.output_asset_id
where l.level = 'column'
order by all;

create table truth.deployment_edges as
select
  deployment_id::integer as deployment_id,
  side::varchar as side,
  output_column::varchar as output_column,
  input_table::varchar as input_table,
  input_column::varchar as input_column,
  kind::varchar as kind
from frame_deployment_edges
order by all;

create table truth.unexplained_losses as
select deployment_id::integer as deployment_id, column_name::varchar as column_name
from frame_losses
order by all;

comment on table ops.sources is 'Physical tables that models read.';
comment on column ops.sources.asset_id is 'Key; one number for tables and models.';
comment on column ops.sources.schema_name is 'Schema.';
comment on column ops.sources.table_name is 'Table.';
comment on column ops.sources.owner_team_id is 'Team that owns it; references ops.teams.';

comment on table ops.models is 'SQL models of the warehouse as deployed today, each after those that it reads.';
comment on column ops.models.model_id is 'Key.';
comment on column ops.models.asset_id is 'The same model as an asset; one number for tables and models.';
comment on column ops.models.schema_name is 'Schema in which it is made.';
comment on column ops.models.table_name is 'Name; with schema_name unique.';
comment on column ops.models.layer is 'staging, intermediate or mart.';
comment on column ops.models.owner_team_id is 'Team that owns it; references ops.teams.';
comment on column ops.models.materialisation is 'view or table.';
comment on column ops.models.purpose is 'What it holds.';
comment on column ops.models.sql is 'The select that makes it.';

comment on table ops.lineage_edges is 'What the catalogue shows: which table, and which column, goes into which.';
comment on column ops.lineage_edges.level is 'table or column.';
comment on column ops.lineage_edges.output_asset_id is 'Model that is made; references ops.models.';
comment on column ops.lineage_edges.output_table is 'Its schema and name.';
comment on column ops.lineage_edges.output_column is 'Column that is made; null at table level.';
comment on column ops.lineage_edges.input_asset_id is 'What is read; references ops.models or ops.sources.';
comment on column ops.lineage_edges.input_table is 'Its schema and name.';
comment on column ops.lineage_edges.input_column is 'Column that is read; null at table level.';
comment on column ops.lineage_edges.kind is 'DIRECT: its values go into the column. INDIRECT: it decides about rows or values.';

comment on table ops.consumers is 'Who reads models and tables: outside the layers of models.';
comment on column ops.consumers.consumer_id is 'Key.';
comment on column ops.consumers.consumer_name is 'Name; unique.';
comment on column ops.consumers.kind is 'dashboard, extract, notebook, regulatory report or ml feature job.';
comment on column ops.consumers.owner_team_id is 'Team that owns it; references ops.teams.';
comment on column ops.consumers.cadence is 'daily, weekly, monthly or quarterly.';
comment on column ops.consumers.last_run_at is 'When it last ran (UTC).';

comment on table ops.consumer_queries is 'The queries of consumers.';
comment on column ops.consumer_queries.query_id is 'Key.';
comment on column ops.consumer_queries.consumer_id is 'References ops.consumers.';
comment on column ops.consumer_queries.sql is 'The query.';
comment on column ops.consumer_queries.last_run_at is 'When it last ran (UTC); some run at the turn of a month or quarter alone.';

comment on table ops.reports is 'Reports that somebody waits for, with their deadlines.';
comment on column ops.reports.report_id is 'Key.';
comment on column ops.reports.report_name is 'Name.';
comment on column ops.reports.consumer_id is 'Consumer that makes it; references ops.consumers.';
comment on column ops.reports.owner_team_id is 'Team that answers for it; references ops.teams.';
comment on column ops.reports.is_business_critical is 'The business stops, or a duty is broken, when it is late or wrong.';
comment on column ops.reports.cadence is 'daily, weekly, monthly or quarterly.';
comment on column ops.reports.due_day is
  'ISO weekday if weekly, day of the month if monthly, of the first month if quarterly; null if daily.';
comment on column ops.reports.due_at_local is 'Time of day by which it must be right, in time_zone.';
comment on column ops.reports.time_zone is 'IANA time zone of the deadline.';

comment on table ops.deployments is 'Deployments of models in the last ninety days, in order of time.';
comment on column ops.deployments.deployment_id is 'Key.';
comment on column ops.deployments.deployed_at is 'When the new version stood (UTC).';
comment on column ops.deployments.model_id is 'References ops.models.';
comment on column ops.deployments.kind is 'change, rename, refactor, or rollback (to the version before the last).';
comment on column ops.deployments.git_sha is 'Commit that was deployed.';
comment on column ops.deployments.sql_before is 'The select before.';
comment on column ops.deployments.sql_after is 'The select from then on.';
comment on column ops.deployments.declared is 'What its author declared: renames, dropped columns, inputs that are read no more.';
comment on column ops.deployments.deployed_by is 'Person who deployed; references ops.people.';
"""
