"""Decode a list of videos in another process, a little ahead of whoever encodes them.

Strangers' files hang and crash decoders. The decoding process carries an alarm that kills it when one video takes too
long (even inside C code that never returns); its death, by alarm or crash, costs that video alone: a new process goes
on behind it. The alarm rests while a chunk waits for the encoder, so that a slow network is no video's fault.
"""

from __future__ import annotations

import multiprocessing
import queue
import signal
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from pipeline.errors import PipelineError
from pipeline.video.decode import Chunk, read_frames
from pipeline.video.frame_grid import SAMPLINGS
from pipeline.video.probe import probe

START = multiprocessing.get_context("spawn")
"""A fork would inherit torch's threads in whatever state they are."""

AHEAD = 8
"""Chunks that wait for the encoder at most: 38 MB."""


@dataclass(frozen=True)
class Request:
    """One video and what is wanted of it: per family the name of its sampling and the clip length in seconds."""

    path: Path
    wanted: Mapping[str, tuple[str, Fraction]]


@dataclass(frozen=True)
class Plan:
    """First event of a video. rows: per family the source indices, int64 [rows, frames per row]."""

    rows: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Done:
    """Last event of a video that was read whole."""


@dataclass(frozen=True)
class Failed:
    """Last event of a video that was not, and the reason."""

    why: str


Event = Plan | Chunk | Done | Failed


def decode_ahead(requests: Sequence[Request], seconds_per_video: float) -> Generator[tuple[int, Event], None, None]:
    """Yield (position of the request, event): Plan, Chunks, Done or Failed, video by video in order.

    Each video is decoded once, at the union of the frames its families want.
    """
    position = 0
    while position < len(requests):
        process = _Process(requests[position:], seconds_per_video)
        try:
            while position < len(requests):
                event = process.next_event()
                yield position, event
                position += isinstance(event, Done | Failed)
                if process.is_lost:
                    break
        finally:
            process.stop()


class _Process:
    """The decoding process and the thread that takes its events off the pipe, up to AHEAD of them."""

    def __init__(self, requests: Sequence[Request], seconds_per_video: float) -> None:
        self._connection, theirs = START.Pipe(duplex=False)
        self._process = START.Process(target=_work, args=(theirs, requests, seconds_per_video), daemon=True)
        self._process.start()
        theirs.close()
        self._seconds = seconds_per_video
        self._events: queue.Queue[Event | None] = queue.Queue(AHEAD)
        self._thread = threading.Thread(target=self._drain, daemon=True)
        self._thread.start()
        self.is_lost = False

    def next_event(self) -> Event:
        """The next event; Failed with the reason when the process has died."""
        event = self._events.get()
        if event is not None:
            return event
        self.is_lost = True
        self._process.join()
        return Failed(self._cause_of_death())

    def stop(self) -> None:
        """End the process and the thread, whatever they are at."""
        self._process.kill()
        while self._thread.is_alive():
            try:
                self._events.get(timeout=0.05)
            except queue.Empty:
                continue
        self._process.join()
        self._connection.close()

    def _drain(self) -> None:
        try:
            while True:
                self._events.put(self._connection.recv())
        except (EOFError, OSError):
            self._events.put(None)

    def _cause_of_death(self) -> str:
        code = self._process.exitcode
        if code == -signal.SIGALRM:
            return f"decoding took longer than {self._seconds:g} s"
        if code is not None and code < 0:
            return f"the decoder crashed ({signal.Signals(-code).name})"
        return f"the decoding process ended with code {code}"


def _work(connection: Connection, requests: Sequence[Request], seconds_per_video: float) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    for request in requests:
        signal.setitimer(signal.ITIMER_REAL, seconds_per_video)
        for event in _events(request):
            left, _ = signal.setitimer(signal.ITIMER_REAL, 0)
            connection.send(event)
            signal.setitimer(signal.ITIMER_REAL, left)
    signal.setitimer(signal.ITIMER_REAL, 0)


def _events(request: Request) -> Iterator[Event]:
    try:
        facts = probe(request.path)
        rows = {family: SAMPLINGS[name](facts, clip_s) for family, (name, clip_s) in request.wanted.items()}
        yield Plan(rows)
        yield from read_frames(facts, np.unique(np.concatenate([r.ravel() for r in rows.values()])).tolist())
        yield Done()
    except PipelineError as error:
        yield Failed(error.what)
