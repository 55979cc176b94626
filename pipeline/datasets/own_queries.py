"""Makes the queries of a user's own dataset from its rows and the durations of its videos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import ceil, floor

from pipeline.datasets.own_rows import Row, Table, split_of
from pipeline.grids import grid_seconds, whole_clips
from pipeline.records import Query

BEYOND_S = 0.05
"""Number of seconds by which a window may end after its video, because its end was rounded. The window is cut at the
end of the video."""

HALF = Fraction(1, 2)


def check_durations(table: Table, durations: Mapping[str, Fraction | str], clip: str) -> None:
    """Report rows that do not fit their videos.

    durations: vid → seconds, or the reason why the video cannot be read. clip: the grid of the labels.
    """
    for row in table.rows:
        found = durations[row.vid]
        if isinstance(found, str):
            table.complain(row.line, "video", row.vid, f"cannot be used: {found}")
            continue
        if row.end > float(found) + BEYOND_S:
            table.complain(row.line, "end", row.end, f"is after the end of the video at {float(found):.3f} s")
        elif row.start >= float(found):
            table.complain(row.line, "start", row.start, f"is after the end of the video at {float(found):.3f} s")
        elif table.raters:
            _check_rated(row, found, clip, table)


def _check_rated(row: Row, duration: Fraction, clip: str, table: Table) -> None:
    n = whole_clips(float(duration), float(grid_seconds(clip)))
    if n < 1:
        lasts = f"lasts {float(duration):.4f} s, less than a clip of {clip}, so no clip of it can be rated"
        table.complain(row.line, "video", row.vid, f"{lasts}; clips may be shorter (--clip, or `clip` in the config)")
    elif beyond := [number for number in row.ratings or () if not 0 <= number < n]:
        table.complain(row.line, "relevant_clip_ids", beyond[0], "is no clip of the video")
    elif row.score is not None and not rated_clips(row, duration, clip):
        end = f"{float(n * grid_seconds(clip)):g} s, where the last whole clip of {clip} ends"
        table.complain(row.line, "start", row.start, f"begins a window that lies mostly after {end}: it rates no clip")


def queries_of(table: Table, durations: Mapping[str, Fraction], clip: str) -> dict[str, list[Query]]:
    """Return split → queries, in the order of the file. qids count the queries of the whole file from 0.

    Rows with the same video and the same query text become one query with several windows. A window gives its score to
    the clips that it rates (`rated_clips`). If two windows rate a clip, the clip gets the higher score.
    """
    split = split_of(table)
    grouped: dict[tuple[str, str], list[Row]] = {}
    for row in table.rows:
        grouped.setdefault((row.vid, row.query), []).append(row)
    found: dict[str, list[Query]] = {name: [] for name in sorted(set(split.values()))}
    for qid, ((vid, text), rows) in enumerate(grouped.items()):
        found[split[vid]].append(_query(qid, text, vid, rows, durations[vid], clip, table.raters))
    return found


def _query(qid: int, text: str, vid: str, rows: Sequence[Row], exact: Fraction, clip: str, raters: int) -> Query:
    duration = float(exact)
    windows = tuple(sorted((row.start, min(row.end, duration)) for row in rows))
    if not raters:
        return Query(qid, text, vid, duration, windows)
    rated: dict[int, tuple[int, ...]] = {}
    for row in rows:
        for number, scores in (row.ratings or _scored(row, exact, clip)).items():
            rated[number] = max(rated.get(number, scores), scores)
    clips = tuple(sorted(rated))
    return Query(qid, text, vid, duration, windows, clips, tuple(rated[number] for number in clips))


def rated_clips(row: Row, duration: Fraction, clip: str) -> range:
    """Return the clips that the score of a window rates.

    They are those whose middle lies in the window. A window with no clip's middle in it rates the clip that it shares
    most time with, or the earlier one of two equal clips. People rate only clips that fit whole into the video. So a
    window that lies mostly in the rest after the last of them rates no clip. The sums are exact: 1.05 s is one and a
    half clips of 0.7 s.
    """
    length = grid_seconds(clip)
    start, end = _decimal(row.start), min(_decimal(row.end), duration)
    n = whole_clips(float(duration), float(length))
    first, last = ceil(start / length - HALF), floor(end / length - HALF)
    if first > last:  # The window ends before the next middle, so it lies in two clips at most.
        begins = floor(start / length)
        border = (begins + 1) * length
        first = last = begins if 2 * border >= start + end else begins + 1
    return range(min(first, n), min(last + 1, n))


def _scored(row: Row, duration: Fraction, clip: str) -> dict[int, tuple[int, ...]]:
    return dict.fromkeys(rated_clips(row, duration, clip), (int(row.score or 0),))


def _decimal(seconds: float) -> Fraction:
    """Return exactly the number that was written in the file: 0.1 is one tenth."""
    return Fraction(repr(seconds))
