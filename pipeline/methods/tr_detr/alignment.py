"""Local-global alignment: the two losses that pull the projected clips and words together.

Axes: B samples, L clips, N tokens, d width. They are equations (3)-(5) of the paper, in the released and in the printed
form.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.models.masking import masked_mean

TEMPERATURE = 0.07
"""The temperature of both losses (the released value). The paper prints none."""


def local_alignment(video: Tensor, text: Tensor, video_mask: Tensor, text_mask: Tensor, clip_mask: Tensor) -> Tensor:
    """Return the local loss in the released form of equations (3) and (4), a scalar. Every clip learns whether the
    query is about it.

    A clip is compared with the mean of the words' directions. video: [B, L, d]. text: [B, N, d]. video_mask: [B, L].
    text_mask: [B, N]. clip_mask: [B, L], the targets C. The mean runs over all B·L clips, as in the released system, so
    that a padded clip adds log 2 and no gradient.
    """
    query = masked_mean(F.normalize(text, dim=-1), text_mask)
    logits = torch.einsum("bld,bd->bl", F.normalize(video, dim=-1), query) * video_mask / TEMPERATURE
    return F.binary_cross_entropy_with_logits(logits, clip_mask)


def local_alignment_as_printed(
    video: Tensor, text: Tensor, video_mask: Tensor, text_mask: Tensor, clip_mask: Tensor
) -> Tensor:
    """Return the local loss in the printed form of equations (3) and (4), a scalar. The arguments are those of
    `local_alignment`.

    The probability of a clip is the sigmoid of every clip-word cosine, averaged over the words. The loss is a sum over
    the valid clips, and a mean over the samples, which (4) does not mention. Probabilities are between 0.27 and 0.73,
    so the loss of a clip cannot fall below 0.31.
    """
    cosines = F.normalize(video, dim=-1) @ F.normalize(text, dim=-1).transpose(1, 2)
    chance = masked_mean(cosines.sigmoid().transpose(1, 2), text_mask)
    entropy = -(clip_mask * chance.log() + (1 - clip_mask) * (1 - chance).log())
    return (entropy * video_mask).sum(1).mean()


def global_alignment(videos: Tensor, texts: Tensor) -> Tensor:
    """Return the global loss in the released form of equation (5), a scalar. Every video is compared with every query
    of the batch, both ways.

    videos, texts: [B, d], means over clips and words. In the released system the means run over padded rows, too.
    """
    logits = F.normalize(texts, dim=-1) @ F.normalize(videos, dim=-1).T / TEMPERATURE
    target = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def global_alignment_as_printed(videos: Tensor, texts: Tensor) -> Tensor:
    """Return the global loss in the printed form of equation (5), a scalar: plain products without a temperature, each
    video against all queries.

    videos, texts: [B, d], means over valid rows. In the printed equation the sum of the denominator has an index that
    is already in use outside the sum. Here it is read as the sum over the queries j.
    """
    logits = videos @ texts.T
    return F.cross_entropy(logits, torch.arange(len(logits), device=logits.device))
