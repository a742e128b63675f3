"""Progressive validation: each example is predicted, then scored on that prediction and learned, in the stream's order.

    encode → predict → learn → score

The learner, ``sml evaluate`` and any study of a recorded stream learn by this, so the same examples give the same weights and scores.

Axes: N examples.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from model.encoding.features import Encoded, Features
from model.encoding.keys import FeatureError
from model.evaluation.scores import RunningScores
from model.kernels.delay import stream_logits
from model.online import Learned, OnlineModel

Learn: TypeAlias = Callable[[Features, NDArray[Any], NDArray[Any] | None, NDArray[np.bool_] | None], Learned]


class Outcome(NamedTuple):
    """What became of N examples; every index is one of theirs, in ascending order."""

    learned: Sequence[int]  # indices of the examples that were learned and scored
    misfits: dict[int, FeatureError]  # index → the feature that its field does not take
    undone: Sequence[int]  # indices of the examples whose step was not finite
    features: Features  # of the M examples without misfits
    logits: NDArray[np.float32]  # (M,) as they were scored; NaN where the step was undone
    labels: NDArray[np.float32]  # (M,)


def reweighed(labels: NDArray[np.float32], importance: NDArray[np.float32] | None, negative_weight: float) -> NDArray[np.float32]:
    """Return ``importance``, ``(N,)``, multiplied by ``negative_weight`` where there was no click."""
    factor = np.where(labels > 0, np.float32(1), np.float32(negative_weight))
    with np.errstate(over="ignore"):  # a weight that a rule allows may become infinite; its step will be undone
        return factor if importance is None else factor * importance


def predict_then_learn(
    model: OnlineModel,
    features: Features,
    labels: NDArray[Any],
    importance: NDArray[Any] | None = None,
    fnw: NDArray[np.bool_] | None = None,
    learn: Learn | None = None,
) -> Learned:
    """Learn N encoded examples; return the logits to score, each predicted before its example was learned.

    A logit is that of the labels' own stream (:func:`~model.kernels.delay.stream_logits` under ``fnw``), and NaN if the example's step
    was undone. The arguments are those of :meth:`~model.online.OnlineModel.learn`, in whose place ``learn`` is called if it is given.
    """
    logits, undone = (learn or model.learn)(features, labels, importance, fnw)
    if fnw is not None:
        logits = np.where(fnw, stream_logits(logits), logits)
    logits[undone] = np.nan
    return Learned(logits, undone)


def learn_and_score(
    model: OnlineModel,
    scores: RunningScores,
    encoded: Encoded,
    labels: NDArray[np.float32],
    importance: NDArray[np.float32] | None = None,
    fnw: NDArray[np.bool_] | None = None,
    negative_weight: float = 1.0,
    learn: Learn | None = None,
) -> Outcome:
    """Predict, learn and score N examples, in order.

    Args:
        model: The model, which learns.
        scores: The scores, which are updated.
        encoded: The keys of the examples.
        labels: 1 for a click, else 0, ``(N,)``.
        importance: What each example's gradient is multiplied by, ``(N,)``; None: 1.
        fnw: Which examples are of a stream where clicks come later, ``(N,)``; None: no example.
        negative_weight: How many examples each one without a click stands for, to learn and to score: others were left out.
        learn: What learns them; None: the model.
    """
    features, misfits = encoded
    if negative_weight != 1:
        importance = reweighed(labels, importance, negative_weight)
    indices: Sequence[int] = range(len(labels))
    if misfits:
        indices = [n for n in indices if n not in misfits]
        labels = labels[indices]
        importance = None if importance is None else importance[indices]
        fnw = None if fnw is None else fnw[indices]
    logits, undone = predict_then_learn(model, features, labels, importance, fnw, learn)
    scores.update(logits, labels, negative_weight)  # passes over what was undone
    if not undone:
        return Outcome(indices, misfits, [], features, logits, labels)
    without = set(undone)
    learned = [each for n, each in enumerate(indices) if n not in without]
    return Outcome(learned, misfits, [indices[n] for n in undone], features, logits, labels)
