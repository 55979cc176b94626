"""Task cooperation: highlight scores that steer retrieval (HD2MR), retrieved moments that steer scores (MR2HD).

Axes: B samples, L clips, Q queries, d width. The paper's equations (12)-(16).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.models.gru import last_state, run_gru
from pipeline.models.masking import masked_softmax


class ScoreHead(nn.Module):
    """One score per clip: the features of a linear layer, summed, over √d. Equal to one linear d → 1 in effect."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, dim)

    def forward(self, clips: Tensor) -> Tensor:
        """[B, L, d] to [B, L], unbounded."""
        weight, bias = self.linear.weight.sum(0), self.linear.bias.sum()  # summed before, not after the product
        return (clips @ weight + bias) / clips.shape[-1] ** 0.5


def inject_scores(base: Tensor, joint: Tensor, scores: Tensor, counted: Tensor) -> Tensor:
    """HD2MR, equation (13): what enters the second encoder pass.

    base [B, L, d]: released adds to the first pass, the paper to Z itself; joint [B, L, d]: Z; scores [B, L];
    counted [B, L]: the clips that take part in the softmax (released: padded ones too). Returns [B, L, d].
    """
    return base + masked_softmax(scores, counted, dim=1)[..., None] * joint


class MomentSimilarity(nn.Module):
    """MR2HD, equations (14), (15), released form: how much each clip resembles the best moment.

    The GRU runs on through the zero rows behind the moment to the padded length L, and mostly forgets it.
    """

    def __init__(self, dim: int, clip_s: float) -> None:
        super().__init__()
        self.clip_s = clip_s
        self.gru = nn.GRU(dim, dim, batch_first=True)

    def forward(self, logits: Tensor, spans: Tensor, video: Tensor, counted: Tensor) -> Tensor:
        """logits, spans [B, Q, 2], video [B, L, d] projected; counted [B, L]: all clips, padded ones too.

        Returns plain dot products [B, L].
        """
        start, end = best_moment(logits, spans, counted.sum(1), self.clip_s)
        state = last_state(self.gru, slice_rows(video, start, end))
        return torch.einsum("bld,bd->bl", video, state.to(video.dtype))


class PrintedMomentSimilarity(MomentSimilarity):
    """MR2HD as printed: the GRU over the moment alone, its last state compared by cosine, a softmax over the video.

    "The retrieved moments" are read as the best one; its bounds are kept within the video, one clip at least.
    """

    def forward(self, logits: Tensor, spans: Tensor, video: Tensor, counted: Tensor) -> Tensor:
        """As above, counted [B, L]: valid clips. Returns weights [B, L] that sum to 1."""
        last = counted.sum(1).long() - 1
        start, end = best_moment(logits, spans, counted.sum(1), self.clip_s)
        start, end = (torch.minimum(at.clamp(min=0), last) for at in (start, end))
        states, _ = run_gru(self.gru, slice_rows(video, start, end))
        state = states[torch.arange(len(end), device=end.device), end - start]
        return masked_softmax(F.cosine_similarity(video, state[:, None], dim=-1), counted, dim=1)


@torch.no_grad()
def best_moment(logits: Tensor, spans: Tensor, n_clips: Tensor, clip_s: float) -> tuple[Tensor, Tensor]:
    """First and last clip of the query with the largest foreground probability.

    logits, spans [B, Q, 2]; n_clips [B] float: released takes the padded length for all. Returns two long [B];
    the first may be negative, the last beyond the video. float32 in this order: a floor depends on the rounding.
    """
    best = logits.softmax(-1)[..., 0].argmax(1)
    centre, width = spans[torch.arange(len(best), device=best.device), best].float().unbind(-1)
    start = (centre - 0.5 * width) * (n_clips * clip_s) / clip_s
    end = (centre + 0.5 * width) * (n_clips * clip_s) / clip_s
    return start.floor().long(), end.floor().long()


def slice_rows(rows: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """rows[start : end + 1] of every sample, zero rows behind it up to the full length.

    rows [B, L, d]; start, end long [B], with the sequence semantics the released system falls into: a negative
    bound counts from the back, what lies outside is cut, an empty slice is all zeros. Returns [B, L, d].
    """
    length = rows.shape[1]
    first, stop = (torch.where(at < 0, at + length, at).clamp(0, length) for at in (start, end + 1))
    index = first[:, None] + torch.arange(length, device=rows.device)
    taken = rows.gather(1, index.clamp(max=length - 1)[..., None].expand_as(rows))
    return taken * (index < stop[:, None])[..., None]
