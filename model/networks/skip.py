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

from model.terms import EPSILON, FROM_LAYER, IDENTITY, LEARNED, MEMORY, NO_TERM, RELU, SIGMOID, TANH, Term

_ACTIVATIONS = {IDENTITY: lambda x: x, RELU: F.relu, SIGMOID: torch.sigmoid, TANH: torch.tanh}


class SkipTerm(nn.Module):
    """A layer's own term of the logit (Eq. 10), its scale learned from the layer itself (Eq. 16).

        s(x) = leaky_relu(M sg(x) + b)
        F(x) = Σ W ⊙ tanh(s(x) ⊙ x)

    ``sg`` stops the gradient: the scale learns from ``x`` but sends no gradient to the layer that made it. ``tanh``
    replaces batch normalisation: the term stays within ``±Σ|W|``, and nothing averages over B. The variants of
    Table 2 have another activation, or a simpler scale; "none" gives 0.

    With ``term.normed``, ``s`` is also divided by ``√(v + ε)``, where ``v`` is the mean square of the last thousand or so
    values of each unit, kept one example at a time (the paper's future work (2)).

    Args:
        width: ``n``, the width of the layer that the term reads.
        term: which variant.
    """

    def __init__(self, width: int, term: Term) -> None:
        super().__init__()
        self.term = term
        if term.scale == NO_TERM:
            return
        if term.scale == FROM_LAYER:
            self.meta = nn.Parameter(torch.empty(width, width))
            self.meta_bias = nn.Parameter(torch.empty(width))
        if term.scale == LEARNED:
            self.scale = nn.Parameter(torch.empty(width))
        self.weight = nn.Parameter(torch.empty(width))
        if term.normed:
            self.square = nn.Parameter(torch.empty(width), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, n)`` to ``(B,)``."""
        if self.term.scale == NO_TERM:
            return x.new_zeros(x.shape[0])
        if self.training:
            self.last_input = x.detach()  # (B, n)
        scaled = self._scale(x) * x  # (B, n)
        activated: Tensor = _ACTIVATIONS[self.term.activation](scaled)
        return activated @ self.weight

    def observe(self) -> None:
        """Update the mean square with the last input."""
        if self.term.normed:
            self.square.lerp_(self.last_input.square().mean(0), 1 / MEMORY)

    def _scale(self, x: Tensor) -> Tensor:
        """Return ``s``, ``(B, n)`` or what broadcasts to it."""
        scale = torch.ones_like(self.weight)
        if self.term.scale == FROM_LAYER:
            scale = F.leaky_relu(x.detach() @ self.meta + self.meta_bias)
        if self.term.scale == LEARNED:
            scale = self.scale
        return scale * torch.rsqrt(self.square + EPSILON) if self.term.normed else scale
