"""Events of a video: boundaries at which the video changes, and slots among which its clips are divided.

Axes: B samples, L clips, Q slots (moment queries), d width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.models.attention import Mlp, xavier

ALWAYS = 100.0
"""The change at the first and at the last clip. It is so large that both are always boundaries (the released value)."""


@torch.no_grad()
def pseudo_events(video: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return the events between consecutive boundaries of every video: spans [B, L + 1, 2], and a mask [B, L + 1] of
    the spans that exist.

    video: [B, L, D], as it enters the network. mask: [B, L], 1 = valid. The events that exist come first, in order of
    time. The last one ends where the last clip begins. No value of a tensor is read on the host. A bug of the released
    system is reproduced: in a batch of an odd number of samples the middle one has one more event. It comes first, and
    goes backwards from the last boundary of the last sample to the first clip.
    """
    n_clips = mask.sum(1, keepdim=True)
    boundary = _boundaries(video, mask)
    place = torch.arange(mask.shape[1], device=mask.device, dtype=mask.dtype).expand_as(mask)
    # For every clip: the last boundary up to it, found for all clips at once.
    last = torch.where(boundary, place, -1).cummax(1).values
    start, end = F.pad(last[:, :-1], (1, 0), value=-1), place
    there = boundary & (start >= 0)
    start, end, there = (F.pad(x, (1, 0)) for x in (start, end, there))
    if len(mask) % 2:  # The bug of the released system: see above.
        middle = len(mask) // 2
        start[middle, 0], there[middle, 0] = n_clips[-1, 0] - 1, 1
    spans = torch.stack(((start + end) / 2, end - start), dim=-1) / n_clips[..., None]
    order = there.to(torch.int8).argsort(dim=1, descending=True, stable=True)
    return spans.gather(1, order[..., None].expand(-1, -1, 2)), there.gather(1, order)


def _boundaries(video: Tensor, mask: Tensor) -> Tensor:
    """Return a mask of the clips at which a video changes most, [B, L] bool.

    A boundary has at least the mean change. As in the released system, padded clips count in this mean.
    """
    unit = video / (video.norm(dim=-1, keepdim=True) + 1e-8) * mask[..., None]
    # The change at a clip compares the two clips before it with the two clips after it. Rows of zeros stand beyond the
    # ends.
    unit = F.pad(unit, (0, 0, 2, 2))
    pair = unit[:, :-1] + unit[:, 1:]
    change = (pair[:, :-3] - pair[:, 3:]).square().sum(-1)
    threshold = change.mean(1, keepdim=True)
    place, n_clips = torch.arange(mask.shape[1], device=mask.device), mask.sum(1, keepdim=True)
    change = change.masked_fill((place == 0) | (place == n_clips - 1), ALWAYS)
    neighbours = torch.maximum(change.roll(1, 1), change.roll(-1, 1))
    return (change >= neighbours) & (change >= threshold) & (mask > 0)


class Slots(nn.Module):
    """Slots that compete for clips: each clip is divided among the slots, and each slot becomes the weighted mean of
    its clips.

    As in the released system, padded clips take part and are divided equally. So the slots of a shorter video depend on
    its batch.
    """

    def __init__(self, dim: int, n_slots: int, iterations: int) -> None:
        super().__init__()
        self.iterations = iterations
        self.table = nn.Parameter(torch.empty(n_slots, dim))
        self.norm_clips, self.norm_slots, self.norm_inner, self.norm_out = (nn.LayerNorm(dim) for _ in range(4))
        self.query, self.key, self.value = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.mlp = Mlp(dim, dim, dim)
        xavier(self)

    def forward(self, clips: Tensor, mask: Tensor) -> Tensor:
        """Return the slots [B, Q, d]. clips: [B, L, d], with their positions. mask: [B, L]."""
        clips = self.norm_clips(clips)
        key, value = self.key(clips), self.value(clips)
        slots = self.table.expand(len(clips), -1, -1)
        for _ in range(self.iterations):
            scores = self.query(self.norm_slots(slots)) @ key.transpose(1, 2) / clips.shape[-1] ** 0.5
            # The softmax runs over the slots, not over the clips: this is the competition for each clip.
            share = scores.masked_fill(mask[:, None] == 0, 0.0).softmax(1)
            slots = slots + (share / (share.sum(2, keepdim=True) + 1e-8)) @ value
            slots = slots + self.mlp(self.norm_inner(slots))
        return self.norm_out(slots)
