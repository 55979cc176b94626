"""Reads and writes the cells of docs/faults.md."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / "docs" / "faults.md"
BEGIN, END = "| fault | where | what happens |\n|---|---|---|\n", "\n## Limits"


def cells_of(text: str) -> dict[tuple[str, str], str]:
    """Return (fault, place) → outcome, as the page has them."""
    lines = text.partition(BEGIN)[2].partition(END)[0].splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")]
    return {(fault, place): outcome for fault, place, outcome in rows}


def write(found: Mapping[tuple[str, str], str], order: Iterable[tuple[str, str]]) -> None:
    """Put these cells into the page. Those that did not happen this time stay. order: all cells of the page."""
    text = PAGE.read_text()
    cells = cells_of(text) | found
    rows = "".join(f"| {place[0]} | {place[1]} | {cells[place]} |\n" for place in order if place in cells)
    before, _, rest = text.partition(BEGIN)
    PAGE.write_text(before + BEGIN + rows + END + rest.partition(END)[2])
