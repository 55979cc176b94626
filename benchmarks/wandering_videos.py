"""Makes videos for the benchmarks of decoding: a view that moves over a coarse random picture, 30 fps, with a tone."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np


def made(folder: Path, width: int, height: int, seconds: int) -> Path:
    """Return a video of `seconds` seconds in `folder`. It is made if it does not exist."""
    path = folder / f"{width}x{height}-{seconds}s.mp4"
    if path.exists():
        return path
    fine = np.random.default_rng(0).integers(0, 256, (height // 2, width // 2, 3), dtype=np.uint8)
    picture = fine.repeat(4, 0).repeat(4, 1)
    with av.open(str(path), "w") as file:
        video = file.add_stream("libx264", rate=30, options={"preset": "veryfast"})
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        sound = file.add_stream("aac", rate=44100, layout="mono")
        for k in range(30 * seconds):
            x, y = int(width / 2 * (1 + np.sin(k / 97))), int(height / 2 * (1 + np.cos(k / 61)))
            view = np.ascontiguousarray(picture[y : y + height, x : x + width])
            frame = av.VideoFrame.from_ndarray(view, "rgb24")
            frame.pts = k
            file.mux(video.encode(frame))
        file.mux(video.encode(None))
        for second in range(seconds):
            tone = np.sin(0.05 * np.arange(44100 * second, 44100 * (second + 1))).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(tone[None], "fltp", "mono")
            frame.sample_rate, frame.pts = 44100, 44100 * second
            file.mux(sound.encode(frame))
        file.mux(sound.encode(None))
    return path
