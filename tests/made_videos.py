"""Small videos made with PyAV, and PyAV's own filter chain as the independent reference for frames."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

TIME_BASE = Fraction(1, 600)


def picture(k: int, width: int, height: int) -> np.ndarray:
    """A picture that moves with k and whose halves differ, so that every shift shows."""
    image = np.zeros((height, width, 3), np.uint8)
    image[:, :, 0] = (np.arange(width) + 3 * k) % 256
    image[:, :, 1] = ((np.arange(height) * 2 + k) % 256)[:, None]
    image[:, :, 2] = (k * 5) % 256
    return image


def make_video(path: Path, ticks, width=64, height=48, sound_s: float = 0.0) -> Path:
    """An H.264 video whose frames stand at `ticks` (units of 1/600 s), with a tone of `sound_s` seconds."""
    with av.open(str(path), "w") as file:
        video = file.add_stream("libx264", rate=30, options={"preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        video.codec_context.time_base = TIME_BASE
        sound = file.add_stream("aac", rate=32000, layout="mono") if sound_s else None
        for k, tick in enumerate(ticks):
            frame = av.VideoFrame.from_ndarray(picture(k, width, height), "rgb24")
            frame.pts, frame.time_base = int(tick), TIME_BASE
            file.mux(video.encode(frame))
        file.mux(video.encode(None))
        if sound is not None:
            tone = np.sin(np.arange(int(32000 * sound_s)) * 0.05).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(tone[None], "fltp", "mono")
            frame.sample_rate, frame.pts = 32000, 0
            file.mux(sound.encode(frame))
            file.mux(sound.encode(None))
    return path


def cut_from(path: Path, source: Path, seconds: Fraction) -> Path:
    """A stream copy that starts `seconds` late without decoding: an edit list hides the first frames."""
    with av.open(str(source)) as old, av.open(str(path), "w") as new:
        stream = old.streams.video[0]
        copy = new.add_stream_from_template(stream)
        for packet in old.demux(stream):
            if packet.dts is None:
                continue
            shift = int(seconds / packet.time_base)
            packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, copy
            new.mux(packet)
    return path


def rotated(path: Path, source: Path) -> Path:
    """The same file with a display matrix that turns it by 90 degrees."""
    data = bytearray(source.read_bytes())
    place = data.index(b"tkhd") + 4 + 40
    matrix = [0, 0x10000, 0, -0x10000, 0, 0, 0, 0, 0x40000000]
    data[place : place + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in matrix)
    path.write_bytes(data)
    return path


def decoded(path: Path) -> list[av.VideoFrame]:
    """All frames in order of display. An AVI stores no presentation times: FFmpeg's guesses are put in order."""
    with av.open(str(path)) as file:
        frames = list(file.decode(file.streams.video[0]))
    for frame, time in zip(frames, sorted(frame.pts for frame in frames), strict=True):
        frame.pts = time
    return frames


def filtered(path: Path, *filters: tuple[str, str]) -> list[av.VideoFrame]:
    """All frames of a video after a chain of FFmpeg filters."""
    with av.open(str(path)) as file:
        graph = av.filter.Graph()
        source = graph.add_buffer(template=file.streams.video[0])
        graph.link_nodes(source, *(graph.add(*f) for f in filters), graph.add("buffersink")).configure()
        out: list[av.VideoFrame] = []
        for frame in [*decoded(path), None]:
            graph.push(frame)
            while True:
                try:
                    out.append(graph.pull())
                except (av.error.BlockingIOError, av.error.EOFError):
                    break
        return out
