"""The rules that refuse an example which could be decoded: one whose weight or time would outweigh all the others.

What is refused depends on today's settings. So a version lists refused examples among its ``excluded``, and no rule is applied when its
runs are learned again: examples that were learned under other settings, or by an earlier program, are learned again as they were.
"""

from typing import NamedTuple

from stream.inputs.event_time import TimeRule
from stream.log.contract import Record
from stream.records.events import BadRecordError, Example


class WeightError(BadRecordError):
    """The weight of an example is above the limit."""

    reason = "max_weight"


class Rules(NamedTuple):
    """Decide which examples are learned."""

    times: TimeRule
    max_weight: float

    def observed(self, example: Example, record: Record) -> int:
        """Return the time, epoch ms, that event time reaches when ``example``, decoded from ``record``, is learned.

        Raises:
            WeightError: its weight is above ``max_weight``.
            FutureTimeError: its time is later than its append time by more than ``clock_skew``.
            TimeUnitError: its time is in seconds.
        """
        if example.weight is not None and example.weight > self.max_weight:
            raise WeightError("weight", example.weight, f"at most {self.max_weight:g}, as learn.max_weight says")
        return self.times.observed(example.time, record)
