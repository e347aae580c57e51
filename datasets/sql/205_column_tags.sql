-- subject: column_tags
-- needs: estate
-- makes: ops.column_tags

-- What the governance group tagged, as of today: the convention of topic 2.1, for the topics that rest on it.
create table ops.column_tags as
with
classed as (
  select
    c.asset_id,
    c.column_no,
    c.column_name,
    p.kind,
    case when p.column_name is null then 'none' when p.is_quasi then 'quasi' else 'direct' end as class
  from ops.columns c
  left join truth.personal_columns p using (asset_id, column_name)
)
select
  asset_id,
  column_name,
  'privacy.class:' || class as tag
from classed
union all
select
  asset_id,
  column_name,
  'privacy.kind:' || kind
from classed
where kind is not null
order by asset_id, column_name, tag;

comment on table ops.column_tags is 'Tags of the columns of the estate, namespace.key:value; each column has a privacy.class.';
comment on column ops.column_tags.asset_id is 'References ops.tables.';
comment on column ops.column_tags.column_name is 'References ops.columns, with asset_id.';
comment on column ops.column_tags.tag is
  'privacy.class: direct (tells who somebody is), quasi (does so with others), none; privacy.kind for the first two.';
