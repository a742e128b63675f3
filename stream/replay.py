"""A recorded log streams into the topics again: as impressions and clicks for the joiner, or as examples for the learner.

Clicks come in the order of their own time. A replay that came to the end of its file writes a last watermark to every partition,
so that every label is decided.
"""

import heapq
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Literal

from stream.events import Click, Example, Impression, Watermark, encode
from stream.files import Logged
from stream.log import Log, Message
from stream.settings import JoinSettings
from stream.topics import Topics

BATCH = 1_000  # rows appended at once

Events = Literal["impressions", "examples"]


class Replay:
    """Streams rows into the log of one model.

    Args:
        log: Where to.
        topics: Names the topics.
        settings: The joiner's, for the last watermark.
        events: What a row becomes: an impression and, if it was clicked, a click; or a labelled example.
        speed: How many times as fast as it was recorded; None: as fast as the log takes it.
    """

    def __init__(self, log: Log, topics: Topics, settings: JoinSettings, events: Events, speed: float | None) -> None:
        """Prepare; nothing is written before :meth:`run`."""
        self._log, self._topics, self._settings, self._speed = log, topics, settings, speed
        self._events = events
        self._clicks: list[tuple[int, int]] = []  # a heap of (time, row's number) of clicks yet to come
        self.last = -1  # the latest time so far
        self.backwards = 0  # rows earlier than the latest before them
        self.rows = self.clicks = 0

    def run(self, rows: Iterable[Logged], pause: Callable[[float], bool]) -> Iterator[list[Logged]]:
        """Write the rows; give each batch once the log has it.

        Args:
            rows: The recorded log.
            pause: Waits for so many seconds, and says whether to stop.
        """
        for batch in self._batches(rows, pause):
            self._log.append([message for row in batch for message in self._messages(row)])
            self.rows += len(batch)
            yield batch
            if pause(0):
                break
        self._log.append([*self._due_clicks(None), *(() if pause(0) else self._last_watermarks())])

    def _batches(self, rows: Iterable[Logged], pause: Callable[[float], bool]) -> Iterator[list[Logged]]:
        """Cut into batches, each when its time has come."""
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
            batch.append(row)
        if batch:
            yield batch

    def _messages(self, row: Logged) -> Iterator[Message]:
        self.backwards += row.time < self.last
        self.last = max(self.last, row.time)
        name = str(row.number)
        if self._events == "examples":
            label: Literal[0, 1] = 1 if row.label else 0
            example = Example(name, row.time, row.features, label, clicked_at=row.clicked_at)
            yield Message(self._topics.examples, name.encode(), encode(example))
            return
        yield from self._due_clicks(row.time)
        yield Message(self._topics.impressions, name.encode(), encode(Impression(name, row.time, row.features)))
        if row.label:
            heapq.heappush(self._clicks, (row.time if row.clicked_at is None else row.clicked_at, row.number))

    def _due_clicks(self, now: int | None) -> Iterator[Message]:
        """Give the clicks from before ``now``; None: all that are left."""
        while self._clicks and (now is None or self._clicks[0][0] < now):
            at, number = heapq.heappop(self._clicks)
            self.clicks += 1
            yield Message(self._topics.clicks, str(number).encode(), encode(Click(str(number), at)))

    def _last_watermarks(self) -> Iterator[Message]:
        if self._events == "examples" or self.last < 0:
            return
        horizon = round((self._settings.click_window + self._settings.lateness) * 1000)
        value = encode(Watermark(self.last + horizon))
        for topic in (self._topics.impressions, self._topics.clicks):
            yield from (Message(topic, None, value, partition=p) for p in self._log.bounds(topic))
