"""Reads the sound of videos as mono at 32 kHz, on the video's own clock. It is decoded once, one chunk at a time.

PyAV decodes, the channels are averaged, and soxr resamples. The result equals, bit for bit, that of librosa for the
whole track (`to_mono`, then `resample` with `soxr_hq`), which the published extractor used. But this module needs
little memory. decord was measured and is not used: its `mono` adds two channels at 1/√2 each, which is 3 dB louder than
their mean, and it holds the whole track in memory.
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
from pipeline.video.part import Part, samples_within

RATE = 32_000
"""Samples per second that the audio networks here expect."""

CHUNK = 1 << 19
"""Largest number of samples in one chunk: 16 s, 2 MB."""

OFF_S = Fraction(1, 10)
"""Largest difference between a packet's time and the count of samples. Beyond it silence is inserted or sound
removed (FFmpeg has the same limit). Smaller differences are rounding: Matroska counts in milliseconds, and decoders
start a few samples late."""

LOUDEST = 2.0**15
"""Largest absolute value of a sample. Samples lie in -1 … 1 and decoders overshoot a little. A file of
floating-point numbers with larger ones holds no sound."""


@dataclass(frozen=True)
class Ended:
    """The last event of a track that was read completely. end_s: the time Tₐ at which it ends on the video's clock,
    or None without sound."""

    end_s: Fraction | None


def read_sound(source: Path | Part) -> Iterator[np.ndarray | Ended]:
    """Yield the samples from second 0 of the video (or of a part) on, float32 [n] at 32 kHz with bounded n, and then
    Ended.

    There are floor(32,000 · Tₐ) samples in all. The track is the one that FFmpeg prefers. Sound before second 0 is left
    out. Before a late start and in gaps there is silence. Raises PipelineError for a file or a track that cannot be
    decoded completely.
    """
    import soxr  # type: ignore[import-untyped]  # librosa's own resampler

    path = source.path if isinstance(source, Part) else source
    with opened(path) as container:
        if not container.streams.audio:
            yield Ended(None)
            return
        best = container.streams.best("audio")
        # FFmpeg prefers no track that it cannot decode. Then the first track is opened, because its error is the reason
        # to report.
        stream = best if isinstance(best, AudioStream) else container.streams.audio[0]
        rate, n_heard, n_given = 0, 0, 0
        waiting: list[np.ndarray] = []
        heard = _on_the_clock(container, stream, path)
        if isinstance(source, Part):
            heard = samples_within(heard, source.start_s, source.end_s)
        for rate, samples in heard:
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
    """Yield (rate, mono samples) of each frame, from second 0 on and without a gap."""
    rate, n = 0, 0
    for frame in frames_of(container, stream, path, "its sound cannot be decoded"):
        rate = rate or frame.sample_rate
        if frame.sample_rate != rate:
            what = f"its sound changes from {rate} to {frame.sample_rate} Hz after {n / rate:.2f} s"
            raise PipelineError(
                what, where=path, remedy="encode its sound again, or leave it out (`skip` of its dataset)"
            )
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
    """Return the mean of a frame's channels, float32 [samples]."""
    samples = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, frame.layout.nb_channels).T
    if samples.dtype.kind in "iu":
        half = np.float32(2.0 ** (8 * samples.dtype.itemsize - 1))
        samples = samples / half - np.float32(samples.dtype.kind == "u")
    mono = samples.mean(axis=0, dtype=np.float32)
    if not (np.abs(mono) < LOUDEST).all():
        raise PipelineError(
            f"its sound holds NaN, infinity or numbers beyond {LOUDEST:g}, where -1 to 1 is expected",
            where=path,
            remedy="encode its sound again, or leave it out (`skip` of its dataset)",
        )
    return mono
