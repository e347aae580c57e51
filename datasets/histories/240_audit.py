# subject: audit
# needs: access, masking, retention
# makes: ops.extracts, ops.extract_edges, ops.environment_columns, ops.retained_rows, ops.audit_questions
"""What a regulator looks at: extracts that carry columns of the estate further, in versions; what each environment shows of which
column; when rows about a person have to go; and twenty-five questions."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

import duckdb
import numpy as np
import pandas as pd

from workshop.audit import read_record
from workshop.masking import ENVIRONMENTS
from workshop.sim import streams
from workshop.world.seeds import derive_seed

TODAY = datetime(2026, 6, 30)
HISTORY_DAYS = 120
LAYERS = (
    ("campaign_list", "call_sheet", "fraud_watch", "kyc_pack", "partner_feed", "returns_digest", "loyalty_list"),
    ("ads_audience", "board_pack", "crm_sync", "payout_file", "support_digest"),
    ("agency_upload", "data_room", "panel_sample"),
)
NAMES = ("contact", "reference", "detail", "value", "note", "label", "handle", "line", "entry", "extra")
# How the extracts of a layer are written, in an order that is drawn.
FORMS = (
    ("union", "union", "union", "latest", "latest", "plain", "plain"),
    ("join", "join", "union", "union", "plain"),
    ("join", "union", "plain"),
)
TOPICS = ("where is", "who could", "who did", "what is left", "what shows")
ABOUT = ("kind", "subject_id", "environment")
EACH, USUAL = 5, 4  # questions of a topic; lines of an answer, where they can be chosen

COMMENTS = """
comment on table ops.extracts is 'Versions of the extracts that teams make of tables and of other extracts.';
comment on column ops.extracts.extract_id is 'Key.';
comment on column ops.extracts.table_name is 'Where it is written: schema and name.';
comment on column ops.extracts.layer is '1: reads tables of the estate only; 2 and 3: extracts of earlier layers.';
comment on column ops.extracts.valid_from_at is 'When this version was deployed (UTC), included.';
comment on column ops.extracts.valid_to_at is 'When the next one was (UTC), excluded; null: it stands.';
comment on column ops.extracts.sql is 'The statement.';
comment on table ops.extract_edges is 'DIRECT edges of the versions of extracts: which column goes into which.';
comment on column ops.extract_edges.edge_id is 'Key.';
comment on column ops.extract_edges.output_table is 'Extract, as in ops.extracts.table_name.';
comment on column ops.extract_edges.output_column is 'Its column.';
comment on column ops.extract_edges.input_table is 'Table of the estate or extract that it reads.';
comment on column ops.extract_edges.input_column is 'Its column.';
comment on column ops.extract_edges.valid_from_at is 'First moment (UTC), included.';
comment on column ops.extract_edges.valid_to_at is 'Last moment (UTC), excluded; null: it stands.';
comment on table ops.environment_columns is 'What environments show today: columns of tables and extracts, each under a mask.';
comment on column ops.environment_columns.environment is 'dev, test, analytics or training.';
comment on column ops.environment_columns.table_name is 'Schema and name of the table or extract.';
comment on column ops.environment_columns.column_name is 'Column.';
comment on column ops.environment_columns.mask is 'keep: the value as it is; all others change it.';
comment on table ops.retained_rows is 'Rows about persons that are still there, and from when on each is due for deletion.';
comment on column ops.retained_rows.row_id is 'Key.';
comment on column ops.retained_rows.table_name is 'Schema and name.';
comment on column ops.retained_rows.row_key is 'Key of the row in its table.';
comment on column ops.retained_rows.subject_id is 'Whom it is about.';
comment on column ops.retained_rows.data_class is 'As in ops.legal_holds.';
comment on column ops.retained_rows.ends_on is 'Day from which on it is due; null: its period has not begun.';
comment on table ops.audit_questions is 'Questions of the regulator.';
comment on column ops.audit_questions.question_id is 'Key.';
comment on column ops.audit_questions.topic is 'where is, who could, who did, what is left or what shows.';
comment on column ops.audit_questions.kind is 'Value of privacy.kind in ops.column_tags; null where it is not about one.';
comment on column ops.audit_questions.from_at is 'Moment (UTC) that it is about, or the first of a period.';
comment on column ops.audit_questions.until_at is 'End (UTC) of the period, excluded; null where there is none.';
comment on column ops.audit_questions.subject_id is 'Person that it is about; null where it is about none.';
comment on column ops.audit_questions.environment is 'Environment that it is about; null where it is about none.';
"""

Place = tuple[str, str]  # table, column
Row = dict[str, Any]
Record = Mapping[str, Sequence[Mapping[str, Any]]]


# -- extracts ----------------------------------------------------------------------------------------------------------------


def _layer_one(rng: np.random.Generator, form: str, tables: Mapping[str, Sequence[str]], personal: set[Place]) -> Row:
    """Form, tables and columns of an extract of the estate; a column is a list with one input for each table."""
    names = [t for t in tables if any((t, c) in personal for c in tables[t])]
    chosen = [names[int(k)] for k in rng.permutation(len(names))[: 2 if form == "union" else 1]]
    count = int(rng.integers(4, 7))

    def column() -> list[Place]:
        want = rng.random() < 0.75
        inputs = []
        for t in chosen:
            some = [c for c in tables[t][1:] if ((t, c) in personal) == want] or list(tables[t][1:])
            inputs.append((t, some[int(rng.integers(len(some)))]))
        return inputs

    columns = [column() for _ in range(count)]
    return {"form": form, "reads": chosen, "rows_of": set(chosen), "columns": columns, "again": column}


def _layer_more(rng: np.random.Generator, form: str, made: Sequence[Row], layer: int) -> Row:
    """The same of an extract of extracts, one at least of the layer before."""
    before = [e for e in made if e["layer"] == layer - 1]
    first = before[int(rng.integers(len(before)))]
    others = [e for e in made if e is not first]
    # A join is of what is about the same rows, where there is such an extract.
    others = [e for e in others if form == "join" and e["rows_of"] & first["rows_of"]] or others
    second = others[int(rng.integers(len(others)))]
    chosen = [first] if form == "plain" else [first, second]

    def column() -> list[Place]:
        pick = chosen if form == "union" else [chosen[int(rng.integers(len(chosen)))]]
        return [(e["table"], e["names"][int(rng.integers(len(e["columns"])))]) for e in pick]

    count = int(rng.integers(4, 7))
    return {
        "form": form,
        "reads": [e["table"] for e in chosen],
        "rows_of": set().union(*(e["rows_of"] for e in chosen)),
        "columns": [column() for _ in range(count)],
        "again": column,
    }


def _shown(rng: np.random.Generator, alias: str, column: str, flag: str) -> str:
    """An expression that hands a value on as it is, or nearly."""
    name = f'{alias}."{column}"'
    return (
        name,
        f"trim({name}::varchar)",
        f"upper({name}::varchar)",
        f'case when {alias}."{flag}" is not null then {name} end',
        f"coalesce({name}::varchar, 'unknown')",
    )[int(rng.integers(5))]


def _statement(rng: np.random.Generator, extract: Row, columns: Sequence[tuple[str, list[Place]]], key: Mapping) -> str:
    """The SQL of a version."""
    alias = {t: "ab"[k] for k, t in enumerate(extract["reads"])}

    def listed(table: str, of: str | None = None) -> str:
        lines = [f'{of or alias[table]}."{key[table]}"::varchar as row_ref']
        for name, inputs in columns:
            t, c = next((p for p in inputs if p[0] == table), inputs[0])
            shown = _shown(rng, of or alias[t], c, key[t])
            lines.append(f"{shown if extract['form'] != 'union' else f'({shown})::varchar'} as {name}")
        return "select\n  " + ",\n  ".join(lines)

    first = extract["reads"][0]
    if extract["form"] == "latest":
        latest = columns[0][1][0][1]
        return (
            f'with\nnumbered as (\n  select a.*, row_number() over (partition by a."{key[first]}" order by a."{latest}") '
            f"as recency\n  from {first} as a\n)\n{listed(first, 'n')}\nfrom numbered as n\nwhere n.recency = 1"
        )
    if extract["form"] == "union":
        return "\nunion all\n".join(f"{listed(t)}\nfrom {t} as {alias[t]}" for t in extract["reads"])
    if extract["form"] == "join":
        a, b = extract["reads"]
        return f'{listed(a)}\nfrom {a} as a\nleft join {b} as b\n  on a."{key[a]}" = b."{key[b]}"'
    return f'{listed(first)}\nfrom {first} as a\nwhere a."{key[first]}" is not null'


def make_extracts(
    rng: np.random.Generator, tables: Mapping[str, Sequence[str]], personal: set[Place]
) -> tuple[list[Row], list[Row]]:
    """Rows of ops.extracts and of ops.extract_edges. ``tables``: columns of the estate, the key first."""
    made: list[Row] = []
    for layer, stems in enumerate(LAYERS, 1):
        forms = rng.permutation(FORMS[layer - 1]).tolist()
        for stem, form in zip(stems, forms, strict=True):
            extract = _layer_one(rng, form, tables, personal) if layer == 1 else _layer_more(rng, form, made, layer)
            names = [NAMES[int(k)] for k in rng.permutation(len(NAMES))[: len(extract["columns"])]]
            made.append({**extract, "table": f"extract.{stem}", "layer": layer, "names": names})
    key = {t: columns[0] for t, columns in tables.items()} | {e["table"]: "row_ref" for e in made}
    read = {p for e in made for inputs in e["columns"] for p in inputs}
    versions: list[Row] = []
    edges: list[Row] = []
    for extract in made:
        # From today's version backwards: some columns came from elsewhere, and what nobody reads came later.
        columns = dict(zip(extract["names"], extract["columns"], strict=True))
        history = [columns]
        for _ in range(int(rng.integers(0, 4))):
            columns = dict(columns)
            for name in extract["names"]:
                if name in columns and rng.random() < 0.35:
                    columns[name] = extract["again"]()
                elif (extract["table"], name) not in read and rng.random() < 0.3 and len(columns) > 2:
                    columns.pop(name, None)
            history.insert(0, columns)
        days = sorted(rng.choice(np.arange(1, HISTORY_DAYS), len(history) - 1, replace=False), reverse=True)
        starts = [TODAY - timedelta(days=400 - 20 * extract["layer"])]
        starts += [TODAY - timedelta(days=int(d), minutes=int(rng.integers(400, 900))) for d in days]
        for start, end, shown in zip(starts, [*starts[1:], None], history, strict=True):
            versions.append(
                {
                    "table_name": extract["table"],
                    "layer": extract["layer"],
                    "valid_from_at": start,
                    "valid_to_at": end,
                    "sql": _statement(rng, extract, list(shown.items()), key),
                }
            )
            pairs = [("row_ref", (t, key[t])) for t in extract["reads"][: 1 if extract["form"] != "union" else 2]]
            pairs += [(name, place) for name, inputs in shown.items() for place in dict.fromkeys(inputs)]
            for name, (table, column) in pairs:
                edges.append(
                    {
                        "output_table": extract["table"],
                        "output_column": name,
                        "input_table": table,
                        "input_column": column,
                        "valid_from_at": start,
                        "valid_to_at": end,
                    }
                )
    return [{"extract_id": 301 + k, **v} for k, v in enumerate(versions)], [
        {"edge_id": 7001 + k, **e} for k, e in enumerate(edges)
    ]


# -- answers -----------------------------------------------------------------------------------------------------------------


def stands(row: Mapping[str, Any], at: datetime) -> bool:
    """Whether a half-open interval holds at a moment."""
    return row["valid_from_at"] <= at and (row["valid_to_at"] is None or row["valid_to_at"] > at)


def holding(record: Record, kind: str, at: datetime) -> dict[Place, str]:
    """Columns that hold a kind at a moment, with the id of the tag or edge by which each was reached first."""
    found = {(t["table_name"], t["column_name"]): t["id"] for t in record["tags"] if t["kind"] == kind}
    onward: dict[Place, list[Mapping[str, Any]]] = {}
    for e in record["edges"]:
        if stands(e, at):
            onward.setdefault((e["input_table"], e["input_column"]), []).append(e)
    todo = list(found)
    while todo:
        for e in onward.get(todo.pop(0), ()):
            place = (e["output_table"], e["output_column"])
            if place not in found:
                found[place] = e["id"]
                todo.append(place)
    return found


def _name(place: Place) -> str:
    return f"{place[0]}.{place[1]}"


def version_at(record: Record, at: datetime) -> Mapping[str, Any] | None:
    """The version of the rules in force, of those that the record has."""
    return max(
        (v for v in record["versions"] if v["valid_from_at"] <= at), key=lambda v: v["valid_from_at"], default=None
    )


def used(record: Record, question: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Entries of the log that a question of the topic "who did" is about: of the period and kind, let through."""
    return [
        e
        for e in record["log"]
        if question["from_at"] <= e["logged_at"] < question["until_at"]
        and question["kind"] in e["kinds"]
        and e["decision"] == "allowed"
    ]


def held_by(record: Record, row: Mapping[str, Any], on: date) -> list[Mapping[str, Any]]:
    """Holds that keep a row on a day."""
    return [
        h
        for h in record["holds"]
        if h["subject_id"] == row["subject_id"]
        and h["data_class"] in (None, row["data_class"])
        and h["placed_on"] <= on
        and (h["lifted_on"] is None or h["lifted_on"] > on)
    ]


def answer(question: Mapping[str, Any], record: Record) -> tuple[set[Any], set[str]]:
    """(answer, evidence) by the definitions of lab 2.9. Of a record from which rows are missing: what those left show."""
    topic, kind, at = question["topic"], question["kind"], question["from_at"]
    if topic == "where is":
        found = holding(record, kind, at)
        return {_name(p) for p in found}, set(found.values())
    if topic == "who could":
        version = version_at(record, at)
        roles = version["rules"].get(kind, ()) if version else ()
        grants = {g["person_id"]: g["id"] for g in record["grants"] if g["role"] in roles and stands(g, at)}
        return set(grants), {*grants.values(), *([version["id"]] if version else [])}
    if topic == "who did":
        seen, evidence = set(), set()
        for e in used(record, question):
            version = version_at(record, e["logged_at"])
            evidence |= {e["id"], *([version["id"]] if version else [])}
            if version is None or e["role"] not in version["rules"].get(kind, ()):
                seen.add(e["seq"])
        return seen, evidence
    if topic == "what is left":
        states, evidence = set(), set()
        for row in record["rows"]:
            if row["subject_id"] != question["subject_id"]:
                continue
            on = at.date()
            evidence.add(row["id"])
            state = "kept"
            if row["ends_on"] is not None and row["ends_on"] <= on:
                holds = held_by(record, row, on)
                state = "held" if holds else "due"
                evidence |= {h["id"] for h in holds[:1]}
            states.add((row["id"], state))
        return states, evidence
    found, shown, evidence = holding(record, kind, at), set(), set()
    into = {e["id"]: e for e in record["edges"]}
    for m in record["masks"]:
        place = (m["table_name"], m["column_name"])
        if m["environment"] == question["environment"] and m["mask"] == "keep" and place in found:
            shown.add(_name(place))
            evidence.add(m["id"])
            while found[place] not in evidence:
                evidence.add(found[place])
                if found[place] in into:
                    edge = into[found[place]]
                    place = (edge["input_table"], edge["input_column"])
    return shown, evidence


# -- questions that tell a right answer from a near one ----------------------------------------------------------------------


def _changed(record: Record, name: str, change: Callable[[Row], Row | None]) -> Record:
    """The record with the rows of one table changed, or left out."""
    rows = [change(dict(r)) for r in record[name]]
    return {**record, name: [r for r in rows if r is not None]}


def _ajar(row: Row) -> Row:
    """An interval whose end counts."""
    return row | {"valid_to_at": row["valid_to_at"] and row["valid_to_at"] + timedelta(seconds=1)}


def _shut(row: Row) -> Row:
    """An interval whose beginning does not count."""
    return row | {"valid_from_at": row["valid_from_at"] + timedelta(seconds=1)}


def _sees(record: Record, name: str, changes: Mapping[str, Callable[[Row], Row | None]]) -> dict[str, Callable]:
    """What is answered when the rows of a table are read in other ways."""
    read = {why: _changed(record, name, change) for why, change in changes.items()}
    return {why: lambda q, r=other: answer(q, r)[0] for why, other in read.items()}


def _faulty(
    record: Record, question: Row, judged_by: Callable[[Row], tuple[Mapping[str, Any] | None, Sequence[str]]]
) -> set[int]:
    """Entries that a question is about whose role some version (of None: nothing) does not let use some kinds."""
    return {
        e["seq"]
        for e in used(record, question)
        for version, kinds in [judged_by(e)]
        if version is not None and any(e["role"] not in version["rules"].get(k, ()) for k in kinds)
    }


def near_answers(record: Record) -> dict[str, dict[str, Callable[[Row], set[Any]]]]:
    """By topic and by what they overlook, answers that are nearly right."""
    always = {"valid_from_at": datetime.min, "valid_to_at": None}
    last = max(v["valid_from_at"] for v in record["versions"])
    tagged = {(t["table_name"], t["column_name"]) for t in record["tags"]}
    day, moment = timedelta(days=1), timedelta(microseconds=1)
    copies = {
        "copies left out": lambda e: None,
        "edges of all times": lambda e: e | always,
        "one edge only": lambda e: e if (e["input_table"], e["input_column"]) in tagged else None,
    }
    bounds = {"the end included": _ajar, "the beginning excluded": _shut}
    todays = {"today's edges": lambda e: e | {"valid_from_at": datetime.min} if not e["valid_to_at"] else None}
    said = {v["version"]: v for v in record["versions"]}
    newest = {"the newest rules": lambda v: v | {"valid_from_at": datetime.min} if v["valid_from_at"] == last else None}
    return {
        "where is": _sees(record, "edges", copies | bounds | todays),
        "who could": _sees(
            record,
            "grants",
            bounds
            | {
                "grants of all times": lambda g: g | always,
                "open grants only": lambda g: g if not g["valid_to_at"] else None,
            },
        )
        | _sees(record, "versions", newest | {"the version before": _shut}),
        "who did": _sees(record, "versions", newest)
        | _sees(record, "log", {"refused ones too": lambda e: e | {"decision": "allowed"}})
        | {
            "the end included": lambda q: answer(q | {"until_at": q["until_at"] + moment}, record)[0],
            "the beginning excluded": lambda q: answer(q | {"from_at": q["from_at"] + moment}, record)[0],
            "rightful ones too": lambda q: {e["seq"] for e in used(record, q)},
            "the version that the gateway names": lambda q: _faulty(
                record, q, lambda e: (said[e["said_version"]], [q["kind"]])
            ),
            "the version of the beginning": lambda q: _faulty(
                record, q, lambda e: (version_at(record, q["from_at"]), [q["kind"]])
            ),
            "any of its kinds": lambda q: _faulty(
                record, q, lambda e: (version_at(record, e["logged_at"]), e["kinds"])
            ),
        },
        "what is left": _sees(
            record,
            "holds",
            {
                "no holds": lambda h: None,
                "holds on any class": lambda h: h | {"data_class": None},
                "no holds on all classes": lambda h: h if h["data_class"] else None,
                "held on the day of lifting": lambda h: h | {"lifted_on": h["lifted_on"] and h["lifted_on"] + day},
                "held before it was placed": lambda h: h | {"placed_on": date.min},
                "not held on the day of placing": lambda h: h | {"placed_on": h["placed_on"] + day},
                "holds that were lifted": lambda h: h | {"lifted_on": None},
            },
        )
        | _sees(record, "rows", {"due a day later": lambda r: r | {"ends_on": r["ends_on"] and r["ends_on"] + day}}),
        "what shows": _sees(record, "edges", copies | todays)
        | _sees(
            record,
            "masks",
            {
                "masked ones too": lambda m: m | {"mask": "keep"},
                "partial ones too": lambda m: m | {"mask": "keep"} if m["mask"] == "partial" else m,
                "generalised ones too": lambda m: m | {"mask": "keep"} if m["mask"] == "generalise" else m,
            },
        ),
    }


def _candidates(rng: np.random.Generator, record: Record) -> dict[str, list[Row]]:
    """By topic, questions that could be asked, at moments at which something begins or ends and at others."""
    kinds = sorted({t["kind"] for t in record["tags"]})
    none = dict.fromkeys(("kind", "from_at", "until_at", "subject_id", "environment"))

    def some(items: Iterable[Any], n: int) -> list[Any]:
        items = sorted(set(items))
        return [items[int(k)] for k in rng.permutation(len(items))[:n]]

    deployed = some(
        (e["valid_from_at"] for e in record["edges"] if e["valid_from_at"] > TODAY - timedelta(days=200)), 12
    )
    any_day = [TODAY - timedelta(days=int(d), minutes=int(rng.integers(1, 600))) for d in rng.integers(1, 100, 8)]
    ruled_kinds = sorted(record["versions"][0]["rules"])
    ended = [g["valid_to_at"] for g in record["grants"] if g["valid_to_at"] and g["valid_to_at"] < TODAY]
    granted = ended + some((g["valid_from_at"] for g in record["grants"]), 6)
    ruled = [v["valid_from_at"] for v in record["versions"][1:]]
    logged = [e["logged_at"] for e in record["log"] if e["decision"] == "allowed" and e["kinds"]]
    periods = []
    for _ in range(60):
        a, b = sorted(rng.choice(len(logged), 2, replace=False))
        if 20 < b - a < 200:
            periods.append((ruled_kinds[int(rng.integers(len(ruled_kinds)))], logged[int(a)], logged[int(b)]))
    # A period that ends, and one that begins, with an entry that should not have been let through.
    for kind in ruled_kinds:
        wrong = answer(
            none | {"topic": "who did", "kind": kind, "from_at": datetime.min, "until_at": datetime.max}, record
        )[0]
        times = sorted(e["logged_at"] for e in record["log"] if e["seq"] in wrong)
        for t in times:
            periods += [(kind, t, t + timedelta(days=6)), (kind, t - timedelta(days=20), t)]
    # Entries of several kinds that one rule lets through and another does not.
    for e in record["log"]:
        if e["decision"] == "allowed" and len(e["kinds"]) > 1:
            version = version_at(record, e["logged_at"])
            mine_ok = [k for k in e["kinds"] if version and e["role"] in version["rules"].get(k, ())]
            if 0 < len(mine_ok) < len(e["kinds"]):
                for k in mine_ok:
                    periods.append((k, e["logged_at"] - timedelta(days=8), e["logged_at"] + timedelta(days=4)))
    held = {h["subject_id"]: h for h in record["holds"]}
    mine: dict[int, list[Mapping[str, Any]]] = {}
    for row in record["rows"]:
        mine.setdefault(row["subject_id"], []).append(row)
    few = [s for s in sorted(mine) if 2 <= len(mine[s]) <= 12]
    subjects = [s for s in few if s in held] + some((s for s in few if s not in held), 12)
    left = []
    for s in subjects:
        days = {r["ends_on"] for r in mine[s]} | {TODAY.date()}
        if s in held:
            days |= {held[s]["placed_on"], held[s]["lifted_on"], held[s]["placed_on"] - timedelta(days=5)}
        left += [(s, d) for d in sorted(d for d in days if d and d <= TODAY.date())]
    return {
        "where is": [none | {"kind": k, "from_at": a} for k in kinds for a in deployed + any_day],
        "who could": [none | {"kind": k, "from_at": a} for k in ruled_kinds for a in granted + ruled + any_day],
        "who did": [none | {"kind": k, "from_at": a, "until_at": b} for k, a, b in periods],
        "what is left": [none | {"subject_id": s, "from_at": datetime(d.year, d.month, d.day)} for s, d in left],
        "what shows": [
            none | {"kind": k, "environment": e, "from_at": a}
            for k in kinds
            for e in ENVIRONMENTS
            for a in [TODAY, *any_day[:4]]
        ],
    }


def draw_questions(rng: np.random.Generator, record: Record) -> list[Row]:
    """Twenty-five questions, five of each topic: such that what overlooks one thing is wrong somewhere, where that can be."""
    near = near_answers(record)
    found: list[Row] = []
    for topic, possible in _candidates(rng, record).items():
        candidates = [{"topic": topic, **possible[int(k)]} for k in rng.permutation(len(possible))[:240]]
        right = [answer(c, record) for c in candidates]
        truth = [a for a, _ in right]
        wrong = [
            {why for why, other in near[topic].items() if other(c) != t} for c, t in zip(candidates, truth, strict=True)
        ]
        fooled = dict.fromkeys(near[topic], 0)
        # That there was nothing is an answer too, once, where there is something to show it by.
        left = [k for k, (a, evidence) in enumerate(right) if a or (topic == "who did" and len(evidence) > 1)]
        chosen: list[int] = []
        while len(chosen) < EACH:
            left = left or [k for k in range(len(candidates)) if k not in chosen]
            asked = {tuple(candidates[k][c] for c in ABOUT) for k in chosen}
            new = [k for k in left if tuple(candidates[k][c] for c in ABOUT) not in asked] or left
            best = max(
                new,
                key=lambda k: (sum(1 / (1 + 9 * fooled[w]) for w in sorted(wrong[k])), -abs(len(truth[k]) - USUAL), -k),
            )
            chosen.append(best)
            left = [k for k in left if k != best and (truth[k] or truth[best])]
            for w in wrong[best]:
                fooled[w] += 1
        found += [candidates[k] for k in chosen]
    order = rng.permutation(len(found))
    return [{"question_id": n + 1, **found[int(k)]} for n, k in enumerate(order)]


# -- writing -----------------------------------------------------------------------------------------------------------------


def _masks(rng: np.random.Generator, columns: Sequence[Place], kinds: Mapping[Place, str]) -> list[Row]:
    """What environments show. Of tagged columns few are kept; of extracts, which nobody tags, half."""
    rows = []
    for environment in ENVIRONMENTS:
        for table, column in columns:
            if rng.random() < 0.35:
                continue
            masks = ["keyed", "fixed", "partial", "generalise", "withhold"]
            tagged = (table, column) in kinds
            keep = 0.15 if tagged else 0.55 if table.startswith("extract.") else 0.97
            mask = "keep" if rng.random() < keep else masks[int(rng.integers(len(masks)))]
            rows.append({"environment": environment, "table_name": table, "column_name": column, "mask": mask})
    return rows


def _write(con: duckdb.DuckDBPyConnection, name: str, rows: Sequence[Row], types: str) -> None:
    frame = pd.DataFrame(rows)
    con.register("audit_rows", frame.astype(object).where(frame.notna(), None))
    con.execute(f"create table ops.{name} ({types})")
    con.execute(f"insert into ops.{name} by name select * from audit_rows")
    con.unregister("audit_rows")


def build(con: duckdb.DuckDBPyConnection, seed: bytes, scale: float) -> None:
    """Writes the five tables."""
    rng = streams(derive_seed(seed, "world/audit"), "extracts")
    tables: dict[str, list[str]] = {}
    for table, column in con.execute("""
        select table_schema || '.' || table_name, column_name
        from ops.columns
        join ops.tables using (asset_id)
        order by asset_id, column_no
    """).fetchall():
        tables.setdefault(table, []).append(column)
    kinds = {
        (table, column): kind
        for table, column, kind in con.execute("""
            select table_schema || '.' || table_name, column_name, split_part(tag, ':', 2)
            from ops.column_tags
            join ops.tables using (asset_id)
            where tag like 'privacy.kind:%'
            order by all
        """).fetchall()
    }
    direct = {
        p for p, kind in kinds.items() if kind not in ("city", "country", "postcode", "birth_year", "birth_decade")
    }
    extracts, edges = make_extracts(rng, tables, direct)
    interval = "valid_from_at timestamp, valid_to_at timestamp"
    _write(con, "extracts", extracts, f"extract_id bigint, table_name varchar, layer integer, {interval}, sql varchar")
    _write(
        con,
        "extract_edges",
        edges,
        f"edge_id bigint, output_table varchar, output_column varchar, input_table varchar, input_column varchar, {interval}",
    )
    standing = sorted({(e["output_table"], e["output_column"]) for e in edges if e["valid_to_at"] is None})
    columns = [(t, c) for t, names in tables.items() for c in names] + standing
    masks = _masks(streams(derive_seed(seed, "world/audit"), "masks"), columns, kinds)
    _write(
        con, "environment_columns", masks, "environment varchar, table_name varchar, column_name varchar, mask varchar"
    )
    parts = [
        f"""
        select
          'core.{table}' as table_name,
          {key}::bigint as row_key,
          subject_id,
          '{data_class}' as data_class,
          ({f"make_date(year({day}), 12, 31)" if counts_from == "year end" else day} + to_months({months}))::date as ends_on
        from core.{table}
        where jurisdiction = '{jurisdiction}' and subject_id is not null
        """
        for table, key, data_class, jurisdiction, day, counts_from, months in con.execute("""
            select table_name, key_column, data_class, jurisdiction, date_column, counts_from, period_months
            from ops.retention_schedule
            where action = 'delete' and table_name <> 'customer_months'
            order by rule_id
        """).fetchall()
    ]
    con.execute(f"""
        create table ops.retained_rows as
        select row_number() over (order by table_name, row_key) as row_id, *
        from ({" union all ".join(parts)})
        order by row_id
    """)
    con.execute(
        "create table ops.audit_questions (question_id bigint, topic varchar, kind varchar, from_at timestamp, "
        "until_at timestamp, subject_id bigint, environment varchar)"
    )
    questions = draw_questions(streams(derive_seed(seed, "world/audit"), "questions"), read_record(con))
    con.executemany(
        "insert into ops.audit_questions values (?, ?, ?, ?, ?, ?, ?)",
        [
            list(q[c] for c in ("question_id", "topic", "kind", "from_at", "until_at", "subject_id", "environment"))
            for q in questions
        ],
    )
    con.execute(COMMENTS)
