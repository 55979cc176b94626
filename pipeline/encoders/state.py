"""Reads weight files without running anything in them, compares them with a network, and fills the network."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from pipeline import families, files
from pipeline.acquire.archives import allowed_bytes
from pipeline.encoders.base import Weights, randomise
from pipeline.errors import PipelineError

AnyNetwork = TypeVar("AnyNetwork", bound=nn.Module)

_COUNTER = "num_batches_tracked"
"""The end of the names of counters that only a training uses. Files from before 2018 do not contain them."""


def tensors_by_name(path: Path, called: str, inside: str | None = None) -> dict[str, Tensor]:
    """Read the tensors of a file of torch, or those of its entry `inside`, by name. Nothing in the file is run.

    called: what the file should hold, for the error.
    Raises PipelineError for a file that holds no tensors, that unpacks to far more than its size, or that has a tensor
    which claims more numbers than the file holds.
    """
    try:
        refuse_bomb(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch may raise any exception for a damaged file in its old format
        raise unfit(path, called, f"{type(error).__name__}: {error}") from error
    if inside is not None:
        content = content.get(inside) if isinstance(content, dict) else None
    if not isinstance(content, dict) or not all(isinstance(entry, Tensor) for entry in content.values()):
        raise unfit(path, called, "no table of tensors by name")
    if unreal := [str(name) for name, tensor in content.items() if not is_whole(tensor)]:
        raise unfit(path, called, f"more numbers claimed than held: {', '.join(unreal[:3])}")
    return content


def read_safetensors(prefixes: tuple[str, ...]) -> Callable[[Path, str], Mapping[str, Tensor]]:
    """Return a function that reads the tensors of a safetensors file whose names begin with one of these prefixes."""

    def read(path: Path, called: str) -> dict[str, Tensor]:
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, "pt") as file:
                names = [name for name in file.keys() if name.startswith(prefixes)]  # noqa: SIM118 - no dict
                return {name: file.get_tensor(name) for name in names}
        except (OSError, SafetensorError) as error:
            raise unfit(path, called, f"{type(error).__name__}: {error}") from error

    return read


def refuse_bomb(path: Path) -> None:
    """Raise ValueError for a file of torch that unpacks to far more bytes than its size allows. Such a file is a zip.

    Raises OSError if the file cannot be read.
    """
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as container:
            unpacked = sum(info.file_size for info in container.infolist())
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise ValueError(f"it is damaged ({error})") from error
    if unpacked > (allowed := allowed_bytes(path.stat().st_size)):
        raise ValueError(f"it unpacks to {unpacked:,} bytes, more than the {allowed:,} that a file of its size may")


def is_whole(tensor: Tensor) -> bool:
    """Tell whether a tensor has memory for each of its numbers.

    A tensor with a stride of 0 can claim a billion numbers and hold only one.
    """
    return (
        tensor.layout == torch.strided
        and tensor.device.type != "meta"
        and tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()
    )


def fill(
    network: AnyNetwork,
    weights: Weights,
    called: str,
    name_in_file: Callable[[str], str] = lambda name: name,
    read: Callable[[Path, str], Mapping[str, Tensor]] = tensors_by_name,
) -> AnyNetwork:
    """Fill a network with its weights, for inference, and return it.

    network: a network on the meta device. If it was built with numbers and the weights are random, it keeps its
    numbers.
    called: what the file should hold, for the error.
    name_in_file: returns the file's name for an entry of the network's state.
    read: takes the path and `called`, and returns the tensors of the file by name.
    Raises PipelineError if the file is no weight file, or if it lacks an entry, has one too many, or has one of another
    shape. All entries are compared before any is used.
    """
    if weights.path is None:
        if any(parameter.is_meta for parameter in network.parameters()):
            randomise(network.to_empty(device="cpu"), weights.seed)
    else:
        found = read(weights.path, called)
        network.load_state_dict(_fitting(network.state_dict(), found, weights.path, called, name_in_file), assign=True)
    return network.eval().requires_grad_(False)


def _fitting(
    wanted: Mapping[str, Tensor],
    found: Mapping[str, Tensor],
    path: Path,
    called: str,
    name_in_file: Callable[[str], str],
) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {name: torch.tensor(0) for name in wanted if name.endswith(_COUNTER)}
    names = {name: name_in_file(name) for name in wanted if name not in state}
    missing = [name for name in names.values() if name not in found]
    unknown = sorted(name for name in found.keys() - set(names.values()) if not name.endswith(_COUNTER))
    other = [
        f"{public} {tuple(found[public].shape)} for {tuple(wanted[name].shape)}"
        for name, public in names.items()
        if public in found and found[public].shape != wanted[name].shape
    ]
    computed = {name for name in names if not wanted[name].is_floating_point() and not wanted[name].is_meta}
    changed = [
        names[name]
        for name in computed
        if names[name] in found and not torch.equal(found[names[name]].to(wanted[name].dtype), wanted[name])
    ]
    if reasons := [
        f"{len(those)} {what}: {', '.join(those[:3])}"
        for those, what in (
            (missing, "missing"),
            (unknown, "unknown"),
            (other, "of another shape"),
            (changed, "that the network computes otherwise"),
        )
        if those
    ]:
        raise unfit(path, called, "; ".join(reasons))
    return state | {name: wanted[name] if name in computed else found[names[name]].float() for name in names}


def unfit(path: Path, called: str, reason: str) -> PipelineError:
    """Make the error for a file that does not hold what it should. called: what it should hold."""
    reason = " ".join(reason.split())[:300]
    return PipelineError(f"does not hold {called} ({reason})", where=path, remedy=_remedy(path))


def _remedy(path: Path) -> str:
    """Return what to do about a weight file. One that a definition of the config names was never fetched."""
    for name, (source, own) in families.weight_files_of_definitions().items():
        if path.parent.name == source or path.absolute() == own.absolute():
            return f"put the right file at {own}, or name another one under `families.{name}.weights`"
    return files.FETCH_AGAIN
