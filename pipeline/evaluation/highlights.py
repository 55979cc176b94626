"""Highlight detection on QVHighlights: HL-mAP and HIT@1 per level, for all queries and annotators at once.

The average precision is that of the community's scorer: the plain mean of interpolated precisions over the distinct
scores whose clips include a positive clip. It is not weighted by recall, and equal scores count once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.evaluation.summing import sums
from pipeline.ragged import Ragged, chunks

LEVELS = {"Fair": 2, "Good": 3, "VeryGood": 4}
"""Level → the rating (0 to 4) from which a clip is positive for an annotator."""
CELLS = 16384
"""Largest number of padded clips per chunk. Each clip holds a label per level and annotator (nine on QVHighlights)."""


@dataclass(frozen=True)
class HighlightScores:
    """The scores of each query, in the given order.

    ap: [queries, annotators, 3 levels], 0 to 1. hit: [queries, 3 levels], bool.
    """

    ap: np.ndarray
    hit: np.ndarray


def score_highlights(
    scores: Sequence[Sequence[float]],
    n_clips: Sequence[int],
    clip_ids: Sequence[Sequence[int]],
    ratings: Sequence[Sequence[Sequence[int]]],
    *,
    raters: int,
) -> HighlightScores:
    """Score every query's saliency against each annotator.

    scores: per query one number per clip, in time order. For AP they are cut to the video's `n_clips`, or filled up
    with 0.0. clip_ids, ratings: per query the rated clips and their `raters` ratings; other clips count as rated 0.
    """
    predicted, rated, given = Ragged.of(scores), Ragged.of(clip_ids), Ragged.of(ratings, raters)
    clips = np.array(n_clips, np.int64)
    result = HighlightScores(
        np.zeros((len(clips), raters, len(LEVELS))), np.zeros((len(clips), len(LEVELS)), dtype=bool)
    )
    for rows in chunks(clips, CELLS):
        truth = _ratings(rated.padded(rows, fill=-1.0), given.padded(rows, fill=0.0), int(clips[rows].max()))
        values = predicted.padded(rows, fill=-np.inf)
        fitted = fit(values, predicted.lengths[rows], clips[rows])
        order = np.argsort(-fitted, axis=1, kind="stable").T
        positive = np.take_along_axis(truth, order[:, :, None], axis=0)[..., None] >= np.array(list(LEVELS.values()))
        result.ap[rows] = highlight_average_precision(np.take_along_axis(fitted.T, order, axis=0), positive)
        result.hit[rows] = _hits(values.argmax(axis=1), clips[rows], truth)
    return result


def fit(values: np.ndarray, lengths: np.ndarray, clips: np.ndarray) -> np.ndarray:
    """Make score vectors as long as their videos: values [queries, longest] → [queries, most clips].

    A missing clip gets 0.0 by the community's rule (this is not neutral, because scores are logits). A surplus clip is
    cut. Positions after a video's last clip are -inf.
    """
    steps = np.arange(clips.max())
    fitted = np.where(steps < clips[:, None], 0.0, -np.inf)
    width = min(values.shape[1], len(steps))
    given = steps[:width] < np.minimum(lengths, clips)[:, None]
    fitted[:, :width][given] = values[:, :width][given]
    return fitted


def highlight_average_precision(scores: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Return the community's average precision of highlights. The clip axis comes first, so that accumulating is
    vectorised.

    scores: [clips, queries], descending, -inf after the last clip. positive: [clips, queries, ...], bool, in the same
    order. Returns [queries, ...], with 0 if no clip is positive. The terms are summed in the community's order, from
    the lowest score to the highest.
    """
    ends_group = np.isfinite(scores)
    ends_group[:-1] &= scores[:-1] != scores[1:]
    ends_group = ends_group.reshape(ends_group.shape + (1,) * (positive.ndim - 2))
    ranks = np.arange(1.0, len(scores) + 1).reshape(-1, *(1,) * (positive.ndim - 1))
    found = np.where(ends_group, positive.cumsum(axis=0, dtype=np.int32), 0)
    found_before = np.zeros_like(found)
    found_before[1:] = np.maximum.accumulate(found, axis=0)[:-1]
    interpolated = np.maximum.accumulate((found / ranks)[::-1], axis=0)[::-1]
    counts = found > found_before
    lowest_first = (np.moveaxis(array[::-1], 0, -1).reshape(-1, len(scores)) for array in (interpolated, counts))
    return sums(*lowest_first).reshape(positive.shape[1:]) / np.maximum(counts.sum(axis=0), 1)


def _ratings(clip_ids: np.ndarray, given: np.ndarray, clips: int) -> np.ndarray:
    """Return the ratings of all clips, [clips + 1, queries, raters]. The padding of `clip_ids` (-1) writes to the last
    row, which is never read."""
    truth = np.zeros((clips + 1, given.shape[0], given.shape[2]), dtype=np.int8)
    truth[clip_ids.astype(np.int64), np.arange(len(clip_ids))[:, None]] = given
    return truth


def _hits(top: np.ndarray, clips: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Tell whether any annotator rates the top-scored clip at each level. Clips after the video's end have no
    rating."""
    rating = truth[np.minimum(top, clips), np.arange(len(top))].max(axis=-1)
    reached: np.ndarray = rating[:, None] >= np.array(list(LEVELS.values()))
    return reached
