"""OpenTelemetry at work: a month of events through somebody's instruments, read back as an exporter would.

The real SDK with a reader in memory: nothing is sent anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from opentelemetry.metrics import Meter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import Histogram, InMemoryMetricReader, Sum
from opentelemetry.sdk.resources import Resource

Record = Callable[[dict[str, Any]], Any]
SCOPE = "kestrel.pipelines"


def record_events(instrument: Callable[[Meter], Record], events: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return what one export holds after instrument(meter) has been given each event: a dict for each instrument, by name.

    name, unit, kind ("histogram", "counter", "up_down_counter" or "gauge") and points: a dict for each series, with attributes
    and either value, or count, sum, bounds and buckets (one more than bounds).
    """
    reader = InMemoryMetricReader()
    # Without attributes of this machine: an export is the same everywhere.
    provider = MeterProvider(metric_readers=[reader], resource=Resource({}), shutdown_on_exit=False)
    try:
        record = instrument(provider.get_meter(SCOPE))
        for event in events:
            record(dict(event))
        return _plain(reader)
    finally:
        provider.shutdown()


def _plain(reader: InMemoryMetricReader) -> list[dict[str, Any]]:
    data = reader.get_metrics_data()
    found = []
    for resource in data.resource_metrics if data else ():
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                found.append(
                    {
                        "name": metric.name,
                        "unit": metric.unit or "",
                        "kind": _kind(metric.data),
                        "points": [_point(p) for p in metric.data.data_points],
                    }
                )
    return sorted(found, key=lambda m: m["name"])


def _kind(data: Any) -> str:
    if isinstance(data, Histogram):
        return "histogram"
    if isinstance(data, Sum):
        return "counter" if data.is_monotonic else "up_down_counter"
    return "gauge"


def _point(point: Any) -> dict[str, Any]:
    attributes = {str(k): v for k, v in (point.attributes or {}).items()}
    if hasattr(point, "bucket_counts"):
        return {
            "attributes": attributes,
            "count": point.count,
            "sum": point.sum,
            "bounds": list(point.explicit_bounds),
            "buckets": list(point.bucket_counts),
        }
    return {"attributes": attributes, "value": point.value}
