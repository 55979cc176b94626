"""Clip grids: how long a clip is, and the two rules for the number of clips that a video has.

A grid is named after the length of its clips: `2s`, `1s`, `0.5s`, `1-6s` (a sixth of a second). These four are those of
the paper's datasets. A user's own dataset may have clips of any length from half a second to ten seconds, such as
`2.5s`.
"""

from __future__ import annotations

import re
from fractions import Fraction
from math import floor

from pipeline.errors import PipelineError

GRIDS: tuple[str, ...] = ("2s", "1s", "0.5s", "1-6s")
"""The grids of the paper's datasets."""

SHORTEST_S, LONGEST_S = Fraction(1, 2), Fraction(10)
"""The shortest and the longest clip of a user's own dataset, in seconds."""

ROUNDING = 1e-9
"""Part of a clip that is allowed for rounding when two floats are divided: 3.3 / 1.1 is a little less than 3."""

_PLAIN = re.compile(r"(0|[1-9]\d?)(\.\d{0,2}[1-9])?s")


def grid_seconds(grid: str) -> Fraction:
    """Return the length of a grid's clips in seconds. Raises PipelineError for a name that no grid has."""
    if not is_grid(grid):
        raise PipelineError(f"no such clip grid; {KNOWN}", where=grid)
    return Fraction(grid.removesuffix("s").replace("-", "/"))


def is_grid(name: str) -> bool:
    """Tell whether a grid has this name: one of `GRIDS`, or seconds with at most three decimals and an `s`."""
    if name in GRIDS:
        return True
    return bool(_PLAIN.fullmatch(name)) and SHORTEST_S <= Fraction(name.removesuffix("s")) <= LONGEST_S


KNOWN = f"known are {', '.join(GRIDS)}, and any other length from 0.5s to 10s, such as 2.5s"
"""The part of an error message that lists the grids that exist."""


def n_clips(duration_s: Fraction, clip_s: Fraction) -> int:
    """Return the number of clips that the features of a video have: T/L rounded, half up, at least one. 31 s at 2 s
    give 16."""
    return max(1, floor(duration_s / clip_s + Fraction(1, 2)))


def whole_clips(duration_s: float, clip_s: float) -> int:
    """Return the number of clips that the community's scorer counts in a video: those that fit whole into it. 31 s at 2
    s give 15."""
    return int(duration_s / clip_s + ROUNDING)
