"""What is minimised: terms of the released system, unweighted, and their weighted total.

Axes: B samples, Q queries, L clips, P saliency pairs. The paper's equations (4), (5), (17).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.config import Model, Training
from pipeline.models.alignment import global_alignment, local_alignment
from pipeline.models.batch import Batch, Labels, Outputs
from pipeline.training.matching import Matches, giou, match

FOCAL_ALPHA = 0.25
"""Share of the entries whose target is 1; the focal exponent is 2. Released; the paper says cross-entropy."""

RANKS = 11
"""Score levels of the rank-contrastive loss; the sum is divided by one more, as released."""

RANK_TEMPERATURE = 0.5
PADDED_SCORE = -1e3


def compute_losses(
    outputs: Outputs, batch: Batch, training: Training, model: Model, moments: bool
) -> dict[str, Tensor]:
    """Every loss that has a weight, and `total`.

    Keys (those that apply, unweighted scalars): span, giou, label, aux_span, aux_giou, aux_label (only with
    `moments`; aux: summed over the earlier decoder layers), saliency, global_alignment, local_alignment (only where
    `model.alignment`), and total, weighted by `training.loss_weights`. A loss of weight 0 is not computed.
    Raises ValueError where the batch has no labels, PipelineError where a span is not finite.
    """
    if batch.labels is None:
        raise ValueError("this batch was made for prediction and holds no labels")
    weights = training.loss_weights
    losses = _moment_losses(outputs, batch.labels, training) if moments else {}
    if weights.saliency:
        losses["saliency"] = saliency_loss(
            outputs.saliency, batch.labels, batch.video_mask, margin=training.saliency_margin
        )
    if model.alignment and weights.global_alignment:
        losses["global_alignment"] = global_alignment(outputs.video, outputs.text)
    if model.alignment and weights.local_alignment:
        losses["local_alignment"] = local_alignment(
            outputs.video, outputs.text, batch.video_mask, batch.text_mask, batch.labels.clip_mask
        )
    weighted = [getattr(weights, name.removeprefix("aux_")) * loss for name, loss in losses.items()]
    losses["total"] = torch.stack(weighted).sum() if weighted else outputs.saliency.sum() * 0
    return losses


def _moment_losses(outputs: Outputs, labels: Labels, training: Training) -> dict[str, Tensor]:
    """Losses of the last decoder layer, and of the earlier ones under `aux_` names; each layer matches anew."""
    losses = _span_losses(outputs.logits, outputs.spans, labels, training)
    for logits, spans in zip(outputs.aux_logits, outputs.aux_spans, strict=True):
        for name, loss in _span_losses(logits, spans, labels, training).items():
            losses[f"aux_{name}"] = losses.get(f"aux_{name}", 0) + loss
    return losses


def _span_losses(logits: Tensor, spans: Tensor, labels: Labels, training: Training) -> dict[str, Tensor]:
    weights = training.loss_weights
    matches = match(logits, spans, labels.spans, weights)
    found, wanted = spans[matches.sample, matches.query].float(), torch.cat(labels.spans)[matches.span]
    losses: dict[str, Tensor] = {}
    if weights.span:
        losses["span"] = F.l1_loss(found, wanted, reduction="sum") / max(found.numel(), 1)
    if weights.giou:
        losses["giou"] = (1 - giou(found, wanted)).sum() / max(len(found), 1)
    if weights.label:
        losses["label"] = label_loss(logits, matches)
    return losses


def label_loss(logits: Tensor, matches: Matches) -> Tensor:
    """Sigmoid focal loss on both logits [B, Q, 2]: (1, 0) for matched queries, (0, 1) for the others. A scalar."""
    target = torch.zeros_like(logits)
    target[..., 1] = 1
    target[matches.sample, matches.query] = target.new_tensor([1.0, 0.0])
    chance = logits.sigmoid()
    miss = torch.where(target > 0, 1 - chance, chance)
    share = torch.where(target > 0, FOCAL_ALPHA, 1 - FOCAL_ALPHA)
    return (share * miss**2 * F.binary_cross_entropy_with_logits(logits, target, reduction="none")).mean()


def saliency_loss(scores: Tensor, labels: Labels, video_mask: Tensor, margin: float) -> Tensor:
    """Hinge over the drawn pairs plus rank-contrastive loss over all clips. scores, video_mask [B, L]. A scalar."""
    positive, negative = scores.gather(1, labels.saliency_pos), scores.gather(1, labels.saliency_neg)
    hinge = 2 * F.relu(margin + negative - positive).mean()
    return hinge + rank_contrastive(scores, labels.saliency, video_mask)


def rank_contrastive(scores: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
    """For every level 1 … 11: clips rated at least that against all clips of their video.

    scores, targets (0 … 12), mask [B, L]; targets may be positive at padded clips (they only count as positives, as
    released). Levels that no sample reaches add nothing. Returns a scalar.
    """
    scores = (torch.where(mask > 0, scores, PADDED_SCORE) / RANK_TEMPERATURE).float()
    scores = scores - scores.amax(1, keepdim=True)
    log_share = scores - (scores.exp().sum(1, keepdim=True) + 1e-6).log()
    levels = torch.arange(1, RANKS + 1, device=targets.device)
    positive = (targets[None] >= levels[:, None, None]).to(log_share.dtype)
    per_sample = -(positive * (log_share * mask)).sum(2) / (positive.sum(2) + 1e-6)
    return per_sample.mean(1).sum() / (RANKS + 1)
