"""One partition's impressions and clicks become labelled examples: a pure function of the two streams.

However reading them is interleaved, cut or repeated, the same examples come out in the same order, each once. That holds because
every rule below compares a record with what stood *before it in its own stream* (and ``take_ready`` waits until both got there), or
compares append times, which the log has given.

Words. *Observed* is the lesser of an event's time and its append time (:mod:`stream.event_time`), *seen* the largest observed time of
a stream so far, its *watermark* that less ``lateness``; W is the click window.
"""

from bisect import bisect_left
from collections import Counter
from heapq import heappop, heappush
from typing import Literal, NamedTuple

from msgspec import Struct

from stream.event_time import LateImpressionError
from stream.events import Click, Example, Impression, Watermark
from stream.join.input_state import BufferedRecord, InputState, ResumePoint
from stream.log.contract import Record

NEVER = 2**63  # later than any append time


class Waiting(Struct, gc=False, order=True):
    """An impression that is not settled; sorts by when it is due, then by offset."""

    due: int  # its time; once decided, W after that, when the extra example of a late click comes out
    offset: int
    impression_id: str
    time: int
    impression: Impression | None  # None: forgotten; it stays to meet its clicks, so that no other impression gets them
    record: Record | None = None  # where it came so late that its window may have been closed
    clicked_at: int | None = None
    late_at: int | None = None  # the first click that came too late


class Unmatched(Struct, gc=False):
    """A click that no impression has taken yet."""

    time: int
    offset: int
    watermark: int  # the clicks' watermark just after it
    fate: str  # what it will have been if no impression takes it


class Advance(NamedTuple):
    """A record of the clicks that let their event time come further."""

    seen: int
    appended: int  # the latest append time so far; NEVER: it was written long after its time, and says nothing about when


class Join:
    """Joins one partition under the policy ``window``: the label is decided W after the impression.

    - *Decided* is an impression whose time is at most E = min(both watermarks) - W. Examples come out by (time, offset).
    - *Clicked* is it by the first click with its id that comes at most W after it, before the clicks' watermark has passed that
      moment, and not more than ``lateness`` before it.
    - *Late* is an impression whose click can no longer count. It is no example but set aside, clicked or not: had it been clicked
      in time nobody would know. Its window was closed before it came, by the impressions' watermark before it or by a click: one
      with an earlier append time that was itself written as it happened (a recorded log is written in any order, at any time).
    - *Duplicate* is an impression if its id came before with a time at most W + ``lateness`` earlier (or later).
      So a click counts for one impression at most: two of the same id lie further apart than a click reaches.
    - *Forgotten* is an impression by a tombstone that comes before the impressions' watermark has passed its time + W.
    - A click is *late* that would have counted with a window of 2 W. If late clicks are learned, an impression that was decided as
      a negative comes out once more, as a positive with that click, when W more have passed.

    Args:
        window: W, in ms.
        lateness: How far out of order records may be, in ms.
        impressions: Where the impressions begin.
        clicks: Where the clicks begin.
        learn_late: Whether a late click becomes an extra example.
        clock_skew: How long after its time a click may be written and count as written when it happened, in ms.
    """

    policy = "window"

    def __init__(
        self,
        window: int,
        lateness: int,
        impressions: ResumePoint,
        clicks: ResumePoint,
        *,
        learn_late: bool = False,
        clock_skew: int = 60_000,
    ) -> None:
        """Begin where the two notes say."""
        self.window = window
        self.lateness = lateness
        self.clock_skew = clock_skew
        self._extra = window if learn_late else 0
        self.impressions = InputState(impressions, reach=window + lateness + self._extra)
        self.clicks = InputState(clicks, reach=lateness + self._extra)
        self.cursor = impressions.cursor
        self._last = -1  # the offset of the last impression taken
        self.counts: Counter[tuple[str, ...]] = Counter()  # (what, its labels' values …) → how many
        self._latest: dict[str, int] = {}  # id → largest time
        self._waiting: dict[str, list[Waiting]] = {}
        self._queue: list[Waiting] = []  # a heap
        self._unmatched: dict[str, list[Unmatched]] = {}
        self._advances: list[Advance] = []  # of the clicks, as far as an impression to come may need them
        self._appended = clicks.appended  # the latest append time of the clicks read
        self._set_aside: list[tuple[Record, LateImpressionError]] = []

    @property
    def waiting(self) -> int:
        """How many impressions are not settled."""
        return len(self._queue)

    @property
    def watermark(self) -> int:
        """The smaller of the two watermarks."""
        return min(self.impressions.seen, self.clicks.seen) - self.lateness

    def impression(self, record: Record, event: Impression | Watermark, observed: int) -> None:
        """Take the next record of the impressions."""
        seen_before = self.impressions.seen
        self.impressions.see(observed)
        if isinstance(event, Watermark):
            return
        name, offset = event.impression_id, record.offset
        self._last = offset
        if seen_before - self.lateness - self.window > event.time or self._closed_on_arrival(record, event):
            self._put_aside(record, event)
            return
        latest = self._latest.get(name)
        self._latest[name] = event.time if latest is None else max(event.time, latest)
        self.impressions.sights.append(BufferedRecord(event.time, name, offset, seen_before))
        if latest is not None and latest + self.window + self.lateness >= event.time:
            self.counts["impression", "duplicate"] += 1
            return
        suspect = record.timestamp - event.time > self.window + self.lateness
        waiting = Waiting(event.time, offset, name, event.time, event, record if suspect else None)
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

    def click(self, record: Record, event: Click | Watermark, observed: int) -> None:
        """Take the next record of the clicks."""
        self._advance(record, observed)
        seen_before, appended_before = self.clicks.seen, self.clicks.appended
        self.clicks.see(observed)
        self.clicks.appended = max(appended_before, record.timestamp)
        name = "" if isinstance(event, Watermark) else event.impression_id
        time = observed if isinstance(event, Watermark) else event.time
        self.clicks.sights.append(BufferedRecord(time, name, record.offset, seen_before, appended_before))
        if isinstance(event, Watermark):
            return
        if event.time < seen_before - self.lateness:
            self.counts["late_event", "clicks", source(event)] += 1
        watermark = self.clicks.seen - self.lateness
        click = Unmatched(event.time, record.offset, watermark, "late" if name in self._latest else "orphan")
        if not any(self._matched(waiting, click) for waiting in self._waiting.get(name, ())):
            self._unmatched.setdefault(name, []).append(click)

    def take_ready(self, limit: int) -> list[Example]:
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

    def take_late(self) -> list[tuple[Record, LateImpressionError]]:
        """Give the impressions that were found to be late since the last call."""
        late, self._set_aside = self._set_aside, []
        return late

    def resume(self) -> None:
        """Go on from the cursor, once everything between the notes and their offsets was taken again."""
        while self._queue and (self._queue[0].due, self._queue[0].offset) <= self.cursor:
            self._settle(heappop(self._queue))
        self._set_aside.clear()
        self.counts.clear()

    def notes(self, next_impression: int, next_click: int) -> tuple[ResumePoint, ResumePoint]:
        """Say what to commit with the next offsets of both inputs, after everything decided was taken."""
        return (
            self.impressions.note(next_impression, self.cursor, self.policy),
            self.clicks.note(next_click, self.cursor, self.policy),
        )

    def _advance(self, record: Record, observed: int) -> None:
        """Note how far the next record of the clicks, yet to be observed, lets event time come, and when."""
        self._appended = max(self._appended, record.timestamp)
        if observed > self.clicks.read:
            written_as_it_happened = 0 <= record.timestamp - observed <= self.clock_skew
            self._advances.append(Advance(observed, self._appended if written_as_it_happened else NEVER))

    def _is_closed(self, record: Record, time: int) -> bool:
        """Say whether a click that was written before ``record`` has closed the window of the impression that it holds."""
        first = bisect_left(self._advances, time + self.window + self.lateness, key=lambda advance: advance.seen)
        return first < len(self._advances) and self._advances[first].appended < record.timestamp

    def _closed_on_arrival(self, record: Record, event: Impression) -> bool:  # noqa: ARG002
        """Not known yet: the clicks may not have been read so far. It is asked when the impression is decided."""
        return False

    def _put_aside(self, record: Record, event: Impression) -> None:
        self.counts["late_event", "impressions", source(event)] += 1
        self._set_aside.append((record, LateImpressionError("time", event.time, f"an event whose window of {self.window} ms is open")))

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
        return click.time <= closes and click.watermark < closes and click.time + self.lateness >= waiting.time

    def _settle(self, waiting: Waiting) -> Example | None:
        """Decide an impression, which may wait on for a late click, or be done with one that did."""
        if waiting.due > waiting.time:
            return self._settle_late(waiting)
        if waiting.impression and waiting.record and self._is_closed(waiting.record, waiting.time):
            self._put_aside(waiting.record, waiting.impression)
            self._remove(waiting)
            return None
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
        closes = self.cursor[0] + self.window + self.lateness
        del self._advances[: bisect_left(self._advances, closes, key=lambda advance: advance.seen)]
        for sight in self.impressions.evict_before(self.cursor[0]):
            if self._latest.get(sight.impression_id) == sight.time:
                del self._latest[sight.impression_id]
        for sight in self.clicks.evict_before(self.cursor[0]):
            clicks = self._unmatched.get(sight.impression_id)
            if clicks and clicks[0].offset == sight.offset:
                self.counts["click", clicks.pop(0).fate] += 1
                if not clicks:
                    del self._unmatched[sight.impression_id]


def source(event: Impression | Click) -> str:
    """Return who wrote an event, where it says so."""
    return "" if event.source is None else str(event.source)


def labelled(shown: Impression, clicked_at: int | None) -> Example:
    """Make an example of an impression: a positive if it was clicked, else a negative."""
    label: Literal[0, 1] = 0 if clicked_at is None else 1
    return Example(shown.impression_id, shown.time, shown.features, label, clicked_at=clicked_at)
