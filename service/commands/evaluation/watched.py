"""An evaluation that is watched: its loss in blocks, beside those of others on the same rows, and what its page shows."""

import reprlib
import time
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.encoding.keys import FeatureError
from model.evaluation.scores import RunningScores, log_losses
from model.settings import Field, Spec, TableSettings
from service.commands.evaluation.evaluate import Evaluation, Protocol
from service.report.blocks import Blocks
from service.report.field_worth import FieldWorth
from service.report.slices import Slices
from stream.files.columns import LoggedBlock
from stream.files.layout import Logged
from stream.sampling import Sampling

BATCH = 256  # rows: a row's field worth is that of weights at most so much older than those that predict it
_FEW, _SOME, _AT_MOST = 2, 12, 4  # values of a field that is a slice by itself, and how many such fields are taken

_NOTHING = 1e-30  # a rate or a spread under which nothing moves
_FROZEN = {"network": "dnn", "skip": "none", "hidden": (1,), "embedding": 1, "records": False}
_FROZEN |= {"tower_rate": _NOTHING, "embedding_rate": _NOTHING, "embedding_std": _NOTHING}


def wide_alone(spec: Spec) -> Spec:
    """Return a logistic regression of the same fields: the wide part and the bias, beside a tower that is 0 and stays so."""
    return spec.model_copy(update={"model": spec.model.model_copy(update={**_FROZEN, "wide": True})})


def base_rate_alone(spec: Spec) -> Spec:
    """Return a model that predicts the click rate so far."""
    update = {**_FROZEN, "wide": False, "wide_rate": _NOTHING, "base_rate": True}
    return spec.model_copy(update={"model": spec.model.model_copy(update=update), "table": TableSettings(capacity=8)})


class SetAside(NamedTuple):
    """Why rows were set aside."""

    field: str
    expected: str
    example: str  # the first such value
    rows: int


class _Noted(RunningScores):
    """Scores that also note each prediction, until it is taken."""

    def __init__(self) -> None:
        super().__init__()
        self._noted: list[tuple[NDArray[Any], NDArray[Any]]] = []

    def update(self, logits: NDArray[Any], labels: NDArray[Any], negative_weight: float = 1.0) -> None:
        super().update(logits, labels, negative_weight)
        self._noted.append((logits, labels))

    def take(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the logits and labels since the last time, both ``(N,)``."""
        noted, self._noted = self._noted, []
        logits, labels = zip(*noted, strict=True) if noted else ([np.empty(0)], [np.empty(0)])
        return np.concatenate(logits), np.concatenate(labels)


class Watched:
    """One model among those that learn the same rows.

    Args:
        name: What it is called on the page.
        spec: What the model is.
        protocol: When an example is predicted.
        blocks: Its losses are added here, as those of ``series``.
        series: Its index.
        sampling: Which negatives it learns; None: all. All are scored.
    """

    def __init__(self, name: str, spec: Spec, protocol: Protocol, blocks: Blocks, series: int, sampling: Sampling | None = None) -> None:
        self.name, self.spec = name, spec
        self.scores = _Noted()
        self.evaluation = Evaluation(spec, protocol, self.scores, sampling)
        self.seconds = 0.0  # of the processor's time, that it took to learn
        self._blocks, self._series = blocks, series
        self._waiting: deque[tuple[int, list[int]]] = deque()  # of each row that is not scored: its index, and its code in each of slices
        self.slices: list[Slices] = []

    def learn(self, batch: list[Logged]) -> dict[int, FeatureError]:
        """Predict, score and learn each example, in order; return the index of each that no field takes, and the error."""
        start = time.process_time()
        misfits = self.evaluation.learn(LoggedBlock.of(batch))
        self.seconds += time.process_time() - start
        for n, logged in enumerate(batch):
            if n not in misfits:
                codes = [slices.code(logged.features, logged.time) for slices in self.slices]
                self._waiting.append((logged.number - 1, codes))
        self._score()
        return misfits

    def finish(self) -> None:
        """Learn what the protocol holds back until the stream ends."""
        start = time.process_time()
        self.evaluation.finish()
        self.seconds += time.process_time() - start
        self._score()

    def _score(self) -> None:
        logits, labels = self.scores.take()
        rows = [self._waiting.popleft() for _ in range(len(logits))]
        done = np.flatnonzero(np.isfinite(logits))
        logits, labels = logits[done], labels[done]
        self._blocks.add(self._series, np.array([rows[n][0] for n in done], np.int64), log_losses(logits, labels))
        for index, slices in enumerate(self.slices):
            slices.add(np.array([rows[n][1][index] for n in done], np.int64), logits, labels)

    def result(self) -> dict[str, Any]:
        """Return its scores, and its speed by the processor's time, without that of reading."""
        result = self.evaluation.result()
        return {**result, "examples_per_second": round(result["examples"] / self.seconds, 1)}


class Detailed(Watched):
    """A model whose page shows more: its slices, what its fields are worth, and what was set aside.

    Args:
        sliced: The names of the fields to slice by; None: some with few values in the first batch.
    """

    def __init__(
        self,
        name: str,
        spec: Spec,
        protocol: Protocol,
        blocks: Blocks,
        series: int,
        sampling: Sampling | None,
        sliced: Sequence[str] | None,
    ) -> None:
        super().__init__(name, spec, protocol, blocks, series, sampling)
        self.worth = FieldWorth(spec)
        self._sliced = sliced
        self._reasons: dict[tuple[str, str], tuple[str, int]] = {}  # field and what it expects → the first example, how many rows

    def learn(self, batch: list[Logged]) -> dict[int, FeatureError]:
        """Look at the rows as they are before they are learned, then learn them."""
        if self._sliced is None:
            self._sliced = [field.name for field in self.spec.fields if not field.of and _SOME >= _values(field, batch) >= _FEW][:_AT_MOST]
        if not self.slices:
            self.slices = [Slices(field) for field in self.spec.fields if field.name in self._sliced]
        self.worth.look(self.evaluation.model.weights, batch)
        misfits = super().learn(batch)
        for error in misfits.values():
            reason = (error.field, error.expected)
            example, rows = self._reasons.get(reason, (reprlib.repr(error.value), 0))
            self._reasons[reason] = (example, rows + 1)
        return misfits

    def set_aside(self) -> list[SetAside]:
        """Return why rows were set aside, the most frequent reason first."""
        found = [SetAside(*reason, *counted) for reason, counted in self._reasons.items()]
        return sorted(found, key=lambda each: -each.rows)


def _values(field: Field, batch: list[Logged]) -> int:
    """Return how many slices a field has in a batch; 0 if a value is none."""
    slices = Slices(field)
    try:
        return 1 + max(slices.code(logged.features, logged.time) for logged in batch)
    except (TypeError, ValueError, OverflowError):
        return 0


def watch(watched: Iterable[Watched], batches: Iterable[list[Logged]]) -> None:
    """Learn all rows with each model, in turn batch by batch."""
    watched = list(watched)
    for batch in batches:
        for each in watched:
            each.learn(batch)
    for each in watched:
        each.finish()
