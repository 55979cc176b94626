"""Reads and writes CSV files. Every value is text, and a file that cannot be read ends with an error of one sentence.

The csv module is used and not pandas, because tables are read while the workflow is planned and by jobs that have no
work. The import of pandas would triple the time of such a command, and take 50 MB. Text is kept unchanged: a vid of
digits keeps its zeros, a vid may be called `NA`, and a duration stays an exact fraction. Code that groups, ranks or
averages rows makes a pandas DataFrame of them.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pipeline import files, limits
from pipeline.errors import PipelineError

LONGEST_LINE = 1 << 20
"""Longest line in characters, 1 MiB. A cell may have 131,072 characters, the limit of Python's csv module."""


def read(path: Path, remedy: str = files.MADE_HERE, columns: Iterable[str] = ()) -> list[dict[str, str]]:
    """Return the rows of a table, each as column → text. remedy: what a user can do about a file that is no table.

    Raises PipelineError for a file that is missing or is no table, for one that lacks one of these columns, and for a
    row with other columns than the header.
    """
    with reader(path, remedy) as rows:
        if lacking := [name for name in columns if name not in (rows.fieldnames or ())]:
            raise PipelineError(f"has no column {', '.join(lacking)}", where=path, remedy=remedy)
        found = []
        for row in rows:
            if None in row or None in row.values():
                where = f"{path}, line {rows.line_num}"
                raise PipelineError("does not have the columns of the header", where=where, remedy=remedy)
            found.append(row)
        return found


@contextmanager
def reader(path: Path, remedy: str) -> Iterator[csv.DictReader[str]]:
    """Open a table row by row, for callers that report the line of a mistake.

    A row that is too long has the key None, and one that is too short has values that are None. Raises PipelineError
    for a file that cannot be read, also while its rows are read, and for a line longer than LONGEST_LINE.
    """
    try:
        with files.open_text(path) as file:
            yield csv.DictReader(limits.lines_of(file.readline, LONGEST_LINE), strict=True)
    except (OSError, UnicodeDecodeError, limits.TooLongError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise PipelineError(f"cannot be read ({reason})", where=path, remedy=remedy) from error


def write(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table. The file appears when it is complete. Raises PipelineError for a folder that cannot be written."""
    with files.atomic(path) as file:
        file.write(text(columns, rows))


def text(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table as CSV text, with a line for the names of the columns and one for each row."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows([columns, *rows])
    return buffer.getvalue()
