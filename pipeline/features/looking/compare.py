"""Compare two feature stores, video by video: are they the same features, and if not, what was done to them?

Every video is correlated with itself at every shift by a few rows and every rotation of its columns (one FFT does all),
so that a row too many, exchanged halves or blocks in another order show as what they are, and not as noise.
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

MAX_LAG = 3
"""Rows that one store may be shifted against the other."""

CLOSE = 0.98
"""Cosine that another decoder, resize filter or precision still reaches."""

CONVINCING = 0.9
"""Mean cosine below which no shift and no other order of columns is believed."""


@dataclass(frozen=True)
class Alignment:
    """How B lies against A: row i of A is row i + lag of B, column j of A column j + turn of B (modulo the width)."""

    lag: int = 0
    turn: int = 0


@dataclass(frozen=True)
class Pair:
    """One vid (or qid) in both stores. n_rows: of A and of B. cosines: row by row as stored.

    best: the alignment this vid alone asks for. aligned: cosines under the alignment of all vids together, none where
    the vid is shorter than its lag; scales: norm of B's row over norm of A's under it, of rows that are alike.
    pooled: cosine of the pooled vectors, where both stores have one.
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
        """The lowest cosine of all, of rows and pooled vector."""
        return float(min(self.cosines.min(), 1 if self.pooled is None else self.pooled))


@dataclass(frozen=True)
class Comparison:
    """Two stores, all they have in common. only: keys that one of them has alone.

    alignment: the one that all vids together ask for. chance: mean cosine of any row of A with any row of B.
    """

    passports: tuple[Passport, Passport]
    only: tuple[list[str], list[str]]
    pairs: list[Pair]
    alignment: Alignment
    chance: float

    @property
    def worst(self) -> list[Pair]:
        """Pairs, the one with the lowest cosine first."""
        return sorted(self.pairs, key=lambda pair: (pair.lowest, pair.key))


def compare_stores(a: Path, b: Path) -> Comparison:
    """Compare two stores; each is a file, or a folder with the shards of one family.

    Raises PipelineError for stores whose rows cannot be laid side by side: another width or grid, nothing in common.
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
            f"cannot be laid beside {b}: {'; '.join(differ)} ({left.passport.family}, {right.passport.family})",
            where=a,
            remedy="compare stores of one family and grid",
        )
    keys = sorted(set(left.keys()) & set(right.keys()))
    if not keys:
        raise PipelineError(
            f"has none of the {len(right)} vids of {b}", where=a, remedy="compare stores of the same videos"
        )
    return keys


class _Sums:
    """Mean cosine at every lag and turn, [lags, dim], of all videos added so far."""

    def __init__(self, dim: int) -> None:
        self._cells = np.zeros((2 * MAX_LAG + 1, dim))
        self._pairs = np.zeros((2 * MAX_LAG + 1, 1))
        self._units = np.zeros((2, dim))
        self._rows = np.zeros(2)

    def add(self, a: np.ndarray, b: np.ndarray) -> Alignment:
        """Add rows [n, dim] and [m, dim] of one video. Returns the alignment this video alone asks for."""
        units = unit_rows(a), unit_rows(b)
        self._units += [unit.sum(axis=0) for unit in units]
        self._rows += [len(a), len(b)]
        cells, pairs = _correlate(*units)
        self._cells += cells
        self._pairs += pairs
        return _best(cells, pairs)

    def best(self) -> Alignment:
        """The alignment that all videos together ask for."""
        return _best(self._cells, self._pairs)

    def chance(self) -> float:
        """Mean cosine of any row of A with any row of B."""
        a, b = self._units / self._rows[:, None]
        return float(a @ b)


def _correlate(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum of cosines of unit rows at every lag and turn, [lags, dim], and the number of row pairs, [lags, 1].

    A lag that leaves less than half of the shorter video has no pairs: a few rows agree by chance.
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
        product = (spectrum_a[in_a].conj() * spectrum_b[in_b]).sum(axis=0)
        silent = (empty_a[in_a] & empty_b[in_b]).sum()
        cells[lag + MAX_LAG], pairs[lag + MAX_LAG] = np.fft.irfft(product, dim) + silent, n
    return cells, pairs


def _best(cells: np.ndarray, pairs: np.ndarray) -> Alignment:
    """The alignment of the highest mean cosine, if it explains at least half of what is wrong without it."""
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
    """Cosines of the rows that lie beside each other, and the ratios of their norms where they are alike, not zero."""
    in_a, in_b = _overlap(len(a), len(b), alignment.lag)
    a, b = a[in_a], np.roll(b[in_b], -alignment.turn, axis=1)
    norm_a, norm_b = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
    cosines = (unit_rows(a) * unit_rows(b)).sum(axis=1) + ((norm_a == 0) & (norm_b == 0))
    both = (cosines >= CLOSE) & (norm_a > 0)
    return cosines, norm_b[both] / norm_a[both]


def _overlap(n: int, m: int, lag: int) -> tuple[slice, slice]:
    """Rows i of A, 0 ≤ i < n, with 0 ≤ i + lag < m, and those rows i + lag of B."""
    start, stop = max(0, -lag), min(n, m - lag)
    return slice(start, max(start, stop)), slice(start + lag, max(start, stop) + lag)


def unit_rows(rows: np.ndarray) -> np.ndarray:
    """Rows of norm 1; zero rows stay zero (silence: two of them are equal)."""
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)
