"""Unknown media files are decoded in a process of their own, because some of them make a decoder hang or crash.

The process carries an alarm that kills it when one file takes too long, even inside C code that never returns. The
alarm stops while an event waits to be taken, so that a slow network does not count against a file. The process that
started it sees it die, by alarm or crash, and starts another one for the next file.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeVar

from pipeline.errors import PipelineError

START = multiprocessing.get_context("spawn")
"""How processes are started. A fork would inherit torch's threads in whatever state they are, and could hang."""


class NotThereError(PipelineError):
    """The file is not there now, but it may be there another time."""


Task = TypeVar("Task")
Event = TypeVar("Event")


Fault = Literal["file", "decoder", "outside"]
"""The cause of a failure. An error of the file itself comes again. A decoder that crashed or took too long may
succeed the next time. A cause from outside (the file is not there, the decoder was killed) says nothing about the
file."""

_FROM_OUTSIDE = (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGHUP)
"""Exit codes of a process that somebody else ended, such as the kernel when memory was short."""


@dataclass(frozen=True)
class Failed:
    """The last event of a file that was not read completely, with the reason and the cause."""

    why: str
    fault: Fault = "file"


def work(
    tasks: Iterable[Task],
    events_of: Callable[[Task], Iterator[Event]],
    send: Callable[[Event | Failed], None],
    seconds_each: float,
) -> None:
    """Send the events of each task, and Failed for one that raises PipelineError. This runs in the other process."""
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
    """Describe why a process with this exit code has died while `doing` something."""
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
