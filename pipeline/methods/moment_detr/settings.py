"""The settings of Moment-DETR: the section `model` of config.yaml with `name: moment_detr`. Nothing heavy is imported
here."""

from __future__ import annotations

from typing import ClassVar, Literal

from pipeline.methods.settings import MomentQuerySettings


class MomentDetrSettings(MomentQuerySettings):
    """The settings of Moment-DETR. The defaults are the released values. The released system has options only for
    QVHighlights and reads no audio. Here audio is put beside the video, as in later systems."""

    printed: ClassVar[str] = "MDETR"
    implementation: ClassVar[str] = "pipeline.methods.moment_detr.method:MomentDetrMethod"
    released: ClassVar[str | None] = "pipeline.methods.moment_detr.release:RELEASE"
    parameters: ClassVar[int] = 4_814_601
    step_cost: ClassVar[float] = 0.56

    name: Literal["moment_detr"] = "moment_detr"
    """The name of the method."""
