# subject: estate
# needs: customers, organisation, products
# makes: raw.crm_contacts, raw.legacy_contacts, raw.support_tickets, raw.psp_events, raw.parcel_labels, raw.app_sessions
# makes: raw.web_forms, raw.return_notes, raw.seller_contacts, raw.badge_swipes, raw.device_models, raw.mail_templates
# makes: mart.campaign_responses, mart.active_customers, mart.store_directory, mart.payout_accounts, mart.product_texts
# makes: ml.churn_training, ml.basket_features, ops.tables, ops.columns
# truth: personal_columns
"""Nineteen tables of twelve teams in which personal data lies where it should and where nobody thinks of it.

What a column is called differs by world: some names say what is in it, some say nothing (attr_3), some mislead. Free text
carries what customers wrote into it; a few columns were put to another use in the course of time. Harmless columns look like
personal ones by name (email_template_id) or by content (version numbers of four parts, an EAN of thirteen digits).
"""

from dataclasses import dataclass

import duckdb
import numpy as np
import pandas as pd

from workshop.sim import streams
from workshop.world.seeds import derive_seed

FIRST_ASSET = 6001
# A name that says nothing: about half of the columns that came through exports and form builders have one.
CRYPTIC_SHARE, HARMLESS_CRYPTIC_SHARE = 0.5, 0.3
CRYPTIC = (
    "attr_1", "attr_2", "attr_3", "attr_4", "field_4", "field_7", "field_9", "col_12", "col_17", "ext_1", "ext_ref", "value_2",
    "info", "misc", "extra", "udf_5", "udf_8", "data_b", "key_b", "text_2", "memo_1", "src_val", "custom_6", "slot_3",
)  # fmt: skip
# The share of texts in which a customer's own data stands; support desks count five to fifteen in a hundred.
TEXT_SHARE = (0.05, 0.12)
KINDS = ("person_name", "email", "phone", "postal_address", "birth_date", "national_id", "bank_account", "card_number",
         "ip_address", "free_text", "city", "postcode", "country", "birth_year", "birth_decade")  # fmt: skip


@dataclass(frozen=True)
class Column:
    """One column of a table: the names that say what it is, its SQL, and what it holds (``kind``: see KINDS; None: nothing of
    a person). ``is_quasi``: shared by many, tells who somebody is together with others. ``only_in``: used so only in the
    "newest" or "oldest" rows. ``presence``: the share of worlds that have it."""

    names: tuple[str, ...]
    sql: str
    kind: str | None = None
    is_quasi: bool = False
    fixed: bool = False
    only_in: str | None = None
    presence: float = 1.0


def _c(names: str, sql: str, kind: str | None = None, **more: object) -> Column:
    return Column(tuple(names.split()), sql, kind, **more)


# Customers as other systems have them. Phones and addresses of e-mail as people type them.
PERSONA = """
create temp table persona as
with
drawn as (
  select
    *,
    draw('estate_persona', customer_id) as x,
    row_number() over (order by customer_id) as customer_no
  from core.customers
),
numbered as (
  select
    *,
    pick(case country_code when 'DE' then ['Lindenweg', 'Hafenstraße', 'Am Markt'] when 'FR' then ['rue des Lilas', 'quai Neuf']
      when 'ES' then ['calle Mayor', 'paseo del Río'] when 'PL' then ['ul. Polna', 'ul. Długa'] when 'GR' then ['Οδός Ερμού']
      when 'JP' then ['中央通り', '桜通り'] when 'MX' then ['calle Juárez', 'avenida Reforma']
      else ['Oak Street', 'Maple Avenue', 'Station Road', 'High Street', 'Elm Court'] end, x, 1)
    || ' ' || (1 + floor(180 * u(x, 2)))::integer as street,
    case when country_code in ('DE', 'ES', 'PL', 'FR', 'GR') then country_code else 'DE' end as bank_country,
    (10000000 + floor(89999999 * u(x, 3)))::bigint::varchar
      || lpad(floor(9999999999 * u(x, 4))::bigint::varchar, 10, '0') as bban,
    lpad(floor(1e8 * u(x, 5))::bigint::varchar, 8, '0') as id_digits,
    '4' || lpad(floor(1e14 * u(x, 6))::bigint::varchar, 14, '0') as card_15
  from drawn
)
select
  customer_no,
  customer_id,
  full_name,
  case when u(x, 7) < 0.4 and instr(full_name, ' ') > 0
    then regexp_extract(full_name, '^(\\S+) (.+)$', 2) || ', ' || regexp_extract(full_name, '^(\\S+) (.+)$', 1)
    else full_name end as written_name,
  email,
  case when u(x, 8) < 0.2 then upper(email) when u(x, 8) < 0.26 then ' ' || email else email end as written_email,
  phone,
  case when u(x, 9) < 0.4 then phone when u(x, 9) < 0.6 then '00' || substr(phone, 2)
    when u(x, 9) < 0.8 then substr(phone, 1, 3) || ' ' || substr(phone, 4, 3) || ' ' || substr(phone, 7)
    else '(0' || substr(phone, 4, 3) || ') ' || substr(phone, 7, 3) || '-' || substr(phone, 10) end as written_phone,
  street,
  street || ', ' || postcode || ' ' || city as address,
  city,
  postcode,
  country_code,
  birth_on,
  -- ISO 13616: two check digits, so that the whole is 1 modulo 97 with letters as numbers (A is 10).
  bank_country
  || lpad((98 - (bban || (ascii(bank_country[1]) - 55)::varchar || (ascii(bank_country[2]) - 55)::varchar || '00')::hugeint % 97)
    ::varchar, 2, '0')
  || bban as iban,
  case when country_code in ('US', 'CA', 'MX', 'AU') then id_digits[1:3] || '-' || id_digits[4:5] || '-' || id_digits[5:8]
    else id_digits || ('TRWAGMYFPDXBNJZSQVHLCKE')[1 + (id_digits::integer % 23)] end as national_id,
  -- The check digit of Luhn, ISO/IEC 7812.
  card_15 || ((10 - list_sum(list_transform(range(1, 16), lambda k:
    case when k % 2 = 1 then case when card_15[k]::integer > 4 then card_15[k]::integer * 2 - 9 else card_15[k]::integer * 2 end
    else card_15[k]::integer end)) % 10) % 10)::integer::varchar as card,
  case when u(x, 10) < 0.85
    then (11 + floor(190 * u(x, 11)))::integer || '.' || floor(256 * u(x, 12))::integer || '.' || floor(256 * u(x, 13))::integer
      || '.' || (1 + floor(254 * u(x, 14)))::integer
    else '2001:db8:' || lower(to_hex(floor(65536 * u(x, 11))::bigint)) || '::' || lower(to_hex(floor(65536 * u(x, 12))::bigint))
  end as ip,
  registered_at
from numbered
order by customer_id
"""

NAME, EMAIL, PHONE = "p.written_name", "p.written_email", "p.written_phone"
LOADED = "timestamp '2025-07-01' + to_seconds((31536000 * (i + u(x, 2)) / n)::bigint)"
ORDER_REF = "(10000000000 + floor(89999999999 * u(x, 3)))::bigint::varchar"
EAN = "'40' || lpad(floor(1e11 * u(x, 4))::bigint::varchar, 11, '0')"
TRACKING = "'00' || lpad(floor(1e11 * u(x, 5))::bigint::varchar, 11, '0')"
# Four parts, like an address, but few of them.
VERSION = "pick(['8.14.2.113', '8.14.3.20', '8.15.0.7', '8.15.1.44', '9.0.0.12', '9.0.1.3', '9.1.0.88'], x, 6)"
RATING = "pick(['IP44', 'IP54', 'IP65', 'IP67', 'IP68'], x, 7)"
MODEL = "pick(['Pixel 9', 'Galaxy S25', 'iPhone 17', 'Redmi 14', 'Fairphone 6', 'Xperia 5'], x, 8)"
ROLE_MAIL = "pick(['orders', 'help', 'no-reply', 'returns', 'billing'], x, 9) || '@kestrel.example'"
COMPANY = (
    "pick(['Nordlicht', 'Almar', 'Verdant', 'Harbour & Sons', 'Kimura Foods', 'Casa Luna', 'Zielona', 'Bluebell'], x, 10)"
    " || ' ' || pick(['GmbH', 'SARL', 'S.L.', 'Ltd', 'Inc.', 'sp. z o.o.'], x, 11)"
)
CITY, POSTCODE, BIRTH_YEAR = "p.city", "p.postcode", "year(p.birth_on)"
TEXT_HARMLESS = """pick([
  'Parcel ' || {TRACKING} || ' shows no movement since Monday, please look into it.',
  'Order ' || {ORDER_REF} || ' arrived with a broken jar. Refund or a new one?',
  'App ' || {VERSION} || ' closes when I open the basket.',
  'The discount of 15.50 was not taken off order ' || {ORDER_REF} || '.',
  'Item with EAN ' || {EAN} || ' was missing, two days late already (2026-02-11).',
  'Delivery slot was moved from 18:00 to 20:30 without a word.',
  'How do I change the delivery to the shop? Wrote to help@kestrel.example twice.'], x, {quiet})"""
TEXT_PERSONAL = """pick([
  'This is ' || p.full_name || '. Call me on ' || p.phone || ', parcel ' || {TRACKING} || ' is not here.',
  'Please write to ' || p.email || ' instead of the old address. Order ' || {ORDER_REF} || '.',
  'Refund to ' || p.iban || ' please, the card is closed. Order ' || {ORDER_REF} || '.',
  'New address: ' || p.address || '. My name is ' || p.full_name || '.',
  'you have ' || p.email || ' and ' || p.phone || ' but neither gets your mails'], x, {personal})"""


def _text(k: int) -> str:
    """Texts of customers, drawn by the uniforms k, k + 100 and k + 200; {share} of them are personal."""
    return f"case when u(x, {k}) < {{share}} then {_filled(TEXT_PERSONAL, k)} else {_quiet(k)} end"


def _quiet(k: int) -> str:
    return _filled(TEXT_HARMLESS, k)


def _filled(text: str, k: int) -> str:
    return text.format(
        TRACKING=TRACKING, ORDER_REF=ORDER_REF, VERSION=VERSION, EAN=EAN, quiet=k + 100, personal=k + 200
    )


# schema, table, owner (team), what it is for, rows at scale 1 (0: one for each customer; below 0: so many at any scale),
# columns.
# The stream of a table is given in full, as the builder looks for it in the text.
TABLES = (
    ("raw", "crm_contacts", 14, "contacts of the CRM", 0, "draw('estate_crm', i)", (
        _c("contact_id", "700000 + i", fixed=True),
        _c("customer_id", "p.customer_id", fixed=True),
        _c("full_name contact_name", NAME, "person_name"),
        _c("email mail_address", EMAIL, "email"),
        _c("phone mobile_number", PHONE, "phone"),
        _c("street_line", "p.street", "postal_address", presence=0.8),
        _c("city", CITY, "city", is_quasi=True),
        _c("birth_date", "p.birth_on", "birth_date", presence=0.8),
        _c("tax_id", "p.national_id", "national_id", presence=0.7),
        _c("email_template_id", "(1 + floor(40 * u(x, 30)))::integer"),
        _c("phone_model", MODEL, presence=0.8),
        _c("name_suffix_rule", "pick(['none', 'keep', 'drop'], x, 31)", presence=0.7),
        _c("first_contact_date", "date '2019-07-01' + floor(2500 * u(x, 32))::integer"),
    )),
    ("raw", "legacy_contacts", 14, "contacts of a company that Kestrel bought", 90_000, "draw('estate_legacy', i)", (
        _c("no", "i + 1", fixed=True),
        _c("courriel correo e_post", EMAIL, "email"),
        _c("nom nombre imie_i_nazwisko", "p.full_name", "person_name"),
        _c("tel telefono telefon", PHONE, "phone"),
        _c("adresse direccion adres", "p.address", "postal_address"),
        _c("naissance nacimiento data_ur", "p.birth_on", "birth_date", presence=0.8),
        _c("client_depuis cliente_desde", "date '2015-01-01' + floor(1600 * u(x, 30))::integer"),
        _c("societe empresa", COMPANY, presence=0.7),
        _c("note nota", f"case when u(x, 33) < 0.7 then null else {_text(34)} end", "free_text", presence=0.8),
    )),
    ("raw", "support_tickets", 16, "what customers write to the care desk", 250_000, "draw('estate_tickets', i)", (
        _c("ticket_id", "5000000 + i", fixed=True),
        _c("customer_id", "p.customer_id", fixed=True),
        _c("opened_at", LOADED, fixed=True),
        _c("subject", "pick(['parcel', 'refund', 'app', 'discount', 'address', 'other'], x, 30)"),
        _c("body message", _text(31), "free_text"),
        _c("internal_note agent_note", _text(32), "free_text", presence=0.8),
        _c("reply_from", ROLE_MAIL, presence=0.9),
        _c("agent agent_login", "a.email", "email"),
        _c("reply_macro", _quiet(36), presence=0.8),
        _c("minutes_open", "(5 + floor(4000 * u(x, 33)))::integer"),
    )),
    ("raw", "psp_events", 7, "what the payment provider reports", 3_500_000, "draw('estate_psp', i)", (
        _c("event_id", "80000000 + i", fixed=True),
        _c("order_ref", ORDER_REF),
        _c("event_at", LOADED, fixed=True),
        _c("payer payer_name", NAME, "person_name"),
        _c("iban account", "case when u(x, 31) < 0.5 then p.iban end", "bank_account"),
        _c("card_pan pan", "case when u(x, 31) >= 0.5 then p.card end", "card_number", presence=0.6),
        _c("payer_ip ip", "p.ip", "ip_address"),
        _c("card_color", "pick(['blue', 'gold', 'black'], x, 32)"),
        _c("amount_minor", "(100 + floor(20000 * u(x, 33)))::integer"),
        _c("contact_ref", "p.email", "email", only_in="newest", presence=0.8),
        _c("protocol_version", VERSION),
        _c("ip_country", "p.country_code", "country", is_quasi=True, presence=0.7),
    )),
    ("raw", "parcel_labels", 10, "labels as carriers print them", 900_000, "draw('estate_labels', i)", (
        _c("label_id", "90000000 + i", fixed=True),
        _c("tracking_no", TRACKING),
        _c("consignee recipient", "p.full_name", "person_name"),
        _c("address_line delivery_address", "p.address", "postal_address"),
        _c("postcode", POSTCODE, "postcode", is_quasi=True),
        _c("notify_phone recipient_phone", PHONE, "phone", presence=0.9),
        _c("address_type", "pick(['home', 'shop', 'locker'], x, 30)"),
        _c("second_contact", "case when u(x, 35) < 0.5 then p.phone end", "phone", only_in="newest", presence=0.8),
        _c("weight_g", "(100 + floor(9000 * u(x, 31)))::integer"),
        _c("driver_note courier_note", f"case when u(x, 32) < 0.6 then null else {_text(33)} end", "free_text", presence=0.8),
        _c("depot_phone", "'+49 30 5550' || (10 + floor(12 * u(x, 34)))::integer", presence=0.7),
        _c("printed_at", LOADED, fixed=True),
    )),
    ("raw", "app_sessions", 2, "sessions of the app", 4_500_000, "draw('estate_sessions', i)", (
        _c("session_id", "md5(i::varchar || 's')", fixed=True),
        _c("customer_id", "case when u(x, 30) < 0.7 then p.customer_id end", fixed=True),
        _c("client_ip remote_addr", "p.ip", "ip_address"),
        _c("app_version", VERSION),
        _c("phone_model", MODEL),
        _c("username_rule", "pick(['v1', 'v2'], x, 31)", presence=0.7),
        _c("screens", "(1 + floor(30 * u(x, 32)))::integer"),
        _c("referrer", "pick(['mail', 'push', 'search', 'none'], x, 33)"),
        _c("login_hint", "case when u(x, 34) < 0.3 then p.email end", "email", only_in="oldest"),
        _c("started_at", LOADED, fixed=True),
    )),
    ("raw", "web_forms", 18, "answers of forms, by the number of their field", 400_000, "draw('estate_forms', i)", (
        _c("form_id", "3000000 + i", fixed=True),
        _c("form_name", "pick(['sweepstake', 'newsletter', 'survey', 'job alert'], x, 30)"),
        _c("your_mail", EMAIL, "email"),
        _c("your_name", NAME, "person_name"),
        _c("birthday", "p.birth_on", "birth_date", presence=0.7),
        _c("mail_frequency", "pick(['daily', 'weekly', 'never'], x, 31)"),
        _c("remarks", f"case when u(x, 32) < 0.5 then null else {_text(33)} end", "free_text"),
        _c("score", "(floor(11 * u(x, 34)))::integer"),
        _c("favourite_shop", "pick(['Mitte', 'Gràcia', 'Loop', 'Shibuya'], x, 35)"),
        _c("sent_at", LOADED, fixed=True),
    )),
    ("raw", "return_notes", 13, "what came back, and why", 220_000, "draw('estate_returns', i)", (
        _c("return_id", "6000000 + i", fixed=True),
        _c("order_ref", ORDER_REF),
        _c("ean", EAN),
        _c("reason", "pick(['broken', 'late', 'wrong item', 'no longer wanted'], x, 30)"),
        _c("customer_words", _text(31), "free_text"),
        _c("refund_iban refund_to", "case when u(x, 32) < 0.6 then p.iban end", "bank_account", presence=0.9),
        _c("inspection_text", _quiet(37)),
        _c("received_at", LOADED, fixed=True),
    )),
    ("raw", "seller_contacts", 5, "partner sellers and whom to call there", -400, "draw('estate_sellers', i)", (
        _c("seller_no", "i + 1", fixed=True),
        _c("company_name", COMPANY),
        _c("support_mailbox", ROLE_MAIL, presence=0.9),
        _c("contact_person contact", "p.full_name", "person_name"),
        _c("direct_phone direct_line", PHONE, "phone"),
        _c("owner_id_no", "p.national_id", "national_id", presence=0.8),
        _c("email_domain_policy", "pick(['strict', 'open'], x, 30)"),
        _c("founded_date", "date '1950-01-01' + floor(24000 * u(x, 31))::integer"),
    )),
    ("raw", "badge_swipes", 11, "who entered which depot", 500_000, "draw('estate_badges', i)", (
        _c("swipe_id", "i + 1", fixed=True),
        _c("employee employee_name", "a.full_name", "person_name"),
        _c("work_email staff_mail", "a.email", "email", presence=0.8),
        _c("door_name", "pick(['Dock A', 'Dock B', 'Gate 3', 'Office'], x, 30)"),
        _c("visitor", "case when u(x, 34) < 0.5 then p.full_name end", "person_name", only_in="newest", presence=0.7),
        _c("badge_no", "(40000 + floor(900 * u(x, 31)))::integer"),
        _c("reader_address", "'10.20.' || floor(4 * u(x, 32))::integer || '.' || (1 + floor(6 * u(x, 33)))::integer"),
        _c("swiped_at", LOADED, fixed=True),
    )),
    ("raw", "device_models", 2, "devices that the app knows", -300, "draw('estate_devices', i)", (
        _c("model_no", "i + 1", fixed=True),
        _c("name", MODEL),
        _c("ip_rating", RATING),
        _c("launch_date", "date '2012-01-01' + floor(5000 * u(x, 30))::integer"),
        _c("emulator_address", VERSION, presence=0.8),
    )),
    ("raw", "mail_templates", 18, "texts of mails", -250, "draw('estate_templates', i)", (
        _c("email_template_id", "i + 1", fixed=True),
        _c("sender_address", ROLE_MAIL),
        _c("email_text", _quiet(38)),
        _c("full_name_placeholder", "pick(['{{full_name}}', '{{first_name}}', '{{company}}'], x, 30)"),
        _c("phone_layout", "pick(['narrow', 'wide'], x, 31)"),
    )),
    ("mart", "campaign_responses", 17, "who answered which campaign", 700_000, "draw('estate_campaigns', i)", (
        _c("response_id", "i + 1", fixed=True),
        _c("email_template_id", "(1 + floor(250 * u(x, 30)))::integer", fixed=True),
        _c("recipient sent_to", "p.email", "email"),
        _c("mail_sent_count", "(1 + floor(9 * u(x, 31)))::integer"),
        _c("birth_cohort", "(year(p.birth_on) // 10 * 10)::varchar || 's'", "birth_decade", is_quasi=True),
        _c("city", CITY, "city", is_quasi=True),
        _c("is_mobile", "u(x, 32) < 0.6"),
        _c("forwarded_to", "case when u(x, 33) < 0.4 then p.email end", "email", only_in="oldest"),
        _c("answered_at", LOADED, fixed=True),
    )),
    ("mart", "active_customers", 17, "customers who bought within a quarter", 0, "draw('estate_active', i)", (
        _c("customer_id", "p.customer_id", fixed=True),
        _c("display_name", "p.full_name", "person_name", presence=0.8),
        _c("contact_email", "p.email", "email", presence=0.8),
        _c("birth_year", BIRTH_YEAR, "birth_year", is_quasi=True),
        _c("postcode", POSTCODE, "postcode", is_quasi=True),
        _c("orders_90d", "(floor(12 * u(x, 30)))::integer", fixed=True),
        _c("name_length", "len(p.full_name)::integer", presence=0.7),
    )),
    ("mart", "store_directory", 20, "shops of Kestrel", -160, "draw('estate_stores', i)", (
        _c("store_no", "i + 1", fixed=True),
        _c("store_name", "pick(['Kestrel Mitte', 'Kestrel Loop', 'Kestrel Gràcia', 'Kestrel Shibuya'], x, 30) || ' ' || i"),
        _c("store_phone", "'+49 30 5550' || (10 + floor(80 * u(x, 31)))::integer"),
        _c("opened_on", "date '1962-01-01' + floor(20000 * u(x, 32))::integer", fixed=True),
        _c("mailbox", ROLE_MAIL),
        _c("store_city", "pick(['Berlin', 'Lyon', 'Madrid', 'Kraków', 'Chicago', '東京'], x, 33)"),
    )),
    ("mart", "payout_accounts", 9, "where money is paid out", 60_000, "draw('estate_payouts', i)", (
        _c("payout_id", "i + 1", fixed=True),
        _c("holder account_holder", "p.full_name", "person_name"),
        _c("iban bank_account", "p.iban", "bank_account"),
        _c("reference", "'RF' || lpad(floor(1e10 * u(x, 30))::bigint::varchar, 10, '0')"),
        _c("amount_usd", "(5 + floor(900 * u(x, 31)))::decimal(10, 2)", fixed=True),
    )),
    ("mart", "product_texts", 3, "texts of products in the shop", -1200, "draw('estate_products', i)", (
        _c("product_no", "i + 1", fixed=True),
        _c("name", "pick(['Maria biscuits', 'Earl tea', 'Anna bread', 'Felix cat food', 'Dr. Oak soap'], x, 30) || ' ' || i"),
        _c("ean13", EAN),
        _c("ip_rating", RATING),
        _c("description", "'Keep dry. Best within ' || (1 + floor(30 * u(x, 31)))::integer || ' days. EAN ' || " + EAN),
        _c("address_label_size", "pick(['A6', 'A7'], x, 32)"),
    )),
    ("ml", "churn_training", 28, "a training set that was copied in 2024", 40_000, "draw('estate_churn', i)", (
        _c("row_no", "i + 1", fixed=True),
        _c("customer_name", "p.full_name", "person_name"),
        _c("customer_email", "p.email", "email"),
        _c("date_of_birth", "p.birth_on", "birth_date", presence=0.7),
        _c("postcode", POSTCODE, "postcode", is_quasi=True),
        _c("feature_a", "round(u(x, 30), 4)"),
        _c("feature_b", "round(gauss(x, 31), 4)"),
        _c("is_churned", "u(x, 32) < 0.2", fixed=True),
    )),
    ("ml", "basket_features", 29, "features of baskets", 500_000, "draw('estate_baskets', i)", (
        _c("basket_no", "i + 1", fixed=True),
        _c("item_count", "(1 + floor(30 * u(x, 30)))::integer"),
        _c("top_ean", EAN),
        _c("hour_of_day", "(floor(24 * u(x, 31)))::integer"),
        _c("name_match_score", "round(u(x, 32), 3)"),
        _c("computed_at", LOADED, fixed=True),
    )),
)  # fmt: skip

COMMENTS = """
comment on table ops.tables is 'Tables of the estate: those whose columns are to be tagged.';
comment on column ops.tables.asset_id is 'Key.';
comment on column ops.tables.table_schema is 'Schema.';
comment on column ops.tables.table_name is 'Name; unique with the schema.';
comment on column ops.tables.owner_team_id is 'Owner; references ops.teams.';
comment on column ops.tables.purpose is 'What its owner says it is for.';
comment on column ops.tables.row_count is 'Rows as of today.';
comment on table ops.columns is 'Their columns.';
comment on column ops.columns.asset_id is 'References ops.tables.';
comment on column ops.columns.column_no is 'Place in the table, from 1.';
comment on column ops.columns.column_name is 'Name.';
comment on column ops.columns.data_type is 'DuckDB type.';
"""


def build(con: duckdb.DuckDBPyConnection, seed: bytes, scale: float) -> None:
    """Writes the tables, their catalogue and which columns are personal."""
    con.execute(PERSONA)
    con.execute(
        "create temp table agents as select row_number() over (order by person_id) as agent_no, full_name, email from ops.people"
    )
    (customers,) = con.execute("select count(*) from persona").fetchone()
    (agents,) = con.execute("select count(*) from agents").fetchone()
    rng = streams(derive_seed(seed, "truth/estate"), "columns")
    planted = [
        (FIRST_ASSET, "core", "customers", name, kind, "plain", 1.0, is_quasi)
        for name, kind, is_quasi in (
            ("full_name", "person_name", False),
            ("email", "email", False),
            ("phone", "phone", False),
            ("birth_on", "birth_date", False),
            ("city", "city", True),
            ("postcode", "postcode", True),
            ("country_code", "country", True),
        )
    ]
    listed = [(FIRST_ASSET, "core", "customers", 14, "customers, cleaned")]
    for k, (schema, table, team, purpose, rows, stream, columns) in enumerate(TABLES):
        asset = FIRST_ASSET + 1 + k
        listed.append((asset, schema, table, team, purpose))
        n = customers if rows == 0 else -rows if rows < 0 else max(1, round(rows * scale))
        chosen, found = _choose(columns, rng)
        planted += [(asset, schema, table, *facts) for facts in found]
        own = "i + 1" if rows == 0 else f"1 + floor({customers} * u(x, 1))::bigint"
        con.execute(f"""
create table {schema}.{table} as
select
  {", ".join(f'{sql} as "{name}"' for name, sql in chosen)}
from (select i, {n} as n, {stream} as x from range({n}) t (i)) d
join persona p
  on p.customer_no = {own}
join agents a
  on a.agent_no = 1 + floor({agents} * u(x, 99))::bigint
order by i
""")
        con.execute(f"comment on table {schema}.{table} is '{purpose[0].upper()}{purpose[1:]}; columns as they came.'")
        for name, _ in chosen:
            con.execute(f"comment on column {schema}.{table}.\"{name}\" is 'Not described by its owner.'")
    columns = ["asset_id", "table_schema", "table_name", "owner_team_id", "purpose"]
    con.register("listed", pd.DataFrame(listed, columns=columns))
    con.execute("""
create table ops.tables as
select t.*, d.estimated_size::bigint as row_count
from listed t
join duckdb_tables() d
  on d.database_name = current_database() and d.schema_name = t.table_schema and d.table_name = t.table_name
order by asset_id
""")
    con.execute("""
create table ops.columns as
select t.asset_id, d.column_index::integer as column_no, d.column_name, d.data_type
from listed t
join duckdb_columns() d
  on d.database_name = current_database() and d.schema_name = t.table_schema and d.table_name = t.table_name
order by t.asset_id, column_no
""")
    columns = ["asset_id", "table_schema", "table_name", "column_name", "kind", "found_by", "share", "is_quasi"]
    con.register("planted", pd.DataFrame(planted, columns=columns))
    con.execute("create table truth.personal_columns as select * from planted order by asset_id, column_name")
    con.execute(COMMENTS)
    con.unregister("listed")
    con.unregister("planted")
    con.execute("drop table persona; drop table agents")


def _choose(columns: tuple[Column, ...], rng: np.random.Generator) -> tuple[list, list]:
    """Names and SQL of a table's columns in this world, and of those that are personal or nearly: (name, kind, how it is found,
    share of rows, is_quasi)."""
    there = [c for c in columns if rng.random() < c.presence]
    places = [c for c in there if c.fixed]
    there = places + [there_ for there_ in _shuffled([c for c in there if not c.fixed], rng)]
    cryptic = _shuffled(list(CRYPTIC), rng)
    chosen, found = [], []
    for column in there:
        name = column.names[int(rng.integers(len(column.names)))]
        is_cryptic = not column.fixed and rng.random() < (
            CRYPTIC_SHARE if column.kind and not column.is_quasi else HARMLESS_CRYPTIC_SHARE
        )
        if is_cryptic:
            name = cryptic.pop()
        share = float(rng.uniform(*TEXT_SHARE))
        since = float(rng.uniform(0.45, 0.75))
        sql = column.sql.replace("{share}", f"{share:.4f}")
        if column.only_in:
            there_if = f"i {'>' if column.only_in == 'newest' else '<='} {since:.3f} * n"
            sql = f"case when {there_if} then {sql} else 'src-' || (1 + floor(9 * u(x, 60)))::integer end"
        chosen.append((name, sql))
        if column.kind:
            how = "text" if column.kind == "free_text" else column.only_in or ("content" if is_cryptic else "plain")
            part = {"text": share, "newest": 1 - since, "oldest": since}.get(how, 1.0)
            found.append((name, column.kind, how, part, column.is_quasi))
    return chosen, found


def _shuffled(items: list, rng: np.random.Generator) -> list:
    return [items[k] for k in rng.permutation(len(items))]
