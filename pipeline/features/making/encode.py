"""Many videos through a few networks: each video decoded once, its rows encoded in batches of its own.

A row depends in its last bits on how many others are encoded with it. So a batch never holds rows of two videos: a
video's rows are the same bits alone, among others, after a kill and in `features extract --video`.

A video's rows reach the store when the video was read to its end and all its rows are encoded; a video that fails on
the way leaves nothing but the reason.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from pipeline.encoders.base import FrameEncoder, Weights, encoder_of
from pipeline.encoders.workers import Workers
from pipeline.families import FAMILIES, Family, Passport
from pipeline.features import ROWS_APART
from pipeline.features.store.writer import StoreWriter, TooLargeError
from pipeline.grids import grid_seconds
from pipeline.progress import Progress
from pipeline.video.ahead import Done, FramesWanted, Plan, Request, decode_ahead
from pipeline.video.decode import Chunk
from pipeline.video.supervised import Failed, Fault


@dataclass(frozen=True)
class Recipe:
    """One family on one grid, by these weights, stored in this dtype."""

    family: str
    grid: str
    weights: Weights
    dtype: str

    @property
    def kind(self) -> Family:
        """What the family needs; no network is built and no library imported."""
        return FAMILIES[self.family]

    @property
    def encoder(self) -> Callable[..., Any]:
        """What builds the network of the family when it is called with weights and a device."""
        return encoder_of(self.family)

    @property
    def passport(self) -> Passport:
        """What the store says of rows made this way."""
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
    """One video to encode. sha256: of the file, kept with its rows. n_clips: what its segments say, by grid."""

    vid: str
    path: Path
    sha256: str
    n_clips: Mapping[str, int]


class LeftOut(NamedTuple):
    """A video without rows of (one of) its families, why, and whose fault that is."""

    vid: str
    why: str
    fault: Fault = "file"


class Line(Protocol):
    """One family at work."""

    recipe: Recipe
    store: StoreWriter


AnyLine = TypeVar("AnyLine", bound=Line)


@dataclass
class _Video:
    """One video on its way through one network. inputs: source frames of each input, int64 [inputs, frames].

    encoded: float32 [rows, dim], filled up to `n_encoded`. frames: those that came and that inputs to come need.
    batch: the inputs to be encoded next, of which `n_waiting` are in place.
    """

    source: VideoFile
    inputs: np.ndarray
    encoded: np.ndarray
    frames: dict[int, np.ndarray] = field(default_factory=dict)
    batch: np.ndarray | None = None
    n_waiting: int = 0
    decoder: str = ""
    n_gathered: int = 0
    n_encoded: int = 0
    is_whole: bool = False


class _Encoding(NamedTuple):
    """A batch at work: the first `n` inputs of `batch`, whose rows come behind those encoded before."""

    video: _Video
    batch: np.ndarray
    n: int
    rows: Future[np.ndarray]


class FrameLine:
    """One family at work: its store, and its network, built when a first video has come.

    `workers` encode batches while others are filled; of each line one per worker may be at work and one wait. Memory is
    used again and again: given back and asked for anew, the holes left by frames and batches grew without end.
    left_out: the videos whose rows do not fit their segments or the store.
    """

    def __init__(self, recipe: Recipe, store: StoreWriter, device: str, workers: Workers) -> None:
        self.recipe, self.store = recipe, store
        self.left_out: list[LeftOut] = []
        self._device, self._workers = device, workers
        self._network: Future[FrameEncoder] | None = None
        self._videos: dict[str, _Video] = {}
        self._at_work: deque[_Encoding] = deque()
        self._spare_batches: list[np.ndarray] = []
        self._spare_frames: list[np.ndarray] = []

    def begin(self, source: VideoFile, inputs: np.ndarray) -> None:
        """Begin a video; or leave it out, when its rows do not fit its segments."""
        n_clips = source.n_clips[self.recipe.grid]
        per_input = self.recipe.kind.rows_per_input
        n_rows = per_input * len(inputs)
        if abs(n_rows - n_clips) > max(ROWS_APART, per_input):
            why = f"{self.recipe.family} would have {n_rows} rows where its segments have {n_clips} clips"
            self.left_out.append(LeftOut(source.vid, why))
            return
        if self._network is None:
            self._network = self._workers.submit(_built, self.recipe, self._device)
        encoded = np.empty((n_rows, self.recipe.kind.dim), np.float32)
        self._videos[source.vid] = _Video(source, inputs, encoded)

    def take(self, source: VideoFile, chunk: Chunk) -> None:
        """Gather every input whose frames have all come; copy the frames that later ones need, forget the others."""
        video = self._videos.get(source.vid)
        if video is None or chunk.view != self.recipe.kind.view:
            return
        video.decoder = chunk.decoder
        frames = video.frames | dict(zip(chunk.indices, chunk.frames, strict=True))
        last = chunk.indices[-1]
        while video.n_gathered < len(video.inputs) and video.inputs[video.n_gathered].max() <= last:
            self._gather(video, frames)
        to_come = video.inputs[video.n_gathered :]
        self._keep(video, frames, set(to_come[to_come <= last].tolist()))

    def end(self, source: VideoFile, *, is_whole: bool) -> None:
        """The video was read to its end, or failed: then its rows go nowhere."""
        video = self._videos.pop(source.vid, None)
        if video is None:
            return
        self._keep(video, {}, set())
        if video.batch is not None:  # of a video that failed
            self._spare_batches.append(video.batch)
        video.is_whole = is_whole
        self._store_if_complete(video)

    def finish(self) -> None:
        """Wait for what is at work."""
        self._settle(0)

    def _keep(self, video: _Video, frames: Mapping[int, np.ndarray], needed: set[int]) -> None:
        """Copy what is needed of frames that will be overwritten."""
        for index in video.frames.keys() - needed:
            self._spare_frames.append(video.frames.pop(index))
        for index in needed - video.frames.keys():
            room = _spare(self._spare_frames, frames[index].shape)
            video.frames[index] = np.empty_like(frames[index]) if room is None else room
            video.frames[index][:] = frames[index]

    def _gather(self, video: _Video, frames: Mapping[int, np.ndarray]) -> None:
        """Put the next input into the video's batch; hand the batch over when it is full, or the video's last."""
        indices = video.inputs[video.n_gathered].tolist()
        if video.batch is None:
            shape = (self.recipe.kind.batch, len(indices), *frames[indices[0]].shape)
            room = _spare(self._spare_batches, shape)
            video.batch = _memory(shape, self._device) if room is None else room
        for place, index in enumerate(indices):
            video.batch[video.n_waiting, place] = frames[index]
        video.n_waiting += 1
        video.n_gathered += 1
        if video.n_waiting == len(video.batch) or video.n_gathered == len(video.inputs):
            self._submit(video, video.batch)

    def _submit(self, video: _Video, batch: np.ndarray) -> None:
        """Hand a batch to the workers, then store the rows of those before that must not wait longer."""
        if self._network is None:
            return
        rows = self._workers.submit(_encode, self._network, batch[: video.n_waiting])
        self._at_work.append(_Encoding(video, batch, video.n_waiting, rows))
        video.batch, video.n_waiting = None, 0
        self._settle(self._workers.n)

    def _settle(self, leave: int) -> None:
        """Take the rows of all batches but the last `leave`."""
        while len(self._at_work) > leave:
            video, batch, n, submitted = self._at_work.popleft()
            rows = submitted.result()
            if len(rows) != n * self.recipe.kind.rows_per_input:
                raise ValueError(f"{self.recipe.family} gave {len(rows)} rows for {n} inputs")
            video.encoded[video.n_encoded : video.n_encoded + len(rows)] = rows
            video.n_encoded += len(rows)
            self._spare_batches.append(batch)
            self._store_if_complete(video)

    def _store_if_complete(self, video: _Video) -> None:
        if video.is_whole and video.n_encoded == len(video.encoded):
            source = video.source
            try:
                self.store.add(source.vid, video.encoded, source=source.sha256, decoder=video.decoder)
            except TooLargeError as error:
                self.left_out.append(LeftOut(source.vid, f"{self.recipe.family}: {error.what}"))


def encode_videos(sources: Iterable[VideoFile], lines: Sequence[FrameLine], seconds_per_video: float) -> list[LeftOut]:
    """Encode every video on every line that has no rows of it yet; one decode serves all of them.

    Returns what was left out.
    """
    work = unencoded(sources, lines)
    requests = [
        Request(source.path, {line.recipe.family: frames_wanted(line.recipe) for line in waiting})
        for source, waiting in work
    ]
    failed: list[LeftOut] = []
    n_frames = 0
    with (
        closing(decode_ahead(requests, seconds_per_video, _n_decoders())) as events,
        Progress(len(work), "videos", _families(lines)) as progress,
    ):
        for position, event in events:
            source, waiting = work[position]
            if isinstance(event, Chunk):
                n_frames += len(event.indices)
                progress.add(0, f"{n_frames / max(progress.seconds, 1e-9):.1f} frames/s")
            if isinstance(event, Failed):
                failed.append(LeftOut(source.vid, event.why, event.fault))
            for line in waiting:
                _pass_on(event, source, line)
            progress.add(isinstance(event, Done | Failed))
        for line in lines:
            line.finish()
    return failed + [left_out for line in lines for left_out in line.left_out]


def unencoded(sources: Iterable[VideoFile], lines: Sequence[AnyLine]) -> list[tuple[VideoFile, list[AnyLine]]]:
    """The videos that some lines have no rows of yet, and those lines."""
    lacking = [
        (source, [line for line in lines if not line.store.keep(source.vid, source=source.sha256)])
        for source in sources
    ]
    return [(source, waiting) for source, waiting in lacking if waiting]


def _n_decoders() -> int:
    """Videos decoded at a time: a core each, one left to the networks, within the four threads of the rule."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(3, cores - 1))


def _memory(shape: tuple[int, ...], device: str) -> np.ndarray:
    """Room for a batch; page-locked where a GPU fetches it, so that the copy holds nobody up."""
    if device == "cpu":
        return np.empty(shape, np.uint8)
    import torch

    return torch.empty(shape, dtype=torch.uint8, pin_memory=True).numpy()


def _spare(room: list[np.ndarray], shape: tuple[int, ...]) -> np.ndarray | None:
    """Take a piece of spare memory; pieces of another shape, of an earlier video, are given back to the system."""
    if room and room[-1].shape != shape:
        room.clear()
    return room.pop() if room else None


_BUILDING = threading.Lock()
"""Networks are built one at a time: two threads that import the same libraries may find them half imported."""


def _built(recipe: Recipe, device: str) -> FrameEncoder:
    with _BUILDING:
        network: FrameEncoder = recipe.encoder(recipe.weights, device)
        return network


def _encode(network: Future[FrameEncoder], frames: np.ndarray) -> np.ndarray:
    return network.result().encode(frames)


def _families(lines: Sequence[Line]) -> str:
    return ", ".join(line.recipe.family for line in lines)


def frames_wanted(recipe: Recipe) -> FramesWanted:
    """Return the frames that a family needs on its grid."""
    return FramesWanted(recipe.kind.sampling, recipe.kind.view, grid_seconds(recipe.grid))


def _pass_on(event: Plan | Chunk | Done | Failed, source: VideoFile, line: FrameLine) -> None:
    if isinstance(event, Plan):
        line.begin(source, event.rows[line.recipe.family])
    elif isinstance(event, Chunk):
        line.take(source, event)
    else:
        line.end(source, is_whole=isinstance(event, Done))
