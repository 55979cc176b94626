"""Batches (the inputs of a network), labels (its targets) and outputs (its predictions).

All of them are padded and masked, and their first axis is the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Self, TypeVar

import torch
from torch import Tensor

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Labels:
    """The targets of a batch of B queries, padded to its L clips with zeros.

    spans: [B, W, 2], centre and width as fractions of n_clips × clip length. The first n_spans[b] spans of sample b are
    valid. saliency: [B, L] float, the clip scores y (0 to 12). clip_mask: [B, L] float, 1 where the query is relevant
    (C). saliency_pos, saliency_neg: [B, P] long, pairs of clips; the first clip should score above the second.
    """

    spans: Tensor
    n_spans: Sequence[int]
    saliency: Tensor
    clip_mask: Tensor
    saliency_pos: Tensor
    saliency_neg: Tensor

    def to(self, device: torch.device | str) -> Labels:
        """Return the same labels on `device`."""
        return with_tensors(self, lambda _, tensor: sent(tensor, device))


def padded_spans(spans: Sequence[Tensor], width: int = 1) -> tuple[Tensor, tuple[int, ...]]:
    """Stack B tensors [k, 2] to one tensor [B, W, 2], with zeros as padding. Return it, and the k of each tensor.

    W is the largest k, and at least `width`.
    """
    counts = tuple(map(len, spans))
    padded = torch.zeros(len(spans), max(width, *counts), 2)
    for row, some in zip(padded, spans, strict=True):
        row[: len(some)] = some
    return padded, counts


@dataclass(frozen=True, slots=True)
class Batch:
    """B queries, padded with zeros to the longest video (L clips) and the longest text (N tokens) among them.

    video: [B, L, D] float32, normalised, temporal endpoints appended; with audio [video | TEF | audio | TEF]. text: [B,
    N, T] float32. video_mask [B, L], text_mask [B, N]: float, 1 = valid; every row has at least one. n_clips: valid
    clips per sample. durations_s: annotated, seconds. labels: the targets that the method drew (`Labels`, or a
    dataclass of the method's own); None for a batch that is made for prediction.
    """

    video: Tensor
    video_mask: Tensor
    text: Tensor
    text_mask: Tensor
    qids: Sequence[int | str]
    vids: Sequence[str]
    durations_s: Sequence[float]
    n_clips: Sequence[int]
    labels: Any = None

    def to(self, device: torch.device | str) -> Batch:
        """Return the same batch with all its tensors, also those of its labels, on `device`."""
        return with_tensors(self, lambda _, tensor: sent(tensor, device))


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """The predictions of a network with moment queries for a batch (Q queries of the decoder). All float32.

    logits: [B, Q, 2], index 0 = foreground. spans: [B, Q, 2], centre and width as fractions of the video. aux_logits,
    aux_spans: [decoder layers - 1, B, Q, 2], those of the earlier layers. saliency: [B, L], one unbounded score per
    clip, meaningless at padded clips. negative_saliency: [B, L], scores with the next sample's query; None if the
    method does not compute them.
    """

    logits: Tensor
    spans: Tensor
    aux_logits: Tensor
    aux_spans: Tensor
    saliency: Tensor
    negative_saliency: Tensor | None = None

    @classmethod
    def of_layers(cls, logits: Tensor, spans: Tensor, **more: Tensor) -> Self:
        """Make outputs from the predictions of all layers [layers, B, Q, 2], in their order. They become float32, also
        under autocast."""
        found = {"logits": logits[-1], "spans": spans[-1], "aux_logits": logits[:-1], "aux_spans": spans[:-1], **more}
        return cls(**{name: tensor.float() for name, tensor in found.items()})


def sent(tensor: Tensor, device: torch.device | str) -> Tensor:
    """Copy the tensor to `device`. On the way to a GPU it starts from pinned memory, so that the host does not wait."""
    if tensor.device.type != "cpu" or torch.device(device).type == "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def tensors_of(batch: Batch) -> dict[str, Tensor]:
    """Return every tensor of a batch and of its labels, by the name of its field (`labels.` is put before those of
    labels)."""
    found: dict[str, Tensor] = {}
    with_tensors(batch, found.setdefault)
    return found


def with_tensors(record: R, change: Callable[[str, Tensor], Tensor], prefix: str = "") -> R:
    """Return a batch, or labels, in which each tensor is replaced by `change(name of its field, tensor)`."""
    changed: dict[str, Any] = {}
    for field in fields(record):  # type: ignore[arg-type]
        value, name = getattr(record, field.name), f"{prefix}{field.name}"
        if isinstance(value, Tensor):
            changed[field.name] = change(name, value)
        elif is_dataclass(value):
            changed[field.name] = with_tensors(value, change, f"{name}.")
    return replace(record, **changed)  # type: ignore[type-var]
