"""Decodes a list of videos in other processes (`video.supervised`), a little ahead of the encoder that uses the frames.

Frames are passed on in shared memory because there are many of them: a pipe would cost a tenth of the decoding time.
When there are enough cores, several videos are decoded at a time. Their events are taken in turns, so the order does
not depend on which process is faster.
"""

from __future__ import annotations

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

from pipeline.video.audio import Ended, read_sound
from pipeline.video.decode import CHUNK, Chunk, read_frames
from pipeline.video.frame_grid import sampling_of
from pipeline.video.part import Part, facts_of
from pipeline.video.probe import VideoFacts
from pipeline.video.supervised import START, Failed, death, no_main_script, one_by_one, work

AHEAD = 8
"""Largest number of chunks of one process that wait for the encoder: 19 MB. Containers often share only 64 MB."""


class FramesWanted(NamedTuple):
    """The frames that one family needs: the names of their sampling and of their view, and the clip length in
    seconds."""

    sampling: str
    view: str
    clip_s: Fraction


@dataclass(frozen=True)
class Request:
    """One video, or a part of a file, and the frames that each family needs of it."""

    path: Path | Part
    wanted: Mapping[str, FramesWanted]


@dataclass(frozen=True)
class Plan:
    """The first event of a video. rows: family → source indices of its frames, int64 [rows, frames per row]."""

    rows: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Done:
    """The last event of a video that was read completely."""


Event = Plan | Chunk | Done | Failed
SoundEvent = np.ndarray | Ended | Failed


@dataclass(frozen=True)
class _Slot:
    """A Chunk on its way between processes. Its frames lie in this slot of the shared memory."""

    number: int
    shape: tuple[int, ...]
    view: str
    indices: Sequence[int]
    decoder: str


def decode_ahead(
    requests: Sequence[Request], seconds_per_video: float, n_processes: int = 1
) -> Generator[tuple[int, Event], None, None]:
    """Yield (position of the request, event) for each video: a Plan, its Chunks, and then Done or Failed.

    Each video is decoded once for all frames that any of its families needs. `n_processes` videos are decoded at a
    time, and each gives one event in turn. The frames of a Chunk are overwritten when the next event is asked for.
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


def sounds_ahead(
    paths: Sequence[Path | Part], seconds_per_video: float
) -> Generator[tuple[int, SoundEvent], None, None]:
    """Yield (position of the path, event), video by video in order: samples, float32 [n], then Ended or Failed.

    Sound is small, so one process sends it through a pipe.
    """
    yield from one_by_one(paths, read_sound, seconds_per_video, "decoding its sound", Ended)


class _Decoder:
    """A decoding process and the memory that it shares with this one. When a video kills it, another process takes its
    place.

    waiting: (position, request) of the videos whose last event has not come yet.
    """

    def __init__(self, requests: Sequence[tuple[int, Request]], seconds_per_video: float) -> None:
        self.waiting = deque(requests)
        self._seconds = seconds_per_video
        self._memory = START.RawArray("B", AHEAD * CHUNK)
        self._slots = np.frombuffer(self._memory, np.uint8).reshape(AHEAD, CHUNK)
        self._taken: int | None = None
        self._start()

    def next_event(self) -> Event:
        """Return the next event of the first video that waits, or Failed with the reason when the process has died."""
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
        """End the process, whatever it is doing."""
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
        with no_main_script():
            self._process.start()
        theirs.close()
        free.close()
        for slot in range(AHEAD):
            self._offer(slot)

    def _offer(self, slot: int) -> None:
        # A process that has died accepts nothing more. What it sent before is still read.
        with suppress(OSError):
            self._free.send(slot)

    def _go_on_behind(self) -> Failed:
        """Handle the end of the process, which the current video or something else has killed. A new process starts
        after this video."""
        self._process.join()
        failed = death(self._process.exitcode, self._seconds, "decoding")
        self.stop()
        self.waiting.popleft()
        if self.waiting:
            self._start()
        return failed


def _work(
    events: Connection, free: Connection, memory: Any, requests: Sequence[Request], seconds_per_video: float
) -> None:
    slots = np.frombuffer(memory, np.uint8).reshape(AHEAD, CHUNK)

    def send(event: Event) -> None:
        events.send(_shared(event, slots, free) if isinstance(event, Chunk) else event)

    # An error of the pipe means that nobody reads any more.
    with suppress(EOFError, BrokenPipeError):
        work(requests, _events, send, seconds_per_video)


def _shared(chunk: Chunk, slots: np.ndarray, free: Connection) -> _Slot | Chunk:
    if chunk.frames.nbytes > CHUNK:
        return chunk  # A frame of a very long strip is larger than a slot, so it goes through the pipe.
    number = free.recv()
    slots[number, : chunk.frames.nbytes] = chunk.frames.reshape(-1)
    return _Slot(number, chunk.frames.shape, chunk.view, chunk.indices, chunk.decoder)


def _events(request: Request) -> Iterator[Event]:
    facts = facts_of(request.path)
    rows = sampled(request, facts)
    yield Plan(rows)
    yield from read_frames(facts, by_view(request.wanted, rows))
    yield Done()


def sampled(request: Request, facts: VideoFacts) -> dict[str, np.ndarray]:
    """Return family → source indices of its frames, int64 [rows, frames per row]."""
    return {family: sampling_of(what.sampling)(facts, what.clip_s) for family, what in request.wanted.items()}


def by_view(wanted: Mapping[str, FramesWanted], rows: Mapping[str, np.ndarray]) -> dict[str, list[int]]:
    """Return view → the source indices that any of its families needs, ascending."""
    indices: dict[str, set[int]] = defaultdict(set)
    for family, what in wanted.items():
        indices[what.view].update(rows[family].ravel().tolist())
    return {view: sorted(found) for view, found in indices.items()}
