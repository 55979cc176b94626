"""Reads single values of a row of a user's own dataset, and reports those that cannot be used."""

from __future__ import annotations

import re
from difflib import get_close_matches
from math import isfinite
from pathlib import Path
from typing import Any

from pipeline.datasets.own import SUFFIXES
from pipeline.datasets.own_rows import SPLITS, Table
from pipeline.errors import printable

VID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,199}")
"""The pattern of a vid, which becomes part of paths."""

CLOCK = re.compile(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:[.,]\d+)?)")
"""Patterns of times that people write in place of seconds: seconds with a comma, and times with minutes or hours."""

HIGHEST = 4
"""The best score of a window; 0 is the worst."""


def vid(value: str, line: int, column: str, table: Table) -> str:
    """Return the vid for the name of a file, which may have a suffix. It must be a video of the folder."""
    name = Path(value).name
    has_suffix = Path(name).suffix.lower() in SUFFIXES
    found = Path(name).stem if has_suffix else name
    there = table.files.get(found)
    is_another = has_suffix and there is not None and there.suffix.lower() != Path(name).suffix.lower()
    if found in table.twice and name == value:
        why = f"names two videos, {table.twice[found]} (rename one: a video is known by its name without the suffix)"
        table.complain(line, column, value, why)
    elif name != value or there is None or is_another:
        near = [there.name] if there and is_another else _near(name, table)
        why = f"is no video in the folder {table.folder}" + (f" (there is {near[0]})" if near else "")
        if not VID.fullmatch(found):
            why += " (a name holds letters, digits, `_`, `-` and `.` only)"
        table.complain(line, column, value, why)
    return found


def query(value: str, line: int, table: Table) -> str:
    """Return a query, which must be one printable line that is not empty."""
    if not value:
        table.complain(line, "query", value, "is empty")
    elif printable(value) != value:
        table.complain(line, "query", value, "holds characters that cannot be printed")
    return value


def text(value: Any, line: int, table: Table) -> str:
    """Return the query of a JSON row. A value that is no text is reported."""
    if value is not None and not isinstance(value, str):
        table.complain(line, "query", value, "is no text")
        return ""
    return query((value or "").strip(), line, table)


def number(value: Any, line: int, column: str, table: Table) -> float | None:
    """Return a finite number, or None for anything else."""
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        found = float("nan")
    if not isfinite(found) or isinstance(value, bool):
        table.complain(line, column, value, f"is no number of seconds{_meant(value)}")
        return None
    return found


def check_window(start: float, end: float, line: int, table: Table) -> None:
    """Report a window that begins before the video, and a window without a length. Times are in seconds."""
    if start < 0:
        table.complain(line, "start", start, "is before the beginning of the video")
    if end <= start:
        table.complain(line, "end", end, f"is not after the start at {start:g} s")


def score(value: str, line: int, table: Table) -> int | None:
    """Return the score of a window, or None for anything but a whole number from 0 to the best score."""
    if value not in {str(n) for n in range(HIGHEST + 1)}:
        table.complain(line, "score", value, f"is none of 0 to {HIGHEST}")
        return None
    return int(value)


def split(value: Any, line: int, table: Table) -> str | None:
    """Return the name of a split, or None for anything else."""
    if value not in SPLITS:
        table.complain(line, "split", value, f"is none of {', '.join(SPLITS)}")
        return None
    return str(value)


def _near(name: str, table: Table) -> list[str]:
    """Return the name of the video with the most similar spelling, or an empty list if there is none."""
    return get_close_matches(name, [path.name for path in table.files.values()], n=1, cutoff=0.8)


def _meant(value: Any) -> str:
    """Return the number that was probably meant, in brackets: `24,5` means 24.5, and `1:05` means 65."""
    clock = CLOCK.fullmatch(str(value))
    if not clock:
        return ""
    hours, minutes, seconds = (float((part or "0").replace(",", ".")) for part in clock.groups())
    return f" (write {hours * 3600 + minutes * 60 + seconds:.10g})"
