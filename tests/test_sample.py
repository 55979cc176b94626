"""A rehearsal works on a fixed share of the videos, from raw files to a table that says so."""

from __future__ import annotations

import json

import pytest
import stage_jobs
import yaml
from made_configs import ROOT, shipped, small
from small_workflow import VIDS

from pipeline import config, files
from pipeline.acquire import sources
from pipeline.cost.estimate import estimate
from pipeline.datasets.qvhighlights import youtube_video
from pipeline.errors import PipelineError
from pipeline.shards import is_in_sample

SMALL = "workflow/profiles/small/small.yaml"
NAMES = [f"{n:011d}" for n in range(2000)]


QVH_ROW = {
    "query": "A red circle",
    "relevant_clip_ids": [0, 1],
    "saliency_scores": [[4, 3, 2], [0, 0, 1]],
    "relevant_windows": [[0, 4]],
}


def rehearsal():
    return yaml.safe_load((ROOT / SMALL).read_text(encoding="utf-8"))


def annotate(folder, rows, split="train", **settings):
    """Annotate made rows; returns the manifest and the qids that were kept."""
    source, manifest = folder / "rows.jsonl", folder / f"annotations/qvhighlights/{split}.json"
    source.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    stage_jobs.run("annotate", folder, manifest, {"fetched": source}, settings, dataset="qvhighlights", split=split)
    kept = (folder / f"annotations/qvhighlights/{split}.jsonl").read_text(encoding="utf-8").splitlines()
    return files.read_json(manifest), [json.loads(line)["qid"] for line in kept]


def pieces(n):
    """Return two pieces of each of n videos."""
    starts = (60.0, 210.0)
    return [
        QVH_ROW | {"qid": 2 * i + k, "vid": f"{NAMES[i]}_{start}_{start + 150.0}", "duration": 150}
        for i in range(n)
        for k, start in enumerate(starts)
    ]


def test_a_sample_is_about_its_share_and_lies_within_every_larger_one():
    tenth, half = ({name for name in NAMES if is_in_sample(name, share)} for share in (0.1, 0.5))
    assert 150 < len(tenth) < 250 and 900 < len(half) < 1100
    assert tenth < half


def test_all_pieces_of_a_video_are_taken_or_none(tmp_path):
    manifest, kept = annotate(tmp_path, pieces(100), sample=0.2)
    expected = [2 * i + k for i in range(100) if is_in_sample(NAMES[i], 0.2) for k in (0, 1)]
    assert kept == expected and 10 < len(kept) < 80
    assert manifest["settings"]["sample"] == 0.2
    assert manifest["counts"]["queries"] == len(kept)


def test_without_a_sample_the_manifest_is_that_of_a_version_that_had_no_such_key(tmp_path):
    manifest, kept = annotate(tmp_path, pieces(3))
    assert len(kept) == 6
    assert set(manifest["settings"]) == {"dataset", "split"}


def test_a_sample_without_a_video_says_what_to_change(tmp_path):
    with pytest.raises(PipelineError, match=r"datasets.qvhighlights.sample: .* none of the 6 videos of train → name a"):
        annotate(tmp_path, pieces(3), sample=0.000001)


def test_one_percent_of_the_released_annotations_is_what_the_pages_say(shared_data, tmp_path):
    share, queries, videos = rehearsal()["datasets"]["qvhighlights"]["sample"], {}, set()
    for split, name in {"train": "train", "val": "val", "test": "test_with_gt"}.items():
        rows = [json.loads(line) for line in open(shared_data / f"annotations/qvhighlights_{name}.jsonl")]
        kept = [row for row in rows if is_in_sample(youtube_video(row["vid"]), share)]
        queries[split] = len(kept)
        videos |= {row["vid"] for row in kept}
    assert queries == {"train": 79, "val": 13, "test": 15}
    assert (len(videos), len({youtube_video(vid) for vid in videos})) == (103, 36)
    assert "103 pieces are cut from 36 YouTube videos" in (ROOT / SMALL).read_text(encoding="utf-8")


def test_the_rehearsal_trains_what_config_yaml_trains_for_fewer_epochs():
    (mine,) = config.load(rehearsal()).experiments.values()
    papers = config.load(shipped()).experiments["qvhighlights_v"]
    same = {"seeds": mine.seeds, "jobs": mine.jobs, "training": mine.training}
    assert papers.model_copy(update=same) == mine
    assert papers.training.model_copy(update={"epochs": mine.training.epochs}) == mine.training


def test_every_title_of_a_sampled_config_says_that_nothing_is_comparable():
    assert (
        config.load(rehearsal()).heading == "TR-DETR (rehearsal on 1 % of the videos of qvhighlights, not comparable)"
    )
    assert config.load(shipped()).heading == "TR-DETR"


def test_an_estimate_of_a_rehearsal_is_about_its_share():
    whole, part = (estimate(config.load(raw), sources.load()) for raw in (only_v(shipped()), rehearsal()))
    assert [fact.label for fact in part.facts] == ["videos", "hours of video", "runs"]
    assert part.facts[1].total == pytest.approx(whole.facts[1].total / 100)


def only_v(raw):
    return raw | {"experiments": {"qvhighlights_v": raw["experiments"]["qvhighlights_v"]}, "peers": []}


@pytest.mark.parametrize("share", [0, 1, 1.5, -0.1])
def test_a_share_lies_between_nothing_and_all(share):
    raw = small()
    raw["datasets"]["tvsum"]["sample"] = share
    with pytest.raises(PipelineError, match=r"`datasets.tvsum.sample`: Input should be (greater|less) than"):
        config.load(raw)


def test_a_released_prediction_file_cannot_be_scored_on_a_sample():
    raw = rehearsal()
    raw["experiments"]["theirs"] = shipped()["experiments"]["released_test_predictions"]
    with pytest.raises(PipelineError, match=r"`experiments.theirs`: a released prediction file is about all videos"):
        config.load(raw)


@pytest.mark.workflow
def test_a_sample_goes_from_raw_videos_to_a_table_that_says_so(finished, tmp_path):
    workflow, share = finished[0].copy(tmp_path / "case"), 0.75
    kept = {vid for vid in VIDS if is_in_sample(youtube_video(vid), share)}
    workflow.change_config(lambda raw: raw["datasets"]["qvhighlights"].update(sample=share))
    workflow.run()
    files_of = workflow.results.glob("annotations/qvhighlights/*.jsonl")
    assert {json.loads(line)["vid"] for path in files_of for line in path.read_text().splitlines()} == kept < set(VIDS)
    text = (workflow.results / "tables/table1.txt").read_text()
    assert "(rehearsal on 75 % of the videos of qvhighlights, not comparable)" in " ".join(text.split())
    assert "no verdict, because it is of val" in " ".join(text.split())
