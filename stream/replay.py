"""Stream a recorded log into the topics: as impressions and clicks for the joiner, or as examples for the learner.

Clicks are written in the order of their own times, each after its impression is durable in the log. At the end of its file, a replay
writes a last watermark to every partition, so that every label is decided whose click window is over by now.

Times after now are refused: readers would set them aside. Records with made-up times say so in a header. Objects, which no field can take,
are left out, or their rows would be set aside.
"""

import heapq
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from typing import Any, Literal

from stream.ahead import ahead
from stream.files.layout import Logged
from stream.files.opened import FileError
from stream.inputs.event_time import FUTURE, TimeRule, iso
from stream.log.contract import Headers, Log, Message
from stream.log.settings import format_duration
from stream.log.topics import Topics
from stream.records.events import Click, Example, Impression, Watermark, encode
from stream.settings import JoinSettings

BATCH = 4_000  # rows appended at once: each append waits until it is durable

Events = Literal["impressions", "examples"]

_SCALARS = frozenset((str, int, float, bool, type(None)))


class FutureRowError(FileError):
    """A row's time is after now."""

    def __init__(self, row: int, column: str, time: int, now: int, clock_skew: int) -> None:
        most = f"at most {format_duration(clock_skew / 1000)} after now, {now} ({iso(now)})"
        made_up = "if the times are made up, `sml replay --future` writes them"
        super().__init__(f"row {row}, {column}: got {time} ({iso(time)}), expected {most}; {made_up}")
        self.row, self.time, self.now = row, time, now


class Replay:
    """Streams rows into the log of one model.

    Args:
        log: The log to write to.
        topics: The names of the topics.
        settings: The joiner's, for the last watermark, and for what is late and what is after now.
        events: What a row becomes: an impression and, if it was clicked, a click; or a labelled example.
        speed: How many times as fast as it was recorded; None: as fast as the log takes it.
        future: Whether the times are made up and may be after now; every record then has the header FUTURE.
        clock: Epoch seconds.
    """

    def __init__(
        self,
        log: Log,
        topics: Topics,
        settings: JoinSettings,
        events: Events,
        speed: float | None,
        *,
        future: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._headers: Headers = ((FUTURE, b"1"),) if future else ()
        self._rule, self._clock = TimeRule.of(settings), clock
        self._horizon = round((settings.click_window + settings.lateness) * 1000)  # ms from a row until its click no longer counts
        self._log, self._topics, self._settings, self._speed = log, topics, settings, speed
        self._events = events
        self._clicks: list[tuple[int, int]] = []  # a heap of (time, row's number) of clicks yet to come
        self.last = -1  # the latest time so far
        self.undecided_from: int | None = None  # rows later than this have no label yet when all is joined: a click may still come
        self.object_columns = set[str]()  # the columns that held some
        self.rows = self.clicks = 0

    def run(self, rows: Iterable[Logged], pause: Callable[[float], bool]) -> Iterator[list[Logged]]:
        """Write the rows; yield each batch once the log has it.

        Args:
            rows: The recorded log.
            pause: Waits for so many seconds, and returns whether to stop.

        Raises:
            FutureRowError: a time is after now; nothing of its batch was written.
        """
        with closing(ahead((batch, self._events_of(batch)) for batch in self._batches(rows, pause))) as batches:
            for batch, events in batches:
                self._check(batch)
                clicks = self._clicks_by(batch)
                self._log.append(events)  # durable before their clicks: in the log, a click is never older than its impression
                if clicks:
                    self._log.append(clicks)
                self.rows += len(batch)
                yield batch
                if pause(0):
                    break
        self._log.append([*self._due_clicks(None), *(() if pause(0) else self._last_watermarks())])

    def _batches(self, rows: Iterable[Logged], pause: Callable[[float], bool]) -> Iterator[list[Logged]]:
        """Yield the rows in batches, each when its time has come."""
        batch: list[Logged] = []
        begun, first = time.monotonic(), None
        for row in rows:
            first = row.time if first is None else first
            early = (row.time - first) / 1000 / self._speed - (time.monotonic() - begun) if self._speed else 0
            if batch and (early > 0 or len(batch) == BATCH):
                yield batch
                batch = []
            if early > 0 and pause(early):
                return
            batch.append(self._without_objects(row))
        if batch:
            yield batch

    def _without_objects(self, row: Logged) -> Logged:
        if _SCALARS.issuperset(map(type, row.features.values())):
            return row
        objects = {name for name, value in row.features.items() if not _can_be_taken(value)}
        self.object_columns |= objects
        return row._replace(features={name: value for name, value in row.features.items() if name not in objects}) if objects else row

    def _check(self, batch: list[Logged]) -> None:
        """Refuse times after now, unless they are made up."""
        now = int(self._clock() * 1000)
        for row in batch if not self._headers else ():
            for column, at in (("time", row.time), ("click time", row.clicked_at)):
                if at is not None and at > now + self._rule.clock_skew:
                    raise FutureRowError(row.number, column, at, now, self._rule.clock_skew)

    def _events_of(self, batch: list[Logged]) -> list[Message]:
        """Return the impressions of the rows, or their examples. Changes nothing, so it may run ahead."""
        if self._events == "examples":
            topic = self._topics.examples
            return [self._message(topic, row.number, _example(row)) for row in batch]
        topic = self._topics.impressions
        return [self._message(topic, row.number, Impression(str(row.number), row.time, row.features)) for row in batch]

    def _clicks_by(self, batch: list[Logged]) -> list[Message]:
        """Take note of the rows' times and clicks; return the clicks that are due by then."""
        clicks: list[Message] = []
        for row in batch:
            self.last = max(self.last, row.time)
            if self._events == "examples":
                continue
            clicks += self._due_clicks(row.time)
            if row.label:
                heapq.heappush(self._clicks, (row.time if row.clicked_at is None else row.clicked_at, row.number))
        return clicks

    def _message(self, topic: str, number: int, event: Impression | Click | Example) -> Message:
        return Message(topic, str(number).encode(), encode(event), self._headers)

    def _due_clicks(self, now: int | None) -> Iterator[Message]:
        """Yield the clicks from before ``now``; None: all that are left."""
        while self._clicks and (now is None or self._clicks[0][0] < now):
            at, number = heapq.heappop(self._clicks)
            self.clicks += 1
            yield self._message(self._topics.clicks, number, Click(str(number), at))

    def _last_watermarks(self) -> Iterator[Message]:
        if self._events == "examples" or self.last < 0:
            return
        watermark, now = self.last + self._horizon, int(self._clock() * 1000)
        if watermark > now and not self._headers:
            watermark = max(self.last, now)  # no watermark may pass the present
            self.undecided_from = watermark - self._horizon
        value = encode(Watermark(watermark))
        for topic in (self._topics.impressions, self._topics.clicks):
            yield from (Message(topic, None, value, self._headers, p) for p in self._log.bounds(topic))


def _can_be_taken(value: Any) -> bool:
    return _SCALARS.issuperset(map(type, value) if isinstance(value, list) else [type(value)])


def _example(row: Logged) -> Example:
    label: Literal[0, 1] = 1 if row.label else 0
    return Example(str(row.number), row.time, row.features, label, clicked_at=row.clicked_at)
