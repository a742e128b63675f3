"""Reading the topic ``versions``: one record a version, which says what its weights were learned from."""

import logging
from collections.abc import Generator, Sequence
from datetime import datetime
from typing import NamedTuple

from stream.log.contract import Log, OffsetGoneError
from stream.log.reading import read_all
from stream.log.topics import Topics
from stream.records.events import BadRecordError
from stream.records.times import ms_of
from stream.records.version import Version, decode_version

logger = logging.getLogger(__name__)

_TAIL = 8  # offsets before the end that are searched first for the newest version


class Published(NamedTuple):
    """A version, and its offset in the topic ``versions``."""

    version: Version
    offset: int


def read_versions(log: Log, topics: Topics, start: int) -> Generator[Published]:
    """Yield the versions from offset ``start`` up to what is now the end; skip records that are no versions."""
    for record in read_all(log, topics.versions, {0: start}):
        try:
            yield Published(decode_version(record.value), record.offset)
        except BadRecordError as error:
            logger.warning("passing over offset %s of %s, which is no version: %s", record.offset, topics.versions, error)


def newest_version(log: Log, topics: Topics) -> Published | None:
    """Return the last version, read backwards from the end; None if there is none."""
    reach = _TAIL
    while True:
        bounds = log.bounds(topics.versions)[0]
        start = bounds.newest(reach)
        try:
            versions = list(read_versions(log, topics, start))
        except OffsetGoneError:  # retention came between the two
            continue
        if versions or start == bounds.first:
            return versions[-1] if versions else None
        reach *= _TAIL


class Lineage(NamedTuple):
    """The versions that weights were learned from: all before them, except those that a rollback has left behind."""

    left: tuple[range, ...]  # numbers of versions left behind

    @classmethod
    def after(cls, rollbacks: Sequence[tuple[int, int]]) -> "Lineage":
        """Return the lineage after ``rollbacks``: pairs of a rollback's version and the one that it went back to, in order.

        >>> Lineage.after([(4, 2), (9, 3)]).left
        (range(4, 9),)
        """
        left, end = [], None
        for version, to in reversed(rollbacks):
            if end is None or version <= end:  # else a later rollback has left this one behind
                left.append(range(to + 1, version))
                end = to
        return cls(tuple(left))

    def holds(self, version: int) -> bool:
        """Return whether the weights were learned from this version."""
        return not any(version in numbers for numbers in self.left)


def read_lineage(log: Log, topics: Topics, start: int, until: int | None = None) -> Lineage:
    """Return the lineage after the versions from offset ``start`` on, up to the number ``until``."""
    versions = (version for version, _ in read_versions(log, topics, start) if until is None or version.version <= until)
    return Lineage.after([(version.version, version.rollback.to) for version in versions if version.rollback])


class NoSuchVersionError(Exception):
    """No version was published under that number, or by that time."""


def version_at(log: Log, topics: Topics, moment: str) -> int:
    """Return the number of a version that is named by its number or by a time.

    Args:
        log: The log that holds the versions.
        topics: The model's topics.
        moment: The number itself; or a time in ISO 8601 (UTC if it has no zone), which names the newest version by then.

    Raises:
        NoSuchVersionError: there is no such version, or ``moment`` is neither.
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
    return ms_of(time)
