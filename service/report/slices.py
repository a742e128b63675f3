"""How good the predictions were for each value of a field: its most frequent values by themselves, the others together.

Memory is fixed: the first ``MOST`` values are told apart, and the AUC is taken from bins of the logit.

Axes: N examples, V values, B bins.
"""

from collections.abc import Mapping
from math import frexp
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.encoding.features import CLOCKS
from model.encoding.keys import Value
from model.evaluation.scores import area_under_curve
from model.settings import Field
from model.weights import sigmoid

MOST = 500  # values that are told apart
SHOWN = 12  # of them, and every hour or weekday
_BINS, _REACH = 512, 8.0  # bins of the logit from -REACH to REACH
_LONGEST = 100  # characters of a value that are told apart
_OTHERS = MOST  # the code of all later values


class Slice(NamedTuple):
    """The examples with one value, or with all others."""

    value: str
    examples: int
    clicks: int
    prediction: float  # mean
    auc: float | None

    @property
    def calibration(self) -> tuple[float, float] | None:
        """Predicted clicks / clicks, and the half-width of its 95 % interval by the clicks' own noise; None without a click."""
        if not self.clicks:
            return None
        calibration = self.prediction * self.examples / self.clicks
        noise = (self.examples * self.prediction * (1 - self.prediction)) ** 0.5
        return calibration, 1.96 * calibration * noise / self.clicks


class Slices:
    """The slices of one field."""

    def __init__(self, field: Field) -> None:
        self.field = field
        self._codes: dict[float | str, int] = {}
        self._bins = np.zeros((MOST + 1, _BINS, 2), np.int64)  # the last index is 1 for a click
        self._predicted = np.zeros(MOST + 1)

    def code(self, features: Mapping[str, Value], time: int) -> int:
        """Return the code of an example's value."""
        value = _sliced(self.field, features, time)
        if value not in self._codes and len(self._codes) == MOST:
            return _OTHERS
        return self._codes.setdefault(value, len(self._codes))

    def add(self, codes: NDArray[np.int64], logits: NDArray[Any], labels: NDArray[Any]) -> None:
        """Score N examples, each array ``(N,)``."""
        bins = np.clip((logits + _REACH) * (_BINS / (2 * _REACH)), 0, _BINS - 1).astype(np.int64)
        np.add.at(self._bins, (codes, bins, (labels > 0).astype(np.int64)), 1)
        np.add.at(self._predicted, codes, sigmoid(logits))

    def shown(self) -> list[Slice]:
        """Return the most frequent values, in the order of their numbers if all are numbers, then the others together."""
        counts = self._bins.sum(axis=(1, 2))
        values = sorted(self._codes, key=lambda value: -counts[self._codes[value]])
        most = MOST if self.field.kind in CLOCKS else SHOWN
        first = [value for value in values[:most] if counts[self._codes[value]]]
        if not any(isinstance(value, str) for value in first):
            first.sort()
        named = [(_text(self.field, value), [self._codes[value]]) for value in first]
        others = [*(self._codes[value] for value in values[most:]), _OTHERS]
        return [self._slice(name, codes) for name, codes in [*named, ("all others", others)] if counts[codes].sum()]

    def _slice(self, name: str, codes: list[int]) -> Slice:
        bins = self._bins[codes].sum(axis=0)  # (B, 2)
        examples = int(bins.sum())
        return Slice(name, examples, int(bins[:, 1].sum()), float(self._predicted[codes].sum()) / examples, area_under_curve(bins))


def _sliced(field: Field, features: Mapping[str, Value], time: int) -> float | str:
    """Return what of a value tells its slice: of a number, the lower end of its octave."""
    if field.kind in CLOCKS:
        return int(CLOCKS[field.kind](time))
    value = features.get(field.name)
    if value is None or value in ("", []):
        return "missing"
    if field.kind != "numeric":
        return (", ".join(map(str, value)) if isinstance(value, list) else str(value))[:_LONGEST]
    number = float(value)  # type: ignore[arg-type]  # the encoder took it
    if number != number:  # noqa: PLR0124 - NaN
        return "missing"
    least = 2.0 ** (frexp(abs(number))[1] - 1) if number else 0.0
    return least if number >= 0 else -least


def _text(field: Field, value: float | str) -> str:
    if field.kind == "weekday":
        return ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")[int(value)]
    if field.kind == "hour":
        return f"{value:02}:00"
    if isinstance(value, str) or value == 0:
        return f"{value}" if isinstance(value, str) else "0"
    return f"{value:g} to {2 * value:g}"
