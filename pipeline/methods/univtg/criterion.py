"""The losses of UniVTG, unweighted, and their weighted total. Nothing is matched."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.methods.univtg.labels import ClipLabels
from pipeline.methods.univtg.network import EXCLUDED, ClipOutputs, times
from pipeline.methods.univtg.settings import UniVtgSettings
from pipeline.models.batch import Batch
from pipeline.models.losses import BACKGROUND_WEIGHT, entropy_of, labels_of, with_total
from pipeline.models.matching import giou_of_ends

TEMPERATURE = 0.07
"""The temperature of both contrastive losses (the released value)."""


def losses_of(
    outputs: ClipOutputs, batch: Batch, settings: UniVtgSettings, *, clip_s: float, moments: bool
) -> dict[str, Tensor]:
    """Return every loss, and `total`. No value of a tensor is read on the host, so the host does not wait for a GPU.

    The keys are span and giou (only with moments), foreground, inter and intra. span, giou and foreground are not
    computed if their weight is 0. As in the released system, inter and intra are computed if one of the two has a
    weight. Raises ValueError if the batch has no labels.
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
    """Return two losses of the intervals that foreground clips predict, both means.

    span is the smooth L1 of both ends, added up. giou is 1 - gIoU.
    """
    inside = labels.foreground
    at = times(mask.sum(1), mask.shape[1], clip_s)[..., None]
    start, end = (at + outputs.offsets).unbind(-1)
    # Clips of the background do not count. Their interval is set to the whole video, so that no division by zero makes
    # their gradient NaN.
    wanted_start, wanted_end = labels.start * inside, torch.where(inside > 0, labels.end, 1.0)
    apart = F.smooth_l1_loss(start, wanted_start, reduction="none") + F.smooth_l1_loss(
        end, wanted_end, reduction="none"
    )
    overlap = giou_of_ends(start, end, wanted_start, wanted_end)
    return {"span": (apart * inside).sum() / inside.sum(), "giou": ((1 - overlap) * inside).sum() / inside.sum()}


def foreground_loss(chance: Tensor, foreground: Tensor, mask: Tensor) -> Tensor:
    """Return the cross-entropy of the clips with a lower weight of the background, a mean over the valid clips of
    the batch. All tensors are [B, L]."""
    entropy = entropy_of(chance, foreground)
    weight = torch.where(foreground > 0, 1.0, BACKGROUND_WEIGHT)
    return (entropy * weight * mask).sum() / mask.sum()


def inter_loss(outputs: ClipOutputs, positive: Tensor) -> Tensor:
    """Return the loss of each sample's positive clip against all queries of the batch, and of each query against all
    positive clips."""
    rows = torch.arange(len(positive), device=positive.device)
    alike = F.cosine_similarity(outputs.video[rows, positive][:, None], outputs.query[None], dim=-1) / TEMPERATURE
    return -(alike.log_softmax(1) + alike.log_softmax(0)).diagonal().mean()


def intra_loss(outputs: ClipOutputs, labels: ClipLabels, mask: Tensor) -> Tensor:
    """Return the loss of the positive clip against the clips rated lower, and against the clips of the same number in
    the other videos.

    The second part is taken from the released system. A clip of another video counts if it is rated lower than the
    positive clip of that video, and it is compared with the query of that video.
    """
    positive = labels.positive[:, None]
    is_positive = torch.arange(mask.shape[1], device=mask.device) == positive
    admitted = (mask > 0) & ((labels.ratings < labels.ratings.gather(1, positive)) | is_positive)
    scores = (outputs.saliency + torch.where(admitted, 0.0, EXCLUDED)) / TEMPERATURE
    over_clips = scores.log_softmax(1).gather(1, positive).squeeze(1)
    over_samples = scores.log_softmax(0).gather(1, positive).squeeze(1)
    return -(over_clips + over_samples).mean()
