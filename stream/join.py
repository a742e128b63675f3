"""One partition's impressions and clicks become labelled examples: a pure function of the two streams.

However reading them is interleaved, cut or repeated, the same examples come out in the same order, each once. That holds because
every rule below compares a record with what stood *before it in its own stream* (and ``decided`` waits until both got there).

Words. *Seen* is the largest event time of a stream so far, its *watermark* is that less ``lateness``, W is the click window.
The *order time* of an impression is its time or, if it comes later than that, the impressions' watermark before it less W.
"""

from collections import Counter
from heapq import heappop, heappush
from typing import Literal

from msgspec import Struct

from stream.events import Click, Example, Impression, Watermark
from stream.sight import Note, Sight, Stream


class Waiting(Struct, gc=False, order=True):
    """An impression that is not settled; sorts by when it is due, then by offset."""

    due: int  # its order time; once decided, W after that, when the extra example of a late click comes out
    offset: int
    order: int
    impression_id: str
    time: int
    impression: Impression | None  # None: forgotten; it stays to meet its clicks, so that no other impression gets them
    clicked_at: int | None = None
    late_at: int | None = None  # the first click that came too late


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
    - *Late* is a click that would have counted with a window of 2 W. If late clicks are learned, an impression that was decided as
      a negative comes out once more, as a positive with that click, when W more have passed.

    Args:
        window: W, in ms.
        lateness: How far out of order records may be, in ms.
        impressions: Where the impressions begin.
        clicks: Where the clicks begin.
        learn_late: Whether a late click becomes an extra example.
    """

    policy = "window"

    def __init__(self, window: int, lateness: int, impressions: Note, clicks: Note, *, learn_late: bool = False) -> None:
        """Begin where the two notes say."""
        self.window = window
        self.lateness = lateness
        self._extra = window if learn_late else 0
        self.impressions = Stream(impressions, reach=window + lateness + self._extra)
        self.clicks = Stream(clicks, reach=lateness + self._extra)
        self.cursor = impressions.cursor
        self._last = -1  # the offset of the last impression taken
        self.counts: Counter[tuple[str, str]] = Counter()  # (what, fate or kind) → how many
        self._latest: dict[str, int] = {}  # id → largest order time
        self._waiting: dict[str, list[Waiting]] = {}
        self._queue: list[Waiting] = []  # a heap
        self._unmatched: dict[str, list[Unmatched]] = {}

    @property
    def waiting(self) -> int:
        """How many impressions are not settled."""
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
        if latest is not None and latest + self.window + self.lateness >= order:
            self.counts["impression", "duplicate"] += 1
            return
        if order > event.time:
            self.counts["oddity", "late_impression"] += 1
        waiting = Waiting(order, offset, order, name, event.time, event)
        heappush(self._queue, waiting)
        self._waiting.setdefault(name, []).append(waiting)
        self._shown(waiting)
        self._meet_earlier_clicks(name, waiting)

    def forget(self, offset: int, impression_id: str) -> None:  # noqa: ARG002 - every record has one, and other policies need it
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
        while len(examples) < limit and self._queue and self._queue[0].due <= end:
            waiting = heappop(self._queue)
            self.cursor = (waiting.due, waiting.offset)
            example = self._settle(waiting)
            if example:
                examples.append(example)
        if len(examples) < limit:
            self.cursor = (end, self._last)
        self._let_go()
        return examples

    def resume(self) -> None:
        """Go on from the cursor, once everything between the notes and their offsets was taken again."""
        while self._queue and (self._queue[0].due, self._queue[0].offset) <= self.cursor:
            self._settle(heappop(self._queue))
        self.counts.clear()

    def notes(self, next_impression: int, next_click: int) -> tuple[Note, Note]:
        """Say what to commit with the next offsets of both inputs, after everything decided was taken."""
        return (
            self.impressions.note(next_impression, self.cursor, self.policy),
            self.clicks.note(next_click, self.cursor, self.policy),
        )

    def _shown(self, waiting: Waiting) -> None:
        """Take note of an impression that is no duplicate."""

    def _clicked(self, waiting: Waiting) -> None:
        """Take note that an impression is a positive by now."""

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
        if not self._in_time(waiting, click, self.window):
            if self._extra and waiting.late_at is None and self._in_time(waiting, click, 2 * self.window):
                waiting.late_at = click.time
            return False
        if waiting.clicked_at is not None:
            self.counts["click", "duplicate"] += 1
            return True
        waiting.clicked_at = click.time
        self.counts["click", "counted"] += 1
        if click.time < waiting.time:
            self.counts["oddity", "early_click"] += 1
        self._clicked(waiting)
        return True

    def _in_time(self, waiting: Waiting, click: Unmatched, window: int) -> bool:
        closes = waiting.time + window
        return click.time <= closes and click.watermark < closes and click.time + self.lateness >= waiting.order

    def _settle(self, waiting: Waiting) -> Example | None:
        """Decide an impression, which may wait on for a late click, or be done with one that did."""
        if waiting.due > waiting.order:
            return self._settle_late(waiting)
        self.counts["impression", "decided" if waiting.impression else "forgotten"] += 1
        if self._extra and waiting.impression and waiting.clicked_at is None:
            waiting.due += self._extra
            heappush(self._queue, waiting)
        else:
            self._remove(waiting)
        return labelled(waiting.impression, waiting.clicked_at) if waiting.impression else None

    def _settle_late(self, waiting: Waiting) -> Example | None:
        self._remove(waiting)
        if waiting.impression is None or waiting.late_at is None:
            return None
        self.counts["oddity", "late_click_learned"] += 1
        return labelled(waiting.impression, waiting.late_at)

    def _remove(self, waiting: Waiting) -> None:
        siblings = self._waiting[waiting.impression_id]
        siblings.remove(waiting)
        if not siblings:
            del self._waiting[waiting.impression_id]

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


def labelled(shown: Impression, clicked_at: int | None) -> Example:
    """Make an example of an impression: a positive if it was clicked, else a negative."""
    label: Literal[0, 1] = 0 if clicked_at is None else 1
    return Example(shown.impression_id, shown.time, shown.features, label, clicked_at=clicked_at)
