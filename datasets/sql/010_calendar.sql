-- subject: calendar
-- makes: core.countries, core.calendar, core.fx_rates

-- Shares of orders are Kestrel's own figures: a German-founded market with a large US arm.
create table core.countries as
select
  *
from (values
  ('DE', 'Germany', 'EU', 'EUR', 'Europe/Berlin', 19.0::decimal(4, 1), 19.0::decimal(4, 1)),
  ('FR', 'France', 'EU', 'EUR', 'Europe/Paris', 13.0, 20.0),
  ('ES', 'Spain', 'EU', 'EUR', 'Europe/Madrid', 8.0, 21.0),
  ('PL', 'Poland', 'EU', 'PLN', 'Europe/Warsaw', 7.0, 23.0),
  ('GR', 'Greece', 'EU', 'EUR', 'Europe/Athens', 3.0, 24.0),
  ('IE', 'Ireland', 'EU', 'EUR', 'Europe/Dublin', 3.0, 23.0),
  ('US', 'United States', 'US', 'USD', 'America/New_York', 24.0, 7.0),
  ('CA', 'Canada', 'US', 'CAD', 'America/Toronto', 5.0, 13.0),
  ('MX', 'Mexico', 'US', 'MXN', 'America/Mexico_City', 3.0, 16.0),
  ('JP', 'Japan', 'APAC', 'JPY', 'Asia/Tokyo', 10.0, 10.0),
  ('AU', 'Australia', 'APAC', 'AUD', 'Australia/Sydney', 5.0, 10.0)
) as c (country_code, country_name, region, currency, time_zone, order_share_pct, vat_pct);

-- History, and the 120 days after today: a calendar is public knowledge.
create table core.calendar as
with
days as (
  select
    d::date as day_on
  from range(timestamp '2025-07-01', timestamp '2026-10-29', interval 1 day) t (d)
),
fixed_holidays (region, month, day, name) as (
  values
    ('EU', 1, 1, 'New Year'), ('EU', 5, 1, 'Labour Day'), ('EU', 8, 15, 'Assumption'), ('EU', 12, 25, 'Christmas'),
    ('EU', 12, 26, 'Second Christmas Day'), ('US', 1, 1, 'New Year'), ('US', 7, 4, 'Independence Day'),
    ('US', 11, 11, 'Veterans Day'), ('US', 12, 25, 'Christmas'), ('APAC', 1, 1, 'New Year'),
    ('APAC', 1, 2, 'New Year Holiday'), ('APAC', 4, 29, 'Showa Day'), ('APAC', 5, 3, 'Constitution Day'),
    ('APAC', 5, 4, 'Greenery Day'), ('APAC', 5, 5, 'Children''s Day'), ('APAC', 11, 3, 'Culture Day')
),
moving_holidays (region, day_on, name) as (
  values
    ('EU', date '2026-04-03', 'Good Friday'), ('EU', date '2026-04-06', 'Easter Monday'),
    ('EU', date '2026-05-14', 'Ascension'), ('EU', date '2026-05-25', 'Whit Monday'),
    ('US', date '2025-09-01', 'Labor Day'), ('US', date '2025-11-27', 'Thanksgiving'),
    ('US', date '2026-05-25', 'Memorial Day'), ('US', date '2026-09-07', 'Labor Day'),
    ('APAC', date '2025-09-15', 'Respect for the Aged Day'), ('APAC', date '2026-02-11', 'Foundation Day'),
    ('APAC', date '2026-09-21', 'Respect for the Aged Day')
)
select
  r.region,
  d.day_on,
  isodow(d.day_on)::utinyint as iso_weekday,
  isodow(d.day_on) > 5 as is_weekend,
  coalesce(f.name, m.name) as holiday_name,
  coalesce(f.name, m.name) is not null as is_holiday,
  isodow(d.day_on) <= 5 and coalesce(f.name, m.name) is null as is_working_day,
  case
    when d.day_on between date '2025-11-27' and date '2025-12-01' then 'black week'
    when d.day_on between date '2025-12-15' and date '2025-12-22' then 'christmas rush'
    when d.day_on in (date '2025-09-09', date '2026-03-10', date '2026-06-09', date '2026-09-08') then 'kestrel day'
  end as sale_name
from days d
cross join (values ('EU'), ('US'), ('APAC')) r (region)
left join fixed_holidays f
  on f.region = r.region and f.month = month(d.day_on) and f.day = day(d.day_on)
left join moving_holidays m
  on m.region = r.region and m.day_on = d.day_on
order by r.region, d.day_on;

-- A geometric random walk in whole millionths, so that the running sum is exact on every machine. Daily volatility
-- 0.4%, about that of the major currency pairs.
create table core.fx_rates as
with
start (currency, usd_per_unit) as (
  values ('EUR', 1.0900), ('PLN', 0.2550), ('USD', 1.0000), ('CAD', 0.7300), ('MXN', 0.0540), ('JPY', 0.0067), ('AUD', 0.6600)
),
steps as (
  select
    s.currency,
    s.usd_per_unit,
    c.day_on,
    case s.currency when 'USD' then 0 else round(4000 * gauss(draw('fx_rates', s.currency || c.day_on), 1))::bigint end as step
  from start s
  join core.calendar c
    on c.region = 'EU' and c.day_on <= today()
)
select
  day_on,
  currency,
  round(
    usd_per_unit * (1 + sum(step) over (partition by currency order by day_on rows unbounded preceding) / 1e6), 8
  )::decimal(14, 8) as usd_per_unit
from steps
order by day_on, currency;

comment on table core.countries is 'The eleven countries in which Kestrel sells.';
comment on column core.countries.country_code is 'ISO 3166-1 alpha-2 code; key.';
comment on column core.countries.country_name is 'English name.';
comment on column core.countries.region is 'EU, US or APAC: the region that runs the country''s business.';
comment on column core.countries.currency is 'ISO 4217 code in which orders are paid.';
comment on column core.countries.time_zone is 'IANA time zone of the country''s head office.';
comment on column core.countries.order_share_pct is 'Share of all orders, percent.';
comment on column core.countries.vat_pct is 'Standard rate of sales tax, percent.';

comment on table core.calendar is 'One calendar per region: 2025-07-01 to 2026-10-28 (120 days past today).';
comment on column core.calendar.region is 'EU, US or APAC; key with day_on.';
comment on column core.calendar.day_on is 'Local calendar day.';
comment on column core.calendar.iso_weekday is '1 Monday to 7 Sunday.';
comment on column core.calendar.is_weekend is 'Saturday or Sunday.';
comment on column core.calendar.holiday_name is 'Public holiday that the region''s head office keeps; null otherwise.';
comment on column core.calendar.is_holiday is 'Whether holiday_name is set.';
comment on column core.calendar.is_working_day is 'Neither weekend nor holiday.';
comment on column core.calendar.sale_name is 'Sales campaign running that day; null otherwise.';

comment on table core.fx_rates is 'Daily reference rates to the US dollar, up to today.';
comment on column core.fx_rates.day_on is 'Day of the rate (UTC).';
comment on column core.fx_rates.currency is 'ISO 4217 code; key with day_on.';
comment on column core.fx_rates.usd_per_unit is 'US dollars for one unit of the currency.';
