"""Finds experiments that cannot work. They are found when the config is read, and not after hours on a GPU.

Each rule here compares several keys. The values that a single key may have are defined with its type in
`pipeline/config.py` or `pipeline/config_experiment.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from typing import TYPE_CHECKING

from pipeline import datasets
from pipeline.families import FAMILIES
from pipeline.methods.settings import MethodSettings

if TYPE_CHECKING:
    from pipeline.config import Config, Dataset, Experiment


def unworkable(cfg: Config) -> Iterator[str]:
    """Yield everything in a valid config that cannot work: the key, its value, and what is allowed there."""
    yield from _odd_peers(cfg)
    for dataset_name, dataset in cfg.datasets.items():
        rated = _rated_grid(dataset_name)
        if rated not in (None, dataset.clip):
            place = f"datasets.{dataset_name}.clip"
            yield (
                f"`{place}` is {dataset.clip}; the clips of {dataset_name} that people rated have {rated},"
                f" so write {rated}"
            )
        if dataset.sample and datasets.get(dataset_name).own:
            yield f"`datasets.{dataset_name}.sample` is for datasets of the paper: name fewer videos in your file"
    for dataset_name, training in cfg.training.items():
        for key, why in MethodSettings.ignored_training_keys(dataset_name).items():
            if key in training.model_fields_set:
                yield f"`training.{dataset_name}.{key}` is never read, because {why}; leave it out"
    for name, experiment in cfg.experiments.items():
        place = f"experiments.{name}"
        if experiment.dataset not in cfg.datasets:
            known = ", ".join(cfg.datasets)
            yield f"`{place}.dataset`: {experiment.dataset} has no section under `datasets`; there are {known}"
            continue
        if experiment.source == "predictions" and cfg.datasets[experiment.dataset].sample:
            yield (
                f"`{place}`: a released prediction file is about all videos, and"
                f" `datasets.{experiment.dataset}.sample` uses only some: leave one of the two out"
            )
        yield from _wrong_table(place, experiment)
        yield from _wrong_grids(place, experiment, cfg)
        yield from _not_permitted(place, experiment, cfg.datasets[experiment.dataset])


def _not_permitted(place: str, experiment: Experiment, dataset: Dataset) -> Iterator[str]:
    """Yield families whose released rows would be used together with rows made here, without the permission of the
    config."""
    allowed = dataset.fill.beside if dataset.fill else []
    if others := [family for family in dataset.filled(experiment) if family not in allowed]:
        key = f"datasets.{experiment.dataset}.fill.beside"
        yield (
            f"`{place}` would have rows of {dataset.fill_archive} beside rows made here, and `{key}` does not permit it"
            f" for {', '.join(others)}: add them there, or write `missing: skip`"
        )


def _odd_peers(cfg: Config) -> Iterator[str]:
    """Yield names under `peers` that no experiment has, that are listed twice, or whose experiment is in no table."""
    for i, name in enumerate(cfg.peers):
        if name not in cfg.experiments:
            near = get_close_matches(name, list(cfg.experiments))
            yield f"`peers`: there is no experiment {name!r}" + (f", but {' and '.join(near)}" if near else "")
        elif name in cfg.peers[:i]:
            yield f"`peers` names {name} twice"
        elif cfg.experiments[name].table is None:
            yield f"`peers` names {name}, which is in no table: give `experiments.{name}` its `table` and `row`"


def _rated_grid(dataset: str) -> str | None:
    """Return the grid of the clips that people rated, or None if there are only windows in seconds, which fit every
    grid."""
    rated = datasets.get(dataset).highlights
    return rated.clip if rated else None


def _wrong_table(place: str, experiment: Experiment) -> Iterator[str]:
    tables = experiment.about.tables
    if experiment.table is None or experiment.table in tables:
        return
    allowed = f"its table is {' or '.join(map(str, tables))}" if tables else "it has none: leave `table` and `row` out"
    place, wanted = f"`{place}.table` is {experiment.table}", datasets.of_table(experiment.table).name
    yield f"{place}, a table of {wanted}, and `dataset` is {experiment.dataset}; {allowed}"


def _wrong_grids(place: str, experiment: Experiment, cfg: Config) -> Iterator[str]:
    """Yield families on a grid that they cannot have, families on several grids, and a grid other than that of the
    ratings."""
    if experiment.features is None or experiment.source == "predictions":
        return
    dataset, name = cfg.datasets[experiment.dataset], experiment.dataset
    grids = {family: dataset.grid_of(family) for family in [*experiment.features.video, *experiment.features.audio]}
    for family, grid in grids.items():
        own = FAMILIES[family].grid
        if family in experiment.made and own not in (None, grid):
            yield (
                f"`{place}.features`: {family} is made on the grid {own} only, and `datasets.{name}` puts it on {grid};"
                f" write `grids: {{{family}: {own}}}` there"
            )
            return
    if len(set(grids.values())) > 1:
        listed = ", ".join(f"{family} {grid}" for family, grid in grids.items())
        yield (
            f"`{place}.features`: its families are on different grids ({listed}); name families of one grid,"
            f" or change `datasets.{name}.grids`"
        )
    elif (rated := _rated_grid(name)) and (grid := next(iter(grids.values()))) != rated:
        yield (
            f"`{place}.features`: its families are on the grid {grid}, and the clips of {name} that people rated"
            f" have {rated}; put these families on {rated} under `datasets.{name}.grids`"
        )
