"""Frames of one video at given source indices, in the views that networks have of them: one pass, two decoders.

decord where few 224-frames are wanted and nothing else (it seeks), PyAV where many are, for every other view, and
wherever decord is missing (no wheel for ARM), refuses (AV1, damage) or keeps other times than the packets (AVI). Both
scale in one bilinear swscale pass; their frames are equal byte for byte. Only this file knows
decord's manners: it decodes ahead without bound while a reader lies idle, and makes up for frames that an edit list
hides by repeating others at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import av
import av.filter
import numpy as np
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipeline.errors import PipelineError
from pipeline.video.container import frames_of, opened, video_stream
from pipeline.video.probe import VideoFacts
from pipeline.video.views import CROP, FRAMES224, VIEWS, Size, cropped, size_224

CHUNK = 16 * CROP * CROP * 3
"""Bytes handed over at a time, 2.4 MB, where frames are not larger than that: 16 frames of 224 × 224."""

SPARSE = 4
"""decord pays when at most one frame in this many is wanted."""

AT_ONCE = 512
"""And at most this many: a reader that waits for the encoder decodes ahead without bound, so it is read in one go."""

_HALF_TURN = (("hflip", ""), ("vflip", ""))
_TURNS = {90: (("transpose", "cclock"),), -90: (("transpose", "clock"),), 180: _HALF_TURN, -180: _HALF_TURN}
"""Filters by the angle of the display matrix, counterclockwise. A mirror is its matrix's angle, as FFmpeg 4 has
it, and decord: left to right a half turn, top to bottom none."""


@dataclass(frozen=True)
class Chunk:
    """Some of the frames asked for. indices: source indices, ascending. frames: uint8 RGB [n, height, width, 3]."""

    view: str
    indices: Sequence[int]
    frames: np.ndarray
    decoder: str


class _RefusedError(Exception):
    """decord cannot read this file, or not exactly."""


def read_frames(facts: VideoFacts, wanted: Mapping[str, Sequence[int]]) -> Iterator[Chunk]:
    """Read frames by index in one pass, a bounded number at a time.

    wanted: for each view (`video.views`) its source indices: ascending, distinct, of the frames that are shown.
    Raises PipelineError when the file decodes to fewer frames than its packets promise, or not at all.
    """
    if [*wanted] == [FRAMES224] and len(wanted[FRAMES224]) <= min(AT_ONCE, facts.n_frames // SPARSE):
        indices = wanted[FRAMES224]
        try:
            frames, decoder = _by_decord(facts, indices, size_224(facts.width, facts.height))
        except _RefusedError:
            pass  # PyAV is the second opinion; the decoder of every array is recorded
        else:
            step = CHUNK // frames[0].nbytes
            for start in range(0, len(indices), step):
                part = slice(start, start + step)
                yield Chunk(FRAMES224, indices[part], frames[part], decoder)
            return
    yield from _by_pyav(facts, wanted)


def _by_decord(facts: VideoFacts, indices: Sequence[int], size: Size) -> tuple[np.ndarray, str]:
    decord = _decord()
    try:
        reader = decord.VideoReader(str(facts.path.absolute()), width=size.width, height=size.height, num_threads=1)
        _check_times(reader, facts)
        frames = reader.get_batch(indices).asnumpy()
    except (decord.DECORDError, RuntimeError) as error:
        raise _RefusedError from error
    return cropped(frames, size.y, size.x), f"decord {decord.__version__}"


def _decord() -> Any:
    try:
        import decord
    except (ImportError, OSError) as error:
        raise _RefusedError from error
    decord.logging.set_level(decord.logging.QUIET)
    return decord


def _check_times(reader: Any, facts: VideoFacts) -> None:
    """Refuse a reader whose frames do not stand where the packets say (AVI: its times are nonsense).

    decord counts from the first frame, and gives frames that an edit list hides negative times.
    """
    times = reader.get_frame_timestamp(range(len(reader)))[:, 0]
    times = times[times >= 0]
    exact = np.array(facts.pts) * float(facts.time_base)
    if len(times) != len(exact) or np.abs(times - times[0] - exact + exact[0]).max() > 1 / (2 * facts.rate):
        raise _RefusedError


def _by_pyav(facts: VideoFacts, wanted: Mapping[str, Sequence[int]]) -> Iterator[Chunk]:
    """Decode from the start to the last index; only frames that are wanted become RGB, once for all native views."""
    trays = [_Tray(view, indices) for view, indices in wanted.items()]
    last = max(tray.last for tray in trays)
    seen = -1
    look: _Looks | None = None
    with opened(facts.path) as container:
        stream = video_stream(container, facts.path)
        for frame in frames_of(container, stream, facts.path):
            if frame.pts is not None and frame.pts < 0:
                continue
            seen += 1
            takers = [tray for tray in trays if seen in tray.wanted]
            if not takers:
                continue
            _check_time(frame, seen, facts)
            look = look or _Looks(stream, frame.rotation, facts)
            for tray, picture in zip(takers, look.at(frame, [tray.view for tray in takers]), strict=True):
                yield from tray.chunks(seen, picture)
            if seen == last:
                return
    raise PipelineError(
        f"decodes to {seen + 1} of {facts.n_frames} frames", where=facts.path, remedy="fetch it again, or leave it out"
    )


class _Tray:
    """Frames of one view on the way into its next chunk."""

    def __init__(self, view: str, indices: Sequence[int]) -> None:
        self.view, self.wanted, self.last = view, frozenset(indices), indices[-1]
        self._frames: dict[int, np.ndarray] = {}

    def chunks(self, index: int, frame: np.ndarray) -> Iterator[Chunk]:
        """Take a frame; give the chunk that it fills."""
        self._frames[index] = frame
        if index == self.last or (len(self._frames) + 1) * frame.nbytes > CHUNK:
            yield Chunk(self.view, list(self._frames), np.stack(list(self._frames.values())), f"pyav {av.__version__}")
            self._frames = {}


class _Looks:
    """One video's decoded frames as its views. FFmpeg turns them as the display matrix says."""

    def __init__(self, stream: VideoStream, rotation: int, facts: VideoFacts) -> None:
        self._size = size_224(facts.width, facts.height)
        turn = _TURNS.get(rotation, ())
        scale = ("scale", f"{self._size.width}:{self._size.height}:flags=bilinear")
        self._scaled = _rgb(stream, (*turn, scale))
        self._native = _rgb(stream, turn)

    def at(self, frame: VideoFrame, views: Sequence[str]) -> list[np.ndarray]:
        """The frame in each of the views, uint8 RGB [height, width, 3]."""
        native: np.ndarray | None = None
        pictures = []
        for view in views:
            if view == FRAMES224:
                pictures.append(cropped(self._scaled(frame), self._size.y, self._size.x))
                continue
            native = self._native(frame) if native is None else native
            pictures.append(VIEWS[view](native))
        return pictures


def _check_time(frame: VideoFrame, index: int, facts: VideoFacts) -> None:
    """Refuse frames that do not stand where the packets say; FFmpeg's guesses for AVI are a frame or two off."""
    if frame.pts is None or frame.time_base is None:
        return
    off = abs(frame.pts * frame.time_base - facts.pts[index] * facts.time_base)
    if off * facts.rate > 3:
        raise PipelineError(
            f"decodes to other times than its packets say (frame {index}: {float(off):.2f} s apart)",
            where=facts.path,
            remedy="fetch it again, or leave it out",
        )


def _rgb(stream: VideoStream, steps: Sequence[tuple[str, str]]) -> Callable[[VideoFrame], np.ndarray]:
    """FFmpeg's own chain of filters, the last of which makes RGB."""
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
