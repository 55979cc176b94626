"""Ends a command with one line if there is not enough memory, in whichever thread or library the error occurs."""

from __future__ import annotations

import mmap
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

FULL = (
    "the memory that this process may use is full → give the job more memory (`mem_mb`, or `ulimit -v`), and run again"
)
"""The text of the error that a user reads."""

ROOM = 16 << 20
"""A thread is started only if so many bytes are free: 8 MiB are for its stack, the others for its first steps."""

_SAID = re.compile(
    "not enough memory|can.t allocate memory|cannot allocate memory|can't start new thread|CUDA out of memory"
    "|failed to map segment",
    re.IGNORECASE,
)
"""Error texts of libraries if there is no memory for numbers, for the stack of a thread, or for a library's code."""


def is_lacking(error: BaseException) -> bool:
    """Tell whether an error says that there is no memory left."""
    if isinstance(error, SystemError):  # Python's own C code lost an error, as it does when an allocation failed.
        return not _has_room()
    is_of_library = isinstance(error, RuntimeError | OSError | ImportError)
    return isinstance(error, MemoryError) or (is_of_library and bool(_SAID.search(str(error))))


def _has_room() -> bool:
    """Tell whether this process may take ROOM more bytes. They are not touched, so this costs no memory."""
    try:
        mmap.mmap(-1, ROOM).close()
    except (OSError, MemoryError):
        return False
    return True


def _with_causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and the earlier errors behind it.

    A thread that cannot start raises a second error, and only that one is reported.
    """
    while error is not None:
        yield error
        error = error.__context__


@contextmanager
def threads_watched(line: str) -> Iterator[None]:
    """End the whole process if a thread inside the block finds no memory, with this line on stderr and exit code 1.

    Python ends such a thread alone. If it has not yet begun, whoever started it waits for ever for it to begin. What
    the process was writing stays behind half written, as after a kill, and the next start deletes it.

    A thread without the memory for this line would make its starter wait for ever. So `Thread.start` raises MemoryError
    if less than ROOM is free.
    """
    said = f"{line}\n".encode()  # now, because there is no memory for it later

    def ending(before: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def end(told: Any) -> None:
            if any(map(is_lacking, _with_causes(told.exc_value))):
                os.write(2, said)
                os._exit(1)
            before(told)

        return end

    start = threading.Thread.start

    def start_with_room(thread: threading.Thread) -> None:
        if not _has_room():
            raise MemoryError("no room for a thread")
        start(thread)

    hooks = sys.unraisablehook, threading.excepthook
    threading.Thread.start = start_with_room  # type: ignore[assignment, method-assign]
    sys.unraisablehook, threading.excepthook = ending(hooks[0]), ending(hooks[1])
    try:
        yield
    finally:
        threading.Thread.start = start  # type: ignore[method-assign]
        sys.unraisablehook, threading.excepthook = hooks
