# %% [a] right plain_loops
import datetime


def access_policy(needs, grants, conflicts, today):
    now = datetime.datetime.combine(today, datetime.time())
    rules = []
    for kind in sorted({n["kind"] for n in needs}):
        roles = [
            n["role"]
            for n in needs
            if n["kind"] == kind
            and n["legal_basis"] is not None
            and (not n["valid_until_on"] or n["valid_until_on"] >= today)
        ]
        rules.append({"kind": kind, "roles": roles})
    live = [g for g in grants if g["valid_from_at"] <= now and not (g["valid_to_at"] and g["valid_to_at"] <= now)]
    gone = []
    for c in conflicts:
        a, b = c["role_a"], c["role_b"]
        for person in {g["person_id"] for g in live if g["role"] == a} & {
            g["person_id"] for g in live if g["role"] == b
        }:
            staying = [x for x in live if (x["person_id"], x["role"]) not in gone]
            victim = a if sum(x["role"] == a for x in staying) > 1 else b
            gone.append((person, victim))
    return {"rules": rules, "revoke": [{"person_id": p, "role": r} for p, r in gone]}


# %% [a] wrong asked_is_given fails=needs_are_rules says="without a need that holds"
# Who has asked for it needs it.
# -         if n["legal_basis"] and (n["valid_until_on"] is None or n["valid_until_on"] >= today):
# +         if n["valid_until_on"] is None or n["valid_until_on"] >= today:


# %% [a] wrong never_ends fails=needs_are_rules says="without a need that holds"
# A basis is a basis.
# -         if n["legal_basis"] and (n["valid_until_on"] is None or n["valid_until_on"] >= today):
# +         if n["legal_basis"]:


# %% [a] wrong last_day_lost fails=needs_are_rules says="may not, and needs it"
# On its last day it is over.
# -         if n["legal_basis"] and (n["valid_until_on"] is None or n["valid_until_on"] >= today):
# +         if n["legal_basis"] and (n["valid_until_on"] is None or n["valid_until_on"] > today):


# %% [a] wrong ever_held fails=duties_are_separated says="which nobody holds now"
# Whoever has ever held both is in conflict.
# -         if g["valid_from_at"] <= now and (g["valid_to_at"] is None or g["valid_to_at"] > now)
# +         if g["valid_from_at"] is not None


# %% [a] wrong always_the_first fails=duties_are_separated says="any longer"
# The first role of the pair goes.
# -             role = max((c["role_a"], c["role_b"]), key=lambda r: len(holders[r]))
# +             role = min((c["role_a"], c["role_b"]), key=lambda r: len(holders[r]))


# %% [a] wrong both_roles fails=duties_are_separated says="you revoke"
# To be safe, both go.
# -             holders[role].discard(person)
# -             revoke.append({"person_id": person, "role": role})
# +             others = [r for r in (c["role_a"], c["role_b"]) if len(holders[r]) > 1]
# +             for role in others:
# +                 holders[role].discard(person)
# +                 revoke.append({"person_id": person, "role": role})


# %% [b] right nulls_for_the_forbidden
def authorize(sql, role, policy):
    """Puts a view of nulls before each table; refuses simple queries by their rule."""
    import sqlglot
    from sqlglot import exp

    try:
        statements = [s for s in sqlglot.parse(sql, read="duckdb") if s]
    except sqlglot.ParseError:
        return {"allowed": False, "rule": "unreadable"}
    except sqlglot.TokenError:
        return {"allowed": False, "rule": "unreadable"}
    if len(statements) != 1 or not isinstance(statements[0], (exp.Select, exp.Union, exp.Except, exp.Intersect)):
        return {"allowed": False, "rule": "statement"}
    tree = statements[0]
    bad = (
        exp.Anonymous, exp.Command, exp.Summarize, exp.Describe, exp.Pivot, exp.Columns, exp.ReadCSV, exp.PositionalColumn,
        exp.Placeholder, exp.Parameter, exp.Set, exp.AnonymousAggFunc,
    )  # fmt: skip
    for kind in bad:
        if tree.find(kind):
            return {"allowed": False, "rule": "function"}
    open_to = {r["kind"]: r["roles"] for r in policy["rules"]}
    named = {r["kind"]: r["rule"] for r in policy["rules"]}
    from sqlglot.optimizer.scope import Scope, traverse_scope

    own = set()
    for scope in traverse_scope(tree):
        own |= {id(node) for node, source in scope.selected_sources.values() if isinstance(source, Scope)}
    lowered = {t.lower(): c for t, c in policy["tables"].items()}
    for table in list(tree.find_all(exp.Table)):
        if not isinstance(table.this, exp.Identifier):
            return {"allowed": False, "rule": "function"}
        key = f"{table.db}.{table.name}".lower()
        if table.catalog or (key not in lowered and not (id(table) in own and not table.db)):
            return {"allowed": False, "rule": "table"}
        if key not in lowered:
            continue
        shown = []
        for column, kind in lowered[key].items():
            quoted = '"' + column.replace('"', '""') + '"'
            free = kind is None or role in open_to.get(kind, [])
            shown.append(quoted if free else f"null as {quoted}")
            # A simple query is refused by name.
            simple = len(list(tree.find_all(exp.Select))) == 1 and not any(s.args for s in tree.find_all(exp.Star))
            if not free and simple and any(c.name.lower() == column.lower() for c in tree.find_all(exp.Column)):
                return {"allowed": False, "rule": named.get(kind, "no rule")}
        query = sqlglot.parse_one(f"select {', '.join(shown)} from {table.sql(dialect='duckdb')}", read="duckdb")
        inner = query.find(exp.Table)
        inner.set("alias", None)
        inner.set("joins", None)
        alias = table.args.get("alias") or exp.TableAlias(this=exp.to_identifier(table.name))
        joins = table.args.get("joins")
        replacement = exp.Subquery(this=query, alias=alias.copy())
        if joins:
            replacement.set("joins", joins)
        table.replace(replacement)
    return {"allowed": True, "sql": tree.sql(dialect="duckdb")}


# %% [b] wrong forbidden_words fails=plain_attacks says="get through"
# A list of words that may not be in the text.
import re


def authorize(sql, role, policy):
    for columns in policy["tables"].values():
        for column, kind in columns.items():
            rule = next((r for r in policy["rules"] if r["kind"] == kind), None)
            if rule and role not in rule["roles"] and re.search(rf"\b{re.escape(column)}\b", sql):
                return {"allowed": False, "rule": rule["rule"]}
    if ";" in sql or not re.match(r"\s*(select|with|from)\b", sql, re.IGNORECASE):
        return {"allowed": False, "rule": "statement"}
    return {"allowed": True, "sql": sql}


# %% [b] wrong select_list_only fails=plain_attacks says="get through"
# What comes out is what counts.
# -         for column in scope.columns:
# +         for column in (c for s in getattr(scope.expression, "selects", []) for c in s.find_all(exp.Column)):
# -     for table in [t for t in tree.find_all(exp.Table) if t.db]:
# +     for table in []:


# %% [b] wrong stars_pass fails=plain_attacks says="get through"
# The columns that are named are checked.
# -         tree = qualify(tree, dialect="duckdb", schema=schema)
# +         tree = qualify(tree, dialect="duckdb", schema=schema, expand_stars=False, validate_qualify_columns=False)
# -     if any(not isinstance(star.parent, exp.Count) for star in tree.find_all(exp.Star)):
# -         return refuse("unreadable")
# +     pass
# -     for table in [t for t in tree.find_all(exp.Table) if t.db]:
# +     for table in []:


# %% [b] wrong rows_pass fails=own_attacks says="get through"
# A column without a table is none of a table.
# -     if tree.find(exp.TableColumn):
# +     if tree.find(exp.Command):
# -     for table in [t for t in tree.find_all(exp.Table) if t.db]:
# +     for table in []:


# %% [b] wrong unread_is_allowed fails=others_refused says="must be refused"
# What cannot be parsed cannot do harm.
# -         return {"allowed": False, "rule": rule}
# +         return {"allowed": True, "sql": sql} if rule == "unreadable" else {"allowed": False, "rule": rule}


# %% [b] wrong outermost_only fails=plain_attacks says="get through"
# The query is checked, its subqueries are its own business.
# -     for scope in traverse_scope(tree):
# -         for column in scope.columns:
# +     for scope in traverse_scope(tree)[-1:]:
# +         for column in scope.columns:
# -     for table in [t for t in tree.find_all(exp.Table) if t.db]:
# +     for table in []:


# %% [b] wrong refuse_all fails=honest_served says="do not give the rows"
# What is not allowed by name is forbidden, and nothing is.
def authorize(sql, role, policy):
    return {"allowed": False, "rule": "no rule"}


# %% [b] wrong personal_is_closed fails=honest_served says="do not give the rows"
# Personal columns are for nobody.
# -                 if kind is not None and role not in rules.get(kind, {"roles": []})["roles"]:
# +                 if kind is not None:


# %% [b] wrong no_names fails=rule_is_named says="refused by another name"
# No is no.
# -                     return refuse(rules[kind]["rule"] if kind in rules else "no rule")
# +                     return refuse("forbidden")


# %% [c] right sql_and_sets
from datetime import datetime as moment

from workshop.access import entry_hash as digest


def could_see(kind, at, grants, versions):
    begun = sorted([v for v in versions if v["valid_from_at"] <= at], key=lambda v: v["valid_from_at"])
    roles = set(begun[-1]["rules"].get(kind) or [])
    return list(
        {
            g["person_id"]
            for g in grants
            if g["role"] in roles and g["valid_from_at"] <= at < (g["valid_to_at"] or moment(9999, 1, 1))
        }
    )


def audit(log, versions, engine, anchors):
    log = sorted(log, key=lambda e: e["seq"])
    rows = [("altered", e["seq"]) for e in log if digest(e) != e["entry_hash"]]
    before = ["0" * 64, *(e["entry_hash"] for e in log)]
    rows += [("gap", e["seq"]) for e, b in zip(log, before, strict=False) if e["previous_hash"] != b]
    stands = {(e["seq"], e["entry_hash"]) for e in log}
    rows += [("anchor", str(a["day_on"])) for a in anchors if (a["last_seq"], a["last_hash"]) not in stands]
    for e in log:
        rules = sorted([v for v in versions if v["valid_from_at"] <= e["logged_at"]], key=lambda v: v["valid_from_at"])[
            -1
        ]["rules"]
        right = "allowed" if all(e["role"] in (rules.get(k) or []) for k in e["kinds"]) else "refused"
        if right != e["decision"]:
            rows.append(("wrong decision", e["seq"]))
    free = {(e["seq"], e["person_id"]) for e in log if e["decision"] == "allowed"}
    for q in sorted(engine, key=lambda q: q["query_id"]):
        if (q["gateway_seq"], q["person_id"]) in free:
            free.remove((q["gateway_seq"], q["person_id"]))
        else:
            rows.append(("bypass", q["query_id"]))
    return rows


# %% [c] wrong no_anchors fails=tampering_is_found says="you miss"
# The chain holds, so the log is whole.
# -         if entry is None or entry["entry_hash"] != anchor["last_hash"]:
# +         if entry is not None and entry["entry_hash"] == "":


# %% [c] wrong digests_only fails=tampering_is_found says="you miss"
# Each entry fits its digest, so nothing was taken out.
# -         if entry["previous_hash"] != previous:
# +         if len(entry["previous_hash"]) != 64:


# %% [c] wrong said_version fails=wrongs_are_found says="you miss"
# The log says by which version it decided.
# -         rules = in_force(versions, entry["logged_at"])
# +         rules = next(v["rules"] for v in versions if v["version"] == entry["said_version"])


# %% [c] wrong todays_rules fails=wrongs_are_found says="you miss"
# The policy is the policy.
# -         rules = in_force(versions, entry["logged_at"])
# +         rules = max(versions, key=lambda v: v["version"])["rules"]


# %% [c] wrong only_what_was_allowed fails=wrongs_are_found says="you miss"
# A refusal does no harm.
# -         if (entry["decision"] == "allowed") != right:
# +         if entry["decision"] == "allowed" and not right:


# %% [c] wrong null_is_bypass fails=wrongs_are_found says="you miss"
# What names an entry has been let through.
# -         fits = entry and entry["person_id"] == query["person_id"] and entry["decision"] == "allowed"
# -         if fits and entry["seq"] not in used:
# +         if entry is not None:


# %% [c] wrong holders_of_today fails=seers_are_known says="who could not"
# Who holds the role could see it.
# -             if g["role"] in roles and g["valid_from_at"] <= at and (g["valid_to_at"] is None or g["valid_to_at"] > at)
# +             if g["role"] in roles and (g["valid_to_at"] is None or g["valid_to_at"] > at)


# %% [c] wrong rules_of_today fails=seers_are_known says="who could see"
# The policy is the policy.
# -     roles = in_force(versions, at).get(kind, [])
# +     roles = max(versions, key=lambda v: v["version"])["rules"].get(kind, [])
