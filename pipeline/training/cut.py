"""`max_clips` shortens videos. This module finds the moments and clip scores that remain for a query of such a video.

The released loaders keep the first `max_clips` rows and have no rule for labels after them. QVHighlights needs none:
its longest video has 75 clips. So the rules here are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pipeline.grids import whole_clips
from pipeline.records import Query


def cut_query(query: Query, n_clips: int, clip_s: float) -> Query:
    """Return the query as if its video ended after `n_clips` clips: windows are cut there, and what lies beyond is
    removed.

    `duration` stays the annotated one. Ratings are of clips of the same grid (QVHighlights, TVSum: 2 s).
    """
    end = n_clips * clip_s
    windows = query.relevant_windows
    if windows is not None:
        windows = tuple((start, min(stop, end)) for start, stop in windows if start < end)
    ids, scores = query.relevant_clip_ids, query.saliency_scores
    if ids is not None and scores is not None:
        pairs = [(clip, score) for clip, score in zip(ids, scores, strict=True) if clip < n_clips]
        ids, scores = tuple(clip for clip, _ in pairs), tuple(score for _, score in pairs)
    return replace(query, relevant_windows=windows, relevant_clip_ids=ids, saliency_scores=scores)


def has_moments(query: Query) -> bool:
    """Tell whether a query of a shortened video still has a window. Queries of TVSum have none and need none."""
    return query.label is not None or bool(query.relevant_windows)


def clip_scores(scores: Sequence[float], query: Query, clip_s: float, *, is_cut: bool) -> list[float]:
    """Return the predicted scores of the clips that were seen, without clips after the annotated end.

    clip_s: seconds of a rated clip. is_cut: whether `max_clips` hid clips. Hidden clips get the lowest score
    of those that were seen, so they rank last.
    """
    wanted = len(query.label) if query.label is not None else whole_clips(query.duration, clip_s)
    seen = list(scores[:wanted])
    return seen + [min(seen)] * (wanted - len(seen)) if is_cut else seen
