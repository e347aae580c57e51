# %% [markdown]
# # Lab 3.2: Contracts checked by a schema registry
#
# You write the three things that stand between a producer and its consumers at Kestrel: the function that decides whether a
# new schema is compatible (task a), the registry that keeps the versions (task b), and the contract of `orders.placed`
# (task c). About 50 minutes; lesson 3.2 has the background. The tasks do not need each other.
#
# You change the three cells that begin with `# Task`; what you need besides goes into the same cells. When your work is
# graded, it runs on another world with other schemas and other agreements.

# %% tags=["parameters"]
WORLD, SCALE = "practice-7", 0.05

# %% tags=["setup"]
import contextlib
import json

import duckdb

from workshop import TODO, open_lab
from workshop.sim.contracts import violations

lab = open_lab("3.2", world=WORLD, scale=SCALE)

# %% [markdown]
# ## Task a: is it compatible?
#
# Change: the body of `compatible`. `history` is a list of schemas, oldest first, `new` the schema to be registered; all are
# **JSON texts** of Avro records. `mode` is one of seven:
#
# | mode | must hold, for the latest version of the history |
# | --- | --- |
# | `BACKWARD` | reader `new` can read what writer `old` has written |
# | `FORWARD` | reader `old` can read what writer `new` writes |
# | `FULL` | both |
# | `NONE` | nothing |
#
# `BACKWARD_TRANSITIVE`, `FORWARD_TRANSITIVE` and `FULL_TRANSITIVE` ask for the same against **every** version of the history.
# Versions of the history are never compared with each other. With an empty history everything is compatible.
#
# What a reader can read (Avro's rules of schema resolution, as far as they are asked here):
#
# 1. **Record.** Fields are matched by name, in any order: the reader's field takes the writer's field of its own name, else of
#    one of its own `aliases`. Types of matched fields must resolve. A field that only the writer has is skipped. A field that
#    only the reader has needs a `default` (the key, whatever its value).
# 2. **Numbers and text.** The same type, or promoted: `int` to `long`, `float`, `double`; `long` to `float`, `double`;
#    `float` to `double`; `string` to `bytes`. (`bytes` to `string` is not asked: not all bytes are text.)
# 3. **Enum.** Every symbol of the writer is one of the reader's, or the reader's *enum* has a `default`. A default of the
#    *field* does not help.
# 4. **Union** (a list of types). If the writer's type is a union, each of its branches must be readable. If only the reader's
#    is, some branch must be able to read. `null` is a type like others.
# 5. **Array, map.** Items or values must resolve. **Fixed**: the same size.
# 6. **Names.** Records, enums and fixed have a name: the writer's must be the reader's, or one of the `aliases` of the reader's
#    type. Namespaces do not matter here, and each type is written out where it is used. The outermost record keeps its name in
#    all versions.
# 7. `logicalType`, `doc` and the order of fields do not matter.
#
# It returns a dict:
#
# * `compatible`: True or False;
# * `field`: None if compatible, else the path of a field that stands in the way (any of them, if there are several), as in
#   `note`, or `address.note` for a field within a record. Arrays, maps and unions add nothing to a path: `lines.note` is the
#   field `note` of the records in the list (or map) `lines`. A renamed field may go by either name. Where a field's type
#   cannot be read for a reason of its own (it may be null, say), the path ends there. Where both sides are `["null", record]`
#   and the records do not resolve, it goes on into the record, as in `delivery.note`;
# * `reason`: a sentence for the team that is refused (not judged).
#
# The cell has a frame: the promotions of rule 2 as a table, the rules 5 and 6, and three places for the rest, marked
# `raise TODO`. Fill it, change it or write your own. Python is free, `fastavro` too. The package `avro`, which has a checker,
# cannot be imported in this lab: it is one of the two judges. The other writes and reads real values with fastavro. They agree
# on every case that is used.
#
# **Judged** (5 points), on some 240 fresh histories of 1 to 5 versions, with changes at the top and one level down: fields
# that come, go or change their name (1.5); types that change (1.5); which versions a mode compares (1); the field named in
# refusals that are due (1). Every verdict has to be right.


# %% tags=["task-a"]
# Task a
def compatible(history, new, mode):
    """Return {"compatible": bool, "field": path or None, "reason": text} for JSON texts of Avro schemas."""
    ### BEGIN SOLUTION
    word, _, reach = mode.partition("_")
    fresh = json.loads(new)
    for version in history if reach else history[-1:]:
        old = json.loads(version)
        problem = None
        if word in ("BACKWARD", "FULL"):
            problem = obstacle(fresh, old)
        if word in ("FORWARD", "FULL"):
            problem = problem or obstacle(old, fresh)
        if problem:
            return {"compatible": False, "field": problem[0], "reason": f"{problem[0]}: {problem[1]}"}
    return {"compatible": True, "field": None, "reason": ""}
    ### END SOLUTION


# What may be read as what: the writer's type, and the other types that a reader may have for it (rule 2).
PROMOTED = {
    "int": ("long", "float", "double"),
    "long": ("float", "double"),
    "float": ("double",),
    "string": ("bytes",),
}


def kind_of(t):
    """The kind of a type, as text: "union", "record", "enum", "int" ..."""
    return "union" if isinstance(t, list) else t["type"] if isinstance(t, dict) else t


def obstacle(reader, writer, path=""):
    """Why the reader's type cannot read the writer's, as (path, reason); None if it can. `path` leads to the type."""
    r, w = kind_of(reader), kind_of(writer)
    # Rules 4 and 2: unions, and types of two kinds.
    ### BEGIN SOLUTION
    if w == "union":
        return next((o for branch in writer if (o := obstacle(reader, branch, path))), None)
    if r == "union":
        found = [obstacle(branch, writer, path) for branch in reader]
        if None in found:
            return None
        # The branch of the same kind is what was meant: its obstacle says most.
        alike = [o for branch, o in zip(reader, found, strict=True) if kind_of(branch) == w]
        return alike[0] if alike else (path, f"no branch can take {w}")
    if r != w:
        return None if r in PROMOTED.get(w, ()) else (path, f"{w} cannot be read as {r}")
    ### END SOLUTION
    # From here on both are of one kind. Rules 5 and 6.
    if r in ("array", "map"):
        inside = "items" if r == "array" else "values"
        return obstacle(reader[inside], writer[inside], path)
    if r in ("record", "enum", "fixed") and writer["name"] not in (reader["name"], *reader.get("aliases", ())):
        return path, f"the type {writer['name']} is not known as {reader['name']}"
    if r == "fixed" and reader["size"] != writer["size"]:
        return path, "another size"
    # Rules 3 and 1: enums and records.
    ### BEGIN SOLUTION
    if r == "enum" and "default" not in reader:
        lost = [s for s in writer["symbols"] if s not in reader["symbols"]]
        return (path, f"the symbol {lost[0]} is not known") if lost else None
    if r == "record":
        sent = {f["name"]: f for f in writer["fields"]}
        for f in reader["fields"]:
            place = f"{path}.{f['name']}".lstrip(".")
            match = next((sent[n] for n in (f["name"], *f.get("aliases", ())) if n in sent), None)
            if match:
                if o := obstacle(f["type"], match["type"], place):
                    return o
            elif "default" not in f:
                return place, "it is not sent and has no default"
    return None
    ### END SOLUTION


# %% [markdown]
# Try it on the history of `orders.placed` before it is judged: a field without default is to be added.

# %% tags=["nbval-check-output"]
versions = [
    text
    for (text,) in lab.con.execute(
        "select schema_json from ops.schema_versions where subject = 'orders.placed' order by version"
    ).fetchall()
]
proposed = json.loads(versions[-1])
proposed["fields"].append({"name": "gift_note", "type": ["null", "string"]})
try:
    for mode in ("BACKWARD", "FORWARD", "FULL_TRANSITIVE"):
        answer = compatible(versions, json.dumps(proposed), mode)
        print(f"{mode:16} {answer['compatible']!s:6} {answer['field']}")
except TODO:
    print("not attempted yet")

# %% tags=["check-a"]
lab.check("a")

# %% [markdown]
# ## Task b: a registry in the warehouse
#
# Two tables keep the registry. Both have a primary key, and the database enforces it.

# %%
REGISTRY = """
create or replace table registry_subjects (subject varchar primary key, mode varchar not null);
create or replace table registry_versions (
    subject varchar,
    version integer,               -- from 1 within a subject, without gaps
    schema_json varchar not null,
    primary key (subject, version)
);
"""
lab.con.execute(REGISTRY)
print("two empty tables")

# %% [markdown]
# Change: the body of `register`. Pipelines call it on every deployment, from many machines at once.
#
# 1. It returns the **version** of the schema (an int), registered now or held already, or **None** if the mode refuses it.
#    What is refused leaves no version behind.
# 2. **The same schema has one version.** Two texts are the same schema if they are the same JSON value: spacing and the order
#    of keys do not matter. (Whether 1, 1.0 and true are one value is not asked.) Compare with every version of the subject,
#    not only the latest; what is held already is not checked again, whatever the mode is now.
# 3. A new schema is checked with `compatible(history, new, mode)`, which is **handed to you** with the signature of task a
#    (your own need not work). `history` is all versions of the subject as JSON texts (not dicts), oldest first; `mode` comes from
#    `registry_subjects`. A subject without a row there has `BACKWARD`; you may insert that row or leave it.
# 4. If it passes, its version is the highest of the subject plus 1 (1 for the first).
# 5. **Callers at once.** Between any two of your statements another caller may register for the same subject, from
#    beginning to end. However they interleave: no schema has two versions, every version was checked against those before
#    it, and every caller gets the version of its own schema. When the database refuses a statement or a commit
#    (`duckdb.Error`: somebody else was faster), what you have read is out of date: roll back and start again, without
#    sleeping, up to **five attempts in all**. After the fifth raise the error; the scheduler will call again later. A
#    refused commit has ended the transaction already; `rollback()` then raises a `duckdb.Error` itself: suppress that one.
#
# When it is judged, `con` has `execute(sql, parameters)`, `begin()`, `commit()` and `rollback()`; a result has `fetchall()`,
# `fetchone()` and `df()`. A transaction sees the tables as they were when it began to read. Each call has a connection
# of its own, and what is not committed when it returns is lost. One statement for each `execute`; do the same statements in
# the same order when you find the same (no random ids, no clock). On your own `lab.con` DuckDB refuses a `sql()` while an
# `execute()` is not read to its end, as after `fetchone()`: use `fetchall()`, or `execute()` throughout.
#
# **Judged** (3 points): a sequence of registrations of two subjects, with repeats in other styles (1); four subjects of four
# modes, and what `compatible` was asked (1); two callers, the first of which stands still before each of its
# statements in turn while the other registers, in four scenes: the same schema, the same schema of a new subject, two
# that go together, two that exclude each other; then a caller whose every attempt is refused (1).


# %% tags=["task-b"]
# Task b
def register(con, subject, schema, compatible):
    """Register `schema` (JSON text) for `subject`; return its version, or None if the subject's mode refuses it."""
    ### BEGIN SOLUTION
    for attempt in range(5):
        try:
            con.begin()
            rows = con.execute(
                "select version, schema_json from registry_versions where subject = ? order by version", [subject]
            ).fetchall()
            held = [version for version, text in rows if json.loads(text) == json.loads(schema)]
            if held:
                con.rollback()
                return held[0]
            mode = con.execute("select mode from registry_subjects where subject = ?", [subject]).fetchone()
            verdict = compatible([text for _, text in rows], schema, mode[0] if mode else "BACKWARD")
            if not verdict["compatible"]:
                con.rollback()
                return None
            # The key refuses this if somebody else has taken the number since.
            version = len(rows) + 1
            con.execute("insert into registry_versions values (?, ?, ?)", [subject, version, schema])
            con.commit()
            return version
        except duckdb.Error:
            with contextlib.suppress(duckdb.Error):  # a failed commit has ended the transaction already
                con.rollback()
            if attempt == 4:
                raise
    ### END SOLUTION


# %% [markdown]
# Try it with a stand-in that finds everything compatible.

# %% tags=["nbval-check-output"]
lab.con.execute(REGISTRY)
try:
    for text in (versions[0], versions[1], json.dumps(json.loads(versions[0]), indent=1)):
        print("version", register(lab.con, "orders.placed", text, lambda history, new, mode: {"compatible": True}))
    print(lab.con.execute("select subject, version from registry_versions order by all").fetchall())
except TODO:
    print("not attempted yet")

# %% tags=["check-b"]
lab.check("b")

# %% [markdown]
# ## Task c: the contract of orders.placed
#
# A schema does not say that an order number comes once, that a total is positive, or how old a message may be. `orders.placed`
# lands as batches in `raw.order_messages`; what producers and consumers agreed on in a year of meetings is in
# `ops.contract_terms`.

# %%
lab.con.execute("""
    select element, term, value, unit, status, decided_on, note
    from ops.contract_terms where subject = 'orders.placed' and element in ('placed_at', 'coupon_code') order by term_id
""").df()

# %% [markdown]
# **In force** is, for each element and term, the last decision (highest `term_id`) that is `agreed` or `withdrawn`, if it is
# `agreed`; `withdrawn` ends a term. What was only proposed or rejected changes nothing. Only rows of `orders.placed` count.
#
# Change: the body of `contract`. It returns the contract as a dict in the layout of the Open Data Contract Standard, version
# 3.2.0. Its frame is there, and `fields_of`, which reads the fields of the latest version; fill the four names that the frame
# uses (or write your own). Read the terms from the table: on another world they are others. Where each term goes:
#
# | term | key of the standard |
# | --- | --- |
# | (every field, with or without terms) | `schema[0].properties[]`: `name`, `logicalType` |
# | `required` | `required: true` of the property |
# | `key` | `primaryKey: true` or `unique: true` of the property: within a batch, no value comes twice; none is null |
# | `one of` (separated by `", "`) | `enum: [{"value": ...}, ...]` of the property |
# | `pattern` | `logicalTypeOptions.pattern` of the property (searched for in the value; anchors as agreed) |
# | `at least`, `at most` | `logicalTypeOptions.minimum`, `.maximum` of the property, as numbers; the limits are inclusive |
# | `unit` | an entry `{"property": "unit", "value": ...}` in `customProperties` of the property |
# | `within` | in `slaProperties`: `property` "latency", `value`, `unit` (as agreed; or "m", "h", "d"), `element`: the field |
# | `owner` | `team.name` |
# | `compatibility` | an entry `{"property": "compatibilityMode", "value": ...}` in `customProperties` of the contract |
#
# Owner and compatibility belong to the interface as a whole: their `element` is null. `schema[0].name` is free.
# `violations(contract, messages)` (in the setup cell) is the gate: it reads these keys, and `quality` rules of type `library`
# with the standard's metrics if you prefer them (`help(violations)`), and lists what each batch breaks. A batch without
# violations is accepted. Null breaks `required` and keys only. A message is late if more minutes than agreed lie between its
# `placed_at` and the `landed_at` of its batch.
#
# **Judged** (2 points): the contract is valid by the standard's JSON schema and has every field, unit, the owner and the
# mode (0.5); with it, the gate accepts every batch that breaks no term in force, of which some look odd (0.5), and refuses
# every one that does, for the field at fault (1). A contract that refuses good batches does not earn the point for bad ones.


# %% tags=["task-c"]
# Task c
def fields_of(con):
    """The fields of the latest version of orders.placed, as a list of (name, logicalType of the standard)."""
    ((text,),) = con.execute("""
        select arg_max(schema_json, version) from ops.schema_versions where subject = 'orders.placed'
    """).fetchall()
    found = []
    for field in json.loads(text)["fields"]:
        t = field["type"]
        t = next(branch for branch in t if branch != "null") if isinstance(t, list) else t
        kind = t.get("logicalType", t["type"]) if isinstance(t, dict) else t
        logical = {"int": "integer", "long": "integer", "timestamp-millis": "timestamp"}.get(kind, "string")
        found.append((field["name"], logical))
    return found


def contract(con):
    """Return the data contract of orders.placed as a dict (Open Data Contract Standard, v3.2.0)."""
    properties, promises, owner, mode = [], [], None, None
    ### BEGIN SOLUTION
    terms = {
        (element, term): (value, unit)
        for element, term, value, unit in con.execute("""
            select element, term, arg_max(value, term_id), arg_max(coalesce(unit, ''), term_id)
            from ops.contract_terms
            where subject = 'orders.placed' and status in ('agreed', 'withdrawn')
            group by element, term
            having arg_max(status, term_id) = 'agreed'
        """).fetchall()
    }
    owner, mode = terms[None, "owner"][0], terms[None, "compatibility"][0]
    for name, logical in fields_of(con):
        agreed = {term: value for (element, term), (value, _) in terms.items() if element == name}
        item = {"name": name, "logicalType": logical, "required": "required" in agreed or "key" in agreed}
        if "key" in agreed:
            item["primaryKey"] = True
        if "one of" in agreed:
            item["enum"] = [{"value": v} for v in agreed["one of"].split(", ")]
        options = {}
        if "pattern" in agreed:
            options["pattern"] = agreed["pattern"]
        for term, key in (("at least", "minimum"), ("at most", "maximum")):
            if term in agreed:
                options[key] = int(agreed[term])
        item["logicalTypeOptions"] = options
        if "unit" in agreed:
            item["customProperties"] = [{"property": "unit", "value": agreed["unit"]}]
        if "within" in agreed:
            unit = terms[name, "within"][1]
            promises.append({"property": "latency", "value": int(agreed["within"]), "unit": unit, "element": name})
        properties.append(item)
    ### END SOLUTION
    return {
        "apiVersion": "v3.2.0",
        "kind": "DataContract",
        "id": "orders.placed",
        "version": "1.0.0",
        "status": "active",
        "schema": [{"name": "orders_placed", "properties": properties}],
        "slaProperties": promises,
        "team": {"name": owner},
        "customProperties": [{"property": "compatibilityMode", "value": mode}],
    }


# %% tags=["nbval-check-output"]
messages = lab.con.execute(
    "select * exclude message_no from raw.order_messages order by landed_at, batch_id, message_no"
).df()
try:
    refused = violations(contract(lab.con), messages)
    print(f"{len({v.batch_id for v in refused})} of {messages.batch_id.nunique()} batches refused")
    for v in refused[:5]:
        print(f"{v.batch_id}: {v.rows} x {v.element} by {v.rule} ({v.example})")
except TODO:
    print("not attempted yet")

# %% tags=["check-c"]
lab.check("c")

# %% [markdown]
# ## Twelve weeks later
#
# Eight proposed changes a week, each against its subject's mode. Each pair of a reader and a writer that no longer understand
# each other is a consumer that stops or a replay that fails.

# %%
lab.twelve_weeks_later()

# %% [markdown]
# ## To take home
#
# `compatible` runs in a pull request, before anything is deployed. The contract is a file: `json.dumps(contract(lab.con))`
# goes into version control beside the producer's code, and the gate at the door of each consumer.
