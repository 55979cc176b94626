"""How sure a headline number is, and a difference of two: bootstrap over videos, not over queries.

Queries of one video, and the 150-s pieces cut from one YouTube video, succeed and fail together; resampling queries
would call intervals narrower than they are. Simulated with 474 videos of 1 to 6 strongly correlated queries, 95 %
intervals over queries cover 85 %, over videos 95 %; with ten videos, as on TVSum, still only 90 %.
Two files are compared on the same resamples (paired).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.errors import PipelineError

LABELS = ("qid", "vid", "video", "domain")
"""Columns of a per-query row that are no metric."""
LEVEL = 0.95
DRAWS = 1 << 20
"""Videos drawn at a time; part of what a seed means."""


@dataclass(frozen=True)
class Interval:
    """A percentage with its 95 % percentile interval; low and high are None where there are fewer than two videos."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Comparison:
    """One metric of two prediction files on the same queries, in percent; difference = a - b, p two-sided."""

    metric: str
    a: Interval
    b: Interval
    difference: Interval
    p: float | None


def headline_intervals(
    queries: Sequence[dict[str, Any]], resamples: int = 10_000, seed: int = 0
) -> dict[str, Interval]:
    """The interval of every headline metric of `Result.queries`; metrics that no query takes part in are left out."""
    if not (metrics := _shared_metrics(queries)):
        return {}
    values, means = _resampled(queries, [queries], metrics, resamples, seed)
    return {metric: _interval(values[0, i], means[:, 0, i]) for i, metric in enumerate(metrics)}


def compare(
    a: Sequence[dict[str, Any]], b: Sequence[dict[str, Any]], resamples: int = 10_000, seed: int = 0
) -> list[Comparison]:
    """Compare two files' `Result.queries` metric by metric on paired resamples of the videos.

    p is twice the smaller share of resampled differences on either side of zero, at least 2 / (resamples + 1).
    Raises PipelineError when the two do not cover the same queries or have no metric in common.
    """
    of_b = {row["qid"]: row for row in b}
    if len(a) != len(b) or {row["qid"] for row in a} != set(of_b):
        raise PipelineError(
            f"{len(a)} and {len(b)} queries, not the same ones",
            where="compare",
            remedy="score both on one annotation file",
        )
    pair = [a, [of_b[row["qid"]] for row in a]]
    metrics = _shared_metrics(*pair)
    if not metrics:
        raise PipelineError(
            "one file has windows only, the other saliency scores only",
            where="compare",
            remedy="name files that share a task",
        )
    values, means = _resampled(a, pair, metrics, resamples, seed)
    return [
        Comparison(
            metric,
            _interval(values[0, i], means[:, 0, i]),
            _interval(values[1, i], means[:, 1, i]),
            _interval(values[0, i] - values[1, i], means[:, 0, i] - means[:, 1, i]),
            _two_sided_p(means[:, 0, i] - means[:, 1, i]),
        )
        for i, metric in enumerate(metrics)
    ]


def resampled_means(sums: np.ndarray, counts: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Bootstrap means of clustered values: draw as many clusters as there are, with replacement, again and again.

    sums, counts: [clusters, metrics], sum of the values and number of values in each cluster. Returns
    [resamples, metrics], NaN where a resample drew no value.
    """
    both = np.hstack([sums, counts])
    totals = np.concatenate([weights @ both for weights in _weights(len(sums), resamples, seed)])
    with np.errstate(invalid="ignore"):
        means: np.ndarray = totals[:, : sums.shape[1]] / totals[:, sums.shape[1] :]
    return means


def _weights(clusters: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each cluster is drawn, [some resamples, clusters], in blocks of bounded size."""
    random = np.random.default_rng(seed)
    block = max(1, DRAWS // clusters)
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        drawn = random.integers(clusters, size=(size, clusters)) + clusters * np.arange(size)[:, None]
        yield np.bincount(drawn.ravel(), minlength=size * clusters).reshape(size, clusters).astype(np.float64)


def _resampled(
    queries: Sequence[dict[str, Any]],
    files: Sequence[Sequence[dict[str, Any]]],
    metrics: Sequence[str],
    resamples: int,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Means in percent: on the queries themselves [files, metrics], and resampled [resamples, files, metrics].

    Raises PipelineError for less than one resample and for a seed below 0.
    """
    if resamples < 1 or seed < 0:
        raise PipelineError(
            f"{resamples} resamples with seed {seed}",
            where="bootstrap",
            remedy="give `--resamples` 1 at least, and `--seed` 0 at least",
        )
    table = np.array([[[row[metric] for metric in metrics] for row in rows] for rows in files], dtype=np.float64)
    table = 100 * table.transpose(1, 0, 2).reshape(len(queries), -1)
    _, cluster = np.unique([row["video"] for row in queries], return_inverse=True)
    sums, counts = (np.zeros((cluster.max() + 1, table.shape[1])) for _ in range(2))
    np.add.at(sums, cluster, np.nan_to_num(table))
    np.add.at(counts, cluster, ~np.isnan(table))
    means = resampled_means(sums, counts, resamples, seed) if len(sums) > 1 else np.empty((0, table.shape[1]))
    return np.nanmean(table, axis=0).reshape(len(files), -1), means.reshape(-1, len(files), len(metrics))


def _shared_metrics(*files: Sequence[dict[str, Any]]) -> list[str]:
    """Metrics that all files have and at least one query takes part in."""
    names = [name for name in files[0][0] if name not in LABELS and all(name in rows[0] for rows in files)]
    return [name for name in names if any(row[name] is not None for row in files[0])]


def _interval(value: float, means: np.ndarray) -> Interval:
    drawn = means[~np.isnan(means)]
    if not len(drawn):
        return Interval(float(value), None, None)
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(value), float(low), float(high))


def _two_sided_p(differences: np.ndarray) -> float | None:
    drawn = differences[~np.isnan(differences)]
    if not len(drawn):
        return None
    smaller = min((drawn <= 0).sum(), (drawn >= 0).sum())
    return min(1.0, 2 * (int(smaller) + 1) / (len(drawn) + 1))
