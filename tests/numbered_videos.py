"""Videos whose pictures carry their number as blocks of black and white, of many containers, codecs and cuts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import av
import numpy as np

WIDTH, HEIGHT, BLOCK = 64, 48, 16
BITS = (WIDTH // BLOCK) * (HEIGHT // BLOCK)
RATE = 10


def numbered(k: int) -> np.ndarray:
    """Return the picture that shows the number k (below 4,096), uint8 RGB. Each block is a bit of the Gray code, so
    that a blend of two neighbours shows one of them."""
    code = k ^ (k >> 1)
    bits = np.array([code >> bit & 1 for bit in range(BITS)], np.uint8).reshape(HEIGHT // BLOCK, WIDTH // BLOCK)
    grey = np.kron(bits * 200 + 28, np.ones((BLOCK, BLOCK), np.uint8))
    return np.repeat(grey[:, :, None], 3, axis=2)


def number_of(picture: np.ndarray) -> int:
    """Return the number that a picture shows, at any size, or in the centre square, which lacks half of the outer
    columns."""
    height, width = picture.shape[:2]
    side = height / (HEIGHT // BLOCK)
    left = (width - side * (WIDTH // BLOCK)) / 2
    code = 0
    for bit in range(BITS):
        row, column = divmod(bit, WIDTH // BLOCK)
        y = slice(round(row * side + side / 3), round(row * side + 2 * side / 3))
        # Of the outer columns a centre square of 4:3 keeps the inner half.
        inner = {0: 0.6, WIDTH // BLOCK - 1: 0.05}.get(column, 1 / 3)
        x = slice(round(left + column * side + side * inner), round(left + column * side + side * (inner + 0.3)))
        code |= int(picture[y, x].mean() > 128) << bit
    k = 0
    while code:
        k ^= code
        code >>= 1
    return k


class Codec(NamedTuple):
    """An encoder, its options, and the container's own need."""

    name: str
    pixels: str = "yuv420p"
    options: Mapping[str, str] = MappingProxyType({})
    gop: int | None = None
    b_frames: int | None = None


X264 = {"preset": "ultrafast", "crf": "20", "threads": "1"}
X264_B = {**X264, "preset": "veryfast"}


def x265(gop: str) -> dict[str, str]:
    alone = "log-level=none:pools=1:frame-threads=1:keyint=8:min-keyint=8"
    return {"preset": "ultrafast", "crf": "20", "x265-params": f"{alone}:{gop}"}


CODECS: dict[str, Codec] = {
    "h264 closed": Codec("libx264", options=X264, gop=8, b_frames=0),
    "h264 B": Codec(
        "libx264",
        options={**X264_B, "x264-params": "b-adapt=0:b-pyramid=normal"},
        gop=12,
        b_frames=3,
    ),
    "h264 open": Codec("libx264", options={**X264_B, "x264-params": "open-gop=1:b-adapt=0"}, gop=8, b_frames=3),
    "h264 refresh": Codec("libx264", options={**X264, "x264-params": "intra-refresh=1:keyint=12"}, b_frames=0),
    "h264 intra": Codec("libx264", options=X264, gop=1),
    "hevc closed": Codec("libx265", options=x265("open-gop=0:bframes=0")),
    "hevc open": Codec("libx265", options=x265("open-gop=1:bframes=3")),
    "mpeg4": Codec("mpeg4", options={"q": "2", "b": "2M"}, gop=8),
    "mpeg4 B": Codec("mpeg4", options={"b": "2M"}, gop=12, b_frames=2),
    "mpeg2": Codec("mpeg2video", options={"b": "2M"}, gop=8, b_frames=0),
    "mpeg2 open": Codec("mpeg2video", options={"b": "2M"}, gop=9, b_frames=2),
    "mpeg1": Codec("mpeg1video", options={"b": "2M"}, gop=8, b_frames=0),
    "vp8": Codec("libvpx", options={"deadline": "realtime", "cpu-used": "8", "b": "1M"}, gop=8),
    "vp9": Codec("libvpx-vp9", options={"deadline": "realtime", "cpu-used": "8", "b": "1M"}, gop=8),
    "av1": Codec("libsvtav1", options={"preset": "12", "svtav1-params": "lp=1:keyint=8"}),
    "mjpeg": Codec("mjpeg", "yuvj420p"),
    "ffv1": Codec("ffv1"),
    "wmv2": Codec("wmv2", options={"b": "2M"}, gop=8),
    "flv1": Codec("flv", options={"b": "2M"}, gop=8),
}

_H26X = ("h264 closed", "h264 B", "h264 open", "h264 refresh", "h264 intra", "hevc closed", "hevc open")
_MPEG = ("mpeg4", "mpeg4 B", "mpeg2", "mpeg2 open")

CONTAINERS: dict[str, tuple[str, ...]] = {
    "mp4": (*_H26X, *_MPEG, "vp9", "av1", "mjpeg"),
    "mov": (*_H26X, "mpeg4", "mjpeg"),
    "frag.mp4": ("h264 closed", "h264 B", "h264 open", "hevc open"),
    "mkv": (*_H26X, *_MPEG, "vp8", "vp9", "av1", "mjpeg", "ffv1"),
    "webm": ("vp8", "vp9", "av1"),
    "ts": (*_H26X, *_MPEG),
    "m2ts": ("h264 closed", "h264 B", "h264 open", "hevc open", "mpeg2 open"),
    "avi": ("h264 closed", "mpeg4", "mjpeg", "ffv1", "wmv2"),
    "mpg": ("mpeg1", "mpeg2", "mpeg2 open"),
    "wmv": ("wmv2",),
    "mxf": ("mpeg2", "mpeg2 open"),
    "flv": ("h264 closed", "h264 B", "flv1"),
}


def written(path: Path, codec: str, ticks: list[int], first: int = 0) -> Path:
    """Write a video of pictures `first`, `first` + 1, … at these ticks (1/600 s)."""
    kind = CODECS[codec]
    options = {"movflags": "frag_keyframe+empty_moov"} if path.name.endswith("frag.mp4") else {}
    with av.open(str(path), "w", options=options, format="mpegts" if path.suffix == ".m2ts" else None) as file:
        rate = 25 if path.suffix in (".mxf", ".mpg") or codec.startswith(("mpeg1", "mpeg2")) else RATE
        video = file.add_stream(kind.name, rate=rate, options=dict(kind.options))
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, kind.pixels
        is_steady = not any(tick % (600 // rate) for tick in ticks)
        counts_frames = codec.startswith(("mpeg1", "mpeg2", "mpeg4", "wmv", "flv")) or path.suffix in (".avi", ".mxf")
        base = Fraction(1, rate if is_steady or counts_frames else 600)
        video.codec_context.time_base = base
        if kind.gop is not None:
            video.codec_context.gop_size = kind.gop
        if kind.b_frames is not None:
            video.codec_context.max_b_frames = kind.b_frames
        for k, tick in enumerate(ticks):
            frame = av.VideoFrame.from_ndarray(numbered(first + k), "rgb24").reformat(format=kind.pixels)
            frame.pts, frame.time_base = round(tick * Fraction(1, 600) / base), base
            file.mux(video.encode(frame))
        file.mux(video.encode(None))
    return path


def steady(path: Path, n: int) -> list[int]:
    """Return the ticks of n frames at the rate that `written` gives such a file."""
    step = 24 if path.suffix in (".mxf", ".mpg") else 600 // RATE
    return [k * step for k in range(n)]


def packets(file) -> list[av.Packet]:
    """Return all packets of the video. Matroska stores no order of decoding. It is restored as FFmpeg's command line
    does."""
    found = [packet for packet in file.demux(video=0) if packet.size]
    if any(packet.dts is None for packet in found):
        times = sorted(packet.pts for packet in found)
        delay = max(time - packet.pts for time, packet in zip(times, found, strict=True))
        for time, packet in zip(times, found, strict=True):
            packet.dts = time - delay
    return found


def copied(path: Path, source: Path, move: Callable[[int, av.Packet], int | None]) -> Path:
    """Return a stream copy. move: (number of the packet, packet) → ticks to move it by, or None to drop it."""
    kind = "mpegts" if path.suffix == ".m2ts" else None
    with av.open(str(source)) as old, av.open(str(path), "w", format=kind) as new:
        copy = new.add_stream_from_template(old.streams.video[0])
        for k, packet in enumerate(packets(old)):
            by = move(k, packet)
            if by is not None:
                packet.pts, packet.dts, packet.stream = packet.pts + by, packet.dts + by, copy
                new.mux(packet)
    return path


def cut(path: Path, source: Path, seconds: Fraction) -> Path:
    """Return the same file as `ffmpeg -ss … -c copy`: packets from a key frame on, with times below 0 before
    `seconds`."""
    with av.open(str(source)) as old:
        start = Fraction(old.start_time or 0, av.time_base)
        times = {k: packet.pts * packet.time_base for k, packet in enumerate(packets(old)) if packet.is_keyframe}
    first = max(k for k, time in times.items() if time - start <= seconds)
    if path.suffix in (".mkv", ".webm"):  # knows no times below 0 and hides nothing
        seconds = times[first] - Fraction(1, 2)
    return copied(path, source, lambda k, packet: None if k < first else -round(seconds / packet.time_base))


def moved(path: Path, source: Path, seconds: Fraction) -> Path:
    """Return the same file with all times later by that much."""
    return copied(path, source, lambda k, p: round(seconds / p.time_base))


def joined(path: Path, *parts: Path) -> Path:
    """Return the pieces joined byte by byte (MPEG)."""
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def twice(path: Path, source: Path) -> Path:
    """Give some packets the time of the packet before them."""
    with av.open(str(source)) as old:
        step = Fraction(1, RATE) / old.streams.video[0].time_base
    return copied(path, source, lambda k, p: -round(step) if k % 7 == 3 else 0)
