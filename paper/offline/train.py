"""One run: a network is trained by Adam in mini-batches, and its best epoch on the validation set is tried on the test set.

A run depends on its settings alone: its seed decides the split, the initial weights and the order of the examples. On one machine and
number of threads that holds bit for bit; a GPU adds in an order of its own.
"""

from collections.abc import Iterator
from math import inf
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray

from model.evaluation import Progressive
from paper.offline.dataset import Batch, Dataset, Rows, split
from paper.offline.embedded import Embedded
from paper.offline.kaggle import DataError, fields
from paper.offline.layers import Watched
from paper.offline.run import QUANTILES, Outcome, Run

AT_ONCE = 10_000  # examples that are predicted at once


def train(run: Run, folder: Path) -> Outcome:
    """Train a network on the data encoded in ``folder``.

    Args:
        run: the network and how it is trained.
        folder: what :func:`paper.offline.preprocess.encode` gave.

    Raises:
        DataError: a part of the split has but one label.
    """
    start = perf_counter()
    trial = _Trial(run, Dataset.open(folder))
    best, epoch = trial.outcome(0, trial.log_loss()), 0
    while epoch < run.recipe.epochs and epoch - best.epoch < run.recipe.patience:
        epoch += 1
        trial.learn()
        log_loss = trial.log_loss()
        if log_loss < best.valid_log_loss:
            best = trial.outcome(epoch, log_loss)
    return best._replace(epochs=epoch, seconds=round(perf_counter() - start, 1))


class _Trial:
    """A network, its optimiser and its data."""

    def __init__(self, run: Run, data: Dataset) -> None:
        self.run, self.data = run, data
        self.rows = split(len(data.labels), run.seed)
        self.random = np.random.default_rng([run.seed, 1])
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network = Embedded(run.spec(fields(data.name)), data.table).to(self.device)
        self.adam = torch.optim.Adam(self.network.parameters(), lr=run.recipe.rate)

    def learn(self) -> None:
        """Train for one epoch."""
        for batch in self.batches(self.random.permutation(self.rows.train), self.run.recipe.batch):
            self.adam.zero_grad()
            loss = F.binary_cross_entropy_with_logits(self.network(batch.values, batch.ids), batch.labels)
            torch.autograd.backward(loss)
            self.adam.step()

    def log_loss(self) -> float:
        """Try the network on the validation set; one that predicts what is not finite is worse than any."""
        logits = self.logits(self.rows.valid)
        return self.score(logits, self.rows.valid)[0] if np.isfinite(logits).all() else inf

    def outcome(self, epoch: int, valid_log_loss: float) -> Outcome:
        """Try the network on the test set, and look into its layers."""
        with Watched(self.network.network.tower) as watched:
            logits = self.logits(self.rows.test)
        log_loss, auc = self.score(logits, self.rows.test)
        spread = [round(float(value), 5) for value in np.quantile(logits, QUANTILES)]
        return Outcome(epoch, epoch, valid_log_loss, log_loss, auc, spread, watched.seen(), 0.0)

    @torch.no_grad()
    def logits(self, rows: Rows) -> NDArray[np.float32]:
        """Predict."""
        found = [self.network(batch.values, batch.ids).cpu().numpy() for batch in self.batches(np.sort(rows), AT_ONCE)]
        return np.concatenate(found)

    def score(self, logits: NDArray[np.float32], rows: Rows) -> tuple[float, float]:
        """Give the log loss and the AUC of what was predicted for ``rows``, exactly.

        Raises:
            DataError: they have but one label.
        """
        scores = Progressive(window=len(rows))
        scores.update(logits, self.data.labels[np.sort(rows)].astype(np.float32))
        found = scores.recent()
        if found.log_loss is None or found.auc is None:
            raise DataError(f"{self.data.name}: got {len(rows)} rows of one label in a part of the split, expected both labels")
        return found.log_loss, found.auc

    def batches(self, rows: Rows, size: int) -> Iterator[Batch]:
        """Read ``rows`` in their order, ``size`` at a time."""
        return (self.data.take(rows[start : start + size], self.device) for start in range(0, len(rows), size))
