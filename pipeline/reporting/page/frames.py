"""Makes small pictures of a few frames of a video, to be embedded in a page.

Another process decodes the video, because a file may make a decoder hang or crash.
"""

from __future__ import annotations

import base64
import io
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from pipeline.errors import PipelineError
from pipeline.video.supervised import in_other_process

LONGEST_S = 900.0
"""Time to read the frames of one video, after which its figure has none."""

HEIGHT = 84
"""Width and height of a picture in pixels. Frames are square centre crops, as encoders get them."""


def frames_of(video: Path, n: int) -> list[str]:
    """Return addresses (`data:`) of `n` frames, each from the middle of an equal part of the video.

    Returns an empty list if the video cannot be decoded, or if the installation has no decoder. The figure is then
    drawn without frames.
    """
    if not find_spec("av"):
        return []
    try:
        return in_other_process(partial(_pictures, n=n), video, LONGEST_S, "reading its frames", video)
    except PipelineError:
        return []


def _pictures(video: Path, n: int) -> list[str]:
    from PIL import Image

    from pipeline.video.decode import read_frames
    from pipeline.video.probe import probe
    from pipeline.video.views import FRAMES224

    facts = probe(video)
    wanted = np.unique(((np.arange(n) + 0.5) * facts.n_frames / n).astype(int)).tolist()
    pictures = [frame for chunk in read_frames(facts, {FRAMES224: wanted}) for frame in chunk.frames]
    found = []
    for picture in pictures:
        buffer = io.BytesIO()
        Image.fromarray(picture).resize((HEIGHT, HEIGHT)).save(buffer, "JPEG", quality=70)
        found.append("data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode())
    return found
