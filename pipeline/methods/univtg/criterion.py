"""What UniVTG minimises: every term, unweighted, and their weighted total. Nothing is matched."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.methods.univtg.labels import ClipLabels
from pipeline.methods.univtg.network import EXCLUDED, ClipOutputs, times
from pipeline.methods.univtg.settings import UniVtgSettings
from pipeline.models.batch import Batch
from pipeline.models.losses import BACKGROUND_WEIGHT, labels_of, with_total
from pipeline.models.matching import giou_of_ends

TEMPERATURE = 0.07
"""Of both contrastive losses. Released."""


def losses_of(
    outputs: ClipOutputs, batch: Batch, settings: UniVtgSettings, *, clip_s: float, moments: bool
) -> dict[str, Tensor]:
    """Every loss, and `total`. Looks at no value of a tensor: a GPU is not waited for.

    Keys: span and giou (only with moments), foreground, inter and intra. Of these a loss of weight 0 is not computed;
    inter and intra are computed where one of them has a weight, as released.
    Raises ValueError where the batch has no labels.
    """
    labels: Any = labels_of(batch)
    weights, losses = settings.loss_weights, dict[str, Tensor]()
    if moments:
        losses |= boundary_losses(outputs, labels, batch.video_mask, clip_s)
    losses["foreground"] = foreground_loss(outputs.foreground, labels.foreground, batch.video_mask)
    if weights.intra or weights.inter:
        losses["inter"] = inter_loss(outputs, labels.positive)
        losses["intra"] = intra_loss(outputs, labels, batch.video_mask)
    contrastive = ("inter", "intra")
    losses = {name: loss for name, loss in losses.items() if name in contrastive or getattr(weights, name)}
    return with_total(losses, weights, outputs.saliency)


def boundary_losses(outputs: ClipOutputs, labels: ClipLabels, mask: Tensor, clip_s: float) -> dict[str, Tensor]:
    """Of the intervals that foreground clips predict: smooth L1 of both ends, added up, and 1 - gIoU; their means."""
    inside = labels.foreground
    at = times(mask.sum(1), mask.shape[1], clip_s)[..., None]
    start, end = (at + outputs.offsets).unbind(-1)
    # Elsewhere the whole video is wanted: nothing divides by zero, and it is not counted.
    wanted_start, wanted_end = labels.start * inside, torch.where(inside > 0, labels.end, 1.0)
    apart = F.smooth_l1_loss(start, wanted_start, reduction="none") + F.smooth_l1_loss(
        end, wanted_end, reduction="none"
    )
    overlap = giou_of_ends(start, end, wanted_start, wanted_end)
    return {"span": (apart * inside).sum() / inside.sum(), "giou": ((1 - overlap) * inside).sum() / inside.sum()}


def foreground_loss(chance: Tensor, foreground: Tensor, mask: Tensor) -> Tensor:
    """Cross-entropy of every clip, background weighted down; mean over the valid clips of the batch. All [B, L]."""
    entropy = F.binary_cross_entropy(chance, foreground, reduction="none")
    weight = torch.where(foreground > 0, 1.0, BACKGROUND_WEIGHT)
    return (entropy * weight * mask).sum() / mask.sum()


def inter_loss(outputs: ClipOutputs, positive: Tensor) -> Tensor:
    """Each sample's positive clip against all queries of the batch, and each query against all positive clips."""
    rows = torch.arange(len(positive), device=positive.device)
    alike = F.cosine_similarity(outputs.video[rows, positive][:, None], outputs.query[None], dim=-1) / TEMPERATURE
    return -(alike.log_softmax(1) + alike.log_softmax(0)).diagonal().mean()


def intra_loss(outputs: ClipOutputs, labels: ClipLabels, mask: Tensor) -> Tensor:
    """The positive clip against the clips rated lower; and against the clips of its number in the other videos.

    The second direction is the release's: another video's clip counts where it is rated lower than that video's
    positive, and is compared with that video's query.
    """
    positive = labels.positive[:, None]
    is_positive = torch.arange(mask.shape[1], device=mask.device) == positive
    admitted = (mask > 0) & ((labels.ratings < labels.ratings.gather(1, positive)) | is_positive)
    scores = (outputs.saliency + torch.where(admitted, 0.0, EXCLUDED)) / TEMPERATURE
    over_clips = scores.log_softmax(1).gather(1, positive).squeeze(1)
    over_samples = scores.log_softmax(0).gather(1, positive).squeeze(1)
    return -(over_clips + over_samples).mean()
