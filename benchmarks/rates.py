"""Measures what `python -m pipeline estimate` multiplies: the cost of a row of each family, and of decoding.

    python benchmarks/rates.py                    # everything; ten minutes, half of it optical flow
    python benchmarks/rates.py encoding vgg16-imagenet
    python benchmarks/rates.py decoding

It uses one thread, random weights and random pictures, because the cost depends on neither. Its numbers are copied by
hand into `pipeline/families.py` (encoding) and `pipeline/cost/rates.py` (decoding).

encoding    CPU seconds and multiply-adds of a row of each family (of words: of a query), the smallest of three
            rounds (flow: one round)
decoding    CPU seconds for one second of a 30-fps H.264 video with sound, per reader of each dataset, in two sizes; the
            smallest of three rounds
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode
from wandering_videos import made

from pipeline.encoders.base import Weights, encoder_of
from pipeline.families import FAMILIES
from pipeline.grids import grid_seconds
from pipeline.video.audio import Ended, read_sound
from pipeline.video.decode import read_frames
from pipeline.video.frame_grid import sampling_of
from pipeline.video.probe import probe

SHAPES = {"short256": (256, 455), "frames224": (224, 224), "crop224of256": (224, 224), "crop224": (224, 224)}
FRAMES = {"middle": 1, "motion": 32, "slow": 8, "stacks16": 32, "stacks16-flow": 33, "stacks24": 24, "every4of24": 1}
INPUTS = 2
"""Inputs of many frames, or of sound, at a time; single frames come in the encoder's own batch."""

QUERIES = ["A man in a red jacket talks to the camera while he walks along the beach."] * 32
DECODED = {
    "frames224, 2 s": {"clip-vit-b32": "2s", "slowfast-r50-caffe2": "2s"},
    "frames224, 1 s": {"clip-vit-b32": "1s", "slowfast-r50-caffe2": "1s"},
    "native, Charades-STA": {"i3d-inception-rgb-charades": "0.5s", "vgg16-imagenet": "1-6s"},
    "native, TVSum": {"i3d-inception-rgb-tvsum": "2s", "i3d-inception-flow-raft-tvsum": "2s"},
}
SIZES = ((340, 256), (1280, 720))
SECONDS = 30
ROUNDS = 3


def main() -> None:
    """Print the chosen part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", nargs="?", choices=("encoding", "decoding"))
    parser.add_argument("families", nargs="*", help="of encoding; all")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.backends.mha.set_fastpath_enabled(False)  # what it computes is not counted
    if options.part != "decoding":
        encoding(options.families or [family for family, kind in FAMILIES.items() if kind.reader])
    if options.part != "encoding":
        decoding()


def encoding(families: list[str]) -> None:
    """Print a line for each family."""
    print(f"{'a row of':32}{'CPU s':>9}{'G multiply-adds':>17}")
    for family in families:
        work, rows = _row_maker(family)
        rounds = [_counted(work) for _ in range(1 if "flow" in family else ROUNDS)]
        cpu, flops = (min(values) for values in zip(*rounds, strict=True))
        print(f"{family:32}{cpu / rows:9.4f}{flops / 2e9 / rows:17.2f}", flush=True)


def decoding() -> None:
    """Print a line for each reader and size."""
    print(f"\n{'a second of video':24}" + "".join(f"{f'{w}x{h}, CPU s':>20}" for w, h in SIZES))
    with tempfile.TemporaryDirectory() as folder:
        paths = [made(Path(folder), *size, SECONDS) for size in SIZES]
        for name, grids in DECODED.items():
            cells = [_least(lambda path=path, grids=grids: _read(path, grids)) / SECONDS for path in paths]
            print(f"{name:24}" + "".join(f"{cell:20.4f}" for cell in cells), flush=True)
        cells = [_least(lambda path=path: _listen(path)) / SECONDS for path in paths]
        print(f"{'sound':24}" + "".join(f"{cell:20.4f}" for cell in cells))


def _row_maker(family: str) -> tuple[Callable[[], Any], int]:
    """Return a function that makes rows of a family, and the number of its rows."""
    kind, (first, *further) = FAMILIES[family], [Weights.named("random:0", None) for _ in FAMILIES[family].weights]
    weights, random = Weights.joined(first, *further), np.random.default_rng(0)
    if FAMILIES[family].reader == "words":
        encoder = encoder_of(family)(weights, "cpu", QUERIES)
        return lambda: encoder.encode(QUERIES), len(QUERIES)
    encoder = encoder_of(family)(weights, "cpu")
    if FAMILIES[family].reader == "sound":
        pieces = random.uniform(-1, 1, (INPUTS, 64_000)).astype(np.float32)
        return lambda: encoder.encode(pieces), INPUTS
    inputs = kind.batch if FRAMES[kind.sampling] == 1 else min(INPUTS, kind.batch)
    frames = random.integers(0, 256, (inputs, FRAMES[kind.sampling], *SHAPES[kind.view], 3), dtype=np.uint8)
    return lambda: encoder.encode(frames), inputs * kind.rows_per_input


def _counted(work: Callable[[], Any]) -> tuple[float, int]:
    with FlopCounterMode(display=False) as counter:
        cpu = _cpu(work)
    return cpu, counter.get_total_flops()


def _cpu(work: Callable[[], Any]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


def _least(work: Callable[[], Any]) -> float:
    return min(_cpu(work) for _ in range(ROUNDS))


def _read(path: Path, grids: dict[str, str]) -> None:
    """Compute the exact times, and decode every frame that the families need, in the size that they need."""
    facts = probe(path)
    wanted: dict[str, set[int]] = {}
    for family, grid in grids.items():
        kind = FAMILIES[family]
        rows = sampling_of(kind.sampling)(facts, Fraction(grid_seconds(grid)))
        wanted.setdefault(kind.view, set()).update(rows.ravel().tolist())
    for _ in read_frames(facts, {view: sorted(indices) for view, indices in wanted.items()}):
        pass


def _listen(path: Path) -> None:
    assert isinstance([*read_sound(path)][-1], Ended)


if __name__ == "__main__":
    main()
