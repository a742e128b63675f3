"""The topics of one model: their names, their partitions, how long they are kept.

Models share a log, each with a prefix of its own. ``create`` makes all topics: the broker need not create any by itself.
"""

from typing import NamedTuple

from stream.log.contract import Log, LogError

WEIGHTS_RETENTION = 3600.0  # seconds; snapshots are far more frequent, and nobody needs the weights before the newest one

DELTAS, SNAPSHOTS = 0, 1  # the partitions of the weights topic


class PartitionsError(LogError):
    """A topic has too few partitions."""


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
    by_id: bool = False  # impressions and clicks are then our copies of a site's, keyed by the impression's id

    @property
    def impressions(self) -> str:
        """What was shown, with its features. Keyed by the impression's id, like clicks and examples."""
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
        """One small record per version of the weights: where it comes from and how good it is."""
        return f"{self.prefix}.versions"

    @property
    def weights(self) -> str:
        """The arrays: deltas in partition 0, snapshots in partition 1."""
        return f"{self.prefix}.weights"

    @property
    def dead_letters(self) -> str:
        """Records that could not be used, untouched, with the reason."""
        return f"{self.prefix}.dead-letters"

    @property
    def _copies(self) -> str:
        return "-by-id" if self.by_id else ""


def create(log: Log, topics: Topics, partitions: int, *, rekey: bool = False) -> list[str]:
    """Create those of a model's topics that are missing, with ``partitions`` for each stream; return the names created.

    With ``rekey``, create the copies by id too, with as many partitions as the examples have.
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
    """Make sure that the learner's topics exist, with the partitions that it needs.

    Raises:
        UnknownTopicError: one is missing.
        PartitionsError: one has too few partitions.
    """
    for topic, least in ((topics.examples, 1), (topics.versions, 1), (topics.weights, 2), (topics.dead_letters, 1)):
        found = len(log.bounds(topic))
        if found < least:
            raise PartitionsError(f"expected {least} partitions of {topic}, got {found}")
