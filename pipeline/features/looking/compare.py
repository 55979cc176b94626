"""Compares two feature stores video by video: are they the same features, and if not, how do they differ?

The rows of a video in one store are correlated with its rows in the other. This is done for every shift by a few rows
and for every rotation of the columns. One FFT over the columns gives the correlation for all rotations at once. A row
too many, exchanged halves or blocks in another order are then recognised; otherwise they would look like noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from pipeline.errors import PipelineError
from pipeline.families import Passport
from pipeline.features.store import Store, open_stores
from pipeline.features.store.passports import passport_differences
from pipeline.nouns import counted

MAX_LAG = 3
"""The largest shift between the two stores that is tried, in rows."""

CLOSE = 0.98
"""Rows with at least this cosine count as alike. Another decoder, resize filter or precision still reaches it."""

CONVINCING = 0.9
"""A shift or another order of the columns is reported only if it reaches this mean cosine."""


@dataclass(frozen=True)
class Alignment:
    """The correspondence between the rows and columns of store A and those of store B.

    Row i of A is row i + lag of B. Column j of A is column j + turn of B, modulo the number of columns.
    """

    lag: int = 0
    turn: int = 0


@dataclass(frozen=True)
class Pair:
    """The comparison of one vid (or qid) that both stores have.

    n_rows: number of rows in A and in B.
    is_equal: whether all numbers are equal.
    cosines: the cosine of each row of A with the row of B at the same position.
    best: the alignment that fits this vid best.
    aligned: the cosines under the alignment that fits all vids together best. It is empty if the vid has fewer rows
    than that alignment's lag.
    scales: under the same alignment, the norm of B's row divided by the norm of A's row, for rows that are alike.
    pooled: the cosine of the pooled vectors if both stores have one, else None.
    """

    key: str
    n_rows: tuple[int, int]
    is_equal: bool
    cosines: np.ndarray
    best: Alignment
    aligned: np.ndarray
    scales: np.ndarray
    pooled: float | None

    @property
    def lowest(self) -> float:
        """The lowest cosine among all rows and the pooled vector."""
        return float(min(self.cosines.min(), 1 if self.pooled is None else self.pooled))


@dataclass(frozen=True)
class Comparison:
    """The comparison of two stores.

    passports: of A and of B. only: the keys that only A has, and those that only B has. pairs: the keys of both.
    alignment: the alignment that fits all vids together best.
    chance: the mean cosine between any row of A and any row of B. Unrelated features reach it, too.
    """

    passports: tuple[Passport, Passport]
    only: tuple[list[str], list[str]]
    pairs: list[Pair]
    alignment: Alignment
    chance: float

    @property
    def worst(self) -> list[Pair]:
        """All pairs, sorted by their lowest cosine, the lowest first."""
        return sorted(self.pairs, key=lambda pair: (pair.lowest, pair.key))


def compare_stores(a: Path, b: Path) -> Comparison:
    """Compare two stores. Each is a file, or a folder with the shards of one family.

    Raises PipelineError if the rows of the stores cannot be compared: if their widths or grids differ, or if no vid is
    in both.
    """
    with open_stores(a) as left, open_stores(b) as right:
        keys = _common_keys(left, right, a, b)
        total = _Sums(left.passport.dim)
        bests = []
        for key in tqdm(keys, desc="correlate", disable=None):
            x, y = left.read(key), right.read(key)
            bests.append(total.add(x, y))
        alignment = total.best()
        pairs = [_pair(left, right, key, best, alignment) for key, best in zip(keys, bests, strict=True)]
        only = sorted(set(left.keys()) - set(keys)), sorted(set(right.keys()) - set(keys))
        return Comparison((left.passport, right.passport), only, pairs, alignment, total.chance())


def _common_keys(left: Store, right: Store, a: Path, b: Path) -> list[str]:
    names = ("dim", "grid")
    if differ := [text for text in passport_differences(left.passport, right.passport) if text.startswith(names)]:
        raise PipelineError(
            f"cannot be compared with {b}: {'; '.join(differ)} ({left.passport.family}, {right.passport.family})",
            where=a,
            remedy="compare stores of one family and grid",
        )
    keys = sorted(set(left.keys()) & set(right.keys()))
    if not keys:
        raise PipelineError(
            f"has none of the {counted(len(right), 'vid')} of {b}", where=a, remedy="compare stores of the same videos"
        )
    return keys


class _Sums:
    """Sums cosines of videos for every lag and turn, [lags, dim]."""

    def __init__(self, dim: int) -> None:
        self._cells = np.zeros((2 * MAX_LAG + 1, dim))
        self._pairs = np.zeros((2 * MAX_LAG + 1, 1))
        self._units = np.zeros((2, dim))
        self._rows = np.zeros(2)

    def add(self, a: np.ndarray, b: np.ndarray) -> Alignment:
        """Add the rows [n, dim] and [m, dim] of one video. Returns the alignment that fits this video best."""
        units = unit_rows(a), unit_rows(b)
        self._units += [unit.sum(axis=0) for unit in units]
        self._rows += [len(a), len(b)]
        cells, pairs = _correlate(*units)
        self._cells += cells
        self._pairs += pairs
        return _best(cells, pairs)

    def best(self) -> Alignment:
        """Return the alignment that fits all added videos together best."""
        return _best(self._cells, self._pairs)

    def chance(self) -> float:
        """Return the mean cosine between any row of A and any row of B.

        It is the product of the two mean unit rows, so no pair of rows needs to be formed.
        """
        a, b = self._units / self._rows[:, None]
        return float(a @ b)


def _correlate(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Correlate the unit rows [n, dim] and [m, dim] of one video.

    Returns the sum of the cosines for every lag and turn, [lags, dim], and the number of row pairs, [lags, 1].
    A lag at which less than half of the shorter video overlaps gets no pairs, because a few rows can agree by chance.
    """
    dim = a.shape[1]
    spectrum_a, spectrum_b = np.fft.rfft(a), np.fft.rfft(b)
    empty_a, empty_b = (a == 0).all(axis=1), (b == 0).all(axis=1)
    cells, pairs = np.zeros((2 * MAX_LAG + 1, dim)), np.zeros((2 * MAX_LAG + 1, 1))
    for lag in range(-MAX_LAG, MAX_LAG + 1):
        in_a, in_b = _overlap(len(a), len(b), lag)
        n = in_a.stop - in_a.start
        if n < 1 or 2 * n < min(len(a), len(b)):
            continue
        # A product of spectra is the correlation for all rotations. It is summed before the one inverse transform.
        product = (spectrum_a[in_a].conj() * spectrum_b[in_b]).sum(axis=0)
        silent = (empty_a[in_a] & empty_b[in_b]).sum()
        cells[lag + MAX_LAG], pairs[lag + MAX_LAG] = np.fft.irfft(product, dim) + silent, n
    return cells, pairs


def _best(cells: np.ndarray, pairs: np.ndarray) -> Alignment:
    """Return the alignment with the highest mean cosine.

    It must bring the mean cosine at least half of the way to 1. Otherwise no shift and no rotation is returned.
    """
    means = np.divide(cells, pairs, out=np.full(cells.shape, -1.0), where=pairs > 0)
    plain = means[MAX_LAG, 0]
    lag, turn = np.unravel_index(means.argmax(), means.shape)
    if means[lag, turn] < max(CONVINCING, plain + 1e-4, (1 + plain) / 2):
        return Alignment()
    return Alignment(int(lag) - MAX_LAG, int(turn))


def _pair(left: Store, right: Store, key: str, best: Alignment, alignment: Alignment) -> Pair:
    x, y = left.entry(key), right.entry(key)
    a, b = x.rows.astype(np.float64), y.rows.astype(np.float64)
    cosines, _ = _row_by_row(a, b, Alignment())
    aligned, scales = _row_by_row(a, b, alignment)
    is_equal = np.array_equal(a, b)
    pooled = None
    if x.pooled is not None and y.pooled is not None:
        u, v = x.pooled[None].astype(np.float64), y.pooled[None].astype(np.float64)
        (pooled,), _ = _row_by_row(u, v, Alignment(turn=alignment.turn))
        is_equal &= np.array_equal(x.pooled, y.pooled)
    return Pair(key, (len(a), len(b)), is_equal, cosines, best, aligned, scales, pooled)


def _row_by_row(a: np.ndarray, b: np.ndarray, alignment: Alignment) -> tuple[np.ndarray, np.ndarray]:
    """Compare the rows of one video under an alignment.

    Returns the cosines of corresponding rows (1 if both are zero), and the ratios of their norms (B over A) for rows
    that are alike and not zero.
    """
    in_a, in_b = _overlap(len(a), len(b), alignment.lag)
    a, b = a[in_a], np.roll(b[in_b], -alignment.turn, axis=1)
    norm_a, norm_b = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
    cosines = (unit_rows(a) * unit_rows(b)).sum(axis=1) + ((norm_a == 0) & (norm_b == 0))
    both = (cosines >= CLOSE) & (norm_a > 0)
    return cosines, norm_b[both] / norm_a[both]


def _overlap(n: int, m: int, lag: int) -> tuple[slice, slice]:
    """Return which rows of A (n rows) and of B (m rows) correspond at a lag: rows i of A and i + lag of B."""
    start, stop = max(0, -lag), min(n, m - lag)
    return slice(start, max(start, stop)), slice(start + lag, max(start, stop) + lag)


def unit_rows(rows: np.ndarray) -> np.ndarray:
    """Scale rows [n, dim] to norm 1. Rows of zeros, which stand for silence, stay zero."""
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)
