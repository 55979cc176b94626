"""Cuts a window out of a video by copying its packets. Nothing is decoded or encoded again.

A copy can begin only at a key frame. So it begins at the last key frame before the window, and may be longer than the
window.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from pipeline import files
from pipeline.asking.answer import ScoredWindow
from pipeline.errors import PipelineError
from pipeline.video.container import opened, start_ticks, video_stream

MP4 = ("mov", "mp4", "m4a")
"""FFmpeg's names of formats whose streams are copied into an MP4 file. All others are copied into a Matroska file."""


def cut_out(video: Path, window: ScoredWindow, target: Path) -> Path:
    """Copy the packets of a window into a file of its own, and return its path. target: the path without a suffix.

    Raises PipelineError for a video that cannot be read, and for streams that the file cannot hold.
    """
    with opened(video) as source:
        suffix = ".mp4" if source.format.name.split(",")[0] in MP4 else ".mkv"
        path = target.with_name(target.name + suffix)
        with files.atomic_path(path) as partial:
            try:
                # FFmpeg would read the relative path `a:b.mp4` as a protocol. It never does so for an absolute path.
                with av.open(str(partial.absolute()), "w") as copy:
                    _copy(source, video, copy, window)
            except (av.error.FFmpegError, ValueError) as error:
                raise PipelineError(
                    f"its streams cannot be copied into {suffix[1:]} ({error})", where=video, remedy="leave `--cut` out"
                ) from error
    return path


def _copy(source: Any, video: Path, copy: Any, window: ScoredWindow) -> None:
    main = video_stream(source, video)
    wanted = [main, *source.streams.audio[:1]]
    copies = {stream.index: copy.add_stream_from_template(stream) for stream in wanted}
    starts = {stream.index: start_ticks(source, stream) for stream in wanted}
    base = main.time_base or Fraction(1)
    _seek(source, main, window.start_s, starts[main.index], base)
    begin_s: float | None = None
    for packet in source.demux(wanted):
        if packet.dts is None or packet.pts is None:
            continue
        time_s = float((packet.pts - starts[packet.stream.index]) * packet.time_base)
        is_main = packet.stream.index == main.index
        if begin_s is None:
            # Pictures before the first key frame cannot be decoded without the packets that are left out.
            if not (is_main and packet.is_keyframe):
                continue
            begin_s = time_s
        if time_s < begin_s:
            continue
        if time_s >= window.end_s:
            # Packets come in the order of decoding. Until the next key frame, a later packet may still be shown inside
            # the window.
            if is_main and packet.is_keyframe:
                break
            continue
        shift = round(begin_s / packet.time_base) + starts[packet.stream.index]
        packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
        packet.stream = copies[packet.stream.index]
        copy.mux(packet)


def _seek(source: Any, main: Any, start_s: float, first: int, base: Fraction) -> None:
    """Go to a key frame at or before a second. first: tick of the video's beginning; base: seconds of a tick.

    A format without an index, such as MPEG-TS, is searched by its bytes, and FFmpeg may find a later key frame. Then
    the search begins earlier, at last at the beginning.
    """
    for earlier_s in (0, 10, 60, 600, start_s):
        tick = round(Fraction(max(start_s - earlier_s, 0)) / base) + first
        source.seek(tick, stream=main)
        found = next((p for p in source.demux(main) if p.pts is not None and p.is_keyframe), None)
        if found is not None and (found.pts - first) * base <= start_s:
            break
    source.seek(tick, stream=main)
