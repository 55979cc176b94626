"""A benchmark small enough to train on in a second: stores, annotations and settings, in the shape of QVHighlights."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import stage_jobs

from pipeline import config, families, files, records
from pipeline.features.store.writer import StoreWriter
from pipeline.manifests import describe
from pipeline.methods.cg_detr.settings import CgDetrSettings
from pipeline.methods.eatr.settings import EatrSettings
from pipeline.methods.moment_detr.settings import MomentDetrSettings
from pipeline.methods.qd_detr.settings import QdDetrSettings
from pipeline.methods.settings import MethodSettings
from pipeline.methods.tr_detr.settings import TrDetrSettings
from pipeline.methods.umt.settings import UmtSettings
from pipeline.methods.univtg.settings import UniVtgSettings

N_CLIPS, VIDEO_DIM, AUDIO_DIM, TEXT_DIM = 12, 16, 6, 8
MODEL = TrDetrSettings(
    hidden_dim=32, heads=2, queries=4, t2v_layers=1, encoder_layers=1, decoder_layers=2, feedforward_dim=32
)
SMALL = {"hidden_dim": 32, "heads": 2, "queries": 4, "encoder_layers": 1, "feedforward_dim": 32}
PEERS: dict[str, MethodSettings] = {
    "moment_detr": MomentDetrSettings(**SMALL),
    "qd_detr": QdDetrSettings(**SMALL, t2v_layers=1),
    "eatr": EatrSettings(**SMALL, decoder_layers=2),
    "cg_detr": CgDetrSettings(**SMALL, decoder_layers=2, t2v_layers=1, dummies=3, dummy_layers=1, prompts=4),
    "univtg": UniVtgSettings(hidden_dim=32, heads=2, encoder_layers=1, feedforward_dim=32, warmup_epochs=3),
    "umt": UmtSettings(hidden_dim=32, heads=2, decoder_layers=1, feedforward_dim=32, positions=20),
}
"""The other methods, with equally small networks."""
DATASET = config.Dataset(clip="2s", shards=1, annotations={"train": "tiny", "val": "tiny"})
FEATURES = config.Features(video=["clip-vit-b32"], text="clip-text")
WITH_SOUND = config.Features(video=["clip-vit-b32"], audio=["pann-cnn14"], text="clip-text")


def passport(family: str, dim: int, grid: str = "2s", dtype: str = "float32") -> families.Passport:
    return families.Passport(family, 1, "raw", "random:0", grid, dim, dtype, "made up")


def write_store(path: Path, passport: families.Passport, rows: Mapping[str, np.ndarray]) -> Path:
    with StoreWriter(path, passport) as writer:
        for key, value in rows.items():
            writer.add(key, value)
    return path


def list_stores(manifest: Path, paths: list[Path], skipped: tuple[dict[str, str], ...] = ()) -> Path:
    described = [describe(path) for path in paths]
    files.write_json(manifest, {"stage": "extract", "files": described, "skipped": list(skipped)})
    return manifest


def experiment(**changes) -> config.Experiment:
    training = {"epochs": 4, "batch_size": 8, "learning_rate": 1e-3, "evaluate_every": 2} | changes.pop("training", {})
    features = WITH_SOUND if getattr(changes.get("model"), "name", "") == "umt" else FEATURES
    given = {"dataset": "qvhighlights", "features": features, "model": MODEL, "seeds": [2017]} | changes
    return config.Experiment(**given, training=config.Training(**training))


def log_of(run: Path) -> list[dict[str, str]]:
    """Return the rows of a run's log."""
    with open(run / "log.csv", newline="") as file:
        return list(csv.DictReader(file))


def query(qid: int, start: int, length: int) -> records.Query:
    ids = tuple(range(start, start + length))
    return records.Query(
        qid=qid,
        query="something happens",
        vid=f"v{qid}",
        duration=2.0 * N_CLIPS,
        relevant_windows=((2.0 * start, 2.0 * (start + length)),),
        relevant_clip_ids=ids,
        saliency_scores=((4, 3, 4),) * length,
    )


class Benchmark:
    """Videos in which the relevant clips look different; one query each. `train` and `predict` call the stages."""

    def __init__(self, folder: Path, n_train: int = 24, n_val: int = 8) -> None:
        rng = np.random.default_rng(0)
        self.results = folder / "results"
        look = rng.normal(size=VIDEO_DIM)
        queries, video, text = [], {}, {}
        for qid in range(n_train + n_val):
            start, length = int(rng.integers(0, N_CLIPS - 4)), int(rng.integers(2, 5))
            queries.append(query(qid, start, length))
            rows = rng.normal(size=(N_CLIPS, VIDEO_DIM))
            rows[start : start + length] += 3 * look
            video[f"v{qid}"] = rows
            text[str(qid)] = rng.normal(size=(int(rng.integers(3, 6)), TEXT_DIM))
        self.splits = {"train": queries[:n_train], "val": queries[n_train:]}
        self.annotations = {name: self._annotate(name, rows) for name, rows in self.splits.items()}
        features = self.results / "features/qvhighlights"
        sound = {vid: np.random.default_rng(n).normal(size=(N_CLIPS, AUDIO_DIM)) for n, vid in enumerate(video)}
        words = passport("clip-text", TEXT_DIM, "tokens")
        self.stores = [
            write_store(features / "2s/clip-vit-b32/00000.h5", passport("clip-vit-b32", VIDEO_DIM), video),
            write_store(features / "2s/pann-cnn14/00000.h5", passport("pann-cnn14", AUDIO_DIM), sound),
            write_store(features / "tokens/clip-text/00000.h5", words, text),
        ]
        self.features = [list_stores(features / "all/00000.json", self.stores)]

    def _annotate(self, split: str, queries: list[records.Query]) -> Path:
        path = self.results / f"annotations/qvhighlights/{split}.jsonl"
        records.write_jsonl(path, map(records.to_row, queries))
        return path

    def train(self, experiment: config.Experiment, name: str = "tiny", results: Path | None = None) -> Path:
        """Train every run; returns the folder of the runs."""
        results = results or self.results
        manifest = results / f"runs/{name}.1of1.json"
        asked = {"experiment": experiment, "dataset": DATASET}
        read = {"annotations": self.annotations.values(), "features": self.features}
        stage_jobs.run("train", results, manifest, read, asked, experiment=name, part="1of1")
        return results / "runs" / name

    def predict(self, experiment: config.Experiment, name: str = "tiny") -> Path:
        """Predict val with every run; returns the folder of the runs."""
        manifest = self.results / f"predictions/{name}.json"
        read = {"annotations": self.annotations["val"], "features": self.features}
        read["runs"] = self.results / f"runs/{name}.1of1.json"
        asked = {"experiment": experiment, "dataset": DATASET}
        stage_jobs.run("predict", self.results, manifest, read, asked, experiment=name)
        return self.results / "runs" / name


def train_with_states(benchmark: Benchmark, results: Path, model: MethodSettings = MODEL) -> None:
    """Train 14 epochs with a state after every one, so that there is something to be killed in."""
    from pipeline.training import loop

    loop.SAVE_EVERY_S, seldom = 0, loop.SAVE_EVERY_S
    try:
        benchmark.train(experiment(model=model, training={"epochs": 14}), results=results)
    finally:
        loop.SAVE_EVERY_S = seldom
