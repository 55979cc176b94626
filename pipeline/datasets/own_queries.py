"""The queries of a dataset of one's own, from its rows and the durations of its videos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import ceil, floor

from pipeline.datasets.own_rows import Row, Table, split_of
from pipeline.grids import grid_seconds, whole_clips
from pipeline.records import Query

BEYOND_S = 0.05
"""Seconds that a window may end after its video: the rounding of whoever wrote the file. It is cut at the end."""


def check_durations(table: Table, durations: Mapping[str, Fraction | str], clip: str) -> None:
    """Complain about rows that the videos do not allow.

    durations: vid → seconds, or the reason why the video cannot be read. clip: the grid of the labels.
    """
    clip_s = float(grid_seconds(clip))
    for row in table.rows:
        found = durations[row.vid]
        if isinstance(found, str):
            table.complain(row.line, "video", row.vid, f"cannot be used: {found}")
            continue
        if row.end > float(found) + BEYOND_S:
            table.complain(row.line, "end", row.end, f"lies after the video's end at {float(found):.3f} s")
        elif row.start >= float(found):
            table.complain(row.line, "start", row.start, f"lies after the video's end at {float(found):.3f} s")
        if table.raters and whole_clips(float(found), clip_s) < 1:
            table.complain(row.line, "video", row.vid, f"is shorter than a clip of {clip}, so no clip can be rated")
        if beyond := [k for k in row.ratings or () if not 0 <= k < whole_clips(float(found), clip_s)]:
            table.complain(row.line, "relevant_clip_ids", beyond[0], "is no clip of the video")


def queries_of(table: Table, durations: Mapping[str, Fraction], clip: str) -> dict[str, list[Query]]:
    """Return split → queries, in the order of the file. qids count the queries of the whole file from 0.

    Rows with the same video and the same query text become one query with several windows. A window with a score gives
    that score to every clip whose middle lies in it, and to one clip at least. If two windows cover a clip, the clip
    gets the higher score.
    """
    split = split_of(table)
    grouped: dict[tuple[str, str], list[Row]] = {}
    for row in table.rows:
        grouped.setdefault((row.vid, row.query), []).append(row)
    found: dict[str, list[Query]] = {name: [] for name in sorted(set(split.values()))}
    for qid, ((vid, text), rows) in enumerate(grouped.items()):
        found[split[vid]].append(_query(qid, text, vid, rows, float(durations[vid]), clip, table.raters))
    return found


def _query(qid: int, text: str, vid: str, rows: Sequence[Row], duration: float, clip: str, raters: int) -> Query:
    windows = tuple(sorted((row.start, min(row.end, duration)) for row in rows))
    if not raters:
        return Query(qid, text, vid, duration, windows)
    rated: dict[int, tuple[int, ...]] = {}
    for row in rows:
        for number, scores in (row.ratings or _scored(row, duration, clip)).items():
            rated[number] = max(rated.get(number, scores), scores)
    clips = tuple(sorted(rated))
    return Query(qid, text, vid, duration, windows, clips, tuple(rated[number] for number in clips))


def _scored(row: Row, duration: float, clip: str) -> dict[int, tuple[int, ...]]:
    clip_s = float(grid_seconds(clip))
    last = whole_clips(duration, clip_s) - 1
    first = min(max(ceil(row.start / clip_s - 0.5), 0), last)
    end = max(first + 1, min(floor(row.end / clip_s + 0.5), last + 1))
    return dict.fromkeys(range(first, end), (int(row.score or 0),))
