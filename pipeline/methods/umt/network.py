"""The network of UMT. Axes: B samples, L clips, N tokens, d width.

The outputs of a sample depend on the padded length of its batch because, as released, padded clips are keys of the
decoder.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.methods.contract import Inputs
from pipeline.methods.umt.layers import Attention, BottleneckLayer, DecoderLayer, EncoderLayer, Positions
from pipeline.methods.umt.settings import UmtSettings
from pipeline.models.batch import Batch
from pipeline.models.elementwise import Dropout
from pipeline.models.masking import keep_valid

MOMENT_HEADS = ("centre", "window", "offset")
"""The outputs that describe the moment whose centre may be in a clip."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeakOutputs:
    """The outputs for every clip, [B, L] float32 each. An output is None if the dataset has no labels for it.

    saliency, centre: the logits of being a highlight and of being the centre of a moment. window: the width of the
    moment. offset: the distance from the clip's start to the centre. Both are in clips, unbounded. mask: 1 = valid.
    """

    mask: Tensor
    saliency: Tensor | None = None
    centre: Tensor | None = None
    window: Tensor | None = None
    offset: Tensor | None = None

    @property
    def scored(self) -> Tensor:
        """Return the logits of the clip scores: those of highlights, or those of centres if nobody rated clips."""
        scored = self.saliency if self.saliency is not None else self.centre
        if scored is None:
            raise ValueError("a network needs moments or ratings to learn from")
        return scored


class Modality(nn.Module):
    """The encoder of one modality, in which its clips attend to each other. It has no norm at its end."""

    def __init__(self, input_dim: int, settings: UmtSettings, layer: tuple[int, int, int, float]) -> None:
        super().__init__()
        self.dropout = Dropout(settings.input_dropout)
        self.linear = nn.Linear(input_dim, settings.hidden_dim)
        self.positions = Positions(settings.hidden_dim, settings.positions, settings.dropout)
        self.layer = EncoderLayer(*layer)

    def forward(self, rows: Tensor, keep: Tensor) -> Tensor:
        """Return clips [B, L, d]. rows: [B, L, input_dim]. keep: the mask, as in `attend`."""
        clips = self.linear(self.dropout(rows))
        return self.layer(clips, self.positions(clips), keep)


class Umt(nn.Module):
    """The network, with those heads for which the dataset has labels. Without audio only the video is encoded."""

    def __init__(self, settings: UmtSettings, inputs: Inputs) -> None:
        super().__init__()
        dim, dropout = settings.hidden_dim, settings.dropout
        layer = (dim, settings.heads, settings.feedforward_dim, dropout)
        self.video_dim, self.audio_dim, self.text_mask = inputs.video_dim, inputs.audio_dim, settings.text_mask
        self.video = Modality(inputs.video_dim, settings, layer)
        if inputs.audio_dim:
            self.audio = Modality(inputs.audio_dim, settings, layer)
            self.crossing_positions = Positions(dim, settings.positions, dropout)
            self.tokens = nn.Parameter(torch.randn(settings.bottleneck_tokens, dim) * dim**-0.5)
            self.crossing = BottleneckLayer(*layer)
            self.fused_norm = nn.LayerNorm(dim)
        self.text_dropout = Dropout(settings.text_dropout)
        self.text_linear = nn.Linear(inputs.text_dim, dim, bias=False)
        self.text_norm = nn.LayerNorm(dim)
        self.asking = Attention(dim, settings.heads, dropout)
        self.query_positions = Positions(dim, settings.positions, dropout)
        self.key_positions = Positions(dim, settings.positions, dropout)
        self.decoder = nn.ModuleList(DecoderLayer(*layer) for _ in range(settings.decoder_layers))
        self.decoder_norm = nn.LayerNorm(dim)
        names = ("saliency",) * inputs.highlights + MOMENT_HEADS * inputs.moments
        self.heads = nn.ModuleDict({name: nn.Linear(dim, 1) for name in names})
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_normal_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, batch: Batch) -> PeakOutputs:
        """Return the outputs for every clip of the batch."""
        memory = self._clips(batch)
        text = self.text_norm(self.text_linear(self.text_dropout(batch.text)))
        keep = keep_valid(batch.text_mask) if self.text_mask else None
        queries = self.asking(memory, text, text, keep)
        query_places, places = self.query_positions(queries), self.key_positions(memory)
        for layer in self.decoder:
            queries = layer(queries, memory, query_places, places)
        states = self.decoder_norm(queries)
        found = {name: head(states).squeeze(-1).float() for name, head in self.heads.items()}
        return PeakOutputs(mask=batch.video_mask, **found)

    def _clips(self, batch: Batch) -> Tensor:
        """Return video and audio joined, [B, L, d]. The endpoint columns of a batch are not read."""
        keep = keep_valid(batch.video_mask)
        video = self.video(batch.video[..., : self.video_dim], keep)
        if not self.audio_dim:
            return video
        first = self.video_dim + 2
        audio = self.audio(batch.video[..., first : first + self.audio_dim], keep)
        tokens = self.tokens.expand(len(video), -1, -1)
        video, audio = self.crossing(video, audio, tokens, self.crossing_positions(video), keep)
        return self.fused_norm(video + audio)
