"""UMT: exact labels, windows from peaks, its optimizer, its normalisation of features, and its released checkpoints."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from tiny_benchmark import FEATURES, WITH_SOUND, Benchmark, query

from pipeline import methods
from pipeline.config import Training
from pipeline.errors import PipelineError
from pipeline.features.store import Store
from pipeline.methods.contract import Inputs
from pipeline.methods.release import noise
from pipeline.methods.settings import Normalisation
from pipeline.methods.umt.labels import PeakTargets, peaks, saliency_of
from pipeline.methods.umt.method import peak_windows, softly_suppressed
from pipeline.methods.umt.settings import UmtSettings
from pipeline.models.batch import Batch
from pipeline.records import Query
from pipeline.released.checkpoint import read_released
from pipeline.released.weights_file import import_checkpoint
from pipeline.training.data import OpenFeatures, load

CASES = json.loads((Path(__file__).parent / "data/umt_cases.json").read_text())
TINY = UmtSettings(hidden_dim=16, heads=2, decoder_layers=2, positions=30, feedforward_dim=8)
INPUTS = Inputs(6, 3, 5, 2.0, moments=True)


def batch(lengths=(7, 4), words=(3, 2), inputs=INPUTS):
    seeded = torch.Generator().manual_seed(1)
    masks = [(torch.arange(max(counts)) < torch.tensor(counts)[:, None]).float() for counts in (lengths, words)]
    video = torch.randn(len(lengths), max(lengths), inputs.video_columns, generator=seeded) * masks[0][..., None]
    text = torch.randn(len(words), max(words), inputs.text_dim, generator=seeded) * masks[1][..., None]
    names = [str(n) for n in range(len(lengths))]
    return Batch(video, masks[0], text, masks[1], names, names, [2.0 * n for n in lengths], list(lengths))


@pytest.mark.parametrize("case", CASES["labels"], ids=lambda case: case["note"][:40])
def test_labels_of_moments_are_the_released_ones(case):
    found = [peaks(np.array(rows, np.float32), case["clips"], case["unit_s"]) for rows in case["windows_seconds"]]
    heat = [(n, i, rows[0, i]) for n, rows in enumerate(found) for i in np.flatnonzero(rows[0])]
    centres = [(n, i, *rows[1:3, i]) for n, rows in enumerate(found) for i in np.flatnonzero(rows[3])]
    assert [row[:2] for row in heat] == [tuple(row[:2]) for row in case["center"]]
    assert [row[:2] for row in centres] == [tuple(row[:2]) for row in case["window_offset"]]
    assert np.array(heat) == pytest.approx(np.array(case["center"]), abs=1e-6)
    assert np.array(centres) == pytest.approx(np.array(case["window_offset"]), abs=1e-6, rel=1e-6)
    assert sum(map(len, case["windows_seconds"])) == case["n_windows"]


@pytest.mark.parametrize("case", CASES["decode"], ids=lambda case: case["note"][:40])
def test_windows_are_the_released_ones(case):
    centre, width, offset = (
        noise(f"umt_cases/{case['tag']}/{name}", (1, case["clips"]))[0].astype(np.float32)
        for name in ("center", "window", "offset")
    )
    chances = torch.from_numpy(centre).sigmoid().numpy()
    found = peak_windows(chances, np.float32(6) * width, offset, case["unit_s"])
    assert len(found) == case["n_windows"]
    assert found[: len(case["first"])] == pytest.approx(np.array(case["first"]), abs=1e-4)
    assert found[-1, : len(case["last"])] == pytest.approx(case["last"], abs=1e-4)
    picked = softly_suppressed(found)
    assert len(picked) == len(found)
    assert picked[: len(case["suppressed"])] == pytest.approx(np.array(case["suppressed"]), abs=1e-4)


def test_a_window_shorter_than_a_clip_at_the_start_lies_in_the_first_clip():
    found = peaks(np.array([[0.0, 0.05]], np.float32), 10, 1 / 6)
    assert np.flatnonzero(found[3]).tolist() == [0] and found[0, 0] == 1


def test_highlight_scores_are_shares_of_what_people_could_give():
    rated = Query(1, "", "v", 8.0, ((2.0, 6.0),), (1, 2), ((4, 4, 4), (0, 2, 1)))
    assert saliency_of(rated, 4, 2.0).tolist() == [0, 1, 0.25, 0]
    everybody = Query(1, "", "v", 4.0, label=((5.0,) * 20, (1.0,) * 10 + (3.0,) * 10))
    assert saliency_of(everybody, 2, 2.0).tolist() == [1, 0.25]
    assert not saliency_of(Query(1, "", "v", 8.0, ((2.0, 6.0),)), 4, 2.0).any()


def test_the_windows_of_a_batch_are_counted_though_one_hides_another():
    targets = PeakTargets([Query(1, "", "v", 20.0, ((2.0, 14.0), (6.0, 10.0))), query(2, 3, 2)], [10, 12], 2.0)
    labels = targets.draw([0, 1], np.random.default_rng(0))
    assert float(labels.n_windows) == 3 and float(labels.centres.sum()) == 2
    assert labels.heat.shape == (2, 12)


def test_padding_is_masked_where_the_release_masks_it():
    """The encoders see no padding; the decoder does, so that a sample's scores depend on its batch."""
    torch.manual_seed(0)
    network = methods.build(TINY, INPUTS).network.eval()
    both = batch()
    whole = network(both)
    other = both.video.clone()
    other[1, 4:] = 7.0
    changed = network(Batch(other, *[getattr(both, name) for name in Batch.__slots__[1:]]))
    assert torch.equal(whole.centre[0], changed.centre[0])
    assert not torch.allclose(whole.centre[1, :4], changed.centre[1, :4])


def test_without_a_text_mask_padded_words_are_keys():
    for masked in (True, False):
        torch.manual_seed(0)
        network = methods.build(TINY.model_copy(update={"text_mask": masked}), INPUTS).network.eval()
        both = batch()
        words = both.text.clone()
        words[1, 2] = 5.0
        changed = network(Batch(both.video, both.video_mask, words, *[getattr(both, n) for n in Batch.__slots__[3:]]))
        assert torch.equal(network(both).centre, changed.centre) == masked


@pytest.mark.parametrize(
    ("moments", "highlights", "audio", "heads"),
    [(True, True, 3, 4), (True, False, 3, 3), (False, True, 3, 1), (True, True, 0, 4)],
)
def test_a_dataset_has_the_heads_that_it_can_teach(moments, highlights, audio, heads):
    inputs = Inputs(6, audio, 5, 2.0, moments, highlights)
    method = methods.build(TINY, inputs)
    outputs = method.outputs(batch(inputs=inputs))
    assert len(method.network.heads) == heads
    found = method.decode(outputs, (), [7, 4], "qvhighlights" if highlights else "charades_sta")
    assert [len(row) for row in found.saliency] == [7, 4]
    if not moments:
        assert found.windows is None
    else:
        assert [len(rows) for rows in found.windows] == [7, 4]
        for rows in found.windows:
            assert all(a >= b for a, b in pairwise(rows[:, 2]))
            assert (rows[:, 1] - rows[:, 0] >= 2 - 1e-6).all() and (rows[:, 1] <= 14).all()


def test_a_video_longer_than_the_positions_is_refused():
    network = methods.build(TINY, INPUTS).network
    with pytest.raises(PipelineError, match="31 clips, and `positions` is 30"):
        network(batch((31, 4)))


def test_nothing_is_clipped_and_no_rate_drops_whatever_the_training_says():
    method = methods.build(TINY, INPUTS)
    training = Training(gradient_clip=0.1, drop_learning_rate_after=1, learning_rate=1e-3, weight_decay=0.1)
    assert method.gradient_clip(training) is None
    optimizer = method.optimizer(training, "cpu")
    schedule = method.schedule(optimizer, training)
    for _ in range(3):
        optimizer.step()
        schedule.step()
    assert schedule.get_last_lr() == [1e-3]


def test_the_decay_runs_through_the_averages():
    """A weight without any gradient moves by the rate itself, whatever its size: Adam with L2, not AdamW."""
    method = methods.build(TINY, INPUTS)
    table = method.network.query_positions.table
    before = table.detach().clone()
    optimizer = method.optimizer(Training(learning_rate=1e-3, weight_decay=1e-4), "cpu")
    table.grad = torch.zeros_like(table)
    optimizer.step()
    big = before.abs() > 1e-2
    assert (before - table.detach())[big] == pytest.approx((1e-3 * before.sign())[big], rel=1e-2)


@pytest.mark.parametrize(
    ("normalisation", "norms"),
    [
        (Normalisation(), [lambda x: x + 1e-5] * 3),
        (Normalisation(words=False, exact=True), [lambda x: x, lambda x: x, None]),
        (Normalisation(video="stored", words=False), [None] * 3),
    ],
    ids=["most", "exact", "stored"],
)
def test_rows_are_normalised_as_the_method_reads_them(tmp_path, normalisation, norms):
    benchmark = Benchmark(tmp_path, 2, 1)
    stores = dict(zip(WITH_SOUND.all, (Store([path]) for path in benchmark.stores), strict=True))
    queries = benchmark.splits["train"]
    data = load(OpenFeatures(stores, {}), WITH_SOUND, queries, training=Training(), normalisation=normalisation)
    for (family, store), norm in zip(stores.items(), norms, strict=True):
        raw = store.read("0" if family == "clip-text" else "v0").astype(np.float32)
        wanted = raw / (norm(np.linalg.norm(raw, axis=1, keepdims=True)) if norm else 1)
        packed = data.text if family == "clip-text" else data.video
        block = {"clip-vit-b32": slice(0, 16), "pann-cnn14": slice(16, 22), "clip-text": slice(None)}[family]
        column = 1 if family == "pann-cnn14" else 0
        n = int(packed.lengths[0])
        ours = packed.rows[:n, block].float() / packed.norms[:n, column, None]
        assert ours.numpy() == pytest.approx(wanted, rel=1e-6)
        store.close()


def test_clips_beyond_the_duration_are_left_out_where_the_method_says_so(tmp_path):
    benchmark = Benchmark(tmp_path, 2, 1)
    stores = {family: Store([path]) for family, path in zip(FEATURES.all, benchmark.stores[::2], strict=True)}
    asked = [query(0, 1, 2), query(1, 1, 2)]
    asked[1] = Query(**{name: getattr(asked[1], name) for name in Query.__slots__} | {"duration": 17.0})
    for normalisation, lengths in ((Normalisation(), [12, 12]), (Normalisation(within_duration=True), [12, 8])):
        data = load(OpenFeatures(stores, {}), FEATURES, asked, training=Training(), normalisation=normalisation)
        assert data.n_clips == lengths


def released_weights(layers, heads, audio=3):
    """Return seeded tensors with the released names and shapes."""
    dim, inner, shapes = 16, 8, {}

    def linear(name, out, into, *, bias=True):
        shapes[f"{name}.weight"] = (out, into)
        if bias:
            shapes[f"{name}.bias"] = (out,)

    def norm(name):
        shapes.update({f"{name}.weight": (dim,), f"{name}.bias": (dim,)})

    def attention(name):
        for part in "qkvm":
            linear(f"{name}.{part}", dim, dim)

    def feed_forward(name):
        linear(f"{name}.mapping.0", inner, dim)
        linear(f"{name}.mapping.3", dim, inner)

    for part, width in (("video_enc", 6), ("audio_enc", audio)):
        linear(f"{part}.mapping.linear", dim, width)
        shapes[f"{part}.pos_enc.pe"] = (1, 30, dim)
        attention(f"{part}.encoder.att")
        feed_forward(f"{part}.encoder.ffn")
        norm(f"{part}.encoder.norm1")
        norm(f"{part}.encoder.norm2")
    crossing = "cross_enc.encoder.encoder.0"
    shapes |= {"cross_enc.pos_enc.pe": (1, 30, dim), "cross_enc.encoder.token": (4, dim)}
    for n in range(1, 7):
        norm(f"{crossing}.norm{n}")
    for n in range(1, 5):
        attention(f"{crossing}.att{n}")
    for n in (1, 2):
        feed_forward(f"{crossing}.ffn{n}")
    norm("cross_enc.norm")
    linear("query_gen.mapping.linear", dim, 5, bias=False)
    norm("query_gen.mapping.norm")
    attention("query_gen.encoder")
    shapes |= {"query_dec.q_pos_enc.pe": (1, 30, dim), "query_dec.k_pos_enc.pe": (1, 30, dim)}
    for n in range(layers):
        attention(f"query_dec.decoder.{n}.att1")
        attention(f"query_dec.decoder.{n}.att2")
        feed_forward(f"query_dec.decoder.{n}.ffn")
        for m in (1, 2, 3):
            norm(f"query_dec.decoder.{n}.norm{m}")
    norm("query_dec.norm")
    for name in heads:
        linear(f"pred_head.{name}.linear", 1, dim)
    seeded = torch.Generator().manual_seed(0)
    return {name: torch.randn(shape, generator=seeded) for name, shape in shapes.items()}


QVHIGHLIGHTS = ("0.saliency_pred", "1.center_pred", "1.window_pred", "1.offset_pred")
CHARADES = ("0.center_pred", "0.window_pred", "0.offset_pred")
TVSUM = ("0.saliency_pred",)


@pytest.mark.parametrize(
    ("layers", "heads", "task"),
    [(3, QVHIGHLIGHTS, (True, True)), (3, CHARADES, (True, False)), (1, TVSUM, (False, True))],
    ids=["qvhighlights", "charades_sta", "tvsum"],
)
def test_released_checkpoints_of_every_dataset_become_ours(tmp_path, layers, heads, task):
    weights = released_weights(layers, heads)
    held = {"state_dict": weights, "optimizer": {"state": {}}, "meta": {"epoch": 200, "iter": 45200}}
    torch.save(held, tmp_path / "umt.pth")
    released = import_checkpoint(tmp_path / "umt.pth", tmp_path / "ours.safetensors", "umt")
    assert released.settings == UmtSettings(hidden_dim=16, decoder_layers=layers, positions=30, feedforward_dim=8)
    assert (released.input_dim, released.text_dim) == (6 + 2 + 3 + 2, 5)
    network = methods.build(released.settings, Inputs(6, 3, 5, 2.0, *task)).network
    network.load_state_dict(released.weights)
    assert len(network.state_dict()) == len(weights)
    name = f"query_dec.decoder.{layers - 1}.att2.m.weight"
    assert torch.equal(network.decoder[layers - 1].attention2.out.weight, weights[name])
    assert torch.equal(network.key_positions.table, weights["query_dec.k_pos_enc.pe"][0])


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"query_dec.decoder.0.norm4.weight": torch.zeros(16)}, "1 tensor too many"),
        ({"query_emb.weight": torch.zeros(16)}, r"`query_emb\.weight` that UMT does not have"),
        ({"query_gen.mapping.linear.weight": None}, "lacks the tensor `query_gen.mapping.linear.weight`"),
        ({"query_dec.q_pos_enc.pe": torch.zeros(16)}, "input projections with another number of axes"),
        ({"query_gen.mapping.linear.weight": torch.zeros(7, 5)}, "sizes that no network has: `heads` must divide"),
        ({"cross_enc.norm.bias": None}, "lacks 1 tensor, the first is `cross_enc.norm.bias`"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused_by_name(tmp_path, change, complaint):
    weights = {k: v for k, v in (released_weights(1, TVSUM) | change).items() if v is not None}
    torch.save({"state_dict": weights}, tmp_path / "odd.pth")
    with pytest.raises(PipelineError, match=complaint):
        read_released(tmp_path / "odd.pth", "umt")
