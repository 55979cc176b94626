"""The settings of UniVTG: the section `model` of config.yaml with `name: univtg`. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pipeline import datasets
from pipeline.methods.settings import NetworkSettings, Normalisation
from pipeline.settings import Positive, Rate, Strict, Weight


class LossWeights(Strict):
    """Weights of the losses in their sum. The defaults are those of the released script for QVHighlights.

    Published for TVSum: foreground 1, inter 0, and intra per domain, searched on the video that is reported: VT 0.1,
    VU 0.5, GA 0.1, MS 0.1, PK 0, PR 0.6, FM 0.4, BK 0.7, BT 0.9, DS 0.6. Published for Charades-STA: intra 1, inter
    0.5.
    """

    span: Weight = 10.0
    """Weight of the distance between the predicted ends of a foreground clip's window and the annotated ones."""
    giou: Weight = 1.0
    """Weight of the loss of the generalised overlap (gIoU) of the two windows."""
    foreground: Weight = 10.0
    """Weight of the loss that tells clips of a moment from all other clips."""
    intra: Weight = 0.05
    """Weight of the loss that compares a clip with the clips of its video that are rated lower."""
    inter: Weight = 0.01
    """Weight of the loss that compares a clip with all queries of the batch, and a query with the clips of the
    batch."""


class UniVtgSettings(NetworkSettings):
    """The settings of UniVTG, trained without pre-training. The defaults are those of the released script for
    QVHighlights."""

    printed: ClassVar[str] = "UniVTG"
    implementation: ClassVar[str] = "pipeline.methods.univtg.method:UniVtgMethod"
    released: ClassVar[str | None] = "pipeline.methods.univtg.release:RELEASE"
    needs: ClassVar[Mapping[str, str]] = {
        "loss_weights.span": "moments",
        "loss_weights.giou": "moments",
        "overlap": "moments",
    }
    parameters: ClassVar[int] = 43_328_007
    step_cost: ClassVar[float] = 5.9

    name: Literal["univtg"] = "univtg"
    """The name of the method."""
    hidden_dim: Positive = 1024
    """Width of every row inside the network."""
    encoder_layers: Positive = 4
    """Number of layers of the encoder."""
    dropout: Rate = 0.0
    """Dropout rate on the weights of attention. It applies to nothing else in the network."""
    drop_path: Rate = 0.1
    """Probability that a sample skips a branch of an encoder layer."""
    warmup_epochs: Positive = 10
    """Number of epochs in which the learning rate rises to its full value. With 1 training starts with the full
    value."""
    overlap: Rate = 0.7
    """Largest overlap of a window with a better one, as a share of the smallest interval around both. A window with a
    larger overlap is left out."""
    loss_weights: LossWeights = LossWeights()
    """Weights of the losses in their sum."""

    @classmethod
    def ignored_training_keys(cls, dataset: str) -> dict[str, str]:
        """Return the keys of `training` that UniVTG never reads."""
        return {"max_windows": "univtg learns from every window of a query"} | super().ignored_training_keys(dataset)

    @classmethod
    def released_training(cls, dataset: str) -> dict[str, Any]:
        """Return the keys of `training` with a released value. On datasets with moments this is the batch size of
        evaluation, because windows of padded clips fill the lists of short videos. On QVHighlights the learning rate
        drops after 80 epochs."""
        about = datasets.get(dataset)
        found = {"evaluation_batch_size": 4} if about.moments else {}
        return found | ({"drop_learning_rate_after": 80} if about.moments and about.highlights else {})

    def normalisation(self, dataset: str) -> Normalisation:  # noqa: ARG002 - one rule for all
        """Return how features are normalised: every family and every word is scaled to length 1 on all datasets."""
        return Normalisation()
