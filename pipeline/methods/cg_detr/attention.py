"""Adaptive cross-attention: clips attend to dummies and words, but only the words add values to them.

Axes: B samples, L clips, D dummies, N words, H heads, d width.
"""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn

from pipeline.models.attention import FeedForward, xavier, zero_bias
from pipeline.models.elementwise import PathDropout, drop


class AdaptiveLayer(nn.Module):
    """A layer whose attention has no matrices for query, key and value. The rest of the layer is that of the t2v layers
    of other methods.

    The dummies have no values. The weights of the words therefore sum to less than one.
    """

    def __init__(self, dim: int, heads: int, feedforward_dim: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.weight_dropout = heads, dropout
        self.out = zero_bias(nn.Linear(dim, dim))
        self.feedforward = FeedForward(dim, feedforward_dim, dropout)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.path = PathDropout(dropout)

    def forward(
        self, clips: Tensor, positions: Tensor, keys: Tensor, words: Tensor, keep: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the clips [B, L, d] and the mean of the heads' weights [B, L, D + N].

        clips, positions: [B, L, d]. keys: [B, D + N, d], of dummies and words. words: [B, N, d]. keep: [B, H, L, D + N]
        bool.
        """
        query, key, value = (
            x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in (clips + positions, keys, words)
        )
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
        weights = scores.masked_fill(~keep, -torch.inf).softmax(-1)
        of_words = weights[..., -words.shape[1] :]
        mixed = (drop(of_words, self.weight_dropout) if self.training else of_words) @ value
        return self.after(clips, self.out(mixed.transpose(1, 2).flatten(2))), weights.mean(1)

    def after(self, clips: Tensor, mixed: Tensor) -> Tensor:
        """Return the clips [B, L, d] after the rest of the layer. mixed: what the attention gives, [B, L, d], or one
        row for all clips."""
        clips = clips + self.path(mixed.expand_as(clips))
        return self.norm2(clips + self.path(self.feedforward(self.norm1(clips))))

    def without_keys(self, token: Tensor) -> Tensor:
        """Return the token [B, 1, d] after an attention that sees no key: only the bias of its output is left."""
        return self.after(token, self.out.bias)


class AdaptiveAttention(nn.Module):
    """The layers of adaptive attention, which the clips and the saliency token pass."""

    def __init__(self, layer: AdaptiveLayer, n_layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(deepcopy(layer) for _ in range(n_layers))
        xavier(self)

    def forward(
        self, clips: Tensor, positions: Tensor, keys: Tensor, words: Tensor, keep: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the clips and the weights, as a layer does. The weights are the mean over the layers."""
        each = []
        for layer in self.layers:
            clips, weights = layer(clips, positions, keys, words, keep)
            each.append(weights)
        return clips, torch.stack(each).mean(0)

    def token(self, token: Tensor) -> Tensor:
        """Return the saliency token [B, 1, d] after all layers. As in the released system, it sees no key."""
        for layer in self.layers:
            token = layer.without_keys(token)  # type: ignore[operator]
        return token
