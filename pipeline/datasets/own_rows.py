"""The rows of a user's own dataset as they were read from its file, and all mistakes in them.

No row is dropped. A reader reports every row that cannot be used, and `Table.refuse` raises one error about all of
them.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from pipeline.errors import PipelineError, printable
from pipeline.nouns import counted

SPLITS = ("train", "val", "test")
HELD_OUT = 0.15
"""Share of the videos that val gets, and that test gets, if the file assigns no splits."""

SHOWN = 50
"""Number of bad rows that an error lists. The others are only counted."""


@dataclass(frozen=True)
class Row:
    """One window of one query. line: its line in the file. ratings: the ratings of clips, if the file has them."""

    line: int
    vid: str
    query: str
    start: float
    end: float
    score: int | None = None
    split: str | None = None
    ratings: Mapping[int, tuple[int, ...]] | None = None


@dataclass
class Table:
    """The content of a file. files: vid → the video's file. twice: vid → the names of two videos that both have this
    vid. complaints: a sentence for each mistake.

    bad: lines of the bad rows. raters: the number of people who rated a clip; 0 if nobody did.
    """

    path: Path
    folder: Path
    files: Mapping[str, Path]
    rows: list[Row] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    bad: set[int] = field(default_factory=set)
    n_rows: int = 0
    raters: int = 0
    twice: Mapping[str, str] = field(default_factory=dict)

    def complain(self, line: int, column: str, value: object, why: str) -> None:
        """Add a complaint about a value."""
        shown = f"{value:.10g}" if isinstance(value, float) else repr(value)[:80]
        self.bad.add(line)
        self.complaints.append(f"line {line}, {column}: {printable(shown)} {why}")

    def refuse(self) -> None:
        """Raise PipelineError with every complaint, and with the number of rows that are good."""
        if not self.complaints:
            return
        shown = sorted(self.complaints, key=_line_in)[:SHOWN]
        if len(self.complaints) > SHOWN:
            shown.append(f"and {len(self.complaints) - SHOWN} more")
        good = self.n_rows - len(self.bad)
        are_good = f"{good:,} {'is' if good == 1 else 'are'} good"
        counts = f"{len(self.bad):,} of {counted(self.n_rows, 'row')} cannot be used, {are_good}"
        raise PipelineError(
            "\n  ".join([f"{counts}:", *shown]), where=self.path, remedy="correct these rows, or take them out"
        )

    @property
    def vids(self) -> list[str]:
        """Return every video that a row names, once, in the order of the file."""
        return list(dict.fromkeys(row.vid for row in self.rows))


def split_of(table: Table) -> dict[str, str]:
    """Return vid → split. The file assigns the splits, or else a fixed hash of the vid does.

    The videos are put in the order of their hash. The first tenths are train, the last ones val and test. Of three
    videos or more, val and test get at least one each. Of two, test gets none.
    """
    if any(row.split for row in table.rows):
        return {row.vid: str(row.split) for row in table.rows}
    order = sorted(table.vids, key=lambda vid: sha256(vid.encode()).digest())
    n = max(1, round(HELD_OUT * len(order)))
    n_test = n if len(order) > 2 else 0
    ends = len(order) - n - n_test, len(order) - n_test
    return {vid: SPLITS[sum(place >= end for end in ends)] for place, vid in enumerate(order)}


def _line_in(complaint: str) -> int:
    """Return the line that a complaint is about; complaints about the whole file come last."""
    found = re.match(r"line (\d+),", complaint)
    return int(found[1]) if found else sys.maxsize
