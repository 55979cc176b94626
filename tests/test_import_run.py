"""A released checkpoint becomes a run with a card: facts from the file, facts that the user must give, and facts that
do not fit."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch
from tiny_benchmark import Benchmark, experiment

from pipeline import cli, files, methods
from pipeline.asking.card import read_card, weights_file_of
from pipeline.errors import PipelineError
from pipeline.methods.contract import Inputs
from pipeline.methods.umt.settings import UmtSettings
from pipeline.released.checkpoint import release_of
from pipeline.released.golden_compact import compact
from pipeline.released.run_folder import TrainedOn, import_run, training_of

GOLDEN = Path(__file__).parent / "data" / "golden" / "tvsum_v.json"
OPTIONS = {"hidden_dim": 256, "nheads": 8, "enc_layers": 2, "a_feat_dim": None}
TOLD = TrainedOn("tvsum", ["i3d-inception-rgb-tvsum", "i3d-inception-flow-raft-tvsum"], [], "clip-token-table", "2s")

KINDS = {"qvhighlights": (True, True), "charades_sta": (True, False), "tvsum": (False, True)}
"""A dataset → whether it has moments, and whether it has rated clips."""


@pytest.fixture(scope="module")
def weights():
    return dict(compact(GOLDEN).weights)


@pytest.fixture
def checkpoint(tmp_path, weights):
    def write(**options):
        path = tmp_path / "model_best.ckpt"
        torch.save({"model": weights, "epoch": 154, "opt": argparse.Namespace(**OPTIONS | options)}, path)
        return path

    return write


def test_the_card_says_what_was_told_and_what_the_options_say(checkpoint, tmp_path):
    folder = tmp_path / "results/runs/released/all-s1"
    import_run(checkpoint(max_v_l=-1, max_q_l=20), folder, "tr_detr", TOLD)
    card = read_card(folder)
    assert (card.dataset, card.grid, card.widths()) == ("tvsum", "2s", (2048, 0, 512))
    # The released loader cuts no words on TVSum, whatever the option says.
    assert (card.settings.training.max_clips, card.settings.training.max_tokens) == (None, None)
    assert files.read_json(folder / "card.json")["selected"] == {"epoch": 155}


def test_an_imported_run_can_be_loaded_with_weights_named_one_by_one(checkpoint, tmp_path, monkeypatch):
    from pipeline.asking.moments import Moments

    folder = tmp_path / "imported"
    import_run(checkpoint(), folder, "tr_detr", TOLD)
    any_file = tmp_path / "weights"
    any_file.write_bytes(b"any")
    names = ("i3d-inception-rgb-kinetics", "i3d-inception-flow-kinetics", "raft-large", "clip-vit-b32")
    moments = Moments.load(folder, weights=dict.fromkeys(names, any_file))
    assert moments.card.imported() == [*TOLD.video, TOLD.text]
    with pytest.raises(PipelineError, match=r"these weights are not here → .*fetch"):
        Moments.load(folder)


@pytest.mark.parametrize(
    ("method", "dataset", "limits"),
    [
        ("moment_detr", "qvhighlights", (75, 40)),
        ("qd_detr", "tvsum", (75, None)),
        ("univtg", "charades_sta", (None, None)),
        ("umt", "charades_sta", (None, None)),
    ],
)
def test_a_video_is_cut_only_if_the_released_loader_cuts_it(method, dataset, limits):
    training = training_of({"max_v_l": 75, "max_q_l": 40}, dataset, release_of(method).cuts)
    assert (training.max_clips, training.max_tokens) == limits


@pytest.mark.parametrize(
    ("told", "options", "flags"),
    [
        (TrainedOn(), {}, "--dataset, --video, --text, --grid must"),
        (TrainedOn(), {"dset_name": "tvsum", "clip_length": 2}, "--video, --text must"),
        (TrainedOn(), {"dset_name": "hl", "clip_length": 0.166666}, "--video, --text must"),
        (TrainedOn(), {"dset_name": "unheard of", "clip_length": 7}, "--dataset, --video, --text, --grid must"),
    ],
)
def test_all_that_must_be_told_is_asked_for_at_once(checkpoint, tmp_path, told, options, flags):
    with pytest.raises(PipelineError, match=flags):
        import_run(checkpoint(**options), tmp_path / "run", "tr_detr", told)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("told", "why"),
    [
        (TrainedOn("tvsum", ["clip-vit-b32"], [], "clip-text", "2s"), r"reads 2050 columns .* give 514 .*and 512"),
        (TrainedOn("tvsum", [*TOLD.video], [], "glove-6b-300d", "2s"), r"2050 columns .* and 300"),
        (
            replace(TOLD, grid="1s"),
            r"was trained on clips of 1s, and i3d-inception-rgb-tvsum is made on 2s only .*--grid",
        ),
        (TrainedOn("tvsum", ["unknown"], [], "clip-text", "2s"), r"no such family; known are"),
    ],
)
def test_families_that_cannot_be_its_own_are_refused(checkpoint, tmp_path, told, why):
    with pytest.raises(PipelineError, match=why):
        import_run(checkpoint(), tmp_path / "run", "tr_detr", told)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "files_there",
    [
        {"card.json": b'{"dataset": "tvsum"}'},
        {"card.json": b"[1]"},
        {"state.pt": b"a training that goes on"},
        {"selected.safetensors": b"weights", "last.safetensors": b"weights", "log.csv": b"epoch"},
        {"selected.safetensors": b"weights alone"},
    ],
    ids=["complete", "other card", "under way", "card is missing", "weights alone"],
)
def test_a_run_that_was_trained_here_is_not_written_over(checkpoint, tmp_path, files_there):
    folder = tmp_path / "run"
    folder.mkdir()
    for name, content in files_there.items():
        (folder / name).write_bytes(content)
    with pytest.raises(PipelineError, match=r"holds a run that was trained here|exists, and no import wrote it"):
        import_run(checkpoint(), folder, "tr_detr", TOLD)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == files_there


def test_a_folder_with_an_impossible_name_is_told(checkpoint, tmp_path):
    with pytest.raises(PipelineError, match="cannot be written"):
        import_run(checkpoint(), tmp_path / ("n" * 300), "tr_detr", TOLD)


def test_an_import_may_be_repeated_and_is_not_replaced_by_another(checkpoint, weights, tmp_path):
    folder = tmp_path / "run"
    import_run(checkpoint(), folder, "tr_detr", TOLD)
    (folder / "card.json").unlink()  # as if the first import had been stopped before the card
    import_run(checkpoint(), folder, "tr_detr", TOLD)
    import_run(checkpoint(), folder, "tr_detr", replace(TOLD, dataset="qvhighlights"))
    assert read_card(folder).dataset == "qvhighlights"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    other = tmp_path / "other.ckpt"
    torch.save({"model": weights | {"saliency_proj1.bias": torch.zeros(256)}}, other)
    with pytest.raises(PipelineError, match="holds the weights of another import"):
        import_run(other, folder, "tr_detr", TOLD)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_what_no_option_gives_and_no_tensor_shows_is_said(checkpoint, weights, tmp_path, capsys):
    import_run(checkpoint(max_v_l=1000, max_q_l=32), tmp_path / "all", "tr_detr", TOLD)
    assert capsys.readouterr().err == ""
    torch.save({"model": weights}, tmp_path / "bare.ckpt")
    import_run(tmp_path / "bare.ckpt", tmp_path / "bare", "tr_detr", TOLD)
    said = capsys.readouterr().err.splitlines()
    assert [line.split("taken are ")[1] for line in said] == ["`nheads` 8", "`max_v_l` 75, `max_q_l` without limit"]


def test_a_dataset_and_a_grid_that_the_options_contradict_are_said(checkpoint, tmp_path, capsys):
    options = {"max_v_l": 75, "max_q_l": 32, "dset_name": "hl", "clip_length": 1}
    import_run(checkpoint(**options), tmp_path / "run", "tr_detr", TOLD)
    said = [line.split(".ckpt: ")[1] for line in capsys.readouterr().err.splitlines()]
    assert said == [
        "its options say qvhighlights; --dataset tvsum is taken",
        "its options say 1s; --grid 2s is taken",
    ]


def test_options_that_were_saved_as_text_mean_the_same(checkpoint, tmp_path):
    given = {"max_v_l": 50, "max_q_l": 20, "clip_length": 2, "dset_name": "hl"}
    limits = {"max_clips": 50, "max_tokens": 20}
    for kind in (str, int, float):
        options = {key: value if key == "dset_name" else kind(value) for key, value in given.items()}
        folder = tmp_path / kind.__name__
        import_run(checkpoint(**options), folder, "tr_detr", replace(TOLD, dataset=None, grid=None))
        card = read_card(folder)
        assert (card.dataset, card.grid) == ("qvhighlights", "2s")
        assert card.settings.training.model_dump(include=set(limits)) == limits


@pytest.mark.parametrize("length", [10**300, float("nan"), True, "long", None, [2]])
def test_a_length_of_clips_that_is_none_is_asked_for(checkpoint, tmp_path, length):
    with pytest.raises(PipelineError, match="--grid must be given"):
        import_run(checkpoint(clip_length=length), tmp_path / "run", "tr_detr", replace(TOLD, grid=None))


def test_video_features_that_were_not_scaled_make_no_run(checkpoint, tmp_path):
    with pytest.raises(PipelineError, match=r"`no_norm_vfeat` on.* → name a FILE.safetensors"):
        import_run(checkpoint(no_norm_vfeat=True), tmp_path / "run", "tr_detr", TOLD)
    import_run(checkpoint(no_norm_vfeat=False, no_norm_tfeat=True), tmp_path / "run", "tr_detr", TOLD)
    assert read_card(tmp_path / "run").settings.training.normalise_text is False


@pytest.mark.parametrize(
    ("kinds", "dataset", "tensor"),
    [
        ((False, True), "qvhighlights", r"lacks the tensor `pred_head\.\*\.center_pred\.linear\.bias`"),
        ((True, True), "charades_sta", r"holds the tensor `pred_head\.\*\.saliency_pred\.linear\.bias`"),
        ((True, False), "tvsum", r"holds the tensor `pred_head\.\*\.center_pred\.linear\.bias`"),
    ],
)
def test_a_dataset_whose_heads_the_checkpoint_lacks_is_refused(tmp_path, kinds, dataset, tensor):
    release = release_of("umt")
    network = methods.build(
        UmtSettings(hidden_dim=16, feedforward_dim=8, positions=9), Inputs(2048, 0, 512, 2.0, *kinds)
    )
    held = {release.their_name(name).replace("*", "0"): value for name, value in network.network.state_dict().items()}
    torch.save({"state_dict": held}, tmp_path / "umt.pth")
    with pytest.raises(PipelineError, match=rf"{tensor}, and a network for {dataset}.*--dataset"):
        import_run(tmp_path / "umt.pth", tmp_path / "run", "umt", replace(TOLD, dataset=dataset))
    assert not (tmp_path / "run").exists()
    own = next(name for name, has in KINDS.items() if has == kinds)
    assert import_run(tmp_path / "umt.pth", tmp_path / "run", "umt", replace(TOLD, dataset=own)).is_file()


def test_a_damaged_import_is_imported_again_and_not_trained_again(checkpoint, tmp_path):
    folder = tmp_path / "run"
    import_run(checkpoint(), folder, "tr_detr", TOLD)
    card = read_card(folder)
    with pytest.raises(PipelineError, match=r"is an imported checkpoint, which has no epoch `last` → ask with"):
        weights_file_of(card, "last")
    damaged = bytearray((folder / "selected.safetensors").read_bytes())
    damaged[-1] ^= 1
    (folder / "selected.safetensors").write_bytes(damaged)
    with pytest.raises(PipelineError, match=r"was changed or damaged .*→ delete this file, and import the checkpoint"):
        weights_file_of(card, "selected")
    (folder / "selected.safetensors").unlink()
    with pytest.raises(PipelineError, match=r"is missing .*→ import the checkpoint again"):
        weights_file_of(card, "selected")
    content = files.read_json(folder / "card.json")
    files.write_json(folder / "card.json", content | {"dataset": "qvhighlights"})
    with pytest.raises(PipelineError, match=r"card.json: .*→ delete this file, and import the checkpoint"):
        read_card(folder)
    import_run(checkpoint(), folder, "tr_detr", TOLD)
    assert weights_file_of(read_card(folder), "selected").is_file()


def test_a_training_does_not_write_over_an_import(checkpoint, tmp_path):
    benchmark = Benchmark(tmp_path, n_train=4, n_val=2)
    folder = benchmark.results / "runs/tiny/all-s2017"
    import_run(checkpoint(), folder, "tr_detr", TOLD)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(PipelineError, match=r"all-s2017: holds an imported checkpoint.*move that folder"):
        benchmark.train(experiment(training={"epochs": 1}))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_the_card_names_the_folder_that_a_dot_means(checkpoint, tmp_path, monkeypatch):
    source, folder = checkpoint(), tmp_path / "released/all-s1"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    import_run(source, Path(), "tr_detr", TOLD)
    card = files.read_json(folder / "card.json")
    assert (card["experiment"], card["run"]) == ("released", "all-s1")


def test_the_command_writes_weights_alone_or_a_run(checkpoint, tmp_path, capsys):
    source = checkpoint(dset_name="tvsum", clip_length=2)
    cli.main(["import-checkpoint", str(source), str(tmp_path / "ours.safetensors")])
    assert not list(tmp_path.glob("**/card.json"))
    told = ["--video", *TOLD.video, "--text", "clip-token-table"]
    cli.main(["import-checkpoint", str(source), str(tmp_path / "run"), *told])
    assert read_card(tmp_path / "run").dataset == "tvsum"
    assert capsys.readouterr().out.strip() == str(tmp_path / "run/card.json")


@pytest.mark.parametrize("name", ["ours.safetensors", "OURS.SAFETENSORS"])
def test_facts_about_a_run_are_refused_for_weights_alone(checkpoint, tmp_path, name):
    told = ["--dataset", "tvsum", "--video", "clip-vit-b32", "--grid", "2s"]
    with pytest.raises(SystemExit, match=r"--dataset, --video, --grid: are facts about a run"):
        cli.main(["import-checkpoint", str(checkpoint()), str(tmp_path / name), *told])
    assert not (tmp_path / name).exists()
    cli.main(["import-checkpoint", str(checkpoint()), str(tmp_path / name)])
    assert (tmp_path / name).is_file()
