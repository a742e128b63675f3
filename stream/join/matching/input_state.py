"""One input of the join: how far its event time has come, and which of its records may still matter.

A record is forgotten once event time has passed it by far enough, so memory is bounded. A resume point says from which offset a
restart has to read again.
"""

import sys
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple, cast

from msgspec import Struct

from stream.join.matching.waiting import OF_KNOWN, OF_RECORD
from stream.log.contract import Partitioner, Record

FORMAT = 1  # of resume points
NEVER = 2**63  # later than any append time


class ResumePoint(Struct, frozen=True):
    """What is committed with an offset, so that a restart knows all that this run knew: the log is the joiner's only state."""

    rewind: int  # the offset to read again from; no record before it can matter any more
    seen: int = -1  # the largest event time before ``rewind``; -1: there was none
    cursor: tuple[int, int] = (-1, -1)  # impressions up to this (event time, offset) are decided
    taken: int | None = None  # the offset from which records wait for the other input; None: none does
    policy: str = "window"  # an example that one policy has written, another would write again, or never
    appended: int = 0  # the latest append time before ``rewind``
    partitioner: Partitioner | None = None  # by which the records' partitions were chosen; None: it was not checked
    waiting: bool = True  # whether an impression waits for its label, so that records from ``rewind`` on are needed and not only useful
    settled: bool = False  # whether enough records of both topics were looked at to tell the partitioner
    format: int = FORMAT
    share: str = ""  # of the joiner that committed it, see :mod:`stream.join.share`; empty: all partitions


class BufferedRecord(Struct, gc=False):
    """A record that may still matter to a later one: while ``time + reach`` is not before the cursor."""

    time: int
    impression_id: str  # empty: a watermark
    offset: int
    seen_before: int
    appended_before: int = 0  # the latest append time before it


class InputState:
    """One of the two inputs: how far its event time has come, and its records that may still matter, in its order.

    Args:
        start: Where to begin.
        reach: For how long a record matters, in ms of event time.
    """

    def __init__(self, start: ResumePoint, reach: int) -> None:
        self.seen = start.seen  # the largest observed time of the records taken
        self.read = start.seen  # the same of the records read: some may have to wait before they are taken
        self.appended = start.appended  # the latest append time of the records taken
        self.reach = reach
        self.memory = 0  # bytes that they take, about
        self._buffered: deque[BufferedRecord | str] = deque()  # a string: what it stands for is known by this id

    def keep(self, record: BufferedRecord) -> None:
        """Keep the newest record."""
        self._buffered.append(record)
        self.memory += OF_RECORD + sys.getsizeof(record.impression_id)

    def mark_taken(self, record: Record, observed: int) -> None:
        """Advance event time to a record that is taken."""
        self.seen = max(self.seen, observed)
        self.appended = max(self.appended, record.timestamp)
        self.mark_read(record, observed)

    def mark_read(self, record: Record, observed: int) -> None:  # noqa: ARG002 - the clicks need it
        """Remember how far the records read have come, whether this one is taken or has to wait."""
        self.read = max(self.read, observed)

    def evict_before(self, cursor: int) -> Iterator[BufferedRecord]:
        """Drop and yield the records that can't matter once all impressions up to the time ``cursor`` are decided."""
        while self._buffered and (first := self._first()).time + self.reach < cursor:
            of_record = OF_KNOWN if isinstance(self._buffered.popleft(), str) else OF_RECORD
            self.memory -= of_record + sys.getsizeof(first.impression_id)
            yield first

    def resume_point(self, next_offset: int, cursor: tuple[int, int], policy: str, *, waiting: bool) -> ResumePoint:
        """Return the point from which a restart has to read."""
        first = self._first() if self._buffered else BufferedRecord(-1, "", next_offset, self.seen, self.appended)
        return ResumePoint(first.offset, first.seen_before, cursor, policy=policy, appended=first.appended_before, waiting=waiting)

    def _first(self) -> BufferedRecord:
        """Return the oldest record that is kept."""
        return cast("BufferedRecord", self._buffered[0])


class Advance(NamedTuple):
    """A click, or a watermark among the clicks, that advanced their event time."""

    seen: int
    appended: int  # the latest append time so far; NEVER: it was written long after its time, and says nothing about when


class ClickState(InputState):
    """The clicks, which also know when, by the log's clock, their event time passed a moment.

    Args:
        start: Where to begin.
        reach: For how long a click matters, in ms of event time.
        clock_skew: How long after its time a click may be written and count as written when it happened, in ms.
    """

    def __init__(self, start: ResumePoint, reach: int, clock_skew: int) -> None:
        super().__init__(start, reach)
        self.read_until = start.appended  # the latest append time of the clicks read
        self._clock_skew = clock_skew
        self._advances: list[Advance] = []  # in order; as far back as an impression to come may need them

    def mark_read(self, record: Record, observed: int) -> None:
        """Remember how far the clicks read have come, and when."""
        self.read_until = max(self.read_until, record.timestamp)
        if observed > self.read:
            written_as_it_happened = 0 <= record.timestamp - observed <= self._clock_skew
            self._advances.append(Advance(observed, self.read_until if written_as_it_happened else NEVER))
        super().mark_read(record, observed)

    def passed_before(self, time: int, appended: int) -> bool:
        """Return whether event time had reached ``time`` before ``appended``, by a click that was written as it happened."""
        first = self._first_advance(time)
        return first < len(self._advances) and self._advances[first].appended < appended

    def drop_advances_before(self, time: int) -> None:
        """Forget when event time passed the moments before ``time``."""
        del self._advances[: self._first_advance(time)]

    def _first_advance(self, time: int) -> int:
        """Return the index of the first advance to ``time`` or beyond."""
        return bisect_left(self._advances, time, key=lambda advance: advance.seen)
