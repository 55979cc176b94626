"""Strangers' files in a process of their own: they hang and crash decoders, and cost themselves alone.

The process carries an alarm that kills it when one file takes too long (even inside C code that never returns). The
alarm rests while an event waits to be taken, so that a slow network is no file's fault. Who started the process sees it
die, by alarm or crash, and starts another one behind that file.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from pipeline.errors import PipelineError

START = multiprocessing.get_context("spawn")
"""A fork would inherit torch's threads in whatever state they are."""

Task = TypeVar("Task")
Event = TypeVar("Event")


@dataclass(frozen=True)
class Failed:
    """Last event of a file that was not read whole, and the reason."""

    why: str


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


def cause_of_death(code: int | None, seconds_each: float, doing: str) -> str:
    """Why a process with this exit code has died while `doing` something."""
    if code == -signal.SIGALRM:
        return f"{doing} took longer than {seconds_each:g} s"
    if code is not None and code < 0:
        return f"{doing} crashed ({signal.Signals(-code).name})"
    return f"{doing} ended with code {code}"


def _or_failed(events: Iterator[Event]) -> Iterator[Event | Failed]:
    try:
        yield from events
    except PipelineError as error:
        yield Failed(error.what)
