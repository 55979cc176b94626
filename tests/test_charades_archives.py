"""Charades-STA's archives: four layouts of the same families, each on its own grid, and a wrong grid is refused."""

from __future__ import annotations

import numpy as np
import pytest
from released_archive import report, rows, run, store_of

from pipeline.datasets import DATASETS
from pipeline.datasets.charades_sta import FRAMES
from pipeline.errors import PipelineError
from pipeline.families import FAMILIES
from pipeline.features.exchange import checked
from pipeline.features.exchange.archive_files import read_released

VGG, FLOW, SOUND, I3D = "vgg16-charades", "vgg16-flow-charades", "pann-cnn14-charades", "i3d-inception-rgb-charades"
GRIDS = {VGG: "1-6s", FLOW: "1-6s", SOUND: "1-6s", I3D: "0.5s"}
DURATIONS = {"0A8CF": 5.0, "ZZXQF": 4.04, "-B": 6.5}
QUERIES = [{"qid": k, "query": "t", "vid": vid, "duration": s} for k, (vid, s) in enumerate(DURATIONS.items())]


def umt(top, per_s=6):
    for folder, dim in (("rgb_features", 4096), ("opt_features", 4096), ("audio_features", 2048)):
        (top / folder).mkdir(parents=True)
        for vid, seconds in DURATIONS.items():
            np.save(top / folder / f"{vid}.npy", rows(round(per_s * seconds), dim))
    return top


def vslnet(top, more=()):
    top.mkdir(parents=True)
    for vid, seconds in DURATIONS.items():
        n_24 = round(24 * seconds)
        np.save(top / f"{vid}.npy", rows(2 * -(-n_24 // 24) + dict(more).get(vid, 0), 1024))
    (top / "feature_shapes.json").write_text("{}")
    return top


def frames(top, vid, n, seed=0, every=4):
    folder = top / "Charades_v1_features_rgb" / vid
    folder.mkdir(parents=True)
    texts = [[f"{x:.6g}" for x in row] for row in np.maximum(np.random.default_rng(seed).normal(size=(n, 4096)), 0)]
    for k, text in enumerate(texts):
        (folder / f"{vid}-{1 + every * k:06d}.txt").write_text(" ".join(text) + "\n")
    return [list(map(float, text)) for text in texts]


def charades(results, folder, families, **grids):
    return run(results, folder, "charades_sta", families, QUERIES, clip="1s", grids=GRIDS | grids)


@pytest.mark.parametrize("top", ["", "charades"])
def test_umts_three_streams_have_six_rows_a_second(tmp_path, top):
    umt(tmp_path / "in" / top)
    _, manifest = charades(tmp_path, tmp_path / "in", [VGG, FLOW, SOUND])
    assert manifest["counts"] == {f"{family}_arrays": 3 for family in (VGG, FLOW, SOUND)}
    store = store_of(tmp_path, VGG, "charades_sta", "1-6s")
    assert store.passport.grid == "1-6s"
    np.testing.assert_array_equal(store.read("0A8CF"), rows(30, 4096))


@pytest.mark.parametrize("top", ["", "features/charades/new"])
def test_vslnets_files_lie_at_the_top_and_may_be_two_rows_off(tmp_path, top):
    vslnet(tmp_path / "in" / top)
    _, manifest = charades(tmp_path, tmp_path / "in", [I3D])
    assert manifest["counts"] == {f"{I3D}_arrays": 3, f"{I3D}_two_rows_off": 1, f"{I3D}_one_row_off": 1}
    assert {row["key"]: row["detail"] for row in report(tmp_path, "charades_sta")} == {
        "ZZXQF": "10 rows where the annotations have 8 clips",
        "-B": "14 rows where the annotations have 13 clips",
    }
    assert store_of(tmp_path, I3D, "charades_sta", "0.5s").n_rows("ZZXQF") == 10


def test_three_rows_off_is_too_many(tmp_path):
    vslnet(tmp_path / "in", {"ZZXQF": 1})
    _, manifest = charades(tmp_path, tmp_path / "in", [I3D])
    why = f"length: {I3D}, ZZXQF.npy: 11 rows where the annotations have 8 clips, allowed: 2 apart"
    assert manifest["skipped"] == [{"vid": "ZZXQF", "why": why}]


def test_two_versions_beside_each_other_are_never_guessed(tmp_path):
    vslnet(tmp_path / "in/charades/new")
    vslnet(tmp_path / "in/charades/org")
    with pytest.raises(PipelineError, match=r"in: new, org all hold \*\.npy → keep one of them"):
        charades(tmp_path, tmp_path / "in", [I3D])
    assert charades(tmp_path, tmp_path / "in/charades/org", [I3D])[0]


@pytest.mark.parametrize("top", ["", "features/charades"])
def test_cg_detrs_archive_has_four_families_on_two_grids(tmp_path, top):
    home = tmp_path / "in" / top
    for folder in ("slowfast_features", "clip_features", "clip_text_features", "vgg_features/rgb_features"):
        (home / folder).mkdir(parents=True)
    for k, (vid, seconds) in enumerate(DURATIONS.items()):
        np.savez(home / f"slowfast_features/{vid}.npz", features=rows(round(seconds), 2304, np.float16))
        np.savez(home / f"clip_features/{vid}.npz", features=rows(round(seconds), 512, np.float16))
        np.save(home / f"vgg_features/rgb_features/{vid}.npy", rows(round(6 * seconds), 4096))
        np.savez(home / f"clip_text_features/qid{k}.npz", last_hidden_state=rows(5, 512, np.float16))
    families = ["slowfast-r50-caffe2", "clip-vit-b32", "clip-text", VGG]
    _, manifest = charades(tmp_path, tmp_path / "in", families)
    assert {name: n for name, n in manifest["counts"].items() if name.endswith("_arrays")} == {
        f"{family}_arrays": 3 for family in families
    }
    assert store_of(tmp_path, "slowfast-r50-caffe2", "charades_sta", "1s").n_rows("0A8CF") == 5
    assert store_of(tmp_path, VGG, "charades_sta", "1-6s").n_rows("0A8CF") == 30
    assert store_of(tmp_path, "clip-text", "charades_sta", "tokens").entry("0").pooled is None


@pytest.mark.parametrize(("configured", "derived"), [("1s", "0.167"), ("0.5s", "0.167"), ("2s", "0.167")])
def test_a_grid_that_is_not_the_files_own_is_refused_with_both_lengths(tmp_path, configured, derived):
    umt(tmp_path / "in")
    lengths = rf"a row per {derived} s \(.* of 3 videos\) where {configured.removesuffix('s')} s are configured"
    with pytest.raises(PipelineError, match=f"umt: {VGG} has {lengths} → set its grid"):
        charades(tmp_path, tmp_path / "in", [VGG], **{VGG: configured})


@pytest.mark.parametrize(("seconds_per_row", "is_refused"), [(0.91, False), (1.09, False), (0.89, True), (1.11, True)])
def test_ten_percent_off_is_the_limit(seconds_per_row, is_refused):
    lengths = [seconds_per_row, 5.0, 0.1]
    if is_refused:
        with pytest.raises(PipelineError, match="median of 3 videos"):
            checked.check_grid("umt", VGG, "1s", lengths)
    else:
        checked.check_grid("umt", VGG, "1s", lengths)


def test_the_datasets_own_text_files_are_rows_in_order_of_their_numbers(tmp_path):
    expected = {vid: frames(tmp_path / "in", vid, round(6 * s), k) for k, (vid, s) in enumerate(DURATIONS.items())}
    charades(tmp_path, tmp_path / "in", [VGG])
    store = store_of(tmp_path, VGG, "charades_sta", "1-6s")
    for vid, values in expected.items():
        np.testing.assert_array_equal(store.read(vid), np.array(values, np.float32))


def lose(number):
    return lambda folder: (folder / f"0A8CF-{number:06d}.txt").unlink()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lose(9), "has no frame 9 before 0A8CF-000013.txt"),
        (lose(1), "has no frame 1 before 0A8CF-000005.txt"),
        (lambda folder: [path.unlink() for path in folder.iterdir()], "holds no text file of a frame"),
        (lambda folder: (folder / "0A8CF-000005.txt").write_text("1 2 x"), "0A8CF-000005.txt holds no numbers"),
        (lambda folder: (folder / "0A8CF-000005.txt").write_text("1 2"), "0A8CF-000005.txt has another length"),
        (lambda folder: (folder / "cover.txt").write_text("1 2"), "cover"),
    ],
)
def test_a_folder_that_is_not_whole_is_broken(tmp_path, damage, reason):
    layout = FRAMES[VGG]
    frames(tmp_path, "0A8CF", 4)
    damage(layout.path(tmp_path, "0A8CF", 0))
    with pytest.raises(ValueError, match=reason):
        read_released(layout.path(tmp_path, "0A8CF", 0), layout)


def test_families_from_a_word_table_have_no_place_and_other_words_have_one():
    known = {family for dataset in DATASETS.values() for archive in dataset.archives for family in archive}
    words = {family for family, kind in FAMILIES.items() if kind.reader == "words"}
    assert {family for family in words if FAMILIES[family].from_word_table} == words - known
    assert all(kind.instead_of in known for kind in FAMILIES.values() if kind.instead_of)
