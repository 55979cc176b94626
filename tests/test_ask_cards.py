"""A run is asked by its card, and a run that cannot be asked says why."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace

import pytest
from own_videos import own_videos, recipe
from tiny_benchmark import FEATURES

from pipeline import cli, datasets, files, seal
from pipeline.asking.moments import Moments
from pipeline.errors import PipelineError


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    with own_videos(tmp_path_factory.mktemp("own")) as found:
        yield found


@pytest.fixture(scope="module")
def run(own):
    return own.run()


def with_card(run, tmp_path, **changes):
    """Return a copy of a run's folder with a changed card."""
    folder = tmp_path / "results/runs/other/all-s2017"
    folder.mkdir(parents=True)
    for name in ("selected.safetensors", "last.safetensors"):
        (folder / name).write_bytes((run / name).read_bytes())
    files.write_json(folder / "card.json", seal.sealed(files.read_json(run / "card.json") | changes))
    return folder


def passports(run, family="clip-vit-b32", **changes):
    features = files.read_json(run / "card.json")["features"]
    return features | {family: features[family] | changes}


def test_a_run_on_released_only_features_says_which_and_what_could_be_asked(run, tmp_path):
    released = asdict(replace(recipe("clip-vit-b32").passport, family="vgg16-charades", origin="vgg", dim=4096))
    features = files.read_json(run / "card.json")["features"] | {"vgg16-charades": released}
    reads = {"video": ["vgg16-charades"], "audio": [], "text": "clip-text"}
    folder = with_card(run, tmp_path, features=features, reads=reads)
    with pytest.raises(
        PipelineError, match=r"vgg16-charades is released only.*trained on vgg16-imagenet could be asked"
    ):
        Moments.load(folder)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"revision": 99}, r"made by revision 99, and this version makes revision \d"),
        ({"dim": 7}, "had rows of 7 numbers, and here it has 512"),
        ({"weights": "random:8"}, None),
        ({"preprocessing": "another"}, r"made with other settings here.*the run: another"),
        ({"weights": "a" * 64}, r"clip-vit-b32: these weights are not here.*fetch clip-vit-b32"),
    ],
)
def test_rows_of_another_kind_than_the_run_was_trained_on_are_refused(run, tmp_path, changes, why):
    folder = with_card(run, tmp_path, features=passports(run, **changes))
    if why is None:  # other random weights are made, as the passport says
        assert Moments.load(folder).recipes["clip-vit-b32"].weights.seed == 8
        return
    with pytest.raises(PipelineError, match=why):
        Moments.load(folder)


def test_a_weight_file_of_another_digest_is_refused(run, tmp_path):
    other = tmp_path / "weights.safetensors"
    other.write_bytes(b"others")
    folder = with_card(run, tmp_path, features=passports(run, weights="a" * 64))
    with pytest.raises(PipelineError, match=r"holds other weights of clip-vit-b32.*--weights clip-vit-b32=FILE"):
        Moments.load(folder, weights={"clip-vit-b32": other})
    with pytest.raises(PipelineError, match=r"reads no weights of that name; it reads clip-vit-b32"):
        Moments.load(folder, weights={"raft-large": other})


def test_fetched_weights_are_found_from_any_folder(run, tmp_path, monkeypatch):
    folder = with_card(run, tmp_path, features=passports(run, weights="a" * 64))
    place = tmp_path / "results/resources/clip-vit-b32"
    place.mkdir(parents=True)
    (place / "weights.bin").write_bytes(b"any")
    listed = [{"path": "results/resources/clip-vit-b32/weights.bin", "bytes": 3, "sha256": "a" * 64}]
    files.write_json(place / "fetch.json", {"stage": "fetch", "files": listed})
    monkeypatch.chdir(tmp_path.parent)
    assert Moments.load(folder).recipes["clip-vit-b32"].weights.path == place / "weights.bin"


def test_rows_of_an_archive_are_made_here_and_that_is_told(own, run, tmp_path):
    features = passports(run, origin="moment-detr", weights="released")
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(b"any")
    moments = Moments.load(with_card(run, tmp_path, features=features), weights={"clip-vit-b32": weights})
    answer = moments.ask(moments.encode(own.videos[3], rows=tmp_path / "rows"), "a dog")
    assert any("from the archive moment-detr" in note for note in answer.notes)


def test_a_folder_that_holds_no_run_names_the_runs_below_it(run, tmp_path):
    with pytest.raises(PipelineError, match=r"holds no card.json → name a run below it: .*all-s2017"):
        Moments.load(run.parent)
    with pytest.raises(PipelineError, match=r"holds no card.json → name the folder of a finished run"):
        Moments.load(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"features": {}, "dataset": "qvhighlights"}'])
def test_a_card_that_is_damaged_is_named(run, tmp_path, text):
    folder = with_card(run, tmp_path)
    (folder / "card.json").write_text(text)
    with pytest.raises(PipelineError, match=r"card.json: "):
        Moments.load(folder)


@pytest.mark.parametrize("changes", [{"longest_clips": float("inf")}, {"longest_clips": -5}, {"threads": 0}])
def test_a_card_with_an_impossible_number_is_named(run, tmp_path, changes):
    copy = shutil.copytree(run, tmp_path / "a/b")
    (copy / "card.json").write_text(json.dumps(seal.sealed(files.read_json(run / "card.json") | changes)))
    with pytest.raises(PipelineError, match=f"`{next(iter(changes))}` is .*, which is no number from 1 on"):
        Moments.load(copy)


def test_weights_that_are_gone_or_of_another_network_are_named(run, tmp_path):
    folder = with_card(run, tmp_path)
    (folder / "selected.safetensors").unlink()
    with pytest.raises(PipelineError, match=r"selected.safetensors: is missing beside the run's card"):
        Moments.load(folder)
    card = files.read_json(run / "card.json")
    files.write_json(folder / "card.json", seal.sealed(card | {"model": card["model"] | {"hidden_dim": 16}}))
    with pytest.raises(PipelineError, match=r"last.safetensors: does not fit the network of its card"):
        Moments.load(folder, epoch="last")


@pytest.mark.parametrize("epoch", ["selected", "last"])
def test_weights_of_which_one_bit_is_another_are_refused_and_a_whole_copy_is_asked(run, tmp_path, epoch):
    folder = with_card(run, tmp_path)
    weights = bytearray((run / f"{epoch}.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / f"{epoch}.safetensors").write_bytes(weights)
    with pytest.raises(PipelineError, match=rf"{epoch}.safetensors: was changed .* → copy the folder of the run anew"):
        Moments.load(folder, epoch=epoch)
    shutil.copy(run / f"{epoch}.safetensors", folder)
    assert Moments.load(folder, epoch=epoch).card.name == "other/all-s2017"


def test_a_card_of_which_one_number_is_another_is_refused(run, tmp_path):
    folder = with_card(run, tmp_path)
    card = (folder / "card.json").read_text()
    (folder / "card.json").write_text(card.replace('"threads": 1', '"threads": 3'))
    with pytest.raises(PipelineError, match=r"card.json: was changed .* → copy the folder of the run anew"):
        Moments.load(folder)


def test_a_run_of_before_cards_gave_digests_is_asked_as_ever(run, tmp_path):
    folder = with_card(run, tmp_path)
    card = files.read_json(folder / "card.json")
    files.write_json(folder / "card.json", {key: card[key] for key in card if key not in ("files", "seal")})
    assert Moments.load(folder).card.digests == {}


def test_an_old_card_takes_the_order_of_its_families_from_the_manifest_or_says_so(own, run, tmp_path):
    old = {key: value for key, value in files.read_json(run / "card.json").items() if key not in ("reads", "seal")}
    folder = with_card(run, tmp_path)
    files.write_json(folder / "card.json", old)
    with pytest.raises(PipelineError, match="the order in which the network reads its families"):
        Moments.load(folder)
    manifest = files.read_json(own.results / "runs/tiny.1of1.json")
    files.write_json(tmp_path / "results/runs/tiny.1of1.json", manifest)
    assert Moments.load(folder).card.features == FEATURES


def test_a_run_is_known_from_its_own_folder(run, monkeypatch):
    monkeypatch.chdir(run)
    card = Moments.load(".").card
    assert (card.name, card.results) == (f"{run.parent.name}/{run.name}", run.parents[2])


def test_the_card_says_what_a_dataset_of_ones_own_is_whatever_this_folder_calls_by_its_name(own, run, tmp_path, capsys):
    facts = {"annotations": "my.csv", "videos": "videos", "clip": "2s", "raters": 3}
    folder = with_card(run, tmp_path, dataset="mine", own_dataset=facts)
    files.write_json(tmp_path / "here/annotations/mine/dataset.json", facts | {"clip": "1s", "raters": 0})
    words = ["--results", str(tmp_path / "here"), "ask", str(own.videos[0]), "--run", str(folder), "a dog"]
    cli.main(words)
    assert "12 clips of 2 s" in capsys.readouterr().out
    assert datasets.get("mine").highlights == datasets.definition.Highlights("2s", 3, "levels")
    datasets.register({})
