"""Spans, their generalised IoU, and the assignment of annotated ones to queries."""

from __future__ import annotations

from itertools import permutations

import pytest

pytest.importorskip("torch")

import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import PipelineError
from pipeline.methods.tr_detr.settings import LossWeights
from pipeline.models.batch import padded_spans
from pipeline.models.matching import NONE, costs, giou, solve

WEIGHTS = LossWeights()


def random_problem(seed, counts, queries=4):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(len(counts), queries, 2, generator=generator)
    spans = torch.rand(len(counts), queries, 2, generator=generator) * 0.9 + 0.05
    return logits, spans, [torch.rand(count, 2, generator=generator) * 0.9 + 0.05 for count in counts]


def matched(logits, spans, targets):
    wanted, counts = padded_spans(targets)
    return solve(costs(logits, spans, wanted, WEIGHTS), counts)


def cost_by_hand(logits, span, target):
    """Return the cost by the formula of the released system, on plain numbers."""
    (c, w), (tc, tw) = span.tolist(), target.tolist()
    start, end, tstart, tend = c - w / 2, c + w / 2, tc - tw / 2, tc + tw / 2
    inter = max(0.0, min(end, tend) - max(start, tstart))
    union, hull = w + tw - inter, max(end, tend) - min(start, tstart)
    overlap = inter / union - (hull - union) / hull
    return 10 * (abs(c - tc) + abs(w - tw)) - overlap - 4 * float(logits.softmax(-1)[0])


@given(st.integers(0, 10_000), st.lists(st.integers(0, 6), min_size=1, max_size=3))
def test_the_assignment_is_the_cheapest_of_all(seed, counts):
    logits, spans, targets = random_problem(seed, counts)
    matches = matched(logits, spans, targets)
    assert int((matches != NONE).sum()) == sum(min(count, 4) for count in counts)
    for sample, target in enumerate(targets):
        cost = [[cost_by_hand(logits[sample, q], spans[sample, q], t) for t in target] for q in range(4)]
        few = cost if len(target) >= 4 else list(zip(*cost, strict=True))
        many = max(4, len(target))
        cheapest = min(
            sum(row[at] for row, at in zip(few, order, strict=True)) for order in permutations(range(many), len(few))
        )
        pairs = [(q, t) for q, t in enumerate(matches[sample].tolist()) if t != NONE]
        assert len({t for _, t in pairs}) == len(pairs)
        assert sum(cost[q][t] for q, t in pairs) == pytest.approx(cheapest, abs=1e-4)


def test_a_batch_without_spans_matches_nothing():
    assert (matched(*random_problem(0, [0, 0])) == NONE).all()


def test_layers_are_matched_each_on_its_own_in_one_go():
    logits, spans, targets = random_problem(3, [2, 3])
    other_logits, other_spans, _ = random_problem(4, [2, 3])
    both = matched(torch.stack((logits, other_logits)), torch.stack((spans, other_spans)), targets)
    assert torch.equal(both[0], matched(logits, spans, targets))
    assert torch.equal(both[1], matched(other_logits, other_spans, targets))


def test_the_order_of_targets_only_renames_them():
    logits, spans, (target,) = random_problem(1, [3])
    there, back = (matched(logits, spans, [one])[0] for one in (target, target.flip(0)))
    assert torch.equal(there == NONE, back == NONE)
    assert torch.equal(there[there != NONE], 2 - back[back != NONE])


def test_a_span_that_is_not_finite_is_refused():
    logits, spans, targets = random_problem(2, [1])
    spans[0, 0, 0] = torch.nan
    with pytest.raises(PipelineError, match="not finite"):
        matched(logits, spans, targets)


@given(st.integers(0, 10_000))
def test_giou_is_symmetric_bounded_and_one_on_itself(seed):
    a, b = torch.rand(2, 5, 2, generator=torch.Generator().manual_seed(seed)) * 0.9 + 0.05
    both = giou(a[:, None], b)
    torch.testing.assert_close(both, giou(b[:, None], a).T)
    assert (both > -1).all()
    assert (both <= 1 + 1e-6).all()
    torch.testing.assert_close(giou(a, a), torch.ones(5))


def test_giou_counts_the_gap_between_disjoint_spans():
    torch.testing.assert_close(giou(torch.tensor([0.1, 0.2]), torch.tensor([0.9, 0.2])), torch.tensor(-0.6))
