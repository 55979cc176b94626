"""The projection of features to the width of the network. It is the first part of the network for every modality."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.models.elementwise import Dropout


class Projection(nn.Module):
    """A number of layers (norm, dropout, linear map), with ReLU between them and none after the last.

    All padded rows become the same row, which is not zero.
    """

    def __init__(self, input_dim: int, dim: int, dropout: float, n_layers: int) -> None:
        super().__init__()
        widths = [input_dim, *[dim] * (n_layers - 1)]
        self.norms = nn.ModuleList(nn.LayerNorm(width) for width in widths)
        self.linears = nn.ModuleList(nn.Linear(width, dim) for width in widths)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, L, input_dim] to [B, L, d]."""
        for index, (norm, linear) in enumerate(zip(self.norms, self.linears, strict=True)):
            x = linear(self.dropout(norm(F.relu(x) if index else x)))
        return x
