# %% [markdown]
# # Lesson 2.8: Development on masked production data
#
# The head of storefront asks: "Our tests pass on the data that we made up, and fail on the first real customer with two
# surnames. I want production data in development. Legal says no, since a laptop gets lost every month. Is there something
# between the two?"
#
# You will see what a hash is worth without a key, why masked names do not make a table anonymous, what each mask destroys,
# and where a key must not stand. You take away a way to measure how many people can be found again.

# %%
import hashlib
import time

import numpy as np
import pandas as pd

from workshop import open_lesson
from workshop.masking import keyed, keyed_email
from workshop.plots import plt, show

con = open_lesson("2.8")
con.sql("select customer_id, full_name, email, phone, city, postcode, birth_on from core.customers limit 4").df()

# %% [markdown]
# ## A hash is no mask
#
# The first idea that everybody has: hash it. Nobody can compute a date of birth or a phone number from its SHA-256. That is
# true, and no help, since nobody has to compute it backwards. Here are the dates of birth of all customers, hashed. The
# attacker has no list of customers. He hashes every day of a century.

# %%
births = con.sql("select birth_on from core.customers").df().birth_on.dt.strftime("%Y-%m-%d")
stolen = {hashlib.sha256(b.encode()).hexdigest() for b in births}
days = pd.date_range("1920-01-01", "2019-12-31").strftime("%Y-%m-%d")
began = time.perf_counter()
back = {hashlib.sha256(d.encode()).hexdigest(): d for d in days}
per_second = len(days) / (time.perf_counter() - began)
print(f"{len(days):,} tries, {len(stolen & set(back)):,} of {len(stolen):,} different dates found")
print("more than 100,000 tries a second:", per_second > 100_000)

# %% [markdown]
# All of them, in the blink of an eye. German phone numbers here have `+49` and ten digits, the first from 1 to 8: eight
# billion. That takes a plain Python loop a few hours, and a graphics card a second. A hash only respells what has so few
# possible values. It takes something that the attacker does not have: a **key**. HMAC (RFC 2104) is a hash with a key in it.
# Who has no key cannot try.

# %%
key = "a key that only the gateway has"
masked_births = {keyed(key, b) for b in births}
print("found again without the key:", len(masked_births & {keyed("a guess", d) for d in days}))
a = con.sql("select email from core.customers").df().email
print("different e-mail addresses:", a.nunique(), "raw,", a.map(lambda v: keyed_email(key, v)).nunique(), "masked")

# %% [markdown]
# Equal values stay equal, so programs join and count as before. That is the use of it, and its price: two rows of one person
# are still two rows of one person. The law calls this a **pseudonym**, and it is personal data (GDPR, Article 4).
#
# ## Names are not what identifies
#
# So the names, addresses and numbers are keyed. Town, postcode and date of birth stay, as reports need them.
# `share.public_people` is a list that anybody can buy: members of clubs, say, with name, postcode and date of birth. About
# four in ten customers are on it, and as many strangers.
#
# **Predict before you run it.** Joined on town, postcode and date of birth, how many customers of the masked table get a name
# again? (a) almost none, all names are masked; (b) one in twenty, those who live in villages; (c) nearly all that are on the
# list.

# %%
linked = con.sql("""
    with masked as (select customer_id, country_code, city, postcode, birth_on from core.customers),
    matches as (
      select m.customer_id, p.full_name, count(*) over (partition by p.list_no) as candidates
      from masked m join share.public_people p using (country_code, city, postcode, birth_on)
    )
    select
      count(*) filter (m.full_name = c.full_name) as named_rightly,
      count(*) as named,
      (select count(*) from core.customers) as customers,
      (
        select count(*) from core.customers c
        where exists (
          from share.public_people p where p.full_name = c.full_name and p.postcode = c.postcode and p.birth_on = c.birth_on
        )
      ) as customers_on_the_list
    from matches m join core.customers c using (customer_id)
    where m.candidates = 1
""").df()
linked

# %% [markdown]
# <details><summary>The answer</summary>
#
# (c). Whoever is on the list and shares postcode and birthday with nobody else has a name again, and that is nearly
# everybody. No mask was broken.
#
# </details>
#
# Columns of this kind are **quasi-identifiers**: each is shared by many, together they name one. What counts is how many
# customers share a combination. The next cell makes both coarser, step by step, and measures who stands alone.

# %%
birth = {
    "day": "birth_on",
    "month": "date_trunc('month', birth_on)",
    "year": "year(birth_on)",
    "decade": "year(birth_on) // 10",
    "nothing": "0",
}
places = {
    "postcode": "country_code || postcode",
    "one digit": "country_code || postcode[1]",
    "city": "city",
    "country": "country_code",
}
alone = pd.DataFrame(
    {
        place: [
            con.sql(f"""
                with groups as (select {p} as p, {b} as b, count(*) as n from core.customers group by all)
                select sum(n) filter (n = 1) / sum(n) from groups
            """).fetchall()[0][0]
            or 0.0
            for b in birth.values()
        ]
        for place, p in places.items()
    },
    index=list(birth),
)
figure, ax = plt.subplots(figsize=(6.4, 3.2))
ax.grid(False)
ax.imshow(alone, cmap="Oranges", vmin=0, vmax=1, aspect="auto")
for i, j in np.ndindex(alone.shape):
    value = alone.iloc[i, j]
    ax.text(j, i, f"{value:.1%}", ha="center", va="center", color="white" if value > 0.7 else "black", fontsize=9)
ax.set_xticks(range(len(places)), list(places))
ax.set_yticks(range(len(birth)), [f"birth: {b}" for b in birth])
ax.set_title("Who stands alone: day and postcode name nearly everybody")
show(
    figure,
    "Share of customers alone in their combination of place and birth, from postcode and day to country and nothing",
)

# %% [markdown]
# Few customers share a postcode: with 9,000 of them in eleven countries it alone names most. Coarse enough is further down
# than most people think. Month of birth and city still leave most customers alone. Decade and country hardly leave anybody.
# And Kestrel has thousands of customers here; with a hundred, the same decade and country would be one person.
#
# ## What each mask destroys
#
# Which mask is right follows from what somebody does with the column. Five masks on two columns, and what is left of three
# uses:

# %%
people = con.sql("select email, birth_on from core.customers limit 4000").df()
rng = np.random.default_rng(1)
masks = {
    "null": [None] * len(people),
    "one fixed value": ["someone@masked.example"] * len(people),
    "random": [f"u{n}@masked.example" for n in rng.integers(1e12, size=len(people))],
    "keyed hash": [keyed(key, v) for v in people.email],
    "keyed, with shape": [keyed_email(key, v) for v in people.email],
}
again = {"random": [f"u{n}@masked.example" for n in rng.integers(1e12, size=len(people))]}
uses = []
for name, values in masks.items():
    series = pd.Series(values, dtype="object")
    uses.append(
        {
            "mask": name,
            "counts of different values": series.nunique() == people.email.nunique(),
            "equal values stay equal": list(series) == list(again.get(name, series)) and series.nunique() > 1,
            "programs accept it": bool(series.astype("str").str.fullmatch(r"\S+@\S+\.\S+").all()),
        }
    )
pd.DataFrame(uses).set_index("mask").replace({True: "yes", False: "no"})

# %% [markdown]
# No row is best. A test that sends mails needs the shape and nothing else, so one fixed value will do, and nobody can be
# followed. A report that counts customers needs equality, and a keyed hash gives it. That has a price: where equal values stay
# equal, joins work, and so does following one person from table to table.
#
# ## Where a key must not stand
#
# A mask lives in a view, so that it is computed when somebody reads. Somebody who may read a view may read its text.

# %%
con.execute("create or replace view leaky as select sha256('0c1fd9ab' || email) as email from core.customers")
con.sql("select view_name, sql from duckdb_views() where view_name = 'leaky'").df().sql[0]

# %% [markdown]
# The key is in the catalogue, for everybody. So the view must call something that has the key. In this workshop the query
# gateway registers functions (`keyed('dev', email)` and others), and the key stays in the gateway's process. Each environment
# has a key of its own: with one for all, whoever has two environments can join them.
#
# ## What no mask of columns sees
#
# Customers write into text fields. Messages in which an e-mail address of a customer stands, after all columns of addresses
# are masked:

# %%
texts = con.sql("select message from raw.support_tickets").df().message
stands = texts.str.extract(r"(\S+@(?!kestrel)\S+\.example)")[0].dropna()
print(f"{len(stands)} of {len(texts)} messages; {stands.isin(set(a)).mean():.0%} of the addresses are customers' own")

# %% [markdown]
# Rules that find and replace such places miss some, and one is enough. Where a text is not needed, it is withheld.
#
# ## When this does not hold
#
# - Pseudonyms protect against those who have no key. Kestrel itself has it, so for Kestrel all of this stays personal data.
# - Being alone is one risk. If all thirty people of a group are in the same campaign, whoever knows one of them knows that,
#   too.
# - Made-up data needs no mask. Where it will do, it is better: it can be handed to anybody.
# - Masks on reading cost time at each read: a keyed hash some microseconds a value. For a nightly load of test data, compute
#   once.
#
# **In practice.** Snowflake has masking policies that a tag carries to each column, Databricks Unity Catalog column masks and
# row filters, BigQuery policy tags with data masking, PostgreSQL the extension *anonymizer*. All of them evaluate a function
# as somebody who may see more than the reader, which is what keeps the key out of reach.
#
# ## Recap
#
# There is something between real and made-up data. What identifies directly gets the mask that keeps what is needed of it:
# keyed where programs join, fixed where they only validate, nothing where nobody asks. What identifies together gets so
# coarse that nobody stands alone, measured, not guessed. The key is where the reader is not.
#
# **Take home:** the table of who stands alone, on your own customers. It takes one query for each cell.
#
# **Read on**
#
# - Latanya Sweeney, *Simple Demographics Often Identify People Uniquely*, Carnegie Mellon University, 2000.
# - ENISA, *Pseudonymisation techniques and best practices*, 2019.
# - RFC 2104, *HMAC: Keyed-Hashing for Message Authentication*, 1997.
#
# Now lab 2.8: four environments, twenty tables, and somebody who has bought the list.
