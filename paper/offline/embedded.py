"""A network of ``model`` on a plain table of embeddings, so that Adam learns all of it in mini-batches.

Shapes, in every comment below:
    B  batch size
    K  numeric fields
    C  categorical fields; F = K + C
    d  width of an embedding
"""

import torch
from torch import Tensor, nn

from model.layout import Layout
from model.networks.build import build
from model.networks.dnn import bind
from model.settings import Spec


class Inputs(nn.Module):
    """Each field's vector: a row of the table, or a numeric field's one vector times its scaled value (AutoInt's Eq. 3).

    Args:
        numeric: ``K``.
        table: rows; row 0, a missing value, is zero and stays so.
        width: ``d``.
    """

    def __init__(self, numeric: int, table: int, width: int) -> None:
        """Begin with zeros."""
        super().__init__()
        self.table = nn.Embedding(table, width, padding_idx=0)
        self.scales = nn.Parameter(torch.zeros(numeric, width))
        nn.init.zeros_(self.table.weight)

    def forward(self, values: Tensor, ids: Tensor) -> Tensor:
        """Map scaled numbers ``(B, K)`` and rows ``(B, C)`` to ``(B, F, d)``."""
        return torch.cat([values[:, :, None] * self.scales, self.table(ids)], 1)


class Embedded(nn.Module):
    """Embeddings, then the network that ``spec`` names, which starts from the weights that it has in a stream.

    Args:
        spec: the model; its numeric fields come first. Its wide term starts from zeros.
        table: rows of the table.
    """

    def __init__(self, spec: Spec, table: int) -> None:
        """Draw the initial weights from the seed of ``spec``."""
        super().__init__()
        numeric = sum(field.kind == "numeric" for field in spec.fields)
        self.deep = Inputs(numeric, table, spec.model.embedding)
        self.wide = Inputs(numeric, table, 1) if spec.model.wide else None
        random = torch.Generator().manual_seed(spec.model.seed)
        with torch.no_grad():
            self.deep.table.weight[1:].normal_(std=spec.model.embedding_std, generator=random)
            self.deep.scales.normal_(std=spec.model.embedding_std, generator=random)
        layout = Layout(spec)
        self.network = build(spec)
        bind(self.network, layout.named(layout.initial()))

    def forward(self, values: Tensor, ids: Tensor) -> Tensor:
        """Map scaled numbers ``(B, K)`` and rows ``(B, C)`` to logits ``(B,)``."""
        embedded = self.deep(values, ids)  # (B, F, d)
        wide = self.wide(values, ids)[:, :, 0] if self.wide else embedded.new_zeros(len(ids), 1)  # (B, F)
        logit: Tensor = self.network(embedded, wide)
        return logit
