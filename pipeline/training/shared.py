"""An array in memory that a process shares with its workers, so that the workers need no copies.

The memory is made by Linux' `memfd_create` and belongs to no file system. So it is not limited by the size of /dev/shm,
which is 64 MB in many containers. It is freed when the last process that uses it ends, even if that process is killed.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from math import prod
from multiprocessing import reduction
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

SHARED_FROM = 1 << 24
"""Smallest size in bytes of an array that is shared. Smaller arrays are copied to the workers.

Each shared array needs a file descriptor, and only about 250 of them can be passed on when a worker is started.
"""


class SharedArray:
    """An array [shape] in memory that workers can read, too. Pickling it for a worker passes on a file descriptor."""

    def __init__(self, shape: tuple[int, ...], dtype: DTypeLike) -> None:
        self._descriptor = os.memfd_create("features")
        size = prod(shape) * np.dtype(dtype).itemsize
        os.ftruncate(self._descriptor, size)
        self.array = np.frombuffer(mmap.mmap(self._descriptor, size), dtype).reshape(shape)

    def __reduce__(self) -> tuple[Callable[..., SharedArray], tuple[Any, ...]]:
        handed_on = reduction.DupFd(self._descriptor)
        return _attached, (handed_on, self.array.shape, self.array.dtype.str)

    def __del__(self) -> None:
        os.close(self._descriptor)


def is_worth_sharing(shape: tuple[int, ...], dtype: DTypeLike) -> bool:
    """Tell whether an array is large enough to be shared, and the system can share it."""
    return hasattr(os, "memfd_create") and prod(shape) * np.dtype(dtype).itemsize >= SHARED_FROM


def _attached(handed_on: Any, shape: tuple[int, ...], dtype: str) -> SharedArray:
    """Open the array in a worker. With ACCESS_COPY other processes do not see what a worker writes."""
    shared = SharedArray.__new__(SharedArray)
    shared._descriptor = handed_on.detach()
    size = prod(shape) * np.dtype(dtype).itemsize
    shared.array = np.frombuffer(mmap.mmap(shared._descriptor, size, access=mmap.ACCESS_COPY), dtype).reshape(shape)
    return shared
