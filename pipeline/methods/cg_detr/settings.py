"""The settings of CG-DETR: the section `model` of config.yaml with `name: cg_detr`. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, Self

from pydantic import model_validator

from pipeline import datasets
from pipeline.methods.settings import MomentLossWeights, MomentQuerySettings
from pipeline.settings import Positive, Weight


class CgDetrLossWeights(MomentLossWeights):
    """Weights of the losses in their sum. They include the losses that make clips and words correlate."""

    alignment: Weight = 1.0
    """Weight of the loss that brings moments and their sentences together."""
    distillation: Weight = 1.0
    """Weight of the loss by which the attention to words learns how clips resemble words."""
    orthogonality: Weight = 1.0
    """Weight of the loss that keeps dummies apart from each other, and prompts apart from each other."""


class CgDetrSettings(MomentQuerySettings):
    """The settings of CG-DETR. The defaults are the released values for QVHighlights. The released system has other
    numbers of dummies and prompts for other datasets.

    Audio is put beside the video, as the released network expects it. No released checkpoint was trained with audio.
    """

    revision: ClassVar[int] = 3
    printed: ClassVar[str] = "CG-DETR"
    implementation: ClassVar[str] = "pipeline.methods.cg_detr.method:CgDetrMethod"
    released: ClassVar[str | None] = "pipeline.methods.cg_detr.release:RELEASE"
    needs: ClassVar[Mapping[str, str]] = {
        **MomentQuerySettings.needs,
        "loss_weights.alignment": "moments",
        "loss_weights.distillation": "moments",
        "loss_weights.orthogonality": "moments",
    }
    parameters: ClassVar[int] = 12_474_411
    step_cost: ClassVar[float] = 1.84

    name: Literal["cg_detr"] = "cg_detr"
    """The name of the method."""
    dummies: Positive = 45
    """Number of dummies: learned tokens that take the attention of clips to which the query does not apply. The
    released number for TVSum is 3."""
    prompts: Positive = 10
    """Number of prompts in the bank from which the saliency token of a sample is made."""
    prompts_picked: Positive = 1
    """Number of prompts of which the saliency token of a sample is made."""
    dummy_layers: Positive = 2
    """Number of layers in which the dummies attend to the query."""
    t2v_layers: Positive = 2
    """Number of layers in which clips attend to words, before the encoder."""
    encoder_layers: Positive = 3
    """Number of layers of the encoder."""
    decoder_layers: Positive = 3
    """Number of layers of the decoder."""
    attention_weight: Weight = 1.0
    """Weight of one part of the saliency loss: the part that trains the words' share of the attention."""
    loss_weights: CgDetrLossWeights = CgDetrLossWeights()
    """Weights of the losses in their sum."""

    @classmethod
    def ignored_training_keys(cls, dataset: str) -> dict[str, str]:
        """Return the keys of `training` that CG-DETR never reads on this dataset."""
        rated = datasets.get(dataset).highlights is not None
        first = {} if rated else {"max_windows": f"cg_detr learns from the first window of a query on {dataset}"}
        return first | super().ignored_training_keys(dataset)

    @model_validator(mode="after")
    def _no_more_are_picked_than_there_are(self) -> Self:
        if self.prompts_picked > self.prompts:
            raise ValueError(f"`prompts_picked` is {self.prompts_picked}, and there are {self.prompts} `prompts`")
        return self
