"""The metrics of a deployment, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

__all__ = ["CONTENT_TYPE_LATEST", "Metrics", "RequestMetrics"]

# A JSON call takes milliseconds, the PUT of a long video minutes.
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0)


class RequestMetrics:
    """The counters of requests.

    Args:
        registry: Where they are found.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._under_way = Gauge("robotrace_http_requests_in_progress", "Requests under way.", registry=registry)
        self._answered = Counter(
            "robotrace_http_requests",
            "Requests by route and status; status 0 is one without an answer.",
            ["method", "route", "status"],
            registry=registry,
        )
        self._took = Histogram(
            "robotrace_http_request_duration_seconds",
            "Seconds from a request's headers to the end of its answer.",
            ["method", "route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._received = Counter(
            "robotrace_http_received_bytes", "Bytes of the bodies of requests.", ["route"], registry=registry
        )
        self._sent = Counter(
            "robotrace_http_sent_bytes", "Bytes of the bodies of answers.", ["route"], registry=registry
        )

    def begin(self) -> None:
        """A request has come."""
        self._under_way.inc()

    def end(self, method: str, route: str, status: int, took_s: float, received: int, sent: int) -> None:
        """A request has ended."""
        self._under_way.dec()
        self._answered.labels(method, route, str(status)).inc()
        self._took.labels(method, route).observe(took_s)
        self._received.labels(route).inc(received)
        self._sent.labels(route).inc(sent)


Reading = tuple[str, str, str | None, Callable[[], Iterable[tuple[str, float]]]]
"""Name, help, label (None: a single value), and what reads ``(label's value, value)``."""


class Metrics:
    """The metrics of one deployment; nothing is shared with another one in this process.

    Args:
        readings: What is read when somebody asks.
    """

    def __init__(self, readings: Iterable[Reading] = ()) -> None:
        self._registry = CollectorRegistry()
        self.requests = RequestMetrics(self._registry)
        self._registry.register(_Readings(tuple(readings)))

    def text(self) -> bytes:
        """All of them, in the text format that Prometheus reads."""
        return generate_latest(self._registry)


class _Readings(Collector):
    """Values that are looked up when they are asked for."""

    def __init__(self, readings: tuple[Reading, ...]) -> None:
        self._readings = readings

    def describe(self) -> Iterator[Metric]:
        """Asked at registration, where ``collect`` would read the database."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """The values now."""
        for name, text, label, read in self._readings:
            family = GaugeMetricFamily(name, text, labels=[] if label is None else [label])
            for labelled, value in read():
                family.add_metric([] if label is None else [labelled], value)
            yield family
