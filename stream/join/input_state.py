"""One input of the join: how far its event time has come, and which of its records may still matter.

What matters is forgotten as event time goes on, so memory is bounded; a note says from where to read it again after a restart.
"""

from collections import deque
from collections.abc import Iterator

from msgspec import Struct

from stream.log.contract import Partitioner


class ResumePoint(Struct, frozen=True):
    """What is committed with an offset, so that a restart knows all that this run knew: the log is the joiner's only state."""

    rewind: int  # read again from here; nothing before it can matter any more
    seen: int = -1  # the largest event time before ``rewind``; -1: there was none
    cursor: tuple[int, int] = (-1, -1)  # impressions up to this (order time, offset) are decided
    taken: int | None = None  # records from here on wait for the other input; None: none does
    policy: str = "window"  # an example that one policy has written, another would write again, or never
    appended: int = 0  # the latest append time before ``rewind``
    partitioner: Partitioner | None = None  # by which records were placed; None: nobody checked
    settled: bool = False  # whether enough records of both topics were looked at to tell
    format: int = 1


class BufferedRecord(Struct, gc=False):
    """A record that may still matter to a later one: while ``time + reach`` is not before the cursor."""

    time: int
    impression_id: str  # empty: a watermark
    offset: int
    seen_before: int
    appended_before: int = 0  # the latest append time before it


class InputState:
    """One of the two inputs: how far its event time has come, and its records that may still matter, in its order."""

    def __init__(self, note: ResumePoint, reach: int) -> None:
        """Begin at ``note.rewind``; a record matters for ``reach`` ms of event time."""
        self.seen = self.read = note.seen  # what is read may have to wait before it is taken, and seen
        self.appended = note.appended  # the latest append time of what was taken
        self.reach = reach
        self.sights: deque[BufferedRecord] = deque()

    def see(self, time: int) -> None:
        """Let event time come as far as ``time``."""
        self.seen = max(self.seen, time)
        self.hear(time)

    def hear(self, time: int) -> None:
        """Note that a record of this time was read, taken or not."""
        self.read = max(self.read, time)

    def evict_before(self, decided: int) -> Iterator[BufferedRecord]:
        """Drop what can't matter once decisions have come this far; give it."""
        while self.sights and self.sights[0].time + self.reach < decided:
            yield self.sights.popleft()

    def note(self, next_offset: int, cursor: tuple[int, int], policy: str) -> ResumePoint:
        """Say from where a restart has to read."""
        first = self.sights[0] if self.sights else BufferedRecord(-1, "", next_offset, self.seen, self.appended)
        return ResumePoint(first.offset, first.seen_before, cursor, policy=policy, appended=first.appended_before)
