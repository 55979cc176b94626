"""Reads a user's own CSV: `video,query,start,end[,score][,split]`, with a row for each window and times in seconds."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from pipeline import csv_file, files
from pipeline.datasets import own_cells as cells
from pipeline.datasets.own_rows import Row, Table
from pipeline.errors import PipelineError, printable
from pipeline.nouns import counted

COLUMNS = ("video", "query", "start", "end")
OPTIONAL = ("score", "split")
OTHER_SIGNS = {";": "semicolons", "\t": "tabs", "|": "bars"}
"""The signs that spreadsheets write between values in place of commas → their names."""


def rows_of(table: Table) -> Iterator[Row]:
    """Yield the rows of the table's file that have no mistake in themselves. Mistakes of other rows are added to the
    table's complaints.

    Raises PipelineError for a file that cannot be read, and for a header that lacks columns.
    """
    with csv_file.reader(table.path, "name a UTF-8 CSV file") as reader:
        header = [name.strip() for name in reader.fieldnames or ()]
        reader.fieldnames = header
        _check_header(header, table.path)
        while True:
            first = reader.line_num + 1
            try:
                raw = next(reader, None)
            except csv.Error as error:
                _complain_of_quotes(first, str(error), table)
                return
            if raw is None:
                return
            if (row := _row_of(raw, reader.line_num, table)) is not None:
                yield row


def _complain_of_quotes(first: int, reason: str, table: Table) -> None:
    """Add a complaint about quotes after which nothing more can be read. first: the line at which the row begins."""
    table.n_rows += 1
    with files.open_text(table.path) as file:
        beginning = next(islice(file, first - 1, None), "").strip()
    if "unexpected end" in reason:
        why = "a quote is opened and not closed, so the rows after it cannot be read"
    else:
        why = f"a quote is in the wrong place ({reason}), so the rows after it cannot be read"
    table.complain(first, "row", beginning, f"({why})")


def _check_header(header: Sequence[str], path: Path) -> None:
    if other := [sign for sign in OTHER_SIGNS if len(header) == 1 and header[0].count(sign) >= len(COLUMNS) - 1]:
        what = f"its values are separated by {OTHER_SIGNS[other[0]]}"
        raise PipelineError(what, where=f"{path}, line 1", remedy="separate them by commas")
    missing = [name for name in COLUMNS if name not in header]
    unknown = [name for name in header if name not in (*COLUMNS, *OPTIONAL)]
    twice = sorted(name for name, n in Counter(header).items() if n > 1)
    if missing or unknown or twice:
        said = [f"lacks {', '.join(missing)}"] * bool(missing)
        said += [f"has the unknown columns {', '.join(map(printable, unknown))}"] * bool(unknown)
        said += [f"has {', '.join(twice)} twice"] * bool(twice)
        allowed = f"{','.join(COLUMNS)}[,{'][,'.join(OPTIONAL)}]"
        raise PipelineError(f"its header {' and '.join(said)}", where=f"{path}, line 1", remedy=f"write {allowed}")


def _row_of(raw: Mapping[str | None, Any], line: int, table: Table) -> Row | None:
    """Return a row of the CSV, or None if it cannot be used. Its mistake is added to the table's complaints."""
    table.n_rows += 1
    if None in raw or None in raw.values():
        values = [str(value) for key, value in raw.items() if key is not None and value is not None]
        values += raw.get(None, [])
        columns = counted(len(raw.keys() - {None}), "column")
        why = f"has {counted(len(values), 'value')} for {columns} (put quotes around a value with a comma)"
        table.complain(line, "row", ",".join(values), why)
        return None
    before = len(table.complaints)
    given = {str(key): str(value).strip() for key, value in raw.items()}
    vid = cells.vid(given["video"], line, "video", table)
    query = cells.query(given["query"], line, table)
    start, end = (cells.number(given[column], line, column, table) for column in ("start", "end"))
    score = cells.score(given["score"], line, table) if "score" in given else None
    split = cells.split(given["split"], line, table) if "split" in given else None
    if start is not None and end is not None:
        cells.check_window(start, end, line, table)
    if len(table.complaints) > before or start is None or end is None:
        return None
    return Row(line, vid, query, start, end, score, split)
