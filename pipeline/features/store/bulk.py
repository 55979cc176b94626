"""Many videos' rows at once, at the speed of the disk: straight from where they lie in the files, in file order.

HDF5's bookkeeping costs more per array than reading CLIP's 75 rows does. From the page cache (1,600 videos of 75 rows,
float16, 2,304 + 512 columns side by side): 2,330 MB per CPU second; one `Store.read` after the other: 250. Several
files are read at a time, for one reader cannot both wait for the disk and copy what it brought.
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

AT_A_TIME = 4
"""Files."""


def read_packed(
    store: Store, keys: Sequence[str], lengths: Sequence[int] | None = None, out: np.ndarray | None = None
) -> np.ndarray:
    """Rows of `keys` end to end, as stored, float16 or float32 [total, dim].

    lengths: rows wanted of each key, from its first one; all without. out: where they go instead of a new array; it may
    be some columns of a wider one. A key may come twice.
    Raises PipelineError for a key that no shard holds or that has fewer rows, and for a file that is cut short.
    """
    lengths = [store.place(key).n for key in keys] if lengths is None else lengths
    ends = np.cumsum([0, *lengths])
    rows = np.empty((ends[-1], store.passport.dim), store.passport.dtype) if out is None else out
    targets: dict[str, list[tuple[str, np.ndarray]]] = {}
    for key, start, end in zip(keys, ends, ends[1:], strict=False):
        targets.setdefault(store.file_of(key), []).append((key, rows[start:end]))
    dtype = np.dtype(store.passport.dtype)
    with ThreadPoolExecutor(AT_A_TIME) as readers:
        # HDF5 is asked here, by one thread; the readers see plain files.
        jobs = [readers.submit(_read, path, _parts(store, path, targets[path]), dtype) for path in sorted(targets)]
        for job in jobs:
            job.result()
    return rows


class _Part(NamedTuple):
    """Rows that lie at an offset of a file, and where they go."""

    offset: int
    target: np.ndarray


def _parts(store: Store, path: str, targets: Sequence[tuple[str, np.ndarray]]) -> list[_Part]:
    """Look up where rows lie, ascending; rows that lie in pieces are read at once."""
    parts = []
    for key, target in targets:
        place = store.place(key)
        if len(target) > place.n:
            why = f"{key} has {place.n} rows where {len(target)} are wanted"
            raise PipelineError(why, where=path, remedy="extract it again")
        if place.offset is None:
            target[:] = store.entry(key).rows[: len(target)]
        else:
            parts.append(_Part(place.offset, target))
    return sorted(parts, key=itemgetter(0))


def _read(path: str, parts: Sequence[_Part], dtype: np.dtype) -> None:
    """Fill each target with the rows at its offset. dtype: of the rows in the file."""
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
    while filled < len(buffer):
        n = file.readinto(buffer[filled:])
        if not n:
            raise PipelineError("is cut short", where=file.name, remedy="delete it and extract again")
        filled += n
