"""The layers of UMT. There is a norm before each part, the sums of residuals are never normalised, and positions are
learned tables.

Axes: B samples, L clips, d width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pipeline.errors import PipelineError
from pipeline.models.attention import FeedForward, attend
from pipeline.models.elementwise import Dropout
from pipeline.nouns import counted


class Attention(nn.Module):
    """Multi-head attention of four matrices, with dropout on its weights and on its output."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.weight_dropout = heads, dropout
        self.query, self.key, self.value, self.out = (nn.Linear(dim, dim) for _ in range(4))
        self.dropout = Dropout(dropout)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, keep: Tensor | None = None) -> Tensor:
        """Return [B, Q, d]. query: [B, Q, d]. key, value: [B, K, d]. keep: the mask, as in `attend`."""
        dropout = self.weight_dropout if self.training else 0.0
        query, key, value = self.query(query), self.key(key), self.value(value)
        mixed = attend(query, key, value, heads=self.heads, keep=keep, dropout=dropout, plain=True)
        return self.dropout(self.out(mixed))


class Positions(nn.Module):
    """A learned vector for every row of a padded batch, with dropout. Later layers may share the table."""

    def __init__(self, dim: int, rows: int, dropout: float) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(rows, dim) * dim**-0.5)
        self.dropout = Dropout(dropout)

    def forward(self, clips: Tensor) -> Tensor:
        """Return the positions [B, L, d] of clips [B, L, d]. Raises PipelineError if a video is longer than the
        table."""
        if clips.shape[1] > len(self.table):
            raise PipelineError(
                f"a video has {counted(clips.shape[1], 'clip')}, and `positions` is {len(self.table)}",
                where="model",
                remedy="raise `positions` in the section `model`, or cut videos with `max_clips`",
            )
        return self.dropout(self.table[: clips.shape[1]].expand_as(clips))


def feed_forward(dim: int, inner_dim: int, dropout: float) -> nn.Sequential:
    """Return two linear layers with a ReLU and dropout between them, and dropout after them."""
    return nn.Sequential(FeedForward(dim, inner_dim, dropout, nn.ReLU), Dropout(dropout))


class EncoderLayer(nn.Module):
    """A layer in which the clips of one modality attend to each other."""

    def __init__(self, dim: int, heads: int, feedforward_dim: int, dropout: float) -> None:
        super().__init__()
        self.attention = Attention(dim, heads, dropout)
        self.feedforward = feed_forward(dim, feedforward_dim, dropout)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)

    def forward(self, clips: Tensor, places: Tensor, keep: Tensor) -> Tensor:
        """Return the clips [B, L, d] after this layer. clips, places: [B, L, d]. keep: the mask, as in `attend`."""
        normed = self.norm1(clips)
        clips = clips + self.attention(normed + places, normed + places, normed, keep)
        return clips + self.feedforward(self.norm2(clips))


class BottleneckLayer(nn.Module):
    """A layer in which video and audio exchange information through a few tokens. The tokens attend to both, and both
    attend to the tokens."""

    def __init__(self, dim: int, heads: int, feedforward_dim: int, dropout: float) -> None:
        super().__init__()
        self.attention1, self.attention2, self.attention3, self.attention4 = (
            Attention(dim, heads, dropout) for _ in range(4)
        )
        self.feedforward1, self.feedforward2 = (feed_forward(dim, feedforward_dim, dropout) for _ in range(2))
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(dim), nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.norm4, self.norm5, self.norm6 = nn.LayerNorm(dim), nn.LayerNorm(dim), nn.LayerNorm(dim)

    def forward(
        self, video: Tensor, audio: Tensor, tokens: Tensor, places: Tensor, keep: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return new video and audio. video, audio, places: [B, L, d]. tokens: [B, 4, d]. keep: the mask, as in
        `attend`."""
        seen, heard, asking = self.norm1(video), self.norm2(audio), self.norm3(tokens)
        placed_video, placed_audio = seen + places, heard + places
        tokens = tokens + self.attention1(asking, placed_video, seen, keep)
        tokens = self.norm4(tokens + self.attention2(asking, placed_audio, heard, keep))
        video = video + self.attention3(placed_video, tokens, tokens)
        audio = audio + self.attention4(placed_audio, tokens, tokens)
        return video + self.feedforward1(self.norm5(video)), audio + self.feedforward2(self.norm6(audio))


class DecoderLayer(nn.Module):
    """A layer in which clip queries attend to each other, then to the clips. As released, neither attention is
    masked."""

    def __init__(self, dim: int, heads: int, feedforward_dim: int, dropout: float) -> None:
        super().__init__()
        self.attention1, self.attention2 = Attention(dim, heads, dropout), Attention(dim, heads, dropout)
        self.feedforward = feed_forward(dim, feedforward_dim, dropout)
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(dim), nn.LayerNorm(dim), nn.LayerNorm(dim)

    def forward(self, queries: Tensor, memory: Tensor, query_places: Tensor, places: Tensor) -> Tensor:
        """Return the queries [B, L, d], not normalised. All arguments are [B, L, d]."""
        normed = self.norm1(queries)
        queries = queries + self.attention1(normed + query_places, normed + query_places, normed)
        queries = queries + self.attention2(self.norm2(queries) + query_places, memory + places, memory)
        return queries + self.feedforward(self.norm3(queries))
