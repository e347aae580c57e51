# subject: masking
# needs: column_tags
# makes: ops.environment_needs, share.public_people
"""What teams need of each kind of personal data in four environments, and a list that anybody can buy: names with town, postcode
and date of birth, half of them customers."""

import duckdb
import numpy as np
import pandas as pd

from workshop.masking import ENVIRONMENTS
from workshop.sim import streams
from workshop.world.seeds import derive_seed

DIRECT = ("person_name", "email", "phone", "postal_address", "birth_date", "national_id", "bank_account", "card_number",
          "ip_address", "free_text")  # fmt: skip
# What may be needed of a kind, and how often.
POSSIBLE = {
    "person_name": ("join", "shape"),
    "email": ("join", "shape", "join and shape"),
    "phone": ("join", "shape", "join and shape", "last four"),
    "postal_address": ("shape",),
    "birth_date": ("decade", "shape", "decade and shape"),
    "national_id": ("join", "shape"),
    "bank_account": ("join", "shape", "join and shape", "last four"),
    "card_number": ("shape", "join and shape", "last four"),
    "ip_address": ("join", "shape"),
}
NEEDED_SHARE = 0.7
MASK_FOR = {
    ("join",): "keyed",
    ("shape",): "fixed",
    ("join", "shape"): "keyed_format",
    ("last four",): "partial",
    ("decade",): "generalise",
    ("decade", "shape"): "generalise",
}
QUASI = {
    "city": "withhold",
    "postcode": "withhold",
    "country": "keep",
    "birth_year": "generalise",
    "birth_decade": "keep",
}
# Developers' programs join by address and number, and validate them; their reports are by age.
DEV = {"email": "join and shape", "phone": "join and shape", "birth_date": "decade", "person_name": "join",
       "card_number": "shape", "bank_account": "join and shape"}  # fmt: skip
LISTED_SHARE = 0.4

COMMENTS = """
comment on table ops.environment_needs is 'What teams need of a kind of personal data in an environment; no row: nothing.';
comment on column ops.environment_needs.environment is 'dev, test, analytics or training.';
comment on column ops.environment_needs.kind is 'Value of privacy.kind in ops.column_tags.';
comment on column ops.environment_needs.need is
  'join: equal values stay equal; shape: programs validate it; last four: people read its last four characters; decade: in which
  decade somebody was born.';
comment on column ops.environment_needs.team_id is 'Who needs it; references ops.teams.';
comment on table share.public_people is 'A list that anybody can buy: people with town, postcode and date of birth.';
comment on column share.public_people.list_no is 'Place in the list.';
comment on column share.public_people.full_name is 'Name.';
comment on column share.public_people.country_code is 'Country; references core.countries.';
comment on column share.public_people.city is 'Town.';
comment on column share.public_people.postcode is 'Postal code.';
comment on column share.public_people.birth_on is 'Date of birth.';
"""


def draw_needs(rng: np.random.Generator) -> list[dict]:
    """Needs of the four environments, rows of ops.environment_needs."""
    rows = []
    for environment in ENVIRONMENTS:
        for kind, possible in POSSIBLE.items():
            need = possible[int(rng.integers(len(possible)))]
            wanted = rng.random() < NEEDED_SHARE
            if environment == "dev":
                need, wanted = DEV.get(kind), kind in DEV
            teams = rng.permutation(30)[:2] + 1
            for k, part in enumerate(need.split(" and ") if wanted else ()):
                rows.append({"environment": environment, "kind": kind, "team_id": int(teams[k]), "need": part})
    return rows


def policy_for(needs: list[dict]) -> list[dict]:
    """The least that meets all needs of a kind: rows with environment, kind and mask."""
    wanted: dict[tuple[str, str], set[str]] = {}
    for n in needs:
        wanted.setdefault((n["environment"], n["kind"]), set()).add(n["need"])
    rows = []
    for environment in ENVIRONMENTS:
        for kind in DIRECT:
            need = tuple(sorted(wanted.get((environment, kind), ())))
            rows.append({"environment": environment, "kind": kind, "mask": MASK_FOR[need] if need else "withhold"})
        rows += [{"environment": environment, "kind": kind, "mask": mask} for kind, mask in QUASI.items()]
    return rows


def build(con: duckdb.DuckDBPyConnection, seed: bytes, scale: float) -> None:
    """Writes the two tables."""
    needs = draw_needs(streams(derive_seed(seed, "world/masking"), "needs"))
    con.register("needs", pd.DataFrame(needs))
    con.execute("create table ops.environment_needs as from needs order by environment, kind, need")
    con.unregister("needs")
    # Strangers: names and towns of customers, put together otherwise.
    con.execute(f"""
create table share.public_people as
with
numbered as (
  select
    *,
    row_number() over (order by customer_id) as no,
    count(*) over () as n
  from core.customers
),
listed as (
  select full_name, country_code, city, postcode, birth_on, draw('public_people', customer_id) as x
  from numbered
  where u(hidden_draw('public_people_in', customer_id), 1) < {LISTED_SHARE}
  union all
  select
    a.full_name,
    a.country_code,
    a.city,
    b.postcode,
    b.birth_on + (1 + floor(300 * u(draw('public_strangers', a.customer_id), 2)))::integer,
    draw('public_people', a.customer_id + 1000000000)
  from numbered a
  join numbered b
    on b.no = 1 + floor(a.n * u(draw('public_strangers', a.customer_id), 1))::bigint
  where u(hidden_draw('public_people_in', a.customer_id), 2) < {LISTED_SHARE}
)
select
  row_number() over (order by x) as list_no,
  full_name,
  country_code,
  city,
  postcode,
  birth_on
from listed
order by x
""")
    con.execute(COMMENTS)
