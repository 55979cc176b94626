"""Decodes unknown media files in a separate process, because some files make a decoder hang or crash.

The process has an alarm that kills it when one file takes too long, even inside C code that never returns. The alarm is
stopped while an event waits to be received, so that a slow receiver is not counted as time of the file. The parent
process notices when the process dies, and starts another one for the next file.
"""

from __future__ import annotations

import multiprocessing
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from types import ModuleType
from typing import Any, Literal, TypeVar

from pipeline.errors import PipelineError

START = multiprocessing.get_context("spawn")
"""The way in which processes are started. A forked process would have copies of torch's threads in any state, and could
hang."""


_STARTING = threading.Lock()


class NotThereError(PipelineError):
    """The file is not there now, but it may be there another time."""


Task = TypeVar("Task")
Event = TypeVar("Event")
Result = TypeVar("Result")


BROKEN = "put a good copy in its place, or encode it again (ffmpeg -i OLD NEW.mp4)"
"""The advice for a file that makes a decoder crash or hang."""

LEAVE_OUT = ", or leave it out (`skip` of its dataset)"
"""The end of the advice about a video of a dataset."""

Fault = Literal["file", "decoder", "outside"]
"""The cause of a failure. An error of the file itself will occur again. A decoder that crashed or took too long may
succeed the next time. A cause from outside (the file is not there, the decoder was killed) says nothing about the
file."""

_FROM_OUTSIDE = (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGHUP)
"""Exit codes of a process that somebody else ended, such as the kernel when memory was short."""


@dataclass(frozen=True)
class Failed:
    """The last event of a file that was not read completely, with the reason, the cause and what to do now, if that is
    known."""

    why: str
    fault: Fault = "file"
    remedy: str | None = None


@contextmanager
def no_main_script() -> Iterator[None]:
    """Start processes within this block without running the main script again in them.

    A spawned process runs the main script once more, up to its `if __name__ == "__main__":`. A user's script without
    this line would start its work again in this process and fail, and the error would be reported for the current file.
    The pipeline's functions need nothing from the main script, so its name is not passed on.
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
    """Send the events of each task, and Failed for one that raises PipelineError. This runs in the other process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    for task in tasks:
        signal.setitimer(signal.ITIMER_REAL, seconds_each)
        for event in _or_failed(events_of(task)):
            left, _ = signal.setitimer(signal.ITIMER_REAL, 0)
            send(event)
            signal.setitimer(signal.ITIMER_REAL, left)
        signal.setitimer(signal.ITIMER_REAL, 0)  # Waiting for the next task takes none of anybody's time.


def one_by_one(
    tasks: Sequence[Task],
    events_of: Callable[[Task], Iterator[Event]],
    seconds_each: float,
    doing: str,
    last: type[Any],
) -> Generator[tuple[int, Event | Failed], None, None]:
    """Yield (position of the task, event), task by task in order, from one other process. Small events come here
    through a pipe.

    events_of: a function that another process can import; it raises PipelineError. last: the class of each task's last
    event. doing: the name of the work, for the error about a task that kills the process. Another process then begins
    after this task.
    """
    position = 0
    while position < len(tasks):
        ours, theirs = START.Pipe(duplex=False)
        process = START.Process(target=_send_all, args=(theirs, tasks[position:], events_of, seconds_each), daemon=True)
        with no_main_script():
            process.start()
        theirs.close()
        try:
            while position < len(tasks):
                event: Event | Failed = ours.recv()
                yield position, event
                position += isinstance(event, last | Failed)
        except (EOFError, OSError):
            process.join()
            yield position, death(process.exitcode, seconds_each, doing)
            position += 1
        finally:
            process.kill()
            process.join()
            ours.close()


def in_other_process(
    work_on: Callable[[Task], Result], task: Task, seconds: float, doing: str, where: object
) -> Result:
    """Return the small result of one task that another process works on.

    work_on: a function that another process can import. doing: the name of the work. where: the file, for the error.
    Raises PipelineError if the function does, if it crashes, and if it takes longer than `seconds`.
    """
    [(_, found)] = one_by_one([task], partial(_only_event, work_on), seconds, doing, object)
    if isinstance(found, Failed):
        raise PipelineError(found.why, where=where, remedy=of_one_file(found.remedy))
    return found


def of_one_file(remedy: str | None) -> str:
    """Return the advice about a file that is in no dataset, so that it cannot be left out of one."""
    return (remedy or BROKEN).removesuffix(LEAVE_OUT)


def _only_event(work_on: Callable[[Task], Result], task: Task) -> Iterator[Result]:
    yield work_on(task)


def _send_all(
    events: Connection, tasks: Sequence[Task], events_of: Callable[[Task], Iterator[Event]], seconds_each: float
) -> None:
    work(tasks, events_of, events.send, seconds_each)


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
        yield Failed(error.what, "outside" if isinstance(error, NotThereError) else "file", error.remedy)
