"""UniVTG: labels of clips, windows that are suppressed, its warm-up, and its released checkpoints."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from pipeline import methods
from pipeline.config import Training
from pipeline.errors import PipelineError
from pipeline.methods.contract import Inputs
from pipeline.methods.univtg.labels import ClipTargets, clip_range
from pipeline.methods.univtg.method import suppressed
from pipeline.methods.univtg.release import RELEASE
from pipeline.methods.univtg.settings import UniVtgSettings
from pipeline.records import Query
from pipeline.released.weights_file import import_checkpoint

TINY = UniVtgSettings(hidden_dim=32, heads=2, encoder_layers=2, feedforward_dim=16)


def rated(ids, windows, n_clips=10, **changes):
    given = {"relevant_clip_ids": tuple(ids), "saliency_scores": tuple((i % 5, 2, 1) for i in ids)} | changes
    return Query(1, "", "v", 2.0 * n_clips, relevant_windows=tuple(windows), **given)


def test_the_clip_before_a_window_is_foreground_as_released():
    found = clip_range(rated([3, 4, 5, 8], [(6.0, 12.0), (16.0, 18.0)]), 10, 2.0)
    assert np.flatnonzero(found.foreground).tolist() == [2, 3, 4, 5, 7, 8]
    assert found.start[[2, 5, 7]] == pytest.approx([0.3, 0.3, 0.8])
    assert found.end[[2, 5, 7]] == pytest.approx([0.6, 0.6, 0.9])
    assert found.ratings.tolist() == pytest.approx([0, 0, 0, 2, 7 / 3, 1, 0, 0, 2, 0])
    assert found.positives.tolist() == [3, 4, 5, 8]


def test_where_every_clip_is_relevant_the_best_rated_one_is_the_positive():
    found = clip_range(rated(range(5), [(0.0, 10.0)], 5), 5, 2.0)
    assert found.positives.tolist() == [4]


@pytest.mark.parametrize(("window", "clip"), [((3.2, 3.3), 3), ((9.9, 12.0), 4)])
def test_a_window_that_holds_no_clip_has_the_one_that_it_begins_in(window, clip):
    found = clip_range(Query(1, "", "v", 5.0, relevant_windows=(window,)), 5, 1.0)
    assert np.flatnonzero(found.foreground).tolist() == [clip] == found.positives.tolist()
    assert (found.start[clip], found.end[clip]) == pytest.approx((window[0] / 5, window[1] / 5))


def test_clips_of_equal_ratings_are_equal_and_the_mean_is_the_whole_videos():
    label = tuple(tuple(float(r) for r in row) for row in [[3] * 20, [1, 5] * 10, [4] * 20, [2] * 20, [5] * 20])
    found = clip_range(Query(1, "", "v", 10.0, label=label), 4, 2.0)
    assert found.ratings[0] == found.ratings[1]
    assert found.ratings.tolist() == pytest.approx([-0.4, -0.4, 0.6, -1.4])
    assert found.positives.tolist() == [2]


def test_a_clip_beyond_the_features_is_refused_and_one_at_their_end_is_cut():
    assert len(clip_range(rated([8, 10], [(16.0, 22.0)]), 10, 2.0).ratings) == 10
    with pytest.raises(PipelineError, match="relevant clips up to 11, its features have 10"):
        clip_range(rated([8, 11], [(16.0, 24.0)]), 10, 2.0)


def test_positives_are_drawn_from_all_that_fit_and_rows_are_padded():
    targets = ClipTargets([rated([1, 2, 3], [(2.0, 8.0)]), rated([0], [(0.0, 2.0)], 4)], [10, 4], 2.0)
    draws = [targets.draw([0, 1], np.random.default_rng(seed)) for seed in range(30)]
    assert {int(each.positive[0]) for each in draws} == {1, 2, 3}
    assert {int(each.positive[1]) for each in draws} == {0}
    assert draws[0].foreground.shape == (2, 10) and not draws[0].foreground[1, 4:].any()


def one_by_one(windows, overlap, n_kept):
    """Compute the released rule, window by window."""
    kept = []
    for window in windows:
        apart = all(
            max(0, min(window[1], k[1]) - max(window[0], k[0]))
            <= overlap * (max(window[1], k[1]) - min(window[0], k[0]))
            for k in kept
        )
        if apart and len(kept) < n_kept:
            kept.append(window)
    return np.array(kept)


@pytest.mark.parametrize("seed", range(5))
def test_suppression_keeps_what_a_slow_rule_keeps(seed):
    rng = np.random.default_rng(seed)
    ends = np.sort(rng.uniform(0, 30, (60, 2)), axis=1)
    windows = np.column_stack((ends, np.sort(rng.random(60))[::-1]))
    assert np.array_equal(suppressed(windows, 0.7, 10), one_by_one(windows, 0.7, 10))
    assert len(suppressed(np.array([[1.0, 1.0, 0.5], [1.0, 1.0, 0.4]]), 0.7, 10)) == 2  # a hull of no length


def test_the_rate_rises_and_then_drops():
    method = methods.build(TINY, Inputs(4, 0, 4, 2.0, moments=True))
    training = Training(learning_rate=1e-4, drop_learning_rate_after=80)
    optimizer = method.optimizer(training, "cpu")
    schedule = method.schedule(optimizer, training)
    rates = []
    for _ in range(161):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert rates[:12] == pytest.approx([1e-5 * min(n, 10) for n in range(1, 13)])
    assert [rates[n] for n in (79, 80, 159, 160)] == pytest.approx([1e-4, 1e-5, 1e-5, 1e-6])


def released_weights():
    """Return seeded tensors with the released names and shapes, of a network with 6 + 2 video and 5 text columns."""
    dim, shapes = 32, {"token_type_embeddings.weight": (2, 32), "weightedpool.weight": (32, 1)}
    for n in range(2):
        layer = f"transformer.encoder.layers.{n}"
        shapes |= {f"{layer}.self_attn.in_proj_weight": (3 * dim, dim), f"{layer}.self_attn.in_proj_bias": (3 * dim,)}
        for part, (out, into) in {"self_attn.out_proj": (dim, dim), "linear1": (16, dim), "linear2": (dim, 16)}.items():
            shapes |= {f"{layer}.{part}.weight": (out, into), f"{layer}.{part}.bias": (out,)}
        shapes |= {f"{layer}.norm{i}.{kind}": (dim,) for i in (1, 2) for kind in ("weight", "bias")}
    for head, out in {"span_embed": 2, "class_embed": 1}.items():
        for n in range(3):
            shapes |= {f"{head}.layers.{n}.weight": (out if n == 2 else dim, dim, 3)}
            shapes |= {f"{head}.layers.{n}.bias": (out if n == 2 else dim,)}
    for side, width in {"txt": 5, "vid": 8}.items():
        for n in range(2):
            into = dim if n else width
            shapes |= {f"input_{side}_proj.{n}.LayerNorm.{kind}": (into,) for kind in ("weight", "bias")}
            shapes |= {f"input_{side}_proj.{n}.net.1.weight": (dim, into), f"input_{side}_proj.{n}.net.1.bias": (dim,)}
    shapes |= {"txt_position_embed.position_embeddings.weight": (75, dim)}
    shapes |= {f"txt_position_embed.LayerNorm.{kind}": (dim,) for kind in ("weight", "bias")}
    seeded = torch.Generator().manual_seed(0)
    return {name: torch.randn(shape, generator=seeded) for name, shape in shapes.items()}


def test_a_released_checkpoint_becomes_ours(tmp_path):
    weights = released_weights()
    options = {"hidden_dim": 32, "nheads": 2, "enc_layers": 2, "dim_feedforward": 16, "droppath": 0.1}
    torch.save({"model": weights, "epoch": 119, "opt": options}, tmp_path / "model_best.ckpt")
    released = import_checkpoint(tmp_path / "model_best.ckpt", tmp_path / "ours.safetensors", "univtg")
    network = methods.build(TINY, Inputs(6, 0, 5, 2.0, moments=True)).network
    network.load_state_dict(released.weights)
    assert (released.input_dim, released.text_dim, released.epoch) == (8, 5, 120)
    assert released.dropped == RELEASE.unused_tensors
    assert torch.equal(network.pool, weights["weightedpool.weight"][:, 0])
    assert torch.equal(network.boundary.layers[2].weight, weights["span_embed.layers.2.weight"])
    assert len(network.state_dict()) == len(weights) - len(RELEASE.unused_tensors)


def test_a_checkpoint_of_another_system_is_refused(tmp_path):
    torch.save({"model": released_weights() | {"query_embed.weight": torch.zeros(10, 2)}}, tmp_path / "other.ckpt")
    with pytest.raises(PipelineError, match=r"`query_embed\.weight` that UniVTG does not have"):
        import_checkpoint(tmp_path / "other.ckpt", tmp_path / "ours.safetensors", "univtg")
