"""The network of CG-DETR: dummies that attend to the query, adaptive cross-attention, a saliency token, and the parts
that only losses need.

Axes: B samples, L clips, N words, D dummies, P prompts, d width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.methods.cg_detr.attention import AdaptiveAttention, AdaptiveLayer
from pipeline.methods.cg_detr.settings import CgDetrSettings
from pipeline.models.attention import clip_positions
from pipeline.models.batch import Batch, Outputs
from pipeline.models.decoder import DabDecoder, DecoderLayer, MomentHeads
from pipeline.models.elementwise import PathDropout, PReLU
from pipeline.models.encoder import SelfLayer, Stack
from pipeline.models.masking import keep_valid, keep_words_as_released, masked_mean
from pipeline.models.projection import Projection
from pipeline.models.scores import AdaptiveScore

FIXED_DROPOUT = 0.1
"""The dropout rate of the encoders of dummies and sentences, which no setting changes (the released value)."""


class Read(NamedTuple):
    """The network's results for a video and one query.

    memory: [B, L, d]. saliency: [B, L]. share: [B, L], the words' share of the attention. attention: [B, L, D + N].
    picked: [B, P], 1 for the prompts that were chosen for the saliency token.
    """

    memory: Tensor
    saliency: Tensor
    share: Tensor
    attention: Tensor
    picked: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrelatedOutputs(Outputs):
    """The outputs, with the tensors that the correlation losses need.

    share, negative_share: [B, L], as `Read.share`. picked, negative_picked: [B, P]. attention: [B, L, D + N]. dummies:
    [B, D, d]. prompts: [P, d]. The negative tensors, and the negative saliency, exist only if the batch has labels.
    They have a row for every sample. A sample whose next sample has the same source counts in no loss of them.

    sentence, dummy_sentence, moment, other_moment: [B, d]. relevant_clips: [B, L, d], clips that attended to the
    relevant ones. chosen_clips: [B, L, d]: relevant clips attended to relevant clips, and the others to the others.
    words: [B, D + N, d], of both sentences. All of these are None without labels or without moments.
    """

    share: Tensor
    picked: Tensor
    attention: Tensor
    dummies: Tensor
    prompts: Tensor
    negative_share: Tensor | None = None
    negative_picked: Tensor | None = None
    sentence: Tensor | None = None
    dummy_sentence: Tensor | None = None
    moment: Tensor | None = None
    other_moment: Tensor | None = None
    relevant_clips: Tensor | None = None
    chosen_clips: Tensor | None = None
    words: Tensor | None = None


class CgDetr(nn.Module):
    """The network. input_dim, text_dim: the widths of a batch's video and text. moments: whether there are any to
    learn.

    As in the released system, the outputs of a sample depend on its batch. `keep_words_as_released` explains this.
    """

    def __init__(self, settings: CgDetrSettings, input_dim: int, text_dim: int, moments: bool) -> None:
        super().__init__()
        dim, heads, inner = settings.hidden_dim, settings.heads, settings.feedforward_dim
        layer = (dim, heads, inner, settings.dropout)
        kind = (PReLU, PathDropout)
        self.dim, self.heads, self.n_picked, self.learns_moments = dim, heads, settings.prompts_picked, moments
        self.moment_encoder = Stack(SelfLayer(*layer, *kind), 1)
        self.t2v = AdaptiveAttention(AdaptiveLayer(*layer), settings.t2v_layers)
        self.encoder = Stack(SelfLayer(*layer, *kind), settings.encoder_layers)
        self.decoder = DabDecoder(DecoderLayer(*layer, *kind), dim, settings.queries, settings.decoder_layers)
        self.moments = MomentHeads(dim)
        self.types = nn.Parameter(0.02 * torch.randn(2, dim))
        self.text_projection = Projection(text_dim, dim, settings.input_dropout, 2)
        self.video_projection = Projection(input_dim, dim, settings.input_dropout, 2)
        self.score = AdaptiveScore(dim)
        self.prompts, self.token_place = nn.Parameter(torch.randn(settings.prompts, dim)), _row(dim)
        self.moment_row, self.moment_place = _row(dim), _row(dim)
        self.dummy_rows, self.dummy_places = (nn.Parameter(torch.randn(settings.dummies, dim)) for _ in range(2))
        self.sentence_row, self.sentence_place = _row(dim), _row(dim)
        fixed = SelfLayer(dim, heads, inner, FIXED_DROPOUT, *kind)
        self.dummy_encoder = Stack(fixed, settings.dummy_layers, alike=True)
        self.sentence_encoder = Stack(SelfLayer(dim, heads, inner, FIXED_DROPOUT, *kind), 1, alike=True)

    def forward(self, batch: Batch) -> CorrelatedOutputs:
        """Predict spans with foreground logits, and clip scores, for every query of the batch.

        If the batch has labels, every video is also computed with the next sample's query, and moments and sentences
        are encoded. No prediction depends on these two.
        """
        video = self.video_projection(batch.video) + self.types[1]
        text = self.text_projection(batch.text) + self.types[0]
        positions = clip_positions(batch.video_mask, self.dim)
        dummies = self._dummies(text, batch.text_mask)
        keep = keep_words_as_released(batch.video_mask, batch.text_mask, self.heads)
        read = self._read(video, positions, batch.video_mask, dummies, text, keep)
        logits, spans = self.moments(*self.decoder(read.memory, positions, keep_valid(batch.video_mask)))
        more = read._asdict() | {"dummies": dummies, "prompts": self.prompts}
        if batch.labels is not None:
            next_dummies, next_text, next_mask = (x.roll(-1, 0) for x in (dummies, text, batch.text_mask))
            keep = keep_words_as_released(batch.video_mask, next_mask, self.heads, batch.labels.other_source)
            wrong = self._read(video, positions, batch.video_mask, next_dummies, next_text, keep)
            more |= {
                "negative_saliency": wrong.saliency,
                "negative_share": wrong.share,
                "negative_picked": wrong.picked,
            }
        if batch.labels is not None and self.learns_moments:
            more |= self._sentences(text, batch.text_mask, dummies)
            more |= self._moments(video, positions, batch.video_mask, batch.labels.saliency > 0)
        del more["memory"]
        return CorrelatedOutputs.of_layers(logits, spans, **more)

    def _dummies(self, text: Tensor, text_mask: Tensor) -> Tensor:
        """Return the dummies after they attended to the query, [B, D, d]."""
        rows = self.dummy_rows.expand(len(text), -1, -1)
        mask = torch.cat((text_mask.new_ones(rows.shape[:2]), text_mask), dim=1)
        places = torch.cat((self.dummy_places.expand_as(rows), torch.zeros_like(text)), dim=1)
        return self.dummy_encoder(torch.cat((rows, text), dim=1), places, keep_valid(mask))[:, : rows.shape[1]]

    def _read(
        self, video: Tensor, positions: Tensor, video_mask: Tensor, dummies: Tensor, text: Tensor, keep_words: Tensor
    ) -> Read:
        """Return what the network computes of the videos with these words.

        video, positions: [B, L, d]. dummies: [B, D, d]. text: [B, N, d]. keep_words: [B, H, L, N].
        """
        keys = torch.cat((dummies + self.dummy_places, text), dim=1)
        keep = F.pad(keep_words, (dummies.shape[1], 0), value=True)  # Dummies are never masked.
        clips, attention = self.t2v(video, positions, keys, text, keep)
        share = attention[..., dummies.shape[1] :].sum(-1).float().clamp(0, 1)
        token, picked = self._token(video, video_mask, share)
        rows = torch.cat((self.t2v.token(token), clips), dim=1)
        places = torch.cat((self.token_place.expand(len(rows), 1, -1), positions), dim=1)
        mask = torch.cat((torch.ones_like(video_mask[:, :1]), video_mask), dim=1)
        token, clips = self.encoder(rows, places, keep_valid(mask)).split((1, clips.shape[1]), dim=1)
        memory = clips + token
        return Read(memory, self.score(memory, token[:, 0]), share, attention, picked)

    def _token(self, video: Tensor, video_mask: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
        """Return the saliency token [B, 1, d], and the prompts that were chosen for it [B, P]. The token is the mean
        clip plus the prompts that are nearest to the clips that attend to words."""
        centre = masked_mean(video, video_mask)[:, None].detach()
        alike = F.normalize(video - centre, dim=-1) @ F.normalize(self.prompts, dim=-1).T
        weight = share.detach() * video_mask
        near = ((weight / weight.sum(1, keepdim=True))[:, None] @ alike.softmax(-1))[:, 0]
        # The prompts are picked by a mask, not by their numbers, so that the gradient passes through `near`.
        picked = torch.zeros_like(near).scatter(1, near.detach().topk(self.n_picked, dim=1).indices, 1.0)
        return ((near * picked) @ self.prompts)[:, None] + centre, picked

    def _sentences(self, text: Tensor, text_mask: Tensor, dummies: Tensor) -> dict[str, Tensor]:
        """Return one row that sums up the words, one that sums up the dummies, and the rows of both."""
        whole = self._with_learned_row(
            self.sentence_encoder, self.sentence_row, self.sentence_place, text, None, text_mask
        )
        places, mask = self.dummy_places.expand_as(dummies), text_mask.new_ones(dummies.shape[:2])
        rest = self._with_learned_row(
            self.sentence_encoder, self.sentence_row, self.sentence_place, dummies, places, mask
        )
        words = torch.cat((rest[:, 1:], whole[:, 1:]), dim=1)
        return {"sentence": whole[:, 0], "dummy_sentence": rest[:, 0], "words": words}

    def _moments(self, video: Tensor, positions: Tensor, video_mask: Tensor, relevant: Tensor) -> dict[str, Tensor]:
        """Return one row that sums up the relevant clips, one that sums up the others, and the clips after each
        attended to clips of its own kind."""
        inside, outside = (
            self._with_learned_row(
                self.moment_encoder, self.moment_row, self.moment_place, video, positions, video_mask * side
            )
            for side in (relevant, ~relevant)
        )
        return {
            "moment": inside[:, 0],
            "other_moment": outside[:, 0],
            "relevant_clips": inside[:, 1:],
            "chosen_clips": torch.where(relevant[..., None], inside[:, 1:], outside[:, 1:]),
        }

    def _with_learned_row(
        self, encoder: Stack, row: Tensor, place: Tensor, rows: Tensor, places: Tensor | None, mask: Tensor
    ) -> Tensor:
        """Run an encoder over rows [B, K, d] with a learned row before them, which is always a key.

        Returns [B, K + 1, d].
        """
        places = torch.zeros_like(rows) if places is None else places
        led = torch.cat((row.expand(len(rows), 1, -1).to(rows.dtype), rows), dim=1)
        positions = torch.cat((place.expand(len(rows), 1, -1), places), dim=1)
        return encoder(led, positions, keep_valid(F.pad(mask, (1, 0), value=1.0)))


def _row(dim: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(dim))
