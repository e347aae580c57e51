# %% [markdown]
# # Lab 2.9: The audit
#
# The regulator comes. It puts twenty-five questions to Kestrel's platform, and believes no answer that it cannot check. In task
# a you answer them from the records, each with its evidence. In task b the platform is governed by **your own work** from labs
# 2.1 to 2.8, and the regulator looks for itself. About 50 minutes, 35 of them for task a; more for parts that you have not
# written yet. Lesson 2.9 has the background.
#
# You change the two cells that begin with `# Task`; what you need besides goes into the same cells. When your work is graded,
# it runs on other worlds: other records, other questions.

# %% tags=["parameters"]
WORLD, SCALE = "practice-7", 0.05

# %% tags=["setup"]
# What the parts of labs 2.1 to 2.8 need, too.
from datetime import date, datetime, timedelta
from hashlib import sha256

import pandas as pd
from sqlglot import exp
from sqlglot.optimizer.scope import Scope

from workshop import TODO, open_lab
from workshop.audit import read_questions, read_record
from workshop.masking import FIXED
from workshop.sql_scope import qualified

lab = open_lab("2.9", world=WORLD, scale=SCALE)

# %% [markdown]
# ## Task a: answers that stand on evidence
#
# **The record.** A dict of eight lists. Each row is a dict with an `id` that no other row has. Times are UTC; intervals hold
# from `valid_from_at` (included) to `valid_to_at` (excluded; None: until further notice).
#
# * `tags`: a column of the estate holds a kind of personal data (`table_name`, `column_name`, `kind`); kinds that tell who
#   somebody is only with others, such as `country`, are there too.
# * `edges`: values of a column go into another one, in an extract (`input_table`, `input_column`, `output_table`,
#   `output_column`, and the interval).
# * `versions`: the rules from `valid_from_at` on, until the next version (`rules`: a dict of kind to list of roles).
# * `grants`: `person_id` holds `role` in the interval.
# * `log`: entries of the gateway (`seq`, `logged_at`, `person_id`, `role`, `kinds`, a list, `decision`, and `said_version`, by
#   which the gateway says it decided).
# * `rows`: a row about `subject_id` is still there (`data_class`, and `ends_on`, the day from which on it is due; None: its
#   period has not begun).
# * `holds`: nothing of `subject_id` in `data_class` (None: in any) may go from `placed_on` until `lifted_on` (None: open).
# * `masks`: an `environment` shows a column (`table_name`, `column_name`) under a `mask`; under `keep` it is as it is.

# %%
record, questions = read_record(lab.con), read_questions(lab.con)
print({name: len(rows) for name, rows in record.items()})
for name, rows in record.items():
    print(name, rows[0] if name != "versions" else {**rows[0], "rules": "..."})

# %%
pd.DataFrame(questions, dtype=object).head(8)

# %% [markdown]
# **The questions.** Five topics, five questions of each, in any order. What is the answer, and what is the evidence?
#
# * `where is`: the columns (`"raw.psp_events.pan"`) that **hold** the `kind` at `from_at`. Those do that are tagged with it,
#   and those of extracts into which a column that holds it goes by an edge that stands at `from_at`, over any number of edges.
#   Evidence: for each column its tag, or one such edge.
# * `who could`: `person_id` of all who, at `from_at`, hold a role that the version in force allows to use the `kind`. In force
#   is the version with the latest `valid_from_at` that is not after `from_at`. Evidence: that version, and for each person one
#   grant.
# * `who did`: `seq` of the entries with `from_at` <= `logged_at` < `until_at`, the `kind` among their `kinds` and the decision
#   `allowed`, though the version in force at `logged_at` does not let their role use the `kind`. There may be none. Evidence:
#   **all** entries of that period with that kind and that decision, rightful ones too (the regulator knows how many there
#   are), and each version that was in force at one of them.
# * `what is left`: a pair (`id`, state) for each of the `rows` about `subject_id`. `from_at` is the midnight at which a day
#   begins. `kept`: `ends_on` is None or after that day. Otherwise `held`, if a hold of that person, on that class or on any,
#   has `placed_on` on that day or before, and `lifted_on` None or after that day. Otherwise `due`. Evidence: those rows, and
#   for each held one a hold.
# * `what shows`: the columns that hold the `kind` at `from_at` **and** that the `environment` shows under `keep`. Evidence: for
#   each its row of `masks`, and how it holds the kind: its tag, or the edges back to a tag and that tag.
#
# **How the regulator reads evidence.** It throws away all rows of the record but those that you name, and answers the question
# from these alone. If it does not come to the right answer, the evidence shows nothing; nor does it without the version that
# was in force, and without the entries that it knows of. Rows without which the same could be shown are a burden. More than
# five times as many as are needed (and five more) show nothing either: somebody would have to look for the evidence in them.
#
# Change: the body of `answers`. It gets the questions (a list of dicts, as above) and the record, its rows in any order, and
# returns a list of dicts, one for each question, with `question_id`, `answer` (a list, in any order) and `evidence` (a list of
# `id`). For a topic that you have not done, return empty lists.
#
# **Judged** (6 points), on this world's questions and on fifty of two others: all answers of a topic are right (0.8 for each
# topic); where the answer is right, the evidence shows it (1.5), and in each topic is at most half again as many rows as are
# needed (0.5). Evidence is read once eight in ten of all answers are right.


# %% tags=["task-a"]
# Task a
def answers(questions, record):
    """Returns a list of dicts with question_id, answer and evidence."""
    ### BEGIN SOLUTION
    found = []
    for q in questions:
        answer, evidence = ANSWER[q["topic"]](q, record)
        found.append({"question_id": q["question_id"], "answer": list(answer), "evidence": list(evidence)})
    return found


def stands(row, at):
    return row["valid_from_at"] <= at and (row["valid_to_at"] is None or at < row["valid_to_at"])


def holding(kind, at, record):
    """By column that holds the kind: the rows that show it, from a tag on."""
    ways = {(t["table_name"], t["column_name"]): [t["id"]] for t in record["tags"] if t["kind"] == kind}
    edges = [e for e in record["edges"] if stands(e, at)]
    grown = True
    while grown:
        new = {}
        for e in edges:
            source, target = (e["input_table"], e["input_column"]), (e["output_table"], e["output_column"])
            if source in ways and target not in ways:
                new[target] = [*ways[source], e["id"]]
        grown = bool(new)
        ways |= new
    return ways


def where_is(q, record):
    ways = holding(q["kind"], q["from_at"], record)
    return [".".join(place) for place in ways], [way[-1] for way in ways.values()]


def in_force(at, record):
    return max((v for v in record["versions"] if v["valid_from_at"] <= at), key=lambda v: v["valid_from_at"])


def who_could(q, record):
    version = in_force(q["from_at"], record)
    roles = version["rules"].get(q["kind"], [])
    by_person = {g["person_id"]: g["id"] for g in record["grants"] if g["role"] in roles and stands(g, q["from_at"])}
    return by_person, [version["id"], *by_person.values()]


def who_did(q, record):
    seen, evidence = [], set()
    for e in record["log"]:
        if q["from_at"] <= e["logged_at"] < q["until_at"] and q["kind"] in e["kinds"] and e["decision"] == "allowed":
            version = in_force(e["logged_at"], record)
            evidence |= {e["id"], version["id"]}
            if e["role"] not in version["rules"].get(q["kind"], []):
                seen.append(e["seq"])
    return seen, evidence


def what_is_left(q, record):
    day, states, evidence = q["from_at"].date(), [], []
    for row in record["rows"]:
        if row["subject_id"] != q["subject_id"]:
            continue
        evidence.append(row["id"])
        if row["ends_on"] is None or row["ends_on"] > day:
            states.append((row["id"], "kept"))
            continue
        holds = [
            h["id"]
            for h in record["holds"]
            if h["subject_id"] == row["subject_id"]
            and h["data_class"] in (None, row["data_class"])
            and h["placed_on"] <= day
            and (h["lifted_on"] is None or h["lifted_on"] > day)
        ]
        states.append((row["id"], "held" if holds else "due"))
        evidence += [h for h in holds[:1] if h not in evidence]
    return states, evidence


def what_shows(q, record):
    ways = holding(q["kind"], q["from_at"], record)
    shown, evidence = [], set()
    for m in record["masks"]:
        place = (m["table_name"], m["column_name"])
        if m["environment"] == q["environment"] and m["mask"] == "keep" and place in ways:
            shown.append(".".join(place))
            evidence |= {m["id"], *ways[place]}
    return shown, evidence


ANSWER = {
    "where is": where_is,
    "who could": who_could,
    "who did": who_did,
    "what is left": what_is_left,
    "what shows": what_shows,
}
### END SOLUTION


# %% tags=["nbval-check-output"]
try:
    mine = answers(questions, record)
    print(len(mine), "answers, on", sum(len(a["evidence"]) for a in mine), "rows")
except TODO:
    print("not attempted yet")

# %% tags=["check-a"]
lab.check("a")

# %% [markdown]
# ## Task b: the platform as you govern it
#
# Now the regulator does not ask; it looks. A platform that nobody has seen, of some twenty tables and thirty extracts, is
# governed by five parts. Change: the five values below. **At least three are your own work** from the lab named beside them
# (the function, under the name that it has here); the others may be the text `"reference"`, the course's own answer, for what
# you skipped.
#
# | name here | from | what it decides |
# | --- | --- | --- |
# | `tag_columns` | 2.1 a | which columns of the tables are said to hold what |
# | `access_policy` | 2.2 a | who may use which kind from now on |
# | `column_lineage` | 2.5 a | where columns go |
# | `plan` | 2.6 b | which rows go on a day |
# | `masked_views` | 2.8 b | what developers see, **by the tags of your tagger** |
#
# Of each part the regulator looks at five things. One is in order if
#
# * tags: for a kind, tags and DIRECT edges (of the extracts of today, `ops.extracts`) together name the columns that hold it,
#   in tables and extracts; at most one column is missing or too many. The reading budget of lab 2.1 does not count here;
# * access: for a kind, the rule names the roles that should, and after your revocations none of these is held together with
#   one that conflicts with it, none of them by nobody, and none was revoked needlessly (the fewest that do it);
# * lineage: for an extract, the DIRECT edges are those that its statement has;
# * plan: for a rule of the schedule, what is planned on each of two days, copies included, is what is due;
# * masks: for a kind, one that tells who somebody is only with others among them, each column of the tables that really holds
#   it shows in `dev` what its mask leaves.
#
# The parts meet: a column that your tagger misses is missed in the extracts, too, and developers see it as it is. Columns that
# tell who somebody is only with others keep the catalogue's tags. A column of a type that its mask is not for (a number that is
# tagged as an address) is withheld.
#
# `lab.bring("2.1", "a")` puts the cell that you wrote in your lab 2.1 below this one, if you have done that lab on this
# machine (the others: `"2.2", "a"`; `"2.5", "a"`; `"2.6", "b"`; `"2.8", "b"`): run it, and delete the line of that name in the
# task. What such a cell has besides may stay. Or write a part here, by the text of its lab. Cells of your
# own may stand anywhere above the task; where two of them have a helper of the same name, give one another name. `qualified`,
# which lab 2.5 gives, is there.
#
# **Judged** (4 points), with at least three parts of your own: of the twenty-five, at least 22 are in order (2.5). Each part of
# your own, with the reference for the other four, has its five in order, the tagger four (1.5).


# %% tags=["task-b"]
# Task b
### BEGIN SOLUTION
# Three of our own, two borrowed.
def access_policy(needs, grants, conflicts, today):
    now = datetime(today.year, today.month, today.day)
    rules = {n["kind"]: [] for n in needs}
    for n in needs:
        if n["legal_basis"] and (n["valid_until_on"] is None or n["valid_until_on"] >= today):
            rules[n["kind"]].append(n["role"])
    holders = {}
    for g in grants:
        if g["valid_from_at"] <= now and (g["valid_to_at"] is None or g["valid_to_at"] > now):
            holders.setdefault(g["role"], set()).add(g["person_id"])
    revoke = []
    for c in conflicts:
        for person in sorted(holders.get(c["role_a"], set()) & holders.get(c["role_b"], set())):
            role = max((c["role_a"], c["role_b"]), key=lambda r: len(holders[r]))
            holders[role].discard(person)
            revoke.append({"person_id": person, "role": role})
    return {"rules": [{"kind": k, "roles": sorted(set(r))} for k, r in rules.items()], "revoke": revoke}


def plan(con, as_of):
    schedule = con.execute("select * from retention_schedule order by action desc, rule_id").fetchall()
    copies = con.execute("select * from table_copies order by table_name").fetchall()
    found, deleted = [], set()
    for rule_id, table, key, data_class, jurisdiction, action, day, counts_from, months, columns in schedule:
        start = f"make_date(year(s.{day}), 12, 31)" if counts_from == "year end" else f"s.{day}"
        places = [(table, key, f"{table} as s", "s", columns)]
        for copy, copy_key, source, link, personal in copies:
            if source == table:
                joined = f"{copy} as c join {table} as s using ({link})"
                places.append((copy, copy_key, joined, "c", [c for c in columns if c in personal]))
        for name, own_key, rows, alias, gone in places:
            filled = " or ".join(f"{alias}.{c} is not null" for c in gone) or "false"
            keys = con.execute(
                f"""
                select {alias}.{own_key}
                from {rows}
                where ({"true" if action == "delete" else filled})
                  and s.jurisdiction = $jurisdiction
                  and {start} + to_months($months) <= $as_of
                  and not exists (
                    from legal_holds h
                    where h.subject_id = s.subject_id
                      and coalesce(h.data_class, $data_class) = $data_class
                      and h.placed_on <= $as_of
                      and coalesce(h.lifted_on > $as_of, true)
                  )
                """,
                {"jurisdiction": jurisdiction, "months": months, "as_of": as_of, "data_class": data_class},
            ).fetchall()
            if action == "delete":
                deleted |= {(name, k) for (k,) in keys}
            found += [(rule_id, name, k) for (k,) in keys if action == "delete" or (name, k) not in deleted]
    return found


def column_lineage(sql, schema):
    """DIRECT edges only: what decides is not asked for here."""
    return [
        {"output_column": column, "input_table": table, "input_column": name, "kind": "DIRECT"}
        for column, inputs in direct_inputs(qualified(sql, schema)).items()
        for table, name in sorted(inputs)
    ]


def direct_inputs(scope):
    if scope.set_operation_scopes:
        left, right = (direct_inputs(s) for s in scope.set_operation_scopes)
        return {name: a | b for (name, a), b in zip(left.items(), right.values(), strict=True)}

    def flow(node):
        if isinstance(node, exp.Column):
            source = scope.sources[node.table]
            if isinstance(source, Scope):
                return direct_inputs(source)[node.name]
            return {(f"{source.db}.{source.name}", node.name)}
        # What decides does not flow: conditions, and the parts of a window.
        deciding = {exp.If: {"this"}, exp.Case: {"this"}, exp.Window: {"partition_by", "order"}}.get(type(node), ())
        parts = (
            v
            for key, value in node.args.items()
            if key not in deciding
            for v in (value if isinstance(value, list) else [value])
        )
        return set().union(*(flow(v) for v in parts if isinstance(v, exp.Expression)))

    return {item.alias_or_name: flow(item) for item in scope.expression.expressions}


tag_columns = masked_views = "reference"
### STUB
# tag_columns = TODO  # 2.1 a
# access_policy = TODO  # 2.2 a
# column_lineage = TODO  # 2.5 a
# plan = TODO  # 2.6 b
# masked_views = TODO  # 2.8 b
### END SOLUTION


# %% tags=["nbval-check-output"]
PARTS = (tag_columns, access_policy, column_lineage, plan, masked_views)
borrowed = sum(isinstance(p, str) for p in PARTS)
print("not attempted yet" if TODO in PARTS else f"{5 - borrowed} of your own, {borrowed} borrowed")

# %% tags=["check-b"]
lab.check("b")

# %% [markdown]
# ## Twelve weeks later
#
# The regulator's sheet: twenty-five findings on the platform under your parts, and under what many companies have: tags by the
# names of columns, and masks by these tags; rules from what was ever asked for with a legal basis, and nobody's duties looked
# at; no lineage of columns; deletion that forgets copies.

# %%
lab.twelve_weeks_later()

# %% [markdown]
# ## To take home
#
# A list of questions, each with the query that answers it and the rows that show it. Run it every week: an audit for which
# nobody has to prepare is one that you have passed.
