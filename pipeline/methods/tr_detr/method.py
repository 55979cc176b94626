"""TR-DETR as a method: its labels and its losses in both formulations."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import Tensor

from pipeline.config import Training
from pipeline.methods.contract import Inputs
from pipeline.methods.moment_queries import MomentQueryMethod
from pipeline.methods.tr_detr.criterion import losses_of
from pipeline.methods.tr_detr.network import AlignedOutputs, TrDetr
from pipeline.methods.tr_detr.settings import TrDetrSettings
from pipeline.models.batch import Batch
from pipeline.models.labels import Targets, query_labels
from pipeline.records import Query


class TrDetrMethod(MomentQueryMethod):
    """TR-DETR, whose losses and labels depend on the formulation."""

    settings: TrDetrSettings

    def __init__(self, settings: TrDetrSettings, inputs: Inputs) -> None:
        super().__init__(settings, inputs)
        self.network = TrDetr(settings, inputs.video_dim, inputs.audio_dim, inputs.text_dim, inputs.clip_s)

    def targets(self, queries: Sequence[Query], n_clips: Sequence[int], training: Training) -> Targets:
        """Return spans, clip scores, the relevance mask and pairs of clips, by the rules of the formulation."""
        rule = partial(query_labels, formulation=self.settings.formulation)
        return Targets(queries, n_clips, self.inputs.clip_s, max_windows=training.max_windows, rule=rule)

    def losses(self, outputs: AlignedOutputs, batch: Batch, matches: tuple[Tensor, ...]) -> dict[str, Tensor]:  # type: ignore[override]
        """Return the losses of `criterion.losses_of`."""
        return losses_of(outputs, batch, matches[0] if matches else None, self.settings)
