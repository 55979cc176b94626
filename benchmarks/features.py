"""Measures how fast videos become CLIP and SlowFast rows, in comparison with parts of the work and with the released
way.

    python benchmarks/features.py                        # everything; minutes, most of it the networks on a CPU
    python benchmarks/features.py overlap published      # chosen parts: overlap published shares memory

Videos are made here: 30 fps, H.264 with B-frames, sound. Everything runs on at most two cores, one for decoding and one
for the networks. Every measurement has a process of its own, and the smallest value of `--rounds` is taken.

overlap     wall time of decoding and encoding together, divided by max(only decode, only encode the same frames); a
            stand-in for the networks takes as much time as decoding, because overlap is hardest then
published   the work of the released extractors divided by ours, without the networks; they decode once per encoder,
            resample and scale every frame of the grid, and keep the whole video. Here they use FFmpeg in this process,
            which makes them faster than they are
shares      CPU seconds of each part and encoder, with the real networks (random weights)
memory      largest resident set of the two processes for videos of different length
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, suppress
from fractions import Fraction
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import av
import numpy as np
from released_extractors import clip_then_slowfast
from wandering_videos import made

from pipeline.encoders.base import Weights
from pipeline.encoders.workers import workers
from pipeline.families import FAMILIES
from pipeline.features.making.encode import encode_videos
from pipeline.features.making.frame_rows import FrameRowMaker
from pipeline.features.making.recipe import Recipe, VideoFile
from pipeline.features.store.writer import StoreWriter
from pipeline.video.decode import read_frames
from pipeline.video.frame_grid import sampling_of
from pipeline.video.probe import probe
from pipeline.video.views import FRAMES224

BOTH = ("clip-vit-b32", "slowfast-r50-caffe2")
PARTS = ("overlap", "published", "shares", "memory")
SIZES = {"340x256": (340, 256), "1280x720": (1280, 720)}
RANDOM = Weights("random:0")


def main() -> None:
    """Print the chosen parts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", default=PARTS, metavar="PART", help=" ".join(PARTS))
    parser.add_argument("--folder", type=Path, help="where made videos are kept (a temporary folder)")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--seconds", type=int, default=150, help="length of a video")
    parser.add_argument("--videos", type=int, default=4, help="videos of each size in a run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--real-seconds", type=int, default=20, help="length of the video that real networks encode")
    parser.add_argument("--minutes", type=int, nargs="+", default=[5, 30], help="lengths for memory")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        print(f"PyAV {av.__version__}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start")
        for part in options.parts:
            print(f"\n{part}", flush=True)
            globals()[part](folder, options)


def overlap(folder: Path, options: argparse.Namespace) -> None:
    """Compare the time of decoding and encoding at the same time with the times of both alone."""
    for name in options.sizes:
        path = made(folder, *SIZES[name], options.seconds)
        decode = alone(only_decode, path, options)
        bare = alone(only_encode, path, options, 0.0)
        cost = max(0.0, decode["cpu"] - bare["cpu"]) / bare["rows"]
        encoding = alone(only_encode, path, options, cost)
        both = alone(run, [path] * options.videos, BOTH, options, cost)
        parts = {key: options.videos * max(decode[key], encoding[key]) for key in ("wall", "cpu")}
        print(
            f"{name}: {options.videos} videos; only decode {options.videos * decode['wall']:.1f} s, only encode"
            f" {options.videos * encoding['wall']:.1f} s, both {both['wall']:.1f} s: ratio"
            f" {both['wall'] / parts['wall']:.2f}; of CPU seconds, the busier process over the dearer part"
            f" {max(both['cpu'], both['cpu of decoding']) / parts['cpu']:.2f}",
            flush=True,
        )


def published(folder: Path, options: argparse.Namespace) -> None:
    """Compare one decode for all encoders with one pass for each encoder."""
    for name in options.sizes:
        path = made(folder, *SIZES[name], options.seconds)
        ours = alone(run, [path] * options.videos, BOTH, options, 0.0)
        theirs = alone(one_pass_per_encoder, path, options)
        cpu = (ours["cpu"] + ours["cpu of decoding"]) / options.videos
        busier = max(ours["cpu"], ours["cpu of decoding"]) / options.videos
        print(
            f"{name}: a pass per encoder {theirs['wall']:.1f} s ({theirs['cpu']:.1f} CPU s, {theirs['MiB']:.0f} MiB) a"
            f" video, ours {ours['wall'] / options.videos:.1f} s ({cpu:.1f} CPU s, {busier:.1f} of them in the busier"
            f" process, {ours['MiB']:.0f} MiB): ratio {theirs['wall'] * options.videos / ours['wall']:.1f}, of CPU"
            f" seconds {theirs['cpu'] / cpu:.1f}, over the busier process {theirs['cpu'] / busier:.1f}",
            flush=True,
        )


def shares(folder: Path, options: argparse.Namespace) -> None:
    """Print how the time of each encoder is divided among its parts."""
    for name in options.sizes:
        path = made(folder, *SIZES[name], options.real_seconds)
        for family in BOTH:
            spent = alone(in_parts, path, family, rounds=1)
            total = sum(spent.values())
            cells = ", ".join(f"{part} {s:.2f} s ({s / total:.1%})" for part, s in spent.items())
            print(f"{name}, {options.real_seconds} s, {family}: {cells}", flush=True)


def memory(folder: Path, options: argparse.Namespace) -> None:
    """Print the memory for short and long videos, for many frames and few pixels. The networks are replaced by
    stubs."""
    for minutes in options.minutes:
        path = made(folder, 96, 64, 60 * minutes)
        found = alone(run, [path], BOTH, options, 0.0, rounds=1)
        print(
            f"{minutes} min: {found['MiB'] - found['MiB of decoding']:.0f} MiB here, {found['MiB of decoding']:.0f} MiB"
            f" decoding, {found['wall']:.0f} s",
            flush=True,
        )
    print(f"the networks, built and at work on a batch, take {alone(networks_memory, rounds=1)['MiB']:.0f} MiB in all")


# What is measured, each in a process of its own.


def alone(work, *arguments, rounds: int | None = None) -> Counter:
    """Run `work` in processes of its own, and return the result of the round with the least wall time."""
    options = next((a for a in arguments if isinstance(a, argparse.Namespace)), None)
    found = []
    for _ in range(rounds or options.rounds):
        with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=two_cores) as process:
            found.append(process.submit(work, *(a for a in arguments if a is not options)).result())
    return min(found, key=lambda result: result.get("wall", 0))


def two_cores() -> None:
    """Use two cores: one for decoding and one for the networks, even if the machine has more."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
    import torch

    torch.set_num_threads(1)


def only_decode(path: Path) -> dict[str, float]:
    """Decode and scale every frame that both families need, and compute the exact times."""
    wall, cpu = time.perf_counter(), time.process_time()
    facts = probe(path)
    n = sum(len(chunk.indices) for chunk in read_frames(facts, {FRAMES224: wanted(facts, BOTH)}))
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "frames": n}


def only_encode(path: Path, cost: float) -> dict[str, float]:
    """Encode the same number of rows from memory, by encoding one batch again and again."""
    facts = probe(path)
    stub(cost)
    spent = Counter()
    for family in BOTH:
        encoder, kind = recipe(family).encoder(RANDOM, "cpu"), FAMILIES[family]
        rows = sampling_of(kind.sampling)(facts, Fraction(2))
        batch = np.random.default_rng(0).integers(0, 256, (kind.batch, rows.shape[1], 224, 224, 3), dtype=np.uint8)
        wall, cpu = time.perf_counter(), time.process_time()
        for start in range(0, len(rows), kind.batch):
            encoder.encode(batch[: len(rows) - start])
        spent += {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    return spent | {"rows": len(rows)}


def run(paths: list[Path], families: tuple[str, ...], cost: float) -> dict[str, float]:
    """Make stores from videos."""
    stub(cost)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        wall, cpu = time.perf_counter(), time.process_time()
        watch = Watch()
        extract([(f"v{k}", path) for k, path in enumerate(paths)], families, Path(folder), stack)
        decoding = watch.stop()
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return {
            "wall": time.perf_counter() - wall,
            "cpu": time.process_time() - cpu,
            "cpu of decoding": children.ru_utime + children.ru_stime,
            "MiB": peak("self") + decoding,
            "MiB of decoding": decoding,
        }


def extract(videos: list[tuple[str, Path]], families: tuple[str, ...], folder: Path, stack: ExitStack) -> None:
    """Extract features as the stage does."""
    clips = {path: round(probe(path).duration / 2) for path in {path for _, path in videos}}
    sources = [VideoFile(vid, path, "0", {"2s": clips[path]}) for vid, path in videos]
    with workers("cpu") as threads:
        writers = [stack.enter_context(StoreWriter(folder / f, recipe(f).passport)) for f in families]
        makers = [FrameRowMaker(recipe(f), writer, "cpu", threads) for f, writer in zip(families, writers, strict=True)]
        assert encode_videos(sources, makers, 3600.0) == []


def in_parts(path: Path, family: str) -> dict[str, float]:
    """Return the CPU seconds of each part of one encoder's work on one video. The rest is the transfer of frames."""
    spent = Counter()
    facts = probe(path)
    begun = time.process_time()
    for _ in read_frames(facts, {FRAMES224: wanted(facts, [family])}):
        pass
    decoding = time.process_time() - begun
    kind = recipe(family).encoder.func
    kind.__init__ = timed(kind.__init__, spent, "build")
    kind.encode = timed(kind.encode, spent, "encode")
    StoreWriter.add = timed(StoreWriter.add, spent, "write")
    StoreWriter.__exit__ = timed(StoreWriter.__exit__, spent, "write")
    network_of = kind.__init__

    def watched(encoder, *arguments, **options):
        network_of(encoder, *arguments, **options)
        network = encoder._network if hasattr(encoder, "_network") else encoder._tower
        network.forward = timed(network.forward, spent, "network")

    kind.__init__ = watched
    begun = time.process_time()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        extract([("v", path)], (family,), Path(folder), stack)
        stack.close()
    rest = time.process_time() - begun - spent["build"] - spent["encode"] - spent["write"]
    return {
        "decode and scale": decoding,
        "hand over": rest,
        "preprocess": spent["encode"] - spent["network"],
        "network": spent["network"],
        "write": spent["write"],
    }


def one_pass_per_encoder(path: Path) -> dict[str, float]:
    """Encode the same video as the released extractors do."""
    stub(0.0)
    wall, cpu = time.perf_counter(), time.process_time()
    clip_then_slowfast(path, *(recipe(family).encoder(RANDOM, "cpu") for family in BOTH))
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "MiB": peak("self")}


def networks_memory() -> dict[str, float]:
    """Build both networks of this size, and encode a batch with each. Return the memory."""
    encoders = [recipe(family).encoder(RANDOM, "cpu") for family in BOTH]
    for family, encoder, n_frames in zip(BOTH, encoders, (1, 32), strict=True):
        encoder.encode(np.zeros((FAMILIES[family].batch, n_frames, 224, 224, 3), np.uint8))
    return {"MiB": peak("self")}


# What the measurements use.


def recipe(family: str) -> Recipe:
    """Return the recipe of a family at 2 s with random weights."""
    return Recipe(family, "2s", RANDOM, "float16")


def wanted(facts, families) -> list[int]:
    """Return the indices of the frames that the families' rows need, each once."""
    rows = [sampling_of(FAMILIES[family].sampling)(facts, Fraction(2)).ravel() for family in families]
    return np.unique(np.concatenate(rows)).tolist()


def stub(cost: float) -> None:
    """Put in place of CLIP's tower nothing, of SlowFast's network `cost` CPU seconds a row."""
    import torch

    from pipeline.encoders import open_clip_towers, slowfast

    class Stub(torch.nn.Module):
        def __init__(self, dim, cost):
            super().__init__()
            self.dim, self.cost = dim, cost

        def forward(self, pixels):
            begun = time.thread_time()
            rows = len(pixels[0]) if isinstance(pixels, list) else len(pixels)
            while time.thread_time() - begun < self.cost * rows:
                torch.ones(64, 64) @ torch.ones(64, 64)
            return torch.zeros(rows, self.dim)

    open_clip_towers.image_tower = lambda *_: Stub(512, 0.0)
    slowfast.filled = lambda *_: SimpleNamespace(blocks=[Stub(2304, cost)])


def timed(function, spent: Counter, part: str):
    """Return a function that does the same and adds its CPU seconds to a part."""

    def wrapper(*arguments, **named):
        begun = time.thread_time()
        try:
            return function(*arguments, **named)
        finally:
            spent[part] += time.thread_time() - begun

    return wrapper


def peak(process: str) -> float:
    """Return the highest resident memory of a process in MiB. `ru_maxrss` is not used, because that of a child begins
    with its parent's."""
    found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{process}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


class Watch:
    """The highest resident set of any child process, looked at ten times a second."""

    def __init__(self) -> None:
        self._peaks: dict[str, float] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def stop(self) -> float:
        """Look no more; MiB."""
        self._over.set()
        self._thread.join()
        return max(self._peaks.values(), default=0.0)

    def _look(self) -> None:
        while not self._over.wait(0.1):
            for listed in Path("/proc/self/task").glob("*/children"):
                for child in listed.read_text().split():
                    # The last look counts: at first a child still is its parent's image.
                    with suppress(OSError):
                        self._peaks[child] = peak(child) or self._peaks.get(child, 0.0)


if __name__ == "__main__":
    main()
