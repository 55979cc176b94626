"""Task cooperation: highlight scores as an input of the retrieval (HD2MR), and the retrieved moment as an input of the
highlight scores (MR2HD).

Axes: B samples, L clips, Q queries, d width. They are equations (12)-(16) of the paper.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.models.gru import last_state, run_gru
from pipeline.models.masking import masked_softmax


class ScoreHead(nn.Module):
    """A head that gives one score for each clip: the features of a linear layer, summed and divided by √d.

    This equals one linear layer from d features to one. The layer has d outputs, because the released weights have this
    shape.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, dim)

    def forward(self, clips: Tensor) -> Tensor:
        """Return the scores [B, L], unbounded, of clips [B, L, d]."""
        # The weights are summed before the product and not after it, which takes d times fewer operations.
        weight, bias = self.linear.weight.sum(0), self.linear.bias.sum()
        return (clips @ weight + bias) / clips.shape[-1] ** 0.5


def inject_scores(base: Tensor, joint: Tensor, scores: Tensor, mask: Tensor) -> Tensor:
    """Return the input of the second pass of the encoder (HD2MR, equation (13)), [B, L, d].

    base: [B, L, d], to which the weighted clips are added. It is the result of the first pass in the released system,
    and Z in the paper. joint: [B, L, d], the paper's Z. scores: [B, L]. mask: [B, L], the clips that take part in
    the softmax; in the released system these are the padded ones, too.
    """
    return base + masked_softmax(scores, mask, dim=1)[..., None] * joint


class MomentSimilarity(nn.Module):
    """MR2HD in the released form of equations (14) and (15): how much each clip resembles the best moment.

    The GRU continues through the rows of zeros behind the moment up to the padded length L, so it mostly forgets the
    moment (docs/paper-vs-released.md).
    """

    def __init__(self, dim: int, clip_s: float) -> None:
        super().__init__()
        self.clip_s = clip_s
        self.gru = nn.GRU(dim, dim, batch_first=True)

    def forward(self, logits: Tensor, spans: Tensor, video: Tensor, mask: Tensor) -> Tensor:
        """Return plain dot products [B, L].

        logits, spans: [B, Q, 2]. video: [B, L, d], projected. mask: [B, L], all clips, padded ones too.
        """
        start, end = best_moment(logits, spans, mask.sum(1), self.clip_s)
        state = last_state(self.gru, slice_rows(video, start, end))
        return torch.einsum("bld,bd->bl", video, state.to(video.dtype))


class PrintedMomentSimilarity(MomentSimilarity):
    """MR2HD in the printed form. The GRU reads only the moment. Its last state is compared with the clips by cosine,
    with a softmax over the video.

    The paper says "the retrieved moments". Here this is the best moment. Its bounds are clamped to the video, and it
    has at least one clip.
    """

    def forward(self, logits: Tensor, spans: Tensor, video: Tensor, mask: Tensor) -> Tensor:
        """Return weights [B, L] that sum to 1. The arguments are those of the released form, but mask [B, L] is 1
        only for valid clips."""
        last = mask.sum(1).long() - 1
        start, end = best_moment(logits, spans, mask.sum(1), self.clip_s)
        start, end = (torch.minimum(at.clamp(min=0), last) for at in (start, end))
        states, _ = run_gru(self.gru, slice_rows(video, start, end))
        state = states[torch.arange(len(end), device=end.device), end - start]
        return masked_softmax(F.cosine_similarity(video, state[:, None], dim=-1), mask, dim=1)


@torch.no_grad()
def best_moment(logits: Tensor, spans: Tensor, n_clips: Tensor, clip_s: float) -> tuple[Tensor, Tensor]:
    """Return the first and the last clip of the moment query with the largest foreground probability, two long tensors
    [B].

    logits, spans: [B, Q, 2]. n_clips: [B] float; the released system uses the padded length for all samples. The first
    clip may be negative, and the last may lie beyond the video. The products are float32 and in this order, because
    rounding decides which clip the floor gives.
    """
    best = logits.softmax(-1)[..., 0].argmax(1)
    centre, width = spans[torch.arange(len(best), device=best.device), best].float().unbind(-1)
    start = (centre - 0.5 * width) * (n_clips * clip_s) / clip_s
    end = (centre + 0.5 * width) * (n_clips * clip_s) / clip_s
    return start.floor().long(), end.floor().long()


def slice_rows(rows: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """Return rows[start : end + 1] of every sample, followed by zero rows up to the full length: [B, L, d].

    rows: [B, L, d]. start, end: [B] long. As in the released system, they work like slices of Python sequences: a
    negative bound counts from the back, what is outside is cut off, and an empty slice gives only zeros.
    """
    length = rows.shape[1]
    # One gather takes the rows of all samples, so the host need not know where any moment lies.
    first, stop = (torch.where(at < 0, at + length, at).clamp(0, length) for at in (start, end + 1))
    index = first[:, None] + torch.arange(length, device=rows.device)
    taken = rows.gather(1, index.clamp(max=length - 1)[..., None].expand_as(rows))
    return taken * (index < stop[:, None])[..., None]
