"""The settings of TR-DETR: the section `model` of config.yaml with `name: tr_detr`. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, Self

from pydantic import model_validator

from pipeline.methods.settings import MomentLossWeights, MomentQuerySettings
from pipeline.settings import Positive, Weight


class LossWeights(MomentLossWeights):
    """Weights of the losses in their sum. They include the two alignment losses."""

    global_alignment: Weight = 0.3
    """Weight of the loss that brings a video and its own query together, apart from the other queries of the batch."""
    local_alignment: Weight = 0.5
    """Weight of the loss that brings relevant clips and their query together."""


class TrDetrSettings(MomentQuerySettings):
    """The settings of TR-DETR. The defaults are the released values. The switches are the columns of Table 4."""

    printed: ClassVar[str] = "TR-DETR"
    implementation: ClassVar[str] = "pipeline.methods.tr_detr.method:TrDetrMethod"
    released: ClassVar[str | None] = "pipeline.methods.tr_detr.release:RELEASE"

    switched: ClassVar[Mapping[str, str]] = {
        "loss_weights.global_alignment": "alignment",
        "loss_weights.local_alignment": "alignment",
    }

    name: Literal["tr_detr"] = "tr_detr"
    """The name of the method."""
    formulation: Literal["released", "paper"] = "released"  # type: ignore[assignment] # one more than other methods
    """The formulas of the method: those of the released system, or those that the paper prints
    (docs/paper-vs-released.md)."""
    plain_masks: bool = False
    """If true, `formulation: released` uses a correct mask of the words. The released mask has a bug: samples of a
    batch change each other's results (docs/paper-vs-released.md)."""
    alignment: bool = True
    """If true, LGAM is used: the local and the global alignment loss."""
    refinement: bool = True
    """If true, VFR is used: clips are refined by the words."""
    mr2hd: bool = True
    """If true, MR2HD is used: the highlight scores depend on the retrieved moment."""
    hd2mr: bool = True
    """If true, HD2MR is used: the moment retrieval depends on the highlight scores."""
    t2v_layers: Positive = 2
    """Number of layers in which clips attend to words, before the encoder."""
    loss_weights: LossWeights = LossWeights()
    """Weights of the losses in their sum."""

    def never_read(self, *, moments: bool, highlights: bool = True, audio: bool = True) -> list[str]:
        """Return the keys that were changed and that nothing reads. With MR2HD the decoder is used on a dataset without
        moments, too."""
        found = super().never_read(moments=moments, highlights=highlights, audio=audio)
        return [key for key in found if not (self.mr2hd and key in ("queries", "decoder_layers"))]

    @model_validator(mode="after")
    def _masks_are_plain_anyway(self) -> Self:
        if self.formulation == "paper" and self.plain_masks:
            raise ValueError("`formulation: paper` has plain masks anyway: leave out `plain_masks`")
        return self
