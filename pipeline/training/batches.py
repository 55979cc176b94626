"""Puts samples into a padded batch by index arithmetic: one gather for the videos, one for the words, and no loop."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.models.batch import Batch, Labels, sent
from pipeline.training.data import Data
from pipeline.training.packed import Packed


def collate(data: Data, index: Sequence[int], labels: Labels | None = None) -> Batch:
    """Put the queries at `index` into one batch, padded with zeros to its longest video and its longest text.

    Every clip gets its temporal endpoints (i/n, i/n + 1/n), where n is the number of clips of its own video. With audio
    the layout is [video | endpoints | audio | endpoints]. The batch is on the device of the data's rows.
    """
    which = torch.as_tensor(index)
    shown = data.video_of[which]
    families, video_mask = _gather(data.video, shown)
    words, text_mask = _gather(data.text, which)
    endpoints = _endpoints(video_mask)
    sound = [*families[data.video_blocks :], endpoints] if data.audio_dim else []
    queries = [data.queries[i] for i in index]
    return Batch(
        video=torch.cat([*families[: data.video_blocks], endpoints, *sound], dim=-1),
        video_mask=video_mask,
        text=torch.cat(words, dim=-1),
        text_mask=text_mask,
        qids=[query.qid for query in queries],
        vids=[query.vid for query in queries],
        durations_s=[query.duration for query in queries],
        n_clips=data.video.lengths[shown].tolist(),
        labels=labels,
    )


def _gather(packed: Packed, samples: Tensor) -> tuple[list[Tensor], Tensor]:
    """Return normalised rows of `samples`, [B, longest, columns] float32 per block, and their mask [B, longest]."""
    device = packed.rows.device
    starts, lengths = packed.starts[samples, None], packed.lengths[samples, None]
    places = torch.arange(int(lengths.max()))
    valid = places < lengths
    at, valid = sent(torch.where(valid, starts + places, starts), device), sent(valid, device)
    # Padded rows are divided by infinity, so they become zero in the same operation.
    norms = packed.norms[at].masked_fill(~valid[..., None], torch.inf)
    blocks = zip(packed.rows[at].split(packed.blocks, dim=-1), norms.split(1, dim=-1), strict=True)
    return [block / norm for block, norm in blocks], valid.float()


def _endpoints(mask: Tensor) -> Tensor:
    """Return temporal endpoints [B, L, 2] as fractions of each sample's own length, and zero where padded."""
    lengths = mask.sum(dim=1, keepdim=True)
    starts = torch.arange(mask.shape[1], device=mask.device) / lengths
    return torch.stack((starts, starts + 1 / lengths), dim=-1) * mask[..., None]
