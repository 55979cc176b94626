"""The labels of UMT. Every clip has a highlight score, and the moment whose centre is in it.

Axes: B samples, L clips of the batch, W windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.models.batch import sent, with_tensors
from pipeline.models.labels import query_labels
from pipeline.ragged import Ragged
from pipeline.records import Query

SALIENCY_RANGE = {"ratings": 12.0, "everybody": 80.0}
"""The largest sum of ratings of a clip, by which sums are divided. On QVHighlights three people give 0 to 4 each. On
TVSum twenty people give 1 to 5 each, which counts as 0 to 4."""


@dataclass(frozen=True, slots=True)
class PeakLabels:
    """The targets of a batch, [B, L] float each, padded with zeros.

    saliency: 0 … 1. heat: 1 at the centre of a window, and less around it. window, offset: the width of the window, and
    the position of its centre within its clip, both in clips; they are set where `centres` is 1. n_windows: [], the
    number of windows of the whole batch.
    """

    saliency: Tensor
    heat: Tensor
    window: Tensor
    offset: Tensor
    centres: Tensor
    n_windows: Tensor

    def to(self, device: torch.device | str) -> PeakLabels:
        """Return the same labels on `device`."""
        return with_tensors(self, lambda _, tensor: sent(tensor, device))


def peaks(windows: np.ndarray, length: int, clip_s: float) -> np.ndarray:
    """Return heat, window, offset and centres of one sample: [4, length] float32.

    windows: [W, 2] float32, start and end in seconds. Every product is float32 and in the released order, because on a
    grid of a sixth of a second rounding decides in which clip a centre lies. The end is the start of the last clip, so
    that a single clip has width 0. If two windows have their centres in one clip, the later one counts.
    """
    found = np.zeros((4, length), np.float32)
    unit, fifth = np.float32(clip_s), np.float32(0.2)
    for start_s, end_s in windows:
        start, end = start_s / unit, (end_s - unit) / unit
        centre, width = min((start + end) / np.float32(2), np.float32(length - 0.5)), end - start
        clip = max(int(np.floor(centre)), 0)
        radius = int(fifth * width)
        spread = fifth * np.float32(radius + 1)
        near = np.arange(max(0, clip - radius), min(length, clip + radius + 1))
        heat = np.exp(-np.float32((near - clip) ** 2) / (2 * spread * spread))
        found[0, near] = np.maximum(found[0, near], heat.astype(np.float32))
        found[1:, clip] = width, centre - clip, 1
    return found


def saliency_of(query: Query, n_clips: int, clip_s: float) -> np.ndarray:
    """Return the highlight scores 0 … 1 of a query, zeros where nobody rated clips. Raises PipelineError as
    `query_labels` does."""
    rated = query_labels(query, n_clips, clip_s, formulation="paper")
    if query.label is not None:
        sums = (np.asarray(query.label, dtype=np.float64)[:n_clips] - 1).sum(1)
        return (sums / SALIENCY_RANGE["everybody"]).astype(np.float32)
    if query.saliency_scores is None:
        return np.zeros(n_clips, np.float32)
    return (rated.saliency / np.float32(SALIENCY_RANGE["ratings"])).astype(np.float32)


class PeakTargets:
    """The labels of many queries of one dataset. Nothing is drawn at random. Centres depend on the padded length of a
    batch."""

    def __init__(self, queries: Sequence[Query], n_clips: Sequence[int], clip_s: float) -> None:
        """Prepare the labels. queries: each with the number of clips of its features. Raises PipelineError as
        `saliency_of` does."""
        self.n_clips, self.clip_s = np.asarray(n_clips), clip_s
        self._windows = [np.asarray(query.relevant_windows or (), np.float32).reshape(-1, 2) for query in queries]
        scores = [saliency_of(query, n, clip_s) for query, n in zip(queries, n_clips, strict=True)]
        self._saliency = Ragged.of_arrays(scores)

    def draw(self, index: Sequence[int], rng: np.random.Generator) -> PeakLabels:  # noqa: ARG002 - nothing is drawn
        """Return labels of the queries at `index`, padded to the longest of them."""
        at = np.asarray(index)
        length = int(self.n_clips[at].max())
        found = np.stack([peaks(self._windows[i], length, self.clip_s) for i in at], axis=1)
        n_windows = torch.tensor(float(sum(len(self._windows[i]) for i in at)))
        heat, window, offset, centres = torch.from_numpy(found).unbind()
        return PeakLabels(
            torch.from_numpy(self._saliency.padded(at, 0, length)), heat, window, offset, centres, n_windows
        )
