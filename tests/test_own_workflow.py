"""A dataset of one's own goes through the real workflow: from a CSV and a folder of videos to a table and answers."""

from __future__ import annotations

import csv
import os

import pytest
import yaml
from made_own import HEADER, write
from made_videos import make_video
from small_workflow import Workflow

from pipeline import datasets, files
from pipeline.datasets import own
from pipeline.doctor import case, results

pytestmark = pytest.mark.workflow


@pytest.fixture(autouse=True)
def forget(monkeypatch):
    monkeypatch.setenv(own.VARIABLE, "")
    yield
    datasets.register({})


CONFIG = """
encoding: {weights: {clip-vit-b32: "random:0"}}
model: {hidden_dim: 16, heads: 2, queries: 3, t2v_layers: 1, encoder_layers: 1, decoder_layers: 1, feedforward_dim: 16}
datasets:
  mine: {annotations: my.csv, videos: videos, clip: 2.5s}
training:
  mine: {epochs: 2, batch_size: 4, evaluate_every: 2}
experiments:
  first: {dataset: mine, features: {video: [clip-vit-b32], text: clip-text}, report: test, seeds: [1, 2]}
"""


@pytest.fixture(scope="module")
def workflow(tmp_path_factory):
    """Return a folder with six videos and a CSV, for which Snakemake made metrics. The encoders are fakes."""
    folder = tmp_path_factory.mktemp("own")
    videos = folder / "flow" / "videos"
    flow = Workflow(folder / "flow", videos).prepare()
    videos.mkdir()
    for k, name in enumerate("abcdef"):
        make_video(videos / f"{name}.mp4", range(0, 600 * (10 + k), 150), rate=4)
    rows = [
        f"{name}.mp4,{query},{start},{start + 4},{k % 5}"
        for k, name in enumerate("abcdef")
        for query, start in (("a dog", k), ("a cat sits", 5))
    ]
    write(flow.folder, rows, f"{HEADER},score")
    flow.write("config.yaml", CONFIG)
    flow.first = flow.run("experiment_first", "table_mine")
    return flow


def test_a_csv_goes_from_nothing_to_metrics(workflow):
    assert workflow.first["annotate"] == 3
    metrics = files.read_json(workflow.results / "metrics/first/all-s1/test-selected.json")
    assert metrics["n_queries"]["all"] == 2
    assert {"MR-full-R1@0.5", "MR-full-mAP", "HL-min-VeryGood-mAP"} <= set(metrics["brief"])
    card = files.read_json(workflow.results / "runs/first/all-s1/card.json")
    assert card["features"]["clip-vit-b32"]["grid"] == "2.5s"
    assert "numbers of first: python -m pipeline show" in workflow.said


def test_it_has_a_table_of_its_own_with_the_spread_over_seeds_and_an_interval(workflow):
    with open(workflow.results / "tables/own_mine.csv", newline="") as file:
        rows = {row["line"]: row for row in csv.DictReader(file)}
    scored = [files.read_json(workflow.results / f"metrics/first/all-s{seed}/test-selected.json") for seed in (1, 2)]
    for column, metric in (("R1@0.5", "MR-full-R1@0.5"), ("HD mAP", "HL-min-VeryGood-mAP")):
        values = [metrics["unrounded"]["brief"][metric] for metrics in scored]
        assert float(rows["reproduced"][column]) == pytest.approx(sum(values) / 2, abs=0.005)
        assert float(rows["standard deviation"][column]) == pytest.approx(
            abs(values[0] - values[1]) / 2**0.5, abs=0.005
        )
    assert rows["reproduced"]["runs"] == "2 seeds (1, 2)"
    assert rows["reproduced"]["features"] == "clip-vit-b32 + clip-text"
    assert "Dataset mine" in (workflow.results / "tables/own_mine.md").read_text()


def test_the_doctor_finds_nothing_to_say_of_the_files_of_a_finished_run(workflow, monkeypatch):
    monkeypatch.chdir(workflow.folder)
    found = list(results.check(case.read(case.Invocation(target="table_mine"))))
    assert {finding.level for finding in found} == {"ok"}, found


def test_nothing_is_done_twice_and_a_video_that_changed_is_read_again(workflow):
    assert workflow.run("experiment_first", "table_mine") == {}
    make_video(workflow.videos / "a.mp4", range(30, 600 * 10, 150), rate=4)
    os.utime(workflow.videos / "a.mp4")
    done = workflow.run("experiment_first")
    assert done["videos looked at"] == 1
    assert done["extract"] == 1


def test_a_bad_row_ends_the_plan_and_names_the_row(workflow, tmp_path):
    flow = workflow.copy(tmp_path / "copy")
    text = (flow.folder / "my.csv").read_text()
    flow.write("my.csv", f"{text}a.mp4,a bird,x,3,1\n")
    process = flow.start("experiment_first")
    said, _ = process.communicate()
    assert process.returncode
    assert "line 14, start: 'x' is no number of seconds" in said


def test_a_run_on_it_is_asked_without_any_config(workflow, monkeypatch):
    import fake_encoders

    from pipeline.asking.moments import Moments
    from pipeline.families import FAMILIES

    fakes = {"clip-vit-b32": "fake_encoders:MeanColour", "clip-text": "fake_encoders:Letters"}
    fake_encoders.take_the_place(fakes, lambda table, key, value: monkeypatch.setitem(FAMILIES, key, value))
    moments = Moments.load(workflow.results / "runs/first/all-s1")
    answer = moments.ask(moments.encode(workflow.videos / "b.mp4"), "a dog")
    assert (answer.clip_s, len(answer.saliency)) == (2.5, 4)
    assert yaml.safe_load(CONFIG)["datasets"]["mine"]["clip"] == "2.5s"
