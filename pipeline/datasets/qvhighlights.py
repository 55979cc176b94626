"""QVHighlights: moments and rated clips of 2 seconds in 150-second pieces of YouTube videos.

Released rows are the common records already; this module refuses what the released files never contain.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from pipeline.datasets.ground_truth import window_complaint
from pipeline.datasets.rows import Released, demand, demand_one_duration, demand_whole_qid, is_table
from pipeline.datasets.rows import read as read_rows
from pipeline.errors import PipelineError
from pipeline.records import Query, Window

CLIP_S = 2
ANNOTATORS = 3

RELEASED = {
    "fd28404187468f57cf99242be2963127dc9b4aef26c7de3cb9469569801f2625": Released("train", 7218, 7100, 294.94),
    "f668a1eaea156ec5315e14718999cea043a8cf948d3cafbd8e8d655318c3cd02": Released("val", 1550, 1519, 63.13),
    "0462f0cb582b54913671ba5ebfc325931ffa6d422c60cb72520749fc6d5d05a3": Released("test", 1542, 1529, 63.52),
    "bd50ec6bb5dd3f72571126ba5fdc7418efdd9219a9487984e483a02e2ce5d493": Released("test", 1542, 1529, 63.52),
}
"""By the SHA-256 of each released file. The first test file hides its ground truth."""

_VID = re.compile(r"(?P<youtube>[A-Za-z0-9_-]{11})_(?P<start>\d+\.\d)_(?P<end>\d+\.\d)")


def read(path: Path | str) -> list[Query]:
    """Queries of a file in the released form, in file order; durations and windows in seconds.

    Ground truth is in every row or in none (the public test file). Raises PipelineError naming file and line for a
    qid that is no integer, for windows that are empty, unsorted, overlapping or past the end, for clip ids that are not
    exactly the clips the windows cover, for ratings that are not three integers 0 to 4 per clip, and for a video with
    two durations.
    """
    queries: list[Query] = []
    durations: dict[str, float] = {}
    for where, query in read_rows(path):
        demand_whole_qid(query, where)
        demand_one_duration(query, durations, where)
        _check_video(query, where)
        if queries:
            demand(
                has_ground_truth(query) == has_ground_truth(queries[0]),
                "some rows of this file have ground truth and some have not",
                where,
            )
        if has_ground_truth(query):
            _check_ground_truth(query, where)
        queries.append(query)
    return queries


def has_ground_truth(query: Query) -> bool:
    """Whether the row carries windows or ratings; the public test file's rows do not."""
    return any(part is not None for part in (query.relevant_windows, query.relevant_clip_ids, query.saliency_scores))


def split_vid(vid: str) -> tuple[str, float, float]:
    """YouTube id, start and end in seconds of a `{youtube id}_{start}_{end}`.

    The id may contain `_` and begin with `-`. Raises PipelineError for anything else.
    """
    parts = _VID.fullmatch(vid)
    if parts is None:
        raise PipelineError("is no `{11 characters}_{start}_{end}`", where=f"vid {vid!r}", remedy="correct the vid")
    return parts["youtube"], float(parts["start"]), float(parts["end"])


def _check_video(query: Query, where: str) -> None:
    try:
        _, start, end = split_vid(query.vid)
    except PipelineError as error:
        raise PipelineError(f"vid {query.vid!r} {error.what}", where=where, remedy=error.remedy) from error
    demand(
        0 < query.duration <= end - start and query.duration % CLIP_S == 0,
        f"duration {query.duration} of {query.vid} is not an even number of seconds up to {end - start}",
        where,
    )


def _check_ground_truth(query: Query, where: str) -> None:
    windows, ids, scores = query.relevant_windows, query.relevant_clip_ids, query.saliency_scores
    if windows is None or ids is None or scores is None:
        raise PipelineError(
            f"qid {query.qid} lacks relevant_windows, relevant_clip_ids or saliency_scores",
            where=where,
            remedy="add it",
        )
    _check_windows(windows, query.duration, where)
    demand(
        isinstance(ids, tuple) and list(ids) == [clip for window in windows for clip in clips_of(window)],
        f"relevant_clip_ids of qid {query.qid} are not the clips of its windows",
        where,
    )
    demand(
        is_table(scores, ANNOTATORS) and len(scores) == len(ids) and all(s in range(5) for row in scores for s in row),
        f"saliency_scores of qid {query.qid} are not {ANNOTATORS} integers 0 to 4 for each of its {len(ids)} clips",
        where,
    )


def clips_of(window: Window) -> range:
    """Numbers of the clips that a window on even seconds covers; clip i is [2i, 2i + 2) seconds."""
    return range(int(window[0]) // CLIP_S, int(window[1]) // CLIP_S)


def _check_windows(windows: Sequence[Window], duration: float, where: str) -> None:
    demand(is_table(windows, 2) and len(windows) > 0, "relevant_windows is no list of [start, end]", where)
    impossible = window_complaint(windows, duration)
    demand(not impossible, impossible, where)
    previous_end = -1.0
    for start, end in windows:
        demand(start % CLIP_S == 0 and end % CLIP_S == 0, f"window [{start}, {end}] is off the {CLIP_S} s grid", where)
        demand(
            previous_end < start,
            f"window [{start}, {end}] touches the one before or is listed before it",
            where,
        )
        previous_end = end
