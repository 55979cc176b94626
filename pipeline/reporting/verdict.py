"""A verdict says whether a published number is what our runs give: it is compared with where one more run would
fall."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from pathlib import Path

from pipeline import records
from pipeline.evaluation.intervals import compare
from pipeline.evaluation.student import student_t

LEVEL = 0.95
FEWEST_RUNS = 3

WITHIN, OUTSIDE, TOO_FEW = "within", "outside", "not enough runs"
OTHER_QUERIES = "other queries"
EXACT, DIFFERENT = "re-derived exactly", "not re-derived"


def against_runs(published: str, values: Sequence[float]) -> str:
    """Compare a published number, as printed, with the spread of our runs (one value per seed).

    The verdict is `within` if it lies in mean ± (t·s·√(1 + 1/n) + half of its last digit), the 95 % interval for one
    more run, and `not enough runs` below three runs.
    """
    n = len(values)
    if n < FEWEST_RUNS:
        return TOO_FEW
    reach = student_t(n - 1) * statistics.stdev(values) * math.sqrt(1 + 1 / n)
    half_a_digit = 0.5 * 10.0 ** -_decimals(published)
    return WITHIN if abs(float(published) - statistics.fmean(values)) <= reach + half_a_digit else OUTSIDE


def against_predictions(published: str, value: float) -> str:
    """Compare a published number, as printed, with that of a released prediction file: equal at its decimals or not."""
    return EXACT if published == f"{value:.{_decimals(published)}f}" else DIFFERENT


def paired(ours: Path, released: Path, metric: str) -> str:
    """Compare our run with a released prediction file on the same queries: difference in percent and its 95 % interval.

    ours, released: per-query results of the score stage. Returns '' when one of them lacks the metric. Raises
    PipelineError when they cover different queries.
    """
    mine, theirs = ([row for _, row in records.read_jsonl(path)] for path in (ours, released))
    if metric not in mine[0] or metric not in theirs[0]:
        return ""
    (row,) = (row for row in compare(mine, theirs) if row.metric == metric)
    low, high = row.difference.low, row.difference.high
    interval = "" if low is None or high is None else f" [{low:+.2f}, {high:+.2f}]"
    return f"{row.difference.value:+.2f}{interval}"


def _decimals(printed: str) -> int:
    return len(printed.partition(".")[2])
