"""The counterparts of the paper's Figures 2 and 3. Their queries are chosen by a rule, not by hand.

The rule: queries are sorted by the score of the first file, and those at the places 25 %, 50 % and 75 % are shown.
Queries of equal score keep the order of the annotations.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.evaluation.truth import Qid
from pipeline.evaluation.validate import SALIENCY
from pipeline.reporting.page.frames import frames_of
from pipeline.reporting.page.queries import LEVELS, ratings, saliency_ranks
from pipeline.reporting.page.scored_files import Benchmark, Examined, has_saliency

PLACES = (0.25, 0.5, 0.75)
FILES = 3
"""Largest number of files that a figure shows."""
FRAMES = 10
WIDTH, CURVES = 1000.0, 80.0
"""Units of a drawing: its width, and the height of its curves."""

RULE = (
    "Shown are the queries at 25 %, 50 % and 75 % of the way from the worst to the best score of {label}. Queries of "
    "equal score keep the order of the annotations."
)


@dataclass(frozen=True)
class Lane:
    """The predictions of one file for a query. place: the index of the file on its page. window: x and width of the
    first window. curve: an SVG path of its saliency, as percentile; '' without saliency. score: in percent."""

    label: str
    place: int
    window: tuple[float, float] | None
    curve: str
    score: float


@dataclass(frozen=True)
class Chosen:
    """One query of a figure. truth: x and width of each true window. rated: x, width and height of each rated clip."""

    at: float
    qid: Any
    query: str
    vid: str
    duration: float
    truth: list[tuple[float, float]]
    rated: list[tuple[float, float, float]]
    lanes: list[Lane]
    frames: list[str]


def figure(benchmark: Benchmark, videos: Mapping[str, Path]) -> list[Chosen]:
    """Return the queries of a benchmark's figure. videos: vid → file, for the videos that exist."""
    first = benchmark.files[0]
    order = np.argsort(first.values(first.leading, first.qids), kind="stable")
    places = {at: first.qids[int(order[round(at * (len(order) - 1))])] for at in PLACES}
    return [_chosen(benchmark, at, qid, videos) for at, qid in places.items()]


def _chosen(benchmark: Benchmark, at: float, qid: Qid, videos: Mapping[str, Path]) -> Chosen:
    row = benchmark.truth[qid]
    vid, duration = row["vid"], float(row["duration"])
    letters = ratings(benchmark, row) if benchmark.dataset.highlights else ""
    step = WIDTH / len(letters) if letters else 0.0
    heights = ((n, CURVES * LEVELS.index(letter) / 12) for n, letter in enumerate(letters) if letter != ".")
    return Chosen(
        at,
        qid,
        str(row.get("query") or vid),
        vid,
        duration,
        [_bar(start, end, duration) for start, end in row.get("relevant_windows") or []],
        [(round(n * step, 1), round(step, 1), round(height, 1)) for n, height in heights],
        [_lane(one, place, qid, duration) for place, one in enumerate(benchmark.files[:FILES]) if qid in one.scores],
        frames_of(videos[vid], FRAMES) if vid in videos else [],
    )


def _lane(one: Examined, place: int, qid: Qid, duration: float) -> Lane:
    windows = one.rows[qid].get("pred_relevant_windows") or []
    window = _bar(windows[0][0], windows[0][1], duration) if windows else None
    curve = _curve(one.rows[qid][SALIENCY]) if has_saliency(one) else ""
    return Lane(one.label, place, window, curve, 100 * float(one.values(one.leading, [qid])[0]))


def _curve(scores: list[float]) -> str:
    ranks = saliency_ranks(scores)
    step, span = WIDTH / len(ranks), max(1, len(ranks) - 1)
    parts = (f"{n * step:.1f} {CURVES * (rank - 1) / span:.1f}h{step:.1f}" for n, rank in enumerate(ranks))
    return "M" + "L".join(parts)


def _bar(start: float, end: float, duration: float) -> tuple[float, float]:
    """Return x and width of a window, cut to the video."""
    left, right = (WIDTH * min(max(second, 0.0), duration) / duration for second in (start, end))
    return round(left, 1), round(max(right - left, 2.0), 1)
