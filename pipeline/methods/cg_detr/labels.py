"""What CG-DETR learns from: the common labels, and whose next sample in the batch shows another source."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import torch
from torch import Tensor

from pipeline.models.batch import Labels
from pipeline.models.labels import Targets

CUT = re.compile(r"_\d+\.\d+_\d+\.\d+$")
"""End of a name that says from where to where a video was cut: `…_60.0_210.0`."""


@dataclass(frozen=True, slots=True)
class SourceLabels(Labels):
    """other_source: [B] float, 1 where the next sample (after the last, the first) was cut from another video."""

    other_source: Tensor

    @classmethod
    def of(cls, labels: Labels, vids: Sequence[str]) -> Self:
        """The common labels of samples that show `vids`."""
        sources = [CUT.sub("", vid) for vid in vids]
        differ = [float(a != b) for a, b in zip(sources, [*sources[1:], *sources[:1]], strict=True)]
        common = {field.name: getattr(labels, field.name) for field in fields(labels)}
        return cls(**common, other_source=torch.tensor(differ))


class SourceTargets:
    """Labels of many queries, drawn batch by batch, with their sources."""

    def __init__(self, targets: Targets, vids: Sequence[str]) -> None:
        self.targets, self.vids = targets, vids

    def draw(self, index: Sequence[int], rng: np.random.Generator) -> SourceLabels:
        """See `Targets.draw`."""
        return SourceLabels.of(self.targets.draw(index, rng), [self.vids[i] for i in index])
