"""Divides a video that is longer than all videos of the training into overlapping pieces, and merges their answers.

Every page prints the rule in the words of `RULE`. A run reads at most `max_clips` clips. If a longer video were cut
there, only its beginning would be answered, and spans would be scaled by a length that the network did not read.

A run was trained on videos that all contain what is asked for. Its scores of windows therefore order the windows of
one piece. They are as high in a piece that contains nothing of it, so they cannot order the windows of several
pieces. The saliency can: where nothing answers the query, no clip stands out (`stands_out`). With a run that reads
colours, on ten videos of the demo in a row of which one has the colour, this order finds the event seven times as often
as the order of the scores (`benchmarks/concatenations.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor

import numpy as np

OVERLAP = 0.5
"""Two windows whose IoU is above this count as the same moment."""

RULE = (
    "The video is longer than the videos that the run was trained on, so it is divided into pieces of {seconds:g} s."
    " Each piece begins in the middle of the piece before. The saliency of a clip is the mean over the pieces that"
    " contain it. The score of a window is the mean saliency of its clips minus the mean saliency of the other clips of"
    " its piece. Two kinds of windows are left out: one that ends where its piece was cut, if another piece contains it"
    " whole, and one whose IoU with a better window of another piece is above one half. The best {kept} windows are"
    " kept."
)


@dataclass(frozen=True)
class Piece:
    """A piece of a video. start: the number of its first clip. n: the number of its clips."""

    start: int
    n: int

    @property
    def end(self) -> int:
        """The number of the clip after the last one."""
        return self.start + self.n


def longest_piece(max_clips: int | None, seen: int | None, usual_s: float, limit_s: float | None, clip_s: float) -> int:
    """Return the largest number of clips that a network gets at once.

    This is the length of the longest video in training (seen). If the card does not give it, it is the length to which
    training cuts videos (max_clips), or else the usual length of the dataset's videos in seconds (usual_s). It is never
    above the length to which windows are clamped (limit_s). In a test with ten joined videos of the demo, a network
    that was trained on videos of 20 seconds found nothing when it got 150 seconds at once.
    """
    n = seen or max_clips or round(usual_s / clip_s)
    # A quotient of floating-point numbers may be just below a whole number, so a little is added before rounding down.
    return max(1, n if limit_s is None else min(n, floor(limit_s / clip_s + 1e-9)))


def pieces_of(n_clips: int, longest: int) -> list[Piece]:
    """Return the pieces of a video: one for a short video, or else pieces of equal length that overlap by half."""
    if n_clips <= longest:
        return [Piece(0, n_clips)]
    # The last piece ends with the video and is as long as the others, so it may overlap by more than half.
    starts = [*range(0, n_clips - longest, max(1, longest // 2)), n_clips - longest]
    return [Piece(start, longest) for start in starts]


def merged_windows(
    found: Sequence[np.ndarray], saliency: Sequence[np.ndarray], pieces: Sequence[Piece], clip_s: float
) -> np.ndarray:
    """Merge the windows of pieces by `RULE`. The windows of a single piece stay as they are.

    found: per piece, [k, 3] start and end in seconds since the piece's start, and the run's score, best first.
    saliency: per piece, one score for each of its clips. Returns [k, 3] in seconds of the video, with `stands_out` as
    the score, best first, as many as the piece with most windows has.
    """
    if len(pieces) == 1:
        return np.asarray(found[0])
    kept: list[tuple[np.ndarray, int]] = []
    for window, number in _by_standing_out(found, saliency, pieces, clip_s):
        if _is_cut(window, number, pieces, clip_s):
            continue
        others = [other for other, of_piece in kept if of_piece != number]
        if not any(iou(window, other) > OVERLAP for other in others):
            kept.append((window, number))
    n_kept = max(map(len, found))
    return np.round(np.array([window for window, _ in kept[:n_kept]]).reshape(-1, 3), 4)


def merged_saliency(scores: Sequence[np.ndarray], pieces: Sequence[Piece], n_clips: int) -> np.ndarray:
    """Return the mean score of every clip over the pieces that show it: float64 [n_clips].

    scores: per piece, one score for each of its clips.
    """
    if len(pieces) == 1:
        return np.asarray(scores[0])
    total, count = np.zeros(n_clips), np.zeros(n_clips)
    for piece, row in zip(pieces, scores, strict=True):
        total[piece.start : piece.end] += np.asarray(row, np.float64)
        count[piece.start : piece.end] += 1
    return total / count


def stands_out(window: Sequence[float] | np.ndarray, saliency: np.ndarray, clip_s: float) -> float:
    """Return the mean saliency of a window's clips minus that of all other clips.

    A clip belongs to the window if its middle is in the window. If no clip's middle is, the clip around the middle of
    the window belongs to it. The value is 0 for a window of all clips.
    """
    middles = (np.arange(len(saliency)) + 0.5) * clip_s
    inside = (window[0] <= middles) & (middles < window[1])
    if not inside.any():
        inside[min(int((window[0] + window[1]) / 2 / clip_s), len(saliency) - 1)] = True
    scores = np.asarray(saliency, np.float64)
    return 0.0 if inside.all() else float(scores[inside].mean() - scores[~inside].mean())


def iou(a: Sequence[float] | np.ndarray, b: Sequence[float] | np.ndarray) -> float:
    """Return the IoU (intersection over union) of two windows."""
    common = max(0.0, float(min(a[1], b[1]) - max(a[0], b[0])))
    union = float(a[1] - a[0]) + float(b[1] - b[0]) - common
    return common / union if union > 0 else 0.0


def _by_standing_out(
    found: Sequence[np.ndarray], saliency: Sequence[np.ndarray], pieces: Sequence[Piece], clip_s: float
) -> list[tuple[np.ndarray, int]]:
    """Return all windows in seconds of the video with the numbers of their pieces. The best is first.

    Of windows that stand out equally, those of the earlier piece are first. Those of one piece are in the order of the
    run's scores.
    """
    moved = [
        (np.array((*(piece.start * clip_s + np.asarray(window[:2])), stands_out(window, scores, clip_s))), number)
        for number, (piece, windows, scores) in enumerate(zip(pieces, found, saliency, strict=True))
        for window in windows
    ]
    return sorted(moved, key=lambda one: -one[0][2])


def _is_cut(window: np.ndarray, number: int, pieces: Sequence[Piece], clip_s: float) -> bool:
    """Tell whether a window ends where its piece is cut, and another piece contains the window and the clip after
    it."""
    piece = pieces[number]
    at_start = piece.start > 0 and window[0] <= piece.start * clip_s
    at_end = piece.end < pieces[-1].end and window[1] >= piece.end * clip_s
    if not (at_start or at_end):
        return False
    # With negated times an end is like a beginning, so one function compares both sides.
    return any(
        _shows(other.start * clip_s, window[0], beyond=at_start)
        and _shows(-other.end * clip_s, -window[1], beyond=at_end)
        for other in pieces
        if other is not piece
    )


def _shows(edge: float, bound: float, *, beyond: bool) -> bool:
    """Tell whether a piece that begins at `edge` contains a window that begins at `bound`. beyond: whether it must also
    contain the clip before."""
    return edge < bound if beyond else edge <= bound
