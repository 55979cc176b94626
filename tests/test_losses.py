"""Each loss against its formula written out with loops, and the rules of the total."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from made_batches import matched_losses

from pipeline.methods.tr_detr.alignment import global_alignment, local_alignment
from pipeline.methods.tr_detr.network import AlignedOutputs
from pipeline.methods.tr_detr.settings import LossWeights, TrDetrSettings
from pipeline.models.batch import Batch, Labels, padded_spans
from pipeline.models.losses import focal_loss, rank_contrastive, saliency_loss
from pipeline.models.matching import giou, match

torch.set_num_threads(1)


@pytest.fixture
def problem():
    generator = torch.Generator().manual_seed(3)
    rand = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
    mask = torch.tensor([[1.0] * 6, [1.0] * 4 + [0.0] * 2, [1.0] * 5 + [0.0]])
    text_mask = torch.tensor([[1.0] * 4, [1.0] * 2 + [0.0] * 2, [1.0] * 3 + [0.0]])
    saliency = torch.randint(0, 13, (3, 6), generator=generator) * mask
    saliency[2] = 0
    labels = Labels(
        *padded_spans([torch.tensor([[0.3, 0.2], [0.8, 0.2]]), torch.tensor([[0.5, 1.0]]), torch.tensor([[0.2, 0.1]])]),
        saliency=saliency,
        clip_mask=(saliency > 0).float(),
        saliency_pos=torch.tensor([[0, 1], [2, 3], [0, 4]]),
        saliency_neg=torch.tensor([[3, 2], [1, 1], [1, 2]]),
    )
    names = ["a", "b", "c"]
    batch = Batch(rand(3, 6, 4), mask, rand(3, 4, 4), text_mask, names, names, [12.0] * 3, [6, 4, 5], labels)
    outputs = AlignedOutputs(
        logits=rand(3, 5, 2),
        spans=rand(3, 5, 2).sigmoid(),
        aux_logits=rand(1, 3, 5, 2),
        aux_spans=rand(1, 3, 5, 2).sigmoid(),
        saliency=rand(3, 6),
        video=rand(3, 6, 8),
        text=rand(3, 4, 8),
    )
    return outputs, batch


def losses_of(problem, *, weights=None, moments=True, **model):
    settings = TrDetrSettings(loss_weights=LossWeights(**(weights or {})), **model)
    return matched_losses(*problem, settings, moments)


def test_the_total_is_the_weighted_sum(problem):
    losses = losses_of(problem)
    weights = {"span": 10, "giou": 1, "label": 4, "aux_span": 10, "aux_giou": 1, "aux_label": 4, "saliency": 1}
    weights |= {"global_alignment": 0.3, "local_alignment": 0.5}
    assert losses.keys() - {"total"} == weights.keys()
    assert float(losses["total"]) == pytest.approx(
        sum(w * float(losses[name]) for name, w in weights.items()), rel=1e-6
    )


def test_span_losses_are_means_over_the_matched_pairs_of_each_layer(problem):
    outputs, batch = problem
    found = losses_of(problem)
    for prefix, logits, spans in (
        ("", outputs.logits, outputs.spans),
        ("aux_", outputs.aux_logits[0], outputs.aux_spans[0]),
    ):
        matches = match(logits, spans, batch.labels, LossWeights())
        pairs = [(spans[b, q], batch.labels.spans[b, w]) for (b, q), w in np.ndenumerate(matches.numpy()) if w >= 0]
        assert len(pairs) == 4
        apart = [abs(float(a[side] - b[side])) for a, b in pairs for side in (0, 1)]
        assert float(found[f"{prefix}span"]) == pytest.approx(np.mean(apart), rel=1e-5)
        assert float(found[f"{prefix}giou"]) == pytest.approx(
            np.mean([1 - float(giou(a, b)) for a, b in pairs]), rel=1e-5
        )


def test_queries_without_a_span_get_no_span_gradient(problem):
    outputs, batch = problem
    spans = outputs.spans.clone()
    spans[1, 3] = torch.tensor([0.5, 0.0])  # a width that a division would mind
    spans.requires_grad_()
    matches = match(outputs.logits, spans, batch.labels, LossWeights())
    losses = losses_of((replace(outputs, spans=spans), batch))
    (10 * losses["span"] + losses["giou"]).backward()
    assert spans.grad.isfinite().all()
    assert torch.equal(spans.grad.abs().sum(-1) > 0, matches >= 0)


def test_without_moments_no_loss_of_moments_is_left(problem):
    assert losses_of(problem, moments=False).keys() == {"saliency", "global_alignment", "local_alignment", "total"}


def test_a_loss_of_weight_0_is_not_computed(problem, monkeypatch):
    monkeypatch.setattr("pipeline.methods.tr_detr.criterion.global_alignment", None)
    losses = losses_of(problem, weights={"global_alignment": 0, "giou": 0})
    assert not losses.keys() & {"global_alignment", "giou", "aux_giou"}


def test_without_alignment_both_its_losses_are_off(problem):
    assert not losses_of(problem, alignment=False).keys() & {"global_alignment", "local_alignment"}


def test_a_batch_made_for_prediction_is_refused(problem):
    outputs, batch = problem
    unlabelled = Batch(**{name: getattr(batch, name) for name in batch.__slots__ if name != "labels"})
    with pytest.raises(ValueError, match="no labels"):
        matched_losses(outputs, unlabelled, TrDetrSettings(), True)


def test_a_batch_without_windows_has_finite_losses(problem):
    outputs, batch = problem
    bare = replace(batch, labels=replace(batch.labels, n_spans=(0, 0, 0)))
    losses = losses_of((outputs, bare))
    assert math.isfinite(float(losses["total"]))
    assert not float(losses["span"] + losses["giou"] + losses["aux_span"] + losses["aux_giou"])


def test_the_focal_loss_is_the_focal_loss_of_its_formula(problem):
    logits = problem[0].logits
    matched = torch.zeros(3, 5, dtype=torch.bool)
    matched[0, 1] = matched[2, 4] = True
    expected = []
    for b, q, side in np.ndindex(3, 5, 2):
        p = 1 / (1 + math.exp(-float(logits[b, q, side])))
        target = ((b, q) in {(0, 1), (2, 4)}) == (side == 0)
        expected.append(0.25 * (1 - p) ** 2 * -math.log(p) if target else 0.75 * p**2 * -math.log(1 - p))
    assert float(focal_loss(logits, matched)) == pytest.approx(np.mean(expected), rel=1e-5)


def test_the_rank_loss_is_its_formula_level_by_level(problem):
    outputs, batch = problem
    scores, targets, mask = (x.double().numpy() for x in (outputs.saliency, batch.labels.saliency, batch.video_mask))
    x = (mask * scores + (1 - mask) * -1000) / 0.5
    x = x - x.max(1, keepdims=True)
    logp = x - np.log(np.exp(x).sum(1, keepdims=True) + 1e-6)
    total = 0.0
    for level in range(1, 12):
        above = targets >= level
        if above.any():
            total += np.mean(-(above * logp * mask).sum(1) / (above.sum(1) + 1e-6))
    ours = rank_contrastive(outputs.saliency, batch.labels.saliency, batch.video_mask)
    assert float(ours) == pytest.approx(total / 12, rel=1e-5)


def test_the_hinge_wants_the_margin_between_a_pair(problem):
    outputs, batch = problem
    scores = torch.zeros(3, 6)
    flat = float(rank_contrastive(scores, batch.labels.saliency, batch.video_mask))
    assert float(
        saliency_loss(replace(outputs, saliency=scores), batch.labels, batch.video_mask, 0.2)
    ) == pytest.approx(0.4 + flat)


def test_a_padded_clip_adds_log_2_to_the_local_loss_and_no_gradient(problem):
    outputs, batch = problem
    video = outputs.video.clone().requires_grad_()
    whole = local_alignment(video, outputs.text, batch.video_mask, batch.text_mask, batch.labels.clip_mask)
    whole.backward()
    assert not video.grad[batch.video_mask == 0].any()
    z = torch.nn.functional.normalize
    expected = 3 * math.log(2)
    for b, (n, words) in enumerate(((6, 4), (4, 2), (5, 3))):
        query = z(outputs.text[b, :words], dim=-1).mean(0)
        for i in range(n):
            p = float(torch.sigmoid(z(outputs.video[b, i], dim=-1) @ query / 0.07))
            expected -= math.log(p if batch.labels.clip_mask[b, i] else 1 - p)
    assert float(whole.detach()) == pytest.approx(expected / 18, rel=1e-4)


def test_the_global_loss_is_blind_to_the_order_of_samples_and_to_scale(problem):
    outputs, _ = problem
    order, videos, texts = torch.tensor([2, 0, 1]), outputs.video.mean(1), outputs.text.mean(1)
    torch.testing.assert_close(global_alignment(videos[order] * 3, texts[order]), global_alignment(videos, texts))
