"""DCN's cross layers beside the tower; ``model.kernels.branches.dcn`` computes the same, compiled.

Wang, Fu, Fu, Wang: "Deep & Cross Network for Ad Click Predictions", arXiv 1708.05123. Equation numbers are the paper's.

Shapes, in every comment below:
    B  batch size
    D  width of the input, all embeddings side by side, and of every layer
"""

import torch
from torch import Tensor, nn

from model.networks.skip import SkipTerm
from model.registry import branch_axes
from model.settings import Spec
from model.terms import Term


class CrossLayer(nn.Module):
    """``x_{l+1} = x_0 (x_l · w) + b + x_l`` (Eq. 3): one more degree of interaction, at the cost of two vectors.

    Args:
        width: ``D``.
        term: the term that the layer itself adds to the logit.
    """

    def __init__(self, width: int, term: Term) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width))
        self.bias = nn.Parameter(torch.empty(width))
        self.skip = SkipTerm(width, term)

    def forward(self, x0: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map two ``(B, D)`` to ``(B, D)``, and to the layer's own term of the logit ``(B,)``."""
        x = self.cross(x0, x)
        return x, self.skip(x)

    def cross(self, x0: Tensor, x: Tensor) -> Tensor:
        """Map two ``(B, D)`` to ``(B, D)``."""
        scale = x @ self.weight  # (B,)
        return x0 * scale[:, None] + self.bias + x


class Cross(nn.ModuleList):
    """Add the cross layers' term to the logit, ``w · x_C + Σ_l F(x_l)``: Eq. 6's part for the last layer, and each layer's own term.

    Args:
        spec: the model.
        layer: the class of a layer.
    """

    def __init__(self, spec: Spec, layer: type[CrossLayer] = CrossLayer) -> None:
        width, term = len(spec.fields) * spec.model.embedding, branch_axes(spec).term
        super().__init__(layer(width, term) for _ in range(spec.model.cross_layers))
        self.output = nn.Parameter(torch.empty(width))

    def forward(self, embedded: Tensor) -> Tensor:
        """Map embeddings ``(B, F, d)`` to ``(B,)``."""
        x = x0 = embedded.flatten(1)  # (B, D)
        logit = x0.new_zeros(x0.shape[0])  # (B,)
        for layer in self:
            x, term = layer(x0, x)
            logit = logit + term
        return logit + x @ self.output
