"""Batches of random features for networks."""

from __future__ import annotations

import torch

from pipeline.methods.tr_detr.criterion import losses_of
from pipeline.models.batch import Batch
from pipeline.models.losses import labels_of, layers_of
from pipeline.models.matching import match

VIDEO, TEXT = 12, 7


def make_batch(n_clips, n_words, *, length=None, words=None, seed=0):
    """Return random samples, padded to `length` and `words`. Their content depends only on their place in the batch."""
    length, words = length or max(n_clips), words or max(n_words)
    samples = [torch.Generator().manual_seed(seed + n) for n in range(len(n_clips))]
    video, text = torch.zeros(len(n_clips), length, VIDEO + 2), torch.zeros(len(n_clips), words, TEXT)
    for n, generator in enumerate(samples):
        video[n, : n_clips[n]] = torch.randn(n_clips[n], VIDEO + 2, generator=generator)
        text[n, : n_words[n]] = torch.randn(n_words[n], TEXT, generator=generator)
    names = [str(n) for n in range(len(n_clips))]
    masks = [
        (torch.arange(size) < torch.tensor(counts)[:, None]).float()
        for size, counts in ((length, n_clips), (words, n_words))
    ]
    return Batch(video, masks[0], text, masks[1], names, names, [2.0 * n for n in n_clips], n_clips)


def matched_losses(outputs, batch, settings, moments=True):
    """Return TR-DETR's losses after the matching. Without `moments` nothing is matched."""
    matches = match(*layers_of(outputs), labels_of(batch), settings.loss_weights) if moments else None
    return losses_of(outputs, batch, matches, settings)
