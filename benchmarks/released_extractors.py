"""Does the work of the released CLIP and SlowFast extractors on one video: one decode for each, with all frames of a
grid in memory.

It is written from a description of these extractors (resample, scale and crop to raw RGB, cut, sample, normalise in
batches), only to compare times. Here FFmpeg runs in this process. The released extractors use the program FFmpeg
through a pipe.
"""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import av
import numpy as np

from pipeline.encoders.base import FrameEncoder
from pipeline.families import FAMILIES
from pipeline.video.views import size_224


def clip_then_slowfast(path: Path, clip: FrameEncoder, slowfast: FrameEncoder, clip_s: int = 2) -> None:
    """Run both passes. The encoders normalise and compute as their networks do."""
    frames = resampled(path, f"1/{clip_s}")
    for start in range(0, len(frames), FAMILIES["clip-vit-b32"].batch):
        clip.encode(frames[start : start + FAMILIES["clip-vit-b32"].batch, None])
    frames = resampled(path, "30")
    n = 30 * clip_s
    clips = np.concatenate([frames, np.repeat(frames[-1:], -len(frames) % n, 0)]).reshape(-1, n, 224, 224, 3)
    with av.open(str(path)) as container:
        rate = int(container.streams.video[0].average_rate)
    places = np.linspace(0, 64 * rate / 30 - 1, 32, dtype=np.float32).clip(0, n - 1).astype(int)
    for start in range(0, len(clips), FAMILIES["slowfast-r50-caffe2"].batch):
        slowfast.encode(clips[start : start + FAMILIES["slowfast-r50-caffe2"].batch, places])


def resampled(path: Path, rate: str) -> np.ndarray:
    """Return all frames of a grid, made by FFmpeg's filters fps, scale and crop: uint8 [n, 224, 224, 3]."""
    frames = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        size = size_224(stream.width, stream.height)
        filters = (
            ("fps", rate),
            ("scale", f"{size.width}:{size.height}:flags=bilinear"),
            ("format", "rgb24"),
            ("crop", f"224:224:{size.x}:{size.y}"),
        )
        graph = av.filter.Graph()
        nodes = [graph.add_buffer(template=stream), *(graph.add(*f) for f in filters), graph.add("buffersink")]
        graph.link_nodes(*nodes).configure()
        for frame in chain(container.decode(stream), [None]):
            graph.push(frame)
            while True:
                try:
                    frames.append(graph.pull().to_ndarray(format="rgb24"))
                except (av.error.BlockingIOError, av.error.EOFError):
                    break
    return np.stack(frames)
