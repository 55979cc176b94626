"""The settings of TR-DETR: the section `model` of config.yaml with `name: tr_detr`. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, Self

from pydantic import model_validator

from pipeline.methods.settings import MomentLossWeights, MomentQuerySettings
from pipeline.settings import Positive, Weight


class LossWeights(MomentLossWeights):
    """With the two alignment losses."""

    global_alignment: Weight = 0.3
    local_alignment: Weight = 0.5


class TrDetrSettings(MomentQuerySettings):
    """TR-DETR. Numbers are the released system's; the switches are Table 4's columns."""

    implementation: ClassVar[str] = "pipeline.methods.tr_detr.method:TrDetrMethod"
    released: ClassVar[str | None] = "pipeline.methods.tr_detr.release:RELEASE"

    switched: ClassVar[Mapping[str, str]] = {
        "loss_weights.global_alignment": "alignment",
        "loss_weights.local_alignment": "alignment",
    }

    name: Literal["tr_detr"] = "tr_detr"
    formulation: Literal["released", "paper"] = "released"
    """As the released system computes, or as the paper prints (docs/paper-vs-released.md)."""
    plain_masks: bool = False
    """`released` without its mistake in the words' mask, by which samples of a batch change each other."""
    alignment: bool = True
    """LGAM: the local and the global alignment loss."""
    refinement: bool = True
    """VFR: clips are refined by the words."""
    mr2hd: bool = True
    """MR2HD: the highlight scores look at the retrieved moment."""
    hd2mr: bool = True
    """HD2MR: the moment retrieval looks at the highlight scores."""
    t2v_layers: Positive = 2
    """Layers in which clips attend to words, before the encoder's."""
    loss_weights: LossWeights = LossWeights()

    @model_validator(mode="after")
    def _masks_are_plain_anyway(self) -> Self:
        if self.formulation == "paper" and self.plain_masks:
            raise ValueError("`formulation: paper` has plain masks anyway: leave out `plain_masks`")
        return self
