"""A topic is read from where one asks up to the end that it has by then, and a wait ends when it is told to."""

import time
from itertools import islice

import pytest

from stream.log.contract import Log, LogUnavailableError, Message
from stream.log.reading import read_all, sleep_unless
from tests.stream.log.logs import new_owner, new_topic


def test_a_topic_is_read_up_to_the_end_that_it_had_when_reading_began(log: Log) -> None:
    topic = new_topic(log)
    writer = log.writer(new_owner())
    writer.commit([Message(topic, b"", b"%d" % number, partition=number % 2) for number in range(10)], {})

    reading = read_all(log, topic, batch=3)
    first = next(reading)
    writer.commit([Message(topic, b"", b"later", partition=p) for p in (0, 1)], {})
    records = [first, *reading]
    writer.close()

    assert {p: [record.value for record in records if record.partition == p] for p in (0, 1)} == {
        0: [b"0", b"2", b"4", b"6", b"8"],
        1: [b"1", b"3", b"5", b"7", b"9"],
    }


def test_only_the_partitions_and_the_offsets_that_are_asked_for_are_read(log: Log) -> None:
    topic = new_topic(log, 3)
    log.append([Message(topic, b"", b"", partition=number % 3) for number in range(30)])

    assert [(record.partition, record.offset) for record in read_all(log, topic, {1: 3}, {1: 7})] == [(1, offset) for offset in range(3, 7)]
    assert [record.offset for record in read_all(log, topic, {2: 8})] == [8, 9]
    assert len(list(islice(read_all(log, topic, {0: 0, 1: 0}, batch=5), 5))) == 5
    assert list(read_all(log, topic, {0: 10})) == []


def test_reading_that_takes_too_long_is_given_up(log: Log) -> None:
    topic = new_topic(log, 1)
    log.append([Message(topic, b"", b"")])

    with pytest.raises(LogUnavailableError, match="within"):
        list(read_all(log, topic, timeout=-1))


@pytest.mark.parametrize(("stops", "seconds", "least", "most"), [(True, 5.0, 0.0, 2.0), (False, 0.1, 0.1, 2.0)])
def test_a_sleep_ends_when_it_is_told_to(*, stops: bool, seconds: float, least: float, most: float) -> None:
    begun = time.monotonic()

    sleep_unless(lambda: stops, seconds)

    assert least <= time.monotonic() - begun < most
