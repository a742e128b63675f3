"""The deep network with skip meta logits, as the paper draws it; ``model.kernels.tower.dnn`` computes the same, compiled.

Shapes, in every comment below:
    B  batch size
    F  fields
    d  width of an embedding
    n  width of a hidden layer; the widths may differ
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor, nn

from model.networks.skip import SkipTerm
from model.settings import Spec
from model.terms import TERMS


class Affine(nn.Module):
    """``x W + b``, the weight ``(in, out)`` so that an input's weights lie together."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(inputs, outputs))
        self.bias = nn.Parameter(torch.empty(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, in)`` to ``(B, out)``."""
        return x @ self.weight + self.bias


class DNN(nn.Module):
    """A ReLU tower whose every hidden layer adds its own term to the logit.

        z_i   = x_{i-1} W_i + b_i,   x_i = relu(z_i)
        logit = w · x_L + Σ_i F(z_i) + Σ_f w_f + b          (Eq. 5, and the wide term)

    With records, what each field's own record tells is an input, too: ``z_1 = x_0 W_1 + r R + b_1``.

    The sum runs over all L hidden layers. As printed, Eq. 5 ends at L - 1: we read its layers as numbered from 0,
    since a last layer without its term would be one that the paper's ablations never mention.
    ``F`` reads ``z_i`` (``skip_input = "pre"``), or ``x_i`` (``"post"``).

    Args:
        spec: the model.
        branch: the module beside the tower, if there is one: it maps embeddings ``(B, F, d)`` to its own term ``(B,)``.
    """

    def __init__(self, spec: Spec, branch: nn.Module | None = None) -> None:
        super().__init__()
        model = spec.model
        widths = (len(spec.fields) * model.embedding, *model.hidden)
        self.pre = model.skip_input == "pre"
        self.tower = nn.ModuleList(Affine(*pair) for pair in pairwise(widths))
        self.skip = nn.ModuleList(SkipTerm(width, TERMS[model.skip]) for width in model.hidden)
        if model.records:
            self.records = nn.Parameter(torch.empty(len(spec.fields), widths[1]))
        self.output = nn.Parameter(torch.empty(widths[-1]))
        self.bias = nn.Parameter(torch.empty(1))
        self.branch = branch

    def forward(self, embedded: Tensor, wide: Tensor, records: Tensor | None = None) -> Tensor:
        """Map embeddings ``(B, F, d)``, wide weights ``(B, F)`` and what records tell ``(B, F)`` to logits ``(B,)``."""
        logit = wide.sum(1) + self.bias  # (B,)
        x = embedded.flatten(1)  # (B, F d)
        for i, (layer, skip) in enumerate(zip(self.tower, self.skip, strict=True)):
            z = layer(x)  # (B, n)
            if i == 0 and records is not None:
                z = z + records @ self.records
            x = F.relu(z)
            logit = logit + skip(z if self.pre else x)
        if self.branch is not None:
            logit = logit + self.branch(embedded)
        return logit + x @ self.output


def bind(network: nn.Module, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Make every parameter a view of the array of its name, so that each side sees what the other learns."""
    for name, parameter in network.named_parameters():
        parameter.data = torch.from_numpy(arrays[name])
