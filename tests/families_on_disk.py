"""Writes families of features to disk, and reads them as a training does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tiny_benchmark import list_stores, passport, write_store

from pipeline import config
from pipeline.layout.places import StorePlace
from pipeline.methods.tr_detr.settings import TrDetrSettings
from pipeline.records import Query
from pipeline.training.data import Data, load, open_features

LENGTHS = {"a": 5, "b": 3, "c": 7}
TOKENS = {"1": 4, "2": 6, "3": 2}


def queries() -> list[Query]:
    return [Query(qid=qid, query="q", vid=vid, duration=10.0) for qid, vid in ((1, "a"), (2, "b"), (3, "c"))]


def rows(dim: int, lengths: dict[str, int], seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {key: rng.normal(size=(n, dim)).astype(np.float32) for key, n in lengths.items()}


class FamiliesOnDisk:
    """Writes stores of families below a folder, and reads them as a training does. `rows` has their rows."""

    def __init__(self, folder: Path, dtype: str = "float32") -> None:
        self.folder, self.dtype = folder, dtype
        self.rows: dict[str, dict[str, np.ndarray]] = {}
        self.paths: list[Path] = []
        self.grids: dict[str, str] = {}

    def put(self, family: str, dim: int, lengths: dict[str, int] = LENGTHS, grid: str = "2s") -> FamiliesOnDisk:
        made = rows(dim, lengths, seed=len(self.paths))
        path = self.folder / f"features/{grid}/{family}/00000.h5"
        self.paths.append(write_store(path, passport(family, dim, grid, self.dtype), made))
        self.rows[family] = {key: value.astype(self.dtype).astype(np.float32) for key, value in made.items()}
        self.grids[family] = grid
        return self

    def load(self, features: config.Features, dataset: str = "qvhighlights", skipped=(), **cuts) -> Data:
        manifest = list_stores(self.folder / "manifest.json", self.paths, skipped)
        families = {family: StorePlace(family, self.grids[family]) for family in features.all}
        with open_features(families, [manifest]) as stores:
            normalisation = TrDetrSettings().normalisation(dataset)
            return load(stores, features, queries(), training=config.Training(**cuts), normalisation=normalisation)


def two_streams(folder: Path, **put) -> FamiliesOnDisk:
    return FamiliesOnDisk(folder, **put).put("i3d-inception-rgb-tvsum", 6).put("i3d-inception-flow-tvsum", 4)


VIDEO = ["i3d-inception-rgb-tvsum", "i3d-inception-flow-tvsum"]
WORDS = config.Features(video=VIDEO, text="clip-text")
