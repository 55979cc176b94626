"""The settings of UMT: the section `model` of config.yaml with `name: umt`. Imports nothing heavy."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import model_validator

from pipeline import datasets
from pipeline.methods.settings import MethodSettings, Reading, must_share_the_width
from pipeline.settings import Positive, Rate, Strict, Weight


class LossWeights(Strict):
    """Weights of the losses in their sum. The defaults are the released ones for QVHighlights.

    Charades-STA: window 0.05, offset 0.5. TVSum: saliency 1.
    """

    saliency: Weight = 3.0
    centre: Weight = 1.0
    window: Weight = 0.1
    offset: Weight = 1.0


MOMENT_LOSSES = ("centre", "window", "offset")
"""Losses that only a dataset with moments has."""


class UmtSettings(MethodSettings):
    """UMT. Numbers are the released ones for QVHighlights and Charades-STA; TVSum has one decoder layer.

    Its optimizer, its constant learning rate and its gradients that nothing clips are part of the method: a training's
    `gradient_clip` and `drop_learning_rate_after` say nothing here.
    """

    implementation: ClassVar[str] = "pipeline.methods.umt.method:UmtMethod"
    released: ClassVar[str | None] = "pipeline.methods.umt.release:RELEASE"
    parameters: ClassVar[int] = 14_890_244
    step_cost: ClassVar[float] = 1.08

    name: Literal["umt"] = "umt"
    formulation: Literal["released"] = "released"
    text_mask: bool = True
    """Padded words are no keys. The published numbers were trained before this was repaired, so with false."""
    hidden_dim: Positive = 256
    heads: Positive = 8
    decoder_layers: Positive = 3
    bottleneck_tokens: Positive = 4
    """Tokens by way of which video and audio see each other."""
    positions: Positive = 5000
    """Rows of every table of positions: clips that a video may have."""
    feedforward_dim: Positive = 1024
    dropout: Rate = 0.1
    input_dropout: Rate = 0.5
    """Dropout rate on video and audio."""
    text_dropout: Rate = 0.3
    """Dropout rate on words."""
    loss_weights: LossWeights = LossWeights()

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> Self:
        must_share_the_width(self.heads, self.hidden_dim)
        return self

    def never_read(self, *, moments: bool) -> list[str]:
        """Weights of the moment losses, where there are no moments."""
        return [] if moments else [f"loss_weights.{key}" for key in self.loss_weights.changes() if key in MOMENT_LOSSES]

    def reading(self, dataset: str) -> Reading:
        """Rows as stored; on Charades-STA those of video and audio at length 1."""
        about = datasets.get(dataset)
        if about.highlights is None:
            return Reading(words=False, exact=True)
        return Reading(video="stored", words=False, within_duration=about.moments)
