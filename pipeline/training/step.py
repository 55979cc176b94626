"""One step of training: forward and matching costs; the matching, on the CPU; losses, backward, clip and update.

On a GPU the pieces before and after the matching are recorded and replayed (`replay.py`). So they look at no value of a
tensor, which the host would wait for, and make none from the host's memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from pipeline.config import Training
from pipeline.methods.contract import Method
from pipeline.models.batch import Batch, sent

Losses = dict[str, Tensor]
TakeStep = Callable[[Batch], Losses]
"""Learn from a batch; returns its losses, unweighted, and `total`, on the device."""


@dataclass(frozen=True)
class Learner:
    """What every step works on."""

    method: Method
    optimizer: Optimizer
    training: Training

    def step(self, batch: Batch) -> Losses:
        """One step. Raises PipelineError where a matching has no answer, ValueError for a batch without labels."""
        step = Step(self, batch)
        step.forward()
        step.match(batch.labels)
        step.backward()
        step.update()
        return step.losses()


class Step:
    """A step on one batch, in pieces; what a piece leaves for the next lies in attributes, where a replay finds it."""

    outputs: Any
    costs: tuple[Tensor, ...] = ()
    matches: tuple[Tensor, ...] = ()
    names: tuple[str, ...]
    values: Tensor

    def __init__(self, learner: Learner, batch: Batch) -> None:
        self.learner, self.batch = learner, batch

    def forward(self) -> None:
        """From the batch to outputs and to the costs that are matched by."""
        half = self.learner.training.precision == "bfloat16"
        with torch.autocast(self.batch.video.device.type, torch.bfloat16, enabled=half):
            self.outputs = self.learner.method.outputs(self.batch)
        self.costs = self.learner.method.costs(self.outputs, self.batch)

    def match(self, labels: Any) -> None:
        """From costs to matches: the one piece that waits for the device. labels: those of the batch at hand."""
        if not self.costs:
            return
        solved = tuple(sent(each, self.costs[0].device) for each in self.learner.method.match(self.costs, labels))
        if self.matches:
            for place, new in zip(self.matches, solved, strict=True):
                place.copy_(new)
        else:
            self.matches = solved

    def backward(self) -> None:
        """From outputs and matches to losses and gradients; parameters that get none cost nothing, here and below."""
        losses = self.learner.method.losses(self.outputs, self.batch, self.matches)
        del self.outputs  # a recording that kept them would keep their memory from all others
        self.learner.optimizer.zero_grad()
        losses["total"].backward()
        self.names, self.values = tuple(losses), torch.stack([loss.detach() for loss in losses.values()])

    def update(self) -> None:
        """Clip the gradients, where method and schedule say so, and move the parameters."""
        limit = self.learner.method.gradient_clip(self.learner.training)
        if limit is not None:
            nn.utils.clip_grad_norm_(self.learner.method.network.parameters(), limit)
        self.learner.optimizer.step()

    def losses(self) -> Losses:
        """The losses, which no later replay changes."""
        return dict(zip(self.names, self.values.clone().unbind(), strict=True))
