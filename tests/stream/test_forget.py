"""A request names a value by its key; impressions that hold the value are deleted from the joiner and from a log that is compacted."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from model.settings import Field
from stream.forget import ForgetError, ask, count_impressions, delete_impressions, fields_to_forget
from stream.join.joiner import Joiner
from stream.join.metrics import JoinerMetrics
from stream.log.contract import Log, Message
from stream.log.reading import read_all
from stream.records.events import Click, Forget, Impression, Watermark, encode
from stream.settings import JoinSettings
from tests.stream.learning import SPEC, TOPICS, opened

USER = SPEC.fields[0]
NOW = 1_700_000_000_000


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    with opened(tmp_path, partitions=2) as log:
        yield log


def show(log: Log, name: str, user: object, time: int = NOW) -> None:
    impression = Impression(name, time, {"user": user, "item": 1, "price": 1.0})  # type: ignore[dict-item]
    log.append([Message(TOPICS.impressions, name.encode(), encode(impression))])


def join(log: Log) -> None:
    settings = JoinSettings(click_window=10, lateness=1)
    Joiner(log, TOPICS, settings, JoinerMetrics(CollectorRegistry())).run(lambda: False, until_caught_up=True)


def example_ids(log: Log) -> list[str]:
    return sorted(json.loads(record.value or b"")["impression_id"] for record in read_all(log, TOPICS.examples) if record.key)


def test_a_request_holds_the_key_and_not_the_value(log: Log) -> None:
    ask(log, TOPICS, [USER], "alice@example.com", NOW)

    (record,) = read_all(log, TOPICS.examples)
    assert b"alice" not in (record.value or b"")
    assert json.loads(record.value or b"")["until"] == NOW


@pytest.mark.parametrize(("value", "same"), [("17", 17), (17, 17.0), (True, "true")])
def test_a_value_is_forgotten_however_it_is_written(log: Log, value: str, same: object) -> None:
    (request,) = ask(log, TOPICS, [USER], value, NOW)
    show(log, "i1", same)

    assert count_impressions(log, TOPICS, [USER], [request]) == 1


def test_a_field_without_a_row_for_the_value_alone_is_refused_and_nothing_is_written(log: Log) -> None:
    with pytest.raises(ForgetError, match="'price': got 3, expected a value with a row of its own"):
        ask(log, TOPICS, [USER, SPEC.fields[2]], 3, NOW)

    assert not list(read_all(log, TOPICS.examples))


@pytest.mark.parametrize(
    ("named", "personal", "expected"),
    [("item", [], ["item"]), ("item", ["user"], ["item"]), (None, ["user", "item"], ["user", "item"])],
)
def test_the_field_named_is_forgotten_or_else_those_that_are_personal(named: str | None, personal: list[str], expected: list[str]) -> None:
    assert [field.name for field in fields_to_forget(SPEC.fields, named, personal)] == expected


@pytest.mark.parametrize(("named", "got"), [("usr", "'usr'"), (None, "none, and privacy.fields is empty")])
def test_an_unknown_field_is_refused_with_those_that_there_are(named: str | None, got: str) -> None:
    with pytest.raises(ForgetError, match=f"field: got {got}, expected one of user, item, price"):
        fields_to_forget(SPEC.fields, named, [])


def test_a_field_of_which_a_cross_is_made_is_not_forgotten_by_halves() -> None:
    fields = [*SPEC.fields, Field(name="item:price", kind="cross", of=("item", "price"))]

    with pytest.raises(ForgetError, match="field: got item, expected a field of which no cross is made, and item:price is: its rows can't"):
        fields_to_forget(fields, "item", [])
    assert fields_to_forget(fields, "user", [])


def test_a_field_of_which_an_overlap_is_made_is_forgotten_for_that_holds_only_counts() -> None:
    fields = [Field(name="seen", kind="multi"), Field(name="item"), Field(name="again", kind="overlap", of=("item", "seen"))]

    assert fields_to_forget(fields, "seen", []) == fields[:1]


def test_an_impression_that_waits_in_the_joiner_becomes_no_example(log: Log) -> None:
    join(log)  # before there are examples: it would not begin behind some that it did not write
    for n in range(40):
        show(log, f"i{n}", "who" if n % 4 == 0 else f"u{n}")
    log.append([Message(TOPICS.clicks, f"i{n}".encode(), encode(Click(f"i{n}", NOW + 5))) for n in range(0, 40, 8)])
    (request,) = ask(log, TOPICS, [USER], "who", NOW)

    assert delete_impressions(log, TOPICS, [USER], [request]) == 10

    for topic in (TOPICS.impressions, TOPICS.clicks):  # all windows close
        log.append([Message(topic, None, encode(Watermark(NOW + 3_600_000)), partition=p) for p in log.bounds(topic)])
    join(log)
    assert example_ids(log) == sorted(f"i{n}" for n in range(40) if n % 4)


def test_each_is_deleted_under_its_own_key_in_its_own_partition(log: Log) -> None:
    """So that Kafka's compaction deletes it."""
    for n in range(40):
        show(log, f"i{n}", "who")
    shown = {record.key: record.partition for record in read_all(log, TOPICS.impressions)}
    (request,) = ask(log, TOPICS, [USER], "who", NOW)

    delete_impressions(log, TOPICS, [USER], [request])

    deleted = {record.key: record.partition for record in read_all(log, TOPICS.impressions) if record.value is None}
    assert deleted == shown
    assert set(deleted.values()) == {0, 1}


def test_impressions_after_the_request_and_those_that_can_not_be_read_are_left_alone(log: Log) -> None:
    show(log, "later", "who", NOW + 1)
    log.append([Message(TOPICS.impressions, b"x", value) for value in (b"rubbish", None, b'{"impression_id": "x"}')])
    show(log, "odd", {"a": 1})
    show(log, "list", ["who"])

    assert delete_impressions(log, TOPICS, [USER], [Forget(f"{1:016x}", NOW)]) == 0
    (request,) = ask(log, TOPICS, [USER], "who", NOW)
    assert delete_impressions(log, TOPICS, [USER], [request]) == 0


def test_a_value_in_a_list_is_found(log: Log) -> None:
    tags = Field(name="tags", kind="multi")
    impression = Impression("i1", NOW, {"tags": ["a", "who"]})
    log.append([Message(TOPICS.impressions, b"i1", encode(impression))])

    assert delete_impressions(log, TOPICS, [tags], ask(log, TOPICS, [tags], "who", NOW)) == 1
