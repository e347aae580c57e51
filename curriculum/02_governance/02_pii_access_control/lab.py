# %% [markdown]
# # Lab 2.2: access control that an auditor can verify
#
# DuckDB knows no GRANT. At Kestrel a query gateway stands before the warehouse: it decides by a policy that is data, and
# keeps a log. You write the policy (task a), the gateway's decision on a query (task b), and what the auditor does with the
# log (task c). Three tasks, about 50 minutes. Lesson 2.2 has the background.
#
# You change the cells that begin with `# Task`; what you need besides goes into the same cells. When your work is graded, it
# runs on other worlds: other needs and grants, other names of columns, other rules, another month of the log.

# %% tags=["parameters"]
WORLD, SCALE = "practice-7", 0.05

# %% tags=["setup"]
from workshop import TODO, open_lab

lab = open_lab("2.2", world=WORLD, scale=SCALE)

# %% [markdown]
# ## Task a: rules and duties
#
# `ops.role_needs` says which kinds of personal data roles have asked to use, for what, and on which legal basis. `ops.grants`
# says who holds which role: from `valid_from_at` (included) to `valid_to_at` (excluded; null: until further notice). Nobody
# may hold the two roles of a row of `ops.duty_conflicts` at the same time: who grants roles must not be the one who audits
# them.

# %%
lab.con.sql("from ops.role_needs order by kind, role").df().head(8)

# %%
lab.con.sql("""
    select role, count(*) filter (valid_from_at <= today and (valid_to_at is null or valid_to_at > today)) as hold_it_now
    from ops.grants, (select timestamp '2026-06-30' as today)
    group by role order by role
""").df()

# %% [markdown]
# Change: the body of `access_policy`. It gets the rows of the three tables (lists of dicts) and `today`, a date; "now" is the
# beginning of that day. It returns a dict:
#
# * `"rules"`: list of dicts, one for each kind that occurs in `needs`, with `kind` and `roles`, the list of roles that may
#   use it. A role may, if a row of `needs` has a legal basis for it and holds today (`valid_until_on` is the last day on
#   which it does; null: no end);
# * `"revoke"`: list of dicts with `person_id` and `role`: grants that end now, so that from now on nobody holds two conflicting
#   roles. As few as possible, only of roles that the person holds now, and **no role that is held by somebody now may be left
#   without anybody**. Grants that have ended or not begun are no conflict now.
#
# **Judged** (2 points), on eight drawn companies: every role may use what it needs, and nothing else (1); the revocations
# do what they should (1).


# %% tags=["task-a"]
# Task a
def access_policy(needs, grants, conflicts, today):
    """Returns a dict with "rules" and "revoke"."""
    ### BEGIN SOLUTION
    from datetime import datetime

    now = datetime(today.year, today.month, today.day)
    rules = {n["kind"]: set() for n in needs}
    for n in needs:
        if n["legal_basis"] and (n["valid_until_on"] is None or n["valid_until_on"] >= today):
            rules[n["kind"]].add(n["role"])
    held = {
        (g["person_id"], g["role"])
        for g in grants
        if g["valid_from_at"] <= now and (g["valid_to_at"] is None or g["valid_to_at"] > now)
    }
    holders = {}
    for person, role in held:
        holders.setdefault(role, set()).add(person)
    revoke = []
    for c in conflicts:
        for person in sorted(holders.get(c["role_a"], set()) & holders.get(c["role_b"], set())):
            # Of the two, the role that more people are left with.
            role = max((c["role_a"], c["role_b"]), key=lambda r: len(holders[r]))
            holders[role].discard(person)
            revoke.append({"person_id": person, "role": role})
    return {"rules": [{"kind": k, "roles": sorted(r)} for k, r in rules.items()], "revoke": revoke}
    ### END SOLUTION


# %% tags=["nbval-check-output"]
from datetime import date

try:
    made = access_policy(
        lab.rows("from ops.role_needs order by kind, role"),
        lab.rows("from ops.grants order by person_id, valid_from_at, role"),
        lab.rows("from ops.duty_conflicts order by all"),
        date(2026, 6, 30),
    )
    print(len(made["rules"]), "rules,", len(made["revoke"]), "revocations")
except TODO:
    print("not attempted yet")

# %% tags=["check-a"]
lab.check("a")

# %% [markdown]
# ## Task b: the decision on a query
#
# Change: the body of `authorize`. It gets a text of SQL (DuckDB's dialect), the role in which somebody asks, and the policy:

# %%
POLICY = {
    "tables": {},  # "core.customers": {"customer_id": None, "email": "email", "city": "city", ...}: each column's kind or None
    "rules": [
        {"rule": "R1", "kind": "email", "roles": ["marketing", "care"]},
        {"rule": "R2", "kind": "phone", "roles": ["care"]},
        {"rule": "R3", "kind": "city", "roles": ["analyst", "marketing", "care"]},
        {"rule": "R4", "kind": "person_name", "roles": ["care"]},
    ],
}
for r in lab.rows("""
    select t.table_schema || '.' || t.table_name as name, c.column_name,
      max(split_part(g.tag, ':', 2)) filter (g.tag like 'privacy.kind:%') as kind
    from ops.tables t join ops.columns c using (asset_id) join ops.column_tags g using (asset_id, column_name)
    group by name, c.column_no, c.column_name order by name, c.column_no
"""):
    POLICY["tables"].setdefault(r["name"], {})[r["column_name"]] = r["kind"]
POLICY["tables"]["core.customers"]

# %% [markdown]
# It returns `{"allowed": True, "sql": ...}` with the query to run instead (the same or a rewritten one), or `{"allowed":
# False, "rule": ...}` with the `rule` of the policy that forbids it, or one of the words below.
#
# 1. **A column of a kind may be used by the roles of the rule for that kind.** A kind without a rule is open to nobody. To
#    use a column is to name it, or to imply it, in any place of the query: select list, `where`, joins, grouping, sorting,
#    windows, subqueries, a `*`, a row as a whole. It does not matter whether its values come out. To leave it out (`* exclude
#    (email)`) or to count rows (`count(*)`) is no use of it.
# 2. One statement, and that a query (`select`, set operations, with or without `with`). All else: `"statement"`.
# 3. Only tables of the policy, by schema and name in any case of letters, and what the query itself defines (CTEs,
#    subqueries, `values`). Other tables, views, catalogues, files: `"table"`.
# 4. Functions in the place of a table (`unnest` and `values` may stay), and functions that sqlglot does not know
#    (`exp.Anonymous`): `"function"`. None of them is needed.
# 5. What cannot be parsed or resolved (an unknown column, syntax that you do not handle) is refused: `"unreadable"`.
#
# A query that is allowed and then fails in the engine has learnt nothing. For what is refused for more than one reason, any
# of them will do. If it helps you may rewrite instead of refusing (with null for what is forbidden, say), as long as nothing
# depends on what the role may not see. **Use sqlglot, which reads DuckDB's dialect.** Regular expressions on SQL text are
# what most of the attacks below were written for.
#
# Three things of sqlglot do most of the work: `qualify` with a schema gives columns their tables and writes stars out;
# `traverse_scope(tree)` gives each SELECT within the query, with its `columns` and its `sources` (by alias, an `exp.Table` or
# another scope); `table.replace(...)` puts something else in a table's place, a subquery with some of its columns, say. None
# of them reads every query as DuckDB does: an answer that rests on two of them is safer than one that rests on one.
#
# **Judged** (5 points), with rules that are drawn anew, by what comes of it. Some ninety attacks that try to learn what a
# role may not see: your query, if you allow one, is run on two databases that differ only in the values of columns that the
# role may not use. If the two results differ, somebody has learnt something. Attacks in plain SQL (2), by DuckDB's own syntax
# and functions (1), and of what has to be refused whatever comes of it: other statements, files, catalogues (0.5). Forty
# queries of honest people are allowed, and give the rows that they give without the gateway (1). At least 90% of refusals of
# simple queries name the rule (0.5). What you refuse and allow without looking earns nothing: attacks count only while half
# of the honest queries pass, and the other way round. You see the names of attacks that got through, with the query.


# %% tags=["task-b"]
# Task b
def authorize(sql, role, policy):
    """Returns {"allowed": True, "sql": text} or {"allowed": False, "rule": name}."""
    ### BEGIN SOLUTION
    import sqlglot
    from sqlglot import exp
    from sqlglot.optimizer.qualify import qualify
    from sqlglot.optimizer.scope import Scope, traverse_scope

    def refuse(rule):
        return {"allowed": False, "rule": rule}

    # What is known passes, and nothing else: the next version of the dialect brings syntax that nobody has thought of.
    known = (
        exp.Select, exp.SetOperation, exp.Subquery, exp.With, exp.CTE, exp.TableAlias, exp.From, exp.Join, exp.Lateral,
        exp.Where, exp.Group, exp.Having, exp.Order, exp.Ordered, exp.Limit, exp.Offset, exp.Distinct, exp.Qualify,
        exp.Window, exp.WindowSpec, exp.Filter, exp.WithinGroup, exp.Table, exp.Identifier, exp.Column, exp.Alias,
        exp.Literal, exp.Boolean, exp.Null, exp.Star, exp.Var, exp.Paren, exp.Tuple, exp.DataType, exp.Interval,
        exp.Between, exp.In, exp.Binary, exp.Unary, exp.Func, exp.Bracket, exp.Values, exp.Cube, exp.Rollup,
        exp.GroupingSets, exp.Lambda, exp.DataTypeParam, exp.AtTimeZone, exp.IgnoreNulls, exp.Fetch,
    )  # fmt: skip
    try:
        parsed = [t for t in sqlglot.parse(sql, dialect="duckdb") if t is not None]
    except sqlglot.errors.SqlglotError:
        return refuse("unreadable")
    if len(parsed) != 1 or not isinstance(parsed[0], exp.Select | exp.SetOperation | exp.Subquery):
        return refuse("statement")
    tree = parsed[0]
    tables = {
        name.lower(): {c.lower(): kind for c, kind in columns.items()} for name, columns in policy["tables"].items()
    }
    # A name without a schema is a CTE where it stands, or a table, a file, a catalogue.
    defined = {
        id(node)
        for scope in traverse_scope(tree)
        for node, source in scope.selected_sources.values()
        if isinstance(source, Scope)
    }
    for table in tree.find_all(exp.Table):
        if not isinstance(table.this, exp.Identifier):
            return refuse("function")
        own = not table.db and not table.catalog and id(table) in defined
        if not own and (table.catalog or f"{table.db}.{table.name}".lower() not in tables):
            return refuse("table")
        if table.db and table.alias_column_names:
            return refuse("unreadable")  # other names for the table's columns, by their place
    for node in tree.walk():
        if isinstance(node, exp.Anonymous | exp.AnonymousAggFunc | exp.Columns | exp.ReadCSV):
            return refuse("function")
        if not isinstance(node, known):
            return refuse("unreadable")
    schema = {}
    for name, columns in tables.items():
        database, _, table = name.partition(".")
        schema.setdefault(database, {})[table] = dict.fromkeys(columns, "unknown")
    try:
        tree = qualify(tree, dialect="duckdb", schema=schema)
    except (sqlglot.errors.SqlglotError, RecursionError):
        return refuse("unreadable")
    # A star that is still there was no list of columns.
    if any(not isinstance(star.parent, exp.Count) for star in tree.find_all(exp.Star)):
        return refuse("unreadable")
    # A row as a whole, by the name of its table.
    if tree.find(exp.TableColumn):
        return refuse("unreadable")
    rules = {r["kind"]: r for r in policy["rules"]}
    for scope in traverse_scope(tree):
        for column in scope.columns:
            source = scope.sources.get(column.table)
            if isinstance(source, exp.Table):
                kind = tables[f"{source.db}.{source.name}".lower()].get(column.name.lower(), "unknown")
                if kind is not None and role not in rules.get(kind, {"roles": []})["roles"]:
                    return refuse(rules[kind]["rule"] if kind in rules else "no rule")
    # Where this has understood something otherwise than the engine does, the engine finds no such column.
    for table in [t for t in tree.find_all(exp.Table) if t.db]:
        columns = tables[f"{table.db}.{table.name}".lower()]
        may = [c for c, kind in columns.items() if kind is None or role in rules.get(kind, {"roles": []})["roles"]]
        shown = [exp.column(c, quoted=True) for c in may] or [exp.null()]
        bare = exp.table_(table.name, db=table.db, quoted=True)
        narrow = exp.select(*shown).from_(bare).subquery(table.alias_or_name)
        narrow.set("joins", table.args.get("joins"))
        narrow.set("laterals", table.args.get("laterals"))
        table.replace(narrow)
    return {"allowed": True, "sql": tree.sql(dialect="duckdb")}
    ### END SOLUTION


# %% tags=["nbval-check-output"]
try:
    for query in (
        "select city, count(*) from core.customers group by city",
        "select count(*) from core.customers where email like 'c1%'",
    ):
        print(authorize(query, "analyst", POLICY)["allowed"])
except TODO:
    print("not attempted yet")

# %% tags=["check-b"]
lab.check("b")

# %% [markdown]
# ## Task c: what the auditor finds
#
# The gateway's log is `ops.access_log`. Each entry carries a digest of its own fields (`entry_hash`, made by
# `workshop.access.entry_hash(entry)`, which you may call) and that of the entry before it (`previous_hash`; 64 zeros for the
# first). `ops.policy_versions` has the rules by version. `ops.engine_log` is what the engine says it ran. `ops.log_anchors`
# is what was sent to the auditor each evening: number and digest of the day's last entry.

# %%
lab.con.sql(
    "select * exclude (previous_hash, entry_hash), entry_hash[:8] as hash from ops.access_log order by seq"
).df().head(5)

# %% [markdown]
# Change: the bodies of two functions.
#
# `audit(log, versions, engine, anchors)` gets the rows of the four tables (lists of dicts, in no particular order; `rules` of
# a version is a dict of kind to list of roles) and returns rows with `finding` and `id` (any order):
#
# | finding | id | when |
# | --- | --- | --- |
# | `altered` | `seq` | `entry_hash` is not the digest of the entry's fields |
# | `gap` | `seq` | `previous_hash` is not the `entry_hash` (as it stands) of the entry before it by `seq`; first: 64 zeros |
# | `anchor` | `day_on` | no entry with number `last_seq` has `last_hash` as `entry_hash` |
# | `wrong decision` | `seq` | `decision` is not what the version in force at `logged_at` says (below) |
# | `bypass` | `query_id` | the engine ran a query that the gateway did not let through (below) |
#
# A version says `allowed` if the entry's role may use all its kinds (none: `allowed`), else `refused`. In force is the version
# with the latest `valid_from_at` at or before the moment, whatever `said_version` says.
#
# A query of the engine is a bypass if its `gateway_seq` is null or no entry's `seq`, if that entry is of another person or not
# `allowed`, or if a query with a smaller `query_id` that is no bypass has used the same entry.
#
# Entries are taken as they stand, altered or not. `id` may be a number, a date or a text.
#
# `could_see(kind, at, grants, versions)` returns the list of `person_id` that could use a kind at a moment: who held
# (intervals as in task a) a role then that the version in force then allows to use it. A version's kind without roles, or
# missing: nobody.
#
# **Judged** (3 points), on two months of logs: what was tampered with (1), decisions and bypasses (1), all found and nothing
# else; who could see what, at twenty moments (1).


# %% tags=["task-c"]
# Task c
from workshop.access import entry_hash


def audit(log, versions, engine, anchors):
    """Returns rows with finding and id."""
    ### BEGIN SOLUTION
    found = []
    previous = "0" * 64
    entries = {}
    for entry in sorted(log, key=lambda e: e["seq"]):
        entries[entry["seq"]] = entry
        if entry_hash(entry) != entry["entry_hash"]:
            found.append({"finding": "altered", "id": entry["seq"]})
        if entry["previous_hash"] != previous:
            found.append({"finding": "gap", "id": entry["seq"]})
        previous = entry["entry_hash"]
        rules = in_force(versions, entry["logged_at"])
        right = all(entry["role"] in rules.get(kind, []) for kind in entry["kinds"])
        if (entry["decision"] == "allowed") != right:
            found.append({"finding": "wrong decision", "id": entry["seq"]})
    for anchor in anchors:
        entry = entries.get(anchor["last_seq"])
        if entry is None or entry["entry_hash"] != anchor["last_hash"]:
            found.append({"finding": "anchor", "id": anchor["day_on"]})
    used = set()
    for query in sorted(engine, key=lambda q: q["query_id"]):
        entry = entries.get(query["gateway_seq"])
        fits = entry and entry["person_id"] == query["person_id"] and entry["decision"] == "allowed"
        if fits and entry["seq"] not in used:
            used.add(entry["seq"])
        else:
            found.append({"finding": "bypass", "id": query["query_id"]})
    return found
    ### END SOLUTION


def could_see(kind, at, grants, versions):
    """Returns a list of person_id."""
    ### BEGIN SOLUTION
    roles = in_force(versions, at).get(kind, [])
    return sorted(
        {
            g["person_id"]
            for g in grants
            if g["role"] in roles and g["valid_from_at"] <= at and (g["valid_to_at"] is None or g["valid_to_at"] > at)
        }
    )


def in_force(versions, at):
    """The rules of the version that is in force at a moment."""
    return max((v for v in versions if v["valid_from_at"] <= at), key=lambda v: v["valid_from_at"])["rules"]
    ### END SOLUTION


# %% tags=["nbval-check-output"]
import json

try:
    found = audit(
        lab.rows("from ops.access_log order by seq"),
        [{**v, "rules": json.loads(v["rules"])} for v in lab.rows("from ops.policy_versions order by version")],
        lab.rows("from ops.engine_log order by query_id"),
        lab.rows("from ops.log_anchors order by day_on"),
    )
    print(len(found), "findings")
except TODO:
    print("not attempted yet")

# %% tags=["check-c"]
lab.check("c")

# %% [markdown]
# ## Twelve weeks later
#
# The attacks again, on your gateway and on two that companies really run: a list of forbidden words, and a check of the select
# list.

# %%
lab.twelve_weeks_later()

# %% [markdown]
# ## To take home
#
# A policy as a file, a gateway that refuses what it does not understand, and an audit that needs nobody's word. Give the
# third to whoever audits you, and the anchors to somebody who does not run the gateway.
