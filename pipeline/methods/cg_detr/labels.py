"""The labels of CG-DETR: the common labels, a rule of its own for rows with windows only, and the source of each
sample.

The source is the video that a sample was cut from. The wrong query of a sample is that of the next sample in the batch,
if that one has another source.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import torch
from torch import Tensor

from pipeline.models.batch import Labels
from pipeline.models.labels import QueryLabels, Targets, labels_from_windows, query_labels, spans_of
from pipeline.records import Query


def labels_of_query(query: Query, n_clips: int, clip_s: float) -> QueryLabels:
    """Return the labels of one query. They are the common ones, except for a row that has windows only (Charades-STA).

    The released system uses only the first window of such a row. To find the clips of the window, it takes the
    annotated duration divided by the number of clips as the length of a clip, which is not exactly `clip_s`. The span
    to learn is nevertheless a fraction of n_clips × clip_s. As released, nothing is rounded before a time becomes a
    whole number of clips. Raises PipelineError as `query_labels` does.
    """
    common = query_labels(query, n_clips, clip_s)
    if query.label is not None or query.saliency_scores is not None or query.relevant_windows is None:
        return common
    start_s, end_s = query.relevant_windows[0]
    own_clip_s = query.duration / n_clips
    spans = spans_of([(start_s, end_s)], n_clips * clip_s)
    return labels_from_windows(spans, [(start_s / own_clip_s, end_s / own_clip_s)], n_clips)


CUT = re.compile(r"_\d+\.\d+_\d+\.\d+$")
"""The end of a vid that says from where to where a video was cut: `…_60.0_210.0`."""


@dataclass(frozen=True, slots=True)
class SourceLabels(Labels):
    """The common labels, and other_source: [B] float, 1 where the next sample (after the last, the first) was cut
    from another video."""

    other_source: Tensor

    @classmethod
    def of(cls, labels: Labels, vids: Sequence[str]) -> Self:
        """Return the common labels, with the sources of the samples. vids: the vid of each sample."""
        sources = [CUT.sub("", vid) for vid in vids]
        differ = [float(a != b) for a, b in zip(sources, [*sources[1:], *sources[:1]], strict=True)]
        common = {field.name: getattr(labels, field.name) for field in fields(labels)}
        return cls(**common, other_source=torch.tensor(differ))


class SourceTargets:
    """The labels of many queries with their sources, drawn batch by batch."""

    def __init__(self, targets: Targets, vids: Sequence[str]) -> None:
        self.targets, self.vids = targets, vids

    def draw(self, index: Sequence[int], rng: np.random.Generator) -> SourceLabels:
        """Return the labels of a batch, as `Targets.draw` does, with the sources of its samples."""
        return SourceLabels.of(self.targets.draw(index, rng), [self.vids[i] for i in index])
