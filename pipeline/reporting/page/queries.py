"""Makes the data of a page's list of queries as small JSON: each query, and the predictions of each file for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.evaluation.anatomy import FATES, KINDS
from pipeline.evaluation.moments import THRESHOLDS
from pipeline.evaluation.truth import Qid
from pipeline.evaluation.validate import SALIENCY, WINDOWS
from pipeline.reporting.page.scored_files import Benchmark, Examined, has_saliency

SHOWN_AT = 0.7
"""The IoU threshold at which a predicted window of the list is called right or wrong."""

LEVELS = "abcdefghijklm"
"""Letters for the mean rating of a clip in 13 steps: `a` is the lowest possible rating and `m` the highest. `.` means
no rating. Three raters with ratings from 0 to 4 give 13 different means, so nothing is lost for QVHighlights."""


def data(benchmark: Benchmark, videos: Mapping[str, str]) -> dict[str, Any]:
    """Return what the page's script reads. videos: vid → address of a video file, relative to the page.

    Lists have one entry for each query, in the order of the annotations. Times are in seconds. If a file lacks a query,
    its entry is null.
    """
    rows = list(benchmark.truth.values())
    highlights = benchmark.dataset.highlights
    return {
        "qid": list(benchmark.truth),
        "query": [str(row.get("query") or row["vid"]) for row in rows],
        "vid": [row["vid"] for row in rows],
        "duration": [row["duration"] for row in rows],
        "windows": [row.get("relevant_windows") or [] for row in rows],
        "ratings": [ratings(benchmark, row) for row in rows] if highlights else None,
        "clip": highlights.clip_s if highlights else None,
        "kinds": list(KINDS),
        "fates": list(FATES),
        "files": [_file(one, list(benchmark.truth)) for one in benchmark.files],
        "videos": {vid: videos[vid] for vid in dict.fromkeys(row["vid"] for row in rows) if vid in videos},
        "shown_at": SHOWN_AT,
    }


def saliency_ranks(scores: Sequence[float]) -> list[int]:
    """Return the rank of every clip among the clips of its video: 1 is the highest score, and equal scores have the
    same rank."""
    values = np.asarray(scores, dtype=np.float64)
    ranks: list[int] = (len(values) - np.sort(values).searchsorted(values, side="right") + 1).tolist()
    return ranks


def ratings(benchmark: Benchmark, row: Mapping[str, Any]) -> str:
    """Return one of `LEVELS` for each clip of the video."""
    if benchmark.dataset.rates_every_clip:
        return "".join(_level((float(np.mean(clip)) - 1) / 4) for clip in row["label"])
    highlights = benchmark.dataset.highlights
    n = int(row["duration"] / highlights.clip_s) if highlights else 0
    letters = ["."] * n
    for clip, marks in zip(row["relevant_clip_ids"], row["saliency_scores"], strict=True):
        if clip < n:
            letters[clip] = _level(float(np.mean(marks)) / 4)
    return "".join(letters)


def _file(one: Examined, qids: Sequence[Qid]) -> dict[str, Any]:
    found: dict[str, Any] = {"label": one.label, "leading": one.leading}
    found["score"] = [_percent(value) for value in one.values(one.leading, qids)]
    if has_saliency(one):
        found["saliency"] = [saliency_ranks(one.rows[qid][SALIENCY]) if qid in one.rows else None for qid in qids]
    if one.anatomy is not None:
        place = {qid: number for number, qid in enumerate(one.qids)}
        kinds = [*KINDS, ""]
        main = [kinds.index(kind) for kind in one.anatomy.main_mistakes()]
        found["mistake"] = [main[place[qid]] if qid in place else None for qid in qids]
        has = _bits(one.anatomy.has())
        found["mistakes"] = [has[place[qid]] if qid in place else None for qid in qids]
        found["windows"] = [_windows(one, qid, place[qid]) if qid in place else None for qid in qids]
    return found


def _bits(has: Mapping[str, np.ndarray]) -> list[int]:
    """Return for each query the sum of 2**k over its kinds of mistake, where k is the index of a kind in `KINDS`."""
    return [sum(2**k for k, kind in enumerate(KINDS) if has[kind][n]) for n in range(len(next(iter(has.values()))))]


def _windows(one: Examined, qid: Qid, place: int) -> list[list[float]]:
    """Return [start, end, score, IoU, index in `FATES`] of each predicted window, best first."""
    assert one.anatomy is not None  # noqa: S101 - asked by `_file`
    listed = sorted(one.rows[qid][WINDOWS][: one.anatomy.iou.shape[1]], key=lambda window: -window[2])
    fates = one.anatomy.fates[place, :, THRESHOLDS.index(SHOWN_AT)]
    return [
        [
            _short(start),
            _short(end),
            float(f"{score:.4g}"),
            round(float(one.anatomy.iou[place, rank]), 3),
            int(fates[rank]),
        ]
        for rank, (start, end, score) in enumerate(listed)
    ]


def _level(share: float) -> str:
    return LEVELS[min(max(round(share * (len(LEVELS) - 1)), 0), len(LEVELS) - 1)]


def _percent(value: float) -> float | None:
    return None if np.isnan(value) else round(100 * float(value), 2)


def _short(seconds: float) -> float:
    """Return seconds with at most two decimals, and as a whole number if they are whole."""
    value = round(float(seconds), 2)
    return int(value) if value.is_integer() else value
