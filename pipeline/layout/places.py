"""What the place of a file below a results folder says: of which store, run or split the file is.

`Layout` makes these places, and this is the way back. A results folder may itself have the name of any folder below it.
So only the end of a path decides, and only whole names are compared.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pipeline.layout.runs import EPOCHS, is_name_of_run


@dataclass(frozen=True)
class StorePlace:
    """Which of a dataset's stores: a family on a grid, made here or imported from an archive.

    `str()` gives the two folders that its stores lie in, `/{grid}/{folder}/`, as a manifest records it.
    """

    family: str
    grid: str
    archive: str | None = None

    def __str__(self) -> str:
        return f"/{self.grid}/{self.folder}/"

    @property
    def folder(self) -> str:
        """The name of its folder below the grid's."""
        return f"{self.family}+{self.archive}" if self.archive else self.family

    def holds(self, path: Path) -> bool:
        """Whether a file is a store of this family, grid and archive."""
        return path.suffix == ".h5" and path.parts[-3:-1] == (self.grid, self.folder)

    def stores_among(self, paths: Iterable[Path]) -> list[Path]:
        """Those of `paths` that are stores of this family, grid and archive, sorted."""
        return sorted(set(filter(self.holds, paths)))


@dataclass(frozen=True)
class AnnotationFile:
    """Whose queries a file under `annotations/` holds."""

    dataset: str
    split: str

    @classmethod
    def of(cls, path: Path) -> AnnotationFile | None:
        """What the place of an annotation file says; None for any other file."""
        if path.suffix != ".jsonl" or path.parts[-3:-2] != ("annotations",):
            return None
        return cls(path.parts[-2], path.stem)


@dataclass(frozen=True)
class RunFile:
    """Whose weights, learning curve, card or predictions a file under `runs/` holds."""

    experiment: str
    run: str

    @classmethod
    def of(cls, path: Path) -> RunFile | None:
        """What the place of a run's file says; None for a file that belongs to no run."""
        folder = path.parent.parent if path.parent.name == "predictions" else path.parent
        if folder.parts[-3:-2] != ("runs",) or not is_name_of_run(folder.name):
            return None
        return cls(folder.parts[-2], folder.name)


@dataclass(frozen=True)
class PredictionFile:
    """Whose predictions a file under `runs/` holds."""

    experiment: str
    run: str
    split: str
    epoch: str

    @classmethod
    def of(cls, path: Path) -> PredictionFile | None:
        """What the place of a prediction file says; None for a file that holds no predictions of a run."""
        of_run = RunFile.of(path)
        if of_run is None or path.parent.name != "predictions" or path.suffix != ".jsonl":
            return None
        split, _, epoch = path.stem.partition("-")
        return cls(of_run.experiment, of_run.run, split, epoch)


@dataclass(frozen=True)
class MetricsFile:
    """Whose metrics a file under `metrics/` holds. run: a run's name, or `RELEASED_RUN`."""

    experiment: str
    run: str
    split: str
    epoch: str

    @classmethod
    def of(cls, path: Path) -> MetricsFile | None:
        """What the place of a metrics file says; None for any other file."""
        split, _, epoch = path.stem.partition("-")
        if path.suffix != ".json" or path.parts[-4:-3] != ("metrics",) or epoch not in EPOCHS:
            return None
        return cls(path.parts[-3], path.parts[-2], split, epoch)
