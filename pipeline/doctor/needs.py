"""Finds what the experiments of one target need: sources, decoders, packages, and a GPU if there is one.

Everything here follows from the config. `source: predictions` needs no video and no torch, and `source: features`
needs torch and no video.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline import datasets
from pipeline.acquire.sources import Source, Sources
from pipeline.config import Config
from pipeline.cost import need
from pipeline.errors import PipelineError
from pipeline.families import FAMILIES
from pipeline.layout import OWN_TABLE
from pipeline.targets import TABLES, TARGETS

OF_EXPERIMENT = "experiment_"
OF_TABLE = "table_"
OF_ALL_DATASETS = ("annotations", "leaderboards")
"""Targets that need the annotations of every dataset, and no experiment."""


@dataclass(frozen=True)
class Needs:
    """The needs of a target. cfg: the config with only the experiments of the target. sources: those to fetch, by name.

    of_datasets: the names of the datasets that the target works on.
    """

    cfg: Config
    sources: Mapping[str, Source]
    of_datasets: tuple[str, ...]

    @classmethod
    def of(cls, cfg: Config, table: Sources, target: str) -> Needs:
        """Return the needs of a target. Raises PipelineError for a target that the workflow does not have."""
        cut = cut_to(cfg, target)
        used = tuple(dict.fromkeys(experiment.dataset for experiment in cut.experiments.values()))
        of_datasets = tuple(cfg.datasets) if target in OF_ALL_DATASETS else used
        names = [name for dataset in of_datasets for name in need.to_fetch(dataset, cut)]
        if target == "leaderboards":
            names += [name for dataset in of_datasets for name in _compared(dataset, cfg, table)]
        names += [file.source.name for file in need.weights(cut, table)]
        return cls(cut, {name: table[name] for name in dict.fromkeys(names)}, of_datasets)

    @property
    def made(self) -> list[str]:
        """Names of the families that are made here, of all datasets."""
        return sorted({family for name in self.of_datasets for family in self.cfg.made(name)})

    @property
    def decodes(self) -> bool:
        """Tell whether videos are read."""
        return any(FAMILIES[family].reader != "words" for family in self.made)

    @property
    def looks_at_own_videos(self) -> bool:
        """Tell whether one of the datasets is the user's own. The lengths of its videos are then read."""
        return any(datasets.get(name).own for name in self.of_datasets)

    @property
    def trains(self) -> bool:
        """Tell whether something is trained."""
        return any(experiment.source != "predictions" for experiment in self.cfg.experiments.values())

    @property
    def uses_gpu(self) -> bool:
        """Tell whether a stage would use a GPU."""
        return self.trains or bool(self.made)

    @property
    def asks_youtube(self) -> bool:
        """Tell whether videos may be fetched from YouTube."""
        return any(source.kind == "youtube" for source in self.sources.values())

    @property
    def extras(self) -> tuple[str, ...]:
        """Names of the extras in pyproject.toml that the stages need, beside the light installation."""
        extract = bool(self.made) or self.looks_at_own_videos
        return ("extract",) * extract + ("train",) * self.trains


def cut_to(cfg: Config, target: str) -> Config:
    """Return the config with only the experiments of a target. Raises PipelineError for an unknown target."""
    if target.startswith(OF_EXPERIMENT):
        name = target.removeprefix(OF_EXPERIMENT)
        if name in cfg.experiments:
            return _with(cfg, [name])
    shown = [name for table in _tables_of(cfg, target) for name in cfg.of_table(table)]
    match target:
        case _ if target in OF_ALL_DATASETS:
            return _with(cfg, [])
        case "figures":
            return _with(
                cfg, [n for n, e in cfg.experiments.items() if e.source != "predictions" and n not in cfg.peers]
            )
        case "report":
            return cfg
        case _ if target in TARGETS or target in _own_targets(cfg):
            return _with(cfg, shown)
    known = f"{', '.join([*TARGETS, *_own_targets(cfg)])}, or {OF_EXPERIMENT}NAME for an experiment of the config"
    raise PipelineError("is no target of this workflow", where=f"--target {target}", remedy=f"name one of {known}")


def _compared(dataset: str, cfg: Config, table: Sources) -> list[str]:
    """Return the names of the prediction files that leaderboards compare: at least two for a split."""
    found = [table.predictions_of(dataset, split) for split in cfg.datasets[dataset].annotations]
    return [name for names in found if len(names) > 1 for name in names]


def _tables_of(cfg: Config, target: str) -> list[str]:
    own = _own_targets(cfg)
    several = {"all_tables": [*TABLES, *own.values()], "peers": [f"peers{n}" for n in range(1, 5)]}
    return several.get(target, [own.get(target, target)])


def _own_targets(cfg: Config) -> dict[str, str]:
    """Return target → name of the table, for the datasets of the user's own."""
    return {f"{OF_TABLE}{name}": f"{OWN_TABLE}{name}" for name in cfg.datasets if datasets.get(name).own}


def _with(cfg: Config, names: list[str]) -> Config:
    kept = {name: experiment for name, experiment in cfg.experiments.items() if name in names}
    return cfg.model_copy(update={"experiments": kept, "peers": [name for name in cfg.peers if name in kept]})
