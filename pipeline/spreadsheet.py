"""Makes texts of strangers safe in the cells of a CSV that people open in a spreadsheet.

A spreadsheet runs a cell that begins with `=`, `+`, `-` or `@` as a formula, also where the CSV quotes it. A query may
be the title of a stranger's video. So an apostrophe is put in front of such a text, which tells a spreadsheet that the
cell is a text. Only files for people are written in this way. Programs read the JSON beside them, which has every text
unchanged.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

BEGINS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""The characters with which a formula may begin, in their normal form and in the wide form of East Asian text."""


def cells(rows: Iterable[Sequence[Any]]) -> Iterator[list[Any]]:
    """Yield the rows of a table with cells that no spreadsheet takes for formulas."""
    return ([cell(value) for value in row] for row in rows)


def cell(value: Any) -> Any:
    """Return a value as a cell that no spreadsheet takes for a formula. Numbers, and texts that are numbers, are not
    changed."""
    is_formula = isinstance(value, str) and len(value) > 1 and value.lstrip(" ").startswith(BEGINS)
    return f"'{value}" if is_formula and not _is_number(value) else value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
