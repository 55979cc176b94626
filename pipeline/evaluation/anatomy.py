"""Finds the mistakes of predicted windows, and what each kind of mistake costs. It applies the idea of TIDE to moments.

At each of the ten IoU thresholds every predicted window is right or has one kind of mistake, and every true window is
found, nearly found or missed. Then only one kind is repaired, average precision is computed again, and the gain is the
cost of this kind. Costs do not add up to what is missing from 100, because the repair of one kind may uncover another.

Source: Bolya et al., TIDE, ECCV 2020, for the method and for the IoU of 0.1, below which a predicted window meets no
true window. The kinds about length are ours, because a window has no class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.evaluation.moments import (
    CELLS,
    MAX_PREDICTIONS,
    THRESHOLDS,
    best_first,
    matched_windows,
    moment_average_precision,
    sum_iou,
)
from pipeline.ragged import Ragged, chunks

LEAST = 1e-9
"""A cost below this is only a rounding error of the sums."""

MET = 0.1
"""A predicted window meets a true window if their IoU is at least this."""

RIGHT = "right"
BOUNDS = ("shifted", "too long", "too short")
FATES = (RIGHT, "elsewhere", *BOUNDS, "duplicate")
"""The results for a predicted window at a threshold: right, or a kind of mistake. The index in this list is the number
of a result."""

KINDS = {
    "elsewhere": "The window lies elsewhere: its IoU with every true window is below 0.1. Repair: it is removed.",
    "shifted": "The window has a length that could be right, but is shifted. Repair: it is moved.",
    "too long": "The window is so long that no shift could make it right. Repair: it gets the true bounds.",
    "too short": "The window is so short that no shift could make it right. Repair: it gets the true bounds.",
    "duplicate": "The window is right, but a better ranked one has the same true window. Repair: it is removed.",
    "ranked low": "The window is right, but wrong windows are ranked above it. Repair: right windows come first.",
    "one of several missed": "No predicted window met it, but one met another true window. Repair: it is not counted.",
    "all missed": "No true window was met by any predicted window. Repair: the query counts as right.",
}
"""Kind of mistake → its description and its repair. A window is moved only to a true window that no other window was
matched to. If there is none, the predicted window is removed."""


@dataclass(frozen=True)
class Anatomy:
    """The mistakes of one prediction file, per query in the given order. Predictions are sorted, the best first, and
    there are at most ten.

    ap: [queries, 10], average precision at each threshold, 0 to 1. costs: kind → [queries, 10], the gain in average
    precision. fates: [queries, predictions, 10], the index in `FATES`, -1 for padding. iou: [queries, predictions], the
    IoU with the true window that is overlapped most, -1 for padding. target: [queries, predictions], the index of that
    window.
    """

    ap: np.ndarray
    costs: dict[str, np.ndarray]
    fates: np.ndarray
    iou: np.ndarray
    target: np.ndarray

    def main_mistakes(self) -> list[str]:
        """Return for each query the kind with the largest cost, averaged over the thresholds, or '' if no kind has a
        cost."""
        mean = self._means()
        names = np.array([*self.costs, ""])
        return names[np.where(mean.max(axis=0) > LEAST, mean.argmax(axis=0), len(self.costs))].tolist()

    def has(self) -> dict[str, np.ndarray]:
        """Return kind → [queries], whether the query has this mistake: the repair of this kind alone would raise its
        average precision at one of the thresholds."""
        return {kind: mean > LEAST for kind, mean in zip(self.costs, self._means(), strict=True)}

    def _means(self) -> np.ndarray:
        """Return [kinds, queries], costs averaged over the thresholds."""
        return np.array([cost.mean(axis=1) for cost in self.costs.values()])

    def points(self, rows: np.ndarray | slice = slice(None)) -> dict[str, np.ndarray]:
        """Return kind → [10], the mean cost over some queries in points of mAP at each threshold."""
        return {kind: 100 * cost[rows].mean(axis=0) for kind, cost in self.costs.items()}


def dissect(predictions: Sequence[Sequence[Any]], truths: Sequence[Sequence[Any]]) -> Anatomy:
    """Find the mistakes in the predictions of every query.

    predictions: per query `[start_s, end_s, score]`; the first ten **as listed** count, as in scoring. truths: per
    query its windows `[start_s, end_s]`, at least one.
    """
    predicted, truth = best_first(Ragged.of([row[:MAX_PREDICTIONS] for row in predictions], 3)), Ragged.of(truths, 2)
    n, width = len(predictions), int(predicted.lengths.max(initial=0))
    found = Anatomy(
        np.zeros((n, len(THRESHOLDS))),
        {kind: np.zeros((n, len(THRESHOLDS))) for kind in KINDS},
        np.full((n, width, len(THRESHOLDS)), -1, np.int8),
        np.full((n, width), -1.0),
        np.full((n, width), -1, np.int32),
    )
    for rows in chunks(truth.lengths, CELLS):
        part = _Chunk.of(predicted, truth, rows, width)
        found.ap[rows], found.fates[rows] = part.ap(), part.fate
        found.iou[rows], found.target[rows] = part.best_iou, np.where(part.listed, part.target, -1)
        for kind, repaired in _repaired(part).items():
            found.costs[kind][rows] = repaired - found.ap[rows]
    return found


@dataclass(frozen=True)
class _Chunk:
    """Some queries. listed: [queries, predictions]. matched, fate: [queries, predictions, 10]. target, best_iou:
    [queries, predictions], for the true window that is overlapped most. true: [queries, windows], whether the entry is
    a window. n: [queries], number of true windows."""

    listed: np.ndarray
    matched: np.ndarray
    fate: np.ndarray
    target: np.ndarray
    best_iou: np.ndarray
    true: np.ndarray
    n: np.ndarray

    @classmethod
    def of(cls, predicted: Ragged, truth: Ragged, rows: np.ndarray, width: int) -> _Chunk:
        windows, guesses = truth.padded(rows, fill=0.0), predicted.padded(rows, fill=0.0, length=width)
        true = np.arange(windows.shape[1]) < truth.lengths[rows, None]
        listed = np.arange(width) < predicted.lengths[rows, None]
        iou = np.where(true[:, None] & listed[:, :, None], sum_iou(guesses[:, :, None], windows[:, None]), -1.0)
        preference = np.where(np.isnan(iou), np.inf, iou)
        # Of equal windows the one listed later is taken, as in the matching.
        target = preference.shape[2] - 1 - preference[:, :, ::-1].argmax(axis=2)
        best = np.take_along_axis(preference, target[..., None], axis=2)[..., 0]
        length = guesses[..., 1] - guesses[..., 0]
        wanted = np.take_along_axis(windows[..., 1] - windows[..., 0], target, axis=1)
        matched = matched_windows(iou)
        fate = np.where(listed[..., None], _fates(matched, best, length, wanted), -1).astype(np.int8)
        return cls(listed, matched, fate, target, np.minimum(best, 1.0), true, truth.lengths[rows])

    def ap(self) -> np.ndarray:
        return moment_average_precision(self.matched >= 0, self.n)

    def free(self) -> np.ndarray:
        """Return [queries, windows, 10]: the true windows that no prediction was matched to."""
        taken = self.matched[:, :, None] == np.arange(self.true.shape[1])[:, None]
        return self.true[..., None] & ~taken.any(axis=1)

    def is_fate(self, *names: str) -> np.ndarray:
        return np.isin(self.fate, [FATES.index(name) for name in names])


def _fates(matched: np.ndarray, best: np.ndarray, length: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return [queries, predictions, 10], indices in `FATES`. The arguments are [queries, predictions], except
    `matched`.

    Two windows of different lengths have an IoU of at most the shorter divided by the longer, wherever they lie.
    """
    thresholds = np.array(THRESHOLDS)
    longer = np.maximum(length, wanted)
    reachable = np.divide(np.minimum(length, wanted), longer, out=np.ones_like(longer), where=longer != 0)
    conditions = {
        RIGHT: matched >= 0,
        "duplicate": best[..., None] >= thresholds,
        "elsewhere": (best < MET)[..., None],
        "too long": (reachable[..., None] < thresholds) & (length > wanted)[..., None],
        "too short": reachable[..., None] < thresholds,
    }
    shape = matched.shape
    numbers = [np.full(shape, FATES.index(name)) for name in conditions]
    return np.select([np.broadcast_to(c, shape) for c in conditions.values()], numbers, FATES.index("shifted"))


def _repaired(part: _Chunk) -> dict[str, np.ndarray]:
    """Return kind → [queries, 10], the average precision if this kind alone were repaired."""
    hits = part.matched >= 0
    found = {kind: _without(part, hits, part.is_fate(kind)) for kind in ("elsewhere", "duplicate")}
    for kind in BOUNDS:
        wrong = part.is_fate(kind)
        moved = _moved(part, wrong)
        found[kind] = _without(part, hits | moved, wrong & ~moved)
    found["ranked low"] = hits.sum(axis=1) / part.n[:, None]
    missed = _missed(part)
    left = part.n[:, None] - missed
    found["one of several missed"] = np.where(left > 0, part.ap() * part.n[:, None] / np.maximum(left, 1), part.ap())
    found["all missed"] = np.where(left == 0, 1.0, part.ap())
    return found


def _without(part: _Chunk, hits: np.ndarray, gone: np.ndarray) -> np.ndarray:
    """Return the average precision, [queries, 10], without some predictions. gone: [queries, predictions, 10]."""
    # A stable sort moves the remaining predictions to the front, in their order.
    order = np.argsort(gone, axis=1, kind="stable")
    return moment_average_precision(np.take_along_axis(hits & ~gone, order, axis=1), part.n)


def _moved(part: _Chunk, wrong: np.ndarray) -> np.ndarray:
    """Tell which of the wrong predictions become right with the bounds of the window that they overlap most."""
    free, every = part.free(), np.arange(len(wrong))
    moved = np.zeros_like(wrong)
    for rank in range(wrong.shape[1]):
        at = part.target[:, rank]
        moved[:, rank] = wrong[:, rank] & free[every, at]
        free[every, at] &= ~moved[:, rank]
    return moved


def _missed(part: _Chunk) -> np.ndarray:
    """Return the number of true windows, [queries, 10], that no prediction was matched to and that none with wrong
    bounds met."""
    met = part.is_fate(*BOUNDS)[:, :, None] & (part.target[:, :, None, None] == np.arange(part.true.shape[1])[:, None])
    missed: np.ndarray = (part.free() & ~met.any(axis=1)).sum(axis=1)
    return missed
