"""Frames of one video at given source indices, as the 224-frame of CLIP and SlowFast: one interface, two decoders.

decord where few frames are wanted (it seeks), PyAV where many are and wherever decord is missing (no wheel for ARM),
refuses (AV1, damage) or keeps other times than the packets (AVI). Both scale in one bilinear swscale pass; their frames
are equal byte for byte (features.md 2.2). Only this file knows decord's manners: it decodes ahead without bound while a
reader lies idle, and makes up for frames that an edit list hides by repeating others at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import av
import av.filter
import numpy as np
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipeline.errors import PipelineError
from pipeline.video.probe import VideoFacts, opened, video_stream
from pipeline.video.views import CROP, Size, size_224

CHUNK = 16
"""Frames handed over at a time: 2.4 MB."""

SPARSE = 4
"""decord pays when at most one frame in this many is wanted."""

AT_ONCE = 512
"""And at most this many: a reader that waits for the encoder decodes ahead without bound, so it is read in one go."""

_TURNS = {0: (), 90: (("transpose", "cclock"),), -90: (("transpose", "clock"),), 180: (("hflip", ""), ("vflip", ""))}


@dataclass(frozen=True)
class Chunk:
    """Some of the frames asked for. indices: source indices, ascending. frames: uint8 RGB [n, 224, 224, 3]."""

    indices: Sequence[int]
    frames: np.ndarray
    decoder: str


class _RefusedError(Exception):
    """decord cannot read this file, or not exactly."""


def read_frames(facts: VideoFacts, indices: Sequence[int]) -> Iterator[Chunk]:
    """Read frames by index (ascending, distinct, of the frames that are shown), a bounded number at a time.

    Raises PipelineError when the file decodes to fewer frames than its packets promise, or not at all.
    """
    size = size_224(facts.width, facts.height)
    if len(indices) <= min(AT_ONCE, facts.n_frames // SPARSE):
        try:
            frames, decoder = _by_decord(facts, indices, size)
        except _RefusedError:
            pass  # PyAV is the second opinion; the decoder of every array is recorded
        else:
            for start in range(0, len(indices), CHUNK):
                part = slice(start, start + CHUNK)
                yield Chunk(indices[part], frames[part], decoder)
            return
    yield from _by_pyav(facts, indices, size)


def _by_decord(facts: VideoFacts, indices: Sequence[int], size: Size) -> tuple[np.ndarray, str]:
    decord = _decord()
    try:
        reader = decord.VideoReader(str(facts.path.absolute()), width=size.width, height=size.height, num_threads=1)
        _check_times(reader, facts)
        frames = reader.get_batch(indices).asnumpy()
    except (decord.DECORDError, RuntimeError) as error:
        raise _RefusedError from error
    return _cropped(frames, size), f"decord {decord.__version__}"


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


def _by_pyav(facts: VideoFacts, indices: Sequence[int], size: Size) -> Iterator[Chunk]:
    """Decode from the start to the last index; only frames that are wanted are scaled."""
    wanted = iter([*indices, None])
    target = next(wanted)
    seen = -1
    batch: list[np.ndarray] = []
    done: list[int] = []
    with opened(facts.path) as container:
        stream = video_stream(container, facts.path)
        scale: Callable[[VideoFrame], np.ndarray] | None = None
        for frame in container.decode(stream):
            if frame.pts is not None and frame.pts < 0:
                continue
            seen += 1
            if seen != target:
                continue
            _check_time(frame, seen, facts)
            scale = scale or _scaler(stream, frame.rotation, size)
            batch.append(scale(frame))
            done.append(seen)
            target = next(wanted)
            if target is None or len(batch) == CHUNK:
                yield Chunk(done, np.stack(batch), f"pyav {av.__version__}")
                batch, done = [], []
            if target is None:
                return
    raise PipelineError(
        f"decodes to {seen + 1} of {facts.n_frames} frames", where=facts.path, remedy="fetch it again, or leave it out"
    )


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


def _scaler(stream: VideoStream, rotation: int, size: Size) -> Callable[[VideoFrame], np.ndarray]:
    """FFmpeg's own chain: turn as the display matrix says, scale bilinearly to the coded proportions, crop."""
    graph = av.filter.Graph()
    chain = (
        *_TURNS.get(rotation, ()),
        ("scale", f"{size.width}:{size.height}:flags=bilinear"),
        ("format", "rgb24"),
    )
    nodes = [graph.add_buffer(template=stream), *(graph.add(*step) for step in chain), graph.add("buffersink")]
    graph.link_nodes(*nodes).configure()

    def scale(frame: VideoFrame) -> np.ndarray:
        graph.push(frame)
        scaled = graph.pull()
        if not isinstance(scaled, VideoFrame):
            raise TypeError("a chain of video filters gave no video frame")
        return _cropped(scaled.to_ndarray(format="rgb24")[None], size)[0]

    return scale


def _cropped(frames: np.ndarray, size: Size) -> np.ndarray:
    return np.ascontiguousarray(frames[:, size.y : size.y + CROP, size.x : size.x + CROP])
