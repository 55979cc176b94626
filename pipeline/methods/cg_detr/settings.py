"""The settings of CG-DETR: the section `model` of config.yaml with `name: cg_detr`. Imports nothing heavy."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import model_validator

from pipeline.methods.settings import MomentLossWeights, MomentQuerySettings
from pipeline.settings import Positive, Weight


class CgDetrLossWeights(MomentLossWeights):
    """With the losses that make clips and words correlate."""

    alignment: Weight = 1.0
    """Of moments with sentences."""
    distillation: Weight = 1.0
    orthogonality: Weight = 1.0
    """Of dummies, and of prompts, among each other."""


FURTHER = ("alignment", "distillation", "orthogonality")


class CgDetrSettings(MomentQuerySettings):
    """CG-DETR. Numbers are the released system's for QVHighlights; it takes other dummies and prompts elsewhere.

    Audio stands beside the video here, as the released network takes it; nothing was trained with it.
    """

    implementation: ClassVar[str] = "pipeline.methods.cg_detr.method:CgDetrMethod"
    released: ClassVar[str | None] = "pipeline.methods.cg_detr.release:RELEASE"
    parameters: ClassVar[int] = 12_474_411
    step_cost: ClassVar[float] = 1.84

    name: Literal["cg_detr"] = "cg_detr"
    formulation: Literal["released"] = "released"
    """As the released system computes."""
    dummies: Positive = 45
    """Words that stand for what the query does not say. Released: 3 on TVSum."""
    prompts: Positive = 10
    """Of the bank from which a sample's saliency token is made."""
    prompts_picked: Positive = 1
    dummy_layers: Positive = 2
    """Layers in which the dummies read the query."""
    t2v_layers: Positive = 2
    """Layers in which clips attend to words, before the encoder's."""
    encoder_layers: Positive = 3
    decoder_layers: Positive = 3
    attention_weight: Weight = 1.0
    """Share in the saliency loss of what the words' share of the attention is to learn."""
    loss_weights: CgDetrLossWeights = CgDetrLossWeights()

    @model_validator(mode="after")
    def _no_more_are_picked_than_there_are(self) -> Self:
        if self.prompts_picked > self.prompts:
            raise ValueError(f"`prompts_picked` is {self.prompts_picked}, and there are {self.prompts} `prompts`")
        return self

    def never_read(self, *, moments: bool) -> list[str]:
        """Weights of all losses but saliency, where there are no moments."""
        further = [] if moments else [key for key in FURTHER if key in self.loss_weights.changes()]
        return super().never_read(moments=moments) + [f"loss_weights.{key}" for key in further]
