"""The settings of TR-DETR: the section `model` of config.yaml with `name: tr_detr`. Imports nothing heavy."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import model_validator

from pipeline.methods.settings import MethodSettings
from pipeline.settings import Positive, Rate, Strict, Weight


class LossWeights(Strict):
    """Weights of the losses in their sum. The matching weighs its costs with span, giou and label, too."""

    span: Weight = 10.0
    giou: Weight = 1.0
    label: Weight = 4.0
    saliency: Weight = 1.0
    global_alignment: Weight = 0.3
    local_alignment: Weight = 0.5


MOMENT_LOSSES = ("span", "giou", "label")
"""Losses that only a dataset with moments has."""


class TrDetrSettings(MethodSettings):
    """TR-DETR. Numbers are the released system's; the switches are Table 4's columns."""

    implementation: ClassVar[str] = "pipeline.methods.tr_detr.method:TrDetrMethod"
    released: ClassVar[str | None] = "pipeline.methods.tr_detr.release:RELEASE"

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
    hidden_dim: Positive = 256
    heads: Positive = 8
    queries: Positive = 10
    """Moment queries of the decoder: windows predicted for every text query."""
    t2v_layers: Positive = 2
    """Layers in which clips attend to words, before the encoder's."""
    encoder_layers: Positive = 2
    decoder_layers: Positive = 2
    feedforward_dim: Positive = 1024
    dropout: Rate = 0.1
    input_dropout: Rate = 0.5
    """Dropout rate on the input features, applied before each projection layer."""
    saliency_margin: Weight = 0.2
    """Margin of the hinge loss between clips of higher and of lower saliency."""
    loss_weights: LossWeights = LossWeights()

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> Self:
        if self.hidden_dim % self.heads:
            raise ValueError(f"`heads` must divide `hidden_dim`, and {self.heads} does not divide {self.hidden_dim}")
        return self

    @model_validator(mode="after")
    def _masks_are_plain_anyway(self) -> Self:
        if self.formulation == "paper" and self.plain_masks:
            raise ValueError("`formulation: paper` has plain masks anyway: leave out `plain_masks`")
        return self

    def never_read(self, *, moments: bool) -> list[str]:
        """Weights of the moment losses, where there are no moments."""
        return [] if moments else [f"loss_weights.{key}" for key in self.loss_weights.changes() if key in MOMENT_LOSSES]
