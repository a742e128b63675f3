"""DCN's cross layers beside the tower; the kernels of ``model.cross`` are their fast twin.

Wang, Fu, Fu, Wang: "Deep & Cross Network for Ad Click Predictions", arXiv 1708.05123. Equation numbers are the paper's.

Shapes, in every comment below:
    B  batch size
    D  width of the input, all embeddings side by side, and of every layer
"""

import torch
from torch import Tensor, nn

from model.layout import branch_shapes
from model.settings import Spec


class CrossLayer(nn.Module):
    """``x_{l+1} = x_0 (x_l · w) + b + x_l`` (Eq. 3): one more degree of interaction, at the cost of two vectors.

    Args:
        width: ``D``.
    """

    def __init__(self, width: int) -> None:
        """Leave the values to :func:`model.dnn.bind`."""
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width))
        self.bias = nn.Parameter(torch.empty(width))

    def forward(self, x0: Tensor, x: Tensor) -> Tensor:
        """Map two ``(B, D)`` to ``(B, D)``."""
        scale = x @ self.weight  # (B,)
        return x0 * scale[:, None] + self.bias + x


class Cross(nn.ModuleList):
    """The cross layers' own term of the logit, ``w · x_C``: Eq. 6's share of the last layer that reads them."""

    def __init__(self, spec: Spec) -> None:
        """Build the modules; :func:`model.dnn.bind` gives them their values."""
        _, width = branch_shapes(spec)
        super().__init__(CrossLayer(width) for _ in range(spec.model.cross_layers))
        self.output = nn.Parameter(torch.empty(width))

    def forward(self, embedded: Tensor) -> Tensor:
        """Map embeddings ``(B, F, d)`` to ``(B,)``."""
        x = x0 = embedded.flatten(1)  # (B, D)
        for layer in self:
            x = layer(x0, x)
        return x @ self.output
