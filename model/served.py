"""Evaluation as it is served: a page is predicted with what a server knew when it was shown, and a label is learned once it is decided.

The examples are learned in the stream's order, whatever the protocol, so they give the same weights; only the predictions come earlier.
Memory holds the examples whose label is not decided, and the page that is being shown: it is bounded by the delay and by the longest page.

Axes: N examples.
"""

from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.evaluation import RunningScores
from model.features import Encoded, Features
from model.kernels.forward import Shown
from model.online import OnlineModel


class _Waiting(NamedTuple):
    """Examples that were read together, until they are learned."""

    features: Features
    labels: NDArray[np.float32]  # (N,)
    logits: NDArray[Any]  # (N,), as predicted when they were shown


class Schedule:
    """How many examples are learned when each is predicted, whoever learns them.

    The stream's *clock* is the latest time so far: a row whose time runs backwards happens now. An example's label is decided once the
    clock has reached the clock of the example plus ``delay``. A page is neighbouring examples of an equal page, and is shown at its
    first example: it is predicted by who has learned all that was decided by then, and nothing of the page itself.

    >>> schedule = Schedule(delay=10)
    >>> [schedule.admit(time, page=None) for time in (0, 5, 10, 14, 15)]
    [0, 0, 1, 1, 2]

    Args:
        delay: From an example's time to its label, ms.
    """

    def __init__(self, delay: int) -> None:
        self._delay = delay
        self._clock = -1
        self._page: object = None
        self._read = 0  # examples
        self._known = 0  # examples that are learned when the page is shown
        self._due: deque[tuple[int, int]] = deque()  # (clock when the label is decided, examples up to there), for those that wait

    def admit(self, time: int, page: object) -> int:
        """Take the next example's time and page, None for a page of its own; return how many examples are learned when it is predicted."""
        self._clock = max(self._clock, time)
        if page is None or page != self._page:
            self._page = page
            while self._due and self._due[0][0] <= self._clock:
                self._known = self._due.popleft()[1]
        self._read += 1
        decided = self._clock + self._delay
        if self._due and self._due[-1][0] == decided:
            self._due.pop()
        self._due.append((decided, self._read))
        return self._known


class ServedStream:
    """Predicts each page when it is shown; learns and scores each example once its label is decided, as :class:`Schedule` has it.

    An example that its fields don't take is in no page, and moves no clock.

    Args:
        model: The model, which learns.
        scores: The scores, which are updated when an example is learned.
        delay: From an example's time to its label, ms.
    """

    def __init__(self, model: OnlineModel, scores: RunningScores, delay: int) -> None:
        self._model, self._scores, self._schedule = model, scores, Schedule(delay)
        self.undone = 0  # steps that were not finite
        self._read = 0  # examples, those of the batch being read included
        self._learned = 0
        self._waiting: deque[_Waiting] = deque()

    def learn_and_score(
        self,
        encoded: Encoded,
        times: Sequence[int],
        labels: NDArray[np.float32],
        pages: Sequence[object],
    ) -> None:
        """Predict N examples, and learn and score those whose labels are decided meanwhile.

        Args:
            encoded: The keys of the examples.
            times: When each happened, epoch ms.
            labels: 1 for a click, else 0, ``(N,)``.
            pages: What neighbours of one page have equal; None: a page of its own.
        """
        features, misfits = encoded
        kept = [n for n in range(len(labels)) if n not in misfits]
        if not kept:
            return
        known = np.array([self._schedule.admit(times[n], pages[n]) for n in kept])
        self._read += len(kept)
        logits = np.empty(len(kept), self._model.weights.dense.dtype)
        self._waiting.append(_Waiting(features, labels[kept], logits))
        self._learn_up_to(known[-1], Shown(features, known - self._learned, logits))
        start = int(np.searchsorted(known, known[-1]))
        logits[start:] = self._model.weights.predict(self._part(features, start, len(kept)))

    def finish(self) -> None:
        """Learn and score what is left when the stream has ended."""
        self._learn_up_to(self._read)

    def _learn_up_to(self, count: int, shown: Shown | None = None) -> None:
        """Learn and score the next examples until ``count`` are learned, and predict what is shown before that."""
        while self._learned < count:
            waiting = self._waiting[0]
            size = min(len(waiting.labels), count - self._learned)
            labels = waiting.labels[:size]
            result = self._model.learn(self._part(waiting.features, 0, size), labels, shown=shown)
            shown = shown and shown._replace(before=shown.before - size)
            logits = waiting.logits[:size].copy()  # of the examples themselves, which were shown before they were learned
            logits[result.undone] = np.nan
            self._scores.update(logits, labels)
            self.undone += len(result.undone)
            self._learned += size
            if size == len(waiting.labels):
                self._waiting.popleft()
            else:
                rest = self._part(waiting.features, size, len(waiting.labels))
                self._waiting[0] = _Waiting(rest, waiting.labels[size:], waiting.logits[size:])  # a view of what may yet be filled

    def _part(self, features: Features, start: int, end: int) -> Features:
        """Return the features of examples ``start`` to ``end``, without copying their keys."""
        fields = len(self._model.spec.fields)
        starts = features.starts[start * fields : end * fields + 1]
        return Features(features.keys[starts[0] : starts[-1]], starts - starts[0], features.times[start:end])
