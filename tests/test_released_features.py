"""Released archives become stores: every file is counted or listed, and families of the same shape are not mixed."""

from __future__ import annotations

import numpy as np
import pytest
from released_archive import CLIPS, TVSUM, report, rows, run, store_of, tvsum_archive

from pipeline import provenance, records
from pipeline.errors import PipelineError
from pipeline.features.store import Store


def test_every_family_becomes_stores_that_name_the_archive(tmp_path):
    ran, manifest = run(tmp_path, tvsum_archive(tmp_path / "in"))
    assert ran
    assert manifest["counts"] == {f"{family}_arrays": 5 for family in TVSUM}
    store = store_of(tmp_path, "i3d-inception-rgb-tvsum")
    assert (store.passport.origin, store.passport.weights, store.passport.dtype) == ("umt", "released", "float32")
    assert {vid: store.n_rows(vid) for vid in CLIPS} == CLIPS
    assert store.problems() == []
    np.testing.assert_array_equal(store.read("-a"), rows(5, 1024, np.float64).astype(np.float32))
    words = store_of(tmp_path, "clip-token-table", grid="tokens")
    assert words.passport.dtype == "float16"
    assert words.read("c").shape == (6, 512)
    assert words.entry("c").pooled.shape == (512,)


@pytest.mark.parametrize("top", ["", "tvsum", "data/tvsum"])
def test_an_archive_may_have_folders_on_top(tmp_path, top):
    tvsum_archive(tmp_path / "in" / top)
    assert run(tmp_path, tmp_path / "in")[0]


def test_an_unpacked_archive_is_found_through_its_manifest(tmp_path):
    home = tmp_path / "resources" / "umt"
    tvsum_archive(home / "files")
    (home / "index.csv").write_text("member,bytes\n")
    provenance.run_stage("unpack", home / "unpack.json", lambda: provenance.Outcome([home / "index.csv"]))
    assert run(tmp_path, home / "unpack.json")[1]["counts"]["pann-cnn14_arrays"] == 5


def test_the_second_import_finds_nothing_to_do(tmp_path):
    folder = tvsum_archive(tmp_path / "in")
    assert run(tmp_path, folder)[0]
    assert not run(tmp_path, folder)[0]


def test_what_is_missing_broken_or_of_another_length_is_listed_at_once(tmp_path):
    folder = tvsum_archive(tmp_path / "in")
    (folder / "video_features/-a_rgb.npy").unlink()
    (folder / "video_features/_b_rgb.npy").write_bytes(b"\x93NUMPY")
    np.save(folder / "audio_features/-a.npy", rows(6, 2048))
    np.save(folder / "audio_features/c.npy", rows(9, 2048))
    np.save(folder / "video_features/-a_opt.npy", rows(5, 2048))
    np.save(folder / "video_features/c_opt.npy", np.full((4, 1024), np.nan))
    np.savez(folder / "query_features/_b.npz", last_hidden_state=rows(6, 512), text=rows(1, 512))
    _, manifest = run(tmp_path, folder)
    found = {(row["family"], row["key"]): (row["finding"], row["detail"]) for row in report(tmp_path)}
    assert found["i3d-inception-rgb-tvsum", "-a"] == ("missing", "no such file")
    assert found["i3d-inception-rgb-tvsum", "_b"][0] == "broken"
    assert found["pann-cnn14", "-a"] == ("one row off", "6 rows where the annotations have 5 clips")
    assert found["pann-cnn14", "c"] == (
        "length",
        "9 rows where the annotations have 4 clips, allowed: 1 apart; "
        "i3d-inception-rgb-tvsum has 4 (video_features/c_rgb.npy)",
    )
    assert found["i3d-inception-flow-tvsum", "-a"][1] == "float32 [5, 2048] where floats [n, 1024] are expected"
    assert found["i3d-inception-flow-tvsum", "c"] == ("broken", "holds NaN or infinity")
    assert found["clip-token-table", "_b"][1] == "has no array token"
    assert len(found) == 7
    assert len(manifest["skipped"]) == 6
    assert {"vid": "-a", "why": "i3d-inception-rgb-tvsum, video_features/-a_rgb.npy: no such file"} in manifest[
        "skipped"
    ]
    assert store_of(tmp_path, "pann-cnn14").keys() == ["-a", "_b", "d", "e"]


def test_nothing_in_an_archive_is_unpickled(tmp_path):
    folder = tvsum_archive(tmp_path / "in")
    np.save(folder / "audio_features/c.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    run(tmp_path, folder)
    (row,) = report(tmp_path)
    assert (row["finding"], row["key"]) == ("broken", "c")
    assert "allow_pickle" in row["detail"]


@pytest.mark.parametrize(
    ("families", "message"),
    [
        (["clip-text"], "released archives of tvsum have no place for it"),
        (TVSUM, "in: holds no query_features → name the folder"),
    ],
)
def test_a_wrong_family_or_folder_is_refused(tmp_path, families, message):
    (tmp_path / "in").mkdir()
    with pytest.raises(PipelineError, match=message):
        run(tmp_path, tmp_path / "in", families=families)


def test_an_archive_of_other_videos_is_refused(tmp_path):
    folder = tvsum_archive(tmp_path / "in", {"elsewhere": 4})
    with pytest.raises(PipelineError, match="none of 5 files of clip-token-table can be imported"):
        run(tmp_path, folder)


QVHIGHLIGHTS = ["slowfast-r50-caffe2", "clip-vit-b32", "clip-text", "pann-cnn14"]
VID = "-_NaMhcMCdPI_60.0_210.0"


def qvhighlights_archive(top, slowfast=75, pann=74):
    for name in ("slowfast_features", "clip_features", "clip_text_features", "pann_features"):
        (top / name).mkdir(parents=True)
    np.savez(top / f"slowfast_features/{VID}.npz", features=rows(slowfast, 2304, np.float16))
    np.savez_compressed(top / f"clip_features/{VID}.npz", features=rows(75, 512, np.float16))
    np.save(top / f"pann_features/{VID}.npy", rows(pann, 2048))
    states = {"last_hidden_state": rows(9, 512, np.float16), "pooler_output": rows(1, 512, np.float16)[0]}
    np.savez(top / "clip_text_features/qid7.npz", **states)
    return [{"qid": 7, "query": "t", "vid": VID, "duration": 150}]


@pytest.mark.parametrize("top", ["features", "", "data/qvhighlights"])
def test_qvhighlights_archives_are_read_by_vid_and_qid(tmp_path, top):
    queries = qvhighlights_archive(tmp_path / "in" / top)
    run(tmp_path, tmp_path / "in", "qvhighlights", QVHIGHLIGHTS, queries)
    slowfast = store_of(tmp_path, "slowfast-r50-caffe2", "qvhighlights")
    assert (slowfast.passport.origin, slowfast.passport.dtype) == ("umt", "float16")
    np.testing.assert_array_equal(slowfast.read(VID), rows(75, 2304, np.float16))
    words = store_of(tmp_path, "clip-text", "qvhighlights", "tokens")
    assert words.keys() == ["7"]
    np.testing.assert_array_equal(words.entry("7").pooled, rows(1, 512, np.float16)[0])
    (row,) = report(tmp_path, "qvhighlights")
    assert (row["family"], row["finding"], row["file"]) == ("pann-cnn14", "one row off", f"pann_features/{VID}.npy")


def test_streams_that_lie_apart_are_one_line_with_vid_files_and_lengths(tmp_path, capsys):
    queries = qvhighlights_archive(tmp_path / "in", slowfast=71)
    queries.append({"qid": 8, "query": "t", "vid": "whole", "duration": 10})
    np.savez(tmp_path / "in/slowfast_features/whole.npz", features=rows(5, 2304, np.float16))
    run(tmp_path, tmp_path / "in", "qvhighlights", QVHIGHLIGHTS, queries)
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith(f"vid {VID}")]
    assert said == [
        f"vid {VID}: length: slowfast-r50-caffe2, slowfast_features/{VID}.npz: 71 rows where the annotations have 75"
        " clips, allowed: 1 apart; "
        f"clip-vit-b32 has 75 (clip_features/{VID}.npz), pann-cnn14 has 74 (pann_features/{VID}.npy)"
    ]


def test_files_that_no_annotation_asks_for_are_counted(tmp_path):
    queries = qvhighlights_archive(tmp_path / "in")
    np.savez(tmp_path / "in/clip_features/nobody.npz", features=rows(5, 512))
    _, manifest = run(tmp_path, tmp_path / "in", "qvhighlights", QVHIGHLIGHTS, queries)
    assert {name: n for name, n in manifest["counts"].items() if "unasked" in name} == {"clip-vit-b32_unasked": 1}


def test_a_compressed_file_with_a_flipped_bit_is_broken_not_a_crash(tmp_path):
    queries = qvhighlights_archive(tmp_path / "in")
    path = tmp_path / f"in/clip_features/{VID}.npz"
    damaged = bytearray(path.read_bytes())
    damaged[300:340] = bytes(40)
    path.write_bytes(damaged)
    with pytest.raises(PipelineError, match=r"none of 1 file of clip-vit-b32 can be imported; the first: .* cannot"):
        run(tmp_path, tmp_path / "in", "qvhighlights", ["clip-vit-b32"], queries)


def test_rows_of_an_archive_and_of_our_own_never_mix(tmp_path):
    from dataclasses import replace

    from pipeline.features.store.writer import StoreWriter

    run(tmp_path, tvsum_archive(tmp_path / "in"), families=["pann-cnn14"], shards=1)
    released = store_of(tmp_path, "pann-cnn14")
    with StoreWriter(tmp_path / "own.h5", replace(released.passport, origin="raw")) as own:
        own.add("x", rows(2, 2048))
    with pytest.raises(PipelineError, match="origin: raw ≠ umt"):
        Store([tmp_path / "features/tvsum/2s/pann-cnn14+umt/00000.h5", tmp_path / "own.h5"])


def test_the_real_tvsum_archive_is_whole_but_for_one_row(tmp_path, shared_data):
    queries = [
        row | {"duration": 2 * row["duration"]}
        for split in ("train", "val")
        for _, row in records.read_jsonl(shared_data / "annotations" / f"tvsum_{split}.jsonl")
    ]
    _, manifest = run(tmp_path, shared_data / "features" / "tvsum", queries=queries, shards=4)
    assert manifest["counts"] == {f"{family}_arrays": 50 for family in TVSUM} | {"pann-cnn14_one_row_off": 1}
    assert manifest["skipped"] == []
    (row,) = report(tmp_path)
    assert (row["key"], row["detail"]) == ("kLxoNp-UchI", "65 rows where the annotations have 64 clips")
    store = store_of(tmp_path, "i3d-inception-rgb-tvsum")
    assert sum(map(store.n_rows, store.keys())) == 6266
    video = np.load(shared_data / "features/tvsum/video_features/-esJrBWj2d8_rgb.npy")
    np.testing.assert_array_equal(store.read("-esJrBWj2d8"), video)
