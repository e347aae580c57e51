"""OpenLineage events: read in both ways of writing INDIRECT, and refused for what the specification forbids."""

import copy
from typing import Any

import pytest
from openlineage.client import event_v2, facet_v2

from workshop.lineage_events import collect, read_outputs, violations


def emit(client: Any) -> None:
    facet = facet_v2.column_lineage_dataset
    given = facet.InputField("ns", "core.orders", "total_usd", [facet.Transformation("DIRECT")])
    everywhere = facet.InputField("ns", "core.orders", "status", [facet.Transformation("INDIRECT")])
    about = facet_v2.schema_dataset
    facets = {
        "schema": about.SchemaDatasetFacet([about.SchemaDatasetFacetFields(n, "DOUBLE") for n in ("usd", "one")]),
        "columnLineage": facet.ColumnLineageDatasetFacet({"usd": facet.Fields([given])}, dataset=[everywhere]),
    }
    client.emit(
        event_v2.RunEvent(
            eventType=event_v2.RunState.COMPLETE,
            eventTime="2026-05-14T09:10:00+02:00",
            run=event_v2.Run("6f1c2a52-8f0e-5b1d-9a53-0d6a4a0c7f11"),
            job=event_v2.Job("jobs", "mart.t", {"sql": facet_v2.sql_job.SQLJobFacet("select 1")}),
            outputs=[event_v2.OutputDataset("ns", "mart.t", facets=facets)],
        )
    )


def event() -> dict[str, Any]:
    (made,) = collect(emit)
    return made


def test_what_the_client_makes_is_valid_and_read() -> None:
    assert violations(event()) == []
    output = read_outputs(event())["mart.t"]
    assert list(output.columns) == ["usd", "one"]
    assert output.edges == {
        ("usd", "core.orders", "total_usd", "DIRECT"),
        ("usd", "core.orders", "status", "INDIRECT"),
        ("one", "core.orders", "status", "INDIRECT"),
    }


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("eventTime",), "2026-05-14T09:10:00"),
        (("eventTime",), "2026-13-14T09:10:00Z"),
        (("eventType",), "DONE"),
        (("producer",), "the build"),
        (("run", "runId"), "42"),
        (("job", "namespace"), None),
        (("job", "facets", "sql", "query"), None),
        (("job", "facets", "sql", "_producer"), None),
        (("outputs", 0, "name"), None),
        (("outputs", 0, "facets", "columnLineage", "fields", "usd", "inputFields", 0, "field"), None),
        (("outputs", 0, "facets", "columnLineage", "dataset", 0, "transformations", 0, "type"), "indirect"),
    ],
)
def test_what_the_specification_forbids_is_named(path: tuple[Any, ...], value: Any) -> None:
    """None: the key is missing."""
    broken = copy.deepcopy(event())
    at = broken
    for step in path[:-1]:
        at = at[step]
    if value is None:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    assert len(violations(broken)) == 1
