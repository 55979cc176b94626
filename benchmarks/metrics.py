"""Measures time and memory of scoring for 1,550, 15,500 and 155,000 queries, in comparison with the plain reference.

    python benchmarks/metrics.py                                  # queries made here, shaped like QVHighlights val
    python benchmarks/metrics.py --predictions P --annotations A  # the rows of two QVHighlights files, repeated

Times are CPU seconds of one process after the rows were loaded. Memory is what scoring needed in addition to the loaded
rows. Every size runs in its own process. The reference is `tests/reference_metrics.py`, which runs for up to 1,550
queries. It is written for readers, so it is several times slower than plain loops have to be. ratio: reference / score.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import numpy as np  # noqa: E402
import reference_metrics  # noqa: E402

from pipeline.evaluation import by_qid, check, headline_intervals, load_predictions, load_truth, score  # noqa: E402

BASE = 1550
COLUMNS = ("queries", "check s", "score s", "bootstrap s", "memory MiB", "reference s", "ratio")
MIB = 1024


def main() -> None:
    """Run every size and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--predictions", type=Path, metavar="FILE")
    parser.add_argument("--annotations", type=Path, metavar="FILE")
    parser.add_argument("--queries", type=int, nargs="+", default=[1550, 15_500, 155_000])
    options = parser.parse_args()
    if (options.predictions is None) != (options.annotations is None):
        parser.error("--predictions and --annotations go together")
    source = options.predictions.name if options.predictions else "queries made here"
    print(f"{source}; {platform.machine()}, Python {platform.python_version()}, NumPy {np.__version__}, one thread")
    print("".join(f"{name:>13}" for name in COLUMNS))
    for n in options.queries:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            print(process.submit(measure, n, options.predictions, options.annotations).result(), flush=True)
    if options.predictions:
        print(f"file to metrics, {BASE:,} queries or fewer: {from_files(options):.2f} s (read, check, score)")


def measure(n: int, predictions: Path | None, annotations: Path | None) -> str:
    """Return one line of the table. Peak memory is the high-water mark of the process, so the reference runs last."""
    rows, truth_rows = tiled(n, *(load(predictions, annotations) if predictions else made()))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    truth = by_qid("qvhighlights", truth_rows)
    scorable, _ = check("qvhighlights", enumerate(rows, start=1), truth)
    checked = time.process_time()
    result = score("qvhighlights", scorable, truth)
    scored = time.process_time()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    headline_intervals(result.queries)
    resampled = time.process_time()
    seconds = f"{checked - start:>13.3f}{scored - checked:>13.3f}{resampled - scored:>13.2f}"
    line = f"{n:>13,}{seconds}{(peak - before) / MIB:>13.0f}"
    if n > BASE:
        return f"{line}{'–':>13}{'–':>13}"
    reference_metrics.qvhighlights(rows, truth_rows)
    reference = time.process_time() - resampled
    return f"{line}{reference:>13.2f}{reference / (scored - checked):>13.0f}"


def from_files(options: argparse.Namespace) -> float:
    """Return the CPU seconds from two files to the result."""
    start = time.process_time()
    truth = load_truth("qvhighlights", options.annotations)
    rows, findings = load_predictions(options.predictions, truth, "qvhighlights")
    score("qvhighlights", rows, truth, findings)
    return time.process_time() - start


def load(predictions: Path, annotations: Path) -> tuple[list[dict], list[dict]]:
    """Return the rows of predictions and annotations of two files, in the same order."""
    rows, truth = ([json.loads(line) for line in path.read_text().splitlines()] for path in (predictions, annotations))
    by = {row["qid"]: row for row in rows}
    return [by[row["qid"]] for row in truth], truth


def made() -> tuple[list[dict], list[dict]]:
    """Return predictions and annotations with the counts of QVHighlights val: 75 clips, 1 to 6 windows, float16
    scores."""
    random = np.random.default_rng(0)
    predictions, annotations = [], []
    for qid in range(BASE):
        cuts = np.sort(random.choice(76, size=2 * min(1 + random.poisson(0.8), 6), replace=False))
        clips = [clip for start, end in cuts.reshape(-1, 2).tolist() for clip in range(start, end)]
        windows = 2 * np.sort(random.integers(0, 76, (10, 2)), axis=1)
        scores = np.sort(random.random(10))[::-1].round(4)
        vid = f"video{qid // 3:06d}_{60 * (qid % 3)}.0_{60 * (qid % 3) + 150}.0"
        rated = {"relevant_windows": (2 * cuts.reshape(-1, 2)).tolist(), "relevant_clip_ids": clips}
        ratings = {"saliency_scores": random.integers(0, 5, (len(clips), 3)).tolist()}
        annotations.append({"qid": qid, "vid": vid, "query": "made here", "duration": 150} | rated | ratings)
        saliency = random.normal(size=75).astype(np.float16).tolist()
        moments = [[float(s), float(e), float(c)] for (s, e), c in zip(windows, scores, strict=True)]
        predictions.append({"qid": qid, "vid": vid, "pred_relevant_windows": moments, "pred_saliency_scores": saliency})
    return predictions, annotations


def tiled(n: int, predictions: list[dict], annotations: list[dict]) -> tuple[list[dict], list[dict]]:
    """Return n rows of each. The given rows are repeated with new qids, and with new videos in each repetition."""
    rows, truth = [], []
    for k in range(n):
        round_, place = divmod(k, len(predictions))
        name = {"qid": k, "vid": f"{round_}-{annotations[place]['vid']}"}
        rows.append(predictions[place] | name)
        truth.append(annotations[place] | name)
    return rows, truth


if __name__ == "__main__":
    main()
