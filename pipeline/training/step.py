"""One step of training: forward and matching costs; the matching, on the CPU; losses, backward, clip and update.

On a GPU the pieces before and after the matching are recorded and replayed (`replay.py`). So they look at no value of a
tensor, which the host would wait for, and make none from the host's memory.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from pipeline.config import SweepPoint, Training
from pipeline.models.batch import Batch, Outputs, sent
from pipeline.training.losses import labels_of, layers_of, losses_of
from pipeline.training.matching import costs, solve

Losses = dict[str, Tensor]
TakeStep = Callable[[Batch], Losses]
"""Learn from a batch; returns its losses, unweighted, and `total`, on the device."""


def optimizer_for(model: nn.Module, training: Training, device: str) -> AdamW:
    """AdamW over all parameters (released: norms and biases decay too). On a GPU everything it changes lies there."""
    if device == "cpu":
        return AdamW(model.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay, fused=True)
    # Not every step of ours is recorded, which torch takes for a slip.
    warnings.filterwarnings("ignore", "This instance was constructed with capturable=True")
    rate = torch.tensor(training.learning_rate, device=device)
    return AdamW(model.parameters(), lr=rate, weight_decay=training.weight_decay, fused=True, capturable=True)


@dataclass(frozen=True)
class Learner:
    """What every step works on. moments: whether spans are matched and learned (TVSum has none)."""

    model: nn.Module
    optimizer: AdamW
    settings: SweepPoint
    moments: bool

    def step(self, batch: Batch) -> Losses:
        """One step. Raises PipelineError where a span is not finite, ValueError for a batch without labels."""
        step = Step(self, batch)
        step.forward()
        step.match(step.labels.n_spans)
        step.backward()
        step.update()
        return step.losses()


class Step:
    """A step on one batch, in pieces; what a piece leaves for the next lies in attributes, where a replay finds it."""

    outputs: Outputs
    costs: Tensor | None = None
    matches: Tensor | None = None
    names: tuple[str, ...]
    values: Tensor

    def __init__(self, learner: Learner, batch: Batch) -> None:
        self.learner, self.batch, self.labels = learner, batch, labels_of(batch)

    def forward(self) -> None:
        """From the batch to outputs and, with moments, to the costs that are matched by."""
        training = self.learner.settings.training
        with torch.autocast(self.batch.video.device.type, torch.bfloat16, enabled=training.precision == "bfloat16"):
            self.outputs = self.learner.model(self.batch)
        if self.learner.moments:
            self.costs = costs(*layers_of(self.outputs), self.labels.spans, training.loss_weights)

    def match(self, n_spans: Sequence[int]) -> None:
        """From costs to matches: the one piece that waits for the device."""
        if self.costs is not None:
            solved = sent(solve(self.costs, n_spans), self.costs.device)
            self.matches = solved if self.matches is None else self.matches.copy_(solved)

    def backward(self) -> None:
        """From outputs and matches to losses and gradients; parameters that get none cost nothing, here and below."""
        training, model = self.learner.settings.training, self.learner.settings.model
        losses = losses_of(self.outputs, self.batch, self.matches, training, model)
        del self.outputs  # a recording that kept them would keep their memory from all others
        self.learner.optimizer.zero_grad()
        losses["total"].backward()
        self.names, self.values = tuple(losses), torch.stack([loss.detach() for loss in losses.values()])

    def update(self) -> None:
        """Clip the gradients, move the parameters."""
        nn.utils.clip_grad_norm_(self.learner.model.parameters(), self.learner.settings.training.gradient_clip)
        self.learner.optimizer.step()

    def losses(self) -> Losses:
        """The losses, which no later replay changes."""
        return dict(zip(self.names, self.values.clone().unbind(), strict=True))
