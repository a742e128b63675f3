"""How good the newest predictions were, each made before its example was learned: as a whole, and by the values of chosen fields.

The newest 100,000 examples are in a ring. What is asked of them is summed anew each time, in one pass, so that a window is exact and
its sums do not drift; the AUC is taken from bins of the logit, which add up: nothing is sorted. All begins with the process.

Axes: N examples of one call; W those of the ring; F fields; C chosen fields; S slices of a field; B bins of the logit.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.encoding.features import CLOCKS, Features
from model.encoding.keys import Value
from model.evaluation.scores import REACH, Group, Scores, area_under_curve, calibration_groups, scores_of
from model.explanation.wide_term import wide_logits
from model.kernels.delay import stream_logits
from model.kernels.target import inner_ordered_sum, kernel, ordered_sum
from model.settings import Field, Spec
from model.weights import Weights

WINDOWS = {"1k": 1_000, "10k": 10_000, "100k": 100_000}
LOOKED = 16  # of so many examples, the wide term and the values of one are looked at: looking at all takes 3 % of the learner's time
SLICES = 20  # values of a chosen field that are told apart, the first that come; the others are one slice
GROUPS = 20  # of the calibration curve
_SIZE = max(WINDOWS.values())  # of the ring
_BINS = 4_096  # from -REACH to REACH: 2⁻⁷ wide
OTHERS = "other"
_NEW = 255  # the number of a value that has none
_LONGEST = 60  # characters of a slice's name
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


class WindowScores(NamedTuple):
    """The scores of a window; None where its examples do not define one."""

    scores: Scores
    click_rate: float | None
    gain_over_base_rate: float | None  # the share of the log loss of always predicting the window's click rate that the model saves
    gain_over_wide: float | None  # the share of the log loss of the wide term alone that the deep part saves; None without a wide term


class Seen(NamedTuple):
    """What is to be known of examples before they are learned."""

    wide: NDArray[np.float64]  # (N,), the logits of the wide term alone; NaN where it was not looked at
    slices: NDArray[np.uint8]  # (C, N), the number of each one's value in each chosen field


class _Ring(NamedTuple):
    """The newest examples: number t is at index t mod W."""

    losses: NDArray[np.float64]  # (W,)
    wide_losses: NDArray[np.float64]  # (W,), of the wide term alone; NaN where it was not looked at
    predictions: NDArray[np.float64]  # (W,)
    clicked: NDArray[np.bool_]  # (W,)
    bins: NDArray[np.uint16]  # (W,)
    slices: NDArray[np.uint8]  # (C, W)
    weights: NDArray[np.float64]  # (W,)


class _Sums(NamedTuple):
    """Sums over some examples, by slice."""

    sums: NDArray[np.float64]  # (S, 4): log loss, prediction; log loss and that of the wide term, where this was looked at
    bins: NDArray[np.float64]  # (S, B, 2), of examples by their weight; the last index is 1 for a click


class Slices:
    """Numbers the values of a field: the first ``SLICES`` to come each by itself, all others together as ``SLICES``."""

    def __init__(self, spec: Spec, field: Field) -> None:
        self.field = field
        self.names: dict[str, int] = {}
        self._index, self._fields = spec.fields.index(field), len(spec.fields)
        self._keys, self._numbers = np.zeros(0, np.uint64), np.zeros(0, np.uint8)  # each value's key, and its number

    def of(self, features: Features, read: Callable[[int], Mapping[str, Value]]) -> NDArray[np.uint8]:
        """Return the number of each example's value, ``(N,)``; ``read`` an example whose value is new, to name it."""
        numbers = self._known(features)
        while len(self._keys) < SLICES and (numbers == _NEW).any():
            n = int(np.argmax(numbers == _NEW))
            self._numbers = np.append(self._numbers, np.uint8(self._number(self._name(features, n, read))))
            self._keys = np.append(self._keys, features.keys[features.starts[n * self._fields + self._index]])
            numbers = self._known(features)
        numbers[numbers == _NEW] = SLICES
        return numbers

    def _known(self, features: Features) -> NDArray[np.uint8]:
        """Return the number of each example's value, ``_NEW`` where it has none."""
        numbers = np.full((len(features.starts) - 1) // self._fields, _NEW, np.uint8)
        _find(self._keys, self._numbers, features.keys, features.starts[self._index : -1 : self._fields], numbers)
        return numbers

    def _number(self, name: str) -> int:
        return SLICES if name == OTHERS else self.names.setdefault(name, len(self.names))

    def _name(self, features: Features, n: int, read: Callable[[int], Mapping[str, Value]]) -> str:
        if clock := CLOCKS.get(self.field.kind):
            return _WEEKDAYS[clock(int(features.times[n]))]
        value = read(n).get(self.field.name)
        return "missing" if value is None or value == "" else str(value)[:_LONGEST]


class Quality:
    """Scores over the newest examples.

    Args:
        spec: What the model is.
        sliced: The names of the chosen fields.

    Attributes:
        values: How many values of each field were looked up, in one example of sixteen, ``(F,)``.
        unseen: How many of them had no row when the poll that brought them was learned, ``(F,)``.
    """

    def __init__(self, spec: Spec, sliced: Sequence[str] = ()) -> None:
        self.slices = [Slices(spec, field) for field in spec.fields if field.name in sliced]
        self.values, self.unseen = np.zeros(len(spec.fields), np.int64), np.zeros(len(spec.fields), np.int64)
        self._wide = spec.model.wide
        self._looked = 0  # examples, of which one in LOOKED was looked at
        self._seen = np.zeros(1, np.int64)
        self._ring = _Ring(
            losses=np.zeros(_SIZE),
            wide_losses=np.zeros(_SIZE),
            predictions=np.zeros(_SIZE),
            clicked=np.zeros(_SIZE, np.bool_),
            bins=np.zeros(_SIZE, np.uint16),
            slices=np.zeros((len(self.slices), _SIZE), np.uint8),
            weights=np.ones(_SIZE),
        )

    def look(self, weights: Weights, features: Features, fnw: NDArray[np.bool_], read: Callable[[int], Mapping[str, Value]]) -> Seen:
        """Look at examples before they are learned; return what :meth:`observe` takes of them.

        Args:
            weights: What will learn them.
            features: The N examples.
            fnw: Which come from a stream whose clicks come later, ``(N,)``.
            read: Returns the features of one, by their names.
        """
        logits = wide_logits(weights, features, int(-self._looked % LOOKED), LOOKED, self.values, self.unseen)
        self._looked += len(logits)
        if fnw.any():
            delayed = fnw & np.isfinite(logits)
            logits[delayed] = stream_logits(logits[delayed])
        slices = [each.of(features, read) for each in self.slices]
        return Seen(logits, np.array(slices, np.uint8).reshape(len(slices), len(logits)))

    def observe(self, logits: NDArray[np.float32], labels: NDArray[np.float32], seen: Seen, negative_weight: float = 1.0) -> None:
        """Take the next examples, ``(N,)``, as they were predicted, then learned; one whose logit is not finite was not learned.

        Each example without a click stands for ``negative_weight`` of them, of which the others were left out.
        """
        _take(logits, seen.wide, labels, seen.slices, negative_weight, self._seen, self._ring)

    def window(self, examples: int) -> WindowScores:
        """Return the scores of the newest so many examples, at most the ring's."""
        sums, bins = self._sums(examples)
        scores, counts = _scored(sums[0], bins[0])
        entropy = scores.normalized_entropy
        return WindowScores(
            scores,
            click_rate=int(counts[1]) / scores.examples if scores.examples else None,
            gain_over_base_rate=None if entropy is None else 1 - entropy,
            gain_over_wide=1 - float(sums[0, 2] / sums[0, 3]) if self._wide and sums[0, 3] else None,
        )

    def by_slice(self) -> dict[tuple[str, str], Scores]:
        """Return (field, value) → the scores of its examples among the newest 100,000; the value is "other" for all but the first 20."""
        found = {}
        for index, slices in enumerate(self.slices):
            sums, bins = self._sums(_SIZE, index)
            for name, number in (*slices.names.items(), (OTHERS, SLICES)):
                found[slices.field.name, name] = _scored(sums[number], bins[number])[0]
        return found

    def calibration_curve(self) -> list[Group]:
        """Return at most 20 groups of the newest 100,000 examples, about equally large, in ascending order of the prediction."""
        return calibration_groups(self._sums(_SIZE).bins[0], GROUPS)

    def _sums(self, examples: int, chosen: int | None = None) -> _Sums:
        """Return the sums over the newest examples as a whole, or by the slices of a chosen field, whose bins are four times as wide."""
        slices, count, bins = self._ring.slices[:0], 1, _BINS
        if chosen is not None:
            slices, count, bins = self._ring.slices[chosen : chosen + 1], SLICES + 1, _BINS // 4
        found = _Sums(np.zeros((count, 4)), np.zeros((count, bins, 2)))
        _add_up(self._ring, slices, int(self._seen[0]), examples, found)
        return found


def _scored(sums: NDArray[np.float64], bins: NDArray[np.float64]) -> tuple[Scores, NDArray[np.float64]]:
    counts = bins.sum(axis=0)  # (2,)
    return scores_of(sums[:2], counts, area_under_curve(bins)), counts


@inner_ordered_sum
def _loss(logit: float, clicked: bool) -> float:
    return float(max(logit, 0.0) - logit * clicked + np.log1p(np.exp(-abs(logit))))


@kernel
def _find(
    known: NDArray[np.uint64], numbers: NDArray[np.uint8], keys: NDArray[np.uint64], at: NDArray[np.int64], found: NDArray[np.uint8]
) -> None:
    for n in range(at.shape[0]):
        for k in range(known.shape[0]):
            if known[k] == keys[at[n]]:
                found[n] = numbers[k]
                break


@ordered_sum
def _take(
    logits: NDArray[np.float32],
    wide: NDArray[np.float64],
    labels: NDArray[np.float32],
    slices: NDArray[np.uint8],
    negative_weight: float,
    seen: NDArray[np.int64],
    ring: _Ring,
) -> None:
    size, per_unit = len(ring.losses), _BINS / (2 * REACH)
    for n in range(len(logits)):
        logit, clicked = np.float64(logits[n]), labels[n] > 0
        if not np.isfinite(logit):
            continue
        index = seen[0] % size
        tail = np.exp(-abs(logit))
        ring.losses[index] = _loss(logit, clicked)
        ring.wide_losses[index] = _loss(wide[n], clicked)
        ring.predictions[index] = (1.0 if logit >= 0 else tail) / (1.0 + tail)
        ring.clicked[index] = clicked
        ring.weights[index] = 1.0 if clicked else negative_weight
        ring.bins[index] = int(min(max((logit + REACH) * per_unit, 0.0), _BINS - 1.0))
        for c in range(slices.shape[0]):
            ring.slices[c, index] = slices[c, n]
        seen[0] += 1


@ordered_sum
def _add_up(ring: _Ring, slices: NDArray[np.uint8], seen: int, examples: int, found: _Sums) -> None:
    size, width = len(ring.losses), _BINS // found.bins.shape[1]
    for t in range(max(0, seen - min(examples, size)), seen):
        index = t % size
        s = int(slices[0, index]) if slices.shape[0] else 0
        weight = ring.weights[index]
        found.sums[s, 0] += weight * ring.losses[index]
        found.sums[s, 1] += weight * ring.predictions[index]
        if ring.wide_losses[index] >= 0:
            found.sums[s, 2] += weight * ring.losses[index]
            found.sums[s, 3] += weight * ring.wide_losses[index]
        found.bins[s, ring.bins[index] // width, int(ring.clicked[index])] += weight
