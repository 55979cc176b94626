"""CG-DETR as a method: its labels, and its losses beside those that methods with moment queries share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from pipeline.config import Training
from pipeline.methods.cg_detr import criterion
from pipeline.methods.cg_detr.labels import SourceTargets, labels_of_query
from pipeline.methods.cg_detr.network import CgDetr, CorrelatedOutputs
from pipeline.methods.cg_detr.settings import CgDetrSettings
from pipeline.methods.contract import Inputs
from pipeline.methods.moment_queries import MomentQueryMethod
from pipeline.models.batch import Batch
from pipeline.models.labels import Targets
from pipeline.records import Query


class CgDetrMethod(MomentQueryMethod):
    """CG-DETR. Without moments it learns from its saliency loss alone."""

    settings: CgDetrSettings
    within_duration: ClassVar[bool] = True

    def __init__(self, settings: CgDetrSettings, inputs: Inputs) -> None:
        super().__init__(settings, inputs)
        self.network = CgDetr(settings, inputs.video_columns, inputs.text_dim, inputs.moments)

    def targets(self, queries: Sequence[Query], n_clips: Sequence[int], training: Training) -> SourceTargets:
        """Return the labels, with the name of the video that each sample was cut from."""
        clip_s, n_windows = self.inputs.clip_s, training.max_windows
        targets = Targets(queries, n_clips, clip_s, max_windows=n_windows, rule=labels_of_query)
        return SourceTargets(targets, [query.vid for query in queries])

    def terms(self, outputs: CorrelatedOutputs, batch: Batch, matches: tuple[Tensor, ...]) -> dict[str, Tensor]:  # type: ignore[override]
        """Return the losses, unweighted, with alignment, distillation and orthogonality where there are moments."""
        losses, weights = super().terms(outputs, batch, matches), self.settings.loss_weights
        if not matches:
            return losses
        relevant = batch.labels.saliency > 0
        if weights.alignment:
            losses["alignment"] = criterion.alignment(outputs, relevant, batch.video_mask)
        if weights.distillation:
            losses["distillation"] = criterion.distillation(outputs, relevant)
        if weights.orthogonality:
            losses["orthogonality"] = criterion.orthogonality(outputs.dummies, outputs.prompts)
        return losses

    def saliency_loss(self, outputs: CorrelatedOutputs, batch: Batch) -> Tensor:  # type: ignore[override]
        """Return the loss of `criterion.saliency_loss`, a scalar."""
        margin, weight = self.settings.saliency_margin, self.settings.attention_weight
        return criterion.saliency_loss(outputs, batch.labels, batch.video_mask, margin, weight)
