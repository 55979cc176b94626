"""A dataset is one object: no other code knows its name, and a new dataset needs one file and one line."""

from __future__ import annotations

import csv
import re
import shutil
from pathlib import Path

import pytest
import toy_dataset
from small_workflow import SECONDS, VIDS, Workflow, make_videos

from pipeline import config, datasets, files, grids, records
from pipeline.datasets import rows
from pipeline.errors import PipelineError
from pipeline.evaluation import evaluate

ROOT = Path(__file__).resolve().parents[1]
MAY_KNOW = {
    "pipeline/acquire/sources.csv",
    "pipeline/datasets/__init__.py",
    "pipeline/datasets/synthetic_plan.py",
    "pipeline/demo.py",
    "pipeline/reporting/published.csv",
    "workflow/schemas/config.schema.json",
}
"""The registry, the sources, the published numbers, the generated schema, and the benchmarks that the demo makes."""


def test_no_file_but_its_own_knows_a_dataset_by_name():
    names = re.compile(f"[\"']({'|'.join(datasets.DATASETS)})[\"']")
    own = {f"pipeline/datasets/{file}.py" for file in datasets.FILES}
    found = {
        path.relative_to(ROOT).as_posix(): set(names.findall(path.read_text(encoding="utf-8")))
        for folder in ("pipeline", "workflow")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in {".py", ".smk", ".csv", ".json", ".yaml"} or path.name == "Snakefile"
    }
    outside = {path: known for path, known in found.items() if known and path not in MAY_KNOW | own}
    assert outside == {}
    for file in datasets.FILES:
        assert found[f"pipeline/datasets/{file}.py"] == {file}


def test_an_unknown_dataset_is_refused_with_the_known_ones():
    with pytest.raises(PipelineError, match=r"nothing: is no dataset → name one of qvhighlights, charades_sta, tvsum"):
        datasets.get("nothing")
    with pytest.raises(PipelineError, match="no such dataset; known are qvhighlights, charades_sta, tvsum"):
        config.load({"datasets": {"nothing": {"annotations": {}}}, "training": {}, "experiments": {}})


def test_a_video_has_clips_by_one_of_two_rules():
    assert grids.n_clips(31, 2) == 16
    assert grids.whole_clips(31, 2) == 15


@pytest.mark.parametrize("name", datasets.DATASETS)
def test_a_selection_metric_is_a_column_that_scoring_gives(name):
    dataset = datasets.get(name)
    truth = [ROW_OF[name]]
    scores = {"pred_relevant_windows": [[0, 4, 0.9]], "pred_saliency_scores": [0.5, 0.4, 0.1]}
    assert dataset.selected_by in evaluate(name, [{"qid": truth[0]["qid"], **scores}], truth).metrics["brief"]


RATED = {"relevant_clip_ids": [0, 1], "saliency_scores": [[4, 0, 2], [3, 3, 3]]}
MOMENT = {"qid": 1, "query": "q", "vid": "abcdefghijk_0.0_6.0", "duration": 6, "relevant_windows": [[0, 4]]}
LABEL = {"label": [[1.0] * 20, [5.0] * 20, [2.0] * 20], "domain": "VT"}
ROW_OF = {
    "qvhighlights": MOMENT | RATED,
    "charades_sta": MOMENT,
    "tvsum": {"qid": "v", "query": "q", "vid": "v", "duration": 6, **LABEL},
}


@pytest.mark.parametrize("name", datasets.DATASETS)
def test_annotate_asks_for_all_that_scoring_asks_for(tmp_path, name):
    """A row that lacks any key of the truth, or that breaks a rule, is refused by both, in the same words."""
    broken = [{key: None} for key in datasets.get(name).truth_keys]
    broken += [{"relevant_windows": [[4, 0]]}, {"saliency_scores": [[9, 0, 0]] * 2}, {"label": [[1.0], []]}]
    for change in broken:
        if not set(change) <= set(datasets.get(name).truth_keys):
            continue
        row = ROW_OF[name] | change
        records.write_jsonl(tmp_path / "rows.jsonl", [row])
        with pytest.raises(PipelineError) as by_scoring:
            evaluate(name, [], [row])
        with pytest.raises(PipelineError) as by_annotate:
            rows.read(datasets.get(name), tmp_path / "rows.jsonl")
        assert by_annotate.value.what.endswith(by_scoring.value.what)


def test_windows_that_touch_are_scored_and_are_no_released_form(tmp_path):
    row = ROW_OF["qvhighlights"] | {"relevant_windows": [[0, 2], [2, 4]]}
    records.write_jsonl(tmp_path / "rows.jsonl", [row])
    evaluate("qvhighlights", [{"qid": 1, "pred_relevant_windows": [[0, 2, 1.0]]}], [row])
    with pytest.raises(PipelineError, match="touches the one before"):
        rows.read(datasets.get("qvhighlights"), tmp_path / "rows.jsonl")


# a dataset of one's own


def toy_row(qid, vid):
    return {
        "qid": qid,
        "query": "something happens",
        "vid": vid,
        "duration": 1000 * SECONDS,
        "relevant_windows": [[1000, 3000]],
        "relevant_clip_ids": [1, 2],
        "saliency_scores": [[4], [2]],
    }


def add_dataset(workflow):
    """Add a dataset as CONTRIBUTING.md says: one file, one line, rows in sources.csv, and sections of the config."""
    registry = workflow.folder / "pipeline/datasets/__init__.py"
    registry.write_text(registry.read_text().replace('    "tvsum",\n', '    "tvsum",\n    "toy",\n', 1))
    shutil.copy(toy_dataset.__file__, workflow.folder / "pipeline/datasets/toy.py")
    table = []
    for split, vids in {"toy-train": [VIDS[n] for n in (0, 1, 3, 4)], "toy-val": [VIDS[2], VIDS[5]]}.items():
        path = workflow.folder / f"{split}.jsonl"
        records.write_jsonl(path, [toy_row(qid, vid) for qid, vid in enumerate(vids)])
        table.append([split, "file", path.name, path.as_uri(), f"sha256:{files.sha256(path)}", "", "", ""])
    with (workflow.folder / "sources.csv").open("a") as file:
        csv.writer(file, lineterminator="\n").writerows(table)

    def change(raw):
        annotations = {"train": "toy-train", "val": "toy-val"}
        raw["datasets"]["toy"] = {"shards": 1, "clip": "1s", "annotations": annotations, "videos": ["videos"]}
        raw["training"]["toy"] = {"epochs": 2, "batch_size": 4, "evaluate_every": 2}
        raw["experiments"]["toy"] = {"dataset": "toy", "features": {"video": ["clip-vit-b32"], "text": "clip-text"}}

    workflow.change_config(change)


@pytest.mark.workflow
def test_a_dataset_of_ones_own_is_one_file_and_one_line_trained_and_scored(tmp_path):
    workflow = Workflow(tmp_path / "toy", make_videos(tmp_path / "videos")).prepare()
    workflow.own_code()
    add_dataset(workflow)
    done = workflow.run("experiment_toy")
    assert {"annotate": 2, "epochs of toy": 2, "score": 1, "draw": 1}.items() <= done.items()
    metrics = files.read_json(workflow.results / "metrics/toy/all-s2017/val-selected.json")
    assert {"MR-full-mAP", "HL-min-VeryGood-mAP"} <= set(metrics["brief"]) and metrics["n_queries"]["all"] == 2
    assert metrics["intervals"]["videos"] == 2
    card = files.read_json(workflow.results / "runs/toy/all-s2017/card.json")
    assert card["metric"] == "HL-min-VeryGood-mAP"
    assert (workflow.results / "figures/toy.svg").is_file()


def test_the_rules_of_a_dataset_of_ones_own_are_asked(tmp_path):
    path = tmp_path / "rows.jsonl"
    records.write_jsonl(path, [toy_row(1, "v_1")])
    (query,) = rows.read(toy_dataset.DATASET, path)
    assert (query.duration, query.relevant_windows) == (SECONDS, ((1.0, 3.0),))
    for change, said in [
        ({"saliency_scores": [[4, 1], [2, 1]]}, "needs 1 `sal"),
        ({"query": "a b c d e f"}, "five words"),
        ({"relevant_clip_ids": [1, SECONDS]}, f"numbers of the video's {SECONDS} clips"),
        ({"relevant_windows": [["a", 3000]]}, "qid 1: its times are no numbers"),
        ({"relevant_windows": 5}, "qid 1: its times are no numbers"),
    ]:
        records.write_jsonl(path, [toy_row(1, "v_1") | change])
        with pytest.raises(PipelineError, match=said):
            rows.read(toy_dataset.DATASET, path)
