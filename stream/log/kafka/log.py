"""The log in Apache Kafka.

What an owner commits (messages, and offsets under a consumer group of its name) is one transaction. Kafka says "fenced" after a mere
time-out, too, and lets a fenced owner's empty transaction succeed. So an owner writes an owner record when it takes its name; after any
error, that record shows whether another process has taken the name since. After a commit of unknown outcome, a new producer is started
first, which settles the outcome; then the caller is told to reload.
"""

import logging
import uuid
from collections.abc import Mapping, Sequence
from threading import Lock
from types import TracebackType
from typing import Self

from stream.log.contract import (
    Bounds,
    FencedError,
    LogError,
    LogUnavailableError,
    Message,
    Partitioner,
    Progress,
    RefusedError,
    Retention,
    TopicPartition,
    UnknownTopicError,
)
from stream.log.kafka.admin import Admin
from stream.log.kafka.client import WAIT, committed
from stream.log.kafka.producer import Producer
from stream.log.kafka.reader import KafkaReader
from stream.log.kafka.security import Cluster
from stream.log.message import check_metadata, choose_partition
from stream.log.reading import read_all
from stream.log.settings import SecuritySettings

logger = logging.getLogger(__name__)

OWNERS = "sml-owners"  # the topic of owner records: key an owner's name, value the token of the process that took it
TIMESTAMPS = "message.timestamp.type"  # a topic's setting
_TAKES = 5
_SEGMENTS = 4  # of a topic with a limit
_SMALLEST_SEGMENT, _LARGEST_SEGMENT = 1 << 20, 1 << 30  # bytes: Kafka takes no smaller one, and its own are as large


class KafkaLog:
    """The log at ``kafka://host:9092[,host2:9092]``."""

    def __init__(self, url: str, partitioner: Partitioner = "murmur2", security: SecuritySettings | None = None) -> None:
        self.partitioner = partitioner
        self._cluster = Cluster(tuple(url.removeprefix("kafka://").split(",")), security or SecuritySettings())
        self._admin = Admin(self._cluster)
        self._partitions: dict[str, int] = {}  # by topic, of those asked about so far
        self._producer: Producer | None = None
        self._lock = Lock()

    def create(self, topic: str, partitions: int, *, retention: float | None = None, most_bytes: int | None = None) -> bool:
        """Create ``topic`` unless it exists; return whether it was created."""
        self._create_owners()
        return self._admin.create(topic, partitions, {TIMESTAMPS: "LogAppendTime", **_configs(Retention(retention, most_bytes))})

    def retention(self, topic: str) -> Retention:
        """Return how long, and up to how many bytes, ``topic`` keeps its records; the active segment of each partition comes on top."""
        self._count(topic)
        milliseconds, most_bytes = (int(self._admin.setting(topic, name)) for name in ("retention.ms", "retention.bytes"))
        return Retention(None if milliseconds < 0 else milliseconds / 1000, None if most_bytes < 0 else most_bytes)

    def retain(self, topic: str, retention: Retention) -> None:
        """Keep the records of ``topic``, also those that it holds, for so long and up to so many bytes from now on."""
        self._count(topic)
        self._admin.change(topic, _configs(retention))

    def bounds(self, topic: str) -> dict[int, Bounds]:
        """Return the committed offsets that each partition holds; an open transaction is beyond the end."""
        return self._admin.bounds(topic, self._count(topic))

    def release(self, topic: str, before: Mapping[int, int]) -> None:
        """Do nothing: to delete records takes a right that a writer of Kafka's need not have, and retention will."""

    def file_sizes(self) -> dict[str, int]:
        """Return nothing: the files are the brokers', which measure them."""
        return {}

    def append_times(self, topic: str) -> bool:
        """Return whether the timestamps are the broker's: a topic that we did not create may keep the writers'."""
        self._count(topic)
        return self._admin.setting(topic, TIMESTAMPS) == "LogAppendTime"

    def append(self, messages: Sequence[Message]) -> list[int]:
        """Append, and return the offsets once every in-sync replica has the records; after an error, some may have been written."""
        routed = self.route(messages)
        with self._lock:
            producer = self._producer = self._producer or Producer.open(self._cluster)
        try:
            return producer.send_all(routed)
        except (LogUnavailableError, FencedError, RefusedError) as error:
            # A producer whose writes expired or were refused may never write again: the next append starts another.
            with self._lock:
                self._producer = None if self._producer is producer else self._producer
            producer.abandon()
            if isinstance(error, RefusedError):
                raise
            raise LogUnavailableError(f"some messages may not have been appended: {error}") from error

    def reader(self, topic: str, start: Mapping[int, int]) -> KafkaReader:
        """Open a reader of ``topic`` from the given offset of each partition."""
        missing = start.keys() - set(range(self._count(topic)))
        if missing:
            raise UnknownTopicError(f"expected partitions of topic {topic!r}, which has {self._count(topic)}, got {sorted(missing)}")
        return KafkaReader(self._cluster, topic, start)

    def writer(self, owner: str, group: str | None = None) -> "KafkaWriter":
        """Take the name ``owner``, and fence whoever held it; progress is stored under ``group``, by default the owner's name."""
        self._create_owners()
        return KafkaWriter(self, owner, group or owner)

    def progress(self, owner: str, topic: str) -> dict[int, Progress]:
        """Return what ``owner`` last committed for each partition."""
        return committed(self._cluster, owner, topic, self._count(topic))

    def route(self, messages: Sequence[Message]) -> list[tuple[Message, int]]:
        """Pair each message with its partition."""
        return [(message, choose_partition(message, self._count(message.topic), self.partitioner)) for message in messages]

    def producer(self, owner: str) -> Producer:
        """Start a producer for ``owner``; Kafka fences the previous one and ends its open transaction."""
        return Producer.open(self._cluster, owner)

    def token(self, owner: str) -> bytes | None:
        """Return what the newest owner record of ``owner`` holds."""
        token: bytes | None = None
        for record in read_all(self, OWNERS, timeout=WAIT):
            token = record.value if record.key == owner.encode() else token
        return token

    def close(self) -> None:
        """Close the connections."""
        if self._producer is not None:
            self._producer.abandon()
        self._admin.close()

    def __enter__(self) -> Self:
        """Return the log itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close it."""
        self.close()

    def _create_owners(self) -> None:
        self._admin.create(OWNERS, 1, {"cleanup.policy": "compact"})

    def _count(self, topic: str) -> int:
        if topic not in self._partitions:
            self._partitions[topic] = self._admin.partitions(topic)
        return self._partitions[topic]


def _configs(retention: Retention) -> dict[str, object]:
    """Return the settings of a topic. Kafka deletes whole segments: four per retention, so that not much more is kept."""
    seconds, most_bytes = retention
    configs: dict[str, object] = {
        "retention.ms": -1 if seconds is None else int(seconds * 1000),
        "retention.bytes": -1 if most_bytes is None else most_bytes,
    }
    if seconds is not None:
        configs["segment.ms"] = max(1, int(seconds * 1000) // _SEGMENTS)
    if most_bytes is not None:
        configs["segment.bytes"] = min(_LARGEST_SEGMENT, max(_SMALLEST_SEGMENT, most_bytes // _SEGMENTS))
    return configs


class KafkaWriter:
    """The owner of a name, for as long as the owner record holds its token."""

    def __init__(self, log: KafkaLog, owner: str, group: str) -> None:
        self._log, self._owner, self._group = log, owner, group
        self.token = uuid.uuid4().hex.encode()
        log.token(owner)  # trouble makes us read it: a right to do so that is missing is found now
        self._producer: Producer | None = self._take()

    def commit(self, messages: Sequence[Message], progress: Mapping[TopicPartition, Progress]) -> list[int]:
        """Append ``messages`` and store ``progress`` in one transaction; return the messages' offsets, in order."""
        routed = self._log.route(messages)
        check_metadata(progress)
        if self._producer is None:
            self._start_again()
            raise LogUnavailableError(f"Kafka is back: {self._owner!r} must reload what it committed")
        if not routed and not progress:
            self._expect_to_own()
            return []
        try:
            return self._producer.transact(routed, progress, self._group)
        except LogError as error:
            logger.warning("The commit of %s failed, starting again: %s", self._owner, error)
            self._start_again()
            if isinstance(error, LogUnavailableError | FencedError):
                raise LogUnavailableError(f"not committed, {self._owner!r} must reload what it committed: {error}") from error
            raise

    def close(self) -> None:
        """Close the connections."""
        if self._producer is not None:
            self._producer.abandon()
            self._producer = None

    def _take(self) -> Producer:
        """Fence the former owner, and write the owner record by which it will know."""
        record = Message(OWNERS, self._owner.encode(), self.token)
        for _ in range(_TAKES):
            producer = self._log.producer(self._owner)
            try:
                producer.transact([(record, 0)], {}, self._owner)
            except FencedError:  # the former owner may have started again before it could see the record
                producer.abandon()
            except LogError:
                producer.abandon()
                raise
            else:
                return producer
        raise FencedError(f"could not take {self._owner!r} in {_TAKES} tries: another process keeps taking it, too")

    def _start_again(self) -> None:
        """Start a producer, which settles what the last one left open; make sure before and after that the name is still ours."""
        self.close()
        self._expect_to_own()
        producer = self._log.producer(self._owner)
        try:
            self._expect_to_own()
        except LogError:
            producer.abandon()
            raise
        self._producer = producer

    def _expect_to_own(self) -> None:
        token = self._log.token(self._owner)
        if token != self.token:
            raise FencedError(f"another process owns {self._owner!r}: expected its record to hold {self.token!r}, got {token!r}")
