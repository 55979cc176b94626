"""A method in one file, as in CONTRIBUTING.md. A test copies it to pipeline/methods/toy.py and trains it.

One linear layer reads each clip together with the mean of the words, and predicts the probability that the clip is
rated. A window is a sequence of clips whose probability is above a threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from pipeline.methods.contract import Decoded, Inputs, Method
from pipeline.methods.settings import MethodSettings
from pipeline.records import Query
from pipeline.settings import Rate

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.models.batch import Batch


class ToySettings(MethodSettings):
    """One linear layer on clips and pooled words."""

    implementation: ClassVar[str] = "pipeline.methods.toy:Toy"

    name: Literal["toy"] = "toy"
    threshold: Rate = 0.5
    """Chance above which a clip belongs to a window."""


class Toy(Method):
    """The layer, its one loss, and its windows. It matches nothing."""

    settings: ToySettings

    def __init__(self, settings: ToySettings, inputs: Inputs) -> None:
        from torch import nn

        super().__init__(settings, inputs)
        self.network = nn.Linear(inputs.video_columns + inputs.text_dim, 1)

    def outputs(self, batch: Batch) -> Tensor:
        """Return the logits [B, L]."""
        import torch

        from pipeline.models.masking import masked_mean

        words = masked_mean(batch.text, batch.text_mask)[:, None].expand(-1, batch.video.shape[1], -1)
        return self.network(torch.cat((batch.video, words), dim=-1)).squeeze(-1)

    def losses(self, outputs: Tensor, batch: Batch, matches: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """Return the cross-entropy of every valid clip, which is rated or not."""
        from torch.nn.functional import binary_cross_entropy_with_logits

        rated = (batch.labels.saliency > 0).float()
        loss = binary_cross_entropy_with_logits(outputs.float(), rated, weight=batch.video_mask)
        return {"rated": loss, "total": loss}

    def decode(self, outputs: Tensor, queries: Sequence[Query], n_clips: Sequence[int], dataset: str) -> Decoded:
        """Return probabilities as clip scores, and rows of clips above the threshold as windows, scored with their
        mean."""
        chances = outputs.float().sigmoid().cpu().numpy()
        saliency = [row[:n] for row, n in zip(chances, n_clips, strict=True)]
        if not self.inputs.moments:
            return Decoded(None, saliency)
        return Decoded([self._windows(row, q.duration) for row, q in zip(saliency, queries, strict=True)], saliency)

    def _windows(self, chances: np.ndarray, duration: float) -> np.ndarray:
        """Return [k, 3], the best first. If no clip is above the threshold, it is the most probable clip alone."""
        above = chances > min(self.settings.threshold, chances.max() - 1e-6)
        edges = np.flatnonzero(np.diff(above.astype(int), prepend=0, append=0)).reshape(-1, 2)
        rows = [[a * self.inputs.clip_s, min(b * self.inputs.clip_s, duration), chances[a:b].mean()] for a, b in edges]
        return np.round(np.array(sorted(rows, key=lambda row: -row[2])), 4)
