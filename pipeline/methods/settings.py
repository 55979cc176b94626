"""What the settings of every method have in common. Imports nothing heavy: the config is validated with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, NamedTuple, Self

from pydantic import model_validator

from pipeline import datasets
from pipeline.settings import Positive, Rate, Strict, Weight


class Reading(NamedTuple):
    """How a method wants its features.

    video: what of a clip's row is scaled to length 1: each `family` for itself, all families of the video as `one`
    vector, or nothing of it, as `stored`; audio always counts as a family. words: whether words are scaled, unless the
    training says otherwise (`normalise_text`). exact: lengths are divided by as they are, not with 1e-5 added.
    within_duration: clips that do not end within the annotated duration are left out.
    """

    video: Literal["family", "one", "stored"] = "family"
    words: bool = True
    exact: bool = False
    within_duration: bool = False


def must_share_the_width(heads: int, dim: int) -> None:
    """Raises ValueError where `heads` does not divide `hidden_dim`."""
    if dim % heads:
        raise ValueError(f"`heads` must divide `hidden_dim`, and {heads} does not divide {dim}")


class MethodSettings(Strict):
    """The section `model` of one method. A subclass defines `name: Literal["…"] = "…"` and the method's keys.

    revision: raised when the same settings give other numbers than before, or when a default changes.
    implementation: the `Method`, `module:Class`.
    released: how its released checkpoints and golden sets are read (`release.py`), `module:name`;
    None where nothing was released.
    switched: key (with dots) → the switch of the method without which that key is never read.
    parameters: the numbers in the network for QVHighlights from video alone (UMT: with its sound), for `estimate`.
    step_cost: the CPU time of a training step there, in steps of TR-DETR, for `estimate`. `benchmarks/training.py
    --method NAME` measures both. A method that says neither is taken for TR-DETR by `estimate`.
    """

    revision: ClassVar[int] = 1
    implementation: ClassVar[str]
    released: ClassVar[str | None] = None
    switched: ClassVar[Mapping[str, str]] = {}
    parameters: ClassVar[int] = 8_300_069
    step_cost: ClassVar[float] = 1.0

    name: str

    def never_read(self, *, moments: bool) -> list[str]:
        """Keys that were changed from their defaults and that nothing reads, as dotted names.

        moments: whether the dataset has windows to learn from. An experiment with such keys is refused.
        """
        return []

    def reading(self, dataset: str) -> Reading:
        """How features are normalised: as most released systems do for that dataset."""
        about = datasets.get(dataset)
        return Reading(video="one" if about.one_video_vector else "family", words=about.normalise_text)

    def recorded(self) -> dict[str, Any]:
        """What a manifest says of the method: its name, its revision, and what differs from the defaults."""
        return {"name": self.name, "revision": self.revision, **self.changes()}


MOMENT_LOSSES = ("span", "giou", "label")
"""Losses that only a dataset with moments has."""


class MomentLossWeights(Strict):
    """Weights of the losses in their sum. The matching weighs its costs with span, giou and label, too."""

    span: Weight = 10.0
    giou: Weight = 1.0
    label: Weight = 4.0
    saliency: Weight = 1.0


class MomentQuerySettings(MethodSettings):
    """What methods have in common whose decoder predicts a window for each of its moment queries.

    Numbers are those of the released systems, which agree in them.
    """

    hidden_dim: Positive = 256
    heads: Positive = 8
    queries: Positive = 10
    """Moment queries of the decoder: windows predicted for every text query."""
    encoder_layers: Positive = 2
    decoder_layers: Positive = 2
    feedforward_dim: Positive = 1024
    dropout: Rate = 0.1
    input_dropout: Rate = 0.5
    """Dropout rate on the input features, applied before each projection layer."""
    saliency_margin: Weight = 0.2
    """Margin of the hinge loss between clips of higher and of lower saliency."""
    loss_weights: MomentLossWeights = MomentLossWeights()

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> Self:
        if self.hidden_dim % self.heads:
            raise ValueError(f"`heads` must divide `hidden_dim`, and {self.heads} does not divide {self.hidden_dim}")
        return self

    def never_read(self, *, moments: bool) -> list[str]:
        """Weights of the moment losses, where there are no moments."""
        return [] if moments else [f"loss_weights.{key}" for key in self.loss_weights.changes() if key in MOMENT_LOSSES]
