"""Batches of random features for networks."""

from __future__ import annotations

import torch

from pipeline.models.batch import Batch

VIDEO, TEXT = 12, 7


def make_batch(n_clips, n_words, *, length=None, words=None, seed=0):
    """Random samples whose content depends on their place in the batch only, padded to `length`, `words`."""
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
