"""Is a published number what our runs give? The published value against where one more run would fall."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from pathlib import Path

from pipeline import records
from pipeline.evaluation.intervals import compare

LEVEL = 0.95
FEWEST_RUNS = 3

WITHIN, OUTSIDE, TOO_FEW = "within", "outside", "not enough runs"
OTHER_QUERIES = "other queries"
EXACT, DIFFERENT = "re-derived exactly", "not re-derived"


def against_runs(published: str, values: Sequence[float]) -> str:
    """Compare a published number, as printed, with the spread of our runs (one value per seed).

    `within` where it lies in mean ± (t·s·√(1 + 1/n) + half of its last digit), the 95 % interval for one more run;
    `not enough runs` below three.
    """
    n = len(values)
    if n < FEWEST_RUNS:
        return TOO_FEW
    reach = student_t(n - 1) * statistics.stdev(values) * math.sqrt(1 + 1 / n)
    half_a_digit = 0.5 * 10.0 ** -_decimals(published)
    return WITHIN if abs(float(published) - statistics.fmean(values)) <= reach + half_a_digit else OUTSIDE


def against_predictions(published: str, value: float) -> str:
    """Compare a published number, as printed, with a released prediction file's: equal at its decimals or not."""
    return EXACT if published == f"{value:.{_decimals(published)}f}" else DIFFERENT


def paired(ours: Path, released: Path, metric: str) -> str:
    """Our run against a released prediction file on the same queries: difference in percent and its 95 % interval.

    ours, released: per-query results of the score stage. '' where one of them lacks the metric. Raises PipelineError
    when they cover other queries.
    """
    mine, theirs = ([row for _, row in records.read_jsonl(path)] for path in (ours, released))
    if metric not in mine[0] or metric not in theirs[0]:
        return ""
    (row,) = (row for row in compare(mine, theirs) if row.metric == metric)
    low, high = row.difference.low, row.difference.high
    interval = "" if low is None or high is None else f" [{low:+.2f}, {high:+.2f}]"
    return f"{row.difference.value:+.2f}{interval}"


def student_t(freedom: int, level: float = LEVEL) -> float:
    """The t beyond which Student's distribution has (1 - level) in both tails together; freedom ≥ 1, whole."""
    low, high = 0.0, 1.0
    while _central_mass(high, freedom) < level:
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if _central_mass(middle, freedom) < level else (low, middle)
    return high


def _decimals(printed: str) -> int:
    return len(printed.partition(".")[2])


def _central_mass(t: float, freedom: int) -> float:
    """P(|T| ≤ t), by the finite sums that whole degrees of freedom allow (Abramowitz and Stegun 26.7.3 and 26.7.4)."""
    angle = math.atan(t / math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term, total = (cosine if odd else 1.0), 0.0
    for k in range(1 + odd, freedom, 2):
        total += term
        term *= cosine * cosine * k / (k + 1)
    return 2 / math.pi * (angle + sine * total) if odd else sine * total
