"""Find idle partitions. Idleness becomes a record, a watermark, so that the same records joined again give the same result.

While a site has no clicks, every label would stay open. So a partition without records for ``idle_after`` gets a watermark:
the latest event time seen in any partition, plus the time since it was seen.
"""

import time
from collections.abc import Callable

from stream.log.contract import TopicPartition


class Idleness:
    """Tells which partitions are idle. Only the moment at which a watermark is written depends on the clock, not what follows from it.

    Args:
        idle_after: After how many seconds without a record a partition is idle.
        clock: Seconds.
    """

    def __init__(self, idle_after: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.latest: int | None = None  # event time, epoch ms
        self._idle_after = idle_after
        self._clock = clock
        self._latest_at = 0.0
        self._active_at: dict[TopicPartition, float] = {}

    def mark_active(self, partition: TopicPartition, event_time: int) -> None:
        """Remember that records of ``partition`` came, and how far its event time has come; -1 if it has none yet."""
        self._active_at[partition] = self._clock()
        if event_time >= 0 and (self.latest is None or event_time > self.latest):
            self.latest, self._latest_at = event_time, self._active_at[partition]

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
        """Return what event time it must be by now; None before the first event."""
        return None if self.latest is None else self.latest + int(1000 * (self._clock() - self._latest_at))
