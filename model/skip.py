"""Skip Meta Logit: every hidden layer adds its own bounded term to the click logit.

Deng, Lang, Liu, Liu: "SML: Enhance the Network Smoothness with Skip Meta Logit for CTR Prediction", arXiv
2210.10725. Equation numbers are the paper's.

Shapes, in every comment below:
    B  batch size (1 while learning from a stream, any size while serving)
    n  width of the layer
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn


class MetaTanh(nn.Module):
    """A layer's own term of the logit (Eq. 10), its scale learned from the layer itself (Eq. 16).

        s(x) = leaky_relu(M sg(x) + b)
        F(x) = Σ W ⊙ tanh(s(x) ⊙ x)

    ``sg`` stops the gradient: the scale learns from ``x`` but never pulls on the layer that made it. ``tanh`` takes
    the place of batch normalisation: the term stays within ``±Σ|W|``, and nothing averages over B.

    Args:
        width: ``n``, the width of the layer that is read.
    """

    def __init__(self, width: int) -> None:
        """Leave the values to :func:`model.dnn.bind`."""
        super().__init__()
        self.meta = nn.Parameter(torch.empty(width, width))
        self.meta_bias = nn.Parameter(torch.empty(width))
        self.weight = nn.Parameter(torch.empty(width))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, n)`` to ``(B,)``."""
        scale = F.leaky_relu(x.detach() @ self.meta + self.meta_bias)  # (B, n)
        return torch.tanh(scale * x) @ self.weight
