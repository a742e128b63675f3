"""A request is traced through the log to the weights that have learned its impression, and where nothing is traced nothing is written."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind
from prometheus_client import CollectorRegistry

from service.api.app import build
from service.api.served_weights import ServedWeights
from service.server_settings import TraceSettings
from service.settings import Settings, SettingsError
from service.telemetry.traces import Traces
from service.telemetry.tracing import tracing
from stream.join.joiner import Joiner
from stream.join.metrics import JoinerMetrics
from stream.log.contract import Message, Record
from stream.log.topics import DELTAS
from stream.records.events import Watermark, encode
from stream.settings import JoinSettings
from stream.traces import MOST_WAITING, TRACEPARENT, Tracing, Waiting, context_of, contexts_of
from stream.weights.follow import Follower
from stream.weights.metrics import FollowerMetrics
from tests.stream.learning import TOPICS, learn_all, opened, records

JOIN = JoinSettings(click_window=0.05, lateness=0.01)
CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def eventually(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def whole_way(folder: Path, traces: Tracing | None, served: Callable[[], bool]) -> list[Record]:
    """Predict and log, join, learn and serve what was learned; return the records on the way."""
    registry = CollectorRegistry()
    with opened(folder) as log:
        learn_all(log, folder)

        def follow(weights: ServedWeights, should_stop: Callable[[], bool]) -> None:
            Follower(log, TOPICS, weights, FollowerMetrics(registry), weights.heartbeats, traces).run(should_stop)

        with TestClient(build(log, TOPICS, follow, tracing=traces)) as client:
            eventually(lambda: client.get("/readyz").is_success)
            shown = int(1000 * time.time()) - 1_000
            asked: dict[str, Any] = {"candidates": [{"id": 1, "user": "secret"}], "time": shown, "log": True}
            assert client.post("/v1/predict", json=asked, headers={TRACEPARENT: CALLER}).is_success
            end = encode(Watermark(shown + 500))
            log.append([Message(topic, None, end, partition=0) for topic in (TOPICS.impressions, TOPICS.clicks)])
            Joiner(log, TOPICS, JOIN, JoinerMetrics(registry), tracing=traces).run(lambda: False, until_caught_up=True)
            learn_all(log, folder, tracing=traces)
            client.delete("/v1/users/secret?field=item")
            eventually(lambda: client.get("/v1/model").json()["examples"] == 1 and served())
        return [
            each
            for topic, p in ((TOPICS.impressions, 0), (TOPICS.examples, 0), (TOPICS.weights, DELTAS))
            for each in records(log, topic, p)
        ]


def test_a_request_is_traced_through_the_log_to_the_weights_that_have_learned_it(tmp_path: Path) -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))

    whole_way(tmp_path, Traces(provider), lambda: any(span.name == "serve" for span in exporter.get_finished_spans()))

    spans = {span.name: span for span in exporter.get_finished_spans()}
    way = [spans[name] for name in ("POST /v1/predict", "join", "learn", "serve")]
    parents = [span.parent and format(span.parent.span_id, "016x") for span in way]
    assert parents == [CALLER.split("-")[2], *[format(span.context.span_id, "016x") for span in way[:-1]]]
    assert {format(span.context.trace_id, "032x") for span in way} == {CALLER.split("-")[1]}
    assert way[0].kind is SpanKind.SERVER
    assert dict(way[0].attributes or {}) == {"http.request.method": "POST", "http.route": "/v1/predict", "http.response.status_code": 200}
    assert dict(way[2].attributes or {}) == {"version": 1}
    assert all((span.start_time or 0) < (span.end_time or 0) for span in way)
    assert "DELETE /v1/users/{value:text}" in spans
    assert "GET /readyz" not in spans
    assert "secret" not in "".join(span.to_json() for span in spans.values())


def test_where_nothing_is_traced_no_record_says_so(tmp_path: Path) -> None:
    way = whole_way(tmp_path, None, lambda: True)

    assert len(way) >= 5
    assert not any(name == TRACEPARENT for record in way for name, _ in record.headers)


@pytest.mark.parametrize(
    "value", [b"", b"\xff" * 55, CALLER.encode()[:-1] + b"0", CALLER.encode() * 2, b"00-" + b"g" * 32 + b"-" + b"0" * 16 + b"-01"]
)
def test_a_header_that_is_no_context_of_a_traced_request_is_none(value: bytes) -> None:
    record = Record("t", 0, 0, 0, b"i", b"", ((TRACEPARENT, value), ("other", CALLER.encode())))

    assert context_of(record) is None
    assert context_of(record._replace(headers=((TRACEPARENT, CALLER.encode()),))) == CALLER.encode()
    assert list(contexts_of(record)) == []


def test_however_many_impressions_are_traced_a_bounded_number_of_contexts_waits() -> None:
    waiting = Waiting(Traces(TracerProvider()))
    for number in range(MOST_WAITING + 5):
        waiting.note(Record("t", 0, number, 1, str(number).encode(), b"", ((TRACEPARENT, CALLER.encode()),)))

    waiting.note(Record("t", 0, 0, 1, b"x" * 4_001, b"", ((TRACEPARENT, CALLER.encode()),)))  # no impression has such a key

    assert len(waiting.contexts) == MOST_WAITING
    assert b"x" * 4_001 not in waiting.contexts
    assert waiting.joined(b"0") == ()
    assert [name for name, _ in waiting.joined(b"5")] == [TRACEPARENT]
    assert waiting.joined(b"5") == ()


@pytest.mark.parametrize("timestamp", [-1, 2**62])
def test_a_record_of_another_age_keeps_no_spans_from_being_sent(timestamp: int) -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))

    Traces(provider).hop("join", CALLER.encode(), timestamp)

    encode_spans(exporter.get_finished_spans())  # raises where a time is out of OTLP's range
    (span,) = exporter.get_finished_spans()
    assert 0 <= (span.start_time or 0) <= (span.end_time or 0)


def test_traces_are_sent_where_the_settings_say_and_the_extra_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    with tracing(Settings(), "serve") as traces:
        assert traces is None
    settings = Settings(trace=TraceSettings(endpoint="http://127.0.0.1:9"))
    with tracing(settings, "serve") as traces:
        assert isinstance(traces, Traces)
    monkeypatch.setitem(sys.modules, "service.telemetry.traces", None)
    with pytest.raises(SettingsError, match=r"expected the extra sml-online\[trace\]"), tracing(settings, "serve"):
        pass
