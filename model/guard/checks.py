"""The guard's checks: each compares what is learned now with the good time, and returns its name and what it found; nothing if it passes.

    finite       a weight to be published is not a finite number
    norm         the dense weights are ``NORM`` times as long as in the last good version
    log_loss     the last n examples were predicted worse than the good ones before by ``LOSS`` entropies, each compared with its click rate
    calibration  their clicks and their predictions differ by odds of ``ODDS``, unless those of the good ones did
    golden       predictions of 64 examples of the good time have moved by ``MOVED`` of their entropy since they were learned,
                 or by ``REORDERED`` once a shift of them all is taken out
    values       one value has taken over a field: no check, but a hint at what made the others fail

``log_loss`` and ``calibration`` are tried for n from 256 to 4,096, and fail only where chance does not explain it.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from model.array_file import Arrays
from model.guard.sample import RECENT_EVERY, SIZE, Sample
from model.guard.window import GOOD, Sums, Window, entropy
from model.kernels.delay import stream_logits
from model.online import OnlineModel
from model.settings import Field
from model.weights import sigmoid

NORM, LOSS, ODDS, MOVED, REORDERED = 1.5, 0.15, 3.0, 0.25, 0.1
SIGMA = 6.0  # standard errors, which log loss and clicks must be off by, too
FLOOD = 0.5  # share of one value that is worth a word where it was half as frequent before

_LARGEST = 1 - 1e-12  # probability, so that its logarithm is finite


def of_weights(arrays: Arrays) -> dict[str, str]:
    """Check that all weights to be published are finite."""
    names = [name for name in ("dense", "rows") if not np.isfinite(arrays[name]).all()]
    return {"finite": f"not all weights are finite numbers: {' and '.join(names)}; roll back"} if names else {}


def of_norm(norm: float, good: float) -> dict[str, str]:
    """Check the norm of the dense weights beside that of the last good version's."""
    if norm <= NORM * good:
        return {}
    return {"norm": f"the norm of the dense weights is {norm:.3g}; in the last good version {good:.3g}"}


def of_window(window: Window) -> dict[str, str]:
    """Check log loss and calibration."""
    good, found = window.good, dict[str, str]()
    for sums in window.recent():
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


def of_golden(model: OnlineModel, golden: Sample) -> dict[str, str]:
    """Check the predictions of golden examples."""
    if len(golden) < SIZE // 2:
        return {}
    then, now = golden.logits, model.weights.predict(golden.features).astype(np.float64)
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


def of_values(fields: Sequence[Field], recent: Sample, golden: Sample) -> dict[str, str]:
    """Name the fields that one value has taken over; no clock, whose value is always the same for a while."""
    shares = zip(fields, recent.top_shares(), golden.top_shares(), strict=False)  # an empty sample has none
    found = [
        f"{field.name}: {now:.0%}, before {then:.0%}"
        for field, now, then in shares
        if field.kind not in ("hour", "weekday") and now >= max(FLOOD, 2 * then)
    ]
    return {"values": f"share of the most frequent value in the last {SIZE * RECENT_EVERY:,}: {'; '.join(found)}"} if found else {}


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
