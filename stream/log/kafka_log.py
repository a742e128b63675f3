"""The log in Apache Kafka.

What an owner commits (messages, and offsets under a consumer group of its name) is one transaction. Kafka says "fenced" after a mere
time-out, too, and lets a fenced owner's empty transaction succeed; so an owner leaves a record when it takes its name, and whatever
goes wrong, that record tells whether another process has taken it since. After a commit of unknown outcome a new producer is started,
which settles the outcome, before the caller is told to reload.
"""

import logging
import time
import uuid
from collections.abc import Mapping, Sequence
from threading import Lock
from types import TracebackType
from typing import Self

from stream.log.contract import Bounds, FencedError, LogError, LogUnavailableError, Message, Partitioner, Progress, UnknownTopicError
from stream.log.kafka_client import WAIT, Admin, KafkaReader, Producer, committed
from stream.log.message import check, place

logger = logging.getLogger(__name__)

OWNERS = "sml-owners"  # the topic of owner records: key an owner's name, value the token of the process that took it
TIMESTAMPS = "message.timestamp.type"  # a topic's setting
_TAKES = 5


class KafkaLog:
    """The log at ``kafka://host:9092[,host2:9092]``."""

    def __init__(self, url: str, partitioner: Partitioner = "murmur2") -> None:
        self.partitioner = partitioner
        self._servers = url.removeprefix("kafka://").split(",")
        self._admin = Admin(self._servers)
        self._partitions: dict[str, int] = {}  # of the topics seen
        self._producer: Producer | None = None
        self._lock = Lock()

    def create(self, topic: str, partitions: int, *, retention: float | None = None) -> bool:
        """Create ``topic`` unless it exists; say whether it was created."""
        settings: dict[str, object] = {"retention.ms": -1, TIMESTAMPS: "LogAppendTime"}
        if retention is not None:
            # Kafka drops whole segments: four to a retention, so that not much more is kept.
            settings |= {"retention.ms": int(retention * 1000), "segment.ms": int(retention * 250)}
        return self._admin.create(topic, partitions, settings)

    def bounds(self, topic: str) -> dict[int, Bounds]:
        """Give the committed offsets that each partition holds; an open transaction is beyond the end."""
        return self._admin.bounds(topic, self._count(topic))

    def append_times(self, topic: str) -> bool:
        """Say whether the timestamps are the broker's: a topic that we did not create may keep the writers'."""
        self._count(topic)
        return self._admin.setting(topic, TIMESTAMPS) == "LogAppendTime"

    def append(self, messages: Sequence[Message]) -> list[int]:
        """Append and return the offsets once every replica in sync has the records; after an error, some may have been written."""
        placed = self.place(messages)
        with self._lock:
            producer = self._producer = self._producer or Producer.open(self._servers)
        try:
            return producer.send_all(placed)
        except (LogUnavailableError, FencedError) as error:
            # A producer whose writes expired may never write again: the next append starts another.
            with self._lock:
                self._producer = None if self._producer is producer else self._producer
            producer.abandon()
            message = f"perhaps not all was appended: {error}"
            raise LogUnavailableError(message) from error

    def reader(self, topic: str, start: Mapping[int, int]) -> KafkaReader:
        """Read ``topic`` from the given offset of each partition."""
        missing = start.keys() - set(range(self._count(topic)))
        if missing:
            message = f"expected partitions of topic {topic!r}, which has {self._count(topic)}, got {sorted(missing)}"
            raise UnknownTopicError(message)
        return KafkaReader(self._servers, topic, start)

    def writer(self, owner: str) -> "KafkaWriter":
        """Take the name ``owner``, fencing whoever held it."""
        self._admin.create(OWNERS, 1, {"cleanup.policy": "compact"})
        return KafkaWriter(self, owner)

    def progress(self, owner: str, topic: str) -> dict[int, Progress]:
        """Give what ``owner`` last committed for each partition."""
        return committed(self._servers, owner, topic, self._count(topic))

    def place(self, messages: Sequence[Message]) -> list[tuple[Message, int]]:
        """Give each message its partition."""
        return [(message, place(message, self._count(message.topic), self.partitioner)) for message in messages]

    def producer(self, owner: str) -> Producer:
        """Start a producer for ``owner``; Kafka fences the one before and ends what that had begun."""
        return Producer.open(self._servers, owner)

    def token(self, owner: str) -> bytes | None:
        """Read the owner record of ``owner``."""
        bounds = self.bounds(OWNERS)[0]
        token: bytes | None = None
        deadline = time.monotonic() + WAIT
        reader = self.reader(OWNERS, {0: bounds.first})
        try:
            while reader.positions()[0] < bounds.end:
                if time.monotonic() > deadline:
                    message = f"could not read the owner of {owner!r} within {WAIT:g} seconds"
                    raise LogUnavailableError(message)
                for record in reader.poll(1000, 1.0):
                    token = record.value if record.key == owner.encode() else token
        finally:
            reader.close()
        return token

    def close(self) -> None:
        """Let go of connections."""
        if self._producer is not None:
            self._producer.abandon()
        self._admin.close()

    def __enter__(self) -> Self:
        """Give the log itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close it."""
        self.close()

    def _count(self, topic: str) -> int:
        if topic not in self._partitions:
            self._partitions[topic] = self._admin.partitions(topic)
        return self._partitions[topic]


class KafkaWriter:
    """The owner of a name, for as long as the owner record holds its token."""

    def __init__(self, log: KafkaLog, owner: str) -> None:
        self._log, self._owner = log, owner
        self._token = uuid.uuid4().hex.encode()
        self._producer: Producer | None = self._take()

    def commit(self, messages: Sequence[Message], progress: Mapping[tuple[str, int], Progress]) -> list[int]:
        """Append ``messages`` and store ``progress`` in one transaction; give the messages' offsets, in order."""
        placed = self._log.place(messages)
        check(progress)
        if self._producer is None:
            self._start_again()
            message = f"Kafka is back: {self._owner!r} must reload what it committed"
            raise LogUnavailableError(message)
        if not placed and not progress:
            self._expect_to_own()
            return []
        try:
            return self._producer.transact(placed, progress, self._owner)
        except LogError as error:
            logger.warning("the commit of %s failed (%s), starting again", self._owner, error)
            self._start_again()
            if isinstance(error, LogUnavailableError | FencedError):
                message = f"not committed, {self._owner!r} must reload what it committed: {error}"
                raise LogUnavailableError(message) from error
            raise

    def close(self) -> None:
        """Let go of connections."""
        if self._producer is not None:
            self._producer.abandon()
            self._producer = None

    def _take(self) -> Producer:
        """Fence the former owner and leave the record that tells it so."""
        record = Message(OWNERS, self._owner.encode(), self._token)
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
        message = f"could not take {self._owner!r} in {_TAKES} tries: another process takes it, too"
        raise FencedError(message)

    def _start_again(self) -> None:
        """Have a producer that settles what the last one left open, if the name is still ours before and after."""
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
        if token != self._token:
            message = f"another process owns {self._owner!r}: expected its record to hold {self._token!r}, got {token!r}"
            raise FencedError(message)
