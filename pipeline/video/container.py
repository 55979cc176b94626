"""Opens media files with PyAV. Packets and frames have times on one clock, and errors name the file.

Times are shifted to begin at 0 only in this module. A file may start at any time (MPEG at half a second, a broadcast at
twenty hours). FFmpeg's command line, which made the released features, subtracts the start of the file from every
stream equally. So sound and picture stay together, and a picture that starts later than its sound keeps this delay.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from math import floor
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from pipeline import files
from pipeline.errors import PipelineError
from pipeline.video.supervised import NotThereError

av.logging.set_level(av.logging.PANIC)

UNREADABLE = "cannot be read as video"

MOST_PIXELS = 35_651_584
"""The largest accepted picture, in pixels, 8192 × 4352. It is the largest one of H.264 (139,264 blocks of 256 pixels at
level 6.2) and of the levels 6 of HEVC and AV1. A decoded one takes 53 MB, and a decoder may keep 17 of them."""

_LIMITED = {"max_pixels": str(MOST_PIXELS)}


@contextmanager
def opened(path: Path) -> Iterator[InputContainer]:
    """Open a media file. FFmpeg's errors inside the block become PipelineErrors that name the file."""
    files.refuse_special(path)
    with _refusing(path, UNREADABLE):
        # FFmpeg would read the relative path `a:b.mp4` as a protocol. It never does so for an absolute path.
        # A decoder that is given the limit refuses a larger picture before it takes the memory for it.
        container = av.open(str(path.absolute()), options=_LIMITED, metadata_errors="replace")
    with container, _refusing(path, UNREADABLE, (av.error.FFmpegError, OSError)):
        yield container


def video_stream(container: InputContainer, path: Path) -> VideoStream:
    """Return the stream that a player would show. The cover picture of a song does not count.

    Raises PipelineError when there is no video stream, none that can be decoded, or one of more than MOST_PIXELS.
    """
    best = container.streams.best("video")
    if isinstance(best, VideoStream) and _is_cover(best):
        best = next((stream for stream in container.streams.video if not _is_cover(stream)), None)
    if not isinstance(best, VideoStream):
        raise PipelineError(
            "has no video stream (the cover picture of a song does not count)",
            where=path,
            remedy="replace the file, or leave it out (`skip` of its dataset)",
        )
    if best.codec_context is None:
        raise PipelineError(
            "its video is in a codec that FFmpeg does not know",
            where=path,
            remedy="encode it again, or leave it out (`skip` of its dataset)",
        )
    width, height = best.codec_context.width, best.codec_context.height
    if width * height > MOST_PIXELS:
        raise too_large(path, f"has pictures of {width:,} × {height:,} pixels")
    best.codec_context.options = {**best.codec_context.options, **_LIMITED}
    return best


def too_large(path: Path, what: str) -> PipelineError:
    """Make the error for pictures beyond MOST_PIXELS."""
    return PipelineError(
        f"{what}; at most {MOST_PIXELS:,} are accepted (8192 × 4352)",
        where=path,
        remedy="make it smaller (ffmpeg -i OLD -vf scale=-2:1080 NEW.mp4), or leave it out (`skip` of its dataset)",
    )


def _is_cover(stream: VideoStream) -> bool:
    return bool(stream.disposition & Disposition.attached_pic)


def start_ticks(container: InputContainer, stream: Stream) -> int:
    """Return the start of the whole file in the stream's own ticks, rounded as FFmpeg does, and never below 0."""
    start_s = Fraction(max(container.start_time or 0, 0), av.time_base)
    return floor(start_s / Fraction(stream.time_base or 1) + Fraction(1, 2))


def packets_of(container: InputContainer, streams: Sequence[Stream], path: Path) -> Iterator[tuple[Packet, int | None]]:
    """Yield (packet, its time) for every packet that holds data. Times are in ticks of its stream since the file's
    start.

    The time is None when the file states none and FFmpeg finds none.
    """
    starts = {stream.index: start_ticks(container, stream) for stream in streams}
    with _refusing(path, UNREADABLE):
        for packet in container.demux(*streams):
            time = packet.pts if packet.pts is not None else packet.dts
            if packet.size:
                yield packet, None if time is None else time - starts[packet.stream.index]


def frames_of(container: InputContainer, stream: Any, path: Path, refusal: str = UNREADABLE) -> Iterator[Any]:
    """Yield the decoded frames of a picture or a sound. Their `pts` count from the start of the file."""
    start = start_ticks(container, stream)
    with _refusing(path, refusal):
        for frame in container.decode(stream):
            if frame.pts is not None:
                frame.pts -= start
            yield frame


@contextmanager
def _refusing(path: Path, refusal: str, kinds: tuple[type[Exception], ...] = (Exception,)) -> Iterator[None]:
    """Turn exceptions inside the block into a PipelineError that says what is wrong with this file.

    refusal: what the error says of a file that is there and is not empty. kinds: the exceptions that are turned. PyAV
    raises many kinds for damaged files, for example an IndexError for a stream that begins in the middle.
    Raises NotThereError if the file does not exist.
    """
    try:
        yield
    except kinds as error:
        if not path.exists():
            remedy = "bring it back, or name another file"
            raise NotThereError("no such video file", where=path, remedy=remedy) from error
        what = "is empty" if path.stat().st_size == 0 else f"{refusal} ({_reason(error)})"
        raise PipelineError(
            what, where=path, remedy="put a good copy in its place, or leave it out (`skip` of its dataset)"
        ) from error


def _reason(error: Exception) -> str:
    log = getattr(error, "log", None)
    return str(log[2]).strip() if log else str(getattr(error, "strerror", None) or f"{type(error).__name__}: {error}")
