"""One partition's impressions and clicks become labelled examples: a pure function of the two streams.

However the reading is interleaved, cut or repeated, the same examples come out in the same order, each once. The reason: every rule
below compares a record with those *before it in its own stream* (and ``take_ready`` waits until both streams have got there), or
compares append times, which the log has set.

Words. The *observed* time of an event is the lesser of its time and its append time (:mod:`stream.inputs.event_time`); *seen* is the
largest observed time of a stream so far; its *watermark* is ``seen - lateness``. W is the click window.
"""

from collections import Counter
from heapq import heappop, heappush

from stream.inputs.event_time import LateImpressionError
from stream.join.matching.input_state import BufferedRecord, ClickState, ResumePoint
from stream.join.matching.known import ImpressionState
from stream.join.matching.waiting import (
    OF_WAITING,
    LateComer,
    Unmatched,
    due_after,
    impression_in,
    labelled,
    pack,
    settled,
    source,
    times_of,
    value_of,
)
from stream.log.contract import Record
from stream.records.events import Click, Example, Impression, Watermark


class Join:
    """Joins one partition under the policy ``window``: the label of an impression is decided W after its time.

    - An impression is *decided* once its time is at most E = min(both watermarks) - W. Examples come out by (time, offset).
    - A click *counts* for an impression of its id if all of these hold:
      (a) its time is not after the end of the window, the impression's time + W;
      (b) the clicks' watermark, just after the click, is still before the end of the window;
      (c) its time is at most ``lateness`` before the impression's.
      The first click in the log that counts makes the impression a positive; each further one is a *duplicate*.
    - An impression is *late* if its window was closed before it came. It is closed by the impressions' watermark before it, or by a
      click with an earlier append time that was itself written as it happened (a recorded log is written in any order, at any time).
      A late impression is set aside, clicked or not: nobody would know whether it had been clicked in time.
    - An impression is a *duplicate* if its id came before with a time at most W + ``lateness`` earlier, or with a later one.
      So a click counts for at most one impression: two of the same id are further apart than a click reaches.
    - An impression is *forgotten* if a tombstone of its id comes before the impressions' watermark reaches the end of its window.
    - A click that counts for no impression is *late* if one of its id is known, else an *orphan*. If late clicks are learned, an
      impression that was decided as a negative comes out once more, as a positive with the first late click that would count with a
      window of 2 W, when another W has passed.

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
        self.window, self.lateness = window, lateness
        self._extra = window if learn_late else 0
        self.impressions = ImpressionState(impressions, reach=window + lateness + self._extra)
        self.clicks = ClickState(clicks, lateness + self._extra, clock_skew)
        self.cursor = impressions.cursor
        self._last = -1  # the offset of the last impression taken
        self.counts: Counter[tuple[str, ...]] = Counter()  # (what, its labels' values …) → how many
        self._queue: list[bytes] = []  # a heap of packed impressions
        # By the offset of an impression that waits:
        self._clicks: dict[int, Unmatched] = {}  # the click that counts
        self._late_clicks: dict[int, Unmatched] = {}  # the first that came too late
        self._late_comers: dict[int, LateComer] = {}
        self._forgotten: set[int] = set()  # they stay to meet their clicks, so that no others get them
        self._unmatched: dict[str, list[Unmatched]] = {}
        self._late: list[tuple[Record, LateImpressionError]] = []
        self._waiting_memory = 0

    @property
    def waiting(self) -> int:
        """Return how many impressions are not settled."""
        return len(self._queue)

    @property
    def memory(self) -> int:
        """Return about how many bytes all takes that waits, or may still matter to what comes."""
        return self._waiting_memory + self.impressions.memory + self.clicks.memory

    @property
    def watermark(self) -> int:
        """Return the smaller of the two watermarks."""
        return min(self.impressions.seen, self.clicks.seen) - self.lateness

    def add_impression(self, record: Record, event: Impression | Watermark, observed: int) -> None:
        """Take the next record of the impressions."""
        seen_before = self.impressions.seen
        self.impressions.mark_taken(record, observed)
        if isinstance(event, Watermark):
            return
        name, offset = event.impression_id, record.offset
        self._last = offset
        if seen_before - self.lateness - self.window > event.time or self._closed_on_arrival(record, event):
            self._set_aside(record, event)
            return
        value = record.json or b""
        packed = pack(event.time, offset, event.time, seen_before, value)
        if name not in self.impressions.known:
            self.impressions.keep_first(name, packed)
        elif not self.impressions.keep_further(BufferedRecord(event.time, name, offset, seen_before), packed, self.window + self.lateness):
            self.counts["impression", "duplicate"] += 1
            return
        self._waiting_memory += OF_WAITING + len(value)
        if record.timestamp - event.time > self.window + self.lateness:
            late_comer = self._late_comers[offset] = LateComer.of(record)
            self._waiting_memory += late_comer.memory
        heappush(self._queue, packed)
        self._on_impression(packed)
        self._match_earlier_clicks(name, packed)

    def forget(self, offset: int, impression_id: str) -> None:  # noqa: ARG002 - every record has one, and other policies need it
        """Take the next record of the impressions, a tombstone."""
        watermark = self.impressions.seen - self.lateness
        for packed in self.impressions.waiting(impression_id):
            _, waiting_offset, time, _ = times_of(packed)
            if waiting_offset not in self._forgotten and watermark < time + self.window:
                self._forgotten.add(waiting_offset)
                return
        self.counts["anomaly", "vain_tombstone"] += 1

    def add_click(self, record: Record, event: Click | Watermark, observed: int) -> None:
        """Take the next record of the clicks."""
        seen_before, appended_before = self.clicks.seen, self.clicks.appended
        self.clicks.mark_taken(record, observed)
        name = "" if isinstance(event, Watermark) else event.impression_id
        time = observed if isinstance(event, Watermark) else event.time
        self.clicks.keep(BufferedRecord(time, name, record.offset, seen_before, appended_before))
        if isinstance(event, Watermark):
            return
        if event.time < seen_before - self.lateness:
            self.counts["late_event", "clicks", source(event)] += 1
        watermark = self.clicks.seen - self.lateness
        click = Unmatched(event.time, record.offset, watermark, "late" if name in self.impressions.known else "orphan", event.value)
        if not any(self._match(packed, click) for packed in self.impressions.waiting(name)):
            self._unmatched.setdefault(name, []).append(click)

    def take_ready(self, limit: int) -> list[Example]:
        """Take the examples that are decided by now, in their order, ``limit`` at most."""
        end = max(self.cursor[0], self.watermark - self.window)
        examples: list[Example] = []
        not_due = due_after(end)
        while len(examples) < limit and self._queue and self._queue[0] < not_due:
            packed = heappop(self._queue)
            self.cursor = times_of(packed)[:2]
            if example := self._settle(packed):
                examples.append(example)
        if len(examples) < limit:
            self.cursor = (end, self._last)
        self._evict()
        return examples

    def take_late_impressions(self) -> list[tuple[Record, LateImpressionError]]:
        """Take the impressions that were found to be late since the last call."""
        late, self._late = self._late, []
        return late

    def resume(self) -> None:
        """Go on from the cursor, once everything between the resume points and the committed offsets was taken again."""
        while self._queue and times_of(self._queue[0])[:2] <= self.cursor:
            self._settle(heappop(self._queue))
        self._late.clear()
        self.counts.clear()

    def resume_points(self, next_impression: int, next_click: int) -> tuple[ResumePoint, ResumePoint]:
        """Return what to commit with the next offset of each input, once all that is decided was taken."""
        waiting = self.waiting > 0
        return (
            self.impressions.resume_point(next_impression, self.cursor, self.policy, waiting=waiting),
            self.clicks.resume_point(next_click, self.cursor, self.policy, waiting=waiting),
        )

    def _is_closed(self, record: Record, time: int) -> bool:
        """Return whether a click that was written before ``record`` had closed the window of an impression of this time."""
        return self.clicks.passed_before(time + self.window + self.lateness, record.timestamp)

    def _closed_on_arrival(self, record: Record, event: Impression) -> bool:  # noqa: ARG002
        """Return False: the clicks may not have been read so far. Ask again when the impression is decided."""
        return False

    def _set_aside(self, record: Record, event: Impression) -> None:
        self.counts["late_event", "impressions", source(event)] += 1
        self._late.append((record, LateImpressionError("time", event.time, f"an event whose window of {self.window} ms is open")))

    def _on_impression(self, packed: bytes) -> None:
        """Do nothing; another policy may act on an impression that is no duplicate."""

    def _on_click(self, packed: bytes, click: Unmatched) -> None:
        """Do nothing; another policy may act on an impression that has become a positive."""

    def _match_earlier_clicks(self, name: str, packed: bytes) -> None:
        clicks = self._unmatched.pop(name, None)
        if clicks is None:
            return
        left = [click for click in clicks if not self._match(packed, click)]
        for click in left:
            click.fate = "late"
        if left:
            self._unmatched[name] = left

    def _match(self, packed: bytes, click: Unmatched) -> bool:
        """Return whether the click counts for the impression; if so, record it there."""
        _, offset, time, _ = times_of(packed)
        if not self._counts_for(time, click, self.window):
            if self._extra and self._counts_for(time, click, 2 * self.window):
                self._late_clicks.setdefault(offset, click)
            return False
        if offset in self._clicks:
            self.counts["click", "duplicate"] += 1
            return True
        self._clicks[offset] = click
        self.counts["click", "counted"] += 1
        if click.time < time:
            self.counts["anomaly", "early_click"] += 1
        self._on_click(packed, click)
        return True

    def _counts_for(self, time: int, click: Unmatched, window: int) -> bool:
        """Return whether a click counts for an impression of its id and this time: the conditions (a), (b) and (c) of the class."""
        closes = time + window
        return (
            click.time <= closes  # (a)
            and click.watermark < closes  # (b)
            and click.time + self.lateness >= time  # (c)
        )

    def _settle(self, packed: bytes) -> Example | None:
        """Decide an impression, which may then go on waiting for a late click; or end that wait."""
        due, offset, time, seen_before = times_of(packed)
        value, forgotten, click = value_of(packed), offset in self._forgotten, self._clicks.get(offset)
        impression = impression_in(value)
        if due > time:
            late_click = None if forgotten else self._late_clicks.get(offset)
            self._remove(packed, offset, impression.impression_id)
            if late_click is None:
                return None
            self.counts["anomaly", "late_click_learned"] += 1
            return labelled(impression, late_click, late=True)
        late_comer = self._late_comers.get(offset)
        if late_comer and not forgotten and self._is_closed(late_comer.record, time):
            self._set_aside(late_comer.restored(value), impression)
            self._remove(packed, offset, impression.impression_id)
            return None
        self.counts["impression", "forgotten" if forgotten else "decided"] += 1
        if self._extra and not forgotten and click is None:
            longer = pack(due + self._extra, offset, time, seen_before, value)
            self.impressions.replace(packed, longer, impression.impression_id)
            heappush(self._queue, longer)
        else:
            self._remove(packed, offset, impression.impression_id)
        return None if forgotten else labelled(impression, click)

    def _remove(self, packed: bytes, offset: int, name: str) -> None:
        """End an impression's wait; it is still known, with no more than that takes."""
        self._waiting_memory -= OF_WAITING + len(value_of(packed))
        if late_comer := self._late_comers.pop(offset, None):
            self._waiting_memory -= late_comer.memory
        self._clicks.pop(offset, None)
        self._late_clicks.pop(offset, None)
        self._forgotten.discard(offset)
        self.impressions.replace(packed, settled(packed), name)

    def _evict(self) -> None:
        """Drop what no record to come can need."""
        self.clicks.drop_advances_before(self.cursor[0] + self.window + self.lateness)
        for old in self.impressions.evict_before(self.cursor[0]):
            self.impressions.forget(old)
        for old in self.clicks.evict_before(self.cursor[0]):
            clicks = self._unmatched.get(old.impression_id)
            if clicks and clicks[0].offset == old.offset:
                self.counts["click", clicks.pop(0).fate] += 1
                if not clicks:
                    del self._unmatched[old.impression_id]
