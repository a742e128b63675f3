"""kafka-python, made to keep the log's contract; with the other modules of this package the only one that imports it.

Every wait ends. A client that fails to open leaves no thread and no socket behind. Errors are the log's own.
Offsets are read up to the last stable one: what an open transaction has written is not visible yet.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from kafka import KafkaConsumer, errors
from kafka.net.compat import KafkaNetClient
from kafka.net.selector import NetworkSelector
from kafka.structs import TopicPartition

from stream.log.contract import (
    FencedError,
    LogError,
    LogUnavailableError,
    OffsetGoneError,
    Progress,
    RecordTooLargeError,
    RefusedError,
    UnknownTopicError,
)
from stream.log.kafka.security import REFUSALS, Cluster, Connections

C = TypeVar("C")

WAIT = 10.0  # seconds that Kafka may take to do what is asked; the client retries in between
WAIT_MS = int(WAIT * 1000)
_PATIENCE = {"request_timeout_ms": WAIT_MS // 2, "bootstrap_timeout_ms": WAIT_MS, "reconnect_backoff_max_ms": 1000}


@contextmanager
def named_errors(cluster: Cluster, right: str, resource: str = "") -> Iterator[None]:
    """Turn the client's errors into the log's. Kafka says "fenced" after a mere time-out, too: do not rely on it alone.

    Args:
        cluster: Who we are.
        right: The right that Kafka wants for what is done.
        resource: What it is done to.
    """
    try:
        yield
    except (errors.ProducerFencedError, errors.InvalidProducerEpochError) as error:
        raise FencedError(f"Kafka no longer takes this producer's writes: {error!r}") from error
    except (errors.OffsetOutOfRangeError, errors.LogTruncationError) as error:
        raise OffsetGoneError(f"expected an offset that the topic holds, got {error}") from error
    except errors.UnknownTopicOrPartitionError as error:
        raise UnknownTopicError(f"expected a topic and partition that exist, got {error}") from error
    except (errors.MessageSizeTooLargeError, errors.RecordListTooLargeError) as error:
        raise RecordTooLargeError(f"expected a message that Kafka takes, got {error}") from error
    except REFUSALS as error:
        raise RefusedError(cluster.refusal(error, right, resource)) from error
    except errors.UnsupportedVersionError as error:
        raise LogError(f"Kafka refuses: {error!r}") from error
    except errors.KafkaError as error:
        if refusal := _refusal_behind(error):
            raise RefusedError(cluster.refusal(refusal, right, resource)) from error
        raise LogUnavailableError(f"Kafka can't be used now: {error!r}") from error


def _refusal_behind(error: BaseException | None) -> Exception | None:
    """Return the refusal that the client's error follows from, if one did: a producer that was refused says so only once."""
    if "ClusterAuthorizationFailedError" in str(error):  # the client has put it into a text
        error = errors.ClusterAuthorizationFailedError(str(error))
    while error is not None and not isinstance(error, REFUSALS):
        inner = next((each for each in error.args if isinstance(each, BaseException)), None)
        error = inner or error.__cause__ or error.__context__
    return error if isinstance(error, Exception) else None


class _Client(KafkaNetClient):  # type: ignore[misc]  # it has no types
    def close(self, node_id: Any = None) -> None:
        """Close the connections, those too that have yet to send something, whose sockets the base forgets."""
        transports = [connection.transport for connection in list(self._manager._conns.values()) if connection.transport]  # noqa: SLF001
        super().close(node_id)
        for transport in transports if node_id is None else ():
            if transport._sock:  # noqa: SLF001
                transport._sock.close()  # noqa: SLF001


def open_client(kind: Callable[..., C], cluster: Cluster, **settings: Any) -> C:
    """Make a client; if that fails, close what it had already opened."""
    opened: list[_Client] = []

    def connect(**configs: Any) -> _Client:
        credentials = cluster.credentials()
        net = NetworkSelector(**configs)
        opened.append(_Client(net, Connections(net, cluster, **configs | credentials)))
        return opened[-1]

    try:
        with named_errors(cluster, "DESCRIBE"):
            return kind(bootstrap_servers=list(cluster.servers), kafka_client=connect, **_PATIENCE, **settings)
    except LogError as error:
        trouble = next((client._manager.trouble for client in opened), None)  # noqa: SLF001 - it is ours
        for client in opened:
            client.close()
        if isinstance(error, LogUnavailableError) and trouble:
            hint = "; does it want TLS or a password there, or not ([log.security] protocol)?" if _hangs_up(trouble) else ""
            raise LogUnavailableError(f"{error}: {trouble}{hint}") from error
        raise


def _hangs_up(trouble: BaseException) -> bool:
    """Return whether the first bytes were not understood, as when one side speaks TLS or SASL and the other does not."""
    return any(sign in str(trouble) for sign in ("disconnected", "EOF", "reset by peer", "frame"))


def committed(cluster: Cluster, group: str, topic: str, partitions: int) -> dict[int, Progress]:
    """Return the offsets committed under ``group``, once no transaction that changes them is under way."""
    consumer = open_consumer(cluster, group_id=group)
    progress = {}
    try:
        for partition in range(partitions):
            with named_errors(cluster, "DESCRIBE", group):
                found = consumer.committed(TopicPartition(topic, partition), metadata=True, timeout_ms=WAIT_MS)
            if found is not None:
                progress[partition] = Progress(found.offset, found.metadata)
    finally:
        consumer.close(autocommit=False)
    return progress


def open_consumer(cluster: Cluster, **settings: Any) -> KafkaConsumer:
    """Open a consumer that reads only what was committed, and misses nothing in silence."""
    return open_client(
        KafkaConsumer,
        cluster,
        isolation_level="read_committed",
        auto_offset_reset="none",  # "latest" would silently skip lost records
        enable_auto_commit=False,
        allow_auto_create_topics=False,
        **settings,
    )
