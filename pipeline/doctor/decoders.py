"""Checks every decoder that the videos of the datasets may need, with a known video or sound of one second
(`drawn.py`).

A separate process decodes, as in extraction, because a broken decoder may hang or crash. decord, the second reader, is
compared, too, if the config names it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from pipeline.doctor import drawn
from pipeline.doctor.case import Case
from pipeline.doctor.findings import Finding, ok, problem
from pipeline.errors import PipelineError
from pipeline.nouns import counted

NAME = "decoders"
SECONDS_EACH = 60.0
"""Seconds that one sample may take. A sample usually takes hundredths of a second; the first one also loads FFmpeg."""
FARTHEST = 12.0
"""Largest mean difference of a decoded picture from the drawn one, in levels of 0 to 255. Those of a sound decoder lie
below 5 (`benchmarks/decoder_samples.py` prints them)."""
QUIETEST, LOUDEST = 0.8, 1.2
"""Smallest and largest loudness of a decoded tone, as a fraction of the loudness that was made."""
OFF_HZ = 5.0
"""Largest difference between the frequency of a decoded tone and the frequency that was made."""
TO_REPAIR = "install the environment again: `make clean`, then `make install`"


@dataclass(frozen=True)
class Compared:
    """The result of comparing a sample with the picture or sound that was drawn, as text, and whether both are close
    enough."""

    text: str
    is_near: bool


def check(case: Case) -> Iterator[Finding]:
    """Yield a finding about the decoders that give what was drawn, and one about those that do not."""
    if case.needs is None or not case.needs.decodes:
        yield ok(NAME, "not needed: this run reads no video")
        return
    if find_spec("av") is None:
        return  # the check of the packages names it
    samples = [*drawn.pictures(), *drawn.sounds()]
    broken = list(_broken(samples))
    if broken:
        yield problem(NAME, f"{'; '.join(broken)}: videos of this kind cannot be read", TO_REPAIR)
    else:
        yield ok(NAME, f"{', '.join(path.stem for path in samples)}: each gives the second that was drawn")
    if case.needs.cfg.encoding.second_reader:
        yield from _second_reader()


def compare(path: Path) -> Compared:
    """Decode a sample and compare it with what was drawn. Raises PipelineError for a file that cannot be decoded."""
    return _compare_sound(path) if drawn.is_sound(path) else _compare_pictures(path)


def events(path: Path) -> Iterator[Compared]:
    """Yield the one result of a sample, for the process that decodes all of them."""
    yield compare(path)


def _broken(samples: list[Path]) -> Iterator[str]:
    """Yield each sample that is not what was drawn, with the reason."""
    from pipeline.video.supervised import Failed, one_by_one

    for position, found in one_by_one(samples, events, SECONDS_EACH, "decoding it", Compared):
        if isinstance(found, Failed):
            yield f"{samples[position].stem} ({found.why})"
        elif not found.is_near:
            yield f"{samples[position].stem} (it gives something else: {found.text})"


def _compare_pictures(path: Path) -> Compared:
    """Compare all pictures. Each picture has to be close to its own drawing, and closer to it than to any other
    drawing."""
    from pipeline.video.container import frames_of, opened, video_stream

    with opened(path) as container:
        stream = video_stream(container, path)
        found = [frame.to_ndarray(format="rgb24") for frame in frames_of(container, stream, path)]
    if len(found) != drawn.N_PICTURES or found[0].shape != drawn.picture(0).shape:
        return Compared(f"{counted(len(found), 'picture')} of {found[0].shape if found else 'no size'}", False)
    originals = np.stack([drawn.picture(k) for k in range(drawn.N_PICTURES)]).astype(np.int16)
    distances = np.array([np.abs(originals - picture).mean(axis=(1, 2, 3)) for picture in found])
    farthest = float(distances.diagonal().max())
    in_order = bool((distances.argmin(axis=1) == np.arange(drawn.N_PICTURES)).all())
    text = f"pictures differ by {farthest:.1f} of 255 levels at most" + ("" if in_order else ", and are out of order")
    return Compared(text, in_order and farthest <= FARTHEST)


def _compare_sound(path: Path) -> Compared:
    """Compare frequency and loudness of the middle half second, because an encoder changes the beginning and the
    end."""
    from pipeline.video.audio import RATE, Ended, read_sound

    pieces = [piece for piece in read_sound(path) if not isinstance(piece, Ended)]
    samples = np.concatenate(pieces)[RATE // 4 : 3 * RATE // 4] if pieces else np.zeros(0, np.float32)
    if len(samples) < RATE // 2:
        return Compared(f"{counted(len(samples), 'sample')} of {RATE // 2:,}", False)
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    hz = float(spectrum.argmax()) * RATE / len(samples)
    loudness = float(np.sqrt((samples**2).mean())) * 2**0.5 / drawn.LOUDNESS
    is_near = abs(hz - drawn.TONE_HZ) <= OFF_HZ and QUIETEST <= loudness <= LOUDEST
    return Compared(f"a tone of {hz:.0f} Hz, {loudness:.2f} times as loud as drawn", is_near)


def _second_reader() -> Iterator[Finding]:
    """Compare the pictures of decord with those of PyAV, in a sample that both can read."""
    from pipeline.video.ahead import FramesWanted, Request
    from pipeline.video.second_reader import opinions, refuse_without_decord
    from pipeline.video.views import FRAMES224

    try:
        refuse_without_decord()
    except PipelineError as error:
        yield problem("second reader", error.what, error.remedy or "leave `encoding.second_reader` out")
        return
    wanted = {"clip-vit-b32": FramesWanted("middle", FRAMES224, Fraction(1, 2))}
    ((_, found),) = opinions([Request(drawn.SAMPLES / "h264.mp4", wanted)], SECONDS_EACH)
    if found.verdict == "equal":
        yield ok("second reader", "decord gives the pictures of PyAV")
    else:
        yield problem("second reader", f"decord {found.verdict}: {found.why}", "leave `encoding.second_reader` out")
