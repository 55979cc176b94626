"""Reads the facts of video files in a process of its own, because a file may make FFmpeg hang or crash.

One process reads one file after the other. It is started when the first file is asked for, and again when a file has
killed it (`supervised.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType
from typing import Self

from pipeline.video.part import Part, facts_of
from pipeline.video.supervised import START, Failed, death, in_other_process, no_main_script, work

LONGEST_S = 900.0
"""Time to read the facts of one file, after which it is given up. An hour of video takes seconds from a local disk."""
DOING = "reading its facts"


@dataclass(frozen=True)
class Facts:
    """The facts of a video stream without the times of its frames, as `probe.VideoFacts` describes them."""

    codec: str
    width: int
    height: int
    n_frames: int
    rate: Fraction
    duration: Fraction
    stored_duration: bool


class Looking:
    """The process that reads facts, as a context manager. Call it with a file, or with a part of one."""

    def __init__(self) -> None:
        self._seconds = LONGEST_S
        self._process: BaseProcess | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.kill()
            self._end(self._process)

    def __call__(self, source: Path | Part) -> Facts | Failed:
        """Return the facts of a video, or why there are none."""
        process = self._process or self._start()
        try:
            self._pipe.send(source)
            found: Facts | Failed = self._pipe.recv()
        except (EOFError, OSError):
            self._end(process)
            found = death(process.exitcode, self._seconds, DOING)
        return found

    def _start(self) -> BaseProcess:
        self._pipe, theirs = START.Pipe()
        self._process = START.Process(target=_work, args=(theirs, self._seconds), daemon=True)
        with no_main_script():
            self._process.start()
        theirs.close()
        return self._process

    def _end(self, process: BaseProcess) -> None:
        process.join()
        self._pipe.close()
        self._process = None


def _work(pipe: Connection, seconds_each: float) -> None:
    with suppress(BrokenPipeError):  # Nobody waits for the answer any more.
        work(_asked(pipe), _facts, pipe.send, seconds_each)


def _asked(pipe: Connection) -> Iterator[Path | Part]:
    with suppress(EOFError):
        while True:
            yield pipe.recv()


def _facts(source: Path | Part) -> Iterator[Facts]:
    yield facts_in_this_process(source)


def facts_in_this_process(source: Path | Part) -> Facts:
    """Read the facts of a video. Raises the errors of `probe`."""
    found = facts_of(source)
    return Facts(
        found.codec,
        found.width,
        found.height,
        found.n_frames,
        found.rate,
        found.duration,
        found.stored_duration,
    )


def duration_of(video: Path) -> Fraction:
    """Return the length of one video in seconds. Another process reads it.

    Raises the errors of `probe`, and PipelineError for a file that makes FFmpeg crash or take more than LONGEST_S.
    """
    return in_other_process(facts_in_this_process, video, LONGEST_S, DOING, video).duration
