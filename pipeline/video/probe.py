"""What a video file really holds, read from its packets: exact times, without decoding a frame.

Headers lie in two ways that matter here: a file cut short still claims its whole length, and an edit list hides frames
that its index counts. So every packet is read (seconds for an hour of video), and what was read is compared with what
was claimed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from pipeline.errors import PipelineError

av.logging.set_level(av.logging.PANIC)

MISSING_S = Fraction(1, 2)
"""A file whose packets end this many seconds before its claimed end is called cut short."""


@dataclass(frozen=True)
class VideoFacts:
    """One video stream (the file's best), and whether there is sound.

    duration: T in seconds, the end of the video stream: start + stored duration where the container stores one
    (`stored_duration`), else last time + 1/average rate (features.md 2.1). rate: average frames per second.
    pts: presentation times of all frames that are shown, ascending, in units of `time_base` seconds.
    width, height: pixels as coded, before any rotation. audio_end: seconds, None without sound.
    """

    path: Path
    codec: str
    width: int
    height: int
    rate: Fraction
    duration: Fraction
    stored_duration: bool
    time_base: Fraction
    pts: tuple[int, ...] = field(repr=False)
    audio_end: Fraction | None = None

    @property
    def n_frames(self) -> int:
        """Frames that are shown."""
        return len(self.pts)

    @property
    def has_audio(self) -> bool:
        """Whether there is a sound stream with at least one packet."""
        return self.audio_end is not None


def probe(path: Path | str) -> VideoFacts:
    """Read the facts of one video file. Raises PipelineError: missing, unreadable, no video, no frames, cut short."""
    path = Path(path)
    with opened(path) as container:
        video = video_stream(container, path)
        sounds = list(container.streams.audio)
        ends: dict[int, Fraction] = {}
        pts = []
        damaged = False
        for packet in container.demux(video, *sounds):
            time = packet.pts if packet.pts is not None else packet.dts
            if not packet.size or time is None:
                continue
            index = packet.stream.index
            ends[index] = max(ends.get(index, Fraction(0)), _end_of(packet, time))
            if index == video.index:
                damaged |= packet.is_corrupt
                # Frames that an edit list cuts away do not exist for a viewer.
                if time >= 0 and not packet.is_discard:
                    pts.append(time)
        if not pts:
            raise PipelineError("has no video frames", where=path, remedy="replace the file or leave it out")
        _refuse_cut_short(path, container, video, ends, damaged)
        return _facts(path, video, sorted(pts), max((ends[s.index] for s in sounds if s.index in ends), default=None))


@contextmanager
def opened(path: Path) -> Iterator[InputContainer]:
    """Open a media file; FFmpeg's errors inside the block become PipelineErrors that name the file."""
    try:
        # An absolute path is never taken for a protocol (`a:b.mp4`).
        with av.open(str(path.absolute()), metadata_errors="replace") as container:
            yield container
    except (av.error.FFmpegError, OSError) as error:
        if not path.exists():
            raise PipelineError("no such video file", where=path, remedy="fetch it again") from error
        reason = "is empty" if path.stat().st_size == 0 else f"cannot be read as video ({_reason(error)})"
        raise PipelineError(reason, where=path, remedy="fetch it again, or leave it out") from error


def video_stream(container: InputContainer, path: Path) -> VideoStream:
    """The stream a player would show. Raises PipelineError where there is none."""
    best = container.streams.best("video")
    if not isinstance(best, VideoStream):
        raise PipelineError("has no video stream", where=path, remedy="replace the file or leave it out")
    return best


def _facts(path: Path, video: VideoStream, pts: list[int], audio_end: Fraction | None) -> VideoFacts:
    base = Fraction(video.time_base or 1)
    rate = video.average_rate or _mean_rate(pts, base)
    stored = _stored_end(video)
    return VideoFacts(
        path=path,
        codec=video.codec_context.name,
        width=video.codec_context.width,
        height=video.codec_context.height,
        rate=rate,
        duration=stored if stored is not None else pts[-1] * base + 1 / rate,
        stored_duration=stored is not None,
        time_base=base,
        pts=tuple(pts),
        audio_end=audio_end,
    )


def _mean_rate(pts: list[int], base: Fraction) -> Fraction:
    span = (pts[-1] - pts[0]) * base
    return (len(pts) - 1) / span if span else Fraction(25)


def _stored_end(stream: Stream) -> Fraction | None:
    if not stream.duration or stream.time_base is None:
        return None
    return (max(stream.start_time or 0, 0) + stream.duration) * stream.time_base


def _end_of(packet: Packet, time: int) -> Fraction:
    return (time + (packet.duration or 0)) * Fraction(packet.time_base)


def _refuse_cut_short(
    path: Path, container: InputContainer, video: VideoStream, ends: dict[int, Fraction], damaged: bool
) -> None:
    """Compare where packets end with what the video stream claims (WebM, Matroska: the container, for all streams)."""
    claimed, found = _stored_end(video), ends[video.index]
    if claimed is None and container.duration:
        # Matroska counts from zero, whenever its first packet comes.
        claimed, found = Fraction(container.duration, av.time_base), max(ends.values())
    if damaged or (claimed is not None and found < claimed - MISSING_S):
        length = "" if claimed is None else f" of {float(claimed):.2f} s"
        raise PipelineError(
            f"is cut short or damaged: its packets end at {float(found):.2f} s{length}",
            where=path,
            remedy="fetch it again, or leave it out",
        )


def _reason(error: Exception) -> str:
    log = getattr(error, "log", None)
    return str(log[2]).strip() if log else str(getattr(error, "strerror", None) or error)
