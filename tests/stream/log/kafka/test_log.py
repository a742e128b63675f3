"""What only Kafka can do to the log: hold a transaction open, call an owner fenced that is not, hang, be away."""

import threading
import time
import uuid
from collections.abc import Iterator

import pytest

from stream.log.connect import connect
from stream.log.contract import Bounds, FencedError, LogUnavailableError, Message, Progress, Record, Writer
from stream.log.kafka import reader as kafka_reader
from stream.log.kafka.admin import Admin
from stream.log.kafka.client import WAIT, open_consumer
from stream.log.kafka.log import KafkaLog
from stream.log.kafka.producer import Producer
from stream.log.kafka.security import Cluster
from tests.helpers.kafka_server import KafkaServer
from tests.helpers.ports import free_port


@pytest.fixture
def log(kafka: str) -> Iterator[KafkaLog]:
    """Open the log in the running Kafka."""
    with KafkaLog(kafka) as opened:
        yield opened


@pytest.fixture
def topic(log: KafkaLog) -> str:
    """Create a topic of one partition."""
    name = f"test-{uuid.uuid4().hex}"
    log.create(name, 1)
    return name


@pytest.fixture
def owner() -> str:
    """Make up a name."""
    return f"owner-{uuid.uuid4().hex}"


def read_for(log: KafkaLog, topic: str, seconds: float = 1.0) -> list[Record]:
    """Return the records that come within a time, which tells when no more do."""
    reader = log.reader(topic, {0: 0})
    records: list[Record] = []
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        records += reader.poll(100, 0.1)
    reader.close()
    return records


def test_nothing_of_an_open_transaction_is_seen_nor_of_an_aborted_one(log: KafkaLog, topic: str, owner: str, kafka: str) -> None:
    log.append([Message(topic, b"", b"before")])
    producer = Producer.open(Cluster((kafka.removeprefix("kafka://"),)), owner)
    producer.begin_transaction()
    producer.send_all([(Message(topic, b"", b"open"), 0)])
    log.append([Message(topic, b"", b"behind it")])

    while_open = [record.value for record in read_for(log, topic)], log.bounds(topic)
    producer.abort_transaction()
    producer.abandon()

    assert while_open == ([b"before"], {0: Bounds(0, 1)})
    assert [record.value for record in read_for(log, topic)] == [b"before", b"behind it"]


def test_an_owner_that_kafka_calls_fenced_without_a_rival_goes_on_after_a_reload(log: KafkaLog, topic: str, owner: str, kafka: str) -> None:
    writer = log.writer(owner)
    writer.commit([Message(topic, b"", b"1")], {(topic, 0): Progress(1)})
    # A transaction that timed out has the same effect: a newer epoch, and nobody's owner record.
    Producer.open(Cluster((kafka.removeprefix("kafka://"),)), owner).abandon()

    with pytest.raises(LogUnavailableError, match="reload"):
        writer.commit([Message(topic, b"", b"2")], {(topic, 0): Progress(2)})
    reloaded = log.progress(owner, topic)
    writer.commit([Message(topic, b"", b"2 again")], {(topic, 0): Progress(2)})
    writer.close()

    assert reloaded == {0: Progress(1)}
    assert [record.value for record in read_for(log, topic)] == [b"1", b"2 again"]


def test_an_owner_that_starts_again_does_not_win_the_name_back(log: KafkaLog, topic: str, owner: str) -> None:
    first, second = log.writer(owner), log.writer(owner)

    with pytest.raises(FencedError):
        first.commit([Message(topic, b"", b"zombie")], {})
    with pytest.raises(FencedError):
        first.commit([Message(topic, b"", b"zombie")], {})
    second.commit([Message(topic, b"", b"owner")], {})

    assert [record.value for record in read_for(log, topic)] == [b"owner"]
    first.close()
    second.close()


def test_a_topic_that_keeps_its_writers_timestamps_is_told_from_one_that_does_not(log: KafkaLog, topic: str, kafka: str) -> None:
    theirs, default = (f"test-{uuid.uuid4().hex}" for _ in range(2))
    admin = Admin(Cluster((kafka.removeprefix("kafka://"),)))
    admin.create(theirs, 1, {"message.timestamp.type": "CreateTime"})
    admin.create(default, 1, {})
    admin.close()

    assert [log.append_times(each) for each in (topic, theirs, default)] == [True, False, False]


def test_what_comes_while_the_caller_works_is_there_when_it_asks(log: KafkaLog, topic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_reader, "_ASKS_OFTEN", 10.0)
    reader = log.reader(topic, {0: 0})
    reader.poll(1, 0.1)
    for number in range(3):
        log.append([Message(topic, b"", b"%d" % number)])
        time.sleep(0.1)

    records = reader.poll(10, 0.0)
    reader.close()

    assert [record.value for record in records] == [b"0", b"1", b"2"]


def test_a_reader_whose_caller_does_not_ask_reads_no_further_than_it_may(
    log: KafkaLog, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_reader, "_AT_ONCE", 10)
    monkeypatch.setattr(kafka_reader, "_AHEAD", 20)
    log.append([Message(topic, b"", bytes(2)) for _ in range(100)])
    reader = log.reader(topic, {0: 0})

    first = reader.poll(1, WAIT)
    time.sleep(0.3)
    held = len(reader._records), reader._bytes, reader.positions()
    rest: list[Record] = []
    while len(rest) < 99:
        rest += reader.poll(7, WAIT)
    reader.close()

    assert held in [(count, 2 * count, {0: 1}) for count in range(20, 30)]
    assert [record.offset for record in first + rest] == list(range(100))


def test_a_reader_whose_caller_seldom_asks_reads_once_for_many_records(log: KafkaLog, topic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_reader, "_ASKS_OFTEN", 0.0)
    reader = log.reader(topic, {0: 0})
    reader.poll(1, 0.1)
    log.append([Message(topic, b"", b"first")])
    while not reader._records:
        time.sleep(0.01)
    log.append([Message(topic, b"", b"%d" % number) for number in range(20)])
    time.sleep(0.3)

    waiting = len(reader._records)
    records = reader.poll(100, WAIT) + reader.poll(100, WAIT)
    reader.close()

    assert (waiting, len(records)) == (1, 21)


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
@pytest.mark.usefixtures("refused")
def test_kafka_elsewhere_is_unavailable_and_nothing_is_left_behind() -> None:
    threads = threading.active_count()
    begun = time.monotonic()

    with pytest.raises(LogUnavailableError):
        connect(f"kafka://127.0.0.1:{free_port()}")

    assert time.monotonic() - begun < WAIT + 5
    assert threading.active_count() == threads


def test_a_client_that_is_closed_while_the_broker_takes_nothing_leaves_no_socket_behind(kafka: str) -> None:
    consumer = open_consumer(Cluster((kafka.removeprefix("kafka://"),)))
    consumer.topics()
    (connection,) = consumer._client._manager._conns.values()
    transport = connection.transport

    transport._sock_send = lambda: (0, None)
    transport.write(b"\0")
    consumer._client.close()

    assert transport._sock.fileno() == -1


@pytest.mark.timeout(180)
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
@pytest.mark.usefixtures("kafka", "refused")  # kafka: so that the jars are there
def test_a_hanging_commit_is_given_up_and_a_crash_survived() -> None:
    with KafkaServer() as server, KafkaLog(server.url) as log:
        log.create("topic", 1)
        writer = log.writer("owner")
        writer.commit([Message("topic", b"", b"1")], {("topic", 0): Progress(1)})

        server.pause()
        begun = time.monotonic()
        with pytest.raises(LogUnavailableError):
            writer.commit([Message("topic", b"", b"2")], {("topic", 0): Progress(2)})
        assert time.monotonic() - begun < 5 * WAIT
        server.kill()
        with pytest.raises(LogUnavailableError):
            writer.commit([Message("topic", b"", b"2")], {("topic", 0): Progress(2)})
        server.start()

        commit_reloading(log, writer, Message("topic", b"", b"2"), 2)
        writer.close()
        assert [record.value for record in read_for(log, "topic")] == [b"1", b"2"]


def commit_reloading(log: KafkaLog, writer: Writer, message: Message, offset: int) -> None:
    """Commit as an owner does: after an error, look first whether it was committed."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if log.progress("owner", "topic") == {0: Progress(offset)}:
                return
            writer.commit([message], {("topic", 0): Progress(offset)})
        except LogUnavailableError:
            time.sleep(0.2)
    pytest.fail("Kafka did not come back")
