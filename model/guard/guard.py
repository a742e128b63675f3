"""The guard: judges whether weights that were just learned are fit to be served. A version that is not is held.

    finite       a weight to be published is not a finite number
    norm         the dense weights are ``NORM`` times as long as in the last good version
    log_loss     the last n examples were predicted worse than the good ones before by ``LOSS`` entropies, each compared with its click rate
    calibration  their clicks and their predictions differ by odds of ``ODDS``, unless those of the good ones did
    golden       predictions of 64 examples of the good time have moved by ``MOVED`` of their entropy since they were learned,
                 or by ``REORDERED`` once a shift of them all is taken out
    values       one value has taken over a field: no check, but a hint at what made the others fail
    recovery     every check passes again, but has not done so for a whole window yet
    person       somebody said so

``log_loss`` and ``calibration`` are tried for n from 256 to 4,096, and fail only where chance does not explain it. The *good time* is the
last 16,384 examples or so whose versions were good; it stands still while versions are held, so that what is held can't become what
is compared with. Judging begins after a good time that long. Nothing here reads a clock: the same examples, and the same versions held
among them, give the same state.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from model.array_file import Arrays
from model.features import Features
from model.guard.sample import SIZE, Kept, Sample
from model.guard.window import GOOD, LAST, Sums, Window, entropy
from model.kernels.delay import stream_logits
from model.online import OnlineModel
from model.settings import Field
from model.weights import sigmoid

GOLDEN_EVERY, RECENT_EVERY = 256, 16
WARM = SIZE * GOLDEN_EVERY  # examples before the first judgement
NORM, LOSS, ODDS, MOVED, REORDERED = 1.5, 0.15, 3.0, 0.25, 0.1
SIGMA = 6.0  # standard errors, which log loss and clicks must be off by, too
PATIENCE = WARM  # examples for which log loss and calibration hold a version though golden examples show no harm
CALM = 86_400_000  # ms of event time for which golden examples hold a version though log loss and calibration are fine
FLOOD = 0.5  # share of one value that is worth a word where it was half as frequent before

CHECKS = ("finite", "norm", "log_loss", "calibration", "golden", "recovery", "person")
_UNJUDGED = {"values", "recovery", "person"}  # reasons that say nothing of this version
_LARGEST = 1 - 1e-12  # probability, so that its logarithm is finite


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
        found = _not_finite(arrays) or self._checked(model, time)
        if found:
            found |= self._concentration(model.spec.fields)
        return found | {reason: text for reason, text in self.held.items() if reason == "person"}

    def _checked(self, model: OnlineModel, time: int | None) -> dict[str, str]:
        if self._window.seen < WARM:
            return {}
        window, golden = self._of_window(), self._of_golden(model)
        if window and not golden and 0 <= self._failing_since < self._window.seen - PATIENCE:
            window = {}
        if golden and not window and self._is_calm(time):
            golden = {}
        found = self._of_norm(model) | window | golden
        passed = self._window.seen - self._failed_at
        if self.held and not found and self._failed_at >= 0 and passed < LAST:
            return {"recovery": f"the checks pass again, for {passed:,} examples of {LAST:,}"}
        return found

    def settle(self, model: OnlineModel, held: Mapping[str, str], time: int | None) -> None:
        """Take note of what became of the version with these weights: published, or ``held`` and why."""
        if self.held and not held and self._is_calm(time):
            self._begin()
        seen = self._window.seen
        failing = seen >= WARM and bool(self._of_window())
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

    def _of_norm(self, model: OnlineModel) -> dict[str, str]:
        norm = _norm(model)
        if norm <= NORM * self._norm:
            return {}
        return {"norm": f"the norm of the dense weights is {norm:.3g}; in the last good version {self._norm:.3g}"}

    def _of_window(self) -> dict[str, str]:
        good, found = self._window.good, dict[str, str]()
        for sums in self._window.recent():
            if "log_loss" not in found and _is_worse(sums, good):
                found["log_loss"] = (
                    f"over the last {sums.examples:,.0f} examples {sums.excess:+.3f} from that of always predicting their click rate; "
                    f"in good versions {good.excess:+.3f}"
                )
            if "calibration" not in found and _is_off(sums, good):
                found["calibration"] = (
                    f"of the last {sums.examples:,.0f} examples {sums.rate:.1%} were clicked, and {sums.mean_prediction:.1%} predicted"
                )
        return found

    def _of_golden(self, model: OnlineModel) -> dict[str, str]:
        if len(self.golden) < SIZE // 2:
            return {}
        then, now = self.golden.logits, model.weights.predict(self.golden.features).astype(np.float64)
        if model.spec.label_policy == "fnw":
            now = stream_logits(now).astype(np.float64)
        shift = float(np.mean(now - then))
        moved, reordered = _divergence(sigmoid(then), sigmoid(now)), _divergence(sigmoid(then), sigmoid(now - shift))
        if moved <= MOVED and reordered <= REORDERED:
            return {}
        return {
            "golden": (
                f"predictions of {len(then)} good examples moved by {moved:.2f} of their entropy, to {math.exp(shift):.2g} times "
                f"the odds, beside that by {reordered:.2f}; correlation with what they were {np.corrcoef(then, now)[0, 1]:+.2f}"
            )
        }

    def _concentration(self, fields: Sequence[Field]) -> dict[str, str]:
        """Name the fields that one value has taken over; no clock, whose value is always the same for a while."""
        shares = zip(fields, self.recent.top_shares(), self.golden.top_shares(), strict=False)  # an empty sample has none
        found = [
            f"{field.name}: {now:.0%}, before {then:.0%}"
            for field, now, then in shares
            if field.kind not in ("hour", "weekday") and now >= max(FLOOD, 2 * then)
        ]
        return {"values": f"share of the most frequent value in the last {SIZE * RECENT_EVERY:,}: {'; '.join(found)}"} if found else {}

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


def _not_finite(arrays: Arrays) -> dict[str, str]:
    names = [name for name in ("dense", "rows") if not np.isfinite(arrays[name]).all()]
    return {"finite": f"not all weights are finite numbers: {' and '.join(names)}; roll back"} if names else {}


def _norm(model: OnlineModel) -> float:
    return float(np.linalg.norm(model.weights.dense))


# Where examples have weights, clicks and log loss differ from what the predictions lead one to expect all the time: what counts is how they
# differed in the good time.
def _is_worse(sums: Sums, good: Sums) -> bool:
    """Return whether the log loss is too far above that of the good time, and by more than chance."""
    too_far = sums.excess - good.excess > LOSS * entropy(good.rate)
    usual = sums.expected + (good.loss - good.expected) * sums.examples / good.examples
    return too_far and sums.loss - usual > SIGMA * math.sqrt(max(1.0, _ratio(good)) * sums.loss_variance)


def _is_off(sums: Sums, good: Sums) -> bool:
    """Return whether clicks and predictions differ too much, and by more than chance."""
    too_far = abs(_offset(sums, 1.0) - _offset(good, 1 / GOOD)) > math.log(ODDS)
    return too_far and abs(sums.clicks - _ratio(good) * sums.predicted) > SIGMA * math.sqrt(_ratio(good) * sums.variance)


def _ratio(good: Sums) -> float:
    return good.clicks / good.predicted if good.predicted else 1.0


def _offset(sums: Sums, one: float) -> float:
    """Return how far the logit of the click rate is above that of the mean prediction, after half of ``one`` click and of one other."""
    return _logit((sums.clicks + one / 2) / (sums.examples + one)) - _logit(sums.mean_prediction)


def _logit(p: float) -> float:
    p = min(max(p, 1 - _LARGEST), _LARGEST)
    return math.log(p / (1 - p))


def _divergence(p: NDArray[np.float64], q: NDArray[np.float64]) -> float:
    """Return the Kullback-Leibler divergence of predictions ``q`` from ``p``, ``(K,)`` both, by the entropy of ``p``."""
    p, q = np.clip(p, 1 - _LARGEST, _LARGEST), np.clip(q, 1 - _LARGEST, _LARGEST)
    divergence = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    return float(divergence.sum() / -(p * np.log(p) + (1 - p) * np.log(1 - p)).sum())
