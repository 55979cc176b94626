"""What a method is to the rest of the pipeline: a network, and the rules it is trained and read by.

Training, prediction, checkpoints and the golden checks know a method by this contract and by its settings
(`settings.py`) alone. Importing it imports no torch, so that a method that fits into one file can define its settings
and its rules side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.records import Query

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

    from pipeline.config import Training
    from pipeline.models.batch import Batch

    Losses = dict[str, Tensor]


@dataclass(frozen=True)
class Inputs:
    """What a network is built for.

    video_dim, audio_dim (0: no audio), text_dim: widths of the features, without the columns of temporal endpoints
    that a batch adds to video and to audio. clip_s: seconds per clip. moments: whether there are windows to learn.
    highlights: whether people rated the clips.
    """

    video_dim: int
    audio_dim: int
    text_dim: int
    clip_s: float
    moments: bool
    highlights: bool = True

    @property
    def video_columns(self) -> int:
        """Width of a batch's `video`: [video | endpoints] or, with audio, [video | endpoints | audio | endpoints]."""
        return self.video_dim + 2 + (self.audio_dim + 2 if self.audio_dim else 0)


@dataclass(frozen=True)
class Found:
    """What a method found for the queries of a batch.

    windows: per query, rows [k, 3] of start_s, end_s and score, the best first; None where the dataset asks for none.
    saliency: per query, one score per valid clip.
    """

    windows: Sequence[np.ndarray] | None
    saliency: Sequence[np.ndarray]


class Method:
    """A network and the rules it is trained and read by. A subclass sets `network` and defines `losses` and `found`.

    The order of a step: `outputs` and `costs`; then `match`, on the CPU; then `losses`. On a GPU the pieces before and
    after the matching are recorded once per shape of batch and replayed (`training/replay.py`). So they may look at
    no value of a tensor, and at nothing of a batch but its tensors and their shapes: whatever else they need, such as
    which samples show the same video, has to be a tensor of the labels.
    """

    network: nn.Module

    def __init__(self, settings: Any, inputs: Inputs) -> None:
        self.settings, self.inputs = settings, inputs

    def targets(self, queries: Sequence[Query], n_clips: Sequence[int], training: Training) -> Any:
        """What the method wants to learn from these queries; n_clips: clips that each one's features have.

        Returns an object whose `draw(index, rng)` gives the labels of a batch: a dataclass of tensors and host
        values with a method `to(device)`. Raises PipelineError for a query that cannot be learned from.
        """
        from pipeline.models.labels import Targets

        return Targets(queries, n_clips, self.inputs.clip_s, max_windows=training.max_windows)

    def outputs(self, batch: Batch) -> Any:
        """One forward pass, in whatever form `costs`, `losses` and `found` understand."""
        return self.network(batch)

    def costs(self, outputs: Any, batch: Batch) -> tuple[Tensor, ...]:
        """What the matchings are decided by; empty for a method that matches nothing.

        Each is [..., B, Q, W]: what it costs to give target W to query Q.
        """
        return ()

    def match(self, costs: tuple[Tensor, ...], labels: Any) -> tuple[Tensor, ...]:
        """Solve every matching on the CPU: for each of `costs` [..., B, Q] long, a query's target or -1 for none.

        Raises PipelineError where a cost is not finite.
        """
        from pipeline.models.matching import solve

        return tuple(solve(each, labels.n_spans) for each in costs)

    def losses(self, outputs: Any, batch: Batch, matches: tuple[Tensor, ...]) -> Losses:
        """Every loss, unweighted, by name, and their weighted sum under `total`: scalars on the device.

        Raises ValueError where the batch has no labels.
        """
        raise NotImplementedError

    def found(self, outputs: Any, queries: Sequence[Query], n_clips: Sequence[int], dataset: str) -> Found:
        """From the outputs of a batch to windows and clip scores. n_clips: valid clips of each query's video."""
        raise NotImplementedError

    def optimizer(self, training: Training, device: str) -> Optimizer:
        """AdamW over all parameters, with the rate and the decay of `training`."""
        from pipeline.models.optimizers import adamw

        return adamw(self.network, training.learning_rate, training.weight_decay, device)

    def gradient_clip(self, training: Training) -> float | None:
        """Largest norm of all gradients together, beyond which they are scaled down; None scales none."""
        return training.gradient_clip

    def schedule(self, optimizer: Optimizer, training: Training) -> LRScheduler:
        """How the learning rate goes from epoch to epoch: divided by ten after every `drop_learning_rate_after`."""
        from torch.optim.lr_scheduler import StepLR

        return StepLR(optimizer, training.drop_learning_rate_after, 0.1)
