"""The labels of a query are the targets that follow from its annotation: spans, clip scores, a mask, and pairs of
clips.

Everything that is not random is computed once per query. A batch then needs only a few gathers and its random draws.
Axes: B samples, L clips of the batch, ℓ clips of one sample, P pairs.

The rules depend on what a row has: ratings of relevant clips (QVHighlights), twenty people's ratings of every clip
(TVSum), or only windows (Charades-STA; nothing was released for it, so the rule is that of lighthouse). Hard pairs and
the mask of TVSum depend on the order of equal values, which released code leaves to an unstable sort. The sort here is
stable, so that the result is the same on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.errors import PipelineError
from pipeline.models.batch import Labels, padded_spans
from pipeline.nouns import counted
from pipeline.ragged import Ragged
from pipeline.records import Query, Window

STEPS, TOP = 4, 12
"""The factor for ratings of 1 to 5. One is subtracted from each rating, and the sum over all people is scaled to 0 …
12, which is the range of a sum of three ratings of 0 to 4."""


@dataclass(frozen=True, slots=True)
class QueryLabels:
    """The part of the labels of one query that is not random.

    spans [k, 2] float32: centre and width as fractions of ℓ × clip length, not cut to the video. saliency, clip_mask:
    [ℓ] float32; under `released` one longer if a relevant clip lies just beyond the features. fixed [f, 2]: pairs
    (above, below) that are the same in every epoch. inside, outside: clips from which `drawn` further pairs are drawn.
    """

    spans: np.ndarray
    saliency: np.ndarray
    clip_mask: np.ndarray
    fixed: np.ndarray
    inside: np.ndarray
    outside: np.ndarray
    drawn: int


def query_labels(query: Query, n_clips: int, clip_s: float, *, formulation: str = "released") -> QueryLabels:
    """Return the labels of one query over `n_clips` clips of `clip_s` seconds.

    Raises PipelineError, which names the qid, for a row without labels, for a window that ends before it starts, and
    for a relevant clip that lies more than one clip beyond the features.
    """
    if query.label is not None:
        return _from_everybody(np.asarray(query.label, dtype=np.float64)[:n_clips])
    if not query.relevant_windows:
        raise PipelineError("has no windows and no labels to learn from", where=f"qid {query.qid}", remedy="remove it")
    if any(end < start for start, end in query.relevant_windows):
        raise PipelineError("has a window that ends before it starts", where=f"qid {query.qid}", remedy="correct it")
    spans = spans_of(query.relevant_windows, n_clips * clip_s)
    if query.saliency_scores is None or query.relevant_clip_ids is None:
        # A window's end that is a whole number of clips can come out just below it; six decimals put it right.
        places = [(round(start / clip_s, 6), round(end / clip_s, 6)) for start, end in query.relevant_windows]
        return labels_from_windows(spans, places, n_clips)
    ids = np.asarray(query.relevant_clip_ids, dtype=np.int64)
    if not ids.size:
        raise PipelineError(
            "has no relevant clip to learn from",
            where=f"qid {query.qid} (vid {query.vid})",
            remedy="correct the relevant clips and the ratings of that row of the annotations, or remove the row",
        )
    if ids.max() > n_clips:
        raise PipelineError(
            f"has relevant clips up to {ids.max()}, its features have {counted(n_clips, 'clip')}",
            where=f"qid {query.qid} (vid {query.vid})",
            remedy="extract them again, because they may be cut short or on another grid, or name the vid under `skip`"
            " of its dataset",
        )
    return _from_ratings(spans, ids, np.asarray(query.saliency_scores).sum(1), n_clips, formulation == "released")


def spans_of(windows: Sequence[Window], duration_s: float) -> np.ndarray:
    """Convert windows in seconds to spans [k, 2] float32: centre and width as fractions of `duration_s`."""
    start, end = (np.asarray(windows, dtype=np.float64) / duration_s).T
    return np.stack(((start + end) / 2, end - start), axis=1).astype(np.float32)


def _from_ratings(spans: np.ndarray, ids: np.ndarray, sums: np.ndarray, n_clips: int, released: bool) -> QueryLabels:
    """Return the labels of a row of QVHighlights.

    The released code has a bug, which `released` reproduces: a relevant clip at ℓ clears the mask of all clips before
    it.
    """
    saliency = np.zeros(max(n_clips, int(ids.max()) + 1), np.float32)
    saliency[ids] = sums
    clip_mask = np.zeros_like(saliency)
    clip_mask[ids] = 1
    if not released:
        saliency, clip_mask = saliency[:n_clips], clip_mask[:n_clips]
    elif len(clip_mask) > n_clips:
        clip_mask[:n_clips] = 0
    order = np.argsort(sums, kind="stable")
    inside = np.minimum(ids, n_clips - 1)
    return QueryLabels(
        spans=spans,
        saliency=saliency,
        clip_mask=clip_mask,
        fixed=inside[order[[-1, 0]]][None],
        inside=inside,
        outside=np.setdiff1d(np.arange(n_clips), ids),
        drawn=1,
    )


def _from_everybody(label: np.ndarray) -> QueryLabels:
    """Return the labels of a row that everybody rated, whose label is [ℓ, people] with values 1 to 5 (TVSum).

    The mask has the better half of the clips. There is one pair: the best clip and the worst one.
    """
    total = (label - 1).sum(1)
    order = np.argsort(total, kind="stable")
    clip_mask = np.zeros(len(total), np.float32)
    clip_mask[order[len(order) // 2 :]] = 1
    nothing = np.zeros(0, np.int64)
    return QueryLabels(
        spans=np.zeros((0, 2), np.float32),
        saliency=(total / (STEPS * label.shape[1] / TOP)).astype(np.float32),
        clip_mask=clip_mask,
        fixed=order[[-1, 0]][None],
        inside=nothing,
        outside=nothing,
        drawn=0,
    )


def labels_from_windows(spans: np.ndarray, places: Sequence[tuple[float, float]], n_clips: int) -> QueryLabels:
    """Return the labels of a row that has only windows.

    spans: [k, 2], the spans to learn. places: start and end of each window in clips. n_clips: the number of clips.
    Clips have score 1 from the clip in which a window begins to the last clip that ends inside it. The mask also
    contains the clip in which the window ends.
    """
    saliency, clip_mask = np.zeros(n_clips, np.float32), np.zeros(n_clips, np.float32)
    for start, end in places:
        last = max(0, min(math.floor(end), n_clips) - 1)
        saliency[min(math.floor(start), last) : last + 1] = 1
        first = min(math.floor(start), n_clips - 1)
        clip_mask[first : max(math.ceil(end), first + 1)] = 1
    return QueryLabels(
        spans=spans,
        saliency=saliency,
        clip_mask=clip_mask,
        fixed=np.zeros((0, 2), np.int64),
        inside=np.flatnonzero(saliency),
        outside=np.flatnonzero(saliency == 0),
        drawn=2,
    )


LabelRule = Callable[[Query, int, float], QueryLabels]
"""A function that returns the labels of a query. Its arguments are the query, its number of clips and the seconds of a
clip."""


class Targets:
    """The labels of many queries of one dataset, from which batches are drawn."""

    def __init__(
        self,
        queries: Sequence[Query],
        n_clips: Sequence[int],
        clip_s: float,
        *,
        max_windows: int,
        rule: LabelRule = query_labels,
    ) -> None:
        """Prepare the labels. queries: each with the number of clips of its features. rule: the function that returns
        the labels of one query. Raises PipelineError as the rule does."""
        each = [rule(query, n, clip_s) for query, n in zip(queries, n_clips, strict=True)]
        if len({(row.drawn, len(row.fixed)) for row in each}) != 1:
            raise PipelineError(
                "rows with ratings and rows without are mixed (or there is no row)",
                where="annotations",
                remedy="train on rows of one dataset",
            )
        self.n_clips, self.max_windows, self.drawn = np.asarray(n_clips), max_windows, each[0].drawn
        self._spans = [torch.from_numpy(row.spans) for row in each]
        self._width = min(max_windows, max(map(len, self._spans)))
        self._saliency, self._clip_mask = (
            Ragged.of_arrays([x.saliency for x in each]),
            Ragged.of_arrays([x.clip_mask for x in each]),
        )
        self._inside, self._outside = (
            Ragged.of_arrays([x.inside for x in each]),
            Ragged.of_arrays([x.outside for x in each]),
        )
        self._fixed = np.stack([x.fixed for x in each])

    def draw(self, index: Sequence[int], rng: np.random.Generator) -> Labels:
        """Return labels of the queries at `index`, padded to the longest of them. Every call draws new random numbers,
        on the CPU.

        Spans are padded to the largest number of windows of any query, so that batches of one length have one shape. If
        a query has more than `max_windows` windows, `max_windows` of them are drawn at random. The fixed pairs come
        first, then the drawn ones.
        """
        at = np.asarray(index)
        length = int(self.n_clips[at].max())
        pairs = torch.from_numpy(np.concatenate((self._fixed[at], self._drawn_pairs(at, rng)), axis=1))
        spans, n_spans = padded_spans([self._some_windows(self._spans[i], rng) for i in at], self._width)
        return Labels(
            spans=spans,
            n_spans=n_spans,
            saliency=torch.from_numpy(self._saliency.padded(at, 0, length)),
            clip_mask=torch.from_numpy(self._clip_mask.padded(at, 0, length)),
            saliency_pos=pairs[..., 0].contiguous(),
            saliency_neg=pairs[..., 1].contiguous(),
        )

    def _some_windows(self, spans: Tensor, rng: np.random.Generator) -> Tensor:
        return spans if len(spans) <= self.max_windows else spans[rng.permutation(len(spans))[: self.max_windows]]

    def _drawn_pairs(self, at: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return [B, drawn, 2]: different clips inside, and different clips outside.

        If there are too few clips outside, the fixed pair is used once more (as released for QVHighlights). Without a
        fixed pair the clips inside are paired with themselves (as in lighthouse for Charades-STA).
        """
        above = self._inside.picked(at, _places(self._inside.lengths[at], self.drawn, rng))
        below = self._outside.picked(at, _places(self._outside.lengths[at], self.drawn, rng))
        pairs = np.stack((above, below), axis=-1)
        short = self._outside.lengths[at] < self.drawn
        instead = self._fixed[at] if self._fixed.shape[1] else np.stack((above, above), axis=-1)
        return np.where(short[:, None, None], instead[:, : self.drawn], pairs)


def _places(lengths: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Return [B, n], n at most 2: different positions in 0 … length-1, uniform. If there is only one position, it is
    returned twice."""
    chance = rng.random((len(lengths), n))
    places = (chance * np.maximum(lengths[:, None] - np.arange(n), 1)).astype(np.int64)
    if n == 2:
        places[:, 1] += (places[:, 1] >= places[:, 0]) & (lengths > 1)
    return places
