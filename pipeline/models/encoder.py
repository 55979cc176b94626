"""The encoder layers: one in which clips attend to words (t2v), and one in which clips attend to each other. Clips and
words can also be joined to one sequence.

Axes: B samples, L clips, N tokens, d width.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.models.attention import FeedForward, MultiHeadAttention, clip_positions, xavier
from pipeline.models.elementwise import Dropout, PReLU
from pipeline.models.masking import keep_valid
from pipeline.models.packing import Packing


class CrossLayer(nn.Module):
    """A layer in which clips attend to words. A norm precedes the feed-forward layer, a residual goes around it, and a
    norm follows."""

    def __init__(self, dim: int, heads: int, feedforward_dim: int, dropout: float) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(dim, heads, dropout)
        self.feedforward = FeedForward(dim, feedforward_dim, dropout)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.dropout = Dropout(dropout)

    def forward(self, clips: Tensor, positions: Tensor, words: Tensor, keep: Tensor) -> Tensor:
        """Return the clips [B, L, d]. clips, positions: [B, L, d]. words: [B, N, d]. keep: the mask, as in `attend`."""
        clips = clips + self.dropout(self.attention(clips + positions, words, words, keep))
        return self.norm2(clips + self.dropout(self.feedforward(self.norm1(clips))))


class SelfLayer(nn.Module):
    """A layer in which clips attend to clips. Each residual is followed by a norm, and positions are added to queries
    and keys only."""

    def __init__(
        self,
        dim: int,
        heads: int,
        feedforward_dim: int,
        dropout: float,
        activation: type[nn.Module] = PReLU,
        residual: Callable[[float], nn.Module] = Dropout,
    ) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(dim, heads, dropout)
        self.feedforward = FeedForward(dim, feedforward_dim, dropout, activation)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.dropout = residual(dropout)

    def forward(self, clips: Tensor, positions: Tensor, keep: Tensor, packing: Packing | None = None) -> Tensor:
        """Return the clips in their shape. clips, positions: [B, L, d] (packed: [1, R, d]). keep: the mask, as in
        `attend`."""
        placed = clips + positions
        clips = self.norm1(clips + self.dropout(self.attention(placed, placed, clips, keep, packing)))
        return self.norm2(clips + self.dropout(self.feedforward(clips)))


class Stack(nn.Module):
    """Copies of one encoder layer, one after the other, without a norm at the end. Their biases start equal and their
    matrices start different.

    alike: whether matrices start equal, too.
    """

    def __init__(self, layer: CrossLayer | SelfLayer, n_layers: int, *, alike: bool = False) -> None:
        super().__init__()
        self.layers = nn.ModuleList(deepcopy(layer) for _ in range(n_layers))
        if not alike:
            xavier(self)

    def forward(self, clips: Tensor, positions: Tensor, *context: Any) -> Tensor:
        """Return the clips in their shape. clips, positions: [B, L, d]. context: further arguments of the layer."""
        for layer in self.layers:
            clips = layer(clips, positions, *context)
        return clips


def one_sequence(video: Tensor, text: Tensor, video_mask: Tensor, text_mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Join clips [B, L, d] and words [B, N, d] to one sequence, the clips first. video_mask: [B, L]. text_mask: [B, N].

    Returns the rows [B, L + N, d], their positions [B, L + N, d] and their mask [B, L + N]. Words have no position.
    """
    positions = F.pad(clip_positions(video_mask, video.shape[-1]), (0, 0, 0, text.shape[1]))
    return torch.cat((video, text), dim=1), positions, torch.cat((video_mask, text_mask), dim=1)


def sparing_padding(stack: Stack, rows: Tensor, positions: Tensor, mask: Tensor) -> Tensor:
    """Run a stack of self layers over rows [B, L, d], and do not compute padded rows where this saves time. positions:
    [B, L, d]. mask: [B, L], 1 = valid. The result at padded rows must not be used by any loss. They are left out while
    training on a CPU, if there are enough of them. On a GPU they are computed, because a recorded step has fixed
    shapes.
    """
    keep = keep_valid(mask)
    if stack.training and rows.device.type == "cpu" and (packing := Packing(mask)).is_worthwhile:
        return packing.pad(stack(packing.pack(rows), packing.pack(positions), keep, packing))
    return stack(rows, positions, keep)
