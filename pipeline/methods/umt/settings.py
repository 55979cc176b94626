"""The settings of UMT: the section `model` of config.yaml with `name: umt`. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pipeline import datasets
from pipeline.methods.settings import NetworkSettings, Normalisation
from pipeline.settings import Positive, Rate, Strict, Weight


class LossWeights(Strict):
    """Weights of the losses in their sum. The defaults are the released values for QVHighlights.

    Released for Charades-STA: window 0.05, offset 0.5. Released for TVSum: saliency 1.
    """

    saliency: Weight = 3.0
    """Weight of the loss of the clips' saliency scores."""
    centre: Weight = 1.0
    """Weight of the loss that finds the clips in which windows have their centres."""
    window: Weight = 0.1
    """Weight of the distance between predicted and annotated widths of windows."""
    offset: Weight = 1.0
    """Weight of the distance between predicted and annotated places of centres in their clips."""


class UmtSettings(NetworkSettings):
    """The settings of UMT. The defaults are the released values for QVHighlights and Charades-STA. On TVSum the
    released system has one decoder layer."""

    printed: ClassVar[str] = "UMT"
    implementation: ClassVar[str] = "pipeline.methods.umt.method:UmtMethod"
    released: ClassVar[str | None] = "pipeline.methods.umt.release:RELEASE"
    needs: ClassVar[Mapping[str, str]] = {
        "loss_weights.saliency": "highlights",
        "loss_weights.centre": "moments",
        "loss_weights.window": "moments",
        "loss_weights.offset": "moments",
        "bottleneck_tokens": "audio",
    }
    parameters: ClassVar[int] = 14_890_244
    step_cost: ClassVar[float] = 1.08

    name: Literal["umt"] = "umt"
    """The name of the method."""
    text_mask: bool = True
    """If true, padded words are left out of the attention to words. The published weights were trained without this
    mask. It was added to the released system later."""
    decoder_layers: Positive = 3
    """Number of layers of the decoder."""
    bottleneck_tokens: Positive = 4
    """Number of tokens through which video and audio exchange information."""
    positions: Positive = 5000
    """Number of rows of every table of positions, which is the largest number of clips of a video."""
    text_dropout: Rate = 0.3
    """Dropout rate on the features of words. The rate for video and audio is `input_dropout`."""
    loss_weights: LossWeights = LossWeights()
    """Weights of the losses in their sum."""

    @classmethod
    def ignored_training_keys(cls, dataset: str) -> dict[str, str]:
        """Return the keys of `training` that UMT never reads: its optimizer and its labels are part of the method."""
        return {
            "gradient_clip": "umt clips no gradient",
            "drop_learning_rate_after": "the learning rate of umt is constant",
            "max_windows": "umt learns from every window of a query",
        } | super().ignored_training_keys(dataset)

    @classmethod
    def released_training(cls, dataset: str) -> dict[str, Any]:  # noqa: ARG003 - the same for each
        """Return a batch size of one for prediction. The released results were made in this way, and the score of a
        clip depends on how far its video is padded in the batch."""
        return {"evaluation_batch_size": 1}

    def normalisation(self, dataset: str) -> Normalisation:
        """Return how features are normalised: on Charades-STA rows of video and audio have length 1, elsewhere all
        rows stay as they are stored."""
        about = datasets.get(dataset)
        if about.highlights is None:
            return Normalisation(words=False, exact=True)
        return Normalisation(video="stored", words=False, within_duration=about.moments)
