"""The network of EaTR: an encoder over clips and words in one sequence, slots as moment queries, and a decoder that
starts from them.

Axes: B samples, L clips, N tokens, S = L + N, Q moment queries, d width.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.methods.eatr.events import Slots, pseudo_events
from pipeline.methods.eatr.settings import EatrSettings
from pipeline.models.attention import Mlp, MultiHeadAttention, sine, xavier
from pipeline.models.batch import Batch, Outputs
from pipeline.models.decoder import DecoderLayer, MomentHeads, inverse_sigmoid
from pipeline.models.elementwise import Dropout
from pipeline.models.encoder import SelfLayer, Stack, one_sequence, sparing_padding
from pipeline.models.losses import needed
from pipeline.models.masking import keep_valid
from pipeline.models.projection import Projection


@dataclass(frozen=True, slots=True, kw_only=True)
class EventOutputs(Outputs):
    """The outputs, with the events that the slots found, event_spans [B, Q, 2].

    events, is_event: the results of `pseudo_events`, [B, L + 1, 2] and [B, L + 1]; None if the batch has no labels.
    """

    event_spans: Tensor
    events: Tensor | None = None
    is_event: Tensor | None = None

    def wanted_events(self) -> tuple[Tensor, Tensor]:
        """Return events and is_event. Raises ValueError if the batch was made for prediction."""
        return needed(self.events), needed(self.is_event)


class Eatr(nn.Module):
    """The network. input_dim, text_dim: the widths of a batch's video and text.

    As in the released system, the outputs of a shorter sample depend on its batch. `Slots` and `GatedFusion` explain
    this.
    """

    def __init__(self, settings: EatrSettings, input_dim: int, text_dim: int) -> None:
        super().__init__()
        dim = settings.hidden_dim
        layer = (dim, settings.heads, settings.feedforward_dim, settings.dropout, nn.ReLU)
        self.encoder = Stack(SelfLayer(*layer), settings.encoder_layers)
        self.slots = Slots(dim, settings.queries, settings.slot_iterations)
        layers = [DecoderLayer(*layer), DecoderLayer(*layer)]
        self.decoder = EventDecoder(layers, GatedFusion(dim, settings.dropout), dim, settings.decoder_layers)
        self.text_projection = Projection(text_dim, dim, settings.input_dropout, 2)
        self.video_projection = Projection(input_dim, dim, settings.input_dropout, 2)
        self.score = nn.Linear(dim, 1)
        self.event_norm, self.event_span, self.moments = nn.LayerNorm(dim), Mlp(dim, dim, dim, 2), MomentHeads(dim)
        # With zeros, every span starts in the middle of the video and is half as long as the video.
        for head in (self.event_span, self.moments.span):
            for parameter in head.layers[-1].parameters():
                nn.init.zeros_(parameter)

    def forward(self, batch: Batch) -> EventOutputs:
        """Predict spans with foreground logits, clip scores and events for every query of the batch."""
        video, text = self.video_projection(batch.video), self.text_projection(batch.text)
        rows, positions, mask = one_sequence(video, text, batch.video_mask, batch.text_mask)
        memory = sparing_padding(self.encoder, rows, positions, mask)
        slots = self.slots(video + positions[:, : video.shape[1]], batch.video_mask)
        states, references = self.decoder(
            slots,
            self.event_span(slots).float().sigmoid(),
            memory,
            positions=positions,
            keep=keep_valid(mask),
            words=text.amax(1, keepdim=True),
            move=self.moments.span,
        )
        logits, spans = self.moments(states, references)
        more = {
            "saliency": self.score(memory[:, : video.shape[1]]).squeeze(-1),
            "event_spans": self.event_span(self.event_norm(slots)).sigmoid(),
        }
        if batch.labels is not None:
            more["events"], more["is_event"] = pseudo_events(batch.video, batch.video_mask)
        return EventOutputs.of_layers(logits, spans, **more)


class GatedFusion(nn.Module):
    """Cross-attention from moment queries to words. A gate lets through more where the two are similar.

    All words are first reduced to one row, their maximum. As in the released system, padded rows count in it. The
    attention to a single row is always 1, except for dropout, so half of the matrices of this attention never learn.
    """

    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__()
        self.words, self.queries = MultiHeadAttention(dim, 1, dropout), MultiHeadAttention(dim, 1, dropout)
        self.linear, self.norm, self.dropout = nn.Linear(dim, dim), nn.LayerNorm(dim), Dropout(dropout)

    def forward(self, state: Tensor, words: Tensor) -> Tensor:
        """Return the states [B, Q, d] after the fusion. state: [B, Q, d]. words: [B, 1, d]."""
        text = self.words(state, words, words, None)
        told = state + text
        gated = (state * text).sigmoid() * self.queries(told, told, told, None)
        return self.norm(state + self.dropout(F.relu(self.linear(gated))))


class EventDecoder(nn.Module):
    """DAB decoder layers whose first states are slots, and whose first anchors are the events of the slots.

    layers: the first layer, and the one that the others are copies of. The first layer also passes the fusion with the
    words.
    """

    def __init__(self, layers: list[DecoderLayer], fusion: GatedFusion, dim: int, n_layers: int) -> None:
        super().__init__()
        first, other = layers
        self.dim = dim
        self.layers = nn.ModuleList([first, *(deepcopy(other) for _ in range(n_layers - 1))])
        self.fusion = fusion
        self.content_place = nn.Linear(dim, dim)
        self.place, self.scale, self.width = Mlp(2 * dim, dim, dim), Mlp(dim, dim, dim), Mlp(dim, dim, 1)
        self.norm = nn.LayerNorm(dim)
        xavier(self)

    def forward(
        self,
        state: Tensor,
        reference: Tensor,
        memory: Tensor,
        *,
        positions: Tensor,
        keep: Tensor,
        words: Tensor,
        move: Callable[[Tensor], Tensor],
    ) -> tuple[Tensor, Tensor]:
        """Return states [layers, B, Q, d] (normalised) and references [layers, B, Q, 2], as `DabDecoder` does.

        state: [B, Q, d] and reference: [B, Q, 2], of the slots. memory, positions: [B, S, d]. keep: the mask, as in
        `attend`. words: [B, 1, d]. move: the function from states to the steps of their anchors.
        """
        anchor, states, references = reference.detach(), [], [reference]
        for index, layer in enumerate(self.layers):
            embedding = sine(2 * math.pi * anchor, self.dim).flatten(-2)
            place = self.place(embedding)
            modulated = self.scale(state) * (self.width(state).sigmoid() / anchor[..., 1:])
            state = layer(
                state,
                memory,
                place=place,
                anchor=embedding[..., : self.dim] * modulated,
                positions=positions,
                keep=keep,
                content_place=self.content_place(place) if index == 0 else None,
                between=(lambda x: self.fusion(x, words)) if index == 0 else None,
            )
            states.append(self.norm(state))
            if index + 1 < len(self.layers):
                references.append((move(state) + inverse_sigmoid(anchor)).sigmoid())
                anchor = references[-1].detach()
        return torch.stack(states), torch.stack(references)
