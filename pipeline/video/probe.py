"""Reads the facts of a video file from its packets: exact times, almost always without decoding a frame.

Headers are wrong in two ways that matter here. A file that is cut short still claims its whole length, and an edit list
hides frames that the index counts. So every packet is read (this takes seconds for an hour of video), and the result is
compared with what the header claims.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from pipeline.errors import PipelineError
from pipeline.video.container import frames_of, opened, packets_of, start_ticks, too_large, video_stream

MISSING_S = Fraction(1, 2)
"""A file is called cut short when its packets end more than this many seconds and a frame before its claimed end."""

BEYOND_S = 10
"""A file is called damaged when its packets go on for more than this many seconds after its claimed end. A smaller
excess is the error of FFmpeg's guess for formats that store no length (MPEG)."""

_ONE_LENGTH = ("matroska", "flv", "asf")
"""Formats (FFmpeg's names) that store one length for all streams. FFmpeg reports it for each stream, or for some."""

_STORES_NO_TIME = {
    "matroska": "Matroska stores no times before its start, and a cut without encoding may leave such frames",
    "mpeg": "an MPEG program stream may store none for frames of H.264 and HEVC",
    "h264": "a bare stream of H.264 stores none",
    "hevc": "a bare stream of HEVC stores none",
}
"""Formats (FFmpeg's first names for them) in which frames may have no time, and why."""


@dataclass(frozen=True)
class VideoFacts:
    """The facts of one video stream, the best of its file. Times count from the start of the file (`video.container`).

    duration: T in seconds, the end of the video stream. It is start + stored duration if the container stores one
    (`stored_duration`), else last time + 1/average rate. rate: average frames per second. pts: presentation times of
    all frames that are shown, ascending, in units of `time_base` seconds. width, height: pixels as coded, before any
    rotation. first, start_s: of a part of a file (`video.part`), the number of shown frames before it, and the time in
    the file at which it starts.
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
    first: int = 0
    start_s: Fraction = Fraction(0)

    @property
    def n_frames(self) -> int:
        """Number of frames that are shown."""
        return len(self.pts)


def probe(path: Path | str) -> VideoFacts:
    """Read the facts of one video file.

    Raises PipelineError when the file is missing, unreadable, has no video (a cover picture does not count) or no
    frames, is cut short or damaged, or goes on far beyond its claimed end.
    """
    path = Path(path)
    with opened(path) as container:
        video = video_stream(container, path)
        # This is read before any packet, because reading packets changes what FFmpeg says of a stream's start.
        claims = _claims(container, video)
        ends: dict[str, Fraction] = {}
        pts = []
        marks = _Marks()
        n_packets = n_timeless = 0
        # Subtitles are read only for their ends. If a container claims one end for all its streams, it may be that of
        # the subtitles.
        streams = [video, *container.streams.audio, *container.streams.subtitles]
        for packet, time in packets_of(container, streams, path):
            kind = packet.stream.type
            n_packets += kind == "video"
            if time is None:
                n_timeless += kind == "video"
                continue
            ends[kind] = max(ends.get(kind, Fraction(0)), _end_of(packet, time))
            if packet.stream.index == video.index and not _is_never_shown(packet, video):
                marks.see(packet, time)
                # A viewer never sees the frames that an edit list cuts away, so they do not count.
                if time >= 0 and not packet.is_discard:
                    pts.append(time)
        base = Fraction(video.time_base or 1)
        marks.end()
        if n_timeless and marks.damage is None:
            raise _timeless(path, container.format.name, n_timeless, n_packets)
        if not pts:
            raise PipelineError(
                "has a video stream without a frame",
                where=path,
                remedy="replace the file, or leave it out (`skip` of its dataset)",
            )
        if not video.codec_context.width:
            _decode_one(path)
        rate = video.average_rate or _mean_rate(sorted(pts), base)
        _refuse_lies(path, claims, ends, 1 / rate)
        _refuse_damage(path, marks, base)
        last_end = max(pts) * base + 1 / rate
        return VideoFacts(
            path=path,
            codec=video.codec_context.name,
            width=video.codec_context.width,
            height=video.codec_context.height,
            rate=rate,
            duration=claims.duration(last_end),
            stored_duration=claims.video is not None,
            time_base=base,
            pts=tuple(sorted(pts)),
        )


@dataclass
class _Marks:
    """The packets that FFmpeg marks as corrupt, because MPEG-TS numbers its packets and the numbering broke there.

    The numbering also breaks where pieces were joined (HLS, a broadcast), but then nothing is lost. At a joint a key
    frame follows at once, or after one more packet, because FFmpeg's parsers lag. joints: times of such packets, in
    ticks. damage: time of the first marked packet that is not a joint.
    """

    joints: list[int] = field(default_factory=list)
    damage: int | None = None
    _open: list[tuple[int, int]] = field(default_factory=list)

    def see(self, packet: Packet, time: int) -> None:
        """Add the next packet of the video."""
        if packet.is_keyframe:
            self.joints += [marked for marked, _ in self._open]
            self._open = []
        self._open = [(marked, age + 1) for marked, age in self._open]
        self._forget_all_but(2)
        if packet.is_corrupt:
            self._open.append((time, 0))

    def end(self) -> None:
        """Decide about the marked packets that are still undecided, because no packet follows."""
        self._forget_all_but(0)

    def _forget_all_but(self, age: int) -> None:
        late = [marked for marked, old in self._open if old >= age]
        if late and self.damage is None:
            self.damage = late[0]
        self._open = [(marked, old) for marked, old in self._open if old < age]


@dataclass(frozen=True)
class _Claims:
    """The length that a file claims, in seconds from its start. video: the end of the stream, if that is stored.

    shortest, longest: the end of the whole file. Matroska counts from zero, whenever its first packet comes; other
    formats count from the first packet. is_guess: whether it is FFmpeg's guess, for a format that stores nothing.
    """

    video: Fraction | None
    shortest: Fraction | None
    longest: Fraction | None
    is_guess: bool

    def duration(self, last_end: Fraction) -> Fraction:
        """Return the duration T in seconds. A guess never cuts a frame off, and is not used for a single picture with a
        long sound."""
        if self.video is None or (self.is_guess and not last_end <= self.video <= last_end + MISSING_S):
            return last_end
        return self.video


def _claims(container: InputContainer, video: VideoStream) -> _Claims:
    end = shortest = longest = None
    if video.duration and video.time_base is not None and not container.format.name.startswith(_ONE_LENGTH):
        start = max((video.start_time or 0) - start_ticks(container, video), 0)
        end = (start + video.duration) * video.time_base
    if container.duration:
        longest = Fraction(container.duration, av.time_base)
        shortest = longest - Fraction(max(container.start_time or 0, 0), av.time_base)
    return _Claims(end, shortest, longest, container.format.name.startswith("mpeg"))


def _mean_rate(pts: list[int], base: Fraction) -> Fraction:
    span = (pts[-1] - pts[0]) * base
    return (len(pts) - 1) / span if span else Fraction(25)


def _end_of(packet: Packet, time: int) -> Fraction:
    return (time + (packet.duration or 0)) * Fraction(packet.time_base)


def _is_never_shown(packet: Packet, video: VideoStream) -> bool:
    """Tell whether a packet holds a hidden frame. VP8 puts such frames into packets of their own; VP9 and AV1 put
    them into the packet of a frame that is shown."""
    return video.codec_context.name == "vp8" and not memoryview(packet)[0] & 0x10


def _timeless(path: Path, form: str, n_timeless: int, n_packets: int) -> PipelineError:
    """Say how many frames have no time, and why that happens in this format (FFmpeg's name)."""
    why = _STORES_NO_TIME.get(form.split(",", maxsplit=1)[0])
    return PipelineError(
        f"has frames without a time ({n_timeless:,} of {n_packets:,})" + (f": {why}" if why else ""),
        where=path,
        remedy="encode it again (ffmpeg -i OLD NEW.mp4), or leave it out (`skip` of its dataset)",
    )


def _refuse_damage(path: Path, marks: _Marks, base: Fraction) -> None:
    """Refuse a video with a packet that is marked as corrupt, unless pieces were joined there.

    Only decoding can tell whether the packet before a joint is complete. The decoder must not repair what is missing
    here.
    """
    damage = marks.damage
    if damage is None and marks.joints and not _decodes_whole(path):
        damage = marks.joints[0]
    if damage is not None:
        raise PipelineError(
            f"is cut short or damaged: its packet at {float(damage * base):.2f} s is marked as corrupt",
            where=path,
            remedy="put a good copy in its place, or leave it out (`skip` of its dataset)",
        )


def _decode_one(path: Path) -> None:
    """Decode a frame of a video of which FFmpeg found no size: there may be none, or the decoder refused it because it
    is beyond `container.MOST_PIXELS`. Raises PipelineError then."""
    try:
        with opened(path) as container:
            next(frames_of(container, video_stream(container, path), path), None)
    except PipelineError as error:
        raise too_large(path, "has pictures of no size that FFmpeg accepts, or of too many pixels") from error


def _decodes_whole(path: Path) -> bool:
    try:
        with opened(path) as container:
            stream = video_stream(container, path)
            stream.codec_context.options = {**stream.codec_context.options, "err_detect": "explode"}
            for _ in frames_of(container, stream, path):
                pass
    except PipelineError:
        return False
    return True


def _refuse_lies(path: Path, claims: _Claims, ends: Mapping[str, Fraction], frame_s: Fraction) -> None:
    """Compare where packets end with what the video stream claims. FLV and Matroska claim one end for all streams."""
    claimed, found = claims.video, ends["video"]
    if claimed is None or claims.is_guess:
        claimed, found = claims.shortest, max(ends.values())
    if claimed is not None and found + frame_s < claimed - MISSING_S:
        raise PipelineError(
            f"is cut short or damaged: its packets end at {float(found):.2f} s of {float(claimed):.2f} s",
            where=path,
            remedy="put a good copy in its place, or leave it out (`skip` of its dataset)",
        )
    latest = max(ends.values())
    if claims.longest is not None and latest > claims.longest + BEYOND_S:
        raise PipelineError(
            f"has a damaged time: it claims to end at {float(claims.longest):.2f} s, and its packets go on to"
            f" {float(latest):.2f} s",
            where=path,
            remedy="put a good copy in its place, or leave it out (`skip` of its dataset);"
            " if it plays to that end, write it again (ffmpeg -i OLD -c copy NEW)",
        )
