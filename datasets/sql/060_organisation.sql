-- subject: organisation
-- needs: calendar
-- makes: ops.teams, ops.people, ops.role_history

create table ops.teams as
with
named (team_id, team_name, domain, kind, region, members, is_active) as (
  values
    (1, 'storefront-web', 'storefront', 'stream-aligned', 'EU', 8, true),
    (2, 'storefront-app', 'storefront', 'stream-aligned', 'US', 8, true),
    (3, 'search-and-ranking', 'storefront', 'complicated-subsystem', 'EU', 7, true),
    (4, 'order-flow', 'orders', 'stream-aligned', 'EU', 9, true),
    (5, 'order-data', 'orders', 'stream-aligned', 'EU', 7, true),
    (6, 'order-apac', 'orders', 'stream-aligned', 'APAC', 6, true),
    (7, 'payments-core', 'payments', 'stream-aligned', 'US', 8, true),
    (8, 'payments-risk', 'payments', 'complicated-subsystem', 'US', 7, true),
    (9, 'settlement', 'payments', 'stream-aligned', 'EU', 5, true),
    (10, 'carriers', 'logistics', 'stream-aligned', 'EU', 7, true),
    (11, 'warehouse-ops', 'logistics', 'stream-aligned', 'US', 7, true),
    (12, 'routing', 'logistics', 'complicated-subsystem', 'APAC', 6, true),
    (13, 'returns', 'logistics', 'stream-aligned', 'EU', 4, true),
    (14, 'customer-data', 'customer', 'stream-aligned', 'EU', 8, true),
    (15, 'loyalty', 'customer', 'stream-aligned', 'US', 6, true),
    (16, 'customer-care-analytics', 'customer', 'stream-aligned', 'APAC', 5, true),
    (17, 'marketing-analytics', 'marketing', 'stream-aligned', 'US', 8, true),
    (18, 'campaigns', 'marketing', 'stream-aligned', 'EU', 7, true),
    (19, 'attribution', 'marketing', 'complicated-subsystem', 'US', 5, true),
    (20, 'finance-reporting', 'finance', 'stream-aligned', 'EU', 8, true),
    (21, 'revenue-assurance', 'finance', 'stream-aligned', 'US', 6, true),
    (22, 'planning', 'finance', 'stream-aligned', 'EU', 5, true),
    (23, 'data-platform-ingest', 'platform', 'platform', 'EU', 9, true),
    (24, 'data-platform-warehouse', 'platform', 'platform', 'EU', 9, true),
    (25, 'data-platform-orchestration', 'platform', 'platform', 'US', 8, true),
    (26, 'data-governance', 'platform', 'enabling', 'EU', 6, true),
    (27, 'ml-platform', 'ml', 'platform', 'US', 8, true),
    (28, 'forecasting', 'ml', 'complicated-subsystem', 'EU', 8, true),
    (29, 'recommendations', 'ml', 'stream-aligned', 'US', 8, true),
    (30, 'analytics-enablement', 'platform', 'enabling', 'APAC', 5, true)
)
select
  team_id,
  team_name,
  domain,
  kind,
  region,
  case region when 'EU' then 'Europe/Berlin' when 'US' then 'America/New_York' else 'Australia/Sydney' end as time_zone,
  'CC-' || (4000 + team_id * 10) as cost_center,
  members as head_count,
  is_active
from named
order by team_id;

create temp table given_names as
select
  ['Ada', 'Bruno', 'Chiara', 'Dmitri', 'Elif', 'Farid', 'Greta', 'Hana', 'Ilse', 'Joaquín', 'Kamala', 'Łukasz', 'Mirela', 'Nia',
   'Ola', 'Pilar', 'Quentin', 'Rafael', 'Sigrid', 'Tarek', 'Uma', 'Viggo', 'Wren', 'Ximena', 'Yuki', 'Zeynep'] as given,
  ['Abel', 'Brandt', 'Castellan', 'Dahl', 'Eriksen', 'Fontaine', 'Grünwald', 'Hosseini', 'Iwata', 'Jansen', 'Kovač', 'Lindqvist',
   'Moreau', 'Novák', 'Okafor', 'Pellegrini', 'Quispe', 'Rossi', 'Sørensen', 'Tanaka', 'Ueda', 'Varga', 'Whitlock', 'Yilmaz',
   'Zieliński'] as family;

-- Seats first, then who sits there; for every tenth seat or so somebody left within the last year.
create temp table seats as
select
  row_number() over (order by t.team_id, s.seat) as seat_no,
  t.team_id,
  t.domain,
  t.kind,
  t.region,
  s.seat,
  draw('people', t.team_id * 100 + s.seat) as x
from ops.teams t, unnest(range(1, t.head_count + 1)) s (seat);

create temp table staff as
select
  (2000 + seat_no)::integer as person_id,
  *,
  date '2016-03-01' + floor(3650 * u(x, 1))::integer as hired_on,
  null::date as left_on
from seats
union all by name
-- Leavers: people who held a seat of the team earlier.
select
  (2500 + seat_no)::integer as person_id,
  * replace (draw('leavers', seat_no) as x),
  date '2016-03-01' + floor(3000 * u(draw('leavers', seat_no), 1))::integer as hired_on,
  date '2025-08-01' + floor(300 * u(draw('leavers', seat_no), 2))::integer as left_on
from seats
where u(draw('leavers', seat_no), 3) < 0.1 and seat > 1;

create temp table moves as
select
  person_id,
  team_id as to_team_id,
  -- The team before: another one of the same region where there is one, so that a move is believable.
  list_filter(
    (select list(t.team_id order by t.team_id) from ops.teams t where t.region = staff.region), lambda l: l <> staff.team_id
  ) as others,
  timestamp '2025-08-04' + to_days(7 * floor(44 * u(draw('moves', person_id), 1))::integer) + interval 7 hour as moved_at,
  draw('moves', person_id) as x
from staff
where left_on is null and seat > 1 and hired_on < date '2025-07-01' and u(draw('moves', person_id), 2) < 0.2;

create table ops.people as
select
  s.person_id,
  pick(n.given, s.x, 2) || ' ' || pick(n.family, s.x, 3) as full_name,
  lower(strip_accents(replace(replace(replace(pick(n.given, s.x, 2) || '.' || pick(n.family, s.x, 3), ' ', ''), 'ø', 'o'), 'ł', 'l')))
  || s.person_id || '@kestrel.example' as email,
  case
    when s.seat = 1 then 'manager'
    when s.kind = 'platform' and s.domain = 'ml' then case when u(s.x, 4) < 0.7 then 'ml engineer' else 'data engineer' end
    when s.kind in ('platform', 'enabling') then case when u(s.x, 4) < 0.75 then 'data engineer' else 'analytics engineer' end
    when s.domain = 'ml' or s.kind = 'complicated-subsystem'
      then case when u(s.x, 4) < 0.6 then 'ml engineer' when u(s.x, 4) < 0.8 then 'data engineer' else 'analytics engineer' end
    else case when u(s.x, 4) < 0.4 then 'data engineer' when u(s.x, 4) < 0.8 then 'analytics engineer' else 'analyst' end
  end as craft,
  case when s.seat = 1 then 5 else 1 + floor(u(s.x, 5) * 4)::integer end::utinyint as level,
  case s.region
    when 'EU' then pick(['DE', 'DE', 'FR', 'ES', 'PL', 'IE', 'GR'], s.x, 6)
    when 'US' then pick(['US', 'US', 'US', 'CA', 'MX'], s.x, 6)
    else pick(['JP', 'AU'], s.x, 6)
  end as country_code,
  s.region,
  s.team_id,
  s.hired_on,
  s.left_on
from staff s, given_names n
order by s.person_id;

alter table ops.people add column time_zone varchar;

update ops.people p
set time_zone = c.time_zone
from core.countries c
where c.country_code = p.country_code;

-- A mover sat in another team until the morning of the move; nobody else changed team in recorded time.
create table ops.role_history as
select
  p.person_id,
  coalesce(pick(m.others, m.x, 3), p.team_id) as team_id,
  case when p.craft = 'manager' then 'team manager' else p.craft end as role,
  p.hired_on + interval 7 hour as valid_from_at,
  coalesce(m.moved_at, p.left_on + interval 7 hour) as valid_to_at
from ops.people p
left join moves m using (person_id)
union all
select
  p.person_id,
  p.team_id,
  p.craft,
  m.moved_at,
  null
from ops.people p
join moves m using (person_id)
order by person_id, valid_from_at;

drop table given_names;
drop table seats;
drop table staff;
drop table moves;

comment on table ops.teams is 'The teams that build or use data, as of today.';
comment on column ops.teams.team_id is 'Key.';
comment on column ops.teams.team_name is 'Short name; unique.';
comment on column ops.teams.domain is 'One of the seven business domains, platform or ml.';
comment on column ops.teams.kind is 'Team Topologies type: stream-aligned, platform, enabling or complicated-subsystem.';
comment on column ops.teams.region is 'EU, US or APAC: where most of the team sits.';
comment on column ops.teams.time_zone is 'IANA time zone of the team''s office.';
comment on column ops.teams.cost_center is 'Cost centre that pays the team''s bills; unique.';
comment on column ops.teams.head_count is 'Seats.';
comment on column ops.teams.is_active is 'Still exists.';

comment on table ops.people is 'People of the data organisation, those who left within the last year included.';
comment on column ops.people.person_id is 'Key.';
comment on column ops.people.full_name is 'Name.';
comment on column ops.people.email is 'Work e-mail; unique.';
comment on column ops.people.craft is 'manager, data engineer, ml engineer, analytics engineer or analyst.';
comment on column ops.people.level is '1 junior to 5 lead.';
comment on column ops.people.country_code is 'Where the person works; references core.countries.';
comment on column ops.people.region is 'Region of the present team''s office.';
comment on column ops.people.team_id is 'Team as of today (or when they left); references ops.teams. For other days: ops.role_history.';
comment on column ops.people.hired_on is 'First day.';
comment on column ops.people.left_on is 'First day no longer employed; null: still here.';
comment on column ops.people.time_zone is 'IANA time zone in which the person works.';

comment on table ops.role_history is 'Which team a person belonged to and when: half-open intervals without gap or overlap.';
comment on column ops.role_history.person_id is 'References ops.people.';
comment on column ops.role_history.team_id is 'References ops.teams.';
comment on column ops.role_history.role is 'team manager or craft.';
comment on column ops.role_history.valid_from_at is 'First moment (UTC), included.';
comment on column ops.role_history.valid_to_at is 'Last moment (UTC), excluded; null: until further notice.';
