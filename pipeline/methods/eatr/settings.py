"""The settings of EaTR: the section `model` of config.yaml with `name: eatr`. Imports nothing heavy."""

from __future__ import annotations

from typing import ClassVar, Literal

from pipeline.methods.settings import MomentLossWeights, MomentQuerySettings
from pipeline.settings import Positive, Weight


class EatrLossWeights(MomentLossWeights):
    """With the losses of events, which also weigh the costs of their matching."""

    event_span: Weight = 30.0
    event_giou: Weight = 3.0


class EatrSettings(MomentQuerySettings):
    """EaTR. Numbers are the released system's, which has options for QVHighlights alone and no audio.

    Audio stands beside the video here, as other systems have it.
    """

    implementation: ClassVar[str] = "pipeline.methods.eatr.method:EatrMethod"
    released: ClassVar[str | None] = "pipeline.methods.eatr.release:RELEASE"
    parameters: ClassVar[int] = 8_964_108
    step_cost: ClassVar[float] = 0.93

    name: Literal["eatr"] = "eatr"
    formulation: Literal["released"] = "released"
    """As the released system computes."""
    encoder_layers: Positive = 3
    decoder_layers: Positive = 3
    slot_iterations: Positive = 3
    """How often the slots look at the clips."""
    loss_weights: EatrLossWeights = EatrLossWeights()

    def never_read(self, *, moments: bool) -> list[str]:
        """Weights of the moment losses and of the events', where there are no moments."""
        events = [] if moments else [key for key in self.loss_weights.changes() if key.startswith("event_")]
        return super().never_read(moments=moments) + [f"loss_weights.{key}" for key in events]
