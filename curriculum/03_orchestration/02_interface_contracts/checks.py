"""What lab 3.2 judges: schema resolution on fresh histories, a registry under interleaved callers, a contract that refuses.

Truth of task a has two judges: Avro's own compatibility checker, and encoding a covering set of values with the writer's
schema and decoding them with the reader's. Where they differ, a pair is not used.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import duckdb
import fastavro
import jsonschema
import numpy as np

from workshop.checks import CheckFailed, Evidence, LearnerError, check, expect
from workshop.sim import streams
from workshop.table import Table
from workshop.trusted import JudgedDatabase, Lab
from workshop.withheld import trusted_import

SUBJECTS = ("schemas",)

Schema = dict[str, Any]
MODES = ("BACKWARD", "BACKWARD_TRANSITIVE", "FORWARD", "FORWARD_TRANSITIVE", "FULL", "FULL_TRANSITIVE", "NONE")


# -- two judges ----------------------------------------------------------------------------------------------------------


@cache
def _avro() -> tuple[Any, Any]:
    return trusted_import("avro.schema"), trusted_import("avro.compatibility")


def _by_rules(reader: str, writer: str) -> bool:
    """What Avro's own checker says."""
    _, compatibility = _avro()
    found = compatibility.ReaderWriterCompatibilityChecker().get_compatibility(_parsed(reader), _parsed(writer))
    return found.compatibility is compatibility.SchemaCompatibilityType.compatible


@cache
def _parsed(text: str) -> Any:
    return _avro()[0].parse(text)


@cache
def _ready(text: str) -> Any:
    return fastavro.parse_schema(json.loads(text))


def _covering(t: Any) -> list[Any]:
    """Values that visit each branch, each symbol, null, the ends of number ranges, and bytes that are no text."""
    if isinstance(t, list):
        return [v for branch in t for v in _covering(branch)]
    kind = t["type"] if isinstance(t, dict) else t
    if kind == "record":
        columns = [_covering(f["type"]) for f in t["fields"]]
        names = [f["name"] for f in t["fields"]]
        longest = max(map(len, columns), default=1)
        return [{n: c[i % len(c)] for n, c in zip(names, columns, strict=True)} for i in range(longest)]
    if kind == "array":
        return [[], _covering(t["items"])]
    if kind == "map":
        return [{}, {f"k{i}": v for i, v in enumerate(_covering(t["values"]))}]
    if kind == "enum":
        return list(t["symbols"])
    if kind == "fixed":
        return [b"\xff" * t["size"]]
    if isinstance(t, dict) and "logicalType" in t:  # the decoder makes a moment or a day of it
        return [0, 20_000]
    return {
        "null": [None],
        "boolean": [True, False],
        "int": [0, -1, 2**31 - 1, -(2**31)],
        "long": [0, -1, 2**63 - 1, -(2**63)],
        "float": [0.0, -1.5],
        "double": [0.0, 1e300],
        "string": ["", "é"],
        "bytes": [b"", b"\xff\xfe"],
    }[kind]


@cache
def _by_decoding(reader: str, writer: str) -> str:
    """The first error when values of a covering set are written with one schema and read with the other; "": none."""
    for value in _covering(json.loads(writer)):
        out = io.BytesIO()
        fastavro.schemaless_writer(out, _ready(writer), value)
        out.seek(0)
        try:
            fastavro.schemaless_reader(out, _ready(writer), _ready(reader))
        except Exception as error:  # fastavro raises what its decoder meets
            return str(error) or type(error).__name__
    return ""


@cache
def reads(reader: str, writer: str) -> bool | None:
    """Whether data written with ``writer`` can be read with ``reader``; None where the judges differ."""
    by_rules = _by_rules(reader, writer)
    return by_rules if by_rules == (not _by_decoding(reader, writer)) else None


def _pairs(history: Sequence[str], new: str, mode: str) -> list[tuple[str, str, int]]:
    """(reader, writer, version) of what a mode compares."""
    if mode == "NONE":
        return []
    word, _, reach = mode.partition("_")
    start = 0 if reach else max(0, len(history) - 1)
    found = []
    for i, old in enumerate(history[start:], start + 1):
        found += [(new, old, i)] if word in ("BACKWARD", "FULL") else []
        found += [(old, new, i)] if word in ("FORWARD", "FULL") else []
    return found


def _record_in(t: Any) -> Schema | None:
    """The record of a field's type: itself, of an array or map, or of a union with null."""
    if isinstance(t, list):
        rest = [b for b in t if b != "null"]
        return _record_in(rest[0]) if len(rest) == 1 else None
    if isinstance(t, dict):
        if t["type"] == "record":
            return t
        return _record_in(t.get("items", t.get("values")))
    return None


def blamed(reader: Schema, writer: Schema) -> set[str]:
    """Paths of the fields for which the reader cannot read the writer, found by trying each field alone. A field that an
    alias matches goes by either name."""
    found: set[str] = set()
    theirs = {f["name"]: f for f in writer["fields"]}
    for f in reader["fields"]:
        if _by_rules(json.dumps({**reader, "fields": [f]}), json.dumps(writer)):
            continue
        match = next((theirs[n] for n in (f["name"], *f.get("aliases", ())) if n in theirs), None)
        names = {f["name"]} | ({match["name"]} if match else set())
        inner, outer = _record_in(f["type"]), _record_in(match["type"]) if match else None
        deeper = blamed(inner, outer) if inner and outer and inner["name"] == outer["name"] else set()
        found |= {f"{n}.{d}" for n in names for d in deeper} or names
    return found


# -- histories -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A history (oldest first), what is to be registered, and what is right. ``kind``: what changes; ``witness``: which version
    cannot be read, and what fastavro says; ``stops``: pairs of reader and writer that stop; ``reads_latest``: whether the new
    version reads data of the latest."""

    kind: str
    mode: str
    history: tuple[str, ...]
    new: str
    compatible: bool
    fields: frozenset[str]
    witness: str
    stops: int
    reads_latest: bool

    @property
    def all_fields(self) -> str:
        return ", ".join(sorted(self.fields))


Field = dict[str, Any]
Track = Sequence[Field | tuple[Field, ...] | None]  # one field (or some) over the versions; None: not there


def _there(f: Field | tuple[Field, ...] | None) -> list[Field]:
    """The fields of a version of a track."""
    return list(f) if isinstance(f, tuple) else [f] if f else []


OUTER = {"record": "address", "array": "lines", "map": "attributes", "nullable": "delivery"}
NAMES = ("amount", "carrier", "depot", "method", "note", "origin", "reason", "score", "slot", "stage", "unit", "volume")
SYMBOLS = ("card", "wallet", "invoice", "voucher", "cash")
PROMOTIONS = (
    ("int", "long"), ("int", "float"), ("int", "double"), ("long", "float"), ("long", "double"), ("float", "double"),
)  # fmt: skip
SIMPLE = (("string", "none"), ("int", 0), ("boolean", False), ("double", 0.5))


def _enum(name: str, symbols: Sequence[str], **more: Any) -> Schema:
    return {"type": "enum", "name": name, "symbols": list(symbols), **more}


def _stamp(unit: str) -> Schema:
    return {"type": "long", "logicalType": f"timestamp-{unit}"}


def _field(name: str, t: Any, **more: Any) -> Field:
    return {"name": name, "type": t, **more}


def fields_and_defaults(rng: np.random.Generator, name: str) -> dict[str, Track]:
    """Kinds of change to the set of fields."""
    t, default = SIMPLE[int(rng.integers(len(SIMPLE)))]
    other = f"{name}_code"
    return {
        "added with a default": (None, _field(name, t, default=default)),
        "added without a default": (None, _field(name, t)),
        "added, may be null, without a default": (None, _field(name, ["null", t])),
        "added, may be null, default null": (None, _field(name, ["null", t], default=None)),
        "removed, had a default": (_field(name, t, default=default), None),
        "removed, had no default": (_field(name, t), None),
        "renamed": (_field(name, t), _field(other, t)),
        "renamed, old name as alias": (_field(name, t), _field(other, t, aliases=[name])),
        "renamed, both with defaults": (_field(name, t, default=default), _field(other, t, default=default)),
        "a timestamp added without a default": (None, _field(name, _stamp("millis"))),
        # The reader's own name goes before its aliases: text is sent under the name.
        "a field takes over a name, its old one as alias": (
            (_field(name, "string"), _field(other, "int")),
            _field(name, "int", aliases=[other]),
        ),
    }


def types(rng: np.random.Generator, name: str) -> dict[str, Track]:
    """Kinds of change to the type of a field."""
    small, large = PROMOTIONS[int(rng.integers(len(PROMOTIONS)))]
    t = ("string", "int", "boolean")[int(rng.integers(3))]
    some = [SYMBOLS[i] for i in rng.permutation(len(SYMBOLS))]
    label = name.capitalize()
    two, three = _enum(label, some[:2]), _enum(label, some[:3])
    fixed = {"type": "fixed", "name": label, "size": 8}
    return {
        **{f"{a} to {b}": (_field(name, a), _field(name, b)) for a, b in PROMOTIONS},
        f"from {large} to {small}": (_field(name, large), _field(name, small)),
        "int to string": (_field(name, "int"), _field(name, "string")),
        "string to bytes": (_field(name, "string"), _field(name, "bytes")),
        "a symbol more": (_field(name, two), _field(name, three)),
        "a symbol less": (_field(name, three), _field(name, two)),
        "a symbol less, the enum has a default": (
            _field(name, _enum(label, some[:3], default=some[0])),
            _field(name, _enum(label, some[:2], default=some[0])),
        ),
        "a symbol less, the field has a default": (
            _field(name, three, default=some[0]),
            _field(name, two, default=some[0]),
        ),
        "a symbol less, and the enum's default is gone": (
            _field(name, _enum(label, some[:3], default=some[0])),
            _field(name, two),
        ),
        "an enum in another namespace": (
            _field(name, {**two, "namespace": "kestrel"}),
            _field(name, {**two, "namespace": "kestrel.events"}),
        ),
        "a number, now marked as a timestamp": (_field(name, "long"), _field(name, _stamp("millis"))),
        "a timestamp marked as microseconds": (_field(name, _stamp("millis")), _field(name, _stamp("micros"))),
        "an enum renamed": (_field(name, two), _field(name, {**two, "name": f"{label}Kind"})),
        "an enum renamed, old name as alias": (
            _field(name, two),
            _field(name, {**two, "name": f"{label}Kind", "aliases": [label]}),
        ),
        "may be null now": (_field(name, t), _field(name, ["null", t])),
        "may no longer be null": (_field(name, ["null", t], default=None), _field(name, t)),
        "int to null or long": (_field(name, "int"), _field(name, ["null", "long"])),
        "a symbol more, and null": (_field(name, ["null", two]), _field(name, ["null", three])),
        "list of int to list of long": (
            _field(name, {"type": "array", "items": "int"}),
            _field(name, {"type": "array", "items": "long"}),
        ),
        "map of int to map of string": (
            _field(name, {"type": "map", "values": "int"}),
            _field(name, {"type": "map", "values": "string"}),
        ),
        "null or int to null or long": (_field(name, ["null", "int"]), _field(name, ["null", "long"])),
        "a branch more": (_field(name, ["null", "int"]), _field(name, ["null", "int", "string"])),
        "size of a fixed": (_field(name, fixed), _field(name, {**fixed, "size": 16})),
        "list to map": (_field(name, {"type": "array", "items": t}), _field(name, {"type": "map", "values": t})),
        "order of fields and a description": (_field(name, t), _field(name, t, doc="As agreed.")),
    }


def long_histories(rng: np.random.Generator, name: str) -> dict[str, Track]:
    """One field over three or four versions; the last is to be registered. The field comes and goes and no more, so that who
    errs about aliases or types loses nothing here."""
    t, default = SIMPLE[int(rng.integers(len(SIMPLE)))]
    bare, safe = _field(name, t), _field(name, t, default=default)
    return {
        "default given, later taken away": (None, None, safe, bare),
        "default given, then removed": (bare, safe, None),
        "gone for a while": (bare, None, bare, bare),  # a version in the middle alone stands in the way
        "there for a while": (None, bare, None, None),
        "removed long ago": (bare, None, None),
        "added long ago": (None, None, bare, bare),
        "a break long ago, mended since": (None, bare, bare, safe),
        "back with a default": (bare, None, safe),
        "back without a default": (safe, None, bare),
        "nothing but good changes": (None, safe, safe, {**safe, "doc": "Agreed."}),
    }


def _wrap(track: Track, how: str) -> Track:
    """The same changes one level down: in a record, in the records of a list or map, in a record that may be null."""
    if how == "plain":
        return track
    outer = OUTER[how]
    found = []
    for f in track:
        inner = {
            "type": "record",
            "name": outer.capitalize(),
            "fields": [_field("line_no", "int"), *_there(f)],
        }
        t: Any = {"record": inner, "nullable": ["null", inner]}.get(how)
        if t is None:
            t = {"type": how, "items" if how == "array" else "values": inner}
        found.append(_field(outer, t))
    return found


def _schemas(base: Schema, track: Track, rng: np.random.Generator) -> list[str]:
    """The versions as JSON texts: fields of a subject of Kestrel's, and the one that changes."""
    used = {n for v in track for f in _there(v) for n in (f["name"], *f.get("aliases", ()))}
    steady = [f for f in base["fields"] if f["name"] not in {*used, *NAMES, *OUTER.values()}]  # types have names too
    steady = [steady[i] for i in sorted(rng.permutation(len(steady))[:4])]
    place = int(rng.integers(len(steady) + 1))
    found = []
    for i, f in enumerate(track):
        fields = [*steady[:place], *_there(f), *steady[place:]]
        if i and rng.random() < 0.3:  # order means nothing
            fields = fields[::-1]
        found.append(json.dumps({"type": "record", "name": base["name"], "doc": f"Draft {i + 1}.", "fields": fields}))
    return found


KINDS: dict[str, tuple[Callable[[np.random.Generator, str], dict[str, Track]], int]] = {
    "fields": (fields_and_defaults, 6),
    "types": (types, 4),
    "histories": (long_histories, 6),
}  # group: kinds of change, cases of each kind
GROUPS = ("fields", "types", "histories")


def cases(lab: Lab, group: str) -> list[Case]:
    """Fresh cases of a group; the modes go round, so that each kind of change meets each direction."""

    def make() -> list[Case]:
        latest = "select arg_max(schema_json, version) from ops.schema_versions group by subject order by subject"
        bases = [json.loads(text) for (text,) in lab.world.sql(latest)]
        return list(draw_cases(lab.rng(f"histories/{group}"), group, bases))

    return lab.kept(f"cases/{group}", make)


def draw_cases(rng: np.random.Generator, group: str, bases: Sequence[Schema]) -> Iterator[Case]:
    """Cases of a group, drawn from ``rng``, around schemas of the world."""
    make, each = KINDS[group]
    depths = ("plain", "record", "array", "map", "nullable")
    kinds = list(make(rng, "x"))
    for number in range(len(kinds)):
        # Both directions at least twice, whatever the draw; FULL and NONE among the rest.
        wanted = ["BACKWARD", "FORWARD", "BACKWARD_TRANSITIVE", "FORWARD_TRANSITIVE", "FULL_TRANSITIVE", "FULL", "NONE"]
        modes = [*wanted[:4], *(wanted[4 + (number + i) % 3] for i in range(3))][:each]
        for i, mode in enumerate(modes):
            for _ in range(20):  # a draw on which the judges differ is drawn again
                name = NAMES[int(rng.integers(len(NAMES)))]
                kind, track = list(make(rng, name).items())[number]
                how = depths[(number + i) % 5] if group == "types" or i % 2 else "plain"
                base = bases[int(rng.integers(len(bases)))]
                early = int(rng.integers(3)) if group == "histories" else int(rng.random() < 0.2)
                texts = _schemas(base, _wrap([track[0]] * early + list(track), how), rng)
                case = _judged(kind, mode, texts, {f["name"] for v in track for f in _there(v)})
                if case:
                    yield case
                    break


def _judged(kind: str, mode: str, texts: Sequence[str], names: set[str]) -> Case | None:
    """The case with its truth, or None where the judges differ. ``names``: those that the changing field goes by."""
    *history, new = texts
    fields: set[str] = set()
    stops = 0
    for reader, writer, _ in _pairs(history, new, mode):
        verdict = reads(reader, writer)
        if verdict is None:
            return None
        if not verdict:
            stops += 1
            fields |= blamed(json.loads(reader), json.loads(writer))
    for path in list(fields):
        *outer, last = path.split(".")
        if last in names:
            fields |= {".".join([*outer, n]) for n in names}
    latest = bool(reads(new, history[-1]))
    return Case(
        kind, mode, tuple(history), new, not stops, frozenset(fields), _witness(history, new, mode), stops, latest
    )


def _witness(history: Sequence[str], new: str, mode: str) -> str:
    """Which version cannot be read, and what fastavro says."""
    for reader, writer, version in _pairs(history, new, mode):
        error = _by_decoding(reader, writer)
        if error:
            who = (
                f"the new version reads data of version {version}"
                if reader == new
                else f"version {version} reads new data"
            )
            return f"{who}: {error[:200]}"
    word = {"BACKWARD": "the new version reads old data", "FORWARD": "old versions read new data"}
    return word.get(mode.partition("_")[0], "both directions work") if mode != "NONE" else "NONE compares nothing"


# -- task a --------------------------------------------------------------------------------------------------------------


def _answer(lab: Lab, case: Case) -> dict[str, Any]:
    got = lab.call("compatible", list(case.history), case.new, case.mode)
    if not isinstance(got, dict) or not isinstance(got.get("compatible"), bool):
        raise CheckFailed(
            f"`compatible` returned {_short(got)}; expected: a dict with compatible (True or False), field and reason."
        )
    return got


def _answers(lab: Lab, group: str) -> list[tuple[Case, dict[str, Any]]]:
    return lab.once(f"answers/{group}", lambda: [(c, _answer(lab, c)) for c in cases(lab, group)])


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."


def _by_path(fields: Sequence[Field], outer: str = "") -> dict[str, Field]:
    """Fields by path; in place of a field with a record, the record's fields."""
    found: dict[str, Field] = {}
    for f in fields:
        path = f"{outer}{f['name']}"
        inner = _record_in(f["type"])
        found |= _by_path(inner["fields"], f"{path}.") if inner and inner["fields"] else {path: f}
    return found


def _diff(case: Case) -> Table:
    """The fields that are not the same in all versions, version by version, by their paths: of a record that changes within,
    the field that changes."""
    versions = [_by_path(json.loads(t)["fields"]) for t in (*case.history, case.new)]
    names = [
        n for n in dict.fromkeys(n for v in versions for n in v) if len({json.dumps(v.get(n)) for v in versions}) > 1
    ]
    label = [f"version {i}" for i in range(1, len(versions))] + ["new"]
    rows = [
        (label[i], n, json.dumps({k: x for k, x in v[n].items() if k != "name"}) if n in v else "(not there)")
        for i, v in enumerate(versions)
        for n in names
    ]
    return Table.of(["version", "field", "as"], rows[:10])


def _misconception(case: Case, group: str) -> str:
    kind = case.kind
    if case.mode == "NONE":
        return "direction"
    if group == "histories":
        return "only_latest"
    for words, name in (
        ("may be null, without", "null_is_a_default"),
        ("renamed", "rename_is_harmless"),
        ("takes over a name", "own_name_first"),
        ("timestamp marked", "logical_type"),
        ("now marked", "logical_type"),
        ("symbol", "symbols"),
        ("enum", "type_names"),
        ("null", "unions"),
        ("added", "default_needed"),
        ("removed", "default_needed"),
        (" to ", "promotion_both_ways"),
    ):
        if words in kind:
            return name
    return "direction"


def _verdicts(lab: Lab, group: str, ask: str) -> None:
    answers = _answers(lab, group)
    wrong = [(c, a) for c, a in answers if a["compatible"] != c.compatible]
    if not wrong:
        return
    c, _ = min(wrong, key=lambda x: (len(x[0].history), len(x[0].new)))
    said = "compatible" if not c.compatible else "incompatible"
    which = f"because of {c.all_fields}" if c.fields else "nothing stands in the way"
    kinds = Counter(x.kind for x, _ in wrong)
    raise CheckFailed(
        f"{len(wrong)} of {len(answers)} verdicts are wrong. One of them: a field is changed ({c.kind}) under "
        f"{c.mode}; `compatible` says {said}, and it is {'compatible' if c.compatible else 'incompatible'}: {which}. "
        "Consumers at Kestrel "
        f"{'would stop at the first message' if not c.compatible else 'would wait for a change that harms nobody'}.",
        evidence=[
            Evidence("what changes", _diff(c)),
            Evidence("tried out with fastavro", text=c.witness),
            Evidence("wrong by kind of change", Table.of(["change", "wrong"], kinds.most_common(8))),
        ],
        ask=ask,
        misconception=_misconception(c, group),
    )


@check("a", "fields that come, go or change their name", points=1.5)
def fields_resolve(lab: Lab) -> None:
    """Eleven kinds of change, at the top and one level down, in both directions."""
    _verdicts(lab, "fields", "Who reads here, and what does a reader take where the writer has written nothing?")


@check("a", "types that change: numbers, enums, unions, names, lists and maps", points=1.5)
def types_resolve(lab: Lab) -> None:
    """Some thirty kinds of change, at the top and one level down, in both directions."""
    _verdicts(lab, "types", "Write down one value that the writer may send. Can this reader take it?")


@check("a", "the mode says which versions are compared", points=1)
def history_counts(lab: Lab) -> None:
    """Histories of two to five versions with verdicts that depend on how far back one looks."""
    _verdicts(lab, "histories", "Which versions does this mode compare with the new one, and in which direction?")


@check("a", "a refusal names the field", points=1)
def names_the_field(lab: Lab) -> None:
    """The field is one without which the pair would resolve (found by trying each field alone), as a path."""
    refused = [(c, a) for group in GROUPS for c, a in _answers(lab, group) if not c.compatible and not a["compatible"]]
    expect(
        refused,
        "`compatible` refuses nothing that must be refused, so that no field is named.",
        misconception="direction",
    )
    wrong = [(c, a) for c, a in refused if str(a.get("field")).strip() not in c.fields]
    if wrong:
        c, a = min(wrong, key=lambda x: len(x[0].new))
        raise CheckFailed(
            f"{len(wrong)} of {len(refused)} refusals do not name the field. A field is changed ({c.kind}) under "
            f"{c.mode}: `field` is {_short(a.get('field'))}, expected {c.all_fields}. The refused team looks for its "
            "mistake there.",
            evidence=[Evidence("what changes", _diff(c)), Evidence("tried out with fastavro", text=c.witness)],
            ask="Is the field at the top, or within a record, a list or a map?",
            misconception="path",
        )


# -- task b --------------------------------------------------------------------------------------------------------------

SETUP = (
    "create table registry_subjects (subject varchar primary key, mode varchar not null)",
    "create table registry_versions (subject varchar, version integer, schema_json varchar not null, primary key "
    "(subject, version))",
)
READ = "select subject, version, schema_json from registry_versions order by subject, version limit 500"
Rows = dict[str, list[str]]  # schema texts by subject, in order of version


def _same(a: str, b: str) -> bool:
    """The same JSON value."""
    return _value(a) == _value(b)


def _value(text: Any) -> Any:
    try:
        return json.dumps(json.loads(text) if isinstance(text, str) else text, sort_keys=True)
    except (ValueError, TypeError, RecursionError):
        return None


def _restyled(text: str, rng: np.random.Generator) -> str:
    """The same schema with other spacing and another order of keys."""

    def turn(v: Any) -> Any:
        if isinstance(v, dict):
            keys = list(v)
            return {k: turn(v[k]) for k in (keys[i] for i in rng.permutation(len(keys)))}
        return [turn(x) for x in v] if isinstance(v, list) else v

    return json.dumps(turn(json.loads(text)), indent=2)


# By mode, how many of the latest versions count (0: all), and by an old and a new text the field that stands in the way.
Verdicts = dict[str, tuple[int, dict[tuple[str, str], str]]]


def _verdicts_on(lab: Lab, name: str, texts: Sequence[str]) -> Verdicts:
    """What the judges say of each two of the texts, which the world and the name decide."""

    def make() -> Verdicts:
        found: Verdicts = {}
        for mode in MODES:
            between = ((old, new, _obstacle(old, new, mode)) for old in texts for new in texts)
            obstacles = {(old, new): field for old, new, field in between if field is not None}
            found[mode] = (0 if mode.endswith("_TRANSITIVE") else 1, obstacles)
        return found

    return lab.kept(f"verdicts/{name}", make)


def _obstacle(old: str, new: str, mode: str) -> str | None:
    """The first field for which two versions do not go together; None: they do."""
    bad = ((r, w) for r, w, _ in _pairs([old], new, mode) if not reads(r, w))
    return next((_first_blamed(r, w) for r, w in bad), None)


@cache
def _first_blamed(reader: str, writer: str) -> str:
    return min(blamed(json.loads(reader), json.loads(writer)), default="")


class Compat:
    """``compatible`` as task b gets it: the verdicts of the judges, and a note of what was asked."""

    def __init__(self, texts: Sequence[str], verdicts: Verdicts) -> None:
        self.texts = {_value(t): t for t in texts}
        self.verdicts = verdicts
        self.asked: list[tuple[list[str], str, str]] = []

    def __call__(self, history: Any, new: Any, mode: Any) -> dict[str, Any]:
        if not isinstance(history, list | tuple):
            raise TypeError("history is a list of schemas as JSON text, oldest first")
        parsed = [type(t).__name__ for t in (*history, new) if not isinstance(t, str)]
        if parsed:
            raise TypeError(f"compatible takes schemas as JSON text; it was given a {parsed[0]}")
        found = [self.texts.get(_value(t)) for t in (*history, new)]
        if None in found:
            raise ValueError("compatible was given a text that is no schema of this registry")
        if mode not in MODES:
            raise ValueError(f"there is no mode {mode!r}")
        *old, fresh = found
        self.asked.append((old, fresh, mode))
        latest, obstacles = self.verdicts[mode]
        name = next((obstacles[t, fresh] for t in old[-latest:] if (t, fresh) in obstacles), None)
        if name is None:
            return {"compatible": True, "reason": "", "field": None}
        return {"compatible": False, "field": name, "reason": f"{name} cannot be read"}


@dataclass(frozen=True)
class Family:
    """Schemas of one subject. ``optional`` and ``another`` have a field more than ``first``, with a default: they go with it
    and each other both ways. ``bare`` and ``bare_too`` have one without default: they cannot read the others. ``gone`` has
    lost a field without default: the others cannot read it."""

    subject: str
    first: str
    optional: str
    another: str
    bare: str
    gone: str
    bare_too: str

    @property
    def texts(self) -> list[str]:
        return [self.first, self.optional, self.another, self.bare, self.gone, self.bare_too]


def families(lab: Lab, name: str, n: int) -> list[Family]:
    """Families around subjects of the world."""
    rng = lab.rng(name)
    rows = lab.world.sql("select subject, schema_json from ops.schema_versions where version = 1 order by subject").rows
    picked = [rows[i] for i in rng.permutation(len(rows))[:n]]
    found = []
    for subject, text in picked:
        base = json.loads(text)
        key, middle, *rest = [f for f in base["fields"] if "default" not in f][:4]
        taken = {f["name"] for f in base["fields"]}
        names = [NAMES[i] for i in rng.permutation(len(NAMES)) if NAMES[i] not in taken]
        fields = [key, middle, *rest]

        def schema(*more: Field, base: Schema = base, fields: Sequence[Field] = fields) -> str:
            return json.dumps({"type": "record", "name": base["name"], "fields": [*fields, *more]})

        found.append(
            Family(
                subject,
                schema(),
                schema(_field(names[0], "string", default="")),
                schema(_field(names[1], "int", default=0)),
                schema(_field(names[2], "string")),
                schema(fields=[f for f in fields if f is not middle]),
                schema(_field(names[3], "int")),
            )
        )
    return found


def _open(lab: Lab, modes: dict[str, str], versions: Rows) -> JudgedDatabase:
    subjects = Table.of(["subject", "mode"], list(modes.items()))
    rows = [(s, i, t) for s, texts in versions.items() for i, t in enumerate(texts, 1)]
    return lab.database(
        SETUP,
        {"registry_subjects": subjects, "registry_versions": Table.of(["subject", "version", "schema_json"], rows)},
    )


def _register(lab: Lab, db: Any, subject: str, text: str, compat: Compat) -> int | None:
    got = lab.call("register", db, subject, text, lab.callback(compat))
    if got is not None and (isinstance(got, bool) or not isinstance(got, int)):
        raise CheckFailed(f"`register` returned {_short(got)}; the version number was expected, or None for a refusal.")
    return got


def _held(db: JudgedDatabase) -> Rows:
    found: Rows = {}
    for subject, version, text in db.rows(READ).rows:
        found.setdefault(subject, []).append(text)
        if version != len(found[subject]):
            raise CheckFailed(
                f"{subject} has a version {version} where version {len(found[subject])} was expected: versions count "
                "from 1 within a subject, without gaps.",
                evidence=Evidence(
                    "registry_versions", db.rows("select subject, version from registry_versions order by all")
                ),
                misconception="numbers",
            )
    return found


@dataclass(frozen=True)
class Step:
    """One registration, and what is right: the version returned, and whether it is new."""

    subject: str
    text: str
    version: int | None
    words: str


def _follow(lab: Lab, steps: Sequence[Step], modes: dict[str, str], compat: Compat, start: Rows | None = None) -> None:
    """Registers one after the other, each on a connection of its own, and compares what is held after each."""
    db = _open(lab, modes, start or {})
    want: Rows = {s: list(t) for s, t in (start or {}).items()}
    for step in steps:
        db.arm()
        got = _register(lab, db, step.subject, step.text, compat)
        db.crash()  # the connection ends: what is not committed is gone
        held = want.setdefault(step.subject, [])
        if step.version == len(held) + 1:
            held.append(step.text)
        shown = db.rows(
            "select subject, version, left(schema_json, 60) as schema_json from registry_versions order by all"
        )
        if got != step.version:
            raise CheckFailed(
                f"{step.words}: `register` returned {got}, expected {step.version}.",
                evidence=Evidence("registry_versions", shown),
                ask="Which versions did you compare the text with, and how?",
                misconception=(
                    "modes" if None in (got, step.version) else "identity" if got == len(held) + 1 else "numbers"
                ),
            )
        mine = _held(db)
        right = {s: t for s, t in want.items() if t}
        same = mine.keys() == right.keys() and all(
            len(mine[s]) == len(right[s]) and all(map(_same, mine[s], right[s])) for s in right
        )
        if not same:
            counts = [(s, len(mine.get(s, [])), len(right.get(s, []))) for s in sorted({*mine, *right})]
            lost = all(len(mine.get(s, [])) < len(right[s]) for s in right) or not mine
            raise CheckFailed(
                f"{step.words}: after the connection is closed the registry does not hold what it "
                f"should{' (what is not committed is lost)' if lost else ''}.",
                evidence=Evidence("versions", Table.of(["subject", "yours", "expected"], counts)),
                misconception="not_committed" if lost else "numbers",
            )
        db.arm()
    db.close()


@check("b", "a schema has one version, however often and in whatever style it comes", points=1)
def versions_are_stable(lab: Lab) -> None:
    """Registered again, with other spacing and order of keys, after newer versions, under a mode that would refuse it now;
    two subjects, one of them unknown before."""
    rng = lab.rng("versions")
    a, b = families(lab, "families/versions", 2)
    texts = [*a.texts, *b.texts]
    compat = Compat(texts, _verdicts_on(lab, "versions", texts))
    modes = {a.subject: "NONE"}
    steps = [
        Step(a.subject, a.first, 1, f"{a.subject} is registered for the first time"),
        Step(a.subject, a.first, 1, f"{a.subject}: the same text comes again"),
        Step(a.subject, a.bare, 2, f"{a.subject}: another schema comes, mode NONE"),
        Step(
            a.subject,
            _restyled(a.bare, rng),
            2,
            f"{a.subject}: the same schema comes with other spacing and order of keys",
        ),
        Step(b.subject, b.first, 1, f"{b.subject}, a subject that nobody knows, is registered"),
        Step(a.subject, a.first, 1, f"{a.subject}: version 1 comes again after version 2"),
        Step(b.subject, b.optional, 2, f"{b.subject}: a field with a default is added"),
        Step(
            b.subject,
            b.bare,
            None,
            f"{b.subject}: a field without default is added, and no mode was ever set (BACKWARD)",
        ),
        Step(a.subject, a.gone, 3, f"{a.subject}: a third schema comes, mode NONE"),
        Step(a.subject, _restyled(a.first, rng), 1, f"{a.subject}: version 1 comes again after version 3, restyled"),
    ]
    _follow(lab, steps, modes, compat)
    # Held under NONE, then the mode was tightened: what is there stays there.
    a_held = {a.subject: [a.first, a.bare, a.optional]}
    again = Step(a.subject, a.bare, 2, f"{a.subject}: version 2, which its present mode would refuse, comes again")
    _follow(lab, [again], {a.subject: "FULL_TRANSITIVE"}, compat, a_held)


@check("b", "each subject is checked in its own mode, against its own versions", points=1)
def each_mode_counts(lab: Lab) -> None:
    """Four subjects of four modes with three versions each; what is refused leaves no trace."""
    found = families(lab, "families/modes", 4)
    texts = [t for f in found for t in f.texts]
    compat = Compat(texts, _verdicts_on(lab, "modes", texts))
    modes = dict(zip((f.subject for f in found), ("BACKWARD", "FORWARD", "FULL_TRANSITIVE", "NONE"), strict=True))
    start = {f.subject: [f.first, f.optional] for f in found}
    steps = []
    for f, (mode, bare, gone) in zip(
        found,
        (("BACKWARD", None, 3), ("FORWARD", 3, None), ("FULL_TRANSITIVE", None, None), ("NONE", 3, 4)),
        strict=True,
    ):
        steps += [
            Step(f.subject, f.bare, bare, f"{f.subject} ({mode}): a field without default is added"),
            Step(f.subject, f.gone, gone, f"{f.subject} ({mode}): a field without default is removed"),
        ]
    _follow(lab, steps, modes, compat, start)
    asked: dict[str, list] = {}
    for history, new, mode in compat.asked:
        subject = next(f.subject for f in found if new in f.texts)
        asked.setdefault(subject, []).append((history, mode))
    for f in found:
        for history, mode in asked.get(f.subject, []):
            expect(
                mode == modes[f.subject],
                f"{f.subject} has the mode {modes[f.subject]}; `compatible` was asked with {mode}.",
                misconception="modes",
            )
            expect(
                history[:2] == start[f.subject] or mode == "NONE",
                f"{f.subject} has the versions 1 and 2 (and later ones); `compatible` was given {len(history)} of "
                f"them{', or in another order' if len(history) >= 2 else ''}. It needs all of them, oldest first, for "
                "every mode.",
                misconception="history",
            )


MOST_PLACES = 12


def _between(
    lab: Lab, f: Family, at: int, pair: tuple[str, str], mode: str, start: Rows
) -> tuple[bool, list, Rows, str]:
    """The first caller registers ``pair[0]`` and stands still before its statement ``at``; the second registers ``pair[1]``
    from beginning to end; the first goes on. A caller that gave up is called again at the end, as a scheduler would.
    Returns whether the first ever came to that statement, what both got, what is held, and the statement."""
    compat = Compat(f.texts, _verdicts_at_once(lab, f))
    db = _open(lab, {f.subject: mode} if start else {}, start)
    other = lab.database(SETUP)
    other.rows(f"use {db.name}")  # a session of its own on the same tables
    first = lab.frozen(db)
    got: list[Any] = [None, None]
    gave_up: list[int] = []

    def call(who: int, through: Lab, database: JudgedDatabase) -> None:
        try:
            got[who] = _register(through, database, f.subject, pair[who], compat)
        except LearnerError as error:
            if error.error_type in ("CodecError", "NameError", "TypeError") or "TimeoutError" in error.error_type:
                raise
            gave_up.append(who)
            got[who] = error

    first.until(at)
    stopped = False
    try:
        got[0] = _register(first, db, f.subject, pair[0], compat)
    except LearnerError as error:
        stopped = error.error_type == "Crash"
        if not stopped:
            raise
    statement = ""
    if stopped:
        call(1, lab, other)
        first.onwards()
        call(0, first, db)
        other.rows("select 1")  # what it has left open is rolled back
        statement = " ".join(first.statements[-1].split())[:60] if first.statements else ""
    expect(
        0 not in gave_up,
        f"Two callers at once: the second has registered and is gone, and the first gave up: {got[0]}. Nothing is in "
        "its way when it starts again from the beginning.",
        ask="What do you do when the database refuses a statement?",
        misconception="race",
    )
    for who in sorted(set(gave_up)):
        db.arm()
        db.crash()
        db.arm()
        got[who] = _register(lab, db, f.subject, pair[who], compat)
    db.arm()
    rows = _held(db)
    other.close()
    db.close()
    return stopped, got, rows, statement


@check("b", "two callers at once leave one version", points=1)
def callers_at_once(lab: Lab) -> None:
    """One caller stands still before each of its statements in turn, while another registers; then it goes on. The same
    schema by both; different schemas that go together; two that do not; a subject that nobody knows. Then one caller whom
    another outruns in every attempt."""
    (f,) = families(lab, "families/at once", 1)
    scenes = (
        ("both register the same schema", (f.optional, f.optional), "BACKWARD", {f.subject: [f.first]}),
        ("both register the same schema of a new subject", (f.first, f.first), "BACKWARD", {}),
        (
            "they register two schemas that go together",
            (f.optional, f.another),
            "FULL_TRANSITIVE",
            {f.subject: [f.first]},
        ),
        ("they register two schemas that exclude each other", (f.bare, f.bare_too), "FORWARD", {f.subject: [f.first]}),
    )
    for words, pair, mode, start in scenes:
        for at in range(MOST_PLACES):
            stopped, got, rows, statement = _between(lab, f, at, pair, mode, start)
            if not stopped:
                break
            _judge_scene(f, words, pair, mode, start, at, statement, got, rows)
    _always_slower(lab, f)


ATTEMPTS = 5
FASTER_AT_MOST = 9  # then the other caller rests, so that a caller without an end comes back as well


def _drafts(f: Family) -> list[str]:
    """What the faster caller registers: each is another JSON value, and the same to a reader."""
    return [json.dumps({**json.loads(f.first), "doc": f"Draft {i}."}) for i in range(FASTER_AT_MOST)]


def _verdicts_at_once(lab: Lab, f: Family) -> Verdicts:
    return _verdicts_on(lab, "at once", [*f.texts, *_drafts(f)])


def _always_slower(lab: Lab, f: Family) -> None:
    """Whenever the caller asks ``compatible`` about the latest that is held, another caller takes the next number: the insert
    or the commit is refused each time. Counted are the states about which it asked, so that it may ask twice in an attempt."""
    db = _open(lab, {f.subject: "BACKWARD"}, {f.subject: [f.first]})
    other = lab.database(SETUP)
    other.rows(f"use {db.name}")
    drafts = _drafts(f)
    compat = Compat([*f.texts, *drafts], _verdicts_at_once(lab, f))
    attempts = 0

    def ask(history: Any, new: Any, mode: Any) -> dict[str, Any]:
        nonlocal attempts
        verdict = compat(history, new, mode)
        latest = drafts[attempts - 1] if attempts else f.first
        if attempts < FASTER_AT_MOST and _value(latest) in map(_value, history):
            draft = [f.subject, attempts + 2, drafts[attempts]]
            other.rows("insert into registry_versions values (?, ?, ?) returning version", draft)
            attempts += 1
        return verdict

    got, error = None, None
    try:
        got = lab.call("register", db, f.subject, f.optional, lab.callback(ask))
    except LearnerError as raised:
        error = raised
    db.arm()
    db.crash()
    db.arm()
    rows = _held(db).get(f.subject, [])
    other.close()
    db.close()
    where = (
        "Another caller takes the next number in each attempt, between the check and the insert, so that the database "
        "refuses every insert"
    )
    kind = getattr(duckdb, error.error_type, None) if error else None
    by_database = isinstance(kind, type) and issubclass(kind, duckdb.Error)
    came = f"raised {error.error_type} ({error.error_message[:100]})" if error else f"returned {_short(got)}"
    made = f"{attempts} attempt{'s' * (attempts != 1)}{' or more' * (attempts == FASTER_AT_MOST)}"
    shown = Evidence(
        "registry_versions afterwards",
        Table.of(["version", "schema_json"], [(i, t[-70:]) for i, t in enumerate(rows, 1)]),
    )
    expect(
        attempts == ATTEMPTS,
        f"{where}. `register` made {made} and then {came}; "
        f"expected: {ATTEMPTS} attempts, then the error. A deployment that tries for ever holds its machine, and one that "
        "gives up early fails on a busy morning.",
        evidence=shown,
        ask="What counts the attempts, and what happens after the last?",
        misconception="attempts",
    )
    expect(
        by_database,
        f"{where}. After {ATTEMPTS} attempts `register` {came}; expected: the database's error (a duckdb.Error). The "
        "scheduler would not know that nothing is registered, and would not call again.",
        evidence=shown,
        ask="Where does the code go after the last refusal, and what does the caller get there?",
        misconception="attempts",
    )


def _judge_scene(
    f: Family, words: str, pair: tuple[str, str], mode: str, start: Rows, at: int, statement: str, got: list, rows: Rows
) -> None:
    held = rows.get(f.subject, [])
    before = start.get(f.subject, [])
    where = f"Two callers at once: {words}. The first stands still before its statement {at + 1}"
    where += f" (its last was: {statement})" if statement else ""
    shown = Evidence(
        "registry_versions afterwards",
        Table.of(["version", "schema_json"], [(i, t[-70:]) for i, t in enumerate(held, 1)]),
    )
    fresh = {_value(t) for t in held} - {_value(t) for t in before}
    twice = len(held) != len({_value(t) for t in held})
    expect(
        not twice,
        f"{where}; afterwards one schema has two versions.",
        evidence=shown,
        ask="Between your look and your insert, what may another have done? What makes the database refuse?",
        misconception="race",
    )
    # Of two schemas that exclude each other the later one is refused; else both are registered.
    excluding = words.endswith("exclude each other")
    wanted = 1 if excluding or _same(*pair) else 2
    expect(
        len(fresh) == wanted,
        f"{where}; afterwards {len(fresh)} new versions are there, expected {wanted}"
        + (": the second was never checked against the first." if excluding and len(fresh) > 1 else "."),
        evidence=shown,
        ask="What you have checked must still be true when you insert. What do you do when the insert is refused?",
        misconception="race",
    )
    for who, text, answer in zip(("first", "second"), pair, got, strict=True):
        version = next((i for i, t in enumerate(held, 1) if _same(t, text)), None)
        expect(
            answer == version,
            f"{where}; the {who} got {answer!r}, and its schema is "
            + (f"version {version}." if version else "not registered."),
            evidence=shown,
            ask="What does the caller get when the insert is refused because another was faster?",
            misconception="race_return",
        )


# -- task c --------------------------------------------------------------------------------------------------------------

SUBJECT = "orders.placed"
MESSAGE = "select * exclude message_no from raw.order_messages order by landed_at, batch_id, message_no"
LOGICAL = {
    "long": {"integer"},
    "int": {"integer"},
    "string": {"string"},
    "enum": {"string"},
    "timestamp-millis": {"timestamp"},
}
IN_FORCE = """
    select element, term, arg_max(value, term_id) as value
    from ops.contract_terms
    where subject = 'orders.placed' and status in ('agreed', 'withdrawn')
    group by element, term
    having arg_max(status, term_id) = 'agreed'
"""


@cache
def _standard() -> Any:
    """The validator of the standard's own JSON schema."""
    text = (files("open_data_contract_standard") / "schema.json").read_text(encoding="utf-8")
    schema = json.loads(text)
    return jsonschema.validators.validator_for(schema)(schema)


def _contract(lab: Lab) -> dict[str, Any]:
    def made() -> dict[str, Any]:
        got = lab.call("contract", lab.con)
        expect(isinstance(got, dict), f"`contract` returned {_short(got)}; the contract as a dict was expected.")
        try:
            return json.loads(json.dumps(got))  # as it would stand in a file
        except (TypeError, ValueError, RecursionError) as error:
            raise CheckFailed(f"`contract` returned what cannot be written as JSON: {error}.") from error

    return lab.once("contract", made)


def read_refusals(lab: Lab) -> dict[str, list[tuple]]:
    """What the contract refuses, by batch."""

    def run() -> dict[str, list[tuple]]:
        found = lab.judge("workshop.sim.contracts:violations", _contract(lab), lab.world.sql(MESSAGE))
        by_batch: dict[str, list[tuple]] = {}
        for v in found:
            by_batch.setdefault(v["batch_id"], []).append((v["element"], v["rule"], v["rows"], v["example"]))
        return by_batch

    return lab.once("gate", run)


def _custom(item: Any, name: str) -> Any:
    found = item.get("customProperties") if isinstance(item, dict) else None
    return next((c.get("value") for c in found or [] if isinstance(c, dict) and c.get("property") == name), None)


def _properties(contract: dict[str, Any]) -> list[dict[str, Any]]:
    """The properties of the first object, of a contract that may be of any shape."""
    objects = contract.get("schema")
    first = objects[0] if isinstance(objects, list) and objects else None
    found = first.get("properties") if isinstance(first, dict) else None
    return [p for p in found if isinstance(p, dict)] if isinstance(found, list) else []


def _fields(lab: Lab) -> dict[str, tuple[str, set[str]]]:
    """By field of the latest version, what it is in the schema, and the logical types that fit."""

    def make() -> dict[str, tuple[str, set[str]]]:
        latest = "select schema_json from ops.schema_versions where subject = ? order by version desc limit 1"
        found = {}
        for f in json.loads(lab.world.sql(latest, [SUBJECT]).value())["fields"]:
            t = next(b for b in f["type"] if b != "null") if isinstance(f["type"], list) else f["type"]
            kind = (t.get("logicalType") or t["type"]) if isinstance(t, dict) else t
            found[f["name"]] = (kind, LOGICAL[kind])
        return found

    return lab.kept("fields", make)


def _in_force(lab: Lab) -> dict[tuple[str | None, str], str]:
    """The terms in force, by element and term."""
    return lab.kept("in force", lambda: {(e, t): v for e, t, v in lab.world.sql(IN_FORCE)})


@check("c", "the contract is one by the standard, and says who, what and how it may change", points=0.5)
def layout_is_valid(lab: Lab) -> None:
    """Valid by the JSON schema of the standard; every field of the latest version with its logical type; units; owner; the
    mode that was agreed."""
    got, fields = _contract(lab), _fields(lab)
    # The standard's own message for this is "'map' is a required property", which helps nobody.
    untyped = [p["name"] for p in _properties(got) if p.get("name") in fields and not p.get("logicalType")]
    expect(
        not untyped,
        f"Properties without logicalType: {', '.join(untyped)}. Every field of {SUBJECT} has a name and a logicalType; a "
        "reader could not tell an order number from a text.",
        misconception="fields",
    )
    errors = sorted(_standard().iter_errors(got), key=lambda e: list(map(str, e.absolute_path)))
    if errors:
        rows = [("/".join(map(str, e.absolute_path)) or "(top)", e.message[:160]) for e in errors[:6]]
        raise CheckFailed(
            f"The contract is not valid by the standard's JSON schema: {rows[0][0]}: {rows[0][1]}. Tools of other "
            "teams could not read it.",
            evidence=Evidence("where and what", Table.of(["place", "message"], rows)),
            misconception="layout",
        )
    expect(
        got["apiVersion"] == "v3.2.0",
        f"`apiVersion` is {got['apiVersion']!r}; the contract was to follow version v3.2.0 of the standard. Tools of other "
        "teams choose by it how to read the file.",
        misconception="layout",
    )
    objects = got.get("schema") or []
    expect(objects, "The contract has no `schema`: it promises nothing about the data.", misconception="layout")
    mine = {p["name"]: p for p in objects[0].get("properties") or []}
    missing = [name for name in fields if name not in mine]
    expect(
        not missing,
        f"The first object of `schema` lacks fields that the latest version of {SUBJECT} has: {', '.join(missing)}.",
        misconception="fields",
    )
    for name, (kind, fit) in fields.items():
        said = mine[name].get("logicalType")
        expect(
            said in fit,
            f"{name} is {kind} in the schema; the contract says logicalType {said!r}, expected {', '.join(fit)}.",
            misconception="fields",
        )
    terms = _in_force(lab)
    for element, term in terms:
        if term == "unit":
            said = _custom(mine[element], "unit")
            expect(
                isinstance(said, str) and said.strip(),
                f"A unit of {element} was agreed; the contract has no customProperties entry `unit` for it. Somebody "
                "will take cents for dollars.",
                misconception="layout",
            )
    owner = got.get("team", {}).get("name") if isinstance(got.get("team"), dict) else None
    expect(
        owner == terms[None, "owner"],
        f"The owner agreed on is {terms[None, 'owner']}; `team.name` says {owner!r}.",
        misconception="layout",
    )
    mode = _custom(got, "compatibilityMode")
    expect(
        mode == terms[None, "compatibility"],
        f"The contract says compatibilityMode {mode!r}; the last agreement is {terms[None, 'compatibility']}.",
        ask="Is it today's setting of the registry that was agreed, or another one?",
        misconception="not_in_force",
    )


FAULTS = {
    "null": "is null", "twice": "comes twice", "value": "has a value that was not agreed", "pattern": "has another form",
    "low": "is below what was agreed", "high": "is above what was agreed", "late": "is older than agreed on landing",
}  # fmt: skip


def _planted(lab: Lab) -> list[tuple[str, str, str]]:
    """The bad batches: (batch_id, kind, element)."""
    plants = "select batch_id, kind, element from truth.message_plants where not is_decoy order by all"
    return lab.kept("planted", lambda: list(lab.world.sql(plants).rows))


def _good_but_refused(lab: Lab) -> tuple[list[str], list[tuple]]:
    """Batches in which nothing is planted, and those of them that the contract refuses: (batch_id, element, rule, rows,
    example)."""
    refused = read_refusals(lab)
    bad = {batch for batch, _, _ in _planted(lab)}
    every = lab.world.sql("select distinct batch_id from raw.order_messages order by batch_id").column("batch_id")
    good = [b for b in every if b not in bad]
    return good, [(b, *refused[b][0]) for b in good if b in refused]


@check("c", "the contract refuses every bad batch, for the field at fault", points=1)
def bad_is_refused(lab: Lab) -> None:
    """Thirteen kinds of faults, planted twice each. Truth: what was planted. A refusal for another field is luck: the next bad
    batch passes. Who refuses good batches has not told bad from good, and earns nothing for the bad ones."""
    refused = read_refusals(lab)
    planted = _planted(lab)
    passed = [
        (batch, kind, element, ", ".join(dict.fromkeys(v[0] for v in refused.get(batch, []))))
        for batch, kind, element in planted
        if element not in {v[0] for v in refused.get(batch, [])}
    ]
    if passed:
        # What passes altogether is easier to see than what is refused for another field.
        batch, kind, element, others = min(passed, key=lambda p: bool(p[3]))
        rows = lab.world.sql(
            f"select message_no, landed_at, placed_at, {element} from raw.order_messages where batch_id = ? order by all limit 8"
            if element != "placed_at"
            else "select message_no, landed_at, placed_at from raw.order_messages where batch_id = ? order by placed_at limit 8",
            [batch],
        )
        if others:
            said = (
                f"refused for {others} alone. The producer would look for its mistake in the wrong place, and the next "
                "such batch may pass."
            )
        else:
            said = "accepted. Whoever bills, ships or plans from this batch works with it."
        elsewhere = sum(bool(p[3]) for p in passed)
        counts = [f"{len(passed) - elsewhere} pass the contract"] if elsewhere < len(passed) else []
        counts += [f"{elsewhere} are not refused for the field at fault"] if elsewhere else []
        raise CheckFailed(
            f"Of {len(planted)} bad batches {' and '.join(counts)}. In {batch}, {element} {FAULTS[kind]}: {said}",
            evidence=[
                Evidence("the batch", rows),
                Evidence(
                    "not refused for the element",
                    Table.of(["batch_id", "fault", "element", "refused for"], passed[:10]),
                ),
            ],
            ask=f"Which of your rules looks at {element}, and at nothing else?"
            if others
            else "Which term speaks of it, and which key of the standard says it so that a machine can read it?",
            misconception="not_enforced",
        )
    good, wrong = _good_but_refused(lab)
    if wrong:
        batch, element, rule, rows, example = wrong[0]
        raise CheckFailed(
            f"All {len(planted)} bad batches are refused, and {len(wrong)} of {len(good)} good ones as well: the point is "
            f"for a contract that tells them apart. {batch} is good, and is refused for {rows} x {element} by {rule} "
            f"({example}). A gate that holds back good orders is soon switched off.",
            evidence=Evidence(
                "good, and refused", Table.of(["batch_id", "element", "rule", "rows", "example"], wrong[:8])
            ),
            ask="Which of your rules refuses a batch in which nothing is wrong?",
            misconception="refuses_good",
        )


# The term that a rule of the gate may stand for.
TERMS_OF = {
    **dict.fromkeys(("required", "nullValues", "missingValues"), ("required", "key")),
    **dict.fromkeys(("primaryKey", "unique", "duplicateValues"), ("key",)),
    **dict.fromkeys(("minimum", "exclusiveMinimum"), ("at least",)),
    **dict.fromkeys(("maximum", "exclusiveMaximum"), ("at most",)),
    "enum": ("one of",),
    "pattern": ("pattern",),
    "invalidValues": ("one of", "pattern"),
    "latency": ("within",),
}


def _terms_of(lab: Lab) -> dict[str, tuple[str, ...]]:
    return lab.kept("terms of rules", lambda: TERMS_OF)


@check("c", "the contract accepts every good batch", points=0.5)
def good_is_accepted(lab: Lab) -> None:
    """All batches in which nothing is planted, those included that look odd and are as agreed."""
    good, wrong = _good_but_refused(lab)
    in_force, terms_of = _in_force(lab), _terms_of(lab)
    expect(
        len(read_refusals(lab)) > len(wrong),
        "This contract refuses no bad batch at all."
        if not wrong
        else f"This contract refuses {len(wrong)} good batches and not one bad one.",
        misconception="not_enforced",
    )
    if not wrong:
        return
    batch, element, rule, rows, example = wrong[0]
    names, terms = element.split(", "), terms_of.get(rule, ())
    minutes = Table.of(
        ["term_id", "element", "term", "value", "status", "decided_on", "note"],
        [
            row
            for row in lab.world.sql(
                "select term_id, element, term, value, status, decided_on, note from ops.contract_terms "
                "where subject = ? order by term_id",
                [SUBJECT],
            )
            if row[1] in names and row[2] in terms
        ],
    )
    if rule == "logicalType":
        said = "Its values do not fit the logicalType."
        ask, misconception = "Which type has the field in the latest version of the schema?", "fields"
    elif not minutes.rows:
        said = "The minutes have no term from which this rule could come."
        ask, misconception = "Who asked for this rule, and when was it agreed?", "invented"
    elif any((n, t) in in_force for n in names for t in terms):
        said = "A term on this is in force, and it does not refuse these values."
        ask = "Is the value that of the last agreement, and does the key keep the limit itself within the range?"
        misconception = "other_than_agreed"
    else:
        said = "No term on this is in force."
        ask = "Was this term agreed? Has a later one replaced it, or was it withdrawn?"
        misconception = "not_in_force"
    raise CheckFailed(
        f"{len(wrong)} of {len(good)} good batches are refused. {batch}: {rows} x {element} by {rule} ({example}). {said} "
        "Orders would wait for somebody who releases them by hand.",
        evidence=[
            Evidence("refused", Table.of(["batch_id", "element", "rule", "rows", "example"], wrong[:8])),
            *([Evidence("what the minutes say", minutes)] if minutes.rows else []),
        ],
        ask=ask,
        misconception=misconception,
    )


# -- hints ---------------------------------------------------------------------------------------------------------------

HINTS = {
    "a": (
        "`obstacle` looks at one reader and one writer. A mode is nothing but a list of such pairs, and `compatible` goes "
        "through them.",
        "First a union of the writer (every branch must be readable), then a union of the reader (some branch must do), "
        "then two types that are not of one kind (is it a promotion?). A record goes field by field and hands the path on.",
        "BACKWARD: reader new, writer old. FORWARD: reader old, writer new. FULL: both. Without _TRANSITIVE only "
        "history[-1:], with it all of history. A field that the writer lacks needs a default in the reader, whatever "
        "its type is.",
    ),
    "b": (
        "What does your function know when it inserts, and since when does it know it? What if that has changed?",
        "Read, decide and insert in one transaction, with version = highest + 1. The primary key refuses the second "
        "of two: then everything that was read is out of date.",
        "for attempt in range(5): begin; read mode and versions; if the schema is there, roll back and return its version; "
        "ask `compatible` with all texts, oldest first; insert; commit; return. On duckdb.Error: roll back (where no "
        "transaction is open any more, that raises: suppress it), then raise if attempt is the last, else go round again.",
    ),
    "c": (
        "For each element and term, which decision is the last one that was agreed or withdrawn?",
        "required, primaryKey and enum stand beside name; pattern, minimum and maximum in logicalTypeOptions; the "
        "time limit in slaProperties (property latency, value, unit, element).",
        "arg_max(status, term_id) and arg_max(value, term_id) by element and term, among agreed and withdrawn; keep "
        "what is agreed. Then one dict for each field that `fields_of` gives.",
    ),
}
MISCONCEPTIONS = {
    "default_needed": "A reader that has a field which the writer does not send takes its default. Without one it stops. Which "
    "side is the reader, in this mode?",
    "null_is_a_default": "A union with null says that null may be sent. It does not say what to take when nothing is sent: only "
    "`default` does.",
    "rename_is_harmless": "A reader looks for the writer's name among its own name and its own aliases. Aliases of the writer do "
    "not help it.",
    "own_name_first": "A reader's field looks for its own name first; aliases count only where that name is not sent.",
    "logical_type": "logicalType does not matter for resolution: the type below it is what is written and read.",
    "promotion_both_ways": "int may be read as long, and long not as int: not every long fits.",
    "symbols": "Every symbol that the writer may send must be one of the reader's, or the reader's enum (not the field) has a "
    "default.",
    "type_names": "Records, enums and fixed have names: the writer's must be the reader's, or one of the aliases of the "
    "reader's type.",
    "unions": "Each branch that the writer may send must find a place on the reader's side.",
    "direction": "BACKWARD: the new schema reads old data. FORWARD: the old schema reads new data. FULL: both. NONE: nothing.",
    "only_latest": "With _TRANSITIVE the new version is compared with every earlier one, else with the latest alone. Versions "
    "of the history are not compared with each other.",
    "path": "Hand the path on when you go into a record, a list of records or a map of records: outer.inner.",
    "identity": "The same schema is the same JSON value: parse both texts before you compare, and compare with all versions.",
    "modes": "Each subject has its own mode, from registry_subjects; a subject without a row there has BACKWARD.",
    "history": "`compatible` picks what the mode needs: give it all versions, oldest first.",
    "numbers": "Versions count from 1 within a subject; what is refused leaves nothing behind.",
    "not_committed": "Each call has a connection of its own; what is not committed is lost with it.",
    "race": "Between your look and your insert somebody else has registered. Make the database refuse (the primary key), then "
    "look again and decide anew.",
    "race_return": "When the insert is refused, the other may have registered the very same schema: look again, and return its "
    "version.",
    "attempts": "Each refusal ends an attempt; the fifth is the last. After it the caller must hear the database's error: who "
    "falls out of the loop returns None, which says that the mode refuses the schema.",
    "layout": "The JSON schema of the standard says what may stand where; the message names the place.",
    "fields": "Take the fields from the latest version of the schema.",
    "not_enforced": "A term that stands in a description is read by people only. Say it with a key that the gate reads.",
    "not_in_force": "Only the last decision for an element and term counts, and only if it is an agreement.",
    "other_than_agreed": "The last agreement on an element and term replaces the ones before it, and a limit belongs to its "
    "range: `minimum` and `maximum`, not the exclusive keys.",
    "invented": "A contract says what was agreed, and no more. A rule that looks sensible and that nobody agreed on stops good "
    "orders.",
    "refuses_good": "Run the gate on all batches, as the cell after the task does. Most batches are good: look first at the "
    "rules that refuse many.",
}


# -- twelve weeks later --------------------------------------------------------------------------------------------------

WEEKS, PER_WEEK = 12, 8


def twelve_weeks_later(lab: Lab) -> Any:
    """Twelve weeks of proposed changes, under the learner's `compatible`, under one that compares BACKWARD with the latest
    version only, and without a registry. Returns a figure: readers stopped by a change, summed up."""
    from workshop.plots import BLUE, ORANGE, RED, plt

    pool = [c for group in GROUPS for c in cases(lab, group) if c.mode != "NONE"]
    rng = streams(lab.world.name, "twelve weeks")
    order = rng.permutation(len(pool))[: WEEKS * PER_WEEK]
    mine, plain, none = np.zeros(len(order)), np.zeros(len(order)), np.zeros(len(order))
    in_vain = 0
    for i, at in enumerate(order):
        case = pool[int(at)]
        none[i] = case.stops
        if case.reads_latest:
            plain[i] = case.stops
        allowed = _answer(lab, case)["compatible"]
        mine[i] = case.stops if allowed else 0
        in_vain += not allowed and case.compatible
    weeks = np.arange(1, len(order) + 1) / PER_WEEK
    figure, ax = plt.subplots()
    for values, color, label in (
        (none, RED, "no registry"),
        (plain, ORANGE, "BACKWARD against the latest, for all"),
        (mine, BLUE, "your compatible, each subject's mode"),
    ):
        ax.step(weeks, values.cumsum(), color=color, where="post", label=label)
    ax.set_xlabel("week")
    ax.set_ylabel("reader and writer pairs that stop")
    ax.set_title(
        f"{len(order)} changes: {none.sum():.0f} pairs stop without a registry, {mine.sum():.0f} with yours"
        + (f" ({in_vain} refused in vain)" if in_vain else "")
    )
    ax.legend()
    plt.close(figure)  # shown once, as the value of the cell
    return figure
