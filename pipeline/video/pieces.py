"""Cuts sound into the pieces that an audio network expects: 2 s for each row of a grid."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from math import floor

import numpy as np

from pipeline.video.audio import RATE

PIECE = 64_000
"""Number of samples of one row: 2 s."""


class Pieces:
    """Cuts a track that comes in chunks into one piece of 2 s per row of a grid, centred on the middle of the row.

    On the 2-s grid these are the published pieces: 64,000 samples each, without gaps, the remainder dropped. On a finer
    grid the pieces overlap and reach beyond both ends of the track, where they hold zeros (the stand-in
    `pann-cnn14-centred`). There are floor(Tₐ/L) rows, at least one and at most `limit`.
    """

    def __init__(self, clip_s: Fraction, limit: int) -> None:
        self._clip_s, self._limit = clip_s, limit
        self.n_rows = 0
        self._first = self._start()
        self._held = np.zeros(-self._first, np.float32)

    def push(self, samples: np.ndarray) -> Iterator[np.ndarray]:
        """Add the next samples, and yield the pieces that they complete, float32 [64000] each."""
        if self.n_rows == self._limit:
            return
        self._held = np.concatenate([self._held, samples])
        while self.n_rows < self._limit and self._start() - self._first + PIECE <= len(self._held):
            yield self._cut()
        self._held = self._held[self._start() - self._first :]
        self._first = self._start()

    def end(self, end_s: Fraction) -> Iterator[np.ndarray]:
        """Yield the last pieces, which reach beyond the end of the track."""
        n_rows = min(max(1, floor(end_s / self._clip_s)), self._limit)
        self._held = np.concatenate([self._held, np.zeros(PIECE, np.float32)])
        while self.n_rows < n_rows:
            yield self._cut()

    def _start(self) -> int:
        """Return the position of the first sample of the next piece."""
        middle_s = (self.n_rows + Fraction(1, 2)) * self._clip_s
        return floor(middle_s * RATE + Fraction(1, 2)) - PIECE // 2

    def _cut(self) -> np.ndarray:
        start = self._start() - self._first
        self.n_rows += 1
        return self._held[start : start + PIECE]
