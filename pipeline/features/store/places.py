"""An index in a store's file that says where the rows of each key lie.

HDF5 needs 37 µs to look up a dataset, and reads a page of the file for it. In the same process the rows of a video took
23 µs (CLIP) or 105 µs (SlowFast) to read, so these look-ups would cost a large part of the reading. The index is read
at once. It is used only if the file still has the length that it had when the index was written, and if the first and
the last key lie where the index says. Otherwise (for example after another tool repacked the file) every key is looked
up by HDF5. A wrong index cannot make us read another file, because every place is checked to lie within this file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from pipeline.families import Passport
from pipeline.features.store.own_datasets import check_array, is_within

PLACES = ".places"
"""Name of the dataset with the index, int64 [1 + keys, 2].

Its first row holds the size of the file in bytes and the number of keys. Each further row holds the offset in bytes and
the number of rows of one key. The keys are sorted.
"""


class Place(NamedTuple):
    """The place of the `n` rows of one key in their file.

    offset: the position of their first byte, or None if they do not lie in one piece.
    """

    offset: int | None
    n: int


def look_up(file: h5py.h5f.FileID, key: str, passport: Passport) -> Place:
    """Ask HDF5 where the rows of one key lie. Raises KeyError for a key that the file does not hold."""
    # The low-level function takes about half of the time of `file[key]` (37 and 70 µs, measured in one process).
    data = h5py.h5d.open(file, key.encode())
    n, *dims = data.shape
    dtype = np.dtype(passport.dtype)
    row_bytes = passport.dim * dtype.itemsize
    is_plain = dims == [passport.dim] and data.get_storage_size() == n * row_bytes and data.dtype == dtype
    offset = data.get_offset() if is_plain else None
    return Place(offset if offset and offset + n * row_bytes <= file.get_filesize() else None, n)


def write_index(path: Path, keys: Sequence[str], passport: Passport) -> None:
    """Add the index to a store that is complete otherwise. keys: all keys of the store, sorted."""
    with h5py.File(path, "r+", libver="latest") as file:
        places = [(0, len(keys)), *(look_up(file.id, key, passport) for key in keys)]
        file.create_dataset(PLACES, data=np.array(places, np.int64), track_times=False)
    # The length of the file is final only after it was closed, so it is filled in when the file is opened again.
    with h5py.File(path, "r+", libver="latest") as file:
        file[PLACES][0, 0] = path.stat().st_size


def read_index(file: h5py.File, keys: Sequence[str], passport: Passport) -> Mapping[str, Place]:
    """Return the place of every key from the index of the file. The result is empty if there is no index to rely on.

    keys: all keys of the store, sorted.
    """
    if PLACES not in file:
        return {}
    check_array(file.id, PLACES, 2, file.filename)
    places_of = file[PLACES][()]
    head, *rows = places_of.tolist()
    if head != [file.id.get_filesize(), len(keys)] or len(rows) != len(keys):
        return {}
    if not is_within(file.id, places_of[1:], passport.dim * np.dtype(passport.dtype).itemsize):
        return {}
    places = {key: Place(*row) for key, row in zip(keys, rows, strict=True)}
    is_true = all(places[key] == look_up(file.id, key, passport) for key in {*keys[:1], *keys[-1:]})
    return places if is_true else {}
