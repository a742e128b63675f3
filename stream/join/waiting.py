"""What waits in a join: an impression for its label, and a click for its impression."""

from collections.abc import Callable
from typing import Literal, cast

import msgspec
from msgspec import Struct

from stream.events import Click, Example, Impression, decode_impression
from stream.log.contract import Record

OF_WAITING, OF_TAKEN = 330, 240  # bytes of memory, measured: of an impression that waits, and of one that may still be a duplicate's
OF_RECORD, OF_IMPRESSION, OF_ENTRY, OF_LIST = 500, 500, 80, 64  # of a click or tombstone; of a decoded record


def memory_of(record: Record) -> int:
    """Return about how many bytes a decoded record takes: by its JSON, and the entries and lists in it."""
    value = record.json or b""
    return OF_IMPRESSION + len(value) + OF_ENTRY * value.count(b":") + OF_LIST * value.count(b"[")


class Waiting(Struct, gc=False, order=True):
    """An impression that is not settled. Sorts by when it is due, then by offset."""

    due: int  # its time; once decided, W after that, when the extra example of a late click comes out
    offset: int
    impression_id: str
    time: int
    value: bytes | None  # its record's, to be decoded again; None: forgotten; it stays to meet its clicks, so that no other gets them
    record: Record | None = None  # kept if it came so late that its window may have been closed
    clicked_at: int | None = None
    click_value: float | None = None  # of the click that counts
    late_at: int | None = None  # the time of the first click that came too late

    @property
    def memory(self) -> int:
        """Return about how many bytes it takes."""
        return OF_WAITING + len(self.value or b"")


class Unmatched(Struct, gc=False):
    """A click that no impression has taken yet."""

    time: int
    offset: int
    watermark: int  # the clicks' watermark just after it
    fate: str  # what it is counted as if no impression takes it
    click_value: float | None = None


LONGEST_SOURCE = 60  # characters


def source(event: Impression | Click) -> str:
    """Return who wrote an event, or "" if it does not say."""
    return "" if event.source is None else str(event.source)[:LONGEST_SOURCE]


_impression: Callable[[bytes], Impression] = msgspec.json.Decoder(Impression).decode


def impression_in(value: bytes) -> Impression:
    """Decode a value that was decoded before."""
    try:
        return _impression(value)
    except msgspec.ValidationError:  # its time is ISO 8601
        return cast("Impression", decode_impression(value))


def labelled(impression: Impression, clicked_at: int | None, click_value: float | None = None) -> Example:
    """Make an example of an impression: a positive if it was clicked, else a negative."""
    label: Literal[0, 1] = 0 if clicked_at is None else 1
    shown = (impression.impression_id, impression.time, impression.features)
    return Example(*shown, label, value=click_value, clicked_at=clicked_at, served=impression.served)


def as_written(example: Example) -> Example:
    """Return an example as it goes to the log: how it was served is for reports on arms only."""
    return msgspec.structs.replace(example, served=None) if example.served and not example.served.arm else example
