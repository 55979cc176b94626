"""Decode a list of videos in other processes, a little ahead of whoever encodes them.

Strangers' files hang and crash decoders. A decoding process carries an alarm that kills it when one video takes too
long (even inside C code that never returns); its death, by alarm or crash, costs that video alone: a new process goes
on behind it. The alarm rests while frames wait for the encoder, so that a slow network is no video's fault.

Frames travel in shared memory, for they are many: a pipe would cost a tenth of the decoding. Where there are cores for
it several videos are decoded at a time, and their events taken in turns, so that the order does not hang on who is
faster.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections import defaultdict, deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from math import prod
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline.errors import PipelineError
from pipeline.video.decode import CHUNK, Chunk, read_frames
from pipeline.video.frame_grid import SAMPLINGS
from pipeline.video.probe import probe

START = multiprocessing.get_context("spawn")
"""A fork would inherit torch's threads in whatever state they are."""

AHEAD = 8
"""Chunks of one process that wait for the encoder at most: 19 MB (containers often share no more than 64 MB)."""


class Wanted(NamedTuple):
    """The frames of one family: names of their sampling and of their view, and the clip length in seconds."""

    sampling: str
    view: str
    clip_s: Fraction


@dataclass(frozen=True)
class Request:
    """One video and what is wanted of it, by family."""

    path: Path
    wanted: Mapping[str, Wanted]


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


@dataclass(frozen=True)
class _Slot:
    """A Chunk on its way: its frames lie in this slot of the shared memory."""

    number: int
    shape: tuple[int, ...]
    view: str
    indices: Sequence[int]
    decoder: str


def decode_ahead(
    requests: Sequence[Request], seconds_per_video: float, n_processes: int = 1
) -> Generator[tuple[int, Event], None, None]:
    """Yield (position of the request, event): of each video a Plan, its Chunks, and Done or Failed.

    Each video is decoded once, at the union of the frames its families want. `n_processes` videos are at hand at a
    time, an event of each in turn. The frames of a Chunk are overwritten once the next event is asked for.
    """
    numbered = list(enumerate(requests))
    decoders = [_Decoder(numbered[k::n_processes], seconds_per_video) for k in range(min(n_processes, len(numbered)))]
    try:
        while working := [decoder for decoder in decoders if decoder.waiting]:
            for decoder in working:
                yield decoder.waiting[0][0], decoder.next_event()
    finally:
        for decoder in decoders:
            decoder.stop()


class _Decoder:
    """A decoding process and the memory it shares with us; behind a video that killed it another one goes on.

    waiting: (position, request) of the videos that have not had their last event.
    """

    def __init__(self, requests: Sequence[tuple[int, Request]], seconds_per_video: float) -> None:
        self.waiting = deque(requests)
        self._seconds = seconds_per_video
        self._memory = START.RawArray("B", AHEAD * CHUNK)
        self._slots = np.frombuffer(self._memory, np.uint8).reshape(AHEAD, CHUNK)
        self._taken: int | None = None
        self._start()

    def next_event(self) -> Event:
        """The next event of the first video that waits; Failed with the reason when the process has died."""
        if self._taken is not None:
            self._offer(self._taken)
            self._taken = None
        try:
            event = self._events.recv()
        except (EOFError, OSError):
            return self._go_on_behind()
        if isinstance(event, _Slot):
            self._taken = event.number
            frames = self._slots[event.number, : prod(event.shape)].reshape(event.shape)
            return Chunk(event.view, event.indices, frames, event.decoder)
        if isinstance(event, Done | Failed):
            self.waiting.popleft()
        return event

    def stop(self) -> None:
        """End the process, whatever it is at."""
        self._process.kill()
        self._process.join()
        self._events.close()
        self._free.close()

    def _start(self) -> None:
        self._events, theirs = START.Pipe(duplex=False)
        free, self._free = START.Pipe(duplex=False)
        requests = [request for _, request in self.waiting]
        self._process = START.Process(
            target=_work, args=(theirs, free, self._memory, requests, self._seconds), daemon=True
        )
        self._process.start()
        theirs.close()
        free.close()
        for slot in range(AHEAD):
            self._offer(slot)

    def _offer(self, slot: int) -> None:
        # A process that has died takes nothing; what it sent before is still to be read.
        with suppress(OSError):
            self._free.send(slot)

    def _go_on_behind(self) -> Failed:
        """The video at hand has killed the process."""
        self._process.join()
        why = self._cause_of_death()
        self.stop()
        self.waiting.popleft()
        if self.waiting:
            self._start()
        return Failed(why)

    def _cause_of_death(self) -> str:
        code = self._process.exitcode
        if code == -signal.SIGALRM:
            return f"decoding took longer than {self._seconds:g} s"
        if code is not None and code < 0:
            return f"the decoder crashed ({signal.Signals(-code).name})"
        return f"the decoding process ended with code {code}"


def _work(
    events: Connection, free: Connection, memory: Any, requests: Sequence[Request], seconds_per_video: float
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    slots = np.frombuffer(memory, np.uint8).reshape(AHEAD, CHUNK)
    try:
        for request in requests:
            signal.setitimer(signal.ITIMER_REAL, seconds_per_video)
            for event in _events(request):
                left, _ = signal.setitimer(signal.ITIMER_REAL, 0)
                events.send(_shared(event, slots, free) if isinstance(event, Chunk) else event)
                signal.setitimer(signal.ITIMER_REAL, left)
        signal.setitimer(signal.ITIMER_REAL, 0)
    except (EOFError, BrokenPipeError):
        return  # nobody reads any more


def _shared(chunk: Chunk, slots: np.ndarray, free: Connection) -> _Slot | Chunk:
    if chunk.frames.nbytes > CHUNK:
        return chunk  # one frame of a long strip, larger than a slot: through the pipe
    number = free.recv()
    slots[number, : chunk.frames.nbytes] = chunk.frames.reshape(-1)
    return _Slot(number, chunk.frames.shape, chunk.view, chunk.indices, chunk.decoder)


def _events(request: Request) -> Iterator[Event]:
    try:
        facts = probe(request.path)
        rows = {family: SAMPLINGS[what.sampling](facts, what.clip_s) for family, what in request.wanted.items()}
        yield Plan(rows)
        yield from read_frames(facts, _by_view(request.wanted, rows))
        yield Done()
    except PipelineError as error:
        yield Failed(error.what)


def _by_view(wanted: Mapping[str, Wanted], rows: Mapping[str, np.ndarray]) -> dict[str, list[int]]:
    """View → the source indices that any of its families wants, ascending."""
    indices: dict[str, set[int]] = defaultdict(set)
    for family, what in wanted.items():
        indices[what.view].update(rows[family].ravel().tolist())
    return {view: sorted(found) for view, found in indices.items()}
