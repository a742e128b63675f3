"""What is asked of Kafka about topics: whether they exist, what they hold, how they are kept."""

from collections.abc import Mapping
from contextlib import suppress
from threading import Lock

from kafka import KafkaAdminClient, errors
from kafka.admin import ConfigResource
from kafka.structs import TopicPartition

from stream.log.contract import Bounds, LogError, RefusedError, UnknownTopicError
from stream.log.kafka.client import WAIT_MS, named_errors, open_client
from stream.log.kafka.security import Cluster


class Admin:
    """Requests about topics, one at a time: the client fails a request that comes while five are under way."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster, self._client = cluster, open_client(KafkaAdminClient, cluster)
        self._lock = Lock()

    def create(self, topic: str, partitions: int, settings: Mapping[str, object]) -> bool:
        """Create ``topic`` with as many replicas as the cluster gives by default, unless it exists: only then do we need the right to."""
        with suppress(UnknownTopicError):
            self.partitions(topic)
            return False
        wanted = {topic: {"num_partitions": partitions, "configs": {name: str(value) for name, value in settings.items()}}}
        with self._lock, named_errors(self._cluster, "CREATE", topic):
            try:
                self._client.create_topics(wanted, timeout_ms=WAIT_MS, wait_for_metadata=True)
            except errors.TopicAlreadyExistsError:
                return False
        return True

    def partitions(self, topic: str) -> int:
        """Count the partitions of ``topic``.

        Raises:
            UnknownTopicError: there is no such topic.
        """
        with self._lock, named_errors(self._cluster, "DESCRIBE", topic):
            (found,) = self._client.describe_topics([topic])
            error = errors.for_code(found["error_code"])
            if error is errors.UnknownTopicOrPartitionError:
                raise UnknownTopicError(f"topic {topic!r} does not exist: `sml topics create` creates it")
            if error is not errors.NoError:
                raise error(topic)
        return len(found["partitions"])

    def bounds(self, topic: str, partitions: int) -> dict[int, Bounds]:
        """Return the first offset of each partition, and the last stable one: up to it every transaction is decided."""
        wanted = [TopicPartition(topic, partition) for partition in range(partitions)]
        with self._lock, named_errors(self._cluster, "DESCRIBE", topic):
            first = self._client.list_partition_offsets(dict.fromkeys(wanted, -2), timeout_ms=WAIT_MS)
            end = self._client.list_partition_offsets(dict.fromkeys(wanted, -1), "read_committed", timeout_ms=WAIT_MS)
        return {each.partition: Bounds(first[each].offset, end[each].offset) for each in wanted}

    def setting(self, topic: str, name: str) -> str:
        """Return a setting of ``topic``, whether it is the topic's own or the cluster's.

        Raises:
            LogError: Kafka does not return it.
        """
        with self._lock, named_errors(self._cluster, "DESCRIBE_CONFIGS", topic):
            found = self._client.describe_configs([ConfigResource("topic", topic, {name: None})], config_filter="all")
        try:
            return str(found["topic"][topic][name]["value"])
        except KeyError as error:  # the client leaves out what it may not see
            refused = errors.TopicAuthorizationFailedError(topic)
            raise RefusedError(self._cluster.refusal(refused, "DESCRIBE_CONFIGS", topic)) from error

    def change(self, topic: str, settings: Mapping[str, object]) -> None:
        """Change settings of ``topic``, and leave its others as they are.

        Raises:
            LogError: Kafka refuses.
        """
        wanted = ConfigResource("topic", topic, {name: str(value) for name, value in settings.items()})
        with self._lock, named_errors(self._cluster, "ALTER_CONFIGS", topic):
            changed = self._client.alter_configs([wanted], raise_on_unknown=False, incremental=True)
        if (answer := changed["topic"][topic]) != "OK":  # the client raises nothing
            raise LogError(f"Kafka does not change the settings of topic {topic!r}: {answer}")

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
