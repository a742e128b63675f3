"""One partition's impressions and clicks become labelled examples: a pure function of the two streams.

However reading them is interleaved, cut or repeated, the same examples come out in the same order, each once. That holds because
every rule below compares a record with what stood *before it in its own stream* (and ``decided`` waits until both got there).

Words. *Seen* is the largest event time of a stream so far, its *watermark* is that less ``lateness``, W is the click window.
The *order time* of an impression is its time or, if it comes later than that, the impressions' watermark before it less W.
"""

from collections import Counter, deque
from collections.abc import Iterator
from heapq import heappop, heappush
from typing import Literal

from msgspec import Struct

from stream.events import Click, Example, Impression, Watermark


class Note(Struct, frozen=True):
    """What is committed with an offset, so that a restart knows all that this run knew: the log is the joiner's only state."""

    rewind: int  # read again from here; nothing before it can matter any more
    seen: int = -1  # the largest event time before ``rewind``; -1: there was none
    cursor: tuple[int, int] = (-1, -1)  # impressions up to this (order time, offset) are decided
    format: int = 1


class Sight(Struct, gc=False):
    """A record that may still matter to a later one: while ``time + reach`` is not before the cursor."""

    time: int
    impression_id: str
    offset: int
    seen_before: int


class Stream:
    """One of the two inputs: how far its event time has come, and its records that may still matter, in its order."""

    def __init__(self, note: Note, reach: int) -> None:
        """Begin at ``note.rewind``; a record matters for ``reach`` ms of event time."""
        self.seen = note.seen
        self.reach = reach
        self.sights: deque[Sight] = deque()

    def see(self, time: int) -> None:
        """Let event time come as far as ``time``."""
        self.seen = max(self.seen, time)

    def let_go(self, decided: int) -> Iterator[Sight]:
        """Drop what can't matter once decisions have come this far; give it."""
        while self.sights and self.sights[0].time + self.reach < decided:
            yield self.sights.popleft()

    def note(self, next_offset: int, cursor: tuple[int, int]) -> Note:
        """Say from where a restart has to read."""
        if not self.sights:
            return Note(next_offset, self.seen, cursor)
        return Note(self.sights[0].offset, self.sights[0].seen_before, cursor)


class Waiting(Struct, gc=False, order=True):
    """An impression whose label is not decided; sorts by (order time, offset)."""

    order: int
    offset: int
    impression_id: str
    time: int
    impression: Impression | None  # None: forgotten; it stays to meet its clicks, so that no other impression gets them
    clicked_at: int | None = None


class Unmatched(Struct, gc=False):
    """A click that no impression has taken yet."""

    time: int
    offset: int
    watermark: int  # the clicks' watermark just after it
    fate: str  # what it will have been if no impression takes it


class Join:
    """Joins one partition under the policy ``window``: the label is decided W after the impression.

    - *Decided* is an impression whose order time is at most E = min(both watermarks) - W. Examples come out by (order time, offset).
    - *Clicked* is it by the first click with its id that comes at most W after it, before the clicks' watermark has passed that
      moment, and not more than ``lateness`` before the impression's order time.
    - *Duplicate* is an impression if its id came before with an order time at most W + ``lateness`` earlier (or later).
      So a click counts for one impression at most: two of the same id lie further apart than a click reaches.
    - *Forgotten* is an impression by a tombstone that comes before the impressions' watermark has passed its time + W.

    Args:
        window: W, in ms.
        lateness: How far out of order records may be, in ms.
        impressions: Where the impressions begin.
        clicks: Where the clicks begin.
    """

    def __init__(self, window: int, lateness: int, impressions: Note, clicks: Note) -> None:
        """Begin where the two notes say."""
        self.window = window
        self.lateness = lateness
        self.impressions = Stream(impressions, reach=window + lateness)
        self.clicks = Stream(clicks, reach=lateness)
        self.cursor = impressions.cursor
        self._last = -1  # the offset of the last impression taken
        self.counts: Counter[tuple[str, str]] = Counter()  # (what, fate or kind) → how many
        self._latest: dict[str, int] = {}  # id → largest order time
        self._waiting: dict[str, list[Waiting]] = {}
        self._queue: list[Waiting] = []  # a heap
        self._unmatched: dict[str, list[Unmatched]] = {}

    @property
    def waiting(self) -> int:
        """How many impressions are not decided."""
        return len(self._queue)

    @property
    def watermark(self) -> int:
        """The smaller of the two watermarks."""
        return min(self.impressions.seen, self.clicks.seen) - self.lateness

    def impression(self, offset: int, event: Impression | Watermark) -> None:
        """Take the next record of the impressions."""
        if isinstance(event, Watermark):
            self.impressions.see(event.watermark)
            return
        name, seen_before = event.impression_id, self.impressions.seen
        self._last = offset
        order = max(event.time, seen_before - self.lateness - self.window)
        latest = self._latest.get(name)
        self._latest[name] = order if latest is None else max(order, latest)
        self.impressions.sights.append(Sight(order, name, offset, seen_before))
        self.impressions.see(event.time)
        if latest is not None and latest + self.impressions.reach >= order:
            self.counts["impression", "duplicate"] += 1
            return
        if order > event.time:
            self.counts["oddity", "late_impression"] += 1
        waiting = Waiting(order, offset, name, event.time, event)
        heappush(self._queue, waiting)
        self._waiting.setdefault(name, []).append(waiting)
        self._meet_earlier_clicks(name, waiting)

    def forget(self, impression_id: str) -> None:
        """Take the next record of the impressions, a tombstone."""
        watermark = self.impressions.seen - self.lateness
        for waiting in self._waiting.get(impression_id, ()):
            if waiting.impression and watermark < waiting.time + self.window:
                waiting.impression = None
                return
        self.counts["oddity", "vain_tombstone"] += 1

    def click(self, offset: int, event: Click | Watermark) -> None:
        """Take the next record of the clicks."""
        if isinstance(event, Watermark):
            self.clicks.see(event.watermark)
            return
        name = event.impression_id
        self.clicks.sights.append(Sight(event.time, name, offset, self.clicks.seen))
        self.clicks.see(event.time)
        watermark = self.clicks.seen - self.lateness
        click = Unmatched(event.time, offset, watermark, "late" if name in self._latest else "orphan")
        if not any(self._matched(waiting, click) for waiting in self._waiting.get(name, ())):
            self._unmatched.setdefault(name, []).append(click)

    def decided(self, limit: int) -> list[Example]:
        """Give the examples that are decided by now, in their order, ``limit`` at most."""
        end = max(self.cursor[0], self.watermark - self.window)
        examples: list[Example] = []
        while len(examples) < limit and self._queue and self._queue[0].order <= end:
            waiting = heappop(self._queue)
            self.cursor = (waiting.order, waiting.offset)
            example = self._decide(waiting)
            if example:
                examples.append(example)
        if len(examples) < limit:
            self.cursor = (end, self._last)
        self._let_go()
        return examples

    def resume(self) -> None:
        """Go on from the cursor, once everything between the notes and their offsets was taken again."""
        while self._queue and (self._queue[0].order, self._queue[0].offset) <= self.cursor:
            self._decide(heappop(self._queue))
        self.counts.clear()

    def notes(self, next_impression: int, next_click: int) -> tuple[Note, Note]:
        """Say what to commit with the next offsets of both inputs, after everything decided was taken."""
        return self.impressions.note(next_impression, self.cursor), self.clicks.note(next_click, self.cursor)

    def _meet_earlier_clicks(self, name: str, waiting: Waiting) -> None:
        clicks = self._unmatched.pop(name, None)
        if clicks is None:
            return
        left = [click for click in clicks if not self._matched(waiting, click)]
        for click in left:
            click.fate = "late"
        if left:
            self._unmatched[name] = left

    def _matched(self, waiting: Waiting, click: Unmatched) -> bool:
        """Give the click to the impression if it counts for it."""
        closes = waiting.time + self.window
        if click.time > closes or click.watermark >= closes or click.time + self.lateness < waiting.order:
            return False
        if waiting.clicked_at is not None:
            self.counts["click", "duplicate"] += 1
            return True
        waiting.clicked_at = click.time
        self.counts["click", "counted"] += 1
        if click.time < waiting.time:
            self.counts["oddity", "early_click"] += 1
        return True

    def _decide(self, waiting: Waiting) -> Example | None:
        name = waiting.impression_id
        siblings = self._waiting[name]
        siblings.remove(waiting)
        if not siblings:
            del self._waiting[name]
        shown = waiting.impression
        self.counts["impression", "decided" if shown else "forgotten"] += 1
        if shown is None:
            return None
        label: Literal[0, 1] = 0 if waiting.clicked_at is None else 1
        return Example(name, shown.time, shown.features, label, clicked_at=waiting.clicked_at)

    def _let_go(self) -> None:
        for sight in self.impressions.let_go(self.cursor[0]):
            if self._latest.get(sight.impression_id) == sight.time:
                del self._latest[sight.impression_id]
        for sight in self.clicks.let_go(self.cursor[0]):
            clicks = self._unmatched.get(sight.impression_id)
            if clicks and clicks[0].offset == sight.offset:
                self.counts["click", clicks.pop(0).fate] += 1
                if not clicks:
                    del self._unmatched[sight.impression_id]
