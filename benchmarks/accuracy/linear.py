"""Linear models, and Vowpal Wabbit's pairs: one weight for each value, or for each two that occur together.

A number is the value of its bucket, as in SML's table. Axes: N examples, S seeds, of which these need one.
"""

import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accuracy.recorded import Floats, Ints, RecordedLog, steps

BITS = 24  # of Vowpal Wabbit's table: no value shares a weight, and few pairs do
LEARNED = "-"  # the tag of a line whose prediction is not wanted


def vowpal_wabbit(options: str, log: RecordedLog, known: Ints, _: Sequence[int]) -> Callable[[], Floats]:
    """Return the run of Vowpal Wabbit, which reads the schedule as a file of its own text.

    A line without a label is predicted and not learned. One with a label is predicted, then learned: that prediction is the example's,
    where nothing else would be learned between the two.
    """
    folder = tempfile.TemporaryDirectory()
    data, predictions = Path(folder.name, "examples"), Path(folder.name, "predictions")
    at_once = (known == np.arange(len(log))) & (known < known[-1])
    starts, values = log.row_starts.tolist(), log.values.astype(str)

    def line(n: int, label: str, tag: object) -> str:
        return f"{label} '{tag}|f {' '.join(values[starts[n] : starts[n + 1]])}\n"

    with data.open("w") as file:
        for learned, shown in steps(known):
            rows = range(learned.start, learned.stop)
            file.writelines(line(n, "1" if log.labels[n] else "-1", n if at_once[n] else LEARNED) for n in rows)
            file.writelines(line(n, "", n) for n in range(shown.start, shown.stop) if not at_once[n])

    def run() -> Floats:
        from vowpalwabbit import Workspace  # noqa: PLC0415

        Workspace(f"--loss_function logistic --link logistic -b {BITS} --quiet -d {data} -p {predictions} {options}").finish()
        found = np.empty((1, len(log)))
        for text in predictions.read_text().splitlines():
            probability, tag = text.split()
            if tag != LEARNED:
                found[0, int(tag)] = float(probability)
        folder.cleanup()
        return found

    return run


def river(new: Callable[[], Any], log: RecordedLog, known: Ints, _: Sequence[int]) -> Callable[[], Floats]:
    """Return the run of a linear model of River."""
    starts, labels = log.row_starts.tolist(), log.labels.tolist()

    def run() -> Floats:
        model = new()
        found = np.empty((1, len(log)))
        for learned, shown in steps(known):
            for n in range(learned.start, learned.stop):
                model.learn_one(dict.fromkeys(log.values[starts[n] : starts[n + 1]].tolist(), 1.0), bool(labels[n]))
            for n in range(shown.start, shown.stop):
                found[0, n] = model.predict_proba_one(dict.fromkeys(log.values[starts[n] : starts[n + 1]].tolist(), 1.0))[True]
        return found

    return run


def adagrad() -> Any:
    """Return River's logistic regression by Adagrad."""
    from river import linear_model, optim  # noqa: PLC0415

    return linear_model.LogisticRegression(optim.AdaGrad(0.1))


def ftrl() -> Any:
    """Return River's logistic regression by FTRL-proximal."""
    from river import linear_model, optim  # noqa: PLC0415

    return linear_model.LogisticRegression(optim.FTRLProximal(alpha=0.1))


LINEAR = {
    "Vowpal Wabbit": partial(vowpal_wabbit, ""),
    "Vowpal Wabbit, -q ::": partial(vowpal_wabbit, "-q ::"),
    "Vowpal Wabbit, --ftrl": partial(vowpal_wabbit, "--ftrl"),
    "River, logistic regression": partial(river, adagrad),
    "FTRL-proximal (River)": partial(river, ftrl),
}
