"""Which predicted span answers for which annotated one: a bipartite matching per sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.config import LossWeights
from pipeline.errors import PipelineError


@dataclass(frozen=True, slots=True)
class Matches:
    """K matched pairs of a batch: long [K] each. span indexes the annotated spans of the batch, concatenated."""

    sample: Tensor
    query: Tensor
    span: Tensor


@torch.no_grad()
def match(logits: Tensor, spans: Tensor, targets: Sequence[Tensor], weights: LossWeights) -> Matches:
    """Assign annotated spans to queries at the least cost; the smaller side is matched whole.

    logits, spans [B, Q, 2]; targets: B tensors [k, 2]. Cost: weighted L1 of (centre, width), minus gIoU, minus the
    foreground probability; one tensor for the whole batch and one transfer to the CPU.
    Raises PipelineError where a span is not finite.
    """
    from scipy.optimize import linear_sum_assignment

    wanted = torch.cat(list(targets))
    flat = spans.flatten(0, 1).float()
    cost = weights.span * torch.cdist(flat, wanted, p=1) - weights.giou * pairwise_giou(flat, wanted)
    cost = cost - weights.label * logits.float().softmax(-1)[..., 0].flatten()[:, None]
    costs = cost.view(*logits.shape[:2], -1).cpu()
    if not bool(torch.isfinite(costs).all()):
        raise PipelineError(
            "a predicted or annotated span is not finite: the matching has no answer",
            where="training",
            remedy="lower the learning rate, or look for features that are not finite",
        )
    counts = [len(target) for target in targets]
    rows: list[tuple[int, int, int]] = []
    for sample, (first, count) in enumerate(zip(_starts(counts), counts, strict=True)):
        queries, chosen = linear_sum_assignment(costs[sample, :, first : first + count])
        rows += [(sample, int(q), first + int(t)) for q, t in zip(queries, chosen, strict=True)]
    return Matches(*torch.tensor(rows, dtype=torch.long).view(-1, 3).T.to(logits.device))


def pairwise_giou(spans: Tensor, others: Tensor) -> Tensor:
    """Generalised IoU of every span with every other: [P, 2], [K, 2] (centre, width) to [P, K], in (-1, 1]."""
    return giou(spans[:, None], others[None])


def giou(spans: Tensor, others: Tensor) -> Tensor:
    """Generalised IoU of spans (centre, width), elementwise over broadcast leading axes."""
    start, end = _bounds(spans)
    other_start, other_end = _bounds(others)
    shared = (torch.minimum(end, other_end) - torch.maximum(start, other_start)).clamp(min=0)
    union = (end - start) + (other_end - other_start) - shared
    hull = (torch.maximum(end, other_end) - torch.minimum(start, other_start)).clamp(min=0)
    return shared / union - (hull - union) / hull


def _bounds(spans: Tensor) -> tuple[Tensor, Tensor]:
    centre, width = spans.unbind(-1)
    return centre - 0.5 * width, centre + 0.5 * width


def _starts(counts: Sequence[int]) -> list[int]:
    starts = [0]
    for count in counts[:-1]:
        starts.append(starts[-1] + count)
    return starts
