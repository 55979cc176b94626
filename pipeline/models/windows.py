"""Spans are converted to windows in seconds, best first, as the released systems write them.

Constants are the released ones for QVHighlights (clamp to 150 s, multiples of 2 s). Where the paper or another dataset
differs, the function says so.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from pipeline.records import Query

LONGEST_S = 150.0
"""Duration of QVHighlights' longest video in seconds (the released value)."""


def scored_windows(logits: Tensor, spans: Tensor, queries: Sequence[Query], dataset: str, clip_s: float) -> np.ndarray:
    """Return all Q windows of every query, best first, ties in query order: [B, Q, 3] start_s, end_s, score.

    They are scaled by the annotated duration, cut to 4 decimals, clamped, and rounded (half to even) to multiples of
    the clip. QVHighlights is clamped to 0 … 150 s. Nothing was released for Charades-STA: it is clamped to the duration
    after the rounding, because the duration ends between two clips. Windows of zero length and duplicates stay, as
    released.
    """
    scores = logits.detach().float().softmax(-1)[..., 0].cpu().numpy()
    duration = np.array([query.duration for query in queries], np.float32)[:, None, None]
    centre, width = np.moveaxis(spans.detach().float().cpu().numpy(), -1, 0)
    bounds = np.stack((centre - np.float32(0.5) * width, centre + np.float32(0.5) * width), axis=-1) * duration
    order = np.argsort(-scores, axis=1, kind="stable")
    bounds, scores = np.take_along_axis(bounds, order[..., None], 1), np.take_along_axis(scores, order, 1)
    bounds = np.round(bounds.astype(np.float64), 4).astype(np.float32).astype(np.float64)
    if dataset == "qvhighlights":
        bounds = _on_grid(bounds.clip(0, LONGEST_S), clip_s)
    else:
        bounds = _on_grid(bounds, clip_s).clip(0, np.array([query.duration for query in queries])[:, None, None])
    return np.round(np.concatenate((bounds, scores.astype(np.float64)[..., None]), axis=-1), 4)


def _on_grid(seconds: np.ndarray, clip_s: float) -> np.ndarray:
    return np.round(seconds / clip_s) * clip_s
