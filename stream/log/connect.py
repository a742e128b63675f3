"""Open the log behind a url."""

from stream.log.contract import Log, Partitioner
from stream.log.settings import LogSettings, SecuritySettings


def open_log(settings: LogSettings) -> Log:
    """Open the log that the settings name, as :func:`connect` does."""
    return connect(settings.url, settings.partitioner, settings.security)


def connect(url: str, partitioner: Partitioner = "murmur2", security: SecuritySettings | None = None) -> Log:
    """Open the log at ``url``: ``sqlite:///relative.db``, ``sqlite:////absolute.db`` or ``kafka://host:9092[,host2:9092]``.

    Args:
        url: Where the log is.
        partitioner: What chooses the partitions of the keyed messages that this process writes.
        security: How to reach a Kafka that wants TLS, a password or a token.

    Raises:
        ValueError: the url has neither form.
        LogUnavailableError: the log can't be reached.
        RefusedError: it can be, and does not let us in.
    """
    if url.startswith("sqlite:///"):
        from stream.log.sqlite.log import SqliteLog  # noqa: PLC0415 - a process loads the client of its own log only

        return SqliteLog(url, partitioner)
    if url.startswith("kafka://"):
        from stream.log.kafka.log import KafkaLog  # noqa: PLC0415

        return KafkaLog(url, partitioner, security)
    raise ValueError(f"expected sqlite:///… or kafka://host:9092, got {url!r}")
