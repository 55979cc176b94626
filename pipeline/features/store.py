"""Feature stores: one HDF5 file per shard and family, with the family's passport on it.

Layout: dataset `{key}` [n, dim] per vid (per qid for words), dataset `pooled/{key}` [dim] where a family has one vector
for the whole query; root attributes are the fields of `provenance.Passport`; each array's attributes say how it came
about (decoder, digest of its source). Equal arrays give equal bytes.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self
from urllib.parse import quote

import h5py
import numpy as np

from pipeline import files
from pipeline.errors import PipelineError
from pipeline.features.passports import one_passport, passport_from
from pipeline.provenance import Passport

POOLED = "pooled"
"""The group that holds one vector per query beside its tokens."""

ROWS_APART = 1
"""Streams of one video may differ by this many rows (datasets.md 5.5); more is an error."""


@dataclass(frozen=True)
class Entry:
    """What a store holds under one key. rows: [n, dim]. pooled: [dim] or None. attributes: how the rows came about."""

    rows: np.ndarray
    pooled: np.ndarray | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)


class Place(NamedTuple):
    """Where the `n` rows of one key lie in their file. offset: of the first byte; None where they lie in pieces."""

    offset: int | None
    n: int


class _Shard(NamedTuple):
    """One file of a store. id: the file for HDF5's lower calls."""

    path: str
    file: h5py.File
    id: h5py.h5f.FileID


class StoreWriter:
    """Fill one store; a context manager that assembles and renames the file when its block ends without an error.

    Every `add` is on disk at once, in a staging folder beside the store, so that a killed job loses only the video at
    hand. `keep` finds what an earlier run left, in that folder or in the store itself; keys that were neither added nor
    kept are not in the new file.
    """

    def __init__(self, path: Path | str, passport: Passport) -> None:
        self.path = Path(path)
        self.passport = passport
        self._staging = self.path.with_name(f".{self.path.name}.staging")
        self._old: Store | None = None
        self._staged: set[str] = set()
        self._kept: set[str] = set()

    def __enter__(self) -> Self:
        self._open_staging()
        self._old = _store_like(self.path, self.passport)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._assemble()
            if kind is None or not any(self._staging.glob("*.npz")):
                shutil.rmtree(self._staging, ignore_errors=True)
        finally:
            if self._old is not None:
                self._old.close()

    def keep(self, key: str, **attributes: str) -> bool:
        """Whether rows of `key` with these attributes are here from an earlier run; then they go into the new store."""
        staged = self._read_staged(key)
        if staged is not None and _agrees(staged.attributes, attributes):
            self._staged.add(key)
            return True
        if self._old is not None and key in self._old and _agrees(self._old.attributes(key), attributes):
            self._kept.add(key)
            return True
        return False

    def add(self, key: str, rows: np.ndarray, *, pooled: np.ndarray | None = None, **attributes: str) -> None:
        """Store rows [n, dim] (and a pooled vector [dim]) under `key`.

        Raises PipelineError for rows of another width, without a row, or with values that are not finite (as float16
        nothing above 65,504 is), and for a key that HDF5 would take for a path.
        """
        if "/" in key or key in ("", ".", POOLED):
            raise PipelineError(f"`{key}` cannot name an array", where=self.path, remedy="give it another vid or qid")
        entry = Entry(self._cast(key, rows), None if pooled is None else self._cast(key, pooled[None])[0], attributes)
        arrays = {"rows": entry.rows, "attributes": np.array(json.dumps(dict(attributes), sort_keys=True))}
        if entry.pooled is not None:
            arrays["pooled"] = entry.pooled
        with files.atomic_path(self._staged_path(key)) as path:
            np.savez(path, **arrays)  # type: ignore[arg-type]
        self._staged.add(key)
        self._kept.discard(key)

    def _cast(self, key: str, rows: np.ndarray) -> np.ndarray:
        where = f"{self.path}, {key}"
        if rows.ndim != 2 or rows.shape[1] != self.passport.dim or not len(rows):
            raise PipelineError(
                f"rows of shape {list(rows.shape)} where {self.passport.family} has [n > 0, {self.passport.dim}]",
                where=where,
                remedy="check which family these rows belong to",
            )
        with np.errstate(over="ignore"):
            cast = np.ascontiguousarray(rows, dtype=self.passport.dtype)
        if not np.isfinite(cast).all():
            raise PipelineError(
                f"{_rows_not_finite(cast)} of {len(cast)} rows hold NaN or infinity as {self.passport.dtype}",
                where=where,
                remedy="see what the encoder was given, or store as float32",
            )
        return cast

    def _open_staging(self) -> None:
        """Make the staging folder; one that belongs to another passport is emptied first."""
        sign = self._staging / "passport.json"
        if not sign.is_file() or files.read_json(sign) != asdict(self.passport):
            shutil.rmtree(self._staging, ignore_errors=True)
            files.write_json(sign, asdict(self.passport))

    def _staged_path(self, key: str) -> Path:
        return self._staging / f"{quote(key, safe='')}.npz"

    def _read_staged(self, key: str) -> Entry | None:
        """A staged entry; None where there is none, or where a power cut left half of one."""
        try:
            with np.load(self._staged_path(key), allow_pickle=False) as arrays:
                return Entry(arrays["rows"], arrays.get("pooled"), json.loads(str(arrays["attributes"])))
        except (OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError):
            return None

    def _assemble(self) -> None:
        with files.atomic_path(self.path) as path, h5py.File(path, "w", libver="latest") as file:
            for name, value in asdict(self.passport).items():
                file.attrs[name] = value
            for key in sorted(self._staged | self._kept):
                _write_entry(file, key, self._entry(key))

    def _entry(self, key: str) -> Entry:
        entry = self._read_staged(key) if key in self._staged else self._old and self._old.entry(key)
        if not entry:
            raise PipelineError("staged rows are gone", where=self._staged_path(key), remedy="run again")
        return entry


class Store:
    """Read the shards of one family as if they were one store.

    Raises PipelineError for a file that is no feature store, for a mix of passports (both files and the fields that
    differ are named), and for a key that two shards hold.
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
                passports[path] = passport_from(file.attrs, path)
                self._index(file, path)
            self.passport = one_passport(passports)
            self._row_bytes = self.passport.dim * np.dtype(self.passport.dtype).itemsize
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
        return self._dataset(key)[()].astype(np.float32)

    def read_pooled(self, key: str) -> np.ndarray:
        """The vector for the whole query, float32 [dim]. Raises PipelineError where there is none."""
        return self._dataset(key, f"{POOLED}/{key}")[()].astype(np.float32)

    def n_rows(self, key: str) -> int:
        """Number of rows under one key, read from the header alone."""
        return self.place(key).n

    def place(self, key: str) -> Place:
        """Where the rows of one key lie, for whoever reads many at once (`bulk.py`). Raises PipelineError."""
        if key not in self._places:
            # A quarter of the time of the high-level call; ten thousand videos ask.
            data = h5py.h5d.open(self._shard(key).id, key.encode())
            n, *dims = data.shape
            is_plain = dims == [self.passport.dim] and data.get_storage_size() == n * self._row_bytes
            self._places[key] = Place(data.get_offset() if is_plain else None, n)
        return self._places[key]

    def file_of(self, key: str) -> str:
        """The shard that holds one key. Raises PipelineError for a key that none holds."""
        return self._shard(key).path

    def attributes(self, key: str) -> dict[str, str]:
        """How the rows of one key came about: `decoder`, digest of the source and the like."""
        return {name: str(value) for name, value in self._dataset(key).attrs.items()}

    def entry(self, key: str) -> Entry:
        """Everything under one key, in the dtype it is stored in."""
        file = self._shard(key).file
        pooled = file[f"{POOLED}/{key}"][()] if f"{POOLED}/{key}" in file else None
        return Entry(file[key][()], pooled, self.attributes(key))

    def problems(self, n_rows: Mapping[str, int | None]) -> list[str]:
        """Everything wrong with this store at once, one line each: keys that are missing, of another width, not
        finite, or more than one row away from the expected number (None: any number is fine).
        """
        return [line for key, expected in n_rows.items() if (line := self._problem(str(key), expected))]

    def require(self, n_rows: Mapping[str, int | None]) -> None:
        """Raise one PipelineError that lists all `problems`."""
        if found := self.problems(n_rows):
            raise PipelineError(
                f"{len(found)} of {len(n_rows)} entries do not fit:\n  " + "\n  ".join(found),
                where=f"features {self.passport.family}",
                remedy="make these features again, or leave the vids out",
            )

    def _problem(self, key: str, expected: int | None) -> str | None:
        if key not in self:
            return f"{key}: missing"
        shard = self._shard(key)
        data = shard.file[key]
        where = f"{key} ({shard.path})"
        if data.ndim != 2 or data.shape[1] != self.passport.dim:
            return f"{where}: shape {list(data.shape)} where the passport says [n, {self.passport.dim}]"
        if bad := _rows_not_finite(data[()]):
            return f"{where}: {bad} of {len(data)} rows hold NaN or infinity"
        if expected is not None and abs(len(data) - expected) > ROWS_APART:
            return f"{where}: {len(data)} rows where {expected} ± {ROWS_APART} are expected"
        return None

    def _dataset(self, key: str, name: str | None = None) -> h5py.Dataset:
        shard = self._shard(key)
        if name is not None and name not in shard.file:
            raise self._lacks(name, shard.path)
        return shard.file[name or key]

    def _shard(self, key: str) -> _Shard:
        shard = self._shards.get(key)
        if shard is None:
            raise self._lacks(key, f"{len(self)} arrays")
        return shard

    def _lacks(self, name: str, where: str) -> PipelineError:
        return PipelineError(
            f"{self.passport.family} has no `{name}`",
            where=where,
            remedy="extract it, or leave it out of the annotations",
        )

    def _index(self, file: h5py.File, path: Path) -> None:
        shard = _Shard(str(path), file, file.id)
        for key in file:
            if key == POOLED:
                continue
            if key in self._shards:
                raise PipelineError(
                    f"`{key}` is in {self._shards[key].path} too", where=path, remedy="name each shard once"
                )
            self._shards[key] = shard


def open_stores(path: Path | str) -> Store:
    """The store at a path: a file, or the folder of a family's shards. Raises PipelineError where there is none."""
    path = Path(path)
    paths = sorted(path.glob("*.h5")) if path.is_dir() else [path]
    if not paths:
        raise PipelineError(
            "holds no feature store (*.h5)", where=path, remedy="name a store, or the folder of a family's shards"
        )
    return Store(paths)


def _open(path: Path) -> h5py.File:
    try:
        return h5py.File(path, "r")
    except OSError as error:
        reason = "is missing" if not path.exists() else f"is no whole HDF5 file ({error})"
        raise PipelineError(reason, where=path, remedy="delete it and extract again") from error


def _store_like(path: Path, passport: Passport) -> Store | None:
    """The store at `path` if it is whole and of this kind."""
    try:
        store = Store([path])
    except PipelineError:
        return None
    if store.passport == passport:
        return store
    store.close()
    return None


def _write_entry(file: h5py.File, key: str, entry: Entry) -> None:
    rows = file.create_dataset(key, data=entry.rows, track_times=False)
    for name, value in sorted(entry.attributes.items()):
        rows.attrs[name] = value
    if entry.pooled is not None:
        file.create_dataset(f"{POOLED}/{key}", data=entry.pooled, track_times=False)


def _agrees(found: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return all(found.get(name) == value for name, value in wanted.items())


def _rows_not_finite(rows: np.ndarray) -> int:
    return int((~np.isfinite(rows).all(axis=1)).sum())
