"""Writes the weights of a released checkpoint into a safetensors file of ours, and destroys nothing else there."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from pipeline import files, methods
from pipeline.errors import PipelineError, printable
from pipeline.released.checkpoint import Released, read_released

ORIGIN = "released"
"""The origin in the metadata of every file that an import wrote."""


def import_checkpoint(source: Path | str, target: Path | str, method: str = methods.DEFAULT) -> Released:
    """Read a released checkpoint and write its tensors under our names into the safetensors file `target`.

    The metadata of the file hold the epoch, the settings of the network and the options.
    Raises PipelineError as `read_released` does, if `target` is the same file as `source` or holds anything but these
    tensors, and if it cannot be written.
    """
    released = read_released(source, method)
    write_weights(released, source, target)
    return released


def write_weights(released: Released, source: Path | str, target: Path | str) -> None:
    """Write the tensors of a checkpoint `source` into the safetensors file `target`, as `import_checkpoint` does.

    Raises PipelineError if that would destroy anything but an earlier import of the same tensors.
    """
    from safetensors.torch import save

    _must_be_another_file(Path(source), Path(target))
    _must_not_be_lost(Path(target), released)
    told = {
        "origin": ORIGIN,
        "epoch": str(released.epoch),
        "model": released.settings.model_dump_json(),
        "options": json.dumps(released.options, sort_keys=True),
    }
    # safetensors writes no tensors that share their memory, so each gets memory of its own.
    weights = {n: tensor.clone(memory_format=torch.contiguous_format) for n, tensor in released.weights.items()}
    with files.atomic(target, "wb") as file:
        file.write(_in_order(save(weights, metadata=told)))
    say_assumed(source, released.assumed)


def _in_order(content: bytes) -> bytes:
    """Return a safetensors file with the names in its header sorted, so that equal imports have equal bytes.

    The library writes metadata in another order each time.
    """
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(content[8:end]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # the numbers begin at a multiple of 8 bytes
    return len(header).to_bytes(8, "little") + header + content[end:]


def say_assumed(source: Path | str, assumed: Mapping[str, Any]) -> None:
    """Print a line for the user about options that a file does not give, with the values that are used instead."""
    if assumed:
        values = ", ".join(f"`{name}` {'without limit' if value is None else value}" for name, value in assumed.items())
        print(f"{printable(source)}: its options do not give all that is needed; taken are {values}", file=sys.stderr)


def _must_be_another_file(source: Path, target: Path) -> None:
    """Raise PipelineError if writing `target` would destroy `source`. Links and other names of `source` count, too."""
    try:
        same = os.path.samefile(source, target)
    except OSError:
        same = False  # one of the two files does not exist
    if same or os.path.realpath(source) == os.path.realpath(target):
        raise PipelineError("is the checkpoint itself", where=target, remedy="name another file for the output")
    if os.path.isdir(target):
        raise PipelineError("is a folder", where=target, remedy="name a file for the output")


def _must_not_be_lost(target: Path, released: Released) -> None:
    """Raise PipelineError if `target` exists and is no earlier import of the same network."""
    from safetensors import SafetensorError, safe_open

    if not os.path.exists(target):  # unlike `Path.exists`, this raises nothing; a bad path is told when it is written
        return
    if not os.path.isfile(target):
        raise PipelineError("is no file", where=target, remedy="name a file for the output")
    try:
        with safe_open(target, "pt") as file:
            told = file.metadata() or {}
            is_import = told.get("origin") == ORIGIN
            is_same = is_import and told.get("model") == released.settings.model_dump_json()
            is_same = is_same and set(file.keys()) == set(released.weights)
            is_same = is_same and all(torch.equal(file.get_tensor(n), t) for n, t in released.weights.items())
    except (OSError, SafetensorError):
        is_import = is_same = False
    if not is_same:
        what = "holds the weights of another import" if is_import else "exists, and no import wrote it"
        raise PipelineError(
            f"{what}; nothing was written over", where=target, remedy="name another output, or move that file away"
        )
