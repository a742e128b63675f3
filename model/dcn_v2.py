"""DCN-V2's cross layers beside the tower; the kernels of ``model.cross_v2`` are their fast twin.

Wang, Shivanna, Cheng, Jain, Lin, Hong, Chi: "DCN V2: Improved Deep & Cross Network and Practical Lessons for Web-scale
Learning to Rank Systems", arXiv 2008.13535. The parallel structure of its Figure 1, with a full matrix.

Shapes, in every comment below:
    B  batch size
    D  width of the input, all embeddings side by side, and of every layer
"""

import torch
from torch import Tensor, nn

from model.dnn import Affine
from model.layout import branch_shapes
from model.settings import Spec


class CrossV2(nn.ModuleList):
    """The cross layers' own term of the logit, ``w · x_C`` with ``x_{l+1} = x_0 ⊙ (x_l W_l + b_l) + x_l`` (Eq. 1)."""

    def __init__(self, spec: Spec) -> None:
        """Build the modules; :func:`model.dnn.bind` gives them their values."""
        _, width = branch_shapes(spec)
        super().__init__(Affine(width, width) for _ in range(spec.model.cross_layers))
        self.output = nn.Parameter(torch.empty(width))

    def forward(self, embedded: Tensor) -> Tensor:
        """Map embeddings ``(B, F, d)`` to ``(B,)``."""
        x = x0 = embedded.flatten(1)  # (B, D)
        for affine in self:
            x = x0 * affine(x) + x  # (B, D)
        return x @ self.output
