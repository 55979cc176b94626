"""Released checkpoints: renamed by one table, and never executed."""

from __future__ import annotations

import argparse
import pickle
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch

from pipeline.config import Model
from pipeline.errors import PipelineError
from pipeline.models.tr_detr import TrDetr
from pipeline.training.golden_compact import compact
from pipeline.training.released_checkpoint import DEAD, NAMES, import_checkpoint, our_name, read_released

GOLDEN = Path(__file__).parent / "data" / "golden" / "tvsum_v.json"


@pytest.fixture(scope="module")
def weights():
    return dict(compact(GOLDEN).weights)


def write(path, weights, **more):
    options = argparse.Namespace(hidden_dim=256, nheads=8, enc_layers=2, a_feat_dim=None, device=torch.device("cpu"))
    torch.save({"model": weights, "epoch": 154, "opt": options, "optimizer": {"state": {}}} | more, path)
    return path


def test_a_released_checkpoint_becomes_ours(tmp_path, weights):
    from safetensors import safe_open

    released = import_checkpoint(write(tmp_path / "model_best.ckpt", weights), tmp_path / "ours.safetensors")
    model = TrDetr(Model(), 2048, 0, 512, 2.0)
    with safe_open(tmp_path / "ours.safetensors", "pt") as file:
        model.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
        assert file.metadata()["epoch"] == "155"
    assert torch.equal(model.refinement.mix.weight, weights["fuser.cq_attention.cqa_linear.conv1d.weight"][..., 0])
    assert (released.input_dim, released.text_dim, released.dropped) == (2050, 512, DEAD)
    assert released.options == {"hidden_dim": 256, "nheads": 8, "enc_layers": 2, "a_feat_dim": None, "device": "cpu"}


def test_every_name_of_the_table_is_used_and_every_tensor_of_ours_is_named(weights):
    ours = {our_name(name) for name in weights} - {None}
    assert ours == TrDetr(Model(), 2048, 0, 512, 2.0).state_dict().keys()
    assert len(ours) == len(weights) - len(DEAD)
    assert len(set(NAMES.values())) == len(NAMES)


class Hostile:
    """Pickled, it would make a file when opened."""

    def __init__(self, sign):
        self.sign = sign

    def __reduce__(self):
        return Path.touch, (self.sign,)


@pytest.mark.parametrize("place", ["opt", "lr_scheduler", "model"])
def test_a_hostile_file_is_refused_and_nothing_in_it_runs(tmp_path, weights, place):
    sign = tmp_path / "executed"
    path = write(tmp_path / "hostile.ckpt", weights, **{place: Hostile(sign)})
    with pytest.raises(PipelineError, match="nothing in it was executed"):
        read_released(path)
    assert not sign.exists()


def test_a_plain_pickle_is_not_unpickled(tmp_path):
    sign, path = tmp_path / "executed", tmp_path / "old.ckpt"
    path.write_bytes(pickle.dumps({"model": Hostile(sign)}, protocol=2))
    with pytest.raises(PipelineError, match="nothing in it was executed"):
        read_released(path)
    assert not sign.exists()


def test_options_that_are_not_plain_are_refused(tmp_path, weights):
    path = write(tmp_path / "odd.ckpt", weights, opt=argparse.Namespace(table=torch.zeros(2)))
    with pytest.raises(PipelineError, match="more than plain values"):
        read_released(path)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"vid_position.weight": torch.zeros(1)}, "`vid_position.weight` that TR-DETR does not have"),
        ({"saliency_proj1.weight": torch.zeros(4, 4)}, "`score.linear.weight` has shape"),
        ({"saliency_proj1.bias": torch.full((256,), torch.nan)}, "no finite"),
        ({"saliency_proj1.bias": "text"}, "no finite"),
        ({7: torch.zeros(1)}, "no finite"),
        ({"transformer.decoder.layers.2.norm1.weight": torch.zeros(256)}, "1 tensors too many"),
    ],
)
def test_a_tensor_that_does_not_fit_is_named(tmp_path, weights, change, complaint):
    with pytest.raises(PipelineError, match=complaint):
        read_released(write(tmp_path / "odd.ckpt", weights | change))


def test_a_missing_tensor_is_named(tmp_path, weights):
    less = {name: tensor for name, tensor in weights.items() if name != "gru_extractor.gru.bias_hh_l0"}
    with pytest.raises(PipelineError, match=r"lacks 1 tensors, the first is `mr2hd\.gru\.bias_hh_l0`"):
        read_released(write(tmp_path / "odd.ckpt", less))


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 half a zip"])
def test_a_damaged_file_is_refused(tmp_path, content):
    (tmp_path / "damaged.ckpt").write_bytes(content)
    with pytest.raises(PipelineError, match="damaged"):
        read_released(tmp_path / "damaged.ckpt")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(PipelineError, match="cannot be read"):
        read_released(tmp_path / "nowhere.ckpt")


def test_an_archive_that_is_no_checkpoint_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "other.ckpt", "w") as archive:
        archive.writestr("readme", "text")
    with pytest.raises(PipelineError, match="damaged"):
        read_released(tmp_path / "other.ckpt")
