"""Confidence intervals of headline numbers and of their differences, by a bootstrap over videos and not over queries.

The results of queries of one video, and of 150-s pieces of one YouTube video, are correlated. So intervals from
resampled queries would be too narrow. In a simulation with 474 videos of 1 to 6 strongly correlated queries, 95 %
intervals over queries cover the true value in 85 % of the trials, and intervals over videos in 95 %. Two files are
compared on the same resamples (paired). Below `FEW` videos the intervals of a bootstrap are too narrow. There p comes
from flipping the signs of whole videos, and intervals come from Student's t: on its own scale for a difference, and on
the scale of log odds for the share of one file (docs/statistics.md has the simulation).
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pipeline.errors import PipelineError
from pipeline.evaluation.student import LEVEL, student_t
from pipeline.nouns import counted

LABELS = ("qid", "vid", "video", "domain")
"""Columns of a per-query row that are not metrics."""
FEW = 50
"""Smallest number of videos for which p and intervals come from the bootstrap."""
ENUMERATED = 16
"""Largest number of videos for which all 2^n sign patterns are tried. With more videos random patterns are tried, as
many as there are resamples."""
NO_SPREAD = 1e-9
"""Shares that differ by less than this are equal except for rounding."""
NO_POINTS = 0.005
"""Half of an interval below this many percent points is printed as 0.00, so it is no resolution."""
MOST_RESAMPLES = 1_000_000
"""Largest number of resamples. The means of all of them are held in memory, 0.2 GB for two files."""
DRAWS = 1 << 20
"""Number of videos drawn at a time. The result of a seed depends on it."""


@dataclass(frozen=True)
class Interval:
    """A percentage with its 95 % interval. low and high are None if fewer than two videos have a value."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Comparison:
    """One metric of two prediction files on the same queries, in percent. The difference is a - b, and p is two-sided.

    videos: the number of videos with a value of the metric. smallest_p: the smallest p that this number of videos can
    give. holm: whether p stays below 0.05 after Holm's correction for all metrics of the same `compare`. resolution:
    half of the difference's interval, in percent points: about the smallest difference that such an interval tells from
    0. None where there is no interval, or where it has no width that two decimals show.
    """

    metric: str
    a: Interval
    b: Interval
    difference: Interval
    p: float | None
    videos: int = 0
    smallest_p: float | None = None
    holm: bool = False

    @property
    def resolution(self) -> float | None:
        """Return half of the difference's interval, in percent points. The docstring of the class explains it."""
        low, high = self.difference.low, self.difference.high
        return None if low is None or high is None or high - low < 2 * NO_POINTS else (high - low) / 2


def headline_intervals(
    queries: Sequence[dict[str, Any]], resamples: int = 10_000, seed: int = 0
) -> dict[str, Interval]:
    """Return the interval of every headline metric of `Result.queries`. Metrics without a value are left out."""
    if not (metrics := _shared_metrics(queries)):
        return {}
    sample = _sample(queries, [queries], metrics)
    means = sample.resampled(resamples, seed)
    return {metric: _interval(sample.column(i), means[:, i]) for i, metric in enumerate(metrics)}


def compare(
    a: Sequence[Mapping[str, Any]],
    b: Sequence[Mapping[str, Any]],
    resamples: int = 10_000,
    seed: int = 0,
    only: Container[str] | None = None,
) -> list[Comparison]:
    """Compare two files' `Result.queries` metric by metric on paired resamples of the videos.

    only: the metrics that are compared; None stands for all that both files have. Each metric takes time.

    From 50 videos on, p is twice the smaller share of resampled differences on either side of zero, at least 2 /
    (resamples + 1). Below 50 videos, p is the share of sign patterns over whole videos whose summed difference is at
    least as far from zero as the one found. These are all patterns up to 16 videos, and else `resamples` random ones
    and the one found. Raises PipelineError if the two do not have the same queries or have no metric in common.
    """
    of_b = {row["qid"]: row for row in b}
    if len(a) != len(b) or {row["qid"] for row in a} != set(of_b):
        raise PipelineError(
            f"{len(a):,} and {counted(len(b), 'query')}, not the same ones",
            where="compare",
            remedy="score both on one annotation file",
        )
    pair: list[Sequence[Mapping[str, Any]]] = [a, [of_b[row["qid"]] for row in a]]
    metrics = [name for name in _shared_metrics(*pair) if only is None or name in only]
    if not metrics:
        raise PipelineError(
            "one file has windows only, the other saliency scores only",
            where="compare",
            remedy="name files that share a task",
        )
    sample, n = _sample(a, pair, metrics), len(metrics)
    means = sample.resampled(resamples, seed)
    rows = [_compared(sample, means, metric, i, n, resamples, seed) for i, metric in enumerate(metrics)]
    kept = holm([row.p for row in rows])
    return [replace(row, holm=is_kept) for row, is_kept in zip(rows, kept, strict=True)]


def holm(ps: Sequence[float | None]) -> list[bool]:
    """Tell which of several p stay significant at 5 % by Holm's step-down correction. A p of None is not
    significant."""
    order = sorted((p, i) for i, p in enumerate(ps) if p is not None)
    survives = [False] * len(ps)
    for rank, (p, i) in enumerate(order):
        if p * (len(order) - rank) >= 1 - LEVEL:
            break
        survives[i] = True
    return survives


def star(p: float | None, survives: bool) -> str:
    """Return `**` for a p that survives Holm's correction, `*` for another p below 0.05, and else ''."""
    return "**" if survives else "*" if p is not None and p < 1 - LEVEL else ""


def sign_flip_p(differences: np.ndarray, resamples: int, seed: int) -> float:
    """Return the two-sided p of a sum of independent differences, one for each video, [videos], under flips of their
    signs.

    A flip stands for exchanging the two files' predictions on a whole video. Exact up to 16 videos.
    """
    n = len(differences)
    if n <= ENUMERATED:
        # The sign of the last video is fixed, because flipping all signs gives the same distance from zero.
        patterns = (np.arange(1 << (n - 1))[:, None] >> np.arange(n)) & 1
    else:
        patterns = np.random.default_rng(seed).integers(2, size=(resamples, n))
    found = abs(differences.sum())
    # Sums in another order differ in their last bits. A difference of that size counts as equal.
    far = np.abs((1 - 2 * patterns) @ differences) >= found - 1e-9 * np.abs(differences).sum()
    return float(far.mean()) if n <= ENUMERATED else float((far.sum() + 1) / (resamples + 1))


def smallest_p(videos: int, resamples: int) -> float | None:
    """Return the smallest p that a comparison over this number of videos can give, or None for fewer than two."""
    if videos < 2:
        return None
    if videos <= ENUMERATED:
        return 2.0 ** (1 - videos)
    return (1 if videos < FEW else 2) / (resamples + 1)


def t_interval(sums: np.ndarray, counts: np.ndarray) -> tuple[float, float]:
    """Return the 95 % interval of sum(sums) / sum(counts), by Student's t over at least two videos. sums, counts:
    [videos].

    The standard error is that of a ratio of means. It is computed from the difference between each video's sum and the
    sum that its count predicts.
    """
    n, mean = len(sums), sums.sum() / counts.sum()
    spread = math.sqrt(n / (n - 1) * ((sums - mean * counts) ** 2).sum()) / counts.sum()
    reach = student_t(n - 1) * spread
    return float(mean - reach), float(mean + reach)


def share_interval(sums: np.ndarray, counts: np.ndarray) -> tuple[float, float]:
    """Return the 95 % interval of a share, sum(sums) / sum(counts). It lies between 0 and 1. sums, counts: [videos].

    It is Student's t over at least two videos on the scale of the log odds, where the standard error is the one of
    `t_interval` divided by p (1 - p). If all videos are equal they give no standard error. The result is then Wilson's
    interval, with t in place of z, as if each video were one query.
    """
    n, mean = len(sums), min(max(float(sums.sum() / counts.sum()), 0.0), 1.0)
    low, high = t_interval(sums, counts)
    variance = mean * (1 - mean)
    if high - low < NO_SPREAD or variance < NO_SPREAD:
        k = student_t(n - 1) ** 2 / n
        middle, reach = (mean + k / 2) / (1 + k), math.sqrt(k * variance + k * k / 4) / (1 + k)
        return max(middle - reach, 0.0), min(middle + reach, 1.0)
    odds, reach = math.log(mean / (1 - mean)), (high - low) / 2 / variance
    return _logistic(odds - reach), _logistic(odds + reach)


def _logistic(x: float) -> float:
    return 0.5 * (1 + math.tanh(x / 2))


def resampled_means(sums: np.ndarray, counts: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Return bootstrap means of clustered values. Each resample draws as many clusters as there are, with replacement.

    sums, counts: [clusters, metrics], sum of the values and number of values in each cluster. Returns
    [resamples, metrics], NaN where a resample drew no value.
    """
    both = np.hstack([sums, counts])
    totals = np.concatenate([weights @ both for weights in _weights(len(sums), resamples, seed)])
    with np.errstate(invalid="ignore"):
        means: np.ndarray = totals[:, : sums.shape[1]] / totals[:, sums.shape[1] :]
    return means


def _weights(clusters: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Yield how often each cluster is drawn, [some resamples, clusters], in blocks of bounded size."""
    random = np.random.default_rng(seed)
    block = max(1, DRAWS // clusters)
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        drawn = random.integers(clusters, size=(size, clusters)) + clusters * np.arange(size)[:, None]
        yield np.bincount(drawn.ravel(), minlength=size * clusters).reshape(size, clusters).astype(np.float64)


@dataclass(frozen=True)
class _Sample:
    """Sums and counts of every column in each video, [videos, columns], in percent. The columns are the metrics of the
    first file, then those of the second."""

    sums: np.ndarray
    counts: np.ndarray
    values: np.ndarray

    def resampled(self, resamples: int, seed: int) -> np.ndarray:
        """Return bootstrap means, [resamples, columns]. Raises PipelineError for no resamples, for too many to hold in
        memory, and for a seed below 0."""
        if not 1 <= resamples <= MOST_RESAMPLES or seed < 0:
            raise PipelineError(
                f"{resamples:,} resamples with seed {seed}",
                where="bootstrap",
                remedy=f"give `--resamples` of 1 to {MOST_RESAMPLES:,}, and `--seed` of at least 0",
            )
        if len(self.sums) < 2:
            return np.empty((0, self.sums.shape[1]))
        return resampled_means(self.sums, self.counts, resamples, seed)

    def column(self, i: int) -> tuple[float, np.ndarray, np.ndarray]:
        """Return value, sums and counts of one column, over the videos that have a value."""
        part = self.counts[:, i] > 0
        return float(self.values[i]), self.sums[part, i], self.counts[part, i]


def _sample(
    queries: Sequence[Mapping[str, Any]], files: Sequence[Sequence[Mapping[str, Any]]], metrics: Sequence[str]
) -> _Sample:
    table = np.array([[[row[metric] for metric in metrics] for row in rows] for rows in files], dtype=np.float64)
    table = 100 * table.transpose(1, 0, 2).reshape(len(queries), -1)
    _, cluster = np.unique([row["video"] for row in queries], return_inverse=True)
    sums, counts = (np.zeros((cluster.max() + 1, table.shape[1])) for _ in range(2))
    np.add.at(sums, cluster, np.nan_to_num(table))
    np.add.at(counts, cluster, ~np.isnan(table))
    return _Sample(sums, counts, np.nanmean(table, axis=0))


def _compared(sample: _Sample, means: np.ndarray, metric: str, i: int, n: int, resamples: int, seed: int) -> Comparison:
    """Compare column i of the first file with the same metric of the second file, which is n columns further."""
    (value_a, sums_a, counts), (value_b, sums_b, _) = sample.column(i), sample.column(n + i)
    difference = (value_a - value_b, sums_a - sums_b, counts)
    if len(counts) < 2:
        p = None
    elif len(counts) < FEW:
        p = sign_flip_p(sums_a - sums_b, resamples, seed)
    else:
        p = _two_sided_p(means[:, i] - means[:, n + i])
    return Comparison(
        metric,
        _interval(sample.column(i), means[:, i]),
        _interval(sample.column(n + i), means[:, n + i]),
        _interval(difference, means[:, i] - means[:, n + i], is_share=False),
        p,
        len(counts),
        smallest_p(len(counts), resamples),
    )


def _shared_metrics(*files: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the metrics that all files have, if at least one query has a value."""
    names = [name for name in files[0][0] if name not in LABELS and all(name in rows[0] for rows in files)]
    return [name for name in names if any(row[name] is not None for row in files[0])]


def _interval(column: tuple[float, np.ndarray, np.ndarray], means: np.ndarray, *, is_share: bool = True) -> Interval:
    """Return an interval: Student's t below `FEW` videos, else percentiles of the resampled means.

    is_share: False for a difference.
    """
    value, sums, counts = column
    if len(counts) < 2:
        return Interval(value, None, None)
    if len(counts) < FEW and is_share:
        low, high = share_interval(sums / 100, counts)
        return Interval(value, 100 * low, 100 * high)
    if len(counts) < FEW:
        return Interval(value, *t_interval(sums, counts))
    low, high = np.quantile(means[~np.isnan(means)], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high))


def _two_sided_p(differences: np.ndarray) -> float | None:
    drawn = differences[~np.isnan(differences)]
    if not len(drawn):
        return None
    smaller = min((drawn <= 0).sum(), (drawn >= 0).sum())
    return min(1.0, 2 * (int(smaller) + 1) / (len(drawn) + 1))
