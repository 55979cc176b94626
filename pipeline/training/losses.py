"""What is minimised: every term, unweighted, and their weighted total, as released and as printed.

Axes: B samples, Q queries, L clips, P saliency pairs. The paper's equations (4), (5), (17). Printed, moment and
highlight losses are QD-DETR's: cross-entropy where the release has a focal loss, and scores under a wrong query.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.config import Model, Training
from pipeline.models.alignment import (
    global_alignment,
    global_alignment_as_printed,
    local_alignment,
    local_alignment_as_printed,
)
from pipeline.models.batch import Batch, Labels, Outputs
from pipeline.models.masking import masked_mean
from pipeline.training.matching import Matches, giou, match

FOCAL_ALPHA = 0.25
"""Share of the entries whose target is 1; the focal exponent is 2. Released."""

BACKGROUND_WEIGHT = 0.1
"""Of unmatched queries in the cross-entropy. QD-DETR, which the paper refers to."""

RANKS = 11
"""Score levels of the rank-contrastive loss; the sum is divided by one more, as released."""

RANK_TEMPERATURE = 0.5
PADDED_SCORE = -1e3

NAMES = ("span", "giou", "label", "aux_span", "aux_giou", "aux_label", "saliency", "global_alignment",
         "local_alignment", "total")  # fmt: skip
"""Every loss there is."""


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
    weights, printed = training.loss_weights, model.formulation == "paper"
    losses = _moment_losses(outputs, batch.labels, training, printed) if moments else {}
    if weights.saliency:
        losses["saliency"] = saliency_loss(outputs, batch.labels, batch.video_mask, training.saliency_margin)
    if model.alignment and weights.global_alignment:
        losses["global_alignment"] = _global_loss(outputs, batch, printed)
    if model.alignment and weights.local_alignment:
        aligned = local_alignment_as_printed if printed else local_alignment
        masks = batch.video_mask, batch.text_mask, batch.labels.clip_mask
        losses["local_alignment"] = aligned(outputs.video, outputs.text, *masks)
    weighted = [getattr(weights, name.removeprefix("aux_")) * loss for name, loss in losses.items()]
    losses["total"] = torch.stack(weighted).sum() if weighted else outputs.saliency.sum() * 0
    return losses


def _global_loss(outputs: Outputs, batch: Batch, printed: bool) -> Tensor:
    """Released, the means run over padded rows too."""
    if not printed:
        return global_alignment(outputs.video.mean(1), outputs.text.mean(1))
    return global_alignment_as_printed(
        masked_mean(outputs.video, batch.video_mask), masked_mean(outputs.text, batch.text_mask)
    )


def _moment_losses(outputs: Outputs, labels: Labels, training: Training, printed: bool) -> dict[str, Tensor]:
    """Losses of the last decoder layer, and of the earlier ones under `aux_` names; each layer matches anew."""
    losses = _span_losses(outputs.logits, outputs.spans, labels, training, printed=printed)
    for logits, spans in zip(outputs.aux_logits, outputs.aux_spans, strict=True):
        for name, loss in _span_losses(logits, spans, labels, training, printed=printed).items():
            losses[f"aux_{name}"] = losses.get(f"aux_{name}", 0) + loss
    return losses


def _span_losses(
    logits: Tensor, spans: Tensor, labels: Labels, training: Training, *, printed: bool
) -> dict[str, Tensor]:
    weights = training.loss_weights
    matches = match(logits, spans, labels.spans, weights)
    found, wanted = spans[matches.sample, matches.query].float(), torch.cat(labels.spans)[matches.span]
    losses: dict[str, Tensor] = {}
    if weights.span:
        losses["span"] = F.l1_loss(found, wanted, reduction="sum") / max(found.numel(), 1)
    if weights.giou:
        losses["giou"] = (1 - giou(found, wanted)).sum() / max(len(found), 1)
    if weights.label:
        losses["label"] = (cross_entropy if printed else focal_loss)(logits, matches)
    return losses


def focal_loss(logits: Tensor, matches: Matches) -> Tensor:
    """Sigmoid focal loss on both logits [B, Q, 2]: (1, 0) for matched queries, (0, 1) for the others. A scalar."""
    matched = torch.zeros_like(logits[..., 0])
    matched[matches.sample, matches.query] = 1
    target = torch.stack((matched, 1 - matched), dim=-1)
    chance = logits.sigmoid()
    miss = torch.where(target > 0, 1 - chance, chance)
    share = torch.where(target > 0, FOCAL_ALPHA, 1 - FOCAL_ALPHA)
    return (share * miss**2 * F.binary_cross_entropy_with_logits(logits, target, reduction="none")).mean()


def cross_entropy(logits: Tensor, matches: Matches) -> Tensor:
    """Softmax cross-entropy, background weighted down, mean over all B·Q queries. logits [B, Q, 2]. A scalar."""
    loss = -BACKGROUND_WEIGHT * logits.log_softmax(-1)[..., 1]
    found = -logits.log_softmax(-1)[..., 0]
    matched = torch.zeros_like(loss, dtype=torch.bool)
    matched[matches.sample, matches.query] = True
    return torch.where(matched, found, loss).mean()


def saliency_loss(outputs: Outputs, labels: Labels, video_mask: Tensor, margin: float) -> Tensor:
    """Hinge over the drawn pairs plus rank-contrastive loss over all clips. video_mask [B, L]. A scalar.

    Where there are scores under a wrong query, its clips stand among those rated 0, and each is pushed below zero.
    """
    scores, targets, mask = outputs.saliency, labels.saliency, video_mask
    positive, negative = scores.gather(1, labels.saliency_pos), scores.gather(1, labels.saliency_neg)
    loss = 2 * F.relu(margin + negative - positive).mean()
    if outputs.negative_saliency is not None:
        loss = loss + (F.softplus(outputs.negative_saliency) * video_mask).sum(1).mean()
        scores = torch.cat((scores, outputs.negative_saliency), dim=1)
        targets = torch.cat((targets, torch.zeros_like(targets)), dim=1)
        mask = torch.cat((mask, mask), dim=1)
    return loss + rank_contrastive(scores, targets, mask)


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
