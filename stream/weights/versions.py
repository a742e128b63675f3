"""Reading the topic ``versions``: where the weights come from, one record a version."""

import logging
from collections.abc import Generator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from stream.events import BadRecordError, Version, decode_version
from stream.log.contract import Log
from stream.log.reading import read_all
from stream.log.topics import Topics

logger = logging.getLogger(__name__)

_TAIL = 8  # offsets, from the end, where the newest is looked for first


class Published(NamedTuple):
    """A version and its offset in the topic ``versions``."""

    version: Version
    offset: int


def read_versions(log: Log, topics: Topics, start: int) -> Generator[Published]:
    """Yield the versions from offset ``start`` up to what is now the end; a record that is no version is passed over."""
    for record in read_all(log, topics.versions, {0: start}):
        try:
            yield Published(decode_version(record.value), record.offset)
        except BadRecordError as error:
            logger.warning("passing over offset %s of %s, which is no version: %s", record.offset, topics.versions, error)


def newest_version(log: Log, topics: Topics) -> Published | None:
    """Read backwards from the end to the last version there is."""
    bounds = log.bounds(topics.versions)[0]
    reach = _TAIL
    while True:
        start = max(bounds.first, bounds.end - reach)
        versions = list(read_versions(log, topics, start))
        if versions or start == bounds.first:
            return versions[-1] if versions else None
        reach *= _TAIL


class Lineage(NamedTuple):
    """The versions that weights come from: all before them but those that a rollback has left behind."""

    left: tuple[range, ...]

    @classmethod
    def after(cls, rollbacks: Sequence[tuple[int, int]]) -> "Lineage":
        """Find what ``rollbacks`` have left behind: the version of each and the one it went back to, in order.

        >>> Lineage.after([(4, 2), (9, 3)]).left
        (range(4, 9),)
        """
        left, end = [], None
        for version, to in reversed(rollbacks):
            if end is None or version <= end:  # else a later one has left it behind, too
                left.append(range(to + 1, version))
                end = to
        return cls(tuple(left))

    def holds(self, version: int) -> bool:
        """Return whether the weights come from this version."""
        return not any(version in numbers for numbers in self.left)


def read_lineage(log: Log, topics: Topics, start: int, until: int | None = None) -> Lineage:
    """Find what the versions from offset ``start`` on, up to the number ``until``, have left behind."""
    versions = (version for version, _ in read_versions(log, topics, start) if until is None or version.version <= until)
    return Lineage.after([(version.version, version.rollback.to) for version in versions if version.rollback])


class NoSuchVersionError(Exception):
    """No version was published under that number, or by that time."""


def version_at(log: Log, topics: Topics, moment: str) -> int:
    """Find the number of the version that is meant.

    Args:
        log: holds the versions.
        topics: the model's.
        moment: the number itself; or a time in ISO 8601 (UTC unless it says otherwise), for what was the newest then.

    Raises:
        NoSuchVersionError: there is none, or ``moment`` is neither.
    """
    by_number = moment.isdecimal()
    limit = int(moment) if by_number else _milliseconds(moment)
    found = None
    for version, _ in read_versions(log, topics, log.bounds(topics.versions)[0].first):
        if (version.version == limit) if by_number else (version.published_at <= limit):
            found = version.version
    if found is None:
        raise NoSuchVersionError(f"no version {moment}" if by_number else f"no version was published by {moment}")
    return found


def _milliseconds(moment: str) -> int:
    try:
        time = datetime.fromisoformat(moment)
    except ValueError as error:
        raise NoSuchVersionError(f"got {moment!r}, expected the number of a version, or a time such as 2025-03-01T12:00:00") from error
    return round((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000)
