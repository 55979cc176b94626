"""The tables, matrices and report of the shipped config, when every one of its experiments has runs."""

from __future__ import annotations

import json
import re
from itertools import chain
from pathlib import Path

import pytest
import stage_jobs
import yaml
from made_predictions import annotation, prediction
from made_report import PASSPORT, Folder

from pipeline import config, csv_file
from pipeline.layout.runs import RunId
from pipeline.manifests import files_of
from pipeline.reporting import published
from pipeline.reporting.published import ABOUT

ROOT = Path(__file__).resolve().parents[1]
SEED = 2017
SPLITS = {"qvhighlights": ("val", "test"), "charades_sta": ("val",), "tvsum": ("val",)}
CLIPS = 6


def truth_of(dataset: str) -> list[dict]:
    """Return two queries of a dataset, or one video of each domain."""
    if dataset == "tvsum":
        ratings = [[float(1 + (clip + user) % 5) for user in range(20)] for clip in range(CLIPS)]
        about = {"query": "a cat", "duration": 2 * CLIPS, "label": ratings}
        return [about | {"qid": domain, "vid": domain, "domain": domain} for domain in config.DOMAINS]
    rows = [annotation(n, [[10, 20 + 10 * n]]) for n in range(2)]
    kept = ("qid", "query", "vid", "duration", "relevant_windows")
    return rows if dataset == "qvhighlights" else [{key: row[key] for key in kept} for row in rows]


def predicted(dataset: str, row: dict) -> dict:
    """Return a prediction for one query."""
    if dataset == "qvhighlights":
        return prediction(row, [[10, 22, 0.9]])
    guess = {key: row[key] for key in ("qid", "query", "vid")}
    scores = {"pred_saliency_scores": [float(clip) for clip in range(CLIPS)]}
    return guess | (scores if dataset == "tvsum" else {"pred_relevant_windows": [[10, 22, 0.9]]})


def made_with(name: str, e: config.Experiment) -> dict:
    """Return the settings that the manifests of an experiment's runs and of their predictions record."""
    runs = {run: e.settings_of(run).recorded() for run in e.runs}
    return {"experiment": name, "features": e.features.model_dump(mode="json"), "runs": runs}


class All(Folder):
    """A results folder with one seed of every experiment, as the stages leave it."""

    def __init__(self, folder: Path, experiments: dict[str, config.Experiment]) -> None:
        super().__init__(folder)
        self.experiments = experiments
        self.truth = {dataset: truth_of(dataset) for dataset in SPLITS}
        self.annotations = {
            (dataset, split): self.listed(
                "annotate",
                f"annotations/{dataset}/{split}.json",
                [self.write(f"annotations/{dataset}/{split}.jsonl", self.truth[dataset])],
            )
            for dataset, splits in SPLITS.items()
            for split in splits
        }
        names = {source: e.dataset for e in experiments.values() for source in (e.predictions or {}).values()}
        self.released = {name: self._release(name, dataset) for name, dataset in names.items()}
        trained = {name: e for name, e in experiments.items() if e.source != "predictions"}
        self.runs = {name: self._train(name, e) for name, e in trained.items()}
        self.predictions = {name: self._predict(name, e) for name, e in trained.items()}
        self.metrics = {name: self._score(name, e) for name, e in experiments.items()}

    def _release(self, name: str, dataset: str) -> Path:
        guesses = [predicted(dataset, row) for row in self.truth[dataset]]
        return self.listed("fetch", f"resources/{name}/fetch.json", [self.write(f"resources/{name}/p.jsonl", guesses)])

    def _train(self, name: str, e: config.Experiment) -> Path:
        column = e.about.selected_by
        best = {"epoch": 1, "value": 0.5}
        card = {"selected": best, "last": best, "device": "cpu", "features": {"clip-vit-b32": PASSPORT}}
        made = []
        for run in e.runs:
            made += [
                self.text(f"runs/{name}/{run}/card.json", json.dumps(card)),
                self.text(f"runs/{name}/{run}/log.csv", f"epoch,{column}\n1,0.5\n"),
            ]
        return self.listed("train", f"runs/{name}.1of1.json", made, made_with(name, e))

    def _predict(self, name: str, e: config.Experiment) -> Path:
        made = []
        for run in e.runs:
            domain = RunId.parse(run).domain
            rows = [row for row in self.truth[e.dataset] if not e.about.domains or row["domain"] == domain]
            made += [
                self.write(
                    f"runs/{name}/{run}/predictions/{e.report}-{epoch}.jsonl", [predicted(e.dataset, r) for r in rows]
                )
                for epoch in ("selected", "last")
            ]
        return self.listed("predict", f"predictions/{name}.json", made, made_with(name, e), [self.runs[name]])

    def _score(self, name: str, e: config.Experiment) -> Path:
        manifest = self.results / f"metrics/{name}.{e.report}.json"
        guesses = self.predictions.get(name) or self.released[e.predictions[e.report]]
        inputs = {"predictions": guesses, "annotations": self.annotations[e.dataset, e.report]}
        about = {"experiment": name, "split": e.report}
        stage_jobs.run("score", self.results, manifest, inputs, {"experiment": e}, **about)
        return manifest

    def inputs(self) -> dict[str, list[Path]]:
        """Return the manifests that tables and the report read."""
        kinds = {"metrics": self.metrics, "predictions": self.predictions, "runs": self.runs}
        return {kind: list(of.values()) for kind, of in kinds.items()}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    written = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    for lines in written["experiments"].values():
        lines["seeds"] = [SEED]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("all"))
        yield All(Path(), config.load(written).experiments)


def test_the_report_shows_every_experiment(made):
    inputs = made.inputs() | {"released": list(made.released.values()), "annotations": list(made.annotations.values())}
    settings = {"title": "all", "experiments": made.experiments}
    assert stage_jobs.run("page", made.results, made.results / "report/report.json", inputs, settings)
    page = made.page("index.html")
    labels = {story["label"] for story in json.loads(page.data)["stories"]}
    of_tables = {name: e for name, e in made.experiments.items() if e.table}
    rows = [(name, e.table, row) for name, e in of_tables.items() for row in published.keys_of(e).values()]
    assert labels == {f"{name}, {row} of Table {table}" for name, table, row in rows}
    text = " ".join((made.results / "report/index.html").read_text().split())
    for number in ABOUT:
        of_paper = {row.key for row in published.table(number)}
        reproduced = of_paper & {row for _, table, row in rows if table == number}
        assert f"{len(reproduced)} of {len(of_paper)} rows have runs." in text


@pytest.mark.parametrize("number", [1, 2, 3])
def test_the_tables_of_peers_show_and_compare_every_experiment(made, number):
    of_table = {name: e for name, e in made.experiments.items() if e.table == number}
    table = made.results / f"tables/peers{number}.json"
    settings = {"title": "all", "experiments": of_table}
    assert stage_jobs.run("tabulate", made.results, table, made.inputs(), settings, table=f"peers{number}")
    written = {path.name: path for path in files_of(table)}
    shown = csv_file.read(written[f"peers{number}.csv"])
    assert {row["label"] for row in shown if row["line"] == "reproduced"} == set(of_table)
    compared = [csv_file.read(path) for name, path in written.items() if re.fullmatch(r"paired\d-\w+\.csv", name)]
    assert {row["row"] for row in chain(*compared)} == set(of_table)
