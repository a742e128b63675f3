"""What hidden layers do over many examples: how often each neuron is active, and how alike two examples look to a layer."""

from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Self

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)  # of the logit


@dataclass(frozen=True)
class Layers:
    """What the hidden layers do, one number for each layer.

    Attributes:
        active: 5 %, 50 % and 95 % quantile over the neurons of the share of examples on which a neuron is above 0, ``(3, L)``.
        cosine: mean cosine similarity between the layer's outputs on two examples; of an output of zeros it is 0.
    """

    active: list[list[float]]
    cosine: list[float]


class LayerWatcher:
    """Adds up the outputs of a tower's layers, batch by batch, while the context lasts.

    The mean cosine over pairs m ≠ n of N outputs with directions ``u`` is ``(‖Σ_n u_n‖² − Σ_n ‖u_n‖²) / (N (N − 1))``, so no pair is
    visited. An output of zeros has no direction: it counts as unlike every other.

    Args:
        tower: layers whose outputs are ``(B, n)``, before ReLU.
    """

    def __init__(self, tower: nn.ModuleList) -> None:
        self.tower = tower
        self.examples = 0
        self.active = [torch.zeros(()) for _ in tower]  # (n,) each: examples on which a neuron is above 0
        self.directions = [torch.zeros(()) for _ in tower]  # (n,) each: the sum of u
        self.squares = [torch.zeros(()) for _ in tower]  # the sum of ‖u‖²: examples whose output is not 0

    def __enter__(self) -> Self:
        """Begin to watch."""
        self._hooks = [layer.register_forward_hook(partial(self._add, i)) for i, layer in enumerate(self.tower)]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop watching."""
        for hook in self._hooks:
            hook.remove()

    def _add(self, i: int, _layer: nn.Module, _inputs: tuple[Tensor, ...], z: Tensor) -> None:
        x = F.relu(z.detach()).double()  # (B, n)
        directions = F.normalize(x, eps=1e-300)
        self.examples += len(x) if i == 0 else 0
        self.active[i] = self.active[i] + (x > 0).sum(0)
        self.directions[i] = self.directions[i] + directions.sum(0)
        self.squares[i] = self.squares[i] + directions.square().sum()

    def layers(self) -> Layers:
        """Return what was added up so far."""
        quantiles = torch.tensor([0.05, 0.5, 0.95], dtype=torch.double)
        shares = [active.double().cpu() / self.examples for active in self.active]
        active = torch.stack([share.quantile(quantiles) for share in shares], 1)  # (3, L)
        pairs = self.examples * (self.examples - 1)
        cosine = [(total.square().sum() - squares).item() / pairs for total, squares in zip(self.directions, self.squares, strict=True)]
        return Layers(active.round(decimals=5).tolist(), [round(value, 5) for value in cosine])
