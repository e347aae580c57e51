# %% [markdown]
# # Lab 2.6: Retention that is lawful and cheap
#
# You write the retention policy of about thirty tables in monthly partitions (task a), and the job that plans and carries out
# retention row by row, with a certificate of what went (task b). About 75 minutes (a 45, b 30). Lesson 2.6 has the background.
#
# You change the two cells that begin with `# Task`; what you need besides goes into the same cells. When your work is graded,
# it meets other worlds: other tables, periods, prices and holds. All periods here are invented.

# %% tags=["parameters"]
WORLD, SCALE = "practice-7", 0.05

# %% tags=["setup"]
from datetime import date
from hashlib import sha256
from itertools import pairwise

import pandas as pd

from workshop import TODO, open_lab
from workshop.sim.retention import copy_records, life_cost_usd, read_estate  # noqa: F401

lab = open_lab("2.6", world=WORLD, scale=SCALE)

# %% [markdown]
# ## Task a: the policy
#
# Change: the body of `retention(tables, rules, tiers)`. It gets three lists of dicts. Some of them:

# %%
tables, rules, tiers = read_estate(lab.con)
print(len(tables), "tables, like", next(t for t in tables if t["table_name"] == "customer_invoices"), "\n")
print(
    len(rules),
    "rules, like",
    *(r for r in rules if (r["data_class"], r["jurisdiction"]) == ("order_record", "EU")),
    sep="\n",
)
pd.DataFrame(tiers)

# %% [markdown]
# A table lies in **monthly partitions**. Rows lie in the month in which they were *loaded*; their events are of that month or
# up to `span_months` - 1 months earlier. On the first day of each month a job runs. At a run a partition has two **ages**:
#
# * in `"month"` count: full months since the end of its month. The partition of May has age 0 on 1 June, 1 on 1 July;
# * in `"year"` count: full months since the end of its calendar year. Those of May and December 2026 both have age 0 on 1
#   January 2027.
#
# `retention` returns one row for each step, as a list of dicts (or a DataFrame): `table_name`, `jurisdiction`, `step`,
# `after_months` (a whole number from 0), `counted_from` (`"month"` or `"year"`), `tier`, `kinds`, `waits_for_hold` (True or
# False). The steps, each carried out at the first run at which the partition has that age:
#
# * `"tier"`: the partition moves to `tier`. All are loaded into `hot`. Of several that are due, the one with the highest age
#   counts;
# * `"anonymise"`: the columns that hold the personal `kinds` (a list, such as `["email", "phone"]`) are emptied;
# * `"delete"`: the partition goes. Each table in each jurisdiction needs exactly one such step.
#
# Several tier and anonymise steps a table are allowed. `tier` and `kinds` are None where they say nothing. With
# `waits_for_hold` the step waits while the partition is held.
#
# **Class.** A table of record has a tag `retention.class:<class>`. A derived table has none: it holds data of each class that
# its sources (`derived_from`, tables of the same jurisdiction) hold, which may be derived themselves. A rule concerns a table
# if jurisdiction and class fit. Each kind in a tag `privacy.kind:<kind>` is personal data. A pseudonym (`customer_key`) is too.
#
# **Minimum.** A rule with `minimum_months` concerns tables of record only, never derived ones. It counts from the partition's
# newest event: `event` means from the last day of its month, so it ends at that age in month count; `year end` means at that
# age in year count. Before all minima have ended, the partition is not deleted. Before a minimum has ended, the kinds in its
# `asks_for` are not anonymised. The minima of a table and its owner's need are far enough apart that the one with more months
# ends last, whatever it counts from.
#
# **Maximum.** A rule with `maximum_months` counts from the partition's oldest event. A partition of May with `span_months` 3
# has events from 1 March on. With a maximum of 24 months, personal data is gone at the run of 1 March two years later at the
# latest, at age 21. If several maxima concern a table, the shortest counts. Where a minimum that asks for a kind outlasts the
# maximum, the kind may stay until that minimum ends, and is gone at that very run. Where no rule sets a maximum, there is none.
#
# **Owner.** The owner needs the rows until age `needed_months`, and the personal columns until age `personal_needed_months` or
# until the maximum, whichever is sooner (month count). Nothing goes earlier than that: minima and need both hold.
#
# **Hold.** A hold concerns a class, a jurisdiction and a range of events. It is placed and lifted at any time. While it
# lasts, nothing in a partition with such events (derived ones too) may be destroyed: it is not deleted, not anonymised, and
# not moved into a tier with `drops_versions`, which destroys older versions of rows. Any other move destroys nothing and must
# not wait, even where an anonymise step of the same age does. After the hold the steps that waited are made up for at the
# next run.
#
# **Cost.** A partition costs its tier's price each month, and `retrieval_usd_per_gb` for what is read: `read_share` of its
# bytes in each month of age `from_age_months` and later, until the next entry. Moving or anonymising is a rewrite: the old
# bytes are retrieved, the new ones are written. Steps of the same run are one rewrite. What is rewritten or deleted before
# `minimum_stay_days` in its tier (a month is 30 days) is charged for the missing time; the stay begins with each rewrite.
# Anonymised kinds take their part of `personal_pct` (percent of the bytes, the same for each kind) away. `life_cost_usd` tells
# what one GB costs until it is deleted. `cheapest_moves` below is given: the cheapest tiers for kinds that go at ages which you
# choose. For an `end` in year count, pass the month count that it has on average (5 to 6 more).
#
# **Judged** (5.5 points), over five years (60 runs) in two worlds. Partitions that exist today lie where your policy would have
# brought them. Checks 1 to 3 also need a policy that does both: it deletes at least half of what the lawful one deletes, and
# deletes or anonymises too early in at most half of the tables.
#
# 1. nothing is deleted or anonymised before the minimum ends or its owner's need does (1.5);
# 2. nothing held is destroyed, and no step waits that destroys nothing (1);
# 3. no personal data is kept past its maximum, except under a hold (1.5);
# 4. storage, reads and rewrites cost at most best + 5% of (hot - best). Best is the reference, hot the lawful policy that
#    leaves everything in hot. No holds here, and where your policy breaks 1 or 3, the table is billed with the
#    lawful steps in place of yours, tier steps excepted (1.5).


# %%
def tagged(table, key):
    return sorted(t.removeprefix(f"{key}:") for t in table["tags"] if t.startswith(f"{key}:"))


def cheapest_moves(table, tiers, strips, end):
    """Return (cost of a GB, [(age, tier), ...]): the cheapest way through the tiers until deletion at age `end` in month count.

    strips: the kinds that are anonymised, by age, such as {21: ["email"]}. tier: a dict of `tiers`. It moves where reads or
    kinds change; at each such age it knows the cheapest way to be in each tier since each age: a shortest path."""
    by_name = {t["tier"]: t for t in tiers}
    reads = {r["from_age_months"]: r["read_share"] for r in table["reads"]}
    kinds = max(1, sum(t.startswith("privacy.kind:") for t in table["tags"]))
    marks = [*sorted(m for m in {0, *reads, *strips} if m < end), end]
    ways, gb, gone, read = {("hot", 0): (0.0, [])}, 1.0, 0, 0.0

    def leaves(tier, since, now):
        return max(0, tier["minimum_stay_days"] / 30 - (now - since)) * tier["usd_per_gb_month"]

    for now, then in pairwise(marks):
        gone, read = gone + len(strips.get(now, [])), reads.get(now, read)
        left = 1 - table["personal_pct"] / 100 * gone / kinds
        onwards = {}
        for (name, since), (usd, moves) in ways.items():
            for to in tiers:
                key, cost, way = (name, since), usd, moves
                if to["tier"] != name or now in strips:
                    key = (to["tier"], now)
                    cost += gb * (by_name[name]["retrieval_usd_per_gb"] + leaves(by_name[name], since, now))
                    cost += left * to["write_usd_per_gb"]
                    way = moves if to["tier"] == name else [*moves, (now, to)]
                cost += left * (then - now) * (to["usd_per_gb_month"] + read * to["retrieval_usd_per_gb"])
                if key not in onwards or cost < onwards[key][0]:
                    onwards[key] = (cost, way)
        ways, gb = onwards, left
    return min(
        ((usd + gb * leaves(by_name[name], since, end), moves) for (name, since), (usd, moves) in ways.items()),
        key=lambda way: way[0],
    )


# %% tags=["task-a"]
# Task a
def retention(tables, rules, tiers):
    """Return rows: table_name, jurisdiction, step, after_months, counted_from, tier, kinds, waits_for_hold."""
    ### BEGIN SOLUTION
    by_name = {t["table_name"]: t for t in tables}

    def classes_of(name):
        table = by_name[name]
        return set(tagged(table, "retention.class")).union(*(classes_of(source) for source in table["derived_from"]))

    rows = []
    for table in tables:
        classes = classes_of(table["table_name"])
        mine = [r for r in rules if r["jurisdiction"] == table["jurisdiction"] and r["data_class"] in classes]
        maxima = [r["maximum_months"] for r in mine if r["maximum_months"] is not None]
        minima = [r for r in mine if r["minimum_months"] is not None and not table["derived_from"]]
        last = max(minima, key=lambda r: r["minimum_months"], default={"minimum_months": 0})
        delete_at, counted_from = table["needed_months"], "month"
        if last["minimum_months"] > delete_at:
            delete_at = last["minimum_months"]
            counted_from = "year" if last["counts_from"] == "year end" else "month"

        # Kinds by the first and the last age at which they may go; what lives as long as the row goes with it.
        windows = {}
        limit = max(0, min(maxima) - table["span_months"]) if maxima else None
        for kind in tagged(table, "privacy.kind") if maxima else []:
            asked = max((r["minimum_months"] for r in minima if kind in r["asks_for"]), default=0)
            first, latest = max(asked, min(table["personal_needed_months"], limit)), max(asked, limit)
            if latest < delete_at:
                earliest, kinds = windows.get(latest, (0, []))
                windows[latest] = (max(earliest, first), [*kinds, kind])

        # Within its window: at an end of it, or where reads change, since the tier may change there in the same rewrite.
        marks = {r["from_age_months"] for r in table["reads"]}
        end = delete_at + (5 if counted_from == "year" else 0)
        plans = [{}]
        for latest, (first, kinds) in windows.items():
            ages = {first, latest, *(m for m in marks if first <= m <= latest)}
            plans = [{**plan, age: [*plan.get(age, []), *kinds]} for plan in plans for age in ages]
        (_, moves), strips = min(
            ((cheapest_moves(table, tiers, plan, end), plan) for plan in plans), key=lambda x: x[0]
        )

        steps = [{"step": "delete", "after_months": delete_at, "counted_from": counted_from, "waits_for_hold": True}]
        for age, kinds in strips.items():
            steps.append({"step": "anonymise", "after_months": age, "kinds": kinds, "waits_for_hold": True})
        for age, tier in moves:
            steps.append(
                {"step": "tier", "after_months": age, "tier": tier["tier"], "waits_for_hold": tier["drops_versions"]}
            )
        place = {"table_name": table["table_name"], "jurisdiction": table["jurisdiction"]}
        blank = {"counted_from": "month", "tier": None, "kinds": None}
        rows += [{**place, **blank, **step} for step in steps]
    return rows
    ### END SOLUTION


# %% tags=["nbval-check-output"]
try:
    steps = pd.DataFrame(retention(tables, rules, tiers))
    print(steps.groupby("step").after_months.agg(["count", "min", "max"]).to_string())
except TODO:
    print("not attempted yet")

# %% tags=["check-a"]
lab.check("a")

# %% [markdown]
# ## Task b: plan, carry out, certify
#
# Some tables are kept row by row. `copy_records` puts a copy of them into your scratch database; when your work is judged,
# `con` holds tables of the same names and columns with other rows.

# %%
copy_records(lab.con)
lab.con.sql("from retention_schedule").df()

# %%
lab.con.sql("from table_copies").df()

# %% [markdown]
# `retention_schedule` says for each table what goes when: its rows of that `jurisdiction` are due for the `action` from their
# **end** on. Write `plan(con, as_of)`, which changes nothing and returns the rows due on the day `as_of` (a date) as tuples
# `(rule_id, table_name, row_key)`, each once, and `carry_out(con, rule_id, work, as_of)`, which does the work of one rule.
# `apply` is given: you may leave it as it is or change it.
#
# 1. **End**: the day in `date_column` plus `period_months`; with `counts_from` `year end`, 31 December of that day's year plus
#    `period_months`. A day plus n months is the same day of the month n months later or, where there is none, the last day of
#    that month: 29 February 2024 plus 12 months is 28 February 2025. A row is due if its end is on or before `as_of`. A null
#    day has no end.
# 2. **Hold**: a row is not due while a row of `legal_holds` with its `subject_id` is in force, for a rule with the same
#    `data_class`; a hold with `data_class` null is for all rules. It is in force if `placed_on` is on or before `as_of`, and
#    `lifted_on` is null or after `as_of`. A row with `subject_id` null is never held.
# 3. **Copies**: `table_copies` names tables that repeat rows of a source table (`source_key_column` is in both; several rows
#    may repeat one). A copy's row is due under the rules of its source, by day, jurisdiction and person of its source row. Each
#    has one.
# 4. **Anonymise**: the rule's `columns` become null; a hash or a constant in their place is not anonymous. In a copy these are
#    those of the rule's columns that `table_copies.columns` names. A row is due only if one of these columns is not null in
#    this very row.
# 5. A row that is due for deletion is not in the plan for anonymisation.
#
# `row_key` is the value of `key_column`, the key of the row's own table. `work` is a dict: the row keys (a list) by table name.
# For each table in it, `carry_out` deletes or anonymises the rows with these keys and adds **a row to
# `deletion_certificates`**: `rule_id`, `table_name`, `action`, `as_of`, `row_count`, and `digest`, which is `digest_of` of its
# row keys. Rules and tables without work get no certificate. Certificates of earlier runs stay as they are.
#
# **Crashes**: the job may be killed before any of its statements or after the last one. Its connection is lost then, with its
# open transaction and temporary tables. After a kill, the work of a rule in a table is wholly done and certified, or not at
# all. The same run is started again, and tables and certificates must end as if it had run once. (Whether a copy's row is due
# is found through its source row alone: where that is gone first, nobody finds the copy any more.)
#
# When it is judged, `con` has `execute(sql, parameters)`, `begin()`, `commit()` and `rollback()`, and a result has
# `fetchall()`, `fetchone()`, `df()` and `rowcount`, as in DuckDB. A list is a good parameter: `where k in (select unnest(?))`.
#
# **Judged** (4.5 points), on fresh rows, rules and copies, at ends of months and within: the plan holds what is due and
# nothing else (1.5); `apply`, and `carry_out` alone with parts of the work (of one table or of several, more than once a
# day), leave tables and certificates as stated (1); so does `apply` after kills (1); a second run changes nothing, and a
# later run, with holds lifted and placed, adds what has become due (1).


# %% tags=["task-b"]
# Task b
def digest_of(keys):
    return sha256(",".join(str(k) for k in sorted(keys)).encode()).hexdigest()


def plan(con, as_of):
    """Return a list of (rule_id, table_name, row_key): what is due on the day `as_of`."""
    ### BEGIN SOLUTION
    schedule = con.execute("select * from retention_schedule order by action desc, rule_id").fetchall()
    copies = con.execute("select * from table_copies order by table_name").fetchall()
    found, deleted = [], set()
    for rule_id, table, key, data_class, jurisdiction, action, day, counts_from, months, columns in schedule:
        anchor = f"make_date(year(s.{day}), 12, 31)" if counts_from == "year end" else f"s.{day}"
        due = f"""
            s.jurisdiction = $jurisdiction
            and {anchor} + to_months($months) <= $as_of
            and not exists (
              from legal_holds h
              where h.subject_id = s.subject_id
                and (h.data_class is null or h.data_class = $data_class)
                and h.placed_on <= $as_of
                and (h.lifted_on is null or h.lifted_on > $as_of)
            )
        """
        values = {"jurisdiction": jurisdiction, "months": months, "as_of": as_of, "data_class": data_class}
        places = [(table, key, f"{table} s", "s", columns)]
        for copy, copy_key, source, link, personal in copies:
            if source == table:
                joined = f"{copy} c join {table} s using ({link})"
                places.append((copy, copy_key, joined, "c", [c for c in columns if c in personal]))
        for name, own_key, rows, alias, gone in places:
            filled = " or ".join(f"{alias}.{c} is not null" for c in gone) or "false"
            filled = "true" if action == "delete" else filled
            sql = f"select {alias}.{own_key} from {rows} where ({filled}) and {due}"
            for (row_key,) in con.execute(sql, values).fetchall():
                if action == "delete":
                    deleted.add((name, row_key))
                if action == "delete" or (name, row_key) not in deleted:
                    found.append((rule_id, name, row_key))
    return found
    ### END SOLUTION


def carry_out(con, rule_id, work, as_of):
    """Do the work of one rule ({table_name: [row_key, ...]}), with a certificate for each table."""
    ### BEGIN SOLUTION
    rule = "select action, columns, table_name, key_column from retention_schedule where rule_id = ?"
    action, columns, table, key = con.execute(rule, [rule_id]).fetchone()
    about = {table: (key, columns)}
    for copy, copy_key, personal in con.execute("select table_name, key_column, columns from table_copies").fetchall():
        about[copy] = (copy_key, [c for c in columns if c in personal])
    con.begin()  # rows, their copies and the evidence go together or not at all
    try:
        for name, keys in work.items():
            own_key, gone = about[name]
            change = f"delete from {name}"
            if action == "anonymise":
                change = f"update {name} set " + ", ".join(f"{c} = null" for c in gone)
            con.execute(f"{change} where {own_key} in (select unnest(?))", [keys])
            con.execute(
                "insert into deletion_certificates values (?, ?, ?, ?, ?, ?)",
                [rule_id, name, action, as_of, len(keys), digest_of(keys)],
            )
        con.commit()
    except Exception:
        con.rollback()
        raise
    ### END SOLUTION


def apply(con, as_of):
    """Plan, then carry out rule by rule."""
    by_rule = {}
    for rule_id, table_name, row_key in plan(con, as_of):
        by_rule.setdefault(rule_id, {}).setdefault(table_name, []).append(row_key)
    for rule_id in sorted(by_rule):
        carry_out(con, rule_id, by_rule[rule_id], as_of)


# %% tags=["nbval-check-output"]
copy_records(lab.con)
try:
    for _ in range(2):
        apply(lab.con, date(2026, 6, 30))
        print(lab.con.execute("select count(*), sum(row_count) from deletion_certificates").fetchall()[0])
except TODO:
    print("not attempted yet")

# %% tags=["check-b"]
lab.check("b")

# %% [markdown]
# ## Twelve weeks later
#
# Left: the bill of your policy, month by month, against today's, which keeps everything in hot for ever. Right: gigabytes with
# personal data past its maximum.

# %%
lab.twelve_weeks_later()

# %% [markdown]
# ## To take home
#
# The policy of task a is a file: one row for each step. Write beside each row which rule or whose need it comes from, and let
# somebody who knows the law read it. Keep its certificates longer than the data they speak of.
