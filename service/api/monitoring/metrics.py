"""The server's metrics, of its requests and of its weights; ``routes/metrics.py`` answers ``/metrics`` with them."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from model.encoding.features import Encoder
from service.api.arms import Arms, Selected
from service.api.served_weights import NoWeightsError
from stream.ignored_features import IgnoredMetric
from stream.join.metrics import PROBABILITIES
from stream.weights.metrics import BUCKETS

SIZES = (1, 10, 100, 1_000)  # candidates in a request, which may have no more: latency is measured by these


class RequestMetrics:
    """What is measured of every request."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register the metrics."""
        self.requests = Counter("sml_server_requests", "Requests answered.", ["route", "status"], registry=registry)
        self.request_seconds = Histogram(
            "sml_server_request_seconds", "Time from a request's arrival to its answer.", ["route"], buckets=BUCKETS, registry=registry
        )
        self.in_flight = Gauge("sml_server_in_flight_requests", "Requests that are being answered.", registry=registry)

    def count_shed(self, route: str) -> None:
        """Count a request that is answered before any application sees it: too many wait for their turn."""
        self.requests.labels(route, "503").inc()


class ServerMetrics(RequestMetrics):
    """The server's metrics: requests are counted as they come, the weights are read at each scrape."""

    def __init__(self, registry: CollectorRegistry, arms: Arms) -> None:
        """Register the metrics."""
        super().__init__(registry)
        self.predict_seconds = Histogram(
            "sml_server_predict_seconds",
            "Time to encode and predict all candidates of one request, by their number.",
            ["candidates"],
            buckets=BUCKETS,
            registry=registry,
        )
        self.probability = ArrayHistogram("sml_server_probability", "Probabilities predicted.", PROBABILITIES, registry)
        self.candidates = Counter("sml_server_candidates", "Candidates predicted.", registry=registry)
        self.events = Counter("sml_server_events", "Events written to the log.", ["topic"], registry=registry)

        def gauge(name: str, text: str, value: Callable[[], float]) -> None:
            Gauge(f"sml_server_{name}", text, registry=registry).set_function(lambda: _or_nan(value))

        gauge("weights_version", "Version of the weights in service.", lambda: arms.control.predictor.header.version)
        gauge("weights_examples", "Examples that the weights in service have learned.", lambda: arms.control.predictor.header.examples)
        gauge(
            "weights_age_seconds",
            "Time since the weights in service were published: the staleness of an answer.",
            lambda: arms.control.staleness(),  # noqa: PLW0108 - another arm may be in control by then
        )
        gauge(
            "weights_trained_through_seconds",
            "Time of the newest event that the weights in service have learned, in epoch seconds.",
            lambda: (arms.control.predictor.header.trained_through or math.nan) / 1000,
        )
        gauge(
            "weights_held",
            "1 while newer versions are held, and these weights are the last good ones.",
            lambda: float(bool(arms.control.held)),
        )
        gauge("ready", "1 when the weights have caught up with the log.", lambda: float(arms.caught_up()))
        IgnoredMetric("server", partial(_encoders, arms), registry)
        self.of_arms = ArmMetrics(registry, arms) if arms.split else None

    def record_prediction(self, selected: Selected, probabilities: Sequence[float], seconds: float) -> None:
        """Record an answer."""
        self.predict_seconds.labels(_size(len(probabilities))).observe(seconds)
        self.candidates.inc(len(probabilities))
        self.probability.observe(probabilities)
        if self.of_arms:
            self.of_arms.record(selected, seconds)


class ArmMetrics(Collector):
    """What is measured of each arm; there are as many as the settings name. Of an arm that was retired there is only what was counted."""

    def __init__(self, registry: CollectorRegistry, arms: Arms) -> None:
        """Register the metrics."""
        self.answers = Counter(
            "sml_server_arm_answers", "Requests answered by an arm, by why it did.", ["arm", "reason"], registry=registry
        )
        self.predict_seconds = Histogram(
            "sml_server_arm_predict_seconds", "Time to predict all candidates of one request.", ["arm"], buckets=BUCKETS, registry=registry
        )
        self._arms = arms
        self._gauges: dict[str, tuple[str, Callable[[str], float]]] = {
            "share": ("Share of the units that belong to an arm.", lambda arm: arms.split.shares.get(arm, 0.0) if arms.split else 0.0),
            "stale": (
                "1 when control answers for an arm, whose weights are missing or stale.",
                lambda arm: not arms.answers(arm, arms.control),
            ),
            "weights_version": ("Version of an arm's weights.", lambda arm: arms.weights[arm].predictor.header.version),
            "weights_age_seconds": ("Time since an arm's weights were published.", lambda arm: arms.weights[arm].staleness()),
            "weights_trained_through_seconds": (
                "Time of the newest event that an arm's weights have learned, in epoch seconds.",
                lambda arm: (arms.weights[arm].predictor.header.trained_through or math.nan) / 1000,
            ),
        }
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges as they are now."""
        for name, (text, value) in self._gauges.items():
            gauge = GaugeMetricFamily(f"sml_server_arm_{name}", text, labels=["arm"])
            for arm in self._arms.living:
                gauge.add_metric([arm], float(_or_nan(partial(value, arm))))
            yield gauge

    def record(self, selected: Selected, seconds: float) -> None:
        """Record an answer."""
        self.answers.labels(selected.weights.arm, selected.reason).inc()
        self.predict_seconds.labels(selected.weights.arm).observe(seconds)


class ArrayHistogram:
    """A histogram that takes many values at once: the library's would take a microsecond for each."""

    def __init__(self, name: str, text: str, bounds: Sequence[float], registry: CollectorRegistry) -> None:
        self._name, self._text, self._bounds = name, text, np.array(bounds)
        self._counts, self._sum = np.zeros(len(bounds) + 1, np.int64), 0.0
        registry.register(self)

    def observe(self, values: Sequence[float]) -> None:
        """Take some values."""
        self._counts += np.bincount(np.searchsorted(self._bounds, values), minlength=len(self._counts))
        self._sum += math.fsum(values)

    def collect(self) -> Iterator[Metric]:
        """Yield the histogram as it is now."""
        names = [*map(floatToGoString, self._bounds), "+Inf"]
        buckets = list(zip(names, np.cumsum(self._counts).tolist(), strict=True))
        yield HistogramMetricFamily(self._name, self._text, buckets=buckets, sum_value=self._sum)


def _size(candidates: int) -> str:
    """Return the label of a number of candidates."""
    return f"up to {next((most for most in SIZES if candidates <= most), SIZES[-1])}"


class Measured:
    """ASGI middleware that counts and times every request."""

    def __init__(self, app: ASGIApp, metrics: RequestMetrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and record its route, its status and its time."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.perf_counter(), "500"
        self.metrics.in_flight.inc()

        async def answered(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        try:
            await self.app(scope, receive, answered)
        finally:
            self.metrics.in_flight.dec()
            # A path without a route gets no label of its own: anybody can make up any number of them.
            route = getattr(scope.get("route"), "path", "none")
            self.metrics.requests.labels(route, status).inc()
            self.metrics.request_seconds.labels(route).observe(time.perf_counter() - start)


def _encoders(arms: Arms) -> Iterator[Encoder]:
    for each in arms.weights.values():
        with suppress(NoWeightsError):
            yield each.predictor.encoder


def _or_nan(value: Callable[[], float]) -> float:
    try:
        return value()
    except NoWeightsError:
        return math.nan
