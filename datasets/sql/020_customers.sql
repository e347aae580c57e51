-- subject: customers
-- needs: calendar
-- makes: core.customers

create temp table given_names as
select
  *
from (values
  ('DE', ['Anna', 'Jonas', 'Lena', 'Felix', 'Jürgen', 'Mia', 'Björn', 'Käthe', 'Emre', 'Sophie', 'Uwe', 'Aylin']),
  ('FR', ['Chloé', 'Hugo', 'Inès', 'Léo', 'Manon', 'Théo', 'Zoé', 'Amine', 'Camille', 'François', 'Noémie', 'Yasmine']),
  ('ES', ['Lucía', 'Mateo', 'Sofía', 'Íñigo', 'Begoña', 'Nuria', 'Álvaro', 'Marta', 'Pablo', 'Jimena', 'Iker', 'Rocío']),
  ('PL', ['Zofia', 'Jakub', 'Łucja', 'Michał', 'Agnieszka', 'Paweł', 'Wanda', 'Stanisław', 'Kinga', 'Grażyna', 'Olek', 'Iga']),
  ('GR', ['Ελένη', 'Νίκος', 'Μαρία', 'Γιώργος', 'Σοφία', 'Κώστας', 'Δήμητρα', 'Άρης', 'Χρήστος', 'Ιωάννα', 'Πέτρος', 'Ζωή']),
  ('IE', ['Aoife', 'Seán', 'Niamh', 'Cian', 'Róisín', 'Oisín', 'Saoirse', 'Conor', 'Maeve', 'Declan', 'Siobhán', 'Eoin']),
  ('US', ['Olivia', 'Liam', 'Maria', 'Noah', 'Aaliyah', 'Ethan', 'Mei', 'Jamal', 'Grace', 'Diego', 'Priya', 'Walter']),
  ('CA', ['Emma', 'Lucas', 'Maude', 'Étienne', 'Harpreet', 'Ava', 'Owen', 'Noor', 'Claire', 'Logan', 'Amélie', 'Wei']),
  ('MX', ['Ximena', 'Santiago', 'Guadalupe', 'José', 'Renata', 'Emiliano', 'Citlali', 'Raúl', 'Paloma', 'Iván', 'Itzel', 'Tomás']),
  ('JP', ['陽菜', '蓮', 'さくら', '悠真', '美咲', '大翔', '結衣', '健太', 'あおい', '拓也', '直子', '翔']),
  ('AU', ['Charlotte', 'Jack', 'Matilda', 'Cooper', 'Isla', 'Lachlan', 'Ruby', 'Minh', 'Zara', 'Angus', 'Kirra', 'Arjun'])
) as n (country_code, names);

create temp table family_names as
select
  *
from (values
  ('DE', ['Müller', 'Schäfer', 'Öztürk', 'Groß', 'Weber', 'von Thal', 'Kaya', 'Lindner', 'Böhm', 'Neumann', 'Voß', 'Krüger']),
  ('FR', ['Lefèvre', 'Martin', 'Benali', 'Garnier', 'Dubois', 'D''Aubigny', 'Morel', 'Chevalier', 'Traoré', 'Petit', 'Roux', 'Noël']),
  ('ES', ['García López', 'Muñoz', 'Ibáñez', 'de la Fuente', 'Peña', 'Serrano', 'Núñez Gil', 'Ortega', 'Castro', 'Vidal', 'Soler', 'Ríos']),
  ('PL', ['Kowalska', 'Wiśniewski', 'Łuczak', 'Żak', 'Dąbrowski', 'Zając', 'Wójcik', 'Mazur', 'Król', 'Gąska', 'Sikora', 'Lis']),
  ('GR', ['Παπαδάκης', 'Νικολάου', 'Γεωργίου', 'Οικονόμου', 'Βασιλείου', 'Κατσαρός', 'Ράπτης', 'Λάμπρου', 'Σαμαράς', 'Ζήσης', 'Δούκας', 'Μελάς']),
  ('IE', ['O''Brien', 'Murphy', 'Ní Dhuinn', 'Byrne', 'Walsh', 'McCarthy', 'Ó Sé', 'Kelleher', 'Doyle', 'Quinn', 'Nolan', 'Farrell']),
  ('US', ['Smith', 'Johnson', 'Nguyen', 'Ramirez', 'O''Neal', 'Washington', 'Patel', 'Lopez-Reed', 'Kim', 'Brooks', 'Null', 'Carter']),
  ('CA', ['Tremblay', 'Singh', 'MacLeod', 'Gagnon', 'Chan', 'Roy', 'Fraser', 'Bouchard', 'Li', 'Campbell', 'Côté', 'Stewart']),
  ('MX', ['Hernández', 'Peña Ruiz', 'Xool', 'Domínguez', 'Ávila', 'Zúñiga', 'Méndez', 'Luna', 'Paz', 'Cárdenas', 'Rivas', 'Solís']),
  ('JP', ['佐藤', '鈴木', '高橋', '田中', '渡辺', '伊藤', '山本', '中村', '小林', '斎藤', '森', '清水']),
  ('AU', ['Taylor', 'Nguyen', 'O''Connor', 'Williams', 'Papadopoulos', 'Chen', 'Mitchell', 'Harris', 'Singh', 'Kelly', 'Marsh', 'Young'])
) as n (country_code, names);

create temp table cities as
select
  *
from (values
  ('DE', ['Berlin', 'Hamburg', 'München', 'Köln', 'Leipzig'], 10000, 89999, '+49', 10),
  ('FR', ['Paris', 'Lyon', 'Marseille', 'Lille', 'Nantes'], 10000, 89999, '+33', 9),
  ('ES', ['Madrid', 'Barcelona', 'Sevilla', 'Bilbao', 'Málaga'], 10000, 42999, '+34', 9),
  ('PL', ['Warszawa', 'Kraków', 'Łódź', 'Gdańsk', 'Poznań'], 10000, 89999, '+48', 9),
  ('GR', ['Αθήνα', 'Θεσσαλονίκη', 'Πάτρα', 'Ηράκλειο', 'Βόλος'], 10000, 79999, '+30', 10),
  ('IE', ['Dublin', 'Cork', 'Galway', 'Limerick', 'Sligo'], 10000, 20999, '+353', 9),
  ('US', ['New York', 'Chicago', 'Atlanta', 'Austin', 'Portland'], 10000, 89999, '+1', 10),
  ('CA', ['Toronto', 'Montréal', 'Vancouver', 'Calgary', 'Halifax'], 10000, 89999, '+1', 10),
  ('MX', ['Ciudad de México', 'Guadalajara', 'Monterrey', 'Mérida', 'Puebla'], 10000, 89999, '+52', 10),
  ('JP', ['東京', '大阪', '札幌', '福岡', '名古屋'], 10000, 89999, '+81', 10),
  ('AU', ['Sydney', 'Melbourne', 'Brisbane', 'Perth', 'Hobart'], 2000, 7999, '+61', 9)
) as c (country_code, names, postcode_low, postcode_high, dial, digits);

-- Cumulative shares, so that one uniform picks a country.
create temp table country_ranges as
select
  country_code,
  region,
  sum(order_share_pct) over w - order_share_pct as low_pct,
  sum(order_share_pct) over w as high_pct
from core.countries
window w as (order by country_code)
order by country_code;

create table core.customers as
with
drawn as (
  select
    i + 1 as customer_no,
    draw('customers', i) as x
  from range(0, sized(180000)) t (i)
),
placed as (
  select
    d.*,
    r.country_code,
    r.region
  from drawn d
  join country_ranges r
    on u(d.x, 1) * 100 >= r.low_pct and u(d.x, 1) * 100 < r.high_pct
)
select
  (100000 + p.customer_no)::bigint as customer_id,
  case p.country_code
    when 'JP' then pick(f.names, p.x, 3) || ' ' || pick(g.names, p.x, 2)
    else pick(g.names, p.x, 2) || ' ' || pick(f.names, p.x, 3)
  end as full_name,
  'c' || lower(to_hex(p.x & 16777215)) || p.customer_no || '@' || pick(['mail', 'post', 'inbox', 'letter'], p.x, 4)
  || '.example' as email,
  c.dial || (1 + floor(u(p.x, 5) * 8))::bigint || lpad(floor(u(p.x, 6) * power(10, c.digits - 1))::bigint::varchar, c.digits - 1, '0')
    as phone,
  p.country_code,
  pick(c.names, p.x, 7) as city,
  (c.postcode_low + floor(u(p.x, 8) * (c.postcode_high - c.postcode_low)))::bigint::varchar as postcode,
  date '1940-01-01' + floor(24000 * (u(p.x, 9) + u(p.x, 10)) / 2 + 1000)::integer as birth_on,
  case when u(p.x, 11) < 0.86 then 'consumer' when u(p.x, 11) < 0.97 then 'small business' else 'reseller' end as segment,
  case
    when u(p.x, 12) < 0.55 then null when u(p.x, 12) < 0.83 then 'bronze' when u(p.x, 12) < 0.96 then 'silver' else 'gold'
  end as loyalty_tier,
  u(p.x, 13) < 0.004 as is_test_account,
  -- Registration times grow denser towards today: the square root of a uniform over seven years.
  date_trunc('second', timestamp '2019-07-01' + to_seconds(floor(sqrt((p.customer_no - u(p.x, 14)) / sized(180000)) * 220924800)::bigint))
    as registered_at
from placed p
join given_names g using (country_code)
join family_names f using (country_code)
join cities c using (country_code)
order by p.customer_no;

drop table given_names;
drop table family_names;
drop table cities;
drop table country_ranges;

comment on table core.customers is 'Customers, one row each, as of today; in order of registration.';
comment on column core.customers.customer_id is 'Key.';
comment on column core.customers.full_name is 'Name as the customer wrote it, in their script; family name first in Japan.';
comment on column core.customers.email is 'E-mail address; unique.';
comment on column core.customers.phone is 'Phone number in E.164 form.';
comment on column core.customers.country_code is 'Country of residence; references core.countries.';
comment on column core.customers.city is 'City, in the local spelling.';
comment on column core.customers.postcode is 'Postal code.';
comment on column core.customers.birth_on is 'Date of birth.';
comment on column core.customers.segment is 'consumer, small business or reseller.';
comment on column core.customers.loyalty_tier is 'bronze, silver or gold; null: not in the loyalty scheme.';
comment on column core.customers.is_test_account is 'Made by Kestrel''s own testers.';
comment on column core.customers.registered_at is 'When the account was made (UTC).';
