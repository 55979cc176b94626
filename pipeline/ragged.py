"""Lists of unequal length, stored as one flat array, and turned into padded arrays in chunks of bounded size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Ragged:
    """Rows of unequal length, laid end to end.

    values: [total] or [total, columns]. lengths: [rows], the number of entries of `values` in each row.
    """

    values: np.ndarray
    lengths: np.ndarray

    @classmethod
    def of(cls, rows: Sequence[Sequence[Any]], columns: int | None = None) -> Ragged:
        """Make one from rows of numbers, or from rows whose entries have `columns` numbers each, as float64."""
        entries = chain.from_iterable(rows)
        numbers = entries if columns is None else chain.from_iterable(entries)
        values = np.fromiter(numbers, np.float64)
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        return cls(values if columns is None else values.reshape(-1, columns), lengths)

    @classmethod
    def of_arrays(cls, rows: Sequence[np.ndarray]) -> Ragged:
        """Make one from at least one array [length, ...]. All have the same dtype, which is kept."""
        return cls(np.concatenate(rows), np.fromiter(map(len, rows), np.int64, len(rows)))

    @cached_property
    def starts(self) -> np.ndarray:
        """Return [rows]: the index in `values` at which each row begins."""
        return np.cumsum(self.lengths) - self.lengths

    @property
    def row(self) -> np.ndarray:
        """Return [total]: the row that each entry belongs to."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)

    def keep(self, wanted: np.ndarray) -> Ragged:
        """Return only the entries for which `wanted` [total] is true. A row may become empty, but it is not removed."""
        return Ragged(self.values[wanted], np.bincount(self.row[wanted], minlength=len(self.lengths)))

    def padded(self, rows: np.ndarray, fill: float, length: int | None = None) -> np.ndarray:
        """Return some rows as one array [len(rows), length, ...], with `fill` after the end of shorter rows. length:
        the length to which rows are cut or filled. None: the length of the longest of them.
        """
        lengths = self.lengths[rows]
        steps = np.arange(lengths.max(initial=0) if length is None else length)
        inside = steps < lengths[:, None]
        array = np.full((*inside.shape, *self.values.shape[1:]), fill, self.values.dtype)
        array[inside] = self.values[(self.starts[rows, None] + steps)[inside]]
        return array

    def picked(self, rows: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Return [len(rows), n]: the values at `places` [len(rows), n] of some rows, or 0 for a row without values."""
        if not self.values.size:
            return np.zeros_like(places)
        at = np.minimum(self.starts[rows, None] + places, len(self.values) - 1)
        return np.where(self.lengths[rows, None] > 0, self.values[at], 0)


def chunks(lengths: np.ndarray, cells: int) -> Iterator[np.ndarray]:
    """Split the rows of positive length into index arrays of at most `cells` padded entries (or one row) each.

    Rows of similar length come into the same chunk, the shortest first, so that there is little padding.
    """
    order = np.argsort(lengths, kind="stable")
    order = order[lengths[order] > 0]
    while len(order):
        cost = np.arange(1, min(len(order), cells) + 1) * lengths[order[:cells]]
        size = max(1, int(np.searchsorted(cost, cells, side="right")))
        yield order[:size]
        order = order[size:]
