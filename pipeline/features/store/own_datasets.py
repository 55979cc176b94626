"""Checks that a store contains nothing but arrays of numbers that lie in the file itself.

HDF5 follows links into any other file of the machine, and a dataset can name another file as its storage. A store from
a stranger could therefore read any file as if it were rows. So every store is checked before its rows are read. Every
name must be a hard link to a dataset of numbers. The numbers must lie in the file itself, in one piece or in chunks.
Numbers in one piece must have their bytes in the file. Chunks may be packed, but the dataset must not unpack to far
more bytes than an honest file of its size.
"""

from __future__ import annotations

from math import ceil, prod
from pathlib import Path

import h5py
import numpy as np

from pipeline.acquire.archives import LARGEST_RATIO, allowed_bytes
from pipeline.errors import PipelineError

FILTERS = {
    h5py.h5z.FILTER_DEFLATE: "gzip",
    h5py.h5z.FILTER_SHUFFLE: "shuffle",
    h5py.h5z.FILTER_FLETCHER32: "fletcher32",
}
"""The compression filters that chunks may use. For another filter HDF5 may load a program from a folder."""

MOST_CHUNK_BYTES = 1 << 26
"""The largest accepted size of one chunk after it is unpacked, in bytes."""

_REMEDY = "it was made or changed by another program: delete it and extract again, or copy plain arrays into a new file"
_NUMBERS = {h5py.h5t.FLOAT, h5py.h5t.INTEGER}


def names_in(group: h5py.Group, path: Path) -> list[str]:
    """Return all names in a group, sorted. Raises PipelineError for what is no group, and for a link that can lead out
    of the file."""
    if not isinstance(group, h5py.Group):
        raise _unfit(group.name.removeprefix("/"), "is an array, where a group of arrays is expected", path)
    kinds: dict[str, int] = {}

    def note(name: bytes, info: h5py.h5l.LinkInfo) -> None:
        kinds[name.decode("utf-8", "surrogateescape")] = info.type

    group.id.links.iterate(note, info=True)
    for name, kind in kinds.items():
        if kind != h5py.h5l.TYPE_HARD:
            which = "a soft link" if kind == h5py.h5l.TYPE_SOFT else "a link to another file"
            raise _unfit(name, f"is {which}", path)
    return sorted(kinds)


def check_array(file: h5py.h5f.FileID, name: str, axes: int, path: Path | str) -> None:
    """Raise PipelineError unless `name` is an array of numbers with `axes` axes that lies in this file."""
    data = h5py.h5o.open(file, name.encode())
    if not isinstance(data, h5py.h5d.DatasetID):
        raise _unfit(name, "is no array", path)
    if data.get_space().get_simple_extent_type() != h5py.h5s.SIMPLE or data.rank != axes:
        raise _unfit(name, f"has {data.rank} axes where {axes} are expected", path)
    kind = data.get_type()
    if kind.get_class() not in _NUMBERS:
        raise _unfit(name, "holds no numbers", path)
    made = data.get_create_plist()
    layout = made.get_layout()
    if made.get_external_count():
        raise _unfit(name, "lies in another file (external storage)", path)
    if layout == h5py.h5d.VIRTUAL:
        raise _unfit(name, "is put together from other arrays (a virtual dataset)", path)
    n_bytes = prod(data.shape) * kind.get_size()
    if layout == h5py.h5d.CHUNKED:
        _check_chunks(data, made, name, kind.get_size(), path)
        if n_bytes > (allowed := allowed_bytes(file.get_filesize())):
            why = f"unpacks to {n_bytes:,} bytes, more than {allowed:,} and {LARGEST_RATIO} times the size of its file"
            raise _unfit(name, why, path)
    elif n_bytes != data.get_storage_size() or (data.get_offset() or 0) + n_bytes > file.get_filesize():
        raise _unfit(name, f"is {n_bytes:,} bytes large, and not all of them are in the file", path)


def _check_chunks(
    data: h5py.h5d.DatasetID, made: h5py.h5p.PropDCID, name: str, item_bytes: int, path: Path | str
) -> None:
    for n in range(made.get_nfilters()):
        if (code := made.get_filter(n)[0]) not in FILTERS:
            why = f"is packed with the filter {code}; known are {', '.join(FILTERS.values())}"
            raise _unfit(name, why, path)
    chunk = made.get_chunk()
    if prod(chunk) * item_bytes > MOST_CHUNK_BYTES:
        raise _unfit(name, f"has chunks of {list(chunk)}, more than {MOST_CHUNK_BYTES:,} bytes each", path)
    wanted = prod(ceil(n / length) for n, length in zip(data.shape, chunk, strict=True))
    if data.get_num_chunks() != wanted:
        raise _unfit(name, f"has {data.get_num_chunks():,} of its {wanted:,} chunks in the file", path)


def is_within(file: h5py.h5f.FileID, places: np.ndarray, row_bytes: int) -> bool:
    """Tell whether all places lie in the file.

    places: int64 [n, 2], the offset in bytes and the number of rows. row_bytes: the size of a row.
    """
    size = file.get_filesize()
    offsets, rows = places[:, 0], places[:, 1]
    # The number of rows is tested first, so that the product below cannot overflow int64.
    fits = (offsets > 0) & (rows >= 0) & (rows <= size // row_bytes)
    return bool((fits & (offsets <= size - rows * row_bytes)).all())


def _unfit(name: str, why: str, path: Path | str) -> PipelineError:
    return PipelineError(f"`{name}` {why}", where=path, remedy=_REMEDY)
