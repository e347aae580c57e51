-- subject: pipelines
-- needs: organisation
-- makes: ops.pools, ops.services, ops.dags, ops.tasks, ops.task_deps

create table ops.pools as
select
  *
from (values
  ('shared', 8::smallint, 'what domains run all day: cleaning, enriching, exports'),
  ('ingest', 20::smallint, 'landing of sources'),
  ('heavy', 16::smallint, 'marts and reports'),
  ('ml', 8::smallint, 'features and training')
) as p (pool, slots, purpose);

-- Client time-outs as found: each team kept its library's default. Geocoding's kit waits three times 200 seconds.
create table ops.services as
select
  *
from (values
  ('geocoding', 'coordinates of postal addresses', 'vendor', 12, 600::integer),
  ('fx_quotes', 'exchange rates of the moment', 'vendor', 9, 60),
  ('fraud_scores', 'risk of a payment', 'in-house', 8, 60),
  ('address_check', 'whether an address can be delivered to', 'vendor', 14, 90),
  ('vat_check', 'whether a VAT number is valid', 'public authority', 20, 120),
  ('carrier_tracking', 'where a parcel is', 'vendor', 10, 120)
) as s (service_name, answers, provider, team_id, timeout_s);

create temp table nouns as
select
  domain,
  unnest(nouns) as noun
from (values
  ('storefront', ['sessions', 'page_views', 'searches', 'carts', 'app_events', 'listings', 'reviews', 'banners', 'experiments']),
  ('orders', ['orders', 'order_items', 'cancellations', 'baskets', 'substitutions', 'order_events', 'gift_cards', 'subscriptions']),
  ('payments', ['payments', 'refunds', 'chargebacks', 'payouts', 'wallets', 'psp_fees', 'disputes', 'authorisations']),
  ('logistics', ['shipments', 'parcels', 'stock', 'routes', 'returns', 'slots', 'pickups', 'depots', 'drivers']),
  ('customer', ['customers', 'households', 'contacts', 'loyalty', 'consents', 'segments', 'tickets', 'surveys']),
  ('marketing', ['campaigns', 'newsletters', 'clicks', 'audiences', 'coupons', 'affiliates', 'impressions', 'leads']),
  ('finance', ['ledger', 'invoices', 'revenue', 'costs', 'accruals', 'budgets', 'tax', 'cash']),
  ('platform', ['catalogue', 'query_log', 'access_log', 'lineage', 'usage', 'backups', 'incidents', 'invoices']),
  ('ml', ['demand', 'prices', 'ranking', 'basket_pairs', 'churn', 'delivery_times', 'fraud', 'substitutes'])
) as n (domain, nouns);

-- Who may call which service, how many callers it has by schedule, and what they need, in turn: a caller is in a hurry or
-- not, and wants a fresh answer, a brief old one or any old one. Exchange rates of yesterday do for most reports, an old
-- coordinate for all but new addresses; a risk score does not keep.
create temp table callers as
with
wanted (service_name, suffix, domains, quarterly, hourly, daily, needs) as (
  values
    ('geocoding', 'geocoded', ['logistics', 'customer', 'marketing', 'orders'], 2, 5, 5,
      ['tight fresh', 'tight any', 'tight fresh', 'tight brief', 'tight any', 'relaxed fresh', 'relaxed any', 'relaxed fresh',
       'relaxed brief', 'tight fresh', 'relaxed any', 'tight any']),
    ('fx_quotes', 'in_usd', ['finance', 'payments', 'marketing'], 0, 2, 5,
      ['tight any', 'relaxed any', 'tight any', 'tight fresh', 'relaxed brief', 'relaxed any', 'tight brief']),
    ('fraud_scores', 'scored', ['payments', 'orders'], 1, 2, 2,
      ['tight fresh', 'tight fresh', 'relaxed fresh', 'relaxed fresh', 'tight fresh']),
    ('address_check', 'addressed', ['customer', 'orders'], 0, 3, 3,
      ['tight fresh', 'relaxed brief', 'tight any', 'relaxed fresh', 'relaxed any', 'tight brief']),
    ('vat_check', 'vat_checked', ['finance', 'payments'], 0, 1, 4,
      ['tight any', 'relaxed fresh', 'tight any', 'relaxed any', 'tight brief']),
    ('carrier_tracking', 'tracked', ['logistics', 'orders'], 0, 3, 3,
      ['tight brief', 'tight fresh', 'relaxed fresh', 'tight any', 'relaxed brief', 'relaxed any'])
),
ranked as (
  select
    w.*,
    n.domain,
    n.noun,
    row_number() over (
      partition by w.service_name order by draw('pipelines/callers', w.service_name || n.domain || n.noun)
    ) as rank
  from wanted w
  join nouns n
    on list_contains(w.domains, n.domain)
)
select
  domain,
  noun || '_' || suffix as subject,
  'enriched' as purpose,
  service_name,
  case when rank <= quarterly then 'quarterly' when rank <= quarterly + hourly then 'hourly' else 'daily' end as frequency,
  -- The two that run each quarter of an hour may change places; the others are in the order of their draw anyway.
  needs[case when rank <= quarterly and quarterly = 2 and u(draw('pipelines/needs', 1), 1) < 0.5 then 3 - rank else rank end] as needs
from ranked
where rank <= quarterly + hourly + daily;

create temp table planned as
with
others as (
  select
    n.domain,
    n.noun || '_' || p.purpose as subject,
    p.purpose,
    row_number() over (order by draw('pipelines/others', n.domain || n.noun || p.purpose)) as rank,
    row_number() over (partition by p.purpose order by draw('pipelines/others', n.domain || n.noun || p.purpose)) as rank_of_purpose,
    draw('pipelines/others', n.domain || n.noun || p.purpose) as x
  from nouns n
  cross join (values ('landed'), ('cleaned'), ('mart'), ('report'), ('features'), ('export')) p (purpose)
),
everything as (
  select domain, subject, purpose, service_name, frequency, needs from callers
  union all
  select
    domain,
    subject,
    purpose,
    null,
    case
      when rank_of_purpose <= case purpose when 'cleaned' then 5 when 'landed' then 2 when 'export' then 3 else 0 end
        then 'hourly'
      when purpose = 'report' and u(x, 1) < 0.35 then 'weekly'
      when purpose in ('report', 'export') and u(x, 1) > 0.9 then 'monthly'
      else 'daily'
    end,
    null
  from others
  where rank <= 400 - (select count(*) from callers)
)
select
  'P' || lpad(row_number() over (order by draw('pipelines/number', domain || subject))::varchar, 4, '0') as dag_id,
  domain || '_' || subject as dag_name,
  *,
  draw('pipelines', domain || subject) as x
from everything;

create table ops.dags as
with
owned as (
  select
    p.*,
    pick((select list(t.team_id order by t.team_id) from ops.teams t where t.domain = p.domain), p.x, 1) as team_id
  from planned p
),
timed as (
  select
    o.*,
    case when u(x, 2) < 0.7 then 'UTC' else t.time_zone end as time_zone,
    -- Half of all daily jobs start on the stroke of midnight or of two: nobody thought of the others.
    case when u(x, 3) < 0.3 then 0 when u(x, 3) < 0.5 then 2 else 1 + floor(u(x, 4) * 7)::integer end
    + case purpose when 'landed' then 0 when 'cleaned' then 1 when 'enriched' then 2 when 'report' then 4 else 3 end as hour,
    case when u(x, 5) < 0.6 then 0 else 5 * floor(u(x, 6) * 12)::integer end as minute,
    case
      when u(x, 7) < 0.08 then 'critical' when u(x, 7) < 0.3 then 'high' when u(x, 7) < 0.8 or needs like 'tight%' then 'normal'
      else 'low'
    end as criticality
  from owned o
  join ops.teams t using (team_id)
)
select
  dag_id,
  dag_name,
  team_id,
  purpose,
  case frequency
    when 'quarterly' then '*/15 * * * *'
    when 'hourly' then minute || ' * * * *'
    when 'daily' then minute || ' ' || hour || ' * * *'
    when 'weekly' then minute || ' ' || hour || ' * * 1'
    else minute || ' ' || hour || ' 1 * *'
  end as schedule_cron,
  time_zone,
  criticality,
  case
    when needs like 'tight%' then pick([35, 45, 60], x, 9)
    when needs like 'relaxed%' then pick([360, 480, 720], x, 9)
    when frequency = 'hourly' then 50
    when frequency = 'daily' then pick([120, 180, 240, 360, 480], x, 9)
    else 720
  end::integer as deadline_minutes,
  date '2021-03-01' + floor(u(x, 10) * 1800)::integer as created_on
from timed
order by dag_id;

create temp table templates as
select
  *
from (values
  ('landed', 1, 'extract', 'extract', []::integer[]), ('landed', 2, 'load', 'load', [1]), ('landed', 3, 'check', 'check', [2]),
  ('cleaned', 1, 'read', 'extract', []), ('cleaned', 2, 'dedupe', 'transform', [1]), ('cleaned', 3, 'conform', 'transform', [2]),
  ('cleaned', 4, 'check', 'check', [3]), ('cleaned', 5, 'publish', 'publish', [4]),
  ('enriched', 1, 'read', 'extract', []), ('enriched', 2, 'enrich', 'service call', [1]), ('enriched', 3, 'publish', 'publish', [2]),
  ('mart', 1, 'read', 'extract', []), ('mart', 2, 'join', 'transform', [1]), ('mart', 3, 'aggregate', 'transform', [1]),
  ('mart', 4, 'merge', 'load', [2, 3]), ('mart', 5, 'check', 'check', [4]), ('mart', 6, 'publish', 'publish', [5]),
  ('report', 1, 'read', 'extract', []), ('report', 2, 'aggregate', 'transform', [1]), ('report', 3, 'render', 'publish', [2]),
  ('report', 4, 'send', 'export', [3]),
  ('features', 1, 'read', 'extract', []), ('features', 2, 'window', 'transform', [1]), ('features', 3, 'encode', 'transform', [1]),
  ('features', 4, 'train', 'train', [2, 3]), ('features', 5, 'check', 'check', [4]), ('features', 6, 'publish', 'publish', [5]),
  ('export', 1, 'read', 'extract', []), ('export', 2, 'format', 'transform', [1]), ('export', 3, 'send', 'export', [2])
) as t (purpose, step_no, task_name, task_class, after_steps);

create table ops.tasks as
with
drawn as (
  select
    p.dag_id,
    p.dag_id || '.' || t.task_name as task_id,
    t.task_name,
    t.step_no,
    t.task_class,
    p.purpose,
    p.frequency,
    p.needs,
    case when t.task_class = 'service call' then p.service_name end as called,
    draw('tasks', p.dag_id || t.step_no) as x
  from planned p
  join templates t using (purpose)
)
select
  task_id,
  dag_id,
  task_name,
  step_no::utinyint as step_no,
  task_class,
  case purpose
    when 'landed' then 'ingest' when 'mart' then 'heavy' when 'report' then 'heavy' when 'features' then 'ml' else 'shared'
  end as pool,
  called as service_name,
  case when called is not null then case frequency when 'quarterly' then 8 when 'hourly' then 10 else 16 end end::integer
    as calls_per_run,
  case
    when called is not null and needs like '%any' then pick([1440, 10080], x, 2)
    when called is not null and needs like '%brief' then pick([5, 10], x, 2)
  end::integer as max_stale_minutes,
  task_class not in ('load', 'publish', 'export') or u(x, 3) < 0.75 as is_idempotent,
  case when u(x, 4) < 0.7 then 3 when u(x, 4) < 0.9 then 1 else 5 end::utinyint as max_attempts,
  case when u(x, 5) < 0.5 then 360 else pick([60, 120, 720], x, 6) end::integer as timeout_minutes
from drawn
order by task_id;

-- Within a DAG by its template; between DAGs a sensor: the first task waits for the last one of a DAG of an earlier layer.
create table ops.task_deps as
with
layers (purpose, layer) as (
  values ('landed', 1), ('cleaned', 2), ('enriched', 3), ('mart', 4), ('features', 4), ('report', 5), ('export', 5)
),
inside as (
  select
    p.dag_id || '.' || t.task_name as task_id,
    p.dag_id || '.' || up.task_name as upstream_task_id,
    false as is_sensor
  from planned p
  join templates t using (purpose)
  cross join unnest(t.after_steps) a (step_no)
  join templates up
    on up.purpose = t.purpose and up.step_no = a.step_no
),
candidates as (
  select
    d.dag_id,
    s.dag_id as upstream_dag_id,
    s.purpose as upstream_purpose,
    row_number() over (
      partition by d.dag_id
      -- its own domain first, then anybody's
      order by s.domain <> d.domain and u(draw('pipelines/sensors', d.dag_id || s.dag_id), 1) < 0.7,
        draw('pipelines/sensors', d.dag_id || s.dag_id)
    ) as rank,
    u(d.x, 11) as chance
  from planned d
  join layers ld
    on ld.purpose = d.purpose
  join planned s
    on s.frequency = 'daily'
  join layers ls
    on ls.purpose = s.purpose and ls.layer between ld.layer - 2 and ld.layer - 1
  where d.frequency = 'daily' and d.purpose <> 'enriched'
)
select * from inside
union all
select
  c.dag_id || '.' || first.task_name,
  c.upstream_dag_id || '.' || last.task_name,
  true
from candidates c
join planned d using (dag_id)
join templates first
  on first.purpose = d.purpose and first.step_no = 1
join templates last
  on last.purpose = c.upstream_purpose
    and last.step_no = (select max(m.step_no) from templates m where m.purpose = c.upstream_purpose)
where c.rank <= case when c.chance < 0.25 then 0 when c.chance < 0.7 then 1 else 2 end
order by task_id, upstream_task_id;

drop table nouns;
drop table callers;
drop table planned;
drop table templates;

comment on table ops.pools is 'Pools of slots on the cluster; a running task takes one slot.';
comment on column ops.pools.pool is 'Key.';
comment on column ops.pools.slots is 'Tasks that can run at once.';
comment on column ops.pools.purpose is 'What runs there.';

comment on table ops.services is 'Services that tasks call while they run.';
comment on column ops.services.service_name is 'Key.';
comment on column ops.services.answers is 'What it is asked.';
comment on column ops.services.provider is 'in-house, vendor or public authority.';
comment on column ops.services.team_id is 'Team that answers for the contract with it; references ops.teams.';
comment on column ops.services.timeout_s is 'How long a caller waits for an answer, seconds.';

comment on table ops.dags is 'The pipelines (DAGs) of all teams. dag_id is the same as pipeline_id elsewhere.';
comment on column ops.dags.dag_id is 'Key, such as P0001.';
comment on column ops.dags.dag_name is 'domain, subject and purpose; unique.';
comment on column ops.dags.team_id is 'Owner; references ops.teams.';
comment on column ops.dags.purpose is 'landed, cleaned, enriched, mart, features, report or export.';
comment on column ops.dags.schedule_cron is 'Minute, hour, day of month, month, day of week, in time_zone.';
comment on column ops.dags.time_zone is 'IANA time zone of the schedule.';
comment on column ops.dags.criticality is 'critical, high, normal or low: what a late run costs the business.';
comment on column ops.dags.deadline_minutes is 'A run must be done this long after its scheduled time.';
comment on column ops.dags.created_on is 'First deployed.';

comment on table ops.tasks is 'The steps of the DAGs.';
comment on column ops.tasks.task_id is 'Key: dag_id and task_name.';
comment on column ops.tasks.dag_id is 'References ops.dags.';
comment on column ops.tasks.task_name is 'Unique within the DAG.';
comment on column ops.tasks.step_no is 'Position within the DAG, from 1.';
comment on column ops.tasks.task_class is 'extract, load, transform, service call, check, publish, export or train.';
comment on column ops.tasks.pool is 'References ops.pools.';
comment on column ops.tasks.service_name is 'Service that it calls; references ops.services; null: none.';
comment on column ops.tasks.calls_per_run is 'Calls to the service in one run, one after the other; null: calls none.';
comment on column ops.tasks.max_stale_minutes is 'How old a former answer may be to stand in for a fresh one; null: it must be fresh.';
comment on column ops.tasks.is_idempotent is 'Running it twice leaves what running it once leaves.';
comment on column ops.tasks.max_attempts is 'Attempts that the scheduler makes, as set today.';
comment on column ops.tasks.timeout_minutes is 'The scheduler kills it after this time, as set today.';

comment on table ops.task_deps is 'What a task waits for. Without cycles.';
comment on column ops.task_deps.task_id is 'The task that waits; references ops.tasks.';
comment on column ops.task_deps.upstream_task_id is 'The task it waits for; references ops.tasks.';
comment on column ops.task_deps.is_sensor is 'The upstream task is of another DAG: its last run scheduled no later is waited for.';
