"""Reads a part of a video file like a file of its own: its times begin at 0, and it ends where the part ends.

Nothing is cut or encoded again. The frames of a part are those whose times lie in [start, end), as in an exact cut by
FFmpeg. Decoding still begins at the start of the file, because a decoder that seeks may give pictures of another moment
(`decode.py`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from math import floor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pipeline.errors import PipelineError

if TYPE_CHECKING:
    import numpy as np

    from pipeline.video.probe import VideoFacts


class Part(NamedTuple):
    """A part of a file. start_s, end_s: its bounds, in seconds of the file."""

    path: Path
    start_s: Fraction
    end_s: Fraction


def facts_of(source: Path | Part) -> VideoFacts:
    """Return the facts of a whole file or of a part. Raises PipelineError as `probe` does, and if no frame of the file
    lies in the part."""
    from pipeline.video.probe import probe  # This loads FFmpeg, and the table of clips needs only `Part`.

    return within(probe(source.path), source) if isinstance(source, Part) else probe(source)


def within(facts: VideoFacts, part: Part) -> VideoFacts:
    """Return the facts of a part of a file whose facts are known."""
    base, start_s = facts.time_base, facts.start_s + part.start_s
    first, end = (bisect_left(facts.pts, s / base) for s in (part.start_s, part.end_s))
    end_s = min(part.end_s, facts.duration)
    if first == end or end_s <= part.start_s:
        raise PipelineError(
            f"lasts {float(facts.duration):.2f} s and shows nothing from {float(part.start_s):g} s to"
            f" {float(part.end_s):g} s",
            where=facts.path,
            remedy="put the video that was annotated in its place, or leave it out (`skip` of its dataset)",
        )
    # The start need not be a whole number of ticks, so the ticks are divided until it is one.
    ticks = part.start_s / base
    pts = tuple(time * ticks.denominator - ticks.numerator for time in facts.pts[first:end])
    return replace(
        facts,
        duration=end_s - part.start_s,
        stored_duration=True,
        time_base=base / ticks.denominator,
        pts=pts,
        first=facts.first + first,
        start_s=start_s,
    )


def samples_within(
    frames: Iterator[tuple[int, np.ndarray]], start_s: Fraction, end_s: Fraction
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (rate, samples) of a part of a track that begins at 0 and has no gap. Reading ends with the part."""
    n = 0
    for rate, samples in frames:
        first, end = floor(start_s * rate), floor(end_s * rate)
        kept = samples[max(0, first - n) : max(0, end - n)]
        n += len(samples)
        if len(kept):
            yield rate, kept
        if n >= end:
            return
