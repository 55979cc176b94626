"""The forms of a matrix of paired differences: those of every table, and a CSV file with a line for each pair."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pipeline import csv_file, spreadsheet
from pipeline.evaluation.intervals import ENUMERATED, FEW, star
from pipeline.evaluation.student import LEVEL
from pipeline.nouns import counted
from pipeline.reporting import forms, verdict
from pipeline.reporting.paired import Contestant, Matrix
from pipeline.reporting.render import Cell, Table, TableLine

COLUMNS = (
    *("split", "epoch", "metric"),
    *("row", "row_mean", "row_seeds", "column", "column_mean", "column_seeds"),
    *("difference", "low", "high", "p", "smallest_p", "survives_holm"),
    *("videos", "queries"),
)
ROW_NAMES = ("Experiment", "Stands for")
"""Headings of the label and the row of a contestant."""
DECIMALS = 2
"""Number of decimals of means and differences in the forms for people."""


def as_table(matrix: Matrix, *, in_full: bool = True) -> Table:
    """Return a matrix in the form in which every table is written: a line and a numbered column for each contestant.

    in_full: whether a cell has the interval and p besides the difference.
    """
    numbers = {one.label: f"({i})" for i, one in enumerate(matrix.contestants, start=1)}
    lines = [
        TableLine(
            "paired",
            f"{numbers[one.label]} {one.label}",
            one.row,
            {matrix.column: _number(one.mean(matrix.metric))}
            | {
                number: _cell(matrix, one.label, label, in_full=in_full)
                for label, number in numbers.items()
                if label != one.label
            },
            remark="released predictions" if not one.seeds else counted(one.seeds, "seed"),
        )
        for one in matrix.contestants
    ]
    short = [] if in_full else [f"Intervals and p stand in {matrix.name}.csv, {matrix.name}.md and {matrix.name}.html."]
    columns, notes = [matrix.column, *numbers.values()], [*_notes(matrix), *short]
    return Table(matrix.title, (), columns, lines, notes, matrix.name, matrix.title, ROW_NAMES)


def _number(value: float) -> Cell:
    return Cell(f"{value:.{DECIMALS}f}", f"{value:.{DECIMALS}f}")


def _cell(matrix: Matrix, row: str, column: str, *, in_full: bool) -> Cell:
    one, sign = matrix.between(row, column)
    difference = verdict.signed(sign * one.difference.value, DECIMALS)
    if not in_full:
        return Cell(difference + _star(matrix, row, column), difference)
    low_high = sorted(sign * end for end in (one.difference.low, one.difference.high) if end is not None)
    interval = " [{}, {}]".format(*(f"{end:+.{DECIMALS}f}" for end in low_high)) if low_high else ""
    p = "" if one.p is None else f", p {one.p:.2g}{_star(matrix, row, column)}"
    return Cell(f"{difference}{interval}{p}", difference)


def _star(matrix: Matrix, row: str, column: str) -> str:
    one, _ = matrix.between(row, column)
    return star(one.p, bool(matrix.survives & {(row, column), (column, row)}))


def _notes(matrix: Matrix) -> list[str]:
    videos = {one.videos for one in matrix.pairs.values()}
    selected = (
        "The epoch of every trained run was selected on this very split, so the numbers are too high by its luck"
        + (f"; the matrix of the last epoch is {matrix.of_last_epoch}." if matrix.of_last_epoch else ".")
    )
    return [
        "A number above 0 says that the method of the row is better than that of the column with that number. Intervals"
        f" are those of 95 %. Methods with several seeds enter with the mean over them. {_test(videos)}",
        _significance(matrix),
        *([selected] if matrix.split == "val" and matrix.epoch == "selected" and _any_trained(matrix) else []),
        *matrix.left_out,
    ]


def _significance(matrix: Matrix) -> str:
    """Return a sentence about the number of pairs, and about which of them differ after Holm's correction."""
    n = len(matrix.pairs)
    if all(one.smallest_p is None or one.smallest_p >= 1 - LEVEL for one in matrix.pairs.values()):
        return f"Pairs: {n}. With so few videos no p can be below 0.05."
    survive = [f"{row} - {column}" for row, column in matrix.pairs if (row, column) in matrix.survives]
    return (
        f"Pairs: {n}. If no method differed, p < 0.05 would be expected in {n * (1 - LEVEL):.2g} of them. * p < 0.05;"
        f" ** also after Holm's correction for all {n}: {'; '.join(survive) or 'none'}."
    )


def _any_trained(matrix: Matrix) -> bool:
    return any(one.seeds for one in matrix.contestants)


def _test(videos: set[int]) -> str:
    """Return a sentence that says how p and the interval are computed. videos: the numbers of videos of the pairs."""
    n = max(videos)
    if n < 2:
        return "There is one video, so there is no interval and no p."
    if n >= FEW:
        return f"Interval and p come from a bootstrap over {counted(n, 'video')}, paired."
    if n <= ENUMERATED:
        return (
            f"p is exact: all 2^{n} ways to flip the sign of the difference of a whole video ({counted(n, 'video')}),"
            f" of which the smallest p is {2.0 ** (1 - n):.2g}. The interval is Student's t over videos."
        )
    return f"p comes from random flips of the sign of whole videos ({n}); the interval is Student's t over videos."


def to_csv(matrix: Matrix) -> str:
    """Return CSV text: a header, and a line for each pair in both directions, with its numbers in columns."""
    pairs = [(row, column) for row in matrix.contestants for column in matrix.contestants if row is not column]
    rows = [_values(matrix, row, column) for row, column in pairs]
    return csv_file.text(COLUMNS, spreadsheet.cells(rows))


def _values(matrix: Matrix, row: Contestant, column: Contestant) -> list[Any]:
    one, sign = matrix.between(row.label, column.label)
    low_high = sorted(sign * end for end in (one.difference.low, one.difference.high) if end is not None)
    survives = bool(matrix.survives & {(row.label, column.label), (column.label, row.label)})
    return [
        matrix.split,
        matrix.epoch,
        matrix.metric,
        *(value for c in (row, column) for value in (c.label, f"{c.mean(matrix.metric):.4f}", c.seeds)),
        f"{sign * one.difference.value + 0.0:.4f}",
        *([f"{end:.4f}" for end in low_high] or ["", ""]),
        "" if one.p is None else f"{one.p:.6g}",
        "" if one.smallest_p is None else f"{one.smallest_p:.6g}",
        "yes" if survives else "no",
        one.videos,
        len(row.values),
    ]


def _as(write: Callable[[Table], str], *, in_full: bool) -> Callable[[Matrix], str]:
    return lambda matrix: write(as_table(matrix, in_full=in_full))


NARROW = ("tex", "txt")
"""Suffixes of the forms whose pages have no room for intervals."""
FORMATS: dict[str, Callable[[Matrix], str]] = {
    suffix: _as(write, in_full=suffix not in NARROW) for suffix, write in forms.FORMATS.items()
}
FORMATS["csv"] = to_csv
"""Suffix of a file → how a matrix is written into it."""
