"""The log that the settings name, with the topics of their model."""

from collections.abc import Iterator
from contextlib import contextmanager

from service.settings import Settings
from stream.log import topics
from stream.log.connect import open_log
from stream.log.contract import Log


@contextmanager
def log_with_topics(settings: Settings) -> Iterator[Log]:
    """Open the log. The embedded one gets the topics that it lacks; on Kafka, how a topic is made is its operators' to decide.

    Raises:
        LogError: the log can't be reached.
    """
    with open_log(settings.log) as log:
        if settings.log.embedded:
            create_missing(log, settings)
        yield log


def create_missing(log: Log, settings: Settings) -> list[str]:
    """Create the topics that are missing, and return their names."""
    partitions, rekey, arms = settings.log.partitions, settings.join.rekey, tuple(settings.arms)
    return topics.create(log, settings.topics, partitions, rekey=rekey, arms=arms, kept=settings.kept)
