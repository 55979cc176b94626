"""Assigns predicted spans to annotated spans, by one bipartite matching per sample.

Axes: B samples, Q queries, W annotated spans after padding; `…` stands for decoder layers, or nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from pipeline.errors import PipelineError
from pipeline.models.batch import Labels, sent

NONE = -1
"""The index of a query that no annotated span was assigned to."""


class MomentWeights(Protocol):
    """Weights of the costs of a matching, and of the losses of matched queries."""

    @property
    def span(self) -> float:
        """Weight of the L1 distance between spans (centre, width)."""

    @property
    def giou(self) -> float:
        """Weight of the generalised IoU."""

    @property
    def label(self) -> float:
        """Weight of the foreground probability."""


def match(logits: Tensor, spans: Tensor, labels: Labels, weights: MomentWeights) -> Tensor:
    """Assign annotated spans to queries at the lowest cost. Every member of the smaller side is matched.

    logits, spans [..., B, Q, 2]. Returns [..., B, Q] long: the span of each query, or NONE. The host waits for the
    device once. Raises PipelineError when a span is not finite.
    """
    return sent(solve(costs(logits, spans, labels.spans, weights), labels.n_spans), logits.device)


@torch.no_grad()
def costs(logits: Tensor, spans: Tensor, wanted: Tensor, weights: MomentWeights) -> Tensor:
    """Return the costs: weighted L1 of (centre, width), minus gIoU, minus the foreground probability, [..., B, Q, W].

    logits, spans [..., B, Q, 2], wanted [B, W, 2].
    """
    apart = span_costs(spans, wanted, weights.span, weights.giou)
    return apart - weights.label * logits.float().softmax(-1)[..., :1]


@torch.no_grad()
def span_costs(spans: Tensor, wanted: Tensor, span_weight: float, giou_weight: float) -> Tensor:
    """Return the cost of the spans alone, [..., B, Q, W]: the L1 distance minus the GIoU, each times its weight.

    spans: [..., B, Q, 2], predicted. wanted: [B, W, 2], the targets.
    """
    found, wanted = spans.float()[..., None, :], wanted[:, None]
    return span_weight * (found - wanted).abs().sum(-1) - giou_weight * giou(found, wanted)


def solve(costs: Tensor, n_spans: Sequence[int]) -> Tensor:
    """Find the cheapest assignment of every sample on the CPU: costs [..., B, Q, W] to [..., B, Q] long, span or NONE.

    n_spans: the number of valid spans per sample. Raises PipelineError when a cost is not finite.
    """
    table = costs.cpu().numpy()
    assigned = np.full(table.shape[:-1], NONE)
    layers = table.reshape(-1, *table.shape[-3:])
    for layer, rows in zip(layers, assigned.reshape(-1, *table.shape[-3:-1]), strict=True):
        for cost, row, count in zip(layer, rows, n_spans, strict=True):
            queries, spans = _cheapest(cost[:, :count])
            row[queries] = spans
    return torch.from_numpy(assigned)


def _cheapest(cost: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from scipy.optimize import linear_sum_assignment

    if not np.isfinite(cost).all():
        raise PipelineError(
            "a predicted or annotated span is not finite, so the matching cannot be computed",
            where="training",
            remedy="lower the learning rate, or look for features that are not finite",
        )
    return linear_sum_assignment(cost)


def giou(spans: Tensor, others: Tensor) -> Tensor:
    """Return the generalised IoU of spans (centre, width), elementwise over broadcast leading axes, in (-1, 1]."""
    return giou_of_ends(*_bounds(spans), *_bounds(others))


def giou_of_ends(start: Tensor, end: Tensor, other_start: Tensor, other_end: Tensor) -> Tensor:
    """Return the generalised IoU of intervals by their ends, elementwise over broadcast axes.

    Where union or hull has no length, its quotient counts as 0. An interval may go backwards (an event of EaTR), so the
    lengths of two intervals can cancel each other.
    """
    shared = (torch.minimum(end, other_end) - torch.maximum(start, other_start)).clamp(min=0)
    union = (end - start) + (other_end - other_start) - shared
    hull = (torch.maximum(end, other_end) - torch.minimum(start, other_start)).clamp(min=0)
    empty = (hull - union) / hull.masked_fill(hull == 0, 1)
    return shared / union.masked_fill(union == 0, 1) - empty.masked_fill(hull == 0, 0)


def _bounds(spans: Tensor) -> tuple[Tensor, Tensor]:
    centre, width = spans.unbind(-1)
    return centre - 0.5 * width, centre + 0.5 * width
