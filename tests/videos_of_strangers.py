"""Videos with odd lengths, clocks, codecs and damage, each with the expected result."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from made_videos import TIME_BASE, cut_from, picture, rotated

RATE = 32_000


def make(
    path, seconds=6.0, sound_s=6.0, width=64, height=48, codec="libx264", pixels="yuv420p", ticks=None, sound="aac"
):
    """Write a video whose blue shows the number of the frame, with a tone that is n + 1 tenths loud in piece n."""
    options = {"libx264": {"preset": "ultrafast"}, "libsvtav1": {"preset": "12", "svtav1-params": "lp=1"}}
    with av.open(str(path), "w") as file:
        video = file.add_stream(codec, rate=30, options=options.get(codec, {}))
        video.width, video.height, video.pix_fmt = width, height, pixels
        video.codec_context.time_base = TIME_BASE
        rate = 48_000 if sound == "libopus" else RATE
        track = file.add_stream(sound, rate=rate, layout="mono") if sound_s else None
        for k, tick in enumerate(range(0, round(600 * seconds), 20) if ticks is None else ticks):
            frame = av.VideoFrame.from_ndarray(picture(k, width, height), "rgb24")
            frame.pts, frame.time_base = int(tick), TIME_BASE
            file.mux(video.encode(frame))
        file.mux(video.encode(None))
        if track:
            seconds = np.arange(round(rate * sound_s)) / rate
            tone = ((seconds // 2 + 1) / 10 * np.sin(seconds * 6000)).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(tone[None], "fltp", "mono")
            frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
            file.mux(track.encode(frame))
            file.mux(track.encode(None))
    return path


def later(path, seconds=2):
    """Return a copy, without encoding, whose edit list starts picture and sound `seconds` late."""
    return cut_from(path, make(path.with_name("source.mp4"), 10, 10), Fraction(seconds))


def half(path):
    """Return the first half of a file."""
    whole = make(path.with_name(f"whole{path.suffix}"), 20, 20, 160, 120)
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    return path


def with_bad_sound(path):
    """Replace some sound packets by noise."""
    data = bytearray(make(path, 8, 8).read_bytes())
    with av.open(str(path)) as file:
        for packet in [packet for packet in file.demux(file.streams.audio[0]) if packet.size][40:80]:
            data[packet.pos : packet.pos + packet.size] = b"\xa5" * packet.size
    path.write_bytes(data)
    return path


def only_sound(path):
    """Write a tone without a picture."""
    with av.open(str(path), "w") as file:
        track = file.add_stream("aac", rate=RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, RATE), np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts = RATE, 0
        file.mux(track.encode(frame))
        file.mux(track.encode(None))
    return path


def written(content: bytes):
    """Write a file that is no video."""

    def write(path):
        path.write_bytes(content)
        return path

    return write


class Case(NamedTuple):
    """A kind of file. clips: of its segments, or why there are none. sound: rows, or the reason. finding: reported."""

    what: str
    file: str
    make: Callable[[Path], Path]
    clips: int | str
    sound: int | str = ""
    finding: str = ""


SHELL = "ünï 日本 'q' \"$(touch pwned)\" ;&|*?`~ 100%\n.mp4"
UNEVEN = [0, 20, 50, 300, 310, 900, 960, 1500, 1502, 2000, 2400, 2700, 3000, 3300]
CASES = (
    Case("whole", "whole.mp4", make, 3, 3),
    Case("WebM, VP8 and Opus", "w.webm", lambda p: make(p, codec="libvpx", sound="libopus"), 3, 3),
    Case("truncated MP4", "half.mp4", half, "corrupt: cannot be read as video"),
    Case("truncated Matroska", "half.mkv", half, "corrupt: is cut short or damaged"),
    Case("no sound", "mute.mp4", lambda p: make(p, sound_s=0), 3, 3, "no sound"),
    Case("sound one row short", "short.mp4", lambda p: make(p, 6, 4.9), 3, 2, "one row off"),
    Case("sound cut short", "cut.mp4", lambda p: make(p, 8, 3), 4, "1 row where its segments have 4 clips"),
    Case("sound goes on", "long.mp4", lambda p: make(p, 4, 9), 2, 3, "one row off"),
    Case("damaged sound", "noise.mp4", with_bad_sound, 4, "its sound cannot be decoded"),
    Case("variable frame rate", "vfr.mp4", lambda p: make(p, ticks=UNEVEN), 3, 3),
    Case("edit list", "later.mp4", later, 4, 4),
    Case("rotated", "turned.mp4", lambda p: rotated(p, make(p.with_name("upright.mp4"), width=160)), 3, 3),
    Case("AV1", "av1.mp4", lambda p: make(p, codec="libsvtav1", width=128, height=96), 3, 3),
    Case("one frame", "one.mp4", lambda p: make(p, 1 / 30, 0.1), 1, 1),
    Case("one frame, no sound", "still.mp4", lambda p: make(p, 1 / 30, 0), 1, 1, "no sound"),
    Case("odd sizes", "odd.mp4", lambda p: make(p, width=101, height=57, pixels="yuv444p"), 3, 3),
    Case("a narrow strip", "strip.mkv", lambda p: make(p, width=16, height=480), 3, 3),
    Case("shell characters", SHELL, make, 3, 3),
    Case("a name like an option", "-rf.mp4", make, 3, 3),
    Case("a name like an address", "http:x.mp4", make, 3, 3),
    Case("only sound", "song.mp4", only_sound, "corrupt: has no video stream"),
    Case("empty", "empty.mp4", written(b""), "corrupt: is empty"),
    Case("a web page", "page.mp4", written(b"<html>not found</html>"), "corrupt: cannot be read as video"),
)
