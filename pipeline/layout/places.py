"""Finds out from the path of a file below a results folder to which store, run or split the file belongs.

`Layout` makes these paths, and this module does the reverse. A results folder may itself have the name of any folder
below it. So only the end of a path decides, and only whole names are compared.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pipeline.layout.runs import EPOCHS, is_name_of_run


@dataclass(frozen=True)
class StorePlace:
    """The stores of one family of a dataset on one grid. They were made here, or imported from an archive.

    `str()` gives the two folders that its stores lie in, `/{grid}/{folder}/`, as a manifest records it.
    """

    family: str
    grid: str
    archive: str | None = None

    def __str__(self) -> str:
        return f"/{self.grid}/{self.folder}/"

    @property
    def folder(self) -> str:
        """The name of the stores' folder below the grid's folder."""
        return f"{self.family}+{self.archive}" if self.archive else self.family

    def holds(self, path: Path) -> bool:
        """Tell whether a file is a store of this family, grid and archive."""
        return path.suffix == ".h5" and path.parts[-3:-1] == (self.grid, self.folder)

    def stores_among(self, paths: Iterable[Path]) -> list[Path]:
        """Return the files among `paths` that are stores of this family, grid and archive, sorted."""
        return sorted(set(filter(self.holds, paths)))


@dataclass(frozen=True)
class AnnotationFile:
    """The dataset and the split of a file with queries under `annotations/`."""

    dataset: str
    split: str

    @classmethod
    def of(cls, path: Path) -> AnnotationFile | None:
        """Return the dataset and the split that this path names, or None if it is no annotation file."""
        if path.suffix != ".jsonl" or path.parts[-3:-2] != ("annotations",):
            return None
        return cls(path.parts[-2], path.stem)


@dataclass(frozen=True)
class RunFile:
    """The experiment and the run of a file under `runs/`: weights, learning curve, card or predictions."""

    experiment: str
    run: str

    @classmethod
    def of(cls, path: Path) -> RunFile | None:
        """Return the experiment and the run that this path names, or None if the file belongs to no run."""
        folder = path.parent.parent if path.parent.name == "predictions" else path.parent
        if folder.parts[-3:-2] != ("runs",) or not is_name_of_run(folder.name):
            return None
        return cls(folder.parts[-2], folder.name)


@dataclass(frozen=True)
class PredictionFile:
    """The experiment, run, split and epoch of a prediction file under `runs/`."""

    experiment: str
    run: str
    split: str
    epoch: str

    @classmethod
    def of(cls, path: Path) -> PredictionFile | None:
        """Return the experiment, run, split and epoch that this path names, or None if it is no prediction file of a
        run."""
        of_run = RunFile.of(path)
        if of_run is None or path.parent.name != "predictions" or path.suffix != ".jsonl":
            return None
        split, _, epoch = path.stem.partition("-")
        return cls(of_run.experiment, of_run.run, split, epoch)


@dataclass(frozen=True)
class MetricsFile:
    """The experiment, run, split and epoch of a file under `metrics/`. run: a run's name, or `RELEASED_RUN`."""

    experiment: str
    run: str
    split: str
    epoch: str

    @classmethod
    def of(cls, path: Path) -> MetricsFile | None:
        """Return the experiment, run, split and epoch that this path names, or None if it is no metrics file."""
        split, _, epoch = path.stem.partition("-")
        if path.suffix != ".json" or path.parts[-4:-3] != ("metrics",) or epoch not in EPOCHS:
            return None
        return cls(path.parts[-3], path.parts[-2], split, epoch)
