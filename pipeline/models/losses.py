"""Losses that methods share: of matched moments, and of clips' scores.

Axes: B samples, Q queries, L clips, P saliency pairs.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.models.batch import Batch, Labels, Outputs
from pipeline.models.matching import NONE, MomentWeights, giou

FOCAL_ALPHA = 0.25
"""Share of the entries whose target is 1; the focal exponent is 2. Released."""

BACKGROUND_WEIGHT = 0.1
"""Weight of unmatched queries in the cross-entropy. Released."""

RANKS = 11
"""Score levels of the rank-contrastive loss; the sum is divided by one more, as released."""

RANK_TEMPERATURE = 0.5
"""Released."""

PADDED_SCORE = -1e3
"""Of padded clips among the ranked ones, before the temperature. Released."""


def with_total(losses: dict[str, Tensor], weights: object, nothing: Tensor) -> dict[str, Tensor]:
    """The losses, and `total`: their sum, weighted by the attributes of `weights` that have their names.

    `aux_` losses have the weight of the loss without it. nothing: any tensor of the graph, whose zero is the total
    where no loss is left.
    """
    weighted = [getattr(weights, name.removeprefix("aux_")) * loss for name, loss in losses.items()]
    return losses | {"total": torch.stack(weighted).sum() if weighted else nothing.sum() * 0}


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


LabelLoss = Callable[[Tensor, Tensor], Tensor]
"""Of logits [..., B, Q, 2] and of which queries are matched [..., B, Q]; returns [...]."""


def moment_losses(
    outputs: Outputs, labels: Labels, matches: Tensor, weights: MomentWeights, label_loss: LabelLoss
) -> dict[str, Tensor]:
    """Losses of the last decoder layer, and of the earlier ones, added up, under `aux_` names.

    matches: [layers, B, Q], of `layers_of`. Keys, unweighted: span, giou, label, aux_span, aux_giou, aux_label; a loss
    of weight 0 is not computed. Looks at no value of a tensor: a GPU is not waited for.
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
    """How far predicted spans lie from those they were matched to, as span and giou, [layers] each.

    found [layers, B, Q, 2], spans [B, W, 2], matches [layers, B, Q]. A loss of weight 0 is not computed.
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
    loss = hinge(scores, labels, margin)
    if outputs.negative_saliency is not None:
        loss = loss + (F.softplus(outputs.negative_saliency) * video_mask).sum(1).mean()
        scores = torch.cat((scores, outputs.negative_saliency), dim=1)
        targets = torch.cat((targets, torch.zeros_like(targets)), dim=1)
        mask = torch.cat((mask, mask), dim=1)
    return loss + rank_contrastive(scores, targets, mask)


def hinge(scores: Tensor, labels: Labels, margin: float) -> Tensor:
    """How far the lower clip of a drawn pair comes within `margin` of the higher one: the mean, twice, as released.

    scores [B, L]. Returns a scalar.
    """
    positive, negative = scores.gather(1, labels.saliency_pos), scores.gather(1, labels.saliency_neg)
    return 2 * F.relu(margin + negative - positive).mean()


def rank_contrastive(scores: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
    """For every level 1 … 11: clips rated at least that against all clips of their video.

    scores, targets (0 … 12), mask [B, L]; targets may be positive at padded clips (they only count as positives, as
    released). Levels that no sample reaches add nothing. Returns a scalar.
    """
    return rank_terms(scores, targets, mask).mean(1).sum() / (RANKS + 1)


def rank_terms(scores: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
    """Of every level and every sample [RANKS, B]; see `rank_contrastive`."""
    scores = (scores.masked_fill(mask == 0, PADDED_SCORE) / RANK_TEMPERATURE).float()
    scores = scores - scores.amax(1, keepdim=True)
    log_share = scores - (scores.exp().sum(1, keepdim=True) + 1e-6).log()
    levels = torch.arange(1, RANKS + 1, device=targets.device)
    positive = (targets[None] >= levels[:, None, None]).to(log_share.dtype)
    return -(positive * (log_share * mask)).sum(2) / (positive.sum(2) + 1e-6)
