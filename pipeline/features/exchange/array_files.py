"""NumPy's files (`.npy`, `.npz`) of strangers: what a header claims is held against the file before it is believed.

Nothing is unpickled, and no more memory is taken than the file has bytes or, for a packed one, than its size allows.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Collection, Mapping
from io import BytesIO
from math import prod
from pathlib import Path
from typing import IO

import numpy as np

from pipeline.acquire.archives import LARGEST_RATIO, allowed_bytes

NUMBERS = "fiub"
"""Kinds of dtype: floating point, integers with and without sign, truth values."""

MOST_HEADER_BYTES = 10_000
MOST_AXES = 32
MOST_ARRAYS = 10_000
"""In one `.npz`."""

_READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}

_DAMAGE = (OSError, EOFError, RuntimeError, NotImplementedError, MemoryError, zipfile.BadZipFile, zlib.error)


def read_npy(path: Path) -> np.ndarray:
    """The array of a `.npy` file. Raises ValueError with the reason for a file that is none, or that cannot be read."""
    try:
        with open(path, "rb") as file:
            return _array(file, path.stat().st_size)
    except _DAMAGE as error:
        raise ValueError(f"cannot be read ({error})") from error


def read_npz(path: Path, names: Collection[str] | None = None) -> Mapping[str, np.ndarray]:
    """Arrays of a `.npz` file by name: those of `names` that it has, or all. Entries that are no arrays are left.

    Raises ValueError with the reason for a file that is none, that cannot be read, or that unpacks to far more than an
    honest file of its size.
    """
    try:
        with zipfile.ZipFile(path) as container:
            members = [info for info in container.infolist() if info.filename.endswith(".npy")]
            _refuse_bomb(members, path.stat().st_size)
            found = {info.filename.removesuffix(".npy"): info for info in members}
            return {name: _member(container, found[name]) for name in found if names is None or name in names}
    except _DAMAGE as error:
        raise ValueError(f"cannot be read ({error})") from error


def _member(container: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    with container.open(info) as file:
        try:
            rows = _array(file, info.file_size)
        except ValueError as error:
            raise ValueError(f"its array {info.filename!r} {error}") from error
        while file.read(1 << 16):
            pass  # the checksum stands at the end
        return rows


def _refuse_bomb(members: list[zipfile.ZipInfo], packed: int) -> None:
    allowed = allowed_bytes(packed)
    if sum(info.file_size for info in members) > allowed or len(members) > MOST_ARRAYS:
        raise ValueError(
            f"unpacks to more than {allowed:,} bytes, over {LARGEST_RATIO} times its size, or {MOST_ARRAYS:,} arrays"
        )


def _array(file: IO[bytes], n_bytes: int) -> np.ndarray:
    """The array that a file of so many bytes begins with."""
    shape, is_fortran, dtype = _header(file)
    if dtype.hasobject or dtype.kind not in NUMBERS or dtype.subdtype or dtype.names:
        raise ValueError(f"holds {dtype} where numbers are expected; nothing is unpickled (allow_pickle is off)")
    if len(shape) > MOST_AXES or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError(f"has a header with a shape of {len(shape)} axes that no array has")
    claimed, left = prod(shape) * dtype.itemsize, n_bytes - file.tell()
    if claimed > left:
        raise ValueError(
            f"is cut short, or lies: its header claims {claimed:,} bytes of numbers, {max(left, 0):,} are there"
        )
    content = file.read(claimed)
    if len(content) != claimed:
        raise ValueError(f"is cut short: {len(content):,} of {claimed:,} bytes of numbers are there")
    rows = np.frombuffer(content, dtype) if content else np.empty(0, dtype)
    return rows.reshape(shape, order="F" if is_fortran else "C")


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, order and dtype. NumPy reads the header as a literal of Python, and many things go wrong in one."""
    # NumPy takes as much memory as the header says that it has bytes: it is given what an honest one can have.
    head = BytesIO(file.read(MOST_HEADER_BYTES))
    try:
        version = np.lib.format.read_magic(head)
        if version in _READERS:
            header = _READERS[version](head, max_header_size=MOST_HEADER_BYTES)
            file.seek(head.tell())
            return header
    except Exception as error:  # tokenizer, parser, recursion, memory: all the header's fault
        reason = " ".join(str(error).split())[:120]
        raise ValueError(f"has no header of NumPy ({type(error).__name__}: {reason})") from error
    raise ValueError(f"is of version {version[0]}.{version[1]} of NumPy's format; known are 1.0 and 2.0")
