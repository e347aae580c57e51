# %% [markdown]
# # Lab 2.8: development on masked production data
#
# Kestrel's developers test against production, as nothing else has the data that breaks their programs. You give them what
# they need of it, and no more. You decide which mask each kind of personal data gets in four environments (task a), and build
# the schema of masked views that developers use instead of the tables (task b). Two tasks, about 50 minutes. Lesson 2.8 has
# the background.
#
# You change the two cells that begin with `# Task`; what you need besides goes into the same cells. When your work is graded,
# it runs on other worlds: other names of columns, other needs, other policies, other keys.

# %% tags=["parameters"]
WORLD, SCALE = "practice-7", 0.05

# %% tags=["setup"]
from workshop import TODO, open_lab
from workshop.masking import FIXED, register

lab = open_lab("2.8", world=WORLD, scale=SCALE)

# %% [markdown]
# ## The tables
#
# The estate is what `ops.tables` lists: twenty tables in `core`, `raw`, `mart` and `ml`. Their columns are in `ops.columns`;
# the tags of topic 2.1 are in `ops.column_tags`. A tag `privacy.class:` says `direct`, `quasi` or `none`; columns of the first
# two have a `privacy.kind:` besides.

# %%
lab.con.sql("""
    select
      t.asset_id, t.table_schema, t.table_name, c.column_no, c.column_name, c.data_type,
      string_agg(g.tag, ', ' order by g.tag) as tags
    from ops.columns c
    join ops.tables t using (asset_id)
    join ops.column_tags g using (asset_id, column_name)
    where g.tag not like '%:none'
    group by all order by t.asset_id, c.column_no
    limit 12
""").df()

# %% [markdown]
# ## The masks
#
# | mask | what comes out |
# | --- | --- |
# | `keep` | the value |
# | `withhold` | null |
# | `fixed` | one value of the right shape for all: `FIXED` of `workshop.masking`, for each direct kind but `free_text` |
# | `partial` | `*` for each character but the last four |
# | `generalise` | of `birth_date` the first day of its decade, of `birth_year` its first year, of `postcode` one character |
# | `hash` | SHA-256 of the value, 64 hexadecimal digits, without a key |
# | `keyed` | HMAC-SHA256 under the environment's key, 32 hexadecimal digits |
# | `keyed_format` | the same in the kind's shape: an e-mail address, a phone number, else other digits (letters stay) |
#
# Null stays null, and no policy of task b puts `keyed` or `keyed_format` on what is no text, or `keyed_format` on names and
# addresses, whose letters it would leave; `generalise` leaves all other kinds as they are (1984-07-22 becomes 1980-01-01,
# 1984 becomes 1980). The query gateway has functions in SQL that know the keys: `keyed(environment, value)`,
# `keyed_email(environment, value)`, `keyed_phone(environment, value)` and `keyed_shape(environment, value)`; the last three
# are `keyed_format` for `email`, for `phone` and for all other kinds. They take and return VARCHAR. This cell makes them
# callable on `lab.con`, with keys for practice:

# %%
KEYS = {"dev": "9f2c6d10aa41", "test": "51be07c3d288", "analytics": "c7730e9b16f5", "training": "08d4a6e2b39c"}
register(lab.con, KEYS)
lab.con.sql("""
    select
      keyed('dev', 'mia@mail.example') as as_keyed,
      keyed_email('dev', 'mia@mail.example') as as_email,
      keyed_shape('dev', 'DE12 34') as as_shape
""")

# %% [markdown]
# ## Task a: the mask of each kind in each environment
#
# Change: the body of `masks`. It gets the rows of `ops.environment_needs` (list of dicts with `environment`, `kind`, `team_id`,
# `need`) and returns rows with `environment`, `kind` and `mask`: one for each of the four environments and each of the ten
# direct kinds (`person_name`, `email`, `phone`, `postal_address`, `birth_date`, `national_id`, `bank_account`, `card_number`,
# `ip_address`, `free_text`). Several teams may need something of one kind; kinds that nobody needs anything of have no row.
#
# | need | is met when |
# | --- | --- |
# | `join` | equal values give equal masked values in the environment, and others others (one in a hundred may fall together) |
# | `shape` | programs take it: an e-mail address, `+` and digits, an IBAN, 16 digits, a date; otherwise text |
# | `last four` | its last four characters are those of the value |
# | `decade` | its decade is that of the date |
#
# What users of an environment can find out of it, beyond their needs, is too much: the value itself; a value that they guess
# and whose hash they compute without a key; whether two rows are the same person's (two values are equal just where the raw
# ones are) where nobody needs to join; the last four characters, or the decade of birth, where nobody needs them.

# %%
lab.con.sql("from ops.environment_needs order by environment, kind, need").df().head(10)

# %% [markdown]
# **Judged** (3 points), on the needs of six drawn companies and values of this world: all needs are met (1.5), and nobody can
# find out more than they need (1.5). Each counts only while the other holds for half of what it is about. What no mask could
# meet is not drawn: no join with last four, no join of dates, no join and shape of names or addresses, nothing of texts.


# %% tags=["task-a"]
# Task a
def masks(needs):
    """Returns rows with environment, kind and mask, for four environments and ten direct kinds."""
    ### BEGIN SOLUTION
    environments = ("dev", "test", "analytics", "training")
    kinds = [*FIXED, "free_text"]
    rows = []
    for environment in environments:
        for kind in kinds:
            need = {n["need"] for n in needs if n["environment"] == environment and n["kind"] == kind}
            if not need:
                mask = "withhold"
            elif "join" in need:
                mask = "keyed_format" if "shape" in need else "keyed"
            elif "decade" in need:
                mask = "generalise"  # a date still, so it has the shape
            elif "last four" in need:
                mask = "partial"
            else:
                mask = "fixed"
            rows.append({"environment": environment, "kind": kind, "mask": mask})
    return rows
    ### END SOLUTION


# %% tags=["nbval-check-output"]
try:
    print(len(masks(lab.rows("from ops.environment_needs order by environment, kind, need"))), "masks")
except TODO:
    print("not attempted yet")

# %% tags=["check-a"]
lab.check("a")

# %% [markdown]
# ## Task b: a schema that developers can use unchanged
#
# Change: the body of `masked_views`. It gets
#
# * `con`: a connection with `execute`, on which the gateway's functions are there;
# * `policy`: list of dicts with `environment`, `kind`, `mask`, for direct and quasi kinds; none of the masks is `hash`. A kind
#   without a row for the environment is withheld;
# * `environment`: `"dev"`, for example: the name of the schema to make, and the first argument of the gateway's functions;
# * `key`: the environment's key, a text, for tools outside of the database. The gateway has it already.
#
# What it returns is not used. It makes, in a schema with the environment's name in the connection's own database, **a view for
# each table of the estate**, with the table's name (names are unique over the schemas) and its columns under their names and
# with their types:
#
# 1. Columns tagged `privacy.class:none` as they are. Columns tagged `direct` or `quasi` under the mask of their kind.
#    Columns without a `privacy.class` tag **do not appear**: nobody has said yet what is in them.
# 2. A view, not a copy: rows that are added to a table later appear.
# 3. It is called again, on the same connection, when columns, tables or tags were added or the policy changed, and the schema
#    is as it should be then. No change of your code may be needed for a column that did not exist when you wrote it.
# 4. Nobody who may read the schema finds the key: not in the text of a view, a macro, a variable or a table.
#
# The tables lie in an attached database here and in the connection's own when it is judged: name them by schema and name. A
# name of a column may be anything: quote it. Read tables and tags from `ops.tables` (`table_schema`, `table_name`),
# `ops.columns` and `ops.column_tags` through `con`. To try: `masked_views(lab.con, POLICY, "dev", KEYS["dev"])` with this
# policy for `dev`:

# %%
POLICY = [
    {"environment": "dev", "kind": kind, "mask": mask}
    for kind, mask in {
        "person_name": "keyed", "email": "keyed_format", "phone": "keyed_format", "bank_account": "keyed_format",
        "birth_date": "generalise", "birth_year": "generalise", "birth_decade": "keep", "country": "keep",
        "card_number": "fixed", "city": "withhold", "postcode": "withhold",
    }.items()
]  # fmt: skip

# %% [markdown]
# **Judged** (7 points), for `dev` and another environment, on this world and a smaller one:
#
# * each column shows, row by row and in the table's order, what its mask leaves, and columns tagged `none` what the table has;
#   besides a view for each table nothing stands in the schema: no other view, table, macro or type, and no comment (2);
# * tables, columns and types are those of the estate; where the mask of `email`, `phone` or `person_name` is a keyed one, the
#   number of different values of each column, and of those that two columns have in common, is that of the tables; where it is
#   `keyed_format` or `fixed`, values of `email`, `phone`, `bank_account` and `card_number` have the shape (1.5);
# * five reports of `dev` are within 5% of those on the tables: customers by country; customers by decade of birth
#   (`core.customers`); mean `orders_90d` by decade of the year of birth (`mart.active_customers`); different recipients
#   (`email`) by template (`mart.campaign_responses`); accounts (`bank_account`) with more than one payout
#   (`mart.payout_accounts`) (1);
# * of `customers`, less than 0.5% are re-identified by joining `share.public_people` on what is visible of country, city,
#   postcode and birth; and no hash of a known address or number is found in the schema (1);
# * columns and a table that are added afterwards appear masked if they are tagged, and do not if they are not; added rows
#   appear (1);
# * the key is nowhere, and the same person has other masked values in the other environment (0.5).


# %% tags=["task-b"]
# Task b
def masked_views(con, policy, environment, key):
    """Makes the schema ``environment`` with a masked view for each table of the estate."""
    ### BEGIN SOLUTION
    rules = {r["kind"]: r["mask"] for r in policy if r["environment"] == environment}

    def quoted(name):
        return '"' + name.replace('"', '""') + '"'

    def expression(column, of, kind):
        mask = rules.get(kind, "withhold")
        name = quoted(column)
        if mask == "keep":
            return name
        if mask == "fixed" and kind in FIXED:
            return f"case when {name} is not null then '{FIXED[kind]}' end::{of}"
        if mask == "partial":
            return f"repeat('*', greatest(len({name}) - 4, 0)::integer) || right({name}, 4)"
        if mask == "generalise":
            return {
                "birth_date": f"make_date(year({name})::integer // 10 * 10, 1, 1)",
                "birth_year": f"({name} // 10 * 10)::{of}",
                "postcode": f"left({name}, 1)",
            }.get(kind, name)
        if mask == "keyed":
            return f"keyed('{environment}', {name})"
        if mask == "keyed_format":
            function = {"email": "keyed_email", "phone": "keyed_phone"}.get(kind, "keyed_shape")
            return f"{function}('{environment}', {name})"
        return f"null::{of}"

    # One row for each column: its class, and its kind where it has one.
    columns = con.execute("""
        select
          t.table_schema, t.table_name, c.column_name, c.data_type, t.asset_id, c.column_no,
          max(split_part(g.tag, ':', 2)) filter (g.tag like 'privacy.class:%') as class,
          max(split_part(g.tag, ':', 2)) filter (g.tag like 'privacy.kind:%') as kind
        from ops.tables t
        join ops.columns c using (asset_id)
        join ops.column_tags g using (asset_id, column_name)
        group by all
        having class is not null
        order by t.asset_id, c.column_no
    """).fetchall()
    views = {}
    for schema, table, column, of, _, _, cls, kind in columns:
        shown = quoted(column) if cls == "none" else expression(column, of, kind)
        views.setdefault((schema, table), []).append(f"{shown} as {quoted(column)}")
    con.execute(f"create schema if not exists {quoted(environment)}")
    for (schema, table), shown in views.items():
        con.execute(f"""
            create or replace view {quoted(environment)}.{quoted(table)} as
            select {", ".join(shown)} from {quoted(schema)}.{quoted(table)}
        """)
    ### END SOLUTION


# %% tags=["nbval-check-output"]
try:
    masked_views(lab.con, POLICY, "dev", KEYS["dev"])
    print(len(lab.rows("from duckdb_views() where schema_name = 'dev'")), "views")
except TODO:
    print("not attempted yet")

# %% tags=["check-b"]
lab.check("b")

# %% [markdown]
# ## Twelve weeks later
#
# Somebody buys the list of people and joins it with a copy of the developers' schema. How many customers have a name again?

# %%
lab.twelve_weeks_later()

# %% [markdown]
# ## To take home
#
# A table of masks with the need behind each, and a function that makes a masked schema from tags. Whoever adds a column adds a
# tag, or nobody sees it.
