"""One step of training: forward pass and costs, the matching on the CPU, then losses, backward pass, clip and update.

On a GPU the parts before and after the matching are recorded and replayed (`replay.py`). So they read no value of a
tensor on the host, which would have to wait for the GPU, and they copy no data from the host's memory.
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
"""A function that learns from a batch. It returns the unweighted losses and `total`, on the device."""


@dataclass(frozen=True)
class Learner:
    """The objects that every step works on: the method with its network, the optimizer, and the schedule."""

    method: Method
    optimizer: Optimizer
    training: Training

    def step(self, batch: Batch) -> Losses:
        """Do one step. Raises PipelineError when a matching has no answer, and ValueError for a batch without
        labels."""
        step = Step(self, batch)
        step.forward()
        step.match(batch.labels)
        step.backward()
        step.update()
        return step.losses()


class Step:
    """One step on one batch, in parts. A part stores its results as attributes, where a replay finds them."""

    outputs: Any
    costs: tuple[Tensor, ...] = ()
    matches: tuple[Tensor, ...] = ()
    names: tuple[str, ...]
    values: Tensor

    def __init__(self, learner: Learner, batch: Batch) -> None:
        self.learner, self.batch = learner, batch

    def forward(self) -> None:
        """Compute the outputs from the batch, and the costs of the matching."""
        half = self.learner.training.precision == "bfloat16"
        with torch.autocast(self.batch.video.device.type, torch.bfloat16, enabled=half):
            self.outputs = self.learner.method.outputs(self.batch)
        self.costs = self.learner.method.costs(self.outputs, self.batch)

    def match(self, labels: Any) -> None:
        """Compute matches from the costs. Only this part waits for the device. labels: those of the current batch."""
        if not self.costs:
            return
        solved = tuple(sent(each, self.costs[0].device) for each in self.learner.method.match(self.costs, labels))
        if self.matches:
            for place, new in zip(self.matches, solved, strict=True):
                place.copy_(new)
        else:
            self.matches = solved

    def backward(self) -> None:
        """Compute losses and gradients from outputs and matches. Parameters without a gradient cost nothing here or
        later."""
        losses = self.learner.method.losses(self.outputs, self.batch, self.matches)
        del self.outputs  # A recording that kept these would take their memory from all other recordings.
        self.learner.optimizer.zero_grad()
        losses["total"].backward()
        self.names, self.values = tuple(losses), torch.stack([loss.detach() for loss in losses.values()])

    def update(self) -> None:
        """Clip the gradients, if method and schedule say so, and update the parameters."""
        limit = self.learner.method.gradient_clip(self.learner.training)
        if limit is not None:
            nn.utils.clip_grad_norm_(self.learner.method.network.parameters(), limit)
        self.learner.optimizer.step()

    def losses(self) -> Losses:
        """Return copies of the losses, which no later replay changes."""
        return dict(zip(self.names, self.values.clone().unbind(), strict=True))
