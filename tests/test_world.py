"""The world: the same rows everywhere, built once whoever asks, never half of one."""

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest

from workshop.errors import UsageError, WorkshopError
from workshop.world import build as generator
from workshop.world import (
    cache,
    derive_seed,
    ensure_world,
    find_world,
    opaque_name,
    practice_seed,
    seed_from_hex,
    stream_keys,
)

SEED = practice_seed("practice-11")
SCALE = 0.004


def digests(file: Path) -> dict[str, tuple]:
    """Rows and a digest over them by table; the order of rows does not enter."""
    con = duckdb.connect(str(file), read_only=True)
    try:
        tables = con.execute("select schema_name || '.' || table_name from duckdb_tables() order by 1").fetchall()
        return {t: con.execute(f"select count(*), sum(hash(t)::hugeint) from {t} t").fetchone() for (t,) in tables}
    finally:
        con.close()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    generator.build_world(folder / "world", folder / "truth", SEED, SCALE, threads=2)
    return folder


def test_same_seed_same_rows_with_one_thread_and_with_two(built: Path, tmp_path: Path) -> None:
    generator.build_world(tmp_path / "world", tmp_path / "truth", SEED, SCALE, threads=1)
    for part in ("world", "truth"):
        assert digests(tmp_path / part) == digests(built / part)


def test_same_rows_in_another_process_with_another_hash_seed(built: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from workshop.world.build import build_world; "
        "from workshop.world import practice_seed; "
        f"build_world(Path(sys.argv[1]), Path(sys.argv[2]), practice_seed('practice-11'), {SCALE})"
    )
    env = os.environ | {"PYTHONHASHSEED": "77", "TZ": "Asia/Tokyo", "LC_ALL": "C"}
    subprocess.run([sys.executable, "-c", code, tmp_path / "world", tmp_path / "truth"], check=True, env=env)
    for part in ("world", "truth"):
        assert digests(tmp_path / part) == digests(built / part)


def test_another_seed_makes_other_rows(built: Path, tmp_path: Path) -> None:
    generator.build_world(tmp_path / "world", tmp_path / "truth", practice_seed("practice-12"), SCALE, ["orders"])
    mine, other = digests(built / "world"), digests(tmp_path / "world")
    assert mine["core.orders"] != other["core.orders"]
    assert mine["core.countries"] == other["core.countries"]  # facts about the real world stay


@pytest.mark.parametrize("subject", [name for name in generator.subjects()])
def test_a_part_has_the_rows_of_the_whole(subject: str, built: Path, tmp_path: Path) -> None:
    generator.build_world(tmp_path / "world", tmp_path / "truth", SEED, SCALE, [subject])
    for part in ("world", "truth"):
        whole = digests(built / part)
        got = digests(tmp_path / part)
        assert got.items() <= whole.items()
    assert set(generator.subjects()[subject].makes) <= set(digests(tmp_path / "world"))


def query(built: Path, sql: str) -> list[tuple]:
    con = duckdb.connect(str(built / "world"), read_only=True)
    try:
        return con.execute(sql).fetchall()
    finally:
        con.close()


def test_subjects_make_what_they_say(built: Path) -> None:
    said = {t for s in generator.subjects().values() for t in s.makes}
    assert said == set(digests(built / "world"))
    planted = {t.removeprefix("truth.") for s in generator.subjects().values() for t in s.truth}
    assert planted == {t.removeprefix("main.") for t in digests(built / "truth")}


def test_every_table_and_column_has_a_comment_and_a_conventional_name(built: Path) -> None:
    assert query(built, "select table_name from duckdb_tables() where comment is null") == []
    assert (
        query(built, "select table_name, column_name from duckdb_columns() where not internal and comment is null")
        == []
    )
    odd = query(
        built,
        """
        select schema_name, table_name, column_name, data_type
        from duckdb_columns()
        where not internal
          and schema_name <> 'raw'
          and (not regexp_full_match(column_name, '[a-z][a-z0-9_]*')
            or (suffix(column_name, '_at') and data_type <> 'TIMESTAMP')
            or (suffix(column_name, '_on') and data_type <> 'DATE')
            or (prefix(column_name, 'is_') and data_type <> 'BOOLEAN'))
        """,
    )
    assert odd == []


def test_the_spine_holds_together(built: Path) -> None:
    for child, parent, key in (
        ("core.orders", "core.customers", "customer_id"),
        ("core.order_items", "core.orders", "order_id"),
        ("core.order_items", "core.products", "product_id"),
        ("core.payments", "core.orders", "order_id"),
        ("core.shipments", "core.orders", "order_id"),
        ("core.returns", "core.orders", "order_id"),
        ("ops.role_history", "ops.people", "person_id"),
        ("ops.role_history", "ops.teams", "team_id"),
    ):
        missing = query(built, f"select count(*) from {child} anti join {parent} using ({key})")
        assert missing == [(0,)], f"{child} -> {parent}"
    assert query(
        built,
        "select count(*) from core.orders o join core.customers c using (customer_id) where registered_at > ordered_at",
    ) == [(0,)]
    totals = """
    with lines as (select order_id, sum(line_amount) as amount from core.order_items group by order_id)
    select count(*) from core.orders join lines using (order_id) where amount <> total_amount
    """
    assert query(built, totals) == [(0,)]


def test_nobody_belongs_to_two_teams_at_once(built: Path) -> None:
    overlaps = """
    select count(*)
    from ops.role_history a
    join ops.role_history b
      on a.person_id = b.person_id and a.valid_from_at < b.valid_from_at
    where a.valid_to_at is null or a.valid_to_at > b.valid_from_at
    """
    assert query(built, overlaps) == [(0,)]


def test_scale_one_in_a_hundred_keeps_proportions(built: Path) -> None:
    (orders,), (items,) = query(
        built, "select count(*) from core.orders union all select count(*) from core.order_items"
    )
    assert orders == round(1_000_000 * SCALE)
    assert 2.5 < items / orders < 3.5


# -- seeds ---------------------------------------------------------------------------------------------------------------


def test_keys_differ_by_stream_purpose_and_seed() -> None:
    streams = {"orders", "customers"}
    shown, hidden = stream_keys(SEED, streams, hidden=False), stream_keys(SEED, streams, hidden=True)
    other = stream_keys(derive_seed(SEED, "other"), streams, hidden=False)
    keys = [*shown.values(), *hidden.values(), *other.values()]
    assert len(set(keys)) == len(keys)
    assert all(SEED.hex() not in k and k not in SEED.hex() for k in keys)
    assert opaque_name(SEED) != opaque_name(derive_seed(SEED, "other"))
    assert SEED.hex()[:8] not in opaque_name(SEED)


def test_no_stream_is_used_by_two_subjects() -> None:
    owners: dict[tuple[str, str], set[str]] = {}
    for s in generator.subjects().values():
        for macro, stream in generator.STREAM.findall(s.path.read_text()):
            owners.setdefault((macro, stream), set()).add(s.name)
    assert all(len(names) == 1 for names in owners.values()), owners


def test_nothing_of_the_seed_is_in_the_files(built: Path) -> None:
    keys = list(stream_keys(SEED, {"orders", "customers", "people"}, hidden=False).values())
    for part in ("world", "truth"):
        raw = (built / part).read_bytes()
        for secret in (SEED, SEED.hex().encode(), *(k.encode() for k in keys)):
            assert secret not in raw


@pytest.mark.parametrize("name", ["practice", "7", "../etc", "practice-", "w-123", "", "practice-7; drop"])
def test_other_names_are_refused_with_the_right_ones(name: str) -> None:
    with pytest.raises(UsageError, match="practice-7"):
        practice_seed(name)


@pytest.mark.parametrize("text", ["", "12", "g" * 32, "a" * 31])
def test_bad_seeds_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="32 hexadecimal"):
        seed_from_hex(text)


@pytest.mark.parametrize("scale", [0, -1, 100, "0.05", None, True, float("nan")])
def test_bad_scales_are_refused(scale: object) -> None:
    with pytest.raises(UsageError, match="SCALE"):
        generator.check_scale(scale)


# -- the cache -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KESTREL_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def _ask(home: str, start: float, results: multiprocessing.Queue) -> None:
    os.environ["KESTREL_HOME"] = home
    built = []
    original = cache.build_world
    cache.build_world = lambda *a, **k: (built.append(1), original(*a, **k))
    time.sleep(max(0, start - time.time()))
    files = ensure_world("practice-11", SEED, SCALE, ["orders"])
    con = duckdb.connect(str(files.world), read_only=True)
    results.put((len(built), str(files.world), con.execute("select count(*) from core.orders").fetchone()[0]))
    con.close()


def test_ten_processes_that_ask_at_once_get_one_world_built_once(home: Path) -> None:
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    start = time.time() + 3
    processes = [context.Process(target=_ask, args=(str(home), start, results)) for _ in range(10)]
    for p in processes:
        p.start()
    got = [results.get(timeout=120) for _ in processes]
    for p in processes:
        p.join()
    assert sum(n for n, _, _ in got) == 1
    assert len({path for _, path, _ in got}) == 1
    assert {count for _, _, count in got} == {round(1_000_000 * SCALE)}


def test_a_build_killed_at_any_moment_leaves_no_broken_cache(home: Path) -> None:
    code = (
        "from workshop.world import ensure_world, practice_seed; "
        "ensure_world('practice-11', practice_seed('practice-11'), 0.004, ['fulfilment'])"
    )
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"KESTREL_HOME": str(home / "probe")})
    whole = time.monotonic() - began
    rng = random.Random(5)
    for _ in range(8):
        process = subprocess.Popen([sys.executable, "-c", code], env=os.environ | {"KESTREL_HOME": str(home)})
        time.sleep(whole * rng.uniform(0.4, 0.98))
        process.send_signal(signal.SIGKILL)
        process.wait()
        found = find_world("practice-11", SEED, SCALE, ["fulfilment"])
        assert found is None or len(digests(found.world)) >= 8
    files = ensure_world("practice-11", SEED, SCALE, ["fulfilment"])
    assert digests(files.world)["core.orders"][0] == round(1_000_000 * SCALE)
    assert not list((home / "worlds").glob("*.partial-*"))


def test_a_whole_world_serves_a_lab_that_wants_a_part(home: Path) -> None:
    whole = ensure_world("practice-11", SEED, 0.001)
    assert find_world("practice-11", SEED, 0.001, ["orders"]) == whole


def test_a_cached_world_cannot_be_written_to(home: Path) -> None:
    files = ensure_world("practice-11", SEED, 0.001, ["calendar"])
    assert files.world.stat().st_mode & 0o222 == 0


def test_a_full_disk_is_one_clear_line_and_keeps_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(world_file: Path, *args: object, **kwargs: object) -> None:
        world_file.write_bytes(b"half")
        raise duckdb.IOException('Could not write file "x": No space left on device')

    monkeypatch.setattr(cache, "build_world", full)
    with pytest.raises(WorkshopError, match="disk is full") as error:
        ensure_world("practice-11", SEED, 0.001, ["calendar"])
    assert "\n" not in str(error.value)
    assert not [p for p in (home / "worlds").iterdir() if p.is_dir()]


def test_a_home_that_is_no_folder_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("KESTREL_HOME", str(tmp_path / "file"))
    with pytest.raises(WorkshopError, match="KESTREL_HOME"):
        ensure_world("practice-11", SEED, 0.001, ["calendar"])


def test_the_command_says_where_the_world_is(home: Path) -> None:
    run = [sys.executable, "-m", "workshop", "world"]
    done = subprocess.run(
        [*run, "practice-11", "--scale", "0.001", "--subjects", "calendar"], capture_output=True, text=True, check=True
    )
    assert str(home / "worlds") in done.stdout
    for bad in (["elsewhere"], ["practice-11", "--scale", "77"], ["practice-11", "--subjects", "nonsense"], ["--what"]):
        done = subprocess.run([*run, *bad], capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
