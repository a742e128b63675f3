"""The impressions that are known by their ids: those that wait, and those that another may be a duplicate of.

An id is compared with others as a whole, so no two are taken for one, whoever makes them up.
"""

import sys

from stream.join.matching.input_state import BufferedRecord, InputState, ResumePoint
from stream.join.matching.waiting import OF_KNOWN, Several, settled, times_of, waits


class ImpressionState(InputState):
    """The impressions. Where one is the first of its id, the id stands among the records for all of it."""

    def __init__(self, start: ResumePoint, reach: int) -> None:
        super().__init__(start, reach)
        self.known: dict[str, bytes | Several] = {}  # packed; nearly always one

    def keep_first(self, impression_id: str, packed: bytes) -> None:
        """Keep the newest record, an impression whose id is not known."""
        self.known[impression_id] = packed
        self._buffered.append(impression_id)
        self.memory += OF_KNOWN + sys.getsizeof(impression_id)

    def keep_further(self, record: BufferedRecord, packed: bytes, apart: int) -> bool:
        """Keep the newest record, an impression whose id is known; return whether it is more than ``apart`` later, so no duplicate."""
        known = self.known[record.impression_id]
        if not isinstance(known, Several):
            known = Several(_time_of(known), settled(known), [known] if waits(known) else [])
            self.known[record.impression_id] = known
        self.keep(record)
        is_new = known.latest + apart < record.time
        known.latest = max(known.latest, record.time)
        if is_new:
            known.waiting.append(packed)
        return is_new

    def waiting(self, impression_id: str) -> tuple[bytes, ...]:
        """Return the impressions of an id that are not settled, in the order of their coming."""
        known = self.known.get(impression_id)
        if isinstance(known, Several):
            return tuple(known.waiting)
        return (known,) if known and waits(known) else ()

    def replace(self, packed: bytes, by: bytes, impression_id: str) -> None:
        """Replace an impression that waits by the same with other times, or settled."""
        known = self.known[impression_id]
        if not isinstance(known, Several):
            self.known[impression_id] = by
        elif waits(by):
            known.waiting[known.waiting.index(packed)] = by
        else:
            known.waiting.remove(packed)

    def forget(self, old: BufferedRecord) -> None:
        """Know an id no longer if the latest of its impressions is the one that was dropped."""
        known = self.known.get(old.impression_id)
        if known is not None and old.time == (known.latest if isinstance(known, Several) else _time_of(known)):
            del self.known[old.impression_id]

    def _first(self) -> BufferedRecord:
        first = self._buffered[0]
        if isinstance(first, BufferedRecord):
            return first
        known = self.known[first]
        _, offset, time, seen_before = times_of(known.first if isinstance(known, Several) else known)
        return BufferedRecord(time, first, offset, seen_before)


def _time_of(packed: bytes) -> int:
    _, _, time, _ = times_of(packed)
    return time
