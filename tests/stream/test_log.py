"""The log's contract, kept by SQLite and by a real Kafka alike: one set of tests, run on both."""

import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from kafka import KafkaAdminClient, TopicPartition
from kafka.partitioner.default import murmur2

from stream.connect import connect
from stream.log import (
    Bounds,
    FencedError,
    Log,
    Message,
    OffsetGoneError,
    Progress,
    Record,
    RecordTooLargeError,
    UnknownTopicError,
)

PATIENCE = 10.0  # seconds; Kafka shows what was committed a moment after the commit returns


@pytest.fixture(params=["sqlite", "kafka"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Give the url of an empty log in SQLite, or of the running Kafka."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path_factory.mktemp('log')}/deep/log.db"
    return str(request.getfixturevalue("kafka"))


@pytest.fixture
def log(url: str) -> Iterator[Log]:
    """Open the log."""
    with connect(url) as opened:
        yield opened


def new_topic(log: Log, partitions: int = 2, retention: float | None = None) -> str:
    topic = f"test-{uuid.uuid4().hex}"
    assert log.create(topic, partitions, retention=retention)
    return topic


def new_owner() -> str:
    return f"owner-{uuid.uuid4().hex}"


def read(log: Log, topic: str, count: int, start: Mapping[int, int] | None = None) -> list[Record]:
    """Read until ``count`` records have come, and make sure that no more do."""
    reader = log.reader(topic, start or dict.fromkeys(log.bounds(topic), 0))
    records: list[Record] = []
    deadline = time.monotonic() + PATIENCE
    while len(records) < count and time.monotonic() < deadline:
        records += reader.poll(100, 0.2)
    records += reader.poll(100, 0.1)
    reader.close()
    assert len(records) == count
    return records


def values(records: list[Record]) -> list[bytes | None]:
    return [record.value for record in records]


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


def test_a_key_chooses_the_partition_that_kafkas_clients_choose(log: Log) -> None:
    topic = new_topic(log, partitions=7)
    keys = [f"impression-{number}".encode() for number in range(40)]

    log.append([Message(topic, key, b"") for key in keys])

    records = read(log, topic, len(keys))
    assert {record.key: record.partition for record in records} == {key: (murmur2(key) & 0x7FFFFFFF) % 7 for key in keys}


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

    polls = []
    deadline = time.monotonic() + PATIENCE
    while sum(map(len, polls)) < 55 and time.monotonic() < deadline:
        polls.append(reader.poll(8, 0.2))

    assert all(len(records) <= 8 for records in polls)
    for records in polls:
        partitions = [record.partition for record in records]
        changes = sum(one != other for one, other in zip(partitions, partitions[1:], strict=False))
        assert changes == max(0, len(set(partitions)) - 1)
    for partition, start in ((0, 0), (1, 5), (2, 0)):
        offsets = [record.offset for records in polls for record in records if record.partition == partition]
        assert offsets == list(range(start, 20))
    assert reader.positions() == {0: 20, 1: 20, 2: 20}
    reader.close()


def test_a_commit_appends_and_remembers_how_far_its_owner_came(log: Log) -> None:
    topic, other, owner = new_topic(log), new_topic(log, 1), new_owner()
    writer = log.writer(owner)

    offsets = writer.commit(
        [Message(topic, b"", b"a", partition=0), Message(other, b"", b"b"), Message(topic, b"", b"c", partition=0)],
        {(topic, 0): Progress(7, '{"rewind": 3}'), (topic, 1): Progress(0)},
    )

    assert offsets == [0, 0, 1]
    assert values(read(log, topic, 2)) == [b"a", b"c"]
    assert values(read(log, other, 1)) == [b"b"]
    assert log.progress(owner, topic) == {0: Progress(7, '{"rewind": 3}'), 1: Progress(0, "")}
    assert log.progress(owner, other) == {}
    assert log.progress(new_owner(), topic) == {}
    writer.close()


def test_progress_alone_can_be_committed_and_the_last_counts(log: Log) -> None:
    topic, owner = new_topic(log), new_owner()
    writer = log.writer(owner)

    assert writer.commit([], {(topic, 1): Progress(1, "one")}) == []
    assert writer.commit([], {(topic, 1): Progress(2, "two")}) == []
    assert writer.commit([], {}) == []

    assert log.progress(owner, topic) == {1: Progress(2, "two")}
    writer.close()


def test_positions_pass_everything_up_to_the_end(log: Log) -> None:
    topic = new_topic(log, partitions=1)
    writer = log.writer(new_owner())
    reader = log.reader(topic, {0: 0})
    for number in range(3):
        writer.commit([Message(topic, b"", b"%d" % number)], {})

    records: list[Record] = []
    deadline = time.monotonic() + PATIENCE
    while (len(records) < 3 or reader.positions()[0] < log.bounds(topic)[0].end) and time.monotonic() < deadline:
        records += reader.poll(10, 0.1)

    assert values(records) == [b"0", b"1", b"2"]
    assert reader.positions() == {0: log.bounds(topic)[0].end}
    reader.close()
    writer.close()


def test_a_refused_commit_leaves_nothing(log: Log) -> None:
    topic, owner = new_topic(log, 1), new_owner()
    writer = log.writer(owner)
    good = Message(topic, b"", b"good")

    with pytest.raises(RecordTooLargeError):
        writer.commit([good, Message(topic, b"", bytes(1_100_000))], {(topic, 0): Progress(1)})
    with pytest.raises(RecordTooLargeError):
        writer.commit([good], {(topic, 0): Progress(1, "x" * 5000)})
    with pytest.raises(UnknownTopicError):
        writer.commit([good, Message("unknown", b"", b"")], {(topic, 0): Progress(1)})

    assert log.progress(owner, topic) == {}
    assert log.bounds(topic) == {0: Bounds(0, 0)}
    assert writer.commit([good], {(topic, 0): Progress(1)}) == [0]
    writer.close()


def test_the_next_owner_of_a_name_fences_the_one_before(log: Log, url: str) -> None:
    topic, owner = new_topic(log, 1), new_owner()
    first = log.writer(owner)
    first.commit([Message(topic, b"", b"first")], {(topic, 0): Progress(1)})

    with connect(url) as elsewhere:
        second = elsewhere.writer(owner)
        second.commit([Message(topic, b"", b"second")], {(topic, 0): Progress(2)})
        for messages in ([Message(topic, b"", b"zombie")], []):
            with pytest.raises(FencedError, match=owner):
                first.commit(messages, {})
        with pytest.raises(FencedError, match=owner):
            first.commit([], {(topic, 0): Progress(9)})
        second.commit([Message(topic, b"", b"third")], {(topic, 0): Progress(3)})
        second.close()

    assert values(read(log, topic, 3)) == [b"first", b"second", b"third"]
    assert log.progress(owner, topic) == {0: Progress(3)}
    first.close()


def test_owners_do_not_disturb_one_another(log: Log) -> None:
    topic, one, two = new_topic(log, 1), new_owner(), new_owner()
    writers = log.writer(one), log.writer(two)

    for number, writer in enumerate(writers):
        writer.commit([Message(topic, b"", b"%d" % number)], {(topic, 0): Progress(number)})

    assert values(read(log, topic, 2)) == [b"0", b"1"]
    assert (log.progress(one, topic), log.progress(two, topic)) == ({0: Progress(0)}, {0: Progress(1)})
    for writer in writers:
        writer.close()


def test_what_was_written_is_there_after_a_restart(log: Log, url: str) -> None:
    topic, owner = new_topic(log, 1), new_owner()
    log.append([Message(topic, b"", b"kept")])
    writer = log.writer(owner)
    writer.commit([], {(topic, 0): Progress(1, "note")})
    writer.close()

    with connect(url) as again:
        assert values(read(again, topic, 1)) == [b"kept"]
        assert again.progress(owner, topic) == {0: Progress(1, "note")}


def test_large_messages_fit_and_larger_ones_are_refused(log: Log) -> None:
    topic = new_topic(log, 1)
    large = bytes(range(256)) * 3_600  # 921,600 bytes

    log.append([Message(topic, b"key", large, (("version", b"1"),))] * 2)
    with pytest.raises(RecordTooLargeError, match="1,000,000"):
        log.append([Message(topic, b"", b"before"), Message(topic, b"", bytes(1_000_001))])

    assert values(read(log, topic, 2)) == [large, large]


def forget(url: str, topic: str, before: int) -> None:
    """Have the log drop the records before an offset, as retention would."""
    if url.startswith("sqlite"):
        time.sleep(0.6)
        with connect(url) as log:  # trims at its first write
            log.append([Message(topic, b"", b"kept")])
        return
    admin = KafkaAdminClient(bootstrap_servers=url.removeprefix("kafka://"))
    admin.delete_records({TopicPartition(topic, 0): before})
    admin.close()


def test_what_retention_has_deleted_is_missed_and_its_offsets_are_not_used_again(log: Log, url: str) -> None:
    topic = new_topic(log, 1, retention=0.5 if url.startswith("sqlite") else 3600.0)
    log.append([Message(topic, b"", b"%d" % number) for number in range(5)])
    reader = log.reader(topic, {0: 1})
    forget(url, topic, before=5)

    (offset,) = log.append([Message(topic, b"", b"kept")])

    first, end = log.bounds(topic)[0]
    assert (first, end) == (5, offset + 1)
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


def test_closing_leaves_no_thread(url: str) -> None:
    before = threading.active_count()

    with connect(url) as log:
        topic = new_topic(log, 1)
        log.append([Message(topic, b"", b"")])
        writer, reader = log.writer(new_owner()), log.reader(topic, {0: 0})
        writer.commit([Message(topic, b"", b"")], {})
        reader.poll(10, PATIENCE)
        writer.close()
        reader.close()

    assert threading.active_count() == before


messages = st.lists(
    st.tuples(
        st.binary(max_size=4),
        st.none() | st.binary(max_size=50),
        st.lists(st.tuples(st.text(max_size=5), st.binary(max_size=5)), max_size=2).map(tuple),
        st.none() | st.integers(0, 2),
    ),
    min_size=1,
    max_size=8,
)


@given(writes=st.lists(st.tuples(st.booleans(), messages), max_size=6), max_records=st.integers(1, 12))
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_topic_is_a_list_for_each_partition(log: Log, writes: list[tuple[bool, list[tuple]]], max_records: int) -> None:
    topic = new_topic(log, 3)
    writer = log.writer("hypothesis")
    expected: dict[int, list[tuple]] = defaultdict(list)
    for in_transaction, batch in writes:
        sent = [Message(topic, key, value, headers, partition) for key, value, headers, partition in batch]
        offsets = writer.commit(sent, {}) if in_transaction else log.append(sent)
        for (key, value, headers, partition), offset in zip(batch, offsets, strict=True):
            chosen = (murmur2(key) & 0x7FFFFFFF) % 3 if partition is None else partition
            expected[chosen].append((offset, key, value, headers))
    writer.close()

    reader = log.reader(topic, {0: 0, 1: 0, 2: 0})
    found: dict[int, list[tuple]] = defaultdict(list)
    deadline = time.monotonic() + PATIENCE
    while sum(map(len, found.values())) < sum(map(len, expected.values())) and time.monotonic() < deadline:
        for record in reader.poll(max_records, 0.1):
            found[record.partition].append((record.offset, record.key, record.value, record.headers))
    reader.close()

    assert found == expected
