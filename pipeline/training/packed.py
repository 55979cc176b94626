"""Stores samples of different lengths end to end in one tensor, with the norms that they are divided by.

The norms are computed once, here, so that a batch needs only one gather (`batches.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.errors import PipelineError
from pipeline.features.store import Store
from pipeline.features.store.bulk import read_packed
from pipeline.nouns import counted
from pipeline.training.shared import SharedArray, is_worth_sharing

NORM_EPSILON = 1e-5
SMALLEST_NORM = 1e-12
SHOWN = 10
"""Number of samples, queries or complaints of one kind that an error lists. The others are only counted."""
PIECE = 1024
"""Number of rows whose norms are computed at a time. For all rows at once, full precision would need twice their
memory."""

Norm = Callable[[np.ndarray], np.ndarray]
"""A function that takes the lengths of rows, float32 [rows], and returns what these rows are divided by, [rows]."""


@dataclass(frozen=True)
class Packed:
    """Samples of different lengths, stored end to end.

    rows: [total, dim], at the stores' precision. blocks: columns per block, in order. norms: [total, blocks] float32,
    what each block is divided by (L2 norm + 1e-5; 1 where rows are used as stored). starts, lengths: [n], always on the
    CPU, where shapes are decided without waiting for a device. shared: the memory of `rows` where workers have it in
    common; pickling for a worker then copies no row.
    """

    rows: Tensor
    blocks: tuple[int, ...]
    norms: Tensor
    starts: Tensor
    lengths: Tensor
    shared: SharedArray | None = None

    def to(self, device: str) -> Packed:
        """Return the same samples on `device`."""
        return replace(self, rows=self.rows.to(device), norms=self.norms.to(device))

    def __getstate__(self) -> dict[str, Any]:
        # Tensors are pickled as arrays, because torch would give each of them a file descriptor and a part of /dev/shm.
        state = {name: as_array(value) for name, value in vars(self).items()}
        return state if self.shared is None else state | {"rows": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if state["shared"] is not None:
            state["rows"] = state["shared"].array
        self.__dict__.update((name, as_tensor(value)) for name, value in state.items())


def pack(
    keys: Sequence[str],
    lengths: Sequence[int],
    stores: Sequence[Store],
    blocks: tuple[int, ...],
    *,
    norm: Norm | None,
    shared: bool,
) -> Packed:
    """Read samples, families side by side, at the stores' precision (the round trip through float16 is exact).

    lengths: rows to keep of each key. norm: what a row of a given length is divided by; None for rows that are
    used as stored. shared: as in `data.load`. Raises PipelineError as `_refuse_not_finite` does.
    """
    half = all(store.dtypes == {"float16"} for store in stores)
    ends = np.cumsum(lengths)
    columns = np.cumsum([0, *(store.passport.dim for store in stores)])
    shape, dtype = (int(ends[-1]), int(columns[-1])), np.float16 if half else np.float32
    memory = SharedArray(shape, dtype) if shared and is_worth_sharing(shape, dtype) else None
    rows = np.empty(shape, dtype) if memory is None else memory.array
    for store, left, right in zip(stores, columns, columns[1:], strict=False):
        read_packed(store, keys, lengths, out=rows[:, left:right])
    starts = ends - np.asarray(lengths)
    norms = _norms(rows, blocks, norm) if norm else np.ones((len(rows), len(blocks)), np.float32)
    _refuse_not_finite(rows, norms, keys, ends, stores, columns)
    return Packed(
        rows=torch.from_numpy(rows),
        blocks=blocks,
        norms=torch.from_numpy(norms),
        starts=torch.from_numpy(starts),
        lengths=torch.tensor(lengths),
        shared=memory,
    )


def _refuse_not_finite(
    rows: np.ndarray,
    norms: np.ndarray,
    keys: Sequence[str],
    ends: np.ndarray,
    stores: Sequence[Store],
    columns: np.ndarray,
) -> None:
    """Raise PipelineError, which names the samples and the file of the first, for rows that hold NaN or infinity, or
    numbers so large that their length is infinite. Divided by it, such a row would silently become zero.

    ends: the end of each sample in `rows`. columns: the borders of the columns of each store.
    """
    bad = ~np.isfinite(norms).all(axis=1)
    for start in range(0, len(rows), PIECE):
        bad[start : start + PIECE] |= ~np.isfinite(rows[start : start + PIECE]).all(axis=1)
    if not bad.any():
        return
    found = list(dict.fromkeys(keys[at] for at in np.searchsorted(ends, np.flatnonzero(bad), side="right")))
    row = rows[int(bad.argmax())].astype(np.float32)
    parts = [row[left:right] for left, right in pairwise(columns)]
    with np.errstate(over="ignore"):
        worst = next((n for n, part in enumerate(parts) if not np.isfinite(np.linalg.norm(part))), 0)
    raise PipelineError(
        f"rows of {counted(len(found), 'sample')} are not finite, or too large: {', '.join(found[:SHOWN])}"
        f"{' and others' if len(found) > SHOWN else ''}",
        where=stores[worst].file_of(found[0]),
        remedy="extract or import them again, or name their vids under `skip` of the dataset",
    )


def released(length: np.ndarray) -> np.ndarray:
    """Return the divisors of most released loaders, which add 1e-5 to the length of a row."""
    return length + NORM_EPSILON


def exact(length: np.ndarray) -> np.ndarray:
    """Return the divisors of loaders that add nothing. Rows of zeros are divided by 1e-12 and stay zero."""
    return np.maximum(length, SMALLEST_NORM)


def _norms(rows: np.ndarray, blocks: Sequence[int], norm: Norm) -> np.ndarray:
    """Return the divisor of each block of each row, float32 [rows, blocks]."""
    norms = np.empty((len(rows), len(blocks)), np.float32)
    edges = np.cumsum(blocks)[:-1]
    for start in range(0, len(rows), PIECE):
        piece = rows[start : start + PIECE].astype(np.float32)
        for block, part in enumerate(np.split(piece, edges, axis=1)):
            with np.errstate(over="ignore"):  # an infinite length is refused, see above
                norms[start : start + PIECE, block] = norm(np.linalg.norm(part, axis=1))
    return norms


def as_array(value: Any) -> Any:
    """Return a tensor as an array that uses the same memory, and any other value unchanged.

    Workers get pickled arrays.
    """
    return value.numpy() if isinstance(value, Tensor) else value


def as_tensor(value: Any) -> Any:
    """Return an array as a tensor that uses the same memory, and any other value unchanged."""
    return torch.from_numpy(value) if isinstance(value, np.ndarray) else value
