"""A view is the scaled and cropped form of a frame that a network gets. The decoding process makes views, so that few
pixels are passed between processes.

- `frames224` (CLIP, SlowFast, ResNet I3D): short side 224 by swscale while the decoder makes RGB; centre 224 × 224
- `short256` (optical flow): short side 256, not cropped, so that its shape is the video's
- `crop224of256` (TVSum's I3D, VGG): the centre 224 × 224 of that
- `crop224` (Charades' I3D): not resized unless the short side is less than 226; centre 224 × 224
- `FIT.FILTER.cropN` (families of the config): any size, such as `short336.bicubic.crop336` (`view_of`)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np

from pipeline.errors import PipelineError

View = Callable[[np.ndarray], np.ndarray]
"""A function that makes a view of a native RGB frame: uint8 [height, width, 3] to uint8 [height, width, 3]."""

FRAMES224 = "frames224"
CROP = 224
SHORT = 256
LEAST = 226
"""The short side in pixels below which frames of Charades-STA are enlarged."""


class Size(NamedTuple):
    """The sizes with which a frame is scaled and cropped: scale to width × height, then crop 224 × 224 at (x, y)."""

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


def cropped(frames: np.ndarray, y: int, x: int, size: int = CROP) -> np.ndarray:
    """Return size × size of frames [..., height, width, 3], as a copy, so that the memory of the rest is freed."""
    return np.ascontiguousarray(frames[..., y : y + size, x : x + size, :])


VIEWS: Mapping[str, View] = {"short256": short256, "crop224of256": crop224of256, "crop224": crop224}
"""The views that are made of a native frame, by the name that an encoder gives. `view_of` knows more names."""

_NAMED = re.compile(r"(short(?P<short>\d+)|exact(?P<height>\d+)x(?P<width>\d+))\.(?P<filter>[a-z]+)\.crop(?P<crop>\d+)")


def view_of(name: str) -> View:
    """Return the view of a name: one of `VIEWS`, or a name that describes the view.

    `short336.bicubic.crop336` scales the short side to 336 (the long side is truncated) and keeps the centre 336 × 336.
    `exact128x171.linear.crop112` scales to height 128 and width 171, whatever the shape was. The filters `bicubic` and
    `bilinear` are PIL's, as open_clip's transforms have them. `linear` is torch's bilinear interpolation without
    antialiasing, as the transforms of torchvision's video models have it. Raises PipelineError for another name.
    """
    if name in VIEWS:
        return VIEWS[name]
    found = _NAMED.fullmatch(name)
    if found is None or found["filter"] not in _FILTERS:
        raise PipelineError("names no view of a frame", where=name, remedy=f"name one of {', '.join(VIEWS)}")
    exact = (int(found["height"]), int(found["width"])) if found["height"] else None
    return partial(
        _scaled_and_cropped,
        short=int(found["short"] or 0),
        exact=exact,
        how=_FILTERS[found["filter"]],
        crop=int(found["crop"]),
    )


def _scaled_and_cropped(
    frame: np.ndarray, *, short: int, exact: tuple[int, int] | None, how: Filter, crop: int
) -> np.ndarray:
    """Scale a frame and keep its centre. The offset is rounded half to even, as torchvision does."""
    height, width = frame.shape[:2]
    least = min(height, width)
    height, width = exact or (int(short * height / least), int(short * width / least))
    frame = how(frame, width, height)
    return cropped(frame, round((height - crop) / 2), round((width - crop) / 2), crop)


def _resized(frame: np.ndarray, width: int, height: int, filter: str = "BILINEAR") -> np.ndarray:
    """Scale a frame by one of PIL's filters. A frame that already has this size is not changed."""
    from PIL import Image

    return np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling[filter]))


def linear(frame: np.ndarray, width: int, height: int) -> np.ndarray:
    """Scale a frame bilinearly between the two nearest pixels, also when it becomes much smaller (torch,
    `antialias=False`)."""
    rows, columns = _neighbours(frame.shape[0], height), _neighbours(frame.shape[1], width)
    across = _between(frame.astype(np.float32), columns, 1)
    return np.rint(_between(across, rows, 0)).astype(np.uint8)


def _neighbours(n_from: int, n_to: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return for each new pixel the numbers of its two neighbours, and the part of the second, float32 [n_to]."""
    scale = np.float32(n_from) / np.float32(n_to)
    places = ((np.arange(n_to, dtype=np.float32) + np.float32(0.5)) * scale - np.float32(0.5)).clip(0)
    first = places.astype(np.int64)
    return first, np.minimum(first + 1, n_from - 1), places - first


def _between(pixels: np.ndarray, neighbours: tuple[np.ndarray, np.ndarray, np.ndarray], axis: int) -> np.ndarray:
    first, second, part = neighbours
    part = part.reshape([-1 if k == axis else 1 for k in range(3)])
    mixed: np.ndarray = pixels.take(first, axis) * (1 - part) + pixels.take(second, axis) * part
    return mixed


Filter = Callable[[np.ndarray, int, int], np.ndarray]
"""A function that scales a frame to a width and a height."""

_FILTERS: Mapping[str, Filter] = {
    "bicubic": partial(_resized, filter="BICUBIC"),
    "bilinear": _resized,
    "linear": linear,
}
