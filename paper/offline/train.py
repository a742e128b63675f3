"""Train a network by Adam in mini-batches, and score its best epoch on the validation set on the test set.

A training depends on its settings alone: its seed decides the split, the initial weights and the order of the examples. On one machine and
number of threads that holds bit for bit; a GPU adds in an order of its own.

Shapes, in every comment below:
    B  batch size
    K  numeric fields
    C  categorical fields; F = K + C
    d  width of an embedding
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor, nn

from model.evaluation.scores import RunningScores
from model.layout import Layout
from model.networks.build import build
from model.networks.dnn import bind
from model.settings import Field, Spec
from paper.layers import QUANTILES, Layers, LayerWatcher
from paper.offline.dataset import Batch, DataError, Dataset, Rows, fields, split
from paper.runs import Run

AT_ONCE = 10_000  # examples that are predicted at once
WIDE = ("deepfm", "xdeepfm")  # DeepFM's first order and xDeepFM's linear part; the paper's other networks have no wide term


@dataclass(frozen=True)
class Recipe:
    """How networks are trained, with what the paper leaves open: we chose that once, on the validation sets of the samples.

    Attributes:
        batch: examples in a step; the paper's.
        rate: Adam's; the paper's.
        epochs: at most.
        patience: training ends after so many epochs in a row that are no better on the validation set.
        embedding: width of an embedding.
        embedding_std: spread of embeddings before the first step.
        cross_layers: of DCN and DCN-V2.
        cin: feature maps of each layer of xDeepFM.
        attention: width of each layer of AutoInt, which has one head, as in the paper.
    """

    batch: int = 10_000
    rate: float = 0.001
    epochs: int = 20
    patience: int = 2
    embedding: int = 16
    embedding_std: float = 0.01
    cross_layers: int = 3
    cin: tuple[int, ...] = (16, 16)
    attention: tuple[int, ...] = (32, 32, 32)


@dataclass(frozen=True)
class Training(Recipe, Run):
    """One network, trained once by a recipe; its seed is of the split, the initial weights and the order of the examples."""

    def spec(self, fields: tuple[Field, ...]) -> Spec:
        """Return the model as :mod:`model` describes it."""
        return Spec(model=self.model(wide=self.network in WIDE), fields=fields)


@dataclass(frozen=True)
class Outcome:
    """The outcome of a training, from the epoch that was best on the validation set; epoch 0 is before the first step.

    Attributes:
        epoch: the best one.
        epochs: how many were trained.
        valid_log_loss: that of the best epoch.
        log_loss: on the test set.
        auc: on the test set.
        logit: 5 %, 25 %, 50 %, 75 % and 95 % quantile of the logit on the test set.
        layers: what the hidden layers do on the test set.
        seconds: how long all of it took.
    """

    epoch: int
    epochs: int
    valid_log_loss: float
    log_loss: float
    auc: float
    logit: list[float]
    layers: Layers
    seconds: float


class Inputs(nn.Module):
    """The embedding of each field: a row of the table, or a numeric field's one vector times its scaled value (AutoInt's Eq. 3).

    Args:
        numeric: ``K``.
        table: rows; row 0, of a missing value, is zero and stays so.
        width: ``d``.
    """

    def __init__(self, numeric: int, table: int, width: int) -> None:
        super().__init__()
        self.table = nn.Embedding(table, width, padding_idx=0)
        self.scales = nn.Parameter(torch.zeros(numeric, width))
        nn.init.zeros_(self.table.weight)

    def forward(self, values: Tensor, ids: Tensor) -> Tensor:
        """Map scaled numbers ``(B, K)`` and rows ``(B, C)`` to ``(B, F, d)``."""
        return torch.cat([values[:, :, None] * self.scales, self.table(ids)], 1)


class Embedded(nn.Module):
    """A network of :mod:`model` on a plain table of embeddings, so that Adam learns all of it in mini-batches.

    The network starts from the weights that it has in a stream, drawn from the seed of ``spec``; the wide term starts from zeros.

    Args:
        spec: the model; its numeric fields come first.
        table: rows of the table.
    """

    def __init__(self, spec: Spec, table: int) -> None:
        super().__init__()
        numeric = sum(field.kind == "numeric" for field in spec.fields)
        self.deep = Inputs(numeric, table, spec.model.embedding)
        self.wide = Inputs(numeric, table, 1) if spec.model.wide else None
        random = torch.Generator().manual_seed(spec.model.seed)
        with torch.no_grad():
            self.deep.table.weight[1:].normal_(std=spec.model.embedding_std, generator=random)
            self.deep.scales.normal_(std=spec.model.embedding_std, generator=random)
        layout = Layout(spec)
        self.network = build(spec)
        bind(self.network, layout.named(layout.initial()))

    def forward(self, values: Tensor, ids: Tensor) -> Tensor:
        """Map scaled numbers ``(B, K)`` and rows ``(B, C)`` to logits ``(B,)``."""
        embedded = self.deep(values, ids)  # (B, F, d)
        wide = self.wide(values, ids)[:, :, 0] if self.wide else embedded.new_zeros(len(ids), 1)  # (B, F)
        logit: Tensor = self.network(embedded, wide)
        return logit


def train(run: Training, folder: Path) -> Outcome:
    """Train a network on the data encoded in ``folder``.

    Args:
        run: the network and how it is trained.
        folder: what :func:`paper.offline.preprocess.encode` returned.

    Raises:
        DataError: a part of the split has only one label.
    """
    start = perf_counter()
    trial = _Trial(run, Dataset.open(folder))
    best, epoch = trial.outcome(0, trial.log_loss()), 0
    while epoch < run.epochs and epoch - best.epoch < run.patience:
        epoch += 1
        trial.learn()
        log_loss = trial.log_loss()
        if log_loss < best.valid_log_loss:
            best = trial.outcome(epoch, log_loss)
    return replace(best, epochs=epoch, seconds=round(perf_counter() - start, 1))


class _Trial:
    """A network in training, with its optimiser and its data."""

    def __init__(self, run: Training, data: Dataset) -> None:
        self.run, self.data = run, data
        self.rows = split(len(data.labels), run.seed)
        self.random = np.random.default_rng([run.seed, 1])
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network = Embedded(run.spec(fields(data.name)), data.table).to(self.device)
        self.adam = torch.optim.Adam(self.network.parameters(), lr=run.rate)

    def learn(self) -> None:
        """Train for one epoch."""
        for batch in self.batches(self.random.permutation(self.rows.train), self.run.batch):
            self.adam.zero_grad()
            loss = F.binary_cross_entropy_with_logits(self.network(batch.values, batch.ids), batch.labels)
            torch.autograd.backward(loss)
            self.adam.step()

    def log_loss(self) -> float:
        """Return the log loss on the validation set; a network with a logit that is not finite is worse than any."""
        logits = self.logits(self.rows.valid)
        return self.score(logits, self.rows.valid)[0] if np.isfinite(logits).all() else inf

    def outcome(self, epoch: int, valid_log_loss: float) -> Outcome:
        """Score the network on the test set, and watch its layers."""
        with LayerWatcher(self.network.network.tower) as watcher:
            logits = self.logits(self.rows.test)
        log_loss, auc = self.score(logits, self.rows.test)
        spread = [round(float(value), 5) for value in np.quantile(logits, QUANTILES)]
        return Outcome(epoch, epoch, valid_log_loss, log_loss, auc, spread, watcher.layers(), 0.0)

    @torch.no_grad()
    def logits(self, rows: Rows) -> NDArray[np.float32]:
        """Predict ``rows``, in ascending order."""
        logits = [self.network(batch.values, batch.ids).cpu().numpy() for batch in self.batches(np.sort(rows), AT_ONCE)]
        return np.concatenate(logits)

    def score(self, logits: NDArray[np.float32], rows: Rows) -> tuple[float, float]:
        """Return the exact log loss and AUC of ``logits``, which are of ``rows`` in ascending order.

        Raises:
            DataError: the rows have only one label.
        """
        scores = RunningScores(window=len(rows))
        scores.update(logits, self.data.labels[np.sort(rows)].astype(np.float32))
        found = scores.recent()
        if found.log_loss is None or found.auc is None:
            raise DataError(f"{self.data.name}: got {len(rows)} rows of one label in a part of the split, expected both labels")
        return found.log_loss, found.auc

    def batches(self, rows: Rows, size: int) -> Iterator[Batch]:
        """Read ``rows`` in the given order, ``size`` at a time."""
        return (self.data.take(rows[start : start + size], self.device) for start in range(0, len(rows), size))
