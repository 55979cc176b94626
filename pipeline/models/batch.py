"""What goes into a model of this family and what comes out: padded, masked, batch first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Labels:
    """The targets of a batch of B queries, padded to its L clips with zeros.

    spans: B tensors [k, 2], centre and width as fractions of n_clips × clip length (k differs; empty without moments).
    saliency: [B, L] float, the clip scores y (0 to 12). clip_mask: [B, L] float, 1 where the query is relevant (C).
    saliency_pos, saliency_neg: [B, P] long, clips of which the first ought to score above the second.
    """

    spans: tuple[Tensor, ...]
    saliency: Tensor
    clip_mask: Tensor
    saliency_pos: Tensor
    saliency_neg: Tensor

    def to(self, device: torch.device | str) -> Labels:
        """The same labels on `device`."""
        return _moved(self, device)


@dataclass(frozen=True, slots=True)
class Batch:
    """B queries, padded with zeros to the longest video (L clips) and the longest text (N tokens) among them.

    video: [B, L, D] float32, normalised, temporal endpoints appended; with audio [video | TEF | audio | TEF].
    text: [B, N, T] float32. video_mask [B, L], text_mask [B, N]: float, 1 = valid; every row has at least one.
    n_clips: valid clips per sample. durations_s: annotated, seconds. labels: None where none are built (prediction).
    """

    video: Tensor
    video_mask: Tensor
    text: Tensor
    text_mask: Tensor
    qids: Sequence[int | str]
    vids: Sequence[str]
    durations_s: Sequence[float]
    n_clips: Sequence[int]
    labels: Labels | None = None

    def to(self, device: torch.device | str) -> Batch:
        """The same batch with its tensors (labels too) on `device`."""
        return _moved(self, device)


@dataclass(frozen=True, slots=True)
class Outputs:
    """What a model predicts for a batch (Q moment queries), with what its losses need besides. All float32.

    logits: [B, Q, 2], index 0 = foreground. spans: [B, Q, 2], centre and width as fractions of the video.
    aux_logits, aux_spans: [decoder layers - 1, B, Q, 2], the earlier layers'.
    saliency: [B, L], one unbounded score per clip, meaningless at padded clips.
    video, text: [B, L, d], [B, N, d], the projected features that the alignment losses compare.
    negative_saliency: [B, L], scores under the next sample's query; only while training in the `paper` formulation.
    """

    logits: Tensor
    spans: Tensor
    aux_logits: Tensor
    aux_spans: Tensor
    saliency: Tensor
    video: Tensor
    text: Tensor
    negative_saliency: Tensor | None = None


def _moved(record: Any, device: torch.device | str) -> Any:
    moved: dict[str, Any] = {}
    ahead = torch.device(device).type != "cpu"  # on the way to a GPU nobody has to wait
    for field in fields(record):
        value = getattr(record, field.name)
        if isinstance(value, Tensor | Labels):
            moved[field.name] = value.to(device) if isinstance(value, Labels) else value.to(device, non_blocking=ahead)
        elif field.name == "spans":
            moved[field.name] = tuple(span.to(device, non_blocking=ahead) for span in value)
    return replace(record, **moved)
