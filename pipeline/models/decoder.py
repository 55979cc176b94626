"""The DAB decoder: moment queries are anchors (centre, width), and every layer moves them.

Source: DAB-DETR in one dimension, as the released systems run it. Axes: B samples, Q queries, L clips, d width.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy

import torch
from torch import Tensor, nn

from pipeline.models.attention import FeedForward, Mlp, attend, sine, xavier, zero_bias
from pipeline.models.elementwise import Dropout, PReLU


class DecoderLayer(nn.Module):
    """Queries attend to each other, and then to the clips by content and by position. Each residual is followed by a
    norm."""

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
        self.heads, self.weight_dropout = heads, dropout
        self.self_query, self.self_query_place = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.self_key, self.self_key_place = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.self_value, self.self_out = nn.Linear(dim, dim), zero_bias(nn.Linear(dim, dim))
        self.cross_query, self.cross_query_place = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.cross_key, self.cross_key_place = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.cross_value, self.cross_out = nn.Linear(dim, dim), zero_bias(nn.Linear(dim, dim))
        self.feedforward = FeedForward(dim, feedforward_dim, dropout, activation)
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(dim), nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.dropout = residual(dropout)

    def forward(
        self,
        state: Tensor,
        memory: Tensor,
        *,
        place: Tensor,
        anchor: Tensor,
        positions: Tensor,
        keep: Tensor,
        content_place: Tensor | None,
        between: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """Compute one layer. Returns the new state [B, Q, d].

        state, place (position of a query), anchor (its modulated sine embedding): [B, Q, d]. memory, positions: [B, L,
        d]. keep: as in `attend`. content_place [B, Q, d]: given only in the first layer, whose states have no content
        yet. It is added to the content query, and the clips' positions are added to the content keys. between: a
        function that changes the state between the two attentions.
        """
        dropout = self.weight_dropout if self.training else 0.0
        query = self.self_query(state) + self.self_query_place(place)
        key = self.self_key(state) + self.self_key_place(place)
        mixed = attend(query, key, self.self_value(state), heads=self.heads, dropout=dropout)
        state = self.norm1(state + self.dropout(self.self_out(mixed)))
        state = state if between is None else between(state)

        query, key, key_place = self.cross_query(state), self.cross_key(memory), self.cross_key_place(positions)
        if content_place is not None:
            query, key = query + content_place, key + key_place
        query = _beside(query, self.cross_query_place(anchor), self.heads)
        key = _beside(key, key_place, self.heads)
        mixed = attend(query, key, self.cross_value(memory), heads=self.heads, keep=keep, dropout=dropout)
        state = self.norm2(state + self.dropout(self.cross_out(mixed)))
        return self.norm3(state + self.dropout(self.feedforward(state)))


class DabDecoder(nn.Module):
    """The layers of the decoder, its anchors, and two small networks: one turns anchors into positions, and one moves
    them."""

    def __init__(self, layer: DecoderLayer, dim: int, queries: int, n_layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(deepcopy(layer) for _ in range(n_layers))
        self.content_place = nn.Linear(dim, dim)
        self.scale, self.place = Mlp(dim, dim, dim), Mlp(dim, dim, dim)
        self.width, self.move = Mlp(dim, dim, 1), Mlp(dim, dim, dim, 2)
        self.norm = nn.LayerNorm(dim)
        xavier(self)
        zero_bias(self.move.layers[-1])  # type: ignore[arg-type]
        self.anchors = nn.Parameter(torch.randn(queries, 2))

    def forward(self, memory: Tensor, positions: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
        """Return the states and the references of all layers. memory, positions: [B, L, d]. keep: the mask, as in
        `attend`. The states are [layers, B, Q, d], normalised. The references are [layers, B, Q, 2]: the anchors
        (centre, width, in 0 … 1) from which each layer's prediction starts. The anchors of the first layer are the same
        for every sample.
        """
        anchor = self.anchors.sigmoid().expand(len(memory), -1, -1)
        state = memory.new_zeros(len(memory), len(self.anchors), memory.shape[-1])
        states, references = [], [anchor]
        for index, layer in enumerate(self.layers):
            embedding = sine(2 * math.pi * anchor, memory.shape[-1] // 2).flatten(-2)
            place = self.place(embedding)
            scaled = embedding if index == 0 else embedding * self.scale(state)
            scaled = scaled * (self.width(state).sigmoid() / anchor[..., 1:])
            state = layer(
                state,
                memory,
                place=place,
                anchor=scaled,
                positions=positions,
                keep=keep,
                content_place=self.content_place(place) if index == 0 else None,
            )
            states.append(self.norm(state))
            if index + 1 < len(self.layers):
                references.append((self.move(state) + inverse_sigmoid(anchor)).sigmoid())
                anchor = references[-1].detach()
        return torch.stack(states), torch.stack(references)


class MomentHeads(nn.Module):
    """The heads that turn decoder states into foreground logits and spans. All layers share them."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.label = nn.Linear(dim, 2)
        self.span = Mlp(dim, dim, dim, 2)

    def forward(self, states: Tensor, references: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return logits [..., 2] (index 0 = foreground) and spans [..., 2] from states [..., d]. references: [..., 2],
        from which spans start. With None they start at the middle, with half the video's width.
        """
        moved = self.span(states)
        return self.label(states), (moved if references is None else moved + inverse_sigmoid(references)).sigmoid()


def inverse_sigmoid(x: Tensor) -> Tensor:
    """Return the logit of x in 0 … 1. Numerator and denominator are kept above 0.001, so that the result is finite."""
    x = x.clamp(0, 1)
    return (x.clamp(min=1e-3) / (1 - x).clamp(min=1e-3)).log()


def _beside(content: Tensor, place: Tensor, heads: int) -> Tensor:
    """Join, per head, the content features and the position features: two [B, K, H·e] to [B, K, H·2e]."""
    pair = [x.unflatten(-1, (heads, -1)) for x in (content, place)]
    return torch.cat(pair, dim=-1).flatten(-2)
