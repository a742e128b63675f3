"""How old the weights were that an impression was shown by: its time less that at which their version was published.

Versions are read forwards, as impressions come; the last 100,000 are remembered. What is not found there is not measured: this is a guard
rail, not a measure of the experiment.
"""

from collections.abc import Mapping

from stream.experiment.counting import Counting
from stream.log.contract import Log, LogError, Reader
from stream.records.events import BadRecordError
from stream.records.version import decode_version

_REMEMBERED = 100_000  # versions of an arm: hours of them
_BEFORE = 20_000  # records before the place where reading ended that are read again by the next process
_BATCH = 5_000


class Freshness:
    """Finds when versions were published.

    Args:
        log: The log that holds the versions.
        topics: Arm → the topic of its versions.
        positions: What :meth:`positions` returned to an earlier process.
    """

    def __init__(self, log: Log, topics: Mapping[str, str], positions: Mapping[str, int]) -> None:
        self._arms = {arm: _Versions(log, topic, positions.get(arm, 0)) for arm, topic in topics.items()}

    def positions(self) -> dict[str, int]:
        """Return the offset up to which the versions of each arm were read."""
        return {arm: versions.position for arm, versions in self._arms.items()}

    def measure(self, counting: Counting) -> None:
        """Add to the counts the age of the weights in ms, and how many impressions it was measured of."""
        for arm, version, time in counting.served:
            published = self._arms[arm].published(version) if arm in self._arms else None
            if published is not None:
                counting.counts[arm, "age_ms"] += max(0, time - published)
                counting.counts[arm, "aged"] += 1

    def close(self) -> None:
        """Close the readers."""
        for versions in self._arms.values():
            versions.close()


class _Versions:
    """The versions of one arm."""

    def __init__(self, log: Log, topic: str, position: int) -> None:
        self._log, self._topic, self.position = log, topic, position
        self._reader: Reader | None = None
        self._published: dict[int, int] = {}  # version → epoch ms, in the order of the log
        self._newest = -1

    def published(self, version: int) -> int | None:
        """Return when a version was published, epoch ms; None if that is not known."""
        if version > self._newest:
            try:
                self._read(version)
            except LogError:
                self.close()
        return self._published.get(version)

    def _read(self, version: int) -> None:
        """Read on, until ``version`` was read or nothing is left."""
        if self._reader is None:
            first = self._log.bounds(self._topic)[0].first
            self._reader = self._log.reader(self._topic, {0: max(first, self.position - _BEFORE)})
        while self._newest < version and (records := self._reader.poll(_BATCH, 0)):
            self.position = self._reader.positions()[0]
            for record in records:
                try:
                    each = decode_version(record.value)
                except BadRecordError:
                    continue
                self._newest = each.version
                self._published.setdefault(each.version, each.published_at)
            while len(self._published) > _REMEMBERED:
                del self._published[next(iter(self._published))]

    def close(self) -> None:
        """Close the reader."""
        if self._reader:
            self._reader.close()
            self._reader = None
