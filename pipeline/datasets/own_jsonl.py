"""Reads a user's own JSONL file in the community's form.

Its rows hold `query`, `vid` and `relevant_windows`. Rows with rated clips also hold `relevant_clip_ids` and
`saliency_scores`. If the file assigns splits, every row has a `split`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline import records
from pipeline.datasets import own_cells as cells
from pipeline.datasets.own_rows import Row, Table


def rows_of(table: Table) -> Iterator[Row]:
    """Yield a row for each window of the rows that have no mistake in themselves. Mistakes of other rows are added to
    the table's complaints.

    Raises PipelineError for a file that cannot be read.
    """
    lines = list(records.read_lines(table.path))
    unread = {line for line, raw, problem in lines if raw is None or problem}
    beginnings = records.beginnings(table.path, unread) if unread else {}
    says_split = any("split" in raw for _, raw, _ in lines if raw is not None)
    for line, raw, problem in lines:
        table.n_rows += 1
        if raw is None or problem:
            table.complain(line, "row", beginnings[line], problem)
            continue
        yield from _windows_of(raw, line, table, says_split=says_split)


def _windows_of(raw: Mapping[str, Any], line: int, table: Table, *, says_split: bool) -> Iterator[Row]:
    before = len(table.complaints)
    vid = cells.vid(str(raw.get("vid", "")), line, "vid", table)
    query = cells.text(raw.get("query"), line, table)
    split = cells.split(raw.get("split"), line, table) if says_split else None
    windows = raw.get("relevant_windows")
    if not isinstance(windows, list) or not windows or not all(isinstance(w, list) and len(w) == 2 for w in windows):
        table.complain(line, "relevant_windows", windows, "holds no [start, end]")
        return
    bounds = [tuple(cells.number(value, line, "relevant_windows", table) for value in window) for window in windows]
    for start, end in bounds:
        if start is not None and end is not None:
            cells.check_window(start, end, line, table)
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
        why = f"is no row of 0 to {cells.HIGHEST} for each of relevant_clip_ids"
        table.complain(line, "saliency_scores", scores, why)
        return None
    return {clip: tuple(row) for clip, row in zip(clips, scores, strict=True)}


def _is_rating(row: object) -> bool:
    """Tell whether a value is a row of whole numbers from 0 to the best score, of which there is at least one."""
    return isinstance(row, list) and bool(row) and all(type(s) is int and 0 <= s <= cells.HIGHEST for s in row)
