"""The demo's benchmarks have the form of the released ones, are the same every time, and their videos show what the
queries say."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from pipeline import files
from pipeline.datasets import (
    charades_sta,
    qvhighlights,
    synthetic,
    synthetic_features,
    synthetic_plan,
    synthetic_video,
    tvsum,
)
from pipeline.datasets.rows import read

SEED = 2017


@pytest.fixture(scope="module")
def moments():
    return synthetic_plan.plan_qvhighlights(SEED)


@pytest.fixture(scope="module")
def highlights():
    return synthetic_plan.plan_tvsum(SEED)


@pytest.fixture(scope="module")
def homes():
    return synthetic_plan.plan_charades(SEED)


def read_back(folder: Path, dataset, made):
    synthetic.write_rows(folder / "rows.jsonl", made)
    return read(dataset.DATASET, folder / "rows.jsonl")


# plans and annotation rows


def test_qvhighlights_rows_pass_the_reader_of_the_released_files(moments, tmp_path):
    queries = {split: read_back(tmp_path, qvhighlights, made) for split, made in moments.rows.items()}
    assert {split: len(rows) for split, rows in queries.items()} == {"train": 71, "val": 23, "test": 23}
    assert [query.qid for rows in queries.values() for query in rows] == list(range(117))
    assert len(moments.videos) == 60


def test_tvsum_rows_pass_the_reader_of_the_released_files(highlights, tmp_path):
    for split, each in (("train", 4), ("val", 1)):
        queries = read_back(tmp_path, tvsum, highlights.rows[split])
        assert Counter(query.domain for query in queries) == dict.fromkeys(tvsum.DOMAINS, each)
        assert {query.duration for query in queries} <= {12.0, 14.0, 16.0}


def test_charades_rows_pass_the_reader_of_the_released_files(homes, tmp_path):
    queries = {split: read_back(tmp_path, charades_sta, made) for split, made in homes.rows.items()}
    assert {split: len(rows) for split, rows in queries.items()} == {"train": 24, "val": 8}
    assert [query.qid for rows in queries.values() for query in rows] == list(range(32))


def test_a_charades_window_is_that_of_the_colour_asked_for_up_to_a_third_of_a_second(homes):
    videos = {video.vid: video for video in homes.videos}
    assert len(videos) == 16
    for row in (row for rows in homes.rows.values() for row in rows):
        (event,) = [event for event in videos[row["vid"]].events if f" {event.colour} " in row["query"]]
        assert np.abs(np.subtract(event.window, row["relevant_windows"][0])).max() <= 0.35


def test_charades_archives_hold_a_row_for_each_step_of_their_grids(homes, tmp_path):
    few = synthetic_plan.Benchmark(homes.videos[:2], {"train": homes.rows["train"][:4]})
    paths = [tmp_path / name for name in ("vgg.zip", "i3d.zip", "sf_clip.zip")]
    synthetic_features.write_charades_archives(few, *paths)
    shapes = {}
    for path in paths:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                loaded = np.load(io.BytesIO(archive.read(name)))
                rows = loaded if isinstance(loaded, np.ndarray) else loaded[next(iter(loaded))]
                shapes.setdefault(name.rpartition("/")[0], set()).add((len(rows), rows.shape[1]))
    assert shapes["rgb_features"] == {(48, 4096)}
    assert shapes["audio_features"] == {(48, 2048)}
    assert shapes[""] == {(16, 1024)}
    assert (shapes["slowfast_features"], shapes["clip_features"]) == ({(8, 2304)}, {(8, 512)})
    assert {width for _, width in shapes["clip_text_features"]} == {512}


def test_rows_have_the_keys_of_the_released_files_in_their_order(moments, highlights):
    keys = ["qid", "query", "duration", "vid", "relevant_clip_ids", "saliency_scores", "relevant_windows"]
    assert list(moments.rows["train"][0]) == keys
    keys = ["qid", "query", "duration", "vid", "relevant_clip_ids", "relevant_windows", "label", "domain"]
    assert list(highlights.rows["val"][0]) == keys


def test_annotation_files_end_without_a_newline_like_the_released_ones(moments, tmp_path):
    synthetic.write_rows(tmp_path / "val.jsonl", moments.rows["val"])
    assert (tmp_path / "val.jsonl").read_text().count("\n") == len(moments.rows["val"]) - 1


def test_no_two_splits_share_a_youtube_video(moments):
    youtube = {split: {qvhighlights.split_vid(row["vid"])[0] for row in rows} for split, rows in moments.rows.items()}
    assert len(set.union(*youtube.values())) == sum(map(len, youtube.values())) == 20


def test_ids_include_one_that_looks_like_an_option(moments, highlights):
    for benchmark in (moments, highlights):
        assert any(video.vid.startswith("-") for video in benchmark.videos)


def test_a_query_names_the_colour_of_its_windows_and_of_no_other_time(moments):
    videos = {video.vid: video for video in moments.videos}
    for row in (row for rows in moments.rows.values() for row in rows):
        events = [event for event in videos[row["vid"]].events if f" {event.colour} " in row["query"]]
        assert [event.window for event in events] == row["relevant_windows"]


def test_every_video_has_one_large_event_in_each_half_of_two_colours(moments):
    for video in moments.videos:
        large = [event for event in video.events if event.scale == 1]
        assert [event.first // 5 for event in large] == [(event.clips[-1]) // 5 for event in large] == [0, 1]
        assert large[0].colour != large[1].colour


def test_small_events_have_colours_that_nobody_asks_for(moments):
    for video in moments.videos:
        asked = {event.colour for event in video.events if event.scale == 1}
        assert asked.isdisjoint(event.colour for event in video.events if event.scale < 1)
    assert sum(event.scale < 1 for video in moments.videos for event in video.events) > 100


def test_every_colour_is_asked_for_in_every_split(moments):
    for rows in moments.rows.values():
        assert all(any(f" {colour} " in row["query"] for row in rows) for colour in synthetic_plan.COLOURS)


def test_clips_that_show_the_domains_theme_are_rated_higher(highlights):
    videos = {video.vid: video for video in highlights.videos}
    for row in (row for rows in highlights.rows.values() for row in rows):
        rating = np.mean(row["label"], axis=1)
        shown = [event.colour in row["query"] for event in videos[row["vid"]].events for _ in event.clips]
        assert 0 < sum(shown) < len(shown)
        assert rating[shown].min() > rating[~np.array(shown)].max()


def test_another_seed_makes_another_benchmark(moments):
    assert synthetic_plan.plan_qvhighlights(SEED) == moments
    assert synthetic_plan.plan_qvhighlights(SEED + 1) != moments


# videos


@pytest.fixture(scope="module")
def encoded(moments, tmp_path_factory):
    pytest.importorskip("av")
    path = tmp_path_factory.mktemp("videos") / f"{moments.videos[0].vid}.mp4"
    synthetic_video.write_mp4(moments.videos[0], path)
    return path


def test_a_video_is_h264_and_aac_of_the_annotated_length(moments, encoded):
    import av

    with av.open(str(encoded)) as container:
        assert [stream.codec_context.name for stream in container.streams] == ["h264", "aac"]
        assert container.duration / av.time_base == pytest.approx(20, abs=0.1)
        frames = list(container.decode(video=0))
    assert (len(frames), frames[0].width, frames[0].height) == (20 * synthetic_video.FPS, 160, 120)


def test_decoded_frames_show_the_event_of_their_clip(moments, encoded):
    import av

    video = moments.videos[0]
    with av.open(str(encoded)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    for event in video.events:
        for clip in event.clips:
            middle = frames[int((clip + 0.5) * 2 * synthetic_video.FPS)].astype(int)
            away = np.abs(middle - synthetic_plan.COLOURS[event.colour]).max(axis=2)
            share = 0.15 if event.scale == 1 else 0.01
            assert (away < 40).mean() > share, f"clip {clip} does not show a {event.colour} {event.shape}"


def test_the_same_plan_gives_the_same_bytes(moments, encoded, tmp_path):
    synthetic_video.write_mp4(moments.videos[0], tmp_path / "again.mp4")
    assert files.sha256(tmp_path / "again.mp4") == files.sha256(encoded)


def test_each_colour_has_its_own_tone(moments):
    video = moments.videos[0]
    heard = {}
    for event in video.events:
        start, end = (second * synthetic_video.SAMPLE_RATE for second in event.window)
        spectrum = np.abs(np.fft.rfft(synthetic_video.sound(video)[start:end]))
        heard[event.colour] = spectrum.argmax() / (end - start) * synthetic_video.SAMPLE_RATE
    assert len({round(hertz) for hertz in heard.values()}) == len(heard)


def test_the_archive_of_equal_videos_has_equal_bytes_and_one_folder(tmp_path):
    video = tmp_path / "-a_60.0_80.0.mp4"
    video.write_bytes(b"not really a video")
    for name in ("one.tar.gz", "two.tar.gz"):
        synthetic.pack([video], tmp_path / name)
    assert (tmp_path / "one.tar.gz").read_bytes() == (tmp_path / "two.tar.gz").read_bytes()
    with tarfile.open(tmp_path / "one.tar.gz") as archive:
        assert archive.getnames() == ["videos/-a_60.0_80.0.mp4"]


# features


@pytest.fixture(scope="module")
def archive(highlights, tmp_path_factory):
    path = tmp_path_factory.mktemp("features") / "features.zip"
    few = synthetic_plan.Benchmark(highlights.videos[:15], highlights.rows)
    synthetic_features.write_tvsum_archive(few, path)
    with zipfile.ZipFile(path) as file:
        return {name: np.load(io.BytesIO(file.read(name)), allow_pickle=False) for name in file.namelist()}


def test_the_feature_archive_has_the_released_layout_and_widths(highlights, archive):
    video = highlights.videos[1]
    assert archive[f"video_features/{video.vid}_rgb.npy"].shape == (video.n_clips, 1024)
    assert archive[f"video_features/{video.vid}_opt.npy"].shape == (video.n_clips, 1024)
    assert archive[f"audio_features/{video.vid}.npy"].shape == (video.n_clips, 2048)
    words = archive[f"query_features/{video.vid}.npz"]
    assert words["token"].shape[1:] == (512,)
    assert words["text"].shape == (1, 512)
    assert words["token"].dtype == np.float16
    assert len(archive) == 4 * 15


def test_the_qvhighlights_archive_has_the_released_layout_and_widths(moments, tmp_path):
    few = synthetic_plan.Benchmark(moments.videos[:2], {"test": moments.rows["test"][:1]})
    synthetic_features.write_qvhighlights_archive(few, tmp_path / "features.zip")
    with zipfile.ZipFile(tmp_path / "features.zip") as file:
        made = {name: np.load(io.BytesIO(file.read(name)), allow_pickle=False) for name in file.namelist()}
    vid, qid = few.videos[0].vid, few.rows["test"][0]["qid"]
    assert made[f"slowfast_features/{vid}.npz"]["features"].shape == (10, 2304)
    assert made[f"clip_features/{vid}.npz"]["features"].shape == (10, 512)
    assert made[f"pann_features/{vid}.npy"].shape == (10, 2048)
    assert made[f"clip_text_features/qid{qid}.npz"]["pooler_output"].shape == (512,)
    assert len(made) == 3 * 2 + 1


def test_one_sound_track_has_a_row_too_many(highlights, archive):
    extra = [len(archive[f"audio_features/{v.vid}.npy"]) - v.n_clips for v in highlights.videos[:15]]
    assert sorted(extra) == [0] * 14 + [1]


def test_features_of_training_videos_predict_the_ratings_of_the_held_out_one(highlights, archive):
    rows = {row["vid"]: row for rows in highlights.rows.values() for row in rows}
    for number in range(3):
        names = [video.vid for video in highlights.videos[5 * number : 5 * number + 5]]
        rgb = [archive[f"video_features/{vid}_rgb.npy"].astype(float) for vid in names]
        ratings = [np.mean(rows[vid]["label"], axis=1) for vid in names]
        train, mean = np.concatenate(rgb[:4]), np.concatenate(ratings[:4]).mean()
        kernel = train @ train.T
        weights = np.linalg.solve(
            kernel + 1e-3 * np.trace(kernel) / len(kernel) * np.eye(len(kernel)), np.concatenate(ratings[:4]) - mean
        )
        assert np.corrcoef(rgb[4] @ train.T @ weights, ratings[4])[0, 1] > 0.7


@pytest.mark.slow
def test_both_benchmarks_are_made_and_listed_whole(tmp_path, monkeypatch):
    pytest.importorskip("av")
    monkeypatch.setattr(synthetic_plan, "QVHIGHLIGHTS_PIECES", {"train": 6, "val": 3, "test": 3})
    monkeypatch.setattr(synthetic_plan, "DOMAINS", ("VT",))
    index = synthetic.make_benchmarks(tmp_path / "made", SEED)
    assert index == json.loads((tmp_path / "made" / "index.json").read_text())
    made = {str(path.relative_to(tmp_path / "made")) for path in (tmp_path / "made").rglob("*") if path.is_file()}
    assert made == {entry["path"] for entry in index} | {"index.json"}
    assert all(files.sha256(tmp_path / "made" / entry["path"]) == entry["sha256"] for entry in index)
