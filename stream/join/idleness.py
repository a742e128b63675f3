"""Find idle partitions. Idleness becomes a record, a watermark, so that the same records joined again give the same result.

While a site has no clicks, every label would stay open. So a partition without records for ``idle_after`` gets a watermark: the latest
event time that was seen in any partition ``idle_after`` ago, plus the time since then. What was seen later is given as long to be
clicked: a recorded log may come a day a second, its clicks a moment after their impressions.
"""

import time
from collections import deque
from collections.abc import Callable

from stream.log.contract import TopicPartition

STEPS = 16  # of ``idle_after``: of three moments that are remembered, the last is a step after the first, at least


class Idleness:
    """Tells which partitions are idle. Only the moment at which a watermark is written depends on the clock, not what follows from it.

    Args:
        idle_after: After how many seconds without a record a partition is idle.
        clock: Seconds.
    """

    def __init__(self, idle_after: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._idle_after = idle_after
        self._clock = clock
        self._seen = deque[tuple[float, int]](maxlen=2 * STEPS + 2)  # now and then: the clock, and the latest event time
        self._active_at: dict[TopicPartition, float] = {}

    @property
    def latest(self) -> int | None:
        """The latest event time seen, epoch ms; None before the first."""
        return self._seen[-1][1] if self._seen else None

    def mark_active(self, partition: TopicPartition, event_time: int) -> None:
        """Remember that records of ``partition`` came, and how far its event time has come; -1 if it has none yet."""
        now = self._active_at[partition] = self._clock()
        if event_time >= 0 and (self.latest is None or event_time > self.latest):
            if len(self._seen) > 1 and now - self._seen[-2][0] < self._idle_after / STEPS:
                self._seen.pop()
            self._seen.append((now, event_time))

    def take_idle(self) -> list[TopicPartition]:
        """Return the idle partitions, and count each as active again now."""
        now = self._clock()
        idle = [partition for partition, at in self._active_at.items() if now - at >= self._idle_after]
        self._active_at.update(dict.fromkeys(idle, now))
        return idle

    def keep_idle(self, partition: TopicPartition) -> None:
        """Let :meth:`take_idle` return ``partition`` again the next time: it could not get its watermark yet."""
        self._active_at[partition] -= self._idle_after

    def watermark(self) -> int | None:
        """Return what event time it must be by now in an idle partition; None where no event is old enough to tell."""
        now = self._clock()
        old = [(at, event_time) for at, event_time in self._seen if now - at >= self._idle_after]
        return old[-1][1] + int(1000 * (now - old[-1][0])) if old else None
