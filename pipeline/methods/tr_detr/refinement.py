"""Visual feature refinement: attention in both directions emphasises those parts of the video that the query asks for.

Axes: B samples, L clips, N tokens, d width. They are equations (6)-(10) of the paper.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.models.elementwise import Dropout
from pipeline.models.masking import masked_mean, masked_softmax


class Refinement(nn.Module):
    """The released form: trilinear similarity, a learned pool of the text, two linear layers and a ReLU."""

    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__()
        self.clip_weight = nn.Parameter(torch.empty(dim))
        self.word_weight = nn.Parameter(torch.empty(dim))
        self.product_weight = nn.Parameter(torch.empty(dim))
        self.pool_weight = nn.Parameter(torch.empty(dim))
        self.dropout = Dropout(dropout)
        self.mix = nn.Linear(4 * dim, dim)
        self.fuse = nn.Linear(2 * dim, dim)
        for weight in (self.clip_weight, self.word_weight, self.pool_weight):
            nn.init.uniform_(weight, -((6 / (dim + 1)) ** 0.5), (6 / (dim + 1)) ** 0.5)
        nn.init.uniform_(self.product_weight, -((3 / dim) ** 0.5), (3 / dim) ** 0.5)

    def forward(self, video: Tensor, text: Tensor, video_mask: Tensor, text_mask: Tensor) -> Tensor:
        """Return refined clips [B, L, d], which are not negative. video: [B, L, d]. text: [B, N, d]. The masks are [B,
        L] and [B, N]."""
        similarity = self._similarity(self.dropout(video), self.dropout(text))
        words, clips = attended_words_and_clips(similarity, video, text, video_mask, text_mask)
        mixed = self.mix(torch.cat((video, words, video * words, video * clips), dim=-1))
        pooled = masked_softmax(text @ self.pool_weight, text_mask, dim=1)[:, None] @ text
        return F.relu(self.fuse(torch.cat((mixed, pooled.expand_as(mixed)), dim=-1)))

    def _similarity(self, video: Tensor, text: Tensor) -> Tensor:
        """Return the similarity of every clip with every word, [B, L, N]."""
        alone = (video @ self.clip_weight)[:, :, None] + (text @ self.word_weight)[:, None]
        return alone + (video * self.product_weight) @ text.transpose(1, 2)


class PrintedRefinement(nn.Module):
    """The printed form: a scaled dot product of two projections, five parts, and one linear layer.

    The paper says only "pooling" about the pool of the text. Here it is the mean, as in equation (5).
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.clip, self.word = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.fuse = nn.Linear(5 * dim, dim)

    def forward(self, video: Tensor, text: Tensor, video_mask: Tensor, text_mask: Tensor) -> Tensor:
        """Return refined clips [B, L, d]. video: [B, L, d]. text: [B, N, d]. The masks are [B, L] and [B, N]."""
        similarity = self.clip(video) @ self.word(text).transpose(1, 2) / video.shape[-1] ** 0.5
        words, clips = attended_words_and_clips(similarity, video, text, video_mask, text_mask)
        pooled = masked_mean(text, text_mask)[:, None].expand_as(video)
        return self.fuse(torch.cat((video, words, video * words, video * clips, pooled), dim=-1))


def attended_words_and_clips(
    similarity: Tensor, video: Tensor, text: Tensor, video_mask: Tensor, text_mask: Tensor
) -> tuple[Tensor, Tensor]:
    """Return for each clip the words that it resembles, and the clips that those words resemble: two tensors [B, L, d]
    (equations (7) and (8)).

    similarity: [B, L, N]. video: [B, L, d]. text: [B, N, d].
    """
    over_words = masked_softmax(similarity, text_mask[:, None], dim=2)
    over_clips = masked_softmax(similarity, video_mask[:, :, None], dim=1)
    return over_words @ text, over_words @ (over_clips.transpose(1, 2) @ video)
