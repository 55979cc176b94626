"""Scores moment retrieval: IoU, average precision and R1 of windows, for all queries, thresholds and length ranges at
once.

The rules are those of the community's scorer (Moment-DETR's `standalone_eval`), also for NaN and ties. That scorer uses
two kinds of IoU, which differ in the last bit for decimal windows. The docstrings say where each of them is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.evaluation.summing import sums
from pipeline.ragged import Ragged, chunks

THRESHOLDS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
RANGES = {"full": (-np.inf, np.inf), "long": (30.0, 150.0), "middle": (10.0, 30.0), "short": (0.0, 10.0)}
"""Length range → the lengths of its ground-truth windows in seconds, without the lower end. `full` has all windows."""
MAX_PREDICTIONS = 10
CELLS = 8192
"""Largest number of padded ground-truth windows per chunk. It bounds intermediate arrays to a few MB."""


@dataclass(frozen=True)
class RangeScores:
    """The scores of each query, in the given order. They are NaN for a query without a ground-truth window in the
    range.

    ap: [queries, 10], average precision at each threshold, 0 to 1. iou: [queries], hull IoU of the first listed
    prediction with its best window, 0 to 1.
    """

    ap: np.ndarray
    iou: np.ndarray

    @property
    def present(self) -> np.ndarray:
        """Tell for each query, [queries], whether it has a window in the range."""
        return ~np.isnan(self.iou)

    def reaches(self, threshold: float) -> np.ndarray:
        """Return for each query, [queries], 1.0 if the first prediction's IoU is at least `threshold`, else 0.0."""
        return (self.iou >= threshold).astype(np.float64)


def score_moments(
    pooled: Sequence[Sequence[Any]], first: Sequence[Sequence[Any]], truths: Sequence[Sequence[Any]]
) -> dict[str, RangeScores]:
    """Score every query in the four length ranges.

    pooled: per query its predictions for AP, `[start_s, end_s, score]`, cut to ten by the caller **as listed**. first:
    per query the first listed prediction, for R1. truths: per query its windows `[start_s, end_s]`. Predictions of all
    lengths are kept in every range, so a right prediction of another length is a false positive there.
    """
    predicted = best_first(Ragged.of(pooled, 3))
    leading = np.array([window[:2] for window in first], dtype=np.float64).reshape(-1, 2)
    truth = Ragged.of(truths, 2)
    return {name: _score_range(predicted, leading, _within(truth, name)) for name in RANGES}


def sum_iou(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return intersection over (sum of lengths - intersection) of windows [..., 2] in seconds, broadcast. 0 / 0 gives
    NaN.

    It is used inside AP, and to choose the window that R1 compares with.
    """
    intersection = _intersection(predicted, truth)
    lengths = (predicted[..., 1] - predicted[..., 0]) + (truth[..., 1] - truth[..., 0])
    with np.errstate(invalid="ignore", divide="ignore"):
        return intersection / (lengths - intersection)


def hull_iou(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return intersection over the hull of both windows [..., 2] in seconds, broadcast. The hull is the smallest
    interval around both. An empty hull gives 0.

    It is used for R1 and mIoU.
    """
    hull = np.maximum(predicted[..., 1], truth[..., 1]) - np.minimum(predicted[..., 0], truth[..., 0])
    return np.divide(_intersection(predicted, truth), hull, out=np.zeros_like(hull), where=hull != 0)


def true_positives(iou: np.ndarray) -> np.ndarray:
    """Tell which predictions are right: iou as in `matched_windows` → [queries, predictions, 10], bool."""
    hits: np.ndarray = matched_windows(iou) >= 0
    return hits


def matched_windows(iou: np.ndarray) -> np.ndarray:
    """Match predictions to windows greedily, separately at each threshold.

    iou: [queries, predictions, windows], the best predictions first. NaN matches at every threshold, and -1 is padding.
    Returns [queries, predictions, 10], the index of the window that a prediction is matched to, or -1. A prediction is
    matched to the best free window with IoU >= threshold (the ActivityNet rule). Of equally good windows it is the one
    listed later, as in a stable sort that is reversed. The community's scorer reverses NumPy's default sort, which is
    stable for up to three windows; from four windows on its order of equal IoU depends on the CPU (docs/statistics.md).
    The order here never depends on the CPU.
    """
    preference = np.where(np.isnan(iou), np.inf, iou)[:, :, None, ::-1]
    reaches = preference >= np.array(THRESHOLDS)[:, None]
    free = np.ones((len(iou), len(THRESHOLDS), iou.shape[2]), dtype=bool)
    matched = np.full((*iou.shape[:2], len(THRESHOLDS)), -1, dtype=np.int32)
    for rank in range(iou.shape[1]):
        eligible = reaches[:, rank] & free
        taken = np.where(eligible, preference[:, rank], -1.0).argmax(axis=-1)[..., None]
        hit = np.take_along_axis(eligible, taken, axis=-1)
        np.put_along_axis(free, taken, np.take_along_axis(free, taken, axis=-1) & ~hit, axis=-1)
        matched[:, rank] = np.where(hit, iou.shape[2] - 1 - taken, -1)[..., 0]
    return matched


def moment_average_precision(hits: np.ndarray, n_windows: np.ndarray) -> np.ndarray:
    """Return interpolated average precision (VOC 2010): hits [queries, predictions, 10], n_windows [queries] →
    [queries, 10].

    Each true positive contributes the best precision at its rank or any later one, times the recall that it adds. The
    terms are summed in the community's order: by rank, with a zero at the end if windows are left without a hit.
    """
    ranks = np.arange(1, hits.shape[1] + 1)[:, None]
    found = hits.cumsum(axis=1)
    best = np.maximum.accumulate((found / ranks)[:, ::-1], axis=1)[:, ::-1]
    recall = found / n_windows[:, None, None]
    terms = np.diff(recall, axis=1, prepend=0.0) * best
    is_incomplete = found[:, -1:] < n_windows[:, None, None]
    terms = np.concatenate((terms, np.zeros_like(terms[:, :1])), axis=1)
    wanted = np.concatenate((hits, is_incomplete), axis=1)
    by_threshold = (array.transpose(0, 2, 1).reshape(-1, array.shape[1]) for array in (terms, wanted))
    return sums(*by_threshold).reshape(len(hits), -1)


def _intersection(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    overlap = np.minimum(predicted[..., 1], truth[..., 1]) - np.maximum(predicted[..., 0], truth[..., 0])
    return np.maximum(overlap, 0.0)


def best_first(predicted: Ragged) -> Ragged:
    """Sort the predictions of each query by score, descending. Equal scores keep their listed order."""
    order = np.lexsort((-predicted.values[:, 2], predicted.row))
    return Ragged(predicted.values[order, :2], predicted.lengths)


def _within(truth: Ragged, name: str) -> Ragged:
    above, up_to = RANGES[name]
    length_s = truth.values[:, 1] - truth.values[:, 0]
    return truth.keep((length_s > above) & (length_s <= up_to))


def _score_range(predicted: Ragged, leading: np.ndarray, truth: Ragged) -> RangeScores:
    scores = RangeScores(np.full((len(leading), len(THRESHOLDS)), np.nan), np.full(len(leading), np.nan))
    for rows in chunks(truth.lengths, CELLS):
        windows = truth.padded(rows, fill=np.nan)
        padding = np.isnan(windows[..., 0])
        iou = sum_iou(predicted.padded(rows, fill=0.0)[:, :, None], windows[:, None])
        iou[np.broadcast_to(padding[:, None], iou.shape)] = -1.0
        iou[np.arange(iou.shape[1]) >= predicted.lengths[rows, None]] = -1.0
        scores.ap[rows] = moment_average_precision(true_positives(iou), truth.lengths[rows])
        scores.iou[rows] = _leading_iou(leading[rows], windows, padding)
    return scores


def _leading_iou(leading: np.ndarray, windows: np.ndarray, padding: np.ndarray) -> np.ndarray:
    """Return the hull IoU of each first prediction with the window of largest sum IoU.

    Of equal windows the first counts, and NaN counts as the largest.
    """
    iou = np.where(padding, -np.inf, sum_iou(leading[:, None], windows))
    best = iou.argmax(axis=1)
    return hull_iou(leading, windows[np.arange(len(windows)), best])
