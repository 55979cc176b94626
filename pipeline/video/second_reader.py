"""Reads the 224-frames of a video once more with decord, and compares them with the pictures of PyAV.

The setting `encoding.second_reader` turns this on. Rows are always made from PyAV's pictures, because these are the
pictures of FFmpeg's command line. So the setting changes no row. If decord seeks correctly, its pictures have the same
bytes. If it does not, features that other people made with decord belong to other moments of that video.

decord runs in a process of its own, because some files make it crash or hang.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np

from pipeline.errors import PipelineError
from pipeline.video.ahead import Request, by_view, sampled
from pipeline.video.decode import read_frames
from pipeline.video.part import facts_of
from pipeline.video.probe import VideoFacts, probe
from pipeline.video.supervised import Failed, one_by_one
from pipeline.video.views import FRAMES224, cropped, size_224


class RefusedError(Exception):
    """decord cannot read this file, or its times are not those of the packets."""


@dataclass(frozen=True)
class Opinion:
    """The result of decord for one video. equal: every picture has the same bytes as PyAV's. why: the reason
    otherwise."""

    verdict: Literal["equal", "differs", "refuses"]
    why: str = ""


def refuse_without_decord() -> None:
    """Raise PipelineError if decord is not installed."""
    if find_spec("decord") is None:
        raise PipelineError(
            "decord is not installed here",
            where="encoding.second_reader",
            remedy="leave the key out, or work on Linux on an x86-64 processor, where `make install` installs decord",
        )


def opinions(requests: Sequence[Request], seconds_per_video: float) -> Generator[tuple[int, Opinion], None, None]:
    """Yield (position of the request, opinion) for each video. A file that crashes decord counts as refused."""
    for position, event in one_by_one(requests, opinion, seconds_per_video, "reading it with decord", Opinion):
        yield position, Opinion("refuses", event.why) if isinstance(event, Failed) else event


def opinion(request: Request) -> Iterator[Opinion]:
    """Compare all 224-frames of the request. Raises PipelineError for a file that PyAV cannot read."""
    facts = facts_of(request.path)
    wanted = by_view(request.wanted, sampled(request, facts)).get(FRAMES224)
    if not wanted:
        yield Opinion("equal")
        return
    try:
        frames_at = opened_by_decord(probe(facts.path))
        for chunk in read_frames(facts, {FRAMES224: wanted}):
            differing = np.flatnonzero(
                (frames_at([facts.first + index for index in chunk.indices]) != chunk.frames).any(axis=(1, 2, 3))
            )
            if differing.size:
                index = chunk.indices[differing[0]]
                time_s = float(facts.pts[index] * facts.time_base)
                yield Opinion("differs", f"another picture at frame {index:,} ({time_s:.2f} s)")
                return
    except RefusedError as error:
        yield Opinion("refuses", str(error))
        return
    yield Opinion("equal")


def opened_by_decord(facts: VideoFacts) -> Any:
    """Return a function from source indices to their 224-frames, uint8 RGB [n, 224, 224, 3]. Raises RefusedError."""
    import decord

    decord.logging.set_level(decord.logging.QUIET)
    size = size_224(facts.width, facts.height)
    errors = (decord.DECORDError, RuntimeError)
    try:
        reader = decord.VideoReader(str(facts.path.absolute()), width=size.width, height=size.height, num_threads=1)
        _check_times(reader, facts)
    except errors as error:
        raise RefusedError(_first_line(error)) from error

    def frames_at(indices: Sequence[int]) -> np.ndarray:
        try:
            return cropped(reader.get_batch(list(indices)).asnumpy(), size.y, size.x)
        except errors as error:
            raise RefusedError(_first_line(error)) from error

    return frames_at


def _check_times(reader: Any, facts: VideoFacts) -> None:
    """Raise RefusedError if decord's frames are not those of the packets. decord counts from the first frame, and
    frames that an edit list hides have negative times there."""
    times = reader.get_frame_timestamp(range(len(reader)))[:, 0]
    times = times[times >= 0]
    exact = np.array(facts.pts) * float(facts.time_base)
    if len(times) != len(exact) or np.abs(times - times[0] - exact + exact[0]).max() > 1 / (2 * facts.rate):
        raise RefusedError("its table of times is not that of the packets")


def _first_line(error: Exception) -> str:
    """Return the first line of decord's error. The other lines are a path of its source code and a stack of calls."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rpartition("] ")[2]
