"""Methods with moment queries beside TR-DETR are exact to their releases: golden sets, parameters, checkpoints."""

from __future__ import annotations

import argparse
import json
from functools import cache
from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch
from tiny_benchmark import PEERS as ALL_PEERS

from pipeline import methods
from pipeline.errors import PipelineError
from pipeline.methods.contract import Inputs
from pipeline.methods.settings import MomentQuerySettings
from pipeline.released.checkpoint import read_released, release_of
from pipeline.released.golden import verify
from pipeline.released.golden_compact import compact
from pipeline.released.weights_file import import_checkpoint


def compact_name(path):
    """Return a set's name in the form of its case, because some files have another hyphen."""
    return path.stem.replace("-", "_")


pytestmark = pytest.mark.usefixtures("torch_one_thread")
GOLDEN = Path(__file__).parent / "data" / "golden" / "methods"
PEERS = {name: model for name, model in ALL_PEERS.items() if isinstance(model, MomentQuerySettings)}
SETS = [path for name in PEERS for path in sorted(GOLDEN.glob(f"{name.replace('_', '?')}?*.json"))]
QVHIGHLIGHTS = {name: next(path for path in SETS if compact_name(path) == f"{name}_qvhighlights_v") for name in PEERS}
DEAD = {"cg_detr": 141_056}
TWICE = ("event_span_embed.", "moment_span_embed.")
"""The names under which a checkpoint of EaTR contains some heads a second time."""
PARAMETERS = {  # by the specification; the dead ones are counted
    ("moment_detr", 2816, 0): 4_823_305,
    ("moment_detr", 512, 0): 4_228_873,
    ("qd_detr", 2816, 0): 7_585_573,
    ("qd_detr", 2816, 2048): 8_114_473,
    ("qd_detr", 512, 0): 6_991_141,
    ("qd_detr", 2048, 0): 7_387_429,
    ("qd_detr", 2048, 2048): 7_916_329,
    ("eatr", 2816, 0): 8_972_812,
    ("cg_detr", 2816, 0): 12_615_467,
}


@pytest.mark.parametrize("path", SETS, ids=lambda path: path.stem)
def test_a_golden_set_is_met(path):
    assert [check for check in verify(path) if not check.ok] == []


def spoilt_pairs(told):
    """Return the matching of an earlier layer, or of some. The last sample's first pair is replaced by another."""
    *others, last = told
    return [*others, spoilt_pairs(last) if isinstance(last[0][0], list) else [[9], [0]]]


@pytest.mark.parametrize(
    ("key", "spoil", "quantity"),
    [
        ("losses", lambda told: told | {"loss_saliency": told["loss_saliency"] * 1.0001}, "loss saliency"),
        ("outputs", lambda told: told | {"saliency_scores": [float("nan"), *told["saliency_scores"][1:]]}, "saliency"),
        ("matcher_aux0", spoilt_pairs, "matching of the earlier layer"),
        ("n_parameters", lambda n: n + 1, "number of parameters"),
        ("saliency_pos", lambda pairs: [[(clip + 1) % 9 for clip in pair] for pair in pairs], "loss saliency"),
    ],
)
@pytest.mark.parametrize("name", PEERS)
def test_a_figure_that_is_off_is_reported(tmp_path, name, key, spoil, quantity):
    told = json.loads(QVHIGHLIGHTS[name].read_text())
    key = "aux_matchers" if key == "matcher_aux0" and key not in told else key
    path = tmp_path / "spoilt.json"
    path.write_text(json.dumps(told | {key: spoil(told[key])}))
    assert any(not check.ok and check.quantity.startswith(quantity) for check in verify(path))


@pytest.mark.parametrize(("case", "released"), PARAMETERS.items(), ids=str)
def test_a_network_has_the_parameters_it_should(case, released):
    name, video_dim, audio_dim = case
    with torch.device("meta"):
        method = methods.build(methods.settings_class(name)(), Inputs(video_dim, audio_dim, 512, 2.0, moments=True))
    assert sum(p.numel() for p in method.network.parameters()) == released - DEAD.get(name, 8_704)


@cache
def released_weights(name):
    """Return tensors with the released names and shapes."""
    held = dict(compact(QVHIGHLIGHTS[name]).weights)
    again = {key.removeprefix("transformer.decoder."): tensor for key, tensor in held.items()}
    return held | {key: tensor for key, tensor in again.items() if key.startswith(TWICE)}


def write(path, weights):
    options = argparse.Namespace(hidden_dim=256, nheads=8, a_feat_dim=None, device=torch.device("cpu"))
    torch.save({"model": weights, "epoch": 169, "opt": options, "optimizer": {"state": {}}}, path)
    return path


@pytest.mark.parametrize("name", PEERS)
def test_a_released_checkpoint_becomes_ours(tmp_path, name):
    from safetensors import safe_open

    weights = released_weights(name)
    found = import_checkpoint(write(tmp_path / "model_best.ckpt", weights), tmp_path / "ours.safetensors", name)
    assert (found.input_dim, found.text_dim, found.epoch) == (2818, 512, 170)
    assert sum(weights[released].numel() for released in found.dropped) == DEAD.get(name, 8_704)
    network = methods.build(found.settings, Inputs(2816, 0, 512, 2.0, moments=True)).network
    with safe_open(tmp_path / "ours.safetensors", "pt") as file:
        network.load_state_dict({key: file.get_tensor(key) for key in file.keys()})  # noqa: SIM118
        assert json.loads(file.metadata()["model"])["name"] == name
    assert torch.equal(network.moments.label.weight, weights["class_embed.weight"])


@pytest.mark.parametrize("name", PEERS)
def test_a_tensor_with_its_axes_exchanged_is_refused(tmp_path, name):
    key = "input_txt_proj.0.net.1.weight"
    turned = released_weights(name) | {key: released_weights(name)[key].T.contiguous()}
    with pytest.raises(PipelineError, match=r"`input_txt_proj.0.net.1.weight` has shape \(512, 256\), expected"):
        read_released(write(tmp_path / "model.ckpt", turned), name)


def test_two_copies_of_a_head_that_differ_are_refused(tmp_path):
    weights = released_weights("eatr")
    key = "moment_span_embed.layers.2.bias"
    with pytest.raises(PipelineError, match=rf"twice with different values, as `transformer.decoder.{key}` and as"):
        read_released(write(tmp_path / "model.ckpt", weights | {key: weights[key] + 1}), "eatr")


@pytest.mark.parametrize("name", PEERS)
def test_every_name_of_a_table_is_used_and_every_tensor_is_named(name):
    release, weights = release_of(name), released_weights(name)
    once = [released for released in weights if not released.startswith(TWICE)]
    ours = [each for released in once if (each := release.our_name(released)) is not None]
    network = methods.build(methods.settings_class(name)(), Inputs(2816, 0, 512, 2.0, moments=True)).network
    assert sorted(ours) == sorted(network.state_dict())
    for beginning in release.names:
        first = beginning.split("*")[0]
        assert any(released.startswith(first) for released in weights), beginning


@pytest.mark.parametrize("name", PEERS)
@pytest.mark.parametrize("other", ["tr_detr", *PEERS])
def test_a_checkpoint_of_another_method_is_refused(tmp_path, name, other):
    if other == name:
        return
    with pytest.raises(PipelineError, match=rf"{release_of(other).title} does not have|lacks \d+ tensors"):
        read_released(write(tmp_path / "model.ckpt", released_weights(name)), other)
