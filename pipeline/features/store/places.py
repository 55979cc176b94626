"""Where rows lie in a store's file, as an index beside them.

HDF5 takes 40 µs to look a dataset up and reads a page of the file for it: for ten thousand videos half as long as their
rows take. The index is one read. It is believed only while the file has the length it was written with and the first
and the last key lie where it says; a file that another tool packed anew is looked up key by key. Whatever the index
says, only bytes of this very file are read by it.
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
"""Dataset int64 [1 + keys, 2]: bytes of the file and number of keys, then offset and rows of each key, keys sorted."""


class Place(NamedTuple):
    """Where the `n` rows of one key lie in their file. offset: of the first byte; None where they lie in pieces."""

    offset: int | None
    n: int


def look_up(file: h5py.h5f.FileID, key: str, passport: Passport) -> Place:
    """Ask HDF5 where one key's rows lie. Raises KeyError for a key that the file does not hold."""
    # A quarter of the time of the high-level call.
    data = h5py.h5d.open(file, key.encode())
    n, *dims = data.shape
    dtype = np.dtype(passport.dtype)
    row_bytes = passport.dim * dtype.itemsize
    is_plain = dims == [passport.dim] and data.get_storage_size() == n * row_bytes and data.dtype == dtype
    offset = data.get_offset() if is_plain else None
    return Place(offset if offset and offset + n * row_bytes <= file.get_filesize() else None, n)


def write_index(path: Path, keys: Sequence[str], passport: Passport) -> None:
    """Index a store that is complete but for this. keys: all that it holds, sorted."""
    with h5py.File(path, "r+", libver="latest") as file:
        places = [(0, len(keys)), *(look_up(file.id, key, passport) for key in keys)]
        file.create_dataset(PLACES, data=np.array(places, np.int64), track_times=False)
    # Only a closed file has its length.
    with h5py.File(path, "r+", libver="latest") as file:
        file[PLACES][0, 0] = path.stat().st_size


def read_index(file: h5py.File, keys: Sequence[str], passport: Passport) -> Mapping[str, Place]:
    """Place of every key by the file's index; nothing where there is none to believe. keys: as in `write_index`."""
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
