"""Local-global alignment: the two losses that pull the projected clips and words together.

Axes: B samples, L clips, N tokens, d width. The paper's equations (3)-(5), as released and as printed.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.models.masking import masked_mean

TEMPERATURE = 0.07
"""Released; the paper prints none."""


def local_alignment(video: Tensor, text: Tensor, video_mask: Tensor, text_mask: Tensor, clip_mask: Tensor) -> Tensor:
    """Every clip against the mean of the words' directions: is the query about it? Equations (3), (4), released form.

    video [B, L, d], text [B, N, d], masks [B, L], [B, N], clip_mask [B, L] the targets C. Returns a scalar.
    Mean over all B·L, as released: a padded clip adds log 2 and no gradient.
    """
    query = masked_mean(F.normalize(text, dim=-1), text_mask)
    logits = torch.einsum("bld,bd->bl", F.normalize(video, dim=-1), query) * video_mask / TEMPERATURE
    return F.binary_cross_entropy_with_logits(logits, clip_mask)


def local_alignment_as_printed(
    video: Tensor, text: Tensor, video_mask: Tensor, text_mask: Tensor, clip_mask: Tensor
) -> Tensor:
    """Equations (3), (4): the sigmoid of every clip-word cosine, averaged over the words. Arguments as above.

    The sum runs over valid clips; over samples, of which (4) does not speak, the mean is taken. Values lie in
    0.27 … 0.73, so the loss cannot fall below 0.31 per clip.
    """
    cosines = F.normalize(video, dim=-1) @ F.normalize(text, dim=-1).transpose(1, 2)
    chance = masked_mean(cosines.sigmoid().transpose(1, 2), text_mask)
    entropy = -(clip_mask * chance.log() + (1 - clip_mask) * (1 - chance).log())
    return (entropy * video_mask).sum(1).mean()


def global_alignment(videos: Tensor, texts: Tensor) -> Tensor:
    """Every video against every query of the batch, both ways. Equation (5), released form. Returns a scalar.

    videos, texts: [B, d], means over clips and words; released takes them over padded rows too.
    """
    logits = F.normalize(texts, dim=-1) @ F.normalize(videos, dim=-1).T / TEMPERATURE
    target = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def global_alignment_as_printed(videos: Tensor, texts: Tensor) -> Tensor:
    """Equation (5): plain products, no temperature, each video against all queries. Means over valid rows.

    Printed, the denominator sums over the index that is already bound outside; read here as the sum over queries j.
    """
    logits = videos @ texts.T
    return F.cross_entropy(logits, torch.arange(len(logits), device=logits.device))
