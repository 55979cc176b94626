"""Reads released checkpoints. Nothing in a released file is executed.

A released file is a pickled dict. It holds the tensors under the names that the released program uses, `epoch` (counted
from 0), `opt` (an argparse.Namespace), and the states of optimizer and schedule, which are not imported. Each method
has a table that maps the released names of tensors to ours (`methods/*/release.py`).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from pipeline import methods
from pipeline.encoders.state import is_whole
from pipeline.errors import PipelineError, printable
from pipeline.methods.release import Release
from pipeline.methods.settings import MethodSettings
from pipeline.nouns import counted
from pipeline.released import container

PREFIXES = ("module.", "_orig_mod.")
"""The prefixes that DataParallel and torch.compile put before the name of every tensor."""

KINDS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""The kinds of numbers that weights may have."""

ANOTHER = "name another checkpoint, or save this one again from a network whose weights are whole and finite"

UNSEEN = ("heads", "prompts_picked")
"""The settings that change what a network computes, and no size of its tensors."""

UNSIZED = " by the released sizes, because the file has no options under `opt`"
"""The addition to an expected shape that no option of the file gives."""


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
    assumed: released options that neither the file nor a size of its tensors gives → the released value, which is used.
    """

    weights: dict[str, Tensor]
    settings: MethodSettings
    input_dim: int
    text_dim: int
    epoch: int | None
    options: dict[str, Any]
    dropped: tuple[str, ...]
    assumed: dict[str, Any]


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


def read_released(path: Path | str, method: str = methods.DEFAULT) -> Released:
    """Read a released checkpoint without executing anything in it.

    Only tensors, plain values, NumPy's plain numbers and argparse.Namespace are accepted.
    Raises PipelineError for a file that holds anything else, that cannot be read, or that belongs to another method.
    The error names the first tensor that is missing, unknown, of another size, or not finite.
    """
    path, release = Path(path), release_of(method)
    held = container.read(path, release.tensors)
    tensors = _without_prefixes(_weights(held, release, path), release, path)
    options = _plain_options(held.get("opt"), release, path)
    settings = _settings(options, tensors, release, path)
    try:
        settings, inputs = release.fitted(settings, tensors), release.inputs_of(tensors)
    except KeyError as error:
        raise release.wrong_file(f"lacks the tensor `{error.args[0]}`", path) from error
    except (TypeError, IndexError) as error:
        raise release.wrong_file(
            "holds tables of positions or input projections with another number of axes", path
        ) from error
    except ValueError as error:
        raise release.wrong_file(f"its tensors have sizes that no network has: {_reason(error)}", path) from error
    # Tensors on the device "meta" have shapes but no memory. Only names and shapes are needed here.
    with torch.device("meta"):
        expected = methods.build(settings, inputs).network.state_dict()
    epoch = held.get("epoch")
    return Released(
        weights=release.renamed(tensors, expected, where=path, sized_by="" if options else UNSIZED),
        settings=settings,
        input_dim=inputs.video_columns,
        text_dim=inputs.text_dim,
        epoch=epoch + 1 if type(epoch) is int and epoch >= 0 else None,
        options=options,
        dropped=tuple(name for name in release.unused_tensors if name in tensors),
        assumed={
            theirs: getattr(settings, ours)
            for ours, theirs in release.options.items()
            if ours in UNSEEN and theirs not in options
        },
    )


def is_on(options: Mapping[str, Any], name: str) -> bool:
    """Tell whether a switch is on. A file whose options were saved as text holds it as text."""
    return options.get(name) in (True, "True")


def _without_prefixes(tensors: Mapping[str, Tensor], release: Release, path: Path) -> dict[str, Tensor]:
    """Return the tensors without the prefixes of wrappers. Wrappers may be nested in any order."""
    found = dict(tensors)
    while prefix := next((p for p in PREFIXES if found and all(name.startswith(p) for name in found)), None):
        found = {name.removeprefix(prefix): tensor for name, tensor in found.items()}
    inner = {name.replace("._orig_mod.", "."): tensor for name, tensor in found.items()}  # a compiled part
    if len(inner) < len(found):
        raise release.wrong_file("holds tensors twice, with and without the prefix `_orig_mod.`", path)
    return inner


def _weights(held: Mapping[str, Any], release: Release, path: Path) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint. Raises PipelineError for the first that cannot be a weight, by its name."""
    found = held.get(release.tensors)
    if not isinstance(found, dict):
        raise PipelineError(
            f"holds no tensors by name under `{release.tensors}`, but {_described(held, release.tensors)}",
            where=path,
            remedy=f"name a checkpoint of the released {release.title}, or save its tensors under"
            f' `{release.tensors}`: torch.save({{"{release.tensors}": TENSORS}}, FILE)',
        )
    for name, tensor in found.items():
        if not isinstance(name, str):
            raise PipelineError(f"names a tensor {str(name)[:100]!r}, which is no text", where=path, remedy=ANOTHER)
        if why := _unfit(tensor):
            raise PipelineError(printable(f"`{name[:100]}` {why}"), where=path, remedy=ANOTHER)
    return found


def _described(held: Mapping[str, Any], entry: str) -> str:
    """Return what a file holds, for the error about a file without weights under `entry`."""
    if entry in held:
        return f"a value of type {type(held[entry]).__name__}"
    if held and all(isinstance(value, Tensor) for value in held.values()):
        return f"{counted(len(held), 'tensor')} outside of any entry"
    return f"only {', '.join(f'`{str(name)[:40]}`' for name in list(held)[:5])}" if held else "nothing"


def _unfit(tensor: object) -> str | None:
    """Return why a value of a checkpoint is no weight, or None if it is one."""
    if not isinstance(tensor, Tensor):
        return f"is of type {type(tensor).__name__}, and no tensor"
    if tensor.dtype not in KINDS or tensor.layout != torch.strided or tensor.is_nested:
        kinds = ", ".join(map(_short, KINDS))
        form = "nested" if tensor.is_nested else _short(tensor.layout)
        return f"is stored as {form} {_short(tensor.dtype)}, and weights as strided {kinds}"
    if not is_whole(tensor):
        return "claims more numbers than the file holds"
    if not tensor.numel():
        return "holds no numbers"
    if not tensor.float().isfinite().all():
        return "holds NaN or infinite numbers" + ", or numbers beyond float32" * (tensor.dtype == torch.float64)
    return None


def _short(kind: object) -> str:
    return str(kind).removeprefix("torch.")


def _settings(
    options: Mapping[str, Any], tensors: Mapping[str, Tensor], release: Release, path: Path
) -> MethodSettings:
    """Return the settings that the options name. Raises PipelineError for values that do not fit the tensors."""
    for name in release.must_be_off:
        if is_on(options, name):
            raise release.wrong_file(f"`opt` switches `{name}` on, and this pipeline computes without it", path)
    try:
        settings = release.settings_of(options)
    except (ValueError, TypeError) as error:
        raise release.wrong_file(
            f"`opt` describes a network that this pipeline cannot build: {_reason(error, release)}", path
        ) from error
    # A larger size would be found later, too, but only after a network of that size was built.
    widest = max((length for tensor in tensors.values() for length in tensor.shape), default=0)
    for ours, theirs in release.options.items():
        size, most = getattr(settings, ours), len(tensors) if ours.endswith("_layers") else widest
        if theirs in options and isinstance(size, int) and size > most:
            raise release.wrong_file(
                f"`opt` says that `{theirs}` is {str(size)[:30]}, and the tensors allow {most} at most", path
            )
    return settings


def _reason(error: Exception, release: Release | None = None) -> str:
    """Return the first complaint about settings in one line, with the released name of an option."""
    if not isinstance(error, ValidationError):
        return str(error).splitlines()[0]
    first = error.errors()[0]
    ours = ".".join(map(str, first["loc"]))
    name = release.options.get(ours, ours) if release else ours
    found = f"`{name}` is {repr(first['input'])[:40]}: " if ours else ""
    return found + first["msg"].removeprefix("Value error, ")


def _plain_options(options: object, release: Release, path: object) -> dict[str, Any]:
    """Return the released options as a dict of JSON values. A device is replaced by its name."""
    if options is None:
        return {}
    found = vars(options) if isinstance(options, argparse.Namespace) else options
    if not isinstance(found, dict):
        raise PipelineError(
            f"`opt` is a {type(found).__name__}, not a table of options",
            where=path,
            remedy=container.save_plain(release.tensors),
        )
    named = {str(key): str(value) if isinstance(value, torch.device) else value for key, value in found.items()}
    try:
        return dict(json.loads(json.dumps(named, default=_refuse_value)))
    except (TypeError, ValueError, RecursionError) as error:
        raise PipelineError(
            f"`opt` holds more than plain values ({error})", where=path, remedy=container.save_plain(release.tensors)
        ) from error


def _refuse_value(value: object) -> Any:
    raise TypeError(f"a {type(value).__name__}")
