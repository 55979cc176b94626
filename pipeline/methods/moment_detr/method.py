"""Moment-DETR as a method. It learns clip scores from pairs of clips."""

from __future__ import annotations

from pipeline.methods.contract import Inputs
from pipeline.methods.moment_detr.network import MomentDetr
from pipeline.methods.moment_detr.settings import MomentDetrSettings
from pipeline.methods.moment_queries import PairedClipsMethod


class MomentDetrMethod(PairedClipsMethod):
    """Moment-DETR, which learns clip scores only from the drawn pairs of clips."""

    settings: MomentDetrSettings

    def __init__(self, settings: MomentDetrSettings, inputs: Inputs) -> None:
        super().__init__(settings, inputs)
        self.network = MomentDetr(settings, inputs.video_columns, inputs.text_dim)
