"""``sml evaluate``: progressive validation on a recorded file; no log is needed.

Each example is predicted, scored, then learned, in the file's order, one a step. The learner does the same with the same examples, so
its weights have the same digest.
"""

import time
from collections.abc import Iterable, Iterator
from itertools import islice
from operator import gt
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from model.evaluation import RunningScores
from model.features import Encoder
from model.online import OnlineModel
from model.progressive import learn_and_score
from model.settings import Spec, TableSettings
from service.screen import counting
from service.settings import Settings
from stream.files import Logged, read

T = TypeVar("T")

BATCH = 4096  # examples encoded together; what is learned does not depend on it


class Evaluation:
    """A model, scored on each example before it learns it."""

    def __init__(self, spec: Spec) -> None:
        self.model = OnlineModel(spec)
        self.scores = RunningScores()
        self.bad = 0  # rows with a feature that its field does not accept
        self.undone = 0  # steps that were not finite
        self.backwards = 0  # rows earlier than the row before
        self._encoder = Encoder(spec.fields)
        self._last = -1  # time

    def learn(self, batch: list[Logged]) -> None:
        """Predict, score and learn each example, in order."""
        times = [logged.time for logged in batch]
        self.backwards += sum(map(gt, [self._last, *times], times))
        self._last = times[-1]
        clicked = np.array([logged.label for logged in batch], np.float32)  # (N,)
        features = [logged.features for logged in batch]
        _, misfits, undone = learn_and_score(self.model, self._encoder, self.scores, features, times, clicked)
        self.bad += len(misfits)
        self.undone += len(undone)

    def result(self) -> dict[str, Any]:
        """Return what ``--json`` prints, except the speed."""
        return {
            **self.scores.total()._asdict(),
            "weights_digest": self.model.digest(),
            "bad": self.bad,
            "excluded": self.undone,
            "in_time_order": not self.backwards,
        }


def evaluate(path: Path, settings: Settings) -> dict[str, Any]:
    """Evaluate on the file at ``path``, with progress on stderr.

    Raises:
        OSError: the file can't be read.
    """
    compile_kernels(settings.spec)
    evaluation = Evaluation(settings.spec)
    start = time.perf_counter()
    for batch in counting(batches(read(path, settings.data), BATCH), path.name):
        evaluation.learn(batch)
    seconds = time.perf_counter() - start
    result = evaluation.result()
    return {**result, "examples_per_second": round(result["examples"] / seconds, 1)}


def compile_kernels(spec: Spec) -> None:
    """Compile the kernels, by an example without features, so that compiling does not count in the speed."""
    small = Evaluation(spec.model_copy(update={"table": TableSettings(capacity=8)}))
    small.learn([Logged(number=0, time=0, label=0, features={}, clicked_at=None)])
    small.result()


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Split into lists of ``size``; the last may be shorter."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
