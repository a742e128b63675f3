"""SML itself, with the settings of the log as they stand, and the click rate alone.

Axes: N examples, S seeds.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.accuracy.recorded import Floats, Ints, RecordedLog
from model.kernels.forward import Shown
from model.online import OnlineModel
from model.weights import sigmoid


def sml(changes: Mapping[str, Any], log: RecordedLog, known: Ints, seeds: Sequence[int]) -> Callable[[], Floats]:
    """Return the runs of SML, with ``changes`` to the settings of its model."""

    def run() -> Floats:
        logits = np.empty((len(seeds), len(log)), np.float32)
        for seed, predicted in zip(seeds, logits, strict=True):
            model = log.settings.model.model_copy(update={**changes, "seed": seed})
            learner = OnlineModel(log.settings.model_copy(update={"model": model}).spec)
            learner.learn(log.features, log.labels, shown=Shown(log.features, known, predicted))
        return sigmoid(logits.astype(np.float64))

    return run


def base_rate(log: RecordedLog, known: Ints, _: Sequence[int]) -> Callable[[], Floats]:
    """Return the run of the click rate so far, with half a click and half an impression without one more."""

    def run() -> Floats:
        clicks = np.concatenate([[0], np.cumsum(log.labels, dtype=np.float64)])
        return np.array([(clicks[known] + 0.5) / (known + 1)])

    return run
