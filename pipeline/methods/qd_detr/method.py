"""QD-DETR as a method. Its losses are those that methods with moment queries share. Its saliency loss also uses the
clip scores with a wrong query."""

from __future__ import annotations

from pipeline.methods.contract import Inputs
from pipeline.methods.moment_queries import MomentQueryMethod
from pipeline.methods.qd_detr.network import QdDetr
from pipeline.methods.qd_detr.settings import QdDetrSettings


class QdDetrMethod(MomentQueryMethod):
    """QD-DETR, with the losses that all methods with moment queries share."""

    settings: QdDetrSettings

    def __init__(self, settings: QdDetrSettings, inputs: Inputs) -> None:
        super().__init__(settings, inputs)
        self.network = QdDetr(settings, inputs.video_columns, inputs.text_dim)
