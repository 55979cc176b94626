"""Released checkpoints: renamed by one table, and never executed."""

from __future__ import annotations

import argparse
import gzip
import os
import pickle
import zipfile
from fractions import Fraction
from pathlib import Path, PurePosixPath

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from pipeline.errors import PipelineError
from pipeline.methods.tr_detr.network import TrDetr
from pipeline.methods.tr_detr.release import RELEASE
from pipeline.methods.tr_detr.settings import TrDetrSettings as Model
from pipeline.released import container
from pipeline.released.checkpoint import read_released
from pipeline.released.golden_compact import compact
from pipeline.released.weights_file import import_checkpoint

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
    assert (released.input_dim, released.text_dim, released.dropped) == (2050, 512, RELEASE.unused_tensors)
    assert released.options == {"hidden_dim": 256, "nheads": 8, "enc_layers": 2, "a_feat_dim": None, "device": "cpu"}


def test_every_name_of_the_table_is_used_and_every_tensor_of_ours_is_named(weights):
    ours = {RELEASE.our_name(name) for name in weights} - {None}
    assert ours == TrDetr(Model(), 2048, 0, 512, 2.0).state_dict().keys()
    assert len(ours) == len(weights) - len(RELEASE.unused_tensors)
    assert len(set(RELEASE.names.values())) == len(RELEASE.names)


class Hostile:
    """When this object is unpickled, it makes a file."""

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
    with pytest.raises(PipelineError, match=r"more than plain values \(a Tensor\) → .*save it again"):
        read_released(path)
    with pytest.raises(PipelineError, match=r"`opt` is a list, not a table of options → .*save it again"):
        read_released(write(tmp_path / "list.ckpt", weights, opt=[1]))


def test_the_advice_to_save_again_names_the_entry_of_the_method(tmp_path):
    torch.save({"state_dict": {}, "meta": Fraction(1, 2)}, tmp_path / "odd.pth")
    with pytest.raises(PipelineError, match=r"save it again .*\{\"state_dict\": model.state_dict\(\)"):
        read_released(tmp_path / "odd.pth", "umt")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"vid_position.weight": torch.zeros(1)}, "`vid_position.weight` that TR-DETR does not have"),
        (
            {"saliency_proj1.weight": torch.zeros(4, 4)},
            r"`saliency_proj1.weight` has shape \(4, 4\), expected \(256, 256\) →",
        ),
        ({"saliency_proj1.bias": torch.full((256,), torch.nan)}, "`saliency_proj1.bias` holds NaN .* → name another"),
        (
            {"saliency_proj1.bias": torch.full((256,), 1e300, dtype=torch.float64)},
            "`saliency_proj1.bias` .*beyond float32",
        ),
        ({"saliency_proj1.bias": torch.zeros(256, dtype=torch.float8_e4m3fn)}, "is stored as strided float8_e4m3fn"),
        ({"saliency_proj1.bias": torch.zeros(256).to_sparse()}, "is stored as sparse_coo float32, and"),
        ({"saliency_proj1.bias": torch.zeros(256).long()}, "is stored as strided int64"),
        ({"saliency_proj1.bias": torch.zeros(0)}, "`saliency_proj1.bias` holds no numbers"),
        ({"saliency_proj1.bias": "text"}, "`saliency_proj1.bias` is of type str"),
        ({7: torch.zeros(1)}, "names a tensor '7', which is no text"),
        (
            {"transformer.decoder.layers.2.norm1.weight": torch.zeros(256)},
            "1 tensor too many, the first is `transformer.decoder.layers.2.norm1.weight`",
        ),
    ],
)
def test_a_tensor_that_does_not_fit_is_named(tmp_path, weights, change, complaint):
    with pytest.raises(PipelineError, match=complaint):
        read_released(write(tmp_path / "odd.ckpt", weights | change))


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_a_nested_tensor_is_refused(tmp_path, weights):
    nested = torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)])
    with pytest.raises(PipelineError, match=r"`saliency_proj1.bias` is stored as nested float32"):
        read_released(write(tmp_path / "odd.ckpt", weights | {"saliency_proj1.bias": nested}))


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"hidden_dim": 0}, "`hidden_dim` is 0: Input should be greater than 0"),
        ({"nheads": 3}, "`heads` must divide `hidden_dim`"),
        ({"enc_layers": 10**7}, r"`enc_layers` is 10000000, and the tensors allow \d+ at most"),
        ({"hidden_dim": 8 * 10**30}, r"`hidden_dim` is 80+, and the tensors allow \d+ at most"),
        ({"num_queries": 10**19}, "`num_queries` is 10+, and"),
        ({"num_queries": 11}, r"`query_embed.weight` has shape \(10, 2\), expected \(11, 2\)"),
        ({"use_txt_pos": True}, "switches `use_txt_pos` on"),
    ],
)
def test_options_of_another_network_are_named(tmp_path, weights, options, complaint):
    given = {"hidden_dim": 256, "nheads": 8, "enc_layers": 2} | options
    with pytest.raises(PipelineError, match=complaint):
        read_released(write(tmp_path / "odd.ckpt", weights, opt=argparse.Namespace(**given)))


def test_sizes_that_no_option_gives_are_told_to_be_the_released_ones(tmp_path, weights):
    other = weights | {"saliency_proj1.weight": torch.zeros(4, 4)}
    with pytest.raises(PipelineError, match="by the released sizes, because the file has no options"):
        read_released(write(tmp_path / "odd.ckpt", other, opt=None))


def test_tensors_in_another_place_are_found_there_and_not_called_damaged(tmp_path, weights):
    torch.save(weights, tmp_path / "alone.ckpt")
    with pytest.raises(PipelineError, match=rf"but {len(weights)} tensors outside of any entry → .*\{{\"model\": "):
        read_released(tmp_path / "alone.ckpt")
    torch.save({"state_dict": weights, "opt": {}}, tmp_path / "other.ckpt")
    with pytest.raises(PipelineError, match="no tensors by name under `model`, but only `state_dict`, `opt`"):
        read_released(tmp_path / "other.ckpt")
    with pytest.raises(PipelineError, match="no tensors by name under `model`, but a value of type list"):
        read_released(write(tmp_path / "list.ckpt", [1]))


def test_tensors_that_share_their_memory_are_written_one_by_one(tmp_path, weights):
    from safetensors.torch import load_file

    row = weights["transformer.encoder.layers.0.norm2.weight"] + 1
    both = torch.cat([row, row])
    tied = {"transformer.encoder.layers.0.norm1.weight": both[:256], "transformer.encoder.layers.0.norm2.weight": row}
    tied |= {"transformer.encoder.layers.1.norm1.weight": row, "transformer.encoder.layers.0.norm1.bias": both[9:265]}
    import_checkpoint(write(tmp_path / "tied.ckpt", weights | tied), tmp_path / "ours.safetensors")
    found = load_file(tmp_path / "ours.safetensors")
    assert all(torch.equal(found[RELEASE.our_name(name)], tensor) for name, tensor in tied.items())


def test_a_name_with_the_end_of_a_line_stays_on_one_line(tmp_path, weights):
    with pytest.raises(PipelineError, match="a tensor `") as caught:
        read_released(write(tmp_path / "odd.ckpt", weights | {"\x1b[31mred\nx": torch.zeros(1)}))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("epoch", [True, -5, "9", 9.0, torch.tensor(3)])
def test_an_epoch_that_is_no_count_is_not_told(tmp_path, weights, epoch):
    assert read_released(write(tmp_path / "a.ckpt", weights, epoch=epoch)).epoch is None


def test_weights_are_written_over_only_if_they_are_the_same_import(tmp_path, weights):
    source, target = write(tmp_path / "a.ckpt", weights), tmp_path / "out.safetensors"
    import_checkpoint(source, target)
    before = target.read_bytes()
    import_checkpoint(source, target)
    assert target.read_bytes() == before
    with pytest.raises(PipelineError, match="holds the weights of another import"):
        import_checkpoint(write(tmp_path / "heads.ckpt", weights, opt={"nheads": 4}), target)
    changed = write(tmp_path / "b.ckpt", weights | {"saliency_proj1.bias": torch.zeros(256)})
    with pytest.raises(PipelineError, match="holds the weights of another import; nothing was written over"):
        import_checkpoint(changed, target)
    assert target.read_bytes() == before
    for content in (safetensors_bytes(), b"any other file"):
        target.write_bytes(content)
        with pytest.raises(PipelineError, match="exists, and no import wrote it"):
            import_checkpoint(source, target)
        assert target.read_bytes() == content


def test_a_missing_tensor_is_named(tmp_path, weights):
    less = {name: tensor for name, tensor in weights.items() if name != "gru_extractor.gru.bias_hh_l0"}
    with pytest.raises(PipelineError, match=r"lacks 1 tensor, the first is `gru_extractor\.gru\.bias_hh_l0`"):
        read_released(write(tmp_path / "odd.ckpt", less))


@pytest.mark.parametrize("content", [b"\x80\x02", b"\x80\x04half a pickle", b"\x80\x02}q\x00(X", b"\0" * 600])
def test_a_damaged_file_is_refused(tmp_path, content):
    (tmp_path / "damaged.ckpt").write_bytes(content)
    with pytest.raises(
        PipelineError, match=r"is damaged, or was not written by torch.save .*fetch it again if they diff"
    ):
        read_released(tmp_path / "damaged.ckpt")


@pytest.mark.parametrize("cut", [0.001, 0.3, 0.7, 0.999])
def test_a_checkpoint_that_was_cut_short_is_refused(tmp_path, cut):
    whole = write(tmp_path / "whole.ckpt", {"x": torch.zeros(4000)}).read_bytes()
    (tmp_path / "cut.ckpt").write_bytes(whole[: int(len(whole) * cut)])
    with pytest.raises(PipelineError, match="half of a zip file, not a checkpoint → fetch it again"):
        read_released(tmp_path / "cut.ckpt")


def test_a_bit_that_was_turned_round_makes_no_other_weight(tmp_path, weights):
    content = bytearray(write(tmp_path / "whole.ckpt", weights).read_bytes())
    row = weights["saliency_proj1.bias"].numpy().tobytes()
    content[content.index(row) + 9] ^= 1
    (tmp_path / "turned.ckpt").write_bytes(content)
    with pytest.raises(PipelineError, match=r"whole/data/\d+ was changed or damaged .* → compare its size and digest"):
        read_released(tmp_path / "turned.ckpt")


def test_a_checkpoint_that_was_written_without_checksums_is_read(tmp_path, weights):
    torch.serialization.set_crc32_options(False)
    try:
        write(tmp_path / "a.ckpt", weights)
    finally:
        torch.serialization.set_crc32_options(True)
    assert read_released(tmp_path / "a.ckpt").weights


def safetensors_bytes():
    from safetensors.torch import save

    return save({"a": torch.zeros(2)})


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (lambda: b"", "is an empty file"),
        (
            lambda: b"<!DOCTYPE html><html><title>Quota exceeded</title>",
            "is a web page .*open the address in a browser",
        ),
        (lambda: b"\xef\xbb\xbf \n<html lang=en>", "is a web page"),
        (lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a Git LFS pointer .*git lfs pull"),
        (safetensors_bytes, "is a safetensors file"),
        (lambda: gzip.compress(b"x" * 99), r"is a packed file \(gzip\).*unpack it"),
        (lambda: b'{"model": 1}', "is a text file"),
        (lambda: b"no checkpoint", "is a text file"),
        (lambda: b"PK\x03\x04 half a zip", "is half of a zip file"),
    ],
)
def test_a_file_that_is_no_checkpoint_is_called_what_it_is(tmp_path, content, what):
    (tmp_path / "other.ckpt").write_bytes(content())
    with pytest.raises(PipelineError, match=what) as caught:
        read_released(tmp_path / "other.ckpt")
    assert "not a checkpoint →" in str(caught.value)


@pytest.mark.parametrize("value", [np.int64(154), np.int32(154), np.uint8(154), np.float64(154.0), np.float32(154.0)])
@pytest.mark.parametrize("zipped", [True, False])
def test_plain_numbers_of_numpy_are_let_in_as_what_they_are(tmp_path, value, zipped):
    path = tmp_path / "numpy.ckpt"
    torch.save({"model": {}, "epoch": value, "good": np.bool_(True)}, path, _use_new_zipfile_serialization=zipped)
    held = container.read(path)
    assert (held["epoch"], held["good"]) == (154, True)
    assert type(held["epoch"]) is (int if isinstance(value, np.integer) else float)
    assert isinstance(container.scalar(container.Dtype("f8"), b"\0" * 8), float)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (np.zeros(3), "numpy[.]_?core.multiarray._reconstruct"),
        (np.str_("x"), "kind 'U1', which is no plain number"),
        (np.datetime64("2020"), "kind 'M8', which is no plain number"),
        (np.complex64(1), "kind 'c8', which is no plain number"),
        (PurePosixPath("x"), "pathlib"),
        (range(3), "range"),
        (Fraction(1, 2), "fractions.Fraction"),
    ],
)
def test_what_is_not_let_in_is_named_with_a_way_out_and_without_terminal_codes(tmp_path, value, name):
    torch.save({"model": {}, "opt": argparse.Namespace(out=value)}, tmp_path / "odd.ckpt")
    with pytest.raises(PipelineError, match=rf"{name}.*nothing in it was executed.*save it again") as caught:
        read_released(tmp_path / "odd.ckpt")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_prefixes_of_wrappers_are_taken_off(tmp_path, weights, prefix):
    wrapped = {prefix + name: tensor for name, tensor in weights.items()}
    plain = read_released(write(tmp_path / "plain.ckpt", weights)).weights
    found = read_released(write(tmp_path / "wrapped.ckpt", wrapped)).weights
    assert all(torch.equal(found[name], tensor) for name, tensor in plain.items()) and found.keys() == plain.keys()


def test_the_prefix_of_a_part_that_was_compiled_is_taken_off(tmp_path, weights):
    inner = {name.replace("transformer.", "transformer._orig_mod.", 1): tensor for name, tensor in weights.items()}
    assert read_released(write(tmp_path / "inner.ckpt", inner)).weights.keys()
    both = inner | {"transformer.decoder.norm.weight": weights["transformer.decoder.norm.weight"]}
    with pytest.raises(PipelineError, match="holds tensors twice"):
        read_released(write(tmp_path / "both.ckpt", both))


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
def test_the_output_is_as_readable_as_the_umask_says(tmp_path, weights, umask):
    before = os.umask(umask)
    try:
        import_checkpoint(write(tmp_path / "a.ckpt", weights), tmp_path / "out.safetensors")
    finally:
        os.umask(before)
    assert (tmp_path / "out.safetensors").stat().st_mode & 0o777 == 0o666 & ~umask


@pytest.mark.parametrize("link", [None, "symlink_to", "hardlink_to"])
def test_an_output_that_is_the_input_is_refused_and_the_input_stays(tmp_path, weights, link):
    source = write(tmp_path / "a.ckpt", weights)
    before, target = source.read_bytes(), source
    if link:
        target = tmp_path / "b.safetensors"
        getattr(target, link)(source)
    with pytest.raises(PipelineError, match="is the checkpoint itself → name another file"):
        import_checkpoint(source, target)
    assert source.read_bytes() == before and target.read_bytes() == before


def test_a_folder_as_output_is_refused(tmp_path, weights):
    with pytest.raises(PipelineError, match="is a folder"):
        import_checkpoint(write(tmp_path / "a.ckpt", weights), tmp_path)


def test_an_output_with_an_impossible_name_or_that_is_a_pipe_is_refused(tmp_path, weights):
    source = write(tmp_path / "a.ckpt", weights)
    with pytest.raises(PipelineError, match="cannot be written"):
        import_checkpoint(source, tmp_path / ("n" * 300 + ".safetensors"))
    os.mkfifo(tmp_path / "pipe.safetensors")
    with pytest.raises(PipelineError, match="is no file"):
        import_checkpoint(source, tmp_path / "pipe.safetensors")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(PipelineError, match="cannot be read"):
        read_released(tmp_path / "nowhere.ckpt")
    with pytest.raises(PipelineError, match="cannot be read"):
        read_released(tmp_path / ("n" * 300))


def test_an_archive_that_is_no_checkpoint_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "other.ckpt", "w") as archive:
        archive.writestr("readme", "text")
    with pytest.raises(PipelineError, match="a zip of 1 file, not a checkpoint → unpack it"):
        read_released(tmp_path / "other.ckpt")


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_what_is_no_file_is_refused_and_not_read_without_end(tmp_path, kind):
    os.mkfifo(tmp_path / "pipe.ckpt")
    path = {"pipe": tmp_path / "pipe.ckpt", "device": Path("/dev/zero"), "folder": tmp_path}[kind]
    with pytest.raises(PipelineError, match="and no file → name a file"):
        read_released(path)
