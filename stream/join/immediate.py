"""The policies that do not wait: an impression is a negative example at once, and a positive as well when its click comes.

Which click counts for which impression is as in :mod:`stream.join`. What is new is the order of the examples, so it has to follow from
the two streams alone: the next record is always of the input whose event time has come less far, impressions first. Where that input
has nothing, the other waits; the notes say from which record on, and a restart lets it wait again. An impression that was written
long after its time waits, too, until all clicks written before it are read: one of them may have closed its window.
"""

import sys
from collections import deque
from collections.abc import Callable
from typing import Literal, NamedTuple

import msgspec

from stream.events import Click, Example, Impression, Watermark
from stream.join.input_state import ResumePoint
from stream.join.window import Join, Waiting, labelled
from stream.log.contract import Record


class Queued(NamedTuple):
    """A record that waits for its turn."""

    offset: int
    until: int  # it waits until the clicks are read up to this append time, too
    take: Callable[[], None]


class ImmediateJoin(Join):
    """Joins one partition under ``fnw`` or ``fnc``, the two policies of Ktena et al. (RecSys 2019), which differ in what learns from it.

    Under ``fnw`` the examples say so, for the learner to weigh them (:mod:`model.kernels.delay`).
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
        """Begin where the two notes say."""
        super().__init__(window, lateness, impressions, clicks, clock_skew=clock_skew)
        self.policy = policy
        self._taken = (impressions.taken, clicks.taken)
        self._shown_queue: deque[Queued] = deque()
        self._click_queue: deque[Queued] = deque()
        self._written: list[Example] = []

    @property
    def waiting(self) -> int:
        """How many impressions are not settled, or not even taken."""
        return super().waiting + len(self._shown_queue)

    def impression(self, record: Record, event: Impression | Watermark, observed: int) -> None:
        """Let the next record of the impressions wait for its turn."""
        self.impressions.hear(observed)
        suspect = isinstance(event, Impression) and record.timestamp - event.time > self.window + self.lateness
        until = record.timestamp if suspect else 0
        self._shown_queue.append(Queued(record.offset, until, lambda: super(ImmediateJoin, self).impression(record, event, observed)))

    def forget(self, offset: int, impression_id: str) -> None:
        """Let the next record of the impressions, a tombstone, wait for its turn."""
        self._shown_queue.append(Queued(offset, 0, lambda: super(ImmediateJoin, self).forget(offset, impression_id)))

    def click(self, record: Record, event: Click | Watermark, observed: int) -> None:
        """Let the next record of the clicks wait for its turn."""
        self._advance(record, observed)
        self.clicks.hear(observed)
        self._click_queue.append(Queued(record.offset, 0, lambda: super(ImmediateJoin, self).click(record, event, observed)))

    def take_ready(self, limit: int) -> list[Example]:  # noqa: ARG002
        """Take the records whose turn has come; give all that they make, whatever the limit: a commit says that they were taken."""
        while queue := self._next():
            queue.popleft().take()
        super().take_ready(sys.maxsize)
        written, self._written = self._written, []
        return written

    def resume(self) -> None:
        """Go on, once everything between the notes and their offsets came again: what was taken then is taken without a word."""
        for queue, taken in zip((self._shown_queue, self._click_queue), self._taken, strict=True):
            while queue and taken is not None and queue[0].offset < taken:
                queue.popleft().take()
        super().resume()
        self._written.clear()

    def notes(self, next_impression: int, next_click: int) -> tuple[ResumePoint, ResumePoint]:
        """Say what to commit with the next offsets of both inputs, after everything decided was taken."""
        shown = self._shown_queue[0].offset if self._shown_queue else next_impression
        clicked = self._click_queue[0].offset if self._click_queue else next_click
        notes = super().notes(shown, clicked)
        return msgspec.structs.replace(notes[0], taken=shown), msgspec.structs.replace(notes[1], taken=clicked)

    def _next(self) -> deque[Queued]:
        """Give the queue whose turn it is, empty where it has to be waited for."""
        if self.impressions.seen > self.clicks.seen:
            return self._click_queue
        ready = self._shown_queue and self._shown_queue[0].until <= self._appended
        return self._shown_queue if ready else deque()

    def _closed_on_arrival(self, record: Record, event: Impression) -> bool:
        return self._is_closed(record, event.time)

    def _shown(self, waiting: Waiting) -> None:
        self._write(waiting, None)

    def _clicked(self, waiting: Waiting) -> None:
        self._write(waiting, waiting.clicked_at)

    def _write(self, waiting: Waiting, clicked_at: int | None) -> None:
        if waiting.impression:
            example = labelled(waiting.impression, clicked_at)
            self._written.append(msgspec.structs.replace(example, policy="fnw") if self.policy == "fnw" else example)
