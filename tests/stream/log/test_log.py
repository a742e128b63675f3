"""The log's contract, kept by SQLite and by a real Kafka alike: what is appended is read, in order, once and as it was."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from zlib import crc32

import pytest
from kafka import KafkaAdminClient, TopicPartition
from kafka.partitioner.default import murmur2

from stream.log.connect import connect
from stream.log.contract import Bounds, Log, LogUnavailableError, Message, OffsetGoneError, Record, RecordTooLargeError, UnknownTopicError
from tests.stream.log.logs import PATIENCE, new_owner, new_topic, read, values


def test_records_come_in_the_order_in_which_they_were_appended(log: Log) -> None:
    topic = new_topic(log, partitions=1)

    first = log.append([Message(topic, b"a", b"1"), Message(topic, b"b", b"2")])
    second = log.append([Message(topic, b"a", b"3")])

    records = read(log, topic, 3)
    assert (first, second) == ([0, 1], [2])
    assert [record.offset for record in records] == [0, 1, 2]
    assert values(records) == [b"1", b"2", b"3"]


def test_a_record_says_where_it_stands_and_when_the_log_took_it(log: Log) -> None:
    topic = new_topic(log)
    before = int(time.time() * 1000)

    (offset,) = log.append([Message(topic, b"key", b"value", partition=1)])

    (record,) = read(log, topic, 1)
    assert record == Record(topic, 1, offset, record.timestamp, b"key", b"value", ())
    assert before - 1 <= record.timestamp <= time.time() * 1000 + 1


def test_the_timestamps_of_a_topic_that_we_create_are_the_logs_own(log: Log) -> None:
    assert log.append_times(new_topic(log))
    with pytest.raises(UnknownTopicError):
        log.append_times("nowhere")


def test_headers_and_null_values_survive(log: Log) -> None:
    topic = new_topic(log, partitions=1)
    headers = (("reason", b"no id"), ("reason", b""), ("größe", b"\x00\xff"))

    log.append([Message(topic, b"forget", None), Message(topic, b"", b""), Message(topic, b"dead", b"x", headers)])

    records = read(log, topic, 3)
    assert [(record.key, record.value, record.headers) for record in records] == [
        (b"forget", None, ()),
        (b"", b"", ()),
        (b"dead", b"x", headers),
    ]


def test_a_record_with_neither_key_nor_value_is_taken(log: Log) -> None:
    topic = new_topic(log, partitions=1)

    log.append([Message(topic, None, None, (("reason", b"too large"),), partition=0)])

    (record,) = read(log, topic, 1)
    assert (record.key or b"", record.value, record.headers) == (b"", None, (("reason", b"too large"),))


def test_a_key_chooses_the_partition_that_kafkas_clients_choose(log: Log) -> None:
    topic = new_topic(log, partitions=7)
    keys = [f"impression-{number}".encode() for number in range(40)]

    log.append([Message(topic, key, b"") for key in keys])

    records = read(log, topic, len(keys))
    assert {record.key: record.partition for record in records} == {key: (murmur2(key) & 0x7FFFFFFF) % 7 for key in keys}


def test_a_log_told_so_places_keys_as_librdkafka_does_by_default(log: Log, log_url: str) -> None:
    topic = new_topic(log, partitions=7)
    keys = [f"impression-{number}".encode() for number in range(40)]

    with connect(log_url, "crc32") as other:
        other.append([Message(topic, key, b"") for key in keys])

    records = read(log, topic, len(keys))
    assert {record.key: record.partition for record in records} == {key: crc32(key) % 7 for key in keys}


def test_a_topic_is_created_once(log: Log) -> None:
    topic = new_topic(log, partitions=3)

    assert not log.create(topic, 5)

    assert log.bounds(topic) == {0: Bounds(0, 0), 1: Bounds(0, 0), 2: Bounds(0, 0)}


def test_bounds_grow_with_what_is_appended(log: Log) -> None:
    topic = new_topic(log)

    log.append([Message(topic, b"", b"", partition=1)] * 3)

    assert log.bounds(topic) == {0: Bounds(0, 0), 1: Bounds(0, 3)}


def test_no_topic_is_created_on_the_way(log: Log) -> None:
    topic = new_topic(log)

    for attempt in (
        lambda: log.bounds("unknown"),
        lambda: log.append([Message("unknown", b"", b"")]),
        lambda: log.reader("unknown", {0: 0}),
        lambda: log.reader(topic, {2: 0}),
        lambda: log.append([Message(topic, b"", b"", partition=2)]),
        lambda: log.bounds("unknown"),
    ):
        with pytest.raises(UnknownTopicError):
            attempt()
    with pytest.raises(UnknownTopicError, match="`sml topics create` creates it"):
        log.bounds("unknown")


def test_poll_waits_for_the_first_record(log: Log) -> None:
    topic = new_topic(log, partitions=1)
    reader = log.reader(topic, {0: 0})

    with ThreadPoolExecutor(1) as pool:
        polled = pool.submit(reader.poll, 10, PATIENCE)
        time.sleep(0.2)
        assert not polled.done()
        log.append([Message(topic, b"", b"late")])
        assert values(polled.result(PATIENCE)) == [b"late"]
    reader.close()


def test_poll_gives_up_after_its_timeout(log: Log) -> None:
    reader = log.reader(new_topic(log), {0: 0, 1: 0})
    reader.poll(10, 0.1)  # connected

    begun = time.monotonic()
    records = reader.poll(10, 0.3)

    assert records == []
    assert 0.25 <= time.monotonic() - begun < 2
    reader.close()


def test_poll_takes_no_more_than_asked_and_a_partition_stands_together(log: Log) -> None:
    topic = new_topic(log, partitions=3)
    log.append([Message(topic, b"", b"%d" % number, partition=number % 3) for number in range(60)])
    reader = log.reader(topic, {0: 0, 1: 5, 2: 0})

    polls: list[list[Record]] = []
    deadline = time.monotonic() + PATIENCE
    while sum(len(records) for records in polls) < 55 and time.monotonic() < deadline:
        polls.append(reader.poll(8, 0.2))

    assert all(len(records) <= 8 for records in polls)
    for records in polls:
        partitions = [record.partition for record in records]
        changes = sum(one != other for one, other in pairwise(partitions))
        assert changes == max(0, len(set(partitions)) - 1)
    for partition, start in ((0, 0), (1, 5), (2, 0)):
        offsets = [record.offset for records in polls for record in records if record.partition == partition]
        assert offsets == list(range(start, 20))
    assert reader.positions() == {0: 20, 1: 20, 2: 20}
    reader.close()


def test_large_messages_fit_and_larger_ones_are_refused(log: Log) -> None:
    topic = new_topic(log, 1)
    large = bytes(range(256)) * 3_600  # 921,600 bytes

    log.append([Message(topic, b"key", large, (("version", b"1"),))] * 2)
    with pytest.raises(RecordTooLargeError, match="1,000,000"):
        log.append([Message(topic, b"", b"before"), Message(topic, b"", bytes(1_000_001))])

    assert values(read(log, topic, 2)) == [large, large]


def test_large_records_are_read_a_piece_at_a_time_and_none_is_left_out(log: Log, log_url: str) -> None:
    topic = new_topic(log, 1)
    for _ in range(6):
        log.append([Message(topic, b"key", bytes(900_000))] * 10)

    reader = log.reader(topic, {0: 0})
    polled = [reader.poll(1_000, PATIENCE)]
    while sum(map(len, polled)) < 60:
        polled.append(reader.poll(1_000, PATIENCE))
        assert polled[-1]
    reader.close()

    assert [record.offset for records in polled for record in records] == list(range(60))
    assert max(map(len, polled)) < 60 or log_url.startswith("kafka")  # which unpacks up to 500 before it counts


def forget(url: str, topic: str, before: int) -> None:
    """Make the log delete the records before an offset, as retention would."""
    if url.startswith("sqlite"):
        with connect(url) as log:
            while log.bounds(topic)[0].first < before:
                time.sleep(0.05)  # so that what is appended meanwhile is younger
                log.append([Message(topic, b"", b"kept")])
        return
    admin = KafkaAdminClient(bootstrap_servers=url.removeprefix("kafka://"))
    admin.delete_records({TopicPartition(topic, 0): before})
    admin.close()


def test_what_retention_has_deleted_is_missed_and_its_offsets_are_not_used_again(log: Log, log_url: str) -> None:
    topic = new_topic(log, 1, retention=0.5 if log_url.startswith("sqlite") else 3600.0)
    log.append([Message(topic, b"", b"%d" % number) for number in range(5)])
    reader = log.reader(topic, {0: 1})
    forget(log_url, topic, before=5)

    (offset,) = log.append([Message(topic, b"", b"kept")])

    first, end = log.bounds(topic)[0]
    assert first >= 5
    assert end == offset + 1
    for late in (reader, log.reader(topic, {0: 4})):
        with pytest.raises(OffsetGoneError):
            late.poll(10, PATIENCE)
        late.close()
    assert set(values(read(log, topic, end - first, {0: first}))) == {b"kept"}


def test_a_reader_ahead_of_the_log_is_refused(log: Log) -> None:
    topic = new_topic(log, 1)
    log.append([Message(topic, b"", b"")])
    reader = log.reader(topic, {0: 2})

    with pytest.raises(OffsetGoneError):
        reader.poll(10, PATIENCE)
    reader.close()


def test_threads_append_at_once(log: Log) -> None:
    topic = new_topic(log, 1)

    with ThreadPoolExecutor(16) as pool:
        given_offsets = list(pool.map(lambda number: (number, log.append([Message(topic, b"", b"%d" % number)])[0]), range(200)))

    records = read(log, topic, 200)
    assert sorted(offset for _, offset in given_offsets) == list(range(200))
    assert {record.offset: record.value for record in records} == {offset: b"%d" % number for number, offset in given_offsets}


def test_closing_leaves_no_thread_and_ends_appending(log_url: str) -> None:
    before = threading.active_count()

    with connect(log_url) as log:
        topic = new_topic(log, 1)
        log.append([Message(topic, b"", b"")])
        writer, reader = log.writer(new_owner()), log.reader(topic, {0: 0})
        writer.commit([Message(topic, b"", b"")], {})
        reader.poll(10, PATIENCE)
        writer.close()
        reader.close()

    assert threading.active_count() == before
    with pytest.raises(LogUnavailableError):
        log.append([Message(topic, b"", b"")])
