"""Feature stores: one HDF5 file per shard and family, with the family's passport on it.

Layout: dataset `{key}` [n, dim] per vid (per qid for words), dataset `pooled/{key}` [dim] where a family has one vector
for the whole query; root attributes are the fields of `families.Passport`; each array's attributes say how it came
about (decoder, digest of its source); `.places` is an index (`places.py`). Equal arrays give equal bytes.
A store that anybody else wrote is taken too, as long as its arrays lie in it (`own_datasets.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Self

import h5py
import numpy as np

from pipeline import files, names
from pipeline.errors import PipelineError, printable
from pipeline.families import Passport
from pipeline.features.store.own_datasets import check_array, names_in
from pipeline.features.store.passports import one_passport, passport_from
from pipeline.features.store.places import PLACES, Place, look_up, read_index

POOLED = "pooled"
"""The group that holds one vector per query beside its tokens."""
HDF5 = b"\x89HDF\r\n\x1a\n"
"""The first bytes of every store."""


@dataclass(frozen=True)
class Entry:
    """What a store holds under one key. rows: [n, dim]. pooled: [dim] or None. attributes: how the rows came about."""

    rows: np.ndarray
    pooled: np.ndarray | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)


class _Shard(NamedTuple):
    """One file of a store. id: the file for HDF5's lower calls."""

    path: str
    file: h5py.File
    id: h5py.h5f.FileID


class Store:
    """Read the shards of one family as if they were one store.

    Raises PipelineError for a file that is no feature store, for one that has an array elsewhere or under a name that
    names no file, for a mix of passports (both files and the fields that differ are named), and for a key that two
    shards hold; whatever reads it, for a file that is damaged.
    """

    def __init__(self, paths: Sequence[Path | str]) -> None:
        if not paths:
            raise PipelineError("no feature store was named", remedy="name at least one shard")
        self._shards: dict[str, _Shard] = {}
        self._places: dict[str, Place] = {}
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
        """Let go of the files."""
        self._open.close()

    def keys(self) -> list[str]:
        """All vids (or qids), sorted."""
        return sorted(self._shards)

    def read(self, key: str) -> np.ndarray:
        """Rows of one vid (or qid), float32 [n, dim]. Raises PipelineError for a key that no shard holds."""
        shard = self._shard(key)
        with _undamaged(shard.path):
            return _array(shard, key).astype(np.float32)

    def n_rows(self, key: str) -> int:
        """Number of rows under one key, read from the header alone."""
        return self.place(key).n

    def place(self, key: str) -> Place:
        """Where the rows of one key lie, for whoever reads many at once (`bulk.py`). Raises PipelineError."""
        if key not in self._places:
            shard = self._shard(key)
            with _undamaged(shard.path):
                self._places[key] = look_up(shard.id, key, self.passport)
        return self._places[key]

    def file_of(self, key: str) -> str:
        """The shard that holds one key. Raises PipelineError for a key that none holds."""
        return self._shard(key).path

    def attributes(self, key: str) -> dict[str, str]:
        """How the rows of one key came about: `decoder`, digest of the source and the like."""
        shard = self._shard(key)
        with _undamaged(shard.path):
            check_array(shard.id, key, 2, shard.path)
            return {printable(name): str(value) for name, value in shard.file[key].attrs.items()}

    def entry(self, key: str) -> Entry:
        """Everything under one key, in the dtype it is stored in."""
        shard = self._shard(key)
        with _undamaged(shard.path):
            pooled = _array(shard, f"{POOLED}/{key}", 1) if f"{POOLED}/{key}" in shard.file else None
            return Entry(_array(shard, key), pooled, self.attributes(key))

    @property
    def counts(self) -> dict[str, int]:
        """What a manifest says of a family: its arrays, and all their rows."""
        family = self.passport.family
        return {f"{family}_arrays": len(self), f"{family}_rows": sum(map(self.n_rows, self._shards))}

    def problems(self) -> list[str]:
        """Everything wrong with the rows of this store at once, one line each: of another width, or not finite."""
        return [line for key in self.keys() if (line := self._problem(key))]

    def _problem(self, key: str) -> str | None:
        rows = self.read(key)
        where = f"{key} ({self.file_of(key)})"
        if rows.ndim != 2 or rows.shape[1] != self.passport.dim:
            return f"{where}: shape {list(rows.shape)} where the passport says [n, {self.passport.dim}]"
        if bad := rows_not_finite(rows):
            return f"{where}: {bad} of {len(rows)} rows hold NaN or infinity"
        return None

    def _shard(self, key: str) -> _Shard:
        shard = self._shards.get(key)
        if shard is None:
            raise PipelineError(
                f"{self.passport.family} has no `{key}`",
                where=f"{len(self)} arrays",
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
    """The store at a path: a file, or the folder of a family's shards. Raises PipelineError where there is none."""
    path = Path(path)
    paths = sorted(path.glob("*.h5")) if path.is_dir() else [path]
    if not paths:
        raise PipelineError(
            "holds no feature store (*.h5)", where=path, remedy="name a store, or the folder of a family's shards"
        )
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
        return f"cannot be read ({reason.strerror or reason})", "give yourself the right to read that file"
    if is_begun:
        return f"is no whole HDF5 file ({error})", "delete it and extract again"
    return "is no feature store: it does not begin as HDF5 files do", "name a store that `extract` or `import` wrote"


@contextmanager
def _undamaged(path: Path | str) -> Iterator[None]:
    """Whatever goes wrong inside the block is the file's fault."""
    try:
        yield
    except PipelineError:
        raise
    except Exception as error:  # metadata of nonsense may raise anything
        reason = f"is damaged ({type(error).__name__}: {error})"
        raise PipelineError(reason, where=path, remedy="delete it and run again") from error


def rows_not_finite(rows: np.ndarray) -> int:
    """How many rows hold NaN or infinity."""
    return int((~np.isfinite(rows).all(axis=1)).sum())
