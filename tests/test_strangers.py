"""Strangers' videos through account, segments and both readers: a correct result or one line with the reason.

`pytest tests/test_strangers.py -s -k matrix` prints the table.
"""

from __future__ import annotations

from pathlib import Path

import fake_encoders
import numpy as np
import pytest
import small_extraction
import stage_jobs
from made_videos import decoded
from videos_of_strangers import CASES

from pipeline import config, files, records
from pipeline.features.making.sound import REPORT_COLUMNS
from pipeline.features.store import Store
from pipeline.layout.places import StorePlace
from pipeline.methods.settings import Normalisation
from pipeline.video.segment import read_segments, read_videos

SETTINGS = config.Dataset(shards=1, annotations={"val": "x"}, grids={})
RANDOM = config.Encoding(dtype="float32", weights={"clip-vit-b32": "random:7", "pann-cnn14": "random:7"})
FAMILIES = {"frames224": "clip-vit-b32", "sound": "pann-cnn14"}


@pytest.fixture(scope="module", autouse=True)
def fakes():
    """Encoders whose rows show what they were given."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        fake_encoders.take_the_place(fake_encoders.FAKES, monkeypatch.setitem)
        yield


VIDS = {case.what.replace(" ", "_").replace(",", ""): case for case in CASES}


def run(results, segments, reader):
    manifest = results / "features" / "qvhighlights" / reader / "00000.json"
    settings = {"dataset": SETTINGS, "families": [FAMILIES[reader]], "encoding": RANDOM}
    about = {"dataset": "qvhighlights", "shard": "00000", "reader": reader}
    stage_jobs.run("extract", results, manifest, {"inputs": segments}, settings, **about)
    return files.read_json(manifest)


@pytest.fixture(scope="module")
def matrix(tmp_path_factory):
    """All cases through account, segments and both readers, in one shard: (results, paths, manifest per reader)."""
    results, home = tmp_path_factory.mktemp("results"), tmp_path_factory.mktemp("strangers")
    paths = {}
    for vid, case in VIDS.items():
        (home / vid).mkdir()
        paths[vid] = case.make(home / vid / case.file)
    segments = small_extraction.write_videos(results, paths)
    return results, paths, {reader: run(results, segments, reader) for reader in FAMILIES}


def store_of(results, reader):
    return Store([results / "features" / "qvhighlights" / "2s" / FAMILIES[reader] / "00000.h5"])


def reasons(manifest):
    return {row["vid"]: row["why"] for row in manifest["skipped"]}


def middle_blues(path, n_clips):
    """Blue of the last frame shown before each clip's middle, decoded by PyAV."""
    shown = [(frame.pts * frame.time_base, frame) for frame in decoded(path) if frame.pts >= 0]
    before = [[frame for time, frame in shown if time < 2 * n + 1] or [shown[0][1]] for n in range(n_clips)]
    return [frames[-1].to_ndarray(format="rgb24")[:, :, 2].mean() for frames in before]


@pytest.mark.parametrize("vid", VIDS)
def test_a_strangers_video_gets_the_right_frames_or_a_reason(matrix, vid):
    results, paths, manifests = matrix
    case = VIDS[vid]
    (row,) = [row for row in read_segments(results / "segments/qvhighlights/2s/00000.csv") if row.vid == vid]
    if isinstance(case.clips, str):
        assert row.status.startswith(case.clips)
        assert all(reasons(manifest)[vid] == row.status for manifest in manifests.values())
        return
    assert (row.status, row.n_clips) == ("ok", case.clips)
    rows = store_of(results, "frames224").read(vid)
    np.testing.assert_allclose(rows[:, 2], middle_blues(paths[vid], case.clips), atol=4)


@pytest.mark.parametrize("vid", [vid for vid, case in VIDS.items() if isinstance(case.clips, int)])
def test_a_strangers_sound_gets_the_right_rows_or_a_reason(matrix, vid):
    results, _, manifests = matrix
    case = VIDS[vid]
    if isinstance(case.sound, str):
        assert case.sound in reasons(manifests["sound"])[vid]
        assert vid not in store_of(results, "sound")
        return
    rows, attributes = store_of(results, "sound").read(vid), store_of(results, "sound").attributes(vid)
    assert len(rows) == case.sound
    assert attributes.get("finding", "") == case.finding
    first = 1 if vid == "edit_list" else 0  # its first 2 s are hidden
    expected = (np.arange(case.sound) + 1 + first) / 10 * 2 / np.pi * (case.finding != "no sound")
    if "one_frame" not in vid:
        np.testing.assert_allclose(rows[:, 0], expected, rtol=0.03)


def test_all_that_was_left_out_or_odd_is_counted_and_listed(matrix):
    results, _, manifests = matrix
    print("\n" + table(results, manifests))  # shown by -s
    bad = {vid for vid, case in VIDS.items() if isinstance(case.clips, str)}
    mute = {vid for vid, case in VIDS.items() if isinstance(case.sound, str)}
    assert set(reasons(manifests["frames224"])) == bad
    assert set(reasons(manifests["sound"])) == bad | mute
    assert manifests["frames224"]["counts"]["clip-vit-b32_arrays"] == len(VIDS) - len(bad)
    findings = [case.finding for case in VIDS.values() if case.finding]
    assert manifests["sound"]["counts"] == {
        "pann-cnn14_arrays": len(VIDS) - len(bad | mute),
        "pann-cnn14_rows": sum(case.sound for case in CASES if isinstance(case.clips, int) and case.sound in range(9)),
        "pann-cnn14_no_sound": findings.count("no sound"),
        "pann-cnn14_one_row_off": findings.count("one row off"),
    }
    report = (results / "features/qvhighlights/sound/00000.csv").read_text().splitlines()
    assert report[0] == ",".join(REPORT_COLUMNS)
    assert len(report) == 1 + len(findings)
    assert (
        "pann-cnn14,sound_goes_on,one row off,3 rows where its segments have 2 clips (its sound ends at" in report[-2]
    )


def test_nothing_in_a_name_is_run(matrix):
    results, paths, _ = matrix
    assert not list(results.rglob("pwned")) + list(paths["whole"].parents[1].rglob("pwned"))
    assert not Path("pwned").exists()


def test_the_sound_of_all_that_again_is_equal_bytes_and_a_second_run_a_no_op(matrix):
    results, _, _ = matrix
    segments = results / "segments" / "qvhighlights" / "00000.json"
    store = Path(store_of(results, "sound").entry("whole") and results / "features/qvhighlights/2s/pann-cnn14/00000.h5")
    report = results / "features/qvhighlights/sound/00000.csv"
    before = store.read_bytes(), report.read_bytes()
    store.unlink()
    run(results, segments, "sound")
    assert (store.read_bytes(), report.read_bytes()) == before
    time = store.stat().st_mtime_ns
    run(results, segments, "sound")
    assert store.stat().st_mtime_ns == time


def test_a_video_whose_sound_is_cut_short_costs_training_its_queries_and_no_more(matrix):
    pytest.importorskip("torch")
    from pipeline.training import data

    results, _, _ = matrix
    queries = [
        (1, "a b", "whole"),
        (2, "c", "sound_cut_short"),
        (3, "d", "no_sound"),
        (4, "e f", "sound_one_row_short"),
    ]
    splits = small_extraction.annotations(results, val=queries)
    small_extraction.run_words(results, splits)
    home = results / "features" / "qvhighlights"
    parts = {family: StorePlace(family, "2s") for family in FAMILIES.values()}
    parts["clip-text"] = StorePlace("clip-text", "tokens")
    manifests = [home / reader / "00000.json" for reader in (*FAMILIES, "words")]
    features = config.Features(video=["clip-vit-b32"], audio=["pann-cnn14"], text="clip-text")
    asked = records.read_queries(results / "annotations" / "qvhighlights" / "val.jsonl")
    with data.open_features(parts, manifests) as shelf:
        loaded = data.load(shelf, features, asked, training=config.Training(), normalisation=Normalisation())
    (line,) = loaded.skipped
    assert (line["qid"], line["vid"]) == ("2", "sound_cut_short")
    assert "1 row where its segments have 4 clips (its sound ends at 3.0" in line["why"]
    assert {query.vid: n for query, n in zip(loaded.queries, loaded.n_clips, strict=True)} == {
        "whole": 3,
        "no_sound": 3,
        "sound_one_row_short": 2,
    }


def table(results, manifests):
    """What every stranger came to, a line each, and the counts."""
    account = read_videos(results / "videos" / "qvhighlights" / "00000.csv")
    lines = [f"{'video':<24} {'account':<8} {'frames224':<24} sound"]
    for vid, case in VIDS.items():
        cells = []
        for reader, manifest in manifests.items():
            store = store_of(results, reader)
            if vid in store:
                found = store.attributes(vid)
                cells.append(
                    f"{store.n_rows(vid)} rows, {found['decoder']}"
                    + (f"; {found['finding']}" if "finding" in found else "")
                )
            else:
                cells.append(reasons(manifest)[vid])
        lines.append(f"{case.what:<24} {account[vid]['status']:<8} {cells[0]:<24} {cells[1]}")
    return "\n".join(
        [*lines, *(f"{reader}: {m['counts']}, left out {len(m['skipped'])}" for reader, m in manifests.items())]
    )
