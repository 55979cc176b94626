"""Computes what the experiments of one dataset need, according to the config: files, rows, hours of video and
trainings.

A family that several experiments share is counted once. The numbers of queries, videos and hours are those of the
released annotation files, which are recognised by their digests in the table of sources.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from pipeline import datasets
from pipeline.acquire.sources import Source, Sources
from pipeline.config import Config, Dataset, Experiment
from pipeline.cost import rates
from pipeline.datasets import own_table
from pipeline.datasets.definition import OwnFiles, Released
from pipeline.datasets.own_rows import split_of
from pipeline.errors import PipelineError
from pipeline.families import FAMILIES, choice_of
from pipeline.features.exchange.layouts import layouts_of
from pipeline.grids import grid_seconds
from pipeline.layout import Layout
from pipeline.video.own_dataset import remembered

HOUR = 3600.0
BYTES_OF = {"float16": 2, "float32": 4}


@dataclass(frozen=True)
class File:
    """One file to fetch. n_bytes: its size, or None if it is unknown. known: `exact`, `reported` or `assumed`."""

    source: Source
    n_bytes: float | None
    known: str


@dataclass(frozen=True)
class DatasetNeeds:
    """The needs of one dataset of a config. dataset: its section of the config. splits: the counted content of its
    annotation files."""

    name: str
    cfg: Config
    dataset: Dataset
    splits: Mapping[str, Released]

    @classmethod
    def of(cls, name: str, cfg: Config, table: Sources) -> DatasetNeeds | None:
        """Return the needs of a dataset, or None if its annotations are not the released files, because their size is
        not known."""
        if own := datasets.get(name).own:
            return cls(
                name,
                cfg,
                cfg.datasets[name],
                own_splits(own, remembered(Layout(Path(cfg.results)).own_durations(name))),
            )
        splits = {}
        for split, source in cfg.datasets[name].annotations.items():
            digest = (table[source].digest or "").removeprefix("sha256:")
            known = datasets.get(name).released.get(digest)
            if known is None:
                return None
            splits[str(split)] = _share(known, cfg.datasets[name].sample)
        return cls(name, cfg, cfg.datasets[name], splits)

    @property
    def made(self) -> list[str]:
        """Names of the families that are made here."""
        return self.cfg.made(self.name)

    @property
    def readers(self) -> set[str]:
        """The readers that decode the videos. Each decodes every video once."""
        return {str(FAMILIES[family].reader) for family in self.made} - {"words"}

    @property
    def trained(self) -> list[Experiment]:
        """The experiments that train."""
        return [e for e in self.cfg.experiments.values() if e.dataset == self.name and e.source != "predictions"]

    @property
    def n_runs(self) -> int:
        """Number of trainings."""
        return sum(len(experiment.runs) for experiment in self.trained)

    @property
    def n_videos(self) -> int:
        """Number of videos of all splits. No two splits share a video."""
        return sum(split.videos for split in self.splits.values())

    @property
    def n_queries(self) -> int:
        """Number of queries of all splits."""
        return sum(split.queries for split in self.splits.values())

    @property
    def hours(self) -> float:
        """Hours of video of all splits."""
        return sum(split.hours for split in self.splits.values())

    def files(self, table: Sources) -> list[File]:
        """Return all files to fetch except weights: annotations, archives, predictions, and videos if a family needs
        them.

        An archive whose size nobody states is counted with the size of the features that are read from it.
        """
        names = to_fetch(self.name, self.cfg)
        asked = self.archived_bytes() if names else {}
        return [file_of(table[name], asked.get(name)) for name in names]

    def rows(self, family: str) -> float:
        """Return the number of rows of a family over the dataset. For families of words it is the number of queries."""
        grid = self.dataset.grid_of(family)
        return self.n_queries if grid == "tokens" else self.hours * HOUR / float(grid_seconds(grid))

    def made_bytes(self) -> float:
        """Return the bytes of the stores of all families that are made here."""
        return sum(self._bytes(family, self.cfg.encoding.dtype) for family in self.made)

    def archived_bytes(self) -> dict[str, float]:
        """Return archive → bytes of the stores made from it, at the precision of the archive's layout."""
        return {
            archive: sum(self._bytes(family, layouts_of(self.name, family)[0].dtype) for family in families)
            for archive, families in self.cfg.archived(self.name).items()
        }

    def run_bytes(self) -> float:
        """Return the bytes of two sets of weights, and of two prediction files per split, for every run."""
        total = 0.0
        for experiment in self.trained:
            n_queries = sum(self.splits[split].queries for split in {"val", experiment.report} & set(self.splits))
            weights_bytes = 4 * experiment.model.parameters  # float32
            # Weights and predictions are kept for two epochs, the selected and the last one.
            total += len(experiment.runs) * 2 * (weights_bytes + n_queries * rates.PREDICTED_BYTES)
        return total

    def training(self) -> tuple[float, float]:
        """Return the clips of all samples, padding included, and the steps that all runs take up to their last epoch.

        Both are counted in steps of TR-DETR. Steps of another method are multiplied by the ratio of the costs of a
        step. Raises PipelineError when there are runs and no training split.
        """
        if self.trained and "train" not in self.splits:
            where = f"datasets.{self.name}.annotations"
            raise PipelineError(
                "no `train` file is named here, and experiments of this dataset train on it",
                where=where,
                remedy="add the key `train` there, with the name of the source that holds that file",
            )
        # A run of a dataset with domains trains on the queries of one domain, which are about equally many.
        n_queries = self.splits["train"].queries // len(datasets.get(self.name).run_domains) if self.trained else 0
        clips = steps = 0.0
        for experiment in self.trained:
            for run in experiment.runs:
                schedule = experiment.settings_of(run).training
                padded = self._padded_clips(experiment)
                cost = experiment.settings_of(run).model.step_cost
                clips += cost * schedule.epochs * n_queries * min(padded, schedule.max_clips or padded)
                steps += cost * schedule.epochs * ceil(n_queries / schedule.batch_size)
        return clips, steps

    def _bytes(self, family: str, dtype: str) -> float:
        per_row = rates.TOKENS if self.dataset.grid_of(family) == "tokens" else 1
        return self.rows(family) * per_row * FAMILIES[family].dim * BYTES_OF[dtype]

    def _padded_clips(self, experiment: Experiment) -> float:
        grid = self.dataset.grid_of(experiment.features.video[0]) if experiment.features else self.dataset.clip
        return datasets.get(self.name).padded_s / float(grid_seconds(grid))


def to_fetch(name: str, cfg: Config) -> list[str]:
    """Return the names in sources.csv of everything that a dataset of a config fetches except weights, each once.

    These are annotations, archives, predictions, and videos if a family needs them. A dataset of one's own fetches
    nothing.
    """
    if datasets.get(name).own:
        return []
    used = [experiment for experiment in cfg.experiments.values() if experiment.dataset == name]
    predictions = [source for e in used if e.source == "predictions" for source in e.predictions.values()]
    needs_videos = any(FAMILIES[family].reader != "words" for family in cfg.made(name))
    videos = cfg.datasets[name].videos if needs_videos else []
    listed = [*cfg.datasets[name].annotations.values(), *videos, *cfg.archived(name), *predictions]
    return list(dict.fromkeys(listed))


def _share(whole: Released, sample: float | None) -> Released:
    """Return the approximate size of the part of a split that a rehearsal uses."""
    if sample is None:
        return whole
    queries, videos = (max(1, round(sample * n)) for n in (whole.queries, whole.videos))
    return Released(whole.split, queries, videos, sample * whole.hours)


def own_splits(own: OwnFiles, durations: Mapping[str, float] | None = None) -> dict[str, Released]:
    """Return the sizes of the splits of a user's own file.

    durations: vid → seconds. Without it the end of the last window is taken as the duration of a video.
    """
    table = own_table.read(own.annotations, own.videos)
    split = split_of(table)
    lasts = {row.vid: 0.0 for row in table.rows}
    for row in table.rows:
        lasts[row.vid] = max(lasts[row.vid], row.end)
    lasts |= {vid: seconds for vid, seconds in (durations or {}).items() if vid in lasts}
    found = {}
    for name in sorted(set(split.values())):
        vids = {vid for vid in lasts if split[vid] == name}
        n_queries = len({(row.vid, row.query) for row in table.rows if row.vid in vids})
        found[name] = Released(name, n_queries, len(vids), sum(lasts[vid] for vid in vids) / HOUR)
    return found


def weights(cfg: Config, table: Sources) -> list[File]:
    """Return the weight files of all families that are made, each once. Random weights need no file."""
    families = {family for experiment in cfg.experiments.values() for family in experiment.made}
    names = {name for family in families for name in FAMILIES[family].weights}
    read = [name for name in sorted(names) if choice_of(name, cfg.encoding.weights) == "released"]
    return [file_of(table[name]) for name in read]


def file_of(source: Source, otherwise: float | None = None) -> File:
    """Return a source with its size: the exact size, or else the reported size, or else `otherwise`."""
    if source.n_bytes is not None:
        return File(source, source.n_bytes, "exact")
    if source.n_bytes_reported is not None:
        return File(source, source.n_bytes_reported, "reported")
    return File(source, otherwise, "assumed")
