-- subject: warehouse
-- needs: organisation
-- makes: ops.warehouses, ops.service_accounts, ops.service_account_owners, ops.query_log, ops.warehouse_metering, ops.invoices
-- makes: ops.team_spend, ops.signed_totals, ops.budgets
-- truth: query_teams, team_spend, spend_incidents

-- The shared cloud warehouse: who asked what, what was metered, what was billed. Money comes first: each team has a spend
-- for each day that does not depend on the scale, and the day's queries share it. In a small world a logged query stands for
-- more work, so that a month costs the same at every scale.

create table ops.warehouses as
with
listed (no, warehouse, size, credits_per_hour, auto_suspend_s, owner_team_id, purpose) as (
  values
    (1, 'adhoc_wh', 'L', 8, 600, 30, 'questions of people who explore'),
    (2, 'backfill_wh', '3XL', 64, 1800, 25, 'reloads of history, on some days only'),
    (3, 'bi_wh', 'L', 8, 300, 24, 'dashboards and reports'),
    (4, 'commerce_wh', 'XL', 16, 300, 5, 'models and extracts of storefront and orders'),
    (5, 'finance_wh', 'M', 4, 300, 20, 'closing, settlement, revenue'),
    (6, 'load_wh', 'L', 8, 60, 23, 'loads from source systems'),
    (7, 'migration_wh', 'M', 4, 3600, null, 'left over from the move of a merged company'),
    (8, 'ml_wh', '2XL', 32, 600, 27, 'features, training sets, scoring'),
    (9, 'transform_wh', '2XL', 32, 60, 24, 'scheduled transformations of most teams')
)
select
  warehouse,
  size,
  credits_per_hour::integer as credits_per_hour,
  auto_suspend_s::integer as auto_suspend_s,
  coalesce(owner_team_id, pick([3, 12, 14, 16, 18, 29], hidden_draw('migration_owner', 0), 1))::integer as owner_team_id,
  purpose
from listed
order by warehouse;

-- Price of a credit: list price until the contract was renewed at the turn of the year.
create temp macro credit_price_usd(day_on) as case when day_on < date '2026-01-01' then 3.00 else 2.85 end::decimal(6, 2);

-- 1. What each team spends a day ---------------------------------------------------------------------------------------

create temp table spend_days as
with
working as (
  select
    region,
    day_on,
    is_working_day,
    sale_name,
    sum(is_working_day::integer) over (partition by region, date_trunc('month', day_on) order by day_on) as from_start,
    sum(is_working_day::integer) over (partition by region, date_trunc('month', day_on) order by day_on desc) as from_end
  from core.calendar
)
select
  *,
  is_working_day and (from_start <= 3 or from_end <= 2) as is_close
from working
where day_on <= date '2026-09-30';

-- Those who close books or report by month have peaks around its turn: finance always, four other teams by chance.
create temp table spend_teams as
select
  team_id,
  domain,
  region,
  draw('spend_teams', team_id) as x,
  domain = 'finance'
  or row_number() over (partition by domain = 'finance' order by hidden_draw('closers', team_id)) <= 4 as is_closer
from ops.teams;

-- Incidents in the history: about half of the teams had one, over by the end of May. The next quarter's are drawn apart.
create temp table incidents as
with
drawn as (
  select
    team_id,
    false as is_future,
    hidden_draw('past_incidents', team_id) as x,
    date '2025-07-20' + floor(275 * u(hidden_draw('past_incidents', team_id), 3))::integer as starts_on
  from ops.teams
  union all
  select
    team_id,
    true,
    hidden_draw('next_incidents', team_id),
    date '2026-07-03' + floor(75 * u(hidden_draw('next_incidents', team_id), 3))::integer
  from ops.teams
)
select
  team_id,
  is_future,
  case when u(x, 2) < 0.5 then 'slow burn' else 'sudden' end as kind,
  starts_on,
  starts_on + (case when is_future then 22 + floor(20 * u(x, 4)) else 12 + floor(20 * u(x, 4)) end)::integer as ends_on,
  case when u(x, 2) < 0.5 then 1.9 + 1.1 * u(x, 5) else 1.7 + 1.1 * u(x, 5) end as factor
from drawn
where u(x, 1) < case when is_future then 0.24 else 0.5 end
order by team_id, is_future;

create temp table team_days as
with
shaped as (
  select
    t.team_id,
    d.day_on,
    d.day_on > today() as is_future,
    t.team_id * 1000 + date_diff('day', date '2025-07-01', d.day_on) as row_no,
    t.team_id * 1000 + date_diff('week', date '2025-06-30', d.day_on) as week_no,
    -- Median team: 5.5 credits on a working day; platform and machine learning take more. Growth -10% to +50% a year.
    lognormal(t.x, 1, 5.5, 0.4) * (case t.domain when 'ml' then 1.8 when 'platform' then 1.5 when 'finance' then 1.1 else 1 end)
    * exp((-0.1 + 0.5 * power(u(t.x, 2), 1.3)) * date_diff('day', date '2025-07-01', d.day_on) / 365.0) as level,
    (case when d.is_working_day then 1 else 0.35 + 0.4 * u(t.x, 3) end)
    * (case when t.is_closer and d.is_close then 3 + 1.2 * u(t.x, 4) else 1 end)
    * (case
        when d.sale_name is null or t.domain not in ('storefront', 'orders', 'payments', 'logistics', 'marketing') then 1
        else 1.3 + 0.6 * u(t.x, 5)
      end) as day_factor
  from spend_teams t
  join spend_days d using (region)
),
drawn as (
  -- What the future brings must not follow from a stream that shows in the world.
  select
    *,
    case when is_future then hidden_draw('future_days', row_no) else draw('team_days', row_no) end as x,
    case when is_future then hidden_draw('future_weeks', week_no) else draw('team_weeks', week_no) end as y
  from shaped
)
select
  d.team_id,
  d.day_on,
  d.is_future,
  i.kind,
  round(d.level * d.day_factor * 1e6)::bigint as expected_micro,
  round(
    d.level * 1e6 * exp(0.09 * gauss(d.x, 1) - 0.004) * exp(0.02 * gauss(d.y, 1))
    * (
      -- A reload of one day, now and then: a peak that means nothing.
      d.day_factor * (case when u(d.x, 2) < 0.008 then 1.8 + 0.6 * u(d.x, 3) else 1 end)
      -- A job that runs away does so on Sundays too.
      + 0.85 * (case i.kind
        when 'sudden' then i.factor - 1
        when 'slow burn' then (i.factor - 1) * least(1, (date_diff('day', i.starts_on, d.day_on) + 1) / 18.0)
        else 0
      end)
    )
  )::bigint as micro
from drawn d
left join incidents i
  on i.team_id = d.team_id and i.is_future = d.is_future and d.day_on >= i.starts_on and d.day_on < i.ends_on
order by d.day_on, d.team_id;

create table truth.spend_incidents as
select
  *
from incidents
order by is_future, team_id;

create table truth.team_spend as
select
  team_id,
  day_on,
  (expected_micro / 1e6 * credit_price_usd(day_on))::decimal(14, 4) as expected_usd,
  (micro::decimal(18, 0) / 1000000 * credit_price_usd(day_on))::decimal(14, 4) as amount_usd,
  kind as incident
from team_days
order by day_on, team_id;

-- 2. Service accounts and who owned them when ----------------------------------------------------------------------------

-- One plain account a team (1..30), and 24 more, some of which changed hands in the year.
create temp table accounts as
with
numbered as (
  select
    i as no,
    draw('service_accounts', i) as x,
    hidden_draw('account_fates', i) as h
  from range(1, 55) t (i)
),
fated as (
  select
    *,
    row_number() over (partition by no > 30 order by h) as rank_no
  from numbered
),
limits as (
  select
    5 + floor(4 * u(hidden_draw('account_fates', 0), 1))::integer as handed_over,
    2 + floor(3 * u(hidden_draw('account_fates', 0), 2))::integer as orphaned,
    3 + floor(4 * u(hidden_draw('account_fates', 0), 3))::integer as of_movers,
    1 + floor(3 * u(hidden_draw('account_fates', 0), 4))::integer as of_stayers,
    1 + floor(2 * u(hidden_draw('account_fates', 0), 5))::integer as of_leavers
)
select
  f.no,
  8000 + f.no as service_account_id,
  f.x,
  case when f.no <= 30 then f.no else 1 + floor(30 * u(f.x, 1))::integer end as first_team_id,
  case
    when f.no <= 30 then 'plain'
    when f.rank_no <= l.handed_over then 'handed over'
    when f.rank_no <= l.handed_over + l.orphaned then 'orphaned'
    when f.rank_no <= l.handed_over + l.orphaned + l.of_movers then 'of a mover'
    when f.rank_no <= l.handed_over + l.orphaned + l.of_movers + l.of_stayers then 'of a stayer'
    when f.rank_no <= l.handed_over + l.orphaned + l.of_movers + l.of_stayers + l.of_leavers then 'of a leaver'
    else 'plain'
  end as fate,
  -- Handovers happen on Monday mornings, like moves of people.
  timestamp '2025-08-04 07:00:00' + to_days(7 * floor(42 * u(f.x, 2))::integer) as handed_over_at,
  to_days(7 * (2 + floor(4 * u(f.x, 3))::integer)) as gap,
  pick(['dbt', 'loader', 'dashboards', 'features', 'exports'], f.x, 4) as task
from fated f, limits l
order by f.no;

create temp table keepers as
with
people as (
  select
    person_id,
    case when bool_or(valid_to_at is not null and next_at is null) then 'of a leaver' when count(*) > 1 then 'of a mover'
      else 'of a stayer' end as fate,
    max(valid_to_at) as left_at
  from (
    select
      *,
      lead(valid_from_at) over (partition by person_id order by valid_from_at) as next_at
    from ops.role_history
  )
  group by person_id
  having min(valid_from_at) < timestamp '2025-07-01'
)
select
  a.no,
  p.person_id,
  p.left_at
from (select *, row_number() over (partition by fate order by no) as k from accounts) a
join (select *, row_number() over (partition by fate order by draw('keepers', person_id)) as k from people) p
  using (fate, k);

create table ops.service_accounts as
select
  a.service_account_id::integer as service_account_id,
  'svc-' || t.team_name || '-' || a.task || case when a.no <= 30 then '' else '-' || a.no end as account_name,
  case a.task
    when 'dbt' then 'scheduled transformation' when 'loader' then 'loads from a source' when 'dashboards' then 'dashboards'
    when 'features' then 'model features' else 'exports to other systems'
  end as purpose,
  date '2021-01-10' + floor(1500 * u(a.x, 5))::integer as created_on
from accounts a
join ops.teams t
  on t.team_id = a.first_team_id
order by service_account_id;

create table ops.service_account_owners as
with
owned (no, owner_team_id, owner_person_id, valid_from_at, valid_to_at) as (
  -- Before the handover, or always.
  select
    a.no,
    case when k.person_id is null then a.first_team_id end,
    k.person_id,
    (select created_on from ops.service_accounts s where s.service_account_id = a.service_account_id)::timestamp,
    case
      when a.fate in ('handed over', 'orphaned') then a.handed_over_at
      when a.fate = 'of a leaver' then k.left_at
    end
  from accounts a
  left join keepers k using (no)
  union all
  select
    a.no,
    1 + (a.first_team_id + floor(29 * u(a.x, 6))::integer) % 30,
    null,
    case a.fate when 'handed over' then a.handed_over_at when 'orphaned' then a.handed_over_at + a.gap else k.left_at + a.gap end,
    null
  from accounts a
  left join keepers k using (no)
  where a.fate in ('handed over', 'orphaned') or (a.fate = 'of a leaver' and k.left_at is not null)
)
select
  (8000 + no)::integer as service_account_id,
  owner_team_id::integer as owner_team_id,
  owner_person_id::integer as owner_person_id,
  valid_from_at,
  valid_to_at
from owned
order by service_account_id, valid_from_at;

-- 3. Who may ask in a team's name at a given moment -----------------------------------------------------------------------

create temp table actor_times as
select
  'person' as kind,
  person_id as id,
  team_id,
  valid_from_at as from_at,
  coalesce(valid_to_at, timestamp '2027-01-01') as to_at
from ops.role_history
union all
select
  'account',
  o.service_account_id,
  coalesce(o.owner_team_id, r.team_id),
  greatest(o.valid_from_at, coalesce(r.valid_from_at, o.valid_from_at)),
  least(coalesce(o.valid_to_at, timestamp '2027-01-01'), coalesce(r.valid_to_at, timestamp '2027-01-01'))
from ops.service_account_owners o
left join ops.role_history r
  on r.person_id = o.owner_person_id;

create temp table actor_segments as
with
turns as (
  select distinct
    team_id,
    greatest(from_at, timestamp '2025-07-01') as at_time
  from actor_times
  where from_at < timestamp '2026-07-01'
  union
  select
    team_id,
    to_at
  from actor_times
  where to_at between timestamp '2025-07-01' and timestamp '2026-07-01'
)
select
  t.team_id,
  t.at_time,
  coalesce(list(a.id order by a.id) filter (a.kind = 'person'), []) as people,
  coalesce(list(a.id order by a.id) filter (a.kind = 'account'), []) as accounts
from turns t
join actor_times a
  on a.team_id = t.team_id and a.from_at <= t.at_time and a.to_at > t.at_time
group by t.team_id, t.at_time;

-- Those whom nobody can be found for: leavers whose schedules run on, accounts between two owners.
create temp table ghost_times as
select
  'person' as kind,
  person_id as id,
  max(coalesce(valid_to_at, timestamp '2027-01-01')) as from_at,
  max(coalesce(valid_to_at, timestamp '2027-01-01')) + interval 60 day as to_at
from ops.role_history
group by person_id
having max(coalesce(valid_to_at, timestamp '2027-01-01')) < timestamp '2026-07-01'
union all
select
  'account',
  service_account_id,
  valid_to_at,
  next_at
from (
  select
    *,
    lead(valid_from_at) over (partition by service_account_id order by valid_from_at) as next_at
  from ops.service_account_owners
)
where next_at > valid_to_at;

create temp table ghost_segments as
with
turns as (
  select timestamp '2025-07-01' as at_time
  union
  select from_at from ghost_times
  union
  select to_at from ghost_times
)
select
  t.at_time,
  coalesce(list({'kind': g.kind, 'id': g.id} order by g.kind, g.id) filter (g.id is not null), []) as ghosts
from turns t
left join ghost_times g
  on g.from_at <= t.at_time and g.to_at > t.at_time
group by t.at_time;

-- A schedule that fires in the very second of a handover: the new owner's. One a team and day.
create temp table handover_seconds as
select
  team_id,
  from_at::date as day_on,
  min(id) as service_account_id,
  min(from_at) as from_at
from actor_times
where kind = 'account' and from_at > timestamp '2025-07-02' and from_at < timestamp '2026-07-01' and from_at < to_at
group by team_id, from_at::date;

-- 4. The query log --------------------------------------------------------------------------------------------------------

-- Each team asks at least once a day (its schedules run on Sundays too); the rest falls where the spend is.
create temp table counts as
with
running as (
  select
    team_id,
    day_on,
    micro,
    row_number() over w as cell_no,
    sum(sqrt(micro)::bigint) over w as upto,
    sum(sqrt(micro)::bigint) over () as total,
    greatest(sized(1000000), 15000) - count(*) over () as spare
  from team_days
  where not is_future
  window w as (order by day_on, team_id rows unbounded preceding)
)
select
  team_id,
  day_on,
  micro,
  cell_no + (upto::hugeint * spare // total)::bigint as last_no,
  lag(cell_no + (upto::hugeint * spare // total)::bigint, 1, 0) over (order by cell_no) as before_no
from running;

create temp table skeleton as
with
numbered as (
  select
    c.*,
    n.i as nth,
    c.before_no + n.i as query_no,
    draw('query_log', c.before_no + n.i) as x
  from counts c, unnest(range(1, c.last_no - c.before_no + 1)) n (i)
),
placed as (
  select
    q.*,
    t.domain,
    t.region,
    u(q.x, 1) < 0.62 as by_account,
    case
      when u(q.x, 2) < 0.62
        then case t.domain
          when 'storefront' then 'commerce_wh' when 'orders' then 'commerce_wh' when 'payments' then 'finance_wh'
          when 'finance' then 'finance_wh' when 'logistics' then 'transform_wh' when 'ml' then 'ml_wh'
          when 'platform' then case when q.team_id = 23 then 'load_wh' else 'transform_wh' end
          else 'bi_wh'
        end
      when u(q.x, 2) < 0.76 then case when u(q.x, 1) < 0.62 then 'transform_wh' else 'adhoc_wh' end
      when u(q.x, 2) < 0.9 then case when u(q.x, 1) < 0.62 then 'load_wh' else 'bi_wh' end
      when u(q.x, 2) < 0.97 or u(draw('backfill_days', q.day_on), 1) > 0.3 then 'adhoc_wh'
      else 'backfill_wh'
    end as warehouse,
    h.from_at as handover_at,
    h.service_account_id as handover_account_id
  from numbered q
  join ops.teams t using (team_id)
  left join handover_seconds h
    on h.team_id = q.team_id and h.day_on = q.day_on and q.nth = 1
),
timed as (
  select
    *,
    coalesce(
      handover_at,
      -- Schedules fire on the quarter hour, people ask in their office hours; the second is kept within the UTC day.
      day_on + to_seconds(
        case
          when by_account
            then pick([0, 1, 2, 3, 4, 5, 6, 7, 9, 12, 15, 18, 21], x, 3) * 3600 + pick([0, 0, 15, 30, 45], x, 4) * 60
          else ((case region when 'EU' then 7 when 'US' then 13 else 22 end) * 3600 + floor(34200 * u(x, 5))::bigint) % 86400
        end
      )
    ) as started_at
  from placed
),
weighted as (
  select
    *,
    -- Log-normal work, in whole parts; a reload of history weighs more.
    (100 + floor(lognormal(x, 6, 1000, 1.1) * case when warehouse = 'backfill_wh' then 4 else 1 end))::bigint as parts
  from timed
),
shared as (
  select
    *,
    -- The first of the day takes what rounding left over, so that a day's queries add up to the day's spend.
    (micro::hugeint * parts // sum(parts) over w)::bigint as share
  from weighted
  window w as (partition by team_id, day_on)
),
costed as (
  select
    *,
    share + case when nth = 1 then micro - sum(share) over (partition by team_id, day_on) else 0 end as query_micro
  from shared
)
select
  c.query_no,
  c.x,
  c.team_id,
  c.day_on,
  c.domain,
  c.warehouse,
  c.started_at,
  c.query_micro::bigint as query_micro,
  w.credits_per_hour,
  c.by_account,
  c.handover_account_id,
  s.people,
  s.accounts,
  -- Only where the rule for the untraceable leads to the same team: the owner of the warehouse pays.
  c.handover_at is null and w.owner_team_id = c.team_id and u(c.x, 7) < 0.3 as is_ghost
from costed c
join ops.warehouses w using (warehouse)
asof join actor_segments s
  on s.team_id = c.team_id and c.started_at >= s.at_time;

create temp table actors as
with
ghosts as (
  select
    k.query_no,
    case when u(k.x, 8) < 0.75 and len(g.ghosts) > 0 then pick(g.ghosts, k.x, 9) end as ghost
  from skeleton k
  asof join ghost_segments g
    on k.started_at >= g.at_time
  where k.is_ghost
)
select
  k.query_no,
  case
    when k.is_ghost then case when g.ghost.kind = 'person' then g.ghost.id end
    when k.handover_account_id is null and not (k.by_account and len(k.accounts) > 0) and len(k.people) > 0
      then pick(k.people, k.x, 10)
  end as person_id,
  case
    when k.is_ghost then case when g.ghost.kind = 'account' then g.ghost.id end
    when k.handover_account_id is not null then k.handover_account_id
    when (k.by_account and len(k.accounts) > 0) or len(k.people) = 0 then pick(k.accounts, k.x, 11)
  end as service_account_id
from skeleton k
left join ghosts g using (query_no);

-- Real statements on core tables. {d}: a day of the last weeks, {m}: first of that month, {c}: country, {g}: category,
-- {n}: a number.
create temp table templates as
select
  row_number() over () as no,
  *
from (values
  (['storefront', 'marketing', 'orders'], 'select ordered_on, count(*) as orders, sum(total_usd) as revenue_usd from core.orders where ordered_on >= date ''{d}'' group by ordered_on order by ordered_on'),
  (['storefront', 'orders'], 'select channel, count(*) as orders from core.orders where ordered_on >= date ''{d}'' and country_code = ''{c}'' group by channel'),
  (['storefront', 'ml'], 'select p.category, sum(i.quantity) as pieces from core.order_items i join core.products p on p.product_id = i.product_id join core.orders o on o.order_id = i.order_id where o.ordered_on >= date ''{d}'' group by p.category'),
  (['orders', 'logistics'], 'select * from core.orders where ordered_on between date ''{d}'' and date ''{d}'' + 6 and country_code = ''{c}'''),
  (['orders', 'finance'], 'select country_code, status, count(*) as orders, sum(total_amount) as total_amount from core.orders where ordered_on >= date ''{m}'' group by country_code, status'),
  (['orders', 'customer'], 'select o.order_id, o.ordered_at, o.total_usd from core.orders o where o.customer_id = 100000 + {n} order by o.ordered_at desc limit 20'),
  (['payments'], 'select psp, method, status, count(*) as payments from core.payments where authorized_at >= timestamp ''{d}'' group by psp, method, status'),
  (['payments', 'finance'], 'select p.currency, sum(p.amount) as captured from core.payments p where p.status = ''captured'' and p.captured_at >= timestamp ''{m}'' group by p.currency'),
  (['payments'], 'select o.country_code, avg(case when p.status = ''captured'' then 1 else 0 end) as capture_rate from core.orders o left join core.payments p on p.order_id = o.order_id where o.ordered_on >= date ''{d}'' group by o.country_code'),
  (['logistics'], 'select carrier, quantile_cont(date_diff(''minute'', shipped_at, delivered_at), 0.95) as p95_min from core.shipments where shipped_at >= timestamp ''{d}'' group by carrier'),
  (['logistics', 'customer'], 'select s.* from core.shipments s join core.orders o using (order_id) where o.ordered_on = date ''{d}'' and s.delivered_at is null'),
  (['logistics'], 'with late as (select order_id from core.shipments where delivered_at > shipped_at + interval {n} hour) select o.country_code, count(*) as late from late l join core.orders o on o.order_id = l.order_id group by o.country_code'),
  (['customer', 'marketing'], 'select country_code, segment, loyalty_tier, count(*) as customers from core.customers where not is_test_account group by all'),
  (['customer', 'marketing', 'ml'], 'select o.customer_id, count(*) as orders_90d, max(o.ordered_at) as last_order_at from core.orders o where o.ordered_on >= date ''{d}'' group by o.customer_id'),
  (['customer'], 'select c.customer_id, c.full_name, c.email from core.customers c where c.country_code = ''{c}'' and not exists (select 1 from core.orders o where o.customer_id = c.customer_id and o.ordered_on >= date ''{d}'')'),
  (['marketing'], 'select date_trunc(''week'', ordered_on) as week_on, count(distinct customer_id) as active_customers from core.orders where ordered_on >= date ''{d}'' group by 1'),
  (['marketing', 'storefront'], 'select p.category, o.country_code, sum(i.line_amount) as amount from core.orders o join core.order_items i using (order_id) join core.products p using (product_id) where p.category = ''{g}'' and o.ordered_on >= date ''{d}'' group by 1, 2'),
  (['finance'], 'select o.currency, sum(o.total_amount) as total_amount, sum(o.total_usd) as total_usd from core.orders o where o.ordered_on >= date ''{m}'' and o.status <> ''cancelled'' group by o.currency'),
  (['finance'], 'select r.reason, count(*) as returns, sum(r.refund_amount) as refunds from core.returns r where r.returned_at >= timestamp ''{m}'' and r.currency = ''EUR'' group by r.reason'),
  (['finance', 'platform'], 'select day_on, currency, usd_per_unit from core.fx_rates where day_on >= date ''{d}'''),
  (['platform'], 'create or replace table mart.orders_daily as select ordered_on, country_code, count(*) as orders, sum(total_usd) as total_usd from core.orders group by ordered_on, country_code'),
  (['platform'], 'select count(*) as rows_today, max(ordered_at) as newest_at from core.orders where ordered_at >= timestamp ''{d}'''),
  (['ml'], 'select i.product_id, o.ordered_on, sum(i.quantity) as pieces from core.order_items i join core.orders o on o.order_id = i.order_id where o.ordered_on >= date ''{d}'' and o.country_code = ''{c}'' group by i.product_id, o.ordered_on'),
  (['ml'], 'select o.customer_id, p.category, count(*) as bought from core.orders o join core.order_items i on i.order_id = o.order_id join core.products p on p.product_id = i.product_id group by o.customer_id, p.category having count(*) > {n}'),
  (['logistics', 'ml', 'orders'], 'select r.order_id, r.line_no, r.reason from core.returns r left join core.shipments s on s.order_id = r.order_id where s.carrier = ''swiftly'' and r.returned_at >= timestamp ''{d}''')
) t (domains, template);

create temp table template_lists as
select
  t.domain,
  (select list(m.template order by m.no) from templates m where list_contains(m.domains, t.domain)) as templates
from (select distinct domain from ops.teams) t;

create table ops.query_log as
with
drawn as (
  select
    k.*,
    a.person_id,
    a.service_account_id,
    l.templates,
    k.query_micro / 1e6 / k.credits_per_hour * 3600000 * (1 + 0.8 * u(k.x, 12)) as work_ms,
    k.day_on - (1 + floor(power(u(k.x, 15), 2) * 90)::integer) as literal_on
  from skeleton k
  join actors a using (query_no)
  join template_lists l using (domain)
)
select
  (50000000 + row_number() over (order by started_at, query_no))::bigint as query_id,
  warehouse,
  person_id::integer as person_id,
  service_account_id::integer as service_account_id,
  started_at,
  greatest(40, round(work_ms))::bigint as execution_ms,
  case when u(x, 13) < 0.8 then 0 else floor(lognormal(x, 14, 900, 1.6)) end::bigint as queued_ms,
  floor(work_ms * lognormal(x, 16, 40, 0.8))::bigint + 1 as rows_scanned,
  (floor(work_ms * lognormal(x, 16, 40, 0.8))::bigint + 1) * (24 + floor(120 * u(x, 17)))::bigint as bytes_scanned,
  floor(lognormal(x, 18, 60, 2.0))::bigint as rows_returned,
  case when u(x, 19) < 0.95 then 'success' when u(x, 19) < 0.985 then 'failed' else 'cancelled' end as status,
  replace(replace(replace(replace(replace(
    pick(templates, x, 20),
    '{d}', literal_on::varchar), '{m}', date_trunc('month', literal_on)::date::varchar),
    '{c}', pick(['DE', 'FR', 'ES', 'PL', 'GR', 'IE', 'US', 'CA', 'MX', 'JP', 'AU'], x, 21)),
    '{g}', pick(['produce', 'bakery', 'dairy', 'pantry', 'drinks', 'frozen', 'cleaning', 'pet'], x, 22)),
    '{n}', (2 + floor(140 * u(x, 23)))::bigint::varchar) as query_text,
  (query_micro::decimal(18, 0) / 1000000)::decimal(18, 6) as credits
from drawn
order by query_id;

create table truth.query_teams as
select
  (50000000 + row_number() over (order by started_at, query_no))::bigint as query_id,
  team_id::integer as team_id,
  not is_ghost as is_traceable
from skeleton
order by query_id;

-- 5. What the provider meters and bills -----------------------------------------------------------------------------------

create table ops.warehouse_metering as
with
queried as (
  select
    warehouse,
    day_on,
    sum(query_micro)::bigint as micro
  from skeleton
  group by warehouse, day_on
),
grid as (
  select
    w.*,
    d.day_on,
    coalesce(q.micro, 0) as micro,
    draw('metering', w.warehouse || d.day_on) as x
  from ops.warehouses w
  cross join (select distinct day_on from team_days where not is_future) d
  left join queried q using (warehouse, day_on)
)
select
  day_on as metered_on,
  warehouse,
  (micro::decimal(18, 0) / 1000000)::decimal(18, 6) as query_credits,
  (floor(
    case
      when warehouse = 'migration_wh' then 0.8e6 + 0.5e6 * u(x, 1)
      -- Nobody asked: now and then somebody had left it on.
      when micro = 0 then case when u(x, 2) < 0.2 then 1e6 * credits_per_hour * (0.05 + 0.1 * u(x, 3)) else 0 end
      -- The longer it stays up after the last query, the more is idle.
      else micro * (0.06 + 0.12 * u(x, 4)) * (1 + auto_suspend_s / 600.0)
    end
  )::decimal(18, 0) / 1000000)::decimal(18, 6) as idle_credits
from grid
order by metered_on, warehouse;

create table ops.invoices as
with
months as (
  select
    date_trunc('month', metered_on)::date as month_on,
    sum(query_credits + idle_credits) as credits,
    any_value(credit_price_usd(metered_on)) as price,
    draw('invoices', date_trunc('month', metered_on)::date) as x,
    -- Two of every three months have a refund for one warehouse, a third has a correction of a past invoice.
    hidden_draw('adjustments', date_trunc('month', metered_on)::date) as h
  from ops.warehouse_metering
  group by all
),
compute as (
  select
    m.month_on,
    w.warehouse,
    sum(w.query_credits + w.idle_credits) as credits,
    m.price
  from ops.warehouse_metering w
  join months m
    on m.month_on = date_trunc('month', w.metered_on)
  group by m.month_on, w.warehouse, m.price
),
lines (month_on, line_no, kind, warehouse, description, credits, unit_price_usd, amount_usd) as (
  select
    month_on,
    row_number() over (partition by month_on order by warehouse),
    'compute',
    warehouse,
    'compute credits of ' || warehouse,
    credits,
    price,
    round(credits * price, 2)
  from compute
  union all
  select month_on, 11, 'serverless', null, 'clustering and upkeep of materialised views', credits_s, price, round(credits_s * price, 2)
  from (select *, round((credits * (0.06 + 0.05 * u(x, 1)))::decimal(18, 6), 2)::decimal(18, 6) as credits_s from months)
  union all
  select month_on, 12, 'storage', null, 'storage, average of the month', null, null, round(1450 + 28 * date_diff('month', date '2025-07-01', month_on) + 90 * u(x, 2), 2)
  from months
  union all
  select month_on, 13, 'support', null, 'support plan', null, null, 600
  from months
  union all
  select month_on, 14, 'rebate', null, 'volume rebate', null, null, -round((credits * price)::double * (0.02 + 0.03 * u(x, 3)), 2)
  from months
  union all
  select
    m.month_on, 15, 'service credit', c.warehouse, 'refund for an outage of ' || c.warehouse, null, null,
    -round((c.credits * c.price)::double * (0.15 + 0.4 * u(m.h, 2)), 2)
  from months m
  join compute c
    on c.month_on = m.month_on and c.warehouse = pick(['bi_wh', 'commerce_wh', 'ml_wh', 'transform_wh', 'finance_wh'], m.h, 3)
  where u(m.h, 1) < 0.66
  union all
  select month_on, 16, 'correction', null, 'correction of an earlier invoice', null, null, round(300 * gauss(h, 4), 2)
  from months
  where u(h, 5) < 0.34
)
select
  'KM-' || strftime(month_on, '%Y%m') as invoice_no,
  line_no::integer as line_no,
  month_on,
  kind as line_kind,
  warehouse,
  description,
  credits::decimal(18, 6) as credits,
  unit_price_usd::decimal(6, 2) as unit_price_usd,
  amount_usd::decimal(14, 2) as amount_usd
from lines
order by month_on, line_no;

-- 6. Spend as shown to teams, and what Finance signs ----------------------------------------------------------------------

create table ops.team_spend as
select
  team_id::integer as team_id,
  day_on,
  (micro::decimal(18, 0) / 1000000 * credit_price_usd(day_on))::decimal(14, 4) as direct_usd
from team_days
where not is_future
order by day_on, team_id;

create table ops.signed_totals as
select
  date_trunc('month', day_on)::date as month_on,
  round(
    sum(expected_micro)::double / 1e6 * any_value(credit_price_usd(day_on))::double
    * (0.98 + 0.05 * u(draw('signed_totals', date_trunc('month', day_on)::date), 1)),
    -2
  )::decimal(14, 2) as signed_usd
from team_days
group by 1
order by 1;

-- How it was done so far: last July's thought, one share a head, and the person who was asked then.
create table ops.budgets as
with
named as (
  select
    t.team_id,
    t.head_count,
    (
      select arg_min(r.person_id, draw('budget_contacts', r.person_id))
      from ops.role_history r
      where r.team_id = t.team_id and r.valid_from_at < timestamp '2025-08-01'
    ) as contact_id
  from ops.teams t
)
select
  s.month_on,
  n.team_id,
  round(s.signed_usd * n.head_count / sum(n.head_count) over (partition by s.month_on), 2)::decimal(14, 2) as budget_usd,
  90.00::decimal(5, 2) as alert_at_pct,
  n.contact_id as acts_person_id
from ops.signed_totals s
cross join named n
where s.month_on <= today()
order by s.month_on, n.team_id;

drop table spend_days;
drop table spend_teams;
drop table incidents;
drop table team_days;
drop table accounts;
drop table keepers;
drop table actor_times;
drop table actor_segments;
drop table ghost_times;
drop table ghost_segments;
drop table handover_seconds;
drop table counts;
drop table skeleton;
drop table actors;
drop table templates;
drop table template_lists;
drop macro credit_price_usd;

comment on table ops.warehouses is 'The virtual warehouses of the shared cloud warehouse.';
comment on column ops.warehouses.warehouse is 'Name; key.';
comment on column ops.warehouses.size is 'Size, S to 3XL.';
comment on column ops.warehouses.credits_per_hour is 'Credits that one hour of running costs.';
comment on column ops.warehouses.auto_suspend_s is 'Seconds without a query after which it is suspended.';
comment on column ops.warehouses.owner_team_id is 'Team that owns it; references ops.teams. Has not changed in recorded time.';
comment on column ops.warehouses.purpose is 'What it is meant for.';

comment on table ops.service_accounts is 'Users that are programs: schedules, dashboards, exports.';
comment on column ops.service_accounts.service_account_id is 'Key.';
comment on column ops.service_accounts.account_name is 'Unique; named after the team that asked for it first, whoever owns it now.';
comment on column ops.service_accounts.purpose is 'What it does.';
comment on column ops.service_accounts.created_on is 'Day on which it was made.';

comment on table ops.service_account_owners is
  'Who answered for a service account and when: half-open intervals without overlap; there may be gaps.';
comment on column ops.service_account_owners.service_account_id is 'References ops.service_accounts.';
comment on column ops.service_account_owners.owner_team_id is 'Team that owns it; null: a person does.';
comment on column ops.service_account_owners.owner_person_id is 'Person who owns it, whatever team they are in; null: a team does.';
comment on column ops.service_account_owners.valid_from_at is 'First moment (UTC), included.';
comment on column ops.service_account_owners.valid_to_at is 'Last moment (UTC), excluded; null: until further notice.';

comment on table ops.query_log is 'Queries of the last 365 days, in order of start.';
comment on column ops.query_log.query_id is 'Key.';
comment on column ops.query_log.warehouse is 'Where it ran; references ops.warehouses.';
comment on column ops.query_log.person_id is 'Who asked; null: a service account, or a user that was deleted.';
comment on column ops.query_log.service_account_id is 'Program that asked; null: a person, or a user that was deleted.';
comment on column ops.query_log.started_at is 'When it started (UTC).';
comment on column ops.query_log.execution_ms is 'Time in execution, milliseconds.';
comment on column ops.query_log.queued_ms is 'Time in the queue before, milliseconds.';
comment on column ops.query_log.rows_scanned is 'Rows read.';
comment on column ops.query_log.bytes_scanned is 'Bytes read.';
comment on column ops.query_log.rows_returned is 'Rows of the result.';
comment on column ops.query_log.status is 'success, failed or cancelled.';
comment on column ops.query_log.query_text is 'The statement.';
comment on column ops.query_log.credits is 'Credits that its execution cost, idle time of the warehouse not included.';

comment on table ops.warehouse_metering is 'Metered credits by warehouse and day (UTC).';
comment on column ops.warehouse_metering.metered_on is 'Day (UTC); key with warehouse.';
comment on column ops.warehouse_metering.warehouse is 'References ops.warehouses.';
comment on column ops.warehouse_metering.query_credits is 'Credits of the queries that started on that day.';
comment on column ops.warehouse_metering.idle_credits is 'Credits of time in which the warehouse was up and had nothing to do.';

comment on table ops.invoices is 'Lines of the provider''s monthly invoices.';
comment on column ops.invoices.invoice_no is 'Number of the invoice; key with line_no.';
comment on column ops.invoices.line_no is 'Position.';
comment on column ops.invoices.month_on is 'First day of the month that is billed.';
comment on column ops.invoices.line_kind is 'compute, serverless, storage, support, rebate, service credit or correction.';
comment on column ops.invoices.warehouse is 'Warehouse that the line is about; null: none in particular.';
comment on column ops.invoices.description is 'As printed.';
comment on column ops.invoices.credits is 'Credits billed; null where the line is not about credits.';
comment on column ops.invoices.unit_price_usd is 'US dollars for a credit; null where the line is not about credits.';
comment on column ops.invoices.amount_usd is 'US dollars; negative for rebates, refunds and some corrections.';

comment on table ops.team_spend is
  'Direct spend by team and day, up to today: credits of the queries accounted to the team, at the contract''s price.';
comment on column ops.team_spend.team_id is 'References ops.teams; key with day_on.';
comment on column ops.team_spend.day_on is 'Day (UTC).';
comment on column ops.team_spend.direct_usd is 'US dollars; idle and shared cost not included.';

comment on table ops.signed_totals is 'What Finance has signed for direct spend, all teams together: last year and the next quarter.';
comment on column ops.signed_totals.month_on is 'First day of the month; key.';
comment on column ops.signed_totals.signed_usd is 'US dollars.';

comment on table ops.budgets is 'Budgets of the past twelve months, as Finance made them: one share a head.';
comment on column ops.budgets.month_on is 'First day of the month; key with team_id.';
comment on column ops.budgets.team_id is 'References ops.teams.';
comment on column ops.budgets.budget_usd is 'US dollars of direct spend.';
comment on column ops.budgets.alert_at_pct is 'An alert went out when this part of the budget was spent, percent.';
comment on column ops.budgets.acts_person_id is 'Who was told, as named in July 2025; references ops.people.';
