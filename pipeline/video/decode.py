"""Decodes the frames of one video at given source indices, in the views that networks need, in one pass from the start.

PyAV decodes every file from its first packet on, as FFmpeg's command line does, and never seeks. A reader that seeks
(decord) may return pictures of another moment without any error: after a cut by stream copy, in MPEG-TS, after open
GOPs, and with intra refresh. Only a decode from the start can tell which of its pictures are wrong. Seeking saves
little: for one frame every 2 s of the six real videos of the tests, decord takes 1.2 times the CPU time of PyAV. So
rows are never made with decord. It is a second reader in tests, and for users who ask for it
(`video/second_reader.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import av
import av.filter
import numpy as np
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipeline.errors import PipelineError
from pipeline.video.container import frames_of, opened, video_stream
from pipeline.video.probe import VideoFacts
from pipeline.video.views import CROP, FRAMES224, View, cropped, size_224, view_of

CHUNK = 16 * CROP * CROP * 3
"""Largest number of bytes of frames in one chunk, unless one frame is larger: 2.4 MB, 16 frames of 224 × 224."""

_HALF_TURN = (("hflip", ""), ("vflip", ""))
_TURNS = {90: (("transpose", "cclock"),), -90: (("transpose", "clock"),), 180: _HALF_TURN, -180: _HALF_TURN}
"""Angle of the display matrix, counterclockwise → the filters that rotate a frame. A mirrored picture is rotated by the
angle of its matrix, as in FFmpeg 4: by a half turn if it is mirrored from left to right, and not at all if from top to
bottom."""


@dataclass(frozen=True)
class Chunk:
    """Some of the frames asked for. indices: their source indices, ascending. frames: uint8 RGB [n, height, width,
    3]."""

    view: str
    indices: Sequence[int]
    frames: np.ndarray
    decoder: str


def read_frames(facts: VideoFacts, wanted: Mapping[str, Sequence[int]]) -> Iterator[Chunk]:
    """Read frames by index in one pass, and yield a bounded number of them at a time.

    wanted: view (`video.views`) → source indices of shown frames, ascending and distinct. Decoding ends with the last
    wanted frame. Only wanted frames become RGB, and only once for all native views. Raises PipelineError when the file
    decodes to fewer frames than its packets promise, or not at all.
    """
    buffers = [_ChunkBuffer(view, indices) for view, indices in wanted.items()]
    last = max(buffer.last for buffer in buffers)
    seen = -1 - facts.first  # Frames before a part have negative indices, and are never wanted.
    pictures_of: _ViewFilters | None = None
    with opened(facts.path) as container:
        stream = video_stream(container, facts.path)
        for frame in frames_of(container, stream, facts.path):
            if frame.pts is not None and frame.pts < 0:
                continue
            seen += 1
            filled = [buffer for buffer in buffers if seen in buffer.wanted]
            if not filled:
                continue
            _check_time(frame, seen, facts)
            pictures_of = pictures_of or _ViewFilters(stream, frame.rotation, facts)
            pictures = pictures_of.views(frame, [buffer.view for buffer in filled])
            for buffer, picture in zip(filled, pictures, strict=True):
                yield from buffer.add(seen, picture)
            if seen == last:
                return
    raise PipelineError(
        f"decodes to {seen + 1} frames, and its packets hold {facts.n_frames}",
        where=facts.path,
        remedy="put a good copy in its place, or leave it out (`skip` of its dataset)",
    )


class _ChunkBuffer:
    """Frames of one view that are collected for its next chunk."""

    def __init__(self, view: str, indices: Sequence[int]) -> None:
        self.view, self.wanted, self.last = view, frozenset(indices), indices[-1]
        self._frames: dict[int, np.ndarray] = {}

    def add(self, index: int, frame: np.ndarray) -> Iterator[Chunk]:
        """Add a frame, and yield the chunk that it completes."""
        self._frames[index] = frame
        if index == self.last or (len(self._frames) + 1) * frame.nbytes > CHUNK:
            yield Chunk(self.view, list(self._frames), np.stack(list(self._frames.values())), f"pyav {av.__version__}")
            self._frames = {}


class _ViewFilters:
    """The filters that make views from one video's decoded frames. FFmpeg rotates the frames as the display matrix
    says."""

    def __init__(self, stream: VideoStream, rotation: int, facts: VideoFacts) -> None:
        self._size = size_224(facts.width, facts.height)
        turn = _TURNS.get(rotation, ())
        scale = ("scale", f"{self._size.width}:{self._size.height}:flags=bilinear")
        self._scaled = _rgb(stream, (*turn, scale))
        self._native = _rgb(stream, turn)
        self._views: dict[str, View] = {}

    def views(self, frame: VideoFrame, views: Sequence[str]) -> list[np.ndarray]:
        """Return the frame in each of the views, uint8 RGB [height, width, 3]."""
        native: np.ndarray | None = None
        pictures = []
        for view in views:
            if view == FRAMES224:
                pictures.append(cropped(self._scaled(frame), self._size.y, self._size.x))
                continue
            native = self._native(frame) if native is None else native
            if view not in self._views:
                self._views[view] = view_of(view)
            pictures.append(self._views[view](native))
        return pictures


def _check_time(frame: VideoFrame, index: int, facts: VideoFacts) -> None:
    """Refuse a frame that is more than three frames from the time that its packet states. FFmpeg's guesses for AVI
    are off by one or two frames, which is allowed."""
    if frame.pts is None or frame.time_base is None:
        return
    off = abs(frame.pts * frame.time_base - facts.pts[index] * facts.time_base - facts.start_s)
    if off * facts.rate > 3:
        raise PipelineError(
            f"decodes to other times than its packets say (frame {index}: {float(off):.2f} s apart)",
            where=facts.path,
            remedy="put a good copy in its place, or leave it out (`skip` of its dataset)",
        )


def _rgb(stream: VideoStream, steps: Sequence[tuple[str, str]]) -> Callable[[VideoFrame], np.ndarray]:
    """Return a function that runs FFmpeg's filters on a frame. The last filter makes RGB."""
    graph = av.filter.Graph()
    nodes = [graph.add(*step) for step in (*steps, ("format", "rgb24"))]
    graph.link_nodes(graph.add_buffer(template=stream), *nodes, graph.add("buffersink")).configure()

    def filtered(frame: VideoFrame) -> np.ndarray:
        graph.push(frame)
        out = graph.pull()
        if not isinstance(out, VideoFrame):
            raise TypeError("a chain of video filters gave no video frame")
        return out.to_ndarray(format="rgb24")

    return filtered
