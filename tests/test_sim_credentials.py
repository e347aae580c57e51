"""Tests of workshop/sim/credentials.py (an estate and its platform, policies priced) and of the world's credentials."""

import duckdb
import pytest

from workshop.agent import Crash
from workshop.sim.credentials import (
    DAY_S,
    HOUR_S,
    Caller,
    Estate,
    Order,
    Platform,
    is_signed,
    operate,
    sign,
    simulate_policy,
    simulate_rules,
)
from workshop.world.build import build_world

RULE = {
    "rotate_every_days": 30.0,
    "overlap_days": 7.0,
    "at_bound": "escalate",
    "leak_minutes": 5.0,
    "tell": "affected",
    "accounts": "one each",
}
ABOUT = {
    "class": "service",
    "accounts": 20,
    "callers_per_account": 2.5,
    "lag_median_days": 3.0,
    "lag_sigma": 0.6,
    "laggard_share": 0.03,
    "leaks_per_year": 0.2,
    "found_share": 0.5,
    "found_median_days": 8.0,
}


def estate(**changes):
    callers = [
        Caller("P1/1", "SA1", every_s=6 * HOUR_S, read_every_s=DAY_S),
        Caller("P2/1", "SA1", every_s=6 * HOUR_S, read_every_s=None, answers_after_s=DAY_S),
        Caller("P3/1", "SA1", every_s=6 * HOUR_S, stuck_on=1),
        Caller("P4/1", "SA1", every_s=6 * HOUR_S, last_s=-5 * DAY_S, answers_after_s=DAY_S),
    ]
    return Estate("test", {"SA1": (2, 5 * HOUR_S)}, callers, **changes)


def test_the_same_request_gives_the_same_version():
    vault = Platform(estate().ask).vault
    assert vault.issue("SA1", "q3") == vault.issue("SA1", "q3") == {"version": 3, "secret": vault.secret("SA1", 3)}
    assert vault.issue("SA1", "q4")["version"] == 4
    assert [v["revoked_at_s"] is None for v in vault.versions("SA1")] == [False, True, True, True]


def test_a_version_works_after_a_while_and_is_refused_once_revoked():
    one = estate()
    vault = Platform(one.ask).vault
    new = vault.issue("SA1", "q3")["version"]
    assert not vault.works("SA1", new)
    one.advance(6 * HOUR_S)
    assert vault.works("SA1", new)
    vault.deliver("SA1", new)
    one.advance(2 * DAY_S)
    assert one.last_used("SA1", one.now()) == {
        "P1/1": 3,
        "P2/1": 2,
        "P4/1": 2,
    }  # the stuck one is refused and uses none
    assert not one.lost_calls()
    vault.revoke("SA1", 2)
    one.advance(3 * DAY_S)
    assert {r["caller_id"] for r in one.lost_calls()} == {"P2/1"}


def test_owners_move_laggards_and_say_who_is_retired():
    one = estate()
    platform = Platform(one.ask)
    new = platform.vault.issue("SA1", "q3")["version"]
    one.advance(DAY_S)
    platform.vault.deliver("SA1", new)
    for caller in ("P2/1", "P4/1"):
        platform.desk.escalate("SA1", caller)
    assert platform.desk.retired("SA1") == []
    one.advance(3 * DAY_S)
    assert platform.desk.retired("SA1") == ["P4/1"]
    assert one.last_used("SA1", one.now())["P2/1"] == new


@pytest.mark.parametrize(("side", "versions"), [("before", 2), ("after", 3)])
def test_a_crash_comes_before_or_after_the_effect_and_the_machine_stays_down(side, versions):
    one = estate(crash=(0, side))
    platform = Platform(one.ask)
    with pytest.raises(Crash):
        platform.vault.issue("SA1", "q3")
    assert len(one.versions["SA1"]) == versions
    with pytest.raises(Crash):
        platform.vault.versions("SA1")
    one.restart()
    assert platform.vault.issue("SA1", "q3")["version"] == 3


def test_an_order_cut_short_is_given_again():
    class Rotator:
        def __init__(self, platform):
            self.platform, self.seen = platform, []

        def rotate(self, account_id, rotation_id, now_s):
            seen.append((account_id, rotation_id, now_s))
            self.platform.store.put("x", 1)

        def tick(self, now_s):
            seen.append(now_s)

    seen = []
    one = estate(orders=[Order(HOUR_S, "rotate", ("SA1", "q3"))], end_s=6 * HOUR_S, crash=(0, "after"))
    platform = Platform(one.ask)
    with pytest.raises(Crash):
        operate(Rotator(platform), platform, one.ask)
    one.restart()
    operate(Rotator(platform), platform, one.ask)
    assert seen == [("SA1", "q3", HOUR_S), ("SA1", "q3", HOUR_S + 300), 4 * HOUR_S]


def test_a_caller_that_finds_the_server_busy_is_accepted_until_its_version_is_revoked():
    caller = Caller("P1/1", "SA1", every_s=6 * HOUR_S, read_every_s=None, busy=True)
    one = Estate("test", {"SA1": (2, 5 * HOUR_S)}, [caller])
    one.advance(DAY_S)
    assert {status for *_, status in one.calls("SA1")} == {503}
    assert one.last_used("SA1", one.now()) == {"P1/1": 2}
    Platform(one.ask).vault.revoke("SA1", 2)
    one.advance(2 * DAY_S)
    assert {r["version"] for r in one.lost_calls()} == {2}


def test_what_is_printed_and_stored_is_heard():
    class Careless:
        def tick(self, now_s):
            print(platform.vault.secret("SA1", 2))
            platform.store.put("issued", platform.vault.issue("SA1", "q3"))

    one = estate(end_s=5 * HOUR_S)
    platform = Platform(one.ask)
    operate(Careless(), platform, one.ask)
    assert [where for where, text in one.texts if one.canary in text] == ["the store", "what it printed or logged"]


def test_signatures():
    assert is_signed("a", "hello", sign("a", "hello"))
    assert not is_signed("b", "hello", sign("a", "hello"))


def test_policies_meet_the_same_draws_and_cost_what_they_should():
    def run(**changes):
        return simulate_policy([ABOUT], {"service": RULE | changes}, "seed")[0]

    calm = run()
    assert calm == run()
    assert calm["callers_cut_off"] == 0
    assert calm["longest_overlap_days"] <= 7 + 2
    assert run(at_bound="revoke")["callers_cut_off"] > 0
    assert run(at_bound="keep")["longest_overlap_days"] is None
    rarer = run(rotate_every_days=120.0)["costs"]
    assert rarer["rotation"] < calm["costs"]["rotation"] / 3
    assert rarer["exposure"] > calm["costs"]["exposure"]
    assert run(accounts="one shared")["callers_hit_per_leak"] == pytest.approx(50)
    assert run(tell="nobody")["costs"]["emergencies"] > calm["costs"]["emergencies"]


def test_rules_are_compared_on_the_same_draws():
    rules = [RULE, RULE | {"rotate_every_days": 90.0}, RULE | {"accounts": "one shared"}]
    alone = [simulate_policy([ABOUT], {"service": rule}, "seed")[0] for rule in rules]
    assert simulate_rules(ABOUT, rules, "seed") == alone


def test_the_world_holds_what_it_says(tmp_path):
    build_world(tmp_path / "w", tmp_path / "t", b"credentials-test", 0.02, ["credentials"])
    con = duckdb.connect(str(tmp_path / "w"), read_only=True)
    con.execute(f"attach '{tmp_path / 't'}' as truth_file (read_only)")
    one = lambda sql: con.execute(sql).fetchone()[0]  # noqa: E731
    assert one("select count(*) from ops.api_accounts") == 111
    # Nobody is accepted with a version that is revoked, or before it was issued.
    assert not one("""
        select count(*) from ops.api_calls join ops.credential_versions using (account_id, version)
        where status_code <> 401 and (called_at > revoked_at or called_at < issued_at)
    """)
    assert not one("""
        select count(*) from ops.credential_leaks l left join ops.credential_versions v using (account_id, version)
        where v.version is null or l.leaked_at < v.issued_at or l.found_at > v.revoked_at
    """)
    assert one("select count(*) from ops.credential_versions") == one(
        "select count(distinct request_id) from ops.credential_versions"
    )
    assert one("select count(distinct kind) from truth_file.credential_plants") >= 5
