"""Measures the memory that one and four workers of a training job need for the packed rows that they share.

    python benchmarks/shared_rows.py [--share 0.125] [--workers 1 4]

The rows are invented. They have the shape of QVHighlights: 8,768 videos of train and val with 75 clips each, and
SlowFast, CLIP and PANN side by side (4,864 numbers) in float16. `--share` is the share of the videos that is made.
Every worker reads all rows, as in an epoch, and then reports its memory: the proportional set size (PSS), in which a
page that n processes share counts as 1/n in each. The second table is the same with a copy of the rows in each worker.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipeline.training import pool
from pipeline.training.packed import Packed
from pipeline.training.shared import SharedArray

VIDEOS, CLIPS, DIM = 8768, 75, 2304 + 512 + 2048
PIECE = 1024
"""Rows that a worker reads at a time."""


@dataclass
class Reading:
    """The work of one worker. folder: where workers tell each other that they have read everything."""

    packed: Packed
    folder: Path
    workers: int

    def __call__(self, worker: str, tell: Callable[[str, Mapping[str, float]], None]) -> None:
        """Read all rows, wait for the other workers, and tell the memory of this one."""
        rows = self.packed.rows
        total = sum(float(rows[k : k + PIECE].float().sum()) for k in range(0, len(rows), PIECE))
        (self.folder / worker).write_text(str(total))
        while len(list(self.folder.iterdir())) < self.workers:
            time.sleep(0.05)
        tell(worker, {"PSS": pss_mib()})
        time.sleep(1)  # Nobody ends, and so gives its share of a page to the others, before all have told.


def pss_mib() -> float:
    """Return the proportional set size of this process, in MiB."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def made(n_videos: int, *, shared: bool) -> Packed:
    """Return rows of `n_videos` videos."""
    shape = (n_videos * CLIPS, DIM)
    memory = SharedArray(shape, np.float16) if shared else None
    rows = np.empty(shape, np.float16) if memory is None else memory.array
    rows[:] = np.random.default_rng(0).random(DIM, np.float32)
    starts, lengths = torch.arange(0, len(rows), CLIPS), torch.full((n_videos,), CLIPS)
    return Packed(torch.from_numpy(rows), (DIM,), torch.ones(len(rows), 1), starts, lengths, memory)


def measured(packed: Packed, workers: int) -> list[float]:
    """Return the PSS of each worker in MiB."""
    told: dict[str, float] = {}
    with TemporaryDirectory() as folder:
        names = [f"worker-{number}" for number in range(workers)]
        work = Reading(packed, Path(folder), workers)
        if failures := pool.pooled(work, names, workers, 1, lambda name, row: told.update({name: row["PSS"]})):
            raise SystemExit("; ".join(failures))
    return list(told.values())


def main() -> None:
    """Print a line for each number of workers, with shared rows and with copies."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--share", type=float, default=1 / 8, help="part of QVHighlights' videos")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 4])
    options = parser.parse_args()
    n_videos = round(VIDEOS * options.share)
    mib = n_videos * CLIPS * DIM * 2 / 2**20
    print(f"{n_videos:,} videos ({options.share:.3g} of QVHighlights), rows of V+A as float16: {mib:,.0f} MiB")
    for shared in (True, False):
        for workers in options.workers:
            packed = made(n_videos, shared=shared)
            found = measured(packed, workers)
            each = ", ".join(f"{value:,.0f}" for value in found)
            kind = "shared" if shared else "copied"
            print(f"{kind}, workers: {workers}: {sum(found):,.0f} MiB together (PSS of each: {each})", flush=True)


if __name__ == "__main__":
    # Workers do not know this script, so what they unpickle must belong to a module that they can import.
    import shared_rows

    shared_rows.main()
