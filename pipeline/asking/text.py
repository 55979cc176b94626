"""Writes an answer as text for a terminal: a small table of windows with a bar for each, and the curve of saliency as a
line."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap

from pipeline.asking.answer import Answer, ScoredWindow
from pipeline.asking.clock import clock
from pipeline.errors import printable
from pipeline.nouns import counted

BAR = 48
"""Number of characters of a bar. A whole bar is the whole video."""

WIDTH = 3 + 21 + 7 + 3 + BAR + 1
"""Characters of a line with a bar; sentences are broken there."""

RAMP = " .:-=+*#%@"
"""The characters for saliency, from the least salient clip of a video to the most salient one."""


def text(answer: Answer, most: int = 5) -> str:
    """Return an answer as lines. most: number of windows that are shown."""
    kind = "window" if answer.windows else "clip"
    pieces = f", in {answer.n_pieces} pieces" if answer.n_pieces > 1 else ""
    clips = f"{counted(len(answer.saliency), 'clip')} of {answer.clip_s:g} s{pieces}"
    lines = [
        f"{printable(answer.video)}: {clock(answer.duration_s)}, {clips}",
        f"query: {printable(answer.query)}",
        f"run: {answer.run}",
        f"   {kind:<21} score  {'of the video':<{BAR}}",
    ]
    lines += [_line(number, window, answer) for number, window in enumerate(answer.shown(most), 1)]
    if answer.saliency:
        lines.append(f"   {'saliency':<28}|{ramp(answer.saliency, BAR)}|")
    for sentence in filter(None, (*answer.notes, answer.rule)):
        lines += wrap(printable(sentence), WIDTH, initial_indent="   ", subsequent_indent="   ")
    return "\n".join(lines)


def ramp(values: Sequence[float], width: int) -> str:
    """Return values as `width` characters. Each character shows the largest value of its part."""
    low, high = min(values), max(values)
    n = len(values)
    parts = [values[n * k // width : max(n * (k + 1) // width, n * k // width + 1)] for k in range(width)]
    span = (high - low) or 1.0
    return "".join(RAMP[round((max(part) - low) / span * (len(RAMP) - 1))] for part in parts)


def _line(number: int, window: ScoredWindow, answer: Answer) -> str:
    times = f"{clock(window.start_s)} - {clock(window.end_s)}"
    first = int(BAR * window.start_s / answer.duration_s)
    last = max(first + 1, round(BAR * window.end_s / answer.duration_s))
    bar = "".join("#" if first <= k < last else "." for k in range(BAR))
    return f"{number:>2} {times:<20} {window.score:7.4f}  |{bar}|"
