"""What the paper prints: every row of Tables 1 to 4, in its order, with its own marks; and what the marks should be."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

PUBLISHED = Path(__file__).with_name("published.csv")
SWITCHES = ("LGAM", "VFR", "MR2HD", "HD2MR")
"""Columns of Table 4 that say which modules are on; `yes` or `no`."""


@dataclass(frozen=True)
class Row:
    """One row of a table.

    key: its name in config.yaml (`row`). source: features as the paper prints them, `+A` where audio is used.
    values: column → number as printed, '' where the paper prints none. marks: column → `best` or `second`.
    """

    key: str
    method: str
    source: str
    values: dict[str, str] = field(default_factory=dict)
    marks: dict[str, str] = field(default_factory=dict)


@cache
def table(number: int) -> tuple[Row, ...]:
    """The rows of a table in the paper's order."""
    rows: dict[str, Row] = {}
    with open(PUBLISHED, encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            if line["table"] == str(number):
                row = rows.setdefault(line["row"], Row(line["row"], line["method"], line["source"]))
                row.values[line["column"]] = line["value"]
                if line["mark"]:
                    row.marks[line["column"]] = line["mark"]
    return tuple(rows.values())


def columns(number: int) -> list[str]:
    """The columns with numbers, in the paper's order (Table 4's switches are not among them)."""
    return [column for column in table(number)[0].values if column not in SWITCHES]


def group(number: int, row: Row) -> str:
    """The rows among which the paper looks for the best: per source; in Table 2 with and without audio together.

    Table 2's C3D and I3D rows are one group: it marks TR-DETR's I3D row and none of C3D.
    """
    if number != 2:
        return row.source
    return {"C3D": "C3D or I3D", "I3D": "C3D or I3D"}.get(row.source, row.source.removesuffix("+A"))


def computed_marks(number: int) -> dict[tuple[str, str], str]:
    """(row key, column) → `best` or `second`, by value, within each group; equal values share a mark."""
    marks: dict[tuple[str, str], str] = {}
    for column in columns(number):
        for rows in _groups(number).values():
            values = {row.key: float(row.values[column]) for row in rows if row.values[column]}
            for mark, value in zip(("best", "second"), sorted(set(values.values()), reverse=True), strict=False):
                marks |= {(key, column): mark for key, found in values.items() if found == value}
    return marks


def wrong_marks(number: int) -> list[str]:
    """Where the paper's marks differ from the computed ones, in words; empty for a table that marks nothing."""
    rows = table(number)
    if not any(row.marks for row in rows):
        return []
    computed = computed_marks(number)
    return [
        f"Table {number}, {row.key}, {column}: {row.values[column]} is marked {printed or 'not at all'}, "
        f"it is {found or 'neither best nor second'}"
        for row in rows
        for column in columns(number)
        if (printed := row.marks.get(column, "")) != (found := computed.get((row.key, column), ""))
    ]


def _groups(number: int) -> dict[str, Sequence[Row]]:
    groups: dict[str, list[Row]] = {}
    for row in table(number):
        groups.setdefault(group(number, row), []).append(row)
    return dict(groups)
