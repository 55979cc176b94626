"""Outputs to predictions: windows in seconds with scores, and clip scores, as the released system writes them.

Constants are the released ones for QVHighlights (clamp to 150 s, multiples of 2 s); where the paper or another dataset
differs, the function says so.
"""

from __future__ import annotations

from collections.abc import Container, Sequence

import numpy as np
from torch import Tensor

from pipeline.evaluation.truth import task_of
from pipeline.models.batch import Outputs
from pipeline.records import Prediction, Query
from pipeline.training.cut import clip_scores

LONGEST_S = 150.0
"""QVHighlights' longest video; released."""


def predictions_of(
    outputs: Outputs,
    queries: Sequence[Query],
    n_clips: Sequence[int],
    *,
    dataset: str,
    clip_s: float,
    cut: Container[str] = (),
) -> list[Prediction]:
    """One prediction per query of the batch, in its order. n_clips: valid clips of each. cut: vids that `max_clips`
    shortened, whose spans are fractions of the clips that were seen.
    """
    task = task_of(dataset)
    seen_s = [n * clip_s if query.vid in cut else query.duration for query, n in zip(queries, n_clips, strict=True)]
    windows = scored_windows(outputs.logits, outputs.spans, queries, dataset, clip_s, seen_s) if task.moments else None
    scores = outputs.saliency.detach().float().cpu().numpy().astype(np.float16)
    clips = [scores[index, :n].tolist() for index, n in enumerate(n_clips)]
    if task.highlights:
        clips = [clip_scores(row, query, is_cut=query.vid in cut) for row, query in zip(clips, queries, strict=True)]
    return [
        Prediction(
            qid=query.qid,
            query=query.query,
            vid=query.vid,
            pred_relevant_windows=windows[index].tolist() if windows is not None else None,
            pred_saliency_scores=clips[index],
        )
        for index, query in enumerate(queries)
    ]


def scored_windows(
    logits: Tensor,
    spans: Tensor,
    queries: Sequence[Query],
    dataset: str,
    clip_s: float,
    seen_s: Sequence[float] | None = None,
) -> np.ndarray:
    """All Q windows of every query, best first (ties in query order): [B, Q, 3] start_s, end_s, score.

    Scaled by `seen_s` (the annotated duration where nothing else is given), cut to 4 decimals, clamped, rounded (half
    to even) to multiples of the clip.
    QVHighlights is clamped to 0 … 150 s; Charades-STA, for which nothing was released, to the duration, which ends
    between two clips: clamped after the rounding. Zero-length windows and duplicates stay, as released.
    """
    scores = logits.detach().float().softmax(-1)[..., 0].cpu().numpy()
    seen_s = [query.duration for query in queries] if seen_s is None else seen_s
    duration = np.array(seen_s, np.float32)[:, None, None]
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
