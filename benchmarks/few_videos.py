"""How often `compare` is wrong where nothing differs, and how often its intervals hold the truth, by number of videos.

    python benchmarks/few_videos.py              # prints the table of docs/statistics.md

Two files of 1 to 6 queries a video; a video's queries share a difficulty. The true difference is zero and the true mean
1/2. Beside each other: the bootstrap over videos and what `compare` does (below 50 videos sign flips and Student's t).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from pipeline.evaluation import intervals

CLUSTERS = (2, 3, 5, 10, 20, 50, 100, 1000)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--resamples", type=int, default=500)
    options = parser.parse_args()
    few = intervals.FEW
    print("| videos | smallest p | p < 0.05: bootstrap | compare | covers: bootstrap | compare | of A - B: compare |")
    print("|---|---|---|---|---|---|---|")
    for clusters in CLUSTERS:
        trials = options.trials if clusters < 1000 else options.trials // 4
        found = []
        for limit in (0, few):
            intervals.FEW = limit
            rates = [_trial(clusters, trial, options.resamples) for trial in range(trials)]
            found.append(np.mean(rates, axis=0))
        intervals.FEW = few
        (wrong_b, covers_b, _), (wrong, covers, pair) = found
        least = intervals.smallest_p(clusters, 10_000)
        print(
            f"| {clusters:,} | {least:.2g} | {wrong_b:.3f} | {wrong:.3f} | {covers_b:.3f} | {covers:.3f} | {pair:.3f} |"
        )


def _trial(clusters: int, seed: int, resamples: int) -> tuple[bool, bool, bool]:
    """Whether p < 0.05, whether A's interval holds 1/2, whether the difference's holds 0."""
    random = np.random.default_rng([seed, clusters])
    sizes = random.integers(1, 7, clusters)
    video = np.repeat(np.arange(clusters), sizes)
    chance = random.random(clusters)[video]
    a, b = (
        [
            {"qid": i, "vid": v, "video": v, "metric": float(hit)}
            for i, (v, hit) in enumerate(zip(video, hits, strict=True))
        ]
        for hits in (random.random((2, len(video))) + 0.2 * random.normal(size=(2, clusters))[:, video] < chance)
    )
    (row,) = intervals.compare(a, b, resamples, seed)
    return row.p < 0.05, row.a.low <= 50 <= row.a.high, row.difference.low <= 0 <= row.difference.high


if __name__ == "__main__":
    main()
