"""The sound of videos: mono, 32 kHz, on the video's own clock, decoded once in another process, a piece at a time.

PyAV decodes, channels are averaged, soxr resamples: bit for bit what librosa makes of the whole track (`to_mono`, then
`resample` with `soxr_hq`), as the published extractor had it, but in bounded memory. decord was measured and left out:
its `mono` adds two channels at 1/√2 each, 3 dB louder than their mean, and it holds the whole track.
"""

from __future__ import annotations

import signal
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import floor
from multiprocessing.connection import Connection
from pathlib import Path

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer

from pipeline.errors import PipelineError
from pipeline.video import ahead
from pipeline.video.ahead import Failed
from pipeline.video.probe import opened

RATE = 32_000
"""Samples per second that the networks here listen to."""

WINDOW = 64_000
"""Samples of one row, 2 s (features.md 3.7)."""

CHUNK = 1 << 19
"""Samples handed over at a time: 16 s, 2 MB."""

OFF_S = Fraction(1, 10)
"""Where a packet's time leaves the count of samples by more, silence is put in or sound left out (FFmpeg's limit too).
Less is rounding: Matroska counts in milliseconds, decoders start a few late."""

LOUDEST = 2.0**15
"""Samples lie in -1 … 1 and decoders overshoot a little; beyond this a file of floating point holds no sound."""


@dataclass(frozen=True)
class Ended:
    """Last event of a track that was read whole. end_s: Tₐ, where it ends on the video's clock; None without sound."""

    end_s: Fraction | None


Event = np.ndarray | Ended | Failed


def sounds_ahead(paths: Sequence[Path], seconds_per_video: float) -> Generator[tuple[int, Event], None, None]:
    """Yield (position of the path, event), video by video in order: samples, float32 [n], then Ended or Failed.

    A video that hangs or crashes its decoder costs itself alone, as in `video.ahead`.
    """
    position = 0
    while position < len(paths):
        ours, theirs = ahead.START.Pipe(duplex=False)
        process = ahead.START.Process(target=_work, args=(theirs, paths[position:], seconds_per_video), daemon=True)
        process.start()
        theirs.close()
        try:
            while position < len(paths):
                event: Event = ours.recv()
                yield position, event
                position += isinstance(event, Ended | Failed)
        except (EOFError, OSError):
            process.join()
            yield position, Failed(_cause_of_death(process.exitcode, seconds_per_video))
            position += 1
        finally:
            process.kill()
            process.join()
            ours.close()


def read_sound(path: Path) -> Iterator[np.ndarray | Ended]:
    """Samples from the video's second 0 on, float32 [n] at 32 kHz, n bounded, in all floor(32,000 · Tₐ); then Ended.

    The track is FFmpeg's first choice. Sound before second 0 is left out; before a late start and in holes there is
    silence. Raises PipelineError for a file or a track that cannot be decoded whole.
    """
    import soxr  # type: ignore[import-untyped]  # librosa's own resampler

    with opened(path) as container:
        if not container.streams.audio:
            yield Ended(None)
            return
        best = container.streams.best("audio")
        # FFmpeg chooses none that it cannot decode; then the first one's own reason is wanted.
        stream = best if isinstance(best, AudioStream) else container.streams.audio[0]
        rate, n_heard, n_given = 0, 0, 0
        waiting: list[np.ndarray] = []
        for rate, samples in _on_the_clock(container, stream, path):
            if not n_heard:
                resampler = soxr.ResampleStream(rate, RATE, 1, dtype="float32", quality="HQ")
            n_heard += len(samples)
            waiting.append(resampler.resample_chunk(samples))
            if sum(map(len, waiting)) >= CHUNK:
                n_given += sum(map(len, waiting))
                yield np.concatenate(waiting)
                waiting = []
        if not n_heard:
            yield Ended(None)
            return
        rest = np.concatenate([*waiting, resampler.resample_chunk(np.zeros(0, np.float32), last=True)])
        end_s = Fraction(n_heard, rate)
        yield rest[: floor(end_s * RATE) - n_given]
        yield Ended(end_s)


class Windows:
    """Cut a track that comes in pieces into one window of 2 s per row of a grid, centred on the row's middle.

    On the 2 s grid these are the published pieces of 64,000 samples, one after the other, the remainder dropped. On a
    finer grid they overlap and reach over the edges, where zeros stand (the stand-in of features.md 3.7). There are
    floor(Tₐ/L) rows, at least one, at most `limit`.
    """

    def __init__(self, clip_s: Fraction, limit: int) -> None:
        self._clip_s, self._limit = clip_s, limit
        self.n_rows = 0
        self._first = self._start()
        self._held = np.zeros(-self._first, np.float32)

    def push(self, samples: np.ndarray) -> Iterator[np.ndarray]:
        """Take the next samples; yield the windows that they complete, float32 [64000] each."""
        if self.n_rows == self._limit:
            return
        self._held = np.concatenate([self._held, samples])
        while self.n_rows < self._limit and self._start() - self._first + WINDOW <= len(self._held):
            yield self._cut()
        self._held = self._held[self._start() - self._first :]
        self._first = self._start()

    def end(self, end_s: Fraction) -> Iterator[np.ndarray]:
        """Yield the windows that reach over the end of the track."""
        n_rows = min(max(1, floor(end_s / self._clip_s)), self._limit)
        self._held = np.concatenate([self._held, np.zeros(WINDOW, np.float32)])
        while self.n_rows < n_rows:
            yield self._cut()

    def _start(self) -> int:
        """First sample of the next window."""
        middle_s = (self.n_rows + Fraction(1, 2)) * self._clip_s
        return floor(middle_s * RATE + Fraction(1, 2)) - WINDOW // 2

    def _cut(self) -> np.ndarray:
        start = self._start() - self._first
        self.n_rows += 1
        return self._held[start : start + WINDOW]


def _on_the_clock(container: InputContainer, stream: AudioStream, path: Path) -> Iterator[tuple[int, np.ndarray]]:
    """(rate, mono samples) of each frame, from second 0 on without a hole."""
    rate, n = 0, 0
    for frame in _frames(container, stream, path):
        rate = rate or frame.sample_rate
        if frame.sample_rate != rate:
            what = f"its sound changes from {rate} to {frame.sample_rate} Hz after {n / rate:.2f} s"
            raise PipelineError(what, where=path, remedy="encode its sound again, or leave it out")
        samples = _mono(frame, path)
        late = 0 if frame.pts is None or frame.time_base is None else floor(frame.pts * frame.time_base * rate) - n
        if abs(late) > OFF_S * rate:
            for start in range(0, late, rate):
                yield rate, np.zeros(min(rate, late - start), np.float32)
            samples = samples[max(0, -late) :]
            n += max(0, late)
        n += len(samples)
        yield rate, samples


def _frames(container: InputContainer, stream: AudioStream, path: Path) -> Iterator[AudioFrame]:
    try:
        yield from container.decode(stream)
    except av.error.FFmpegError as error:
        raise PipelineError(
            f"its sound cannot be decoded ({error.strerror})", where=path, remedy="fetch it again, or leave it out"
        ) from error


def _mono(frame: AudioFrame, path: Path) -> np.ndarray:
    """Mean of a frame's channels, float32 [samples]."""
    samples = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, frame.layout.nb_channels).T
    if samples.dtype.kind in "iu":
        half = np.float32(2.0 ** (8 * samples.dtype.itemsize - 1))
        samples = samples / half - np.float32(samples.dtype.kind == "u")
    mono = samples.mean(axis=0, dtype=np.float32)
    if not (np.abs(mono) < LOUDEST).all():
        raise PipelineError("its sound holds NaN, infinity or numbers out of all proportion", where=path)
    return mono


def _work(connection: Connection, paths: Sequence[Path], seconds_per_video: float) -> None:
    """In the other process: its alarm kills it when one video takes too long, and rests while a chunk waits."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    for path in paths:
        signal.setitimer(signal.ITIMER_REAL, seconds_per_video)
        for event in _events(path):
            left, _ = signal.setitimer(signal.ITIMER_REAL, 0)
            connection.send(event)
            signal.setitimer(signal.ITIMER_REAL, left)
    signal.setitimer(signal.ITIMER_REAL, 0)


def _events(path: Path) -> Iterator[Event]:
    try:
        yield from read_sound(path)
    except PipelineError as error:
        yield Failed(error.what)


def _cause_of_death(code: int | None, seconds: float) -> str:
    if code == -signal.SIGALRM:
        return f"decoding its sound took longer than {seconds:g} s"
    return f"the decoder crashed at its sound ({signal.Signals(-code).name if code and code < 0 else f'code {code}'})"
