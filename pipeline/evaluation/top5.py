"""Scores highlights if every clip is rated (TVSum): top-5 mAP as released, with a stable order, and a note if ties
decide.

Recall is relative to the positives among the five top clips, not to those of the video. So the order of the five
matters, and the other clips do not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

TOP = 5


def top5_average_precision(scores: Sequence[float], label: Sequence[Sequence[float]]) -> np.ndarray:
    """Return the average precision of the five top clips for each annotator, [annotators], 0 to 1.

    scores: one per clip, cut to the labelled clips; missing clips are never picked. label: [clips, annotators]. A clip
    is positive if its rating is strictly above the annotator's lower median. Of clips with equal scores the earlier one
    comes first.
    """
    ratings = np.asarray(label, dtype=np.float64)
    ranked = np.argsort(-np.asarray(scores, dtype=np.float64)[: len(ratings)], kind="stable")[:TOP]
    hits = ratings[ranked] > lower_median(ratings)
    found = hits.cumsum(axis=0)
    precision = found / np.arange(1, len(hits) + 1)[:, None]
    before = np.vstack([np.ones_like(precision[:1]), precision[:-1]])
    area: np.ndarray = (hits / np.maximum(found[-1], 1) * (precision + before) / 2).sum(axis=0)
    return area


def lower_median(label: np.ndarray) -> np.ndarray:
    """Return each annotator's lower median: [clips, annotators] → [annotators]. Values strictly above it are
    positive."""
    median: np.ndarray = np.sort(label, axis=0)[(len(label) - 1) // 2]
    return median


def score_top5(rows: Iterable[tuple[Sequence[float], Sequence[Sequence[float]]]]) -> np.ndarray:
    """Return the mean over annotators of each (scores, label), [videos], 0 to 1."""
    return np.array([top5_average_precision(scores, label).mean() for scores, label in rows])


def domain_means(values: np.ndarray, domains: Sequence[str]) -> dict[str, float]:
    """Return the mean over the videos of each domain, in order of appearance, and the `average` of the domains."""
    names = np.array(domains)
    means = {domain: float(values[names == domain].mean()) for domain in dict.fromkeys(domains)}
    return means | {"average": float(np.mean(list(means.values())))}


def tie_note(vid: str, scores: Sequence[float], n_clips: int) -> str | None:
    """Return a note if the five top clips, or their order, depend on how ties are broken, else None."""
    values = np.asarray(scores, dtype=np.float64)[:n_clips]
    if len(values) > 1 and values.min() == values.max():
        return f"{vid}: all {len(values)} scores are equal; its value says nothing about the model"
    best = np.sort(values)[::-1][:TOP]
    sharing = sum(count for value in set(best.tolist()) if (count := int((values == value).sum())) > 1)
    return f"{vid}: {sharing} clips share scores among the five best; the earlier come first" if sharing else None
