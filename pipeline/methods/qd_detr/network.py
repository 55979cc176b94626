"""The network of QD-DETR. Clips attend to words, a global row scores the clips, and every video is also scored with a
wrong query.

Axes: B samples, L clips, N tokens, d width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pipeline.methods.qd_detr.settings import QdDetrSettings
from pipeline.models.attention import clip_positions
from pipeline.models.batch import Batch, Outputs
from pipeline.models.decoder import DabDecoder, DecoderLayer, MomentHeads
from pipeline.models.encoder import CrossLayer, SelfLayer, Stack, sparing_padding
from pipeline.models.masking import keep_valid, keep_words_as_released
from pipeline.models.projection import Projection
from pipeline.models.scores import AdaptiveScore


class QdDetr(nn.Module):
    """The network. input_dim, text_dim: the widths of a batch's video and text.

    As in the released system, the outputs of a sample depend on its batch. `keep_words_as_released` explains this.
    """

    def __init__(self, settings: QdDetrSettings, input_dim: int, text_dim: int) -> None:
        super().__init__()
        dim, heads = settings.hidden_dim, settings.heads
        layer = (dim, heads, settings.feedforward_dim, settings.dropout)
        self.dim, self.heads = dim, heads
        self.t2v = Stack(CrossLayer(*layer), settings.t2v_layers)
        self.encoder = Stack(SelfLayer(*layer), settings.encoder_layers)
        self.decoder = DabDecoder(DecoderLayer(*layer), dim, settings.queries, settings.decoder_layers)
        self.moments = MomentHeads(dim)
        self.text_projection = Projection(text_dim, dim, settings.input_dropout, 2)
        self.video_projection = Projection(input_dim, dim, settings.input_dropout, 2)
        self.score = AdaptiveScore(dim)
        self.global_row, self.global_place = nn.Parameter(torch.randn(dim)), nn.Parameter(torch.randn(dim))

    def forward(self, batch: Batch) -> Outputs:
        """Predict spans with foreground logits, and clip scores, for every query of the batch.

        If the batch has labels, every video is also scored with the next sample's query. In a batch of one sample this
        is its own query, as in the released system. No prediction depends on these scores.
        """
        video, text = self.video_projection(batch.video), self.text_projection(batch.text)
        positions = clip_positions(batch.video_mask, self.dim)
        memory, scores = self._read(video, positions, text, batch.video_mask, batch.text_mask)
        logits, spans = self.moments(*self.decoder(memory, positions, keep_valid(batch.video_mask)))
        outputs = {"saliency": scores}
        if batch.labels is not None:
            wrong = text.roll(-1, 0), batch.video_mask, batch.text_mask.roll(-1, 0)
            _, outputs["negative_saliency"] = self._read(video, positions, *wrong)
        return Outputs.of_layers(logits, spans, **outputs)

    def _read(
        self, video: Tensor, positions: Tensor, text: Tensor, video_mask: Tensor, text_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the memory of the clips [B, L, d] and their scores [B, L] from projected features [B, L, d] and [B, N,
        d]."""
        keep_words = keep_words_as_released(video_mask, text_mask, self.heads)
        joint = self.t2v(video, positions, text, keep_words)
        row, place = (each.expand(len(video), 1, -1) for each in (self.global_row, self.global_place))
        memory = sparing_padding(
            self.encoder,
            torch.cat((row.to(joint.dtype), joint), dim=1),
            torch.cat((place, positions), dim=1),
            torch.cat((torch.ones_like(video_mask[:, :1]), video_mask), dim=1),
        )
        clips = memory[:, 1:]
        return clips, self.score(clips, memory[:, 0])
