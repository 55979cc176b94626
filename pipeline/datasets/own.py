"""Makes the object of a user's own dataset from four facts, and passes these facts to every process of a workflow.

An example in config.yaml is `datasets: {mine: {annotations: my.csv, videos: FOLDER}}`. A process that reads the config
registers such datasets. A job does not read the config, so it gets them through an environment variable. They are not
part of the job's command, because every change of its command would run the job again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import partial
from typing import Any

from pipeline.datasets.definition import Dataset, Highlights, OwnFiles
from pipeline.datasets.ground_truth import ratings_complaint, windows_complaint
from pipeline.errors import PipelineError
from pipeline.grids import is_grid

VARIABLE = "TR_DETR_DATASETS"
"""The environment variable with all datasets of the user's own, as JSON."""

SUFFIXES = {".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".mpg", ".flv", ".3gp"}
"""Suffixes of video files, in small letters."""


def definition(name: str, own: OwnFiles) -> Dataset:
    """Return the dataset object. It has moments, and highlights if the file scores its windows."""
    windows = ("duration", "relevant_windows")
    if not own.raters:
        return Dataset(name=name, truth_keys=windows, usable=(windows_complaint,), moments=True, own=own)
    rated = Highlights(clip=own.clip, raters=own.raters, scored_by="levels")
    rules = (windows_complaint, partial(ratings_complaint, raters=rated.raters, clip_s=rated.clip_s))
    keys = (*windows, "relevant_clip_ids", "saliency_scores")
    return Dataset(name=name, truth_keys=keys, usable=rules, moments=True, highlights=rated, own=own)


def labels(dataset: Dataset) -> str:
    """Return the labels of a dataset in words. Two datasets of the user's own with equal words have the same rules."""
    if dataset.own is None:
        return "a dataset of the papers"
    rated = f"rated by {dataset.own.raters}" if dataset.own.raters else "not rated"
    return f"clips of {dataset.own.clip}, {rated}"


def known_here() -> dict[str, OwnFiles]:
    """Return the datasets that the environment variable contains. Raises PipelineError if something else is in this
    variable."""
    text = os.environ.get(VARIABLE, "")
    if not text:
        return {}
    try:
        return {str(name): _files(facts) for name, facts in json.loads(text).items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise PipelineError(f"holds no datasets ({error})", where=VARIABLE, remedy=f"unset {VARIABLE}") from error


def export_to_children(datasets: Mapping[str, OwnFiles]) -> None:
    """Write these datasets into the environment variable, for the processes that this one starts."""
    os.environ[VARIABLE] = json.dumps({name: own._asdict() for name, own in sorted(datasets.items())})


def files_of(facts: Mapping[str, Any], where: object) -> OwnFiles:
    """Return the facts of a user's own dataset from a JSON file after a check. Raises PipelineError for anything
    else."""
    try:
        return _files(facts)
    except (ValueError, TypeError) as error:
        remedy = "run the workflow again: it writes them again"
        raise PipelineError(f"these are no facts of a dataset ({error})", where=where, remedy=remedy) from error


def _files(facts: Mapping[str, Any]) -> OwnFiles:
    own = OwnFiles(**facts)
    if not isinstance(own.raters, int) or not all(isinstance(text, str) for text in own[:3]):
        raise TypeError("a value is of another kind")
    if not is_grid(own.clip):
        raise ValueError(f"{own.clip!r} is no clip grid")
    return own
