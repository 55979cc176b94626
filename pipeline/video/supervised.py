"""Strangers' files in a process of their own: they hang and crash decoders, and cost themselves alone.

The process carries an alarm that kills it when one file takes too long (even inside C code that never returns). The
alarm rests while an event waits to be taken, so that a slow network is no file's fault. Who started the process sees it
die, by alarm or crash, and starts another one behind that file.
"""

from __future__ import annotations

import multiprocessing
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Literal, TypeVar

from pipeline.errors import PipelineError

START = multiprocessing.get_context("spawn")
"""A fork would inherit torch's threads in whatever state they are."""


_STARTING = threading.Lock()


class NotThereError(PipelineError):
    """A file that may be there another time."""


Task = TypeVar("Task")
Event = TypeVar("Event")


Fault = Literal["file", "decoder", "outside"]
"""Whose a failure is. A file's own comes again; a decoder that crashed or took too long may do better the next time;
what came from outside (the file is not there, the decoder was killed) says nothing about the file.
"""

_FROM_OUTSIDE = (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGHUP)
"""Exit codes of a process that somebody else ended: the kernel, when memory was short."""


@dataclass(frozen=True)
class Failed:
    """Last event of a file that was not read whole, the reason, and whose fault it was."""

    why: str
    fault: Fault = "file"


@contextmanager
def no_main_script() -> Iterator[None]:
    """Within this block processes are started that do not run the main script again.

    A spawned process runs the main script once more, up to its `if __name__ == "__main__":`. Somebody's script without
    this line would begin its work anew in there and die of it, and the file at hand would bear the blame. The
    pipeline's own functions need nothing of the main script, so none is named to their processes.
    """
    with _STARTING:
        main = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main


def work(
    tasks: Iterable[Task],
    events_of: Callable[[Task], Iterator[Event]],
    send: Callable[[Event | Failed], None],
    seconds_each: float,
) -> None:
    """In the other process: send the events of each task, and Failed for one that raises PipelineError."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    for task in tasks:
        signal.setitimer(signal.ITIMER_REAL, seconds_each)
        for event in _or_failed(events_of(task)):
            left, _ = signal.setitimer(signal.ITIMER_REAL, 0)
            send(event)
            signal.setitimer(signal.ITIMER_REAL, left)
    signal.setitimer(signal.ITIMER_REAL, 0)


def death(code: int | None, seconds_each: float, doing: str) -> Failed:
    """Why a process with this exit code has died while `doing` something."""
    if code == -signal.SIGALRM:
        return Failed(f"{doing} took longer than {seconds_each:g} s", "decoder")
    if code is None or code >= 0:
        return Failed(f"{doing} ended with code {code}", "decoder")
    name = signal.Signals(-code).name
    if code in _FROM_OUTSIDE:
        return Failed(f"{doing} was killed ({name})", "outside")
    return Failed(f"{doing} crashed ({name})", "decoder")


def _or_failed(events: Iterator[Event]) -> Iterator[Event | Failed]:
    try:
        yield from events
    except PipelineError as error:
        yield Failed(error.what, "outside" if isinstance(error, NotThereError) else "file")
