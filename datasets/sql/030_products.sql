-- subject: products
-- needs: calendar
-- makes: core.sellers, core.products

create table core.sellers as
with
drawn as (
  select
    i + 1 as seller_no,
    draw('sellers', i) as x
  from range(0, greatest(40, sized(1200))) t (i)
)
select
  (500 + seller_no)::bigint as seller_id,
  case
    when seller_no = 1 then 'Kestrel Own Stores'
    else pick(['Green', 'Golden', 'North', 'River', 'Little', 'Sunny', 'Old Mill', 'Harbour', 'Alpine', 'Blue'], x, 1) || ' '
    || pick(['Pantry', 'Farm', 'Household', 'Market', 'Kitchen', 'Larder', 'Supplies', 'Bakery', 'Garden', 'Goods'], x, 2) || ' '
    || seller_no
  end as seller_name,
  pick(['DE', 'FR', 'ES', 'PL', 'US', 'US', 'CA', 'JP', 'AU', 'IE'], x, 3) as country_code,
  seller_no = 1 as is_own_store
from drawn
order by seller_no;

create table core.products as
with
categories (category_no, category, median_usd, sigma) as (
  values
    (1, 'produce', 3.2, 0.4), (2, 'bakery', 3.8, 0.4), (3, 'dairy', 4.1, 0.4), (4, 'meat and fish', 9.5, 0.5),
    (5, 'pantry', 5.0, 0.6), (6, 'drinks', 6.2, 0.7), (7, 'frozen', 6.8, 0.4), (8, 'cleaning', 7.4, 0.5),
    (9, 'personal care', 8.9, 0.6), (10, 'kitchenware', 24.0, 0.8), (11, 'small appliances', 69.0, 0.7), (12, 'pet', 14.0, 0.6)
),
drawn as (
  select
    i + 1 as product_no,
    draw('products', i) as x
  from range(0, greatest(600, round(8000 * sqrt(getvariable('scale')))::bigint)) t (i)
)
select
  (20000 + d.product_no)::bigint as product_id,
  upper(substr(c.category, 1, 3)) || '-' || lpad(d.product_no::varchar, 6, '0') as sku,
  pick(['Organic', 'Classic', 'Family', 'Premium', 'Everyday', 'Fresh', 'Extra', 'Simple'], d.x, 1) || ' '
  || c.category || ' ' || d.product_no as product_name,
  c.category,
  -- Partner sellers hold about a third of the range.
  case
    when u(d.x, 2) < 0.66 then 501
    else 502 + floor(u(d.x, 3) * (select count(*) - 1 from core.sellers))::bigint
  end as seller_id,
  greatest(0.25, round(lognormal(d.x, 4, c.median_usd, c.sigma), 2))::decimal(10, 2) as list_price_usd,
  round(lognormal(d.x, 5, 450, 0.8))::integer as weight_g,
  u(d.x, 6) < 0.97 as is_active
from drawn d
join categories c
  on c.category_no = 1 + floor(u(d.x, 7) * 12)
order by d.product_no;

comment on table core.sellers is 'Kestrel''s own stores (one row) and the partner sellers.';
comment on column core.sellers.seller_id is 'Key.';
comment on column core.sellers.seller_name is 'Trading name.';
comment on column core.sellers.country_code is 'Country of the seller''s seat; references core.countries.';
comment on column core.sellers.is_own_store is 'Kestrel itself.';

comment on table core.products is 'The range of goods, as of today.';
comment on column core.products.product_id is 'Key.';
comment on column core.products.sku is 'Stock-keeping unit; unique.';
comment on column core.products.product_name is 'Name shown in the shop.';
comment on column core.products.category is 'One of twelve categories.';
comment on column core.products.seller_id is 'Who sells it; references core.sellers.';
comment on column core.products.list_price_usd is 'List price, US dollars, tax included.';
comment on column core.products.weight_g is 'Weight with packaging, grams.';
comment on column core.products.is_active is 'Still sold.';
