"""Converts spans to windows in seconds, best first, as the released systems write them.

The clamping depends on the dataset (`longest_s`). The released system clamps windows of QVHighlights to 150 s.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from pipeline import datasets
from pipeline.records import Query


def scored_windows(
    logits: Tensor,
    spans: Tensor,
    queries: Sequence[Query],
    dataset: str,
    clip_s: float,
    *,
    within_duration: bool = False,
) -> np.ndarray:
    """Return all Q windows of every query: [B, Q, 3] start_s, end_s, score. The best is first, and ties keep the order
    of the moment queries.

    They are scaled by the annotated duration, cut to 4 decimals, clamped, and rounded (half to even) to multiples of
    the clip. If the dataset has a `longest_s`, windows are clamped to 0 … `longest_s`, as released (QVHighlights). For
    other datasets they are clamped to the duration after the rounding, because the duration may end between two clips.
    As released, windows of zero length and duplicates are kept.

    within_duration: whether windows are clamped to the annotated duration before all other steps, and not after the
    rounding. CG-DETR does this. It also clamps windows of Charades-STA to 150 s, which no val video reaches. In a
    user's own dataset, for which nothing was released, windows are clamped after the rounding, too, so that none ends
    after its video.
    """
    scores = logits.detach().float().softmax(-1)[..., 0].cpu().numpy()
    duration = np.array([query.duration for query in queries], np.float32)[:, None, None]
    centre, width = np.moveaxis(spans.detach().float().cpu().numpy(), -1, 0)
    bounds = np.stack((centre - np.float32(0.5) * width, centre + np.float32(0.5) * width), axis=-1) * duration
    bounds = bounds.clip(0, duration) if within_duration else bounds
    order = np.argsort(-scores, axis=1, kind="stable")
    bounds, scores = np.take_along_axis(bounds, order[..., None], 1), np.take_along_axis(scores, order, 1)
    bounds = np.round(bounds.astype(np.float64), 4).astype(np.float32).astype(np.float64)
    about = datasets.get(dataset)
    longest_s = about.longest_s
    bounds = _on_grid(bounds if longest_s is None else bounds.clip(0, longest_s), clip_s)
    if longest_s is None and (about.own or not within_duration):
        bounds = bounds.clip(0, np.array([query.duration for query in queries])[:, None, None])
    return np.round(np.concatenate((bounds, scores.astype(np.float64)[..., None]), axis=-1), 4)


def _on_grid(seconds: np.ndarray, clip_s: float) -> np.ndarray:
    return np.round(seconds / clip_s) * clip_s
