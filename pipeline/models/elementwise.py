"""Dropout and PReLU for a CPU, where torch's own versions are slow.

torch draws one random number per value, one after the other, which takes 1/6 of a training step. Here one 64-bit draw
gives four 16-bit levels, and dropout takes 1/80 of a step. The draws come from a faster generator, which is seeded by
torch's own. The slope of PReLU is one number, but torch computes its gradient for every value first. Here the sum is
computed at once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEVELS = 2**16
"""Number of random levels per value. A dropout rate is met to within 2⁻¹⁷."""


class Dropout(nn.Module):
    """Dropout at one rate. It is active while training only."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Map [...] to [...]."""
        return drop(x, self.rate) if self.training else x


class PathDropout(nn.Module):
    """Stochastic depth: while training, the output of a branch is set to zero for a whole sample, at one rate."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, ...] to [B, ...]. One draw for each sample decides whether the whole sample is kept."""
        return x * drop(x.new_ones(len(x), *(1,) * (x.dim() - 1)), self.rate) if self.training else x


def drop(x: Tensor, rate: float) -> Tensor:
    """Set each value to zero with probability `rate`, and divide the others by 1 - rate. x: any shape. Randomness comes
    from torch's generator."""
    if not rate or x.device.type != "cpu":
        return F.dropout(x, rate)
    # torch's generator gives the seed, so torch.manual_seed still fixes every mask.
    seed = int(torch.randint(2**63 - 1, ()))
    # One number of 64 bits is read as four numbers of 16 bits. -(-n // 4) is n / 4, rounded up.
    bits = torch.from_numpy(np.random.SFC64(seed).random_raw(-(-x.numel() // 4)).view(np.int16))
    # int16 counts from -LEVELS / 2, so the limit is moved by the same amount. A value is kept if its level is not below
    # the limit.
    kept = bits[: x.numel()].view(x.shape).float().ge_(round(rate * LEVELS) - LEVELS // 2)
    return x * kept.mul_(1 / (1 - rate)).to(x.dtype)


class PReLU(nn.PReLU):
    """PReLU with one slope. It gives the same numbers as torch's PReLU and is faster on a CPU."""

    def forward(self, x: Tensor) -> Tensor:
        """Map [...] to [...]."""
        return _OneSlope.apply(x, self.weight) if x.device.type == "cpu" else super().forward(x)


class _OneSlope(torch.autograd.Function):
    """The function max(x, 0) + slope · min(x, 0), with a backward pass for one slope."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(x, slope)
        return F.leaky_relu(x, slope.item())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        x, slope = ctx.saved_tensors
        inner = torch.ops.aten.leaky_relu_backward(gradient, x, slope.item(), False)
        # The products are written out and then summed, because a dot product loses more digits to cancellation.
        below = x.clamp(max=0).mul_(gradient)
        return inner, below.sum(dtype=torch.float32).view_as(slope)
