"""Makes a run that can be asked from a released checkpoint: a folder with its weights and a card.

A checkpoint says little about what it was trained on. The sizes of its tensors and its options are used, if it has
them. The user has to give the rest (the families and the dataset), which is compared with the sizes of the tensors.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from pipeline import config, datasets, files, methods, seal
from pipeline.errors import PipelineError, printable
from pipeline.families import FAMILIES, Passport
from pipeline.grids import GRIDS, grid_seconds
from pipeline.layout.runs import CARD, EPOCHS, IMPORTED, LOG, STATE, is_imported, weights_of
from pipeline.methods.release import Release
from pipeline.released.checkpoint import Released, is_on, read_released, release_of
from pipeline.released.weights_file import say_assumed, write_weights
from pipeline.training.predict import inputs_for

LIMITS = {"max_clips": "max_v_l", "max_tokens": "max_q_l"}
"""A limit of length of a training → the released option that gives it."""

OTHER = "name another folder"

ENDPOINTS = 2
"""Number of columns of temporal endpoints that are added to video and to audio."""


@dataclass(frozen=True)
class TrainedOn:
    """The user's statements about the training of a checkpoint. A value is None or empty if the user did not give it.

    video, audio: the families, in the order in which the network reads them. text: the family of the words. grid: the
    grid of the clips.
    """

    dataset: str | None = None
    video: Sequence[str] = ()
    audio: Sequence[str] = ()
    text: str | None = None
    grid: str | None = None


def import_run(source: Path, folder: Path, method: str, told: TrainedOn) -> Path:
    """Write `selected.safetensors` and `card.json` of a released checkpoint into a folder, and return the card's path.

    Raises PipelineError as `import_checkpoint` does, for facts that are neither given nor in the checkpoint (all in one
    error), for families and a dataset that do not fit its tensors, and for a folder with a trained run.
    """
    _refuse_trained(folder)
    released = read_released(source, method)
    card = _card(released, folder, source, told, release_of(method))
    weights = weights_of(folder, EPOCHS[0])
    write_weights(released, source, weights)
    taken = {
        option: card["training"][key] for key, option in LIMITS.items() if _number(released.options, option) is None
    }
    say_assumed(source, taken if release_of(method).cuts else {})
    _say_contradictions(source, released.options, told)
    files.write_json(folder / CARD, seal.sealed(card | {"files": {weights.name: files.sha256(weights)}}))
    return folder / CARD


def _card(released: Released, folder: Path, source: Path, told: TrainedOn, release: Release) -> dict[str, Any]:
    options = released.options
    dataset = told.dataset or _dataset_in(options)
    grid = told.grid or _grid_in(options)
    missing = {
        "--dataset": not dataset,
        "--video": not told.video,
        "--text": not told.text,
        "--grid": not grid,
    }
    if asked := [flag for flag, is_missing in missing.items() if is_missing]:
        raise PipelineError(
            f"does not say what it was trained on: {', '.join(asked)} must be given to make a run that can be asked",
            where=source,
            remedy="give these options, or name a FILE.safetensors to get only the weights",
        )
    reads = _features(told)
    _refuse_other_widths(reads, released, source)
    _refuse_other_labels(reads, released, str(dataset), source)
    _refuse_other_grid(reads, str(grid), source)
    training = training_of(options, str(dataset), release.cuts)
    if release.options_scale:
        _refuse_other_features(options, source)
        if is_on(options, "no_norm_tfeat"):
            training = training.model_copy(update={"normalise_text": False})
    place = Path(os.path.abspath(folder))  # `.` and `..` have no names of their own
    return {
        "experiment": place.parent.name,
        "run": place.name,
        "dataset": dataset,
        "origin": f"{IMPORTED} {source.name}",
        "features": {family: asdict(_passport(family, str(grid))) for family in reads.all},
        "reads": reads.model_dump(mode="json"),
        "model": released.settings.model_dump(mode="json"),
        "training": training.model_dump(mode="json"),
        "selected": {"epoch": released.epoch},
        "threads": 1,
    }


def _say_contradictions(source: Path, options: Mapping[str, Any], told: TrainedOn) -> None:
    """Print a line for each of the user's statements that takes the place of another one in the options."""
    for flag, ours, theirs in (
        ("--dataset", told.dataset, _dataset_in(options)),
        ("--grid", told.grid, _grid_in(options)),
    ):
        if ours and theirs and ours != theirs:
            print(f"{printable(source)}: its options say {theirs}; {flag} {ours} is taken", file=sys.stderr)


def _features(told: TrainedOn) -> config.Features:
    given = {"video": list(told.video), "audio": list(told.audio), "text": told.text}
    try:
        return config.Features.model_validate(given)
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise PipelineError(
            reason, where="--video, --audio, --text", remedy="name families that docs/features.md lists"
        ) from error


def _passport(family: str, grid: str) -> Passport:
    kind = FAMILIES[family]
    return Passport(
        family=family,
        revision=kind.revision,
        origin="released",
        weights="released",
        grid="tokens" if kind.reader == "words" else grid,
        dim=kind.dim,
        dtype=config.Encoding().dtype,
        preprocessing=kind.preprocessing or "released",
    )


def _refuse_other_widths(reads: config.Features, released: Released, source: Path) -> None:
    video, audio = (sum(FAMILIES[family].dim for family in group) for group in (reads.video, reads.audio))
    columns = video + ENDPOINTS + (audio + ENDPOINTS if audio else 0)
    text = FAMILIES[reads.text].dim
    if (columns, text) != (released.input_dim, released.text_dim):
        raise PipelineError(
            f"its network reads {released.input_dim} columns of video and {released.text_dim} of words, and"
            f" {', '.join(reads.all)} give {columns} (endpoints included) and {text}",
            where=source,
            remedy="name the families it was trained on with --video, --audio and --text",
        )


def _refuse_other_labels(reads: config.Features, released: Released, dataset: str, source: Path) -> None:
    """Raise PipelineError if a network for this dataset has other tensors. Some methods have heads for windows only
    where there are windows, and for clip scores only where there are ratings."""
    widths = [sum(FAMILIES[family].dim for family in group) for group in (reads.video, reads.audio, [reads.text])]
    inputs = inputs_for((widths[0], widths[1], widths[2]), 2.0, dataset)
    with torch.device("meta"):
        expected = methods.build(released.settings, inputs).network.state_dict()
    if other := sorted(expected.keys() ^ released.weights.keys()):
        its = release_of(released.settings.name).their_name(other[0])
        ours, theirs = ("has", "lacks") if other[0] in expected else ("lacks", "holds")
        raise PipelineError(
            f"{theirs} the tensor `{its}`, and a network for {dataset} {ours} it",
            where=source,
            remedy="name the dataset it was trained on with --dataset",
        )


def _refuse_other_grid(reads: config.Features, grid: str, source: Path) -> None:
    """Raise PipelineError for a family that is never made on this grid."""
    for family in (*reads.video, *reads.audio):
        if FAMILIES[family].grid not in (None, grid):
            raise PipelineError(
                f"was trained on clips of {grid}, and {family} is made on {FAMILIES[family].grid} only",
                where=source,
                remedy="name the grid with --grid, or other families with --video and --audio",
            )


def _refuse_other_features(options: Mapping[str, Any], source: Path) -> None:
    """Raise PipelineError if the options switch off the scaling of the video's features, which `ask` always does."""
    if is_on(options, "no_norm_vfeat"):
        raise PipelineError(
            "was trained on video features that were not scaled (`opt` switches `no_norm_vfeat` on), and the features"
            " of a video that is asked about are scaled",
            where=source,
            remedy="name a FILE.safetensors to get only the weights",
        )


def training_of(options: Mapping[str, Any], dataset: str, cuts: bool) -> config.Training:
    """Return the limits of length of the training, as far as the options give them. As released, -1 means no limit.

    cuts: as in `Release`. A system that cuts nothing may have these options, and still ignores them. All released
    systems ignore the limit of the words on some datasets.
    """
    if not cuts:
        return config.Training(max_clips=None, max_tokens=None)
    limits = {key: _number(options, option) for key, option in LIMITS.items()}
    known: dict[str, Any] = {
        key: int(value) if value > 0 else None for key, value in limits.items() if value is not None
    }
    if not datasets.get(dataset).options_cut_text:
        known["max_tokens"] = None
    return config.Training.model_validate(known)


def _number(options: Mapping[str, Any], name: str) -> float | None:
    """Return the number that an option has, or None. A file whose options were saved as text holds it as text."""
    value = options.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _dataset_in(options: Mapping[str, Any]) -> str | None:
    name = options.get("dset_name")
    return next((d.name for d in datasets.DATASETS.values() if d.name_in_options and d.name_in_options == name), None)


def _grid_in(options: Mapping[str, Any]) -> str | None:
    """Return the grid whose clips are as long as the options say, to a hundredth of a second."""
    length = _number(options, "clip_length")
    if length is None:
        return None
    return next((g for g in GRIDS if abs(float(grid_seconds(g)) - length) < float(Fraction(1, 100))), None)


def _refuse_trained(folder: Path) -> None:
    """Raise PipelineError for a folder with files of a run that was trained here, complete or not: they must not be
    lost."""
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise PipelineError("is no folder", where=folder, remedy="name a folder, or a FILE.safetensors")
    if os.path.isfile(folder / CARD):
        is_import = is_imported(files.read_json(folder / CARD, OTHER))
    else:
        is_import = not any(os.path.exists(folder / name) for name in (STATE, LOG, weights_of(folder, EPOCHS[1]).name))
    if not is_import:
        raise PipelineError("holds a run that was trained here", where=folder, remedy=OTHER)
