"""Makes small pictures of a few frames of a video, to be embedded in a page."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np

from pipeline.errors import PipelineError

HEIGHT = 84
"""Width and height of a picture in pixels. Frames are square centre crops, as encoders get them."""


def frames_of(video: Path, n: int) -> list[str]:
    """Return addresses (`data:`) of `n` frames, each from the middle of an equal part of the video.

    Returns an empty list if the video cannot be decoded, or if the installation has no decoder. The figure is then
    drawn without frames.
    """
    try:
        from PIL import Image

        from pipeline.video.decode import read_frames
        from pipeline.video.probe import probe
        from pipeline.video.views import FRAMES224
    except ImportError:
        return []
    try:
        facts = probe(video)
        wanted = np.unique(((np.arange(n) + 0.5) * facts.n_frames / n).astype(int)).tolist()
        pictures = [frame for chunk in read_frames(facts, {FRAMES224: wanted}) for frame in chunk.frames]
    except PipelineError:
        return []
    found = []
    for picture in pictures:
        buffer = io.BytesIO()
        Image.fromarray(picture).resize((HEIGHT, HEIGHT)).save(buffer, "JPEG", quality=70)
        found.append("data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode())
    return found
