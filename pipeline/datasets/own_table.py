"""Reads the file of a user's own dataset as a whole. Every row that cannot be used is reported, and none is dropped."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from pipeline import files
from pipeline.datasets import own_csv, own_jsonl
from pipeline.datasets.own import SUFFIXES
from pipeline.datasets.own_cells import VID
from pipeline.datasets.own_rows import Row, Table, split_of
from pipeline.errors import PipelineError
from pipeline.nouns import counted

READERS = {
    ".csv": own_csv.rows_of,
    ".jsonl": own_jsonl.rows_of,
    ".json": own_jsonl.rows_of,
    ".gz": own_jsonl.rows_of,
}
"""Suffix of a file, in small letters → the function that reads its rows."""


def read(path: Path | str, folder: Path | str) -> Table:
    """Read a file and compare it with the videos of a folder. No video is opened.

    Raises PipelineError for a file or a folder that cannot be read, and for a header that lacks columns. Mistakes in
    rows are in the complaints of the table.
    """
    files.refuse_special(Path(path))
    rows_of = READERS.get(Path(path).suffix.lower())
    if rows_of is None:
        remedy = "save it as CSV (UTF-8, comma) under a name that ends in .csv"
        raise PipelineError("is neither CSV nor JSONL by its name", where=path, remedy=remedy)
    videos, twice = _videos_in(Path(folder))
    table = Table(Path(path), Path(folder), videos, twice=twice)
    table.rows = list(rows_of(table))
    if not table.n_rows:
        raise PipelineError("holds no row", where=path, remedy=f"write rows of {','.join(own_csv.COLUMNS)}")
    _check_together(table)
    return table


def _videos_in(folder: Path) -> tuple[dict[str, Path], dict[str, str]]:
    """Return vid → file, and vid → the names of two files that both have this vid."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if entry.is_file())
    except OSError as error:
        raise files.cannot_read(folder, error) from error
    found: dict[str, Path] = {}
    twice: dict[str, str] = {}
    for name in names:
        path = folder / name
        if path.suffix.lower() not in SUFFIXES or not VID.fullmatch(path.stem):
            continue
        if path.stem in found:
            twice.setdefault(path.stem, f"{found[path.stem].name} and {name}")
        found.setdefault(path.stem, path)
    return found, twice


def _check_together(table: Table) -> None:
    """Report rows that contradict other rows, and store how many people rated."""
    seen: dict[tuple[str, str, float, float], int] = {}
    split: dict[str, Row] = {}
    for row in table.rows:
        key = (row.vid, row.query, row.start, row.end)
        if key in seen:
            table.complain(row.line, "row", row.query, f"is the same window as line {seen[key]}")
        seen.setdefault(key, row.line)
        first = split.setdefault(row.vid, row)
        if first.split != row.split:
            table.complain(row.line, "split", row.split, f"puts {row.vid} in two splits (line {first.line})")
    counts = {len(rated) for row in table.rows for rated in (row.ratings or {}).values()}
    scored = {row.score is not None or row.ratings is not None for row in table.rows}
    if len(counts) > 1 or len(scored) > 1:
        table.complaints.append(_uneven(table.rows))
    table.raters = next(iter(counts), 0) or int(scored == {True})
    if not table.complaints:
        _check_splits(table)


def _uneven(rows: Sequence[Row]) -> str:
    """Return the sentence about clips that unequal numbers of people rated, with a line for each number."""
    lines: dict[int, int] = {}
    for row in rows:
        for n in {len(rated) for rated in row.ratings.values()} if row.ratings else {int(row.score is not None)}:
            lines.setdefault(n, row.line)
    found = ", ".join(f"{n} in line {line}" for n, line in sorted(lines.items()))
    return f"every clip needs the same number of ratings, and the first rows of each number are: {found}"


def _check_splits(table: Table) -> None:
    found = set(split_of(table).values())
    if missing := [split for split in ("train", "val") if split not in found]:
        table.complaints.append(
            f"no video is left for {' and '.join(missing)}: training needs a video there"
            f" (named: {counted(len(table.vids), 'video')})"
        )
