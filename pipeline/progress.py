"""Shows the progress of long work: a bar on a terminal, and in a log one plain line every 30 seconds.

A bar that is redrawn makes a log unreadable. The lines come from a thread, so that they also come while one video takes
minutes. Work that ends within the first 30 seconds writes no line.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from types import TracebackType
from typing import Self, TextIO, TypeVar

from tqdm import tqdm

from pipeline.nouns import counted, plural

EVERY_S = 30.0
"""Seconds between two lines."""

_BYTE_STEPS = ((10**9, "GB"), (10**6, "MB"), (10**3, "kB"))

Item = TypeVar("Item")


class Progress:
    """Counts what is done of `total` and shows it; a context manager, whose end stops the lines.

    total: the number of all units, or None if it is unknown. unit: what is counted, in the singular (`video`, `file`);
    `B` is bytes. what: the beginning of the line (`qvhighlights 00000`). done: the units that an earlier run did; they
    do not count in the rate. every_s (default `EVERY_S`), clock (seconds), out: for tests.
    """

    def __init__(
        self,
        total: int | None,
        unit: str,
        what: str,
        *,
        done: int = 0,
        every_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        out: TextIO | None = None,
    ) -> None:
        self.total, self.unit, self.what, self.done = total, unit, what, done
        self._first, self._every_s, self._clock = done, EVERY_S if every_s is None else every_s, clock
        self._out = sys.stderr if out is None else out
        self._began = clock()
        self._note = ""
        self._ended = threading.Event()
        self._bar: tqdm | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._began = self._clock()
        if self._out.isatty():
            is_bytes = self.unit == "B"
            unit = " B" if is_bytes else f" {plural(self.unit)}"
            self._bar = tqdm(total=self.total, initial=self.done, unit=unit, desc=self.what, unit_scale=is_bytes)
        else:
            self._thread = threading.Thread(target=self._tell, daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._bar is not None:
            self._bar.close()
        if self._thread is not None:
            self._thread.join()
            if self._clock() - self._began >= self._every_s:
                self._write()

    def add(self, n: int = 1, note: str = "") -> None:
        """Count n more units as done. note: the end of the line, until another note is given."""
        self.done += n
        self._note = note or self._note
        if self._bar is not None:
            if note:
                self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(n)

    @property
    def seconds(self) -> float:
        """Return the seconds since the block began."""
        return self._clock() - self._began

    def line(self) -> str:
        """Return the line: units done, total, rate, and the time left at this rate."""
        new, seconds = self.done - self._first, self.seconds
        last = _counted(self.done if self.total is None else self.total, self.unit)
        done = "" if self.total is None else f"{_bytes(self.done) if self.unit == 'B' else f'{self.done:,}'} of "
        parts = [f"{self.what}: {done}{last}"]
        if new > 0 and seconds > 0:
            parts.append(rate(new / seconds, self.unit))
            if self.total is not None and self.total > self.done:
                parts.append(f"{duration_text((self.total - self.done) * seconds / new)} left")
        parts.append(f"{duration_text(seconds)} so far")
        return ", ".join([*parts, self._note] if self._note else parts)

    def _tell(self) -> None:
        while not self._ended.wait(self._every_s):
            self._write()

    def _write(self) -> None:
        try:
            print(self.line(), file=self._out, flush=True)
        except (OSError, ValueError):  # a log that cannot be written to any more stops no work
            self._ended.set()


def lines(iterable: Iterable[Item], *, unit: str, what: str) -> Iterator[Item]:
    """Yield the items, and show how many of them are done. The total is shown if `iterable` has a length."""
    total = len(iterable) if isinstance(iterable, Sized) else None
    with Progress(total, unit, what) as progress:
        for item in iterable:
            yield item
            progress.add()


def _counted(n: int, unit: str) -> str:
    return _bytes(n) if unit == "B" else counted(n, unit)


def _bytes(n: float) -> str:
    for size, name in _BYTE_STEPS:
        if n >= size:
            return f"{n / size:.1f} {name}"
    return f"{n:.0f} B"


def rate(per_second: float, unit: str) -> str:
    """Return a rate as text: per second, or per minute or hour if it is below one. unit: what is counted; `B` is
    bytes."""
    if unit == "B":
        return f"{_bytes(per_second)}/s"
    if per_second >= 1:
        return f"{per_second:,.1f} {plural(unit)}/s"
    if per_second * 60 >= 1:
        return f"{per_second * 60:.1f} {plural(unit)}/min"
    return f"{per_second * 3600:.1f} {plural(unit)}/h"


def duration_text(seconds: float) -> str:
    """Return a length of time as text, such as `3 min 20 s`."""
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"
