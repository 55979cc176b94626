"""Our networks compute the numbers of the released systems."""

from __future__ import annotations

import json
import math
import shutil
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from pipeline import cli
from pipeline.errors import PipelineError
from pipeline.methods.release import close, near
from pipeline.released import golden, golden_compact
from pipeline.released.golden import verify

COMPACT = sorted((Path(__file__).parent / "data" / "golden").glob("*.json"))
OTHERS = sorted((Path(__file__).parent / "data" / "golden" / "methods").glob("*.json"))
"""The golden sets of the methods other than TR-DETR."""


def failures(path):
    return [check for check in verify(path) if not check.ok]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_check_with_a_number_that_is_not_finite_fails(value):
    assert near("x", 1.0, 1.0).ok
    assert not near("x", 1.0, value).ok
    assert not near("x", value, value).ok
    assert not close("x", torch.ones(2), torch.tensor([1.0, value])).ok


def test_a_gradient_norm_of_nan_is_no_rounding_error_of_zero():
    network = torch.nn.ParameterDict({"a": torch.nn.Parameter(torch.zeros(2))})
    network["a"].grad = torch.zeros(2)
    release = SimpleNamespace(our_name=str, rounding=1e-5)
    for norm, ok in ((1e-6, True), (math.nan, False)):
        first, *_ = golden._check_gradients(SimpleNamespace(gradient_norms={"a": norm}), release, network)
        assert first.ok == ok


def without(section, key):
    return {name: value for name, value in section.items() if name != key}


@pytest.mark.parametrize("path", COMPACT + OTHERS, ids=lambda path: path.stem)
def test_a_compact_set_is_met(path, torch_one_thread):
    assert failures(path) == []


def test_the_command_prints_every_quantity_and_ends_with_an_error_if_one_differs(torch_one_thread, tmp_path, capsys):
    cli.main(["verify-golden", str(COMPACT[0])])
    assert all(line.startswith("ok ") for line in capsys.readouterr().out.splitlines())
    changed = json.loads(COMPACT[0].read_text())
    name = next(iter(changed["losses"]))
    changed["losses"][name] += 1
    (tmp_path / COMPACT[0].name).write_text(json.dumps(changed))
    with pytest.raises(SystemExit, match="quantities differ"):
        cli.main(["verify-golden", str(tmp_path / COMPACT[0].name)])


def test_a_folder_of_compact_sets_is_checked_whole(torch_one_thread):
    checks = verify(COMPACT[0].parent)
    assert {check.quantity.split(":")[0] for check in checks} == {path.stem for path in COMPACT}


@pytest.mark.parametrize("folder", [".", "sharp"])
def test_a_shared_set_is_met(shared_data, folder, torch_one_thread):
    assert failures(shared_data / "golden" / folder) == []


@pytest.mark.parametrize(
    ("key", "spoil", "quantity"),
    [
        ("losses", lambda losses: losses | {"loss_giou": losses["loss_giou"] * 1.0001}, "loss giou"),
        ("matcher", lambda pairs: [[[9], [0]] if n else pair for n, pair in enumerate(pairs)], "matching"),
        ("n_parameters", lambda n: n + 1, "number of parameters"),
        ("clip_mask", lambda mask: [[1 - mask[0][0], *mask[0][1:]], *mask[1:]], "loss local_alignment"),
    ],
)
def test_a_figure_that_is_off_is_reported(tmp_path, torch_one_thread, key, spoil, quantity):
    told = json.loads(COMPACT[0].read_text())
    path = tmp_path / "spoilt.json"
    path.write_text(json.dumps(told | {key: spoil(told[key])}))
    assert any(check.quantity.startswith(quantity) for check in failures(path))


@pytest.fixture(scope="module")
def quick():
    """Generate weights and inputs once, because they follow from names and shapes."""
    kept = cache(golden_compact.noise)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(golden_compact, "noise", kept)
        yield


SMALL = next(path for path in COMPACT if path.stem == "tvsum_v")
TOLD = json.loads(SMALL.read_text())


def shorter(value):
    """Return a value whose first array lacks its last number."""
    if isinstance(value, dict):
        first = next((key for key, each in value.items() if isinstance(each, list)), None)
        return value if first is None else value | {first: shorter(value[first])}
    return [shorter(value[0]), *value[1:]] if isinstance(value[0], list) else value[:-1]


def unknown(value, instead=math.nan):
    """Return a value whose first number is replaced by one that is no number, or by `instead`."""
    if isinstance(value, dict):
        first = next(iter(value))
        return value | {first: unknown(value[first], instead)}
    return [unknown(value[0], instead), *value[1:]] if isinstance(value, list) else instead


ARRAYS = [key for key, value in TOLD.items() if isinstance(value, list) or key == "outputs"]
FIGURES = ["saliency", "clip_mask", "outputs", "losses", "gradient_norms", "global_weight", "loss_weights"]
SPOILT = [
    *(("lacks", key, without(TOLD, key)) for key in TOLD if key != "batch"),  # which the lengths say, too
    *(("shorter", key, TOLD | {key: shorter(TOLD[key])}) for key in ARRAYS),
    *(("lacks of outputs", key, TOLD | {"outputs": without(TOLD["outputs"], key)}) for key in TOLD["outputs"]),
    *(("lacks of losses", key, TOLD | {"losses": without(TOLD["losses"], key)}) for key in TOLD["losses"]),
    *(("not a number", key, TOLD | {key: unknown(TOLD[key])}) for key in FIGURES),
    *(("infinite", key, TOLD | {key: unknown(TOLD[key], math.inf)}) for key in FIGURES),
]


@pytest.mark.parametrize(("how", "key", "told"), SPOILT, ids=lambda value: value if isinstance(value, str) else "")
def test_a_set_that_is_spoilt_anywhere_is_a_failure_with_a_name(tmp_path, torch_one_thread, quick, how, key, told):
    path = tmp_path / "spoilt.json"
    path.write_text(json.dumps(told))
    try:
        bad = failures(path)
    except PipelineError as error:
        assert str(path) in str(error)
    else:
        assert bad


def set_at(told, place, value):
    """Return a copy of a set in which the value at a place is replaced, or removed if the new value is `GONE`."""
    first, *rest = place
    copy = dict(told) if isinstance(told, dict) else list(told)
    if rest:
        copy[first] = set_at(copy[first], rest, value)
    elif value == GONE:
        del copy[first]
    else:
        copy[first] = value
    return copy


GONE = "gone"  # a text, so that the names of tests are equal in all processes
EATR, UMT = "eatr-qvhighlights_v", "umt_tvsum_va"
UNNOTICED = [  # what once passed, or ended with an error of Python
    (EATR, ["matcher"], None, "matching: the set has 0 layers"),
    (EATR, ["aux_matchers"], GONE, "matcher_aux0 or aux_matchers"),
    (EATR, ["aux_matchers", 0], GONE, "matching: the set has 2 layers"),
    (EATR, ["losses", "class_error_1"], GONE, "loss class_error_1: only ours has it"),
    (EATR, ["losses", "loss_giou"], 10**400, "OverflowError"),
    (EATR, ["loss_weights", "loss_span_1"], 11, "the weight of `loss_span_1` is 11"),
    (EATR, ["loss_weights", "loss_event_giou"], GONE, "`loss_weights` lacks loss_event_giou"),
    (EATR, ["global_weight"], math.nan, "EaTR has no weights beside its list of losses"),
    (EATR, ["saliency", 0], GONE, "`saliency` says 2 samples"),
    (EATR, ["clip_mask", 0, 0], math.nan, "not finite"),
    (EATR, ["n_parameters"], None, "TypeError"),
    (EATR, ["batch"], 9, "`batch` says 9 samples"),
    (EATR, ["dataset"], "elsewhere", "`dataset` 'elsewhere' names no known dataset"),
    (EATR, ["gradient_norms", 0], -1.0, "gradient norms"),
    ("cg-detr-tvsum_v", ["real_negatives", 0], 7, "samples that have a wrong query"),
    (UMT, ["alone"], [], "samples alone that one side lacks"),
    (UMT, ["alone", 0, "top5_map"], GONE, "sample 0 alone: keys that one side lacks"),
    (UMT, ["losses_without_text_mask", "saliency_loss"], GONE, "losses that one side lacks without"),
    (UMT, ["probes", "decoder_0"], GONE, "probes that one side lacks"),
    (UMT, ["text_lengths", 0], 99, "the lengths are from 1 to"),
    (UMT, ["clip_length_s"], math.nan, "`clip_length_s` is nan"),
    ("umt_charades_va", ["targets", "n_windows"], 3, "labels: windows"),
    ("umt_charades_va", ["alone", 0, "suppressed", 9], GONE, "sample 0 alone: number of picks"),
    ("univtg_tvsum_v", ["outputs", "pred_spans"], GONE, "outputs that the set lacks"),
    ("univtg_tvsum_v", ["steps_eval_mode", "trajectory"], [], "optimizer steps: the set has none"),
]


@pytest.mark.parametrize(("name", "place", "value", "said"), UNNOTICED, ids=lambda value: str(value)[:30])
def test_nothing_in_a_set_of_another_method_can_be_changed_unnoticed(
    tmp_path, torch_one_thread, quick, name, place, value, said
):
    told = json.loads(next(path for path in OTHERS if path.stem == name).read_text())
    path = tmp_path / "spoilt.json"
    path.write_text(json.dumps(set_at(told, place, value)))
    try:
        bad = failures(path)
    except PipelineError as error:
        assert str(path) in str(error)
        assert said in str(error)
    else:
        assert any(check.quantity.startswith(said) for check in bad)


def test_an_error_in_a_folder_of_sets_names_the_file(tmp_path):
    shutil.copy(SMALL, tmp_path / "a.json")
    (tmp_path / "b.json").write_text("[]")
    with pytest.raises(PipelineError, match=r"b\.json: is incomplete"):
        verify(tmp_path)


def test_a_tensor_that_is_not_of_the_method_is_an_error_of_the_set(tmp_path, torch_one_thread, quick):
    path = tmp_path / "spoilt.json"
    path.write_text(json.dumps(TOLD | {"parameter_shapes": TOLD["parameter_shapes"] | {"none.weight": [2]}}))
    with pytest.raises(PipelineError, match=r"spoilt\.json: .*`none.weight` that TR-DETR does not have → .*fetch the"):
        verify(path)


def test_an_array_of_another_shape_in_a_plain_set_is_named(shared_data, tmp_path, torch_one_thread):
    for file in (shared_data / "golden").glob("released_*"):
        shutil.copy(file, tmp_path)
    path = tmp_path / "released_forward.npz"
    with np.load(path) as arrays:
        held = dict(arrays)
    held["out_pred_logits"] = held["out_pred_logits"][:, :-1]
    held["proj_vid"][0, 0, 0] = np.nan
    np.savez(path, **held)
    assert [check.quantity for check in failures(tmp_path)] == [
        "logits: shape (4, 10, 2), in the set (4, 9, 2)",
        "video",
    ]


def test_a_place_without_a_set_is_named(tmp_path):
    with pytest.raises(PipelineError, match="there is no golden set here"):
        verify(tmp_path)


def test_a_set_of_a_method_that_is_not_here_is_named(tmp_path):
    path = tmp_path / "other.json"
    path.write_text(json.dumps({"system": "mh_detr"}))
    with pytest.raises(PipelineError, match=r"other\.json: no released files of `mh_detr` are known here"):
        verify(path)


def test_a_set_that_lacks_a_key_is_refused(tmp_path):
    (tmp_path / "half.json").write_text(json.dumps({"case": "half"}))
    with pytest.raises(PipelineError, match="is incomplete"):
        verify(tmp_path / "half.json")
