"""A network and the file of its numbers: read without running anything in it, compared entry by entry, put in place."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from pipeline.encoders.base import Weights, randomise
from pipeline.errors import PipelineError

AnyNetwork = TypeVar("AnyNetwork", bound=nn.Module)

_COUNTER = "num_batches_tracked"
"""Matters in training only; files from before 2018 have none."""


def fill(
    network: AnyNetwork, weights: Weights, called: str, name_in_file: Callable[[str], str] = lambda name: name
) -> AnyNetwork:
    """Put a network's numbers in place, for inference.

    network: on the meta device. called: what the file should hold, for the error. name_in_file: of an entry of the
    network's state. Raises PipelineError for a file that is none, or that lacks an entry, has one more, or one of
    another shape; all are compared before any is taken.
    """
    if weights.path is None:
        randomise(network.to_empty(device="cpu"), weights.seed)
    else:
        network.load_state_dict(_fitting(network.state_dict(), weights.path, called, name_in_file), assign=True)
    return network.eval().requires_grad_(False)


def _fitting(
    wanted: Mapping[str, Tensor], path: Path, called: str, name_in_file: Callable[[str], str]
) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {name: torch.tensor(0) for name in wanted if name.endswith(_COUNTER)}
    names = {name: name_in_file(name) for name in wanted if name not in state}
    found = _read(path, called)
    missing = [name for name in names.values() if name not in found]
    unknown = sorted(found.keys() - set(names.values()))
    other = [
        f"{public} {tuple(found[public].shape)} for {tuple(wanted[name].shape)}"
        for name, public in names.items()
        if public in found and found[public].shape != wanted[name].shape
    ]
    if reasons := [
        f"{len(those)} {what}: {', '.join(those[:3])}"
        for those, what in ((missing, "missing"), (unknown, "unknown"), (other, "of another shape"))
        if those
    ]:
        raise _unfit(path, called, "; ".join(reasons))
    return state | {name: found[public].float() for name, public in names.items()}


def _read(path: Path, called: str) -> dict[str, Tensor]:
    """The tensors of a file, without counters of batches."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise _unfit(path, called, " ".join(str(error).split())[:300]) from error
    if not isinstance(content, dict) or not all(isinstance(entry, Tensor) for entry in content.values()):
        raise _unfit(path, called, "no table of tensors by name")
    return {name: entry for name, entry in content.items() if not name.endswith(_COUNTER)}


def _unfit(path: Path, called: str, reason: str) -> PipelineError:
    return PipelineError(f"does not hold {called} ({reason})", where=path, remedy="fetch it again")
