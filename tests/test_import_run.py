"""A released checkpoint becomes a run with a card: facts from the file, facts that the user must give, and facts that
do not fit."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch

from pipeline import cli, files
from pipeline.asking.card import read_card
from pipeline.errors import PipelineError
from pipeline.released.checkpoint import release_of
from pipeline.released.golden_compact import compact
from pipeline.released.run_folder import TrainedOn, import_run, training_of

GOLDEN = Path(__file__).parent / "data" / "golden" / "tvsum_v.json"
OPTIONS = {"hidden_dim": 256, "nheads": 8, "enc_layers": 2, "a_feat_dim": None}
TOLD = TrainedOn("tvsum", ["i3d-inception-rgb-tvsum", "i3d-inception-flow-raft-tvsum"], [], "clip-token-table", "2s")


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
        (TrainedOn("tvsum", ["unknown"], [], "clip-text", "2s"), r"no such family; known are"),
    ],
)
def test_families_that_cannot_be_its_own_are_refused(checkpoint, tmp_path, told, why):
    with pytest.raises(PipelineError, match=why):
        import_run(checkpoint(), tmp_path / "run", "tr_detr", told)
    assert not (tmp_path / "run").exists()


def test_a_run_that_was_trained_here_is_not_written_over(checkpoint, tmp_path):
    files.write_json(tmp_path / "run/card.json", {"dataset": "tvsum"})
    with pytest.raises(PipelineError, match="holds a run that was trained here"):
        import_run(checkpoint(), tmp_path / "run", "tr_detr", TOLD)


def test_the_command_writes_weights_alone_or_a_run(checkpoint, tmp_path, capsys):
    source = checkpoint(dset_name="tvsum", clip_length=2)
    cli.main(["import-checkpoint", str(source), str(tmp_path / "ours.safetensors")])
    assert not list(tmp_path.glob("**/card.json"))
    told = ["--video", *TOLD.video, "--text", "clip-token-table"]
    cli.main(["import-checkpoint", str(source), str(tmp_path / "run"), *told])
    assert read_card(tmp_path / "run").dataset == "tvsum"
    assert capsys.readouterr().out.strip() == str(tmp_path / "run/card.json")
