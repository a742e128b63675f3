"""Events in Avro, in Protobuf and as CloudEvents are joined as those in JSON are; what can't be read is set aside as it was written."""

import json
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from io import BytesIO
from threading import Timer
from typing import Any

import fastavro
import pytest
from confluent_kafka.schema_registry import Schema, SchemaReference, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf import text_format
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import Default
from google.protobuf.message_factory import GetMessageClass
from prometheus_client import CollectorRegistry

from model.settings import Field
from stream.dead_letters import dead_letters, retry
from stream.forget import count_impressions, keys_of
from stream.formats import avro as avro_data, confluent, protobuf
from stream.formats.confluent import Registry, RegistryAwayError
from stream.formats.decoding import Formats, decoding
from stream.inputs.settings import InputSettings
from stream.join.joiner import Joiner
from stream.join.metrics import JoinerMetrics
from stream.log.contract import Headers, Log, Message, Record
from stream.log.sqlite.log import SqliteLog
from stream.log.topics import create
from stream.records.events import BadRecordError, Example, Forget
from stream.records.times import LATEST_TIME
from tests.stream.formats.registry import FakeRegistry, running
from tests.stream.join.test_joiner import END, SETTINGS, TOPICS, end, examples, new_log

SHOWN = {"impression_id": "a", "time": 100, "features": {"user": "u1", "price": 9.5, "tags": ["new", "red"], "age": None}}
CLICKED = {"impression_id": "a", "time": 104, "value": 2.5}
EXPECTED = Example("a", 100, {"user": "u1", "price": 9.5, "tags": ["new", "red"], "age": None}, 1, value=2.5, clicked_at=104)

FEATURES = [
    {"name": "user", "type": "string"},
    {"name": "price", "type": "double"},
    {"name": "tags", "type": {"type": "array", "items": "string"}},
    {"name": "age", "type": ["null", "int"], "default": None},
]


def avro(*fields: Any, features: Any = FEATURES) -> str:
    return json.dumps(
        {
            "type": "record",
            "name": "Shown",
            "fields": [
                {"name": "impression_id", "type": "string"},
                {"name": "time", "type": "long"},
                {"name": "features", "type": {"type": "record", "name": "Features", "fields": features}},
                *fields,
            ],
        }
    )


CLICK = json.dumps(
    {
        "type": "record",
        "name": "Clicked",
        "fields": [{"name": "impression_id", "type": "string"}, {"name": "time", "type": "long"}, {"name": "value", "type": "double"}],
    }
)

PROTO = """
name: "words_shop.proto" package: "shop" syntax: "proto3" dependency: "google/protobuf/timestamp.proto"
message_type { name: "Page" field { name: "url" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL } }
message_type {
  name: "Shown"
  field { name: "impression_id" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
  field { name: "time" number: 2 type: TYPE_INT64 label: LABEL_OPTIONAL }
  field { name: "features" number: 3 type: TYPE_MESSAGE type_name: ".shop.Shown.Features" label: LABEL_OPTIONAL }
  nested_type {
    name: "Features"
    field { name: "user" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
    field { name: "price" number: 2 type: TYPE_DOUBLE label: LABEL_OPTIONAL }
    field { name: "tags" number: 3 type: TYPE_STRING label: LABEL_REPEATED }
    field { name: "stock" number: 4 type: TYPE_INT32 label: LABEL_OPTIONAL }
    field { name: "age" number: 5 type: TYPE_INT32 label: LABEL_OPTIONAL proto3_optional: true oneof_index: 0 }
    oneof_decl { name: "_age" }
  }
}
message_type {
  name: "Clicked"
  field { name: "impression_id" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
  field { name: "time" number: 2 type: TYPE_MESSAGE type_name: ".google.protobuf.Timestamp" label: LABEL_OPTIONAL }
  field { name: "value" number: 3 type: TYPE_DOUBLE label: LABEL_OPTIONAL }
}
"""


@pytest.fixture(scope="module")
def server() -> Iterator[FakeRegistry]:
    with running() as registry:
        yield registry


@pytest.fixture
def double(server: FakeRegistry) -> Iterator[FakeRegistry]:
    yield server
    server.status = server.real = None
    server.broken = set()


@pytest.fixture
def registry(double: FakeRegistry) -> FakeRegistry:
    double.real = os.environ.get("SML_TEST_REGISTRY")
    return double


@pytest.fixture
def log() -> Iterator[SqliteLog]:
    with new_log() as log:
        yield log


class Writer:
    """Writes what the official client makes of events."""

    def __init__(self, registry: FakeRegistry) -> None:
        config = {"url": registry.url, "basic.auth.user.info": "user:secret"}
        self.client, self.options = SchemaRegistryClient(config), {"subject.name.strategy.type": "TOPIC"}

    def avro(self, topic: str, event: dict[str, Any], schema: str) -> bytes:
        return AvroSerializer(self.client, schema, conf=self.options)(event, SerializationContext(topic, MessageField.VALUE)) or b""

    def protobuf(self, topic: str, name: str, event: dict[str, Any]) -> bytes:
        pool = Default()
        try:
            kind = GetMessageClass(pool.FindMessageTypeByName(name))
        except KeyError:
            pool.Add(text_format.Parse(PROTO, FileDescriptorProto()))
            kind = GetMessageClass(pool.FindMessageTypeByName(name))
        written = ProtobufSerializer(kind, self.client, conf=self.options)(kind(**event), SerializationContext(topic, MessageField.VALUE))
        return written or b""


def joined(log: Log, registry: FakeRegistry | None = None) -> list[Example]:
    settings = SETTINGS.model_copy(update=registry.settings() if registry else {})
    Joiner(log, TOPICS, settings, JoinerMetrics(CollectorRegistry())).run(lambda: False, until_caught_up=True)
    return examples(log)[0]


def write(log: Log, shown: bytes, clicked: bytes, shown_as: Headers = (), clicked_as: Headers = ()) -> None:
    log.append([Message(TOPICS.impressions, b"a", shown, shown_as), Message(TOPICS.clicks, b"a", clicked, clicked_as), *end(log)])


def test_events_in_avro_are_joined_as_those_in_json_are(log: SqliteLog, registry: FakeRegistry) -> None:
    writer = Writer(registry)
    write(log, writer.avro(TOPICS.impressions, SHOWN, avro()), writer.avro(TOPICS.clicks, CLICKED, CLICK))

    assert joined(log, registry) == [EXPECTED]


def test_events_in_protobuf_are_joined_as_those_in_json_are(log: SqliteLog, registry: FakeRegistry) -> None:
    writer = Writer(registry)
    shown = {**SHOWN, "features": {"user": "u1", "price": 9.5, "tags": ["new", "red"]}}
    clicked = {**CLICKED, "time": datetime.fromtimestamp(0.104, UTC)}
    write(log, writer.protobuf(TOPICS.impressions, "shop.Shown", shown), writer.protobuf(TOPICS.clicks, "shop.Clicked", clicked))

    (example,) = joined(log, registry)

    assert example.features == {"user": "u1", "price": 9.5, "tags": ["new", "red"], "stock": 0}  # 0 is not told from nothing there
    assert (example.time, example.clicked_at, example.value) == (100, 104, 2.5)


@pytest.mark.parametrize(
    ("schema", "event", "features"),
    [
        (avro(features=FEATURES[:1]), {**SHOWN, "features": {"user": "u1"}}, {"user": "u1"}),  # an older writer
        (
            avro({"name": "page", "type": "string"}, features=[*FEATURES, {"name": "city", "type": "string"}]),
            {**SHOWN, "page": "/", "features": {**SHOWN["features"], "city": "Bern"}},  # type: ignore[dict-item]
            {**SHOWN["features"], "city": "Bern"},  # type: ignore[dict-item]
        ),
    ],
)
def test_a_schema_may_evolve_in_either_direction(
    log: SqliteLog, registry: FakeRegistry, schema: str, event: dict[str, Any], features: dict[str, Any]
) -> None:
    write(log, Writer(registry).avro(TOPICS.impressions, event, schema), json.dumps(CLICKED).encode())

    (example,) = joined(log, registry)

    assert example.features == features


def test_a_schema_may_refer_to_others(log: SqliteLog, registry: FakeRegistry) -> None:
    writer = Writer(registry)
    features = json.dumps({"type": "record", "name": "Features", "fields": FEATURES[:1]})
    writer.client.register_schema("features", Schema(features, "AVRO"))
    whole = avro().replace(json.dumps({"type": "record", "name": "Features", "fields": FEATURES}), '"Features"')
    schema = Schema(whole, "AVRO", [SchemaReference("Features", "features", 1)])
    write(log, writer.avro(TOPICS.impressions, {**SHOWN, "features": {"user": "u1"}}, schema), json.dumps(CLICKED).encode())  # type: ignore[arg-type]

    assert joined(log, registry)[0].features == {"user": "u1"}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"\0\0\0\xff\xff{}", "got 'schema id 65535', expected one that http://"),
        (b"\0\0\0\0", "expected a zero, the id of a schema, and what it describes"),
        (b"\0\0\0\0\x01", "expected a zero, the id of a schema, and what it describes"),
    ],
)
def test_what_no_schema_describes_is_set_aside_as_it_was_written(
    log: SqliteLog, registry: FakeRegistry, value: bytes, expected: str
) -> None:
    write(log, value, json.dumps(CLICKED).encode())

    assert joined(log, registry) == []
    (letter,) = dead_letters(log, TOPICS)
    assert letter.record.value == value
    assert expected in letter.message
    assert "secret" not in letter.message


def test_what_does_not_fit_its_schema_is_set_aside(log: SqliteLog, registry: FakeRegistry) -> None:
    good = Writer(registry).avro(TOPICS.impressions, SHOWN, avro())
    proto = Writer(registry).protobuf(TOPICS.impressions, "shop.Shown", {"impression_id": "a"})
    endless = [proto[:5] + b"\xff" * 200_000, proto[:5] + b"\x01" * 100, proto[:7] + b"\xff" * 9, good + b"\0" * 1_000_000]
    damaged = [good[:5], good[:9], good[:5] + b"\xff" * 40, good[:5] + b"\x02", *endless[:3]]
    log.append([*(Message(TOPICS.impressions, b"a", value) for value in damaged), *end(log)])

    assert joined(log, registry) == []
    assert [letter.record.value for letter in dead_letters(log, TOPICS)] == damaged
    assert isinstance(Formats(SETTINGS).decoded(Record("t", 0, 0, 0, None, endless[3])).decoded, BadRecordError)


def test_a_schema_that_refers_to_a_subject_that_is_gone_is_named_and_its_records_are_set_aside(
    log: SqliteLog, double: FakeRegistry
) -> None:
    refers = [{"name": "Features", "subject": "gone", "version": 1}]
    double.schemas.append({"schema": avro(features="Features"), "references": refers, "subject": "views", "version": 1})
    value = b"\0" + len(double.schemas).to_bytes(4, "big") + b"x"
    log.append([Message(TOPICS.impressions, b"a", value), *end(log)])

    assert joined(log, double) == []
    (letter,) = dead_letters(log, TOPICS)
    assert letter.record.value == value
    assert f"got 'schema id {len(double.schemas)}', expected one that {double.url} knows: Subject 'gone' not found." in letter.message


LIST = {"type": "record", "name": "List", "fields": [{"name": "next", "type": ["null", "List"]}]}
TREE = {"type": "record", "name": "Tree", "fields": [{"name": "node", "type": {"type": "record", "name": "Node", "fields": [{"name": "in", "type": {"type": "array", "items": "Tree"}}]}}, {"name": "other", "type": ["null", "Node"]}, {"name": "z", "type": ["null", {"type": "record", "name": "Z", "fields": [{"name": "t", "type": ["null", "Tree"]}]}]}]}  # fmt: skip


@pytest.mark.parametrize(
    "field",
    [
        {"name": "a", "type": {"type": "array", "items": "null"}},
        {"name": "a", "type": ["null", {"type": "map", "values": {"type": "array", "items": {"type": "fixed", "name": "F", "size": 0}}}]},
        {"name": "a", "type": {"type": "array", "items": {"type": "record", "name": "E", "fields": [{"name": "n", "type": "null"}]}}},
    ],
)
def test_a_schema_by_which_a_short_record_could_hold_any_number_of_values_is_not_used(field: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected no array of what takes no bytes"):
        avro_data.decoder({"type": "record", "name": "R", "fields": [field]}, {})


def test_two_bytes_of_protobuf_that_stand_for_many_fields_take_no_more_than_a_record() -> None:
    file = FileDescriptorProto(name="page.proto", syntax="proto3", dependency=["google/protobuf/timestamp.proto"])
    page, item = file.message_type.add(name="Page"), file.message_type.add(name="Item")
    page.field.add(name="items", number=1, type=11, label=3, type_name=".Item")
    page.field.add(name="times", number=2, type=11, label=3, type_name=".google.protobuf.Timestamp")
    for number in range(1, 51):
        item.field.add(name=f"feature_{number}", number=number, type=5, label=1)
    decode = protobuf.decoder(file.SerializeToString(), {})

    assert decode(b"\0" + b"\x0a\0" * 1_000)["items"][999]["feature_50"] == 0
    for field in (b"\x0a\0", b"\x12\0"):
        begun = time.monotonic()
        with pytest.raises(ValueError, match="more than 1,000,000 bytes as JSON"):
            decode(b"\0" + field * 400_000)
        assert time.monotonic() - begun < 5  # minutes, and gigabytes, without the bound


@pytest.mark.parametrize("schema", [LIST, TREE])
def test_a_record_of_a_type_that_holds_itself_is_read_and_one_that_goes_too_deep_ends_no_process(schema: dict[str, Any]) -> None:
    decode = avro_data.decoder(schema, {})
    written = BytesIO()
    tree: Any = {"node": {"in": [{"node": {"in": []}, "other": None, "z": None}]}, "other": None, "z": None}
    value = {"next": {"next": None}} if schema is LIST else tree
    fastavro.schemaless_writer(written, schema, value)

    assert decode(written.getvalue()) == value
    with pytest.raises(RecursionError):
        decode(b"\x02" * 1_000_000)


def test_a_registry_that_fails_at_one_schema_alone_holds_up_the_rest_for_a_while_only(
    log: SqliteLog, double: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confluent, "_ALONE_FOR", 0.2)
    monkeypatch.setattr(confluent, "_RETRIES", 0)
    broken = b"\0" + (77).to_bytes(4, "big") + b"x"
    double.broken = {77}
    log.append([Message(TOPICS.impressions, b"b", broken)])
    write(log, Writer(double).avro(TOPICS.impressions, SHOWN, avro()), json.dumps(CLICKED).encode())
    reader = Registry(double.url, "user", "secret")
    with pytest.raises(RegistryAwayError):
        reader.decode(broken)
    time.sleep(0.3)
    double.status = 503  # now it is away: the time begins anew
    with pytest.raises(RegistryAwayError):
        reader.decode(broken)
    double.status = None
    with pytest.raises(RegistryAwayError):
        reader.decode(broken)

    assert joined(log, double) == [EXPECTED]
    (letter,) = dead_letters(log, TOPICS)
    assert letter.record.value == broken
    assert "schema id 77" in letter.message


def test_an_unknown_schema_is_asked_for_once_and_its_records_can_be_retried(log: SqliteLog, double: FakeRegistry) -> None:
    value = b"\0" + (9_999).to_bytes(4, "big") + b"x"
    log.append([*(Message(TOPICS.impressions, b"a", value) for _ in range(50)), *end(log)])
    before = len(double.asked)

    joined(log, double)

    assert len(double.asked) - before == 1
    assert retry(log, TOPICS).written == 50


def test_a_schema_that_becomes_known_is_found(double: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confluent, "_UNTIL_ASKED_AGAIN", 0.01)
    shown = Writer(double).avro(TOPICS.impressions, SHOWN, avro())
    reader = Registry(double.url, "user", "secret")
    known, double.schemas = double.schemas, []
    with pytest.raises(BadRecordError, match="Schema not found"):
        reader.decode(shown)

    double.schemas = known
    time.sleep(0.05)

    assert reader.decode(shown) == SHOWN


def test_an_impression_in_avro_is_found_when_its_user_is_forgotten(log: SqliteLog, registry: FakeRegistry) -> None:
    log.append([Message(TOPICS.impressions, b"a", Writer(registry).avro(TOPICS.impressions, SHOWN, avro()))])
    fields = [Field(name="user")]
    requests = [Forget.of(key, LATEST_TIME) for key in keys_of(fields, "u1")]

    assert count_impressions(decoding(log, SETTINGS.model_copy(update=registry.settings())), TOPICS, fields, requests) == 1


def test_a_sites_own_topic_may_be_in_avro_and_what_was_set_aside_is_retried(
    log: SqliteLog, double: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confluent, "_UNTIL_ASKED_AGAIN", 0.01)
    create(log, TOPICS, 1, rekey=True)
    log.create("site.views", 1)
    where = {"topic": "site.views", "id": "/impression_id", "time": "/time", "features": {"user": "/features/user"}}
    inputs = InputSettings.model_validate({"impressions": where})
    settings = SETTINGS.model_copy(update={**double.settings(), "rekey": True})
    joiner = partial(Joiner, log, TOPICS, settings, JoinerMetrics(CollectorRegistry()), inputs=inputs)
    times = {"a": 100, "b": 100, "later": END}
    shown = [Writer(double).avro("site.views", {**SHOWN, "impression_id": name, "time": at}, avro()) for name, at in times.items()]
    log.append([Message("site.views", None, shown[0])])
    joiner().run(lambda: False, until_caught_up=True)
    known, double.schemas = double.schemas, []
    log.append([Message("site.views", None, shown[1])])
    joiner().run(lambda: False, until_caught_up=True)
    (letter,) = dead_letters(log, TOPICS)

    double.schemas = known
    retried = retry(decoding(log, settings), TOPICS, inputs)
    log.append([Message("site.views", None, shown[2]), *end(log)])
    joiner().run(lambda: False, until_caught_up=True)

    assert (letter.record.value, retried.written) == (shown[1], 1)
    assert [(each.impression_id, each.features) for each in examples(log)[0]] == [("a", {"user": "u1"}), ("b", {"user": "u1"})]


def test_while_the_registry_is_away_nothing_is_lost_or_set_aside(log: SqliteLog, double: FakeRegistry) -> None:
    writer = Writer(double)
    write(log, writer.avro(TOPICS.impressions, SHOWN, avro()), writer.avro(TOPICS.clicks, CLICKED, CLICK))
    double.status = 503
    with pytest.raises(RegistryAwayError, match="503"):
        Registry(double.url, "user", "secret").decode(b"\0\0\0\0\x01x")

    def come_back() -> None:
        double.status = None

    Timer(0.5, come_back).start()

    assert joined(log, double) == [EXPECTED]
    assert not list(dead_letters(log, TOPICS))


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://nowhere.invalid"])
def test_a_registry_that_can_not_be_reached_is_away(url: str) -> None:
    with pytest.raises(RegistryAwayError, match=url):
        Registry(url).decode(b"\0\0\0\0\x01x")


def test_without_a_registry_it_is_said_what_is_missing(log: SqliteLog) -> None:
    write(log, b"\0\0\0\0\x01x", json.dumps(CLICKED).encode())

    joined(log)

    (letter,) = dead_letters(log, TOPICS)
    assert "join.schema_registry" in letter.message


# Examples of the specification: CloudEvents 1.0, Kafka Protocol Binding, 3.2.4 and 3.3.3, with our data.
BINARY: Headers = (
    ("ce_specversion", b"1.0"),
    ("ce_type", b"com.example.shown"),
    ("ce_source", b"/mycontext/subcontext"),
    ("ce_id", b"a"),
    ("ce_time", b"1970-01-01T00:00:00.100Z"),
    ("content-type", b"application/json; charset=utf-8"),
)
STRUCTURED: Headers = (("content-type", b"application/cloudevents+json; charset=UTF-8"),)
ATTRIBUTES = {"specversion": "1.0", "type": "com.example.clicked", "source": "/mycontext", "id": "1234", "time": "1970-01-01T00:00:00.104Z"}


def test_cloud_events_in_either_mode_are_joined(log: SqliteLog) -> None:
    clicked = {**ATTRIBUTES, "subject": "a", "datacontenttype": "application/json", "data": {"value": 2.5}}
    write(log, json.dumps({"features": SHOWN["features"]}).encode(), json.dumps(clicked).encode(), BINARY, STRUCTURED)

    assert joined(log) == [EXPECTED]


def test_the_data_of_a_cloud_event_may_be_in_avro(log: SqliteLog, registry: FakeRegistry) -> None:
    shown = Writer(registry).avro(TOPICS.impressions, SHOWN, avro())
    headers: Headers = (*(each for each in BINARY if each[0] != "content-type"), ("content-type", b"application/avro"))
    write(log, shown, json.dumps(CLICKED).encode(), headers)

    assert joined(log, registry) == [EXPECTED]


@pytest.mark.parametrize(
    ("value", "headers", "field"),
    [
        (b"{", BINARY, "record"),
        (b"[]", BINARY, "data"),
        (b"{}", STRUCTURED, "specversion"),
        (b"[]", STRUCTURED, "record"),
        (json.dumps({**ATTRIBUTES, "specversion": "0.3", "data": {}}).encode(), STRUCTURED, "specversion"),
        (json.dumps({**ATTRIBUTES, "data_base64": "!"}).encode(), STRUCTURED, "data_base64"),
        (json.dumps({**ATTRIBUTES, "data": {"value": 1}}).encode(), STRUCTURED, "impression_id"),
    ],
)
def test_a_cloud_event_that_is_none_or_says_too_little_is_set_aside(log: SqliteLog, value: bytes, headers: Headers, field: str) -> None:
    log.append([Message(TOPICS.clicks, b"a", value, headers), *end(log)])

    joined(log)

    (letter,) = dead_letters(log, TOPICS)
    assert letter.message.startswith(f"field '{field}'")
    assert letter.record.value == value
    assert {name for name, _ in letter.original_headers} == {name for name, _ in headers}


@pytest.mark.parametrize("headers", [(), (("content-type", b"application/json"), ("ce_sharp", b"1"), ("ce_sharp", b""))])
def test_records_in_json_pass_as_they_are(headers: Headers) -> None:
    record = Record("t", 0, 0, 0, None, b'{"a": 1}', headers)

    assert Formats(SETTINGS).decoded(record) is record
    assert record.json == record.value
