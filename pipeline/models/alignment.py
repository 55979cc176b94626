"""Local-global alignment: both modalities projected into one space, and the two losses that pull them together.

Axes: B samples, L clips, N tokens, d width. Released formulation; the paper's equations (1)-(5).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

TEMPERATURE = 0.07
"""Released; the paper prints none."""


class Projection(nn.Module):
    """Norm, dropout, linear, as often as given; ReLU between, none after the last. Equations (1), (2).

    Padded rows come out as one constant row, not as zeros.
    """

    def __init__(self, input_dim: int, dim: int, dropout: float, n_layers: int) -> None:
        super().__init__()
        widths = [input_dim, *[dim] * (n_layers - 1)]
        self.norms = nn.ModuleList(nn.LayerNorm(width) for width in widths)
        self.linears = nn.ModuleList(nn.Linear(width, dim) for width in widths)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """[B, L, input_dim] to [B, L, d]."""
        for index, (norm, linear) in enumerate(zip(self.norms, self.linears, strict=True)):
            x = linear(self.dropout(norm(F.relu(x) if index else x)))
        return x


def local_alignment(video: Tensor, text: Tensor, video_mask: Tensor, text_mask: Tensor, clip_mask: Tensor) -> Tensor:
    """Every clip against the mean of the words' directions: is the query about it? Equations (3), (4), released form.

    video [B, L, d], text [B, N, d], masks [B, L], [B, N], clip_mask [B, L] the targets C. Returns a scalar.
    Mean over all B·L, as released: a padded clip adds log 2 and no gradient.
    """
    words = F.normalize(text, dim=-1) * text_mask[..., None]
    query = words.sum(1) / text_mask.sum(1, keepdim=True)
    logits = torch.einsum("bld,bd->bl", F.normalize(video, dim=-1), query) * video_mask / TEMPERATURE
    return F.binary_cross_entropy_with_logits(logits, clip_mask)


def global_alignment(video: Tensor, text: Tensor) -> Tensor:
    """Every video against every query of the batch, both ways. Equation (5), released form. Returns a scalar.

    video [B, L, d], text [B, N, d]: their means include padded rows, as released.
    """
    videos, texts = F.normalize(video.mean(1), dim=-1), F.normalize(text.mean(1), dim=-1)
    logits = texts @ videos.T / TEMPERATURE
    target = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
