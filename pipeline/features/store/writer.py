"""Fills one feature store in such a way that a killed job loses only the video at hand.

The layout of the file is described in `pipeline/features/store/__init__.py`.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import h5py
import numpy as np

from pipeline import files
from pipeline.errors import PipelineError
from pipeline.families import Passport
from pipeline.features.store import POOLED, Entry, Store, rows_not_finite
from pipeline.features.store.places import PLACES, write_index
from pipeline.names import MOST_BYTES, name_problem
from pipeline.nouns import counted


class TooLargeError(PipelineError):
    """Rows hold finite numbers that are too large for the dtype of the store.

    Only this video is then skipped. NaN, in contrast, is a fault of the network and stops the stage.
    """


class StoreWriter:
    """Fills one store. It is a context manager: when its block ends without an error, it writes the file.

    `add` writes each entry to disk at once, into a staging folder beside the store, so that a killed job loses only the
    video at hand. `keep` finds entries of an earlier run in that folder or in the store itself. Keys that were neither
    added nor kept are not in the new file.
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
        """Keep the rows of `key` that an earlier run made, if they have these attributes.

        Rows that are kept go into the new store. Returns whether there are any.
        """
        staged = self._read_staged(key)
        if staged is not None and _agrees(staged.attributes, attributes):
            self._staged.add(key)
            return True
        old = self._read_old(key)
        if old is not None and _agrees(old.attributes, attributes):
            self._kept.add(key)
            return True
        return False

    def add(self, key: str, rows: np.ndarray, *, pooled: np.ndarray | None = None, **attributes: str) -> None:
        """Store rows [n, dim], and a pooled vector of any length if there is one, under `key`.

        Raises PipelineError if the rows have another width, if there is no row, if values are not finite, and for a key
        that HDF5 would take for a path. Raises TooLargeError if values are finite but too large for the dtype of the
        store (float16: above 65,504).
        """
        problem = name_problem(key) or ("is the store's own" if key in (POOLED, PLACES) else "")
        if problem:
            why = f"`{key[:80]}` cannot name an array: it {problem}"
            raise PipelineError(why, where=self.path, remedy="give it another vid or qid")
        self._check_shape(key, rows)
        entry = Entry(self._cast(key, rows), None if pooled is None else self._cast(key, pooled[None])[0], attributes)
        arrays = {"rows": entry.rows, "attributes": np.array(json.dumps(dict(attributes), sort_keys=True))}
        if entry.pooled is not None:
            arrays["pooled"] = entry.pooled
        with files.atomic_path(self._staged_path(key)) as path:
            np.savez(path, **arrays)  # type: ignore[arg-type]
        self._staged.add(key)
        self._kept.discard(key)

    def _check_shape(self, key: str, rows: np.ndarray) -> None:
        if rows.ndim != 2 or rows.shape[1] != self.passport.dim or not len(rows):
            raise PipelineError(
                f"rows of shape {list(rows.shape)} where {self.passport.family} has [n > 0, {self.passport.dim}]",
                where=f"{self.path}, {key}",
                remedy="check which family these rows belong to",
            )

    def _cast(self, key: str, rows: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            cast = np.ascontiguousarray(rows, dtype=self.passport.dtype)
        if not np.isfinite(cast).all():
            kind = TooLargeError if np.isfinite(rows).all() else PipelineError
            raise kind(
                f"{rows_not_finite(cast)} of {counted(len(cast), 'row')} hold NaN or infinity as {self.passport.dtype}",
                where=f"{self.path}, {key}",
                remedy="see what the encoder was given, or set `encoding.dtype` to float32",
            )
        return cast

    def _open_staging(self) -> None:
        """Make the staging folder. A folder with rows of another passport is deleted first."""
        sign = self._staging / "passport.json"
        if not sign.is_file() or files.read_json(sign, files.MADE_HERE) != asdict(self.passport):
            shutil.rmtree(self._staging, ignore_errors=True)
            files.write_json(sign, asdict(self.passport))

    def _staged_path(self, key: str) -> Path:
        quoted = quote(key, safe="")  # nine bytes for each letter of Chinese, so it may be too long for a file's name
        name = quoted if len(quoted) <= MOST_BYTES else hashlib.sha256(key.encode()).hexdigest()
        return self._staging / f"{name}.npz"

    def _read_staged(self, key: str) -> Entry | None:
        """Return an entry of the staging folder, or None if there is none or a power cut left only a part of it."""
        try:
            with np.load(self._staged_path(key), allow_pickle=False) as arrays:
                return Entry(arrays["rows"], arrays.get("pooled"), json.loads(str(arrays["attributes"])))
        except Exception:  # NumPy may raise any exception for a damaged file, which then counts as absent
            return None

    def _read_old(self, key: str) -> Entry | None:
        """Return an entry of the store that was there before, or None if there is none or the file is damaged."""
        if self._old is None or key not in self._old:
            return None
        with suppress(PipelineError):
            return self._old.entry(key)
        return None

    def _assemble(self) -> None:
        with files.atomic_path(self.path) as path:
            try:
                self._write(path, sorted(self._staged | self._kept))
            except (
                OSError,
                RuntimeError,
            ) as error:  # h5py raises RuntimeError if it cannot close a file on a full disk
                raise files.cannot_write(self.path, OSError(_system_says(error))) from error

    def _write(self, path: Path, keys: Sequence[str]) -> None:
        with h5py.File(path, "w", libver="latest") as file:
            for name, value in asdict(self.passport).items():
                file.attrs[name] = value
            for key in keys:
                _write_entry(file, key, self._entry(key))
        write_index(path, keys, self.passport)

    def _entry(self, key: str) -> Entry:
        entry = self._read_staged(key) if key in self._staged else self._read_old(key)
        if not entry:
            why = "the staged rows of this video were deleted or damaged while the stage was running"
            raise PipelineError(why, where=self._staged_path(key), remedy="run the same command again")
        return entry


def _store_like(path: Path, passport: Passport) -> Store | None:
    """Return the store at `path` if it is undamaged and has this passport, else None."""
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


def _system_says(error: Exception) -> str:
    """Return the operating system's error message, which HDF5 quotes in its own, or the whole message."""
    found = re.search(r"error message = '([^']+)'", str(error))
    return found[1] if found else str(error)


def _agrees(found: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return all(found.get(name) == value for name, value in wanted.items())
