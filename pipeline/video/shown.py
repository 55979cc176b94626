"""The facts of video files, as lines of a table for people and as data for programs.

The widths of the columns are fixed, so that each line can be printed as soon as its file was read.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import PipelineError, printable, readable
from pipeline.video.looking import Facts

HEAD = f"{'seconds':>10}  {'frames':>8}  {'fps':>7}  {'pixels':>9}  {'codec':8}  file"
"""The names of the columns."""


def line(path: Path, found: Facts | PipelineError) -> str:
    """Return the line of one file: its facts, or why it cannot be used."""
    if isinstance(found, PipelineError):
        return f"{'unusable':>10}  {found}"
    pixels = f"{found.width}x{found.height}"
    numbers = f"{float(found.duration):10.3f}  {found.n_frames:8,}  {float(found.rate):7.3f}  {pixels:>9}"
    return f"{numbers}  {found.codec:8}  {printable(path)}"


def rows(every: Sequence[tuple[Path, Facts | PipelineError]]) -> list[dict[str, Any]]:
    """Return a JSON object for each file, with its facts or with `problem` and `remedy`.

    `seconds` is the length as a number, and `duration` is the same as an exact fraction. `stored` says whether the file
    states its length; otherwise the length follows from the last frame.
    """
    return [{"file": readable(path), **_facts(found)} for path, found in every]


def _facts(found: Facts | PipelineError) -> dict[str, Any]:
    if isinstance(found, PipelineError):
        return {"problem": found.what, "remedy": found.remedy}
    return {
        "seconds": float(found.duration),
        "duration": str(found.duration),
        "stored": found.stored_duration,
        "frames": found.n_frames,
        "fps": float(found.rate),
        "width": found.width,
        "height": found.height,
        "codec": found.codec,
    }
