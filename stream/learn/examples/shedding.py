"""Shedding of load: learn fewer negatives while learning falls behind, so that it never falls further behind than it may.

    lag > max_lag, or lag > max_lag / 2 and it does not fall     half as many negatives, down to 1 of 100
    lag < max_lag / 4, and nothing changed for so long           twice as many, up to keep_negatives

A decision is taken ``DECISIONS`` times in ``max_lag``, so that all the way down takes less than half of it. Each version says by which
sampling its runs were learned; learning them again takes that, and a restart goes on from it: no clock is read for either.
"""

import logging
import math

import msgspec

from stream.sampling import LEAST, Sampling
from stream.settings import LearnSettings

logger = logging.getLogger(__name__)

DECISIONS = 16  # in max_lag


class Shedding:
    """Decides which negatives are learned.

    Args:
        settings: The loop's settings: the share that is learned without haste, and how far learning may fall behind.
        last: The sampling of the last version.

    Attributes:
        sampling: What decides now; None: all are learned.
    """

    def __init__(self, settings: LearnSettings, last: Sampling | None) -> None:
        self._most, self._max_lag = settings.keep_negatives, settings.max_lag or math.inf
        self.sampling = last
        self._take(min(last.rate, self._most) if last and settings.max_lag else self._most)
        self._lag = math.inf  # at the last decision
        self._changed = -math.inf  # when the rate last changed, by the monotonic clock
        self._next = -math.inf if settings.max_lag else math.inf  # when to decide

    def due(self, now: float) -> bool:
        """Return whether to decide; ``now`` is the monotonic clock's."""
        return now >= self._next

    def decide(self, lag: float, now: float) -> None:
        """Change the rate if learning is ``lag`` seconds behind, and that is too much, or little again."""
        before, falls = self.sampling, lag < self._lag
        self._lag, self._next = lag, now + self._max_lag / DECISIONS
        rate = before.rate if before else 1.0
        if lag > self._max_lag or (lag > self._max_lag / 2 and not falls):
            self._take(max(rate / 2, LEAST))
        elif lag < self._max_lag / 4 and now >= self._changed + self._max_lag / 4:
            self._take(min(2 * rate, self._most))
        if self.sampling != before:
            self._changed = now
            what = (
                f"1 of {self.sampling.weight:.3g} negatives is learned, and counts as many"
                if self.sampling
                else "all negatives are learned"
            )
            logger.warning("learning is %.3g s behind, of %g at most: %s", lag, self._max_lag, what)

    def _take(self, rate: float) -> None:
        """Set the rate; the salt stays, where there is one."""
        if rate == 1:
            self.sampling = None
        else:
            self.sampling = msgspec.structs.replace(self.sampling, rate=rate) if self.sampling else Sampling.drawn(rate)
