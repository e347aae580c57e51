-- subject: fulfilment
-- needs: orders
-- makes: core.payments, core.shipments, core.returns

create table core.payments as
with
drawn as (
  select
    *,
    draw('payments', order_id) as x
  from core.orders
)
select
  (3000000 + row_number() over (order by order_id))::bigint as payment_id,
  order_id,
  case when u(x, 1) < 0.62 then 'payvane' when u(x, 1) < 0.9 then 'quickrail' else 'till' end as psp,
  case when u(x, 2) < 0.55 then 'card' when u(x, 2) < 0.82 then 'wallet' when u(x, 2) < 0.95 then 'transfer' else 'voucher' end
    as method,
  total_amount as amount,
  currency,
  case when status = 'cancelled' and u(x, 3) < 0.7 then 'voided' when status = 'cancelled' then 'refunded' else 'captured' end
    as status,
  ordered_at + to_seconds(3 + floor(lognormal(x, 4, 8, 0.9))::bigint) as authorized_at,
  case
    when not (status = 'cancelled' and u(x, 3) < 0.7) then ordered_at + to_minutes(20 + floor(lognormal(x, 5, 300, 1.0))::bigint)
  end as captured_at
from drawn
order by order_id;

create table core.shipments as
with
drawn as (
  select
    *,
    draw('shipments', order_id) as x
  from core.orders
  where status <> 'cancelled' and channel <> 'store'
)
select
  (7000000 + row_number() over (order by order_id))::bigint as shipment_id,
  order_id,
  pick(['swiftly', 'parcelwing', 'metrobox', 'nordlink'], x, 1) as carrier,
  ordered_at + to_minutes(60 + floor(lognormal(x, 2, 600, 0.7))::bigint) as shipped_at,
  case
    when status = 'completed'
      then ordered_at + to_minutes(60 + floor(lognormal(x, 2, 600, 0.7))::bigint + 240 + floor(lognormal(x, 3, 1700, 0.6))::bigint)
  end as delivered_at,
  round(lognormal(x, 4, 2100, 0.7))::integer as weight_g
from drawn
order by order_id;

create table core.returns as
with
drawn as (
  select
    i.*,
    s.delivered_at,
    o.currency,
    draw('returns', i.order_id * 16 + i.line_no) as x
  from core.order_items i
  join core.shipments s using (order_id)
  join core.orders o using (order_id)
  where s.delivered_at < today()
)
select
  (9000000 + row_number() over (order by order_id, line_no))::bigint as return_id,
  order_id,
  line_no,
  quantity,
  line_amount as refund_amount,
  currency,
  pick(['damaged', 'wrong item', 'not as described', 'changed mind', 'arrived late'], x, 2) as reason,
  date_trunc('second', delivered_at + to_minutes(600 + floor(lognormal(x, 3, 5000, 0.8))::bigint)) as returned_at
from drawn
where u(x, 1) < 0.021 and delivered_at + to_minutes(600 + floor(lognormal(x, 3, 5000, 0.8))::bigint) < today()
order by order_id, line_no;

comment on table core.payments is 'One payment an order, as the finance domain books it.';
comment on column core.payments.payment_id is 'Key.';
comment on column core.payments.order_id is 'References core.orders; unique here.';
comment on column core.payments.psp is 'Payment service provider: payvane, quickrail, or till (own stores).';
comment on column core.payments.method is 'card, wallet, transfer or voucher.';
comment on column core.payments.amount is 'Authorised amount, in currency.';
comment on column core.payments.currency is 'ISO 4217 code.';
comment on column core.payments.status is 'captured, voided or refunded.';
comment on column core.payments.authorized_at is 'When the provider authorised it (UTC).';
comment on column core.payments.captured_at is 'When the money was taken (UTC); null when voided.';

comment on table core.shipments is 'Parcels to customers; one for each order that is not cancelled and not bought in a store.';
comment on column core.shipments.shipment_id is 'Key.';
comment on column core.shipments.order_id is 'References core.orders; unique here.';
comment on column core.shipments.carrier is 'swiftly, parcelwing, metrobox or nordlink.';
comment on column core.shipments.shipped_at is 'When it left the warehouse (UTC).';
comment on column core.shipments.delivered_at is 'When it arrived (UTC); null while under way.';
comment on column core.shipments.weight_g is 'Weight, grams.';

comment on table core.returns is 'Order lines sent back.';
comment on column core.returns.return_id is 'Key.';
comment on column core.returns.order_id is 'References core.orders.';
comment on column core.returns.line_no is 'With order_id references core.order_items.';
comment on column core.returns.quantity is 'Pieces returned.';
comment on column core.returns.refund_amount is 'Refunded, in currency.';
comment on column core.returns.currency is 'ISO 4217 code.';
comment on column core.returns.reason is 'What the customer ticked.';
comment on column core.returns.returned_at is 'When the return was booked (UTC).';
