"""Raw videos that do not last as long as annotated: left out where clips are made, and counted to the table."""

from __future__ import annotations

import csv

import pytest
import stage_jobs
from made_videos import make_video
from small_workflow import VIDS, Workflow, make_videos

from pipeline import files, provenance
from pipeline.video.account import COLUMNS
from pipeline.video.segment import read_segments


def segmented(tmp_path, dataset, clip, rows):
    table = tmp_path / f"videos/{dataset}/00000.csv"
    with files.atomic(table) as file:
        writer = csv.DictWriter(file, COLUMNS, restval="")
        writer.writeheader()
        writer.writerows({"status": "ok", **row} for row in rows)
    manifest, made = table.with_suffix(".json"), tmp_path / f"segments/{dataset}/00000.json"
    provenance.run_stage("videos", manifest, lambda: provenance.Outcome([table]))
    about, settings = {"dataset": dataset, "shard": "00000"}, {"grids": [clip], "clip": clip}
    stage_jobs.run("segment", tmp_path, made, {"videos": manifest}, settings, **about)
    return files.read_json(made), read_segments(tmp_path / f"segments/{dataset}/{clip}/00000.csv")


@pytest.mark.parametrize(
    ("dataset", "clip", "real", "annotated", "said"),
    [
        ("qvhighlights", "2s", "150", 150, ""),
        ("qvhighlights", "2s", "152.9", 150, ""),
        ("qvhighlights", "2s", "153", 150, "lasts 153.00 s (77 clips of 2s), its annotations say 150.00 s (75 clips)"),
        ("qvhighlights", "2s", "40", 8, "lasts 40.00 s (20 clips of 2s), its annotations say 8.00 s (4 clips)"),
        ("qvhighlights", "2s", "2.2", 8, "lasts 2.20 s (1 clip of 2s), its annotations say 8.00 s (4 clips)"),
        ("charades_sta", "1s", "460460/15000", 30.96, ""),
        ("charades_sta", "1s", "8", 30.96, "lasts 8.00 s (8 clips of 1s), its annotations say 30.96 s (31 clips)"),
        ("charades_sta", "1s", "3.5", 5.0, ""),
        ("tvsum", "2s", "130.008", 128, ""),
        ("tvsum", "2s", "200", 128, "lasts 200.00 s (100 clips of 2s), its annotations say 128.00 s (64 clips)"),
        ("tvsum", "2s", "30", "", ""),
    ],
)
def test_a_clip_more_or_less_is_normal_and_two_are_another_video(tmp_path, dataset, clip, real, annotated, said):
    rows = [{"vid": "a", "duration_s": real, "annotated_s": annotated}, {"vid": "b", "duration_s": "8"}]
    manifest, (a, b) = segmented(tmp_path, dataset, clip, rows)
    assert b.status == "ok"
    if not said:
        assert (a.status, manifest["skipped"]) == ("ok", [])
        return
    assert (a.n_clips, a.status) == (0, f"length: the video {said}")
    assert manifest["skipped"] == [{"vid": "a", "why": f"length: the video {said}"}]
    assert manifest["counts"]["other_length"] == 1


@pytest.mark.workflow
def test_the_workflow_goes_on_without_them_and_the_table_says_so(tmp_path):
    videos = make_videos(tmp_path / "videos")
    make_video(videos / f"{VIDS[1]}.mp4", range(0, 1320, 60), sound_s=2)  # of train, too short
    (videos / f"{VIDS[5]}.mp4").unlink()  # of val
    workflow = Workflow(tmp_path / "work", videos).prepare()
    workflow.change_config(lambda config: config["experiments"].pop("heard"))
    process = workflow.start("results/tables/table1.json")
    said, _ = process.communicate()
    assert process.returncode != 0
    assert "of qvhighlights, shard 00001, are not usable" in said and f"{VIDS[5]} (missing: " in said
    assert "not last as long as annotated" in said
    (log, *_) = [path.read_text() for path in (workflow.results / "logs/train").glob("*.log") if path.stat().st_size]
    assert f"val lacks 1 video: {VIDS[5]} (missing: " in log
    assert "write `missing: skip` under `datasets.qvhighlights`" in log
    assert not (workflow.results / "runs/seen").exists()

    workflow.change_config(lambda config: config["datasets"]["qvhighlights"].update(missing="skip"))
    workflow.run("results/tables/table1.json")
    table = " ".join((workflow.results / "tables/table1.txt").read_text().split())
    assert "scored on 1 of 2 queries; not comparable with numbers on all" in table
    assert "trained on 3 of 4 queries" in table
