"""The losses of UMT, unweighted, and their weighted total. Nothing is matched."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.methods.umt.labels import PeakLabels
from pipeline.methods.umt.network import PeakOutputs
from pipeline.methods.umt.settings import LossWeights
from pipeline.models.batch import Batch
from pipeline.models.losses import labels_of, with_total

EPSILON = 1e-12
"""The number that is added before a logarithm (the released value)."""


def losses_of(outputs: PeakOutputs, batch: Batch, weights: LossWeights) -> dict[str, Tensor]:
    """Return every loss that has a head and a weight other than 0, and `total`. No value of a tensor is read on the
    host.

    The keys are saliency, centre, window and offset. Raises ValueError if the batch has no labels.
    """
    labels: Any = labels_of(batch)
    losses: dict[str, Tensor] = {}
    if outputs.saliency is not None and weights.saliency:
        losses["saliency"] = saliency_loss(outputs.saliency, labels.saliency, batch.video_mask)
    if outputs.centre is not None and weights.centre:
        losses["centre"] = centre_loss(outputs.centre, labels, batch.video_mask)
    for name in ("window", "offset"):
        found = getattr(outputs, name)
        if found is not None and getattr(weights, name):
            apart = (found - getattr(labels, name)).abs()
            # A centre can lie on a padded clip of its sample. As in the released system, it still counts.
            losses[name] = (apart * labels.centres).sum() / labels.n_windows
    return with_total(losses, weights, outputs.scored)


def saliency_loss(logits: Tensor, saliency: Tensor, mask: Tensor) -> Tensor:
    """Return the cross-entropy of the clips, a scalar. logits, saliency, mask: [B, L]. The mean runs over all clips;
    a padded clip counts as 0."""
    return (F.binary_cross_entropy_with_logits(logits, saliency, reduction="none") * mask).mean()


def centre_loss(logits: Tensor, labels: PeakLabels, mask: Tensor) -> Tensor:
    """Return the focal loss of the valid clips, divided by the number of windows. The target of a centre is 1, and
    clips near a centre have a lower weight."""
    chance = logits.sigmoid() * mask
    hit = -(chance + EPSILON).log() * (1 - chance) ** 2
    miss = -(1 - chance + EPSILON).log() * chance**2 * (1 - labels.heat) ** 4
    return (torch.where(labels.heat == 1, hit, miss) * mask).sum() / labels.n_windows
