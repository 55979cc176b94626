"""Metrics of runs as their stage writes them, for tables that are made without a training."""

from __future__ import annotations

from pathlib import Path

from pipeline import config, files
from pipeline.manifests import describe
from pipeline.reporting import render, tables
from pipeline.reporting.reproduced import METRIC_OF

BARE = {"features": {"video": ["clip-vit-b32"]}, "model": {}, "training": {}, "seeds": [2017]}
QVH = {"dataset": "qvhighlights"} | BARE
TVSUM = {"dataset": "tvsum", "source": "features", "archive": "umt"} | BARE


def experiment(**lines) -> config.Experiment:
    return config.Experiment.model_validate(QVH | lines)


def tvsum_experiment(**lines) -> config.Experiment:
    return config.Experiment.model_validate(TVSUM | lines)


def qvh_metrics(start: float, queries: int = 1542) -> dict:
    brief = {name: start + i for i, name in enumerate(METRIC_OF.values())}
    bounds = {name: [value - 2, value + 2.5] for name, value in brief.items()}
    intervals = {"videos": 476, "percent": bounds}
    return {"unrounded": {"brief": brief}, "n_queries": {"all": queries}, "notes": [], "intervals": intervals}


class Results:
    """A results folder with made-up scores and logs."""

    def __init__(self, folder):
        self.folder, self.scored, self.logs = folder, [], []

    def score(self, name: str, run: str, file: str, metrics: dict) -> None:
        path = self.folder / "metrics" / name / run / f"{file}.json"
        files.write_json(path, metrics)
        self.scored.append(path)

    def log(self, name: str, run: str, column: str, values: list) -> None:
        path = self.folder / "runs" / name / run / "log.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"epoch,total,{column}\n" + "".join(f"{i},0.5,{v}\n" for i, v in enumerate(values, start=1)))
        self.logs.append(path)

    def manifests(self, experiments: dict) -> tuple[list, list]:
        """Return a manifest of the scores and one of the training, for each experiment."""
        scored = self.folder / "scored.json"
        files.write_json(scored, {"stage": "score", "files": [describe(path) for path in self.scored]})
        trained = {name: e for name, e in experiments.items() if e.source != "predictions"}
        return [scored], [self.train(name, e) for name, e in trained.items()]

    def train(self, name: str, e: config.Experiment) -> Path:
        """Return the manifest of a training of all runs."""
        manifest = self.folder / f"runs/{name}.1of1.json"
        logs = [describe(path) for path in self.logs if path.parent.parent.name == name]
        runs = {run: e.settings_of(run).recorded() for run in e.runs}
        settings = {"experiment": name, "features": e.features.model_dump(mode="json"), "runs": runs}
        files.write_json(manifest, {"stage": "train", "settings": settings, "inputs": {}, "files": logs})
        return manifest

    def build(self, table: str, experiments: dict) -> render.Table:
        return tables.build(table, "Test", experiments, *self.manifests(experiments))


def under(table: render.Table, kind: str) -> list[render.TableLine]:
    return [line for line in table.lines if line.kind == kind]


def score_domain(results, domain: str, value: float, epoch: str = "selected", seed: int = 1, videos: int = 1) -> None:
    brief = {domain: value, "average": value}
    metrics = {"unrounded": {"brief": brief}, "n_queries": {"all": videos, domain: videos}, "notes": []}
    results.score("tvsum_v", f"{domain}-s{seed}", f"val-{epoch}", metrics)
