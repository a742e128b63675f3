"""Traces by OpenTelemetry's SDK, sent by OTLP. What they say of a request is its route and its status, never what it holds."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.access.roles import PROBES
from stream.traces import TRACEPARENT

_W3C = TraceContextTextMapPropagator()
FAILED = 500


class Traces:
    """Makes spans (:class:`stream.traces.Tracing`).

    Args:
        provider: OpenTelemetry's, which samples and sends them.
    """

    def __init__(self, provider: TracerProvider) -> None:
        self._tracer = provider.get_tracer("sml-online")

    def hop(self, name: str, parent: bytes, since: int, **attributes: str | int) -> bytes:
        """Record a hop that began at ``since`` (epoch ms), and ends now; return its context.

        Where a topic has its writers' timestamps, one of another age would keep all spans that are sent with this one from being sent.
        """
        before = _W3C.extract({TRACEPARENT: parent.decode()})
        span = self._tracer.start_span(
            name, before, SpanKind.CONSUMER, attributes, start_time=min(max(since, 0) * 1_000_000, time.time_ns())
        )
        span.end()
        return _written(span)

    def current(self) -> bytes | None:
        """Return the context of the request that is being answered, if it is traced."""
        span = trace.get_current_span()
        return _written(span) if span.get_span_context().trace_flags.sampled else None

    def around(self, app: ASGIApp) -> Callable[..., Any]:
        """Return an ASGI application whose requests are traced, as parts of their callers' traces."""

        async def traced(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http" or scope["path"] in PROBES:
                await app(scope, receive, send)
                return
            given = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"] if name == TRACEPARENT.encode()}
            with self._tracer.start_as_current_span(scope["method"], _W3C.extract(given), SpanKind.SERVER) as span:

                async def answered(message: Message) -> None:
                    if message["type"] == "http.response.start":
                        span.set_attribute("http.response.status_code", message["status"])
                        if message["status"] >= FAILED:
                            span.set_status(trace.StatusCode.ERROR)
                    await send(message)

                try:
                    await app(scope, receive, answered)
                finally:
                    route = getattr(scope.get("route"), "path", "none")  # never the path: it may name a person
                    span.update_name(f"{scope['method']} {route}")
                    span.set_attributes({"http.request.method": scope["method"], "http.route": route})

        return traced


def _written(span: trace.Span) -> bytes:
    carrier: dict[str, str] = {}
    _W3C.inject(carrier, trace.set_span_in_context(span))
    return carrier[TRACEPARENT].encode()


@contextmanager
def sent(endpoint: str, name: str) -> Iterator[Traces]:
    """Send spans to ``endpoint``, as those of the service ``name``, until the block ends; OpenTelemetry's variables say which."""
    provider = TracerProvider(resource=Resource.create({"service.name": name}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces")))
    try:
        yield Traces(provider)
    finally:
        provider.shutdown()
