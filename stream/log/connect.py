"""From a url to the log behind it."""

from stream.log.contract import Log, Partitioner


def connect(url: str, partitioner: Partitioner = "murmur2") -> Log:
    """Open the log at ``url``: ``sqlite:///relative.db``, ``sqlite:////absolute.db`` or ``kafka://host:9092[,host2:9092]``.

    Args:
        url: Where it is.
        partitioner: What chooses the partitions of keyed messages that are written to it.

    Raises:
        ValueError: the url is of neither kind.
        LogUnavailableError: the log can't be reached.
    """
    if url.startswith("sqlite:///"):
        from stream.log.sqlite_log import SqliteLog  # noqa: PLC0415 - a process loads the client of its own log only

        return SqliteLog(url, partitioner)
    if url.startswith("kafka://"):
        from stream.log.kafka_log import KafkaLog  # noqa: PLC0415

        return KafkaLog(url, partitioner)
    message = f"expected sqlite:///… or kafka://host:9092, got {url!r}"
    raise ValueError(message)
