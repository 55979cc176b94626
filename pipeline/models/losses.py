"""Losses that methods share: losses of matched moments, and losses of clip scores.

Axes: B samples, Q queries, L clips, P saliency pairs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.models.batch import Batch, Labels, Outputs
from pipeline.models.matching import NONE, MomentWeights, giou

T = TypeVar("T")

FOCAL_ALPHA = 0.25
"""Weight α of the entries whose target is 1 in the focal loss; its exponent is 2. Both are the released values."""

BACKGROUND_WEIGHT = 0.1
"""Weight of unmatched queries in the cross-entropy (the released value)."""

RANKS = 11
"""Score levels of the rank-contrastive loss. Their sum is divided by one more than their number, as released."""

RANK_TEMPERATURE = 0.5
"""Temperature of the rank-contrastive loss (the released value)."""

PADDED_SCORE = -1e3
"""Score of padded clips among the ranked ones, before the temperature (the released value)."""


def with_total(losses: dict[str, Tensor], weights: object, nothing: Tensor) -> dict[str, Tensor]:
    """Return the losses, and under `total` their sum, weighted by the attributes of `weights` that have their names.

    Losses named `aux_` have the weight of the loss without this prefix. nothing: any tensor of the graph; its zero is
    the total when no loss is left.
    """
    weighted = [getattr(weights, name.removeprefix("aux_")) * loss for name, loss in losses.items()]
    return losses | {"total": torch.stack(weighted).sum() if weighted else nothing.sum() * 0}


def layers_of(outputs: Outputs) -> tuple[Tensor, Tensor]:
    """Return logits and spans of all decoder layers, [layers, B, Q, 2] each: the last layer first, then the earlier
    ones."""
    last = zip((outputs.logits, outputs.spans), (outputs.aux_logits, outputs.aux_spans), strict=True)
    logits, spans = (torch.cat((layer[None], earlier)) for layer, earlier in last)
    return logits, spans


def needed(value: T | None) -> T:
    """Return a value that only batches with labels have. Raises ValueError if it is None."""
    if value is None:
        raise ValueError("this batch was made for prediction and holds no labels")
    return value


def labels_of(batch: Batch) -> Labels:
    """Return the labels of a batch. Raises ValueError for a batch that was made for prediction."""
    return needed(batch.labels)


LabelLoss = Callable[[Tensor, Tensor], Tensor]
"""A loss of logits [..., B, Q, 2] and of a mask of matched queries [..., B, Q]. It returns [...]."""


def moment_losses(
    outputs: Outputs, labels: Labels, matches: Tensor, weights: MomentWeights, label_loss: LabelLoss
) -> dict[str, Tensor]:
    """Return the losses of the last decoder layer, and the sums of those of the earlier ones under `aux_` names.

    matches: [layers, B, Q], in the order of `layers_of`. Keys, unweighted: span, giou, label, aux_span, aux_giou,
    aux_label. A loss of weight 0 is not computed. No value of a tensor is read on the host, so the host does not wait
    for a GPU.
    """
    logits, found = layers_of(outputs)
    each = span_losses(found, labels.spans, matches, weights.span, weights.giou)
    if weights.label:
        each["label"] = label_loss(logits, matches != NONE)
    last = {name: layers[0] for name, layers in each.items()}
    return last | {f"aux_{name}": layers[1:].sum() for name, layers in each.items() if len(layers) > 1}


def span_losses(
    found: Tensor, spans: Tensor, matches: Tensor, span_weight: float, giou_weight: float
) -> dict[str, Tensor]:
    """Return the losses `span` and `giou` of predicted spans against those that they were matched with, [layers] each.
    found: [layers, B, Q, 2]. spans: [B, W, 2]. matches: [layers, B, Q]. A loss of weight 0 is not computed.
    """
    matched = matches != NONE
    pairs = matched.sum((1, 2)).clamp(min=1)
    wanted = _assigned(spans, matches)
    each: dict[str, Tensor] = {}
    if span_weight:
        each["span"] = ((found - wanted).abs().sum(-1) * matched).sum((1, 2)) / (2 * pairs)
    if giou_weight:
        each["giou"] = ((1 - giou(found, wanted)) * matched).sum((1, 2)) / pairs
    return each


def _assigned(spans: Tensor, matches: Tensor) -> Tensor:
    """Return the span of `spans` [B, W, 2] that each query is matched with: [layers, B, Q, 2].

    A query without a match (NONE) gets (0.5, 0.5), which makes no division infinite.
    """
    index = matches.clamp(min=0)[..., None].expand(-1, -1, -1, 2)
    wanted = spans.expand(len(matches), -1, -1, -1).gather(2, index)
    return wanted.masked_fill((matches == NONE)[..., None], 0.5)


def focal_loss(logits: Tensor, matched: Tensor) -> Tensor:
    """Return the sigmoid focal loss on both logits [..., B, Q, 2]: target (1, 0) for matched queries, (0, 1) for the
    others.

    matched: [..., B, Q] bool. Returns [...], means over the queries of the samples.
    """
    target = torch.stack((matched, ~matched), dim=-1)
    chance = logits.sigmoid()
    miss = torch.where(target, 1 - chance, chance)
    share = FOCAL_ALPHA * target + (1 - FOCAL_ALPHA) * ~target
    entropy = F.binary_cross_entropy_with_logits(logits, target.to(logits.dtype), reduction="none")
    return (share * miss**2 * entropy).mean((-1, -2, -3))


def cross_entropy(logits: Tensor, matched: Tensor) -> Tensor:
    """Return the softmax cross-entropy with a lower weight of the background.

    logits [..., B, Q, 2], matched [..., B, Q] bool. Returns [...], means over all queries of the batch.
    """
    chance = logits.log_softmax(-1)
    return torch.where(matched, -chance[..., 0], -BACKGROUND_WEIGHT * chance[..., 1]).mean((-1, -2))


def entropy_of(chance: Tensor, target: Tensor, *, mean: bool = False) -> Tensor:
    """Return the cross-entropy of every probability and its target, in the shape of both, or their mean, a scalar. It
    is NaN for NaN.

    torch's own function ends with an error if a probability is NaN, and on a GPU nothing can be computed after it. So a
    NaN is kept from it, and the loss, which is then NaN, is named by the training.
    """
    known = F.binary_cross_entropy(chance.nan_to_num(0.5), target, reduction="mean" if mean else "none")
    return known.masked_fill(chance.isnan().any() if mean else chance.isnan(), torch.nan)


def saliency_loss(outputs: Outputs, labels: Labels, video_mask: Tensor, margin: float) -> Tensor:
    """Return the hinge loss over the drawn pairs plus the rank-contrastive loss over all clips, a scalar.

    video_mask: [B, L]. The hinge counts twice, as released. If there are scores with a wrong query, these clips are
    added to the clips rated 0, and each of their scores is pushed below zero.
    """
    scores, targets, mask = outputs.saliency, labels.saliency, video_mask
    loss = hinge(scores, labels, margin)
    if outputs.negative_saliency is not None:
        loss = loss + (F.softplus(outputs.negative_saliency) * video_mask).sum(1).mean()
        scores = torch.cat((scores, outputs.negative_saliency), dim=1)
        targets = torch.cat((targets, torch.zeros_like(targets)), dim=1)
        mask = torch.cat((mask, mask), dim=1)
    return loss + rank_contrastive(scores, targets, mask)


def hinge(scores: Tensor, labels: Labels, margin: float) -> Tensor:
    """Return the hinge loss of pairs of clips: the score of the better clip should exceed the other by `margin`.

    The pairs are those of `labels`. The loss is twice the mean over all pairs, as in the released system. scores:
    [B, L]. Returns a scalar.
    """
    positive, negative = scores.gather(1, labels.saliency_pos), scores.gather(1, labels.saliency_neg)
    return 2 * F.relu(margin + negative - positive).mean()


def rank_contrastive(scores: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
    """Return the contrastive loss of ranks: for each level from 1 to 11, the clips whose target is at least this level
    are compared with all clips of their video.

    scores, targets (0 … 12) and mask: [B, L]. The target of a padded clip may be positive. As in the released system,
    such a clip counts only among the positive clips. A level that no sample reaches adds nothing. Returns a scalar.
    """
    return rank_terms(scores, targets, mask).mean(1).sum() / (RANKS + 1)


def rank_terms(scores: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
    """Return the term of every level and every sample, [RANKS, B]. `rank_contrastive` explains it."""
    scores = (scores.masked_fill(mask == 0, PADDED_SCORE) / RANK_TEMPERATURE).float()
    scores = scores - scores.amax(1, keepdim=True)
    log_share = scores - (scores.exp().sum(1, keepdim=True) + 1e-6).log()
    levels = torch.arange(1, RANKS + 1, device=targets.device)
    positive = (targets[None] >= levels[:, None, None]).to(log_share.dtype)
    return -(positive * (log_share * mask)).sum(2) / (positive.sum(2) + 1e-6)
