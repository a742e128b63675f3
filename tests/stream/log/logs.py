"""What the tests of the log share: new names, and reading to the end."""

import time
import uuid
from collections.abc import Mapping

from stream.log.contract import Log, Record

PATIENCE = 10.0  # seconds; Kafka shows what was committed a moment after the commit returns


def new_topic(log: Log, partitions: int = 2, retention: float | None = None) -> str:
    """Create a topic with a name of its own."""
    topic = f"test-{uuid.uuid4().hex}"
    assert log.create(topic, partitions, retention=retention)
    return topic


def new_owner() -> str:
    """Make up a name that nobody has."""
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
    """Return the values alone."""
    return [record.value for record in records]
