"""AutoInt's self-attention beside the tower; ``model.kernels.branches.autoint`` computes the same, compiled.

Song, Shi, Xiao, Duan, Xu, Zhang, Tang: "AutoInt: Automatic Feature Interaction Learning via Self-Attentive Neural
Networks", arXiv 1810.11921. Equation numbers are the paper's; with a tower it is the paper's AutoInt+.

Shapes, in every comment below:
    B  batch size
    F  fields
    H  heads
    n  width of a layer, all its heads side by side
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from model.registry import branch_axes
from model.settings import Spec


class AttentionLayer(nn.Module):
    """Let each field read the others by their similarity, in several subspaces.

        α_mk = softmax_k((x_m W_Q) · (x_k W_K))        of each head (Eq. 5); nothing divides the product, as printed
        x'_m = relu([Σ_k α_mk x_k W_V]_heads + x_m W_res)      (Eq. 6, 7 and 8)

    Args:
        shape: ``(in, n)`` of each matrix.
        heads: ``H``.
    """

    def __init__(self, shape: Sequence[int], heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Parameter(torch.empty(*shape))
        self.key = nn.Parameter(torch.empty(*shape))
        self.value = nn.Parameter(torch.empty(*shape))
        self.residual = nn.Parameter(torch.empty(*shape))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, F, in)`` to ``(B, F, n)``."""
        query, key, value = (self.split(x @ weight) for weight in (self.query, self.key, self.value))  # (B, H, F, n / H)
        share = torch.softmax(query @ key.transpose(2, 3), 3)  # (B, H, F, F)
        attended = (share @ value).transpose(1, 2).flatten(2)  # (B, F, n)
        return F.relu(attended + x @ self.residual)

    def split(self, x: Tensor) -> Tensor:
        """Map ``(B, F, n)`` to ``(B, H, F, n / H)``."""
        return x.reshape(*x.shape[:2], self.heads, -1).transpose(1, 2)


class Attention(nn.ModuleList):
    """The attention layers' own term of the logit: ``w`` on every field's last output (Eq. 9)."""

    def __init__(self, spec: Spec) -> None:
        layers, output, _ = branch_axes(spec)
        fields = len(spec.fields)
        super().__init__(AttentionLayer(layer["query"].shape(fields), spec.model.heads) for layer in layers)
        self.output = nn.Parameter(torch.empty(output.shape(fields)))

    def forward(self, embedded: Tensor) -> Tensor:
        """Map embeddings ``(B, F, d)`` to ``(B,)``."""
        x = embedded
        for layer in self:
            x = layer(x)  # (B, F, n)
        return x.flatten(1) @ self.output
