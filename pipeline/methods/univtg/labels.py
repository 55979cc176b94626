"""The labels of UniVTG: for every clip whether it is foreground, its window and its rating; and one positive clip for
each query.

Axes: B samples, L clips of the batch, ℓ clips of one sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pipeline.methods.univtg.network import times
from pipeline.models.batch import sent, with_tensors
from pipeline.models.labels import query_labels
from pipeline.ragged import Ragged
from pipeline.records import Query

RATERS = 3
"""The number of people who rated each clip of QVHighlights. A clip's rating is their mean."""


@dataclass(frozen=True, slots=True)
class ClipLabels:
    """The targets of a batch, padded with zeros.

    foreground: [B, L] float, 1 for clips of a moment. start, end: [B, L], the ends of the window that a foreground clip
    belongs to, as fractions of the video. ratings: [B, L]. positive: [B] long, a clip that fits the query.
    """

    foreground: Tensor
    start: Tensor
    end: Tensor
    ratings: Tensor
    positive: Tensor

    def to(self, device: torch.device | str) -> ClipLabels:
        """Return the same labels on `device`."""
        return with_tensors(self, lambda _, tensor: sent(tensor, device))


class QueryClips(NamedTuple):
    """The labels of one query that no draw changes: four rows [ℓ] float32, and the clips that a positive one is
    drawn from."""

    foreground: np.ndarray
    start: np.ndarray
    end: np.ndarray
    ratings: np.ndarray
    positives: np.ndarray


def clip_range(query: Query, n_clips: int, clip_s: float) -> QueryClips:
    """Return the labels of one query over `n_clips` clips of `clip_s` seconds. Raises PipelineError as
    `query_labels` does."""
    rated = query_labels(query, n_clips, clip_s, formulation="paper")
    if query.label is not None:
        return _from_everybody(np.asarray(query.label, dtype=np.float64), n_clips)
    foreground, start, end = _in_windows(query, n_clips, clip_s)
    if query.saliency_scores is None or query.relevant_clip_ids is None:
        return QueryClips(foreground, start, end, foreground, np.flatnonzero(foreground))
    ratings = (rated.saliency / np.float32(RATERS)).astype(np.float32)
    positives = rated.inside if len(rated.outside) else rated.fixed[:, 0]
    return QueryClips(foreground, start, end, ratings, positives)


def _in_windows(query: Query, n_clips: int, clip_s: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the foreground and the ends of each clip's window: three rows [ℓ] float32.

    The comparison is done in float32, in which a clip's time may equal an end. If several windows contain a clip, the
    last one counts. A window that is shorter than a clip may contain no clip. If no window contains a clip, the clip in
    which the first window begins is foreground.
    """
    windows = np.asarray(query.relevant_windows, dtype=np.float32) / np.float32(n_clips * clip_s)
    at = times(torch.tensor([float(n_clips)]), n_clips, clip_s)[0].numpy()
    found = np.zeros((3, n_clips), np.float32)
    for start, end in windows:
        found[:, (start <= at) & (at <= end)] = np.array([[1], [start], [end]], np.float32)
    if not found[0].any():
        first = min(int((query.relevant_windows or [(0, 0)])[0][0] // clip_s), n_clips - 1)
        found[:, first] = (1, *windows[0])
    return found[0], found[1], found[2]


def _from_everybody(label: np.ndarray, n_clips: int) -> QueryClips:
    """Return the labels of a row of TVSum. The mean of the whole video is subtracted from its ratings. label: [clips,
    20].

    Here clips with equal ratings are equal. In the released program rounding decides which of them is lower.
    """
    sums = label.sum(1)
    ratings = ((sums - sums.mean()) / label.shape[1]).astype(np.float32)[:n_clips]
    foreground = (ratings > 0).astype(np.float32)
    nothing = np.zeros_like(ratings)
    good = np.flatnonzero(foreground)
    return QueryClips(foreground, nothing, nothing, ratings, good if len(good) else ratings.argmax()[None])


class ClipTargets:
    """The labels of many queries of one dataset, from which batches are drawn."""

    def __init__(self, queries: Sequence[Query], n_clips: Sequence[int], clip_s: float) -> None:
        """Prepare the labels. queries: each with the number of clips of its features. Raises PipelineError as
        `clip_range` does."""
        each = [clip_range(query, n, clip_s) for query, n in zip(queries, n_clips, strict=True)]
        self.n_clips = np.asarray(n_clips)
        self._rows = [Ragged.of_arrays(rows) for rows in zip(*(clips[:4] for clips in each), strict=True)]
        self._positives = Ragged.of_arrays([clips.positives for clips in each])

    def draw(self, index: Sequence[int], rng: np.random.Generator) -> ClipLabels:
        """Return labels of the queries at `index`, padded to the longest; each has one positive clip, drawn
        uniformly."""
        at = np.asarray(index)
        length = int(self.n_clips[at].max())
        place = (rng.random((len(at), 1)) * self._positives.lengths[at, None]).astype(np.int64)
        positive = torch.from_numpy(self._positives.picked(at, place)[:, 0])
        foreground, start, end, ratings = (torch.from_numpy(rows.padded(at, 0, length)) for rows in self._rows)
        return ClipLabels(foreground, start, end, ratings, positive)
