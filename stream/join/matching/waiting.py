"""What waits in a join: an impression for its label, and a click for its impression.

An impression that waits is one piece of bytes, *packed*: its times, then its record's JSON as it came. What few impressions have, such as
a click, the join keeps beside it. Once it is settled, its times alone are kept, to tell duplicates.
"""

import struct
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
from msgspec import Raw, Struct

from stream.log.contract import Record
from stream.log.message import size_of
from stream.records.events import Click, Example, Impression, Served, in_epoch_ms

# Bytes of memory, measured: of an impression that may still be a duplicate's, beside its id; and more while it waits, beside its JSON.
OF_KNOWN, OF_WAITING = 110, 9
OF_LATE_COMER = 300  # of its record, if it came so late that its window may have been closed
OF_RECORD, OF_IMPRESSION, OF_ENTRY, OF_LIST = 450, 500, 80, 64  # of a click or tombstone, beside its id; of a decoded record


def memory_of(record: Record) -> int:
    """Return about how many bytes a decoded record takes: by its JSON, and the entries and lists in it."""
    value = record.json or b""
    return OF_IMPRESSION + len(value) + OF_ENTRY * value.count(b":") + OF_LIST * value.count(b"[")


class Unmatched(Struct, gc=False):
    """A click that no impression has taken yet."""

    time: int
    offset: int
    watermark: int  # the clicks' watermark just after it
    fate: str  # what it is counted as if no impression takes it
    click_value: float | None = None


_TIMES = struct.Struct(">QQQq")  # so packed impressions sort by when they are due, then by offset


def pack(due: int, offset: int, time: int, seen_before: int, value: bytes) -> bytes:
    """Pack an impression that waits.

    Args:
        due: Its time; once decided, W after that, when the extra example of a late click comes out.
        offset: Its record's.
        time: Its time.
        seen_before: The largest observed time before it.
        value: Its record's JSON.
    """
    return _TIMES.pack(due, offset, time, seen_before) + value


def times_of(packed: bytes) -> tuple[int, int, int, int]:
    """Return when a packed impression is due, its offset, its time, and the largest observed time before it."""
    return _TIMES.unpack_from(packed)


def due_after(time: int) -> bytes:
    """Return what sorts after the impressions that are due up to ``time``, and before all others."""
    return (time + 1).to_bytes(8, "big")


def value_of(packed: bytes) -> bytes:
    """Return the JSON of a packed impression; empty if it is settled."""
    return packed[_TIMES.size :]


def settled(packed: bytes) -> bytes:
    """Return what is kept of a packed impression once it is settled: its times."""
    return packed[: _TIMES.size]


def waits(packed: bytes) -> bool:
    """Return whether a packed impression is not settled."""
    return len(packed) > _TIMES.size


class Several(Struct, gc=False):
    """The impressions of one id, of which there were several."""

    latest: int  # the largest time of them
    first: bytes  # the packed times of the first
    waiting: list[bytes]  # those that are not settled, packed, in the order of their coming


class LateComer(NamedTuple):
    """The record of an impression that came so late that its window may have been closed. JSON that is packed is not kept twice."""

    record: Record
    memory: int  # bytes that it takes, about

    @classmethod
    def of(cls, record: Record) -> "LateComer":
        """Keep a record."""
        kept = record._replace(value=None) if record.decoded is None else record._replace(decoded=None)
        return cls(kept, OF_LATE_COMER + size_of(kept))

    def restored(self, value: bytes) -> Record:
        """Return the record as it came."""
        return self.record if self.record.value is not None else self.record._replace(value=value)


LONGEST_SOURCE = 60  # characters


def source(event: Impression | Click) -> str:
    """Return who wrote an event, or "" if it does not say."""
    return "" if event.source is None else str(event.source)[:LONGEST_SOURCE]


class _Shown(Struct, frozen=True, gc=False):
    """An impression that was decoded before, but for its features."""

    impression_id: str
    time: int
    features: Raw
    served: Served | None = None
    source: Any = None


_shown: Callable[[bytes], Any] = msgspec.json.Decoder(_Shown).decode


def impression_in(value: bytes) -> Impression:
    """Decode a value that was decoded before; its features stay the JSON as which they came, and are encoded as such."""
    try:
        shown: Impression = _shown(value)
    except msgspec.ValidationError:  # its time is ISO 8601
        shown = _shown(in_epoch_ms(value) or b"")
    return shown


def labelled(impression: Impression, click: Unmatched | None, *, late: bool = False) -> Example:
    """Make an example of an impression: a positive if it was clicked, else a negative; of a ``late`` click the value does not count."""
    shown = (impression.impression_id, impression.time, impression.features)
    if click is None:
        return Example(*shown, 0, served=impression.served)
    value = None if late else click.click_value
    return Example(*shown, 1, value=value, clicked_at=click.time, served=impression.served, late=late)


def as_written(example: Example) -> Example:
    """Return an example as it goes to the log: how it was served is for reports on arms only."""
    return msgspec.structs.replace(example, served=None) if example.served and not example.served.arm else example
