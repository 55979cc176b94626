"""Measures how the memory of `ask` grows with the length of the video, without the networks of the encoders.

    python benchmarks/ask_memory.py                      # prints the table of docs/own.md
    python benchmarks/ask_memory.py --seconds 20 60      # other lengths

The videos are made here: pictures of 32 x 24, a few each second, and a tone. A run that was trained on made videos of
20 seconds is asked about each of them in a process of its own. Fake encoders (`tests/fake_encoders.py`) make the rows
of pictures, sound and words, so that the memory is that of decoding, of the stores and of the run. The table gives the
largest memory of this process, and of the largest of the processes that it starts to decode.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Self

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

SECONDS = (600, 7200)
WIDTH, HEIGHT, SAMPLES = 32, 24, 32_000
"""Size of a picture, and samples of the tone in a second."""


def main() -> None:
    """Print a line for each length, or, with `--ask`, the numbers of one video."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, nargs="+", default=SECONDS, help="lengths of the videos")
    parser.add_argument("--rate", type=int, default=5, help="pictures a second")
    parser.add_argument("--ask", type=Path, nargs=2, metavar=("RUN", "VIDEO"), help="ask in this process, and print")
    options = parser.parse_args()
    if options.ask:
        print(*asked(*options.ask))
        return
    with tempfile.TemporaryDirectory() as scratch:
        run = made_run(Path(scratch) / "run")
        print("| seconds | clips | pieces | MB, `ask` | MB, a decoder | CPU s |", "|---" * 6 + "|", sep="\n")
        for seconds in options.seconds:
            video = made_video(Path(scratch) / f"{seconds}.mp4", seconds, options.rate)
            words = [sys.executable, __file__, "--ask", str(run), str(video)]
            told = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
            print(f"| {seconds:,} | {' | '.join(told[-5:])} |", flush=True)


def made_run(folder: Path) -> Path:
    """Train a small run on rows of pictures and sound, and return its folder."""
    from own_videos import own_videos
    from tiny_benchmark import WITH_SOUND

    folder.mkdir()
    with own_videos(folder) as own:
        return own.run(features=WITH_SOUND)


def made_video(path: Path, seconds: int, rate: int) -> Path:
    """Make a video of small pictures with a tone, second by second, so that it takes no memory of its own."""
    import av
    from made_videos import picture

    tone = np.sin(np.arange(SAMPLES) * 0.05).astype(np.float32)[None]
    with av.open(str(path), "w") as file:
        video = file.add_stream("libx264", rate=rate, options={"preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        sound = file.add_stream("aac", rate=SAMPLES, layout="mono")
        for second in range(seconds):
            for k in range(second * rate, (second + 1) * rate):
                shown = av.VideoFrame.from_ndarray(picture(k, WIDTH, HEIGHT), "rgb24")
                shown.pts, shown.time_base = k, Fraction(1, rate)
                file.mux(video.encode(shown))
            heard = av.AudioFrame.from_ndarray(tone, "fltp", "mono")
            heard.sample_rate, heard.pts = SAMPLES, second * SAMPLES
            file.mux(sound.encode(heard))
        for stream in (video, sound):
            file.mux(stream.encode(None))
    return path


def asked(run: Path, video: Path) -> tuple[str, ...]:
    """Ask about the video. Return the numbers of clips and pieces, the memory of both processes, and CPU seconds."""
    import fake_encoders
    from own_videos import FAKES

    from pipeline.asking.moments import Moments

    fake_encoders.take_the_place(FAKES)
    with Below() as below:
        moments = Moments.load(run)
        answer = moments.ask(moments.encode(video), "a dog")
    cpu_s = time.process_time() + resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    mb = f"{most_memory(os.getpid()):,.0f}", f"{below.most:,.0f}"
    return f"{len(answer.saliency):,}", f"{answer.n_pieces:,}", *mb, f"{cpu_s:.0f}"


def most_memory(process: int) -> float:
    """Return the largest memory of a process so far, in megabytes.

    `ru_maxrss` is not used: in a process that another one started, it begins with the memory of the other one.
    """
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text(encoding="utf-8"))
    return int(found[1]) / 1024 if found else 0.0  # a process that has ended has no memory


class Below:
    """Looks at the processes that this one started, ten times a second. most: the largest memory of one of them."""

    def __init__(self) -> None:
        self.most = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        this = psutil.Process()
        while not self._ended.wait(0.1):
            for process in this.children(recursive=True):
                with suppress(OSError):
                    self.most = max(self.most, most_memory(process.pid))


if __name__ == "__main__":
    main()
