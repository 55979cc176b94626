"""Lists of different lengths are stored as flat arrays, and handed out as padded arrays in chunks of bounded size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Ragged:
    """Rows of different lengths, stored end to end.

    values: [total] or [total, columns], float64. lengths: [rows], the number of entries of `values` in each row.
    """

    values: np.ndarray
    lengths: np.ndarray

    @classmethod
    def of(cls, rows: Sequence[Sequence[Any]], columns: int = 1) -> Ragged:
        """Pack rows of numbers (columns = 1), or rows of `columns` numbers each."""
        entries = chain.from_iterable(rows)
        numbers = entries if columns == 1 else chain.from_iterable(entries)
        values = np.fromiter(numbers, np.float64)
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        return cls(values if columns == 1 else values.reshape(-1, columns), lengths)

    @property
    def row(self) -> np.ndarray:
        """Return for each entry, [total], the row that it belongs to."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)

    def keep(self, wanted: np.ndarray) -> Ragged:
        """Keep the entries where `wanted` [total] is true. Rows may become empty, but none disappears."""
        return Ragged(self.values[wanted], np.bincount(self.row[wanted], minlength=len(self.lengths)))

    def padded(self, rows: np.ndarray, fill: float) -> np.ndarray:
        """Return some rows as one array [len(rows), longest, ...], with `fill` after the shorter ones."""
        lengths = self.lengths[rows]
        steps = np.arange(lengths.max(initial=0))
        inside = steps < lengths[:, None]
        starts = (np.cumsum(self.lengths) - self.lengths)[rows]
        array = np.full((*inside.shape, *self.values.shape[1:]), fill)
        array[inside] = self.values[(starts[:, None] + steps)[inside]]
        return array


def chunks(lengths: np.ndarray, cells: int) -> Iterator[np.ndarray]:
    """Split the rows of positive length into index arrays of at most `cells` padded entries (or one row) each.

    Rows of similar length come together, shortest first, so that little padding is needed.
    """
    order = np.argsort(lengths, kind="stable")
    order = order[lengths[order] > 0]
    while len(order):
        cost = np.arange(1, min(len(order), cells) + 1) * lengths[order[:cells]]
        size = max(1, int(np.searchsorted(cost, cells, side="right")))
        yield order[:size]
        order = order[size:]
