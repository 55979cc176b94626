"""Measures how fast feature stores of QVHighlights' shape are read into memory, and the same bytes in sequence.

    python benchmarks/loading.py                  # a tenth of QVHighlights; --videos 10148 is all of it

There are two families (2,304 and 512 numbers a row) with 75 rows a video, in float16, in four shards each. They are
read into one array, as in training. For `disk` the kernel drops the files from its cache before each reading. The
smallest value of `--rounds` is taken.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from pipeline.families import FAMILIES, Passport
from pipeline.features.store import Store
from pipeline.features.store.bulk import read_packed
from pipeline.features.store.writer import StoreWriter

BOTH = ("slowfast-r50-caffe2", "clip-vit-b32")
CLIPS, SHARDS = 75, 4
MIB = 1 << 20


def main() -> None:
    """Print speeds and their ratio, from the disk and from the page cache."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=int, default=1015)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder", type=Path, help="where stores are made (a temporary folder): the disk to measure")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=options.folder)))
        stores = {family: written(folder, family, options.videos) for family in BOTH}
        paths = [path for family in BOTH for path in stores[family]]
        n_bytes = sum(path.stat().st_size for path in paths)
        dims = sum(FAMILIES[family].dim for family in BOTH)
        print(f"{options.videos} × {CLIPS} × {dims} float16: {n_bytes / MIB:.0f} MiB in {len(paths)} files")
        for state in ("disk", "page cache"):
            speeds = dict.fromkeys(("in sequence", "into one array"), 0.0)
            for _ in range(options.rounds):
                for way, arguments in zip(speeds, ((paths,), (stores, options.videos)), strict=True):
                    if state == "disk":
                        forget(paths)
                    begun = time.perf_counter()
                    (in_sequence if way == "in sequence" else packed)(*arguments)
                    speeds[way] = max(speeds[way], n_bytes / MIB / (time.perf_counter() - begun))
            ratio = speeds["into one array"] / speeds["in sequence"]
            print(f"{state}: " + ", ".join(f"{way} {speed:.0f} MiB/s" for way, speed in speeds.items()), end="")
            print(f": ratio {ratio:.2f}")


def written(folder: Path, family: str, n_videos: int) -> list[Path]:
    """Write the shards of one family, and return their paths."""
    dim = FAMILIES[family].dim
    passport = Passport(family, 1, "raw", "random:0", "2s", dim, "float16", "made here")
    rows = np.random.default_rng(0).standard_normal((CLIPS, dim)).astype(np.float16)
    paths = [folder / f"{family}.{k}.h5" for k in range(SHARDS)]
    for k, path in enumerate(paths):
        with StoreWriter(path, passport) as store:
            for video in range(k, n_videos, SHARDS):
                store.add(f"v{video:05d}", rows)
    return paths


def in_sequence(paths: Sequence[Path]) -> None:
    """Read every byte once, in the order of the files."""
    buffer = bytearray(8 * MIB)
    for path in paths:
        with open(path, "rb", buffering=0) as file:
            while file.readinto(buffer):
                pass


def packed(stores: dict[str, list[Path]], n_videos: int) -> np.ndarray:
    """Read the rows as training does, as float16 [rows, all dims]."""
    keys = [f"v{k:05d}" for k in range(n_videos)]
    rows = np.empty((n_videos * CLIPS, sum(FAMILIES[family].dim for family in BOTH)), np.float16)
    start = 0
    for family in BOTH:
        with Store(stores[family]) as store:
            end = start + store.passport.dim
            read_packed(store, keys, out=rows[:, start:end])
            start = end
    return rows


def forget(paths: Sequence[Path]) -> None:
    """Remove the files from the page cache."""
    for path in paths:
        with open(path, "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


if __name__ == "__main__":
    main()
