"""The sound of videos: mono, 32 kHz, on the video's own clock, decoded once, a chunk at a time.

PyAV decodes, channels are averaged, soxr resamples: bit for bit what librosa makes of the whole track (`to_mono`, then
`resample` with `soxr_hq`), as the published extractor had it, but in bounded memory. decord was measured and left out:
its `mono` adds two channels at 1/√2 each, 3 dB louder than their mean, and it holds the whole track.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import floor
from pathlib import Path

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer

from pipeline.errors import PipelineError
from pipeline.video.container import frames_of, opened

RATE = 32_000
"""Samples per second that the networks here listen to."""

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


def _on_the_clock(container: InputContainer, stream: AudioStream, path: Path) -> Iterator[tuple[int, np.ndarray]]:
    """(rate, mono samples) of each frame, from second 0 on without a hole."""
    rate, n = 0, 0
    for frame in frames_of(container, stream, path, "its sound cannot be decoded"):
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
