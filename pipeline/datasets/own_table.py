"""The file of a dataset of one's own, read as a whole: every row that cannot be used is named, and none is dropped.

CSV    video,query,start,end[,score][,split], times in seconds; several rows of one video and query are several windows
JSONL  rows in the community's form: query, vid, relevant_windows, and (of rated clips) relevant_clip_ids and
       saliency_scores; a key `split` where the file says so
"""

from __future__ import annotations

import csv
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from math import isfinite
from pathlib import Path
from typing import Any

from pipeline import files, records
from pipeline.datasets.own import SUFFIXES
from pipeline.errors import PipelineError, printable

COLUMNS = ("video", "query", "start", "end")
OPTIONAL = ("score", "split")
SPLITS = ("train", "val", "test")
HELD_OUT = 0.15
"""Share of the videos that val gets, and test, where the file deals out no splits."""

VID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,199}")
"""What a vid may be: it becomes part of paths."""

HIGHEST = 4
"""The best score of a window; 0 is the worst."""

SHOWN = 50
"""Number of bad rows that an error lists. The others are only counted."""


@dataclass(frozen=True)
class Row:
    """One window of one query. line: in the file. ratings: of clips, where the file gives them clip by clip."""

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
    """What a file holds. files: vid → the video's file. complaints: what is wrong, a sentence per bad row.

    bad: lines of the bad rows. raters: people who rated a clip; 0 where nobody did.
    """

    path: Path
    folder: Path
    files: Mapping[str, Path]
    rows: list[Row] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    bad: set[int] = field(default_factory=set)
    n_rows: int = 0
    raters: int = 0

    def complain(self, line: int, column: str, value: object, why: str) -> None:
        """Remember what is wrong with a value."""
        self.bad.add(line)
        self.complaints.append(f"line {line}, {column}: {printable(repr(value)[:80])} {why}")

    def refuse(self) -> None:
        """Raise PipelineError with every complaint, and with the number of rows that are good."""
        if not self.complaints:
            return
        shown = sorted(self.complaints, key=_line_in)[:SHOWN]
        if len(self.complaints) > SHOWN:
            shown.append(f"and {len(self.complaints) - SHOWN} more")
        counts = f"{len(self.bad)} of {self.n_rows} rows cannot be used, {self.n_rows - len(self.bad)} are good"
        raise PipelineError(
            "\n  ".join([f"{counts}:", *shown]), where=self.path, remedy="correct these rows, or take them out"
        )

    @property
    def vids(self) -> list[str]:
        """Every video that a row names, once, in the order of the file."""
        return list(dict.fromkeys(row.vid for row in self.rows))


def _line_in(complaint: str) -> int:
    """Return the line that a complaint is about; complaints about the whole file come last."""
    found = re.match(r"line (\d+),", complaint)
    return int(found[1]) if found else sys.maxsize


def read(path: Path | str, folder: Path | str) -> Table:
    """Read a file and compare it with the videos of a folder. No video is opened.

    Raises PipelineError for a file or a folder that cannot be read, and for a header that lacks columns. What is wrong
    with rows stands in the table's complaints.
    """
    files.refuse_special(Path(path))
    table = Table(Path(path), Path(folder), _videos_in(Path(folder)))
    lines = _csv_rows(table) if Path(path).suffix.lower() == ".csv" else _jsonl_rows(table)
    table.rows = list(lines)
    if not table.n_rows:
        raise PipelineError("holds no row", where=path, remedy=f"write rows of {','.join(COLUMNS)}")
    _check_together(table)
    return table


def split_of(table: Table) -> dict[str, str]:
    """Return vid → split: as the file says or, where it says none, by a fixed hash of the vid.

    The videos are put in the order of their hash. The first tenths are train, the last ones val and test, which get at
    least a video each.
    """
    if any(row.split for row in table.rows):
        return {row.vid: str(row.split) for row in table.rows}
    order = sorted(table.vids, key=lambda vid: sha256(vid.encode()).digest())
    n = max(1, round(HELD_OUT * len(order)))
    n_test = n if len(order) > 2 else 0
    ends = len(order) - n - n_test, len(order) - n_test
    return {vid: SPLITS[sum(place >= end for end in ends)] for place, vid in enumerate(order)}


def _videos_in(folder: Path) -> dict[str, Path]:
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if entry.is_file())
    except OSError as error:
        raise files.cannot_read(folder, error) from error
    found: dict[str, Path] = {}
    for name in names:
        path = folder / name
        if path.suffix.lower() not in SUFFIXES or not VID.fullmatch(path.stem):
            continue
        if path.stem in found:
            raise PipelineError(
                f"holds two videos of one name, {found[path.stem].name} and {name}",
                where=folder,
                remedy="rename one of them: a video is known by its name without the suffix",
            )
        found[path.stem] = path
    return found


def _csv_rows(table: Table) -> Iterator[Row]:
    try:
        with files.open_text(table.path) as file:
            reader = csv.DictReader(file, strict=True)
            header = [name.strip() for name in reader.fieldnames or ()]
            reader.fieldnames = header
            _check_header(header, table.path)
            for raw in reader:
                if (row := _row_of(raw, reader.line_num, table)) is not None:
                    yield row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise PipelineError(f"cannot be read ({reason})", where=table.path, remedy="name a UTF-8 CSV file") from error


def _check_header(header: Sequence[str], path: Path) -> None:
    missing = [name for name in COLUMNS if name not in header]
    unknown = [name for name in header if name not in (*COLUMNS, *OPTIONAL)]
    twice = sorted({name for name in header if header.count(name) > 1})
    if missing or unknown or twice:
        said = [f"lacks {', '.join(missing)}"] * bool(missing)
        said += [f"has the unknown columns {', '.join(map(printable, unknown))}"] * bool(unknown)
        said += [f"has {', '.join(twice)} twice"] * bool(twice)
        allowed = f"{','.join(COLUMNS)}[,{'][,'.join(OPTIONAL)}]"
        raise PipelineError(f"its header {' and '.join(said)}", where=f"{path}, line 1", remedy=f"write {allowed}")


def _row_of(raw: Mapping[str | None, Any], line: int, table: Table) -> Row | None:
    """Return a row of the CSV, or None for one that cannot be used, which is complained about."""
    table.n_rows += 1
    if None in raw or None in raw.values():
        table.complain(line, "row", ",".join(str(v) for v in raw.values() if v is not None), "has other columns")
        return None
    before = len(table.complaints)
    cells = {str(key): str(value).strip() for key, value in raw.items()}
    vid = _vid(cells["video"], line, "video", table)
    query = _query(cells["query"], line, table)
    start, end = (_number(cells[column], line, column, table) for column in ("start", "end"))
    score = _score(cells["score"], line, table) if "score" in cells else None
    split = _split(cells["split"], line, table) if "split" in cells else None
    if start is not None and end is not None:
        _check_window(start, end, line, table)
    if len(table.complaints) > before or start is None or end is None:
        return None
    return Row(line, vid, query, start, end, score, split)


def _vid(value: str, line: int, column: str, table: Table) -> str:
    name = Path(value).name
    has_suffix = Path(name).suffix.lower() in SUFFIXES
    vid = Path(name).stem if has_suffix else name
    there = table.files.get(vid)
    is_another = has_suffix and there is not None and there.suffix.lower() != Path(name).suffix.lower()
    if name != value or there is None or is_another:
        why = f"is no video in the folder {table.folder}" + (
            f" (there is {there.name})" if there and is_another else ""
        )
        if not VID.fullmatch(vid):
            why += " (a name holds letters, digits, `_`, `-` and `.` only)"
        table.complain(line, column, value, why)
    return vid


def _query(value: str, line: int, table: Table) -> str:
    if not value:
        table.complain(line, "query", value, "is empty")
    elif printable(value) != value:
        table.complain(line, "query", value, "holds characters that cannot be printed")
    return value


def _text(value: Any, line: int, table: Table) -> str:
    """Return the query of a JSON row. Anything but a text is complained about."""
    if value is not None and not isinstance(value, str):
        table.complain(line, "query", value, "is no text")
        return ""
    return _query((value or "").strip(), line, table)


def _number(value: Any, line: int, column: str, table: Table) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = float("nan")
    if not isfinite(number) or isinstance(value, bool):
        table.complain(line, column, value, "is no number of seconds")
        return None
    return number


def _check_window(start: float, end: float, line: int, table: Table) -> None:
    if start < 0:
        table.complain(line, "start", start, "lies before the video begins")
    if end <= start:
        table.complain(line, "end", end, f"does not lie after the start at {start:g} s")


def _score(value: str, line: int, table: Table) -> int | None:
    if value not in {str(score) for score in range(HIGHEST + 1)}:
        table.complain(line, "score", value, f"is none of 0 to {HIGHEST}")
        return None
    return int(value)


def _split(value: Any, line: int, table: Table) -> str | None:
    if value not in SPLITS:
        table.complain(line, "split", value, f"is none of {', '.join(SPLITS)}")
        return None
    return str(value)


def _jsonl_rows(table: Table) -> Iterator[Row]:
    lines = list(records.read_lines(table.path))
    says_split = any("split" in raw for _, raw, _ in lines if raw is not None)
    for line, raw, problem in lines:
        table.n_rows += 1
        if raw is None or problem:
            table.complain(line, "row", "", problem)
            continue
        yield from _windows_of(raw, line, table, says_split=says_split)


def _windows_of(raw: Mapping[str, Any], line: int, table: Table, *, says_split: bool) -> Iterator[Row]:
    before = len(table.complaints)
    vid = _vid(str(raw.get("vid", "")), line, "vid", table)
    query = _text(raw.get("query"), line, table)
    split = _split(raw.get("split"), line, table) if says_split else None
    windows = raw.get("relevant_windows")
    if not isinstance(windows, list) or not windows or not all(isinstance(w, list) and len(w) == 2 for w in windows):
        table.complain(line, "relevant_windows", windows, "holds no [start, end]")
        return
    bounds = [tuple(_number(value, line, "relevant_windows", table) for value in window) for window in windows]
    for start, end in bounds:
        if start is not None and end is not None:
            _check_window(start, end, line, table)
    ratings = _ratings(raw, line, table)
    if len(table.complaints) == before:
        for start, end in bounds:
            yield Row(line, vid, query, start or 0.0, end or 0.0, None, split, ratings)


def _ratings(raw: Mapping[str, Any], line: int, table: Table) -> Mapping[int, tuple[int, ...]] | None:
    clips, scores = raw.get("relevant_clip_ids"), raw.get("saliency_scores")
    if clips is None and scores is None:
        return None
    if not isinstance(clips, list) or not clips or not all(type(clip) is int for clip in clips):
        table.complain(line, "relevant_clip_ids", clips, "is no list of whole numbers")
        return None
    if len(set(clips)) < len(clips):
        table.complain(line, "relevant_clip_ids", clips, "names a clip twice")
        return None
    if not isinstance(scores, list) or len(scores) != len(clips) or not all(map(_is_rating, scores)):
        table.complain(line, "saliency_scores", scores, f"is no row of 0 to {HIGHEST} for each of relevant_clip_ids")
        return None
    return {clip: tuple(row) for clip, row in zip(clips, scores, strict=True)}


def _is_rating(row: object) -> bool:
    """Tell whether a value is a row of whole numbers from 0 to the best score, of which there is at least one."""
    return isinstance(row, list) and bool(row) and all(type(s) is int and 0 <= s <= HIGHEST for s in row)


def _check_together(table: Table) -> None:
    """Complain about rows that are right alone and wrong beside others, and note how many people rated."""
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
            f" ({len(table.vids)} videos are named)"
        )
