"""DCN-V2's cross layers beside the tower; ``model.kernels.branches.dcn_v2`` computes the same, compiled.

Wang, Shivanna, Cheng, Jain, Lin, Hong, Chi: "DCN V2: Improved Deep & Cross Network and Practical Lessons for Web-scale
Learning to Rank Systems", arXiv 2008.13535. The parallel structure of its Figure 1, with a full matrix.

Shapes, in every comment below:
    B  batch size
    D  width of the input, all embeddings side by side, and of every layer
"""

import torch
from torch import Tensor, nn

from model.networks.dcn import Cross, CrossLayer
from model.settings import Spec
from model.terms import Term


class CrossV2Layer(CrossLayer):
    """``x_{l+1} = x_0 ⊙ (x_l W_l + b_l) + x_l`` (Eq. 1)."""

    def __init__(self, width: int, term: Term) -> None:
        super().__init__(width, term)
        self.weight = nn.Parameter(torch.empty(width, width))

    def cross(self, x0: Tensor, x: Tensor) -> Tensor:
        """Map two ``(B, D)`` to ``(B, D)``."""
        return x0 * (x @ self.weight + self.bias) + x


class CrossV2(Cross):
    """``w · x_C + Σ_l F(x_l)``, of these layers."""

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec, CrossV2Layer)
