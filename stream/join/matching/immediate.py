"""The policies that do not wait: an impression is a negative example at once, and a positive as well when its click comes.

Which click counts for which impression is as in :mod:`stream.join.matching.window`. Only the order of the examples is new. It has to follow
from the two streams alone: the next record is always from the input whose event time is behind, impressions first. If that input has
no record, the other one waits. The resume points say from which record on it waits, so after a restart it waits again. An impression
that was written long after its time waits, too, until all clicks written before it are read: one of them may have closed its window.
"""

import sys
from collections import deque
from collections.abc import Callable
from typing import Literal, NamedTuple

import msgspec

from stream.join.matching.input_state import ResumePoint
from stream.join.matching.waiting import OF_RECORD, Unmatched, impression_in, labelled, memory_of, times_of, value_of
from stream.join.matching.window import Join
from stream.log.contract import Record
from stream.records.events import Click, Example, Impression, Watermark


class Queued(NamedTuple):
    """A record that waits for its turn."""

    offset: int
    until: int  # it also waits until the clicks are read up to this append time
    take: Callable[[], None]
    memory: int  # bytes that it takes, about


class ImmediateJoin(Join):
    """Joins one partition under ``fnw`` or ``fnc``, two policies of Ktena et al. (RecSys 2019) that the learner treats differently.

    Under ``fnw``, each example says so, and the learner weighs it (:mod:`model.kernels.delay`).
    """

    def __init__(
        self,
        policy: Literal["fnw", "fnc"],
        window: int,
        lateness: int,
        impressions: ResumePoint,
        clicks: ResumePoint,
        *,
        clock_skew: int = 60_000,
    ) -> None:
        super().__init__(window, lateness, impressions, clicks, clock_skew=clock_skew)
        self.policy = policy
        self._taken = (impressions.taken, clicks.taken)
        self._impression_queue: deque[Queued] = deque()
        self._click_queue: deque[Queued] = deque()
        self._examples: list[Example] = []
        self._queued_memory = 0

    @property
    def memory(self) -> int:
        """Return about how many bytes all takes that waits, even for being taken."""
        return super().memory + self._queued_memory

    @property
    def waiting(self) -> int:
        """Return how many impressions are not settled, or not even taken."""
        return super().waiting + len(self._impression_queue)

    def add_impression(self, record: Record, event: Impression | Watermark, observed: int) -> None:
        """Queue the next record of the impressions."""
        self.impressions.mark_read(record, observed)
        suspect = isinstance(event, Impression) and record.timestamp - event.time > self.window + self.lateness
        until = record.timestamp if suspect else 0
        add = super().add_impression
        self._enqueue(self._impression_queue, Queued(record.offset, until, lambda: add(record, event, observed), memory_of(record)))

    def forget(self, offset: int, impression_id: str) -> None:
        """Queue the next record of the impressions, a tombstone."""
        forget = super().forget
        self._enqueue(self._impression_queue, Queued(offset, 0, lambda: forget(offset, impression_id), OF_RECORD))

    def add_click(self, record: Record, event: Click | Watermark, observed: int) -> None:
        """Queue the next record of the clicks."""
        self.clicks.mark_read(record, observed)
        add = super().add_click
        self._enqueue(self._click_queue, Queued(record.offset, 0, lambda: add(record, event, observed), memory_of(record)))

    def take_ready(self, limit: int) -> list[Example]:  # noqa: ARG002
        """Take the records whose turn has come; return all their examples, whatever the limit: a commit says that they were taken."""
        while queue := self._next():
            self._take_first(queue)
        super().take_ready(sys.maxsize)
        examples, self._examples = self._examples, []
        return examples

    def resume(self) -> None:
        """Go on, once everything between the resume points and the committed offsets was queued again; take in silence what was taken."""
        for queue, taken in zip((self._impression_queue, self._click_queue), self._taken, strict=True):
            while queue and taken is not None and queue[0].offset < taken:
                self._take_first(queue)
        super().resume()
        self._examples.clear()

    def resume_points(self, next_impression: int, next_click: int) -> tuple[ResumePoint, ResumePoint]:
        """Return what to commit with the next offset of each input, once all that is decided was taken."""
        next_impression = self._impression_queue[0].offset if self._impression_queue else next_impression
        next_click = self._click_queue[0].offset if self._click_queue else next_click
        impressions, clicks = super().resume_points(next_impression, next_click)
        return msgspec.structs.replace(impressions, taken=next_impression), msgspec.structs.replace(clicks, taken=next_click)

    def _enqueue(self, queue: deque[Queued], queued: Queued) -> None:
        self._queued_memory += queued.memory
        queue.append(queued)

    def _take_first(self, queue: deque[Queued]) -> None:
        queued = queue.popleft()
        self._queued_memory -= queued.memory
        queued.take()

    def _next(self) -> deque[Queued]:
        """Return the queue whose turn it is; empty if its next record has to be waited for."""
        if self.impressions.seen > self.clicks.seen:
            return self._click_queue
        ready = self._impression_queue and self._impression_queue[0].until <= self.clicks.read_until
        return self._impression_queue if ready else deque()

    def _closed_on_arrival(self, record: Record, event: Impression) -> bool:
        return self._is_closed(record, event.time)

    def _on_impression(self, packed: bytes) -> None:
        self._add_example(packed, None)

    def _on_click(self, packed: bytes, click: Unmatched) -> None:
        _, offset, _, _ = times_of(packed)
        if offset not in self._forgotten:
            self._add_example(packed, click)

    def _add_example(self, packed: bytes, click: Unmatched | None) -> None:
        example = labelled(impression_in(value_of(packed)), click)
        self._examples.append(msgspec.structs.replace(example, policy="fnw") if self.policy == "fnw" else example)
