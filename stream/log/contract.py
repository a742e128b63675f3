"""The log: named topics of ordered, numbered records. The processes share nothing else.

Two implementations, :mod:`stream.log.kafka.log` and :mod:`stream.log.sqlite.log`, keep the same contract:
an append is durable when it returns, a commit is atomic and invisible until it is whole, and the next owner fences the one before.
"""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Literal, NamedTuple, Protocol, Self, TypeAlias


class LogError(Exception):
    """The log could not do what was asked.

    LogError
    ├── LogUnavailableError   it can't be reached now; a later try may work
    ├── UnknownTopicError     the topic does not exist (no topic is created on the fly)
    ├── OffsetGoneError       retention has deleted the record that was asked for
    ├── RecordTooLargeError   a message is above the log's limit
    ├── RefusedError          it does not let us in, or not do this: waiting does not help
    └── FencedError           another process owns what this writer owned
    """


class LogUnavailableError(LogError):
    """The log can't be reached now; a later try may work."""


class UnknownTopicError(LogError):
    """The topic does not exist."""


class OffsetGoneError(LogError):
    """Retention has deleted the record that was asked for."""


class RecordTooLargeError(LogError):
    """A message is above the log's limit."""


class RefusedError(LogError):
    """The log does not let us in, or not do this; waiting does not help."""


class FencedError(LogError):
    """Another process owns what this writer owned."""


Partitioner: TypeAlias = Literal["murmur2", "crc32"]
Headers: TypeAlias = tuple[tuple[str, bytes], ...]
TopicPartition: TypeAlias = tuple[str, int]


class Record(NamedTuple):
    """What a reader returns: a message, its topic, partition and offset."""

    topic: str
    partition: int
    offset: int
    timestamp: int  # epoch ms, when the log took it; the event time is in the value
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    decoded: bytes | Exception | None = None  # its value as JSON, if it is written in another format, or why it has none

    @property
    def json(self) -> bytes | None:
        """The value as JSON.

        Raises:
            BadRecordError: it is in another format, and can't be read.
        """
        if isinstance(self.decoded, Exception):
            raise self.decoded
        return self.value if self.decoded is None else self.decoded


class Message(NamedTuple):
    """What a writer appends. Without a partition, the log's partitioner chooses one by the key."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    partition: int | None = None


class Progress(NamedTuple):
    """How far an owner has come in one partition: the next offset to read, and a text of its own."""

    offset: int
    metadata: str = ""


class Bounds(NamedTuple):
    """The offsets that a partition holds: from ``first`` up to ``end``, which is not included."""

    first: int
    end: int

    def newest(self, count: int) -> int:
        """Return where the newest ``count`` of the offsets begin, or all of them if there are fewer.

        >>> Bounds(3, 10).newest(4), Bounds(3, 10).newest(100)
        (6, 3)
        """
        return max(self.first, self.end - count)


class Retention(NamedTuple):
    """How long a topic keeps its records, and up to how many bytes each partition does; None: there is no such limit."""

    seconds: float | None = None
    bytes: int | None = None


class Reader(Protocol):
    """Reads the committed records of chosen partitions, each partition in order."""

    def poll(self, max_records: int, timeout: float) -> list[Record]:
        """Return up to ``max_records``, after at most ``timeout`` seconds for the first. Records of one partition are adjacent.

        Raises:
            OffsetGoneError: retention has deleted the next record.
            LogUnavailableError: the log can't be reached.
        """
        ...

    def positions(self) -> dict[int, int]:
        """Return the next offset of each partition: past all that was polled, and past offsets that hold no record."""
        ...

    def close(self) -> None:
        """Close the connections."""
        ...


class Writer(Protocol):
    """The single owner of a name: a commit is all or nothing, and the next owner fences this one."""

    def commit(self, messages: Sequence[Message], progress: Mapping[TopicPartition, Progress]) -> list[int]:
        """Append ``messages`` and store ``progress`` in one transaction; return the messages' offsets, in order.

        Raises:
            FencedError: another process has taken the name; nothing was written.
            LogUnavailableError: not committed; reload what is committed before going on.
            RecordTooLargeError: a message is above the limit; nothing was written.
        """
        ...

    def close(self) -> None:
        """Close the connections; the name stays owned until another writer takes it."""
        ...


class Log(Protocol):
    """Named topics of ordered records."""

    partitioner: Partitioner  # of what is written here with a key and without a partition

    def create(self, topic: str, partitions: int, *, retention: float | None = None, most_bytes: int | None = None) -> bool:
        """Create ``topic`` unless it exists; return whether it was created.

        Args:
            topic: Its name.
            partitions: How many it has.
            retention: For how many seconds records are kept; None: for ever.
            most_bytes: How many bytes of records a partition keeps: above it the oldest go; None: any number.
        """
        ...

    def retention(self, topic: str) -> Retention:
        """Return how long, and up to how many bytes, ``topic`` keeps its records.

        Raises:
            UnknownTopicError: there is no such topic.
        """
        ...

    def retain(self, topic: str, retention: Retention) -> None:
        """Keep the records of ``topic``, also those that it holds, for so long and up to so many bytes from now on.

        Raises:
            UnknownTopicError: there is no such topic.
        """
        ...

    def bounds(self, topic: str) -> dict[int, Bounds]:
        """Return the committed offsets that each partition holds.

        Raises:
            UnknownTopicError: there is no such topic.
        """
        ...

    def release(self, topic: str, before: Mapping[int, int]) -> None:
        """Say that nobody needs the records of ``topic`` before these offsets of its partitions. A log that may delete them does, soon."""
        ...

    def file_sizes(self) -> dict[str, int]:
        """Return the bytes of each of the log's files, by what it is; empty if they are another process's."""
        ...

    def append_times(self, topic: str) -> bool:
        """Return whether the log itself sets the timestamps of ``topic``, when it takes a record, rather than the writers.

        Raises:
            UnknownTopicError: there is no such topic.
        """
        ...

    def append(self, messages: Sequence[Message]) -> list[int]:
        """Append, and return the offsets once the records are durable. Any thread may call this; concurrent calls share a write."""
        ...

    def reader(self, topic: str, start: Mapping[int, int]) -> Reader:
        """Open a reader of ``topic`` from the given offset of each partition."""
        ...

    def writer(self, owner: str, group: str | None = None) -> Writer:
        """Take the name ``owner``, and fence whoever held it. Progress is stored under ``group``; by default that is the owner's name."""
        ...

    def progress(self, owner: str, topic: str) -> dict[int, Progress]:
        """Return what ``owner`` last committed for each partition, without an entry where it never did."""
        ...

    def close(self) -> None:
        """Close the connections."""
        ...

    def __enter__(self) -> Self:
        """Return the log itself."""
        ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close it."""
        ...
