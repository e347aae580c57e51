# %% [markdown]
# # Lesson 3.2: Contracts checked by a schema registry
#
# The head of the data platform asks: "We have had a schema registry for three years. Every producer uses it. Why do consumers
# still stop in the middle of the night because somebody changed a field?"
#
# You will write data with one schema and read it with another until you can say beforehand which changes go through, measure
# what each compatibility mode lets pass at Kestrel and what it refuses, and see what no schema can say. You take away a
# tested compatibility check, and the data contract that goes on where the schema ends.

# %%
import io
import json

import duckdb
import fastavro

from workshop import open_lesson
from workshop.plots import BLUE, ORANGE, RED, plt, show
from workshop.sim.contracts import violations

con = open_lesson("3.2")
con.sql("""
    select compatibility_mode, count(distinct subject) as subjects, count(*) as versions, count(*) filter (version > 1) as changes
    from ops.schema_versions
    group by all
    order by changes desc, compatibility_mode
""").df()

# %% [markdown]
# A **subject** is what one producer sends, `orders.placed` for instance. Each version of its schema is checked in the subject's
# **mode**, and here modes are mixed, as a registry's default and some teams' own choices leave them. Remember the row NONE.
#
# ## A harmless change
#
# Avro sends no field names: a message is a row of bare values, and whoever reads it needs the schema that it was written
# with. The reader's own schema is laid over it, field by field. Somebody wants a gift note in `orders.placed`. Old
# messages do not have it; new code should read them all the same, since every replay brings them back.

# %%
versions = [
    json.loads(text)
    for (text,) in con.execute(
        "select schema_json from ops.schema_versions where subject = 'orders.placed' order by version"
    ).fetchall()
]


def send(writer, reader, message):
    """Writes a message with one schema, reads it with another."""
    wire = io.BytesIO()
    fastavro.schemaless_writer(wire, fastavro.parse_schema(writer), message)
    wire.seek(0)
    try:
        return fastavro.schemaless_reader(wire, fastavro.parse_schema(writer), fastavro.parse_schema(reader))
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def with_field(schema, *fields):
    return {**schema, "fields": [*schema["fields"], *fields]}


order = {"order_id": 1, "order_ref": "1", "customer_id": 7, "placed_at": 0, "channel": "app", "country_code": "FR"}
order |= {"currency": "EUR", "total_minor": 1250, "coupon_code": None, "item_count": 2}
note = {"name": "gift_note", "type": ["null", "string"]}
print("new reads old:", send(versions[-1], with_field(versions[-1], note), order))
safe = send(versions[-1], with_field(versions[-1], note | {"default": None}), order)
print("with a default:", {k: safe[k] for k in ("order_id", "gift_note")})

# %% [markdown]
# The field may be null, and the reader stops. "May be null" is about what is *sent*. Only `default` says what to take when
# nothing is sent. It looks right in a review, and no human eye can be asked to find it every time.
#
# ## Every change has two directions
#
# Who reads whom? After a deployment new consumers meet old messages (on a replay, or while producers lag behind) and old
# consumers meet new messages. So each change is tried both ways, with values that visit every symbol, every branch and null.

# %%
SAMPLES = {
    "null": [None],
    "boolean": [True],
    "int": [0, 2**31 - 1],
    "long": [0, 2**60],
    "float": [0.5],
    "double": [0.5],
}
SAMPLES |= {"string": ["", "é"], "bytes": [b"\xff"]}


def covering(t):
    """Values of a type: each symbol, each branch, the ends of ranges."""
    if isinstance(t, list):
        return [v for branch in t for v in covering(branch)]
    kind = t["type"] if isinstance(t, dict) else t
    if kind == "record":
        columns = {f["name"]: covering(f["type"]) for f in t["fields"]}
        return [{k: v[i % len(v)] for k, v in columns.items()} for i in range(max(map(len, columns.values())))]
    if kind in ("array", "map"):
        inside = covering(t["items" if kind == "array" else "values"])
        return [inside if kind == "array" else {str(i): v for i, v in enumerate(inside)}]
    if kind == "enum":
        return t["symbols"]
    return [0, 20_000] if isinstance(t, dict) and "logicalType" in t else SAMPLES[kind]


def reads(reader, writer):
    return all(isinstance(send(writer, reader, message), dict) for message in covering(writer))


def field(t, name="x", **more):
    return {"name": name, "type": t, **more}


two, three = ({"type": "enum", "name": "E", "symbols": s} for s in (["a", "b"], ["a", "b", "c"]))
safe_two, safe_three = ({**e, "default": "a"} for e in (two, three))
CHANGES = {
    "field added, default": ([], [field("int", default=0)]),
    "field added, no default": ([], [field("int")]),
    "field removed, had no default": ([field("int")], []),
    "renamed": ([field("int")], [field("int", "y")]),
    "renamed, old name as alias": ([field("int")], [field("int", "y", aliases=["x"])]),
    "int to long": ([field("int")], [field("long")]),
    "may be null now": ([field("int")], [field(["null", "int"])]),
    "a symbol more": ([field(two)], [field(three)]),
    "a symbol more, enum has a default": ([field(safe_two)], [field(safe_three)]),
}

# %% [markdown]
# > **Before you run on, predict.** A team adds a symbol to an enum that has no default. Who must deploy first? (a) Nobody: an
# > enum is text. (b) The producer: it knows the new symbol. (c) The consumers. (d) It cannot be done.
#
# <details><summary>Answer</summary>
#
# (c). New readers read old data; old readers stop at the first new symbol. (a) takes the enum for a string. (b) seems natural
# and stops consumers. (d) is true under FULL, unless the reader's enum has a default: an old reader takes that for a
# symbol that it does not know, as in the last row. Then nothing stops, and the old reader works with a symbol that
# nobody sent.
#
# </details>

# %%
base = {"type": "record", "name": "R", "fields": [field("long", "id")]}
grid = [
    (reads(with_field(base, *new), with_field(base, *old)), reads(with_field(base, *old), with_field(base, *new)))
    for old, new in CHANGES.values()
]
figure, ax = plt.subplots(figsize=(7.2, 3.4))
for row, cells in enumerate(grid):
    for column, works in enumerate(cells):
        ax.barh(row, 0.94, left=column + 0.03, color=BLUE if works else ORANGE, height=0.84)
        ax.text(column + 0.5, row, "reads" if works else "stops", ha="center", va="center", color="white")
ax.set_yticks(range(len(CHANGES)), list(CHANGES))
ax.set_xticks([0.5, 1.5], ["new reads old\n(BACKWARD)", "old reads new\n(FORWARD)"])
ax.invert_yaxis()
ax.grid(False)
both = sum(new_reads and old_reads for new_reads, old_reads in grid)
ax.set_title(f"Everyday changes that work in both directions: {both} of {len(grid)}")
show(figure, f"{len(grid)} kinds of change against two directions: {both} work in both, most of the others in one")
got = send(with_field(base, field(safe_three)), with_field(base, field(safe_two)), {"id": 1, "x": "c"})
print("the last row: c was sent, the old reader got", got["x"])
assert got["x"] == "a", "the old reader takes the default of its enum"

# %% [markdown]
# "Reads" means that nothing stops, not that the value is right: in the last row the old reader silently takes `a` for the new
# symbol. The default of an enum should be a symbol like `unknown`, which counts as nothing else.
#
# Each mode is a column of this grid, and a promise about who may deploy first:
#
# | mode | new version is compared so | deploy first | good for |
# | --- | --- | --- | --- |
# | BACKWARD | new reads old | consumers | replays, tables that are read again |
# | FORWARD | old reads new | producers | many consumers that move slowly |
# | FULL | both | anybody | interfaces between domains |
#
# Aliases help readers alone: a rename with an alias is BACKWARD and no more.
#
# ## The latest version is not the history
#
# Plain modes look at the latest version only. `priority` comes with a default; a year later somebody tidies up the default,
# "since every message has it by now".

# %%
v1 = base
v2 = with_field(base, field("int", "priority", default=0))
v3 = with_field(base, field("int", "priority"))
print("version 3 reads version 2:", reads(v3, v2), "(BACKWARD accepts it)")
print("version 3 reads version 1:", reads(v3, v1), "(BACKWARD_TRANSITIVE does not)")

# %% [markdown]
# Who replays from the beginning, as a new feature or a repair does, meets version 1. Modes with `_TRANSITIVE` compare with
# every version. What would each mode have done with all the changes of three years, and what would it have let through?

# %%
history = {}
for subject, text, mode, note in con.execute(
    "select subject, schema_json, compatibility_mode, change_note from ops.schema_versions order by subject, version"
).fetchall():
    history.setdefault(subject, []).append((json.loads(text), mode, note))

changes = []  # one for each version but the first: subject, mode, note, [(new reads old, old reads new), ...] oldest first
for subject, steps in history.items():
    for n in range(1, len(steps)):
        tried = [(reads(steps[n][0], old), reads(old, steps[n][0])) for old, _, _ in steps[:n]]
        changes.append((subject, *steps[n][1:], tried))


def accepts(mode, tried):
    side, _, transitive = mode.partition("_")
    compared = tried if transitive else tried[-1:]
    return all((side == "FORWARD" or back) and (side == "BACKWARD" or forward) for back, forward in compared)


stops = [sum(not works for pair in tried for works in pair) for *_, tried in changes]
MODES = [word + reach for word in ("BACKWARD", "FORWARD", "FULL") for reach in ("", "_TRANSITIVE")]
points = {"no check": (0, sum(stops))}
for mode in MODES:
    verdicts = [accepts(mode, tried) for *_, tried in changes]
    points[mode] = (verdicts.count(False), sum(s for s, ok in zip(stops, verdicts, strict=True) if ok))

figure, ax = plt.subplots(figsize=(7.2, 3.6))
right = sorted(points, key=points.get)[len(points) // 2 :]
for mode, (x, y) in points.items():
    ax.scatter(x, y, s=55, color=RED if mode == "no check" else BLUE, zorder=3)
    below = mode.startswith("FULL")
    ax.annotate(f"  {mode}  ", (x, y), ha="right" if mode in right else "left", va="top" if below else "bottom")
ax.margins(x=0.1, y=0.15)
ax.set_xlabel(f"changes refused (of {len(changes)})")
ax.set_ylabel("pairs let through that stop")
ax.set_title("Each mode trades refused changes against readers that stop")
show(figure, "Changes refused against reader and writer pairs that stop, for six modes and none; stricter refuses more")
for column, said in ((0, "refuses least"), (1, "lets most pairs through that stop")):
    end = (min if column == 0 else max)(points[m][column] for m in MODES)
    print(f"{said}: {', '.join(m for m in MODES if points[m][column] == end)}")

# %% [markdown]
# FULL_TRANSITIVE asks that every pair works: nothing that stops comes through, and no mode refuses more. Each of the others
# protects a direction or the latest version only, and what that refuses and lets through depends on what teams change. So the
# mode belongs to the interface: what is replayed, and who can wait for whom? But then why did consumers stop? We ask which
# changes broke the promise of their own subject.

# %%
for subject, mode, note, tried in changes:
    usual = next(m for _, m, _ in history[subject] if m != "NONE")
    if mode == "NONE" and not accepts(usual, tried):
        print(f"{subject:28} usually {usual:20} {note}")
kept = [accepts(mode, tried) for _, mode, _, tried in changes if mode != "NONE"]
print(f"checked changes that break their mode: {kept.count(False)} of {len(kept)}")
assert all(kept), "the registry has let through what its mode refuses"

# %% [markdown]
# Not one of the changes that were checked. The consumers stopped where the check had been **switched off for a release**,
# with notes that sound like housekeeping. A registry protects as far as nobody can step around it: the mode is part of the
# agreement between teams, and changing it takes the consumers' consent.
#
# ## Two deployments at once
#
# A check also holds only as long as the history stays as it was read. Two callers read the same versions, both pass, and both
# take the next number. The primary key lets one in:

# %%
registry = duckdb.connect()
registry.execute("create table held (subject varchar, version integer, primary key (subject, version))")
ours, theirs = registry.cursor(), registry.cursor()
ours.begin()
(number,) = ours.execute("select coalesce(max(version), 0) + 1 from held").fetchone()
ours.execute("insert into held values ('orders.placed', ?)", [number])
theirs.execute("insert into held values ('orders.placed', 1)")  # committed at once: somebody is faster
try:
    ours.commit()
    raise AssertionError("two callers have the same version")
except duckdb.Error as refused:
    print("refused:", type(refused).__name__)
try:
    ours.rollback()
except duckdb.Error as ended:
    print("rollback:", str(ended).splitlines()[0])

# %% [markdown]
# A refused commit has ended the transaction, so a `rollback` after it may raise too; that error is suppressed. Everything read
# before is out of date: read again, check again, insert again, a few times at most. Then raise the error, so that nobody takes
# silence for a registration.
#
# ## What no schema can say
#
# All that so far was about shape. Here is a message that the latest version of the schema accepts, and what three weeks of
# `orders.placed` look like against two lines of a contract: totals are positive, and order numbers do not come twice.

# %%
print("Avro says:", send(versions[-1], versions[-1], order | {"total_minor": -1250})["total_minor"], "is a fine total")
contract = {
    "schema": [
        {
            "name": "orders_placed",
            "properties": [
                {"name": "order_id", "logicalType": "integer", "primaryKey": True},
                {"name": "total_minor", "logicalType": "integer", "logicalTypeOptions": {"minimum": 1}},
            ],
        }
    ]
}
messages = con.sql("select * exclude message_no from raw.order_messages order by landed_at, batch_id, message_no").df()
for v in violations(contract, messages):
    print(f"{v.batch_id}: {v.rows} x {v.element} by {v.rule} ({v.example})")

# %% [markdown]
# A **contract is schema + semantics + promise**: the fields; units, keys, ranges and allowed values; how fresh, who owns it, and
# how it may change. The Open Data Contract Standard gives each of these a place (`logicalTypeOptions`, `enum`,
# `slaProperties`, `team`), so that a machine can read it. What stands in a description is read by people, after the incident.
#
# ## The rule, and where it ends
#
# 1. Say who reads whom, then choose the mode; `_TRANSITIVE` wherever old data is read again.
# 2. Try a change in both directions before it is deployed, in the pull request.
# 3. Give each field a default on the day it is born.
# 4. Put what is agreed into keys that a gate enforces; refuse whole batches, loudly, at the border.
#
# - Modes judge shape. Cents that become dollars under the same name pass all of them; a new meaning needs a new field.
# - Rules differ by format: Protobuf matches by field number, JSON Schema by name and `additionalProperties`.
# - Checkers differ at the edges: bytes read as string are fine by Avro's rules, and stop at the first byte that is no text.
# - A contract that is stricter than what was agreed stops good orders. That is an incident too.
#
# <details><summary><b>In practice</b> (Airflow 3.3, Dagster 1.13, Prefect 3.9, dbt Core 1.12)</summary>
#
# - **Confluent Schema Registry**: these very modes, by `PUT /config/{subject}`; BACKWARD is the default. Producers set
#   `auto.register.schemas=false`, so that only the pipeline registers; data contract rules (enterprise) go beyond shape.
# - **Apicurio Registry 3**: rules VALIDITY, COMPATIBILITY and INTEGRITY, global, by group or by artifact. **Buf**: `buf breaking`
#   for Protobuf, in categories from FILE (strictest) over PACKAGE and WIRE_JSON to WIRE.
# - **dbt**: `contract: {enforced: true}` checks names and types when the model is built; `versions` for breaking changes.
# - **Airflow**: `SQLColumnCheckOperator` and `SQLTableCheckOperator` (provider common.sql) between load and publish; a failed
#   check fails the task, so that the asset is not updated and consumers that are scheduled on it do not start.
# - **Dagster**: `@asset_check(blocking=True)` holds downstream assets back on an error; `build_column_schema_change_checks`
#   warns of changed columns; freshness policies for the promise about time.
# - **Prefect**: flow parameters are validated against their types (`validate_parameters`, pydantic models); a check that raises
#   within `transaction()` runs the `on_rollback` hooks of the tasks before it.
# </details>
#
# ## Back to the question
#
# Why do consumers still stop, with a registry? Because it compares shapes, in the mode that somebody chose, as long as nobody
# switches it off. All three can be decided: the mode by who reads whom, the off switch by consent, and the rest in a contract
# that refuses.
#
# **To take home:** the compatibility check and the contract file that lab 3.2 has you write, both ready for a pull request.
#
# 1. Apache Avro 1.12 Specification, section "Schema Resolution".
# 2. M. Kleppmann, *Designing Data-Intensive Applications*, O'Reilly 2017, chapter 4: Encoding and Evolution.
# 3. Bitol, *Open Data Contract Standard*, version 3.2.0, LF AI & Data Foundation.
