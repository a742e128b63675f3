"""A deep network in PyTorch as a site would train it online: embeddings, a tower of ReLU layers, Adam, 32 examples a step.

The networks of all seeds learn side by side, which is quicker: they share batches and nothing else.

Axes: S seeds, B examples of a step, F fields, V values, d the width of an embedding.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.accuracy.recorded import Floats, Ints, RecordedLog

BATCH, EMBEDDING, HIDDEN, RATE = 32, 8, (128, 64, 32), 0.003


class Networks(nn.Module):
    """The networks of S seeds; a list of values has the mean of their embeddings."""

    def __init__(self, values: int, fields: int, seeds: Sequence[int]) -> None:
        super().__init__()
        self.values, widths = values, (fields * EMBEDDING, *HIDDEN, 1)
        made = [self._drawn(values, widths, seed) for seed in seeds]
        self.embeddings = nn.Parameter(torch.cat([embeddings for embeddings, _ in made]))  # (S V, d)
        self.weights = nn.ParameterList(
            torch.stack(layers) for layers in zip(*(each for _, each in made), strict=True)
        )  # (S, in, out) each
        self.biases = nn.ParameterList(torch.zeros(len(seeds), 1, width) for width in widths[1:])

    @staticmethod
    def _drawn(values: int, widths: Sequence[int], seed: int) -> tuple[Tensor, list[Tensor]]:
        random = torch.Generator().manual_seed(seed)
        layers = [torch.randn(a, b, generator=random) * (2 / a) ** 0.5 for a, b in pairwise(widths)]
        return torch.randn(values, EMBEDDING, generator=random) * 0.05, layers

    def forward(self, values: Tensor, starts: Tensor) -> Tensor:
        """Return logits ``(S, B)``; field f of example n has the values from ``starts[n F + f]`` on."""
        seeds = len(self.biases[0])
        all_values = (values + self.values * torch.arange(seeds)[:, None]).ravel()
        all_starts = (starts + len(values) * torch.arange(seeds)[:, None]).ravel()
        x = nn.functional.embedding_bag(all_values, self.embeddings, all_starts, mode="mean", sparse=True)  # (S B F, d)
        x = x.view(seeds, -1, self.weights[0].shape[1])  # (S, B, F d)
        for weight, bias in zip(self.weights, self.biases, strict=True):
            x = torch.baddbmm(bias, nn.functional.relu(x) if weight is not self.weights[0] else x, weight)
        return x.squeeze(-1)


def deep_network(log: RecordedLog, known: Ints, seeds: Sequence[int]) -> Callable[[], Floats]:
    """Return the runs of the network: it learns once 32 labels more are known, and predicts with what it has learned by then."""
    fields, starts = len(log.fields), torch.from_numpy(log.starts)
    values, labels = torch.from_numpy(log.values), torch.from_numpy(log.labels)
    steps = known // BATCH  # that are taken when an example is predicted, (N,)

    def run() -> Floats:
        torch.set_num_threads(1)
        networks = Networks(int(log.values.max()) + 1, fields, seeds)
        optimizers = [
            torch.optim.SparseAdam([networks.embeddings], RATE),
            torch.optim.Adam([*networks.weights, *networks.biases], RATE, fused=True),
        ]

        def logits(first: int, end: int) -> Tensor:
            of = starts[first * fields : end * fields + 1]
            found: Tensor = networks(values[of[0] : of[-1]], of[:-1] - of[0])
            return found

        found = np.empty((len(seeds), len(log)))
        for step in range(int(steps[-1]) + 1):
            first, end = np.searchsorted(steps, [step, step + 1]).tolist()
            with torch.no_grad():
                if first < end:
                    found[:, first:end] = torch.sigmoid(logits(first, end)).numpy()
            batch = slice(step * BATCH, (step + 1) * BATCH)
            target = labels[batch].expand(len(seeds), -1)
            loss = nn.functional.binary_cross_entropy_with_logits(logits(batch.start, batch.stop), target, reduction="none")
            for optimizer in optimizers:
                optimizer.zero_grad()
            loss.mean(1).sum().backward()  # type: ignore[no-untyped-call]
            for optimizer in optimizers:
                optimizer.step()
        return found

    return run
