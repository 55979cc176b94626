"""One HTML page with the video, the windows and the curve of saliency, to be clicked on. It asks no network.

The template escapes whatever a query, a title or a file's name holds (Jinja2's autoescape), and a policy in the page
forbids it to load anything. A small video lies in the page itself; a larger one is played from where it lies.
"""

from __future__ import annotations

import base64
import mimetypes
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pipeline import files
from pipeline.asking.answer import Answer
from pipeline.asking.clock import clock
from pipeline.errors import readable

EMBEDDED_BYTES = 24 << 20
"""Largest size of a video that is written into the page."""

WIDTH, HEIGHT = 1000, 120
"""Units of the curve's drawing."""

TEMPLATE = Path(__file__).with_name("page.html")


def html(answers: Sequence[Answer], folder: Path, most: int = 5) -> str:
    """Return the page of answers about one video. folder: where the page will lie.

    Raises PipelineError where the video cannot be read.
    """
    first = answers[0]
    address, is_inside = address_of(first.video, folder)
    text: str = _template().render(
        title=readable(first.video.name),
        duration=clock(first.duration_s),
        duration_s=first.duration_s,
        run=first.run,
        address=address,
        is_inside=is_inside,
        answers=[shape(answer, most) for answer in answers],
        width=WIDTH,
        height=HEIGHT,
    )
    return text


def shape(answer: Answer, most: int = 5) -> dict[str, Any]:
    """Return what a page shows of an answer: windows with their places in per cent, and the points of the curve."""
    return {
        "query": answer.query,
        "kind": "window" if answer.windows else "clip",
        "clips": f"{len(answer.saliency)} clips of {answer.clip_s:g} s",
        "windows": [
            {
                "rank": rank,
                "start_s": window.start_s,
                "times": f"{clock(window.start_s)} – {clock(window.end_s)}",
                "score": f"{window.score:.4f}",
                "left": f"{100 * window.start_s / answer.duration_s:.3f}",
                "width": f"{100 * (window.end_s - window.start_s) / answer.duration_s:.3f}",
            }
            for rank, window in enumerate(answer.shown(most), 1)
        ],
        "points": points(answer),
        "notes": [*answer.notes, *([answer.rule] if answer.rule else [])],
    }


def points(answer: Answer) -> str:
    """Return the curve of saliency as the points of an SVG line, a step per clip, from the least to the largest."""
    values = answer.saliency
    if not values:
        return ""
    low, span = min(values), (max(values) - min(values)) or 1.0
    steps = []
    for clip, value in enumerate(values):
        y = HEIGHT - 4 - (HEIGHT - 8) * (value - low) / span
        for second in (clip, clip + 1):
            x = WIDTH * min(second * answer.clip_s / answer.duration_s, 1.0)
            steps.append(f"{x:.1f},{y:.1f}")
    return " ".join(steps)


def address_of(video: Path, folder: Path) -> tuple[str, bool]:
    """Return the address of the video for the page, and whether the video is stored in the page itself.

    Raises PipelineError if the video cannot be read.
    """
    try:
        if video.stat().st_size <= EMBEDDED_BYTES:
            kind = mimetypes.guess_type(video.name)[0] or "video/mp4"
            return f"data:{kind};base64,{base64.b64encode(video.read_bytes()).decode()}", True
    except OSError as error:
        raise files.cannot_read(video, error) from error
    relative = os.path.relpath(video.absolute(), folder.absolute())
    return quote(os.fsencode(relative)), False


@cache
def _template() -> Any:
    from jinja2 import Environment, StrictUndefined

    shown = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return shown.from_string(TEMPLATE.read_text(encoding="utf-8"))
