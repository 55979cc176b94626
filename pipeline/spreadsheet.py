"""Texts of strangers in the cells of a CSV that people open in a spreadsheet.

A spreadsheet runs a cell that begins with `=`, `+`, `-` or `@` as a formula, also where the CSV quotes it. A query may
be the title of a stranger's video. So such a text gets an apostrophe in front, by which spreadsheets know a text. Only
files for people are written so. Programs read the JSON beside them, which holds every text as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

BEGINS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""What a formula may begin with, as it is and as wide as a Chinese character."""


def cells(rows: Iterable[Sequence[Any]]) -> Iterator[list[Any]]:
    """Yield the rows of a table with cells that no spreadsheet runs."""
    return ([cell(value) for value in row] for row in rows)


def cell(value: Any) -> Any:
    """Return a value as a cell that no spreadsheet runs. Numbers, and texts that are numbers, stay as they are."""
    is_formula = isinstance(value, str) and len(value) > 1 and value.lstrip(" ").startswith(BEGINS)
    return f"'{value}" if is_formula and not _is_number(value) else value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
