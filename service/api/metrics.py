"""What the server tells Prometheus about its requests and its weights."""

import math
import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.served_weights import NoWeightsError, ServedWeights

# The default buckets begin at 5 ms, where most predictions have ended.
SECONDS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2.0)


class ServerMetrics:
    """The server's metrics: of requests as they come, of the weights as they are when asked for."""

    def __init__(self, registry: CollectorRegistry, live: ServedWeights) -> None:
        """Register the metrics; those of the weights read ``live``."""
        self.requests = Counter("sml_server_requests", "Requests answered.", ["route", "status"], registry=registry)
        self.request_seconds = Histogram(
            "sml_server_request_seconds", "Time from a request's arrival to its answer.", ["route"], buckets=SECONDS, registry=registry
        )
        self.predict_seconds = Histogram(
            "sml_server_predict_seconds", "Time to encode and predict all candidates of one request.", buckets=SECONDS, registry=registry
        )
        self.candidates = Counter("sml_server_candidates", "Candidates predicted.", registry=registry)
        self.events = Counter("sml_server_events", "Events written to the log.", ["topic"], registry=registry)

        def gauge(name: str, text: str, value: Callable[[], float]) -> None:
            Gauge(f"sml_server_{name}", text, registry=registry).set_function(lambda: _or_nan(value))

        gauge("weights_version", "Version of the weights in service.", lambda: live.predictor.header.version)
        gauge("weights_examples", "Examples that the weights in service have learned.", lambda: live.predictor.header.examples)
        gauge("weights_age_seconds", "Time since the weights in service were published: the staleness of an answer.", live.staleness)
        gauge(
            "weights_trained_through_seconds",
            "Time of the newest event that the weights in service have learned, in epoch seconds.",
            lambda: (live.predictor.header.trained_through or math.nan) / 1000,
        )
        gauge("ready", "1 when the weights have caught up with the log.", lambda: float(live.caught_up))


class Measured:
    """Counts and times every request (ASGI middleware)."""

    def __init__(self, app: ASGIApp, metrics: ServerMetrics) -> None:
        """Measure ``app``."""
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and note its route, its status and its time."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.perf_counter(), "500"

        async def answered(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        try:
            await self.app(scope, receive, answered)
        finally:
            # A path that is no route of ours has no name of its own: anybody can make up any number of them.
            route = getattr(scope.get("route"), "path", "none")
            self.metrics.requests.labels(route, status).inc()
            self.metrics.request_seconds.labels(route).observe(time.perf_counter() - start)


def _or_nan(value: Callable[[], float]) -> float:
    try:
        return value()
    except NoWeightsError:
        return math.nan
