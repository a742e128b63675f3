"""DeepFM's second order beside the tower; ``model.kernels.branches.deepfm`` computes the same, compiled.

Guo, Tang, Ye, Li, He: "DeepFM: A Factorization-Machine based Neural Network for CTR Prediction", arXiv 1703.04247.
The first order of its Eq. 2 is the wide term.

Shapes, in every comment below:
    B  batch size
    F  fields
    d  width of an embedding
"""

from torch import Tensor, nn

from model.settings import Spec


class FactorizationMachine(nn.Module):
    """``Σ_{f<g} v_f · v_g`` (Eq. 2), as ``½ Σ_k ((Σ_f v_fk)² − Σ_f v_fk²)``: linear in F. It has no weights of its own."""

    def __init__(self, spec: Spec) -> None:
        del spec  # it has no parameters
        super().__init__()

    def forward(self, embedded: Tensor) -> Tensor:
        """Map embeddings ``(B, F, d)`` to ``(B,)``."""
        square_of_sum = embedded.sum(1) ** 2  # (B, d)
        sum_of_squares = (embedded**2).sum(1)  # (B, d)
        return (square_of_sum - sum_of_squares).sum(1) / 2
