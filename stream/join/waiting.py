"""What waits in a join: an impression for its label, and a click for its impression."""

from collections.abc import Callable
from typing import ClassVar, cast

import msgspec
from msgspec import Struct

from stream.events import Click, Example, Impression, decode_impression
from stream.log.contract import Record

OF_WAITING, OF_TAKEN = 40, 300  # bytes of memory, measured: of an impression that may still be a duplicate's, and more while it waits
OF_RECORD, OF_IMPRESSION, OF_ENTRY, OF_LIST = 500, 500, 80, 64  # of a click or tombstone; of a decoded record


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


SETTLED = -1  # instead of when it is due


class Waiting(Struct, gc=False, order=True):
    """An impression that is not settled, or may still be a duplicate's. Sorts by when it is due, then by offset."""

    due: int  # its time; once decided, W after that, when the extra example of a late click comes out; then SETTLED
    offset: int
    impression_id: str
    time: int
    seen_before: int  # the largest observed time before it
    value: bytes | None  # its record's, to be decoded again; None: forgotten; it stays to meet its clicks, so that no other gets them
    record: Record | None = None  # kept if it came so late that its window may have been closed
    click: Unmatched | None = None  # the one that counts
    late_click: Unmatched | None = None  # the first that came too late

    appended_before: ClassVar[int] = 0

    @property
    def memory(self) -> int:
        """Return about how many bytes it takes while it is not settled."""
        return OF_WAITING + len(self.value or b"")


class Several(Struct, gc=False):
    """The impressions of one id, of which there were several."""

    latest: int  # the largest time of them
    waiting: list[Waiting]  # that are not settled, in the order of their coming


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
