"""What a learner pays that has lost its checkpoints, by what it begins with: log loss over the examples that follow.

    python -m benchmarks.scale.restart ../shared/data

Half of each log is learned by the settings of `sml init`, then each contender goes on with the other half: predict, then learn
(protocol `usual`).
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.defaults.guard import Stream, recorded
from model.evaluation.progressive import predict_then_learn
from model.online import OnlineModel
from model.weights import sigmoid
from stream.settings import DataSettings

MOST = 90_000  # examples of a log
WINDOWS = (1_000, 10_000, MOST)  # examples after the restart
LOGS = {
    "avazu_sample.csv.gz": DataSettings(format="avazu"),
    "criteo_sample.tsv.gz": DataSettings(format="criteo"),
    "kuairand_pure.csv.gz": DataSettings(time="time_ms"),
}
CONTENDERS: dict[str, Callable[[OnlineModel], OnlineModel]] = {
    "a checkpoint of the archive": lambda before: OnlineModel.from_state(before.spec, before.state()),
    "the newest weights, accumulators anew": lambda before: OnlineModel.of_weights(before.weights, before.examples),
    "nothing": lambda before: OnlineModel(before.spec),
}


def losses(model: OnlineModel, stream: Stream) -> NDArray[np.float64]:
    """Return the log loss of each example, predicted before it is learned, ``(N,)``."""
    p = np.clip(sigmoid(predict_then_learn(model, stream.features, stream.labels).logits), 1e-9, 1 - 1e-9)
    return np.asarray(-np.log(np.where(stream.labels > 0, p, 1 - p)))


def main(folder: Path) -> None:
    """Print the table."""
    print("| log | begins with |" + "".join(f" first {count:,} |" for count in WINDOWS[:-1]) + " all that follow |")
    print("| --- | --- |" + " --- |" * len(WINDOWS))
    for name, data in LOGS.items():
        whole = recorded(folder / name, data, "")
        end = min(len(whole.labels), MOST)
        first, rest = whole.part(0, end // 2), whole.part(end // 2, end)
        before = OnlineModel(whole.spec)
        losses(before, first)
        exact = None
        for contender, begin in CONTENDERS.items():
            found = losses(begin(before), rest)
            means = [found[:count].mean() for count in WINDOWS]
            exact = exact or means
            cells = "".join(
                f" {mean:.4f} |" if mean == best else f" {mean:.4f} ({mean / best - 1:+.2%}) |"
                for mean, best in zip(means, exact, strict=True)
            )
            print(f"| {name.split('_')[0]}, {len(rest.labels):,} follow | {contender} |{cells}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
