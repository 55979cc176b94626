"""The settings of QD-DETR: the section `model` of config.yaml with `name: qd_detr`. Nothing heavy is imported here."""

from __future__ import annotations

from typing import ClassVar, Literal

from pipeline.methods.settings import MomentQuerySettings
from pipeline.settings import Positive


class QdDetrSettings(MomentQuerySettings):
    """The settings of QD-DETR. The defaults are the released values. They are the same for all datasets of the released
    system."""

    printed: ClassVar[str] = "QD-DETR"
    implementation: ClassVar[str] = "pipeline.methods.qd_detr.method:QdDetrMethod"
    released: ClassVar[str | None] = "pipeline.methods.qd_detr.release:RELEASE"
    parameters: ClassVar[int] = 7_576_869
    step_cost: ClassVar[float] = 1.1

    name: Literal["qd_detr"] = "qd_detr"
    """The name of the method."""
    t2v_layers: Positive = 2
    """Number of layers in which clips attend to words, before the encoder."""
