"""The log's contract on SQLite and on a real Kafka alike: what an owner commits is whole and remembered, and a new owner ends the old."""

import time
from collections import defaultdict

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from stream.log.connect import connect
from stream.log.contract import Bounds, FencedError, Headers, Log, Message, Progress, Record, RecordTooLargeError, UnknownTopicError
from stream.log.message import choose_partition
from tests.stream.log.logs import PATIENCE, new_owner, new_topic, read, values


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


def test_the_next_owner_of_a_name_fences_the_one_before(log: Log, log_url: str) -> None:
    topic, owner = new_topic(log, 1), new_owner()
    first = log.writer(owner)
    first.commit([Message(topic, b"", b"first")], {(topic, 0): Progress(1)})

    with connect(log_url) as elsewhere:
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


def test_what_was_written_is_there_after_a_restart(log: Log, log_url: str) -> None:
    topic, owner = new_topic(log, 1), new_owner()
    log.append([Message(topic, b"", b"kept")])
    writer = log.writer(owner)
    writer.commit([], {(topic, 0): Progress(1, "note")})
    writer.close()

    with connect(log_url) as again:
        assert values(read(again, topic, 1)) == [b"kept"]
        assert again.progress(owner, topic) == {0: Progress(1, "note")}


Written = tuple[int, bytes | None, bytes | None, Headers]

messages = st.lists(
    st.builds(
        Message,
        st.just(""),
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
def test_a_topic_is_a_list_for_each_partition(log: Log, writes: list[tuple[bool, list[Message]]], max_records: int) -> None:
    topic = new_topic(log, 3)
    writer = log.writer("hypothesis")
    expected: dict[int, list[Written]] = defaultdict(list)
    for in_transaction, batch in writes:
        sent = [message._replace(topic=topic) for message in batch]
        offsets = writer.commit(sent, {}) if in_transaction else log.append(sent)
        for message, offset in zip(sent, offsets, strict=True):
            expected[choose_partition(message, 3)].append((offset, message.key, message.value, message.headers))
    writer.close()

    reader = log.reader(topic, {0: 0, 1: 0, 2: 0})
    found: dict[int, list[Written]] = defaultdict(list)
    deadline = time.monotonic() + PATIENCE
    while found != expected and time.monotonic() < deadline:
        for record in reader.poll(max_records, 0.1):
            found[record.partition].append((record.offset, record.key, record.value, record.headers))
    reader.close()

    assert found == expected


def test_several_owners_keep_their_progress_under_one_name_and_fence_only_their_own(log: Log) -> None:
    topic, group = new_topic(log), new_owner()
    first, second = log.writer(f"{group}.0", group), log.writer(f"{group}.1", group)

    first.commit([], {(topic, 0): Progress(3, "first")})
    second.commit([], {(topic, 1): Progress(4, "second")})
    third = log.writer(f"{group}.1", group)
    first.commit([], {(topic, 0): Progress(5, "first")})
    with pytest.raises(FencedError):
        second.commit([], {(topic, 1): Progress(6, "second")})

    assert log.progress(group, topic) == {0: Progress(5, "first"), 1: Progress(4, "second")}
    for writer in (first, second, third):
        writer.close()
