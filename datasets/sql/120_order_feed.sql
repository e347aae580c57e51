-- subject: order_feed
-- needs: fulfilment
-- makes: raw.order_feed
-- truth: truth.feed_faults

-- The partner sellers' order feed: an hourly file, as it lands. Faults are planted in about two rows of a hundred, each kind
-- with a rate of its own in each world; odd but good rows (decoys) are there by themselves: tiny amounts, yen, orders
-- of the same day, payments that have not come yet.
create temp table fault_rates as
select
  fault,
  0.0025 + 0.0045 * u(hidden_draw('fault_rates', fault), 1) as rate
from (values ('no_id'), ('bad_ref'), ('bad_currency'), ('bad_amount'), ('future_day'), ('no_customer'), ('paid_other'), ('paid_currency'))
  as f (fault);

create temp table feed_orders as
with
ranged as (
  select
    fault,
    coalesce(sum(rate) over (order by fault rows between unbounded preceding and 1 preceding), 0) as low,
    sum(rate) over (order by fault) as high
  from fault_rates
),
drawn as (
  select
    o.*,
    draw('order_feed', o.order_id) as x,
    hidden_draw('order_feed', o.order_id) as h
  from core.orders o
  where o.ordered_on > today() - 30 and o.channel <> 'store' and o.status <> 'cancelled'
)
select
  d.*,
  r.fault,
  date_trunc('hour', d.ordered_at + to_minutes(30 + floor(lognormal(d.x, 1, 20, 0.8))::bigint)) + interval 1 hour as landed_at
from drawn d
left join ranged r
  on u(d.h, 1) >= r.low and u(d.h, 1) < r.high;

create temp table feed_rows as
select
  strftime(landed_at, 'F%Y%m%d%H') as file_id,
  row_number() over (partition by landed_at order by draw('feed_order', order_id), order_id)::integer as record_no,
  *
from feed_orders;

create table raw.order_feed as
select
  file_id,
  record_no,
  landed_at,
  landed_at::date as landed_on,
  case
    when fault = 'bad_ref'
      then pick(['KM' || order_id, 'km-' || order_id, 'KM-' || left(order_id::varchar, 5), 'KM-' || order_id || 'X', ''], h, 2)
    else 'KM-' || order_id
  end as order_ref,
  case when fault = 'no_id' then null else order_id end as order_id,
  case when fault = 'no_customer' then 900000 + order_id % 90000 else customer_id end::bigint as customer_id,
  country_code,
  case when fault = 'bad_currency' then pick([lower(currency), 'EURO', '???', null, 'US$'], h, 3) else currency end as currency,
  item_count::integer as item_count,
  case
    when fault = 'bad_amount' then pick([-total_amount, 0.00::decimal(14, 2), null::decimal(14, 2)], h, 4)
    -- Out by more than a cent in every currency, as a hand-typed correction is.
    when fault = 'paid_other' then total_amount + greatest(1, round(total_amount * (0.02 + 0.3 * u(h, 5))))
    else total_amount
  end::decimal(14, 2) as total_amount,
  case when fault = 'future_day' then landed_at::date + 1 + floor(u(h, 6) * 300)::integer else least(ordered_on, landed_at::date) end
    as ordered_on,
  case when u(x, 7) < 0.82 then null else 'P' || (100 + floor(u(x, 8) * 40))::integer end as promotion
from feed_rows
order by file_id, record_no;

create table truth.feed_faults as
select
  file_id,
  record_no,
  order_id,
  fault
from feed_rows
where fault is not null
order by file_id, record_no;

drop table fault_rates;
drop table feed_orders;
drop table feed_rows;

comment on table raw.order_feed is 'Orders of the last 30 days as the partner feed delivers them, one file an hour, faults included.';
comment on column raw.order_feed.file_id is 'File; key with record_no.';
comment on column raw.order_feed.record_no is 'Position in the file, from 1.';
comment on column raw.order_feed.landed_at is 'When the file landed (UTC).';
comment on column raw.order_feed.landed_on is 'Day of landed_at (UTC).';
comment on column raw.order_feed.order_ref is 'Reference printed on the receipt: KM- and the seven digits of the order id.';
comment on column raw.order_feed.order_id is 'Order, as the partner gives it.';
comment on column raw.order_feed.customer_id is 'Customer, as the partner gives it.';
comment on column raw.order_feed.country_code is 'Country of the order.';
comment on column raw.order_feed.currency is 'ISO 4217 code, as the partner gives it.';
comment on column raw.order_feed.item_count is 'Number of order lines.';
comment on column raw.order_feed.total_amount is 'Order total in currency, as the partner gives it.';
comment on column raw.order_feed.ordered_on is 'Order day, as the partner gives it.';
comment on column raw.order_feed.promotion is 'Promotion code; null: none.';
