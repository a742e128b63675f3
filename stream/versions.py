"""Reading the topic ``versions``: where the weights come from, one record a version."""

import logging
from collections.abc import Generator
from contextlib import closing
from typing import NamedTuple

from stream.events import BadRecordError, Version, decode_version
from stream.log import Log
from stream.topics import Topics

log = logging.getLogger(__name__)

_AT_ONCE = 1000  # records in one poll
_PATIENCE = 1.0  # seconds that a poll waits for records that are known to be there
_TAIL = 8  # offsets, from the end, where the newest is looked for first


class Published(NamedTuple):
    """A version in its place: its offset in the topic ``versions``."""

    version: Version
    place: int


def read_versions(events: Log, topics: Topics, start: int) -> Generator[Published]:
    """Give the versions from offset ``start`` up to what is now the end; a record that is no version is passed over."""
    end = events.bounds(topics.versions)[0].end
    with closing(events.reader(topics.versions, {0: start})) as reader:
        while reader.positions()[0] < end:
            for record in reader.poll(_AT_ONCE, _PATIENCE):
                try:
                    yield Published(decode_version(record.value), record.offset)
                except BadRecordError as error:
                    log.warning("passing over offset %s of %s, which is no version: %s", record.offset, topics.versions, error)


def newest_version(events: Log, topics: Topics) -> Published | None:
    """Read backwards from the end to the last version there is."""
    bounds = events.bounds(topics.versions)[0]
    reach = _TAIL
    while True:
        start = max(bounds.first, bounds.end - reach)
        versions = list(read_versions(events, topics, start))
        if versions or start == bounds.first:
            return versions[-1] if versions else None
        reach *= _TAIL
