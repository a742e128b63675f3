"""A published model as one torch module: rows of its table and times → click probabilities, as the server computes them.

The look-up, the network, the records and the correction of labels that come late are inside; which row a value has is not.

Shapes, in every comment below:
    B  examples
    F  fields
    V  values of a field, the most that an example of the batch has
    d  width of an embedding
    R  rows: 0 stands for no value, ``1 + f`` for a value of field ``f`` never seen, then those of the table, by ascending key
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.kernels.rows.record import (
    BUCKET,
    DECIDED,
    LOW_BITS,
    MEMORY,
    NEWEST,
    PRIOR,
    PRIOR_CLICKED,
    PRIOR_INFORMATION,
    PRIOR_SEEN,
    WAITING,
)
from model.networks.build import build
from model.networks.dnn import bind
from model.weights import Weights


class FromRows(nn.Module):
    """``p = sigmoid(logit)``, or ``exp(min(logit, 0))`` under ``fnc``; the logit is that of :class:`~model.networks.dnn.DNN`.

    Args:
        weights: The model; it is copied.
    """

    rows: Tensor

    def __init__(self, weights: Weights) -> None:
        super().__init__()
        spec, positions = weights.spec, weights.by_key()
        named = weights.layout.named(weights.dense.copy())
        self.network = build(spec)
        bind(self.network, named)
        rows = np.zeros((1 + len(spec.fields) + len(positions), spec.model.embedding + 1), np.float32)
        rows[1 : 1 + len(spec.fields), :-1] = named["defaults"]
        rows[1 + len(spec.fields) :] = weights.rows[positions]
        if not spec.model.wide:
            rows[:, -1] = 0
        self.register_buffer("rows", torch.from_numpy(rows))  # (R, d + 1)
        self.records = _Records(weights, positions) if spec.model.records else None
        self.corrected = spec.label_policy == "fnc"
        self.eval().requires_grad_(requires_grad=False)

    def forward(self, rows: Tensor, times: Tensor) -> Tensor:
        """Map rows ``(B, F, V)`` and times ``(B,)``, epoch ms, to click probabilities ``(B,)`` in double precision."""
        share = 1 / (rows > 0).sum(2).float()  # (B, F)
        pooled = self.rows[rows].sum(2) * share[:, :, None]  # (B, F, d + 1)
        told = None if self.records is None else self.records(rows, times) * share  # (B, F)
        logit = self.network(pooled[:, :, :-1], pooled[:, :, -1], told).double()  # (B,)
        return torch.exp(torch.clamp(logit, max=0)) if self.corrected else torch.sigmoid(logit)


class _Records(nn.Module):
    """What the records of an example's rows tell: see :mod:`model.kernels.rows.record`, whose formulas these are."""

    counts: Tensor
    newest: Tensor

    def __init__(self, weights: Weights, positions: NDArray[np.int64]) -> None:
        super().__init__()
        counts = weights.records.counts[np.append(positions, len(weights.keys))]  # of the stream last
        first = np.zeros((1 + len(weights.spec.fields), counts.shape[1]), np.float32)
        counts = np.concatenate([first, counts])
        self.delay = weights.records.delay
        self.register_buffer("counts", torch.from_numpy(counts[:, :BUCKET]))  # (R + 1, 6)
        high, low = counts[:, BUCKET : BUCKET + 2].astype(np.int64).T
        self.register_buffer("newest", torch.from_numpy((high << LOW_BITS) + low))  # (R + 1,), buckets

    def forward(self, rows: Tensor, times: Tensor) -> Tensor:
        """Map rows ``(B, F, V)`` and times ``(B,)`` to the sums over V of the log-odds of a click above the stream's, ``(B, F)``."""
        bucket = torch.floor(times.double() / self.delay).long()  # (B,); exact, as times are below 2⁵³
        n, c = self._decided(torch.full_like(times, len(self.newest) - 1), bucket)  # (B,)
        p = torch.clamp((c + PRIOR_CLICKED) / (n + PRIOR_SEEN), max=1 - 1 / MEMORY)
        a = torch.clamp(PRIOR_INFORMATION / (p * (1 - p)), min=PRIOR)
        others, clicks = (a * (1 - p))[:, None, None], (a * p)[:, None, None]
        n, c = self._decided(rows, bucket[:, None, None])  # (B, F, V)
        odds = ((c + clicks) * others) / ((torch.clamp(n - c, min=0) + others) * clicks)
        return torch.log(odds).sum(2)

    def _decided(self, rows: Tensor, bucket: Tensor) -> tuple[Tensor, Tensor]:
        """Return the counts of ``rows`` that are decided by ``bucket``, seen and clicked."""
        counts, newest = self.counts[rows], self.newest[rows]
        n, c = counts[..., DECIDED], counts[..., DECIDED + 1]
        for later, waiting in enumerate((WAITING, NEWEST)):
            more, clicked = n + counts[..., waiting], c + counts[..., waiting + 1]
            known, full = bucket > newest + later, more > MEMORY
            n = torch.where(known, torch.clamp(more, max=MEMORY), n)
            c = torch.where(known, torch.where(full, clicked * (MEMORY / more), clicked), c)
        return n, c
