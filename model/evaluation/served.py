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

from model.encoding.features import Encoded, Features
from model.evaluation.progressive import reweighed
from model.evaluation.scores import RunningScores
from model.kernels.forward import Shown
from model.online import OnlineModel


class _Waiting(NamedTuple):
    """Examples that were read together, until they are learned."""

    features: Features
    labels: NDArray[np.float32]  # (N,)
    learned: NDArray[np.bool_]  # (N,), False of those that are scored, but not learned
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
        negative_weight: How many examples each one without a click stands for in learning, because others are left out. Scores are of all.
    """

    def __init__(self, model: OnlineModel, scores: RunningScores, delay: int, negative_weight: float = 1.0) -> None:
        self._model, self._scores, self._schedule, self._negative_weight = model, scores, Schedule(delay), negative_weight
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
        learned: NDArray[np.bool_] | None = None,
    ) -> None:
        """Predict N examples, and learn and score those whose labels are decided meanwhile.

        Args:
            encoded: The keys of the examples.
            times: When each happened, epoch ms.
            labels: 1 for a click, else 0, ``(N,)``.
            pages: What neighbours of one page have equal; None: a page of its own.
            learned: Which are learned, ``(N,)``; the others are predicted and scored alone. None: all.
        """
        features, misfits = encoded
        kept = [n for n in range(len(labels)) if n not in misfits]
        if not kept:
            return
        known = np.array([self._schedule.admit(times[n], pages[n]) for n in kept])
        self._read += len(kept)
        logits = np.empty(len(kept), self._model.weights.dense.dtype)
        learned = np.ones(len(labels), np.bool_) if learned is None else learned
        self._waiting.append(_Waiting(features, labels[kept], learned[kept], logits))
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
            labels, learned = waiting.labels[:size], waiting.learned[:size]
            undone = self._learn(self._part(waiting.features, 0, size), labels, learned, shown)
            shown = shown and shown._replace(before=shown.before - size)
            logits = waiting.logits[:size].copy()  # of the examples themselves, which were shown before they were learned
            logits[undone] = np.nan
            self._scores.update(logits, labels)
            self.undone += len(undone)
            self._learned += size
            if size == len(waiting.labels):
                self._waiting.popleft()
            else:
                rest = self._part(waiting.features, size, len(waiting.labels))
                left = (waiting.labels[size:], waiting.learned[size:], waiting.logits[size:])  # logits: a view of what may yet be filled
                self._waiting[0] = _Waiting(rest, *left)

    def _learn(self, features: Features, labels: NDArray[np.float32], learned: NDArray[np.bool_], shown: Shown | None) -> list[int]:
        """Learn those of N examples that are learned, predict what is shown before one of the N; return those whose step was undone."""
        indices = np.flatnonzero(learned)
        if len(indices) < len(learned):
            features = features.without(np.flatnonzero(~learned).tolist(), len(learned))
        importance = reweighed(labels[indices], None, self._negative_weight)
        meanwhile = shown and shown._replace(before=np.where(shown.before < 0, -1, np.searchsorted(indices, shown.before)))
        undone = self._model.learn(features, labels[indices], importance, shown=meanwhile).undone
        if shown and meanwhile:  # what is shown after the last that is learned, and before the last of the N
            a, b = np.searchsorted(meanwhile.before, len(indices)), np.searchsorted(shown.before, len(learned))
            shown.logits[a:b] = self._model.weights.predict(self._part(shown.features, int(a), int(b)))
        found: list[int] = indices[undone].tolist()
        return found

    def _part(self, features: Features, start: int, end: int) -> Features:
        """Return the features of examples ``start`` to ``end``, without copying their keys."""
        fields = len(self._model.spec.fields)
        starts = features.starts[start * fields : end * fields + 1]
        return Features(features.keys[starts[0] : starts[-1]], starts - starts[0], features.times[start:end])
