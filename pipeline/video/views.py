"""A view is what a network sees of a frame: resized or not, cropped or not. The decoding process makes it, so that few
pixels travel between processes.

- `frames224` (CLIP, SlowFast, ResNet I3D): short side 224 by swscale while the decoder makes RGB; centre 224 × 224
- `short256` (optical flow): short side 256, not cropped, so that its shape is the video's
- `crop224of256` (TVSum's I3D, VGG): the centre 224 × 224 of that
- `crop224` (Charades' I3D): not resized unless the short side is less than 226; centre 224 × 224
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

View = Callable[[np.ndarray], np.ndarray]
"""A function that turns a native RGB frame, uint8 [height, width, 3], into what a network sees, uint8 [height,
width, 3]."""

FRAMES224 = "frames224"
CROP = 224
SHORT = 256
LEAST = 226
"""The short side in pixels below which frames of Charades-STA are enlarged."""


class Size(NamedTuple):
    """How a frame is scaled and cropped: scale to width × height, then crop 224 × 224 at (x, y)."""

    width: int
    height: int
    x: int
    y: int


def size_224(width: int, height: int) -> Size:
    """Return the scaling of CLIP and SlowFast: short side 224, long side truncated, centre crop (HERO's extractor)."""
    if height >= width:
        width, height = CROP, int(CROP * height / width)
    else:
        width, height = int(CROP * width / height), CROP
    return Size(width, height, (width - CROP) // 2, (height - CROP) // 2)


def short256(frame: np.ndarray) -> np.ndarray:
    """Return the frame with short side 256 by PIL's bilinear filter and long side ⌊256 · long/short⌋
    (video_features)."""
    height, width = frame.shape[:2]
    short = min(height, width)
    return _resized(frame, int(SHORT * width / short), int(SHORT * height / short))


def crop224of256(frame: np.ndarray) -> np.ndarray:
    """Return the centre 224 × 224 of `short256`, its offset rounded down."""
    frame = short256(frame)
    return cropped(frame, (frame.shape[0] - CROP) // 2, (frame.shape[1] - CROP) // 2)


def crop224(frame: np.ndarray) -> np.ndarray:
    """Return the centre 224 × 224 of the frame, not resized, its offset rounded half to even.

    A short side below 226 is enlarged to 226. PIL's bilinear filter is used where the published extractor uses OpenCV,
    which is not among the packages. When enlarging, the two filters are equal up to rounding.
    """
    height, width = frame.shape[:2]
    if (short := min(height, width)) < LEAST:
        frame = _resized(frame, round(width * LEAST / short), round(height * LEAST / short))
        height, width = frame.shape[:2]
    return cropped(frame, round((height - CROP) / 2), round((width - CROP) / 2))


def cropped(frames: np.ndarray, y: int, x: int) -> np.ndarray:
    """Return 224 × 224 of frames [..., height, width, 3], as a copy, so that the memory of the rest is freed."""
    return np.ascontiguousarray(frames[..., y : y + CROP, x : x + CROP, :])


VIEWS: Mapping[str, View] = {"short256": short256, "crop224of256": crop224of256, "crop224": crop224}
"""The views that are made of a native frame, by the name that an encoder gives."""


def _resized(frame: np.ndarray, width: int, height: int) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.BILINEAR))
