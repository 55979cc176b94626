"""Makes one HTML page with the video, the windows and the curve of saliency. A click plays. It loads nothing from a
network.

The template escapes all texts of queries, titles and file names (Jinja2's autoescape), and a policy in the page forbids
it to load anything. A small video is contained in the page. A larger one is played from its own file.
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
from pipeline.nouns import counted

EMBEDDED_BYTES = 24 << 20
"""Largest size of a video that is written into the page."""

WIDTH, HEIGHT = 1000, 120
"""Width and height of the drawing of the curve, in its own units."""

TEMPLATES = Path(__file__).parent
"""`page.html` is the whole page, `answer.html` is one answer on it, and `served.html` is the additional part of a
served page."""


def html(answers: Sequence[Answer], folder: Path, most: int = 5) -> str:
    """Return the page of answers about one video. folder: the folder of the page.

    Raises PipelineError if the video cannot be read.
    """
    first = answers[0]
    address, is_inside = address_of(first.video, folder)
    head = _heading(first.video, first.duration_s, first.run)
    return _rendered("page.html", **head, address=address, is_inside=is_inside, answers=_shaped(answers, most))


def served(
    video: Path, duration_s: float, run: str, answers: Sequence[Answer], most: int, *, longest: int, nonce: str
) -> str:
    """Return the page that sends queries to `ask` and plays `video`. These two addresses are beside its own.

    answers: those that it shows at first. longest: largest number of characters of a query. nonce: that of the page's
    script.
    """
    head = _heading(video, duration_s, run)
    shown = _shaped(answers, most)
    return _rendered("served.html", **head, address="video", answers=shown, longest=longest, nonce=nonce)


def section(answer: Answer, most: int = 5) -> str:
    """Return the part of a page that shows one answer."""
    return _rendered("answer.html", answer=shape(answer, most))


def _heading(video: Path, duration_s: float, run: str) -> dict[str, Any]:
    """Return the heading above the answers about a video."""
    return {"title": readable(video.name), "duration": clock(duration_s), "duration_s": duration_s, "run": run}


def shape(answer: Answer, most: int = 5) -> dict[str, Any]:
    """Return the values that a page shows for an answer: windows with their positions in per cent, and the points of
    the curve."""
    return {
        "query": answer.query,
        "kind": "window" if answer.windows else "clip",
        "clips": f"{counted(len(answer.saliency), 'clip')} of {answer.clip_s:g} s",
        "clip_s": answer.clip_s,
        "duration_s": answer.duration_s,
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
        "width": WIDTH,
        "height": HEIGHT,
        "notes": [*answer.notes, *([answer.rule] if answer.rule else [])],
    }


def points(answer: Answer) -> str:
    """Return the curve of saliency as the points of an SVG line with a step per clip, scaled to the smallest and the
    largest score."""
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
            return f"data:{media_type(video)};base64,{base64.b64encode(video.read_bytes()).decode()}", True
    except OSError as error:
        raise files.cannot_read(video, error) from error
    relative = os.path.relpath(video.absolute(), folder.absolute())
    return quote(os.fsencode(relative)), False


def media_type(video: Path) -> str:
    """Return the media type of a video, by its suffix."""
    return mimetypes.guess_type(video.name)[0] or "video/mp4"


def _shaped(answers: Sequence[Answer], most: int) -> list[dict[str, Any]]:
    return [shape(answer, most) for answer in answers]


def _rendered(name: str, **values: Any) -> str:
    text: str = _templates().get_template(name).render(**values)
    return text


@cache
def _templates() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
