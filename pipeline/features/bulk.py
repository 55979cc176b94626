"""Many videos' rows at once, at the speed of the disk: straight from where they lie in the files, in file order.

HDF5's bookkeeping costs more per array than reading CLIP's 75 rows does. From the page cache (1,600 videos of 75 rows,
float16, 2,304 + 512 columns side by side): 1,670 MB per CPU second; one `Store.read` after the other: 250.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from io import FileIO
from operator import itemgetter

import numpy as np

from pipeline.errors import PipelineError
from pipeline.features.store import Store


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
    with ExitStack() as stack:
        before: _Job | None = None
        for path in sorted(targets):
            # The disk is at this file while the rows of the one before are copied.
            job = _begun(store, stack.enter_context(open(path, "rb", buffering=0)), targets[path])
            if before is not None:
                _finish(before)
            before = job
        if before is not None:
            _finish(before)
    return rows


@dataclass(frozen=True)
class _Job:
    """Rows to read from one file: their offsets, ascending, where they go, and their dtype in the file."""

    file: FileIO
    parts: list[tuple[int, np.ndarray]]
    dtype: np.dtype


def _begun(store: Store, file: FileIO, targets: Sequence[tuple[str, np.ndarray]]) -> _Job:
    """Look up where the rows lie and have the disk fetch them; rows that lie in pieces are read at once."""
    parts = []
    for key, target in targets:
        place = store.place(key)
        if len(target) > place.n:
            why = f"{key} has {place.n} rows where {len(target)} are wanted"
            raise PipelineError(why, where=file.name, remedy="extract it again")
        if place.offset is None:
            target[:] = store.entry(key).rows[: len(target)]
        else:
            parts.append((place.offset, target))
    job = _Job(file, sorted(parts, key=itemgetter(0)), np.dtype(store.passport.dtype))
    if parts and hasattr(os, "posix_fadvise"):
        first, (last, target) = job.parts[0][0], job.parts[-1]
        end = last + target.size * job.dtype.itemsize
        os.posix_fadvise(file.fileno(), first, end - first, os.POSIX_FADV_WILLNEED)
    return job


def _finish(job: _Job) -> None:
    """Fill each target with the rows at its offset."""
    scratch = np.empty(max((target.size for _, target in job.parts), default=0), job.dtype)
    for offset, target in job.parts:
        is_direct = target.flags.c_contiguous and target.dtype == job.dtype
        rows = target if is_direct else scratch[: target.size].reshape(target.shape)
        job.file.seek(offset)
        _fill(rows.reshape(-1).view(np.uint8).data, job.file)
        if not is_direct:
            target[:] = rows
    job.file.close()


def _fill(buffer: memoryview, file: FileIO) -> None:
    filled = 0
    while filled < len(buffer):
        n = file.readinto(buffer[filled:])
        if not n:
            raise PipelineError("is cut short", where=file.name, remedy="delete it and extract again")
        filled += n
