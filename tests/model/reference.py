"""The whole model in plain torch, with a dictionary for its table: the reference that the kernels are tested against.

Autograd gives the gradients; Adagrad is applied as the kernels apply it: an accumulator per input row of a matrix,
per weight elsewhere, each row of the table updated once for an example, the derivative by the logit bounded. The base rate is counted,
and so are records: each is the list of all that was seen. The accumulators are halved by their half-life.
"""

from collections import defaultdict
from collections.abc import Sequence
from math import log
from statistics import mean
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from model.kernels.step import CLIP, SHARE
from model.layout import Layout
from model.networks.build import build
from model.networks.dnn import bind
from model.networks.skip import SkipTerm
from model.settings import Spec
from tests.model.record import LongRecord, log_odds_above, rate_of

Keys = Sequence[Sequence[int]]  # an example: the keys of each field


class Row(NamedTuple):
    """A value's embedding and wide weight, ``(d + 1,)``, and their accumulators."""

    values: Tensor
    accumulators: Tensor


class ReferenceModel:
    """Learn one example a step, as :class:`model.online.OnlineModel` does while no row expires."""

    def __init__(self, spec: Spec, dtype: torch.dtype = torch.float32) -> None:
        """Start from the same weights as the kernels."""
        self.spec, self.dtype = spec, dtype
        layout = Layout(spec)
        self.dense = torch.from_numpy(layout.initial()).to(dtype)
        arrays = layout.named(self.dense.numpy())
        self.defaults = torch.from_numpy(arrays["defaults"])
        self.network = build(spec)
        bind(self.network, arrays)
        self.accumulators = {name: torch.full((len(p),), self._start(name), dtype=dtype) for name, p in self.network.named_parameters()}
        self.examples = 0
        self.rows: dict[int, Row] = {}
        self.counts = {0.0: 5.0, 1.0: 0.5}  # label → weight of the examples, with the prior of the base rate
        self.records: dict[int, LongRecord] = defaultdict(LongRecord)  # that of the stream under the key 0

    def learn(self, keys: Keys, label: float, importance: float = 1.0, time: int = 0) -> float:
        """Predict the example's logit, then learn it."""
        leaves = {key: self._read(f, key).requires_grad_() for f, of_field in enumerate(keys) for key in of_field}
        logit = self._logit(keys, leaves, time)
        most = max(CLIP, SHARE * float(self.accumulators["bias"].sqrt()))
        logit.register_hook(lambda dlogit: dlogit.clamp(-most, most))  # type: ignore[no-untyped-call]
        loss = importance * F.binary_cross_entropy_with_logits(logit, torch.tensor([label], dtype=self.dtype))
        self.network.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            self._learn_dense()
            derivative = importance * (float(torch.sigmoid(logit)) - label)
            bounded = importance * (most / abs(derivative) if abs(derivative) > most else 1.0)
            if self.spec.model.base_rate:
                self._count(label, bounded)
            for key in {0, *(key for of_field in keys for key in of_field)}:
                self.records[key].add(time // self.spec.label_delay, bounded, bounded * label)
            for module in self.network.modules():
                if isinstance(module, SkipTerm):
                    module.observe()
            for key, leaf in leaves.items():
                self._learn_row(key, leaf)
        self.examples += 1
        half_life = self.spec.model.accumulator_half_life
        if half_life and self.examples % half_life == 0:
            self._halve()
        return float(logit.detach())

    def predict(self, keys: Keys, time: int = 0) -> float:
        """Return the example's logit."""
        leaves = {key: self._read(f, key) for f, of_field in enumerate(keys) for key in of_field}
        with torch.no_grad():
            return float(self._logit(keys, leaves, time))

    def _read(self, field: int, key: int) -> Tensor:
        if key in self.rows:
            return self.rows[key].values.clone()
        return torch.cat([self.defaults[field], torch.zeros(1, dtype=self.dtype)])

    def _logit(self, keys: Keys, leaves: dict[int, Tensor], time: int) -> Tensor:
        pooled = torch.stack([torch.stack([leaves[key] for key in of_field]).mean(0) for of_field in keys])  # (F, d + 1)
        wide = pooled[:, -1] if self.spec.model.wide else torch.zeros(len(keys), dtype=self.dtype)
        records = torch.tensor([self._told(keys, time)], dtype=self.dtype) if self.spec.model.records else None
        logit: Tensor = self.network(pooled[None, :, :-1], wide[None], records)
        return logit

    def _told(self, keys: Keys, time: int) -> list[float]:
        """Return what the records of each field's values tell, ``(F,)``."""
        bucket = time // self.spec.label_delay
        rate = rate_of(self.records[0].decided(bucket))
        return [mean(log_odds_above(self.records[key].decided(bucket), rate) for key in of_field) for of_field in keys]

    def _learn_dense(self) -> None:
        model = self.spec.model
        for name, parameter in self.network.named_parameters():
            gradient = parameter.grad
            if gradient is None:  # not learned
                continue
            square = gradient**2
            accumulators = self.accumulators[name]
            accumulators += square.mean(1) if square.dim() == 2 else square
            scale = accumulators.sqrt()[:, None] if square.dim() == 2 else accumulators.sqrt()
            parameter.sub_((model.wide_rate if name == "bias" else model.tower_rate) * gradient / scale)

    def _count(self, label: float, weight: float) -> None:
        before = log(self.counts[1.0] / self.counts[0.0])
        self.counts[label] += weight
        self.network.bias.add_(log(self.counts[1.0] / self.counts[0.0]) - before)

    def _start(self, name: str) -> float:
        return self.spec.model.wide_accumulator if name == "bias" else self.spec.model.tower_accumulator

    def _halve(self) -> None:
        for name, accumulators in self.accumulators.items():
            accumulators.div_(2).clamp_(min=self._start(name))
        for row in self.rows.values():
            row.accumulators[:-1].div_(2).clamp_(min=self.spec.model.embedding_accumulator)
            row.accumulators[-1:].div_(2).clamp_(min=self.spec.model.wide_accumulator)

    def _learn_row(self, key: int, leaf: Tensor) -> None:
        model = self.spec.model
        gradient = leaf.grad if leaf.grad is not None else torch.zeros_like(leaf)
        if key not in self.rows:
            accumulators = torch.full_like(gradient, model.embedding_accumulator)
            accumulators[-1] = model.wide_accumulator
            self.rows[key] = Row(leaf.detach(), accumulators)
        row = self.rows[key]
        row.accumulators.add_(gradient**2)
        rates = torch.full_like(gradient, model.embedding_rate)
        rates[-1] = model.wide_rate
        row.values.sub_(rates * gradient / row.accumulators.sqrt())
