"""xDeepFM's compressed interaction network beside the tower; ``model.kernels.branches.xdeepfm`` computes the same, compiled.

Lian, Zhou, Zhang, Chen, Xie, Sun: "xDeepFM: Combining Explicit and Implicit Feature Interactions for Recommender
Systems", arXiv 1803.05170. Equation numbers are the paper's; its linear part is the wide term.

Shapes, in every comment below:
    B    batch size
    F    fields
    d    width of an embedding
    H_l  feature maps of layer l; H_0 = F
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from model.registry import branch_axes
from model.settings import Spec


class CompressLayer(nn.Module):
    """``x^{l+1}_h = Σ_ij W_ijh (x^l_i ⊙ x^0_j)`` (Eq. 6): every pair of a feature map and a field, one ``⊙`` for each position of ``d``.

    No activation follows: the paper found the identity best. All maps go on to the next layer, as in its Eq. 6.

    Args:
        shape: ``(H_l F, H_{l+1})``, the pairs in the order of ``i``, then ``j``.
    """

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(*shape))

    def forward(self, x0: Tensor, x: Tensor) -> Tensor:
        """Map ``(B, F, d)`` and ``(B, H_l, d)`` to ``(B, H_{l+1}, d)``."""
        products = (x[:, :, None] * x0[:, None]).flatten(1, 2)  # (B, H_l F, d)
        return torch.einsum("bpd,ph->bhd", products, self.weight)


class CompressedInteraction(nn.ModuleList):
    """The network's own term of the logit: ``w · [p^1, …, p^K]`` with ``p^l_h = Σ_k x^l_hk`` (Eq. 7 and 8)."""

    def __init__(self, spec: Spec) -> None:
        layers, output, _ = branch_axes(spec)
        fields = len(spec.fields)
        super().__init__(CompressLayer(layer["weight"].shape(fields)) for layer in layers)
        self.output = nn.Parameter(torch.empty(output.shape(fields)))

    def forward(self, embedded: Tensor) -> Tensor:
        """Map embeddings ``(B, F, d)`` to ``(B,)``."""
        x, pooled = embedded, []
        for layer in self:
            x = layer(embedded, x)  # (B, H, d)
            pooled.append(x.sum(2))  # (B, H)
        return torch.cat(pooled, 1) @ self.output
