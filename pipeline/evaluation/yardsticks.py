"""Yardsticks for the numbers of Table 3: orders of clips that no model made, scored by the same rule on the same
videos.

The published protocol reports the best of many evaluations on the test video. The yardstick "the best of N random
orders" does the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from pipeline.evaluation.top5 import TOP, domain_means, lower_median, top5_average_precision

BEST_OF = {
    60: "evaluations of 300 epochs",
    400: "evaluations of one published run",
    51_200: "the published audio script's grid: 400 evaluations, 8 seeds, 16 pairs of weights",
}
"""Numbers N of random orders, and the source of each number."""

ORDERS = 1 << 19
"""Number of random orders per video that the expected best of N is computed from: ten times the largest N."""
CHUNK = 1 << 16
STARTS = 128
"""Number of the best random orders from which the search for a better one starts."""


def yardsticks(annotations: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Return yardstick → {domain: percent, …, `average`} for the videos of the rows. Each row has a `label` [clips,
    annotators].

    "best order found" is a lower bound of the best order. It is found by coordinate ascent from the best random orders.
    """
    rng = np.random.default_rng(0)
    rows = list(annotations)
    each = [_of_video(np.asarray(row["label"], dtype=np.float64), rng) for row in rows]
    domains = [str(row["domain"]) for row in rows]
    return {name: domain_means(100 * np.array([video[name] for video in each]), domains) for name in each[0]}


def expected_best(values: np.ndarray, n: int) -> float:
    """Return the expected largest of `n` independent draws from the distribution that `values` are a sample of."""
    steps = (np.arange(len(values) + 1) / len(values)) ** n
    return float(np.sort(values) @ np.diff(steps))


def _of_video(label: np.ndarray, rng: np.random.Generator) -> dict[str, float]:
    hits = label > lower_median(label)
    orders = _random_orders(len(label), min(TOP, len(label)), rng)
    values = np.concatenate([_values(hits, part) for part in np.split(orders, range(CHUNK, len(orders), CHUNK))])
    found = {"random order": float(values.mean())}
    found |= {f"best of {n:,} random orders": expected_best(values, n) for n in BEST_OF}
    found["annotators' own mean"] = float(top5_average_precision(label.mean(axis=1).tolist(), label.tolist()).mean())
    starts = orders[np.argsort(-values, kind="stable")[:STARTS]]
    return found | {"best order found": max(_climb(hits, start) for start in starts)}


def _random_orders(n_clips: int, top: int, rng: np.random.Generator) -> np.ndarray:
    """Return [about ORDERS, top]: the first clips of random orders."""
    drawn = rng.integers(0, n_clips, (ORDERS, top))
    apart = np.diff(np.sort(drawn, axis=1), axis=1).all(axis=1)
    return drawn[apart] if apart.any() else np.array([rng.permutation(n_clips)[:top]])


def _values(hits: np.ndarray, orders: np.ndarray) -> np.ndarray:
    """Return the mean average precision of each order: hits [clips, annotators], orders [..., top] → [...]."""
    pattern = np.zeros((*orders.shape[:-1], hits.shape[1]), np.uint8)
    for place in np.moveaxis(orders, -1, 0):
        pattern = 2 * pattern + hits[place]
    mean: np.ndarray = _of_patterns(orders.shape[-1])[pattern].mean(axis=-1)
    return mean


def _of_patterns(top: int) -> np.ndarray:
    """Return the average precision of every pattern of hits. The first clip's hit is the highest bit."""
    patterns = (np.arange(2**top) >> np.arange(top)[::-1, None]) & 1
    scores = np.arange(top, 0, -1)
    # Enough misses follow the pattern that the lower median is a miss.
    label = np.concatenate((patterns, np.zeros((top + 1, 2**top))))
    return top5_average_precision(scores.tolist(), label.tolist()).astype(np.float32)


def _climb(hits: np.ndarray, order: np.ndarray) -> float:
    """Change one clip of the order at a time, each time with the largest gain, until no change has a gain."""
    best, top = float(_values(hits, order)), len(order)
    while True:
        others = np.setdiff1d(np.arange(len(hits)), order)
        tried = np.tile(order, (top, len(others), 1))
        tried[np.arange(top), :, np.arange(top)] = others
        pairs = np.array([_swapped(order, a, b) for a in range(top) for b in range(a)]).reshape(-1, top)
        tried = np.concatenate((tried.reshape(-1, top), pairs))
        values = _values(hits, tried) if len(tried) else np.zeros(1)
        if values.max() <= best:
            return best
        best, order = float(values.max()), tried[values.argmax()]


def _swapped(order: np.ndarray, a: int, b: int) -> np.ndarray:
    order = order.copy()
    order[[a, b]] = order[[b, a]]
    return order
