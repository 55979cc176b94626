"""Masks say which values are padding. One function reproduces a bug in a mask of the released system.

Masks are float, 1 = valid; masks named `keep` are boolean and broadcast to attention's [B, H, Q, K].
"""

from __future__ import annotations

import torch
from torch import Tensor

MASKED = -1e30


def masked_mean(rows: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of the valid rows: [B, L, d] and mask [B, L] to [B, d]."""
    return (rows * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


def masked_softmax(x: Tensor, mask: Tensor, dim: int) -> Tensor:
    """Return the softmax over the valid entries of `dim`. The mask broadcasts to x, 1 = valid.

    A row without valid entries gets equal weights.
    """
    return torch.softmax(x + (1 - mask) * MASKED, dim=dim)


def keep_valid(mask: Tensor) -> Tensor:
    """Turn a mask [B, K] float, 1 = valid, into a mask [B, 1, 1, K] that drops padded keys."""
    return (mask > 0)[:, None, None]


def keep_words_as_released(video_mask: Tensor, text_mask: Tensor, heads: int, among: Tensor | None = None) -> Tensor:
    """Return the t2v mask of the released system, with its bug: [B, H, L, N].

    Padded words are dropped. In addition, head h of sample b loses the pairs (clip, word) in which both are padded in
    sample g = (H·b + h) mod B. The reason is that the released code builds a mask per sample, tiles it with heads
    outermost and reads it with samples outermost. The first word is always kept. among: [B], 1 for samples that are in
    the batch; the result for other samples has no meaning.
    """
    n_samples = len(text_mask)
    other = torch.arange(n_samples * heads, device=text_mask.device).view(n_samples, heads)
    if among is None:
        other = other.remainder(n_samples)
    else:
        member = among > 0
        rank, order = member.long().cumsum(0) - 1, member.logical_not().to(torch.int8).argsort(stable=True)
        other = order[(heads * rank[:, None] + other[:1]).remainder(member.sum().clamp(min=1))]
    both_padded = (video_mask == 0)[other][..., :, None] & (text_mask == 0)[other][..., None, :]
    return keep_valid(text_mask) & ~both_padded
