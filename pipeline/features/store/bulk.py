"""Reads the rows of many videos at the speed of the disk: directly from the bytes of the files, in their order.

For each array HDF5 spends more time on its own bookkeeping than it takes to read the 75 rows of a CLIP array. Files in
the page cache (400 videos of 75 rows, float16, 2,304 + 512 columns) were read in both ways in one process: this module
read 3,300 MB in a second of CPU time, and `Store.read` for each video read 270 MB. Several files are read at the same
time, because a single reader could not wait for the disk and copy rows at once. `benchmarks/loading.py` measures this
module.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from io import FileIO
from operator import itemgetter
from typing import NamedTuple

import numpy as np

from pipeline.errors import PipelineError
from pipeline.features.store import Store
from pipeline.nouns import counted

AT_A_TIME = 4
"""Number of files that are read at the same time."""


def read_packed(
    store: Store, keys: Sequence[str], lengths: Sequence[int] | None = None, out: np.ndarray | None = None
) -> np.ndarray:
    """Read the rows of all `keys`, one key after the other: float16 or float32 [total, dim], as they are stored.

    keys: vids or qids. A key may appear twice.
    lengths: how many rows to read of each key, beginning with its first one. Without it, all rows are read.
    out: the array that the rows are written to. It may be some columns of a wider array. Without it, a new array is
    made.
    Raises PipelineError for a key that no shard holds or that has fewer rows, and for a file that is cut short.
    """
    lengths = [store.place(key).n for key in keys] if lengths is None else lengths
    ends = np.cumsum([0, *lengths])
    dtype = np.result_type(*store.dtypes)
    rows = np.empty((ends[-1], store.passport.dim), dtype) if out is None else out
    targets: dict[str, list[tuple[str, np.ndarray]]] = {}
    for key, start, end in zip(keys, ends, ends[1:], strict=False):
        targets.setdefault(store.file_of(key), []).append((key, rows[start:end]))
    with ThreadPoolExecutor(AT_A_TIME) as readers:
        # Only this thread uses HDF5, which lets one thread in at a time. The readers use ordinary file operations.
        jobs = [
            readers.submit(_read, path, _parts(store, path, targets[path]), store.dtype_of(path))
            for path in sorted(targets)
        ]
        for job in jobs:
            job.result()
    return rows


class _Part(NamedTuple):
    """Rows that lie at an offset (in bytes) of a file, and the array that they are copied to."""

    offset: int
    target: np.ndarray


def _parts(store: Store, path: str, targets: Sequence[tuple[str, np.ndarray]]) -> list[_Part]:
    """Return where the rows lie, sorted by offset. Rows that lie in several pieces are read here, through HDF5."""
    parts = []
    for key, target in targets:
        place = store.place(key)
        if len(target) > place.n:
            why = f"{key} has {counted(place.n, 'row')} where {len(target):,} are wanted"
            raise PipelineError(why, where=path, remedy="extract it again")
        if place.offset is None:
            target[:] = store.entry(key).rows[: len(target)]
        else:
            parts.append(_Part(place.offset, target))
    return sorted(parts, key=itemgetter(0))


def _read(path: str, parts: Sequence[_Part], dtype: np.dtype) -> None:
    """Fill each target with the rows at its offset. dtype: the dtype of the rows in the file."""
    scratch = np.empty(max((part.target.size for part in parts), default=0), dtype)
    with open(path, "rb", buffering=0) as file:
        for offset, target in parts:
            is_direct = target.flags.c_contiguous and target.dtype == dtype
            rows = target if is_direct else scratch[: target.size].reshape(target.shape)
            file.seek(offset)
            _fill(rows.reshape(-1).view(np.uint8).data, file)
            if not is_direct:
                target[:] = rows


def _fill(buffer: memoryview, file: FileIO) -> None:
    filled = 0
    # One call may return fewer bytes than were asked for.
    while filled < len(buffer):
        n = file.readinto(buffer[filled:])
        if not n:
            why = f"is cut short: it ends {len(buffer) - filled:,} bytes before its last rows do"
            raise PipelineError(why, where=file.name, remedy="delete it and run the workflow again")
        filled += n
