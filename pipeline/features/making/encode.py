"""Encodes many videos with several networks. Each video is decoded once for all of them.

The last bits of a row depend on how many inputs are encoded in one batch. So a batch never holds inputs of two videos.
A video's rows then have the same bits whether it is encoded alone, among others, after a kill, or by
`features extract --video`.

The rows of a video are stored only after the whole video was read and all its rows were encoded. If a video fails
before that, only the reason is recorded.
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

from pipeline import files, work_record
from pipeline.encoders.base import FrameEncoder, Weights, encoder_of
from pipeline.encoders.workers import Workers
from pipeline.families import FAMILIES, Family, Passport
from pipeline.features import ROWS_APART
from pipeline.features.store.writer import StoreWriter, TooLargeError
from pipeline.grids import grid_seconds
from pipeline.progress import Progress
from pipeline.video.ahead import Done, FramesWanted, Plan, Request, decode_ahead
from pipeline.video.decode import Chunk
from pipeline.video.part import Part
from pipeline.video.supervised import Failed, Fault


@dataclass(frozen=True)
class Recipe:
    """How the rows of one family are made: on which grid, with which weights, and in which dtype they are stored."""

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
        """What is decoded: the file, or the part of it."""
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


@dataclass
class _Video:
    """One video while one network encodes it.

    inputs: numbers of the source frames that each input of the network holds, int64 [inputs, frames].
    encoded: float32 [rows, dim], of which the first `n_encoded` rows are filled.
    frames: decoded frames that a later input still needs. The key is the number of the frame.
    batch: the inputs that are encoded next, of which the first `n_waiting` are in place.
    n_gathered: the number of inputs that are in this batch or in earlier ones.
    is_whole: whether the video was read to its end.
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


class _SubmittedBatch(NamedTuple):
    """A batch that a worker encodes. Its first `n` inputs are in use. Their rows follow the video's encoded rows."""

    video: _Video
    batch: np.ndarray
    n: int
    rows: Future[np.ndarray]


class FrameRowMaker:
    """Makes the rows of one family from the frames of videos. The network is built when the first video begins.

    `workers` encode batches while this object fills the next one. At most one batch for each worker may be at work, and
    one more may wait. The memory of frames and batches is kept and used again. When it was freed and allocated anew for
    each video, the memory became fragmented and the process grew without end.
    skipped: videos whose rows fit neither their segments nor the store's dtype, with the reason.
    """

    def __init__(self, recipe: Recipe, store: StoreWriter, device: str, workers: Workers) -> None:
        self.recipe, self.store = recipe, store
        self.skipped: list[Skipped] = []
        self._device, self._workers = device, workers
        self._network: Future[FrameEncoder] | None = None
        self._videos: dict[str, _Video] = {}
        self._submitted: deque[_SubmittedBatch] = deque()
        self._spare_batches: list[np.ndarray] = []
        self._spare_frames: list[np.ndarray] = []

    def begin(self, source: VideoFile, inputs: np.ndarray) -> None:
        """Begin a video. Skip it if its number of rows does not fit its segments.

        inputs: numbers of the source frames that each input of the network holds, int64 [inputs, frames].
        """
        n_clips = source.n_clips[self.recipe.grid]
        per_input = self.recipe.kind.rows_per_input
        n_rows = per_input * len(inputs)
        if abs(n_rows - n_clips) > max(ROWS_APART, per_input):
            why = f"{self.recipe.family} would have {n_rows} rows where its segments have {n_clips} clips"
            self.skipped.append(Skipped(source.vid, why))
            return
        if self._network is None:
            self._network = self._workers.submit(_built, self.recipe, self._device)
        encoded = np.empty((n_rows, self.recipe.kind.dim), np.float32)
        self._videos[source.vid] = _Video(source, inputs, encoded)

    def add_chunk(self, source: VideoFile, chunk: Chunk) -> None:
        """Take the next decoded frames of a video.

        Every input whose frames are all there goes into a batch. Frames that later inputs need are copied, because the
        decoder overwrites the memory of the chunk. The other frames are dropped.
        """
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
        """End a video. Its rows are stored if it was read to its end (`is_whole`), and dropped if it failed."""
        video = self._videos.pop(source.vid, None)
        if video is None:
            return
        self._keep(video, {}, set())
        if video.batch is not None:  # A video that failed can leave a batch that was not encoded.
            self._spare_batches.append(video.batch)
        video.is_whole = is_whole
        self._store_if_complete(video)

    def finish(self) -> None:
        """Wait until all submitted batches are encoded and stored."""
        self._collect(0)

    def _keep(self, video: _Video, frames: Mapping[int, np.ndarray], needed: set[int]) -> None:
        """Copy the frames that are needed later, and free the copies that are not needed any more."""
        for index in video.frames.keys() - needed:
            self._spare_frames.append(video.frames.pop(index))
        for index in needed - video.frames.keys():
            room = _spare(self._spare_frames, frames[index].shape)
            video.frames[index] = np.empty_like(frames[index]) if room is None else room
            video.frames[index][:] = frames[index]

    def _gather(self, video: _Video, frames: Mapping[int, np.ndarray]) -> None:
        """Put the next input into the video's batch. Submit the batch if it is full, or after the last input."""
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
        """Submit a batch to the workers. Then collect older batches until only one for each worker is still at work."""
        if self._network is None:
            return
        rows = self._workers.submit(_encode, self._network, batch[: video.n_waiting])
        self._submitted.append(_SubmittedBatch(video, batch, video.n_waiting, rows))
        video.batch, video.n_waiting = None, 0
        self._collect(self._workers.n)

    def _collect(self, n_left: int) -> None:
        """Wait for the oldest batches and keep their rows, until only `n_left` batches are still at work."""
        while len(self._submitted) > n_left:
            video, batch, n, submitted = self._submitted.popleft()
            rows = submitted.result()
            work_record.note("encoded", family=self.recipe.family, rows=len(rows))
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
                self.skipped.append(Skipped(source.vid, f"{self.recipe.family}: {error.what}"))


def encode_videos(
    sources: Iterable[VideoFile], makers: Sequence[FrameRowMaker], seconds_per_video: float
) -> list[Skipped]:
    """Encode every video with every maker whose store has no rows of it yet. One decode serves all makers.

    seconds_per_video: the time after which the decoding of a video is given up.
    Returns the videos that were skipped, with reasons.
    """
    work, failed = unencoded(sources, makers)
    requests = [
        Request(source.to_read, {maker.recipe.family: frames_wanted(maker.recipe) for maker in waiting})
        for source, waiting in work
    ]
    n_frames = 0
    with (
        closing(decode_ahead(requests, seconds_per_video, _n_decoders())) as events,
        Progress(len(work), "videos", _families(makers)) as progress,
    ):
        for position, event in events:
            source, waiting = work[position]
            if isinstance(event, Chunk):
                n_frames += len(event.indices)
                progress.add(0, f"{n_frames / max(progress.seconds, 1e-9):.1f} frames/s")
            if isinstance(event, Done | Failed):
                work_record.note("decoded", path=source.path, track="pictures", families=_families(waiting))
            if isinstance(event, Failed):
                failed.append(Skipped(source.vid, event.why, event.fault))
            for maker in waiting:
                _pass_on(event, source, maker)
            progress.add(isinstance(event, Done | Failed))
        for maker in makers:
            maker.finish()
    return failed + [skipped for maker in makers for skipped in maker.skipped]


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


def _n_decoders() -> int:
    """Return how many videos are decoded at the same time: at most 3.

    Each needs a core, and one core is left for the networks. Together they stay within the four threads of the rule.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(3, cores - 1))


def _memory(shape: tuple[int, ...], device: str) -> np.ndarray:
    """Allocate the memory of a batch, uint8 of this shape.

    If a GPU reads it, the memory is page-locked. A GPU copies from such memory while the CPU goes on.
    """
    if device == "cpu":
        return np.empty(shape, np.uint8)
    import torch

    return torch.empty(shape, dtype=torch.uint8, pin_memory=True).numpy()


def _spare(room: list[np.ndarray], shape: tuple[int, ...]) -> np.ndarray | None:
    """Take a spare array of this shape, or return None. Spare arrays of another shape are freed.

    Another shape means that they belonged to an earlier video, whose pictures had another size.
    """
    if room and room[-1].shape != shape:
        room.clear()
    return room.pop() if room else None


_BUILDING = threading.Lock()
"""Networks are built one at a time. Two threads that import the same library at once may find it half imported."""


def _built(recipe: Recipe, device: str) -> FrameEncoder:
    with _BUILDING:
        work_record.note("built", family=recipe.family)
        network: FrameEncoder = recipe.encoder(recipe.weights, device)
        return network


def _encode(network: Future[FrameEncoder], frames: np.ndarray) -> np.ndarray:
    return network.result().encode(frames)


def _families(makers: Sequence[RowMaker]) -> str:
    return ", ".join(maker.recipe.family for maker in makers)


def frames_wanted(recipe: Recipe) -> FramesWanted:
    """Return the frames that a family needs on its grid."""
    return FramesWanted(recipe.kind.sampling, recipe.kind.view, grid_seconds(recipe.grid))


def _pass_on(event: Plan | Chunk | Done | Failed, source: VideoFile, maker: FrameRowMaker) -> None:
    if isinstance(event, Plan):
        maker.begin(source, event.rows[maker.recipe.family])
    elif isinstance(event, Chunk):
        maker.add_chunk(source, event)
    else:
        maker.end(source, is_whole=isinstance(event, Done))
