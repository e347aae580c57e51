-- subject: quality_rules
-- needs: calendar
-- makes: ops.dq_sources, ops.dq_rules, ops.dq_results
-- truth: truth.dq_future, truth.dq_rates

-- When each source is there, seen from the moment an order file is ingested. What lands later, and how often it is missing
-- then, differs from company to company (seed); payments and exchange rates come later everywhere.
create table ops.dq_sources as
with
named (source_no, source, kind, always) as (
  values
    (1, 'orders', 'with the file', true), (2, 'manifest', 'with the file', true), (3, 'currencies', 'before', true),
    (4, 'countries', 'before', true), (5, 'products', 'varies', false), (6, 'sellers', 'varies', false),
    (7, 'promotions', 'varies', false), (8, 'customers', 'varies', false), (9, 'payments', 'after', true),
    (10, 'fx_rates', 'after', true)
),
drawn as (
  select
    *,
    draw('dq_sources', source_no) as x
  from named
)
select
  source,
  case kind when 'varies' then case when u(x, 1) < 0.5 then 'before' else 'after' end else kind end as lands,
  case
    when kind = 'after' then round(60 + 40 * u(x, 2), 1)
    when kind = 'varies' and u(x, 1) >= 0.5 then round(0.5 + 17 * u(x, 2) * u(x, 2), 1)
    else 0
  end::decimal(5, 1) as missing_at_ingestion_pct
from drawn
order by source_no;

-- What a bad row costs in the middle of many companies, US dollars. Each company scatters widely around it (by a factor of
-- two and a half): what a rule is worth is a matter of the company, not of the rule. Plain rules (a value is there or not)
-- are seldom wrong, but in nearly half of the companies what they find does little harm.
create temp table rule_medians as
select
  *
from (values
  ('R01', 'order reference is well formed', 'row', ['orders'], 4.0, true),
  ('R02', 'order id is there', 'row', ['orders'], 10.0, true),
  ('R03', 'currency is one of the seven', 'row', ['orders', 'currencies'], 9.0, true),
  ('R04', 'amount is positive', 'row', ['orders'], 10.0, true),
  ('R05', 'not ordered after it landed', 'row', ['orders'], 6.0, true),
  ('R06', 'country is one of the eleven', 'row', ['orders', 'countries'], 4.0, true),
  ('R07', 'customer is known', 'row', ['customers', 'orders'], 8.0, false),
  ('R08', 'all products are known', 'row', ['orders', 'products'], 8.0, false),
  ('R09', 'promotion was valid that day', 'row', ['promotions', 'orders'], 4.0, false),
  ('R10', 'seller is active', 'row', ['orders', 'sellers'], 7.0, false),
  ('R11', 'paid amount equals the total', 'row', ['orders', 'payments'], 12.0, false),
  ('R12', 'paid in the currency of the order', 'row', ['payments', 'orders'], 12.0, false),
  ('R13', 'amount is usual for this customer', 'row', ['orders', 'customers'], 5.0, false),
  ('R14', 'delivery note has no odd characters', 'row', ['orders'], 2.0, false),
  ('R15', 'as many rows as the manifest says', 'file', ['orders', 'manifest'], 4.0, true),
  ('R16', 'amounts are in whole currency units', 'file', ['orders'], 5.0, false),
  ('R17', 'the exchange rate of the day is there', 'file', ['orders', 'fx_rates'], 4.0, true),
  ('R18', 'weekday looks like the last four', 'file', ['orders'], 3.0, false)
) as m (rule_id, rule, scope, inputs, harm_usd, is_plain);

create table ops.dq_rules as
with
drawn as (
  select
    *,
    draw('dq_rules', rule_id) as x
  from rule_medians
)
select
  rule_id,
  rule,
  scope,
  inputs,
  round(lognormal(x, 1, harm_usd * case when is_plain and u(x, 6) < 0.45 then 0.15 else 1 end, 0.9), 2)::decimal(8, 2) as harm_usd,
  round(lognormal(x, 2, 0.6, 0.4), 2)::decimal(8, 2) as review_usd,
  round(lognormal(x, 3, 1.6, 0.5), 2)::decimal(8, 2) as delay_usd,
  round(lognormal(x, 4, 0.4, 0.25), 2)::decimal(8, 2) as fix_at_ingestion_usd,
  round(lognormal(x, 5, 2.4, 0.25), 2)::decimal(8, 2) as fix_at_transformation_usd
from drawn
order by rule_id;

-- Rates of a world, the same before and after today. In the truth file: history shows them only with its own noise. The
-- precision (share of the flags that are bad) lies 0.9 to 2.2 logits above or below the one at which holding back pays, so
-- that neither harm nor precision alone says what to do; of other than plain rules, either is as likely.
create table truth.dq_rates as
with
staged as (
  select
    i.rule_id,
    bool_and(s.lands <> 'after') as is_early
  from (select rule_id, unnest(inputs) as source from ops.dq_rules) i
  join ops.dq_sources s using (source)
  group by i.rule_id
),
priced as (
  select
    r.rule_id,
    r.scope,
    m.is_plain,
    hidden_draw('dq_rates', r.rule_id) as h,
    -- What holding a good row back costs; a file is looked at once for all its rows.
    (case r.scope when 'row' then r.review_usd else 0 end + r.delay_usd)::double as held_usd,
    (r.harm_usd - case when s.is_early then r.fix_at_ingestion_usd else r.fix_at_transformation_usd end + r.delay_usd)::double
      as spared_usd
  from ops.dq_rules r
  join staged s using (rule_id)
  join rule_medians m using (rule_id)
),
barred as (
  select
    *,
    held_usd < 0.95 * spared_usd as has_bar,
    ln(greatest(held_usd / spared_usd, 0.02) / (1 - least(held_usd / spared_usd, 0.95))) as bar_logit
  from priced
),
precise as (
  select
    *,
    lognormal(h, 3, case scope when 'row' then 0.6 else 1.0 end, 0.4) / 100 as flagged_share,
    0.9 + 1.3 * u(h, 2) as away,
    case
      when not has_bar then case when is_plain then 0.5 else 0.15 end + 0.45 * u(h, 1)
      when is_plain and bar_logit < 0 then greatest(1 / (1 + exp(-bar_logit - away)), 0.6 + 0.38 * u(h, 1))
      when is_plain or u(h, 1) < 0.5 then 1 / (1 + exp(away - bar_logit))
      else 1 / (1 + exp(-bar_logit - away))
    end as precision
  from barred
)
select
  rule_id,
  flagged_share * precision as bad_share,
  flagged_share * (1 - precision) as false_share
from precise
order by rule_id;

create temp table dq_days as
select
  d::date as day_on,
  24 as files,
  round(24 * 130 * exp(0.08 * gauss(draw('dq_days', d::date), 1)))::bigint as rows_landed
from range(timestamp '2026-05-02', timestamp '2026-09-23', interval 1 day) t (d);

-- Counts of a day: binomial by its normal approximation, never below zero. Units are rows for row rules, files for file
-- rules. A row rule with f flags among n rows in 24 files touches about 24 * (1 - (1 - 1/24)^f) of the files.
create temp table dq_counts as
with
units as (
  select
    r.rule_id,
    r.scope,
    d.day_on,
    d.files,
    d.rows_landed,
    case r.scope when 'row' then d.rows_landed else d.files end as units,
    t.bad_share,
    t.false_share,
    hidden_draw('dq_counts', r.rule_id || d.day_on) as h
  from ops.dq_rules r
  join truth.dq_rates t using (rule_id)
  cross join dq_days d
),
counted as (
  select
    *,
    -- Small means are drawn by inversion of the first terms, so that rare events stay rare.
    case
      when units * bad_share > 8
        then greatest(0, round(units * bad_share + sqrt(units * bad_share * (1 - bad_share)) * gauss(h, 1)))
      else (
        select count(*)
        from unnest(range(1, 30)) k (i)
        where list_product(list_transform(range(1, i + 1), lambda j: u(h, 100 + j))) > exp(-units * bad_share)
      )
    end::bigint as bad,
    case
      when units * false_share > 8
        then greatest(0, round(units * false_share + sqrt(units * false_share * (1 - false_share)) * gauss(h, 2)))
      else (
        select count(*)
        from unnest(range(1, 30)) k (i)
        where list_product(list_transform(range(1, i + 1), lambda j: u(h, 200 + j))) > exp(-units * false_share)
      )
    end::bigint as false_alarms
  from units
)
select
  *,
  case scope
    when 'file' then least(files, bad + false_alarms)
    else round(files * (1 - power(1 - 1 / 24.0, bad + false_alarms)))
  end::bigint as files_touched
from counted;

create table ops.dq_results as
select
  day_on,
  rule_id,
  rows_landed,
  files,
  units as units_checked,
  bad + false_alarms as units_flagged,
  bad as units_confirmed,
  files_touched as files_flagged
from dq_counts
where day_on <= today()
order by day_on, rule_id;

create table truth.dq_future as
select
  day_on,
  rule_id,
  rows_landed,
  files,
  units,
  bad,
  false_alarms,
  files_touched
from dq_counts
where day_on > today()
order by day_on, rule_id;

drop table rule_medians;
drop table dq_days;
drop table dq_counts;

comment on table ops.dq_sources is 'Sources that quality rules of the partner order feed read, and whether they are there when a file is ingested.';
comment on column ops.dq_sources.source is 'Name of the source; key.';
comment on column ops.dq_sources.lands is 'with the file, before (always there at ingestion) or after (some of it still missing at ingestion).';
comment on column ops.dq_sources.missing_at_ingestion_pct is 'Of the rows of a file, percent whose counterpart in this source has not landed at ingestion. At transformation: none.';

comment on table ops.dq_rules is 'Quality rules of the partner order feed, with what mistakes cost.';
comment on column ops.dq_rules.rule_id is 'Key.';
comment on column ops.dq_rules.rule is 'What must hold.';
comment on column ops.dq_rules.scope is 'row: flags single rows; file: says something about the file as a whole.';
comment on column ops.dq_rules.inputs is 'Sources that the rule reads; reference ops.dq_sources.';
comment on column ops.dq_rules.harm_usd is 'Cost of a bad row that is published, US dollars.';
comment on column ops.dq_rules.review_usd is 'Cost of looking at a flagged row, or at a flagged file, US dollars.';
comment on column ops.dq_rules.delay_usd is 'Cost of a good row that is held back until somebody has looked, US dollars.';
comment on column ops.dq_rules.fix_at_ingestion_usd is 'Cost of mending a bad row caught at ingestion, US dollars.';
comment on column ops.dq_rules.fix_at_transformation_usd is 'Cost of mending a bad row caught at transformation, US dollars.';

comment on table ops.dq_results is 'What the rules found, by day. All of them run at transformation today, and only warn.';
comment on column ops.dq_results.day_on is 'Day; key with rule_id.';
comment on column ops.dq_results.rule_id is 'References ops.dq_rules.';
comment on column ops.dq_results.rows_landed is 'Rows of the feed that day.';
comment on column ops.dq_results.files is 'Files of the feed that day.';
comment on column ops.dq_results.units_checked is 'Rows checked (row rules) or files checked (file rules).';
comment on column ops.dq_results.units_flagged is 'Rows or files that broke the rule.';
comment on column ops.dq_results.units_confirmed is 'Of those flagged, how many somebody found to be bad; the rest were good.';
comment on column ops.dq_results.files_flagged is 'Files with at least one flag.';
