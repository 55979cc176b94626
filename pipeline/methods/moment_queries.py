"""The part that is common to methods with moment queries. Their decoder predicts a window for each moment query, and
the predicted windows are matched with the annotated ones by cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from torch import Tensor

from pipeline.methods.contract import Decoded, Method
from pipeline.methods.settings import MomentQuerySettings
from pipeline.models.batch import Batch, Outputs
from pipeline.models.losses import (
    cross_entropy,
    hinge,
    labels_of,
    layers_of,
    moment_losses,
    saliency_loss,
    with_total,
)
from pipeline.models.matching import costs
from pipeline.models.windows import scored_windows
from pipeline.records import Query


class MomentQueryMethod(Method):
    """A method with moment queries. Moments are matched only if the dataset has them. Without moments the decoder is
    never trained.

    A subclass sets `network`, which takes a `Batch` and gives `Outputs`.
    """

    settings: MomentQuerySettings
    within_duration: ClassVar[bool] = False
    """If true, windows are clamped to the annotated duration before they are rounded, as `scored_windows` says."""

    def costs(self, outputs: Outputs, batch: Batch) -> tuple[Tensor, ...]:
        """Return the costs of one matching, which covers all decoder layers at once. Without moments the tuple is
        empty."""
        if not self.inputs.moments:
            return ()
        return (costs(*layers_of(outputs), labels_of(batch).spans, self.settings.loss_weights),)

    def losses(self, outputs: Outputs, batch: Batch, matches: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """Return the losses of `terms`, and their weighted sum under `total`."""
        return with_total(self.terms(outputs, batch, matches), self.settings.loss_weights, outputs.saliency)

    def terms(self, outputs: Outputs, batch: Batch, matches: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """Return the losses, unweighted: saliency, and with moments those of `moment_losses`, with cross-entropy for
        the labels.

        A loss of weight 0 is not computed.
        """
        labels, weights = labels_of(batch), self.settings.loss_weights
        losses: dict[str, Tensor] = {}
        if matches:
            losses = moment_losses(outputs, labels, matches[0], weights, cross_entropy)
        if weights.saliency:
            losses["saliency"] = self.saliency_loss(outputs, batch)
        return losses

    def saliency_loss(self, outputs: Outputs, batch: Batch) -> Tensor:
        """Return the loss of the clip scores, a scalar."""
        return saliency_loss(outputs, labels_of(batch), batch.video_mask, self.settings.saliency_margin)

    def decode(self, outputs: Outputs, queries: Sequence[Query], n_clips: Sequence[int], dataset: str) -> Decoded:
        """Return the windows of all moment queries, scored by softmax, and the clip scores.

        The released systems write windows and scores into files, and they round the scores in them to float16. Without
        moments they write no file and rank the scores as they are, so nothing is rounded.
        """
        windows = None
        scores = outputs.saliency.detach().float().cpu().numpy()
        if self.inputs.moments:
            found = outputs.logits, outputs.spans, queries, dataset, self.inputs.clip_s
            windows = list(scored_windows(*found, within_duration=self.within_duration))
            scores = scores.astype(np.float16)
        return Decoded(windows, [row[:n] for row, n in zip(scores, n_clips, strict=True)])


class PairedClipsMethod(MomentQueryMethod):
    """A method with moment queries that learns clip scores only from the drawn pairs of clips."""

    def saliency_loss(self, outputs: Outputs, batch: Batch) -> Tensor:
        """Return the hinge loss between the clips of each pair, a scalar."""
        return hinge(outputs.saliency, labels_of(batch), self.settings.saliency_margin)
