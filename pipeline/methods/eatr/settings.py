"""The settings of EaTR: the section `model` of config.yaml with `name: eatr`. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pipeline.methods.settings import MomentLossWeights, MomentQuerySettings
from pipeline.settings import Positive, Weight


class EatrLossWeights(MomentLossWeights):
    """Weights of the losses in their sum. The weights of the event losses are also the weights of the costs in the
    matching of events."""

    event_span: Weight = 30.0
    """Weight of the distance between an event's predicted span and the span that it was matched with."""
    event_giou: Weight = 3.0
    """Weight of the loss of the generalised overlap (gIoU) of the two spans."""


class EatrSettings(MomentQuerySettings):
    """The settings of EaTR. The defaults are the released values. The released system has options only for QVHighlights
    and reads no audio. Here audio is put beside the video, as in other systems."""

    printed: ClassVar[str] = "EaTR"
    implementation: ClassVar[str] = "pipeline.methods.eatr.method:EatrMethod"
    released: ClassVar[str | None] = "pipeline.methods.eatr.release:RELEASE"
    needs: ClassVar[Mapping[str, str]] = {
        **MomentQuerySettings.needs,
        "loss_weights.event_span": "moments",
        "loss_weights.event_giou": "moments",
        "slot_iterations": "moments",
    }
    parameters: ClassVar[int] = 8_964_108
    step_cost: ClassVar[float] = 0.93

    name: Literal["eatr"] = "eatr"
    """The name of the method."""
    encoder_layers: Positive = 3
    """Number of layers of the encoder."""
    decoder_layers: Positive = 3
    """Number of layers of the decoder."""
    slot_iterations: Positive = 3
    """Number of iterations in which the slots attend to the clips."""
    loss_weights: EatrLossWeights = EatrLossWeights()
    """Weights of the losses in their sum."""

    @classmethod
    def released_training(cls, dataset: str) -> dict[str, Any]:  # noqa: ARG003 - nothing else was released
        """Return the batch size of prediction, which changes the padding that the slots see, and the drop of the
        learning rate."""
        return {"evaluation_batch_size": 50, "drop_learning_rate_after": 150}
