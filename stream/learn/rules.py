"""What the settings refuse of the examples that could be read: a weight or a time that would let one decide for all the others.

What is refused depends on today's settings. So a version names it among its ``excluded``, and no rule is asked when its runs are learned
again: what was learned under other settings, or by an earlier program, is learned again as it was.
"""

from typing import NamedTuple

from stream.event_time import TimeRule
from stream.events import BadRecordError, Example
from stream.log.contract import Record


class WeightError(BadRecordError):
    """An example weighs more than one may."""

    reason = "max_weight"


class Rules(NamedTuple):
    """Which examples are learned."""

    times: TimeRule
    max_weight: float

    def observed(self, example: Example, record: Record) -> int:
        """Return the time, epoch ms, that event time comes to by learning ``example``, which stands in ``record``.

        Raises:
            WeightError: it weighs more than ``max_weight``.
            FutureTimeError: it is later than its append time by more than ``clock_skew``.
            TimeUnitError: its time is in seconds.
        """
        if example.weight is not None and example.weight > self.max_weight:
            raise WeightError("weight", example.weight, f"at most {self.max_weight:g}, as learn.max_weight says")
        return self.times.observed(example.time, record)
