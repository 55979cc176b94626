"""The network of UniVTG: an encoder over one sequence of clips and words, and heads that predict for every clip.

Axes: B samples, L clips, N tokens, d width.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.methods.contract import Inputs
from pipeline.methods.univtg.settings import UniVtgSettings
from pipeline.models.attention import FeedForward
from pipeline.models.batch import Batch
from pipeline.models.elementwise import PathDropout
from pipeline.models.encoder import SelfLayer, Stack, one_sequence
from pipeline.models.masking import keep_valid, masked_softmax
from pipeline.models.projection import Projection

EXCLUDED = -103.27893
"""The number that is added to the score of a clip to exclude it: the logarithm of float32's smallest number, as
released."""

TEXT, VIDEO = range(2)
"""Number of rows of the table of type vectors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipOutputs:
    """The network's predictions for every clip. All tensors are float32.

    foreground: [B, L], the probability that the clip belongs to a moment. offsets: [B, L, 2], the distances from the
    clip's time to the start and to the end of its moment, as fractions of the video; the first one is negative.
    saliency: [B, L], the cosine between the vectors of the clip and of the query; `EXCLUDED` is added for padded clips.
    video: [B, L, d], the vectors of the clips. query: [B, d], the vectors of the queries.
    """

    foreground: Tensor
    offsets: Tensor
    saliency: Tensor
    video: Tensor
    query: Tensor


class PathLayer(SelfLayer):
    """The shared encoder layer with GELU, and with whole branches dropped instead of single values."""

    def __init__(self, dim: int, heads: int, feedforward_dim: int, dropout: float, drop_path: float) -> None:
        super().__init__(dim, heads, feedforward_dim, dropout)
        self.feedforward = FeedForward(dim, feedforward_dim, 0.0, nn.GELU)
        self.dropout = PathDropout(drop_path)


class ClipHead(nn.Module):
    """A head of three convolutions over time, with ReLU between them. As released, padded clips are convolved like
    valid ones."""

    def __init__(self, dim: int, out_dim: int) -> None:
        super().__init__()
        widths = (dim, dim, dim, out_dim)
        self.layers = nn.ModuleList(nn.Conv1d(a, b, 3, padding=1) for a, b in pairwise(widths))

    def forward(self, clips: Tensor) -> Tensor:
        """Return [B, L, out_dim] in 0 … 1, from clips [B, L, d]."""
        x = clips.transpose(1, 2)
        for index, layer in enumerate(self.layers):
            x = layer(F.relu(x) if index else x)
        return x.transpose(1, 2).sigmoid()


class UniVtg(nn.Module):
    """The network. The clip scores compare only projected features, which contain neither context nor positions."""

    def __init__(self, settings: UniVtgSettings, inputs: Inputs) -> None:
        super().__init__()
        dim = settings.hidden_dim
        layer = PathLayer(dim, settings.heads, settings.feedforward_dim, settings.dropout, settings.drop_path)
        self.encoder = Stack(layer, settings.encoder_layers)
        self.types = nn.Parameter(0.02 * torch.randn(2, dim))
        self.boundary, self.foreground = ClipHead(dim, 2), ClipHead(dim, 1)
        self.text_projection = Projection(inputs.text_dim, dim, settings.input_dropout, 2)
        self.video_projection = Projection(inputs.video_columns, dim, settings.input_dropout, 2)
        self.pool = nn.Parameter(torch.empty(dim))
        nn.init.uniform_(self.pool, -((6 / (dim + 1)) ** 0.5), (6 / (dim + 1)) ** 0.5)
        self.register_buffer("signs", torch.tensor([-1.0, 1.0]), persistent=False)

    def forward(self, batch: Batch) -> ClipOutputs:
        """Return the predictions for every clip of the batch."""
        video = self.video_projection(batch.video) + self.types[VIDEO]
        text = self.text_projection(batch.text) + self.types[TEXT]
        rows, positions, mask = one_sequence(video, text, batch.video_mask, batch.text_mask)
        clips = self.encoder(rows, positions, keep_valid(mask))[:, : video.shape[1]]
        query = (masked_softmax(text @ self.pool, batch.text_mask, dim=1)[:, None] @ text).squeeze(1)
        video, query = video.float(), query.float()  # The cosine is computed in float32 under autocast, too.
        alike = F.cosine_similarity(video, query[:, None], dim=-1)
        return ClipOutputs(
            foreground=self.foreground(clips).squeeze(-1).float(),
            offsets=self.boundary(clips).float() * self.signs,
            saliency=alike + (1 - batch.video_mask) * EXCLUDED,
            video=video,
            query=query,
        )


def times(n_clips: Tensor, length: int, clip_s: float) -> Tensor:
    """Return the time that stands for each clip, as a fraction of its video: [B, length] float32, 0 at padded clips.

    The time is (i + clip_s / 2) / ℓ, as released: the middle of a clip of one second, and the end of a clip of two.
    n_clips: [B], the ℓ of each sample.
    """
    place = torch.arange(length, device=n_clips.device)
    return torch.where(place < n_clips[:, None], (place + clip_s / 2) / n_clips[:, None], 0.0)
