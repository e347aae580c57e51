# %% [markdown]
# # Lab 5.3: which quality rules at ingestion and which at transformation
#
# Partner sellers send Kestrel an order file every hour. Eighteen quality rules watch the feed. Today all of them run in the
# nightly transformation, and all of them only warn. You decide where each rule runs and what it does (task a), then you
# write the two rule suites for Great Expectations and the flow of rows through quarantine (task b). 40 minutes.
#
# Change only the cells with a `TODO`.
# %% tags=["parameters"]
WORLD, SCALE = "practice-7", 0.05
# %% tags=["setup"]
import great_expectations as gx
import great_expectations.expectations as gxe

from workshop import TODO, open_lab  # noqa: F401

context = gx.get_context(mode="ephemeral")  # Great Expectations wants one before a suite can be written
lab = open_lab("5.3", world=WORLD, scale=SCALE)
# %% [markdown]
# ## The rules, the sources, and two months of findings
#
# `ops.dq_rules` has one row a rule: its scope, the sources that it reads, and what mistakes cost. `ops.dq_sources` says what
# is there when a file is ingested. `ops.dq_results` counts, day by day, what the rules flagged, and how much of it somebody
# found to be bad: the rest were good. Units are rows for a row rule and files for a file rule; `files_flagged` counts the
# files with at least one flag.
# %%
lab.con.sql("select * exclude (rule) from ops.dq_rules order by rule_id").df()
# %%
lab.con.sql("select * from ops.dq_sources")
# %%
lab.con.sql("select * from ops.dq_results order by day_on desc, rule_id limit 3")


# %% [markdown]
# ## Task a: place the rules
#
# Write `place(con)`: for each rule of `ops.dq_rules`, where it runs, how grave it is, and what it does. It is called on
# other companies too, whose sources land at other times and whose mistakes cost something else: read the tables, do not
# write rule numbers into the code.
#
# **Returns** rows with the columns
#
# | column | values |
# | --- | --- |
# | `rule_id` | each rule once |
# | `stage` | `ingestion` or `transformation` |
# | `action` | `warn`, `quarantine` (row rules only: the flagged rows wait) or `block` (any rule: the whole file waits) |
# | `severity` | `critical` if the action holds anything back, `warning` if it does not |
#
# **Stage.** A rule belongs to the earliest stage at which all its inputs are there. At ingestion those are the sources
# that land *with the file* or *before* it. At transformation everything is there. A rule that runs too early takes every
# row whose counterpart has not landed yet for a bad one (for a file rule: every file).
#
# **Action.** The one with the least expected cost. Costs of a rule over a period, in US dollars:
#
# | action | cost |
# | --- | --- |
# | `warn` | bad rows x `harm_usd` |
# | `quarantine` | flagged rows x `review_usd` + good flagged rows x `delay_usd` + bad rows x `fix_at_..._usd` of its stage |
# | `block` | flagged files x `review_usd` + good rows in flagged files x `delay_usd` + bad rows x `fix_at_..._usd` |
#
# In a file that a *file* rule flags, all rows are bad if the flag was confirmed, and all are good if it was not. Count a file
# as `rows_landed / files` rows. History is a fair guide: rates after today are those before it.
#
# **Judged** on this company and on four others. The stage of every rule. And the cost of your actions over the 84 days after
# today: *best* is the cheapest policy that knows the same history, *all* holds back everything at transformation (quarantine
# for row rules, block for file rules); yours - best may be at most 5% of all - best.
# %% tags=["task-a"]
def place(con):
    """Stage, action and severity of each rule.

    con: DuckDB connection with ops.dq_rules, ops.dq_sources and ops.dq_results.
    Returns rows: rule_id, stage, action, severity.
    """
    ### BEGIN SOLUTION
    return con.execute(
        """
        with
        early as (
          -- A rule can run at ingestion if none of its inputs lands after the file.
          select
            rule_id,
            bool_and(s.lands <> 'after') as is_early
          from (select rule_id, unnest(inputs) as source from ops.dq_rules) i
          join ops.dq_sources s using (source)
          group by rule_id
        ),
        seen as (
          select
            rule_id,
            sum(units_flagged) as flagged,
            sum(units_confirmed) as bad,
            sum(files_flagged) as files_flagged,
            sum(rows_landed) / sum(files) as rows_per_file
          from ops.dq_results
          group by rule_id
        ),
        priced as (
          select
            r.rule_id,
            r.scope,
            case when e.is_early then 'ingestion' else 'transformation' end as stage,
            case when e.is_early then r.fix_at_ingestion_usd else r.fix_at_transformation_usd end as fix_usd,
            case r.scope when 'row' then s.bad else s.bad * s.rows_per_file end as bad_rows,
            r.harm_usd,
            r.review_usd,
            r.delay_usd,
            s.*
          from ops.dq_rules r
          join early e using (rule_id)
          join seen s using (rule_id)
        ),
        costs as (
          select
            rule_id,
            stage,
            bad_rows * harm_usd as warn_usd,
            case scope when 'row' then flagged * review_usd + (flagged - bad) * delay_usd + bad * fix_usd end as quarantine_usd,
            files_flagged * review_usd + (files_flagged * rows_per_file - bad_rows) * delay_usd + bad_rows * fix_usd as block_usd
          from priced
        )
        select
          rule_id,
          stage,
          case
            when warn_usd <= least(coalesce(quarantine_usd, warn_usd), block_usd) then 'warn'
            when quarantine_usd <= block_usd then 'quarantine'
            else 'block'
          end as action,
          case when action = 'warn' then 'warning' else 'critical' end as severity
        from costs
        order by rule_id
        """
    ).df()
    ### END SOLUTION


# %% tags=["check-a"]
lab.check("a")
# %% tags=["nbval-check-output"]
lab.preview(place, lab.con)


# %% [markdown]
# ## Task b: two suites, and a quarantine that loses nothing
#
# The kit runs your suites and hands over what they flag. You write the rules and what happens to the rows.
#
# **At ingestion** a batch is a file of `raw.order_feed`, with its columns. What must hold:
#
# 1. `order_id` is there.
# 2. `order_ref` is `KM-` and seven digits, nothing more. (It is never null.)
# 3. `currency` is there and is one of EUR, PLN, USD, CAD, MXN, JPY, AUD.
# 4. `total_amount` is there and above zero.
# 5. The order is not of a later day than the file: `ordered_on` is at most `landed_on`.
# 6. More than 12 items (`item_count`) is unusual, not wrong: a warning. Everything else is critical.
#
# **At transformation** the rows have been joined, and three columns have come: `known_customer_id` (null if there is no such
# customer), `paid_amount` and `paid_currency` (null as long as no payment has come, which is no fault). What must hold,
# all of it critical:
#
# 7. The customer is known.
# 8. `paid_amount` equals `total_amount`.
# 9. `paid_currency` equals `currency`.
#
# Write `ingestion_suite()` and `transformation_suite()`: each returns a Great Expectations `ExpectationSuite` (or its JSON as a
# dict). Give `severity="warning"` to what only warns; `critical` is the default. An expectation that flags rows flags
# those that somebody will have to look at: mind what it does with nulls, and what `ignore_row_if` says about pairs
# (`help(gxe.ExpectColumnPairValuesToBeEqual)` lists the arguments). Batches are pandas frames here; row conditions and SQL
# queries are not run.
#
# The flow works on a database of its own, through a `con` that has `execute(sql, parameters)`, `begin()`, `commit()` and
# `rollback()`. Its tables:
#
# ```sql
# landing    (file_id varchar, record_no integer, order_id bigint, currency varchar, total_amount decimal(14, 2))
# orders     (file_id varchar, record_no integer, order_id bigint, currency varchar, total_amount decimal(14, 2))
# quarantine (file_id varchar, record_no integer, order_id bigint, currency varchar, total_amount decimal(14, 2), rules varchar)
# ```
#
# - `admit(con, file_id, flagged)`: the rows of the file in `landing` go into `orders`, the flagged ones into `quarantine`; they
#   may stay in `landing`. Other files lie there too, with record numbers from 1 of their own.
#   `flagged` is a list of dicts with `record_no` and `rules` (text such as `"2,4"`), to be kept beside the row.
# - `release(con, file_id, fixed, flagged)`: rows that came back mended. `fixed` is a list of dicts with `record_no`, `order_id`,
#   `currency`, `total_amount`; `flagged` names those of them that still break a rule, as above. Mended rows that pass leave the
#   quarantine for `orders`, with their mended values. Those that do not pass stay as they were, with their new `rules`.
#   Rows that did not come back stay as they are.
#
# **Judged.** Suites: on fresh rows with planted faults of every kind, run by Great Expectations itself: every fault flagged
# at its stage, no good row flagged as critical, at most 14 cells a row read at ingestion and 8 at transformation (a cell is a
# column that an expectation names, times the rows). Flow: no row lost or doubled, each row in one place, other files left
# alone; run twice, or killed before any of its statements and run again, the result is the same, and so it is when `admit`
# is run once more after a release.
# %% tags=["task-b"]
def ingestion_suite():
    """The Great Expectations suite for a file as it lands."""
    ### BEGIN SOLUTION
    suite = gx.ExpectationSuite(name="order_feed_ingestion")
    for expectation in (
        gxe.ExpectColumnValuesToNotBeNull(column="order_id"),
        gxe.ExpectColumnValuesToMatchRegex(column="order_ref", regex=r"^KM-[0-9]{7}$"),
        gxe.ExpectColumnValuesToNotBeNull(column="currency"),
        gxe.ExpectColumnValuesToBeInSet(column="currency", value_set=["EUR", "PLN", "USD", "CAD", "MXN", "JPY", "AUD"]),
        gxe.ExpectColumnValuesToNotBeNull(column="total_amount"),
        gxe.ExpectColumnValuesToBeBetween(column="total_amount", min_value=0, strict_min=True),
        gxe.ExpectColumnPairValuesAToBeGreaterThanB(column_A="landed_on", column_B="ordered_on", or_equal=True),
        gxe.ExpectColumnValuesToBeBetween(column="item_count", max_value=12, severity="warning"),
    ):
        suite.add_expectation(expectation)
    return suite
    ### END SOLUTION


def transformation_suite():
    """The Great Expectations suite for the joined rows."""
    ### BEGIN SOLUTION
    suite = gx.ExpectationSuite(name="order_feed_transformation")
    late = "either_value_is_missing"  # a payment that has not come is no fault
    for expectation in (
        gxe.ExpectColumnValuesToNotBeNull(column="known_customer_id"),
        gxe.ExpectColumnPairValuesToBeEqual(column_A="total_amount", column_B="paid_amount", ignore_row_if=late),
        gxe.ExpectColumnPairValuesToBeEqual(column_A="currency", column_B="paid_currency", ignore_row_if=late),
    ):
        suite.add_expectation(expectation)
    return suite
    ### END SOLUTION


def admit(con, file_id, flagged):
    """Moves a landed file on: good rows to orders, flagged ones to quarantine with their rules."""
    ### BEGIN SOLUTION
    con.begin()
    # What an earlier run has done with the file is taken back first, so that running again changes nothing. Rows that
    # have been mended since are in orders under their record number, and stay.
    for row in flagged:
        con.execute(
            """
            insert into quarantine
            select l.*, ? from landing l
            where file_id = ? and record_no = ?
              and not exists (select 1 from quarantine q where q.file_id = l.file_id and q.record_no = l.record_no)
              and not exists (select 1 from orders o where o.file_id = l.file_id and o.record_no = l.record_no)
            """,
            [row["rules"], file_id, row["record_no"]],
        )
    con.execute(
        """
        insert into orders
        select * from landing l
        where file_id = ?
          and not exists (select 1 from quarantine q where q.file_id = l.file_id and q.record_no = l.record_no)
          and not exists (select 1 from orders o where o.file_id = l.file_id and o.record_no = l.record_no)
        """,
        [file_id],
    )
    con.commit()
    ### END SOLUTION


def release(con, file_id, fixed, flagged):
    """Mended rows that pass go from quarantine to orders; the others stay."""
    ### BEGIN SOLUTION
    still = {row["record_no"]: row["rules"] for row in flagged}
    con.begin()
    for row in fixed:
        key = [file_id, row["record_no"]]
        if row["record_no"] in still:
            con.execute(
                "update quarantine set rules = ? where file_id = ? and record_no = ?", [still[row["record_no"]], *key]
            )
            continue
        con.execute(
            """
            insert into orders
            select file_id, record_no, ?, ?, ? from quarantine
            where file_id = ? and record_no = ?
            """,
            [row["order_id"], row["currency"], row["total_amount"], *key],
        )
        con.execute("delete from quarantine where file_id = ? and record_no = ?", key)
    con.commit()
    ### END SOLUTION


# %% tags=["check-b"]
lab.check("b")
# %% [markdown]
# ## Twelve weeks later
#
# Your placement, the one Kestrel has today (all at transformation, all warnings) and one that holds back everything, run
# through the twelve weeks after today.
# %%
lab.twelve_weeks_later()
# %% [markdown]
# **Take home**: a placement policy computed from costs and history, two suites that run in any Great Expectations project,
# and a quarantine flow that may be killed and run again. Next: 5.8 samples the checks that are too dear to run in full.
