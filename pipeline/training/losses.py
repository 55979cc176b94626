"""What is minimised: every term, unweighted, and their weighted total, as released and as printed.

Axes: B samples, Q queries, L clips, P saliency pairs. The paper's equations (4), (5), (17). Printed, moment and
highlight losses are QD-DETR's: cross-entropy where the release has a focal loss, and scores under a wrong query.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.config import LossWeights, Model, Training
from pipeline.models.alignment import (
    global_alignment,
    global_alignment_as_printed,
    local_alignment,
    local_alignment_as_printed,
)
from pipeline.models.batch import Batch, Labels, Outputs
from pipeline.models.masking import masked_mean
from pipeline.training.matching import NONE, giou, match

FOCAL_ALPHA = 0.25
"""Share of the entries whose target is 1; the focal exponent is 2. Released."""

BACKGROUND_WEIGHT = 0.1
"""Of unmatched queries in the cross-entropy. QD-DETR, which the paper refers to."""

RANKS = 11
"""Score levels of the rank-contrastive loss; the sum is divided by one more, as released."""

RANK_TEMPERATURE = 0.5
"""Released."""

PADDED_SCORE = -1e3
"""Of padded clips among the ranked ones, before the temperature. Released."""

NAMES = ("span", "giou", "label", "aux_span", "aux_giou", "aux_label", "saliency", "global_alignment",
         "local_alignment", "total")  # fmt: skip
"""Every loss there is."""


def compute_losses(
    outputs: Outputs, batch: Batch, training: Training, model: Model, moments: bool
) -> dict[str, Tensor]:
    """Match, where there are `moments`, and take every loss (see `losses_of`).

    Raises ValueError where the batch has no labels, PipelineError where a span is not finite.
    """
    matches = match(*layers_of(outputs), labels_of(batch), training.loss_weights) if moments else None
    return losses_of(outputs, batch, matches, training, model)


def losses_of(
    outputs: Outputs, batch: Batch, matches: Tensor | None, training: Training, model: Model
) -> dict[str, Tensor]:
    """Every loss that has a weight, and `total`. Looks at no value of a tensor: a GPU is not waited for.

    matches: [layers, B, Q], of `layers_of`; None without moments. Raises ValueError where the batch has no labels.
    Keys (those that apply, unweighted scalars): span, giou, label, aux_span, aux_giou, aux_label (only with
    moments; aux: summed over the earlier decoder layers), saliency, global_alignment, local_alignment (only where
    `model.alignment`), and total, weighted by `training.loss_weights`. A loss of weight 0 is not computed.
    """
    labels, weights, printed = labels_of(batch), training.loss_weights, model.formulation == "paper"
    losses = {} if matches is None else _moment_losses(outputs, labels, matches, weights, printed)
    if weights.saliency:
        losses["saliency"] = saliency_loss(outputs, labels, batch.video_mask, training.saliency_margin)
    if model.alignment and weights.global_alignment:
        losses["global_alignment"] = _global_loss(outputs, batch, printed)
    if model.alignment and weights.local_alignment:
        aligned = local_alignment_as_printed if printed else local_alignment
        masks = batch.video_mask, batch.text_mask, labels.clip_mask
        losses["local_alignment"] = aligned(outputs.video, outputs.text, *masks)
    weighted = [getattr(weights, name.removeprefix("aux_")) * loss for name, loss in losses.items()]
    losses["total"] = torch.stack(weighted).sum() if weighted else outputs.saliency.sum() * 0
    return losses


def layers_of(outputs: Outputs) -> tuple[Tensor, Tensor]:
    """Logits and spans of all decoder layers, [layers, B, Q, 2] each: the last layer first, then the earlier ones."""
    last = zip((outputs.logits, outputs.spans), (outputs.aux_logits, outputs.aux_spans), strict=True)
    logits, spans = (torch.cat((layer[None], earlier)) for layer, earlier in last)
    return logits, spans


def labels_of(batch: Batch) -> Labels:
    """The labels of a batch. Raises ValueError where it was made for prediction."""
    if batch.labels is None:
        raise ValueError("this batch was made for prediction and holds no labels")
    return batch.labels


def _global_loss(outputs: Outputs, batch: Batch, printed: bool) -> Tensor:
    """Released, the means run over padded rows too."""
    if not printed:
        return global_alignment(outputs.video.mean(1), outputs.text.mean(1))
    return global_alignment_as_printed(
        masked_mean(outputs.video, batch.video_mask), masked_mean(outputs.text, batch.text_mask)
    )


def _moment_losses(
    outputs: Outputs, labels: Labels, matches: Tensor, weights: LossWeights, printed: bool
) -> dict[str, Tensor]:
    """Losses of the last decoder layer, and of the earlier ones under `aux_` names."""
    logits, found = layers_of(outputs)
    matched = matches != NONE
    pairs = matched.sum((1, 2)).clamp(min=1)
    wanted = _assigned(labels.spans, matches)
    each: dict[str, Tensor] = {}
    if weights.span:
        each["span"] = ((found - wanted).abs().sum(-1) * matched).sum((1, 2)) / (2 * pairs)
    if weights.giou:
        each["giou"] = ((1 - giou(found, wanted)) * matched).sum((1, 2)) / pairs
    if weights.label:
        each["label"] = (cross_entropy if printed else focal_loss)(logits, matched)
    last = {name: layers[0] for name, layers in each.items()}
    return last | {f"aux_{name}": layers[1:].sum() for name, layers in each.items() if len(layers) > 1}


def _assigned(spans: Tensor, matches: Tensor) -> Tensor:
    """Each query's span of `spans` [B, W, 2]: [layers, B, Q, 2]; one that no division minds (0.5, 0.5) for NONE."""
    index = matches.clamp(min=0)[..., None].expand(-1, -1, -1, 2)
    wanted = spans.expand(len(matches), -1, -1, -1).gather(2, index)
    return wanted.masked_fill((matches == NONE)[..., None], 0.5)


def focal_loss(logits: Tensor, matched: Tensor) -> Tensor:
    """Sigmoid focal loss on both logits [..., B, Q, 2]: (1, 0) for matched queries, (0, 1) for the others.

    matched: [..., B, Q] bool. Returns [...], means over the samples' queries.
    """
    target = torch.stack((matched, ~matched), dim=-1)
    chance = logits.sigmoid()
    miss = torch.where(target, 1 - chance, chance)
    share = FOCAL_ALPHA * target + (1 - FOCAL_ALPHA) * ~target
    entropy = F.binary_cross_entropy_with_logits(logits, target.to(logits.dtype), reduction="none")
    return (share * miss**2 * entropy).mean((-1, -2, -3))


def cross_entropy(logits: Tensor, matched: Tensor) -> Tensor:
    """Softmax cross-entropy, background weighted down. logits [..., B, Q, 2], matched [..., B, Q] bool.

    Returns [...], means over all queries of the batch.
    """
    chance = logits.log_softmax(-1)
    return torch.where(matched, -chance[..., 0], -BACKGROUND_WEIGHT * chance[..., 1]).mean((-1, -2))


def saliency_loss(outputs: Outputs, labels: Labels, video_mask: Tensor, margin: float) -> Tensor:
    """Hinge over the drawn pairs plus rank-contrastive loss over all clips. video_mask [B, L]. Returns a scalar.

    The hinge counts twice, as released. Where there are scores under a wrong query, its clips stand among those rated
    0, and each is pushed below zero.
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
    scores = (scores.masked_fill(mask == 0, PADDED_SCORE) / RANK_TEMPERATURE).float()
    scores = scores - scores.amax(1, keepdim=True)
    log_share = scores - (scores.exp().sum(1, keepdim=True) + 1e-6).log()
    levels = torch.arange(1, RANKS + 1, device=targets.device)
    positive = (targets[None] >= levels[:, None, None]).to(log_share.dtype)
    per_sample = -(positive * (log_share * mask)).sum(2) / (positive.sum(2) + 1e-6)
    return per_sample.mean(1).sum() / (RANKS + 1)
