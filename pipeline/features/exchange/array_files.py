"""Reads NumPy files (`.npy`, `.npz`) from strangers safely.

What a header claims is compared with the size of the file before any memory is allocated. Nothing is unpickled. A file
gets no more memory than it has bytes; a compressed file gets no more than an honest file of its size can need.
"""

from __future__ import annotations

import lzma
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
"""The accepted kinds of dtype: floating point, signed and unsigned integers, and booleans."""

MOST_HEADER_BYTES = 10_000
"""The largest accepted header of an array. NumPy's own headers are far shorter."""

MOST_AXES = 32
"""The largest accepted number of axes of an array."""

MOST_ARRAYS = 10_000
"""The largest accepted number of arrays in one `.npz` file."""

_READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}

_DAMAGE = (
    OSError,
    EOFError,
    RuntimeError,
    NotImplementedError,
    MemoryError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)


def read_npy(path: Path) -> np.ndarray:
    """Read the array of a `.npy` file. Raises ValueError with the reason if it is not such a file or is damaged."""
    try:
        with open(path, "rb") as file:
            return _array(file, path.stat().st_size)
    except _DAMAGE as error:
        raise ValueError(f"cannot be read ({error})") from error


def read_npz(path: Path, names: Collection[str] | None = None) -> Mapping[str, np.ndarray]:
    """Read arrays of a `.npz` file by name: those of `names` that it contains, or all of them.

    Entries that are not arrays are ignored.
    Raises ValueError with the reason if it is not such a file, if it is damaged, or if it unpacks to far more bytes
    than an honest file of its size.
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
            pass  # zipfile compares the checksum only after it has read the entry to its end
        return rows


def _refuse_bomb(members: list[zipfile.ZipInfo], packed: int) -> None:
    allowed = allowed_bytes(packed)
    if sum(info.file_size for info in members) > allowed or len(members) > MOST_ARRAYS:
        raise ValueError(
            f"unpacks to more than {allowed:,} bytes, over {LARGEST_RATIO} times its size, or {MOST_ARRAYS:,} arrays"
        )


def _array(file: IO[bytes], n_bytes: int) -> np.ndarray:
    """Read the array at the start of a file of `n_bytes` bytes. Raises ValueError with the reason if there is none."""
    shape, is_fortran, dtype = _header(file)
    if dtype.hasobject or dtype.kind not in NUMBERS or dtype.subdtype or dtype.names:
        raise ValueError(f"holds {dtype} where numbers are expected; nothing is unpickled (allow_pickle is off)")
    if len(shape) > MOST_AXES or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError(f"has a header with a shape of {len(shape)} axes that no array has")
    claimed, left = prod(shape) * dtype.itemsize, n_bytes - file.tell()
    if claimed > left:
        raise ValueError(
            f"is cut short, or its header is wrong: it claims {claimed:,} bytes of numbers, {max(left, 0):,} are there"
        )
    content = file.read(claimed)
    if len(content) != claimed:
        raise ValueError(f"is cut short: {len(content):,} of {claimed:,} bytes of numbers are there")
    rows = np.frombuffer(content, dtype) if content else np.empty(0, dtype)
    return rows.reshape(shape, order="F" if is_fortran else "C")


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Read the shape, whether the order is Fortran's, and the dtype. Raises ValueError with the reason."""
    # NumPy allocates as many bytes as the header claims to have. It gets only as many as an honest header can have.
    head = BytesIO(file.read(MOST_HEADER_BYTES))
    try:
        version = np.lib.format.read_magic(head)
        if version in _READERS:
            header = _READERS[version](head, max_header_size=MOST_HEADER_BYTES)
            file.seek(head.tell())
            return header
    # NumPy parses the header as a Python literal. A wrong one can raise errors of the tokenizer or parser, a recursion
    # error or a memory error. The header is the reason for all of them.
    except Exception as error:
        reason = " ".join(str(error).split())[:120]
        raise ValueError(f"has no header of NumPy ({type(error).__name__}: {reason})") from error
    raise ValueError(f"is of version {version[0]}.{version[1]} of NumPy's format; known are 1.0 and 2.0")
