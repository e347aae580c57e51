"""The attack suites of module 2 are data. What is said to leak does, when nobody stands in the way."""

from collections.abc import Iterator

import pytest
from conftest import SEED, lab_in_process

from workshop import trusted
from workshop.checks import run_check
from workshop.topics import load_checks, topic


@pytest.fixture
def access() -> Iterator[trusted.Lab]:
    with lab_in_process("2.2", SEED) as lab:
        yield lab


@pytest.fixture
def masking() -> Iterator[trusted.Lab]:
    with lab_in_process("2.8", SEED) as lab:
        yield lab


def test_every_attack_on_the_gateway_leaks_without_one(access: trusted.Lab) -> None:
    checks = load_checks(topic("2.2")).module
    suite, gate = checks._suite("attacks"), checks._gate(access)
    one, two = gate.databases(access)
    assert len(suite) >= 130
    assert len({a["name"] for a in suite}) == len(suite)
    assert all(a["leaks"] for a in suite)
    silent = []
    for attack in suite:
        query = gate.text(attack["query"])
        if attack["group"] != "refuse" and checks._run(one, query) == checks._run(two, query):
            silent.append(attack["name"])
    assert silent == []


def test_honest_queries_run_and_do_not_depend_on_what_is_forbidden(access: trusted.Lab) -> None:
    checks = load_checks(topic("2.2")).module
    one, two = checks._gate(access).databases(access)
    honest = checks._honest_queries(access)
    assert len(honest) >= 60
    for query in honest:
        said, rows = checks._run(one, query["query"])
        assert said == "rows", (query, rows)
        if query["role"] == checks.ROLE:
            assert sorted(checks._run(two, query["query"])[1]) == sorted(rows), query


def test_who_knows_the_queries_of_the_file_by_heart_closes_nothing() -> None:
    """The honest queries of the file are in every learner's folder; others are drawn for each world."""
    checks = load_checks(topic("2.2")).module
    known = {(q["role"], q["query"]) for q in checks._suite("honest")}

    def authorize(query, role, policy):
        allowed = (role, query) in known
        return {"allowed": allowed, "sql": query if allowed else None, "rule": "R1"}

    with lab_in_process("2.2", SEED, {"authorize": authorize}) as lab:
        for check in load_checks(topic("2.2")).of_task("b"):
            assert run_check(check, lab).points == 0 or check.name == "rule_is_named", check.name


def test_raw_tables_give_names_back(masking: trusted.Lab) -> None:
    checks = load_checks(topic("2.8")).module
    case = checks.Case(masking, masking.world, checks.LARGE, "large")
    shares = {a["name"]: checks._reidentified(masking, case, "", a["columns"]) for a in checks._attacks("linkage")}
    assert shares["postcode and birth"] > 0.2, shares
    assert all(a["leaks"] for group in ("key", "guess", "linkage") for a in checks._attacks(group))
    case.database.close()
