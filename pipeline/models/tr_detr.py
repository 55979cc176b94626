"""TR-DETR: the parts, joined. Moment retrieval and highlight detection for one query over one video."""

from __future__ import annotations

from torch import Tensor, nn

from pipeline.config import Model
from pipeline.models.alignment import Projection
from pipeline.models.attention import clip_positions
from pipeline.models.batch import Batch, Outputs
from pipeline.models.cooperation import MomentSimilarity, ScoreHead, inject_scores
from pipeline.models.decoder import DabDecoder, DecoderLayer, MomentHeads
from pipeline.models.encoder import CrossLayer, SelfLayer, Stack, keep_valid, keep_words_as_released
from pipeline.models.refinement import Refinement


class TrDetr(nn.Module):
    """The network in the released formulation, every module of Table 4 a switch.

    video_dim, audio_dim (0: none), text_dim: widths of the raw features; two temporal-endpoint columns belong to
    video and audio each and are added here. clip_s: seconds per clip.
    `alignment` changes no network: its two losses need only the projected features. Without `refinement` the
    projected video goes straight on, without `hd2mr` the encoder runs once, without `mr2hd` the first pass's
    scores are the highlight scores; what is off has no parameters and costs nothing.

    In the released formulation a sample's outputs depend on its batch: the t2v mask's head order
    (`keep_words_as_released`), HD2MR's softmax over padded clips (`inject_scores`), and MR2HD, which scales the
    moment with the padded length, may slice padded clips and runs its GRU to the padded length
    (`MomentSimilarity`). The global alignment loss averages over padded rows, the local one divides by them. A batch
    whose videos (and texts, for that loss) have one length is free of all of these.
    """

    def __init__(self, settings: Model, video_dim: int, audio_dim: int, text_dim: int, clip_s: float) -> None:
        super().__init__()
        dim, heads, dropout = settings.hidden_dim, settings.heads, settings.dropout
        layer = (dim, heads, settings.feedforward_dim, dropout)
        input_dim = video_dim + 2 + (audio_dim + 2 if audio_dim else 0)
        self.dim, self.heads, self.hd2mr = dim, heads, settings.hd2mr
        self.t2v = Stack(CrossLayer(*layer), settings.t2v_layers)
        self.encoder = Stack(SelfLayer(*layer), settings.encoder_layers)
        self.decoder = DabDecoder(DecoderLayer(*layer), dim, settings.queries, settings.decoder_layers)
        self.moments = MomentHeads(dim)
        self.text_projection = Projection(text_dim, dim, settings.input_dropout, n_layers=2)
        self.video_projection = Projection(input_dim, dim, settings.input_dropout, n_layers=2)
        self.score = ScoreHead(dim)
        self.refinement = Refinement(dim, dropout) if settings.refinement else None
        self.mr2hd = MomentSimilarity(dim, clip_s) if settings.mr2hd else None

    def forward(self, batch: Batch) -> Outputs:
        """Predict spans with foreground logits and clip scores for every query of the batch."""
        video, text = self.video_projection(batch.video), self.text_projection(batch.text)
        positions = clip_positions(batch.video_mask, self.dim)
        keep = keep_valid(batch.video_mask)
        joint = self.t2v(self._refined(video, text, batch), positions, text, self._keep_words(batch))
        memory = self.encoder(joint, positions, keep)
        scores = None
        if self.hd2mr:
            scores = self.score(memory)
            memory = self.encoder(inject_scores(memory, joint, scores), positions, keep)
        logits, spans = self.moments(*self.decoder(memory, positions, keep))
        if self.mr2hd is not None:
            similarity = self.mr2hd(logits[-1], spans[-1], video)
            scores = self.score(memory * (1 + similarity[..., None]))
        elif scores is None:
            scores = self.score(memory)
        return Outputs(logits[-1], spans[-1], logits[:-1], spans[:-1], scores, video, text)

    def _refined(self, video: Tensor, text: Tensor, batch: Batch) -> Tensor:
        if self.refinement is None:
            return video
        return self.refinement(video, text, batch.video_mask, batch.text_mask)

    def _keep_words(self, batch: Batch) -> Tensor:
        return keep_words_as_released(batch.video_mask, batch.text_mask, self.heads)
