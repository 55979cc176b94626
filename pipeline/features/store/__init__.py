"""Feature stores: one HDF5 file for each shard and family. The file carries the passport of the family.

The file holds a dataset `{key}` [n, dim] for each vid (for each qid, if the family is one of words). If a family has
one vector for the whole query, a dataset `pooled/{key}` [dim] holds it. The root attributes are the fields of
`families.Passport`. The attributes of each array say how it was made (decoder, digest of its source). The dataset
`.places` is an index (`places.py`). Equal arrays give files of equal bytes. A store that another program wrote is
accepted if its arrays lie in the file itself (`own_datasets.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Self

import h5py
import numpy as np

from pipeline import files, names, programs
from pipeline.errors import PipelineError, printable
from pipeline.families import Passport
from pipeline.features.store.own_datasets import check_array, names_in
from pipeline.features.store.passports import one_passport, passport_differences, passport_from
from pipeline.features.store.places import PLACES, Place, look_up, read_index
from pipeline.nouns import counted

POOLED = "pooled"
"""The group that holds one vector per query beside its tokens."""
HDF5 = b"\x89HDF\r\n\x1a\n"
"""The first bytes of every store."""
OPEN_S = 300.0
"""Longest time to open a store that a user names. Ten thousand videos take a second from a local disk."""


@dataclass(frozen=True)
class Entry:
    """The content of a store under one key.

    rows: [n, dim]. pooled: the vector of the whole query, of any length, or None. attributes: how the rows were made.
    """

    rows: np.ndarray
    pooled: np.ndarray | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)


class _Shard(NamedTuple):
    """One file of a store. id: the handle of the same file for h5py's low-level functions."""

    path: str
    file: h5py.File
    id: h5py.h5f.FileID


class Store:
    """Reads the shards of one family as if they were one store.

    Raises PipelineError for a file that is not a feature store, for an array that lies outside the file or whose name
    cannot be the name of a file, and for a key that two shards hold. It also raises PipelineError if the passports of
    two files differ; the error names both files and the fields that differ. Every method that reads raises
    PipelineError for a damaged file.
    """

    def __init__(self, paths: Sequence[Path | str]) -> None:
        if not paths:
            raise PipelineError("no feature store was named", remedy="name at least one shard")
        self._shards: dict[str, _Shard] = {}
        self._places: dict[str, Place] = {}
        self._dtypes: dict[str, str] = {}
        with ExitStack() as stack:
            passports = {}
            for path in map(Path, paths):
                file = stack.enter_context(_open(path))
                with _undamaged(path):
                    passports[path] = passport_from(file.attrs, path)
                    self._index(file, path, passports[path])
            self.passport = one_passport(passports)
            self._open = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __contains__(self, key: object) -> bool:
        return key in self._shards

    def __len__(self) -> int:
        return len(self._shards)

    def close(self) -> None:
        """Close the files."""
        self._open.close()

    def fill_from(self, other: Store, keys: Iterable[str]) -> None:
        """Take the rows of `keys` from another store, in place of any rows of the same keys here. No file changes.

        other: a store of the same family from another origin. It must stay open as long as this one. The caller must
        have the user's permission to use rows of two origins together. Raises PipelineError when family, grid or width
        differ, and for a key that the other store does not hold.
        """
        mine, theirs = self.passport, other.passport
        if (mine.family, mine.grid, mine.dim) != (theirs.family, theirs.grid, theirs.dim):
            raise PipelineError(
                f"cannot fill {mine.family}: {'; '.join(passport_differences(theirs, mine))}",
                where=theirs.origin,
                remedy="name an archive of the same family and grid under `fill` of the dataset",
            )
        for key in keys:
            shard = other._shard(key)
            self._places[key] = other.place(key)
            self._shards[key] = shard
            self._dtypes[shard.path] = theirs.dtype

    def dtype_of(self, path: str) -> np.dtype:
        """Return the dtype of the rows in one of the files."""
        return np.dtype(self._dtypes.get(path, self.passport.dtype))

    @property
    def dtypes(self) -> set[str]:
        """The names of the dtypes of all files."""
        return {self.passport.dtype, *self._dtypes.values()}

    def keys(self) -> list[str]:
        """Return all vids (or qids), sorted."""
        return sorted(self._shards)

    def read(self, key: str) -> np.ndarray:
        """Read the rows of one vid (or qid): float32 [n, dim]. Raises PipelineError for a key that no shard holds."""
        shard = self._shard(key)
        with _undamaged(shard.path):
            return _array(shard, key).astype(np.float32)

    def n_rows(self, key: str) -> int:
        """Return the number of rows under one key. Only the header is read."""
        return self.place(key).n

    def place(self, key: str) -> Place:
        """Return where the rows of one key lie in their file. `bulk.py` uses it to read many keys at once.

        Raises PipelineError for a key that no shard holds.
        """
        if key not in self._places:
            shard = self._shard(key)
            with _undamaged(shard.path):
                self._places[key] = look_up(shard.id, key, self.passport)
        return self._places[key]

    def file_of(self, key: str) -> str:
        """Return the path of the shard that holds one key. Raises PipelineError for a key that no shard holds."""
        return self._shard(key).path

    def attributes(self, key: str) -> dict[str, str]:
        """Return how the rows of one key were made: `decoder`, digest of the source and the like."""
        shard = self._shard(key)
        with _undamaged(shard.path):
            check_array(shard.id, key, 2, shard.path)
            return {printable(name): str(value) for name, value in shard.file[key].attrs.items()}

    def entry(self, key: str) -> Entry:
        """Return everything under one key, in the dtype in which it is stored."""
        shard = self._shard(key)
        with _undamaged(shard.path):
            pooled = _array(shard, f"{POOLED}/{key}", 1) if f"{POOLED}/{key}" in shard.file else None
            return Entry(_array(shard, key), pooled, self.attributes(key))

    @property
    def counts(self) -> dict[str, int]:
        """The numbers that a manifest records for a family: of its arrays, and of the rows in all of them."""
        family = self.passport.family
        return {f"{family}_arrays": len(self), f"{family}_rows": sum(map(self.n_rows, self._shards))}

    def problems(self) -> list[str]:
        """Return all problems of the rows of this store, one line each: rows of another width, or not finite values."""
        return [line for key in self.keys() if (line := self._problem(key))]

    def _problem(self, key: str) -> str | None:
        rows = self.read(key)
        where = f"{key} ({self.file_of(key)})"
        if rows.ndim != 2 or rows.shape[1] != self.passport.dim:
            return f"{where}: shape {list(rows.shape)} where the passport says [n, {self.passport.dim}]"
        if bad := rows_not_finite(rows):
            return f"{where}: {bad} of {counted(len(rows), 'row')} hold NaN or infinity"
        return None

    def _shard(self, key: str) -> _Shard:
        shard = self._shards.get(key)
        if shard is None:
            raise PipelineError(
                f"{self.passport.family} has no `{key}`",
                where=counted(len(self), "array"),
                remedy="extract it, or leave it out of the annotations",
            )
        return shard

    def _index(self, file: h5py.File, path: Path, passport: Passport) -> None:
        shard = _Shard(str(path), file, file.id)
        found = names_in(file, path)
        if POOLED in found:
            names_in(file[POOLED], path)
        keys = [name for name in found if name not in (POOLED, PLACES)]
        for key in keys:
            names.file_name(key, "the array", path, "it was made or changed by another program: extract again")
            if key in self._shards:
                raise PipelineError(
                    f"`{key}` is in {self._shards[key].path} too", where=path, remedy="name each shard once"
                )
            self._shards[key] = shard
        places = read_index(file, keys, passport)
        for key in keys if not places else ():
            check_array(file.id, key, 2, path)
        self._places.update(places)


def open_stores(path: Path | str) -> Store:
    """Open the store at a path: a file, or the folder of a family's shards. Raises PipelineError if there is none.

    HDF5 never returns from some damaged files, and no manifest vouches for a store that a user names. So the process is
    ended with one line after OPEN_S seconds.
    """
    path = Path(path)
    paths = sorted(path.glob("*.h5")) if path.is_dir() else [path]
    if not paths:
        raise PipelineError(
            "holds no feature store (*.h5)", where=path, remedy="name a store, or the folder of a family's shards"
        )
    stuck = f"{printable(path)}: opening it takes longer than {OPEN_S:g} s: it is damaged → extract or fetch it again"
    with programs.ended_if_stuck(OPEN_S, stuck):
        return Store(paths)


def _array(shard: _Shard, name: str, axes: int = 2) -> np.ndarray:
    check_array(shard.id, name, axes, shard.path)
    rows: np.ndarray = shard.file[name][()]
    return rows


def _open(path: Path) -> h5py.File:
    files.refuse_special(path)
    try:
        return h5py.File(path, "r")
    except OSError as error:
        reason, remedy = _unopened(path, error)
        raise PipelineError(reason, where=path, remedy=remedy) from error


def _unopened(path: Path, error: OSError) -> tuple[str, str]:
    """Say why a store cannot be opened, and what to do. Only a file that begins as a store may have been one."""
    try:
        with open(path, "rb") as file:
            is_begun = file.read(len(HDF5)) == HDF5
    except FileNotFoundError:
        return "is missing", "extract or import its videos, or name a store that is there"
    except OSError as reason:
        return f"cannot be read ({reason.strerror or reason})", "allow this user to read that file"
    if is_begun:
        return f"is no complete HDF5 file ({error})", "delete it and extract again"
    return "is no feature store: it does not begin as HDF5 files do", "name a store that `extract` or `import` wrote"


@contextmanager
def _undamaged(path: Path | str) -> Iterator[None]:
    """Turn every exception inside the block into a PipelineError which says that the file is damaged."""
    try:
        yield
    except PipelineError:
        raise
    except Exception as error:  # h5py may raise any exception when the metadata of a file are damaged
        reason = f"is damaged ({type(error).__name__}: {error})"
        raise PipelineError(reason, where=path, remedy="delete it and run again") from error


def rows_not_finite(rows: np.ndarray) -> int:
    """Return how many rows hold NaN or infinity. rows: [n, dim]."""
    return int((~np.isfinite(rows).all(axis=1)).sum())
