"""Turns released checkpoints into ours. Nothing in a released file is executed.

A released file is a pickled dict. It holds the tensors under the names that the released program uses, `epoch` (counted
from 0), `opt` (an argparse.Namespace), and the states of optimizer and schedule, which are not imported. Each method
has a table that maps the released names of tensors to ours (`methods/*/release.py`).
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline import files, methods
from pipeline.encoders.state import is_whole
from pipeline.errors import PipelineError
from pipeline.methods.release import Release
from pipeline.methods.settings import MethodSettings
from pipeline.released import container

PREFIXES = ("module.", "_orig_mod.")
"""The prefixes that DataParallel and torch.compile put before the name of every tensor."""


@dataclass(frozen=True)
class Released:
    """The content of a released checkpoint.

    weights: float32 tensors under our names.
    settings: the settings of the network that these weights belong to.
    input_dim: width of the video input, with the two endpoint columns and the audio.
    text_dim: width of the words.
    epoch: the epoch after which the weights were saved, counted from 1 as in our logs, or None if it is not stored.
    options: the options of the released program. They are plain values only.
    dropped: names of tensors that were not imported, because no output depends on them.
    """

    weights: dict[str, Tensor]
    settings: MethodSettings
    input_dim: int
    text_dim: int
    epoch: int | None
    options: dict[str, Any]
    dropped: tuple[str, ...]


def release_of(method: str, where: object = "--method") -> Release:
    """Return the description of a method's released files. Raises PipelineError if none are known for this method.

    where: the option or the file that names the method, for the error.
    """
    place = methods.settings_class(method).released if method in methods.METHODS else None
    if place is None:
        known = [name for name in methods.METHODS if methods.settings_class(name).released]
        raise PipelineError(
            f"no released files of `{method}` are known here",
            where=where,
            remedy=f"name one of {', '.join(known)}",
        )
    return methods.imported(place)


def import_checkpoint(source: Path | str, target: Path | str, method: str = methods.DEFAULT) -> Released:
    """Read a released checkpoint and write its tensors under our names into the safetensors file `target`.

    The metadata of the file hold the epoch, the settings of the network and the options.
    Raises PipelineError as `read_released` does, if `target` is the same file as `source`, and if it cannot be written.
    """
    from safetensors.torch import save

    _must_be_another_file(Path(source), Path(target))
    released = read_released(source, method)
    told = {
        "origin": "released",
        "epoch": str(released.epoch),
        "model": released.settings.model_dump_json(),
        "options": json.dumps(released.options, sort_keys=True),
    }
    weights = {name: tensor.contiguous() for name, tensor in released.weights.items()}
    with files.atomic(target, "wb") as file:
        file.write(save(weights, metadata=told))
    return released


def read_released(path: Path | str, method: str = methods.DEFAULT) -> Released:
    """Read a released checkpoint without executing anything in it.

    Only tensors, plain values, NumPy's plain numbers and argparse.Namespace are accepted.
    Raises PipelineError for a file that holds anything else, that cannot be read, or that belongs to another method.
    The error names the first tensor that is missing, unknown, of another size, or not finite.
    """
    path, release = Path(path), release_of(method)
    held = container.read(path)
    tensors = held.get(release.tensors)
    if not isinstance(tensors, dict) or not all(isinstance(n, str) and _is_weight(t) for n, t in tensors.items()):
        raise release.wrong_file(f"holds no finite floating-point tensors under `{release.tensors}`", path)
    tensors = _without_prefixes(tensors, release, path)
    options = _plain_options(held.get("opt"), release, path)
    try:
        settings = release.settings_of(options)
    except (ValueError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise release.wrong_file(
            f"`opt` describes a network that this pipeline cannot build ({reason})", path
        ) from error
    try:
        settings, inputs = release.fitted(settings, tensors), release.inputs_of(tensors)
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise release.wrong_file("lacks the input projections of video and text", path) from error
    # Tensors on the device "meta" have shapes but no memory. Only names and shapes are needed here.
    with torch.device("meta"):
        expected = methods.build(settings, inputs).network.state_dict()
    epoch = held.get("epoch")
    return Released(
        weights=release.renamed(tensors, expected, where=path),
        settings=settings,
        input_dim=inputs.video_columns,
        text_dim=inputs.text_dim,
        epoch=epoch + 1 if isinstance(epoch, int) else None,
        options=options,
        dropped=tuple(name for name in release.unused_tensors if name in tensors),
    )


def _must_be_another_file(source: Path, target: Path) -> None:
    """Raise PipelineError if writing `target` would destroy `source`. Links and other names of `source` count, too."""
    try:
        same = os.path.samefile(source, target)
    except OSError:
        same = False  # one of the two files does not exist
    if same or os.path.realpath(source) == os.path.realpath(target):
        raise PipelineError("is the checkpoint itself", where=target, remedy="name another file for the output")
    if target.is_dir():
        raise PipelineError("is a folder", where=target, remedy="name a file for the output")


def _without_prefixes(tensors: Mapping[str, Tensor], release: Release, path: Path) -> dict[str, Tensor]:
    """Return the tensors without the prefixes of wrappers. Wrappers may be nested in any order."""
    found = dict(tensors)
    while prefix := next((p for p in PREFIXES if found and all(name.startswith(p) for name in found)), None):
        found = {name.removeprefix(prefix): tensor for name, tensor in found.items()}
    inner = {name.replace("._orig_mod.", "."): tensor for name, tensor in found.items()}  # a compiled part
    if len(inner) < len(found):
        raise release.wrong_file("holds tensors twice, with and without the prefix `_orig_mod.`", path)
    return inner


def _is_weight(tensor: object) -> bool:
    return (
        isinstance(tensor, Tensor) and is_whole(tensor) and tensor.is_floating_point() and bool(tensor.isfinite().all())
    )


def _plain_options(options: object, release: Release, path: object) -> dict[str, Any]:
    """Return the released options as a dict of JSON values. A device is replaced by its name."""
    if options is None:
        return {}
    found = vars(options) if isinstance(options, argparse.Namespace) else options
    if not isinstance(found, dict):
        raise release.wrong_file(f"`opt` is a {type(found).__name__}", path)
    named = {str(key): str(value) if isinstance(value, torch.device) else value for key, value in found.items()}
    try:
        return dict(json.loads(json.dumps(named)))
    except (TypeError, ValueError, RecursionError) as error:
        raise release.wrong_file(f"`opt` holds more than plain values ({error})", path) from error
