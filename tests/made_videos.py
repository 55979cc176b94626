"""Small videos made with PyAV, and PyAV's own filter chain as the independent reference for frames."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

TIME_BASE = Fraction(1, 600)


def picture(k: int, width: int, height: int) -> np.ndarray:
    """Return a picture that moves with k and whose halves differ, so that every shift can be seen."""
    image = np.zeros((height, width, 3), np.uint8)
    image[:, :, 0] = (np.arange(width) + 3 * k) % 256
    image[:, :, 1] = ((np.arange(height) * 2 + k) % 256)[:, None]
    image[:, :, 2] = (k * 5) % 256
    return image


def make_video(
    path: Path, ticks, width=64, height=48, sound_s: float = 0.0, codec="libx264", rate=30, base=TIME_BASE
) -> Path:
    """Write an H.264 video with frames at `ticks` (units of 1/600 s) and a tone of `sound_s` seconds."""
    with av.open(str(path), "w") as file:
        video = file.add_stream(codec, rate=rate, options={"preset": "ultrafast"} if codec == "libx264" else {})
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        video.codec_context.time_base = base
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
    """Return a stream copy that starts `seconds` late without decoding, because an edit list hides the first frames. If
    `seconds` is negative, return the same file with all times later by that much.

    Of less than 0 seconds: the same file, its first times that much later.
    """
    with av.open(str(source)) as old, av.open(str(path), "w") as new:
        copies = {stream.index: new.add_stream_from_template(stream) for stream in old.streams}
        for packet in old.demux():
            if packet.dts is None:
                continue
            shift = int(seconds / packet.time_base)
            packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
            packet.stream = copies[packet.stream.index]
            new.mux(packet)
    return path


def with_subtitle(path: Path, source: Path, end_s: int) -> Path:
    """Copy the streams and add a subtitle that is shown from second 1 to `end_s`."""
    text = path.with_suffix(".srt")
    text.write_text(f"1\n00:00:01,000 --> 00:00:{end_s:02},000\nhello\n")
    with av.open(str(source)) as video, av.open(str(text)) as words, av.open(str(path), "w") as new:
        copies = [(file, new.add_stream_from_template(file.streams[0])) for file in (video, words)]
        for file, copy in copies:
            for packet in file.demux():
                if packet.dts is not None:
                    packet.stream = copy
                    new.mux(packet)
    return path


def with_hidden_frames(path: Path, source: Path, behind: range) -> Path:
    """Write a VP8 video. Some of its packets are followed by a packet that is decoded and never shown."""
    with av.open(str(source)) as old, av.open(str(path), "w") as new:
        copy = new.add_stream_from_template(old.streams.video[0])
        for k, packet in enumerate(old.demux(video=0)):
            if packet.dts is None:
                continue
            data = bytearray(bytes(packet))
            time, base = packet.pts, packet.time_base
            packet.stream = copy
            new.mux(packet)
            if k in behind:
                data[0] &= ~0x10
                hidden = av.Packet(bytes(data))
                hidden.pts, hidden.dts, hidden.time_base, hidden.stream = time + 1, time + 1, base, copy
                new.mux(hidden)
    return path


QUARTER = (0, 1, -1, 0)
HALF = (-1, 0, 0, -1)
MIRROR = (-1, 0, 0, 1)


def rotated(path: Path, source: Path, turn=QUARTER) -> Path:
    """Return the same file with a display matrix that turns it, by 90 degrees unless another angle is named."""
    data = bytearray(source.read_bytes())
    place = data.index(b"tkhd") + 4 + 40
    a, b, c, d = (part * 0x10000 for part in turn)
    matrix = [a, b, 0, c, d, 0, 0, 0, 0x40000000]
    data[place : place + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in matrix)
    path.write_bytes(data)
    return path


def start_of(file, stream) -> int:
    """Return the time that FFmpeg's command line subtracts from all times of a stream: the start of the file."""
    return round(file.start_time / av.time_base / stream.time_base)


def decoded(path: Path) -> list[av.VideoFrame]:
    """Return all frames in order of display. An AVI stores no presentation times, so FFmpeg's guesses are sorted."""
    with av.open(str(path)) as file:
        start = start_of(file, file.streams.video[0])
        frames = list(file.decode(file.streams.video[0]))
    for frame, time in zip(frames, sorted(frame.pts for frame in frames), strict=True):
        frame.pts = time - start
    return frames


def filtered(path: Path, *filters: tuple[str, str]) -> list[av.VideoFrame]:
    """Return all frames of a video after a chain of FFmpeg filters."""
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
