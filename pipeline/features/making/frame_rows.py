"""Makes the rows of one family from the decoded frames of videos.

The last bits of a row depend on how many inputs are encoded in one batch. So a batch never holds inputs of two videos.
A video's rows then have the same bits whether it is encoded alone, among others, after a kill, or by
`features extract --video`.

The rows of a video are stored only after the whole video was read and all its rows were encoded.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from pipeline import work_record
from pipeline.encoders.base import FrameEncoder
from pipeline.encoders.workers import Workers
from pipeline.features import ROWS_APART
from pipeline.features.making.recipe import Recipe, Skipped, VideoFile
from pipeline.features.store.writer import StoreWriter, TooLargeError
from pipeline.nouns import counted
from pipeline.video.decode import Chunk


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

    @property
    def n_kept(self) -> int:
        """The number of decoded frames that are kept because an input to come needs them."""
        return sum(len(video.frames) for video in self._videos.values())

    def begin(self, source: VideoFile, inputs: np.ndarray) -> None:
        """Begin a video. Skip it if its number of rows does not fit its segments.

        inputs: numbers of the source frames that each input of the network holds, int64 [inputs, frames].
        """
        n_clips = source.n_clips[self.recipe.grid]
        per_input = self.recipe.kind.rows_per_input
        n_rows = per_input * len(inputs)
        if abs(n_rows - n_clips) > max(ROWS_APART, per_input):
            segments = f"where its segments have {counted(n_clips, 'clip')}"
            why = f"{self.recipe.family} would have {counted(n_rows, 'row')} {segments}"
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
