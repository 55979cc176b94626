"""Measures how often `compare` is wrong, and how often its intervals contain the true value, by number of videos.

    python benchmarks/few_videos.py              # prints the tables of docs/statistics.md

Two files are compared whose true difference is zero. Each video has 1 to 6 queries, which share a difficulty. In `hits`
each query is hit or missed, and the true mean is 1/2. `rare` is the same with a true mean of 1/10. In `precisions` a
query has a value between 0 and 1, as average precision has, and the true mean is 0.4. The columns show the bootstrap
over videos (which `compare` uses from 50 videos on) and what `compare` does at this number of videos. For the interval
of one file they also show Student's t on the values themselves.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from pipeline.evaluation import intervals

VIDEOS = (2, 3, 5, 10, 20, 50, 100, 1000)
HEAD = "| videos | smallest p | p < 0.05: bootstrap | compare | A covered: bootstrap | t | compare | A - B covered |"
Draw = Callable[[np.random.Generator, np.ndarray], np.ndarray]
"""From a generator and the video of each query: the values of both files, [2, queries]."""


def main() -> None:
    """Print a table for each kind of values."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=400)
    parser.add_argument("--resamples", type=int, default=400)
    parser.add_argument("--videos", type=int, nargs="+", default=VIDEOS)
    parser.add_argument("--kinds", choices=KINDS, nargs="+", default=list(KINDS))
    options = parser.parse_args()
    for kind in options.kinds:
        draw, mean = KINDS[kind]
        print(f"\n{kind}, true mean {mean}: {options.trials} trials, {options.resamples} resamples", flush=True)
        print(HEAD, "|---" * 8 + "|", sep="\n")
        began = time.monotonic()
        for videos in options.videos:
            rates = [_trial(draw, mean, videos, trial, options.resamples) for trial in range(options.trials)]
            cells = " | ".join(f"{rate:.3f}" for rate in np.mean(rates, axis=0))
            print(f"| {videos:,} | {intervals.smallest_p(videos, 10_000):.2g} | {cells} |", flush=True)
        print(f"{time.monotonic() - began:.0f} s")


def _trial(draw: Draw, mean: float, videos: int, seed: int, resamples: int) -> tuple[bool, ...]:
    """Return one row of the table, as yes and no: two tests are wrong, three intervals hold the mean, one holds 0."""
    random = np.random.default_rng([seed, videos])
    sizes = random.integers(1, 7, videos)
    video = np.repeat(np.arange(videos), sizes)
    a, b = draw(random, video)
    ours = _compared(a, b, video, resamples, seed, few=intervals.FEW)
    bootstrap = _compared(a, b, video, resamples, seed, few=0)
    low, high = intervals.t_interval(np.bincount(video, a), sizes)
    return (
        bootstrap.p < 0.05,
        ours.p < 0.05,
        bootstrap.a.low <= 100 * mean <= bootstrap.a.high,
        low <= mean <= high,
        ours.a.low <= 100 * mean <= ours.a.high,
        ours.difference.low <= 0 <= ours.difference.high,
    )


def _compared(
    a: np.ndarray, b: np.ndarray, video: np.ndarray, resamples: int, seed: int, few: int
) -> intervals.Comparison:
    """Return the result of `compare` with `few` as the limit below which it uses exact tests."""
    files = [
        [{"qid": i, "video": v, "metric": x} for i, (v, x) in enumerate(zip(video, values.tolist(), strict=True))]
        for values in (a, b)
    ]
    usual, intervals.FEW = intervals.FEW, few
    try:
        (row,) = intervals.compare(*files, resamples, seed)
    finally:
        intervals.FEW = usual
    return row


def _hits(random: np.random.Generator, video: np.ndarray) -> np.ndarray:
    chance = random.random(video[-1] + 1)[video]
    mood = 0.2 * random.normal(size=(2, video[-1] + 1))[:, video]
    return (random.random((2, len(video))) + mood < chance).astype(float)


def _rare(random: np.random.Generator, video: np.ndarray) -> np.ndarray:
    chance = random.beta(0.5, 4.5, video[-1] + 1)[video]
    return (random.random((2, len(video))) < chance).astype(float)


def _precisions(random: np.random.Generator, video: np.ndarray) -> np.ndarray:
    chance = random.beta(2, 3, video[-1] + 1)[video]
    return random.beta(1.5 * chance, 1.5 * (1 - chance), (2, len(video)))


KINDS: dict[str, tuple[Draw, float]] = {"hits": (_hits, 0.5), "rare": (_rare, 0.1), "precisions": (_precisions, 0.4)}


if __name__ == "__main__":
    main()
