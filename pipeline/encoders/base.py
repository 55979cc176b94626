"""What an encoder is: frames, sound or words in, rows out. Its class and options are named in `families.FAMILIES`.

A class is built with weights, a device and the options of its family, which are the keyword arguments of its
constructor. What an input looks like (sampling, view, batch) is said by the family, so that a shard with nothing to
encode builds no network and imports no library.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from pipeline import files
from pipeline.errors import PipelineError
from pipeline.families import FAMILIES

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Weights:
    """Where a network's numbers come from. passport: the file's SHA-256, or `random:{seed}`; it goes into every store.

    path: a local file; no network is ever asked. seed: for random numbers (demo and tests only). further: of the other
    networks of a family that needs several.
    """

    passport: str
    path: Path | None = None
    seed: int = 0
    further: tuple[Weights, ...] = ()

    @classmethod
    def named(cls, choice: str, path: Path | None, sha256: str | None = None) -> Weights:
        """`released` with a path, or `random:SEED`. sha256: of the file, where a manifest has it.

        Raises PipelineError for `released` without a file.
        """
        if choice.startswith("random:"):
            return cls(choice, seed=int(choice.removeprefix("random:")))
        if path is None:
            raise PipelineError(
                "no weight file was given",
                where="weights",
                remedy="fetch it, or set it to `random:SEED` under `encoding.weights`",
            )
        return cls(sha256 or files.sha256(path), path)

    @classmethod
    def joined(cls, *parts: Weights) -> Weights:
        """Those of a family with several networks, in the order of its `weights`; `none` for a family without any."""
        if not parts:
            return cls("none")
        first, *further = parts
        passport = "+".join(part.passport for part in parts)
        return cls(passport, first.path, first.seed, tuple(further))


class Words(NamedTuple):
    """One query encoded. tokens: float32 [n_tokens, dim], at least one.

    pooled: float32 [dim] for the whole query; None where the encoder has none. unknown: words that it does not know.
    """

    tokens: np.ndarray
    pooled: np.ndarray | None = None
    unknown: int = 0


class FrameEncoder(Protocol):
    """Frames to rows. Several threads may call `encode` at a time."""

    def __init__(self, weights: Weights, device: str, **options: Any) -> None:
        """Build the network. Raises PipelineError for a weight file that does not fit."""

    def encode(self, frames: np.ndarray) -> np.ndarray:
        """Uint8 RGB [n, frames, height, width, 3] → float32 [n · rows_per_input, dim].

        The inputs come from one video: a row may depend in its last bits on how many there are.
        """


class SoundEncoder(Protocol):
    """Pieces of sound to rows."""

    def __init__(self, weights: Weights, device: str, **options: Any) -> None:
        """Build the network. Raises PipelineError for a weight file that does not fit."""

    def encode(self, pieces: np.ndarray) -> np.ndarray:
        """Float32 [rows, 64000], 2 s each at 32 kHz in -1 … 1 → float32 [rows, dim]."""


class WordEncoder(Protocol):
    """Queries to tokens."""

    def __init__(self, weights: Weights, device: str, corpus: Iterable[str], **options: Any) -> None:
        """Build the network, or look up the words of a corpus: every query of the dataset, all shards and splits.

        Raises PipelineError for a weight file that does not fit.
        """

    def encode(self, queries: Sequence[str]) -> list[Words]:
        """One Words per query, in order."""


def encoder_of(family: str) -> Callable[..., Any]:
    """What builds the encoder of a family: its class, with the options of the family already given.

    It takes weights and device, for words the corpus too, and returns a FrameEncoder, SoundEncoder or WordEncoder.
    Raises PipelineError for a family that nothing here makes.
    """
    kind = FAMILIES.get(family)
    if kind is None or kind.encoder is None:
        raise PipelineError(
            f"no encoder makes this family; there are {', '.join(name for name in FAMILIES if FAMILIES[name].encoder)}",
            where=family,
            remedy="import it from a released archive (`source: features`)",
        )
    module, name = kind.encoder.split(":")
    return partial(getattr(import_module(module), name), **kind.options)


def at_once(inputs: Tensor) -> Sequence[Tensor]:
    """What a network of clips is given at a time: on a GPU the batch, on a CPU each input alone.

    A CPU gains nothing from a batch.
    """
    return inputs.split(1) if inputs.device.type == "cpu" else [inputs]


def randomise(network: nn.Module, seed: int) -> None:
    """Fill a network in place with seeded numbers that keep the scale of what passes through it.

    Equal seeds give equal networks; matrices and kernels are drawn, scales and variances are 1, everything else 0.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in sorted(network.state_dict().items()):
            if tensor.ndim > 1:
                tensor.normal_(0, tensor[0].numel() ** -0.5, generator=generator)
            else:
                tensor.fill_(name.endswith(("weight", "running_var")))
