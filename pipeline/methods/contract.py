"""The contract of a method: a network, and the rules for training it and for reading its outputs.

Training, prediction, checkpoints and the golden checks know a method only by this contract and by its settings
(`settings.py`). No torch is imported here, so that a method that fits into one file can define its settings and its
rules side by side.
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
    """The sizes of the features and the kinds of labels that a network is built for.

    video_dim, audio_dim (0: no audio), text_dim: the widths of the features, without the columns of temporal endpoints
    that a batch adds to video and to audio. clip_s: the seconds of a clip. moments: whether there are windows to learn.
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
        """The width of `video` in a batch: [video | endpoints], or [video | endpoints | audio | endpoints] with
        audio."""
        return self.video_dim + 2 + (self.audio_dim + 2 if self.audio_dim else 0)


@dataclass(frozen=True)
class Decoded:
    """The windows and clip scores that a method predicts for the queries of a batch.

    windows: for each query rows [k, 3] of start_s, end_s and score, the best row first; None if the dataset has no
    windows. saliency: for each query one score for each valid clip.
    """

    windows: Sequence[np.ndarray] | None
    saliency: Sequence[np.ndarray]


class Method:
    """A network, and the rules for training it and for reading its outputs. A subclass sets `network` and defines
    `losses` and `decode`.

    A step has three parts: first `outputs` and `costs`, then `match`, which runs on the CPU, then `losses`. On a GPU
    the parts before and after the matching are recorded once for each shape of a batch, and replayed
    (`training/replay.py`). So these parts must not read the value of a tensor on the host, and they may use only the
    tensors of a batch and their shapes. Anything else that they need, such as which samples show the same video, has to
    be a tensor of the labels.
    """

    network: nn.Module

    def __init__(self, settings: Any, inputs: Inputs) -> None:
        self.settings, self.inputs = settings, inputs

    def targets(self, queries: Sequence[Query], n_clips: Sequence[int], training: Training) -> Any:
        """Return what the method learns from these queries. n_clips: the number of clips that the features of each
        query have.

        The result has a method `draw(index, rng)`, which gives the labels of a batch: a dataclass of tensors and host
        values with a method `to(device)`. Raises PipelineError for a query from which nothing can be learned.
        """
        from pipeline.models.labels import Targets

        return Targets(queries, n_clips, self.inputs.clip_s, max_windows=training.max_windows)

    def outputs(self, batch: Batch) -> Any:
        """Return the result of one forward pass, in a form that `costs`, `losses` and `decode` of this method
        understand."""
        return self.network(batch)

    def costs(self, outputs: Any, batch: Batch) -> tuple[Tensor, ...]:
        """Return the costs by which each matching is decided. The tuple is empty for a method that matches nothing.

        Each tensor is [..., B, Q, W]: what it costs to give target W to query Q.
        """
        return ()

    def match(self, costs: tuple[Tensor, ...], labels: Any) -> tuple[Tensor, ...]:
        """Solve every matching on the CPU. The result has for each tensor of `costs` a tensor [..., B, Q] of dtype
        long: the target of each query, or -1 for none.

        Raises PipelineError if a cost is not finite.
        """
        from pipeline.models.matching import solve

        return tuple(solve(each, labels.n_spans) for each in costs)

    def losses(self, outputs: Any, batch: Batch, matches: tuple[Tensor, ...]) -> Losses:
        """Return every loss, unweighted, by its name, and their weighted sum under `total`. All are scalars on the
        device.

        Raises ValueError if the batch has no labels.
        """
        raise NotImplementedError

    def decode(self, outputs: Any, queries: Sequence[Query], n_clips: Sequence[int], dataset: str) -> Decoded:
        """Return windows and clip scores from the outputs of a batch. n_clips: the number of valid clips of each
        query's video."""
        raise NotImplementedError

    def optimizer(self, training: Training, device: str) -> Optimizer:
        """Return the optimizer: AdamW over all parameters, with the learning rate and the decay of `training`."""
        from pipeline.models.optimizers import adamw

        return adamw(self.network, training.learning_rate, training.weight_decay, device)

    def gradient_clip(self, training: Training) -> float | None:
        """Return the largest norm of all gradients together, above which they are scaled down. None scales nothing."""
        return training.gradient_clip

    def schedule(self, optimizer: Optimizer, training: Training) -> LRScheduler:
        """Return how the learning rate changes from epoch to epoch: it is divided by ten after every
        `drop_learning_rate_after` epochs."""
        from torch.optim.lr_scheduler import StepLR

        return StepLR(optimizer, training.drop_learning_rate_after, 0.1)
