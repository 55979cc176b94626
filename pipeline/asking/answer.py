"""The answer of a run to one query about one video: windows, clip scores, and how they were made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.asking.pieces import OVERLAP, iou
from pipeline.errors import readable

BEST_CLIPS = 5
"""Number of clips that are shown as the highlights of a video."""


@dataclass(frozen=True)
class ScoredWindow:
    """A part of the video, in seconds, with a score. A larger score is better."""

    start_s: float
    end_s: float
    score: float


@dataclass(frozen=True)
class Answer:
    """The answer of a run to one query about one video.

    run: names of the experiment and the run. clip_s: length of a clip in seconds. windows: the predicted windows, the
    best one first; they may overlap. The list is empty for a run that was trained without moments. saliency: one score
    for each clip; scores of different answers cannot be compared. n_pieces: the number of pieces into which the video
    was divided. rule: how the answers of the pieces were merged, or '' for one piece. notes: sentences that a reader of
    the answer should know.
    """

    query: str
    video: Path
    duration_s: float
    run: str
    clip_s: float
    windows: tuple[ScoredWindow, ...]
    saliency: tuple[float, ...]
    n_pieces: int = 1
    rule: str = ""
    notes: tuple[str, ...] = ()

    def distinct(self, most: int = 5) -> list[ScoredWindow]:
        """Return the best windows. A window whose IoU with a better one is above one half is left out.

        Windows without a length are left out.
        """
        kept: list[ScoredWindow] = []
        for window in self.windows:
            bounds = (window.start_s, window.end_s)
            if window.end_s > window.start_s and all(iou(bounds, (k.start_s, k.end_s)) <= OVERLAP for k in kept):
                kept.append(window)
        return kept[:most]

    def best_clips(self, most: int = BEST_CLIPS) -> list[ScoredWindow]:
        """Return the clips of the largest saliency, best first, as windows of one clip."""
        order = sorted(range(len(self.saliency)), key=lambda clip: -self.saliency[clip])
        return [
            ScoredWindow(clip * self.clip_s, min((clip + 1) * self.clip_s, self.duration_s), self.saliency[clip])
            for clip in order[:most]
        ]

    def shown(self, most: int = 5) -> list[ScoredWindow]:
        """Return the windows that are shown for an answer: distinct windows, or the best clips of a run without
        moments."""
        return self.distinct(most) if self.windows else self.best_clips(most)

    def to_row(self) -> dict[str, Any]:
        """Return the answer as a JSON object; times are in seconds. Windows without a length are left out."""
        return {
            "query": self.query,
            "video": readable(self.video),
            "duration_s": self.duration_s,
            "run": self.run,
            "clip_s": self.clip_s,
            "windows": [[w.start_s, w.end_s, w.score] for w in self.windows if w.end_s > w.start_s],
            "saliency": list(self.saliency),
            "pieces": self.n_pieces,
            "rule": self.rule,
            "notes": list(self.notes),
        }


def scored(rows: Sequence[Sequence[float]]) -> tuple[ScoredWindow, ...]:
    """Return rows of start, end and score as windows. A time of -0.0 becomes 0.0."""
    return tuple(ScoredWindow(float(start) + 0.0, float(end) + 0.0, float(score)) for start, end, score in rows)
