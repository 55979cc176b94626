"""The network: shapes, switches, masks, and where the released formulation lets padding through."""

from __future__ import annotations

from itertools import product

import pytest

pytest.importorskip("torch")

import torch
from hypothesis import given
from hypothesis import strategies as st
from made_batches import TEXT, VIDEO, make_batch

from pipeline.methods.tr_detr.cooperation import MomentSimilarity, PrintedMomentSimilarity, best_moment, slice_rows
from pipeline.methods.tr_detr.network import TrDetr
from pipeline.methods.tr_detr.settings import TrDetrSettings as Model
from pipeline.models.attention import MultiHeadAttention, attend, clip_positions
from pipeline.models.masking import keep_words_as_released, masked_softmax

torch.set_num_threads(1)

SMALL = {"hidden_dim": 32, "heads": 4, "feedforward_dim": 48, "queries": 5}

TABLE_4 = {
    "a": ("", 7_519_269),
    "b": ("alignment", 7_519_269),
    "c": ("refinement", 7_914_021),
    "d": ("mr2hd", 7_914_021),
    "e": ("hd2mr", 7_519_269),
    "f": ("mr2hd hd2mr", 7_914_021),
    "g": ("alignment mr2hd hd2mr", 7_914_021),
    "h": ("refinement mr2hd hd2mr", 8_308_773),
    "i": ("alignment refinement", 7_914_021),
    "j": ("alignment refinement mr2hd hd2mr", 8_308_773),
}
"""Modules that are on, and the number of parameters of the released system. It includes 8,704 that no output depends
on."""
DEAD = 8_704
SWITCHES = ("alignment", "refinement", "mr2hd", "hd2mr")


def small_model(seed=0, **settings):
    torch.manual_seed(seed)
    return TrDetr(Model(**SMALL | settings), VIDEO, 0, TEXT, 2.0).eval()


@pytest.mark.parametrize("row", TABLE_4)
def test_a_row_of_table_4_has_the_parameters_it_should(row):
    modules, released = TABLE_4[row]
    model = TrDetr(Model(**{name: name in modules.split() for name in SWITCHES}), 2816, 0, 512, 2.0)
    assert sum(p.numel() for p in model.parameters()) == released - DEAD


@pytest.mark.parametrize(
    ("dims", "released"), [((2816, 2048), 8_837_673), ((2048, 0), 8_110_629), ((2048, 2048), 8_639_529)]
)
def test_audio_and_tvsum_have_the_parameters_they_should(dims, released):
    model = TrDetr(Model(), *dims, 512, 2.0)
    assert sum(p.numel() for p in model.parameters()) == released - DEAD


@pytest.mark.parametrize("on", list(product((False, True), repeat=3)))
def test_every_combination_of_modules_predicts_and_every_parameter_takes_part(on):
    model = small_model(**dict(zip(SWITCHES[1:], on, strict=True)))
    outputs = model(make_batch([9, 6], [4, 3]))
    assert outputs.logits.shape == outputs.spans.shape == (2, 5, 2)
    assert outputs.aux_logits.shape == outputs.aux_spans.shape == (1, 2, 5, 2)
    assert outputs.saliency.shape == (2, 9)
    total = sum(x.square().sum() for x in (outputs.logits, outputs.spans, outputs.saliency, outputs.aux_spans))
    total.backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_alignment_changes_no_output():
    batch = make_batch([9, 6], [4, 3])
    on, off = (small_model(alignment=alignment)(batch) for alignment in (True, False))
    torch.testing.assert_close(on.saliency, off.saliency)


def test_without_mr2hd_the_first_pass_scores_are_the_highlight_scores():
    model, calls = small_model(mr2hd=False), []
    model.encoder.register_forward_hook(lambda _m, _i, result: calls.append(result))
    outputs = model(make_batch([9, 6], [4, 3]))
    assert len(calls) == 2
    torch.testing.assert_close(outputs.saliency, model.score(calls[0]))


def test_without_hd2mr_the_encoder_runs_once():
    model, calls = small_model(hd2mr=False), []
    model.encoder.register_forward_hook(lambda *_: calls.append(1))
    model(make_batch([9, 6], [4, 3]))
    assert len(calls) == 1


def test_outputs_do_not_depend_on_mates_where_all_lengths_are_equal():
    model = small_model()
    together = model(make_batch([8, 8, 8], [5, 5, 5]))
    alone = model(make_batch([8], [5]))
    for name in ("logits", "spans", "saliency"):
        torch.testing.assert_close(getattr(together, name)[:1], getattr(alone, name), rtol=1e-4, atol=1e-5)


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 6)), min_size=1, max_size=3),
    st.integers(0, 4),
    st.integers(0, 3),
)
def test_padding_leaks_only_where_the_released_formulation_lets_it(mates, more_clips, more_words):
    """Without these bugs (plain masks of words; no HD2MR, no MR2HD), a sample has the same result alone and padded."""
    model = small_model(hd2mr=False, mr2hd=False)
    n_clips, n_words = [6, *(c for c, _ in mates)], [4, *(w for _, w in mates)]
    whole = make_batch(n_clips, n_words, length=max(n_clips) + more_clips, words=max(n_words) + more_words)
    alone = model(make_batch(n_clips[:1], n_words[:1]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "pipeline.methods.tr_detr.network.keep_words_as_released", lambda _v, text_mask, _h: keep_plain(text_mask)
        )
        together = model(whole)
    torch.testing.assert_close(together.logits[:1], alone.logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together.spans[:1], alone.spans, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together.saliency[:1, :6], alone.saliency, rtol=1e-4, atol=1e-5)


def keep_plain(text_mask):
    return (text_mask > 0)[:, None, None]


@pytest.mark.parametrize(
    ("settings", "lengths"),
    [
        ({"hd2mr": False, "mr2hd": False}, ([8, 5], [6, 3])),  # the t2v mask
        ({"hd2mr": True, "mr2hd": False}, ([5, 8], [6, 6])),  # HD2MR's softmax
        ({"hd2mr": False, "mr2hd": True}, ([5, 8], [6, 6])),  # MR2HD's padded length
    ],
)
def test_the_released_leaks_are_there(settings, lengths):
    model = small_model(**settings)
    together, alone = model(make_batch(*lengths)), model(make_batch(*(one[:1] for one in lengths)))
    n = min(lengths[0])
    apart = [(getattr(together, x)[:1, :n] - getattr(alone, x)[:1, :n]).abs().max() for x in ("logits", "saliency")]
    assert max(apart) > 1e-4


def test_the_released_word_mask_is_the_tiled_one_read_in_the_wrong_order():
    batch, heads = make_batch([7, 4, 6], [5, 2, 3]), 4
    per_sample = (batch.video_mask == 0)[:, :, None] & (batch.text_mask == 0)[:, None, :]
    tiled = per_sample.repeat(heads, 1, 1).view(3, heads, 7, 5)
    expected = ~tiled & (batch.text_mask > 0)[:, None, None]
    assert torch.equal(keep_words_as_released(batch.video_mask, batch.text_mask, heads), expected)


@given(st.integers(1, 8), st.integers(-12, 12), st.integers(-12, 12))
def test_a_slice_of_rows_is_what_a_list_would_give(length, start, end):
    rows = torch.arange(1.0, length + 1).view(1, length, 1)
    taken = list(range(1, length + 1))[start : end + 1]
    expected = torch.zeros(length)
    expected[: len(taken)] = torch.tensor(taken, dtype=torch.float32)
    assert torch.equal(slice_rows(rows, torch.tensor([start]), torch.tensor([end])).flatten(), expected)


def test_mr2hd_slices_per_sample_as_a_plain_loop_does():
    """The GRU has a large bias of the update gate. So it remembers, and a wrong slice changes the result."""
    torch.manual_seed(0)
    module, video = MomentSimilarity(16, 2.0), torch.randn(6, 20, 16)
    with torch.no_grad():
        module.gru.bias_ih_l0[16:32] += 4.0
    logits = torch.zeros(6, 3, 2)
    logits[:, 1, 0] = 1.0
    bounds = torch.tensor([[0.1, 0.4], [-0.06, 0.3], [-0.01, 0.95], [0.5, 1.2], [0.99, 1.4], [0.31, 0.33]])
    spans = torch.rand(6, 3, 2)
    spans[:, 1] = torch.stack((bounds.mean(1), bounds[:, 1] - bounds[:, 0]), -1)
    expected = []
    for sample, (centre, width) in zip(video, spans[:, 1], strict=True):
        start = int(torch.floor((centre - width / 2) * 40 / 2))
        end = int(torch.floor((centre + width / 2) * 40 / 2))
        moment = sample[start : end + 1]
        moment = torch.cat((moment, torch.zeros(20 - len(moment), 16)))
        expected.append(sample @ module.gru(moment)[1][0])
    torch.testing.assert_close(module(logits, spans, video, torch.ones(6, 20)), torch.stack(expected))


def test_the_best_moment_is_the_most_probable_querys():
    logits = torch.tensor([[[0.0, 2.0], [1.0, 0.5], [3.0, 2.9]]])
    spans = torch.tensor([[[0.5, 0.5], [0.25, 0.26], [0.9, 0.1]]])
    start, end = best_moment(logits, spans, torch.tensor([10.0]), 2.0)
    assert (start.tolist(), end.tolist()) == ([1], [3])


def test_attention_equals_the_library_layer(torch_one_thread):
    torch.manual_seed(0)
    ours, theirs = MultiHeadAttention(16, 4, 0.1).eval(), torch.nn.MultiheadAttention(16, 4, batch_first=True).eval()
    with torch.no_grad():
        theirs.in_proj_weight.copy_(ours.in_weight)
        theirs.in_proj_bias.copy_(ours.in_bias.normal_())
        theirs.out_proj.load_state_dict(ours.out.state_dict())
    clips, words = torch.randn(2, 6, 16), torch.randn(2, 5, 16)
    padded = torch.arange(5) >= torch.tensor([5, 3])[:, None]
    expected = theirs(clips, words, words, key_padding_mask=padded)[0]
    torch.testing.assert_close(ours(clips, words, words, ~padded[:, None, None]), expected)


def test_a_query_without_keys_gives_zeros_not_nan():
    nothing = torch.zeros(1, 1, 1, 3, dtype=torch.bool)
    assert torch.equal(attend(*torch.randn(3, 1, 3, 8), heads=2, keep=nothing), torch.zeros(1, 3, 8))


def test_positions_count_valid_clips_and_end_at_two_pi():
    positions = clip_positions(torch.tensor([[1.0, 1.0, 1.0, 0.0]]), 8)
    angle = 2 * torch.pi * torch.tensor([1.0, 2.0, 3.0, 3.0]) / 3
    torch.testing.assert_close(positions[0, :, 0], angle.sin(), atol=1e-5, rtol=0)
    torch.testing.assert_close(positions[0, :, 3], (angle / 10).cos(), atol=1e-5, rtol=0)


def test_a_softmax_over_nothing_is_uniform():
    assert torch.equal(masked_softmax(torch.randn(1, 4), torch.zeros(1, 4), dim=1), torch.full((1, 4), 0.25))


def test_a_start_has_the_released_distribution():
    model = small_model()
    layers = model.decoder.layers
    assert torch.equal(layers[0].self_query.bias, layers[1].self_query.bias)
    assert not torch.equal(layers[0].self_query.weight, layers[1].self_query.weight)
    for zero in (layers[0].self_out.bias, layers[1].cross_out.bias, model.decoder.move.layers[-1].bias):
        assert not zero.any()
    bound = (6 / (4 * 32)) ** 0.5
    assert 0.9 * bound < model.t2v.layers[0].attention.in_weight.abs().max() <= bound
    assert model.encoder.layers[0].feedforward.activation.weight.tolist() == [0.25]
    assert model.mr2hd.gru.weight_hh_l0.abs().max() <= 32**-0.5


def test_dropout_acts_in_training_only():
    model, batch = small_model(), make_batch([9, 6], [4, 3])
    assert torch.equal(model(batch).saliency, model(batch).saliency)
    model.train()
    assert not torch.equal(model(batch).saliency, model(batch).saliency)


@pytest.mark.parametrize("settings", [{}, {"hd2mr": False}, {"formulation": "paper"}])
def test_padding_that_the_last_pass_is_spared_changes_no_valid_output_and_no_gradient(settings, monkeypatch):
    batch = make_batch([9, 5, 3], [4, 3, 2])
    outputs, gradients, rows = [], [], []
    for worthwhile in (0.0, 1.0):
        monkeypatch.setattr("pipeline.models.packing.WORTHWHILE", worthwhile)
        model = small_model(dropout=0.0, input_dropout=0.0, **settings).train()
        model.encoder.register_forward_hook(lambda _m, _i, result: rows.append(result.shape[:2].numel()))
        found = model(batch)
        outputs.append((found.logits, found.spans, found.saliency * batch.video_mask))
        sum(x.square().sum() for x in outputs[-1]).backward()
        gradients.append({name: p.grad for name, p in model.named_parameters()})
    assert 17 in rows and rows[-1] == 27
    for spared, whole in zip(*outputs, strict=True):
        torch.testing.assert_close(spared, whole, rtol=1e-4, atol=1e-5)
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], rtol=1e-3, atol=1e-5, msg=name)


def test_the_released_mr2hd_forgets_the_moment_and_the_printed_one_does_not():
    """After a moment and forty rows of zeros, the state contains nothing of the moment (docs/paper-vs-released.md)."""
    torch.manual_seed(0)
    released, printed = MomentSimilarity(256, 2.0), PrintedMomentSimilarity(256, 2.0)
    logits, video, valid = torch.zeros(1, 1, 2), torch.randn(1, 75, 256), torch.ones(1, 75)
    early, late = torch.tensor([[[0.1, 0.2]]]), torch.tensor([[[0.8, 0.2]]])
    same = [released(logits, spans, video, valid) for spans in (early, late)]
    torch.testing.assert_close(*same, rtol=0, atol=1e-4)
    apart = [printed(logits, spans, video, valid) for spans in (early, late)]
    assert (apart[0] - apart[1]).abs().max() > 1e-4


def test_plain_masks_take_the_mistake_from_unequal_batches_and_change_nothing_else():
    released, plain = small_model(), small_model(plain_masks=True)
    equal, unequal = make_batch([9, 9], [4, 4]), make_batch([9, 6], [4, 2])
    torch.testing.assert_close(plain(equal).saliency, released(equal).saliency)
    assert not torch.allclose(plain(unequal).saliency, released(unequal).saliency)
