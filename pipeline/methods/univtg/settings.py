"""The settings of UniVTG: the section `model` of config.yaml with `name: univtg`. Imports nothing heavy."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import model_validator

from pipeline.methods.settings import MethodSettings, Reading, must_share_the_width
from pipeline.settings import Positive, Rate, Strict, Weight


class LossWeights(Strict):
    """Weights of the losses in their sum. The defaults are the released script's for QVHighlights.

    Published for TVSum: foreground 1, inter 0, and intra per domain, searched on the video that is reported: VT 0.1,
    VU 0.5, GA 0.1, MS 0.1, PK 0, PR 0.6, FM 0.4, BK 0.7, BT 0.9, DS 0.6. For Charades-STA: intra 1, inter 0.5.
    """

    span: Weight = 10.0
    giou: Weight = 1.0
    foreground: Weight = 10.0
    intra: Weight = 0.05
    """Of a clip against the clips of its video that are rated lower."""
    inter: Weight = 0.01
    """Of a clip's own query against the queries of the batch, and the other way round."""


MOMENT_LOSSES = ("span", "giou")
"""Losses that only a dataset with moments has."""


class UniVtgSettings(MethodSettings):
    """UniVTG, trained from scratch. Numbers are those of the released script for QVHighlights."""

    implementation: ClassVar[str] = "pipeline.methods.univtg.method:UniVtgMethod"
    released: ClassVar[str | None] = "pipeline.methods.univtg.release:RELEASE"
    parameters: ClassVar[int] = 43_328_007
    step_cost: ClassVar[float] = 5.9

    name: Literal["univtg"] = "univtg"
    formulation: Literal["released"] = "released"
    hidden_dim: Positive = 1024
    heads: Positive = 8
    encoder_layers: Positive = 4
    feedforward_dim: Positive = 1024
    dropout: Rate = 0.0
    """Dropout rate on the weights of attention."""
    drop_path: Rate = 0.1
    """Chance that a sample skips a branch of an encoder layer."""
    input_dropout: Rate = 0.5
    """Dropout rate on the input features, applied before each projection layer."""
    warmup_epochs: Positive = 10
    """Epochs in which the learning rate rises to its full value; 1 starts with all of it."""
    overlap: Rate = 0.7
    """Share of the hull from which a window is dropped that lies over a better one."""
    loss_weights: LossWeights = LossWeights()

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> Self:
        must_share_the_width(self.heads, self.hidden_dim)
        return self

    def never_read(self, *, moments: bool) -> list[str]:
        """Weights of the moment losses and the overlap of windows, where there are no moments."""
        if moments:
            return []
        weights = [f"loss_weights.{key}" for key in self.loss_weights.changes() if key in MOMENT_LOSSES]
        return weights + ["overlap"] * ("overlap" in self.changes())

    def reading(self, dataset: str) -> Reading:  # noqa: ARG002 - one rule for all
        """Every family and every word scaled to length 1, on TVSum too."""
        return Reading()
