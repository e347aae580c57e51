# %% [markdown]
# # Lab 2.4: Approval workflow for shared schemas
#
# You write what a gate at pull requests for shared tables needs: the class of each change (task a), the teams that must
# approve it (task b), and the policy by which approvals are given, expire, and are made up for after an emergency (task c).
# About 55 minutes (a 20, b 20, c 15). Lesson 2.4 has the background.
#
# You change the three cells that begin with `# Task`; what you need besides goes into the same cells. When your work is
# graded, it meets other changes, other models and other companies. Each task is judged by itself.

# %% tags=["parameters"]
WORLD, SCALE = "practice-7", 0.05

# %% tags=["setup"]
from collections import Counter

from workshop import TODO, open_lab
from workshop.schema_change import (
    INTEGERS,
    decimal_parts,
    read_changes,
    read_company,
    read_consumers,
    read_lineage,
    replay,
)

lab = open_lab("2.4", world=WORLD, scale=SCALE)

# %%
changes = read_changes(lab.con)
for change in changes[:4]:
    print(change["change_id"], change["table"], "by team", change["team_id"], *change["elements"], sep="\n   ")

# %% [markdown]
# ## Task a: the class of a change
#
# A diff is a list of **elements**, dicts with a `kind` and these fields:
#
# | `kind` | fields | what happens |
# | --- | --- | --- |
# | `add_column` | `column`, `type`, `default`, `position` | a new column, with this value in all rows |
# | `drop_column` | `column` | it is gone |
# | `rename_column` | `column`, `to`, `keeps_old` | a new name; with `keeps_old` the old one stays beside it, same values |
# | `change_type` | `column`, `old_type`, `new_type` | all values are cast; what does not fit is null |
# | `allow_nulls` | `column` | held no null, may hold some now |
# | `forbid_nulls` | `column`, `type`, `null_rows`, `fill` | may hold none any more; `null_rows` rows get `fill` |
# | `add_value` | `column`, `value` | one more allowed value |
# | `remove_value` | `column`, `value`, `rows`, `becomes` | one fewer; `rows` rows get `becomes` |
# | `change_range` | `column`, bounds, `rows_outside` | other allowed values (see below); `rows_outside` rows are deleted |
# | `change_values` | `column`, `type`, `formula` | all values are computed anew |
# | `change_default` | `column`, `old`, `new` | rows written from now on without a value get `new`; both were allowed before |
# | `drop_unique`, `add_unique` | `columns` (and `duplicate_rows`) | rows may repeat these; may not, and so many are deleted |
# | `reorder_columns` | `order` | other places, same names |
# | `drop_table` | | it is gone |
# | `rename_table` | `to`, `keeps_view` | a new name; with `keeps_view` the old name is a view of it |
#
# The bounds are `old_low`, `old_high`, `new_low` and `new_high`: allowed are values from low to high, both included (None: no
# bound).
#
# Think of all readers that there could be: any query that worked before. It names its columns, or takes `*` and picks columns
# by name; it takes rows in any order. It **sees** an element if it fails afterwards, or a column that it had before is gone or
# has other values. Nobody asks for the name of a type.
#
# | class | when |
# | --- | --- |
# | `breaking` | on the rows that stand at that time, some reader sees it |
# | `compatible with care` | not so, but rows can be written now that could not be before, and some reader sees those |
# | `additive` | neither: no reader sees anything, now or later |
#
# On types:
#
# * Take it that the rows that stand use the whole range of their type and all its digits, and of a timestamp its time.
# * A number is the same number in any type (5 is 5.00), unless digits are lost: 5.73 as DOUBLE is only nearly 5.73. A number as
#   text, a date as text or as timestamp are others.
# * These changes occur: between INTEGERS of the kit (with lowest and highest value), between DECIMAL(p,s) (`decimal_parts`
#   gives the digits before and after the point), integer or DATE to VARCHAR, DECIMAL with digits after the point to DOUBLE, DATE
#   to TIMESTAMP and back.

# %%
print(INTEGERS, decimal_parts("DECIMAL(14,2)"), decimal_parts("DATE"), sep="\n")

# %% [markdown]
# Write `classify(diff)`. `diff` is a list of one or more elements; the result is a list of classes, one for each element, in
# the same order. Each element is judged as if it were alone.
#
# **Judged** (3.5 points), on some hundred elements. All breaking ones are called so (1.5), all that need care (1.25), all
# additive ones (0.75). Each counts only if your function is right about 90% of all elements.


# %% tags=["task-a"]
# Task a
def classify(diff):
    """The class of each element, in order: additive, compatible with care or breaking."""
    ### BEGIN SOLUTION
    return [class_of(e) for e in diff]


def class_of(e):
    """The class of one element: what stands first, then what may come."""
    kind = e["kind"]
    if kind in ("drop_column", "drop_table", "change_values"):
        return "breaking"
    if kind in ("rename_column", "rename_table"):
        return "additive" if e.get("keeps_old") or e.get("keeps_view") else "breaking"
    if kind == "change_type":
        return class_of_type(e["old_type"], e["new_type"])
    if any(e.get(rows) for rows in ("null_rows", "rows", "rows_outside", "duplicate_rows")):
        return "breaking"
    if kind == "change_range":
        lower = e["old_low"] is not None and (e["new_low"] is None or e["new_low"] < e["old_low"])
        higher = e["old_high"] is not None and (e["new_high"] is None or e["new_high"] > e["old_high"])
        return "compatible with care" if lower or higher else "additive"
    return "compatible with care" if kind in ("allow_nulls", "add_value", "drop_unique") else "additive"


def class_of_type(old, new):
    """Care where the new type holds all that the old one does, as the same kind of number; breaking otherwise."""
    if new in INTEGERS and old in INTEGERS:
        holds = INTEGERS[new][0] <= INTEGERS[old][0] and INTEGERS[new][1] >= INTEGERS[old][1]
    else:
        before, after = decimal_parts(old), decimal_parts(new)
        holds = before and after and after[0] >= before[0] and after[1] >= before[1]
    return "compatible with care" if holds else "breaking"
    ### END SOLUTION


# %% tags=["nbval-check-output"]
try:
    print(sorted(Counter(c for change in changes for c in classify(change["elements"])).items()))
except TODO:
    print("not attempted yet")

# %% tags=["check-a"]
lab.check("a")

# %% [markdown]
# ## Task b: who must approve
#
# Write `required_approvals(change, lineage, consumers)`, which returns the ids of teams as a set (or list).
#
# * `change`: a dict with `table`, `team_id` (the team that makes it) and `elements`, as above; each element has its right
#   `class` besides. Changes of type only widen here.
# * `lineage`: a list of dicts like rows of `ops.lineage_edges`. With `level` = `table`: `output_table` reads `input_table`.
#   With `level` = `column`: `output_column` comes from `input_column` (`kind` = `DIRECT`), or is decided by it (`INDIRECT`:
#   filters, joins, groups, conditions).
# * `consumers`: a list of dicts with `consumer_id`, `owner_team_id`, `cadence` (daily to yearly) and `queries`. Each has `sql`,
#   `last_run_at`, `tables` (that it reads) and `columns` (pairs of table and column that it reads, in any clause).

# %%
lineage, consumers = read_lineage(lab.con), read_consumers(lab.con)
print([x for x in lineage if x["output_table"] == "staging.stg_returns"][-2:], consumers[1], sep="\n")

# %% [markdown]
# A consumer is **hit** if one of its queries fails after the change, or returns other rows (new columns do not count). That is
# found by running it: all models are built anew after the change, in their order, on a small copy of the tables in which a
# third of the rows use what the change newly allows (nulls, new values, larger numbers, repeated rows). A model that fails is
# not there for its readers. The **required approvals** are the owner teams of all consumers that are hit, through models or
# not, however seldom they run, but never `change["team_id"]`. Owners of models are not asked.
#
# Three things decide how far a change goes:
#
# * additive elements are seen by nobody;
# * a model that names a column or a table which is not there any more fails, with all of its columns;
# * where rows are deleted or repeated, whoever reads the table, or what is made of it, gets other rows, whichever columns it
#   reads. Other changes of values or nulls go along the edges of their column alone, DIRECT and INDIRECT: a model's rows do not
#   count as others for that.
#
# **Judged** (3.5 points), on 48 changes in two fresh warehouses of 42 models and 34 consumers:
#
# * (2) no required team is left out; judged if at most 15% of those that you ask are not required.
# * (1.5) nobody is asked needlessly; judged if you ask at least 60% of the required. Ask only teams that the three rules reach:
#   one other team fails, and so does the team that makes the change. Of those that they reach, few see nothing: at most 15%.


# %% tags=["task-b"]
# Task b
def required_approvals(change, lineage, consumers):
    """The ids of the teams that must approve the change."""
    ### BEGIN SOLUTION
    table = change["table"]
    tables, columns = set(), set()  # seen changed as a whole; single columns
    for e in change["elements"]:
        if e["class"] == "additive":
            continue
        if "column" not in e or e.get("rows_outside"):
            tables.add(table)
            continue
        columns.add((table, e["column"]))
        if e["kind"] in ("drop_column", "rename_column"):
            tables |= {
                x["output_table"] for x in lineage if (x["input_table"], x["input_column"]) == (table, e["column"])
            }
    found = -1
    while found != len(tables) + len(columns):
        found = len(tables) + len(columns)
        for x in lineage:
            if x["level"] == "table" and x["input_table"] in tables:
                tables.add(x["output_table"])
            if x["level"] == "column" and (x["input_table"], x["input_column"]) in columns:
                columns.add((x["output_table"], x["output_column"]))
    teams = {
        c["owner_team_id"]
        for c in consumers
        for q in c["queries"]
        if tables & set(q["tables"]) or columns & {tuple(x) for x in q["columns"]}
    }
    return teams - {change["team_id"]}
    ### END SOLUTION


# %% tags=["nbval-check-output"]
try:
    for table, column in (
        ("core.orders", "status"),
        ("core.shipments", "delivered_at"),
        ("staging.stg_returns", "reason"),
    ):
        for element in (
            {"kind": "allow_nulls", "column": column, "class": "compatible with care"},
            {"kind": "drop_column", "column": column, "class": "breaking"},
        ):
            change = {"change_id": 0, "table": table, "team_id": 5, "elements": [element]}
            print(element["kind"], f"{table}.{column}", sorted(required_approvals(change, lineage, consumers)))
except TODO:
    print("not attempted yet")

# %% tags=["check-b"]
lab.check("b")

# %% [markdown]
# ## Task c: the approval matrix
#
# The policy depends on how a company works:

# %%
company = read_company(lab.con)
lab.con.sql("select fact, of_what, value, meaning from ops.approval_facts order by fact, of_what").df()

# %% [markdown]
# Write `approval_matrix(company)`, which returns a policy, a dict:
#
# | key | value |
# | --- | --- |
# | `self_approval` | True or False: may authors approve their own change for a team in which they sit? |
# | `additive` | dict with `approve` |
# | `compatible with care`, `breaking` | dict with `approve`, `bound_to`, `valid_days` |
# | `emergency` | dict with `approve`, `bound_to`, `review_by`, `review_days` |
#
# * `approve`: `"nobody"`, `"colleague"` (of the author), `"one hit team"` or `"every hit team"`; in an emergency `"nobody"`,
#   `"colleague"`, `"on call"` or `"every hit team"`.
# * `bound_to`: `"digest"` (a yes is for the diff as it was; another diff needs another) or `"change"` (for whatever it
#   becomes).
# * `valid_days`: an approval that many days old still counts, an older one does not. Whole number, or None: for ever.
# * `review_by`: `"nobody"`, `"author"`, `"on call"` or `"every hit team"`. `review_days`: the emergency change must be reviewed
#   within so many days (None: no deadline).
#
# How a year goes:
#
# * The teams that a change hits answer on different days: the first at once, the slowest after `answer_days`. After the last
#   answer the change waits up to `release_days` for its release. When it comes in, each approval must count. If one does not,
#   all are asked again, and the same happens: the change is **stuck**.
# * Some changes lie for weeks. The last answer begins a freeze: for `freeze_days` after it, that many days included, the teams
#   use the table as they did. One day later the change is **stale**, and its first approval must not count any more. (They are
#   asked again, and it goes straight to the next release.)
# * Now and then a diff is changed after the last yes. Now and then an author has moved into a team that is hit.
# * A change that hits nobody must not wait for anybody.
# * An emergency change must be in within `emergency_minutes`, that many included: minutes until the approver has answered
#   (`approver_minutes`), then `rollout_minutes`. Somebody other than the author must have said yes to that diff; on call is not
#   woken where a colleague is in time.
# * Afterwards every hit team must review it. The review can begin after `review_starts_days` and takes `review_takes_days`; a
#   change whose deadline is before its end is rolled back. Reviews come on the last day of `review_days`; what they find takes
#   `correction_days` to correct, and that must be done by day `report_due_days`.
#
# `replay(policy, company, changes)` of the kit is what you are judged with. Two changes to try it on:

# %%
EXAMPLES = [
    {
        "change_id": 1, "class": "breaking", "is_emergency": False, "answers": {3: 0, 7: company["answer_days"]["breaking"]},
        "release_wait": company["release_days"], "lies_days": 0, "diff_changes": False, "author_in": None,
    },
    {
        "change_id": 2, "class": "breaking", "is_emergency": True, "answers": {3: 1, 7: 1}, "release_wait": 0, "lies_days": 0,
        "diff_changes": False, "author_in": None,
    },
]  # fmt: skip
careless = {
    "self_approval": True,
    "additive": {"approve": "colleague"},
    "compatible with care": {"approve": "colleague", "bound_to": "change", "valid_days": None},
    "breaking": {"approve": "one hit team", "bound_to": "change", "valid_days": None},
    "emergency": {"approve": "nobody", "bound_to": "change", "review_by": "nobody", "review_days": None},
}
for outcome in replay(careless, company, EXAMPLES):
    print(outcome)

# %% [markdown]
# **Judged** (3 points), at four fresh companies with a year of changes each: no change comes in without the consent of every
# team that it hits, to that diff, not by the author, not stale (1, while half of the changes that hit somebody come in);
# nothing is held up that hits nobody, and nothing is stuck (0.5, while at most half of the changes lack a consent);
# emergencies are on time, seconded, nobody is woken needlessly, and reviews are in time (1.5).


# %% tags=["task-c"]
# Task c
def approval_matrix(company):
    """The policy for a company: self_approval, and a dict for each class and for emergencies."""
    ### BEGIN SOLUTION
    policy = {"self_approval": False, "additive": {"approve": "nobody"}}
    for change_class, days in company["answer_days"].items():
        valid_days = days + company["release_days"]  # the first yes waits for the last, and both for the release
        policy[change_class] = {"approve": "every hit team", "bound_to": "digest", "valid_days": valid_days}
    spare = company["emergency_minutes"] - company["rollout_minutes"]
    policy["emergency"] = {
        "approve": "colleague" if company["approver_minutes"]["colleague"] <= spare else "on call",
        "bound_to": "digest",
        "review_by": "every hit team",
        "review_days": company["report_due_days"] - company["correction_days"],
    }
    return policy
    ### END SOLUTION


# %% tags=["nbval-check-output"]
try:
    policy = approval_matrix(company)
    print(replay(policy, company, EXAMPLES))
except TODO:
    print("not attempted yet")

# %% tags=["check-c"]
lab.check("c")

# %% [markdown]
# ## Twelve weeks later
#
# Left: the changes of task b, asked for by your function, of the table's own readers, and of everybody. Right: the years of
# task c under the policy that Kestrel had, and under yours.

# %%
lab.twelve_weeks_later()

# %% [markdown]
# ## To take home
#
# A gate for pull requests in three parts: the class of a diff, the owners to ask, and the matrix. In a dbt project the diff
# comes from two manifests, the lineage from the events of lab 2.5, and the consumers' columns from the query log of a whole
# year.
