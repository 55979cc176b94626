"""The part that is common to the settings of all methods.

Nothing heavy is imported here, because every command validates the config with these classes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, ClassVar, Literal, NamedTuple, Self

from pydantic import model_validator

from pipeline import datasets
from pipeline.settings import Positive, Rate, Strict, Weight


class Normalisation(NamedTuple):
    """The normalisation of the features before a method gets them.

    video: which part of a clip's row is scaled to length 1. With `family` each family is scaled separately, with `one`
    all families of the video are scaled as one vector, and with `stored` the video is not scaled. Audio is always
    scaled as a family of its own. words: whether words are scaled; the key `normalise_text` of a training overrides
    this. exact: whether rows are divided by exactly their length, and not by their length plus 1e-5. within_duration:
    whether clips that do not end within the annotated duration are left out.
    """

    video: Literal["family", "one", "stored"] = "family"
    words: bool = True
    exact: bool = False
    within_duration: bool = False


class MethodSettings(Strict):
    """The section `model` of one method. A subclass defines `name: Literal["…"] = "…"` and the method's keys.

    revision: a number that is raised when the same settings give other numbers than before, or when a default changes.
    printed: the method's name in published tables ('' if it has no row there). implementation: the place of the
    `Method`, `module:Class`. released: the place of the `Release`, which says how the method's released checkpoints and
    golden sets are read (`release.py`), `module:name`; None where nothing was released. switched: a key (with dots) →
    the switch of the method that must be on, or the key is never read. needs: a key (with dots) → what an experiment
    must have, or the key is never read: `moments`, `highlights` (rated clips) or
    `audio`. parameters: the number of weights of the network for QVHighlights (UMT with sound), for `estimate`.
    step_cost: the CPU time of a training step there, in steps of TR-DETR, for `estimate`. `benchmarks/training.py
    --method NAME` measures both. For a method without these two, `estimate` uses the values of TR-DETR.
    """

    revision: ClassVar[int] = 1
    printed: ClassVar[str] = ""
    implementation: ClassVar[str]
    released: ClassVar[str | None] = None
    switched: ClassVar[Mapping[str, str]] = {}
    needs: ClassVar[Mapping[str, str]] = {}
    parameters: ClassVar[int] = 8_300_069
    step_cost: ClassVar[float] = 1.0

    name: str
    """The name of the method."""

    def never_read(self, *, moments: bool, highlights: bool = True, audio: bool = True) -> list[str]:
        """Return the keys, with dots, that were changed from their defaults and that nothing reads.

        moments: whether the dataset has windows to learn from. highlights: whether people rated its clips. audio:
        whether the experiment reads audio. An experiment with such keys is refused.
        """
        there = {"moments": moments, "highlights": highlights, "audio": audio}
        changed = _with_dots(self.changes())
        return [key for key, needed in self.needs.items() if key in changed and not there[needed]]

    @classmethod
    def ignored_training_keys(cls, dataset: str) -> dict[str, str]:
        """Return the keys of `training` that the method never reads on this dataset: key → the reason.

        An experiment that sets such a key is refused. If the section of the dataset sets it, for other methods, it is
        left out of this experiment, so that no record says that the run was made with it.
        """
        return {} if datasets.get(dataset).moments else {"max_windows": f"{dataset} has no moments"}

    @classmethod
    def released_training(cls, dataset: str) -> dict[str, Any]:  # noqa: ARG003 - a method may have one for each dataset
        """Return the keys of `training` for which the released system has other values than most systems.

        The values of the dataset's section and of the experiment take precedence over them.
        """
        return {}

    def normalisation(self, dataset: str) -> Normalisation:
        """Return how features are normalised. The default is what most released systems do for this dataset."""
        about = datasets.get(dataset)
        return Normalisation(video="one" if about.one_video_vector else "family", words=about.normalise_text)

    def recorded(self) -> dict[str, Any]:
        """Return the record of the method in a manifest: its name, its revision, and the settings that differ from the
        defaults."""
        return {"name": self.name, "revision": self.revision, **self.changes()}


def _with_dots(section: Mapping[str, Any], before: str = "") -> Collection[str]:
    """Return the keys of a section and of the sections in it. A key of an inner section has a dot before it."""
    keys: set[str] = set()
    for key, value in section.items():
        keys |= {before + key, *(_with_dots(value, f"{before}{key}.") if isinstance(value, Mapping) else ())}
    return keys


class NetworkSettings(MethodSettings):
    """The sizes and rates of a network, which all methods have. The defaults are the values of most methods."""

    formulation: Literal["released"] = "released"
    """The method computes as its released system does. There is no other formulation."""
    hidden_dim: Positive = 256
    """Width of every row inside the network."""
    heads: Positive = 8
    """Number of heads of every attention. It must divide `hidden_dim`."""
    feedforward_dim: Positive = 1024
    """Width of the inner layer of every feed-forward network."""
    dropout: Rate = 0.1
    """Dropout rate inside the network."""
    input_dropout: Rate = 0.5
    """Dropout rate on the input features, applied before each projection layer."""

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> Self:
        if self.hidden_dim % self.heads:
            raise ValueError(f"`heads` must divide `hidden_dim`, and {self.heads} does not divide {self.hidden_dim}")
        return self


MOMENT_LOSSES = ("span", "giou", "label")
"""The losses of methods with moment queries that only a dataset with moments has."""


class MomentLossWeights(Strict):
    """Weights of the losses in their sum. The matching weighs its costs with span, giou and label, too."""

    span: Weight = 10.0
    """Weight of the distance between a predicted span and the annotated one."""
    giou: Weight = 1.0
    """Weight of the loss of the generalised overlap (gIoU) of the two spans."""
    label: Weight = 4.0
    """Weight of the classification loss: moment queries that were matched with a moment against those that were not."""
    saliency: Weight = 1.0
    """Weight of the loss of the saliency scores of clips."""


class MomentQuerySettings(NetworkSettings):
    """The part that is common to the settings of methods with moment queries.

    The defaults are the values of the released systems, which are the same in all of them.
    """

    revision: ClassVar[int] = 2
    needs: ClassVar[Mapping[str, str]] = {
        **{f"loss_weights.{name}": "moments" for name in MOMENT_LOSSES},
        # Without moments the decoder is never trained, and its predictions are never used.
        "queries": "moments",
        "decoder_layers": "moments",
    }

    queries: Positive = 10
    """Number of moment queries of the decoder, which is the number of windows that are predicted for every text
    query."""
    encoder_layers: Positive = 2
    """Number of layers of the encoder."""
    decoder_layers: Positive = 2
    """Number of layers of the decoder."""
    saliency_margin: Weight = 0.2
    """Margin of the hinge loss between clips of higher and of lower saliency."""
    loss_weights: MomentLossWeights = MomentLossWeights()
    """Weights of the losses in their sum."""
