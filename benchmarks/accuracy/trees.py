"""Trees over target-encoded values: LightGBM, retrained again and again on all rows before, and River's forest.

Each value of a field is told by its click rate so far and how often it was seen, as a site's feature store has them: by the labels that
are known when the row is predicted, and a row is trained on with what was told when it was predicted. So no label tells of itself.

Axes: N examples, F fields, G fields that are encoded, Q fields that have numbers.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.recorded import Floats, Ints, RecordedLog, steps

PRIOR = 20.0  # examples at the click rate of all that each value's rate is shrunk by
FIRST, GROWTH = 250, 0.25  # rows before the first training, and the share of new ones before the next
MOST = 5_000  # new rows before it, at most
TREES = 100
LIGHTGBM = {  # the best of six on Avazu and Criteo: its defaults lose 3 to 8 % there, since they fit noise
    "objective": "binary",
    "learning_rate": 0.05,
    "num_leaves": 15,
    "min_data_in_leaf": 100,
    "feature_fraction": 0.4,
    "lambda_l2": 10,
    "num_threads": 1,
    "verbosity": -1,
}


class TargetEncoder:
    """The click rate and the logarithm of the count of each field's values so far; of a list, their means."""

    def __init__(self, log: RecordedLog) -> None:
        encoded = [f for f, field in enumerate(log.fields) if field.kind in ("categorical", "multi")]
        self._log, self._fields = log, np.array(encoded, np.int64)
        self._seen, self._clicked = np.zeros(int(log.values.max()) + 1), np.zeros(int(log.values.max()) + 1)
        self._examples = self._clicks = 0.0
        self.rows = np.empty((len(log), 2 * len(encoded) + log.numbers.shape[1]), np.float32)

    @property
    def rate(self) -> float:
        """Return the click rate so far."""
        return (self._clicks + 0.5) / (self._examples + 1)

    def learn(self, rows: slice) -> None:
        """Count the clicks of some examples."""
        starts = self._log.row_starts
        values = self._log.values[starts[rows.start] : starts[rows.stop]]
        labels = self._log.labels[rows]
        np.add.at(self._seen, values, 1)
        np.add.at(self._clicked, values, np.repeat(labels, np.diff(starts[rows.start : rows.stop + 1])))
        self._examples += len(labels)
        self._clicks += float(labels.sum())

    def encode(self, rows: slice) -> NDArray[np.float32]:
        """Write down what is told of some examples now, in their ``rows``, and return it."""
        fields = len(self._log.fields)
        starts = self._log.starts[rows.start * fields : rows.stop * fields + 1]
        values = self._log.values[starts[0] : starts[-1]]
        told = np.stack([(self._clicked[values] + PRIOR * self.rate) / (self._seen[values] + PRIOR), np.log1p(self._seen[values])])
        means = np.add.reduceat(told, starts[:-1] - starts[0], axis=1) / np.diff(starts)  # each field has a value at least
        means = means.reshape(2, -1, fields)[:, :, self._fields]  # (2, n, G)
        self.rows[rows] = np.concatenate([*means, self._log.numbers[rows]], axis=1)
        return self.rows[rows]


def lightgbm(log: RecordedLog, known: Ints, seeds: Sequence[int]) -> Callable[[], Floats]:
    """Return the runs of LightGBM; before its first training it predicts the click rate so far."""

    def run() -> Floats:
        encoder, rate = TargetEncoder(log), np.empty(len(log))
        trainings = [(0, 0)]  # examples that are learned, and the first that is predicted then
        for learned, shown in steps(known):
            encoder.learn(learned)
            encoder.encode(shown)
            rate[shown] = encoder.rate
            if learned.stop - trainings[-1][0] >= min(MOST, max(FIRST, GROWTH * trainings[-1][0])):
                trainings.append((learned.stop, shown.start))
        return np.array([retrained(encoder.rows, log.labels, rate, trainings, seed) for seed in seeds])

    return run


def retrained(
    rows: NDArray[np.float32], labels: NDArray[np.float32], before: Floats, trainings: list[tuple[int, int]], seed: int
) -> Floats:
    """Return what models predict, each trained on the examples before it; ``before`` is predicted before the first of them."""
    from lightgbm import Dataset, train  # noqa: PLC0415

    found = before.copy()
    for (examples, first), (_, end) in pairwise([*trainings[1:], (len(rows), len(rows))]):
        model = train(LIGHTGBM | {"seed": seed}, Dataset(rows[:examples], labels[:examples]), TREES)
        found[first:end] = model.predict(rows[first:end])
    return found


def forest(rows: int, log: RecordedLog, known: Ints, seeds: Sequence[int]) -> Callable[[], Floats]:
    """Return the runs of a forest of River on the first ``rows`` examples, since it is slow; what it doesn't predict is NaN."""

    def run() -> Floats:
        found = np.full((len(seeds), len(log)), np.nan)
        for seed, probabilities in zip(seeds, found, strict=True):
            model, encoder = adaptive_random_forest(seed), TargetEncoder(log)
            for learned, shown in steps(known[:rows]):
                for n in range(learned.start, learned.stop):
                    model.learn_one(dict(enumerate(encoder.rows[n].tolist())), bool(log.labels[n]))
                encoder.learn(learned)
                for n, told in enumerate(encoder.encode(shown).tolist(), shown.start):
                    probabilities[n] = model.predict_proba_one(dict(enumerate(told))).get(True, 0.5)
        return found

    return run


def adaptive_random_forest(seed: int) -> Any:
    """Return River's forest of ten trees, with what gave the lowest log loss on the first 4,000 rows of Criteo.

    Its defaults (naive Bayes in the leaves, detectors of drift) lose 2 % to it there, and its aggregated Mondrian forest as much.
    """
    from river import forest as forests  # noqa: PLC0415

    return forests.ARFClassifier(seed=seed, leaf_prediction="mc", drift_detector=None, warning_detector=None)
