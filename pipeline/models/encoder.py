"""Encoder layers of this family: clips that look at words (t2v) and clips that look at each other.

Axes: B samples, L clips, N tokens, d width.
"""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn

from pipeline.models.attention import FeedForward, MultiHeadAttention, xavier


class CrossLayer(nn.Module):
    """Clips attend to words; norm before the feed-forward, residual around it, norm after it."""

    def __init__(self, dim: int, heads: int, feedforward_dim: int, dropout: float) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(dim, heads, dropout)
        self.feedforward = FeedForward(dim, feedforward_dim, dropout)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, clips: Tensor, positions: Tensor, words: Tensor, keep: Tensor) -> Tensor:
        """clips, positions [B, L, d], words [B, N, d], keep as in `attend`. Returns [B, L, d]."""
        clips = clips + self.dropout(self.attention(clips + positions, words, words, keep))
        return self.norm2(clips + self.dropout(self.feedforward(self.norm1(clips))))


class SelfLayer(nn.Module):
    """Clips attend to clips; norms after each residual, positions on queries and keys only."""

    def __init__(self, dim: int, heads: int, feedforward_dim: int, dropout: float) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(dim, heads, dropout)
        self.feedforward = FeedForward(dim, feedforward_dim, dropout)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, clips: Tensor, positions: Tensor, keep: Tensor) -> Tensor:
        """clips, positions [B, L, d], keep as in `attend`. Returns [B, L, d]."""
        placed = clips + positions
        clips = self.norm1(clips + self.dropout(self.attention(placed, placed, clips, keep)))
        return self.norm2(clips + self.dropout(self.feedforward(clips)))


class Stack(nn.Module):
    """Copies of one encoder layer, one after the other: biases start equal, matrices differ. No norm at the end."""

    def __init__(self, layer: CrossLayer | SelfLayer, n_layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(deepcopy(layer) for _ in range(n_layers))
        xavier(self)

    def forward(self, clips: Tensor, positions: Tensor, *context: Tensor) -> Tensor:
        """clips, positions [B, L, d]; context: what the layer takes besides. Returns [B, L, d]."""
        for layer in self.layers:
            clips = layer(clips, positions, *context)
        return clips


def keep_valid(mask: Tensor) -> Tensor:
    """[B, K] float, 1 = valid, to a mask [B, 1, 1, K] that drops padded keys."""
    return (mask > 0)[:, None, None]


def keep_words_as_released(video_mask: Tensor, text_mask: Tensor, heads: int) -> Tensor:
    """The t2v mask of the released system, with its mistake. Returns [B, H, L, N].

    Padded words are dropped. Besides, head h of sample b loses (clip, word) where both are padded in sample
    g = (H·b + h) mod B: a mask built per sample was tiled with heads outermost and read with samples outermost.
    At least the first word always stays.
    """
    n_samples = len(text_mask)
    other = torch.arange(n_samples * heads, device=text_mask.device).remainder(n_samples).view(n_samples, heads)
    both_padded = (video_mask == 0)[other][..., :, None] & (text_mask == 0)[other][..., None, :]
    return keep_valid(text_mask) & ~both_padded
