"""When a partition stands still: idleness becomes a record, so that what was joined can be joined again with the same result.

A site without clicks for a while would leave every label open. So a partition that is silent for ``idle_after`` gets a watermark:
the latest event time seen anywhere, plus the time since it was seen.
"""

import time
from collections.abc import Callable
from typing import TypeAlias

Place: TypeAlias = tuple[str, int]  # topic, partition


class Idleness:
    """Notices silence. Only the moment of writing a watermark depends on the clock, never what follows from it."""

    def __init__(self, idle_after: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin without any place; one that was heard of is silent after ``idle_after`` seconds."""
        self.latest: int | None = None  # event time, epoch ms
        self._idle_after = idle_after
        self._clock = clock
        self._latest_at = 0.0
        self._heard: dict[Place, float] = {}

    def heard(self, place: Place, seen: int) -> None:
        """Note that records came, and how far the event time of their partition has come; -1 if there was none yet."""
        self._heard[place] = self._clock()
        if seen >= 0 and (self.latest is None or seen > self.latest):
            self.latest, self._latest_at = seen, self._heard[place]

    def silent(self) -> list[Place]:
        """List the places that have been silent for too long; each has as long again before it is listed once more."""
        now = self._clock()
        places = [place for place, heard in self._heard.items() if now - heard >= self._idle_after]
        self._heard.update(dict.fromkeys(places, now))
        return places

    def watermark(self) -> int | None:
        """Say what time it must be by now; None before the first event."""
        return None if self.latest is None else self.latest + int(1000 * (self._clock() - self._latest_at))
