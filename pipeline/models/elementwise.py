"""Dropout and PReLU, which torch does slowly on a CPU.

torch draws one number per value, one after the other: a sixth of a training step. Here 64 random bits, of a faster
generator that torch's own seeds, serve four values: an eightieth. PReLU's slope is one number, whose gradient torch
first spreads over every value.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEVELS = 2**16
"""Random levels per value: a rate is met to 2⁻¹⁷."""


class Dropout(nn.Module):
    """Dropout at one rate, while training."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """[...] to [...]."""
        return drop(x, self.rate) if self.training else x


class PathDropout(nn.Module):
    """Stochastic depth: while training, a branch is left out for a whole sample at one rate."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """[B, ...] to [B, ...]."""
        return x * drop(x.new_ones(len(x), *(1,) * (x.dim() - 1)), self.rate) if self.training else x


def drop(x: Tensor, rate: float) -> Tensor:
    """Zero each value with chance `rate`, the others divided by 1 - rate; randomness from torch's generator."""
    if not rate or x.device.type != "cpu":
        return F.dropout(x, rate)
    seed = int(torch.randint(2**63 - 1, ()))
    bits = torch.from_numpy(np.random.SFC64(seed).random_raw(-(-x.numel() // 4)).view(np.int16))
    kept = bits[: x.numel()].view(x.shape).float().ge_(round(rate * LEVELS) - LEVELS // 2)
    return x * kept.mul_(1 / (1 - rate)).to(x.dtype)


class PReLU(nn.PReLU):
    """torch's, with one slope."""

    def forward(self, x: Tensor) -> Tensor:
        """[...] to [...]."""
        return _OneSlope.apply(x, self.weight) if x.device.type == "cpu" else super().forward(x)


class _OneSlope(torch.autograd.Function):
    """max(x, 0) + slope · min(x, 0)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(x, slope)
        return F.leaky_relu(x, slope.item())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        x, slope = ctx.saved_tensors
        inner = torch.ops.aten.leaky_relu_backward(gradient, x, slope.item(), False)
        below = x.clamp(max=0).mul_(gradient)  # and summed: a dot product cancels worse
        return inner, below.sum(dtype=torch.float32).view_as(slope)
