"""Clip grids: how long a clip is, and the two rules for the number of clips that a video has.

A grid is named after the length of its clips: `2s`, `1s`, `0.5s`, `1-6s` (a sixth of a second).
"""

from __future__ import annotations

from fractions import Fraction
from math import floor
from typing import Literal, get_args

from pipeline.errors import PipelineError

Grid = Literal["2s", "1s", "0.5s", "1-6s"]
GRIDS: tuple[str, ...] = get_args(Grid)

_SECONDS = {grid: Fraction(grid.removesuffix("s").replace("-", "/")) for grid in GRIDS}


def grid_seconds(grid: str) -> Fraction:
    """Length of a grid's clips in seconds. Raises PipelineError for a name that is none of `GRIDS`."""
    if grid not in _SECONDS:
        raise PipelineError(f"no such clip grid; known are {', '.join(_SECONDS)}", where=grid)
    return _SECONDS[grid]


def n_clips(duration_s: Fraction, clip_s: Fraction) -> int:
    """Clips that features of a video have: T/L rounded, half up, at least one (31 s at 2 s are 16)."""
    return max(1, floor(duration_s / clip_s + Fraction(1, 2)))


def whole_clips(duration_s: float, clip_s: float) -> int:
    """Clips that the community's scorer sees in a video: those that fit whole into it (31 s at 2 s are 15)."""
    return int(duration_s / clip_s)
