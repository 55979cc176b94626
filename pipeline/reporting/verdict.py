"""A verdict says whether a published number agrees with our runs: whether it lies where one more run would fall."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from pathlib import Path

from pipeline import records
from pipeline.evaluation.intervals import Comparison, compare
from pipeline.evaluation.student import student_t, two_sided_p

FEWEST_RUNS = 3

WITHIN, OUTSIDE, TOO_FEW = "within", "outside", "not enough runs"
OTHER_QUERIES = "other queries"
EXACT, DIFFERENT = "re-derived exactly", "not re-derived"


def against_runs(published: str, values: Sequence[float]) -> str:
    """Compare a published number, as printed, with the spread of our runs (one value per seed).

    The verdict is `within` if it lies in mean ± (t·s·√(1 + 1/n) + half of its last digit), the 95 % interval for one
    more run, and `not enough runs` below three runs.
    """
    if len(values) < FEWEST_RUNS:
        return TOO_FEW
    beyond, error = _beyond(published, values)
    return WITHIN if beyond <= student_t(len(values) - 1) * error else OUTSIDE


def p_against_runs(published: str, values: Sequence[float]) -> float:
    """Return the p of `against_runs`, for at least two values. It is below 0.05 if the verdict is `outside`."""
    beyond, error = _beyond(published, values)
    if not error:
        return 1.0 if beyond <= 0 else 0.0
    return two_sided_p(max(beyond, 0.0) / error, len(values) - 1)


def _beyond(published: str, values: Sequence[float]) -> tuple[float, float]:
    """Return by how much the published number differs from the mean by more than half of its last digit, and the
    standard error of one more run."""
    half_a_digit = 0.5 * 10.0 ** -_decimals(published)
    distance = abs(float(published) - statistics.fmean(values))
    return distance - half_a_digit, statistics.stdev(values) * math.sqrt(1 + 1 / len(values))


def against_predictions(published: str, value: float) -> str:
    """Compare a published number, as printed, with that of a released prediction file. They agree if they are equal at
    the printed decimals."""
    return EXACT if published == f"{value:.{_decimals(published)}f}" else DIFFERENT


def paired(ours: Path, released: Path, metric: str) -> Comparison | None:
    """Compare our run with a released prediction file on the same queries, as `compare` does.

    ours, released: per-query results of the score stage. Returns None when one of them lacks the metric. Raises
    PipelineError when they cover different queries.
    """
    mine, theirs = ([row for _, row in records.read_jsonl(path)] for path in (ours, released))
    if metric not in mine[0] or metric not in theirs[0]:
        return None
    return next((row for row in compare(mine, theirs) if row.metric == metric), None)


def paired_text(row: Comparison, star: str = "") -> str:
    """Return the metric, its difference in points with the 95 % interval and star, and the resolution of the pair, as
    one text."""
    low, high = row.difference.low, row.difference.high
    interval = "" if low is None or high is None else f" [{low:+.2f}, {high:+.2f}]"
    resolves = "" if row.resolution is None else f", such a pair resolves ±{row.resolution:.2f}"
    return f"{row.metric} {signed(row.difference.value, 2)}{interval}{star}{resolves}"


def signed(difference: float, decimals: int) -> str:
    """Return a difference as text, as in every table: rounded once, with its sign. Zero has no sign."""
    value = round(difference, decimals) + 0.0
    return f"{value:+.{decimals}f}" if value else f"{value:.{decimals}f}"


def _decimals(printed: str) -> int:
    return len(printed.partition(".")[2])
