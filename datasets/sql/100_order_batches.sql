-- subject: order_batches
-- needs: orders
-- makes: raw.order_batches
-- truth: truth.order_batch_plants

-- How often each thing goes wrong, in parts of all orders or records; every world has its own, within these bounds. Late
-- and repeated deliveries of one to three in a hundred are what at-least-once queues show in practice.
create temp table batch_rates as
select
  0.012 + 0.012 * u(x, 1) as moved,
  0.010 + 0.010 * u(x, 2) as amended,
  0.003 + 0.004 * u(x, 3) as reinstated,
  0.010 + 0.012 * u(x, 4) as late,
  0.006 + 0.008 * u(x, 5) as twice_in_batch,
  0.012 + 0.014 * u(x, 6) as twice_across,
  0.150 + 0.250 * u(x, 7) as skewed,
  2 + floor(u(x, 8) * 4)::integer as batches_again
from (
  select
    hidden_draw('order_batches/rates', 0) as x
);

-- Orders of the last 90 days, with what will happen to each. Corrections are left to orders that are old enough to have
-- seen them.
create temp table batch_orders as
with
drawn as (
  select
    o.*,
    draw('order_batches', o.order_id) as x,
    hidden_draw('order_batches', o.order_id) as h,
    o.ordered_on between today() - 85 and today() - 12 as is_settled
  from core.orders o
  where o.ordered_on > today() - 90
)
select
  d.*,
  d.is_settled and u(h, 1) < r.moved as is_moved,
  d.is_settled and u(h, 1) >= r.moved and u(h, 1) < r.moved + r.amended as is_amended,
  d.is_settled and d.status = 'completed' and d.channel <> 'store' and u(h, 2) < r.reinstated as is_reinstated,
  -- A till dates an order by its upload, one to three days later; a web server by its own midnight, a day off either way.
  case
    when d.channel = 'store' then 1 + floor(u(h, 3) * u(h, 4) * 3)::integer
    when u(h, 3) < 0.5 then 1
    else -1
  end as days_off,
  0.5 + u(h, 5) as amount_off
from drawn d, batch_rates r;

-- One row an event; versions count the events of an order.
create temp table batch_events as
with
placed as (
  select
    order_id,
    1 as step,
    case when channel = 'store' then 'completed' else 'placed' end as event,
    case when channel = 'store' then 'completed' else 'placed' end as status,
    ordered_at as happened_at
  from batch_orders
),
withdrawn as (
  select
    order_id,
    2 as step,
    'cancelled' as event,
    'cancelled' as status,
    ordered_at + to_minutes(3 + floor(lognormal(x, 1, 150, 1.0))::bigint) as happened_at
  from batch_orders
  where status = 'cancelled' or is_reinstated
),
reinstated as (
  select
    b.order_id,
    3 as step,
    'reinstated' as event,
    'placed' as status,
    w.happened_at + to_minutes(90 + floor(1500 * u(b.x, 2))::bigint) as happened_at
  from batch_orders b
  join withdrawn w using (order_id)
  where b.is_reinstated
),
completed as (
  select
    b.order_id,
    4 as step,
    'completed' as event,
    'completed' as status,
    coalesce(r.happened_at, b.ordered_at) + to_minutes(120 + floor(lognormal(b.x, 3, 1300, 0.6))::bigint) as happened_at
  from batch_orders b
  left join reinstated r using (order_id)
  where b.status = 'completed' and b.channel <> 'store'
),
corrected as (
  select
    order_id,
    5 as step,
    'corrected' as event,
    null as status,
    -- The back office works by day, one to ten days after the order.
    date_trunc('day', ordered_at) + to_hours(32 + 24 * floor(9 * u(x, 4))::bigint) + to_seconds(floor(30000 * u(x, 5))::bigint)
      as happened_at
  from batch_orders
  where is_moved or is_amended
),
together as (
  select * from placed
  union all
  select * from withdrawn
  union all
  select * from reinstated
  union all
  select * from completed
  union all
  select * from corrected
)
select
  order_id,
  event,
  -- A correction says nothing of the status: it carries the one that the order had.
  coalesce(status, lag(status) over w) as status,
  row_number() over w as version,
  coalesce(max(step) over (partition by order_id order by happened_at, step rows unbounded preceding), 0) >= 5 as is_corrected,
  happened_at,
  draw('order_batches/events', order_id * 8 + step) as x,
  hidden_draw('order_batches/events', order_id * 8 + step) as h
from together
window w as (partition by order_id order by happened_at, step);

-- Each record is a full image of the order as of its version.
create temp table batch_images as
select
  e.order_id,
  e.version,
  e.event,
  e.status,
  e.happened_at,
  e.x,
  e.h,
  e.event = 'corrected' and u(e.h, 1) < r.skewed as is_skewed,
  u(e.h, 2) < r.late as is_late,
  u(e.h, 3) < r.twice_in_batch as is_twice_in_batch,
  u(e.h, 4) < r.twice_across as is_twice_across,
  e.event = 'corrected' and b.is_moved as is_move,
  case e.event when 'corrected' then 'backoffice' else case b.channel when 'store' then 'tills' else 'storefront' end end as source,
  case when b.is_moved and not e.is_corrected then b.ordered_on + b.days_off else b.ordered_on end as ordered_on,
  b.customer_id,
  b.country_code,
  b.channel,
  b.currency,
  b.item_count,
  case
    when b.is_amended and not e.is_corrected
      then round(b.total_amount * b.amount_off, case b.currency when 'JPY' then 0 else 2 end)::decimal(14, 2)
    else b.total_amount
  end as total_amount
from batch_events e
join batch_orders b using (order_id)
cross join batch_rates r;

-- When a record reaches the landing area, and again where it is delivered twice: minutes as a rule, days for late ones.
create temp table batch_arrivals as
with
first_time as (
  select
    *,
    false as is_copy,
    happened_at + to_seconds(60 + floor(lognormal(x, 1, 500, 0.7))::bigint)
    + to_minutes(case when is_late then floor(700 + 12000 * u(h, 5) * u(h, 6))::bigint else 0 end) as arrived_at
  from batch_images
)
select
  *
from first_time
union all
select
  * replace (true as is_copy)
from first_time
where is_twice_in_batch
union all
select
  * replace (true as is_copy, arrived_at + to_minutes(400 + floor(2600 * u(h, 7))::bigint) as arrived_at)
from first_time
where is_twice_across;

-- Storefront files land every six hours, those of the tills at three in the night, the back office's at six in the evening.
create temp table batch_files as
with
closed as (
  select
    *,
    case source
      when 'storefront' then time_bucket(interval 6 hour, arrived_at) + interval 6 hour
      when 'tills' then time_bucket(interval 1 day, arrived_at - interval 3 hour) + interval 27 hour
      else time_bucket(interval 1 day, arrived_at - interval 18 hour) + interval 42 hour
    end as closed_at
  from batch_arrivals
),
named as (
  select
    *,
    source || '-' || strftime(closed_at, '%Y%m%d-%H') as file_name
  from closed
),
-- A few whole storefront files are sent again, under another name, one to four days later.
again as (
  select
    file_name,
    to_hours(20 + floor(70 * u(hidden_draw('order_batches/again', file_name), 1))::bigint) as sent_after
  from (
    select distinct
      file_name
    from named
    where source = 'storefront' and closed_at between today() - 80 and today() - 8
  )
  order by hidden_draw('order_batches/again', file_name)
  limit (select batches_again from batch_rates)
)
select
  *,
  false as is_again
from named
union all
select
  n.* replace (n.closed_at + a.sent_after as closed_at, n.file_name || '-resent' as file_name),
  true as is_again
from named n
join again a using (file_name);

create temp table batch_records as
select
  *,
  closed_at + to_seconds(20 + floor(lognormal(draw('order_batches/files', file_name), 1, 120, 0.6))::bigint) as landed_at,
  row_number() over (partition by file_name order by arrived_at, order_id, version, is_copy)::integer as record_no
from batch_files
where closed_at < today() + interval 1 day;

create table raw.order_batches as
select
  b.file_name as batch_id,
  b.landed_at,
  b.source,
  b.record_no,
  b.order_id,
  b.version::integer as version,
  b.event,
  date_trunc(
    'second',
    b.happened_at - to_minutes(case when b.is_skewed then floor(1500 + 13000 * u(b.h, 8))::bigint else 0 end)
  ) as event_at,
  b.status,
  b.ordered_on,
  b.customer_id,
  b.country_code,
  b.channel,
  b.currency,
  b.item_count,
  b.total_amount,
  round(b.total_amount * f.usd_per_unit, 2)::decimal(14, 2) as total_usd
from batch_records b
join core.fx_rates f
  on f.currency = b.currency and f.day_on = b.ordered_on
order by b.landed_at, b.file_name, b.record_no;

create table truth.order_batch_plants as
with
plants as (
  select
    file_name as batch_id,
    record_no,
    order_id,
    version,
    unnest(
      [
        case when is_again then 'file sent again' end,
        case when is_copy and is_twice_in_batch and not is_twice_across then 'twice in a file' end,
        case when is_twice_across and is_copy then 'twice across files' end,
        case when is_late then 'late' end,
        case when is_skewed then 'clock skew' end,
        case when is_move then 'day moved' end,
        case when event = 'corrected' and not is_move then 'amount corrected' end,
        case when event = 'reinstated' then 'reinstated' end,
        case when event = 'cancelled' then 'cancelled' end,
        case
          when version < max(version) over (
            partition by order_id order by landed_at range between unbounded preceding and interval 1 second preceding
          ) then 'older after newer'
        end
      ]
    ) as kind
  from batch_records
)
select
  kind,
  batch_id,
  record_no,
  order_id,
  version::integer as version
from plants
where kind is not null
order by kind, batch_id, record_no;

drop table batch_rates;
drop table batch_orders;
drop table batch_events;
drop table batch_images;
drop table batch_arrivals;
drop table batch_files;
drop table batch_records;

comment on table raw.order_batches is 'Changes of orders of the last 90 days as their files landed: at least once, in any order. Each record is a full image.';
comment on column raw.order_batches.batch_id is 'Name of the file; key with record_no.';
comment on column raw.order_batches.landed_at is 'When the whole file had landed (UTC); the same for all its records.';
comment on column raw.order_batches.source is 'storefront, tills or backoffice: who sent the file.';
comment on column raw.order_batches.record_no is 'Position in the file, from 1.';
comment on column raw.order_batches.order_id is 'References core.orders.';
comment on column raw.order_batches.version is 'Counts the changes of an order, from 1, given by the order service; a higher one replaces a lower one whole.';
comment on column raw.order_batches.event is 'placed, completed, cancelled, reinstated or corrected.';
comment on column raw.order_batches.event_at is 'When it happened by the clock of the source (UTC), which may be wrong.';
comment on column raw.order_batches.status is 'placed, completed or cancelled, as of this version.';
comment on column raw.order_batches.ordered_on is 'Local calendar day of the order, as of this version.';
comment on column raw.order_batches.customer_id is 'References core.customers.';
comment on column raw.order_batches.country_code is 'Country of the customer; references core.countries.';
comment on column raw.order_batches.channel is 'app, web or store.';
comment on column raw.order_batches.currency is 'ISO 4217 code of total_amount.';
comment on column raw.order_batches.item_count is 'Number of order lines.';
comment on column raw.order_batches.total_amount is 'Sum of the lines, in currency, tax included, as of this version.';
comment on column raw.order_batches.total_usd is 'total_amount at the rate of ordered_on, US dollars.';
