"""Annotations: the real files are read completely, and a row that contradicts itself is refused with its line."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
import stage_jobs

from pipeline import datasets, files, records
from pipeline.datasets import qvhighlights, rows, tvsum
from pipeline.datasets.definition import Released
from pipeline.errors import PipelineError

QVH_ROW = {
    "qid": 7,
    "query": "A  red circle",
    "duration": 20,
    "vid": "-a_bcdefghi_60.0_80.0",
    "relevant_clip_ids": [0, 1, 5],
    "saliency_scores": [[4, 3, 2], [0, 0, 1], [2, 2, 2]],
    "relevant_windows": [[0, 4], [10, 12]],
}
CHARADES_ROW = {
    "qid": 3,
    "query": "person sits.",
    "duration": 30.96,
    "vid": "00607",
    "relevant_windows": [[24.3, 30.4]],
}
TVSUM_ROW = {
    "qid": "-esJrBWj2d8",
    "query": "dogs",
    "duration": 2,
    "vid": "-esJrBWj2d8",
    "relevant_clip_ids": None,
    "relevant_windows": None,
    "label": [[1.0] * 20, [5.0] * 20],
    "domain": "DS",
}
READ = {name: partial(rows.read, dataset) for name, dataset in datasets.DATASETS.items()}
ROW = {"qvhighlights": QVH_ROW, "charades_sta": CHARADES_ROW, "tvsum": TVSUM_ROW}


def write(folder: Path, *rows: dict) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def run(folder: Path, dataset: str, split: str, source: Path) -> dict:
    manifest = folder / "annotations" / dataset / f"{split}.json"
    stage_jobs.run("annotate", folder, manifest, {"fetched": source}, dataset=dataset, split=split)
    return files.read_json(manifest)


# the real files


@pytest.mark.parametrize(
    ("dataset", "split", "name", "queries", "videos", "windows"),
    [
        ("qvhighlights", "train", "qvhighlights_train", 7218, 7100, 12803),
        ("qvhighlights", "val", "qvhighlights_val", 1550, 1519, 2803),
        ("qvhighlights", "test", "qvhighlights_test_with_gt", 1542, 1529, 2761),
        ("qvhighlights", "test", "qvhighlights_test_public", 1542, 1529, 0),
        ("charades_sta", "train", "charades_sta_train", 12404, 5336, 12404),
        ("charades_sta", "val", "charades_sta_test", 3720, 1334, 3720),
        ("tvsum", "train", "tvsum_train", 40, 40, 0),
        ("tvsum", "val", "tvsum_val", 10, 10, 0),
    ],
)
def test_real_files_have_the_counted_rows(shared_data, tmp_path, dataset, split, name, queries, videos, windows):
    source = shared_data / "annotations" / f"{name}.jsonl"
    counts = run(tmp_path, dataset, split, source)["counts"]
    assert counts == {"queries": queries, "videos": videos, "windows": windows}
    hours = sum({query.vid: query.duration for query in READ[dataset](source)}.values()) / 3600
    assert datasets.get(dataset).released[files.sha256(source)] == (split, queries, videos, round(hours, 2))


def test_real_rows_survive_the_stage_unchanged(shared_data, tmp_path):
    source = shared_data / "annotations/qvhighlights_val.jsonl"
    run(tmp_path, "qvhighlights", "val", source)
    ours = [row for _, row in records.read_jsonl(tmp_path / "annotations/qvhighlights/val.jsonl")]
    assert ours == [row for _, row in records.read_jsonl(source)]


def test_qvhighlights_pieces_come_from_3164_youtube_videos_that_no_two_splits_share(shared_data):
    names = ("train", "val", "test_with_gt")
    queries = {name: READ["qvhighlights"](shared_data / f"annotations/qvhighlights_{name}.jsonl") for name in names}
    youtube = [{qvhighlights.split_vid(query.vid)[0] for query in queries[name]} for name in names]
    assert sum(map(len, youtube)) == len(set.union(*youtube)) == 3164
    assert sorted(query.qid for rows in queries.values() for query in rows) == list(range(10310))


def test_charades_sta_windows_are_clamped_to_the_video(shared_data):
    for name, clamped in (("train", 1805), ("test", 562)):
        queries = READ["charades_sta"](shared_data / f"annotations/charades_sta_{name}.jsonl")
        assert sum(query.relevant_windows[0][1] == query.duration for query in queries) == clamped


def test_tvsum_labels_are_the_official_ratings_at_each_clips_middle_frame(shared_data):
    h5py = pytest.importorskip("h5py")
    queries = [q for split in ("train", "val") for q in READ["tvsum"](shared_data / f"annotations/tvsum_{split}.jsonl")]
    with h5py.File(shared_data / "labels/ydata-tvsum50.mat") as file:
        official = {vid: (fps, ratings) for vid, fps, ratings in matlab_videos(file)}
    compared = 0
    for query in queries:
        fps, ratings = official[query.vid]
        for clip, row in enumerate(query.label):
            middle = (round(2 * clip * fps) + round(2 * (clip + 1) * fps)) // 2
            assert list(row) == ratings[:, middle].tolist()
            compared += len(row)
    assert (len(queries), compared) == (50, 125_320)


def matlab_videos(file):
    table = file["tvsum50"]
    for number in range(50):
        field = {name: file[table[name][number, 0]][()] for name in ("video", "length", "nframes", "user_anno")}
        vid = "".join(chr(code) for code in field["video"].ravel())
        ratings = field["user_anno"]
        yield vid, field["nframes"].item() / field["length"].item(), ratings if ratings.shape[0] == 20 else ratings.T


def test_tvsum_domains_have_four_training_videos_and_one_val_video(shared_data):
    for split, each in (("train", 4), ("val", 1)):
        domains = [query.domain for query in READ["tvsum"](shared_data / f"annotations/tvsum_{split}.jsonl")]
        assert {domain: domains.count(domain) for domain in domains} == dict.fromkeys(tvsum.DOMAINS, each)


def test_a_released_file_under_another_split_is_refused(shared_data, tmp_path):
    with pytest.raises(PipelineError, match=r"qvhighlights_val.jsonl: is the released val split, not train"):
        run(tmp_path, "qvhighlights", "train", shared_data / "annotations/qvhighlights_val.jsonl")


# made-up files


def test_tvsum_durations_become_seconds(tmp_path):
    run(tmp_path, "tvsum", "train", write(tmp_path, TVSUM_ROW))
    assert records.read_queries(tmp_path / "annotations/tvsum/train.jsonl")[0].duration == 4.0


def test_an_unknown_file_is_counted_and_taken(tmp_path):
    manifest = run(tmp_path, "qvhighlights", "val", write(tmp_path, QVH_ROW, QVH_ROW | {"qid": 8}))
    assert manifest["counts"] == {"queries": 2, "videos": 1, "windows": 4}


def test_the_same_file_a_second_time_is_no_work(tmp_path):
    source = write(tmp_path, QVH_ROW)
    manifest = tmp_path / "annotations/qvhighlights/val.json"
    job = {"inputs": {"fetched": source}, "dataset": "qvhighlights", "split": "val"}
    done = [stage_jobs.run("annotate", tmp_path, manifest, **job) for _ in range(2)]
    assert done == [True, False]


@pytest.mark.parametrize("dataset", READ)
@pytest.mark.parametrize("key", ["qid", "query", "vid", "duration"])
def test_a_row_without_a_key_is_named_by_file_and_line(tmp_path, dataset, key):
    row = ROW[dataset]
    path = write(tmp_path, row, {name: value for name, value in row.items() if name != key})
    with pytest.raises(PipelineError) as caught:
        READ[dataset](path)
    assert str(caught.value).startswith(f"{path}, line 2: annotation row has no `{key}`")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dataset", READ)
def test_a_qid_that_stands_twice_is_refused(tmp_path, dataset):
    other = ROW[dataset] | ({"qid": "x", "vid": "x"} if dataset == "tvsum" else {"qid": 99})
    with pytest.raises(PipelineError, match=r"line 3: qid .* is already on line 1"):
        READ[dataset](write(tmp_path, ROW[dataset], other, ROW[dataset]))


@pytest.mark.parametrize(
    ("dataset", "change", "complaint"),
    [
        ("qvhighlights", {"qid": "x"}, "qid 'x' is no integer"),
        ("qvhighlights", {"qid": [1]}, "neither integer nor text"),
        ("qvhighlights", {"query": ["a"]}, "`query` .* is no text"),
        ("qvhighlights", {"vid": 5}, "`vid` 5 is no text"),
        ("qvhighlights", {"duration": float("inf")}, "no JSON number"),
        ("qvhighlights", {"duration": 10**400}, "is no positive number"),
        ("qvhighlights", {"duration": "20"}, "is no positive number"),
        ("qvhighlights", {"relevant_clip_ids": 5}, "needs 3 `saliency_scores` for each"),
        ("qvhighlights", {"relevant_windows": [[0, 10**400]]}, "at least one"),
        ("charades_sta", {"qid": "x"}, "qid 'x' is no integer"),
        ("tvsum", {"label": 5}, "equally many annotators"),
        ("tvsum", {"domain": ["DS"]}, "`domain` .* is no text"),
        ("qvhighlights", {"vid": "tooshort_60.0_80.0"}, "is no"),
        ("qvhighlights", {"duration": 22}, "not an even number of seconds up to 20"),
        ("qvhighlights", {"duration": 19}, "not an even number"),
        ("qvhighlights", {"relevant_windows": [[0, 4], [10, 24]]}, "passes the end"),
        ("qvhighlights", {"relevant_windows": [[10, 12], [0, 4]]}, "touches the one before"),
        ("qvhighlights", {"relevant_windows": [[0, 4], [4, 6]]}, "touches the one before"),
        ("qvhighlights", {"relevant_windows": [[4, 4]]}, "is empty"),
        ("qvhighlights", {"relevant_windows": [[0, 3]]}, "off the 2 s grid"),
        ("qvhighlights", {"relevant_windows": []}, "at least one"),
        ("qvhighlights", {"relevant_windows": [["a", 4]]}, "at least one"),
        ("qvhighlights", {"relevant_windows": None}, "has no `relevant_windows`"),
        ("qvhighlights", {"relevant_clip_ids": [0, 1, 6]}, "not the clips of its windows"),
        ("qvhighlights", {"saliency_scores": [[4, 3, 2]]}, "for each of its"),
        ("qvhighlights", {"saliency_scores": [[4, 3, 5], [0, 0, 1], [2, 2, 2]]}, "integers 0 to 4"),
        ("qvhighlights", {"saliency_scores": [[4, 3], [0, 0, 1], [2, 2, 2]]}, "needs 3"),
        ("charades_sta", {"relevant_windows": [[0.0, 1.0], [2.0, 3.0]]}, "exactly one window"),
        ("charades_sta", {"relevant_windows": None}, "has no `relevant_windows`"),
        ("charades_sta", {"relevant_windows": [[24.3, 31.0]]}, "leaves the video"),
        ("charades_sta", {"relevant_windows": [[5.0, 4.0]]}, "is empty"),
        ("tvsum", {"duration": 4}, "2 rows of labels and a duration of 4 clips"),
        ("tvsum", {"domain": "XX"}, "is none of VT VU"),
        ("tvsum", {"vid": "other"}, "is not the vid"),
        ("tvsum", {"label": [[1.0] * 20, [1.0] * 19]}, "equally many annotators"),
        ("tvsum", {"label": [[1.0] * 20, [0.0] * 20]}, "20 numbers from 1 to 5"),
        ("tvsum", {"label": None}, "has no `label`"),
    ],
)
def test_a_row_that_contradicts_itself_is_refused_with_its_place(tmp_path, dataset, change, complaint):
    with pytest.raises(PipelineError, match=complaint) as caught:
        READ[dataset](write(tmp_path, ROW[dataset] | change))
    assert caught.value.where.endswith("rows.jsonl, line 1")


@pytest.mark.parametrize(
    ("dataset", "change"), [("qvhighlights", {"duration": 18}), ("charades_sta", {"duration": 31.0})]
)
def test_a_video_with_two_durations_is_refused(tmp_path, dataset, change):
    with pytest.raises(PipelineError, match=r"line 2: .* lasts .* further up"):
        READ[dataset](write(tmp_path, ROW[dataset], ROW[dataset] | {"qid": 8} | change))


def test_ground_truth_in_some_rows_only_is_refused(tmp_path):
    hidden = {key: QVH_ROW[key] for key in ("query", "duration", "vid")} | {"qid": 8}
    with pytest.raises(PipelineError, match="line 2: some rows of this file have ground truth"):
        READ["qvhighlights"](write(tmp_path, QVH_ROW, hidden))


def test_only_a_test_split_may_hide_its_ground_truth(tmp_path):
    hidden = write(tmp_path, {key: QVH_ROW[key] for key in ("qid", "query", "duration", "vid")})
    assert run(tmp_path, "qvhighlights", "test", hidden)["counts"]["windows"] == 0
    with pytest.raises(PipelineError, match="has no ground truth, which val needs"):
        run(tmp_path, "qvhighlights", "val", hidden)


def test_an_empty_file_is_refused(tmp_path):
    with pytest.raises(PipelineError, match="has no annotation rows"):
        READ["charades_sta"](write(tmp_path))


def test_counts_that_differ_from_the_released_ones_are_an_error(tmp_path, monkeypatch):
    source = write(tmp_path, QVH_ROW)
    monkeypatch.setitem(qvhighlights.RELEASED, files.sha256(source), Released("val", 2, 1, 0.1))
    with pytest.raises(
        PipelineError, match="found 1 query of 1 video, but this released file has 2 queries of 1 video"
    ):
        run(tmp_path, "qvhighlights", "val", source)


def test_vids_are_split_from_the_right():
    assert qvhighlights.split_vid("-a_bcd_fghi_60.0_210.0") == ("-a_bcd_fghi", 60.0, 210.0)
