"""Which source frame is shown when: exact rational arithmetic from presentation times to frame indices.

Every published extractor resamples with FFmpeg's `fps` filter and scales with one swscale pass; the rules here are
that filter's (features.md 2.1, 2.2). Floating point would break ties: five wrong frames of 350 from 30 to 25 fps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from math import ceil, floor
from typing import NamedTuple

import numpy as np

from pipeline.video.probe import VideoFacts
from pipeline.video.segment import n_clips

Sampling = Callable[[VideoFacts, Fraction], np.ndarray]
"""(facts, clip length in seconds) → source frame indices, int64 [rows, frames per row], row minima ascending."""


class Size(NamedTuple):
    """Scale to width × height, then crop 224 × 224 at (x, y)."""

    width: int
    height: int
    x: int
    y: int


CROP = 224

MOTION_RATE = 30
MOTION_FRAMES = 32
"""SlowFast's grid in frames per second, and its frames per clip."""


def size_224(width: int, height: int) -> Size:
    """The 224-frame of CLIP and SlowFast: short side 224, long side truncated, centre crop (HERO's extractor)."""
    if height >= width:
        width, height = CROP, int(CROP * height / width)
    else:
        width, height = int(CROP * width / height), CROP
    return Size(width, height, (width - CROP) // 2, (height - CROP) // 2)


def frame_grid(pts: Sequence[int], time_base: Fraction, rate: Fraction, end: Fraction) -> tuple[int, list[int]]:
    """The constant-rate grid: (q₀, [I(q₀), …, I(N − 1)]), FFmpeg's `fps` filter.

    pts: ascending presentation times in units of `time_base`. rate: grid frames per second. end: T in seconds.
    With qᵢ = ⌊rate·tᵢ⌉ (half up), grid frame n shows source frame I(n) = max {i : qᵢ ≤ n}; N = ⌊rate·T⌉, at least 1.
    """
    step = rate * time_base
    half, whole = step.denominator, 2 * step.denominator
    ticks = [(2 * step.numerator * time + half) // whole for time in pts]
    shown, last = [], 0
    for n in range(ticks[0], max(1, floor(rate * end + Fraction(1, 2)))):
        while last + 1 < len(ticks) and ticks[last + 1] <= n:
            last += 1
        shown.append(last)
    return ticks[0], shown


def middle_frames(facts: VideoFacts, clip_s: Fraction) -> np.ndarray:
    """CLIP's frames: the last one before each clip's middle, int64 [rows, 1] (features.md 3.1).

    Videos shorter than a clip and a tenth of a second are sampled at 2/max(⌊T⌋, 1) fps where the container stores a
    duration, as published; their rows are cut to the clips there are, as every loader does.
    """
    rate = 1 / clip_s
    limit = None
    if facts.stored_duration and facts.duration < clip_s + Fraction(1, 10):
        rate, limit = Fraction(2, max(int(facts.duration), 1)), n_clips(facts.duration, clip_s)
    return _shown(facts, rate)[:limit, None]


def motion_frames(facts: VideoFacts, clip_s: Fraction) -> np.ndarray:
    """SlowFast's frames: the 32 of each clip's fast pathway on the 30-fps grid, int64 [rows, 32] (features.md 3.3).

    They span 64F/30 grid frames, F the whole part of the source's average rate: at 25 fps 1.77 of 2 seconds, at 60 fps
    every other frame is the clip's last. Seconds are padded with the last frame, clips with the last second. Rows:
    ⌈seconds/L⌉, at most ⌈T/L⌉ where the container stores a duration.
    """
    grid = _shown(facts, Fraction(MOTION_RATE))
    n_seconds = ceil(len(grid) / MOTION_RATE)
    n_rows = ceil(n_seconds / clip_s)
    if facts.stored_duration:
        n_rows = min(n_rows, max(1, ceil(facts.duration / clip_s)))
    per_clip = int(MOTION_RATE * clip_s)
    span = 64 * floor(facts.rate) / MOTION_RATE - 1
    # In float32, as published: an index that lands on a whole number may fall to either side.
    spread = np.linspace(0, span, MOTION_FRAMES, dtype=np.float32).clip(0, per_clip - 1).astype(np.int64)
    second, frame = np.divmod(np.arange(n_rows)[:, None] * per_clip + spread, MOTION_RATE)
    return grid[np.minimum(MOTION_RATE * np.minimum(second, n_seconds - 1) + frame, len(grid) - 1)]


def _shown(facts: VideoFacts, rate: Fraction) -> np.ndarray:
    """Source index at every grid frame from 0 on, int64 [n ≥ 1].

    A stream that starts late shows its first frame until then, so that row n stays clip n.
    """
    first, shown = frame_grid(facts.pts, facts.time_base, rate, facts.duration)
    return np.array([0] * first + shown if shown else [0], dtype=np.int64)


SAMPLINGS: Mapping[str, Sampling] = {"middle": middle_frames, "motion": motion_frames}
"""By the name an encoder gives; a name crosses to the decoding process, a network does not."""
