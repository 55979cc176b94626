"""Where memory is lacking, a command ends with one line, whichever thread or library finds it out."""

from __future__ import annotations

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
"""What a user is told."""

_SAID = re.compile(
    "not enough memory|can.t allocate memory|cannot allocate memory|can't start new thread|CUDA out of memory"
    "|failed to map segment",
    re.IGNORECASE,
)
"""What libraries say where memory is lacking for numbers, for the stack of a thread, or for a library's own code."""


def is_lacking(error: BaseException) -> bool:
    """Tell whether an error says that there is no memory left."""
    is_of_library = isinstance(error, RuntimeError | OSError | ImportError)
    return isinstance(error, MemoryError) or (is_of_library and bool(_SAID.search(str(error))))


def _with_causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, and the errors during whose handling it came about: a thread that cannot begin cannot end either,
    which is the error that is told."""
    while error is not None:
        yield error
        error = error.__context__


@contextmanager
def threads_watched(line: str) -> Iterator[None]:
    """Within the block, a thread that finds no memory ends the whole process, with this line on stderr and code 1.

    Python ends such a thread alone. If it has not yet begun, whoever started it waits for ever for it to begin. What
    the process was writing stays behind half written, as after a kill, and the next start deletes it.
    """
    said = f"{line}\n".encode()  # now, because there is no memory for it later

    def ending(before: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def end(told: Any) -> None:
            if any(map(is_lacking, _with_causes(told.exc_value))):
                os.write(2, said)
                os._exit(1)
            before(told)

        return end

    hooks = sys.unraisablehook, threading.excepthook
    sys.unraisablehook, threading.excepthook = ending(hooks[0]), ending(hooks[1])
    try:
        yield
    finally:
        sys.unraisablehook, threading.excepthook = hooks
