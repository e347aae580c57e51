"""A month of events through OpenTelemetry's SDK, read back as plain data."""

import threading

import pytest
from opentelemetry.metrics import Meter

from workshop.telemetry import Record, record_events


def one_of_each(meter: Meter) -> Record:
    count, waiting = meter.create_counter("b.count", unit="{row}"), meter.create_up_down_counter("d.waiting")
    took = meter.create_histogram("c.took", unit="s", explicit_bucket_boundaries_advisory=[1, 10])
    level = meter.create_gauge("a.level")

    def record(event: dict) -> None:
        count.add(event["n"], {"of": event["of"]})
        took.record(event["n"])
        waiting.add(-event["n"])
        level.set(event["n"])

    return record


def test_an_export_holds_every_instrument_as_it_is() -> None:
    before = threading.active_count()
    got = record_events(one_of_each, [{"n": n, "of": "even" if n % 2 == 0 else "odd"} for n in range(1, 13)])
    assert [(m["name"], m["kind"], m["unit"]) for m in got] == [
        ("a.level", "gauge", ""),
        ("b.count", "counter", "{row}"),
        ("c.took", "histogram", "s"),
        ("d.waiting", "up_down_counter", ""),
    ]
    level, count, took, waiting = (m["points"] for m in got)
    assert level == [{"attributes": {}, "value": 12}] and waiting == [{"attributes": {}, "value": -78}]
    assert {p["attributes"]["of"]: p["value"] for p in count} == {"odd": 36, "even": 42}
    assert took == [{"attributes": {}, "count": 12, "sum": 78, "bounds": [1, 10], "buckets": [1, 9, 2]}]
    assert threading.active_count() == before  # nothing that exports in the background


def test_two_exports_share_nothing_and_an_error_is_the_callers() -> None:
    events = [{"n": 1, "of": "odd"}]
    assert record_events(one_of_each, events) == record_events(one_of_each, events)
    assert record_events(lambda meter: lambda event: None, events) == []
    with pytest.raises(KeyError):
        record_events(one_of_each, [{}])
