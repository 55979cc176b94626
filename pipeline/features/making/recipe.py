"""Describes how the rows of a store are made and from which videos, and finds the videos that still have to be
encoded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

from pipeline import files
from pipeline.encoders.base import Weights, encoder_of
from pipeline.families import FAMILIES, Family, Passport
from pipeline.features.store.writer import StoreWriter
from pipeline.video.part import Part
from pipeline.video.supervised import Fault


@dataclass(frozen=True)
class Recipe:
    """The recipe for the rows of one family: on which grid, with which weights, and in which dtype they are stored."""

    family: str
    grid: str
    weights: Weights
    dtype: str

    @property
    def kind(self) -> Family:
        """The description of the family. Reading it builds no network and imports no library."""
        return FAMILIES[self.family]

    @property
    def encoder(self) -> Callable[..., Any]:
        """The class of the family's network. It is called with weights and a device."""
        return encoder_of(self.family)

    @property
    def passport(self) -> Passport:
        """The passport that a store of such rows carries."""
        return Passport(
            family=self.family,
            revision=self.kind.revision,
            origin="raw",
            weights=self.weights.passport,
            grid=self.grid,
            dim=self.kind.dim,
            dtype=self.dtype,
            preprocessing=self.kind.preprocessing,
        )


@dataclass(frozen=True)
class VideoFile:
    """One video to encode: a file, or a part of one.

    sha256: digest of the file. It is stored with the rows.
    n_clips: for each grid, the number of clips that the video has according to its segments.
    part: the part of the file that is the video, or None for the whole file.
    """

    vid: str
    path: Path
    sha256: str
    n_clips: Mapping[str, int]
    part: Part | None = None

    @property
    def to_read(self) -> Path | Part:
        """The file that is decoded, or the part of it."""
        return self.part or self.path


class Skipped(NamedTuple):
    """A video that gets no rows of one or all families.

    why: the reason. fault: `file` if the video itself is the reason, `decoder` if its decoder crashed or took too long,
    `outside` if the reason says nothing about the video (the file is gone, or something killed the decoder).
    """

    vid: str
    why: str
    fault: Fault = "file"


class RowMaker(Protocol):
    """Makes the rows of one family and puts them into its store."""

    recipe: Recipe
    store: StoreWriter


AnyRowMaker = TypeVar("AnyRowMaker", bound=RowMaker)


def unencoded(
    sources: Iterable[VideoFile], makers: Sequence[AnyRowMaker]
) -> tuple[list[tuple[VideoFile, list[AnyRowMaker]]], list[Skipped]]:
    """Return the videos that the stores of some makers lack, each with these makers, and those that have changed.

    The account names the digest of each file, and rows are known by it. So a file that has other bytes by now, because
    a disk turned a bit round perhaps, gets no rows.
    """
    work, changed = [], []
    for source in sources:
        waiting = [maker for maker in makers if not maker.store.keep(source.vid, source=source.sha256)]
        if waiting and source.path.is_file() and files.sha256(source.path) != source.sha256:
            changed.append(Skipped(source.vid, f"{source.path} has other bytes than when it was looked at", "outside"))
        elif waiting:
            work.append((source, waiting))
    return work, changed
