"""The network of TR-DETR, joined from its parts: moment retrieval and highlight detection for a query over a video."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from pipeline.methods.tr_detr.cooperation import MomentSimilarity, PrintedMomentSimilarity, ScoreHead, inject_scores
from pipeline.methods.tr_detr.refinement import PrintedRefinement, Refinement
from pipeline.methods.tr_detr.settings import TrDetrSettings
from pipeline.models.attention import clip_positions
from pipeline.models.batch import Batch, Outputs
from pipeline.models.decoder import DabDecoder, DecoderLayer, MomentHeads
from pipeline.models.encoder import CrossLayer, SelfLayer, Stack, sparing_padding
from pipeline.models.masking import keep_valid, keep_words_as_released
from pipeline.models.projection import Projection


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignedOutputs(Outputs):
    """The outputs, with the projected features that the alignment losses compare: video [B, L, d], text [B, N, d]."""

    video: Tensor
    text: Tensor


class TrDetr(nn.Module):
    """The network in both formulations. Every module of Table 4 has a switch.

    video_dim, audio_dim (0: none), text_dim: the widths of the raw features. A batch adds two columns to video and two
    to audio: the temporal endpoints. clip_s: the seconds of a clip. A module that is switched off has no parameters and
    takes no time. `alignment` changes nothing in the network, because its two losses need only the projected features.
    Without `refinement` the next part gets the projected video. Without `hd2mr` the encoder runs once. Without `mr2hd`
    the scores of the first pass are the highlight scores.

    Formulation `released` is what made the published numbers. In it the outputs of a sample depend on its batch in
    three places: the head order of the t2v mask (`keep_words_as_released`), the softmax of HD2MR over padded clips
    (`inject_scores`), and MR2HD (`MomentSimilarity`), which scales the moment with the padded length, may slice padded
    clips, and runs its GRU to the padded length. The global alignment loss averages over padded rows, and the local one
    divides by their number. If all videos of a batch (and, for that loss, all texts) have the same length, nothing
    depends on the batch.

    Formulation `paper` has the printed equations (1)-(16). In it padding changes nothing. The attention of (11) and the
    MHA of (12) and (13) are the attention inside these encoder layers. What the paper does not mention (positions,
    feed-forward layers, PReLU, decoder, endpoints, dropout) is the same in both. In training the printed form also
    scores every video with the next sample's query, through the whole network, for the loss that it shares with
    QD-DETR.
    """

    def __init__(self, settings: TrDetrSettings, video_dim: int, audio_dim: int, text_dim: int, clip_s: float) -> None:
        super().__init__()
        dim, heads, dropout = settings.hidden_dim, settings.heads, settings.dropout
        layer = (dim, heads, settings.feedforward_dim, dropout)
        input_dim = video_dim + 2 + (audio_dim + 2 if audio_dim else 0)
        self.dim, self.heads, self.hd2mr = dim, heads, settings.hd2mr
        self.printed = settings.formulation == "paper"
        self.plain_masks = self.printed or settings.plain_masks
        n_projections = 3 if self.printed else 2
        self.t2v = Stack(CrossLayer(*layer), settings.t2v_layers)
        self.encoder = Stack(SelfLayer(*layer), settings.encoder_layers)
        self.decoder = DabDecoder(DecoderLayer(*layer), dim, settings.queries, settings.decoder_layers)
        self.moments = MomentHeads(dim)
        self.text_projection = Projection(text_dim, dim, settings.input_dropout, n_projections)
        self.video_projection = Projection(input_dim, dim, settings.input_dropout, n_projections)
        self.score = ScoreHead(dim)
        self.refinement: nn.Module | None = None
        if settings.refinement:
            self.refinement = PrintedRefinement(dim) if self.printed else Refinement(dim, dropout)
        self.mr2hd: nn.Module | None = None
        if settings.mr2hd:
            self.mr2hd = (PrintedMomentSimilarity if self.printed else MomentSimilarity)(dim, clip_s)

    def forward(self, batch: Batch) -> AlignedOutputs:
        """Predict spans with foreground logits, and clip scores, for every query of the batch."""
        video, text = self.video_projection(batch.video), self.text_projection(batch.text)
        outputs = self._predict(video, text, batch.video_mask, batch.text_mask)
        if self.printed and self.training and len(text) > 1:
            wrong = self._predict(video, text.roll(-1, 0), batch.video_mask, batch.text_mask.roll(-1, 0))
            return replace(outputs, negative_saliency=wrong.saliency)
        return outputs

    def _predict(self, video: Tensor, text: Tensor, video_mask: Tensor, text_mask: Tensor) -> AlignedOutputs:
        """Predict from projected features [B, L, d] and [B, N, d]."""
        positions, keep = clip_positions(video_mask, self.dim), keep_valid(video_mask)
        mask = video_mask if self.printed else torch.ones_like(video_mask)
        refined = video if self.refinement is None else self.refinement(video, text, video_mask, text_mask)
        joint = self.t2v(refined, positions, text, self._keep_words(video_mask, text_mask))
        scores = None
        if self.hd2mr:
            memory = self.encoder(joint, positions, keep)
            scores = self.score(memory)
            base = joint if self.printed else memory
            joint_again = inject_scores(base, joint, scores, mask)
            memory = sparing_padding(self.encoder, joint_again, positions, video_mask)
        else:
            memory = sparing_padding(self.encoder, joint, positions, video_mask)
        logits, spans = self.moments(*self.decoder(memory, positions, keep))
        if self.mr2hd is not None:
            base, weight = joint if self.printed else memory, self.mr2hd(logits[-1], spans[-1], video, mask)
            scores = self.score(base + weight[..., None] * memory)
        elif scores is None:
            scores = self.score(memory)
        return AlignedOutputs.of_layers(logits, spans, saliency=scores, video=video, text=text)

    def _keep_words(self, video_mask: Tensor, text_mask: Tensor) -> Tensor:
        return keep_valid(text_mask) if self.plain_masks else keep_words_as_released(video_mask, text_mask, self.heads)
