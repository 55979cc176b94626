"""Predictions of trained runs have the community's form and the order of the annotations, and score what the card
says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_benchmark import N_CLIPS, Benchmark, experiment

from pipeline import files, records
from pipeline.errors import PipelineError
from pipeline.evaluation import evaluate
from pipeline.manifests import files_of

pytestmark = pytest.mark.usefixtures("torch_one_thread")


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory) -> Benchmark:
    return Benchmark(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def run(benchmark) -> Path:
    """Return the folder of a run of six epochs with an evaluation at each, and with its predictions."""
    settings = experiment(training={"epochs": 6, "evaluate_every": 1, "evaluation_batch_size": 3})
    benchmark.train(settings)
    return benchmark.predict(settings) / "all-s2017"


def predictions(run: Path, epoch: str) -> list[dict]:
    return [row for _, row in records.read_jsonl(run / f"predictions/val-{epoch}.jsonl")]


def test_rows_have_the_submission_form_in_annotation_order(benchmark, run):
    rows = predictions(run, "last")
    assert [row["qid"] for row in rows] == [query.qid for query in benchmark.splits["val"]]
    assert set(rows[0]) == {"qid", "query", "vid", "pred_relevant_windows", "pred_saliency_scores"}
    assert {len(row["pred_saliency_scores"]) for row in rows} == {N_CLIPS}


@pytest.mark.parametrize("epoch", ["selected", "last"])
def test_predictions_are_worth_what_the_card_says(benchmark, run, epoch):
    truth = map(records.to_row, benchmark.splits["val"])
    metrics = evaluate("qvhighlights", predictions(run, epoch), truth).metrics
    assert metrics["brief"]["MR-full-mAP"] == files.read_json(run / "card.json")[epoch]["value"]


def test_selected_weights_are_those_of_the_best_evaluation(run):
    values = [line.split(",") for line in (run / "log.csv").read_text().splitlines()]
    column = [float(row[values[0].index("MR-full-mAP")]) for row in values[1:]]
    assert files.read_json(run / "card.json")["selected"] == {"epoch": int(np.argmax(column)) + 1, "value": max(column)}


def test_the_manifest_lists_both_files_of_every_run(benchmark, run):
    listed = files_of(benchmark.results / "predictions/tiny.json")
    assert sorted(path.name for path in listed) == ["val-last.jsonl", "val-selected.jsonl"]


def test_a_weight_file_that_is_damaged_is_named(benchmark, tmp_path, monkeypatch):
    settings = experiment(training={"epochs": 1})
    runs = benchmark.train(settings, "damaged")
    (runs / "all-s2017/last.safetensors").write_bytes(b"\0" * 64)
    with pytest.raises(PipelineError, match=r"last.safetensors: was changed or damaged.*delete it and run again"):
        benchmark.predict(settings, "damaged")


def test_a_tvsum_run_sees_its_own_domain_and_predicts_no_windows(tmp_path):
    tvsum = Tvsum(tmp_path)
    rows = tvsum.train_and_predict()
    assert [row["vid"] for row in rows["BK-s2017"]] == ["v4"]
    assert [row["vid"] for row in rows["GA-s2017"]] == ["v9"]
    assert set(rows["BK-s2017"][0]) == {"qid", "query", "vid", "pred_saliency_scores"}


class Tvsum:
    """There are two domains of five videos each. The last video of each is val."""

    def __init__(self, folder: Path) -> None:
        self.benchmark = Benchmark(folder, n_train=8, n_val=2)
        rng = np.random.default_rng(1)
        for split, each in (("train", 4), ("val", 1)):
            vids = [f"v{5 * domain + (i if split == 'train' else 4)}" for domain in range(2) for i in range(each)]
            rows = [
                records.Query(
                    qid=vid[1:],
                    query="a title",
                    vid=vid,
                    duration=2.0 * N_CLIPS,
                    domain="BK" if i < each else "GA",
                    label=tuple(map(tuple, rng.integers(1, 6, (N_CLIPS, 20)).astype(float))),
                )
                for i, vid in enumerate(vids)
            ]
            records.write_jsonl(self.benchmark.annotations[split], map(records.to_row, rows))

    def train_and_predict(self) -> dict[str, list[dict]]:
        settings = experiment(dataset="tvsum", domains=["BK", "GA"], training={"epochs": 2, "batch_size": 4})
        self.benchmark.train(settings)
        runs = self.benchmark.predict(settings)
        return {run: predictions(runs / run, "selected") for run in settings.runs}
