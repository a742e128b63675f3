"""The topics of one model: their names, their partitions, how long they are kept.

Models share a log by their prefixes. Nothing relies on a broker creating topics by itself: ``create`` makes them all.
"""

from typing import NamedTuple

from stream.log.contract import Log, LogError

WEIGHTS_RETENTION = 3600.0  # seconds; a snapshot comes far more often, and nobody needs the weights before the newest one

DELTAS, SNAPSHOTS = 0, 1  # the partitions of the weights topic


class PartitionsError(LogError):
    """A topic has too few partitions for what it is to hold."""


class JoinerError(LogError):
    """The joiner can't go on from what the log holds."""


class Topics(NamedTuple):
    """The names of a model's topics.

    >>> Topics("sml").dead_letters
    'sml.dead-letters'
    >>> Topics("sml", by_id=True).clicks
    'sml.clicks-by-id'
    """

    prefix: str
    by_id: bool = False  # impressions and clicks are then our copies of a site's, keyed by the impression's id whatever its keys are

    @property
    def impressions(self) -> str:
        """What was shown, with its features; keyed by the impression's id, like clicks and examples."""
        return f"{self.prefix}.impressions{self._copies}"

    @property
    def clicks(self) -> str:
        """Which impressions were clicked."""
        return f"{self.prefix}.clicks{self._copies}"

    @property
    def examples(self) -> str:
        """Impressions with their labels: what is learned."""
        return f"{self.prefix}.examples"

    @property
    def versions(self) -> str:
        """One small record a version of the weights: where it comes from and how good it is."""
        return f"{self.prefix}.versions"

    @property
    def weights(self) -> str:
        """The arrays: partition 0 the deltas, partition 1 the snapshots."""
        return f"{self.prefix}.weights"

    @property
    def dead_letters(self) -> str:
        """Records that could not be used, untouched, with the reason."""
        return f"{self.prefix}.dead-letters"

    @property
    def _copies(self) -> str:
        return "-by-id" if self.by_id else ""


def create(log: Log, topics: Topics, partitions: int, *, rekey: bool = False) -> list[str]:
    """Create what is missing of a model's topics, ``partitions`` for each of its streams; give the names created.

    With ``rekey`` the copies by id are among them, with as many partitions as the examples have.
    """
    wanted: list[tuple[str, int, float | None]] = [
        (topics.impressions, partitions, None),
        (topics.clicks, partitions, None),
        (topics.examples, partitions, None),
        (topics.versions, 1, None),
        (topics.weights, 2, WEIGHTS_RETENTION),
        (topics.dead_letters, 1, None),
    ]
    created = [topic for topic, count, retention in wanted if log.create(topic, count, retention=retention)]
    if rekey:
        copies, count = topics._replace(by_id=True), len(log.bounds(topics.examples))
        created += [topic for topic in (copies.impressions, copies.clicks) if log.create(topic, count)]
    return created


def check_learners(log: Log, topics: Topics) -> None:
    """Make sure that the learner's topics are there, cut as it needs them.

    Raises:
        UnknownTopicError: one is missing.
        PartitionsError: one has too few partitions.
    """
    for topic, least in ((topics.examples, 1), (topics.versions, 1), (topics.weights, 2), (topics.dead_letters, 1)):
        found = len(log.bounds(topic))
        if found < least:
            message = f"expected {least} partitions of {topic}, got {found}"
            raise PartitionsError(message)
