"""The protocols of encoders, which turn frames, sound or words into rows. `families.FAMILIES` names their classes and
options.

The class is called with weights, a device and the options of its family, which are keyword arguments. The family
describes the inputs (sampling, view, batch). So a shard with nothing to encode builds no network and imports no
library.
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
    """The origin of the numbers of a network.

    passport: the SHA-256 of the file, or `random:{seed}`. Every store carries it.
    path: a local file. Nothing is downloaded here.
    seed: the seed of random numbers, which only the demo and the tests use.
    further: the weights of the other networks, if a family needs several.
    """

    passport: str
    path: Path | None = None
    seed: int = 0
    further: tuple[Weights, ...] = ()

    @classmethod
    def named(cls, choice: str, path: Path | None, sha256: str | None = None) -> Weights:
        """Return the weights that a choice names: `released` with a path, or `random:SEED`.

        sha256: the digest of the file from a manifest, so that it need not be computed again. Raises PipelineError for
        `released` without a file.
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
        """Join the weights of a family with several networks, in the order of its `weights`.

        A family without networks has weights with the passport `none`.
        """
        if not parts:
            return cls("none")
        first, *further = parts
        passport = "+".join(part.passport for part in parts)
        return cls(passport, first.path, first.seed, tuple(further))


class Words(NamedTuple):
    """The rows of one query.

    tokens: float32 [n_tokens, dim] with at least one token. pooled: a float32 vector for the whole query, which may
    have another length, or None if the encoder has none. unknown: the number of words that the encoder does not know.
    """

    tokens: np.ndarray
    pooled: np.ndarray | None = None
    unknown: int = 0


class FrameEncoder(Protocol):
    """An encoder that turns frames into rows. Several threads may call `encode` at the same time."""

    def __init__(self, weights: Weights, device: str, **options: Any) -> None:
        """Build the network. Raises PipelineError for a weight file that does not fit."""

    def encode(self, frames: np.ndarray) -> np.ndarray:
        """Encode uint8 RGB [n, frames, height, width, 3]. Returns float32 [n · rows_per_input, dim].

        All inputs come from one video, because the last bits of a row may depend on how many inputs there are.
        """


class SoundEncoder(Protocol):
    """An encoder that turns pieces of sound into rows."""

    def __init__(self, weights: Weights, device: str, **options: Any) -> None:
        """Build the network. Raises PipelineError for a weight file that does not fit."""

    def encode(self, pieces: np.ndarray) -> np.ndarray:
        """Encode float32 [rows, 64000], which are pieces of 2 s at 32 kHz in -1 … 1. Returns float32 [rows, dim]."""


class WordEncoder(Protocol):
    """An encoder that turns queries into rows of their tokens."""

    def __init__(self, weights: Weights, device: str, corpus: Iterable[str], **options: Any) -> None:
        """Build the network, or look up the words of the corpus.

        corpus: every query of the dataset, of all shards and splits.
        Raises PipelineError for a weight file that does not fit.
        """

    def encode(self, queries: Sequence[str]) -> list[Words]:
        """Encode queries. Returns one Words for each query, in their order."""


def encoder_of(family: str) -> Callable[..., Any]:
    """Return the class of a family's encoder with the options of the family already given.

    It is called with weights and a device, and for words also with the corpus. It returns a FrameEncoder, a
    SoundEncoder or a WordEncoder.
    Raises PipelineError for a family that no encoder makes.
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
    """Divide inputs into the parts that a network of clips gets at a time: the whole batch on a GPU, and one input on a
    CPU.

    A CPU computes a batch no faster than its inputs one by one.
    """
    return inputs.split(1) if inputs.device.type == "cpu" else [inputs]


SCALES = ("weight", "running_var", "gamma")
"""Ends of the names of vectors that multiply."""


def randomise(network: nn.Module, seed: int) -> None:
    """Fill a network in place with random numbers that keep the scale of the values in the network.

    Equal seeds give equal networks. Matrices and kernels are drawn, scales and variances are 1, and all else is 0.
    Tables of whole numbers, which are positions, are not changed.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in sorted(network.state_dict().items()):
            if tensor.ndim > 1 and tensor.is_floating_point():
                tensor.normal_(0, tensor[0].numel() ** -0.5, generator=generator)
            elif tensor.ndim < 2:
                tensor.fill_(name.endswith(SCALES))
