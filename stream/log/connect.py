"""Open the log behind a url."""

from stream.log.contract import Log, Partitioner


def connect(url: str, partitioner: Partitioner = "murmur2") -> Log:
    """Open the log at ``url``: ``sqlite:///relative.db``, ``sqlite:////absolute.db`` or ``kafka://host:9092[,host2:9092]``.

    Args:
        url: Where the log is.
        partitioner: What chooses the partitions of the keyed messages that this process writes.

    Raises:
        ValueError: the url has neither form.
        LogUnavailableError: the log can't be reached.
    """
    if url.startswith("sqlite:///"):
        from stream.log.sqlite_log import SqliteLog  # noqa: PLC0415 - a process loads the client of its own log only

        return SqliteLog(url, partitioner)
    if url.startswith("kafka://"):
        from stream.log.kafka_log import KafkaLog  # noqa: PLC0415

        return KafkaLog(url, partitioner)
    raise ValueError(f"expected sqlite:///… or kafka://host:9092, got {url!r}")
