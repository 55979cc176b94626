"""Extraction of a shard: one decode, stores that match their segments, and only what is stale made again."""

from __future__ import annotations

import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import fake_encoders
import numpy as np
import pytest
import stage_jobs
from made_videos import decoded, make_video
from small_extraction import RANDOM, SETTINGS, annotations, run, run_words, store_of, write_videos

from pipeline import config, files, provenance
from pipeline.encoders.base import Weights
from pipeline.errors import PipelineError
from pipeline.families import FAMILIES, Family
from pipeline.features.making.own_file import extract_own
from pipeline.features.store import Store
from pipeline.video import ahead, frame_grid

DURATIONS = {"-a": 6, "b_": 4, "00607": 9, "d": 2}


@pytest.fixture(autouse=True)
def fakes(monkeypatch):
    fakes = {"clip-vit-b32": "fake_encoders:MeanColour", "clip-text": "fake_encoders:Letters"}
    fake_encoders.take_the_place(fakes, monkeypatch.setitem)
    fake_encoders.CALLS.clear()


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    return {vid: make_video(folder / f"{vid}.mp4", range(0, 600 * s, 20)) for vid, s in DURATIONS.items()}


def test_every_clip_has_the_row_of_its_middle_frame(tmp_path, clips):
    _, manifest = run(tmp_path, write_videos(tmp_path, clips))
    assert manifest["counts"] == {"clip-vit-b32_arrays": 4, "clip-vit-b32_rows": 3 + 2 + 5 + 1}
    assert manifest["skipped"] == []
    with Store([store_of(tmp_path)]) as store:
        assert store.passport.weights == "random:7"
        assert {vid: store.n_rows(vid) for vid in clips} == {"-a": 3, "b_": 2, "00607": 5, "d": 1}
        assert store.problems() == []
        for vid, path in clips.items():
            blue = [frame.to_ndarray(format="rgb24")[:, :, 2].mean() for frame in decoded(path)]
            middles = [blue[30 + 60 * n - 1] for n in range(store.n_rows(vid))]
            if DURATIONS[vid] > 2:  # the rule for very short videos takes others
                np.testing.assert_allclose(store.read(vid)[:, 2], middles, atol=3)
            assert store.attributes(vid)["source"] == files.sha256(path)
            assert store.attributes(vid)["decoder"].split()[0] == "pyav"


def test_batches_never_cross_the_borders_of_videos(tmp_path, clips):
    run(tmp_path, write_videos(tmp_path, clips))
    assert sorted(fake_encoders.CALLS) == [1, 1, 2, 3, 4]


def test_a_second_run_finds_nothing_to_do_and_a_forced_one_gives_equal_bytes(tmp_path, clips):
    segments = write_videos(tmp_path, clips)
    run(tmp_path, segments)
    before = store_of(tmp_path).read_bytes()
    assert not run(tmp_path, segments)[0]
    store_of(tmp_path).unlink()
    assert run(tmp_path, segments)[0]
    assert store_of(tmp_path).read_bytes() == before


def test_only_a_video_that_changed_is_encoded_again(tmp_path, clips):
    run(tmp_path, write_videos(tmp_path, clips))
    fake_encoders.CALLS.clear()
    changed = clips | {"d": make_video(tmp_path / "d.mp4", range(0, 2400, 20))}
    run(tmp_path, write_videos(tmp_path, changed))
    assert fake_encoders.CALLS == [2]
    assert Store([store_of(tmp_path)]).n_rows("d") == 2


def test_other_weights_make_everything_anew_under_another_passport(tmp_path, clips):
    segments = write_videos(tmp_path, clips)
    run(tmp_path, segments)
    run(tmp_path, segments, config.Encoding(weights={"clip-vit-b32": "random:8"}))
    store = Store([store_of(tmp_path)])
    assert (store.passport.weights, store.passport.dtype) == ("random:8", "float16")
    assert store.read("d")[0, 3] == 8


def test_a_longer_patience_encodes_nothing_again(tmp_path, clips):
    segments = write_videos(tmp_path, clips)
    run(tmp_path, segments)
    fake_encoders.CALLS.clear()
    assert run(tmp_path, segments, RANDOM.model_copy(update={"seconds_per_video": 10}))[0]
    assert fake_encoders.CALLS == []


def test_bad_videos_are_listed_with_their_reasons_and_the_job_goes_on(tmp_path, clips):
    half = tmp_path / "half.mp4"
    half.write_bytes(clips["-a"].read_bytes()[:3000])
    _, manifest = run(tmp_path, write_videos(tmp_path, clips | {"half": half}))
    assert manifest["counts"] == {"clip-vit-b32_arrays": 4, "clip-vit-b32_rows": 11}
    assert [row["vid"] for row in manifest["skipped"]] == ["half"]
    assert manifest["skipped"][0]["why"].startswith("corrupt: cannot be read as video")


def test_a_video_with_other_bytes_than_the_account_says_gets_no_rows_and_all_others_are_kept(tmp_path, clips):
    mine = make_video(tmp_path / "x.mp4", range(0, 600 * 10, 20))
    segments = write_videos(tmp_path, clips | {"x": mine})
    whole = mine.read_bytes()
    mine.write_bytes(whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:])
    with pytest.raises(PipelineError, match=r"video x: .*x\.mp4 has other bytes than when it was looked at; the other"):
        run(tmp_path, segments)
    assert "x" not in Store([store_of(tmp_path)]) and len(Store([store_of(tmp_path)])) == len(clips)
    mine.write_bytes(whole)
    assert run(tmp_path, segments)[0]
    assert Store([store_of(tmp_path)]).n_rows("x") == 5


def test_files_that_are_away_fail_the_job_with_all_others_kept_and_are_read_when_they_are_back(tmp_path, clips):
    paths = {vid: shutil.copy2(path, tmp_path) for vid, path in clips.items()}
    segments = write_videos(tmp_path, {vid: Path(path) for vid, path in paths.items()})
    away = [Path(paths[vid]) for vid in ("-a", "d")]
    for path in away:
        path.rename(path.with_suffix(".away"))
    with pytest.raises(PipelineError, match=r"video -a: no such video file, and 1 more; the other videos' rows are"):
        run(tmp_path, segments)
    assert Store([store_of(tmp_path)]).keys() == ["00607", "b_"]
    fake_encoders.CALLS.clear()
    for path in away:
        path.with_suffix(".away").rename(path)
    _, manifest = run(tmp_path, segments)
    assert manifest["counts"]["clip-vit-b32_arrays"] == 4
    assert sorted(fake_encoders.CALLS) == [1, 3]


def kill_the_decoder_of(vid, number, monkeypatch):
    """Let the decoder of one video send this signal to its process. It is forked, so that it sees the change."""

    def sampling(facts, clip_s):
        if facts.path.stem == vid:
            if number != signal.SIGKILL:
                signal.signal(number, signal.SIG_DFL)  # pytest's handler would print the stack
            os.kill(os.getpid(), number)
        return frame_grid.middle_frames(facts, clip_s)

    monkeypatch.setitem(frame_grid.SAMPLINGS, "middle", sampling)
    monkeypatch.setattr(ahead, "START", multiprocessing.get_context("fork"))


def test_a_decoder_that_was_killed_fails_the_job_with_all_others_kept(tmp_path, clips, monkeypatch):
    segments = write_videos(tmp_path, clips)
    with monkeypatch.context() as patch:
        kill_the_decoder_of("b_", signal.SIGKILL, patch)
        with pytest.raises(PipelineError, match=r"video b_: decoding was killed \(SIGKILL\); .* give the job more mem"):
            run(tmp_path, segments)
    fake_encoders.CALLS.clear()
    assert run(tmp_path, segments)[1]["counts"]["clip-vit-b32_arrays"] == 4
    assert fake_encoders.CALLS == [2]


def test_a_video_that_crashes_its_decoder_is_counted_and_tried_again_at_the_next_start(tmp_path, clips, monkeypatch):
    segments = write_videos(tmp_path, clips)
    with monkeypatch.context() as patch:
        kill_the_decoder_of("b_", signal.SIGSEGV, patch)
        _, manifest = run(tmp_path, segments)
    assert manifest["counts"] == {"clip-vit-b32_arrays": 3, "clip-vit-b32_rows": 9, "failed": 1}
    assert manifest["skipped"] == [{"vid": "b_", "why": "decoding crashed (SIGSEGV)"}]
    fake_encoders.CALLS.clear()
    ran, manifest = run(tmp_path, segments)
    assert (ran, fake_encoders.CALLS) == (True, [2])
    assert manifest["counts"] == {"clip-vit-b32_arrays": 4, "clip-vit-b32_rows": 11}
    assert not run(tmp_path, segments)[0]


def test_a_video_whose_rows_float16_cannot_hold_is_left_out_with_the_reason(tmp_path, clips, monkeypatch):
    class Loud(fake_encoders.MeanColour):
        def encode(self, frames):
            rows = super().encode(frames)
            rows[0, 4] = 1e6 if len(fake_encoders.CALLS) == 1 else 0
            return rows

    monkeypatch.setattr(fake_encoders, "MeanColour", Loud)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # one call after the other
    segments = write_videos(tmp_path, clips)
    _, manifest = run(tmp_path, segments, RANDOM.model_copy(update={"dtype": "float16"}))
    assert manifest["counts"]["clip-vit-b32_arrays"] == 3
    (left_out,) = manifest["skipped"]
    assert left_out["why"].startswith("clip-vit-b32: 1 of ")
    assert left_out["why"].endswith("rows hold NaN or infinity as float16")


def test_rows_of_nan_are_no_videos_fault_and_stop_the_job(tmp_path, clips, monkeypatch):
    class Broken(fake_encoders.MeanColour):
        def encode(self, frames):
            return super().encode(frames) * np.nan

    monkeypatch.setattr(fake_encoders, "MeanColour", Broken)
    with pytest.raises(PipelineError, match="rows hold NaN or infinity"):
        run(tmp_path, write_videos(tmp_path, clips))


def test_an_empty_shard_has_an_empty_store(tmp_path):
    _, manifest = run(tmp_path, write_videos(tmp_path, {}))
    assert manifest["counts"] == {"clip-vit-b32_arrays": 0, "clip-vit-b32_rows": 0}
    assert Store([store_of(tmp_path)]).keys() == []


def test_several_families_share_one_decode_and_only_the_stale_one_runs_again(tmp_path, clips, monkeypatch):
    place = "fake_encoders:EveryFrame"
    eights = Family(reader="frames224", dim=512, encoder=place, weights=("clip-vit-b32",), **fake_encoders.light(place))
    monkeypatch.setitem(FAMILIES, "eights", eights)
    monkeypatch.setitem(frame_grid.SAMPLINGS, "eights", fake_encoders.eights)
    monkeypatch.setattr(ahead, "START", multiprocessing.get_context("fork"))
    dataset = SETTINGS.model_copy(update={"grids": {"eights": "0.5s"}})
    paths = {
        "-a": make_video(tmp_path / "a.mp4", range(0, 3600, 37)),
        "b_": make_video(tmp_path / "b.mp4", range(0, 2400, 37)),
    }
    segments = write_videos(tmp_path, paths)
    table = tmp_path / "videos" / "qvhighlights" / "00000.json"
    about = {"dataset": "qvhighlights", "shard": "00000"}
    stage_jobs.run("segment", tmp_path, segments, {"videos": table}, {"grids": ["2s", "0.5s"]}, **about)
    both = ("clip-vit-b32", "eights")
    run(tmp_path, segments, families=both, dataset=dataset)
    with Store([store_of(tmp_path, "eights", "0.5s")]) as dense, Store([store_of(tmp_path)]) as sparse:
        assert dense.n_rows("-a") == 98 // 8
        assert sparse.n_rows("-a") == 3
        blue = [frame.to_ndarray(format="rgb24")[:, :, 2].mean() for frame in decoded(paths["-a"])]
        np.testing.assert_allclose(dense.read("-a")[:, 2], np.reshape(blue[:96], (-1, 8)).mean(axis=1), atol=3)
    fake_encoders.CALLS.clear()
    monkeypatch.setitem(FAMILIES, "eights", replace(eights, revision=2))
    run(tmp_path, segments, families=both, dataset=dataset)
    assert sum(fake_encoders.CALLS) == sum(Store([store_of(tmp_path, "eights", "0.5s")]).n_rows(v) for v in paths)


def test_kill_minus_nine_loses_only_the_videos_at_hand(tmp_path, clips):
    segments = write_videos(tmp_path, clips)
    script = (
        "import small_extraction as t, fake_encoders\nfrom pathlib import Path\n"
        "fake_encoders.take_the_place({'clip-vit-b32': 'fake_encoders:KillsItself'})\n"
        f"t.run(Path({str(tmp_path)!r}), Path({str(segments)!r}))\n"
    )
    here = Path(__file__).parent
    killed = subprocess.run(
        [sys.executable, "-c", script],
        cwd=here.parent,
        env=os.environ | {"PYTHONPATH": f"{here}:{here.parent}"},
        check=False,
    )
    assert killed.returncode == -9
    assert not store_of(tmp_path).exists()
    ran, manifest = run(tmp_path, segments)
    assert ran
    assert manifest["counts"]["clip-vit-b32_arrays"] == 4
    assert sum(fake_encoders.CALLS) <= 11


def test_queries_of_all_splits_are_encoded_with_their_pooled_vector(tmp_path):
    manifests = annotations(tmp_path, train=[(1, "a dog runs", "x"), (2, "no", "y")], val=[(3, "Ž & 'so'", "x")])
    store = Store([run_words(tmp_path, manifests)])
    assert store.keys() == ["1", "2", "3"]
    assert store.read("1")[:, 0].tolist() == [1, 3, 4]
    assert store.entry("1").pooled[0] == 8
    assert store.attributes("3") == {"query": "Ž & 'so'"}


def test_a_query_lives_in_the_shard_of_its_video(tmp_path):
    manifests = annotations(tmp_path, val=[(k, "a b", f"vid{k % 7}") for k in range(40)])
    shards = [Store([run_words(tmp_path, manifests, f"{k:05d}", 3)]).keys() for k in range(3)]
    assert sorted(qid for keys in shards for qid in keys) == sorted(map(str, range(40)))
    assert all(len({k for k, keys in enumerate(shards) for q in keys if int(q) % 7 == v}) == 1 for v in range(7))


def test_one_qid_with_two_texts_is_refused(tmp_path):
    with pytest.raises(PipelineError, match="qid 1 has two texts"):
        run_words(tmp_path, annotations(tmp_path, train=[(1, "a", "x")], val=[(1, "b", "x")]))


def test_a_family_of_another_reader_is_refused(tmp_path):
    with pytest.raises(PipelineError, match="pann-cnn14: reader frames224 does not make it → name families of"):
        run(tmp_path, tmp_path, families=["pann-cnn14"])


def test_a_weight_file_is_read_for_its_digest_once_and_only_for_work(tmp_path, clips, work_done):
    folder = tmp_path / "resources" / "clip-vit-b32"
    folder.mkdir(parents=True)
    (folder / "weights.bin").write_bytes(b"numbers")
    fetched = provenance.Outcome([folder / "weights.bin"])
    provenance.run_stage("fetch", folder / "fetch.json", lambda: fetched)
    segments = write_videos(tmp_path, {"d": clips["d"]})
    work_done()
    assert run(tmp_path, segments, config.Encoding(), weights=[folder / "fetch.json"])[0]
    lines = work_done()
    assert [line["family"] for line in lines if line["what"] == "encoded"] == ["clip-vit-b32"]
    assert [Path(line["path"]).name for line in lines if line["what"] == "hashed"].count("weights.bin") == 1
    assert not run(tmp_path, segments, config.Encoding(), weights=[folder / "fetch.json"])[0]
    assert "weights.bin" not in [Path(line["path"]).name for line in work_done("hashed")]
    weights = files.sha256(folder / "weights.bin")
    assert Store([store_of(tmp_path)]).passport.weights == weights


def test_released_weights_that_are_not_there_are_an_error(tmp_path, clips):
    segments = write_videos(tmp_path, clips)
    with pytest.raises(PipelineError, match="no weight file"):
        run(tmp_path, segments, config.Encoding())


def test_a_results_folder_that_cannot_be_written_is_named(tmp_path, clips):
    segments = write_videos(tmp_path, clips)
    (tmp_path / "features").mkdir()
    (tmp_path / "features" / "qvhighlights").write_text("a file where a folder should be")
    with pytest.raises(PipelineError, match=r"features/qvhighlights.* cannot be written"):
        run(tmp_path, segments)


def test_one_file_of_ones_own(tmp_path, clips):
    weights = Weights.named("random:0", None)
    store = extract_own(clips["-a"], "clip-vit-b32", "1s", weights, tmp_path / "own.h5")
    assert store.n_rows("-a") == 6
    half = tmp_path / "half.mp4"
    half.write_bytes(clips["-a"].read_bytes()[:3000])
    with pytest.raises(PipelineError, match=r"half.mp4: cannot be read as video"):
        extract_own(half, "clip-vit-b32", "1s", weights, tmp_path / "half.h5")


def test_a_file_whose_name_is_no_utf8_has_a_readable_key(tmp_path, clips):
    path = tmp_path / b"f\xfcr.mp4".decode("utf-8", "surrogateescape")
    shutil.copy2(clips["d"], path)
    store = extract_own(path, "clip-vit-b32", "2s", Weights.named("random:0", None), tmp_path / "own.h5")
    assert store.keys() == [r"f\xfcr"]


def test_real_videos_have_the_rows_of_the_published_features(tmp_path, shared_data):
    paths = {path.stem: path for path in sorted((shared_data / "videos").glob("*.*"))}
    _, manifest = run(tmp_path, write_videos(tmp_path, paths))
    assert manifest["skipped"] == []
    store = Store([store_of(tmp_path)])
    assert {vid: store.n_rows(vid) for vid in paths} == {
        "big_buck_bunny_0_30": 15,
        "big_buck_bunny_432_433": 1,
        "charades": 15,
        "test": 3,
        "v_GGSY1Qvo990": 9,
        "v_ZNVhz7ctTq0": 7,
        "women_long_jump": 18,
    }
    published = np.load(shared_data / "videos" / "paired" / "charades_clip_vit_b32.npz")
    assert len(published[published.files[0]]) == store.n_rows("charades")


@pytest.mark.usefixtures("told_often")
def test_an_extraction_writes_its_progress_into_the_log(tmp_path, clips, capfd):
    run(tmp_path, write_videos(tmp_path, {"d": clips["d"]}))
    assert re.search(r"^clip-vit-b32: 1 of 1 video,", capfd.readouterr().err, re.MULTILINE)
