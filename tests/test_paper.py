"""Formulation `paper`: every printed equation against a transcription in NumPy, and no padding leaks."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from hypothesis import given
from hypothesis import strategies as st
from made_batches import matched_losses

from pipeline.methods.tr_detr.alignment import global_alignment_as_printed, local_alignment_as_printed
from pipeline.methods.tr_detr.cooperation import PrintedMomentSimilarity
from pipeline.methods.tr_detr.network import TrDetr
from pipeline.methods.tr_detr.refinement import PrintedRefinement
from pipeline.methods.tr_detr.settings import TrDetrSettings as Model
from pipeline.models.attention import MultiHeadAttention
from pipeline.models.batch import Batch, Labels, Outputs, padded_spans
from pipeline.models.losses import cross_entropy, rank_contrastive, saliency_loss
from pipeline.models.projection import Projection

torch.set_num_threads(1)

PAPER = Model(formulation="paper", hidden_dim=32, heads=4, feedforward_dim=48, queries=5)
LENGTHS, WORDS = (6, 4), (4, 2)


def a(tensor):
    return tensor.detach().double().numpy()


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x, axis):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def linear(layer, x):
    return x @ a(layer.weight).T + a(layer.bias)


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def masks():
    return [(torch.arange(max(n)) < torch.tensor(n)[:, None]).float() for n in (LENGTHS, WORDS)]


@pytest.fixture
def features():
    torch.manual_seed(5)
    return torch.randn(2, 6, 16), torch.randn(2, 4, 16)


def close(ours, reference):
    np.testing.assert_allclose(a(ours), reference, rtol=1e-4, atol=1e-5)


def test_equations_1_and_2_three_layers(features):
    module, x = Projection(16, 8, 0.5, 3).eval(), a(features[0])
    for n, (norm, layer) in enumerate(zip(module.norms, module.linears, strict=True)):
        x = np.maximum(x, 0) if n else x
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        x = linear(layer, x * a(norm.weight) + a(norm.bias))
    close(module(features[0]), x)


def test_equations_3_and_4_local_regulator(features):
    video, text = features
    relevant = torch.tensor([[0.0, 1, 1, 0, 0, 1], [1, 0, 0, 1, 0, 0]])
    total = 0.0
    for b in range(2):
        for i in range(LENGTHS[b]):
            chance = sigmoid(unit(a(text[b, : WORDS[b]])) @ unit(a(video[b, i]))).mean()
            total -= np.log(chance if relevant[b, i] else 1 - chance)
    close(local_alignment_as_printed(video, text, *masks(), relevant), total / 2)


def test_equation_5_global_regulator(features):
    videos, texts = (a(x.mean(1)) for x in features)
    products = videos @ texts.T
    expected = -np.mean([np.log(np.exp(products[i, i]) / np.exp(products[i]).sum()) for i in range(2)])
    close(global_alignment_as_printed(*(x.mean(1) for x in features)), expected)


def test_equations_6_to_10_refinement(features):
    module, (videos, texts) = PrintedRefinement(16), features
    ours = module(videos, texts, *masks())
    for b in range(2):
        video, text = a(videos[b, : LENGTHS[b]]), a(texts[b, : WORDS[b]])
        similarity = linear(module.clip, video) @ linear(module.word, text).T / np.sqrt(16)
        rows, columns = softmax(similarity, 1), softmax(similarity, 0)
        v2q, q2v = rows @ text, rows @ columns.T @ video
        pooled = np.repeat(text.mean(0, keepdims=True), len(video), 0)
        expected = linear(module.fuse, np.concatenate([video, v2q, video * v2q, video * q2v, pooled], 1))
        close(ours[b, : LENGTHS[b]], expected)


def test_equation_11_attention(features):
    module, (video, text) = MultiHeadAttention(16, 1, 0.0), features
    (wq, wk, wv), (bq, bk, bv) = (a(x).reshape(3, 16, -1).squeeze() for x in (module.in_weight, module.in_bias))
    query, key, value = a(video) @ wq.T + bq, a(text) @ wk.T + bk, a(text) @ wv.T + bv
    mixed = softmax(query @ key.transpose(0, 2, 1) / 4, 2) @ value
    close(module(video, text, text, None), linear(module.out, mixed))


def watched(model, batch):
    """Return inputs and outputs of t2v, encoder and score head, call by call."""
    calls = {"t2v": [], "encoder": [], "score": []}
    for name, kept in calls.items():
        getattr(model, name).register_forward_hook(lambda _m, i, o, kept=kept: kept.append((a(i[0]), a(o))))
    return calls, model(batch)


def test_equations_12_13_and_16_cooperation():
    torch.manual_seed(0)
    model = TrDetr(PAPER, 12, 0, 7, 2.0).eval()
    calls, outputs = watched(model, make_batch(LENGTHS, WORDS))
    joint = calls["t2v"][0][1]
    (first, memory), (second, refined) = calls["encoder"]
    np.testing.assert_allclose(first, joint)
    scores = linear(model.score.linear, memory).sum(-1) / np.sqrt(32)
    for b, n in enumerate(LENGTHS):
        weights = softmax(scores[b, :n], 0)[:, None]
        np.testing.assert_allclose(second[b, :n], joint[b, :n] * (1 + weights), rtol=1e-4, atol=1e-5)
        weight = a(model.mr2hd(outputs.logits, outputs.spans, outputs.video, masks()[0]))[b, :n, None]
        final = joint[b, :n] + weight * refined[b, :n]
        close(outputs.saliency[b, :n], linear(model.score.linear, final).sum(-1) / np.sqrt(32))


def gru(module, rows):
    """Return the last state after `rows`, step by step."""
    state = np.zeros(rows.shape[1])
    weights = [a(x) for x in (module.weight_ih_l0, module.weight_hh_l0, module.bias_ih_l0, module.bias_hh_l0)]
    for row in rows:
        x, h = np.split(weights[0] @ row + weights[2], 3), np.split(weights[1] @ state + weights[3], 3)
        reset, update = sigmoid(x[0] + h[0]), sigmoid(x[1] + h[1])
        state = (1 - update) * np.tanh(x[2] + reset * h[2]) + update * state
    return state


@pytest.mark.parametrize(
    ("bounds", "taken"),
    [((0.2, 0.6), (1, 3)), ((-0.2, 0.3), (0, 1)), ((0.7, 1.3), (4, 5)), ((0.99, 1.4), (5, 5)), ((0.4, 0.41), (2, 2))],
)
def test_equations_14_and_15_retrieved_moment(features, bounds, taken):
    module, video = PrintedMomentSimilarity(16, 2.0), features[0]
    start, end = bounds
    spans = torch.tensor([[[(start + end) / 2, end - start]]] * 2)
    video_mask = torch.ones(2, 6)
    ours = module(torch.zeros(2, 1, 2), spans, video, video_mask)
    for b in range(2):
        state = gru(module.gru, a(video[b, taken[0] : taken[1] + 1]))
        close(ours[b], softmax(unit(a(video[b])) @ unit(state), 0))


def test_equation_17_with_the_losses_of_qd_detr(features):
    torch.manual_seed(1)
    logits = torch.randn(2, 3, 2)
    logp = np.log(softmax(a(logits), -1))
    found = {(0, 2), (1, 0)}
    matched = torch.tensor([[(b, q) in found for q in range(3)] for b in range(2)])
    terms = [-logp[b, q, 0] if (b, q) in found else -0.1 * logp[b, q, 1] for b in range(2) for q in range(3)]
    close(cross_entropy(logits, matched), np.mean(terms))

    labels = make_labels(LENGTHS)
    scores, wrong, mask = torch.randn(2, 6), torch.randn(2, 6), masks()[0]
    nothing = torch.zeros(0)
    outputs = Outputs(
        logits=nothing,
        spans=nothing,
        aux_logits=nothing,
        aux_spans=nothing,
        saliency=scores,
        negative_saliency=wrong,
    )
    pairs = -(np.log(1 - sigmoid(a(wrong))) * a(mask)).sum(1).mean()
    above, below = scores.gather(1, labels.saliency_pos), scores.gather(1, labels.saliency_neg)
    hinge = 2 * np.maximum(0, 0.2 + a(below) - a(above)).mean()
    doubled = torch.cat((labels.saliency, torch.zeros(2, 6)), 1), torch.cat((mask, mask), 1)
    ranks = rank_contrastive(torch.cat((scores, wrong), 1), *doubled)
    close(saliency_loss(outputs, labels, mask, 0.2), hinge + pairs + float(ranks))


def make_labels(n_clips, length=None):
    saliency = torch.zeros(len(n_clips), length or max(n_clips))
    saliency[:, 1:3] = torch.tensor([7.0, 3.0])
    pairs = torch.tensor([[1, 2], [1, 1]])[: len(n_clips)], torch.tensor([[2, 0], [2, 3]])[: len(n_clips)]
    spans = (torch.tensor([[0.3, 0.4]]), torch.tensor([[0.5, 0.2], [0.8, 0.2]]))[: len(n_clips)]
    return Labels(*padded_spans(spans), saliency, (saliency > 0).float(), *pairs)


def make_batch(n_clips, n_words, length=None, words=None):
    """Return the same samples with any padding."""
    length, words = length or max(n_clips), words or max(n_words)
    video, text = torch.zeros(len(n_clips), length, 14), torch.zeros(len(n_clips), words, 7)
    for b, (clips, tokens) in enumerate(zip(n_clips, n_words, strict=True)):
        generator = torch.Generator().manual_seed(b)
        video[b, :clips] = torch.randn(clips, 14, generator=generator)
        text[b, :tokens] = torch.randn(tokens, 7, generator=generator)
    video_mask, text_mask = (video.abs().sum(-1) > 0).float(), (text.abs().sum(-1) > 0).float()
    names = list(map(str, n_clips))
    return Batch(
        video, video_mask, text, text_mask, names, names, [60.0] * len(names), n_clips, make_labels(n_clips, length)
    )


@given(st.integers(0, 7), st.integers(0, 5))
def test_padding_to_any_length_changes_no_output_and_no_loss(more_clips, more_words):
    torch.manual_seed(0)
    model = TrDetr(PAPER, 12, 0, 7, 2.0).eval()
    short = make_batch(LENGTHS, WORDS)
    long = make_batch(LENGTHS, WORDS, 6 + more_clips, 4 + more_words)
    outputs, padded = model(short), model(long)
    for name in ("logits", "spans", "aux_logits", "aux_spans"):
        torch.testing.assert_close(getattr(padded, name), getattr(outputs, name), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(padded.saliency[1, :4], outputs.saliency[1, :4], rtol=1e-4, atol=1e-5)
    losses = matched_losses(outputs, short, PAPER, True)
    for name, loss in matched_losses(padded, long, PAPER, True).items():
        torch.testing.assert_close(loss, losses[name], rtol=1e-4, atol=1e-5)


def test_a_sample_gives_the_same_outputs_alone_and_in_a_padded_batch():
    torch.manual_seed(0)
    model = TrDetr(PAPER, 12, 0, 7, 2.0).eval()
    alone, together = model(make_batch((4,), (2,))), model(make_batch((4, 9), (2, 5)))
    torch.testing.assert_close(together.spans[:1], alone.spans, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together.saliency[:1, :4], alone.saliency, rtol=1e-4, atol=1e-5)


def test_scores_under_the_next_samples_query_are_made_while_training_only():
    torch.manual_seed(0)
    settings = PAPER.model_copy(update={"dropout": 0.0, "input_dropout": 0.0})
    model, batch = TrDetr(settings, 12, 0, 7, 2.0), make_batch((6, 6), (4, 4))
    swapped = Batch(
        batch.video, batch.video_mask, batch.text.flip(0), batch.text_mask, batch.qids, batch.vids, [60.0] * 2, [6, 6]
    )
    wrong = model(batch).negative_saliency
    torch.testing.assert_close(wrong, model(swapped).saliency)
    assert model.eval()(batch).negative_saliency is None
    assert model.train()(make_batch((6,), (4,))).negative_saliency is None


@pytest.mark.parametrize("off", ["refinement", "mr2hd", "hd2mr"])
def test_every_switch_works_as_printed_too(off):
    model = TrDetr(PAPER.model_copy(update={off: False}), 12, 0, 7, 2.0)
    losses = matched_losses(model(make_batch(LENGTHS, WORDS)), make_batch(LENGTHS, WORDS), PAPER, True)
    losses["total"].backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
