"""Finds names in the config that match no source, before anything is planned.

Without this check, Snakemake would treat an input function that raises an error like one that needs no input. If the
table exists already, a wrong name would then end with "nothing to be done".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from pathlib import Path

from pipeline import datasets
from pipeline.acquire.sources import Sources
from pipeline.config import Config
from pipeline.errors import PipelineError
from pipeline.families import FAMILIES, choice_of, own_definitions
from pipeline.own_families import SAFETENSORS, is_file

Reference = tuple[str, str, tuple[str, ...]]
"""Key in the config, the name in sources.csv that it asks for, and the kinds of source that fit."""


def check(cfg: Config, sources: Sources, where: str) -> None:
    """Raise one PipelineError for all wrong names in the config.

    These are annotations that an experiment needs and its dataset does not name, names that are not in the table of
    sources or have the wrong kind there, and weight files that do not exist.
    """
    misfits = [_misfit(reference, sources) for reference in _references(cfg)]
    complaints = [
        *_missing_annotations(cfg),
        *_unknown_weights(cfg),
        *_unreadable_weights(cfg, sources),
        *filter(None, misfits),
    ]
    if complaints:
        remedy = f"correct it there, or add rows to {sources.table}"
        raise PipelineError("; ".join(dict.fromkeys(complaints)), where=where, remedy=remedy)


def _missing_annotations(cfg: Config) -> Iterator[str]:
    """Yield the missing annotations. Training reads train and val, and every experiment reads the split that it
    reports."""
    for name, experiment in cfg.experiments.items():
        read = [experiment.report] if experiment.source == "predictions" else ["train", "val", experiment.report]
        for split in dict.fromkeys(read):
            if split not in cfg.datasets[experiment.dataset].annotations:
                key = f"datasets.{experiment.dataset}.annotations.{split}"
                why = f"has `report: {split}`" if split == experiment.report else "trains"
                yield f"`{key}` is missing, and `experiments.{name}` {why}"


def _unknown_weights(cfg: Config) -> Iterator[str]:
    known = sorted({name for family in FAMILIES.values() for name in family.weights})
    for name in cfg.encoding.weights:
        if name not in known:
            yield f"`encoding.weights.{name}`: no family has such weights{_near(name, known)}"


def _unreadable_weights(cfg: Config, sources: Sources) -> Iterator[str]:
    """Yield weights of families of the config that do not exist, or that their encoder cannot read."""
    made = {family for experiment in cfg.experiments.values() for family in experiment.made}
    for name, definition in own_definitions(made).items():
        weights = definition["weights"]
        if is_file(weights) and not Path(weights).is_file():
            yield f"`families.{name}.weights`: there is no file {weights}"
            continue
        file = sources[weights].file if weights in sources.by_name else SAFETENSORS
        if definition["encoder"] == "open_clip" and not file.endswith(SAFETENSORS):
            yield f"`families.{name}.weights`: {weights} is {file}, and open_clip's models are read from {SAFETENSORS}"


def _references(cfg: Config) -> Iterator[Reference]:
    for dataset_name, dataset in cfg.datasets.items():
        if datasets.get(dataset_name).own:
            continue  # Its files are on this machine, and were read with the config.
        for split, name in dataset.annotations.items():
            yield f"datasets.{dataset_name}.annotations.{split}", name, ("file",)
        for i, name in enumerate(dataset.videos):
            yield f"datasets.{dataset_name}.videos.{i}", name, ("archive", "video", "youtube")
        if dataset.fill:
            yield f"datasets.{dataset_name}.fill.archive", dataset.fill.archive, ("archive",)
    for experiment_name, experiment in cfg.experiments.items():
        if experiment.archive:
            yield f"experiments.{experiment_name}.archive", experiment.archive, ("archive",)
        for split, name in experiment.predictions.items():
            yield f"experiments.{experiment_name}.predictions.{split}", name, ("file",)
        for family in experiment.made:
            for name in FAMILIES[family].weights:
                if choice_of(name, cfg.encoding.weights) == "released":
                    yield f"experiments.{experiment_name}.features ({family})", name, ("file", "archive")


def _misfit(reference: Reference, sources: Sources) -> str | None:
    key, name, kinds = reference
    if name not in sources.by_name:
        return f"`{key}`: no source {name!r}{_near(name, sources.by_name)}"
    kind = sources[name].kind
    return None if kind in kinds else f"`{key}`: source {name!r} is of kind {kind}, not {' or '.join(kinds)}"


def _near(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, list(known))
    return f", but {' and '.join(near)}" if near else ""
