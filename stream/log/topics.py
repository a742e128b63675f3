"""The topics of one model: their names, their partitions, how long they are kept.

Models share a log, each with a prefix of its own. ``create`` makes all topics: the broker need not create any by itself.
No topic keeps its records for ever, but the few decisions about arms. What is needed longer is written again: the newest version and a
snapshot, four times in the retention of the weights, as long as a learner runs.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from stream.log.contract import Log, LogError, Retention

WEEK, MONTH = 7 * 86_400.0, 30 * 86_400.0  # seconds
WEIGHTS_RETENTION = 3600.0  # seconds; snapshots are far more frequent, and nobody needs the weights before the newest one
DEAD_LETTER_BYTES = 1_000_000_000

DELTAS, SNAPSHOTS = 0, 1  # the partitions of the weights topic
CONTROL = "control"  # the arm that has the topics of a model without arms


class PartitionsError(LogError):
    """A topic has too few partitions."""


class JoinerError(LogError):
    """The joiner can't go on from what the log holds."""


class TooMuchWaitsError(JoinerError):
    """More impressions and clicks wait for each other than memory was set apart for."""


class Topics(NamedTuple):
    """The names of a model's topics.

    >>> Topics("sml").dead_letters
    'sml.dead-letters'
    >>> Topics("sml", by_id=True).clicks
    'sml.clicks-by-id'
    >>> Topics("sml", arm="treatment").weights
    'sml.weights.treatment'
    """

    prefix: str
    by_id: bool = False  # impressions and clicks are then our copies of a site's, keyed by the impression's id
    arm: str = CONTROL  # whose versions and weights; the arms share all other topics

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
        return f"{self.prefix}.versions{self._of_arm}"

    @property
    def weights(self) -> str:
        """The arrays: deltas in partition 0, snapshots in partition 1."""
        return f"{self.prefix}.weights{self._of_arm}"

    @property
    def dead_letters(self) -> str:
        """Records that could not be used, untouched, with the reason."""
        return f"{self.prefix}.dead-letters"

    @property
    def arms(self) -> str:
        """The decisions which arm answers whom."""
        return f"{self.prefix}.arms"

    @property
    def learner(self) -> str:
        """The name that the learner owns."""
        return f"{self.prefix}.learner{self._of_arm}"

    @property
    def _copies(self) -> str:
        return "-by-id" if self.by_id else ""

    @property
    def _of_arm(self) -> str:
        return "" if self.arm == CONTROL else f".{self.arm}"


class Kept(NamedTuple):
    """How long a model's topics keep their records, in seconds."""

    records: float = WEEK  # impressions, clicks and their copies, examples, versions
    dead_letters: float = MONTH
    dead_letter_bytes: int = DEAD_LETTER_BYTES
    weights: float = WEIGHTS_RETENTION


class Wanted(NamedTuple):
    """A topic as it should be: how many partitions (None: as many as the examples have), and how long it is kept."""

    name: str
    partitions: int | None
    retention: Retention


def wanted(topics: Topics, partitions: int, kept: Kept, *, rekey: bool = False, arms: Sequence[str] = ()) -> Iterator[Wanted]:
    """Yield the topics of a model and its ``arms``, with ``partitions`` for each stream; with ``rekey``, the copies by id as well."""
    records = Retention(kept.records)
    for name in (topics.impressions, topics.clicks, topics.examples):
        yield Wanted(name, partitions, records)
    for of_arm in [topics._replace(arm=arm) for arm in arms or (CONTROL,)]:
        yield Wanted(of_arm.versions, 1, records)
        yield Wanted(of_arm.weights, 2, Retention(kept.weights))
    if arms:
        yield Wanted(topics.arms, 1, Retention())
    yield Wanted(topics.dead_letters, 1, Retention(kept.dead_letters, kept.dead_letter_bytes))
    if rekey:
        copies = topics._replace(by_id=True)
        yield from (Wanted(name, None, records) for name in (copies.impressions, copies.clicks))


def create(
    log: Log,
    topics: Topics,
    partitions: int,
    *,
    rekey: bool = False,
    arms: Sequence[str] = (),
    kept: Kept = Kept(),  # noqa: B008 - it is immutable
) -> list[str]:
    """Create those of a model's topics that are missing, with ``partitions`` for each stream; return the names created.

    With ``rekey``, create the copies by id too, with as many partitions as the examples have.
    """
    created = []
    for name, count, (seconds, most_bytes) in wanted(topics, partitions, kept, rekey=rekey, arms=arms):
        count = len(log.bounds(topics.examples)) if count is None else count  # noqa: PLW2901
        if log.create(name, count, retention=seconds, most_bytes=most_bytes):
            created.append(name)
    return created


def retain(
    log: Log, topics: Topics, *, rekey: bool = False, arms: Sequence[str] = (), kept: Kept
) -> dict[str, tuple[Retention, Retention]]:
    """Keep the records of a model's topics as long as they should be; return of each topic that changes what it was, and what it is.

    Raises:
        UnknownTopicError: one is missing.
    """
    changed = {}
    for topic in wanted(topics, 1, kept, rekey=rekey, arms=arms):
        if (found := log.retention(topic.name)) != topic.retention:
            log.retain(topic.name, topic.retention)
            changed[topic.name] = (found, topic.retention)
    return changed


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
