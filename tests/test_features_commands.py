"""The commands about features as a user types them: one video, export, compare, inspect."""

from __future__ import annotations

import fake_encoders
import numpy as np
import pytest
from made_videos import make_video

from pipeline import locks
from pipeline.cli import main
from pipeline.features.store import Store, open_stores


@pytest.fixture(autouse=True)
def fakes(monkeypatch):
    fakes = {"clip-vit-b32": "fake_encoders:MeanColour", "pann-cnn14": "fake_encoders:Loudness"}
    fake_encoders.take_the_place(fakes, monkeypatch.setitem)
    fake_encoders.CALLS.clear()


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return make_video(tmp_path_factory.mktemp("video") / "-my clip.mp4", range(0, 600 * 6, 20))


def run(*arguments):
    main([str(argument) for argument in arguments])


def fails(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        run(*arguments)
    return f"{stop.value.code} {capsys.readouterr().err}"


def extract(video, output, *more):
    run("features", "extract", "--video", video, "--family", "clip-vit-b32", "--random", "3", "--output", output, *more)
    return output


def test_one_video_becomes_a_store_named_after_the_file(tmp_path, video, capsys):
    with Store([extract(video, tmp_path / "own.h5")]) as store:
        assert store.keys() == ["-my clip"]
        assert (store.n_rows("-my clip"), store.passport.weights, store.passport.grid) == (3, "random:3", "2s")
    assert capsys.readouterr().out.startswith(f"{tmp_path / 'own.h5'}: -my clip: 3 rows, norm ")


def test_the_grid_can_be_chosen(tmp_path, video):
    with Store([extract(video, tmp_path / "own.h5", "--grid", "1s")]) as store:
        assert store.n_rows("-my clip") == 6


def test_its_sound_becomes_a_store_too(tmp_path):
    video = make_video(tmp_path / "loud.mp4", range(0, 600 * 6, 20), sound_s=6)
    asked = ("--family", "pann-cnn14", "--random", "0", "--output", tmp_path / "s.h5")
    run("features", "extract", "--video", video, *asked)
    with Store([tmp_path / "s.h5"]) as store:
        assert store.passport.family == "pann-cnn14"
        assert store.n_rows("loud") == 3
        np.testing.assert_allclose(store.read("loud")[:, 0], 2 / np.pi, rtol=0.1)  # a sine of full height


def test_a_store_of_other_videos_is_not_overwritten(tmp_path, video, capsys):
    other = make_video(tmp_path / "other.mp4", range(0, 600 * 3, 20))
    extract(other, tmp_path / "own.h5")
    before = (tmp_path / "own.h5").read_bytes()
    said = fails(
        capsys,
        *("features", "extract", "--video", video, "--family", "clip-vit-b32", "--random", "3"),
        *("--output", tmp_path / "own.h5"),
    )
    assert "own.h5: holds 1 other array (other …) → name a new file" in said
    assert (tmp_path / "own.h5").read_bytes() == before


def test_a_store_of_another_family_or_other_weights_is_not_overwritten(tmp_path, capsys):
    video = make_video(tmp_path / "loud.mp4", range(0, 600 * 3, 20), sound_s=3)
    extract(video, tmp_path / "own.h5")
    before = (tmp_path / "own.h5").read_bytes()
    asked = ("features", "extract", "--video", video, "--output", tmp_path / "own.h5")
    said = fails(capsys, *asked, "--family", "pann-cnn14", "--random", "3")
    assert "own.h5: has another passport: family: pann-cnn14 ≠ clip-vit-b32; " in said
    assert "weights: random:4 ≠ random:3 → name a new file" in fails(
        capsys, *asked, "--family", "clip-vit-b32", "--random", "4"
    )
    assert (tmp_path / "own.h5").read_bytes() == before


def test_two_extractions_into_one_file_are_not_at_work_at_once(tmp_path, video, capsys):
    with locks.lock(tmp_path / "own.h5"):
        said = fails(
            capsys,
            *("features", "extract", "--video", video, "--family", "clip-vit-b32", "--random", "3"),
            *("--output", tmp_path / "own.h5"),
        )
    assert "own.h5: another process is at work here" in said


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            "--video x.mp4",
            "--family, --output not given → name a shard (--dataset --shard --reader --manifest), or",
        ),
        ("--dataset tvsum --shard 00000", "--reader, --manifest not given"),
        ("--video x.mp4 --family f --output o --shard 00000", "--shard cannot be used together with --video"),
        (
            "--dataset tvsum --shard 0 --reader sound --manifest m --random 1",
            "--random cannot be used together with --dataset",
        ),
        ("--video x.mp4 --family f --output o --random 1 --weights w", "not allowed with argument --random"),
        ("--video x.mp4 --family clip-vit-b32 --output o", "these weights are not here"),
        ("--video x.mp4 --family clip-text --output o --random 1", "clip-text: is not made of a video → name one of"),
        ("--video x.mp4 --family nonsense --output o --random 1", "nonsense: is not made of a video"),
        ("--video x.mp4 --family clip-vit-b32 --output o --random 1", "x.mp4: no such video file"),
        ("--video x.mp4 --family clip-vit-b32 --output o --random -1", "(found 'random:-1') → correct that option"),
        (
            "--video x.mp4 --family clip-vit-b32 --output o --weights a b",
            "needs one file for each of clip-vit-b32, and 2 are given",
        ),
    ],
)
def test_what_does_not_go_together_is_said(tmp_path, capsys, monkeypatch, given, message):
    monkeypatch.chdir(tmp_path)
    assert message in fails(capsys, "features", "extract", *given.split())
    assert list(tmp_path.iterdir()) == []


def test_an_export_is_files_that_others_load(tmp_path, video, capsys):
    store = extract(video, tmp_path / "own.h5")
    run("features", "export", store, "--dataset", "qvhighlights", "--output", tmp_path / "out")
    assert f"{tmp_path / 'out' / 'clip_features'}: 1 file of clip-vit-b32" in capsys.readouterr().out
    exported = np.load(tmp_path / "out/clip_features/-my clip.npz", allow_pickle=False)["features"]
    with open_stores(store) as own:
        np.testing.assert_array_equal(exported, own.read("-my clip"))


def test_a_comparison_ends_in_its_verdict_and_lists_every_vid(tmp_path, video, capsys):
    store = extract(video, tmp_path / "own.h5")
    run("features", "compare", store, store, "--output", tmp_path / "out.csv")
    assert capsys.readouterr().out.endswith("\n\nverdict: identical: 1 vid equal number by number\n")
    assert (tmp_path / "out.csv").read_text(encoding="utf-8").splitlines()[1].startswith("-my clip,3,3,1.000000,")


def test_a_comparison_is_not_written_over_a_store(tmp_path, video, capsys):
    store = extract(video, tmp_path / "own.h5")
    before = store.read_bytes()
    said = fails(capsys, "features", "compare", store, store, "--output", store)
    assert "own.h5: is no name for a CSV file → name a FILE.csv" in said
    assert store.read_bytes() == before


def test_a_store_of_one_video_is_drawn_without_naming_it(tmp_path, video, capsys):
    store = extract(video, tmp_path / "own.h5")
    run("--results", tmp_path, "features", "inspect", store, "--video", video)
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "inspect" / "-my clip.clip-vit-b32.png")
    assert (tmp_path / "inspect" / "-my clip.clip-vit-b32.png").is_file()


def test_a_vid_that_looks_like_an_option_goes_behind_two_dashes(tmp_path, video):
    store = extract(video, tmp_path / "own.h5")
    run("features", "inspect", "--output", tmp_path, "--", store, "-my clip")
    assert (tmp_path / "-my clip.clip-vit-b32.png").is_file()
