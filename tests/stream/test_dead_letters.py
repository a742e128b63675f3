"""What was set aside can be looked at, and goes back once, byte for byte, to where it came from."""

import json
import time
from collections.abc import Iterator

import pytest

from stream.dead_letters import (
    BATCH,
    LARGEST_DEAD_LETTER,
    DeadLetter,
    NoSuchDeadLetterError,
    dead_letter,
    dead_letter_at,
    dead_letters,
    retry,
)
from stream.inputs.event_time import FutureTimeError, TimeRule
from stream.inputs.placement import MisroutedError
from stream.log.contract import Log, Message, Record
from stream.log.sqlite.log import SqliteLog
from stream.log.topics import Topics, create
from stream.records.events import BadRecordError, Click, encode
from tests.stream.join.joining import id_in
from tests.stream.learning import records

TOPICS = Topics("t")


@pytest.fixture
def log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Log]:
    with SqliteLog(f"sqlite:///{tmp_path_factory.mktemp('log')}/log.db") as opened:
        create(opened, TOPICS, partitions=2)
        yield opened


def set_aside(log: Log, *messages: Message) -> None:
    """Append records, and a dead letter of each."""
    for message, offset in zip(messages, log.append(messages), strict=True):
        record = Record(message.topic, message.partition or 0, offset, 0, message.key, message.value, message.headers)
        log.append([dead_letter(record, "join", BadRecordError("time", f"at {offset}", "int"), TOPICS)])


def bad(value: bytes | None, key: bytes = b"k") -> Message:
    return Message(TOPICS.clicks, key, value, (("trace", b"\xff"),), partition=1)


def test_a_retry_writes_the_bytes_the_key_and_the_headers_back_to_the_partition_they_came_from(log: Log) -> None:
    set_aside(log, bad(b"\x00 rubbish"))

    assert retry(log, TOPICS) == (1, 0)

    first, again = records(log, TOPICS.clicks, 1)
    assert (again.key, again.value, again.headers) == (first.key, first.value, first.headers)


def test_a_second_retry_writes_nothing_until_something_new_is_set_aside(log: Log) -> None:
    set_aside(log, bad(b"1"), bad(b"2"))
    retry(log, TOPICS)

    assert retry(log, TOPICS) == (0, 0)
    set_aside(log, bad(b"3"))
    assert retry(log, TOPICS) == (1, 0)

    assert [record.value for record in records(log, TOPICS.clicks, 1)] == [b"1", b"2", b"1", b"2", b"3", b"3"]


def test_a_retry_of_more_than_fit_in_one_transaction_leaves_none_out(log: Log) -> None:
    count = 2 * BATCH + 10
    letter = dead_letter(Record(TOPICS.clicks, 1, 0, 0, b"k", b"1"), "join", BadRecordError("time", "?", "int"), TOPICS)
    log.append([letter] * count)

    assert retry(log, TOPICS) == (count, 0)

    assert len(records(log, TOPICS.clicks, 1)) == count


def test_a_record_too_large_for_a_dead_letter_is_taken_from_where_it_stood(log: Log) -> None:
    large = b"x" * (LARGEST_DEAD_LETTER + 1)
    set_aside(log, bad(large))

    assert retry(log, TOPICS) == (1, 0)
    assert [record.value for record in records(log, TOPICS.clicks, 1)] == [large, large]


@pytest.mark.parametrize("name", ["x" * 600_000, "€" * 250_000])
def test_a_reason_as_long_as_the_record_still_fits_the_log(name: str, log: Log) -> None:
    """Else whoever sets it aside could never go on: it is committed with what came before."""
    record = Record(TOPICS.examples, 0, 0, 0, None, json.dumps({"features": {name: {}}}, ensure_ascii=False).encode(), ())

    log.append([dead_letter(record, "learn", BadRecordError(f"features.{name}", {}, "a value"), TOPICS)])

    (letter,) = dead_letters(log, TOPICS)
    assert letter.message.startswith(f"field 'features.{name[:1000]}")


def test_a_misrouted_record_goes_to_the_partition_where_its_impression_belongs(log: Log) -> None:
    name = id_in(0, 2, "i")
    value = encode(Click(name, 1))
    record = Record(TOPICS.clicks, 1, 0, 0, b"u17", value)
    log.append([dead_letter(record, "join", MisroutedError("partition", 1, "another"), TOPICS)])

    assert retry(log, TOPICS) == (1, 0)

    (again,) = records(log, TOPICS.clicks, 0)
    assert (again.key, again.value) == (b"u17", value)


def test_a_null_value_goes_back_as_a_null_value(log: Log) -> None:
    set_aside(log, bad(None))

    retry(log, TOPICS)

    assert [record.value for record in records(log, TOPICS.clicks, 1)] == [None, None]


def test_letters_of_one_reason_are_of_one_kind_whatever_their_values(log: Log) -> None:
    set_aside(log, bad(b"1"), bad(b"2"))

    letters = list(dead_letters(log, TOPICS))

    assert {letter.reason for letter in letters} == {"field 'time': got …, expected int"}
    assert [letter.message for letter in letters] == ["field 'time': got 'at 0', expected int", "field 'time': got 'at 1', expected int"]
    assert [(letter.topic, letter.partition, letter.offset) for letter in letters] == [(TOPICS.clicks, 1, 0), (TOPICS.clicks, 1, 1)]


def reason_of(message: str) -> str:
    return DeadLetter(Record(TOPICS.clicks, 1, 0, 0, None, None), TOPICS.clicks, 1, 0, "join", "BadRecordError", message).reason


def test_the_reason_of_a_time_in_the_future_is_the_same_whenever_the_record_was_appended() -> None:
    def reason(appended: int) -> str:
        with pytest.raises(FutureTimeError) as error:
            TimeRule(60_000).check(4_102_444_800_000, appended)
        return reason_of(str(error.value))

    assert reason(1_790_000_000_000) == reason(1_790_000_000_001) == "field 'time': got …, expected at most 60000 ms after its append time"


@pytest.mark.parametrize("name", ["got " * 200_000, "got , expected" * 50_000])
def test_a_reason_is_found_in_linear_time_whatever_a_feature_is_called(name: str) -> None:
    start = time.perf_counter()

    reasons = reason_of(name), reason_of(f"{name}: got 1, expected a number")

    assert time.perf_counter() - start < 0.2
    assert reasons[1] == "got …, expected a number"


def test_what_is_no_dead_letter_is_passed_over_and_can_not_be_shown(log: Log) -> None:
    log.append([Message(TOPICS.dead_letters, b"?", b"?")])
    set_aside(log, bad(b"1"))

    assert [letter.record.offset for letter in dead_letters(log, TOPICS)] == [1]
    assert dead_letter_at(log, TOPICS, 1).record.value == b"1"
    for offset in (0, 2, -1):
        with pytest.raises(NoSuchDeadLetterError, match=f"got {offset}"):
            dead_letter_at(log, TOPICS, offset)
