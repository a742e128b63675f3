"""How far the learner of an arm has come, and how it predicts beside another's: by what their newest versions say."""

from contextlib import suppress
from typing import NamedTuple

from model.evaluation.scores import WINDOW
from stream.log.contract import Log, RefusedError
from stream.log.topics import Topics
from stream.records.version import Version
from stream.weights.versions import read_versions

_TAIL = 2_000  # offsets of ``versions`` that are looked at
_SPEED = 60_000  # ms before the newest version, over which the speed is measured
_SAME = 0.9  # of the examples of two log losses, the share that must be the same


class Progress(NamedTuple):
    """How far a learner has come."""

    recent: list[Version]  # the newest last; empty: it has learned nothing yet
    lag: int  # examples in the log that it has not read
    began: int  # examples that the weights had learned which it began with: its own predictions come after them

    @property
    def speed(self) -> float | None:
        """Return how many examples it read a second in the last minute in which it published; None if that can't be seen."""
        versions = [each for each in self.recent if each.published_at >= self.recent[-1].published_at - _SPEED]
        elapsed = (versions[-1].published_at - versions[0].published_at) / 1000 if versions else 0.0
        return sum(run.last - run.first + 1 for each in versions[1:] for run in each.runs) / elapsed if elapsed > 0 else None

    def scored(self, version: Version) -> int:
        """Return of how many examples the log loss of a version is."""
        return min(version.examples - self.began, WINDOW)


def progress_of(log: Log, topics: Topics) -> Progress:
    """Read how far the learner of an arm has come."""
    bounds = log.bounds(topics.versions)[0]
    recent = [version for version, _ in read_versions(log, topics, bounds.newest(_TAIL))]
    offsets = dict(recent[-1].offsets) if recent else {}
    with suppress(RefusedError):  # who may not ask counts the heartbeats since the newest version, too
        offsets |= {p: max(found.offset, offsets.get(p, 0)) for p, found in log.progress(topics.learner, topics.examples).items()}
    lag = sum(each.end - max(each.first, offsets.get(partition, 0)) for partition, each in log.bounds(topics.examples).items())
    first = next(read_versions(log, topics, bounds.first), None)
    return Progress(recent, lag, first.version.examples if first and first.version.begun else 0)


class Beside(NamedTuple):
    """The recent log losses of two arms, of predictions made before learning, on the same examples."""

    ours: float
    theirs: float


def beside(ours: Progress, theirs: Progress) -> Beside | None:
    """Return the newest recent log losses of two arms where they have come equally far; None if that can't be said.

    The examples are the same but for a tenth: each log loss is of the last ``WINDOW`` predictions, and versions come at other times.
    """
    both = [[version for version in each.recent if version.log_loss is not None] for each in (ours, theirs)]
    if not all(both):
        return None
    reached = min(_read(versions[-1]) for versions in both)
    own, other = (min(reversed(versions), key=lambda each: abs(_read(each) - reached)) for versions in both)
    counts = ours.scored(own), theirs.scored(other)
    if abs(counts[0] - counts[1]) + abs(_read(own) - _read(other)) > (1 - _SAME) * max(counts):
        return None
    return Beside(own.log_loss or 0.0, other.log_loss or 0.0)


def _read(version: Version) -> int:
    """Return how many examples there were in the log up to those that a version has read."""
    return sum(version.offsets.values())
