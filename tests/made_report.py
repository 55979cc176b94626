"""A small results folder with all that a report shows."""

from __future__ import annotations

import json
from pathlib import Path

import stage_jobs
from made_predictions import HOSTILE, Outline, annotation, prediction, write
from made_results import experiment

from pipeline import provenance

SEEDS = (2017, 1)

PASSPORT = {"dim": 512, "grid": "2s", "origin": "raw", "weights": "w", "revision": 3, "preprocessing": "one frame"}


class Folder:
    """A results folder. Its files are written here, and their manifests are those that a stage would write."""

    def __init__(self, folder: Path) -> None:
        self.results = folder / "results"

    def write(self, place: str, rows: list) -> Path:
        path = self.results / place
        path.parent.mkdir(parents=True, exist_ok=True)
        return write(path, rows)

    def text(self, place: str, text: str) -> Path:
        path = self.results / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def listed(self, stage: str, place: str, made: list, settings=None, inputs=()) -> Path:
        """Return the manifest of files that are written before the stage begins. No older manifest may list them."""
        (self.results / place).unlink(missing_ok=True)
        work = lambda: provenance.Outcome(made)  # noqa: E731
        provenance.run_stage(stage, self.results / place, work, settings=settings or {}, inputs=inputs)
        return self.results / place

    def page(self, name: str) -> Outline:
        return Outline((self.results / "report" / name).read_text())


class Made(Folder):
    """A results folder with two seeds of one experiment of Table 4, and a prediction file, as the stages leave them.

    The file is scored for a row of Table 4, and for one of Table 1 that the paper does not have.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.truth = [annotation(n, [[10, 20]], HOSTILE if n == 0 else f"query {n}") for n in range(6)]
        self.mine = experiment(table=4, row="(j)", report="val", seeds=list(SEEDS))
        lines = {"source": "predictions", "predictions": {"val": "theirs"}, "table": 4, "row": "(j)", "report": "val"}
        beyond = experiment(**lines | {"table": 1, "row": "CG-DETR V"})
        self.experiments = {"mine": self.mine, "theirs": experiment(**lines), "beyond": beyond}
        self.annotations = self.listed(
            "annotate",
            "annotations/qvhighlights/val.json",
            [self.write("annotations/qvhighlights/val.jsonl", self.truth)],
        )
        guessed = [prediction(row, [[10, 20 + 2 * n, 0.9]]) for n, row in enumerate(self.truth)]
        self.released = self.listed(
            "fetch", "resources/theirs/fetch.json", [self.write("resources/theirs/p.jsonl", guessed)]
        )
        self.train()
        self.figures = self.listed("draw", "figures/mine.json", [self.text("figures/mine.svg", "<svg/>")])

    def train(self, end: float = 20.0) -> None:
        """Write runs, predictions and scores. The first window ends at `end` seconds."""
        logs, predicted = [], []
        for seed in SEEDS:
            run = f"runs/mine/all-s{seed}"
            card = {"selected": {"epoch": 4, "value": 1}, "last": {"epoch": 6, "value": 1}, "device": "cpu"}
            card["features"] = {"clip-vit-b32": PASSPORT}
            logs += [
                self.text(f"{run}/card.json", json.dumps(card)),
                self.text(f"{run}/log.csv", "epoch,MR-full-mAP\n4,1\n6,1\n"),
            ]
            self.text(f"{run}/seconds.csv", "epoch,seconds\n1,30.5\n2,40\n")
            rows = [prediction(row, [[10, end + seed % 2, 0.9], [60, 90, 0.1]]) for row in self.truth]
            predicted += [self.write(f"{run}/predictions/val-{epoch}.jsonl", rows) for epoch in ("selected", "last")]
        of_runs = {run: self.mine.settings_of(run).recorded() for run in self.mine.runs}
        settings = {"experiment": "mine", "features": self.mine.features.model_dump(mode="json"), "runs": of_runs}
        settings["end"] = end
        self.runs = self.listed("train", "runs/mine.1of1.json", logs, settings)
        self.predictions = self.listed("predict", "predictions/mine.json", predicted, settings, [self.runs])
        self.metrics = []
        for name, manifest in (("mine", self.predictions), ("theirs", self.released), ("beyond", self.released)):
            self.metrics.append(self.results / f"metrics/{name}.val.json")
            inputs = {"predictions": manifest, "annotations": self.annotations}
            settings = {"experiment": self.experiments[name]}
            stage_jobs.run("score", self.results, self.metrics[-1], inputs, settings, experiment=name, split="val")

    def report(self) -> bool:
        inputs = {
            "metrics": self.metrics, "predictions": self.predictions, "released": self.released, "runs": self.runs,
            "figures": self.figures, "annotations": self.annotations,
        }  # fmt: skip
        settings = {"title": f"Demo {HOSTILE}", "experiments": self.experiments}
        return stage_jobs.run("page", self.results, self.results / "report/report.json", inputs, settings)
