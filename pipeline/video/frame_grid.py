"""Computes which source frame is shown at which time, from presentation times, in exact rational arithmetic.

Every published extractor resamples with FFmpeg's `fps` filter, and the rules here are those of that filter. Floating
point would decide ties wrongly: five of 350 frames from 30 to 25 fps.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import partial
from math import ceil, floor

import numpy as np

from pipeline.errors import PipelineError
from pipeline.grids import n_clips
from pipeline.video.probe import VideoFacts

Sampling = Callable[[VideoFacts, Fraction], np.ndarray]
"""A sampling: (facts, clip length in seconds) → source frame indices, int64 [rows, frames per row], row minima
ascending."""


MOTION_RATE = 30
MOTION_FRAMES = 32
"""SlowFast's grid in frames per second, and its number of frames for each clip."""

RATE16 = 16
STACK16 = 32
"""The grid of TVSum's I3D in frames per second, and the number of frames of a row (2 s)."""

RATE24 = 24
STACK24 = 24
"""The grid of Charades-STA in frames per second, and the number of frames in a stack of its I3D (1 s)."""

SHORTEST_STACK = 17
"""Number of frames that I3D needs for three positions in time, and so for the two rows of such a stack."""

EVERY = 4
"""Distance between the frames of that grid that Charades-STA's VGG gets: every fourth one."""


def frame_grid(pts: Sequence[int], time_base: Fraction, rate: Fraction, end: Fraction) -> tuple[int, list[int]]:
    """Return the constant-rate grid (q₀, [I(q₀), …, I(N − 1)]) of FFmpeg's `fps` filter.

    pts: ascending presentation times in units of `time_base`. rate: grid frames per second. end: T in seconds. With qᵢ
    = ⌊rate·tᵢ⌉ (half up), grid frame n shows source frame I(n) = max {i : qᵢ ≤ n}; N = ⌊rate·T⌉, at least 1.
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
    """Return CLIP's frames: the last one before the middle of each clip, int64 [rows, 1].

    Videos shorter than a clip and a tenth of a second are sampled at 2/max(⌊T⌋, 1) fps if the container stores a
    duration, as published. Their rows are cut to the number of clips, as every loader does.
    """
    rate = 1 / clip_s
    limit = None
    if facts.stored_duration and facts.duration < clip_s + Fraction(1, 10):
        rate, limit = Fraction(2, max(int(facts.duration), 1)), n_clips(facts.duration, clip_s)
    return _shown(facts, rate)[:limit, None]


def motion_frames(facts: VideoFacts, clip_s: Fraction) -> np.ndarray:
    """Return SlowFast's frames: the 32 frames of each clip's fast pathway on the 30-fps grid, int64 [rows, 32].

    They span 64F/30 grid frames, where F is the whole part of the source's average rate. At 25 fps that is 1.77 of 2
    seconds; at 60 fps every second frame is the clip's last. Seconds are padded with their last frame, clips with their
    last second. There are ⌈seconds/L⌉ rows, and at most ⌈T/L⌉ if the container stores a duration.
    """
    grid = _shown(facts, Fraction(MOTION_RATE))
    n_seconds = ceil(len(grid) / MOTION_RATE)
    n_rows = ceil(n_seconds / clip_s)
    if facts.stored_duration:
        n_rows = min(n_rows, max(1, ceil(facts.duration / clip_s)))
    per_clip = int(MOTION_RATE * clip_s)
    span = 64 * floor(facts.rate) / MOTION_RATE - 1
    # The positions are computed in float32, as published: one that falls on a whole number may round to either side.
    spread = np.linspace(0, span, MOTION_FRAMES, dtype=np.float32).clip(0, per_clip - 1).astype(np.int64)
    second, frame = np.divmod(np.arange(n_rows)[:, None] * per_clip + spread, MOTION_RATE)
    return grid[np.minimum(MOTION_RATE * np.minimum(second, n_seconds - 1) + frame, len(grid) - 1)]


def slow_frames(facts: VideoFacts, clip_s: Fraction) -> np.ndarray:
    """Return the 8 motion frames of each clip that SlowFast's slow pathway gets, int64 [rows, 8].

    From 30 fps they are 7 to 10 grid frames apart. This is as close as 2 s of video can come to pytorchvideo's "8
    frames at stride 8". Nobody has published features of its ResNet I3D.
    """
    return motion_frames(facts, clip_s)[:, np.linspace(0, MOTION_FRAMES - 1, 8).astype(np.int64)]


def stacks_of_16_fps(facts: VideoFacts, n_frames: int = STACK16) -> np.ndarray:
    """Return the stacks of TVSum's I3D: 32 frames each of the 16-fps grid, without overlap, int64 [rows, n_frames].

    There are ⌊(n₁₆ − 1)/32⌋ rows, because the flow of a stack also needs the first frame of the next one (`n_frames` is
    33). A video too short for a row has one row, filled up with its last frame.
    """
    grid = _shown(facts, Fraction(RATE16))
    n_rows = max(1, (len(grid) - 1) // STACK16)
    places = np.arange(n_rows)[:, None] * STACK16 + np.arange(n_frames)
    return grid[np.minimum(places, len(grid) - 1)]


def stacks_of_24_fps(facts: VideoFacts) -> np.ndarray:
    """Return the stacks of Charades-STA's I3D: 24 frames each of the 24-fps grid, int64 [⌈n₂₄/24⌉, 24], with 2 rows
    each.

    As published, the last frame is never used, and the last stack moves back until it is full. A video of less than 25
    frames has one stack of all frames but the last. If the network needs more, it is filled up with the last of them.
    """
    grid = _shown(facts, Fraction(RATE24))
    n_used = max(1, len(grid) - 1)
    if n_used < STACK24:
        return grid[None, np.minimum(np.arange(max(n_used, SHORTEST_STACK)), n_used - 1)]
    starts = np.minimum(np.arange(0, len(grid), STACK24), n_used - STACK24)
    return grid[starts[:, None] + np.arange(STACK24)]


def every_fourth(facts: VideoFacts) -> np.ndarray:
    """Return the frames of Charades-STA's VGG: 0, 4, 8, … of the 24-fps grid, int64 [⌈n₂₄/4⌉, 1]."""
    return _shown(facts, Fraction(RATE24))[::EVERY, None]


def centred_frames(facts: VideoFacts, clip_s: Fraction, n_frames: int, rate: Fraction) -> np.ndarray:
    """Return n frames at a constant rate around the middle of each clip, int64 [rows, n_frames].

    There are as many rows as `middle_frames` has of a long video. Frames before the video are its first one, and those
    after it are its last one.
    """
    n_rows = len(_shown(facts, 1 / clip_s))
    grid = _shown(facts, rate)
    middles = [(row + Fraction(1, 2)) * clip_s for row in range(n_rows)]
    first = [floor(middle * rate - Fraction(n_frames - 1, 2) + Fraction(1, 2)) for middle in middles]
    places = np.array(first, dtype=np.int64)[:, None] + np.arange(n_frames)
    return grid[places.clip(0, len(grid) - 1)]


def _shown(facts: VideoFacts, rate: Fraction) -> np.ndarray:
    """Return the source index at every grid frame from 0 on, int64 [n ≥ 1].

    A stream that starts late shows its first frame until then, so that row n belongs to clip n.
    """
    first, shown = frame_grid(facts.pts, facts.time_base, rate, facts.duration)
    return np.array([0] * first + shown if shown else [0], dtype=np.int64)


def _per(own_s: Fraction, frames: Callable[[VideoFacts], np.ndarray]) -> Sampling:
    """Return a sampling for clips of one fixed length. The sampling raises PipelineError for a grid of another
    length."""

    def sampling(facts: VideoFacts, clip_s: Fraction) -> np.ndarray:
        if clip_s != own_s:
            raise PipelineError(
                f"this family has a row per {own_s} s, and clips of {clip_s} s are asked for",
                where=facts.path,
                remedy=f"ask for a grid of clips of {own_s} s (`grids` of the dataset, or `--grid`)",
            )
        return frames(facts)

    return sampling


SAMPLINGS: Mapping[str, Sampling] = {
    "middle": middle_frames,
    "motion": motion_frames,
    "slow": slow_frames,
    "stacks16": _per(Fraction(STACK16, RATE16), stacks_of_16_fps),
    "stacks16-flow": _per(Fraction(STACK16, RATE16), partial(stacks_of_16_fps, n_frames=STACK16 + 1)),
    "stacks24": _per(Fraction(STACK24, 2 * RATE24), stacks_of_24_fps),
    "every4of24": _per(Fraction(EVERY, RATE24), every_fourth),
}
"""Name of a sampling, as an encoder gives it → the function. A name can be sent to the decoding process; an
encoder's network cannot. `sampling_of` knows more names."""

_CENTRED = re.compile(r"centred([1-9]\d*)at([1-9]\d*(\.\d+)?)")


def sampling_of(name: str) -> Sampling:
    """Return the sampling of a name: one of `SAMPLINGS`, or `centred16at7.5` for 16 frames at 7.5 frames per second
    around the middle of each clip. Raises PipelineError for another name."""
    if name in SAMPLINGS:
        return SAMPLINGS[name]
    found = _CENTRED.fullmatch(name)
    if found is None:
        raise PipelineError("names no sampling of frames", where=name, remedy=f"name one of {', '.join(SAMPLINGS)}")
    return partial(centred_frames, n_frames=int(found[1]), rate=Fraction(found[2]))
