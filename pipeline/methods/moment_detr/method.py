"""Moment-DETR as a method. It learns clip scores from pairs of clips."""

from __future__ import annotations

from torch import Tensor

from pipeline.methods.contract import Inputs
from pipeline.methods.moment_detr.network import MomentDetr
from pipeline.methods.moment_detr.settings import MomentDetrSettings
from pipeline.methods.moment_queries import MomentQueryMethod
from pipeline.models.batch import Batch, Outputs
from pipeline.models.losses import hinge, labels_of


class MomentDetrMethod(MomentQueryMethod):
    """Moment-DETR, which learns clip scores only from the drawn pairs of clips."""

    settings: MomentDetrSettings

    def __init__(self, settings: MomentDetrSettings, inputs: Inputs) -> None:
        super().__init__(settings, inputs)
        self.network = MomentDetr(settings, inputs.video_columns, inputs.text_dim)

    def saliency_loss(self, outputs: Outputs, batch: Batch) -> Tensor:
        """Return the hinge loss between the clips of each pair, a scalar."""
        return hinge(outputs.saliency, labels_of(batch), self.settings.saliency_margin)
