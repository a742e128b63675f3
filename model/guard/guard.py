"""The guard: judges whether weights that were just learned are fit to be served. A version that is not is held.

It is held where a check fails (:mod:`model.guard.checks`), and beside that for one of two reasons:

    recovery     every check passes again, but has not done so for a whole window yet
    person       somebody said so

The *good time* is the last 16,384 examples or so whose versions were good; it stands still while versions are held, so that what is held
can't become what is compared with. Judging begins after a good time that long. Nothing here reads a clock: the same examples, and the same
versions held among them, give the same state.
"""

import json
import math
from collections.abc import Mapping
from typing import Self

import numpy as np
from numpy.typing import NDArray

from model.array_file import Arrays
from model.encoding.features import Features
from model.guard import checks
from model.guard.sample import GOLDEN_EVERY, RECENT_EVERY, SIZE, Kept, Sample
from model.guard.window import LAST, Window
from model.online import OnlineModel

WARM = SIZE * GOLDEN_EVERY  # examples before the first judgement
PATIENCE = WARM  # examples for which log loss and calibration hold a version though golden examples show no harm
CALM = 86_400_000  # ms of event time for which golden examples hold a version though log loss and calibration are fine

CHECKS = ("finite", "norm", "log_loss", "calibration", "golden", "recovery", "person")
_UNJUDGED = {"values", "recovery", "person"}  # reasons that say nothing of this version


class Guard:
    """Judges each version, and remembers what the good ones were like.

    Attributes:
        held: why the last version was held: the check and what it found; empty if that version was good.
        recent: a sample of the last 1,024 examples.
        golden: a sample of the good time.
    """

    def __init__(self) -> None:
        self.held: dict[str, str] = {}
        self.golden, self.recent = Sample(), Sample()
        self._begin()

    def _begin(self) -> None:
        """Begin a good time."""
        self._window = Window()
        self._norm = math.inf  # of the last good version's dense weights
        self._failed_at = self._failing_since = -1  # in examples: the last check that failed; since when those of the window fail
        self._calm_since = -1  # event time, ms, since when only golden examples fail
        self.golden.clear()

    def observe(self, features: Features, logits: NDArray[np.float32], labels: NDArray[np.float32], negative_weight: float = 1.0) -> None:
        """Take the next examples as they were predicted and learned, ``(N,)``; one whose logit is not finite was not.

        Each example without a click stands for ``negative_weight`` of them, of which the others were left out.
        """
        if not len(labels):
            return
        fields, finite = (len(features.starts) - 1) // len(labels), np.isfinite(logits)
        numbers = self._window.seen + np.cumsum(finite)
        for n in np.flatnonzero(finite & (numbers % RECENT_EVERY == 0)).tolist():
            example = Kept.of(features, fields, n, float(logits[n]), bool(labels[n] > 0))
            self.recent.add(example)
            if numbers[n] % GOLDEN_EVERY == 0 and not self.held:
                self.golden.add(example)
        self._window.update(logits, labels, good=not self.held, negative_weight=negative_weight)

    def forget(self, key: int) -> None:
        """Drop the examples that hold a value."""
        self.golden.forget(key)
        self.recent.forget(key)

    def judge(self, model: OnlineModel, arrays: Arrays, time: int | None) -> dict[str, str]:
        """Return why the weights must be held: check → what it found; empty if they may be served.

        Args:
            model: The model with these weights.
            arrays: What would be published of them.
            time: Up to which event time they have learned, epoch ms.
        """
        found = checks.of_weights(arrays) or self._checked(model, time)
        if found:
            found |= checks.of_values(model.spec.fields, self.recent, self.golden)
        return found | {reason: text for reason, text in self.held.items() if reason == "person"}

    def _checked(self, model: OnlineModel, time: int | None) -> dict[str, str]:
        if self._window.seen < WARM:
            return {}
        window, golden = checks.of_window(self._window), checks.of_golden(model, self.golden)
        if window and not golden and 0 <= self._failing_since < self._window.seen - PATIENCE:
            window = {}
        if golden and not window and self._is_calm(time):
            golden = {}
        found = checks.of_norm(_norm(model), self._norm) | window | golden
        passed = self._window.seen - self._failed_at
        if self.held and not found and self._failed_at >= 0 and passed < LAST:
            return {"recovery": f"the checks pass again, for {passed:,} examples of {LAST:,}"}
        return found

    def settle(self, model: OnlineModel, held: Mapping[str, str], time: int | None) -> None:
        """Take note of what became of the version with these weights: published, or ``held`` and why."""
        if self.held and not held and self._is_calm(time):
            self._begin()
        seen = self._window.seen
        failing = seen >= WARM and bool(checks.of_window(self._window))
        self._failing_since = (seen if self._failing_since < 0 else self._failing_since) if failing else -1
        if failing or not held:
            self._calm_since = -1
        elif "golden" in held and self._calm_since < 0 and time is not None:
            self._calm_since = time
        if held.keys() - _UNJUDGED:
            self._failed_at = seen
        if not held:
            self._norm = _norm(model)
        self.held = dict(held)

    def approve(self) -> None:
        """Begin a good time with what is learned now; after a person's hold alone, go on with the one before."""
        if self.held.keys() - {"person"}:
            self._begin()
        self.held = {}

    def with_other_fields(self) -> Self:
        """Drop the samples, whose examples have other fields, and return the guard itself."""
        self.golden.clear()
        self.recent.clear()
        return self

    def _is_calm(self, time: int | None) -> bool:
        return self._calm_since >= 0 and time is not None and time - self._calm_since >= CALM

    def state(self) -> Arrays:
        """Return everything as arrays, copied."""
        parts = {"window": self._window.state(), "golden": self.golden.state(), "recent": self.recent.state()}
        arrays = {f"{part}/{name}": array for part, state in parts.items() for name, array in state.items()}
        return arrays | {
            "marks": np.array([self._failed_at, self._failing_since, self._calm_since], np.int64),
            "norm": np.array([self._norm]),
            "held": np.array(list(json.dumps(self.held).encode()), np.int64),
        }

    @classmethod
    def from_state(cls, arrays: Arrays) -> Self:
        """Return what :meth:`state` was called on; a new guard where there are no arrays, as in earlier checkpoints."""
        guard = cls()
        if not arrays:
            return guard

        def under(part: str) -> Arrays:
            return {name.removeprefix(part): array for name, array in arrays.items() if name.startswith(part)}

        guard._window = Window.from_state(under("window/"))
        guard.golden = Sample.from_state(under("golden/"))
        guard.recent = Sample.from_state(under("recent/"))
        guard._failed_at, guard._failing_since, guard._calm_since = arrays["marks"].tolist()
        guard._norm = float(arrays["norm"][0])
        guard.held = json.loads(bytes(arrays["held"].tolist()))
        return guard


def _norm(model: OnlineModel) -> float:
    return float(np.linalg.norm(model.weights.dense))
