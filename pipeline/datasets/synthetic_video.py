"""Draws the pictures and makes the sound of the demo's videos, and encodes them as MP4 files with H.264 and AAC."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from pipeline import files
from pipeline.datasets.synthetic_plan import CLIP_S, COLOURS, Event, Video

WIDTH, HEIGHT = 160, 120
FPS = 12
SAMPLE_RATE = 32_000

INSIDE: dict[str, Callable[[np.ndarray, np.ndarray, float], np.ndarray]] = {
    "circle": lambda x, y, reach: x * x + y * y < reach * reach,
    "square": lambda x, y, reach: np.maximum(x, y) < 0.9 * reach,
    "diamond": lambda x, y, reach: x + y < 1.25 * reach,
    "cross": lambda x, y, reach: (np.minimum(x, y) < 0.4 * reach) & (np.maximum(x, y) < 1.1 * reach),
}
"""For each shape, a function that says which points belong to it.

The arguments are the horizontal and the vertical distance of a point from the centre of the shape, and the reach of the
shape. All three are in pixels.
"""

_Y, _X = np.ogrid[:HEIGHT, :WIDTH]


def frame(video: Video, time_s: float) -> np.ndarray:
    """Draw the picture at a time: uint8 RGB [HEIGHT, WIDTH, 3], or [HEIGHT, HEIGHT, 3] if the video is square."""
    picture = np.full((HEIGHT, WIDTH, 3), video.background, np.uint8)
    event = event_at(video, time_s)
    if event is not None:
        picture[_mask(event, time_s)] = COLOURS[event.colour]
    edge = (WIDTH - HEIGHT) // 2
    return picture[:, edge:-edge] if video.is_square else picture


def sound(video: Video) -> np.ndarray:
    """Make the sound track: float32 [samples] at SAMPLE_RATE, with values from -1 to 1.

    Each colour has a tone of its own. The tone is louder while the shape is larger.
    """
    samples = np.zeros(video.n_clips * CLIP_S * SAMPLE_RATE, np.float32)
    for event in video.events:
        start, end = (second * SAMPLE_RATE for second in event.window)
        time_s = np.arange(end - start) / SAMPLE_RATE
        tone_hz = 220 * 2 ** (list(COLOURS).index(event.colour) / 2)
        loudness = event.scale * (0.1 + 0.4 * np.sin(np.pi * time_s / (event.n_clips * CLIP_S)))
        samples[start:end] = loudness * np.sin(2 * np.pi * tone_hz * time_s)
    return samples


def write_mp4(video: Video, path: Path) -> None:
    """Encode a video at FPS with mono sound and write it to `path`. Equal plans give equal bytes on one machine."""
    import av

    with files.atomic_path(path) as partial, av.open(str(partial), "w", format="mp4") as container:
        pictures = container.add_stream(
            "libx264", rate=FPS, options={"preset": "superfast", "crf": "24", "threads": "1"}
        )
        pictures.height, pictures.width = frame(video, 0).shape[:2]
        pictures.pix_fmt = "yuv420p"
        # FFmpeg's default AAC coder needs more time than drawing and encoding the pictures together.
        tones = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono", options={"aac_coder": "fast"})
        tones.bit_rate = 32_000
        for number in range(video.n_clips * CLIP_S * FPS):
            container.mux(
                pictures.encode(
                    av.VideoFrame.from_ndarray(np.ascontiguousarray(frame(video, (number + 0.5) / FPS)), format="rgb24")
                )
            )
        container.mux(pictures.encode(None))
        whole = av.AudioFrame.from_ndarray(sound(video)[None], format="fltp", layout="mono")
        whole.sample_rate = SAMPLE_RATE
        container.mux(tones.encode(whole))
        container.mux(tones.encode(None))


def event_at(video: Video, time_s: float) -> Event | None:
    """Return the event that is on screen at a time, or None if there is none."""
    return next((event for event in video.events if event.window[0] <= time_s < event.window[1]), None)


def _mask(event: Event, time_s: float) -> np.ndarray:
    """Return which pixels belong to the shape: bool [HEIGHT, WIDTH]."""
    progress = (time_s - event.window[0]) / (event.n_clips * CLIP_S)
    right, down = {
        "stands still": (0.0, 0.0),
        "drifts to the right": (progress - 0.5, 0.0),
        "drifts to the left": (0.5 - progress, 0.0),
        "bounces": (0.0, 0.25 * np.sin(2 * np.pi * time_s)),
    }[event.motion]
    x, y = np.abs(_X - WIDTH * (0.5 + 0.3 * right)), np.abs(_Y - HEIGHT * (0.5 + down))
    reach = event.scale * HEIGHT * (0.34 + 0.28 * event.size(time_s))
    return INSIDE[event.shape](x, y, reach)
