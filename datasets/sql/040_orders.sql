-- subject: orders
-- needs: calendar, customers, products
-- makes: core.orders, core.order_items

-- Orders per day: a weekly season (Saturday high), a yearly one (December high), 35% growth over the year, sales days.
-- Whole parts of a running sum share out exactly the number of orders that the scale asks for.
create temp table order_days as
with
weights as (
  select
    day_on,
    (case iso_weekday when 6 then 1.28 when 7 then 1.12 when 5 then 1.08 when 1 then 0.94 else 0.9 end)
    * (1 + 0.16 * cos(2 * pi() * (dayofyear(day_on) - 350) / 365.25))
    * (1 + 0.35 * date_diff('day', date '2025-07-01', day_on) / 365.0)
    * (case sale_name when 'black week' then 1.9 when 'christmas rush' then 1.45 when 'kestrel day' then 2.2 else 1 end)
    * exp(0.05 * gauss(draw('order_days', day_on), 1)) as weight
  from core.calendar
  where region = 'EU' and day_on <= today()
),
running as (
  select
    day_on,
    sum(round(weight * 1e6)::hugeint) over (order by day_on rows unbounded preceding) as upto,
    sum(round(weight * 1e6)::hugeint) over () as total
  from weights
)
select
  r.day_on,
  (r.upto * sized(1000000) // r.total)::bigint as last_no,
  coalesce(lag(r.upto * sized(1000000) // r.total) over (order by r.day_on), 0)::bigint as before_no,
  (select count(*) from core.customers c where c.registered_at < r.day_on) as customers
from running r
order by r.day_on;

-- Hours from UTC by country and day, at local noon.
create temp table utc_offsets as
select
  c.country_code,
  d.day_on,
  date_diff('minute', timezone(c.time_zone, d.day_on + interval 12 hour)::timestamp, d.day_on + interval 12 hour)::integer
    as offset_min
from core.countries c
cross join order_days d;

-- Local ordering hour: lunch and evening peaks, in parts of 100.
create temp table hours as
select
  hour,
  unnest(range(low::bigint, high::bigint)) as slot
from (
  select
    hour,
    coalesce(sum(parts) over (order by hour rows between unbounded preceding and 1 preceding), 0) as low,
    sum(parts) over (order by hour) as high
  from (
    select
      unnest(range(0, 24)) as hour,
      unnest([1, 1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 7, 5, 4, 4, 5, 7, 9, 10, 9, 6, 3, 1]) as parts
  )
);

create temp table skeleton as
select
  (1000000 + d.before_no + s.i + 1)::bigint as order_id,
  d.before_no + s.i + 1 as order_no,
  draw('orders', d.before_no + s.i + 1) as x,
  d.day_on,
  -- The exponent makes early customers order more often than late ones.
  (100001 + floor(power(u(draw('orders', d.before_no + s.i + 1), 1), 1.4) * d.customers))::bigint as customer_id
from order_days d, unnest(range(0, d.last_no - d.before_no)) s (i);

create temp table items as
with
lines as (
  select
    k.order_id,
    k.day_on,
    k.customer_id,
    l.line_no,
    draw('order_items', k.order_no * 16 + l.line_no) as x
  from (
    select
      *,
      -- Geometric with mean 3, at most 12 lines.
      least(12, 1 + floor(ln(1 - u(x, 2)) / ln(2 / 3.0)))::bigint as lines
    from skeleton
  ) k, unnest(range(1, k.lines + 1)) l (line_no)
),
sized_range as (
  select
    count(*) as products
  from core.products
)
select
  i.order_id,
  i.line_no::utinyint as line_no,
  -- Zipf with exponent 1 over the range: a log-uniform rank, scattered over the ids by a step prime to any range size.
  (20001 + (floor(exp(u(i.x, 1) * ln(r.products + 1)))::bigint - 1) * 7919 % r.products)::bigint as product_id,
  (1 + floor(power(u(i.x, 2), 4) * 6))::utinyint as quantity,
  i.customer_id,
  i.day_on
from lines i, sized_range r;

create temp table prices as
select
  f.day_on,
  c.country_code,
  c.currency,
  f.usd_per_unit,
  case c.currency when 'JPY' then 0 else 2 end as digits
from core.countries c
join core.fx_rates f using (currency);

create table core.order_items as
select
  i.order_id,
  i.line_no,
  i.product_id,
  i.quantity,
  round(p.list_price_usd / r.usd_per_unit, r.digits)::decimal(12, 2) as unit_price,
  (i.quantity * round(p.list_price_usd / r.usd_per_unit, r.digits)::decimal(12, 2))::decimal(14, 2) as line_amount
from items i
join core.customers c using (customer_id)
join core.products p using (product_id)
join prices r
  on r.day_on = i.day_on and r.country_code = c.country_code
order by i.order_id, i.line_no;

create table core.orders as
with
totals as (
  select
    order_id,
    count(*)::utinyint as item_count,
    sum(line_amount)::decimal(14, 2) as total_amount
  from core.order_items
  group by order_id
)
select
  k.order_id,
  k.customer_id,
  c.country_code,
  case when u(k.x, 3) < 0.58 then 'app' when u(k.x, 3) < 0.9 then 'web' else 'store' end as channel,
  case
    when u(k.x, 4) < 0.035 then 'cancelled'
    when k.day_on >= today() - 2 and u(k.x, 4) < 0.6 then 'placed'
    else 'completed'
  end as status,
  k.day_on + to_seconds(h.hour * 3600 + floor(u(k.x, 6) * 3600)::bigint) - to_minutes(o.offset_min) as ordered_at,
  k.day_on as ordered_on,
  r.currency,
  t.item_count,
  t.total_amount,
  round(t.total_amount * r.usd_per_unit, 2)::decimal(14, 2) as total_usd
from skeleton k
join core.customers c using (customer_id)
join totals t using (order_id)
join hours h
  on h.slot = floor(u(k.x, 5) * 100)
join utc_offsets o
  on o.country_code = c.country_code and o.day_on = k.day_on
join prices r
  on r.country_code = c.country_code and r.day_on = k.day_on
order by k.order_id;

drop table order_days;
drop table utc_offsets;
drop table hours;
drop table skeleton;
drop table items;
drop table prices;

comment on table core.orders is 'Orders of the last 365 days, cleaned: one row each.';
comment on column core.orders.order_id is 'Key; grows with the local order day.';
comment on column core.orders.customer_id is 'Who ordered; references core.customers.';
comment on column core.orders.country_code is 'Country of the customer at order time.';
comment on column core.orders.channel is 'app, web or store.';
comment on column core.orders.status is 'placed, completed or cancelled.';
comment on column core.orders.ordered_at is 'When the order was placed (UTC).';
comment on column core.orders.ordered_on is 'Local calendar day of the order in its country.';
comment on column core.orders.currency is 'ISO 4217 code of all amounts of the order.';
comment on column core.orders.item_count is 'Number of order lines.';
comment on column core.orders.total_amount is 'Sum of the lines, in the order''s currency, tax included.';
comment on column core.orders.total_usd is 'total_amount at the rate of the order day, US dollars.';

comment on table core.order_items is 'Order lines, about three an order.';
comment on column core.order_items.order_id is 'References core.orders; key with line_no.';
comment on column core.order_items.line_no is 'Position in the order, from 1.';
comment on column core.order_items.product_id is 'References core.products.';
comment on column core.order_items.quantity is 'Pieces.';
comment on column core.order_items.unit_price is 'Price of one piece, in the order''s currency.';
comment on column core.order_items.line_amount is 'quantity times unit_price.';
