"""The network of Moment-DETR: an encoder over clips and words in one sequence, and a plain DETR decoder.

Axes: B samples, L clips, N tokens, S = L + N, Q moment queries, d width.
"""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn

from pipeline.methods.moment_detr.settings import MomentDetrSettings
from pipeline.models.attention import FeedForward, MultiHeadAttention, xavier
from pipeline.models.batch import Batch, Outputs
from pipeline.models.decoder import MomentHeads
from pipeline.models.elementwise import Dropout
from pipeline.models.encoder import SelfLayer, Stack, one_sequence, sparing_padding
from pipeline.models.masking import keep_valid
from pipeline.models.projection import Projection


class MomentDetr(nn.Module):
    """The network. input_dim, text_dim: the widths of a batch's video and text.

    Padding changes nothing, because padded rows are keys of no attention and no mean runs over them.
    """

    def __init__(self, settings: MomentDetrSettings, input_dim: int, text_dim: int) -> None:
        super().__init__()
        dim = settings.hidden_dim
        layer = (dim, settings.heads, settings.feedforward_dim, settings.dropout)
        self.encoder = Stack(SelfLayer(*layer, activation=nn.ReLU), settings.encoder_layers)
        self.decoder = PlainDecoder(PlainDecoderLayer(*layer), dim, settings.queries, settings.decoder_layers)
        self.moments = MomentHeads(dim)
        self.text_projection = Projection(text_dim, dim, settings.input_dropout, 2)
        self.video_projection = Projection(input_dim, dim, settings.input_dropout, 2)
        self.score = nn.Linear(dim, 1)

    def forward(self, batch: Batch) -> Outputs:
        """Predict spans with foreground logits, and clip scores, for every query of the batch."""
        video, text = self.video_projection(batch.video), self.text_projection(batch.text)
        rows, positions, mask = one_sequence(video, text, batch.video_mask, batch.text_mask)
        memory = sparing_padding(self.encoder, rows, positions, mask)
        logits, spans = self.moments(self.decoder(memory, positions, keep_valid(mask)))
        scores = self.score(memory[:, : video.shape[1]]).squeeze(-1)
        return Outputs.of_layers(logits, spans, saliency=scores)


class PlainDecoderLayer(nn.Module):
    """A decoder layer. Moment queries attend to each other, then to clips and words. A norm follows each residual."""

    def __init__(self, dim: int, heads: int, feedforward_dim: int, dropout: float) -> None:
        super().__init__()
        self.self_attention = MultiHeadAttention(dim, heads, dropout)
        self.cross_attention = MultiHeadAttention(dim, heads, dropout)
        self.feedforward = FeedForward(dim, feedforward_dim, dropout, nn.ReLU)
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(dim), nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.dropout = Dropout(dropout)

    def forward(self, state: Tensor, place: Tensor, memory: Tensor, placed_memory: Tensor, keep: Tensor) -> Tensor:
        """Return the states [B, Q, d] after this layer.

        state, place: [B, Q, d]. memory, placed_memory: [B, S, d], the second with its positions added. keep: the mask,
        as in `attend`.
        """
        placed = state + place
        state = self.norm1(state + self.dropout(self.self_attention(placed, placed, state, None)))
        seen = self.cross_attention(state + place, placed_memory, memory, keep)
        state = self.norm2(state + self.dropout(seen))
        return self.norm3(state + self.dropout(self.feedforward(state)))


class PlainDecoder(nn.Module):
    """The decoder of DETR, in which a moment query is a learned position. The states begin at zero.

    Therefore the attention between queries in the first layer gives every query the same constant vector, and its value
    matrix never gets a gradient. The released system has the same property.
    """

    def __init__(self, layer: PlainDecoderLayer, dim: int, queries: int, n_layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(deepcopy(layer) for _ in range(n_layers))
        self.norm = nn.LayerNorm(dim)
        xavier(self)
        self.places = nn.Parameter(torch.randn(queries, dim))

    def forward(self, memory: Tensor, positions: Tensor, keep: Tensor) -> Tensor:
        """Return the states of all layers [layers, B, Q, d], normalised.

        memory, positions: [B, S, d]. keep: the mask, as in `attend`.
        """
        place, placed_memory = self.places.expand(len(memory), -1, -1), memory + positions
        state, states = torch.zeros_like(place, dtype=memory.dtype), []
        for layer in self.layers:
            state = layer(state, place, memory, placed_memory, keep)
            states.append(self.norm(state))
        return torch.stack(states)
